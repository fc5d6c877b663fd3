//! A member's phone on which another program has its key: it puts items to the relay that no replica would make. Honest phones must be
//! what they would be without it.

use bytes::Bytes;
use dinh_core::document::Document;
use dinh_core::gate::{SnapshotAuthor, SnapshotFrame, seal_snapshot};
use dinh_core::replica::LinkState;
use dinh_core::testing::space_key;
use dinh_proto::channel::Binding;
use dinh_proto::charter::record::Role;
use dinh_proto::crypto::SpaceKey;
use dinh_proto::ids::{ChangeHash, CharterTag, Cursor, DocId, Seq, SpaceId};
use dinh_proto::item::{Draft, ITEM_OVERHEAD_BYTES, Item, Kind, Place, RawItem, SpaceSum};
use dinh_proto::ranges::Ranges;
use dinh_proto::session::DeviceSession;
use dinh_proto::wire::Hello;
use dinh_server::hub::PeerId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeMap;

use crate::hub_peer;
use crate::net::{ConnKeys, relay_key};
use crate::options::{below, chance};
use crate::workload::member;
use crate::world::World;

/// Numbers of its connections begin here.
const CONNS: u64 = 1 << 41;

/// A connection of its own, over which it puts one item.
pub(crate) struct HostileConn {
    /// Of the relay, in which it began.
    life: u64,
    peer: PeerId,
    device: DeviceSession,
    /// Until it is put.
    item: Option<Item>,
}

/// Whether there is a hostile hand in the world of this seed. Drawn apart, so that other worlds stay what they were.
pub(crate) fn is_in(seed: u64) -> bool {
    chance(&mut ChaCha8Rng::seed_from_u64(seed ^ 0x0068_6f73_7469_6c65), 20)
}

impl World {
    /// The hostile hand does something, with the key of this phone; or somebody joins, who will be given it.
    pub(crate) fn act_hostile(&mut self, p: usize) {
        match below(&mut self.rng, 6) {
            0 => self.put_garbage_snapshot(p),
            1 | 2 => self.put_shortened_snapshot(p),
            3 => self.put_misfit(p),
            _ => {
                if self.phones.len() < self.opts.phones_max {
                    let who = member(below(&mut self.rng, self.opts.members as u64) as usize);
                    self.join(who, Role::Member);
                }
            }
        }
    }

    /// A document that this phone may write in, with its space.
    fn hostile_target(&mut self, p: usize) -> Option<(DocId, SpaceId, SpaceKey)> {
        let i = below(&mut self.rng, self.truth.docs.len() as u64) as usize;
        let (doc, space) = *self.truth.docs.get(i)?;
        let replica = self.phones[p].replica.as_ref()?;
        replica.may_write(&doc).ok()?;
        Some((doc, space, space_key(replica, &space)?))
    }

    /// Nobody can open it.
    fn put_garbage_snapshot(&mut self, p: usize) {
        let Some((doc, space, _)) = self.hostile_target(p) else { return };
        let mut payload = vec![0; 300];
        self.rng.fill_bytes(&mut payload);
        self.put_snapshot(p, doc, space, &SpaceKey::from_bytes(&[7; 32]), &payload);
    }

    /// It says that it holds all runs of a document, as their authors signed them, and leaves the newest change out.
    fn put_shortened_snapshot(&mut self, p: usize) {
        let Some((doc, space, key)) = self.hostile_target(p) else { return };
        let Some(Ok(mut changes)) = self.call(p, |r, _| {
            r.document(&doc, |d: &Document| {
                d.changes_raw(&[]).into_iter().map(|(_, raw)| raw).collect::<Vec<_>>()
            })
        }) else {
            return;
        };
        let status = self.phones[p].replica.as_ref().map(|r| r.status());
        if changes.pop().is_none() || status.is_none_or(|s| s.link != LinkState::Live || s.pending > 0) {
            return;
        }
        let mut authors: BTreeMap<_, (u32, SnapshotAuthor)> = BTreeMap::new();
        let mut sum = SpaceSum::default();
        let ledger = self.ledger.borrow();
        for id in self.truth.log.values() {
            let Some(raw) = ledger.made.get(id).and_then(|bytes| RawItem::parse(bytes.clone()).ok()) else {
                continue;
            };
            let header = raw.header();
            if header.kind != Kind::Run || header.doc != doc {
                continue;
            }
            let n = header.n().unwrap_or_default();
            let (newest, author) = authors
                .entry(header.author)
                .or_insert_with(|| (0, SnapshotAuthor { header: Vec::new(), covered: Ranges::default() }));
            if author.covered.insert(n) {
                sum.add(id);
            }
            if n > *newest {
                *newest = n;
                author.header = raw.as_bytes()[..ITEM_OVERHEAD_BYTES].to_vec();
            }
        }
        drop(ledger);
        let authors: Vec<SnapshotAuthor> = authors.into_values().map(|(_, author)| author).collect();
        if authors.is_empty() {
            return;
        }
        let Ok(content) = seal_snapshot(&SnapshotFrame { authors, sum }, &changes) else { return };
        self.put_snapshot(p, doc, space, &key, &content);
    }

