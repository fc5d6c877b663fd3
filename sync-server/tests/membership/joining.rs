//! Joining by codes: what a welcome pins, and what becomes of one that is forged, swapped, shown twice or is another's.

use dinh_core::path;
use dinh_core::replica::{Event, ReplicaError};
use dinh_proto::charter::record::{Audience, Reason, Record, Role, Writers};
use dinh_proto::ids::{DocId, ItemId};
use dinh_proto::item::{Kind, RawItem};
use dinh_proto::join::{Code, CodeKind, JoinError, Welcome};
use dinh_proto::limits;

use crate::pair_common::net::{Net, ROOT, member};
use crate::pair_common::{NOW, Relay, relay_key};

fn with_document(roles: &[Role]) -> (Net, DocId) {
    let mut net = Net::branch(roles);
    let branch = net.branch;
    let space = net.p(0).create_space(branch, Audience::Everyone).unwrap();
    let doc = net.p(0).create_document(space, Writers::All).unwrap();
    net.p(0).edit(NOW, &doc, None, |e| e.put_map(&path!["tokens"])).unwrap();
    net.settle();
    (net, doc)
}

/// As from a screen to a camera, or through a message that wraps lines.
fn through_text(code: Code) -> Code {
    let link = code.link();
    let wrapped: Vec<&str> = link.as_bytes().chunks(40).map(|c| std::str::from_utf8(c).unwrap()).collect();
    Code::parse(wrapped.join("\r\n  ").as_bytes()).unwrap()
}

fn joined(e: &Event) -> bool {
    matches!(e, Event::Joined { .. })
}

fn failed(e: &Event) -> bool {
    matches!(e, Event::JoinFailed { .. })
}

#[test]
fn a_phone_joins_by_two_codes_and_everybody_hears_of_it() {
    let (mut net, doc) = with_document(&[Role::Member, Role::Member]);
    net.put(0, &doc, "before");
    net.forget_events();
    let new = net.add();
    let branch = net.branch;
    // The new phone shows its code, the secretary scans it.
    let shown = through_text(Code::from(net.p(new).join_request()));
    assert!(matches!(
        shown.clone().into_welcome(),
        Err(JoinError::WrongCode { expected: CodeKind::Welcome, found: CodeKind::Join })
    ));
    let request = shown.into_join().unwrap();
    let device = request.public.id();
    net.p(0).admit_device(branch, member(new), Role::Probationary, request, "máy mới").unwrap();
    let shown = through_text(Code::from(net.welcome(0, new)));
    assert!(shown.clone().into_join().is_err() && shown.clone().into_root().is_err());
    let welcome = shown.into_welcome().unwrap();
    assert!(welcome.address().ends_with(&relay_key().public().to_string()));
    net.p(new).join_by_welcome(&welcome).unwrap();
    // It is connected before the secretary is, who was admitting without a network.
    net.meet(&[new]);
    net.tend();
    net.put(new, &doc, "by the new one");
    net.assert_same(&[0, 1, 2, new], &doc, &["before", "by the new one"]);
    assert_eq!((net.told(new, joined), net.told(new, failed)), (1, 0));
    for i in [0, 1, 2] {
        let added = |e: &Event| matches!(e, Event::DeviceAdded { device: d, role: Role::Probationary, .. } if *d == device);
        assert_eq!(net.told(i, added), 1, "phone {i}");
        assert_eq!(net.p(i).device_name(&branch, &device).as_deref(), Some("máy mới"));
    }
    // The welcome again, also after a restart, changes nothing and says nothing.
    net.forget_events();
    for _ in 0..2 {
        net.p(new).join_by_welcome(&welcome).unwrap();
        net.tend();
        net.reopen(new);
        net.meet(&[new]);
    }
    assert_eq!((net.told(new, joined), net.told(new, failed), net.charter(0).devices().len()), (0, 0, 4));
    net.assert_same(&[0, 1, 2, new], &doc, &["before", "by the new one"]);
    let root = through_text(Code::from(dinh_proto::join::RootKey::new(&ROOT, branch))).into_root().unwrap();
    assert_eq!(root.sign_key().public(), net.charter(new).root().unwrap());
    println!("joined by 2 codes through text: 3 of 3 phones told once, 2 repeats without effect");
}

