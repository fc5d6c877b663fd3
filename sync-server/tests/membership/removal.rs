//! Removed devices: what of theirs stays, what does not, and that every phone says the same.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dinh_core::path;
use dinh_core::replica::Event;
use dinh_proto::charter::record::{Audience, Reason, Record, Role, Writers};
use dinh_proto::ids::{DocId, ItemId};
use dinh_proto::item::{Kind, RawItem};

use crate::pair_common::net::{Net, shuffled};
use crate::pair_common::{NOW, Relay, key, parsed, phone, put_token, restored, tokens};
use crate::scripted_relay;

/// Secretary (0), the one who will be removed (1), two members (2, 3); a document and another one in a space for all.
struct Story {
    net: Net,
    docs: [DocId; 2],
}

impl Story {
    fn new() -> Self {
        let mut net = Net::branch(&[Role::Member, Role::Member, Role::Member]);
        let branch = net.branch;
        let space = net.p(0).create_space(branch, Audience::Everyone).unwrap();
        let docs = [(); 2].map(|()| net.p(0).create_document(space, Writers::All).unwrap());
        for doc in &docs {
            net.p(0).edit(NOW, doc, None, |e| e.put_map(&path!["tokens"])).unwrap();
        }
        net.settle();
        Self { net, docs }
    }

    /// 1 writes while the remover is away: one run that 2 builds on, one in each document that nobody builds on. Everybody
    /// but the remover has all of it in their documents. Then the remover removes, and all meet.
    fn told(mut self) -> Self {
        let Self { net, docs } = &mut self;
        let [doc, other] = *docs;
        net.put(1, &doc, "seen by the remover");
        net.off(0);
        net.put(1, &doc, "built on");
        net.put(2, &doc, "builds on it");
        net.put(1, &doc, "late");
        net.put(1, &other, "late, elsewhere");
        net.put(3, &other, "elsewhere, not building on it");
        self
    }

    fn remove(&mut self) {
        let (branch, device) = (self.net.branch, self.net.device(1));
        self.net.p(0).remove_device(branch, device, Reason::Expelled).unwrap();
        self.net.meet(&[0]);
    }
}

const KEPT: [&str; 3] = ["seen by the remover", "built on", "builds on it"];

#[test]
fn a_removed_device_is_cut_off_and_what_others_built_on_stays() {
    let Story { mut net, docs: [doc, other] } = Story::new();
    net.put(1, &doc, "seen by the remover");
    net.off(0);
    net.put(1, &doc, "built on");
    net.put(2, &doc, "builds on it");
    net.put(1, &doc, "late");
    // 3 was away while this was written, and does not know of it when it writes there too.
    net.off(3);
    net.put(1, &other, "late, elsewhere");
    put_token(net.p(3), &other, "elsewhere, on its own");
    net.on(3);
    net.settle();
    assert_eq!(net.tokens(2, &doc).len(), 4, "applied before the removal is known");
    assert_eq!(net.tokens(3, &other).len(), 2);
    net.forget_events();
    let (branch, victim) = (net.branch, net.device(1));
    let heard = net.relay.ear(&key(2)).items.len();
    net.p(0).remove_device(branch, victim, Reason::Expelled).unwrap();
    assert_eq!(net.tokens(0, &doc), ["seen by the remover"]);
    let received = net.counters(1).items_received;
    let mut ear = net.relay.ear(&key(2));
    net.meet(&[0]);
    net.relay.hear(&mut ear);
    for round in 0..3 {
        for i in [0, 2, 3] {
            net.put(i, &other, &format!("after {round} by {i}"));
        }
        net.tend();
    }
    let space = net.space();
    net.p(2).send_presence(space, Bytes::from_static(b"here"));
    net.settle();
    net.relay.hear(&mut ear);
    // Nothing reaches it: on its old connection, or on a new one.
    assert_eq!(net.counters(1).items_received, received);
    assert!(ear.items.len() <= heard, "{} items before, {} after", heard, ear.items.len());
    assert!(ear.presence.is_empty());
    assert_eq!(net.relay.ear(&key(2)).items.len(), 0);
    // All phones say the same.
    net.assert_same(&[0, 2, 3], &doc, &KEPT);
    let after: Vec<String> = (0..3).flat_map(|r| [0, 2, 3].map(|i| format!("after {r} by {i}"))).collect();
    let mut elsewhere: Vec<&str> = after.iter().map(String::as_str).collect();
    elsewhere.push("elsewhere, on its own");
    net.assert_same(&[0, 2, 3], &other, &elsewhere);
    for i in [0, 2, 3] {
        let removed = |e: &Event| matches!(e, Event::DeviceRemoved { device, reason: Reason::Expelled, .. } if *device == victim);
        assert_eq!(net.told(i, removed), 1, "phone {i}");
        assert_eq!(net.p(i).set_aside_runs(&doc).unwrap() + net.p(i).set_aside_runs(&other).unwrap(), 2);
        assert_eq!((net.counters(i).mismatches, net.counters(i).refused), (0, 0), "phone {i}");
    }
    // What it writes from now on is nobody's, also its records.
    put_token(net.p(1), &doc, "written after");
    net.p(1).create_document(space, Writers::All).unwrap();
    net.settle();
    for i in [0, 2, 3] {
        assert_eq!(net.charter(i).documents().len(), 2);
    }
    net.assert_same(&[0, 2, 3], &doc, &KEPT);
    assert!(!net.relay.log.is_empty());
    // After a restart, from disk, the same.
    for i in [0, 2, 3] {
        net.reopen(i);
        net.on(i);
    }
    net.settle();
    net.assert_same(&[0, 2, 3], &doc, &KEPT);
    net.assert_same(&[0, 2, 3], &other, &elsewhere);
    println!(
        "removed: 0 items and 0 presence after it, 2 late runs on 0 of 3 phones, 1 run kept by who built on it"
    );
}

