//! `dinh-relay backup`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axum::body::BodyDataStream;
use axum::http::Method;
use bytes::{Buf, Bytes};
use dinh_proto::ids::Seq;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::complain;
use super::long::{self, Progress};
use crate::admin::client::AdminClient;
use crate::archive::{
    ArchiveError, Backup, Done, Folder, LOG_FILE, LogSource, Output, Secrets, Source, StreamSource,
};
use crate::identity::{self, IdentityError};
use crate::log::{LogError, LogFile};

pub(super) const EXAMPLE: &str = "Examples:\n  dinh-relay backup --data /var/lib/dinh --to /mnt/backup/dinh\n  \
    dinh-relay backup --data /var/lib/dinh --output dinh.backup --with-key\n  \
    dinh-relay backup --data /var/lib/dinh --output - | ssh other 'cat > dinh.backup'\n\n\
    The relay may be running. --to adds a segment with what is new since the last time; --output writes everything.\n\
    A file has its name only when it is whole and on the disk.";

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["output", "to"]))]
pub(super) struct Args {
    /// The relay's data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The file to write; - is standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The folder of segments to add to; made if it is not there.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Copies relay.key and operator.key too: without the first a restored relay is another one for its devices. Whoever reads the copy can then
    /// pretend to be the relay.
    #[arg(long)]
    with_key: bool,
    /// Prints what was done as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    /// `None` if there was nothing new.
    file: Option<PathBuf>,
    items: u64,
    bytes: u64,
    /// The last place in the backup.
    last: u64,
    online: bool,
    with_key: bool,
    sha256: Option<String>,
}

pub(super) fn backup(args: &Args) -> ExitCode {
    match long::without_panic_messages(|| run(args)) {
        Ok(report) => {
            let (items, size, last) = (report.items, long::size(report.bytes), report.last);
            let line = match &report.file {
                Some(file) => {
                    format!("{}: {items} items, {size}; the log up to place {last}", file.display())
                }
                None => format!("nothing is new since the last backup; the log up to place {last}"),
            };
            if args.output.as_deref() == Some(Path::new("-")) {
                // Standard output is the backup.
                let json = serde_json::to_string(&report).unwrap_or_default();
                long::note(if args.json { &json } else { &line });
                return ExitCode::SUCCESS;
            }
            long::done(args.json, &report, &line)
        }
        Err(error) => match error {
            Failure::Archive(error) => long::failed(&error),
            Failure::Other(why) => complain(why),
        },
    }
}

