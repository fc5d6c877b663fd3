//! `dinh-relay verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::long::{self, Progress};
use super::{EXIT_FAILED, complain, say};
use crate::archive::{verify_data, verify_stream};

pub(super) const EXAMPLE: &str = "Examples:\n  dinh-relay verify --from /mnt/backup/dinh\n  \
    dinh-relay verify --data /var/lib/dinh --json\n\n\
    Changes nothing. Exit code 0: all is as it must be; 1: something is not. A log is verified while its relay is stopped;\n\
    of one that runs, verify a backup.";

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["data", "from"]))]
pub(super) struct Args {
    /// A relay's data directory. The relay must be stopped.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A file or folder of `dinh-relay backup`, or a file of `export-space`; - is standard input.
    #[arg(long, value_name = "FILE|FOLDER")]
    from: Option<PathBuf>,
    /// Prints what was found as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn verify(args: &Args) -> ExitCode {
    let mut progress = Progress::new("verify");
    let mut tell = |done| progress.tell(done);
    let verified = long::without_panic_messages(|| match (&args.data, &args.from) {
        (Some(data), _) => verify_data(data, &mut tell),
        (None, from) => verify_stream(&from.clone().unwrap_or_default(), &mut tell),
    });
    let verified = match verified {
        Ok(verified) => verified,
        Err(error) => return long::failed(&error),
    };
    if args.json {
        match serde_json::to_string(&verified.report()) {
            Ok(text) => say(&text),
            Err(error) => return complain(error),
        }
    } else {
        for problem in verified.problems.first() {
            say(&format!("{}: {}", problem.place, problem.what));
        }
        let hidden = verified.problems.total() - verified.problems.first().len() as u64;
        if hidden > 0 {
            say(&format!("and {hidden} more problems"));
        }
        for note in &verified.notes {
            say(&format!("note: {note}"));
        }
        let counts = &verified.counts;
        say(&format!(
            "{} items, {}, {} branches, {} spaces, {} chains, {} good signatures, {} epochs, {} index rows",
            counts.items,
            long::size(counts.bytes),
            counts.branches,
            counts.spaces,
            counts.chains,
            counts.signatures,
            verified.epochs,
            verified.index_rows
        ));
        say(&format!("content {}", counts.content));
        say(if verified.problems.is_empty() { "ok" } else { "NOT ok" });
    }
    if verified.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}
