//! Every arrow, guard and missing arrow of the four lifecycles (domain 2.11), each on phones of which one is away while it
//! happens. What is expected is written here as the specification has it, not read from the code.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../village/mod.rs"]
mod village;

mod common;
mod feedback;
mod minutes;
mod races;
mod resolution;
mod review;
