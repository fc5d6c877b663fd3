//! Dinh: an offline-first sync engine for shared documents.

pub mod store;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
