//! Records to bytes and back.

use super::*;
use crate::crypto::SealedKey;

/// A payload of every type and of every form that a type has.
pub(super) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let branch = Branch::new();
    let secretary = branch.of(Role::Secretary);
    let new = branch.new_chain(40, 40);
    let (space, device, member) = (branch.open, new.id, new.member);
    let frontier = Frontier(vec![
        mark(SpaceId([1; 16]), new.author(), 7),
        mark(SpaceId([2; 16]), new.author(), u32::MAX),
    ]);
    let sealed = SealedKey { epoch: EpochId([3; 16]), nonce: [4; 24], ct: [5; 48] };
    let wraps = vec![wrap_for(&device, 1), wrap_for(&secretary.id, 2)];
    let epoch = EpochRecord {
        space,
        generation: 3,
        id: EpochId([6; 16]),
        issued: 1_700_000_000,
        prev: vec![sealed],
        wraps: wraps.clone(),
    };
    let seen = vec![(secretary.author(), 3), (new.author(), 1)];
    let removals = vec![
        (device, Reason::Lost, frontier.clone()),
        (DeviceId([9; 16]), Reason::Left, Frontier::default()),
    ];
    let record = |name, record: Record| (name, record.encode());
    let everyone =
        Record::Space { nonce: [1; 16], history: true, padded: false, audience: Audience::Everyone };
    let audience = Audience::Members(vec![member, secretary.member]);
    let listed = Record::Space { nonce: [1; 16], history: false, padded: true, audience };
    vec![
        ("genesis", found(&branch.root, secretary.certificate(Role::Secretary)).1),
        record("device", Record::Device { certificate: Box::new(new.certificate(Role::Helper)), seen }),
        record("device, nothing seen", new.admission(Role::Member)),
        record("space for everyone", everyone),
        record("closed space", listed),
        record("grant", Record::Grant { space, member, generation: 2 }),
        record(
            "document",
            Record::Document { nonce: [1; 16], space, writers: Writers::Committee, schema: Vec::new() },
        ),
        record("removal", Record::Removal { device, reason: Reason::Expelled, frontier: frontier.clone() }),
        record(
            "role",
            Record::Role { device, role: Role::Reader, generation: 1, frontier: frontier.clone() },
        ),
        record("revoke", Record::Revoke { space, member, generation: 3, frontier: frontier.clone() }),
        record("epoch", Record::Epoch(Box::new(epoch))),
        record("wraps", Record::Wraps { space, epoch: EpochId([6; 16]), wraps }),
        record("recorder", Record::Recorder { doc: DocId([1; 16]), member }),
        record("cut", Record::Cut { space, author: new.author(), keep: 0 }),
        record("upper", Record::Upper { generation: 1, upper: Some(SpaceId([8; 16])) }),
        record("no upper", Record::Upper { generation: 2, upper: None }),
        ("root", recover(&branch.root, branch.id, 1, new.certificate(Role::Secretary), removals)),
        record("frontier", Record::Frontier { about: ItemId([7; 32]), device, frontier }),
        record("accept", Record::Accept { certificate: ItemId([7; 32]) }),
    ]
}

/// A root record's signature is checked against the genesis, later: for these tests it belongs to reading.
fn read(bytes: &[u8]) -> Option<Record> {
    let record = Record::decode(bytes).ok()?;
    let root = SignKey::from_seed(&[99; 32]).public();
    if let Record::Root(r) = &record
        && !r.is_signed_by(&root)
    {
        return None;
    }
    Some(record)
}

fn again(record: &Record, bytes: &[u8]) -> Vec<u8> {
    match record {
        // Whoever founds signs; what was signed is all that a genesis encodes to.
        Record::Genesis(_) => [&record.encode()[..], &bytes[bytes.len() - 64..]].concat(),
        _ => record.encode(),
    }
}

#[test]
fn every_record_reads_back_as_it_was_written() {
    let samples = samples();
    let types: BTreeSet<u8> = samples.iter().map(|(_, bytes)| bytes[0]).collect();
    assert_eq!(types, (1..=TYPES).collect());
    for (name, bytes) in &samples {
        let record = read(bytes).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(&again(&record, bytes), bytes, "{name}");
        assert!(bytes.len() <= limits::CHARTER_RECORD_BYTES_MAX);
    }
    println!("{} records of {TYPES} types", samples.len());
}

/// Types of records.
const TYPES: u8 = 16;

#[test]
fn a_flipped_bit_is_refused_or_is_another_record_with_that_encoding() {
    let (mut tried, mut read_again) = (0, 0);
    for (name, bytes) in samples() {
        let original = read(&bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            tried += 1;
            if let Some(record) = read(&flipped) {
                read_again += 1;
                assert_ne!(record, original, "{name}, bit {bit}");
                assert_eq!(again(&record, &flipped), flipped, "{name}, bit {bit}");
                assert!(
                    !matches!(record, Record::Genesis(_) | Record::Root(_)),
                    "{name}, bit {bit}: it is signed"
                );
            }
        }
    }
    assert!(read_again > 1_000);
    println!("{tried} flipped bits: {read_again} are other records, the others are refused");
}

