//! Where a client stands.

use std::sync::atomic::{AtomicBool, Ordering};

use dinh_core::client::{self, Client};
use dinh_core::replica;
use tokio::sync::{Mutex, watch};

use crate::error::Result;
use crate::stream::Cancel;

/// The connection to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum LinkState {
    /// No connection.
    Offline,
    /// A connection is being made.
    Connecting,
    /// Connected; older items are still coming.
    CatchingUp,
    /// Connected; everything is received.
    Live,
}

/// Whether a client works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Lifecycle {
    /// It does.
    Open,
    /// It was locked, or paused: it has no store open until it is unlocked or resumed.
    Locked,
    /// It was shut down.
    Closed,
    /// It stopped by itself, because its store failed: open it again.
    Stopped,
}

/// Where a client stands.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Status {
    /// The connection to the relay.
    pub link: LinkState,
    /// Whether everything that is saved here is in the relay's durable log, and everything there is here.
    pub is_synced: bool,
    /// Changes and items that are saved here and not in the relay's durable log yet.
    pub pending: u64,
    /// Changes that are saved here and go nowhere, because this device may not read their space any more.
    pub stranded: u64,
    /// Whether protected spaces are locked.
    pub protected_locked: bool,
    /// Why there is no connection, if there should be one: for people who look into it.
    pub trouble: Option<String>,
    /// Whether the client works.
    pub lifecycle: Lifecycle,
}

impl From<&client::Status> for Status {
    fn from(status: &client::Status) -> Self {
        Self {
            link: match status.link {
                replica::LinkState::Offline => LinkState::Offline,
                replica::LinkState::Connecting => LinkState::Connecting,
                replica::LinkState::CatchingUp => LinkState::CatchingUp,
                replica::LinkState::Live => LinkState::Live,
            },
            is_synced: status.is_synced(),
            pending: status.pending as u64,
            stranded: status.stranded as u64,
            protected_locked: status.protected_locked,
            trouble: status.trouble.clone(),
            lifecycle: match status.lifecycle {
                client::Lifecycle::Open => Lifecycle::Open,
                client::Lifecycle::Locked => Lifecycle::Locked,
                client::Lifecycle::Closed => Lifecycle::Closed,
                client::Lifecycle::Stopped(_) => Lifecycle::Stopped,
            },
        }
    }
}

/// What went over sockets since the client was opened: bytes of WebSocket payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct Traffic {
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
    /// Connections that came as far as the upgrade.
    pub connections: u64,
}

impl From<client::Traffic> for Traffic {
    fn from(traffic: client::Traffic) -> Self {
        let client::Traffic { bytes_up, bytes_down, connections, .. } = traffic;
        Self { bytes_up, bytes_down, connections }
    }
}

/// Where a client stands, and every change of it: see `Client.status_stream`.
#[derive(Debug, uniffi::Object)]
pub struct StatusStream {
    status: Mutex<watch::Receiver<client::Status>>,
    is_over: AtomicBool,
    cancel: Cancel,
}

impl StatusStream {
    pub(crate) fn new(client: &Client) -> Self {
        let mut status = client.status();
        // So that the first is told at once.
        status.mark_changed();
        Self { status: Mutex::new(status), is_over: AtomicBool::new(false), cancel: Cancel::new() }
    }

    async fn advance(&self) -> Result<Option<Status>> {
        let mut watched = self.status.lock().await;
        if self.is_over.load(Ordering::Relaxed) || watched.changed().await.is_err() {
            return Ok(None);
        }
        let status = watched.borrow_and_update();
        let over = matches!(status.lifecycle, client::Lifecycle::Closed | client::Lifecycle::Stopped(_));
        self.is_over.store(over, Ordering::Relaxed);
        Ok(Some(Status::from(&*status)))
    }
}

#[uniffi::export]
impl StatusStream {
    /// The current status at once, then waits for the next; none when the client has ended or the stream was cancelled.
    pub async fn next(&self) -> Result<Option<Status>> {
        self.cancel.unless(self.advance()).await
    }

    /// Ends the stream, and a wait that is under way.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}
