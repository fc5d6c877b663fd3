//! The README's second piece of Rust is that of the example, which is compiled and run.

use std::collections::BTreeSet;
use std::process::Command;

const README: &str = include_str!("../../../README.md");
const EXAMPLE: &str = include_str!("../examples/meeting.rs");

#[test]
fn the_readme_s_rust_code_is_that_of_the_example() {
    let block = README.split("```rust\n").nth(2).expect("there is a second block");
    let (block, _) = block.split_once("```").expect("it ends");
    let example: BTreeSet<&str> = EXAMPLE.lines().map(str::trim).collect();
    let lines: Vec<&str> = block.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    for line in &lines {
        assert!(example.contains(line), "not in examples/meeting.rs: {line}");
    }
    assert!(lines.len() > 10, "{} lines", lines.len());
}

#[test]
fn the_example_runs() {
    let program = std::env::current_exe().expect("this test is a program");
    // target/<profile>/deps/readme-… → target/<profile>/examples/meeting
    let built = program.ancestors().nth(2).expect("a profile's folder").join("examples/meeting");
    let mut run = if built.exists() {
        Command::new(built)
    } else {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "-q", "-p", "dinh-model", "--example", "meeting"]);
        cargo
    };
    let output = run.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for wanted in ["found: Đề nghị", "refused: signed would not count", "# BIÊN BẢN"] {
        assert!(said.contains(wanted), "{said}");
    }
}
