//! The log on stderr.

use std::io;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// Changes what is logged.
pub(super) struct Level(Option<reload::Handle<EnvFilter, Registry>>);

/// Starts it. If the process that embeds this has set up its own, that is used.
pub(super) fn start(log: &Log) -> Level {
    let (filter, handle) = reload::Layer::new(filter(log));
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let is_ours = tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok();
    Level(is_ours.then_some(handle))
}

impl Level {
    pub(super) fn set(&self, log: &Log) {
        if let Some(Err(error)) = self.0.as_ref().map(|handle| handle.reload(filter(log))) {
            tracing::error!(%error, "the log keeps its level");
        }
    }
}

/// `RUST_LOG` is over the configuration: for whoever looks into something.
fn filter(log: &Log) -> EnvFilter {
    let of_environment = EnvFilter::try_from_default_env().ok();
    of_environment.or_else(|| EnvFilter::try_new(&log.level).ok()).unwrap_or_else(|| EnvFilter::new("info"))
}
