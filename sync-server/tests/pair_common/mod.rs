//! Phones and a hub wired together without sockets or time.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of this")]

use std::collections::BTreeMap;

use bytes::Bytes;
use dinh_core::document::Path;
use dinh_core::path;
use dinh_core::replica::{Now, Replica, ReplicaConfig};
use dinh_core::store::{MemoryStore, Store};
use dinh_proto::channel::Binding;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{DocId, ItemId, LogEpoch, MemberId, Seq, SpaceId};
use dinh_proto::item::RawItem;
use dinh_proto::keys::{DeviceKey, RelayKey, SignKey};
use dinh_proto::session::{DeviceEvent, DeviceSession};
use dinh_proto::time::{Timestamp, WallTime};
use dinh_proto::wire::Hello;
use dinh_server::hub::{Effect, Hub, HubConfig, Loaded, PeerId};
use dinh_server::log::epochs::EpochStart;
use dinh_server::log::{EpochHistory, RedbLog, Summary};

pub(crate) mod net;

/// When everything begins.
pub(crate) const NOW: Now = Now { mono: Timestamp(1_000_000), wall: WallTime(1_790_000_000_000) };

pub(crate) type Phone = Replica<MemoryStore>;

pub(crate) fn key(seed: u8) -> DeviceKey {
    DeviceKey::from_seed(&[seed; 32])
}

pub(crate) fn phone(seed: u8) -> Phone {
    Replica::open(MemoryStore::new(), key(seed), config(), [seed; 32]).unwrap()
}

/// One of more phones than a byte counts.
pub(crate) fn phone_of(n: u32) -> Phone {
    let mut seed = [0x6e; 32];
    seed[..4].copy_from_slice(&n.to_le_bytes());
    Replica::open(MemoryStore::new(), DeviceKey::from_seed(&seed), config(), seed).unwrap()
}

/// An app that knows the documents of a branch.
pub(crate) fn config() -> ReplicaConfig {
    ReplicaConfig { schemas: dinh_model::SCHEMAS, ..ReplicaConfig::default() }
}

/// A store as it was at some moment, opened again with the same key.
pub(crate) fn restored(store: &MemoryStore, seed: u8, key_seed: u8) -> Phone {
    Replica::open(store.clone(), key(key_seed), config(), [seed; 32]).unwrap()
}

pub(crate) fn relay_key() -> RelayKey {
    RelayKey::from_seed(&[77; 32])
}

