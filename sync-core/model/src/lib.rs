//! The documents of a branch, over the generic documents of [`dinh_core`].
//!
//! Each kind has a module: a schema (who may write which field), a snapshot that is read from a view, and functions that write one
//! change each. Nothing here knows clocks, files or sockets.

pub mod attendance;
pub mod field;
pub mod lifecycle;
pub mod me;
pub mod minutes;
pub mod outline;
pub mod resolution;
pub mod roster;
pub mod seal;
pub mod suggestion;
pub mod vote;
