//! A log's file that is only looked at: nothing is written to it, whatever state it is in.
//!
//! redb repairs what it opens after a crash, and checks pages only where it may also write. So it is given a view of
//! the file in which its own writes stay in memory. A file that was damaged can make redb panic: here that is an
//! error like others.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dinh_proto::error::InvalidMessage;
use dinh_proto::ids::{Seq, SpaceId};
use redb::backends::FileBackend;
use redb::{BackendError, Database, ReadableDatabase, ReadableTable, StorageBackend, TableError};

use super::error::LogError;
use super::index::{self, IndexEntry};
use super::read::{self, LogState, ReadLog};
use super::redb::{CACHE_BYTES, FORMAT, FORMAT_BEFORE, FORMAT_KEY, LOG, META, scan};
use super::spaces::{self, SEGMENTS, SUMMARIES};
use super::summary::Summary;

/// Granularity of what redb writes.
const BLOCK: usize = 4_096;
/// Rows of segments that are read together.
const SEGMENT_ROWS: usize = 1_024;

/// The log in a file that no relay has open.
#[derive(Debug)]
pub struct LogFile {
    /// There until it is dropped.
    db: Option<Database>,
    has_unnamed_commit: bool,
    /// Zero if it was never begun.
    format: u64,
}

/// A row of what a log's file says of its spaces.
pub(crate) type Row<T> = (SpaceId, Result<T, InvalidMessage>);

/// Key and value, as they are stored.
type Segment = ([u8; 24], Vec<u8>);

impl LogFile {
    /// Opens the file as it is.
    ///
    /// # Errors
    /// `InUse` if a relay has it open; others if it cannot be read, or what is in it cannot be.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        guarded(|| Self::open_with(path, false))
    }

    /// The same after a look at every page that is in use, of which redb keeps checksums.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and `Corrupted` if one page is not what was written.
    pub fn open_checked(path: &Path) -> Result<Self, LogError> {
        guarded(|| Self::open_with(path, true))
    }

    fn open_with(path: &Path, check: bool) -> Result<Self, LogError> {
        let file = File::open(path).map_err(LogError::of_io)?;
        // The same opening of the file, so it has the same locks.
        let header = file.try_clone().map_err(LogError::of_io)?;
        let view = View::new(file)?;
        if view.state().len == 0 {
            return Err(LogError::Corrupted("the file is empty".into()));
        }
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check);
        // It reports how far it is three times, and once more if it takes the commit before the newest: of relays, whose commits
        // have two phases, it never does, but of a compaction that was killed.
        let reports = Rc::new(Cell::new(0));
        let counter = reports.clone();
        builder.set_repair_callback(move |_| counter.set(counter.get() + 1));
        let db = builder.create_with_backend(view).map_err(LogError::of)?;
        let mut log = Self { db: Some(db), has_unnamed_commit: false, format: 0 };
        if check {
            log.has_unnamed_commit = has_unnamed_commit(header)?;
        }
        log.has_unnamed_commit |= reports.get() > 3;
        log.format = log.read_format()?;
        Ok(log)
    }

    /// Whether a file that was not closed has a newer commit than the one that it names as the newest: a relay was killed while
    /// it wrote one, which it then had not acknowledged, or one bit of the header changed. Only a file that was opened by
    /// [`open_checked`](Self::open_checked) knows.
    pub(crate) fn has_unnamed_commit(&self) -> bool {
        self.has_unnamed_commit
    }

    fn db(&self) -> &Database {
        self.db.as_ref().expect("it is there until it is dropped")
    }

    /// Whether the next relay that opens it upgrades it, and makes what it says of spaces.
    pub(crate) fn is_of_format_before(&self) -> bool {
        self.format == FORMAT_BEFORE
    }

    fn read_format(&self) -> Result<u64, LogError> {
        let txn = self.db().begin_read().map_err(LogError::of)?;
        let meta = match txn.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_)) => return Ok(0),
            Err(error) => return Err(LogError::of(error)),
        };
        match meta.get(FORMAT_KEY).map_err(LogError::of)?.map(|v| v.value()) {
            Some(found @ (FORMAT | FORMAT_BEFORE)) => Ok(found),
            Some(found) if found > FORMAT => Err(LogError::NewerFormat { found, known: FORMAT }),
            found => Err(LogError::Corrupted(format!("format {} never existed", found.unwrap_or_default()))),
        }
    }

    /// The item at one place, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn item(&self, seq: Seq) -> Result<Option<Bytes>, LogError> {
        guarded(|| {
            let txn = self.db().begin_read().map_err(LogError::of)?;
            let log = txn.open_table(LOG).map_err(LogError::of)?;
            let found = log.get(seq.0).map_err(LogError::of)?;
            Ok(found.map(|value| Bytes::copy_from_slice(value.value())))
        })
    }

    /// Hands over the entry of every item up to `head`, a space at a time and then those that no segment has: from the tables of
    /// spaces as far as they go and are sound.
    ///
    /// # Errors
    /// If the items that no segment has cannot be read, or are none.
    pub(crate) fn entries(&self, head: Seq, mut each: impl FnMut(&IndexEntry)) -> Result<(), LogError> {
        guarded(|| {
            let txn = self.db().begin_read().map_err(LogError::of)?;
            let indexed = match self.format {
                FORMAT => spaces::entries(&txn, head.0, &mut each)?,
                _ => 0,
            };
            let log = txn.open_table(LOG).map_err(LogError::of)?;
            scan(&log, indexed + 1, head.0, &mut |_, entry| each(&entry))
        })
    }

    /// The last place that the tables of spaces say that they have.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn indexed(&self) -> Result<Seq, LogError> {
        guarded(|| {
            let txn = self.db().begin_read().map_err(LogError::of)?;
            match txn.open_table(META) {
                Ok(meta) => spaces::indexed(&meta).map(Seq),
                Err(TableError::TableDoesNotExist(_)) => Ok(Seq(0)),
                Err(error) => Err(LogError::of(error)),
            }
        })
    }

    /// Every summary.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn summaries(&self) -> Result<Vec<Row<Summary>>, LogError> {
        guarded(|| {
            let txn = self.db().begin_read().map_err(LogError::of)?;
            let table = match txn.open_table(SUMMARIES) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(LogError::of(error)),
            };
            let rows = table.iter().map_err(LogError::of)?;
            rows.map(|row| {
                let (space, value) = row.map_err(LogError::of)?;
                let space = SpaceId(*space.value());
                Ok((space, Summary::decode(space, value.value())))
            })
            .collect()
        })
    }

    /// Hands over every segment, those of one space one after the other.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn segments(&self, mut each: impl FnMut(Row<Vec<IndexEntry>>)) -> Result<(), LogError> {
        let mut after = Bound::Unbounded;
        loop {
            let rows = self.segments_after(after)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Bound::Excluded(*last);
            for (key, row) in rows {
                let space = SpaceId(*key.first_chunk().expect("a key begins with a space"));
                each((space, index::decode_row(space, spaces::first_of(&key), &row)));
            }
        }
    }

    fn segments_after(&self, after: Bound<[u8; 24]>) -> Result<Vec<Segment>, LogError> {
        guarded(|| {
            let txn = self.db().begin_read().map_err(LogError::of)?;
            let table = match txn.open_table(SEGMENTS) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(LogError::of(error)),
            };
            let rows = table
                .range::<&[u8; 24]>((after.as_ref(), Bound::Unbounded))
                .map_err(LogError::of)?
                .take(SEGMENT_ROWS);
            rows.map(|row| {
                let (key, value) = row.map_err(LogError::of)?;
                Ok((*key.value(), value.value().to_vec()))
            })
            .collect()
        })
    }
}

