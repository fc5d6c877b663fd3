//! The README's Rust code is that of the example, which is compiled and run.

use std::collections::BTreeSet;
use std::process::Command;

const README: &str = include_str!("../../README.md");
const EXAMPLE: &str = include_str!("../examples/embed.rs");

#[test]
fn the_readme_s_rust_code_is_that_of_the_example() {
    let (_, block) = README.split_once("```rust\n").expect("there is a block");
    let (block, _) = block.split_once("```").expect("it ends");
    let example: BTreeSet<&str> = EXAMPLE.lines().map(str::trim).collect();
    let lines: Vec<&str> = block.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    for line in &lines {
        assert!(example.contains(line), "not in examples/embed.rs: {line}");
    }
    assert!(lines.len() > 10, "{} lines", lines.len());
}

#[test]
fn the_example_runs() {
    let mut cargo = Command::new(env!("CARGO"));
    let program = std::env::current_exe().expect("this test is a program");
    // target/<profile>/deps/readme-… → target/<profile>/examples/embed
    let built = program.ancestors().nth(2).expect("a profile's folder").join("examples/embed");
    let mut run = if built.exists() {
        Command::new(built)
    } else {
        cargo.args(["run", "-q", "-p", "dinh-core", "--example", "embed"]);
        cargo
    };
    let output = run.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("present"), "{said}");
}
