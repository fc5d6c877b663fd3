//! The relay's brain: who is connected, who may read what, which item comes next. A state machine without IO.
//!
//! Devices are served by cursor: the hub keeps no queue for anyone, only how far each was sent, and looks up
//! what comes next when the socket can take it. An item gets its place when it is admitted, is written by the
//! driver ([`Effect::Append`]), and is acknowledged and delivered only after [`Hub::handle_appended`].

mod admit;
mod deliver;
mod lines;
pub mod memory;
mod peer;
mod policy;
mod quota;
mod space;
mod stats;
mod tail;
mod views;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use dinh_proto::channel::Binding;
use dinh_proto::charter::Charter;
use dinh_proto::error::{CloseCode, PeerMisbehaved, SessionError};
use dinh_proto::ids::{DeviceId, Seq, SpaceId};
use dinh_proto::item::{Item, Kind, RawItem};
use dinh_proto::keys::{DevicePublic, RelayKey};
use dinh_proto::limits;
use dinh_proto::permit::OperatorPublic;
use dinh_proto::session::{RelayEvent, RelaySession};
use dinh_proto::time::{Timestamp, WallTime};
use dinh_proto::wire::{ChainSet, Ephemeral, Hello};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

pub use crate::bucket::Rate;
use crate::log::{EpochHistory, IndexEntry};
use crate::throttle::Throttle;
pub use memory::Loaded;
use peer::{Ask, Greeting, OpenPut, Peer, QueuedPut, Reconcile};
pub use policy::{
    Admission, AdmittedView, ConnectionView, DECISIONS_MAX, DeviceView, LimitsView, OperatorRow, PermitView,
    PolicyError, PolicyView, REASON_BYTES_MAX, SuspendedSpaceView, SuspensionView,
};
pub use quota::{Limit, Quotas};
use space::Space;
pub use stats::{Durations, HubStats, Queues};
use tail::{Commits, Tail};
pub use views::{ConnectionRow, DeviceRow, SpaceDetail, SpaceView};

/// A connection, numbered by the driver and never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// Default of [`HubConfig::warm_bytes_max`]: some 5 million items.
pub const WARM_BYTES_MAX: usize = 256 << 20;

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Which branches may be founded here.
    pub admission: Admission,
    /// Operators whose permits are trusted, besides the relay's own.
    pub operators: Vec<OperatorPublic>,
    /// Devices told to go away are asked to come back spread over this many milliseconds.
    pub retry_spread_ms: u32,
    /// Connections of one device at the same time.
    pub connections_per_device_max: usize,
    /// What a connection may take until its device has greeted.
    pub greeting: Duration,
    /// Silence after which a connection is taken for dead; devices say something every [`limits::KEEPALIVE_AFTER`].
    pub idle: Duration,
    /// What devices may take.
    pub quotas: Quotas,
    /// Bytes of memory, about, for what is known of the items of spaces that are in use. What is needed at the same time stays
    /// above it.
    pub warm_bytes_max: usize,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            admission: Admission::Open,
            operators: Vec::new(),
            retry_spread_ms: 10_000,
            connections_per_device_max: limits::CONNECTIONS_PER_DEVICE_MAX,
            greeting: limits::HANDSHAKE_TIMEOUT,
            idle: limits::DEAD_AFTER,
            quotas: Quotas::default(),
            warm_bytes_max: WARM_BYTES_MAX,
        }
    }
}

