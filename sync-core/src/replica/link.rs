//! The conversation with a relay: what goes out, what its answers mean.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use dinh_proto::channel::Binding;
use dinh_proto::error::{CloseCode, SessionError};
use dinh_proto::ids::{Author, Cursor, ItemId, Seq, SpaceId};
use dinh_proto::item::SpaceSum;
use dinh_proto::keys::RelayPublic;
use dinh_proto::permit::Permit;
use dinh_proto::ranges::Ranges;
use dinh_proto::session::{DeviceEvent, DeviceSession};
use dinh_proto::time::Timestamp;
use dinh_proto::wire::{CaughtUp, Ephemeral, Hello, Welcome};
use rand_chacha::rand_core::RngCore;

use super::event::LinkState;
use super::hall::{HallLink, is_run_of_another};
use super::receive::Source;
use super::schema::{self, Batch, ItemKey};
use super::tend::random_delay;
use super::{Event, Now, Outgoing, Replica, ReplicaError};
use crate::store::{Store, StoreError, Table};

/// An item that the relay lacks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extra {
    pub(super) key: ItemKey,
    /// What stands before it in its chain is held by neither side.
    pub(super) bridged: bool,
    pub(super) attempts: u8,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) session: DeviceSession,
    /// The cursor was of no use: it is kept until the reconcile is done.
    pub(super) reconciling: bool,
    /// What the relay lacks is not all uploaded: the old cursor stays until it is, with which the next connection compares
    /// everything again. (A relay that knows nothing of this device, restored from before its branch, would not otherwise.)
    /// This is the one that follows.
    held_cursor: Option<Cursor>,
    /// `Have`s are awaited, and nothing is sent before.
    pub(super) awaiting_have: bool,
    /// The exchange covers everything that this device may read, also spaces that the relay does not name.
    pub(super) have_is_complete: bool,
    pub(super) haves: BTreeMap<SpaceId, BTreeMap<Author, Ranges>>,
    /// Items that the relay lacks although this device has no acknowledgement outstanding for them.
    pub(super) extras: VecDeque<Extra>,
    /// Extras that were refused for now: they are offered again with what else was.
    pub(super) extras_held_back: Vec<Extra>,
    /// Spaces of which the relay did not take everything: they are compared again on the next connection.
    pub(super) not_taken: BTreeSet<SpaceId>,
    /// Extras that were sent and not answered.
    pub(super) extras_sent: BTreeMap<ItemId, Extra>,
    /// Spaces of which extras were queued on this connection and not all answered.
    pub(super) uploading: BTreeSet<SpaceId>,
    /// Spaces of which the relay was asked for items, and has not said since that everything was sent.
    pub(super) wanted: BTreeSet<SpaceId>,
    /// What earlier connections left to be compared was asked for.
    rechecked: bool,
    /// The newest place that was acknowledged on this connection.
    acked: Seq,
    /// Items of the outbox that were sent and not answered.
    pub(super) offered: BTreeSet<ItemId>,
    /// Items of the outbox that were refused for now, and when they are tried again.
    pub(super) held_back: BTreeSet<ItemId>,
    pub(super) retry_at: Option<Timestamp>,
    /// Branches and spaces of which the relay's operator takes nothing now: nothing of them is offered until then.
    pub(super) declined: BTreeSet<SpaceId>,
    pub(super) declined_until: Option<Timestamp>,
    /// What the relay said of them.
    pub(super) declined_why: String,
    /// When what other devices gave is sent, unless their authors have sent it by then.
    carry_at: Option<Timestamp>,
    /// It is sent now.
    carries: bool,
    /// The log's head when the relay said welcome.
    pub(super) head_at_welcome: Seq,
    pub(super) cursor_at_hello: Seq,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub error: SessionError,
    /// Whether the relay had said welcome.
    pub was_welcomed: bool,
}

impl<S: Store> Replica<S> {
    /// A connection is being made: for the status only.
    pub fn handle_connecting(&mut self) {
        self.link_state = LinkState::Connecting;
    }

