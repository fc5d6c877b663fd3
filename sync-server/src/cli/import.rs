//! `dinh-relay import-space`.

use std::path::PathBuf;
use std::process::ExitCode;

use dinh_proto::ids::LogEpoch;

use super::complain;
use super::long::{self, Progress};
use crate::archive;

pub(super) const EXAMPLE: &str = "Example:\n  dinh-relay import-space --data /var/lib/dinh --from branch.dinh\n\n\
    Judges everything first, passes over what the log has, and appends the rest in order. What contradicts the log is named, and\n\
    nothing is taken then. The relay must be stopped, and must have run on the directory before.";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The relay's data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A file of `dinh-relay export-space`.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Prints what was done as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn import(args: &Args) -> ExitCode {
    let mut epoch = LogEpoch::default();
    if let Err(error) = getrandom::fill(&mut epoch.0) {
        return complain(format_args!("the operating system gives no randomness: {error}"));
    }
    let mut progress = Progress::new("import-space");
    let imported = long::without_panic_messages(|| {
        archive::import(&args.data, &args.from, epoch, &mut |done| progress.tell(done))
    });
    match imported {
        Ok(done) => {
            let line = format!(
                "branch {}: {} items taken, {}; {} were there, {} snapshots left out",
                done.branch,
                done.items,
                long::size(done.bytes),
                done.were_there,
                done.snapshots_left_out
            );
            long::done(args.json, &done, &line)
        }
        Err(error) => long::failed(&error),
    }
}
