use dinh_proto::ids::Seq;

use super::ClientError;
use crate::replica::LinkState;

/// Where a client stands. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Status {
    /// The connection to the relay.
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
    /// Whether protected spaces are locked, and the device's second secret is not here; see
    /// [`Client::lock_protected`](super::Client::lock_protected).
    pub protected_locked: bool,
    /// Why there is no connection, if there should be one, or why the relay takes nothing of a branch although there is one (it
    /// needs a permit, say): for people who look into it. `None` as soon as it works again.
    pub trouble: Option<String>,
    /// Whether the relay was asked if it is still there and has not answered yet: the connection may be dead.
    pub is_probing: bool,
    /// Attempts to connect that failed since the client was opened or unlocked.
    pub failures: u64,
    /// Whether the client still works.
    pub lifecycle: Lifecycle,
}

/// Whether a client works.
#[derive(Debug, Clone)]
pub enum Lifecycle {
    /// It does.
    Open,
    /// It was locked as a whole: it has no keys and no store until it is unlocked.
    Locked,
    /// It was shut down.
    Closed,
    /// It stopped by itself: open the store again.
    Stopped(ClientError),
}

impl Status {
    /// Everything that is saved here is in the relay's durable log, but what is [stranded](Self::stranded), and everything there
    /// is here, in the store: a document that is open takes much that came at once in piece by piece, and tells each piece as an
    /// event ([`Replica::waiting_runs`](crate::replica::Replica::waiting_runs)).
    pub fn is_synced(&self) -> bool {
        self.link == LinkState::Live && self.pending == 0
    }

    /// Whether two say the same, as far as people can tell.
    pub(super) fn same(&self, other: &Self) -> bool {
        let of = |s: &Self| {
            let counts = (s.pending, s.stranded, s.acked, s.received, s.failures);
            (s.link, counts, s.protected_locked, s.is_probing, std::mem::discriminant(&s.lifecycle))
        };
        of(self) == of(other) && self.trouble == other.trouble
    }
}

/// What went over sockets since the client was opened. Bytes are those of WebSocket payloads: headers of frames,
/// the upgrade and everything below are not in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
    /// Frames sent.
    pub frames_up: u64,
    /// Frames received.
    pub frames_down: u64,
    /// Connections that came as far as the upgrade.
    pub connections: u64,
}
