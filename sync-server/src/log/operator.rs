//! What the operator decided, in the log's file: the table `operator`, whose rows the hub reads and writes as bytes.
//!
//! A table of its own beside `log`: decisions are few, are changed and taken back, and must not depend on a place in the log.

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::error::LogError;
use super::redb::{RedbLog, durable_write};
use crate::hub::OperatorRow;

/// A log that was never asked for a decision has none.
pub(super) const OPERATOR: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("operator");
/// Bytes of the rows that are read: more than any operator decides.
const OPERATOR_BYTES_MAX: usize = 8 << 20;

/// Keys and values, in order of key; what they mean is not known here.
pub type OperatorRows = Vec<(Vec<u8>, Vec<u8>)>;

pub(super) fn rows(txn: &ReadTransaction) -> Result<OperatorRows, LogError> {
    let table = match txn.open_table(OPERATOR) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(LogError::of(error)),
    };
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for row in table.iter().map_err(LogError::of)? {
        let (key, value) = row.map_err(LogError::of)?;
        bytes += key.value().len() + value.value().len();
        if bytes > OPERATOR_BYTES_MAX {
            let what = format!("the table `operator` has more than {OPERATOR_BYTES_MAX} bytes");
            return Err(LogError::Corrupted(what));
        }
        rows.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(rows)
}

impl RedbLog {
    /// Every row.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged.
    pub fn operator_rows(&self) -> Result<OperatorRows, LogError> {
        self.check_usable()?;
        rows(&self.db.begin_read().map_err(LogError::of)?)
    }

    /// Writes rows, in one transaction. They are durable when this returns; after an error nothing is known about them and every
    /// later call fails.
    pub fn write_operator_rows(&self, rows: &[OperatorRow]) -> Result<(), LogError> {
        if rows.is_empty() {
            return self.check_usable();
        }
        self.stop_after_failure(|| {
            let txn = durable_write(&self.db)?;
            {
                let mut table = txn.open_table(OPERATOR).map_err(LogError::of)?;
                for row in rows {
                    match &row.value {
                        Some(value) => table.insert(&row.key[..], &value[..]).map(drop),
                        None => table.remove(&row.key[..]).map(drop),
                    }
                    .map_err(LogError::of)?;
                }
            }
            txn.commit().map_err(LogError::of)
        })
    }
}
