//! Who opens what: a removed device, two concurrent rotations, an officer whom somebody tries to lock out.

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::path;
use dinh_proto::charter::record::{Audience, EpochRecord, Reason, Record, Role, Writers};
use dinh_proto::crypto::{SpaceKey, WrapContext, unwrap};
use dinh_proto::ids::{DocId, EpochId, SpaceId};
use dinh_proto::item::{Draft, Item, Kind, Place, RawItem};
use dinh_proto::keys::DeviceKey;

use crate::pair_common::net::{Net, member, shuffled};
use crate::pair_common::{NOW, key, parsed, put_token, tokens};
use crate::scripted_relay;

fn document(net: &mut Net) -> DocId {
    let branch = net.branch;
    let space = net.p(0).create_space(branch, Audience::Everyone).unwrap();
    let doc = net.p(0).create_document(space, Writers::All).unwrap();
    net.p(0).edit(NOW, &doc, None, |e| e.put_map(&path!["tokens"])).unwrap();
    net.settle();
    doc
}

/// Every key that a device gets out of these items, by space.
pub(crate) fn keys_of(
    device: &DeviceKey,
    branch: SpaceId,
    items: &[RawItem],
) -> BTreeMap<SpaceId, Vec<SpaceKey>> {
    let mut keys: BTreeMap<(SpaceId, EpochId), SpaceKey> = BTreeMap::new();
    let records: Vec<Record> = items
        .iter()
        .filter(|i| i.header().kind == Kind::Charter)
        .map(|i| Record::decode(i.payload()).unwrap())
        .collect();
    for record in &records {
        let (space, id, wraps) = match record {
            Record::Epoch(e) => (e.space, e.id, &e.wraps),
            Record::Wraps { space, epoch, wraps } => (*space, *epoch, wraps),
            _ => continue,
        };
        for wrap in wraps {
            if let Ok(key) = unwrap(device, &WrapContext { branch, space }, &id, wrap) {
                keys.insert((space, id), key);
            }
        }
    }
    loop {
        let before = keys.len();
        for record in &records {
            let Record::Epoch(epoch) = record else { continue };
            for sealed in &epoch.prev {
                for key in keys.values().cloned().collect::<Vec<_>>() {
                    if let Ok(older) = key.open_key(sealed, &epoch.space) {
                        keys.insert((epoch.space, older.id()), older);
                    }
                }
            }
        }
        if keys.len() == before {
            break;
        }
    }
    let mut found: BTreeMap<SpaceId, Vec<SpaceKey>> = BTreeMap::new();
    keys.into_iter().for_each(|((space, _), key)| found.entry(space).or_default().push(key));
    found
}