    fn put_snapshot(&mut self, p: usize, doc: DocId, space: SpaceId, key: &SpaceKey, content: &[u8]) {
        let Some(node) = &self.relay.node else { return };
        let place =
            Place::Covers(Cursor { epoch: node.log.epochs().current(), seq: node.hub.durable_head() });
        self.put_draft(p, Kind::Snapshot, doc, space, place, key, content);
    }

    /// A run under a number that is taken, after an item that it does not follow, or behind a hole.
    fn put_misfit(&mut self, p: usize) {
        let Some((doc, space, key)) = self.hostile_target(p) else { return };
        let Some(replica) = &self.phones[p].replica else { return };
        let (device, session) = (self.phones[p].device, replica.session());
        let ledger = self.ledger.borrow();
        // What the log has of its chain: a number that is free could be the honest program's next.
        let logged =
            self.truth.log.values().filter_map(|id| RawItem::parse(ledger.made.get(id)?.clone()).ok());
        let tip = logged
            .filter(|i| i.header().space == space && i.header().author.device == device)
            .filter(|i| i.header().author.session == session)
            .max_by_key(|i| i.header().n());
        let Some(tip) = tip else { return };
        drop(ledger);
        let Place::Chain { n, prev } = tip.header().place else { return };
        let place = match below(&mut self.rng, 3) {
            0 => Place::Chain { n, prev },
            1 => Place::Chain { n: n + 1, prev: [9; 16] },
            _ => Place::Chain { n: n + 1_000, prev: [9; 16] },
        };
        self.put_draft(p, Kind::Run, doc, space, place, &key, b"nothing that a replica would write");
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one item")]
    fn put_draft(
        &mut self,
        p: usize,
        kind: Kind,
        doc: DocId,
        space: SpaceId,
        place: Place,
        key: &SpaceKey,
        content: &[u8],
    ) {
        let Some(session) = self.phones[p].replica.as_ref().map(|r| r.session()) else { return };
        let (first_seq, count) = if kind == Kind::Run { (1, 1) } else { (0, 0) };
        let last = if kind == Kind::Run { ChangeHash([1; 32]) } else { ChangeHash::default() };
        let draft = Draft {
            kind,
            space,
            doc,
            session,
            place,
            first_seq,
            count,
            last,
            charter_tag: CharterTag::default(),
        };
        let item = draft.seal(&self.phones[p].key, key, false, content).expect("it signs");
        self.say(|| {
            format!("a hostile hand puts {:?} {:?} {place:?} with the key of phone {p}", kind, item.id())
        });
        self.put_and_leave(p, item);
    }

    /// Gives an item to the relay over a connection of its own, and does not wait for the answer.
    fn put_and_leave(&mut self, p: usize, item: Item) {
        self.ledger.borrow_mut().made.insert(item.id(), item.bytes().clone());
        let keys = ConnKeys::new(self.seed32());
        let now = self.mono();
        let peer = hub_peer(CONNS + self.next_hostile);
        let before = hub_peer(CONNS + self.next_hostile.saturating_sub(1));
        self.next_hostile += 1;
        let Some(node) = &mut self.relay.node else { return };
        node.hub.handle_disconnected(now, before);
        node.hub.handle_connected(now, peer, keys.binding, keys.relay_seed);
        let cursor = Cursor { epoch: node.log.epochs().current(), seq: node.hub.durable_head().max(Seq(1)) };
        let hello = Hello { cursor: Some(cursor), ..Hello::default() };
        let (relay, binding) = (relay_key().public(), Binding(keys.binding));
        let device = DeviceSession::new(&self.phones[p].key, &relay, binding, keys.device_seed, hello, now);
        self.hostile = Some(HostileConn { life: self.relay.life, peer, device, item: Some(item) });
        self.converse_hostile(peer);
        self.pump_relay();
    }

    /// Goes on with the hostile hand's conversation until the relay has to do something first, or the item is on its way.
    pub(crate) fn converse_hostile(&mut self, peer: PeerId) {
        let now = self.mono();
        let Some(mut conn) = self.hostile.take_if(|conn| conn.peer == peer) else { return };
        let Some(node) = self.relay.node.as_mut().filter(|_| self.relay.life == conn.life) else { return };
        let hub = &mut node.hub;
        let mut frame = Vec::new();
        loop {
            if conn.device.can_put()
                && let Some(item) = conn.item.take()
            {
                conn.device.put(item.id(), item.bytes().clone(), false);
            }
            let mut said = false;
            while conn.device.poll_transmit(&mut frame) {
                said = true;
                hub.handle_frame(now, conn.peer, Bytes::from(std::mem::take(&mut frame)));
            }
            while hub.poll_transmit(now, conn.peer, &mut frame) {
                said = true;
                conn.device.handle_frame(now, &frame);
                frame.clear();
            }
            if !said {
                break;
            }
        }
        if conn.item.is_some() {
            self.hostile = Some(conn);
        }
    }
}
