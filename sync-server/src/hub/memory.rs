//! Which spaces are in memory. A space is *cold* when only its summary is: enough to know whom it concerns and whether it
//! has anything new for a device. It is *warm* when its places and chains are too, with the charter if it is a charter space.
//! So a start reads summaries, and memory follows what goes on, not what is stored.
//!
//! Whatever needs a cold space asks for it ([`Effect::Load`]) and is tried again when it is there; only the connection
//! that asked waits. A warm space is forgotten when all of them take more than [`HubConfig::warm_bytes_max`], the one that
//! was used longest ago first, but not while it is pinned: an item for it is being judged or stored, or a device is being
//! sent what it lacks of it. As long as a space is cold nothing is added to it, so what the log says of it is all of it.
//!
//! [`HubConfig::warm_bytes_max`]: super::HubConfig::warm_bytes_max

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dinh_proto::charter::Charter;
use dinh_proto::error::{CloseCode, PeerMisbehaved};
use dinh_proto::ids::{DeviceId, Seq, SpaceId};
use dinh_proto::item::{Item, Kind, RawItem};
use dinh_proto::limits;
use dinh_proto::time::Timestamp;
use dinh_proto::wire::{ChainSet, Welcome};

use super::peer::{Ask, Peer};
use super::space::{Detail, Space};
use super::{Effect, Hub, PeerId};
use crate::log::{IndexEntry, StoredSpace, Summary};

/// Loads that are asked for at the same time; the others wait their turn.
pub const LOADS_MAX: usize = 64;
/// Spaces looked at for one that may be forgotten, each time that there are too many.
const EVICT_TRIES: usize = 64;
/// What a charter record takes besides its payload, bytes.
const RECORD_WEIGHT: usize = 600;
/// Chains in the wants of one device that wait for spaces.
const ASKED_CHAINS_MAX: usize = 1 << 16;

/// Spaces that something needs in memory: that of an item, and its branch's.
pub(super) type Pins = [Option<SpaceId>; 2];

/// How a space is used.
#[derive(Debug, Default)]
pub(super) struct Use {
    pins: u32,
    /// Its place in the order of use; zero while it is cold.
    tick: u64,
    /// Bytes that are counted for it.
    weight: usize,
    /// Charter records that the rules of this version do not count.
    unused_records: u64,
}

/// What is in memory, and what is on its way there.
#[derive(Debug, Default)]
pub(super) struct Memory {
    bytes: usize,
    /// Warm spaces, the one used longest ago first.
    order: BTreeMap<u64, SpaceId>,
    tick: u64,
    /// By request.
    loading: BTreeMap<u64, SpaceId>,
    /// To be asked for.
    queue: VecDeque<SpaceId>,
    /// Who waits for a space that is being loaded or in the queue.
    waiters: BTreeMap<SpaceId, BTreeSet<PeerId>>,
}

/// A space as it was read from the log. Making it takes a while if the space is large: not on the hub's thread.
#[derive(Debug)]
pub struct Loaded {
    summary: Summary,
    detail: Detail,
    charter: Option<(Charter, u64)>,
}

impl Loaded {
    /// Of everything that is stored of a space.
    pub fn new(space: SpaceId, stored: StoredSpace) -> Self {
        let (mut summary, mut detail) = (Summary::new(space), Detail::default());
        for entry in &stored.entries {
            summary.add(entry, None);
            detail.add(entry);
        }
        let charter = (!stored.records.is_empty()).then(|| charter(space, stored.records));
        Self { summary, detail, charter }
    }

    /// Of all items of a log that is no file: a test's.
    pub fn of_items<'a>(space: SpaceId, items: impl IntoIterator<Item = (Seq, &'a RawItem)>) -> Self {
        let mut stored = StoredSpace { entries: Vec::new(), records: Vec::new() };
        for (seq, item) in items.into_iter().filter(|(_, item)| item.header().space == space) {
            stored.entries.push(IndexEntry::of(seq, item));
            stored.records.extend((item.header().kind == Kind::Charter).then(|| item.clone()));
        }
        Self::new(space, stored)
    }
}

