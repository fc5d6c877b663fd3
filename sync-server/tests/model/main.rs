//! The documents of a branch with the production hub: audiences, consultations, a meeting over real sockets.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::disallowed_methods, reason = "tests measure time")]

#[path = "../pair_common/mod.rs"]
mod pair_common;

mod amendments;
mod consultation;
mod digests;
mod late;
mod scenario;
mod search;
mod spaces;
