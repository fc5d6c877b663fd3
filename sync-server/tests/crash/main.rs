//! Real processes, files and signals: kill -9 of the relay and of phones at random moments, power cuts, full and
//! read-only disks, two processes on one file. What was saved or acknowledged is there afterwards, and every refusal says why.
//!
//! `CRASH_ROUNDS` kills (40 unless told; the bar is 2,000), `CRASH_SEED`, `CRASH_DIR` for the files, `DINH_TEST_RELAY` for another relay program. The seed decides who is killed and when, not what
//! the processes do meanwhile: a failure names its seed and keeps its directory.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may measure"
)]

mod child;
mod disk;
mod images;
mod process;
#[path = "../real_common/mod.rs"]
mod real_common;
mod tokens;
mod world;

use real_common::{number, report};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::{Counts, World};

/// Kills in one world: then it is checked as a whole, and a new one begins with empty stores.
const ROUNDS_PER_WORLD: u64 = 60;
/// Worlds at the same time: mostly they wait.
const WORLDS_AT_ONCE: usize = 3;

#[test]
fn kill_9_at_any_moment_loses_nothing() {
    let (rounds, seed) = (number("CRASH_ROUNDS", 40), number("CRASH_SEED", 7));
    let began = Instant::now();
    report(&format!("crash: {rounds} rounds, seed {seed}"));
    let (total, next) = (Arc::new(Counts::default()), Arc::new(AtomicU64::new(0)));
    let worlds = rounds.div_ceil(ROUNDS_PER_WORLD).max(WORLDS_AT_ONCE as u64);
    let threads: Vec<_> = (0..WORLDS_AT_ONCE)
        .map(|_| {
            let (total, next) = (total.clone(), next.clone());
            std::thread::spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= worlds {
                        return;
                    }
                    let of_this = rounds / worlds + u64::from(n < rounds % worlds);
                    World::new(seed, n, total.clone()).run(of_this);
                }
            })
        })
        .collect();
    let failed = threads.into_iter().map(std::thread::JoinHandle::join).filter(Result::is_err).count();
    assert_eq!(failed, 0, "seed {seed}: {total}");
    report(&format!("crash: {total} (seed {seed}, {} s)", began.elapsed().as_secs()));
    assert_eq!(total.rounds(), rounds);
}

/// Not a test: a phone, run and killed by the test above.
#[test]
#[ignore = "is run by another test"]
fn a_phone_process() {
    if let Ok(told) = std::env::var(child::TOLD) {
        child::main(&told);
    }
}