/// The charter that these records make, and how many of them the rules of this version do not count.
fn charter(branch: SpaceId, records: Vec<RawItem>) -> (Charter, u64) {
    let records: Vec<Item> = records.into_iter().map(RawItem::trust).collect();
    let mut charter = Charter::new(branch);
    // Records were judged before they were stored; what no longer reads is of a changed format, and stays out.
    if charter.extend(&records).is_err() {
        for record in &records {
            let _ = charter.keep(record);
        }
    }
    // Worked out here, and not while everybody waits for the hub.
    let _ = charter.devices();
    let unused = (records.len() - charter.len()) as u64;
    (charter, unused)
}

impl Hub {
    /// At start: what the log has of a space.
    pub fn load_summary(&mut self, summary: &Summary) {
        self.stats.log_bytes += summary.bytes;
        // A space belongs to the branch that creates it. Until one is known the space stands for itself.
        let known = self.spaces.get(&summary.space).map_or(summary.space, |s| s.branch);
        self.spaces.insert(summary.space, Space::stored(known, summary));
        for space in &summary.spaces {
            // A record that does not count may name a space of another branch. That branch's charter puts it right when it
            // is loaded, which is before any of its devices is served.
            self.spaces.entry(*space).or_insert_with(|| Space::new(summary.space)).branch = summary.space;
        }
        for device in &summary.devices {
            self.members.entry(*device).or_default().insert(summary.space);
        }
    }

    /// A space was read from the log, or that failed.
    pub fn handle_loaded(&mut self, now: Timestamp, token: u64, loaded: Result<Loaded, ()>) {
        self.now = now;
        let Some(space) = self.memory.loading.remove(&token) else { return };
        self.start_loads();
        let waiters = self.memory.waiters.remove(&space).unwrap_or_default();
        // Somebody else may have offered it meanwhile.
        let is_in = self.is_warm(&space) || loaded.is_ok_and(|loaded| self.take_in(space, loaded));
        for id in waiters {
            if is_in {
                self.advance_greeting(id);
                self.advance_asks(id);
                self.advance_puts(id);
            } else {
                self.with_peer(id, |p| p.session.close(CloseCode::StorageFailed, 5_000));
                self.drain_events(id);
            }
            self.settle(id);
        }
    }

    /// Somebody looks at a space that is not in memory, and has read it for that. It is taken in as if it had been asked for, if it
    /// still is not there.
    pub fn offer(&mut self, now: Timestamp, space: SpaceId, loaded: Loaded) {
        self.now = now;
        if self.is_cold(&space) {
            self.take_in(space, loaded);
        }
    }

    /// Whether this space is stored here and not in memory.
    pub fn is_cold(&self, space: &SpaceId) -> bool {
        !self.is_warm(space)
    }

    /// Branches that may have this device as a member and whose charters are not in memory.
    pub fn cold_branches(&self, device: &DeviceId) -> Vec<SpaceId> {
        let branches = self.members.get(device).into_iter().flatten();
        branches.filter(|branch| self.is_cold(branch)).copied().collect()
    }

    fn take_in(&mut self, id: SpaceId, loaded: Loaded) -> bool {
        let Some(space) = self.spaces.get_mut(&id) else { return false };
        if !space.warm_up(&loaded.summary, loaded.detail) {
            return false;
        }
        self.stats.loads += 1;
        if let Some((charter, unused)) = loaded.charter {
            self.stats.charter_records_unused -= std::mem::replace(&mut space.memory.unused_records, unused);
            self.stats.charter_records_unused += unused;
            // Not every device of which there is a certificate is a member.
            let certified = charter.records().filter_map(|r| r.record.certificate());
            for device in certified.map(|c| c.request.public.id()) {
                if !charter.devices().contains_key(&device) {
                    self.forget_member(&device, &id);
                }
            }
            self.branches.insert(id, charter);
            self.take_over_charter(id);
        }
        self.weigh(id);
        true
    }