#[test]
fn whatever_the_order_of_arrival_all_phones_have_the_same() {
    let mut story = Story::new().told();
    story.remove();
    let Story { mut net, docs: [doc, other] } = story;
    // 2 goes on after it heard of the removal.
    net.put(2, &doc, "later");
    net.tend();
    let kept: Vec<&str> = KEPT.iter().copied().chain(["later"]).collect();
    net.assert_same(&[0, 2, 3], &doc, &kept);
    let hashes = [doc, other].map(|d| net.p(0).document_hash(&d).unwrap());
    let expected = [doc, other].map(|d| net.tokens(0, &d));
    let invitation = net.welcome(0, 3);
    let items: Vec<Bytes> = net.relay.log.values().cloned().collect();
    let records = parsed(&net.relay.log).iter().filter(|i| i.header().kind == Kind::Charter).count();
    let (mut applied_first, orders) = (0, 60);
    for seed in 0..orders {
        // The key of 3, on a phone that has nothing.
        let mut phone = scripted_relay::Phone::new(4);
        phone.replica.join_by_welcome(&invitation).unwrap();
        phone.connect(0);
        // Records in order for half of them, so that runs are applied before the removal comes.
        let mut order = shuffled(items.len(), seed);
        if seed % 2 == 0 {
            let is_removal = |i: &usize| {
                let raw = RawItem::parse(items[*i].clone()).unwrap();
                raw.header().kind == Kind::Charter
                    && matches!(Record::decode(raw.payload()), Ok(Record::Removal { .. }))
            };
            order.sort_by_key(|i| is_removal(i));
        }
        let mut most = 0;
        for (k, i) in order.iter().enumerate() {
            phone.deliver(&[items[*i].clone()]);
            // Some are looked at all the time, some only at the end.
            if seed % 3 != 0 && phone.replica.space_of(&doc).is_some() {
                most = most.max(tokens(&mut phone.replica, &doc).len());
            }
            if k == items.len() / 2 && seed % 5 == 0 {
                phone.replica.save_views().unwrap();
            }
        }
        applied_first += usize::from(most > kept.len());
        for (d, (hash, expected)) in [doc, other].iter().zip(hashes.iter().zip(&expected)) {
            assert_eq!(tokens(&mut phone.replica, d), *expected, "order {seed}");
            assert_eq!(phone.replica.document_hash(d).unwrap(), *hash, "order {seed}");
        }
        assert_eq!(phone.replica.counters().refused, 0, "order {seed}");
    }
    assert!(applied_first > 5, "{applied_first}");
    println!(
        "{orders} orders of {} items ({records} records): one document; in {applied_first} the late runs were applied first",
        items.len()
    );
}

