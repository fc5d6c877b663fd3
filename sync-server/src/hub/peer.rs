//! One connected device: what it was sent, what it is owed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use dinh_proto::ids::{DeviceId, Seq, SpaceId};
use dinh_proto::session::RelaySession;
use dinh_proto::wire::{Fetch, Scope};

use super::quota::Wait;

/// An item that waits for its verdict.
#[derive(Debug)]
pub(super) struct QueuedPut {
    pub(super) number: u64,
    pub(super) bridged: bool,
    pub(super) bytes: Bytes,
    /// It is counted in its device's share.
    pub(super) paid: bool,
}

/// A `Put` whose credit is given back when its last item is answered.
#[derive(Debug)]
pub(super) struct OpenPut {
    pub(super) first: u64,
    pub(super) unanswered: usize,
    pub(super) bytes: usize,
}

/// Items that are being read from disk for this device.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) token: u64,
    pub(super) scope: Scope,
    pub(super) upto: Seq,
    /// Place to name on the wire, place to read.
    pub(super) items: Vec<(Seq, Seq)>,
}

/// A reconcile in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reconcile {
    /// None.
    Idle,
    /// `Have`s were sent; the device's last `Want` is awaited.
    AwaitingWant,
}

/// One connected device.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) session: RelaySession,
    pub(super) device: Option<DeviceId>,
    /// Everything up to here was sent.
    pub(super) cursor: Seq,
    /// It began with no cursor: snapshots may stand for what they cover.
    pub(super) fresh: bool,
    /// Charters that a fresh device was sent before everything else, and up to where.
    pub(super) charters: BTreeMap<SpaceId, Seq>,
    /// Documents (by space and index) whose snapshot was sent, and what that covers.
    pub(super) snapshotted: BTreeMap<(SpaceId, u32), u64>,
    /// Spaces it may read.
    pub(super) spaces: BTreeSet<SpaceId>,
    /// Spaces that have items after the cursor.
    pub(super) dirty: BTreeSet<SpaceId>,
    /// Spaces whose checksums the next `CaughtUp` names.
    pub(super) changed: BTreeSet<SpaceId>,
    pub(super) owes_caught_up: bool,
    pub(super) backfills: BTreeMap<SpaceId, Fetch>,
    pub(super) wanted: VecDeque<(SpaceId, Seq)>,
    pub(super) reconcile: Reconcile,
    /// Its cursor was of no use: spaces that it gains are reconciled too.
    pub(super) reconciles_all: bool,
    pub(super) plan: Option<Plan>,
    pub(super) puts: VecDeque<QueuedPut>,
    /// The first of them waits for the device's share.
    pub(super) wait: Option<Wait>,
    /// What it sent before it was known who it is.
    pub(super) greeting_bytes: usize,
    pub(super) open_puts: VecDeque<OpenPut>,
    pub(super) verifying: bool,
    /// Places of items that came over this connection: they are not sent back over it.
    pub(super) own: BTreeSet<Seq>,
    pub(super) woken: bool,
}

impl Peer {
    pub(super) fn new(session: RelaySession) -> Self {
        Self {
            session,
            device: None,
            cursor: Seq(0),
            fresh: false,
            charters: BTreeMap::new(),
            snapshotted: BTreeMap::new(),
            spaces: BTreeSet::new(),
            dirty: BTreeSet::new(),
            changed: BTreeSet::new(),
            owes_caught_up: false,
            backfills: BTreeMap::new(),
            wanted: VecDeque::new(),
            reconcile: Reconcile::Idle,
            reconciles_all: false,
            plan: None,
            puts: VecDeque::new(),
            wait: None,
            greeting_bytes: 0,
            open_puts: VecDeque::new(),
            verifying: false,
            own: BTreeSet::new(),
            woken: false,
        }
    }

    /// It may not read a space any more: nothing of it is sent from now on.
    pub(super) fn leave(&mut self, space: &SpaceId) {
        self.spaces.remove(space);
        self.dirty.remove(space);
        self.changed.remove(space);
        self.backfills.remove(space);
        self.wanted.retain(|(wanted, _)| wanted != space);
    }

    /// Put `number` was answered: gives credit back when its message is done.
    pub(super) fn answered(&mut self, number: u64) {
        let i = self.open_puts.partition_point(|p| p.first <= number);
        let Some(put) = i.checked_sub(1).and_then(|i| self.open_puts.get_mut(i)) else { return };
        put.unanswered -= 1;
        while self.open_puts.front().is_some_and(|p| p.unanswered == 0) {
            if let Some(done) = self.open_puts.pop_front() {
                self.session.release(done.bytes);
            }
        }
    }
}