    /// A transport is open to what should be the relay that has the key `relay`; `binding` is what it gave both ends.
    /// `seed` is 32 random bytes that serve this connection alone.
    pub fn handle_connected(&mut self, now: Now, relay: &RelayPublic, binding: [u8; 32], seed: [u8; 32]) {
        self.connections += 1;
        let hello = Hello {
            cursor: self.cursor,
            acked: self.acked_at,
            backfills: self.backfills.values().copied().collect(),
        };
        let mut session = DeviceSession::new(&self.key, relay, Binding(binding), seed, hello, now.mono);
        session.set_permit(self.permit.as_ref().map(|permit| Bytes::copy_from_slice(permit.bytes())));
        self.link_state = LinkState::Connecting;
        self.link = Some(Link {
            session,
            reconciling: false,
            held_cursor: None,
            awaiting_have: false,
            have_is_complete: false,
            haves: BTreeMap::new(),
            extras: VecDeque::new(),
            extras_held_back: Vec::new(),
            not_taken: BTreeSet::new(),
            extras_sent: BTreeMap::new(),
            uploading: BTreeSet::new(),
            wanted: BTreeSet::new(),
            rechecked: false,
            acked: Seq(0),
            offered: BTreeSet::new(),
            held_back: BTreeSet::new(),
            retry_at: None,
            declined: BTreeSet::new(),
            declined_until: None,
            declined_why: String::new(),
            carry_at: None,
            carries: false,
            head_at_welcome: Seq(0),
            cursor_at_hello: self.cursor.map_or(Seq(0), |c| c.seq),
        });
    }

    /// The permit that the next connections show to the relay, for branches that are founded there.
    pub fn set_permit(&mut self, permit: Option<Permit>) {
        self.permit = permit;
    }

    /// What the relay says why it takes nothing of a branch or space, if that is so: it is offered again every now and then.
    pub fn declined(&self) -> Option<&str> {
        self.link.as_ref().filter(|link| !link.declined_why.is_empty()).map(|link| link.declined_why.as_str())
    }

    /// The transport is gone, or no connection could be made.
    pub fn handle_disconnected(&mut self) {
        self.link = None;
        self.link_state = LinkState::Offline;
    }

    /// The app woke up or the network changed: the relay is asked at once whether it is there.
    pub fn handle_resumed(&mut self, now: Now) {
        self.probe_hall(now.mono);
        if let Some(link) = &mut self.link {
            link.session.handle_resumed(now.mono);
        }
    }

    /// A frame came from the relay. Returns how the conversation ended, if it did.
    pub fn handle_frame(&mut self, now: Now, frame: &[u8]) -> Result<Option<Ended>, ReplicaError> {
        if let Some(link) = &mut self.link {
            link.session.handle_frame(now.mono, frame);
        }
        self.handle_session_events(now)
    }

    /// A timer fired. Returns how the conversation ended, if it did.
    pub fn handle_timeout(&mut self, now: Now) -> Result<Option<Ended>, ReplicaError> {
        self.wall = now.wall;
        self.handle_typing(now)?;
        if self.seal_at.is_some_and(|at| at <= now.mono) {
            self.seal_at = None;
            self.seal_all()?;
        }
        if let Some(link) = &mut self.link {
            link.session.handle_timeout(now.mono);
            if link.carry_at.is_some_and(|at| at <= now.mono) {
                (link.carry_at, link.carries) = (None, true);
            }
            if link.declined_until.is_some_and(|at| at <= now.mono) {
                link.declined_until = None;
                link.declined.clear();
                link.retry_at = Some(now.mono);
            }
            if link.retry_at.is_some_and(|at| at <= now.mono) {
                link.retry_at = None;
                link.held_back.clear();
                link.extras.extend(link.extras_held_back.drain(..));
            }
        }
        self.reconcile_when_due(now.mono);
        self.handle_tend(now)?;
        self.handle_hall_timeouts(now)?;
        self.handle_session_events(now)
    }

