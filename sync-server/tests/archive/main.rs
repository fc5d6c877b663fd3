//! What operators do with a relay's storage: copies, looking over, compaction, moving spaces; on real files, with real
//! processes.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may measure"
)]
#![cfg(unix)]

mod commands;
mod copies;
mod damage;
#[path = "../hub_common/mod.rs"]
mod hub_common;
mod make;
mod online;
mod spaces;