    /// Whether a space may be looked into: it is in memory, or there is none.
    pub(super) fn is_warm(&self, space: &SpaceId) -> bool {
        self.spaces.get(space).is_none_or(Space::is_warm)
    }

    /// This connection goes on when the space is in memory.
    pub(super) fn ask_for(&mut self, id: PeerId, space: SpaceId) {
        let waiters = self.memory.waiters.entry(space).or_default();
        if waiters.is_empty() {
            self.memory.queue.push_back(space);
        }
        waiters.insert(id);
        self.start_loads();
    }

    fn start_loads(&mut self) {
        while self.memory.loading.len() < LOADS_MAX
            && let Some(space) = self.memory.queue.pop_front()
        {
            let waiters = self.memory.waiters.entry(space).or_default();
            waiters.retain(|id| self.peers.contains_key(id));
            if waiters.is_empty() {
                self.memory.waiters.remove(&space);
                continue;
            }
            let token = self.token();
            self.memory.loading.insert(token, space);
            self.effects.push_back(Effect::Load { token, space });
        }
    }

    /// Keeps the space of an item in memory, and its branch's.
    pub(super) fn pin(&mut self, space: &SpaceId) -> Pins {
        let branch = self.spaces.get(space).map(|s| s.branch);
        let mut pin = |id: SpaceId| {
            self.spaces.get_mut(&id)?.memory.pins += 1;
            Some(id)
        };
        let pins = [pin(*space), branch.and_then(&mut pin)];
        pins.into_iter().flatten().for_each(|id| self.weigh(id));
        pins
    }

    pub(super) fn unpin(&mut self, pins: Pins) {
        for id in pins.into_iter().flatten() {
            if let Some(space) = self.spaces.get_mut(&id) {
                space.memory.pins -= 1;
            }
        }
    }

    /// Whether these spaces are in memory. If one is not it is asked for, and all stay there until what `held` names of the
    /// connection is released.
    pub(super) fn hold(
        &mut self,
        id: PeerId,
        held: fn(&mut Peer) -> &mut Vec<SpaceId>,
        mut spaces: Vec<SpaceId>,
    ) -> bool {
        // What comes to be meanwhile is not released either.
        spaces.retain(|space| self.spaces.contains_key(space));
        let cold: Vec<SpaceId> = spaces.iter().filter(|s| !self.is_warm(s)).copied().collect();
        if cold.is_empty() {
            return true;
        }
        for space in &spaces {
            if let Some(space) = self.spaces.get_mut(space) {
                space.memory.pins += 1;
            }
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            let before = std::mem::replace(held(peer), spaces);
            self.release(before);
        }
        cold.into_iter().for_each(|space| self.ask_for(id, space));
        false
    }

    /// These need not stay in memory any more.
    pub(super) fn release(&mut self, held: Vec<SpaceId>) {
        for space in held {
            if let Some(space) = self.spaces.get_mut(&space) {
                space.memory.pins -= 1;
            }
        }
    }

    /// A warm space was used, or grew.
    pub(super) fn weigh(&mut self, id: SpaceId) {
        let Some(space) = self.spaces.get_mut(&id).filter(|s| s.is_warm()) else { return };
        let charter = self.branches.get(&id).map_or(0, |c| c.bytes() + c.len() * RECORD_WEIGHT);
        let weight = space.weight() + charter;
        self.memory.bytes += weight;
        self.memory.bytes -= std::mem::replace(&mut space.memory.weight, weight);
        self.memory.order.remove(&space.memory.tick);
        // What holds nothing needs no place in the order: forgetting it would gain nothing.
        space.memory.tick = 0;
        if space.items() > 0 {
            self.memory.tick += 1;
            space.memory.tick = self.memory.tick;
            self.memory.order.insert(self.memory.tick, id);
        }
    }

