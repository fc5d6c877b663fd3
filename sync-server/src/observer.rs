//! What is counted and told of connections before the hub has them, and by whoever carries the hub. It outlives the driver: when the log
//! is opened again after its disk was full, counters go on.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use dinh_proto::time::Timestamp;
use tokio::time::Instant;

use crate::metrics::{HandshakeFailed, Metrics, Refused};
use crate::throttle::Throttle;

/// See the module.
#[derive(Debug)]
pub(crate) struct Observer {
    metrics: Arc<Metrics>,
    started: Instant,
    lines: Mutex<Throttle>,
}

impl Observer {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { metrics: Arc::new(Metrics::new()), started: Instant::now(), lines: Mutex::default() })
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// A connection was turned away because there are too many.
    pub(crate) fn refused_connection(&self, why: Refused, from: IpAddr) {
        self.metrics.refused_connection(why);
        if let Some(left_out) = self.line("connection", why.name()) {
            tracing::warn!(limit = why.name(), %from, left_out, "connection refused");
        }
    }

    /// A TLS handshake came to nothing.
    pub(crate) fn handshake_failed(&self, why: HandshakeFailed, from: IpAddr, error: Option<io::Error>) {
        self.metrics.handshake_failed(why);
        if let Some(left_out) = self.line("tls", why.name()) {
            let error = error.map(tracing::field::display);
            tracing::warn!(why = why.name(), %from, error, left_out, "TLS handshake failed");
        }
    }

    /// A socket is not read for a while because it brings too many WebSocket messages.
    pub(crate) fn paused_frames(&self, from: IpAddr) {
        self.metrics.paused_frames();
        if let Some(left_out) = self.line("pause", "frames") {
            tracing::warn!(limit = "frames", %from, left_out, "reading later: too much at once");
        }
    }

    fn line(&self, what: &'static str, why: &'static str) -> Option<u64> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).line(
            Timestamp(0) + self.started.elapsed(),
            what,
            why,
        )
    }
}