    /// When [`Replica::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let link = self.link.as_ref();
        let session = link.and_then(|l| l.session.poll_timeout());
        let retry = link.and_then(|l| l.retry_at.into_iter().chain(l.declined_until).min());
        let tend = self.tend_at.filter(|_| self.link_state == LinkState::Live);
        let carry = link.and_then(|l| l.carry_at);
        let hall = self.hall.values().filter_map(HallLink::poll_timeout).min();
        [session, retry, carry, hall, self.seal_at, tend, self.typing_timeout(), self.reconcile_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Appends one frame to `buf`; false if there is nothing to send. Call when the transport can take more.
    pub fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Result<bool, ReplicaError> {
        self.fill_session()?;
        Ok(self.link.as_mut().is_some_and(|l| l.session.poll_transmit(buf)))
    }

    fn open_presence(&self, m: &Ephemeral) -> Option<Bytes> {
        let keys = self.keys.of(&m.space);
        let opened = keys.filter_map(|k| k.open_presence(&m.space, &m.device, &m.payload).ok()).next();
        opened.map(Bytes::from)
    }

    pub(super) fn handle_presence(&mut self, m: &Ephemeral) {
        let may = self.branch_charter(&m.space).is_some_and(|c| c.can_read(&m.device, &m.space));
        // Without the key, or changed on the way: as if it was lost.
        if let Some(payload) = self.open_presence(m).filter(|_| may) {
            self.push_event(Event::Presence { space: m.space, device: m.device, payload });
        }
    }

    /// Shows other devices of a space what this one is doing. Not stored; lost if not connected, or if the space's
    /// key is not here.
    pub fn send_presence(&mut self, space: SpaceId, payload: Bytes) {
        let device = self.device;
        let mut nonce = [0; 24];
        self.rng.fill_bytes(&mut nonce);
        let key = self.write_key(&space);
        let Some(Ok(sealed)) = key.map(|k| k.seal_presence(&space, &device, &nonce, &payload)) else {
            return;
        };
        let presence = Ephemeral { space, device, payload: sealed.into() };
        self.show_in_hall(&presence);
        if let Some(link) = &mut self.link {
            link.session.ephemeral(presence);
        }
    }

    /// Ends the conversation with the relay in an orderly way; transmit what is left.
    pub fn disconnect(&mut self) {
        if let Some(link) = &mut self.link {
            link.session.close(CloseCode::Normal);
        }
    }

    fn handle_session_events(&mut self, now: Now) -> Result<Option<Ended>, ReplicaError> {
        let mut acks = Batch::default();
        let mut ended = None;
        while let Some(event) = self.link.as_mut().and_then(|l| l.session.poll_event()) {
            if !matches!(event, DeviceEvent::Acked { .. }) {
                // Whatever comes next may write the same rows.
                std::mem::take(&mut acks).commit(&mut self.store)?;
            }
            match event {
                DeviceEvent::Welcomed(welcome) => self.handle_welcome(&welcome),
                DeviceEvent::Items { items, bytes } => {
                    self.receive(now, Source::Relay, items)?;
                    if let Some(link) = &mut self.link {
                        link.session.release(bytes);
                    }
                }
                DeviceEvent::CaughtUp(caught_up) => self.handle_caught_up(now, &caught_up)?,
                DeviceEvent::Acked { id, seq } => self.handle_ack(id, seq, &mut acks),
                DeviceEvent::Rejected { id, code, detail } => self.handle_reject(now, id, code, &detail)?,
                DeviceEvent::Have(have) => self.handle_have(have)?,
                DeviceEvent::Ephemeral(m) => self.handle_presence(&m),
                DeviceEvent::Closed(error) => {
                    let was_welcomed = self.link.as_ref().is_some_and(|l| l.head_at_welcome > Seq(0));
                    ended = Some(Ended { error, was_welcomed });
                }
            }
        }
        acks.commit(&mut self.store)?;
        if self.link_state == LinkState::Live {
            self.make_snapshots()?;
        }
        Ok(ended)
    }

    /// What other devices gave is sent after a while, in which their authors may have sent it: of several devices that
    /// could, the first does it.
    pub(super) fn carry_soon(&mut self, now: Timestamp) {
        let carries = self.outbox.values().any(|entry| self.is_carried_run(&entry.what));
        let Some(link) = self.link.as_mut().filter(|_| carries && self.link_state == LinkState::Live) else {
            return;
        };
        if !link.carries {
            let at = now + random_delay(&mut self.rng);
            link.carry_at.get_or_insert(at);
        }
    }

    fn handle_welcome(&mut self, welcome: &Welcome) {
        let Some(link) = &mut self.link else { return };
        link.head_at_welcome = Seq(welcome.head.0.max(1));
        link.reconciling = welcome.reconcile;
        link.awaiting_have = welcome.reconcile;
        link.have_is_complete = welcome.reconcile;
        self.link_state = LinkState::CatchingUp;
        if welcome.reconcile {
            self.counters.reconciles += 1;
        } else {
            // It is in this log too.
            link.acked = self.acked_at.map_or(Seq(0), |at| at.seq);
        }
    }

    fn handle_caught_up(&mut self, now: Now, caught_up: &CaughtUp) -> Result<(), ReplicaError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let cursor = Cursor { epoch: link.session.epoch(), seq: caught_up.seq };
        link.wanted.clear();
        if link.reconciling {
            link.reconciling = false;
            link.held_cursor = (!link.uploading.is_empty()).then_some(cursor);
            // What was missing of newly granted spaces came with the reconcile.
            let mut batch = Batch::default();
            for space in std::mem::take(&mut self.backfills).into_keys() {
                batch.delete(Table::Backfills, space.0);
            }
            batch.commit(&mut self.store)?;
        }
        self.link_state = LinkState::Live;
        // A space whose grant is still on its way here comes whole, and with a checksum of its own.
        let readable: BTreeSet<SpaceId> = self.readable().into_iter().collect();
        for (space, sum) in &caught_up.sums {
            let (reads, uncertain) = (readable.contains(space), self.is_uncertain(space));
            let same = self.confirmed_sum(space) == *sum;
            tracing::trace!(device = ?self.device, ?space, reads, uncertain, same, backfills = ?self.backfills, "a checksum came");
        }
        let (same, mismatches): (Vec<_>, Vec<_>) = caught_up
            .sums
            .iter()
            .filter(|(space, _)| readable.contains(space) && !self.is_uncertain(space))
            .partition(|(space, sum)| {
                // Bug: the checksums are not compared.
                #[cfg(feature = "canary")]
                if dinh_proto::canary::is_planted("checksum-ignored") {
                    return true;
                }
                self.confirmed_sum(space) == *sum
            });
        let same: Vec<SpaceId> = same.into_iter().map(|(space, _)| space).collect();
        let mismatches: Vec<SpaceId> = mismatches.into_iter().map(|(space, _)| space).collect();
        let may_differ = |space: &SpaceId| readable.contains(space) && !same.contains(space);
        let mut batch = Batch::default();
        // With the cursor, because the relay names a space again only when something in it is new.
        let uploading = self.link.as_ref().map(|l| l.uploading.clone()).unwrap_or_default();
        self.change_recheck(&mut batch, |recheck| {
            recheck.retain(may_differ);
            recheck.extend(uploading.iter().chain(&mismatches));
        });
        self.give_up_snapshots(&readable, &mut batch);
        // Another device said that this one may read there, and by what is known now it may not.
        let gone: Vec<SpaceId> = self.backfills.keys().filter(|space| !self.reads(space)).copied().collect();
        for space in gone {
            self.backfills.remove(&space);
            batch.delete(Table::Backfills, space.0);
        }
        self.set_cursor(cursor, &mut batch);
        batch.commit(&mut self.store)?;
        self.handle_mismatches(now.mono, &mismatches, may_differ);
        self.recheck_once(&mismatches);
        self.check_seen();
        self.tend_soon(now.mono);
        self.carry_soon(now.mono);
        Ok(())
    }