#[test]
fn what_is_cut_or_longer_is_refused() {
    let mut tried = 0;
    for (name, bytes) in samples() {
        for n in 0..bytes.len() {
            assert!(read(&bytes[..n]).is_none(), "{name} cut at {n}");
            tried += 1;
        }
        assert!(read(&[&bytes[..], &[0]].concat()).is_none(), "{name}");
        tried += 1;
    }
    println!("{tried} records that were cut or are too long, 0 accepted");
}

#[test]
fn records_changed_at_random_are_refused_or_have_one_encoding() {
    let (samples, mut rng) = (samples(), rng(1));
    let (tried, mut accepted) = (tries(100_000, 1_000_000), 0);
    for i in 0..tried {
        let (name, bytes) = pick(&mut rng, &samples);
        let mut bytes = bytes.clone();
        for _ in 0..=rng.next_u32() % 4 {
            let at = rng.next_u32() as usize % bytes.len();
            match rng.next_u32() % 6 {
                0 => bytes[at] = rng.next_u32() as u8,
                1 => bytes[at] ^= 1 << (rng.next_u32() % 8),
                2 => bytes.truncate(at.max(1)),
                3 => bytes.insert(at, rng.next_u32() as u8),
                4 => {
                    let end = bytes.len().min(at + 1 + rng.next_u32() as usize % 80);
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => {
                    let (_, other) = pick(&mut rng, &samples);
                    let from = rng.next_u32() as usize % other.len();
                    bytes.truncate(at);
                    bytes.extend(&other[from..]);
                    bytes.push(0);
                }
            }
        }
        if let Some(record) = read(&bytes) {
            accepted += 1;
            assert_eq!(again(&record, &bytes), bytes, "{name}, {i}");
        }
    }
    println!("{tried} changed records: 0 panics, {accepted} read and write to the same bytes");
}

#[test]
fn lists_have_one_order_and_their_limits() {
    let chain = Chain::new(1);
    let marks = |n: u32| {
        (1..=n).map(|i| {
            mark(
                SpaceId([(i >> 8) as u8; 16]),
                Author { session: SessionId([i as u8; 8]), ..chain.author() },
                i,
            )
        })
    };
    let removal = |frontier| Record::Removal { device: chain.id, reason: Reason::Left, frontier };
    let good = removal(Frontier(marks(1_024).collect())).encode();
    assert!(Record::decode(&good).is_ok() && good.len() <= limits::CHARTER_RECORD_BYTES_MAX);
    let too_many = removal(Frontier(marks(1_025).collect())).encode();
    assert!(Record::decode(&too_many).is_err());
    // Written in order whatever order they are given in; twice the same is refused.
    let reversed = removal(Frontier(marks(9).collect::<Vec<_>>().into_iter().rev().collect())).encode();
    assert!(Record::decode(&reversed).is_ok());
    let twice = removal(Frontier(marks(3).chain(marks(3)).collect())).encode();
    assert!(Record::decode(&twice).is_err());
    let full: Vec<Wrap> =
        (0..512u32).map(|i| Wrap { tag: u64::from(i).to_be_bytes(), enc: [1; 32], ct: [2; 48] }).collect();
    let prev = (0..16).map(|i| SealedKey { epoch: EpochId([i; 16]), nonce: [0; 24], ct: [0; 48] }).collect();
    let record = EpochRecord {
        space: SpaceId([1; 16]),
        generation: 1,
        id: EpochId([1; 16]),
        issued: 0,
        prev,
        wraps: full.clone(),
    };
    let bytes = Record::Epoch(Box::new(record)).encode();
    assert!(Record::decode(&bytes).is_ok() && bytes.len() <= limits::CHARTER_RECORD_BYTES_MAX);
    let two_for_one = vec![wrap_for(&chain.id, 1), wrap_for(&chain.id, 2)];
    let wraps = |wraps| Record::Wraps { space: SpaceId([1; 16]), epoch: EpochId([1; 16]), wraps }.encode();
    assert!(Record::decode(&wraps(full.clone())).is_ok());
    assert!(Record::decode(&wraps(two_for_one)).is_err());
    let one_more = [full, vec![wrap_for(&chain.id, 3)]].concat();
    assert!(Record::decode(&wraps(one_more)).is_err());
    for generation in [0, 1] {
        let grant = Record::Grant { space: SpaceId([1; 16]), member: member_id(1), generation }.encode();
        assert_eq!(Record::decode(&grant).is_ok(), generation > 0);
    }
}
