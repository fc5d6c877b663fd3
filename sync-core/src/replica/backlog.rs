//! How much waits in a replica, for tests that hold it against the bounds.

use super::Replica;
use crate::store::Store;

/// How much of everything that a peer can make grow there is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Items that wait for what says who may write them.
    pub parked: usize,
    /// Their bytes.
    pub parked_bytes: usize,
    /// Runs that wait for what they build on, of the open document that has most.
    pub waiting: usize,
    /// Bytes of received runs that are in memory until they are looked at, of the open document that has most.
    pub queued_bytes: usize,
    /// Open documents.
    pub open: usize,
    /// About how much memory they take, bytes.
    pub open_bytes: usize,
    /// Bytes that wait for the connection to take them.
    pub outgoing: usize,
}

impl<S: Store> Replica<S> {
    /// How much waits now.
    pub fn backlog(&self) -> Backlog {
        Backlog {
            parked: self.parked.len(),
            parked_bytes: self.parked.values().map(Vec::len).sum(),
            waiting: self.open.values().map(|o| o.waiting.orders().count()).max().unwrap_or_default(),
            queued_bytes: self.open.values().map(|o| o.queued_bytes()).max().unwrap_or_default(),
            open: self.open.len(),
            open_bytes: self.open.values().map(super::documents::OpenDocument::memory).sum(),
            outgoing: self.link.as_ref().map_or(0, |link| link.session.outgoing_bytes()),
        }
    }
}
