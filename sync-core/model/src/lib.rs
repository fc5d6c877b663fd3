//! The documents of a branch, over the generic documents of [`dinh_core`].
//!
//! Each kind has a module: a schema (who may write which field), a snapshot that is read from a view, and functions that write one
//! change each. Nothing here knows clocks, files or sockets.

pub mod access;
pub mod amendment;
pub mod attendance;
pub mod book;
pub mod branch;
pub mod check;
pub mod client;
pub mod consultation;
pub mod digest;
pub mod feedback;
pub mod field;
pub mod index;
pub mod interchange;
pub mod late;
pub mod library;
pub mod lifecycle;
pub mod me;
pub mod minutes;
pub mod notice;
pub mod outline;
pub mod overlap;
pub mod resolution;
pub mod review;
pub mod roster;
pub mod seal;
pub mod suggestion;
pub mod task;
pub mod vote;
pub mod votebox;

use dinh_core::gate::rights::Schema;

/// Every kind of document here, for [`ReplicaConfig::schemas`](dinh_core::replica::ReplicaConfig): an app's own come behind them.
pub static SCHEMAS: &[&Schema] = &[
    &attendance::SCHEMA,
    &consultation::SCHEMA,
    &digest::SCHEMA,
    &feedback::SCHEMA,
    &index::SCHEMA,
    &minutes::SCHEMA,
    &notice::SCHEMA,
    &resolution::SCHEMA,
    &resolution::OPEN_SCHEMA,
    &review::SCHEMA,
    &roster::SCHEMA,
    &task::SCHEMA,
    &votebox::SCHEMA,
];
