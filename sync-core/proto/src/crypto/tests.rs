use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

use super::*;
use crate::ids::{CharterTag, Cursor, DeviceId, DocId, LogEpoch, Seq, SessionId, SpaceId};
use crate::item::{Draft, HEADER_BYTES, ITEM_OVERHEAD_BYTES, Item, Kind, Place, RawItem};
use crate::keys::DeviceKey;
use crate::limits;

fn device() -> DeviceKey {
    DeviceKey::from_seed(&[7; 32])
}

fn space_key() -> SpaceKey {
    SpaceKey::generate(&[1; 32])
}

fn run() -> Draft {
    Draft {
        kind: Kind::Run,
        space: SpaceId([1; 16]),
        doc: DocId([2; 16]),
        session: SessionId([3; 8]),
        place: Place::Chain { n: 2, prev: [9; 16] },
        first_seq: 5,
        count: 2,
        last: ChangeHash([4; 32]),
        charter_tag: CharterTag([5; 8]),
    }
}

fn snapshot() -> Draft {
    let place = Place::Covers(Cursor { epoch: LogEpoch([6; 8]), seq: Seq(9) });
    Draft { kind: Kind::Snapshot, place, first_seq: 0, count: 0, last: ChangeHash::default(), ..run() }
}

fn seal(draft: Draft, padded: bool, plain: &[u8]) -> Item {
    draft.seal(&device(), &space_key(), padded, plain).unwrap()
}

fn head(item: &Item) -> [u8; SEALED_HEADER_BYTES] {
    *item.bytes().first_chunk().unwrap()
}

const PLAIN: &[u8] = "Nghị quyết về đường làng".as_bytes();

#[test]
fn what_is_sealed_opens_and_the_payload_shows_nothing_of_it() {
    for (draft, padded) in [(run(), false), (run(), true), (snapshot(), false), (snapshot(), true)] {
        let item = seal(draft.clone(), padded, PLAIN);
        assert_eq!(space_key().open(&item, padded).as_deref(), Ok(PLAIN));
        assert_eq!(item.header().key_epoch, space_key().hint());
        assert_eq!(item.payload().len(), sealed_len(PLAIN.len(), padded));
        assert!(!item.bytes().windows(6).any(|w| PLAIN.windows(6).any(|p| p == w)));
        let received = RawItem::parse(item.bytes().clone()).unwrap().verify(&device().public()).unwrap();
        assert_eq!(space_key().open(&received, padded).as_deref(), Ok(PLAIN));
        assert_eq!(seal(draft, padded, PLAIN), item, "the same draft gives the same bytes");
    }
}

/// Bar 19 of the security notes.
#[test]
fn nothing_opens_with_a_wrong_key_or_in_another_place_or_changed() {
    let (mut tries, mut opened) = (0, 0);
    let mut refuse = |found: Result<Vec<u8>, CryptoError>| {
        tries += 1;
        opened += usize::from(found.is_ok());
    };
    let key = space_key();
    for (draft, padded) in [(run(), false), (run(), true), (snapshot(), false), (snapshot(), true)] {
        let item = seal(draft.clone(), padded, PLAIN);
        let (head, payload) = (head(&item), item.payload());
        assert_eq!(key.open_payload(&head, padded, payload).as_deref(), Ok(PLAIN));
        for seed in 2..=250 {
            let other = SpaceKey::generate(&[seed; 32]);
            refuse(other.open(&item, padded));
            refuse(other.open_payload(&head, padded, payload));
        }
        for bit in 0..SEALED_HEADER_BYTES * 8 {
            let mut head = head;
            head[bit / 8] ^= 1 << (bit % 8);
            refuse(key.open_payload(&head, padded, payload));
        }
        for len in 0..payload.len() {
            refuse(key.open_payload(&head, padded, &payload[..len]));
        }
        refuse(key.open_payload(&head, padded, &[payload, &[0]].concat()));
        for bit in 0..payload.len() * 8 {
            let mut payload = payload.to_vec();
            payload[bit / 8] ^= 1 << (bit % 8);
            refuse(key.open_payload(&head, padded, &payload));
        }
        for (space, doc) in [([1; 16], [1; 16]), ([2; 16], [2; 16]), ([2; 16], [1; 16])] {
            let there =
                seal(Draft { space: SpaceId(space), doc: DocId(doc), ..draft.clone() }, padded, PLAIN);
            refuse(key.open_payload(&self::head(&there), padded, payload));
            refuse(key.open_payload(&head, padded, there.payload()));
        }
    }
    println!("{tries} payloads that must not open, {opened} opened");
    assert!(tries > 10_000);
    assert_eq!(opened, 0);
}

