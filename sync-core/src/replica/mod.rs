//! A device's whole brain: items (the truth), documents (a view that can be made again), outbox, cursor, and one
//! end of a conversation with a relay. Without IO: time, seeds and the store are passed in.
//!
//! *Saved* means on this device's disk: [`Replica::edit`] returns after that and never waits for a network.
//! *Synced* means in the relay's durable log: [`Status::pending`] counts what is not.
//!
//! Methods come in four kinds: getters; commands; `handle_*`; `poll_*`. A [`ReplicaError::Store`] is final: drop
//! the replica and open it again.

mod apply;
mod aside;
#[cfg(feature = "test-util")]
mod backlog;
mod charter;
mod documents;
mod edit;
mod error;
mod event;
mod hall;
mod join;
mod keys;
mod link;
mod linked;
mod marker;
mod membership;
mod protect;
mod quarantine;
mod receive;
mod reconcile;
mod recover;
mod refused;
mod rewrite;
mod schema;
mod seal;
mod snapshot;
mod status;
mod tend;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

use dinh_proto::charter::Charter;
use dinh_proto::error::SessionError;
use dinh_proto::ids::{
    Author, ChainId, ChangeHash, Cursor, DeviceId, DocId, ItemId, Seq, SessionId, SpaceId,
};
use dinh_proto::item::{Item, SpaceSum};
use dinh_proto::keys::DeviceKey;
use dinh_proto::permit::Permit;
use dinh_proto::ranges::Ranges;
use dinh_proto::time::{Timestamp, WallTime};
use dinh_proto::wire::Fetch;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::document::{HashPrefix, Path, Typing};
use crate::gate::rights::Schema;
use crate::store::{Store, StoreError, Table};
#[cfg(feature = "test-util")]
pub use backlog::Backlog;
pub use charter::SpaceOptions;
use documents::OpenDocument;
pub use error::ReplicaError;
pub use event::{Event, LinkState, Origin, Refuser};
pub use hall::{HallPeer, HallWay};
pub use join::Joining;
pub use link::Ended;
use link::Link;
pub use marker::Marker;
pub use membership::Taken;
pub use quarantine::Quarantined;
use schema::{Batch, ItemKey};
pub use status::Status;

/// Both clocks of the device at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; decides.
    pub mono: Timestamp,
    /// For people; may be wrong by years.
    pub wall: WallTime,
}

/// What an app decides about its replica.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    /// Open documents are closed, least recently used first, when they are estimated to take more than this many
    /// bytes together.
    pub open_documents_bytes_max: usize,
    /// Events that wait for the app; beyond it, changes of a document shrink to one "read it again".
    pub events_max: usize,
    /// How many bytes of runs a document gathers after its last snapshot before its author makes one.
    pub snapshot_tail_bytes_min: usize,
    /// The kinds of documents whose fields have rules. An app must keep all that it ever had: devices that do not know a
    /// schema show what others refuse.
    pub schemas: &'static [&'static Schema],
}

impl Default for ReplicaConfig {
    fn default() -> Self {
        Self {
            open_documents_bytes_max: 16 << 20,
            events_max: 4_096,
            snapshot_tail_bytes_min: 16 << 10,
            schemas: &[],
        }
    }
}

/// What is to be sent to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outgoing {
    Item(ItemKey),
    Snapshot(DocId),
}

#[derive(Debug, Clone, Copy)]
struct OutboxEntry {
    what: Outgoing,
    id: ItemId,
    space: SpaceId,
}

/// An own change that is in no item yet.
#[derive(Debug, Clone)]
struct Unsealed {
    /// Its number among its actor's changes in the document.
    seq: u32,
    /// The hash of its actor's change before it.
    before: Option<ChangeHash>,
    /// It was written again in a new session, and stands for this change; see `rewrite.rs`.
    stands_for: Option<HashPrefix>,
    raw: Vec<u8>,
}

impl Unsealed {
    fn read(seq: u32, value: &[u8]) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("unsealed change");
        let (before, rest) = value.split_first_chunk::<32>().ok_or_else(corrupt)?;
        let (stands_for, raw) = rest.split_first_chunk::<16>().ok_or_else(corrupt)?;
        let before = (*before != [0; 32]).then_some(ChangeHash(*before));
        let stands_for = (*stands_for != [0; 16]).then_some(*stands_for);
        Ok(Self { seq, before, stands_for, raw: raw.to_vec() })
    }

    fn value(&self) -> Vec<u8> {
        [&self.before.unwrap_or_default().0[..], &self.stands_for.unwrap_or_default(), &self.raw].concat()
    }
}

