//! Phones and a hub wired together without sockets or time: the shortest way to see one edit through.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use dinh_core::document::Value;
use dinh_core::path;
use dinh_core::replica::{Event, LinkState};
use dinh_proto::charter::record::{Role, Writers};
use dinh_server::hub::PeerId;
use pair_common::{NOW, Phone, Relay, branch, phone, put_token, restored, text_at, tokens};

mod pair_common;

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

#[test]
fn a_phone_that_joins_by_a_code_has_the_key_before_the_snapshot() {
    let (mut a, mut b) = (phone(1), phone(2));
    let (id, space, doc) = branch(&mut a, &[]);
    let mut relay = Relay::new();
    let pa = relay.connect(&mut a);
    a.edit(NOW, &doc, None, |e| e.put_list(&path!["list"])).unwrap();
    relay.settle(&mut [(&mut a, pa)]);
    for i in 0..400u64 {
        if i == 200 {
            a.rotate_key(space).unwrap();
        }
        a.edit(NOW, &doc, None, |e| e.push(&path!["list"], format!("đồng chí thứ {i}"))).unwrap();
        relay.settle(&mut [(&mut a, pa)]);
    }
    assert!(a.counters().snapshots_made > 0);
    // The record with its keys is the last in the log.
    a.admit_device(id, dinh_proto::ids::MemberId([2; 16]), Role::Member, b.join_request(), "").unwrap();
    relay.settle(&mut [(&mut a, pa)]);
    let welcome = a.welcome(id, b.device(), pair_common::relay_key().public(), "ws://relay").unwrap();
    b.join_by_welcome(&welcome).unwrap();
    let pb = relay.connect(&mut b);
    relay.settle(&mut [(&mut a, pa), (&mut b, pb)]);
    assert_eq!((b.counters().snapshots_used, b.counters().mismatches), (1, 0), "{:?}", b.counters());
    assert!(b.counters().items_received < 300, "{:?}", b.counters());
    assert_eq!(a.document_hash(&doc).unwrap(), b.document_hash(&doc).unwrap());
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
