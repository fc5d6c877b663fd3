//! The relay's durable log: every accepted item, in the order in which it was accepted.
//!
//! # Contract
//!
//! * **durable**: a [`Seq`](dinh_proto::ids::Seq) is returned only when the item survives loss of power of this
//!   host. The hub acknowledges nothing before.
//! * **ordered**: `Seq` increases with every item, over the whole relay, from 1. Items that are appended
//!   together are stored together, in their order.
//! * **at least once**: an item whose append failed may be stored all the same (the answer was lost, not the
//!   item), so an item may be offered twice; the hub drops repeats by item id.
//! * **verbatim**: what is read is byte for byte what was appended.
//! * **epoch**: if places in the log may have been lost, because an older copy of the file was put back, cursors
//!   that point beyond the copy are refused by [`EpochHistory`].
//! * **fail-stop**: after an error from a write nothing is known about it, so every later call fails with
//!   [`LogError::Failed`] until the log is opened again. Nothing is tried twice.
//!
//! [`RedbLog`] is the log in one redb file; [`Writer`] is the thread that gathers appends into commits. [`LogFile`] looks at a file
//! that no relay has open, and changes nothing.

mod build;
pub mod epochs;
mod error;
mod file;
pub mod index;
mod operator;
mod read;
mod redb;
mod spaces;
pub mod summary;
#[allow(clippy::disallowed_methods, reason = "a driver: it measures how long a commit takes")]
pub mod writer;

pub(crate) use build::LogBuilder;
pub use epochs::EpochHistory;
pub use error::LogError;
pub use file::LogFile;
pub use index::{IndexEntry, Position};
pub use operator::OperatorRows;
pub use read::{LogState, ReadLog};
pub use redb::{RedbLog, StoredSpace};
pub use summary::Summary;
pub use writer::Writer;