#[test]
fn a_welcome_that_is_not_this_phones_fails_and_the_right_one_still_works() {
    let mut cases = 0;
    for case in ["another's", "swapped", "forged", "of nobody, then a certificate"] {
        let (mut net, doc) = with_document(&[Role::Member]);
        let branch = net.branch;
        let (new, other) = (net.add(), net.add());
        let (ours, theirs) = (net.p(new).join_request(), net.p(other).join_request());
        net.p(0).admit_device(branch, member(other), Role::Member, theirs, "other").unwrap();
        let others = net.welcome(0, other);
        if case != "another's" {
            net.p(0).admit_device(branch, member(new), Role::Member, ours.clone(), "new").unwrap();
        }
        let certificate = match case {
            "another's" | "swapped" => others.certificate(),
            _ => ItemId([7; 32]),
        };
        let wrong = Welcome::new(branch, certificate, relay_key().public(), "wss://a.b").unwrap();
        net.p(new).join_by_welcome(&wrong).unwrap();
        net.meet(&[new]);
        net.tend();
        // Who is in no charter is sent nothing; it hears of its failure when there is something to hear.
        if case == "another's" {
            net.p(0).admit_device(branch, member(new), Role::Member, ours, "new").unwrap();
            net.settle();
            net.tend();
        }
        assert_eq!((net.told(new, joined), net.told(new, failed)), (0, 1), "{case}");
        // Once is enough, also after a restart.
        net.reopen(new);
        net.meet(&[new]);
        net.tend();
        assert_eq!((net.told(new, joined), net.told(new, failed)), (0, 1), "{case}, after a restart");
        let right = net.welcome(0, new);
        net.p(new).join_by_welcome(&right).unwrap();
        net.settle();
        assert_eq!((net.told(new, joined), net.told(new, failed)), (1, 1), "{case}");
        net.put(new, &doc, "in");
        net.assert_same(&[0, 1, new], &doc, &["in"]);
        cases += 1;
    }
    println!("wrong welcomes: {cases} of {cases} failed once each, then the right one worked");
}

#[test]
fn a_relay_that_withholds_a_removal_from_a_newcomer_is_found_out() {
    let (mut net, doc) = with_document(&[Role::Member, Role::Member]);
    let branch = net.branch;
    net.put(1, &doc, "by 1");
    let device = net.device(1);
    net.p(0).remove_device(branch, device, Reason::Expelled).unwrap();
    net.settle();
    let new = net.add();
    let request = net.p(new).join_request();
    net.p(0).admit_device(branch, member(new), Role::Member, request, "new").unwrap();
    net.settle();
    let welcome = net.welcome(0, new);
    let is_removal = |raw: &RawItem| {
        raw.header().kind == Kind::Charter
            && matches!(Record::decode(raw.payload()), Ok(Record::Removal { .. }))
    };
    let kept: Vec<_> = net
        .relay
        .log
        .values()
        .filter(|bytes| !is_removal(&RawItem::parse((*bytes).clone()).unwrap()))
        .cloned()
        .collect();
    assert_eq!(kept.len() + 1, net.relay.log.len());
    let honest = std::mem::replace(&mut net.relay, Relay::of(kept, 9));
    (0..3).for_each(|i| {
        net.nodes[i].peer = None;
        net.p(i).handle_disconnected();
    });
    net.p(new).join_by_welcome(&welcome).unwrap();
    net.meet(&[new]);
    let withheld = |e: &Event| matches!(e, Event::Withheld { chains: 1, .. });
    assert!(net.told(new, withheld) >= 1);
    assert!(net.charter(new).devices().contains_key(&device));
    // The honest one fills the gap, and there is nothing more to say.
    net.off(new);
    net.relay = honest;
    net.forget_events();
    net.meet(&[0, 2, new]);
    net.tend();
    assert_eq!(net.told(new, withheld), 0);
    assert!(net.charter(new).removed().contains_key(&device));
    net.assert_same(&[0, 2, new], &doc, &["by 1"]);
    println!("withheld removal: found out at the first sync, gone at an honest relay");
}

#[test]
fn members_add_their_own_phones_up_to_a_number() {
    let (mut net, doc) = with_document(&[Role::Member, Role::Reader]);
    let branch = net.branch;
    let (mut admitted, mut last) = (1, 1);
    loop {
        let new = net.add();
        let request = net.p(new).join_request();
        net.forget_events();
        if let Err(error) = net.p(last).admit_own_device(branch, request.clone(), "own") {
            assert!(matches!(error, ReplicaError::NotAuthorised(_)), "{error}");
            assert!(net.p(0).admit_device(branch, member(1), Role::Member, request, "own").is_err());
            break;
        }
        let welcome = net.welcome(last, new);
        net.p(new).join_by_welcome(&welcome).unwrap();
        net.meet(&[new]);
        net.put(new, &doc, &format!("phone {admitted}"));
        for i in 0..net.nodes.len() - 1 {
            assert_eq!(net.told(i, |e| matches!(e, Event::DeviceAdded { .. })), 1, "phone {i}");
        }
        admitted += 1;
        last = new;
    }
    assert_eq!(admitted, limits::DEVICES_PER_MEMBER_MAX);
    // Not another member's, not by who only reads, not with another role.
    let other = net.add();
    let request = net.p(other).join_request();
    assert!(net.p(1).admit_device(branch, member(9), Role::Member, request.clone(), "x").is_err());
    assert!(net.p(1).admit_device(branch, member(1), Role::Committee, request.clone(), "x").is_err());
    assert!(net.p(2).admit_own_device(branch, request, "x").is_err());
    net.settle();
    assert_eq!(net.charter(0).devices().len(), 2 + admitted);
    println!("own phones: {admitted} of {} admitted, 4 attempts refused", limits::DEVICES_PER_MEMBER_MAX);
}
