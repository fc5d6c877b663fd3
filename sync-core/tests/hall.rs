//! Devices that meet without a relay: frames go from one replica to the other by hand.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use dinh_core::path;
use dinh_core::proto::charter::record::{Audience, JoinRequest, Role, Writers};
use dinh_core::proto::error::{CloseCode, SessionError};
use dinh_core::proto::ids::{DocId, MemberId, SpaceId};
use dinh_core::proto::keys::{DeviceKey, SignKey};
use dinh_core::proto::time::{Timestamp, WallTime};
use dinh_core::replica::{Event, HallPeer, HallWay, Now, Replica, ReplicaConfig};
use dinh_core::store::MemoryStore;

type Phone = Replica<MemoryStore>;

const BINDING: [u8; 32] = [3; 32];

fn at(ms: u64) -> Now {
    Now { mono: Timestamp(ms * 1_000), wall: WallTime(1_790_000_000_000 + ms) }
}

fn key(n: u8) -> DeviceKey {
    DeviceKey::from_seed(&[n; 32])
}

fn phone(n: u8) -> Phone {
    Replica::open(MemoryStore::new(), key(n), ReplicaConfig::default(), [n; 32]).unwrap()
}

/// Phones of a branch, of which the first founded it, and its space for everybody.
struct Hall {
    phones: Vec<Phone>,
    branch: SpaceId,
    space: SpaceId,
    /// Connections, and what either end heard of their end.
    ended: BTreeMap<u64, Vec<SessionError>>,
    ends: Vec<(u64, usize, usize)>,
    next: u64,
    bytes: usize,
}

impl Hall {
    fn new(phones: u8) -> Self {
        let mut first = phone(1);
        let root = SignKey::from_seed(&[200; 32]);
        let branch = first.found_branch(&root, MemberId([1; 16]), "thư ký").unwrap();
        let space = first.create_space(branch, Audience::Everyone).unwrap();
        let mut hall = Self {
            phones: vec![first],
            branch,
            space,
            ended: BTreeMap::new(),
            ends: Vec::new(),
            next: 0,
            bytes: 0,
        };
        for n in 2..=phones {
            hall.admit(n);
        }
        hall
    }

    fn admit(&mut self, n: u8) {
        let (branch, request) = (self.branch, JoinRequest::new(&key(n)));
        self.phones[0].admit_device(branch, MemberId([n; 16]), Role::Member, request, "điện thoại").unwrap();
        let invitation = self.phones[0].invitation(branch).unwrap();
        let mut new = phone(n);
        new.join(&invitation).unwrap();
        self.phones.push(new);
    }

    fn dial(&mut self, from: usize, to: usize, attempt: usize) -> u64 {
        let id = self.next;
        self.next += 1;
        let way = HallWay::Dialled { branch: self.branch, attempt };
        self.phones[from].handle_hall_connected(at(0), HallPeer(id), way, BINDING, [id as u8; 32]).unwrap();
        let seed = [id as u8 ^ 0x55; 32];
        self.phones[to].handle_hall_connected(at(0), HallPeer(id), HallWay::Answered, BINDING, seed).unwrap();
        self.ends.push((id, from, to));
        self.talk();
        id
    }

    fn hang_up(&mut self, id: u64) {
        let (_, a, b) = self.ends.iter().find(|(i, ..)| *i == id).copied().unwrap();
        self.phones[a].handle_hall_disconnected(HallPeer(id));
        self.phones[b].handle_hall_disconnected(HallPeer(id));
        self.ends.retain(|(i, ..)| *i != id);
    }

    /// Until nobody has anything to say.
    fn talk(&mut self) {
        loop {
            let mut said = false;
            for (id, a, b) in self.ends.clone() {
                for (from, to) in [(a, b), (b, a)] {
                    let mut frame = Vec::new();
                    while self.phones[from].poll_hall_transmit(HallPeer(id), &mut frame).unwrap() {
                        said = true;
                        self.bytes += frame.len();
                        self.phones[to].handle_hall_frame(at(0), HallPeer(id), &frame).unwrap();
                        frame.clear();
                    }
                    while let Some((HallPeer(id), error)) = self.phones[to].poll_hall_ended() {
                        self.ended.entry(id).or_default().push(error);
                    }
                }
            }
            if !said {
                break;
            }
        }
    }

