//! The suites of the Python, Kotlin and Swift packages, so that one command passes all tests: see `bindings/test.sh`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// One at a time: each wants the whole machine.
static TURN: Mutex<()> = Mutex::new(());

fn run(language: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("test.sh");
    let status = Command::new(script).arg(language).status().unwrap();
    assert!(status.success(), "bindings/test.sh {language} failed: {status}");
}

#[test]
fn python() {
    run("python");
}

#[test]
fn kotlin() {
    run("kotlin");
}

#[test]
fn swift() {
    run("swift");
}