/// A hub with its log.
pub(crate) struct Relay {
    pub now: Now,
    pub hub: Hub,
    starts: Vec<EpochStart>,
    pub log: BTreeMap<Seq, Bytes>,
    /// The same on disk.
    pub disk: Option<RedbLog>,
    /// Every frame of every connection.
    pub frames: Option<Vec<Bytes>>,
    next_peer: u64,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let epochs = EpochHistory::new(LogEpoch([1; 8]));
        let starts = epochs.starts().to_vec();
        let hub = Hub::new(HubConfig::default(), relay_key(), epochs, Seq(0), [9; 32]);
        Self::over(hub, starts, BTreeMap::new())
    }

    fn over(hub: Hub, starts: Vec<EpochStart>, log: BTreeMap<Seq, Bytes>) -> Self {
        Self { now: NOW, hub, starts, log, disk: None, frames: None, next_peer: 0 }
    }

    /// A relay whose log holds these items, whether it should have taken them or not.
    pub(crate) fn of(items: impl IntoIterator<Item = Bytes>, epoch: u8) -> Self {
        let log: BTreeMap<Seq, Bytes> = (1..).map(Seq).zip(items).collect();
        let now = EpochStart { epoch: LogEpoch([epoch; 8]), first: Seq(log.len() as u64 + 1) };
        Self::opened(log, Vec::new(), now)
    }

    /// A relay that opens this one's log as it was `keep` items after its beginning.
    pub(crate) fn restored(&self, keep: usize, epoch: u8) -> Self {
        let log: BTreeMap<Seq, Bytes> = self.log.iter().take(keep).map(|(s, b)| (*s, b.clone())).collect();
        let head = Seq(log.len() as u64);
        let earlier = self.starts.iter().filter(|s| s.first.0 <= head.0.max(1)).copied().collect();
        let now = EpochStart { epoch: LogEpoch([epoch; 8]), first: Seq(head.0 + 1) };
        Self::opened(log, earlier, now)
    }

    fn opened(log: BTreeMap<Seq, Bytes>, earlier: Vec<EpochStart>, now: EpochStart) -> Self {
        let head = Seq(log.len() as u64);
        let epochs = EpochHistory::opened(earlier, now).unwrap();
        let starts = epochs.starts().to_vec();
        let seed = [now.epoch.0[0]; 32];
        let mut hub = Hub::new(HubConfig::default(), relay_key(), epochs, head, seed);
        let items = placed(&log);
        let stored = items.iter().map(|(seq, item)| (*seq, item));
        Summary::of_items(stored).iter().for_each(|summary| hub.load_summary(summary));
        Self::over(hub, starts, log)
    }

    pub(crate) fn run_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Verify { token, items } => {
                    let results = items.into_iter().map(|(raw, key)| raw.verify(&key)).collect();
                    self.hub.handle_verified(NOW.mono, token, results);
                }
                Effect::Append { token, items } => {
                    let first = Seq(self.log.len() as u64 + 1);
                    if let Some(disk) = &self.disk {
                        assert_eq!(disk.append_batch(&items).unwrap(), first);
                    }
                    for item in items {
                        self.log.insert(Seq(self.log.len() as u64 + 1), item.bytes().clone());
                    }
                    self.hub.handle_appended(NOW.mono, token, Ok(first));
                }
                Effect::Read { token, seqs } => {
                    let items = seqs.iter().map(|s| (*s, self.log[s].clone())).collect();
                    self.hub.handle_read(NOW.mono, token, Ok(items));
                }
                Effect::Load { token, space } => {
                    let items = placed(&self.log);
                    let loaded = Loaded::of_items(space, items.iter().map(|(seq, item)| (*seq, item)));
                    self.hub.handle_loaded(NOW.mono, token, Ok(loaded));
                }
                Effect::Wake { .. } | Effect::Close { .. } | Effect::Remember { .. } => {}
            }
        }
    }

    /// A connection, of which the other end is still to be made.
    fn accept(&mut self) -> (PeerId, [u8; 32]) {
        self.next_peer += 1;
        let peer = PeerId(self.next_peer);
        let binding = [self.next_peer as u8; 32];
        self.hub.handle_connected(self.now.mono, peer, binding, [8; 32]);
        (peer, binding)
    }

    pub(crate) fn connect<S: Store>(&mut self, phone: &mut Replica<S>) -> PeerId {
        let (peer, binding) = self.accept();
        phone.handle_connected(self.now, &relay_key().public(), binding, [7; 32]);
        peer
    }

    fn saw(&mut self, frame: &[u8]) {
        if let Some(frames) = &mut self.frames {
            frames.push(Bytes::copy_from_slice(frame));
        }
    }

    /// Carries frames until nobody has anything to say.
    pub(crate) fn settle<S: Store>(&mut self, phones: &mut [(&mut Replica<S>, PeerId)]) {
        loop {
            let mut quiet = true;
            for (phone, peer) in phones.iter_mut() {
                let mut up = Vec::new();
                while phone.poll_transmit(&mut up).unwrap() {
                    quiet = false;
                    self.saw(&up);
                    self.hub.handle_frame(self.now.mono, *peer, std::mem::take(&mut up).into());
                    self.run_effects();
                }
                let mut down = Vec::new();
                while self.hub.poll_transmit(self.now.mono, *peer, &mut down) {
                    quiet = false;
                    self.saw(&down);
                    let ended = phone.handle_frame(self.now, &std::mem::take(&mut down)).unwrap();
                    assert_eq!(ended, None);
                    self.run_effects();
                }
                self.run_effects();
            }
            if quiet {
                return;
            }
        }
    }

    /// Whoever has this key talks to the relay without a replica: what the relay hands out is noted, what is to be put
    /// is put as it is.
    pub(crate) fn ear(&mut self, key: &DeviceKey) -> Ear {
        let (peer, binding) = self.accept();
        let hello = Hello::default();
        let relay = relay_key().public();
        let session = DeviceSession::new(key, &relay, Binding(binding), [6; 32], hello, self.now.mono);
        let mut ear =
            Ear { session, peer, items: Vec::new(), presence: Vec::new(), answers: BTreeMap::new() };
        self.hear(&mut ear);
        ear
    }

    /// Carries frames between an ear and the relay.
    pub(crate) fn hear(&mut self, ear: &mut Ear) {
        loop {
            let mut frame = Vec::new();
            let up = ear.session.poll_transmit(&mut frame);
            if up {
                self.hub.handle_frame(self.now.mono, ear.peer, std::mem::take(&mut frame).into());
                self.run_effects();
            }
            let down = self.hub.poll_transmit(self.now.mono, ear.peer, &mut frame);
            if down {
                ear.session.handle_frame(self.now.mono, &frame);
                ear.note();
                self.run_effects();
            }
            if !up && !down {
                return;
            }
        }
    }
}