#[test]
fn a_back_dated_run_is_refused_everywhere() {
    let Story { mut net, docs: [doc, _] } = Story::new();
    // The thief has the store as it was before the last runs that the remover saw.
    let stolen = net.copy(1);
    for i in 0..3 {
        net.put(1, &doc, &format!("honest {i}"));
    }
    let (branch, victim) = (net.branch, net.device(1));
    let stolen_later = net.copy(1);
    let log_then: Vec<Bytes> = net.relay.log.values().cloned().collect();
    let welcome_of_victim = net.welcome(0, 1);
    net.p(0).remove_device(branch, victim, Reason::Lost).unwrap();
    net.settle();
    let honest = parsed(&net.relay.log);
    let known: BTreeSet<ItemId> = honest.iter().map(RawItem::id).collect();
    // Other items under the same counters and beyond, by a relay of the thief's own.
    let mut forged: BTreeMap<ItemId, RawItem> = BTreeMap::new();
    for (seed, count) in [(70, 1), (71, 3), (72, 6)] {
        let mut thief = restored(&stolen, seed, 2);
        let mut evil = Relay::new();
        let peer = evil.connect(&mut thief);
        for i in 0..count {
            put_token(&mut thief, &doc, &format!("forged {seed} {i}"));
            evil.settle(&mut [(&mut thief, peer)]);
        }
        let new = parsed(&evil.log).into_iter().filter(|i| !known.contains(&i.id()));
        forged.extend(new.map(|i| (i.id(), i)));
    }
    // What goes on from what the remover saw, and what begins a new session with the bare key.
    let mut bare = phone(2);
    bare.join_by_welcome(&welcome_of_victim).unwrap();
    for mut thief in [restored(&stolen_later, 74, 2), bare] {
        let mut evil = Relay::of(log_then.clone(), 5);
        let peer = evil.connect(&mut thief);
        evil.settle(&mut [(&mut thief, peer)]);
        for i in 0..3 {
            put_token(&mut thief, &doc, &format!("forged, later {i}"));
            evil.settle(&mut [(&mut thief, peer)]);
        }
        let new = parsed(&evil.log).into_iter().filter(|i| !known.contains(&i.id()));
        forged.extend(new.map(|i| (i.id(), i)));
    }
    let mut forged: Vec<RawItem> = forged.into_values().collect();
    forged.sort_by_key(|i| (i.header().author, i.header().n()));
    let mark =
        honest.iter().filter(|i| i.header().author.device == victim).filter_map(|i| i.header().n()).max();
    let places: Vec<_> = forged.iter().map(|i| i.header().n().cmp(&mark)).collect();
    let within = places.iter().filter(|p| p.is_le()).count();
    assert!(within >= 5 && places.len() - within >= 2, "{places:?}");
    // The thief offers them itself; then an accomplice who is a member still carries them.
    let before = net.relay.log.len();
    let mut offer = |seed: u8| {
        let mut ear = net.relay.ear(&key(seed));
        for item in &forged {
            ear.put(item);
            net.relay.hear(&mut ear);
        }
        assert_eq!(ear.answers.len(), forged.len());
        ear.answers.values().filter(|a| a.is_none()).count()
    };
    let (own, carried) = (offer(2), offer(4));
    assert!(carried >= 3, "those that only an accomplice can bring");
    assert_eq!(own, 0, "the relay took an item from a removed device");
    assert_eq!(net.relay.log.len() - before, carried);
    let expected = ["honest 0", "honest 1", "honest 2"];
    net.settle();
    net.assert_same(&[0, 2, 3], &doc, &expected);
    // A relay that hands out everything, to phones that have what is honest.
    let welcome = net.welcome(0, 3);
    let orders = 20;
    for seed in 0..orders {
        let mut phone = scripted_relay::Phone::new(4);
        phone.replica.join_by_welcome(&welcome).unwrap();
        phone.connect(0);
        for item in &honest {
            phone.deliver(&[item.as_bytes().clone()]);
        }
        for i in shuffled(forged.len(), seed) {
            phone.deliver(&[forged[i].as_bytes().clone()]);
        }
        assert_eq!(tokens(&mut phone.replica, &doc), expected, "order {seed}");
    }
    println!(
        "{} back-dated runs: ({within} within the frontier's counters): {own} taken by the relay from the thief, {carried} from an accomplice, 0 counted on {} phones",
        forged.len(),
        3 + orders
    );
}

