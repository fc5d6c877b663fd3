//! Every kind of bad item is refused with its own code, is counted, and leaves the connection as useful as it was.
//! The table of `docs/PROTOCOL.md` names these tests.

mod hub_common;

use bytes::Bytes;
use dinh_proto::charter::record::{Audience, Record, Role, Writers, found};
use dinh_proto::crypto::plain_bytes_max;
use dinh_proto::error::{CloseCode, Fate, RejectCode};
use dinh_proto::ids::{DocId, Seq, SessionId, SpaceId};
use dinh_proto::item::{HEADER_BYTES, Kind, Place};
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_proto::limits;
use dinh_server::hub::{Admission, Effect, HubConfig, PeerId};
use hub_common::{
    Branch, Phone, World, admission, committee, draft, minutes, plain_space, resigned, secret, village,
};

/// Offers an item that must be refused with `code`, and shows that this changed nothing: it is counted, nothing is
/// stored, the connection is open and takes a good item.
fn refused(world: &mut World, from: u64, what: &str, bytes: impl Into<Bytes>, code: RejectCode) {
    let before = world.hub.stats();
    let log = world.log.len();
    assert_eq!(world.offer(from, bytes.into(), false), Some(Err(code)), "{what}");
    let after = world.hub.stats();
    let mut expected = before.rejects.clone();
    *expected.entry(code).or_default() += 1;
    assert_eq!(after.rejects, expected, "{what}");
    assert_eq!(after.closes, before.closes, "{what}");
    assert_eq!(world.log.len(), log, "{what}");
    assert!(world.client(from).session().is_flowing(), "{what}");
}

fn accepted(world: &mut World, from: u64, bytes: &Bytes) -> Seq {
    world.offer(from, bytes.clone(), false).expect("an answer").expect("a place")
}

#[test]
fn malformed_items() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect(&branch.member.key, Some(8));
    let good = branch.member.run(village(), draft(), b"a run of changes");
    let key = branch.member.key.clone();
    let set = |at: usize, value: u8| resigned(&good, &key, |h| h[at] = value);
    let cases: Vec<(&str, Bytes)> = vec![
        ("empty", Bytes::new()),
        ("not an item", Bytes::from_static(&[0xa5; 400])),
        ("cut in the header", good.bytes().slice(..100)),
        ("cut in the signature", good.bytes().slice(..200)),
        ("cut in the payload", good.bytes().slice(..good.bytes().len() - 1)),
        ("a byte too many", [&good.bytes()[..], &[0]].concat().into()),
        ("the payload does not have its hash", {
            let mut bytes = good.bytes().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            bytes.into()
        }),
        ("version", set(0, 2)),
        ("kind", set(1, 9)),
        ("codec of another kind", set(2, 2)),
        ("reserved byte", set(3, 1)),
        ("n is zero", set(60, 0)),
        ("a link without an item before", set(64, 1)),
        ("no change in a run", set(84, 0)),
        ("first seq is zero", set(80, 0)),
        ("a run without a document", resigned(&good, &key, |h| h[20..36].fill(0))),
        ("a charter record with a document", resigned(&good, &key, |h| (h[1], h[2]) = (3, 0))),
    ];
    for (what, bytes) in cases {
        refused(&mut world, phone, what, bytes, RejectCode::Malformed);
    }
    assert_eq!(accepted(&mut world, phone, good.bytes()), Seq(9));
    // A record that is signed by the right device and says nothing that can be read.
    let mut world = branch.world();
    let phone = world.connect(&branch.secretary.key, Some(8));
    let place = branch.secretary.next_place(branch.id);
    let item = branch.secretary.sign_at(Kind::Charter, branch.id, DocId::default(), place, &[9, 9]);
    refused(&mut world, phone, "record type", item.bytes().clone(), RejectCode::Malformed);
}