/// The newest item that this device knows of a chain.
#[derive(Debug, Clone, Copy, Default)]
struct Tip {
    n: u32,
    link: [u8; 16],
}

/// A device's replica over a store.
#[derive(Debug)]
pub struct Replica<S> {
    store: S,
    config: ReplicaConfig,
    key: DeviceKey,
    device: DeviceId,
    session: SessionId,
    /// In a box: moving the replica leaves no copies of its state behind.
    rng: Box<ChaCha8Rng>,
    charters: BTreeMap<SpaceId, Charter>,
    keys: keys::Keyring,
    /// Spaces whose content is only there with the wrap secret; see `protect.rs`.
    protected: BTreeSet<SpaceId>,
    /// Own changes of protected spaces that are on disk only.
    locked_changes: usize,
    /// Devices whose writing in protected documents is to be judged again when they are unlocked.
    rejudge_locked: BTreeMap<SpaceId, BTreeSet<DeviceId>>,
    /// Open documents may have what they waited for.
    keys_came: bool,
    /// Branches whose charter changed: keys and devices are looked for.
    charters_due: BTreeSet<SpaceId>,
    /// The certified devices that the app was told of.
    known_devices: BTreeMap<SpaceId, BTreeSet<DeviceId>>,
    /// Branches that were joined by a welcome, with the certificate that it pinned, until that is received.
    expected: BTreeMap<SpaceId, ItemId>,
    /// The certificates by which this device is in its branches.
    pinned: BTreeMap<SpaceId, ItemId>,
    /// Branches to which it said so since the start.
    accepted: BTreeSet<SpaceId>,
    /// Devices of which something may count now that did not, or the reverse.
    rejudge: BTreeMap<SpaceId, BTreeSet<DeviceId>>,
    /// What leads to the last that was seen of removed devices.
    linked: linked::Linked,
    /// The device's clock when it was last heard of.
    wall: WallTime,
    /// When this device looks whether a branch needs something of it.
    tend_at: Option<Timestamp>,
    /// Branch of each space.
    space_branch: BTreeMap<SpaceId, SpaceId>,
    held: BTreeMap<ChainId, Ranges>,
    covered: BTreeMap<ChainId, Ranges>,
    tips: BTreeMap<ChainId, Tip>,
    sums: BTreeMap<SpaceId, SpaceSum>,
    backfills: BTreeMap<SpaceId, Fetch>,
    cursor: Option<Cursor>,
    acked: Seq,
    /// The newest place in a log of which this device knows by an acknowledgement, while the cursor is before it.
    acked_at: Option<Cursor>,
    order: u64,
    outbox: BTreeMap<u64, OutboxEntry>,
    outbox_ids: BTreeMap<ItemId, u64>,
    unsealed: BTreeMap<DocId, Vec<Unsealed>>,
    /// Rewritten changes wait here; see `rewrite.rs`.
    hold: Option<rewrite::Hold>,
    /// Connections made since the start.
    connections: u64,
    permit: Option<Permit>,
    parked: BTreeMap<u64, Vec<u8>>,
    /// A charter changed since what is parked was judged.
    parked_is_due: bool,
    open: BTreeMap<DocId, OpenDocument>,
    tails: BTreeMap<DocId, snapshot::Tail>,
    typing: BTreeMap<(DocId, Path), Typing>,
    /// When a document was last typed in: the time of what is committed where no clock is at hand.
    typed_at: BTreeMap<DocId, WallTime>,
    uses: u64,
    /// Other devices that this one talks to without a relay.
    hall: BTreeMap<HallPeer, hall::HallLink>,
    hall_ended: VecDeque<(HallPeer, SessionError)>,
    /// Spaces of which something came from another device that this one cannot judge yet.
    hall_waits: BTreeSet<SpaceId>,
    link: Option<Link>,
    link_state: LinkState,
    last_reconcile: Option<reconcile::LastReconcile>,
    /// Spaces of which it is not known that relay and device have the same: the next connection compares them.
    recheck: BTreeSet<SpaceId>,
    /// Items of this device by another copy of this store, where this one has made others: they are taken when
    /// this device's are out of their way.
    forks: Vec<Item>,
    /// When changes that are in no item yet become one, although there is nobody to send it to.
    seal_at: Option<Timestamp>,
    events: VecDeque<Event>,
    reset_events: BTreeSet<DocId>,
    told_status: Option<Status>,
    counters: Counters,
}

