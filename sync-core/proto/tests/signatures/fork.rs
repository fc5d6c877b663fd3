//! Bar 5: a device that signs two items under one number.

use dinh_proto::crypto::SpaceKey;
use dinh_proto::error::{InvalidMessage, RejectCode};
use dinh_proto::fork::{ForkProof, NotAFork};
use dinh_proto::ids::{ChangeHash, Cursor, DeviceId, LogEpoch, Seq};
use dinh_proto::item::{Draft, ITEM_OVERHEAD_BYTES, Item, Kind, Place};
use dinh_proto::keys::DevicePublic;

use super::{Author, DOC, FIRST, SESSION, SPACE, key, sealed};

/// What a third party has: the members' keys, and neither of the two items.
fn third_party(id: &DeviceId) -> Option<DevicePublic> {
    (1..=3).map(|seed| key(seed).public()).find(|k| k.id() == *id)
}

fn after(item: &Item) -> Place {
    Place::Chain { n: item.header().n().unwrap() + 1, prev: item.id().link() }
}

/// A session of this many changes, each of them a run.
fn session(changes: usize) -> Vec<Item> {
    let mut author = Author::new(1);
    let mut items: Vec<Item> = Vec::new();
    for n in 0..changes {
        author.write(&format!("câu {n}. "));
        let place = items.last().map_or(FIRST, after);
        items.push(author.run(place));
    }
    items
}

#[test]
fn two_items_under_any_number_are_a_proof_that_a_third_party_checks() {
    let items = session(200);
    let (mut proofs, mut forged) = (0, 0);
    for (at, honest) in items.iter().enumerate() {
        // The other history: as long, linked to the same item, with the same change numbers, and it says something else.
        let place = if at == 0 { FIRST } else { after(&items[at - 1]) };
        let other = sealed(
            &key(1),
            place,
            honest.header().first_seq,
            1,
            &ChangeHash([7; 32]),
            format!("câu {at} khác").as_bytes(),
        );
        let proof = ForkProof::of(honest, &other).unwrap();
        assert_eq!(ForkProof::of(&other, honest).unwrap(), proof, "of two items there is one proof");
        let checked = ForkProof::verify(proof.as_bytes(), third_party).unwrap();
        assert_eq!(checked, proof);
        assert_eq!((checked.chain(), checked.n()), (honest.header().chain(), at as u32 + 1));
        assert!(checked.ids().contains(&honest.id()) && checked.ids().contains(&other.id()));
        proofs += 1;

        // Nobody can be accused with what it did not sign.
        let mut accused = proof.as_bytes().to_vec();
        let bit = (at * 41) % (accused.len() * 8);
        accused[bit / 8] ^= 1 << (bit % 8);
        assert!(ForkProof::verify(&accused, third_party).is_err(), "bit {bit}");
        forged += 1;
    }
    println!(
        "{proofs} forks, {proofs} proofs checked by who saw neither item; {forged} changed proofs, 0 accepted"
    );
}

#[test]
fn nothing_but_a_fork_is_a_proof() {
    let items = session(3);
    let compatible = |one: &Item, other: &Item| match ForkProof::of(one, other) {
        Err(NotAFork::Compatible(why)) => why,
        other => panic!("{other:?}"),
    };
    let draft = |kind, space, session, place| Draft {
        kind,
        space,
        doc: DOC,
        session,
        place,
        first_seq: u32::from(kind == Kind::Run),
        count: u16::from(kind == Kind::Run),
        last: if kind == Kind::Run { ChangeHash([7; 32]) } else { ChangeHash::default() },
        charter_tag: Default::default(),
    };
    let seal =
        |draft: Draft, seed| draft.seal(&key(seed), &SpaceKey::from_bytes(&[6; 32]), false, b"x").unwrap();
    let run = |seed, space, session| seal(draft(Kind::Run, space, session, FIRST), seed);
    let covers = Place::Covers(Cursor { epoch: LogEpoch([1; 8]), seq: Seq(1) });
    let snapshot = seal(draft(Kind::Snapshot, SPACE, SESSION, covers), 1);
    let mine = run(1, SPACE, SESSION);
    let cases = [
        (&items[0], &items[1], "two numbers"),
        (&items[0], &items[0], "are one"),
        (&mine, &run(2, SPACE, SESSION), "two chains"),
        (&mine, &run(1, dinh_proto::ids::SpaceId([9; 16]), SESSION), "two chains"),
        (&mine, &run(1, SPACE, dinh_proto::ids::SessionId([9; 8])), "two chains"),
        (&mine, &snapshot, "no chain"),
    ];
    for (one, other, says) in cases {
        assert!(compatible(one, other).contains(says), "{says}");
        let bytes =
            [&[1][..], &one.bytes()[..ITEM_OVERHEAD_BYTES], &other.bytes()[..ITEM_OVERHEAD_BYTES]].concat();
        let told = ForkProof::verify(&bytes, third_party);
        assert!(matches!(&told, Err(NotAFork::Compatible(why)) if why.contains(says)), "{told:?}");
    }
}

#[test]
fn every_changed_bit_and_length_of_a_proof_is_refused() {
    let one = session(1).remove(0);
    let other = sealed(&key(1), FIRST, 1, 1, &ChangeHash([7; 32]), b"x");
    let proof = ForkProof::of(&one, &other).unwrap();
    let bytes = proof.as_bytes();
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(ForkProof::verify(&changed, third_party).is_err(), "bit {bit}");
        refused += 1;
    }
    for n in 0..bytes.len() {
        assert!(ForkProof::verify(&bytes[..n], third_party).is_err());
        refused += 1;
    }
    let longer = [&bytes[..], &[0]].concat();
    let told = ForkProof::verify(&longer, third_party);
    assert_eq!(told, Err(InvalidMessage::TrailingBytes("fork proof").into()));
    // In the other order, and by a stranger.
    let turned =
        [&bytes[..1], &bytes[1 + ITEM_OVERHEAD_BYTES..], &bytes[1..1 + ITEM_OVERHEAD_BYTES]].concat();
    let told = ForkProof::verify(&turned, third_party);
    assert_eq!(told, Err(InvalidMessage::NotAllowed("order of a fork proof").into()));
    assert_eq!(ForkProof::verify(bytes, |_| None), Err(NotAFork::Header(RejectCode::UnknownAuthor)));
    assert_eq!(
        ForkProof::verify(bytes, |_| Some(key(2).public())),
        Err(NotAFork::Header(RejectCode::BadSignature))
    );
    println!("{} damaged proofs, 0 accepted", refused + 4);
}
