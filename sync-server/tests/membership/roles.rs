//! Other roles, readers of a space, threads that not all officers read.

use dinh_core::path;
use dinh_core::replica::{ReplicaError, SpaceOptions};
use dinh_proto::charter::record::{Audience, Reason, Record, Role, Writers};
use dinh_proto::ids::DocId;
use dinh_proto::item::Kind;

use crate::pair_common::net::{Net, member};
use crate::pair_common::{NOW, key, parsed, put_token};

fn document(net: &mut Net, audience: Audience, writers: Writers) -> DocId {
    let branch = net.branch;
    let space = net.p(0).create_space(branch, audience).unwrap();
    let doc = net.p(0).create_document(space, writers).unwrap();
    net.p(0).edit(NOW, &doc, None, |e| e.put_map(&path!["tokens"])).unwrap();
    net.settle();
    doc
}

#[test]
fn what_a_deputy_wrote_before_the_role_changed_counts_and_what_came_after_does_not() {
    let mut net = Net::branch(&[Role::Deputy, Role::Member]);
    let minutes = document(&mut net, Audience::Everyone, Writers::Officers);
    let talk = {
        let s = net_space(&minutes, &net);
        net.p(0).create_document(s, Writers::All)
    }
    .unwrap();
    net.p(0).edit(NOW, &talk, None, |e| e.put_map(&path!["tokens"])).unwrap();
    net.put(1, &minutes, "as deputy");
    net.put(0, &minutes, "by the secretary");
    // Nobody builds on this one: it counts by right alone.
    net.put(1, &minutes, "as deputy, last");
    let branch = net.branch;
    net.off(1);
    net.p(0).change_role(branch, member(1), Role::Member).unwrap();
    net.settle();
    // It does not know yet: two runs of minutes, one of talk.
    put_token(net.p(1), &minutes, "late");
    net.pass(std::time::Duration::from_secs(3));
    put_token(net.p(1), &minutes, "late again");
    put_token(net.p(1), &talk, "as a member");
    assert_eq!(net.tokens(1, &minutes).len(), 5);
    net.meet(&[1]);
    net.tend();
    net.assert_same(&[0, 1, 2], &minutes, &["as deputy", "by the secretary", "as deputy, last"]);
    net.assert_same(&[0, 1, 2], &talk, &["as a member"]);
    for i in 0..3 {
        assert_eq!(net.charter(i).devices()[&net.device(1)].role, Role::Member);
    }
    assert!(matches!(net.p(1).may_write(&minutes), Err(ReplicaError::NotAuthorised(_))));
    // Named a recorder of this one document, it writes there again, and nothing that came between comes back.
    net.p(0).name_recorder(minutes, member(1)).unwrap();
    net.settle();
    net.put(1, &minutes, "as recorder");
    let other = {
        let s = net_space(&minutes, &net);
        net.p(0).create_document(s, Writers::Officers)
    }
    .unwrap();
    net.settle();
    assert!(net.p(1).may_write(&other).is_err() && net.p(2).may_write(&minutes).is_err());
    let now = net.tokens(0, &minutes);
    let now: Vec<&str> = now.iter().map(String::as_str).collect();
    assert!(now.contains(&"as recorder"));
    net.assert_same(&[0, 1, 2], &minutes, &now);
    println!("deputy -> member -> recorder: {now:?} on 3 of 3 phones");
}

fn net_space(doc: &DocId, net: &Net) -> dinh_proto::ids::SpaceId {
    net.charter(0).documents()[doc].space
}

#[test]
fn typing_under_way_when_the_right_is_lost_breaks_nothing() {
    let mut net = Net::branch(&[Role::Deputy, Role::Member]);
    let minutes = document(&mut net, Audience::Everyone, Writers::Officers);
    net.p(0).edit(NOW, &minutes, None, |e| e.put_text(&path!["text"])).unwrap();
    net.settle();
    net.put(1, &minutes, "as deputy");
    let now = net.relay.now;
    net.p(1).type_text(now, &minutes, &path!["text"], "gõ dở", false).unwrap();
    let branch = net.branch;
    net.p(0).change_role(branch, member(1), Role::Member).unwrap();
    net.settle();
    net.tend();
    net.put(0, &minutes, "by the secretary");
    net.assert_same(&[0, 1, 2], &minutes, &["as deputy", "by the secretary"]);
    // The same with a removal: the phone goes on to show what it has.
    net.p(2).view(&minutes, |v| v.text(&path!["text"])).unwrap();
    println!("typing when the role changes: 3 of 3 phones go on");
}