    /// Forgets spaces until the rest fits, as far as they may be forgotten.
    pub(super) fn make_room(&mut self) {
        for _ in 0..EVICT_TRIES {
            if self.memory.bytes <= self.config.warm_bytes_max {
                return;
            }
            let Some((_, id)) = self.memory.order.pop_first() else { return };
            let Some(space) = self.spaces.get_mut(&id) else { continue };
            if space.memory.pins > 0 {
                space.memory.tick = 0;
                self.weigh(id);
                continue;
            }
            space.cool_down();
            space.memory.tick = 0;
            self.memory.bytes -= std::mem::take(&mut space.memory.weight);
            self.branches.remove(&id);
            self.stats.evictions += 1;
        }
    }

    pub(super) fn warm(&self) -> (u64, u64) {
        (self.memory.order.len() as u64, self.memory.bytes as u64)
    }

    /// Goes on with a greeting, as far as charters are in memory.
    pub(super) fn advance_greeting(&mut self, id: PeerId) {
        let Some(greeting) = self.peers.get_mut(&id).and_then(|p| p.greeting.as_mut()) else { return };
        let mut left = std::mem::take(&mut greeting.branches);
        let warm: Vec<SpaceId> = left.iter().filter(|branch| self.is_warm(branch)).copied().collect();
        for branch in warm {
            left.remove(&branch);
            self.subscribe(id, branch);
        }
        left.iter().for_each(|branch| self.ask_for(id, *branch));
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(greeting) = &mut peer.greeting else { return };
        greeting.branches = left;
        if greeting.branches.is_empty() {
            let reconcile = greeting.reconcile;
            peer.greeting = None;
            self.welcome(id, reconcile);
        }
    }

    fn welcome(&mut self, id: PeerId, reconcile: bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let behind = peer.dirty.iter().filter_map(|s| self.spaces.get(s));
        let backlog = behind.map(|space| space.count_after(peer.cursor)).sum();
        peer.owes_caught_up |= peer.device.is_some_and(|device| self.members.contains_key(&device));
        peer.session.welcome(Welcome {
            epoch: self.epochs.current(),
            head: self.durable,
            reconcile,
            replicas: 0,
            backlog,
            time_ms: self.wall.0,
        });
        if reconcile {
            self.stats.reconciles += 1;
            self.send_have(id, &BTreeSet::new());
        }
    }

    /// Queues something that needs spaces.
    pub(super) fn ask(&mut self, id: PeerId, ask: Ask) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.asks.push_back(ask);
        let chains = peer.asks.iter().map(|ask| match ask {
            Ask::Have(_) => 0,
            Ask::Want(want) => want.chains.len(),
        });
        let chains: usize = chains.sum();
        if peer.asks.len() > limits::SPACES_PER_MESSAGE_MAX || chains > ASKED_CHAINS_MAX {
            peer.asks.clear();
            peer.session.fail(PeerMisbehaved::AsksTooMuch.into());
            return;
        }
        self.advance_asks(id);
    }

    /// Answers what waits, in order, as far as spaces are in memory.
    pub(super) fn advance_asks(&mut self, id: PeerId) {
        while let Some(ask) = self.peers.get_mut(&id).and_then(|p| p.asks.pop_front()) {
            let next = match &ask {
                Ask::Have(spaces) => spaces.front().copied(),
                Ask::Want(want) => Some(want.space),
            };
            let Some(peer) = self.peers.get_mut(&id) else { return };
            // What it may not read is as if there were nothing.
            let readable = next.filter(|space| peer.spaces.contains(space));
            if let Some(space) = readable
                && self.spaces.get(&space).is_some_and(|s| !s.is_warm())
            {
                peer.asks.push_front(ask);
                self.ask_for(id, space);
                return;
            }
            match ask {
                Ask::Want(want) => self.take_want(id, want),
                Ask::Have(mut left) => {
                    left.pop_front();
                    let last = left.is_empty();
                    let found = readable.and_then(|space| self.spaces.get(&space));
                    if readable.is_some() || last {
                        let chains = found.map(Space::held).unwrap_or_default();
                        peer.session.have(ChainSet { space: readable.unwrap_or_default(), last, chains });
                    }
                    if !last {
                        peer.asks.push_front(Ask::Have(left));
                    }
                }
            }
        }
    }
}
