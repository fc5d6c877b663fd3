//! The soak itself, small: the same code as the ten minutes with 5,000 devices, which `docs/operating.md` tells of.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

#[test]
fn a_small_soak_loses_nothing_and_the_metrics_agree() {
    let program = Path::new(env!("CARGO_BIN_EXE_dinh-bench"));
    let relay = program.with_file_name("dinh-relay");
    assert!(relay.exists(), "there is no {}: build it with `cargo build -p dinh-server`", relay.display());
    let output = Command::new(program).args(["soak", "--quick", "--seed", "7"]).output().unwrap();
    let said = [output.stdout, output.stderr].map(|o| String::from_utf8_lossy(&o).into_owned()).concat();
    println!("{said}");
    assert!(output.status.success(), "{said}");
}