impl ReadLog for LogFile {
    fn state(&self) -> Result<LogState, LogError> {
        guarded(|| read::state(self.db()))
    }

    fn chunk(&self, from: Seq, end: Seq, bytes_max: usize) -> Result<Vec<(Seq, Bytes)>, LogError> {
        guarded(|| read::chunk(self.db(), from, end, bytes_max))
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        let db = self.db.take();
        // Closing writes to the view, and stumbles over the same damage.
        let _ = guarded(|| {
            drop(db);
            Ok(())
        });
    }
}

/// What redb panics about is damage, and so is a file that ends before what it says that it holds.
fn guarded<T>(read: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Err(LogError::Io(error))) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(LogError::Corrupted("the file ends too soon".into()))
        }
        Ok(result) => result,
        Err(panic) => Err(LogError::Corrupted(words(&*panic))),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
    format!("reading it went wrong: {text}")
}

/// Which of the two last commits is the newest is said by one bit, which no checksum covers. A file that was closed has it on the
/// commit with the higher number; in one that was not, the other may be higher. (redb's docs/design.md has the layout: byte 9 are
/// flags, two commit slots of 128 bytes follow at 64, with the number of the transaction at 104.)
fn has_unnamed_commit(mut file: impl Read + Seek) -> Result<bool, LogError> {
    const FLAGS: usize = 9;
    const PRIMARY: u8 = 1;
    const RECOVERY_REQUIRED: u8 = 2;
    const TWO_PHASE_COMMIT: u8 = 4;
    let mut head = [0; 320];
    file.rewind().and_then(|()| file.read_exact(&mut head)).map_err(LogError::of_io)?;
    let number = |slot: usize| {
        let at = 64 + slot * 128 + 104;
        u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"))
    };
    let primary = usize::from(head[FLAGS] & PRIMARY != 0);
    let (named, other) = (number(primary), number(primary ^ 1));
    if named == 0 && other == 0 {
        return Ok(false);
    }
    let is_closed = head[FLAGS] & RECOVERY_REQUIRED == 0;
    // A compaction that was killed has made some.
    if is_closed && head[FLAGS] & TWO_PHASE_COMMIT == 0 {
        let what = "its header says that commits were made in one phase, which a relay never does";
        return Err(LogError::Corrupted(what.into()));
    }
    if is_closed && named < other {
        let what = format!("its header names commit {named} as the newest, and {other} is there");
        return Err(LogError::Corrupted(what));
    }
    Ok(named < other)
}

