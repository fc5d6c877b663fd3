//! Transactions of redb as those of the contract.

use std::cell::OnceCell;
use std::ops::{Bound, ControlFlow};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::Faults;
use crate::store::{ReadTx, StoreError, Table, Visit, WriteTx};

type Bytes = &'static [u8];

/// A table of the contract in redb.
pub(super) fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(table.name())
}

pub(super) struct RedbRead<'t> {
    txn: &'t ReadTransaction,
    tables: Opened<ReadOnlyTable<Bytes, Bytes>>,
    faults: &'t Faults<'t>,
}

pub(super) struct RedbWrite<'t> {
    txn: &'t WriteTransaction,
    tables: Opened<redb::Table<'t, Bytes, Bytes>>,
    faults: &'t Faults<'t>,
    changed: bool,
}

/// Tables that are opened when they are first used: a transaction uses few of them, and redb allows to open each
/// once.
struct Opened<T>([OnceCell<T>; Table::ALL.len()]);

impl<'t> RedbRead<'t> {
    pub(super) fn new(txn: &'t ReadTransaction, faults: &'t Faults<'t>) -> Self {
        Self { txn, tables: Opened::none(), faults }
    }

    fn table(&self, table: Table) -> Result<&ReadOnlyTable<Bytes, Bytes>, StoreError> {
        self.tables.get_or_open(table, || self.faults.call(|| self.txn.open_table(definition(table))))
    }
}

impl ReadTx for RedbRead<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(self.table(table)?, key, self.faults)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
        scan(self.table(table)?, from, to, visit, self.faults)
    }
}

impl<'t> RedbWrite<'t> {
    pub(super) fn new(txn: &'t WriteTransaction, faults: &'t Faults<'t>) -> Self {
        Self { txn, tables: Opened::none(), faults, changed: false }
    }

    /// Whether there is anything to commit.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    fn table(&self, table: Table) -> Result<&redb::Table<'t, Bytes, Bytes>, StoreError> {
        self.tables.get_or_open(table, || self.faults.call(|| self.txn.open_table(definition(table))))
    }

    fn table_mut(&mut self, table: Table) -> Result<&mut redb::Table<'t, Bytes, Bytes>, StoreError> {
        self.table(table)?;
        Ok(self.tables.0[table as usize].get_mut().expect("opened on the line before"))
    }
}

impl ReadTx for RedbWrite<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(self.table(table)?, key, self.faults)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
        scan(self.table(table)?, from, to, visit, self.faults)
    }
}

impl WriteTx for RedbWrite<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let faults = self.faults;
        self.changed = true;
        let table = self.table_mut(table)?;
        faults.call(|| table.insert(key, value).map(drop))
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let faults = self.faults;
        let table = self.table_mut(table)?;
        let removed = faults.call(|| Ok::<_, redb::Error>(table.remove(key)?.is_some()))?;
        self.changed |= removed;
        Ok(())
    }
}

impl<T> Opened<T> {
    fn none() -> Self {
        Self([const { OnceCell::new() }; Table::ALL.len()])
    }

    fn get_or_open(
        &self,
        table: Table,
        open: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<&T, StoreError> {
        let cell = &self.0[table as usize];
        match cell.get() {
            Some(opened) => Ok(opened),
            None => {
                let opened = open()?;
                Ok(cell.get_or_init(|| opened))
            }
        }
    }
}

fn get(
    table: &impl ReadableTable<Bytes, Bytes>,
    key: &[u8],
    faults: &Faults<'_>,
) -> Result<Option<Vec<u8>>, StoreError> {
    faults.call(|| Ok::<_, redb::Error>(table.get(key)?.map(|value| value.value().to_vec())))
}

fn scan(
    table: &impl ReadableTable<Bytes, Bytes>,
    from: &[u8],
    to: Option<&[u8]>,
    visit: Visit<'_>,
    faults: &Faults<'_>,
) -> Result<(), StoreError> {
    let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
    let mut entries = faults.call(|| table.range::<&[u8]>(range))?;
    let result = loop {
        let entry = match faults.call(|| entries.next().transpose()) {
            Ok(Some(entry)) => entry,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let visited = faults
            .call(|| Ok::<_, redb::Error>((entry.0.value(), entry.1.value())))
            .and_then(|(key, value)| visit(key, value));
        faults.drop(entry);
        match visited {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    faults.drop(entries);
    result
}