#[test]
fn a_removed_device_with_everything_the_relay_has_opens_nothing_new() {
    let mut net = Net::branch(&[Role::Deputy, Role::Member, Role::Member]);
    let doc = document(&mut net);
    let branch = net.branch;
    let committee =
        net.p(0).create_space(branch, Audience::Members(vec![member(0), member(2), member(3)])).unwrap();
    let secret = net.p(0).create_document(committee, Writers::All).unwrap();
    net.p(0).edit(NOW, &secret, None, |e| e.put_map(&path!["tokens"])).unwrap();
    net.settle();
    for round in 0..10 {
        for i in [0, 2, 3] {
            net.put(i, &doc, &format!("old {round} {i}"));
            net.put(i, &secret, &format!("old {round} {i}"));
        }
    }
    let victim = net.device(2);
    let before = net.relay.log.len();
    net.p(0).remove_device(branch, victim, Reason::Expelled).unwrap();
    net.settle();
    for round in 0..10 {
        for i in [0, 3] {
            net.put(i, &doc, &format!("new {round} {i}"));
            net.put(i, &secret, &format!("new {round} {i}"));
        }
    }
    let space = net_space(&net, &doc);
    net.p(1).rotate_key(space).unwrap();
    net.put(1, &doc, "newest");
    net.admit_named(member(7), 77, "new after the removal");
    net.settle();
    net.tend();
    // All that the relay has, all keys that the removed device can get of it, on every item.
    let items = parsed(&net.relay.log);
    let keys = keys_of(&key(3), branch, &items);
    let tries = keys.values().map(Vec::len).sum::<usize>();
    let (mut old, mut new, mut opened_old, mut opened_new) = (0, 0, 0, 0);
    for (n, raw) in items.iter().enumerate().filter(|(_, i)| i.header().kind != Kind::Charter) {
        let item: Item = raw.clone().trust();
        let opens = keys.values().flatten().any(|key| key.open(&item, false).is_ok());
        let (count, opened) =
            if n < before { (&mut old, &mut opened_old) } else { (&mut new, &mut opened_new) };
        *count += 1;
        *opened += usize::from(opens);
    }
    assert!(new > 40 && old > 60, "{new} {old}");
    assert_eq!((opened_new, opened_old), (0, old));
    // Names of who came later neither; who is still in opens everything.
    let named = net.charter(0).devices().values().filter(|d| !d.name.is_empty());
    let names: Vec<bool> =
        named.map(|d| keys[&branch].iter().any(|k| k.open_name(&d.public, &d.name).is_ok())).collect();
    assert_eq!(names.iter().filter(|open| !**open).count(), 1, "{names:?}");
    let keys = keys_of(&key(4), branch, &items);
    let all = items.iter().filter(|i| i.header().kind != Kind::Charter);
    let opened =
        all.filter(|i| keys.values().flatten().any(|k| k.open(&(*i).clone().trust(), false).is_ok())).count();
    assert_eq!(opened, old + new);
    println!(
        "removed device: {tries} keys on {new} new items: {opened_new} opened; on {old} old ones: {opened_old}; a member opens {opened}"
    );
}

fn net_space(net: &Net, doc: &DocId) -> SpaceId {
    net.charter(0).documents()[doc].space
}

#[test]
fn two_concurrent_rotations_and_sixty_phones_in_any_order() {
    const PHONES: usize = 60;
    let mut net = Net::branch(&[Role::Deputy, Role::Member]);
    let doc = document(&mut net);
    let space = net_space(&net, &doc);
    net.put(2, &doc, "before");
    let keys: Vec<u8> = (100..100 + PHONES as u8).collect();
    for seed in &keys {
        net.admit_named(member(usize::from(*seed)), *seed, "phone");
    }
    net.settle();
    (0..3).for_each(|i| net.off(i));
    for i in [0, 1] {
        net.p(i).rotate_key(space).unwrap();
        put_token(net.p(i), &doc, &format!("under {i}'s new key"));
    }
    put_token(net.p(2), &doc, "under the old key");
    let drawn: BTreeSet<EpochId> =
        [0, 1].map(|i| net.charter(i).current_epoch(&space).unwrap().0).into_iter().collect();
    assert_eq!(drawn.len(), 2);
    net.meet(&[2, 1, 0]);
    for i in 0..3 {
        net.put(i, &doc, &format!("after, by {i}"));
    }
    net.tend();
    let expected = net.tokens(0, &doc);
    assert_eq!(expected.len(), 7);
    let now = net.charter(0).current_epoch(&space).unwrap().0;
    let items: Vec<_> = net.relay.log.values().cloned().collect();
    let (mut read, mut agree) = (0, 0);
    for (n, seed) in keys.iter().enumerate() {
        let mut phone = scripted_relay::Phone::new(*seed);
        let device = phone.replica.device();
        let relay = crate::pair_common::relay_key().public();
        let welcome = net.nodes[0].phone.welcome(net.branch, device, relay, "wss://a.b").unwrap();
        phone.replica.join_by_welcome(&welcome).unwrap();
        phone.connect(0);
        let order: Vec<_> = shuffled(items.len(), n as u64).into_iter().map(|i| items[i].clone()).collect();
        order.chunks(1 + n % 7).for_each(|chunk| phone.deliver(chunk));
        assert_eq!(tokens(&mut phone.replica, &doc), expected, "phone {n}");
        assert_eq!(phone.replica.waiting_runs(&doc).unwrap(), 0);
        read += 1;
        let current = phone.replica.charters()[&net.branch].current_epoch(&space).unwrap().0;
        // What it writes is under that epoch.
        put_token(&mut phone.replica, &doc, "by this phone");
        phone.run();
        let written = RawItem::parse(phone.puts.last().unwrap().clone()).unwrap();
        agree += usize::from(current == now && written.header().key_epoch == now.hint());
    }
    assert_eq!((read, agree), (PHONES, PHONES));
    println!(
        "2 concurrent rotations, {} items in random order: {read} of {PHONES} read all, {agree} write under one epoch",
        items.len()
    );
}

