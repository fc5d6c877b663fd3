//! `dinh-relay restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::long::{self, Progress};
use crate::archive::{Counts, KeyOutcome, Restore};

pub(super) const EXAMPLE: &str = "Examples:\n  dinh-relay restore --from /mnt/backup/dinh --data /var/lib/dinh\n  \
    ssh other 'cat dinh.backup' | dinh-relay restore --from - --data /var/lib/dinh\n\n\
    Everything is checked as by `verify` before the log gets its name. Then start the relay: devices send again what the\n\
    backup lacks.";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file or folder of `dinh-relay backup`; - is standard input.
    #[arg(long, value_name = "FILE|FOLDER")]
    from: PathBuf,
    /// The directory that becomes the relay's. It must have no log yet.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Restores a copy of a log that had problems when it was backed up. A copy that is damaged itself is refused all the same.
    #[arg(long)]
    accept_problems: bool,
    /// Prints what was done as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    head: u64,
    backed_up_at_ms: u64,
    key: KeyOutcome,
    problems_total: u64,
    #[serde(flatten)]
    counts: Counts,
}

pub(super) fn restore(args: &Args) -> ExitCode {
    let work =
        Restore { from: args.from.clone(), data: args.data.clone(), accept_problems: args.accept_problems };
    let mut progress = Progress::new("restore");
    let restored = match long::without_panic_messages(|| work.run(&mut |done| progress.tell(done))) {
        Ok(restored) => restored,
        Err(error) => return long::failed(&error),
    };
    for problem in restored.problems.first() {
        long::note(&format!("{}: {}", problem.place, problem.what));
    }
    match restored.key {
        KeyOutcome::Missing => long::note(
            "put the relay's relay.key into the directory before the relay starts there. If it is lost, `dinh-relay key --new` makes \
             another, and every device needs the relay's new address",
        ),
        KeyOutcome::Other => long::note(
            "relay.key in the directory is another relay's: put the right one there, or every device needs its new address",
        ),
        KeyOutcome::WasThere | KeyOutcome::Restored => {}
    }
    let line = format!(
        "{}: {} items, {}; the log up to place {}",
        args.data.display(),
        restored.counts.items,
        long::size(restored.counts.bytes),
        restored.head
    );
    let report = Report {
        head: restored.head.0,
        backed_up_at_ms: restored.wall_ms,
        key: restored.key,
        problems_total: restored.problems.total(),
        counts: restored.counts,
    };
    long::done(args.json, &report, &line)
}
