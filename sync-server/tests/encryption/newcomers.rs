//! Newcomers: what they can read of the past.

use dinh_core::path;
use dinh_core::replica::{LinkState, SpaceOptions};
use dinh_proto::charter::record::{Audience, Reason, Role, Writers};
use dinh_proto::ids::DocId;

use crate::pair_common::net::Net;
use crate::pair_common::{NOW, put_token};

fn document(net: &mut Net, history: bool) -> DocId {
    let branch = net.branch;
    let options = SpaceOptions { history, padded: false };
    let space = net.p(0).create_space_with(branch, Audience::Everyone, options).unwrap();
    another(net, space)
}

fn another(net: &mut Net, space: dinh_proto::ids::SpaceId) -> DocId {
    let doc = net.p(0).create_document(space, Writers::All).unwrap();
    net.p(0).edit(NOW, &doc, None, |e| e.put_map(&path!["tokens"])).unwrap();
    net.settle();
    doc
}

#[test]
fn a_newcomer_reads_the_past_where_it_may_and_only_there() {
    let mut net = Net::branch(&[Role::Member, Role::Member]);
    let (open, closed) = (document(&mut net, true), document(&mut net, false));
    let closed_space = net.charter(0).documents()[&closed].space;
    let open_space = net.charter(0).documents()[&open].space;
    // Several keys deep.
    for round in 0..5 {
        for i in 0..3 {
            net.put(i, &open, &format!("{round} by {i}"));
            net.put(i, &closed, &format!("{round} by {i}"));
        }
        net.p(0).rotate_key(open_space).unwrap();
        net.p(0).rotate_key(closed_space).unwrap();
        net.settle();
    }
    let new = net.add();
    net.admit(new, Role::Member);
    net.tend();
    let all = net.tokens(0, &open);
    assert_eq!(all.len(), 15);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    net.assert_same(&[0, 1, 2, new], &open, &all);
    // Of the other space nothing of what was, and nothing hangs.
    assert_eq!(net.tokens(new, &closed), [""; 0]);
    let status = net.p(new).status();
    assert_eq!((status.link, status.pending), (LinkState::Live, 0));
    let waiting = net.p(new).waiting_runs(&closed).unwrap();
    assert!(waiting > 0);
    // A document that comes after it: both ways.
    let later = another(&mut net, closed_space);
    net.put(new, &later, "by the newcomer");
    net.put(1, &later, "by another");
    net.assert_same(&[0, 1, 2, new], &later, &["by another", "by the newcomer"]);
    // Others go on in the old one, which the newcomer cannot follow; it stays quiet about it.
    net.put(1, &closed, "going on");
    net.tend();
    let old = net.tokens(0, &closed);
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    net.assert_same(&[0, 1, 2], &closed, &old);
    net.reopen(new);
    net.meet(&[new]);
    net.put(new, &later, "after a restart");
    net.assert_same(&[0, 1, 2, new], &later, &["by another", "by the newcomer", "after a restart"]);
    assert_eq!(net.p(new).status().link, LinkState::Live);
    println!(
        "newcomer: 15 of 15 where there is history, 0 of 15 where not ({waiting} runs kept unread), new documents 3 of 3"
    );
}

#[test]
fn what_is_written_without_a_key_waits_and_is_sent_when_the_key_comes() {
    let mut net = Net::branch(&[Role::Member, Role::Member]);
    let doc = document(&mut net, true);
    let (branch, device) = (net.branch, net.device(2));
    net.put(1, &doc, "before");
    // The secretary removes 2 and is gone before 1 gets the new key: 1 has the removal, and no key to write under.
    let log = net.relay.log.len();
    net.off(1);
    net.p(0).remove_device(branch, device, Reason::Lost).unwrap();
    net.settle();
    net.off(0);
    let all: Vec<_> = net.relay.log.values().cloned().collect();
    let removal: Vec<_> = all[..=log].to_vec();
    assert!(all.len() > removal.len() + 1);
    let whole = std::mem::replace(&mut net.relay, crate::pair_common::Relay::of(removal, 9));
    net.nodes[2].peer = None;
    net.p(2).handle_disconnected();
    net.meet(&[1]);
    for i in 0..20 {
        put_token(net.p(1), &doc, &format!("pending {i}"));
    }
    net.tend();
    let status = net.p(1).status();
    assert_eq!((status.pending, status.link), (20, LinkState::Live));
    assert_eq!(net.tokens(1, &doc).len(), 21);
    net.reopen(1);
    assert_eq!(net.p(1).status().pending, 20);
    net.relay = whole;
    net.meet(&[1]);
    net.meet(&[0]);
    net.tend();
    assert_eq!(net.tokens(0, &doc).len(), 21);
    let all = net.tokens(0, &doc);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    net.assert_same(&[0, 1], &doc, &all);
    println!("without a key: 20 changes pending, also after a restart; then 20 of 20 sent");
}
