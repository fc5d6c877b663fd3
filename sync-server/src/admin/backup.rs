//! A copy of the log for `dinh-relay backup`, while the relay runs.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dinh_proto::ids::Seq;
use dinh_proto::time::WallTime;
use serde::Deserialize;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::{AdminShared, OpenRelay};
use crate::archive::{ArchiveError, Backup, LOG_FILE, LogSource, Source};
use crate::driver::Driver;
use crate::log::{LogError, LogState, ReadLog};

/// Parts of a copy that wait for a slow reader, of about 256 KiB each.
const PARTS_MAX: usize = 4;

#[derive(Debug, Deserialize)]
struct Ask {
    /// The last place that the asker has.
    #[serde(default)]
    after: u64,
}

pub(super) fn routes() -> Router<AdminShared> {
    Router::new().route("/api/v1/backup", get(backup))
}

/// The log of a relay that may stop at any time: it does not wait for whoever reads.
#[derive(Debug)]
struct Running(Weak<Driver>);

impl Running {
    fn with<T>(&self, read: impl FnOnce(&Driver) -> Result<T, LogError>) -> Result<T, LogError> {
        let stopping = || LogError::Io(io::Error::other("the relay has closed its log"));
        self.0.upgrade().ok_or_else(stopping).and_then(|driver| read(&driver))
    }
}

impl ReadLog for Running {
    fn state(&self) -> Result<LogState, LogError> {
        self.with(|driver| driver.log().state())
    }

    fn chunk(&self, from: Seq, end: Seq, bytes_max: usize) -> Result<Vec<(Seq, Bytes)>, LogError> {
        self.with(|driver| driver.log().chunk(from, end, bytes_max))
    }
}

/// A stream as docs/BACKUP-FORMAT.md has it, without the relay's keys: who asks has them from the data directory. If it
/// has no end, something went wrong.
async fn backup(relay: OpenRelay, Query(ask): Query<Ask>) -> Response {
    // Whoever reads slowly must not hold the relay up when it stops.
    let of = Arc::downgrade(&relay.driver);
    drop(relay);
    let log = Running(of.clone());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let begin = move || {
        let wall_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        // Who has more than there is sees it by the first place.
        let failed = |source| ArchiveError::Log { path: LOG_FILE.into(), source };
        let head = log.state().map_err(failed)?.head;
        LogSource::new(log, Path::new(LOG_FILE), head.min(Seq(ask.after)), wall_ms)
    };
    let source = match tokio::task::spawn_blocking(begin).await {
        Ok(Ok(source)) => source,
        Ok(Err(error)) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let (sender, receiver) = mpsc::channel(PARTS_MAX);
    tokio::task::spawn_blocking(move || send(source, sender, &of));
    Body::from_stream(parts(receiver)).into_response()
}

fn parts(receiver: Receiver<io::Result<Bytes>>) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|part| (part, receiver))
    })
}

/// Ends when nobody reads any more.
fn send(mut source: LogSource<Running>, sender: Sender<io::Result<Bytes>>, of: &Weak<Driver>) {
    let (at, last) = (WallTime(source.header().wall_ms), source.header().last);
    let out = Parts { sender, part: Vec::new() };
    let name = Path::new("the operator's connection");
    match Backup::default().write(&mut source, [0; 32], name, out, &mut |_| {}) {
        Ok(_) => {
            tracing::info!(place = last.0, "a copy of the log was sent");
            if let Some(driver) = of.upgrade() {
                driver.note_backup(at, last);
            }
        }
        Err(error) => tracing::warn!(%error, "a copy of the log was not sent to its end"),
    }
}

/// Gathers what is written into parts.
struct Parts {
    sender: Sender<io::Result<Bytes>>,
    part: Vec<u8>,
}

/// Bytes that are gathered.
const PART_BYTES: usize = 64 << 10;

impl Parts {
    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it any more");
        self.sender.blocking_send(Ok(part.into())).map_err(gone)
    }
}

impl Write for Parts {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(buf);
        if self.part.len() >= PART_BYTES {
            self.send()?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.part.is_empty() { Ok(()) } else { self.send() }
    }
}
