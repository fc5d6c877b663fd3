//! Bugs planted on purpose, one at a time: the worlds must find each, by a checker that was made for such a thing.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use dinh_proto::canary::plant;

use crate::{guarded, run_world};

/// A bug. Where it is planted, a comment says what is wrong.
struct Canary {
    name: &'static str,
    /// Seeds from the first on within which it must be found.
    seeds: u64,
    /// What the message of a checker that finds it may begin with: "phone N" stands for any phone.
    by: &'static [&'static str],
}

/// `seeds` is several times what it took when this was written, so that a change of the worlds does not hide a bug.
const CANARIES: &[Canary] = &[
    Canary { name: "ack-before-append", seeds: 20, by: &["durability: "] },
    Canary {
        name: "append-twice",
        seeds: 40,
        by: &["cursor: ", "checksums: ", "a reconnect with nothing changed", "not within N s: "],
    },
    Canary {
        name: "backfill-skipped",
        seeds: 200,
        by: &["checksums: ", "not within N s: convergence", "a reconnect with nothing changed"],
    },
    Canary { name: "checksum-ignored", seeds: 60, by: &["not within N s: convergence", "cursor: "] },
    Canary { name: "commit-without-sync", seeds: 20, by: &["phone N after its start lacks", "synced: "] },
    Canary { name: "cursor-before-store", seeds: 20, by: &["cursor: "] },
    Canary {
        name: "double-apply",
        seeds: 20,
        by: &["a reconnect with nothing changed", "checksums: ", "cursor: "],
    },
    Canary { name: "fan-out-unchecked", seeds: 25, by: &["privacy: "] },
    Canary { name: "hall-acknowledged", seeds: 250, by: &["synced: "] },
    Canary { name: "outbox-trimmed-on-send", seeds: 20, by: &["synced: "] },
    Canary {
        name: "phone-skips-chain-check",
        // What a relay has passes its own check: it takes a copy of a store, or an old backup of the log, to come to this.
        seeds: 500,
        by: &[
            "cursor: phone N does not have",
            "phone N: an honest item",
            "phone N: N runs of",
            "phone N at the end lacks",
            "not within N s: convergence",
        ],
    },
    Canary { name: "queue-unbounded", seeds: 20, by: &["bounds: "] },
    Canary { name: "record-not-applied", seeds: 20, by: &["not within N s: "] },
    Canary {
        name: "relay-skips-chain-check",
        seeds: 40,
        by: &["cursor: phone N does not have", "phone N: an honest item"],
    },
    Canary { name: "resume-from-wrong-seq", seeds: 20, by: &["checksums: "] },
    Canary { name: "revoked-author-accepted", seeds: 150, by: &["revoked: "] },
    Canary { name: "saved-before-commit", seeds: 20, by: &["phone N after its start lacks"] },
    Canary { name: "seal-view-at-current-heads", seeds: 600, by: &["phone N finds a seal Wrong"] },
    Canary {
        name: "snapshot-unverified",
        seeds: 60,
        by: &[
            "not within N s: ",
            "phones N and N show",
            "phone N at the end lacks",
            "a reconnect with nothing changed",
        ],
    },
    Canary {
        name: "stale-epoch-accepted",
        seeds: 200,
        by: &[
            "checksums: ",
            "not within N s: ",
            "cursor: ",
            "durability: ",
            "a reconnect with nothing changed",
        ],
    },
    Canary {
        name: "tail-left-out",
        seeds: 40,
        by: &["checksums: ", "not within N s: ", "a reconnect with nothing changed"],
    },
];

/// Runs the canary of this name, or all.
pub(crate) fn run(name: &str, first: u64) -> ExitCode {
    let chosen: Vec<&Canary> = CANARIES.iter().filter(|c| name == "all" || c.name == name).collect();
    if chosen.is_empty() {
        println!("no canary {name}; there are:");
        CANARIES.iter().for_each(|c| println!("  {}", c.name));
        return ExitCode::FAILURE;
    }
    let began = Instant::now();
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(canary) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (found, line) = hunt(canary, first);
                    println!("{line}");
                    failed.fetch_add(usize::from(!found), Ordering::Relaxed);
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!("{} canaries in {:.1} s", chosen.len(), began.elapsed().as_secs_f64());
    println!("sim: {} passed, {failed} failed", chosen.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first seed that finds it, if there is one within its bound.
fn hunt(canary: &Canary, first: u64) -> (bool, String) {
    let mut others = Vec::new();
    for seed in first..first + canary.seeds {
        plant(canary.name);
        let outcome = guarded(|| run_world(seed, false));
        plant("");
        let Err(error) = outcome else { continue };
        // A seed that fails without the bug, too, says nothing about it: that is for the other tests.
        if guarded(|| run_world(seed, false)).is_err() {
            continue;
        }
        let said = said(&error);
        if canary.by.iter().any(|by| without_numbers(&said).starts_with(by)) {
            return (true, format!("canary {}: found, seed {seed} of {}: {said}", canary.name, canary.seeds));
        }
        others.push(format!("\n  stopped by another checker, seed {seed}: {said}"));
    }
    let others = others.concat();
    (false, format!("canary {}: NOT found within {} seeds{others}", canary.name, canary.seeds))
}

/// What a checker said: a panic's message begins with where it was, and may go on for many lines.
fn said(error: &str) -> String {
    let mut lines = error.lines();
    let place = lines.next().unwrap_or_default();
    let text = lines.next().unwrap_or(place);
    let text = text.strip_prefix("assertion `left == right` failed: ").unwrap_or(text);
    text.chars().take(160).collect()
}

/// With N for every number, so that messages can be told apart.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if out.ends_with('N') => {}
            true => out.push('N'),
            false => out.push(c),
        }
    }
    out
}
