//! Bars 1 and 2: flipped bits, and pieces of good items put together.

use std::collections::BTreeMap;

use bytes::Bytes;
use dinh_proto::item::{HEADER_BYTES, ITEM_OVERHEAD_BYTES, Item, Place, RawItem, SignedHeader};
use dinh_proto::keys::DevicePublic;
use rand_chacha::ChaCha8Rng;

use super::{FIRST, below, key, rng, run_of, scaled};

/// What becomes of bytes that somebody hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    NotAnItem,
    UnknownAuthor,
    BadSignature,
    Accepted,
}

fn judge(bytes: Vec<u8>, members: &[DevicePublic]) -> Fate {
    let Ok(raw) = RawItem::parse(Bytes::from(bytes)) else { return Fate::NotAnItem };
    let author = raw.header().author.device;
    let Some(key) = members.iter().find(|k| k.id() == author) else { return Fate::UnknownAuthor };
    if raw.verify(key).is_ok() { Fate::Accepted } else { Fate::BadSignature }
}

/// Bar 1: header, signature and payload of a run of 16 changes, and header and signature alone, as a snapshot carries them.
#[test]
fn every_flipped_bit_of_a_run_is_refused() {
    let item = run_of(1, 16, FIRST);
    assert_eq!(item.header().count, 16);
    let members = [key(1).public(), key(2).public()];
    let honest = item.bytes().to_vec();
    assert_eq!(judge(honest.clone(), &members), Fate::Accepted);
    let mut fates: BTreeMap<Fate, u32> = BTreeMap::new();
    for bit in 0..honest.len() * 8 {
        let mut bytes = honest.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        *fates.entry(judge(bytes, &members)).or_default() += 1;
    }
    println!(
        "{} bits of header and signature, {} of the payload: {fates:?}",
        ITEM_OVERHEAD_BYTES * 8,
        item.payload().len() * 8
    );
    assert_eq!(fates.get(&Fate::Accepted), None);
    assert_eq!(fates.values().sum::<u32>() as usize, honest.len() * 8);
    // A flipped bit of the payload, of its hash or length is seen before any signature; others by the signature.
    assert!(fates[&Fate::BadSignature] > 1_000 && fates[&Fate::UnknownAuthor] == 128);

    let head = &honest[..ITEM_OVERHEAD_BYTES];
    let find = |id: &_| members.iter().find(|k| k.id() == *id).copied();
    assert!(SignedHeader::verify(head, find).is_ok());
    let mut refused = 0;
    for bit in 0..head.len() * 8 {
        let mut bytes = head.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(SignedHeader::verify(&bytes, find).is_err(), "bit {bit}");
        refused += 1;
    }
    println!("{refused} bits of a signed header alone, 0 accepted");
}

/// The places at which a field of the header begins, and those of signature and payload.
const FIELDS: [usize; 20] = [
    0,
    1,
    2,
    3,
    4,
    20,
    36,
    52,
    60,
    64,
    80,
    84,
    86,
    102,
    110,
    118,
    122,
    HEADER_BYTES,
    HEADER_BYTES + 32,
    ITEM_OVERHEAD_BYTES,
];

fn splice(one: &[u8], other: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let at = |rng: &mut ChaCha8Rng, len: usize| match below(rng, 3) {
        0 => below(rng, len + 1),
        _ => FIELDS[below(rng, FIELDS.len())].min(len),
    };
    match below(rng, 3) {
        // Somewhere the other goes on, at the same place or at another.
        0 => {
            let cut = at(rng, one.len());
            let from = if below(rng, 2) == 0 { cut.min(other.len()) } else { at(rng, other.len()) };
            [&one[..cut], &other[from..]].concat()
        }
        // A piece in the middle comes from the other.
        1 => {
            let (a, b) = (at(rng, one.len()), at(rng, one.len()));
            let (from, to) = (a.min(b), a.max(b));
            let piece = &other[from.min(other.len())..to.min(other.len())];
            [&one[..from], piece, &one[to..]].concat()
        }
        // Each field comes from one of them, the payload with its length and hash.
        _ => {
            let mut out = one.to_vec();
            for pair in FIELDS[..15].windows(2) {
                if below(rng, 2) == 0 {
                    out[pair[0]..pair[1]].copy_from_slice(&other[pair[0]..pair[1]]);
                }
            }
            if below(rng, 2) == 0 {
                out[HEADER_BYTES..ITEM_OVERHEAD_BYTES]
                    .copy_from_slice(&other[HEADER_BYTES..ITEM_OVERHEAD_BYTES]);
            }
            out
        }
    }
}

/// Bar 2. The runs are neighbours in one chain, the same place of two authors' chains, and runs of different length.
#[test]
fn splices_of_two_good_runs_are_refused() {
    let first = run_of(1, 16, FIRST);
    let next = Place::Chain { n: 2, prev: first.id().link() };
    let items = [first, run_of(1, 16, next), run_of(2, 16, FIRST), run_of(2, 3, FIRST)];
    let members = [key(1).public(), key(2).public()];
    let good: Vec<Vec<u8>> = items.iter().map(|i: &Item| i.bytes().to_vec()).collect();
    let wanted = scaled(100_000, 1_000_000);
    let (mut rng, mut fates) = (rng(2), BTreeMap::<Fate, u64>::new());
    let mut inputs = 0;
    while inputs < wanted {
        let one = below(&mut rng, good.len());
        let other = (one + 1 + below(&mut rng, good.len() - 1)) % good.len();
        let bytes = splice(&good[one], &good[other], &mut rng);
        if good.contains(&bytes) {
            continue;
        }
        inputs += 1;
        *fates.entry(judge(bytes, &members)).or_default() += 1;
    }
    println!("{inputs} splices: {fates:?}");
    assert_eq!(fates.get(&Fate::Accepted), None);
    // Many must get as far as to the signature, or the test would show little.
    assert!(fates[&Fate::BadSignature] * 10 > inputs, "{fates:?}");
}