/// Something for the driver to do.
#[derive(Debug)]
pub enum Effect {
    /// Check signatures; answer with [`Hub::handle_verified`].
    Verify {
        /// Names this request.
        token: u64,
        /// Items and the keys that must have signed them.
        items: Vec<(RawItem, DevicePublic)>,
    },
    /// Store durably, in order, after everything appended before; answer with [`Hub::handle_appended`].
    Append {
        /// Names this request.
        token: u64,
        /// The items. The first gets the place after the last one appended before.
        items: Vec<Item>,
    },
    /// Keep what the operator decided, in order: durable before anything that is appended after it.
    Remember {
        /// What is written.
        rows: Vec<OperatorRow>,
    },
    /// Read from the log; answer with [`Hub::handle_read`].
    Read {
        /// Names this request.
        token: u64,
        /// The places.
        seqs: Vec<Seq>,
    },
    /// Read everything that the log has of a space; answer with [`Hub::handle_loaded`].
    Load {
        /// Names this request.
        token: u64,
        /// The space.
        space: SpaceId,
    },
    /// This connection has something to send: call [`Hub::poll_transmit`] when its socket can take it.
    Wake {
        /// The connection.
        peer: PeerId,
    },
    /// End this connection after what is left to send; then call [`Hub::handle_disconnected`].
    Close {
        /// The connection.
        peer: PeerId,
    },
}

/// The state machine. Any method may create effects: drain [`Hub::poll_effect`] after each call.
#[derive(Debug)]
pub struct Hub {
    config: HubConfig,
    key: RelayKey,
    epochs: EpochHistory,
    rng: ChaCha8Rng,
    /// Charters of the branches whose charter space is in memory.
    branches: BTreeMap<SpaceId, Charter>,
    spaces: BTreeMap<SpaceId, Space>,
    memory: memory::Memory,
    /// The branches of each device; of a branch whose charter is not in memory also devices that are no members.
    members: BTreeMap<DeviceId, BTreeSet<SpaceId>>,
    peers: BTreeMap<PeerId, Peer>,
    by_device: BTreeMap<DeviceId, BTreeSet<PeerId>>,
    timers: BTreeSet<(Timestamp, PeerId)>,
    /// What devices have taken of what they may.
    shares: BTreeMap<DeviceId, quota::Share>,
    record_shares: BTreeMap<SpaceId, quota::RecordShare>,
    /// When connections whose items wait for their device's share are looked at again.
    waits: BTreeSet<(Timestamp, PeerId)>,
    greeting_bytes: usize,
    policy: policy::Policy,
    /// As it was last passed in.
    now: Timestamp,
    /// When the frame that is being handled came.
    arrived: Timestamp,
    tail: Tail,
    /// When what is in the log became durable, as far as it is recent.
    commits: Commits,
    /// The last place given out.
    staged: Seq,
    /// The last place on disk.
    durable: Seq,
    appends: VecDeque<admit::Append>,
    gathered: Vec<(Item, IndexEntry, memory::Pins)>,
    verifying: BTreeMap<u64, admit::Verifying>,
    reading: BTreeMap<u64, PeerId>,
    /// Who is told when a place is durable: connection, put number, whether it is a repeat.
    waiting: BTreeMap<Seq, Vec<(PeerId, u64, bool)>>,
    next_token: u64,
    effects: VecDeque<Effect>,
    stats: HubStats,
    lines: Throttle,
    stopping: bool,
    read_only: bool,
    wall: WallTime,
}

impl Hub {
    /// A hub over a log whose last place is `head`, known to devices by `key`. Follow with [`Hub::load_summary`] for each space of the
    /// log.
    pub fn new(config: HubConfig, key: RelayKey, epochs: EpochHistory, head: Seq, seed: [u8; 32]) -> Self {
        Self {
            config,
            key,
            epochs,
            rng: ChaCha8Rng::from_seed(seed),
            branches: BTreeMap::new(),
            spaces: BTreeMap::new(),
            memory: memory::Memory::default(),
            members: BTreeMap::new(),
            peers: BTreeMap::new(),
            by_device: BTreeMap::new(),
            timers: BTreeSet::new(),
            shares: BTreeMap::new(),
            record_shares: BTreeMap::new(),
            waits: BTreeSet::new(),
            greeting_bytes: 0,
            policy: policy::Policy::default(),
            now: Timestamp(0),
            arrived: Timestamp(0),
            tail: Tail::default(),
            commits: Commits::default(),
            staged: head,
            durable: head,
            appends: VecDeque::new(),
            gathered: Vec::new(),
            verifying: BTreeMap::new(),
            reading: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_token: 0,
            effects: VecDeque::new(),
            stats: HubStats::default(),
            lines: Throttle::default(),
            stopping: false,
            read_only: false,
            wall: WallTime(0),
        }
    }

