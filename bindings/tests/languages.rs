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
    let mut command = Command::new(script);
    // What cargo tells tests about their package: ring's build script would take it for its own, and be built again with all that is on
    // top of it, here and the next time elsewhere.
    let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if of_package.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            command.env_remove(name);
        }
    }
    let status = command.arg(language).status().unwrap();
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