#[test]
fn a_member_who_becomes_a_reviewer_loses_the_space_and_gets_no_new_keys() {
    let mut net = Net::branch(&[Role::Member, Role::Member]);
    let doc = document(&mut net, Audience::Everyone, Writers::All);
    net.put(1, &doc, "as a member");
    let (branch, device, space) = (net.branch, net.device(1), net_space(&doc, &net));
    let received = net.counters(1).items_received;
    net.p(0).change_role(branch, member(1), Role::Reviewer).unwrap();
    net.settle();
    for i in 0..3 {
        net.put(0, &doc, &format!("without it {i}"));
    }
    net.tend();
    assert!(net.charter(1).readable(&device).contains(&branch) && !net.charter(1).can_read(&device, &space));
    let runs = parsed(&net.relay.log);
    let (_, epoch) = net.charter(1).current_epoch(&space).unwrap();
    assert!(!epoch.wraps.contains_key(&dinh_proto::crypto::Wrap::tag_of(&device)));
    let got = net.relay.ear(&key(2)).items;
    let in_space = got
        .iter()
        .filter(|b| dinh_proto::item::RawItem::parse((*b).clone()).unwrap().header().space == space);
    assert_eq!(in_space.count(), 0);
    net.assert_same(&[0, 2], &doc, &["as a member", "without it 0", "without it 1", "without it 2"]);
    assert!(net.p(1).may_write(&doc).is_err());
    // And back: it has everything.
    net.p(0).change_role(branch, member(1), Role::Member).unwrap();
    net.settle();
    net.tend();
    net.put(1, &doc, "back");
    net.assert_same(
        &[0, 1, 2],
        &doc,
        &["as a member", "without it 0", "without it 1", "without it 2", "back"],
    );
    println!("reviewer: 0 of {} items of the space, then all; {} items before", runs.len(), received);
}

#[test]
fn who_is_taken_off_a_committee_space_and_granted_again_has_everything_again() {
    let mut net = Net::branch(&[Role::Committee, Role::Committee, Role::Member]);
    let audience = Audience::Members(vec![member(0), member(1), member(2)]);
    let doc = document(&mut net, audience, Writers::All);
    let space = net_space(&doc, &net);
    net.put(1, &doc, "one");
    for round in 0..3 {
        net.p(0).revoke(space, member(1)).unwrap();
        net.settle();
        let device = net.device(1);
        assert!(!net.charter(2).can_read(&device, &space) && !net.charter(2).rotation_due(&space));
        // A round without the network: what it writes then does not count until it is granted again.
        net.put(2, &doc, &format!("without 1, {round}"));
        assert!(matches!(net.p(1).may_write(&doc), Err(ReplicaError::NotAuthorised(_))));
        assert!(!net.tokens(1, &doc).contains(&format!("without 1, {round}")));
        net.tend();
        net.p(2).grant(space, member(1)).unwrap_err();
        net.p(0).grant(space, member(1)).unwrap();
        net.settle();
        net.tend();
        net.put(1, &doc, &format!("again, {round}"));
        net.put(2, &doc, &format!("with 1, {round}"));
        let all = net.tokens(2, &doc);
        assert_eq!(all.len(), 1 + 3 * (round + 1));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        net.assert_same(&[0, 1, 2], &doc, &all);
        assert_eq!(net.counters(1).refused, 0);
    }
    let member_3 = net.device(3);
    assert!(!net.charter(3).can_read(&member_3, &space));
    println!("revoked and granted 3 times: 10 of 10 entries on 3 of 3 phones");
}

#[test]
fn readers_of_a_thread_keep_the_words_of_a_member_whom_a_stranger_to_it_removes() {
    // 1: the deputy, not in the thread; 2, 3: on the committee; 4: the member who writes to them.
    let mut net = Net::branch(&[Role::Deputy, Role::Committee, Role::Committee, Role::Member]);
    let branch = net.branch;
    let options = SpaceOptions { history: false, padded: true };
    let audience = Audience::Members(vec![member(2), member(3), member(4)]);
    let space = net.p(4).create_space_with(branch, audience, options).unwrap();
    let thread = net.p(4).create_document(space, Writers::All).unwrap();
    net.p(4).edit(NOW, &thread, None, |e| e.put_map(&path!["tokens"])).unwrap();
    net.settle();
    for i in 0..4 {
        net.put(4, &thread, &format!("word {i}"));
    }
    net.put(2, &thread, "answer");
    net.put(4, &thread, "not answered");
    let device = net.device(4);
    net.off(3);
    net.p(1).remove_device(branch, device, Reason::Expelled).unwrap();
    net.settle();
    put_token(net.p(4), &thread, "after the removal");
    net.settle();
    net.tend();
    net.meet(&[3]);
    net.tend();
    let words = ["word 0", "word 1", "word 2", "word 3", "answer", "not answered"];
    net.assert_same(&[2, 3], &thread, &words);
    let attested = parsed(&net.relay.log).iter().filter(|i| {
        i.header().kind == Kind::Charter
            && matches!(Record::decode(i.payload()), Ok(Record::Frontier { device: d, .. }) if d == device)
    }).count();
    assert!((1..=2).contains(&attested), "{attested}");
    for i in [0, 1, 2, 3] {
        assert!(net.charter(i).removed().contains_key(&device));
        assert_eq!(net.counters(i).mismatches, 0);
    }
    // A new key, without the member: its readers go on.
    net.put(3, &thread, "go on");
    assert!(!net.charter(2).rotation_due(&space));
    let all: Vec<&str> = words.iter().copied().chain(["go on"]).collect();
    net.assert_same(&[2, 3], &thread, &all);
    println!("thread: 6 of 6 entries stay for 2 of 2 readers by {attested} attestation(s)");
}