/// What the replica has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Changes made here.
    pub edits: u64,
    /// Items made here.
    pub items_made: u64,
    /// Items received and stored.
    pub items_received: u64,
    /// Items received that were stored already.
    pub duplicates: u64,
    /// Items refused by this device.
    pub refused: u64,
    /// Times that a stored run was judged: more than once if it had to wait.
    pub judged: u64,
    /// Reconciles begun.
    pub reconciles: u64,
    /// Checksums that did not match.
    pub mismatches: u64,
    /// Times that own items had to be written again in a new session.
    pub recoveries: u64,
    /// Snapshots made.
    pub snapshots_made: u64,
    /// Snapshots used.
    pub snapshots_used: u64,
}

impl<S: Store> Replica<S> {
    /// Opens a store, or makes it a new replica's. `seed` must be fresh randomness. The store must not be a copy
    /// that something else may also open, or an earlier state: see [`open_marked`](Self::open_marked).
    ///
    /// # Errors
    /// [`ReplicaError::WrongKey`] if the store is another device's.
    pub fn open(
        store: S,
        key: DeviceKey,
        config: ReplicaConfig,
        seed: [u8; 32],
    ) -> Result<Self, ReplicaError> {
        let mut replica = Self::unloaded(store, key, config, seed);
        replica.load(|_, _| Ok(()))?;
        Ok(replica)
    }

    fn unloaded(store: S, key: DeviceKey, config: ReplicaConfig, seed: [u8; 32]) -> Self {
        let mut rng = Box::new(ChaCha8Rng::from_seed(seed));
        let device = key.public().id();
        let mut session = SessionId::default();
        rng.fill_bytes(&mut session.0);
        Self {
            store,
            config,
            key,
            device,
            session,
            rng,
            charters: BTreeMap::new(),
            keys: keys::Keyring::default(),
            protected: BTreeSet::new(),
            locked_changes: 0,
            rejudge_locked: BTreeMap::new(),
            keys_came: false,
            charters_due: BTreeSet::new(),
            known_devices: BTreeMap::new(),
            expected: BTreeMap::new(),
            pinned: BTreeMap::new(),
            accepted: BTreeSet::new(),
            rejudge: BTreeMap::new(),
            linked: linked::Linked::default(),
            wall: WallTime(0),
            tend_at: None,
            space_branch: BTreeMap::new(),
            held: BTreeMap::new(),
            covered: BTreeMap::new(),
            tips: BTreeMap::new(),
            sums: BTreeMap::new(),
            backfills: BTreeMap::new(),
            cursor: None,
            acked: Seq(0),
            acked_at: None,
            order: 0,
            outbox: BTreeMap::new(),
            outbox_ids: BTreeMap::new(),
            unsealed: BTreeMap::new(),
            hold: None,
            connections: 0,
            permit: None,
            parked: BTreeMap::new(),
            parked_is_due: true,
            open: BTreeMap::new(),
            tails: BTreeMap::new(),
            typing: BTreeMap::new(),
            typed_at: BTreeMap::new(),
            uses: 0,
            hall: BTreeMap::new(),
            hall_ended: VecDeque::new(),
            hall_waits: BTreeSet::new(),
            link: None,
            link_state: LinkState::Offline,
            last_reconcile: None,
            recheck: BTreeSet::new(),
            forks: Vec::new(),
            seal_at: None,
            events: VecDeque::new(),
            reset_events: BTreeSet::new(),
            told_status: None,
            counters: Counters::default(),
        }
    }

