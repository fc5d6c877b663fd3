//! Reading a log as a whole: for copies of it and for looking at it.

use bytes::Bytes;
use dinh_proto::ids::{LogEpoch, Seq};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableError};

use super::epochs::EpochStart;
use super::error::LogError;
use super::operator::{self, OperatorRows};
use super::redb::{EPOCHS, LOG};

/// What a log says of itself at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// The last place that is filled; zero if the log is empty.
    pub head: Seq,
    /// Its openings, oldest first.
    pub epochs: Vec<EpochStart>,
    /// See [`OperatorRows`].
    pub operator: OperatorRows,
}

/// A log that can be read as a whole. What is in it never changes, so many reads are as consistent as one, and
/// none of them keeps the writer from using its space again.
pub trait ReadLog {
    /// As it is now.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged.
    fn state(&self) -> Result<LogState, LogError>;

    /// The items from `from` on, at most up to `end`, until they have `bytes_max` bytes or more: at least one.
    ///
    /// # Errors
    /// As for [`state`](Self::state); `Corrupted` if a place is empty.
    fn chunk(&self, from: Seq, end: Seq, bytes_max: usize) -> Result<Vec<(Seq, Bytes)>, LogError>;
}

pub(super) fn state(db: &impl ReadableDatabase) -> Result<LogState, LogError> {
    let txn = db.begin_read().map_err(LogError::of)?;
    let log = match txn.open_table(LOG) {
        Ok(log) => log,
        // Killed before its first commit.
        Err(TableError::TableDoesNotExist(_)) => {
            return Ok(LogState { head: Seq(0), epochs: Vec::new(), operator: Vec::new() });
        }
        Err(error) => return Err(LogError::of(error)),
    };
    let head = log.last().map_err(LogError::of)?.map_or(0, |(seq, _)| seq.value());
    Ok(LogState { head: Seq(head), epochs: epochs(&txn)?, operator: operator::rows(&txn)? })
}

fn epochs(txn: &ReadTransaction) -> Result<Vec<EpochStart>, LogError> {
    let table = txn.open_table(EPOCHS).map_err(LogError::of)?;
    let mut starts = Vec::new();
    for row in table.iter().map_err(LogError::of)? {
        let (_, value) = row.map_err(LogError::of)?;
        starts.push(decode_epoch(value.value()));
    }
    Ok(starts)
}

pub(super) fn decode_epoch(value: &[u8; 16]) -> EpochStart {
    let (epoch, first) = value.split_at(LogEpoch::BYTES);
    EpochStart {
        epoch: LogEpoch(epoch.try_into().expect("split at the length of an epoch")),
        first: Seq(u64::from_le_bytes(first.try_into().expect("the rest is eight bytes"))),
    }
}

pub(super) fn encode_epoch(start: &EpochStart) -> [u8; 16] {
    let mut value = [0; 16];
    value[..LogEpoch::BYTES].copy_from_slice(&start.epoch.0);
    value[LogEpoch::BYTES..].copy_from_slice(&start.first.0.to_le_bytes());
    value
}

pub(super) fn chunk(
    db: &impl ReadableDatabase,
    from: Seq,
    end: Seq,
    bytes_max: usize,
) -> Result<Vec<(Seq, Bytes)>, LogError> {
    let txn = db.begin_read().map_err(LogError::of)?;
    let log = txn.open_table(LOG).map_err(LogError::of)?;
    let (mut items, mut bytes, mut expected) = (Vec::new(), 0, from.0);
    if from > end {
        return Ok(items);
    }
    for row in log.range(from.0..=end.0).map_err(LogError::of)? {
        let (seq, value) = row.map_err(LogError::of)?;
        if seq.value() != expected {
            break;
        }
        items.push((Seq(expected), Bytes::copy_from_slice(value.value())));
        expected += 1;
        bytes += value.value().len();
        if bytes >= bytes_max {
            return Ok(items);
        }
    }
    if expected > end.0 {
        Ok(items)
    } else {
        Err(LogError::Corrupted(format!("nothing is stored at {expected}")))
    }
}
