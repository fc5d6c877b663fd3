//! Making a copy: to one file, to a stream, or as the next segment of a folder.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dinh_proto::ids::{ItemId, Seq};
use dinh_proto::item::RawItem;
use dinh_proto::keys::RelayPublic;

use super::{
    ArchiveError, CHUNK_BYTES, Content, Done, Header, Progress, Secrets, StreamReader, StreamWriter,
};
use crate::log::{LogError, ReadLog};

/// Where the items of a copy come from.
pub trait Source {
    /// What is said of them. The stream that is written says the same, and what [`Backup`] adds.
    fn header(&self) -> &Header;

    /// The next items; `None` after the last.
    ///
    /// # Errors
    /// If they cannot be read, or are not what they must be.
    fn items(&mut self) -> Result<Option<Vec<Bytes>>, ArchiveError>;
}

/// What a stream of a log's items after `after` says of them, as the log is now.
///
/// # Errors
/// `NotStored` if the log does not reach `after`; others if it cannot be read.
pub fn header_of(log: &impl ReadLog, after: Seq, wall_ms: u64) -> Result<Header, LogError> {
    let state = log.state()?;
    if after > state.head {
        return Err(LogError::NotStored(after));
    }
    let id = |seq: Seq| match log.chunk(seq, seq, 0)?.pop() {
        Some((seq, bytes)) => parse(seq, bytes).map(|item| item.id()),
        None => Ok(ItemId::default()),
    };
    Ok(Header {
        content: Content::Log,
        relay: None,
        wall_ms,
        first: Seq(after.0 + 1),
        last: state.head,
        before_id: if after.0 == 0 { ItemId::default() } else { id(after)? },
        last_id: if state.head.0 == 0 { ItemId::default() } else { id(state.head)? },
        previous: [0; 32],
        epochs: state.epochs,
        operator: state.operator,
        secrets: Secrets::default(),
    })
}

fn parse(seq: Seq, bytes: Bytes) -> Result<RawItem, LogError> {
    RawItem::parse(bytes).map_err(|e| LogError::Corrupted(format!("item {seq}: {e}")))
}

/// The items of a log.
#[derive(Debug)]
pub struct LogSource<L> {
    log: L,
    path: PathBuf,
    header: Header,
    next: Seq,
}

impl<L: ReadLog> LogSource<L> {
    /// The items after `after`. `path` is the log's file, for messages.
    ///
    /// # Errors
    /// As for [`header_of`].
    pub fn new(log: L, path: &Path, after: Seq, wall_ms: u64) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Log { path: path.to_owned(), source };
        let header = header_of(&log, after, wall_ms).map_err(failed)?;
        let next = header.first;
        Ok(Self { log, path: path.to_owned(), header, next })
    }
}

impl<L: ReadLog> Source for LogSource<L> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn items(&mut self) -> Result<Option<Vec<Bytes>>, ArchiveError> {
        let failed = |source| ArchiveError::Log { path: self.path.clone(), source };
        let chunk = self.log.chunk(self.next, self.header.last, CHUNK_BYTES).map_err(failed)?;
        let Some((last, _)) = chunk.last() else { return Ok(None) };
        self.next = Seq(last.0 + 1);
        // A copy of what is no item would be found out only when it is needed.
        let items = chunk.into_iter().map(|(seq, bytes)| parse(seq, bytes).map(|i| i.as_bytes().clone()));
        items.collect::<Result<Vec<_>, _>>().map(Some).map_err(failed)
    }
}

/// The items of a stream that somebody else made.
#[derive(Debug)]
pub struct StreamSource<R> {
    header: Header,
    reader: StreamReader<R>,
}

impl<R: Read> StreamSource<R> {
    /// Reads the stream's header.
    ///
    /// # Errors
    /// As for [`StreamReader::open`].
    pub fn new(input: R, name: &str) -> Result<Self, ArchiveError> {
        let (header, reader) = StreamReader::open(input, name)?;
        Ok(Self { header, reader })
    }
}

impl<R: Read> Source for StreamSource<R> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn items(&mut self) -> Result<Option<Vec<Bytes>>, ArchiveError> {
        self.reader.chunk()
    }
}

/// What a copy says of the relay beside its log.
#[derive(Debug, Clone, Default)]
pub struct Backup {
    /// By which devices know it.
    pub relay: Option<RelayPublic>,
    /// Those that are to be in the copy.
    pub secrets: Secrets,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The hash of the stream.
    pub hash: [u8; 32],
    /// Its items and their bytes.
    pub done: Done,
}

impl Backup {
    /// Writes a whole stream. `name` is for messages.
    ///
    /// # Errors
    /// Of either end.
    pub fn write<W: Write>(
        &self,
        source: &mut dyn Source,
        previous: [u8; 32],
        name: &Path,
        out: W,
        progress: Progress<'_>,
    ) -> Result<(W, Written), ArchiveError> {
        let header =
            Header { relay: self.relay, secrets: self.secrets.clone(), previous, ..source.header().clone() };
        let failed = |error| ArchiveError::writing(name, error);
        let mut writer = StreamWriter::new(out, &header).map_err(failed)?;
        let mut done = Done { of: Some(header.items()), ..Done::default() };
        while let Some(items) = source.items()? {
            writer.chunk(&items).map_err(failed)?;
            done.items += items.len() as u64;
            done.bytes += items.iter().map(|item| item.len() as u64).sum::<u64>();
            progress(done);
        }
        let (out, hash) = writer.finish().map_err(failed)?;
        Ok((out, Written { hash, done }))
    }
}
