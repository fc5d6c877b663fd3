//! Counters, as plain numbers: the driver turns them into metrics.

use std::collections::BTreeMap;

use dinh_proto::error::{CloseCode, RejectCode, SessionError};

use super::Limit;

/// What the hub has done since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Connections now.
    pub connections: u64,
    /// Branches hosted.
    pub branches: u64,
    /// Spaces hosted.
    pub spaces: u64,
    /// The last durable place.
    pub head: u64,
    /// Connections accepted.
    pub connected: u64,
    /// Connections gone.
    pub disconnected: u64,
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Bytes of frames sent.
    pub bytes_out: u64,
    /// Items stored.
    pub items_in: u64,
    /// Items delivered.
    pub items_out: u64,
    /// Snapshots delivered in place of the runs they cover.
    pub snapshots_out: u64,
    /// Items that were delivered from memory.
    pub tail_hits: u64,
    /// Reads from disk.
    pub reads: u64,
    /// Devices whose cursor was of no use, or that asked for a reconcile.
    pub reconciles: u64,
    /// Charter records in the log that the rules of this version do not count.
    pub charter_records_unused: u64,
    /// Times that a device's items had to wait because it put too much.
    pub puts_delayed: u64,
    /// Frames after which a socket was not read for a while because the device said too much.
    pub reads_paused: u64,
    /// Refused items by the quota that was used up; they are in `rejects` too, as `Quota`.
    pub quotas: BTreeMap<Limit, u64>,
    /// Refused items by code.
    pub rejects: BTreeMap<RejectCode, u64>,
    /// Connections that this side closed, by code.
    pub closes: BTreeMap<CloseCode, u64>,
}

/// The longest queues of connections; each number may be another connection's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queues {
    /// Bytes that wait for the socket.
    pub outgoing_bytes: usize,
    /// Items that were put and are not judged.
    pub puts: usize,
    /// Items that were asked for and are not sent.
    pub wanted: usize,
}

impl HubStats {
    pub(super) fn count_reject(&mut self, code: RejectCode) {
        *self.rejects.entry(code).or_default() += 1;
    }

    pub(super) fn count_close(&mut self, error: &SessionError) {
        if let Some(code) = error.close_code() {
            *self.closes.entry(code).or_default() += 1;
        }
    }
}