#[test]
fn oversized_items() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect(&branch.member.key, Some(8));
    let good = branch.member.run(village(), draft(), b"run");
    let key = branch.member.key.clone();
    let len = (limits::ITEM_PAYLOAD_BYTES_MAX as u32 + 1).to_le_bytes();
    let bytes = resigned(&good, &key, |h| h[118..122].copy_from_slice(&len));
    refused(&mut world, phone, "payload length", bytes, RejectCode::TooLarge);
    let count = (limits::RUN_CHANGES_MAX as u16 + 1).to_le_bytes();
    let bytes = resigned(&good, &key, |h| h[84..86].copy_from_slice(&count));
    refused(&mut world, phone, "changes in a run", bytes, RejectCode::TooLarge);
    let record = branch.records[1].clone();
    let len = (limits::CHARTER_RECORD_BYTES_MAX as u32 + 1).to_le_bytes();
    let bytes = resigned(&record, &branch.secretary.key, |h| h[118..122].copy_from_slice(&len));
    refused(&mut world, phone, "charter record", bytes, RejectCode::TooLarge);
    // The largest item that may be is taken.
    let place = branch.member.next_place(village());
    accepted(&mut world, phone, good.bytes());
    let Place::Chain { n, .. } = place else { panic!("a chain") };
    let largest = vec![7; plain_bytes_max(false)];
    let place = Place::Chain { n, prev: good.id().link() };
    let item = branch.member.sign_at(Kind::Run, village(), draft(), place, &largest);
    accepted(&mut world, phone, item.bytes());
}

#[test]
fn mis_signed_items() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect(&branch.member.key, Some(8));
    let good = branch.member.run(village(), draft(), b"run");
    for at in [HEADER_BYTES, HEADER_BYTES + 40, HEADER_BYTES + 63] {
        let mut bytes = good.bytes().to_vec();
        bytes[at] ^= 4;
        refused(&mut world, phone, "signature", bytes, RejectCode::BadSignature);
    }
    let mut bytes = good.bytes().to_vec();
    bytes[102] ^= 1;
    refused(&mut world, phone, "a header that was changed", bytes, RejectCode::BadSignature);
    // The member writes in the secretary's name.
    let secretary = branch.secretary.key.public().id();
    let bytes = resigned(&good, &branch.member.key, |h| h[36..52].copy_from_slice(&secretary.0));
    refused(&mut world, phone, "another's name", bytes, RejectCode::BadSignature);
    // The right signature, for another purpose.
    let mut bytes = good.bytes().to_vec();
    let other = branch.member.key.sign(b"dinh/chn1\0", &good.id().0);
    bytes[HEADER_BYTES..HEADER_BYTES + 64].copy_from_slice(&other);
    refused(&mut world, phone, "another domain", bytes, RejectCode::BadSignature);
    accepted(&mut world, phone, good.bytes());
}

#[test]
fn a_repeated_item_is_settled_with_its_first_place() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect(&branch.member.key, Some(8));
    let other = world.connect(&branch.secretary.key, Some(8));
    let run = branch.member.run(village(), draft(), b"run");
    assert_eq!(accepted(&mut world, phone, run.bytes()), Seq(9));
    for from in [phone, other] {
        // For a session this is an acknowledgement like the first.
        assert_eq!(accepted(&mut world, from, run.bytes()), Seq(9));
    }
    assert_eq!(world.hub.stats().rejects, [(RejectCode::Duplicate, 2)].into());
    assert_eq!(world.log.len(), 9);
    assert_eq!(RejectCode::Duplicate.fate(), Fate::Settled);

    // A repeat of what is not on disk yet waits for it.
    world.hold_appends = true;
    let run = branch.member.run(village(), draft(), b"another");
    assert_eq!(world.offer(phone, run.bytes().clone(), false), None);
    assert_eq!(world.offer(other, run.bytes().clone(), false), None);
    world.hold_appends = false;
    world.run();
    for from in [phone, other] {
        assert_eq!(world.client(from).acks().last().map(|(_, seq)| *seq), Some(Seq(10)));
    }
}

#[test]
fn items_out_of_their_chain() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect(&branch.member.key, Some(8));
    let items: Vec<_> = (0..4).map(|i| branch.member.run(village(), draft(), &[i])).collect();
    let member = &branch.member;
    let at = |n, prev| member.sign_at(Kind::Run, village(), draft(), Place::Chain { n, prev }, b"x");

    refused(&mut world, phone, "2 before 1", items[1].bytes().clone(), RejectCode::Gap);
    accepted(&mut world, phone, items[0].bytes());
    refused(&mut world, phone, "3 after 1", items[2].bytes().clone(), RejectCode::Gap);
    assert_eq!(RejectCode::Gap.fate(), Fate::Later);
    let wrong = at(2, [9; 16]);
    refused(&mut world, phone, "a link to another item", wrong.bytes().clone(), RejectCode::BadLink);
    assert_eq!(RejectCode::BadLink.fate(), Fate::Never);
    // What was refused for now is taken when its turn comes.
    accepted(&mut world, phone, items[1].bytes());
    accepted(&mut world, phone, items[2].bytes());

    // Whoever does not have the items between (it was given a snapshot) may say so.
    let far = at(7, [8; 16]);
    refused(&mut world, phone, "7 after 3", far.bytes().clone(), RejectCode::Gap);
    assert!(world.offer(phone, far.bytes().clone(), true).unwrap().is_ok());
    // But not over any distance, which would cost memory here.
    let too_far = at(1_000_000, [8; 16]);
    assert_eq!(world.offer(phone, too_far.bytes().clone(), true), Some(Err(RejectCode::Quota)));
    // Nor may a bridge contradict what is stored.
    assert_eq!(world.offer(phone, at(8, [7; 16]).bytes().clone(), true), Some(Err(RejectCode::BadLink)));
    accepted(&mut world, phone, items[3].bytes());
}

