//! One connected device: what it was sent, what it is owed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use dinh_proto::ids::{DeviceId, Seq, SpaceId};
use dinh_proto::session::RelaySession;
use dinh_proto::time::Timestamp;
use dinh_proto::wire::{ChainSet, Fetch, Scope};

use super::policy::Shown;
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
    /// When its last frame came.
    pub(super) arrived: Timestamp,
}

/// Items of one `Put` that were acknowledged and whose ack is not with the socket yet.
#[derive(Debug)]
pub(super) struct AckMark {
    pub(super) arrived: Timestamp,
    pub(super) items: u32,
    /// How many bytes must be with the socket for the ack to be; unknown until the ack is in the queue.
    pub(super) end: Option<u64>,
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

/// A device that said hello and is not welcomed yet.
#[derive(Debug)]
pub(super) struct Greeting {
    /// Branches whose charters may name it and were not asked.
    pub(super) branches: BTreeSet<SpaceId>,
    /// Its cursor is of no use.
    pub(super) reconcile: bool,
}

/// Something that needs spaces in memory, one after the other.
#[derive(Debug)]
pub(super) enum Ask {
    /// The device is told what these spaces have.
    Have(VecDeque<SpaceId>),
    /// It asked for items of one.
    Want(ChainSet),
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
    pub(super) since: Timestamp,
    /// The permit that it showed last.
    pub(super) permit: Shown,
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
    /// Space, place and length of items that it asked for.
    pub(super) wanted: VecDeque<(SpaceId, Seq, u32)>,
    /// What it waits for before it is welcomed.
    pub(super) greeting: Option<Greeting>,
    /// What it asked for, or is to be told, that needs spaces in memory.
    pub(super) asks: VecDeque<Ask>,
    /// Spaces that stay in memory until it has what it lacks of them.
    pub(super) held_to_send: Vec<SpaceId>,
    /// Spaces that stay in memory until the first of its puts is judged.
    pub(super) held_to_judge: Vec<SpaceId>,
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
    /// Bytes of frames, both ways.
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// Bytes of messages that the socket has taken.
    pub(super) drained: u64,
    /// Oldest first. Bounded like the puts that are not answered.
    pub(super) acks: VecDeque<AckMark>,
}

impl Peer {
    pub(super) fn new(session: RelaySession, since: Timestamp) -> Self {
        Self {
            session,
            since,
            permit: None,
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
            greeting: None,
            asks: VecDeque::new(),
            held_to_send: Vec::new(),
            held_to_judge: Vec::new(),
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
            bytes_in: 0,
            bytes_out: 0,
            drained: 0,
            acks: VecDeque::new(),
        }
    }

    /// It may not read a space any more: nothing of it is sent from now on.
    pub(super) fn leave(&mut self, space: &SpaceId) {
        self.spaces.remove(space);
        self.dirty.remove(space);
        self.changed.remove(space);
        self.backfills.remove(space);
        self.wanted.retain(|(wanted, _, _)| wanted != space);
    }

    /// Put `number` is acknowledged: call before [`answered`](Self::answered).
    pub(super) fn mark_ack(&mut self, number: u64) {
        let i = self.open_puts.partition_point(|p| p.first <= number);
        let Some(put) = i.checked_sub(1).and_then(|i| self.open_puts.get(i)) else { return };
        match self.acks.back_mut() {
            Some(mark) if mark.end.is_none() && mark.arrived == put.arrived => mark.items += 1,
            _ => self.acks.push_back(AckMark { arrived: put.arrived, items: 1, end: None }),
        }
    }

    /// Puts the acks so far behind everything that waits for the socket.
    pub(super) fn queue_acks(&mut self) {
        if self.acks.back().is_none_or(|mark| mark.end.is_some()) {
            return;
        }
        if !self.session.is_flowing() {
            // It ended before it could be told.
            self.acks.clear();
            return;
        }
        self.session.flush_acks();
        let end = self.drained + self.session.outgoing_bytes() as u64;
        for mark in self.acks.iter_mut().rev().take_while(|mark| mark.end.is_none()) {
            mark.end = Some(end);
        }
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