/// Bar 21. Headers that differ in one field, or in the content that they are committed to.
#[test]
#[allow(clippy::disallowed_methods, reason = "the one switch of this test")]
fn no_nonce_is_used_for_two_payloads() {
    let full = std::env::var("DINH_FULL").is_ok_and(|v| v == "1");
    let total: u32 = if full { 10_000_000 } else { 200_000 };
    let key = space_key();
    let start = seal(run(), false, PLAIN).header().clone();
    let mut nonces = Vec::with_capacity(total as usize);
    for i in 0..total {
        let mut header = start.clone();
        let number = (i / 7 + 1).to_le_bytes();
        match i % 7 {
            0 => header.commitment = key.commitment(&ChangeHash(Sha256::digest(number).into())),
            1 => header.place = Place::Chain { n: i / 7 + 3, prev: [9; 16] },
            2 => header.space.0[..4].copy_from_slice(&number),
            3 => header.doc.0[12..].copy_from_slice(&number),
            4 => header.author.session.0[..4].copy_from_slice(&number),
            5 => header.charter_tag.0[4..].copy_from_slice(&number),
            _ => header.payload_len += i / 7 + 1,
        }
        nonces.push(key.payload_nonce(header.encode().first_chunk().unwrap()));
    }
    nonces.sort_unstable();
    let repeats = nonces.windows(2).filter(|w| w[0] == w[1]).count();
    println!("{total} envelopes, {repeats} nonces used twice");
    assert_eq!(repeats, 0);
}

#[test]
fn other_content_has_another_nonce_and_the_same_content_the_same_bytes() {
    let mut nonces = std::collections::BTreeSet::new();
    for i in 0..500u16 {
        let plain = [&i.to_le_bytes(), PLAIN].concat();
        let draft = Draft { last: ChangeHash([i as u8; 32]), ..run() };
        let draft = if i % 2 == 0 { snapshot() } else { Draft { count: 1 + i, ..draft } };
        let item = seal(draft.clone(), false, &plain);
        assert!(nonces.insert(space_key().payload_nonce(&head(&item))));
        assert_eq!(seal(draft, false, &plain).bytes(), item.bytes());
        let moved = SpaceKey::generate(&[2; 32]).payload_nonce(&head(&item));
        assert!(nonces.insert(moved), "another key, another nonce");
    }
    println!("{} envelopes, 0 nonces used twice", nonces.len());
}

/// Bar 22: size steps.
#[test]
fn padded_payloads_have_lengths_in_steps_of_512() {
    let key = space_key();
    let mut lengths = std::collections::BTreeSet::new();
    for len in 0..=5_000 {
        let plain = vec![0x80; len];
        let item = seal(run(), true, &plain);
        let payload = item.payload().len();
        assert_eq!(payload % limits::PADDED_STEP, 0);
        assert!(payload > len + SEALED_OVERHEAD_BYTES);
        assert!(payload - (len + 1 + SEALED_OVERHEAD_BYTES) < limits::PADDED_STEP);
        assert_eq!(key.open(&item, true), Ok(plain));
        lengths.insert(payload);
    }
    println!("5001 lengths became {}: {lengths:?}", lengths.len());
    assert_eq!(lengths.len(), 10);
    for padded in [false, true] {
        let most = vec![1; plain_bytes_max(padded)];
        let item = seal(run(), padded, &most);
        assert!(item.payload().len() <= limits::ITEM_PAYLOAD_BYTES_MAX);
        assert_eq!(key.open(&item, padded), Ok(most.clone()));
        assert!(run().seal(&device(), &key, padded, &[&most[..], &[1]].concat()).is_err());
    }
}

#[test]
fn padding_has_one_form() {
    let key = space_key();
    let item = seal(run(), true, &[]);
    let head = head(&item);
    let room = limits::PADDED_STEP - SEALED_OVERHEAD_BYTES;
    let mut bad = vec![vec![], vec![0; room], vec![1; room], vec![0x80; room - 1]];
    bad.push([&[0x80][..], &vec![0; room - 2], &[1]].concat());
    bad.push([&[0x80][..], &vec![0; room + limits::PADDED_STEP - 1]].concat());
    bad.push([&[0x80][..], &vec![0; room]].concat());
    for plain in &bad {
        let payload = key.seal_payload(&head, false, plain);
        assert_eq!(key.open_payload(&head, true, &payload), Err(CryptoError::Malformed("padding")));
    }
    println!("{} paddings, 0 accepted", bad.len());
    let good = [&[0x80][..], &vec![0; room - 1]].concat();
    assert_eq!(key.open_payload(&head, true, &key.seal_payload(&head, false, &good)), Ok(vec![]));
}

