//! Encryption end to end: what the relay, the network and a phone's file show, who opens what, and that keys reach whom
//! they should.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../pair_common/mod.rs"]
mod pair_common;
#[path = "../../../sync-core/tests/scripted_relay/mod.rs"]
mod scripted_relay;

mod canary;
mod epochs;
mod newcomers;
mod sizes;
