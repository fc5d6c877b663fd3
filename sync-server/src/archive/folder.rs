//! A folder of segments, each with what came after the one before; and reading copies, whatever they are in.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dinh_proto::ids::{ItemId, Seq};
use dinh_proto::item::RawItem;

use super::backup::Written;
use super::{ArchiveError, Backup, Content, Header, Output, Progress, Source, StreamReader};
use crate::identity::give_to_owner_of;

/// Held while a segment is added.
const LOCK: &str = "dinh.lock";
const PREFIX: &str = "dinh-";
const SUFFIX: &str = ".backup";

/// A folder of segments.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// How many there are: they are numbered from 1.
    segments: u32,
    /// There while this may add to it.
    _lock: Option<File>,
}

/// The newest segment of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Its header.
    pub header: Header,
    /// Its hash.
    pub hash: [u8; 32],
}

impl Folder {
    /// A folder that is only read.
    ///
    /// # Errors
    /// If it is none, or a segment is missing between two others.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let folder = Self { path: path.to_owned(), segments: list(path)?, _lock: None };
        if folder.segments == 0 {
            let name = path.display().to_string();
            return Err(ArchiveError::Content { name, what: "has no segment of a backup in it" });
        }
        Ok(folder)
    }

    /// A folder that is added to; made if it is not there. Nobody else adds to it meanwhile.
    ///
    /// # Errors
    /// As for [`open`](Self::open), or `Busy`.
    pub fn open_for_backup(path: &Path) -> Result<Self, ArchiveError> {
        fs::create_dir_all(path).map_err(|e| ArchiveError::io(path, e))?;
        let lock_path = path.join(LOCK);
        let failed = |e| ArchiveError::io(&lock_path, e);
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
        let lock = opened.map_err(failed)?;
        give_to_owner_of(path, &lock).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ArchiveError::Busy { folder: path.to_owned() }),
            // A file system without locks: who backs up to it sees to it that one at a time does.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self { path: path.to_owned(), segments: list(path)?, _lock: Some(lock) })
    }

    /// How many segments there are.
    pub fn segments(&self) -> u32 {
        self.segments
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn segment(&self, number: u32) -> PathBuf {
        self.path.join(format!("{PREFIX}{number:06}{SUFFIX}"))
    }

    /// Reads the newest segment through.
    ///
    /// # Errors
    /// If it is damaged: the next one must not build on it.
    pub fn newest(&self) -> Result<Option<Newest>, ArchiveError> {
        if self.segments == 0 {
            return Ok(None);
        }
        let path = self.segment(self.segments);
        let (header, mut reader) = open_file(&path)?;
        while reader.chunk()?.is_some() {}
        Ok(reader.hash().map(|hash| Newest { header, hash }))
    }

    /// Adds what `source` has as the next segment, after `newest`, of which `source` must begin behind. Adds nothing, and says
    /// `None`, if there is nothing that the folder does not have.
    ///
    /// # Errors
    /// `OtherHistory` if the source does not continue what is here; others of either end. There is then no new segment.
    pub fn add(
        &mut self,
        newest: Option<&Newest>,
        source: &mut dyn Source,
        backup: &Backup,
        progress: Progress<'_>,
    ) -> Result<Option<(PathBuf, Written)>, ArchiveError> {
        let header = source.header();
        if let Some(Newest { header: old, .. }) = newest {
            let differs = |what: String| ArchiveError::OtherHistory { folder: self.path.clone(), what };
            if let (Some(here), Some(there)) = (old.relay, backup.relay)
                && here != there
            {
                return Err(differs(format!("it is of the relay {here}, and this one is {there}")));
            }
            if header.first.0 != old.last.0 + 1 || header.before_id != old.last_id {
                return Err(differs(format!(
                    "it ends with item {} at place {}, where the log has {}",
                    old.last_id, old.last, header.before_id
                )));
            }
            if header.items() == 0 && header.epochs == old.epochs && header.operator == old.operator {
                return Ok(None);
            }
        }
        let path = self.segment(self.segments + 1);
        let out = Output::create(&path)?;
        let previous = newest.map_or([0; 32], |n| n.hash);
        let (out, written) = backup.write(source, previous, &path, out, progress)?;
        out.finish()?;
        self.segments += 1;
        Ok(Some((path, written)))
    }
}

