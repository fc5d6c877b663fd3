//! `dinh-relay serve`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use super::log::{self, Level};
use super::{EXIT_BROKE, EXIT_FAILED, EXIT_TOLD_TWICE, EXIT_USAGE, From, misconfigured, say};
use crate::config::{Config, ConfigError};
use crate::hub::Admission;
use crate::server::{Running, ServeError, Server};

pub(super) const EXAMPLE: &str = "Examples:\n  dinh-relay serve --data /var/lib/dinh --listen 0.0.0.0:4480\n  \
    dinh-relay serve --config /etc/dinh/relay.toml\n\n\
    It prints the address that devices connect to: ws://HOST:4480/dinh/v1#KEY. KEY is this relay's, kept in relay.key.\n\
    Health is at /healthz and metrics are at /metrics of the same address. SIGHUP reads the configuration again.\n\
    SIGTERM stops it: devices are told to come back, spread over a time; a second one ends it at once.";

#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    from: From,
    /// Directory for everything durable; created if it is not there. The key `data`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one, which is printed. The key `listen`.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Refuses branches that are not hosted here yet: `admission.mode = "closed"`.
    #[arg(long)]
    no_new_branches: bool,
}

impl Serve {
    fn config(&self) -> Result<Config, ConfigError> {
        let mut config = self.from.sources().read()?;
        if let Some(data) = &self.data {
            config.data = Some(data.clone());
        }
        config.listen = self.listen.unwrap_or(config.listen);
        if self.no_new_branches {
            config.admission.mode = Admission::Closed;
        }
        Ok(config)
    }
}

pub(super) fn serve(args: Serve) -> ExitCode {
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => return misconfigured(error),
    };
    let Some(data) = config.data.clone() else {
        return misconfigured("say where to keep everything: --data DIR, or `data` in the configuration");
    };
    let level = log::start(&config.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&ServeError::Failed(format!("no runtime: {error}")), EXIT_FAILED),
    };
    let code = runtime.block_on(serve_until_told(&args, config, data, &level));
    // Whoever was told twice waits for nobody.
    runtime.shutdown_background();
    code
}

async fn serve_until_told(args: &Serve, mut config: Config, data: PathBuf, level: &Level) -> ExitCode {
    // Listening for signals first: one that comes while the log is being opened must not kill.
    let mut told = match Signals::listen() {
        Ok(told) => told,
        Err(error) => return failed(&ServeError::Failed(format!("no signals: {error}")), EXIT_FAILED),
    };
    let running = match Server::start(config.server(data)).await {
        Ok(running) => running,
        // What is written wrongly does not become right by itself.
        Err(error @ ServeError::Tls(_)) => return failed(&error, EXIT_USAGE),
        Err(error) => return failed(&error, EXIT_FAILED),
    };
    say(&format!("dinh-relay listening {}", running.local_addr()));
    say(&format!("dinh-relay address {}", running.address()));
    let failure = loop {
        tokio::select! {
            error = running.failed() => break Some(error),
            signal = told.next() => match signal {
                Signal::Reload => config = reload(args, config, &running, level),
                Signal::Stop(signal) => {
                    tracing::info!(signal, "stopping");
                    break None;
                }
            },
        }
    };
    let ended = tokio::select! {
        ended = running.shutdown() => ended,
        signal = told.next_stop() => {
            tracing::warn!(signal, "told again: ending without waiting for connections; what was acknowledged is on disk");
            return ExitCode::from(EXIT_TOLD_TWICE);
        }
    };
    match (ended, failure) {
        (_, Some(error)) | (Err(error), None) => failed(&error, EXIT_BROKE),
        (Ok(()), None) => ExitCode::SUCCESS,
    }
}

/// What holds from now on.
fn reload(args: &Serve, old: Config, running: &Running, level: &Level) -> Config {
    let new = match args.config() {
        Ok(new) => new,
        Err(error) => {
            tracing::error!(%error, "the configuration is not taken: the relay goes on with the one it has");
            return old;
        }
    };
    let needs_restart = old.needs_restart(&new);
    if !needs_restart.is_empty() {
        tracing::warn!(keys = needs_restart.join(", "), "these change when the relay is started again");
    }
    level.set(&new.log);
    // Compared with what runs, the next time too.
    let holds = Config {
        data: old.data,
        listen: old.listen,
        admin: old.admin,
        log: crate::config::Log { format: old.log.format, ..new.log },
        tls: if old.tls.files().is_some() == new.tls.files().is_some() { new.tls } else { old.tls },
        connections: crate::config::Connections { max: old.connections.max, ..new.connections },
        ..new
    };
    // What it keeps its things in is not looked at again.
    running.reconfigure(holds.server(PathBuf::new()));
    tracing::info!("the configuration was read again");
    holds
}

impl Signals {
    async fn next_stop(&mut self) -> &'static str {
        loop {
            if let Signal::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}

enum Signal {
    Reload,
    Stop(&'static str),
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.hangup.recv() => Signal::Reload,
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

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Stop("Ctrl-C"),
            Err(_) => std::future::pending().await,
        }
    }
}

fn failed(error: &ServeError, code: u8) -> ExitCode {
    tracing::error!("{error}");
    ExitCode::from(code)
}
