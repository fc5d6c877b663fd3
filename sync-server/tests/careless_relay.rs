//! Bars 29 and 31: a relay that loses, corrupts, repeats or mixes up what it stores, and one that is an older copy of itself.
//! Production phones and hub, with the damage between hub and log; time is virtual.
//!
//! `DINH_FULL=1` runs the counts of a release.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dinh_core::path;
use dinh_core::replica::{LinkState, Now, Replica, ReplicaConfig};
use dinh_core::store::MemoryStore;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, LogEpoch, MemberId, Seq, SpaceId};
use dinh_proto::item::{Kind, RawItem};
use dinh_proto::keys::{DeviceKey, RelayKey, SignKey};
use dinh_proto::time::{Timestamp, WallTime};
use dinh_server::hub::{Effect, Hub, HubConfig, Loaded, PeerId};
use dinh_server::log::epochs::EpochStart;
use dinh_server::log::{EpochHistory, Summary};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

type Phone = Replica<MemoryStore>;

const HOUR: u64 = 3_600_000_000;
/// Which phones write; the others only receive.
const WRITERS: usize = 3;

fn scaled(small: u64, full: u64) -> u64 {
    if std::env::var_os("DINH_FULL").is_some() { full } else { small }
}

fn relay_key() -> RelayKey {
    RelayKey::from_seed(&[77; 32])
}

fn phone(seed: u8, snapshots: bool) -> Phone {
    let key = DeviceKey::from_seed(&[seed; 32]);
    let mut config = ReplicaConfig::default();
    if !snapshots {
        config.snapshot_tail_bytes_min = usize::MAX;
    }
    Replica::open(MemoryStore::new(), key, config, [seed; 32]).unwrap()
}

/// What happened to items on their way out of the log.
#[derive(Debug, Default, Clone, Copy)]
struct Damage {
    given: u64,
    corrupted: u64,
    repeated: u64,
    swapped: u64,
    deleted: u64,
}

struct Relay {
    hub: Hub,
    epochs: Vec<EpochStart>,
    log: BTreeMap<Seq, Bytes>,
    head: u64,
    /// Of a hundred items, how many of each kind; none if the relay is careful.
    percent: u64,
    rng: ChaCha8Rng,
    damage: Damage,
}

impl Relay {
    fn new(seed: u64) -> Self {
        let epochs = EpochHistory::new(LogEpoch([1; 8]));
        let starts = epochs.starts().to_vec();
        let hub = Hub::new(HubConfig::default(), relay_key(), epochs, Seq(0), [9; 32]);
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            hub,
            epochs: starts,
            log: BTreeMap::new(),
            head: 0,
            percent: 0,
            rng,
            damage: Damage::default(),
        }
    }

    /// The process starts again over a log of `head` places, of which some may be gone.
    fn reopen(&mut self, log: BTreeMap<Seq, Bytes>, head: u64) {
        let name = self.rng.next_u64().to_le_bytes();
        let earlier: Vec<_> = self.epochs.iter().filter(|s| s.first.0 <= head.max(1)).copied().collect();
        let now = EpochStart { epoch: LogEpoch(name), first: Seq(head + 1) };
        let epochs = EpochHistory::opened(earlier, now).unwrap();
        self.epochs = epochs.starts().to_vec();
        self.hub = Hub::new(HubConfig::default(), relay_key(), epochs, Seq(head), [name[0]; 32]);
        (self.log, self.head) = (log, head);
        let items = self.parsed();
        let stored = items.iter().map(|(seq, item)| (*seq, item));
        Summary::of_items(stored).iter().for_each(|summary| self.hub.load_summary(summary));
    }

    fn parsed(&self) -> Vec<(Seq, RawItem)> {
        self.log.iter().map(|(seq, bytes)| (*seq, RawItem::parse(bytes.clone()).unwrap())).collect()
    }

    /// Items in the log. Snapshots come and go.
    fn items(&self) -> usize {
        let kind = |bytes: &Bytes| RawItem::parse(bytes.clone()).unwrap().header().kind;
        self.log.values().filter(|bytes| kind(bytes) != Kind::Snapshot).count()
    }

    fn dice(&mut self) -> bool {
        self.rng.next_u64() % 100 < self.percent
    }

    /// What comes out of the log when these places are read.
    fn read(&mut self, seqs: &[Seq]) -> Vec<(Seq, Bytes)> {
        let mut items: Vec<(Seq, Bytes)> = seqs.iter().map(|s| (*s, self.log[s].clone())).collect();
        for i in 0..items.len() {
            self.damage.given += 1;
            let other = (self.rng.next_u64() % items.len() as u64) as usize;
            if self.dice() {
                let mut bytes = items[i].1.to_vec();
                let bit = self.rng.next_u64() as usize % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                items[i].1 = bytes.into();
                self.damage.corrupted += 1;
            }
            if other != i && self.dice() {
                // The other stands here too, and what stood here is gone.
                items[i].1 = items[other].1.clone();
                self.damage.repeated += 1;
            }
            if other != i && self.dice() {
                let bytes = std::mem::take(&mut items[i].1);
                items[i].1 = std::mem::replace(&mut items[other].1, bytes);
                self.damage.swapped += 1;
            }
        }
        items
    }
}