/// A record by phone `i` that production code would not make.
fn forge(net: &mut Net, i: usize, record: &Record) -> RawItem {
    net.off(i);
    let (branch, device) = (net.branch, net.device(i));
    let own = parsed(&net.relay.log);
    let last = own
        .iter()
        .filter(|r| r.header().space == branch && r.header().author.device == device)
        .max_by_key(|r| r.header().n());
    let session = last.map_or(net.nodes[i].phone.session(), |r| r.header().author.session);
    let place = Place::Chain {
        n: last.and_then(|r| r.header().n()).unwrap_or(0) + 1,
        prev: last.map_or([0; 16], |r| r.id().link()),
    };
    let draft = Draft {
        kind: Kind::Charter,
        space: branch,
        doc: DocId::default(),
        session,
        place,
        first_seq: 0,
        count: 0,
        last: Default::default(),
        charter_tag: net.charter(0).tag(),
    };
    draft.sign(&key(net.nodes[i].seed), &record.encode()).unwrap().as_raw().clone()
}

#[test]
fn nobody_locks_a_space_away() {
    for generation in [2, 3, 1_025, 1_026, u32::MAX] {
        let mut net = Net::branch(&[Role::Deputy, Role::Member, Role::Member]);
        let doc = document(&mut net);
        let (space, branch) = (net_space(&net, &doc), net.branch);
        net.put(2, &doc, "before");
        // 3 draws a key that it hands to itself only.
        let key3 = SpaceKey::generate(&[33; 32]);
        let context = WrapContext { branch, space };
        let own = net.nodes[3].phone.join_request().public;
        let wraps = vec![key3.wrap(&context, &own, &[34; 32])];
        let record = EpochRecord { space, generation, id: key3.id(), issued: 0, prev: Vec::new(), wraps };
        let item = forge(&mut net, 3, &Record::Epoch(Box::new(record)));
        let mut ear = net.relay.ear(&key(4));
        ear.put(&item);
        net.relay.hear(&mut ear);
        let taken = ear.answers[&item.id()].is_none();
        net.settle();
        // While nobody has the key what is written stays pending, and is not lost.
        for i in [0, 1, 2] {
            put_token(net.p(i), &doc, &format!("meanwhile {i}"));
        }
        net.settle();
        if taken {
            assert!((0..3).all(|i| net.nodes[i].phone.status().pending > 0), "generation {generation}");
        }
        net.tend();
        net.tend();
        for i in [0, 1, 2] {
            net.put(i, &doc, &format!("after {i}"));
        }
        let all = ["before", "meanwhile 0", "meanwhile 1", "meanwhile 2", "after 0", "after 1", "after 2"];
        net.assert_same(&[0, 1, 2], &doc, &all);
        // The one who tried is removed: again a new key, and they go on.
        let device = net.device(3);
        net.p(0).remove_device(branch, device, Reason::Expelled).unwrap();
        net.put(2, &doc, "without it");
        assert!(!net.charter(0).rotation_due(&space));
        let all: Vec<&str> = all.into_iter().chain(["without it"]).collect();
        net.assert_same(&[0, 1, 2], &doc, &all);
        println!(
            "an epoch of generation {generation} for its author only (taken by the relay: {taken}): 3 of 3 go on, 0 lost"
        );
    }
}
