//! The store in one redb file.
//!
//! One redb table per [`Table`], bytes to bytes, and `format`, which holds the version of this layout. All are
//! made in one transaction when the file is new, so a file with a format has every table.

#[cfg(any(target_os = "android", all(test, unix)))]
mod file_lock;
mod guard;
mod tables;
mod unfinished;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{
    Database, Durability, ReadableDatabase, StorageBackend, TableDefinition, TableError, TableHandle,
    WriteTransaction,
};

use self::guard::Guard;
use self::tables::{RedbRead, RedbWrite, definition};
use super::{ReadTx, Store, StoreError, Table, WriteTx};

const FORMAT_TABLE: TableDefinition<'_, &str, u32> = TableDefinition::new("format");
const FORMAT_KEY: &str = "format";
/// The newest layout known here.
const FORMAT: u32 = 1;

/// Memory that redb may use for pages. Phones have little, and the system caches the file as well; the B-tree's
/// inner pages of a branch's year fit many times over.
const CACHE_BYTES: usize = 4 << 20;

/// See the [contract](super).
#[derive(Debug)]
pub struct RedbStore {
    /// Taken by `close` and by dropping only.
    db: Option<Database>,
    guard: Guard,
    failed: AtomicBool,
}

impl RedbStore {
    /// Opens the file, or creates it if it is not there. Its directory must exist.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let existed = path.try_exists().map_err(of_io)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(of_io)?;
        #[cfg(target_os = "android")]
        file_lock::acquire(&file)?;
        if !existed {
            sync_directory_of(path).map_err(of_io)?;
        }
        Self::with_backend(FileBackend::new(file).map_err(of_redb)?)
    }

    /// The same over any storage.
    pub fn with_backend(backend: impl StorageBackend) -> Result<Self, StoreError> {
        unfinished::discard(&backend)?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let guard = Guard::default();
        let db = guard.call(|| builder.create_with_backend(backend)).map_err(of_redb)?;
        let store = Self { db: Some(db), guard, failed: AtomicBool::new(false) };
        if !store.guard.call(|| Ok::<_, redb::Error>(is_current(store.db()))).map_err(of_redb)?? {
            store.guard.call(|| initialize(store.db())).map_err(of_redb)?;
        }
        Ok(store)
    }

    /// Reads the whole file and compares it with its checksums. What changed by itself, for example in a worn-out
    /// memory, is noticed here before it is relied on: elsewhere only what does not make sense is noticed, and a
    /// damaged page can hide rows.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the file is damaged. It may have been put back to the state before the last
    /// write then; do not go on with it without need.
    pub fn verify(&mut self) -> Result<(), StoreError> {
        let guard = &self.guard;
        let db = self.db.as_mut().expect("taken by close and drop only, which nothing follows");
        let result = match guard.call(|| db.check_integrity()).map_err(of_redb) {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Corrupt("file")),
            Err(error) => Err(error),
        };
        self.failed.fetch_or(result.is_err(), Ordering::AcqRel);
        result
    }

    /// Closes the file and reports what dropping would swallow. Everything written is durable either way.
    pub fn close(mut self) -> Result<(), StoreError> {
        let db = self.db.take();
        if self.guard.panicked() {
            self.guard.drop(db);
            return Err(StoreError::Poisoned);
        }
        self.guard.call(|| db.map_or(Ok(()), Database::close)).map_err(of_redb)
    }

    fn db(&self) -> &Database {
        self.db.as_ref().expect("taken by close and drop only, which nothing follows")
    }

    fn run<R>(&self, f: impl FnOnce(&Faults<'_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::Poisoned);
        }
        let faults = Faults { guard: &self.guard, first: RefCell::default() };
        let result = f(&faults);
        match faults.first() {
            None => result,
            // Also if the closure swallowed the error and went on.
            Some(fault) => {
                self.failed.store(true, Ordering::Release);
                Err(fault)
            }
        }
    }
}

impl Store for RedbStore {
    fn read<R>(&self, f: impl FnOnce(&dyn ReadTx) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.run(|faults| {
            let txn = faults.call(|| self.db().begin_read())?;
            let tx = RedbRead::new(&txn, faults);
            let result = f(&tx);
            faults.drop(tx);
            faults.drop(txn);
            result
        })
    }

    fn write<R>(
        &mut self,
        f: impl FnOnce(&mut dyn WriteTx) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.run(|faults| {
            let txn = faults.call(|| begin_durable(self.db()))?;
            let mut tx = RedbWrite::new(&txn, faults);
            let result = f(&mut tx);
            let changed = tx.changed();
            faults.drop(tx);
            // A write that changed nothing need not wait for the disk.
            if self.guard.panicked() {
                faults.drop(txn);
            } else if result.is_err() || !changed || faults.first().is_some() {
                faults.call(|| txn.abort())?;
            } else {
                faults.call(|| txn.commit())?;
            }
            result
        })
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        let db = self.db.take();
        self.guard.drop(db);
    }
}

/// The first error of the storage within one transaction. It must stop the store, unlike the errors that the
/// caller's closure makes itself.
#[derive(Debug)]
struct Faults<'g> {
    guard: &'g Guard,
    first: RefCell<Option<StoreError>>,
}