struct World {
    relay: Relay,
    phones: Vec<(Phone, Option<PeerId>)>,
    now: u64,
    peers: u64,
    docs: Vec<DocId>,
    wrote: u64,
}

impl World {
    /// Three phones that write and two that only receive; all have the charter, the first three everything. In every
    /// other world they make snapshots.
    fn new(seed: u64, runs: u64) -> Self {
        let mut phones: Vec<Phone> = (1..=5).map(|p| phone(p, seed.is_multiple_of(2))).collect();
        let (secretary, others) = phones.split_first_mut().unwrap();
        let root = SignKey::from_seed(&[200; 32]);
        let branch = secretary.found_branch(&root, MemberId([1; 16]), "thư ký").unwrap();
        for (i, other) in others.iter().enumerate() {
            let member = MemberId([2 + i as u8; 16]);
            secretary.admit_device(branch, member, Role::Member, other.join_request(), "điện thoại").unwrap();
        }
        let space: SpaceId = secretary.create_space(branch, Audience::Everyone).unwrap();
        let docs = (0..WRITERS).map(|_| secretary.create_document(space, Writers::All).unwrap()).collect();
        let invitation = secretary.invitation(branch).unwrap();
        for other in others {
            other.join(&invitation).unwrap();
        }
        let phones = phones.into_iter().map(|p| (p, None)).collect();
        let mut world = Self { relay: Relay::new(seed), phones, now: 1_000_000, peers: 0, docs, wrote: 0 };
        (0..WRITERS).for_each(|p| world.connect(p));
        for n in 0..runs {
            world.write((n % WRITERS as u64) as usize);
            world.carry();
        }
        assert!((0..WRITERS).all(|p| world.phones[p].0.status().pending == 0));
        world
    }

    fn now(&self) -> Now {
        Now { mono: Timestamp(self.now), wall: WallTime(1_790_000_000_000 + self.now / 1_000) }
    }

    fn write(&mut self, p: usize) {
        let (now, doc) = (self.now(), self.docs[self.wrote as usize % self.docs.len()]);
        self.wrote += 1;
        let (name, value) = (format!("k{}", self.wrote), format!("ý kiến {}", self.wrote));
        self.phones[p].0.edit(now, &doc, None, |e| e.put(&path![name.as_str()], value.as_str())).unwrap();
    }

    fn connect(&mut self, p: usize) {
        self.peers += 1;
        let (now, peer) = (self.now(), PeerId(self.peers));
        let mut binding = [0; 32];
        binding[..8].copy_from_slice(&self.peers.to_le_bytes());
        self.relay.hub.handle_connected(now.mono, peer, binding, [8; 32]);
        self.phones[p].0.handle_connected(now, &relay_key().public(), binding, [7; 32]);
        self.phones[p].1 = Some(peer);
    }