    /// Whether nothing can be concluded from the checksum of a space now: it is not received whole yet, or items
    /// are on their way that the relay may have got from elsewhere too. Their answers will tell.
    fn is_uncertain(&self, space: &SpaceId) -> bool {
        let Some(link) = &self.link else { return true };
        let extras = link.extras.iter().chain(&link.extras_held_back).chain(link.extras_sent.values());
        let mut on_the_way = extras.map(|e| e.key.chain.space);
        self.backfills.contains_key(space) || on_the_way.any(|s| s == *space)
    }

    /// The checksum of what the relay should have: everything known here that is not in the outbox, and what waits
    /// for an invitation or a record.
    fn confirmed_sum(&self, space: &SpaceId) -> SpaceSum {
        let mut sum = self.sums.get(space).copied().unwrap_or_default();
        let waiting: BTreeSet<ItemId> =
            self.parked.values().filter_map(|item| schema::parked_id(item, space)).collect();
        waiting.iter().for_each(|id| sum.add(id));
        for entry in self.outbox.values().filter(|e| e.space == *space) {
            // What a snapshot covers is in the relay's log, and in the sum by what the snapshot says.
            if let Outgoing::Item(key) = entry.what
                && !self.is_covered(&key)
            {
                sum.remove(&entry.id);
            }
        }
        sum
    }