enum Failure {
    Archive(ArchiveError),
    Other(String),
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

fn run(args: &Args) -> Result<Report, Failure> {
    let relay = match identity::load(&args.data) {
        Ok(key) => Some(key.public()),
        Err(IdentityError::Missing { .. }) if !args.with_key => None,
        Err(error) => return Err(Failure::Other(error.to_string())),
    };
    let secrets = match args.with_key {
        true => Secrets {
            relay: Some(secret(&args.data, identity::FILE)?),
            // A relay of before there were permits has none.
            operator: match args.data.join(identity::OPERATOR_FILE).exists() {
                true => Some(secret(&args.data, identity::OPERATOR_FILE)?),
                false => None,
            },
        },
        false => {
            long::note(
                "relay.key and operator.key are not in this backup: keep a copy of them elsewhere, or use --with-key",
            );
            Secrets::default()
        }
    };
    let mut progress = Progress::new("backup");
    let mut tell = |done: Done| progress.tell(done);
    if let Some(path) = &args.to {
        let mut folder = Folder::open_for_backup(path)?;
        let newest = folder.newest()?;
        let after = newest.as_ref().map_or(Seq(0), |n| n.header.last);
        let (mut source, online) = source(&args.data, after, Some(path))?;
        for (file, seed) in [(identity::FILE, &secrets.relay), (identity::OPERATOR_FILE, &secrets.operator)] {
            if let Some(seed) = seed {
                keep_key(path, file, seed)?;
            }
        }
        let backup = Backup { relay, secrets: Secrets::default() };
        let last = source.header().last.0;
        let added = folder.add(newest.as_ref(), &mut *source, &backup, &mut tell)?;
        let done = added.as_ref().map_or(Done::default(), |(_, written)| written.done);
        return Ok(Report {
            sha256: added.as_ref().map(|(_, written)| crate::archive::hex(&written.hash)),
            file: added.map(|(path, _)| path),
            items: done.items,
            bytes: done.bytes,
            last,
            online,
            with_key: args.with_key,
        });
    }
    let path = args.output.clone().unwrap_or_default();
    let backup = Backup { relay, secrets };
    let (mut source, online) = source(&args.data, Seq(0), None)?;
    let last = source.header().last.0;
    let written = if path == Path::new("-") {
        backup.write(&mut *source, [0; 32], Path::new("standard output"), io::stdout().lock(), &mut tell)?.1
    } else {
        let output = Output::create(&path)?;
        let (output, written) = backup.write(&mut *source, [0; 32], &path, output, &mut tell)?;
        output.finish()?;
        written
    };
    Ok(Report {
        file: Some(path),
        items: written.done.items,
        bytes: written.done.bytes,
        last,
        online,
        with_key: args.with_key,
        sha256: Some(crate::archive::hex(&written.hash)),
    })
}

fn secret(data: &Path, file: &str) -> Result<Zeroizing<[u8; 32]>, Failure> {
    identity::load_seed(data, file).map_err(|e| Failure::Other(e.to_string()))
}

/// A secret beside the segments. One that is there must be the same.
fn keep_key(folder: &Path, file: &str, seed: &[u8; 32]) -> Result<(), Failure> {
    let path = folder.join(file);
    match identity::load_seed(folder, file) {
        Ok(there) if *there == *seed => Ok(()),
        Ok(_) => {
            let why = format!("{} is the key of another relay: back up to another folder", path.display());
            Err(Failure::Other(why))
        }
        Err(IdentityError::Missing { .. }) => {
            identity::store(folder, &path, seed).map_err(|e| ArchiveError::writing(&path, e).into())
        }
        Err(error) => Err(Failure::Other(error.to_string())),
    }
}

/// The items after a place: from the relay if one runs, else from its file. The folder is for messages.
fn source(data: &Path, after: Seq, folder: Option<&Path>) -> Result<(Box<dyn Source>, bool), Failure> {
    let other_history = |folder: &Path| {
        let what = format!("it goes up to place {after}, and the log does not");
        ArchiveError::OtherHistory { folder: folder.to_owned(), what }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Other(format!("no runtime: {e}")))?;
    let asked = runtime.block_on(async {
        let Some(client) = AdminClient::of(data).await? else { return Ok(None) };
        client.stream(Method::GET, &format!("/api/v1/backup?after={after}"), Vec::new()).await.map(Some)
    });
    match asked {
        Ok(Some(body)) => {
            let stream = FromRelay { runtime, body: body.into_data_stream(), rest: Bytes::new() };
            let source = StreamSource::new(stream, "what the relay sends")?;
            // A log that is shorter says where it ends.
            if source.header().first.0 != after.0 + 1
                && let Some(folder) = folder
            {
                return Err(other_history(folder).into());
            }
            return Ok((Box::new(source), true));
        }
        Ok(None) => {}
        Err(error) => return Err(Failure::Other(error.to_string())),
    }
    let path = data.join(LOG_FILE);
    if !path.exists() {
        return Err(ArchiveError::NoLog { path: data.to_owned() }.into());
    }
    let log = match LogFile::open(&path) {
        Err(LogError::InUse) => {
            let why = "a relay runs on this directory and does not answer there: give it an admin listener (the key \
                       admin.listen), or stop it";
            return Err(Failure::Other(format!("{}: {why}", data.display())));
        }
        log => log.map_err(|e| ArchiveError::log(data, e))?,
    };
    match (LogSource::new(log, &path, after, long::wall_ms()), folder) {
        (Err(ArchiveError::Log { source: LogError::NotStored(_), .. }), Some(folder)) => {
            Err(other_history(folder).into())
        }
        (source, _) => Ok((Box::new(source?), false)),
    }
}

/// What a relay sends, as a file is read.
struct FromRelay {
    runtime: Runtime,
    body: BodyDataStream,
    rest: Bytes,
}

impl Read for FromRelay {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.runtime.block_on(self.body.next()) {
                Some(more) => self.rest = more.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let n = self.rest.len().min(buf.len());
        self.rest.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}
