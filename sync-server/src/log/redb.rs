//! The log in one redb file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | number; `format` is the version of this layout |
//! | `log` | place, from 1, without gaps | the item's bytes |
//! | `epochs` | counter, from 0 | epoch (8 bytes) ‖ first place (8, little-endian) |
//! | `operator` | decision | see [`operator`](super::operator) |
//! | `segments`, `summaries` | see [`spaces`](super::spaces) | |
//!
//! `log` is filled in the order of its key, which is what makes a commit of many items cheap. The last two are copies of
//! what `log` says, written later and in bulk: no append waits for them.
//!
//! Format 1 had a table `index` with the entries of 1,024 places in a row, all of which a start had to read. A file of it is
//! upgraded when it is opened: first its format, in one transaction, then what the new tables lack, as after a crash.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dinh_proto::ids::{LogEpoch, Seq, SpaceId};
use dinh_proto::item::{Item, Kind, RawItem};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction};

use super::epochs::{EpochHistory, EpochStart};
use super::error::LogError;
use super::index::IndexEntry;
use super::read::{self, LogState, ReadLog, decode_epoch, encode_epoch};
use super::spaces::{self, Unindexed};
use super::summary::{Name, Summary};
use crate::identity;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(super) const EPOCHS: TableDefinition<'_, u64, &[u8; 16]> = TableDefinition::new("epochs");
/// Of format 1.
const INDEX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("index");

pub(super) const FORMAT_KEY: &str = "format";
pub(super) const FORMAT: u64 = 2;
/// The format whose files are upgraded when they are opened.
pub(super) const FORMAT_BEFORE: u64 = 1;
/// Memory that redb may use for pages. The operating system caches the file as well.
pub(super) const CACHE_BYTES: usize = 64 << 20;
/// Items that one transaction enters into the tables of spaces while the log is opened.
const CATCH_UP_ITEMS: u64 = 1 << 19;
/// Items that may be left for the writer to enter.
const LEFT_ITEMS_MAX: u64 = 1 << 17;
/// How often a start that takes long says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// See the [contract](super). Shared by reference: one thread appends, any may read.
#[derive(Debug)]
pub struct RedbLog {
    pub(super) db: Database,
    epochs: EpochHistory,
    head: AtomicU64,
    failed: AtomicBool,
    unindexed: Mutex<Unindexed>,
}

/// What the log knows of one space.
#[derive(Debug)]
pub struct StoredSpace {
    /// Its items, in order.
    pub entries: Vec<IndexEntry>,
    /// Those of them that are charter records.
    pub records: Vec<RawItem>,
}

impl RedbLog {
    /// Opens or creates the file and begins `epoch`, which must be drawn afresh for every opening. The epoch is
    /// durable when this returns.
    pub fn open(path: &Path, epoch: LogEpoch) -> Result<Self, LogError> {
        if !path.exists() {
            create_file(path)?;
        }
        let db = Self::builder().create(path).map_err(LogError::of)?;
        Self::begin(db, epoch)
    }

    /// The same over any storage.
    pub fn with_backend(backend: impl StorageBackend, epoch: LogEpoch) -> Result<Self, LogError> {
        let db = Self::builder().create_with_backend(backend).map_err(LogError::of)?;
        Self::begin(db, epoch)
    }

