//! The durable state of one replica: a small set of ordered tables in one transactional file.
//!
//! The contract is the weakest that the replica needs, so that a store on another platform is easy to write:
//!
//! # Contract
//! * **atomic**: a `write` whose closure returns `Ok` is applied whole and durable when `write` returns; if the
//!   closure returns `Err` or panics, nothing of it stays.
//! * **isolated**: a read sees whole writes only; within a write, reads see what that write put.
//! * **ordered**: `scan` visits keys in ascending byte order.
//! * **fail-stop**: after an error of the storage itself ([`StoreError::Failed`], [`StoreError::DiskFull`] and so
//!   on; not the closure's own errors) every later call gets [`StoreError::Poisoned`] until the store is opened
//!   again. An error from a commit does not mean that nothing was stored; nothing is tried twice.
//! * **exclusive**: a store is opened once at a time; a second opening gets [`StoreError::Locked`].

#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
mod encrypted;
mod error;
mod memory;
mod redb;

use std::ops::ControlFlow;

pub use self::encrypted::{EncryptedStore, StoreKey};
pub use self::error::StoreError;
pub use self::memory::MemoryStore;
pub use self::redb::RedbStore;

/// The tables. Keys are fixed layouts documented in `replica/schema.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Table {
    /// Single values by name.
    Meta,
    /// Branches this device takes part in.
    Branches,
    /// Items by space, author and counter: the truth.
    Items,
    /// Counters held, by space and author.
    Held,
    /// Counters covered by a snapshot, by space and author.
    Covered,
    /// Counters that were held of a removed device before its removal, by space and author.
    Before,
    /// Newest snapshot of a document.
    Snapshots,
    /// Items of a document in order of arrival.
    DocumentLog,
    /// Own changes that are not in an item yet, by document and Automerge seq.
    Unsealed,
    /// The Automerge seq of the newest own change, by document.
    Numbers,
    /// Items that the relay has not acknowledged, in order.
    Outbox,
    /// Saved documents: a cache that can be made again from items.
    Views,
    /// Checksum of a space.
    Sums,
    /// Newly granted spaces that are not received whole yet.
    Backfills,
    /// Items that wait for a charter record.
    Parked,
    /// Items that were refused, with the reason.
    Quarantine,
    /// Keys of spaces, by space and epoch: a cache of what the charter holds for this device.
    Keys,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Meta,
        Self::Branches,
        Self::Items,
        Self::Held,
        Self::Covered,
        Self::Before,
        Self::Snapshots,
        Self::DocumentLog,
        Self::Unsealed,
        Self::Numbers,
        Self::Outbox,
        Self::Views,
        Self::Sums,
        Self::Backfills,
        Self::Parked,
        Self::Quarantine,
        Self::Keys,
    ];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Branches => "branches",
            Self::Items => "items",
            Self::Held => "held",
            Self::Covered => "covered",
            Self::Before => "before",
            Self::Snapshots => "snapshots",
            Self::DocumentLog => "document_log",
            Self::Unsealed => "unsealed",
            Self::Numbers => "numbers",
            Self::Outbox => "outbox",
            Self::Views => "views",
            Self::Sums => "sums",
            Self::Backfills => "backfills",
            Self::Parked => "parked",
            Self::Quarantine => "quarantine",
            Self::Keys => "keys",
        }
    }
}

/// Called for each entry of a scan: key, value.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>;

/// Reading.
pub trait ReadTx {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the entries with `from <= key < to` in order until the visitor breaks; `to = None` is the end.
    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError>;
}

/// Writing.
pub trait WriteTx: ReadTx {
    /// Sets a key.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Removes a key; no error if it is not there.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError>;
}

/// A store. See the module's contract.
pub trait Store {
    /// Runs a read.
    fn read<R>(&self, f: impl FnOnce(&dyn ReadTx) -> Result<R, StoreError>) -> Result<R, StoreError>;

    /// Runs a write: durable when it returns `Ok`.
    fn write<R>(
        &mut self,
        f: impl FnOnce(&mut dyn WriteTx) -> Result<R, StoreError>,
    ) -> Result<R, StoreError>;
}
