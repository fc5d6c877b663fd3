//! Devices that meet without a relay: each says what it has, and gives what the other lacks and may read.
//!
//! Nobody here decides what a place in a chain holds if there are two items for it: what was seen first stays until the
//! relay's log says otherwise. What came from another device is *carried*: it goes to the relay with this device's own
//! items, after a while, in which its author may have sent it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use dinh_proto::channel::Binding;
use dinh_proto::charter::Charter;
use dinh_proto::error::{CloseCode, InvalidMessage, RejectCode, SessionError};
use dinh_proto::ids::{Author, ChainId, CharterTag, DeviceId, DocId, Seq, SessionId, SpaceId};
use dinh_proto::item::{Item, Kind, RawItem};
use dinh_proto::limits;
use dinh_proto::ranges::Ranges;
use dinh_proto::session::{HallEvent, HallSession};
use dinh_proto::time::Timestamp;
use dinh_proto::wire::{ChainSet, Ephemeral, Items, Scope};
use zeroize::Zeroizing;

use super::receive::Source;
use super::schema::{self, Batch, ItemKey};
use super::{Now, Outgoing, Replica, ReplicaError};
use crate::store::{Store, Table};

/// The caller's name for a connection to another device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HallPeer(pub u64);

/// Which end of a connection to another device this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HallWay {
    /// This device called. The other end must have the same key of the branch; if it closes without having been met, try again
    /// with the next `attempt`: one of the two may not know of the newest key yet.
    Dialled {
        /// The branch whose key opens the conversation.
        branch: SpaceId,
        /// 0 for the newest key, 1 for the one before it, and so on, round and round.
        attempt: usize,
    },
    /// The other device called.
    Answered,
}

/// A connection to another device.
#[derive(Debug)]
pub(super) struct HallLink {
    session: HallSession,
    peer: Option<DeviceId>,
    /// Its account of what it has is complete: before that nothing is given.
    told: bool,
    /// The charters as they were when `spaces` was worked out.
    tags: Vec<(SpaceId, CharterTag)>,
    /// What both may read, by this device's charters.
    spaces: BTreeSet<SpaceId>,
    /// Of chains that are held here: what the other device has.
    theirs: BTreeMap<ChainId, Ranges>,
    /// Spaces of which it gave something that could not be judged: what is here is said again when a charter changes.
    waits: BTreeSet<SpaceId>,
    /// What it is given next.
    items: VecDeque<ItemKey>,
    snapshots: VecDeque<(SpaceId, DocId)>,
}