/// A file of which nothing is changed: writes stay in memory.
#[derive(Debug)]
struct View {
    file: FileBackend,
    state: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// Up to here the file counts, beyond it is zero.
    file_len: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl View {
    fn new(file: File) -> Result<Self, LogError> {
        let file = FileBackend::new(file).map_err(LogError::of)?;
        let len = file.len().map_err(LogError::of_io)?;
        Ok(Self { file, state: Mutex::new(Written { len, file_len: len, blocks: BTreeMap::new() }) })
    }

    fn state(&self) -> MutexGuard<'_, Written> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_block(&self, state: &Written, block: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(written) = state.blocks.get(&block) {
            out.copy_from_slice(written);
            return Ok(());
        }
        let at = block * BLOCK as u64;
        let there = state.file_len.saturating_sub(at).min(BLOCK as u64) as usize;
        self.file.read(at, &mut out[..there])?;
        out[there..].fill(0);
        Ok(())
    }
}

/// The blocks that a range touches: number, where in the block, where in the range.
fn blocks_of(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % BLOCK as u64) as usize;
        let n = (BLOCK - within).min(len - done);
        done += n;
        Some((at / BLOCK as u64, within, done - n..done))
    })
}

impl StorageBackend for View {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= state.len);
        let Some(end) = end else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let blocks = offset / BLOCK as u64..=end / BLOCK as u64;
        if end <= state.file_len && state.blocks.range(blocks).next().is_none() {
            drop(state);
            return self.file.read(offset, out);
        }
        let mut whole = vec![0; BLOCK];
        for (block, within, part) in blocks_of(offset, out.len()) {
            self.read_block(&state, block, &mut whole)?;
            let n = part.len();
            out[part].copy_from_slice(&whole[within..within + n]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.len = len;
        state.file_len = state.file_len.min(len);
        state.blocks.split_off(&len.div_ceil(BLOCK as u64));
        if let Some(last) = state.blocks.get_mut(&(len / BLOCK as u64)) {
            last[(len % BLOCK as u64) as usize..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        for (block, within, part) in blocks_of(offset, data.len()) {
            let mut whole = vec![0; BLOCK];
            self.read_block(&state, block, &mut whole)?;
            whole[within..within + part.len()].copy_from_slice(&data[part]);
            state.blocks.insert(block, whole);
        }
        state.len = state.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    // Nobody may write meanwhile; others may look as well.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_that_says_which_commit_is_the_newest_is_not_taken_at_its_word() {
        let look = |flags: u8, commits: [u64; 2]| {
            let mut head = vec![0; 4_096];
            head[9] = flags;
            head[168..176].copy_from_slice(&commits[0].to_le_bytes());
            head[296..304].copy_from_slice(&commits[1].to_le_bytes());
            has_unnamed_commit(io::Cursor::new(head)).ok()
        };
        for (closed, open) in [(4, 6), (5, 7)] {
            let newest_first = if closed == 4 { [9, 8] } else { [8, 9] };
            let newest_last = [newest_first[1], newest_first[0]];
            assert_eq!((look(closed, newest_first), look(open, newest_first)), (Some(false), Some(false)));
            assert_eq!((look(closed, newest_last), look(open, newest_last)), (None, Some(true)));
        }
        assert_eq!((look(0, [9, 8]), look(2, [9, 8]), look(0, [0, 0])), (None, Some(false), Some(false)));
    }

    #[test]
    fn what_is_written_is_read_back_and_the_file_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut expected: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
        std::fs::write(&path, &expected).unwrap();
        let view = View::new(File::open(&path).unwrap()).unwrap();
        let original = expected.clone();
        let check = |expected: &[u8]| {
            assert_eq!(view.len().unwrap(), expected.len() as u64);
            for (from, n) in [(0, expected.len()), (1, 4_095), (4_000, 200), (8_190, 5)] {
                let n = n.min(expected.len() - from);
                let mut out = vec![0xee; n];
                view.read(from as u64, &mut out).unwrap();
                assert_eq!(out, expected[from..from + n], "{n} bytes at {from}");
            }
        };
        check(&expected);
        for (at, n) in [(5_000, 10), (4_090, 5_000), (0, 1)] {
            view.write(at, &vec![0xaa; n]).unwrap();
            expected[at as usize..at as usize + n].fill(0xaa);
            check(&expected);
        }
        for len in [20_000, 8_195, 9_000] {
            view.set_len(len).unwrap();
            expected.resize(len as usize, 0);
            check(&expected);
        }
        assert!(view.read(8_999, &mut [0; 2]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), original);
    }
}