    fn document(&mut self, p: usize, space: SpaceId) -> DocId {
        let doc = self.phones[p].create_document(space, Writers::All).unwrap();
        self.phones[p].edit(at(0), &doc, None, |e| e.put_text(&path!["text"])).unwrap();
        doc
    }

    fn write(&mut self, p: usize, doc: &DocId, word: &str) {
        self.phones[p]
            .edit(at(0), doc, None, |e| {
                let end = e.view().text(&path!["text"]).unwrap_or_default().encode_utf16().count();
                e.splice_text(&path!["text"], end, 0, word)
            })
            .unwrap();
    }

    fn text(&mut self, p: usize, doc: &DocId) -> Option<String> {
        self.phones[p].view(doc, |v| v.text(&path!["text"])).ok().flatten()
    }

    fn same(&mut self, doc: &DocId) {
        let hashes: Vec<_> = self.phones.iter_mut().map(|p| p.document_hash(doc).unwrap()).collect();
        assert!(hashes.windows(2).all(|w| w[0] == w[1]), "the phones have different documents");
        assert!(self.phones.iter_mut().all(|p| p.waiting_runs(doc).unwrap() == 0));
    }
}

#[test]
fn what_was_written_apart_is_with_both_after_they_met() {
    let mut hall = Hall::new(2);
    let doc = hall.document(0, hall.space);
    hall.write(0, &doc, "Khai mạc. ");
    hall.dial(0, 1, 0);
    hall.same(&doc);
    // And from then on at once, in both directions.
    hall.write(1, &doc, "Điểm danh. ");
    hall.talk();
    hall.write(0, &doc, "Thảo luận. ");
    hall.talk();
    hall.same(&doc);
    assert_eq!(hall.text(1, &doc).unwrap(), "Khai mạc. Điểm danh. Thảo luận. ");
    assert_eq!(hall.phones.iter().map(|p| p.status().nearby).collect::<Vec<_>>(), [1, 1]);
    // Nothing new: the accounts of both, and not one item.
    hall.hang_up(0);
    let (received, bytes) = (hall.phones[0].counters(), hall.bytes);
    hall.dial(1, 0, 0);
    let after = hall.phones[0].counters();
    assert_eq!((after.items_received, after.duplicates), (received.items_received, received.duplicates));
    println!("a meeting of two phones that have the same: {} bytes", hall.bytes - bytes);
}

#[test]
fn one_phone_brings_what_another_one_wrote() {
    let mut hall = Hall::new(4);
    let doc = hall.document(0, hall.space);
    for p in 0..4 {
        hall.dial(p, (p + 1) % 4, 0);
    }
    for round in 0..5 {
        for p in 0..4 {
            hall.write(p, &doc, &format!("{p}{round} "));
        }
        hall.talk();
    }
    hall.same(&doc);
    let text = hall.text(3, &doc).unwrap();
    assert_eq!(text.split_whitespace().count(), 20, "{text}");
    // Not acknowledged by a relay: everything waits to be sent, also what others wrote.
    assert!(hall.phones.iter().all(|p| p.status().pending >= 20));
}

#[test]
fn a_space_comes_to_who_may_read_it_when_that_is_known_and_to_nobody_else() {
    let mut hall = Hall::new(3);
    let secret =
        hall.phones[0].create_space(hall.branch, Audience::Members(vec![MemberId([1; 16])])).unwrap();
    let doc = hall.document(0, secret);
    hall.write(0, &doc, "Việc riêng");
    hall.dial(1, 0, 0);
    hall.dial(2, 0, 0);
    assert_eq!((hall.text(1, &doc), hall.text(2, &doc)), (None, None));
    let items: Vec<u64> = hall.phones.iter().map(|p| p.items_held()).collect();
    hall.phones[0].grant(secret, MemberId([2; 16])).unwrap();
    hall.talk();
    assert_eq!(hall.text(1, &doc).as_deref(), Some("Việc riêng"));
    assert_eq!(hall.text(2, &doc), None);
    // Who may not read it has the record of the grant, and its keys' records, and no run.
    let brought = hall.phones[1].items_held() - items[1];
    assert!(hall.phones[2].items_held() - items[2] < brought);
}