#[test]
fn a_fork_leaves_what_was_first() {
    let branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect(&branch.member.key, Some(8));
    let reader = world.connect(&branch.reader.key, Some(8));
    let place = branch.member.next_place(village());
    let first = branch.member.sign_at(Kind::Run, village(), draft(), place, b"first");
    let second = branch.member.sign_at(Kind::Run, village(), draft(), place, b"second");
    accepted(&mut world, phone, first.bytes());
    refused(&mut world, phone, "fork", second.bytes().clone(), RejectCode::Fork);
    assert_eq!(RejectCode::Fork.fate(), Fate::Never);
    assert_eq!(world.client(reader).items(), [(Seq(9), first.bytes().clone())]);
    // Also before the first is on disk.
    let mut world = branch.world();
    let phone = world.connect(&branch.member.key, Some(8));
    world.hold_appends = true;
    assert_eq!(world.offer(phone, first.bytes().clone(), false), None);
    assert_eq!(world.offer(phone, second.bytes().clone(), false), Some(Err(RejectCode::Fork)));
}

#[test]
fn items_by_who_may_not_write_them() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect(&branch.member.key, Some(8));
    let cases = [
        ("a reader writes", branch.reader.run(village(), draft(), b"x")),
        ("a member writes the secretary's document", branch.member.run(village(), minutes(), b"x")),
    ];
    for (what, item) in cases {
        refused(&mut world, phone, what, item.bytes().clone(), RejectCode::NotAuthorised);
    }
    // The item of a chain that was refused was not taken: the number is free.
    let mut member = Phone::new(2);
    let elsewhere = member.run(village(), secret(), b"x");
    refused(&mut world, phone, "another space", elsewhere.bytes().clone(), RejectCode::NotAuthorised);
    let secretary = world.connect(&branch.secretary.key, Some(8));
    let mut member = Phone::new(2);
    let secret = member.run(committee(), secret(), b"x");
    let code = RejectCode::NotAuthorised;
    refused(&mut world, secretary, "a space that it may not read", secret.bytes().clone(), code);
    accepted(&mut world, phone, Phone::new(2).run(village(), draft(), b"x").bytes());
}

#[test]
fn items_brought_by_who_may_not_read_them() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let secret = branch.secretary.run(committee(), secret(), b"x");
    let public = branch.secretary.run(village(), draft(), b"x");
    let member = world.connect(&branch.member.key, Some(8));
    refused(&mut world, member, "secret", secret.bytes().clone(), RejectCode::NotAuthorised);
    let stranger = world.connect(&DeviceKey::from_seed(&[70; 32]), None);
    refused(&mut world, stranger, "public", public.bytes().clone(), RejectCode::NotAuthorised);
    // A reader may bring what others wrote and it may read.
    let reader = world.connect(&branch.reader.key, Some(8));
    accepted(&mut world, reader, public.bytes());
}