impl Faults<'_> {
    /// Calls redb.
    fn call<T, E: Into<redb::Error>>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, StoreError> {
        self.guard.call(call).map_err(|error| {
            let fault = of_redb(error);
            self.first.borrow_mut().get_or_insert_with(|| fault.clone());
            fault
        })
    }

    /// Drops something of redb's, if that is safe.
    fn drop<T>(&self, value: T) {
        if self.guard.panicked() {
            self.guard.drop(value);
        } else {
            // What went wrong is noted.
            let _ = self.call(|| {
                drop(value);
                Ok::<_, redb::Error>(())
            });
        }
    }

    fn first(&self) -> Option<StoreError> {
        self.first.borrow().clone()
    }
}

/// A transaction whose commit is on the disk when it returns.
///
/// Two phases, because the bytes come from strangers: with one phase, a checksum decides after a crash which of
/// two commits counts.
///
/// Quick repair saves the allocator's state with each commit. Without it, opening after the process was killed
/// (the normal end of an app on a phone) reads the whole file. Measured on two virtual cores with an SSD, 500 B
/// values, cold redb and warm page cache (a phone has neither the cache nor the disk):
///
/// | file | commit without | with | open after kill without | with |
/// |---|---|---|---|---|
/// | 8 MiB | 0.7–0.9 ms | 1.0–1.2 ms | 12 ms | 0.6–2.7 ms |
/// | 32 MiB | 0.8–1.3 ms | 1.2–1.3 ms | 28 ms | 0.6–2.6 ms |
/// | 257 MiB | 1.1–1.2 ms | 1.1–1.2 ms | 205–238 ms | 1.0 ms |
///
/// `cargo test --release -p dinh-core --no-default-features --test store_cost -- --ignored --nocapture
/// --test-threads 1`
fn begin_durable(db: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    // Bug: a commit returns before the disk has it.
    #[cfg(feature = "canary")]
    if dinh_proto::canary::is_planted("commit-without-sync") {
        txn.set_quick_repair(false);
        txn.set_two_phase_commit(false);
        txn.set_durability(Durability::None)?;
    }
    Ok(txn)
}

/// Whether the file has this layout. Reads only: a start must not cost a sync.
fn is_current(db: &Database) -> Result<bool, StoreError> {
    let txn = db.begin_read().map_err(of_redb)?;
    let found = match txn.open_table(FORMAT_TABLE) {
        Ok(table) => {
            let found = redb::ReadableTable::get(&table, FORMAT_KEY).map_err(of_redb)?;
            found.ok_or(StoreError::Corrupt("format"))?.value()
        }
        Err(TableError::TableDoesNotExist(_)) => {
            // Somebody else's file, or one that crashed before its first transaction.
            let empty = txn.list_tables().map_err(of_redb)?.next().is_none();
            return if empty { Ok(false) } else { Err(StoreError::Corrupt("format")) };
        }
        Err(error) => return Err(of_redb(error)),
    };
    match found {
        FORMAT => {}
        0 => return Err(StoreError::Corrupt("format")),
        found => return Err(StoreError::NewerFormat { found, supported: FORMAT }),
    }
    let names: BTreeSet<_> =
        txn.list_tables().map_err(of_redb)?.map(|table| table.name().to_owned()).collect();
    Ok(Table::ALL.iter().all(|table| names.contains(table.name())))
}

fn initialize(db: &Database) -> Result<(), redb::Error> {
    let txn = begin_durable(db)?;
    for table in Table::ALL {
        txn.open_table(definition(table))?;
    }
    txn.open_table(FORMAT_TABLE)?.insert(FORMAT_KEY, FORMAT)?;
    Ok(txn.commit()?)
}

/// Sorts an error of redb by what the app can do about it.
fn of_redb(error: impl Into<redb::Error>) -> StoreError {
    use redb::Error as E;
    match error.into() {
        E::DatabaseAlreadyOpen | E::LockProtocolMismatch => StoreError::Locked,
        E::PreviousIo | E::DatabaseClosed => StoreError::Poisoned,
        E::Io(error) => of_io(error),
        error @ (E::Corrupted(_)
        | E::TableTypeMismatch { .. }
        | E::TableIsMultimap(_)
        | E::TableDoesNotExist(_)
        | E::TypeDefinitionChanged { .. }) => {
            tracing::error!(%error, "the store is damaged");
            StoreError::Corrupt("file")
        }
        error => StoreError::Failed(Arc::new(error)),
    }
}

/// The same for an error of the file system.
fn of_io(error: io::Error) -> StoreError {
    use io::ErrorKind as K;
    match error.kind() {
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => StoreError::DiskFull(Arc::new(error)),
        K::PermissionDenied | K::ReadOnlyFilesystem => StoreError::ReadOnly(Arc::new(error)),
        // So redb says that the file is none of its own, or ends early.
        K::InvalidData | K::UnexpectedEof => {
            tracing::error!(%error, "the store is damaged");
            StoreError::Corrupt("file")
        }
        _ => StoreError::Failed(Arc::new(error)),
    }
}

/// Makes the name of a new file durable: without this, loss of power could take the whole file away.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}
