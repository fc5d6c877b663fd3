//! Dinh: an offline-first sync engine for shared documents.

pub mod store;
