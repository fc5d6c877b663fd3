//! What commands have in common that take their time: progress, panics of what they read, and their last word.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dinh_proto::ids::SpaceId;
use serde::Serialize;

use super::{complain, say};
use crate::archive::{ArchiveError, Done};

/// Between two lines of progress.
const EVERY: Duration = Duration::from_secs(2);

/// Tells on stderr how far it is: nothing of work that is soon done.
pub(super) struct Progress {
    what: &'static str,
    began: Instant,
    told: Instant,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        let now = Instant::now();
        Self { what, began: now, told: now }
    }

    pub(super) fn tell(&mut self, done: Done) {
        if self.told.elapsed() < EVERY {
            return;
        }
        self.told = Instant::now();
        let percent = match done.of {
            Some(of) if of > 0 => format!(", {} %", (done.items * 100 / of).min(100)),
            _ => String::new(),
        };
        let seconds = self.began.elapsed().as_secs();
        let size = size(done.bytes);
        // A terminal that went away is no reason to stop.
        let _ = writeln!(io::stderr(), "{}: {} items, {size}{percent}, {seconds} s", self.what, done.items);
    }
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Milliseconds since 1970.
pub(super) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What a damaged file makes redb panic about is reported as damage: the panic itself says nothing more.
pub(super) fn without_panic_messages<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| tracing::debug!(%panic, "while reading a file")));
    let result = work();
    std::panic::set_hook(hook);
    result
}

/// The last word: a line for people, or JSON for scripts.
pub(super) fn done(json: bool, report: &impl Serialize, line: &str) -> ExitCode {
    if !json {
        say(line);
        return ExitCode::SUCCESS;
    }
    match serde_json::to_string(report) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => complain(error),
    }
}

/// The last word of work that failed.
pub(super) fn failed(error: &ArchiveError) -> ExitCode {
    if let ArchiveError::Problems(problems) = error {
        for problem in problems.first() {
            let _ = writeln!(io::stderr(), "{}: {}", problem.place, problem.what);
        }
    }
    complain(error)
}

/// For people, on stderr.
pub(super) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "dinh-relay: {line}");
}

/// A space or branch, as it is printed.
pub(super) fn parse_space(text: &str) -> Result<SpaceId, String> {
    let bad = || "a space or branch is 32 hexadecimal digits".to_owned();
    if text.len() != 2 * SpaceId::BYTES || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let mut id = SpaceId::default();
    for (byte, pair) in id.0.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
    }
    Ok(id)
}
