//! A relay that may not store: it refuses what is new with a word that brings it back, and does everything else.

mod hub_common;

use dinh_proto::charter::record::{Audience, Role, found};
use dinh_proto::error::{Fate, RejectCode};
use dinh_proto::ids::{DocId, Seq};
use dinh_proto::item::Kind;
use dinh_proto::keys::SignKey;
use dinh_proto::session::DeviceEvent;
use hub_common::{Branch, Phone, admission, draft, plain_space, village};

#[test]
fn a_read_only_hub_refuses_what_is_new_for_now_and_delivers_what_it_has() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let author = world.connect(&branch.member.key, None);
    let stored = branch.member.run(village(), draft(), b"before");
    assert_eq!(world.offer(author, stored.bytes().clone(), false), Some(Ok(Seq(9))));
    world.hub.set_read_only(true);
    let items =
        [branch.member.run(village(), draft(), b"first"), branch.member.run(village(), draft(), b"second")];
    for item in &items {
        // The second lacks the first: it must not look as if the device had left something out.
        assert_eq!(world.offer(author, item.bytes().clone(), false), Some(Err(RejectCode::Unavailable)));
        let Some(DeviceEvent::Rejected { detail, .. }) = world.client(author).events.last() else { panic!() };
        assert_eq!(detail, "the relay's disk is full");
    }
    assert_eq!(RejectCode::Unavailable.fate(), Fate::Later);
    assert_eq!(world.hub.stats().rejects[&RejectCode::Unavailable], 2);
    // What it has is acknowledged again, and what can never be stored is not taken for something that could.
    assert_eq!(world.offer(author, stored.bytes().clone(), false), Some(Ok(Seq(9))));
    let fork = Phone::new(2).run(village(), draft(), b"another first");
    assert_eq!(world.offer(author, fork.bytes().clone(), false), Some(Err(RejectCode::Fork)));
    // Another device comes, reads everything, and its cursor counts.
    let reader = world.connect(&branch.reader.key, None);
    assert_eq!(world.client(reader).items().len(), 9);
    assert_eq!(world.client(reader).caught_up(), Some(Seq(9)));
    let reader = world.connect(&branch.reader.key, Some(8));
    assert_eq!(world.client(reader).items().len(), 1);
    assert_eq!(world.log.len(), 9);
    world.hub.set_read_only(false);
    for (item, seq) in items.iter().zip(10..) {
        assert_eq!(world.offer(author, item.bytes().clone(), false), Some(Ok(Seq(seq))));
    }
    assert_eq!(world.client(reader).items().len(), 3);
}

#[test]
fn a_read_only_hub_takes_no_records_snapshots_or_branches() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let secretary = world.connect(&branch.secretary.key, None);
    let before = world.hub.stats();
    world.hub.set_read_only(true);
    let refused = Some(Err(RejectCode::Unavailable));
    let guest = Phone::new(9);
    let records = [admission(guest.certificate(Role::Member)), plain_space(40, Audience::Everyone)];
    let records = records.map(|record| branch.secretary.record(branch.id, &record));
    for record in &records {
        assert_eq!(world.offer(secretary, record.bytes().clone(), false), refused);
    }
    let snapshot = branch.secretary.snapshot(village(), draft(), 8);
    assert_eq!(world.offer(secretary, snapshot.bytes().clone(), false), refused);
    // The branch is as it was: nobody was admitted by a record that is not stored.
    let visitor = world.connect(&guest.key, None);
    assert!(world.client(visitor).items().is_empty());
    let founder = Phone::new(50);
    let root = SignKey::from_seed(&[51; 32]);
    let (id, genesis) = found(&root, founder.certificate(Role::Secretary));
    let genesis = founder.sign_at(Kind::Charter, id, DocId::default(), founder.next_place(id), &genesis);
    let stranger = world.connect(&founder.key, None);
    assert_eq!(world.offer(stranger, genesis.bytes().clone(), false), refused);
    let after = world.hub.stats();
    assert_eq!((after.branches, after.spaces, after.head), (before.branches, before.spaces, before.head));
    world.hub.set_read_only(false);
    assert!(matches!(world.offer(stranger, genesis.bytes().clone(), false), Some(Ok(_))));
    for record in &records {
        assert!(matches!(world.offer(secretary, record.bytes().clone(), false), Some(Ok(_))));
    }
    assert!(!world.client(visitor).items().is_empty());
    assert!(matches!(world.offer(secretary, snapshot.bytes().clone(), false), Some(Ok(_))));
}
