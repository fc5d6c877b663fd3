//! The relay program; see [`dinh_server::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    dinh_server::cli::main()
}