#[test]
fn items_whose_author_or_target_is_not_known_wait() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let secretary = world.connect(&branch.secretary.key, Some(8));
    let mut newcomer = Phone::new(7);
    let run = newcomer.run(village(), draft(), b"x");
    let secretary_id = branch.secretary.key.public().id();
    let space = SpaceId::derive(&secretary_id, &[40; 16]);
    let doc = DocId::derive(&secretary_id, &[41; 16]);
    let in_space = branch.secretary.run(space, doc, b"x");
    let place = branch.secretary.next_place(village());
    let of_doc = branch.secretary.sign_at(Kind::Run, village(), doc, place, b"x");
    let (author, target) = (RejectCode::UnknownAuthor, RejectCode::UnknownTarget);
    refused(&mut world, secretary, "no certificate yet", run.bytes().clone(), author);
    refused(&mut world, secretary, "no space yet", in_space.bytes().clone(), target);
    refused(&mut world, secretary, "no document yet", of_doc.bytes().clone(), target);
    assert_eq!((author.fate(), target.fate()), (Fate::Later, Fate::Later));

    let records = [
        admission(newcomer.certificate(Role::Member)),
        plain_space(40, Audience::Everyone),
        Record::Document { nonce: [41; 16], space, writers: Writers::All, schema: Vec::new() },
    ];
    for record in &records {
        let item = branch.secretary.record(branch.id, record);
        accepted(&mut world, secretary, item.bytes());
    }
    accepted(&mut world, secretary, run.bytes());
    accepted(&mut world, secretary, in_space.bytes());
    // The document turned out to be in another space.
    refused(&mut world, secretary, "elsewhere", of_doc.bytes().clone(), RejectCode::NotAuthorised);
}

#[test]
fn charter_records_that_do_not_count() {
    let mut branch = Branch::new();
    let (_, genesis) = found(&SignKey::from_seed(&[98; 32]), Phone::new(50).certificate(Role::Secretary));
    let mut world = branch.world();
    let newcomer = Phone::new(7);
    let certify = admission(newcomer.certificate(Role::Member));
    let (id, member, reader) = (branch.id, &mut branch.member, &mut branch.reader);
    let grant = Record::Grant { space: committee(), member: member.member, generation: 1 };
    let document =
        |space| Record::Document { nonce: [60; 16], space, writers: Writers::All, schema: Vec::new() };
    let place = Place::Chain { n: 1, prev: [0; 16] };
    let cases = [
        ("a member certifies", member.record(id, &certify), RejectCode::NotAuthorised),
        ("a reader creates a document", reader.record(id, &document(village())), RejectCode::NotAuthorised),
        (
            "a stranger creates a document",
            Phone::new(7).record(id, &document(village())),
            RejectCode::UnknownAuthor,
        ),
        (
            "a document in no space",
            Phone::new(2).record(id, &document(SpaceId([61; 16]))),
            RejectCode::UnknownTarget,
        ),
        (
            "a grant by who did not create the space",
            Phone::new(2).record(id, &grant),
            RejectCode::NotAuthorised,
        ),
        (
            "the genesis of another branch",
            Phone::new(50).sign_at(Kind::Charter, id, DocId::default(), place, &genesis),
            RejectCode::BadLink,
        ),
    ];
    for (what, item, code) in cases {
        // Its author brings it.
        let author = item.header().author.device;
        let keys = [2, 3, 7, 50].map(|seed| Phone::new(seed).key);
        let key = keys.iter().find(|key| key.public().id() == author).expect("one of them");
        let phone = world.connect(key, Some(8));
        refused(&mut world, phone, what, item.bytes().clone(), code);
    }
    // Another member who holds one may bring it: a relay that lost its log gets back what all have. It counts no more.
    let phone = world.connect(&branch.secretary.key, Some(8));
    let held = Phone::new(2).record(id, &certify);
    accepted(&mut world, phone, held.bytes());
    let newcomer = world.connect(&newcomer.key, Some(8));
    let run = Phone::new(7).run(village(), draft(), b"x");
    refused(
        &mut world,
        newcomer,
        "a run by whom it would admit",
        run.bytes().clone(),
        RejectCode::UnknownAuthor,
    );
    // The secretary founds another branch here. This branch's space cannot be that one's too.
    let (other_id, genesis) =
        found(&SignKey::from_seed(&[97; 32]), branch.secretary.certificate(Role::Secretary));
    let founder = world.connect(&branch.secretary.key, None);
    let first = branch.secretary.sign_at(Kind::Charter, other_id, DocId::default(), place, &genesis);
    accepted(&mut world, founder, first.bytes());
    let claim = plain_space(20, Audience::Everyone);
    let place = Place::Chain { n: 2, prev: first.id().link() };
    let claim = branch.secretary.sign_at(Kind::Charter, other_id, DocId::default(), place, &claim.encode());
    refused(&mut world, founder, "another's space", claim.bytes().clone(), RejectCode::NotAuthorised);
}

