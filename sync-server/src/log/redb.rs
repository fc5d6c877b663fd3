//! The log in one redb file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | number; `format` is the version of this layout |
//! | `log` | place, from 1, without gaps | the item's bytes |
//! | `epochs` | counter, from 0 | epoch (8 bytes) ‖ first place (8, little-endian) |
//! | `index` | first place of the block | see [`index`](super::index) |
//!
//! `log` is filled in the order of its key, which is what makes a commit of many items cheap. `index` is a copy
//! of what `log` says, written later and in bulk: no append waits for it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use dinh_proto::ids::{LogEpoch, Seq};
use dinh_proto::item::{Item, RawItem};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction};

use super::epochs::{EpochHistory, EpochStart};
use super::error::LogError;
use super::index::{self, BLOCK_ITEMS, IndexEntry};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const EPOCHS: TableDefinition<'_, u64, &[u8; 16]> = TableDefinition::new("epochs");
const INDEX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("index");

const FORMAT_KEY: &str = "format";
const FORMAT: u64 = 1;
/// Memory that redb may use for pages. The operating system caches the file as well.
const CACHE_BYTES: usize = 64 << 20;

/// See the [contract](super). Shared by reference: one thread appends, any may read.
#[derive(Debug)]
pub struct RedbLog {
    db: Database,
    epochs: EpochHistory,
    head: AtomicU64,
    failed: AtomicBool,
    index: Mutex<IndexState>,
}

