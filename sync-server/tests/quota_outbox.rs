//! A phone that was offline for days and has more to send than the relay takes from it at once: everything arrives, only
//! later. The production replica and hub in virtual time.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use dinh_core::document::Value;
use dinh_core::path;
use dinh_core::replica::{Now, Replica, ReplicaConfig};
use dinh_core::store::MemoryStore;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{DocId, LogEpoch, MemberId, Seq};
use dinh_proto::keys::{DeviceKey, RelayKey, SignKey};
use dinh_proto::limits;
use dinh_proto::time::{Timestamp, WallTime};
use dinh_server::hub::{Effect, Hub, HubConfig, Limit, PeerId, Quotas, Rate};
use dinh_server::log::EpochHistory;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

type Phone = Replica<MemoryStore>;

const OUTBOX_BYTES: usize = 6 << 20;
const HOUR: Duration = Duration::from_secs(3_600);

fn at(mono: Timestamp) -> Now {
    Now { mono, wall: WallTime(1_790_000_000_000 + mono.0 / 1_000) }
}

fn phone(seed: u8) -> Phone {
    let key = DeviceKey::from_seed(&[seed; 32]);
    Replica::open(MemoryStore::new(), key, ReplicaConfig::default(), [seed; 32]).unwrap()
}

struct World {
    hub: Hub,
    log: Vec<Bytes>,
    now: Timestamp,
    /// Bytes that went up, by connection.
    up: BTreeMap<u64, usize>,
}

impl World {
    fn new(quotas: Quotas) -> Self {
        let config = HubConfig { quotas, ..HubConfig::default() };
        let epochs = EpochHistory::new(LogEpoch([1; 8]));
        let hub = Hub::new(config, RelayKey::from_seed(&[77; 32]), epochs, Seq(0), [9; 32]);
        Self { hub, log: Vec::new(), now: Timestamp(1_000_000), up: BTreeMap::new() }
    }

    fn connect(&mut self, phone: &mut Phone) -> PeerId {
        let peer = PeerId(self.up.len() as u64);
        self.up.insert(peer.0, 0);
        let binding = [peer.0 as u8; 32];
        self.hub.handle_connected(self.now, peer, binding, [8; 32]);
        phone.handle_connected(at(self.now), &RelayKey::from_seed(&[77; 32]).public(), binding, [7; 32]);
        peer
    }

    fn run_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Verify { token, items } => {
                    let results = items.into_iter().map(|(raw, key)| raw.verify(&key)).collect();
                    self.hub.handle_verified(self.now, token, results);
                }
                Effect::Append { token, items } => {
                    let first = Seq(self.log.len() as u64 + 1);
                    self.log.extend(items.iter().map(|item| item.bytes().clone()));
                    self.hub.handle_appended(self.now, token, Ok(first));
                }
                Effect::Read { token, seqs } => {
                    let items = seqs.iter().map(|s| (*s, self.log[s.0 as usize - 1].clone())).collect();
                    self.hub.handle_read(self.now, token, Ok(items));
                }
                Effect::Load { .. } => unreachable!("it began with nothing, and has room for all"),
                Effect::Wake { .. } | Effect::Remember { .. } => {}
                Effect::Close { peer } => panic!("{peer:?} was closed: {:?}", self.hub.stats().closes),
            }
        }
    }

    /// Carries frames until nobody has anything to say.
    fn settle(&mut self, phones: &mut [(&mut Phone, PeerId)]) {
        let mut quiet = false;
        while !std::mem::replace(&mut quiet, true) {
            for (phone, peer) in phones.iter_mut() {
                let (mut up, mut down) = (Vec::new(), Vec::new());
                // The driver does not read a socket before.
                while self.hub.reads_again_at(*peer) <= self.now && phone.poll_transmit(&mut up).unwrap() {
                    quiet = false;
                    *self.up.entry(peer.0).or_default() += up.len();
                    self.hub.handle_frame(self.now, *peer, std::mem::take(&mut up).into());
                    self.run_effects();
                }
                while self.hub.poll_transmit(self.now, *peer, &mut down) {
                    quiet = false;
                    let ended = phone.handle_frame(at(self.now), &std::mem::take(&mut down)).unwrap();
                    assert_eq!(ended, None);
                }
                self.run_effects();
            }
        }
    }

    /// Goes on until `done`, or panics after this much virtual time.
    fn run(
        &mut self,
        phones: &mut [(&mut Phone, PeerId)],
        within: Duration,
        done: impl Fn(&[(&mut Phone, PeerId)]) -> bool,
    ) -> Duration {
        let began = self.now;
        loop {
            self.settle(phones);
            if done(phones) {
                return self.now - began;
            }
            let read_again = phones.iter().map(|(_, peer)| self.hub.reads_again_at(*peer));
            let read_again = read_again.filter(|at| *at > self.now).min();
            let timers = phones.iter().filter_map(|(phone, _)| phone.poll_timeout());
            let next = timers.chain(self.hub.poll_timeout()).chain(read_again).min().unwrap();
            self.now = self.now.max(next);
            assert!(self.now - began < within, "not done in time: {:?}", self.hub.stats());
            self.hub.handle_timeout(self.now);
            self.run_effects();
            for (phone, _) in phones.iter_mut() {
                assert_eq!(phone.handle_timeout(at(self.now)).unwrap(), None);
            }
        }
    }

    fn stored_bytes(&self) -> usize {
        self.log.iter().map(Bytes::len).sum()
    }
}

