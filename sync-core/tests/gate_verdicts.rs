//! Bar 9: every build says the same of the same changes. `testdata/gate/verdicts-v1.txt` holds the verdicts of this
//! one; another build compares by running this test. `DINH_BLESS=1` writes the file anew, for new rules.

mod gate_common;

use std::fmt::Write;
use std::path::PathBuf;

use dinh_core::gate::{GateError, Past, RULES_VERSION, judge_change};
use gate_common::{Pool, Rng, Session, chunk, contents, encode, mutate_bytes, mutate_change, quiet};
use sha2::{Digest, Sha256};

const SESSIONS: u64 = 20;
const PER_SESSION: u64 = 60;

/// A line for each input: number, first bytes of its hash, verdict.
fn verdicts() -> String {
    let mut out = format!("rules {RULES_VERSION}\n");
    for session in 0..SESSIONS {
        let changes = Session::run(1_000 + session, 16).merge().changes();
        let pool = Pool::new(&changes);
        let mut past = Past::new();
        let mut pasts = Vec::new();
        for (_, raw) in &changes {
            pasts.push(past.clone());
            judge_change(raw, &mut past).expect("honest");
        }
        for n in 0..PER_SESSION {
            let mut rng = Rng::new(session << 32 | n);
            let at = rng.below(changes.len());
            let honest = &changes[at].1;
            let raw = match n % 3 {
                0 => Some(honest.clone()),
                1 => Some(chunk(&mutate_bytes(contents(honest), contents(&changes[0].1), &mut rng))),
                _ => {
                    let change = automerge::Change::try_from(&honest[..]).expect("honest").decode();
                    encode(mutate_change(&change, &pool, &mut rng))
                }
            };
            let Some(raw) = raw else { continue };
            let verdict = match judge_change(&raw, &mut pasts[at].clone()) {
                Ok(_) => "accepted",
                Err(GateError::Rule(refusal)) => refusal.name(),
                Err(GateError::Missing(_)) => "missing",
                Err(error) if error.is_panic() => "panicked",
                Err(_) => "no-chunk",
            };
            let hash = Sha256::digest(&raw);
            writeln!(
                out,
                "{session}.{n} {:02x}{:02x}{:02x}{:02x} {verdict}",
                hash[0], hash[1], hash[2], hash[3]
            )
            .expect("a string takes anything");
        }
    }
    out
}

#[test]
fn the_verdicts_are_those_of_the_golden_file() {
    quiet();
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/gate/verdicts-v1.txt");
    let found = verdicts();
    if std::env::var_os("DINH_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("writable");
        std::fs::write(&file, &found).expect("writable");
    }
    let golden = std::fs::read_to_string(&file).expect("a committed file");
    let differ: Vec<_> = golden.lines().zip(found.lines()).filter(|(a, b)| a != b).take(5).collect();
    assert!(differ.is_empty() && golden.len() == found.len(), "{differ:?}");
    println!("{} verdicts, all as before", golden.lines().count() - 1);
}