    pub(super) fn set_cursor(&mut self, cursor: Cursor, batch: &mut Batch) {
        if let Some(held) = self.link.as_mut().and_then(|link| link.held_cursor.as_mut()) {
            *held = cursor;
            return;
        }
        self.cursor = Some(cursor);
        batch.put(Table::Meta, schema::META_CURSOR, schema::cursor_bytes(&cursor));
        // What had been acknowledged in another log was compared with this one.
        self.keep_acked(batch);
    }

    /// Asks once on a connection about the spaces that an earlier one left open.
    fn recheck_once(&mut self, asked: &[SpaceId]) {
        let Some(link) = &mut self.link else { return };
        if std::mem::replace(&mut link.rechecked, true) {
            return;
        }
        let open = |space: &&SpaceId| !asked.contains(space) && !link.uploading.contains(space);
        let spaces: Vec<SpaceId> = self.recheck.iter().filter(open).copied().collect();
        if !spaces.is_empty() {
            self.ask_have(spaces);
        }
    }

    /// If every extra was answered, the relay has what this device has.
    pub(super) fn finish_upload(&mut self, batch: &mut Batch) {
        let Some(link) = &mut self.link else { return };
        let waits =
            !link.extras.is_empty() || !link.extras_held_back.is_empty() || !link.extras_sent.is_empty();
        if link.uploading.is_empty() || waits {
            return;
        }
        let mut uploaded = std::mem::take(&mut link.uploading);
        uploaded.retain(|space| !link.not_taken.contains(space) && !link.wanted.contains(space));
        if let Some(cursor) = link.held_cursor.take() {
            self.set_cursor(cursor, batch);
        }
        self.change_recheck(batch, |recheck| recheck.retain(|space| !uploaded.contains(space)));
    }

    /// The relay has sent something of a space that is not kept here: its word is asked for when everything else came, or on the
    /// next connection. With the cursor, which passes what is not kept.
    pub(super) fn note_missing(&mut self, space: SpaceId, batch: &mut Batch) {
        self.change_recheck(batch, |recheck| {
            recheck.insert(space);
        });
    }

    pub(super) fn change_recheck(&mut self, batch: &mut Batch, change: impl FnOnce(&mut BTreeSet<SpaceId>)) {
        let before = self.recheck.clone();
        change(&mut self.recheck);
        if self.recheck != before {
            batch.put(Table::Meta, schema::META_RECHECK, schema::spaces_bytes(&self.recheck));
        }
    }

    pub(super) fn handle_ack(&mut self, id: ItemId, seq: Seq, batch: &mut Batch) {
        if let Some(link) = &mut self.link {
            if link.declined.is_empty() {
                // What was declined is offered again, and something of this device is taken.
                link.declined_why.clear();
            }
            link.offered.remove(&id);
            link.held_back.remove(&id);
            link.extras_sent.remove(&id);
        }
        self.finish_upload(batch);
        if self.leave_outbox(&id, batch) && seq > self.acked {
            self.acked = seq;
            batch.put(Table::Meta, schema::META_ACKED, seq.0.to_le_bytes());
        }
        if let Some(link) = &mut self.link {
            link.acked = link.acked.max(seq);
        }
        self.keep_acked(batch);
    }

