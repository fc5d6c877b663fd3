//! The program `dinh-relay`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::identity;
use crate::server::{ServeError, Server, ServerConfig};

/// It could not start.
const EXIT_START: u8 = 1;
/// It started, and had to stop because something broke: most likely the disk.
const EXIT_FAILED: u8 = 3;

/// Stores the work of Dinh devices and carries it between them.
#[derive(Debug, Parser)]
#[command(name = "dinh-relay", version, after_help = EXAMPLE, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "Example:\n  dinh-relay serve --data /var/lib/dinh --listen 0.0.0.0:4480\n\n\
    It prints the address that devices connect to: ws://HOST:4480/dinh/v1#KEY. KEY is this relay's, kept in relay.key.\n\
    Health is at /healthz and metrics are at /metrics of the same address.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the relay until SIGTERM or SIGINT.
    #[command(after_help = EXAMPLE)]
    Serve(Serve),
    /// Prints the key that stands after # in the relay's address, by which devices know it.
    Key(Key),
    /// Prints the version.
    Version,
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Directory for everything durable; created if it is not there.
    #[arg(long, value_name = "DIR", env = "DINH_DATA")]
    data: PathBuf,
    /// Address and port to listen on; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDR", env = "DINH_LISTEN", default_value = "127.0.0.1:4480")]
    listen: SocketAddr,
    /// Devices connected at the same time.
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    connections_max: u32,
    /// Refuses branches that are not hosted here yet.
    #[arg(long)]
    no_new_branches: bool,
    /// How log lines look, on stderr. Set RUST_LOG to choose which (default: info).
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, clap::Args)]
struct Key {
    /// The relay's data directory. The relay may be running.
    #[arg(long, value_name = "DIR", env = "DINH_DATA")]
    data: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// The program, with the arguments of this process.
pub fn main() -> ExitCode {
    if cfg!(feature = "canary") {
        start_logging(LogFormat::Text);
        tracing::error!("this relay was built with bugs on purpose (feature `canary`): it does not start");
        return ExitCode::from(EXIT_START);
    }
    run(std::env::args_os())
}

/// The program with these arguments, of which the first is its name. A line `dinh-relay listening ADDR` on stdout
/// says that it is ready, and where; the next, `dinh-relay address URL`, what devices need to connect to it.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Args::try_parse_from(args) {
        Ok(Args { command: Command::Serve(args) }) => serve(args),
        Ok(Args { command: Command::Key(args) }) => match identity::load(&args.data) {
            Ok(key) => {
                say(&key.public().to_string());
                ExitCode::SUCCESS
            }
            Err(error) => {
                start_logging(LogFormat::Text);
                complain(&error.into(), EXIT_START)
            }
        },
        Ok(Args { command: Command::Version }) => {
            say(&format!("dinh-relay {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(EXIT_START);
            // Nobody is left to tell if this fails.
            let _ = error.print();
            ExitCode::from(code)
        }
    }
}

fn serve(args: Serve) -> ExitCode {
    start_logging(args.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&ServeError::Failed(format!("no runtime: {error}")), EXIT_START),
    };
    let mut config = ServerConfig::new(args.data, args.listen);
    config.connections_max = args.connections_max as usize;
    config.hub.admit_new_branches = !args.no_new_branches;
    runtime.block_on(serve_until_told(config))
}

async fn serve_until_told(config: ServerConfig) -> ExitCode {
    // Listening for signals first: one that comes while the log is being opened must not kill.
    let told = match Signals::listen() {
        Ok(told) => told,
        Err(error) => return complain(&ServeError::Failed(format!("no signals: {error}")), EXIT_START),
    };
    let running = match Server::start(config).await {
        Ok(running) => running,
        Err(error) => return complain(&error, EXIT_START),
    };
    say(&format!("dinh-relay listening {}", running.local_addr()));
    say(&format!("dinh-relay address {}", running.address()));
    let failure = tokio::select! {
        error = running.failed() => Some(error),
        signal = told.wait() => {
            tracing::info!(signal, "stopping");
            None
        }
    };
    match (running.shutdown().await, failure) {
        (_, Some(error)) | (Err(error), None) => complain(&error, EXIT_FAILED),
        (Ok(()), None) => ExitCode::SUCCESS,
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn wait(self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Fails if the process that embeds this has set up its own, which is then used.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// A line on stdout. A reader that went away is no reason to stop.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn complain(error: &ServeError, code: u8) -> ExitCode {
    tracing::error!("{error}");
    ExitCode::from(code)
}
