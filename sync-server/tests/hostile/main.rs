//! Hostile peers over real sockets of a real relay process: each rule of `docs/PROTOCOL.md` broken ([`table::RULES`] says where),
//! and floods while devices that behave go on editing. Nothing that is not right is taken, nobody else notices, and the
//! relay stays within its memory.
//!
//! `DINH_FULL=1`: a gigabyte of small frames instead of 64 MB. `HOSTILE_SEED`; `DINH_TEST_RELAY` for another relay program. To find out
//! what slows who behaves: `HOSTILE_ONLY` (a word or more of flood, drip, abandon, replay, insider), `HOSTILE_BETWEEN_US`.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may measure"
)]

mod attackers;
mod flood;
#[path = "../hub_common/mod.rs"]
mod hub_common;
mod peer;
#[path = "../real_common/mod.rs"]
mod real_common;
mod relay;
mod rules;
mod table;

use real_common::{number, report};

use tokio::sync::RwLock;

/// The siege is measured alone.
static ALONE: RwLock<()> = RwLock::const_new(());
