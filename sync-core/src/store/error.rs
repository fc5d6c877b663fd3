use std::sync::Arc;

use thiserror::Error;

/// A store could not do what was asked.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is open, in another process or in this one.
    #[error("the store is already open, here or in another process: close that one first")]
    Locked,
    /// The disk is full. The write was kept whole or not at all, which opening the store again shows; nearly
    /// always it was not.
    #[error("the disk is full: free some space, then open the store again")]
    DiskFull(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The file may not be written.
    #[error("the store cannot be written: {0}")]
    ReadOnly(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The file was written by a newer version.
    #[error("the store has format {found}, this version reads up to {supported}: update the app")]
    NewerFormat {
        /// In the file.
        found: u32,
        /// Known here.
        supported: u32,
    },
    /// The store was made with another key.
    #[error(
        "this key does not open the store: give the key with which it was made or last changed; if that one is \
         lost, delete the store and sync into a new one"
    )]
    WrongKey,
    /// A key was given for a store that was written without one.
    #[error(
        "the store was written without encryption, and a key was given: delete it and sync into a new one"
    )]
    NotEncrypted,
    /// Bytes in the store are not what this library wrote.
    #[error("the store is damaged at {0}: restore a copy, or open a new store and sync")]
    Corrupt(&'static str),
    /// The file or the disk failed. The store is of no use until it is opened again.
    #[error("the store failed and must be opened again: {0}")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// An earlier write failed.
    #[error("the store failed earlier and must be opened again")]
    Poisoned,
}