    fn disconnect(&mut self) {
        for (phone, peer) in &mut self.phones {
            if peer.take().is_some() {
                phone.handle_disconnected();
            }
        }
    }

    fn run_effects(&mut self) {
        let now = self.now().mono;
        while let Some(effect) = self.relay.hub.poll_effect() {
            let relay = &mut self.relay;
            match effect {
                Effect::Verify { token, items } => {
                    let results = items.into_iter().map(|(raw, key)| raw.verify(&key)).collect();
                    relay.hub.handle_verified(now, token, results);
                }
                Effect::Append { token, items } => {
                    let first = Seq(relay.head + 1);
                    for item in items {
                        relay.head += 1;
                        relay.log.insert(Seq(relay.head), item.bytes().clone());
                    }
                    relay.hub.handle_appended(now, token, Ok(first));
                }
                Effect::Read { token, seqs } => {
                    let items = relay.read(&seqs);
                    relay.hub.handle_read(now, token, Ok(items));
                }
                Effect::Load { token, space } => {
                    let items = relay.parsed();
                    let loaded = Loaded::of_items(space, items.iter().map(|(seq, item)| (*seq, item)));
                    relay.hub.handle_loaded(now, token, Ok(loaded));
                }
                Effect::Wake { .. } | Effect::Remember { .. } => {}
                Effect::Close { peer } => panic!("{peer:?} is closed"),
            }
        }
    }

    /// Carries frames until nobody has anything to say.
    fn carry(&mut self) {
        loop {
            let (now, mut quiet) = (self.now(), true);
            for p in 0..self.phones.len() {
                let Some(peer) = self.phones[p].1 else { continue };
                let mut frame = Vec::new();
                while self.phones[p].0.poll_transmit(&mut frame).unwrap() {
                    quiet = false;
                    self.relay.hub.handle_frame(now.mono, peer, std::mem::take(&mut frame).into());
                    self.run_effects();
                }
                while self.relay.hub.poll_transmit(now.mono, peer, &mut frame) {
                    quiet = false;
                    let ended = self.phones[p].0.handle_frame(now, &std::mem::take(&mut frame)).unwrap();
                    assert_eq!(ended, None, "phone {p}: the connection stays");
                    self.run_effects();
                }
                self.run_effects();
            }
            if quiet {
                return;
            }
        }
    }

    fn same_everywhere(&mut self) -> bool {
        let docs = self.docs.clone();
        let mut hashes = BTreeSet::new();
        for (phone, _) in &mut self.phones {
            let status = phone.status();
            if status.pending > 0 || status.link != LinkState::Live {
                return false;
            }
            hashes.insert(docs.iter().map(|d| phone.document_hash(d).ok()).collect::<Vec<_>>());
        }
        let keys: usize =
            docs.iter().map(|d| self.phones[0].0.view(d, |v| v.keys(&path![])).unwrap().len()).sum();
        hashes.len() == 1 && keys as u64 == self.wrote
    }

    /// Lets time pass until all have the same. Minutes that it took.
    fn converge(&mut self) -> u64 {
        let begin = self.now;
        loop {
            self.carry();
            if self.same_everywhere() {
                return (self.now - begin) / 60_000_000;
            }
            if self.now >= begin + 12 * HOUR {
                let docs = self.docs.clone();
                for (p, (phone, _)) in self.phones.iter_mut().enumerate() {
                    let seen: Vec<usize> = docs
                        .iter()
                        .map(|d| phone.view(d, |v| v.keys(&path![])).map_or(0, |k| k.len()))
                        .collect();
                    println!("phone {p}: {:?} {:?} keys {seen:?}", phone.status(), phone.counters());
                }
                panic!(
                    "12 hours are not enough: {:?}, {} items in the log",
                    self.relay.damage,
                    self.relay.log.len()
                );
            }
            let due = self.phones.iter().filter_map(|(p, _)| p.poll_timeout()).map(|t| t.0).min();
            // The relay does not answer pings by itself: no more than a few seconds at once.
            self.now = due.unwrap_or(self.now).clamp(self.now + 1, self.now + 5_000_000);
            let now = self.now();
            for (phone, _) in &mut self.phones {
                assert_eq!(phone.handle_timeout(now).unwrap(), None);
            }
        }
    }

