//! `dinh-bench`: what a relay bears. Each subcommand starts a real relay (or is given one), drives it, and says what it saw.

mod soak;

use std::process::ExitCode;

use clap::Parser;

/// Load for a Dinh relay, from one process.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Thousands of devices for minutes: nothing lost, flat memory, metrics that agree with what the devices counted.
    Soak(soak::Options),
}

fn main() -> ExitCode {
    let Command::Soak(options) = Command::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("dinh-bench: no runtime: {error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(soak::run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("dinh-bench: {error}");
            ExitCode::from(2)
        }
    }
}