#[test]
fn a_header_is_committed_to_its_content_under_its_key() {
    let (key, other) = (space_key(), SpaceKey::generate(&[2; 32]));
    let header = seal(run(), false, PLAIN).header().clone();
    assert!(key.commits(&header, &ChangeHash([4; 32])));
    assert!(!key.commits(&header, &ChangeHash([5; 32])));
    assert!(!other.commits(&header, &ChangeHash([4; 32])));
    let header = seal(snapshot(), false, PLAIN).header().clone();
    assert!(key.commits(&header, &ChangeHash(Sha256::digest(PLAIN).into())));
}

#[test]
fn a_snapshot_that_is_not_what_its_header_is_committed_to_is_refused() {
    let key = space_key();
    let mut bytes = seal(snapshot(), false, PLAIN).bytes().to_vec();
    bytes[86..102].copy_from_slice(&key.commitment(&ChangeHash([1; 32])));
    let payload = key.seal_payload(bytes.first_chunk().unwrap(), false, PLAIN);
    bytes[122..154].copy_from_slice(&Sha256::digest(&payload));
    let id = hash32(b"dinh/hdr1\0", &[&bytes[..HEADER_BYTES]]);
    bytes[HEADER_BYTES..ITEM_OVERHEAD_BYTES].copy_from_slice(&device().sign(b"dinh/itm1\0", &id));
    bytes[ITEM_OVERHEAD_BYTES..].copy_from_slice(&payload);
    let item = RawItem::parse(bytes.into()).unwrap().verify(&device().public()).unwrap();
    assert_eq!(key.open(&item, false), Err(CryptoError::NotCommitted));
}

#[test]
fn a_record_is_not_opened() {
    let nothing = Draft { first_seq: 0, count: 0, last: ChangeHash::default(), ..run() };
    let record = Draft { kind: Kind::Charter, doc: DocId::default(), ..nothing };
    let item = record.sign(&device(), PLAIN).unwrap();
    assert_eq!(space_key().open(&item, false), Err(CryptoError::WrongKey(KeyEpoch::default())));
}

#[test]
fn one_key_serves_each_purpose() {
    let key = space_key();
    let domains: [&[u8]; 7] = [
        b"dinh/ken1\0",
        b"dinh/kcm1\0",
        b"dinh/kno1\0",
        b"dinh/kpr1\0",
        b"dinh/knm1\0",
        b"dinh/kln1\0",
        b"dinh/kol1\0",
    ];
    let keys: std::collections::BTreeSet<[u8; 32]> = domains.iter().map(|d| *key.subkey(d)).collect();
    assert_eq!(keys.len(), domains.len());
    assert!(!keys.contains(&*key.to_bytes()) && keys.contains(&*key.hall_psk()));
    assert_eq!(SpaceKey::from_bytes(&key.to_bytes()), key);
    assert_eq!(format!("{key:?}"), format!("SpaceKey({:?})", key.id()), "a key is not printed");
}

#[test]
fn presence_opens_for_who_reads_the_space_and_in_one_place_only() {
    let key = space_key();
    let (space, from) = (SpaceId([1; 16]), DeviceId([2; 16]));
    let sealed = key.seal_presence(&space, &from, &[3; 24], PLAIN).unwrap();
    assert_eq!(sealed.len(), PLAIN.len() + PRESENCE_OVERHEAD_BYTES);
    assert_eq!(sealed_hint(&sealed), Some(key.hint()));
    assert_eq!(key.open_presence(&space, &from, &sealed).as_deref(), Ok(PLAIN));
    let mut bad = vec![
        SpaceKey::generate(&[2; 32]).open_presence(&space, &from, &sealed),
        key.open_presence(&SpaceId([9; 16]), &from, &sealed),
        key.open_presence(&space, &DeviceId([9; 16]), &sealed),
        key.open_presence(&SpaceId(from.0), &DeviceId(space.0), &sealed),
    ];
    bad.extend((0..sealed.len()).map(|len| key.open_presence(&space, &from, &sealed[..len])));
    for bit in 0..sealed.len() * 8 {
        let mut sealed = sealed.clone();
        sealed[bit / 8] ^= 1 << (bit % 8);
        bad.push(key.open_presence(&space, &from, &sealed));
    }
    let opened = bad.iter().filter(|b| b.is_ok()).count();
    println!("{} presence messages, {opened} opened", bad.len());
    assert_eq!(opened, 0);

    let most = vec![1; limits::PRESENCE_BYTES_MAX];
    let sealed = key.seal_presence(&space, &from, &[3; 24], &most).unwrap();
    assert_eq!(sealed.len(), limits::EPHEMERAL_BYTES_MAX);
    let too_long = key.seal_presence(&space, &from, &[3; 24], &[&most[..], &[1]].concat());
    assert!(matches!(too_long, Err(CryptoError::TooLong { .. })));
}