    /// Remembers the newest acknowledgement, unless this connection began with a place that the relay's log does not have: then
    /// that is what says so, until everything was compared.
    fn keep_acked(&mut self, batch: &mut Batch) {
        let Some(link) = &self.link else { return };
        if link.reconciling || link.held_cursor.is_some() {
            return;
        }
        let at = Cursor { epoch: link.session.epoch(), seq: link.acked };
        let at = Some(at).filter(|at| at.seq > Seq(0) && !self.is_passed(at));
        if at == self.acked_at {
            return;
        }
        self.acked_at = at;
        match at {
            Some(at) => batch.put(Table::Meta, schema::META_ACKED_AT, schema::cursor_bytes(&at)),
            None => batch.delete(Table::Meta, schema::META_ACKED_AT),
        }
    }

    fn is_passed(&self, place: &Cursor) -> bool {
        self.cursor.is_some_and(|cursor| cursor.epoch == place.epoch && cursor.seq >= place.seq)
    }

    /// An item is not to be sent any more. Returns whether it was to be.
    pub(super) fn leave_outbox(&mut self, id: &ItemId, batch: &mut Batch) -> bool {
        let Some(order) = self.outbox_ids.remove(id) else { return false };
        self.outbox.remove(&order);
        batch.delete(Table::Outbox, order.to_be_bytes());
        true
    }

    /// Gives the session what it can take: first what a restored relay lacks, then the outbox.
    fn fill_session(&mut self) -> Result<(), ReplicaError> {
        if !self.link.as_ref().is_some_and(|l| l.session.can_put() && !l.awaiting_have) {
            return Ok(());
        }
        self.seal_all()?;
        let Some(link) = &mut self.link else { return Ok(()) };
        while link.session.can_put()
            && let Some(extra) = link.extras.pop_front()
        {
            if is_declined(link, &self.space_branch, &extra.key.chain.space) {
                link.extras_held_back.push(extra);
                continue;
            }
            let Some(item) = self.store.read(|tx| schema::item(tx, &extra.key))? else { continue };
            if link.extras_sent.insert(item.id(), extra).is_none() {
                link.session.put(item.id(), item.bytes().clone(), extra.bridged);
            }
        }
        // What this device wrote may build on what it was given: it must not be in the log without that.
        let own_upto = LazyCell::new(|| -> BTreeMap<SpaceId, u64> {
            let is_own = |what: &Outgoing| matches!(what, Outgoing::Item(key) if key.chain.author.device == self.device);
            let own = self.outbox.iter().filter(|(_, entry)| is_own(&entry.what));
            own.map(|(order, entry)| (entry.space, *order)).collect()
        });
        for (order, entry) in &self.outbox {
            if !link.session.can_put() {
                break;
            }
            if link.offered.contains(&entry.id)
                || link.held_back.contains(&entry.id)
                || is_declined(link, &self.space_branch, &entry.space)
            {
                continue;
            }
            if !link.carries
                && is_run_of_another(&entry.what, &self.device, &self.charters)
                && own_upto.get(&entry.space).is_none_or(|upto| order > upto)
            {
                continue;
            }
            let item = match entry.what {
                Outgoing::Item(key) => self.store.read(|tx| schema::item(tx, &key))?,
                Outgoing::Snapshot(doc) => self
                    .store
                    .read(|tx| tx.get(Table::Snapshots, &doc.0))?
                    .map(schema::stored_item)
                    .transpose()?,
            };
            let item = item.ok_or(StoreError::Corrupt("item of the outbox"))?;
            link.offered.insert(entry.id);
            link.session.put(entry.id, item.bytes().clone(), false);
        }
        // Bug: what was given to the connection is taken for what the relay has.
        #[cfg(feature = "canary")]
        if dinh_proto::canary::is_planted("outbox-trimmed-on-send") {
            let sent = link.offered.clone();
            let mut batch = Batch::default();
            for id in &sent {
                self.leave_outbox(id, &mut batch);
            }
            batch.commit(&mut self.store)?;
        }
        Ok(())
    }
}

/// Whether the relay takes nothing of this space now, or of its whole branch.
fn is_declined(link: &Link, branches: &BTreeMap<SpaceId, SpaceId>, space: &SpaceId) -> bool {
    !link.declined.is_empty()
        && (link.declined.contains(space)
            || branches.get(space).is_some_and(|branch| link.declined.contains(branch)))
}
