//! Phones and a hub wired together without sockets or time: the shortest way to see one edit through.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use bytes::Bytes;
use dinh_core::document::{Path, Value};
use dinh_core::path;
use dinh_core::replica::{Event, LinkState, Now, Replica, ReplicaConfig};
use dinh_core::store::MemoryStore;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, LogEpoch, MemberId, Seq, SpaceId};
use dinh_proto::item::{Kind, RawItem};
use dinh_proto::keys::{DeviceKey, RelayKey, SignKey};
use dinh_proto::time::{Timestamp, WallTime};
use dinh_server::hub::{Effect, Hub, HubConfig, PeerId};
use dinh_server::log::epochs::EpochStart;
use dinh_server::log::{EpochHistory, IndexEntry};

const NOW: Now = Now { mono: Timestamp(1_000_000), wall: WallTime(1_790_000_000_000) };

type Phone = Replica<MemoryStore>;

fn phone(seed: u8) -> Phone {
    let key = DeviceKey::from_seed(&[seed; 32]);
    Replica::open(MemoryStore::new(), key, ReplicaConfig::default(), [seed; 32]).unwrap()
}

fn relay_key() -> RelayKey {
    RelayKey::from_seed(&[77; 32])
}

struct Relay {
    hub: Hub,
    starts: Vec<EpochStart>,
    log: BTreeMap<Seq, Bytes>,
    next_peer: u64,
}

impl Relay {
    fn new() -> Self {
        let epochs = EpochHistory::new(LogEpoch([1; 8]));
        let starts = epochs.starts().to_vec();
        let hub = Hub::new(HubConfig::default(), relay_key(), epochs, Seq(0), [9; 32]);
        Self { hub, starts, log: BTreeMap::new(), next_peer: 0 }
    }

    /// A relay that opens this one's log as it was `keep` items after its beginning.
    fn restored(&self, keep: usize, epoch: u8) -> Self {
        let log: BTreeMap<Seq, Bytes> = self.log.iter().take(keep).map(|(s, b)| (*s, b.clone())).collect();
        let head = Seq(log.len() as u64);
        let earlier = self.starts.iter().filter(|s| s.first.0 <= head.0.max(1)).copied().collect();
        let now = EpochStart { epoch: LogEpoch([epoch; 8]), first: Seq(head.0 + 1) };
        let epochs = EpochHistory::opened(earlier, now).unwrap();
        let starts = epochs.starts().to_vec();
        let mut hub = Hub::new(HubConfig::default(), relay_key(), epochs, head, [epoch; 32]);
        let mut records = Vec::new();
        for (seq, bytes) in &log {
            let raw = RawItem::parse(bytes.clone()).unwrap();
            hub.load_entry(&IndexEntry::of(*seq, &raw));
            records.extend((raw.header().kind == Kind::Charter).then_some(raw));
        }
        hub.load_charters(records);
        Self { hub, starts, log, next_peer: 0 }
    }