/// See [`Relay::ear`].
pub(crate) struct Ear {
    session: DeviceSession,
    pub peer: PeerId,
    pub items: Vec<Bytes>,
    pub presence: Vec<Bytes>,
    /// What became of what was put: `None` if it was accepted.
    pub answers: BTreeMap<ItemId, Option<RejectCode>>,
}

impl Ear {
    pub(crate) fn put(&mut self, item: &RawItem) {
        assert!(self.session.can_put());
        self.session.put(item.id(), item.as_bytes().clone(), false);
    }

    fn note(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                DeviceEvent::Items { items, bytes } => {
                    self.items.extend(items.items.into_iter().map(|(_, bytes)| bytes));
                    self.session.release(bytes);
                }
                DeviceEvent::Ephemeral(m) => self.presence.push(m.payload),
                DeviceEvent::Acked { id, .. } => {
                    self.answers.insert(id, None);
                }
                DeviceEvent::Rejected { id, code, .. } => {
                    self.answers.insert(id, Some(code));
                }
                _ => {}
            }
        }
    }
}

/// The items of a log, parsed.
pub(crate) fn parsed(log: &BTreeMap<Seq, Bytes>) -> Vec<RawItem> {
    log.values().map(|bytes| RawItem::parse(bytes.clone()).unwrap()).collect()
}

/// A branch with a space for everyone and a document in it.
pub(crate) fn branch(secretary: &mut Phone, others: &[(&Phone, Role)]) -> (SpaceId, SpaceId, DocId) {
    let branch =
        secretary.found_branch(&SignKey::from_seed(&[200; 32]), MemberId([1; 16]), "thư ký").unwrap();
    for (i, (other, role)) in others.iter().enumerate() {
        let member = MemberId([2 + i as u8; 16]);
        secretary.admit_device(branch, member, *role, other.join_request(), "điện thoại").unwrap();
    }
    let space = secretary.create_space(branch, Audience::Everyone).unwrap();
    let doc = secretary.create_document(space, Writers::All).unwrap();
    (branch, space, doc)
}

pub(crate) fn text_at(phone: &mut Phone, doc: &DocId, path: &Path) -> Option<String> {
    phone.view(doc, |v| v.text(path)).unwrap()
}

/// What was put by [`put_token`]: which changes are in a document.
pub(crate) fn tokens<S: Store>(phone: &mut Replica<S>, doc: &DocId) -> Vec<String> {
    let mut tokens = phone.view(doc, |v| v.keys(&path!["tokens"])).unwrap();
    tokens.sort();
    tokens
}

pub(crate) fn put_token<S: Store>(phone: &mut Replica<S>, doc: &DocId, token: &str) {
    phone.edit(NOW, doc, None, |e| e.put(&path!["tokens", token], true)).unwrap();
}

fn placed(log: &BTreeMap<Seq, Bytes>) -> Vec<(Seq, RawItem)> {
    log.iter().map(|(seq, bytes)| (*seq, RawItem::parse(bytes.clone()).unwrap())).collect()
}