#[test]
fn a_branch_that_the_operator_does_not_admit() {
    let branch = Branch::new();
    let mut world = World::new(HubConfig { admission: Admission::Closed, ..HubConfig::default() });
    let phone = world.connect(&branch.secretary.key, None);
    let [genesis, record, ..] = &branch.records[..] else { panic!("records") };
    refused(&mut world, phone, "genesis", genesis.bytes().clone(), RejectCode::NotAdmitted);
    assert_eq!(RejectCode::NotAdmitted.fate(), Fate::Later);
    refused(&mut world, phone, "its records", record.bytes().clone(), RejectCode::UnknownAuthor);
}

#[test]
fn snapshots_that_cannot_stand_for_runs() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect(&branch.member.key, Some(8));
    let member = branch.member.run(village(), draft(), b"x");
    accepted(&mut world, phone, member.bytes());
    let snapshot = |phone: &Phone, covers| phone.snapshot(village(), draft(), covers).bytes().clone();
    refused(&mut world, phone, "covers the future", snapshot(&branch.member, 99), RejectCode::BadLink);
    refused(&mut world, phone, "by a reader", snapshot(&branch.reader, 9), RejectCode::NotAuthorised);
    let of_minutes = branch.member.snapshot(village(), minutes(), 9).bytes().clone();
    refused(&mut world, phone, "of another's document", of_minutes, RejectCode::NotAuthorised);
    assert_eq!(accepted(&mut world, phone, &snapshot(&branch.member, 9)), Seq(10));
    // One that covers no more than the newest is settled by it.
    assert_eq!(accepted(&mut world, phone, &snapshot(&branch.member, 8)), Seq(10));
    assert_eq!(world.hub.stats().rejects[&RejectCode::Duplicate], 1);
}

#[test]
fn more_sessions_of_one_device_than_there_may_be() {
    let branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect(&branch.member.key, Some(8));
    let mut member = Phone::new(2);
    let place = Place::Chain { n: 1, prev: [0; 16] };
    for i in 0..limits::SESSIONS_PER_DEVICE_MAX as u64 {
        member.session = SessionId(i.to_le_bytes());
        accepted(&mut world, phone, member.sign_at(Kind::Run, village(), draft(), place, b"x").bytes());
    }
    member.session = SessionId([0xff; 8]);
    let one_more = member.sign_at(Kind::Run, village(), draft(), place, b"x");
    refused(&mut world, phone, "sessions", one_more.bytes().clone(), RejectCode::Quota);
    assert_eq!(RejectCode::Quota.fate(), Fate::Later);
}

#[test]
fn nothing_is_acknowledged_when_the_disk_fails() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect(&branch.member.key, Some(8));
    let reader = world.connect(&branch.reader.key, Some(8));
    world.hold_appends = true;
    let run = branch.member.run(village(), draft(), b"x");
    assert_eq!(world.offer(phone, run.bytes().clone(), false), None);
    world.fail_appends();
    for connection in [phone, reader] {
        assert_eq!(world.client(connection).close_code(), Some(CloseCode::StorageFailed));
        assert_eq!(world.client(connection).items(), []);
    }
    assert_eq!(world.client(phone).acks(), []);
    assert_eq!(world.hub.stats().closes, [(CloseCode::StorageFailed, 2)].into());
}

/// A phone in a tunnel: it loses each connection soon after it put something, and must get on all the same.
#[test]
fn what_was_put_before_the_connection_was_lost_is_stored_and_not_refused() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let author = world.connect(&branch.member.key, None);
    let run = branch.member.run(village(), draft(), b"in a tunnel");
    world.client(author).session().put(run.id(), run.bytes().clone(), false);
    let mut frame = Vec::new();
    assert!(world.client(author).session().poll_transmit(&mut frame));
    world.hub.handle_frame(world.now, PeerId(author), frame.into());
    let (token, items) = loop {
        match world.hub.poll_effect().expect("a request") {
            Effect::Verify { token, items } => break (token, items),
            Effect::Load { token, space } => {
                let loaded = world.loaded(space);
                world.hub.handle_loaded(world.now, token, Ok(loaded));
            }
            _ => {}
        }
    };
    world.clients.remove(&author);
    world.hub.handle_disconnected(world.now, PeerId(author));
    let results = items.into_iter().map(|(item, key)| item.verify(&key)).collect();
    world.hub.handle_verified(world.now, token, results);
    world.run();
    assert_eq!(world.log.last(), Some(run.bytes()));
    assert!(world.hub.stats().rejects.is_empty(), "{:?}", world.hub.stats().rejects);
}
