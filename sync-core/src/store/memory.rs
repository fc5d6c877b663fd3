//! A store in memory: the reference that others are compared with, and the store of short-lived replicas.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use super::{ReadTx, Store, StoreError, Table, Visit, WriteTx};

/// See the [contract](super). Durable only as long as it lives; a clone is an independent copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStore {
    tables: Tables,
}

/// Entries by table and key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tables([BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()]);

/// Puts back what was there before, in reverse order, unless the write is kept. Doing so on drop covers closures
/// that panic.
struct MemoryWrite<'a> {
    tables: &'a mut Tables,
    undo: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn read<R>(&self, f: impl FnOnce(&dyn ReadTx) -> Result<R, StoreError>) -> Result<R, StoreError> {
        f(&self.tables)
    }

    fn write<R>(
        &mut self,
        f: impl FnOnce(&mut dyn WriteTx) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut tx = MemoryWrite { tables: &mut self.tables, undo: Vec::new() };
        let result = f(&mut tx)?;
        tx.undo.clear();
        Ok(result)
    }
}

impl Drop for MemoryWrite<'_> {
    fn drop(&mut self) {
        for (table, key, before) in std::mem::take(&mut self.undo).into_iter().rev() {
            let entries = self.tables.of_mut(table);
            match before {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
    }
}

impl ReadTx for Tables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.of(table).get(key).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        for (key, value) in self.of(table).range::<[u8], _>(range) {
            if let ControlFlow::Break(()) = visit(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

impl ReadTx for MemoryWrite<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.tables.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
        self.tables.scan(table, from, to, visit)
    }
}

impl WriteTx for MemoryWrite<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let before = self.tables.of_mut(table).insert(key.to_vec(), value.to_vec());
        self.undo.push((table, key.to_vec(), before));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        if let Some(before) = self.tables.of_mut(table).remove(key) {
            self.undo.push((table, key.to_vec(), Some(before)));
        }
        Ok(())
    }
}

impl Tables {
    fn of(&self, table: Table) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.0[table as usize]
    }

    fn of_mut(&mut self, table: Table) -> &mut BTreeMap<Vec<u8>, Vec<u8>> {
        &mut self.0[table as usize]
    }
}