    fn builder() -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        builder
    }

    fn begin(db: Database, epoch: LogEpoch) -> Result<Self, LogError> {
        let txn = durable_write(&db)?;
        check_format(&txn)?;
        let head = {
            let log = txn.open_table(LOG).map_err(LogError::of)?;
            let last = log.last().map_err(LogError::of)?;
            last.map_or(0, |(seq, _)| seq.value())
        };
        let indexed = spaces::begin(&txn, head)?;
        let epochs = record_epoch(&txn, EpochStart { epoch, first: Seq(head + 1) })?;
        txn.commit().map_err(LogError::of)?;
        let log = Self {
            db,
            epochs,
            head: AtomicU64::new(head),
            failed: AtomicBool::new(false),
            unindexed: Mutex::new(Unindexed { indexed, newest: indexed, ..Unindexed::default() }),
        };
        log.catch_up(indexed)?;
        Ok(log)
    }

    /// Reads what the tables of spaces lack, and enters most of it: after an upgrade everything, otherwise next to nothing.
    fn catch_up(&self, indexed: u64) -> Result<(), LogError> {
        let (head, mut read, mut told) = (self.head().0, indexed, Instant::now());
        while read < head {
            let end = head.min(read + CATCH_UP_ITEMS);
            {
                let txn = self.db.begin_read().map_err(LogError::of)?;
                let log = txn.open_table(LOG).map_err(LogError::of)?;
                let mut unindexed = self.waiting();
                scan(&log, read + 1, end, &mut |item, entry| unindexed.add(entry, Name::of(item)))?;
            }
            read = end;
            if self.unindexed() > LEFT_ITEMS_MAX {
                self.write_index(CATCH_UP_ITEMS)?;
            }
            if told.elapsed() >= PROGRESS_EVERY {
                tracing::info!(
                    done = read,
                    of = head,
                    "reading the log: what is done need not be done again"
                );
                told = Instant::now();
            }
        }
        Ok(())
    }

    /// The last place that is filled; zero if the log is empty.
    pub fn head(&self) -> Seq {
        Seq(self.head.load(Ordering::Acquire))
    }

    /// The epochs, of which the newest began when this was opened.
    pub fn epochs(&self) -> &EpochHistory {
        &self.epochs
    }

    /// Stores `items` in their order, in one transaction, and returns the place of the first. They are durable
    /// when this returns. After an error nothing is known about them and every later call fails.
    ///
    /// With no items it writes nothing and returns the place that the next item will have.
    pub fn append_batch<'a>(&self, items: impl IntoIterator<Item = &'a Item>) -> Result<Seq, LogError> {
        self.stop_after_failure(|| {
            let txn = durable_write(&self.db)?;
            // The transaction is exclusive, so nobody moves the head between here and the commit.
            let first = self.head().0 + 1;
            let mut next = first;
            let mut added = Vec::new();
            {
                let mut log = txn.open_table(LOG).map_err(LogError::of)?;
                for item in items {
                    log.insert(next, &item.bytes()[..]).map_err(LogError::of)?;
                    added.push((IndexEntry::of(Seq(next), item.as_raw()), Name::of(item.as_raw())));
                    next += 1;
                }
            }
            if next > first {
                txn.commit().map_err(LogError::of)?;
                let mut unindexed = self.waiting();
                for (entry, name) in added {
                    unindexed.add(entry, name);
                }
                self.head.store(next - 1, Ordering::Release);
            }
            Ok(Seq(first))
        })
    }

    /// The items at `seqs`, in the order asked for. The caller bounds how many it asks for.
    pub fn read(&self, seqs: &[Seq]) -> Result<Vec<(Seq, Bytes)>, LogError> {
        self.check_usable()?;
        let txn = self.db.begin_read().map_err(LogError::of)?;
        let log = txn.open_table(LOG).map_err(LogError::of)?;
        seqs.iter()
            .map(|seq| {
                let value = log.get(seq.0).map_err(LogError::of)?.ok_or(LogError::NotStored(*seq))?;
                Ok((*seq, Bytes::copy_from_slice(value.value())))
            })
            .collect()
    }

    /// Hands over the entry of every item from `from` on, in order, from the items themselves: this reads the whole log.
    pub fn entries(&self, from: Seq, mut each: impl FnMut(IndexEntry)) -> Result<(), LogError> {
        self.check_usable()?;
        let txn = self.db.begin_read().map_err(LogError::of)?;
        let log = txn.open_table(LOG).map_err(LogError::of)?;
        let head = log.last().map_err(LogError::of)?.map_or(0, |(seq, _)| seq.value());
        scan(&log, from.0.max(1), head, &mut |_, entry| each(entry))
    }

    /// What a start needs to know of every space.
    pub fn summaries(&self) -> Result<Vec<Summary>, LogError> {
        self.check_usable()?;
        let unindexed = self.waiting();
        // Under the lock: what is in neither would be lost, what is in both counted twice.
        let txn = self.db.begin_read().map_err(LogError::of)?;
        let mut all: BTreeMap<SpaceId, Summary> = spaces::summaries(&txn)?;
        unindexed.complete(&mut all);
        Ok(all.into_values().collect())
    }

    /// Everything that is stored of one space but the payloads, and the payloads of its charter records. Call it while
    /// nothing is appended to the space.
    pub fn space(&self, space: SpaceId) -> Result<StoredSpace, LogError> {
        self.check_usable()?;
        let (txn, recent) = {
            let unindexed = self.waiting();
            let recent = unindexed.spaces.get(&space).map(|r| r.entries.clone()).unwrap_or_default();
            (self.db.begin_read().map_err(LogError::of)?, recent)
        };
        let (mut entries, is_damaged) = spaces::read(&txn, space)?;
        if is_damaged {
            self.waiting().repairs.insert(space, entries.clone());
        }
        let last = entries.last().map_or(Seq(0), |e| e.seq);
        // The tables may have taken some of them in meanwhile.
        entries.extend(recent.into_iter().filter(|e| e.seq > last));
        let log = txn.open_table(LOG).map_err(LogError::of)?;
        let mut records = Vec::new();
        for entry in entries.iter().filter(|e| e.kind == Kind::Charter) {
            let value = log.get(entry.seq.0).map_err(LogError::of)?.ok_or(LogError::NotStored(entry.seq))?;
            records.push(parse(entry.seq.0, value.value())?);
        }
        Ok(StoredSpace { entries, records })
    }

    /// Enters at most `items_max` items into the tables of spaces, in the order of the log, and repairs what was found damaged. Returns
    /// how many items it entered.
    pub fn write_index(&self, items_max: u64) -> Result<u64, LogError> {
        self.stop_after_failure(|| {
            let (before, upto, due, repairs) = {
                let mut unindexed = self.waiting();
                let before = unindexed.indexed;
                let upto = unindexed.newest.min(before + items_max);
                (before, upto, unindexed.due(upto), std::mem::take(&mut unindexed.repairs))
            };
            if upto > before || !repairs.is_empty() {
                let txn = durable_write(&self.db)?;
                spaces::write(&txn, repairs, due, upto)?;
                txn.commit().map_err(LogError::of)?;
                self.waiting().written(upto);
            }
            Ok(upto - before)
        })
    }

    /// Items that the tables of spaces lack: what the next start has to read.
    pub fn unindexed(&self) -> u64 {
        let unindexed = self.waiting();
        unindexed.newest - unindexed.indexed
    }

    /// Whether a damaged part of the tables waits for being written again.
    pub(super) fn has_repairs(&self) -> bool {
        !self.waiting().repairs.is_empty()
    }

    fn waiting(&self) -> MutexGuard<'_, Unindexed> {
        self.unindexed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the file and reports what dropping would swallow.
    pub fn close(self) -> Result<(), LogError> {
        self.db.close().map_err(LogError::of)
    }

    pub(super) fn check_usable(&self) -> Result<(), LogError> {
        if self.failed.load(Ordering::Acquire) { Err(LogError::Failed) } else { Ok(()) }
    }

    /// redb does not say that a failed commit was rolled back, so the first error is the last word.
    pub(super) fn stop_after_failure<T>(
        &self,
        write: impl FnOnce() -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        self.check_usable()?;
        let result = write();
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

impl ReadLog for RedbLog {
    fn state(&self) -> Result<LogState, LogError> {
        read::state(&self.db)
    }

    fn chunk(&self, from: Seq, end: Seq, bytes_max: usize) -> Result<Vec<(Seq, Bytes)>, LogError> {
        read::chunk(&self.db, from, end, bytes_max)
    }
}

/// A transaction whose commit is on the disk when it returns. Two phases, because the bytes come from
/// strangers; with the allocator's state, so that opening after a crash takes milliseconds.
pub(super) fn durable_write(db: &Database) -> Result<WriteTransaction, LogError> {
    let mut txn = db.begin_write().map_err(LogError::of)?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    Ok(txn)
}

pub(super) fn check_format(txn: &WriteTransaction) -> Result<(), LogError> {
    let mut meta = txn.open_table(META).map_err(LogError::of)?;
    let found = meta.get(FORMAT_KEY).map_err(LogError::of)?.map(|v| v.value());
    match found {
        Some(FORMAT) => return Ok(()),
        Some(FORMAT_BEFORE) => {
            tracing::info!(
                "the log has format {FORMAT_BEFORE}: it is upgraded to format {FORMAT}, which earlier releases do not read"
            );
            txn.delete_table(INDEX).map_err(LogError::of)?;
        }
        Some(found) if found > FORMAT => return Err(LogError::NewerFormat { found, known: FORMAT }),
        Some(found) => return Err(LogError::Corrupted(format!("format {found} never existed"))),
        None => {}
    }
    meta.insert(FORMAT_KEY, FORMAT).map_err(LogError::of)?;
    Ok(())
}

fn record_epoch(txn: &WriteTransaction, now: EpochStart) -> Result<EpochHistory, LogError> {
    let mut table = txn.open_table(EPOCHS).map_err(LogError::of)?;
    let mut earlier = Vec::new();
    let mut keys = Vec::new();
    for row in table.iter().map_err(LogError::of)? {
        let (key, value) = row.map_err(LogError::of)?;
        earlier.push(decode_epoch(value.value()));
        keys.push(key.value());
    }
    let stored = earlier.len();
    let history = EpochHistory::opened(earlier, now)?;
    let forgotten = stored + 1 - history.starts().len();
    for key in &keys[..forgotten] {
        table.remove(key).map_err(LogError::of)?;
    }
    let key = keys.last().map_or(0, |last| last + 1);
    table.insert(key, &encode_epoch(&now)).map_err(LogError::of)?;
    Ok(history)
}

/// Hands over the items at `first..=end`, with their entries.
pub(super) fn scan(
    log: &impl ReadableTable<u64, &'static [u8]>,
    first: u64,
    end: u64,
    each: &mut impl FnMut(&RawItem, IndexEntry),
) -> Result<(), LogError> {
    let mut expected = first;
    if first <= end {
        for row in log.range(first..=end).map_err(LogError::of)? {
            let (seq, bytes) = row.map_err(LogError::of)?;
            if seq.value() != expected {
                break;
            }
            let item = parse(expected, bytes.value())?;
            each(&item, IndexEntry::of(Seq(expected), &item));
            expected += 1;
        }
    }
    if expected > end { Ok(()) } else { Err(LogError::Corrupted(format!("nothing is stored at {expected}"))) }
}

fn parse(seq: u64, bytes: &[u8]) -> Result<RawItem, LogError> {
    RawItem::parse(Bytes::copy_from_slice(bytes)).map_err(|e| LogError::Corrupted(format!("item {seq}: {e}")))
}

/// Creates an empty log beside its place and then gives it its name: redb refuses a file whose creation was cut off, and a
/// relay that was killed in its first moments must start again by itself.
fn create_file(path: &Path) -> Result<(), LogError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Ok(()) => {
            tracing::warn!(file = %new.display(), "the creation of the log was cut off: it begins again")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(LogError::of_io(error)),
    }
    create_private(&new)?;
    drop(RedbLog::builder().create(&new).map_err(LogError::of)?);
    // Unlike a rename, a link never takes the place of a log that another process has created meanwhile.
    match fs::hard_link(&new, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(LogError::of_io(error)),
    }
    fs::remove_file(&new).map_err(LogError::of_io)?;
    sync_directory_of(path)
}

/// An empty file, which is a new one to redb. Branches trust the relay with who is in them and how much they write: that is for
/// nobody else on this machine.
pub(super) fn create_private(path: &Path) -> Result<(), LogError> {
    let created = identity::for_owner_only(OpenOptions::new().write(true).create_new(true)).open(path);
    created.map(drop).map_err(LogError::of_io)
}

/// Makes the name of a new file durable: without this, loss of power could take the whole file away.
fn sync_directory_of(path: &Path) -> Result<(), LogError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) {
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(LogError::of_io)?;
    }
    Ok(())
}