#[test]
fn strangers_and_removed_devices_get_nothing() {
    let mut hall = Hall::new(3);
    let doc = hall.document(0, hall.space);
    hall.write(0, &doc, "Biên bản");
    // Of another branch: another key, so that not even the handshake opens.
    let mut stranger = phone(9);
    let theirs = stranger.found_branch(&SignKey::from_seed(&[99; 32]), MemberId([9; 16]), "khác").unwrap();
    hall.phones.push(stranger);
    let way = HallWay::Dialled { branch: theirs, attempt: 0 };
    hall.phones[3].handle_hall_connected(at(0), HallPeer(70), way, BINDING, [1; 32]).unwrap();
    hall.phones[0].handle_hall_connected(at(0), HallPeer(70), HallWay::Answered, BINDING, [2; 32]).unwrap();
    hall.ends.push((70, 3, 0));
    hall.talk();
    assert!(hall.ended[&70].contains(&SessionError::BadHandshake), "{:?}", hall.ended);
    assert_eq!(hall.phones[3].charters().len(), 1);
    hall.ends.clear();
    hall.phones.truncate(3);
    // One that was removed still has the key, and is told to go.
    let id = hall.dial(2, 0, 0);
    assert_eq!(hall.text(2, &doc).as_deref(), Some("Biên bản"));
    let device = hall.phones[2].device();
    hall.phones[0]
        .remove_device(hall.branch, device, dinh_core::proto::charter::record::Reason::Lost)
        .unwrap();
    hall.write(0, &doc, " mật");
    hall.talk();
    let told =
        SessionError::ClosedByPeer { code: CloseCode::Stranger, retry_after_ms: 0, detail: String::new() };
    assert!(hall.ended[&id].contains(&told), "{:?}", hall.ended);
    assert_eq!(hall.text(2, &doc).as_deref(), Some("Biên bản"), "nothing after the removal");
    let again = hall.dial(2, 0, 1);
    assert!(!hall.ended[&again].is_empty());
    assert_eq!(hall.text(2, &doc).as_deref(), Some("Biên bản"));
}

#[test]
fn a_key_that_one_of_them_does_not_know_yet_is_passed_over() {
    let mut hall = Hall::new(2);
    let doc = hall.document(0, hall.space);
    hall.phones[0].rotate_key(hall.branch).unwrap();
    hall.phones[0].rotate_key(hall.branch).unwrap();
    let first = hall.dial(0, 1, 0);
    assert!(hall.ended[&first].contains(&SessionError::BadHandshake));
    hall.hang_up(first);
    for attempt in 1..3 {
        let id = hall.dial(0, 1, attempt);
        if hall.phones[0].status().nearby == 1 {
            assert_eq!(hall.phones[1].status().nearby, 1);
        } else {
            hall.hang_up(id);
        }
    }
    hall.same(&doc);
    // Who is called knows all keys, and opens what a phone says that knows the old one only.
    hall.ends.clear();
    hall.phones[0].rotate_key(hall.branch).unwrap();
    hall.dial(1, 0, 0);
    hall.write(1, &doc, "Kết luận");
    hall.talk();
    hall.same(&doc);
}

#[test]
fn presence_is_shown_to_who_is_nearby() {
    let mut hall = Hall::new(2);
    hall.dial(0, 1, 0);
    while hall.phones[1].poll_event().is_some() {}
    hall.phones[0].send_presence(hall.space, b"dang go"[..].into());
    hall.talk();
    let shown = std::iter::from_fn(|| hall.phones[1].poll_event())
        .any(|e| matches!(e, Event::Presence { payload, .. } if payload == b"dang go"[..]));
    assert!(shown);
}

#[test]
fn a_thousand_changes_come_in_messages_of_a_few_and_in_order() {
    let mut hall = Hall::new(3);
    let doc = hall.document(0, hall.space);
    hall.dial(0, 1, 0);
    for n in 0..1_000 {
        hall.write(n % 2, &doc, &format!("{n} "));
        if n % 10 == 0 {
            hall.talk();
        }
    }
    hall.talk();
    let judged = hall.phones[2].counters().judged;
    hall.dial(2, 1, 0);
    hall.same(&doc);
    assert_eq!(hall.text(2, &doc).unwrap().split_whitespace().count(), 1_000);
    let counters = hall.phones[2].counters();
    println!("{} runs judged for {} received", counters.judged - judged, counters.items_received);
    assert_eq!(counters.duplicates, 0);
}