    /// Other limits from now on. What devices have taken so far counts against them.
    pub fn reconfigure(&mut self, config: HubConfig) {
        self.config = config;
    }

    /// While it is read-only it admits no item: devices keep theirs and offer them again. Everything else goes on.
    pub fn set_read_only(&mut self, read_only: bool) {
        self.read_only = read_only;
    }

    /// Tells the wall clock, for display by devices.
    pub fn set_wall_time(&mut self, wall: WallTime) {
        self.wall = wall;
    }

    /// Plain numbers for metrics.
    pub fn stats(&self) -> HubStats {
        let [admitted_branches, suspended_devices, suspended_spaces] = self.policy.counts();
        let (warm_spaces, warm_bytes) = self.warm();
        HubStats {
            admitted_branches,
            suspended_devices,
            suspended_spaces,
            connections: self.peers.len() as u64,
            branches: self.spaces.iter().filter(|(id, s)| s.branch == **id).count() as u64,
            spaces: self.spaces.len() as u64,
            warm_spaces,
            warm_bytes,
            head: self.durable.0,
            epoch: self.epochs.current(),
            epochs: self.epochs.starts().len() as u64,
            ..self.stats.clone()
        }
    }

    /// How much waits for the connection that has most of it: looks at all connections.
    pub fn longest_queues(&self) -> Queues {
        let most = |f: fn(&Peer) -> usize| self.peers.values().map(f).max().unwrap_or_default();
        Queues {
            outgoing_bytes: most(|p| p.session.outgoing_bytes()),
            puts: most(|p| p.puts.len()),
            wanted: most(|p| p.wanted.len()),
        }
    }

    /// The last durable place.
    pub fn durable_head(&self) -> Seq {
        self.durable
    }

    /// A connection was accepted; `binding` is what the transport gave both ends. `seed` is 32 random bytes that serve
    /// this connection alone.
    pub fn handle_connected(&mut self, now: Timestamp, peer: PeerId, binding: [u8; 32], seed: [u8; 32]) {
        self.now = now;
        self.stats.connected += 1;
        let mut session = RelaySession::new(&self.key, Binding(binding), seed, now);
        session.set_patience(now, self.config.greeting, self.config.idle);
        self.peers.insert(peer, Peer::new(session, now));
        if self.stopping {
            self.with_peer(peer, |p| p.session.close(CloseCode::GoingAway, 0));
        }
        self.settle(peer);
    }

    /// A frame came.
    pub fn handle_frame(&mut self, now: Timestamp, peer: PeerId, frame: Bytes) {
        self.handle_held_frame(now, now, peer, frame);
    }

    /// A frame that came at `arrived` and could not be handed over before.
    pub fn handle_held_frame(&mut self, now: Timestamp, arrived: Timestamp, peer: PeerId, frame: Bytes) {
        self.now = now;
        self.arrived = arrived;
        self.stats.bytes_in += frame.len() as u64;
        self.count_greeting(peer, frame.len());
        self.count_frame(peer, frame.len());
        self.with_peer(peer, |p| {
            p.bytes_in += frame.len() as u64;
            p.session.handle_frame(now, &frame);
        });
        self.drain_events(peer);
        self.end_greeting(peer);
        self.count_pause(peer);
        self.settle(peer);
    }

    /// The connection is gone.
    pub fn handle_disconnected(&mut self, now: Timestamp, peer: PeerId) {
        self.now = now;
        let Some(gone) = self.peers.remove(&peer) else { return };
        self.greeting_bytes -= gone.greeting_bytes;
        self.stats.disconnected += 1;
        self.release(gone.held_to_send);
        self.release(gone.held_to_judge);
        for space in &gone.spaces {
            if let Some(space) = self.spaces.get_mut(space) {
                space.subscribers.remove(&peer);
            }
        }
        if let Some(device) = gone.device
            && let Some(peers) = self.by_device.get_mut(&device)
        {
            peers.remove(&peer);
            if peers.is_empty() {
                self.by_device.remove(&device);
            }
            self.forget_share(&device);
        }
    }