/// How many segments a folder has.
fn list(path: &Path) -> Result<u32, ArchiveError> {
    let failed = |e| ArchiveError::io(path, e);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
        numbers.extend(number.filter(|n: &u32| *n > 0 && *n < u32::MAX));
    }
    numbers.sort_unstable();
    let missing = (1..).zip(&numbers).find(|(expected, found)| expected != *found);
    if let Some((expected, _)) = missing {
        let name = path.join(format!("{PREFIX}{expected:06}{SUFFIX}")).display().to_string();
        return Err(ArchiveError::Folder {
            name,
            what: "this segment is missing, and later ones are there".into(),
        });
    }
    Ok(numbers.len() as u32)
}

type Input = Box<dyn Read>;

fn open_file(path: &Path) -> Result<(Header, StreamReader<Input>), ArchiveError> {
    let file = File::open(path).map_err(|e| ArchiveError::io(path, e))?;
    let input: Input = Box::new(BufReader::with_capacity(1 << 20, file));
    StreamReader::open(input, path.display().to_string())
}

/// A copy that is read from its beginning to its end.
pub(crate) struct CopyReader {
    reader: StreamReader<Input>,
    name: String,
    header: Header,
    /// Segments after this one.
    rest: VecDeque<PathBuf>,
    /// Place of the next item.
    next: Seq,
    last_id: ItemId,
    last: Seq,
}

impl CopyReader {
    /// A file, a folder, or standard input as `-`.
    pub(crate) fn open(from: &Path) -> Result<Self, ArchiveError> {
        if from == Path::new("-") {
            let (header, reader) = StreamReader::open(Box::new(io::stdin()) as Input, "standard input")?;
            return Self::begin("standard input".into(), header, reader, VecDeque::new());
        }
        let metadata = fs::metadata(from).map_err(|e| ArchiveError::io(from, e))?;
        if !metadata.is_dir() {
            let (header, reader) = open_file(from)?;
            return Self::begin(from.display().to_string(), header, reader, VecDeque::new());
        }
        let folder = Folder::open(from)?;
        let mut paths: VecDeque<_> = (1..=folder.segments).map(|n| folder.segment(n)).collect();
        let first = paths.pop_front().unwrap_or_default();
        let (header, reader) = open_file(&first)?;
        Self::begin(first.display().to_string(), header, reader, paths)
    }

    fn begin(
        name: String,
        header: Header,
        reader: StreamReader<Input>,
        rest: VecDeque<PathBuf>,
    ) -> Result<Self, ArchiveError> {
        if header.first != Seq(1) || header.previous != [0; 32] || header.before_id != ItemId::default() {
            let what = "is a segment that continues others: give the folder in which they all are";
            return Err(ArchiveError::Content { name, what });
        }
        // For progress only.
        let last = match rest.back() {
            Some(path) => open_file(path)?.0.last,
            None => header.last,
        };
        let (next, last_id) = (header.first, ItemId::default());
        Ok(Self { reader, name, header, rest, next, last_id, last })
    }

    /// Of the segment that is being read; at the end, of the last.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// How many items there are in all, as the last segment says.
    pub(crate) fn items(&self) -> u64 {
        self.last.0
    }

    /// The next items with their places; `None` when all was found to be there.
    pub(crate) fn chunk(&mut self) -> Result<Option<Vec<(Seq, Bytes)>>, ArchiveError> {
        loop {
            if let Some(items) = self.reader.chunk()? {
                let first = self.next.0;
                self.next.0 += items.len() as u64;
                if let Some(last) = items.last() {
                    let parsed = RawItem::parse(last.clone());
                    self.last_id = parsed.map(|item| item.id()).unwrap_or_default();
                }
                return Ok(Some((first..).map(Seq).zip(items).collect()));
            }
            let wrong =
                |name: &str, what: &str| ArchiveError::Folder { name: name.into(), what: what.into() };
            if self.header.last_id != self.last_id {
                return Err(wrong(&self.name, "its last item is not the one that its header names"));
            }
            let Some(path) = self.rest.pop_front() else { return Ok(None) };
            let name = path.display().to_string();
            let (header, reader) = open_file(&path)?;
            let hash = self.reader.hash().unwrap_or_default();
            if header.previous != hash || header.first != self.next || header.before_id != self.last_id {
                return Err(wrong(&name, "it does not continue the segment before it"));
            }
            if header.content != Content::Log {
                return Err(wrong(&name, "it is not of a log"));
            }
            (self.header, self.reader, self.name) = (header, reader, name);
        }
    }
}
