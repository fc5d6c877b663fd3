//! The library's log, for the app's.

use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use crate::error::{DinhError, Result};

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What should not happen.
    Error,
    /// What is odd.
    Warn,
    /// What happens, in few lines.
    Info,
    /// For whoever looks into something.
    Debug,
    /// Everything.
    Trace,
}

/// A line of the log. It never holds content, names or keys.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct LogRecord {
    /// How important it is.
    pub level: LogLevel,
    /// The part of the library.
    pub target: String,
    /// What happened, with its fields.
    pub text: String,
}

/// Takes the log. Called on any thread of the library's: it should be quick, and it must not call the library.
#[uniffi::export(foreign)]
pub trait LogSink: Send + Sync {
    /// One line.
    fn log(&self, record: LogRecord) -> Result<(), DinhError>;
}

static LEVEL: AtomicU8 = AtomicU8::new(0);

thread_local! {
    /// A line that is made while a line is given to the app is dropped.
    static IS_LOGGING: Cell<bool> = const { Cell::new(false) };
}

const fn number(level: LogLevel) -> u8 {
    match level {
        LogLevel::Off => 0,
        LogLevel::Error => 1,
        LogLevel::Warn => 2,
        LogLevel::Info => 3,
        LogLevel::Debug => 4,
        LogLevel::Trace => 5,
    }
}

const fn level_of(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// Gives the log to the app from now on, once in a process.
#[uniffi::export]
pub fn install_log(level: LogLevel, sink: Arc<dyn LogSink>) -> Result<()> {
    let subscriber = Registry::default().with(Forward(sink));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| {
        DinhError::invalid("the log is installed already, once in a process: change its level instead")
    })?;
    set_log_level(level);
    Ok(())
}

/// Logs as much as this from now on.
#[uniffi::export]
pub fn set_log_level(level: LogLevel) {
    LEVEL.store(number(level), Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

struct Forward(Arc<dyn LogSink>);

impl<S: Subscriber> Layer<S> for Forward {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        number(level_of(*metadata.level())) <= LEVEL.load(Ordering::Relaxed)
            && metadata.target().starts_with("dinh")
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if IS_LOGGING.replace(true) {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let record = LogRecord {
            level: level_of(*metadata.level()),
            target: metadata.target().to_owned(),
            text: format!("{}{}", text.message, text.fields),
        };
        // Whoever takes the log has no other place to tell that it cannot.
        let _ = self.0.log(record);
        IS_LOGGING.set(false);
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
