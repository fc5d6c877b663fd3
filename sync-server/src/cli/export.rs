//! `dinh-relay export-space`.

use std::path::PathBuf;
use std::process::ExitCode;

use dinh_proto::ids::SpaceId;

use super::long::{self, Progress};
use crate::archive;

pub(super) const EXAMPLE: &str = "Examples:\n  dinh-relay export-space --data /var/lib/dinh --space 8f3a…c1 --output hall.dinh\n  \
    dinh-relay export-space --data /var/lib/dinh --space BRANCH --all-spaces --output branch.dinh\n\n\
    Writes a space with its branch's charter, by which signatures are judged. The relay must be stopped.";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The relay's data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A space, or a branch for its charter.
    #[arg(long, value_name = "ID", value_parser = long::parse_space)]
    space: SpaceId,
    /// Every space of the branch.
    #[arg(long)]
    all_spaces: bool,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Prints what was done as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn export(args: &Args) -> ExitCode {
    let mut progress = Progress::new("export-space");
    let exported = long::without_panic_messages(|| {
        let mut tell = |done| progress.tell(done);
        let (data, output) = (&args.data, &args.output);
        archive::export(data, args.space, args.all_spaces, output, long::wall_ms(), &mut tell)
    });
    match exported {
        Ok(done) => {
            let size = long::size(done.bytes);
            let (output, spaces) = (args.output.display(), done.spaces.len());
            let line =
                format!("{output}: branch {}, {spaces} spaces, {} items, {size}", done.branch, done.items);
            long::done(args.json, &done, &line)
        }
        Err(error) => long::failed(&error),
    }
}