#[test]
fn names_open_for_their_device_and_their_length_does_not_show() {
    let (key, public) = (space_key(), device().public());
    let name = "Điện thoại của bác Tám";
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for len in 0..=limits::DEVICE_NAME_BYTES_MAX {
        let name = "x".repeat(len);
        let mut nonce = [0; 24];
        rng.fill_bytes(&mut nonce);
        let sealed = key.seal_name(&public, &nonce, &name).unwrap();
        assert_eq!(sealed.len(), SEALED_NAME_BYTES);
        assert_eq!(key.open_name(&public, &sealed), Ok(name));
    }
    let too_long = key.seal_name(&public, &[1; 24], &"x".repeat(limits::DEVICE_NAME_BYTES_MAX + 1));
    assert!(matches!(too_long, Err(CryptoError::TooLong { .. })));

    let sealed = key.seal_name(&public, &[1; 24], name).unwrap();
    let mut bad = vec![
        SpaceKey::generate(&[2; 32]).open_name(&public, &sealed),
        key.open_name(&DeviceKey::from_seed(&[8; 32]).public(), &sealed),
    ];
    bad.extend((0..sealed.len()).map(|len| key.open_name(&public, &sealed[..len])));
    for bit in 0..sealed.len() * 8 {
        let mut sealed = sealed.clone();
        sealed[bit / 8] ^= 1 << (bit % 8);
        bad.push(key.open_name(&public, &sealed));
    }
    let forms: [&[u8]; 5] = [&[], &[0; 48], &[0; 50], &[&[49][..], &[0; 48]].concat(), &{
        let mut zeros_after = [0; 49];
        zeros_after[48] = 1;
        zeros_after
    }];
    for plain in forms {
        let sealed = key.seal_small(b"dinh/knm1\0", &public.to_bytes(), &[1; 24], plain);
        bad.push(key.open_name(&public, &sealed));
    }
    let opened = bad.iter().filter(|b| b.is_ok()).count();
    println!("{} names, {opened} opened", bad.len());
    assert_eq!(opened, 0);
}

#[test]
fn what_a_device_keeps_for_itself_opens_with_its_wrap_secret_in_its_place_only() {
    let key = DeviceKey::from_secrets(&[7; 32], &[8; 32]);
    let sealed = seal_local(&key, &[3; 24], b"here", PLAIN).unwrap();
    assert_eq!(open_local(&key, b"here", &sealed).unwrap().as_slice(), PLAIN);
    let locked = key.clone().without_wrap();
    assert_eq!(seal_local(&locked, &[3; 24], b"here", PLAIN), Err(CryptoError::NoWrapSecret));
    assert_eq!(open_local(&locked, b"here", &sealed), Err(CryptoError::NoWrapSecret));
    let mut bad = vec![
        open_local(&DeviceKey::from_secrets(&[7; 32], &[7; 32]), b"here", &sealed),
        open_local(&DeviceKey::from_secrets(&[8; 32], &[9; 32]), b"here", &sealed),
        open_local(&key, b"there", &sealed),
    ];
    bad.extend((0..sealed.len()).map(|len| open_local(&key, b"here", &sealed[..len])));
    for bit in 0..sealed.len() * 8 {
        let mut sealed = sealed.clone();
        sealed[bit / 8] ^= 1 << (bit % 8);
        bad.push(open_local(&key, b"here", &sealed));
    }
    let opened = bad.iter().filter(|b| b.is_ok()).count();
    println!("{} sealed rows, {opened} opened", bad.len());
    assert_eq!(opened, 0);
}