    /// Reads everything that is kept in memory, and stamps a new store. `before_writing` is told whether it was
    /// new, when everything is read and nothing else is written.
    fn load<R>(
        &mut self,
        before_writing: impl FnOnce(&mut Self, bool) -> Result<R, ReplicaError>,
    ) -> Result<R, ReplicaError> {
        let found = self.store.read(|tx| tx.get(Table::Meta, schema::META_DEVICE))?;
        let is_new = found.is_none();
        match found {
            Some(id) if id != self.device.0 => return Err(ReplicaError::WrongKey),
            Some(_) => {}
            None => {
                let mut batch = Batch::default();
                batch.put(Table::Meta, schema::META_DEVICE, self.device.0);
                batch.put(Table::Meta, schema::META_SESSION, self.session.0);
                batch.commit(&mut self.store)?;
            }
        }
        let meta = |name: &'static [u8]| self.store.read(|tx| tx.get(Table::Meta, name));
        if let Some(bytes) = meta(schema::META_SESSION)? {
            self.session = SessionId(bytes.try_into().map_err(|_| StoreError::Corrupt("session"))?);
        }
        self.cursor = meta(schema::META_CURSOR)?.map(|b| schema::cursor_from(&b)).transpose()?;
        self.acked = Seq(meta(schema::META_ACKED)?.map_or(Ok(0), |b| schema::u64_from(&b))?);
        self.acked_at = meta(schema::META_ACKED_AT)?.map(|b| schema::cursor_from(&b)).transpose()?;
        self.order = meta(schema::META_ORDER)?.map_or(Ok(0), |b| schema::u64_from(&b))?;
        if let Some(bytes) = meta(schema::META_RECHECK)? {
            self.recheck = schema::spaces_from(&bytes)?;
        }
        if let Some(bytes) = meta(schema::META_PROTECTED)? {
            self.protected = schema::spaces_from(&bytes)?;
        }
        self.load_chains()?;
        self.load_keys()?;
        self.load_charters()?;
        self.load_linked()?;
        self.load_outgoing()?;
        let result = before_writing(self, is_new)?;
        self.rewrite_stale()?;
        // If this store was copied, every copy makes the same items of what was in none: so they are no forks.
        self.seal_all()?;
        Ok(result)
    }

    fn load_chains(&mut self) -> Result<(), StoreError> {
        let all = |table| self.store.read(|tx| schema::entries(tx, table, &[]));
        for (key, value) in all(Table::Held)? {
            self.held.insert(schema::chain_from(&key)?, ranges_from(&value)?);
        }
        for (key, value) in all(Table::Covered)? {
            self.covered.insert(schema::chain_from(&key)?, ranges_from(&value)?);
        }
        for (key, value) in all(Table::Sums)? {
            let space = SpaceId(key.try_into().map_err(|_| StoreError::Corrupt("space"))?);
            let sum = u128::from_le_bytes(value.try_into().map_err(|_| StoreError::Corrupt("sum"))?);
            self.sums.insert(space, SpaceSum(sum));
        }
        for (key, value) in all(Table::Backfills)? {
            let space = SpaceId(key.try_into().map_err(|_| StoreError::Corrupt("space"))?);
            let (from, to) = value.split_at_checked(8).ok_or(StoreError::Corrupt("backfill"))?;
            let fetch = Fetch { space, from: Seq(schema::u64_from(from)?), to: Seq(schema::u64_from(to)?) };
            self.backfills.insert(space, fetch);
        }
        for (chain, held) in &self.held {
            let key = ItemKey { chain: *chain, n: held.max() };
            let item =
                self.store.read(|tx| schema::item(tx, &key))?.ok_or(StoreError::Corrupt("newest item"))?;
            self.tips.insert(*chain, Tip { n: key.n, link: item.id().link() });
        }
        Ok(())
    }

    fn load_charters(&mut self) -> Result<(), StoreError> {
        let branches = self.store.read(|tx| schema::entries(tx, Table::Branches, &[]))?;
        for (key, value) in branches {
            let branch = SpaceId(key.try_into().map_err(|_| StoreError::Corrupt("branch"))?);
            if let Some(certificate) = Self::expected_from(&value) {
                self.expected.insert(branch, certificate);
            }
            if let Some(certificate) = Self::pinned_from(&value) {
                self.pinned.insert(branch, certificate);
            }
            let mut items = Vec::new();
            self.store.read(|tx| {
                tx.scan(Table::Items, &branch.0, schema::prefix_end(&branch.0).as_deref(), &mut |_, v| {
                    items.push(schema::stored_item(v.to_vec())?);
                    Ok(ControlFlow::Continue(()))
                })
            })?;
            let mut charter = Charter::new(branch);
            charter.extend(&items).map_err(|_| StoreError::Corrupt("charter"))?;
            self.known_devices.insert(branch, charter.devices().keys().copied().collect());
            self.charters.insert(branch, charter);
            self.index_spaces(&branch);
            self.charters_due.insert(branch);
        }
        let mut batch = Batch::default();
        self.look_at_charters(None, &mut batch);
        batch.commit(&mut self.store)?;
        Ok(())
    }