    /// A timer that [`Hub::poll_timeout`] named fired.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = now;
        while let Some((at, peer)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            let Some(state) = self.peers.get_mut(&peer) else { continue };
            state.session.handle_timeout(now);
            if let Some(next) = state.session.poll_timeout() {
                self.timers.insert((next, peer));
            }
            self.drain_events(peer);
            self.settle(peer);
        }
        self.end_waits();
    }

    /// The relay stops: every device is told to come back, spread over the configured time.
    pub fn handle_shutdown(&mut self, _now: Timestamp) {
        self.stopping = true;
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            let spread = u64::from(self.config.retry_spread_ms.max(1));
            let retry_after_ms = (self.rng.next_u64() % spread) as u32;
            self.with_peer(peer, |p| p.session.close(CloseCode::GoingAway, retry_after_ms));
            self.drain_events(peer);
            self.settle(peer);
        }
    }

    /// When [`Hub::handle_timeout`] wants to be called. It may be a little early.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.first().into_iter().chain(self.waits.first()).map(|(at, _)| *at).min()
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.make_room();
        self.flush_appends();
        self.effects.pop_front()
    }

    /// Appends one frame for this connection to `buf`; false if there is nothing to send now. Call when its
    /// socket can take more.
    pub fn poll_transmit(&mut self, now: Timestamp, peer: PeerId, buf: &mut Vec<u8>) -> bool {
        self.now = now;
        self.with_peer(peer, Peer::queue_acks);
        self.pump(peer);
        let Some(state) = self.peers.get_mut(&peer) else { return false };
        let (before, queued) = (buf.len(), state.session.outgoing_bytes());
        let more = state.session.poll_transmit(buf);
        if !more {
            state.woken = false;
        }
        let sent = (buf.len() - before) as u64;
        state.bytes_out += sent;
        self.stats.bytes_out += sent;
        state.drained += queued.saturating_sub(state.session.outgoing_bytes()) as u64;
        while let Some(mark) =
            state.acks.pop_front_if(|mark| mark.end.is_some_and(|end| end <= state.drained))
        {
            self.stats.acks.observe(now - mark.arrived, u64::from(mark.items));
        }
        more
    }

    fn with_peer(&mut self, peer: PeerId, f: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            f(peer);
        }
    }

    /// Wakes the connection and keeps its timer set: after anything that may have given it something to send.
    fn settle(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.woken {
            peer.woken = true;
            self.effects.push_back(Effect::Wake { peer: id });
        }
        if peer.device.is_none()
            && let Some(at) = peer.session.poll_timeout()
        {
            self.timers.insert((at, id));
        }
    }

    fn drain_events(&mut self, id: PeerId) {
        while let Some(event) = self.peers.get_mut(&id).and_then(|p| p.session.poll_event()) {
            if !matches!(event, RelayEvent::Hello { .. } | RelayEvent::Closed(_)) {
                self.count_message(id);
            }
            match event {
                RelayEvent::Hello { device, hello } => self.greet(id, device, hello),
                RelayEvent::Put { first, items, bytes } => {
                    let arrived = self.arrived;
                    self.with_peer(id, |p| {
                        p.open_puts.push_back(OpenPut { first, unanswered: items.len(), bytes, arrived });
                        let numbered = items.into_iter().zip(first..);
                        p.puts.extend(numbered.map(|(item, number)| QueuedPut {
                            number,
                            bridged: item.bridged,
                            bytes: item.bytes,
                            paid: false,
                        }));
                    });
                    self.advance_puts(id);
                }
                RelayEvent::Want(want) => self.ask(id, Ask::Want(want)),
                RelayEvent::Fetch(fetch) => self.with_peer(id, |p| {
                    p.backfills.insert(fetch.space, fetch);
                    if p.backfills.len() > limits::SPACES_PER_MESSAGE_MAX {
                        p.session.fail(PeerMisbehaved::AsksTooMuch.into());
                    }
                }),
                RelayEvent::Reconcile(spaces) => {
                    self.stats.reconciles += 1;
                    self.send_have(id, &spaces.into_iter().collect());
                }
                RelayEvent::Ephemeral(message) => self.pass_on(id, &message),
                RelayEvent::Permit(permit) => self.take_permit(id, &permit),
                RelayEvent::Closed(error) => self.close_peer(id, &error),
            }
        }
    }

    fn close_peer(&mut self, id: PeerId, error: &SessionError) {
        self.stats.count_close(error);
        self.log_close(id, error);
        self.effects.push_back(Effect::Close { peer: id });
    }

    fn greet(&mut self, id: PeerId, device: DeviceId, hello: Hello) {
        if self.policy.is_suspended(&device) {
            self.close_suspended(id);
            return;
        }
        let connections = self.by_device.entry(device).or_default();
        if connections.len() >= self.config.connections_per_device_max {
            self.with_peer(id, |p| p.session.close(CloseCode::TooMany, 1_000));
            self.stats.refused_of_device += 1;
            self.log_connection("device", id, Some(device));
            return;
        }
        connections.insert(id);
        let places = [hello.cursor, hello.acked];
        let reconcile = places.into_iter().flatten().any(|c| !self.epochs.is_valid(c, self.durable));
        // Bug: a cursor of another epoch is taken for one of this if the log is long enough.
        #[cfg(feature = "canary")]
        let reconcile = reconcile
            && !(dinh_proto::canary::is_planted("stale-epoch-accepted")
                && hello.cursor.is_some_and(|c| c.seq <= self.durable));
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.device = Some(device);
        peer.cursor = match hello.cursor {
            _ if reconcile => self.durable,
            // Bug: it goes on one item too far.
            #[cfg(feature = "canary")]
            Some(cursor) if dinh_proto::canary::is_planted("resume-from-wrong-seq") => {
                Seq(cursor.seq.0 + 1).min(self.durable)
            }
            Some(cursor) => cursor.seq,
            None => Seq(0),
        };
        peer.fresh = !reconcile && hello.cursor.is_none_or(|cursor| cursor.seq == Seq(0));
        peer.reconciles_all = reconcile;
        peer.backfills = hello.backfills.iter().map(|f| (f.space, *f)).collect();
        let branches = self.members.get(&device).cloned().unwrap_or_default();
        peer.greeting = Some(Greeting { branches, reconcile });
        self.advance_greeting(id);
    }

    /// Subscribes a connection to the spaces of a branch that it may read, and to no others of it.
    fn subscribe(&mut self, id: PeerId, branch: SpaceId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(device) = peer.device else { return };
        let Some(charter) = self.branches.get(&branch) else { return };
        let readable = charter.readable(&device);
        // Bug: a member gets every space of its branch.
        #[cfg(feature = "canary")]
        let readable = if dinh_proto::canary::is_planted("fan-out-unchecked")
            && self.members.get(&device).is_some_and(|branches| branches.contains(&branch))
        {
            charter.spaces().keys().chain([&branch]).copied().collect()
        } else {
            readable
        };
        if !readable.is_empty() && peer.spaces.is_empty() && !peer.owes_caught_up {
            // It was unknown so far: its cursor stood still, and everything is ahead of it.
            peer.owes_caught_up = true;
        }
        let is_of_branch = |space: &&SpaceId| self.spaces.get(*space).is_some_and(|s| s.branch == branch);
        let lost: Vec<SpaceId> = peer.spaces.difference(&readable).filter(is_of_branch).copied().collect();
        for space in &lost {
            peer.leave(space);
            if let Some(state) = self.spaces.get_mut(space) {
                state.subscribers.remove(&id);
            }
        }
        let gained: BTreeSet<SpaceId> = readable.difference(&peer.spaces).copied().collect();
        let gained_late = peer.session.is_flowing() && !gained.is_empty();
        let reconcile_gained = peer.reconciles_all && gained_late;
        // The device may have counted on these spaces before the relay knew of it: their checksums tell it whether
        // anything is missing.
        peer.owes_caught_up |= gained_late;
        for space in &gained {
            peer.spaces.insert(*space);
            if gained_late {
                peer.changed.insert(*space);
            }
            let Some(state) = self.spaces.get_mut(space) else { continue };
            state.subscribers.insert(id);
            if state.last() > peer.cursor {
                peer.dirty.insert(*space);
                peer.changed.insert(*space);
            }
        }
        if reconcile_gained {
            self.send_have(id, &gained);
        }
    }

    /// Sends what the relay has of these spaces (all, if none is named), as far as the device may read them.
    fn send_have(&mut self, id: PeerId, spaces: &BTreeSet<SpaceId>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let chosen: Vec<SpaceId> =
            peer.spaces.iter().filter(|s| spaces.is_empty() || spaces.contains(s)).copied().collect();
        peer.changed.extend(chosen.iter().copied());
        peer.owes_caught_up = true;
        peer.reconcile = Reconcile::AwaitingWant;
        // If nothing that this device may read is known here, it says so, and the device uploads what it has.
        self.ask(id, Ask::Have(chosen.into()));
    }

    fn take_want(&mut self, id: PeerId, want: ChainSet) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        // A space that it may not read is answered like one that has nothing.
        if peer.spaces.contains(&want.space)
            && let Some(space) = self.spaces.get(&want.space)
        {
            // What is not durable yet comes in the order of the log, like everything new.
            let places = space.places(&want.chains).into_iter().filter(|(seq, _)| *seq <= self.durable);
            peer.wanted.extend(places.map(|(seq, len)| (want.space, seq, len)));
            if peer.wanted.len() > limits::WANTED_ITEMS_MAX {
                peer.wanted.clear();
                peer.session.fail(PeerMisbehaved::AsksTooMuch.into());
            }
        }
        if want.last {
            peer.reconcile = Reconcile::Idle;
        }
    }

    fn pass_on(&mut self, from: PeerId, message: &Ephemeral) {
        let Some(sender) = self.peers.get(&from) else { return };
        let allowed = sender.device == Some(message.device) && sender.spaces.contains(&message.space);
        let Some(space) = self.spaces.get(&message.space).filter(|_| allowed) else { return };
        let receivers: Vec<PeerId> = space.subscribers.iter().filter(|p| **p != from).copied().collect();
        for peer in receivers {
            self.with_peer(peer, |p| p.session.ephemeral(message.clone()));
            self.settle(peer);
        }
    }

    /// After a charter changed: its spaces exist, its devices are members, those connected are subscribed.
    fn take_over_charter(&mut self, branch: SpaceId) {
        let Some(charter) = self.branches.get(&branch) else { return };
        for space in charter.spaces().keys().chain([&branch]) {
            self.spaces.entry(*space).or_insert_with(|| Space::new(branch)).branch = branch;
        }
        let mut connected = Vec::new();
        for device in charter.devices().keys() {
            self.members.entry(*device).or_default().insert(branch);
            connected.extend(self.by_device.get(device).into_iter().flatten().copied());
        }
        let removed: Vec<DeviceId> = charter.removed().keys().copied().collect();
        for device in &removed {
            self.forget_member(device, &branch);
            connected.extend(self.by_device.get(device).into_iter().flatten().copied());
        }
        for peer in connected {
            self.subscribe(peer, branch);
            self.settle(peer);
        }
    }

    fn forget_member(&mut self, device: &DeviceId, branch: &SpaceId) {
        if let Some(branches) = self.members.get_mut(device) {
            branches.remove(branch);
            if branches.is_empty() {
                self.members.remove(device);
            }
        }
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }
}

/// Whether the item is stored beside its chain.
fn is_snapshot(kind: Kind) -> bool {
    kind == Kind::Snapshot
}
