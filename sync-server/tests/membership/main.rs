//! Membership with production replicas and the production hub: who is removed, admitted, given another role, and what then
//! counts on every phone.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../pair_common/mod.rs"]
mod pair_common;

#[path = "../../../sync-core/tests/scripted_relay/mod.rs"]
mod scripted_relay;

mod joining;
mod phones;
mod removal;
mod roles;
mod snapshots;