/// A relay that lies, and has the key of a stolen phone, to phones that have nothing yet or only a part.
#[test]
fn a_run_forged_in_an_honest_ones_place_gives_way() {
    let Story { mut net, docs: [doc, other] } = Story::new();
    net.put(1, &doc, "before");
    let stolen = net.copy(1);
    for i in 0..6 {
        let doc = if i % 3 == 1 { &other } else { &doc };
        net.put(1, doc, &format!("honest {i}"));
    }
    let (branch, victim) = (net.branch, net.device(1));
    net.p(0).remove_device(branch, victim, Reason::Lost).unwrap();
    net.settle();
    net.tend();
    let honest = parsed(&net.relay.log);
    let known: BTreeSet<ItemId> = honest.iter().map(RawItem::id).collect();
    let mut thief = restored(&stolen, 70, 2);
    let mut evil = Relay::new();
    let peer = evil.connect(&mut thief);
    for i in 0..4 {
        put_token(&mut thief, &doc, &format!("forged {i}"));
        evil.settle(&mut [(&mut thief, peer)]);
    }
    let forged: Vec<RawItem> = parsed(&evil.log).into_iter().filter(|i| !known.contains(&i.id())).collect();
    let run_of_victim = |i: &&RawItem| i.header().author.device == victim && i.header().kind == Kind::Run;
    let names = |i: &RawItem| (i.header().author, i.header().n());
    let places: BTreeSet<_> = honest.iter().filter(run_of_victim).map(names).collect();
    let in_place = forged.iter().filter(run_of_victim).filter(|i| places.contains(&names(i))).count();
    assert!(in_place >= 3, "{in_place} of {}", forged.len());
    let expected = [doc, other].map(|d| (net.tokens(0, &d), net.p(0).document_hash(&d).unwrap()));
    let welcome = net.welcome(0, 3);
    let is_removal = |i: &RawItem| {
        i.header().kind == Kind::Charter && matches!(Record::decode(i.payload()), Ok(Record::Removal { .. }))
    };
    let (records, runs): (Vec<RawItem>, Vec<RawItem>) =
        honest.iter().cloned().partition(|i| i.header().kind == Kind::Charter);
    let (mut took_out, orders) = (0, 60);
    for seed in 0..orders {
        let mut phone = scripted_relay::Phone::new(4);
        phone.replica.join_by_welcome(&welcome).unwrap();
        phone.connect(0);
        let deliver = |phone: &mut scripted_relay::Phone, i: &RawItem| phone.deliver(&[i.as_bytes().clone()]);
        // Half of the phones hear of the removal last, and have what was there before in their documents.
        let late = seed % 2 == 1;
        records.iter().filter(|i| !late || !is_removal(i)).for_each(|i| deliver(&mut phone, i));
        let bound = if seed % 4 < 2 { 2 } else { 3 };
        let below = runs.iter().filter(|i| !run_of_victim(i) || i.header().n() < Some(bound));
        below.for_each(|i| deliver(&mut phone, i));
        if late {
            let had = tokens(&mut phone.replica, &doc);
            assert!(!had.is_empty());
            records.iter().filter(|i| is_removal(i)).for_each(|i| deliver(&mut phone, i));
            assert_eq!(tokens(&mut phone.replica, &doc), had, "what was read stays, order {seed}");
        }
        forged.iter().for_each(|i| deliver(&mut phone, i));
        let shown = [doc, other].map(|d| tokens(&mut phone.replica, &d)).concat();
        assert!(!shown.iter().any(|t| t.starts_with("forged")), "order {seed}: {shown:?}");
        // The rest comes, by whatever way.
        for i in shuffled(runs.len(), seed) {
            deliver(&mut phone, &runs[i]);
            if seed % 5 == 0 {
                deliver(&mut phone, &forged[i % forged.len()]);
            }
        }
        for (d, (tokens_then, hash)) in [doc, other].iter().zip(&expected) {
            assert_eq!(tokens(&mut phone.replica, d), *tokens_then, "order {seed}");
            assert_eq!(phone.replica.document_hash(d).unwrap(), *hash, "order {seed}");
        }
        took_out += phone.replica.counters().refused;
        let mut again = restored(&phone.replica.close().unwrap(), 9, 4);
        assert_eq!(again.document_hash(&doc).unwrap(), expected[0].1, "order {seed}, opened again");
    }
    assert!(took_out > 0);
    println!(
        "{} forged runs, {in_place} in the place of an honest one, to {orders} phones: 0 shown, also while the honest ones were withheld; {took_out} taken out or refused",
        forged.len()
    );
}
