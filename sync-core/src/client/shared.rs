//! What the driver and its handles share: what observers are told, and how a client ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;

use tokio::sync::{Notify, watch};

use super::ClientError;
use super::events::Observers;
use super::status::{Lifecycle, Status, Traffic};
use crate::replica::LinkState;

/// What the driver and its handles share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) status: watch::Sender<Status>,
    pub(super) observers: Observers,
    /// Why the driver stopped by itself.
    pub(super) failure: OnceLock<ClientError>,
    /// The app says that the connection may be dead.
    pub(super) suspect: Notify,
    pub(super) thread: OnceLock<ThreadId>,
    pub(super) bytes_up: AtomicU64,
    pub(super) bytes_down: AtomicU64,
    pub(super) frames_up: AtomicU64,
    pub(super) frames_down: AtomicU64,
    pub(super) connections: AtomicU64,
}

impl Shared {
    pub(super) fn new(status: Status, events_max: usize) -> Self {
        Self {
            status: watch::Sender::new(status),
            observers: Observers::new(events_max),
            failure: OnceLock::new(),
            suspect: Notify::new(),
            thread: OnceLock::new(),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            frames_up: AtomicU64::new(0),
            frames_down: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Traffic {
            bytes_up: of(&self.bytes_up),
            bytes_down: of(&self.bytes_down),
            frames_up: of(&self.frames_up),
            frames_down: of(&self.frames_down),
            connections: of(&self.connections),
        }
    }

    /// The driver can do nothing more. The first reason counts.
    pub(super) fn fail(&self, error: ClientError) {
        tracing::error!(%error, "the client stops");
        let _ = self.failure.set(error);
    }

    /// Why a command got no answer.
    pub(super) fn gone(&self) -> ClientError {
        self.failure.get().map_or(ClientError::Closed, |e| ClientError::Stopped(Arc::new(e.clone())))
    }

    pub(super) fn locked(&self) {
        self.status.send_modify(|status| {
            status.link = LinkState::Offline;
            status.lifecycle = Lifecycle::Locked;
        });
        self.observers.forget_content();
    }

    pub(super) fn ended(&self, lifecycle: Lifecycle) {
        self.status.send_modify(|status| {
            status.link = LinkState::Offline;
            status.lifecycle = lifecycle;
        });
        self.observers.end();
    }
}

pub(super) fn count(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}
