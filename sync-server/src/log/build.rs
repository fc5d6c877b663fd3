//! Making a log from a copy: items in their order, then what else the copy knows.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use dinh_proto::ids::Seq;
use dinh_proto::item::RawItem;
use redb::Database;

use super::epochs::EpochStart;
use super::error::LogError;
use super::index::IndexEntry;
use super::operator::{OPERATOR, OperatorRows};
use super::read::encode_epoch;
use super::redb::{CACHE_BYTES, EPOCHS, LOG, check_format, create_private, durable_write};
use super::spaces::{self, Unindexed};
use super::summary::Name;

/// Bytes of items in one commit.
const COMMIT_BYTES: usize = 16 << 20;
/// Items that are entered into the tables of spaces together.
const INDEX_ITEMS: u64 = 1 << 18;

/// A log in the making. Only [`LogBuilder::finish`] makes a whole one.
#[derive(Debug)]
pub(crate) struct LogBuilder {
    db: Database,
    head: u64,
    items: Vec<Bytes>,
    bytes: usize,
    unindexed: Unindexed,
}

impl LogBuilder {
    /// An empty log in a file that must not be there yet.
    pub(crate) fn create(path: &Path) -> Result<Self, LogError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        create_private(path)?;
        let db = builder.create(path).map_err(LogError::of)?;
        Ok(Self { db, head: 0, items: Vec::new(), bytes: 0, unindexed: Unindexed::default() })
    }

    /// Stores an item at the next place.
    pub(crate) fn push(&mut self, item: &RawItem) -> Result<Seq, LogError> {
        self.head += 1;
        self.unindexed.add(IndexEntry::of(Seq(self.head), item), Name::of(item));
        self.bytes += item.as_bytes().len();
        self.items.push(item.as_bytes().clone());
        if self.bytes >= COMMIT_BYTES {
            self.commit(self.head - self.unindexed.indexed >= INDEX_ITEMS)?;
        }
        Ok(Seq(self.head))
    }

    /// Writes what waits; with `index` the tables of spaces reach to the last item then.
    fn commit(&mut self, index: bool) -> Result<(), LogError> {
        let txn = durable_write(&self.db)?;
        {
            let mut log = txn.open_table(LOG).map_err(LogError::of)?;
            let first = self.head + 1 - self.items.len() as u64;
            for (seq, item) in (first..).zip(&self.items) {
                log.insert(seq, &item[..]).map_err(LogError::of)?;
            }
        }
        if index {
            spaces::write(&txn, BTreeMap::new(), self.unindexed.due(self.head), self.head)?;
        }
        txn.commit().map_err(LogError::of)?;
        if index {
            self.unindexed.written(self.head);
        }
        self.items.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Writes what is left and closes the file: it is then durable under its name of now.
    pub(crate) fn finish(mut self, epochs: &[EpochStart], operator: &OperatorRows) -> Result<(), LogError> {
        self.commit(true)?;
        let txn = durable_write(&self.db)?;
        check_format(&txn)?;
        {
            let mut table = txn.open_table(EPOCHS).map_err(LogError::of)?;
            for (key, start) in (0..).zip(epochs) {
                table.insert(key, &encode_epoch(start)).map_err(LogError::of)?;
            }
            if !operator.is_empty() {
                let mut table = txn.open_table(OPERATOR).map_err(LogError::of)?;
                for (key, value) in operator {
                    table.insert(&key[..], &value[..]).map_err(LogError::of)?;
                }
            }
        }
        txn.commit().map_err(LogError::of)?;
        self.db.close().map_err(LogError::of)
    }
}
