//! Where a replica stands, for people to see.

use dinh_proto::ids::{DocId, Seq};

use super::Replica;
use super::event::LinkState;
use crate::store::Store;

/// Where a replica stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The connection.
    pub link: LinkState,
    /// Changes and items that are saved here and not yet in the relay's durable log, and will be.
    pub pending: usize,
    /// Changes that are saved here and go nowhere, because this device may not read their space any more; they are pending again
    /// when it may.
    pub stranded: usize,
    /// The highest place in the relay's log that was acknowledged to this device; 0 if none.
    pub acked: Seq,
    /// The place up to which everything was received; 0 if nothing.
    pub received: Seq,
    /// Whether the device's second secret is not here: protected spaces cannot be read or written, and new keys of
    /// others not be learned.
    pub protected_locked: bool,
    /// Other devices to which there is a connection without a relay.
    pub nearby: usize,
}

impl<S: Store> Replica<S> {
    /// Where the replica stands.
    pub fn status(&self) -> Status {
        let is_stranded = |doc: &DocId| self.space_of(doc).is_some_and(|space| !self.reads(&space));
        let unsealed: usize = self.unsealed.values().map(Vec::len).sum();
        let stranded: usize =
            self.unsealed.iter().filter(|(doc, _)| is_stranded(doc)).map(|(_, changes)| changes.len()).sum();
        Status {
            link: self.link_state,
            pending: self.outbox.len() + unsealed - stranded + self.locked_changes,
            stranded,
            acked: self.acked,
            received: self.cursor.map_or(Seq(0), |c| c.seq),
            protected_locked: !self.key.has_wrap(),
            nearby: self.nearby().count(),
        }
    }
}