impl HallLink {
    fn new(session: HallSession) -> Self {
        Self {
            session,
            peer: None,
            told: false,
            tags: Vec::new(),
            spaces: BTreeSet::new(),
            theirs: BTreeMap::new(),
            waits: BTreeSet::new(),
            items: VecDeque::new(),
            snapshots: VecDeque::new(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.session.poll_timeout()
    }

    fn has(&self, key: &ItemKey) -> bool {
        self.theirs.get(&key.chain).is_some_and(|ranges| ranges.contains(key.n))
    }

    /// An item was stored here: it is given on.
    pub(super) fn item_stored(&mut self, key: ItemKey) {
        if self.told && self.spaces.contains(&key.chain.space) && !self.has(&key) {
            self.items.push_back(key);
        }
    }

    fn forget_space(&mut self, space: &SpaceId) {
        self.items.retain(|key| key.chain.space != *space);
        self.snapshots.retain(|(of, _)| of != space);
        self.theirs.retain(|chain, _| chain.space != *space);
    }
}

impl<S: Store> Replica<S> {
    /// A transport is open to another device of a branch, in the same local network say; `binding` is what it gave both
    /// ends. `seed` is 32 random bytes that serve this connection alone.
    ///
    /// # Errors
    /// [`ReplicaError::NoKey`] if this device has no key to prove that it belongs there.
    pub fn handle_hall_connected(
        &mut self,
        now: Now,
        id: HallPeer,
        way: HallWay,
        binding: [u8; 32],
        seed: [u8; 32],
    ) -> Result<(), ReplicaError> {
        let binding = Binding(binding);
        let session = match way {
            HallWay::Dialled { branch, attempt } => {
                let keys = self.hall_keys(&branch);
                let psk = keys.get(attempt % keys.len().max(1)).ok_or(ReplicaError::NoKey(branch))?;
                HallSession::dial(&self.key, psk, binding, seed, now.mono)
            }
            HallWay::Answered => {
                let keys: Vec<_> = self.charters.keys().flat_map(|branch| self.hall_keys(branch)).collect();
                let first = self.charters.keys().next().copied().unwrap_or_default();
                HallSession::answer(&self.key, &keys, binding, seed, now.mono)
                    .ok_or(ReplicaError::NoKey(first))?
            }
        };
        self.hall.insert(id, HallLink::new(session));
        Ok(())
    }

    /// What devices of a branch prove to each other, of its newest key first.
    fn hall_keys(&self, branch: &SpaceId) -> Vec<Zeroizing<[u8; 32]>> {
        let Some(charter) = self.charters.get(branch) else { return Vec::new() };
        let current = charter.current_epoch(branch).map(|(id, _)| id);
        let mut keys: Vec<_> = self
            .keys
            .of(branch)
            .map(|key| {
                let issued = charter.epochs(branch).find(|(id, _)| *id == key.id()).map(|(_, e)| e.issued);
                ((Some(key.id()) != current, std::cmp::Reverse(issued), key.id()), key.hall_psk())
            })
            .collect();
        keys.sort_by_key(|(order, _)| *order);
        keys.into_iter().map(|(_, psk)| psk).take(limits::HALL_KEYS_MAX).collect()
    }

    /// The transport to another device is gone.
    pub fn handle_hall_disconnected(&mut self, id: HallPeer) {
        self.hall.remove(&id);
    }

    /// The devices that were met and are still there.
    pub fn nearby(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.hall.values().filter_map(|link| link.peer)
    }

    /// A conversation with another device ended, and why: its transport is of no more use. Transmit what is left.
    pub fn poll_hall_ended(&mut self) -> Option<(HallPeer, SessionError)> {
        self.hall_ended.pop_front()
    }

    /// A frame came from another device.
    pub fn handle_hall_frame(&mut self, now: Now, id: HallPeer, frame: &[u8]) -> Result<(), ReplicaError> {
        if let Some(link) = self.hall.get_mut(&id) {
            link.session.handle_frame(now.mono, frame);
        }
        self.handle_hall_events(now, id)
    }

    pub(super) fn handle_hall_timeouts(&mut self, now: Now) -> Result<(), ReplicaError> {
        let ids: Vec<HallPeer> = self.hall.keys().copied().collect();
        for id in ids {
            if let Some(link) = self.hall.get_mut(&id) {
                link.session.handle_timeout(now.mono);
            }
            self.handle_hall_events(now, id)?;
        }
        Ok(())
    }

    /// Appends one frame for another device to `buf`; false if there is nothing to send. Call when the transport can take
    /// more.
    pub fn poll_hall_transmit(&mut self, id: HallPeer, buf: &mut Vec<u8>) -> Result<bool, ReplicaError> {
        self.update_hall_spaces(id)?;
        self.fill_hall(id)?;
        Ok(self.hall.get_mut(&id).is_some_and(|link| link.session.poll_transmit(buf)))
    }

    /// The app woke up or the network changed: the devices that were nearby are asked whether they still are.
    pub(super) fn probe_hall(&mut self, now: Timestamp) {
        self.hall.values_mut().for_each(|link| link.session.handle_resumed(now));
    }

    /// Ends all conversations with other devices in an orderly way; transmit what is left.
    pub fn leave_hall(&mut self) {
        self.hall.values_mut().for_each(|link| link.session.close(CloseCode::Normal));
    }

    pub(super) fn show_in_hall(&mut self, presence: &Ephemeral) {
        let links = self.hall.values_mut().filter(|link| link.spaces.contains(&presence.space));
        links.for_each(|link| link.session.ephemeral(presence.clone()));
    }

    fn handle_hall_events(&mut self, now: Now, id: HallPeer) -> Result<(), ReplicaError> {
        while let Some(event) = self.hall.get_mut(&id).and_then(|link| link.session.poll_event()) {
            match event {
                HallEvent::Met(device) => self.handle_met(id, device)?,
                HallEvent::Have(have) => self.handle_hall_have(id, have)?,
                HallEvent::Items { items, bytes } => {
                    let bad = self.receive_in_hall(now, id, items)?;
                    let Some(link) = self.hall.get_mut(&id) else { continue };
                    link.session.release(bytes);
                    if bad {
                        link.session.fail(InvalidMessage::NotAllowed("item").into());
                    }
                }
                HallEvent::Ephemeral(m) => {
                    let peer = self.hall.get(&id).and_then(|link| link.peer);
                    if peer == Some(m.device) {
                        self.handle_presence(&m);
                    }
                }
                HallEvent::Closed(error) => self.hall_ended.push_back((id, error)),
            }
        }
        Ok(())
    }

    /// A device showed who it is: one that is in no common branch gets nothing.
    fn handle_met(&mut self, id: HallPeer, device: DeviceId) -> Result<(), ReplicaError> {
        let is_known = self.charters.values().any(|charter| charter.devices().contains_key(&device));
        let Some(link) = self.hall.get_mut(&id) else { return Ok(()) };
        if !is_known || device == self.device {
            link.session.close(CloseCode::Stranger);
            return Ok(());
        }
        link.peer = Some(device);
        self.update_hall_spaces(id)?;
        // Also if there is nothing to say: the other device waits for the end of the account.
        if let Some(link) = self.hall.get_mut(&id) {
            link.session.have(ChainSet { space: SpaceId::default(), last: true, chains: Vec::new() });
        }
        Ok(())
    }

    /// After a change of a charter: what both may read, by what is known here now.
    fn update_hall_spaces(&mut self, id: HallPeer) -> Result<(), ReplicaError> {
        let tags: Vec<_> = self.charters.iter().map(|(branch, charter)| (*branch, charter.tag())).collect();
        let Some(link) = self.hall.get_mut(&id).filter(|link| link.tags != tags) else { return Ok(()) };
        let Some(peer) = link.peer else { return Ok(()) };
        link.tags = tags;
        let theirs: BTreeSet<SpaceId> = self.charters.values().flat_map(|c| c.readable(&peer)).collect();
        let common: Vec<SpaceId> =
            self.readable().into_iter().filter(|space| theirs.contains(space)).collect();
        let Some(link) = self.hall.get_mut(&id) else { return Ok(()) };
        if common.is_empty() {
            // It was removed while it was here.
            link.peer = None;
            link.session.close(CloseCode::Stranger);
        }
        let before = std::mem::replace(&mut link.spaces, common.iter().copied().collect());
        for lost in before.iter().filter(|space| !common.contains(space)) {
            link.forget_space(lost);
        }
        let (told, waits) = (link.told, std::mem::take(&mut link.waits));
        for space in common {
            let is_new = !before.contains(&space);
            if is_new || waits.contains(&space) {
                self.say_have(id, space);
            }
            if is_new && told {
                self.give_surplus(id, space)?;
            }
        }
        Ok(())
    }

    fn say_have(&mut self, id: HallPeer, space: SpaceId) {
        let mut chains: BTreeMap<Author, Ranges> = BTreeMap::new();
        for table in [&self.held, &self.covered] {
            for (chain, ranges) in of_space(table, space) {
                chains.entry(chain.author).or_default().extend(ranges);
            }
        }
        let Some(link) = self.hall.get_mut(&id) else { return };
        let chains: Vec<(Author, Ranges)> = chains.into_iter().collect();
        for chains in chains.chunks(limits::CHAINS_PER_MESSAGE_MAX) {
            // What is not named comes once more, and is known then.
            let clipped = |ranges: &Ranges| -> Ranges {
                let mut kept = Ranges::default();
                ranges.iter().take(limits::RANGES_PER_CHAIN_MAX).for_each(|(a, b)| kept.insert_range(a, b));
                kept
            };
            let chains = chains.iter().map(|(author, ranges)| (*author, clipped(ranges))).collect();
            link.session.have(ChainSet { space, last: false, chains });
        }
    }

    fn handle_hall_have(&mut self, id: HallPeer, have: ChainSet) -> Result<(), ReplicaError> {
        let Some(link) = self.hall.get_mut(&id) else { return Ok(()) };
        if link.told {
            // It may not have taken what it was given, because it could not read this space yet.
            link.theirs.retain(|chain, _| chain.space != have.space);
        }
        for (author, ranges) in have.chains {
            let chain = ChainId { space: have.space, author };
            // Bounded by what is held here: of other chains there is nothing to give.
            let Some(held) = self.held.get(&chain) else { continue };
            link.theirs.entry(chain).or_default().extend(&ranges.intersection(held));
        }
        let is_new = link.told && link.spaces.contains(&have.space);
        if is_new {
            return self.give_surplus(id, have.space);
        }
        if have.last && !std::mem::replace(&mut link.told, true) {
            let spaces = link.spaces.clone();
            let (charters, others): (Vec<_>, Vec<_>) =
                spaces.into_iter().partition(|space| self.charters.contains_key(space));
            for space in charters.into_iter().chain(others) {
                self.give_surplus(id, space)?;
            }
        }
        Ok(())
    }

    /// Queues what this device has of a space and the other one lacks: records by chains, runs in the order in which they
    /// came here, so that what they build on goes before them.
    fn give_surplus(&mut self, id: HallPeer, space: SpaceId) -> Result<(), ReplicaError> {
        let Some(link) = self.hall.get(&id) else { return Ok(()) };
        let mut items = Vec::new();
        let mut snapshots = Vec::new();
        if self.charters.contains_key(&space) {
            for (chain, held) in of_space(&self.held, space) {
                items.extend(held.iter().flat_map(|(a, b)| a..=b).map(|n| ItemKey { chain: *chain, n }));
            }
        } else {
            let only_in_snapshots = of_space(&self.covered, space).any(|(chain, covered)| {
                let nothing = Ranges::default();
                let covered = covered.minus(self.held.get(chain).unwrap_or(&nothing));
                !covered.minus(link.theirs.get(chain).unwrap_or(&nothing)).is_empty()
            });
            let documents = self.branch_charter(&space).into_iter().flat_map(|c| c.documents());
            for doc in documents.filter(|(_, entry)| entry.space == space).map(|(doc, _)| *doc) {
                if only_in_snapshots {
                    snapshots.push((space, doc));
                }
                for (_, key) in self.store.read(|tx| schema::entries(tx, Table::DocumentLog, &doc.0))? {
                    items.push(ItemKey::from_bytes(&key)?);
                }
            }
        }
        let Some(link) = self.hall.get_mut(&id) else { return Ok(()) };
        link.items.retain(|key| key.chain.space != space);
        link.snapshots.retain(|(of, _)| *of != space);
        let lacking: Vec<ItemKey> = items.into_iter().filter(|key| !link.has(key)).collect();
        link.items.extend(lacking);
        link.snapshots.extend(snapshots);
        Ok(())
    }

    /// Gives the session what it can take.
    fn fill_hall(&mut self, id: HallPeer) -> Result<(), ReplicaError> {
        if !self.hall.get(&id).is_some_and(|link| link.told && link.session.can_send_items()) {
            return Ok(());
        }
        self.seal_all()?;
        while let Some(link) = self.hall.get_mut(&id).filter(|link| link.session.can_send_items()) {
            let mut message: Vec<Bytes> = Vec::new();
            let mut bytes = 0;
            while message.len() < limits::ITEMS_PER_MESSAGE_MAX {
                let (found, from_snapshots) = if let Some((_, doc)) = link.snapshots.front() {
                    (self.store.read(|tx| tx.get(Table::Snapshots, &doc.0))?.map(Bytes::from), true)
                } else if let Some(key) = link.items.front() {
                    let wanted = !link.has(key);
                    let found = self.store.read(|tx| schema::item(tx, key))?.filter(|_| wanted);
                    (found.map(|item| item.bytes().clone()), false)
                } else {
                    break;
                };
                let size = found.as_ref().map_or(0, Bytes::len);
                if !message.is_empty() && bytes + size > limits::MESSAGE_FILL_BYTES {
                    break;
                }
                if from_snapshots {
                    link.snapshots.pop_front();
                } else if let Some(key) = link.items.pop_front() {
                    link.theirs.entry(key.chain).or_default().insert(key.n);
                }
                bytes += size;
                message.extend(found);
            }
            if message.is_empty() {
                break;
            }
            link.session.items(message);
        }
        Ok(())
    }

    /// Items from another device. Whether one of them is what no honest device gives.
    fn receive_in_hall(&mut self, now: Now, id: HallPeer, items: Vec<Bytes>) -> Result<bool, ReplicaError> {
        for bytes in &items {
            let Ok(raw) = RawItem::parse(bytes.clone()) else { return Ok(true) };
            if let (Some(link), Some(n)) = (self.hall.get_mut(&id), raw.header().n()) {
                link.theirs.entry(raw.header().chain()).or_default().insert(n);
            }
        }
        let items = items.into_iter().map(|bytes| (Seq(0), bytes)).collect();
        let bad = self.receive(now, Source::Hall, Items { scope: Scope::Wanted, upto: Seq(0), items })?;
        let waits = std::mem::take(&mut self.hall_waits);
        // Only of what is here now: so it is bounded by that.
        if let Some(link) = self.hall.get_mut(&id) {
            link.waits.extend(waits);
            link.theirs.retain(|chain, _| self.held.contains_key(chain));
        }
        self.carry_soon(now.mono);
        Ok(bad)
    }

    /// An item that another device gave goes to the relay with what this device made.
    pub(super) fn carry(&mut self, item: &Item, batch: &mut Batch) {
        if !self.outbox_ids.contains_key(&item.id()) {
            self.send_item(item, batch);
        }
    }

    /// Whether what is to be sent is another device's.
    pub(super) fn is_carried(&self, what: &Outgoing) -> bool {
        matches!(what, Outgoing::Item(key) if key.chain.author.device != self.device)
    }

    pub(super) fn is_carried_run(&self, what: &Outgoing) -> bool {
        is_run_of_another(what, &self.device, &self.charters)
    }

    /// The items of a chain from a place on, if all of them are carried: the relay's log does not have them.
    pub(super) fn carried_from(
        &self,
        chain: &ChainId,
        n: u32,
        batch: &Batch,
    ) -> Result<Option<Vec<u32>>, ReplicaError> {
        if chain.author.device == self.device {
            return Ok(None);
        }
        let held = self.held.get(chain).cloned().unwrap_or_default();
        let mut found = Vec::new();
        for n in held.iter().flat_map(|(a, b)| a..=b).filter(|held| *held >= n) {
            let item = self.received_item(chain, n, batch)?;
            if !item.is_some_and(|item| self.outbox_ids.contains_key(&item.id())) {
                return Ok(None);
            }
            found.push(n);
        }
        Ok(Some(found))
    }

    /// The relay will not take what another device gave, and by this device's charter it does not count: it goes to quarantine.
    pub(super) fn give_up_carried(&mut self, item: &Item, code: RejectCode) -> Result<(), ReplicaError> {
        let mut batch = Batch::default();
        self.take_out(item, code, &mut batch)?;
        self.settle_charters(None, &mut batch)?;
        batch.commit(&mut self.store)?;
        self.rejudge()
    }

    /// An item was stored: devices that are nearby get it too.
    pub(super) fn tell_hall(&mut self, item: &Item) {
        let Some(n) = item.header().n().filter(|_| item.header().kind != Kind::Snapshot) else { return };
        let key = ItemKey { chain: item.header().chain(), n };
        self.hall.values_mut().for_each(|link| link.item_stored(key));
    }
}

/// Whether what is to be sent is another device's run: its author may send it too, and is waited for. Records are not: the
/// relay may need them to know this device.
pub(super) fn is_run_of_another(
    what: &Outgoing,
    device: &DeviceId,
    charters: &BTreeMap<SpaceId, Charter>,
) -> bool {
    matches!(what, Outgoing::Item(key)
        if key.chain.author.device != *device && !charters.contains_key(&key.chain.space))
}

/// The chains of one space.
pub(super) fn of_space(
    chains: &BTreeMap<ChainId, Ranges>,
    space: SpaceId,
) -> impl Iterator<Item = (&ChainId, &Ranges)> {
    let author = Author { device: DeviceId([0; 16]), session: SessionId([0; 8]) };
    let first = ChainId { space, author };
    chains.range(first..).take_while(move |(chain, _)| chain.space == space)
}