    fn run_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Verify { token, items } => {
                    let results = items.into_iter().map(|(raw, key)| raw.verify(&key)).collect();
                    self.hub.handle_verified(NOW.mono, token, results);
                }
                Effect::Append { token, items } => {
                    let first = Seq(self.log.len() as u64 + 1);
                    for item in items {
                        self.log.insert(Seq(self.log.len() as u64 + 1), item.bytes().clone());
                    }
                    self.hub.handle_appended(NOW.mono, token, Ok(first));
                }
                Effect::Read { token, seqs } => {
                    let items = seqs.iter().map(|s| (*s, self.log[s].clone())).collect();
                    self.hub.handle_read(NOW.mono, token, Ok(items));
                }
                Effect::Wake { .. } | Effect::Close { .. } => {}
            }
        }
    }

    fn connect(&mut self, phone: &mut Phone) -> PeerId {
        self.next_peer += 1;
        let peer = PeerId(self.next_peer);
        let binding = [self.next_peer as u8; 32];
        self.hub.handle_connected(NOW.mono, peer, binding, [8; 32]);
        phone.handle_connected(NOW, &relay_key().public(), binding, [7; 32]);
        peer
    }

    /// Carries frames until nobody has anything to say.
    fn settle(&mut self, phones: &mut [(&mut Phone, PeerId)]) {
        loop {
            let mut quiet = true;
            for (phone, peer) in phones.iter_mut() {
                let mut up = Vec::new();
                while phone.poll_transmit(&mut up).unwrap() {
                    quiet = false;
                    self.hub.handle_frame(NOW.mono, *peer, std::mem::take(&mut up).into());
                    self.run_effects();
                }
                let mut down = Vec::new();
                while self.hub.poll_transmit(NOW.mono, *peer, &mut down) {
                    quiet = false;
                    let ended = phone.handle_frame(NOW, &std::mem::take(&mut down)).unwrap();
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
}

fn branch(secretary: &mut Phone, others: &[(&Phone, Role)]) -> (SpaceId, SpaceId, DocId) {
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

fn text_at(phone: &mut Phone, doc: &DocId, path: &Path) -> Option<String> {
    phone.view(doc, |v| v.text(path)).unwrap()
}

#[test]
fn an_edit_reaches_the_other_phone_and_is_acknowledged() {
    let (mut a, mut b) = (phone(1), phone(2));
    let (id, _, doc) = branch(&mut a, &[(&b, Role::Member)]);
    let invitation = a.invitation(id).unwrap();
    assert_eq!(b.join(&invitation).unwrap(), id);
    a.edit(NOW, &doc, None, |e| {
        e.put_text(&path!["title"])?;
        e.set_text(&path!["title"], "Biên bản sinh hoạt chi bộ")
    })
    .unwrap();
    assert!(a.status().pending > 0);

    let mut relay = Relay::new();
    let (pa, pb) = (relay.connect(&mut a), relay.connect(&mut b));
    relay.settle(&mut [(&mut a, pa), (&mut b, pb)]);
    for p in [&mut a, &mut b] {
        assert_eq!(p.status().pending, 0);
        assert_eq!(p.status().link, LinkState::Live);
        assert_eq!(p.counters().mismatches, 0);
        assert_eq!(p.counters().refused, 0);
    }
    assert_eq!(text_at(&mut b, &doc, &path!["title"]).unwrap(), "Biên bản sinh hoạt chi bộ");

    b.edit(NOW, &doc, None, |e| e.splice_text(&path!["title"], 0, 0, "1. ")).unwrap();
    relay.settle(&mut [(&mut a, pa), (&mut b, pb)]);
    assert_eq!(text_at(&mut a, &doc, &path!["title"]).unwrap(), "1. Biên bản sinh hoạt chi bộ");
    assert_eq!(a.document_hash(&doc).unwrap(), b.document_hash(&doc).unwrap());
    let changed = std::iter::from_fn(|| a.poll_event()).any(
        |e| matches!(e, Event::DocumentChanged { doc: d, .. } | Event::DocumentReset { doc: d } if d == doc),
    );
    assert!(changed);
}

#[test]
fn a_new_phone_gets_a_snapshot_and_the_tail() {
    let (mut a, mut b) = (phone(1), phone(2));
    let (id, _, doc) = branch(&mut a, &[(&b, Role::Member)]);
    let mut relay = Relay::new();
    let pa = relay.connect(&mut a);
    a.edit(NOW, &doc, None, |e| e.put_list(&path!["list"])).unwrap();
    relay.settle(&mut [(&mut a, pa)]);
    for i in 0..400u64 {
        a.edit(NOW, &doc, None, |e| e.push(&path!["list"], format!("đồng chí thứ {i}"))).unwrap();
        relay.settle(&mut [(&mut a, pa)]);
    }
    assert!(a.counters().snapshots_made > 0);
    b.join(&a.invitation(id).unwrap()).unwrap();
    let pb = relay.connect(&mut b);
    relay.settle(&mut [(&mut a, pa), (&mut b, pb)]);
    assert_eq!(b.counters().snapshots_used, 1);
    assert_eq!(b.counters().mismatches, 0);
    assert!(b.counters().items_received < 300, "{:?}", b.counters());
    assert_eq!(a.document_hash(&doc).unwrap(), b.document_hash(&doc).unwrap());
    assert_eq!(b.view(&doc, |v| v.len(&path!["list"])).unwrap(), 400);
    assert_eq!(b.view(&doc, |v| v.get(&path!["list", 399])).unwrap(), Some(Value::from("đồng chí thứ 399")));
}

fn tokens(phone: &mut Phone, doc: &DocId) -> Vec<String> {
    phone.view(doc, |v| v.keys(&path!["tokens"])).unwrap()
}

fn put_token(phone: &mut Phone, doc: &DocId, token: &str) {
    phone.edit(NOW, doc, None, |e| e.put(&path!["tokens", token], true)).unwrap();
}

/// A store as it was at some moment, opened again with the same key.
fn restored(store: &MemoryStore, seed: u8, key: u8) -> Phone {
    let key = DeviceKey::from_seed(&[key; 32]);
    Replica::open(store.clone(), key, ReplicaConfig::default(), [seed; 32]).unwrap()
}

#[test]
fn two_phones_restored_from_one_backup_lose_nothing() {
    for both_offline in [false, true] {
        let (mut a, mut b) = (phone(1), phone(2));
        let (id, space, doc) = branch(&mut a, &[(&b, Role::Member)]);
        b.join(&a.invitation(id).unwrap()).unwrap();
        let mut relay = Relay::new();
        let (pa, pb) = (relay.connect(&mut a), relay.connect(&mut b));
        a.edit(NOW, &doc, None, |e| e.put_map(&path!["tokens"])).unwrap();
        put_token(&mut a, &doc, "before");
        relay.settle(&mut [(&mut a, pa), (&mut b, pb)]);
        put_token(&mut a, &doc, "not sent");
        relay.hub.handle_disconnected(NOW.mono, pa);
        a.handle_disconnected();
        let backup = a.close().unwrap();

        let (mut one, mut two) = (restored(&backup, 11, 1), restored(&backup, 12, 1));
        assert_eq!(one.session(), two.session());
        if both_offline {
            for i in 0..5 {
                put_token(&mut one, &doc, &format!("one {i}"));
                put_token(&mut two, &doc, &format!("two {i}"));
            }
            two.create_document(space, Writers::All).unwrap();
            one.create_document(space, Writers::All).unwrap();
        }
        let p1 = relay.connect(&mut one);
        relay.settle(&mut [(&mut one, p1), (&mut b, pb)]);
        if !both_offline {
            for i in 0..5 {
                put_token(&mut one, &doc, &format!("one {i}"));
            }
            relay.settle(&mut [(&mut one, p1), (&mut b, pb)]);
            for i in 0..5 {
                put_token(&mut two, &doc, &format!("two {i}"));
            }
        }
        let p2 = relay.connect(&mut two);
        relay.settle(&mut [(&mut one, p1), (&mut two, p2), (&mut b, pb)]);
        for i in 5..8 {
            put_token(&mut one, &doc, &format!("one {i}"));
            put_token(&mut two, &doc, &format!("two {i}"));
        }
        relay.settle(&mut [(&mut one, p1), (&mut two, p2), (&mut b, pb)]);
        let expected = 2 + 16;
        for p in [&mut one, &mut two, &mut b] {
            assert_eq!(p.status().pending, 0);
            assert_eq!(tokens(p, &doc).len(), expected, "{:?}", tokens(p, &doc));
            assert_eq!(p.counters().mismatches, 0);
            assert_eq!(p.waiting_runs(&doc).unwrap(), 0);
        }
        assert_eq!(one.document_hash(&doc).unwrap(), b.document_hash(&doc).unwrap());
        assert_eq!(two.document_hash(&doc).unwrap(), b.document_hash(&doc).unwrap());
        assert!(two.counters().recoveries > 0);
        assert_eq!(b.charters()[&id].documents().len(), if both_offline { 3 } else { 1 });
        // What is on disk gives the same again.
        let mut again = restored(&two.close().unwrap(), 13, 1);
        assert_eq!(again.document_hash(&doc).unwrap(), b.document_hash(&doc).unwrap());
    }
}

#[test]
fn a_relay_restored_from_an_older_copy_gets_everything_back() {
    let (mut a, mut b, mut c) = (phone(1), phone(2), phone(3));
    let (id, _, doc) = branch(&mut a, &[(&b, Role::Member), (&c, Role::Reader)]);
    let mut relay = Relay::new();
    for p in [&mut b, &mut c] {
        p.join(&a.invitation(id).unwrap()).unwrap();
    }
    let (pa, pb, pc) = (relay.connect(&mut a), relay.connect(&mut b), relay.connect(&mut c));
    a.edit(NOW, &doc, None, |e| e.put_map(&path!["tokens"])).unwrap();
    relay.settle(&mut [(&mut a, pa), (&mut b, pb), (&mut c, pc)]);
    let mut peers = [pa, pb, pc];
    for keep in [0, 1, 3, 100] {
        for i in 0..6 {
            put_token(&mut a, &doc, &format!("a {keep} {i}"));
            put_token(&mut b, &doc, &format!("b {keep} {i}"));
            relay.settle(&mut [(&mut a, peers[0]), (&mut b, peers[1]), (&mut c, peers[2])]);
        }
        let before = relay.log.len();
        relay = relay.restored(keep, keep as u8 + 2);
        for round in 0..2 {
            return_peers(&mut relay, peers, [&mut a, &mut b, &mut c]);
            let reconciles = a.counters().reconciles;
            peers = [relay.connect(&mut a), relay.connect(&mut b), relay.connect(&mut c)];
            relay.settle(&mut [(&mut c, peers[2]), (&mut a, peers[0]), (&mut b, peers[1])]);
            assert_eq!(relay.log.len(), before, "keep {keep}");
            // The first time the cursor is of no use; the new one is good.
            let expected = u64::from(round == 0 && keep < before);
            assert_eq!(a.counters().reconciles - reconciles, expected, "keep {keep} round {round}");
            for p in [&mut a, &mut b, &mut c] {
                assert_eq!(p.status().link, LinkState::Live);
                assert_eq!(p.status().pending, 0);
                assert_eq!(p.counters().mismatches, 0, "keep {keep}");
                assert_eq!(p.counters().refused, 0);
            }
        }
    }
    assert_eq!(tokens(&mut c, &doc).len(), 48);
}

fn return_peers<const N: usize>(relay: &mut Relay, peers: [PeerId; N], phones: [&mut Phone; N]) {
    peers.into_iter().for_each(|p| relay.hub.handle_disconnected(NOW.mono, p));
    phones.into_iter().for_each(|p| p.handle_disconnected());
}
