//! `dinh-relay compact`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::long;
use crate::archive;

pub(super) const EXAMPLE: &str = "Example:\n  systemctl stop dinh-relay && dinh-relay compact --data /var/lib/dinh; \
    systemctl start dinh-relay\n\n\
    Gives space that the log's file does not use back to the file system. The relay must be stopped. It needs no other space,\n\
    and may be interrupted: the log is then as before, and the next start takes longer.";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The relay's data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Prints what was done as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn compact(args: &Args) -> ExitCode {
    match long::without_panic_messages(|| archive::compact(&args.data)) {
        Ok(done) => {
            let line = format!("{} before, {} after", long::size(done.before), long::size(done.after));
            long::done(args.json, &done, &line)
        }
        Err(error) => long::failed(&error),
    }
}
