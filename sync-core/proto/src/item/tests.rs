//! Headers, sealing and signing.

use super::*;
use crate::crypto::SEALED_OVERHEAD_BYTES;

fn key() -> DeviceKey {
    DeviceKey::from_seed(&[7; 32])
}

fn sealed(draft: Draft) -> Result<Item, InvalidMessage> {
    draft.seal(&key(), &SpaceKey::generate(&[1; 32]), false, b"payload")
}

fn record() -> Draft {
    let nothing = Draft { first_seq: 0, count: 0, last: ChangeHash::default(), ..draft(1) };
    Draft { kind: Kind::Charter, doc: DocId::default(), ..nothing }
}

fn draft(n: u32) -> Draft {
    Draft {
        kind: Kind::Run,
        space: SpaceId([1; 16]),
        doc: DocId([2; 16]),
        session: SessionId([3; 8]),
        place: Place::Chain { n, prev: if n == 1 { [0; 16] } else { [9; 16] } },
        first_seq: 5,
        count: 2,
        last: ChangeHash([4; 32]),
        charter_tag: CharterTag([5; 8]),
    }
}

#[test]
fn an_item_reads_back_as_it_was_signed() {
    let item = sealed(draft(2)).unwrap();
    assert_eq!(item.bytes().len(), ITEM_OVERHEAD_BYTES + 7 + SEALED_OVERHEAD_BYTES);
    let raw = RawItem::parse(item.bytes().clone()).unwrap();
    assert_eq!(raw.header(), item.header());
    assert_eq!(raw.verify(&key().public()).unwrap(), item);
}

#[test]
fn every_flipped_bit_is_refused() {
    let item = sealed(draft(2)).unwrap();
    let mut refused = 0;
    for bit in 0..item.bytes().len() * 8 {
        let mut bytes = item.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let accepted = RawItem::parse(bytes.into()).is_ok_and(|raw| raw.verify(&key().public()).is_ok());
        assert!(!accepted, "bit {bit}");
        refused += 1;
    }
    assert_eq!(refused, (ITEM_OVERHEAD_BYTES + 7 + SEALED_OVERHEAD_BYTES) * 8);
}

#[test]
fn every_truncation_and_any_trailing_byte_is_refused() {
    let item = sealed(draft(1)).unwrap();
    for n in 0..item.bytes().len() {
        assert!(RawItem::parse(item.bytes().slice(..n)).is_err(), "{n}");
    }
    let longer = [&item.bytes()[..], b"x"].concat();
    assert_eq!(RawItem::parse(longer.into()), Err(InvalidMessage::TrailingBytes("item")));
}

#[test]
fn another_device_s_key_does_not_verify() {
    let item = sealed(draft(1)).unwrap();
    let other = DeviceKey::from_seed(&[8; 32]).public();
    let raw = RawItem::parse(item.bytes().clone()).unwrap();
    assert_eq!(raw.verify(&other), Err(RejectCode::BadSignature));
}

#[test]
fn fields_that_may_not_stand_together_are_not_signed() {
    let snapshot = Draft {
        kind: Kind::Snapshot,
        place: Place::Covers(Cursor { epoch: LogEpoch([1; 8]), seq: Seq(1) }),
        first_seq: 0,
        count: 0,
        last: ChangeHash::default(),
        ..draft(1)
    };
    let bad = [
        Draft { count: 0, ..draft(1) },
        Draft { doc: DocId::default(), ..draft(1) },
        Draft { kind: Kind::Charter, ..draft(1) },
        Draft { first_seq: u32::MAX, ..draft(1) },
        Draft { last: ChangeHash::default(), ..draft(1) },
        Draft { last: ChangeHash([1; 32]), ..snapshot.clone() },
    ];
    for d in bad {
        assert!(sealed(d).is_err());
    }
    sealed(draft(1)).unwrap();
    sealed(snapshot.clone()).unwrap();
    record().sign(&key(), b"r").unwrap();
    assert!(Draft { last: ChangeHash([1; 32]), ..record() }.sign(&key(), b"r").is_err());
    let long = vec![0; limits::ITEM_PAYLOAD_BYTES_MAX + 1 - SEALED_OVERHEAD_BYTES];
    assert!(draft(1).seal(&key(), &SpaceKey::generate(&[1; 32]), false, &long).is_err());
    draft(1).seal(&key(), &SpaceKey::generate(&[1; 32]), false, &long[1..]).unwrap();
}

#[test]
fn records_are_in_clear_and_nothing_else_is() {
    let clear = InvalidMessage::NotAllowed("commitment");
    assert_eq!(draft(1).sign(&key(), b"p"), Err(clear));
    assert!(sealed(record()).is_err());
    // As another implementation might write it.
    let header = |item: &Item| item.header().clone();
    let (run, record) = (header(&sealed(draft(1)).unwrap()), header(&record().sign(&key(), b"r").unwrap()));
    let bad = [
        Header { key_epoch: KeyEpoch::default(), ..run.clone() },
        Header { commitment: [0; 16], ..run.clone() },
        Header { key_epoch: KeyEpoch([1; 8]), ..record.clone() },
        Header { commitment: [1; 16], ..record.clone() },
    ];
    assert!([run, record].iter().all(|good| Header::decode(&good.encode()).is_ok()));
    assert!(bad.iter().all(|bad| Header::decode(&bad.encode()).is_err()));
}