/// What is known of the index table.
#[derive(Debug, Default)]
struct IndexState {
    /// Last place that the blocks cover.
    watermark: u64,
    /// Blocks below the watermark that are missing or damaged.
    to_rebuild: BTreeSet<u64>,
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
        let watermark = {
            let table = txn.open_table(INDEX).map_err(LogError::of)?;
            let last = table.last().map_err(LogError::of)?;
            last.map_or(0, |(first, block)| match index::decode_block(Seq(first.value()), block.value()) {
                Ok(entries) => first.value() + entries.len() as u64 - 1,
                Err(_) => first.value() - 1,
            })
        };
        let epochs = record_epoch(&txn, EpochStart { epoch, first: Seq(head + 1) })?;
        txn.commit().map_err(LogError::of)?;
        Ok(Self {
            db,
            epochs,
            head: AtomicU64::new(head),
            failed: AtomicBool::new(false),
            index: Mutex::new(IndexState { watermark: watermark.min(head), to_rebuild: BTreeSet::new() }),
        })
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
            {
                let mut log = txn.open_table(LOG).map_err(LogError::of)?;
                for item in items {
                    log.insert(next, &item.bytes()[..]).map_err(LogError::of)?;
                    next += 1;
                }
            }
            if next > first {
                txn.commit().map_err(LogError::of)?;
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

    /// Hands over the entry of every item from `from` on, in order: from the index blocks as far as they go and
    /// are sound, from the items themselves otherwise. Blocks that are not sound are noted, and rebuilt by the
    /// next [`write_index_blocks`](Self::write_index_blocks).
    pub fn entries(&self, from: Seq, mut each: impl FnMut(IndexEntry)) -> Result<(), LogError> {
        self.check_usable()?;
        let txn = self.db.begin_read().map_err(LogError::of)?;
        let log = txn.open_table(LOG).map_err(LogError::of)?;
        let blocks = txn.open_table(INDEX).map_err(LogError::of)?;
        let head = log.last().map_err(LogError::of)?.map_or(0, |(seq, _)| seq.value());
        let mut next = from.0.max(1);
        while next <= head {
            let first = index::block_of(Seq(next));
            let end = (first.0 + BLOCK_ITEMS - 1).min(head);
            let stored = blocks.get(first.0).map_err(LogError::of)?;
            let block = stored.and_then(|b| index::decode_block(first, b.value()).ok()).unwrap_or_default();
            for entry in block.iter().filter(|e| e.seq.0 >= next && e.seq.0 <= end) {
                each(*entry);
            }
            let indexed = (first.0 + block.len() as u64).clamp(next, end + 1);
            scan(&log, indexed, end, &mut each)?;
            self.note_block(first, indexed, end);
            next = end + 1;
        }
        Ok(())
    }

    /// Writes at most `blocks_max` index blocks: first those that were found damaged, then full blocks above the
    /// watermark; with `partial`, also the last block that is not full yet. Returns how many it wrote.
    pub fn write_index_blocks(&self, blocks_max: usize, partial: bool) -> Result<usize, LogError> {
        self.stop_after_failure(|| {
            let due = self.blocks_due(blocks_max, partial);
            if due.is_empty() {
                return Ok(0);
            }
            let mut encoded = Vec::with_capacity(due.len());
            {
                let txn = self.db.begin_read().map_err(LogError::of)?;
                let log = txn.open_table(LOG).map_err(LogError::of)?;
                for (first, end) in due {
                    let mut entries = Vec::new();
                    scan(&log, first, end, &mut |entry| entries.push(entry))?;
                    encoded.push((first, end, index::encode_block(&entries)));
                }
            }
            let txn = durable_write(&self.db)?;
            {
                let mut table = txn.open_table(INDEX).map_err(LogError::of)?;
                for (first, _, block) in &encoded {
                    table.insert(*first, &block[..]).map_err(LogError::of)?;
                }
            }
            txn.commit().map_err(LogError::of)?;
            let mut state = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            for (first, end, _) in &encoded {
                state.to_rebuild.remove(first);
                state.watermark = state.watermark.max(*end);
            }
            Ok(encoded.len())
        })
    }

    /// Items that no index block covers: what the next start has to read.
    pub fn unindexed(&self) -> u64 {
        let state = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        self.head().0.saturating_sub(state.watermark)
    }

    /// Closes the file and reports what dropping would swallow.
    pub fn close(self) -> Result<(), LogError> {
        self.db.close().map_err(LogError::of)
    }

    fn note_block(&self, first: Seq, indexed: u64, end: u64) {
        let mut state = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if indexed <= end && end <= state.watermark {
            state.to_rebuild.insert(first.0);
        }
    }

    fn blocks_due(&self, blocks_max: usize, partial: bool) -> Vec<(u64, u64)> {
        let head = self.head().0;
        let state = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let span = |first: u64| (first, (first + BLOCK_ITEMS - 1).min(head));
        let rebuild = state.to_rebuild.iter().copied().map(span);
        let above = index::block_of(Seq(state.watermark + 1)).0;
        let fresh = (above..=head).step_by(BLOCK_ITEMS as usize).map(span).filter(|(first, end)| {
            let full = end - first + 1 == BLOCK_ITEMS;
            *end > state.watermark && (full || partial)
        });
        rebuild.chain(fresh).take(blocks_max).collect()
    }

    fn check_usable(&self) -> Result<(), LogError> {
        if self.failed.load(Ordering::Acquire) { Err(LogError::Failed) } else { Ok(()) }
    }

    /// redb does not say that a failed commit was rolled back, so the first error is the last word.
    fn stop_after_failure<T>(&self, write: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
        self.check_usable()?;
        let result = write();
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

/// A transaction whose commit is on the disk when it returns. Two phases, because the bytes come from
/// strangers; with the allocator's state, so that opening after a crash takes milliseconds.
fn durable_write(db: &Database) -> Result<WriteTransaction, LogError> {
    let mut txn = db.begin_write().map_err(LogError::of)?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    Ok(txn)
}

fn check_format(txn: &WriteTransaction) -> Result<(), LogError> {
    let mut meta = txn.open_table(META).map_err(LogError::of)?;
    let found = meta.get(FORMAT_KEY).map_err(LogError::of)?.map(|v| v.value());
    match found {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(LogError::NewerFormat { found, known: FORMAT }),
        Some(found) => Err(LogError::Corrupted(format!("format {found} never existed"))),
        None => {
            meta.insert(FORMAT_KEY, FORMAT).map_err(LogError::of)?;
            Ok(())
        }
    }
}

fn record_epoch(txn: &WriteTransaction, now: EpochStart) -> Result<EpochHistory, LogError> {
    let mut table = txn.open_table(EPOCHS).map_err(LogError::of)?;
    let mut earlier = Vec::new();
    let mut keys = Vec::new();
    for row in table.iter().map_err(LogError::of)? {
        let (key, value) = row.map_err(LogError::of)?;
        let (epoch, first) = value.value().split_at(LogEpoch::BYTES);
        earlier.push(EpochStart {
            epoch: LogEpoch(epoch.try_into().expect("split at the length of an epoch")),
            first: Seq(u64::from_le_bytes(first.try_into().expect("the rest is eight bytes"))),
        });
        keys.push(key.value());
    }
    let stored = earlier.len();
    let history = EpochHistory::opened(earlier, now)?;
    let forgotten = stored + 1 - history.starts().len();
    for key in &keys[..forgotten] {
        table.remove(key).map_err(LogError::of)?;
    }
    let mut value = [0; 16];
    value[..LogEpoch::BYTES].copy_from_slice(&now.epoch.0);
    value[LogEpoch::BYTES..].copy_from_slice(&now.first.0.to_le_bytes());
    let key = keys.last().map_or(0, |last| last + 1);
    table.insert(key, &value).map_err(LogError::of)?;
    Ok(history)
}

/// Reads the entries of the items at `first..=end` from the items themselves.
fn scan(
    log: &impl ReadableTable<u64, &'static [u8]>,
    first: u64,
    end: u64,
    each: &mut impl FnMut(IndexEntry),
) -> Result<(), LogError> {
    let mut expected = first;
    if first <= end {
        for row in log.range(first..=end).map_err(LogError::of)? {
            let (seq, bytes) = row.map_err(LogError::of)?;
            if seq.value() != expected {
                break;
            }
            let item = RawItem::parse(Bytes::copy_from_slice(bytes.value()))
                .map_err(|e| LogError::Corrupted(format!("item {expected}: {e}")))?;
            each(IndexEntry::of(Seq(expected), &item));
            expected += 1;
        }
    }
    if expected > end { Ok(()) } else { Err(LogError::Corrupted(format!("nothing is stored at {expected}"))) }
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

/// Makes the name of a new file durable: without this, loss of power could take the whole file away.
fn sync_directory_of(path: &Path) -> Result<(), LogError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) {
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(LogError::of_io)?;
    }
    Ok(())
}
