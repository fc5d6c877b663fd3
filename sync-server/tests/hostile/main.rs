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
mod relay;
mod rules;
mod table;

use std::io::Write;

use tokio::sync::RwLock;

/// The siege is measured alone.
static ALONE: RwLock<()> = RwLock::const_new(());

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")))
}

/// A line that libtest does not swallow.
fn report(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}
