//! The program `dinh-relay`.

mod ask;
mod backup;
mod check;
mod compact;
mod console;
mod export;
mod import;
mod log;
mod long;
mod policy;
mod restore;
mod serve;
mod spaces;
mod status;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use dinh_proto::keys::RelayKey;

use crate::config::Sources;
use crate::identity::{self, IdentityError};

/// It could not start, or what was asked could not be done.
const EXIT_FAILED: u8 = 1;
/// What was asked for is not whole; the same as clap's.
const EXIT_USAGE: u8 = 2;
/// It started, and had to stop because something broke: most likely the disk.
const EXIT_BROKE: u8 = 3;
/// It was told a second time to stop, and did not wait for connections to end.
const EXIT_TOLD_TWICE: u8 = 4;

/// Stores the work of Dinh devices and carries it between them.
#[derive(Debug, Parser)]
#[command(name = "dinh-relay", version, after_help = serve::EXAMPLE, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the relay until SIGTERM or SIGINT.
    #[command(after_help = serve::EXAMPLE)]
    Serve(serve::Serve),
    /// Checks a configuration and prints what would hold.
    #[command(after_help = check::EXAMPLE)]
    CheckConfig(check::Check),
    /// Permits to found branches here: issue, list, show, revoke them, admit a branch without one.
    #[command(subcommand, after_help = policy::PERMIT_EXAMPLE)]
    Permit(policy::PermitCommand),
    /// Who is connected, and who is let in no more.
    #[command(subcommand, after_help = policy::DEVICES_EXAMPLE)]
    Devices(policy::DevicesCommand),
    /// Lists spaces, shows one, and says what they may do.
    #[command(subcommand)]
    Spaces(Spaces),
    /// Prints the key that stands after # in the relay's address, by which devices know it.
    #[command(after_help = "Example:\n  dinh-relay key --data /var/lib/dinh")]
    Key(Key),
    /// Copies the log, of a relay that may be running.
    #[command(after_help = backup::EXAMPLE)]
    Backup(backup::Args),
    /// Makes a data directory from a backup.
    #[command(after_help = restore::EXAMPLE)]
    Restore(restore::Args),
    /// Looks a whole log or backup over: bytes, chains, signatures.
    #[command(after_help = verify::EXAMPLE)]
    Verify(verify::Args),
    /// Gives unused space of the log's file back.
    #[command(after_help = compact::EXAMPLE)]
    Compact(compact::Args),
    /// Writes a space, or all of a branch, to a file.
    #[command(after_help = export::EXAMPLE)]
    ExportSpace(export::Args),
    /// Takes a file of export-space into the log.
    #[command(after_help = import::EXAMPLE)]
    ImportSpace(import::Args),
    /// Shows how a running relay does.
    #[command(after_help = status::EXAMPLE)]
    Status(status::Status),
    /// Prints the address of a running relay's console, with a link that signs in once.
    #[command(after_help = console::EXAMPLE)]
    Console(console::Console),
    /// Prints the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum Spaces {
    /// Lists the spaces of a running relay, 100 a page.
    #[command(after_help = spaces::LIST_EXAMPLE)]
    List(spaces::ListSpaces),
    /// Shows one space of a running relay.
    #[command(after_help = spaces::SHOW_EXAMPLE)]
    Show(spaces::ShowSpace),
    /// Takes nothing new in a space, or in a whole branch; it can be read.
    #[command(
        after_help = "Example:\n  dinh-relay spaces suspend 0f3c…(32 digits) --reason \"not paid\" --data /var/lib/dinh"
    )]
    Suspend(policy::SuspendSpace),
    /// Takes what is new again.
    #[command(after_help = "Example:\n  dinh-relay spaces resume 0f3c…(32 digits) --data /var/lib/dinh")]
    Resume(policy::ResumeSpace),
}

#[derive(Debug, clap::Args)]
struct Key {
    /// The relay's data directory. The relay may be running.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Makes one if there is none: every device then needs the relay's new address.
    #[arg(long)]
    new: bool,
}

impl Key {
    fn load(&self) -> Result<RelayKey, IdentityError> {
        match identity::load(&self.data) {
            Err(IdentityError::Missing { .. }) if self.new => identity::load_or_create(&self.data),
            loaded => loaded,
        }
    }
}

/// Where the configuration comes from: the same for each command that has one.
#[derive(Debug, Clone, clap::Args)]
struct From {
    /// The configuration file (TOML). `dinh-relay check-config --defaults` prints one with everything in it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One key of the configuration, over the file and over variables such as DINH_RELAY_QUOTAS__SPACE_BYTES.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl From {
    fn sources(&self) -> Sources {
        // What is no UTF-8 is no value of ours.
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Sources {
            file: self.config.clone(),
            environment: std::env::vars_os().filter_map(text).collect(),
            set: self.set.clone(),
        }
    }
}

/// The program, with the arguments of this process.
pub fn main() -> ExitCode {
    if cfg!(feature = "canary") {
        return complain("this relay was built with bugs on purpose (feature `canary`): it does not start");
    }
    run(std::env::args_os())
}

/// The program with these arguments, of which the first is its name. A line `dinh-relay listening ADDR` on stdout
/// says that it is ready, and where; the next, `dinh-relay address URL`, what devices need to connect to it.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Args::try_parse_from(args) {
        Ok(Args { command: Command::Serve(args) }) => serve::serve(args),
        Ok(Args { command: Command::CheckConfig(args) }) => check::check(&args),
        Ok(Args { command: Command::Key(args) }) => match args.load() {
            Ok(key) => {
                say(&key.public().to_string());
                ExitCode::SUCCESS
            }
            Err(error) => complain(&error),
        },
        Ok(Args { command: Command::Backup(args) }) => backup::backup(&args),
        Ok(Args { command: Command::Restore(args) }) => restore::restore(&args),
        Ok(Args { command: Command::Verify(args) }) => verify::verify(&args),
        Ok(Args { command: Command::Compact(args) }) => compact::compact(&args),
        Ok(Args { command: Command::ExportSpace(args) }) => export::export(&args),
        Ok(Args { command: Command::ImportSpace(args) }) => import::import(&args),
        Ok(Args { command: Command::Status(args) }) => status::status(&args),
        Ok(Args { command: Command::Spaces(Spaces::List(args)) }) => spaces::list(&args),
        Ok(Args { command: Command::Spaces(Spaces::Show(args)) }) => spaces::show(&args),
        Ok(Args { command: Command::Console(args) }) => console::console(&args),
        Ok(Args { command: Command::Permit(command) }) => policy::permit(&command),
        Ok(Args { command: Command::Devices(command) }) => policy::devices(&command),
        Ok(Args { command: Command::Spaces(Spaces::Suspend(args)) }) => policy::suspend_space(&args),
        Ok(Args { command: Command::Spaces(Spaces::Resume(args)) }) => policy::resume_space(&args),
        Ok(Args { command: Command::Version }) => {
            say(&format!("dinh-relay {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(EXIT_FAILED);
            // Nobody is left to tell if this fails.
            let _ = error.print();
            ExitCode::from(code)
        }
    }
}

/// A line on stdout. A reader that went away is no reason to stop.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What is wrong with the configuration.
fn misconfigured(why: impl std::fmt::Display) -> ExitCode {
    complain(why);
    ExitCode::from(EXIT_USAGE)
}

/// Why it cannot be done, on stderr.
fn complain(why: impl std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "dinh-relay: {why}");
    ExitCode::from(EXIT_FAILED)
}