/// A branch of two phones with documents in which the first wrote for days without a connection: 6 MiB in large pieces and
/// a thousand small ones.
fn offline_for_days() -> (Phone, Phone, Vec<DocId>) {
    let (mut a, mut b) = (phone(1), phone(2));
    let now = at(Timestamp(0));
    let branch = a.found_branch(&SignKey::from_seed(&[200; 32]), MemberId([1; 16]), "thư ký").unwrap();
    a.admit_device(branch, MemberId([2; 16]), Role::Member, b.join_request(), "điện thoại").unwrap();
    let space = a.create_space(branch, Audience::Everyone).unwrap();
    let docs: Vec<DocId> = (0..6).map(|_| a.create_document(space, Writers::All).unwrap()).collect();
    b.join(&a.invitation(branch).unwrap()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let piece = 48 * 1024;
    for i in 0..OUTBOX_BYTES / piece {
        // What cannot be compressed.
        let mut bytes = vec![0; piece];
        rng.fill_bytes(&mut bytes);
        let doc = &docs[i % docs.len()];
        a.edit(now, doc, None, |e| e.put(&path![format!("photo {i}")], Value::Bytes(bytes))).unwrap();
        for j in 0..8u64 {
            a.edit(now, doc, None, |e| e.put(&path![format!("note {i} {j}")], Value::Uint(j))).unwrap();
        }
    }
    (a, b, docs)
}

fn all_sent(phones: &[(&mut Phone, PeerId)]) -> bool {
    phones.iter().all(|(phone, _)| phone.status().pending == 0)
}

fn converged(a: &mut Phone, b: &mut Phone, docs: &[DocId]) {
    for doc in docs {
        assert_eq!(a.document_hash(doc).unwrap(), b.document_hash(doc).unwrap());
    }
    for phone in [a, b] {
        assert_eq!((phone.counters().refused, phone.counters().mismatches), (0, 0));
    }
}

#[test]
fn six_megabytes_written_offline_arrive_within_a_minute_and_are_sent_once() {
    let (mut a, mut b, docs) = offline_for_days();
    let mut world = World::new(Quotas::default());
    let (pa, pb) = (world.connect(&mut a), world.connect(&mut b));
    let took = world.run(&mut [(&mut a, pa), (&mut b, pb)], HOUR, all_sent);
    let (stored, up, stats) = (world.stored_bytes(), world.up[&pa.0], world.hub.stats());
    println!(
        "{stored} bytes in {} items stored after {took:?}; {up} bytes sent; {} waits; refused: {:?}",
        world.log.len(),
        stats.puts_delayed.values().sum::<u64>(),
        stats.rejects
    );
    assert!(stored > OUTBOX_BYTES && !stats.puts_delayed.is_empty());
    assert!(took > Duration::from_secs(10) && took < Duration::from_secs(60), "{took:?}");
    assert!(up < stored + stored / 50, "sent more than once: {up} for {stored}");
    assert!(!stats.rejects.contains_key(&RejectCode::Quota), "{stats:?}");
    converged(&mut a, &mut b, &docs);
}

/// A phone that has used up the share of its day, which is an hour here: 2 MiB of 6 go through at once.
fn over_the_share(patience: Duration) {
    let (mut a, mut b, docs) = offline_for_days();
    let bytes_per_day = Rate::new(2 << 20, HOUR);
    let mut world = World::new(Quotas { bytes_per_day, patience, ..Quotas::default() });
    let (pa, pb) = (world.connect(&mut a), world.connect(&mut b));
    let mut phones = [(&mut a, pa), (&mut b, pb)];
    world.run(&mut phones, HOUR, |p| p[1].0.status().received.0 > 10);
    assert!(phones[0].0.status().pending > 0);
    // The other phone's edit goes through at once, while the first one's items wait.
    let now = at(world.now);
    phones[1].0.edit(now, &docs[0], None, |e| e.put(&path!["b"], true)).unwrap();
    let took = world.run(&mut phones, HOUR, |p| p[1].0.status().pending == 0);
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(phones[0].0.status().pending > 0);
    let took = world.run(&mut phones, 4 * HOUR, all_sent);
    let (stored, up, stats) = (world.stored_bytes(), world.up[&pa.0], world.hub.stats());
    println!("patience {patience:?}: {stored} bytes stored after {took:?}; {up} sent; {:?}", stats.rejects);
    let refused = stats.quotas.get(&Limit::BytesPerDay).copied().unwrap_or_default();
    assert_eq!(stats.rejects.get(&RejectCode::Quota).copied().unwrap_or_default(), refused);
    assert!(took > HOUR, "{took:?}");
    if patience == limits::PUT_PATIENCE {
        assert_eq!(refused, 0);
        assert!(up < stored + stored / 50, "sent more than once: {up} for {stored}");
    } else {
        assert!(refused > 20, "{refused}");
    }
    converged(&mut a, &mut b, &docs);
}

#[test]
fn more_than_a_day_s_share_trickles_in_and_nobody_else_waits() {
    over_the_share(limits::PUT_PATIENCE);
}

#[test]
fn what_was_refused_for_the_quota_is_offered_again_until_it_is_taken() {
    // A piece of 48 KiB would have to wait for 84 s.
    over_the_share(Duration::from_secs(20));
}

/// The relay's disk was lost, and of those who have everything only one phone is left.
#[test]
fn a_relay_is_refilled_by_one_phone_that_puts_more_than_its_share() {
    let (mut a, mut b, docs) = offline_for_days();
    let mut world = World::new(Quotas::default());
    let pa = world.connect(&mut a);
    world.run(&mut [(&mut a, pa)], HOUR, all_sent);
    a.handle_disconnected();
    let bytes_per_day = Rate::new(2 << 20, HOUR);
    let items = world.log.len();
    let mut world = World::new(Quotas { bytes_per_day, ..Quotas::default() });
    let (pa, pb) = (world.connect(&mut a), world.connect(&mut b));
    let mut phones = [(&mut a, pa), (&mut b, pb)];
    let took = world.run(&mut phones, 6 * HOUR, |p| p[1].0.status().received.0 >= items as u64);
    println!("{} items after {took:?}; {} bytes sent", world.log.len(), world.up[&pa.0]);
    assert!(!world.hub.stats().rejects.contains_key(&RejectCode::Quota), "{:?}", world.hub.stats());
    converged(&mut a, &mut b, &docs);
}