    fn counters(&self) -> (u64, u64) {
        let all = self.phones.iter().map(|(p, _)| p.counters());
        all.fold((0, 0), |(refused, reconciles), c| (refused + c.refused, reconciles + c.reconciles))
    }
}

/// Bar 31. One of a hundred runs is gone from the log; of what is read, one of a hundred items has a flipped bit, one stands
/// for another, and two change places.
#[test]
fn phones_converge_over_a_relay_that_damages_one_item_in_a_hundred() {
    let (seeds, runs) = (scaled(4, 40), scaled(400, 2_000));
    let mut sum = Damage::default();
    let (mut refused, mut reconciles, mut slowest) = (0, 0, 0);
    for seed in 1..=seeds {
        let mut world = World::new(seed, runs);
        world.disconnect();
        let (mut log, head) = (world.relay.log.clone(), world.relay.head);
        let all = log.len();
        let rng = &mut world.relay.rng;
        log.retain(|_, bytes| {
            let is_run = RawItem::parse(bytes.clone()).unwrap().header().kind == Kind::Run;
            !is_run || !rng.next_u64().is_multiple_of(100)
        });
        let deleted = (all - log.len()) as u64;
        world.relay.reopen(log, head);
        world.relay.percent = 1;
        // What is gone from the log is seen by who has it when a checksum comes: on connecting, if anything new is there.
        world.connect(0);
        world.write(0);
        world.carry();
        world.disconnect();
        (0..5).for_each(|p| world.connect(p));
        slowest = slowest.max(world.converge());
        let damage = world.relay.damage;
        sum.given += damage.given;
        sum.corrupted += damage.corrupted;
        sum.repeated += damage.repeated;
        sum.swapped += damage.swapped;
        sum.deleted += deleted;
        let (r, c) = world.counters();
        (refused, reconciles) = (refused + r, reconciles + c);
        // Nothing of the damage is in the log.
        for bytes in world.relay.log.values() {
            RawItem::parse(bytes.clone()).unwrap();
        }
    }
    println!(
        "{seeds} worlds, {runs} runs each: {sum:?}; refused by phones {refused}, {reconciles} reconciles, slowest {slowest} min; all converged, 0 lost"
    );
    assert!(sum.corrupted > 4 && sum.repeated > 4 && sum.swapped > 4 && sum.deleted > 4, "{sum:?}");
    assert!(refused > 4 && reconciles > 0);
}

/// Bar 29. Nobody does anything but connect again.
#[test]
fn an_older_copy_of_the_log_gets_everything_back() {
    let mut restores = 0;
    for (seed, behind) in [(1, 1), (2, 10), (3, scaled(200, 1_000))] {
        let mut world = World::new(seed, behind + 50);
        (0..5).for_each(|p| {
            if p >= WRITERS {
                world.connect(p)
            }
        });
        world.converge();
        let items = world.relay.items();
        for round in 0..2 {
            world.disconnect();
            let log: BTreeMap<Seq, Bytes> = world
                .relay
                .log
                .iter()
                .take(world.relay.log.len() - behind as usize)
                .map(|(s, b)| (*s, b.clone()))
                .collect();
            let head = log.len() as u64;
            world.relay.reopen(log, head);
            (0..5).for_each(|p| world.connect(p));
            let minutes = world.converge();
            assert_eq!(
                world.relay.log.len(),
                items,
                "{behind} behind, round {round}: everything came back, once"
            );
            assert_eq!(minutes, 0, "at once");
            restores += 1;
        }
        assert_eq!(world.counters().0, 0, "nothing was refused");
        // And it goes on.
        world.write(0);
        world.converge();
    }
    println!(
        "{restores} restores of copies 1, 10 and {} items old: 0 items lost, 0 actions of people",
        scaled(200, 1_000)
    );
}