    /// Own changes that are in no item yet, as far as they open.
    fn load_unsealed(&mut self) -> Result<(), StoreError> {
        self.unsealed.clear();
        self.locked_changes = 0;
        for (key, value) in self.store.read(|tx| schema::entries(tx, Table::Unsealed, &[]))? {
            let corrupt = || StoreError::Corrupt("unsealed change");
            let (doc, seq) = key.split_at_checked(16).ok_or_else(corrupt)?;
            let seq = u32::from_be_bytes(seq.try_into().map_err(|_| corrupt())?);
            let doc = DocId(doc.try_into().map_err(|_| corrupt())?);
            let Some(value) = self.open_row(Table::Unsealed, &key, &value)? else {
                self.locked_changes += 1;
                continue;
            };
            let change = Unsealed::read(seq, &value)?;
            if change.stands_for.is_some() {
                self.hold.get_or_insert_default();
            }
            self.unsealed.entry(doc).or_default().push(change);
        }
        Ok(())
    }

    fn load_outgoing(&mut self) -> Result<(), StoreError> {
        for (key, value) in self.store.read(|tx| schema::entries(tx, Table::Outbox, &[]))? {
            let order = schema::order_from(&key)?;
            let (tag, rest) = value.split_first().ok_or(StoreError::Corrupt("outbox"))?;
            let found = match tag {
                0 => {
                    let key = ItemKey::from_bytes(rest)?;
                    self.store.read(|tx| schema::item(tx, &key))?.map(|i| (Outgoing::Item(key), i))
                }
                1 => {
                    let doc = DocId(rest.try_into().map_err(|_| StoreError::Corrupt("outbox"))?);
                    let item = self.store.read(|tx| tx.get(Table::Snapshots, rest))?;
                    item.map(schema::stored_item).transpose()?.map(|i| (Outgoing::Snapshot(doc), i))
                }
                _ => return Err(StoreError::Corrupt("outbox")),
            };
            let (what, item) = found.ok_or(StoreError::Corrupt("outbox"))?;
            self.outbox_insert(order, what, item.id(), item.header().space);
        }
        self.load_unsealed()?;
        for (key, value) in self.store.read(|tx| schema::entries(tx, Table::Parked, &[]))? {
            self.parked.insert(schema::order_from(&key)?, value);
        }
        Ok(())
    }

    fn outbox_insert(&mut self, order: u64, what: Outgoing, id: ItemId, space: SpaceId) {
        self.outbox.insert(order, OutboxEntry { what, id, space });
        self.outbox_ids.insert(id, order);
    }

    /// Takes a new number for what is kept in order of arrival; `batch` must be committed.
    fn next_order(&mut self, batch: &mut Batch) -> u64 {
        self.order += 1;
        batch.put(Table::Meta, schema::META_ORDER, self.order.to_le_bytes());
        self.order
    }

    /// What the device's clock says, for what is issued next; calls that are given a time say it too.
    pub fn set_wall_time(&mut self, wall: WallTime) {
        self.wall = wall;
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The current session: a new one begins when this store turns out to be an old copy.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The charters of the branches that this device takes part in.
    pub fn charters(&self) -> &BTreeMap<SpaceId, Charter> {
        &self.charters
    }

    /// What was done since the replica was opened.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many items this device holds, its own and others'.
    pub fn items_held(&self) -> u64 {
        self.held.values().map(Ranges::len).sum()
    }

    /// How far everything was received.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            if let Event::DocumentReset { doc } = &event {
                self.reset_events.remove(doc);
            }
            return Some(event);
        }
        let status = self.status();
        if self.told_status.as_ref() == Some(&status) {
            return None;
        }
        self.told_status = Some(status);
        Some(Event::Status(status))
    }

    fn own_author(&self) -> Author {
        Author { device: self.device, session: self.session }
    }

    fn own_chain(&self, space: SpaceId) -> ChainId {
        ChainId { space, author: self.own_author() }
    }

    #[cfg(feature = "client")]
    pub(crate) fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Closes the store's user: saves views so that the next opening is quick. Not needed for safety.
    pub fn close(mut self) -> Result<S, ReplicaError> {
        self.flush_all_typing_as_typed()?;
        self.save_views()?;
        Ok(self.store)
    }
}

fn ranges_from(bytes: &[u8]) -> Result<Ranges, StoreError> {
    let mut r = dinh_proto::codec::Reader::new(bytes);
    Ranges::decode(&mut r).map_err(|_| StoreError::Corrupt("ranges"))
}

fn ranges_bytes(ranges: &Ranges) -> Vec<u8> {
    let mut out = Vec::new();
    ranges.encode(&mut out);
    out
}
