//! Bar 4: keys and signatures at which verifiers of Ed25519 disagree, and keys of small order for X25519.
//!
//! The classes are those in which published verifiers differ: points of small order in the key or in R, encodings that are
//! not the shortest of their point, S beyond the group's order, and points with a part of small order for which the
//! equation holds only after multiplying by eight.

use bytes::Bytes;
use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use dinh_proto::ids::ItemId;
use dinh_proto::item::{HEADER_BYTES, ITEM_OVERHEAD_BYTES, RawItem};
use dinh_proto::keys::{DevicePublic, RelayPublic, SignPublic};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use sha2::{Digest, Sha256, Sha512};

use super::{FIRST, below, key, rng, run_of, scaled};

/// p = 2^255 - 19 as little-endian bytes, plus a small number.
fn p_plus(n: u8) -> [u8; 32] {
    let mut out = [0xff; 32];
    out[0] = 0xed + n;
    out[31] = 0x7f;
    out
}

fn with_sign(mut y: [u8; 32]) -> [u8; 32] {
    y[31] |= 0x80;
    y
}

/// Every encoding of a y that is not below p.
fn not_canonical() -> Vec<[u8; 32]> {
    (0..19).flat_map(|n| [p_plus(n), with_sign(p_plus(n))]).collect()
}

/// Every encoding of a point of small order that some decoder reads.
fn small_order() -> Vec<[u8; 32]> {
    let canonical = EIGHT_TORSION.iter().map(|t| t.compress().to_bytes());
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = p_plus(0);
    minus_one[0] -= 1;
    // x = 0 with the sign of a negative x, and y = 0 and 1 written as p and p + 1.
    let others = [
        with_sign(one),
        with_sign(minus_one),
        p_plus(0),
        with_sign(p_plus(0)),
        p_plus(1),
        with_sign(p_plus(1)),
    ];
    canonical.chain(others).collect()
}

/// The header of a run, for any author, and the id that is signed.
fn header_of(author: &DevicePublic, n: u64) -> (Vec<u8>, Bytes, ItemId) {
    let item = run_of(1, 1, FIRST);
    let mut head = item.bytes()[..HEADER_BYTES].to_vec();
    head[36..52].copy_from_slice(&author.id().0);
    head[102..110].copy_from_slice(&n.to_le_bytes());
    let id = Sha256::new_with_prefix(b"dinh/hdr1\0").chain_update(&head).finalize();
    (head, item.bytes().slice(ITEM_OVERHEAD_BYTES..), ItemId(id.into()))
}

fn challenge(r: &[u8; 32], a: &[u8; 32], id: &ItemId) -> Scalar {
    let hash = Sha512::new().chain_update(r).chain_update(a).chain_update(b"dinh/itm1\0").chain_update(id.0);
    Scalar::from_hash(hash)
}

fn random_scalar(rng: &mut ChaCha8Rng) -> Scalar {
    let mut wide = [0; 64];
    rng.fill_bytes(&mut wide);
    Scalar::from_bytes_mod_order_wide(&wide)
}

/// A torsion point that is not zero.
fn torsion(rng: &mut ChaCha8Rng) -> EdwardsPoint {
    EIGHT_TORSION[1 + below(rng, 7)]
}

/// S plus k times the order of the group, if that fits 256 bits.
fn beyond_order(s: &Scalar, k: u32) -> Option<[u8; 32]> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut out = s.to_bytes();
    for _ in 0..k {
        let mut carry = 0u16;
        for (o, l) in out.iter_mut().zip(ORDER) {
            carry += u16::from(*o) + u16::from(l);
            *o = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return None;
        }
    }
    Some(out)
}

/// Key, R and S of the class; `None` if it happens to be what any verifier accepts of the key's own owner.
struct Forged {
    key: [u8; 32],
    r: [u8; 32],
    s: [u8; 32],
}

fn forge(class: usize, n: u64, rng: &mut ChaCha8Rng) -> Option<(Forged, bool)> {
    let secret = random_scalar(rng);
    let public = &secret * ED25519_BASEPOINT_TABLE;
    let nonce = random_scalar(rng);
    let weak = small_order();
    let pick = |rng: &mut ChaCha8Rng, list: &[[u8; 32]]| list[below(rng, list.len())];
    let plain = public.compress().to_bytes();
    let of = |key: [u8; 32]| -> Option<ItemId> {
        let wrap = super::key(9).public();
        let public =
            DevicePublic::from_parts(SignPublic::from_bytes(&key).ok()?, *wrap.channel(), *wrap.wrap())
                .ok()?;
        Some(header_of(&public, n).2)
    };
    Some(match class {
        // Key and R of small order: the equation holds for S = 0 with any message, once in a few.
        0 => {
            let s = if below(rng, 2) == 0 { Scalar::ZERO } else { nonce };
            (Forged { key: pick(rng, &weak), r: pick(rng, &weak), s: s.to_bytes() }, false)
        }
        // R of small order: the equation times eight holds.
        1 => {
            let r = pick(rng, &weak);
            let s = challenge(&r, &plain, &of(plain)?) * secret;
            (Forged { key: plain, r, s: s.to_bytes() }, true)
        }
        // S beyond the order: the same number once more.
        2 => {
            let r = (&nonce * ED25519_BASEPOINT_TABLE).compress().to_bytes();
            let s = nonce + challenge(&r, &plain, &of(plain)?) * secret;
            let s = beyond_order(&s, 1 + below(rng, 14) as u32)?;
            (Forged { key: plain, r, s }, true)
        }
        // R with a part of small order.
        3 => {
            let r = (&nonce * ED25519_BASEPOINT_TABLE + torsion(rng)).compress().to_bytes();
            let s = nonce + challenge(&r, &plain, &of(plain)?) * secret;
            (Forged { key: plain, r, s: s.to_bytes() }, true)
        }
        // A key with a part of small order, which its owner made so: where the equation does not hold without the eight.
        4 => {
            let part = torsion(rng);
            let key = (public + part).compress().to_bytes();
            let r = (&nonce * ED25519_BASEPOINT_TABLE).compress().to_bytes();
            let h = challenge(&r, &key, &of(key)?);
            if (part * h).is_identity() {
                return None;
            }
            (Forged { key, r, s: (nonce + h * secret).to_bytes() }, true)
        }
        // A key that is written as no encoder writes it.
        _ => {
            let r = (&nonce * ED25519_BASEPOINT_TABLE).compress().to_bytes();
            (Forged { key: pick(rng, &not_canonical()), r, s: nonce.to_bytes() }, false)
        }
    })
}

#[test]
fn keys_and_signatures_at_which_verifiers_disagree_are_refused() {
    let wanted = scaled(2_000, 100_000);
    let mut rng = rng(4);
    let (mut inputs, mut by_key, mut by_signature) = ([0u64; 6], 0u64, 0u64);
    let wrap = key(9).public();
    for n in 0.. {
        if inputs.iter().sum::<u64>() == wanted {
            break;
        }
        let class = below(&mut rng, 6);
        let Some((forged, key_is_good)) = forge(class, n, &mut rng) else { continue };
        inputs[class] += 1;
        let Ok(signing) = SignPublic::from_bytes(&forged.key) else {
            assert!(!key_is_good, "class {class}");
            by_key += 1;
            continue;
        };
        assert!(key_is_good, "class {class}: the key {:02x?} is read", forged.key);
        let public = DevicePublic::from_parts(signing, *wrap.channel(), *wrap.wrap()).unwrap();
        let (head, payload, _) = header_of(&public, n);
        let bytes = [&head[..], &forged.r, &forged.s, &payload].concat();
        let raw = RawItem::parse(bytes.into()).unwrap();
        assert!(raw.verify(&public).is_err(), "class {class}, input {n} is accepted");
        by_signature += 1;
    }
    println!(
        "{wanted} keys and signatures ({inputs:?} a class): {by_key} keys refused, {by_signature} signatures, 0 accepted"
    );
    assert!(inputs.iter().all(|n| *n > wanted / 20));
}

/// The same arithmetic makes what is accepted: else the test above would refuse everything.
#[test]
fn the_same_arithmetic_makes_signatures_that_are_accepted() {
    let mut rng = rng(5);
    let wrap = key(9).public();
    for n in 0..50 {
        let (secret, nonce) = (random_scalar(&mut rng), random_scalar(&mut rng));
        let plain = (&secret * ED25519_BASEPOINT_TABLE).compress().to_bytes();
        let signing = SignPublic::from_bytes(&plain).unwrap();
        let public = DevicePublic::from_parts(signing, *wrap.channel(), *wrap.wrap()).unwrap();
        let (head, payload, id) = header_of(&public, n);
        let r = (&nonce * ED25519_BASEPOINT_TABLE).compress().to_bytes();
        let s = nonce + challenge(&r, &plain, &id) * secret;
        let bytes = [&head[..], &r, &s.to_bytes(), &payload].concat();
        assert!(RawItem::parse(bytes.into()).unwrap().verify(&public).is_ok());
    }
}

/// The exchange with these gives zero, or a number that everybody knows. The top bit is not a part of the number.
#[test]
fn x25519_keys_of_small_order_are_refused_in_every_encoding() {
    let edwards = EIGHT_TORSION.iter().map(|t| t.to_montgomery().to_bytes());
    let written_otherwise = [p_plus(0), p_plus(1)];
    let mut minus_one = p_plus(0);
    minus_one[0] -= 1;
    let mut weak: Vec<[u8; 32]> = edwards.chain(written_otherwise).chain([minus_one]).collect();
    weak.extend(weak.clone().into_iter().map(with_sign));
    weak.sort_unstable();
    weak.dedup();
    let good = key(1).public().to_bytes();
    assert!(DevicePublic::from_bytes(&good).is_ok());
    let mut refused = 0;
    for point in &weak {
        for part in [1, 2] {
            let mut bytes = good;
            bytes[part * 32..][..32].copy_from_slice(point);
            assert!(DevicePublic::from_bytes(&bytes).is_err(), "{point:02x?}");
            refused += 1;
        }
        assert!(RelayPublic::from_bytes(*point).is_err(), "{point:02x?}");
        refused += 1;
    }
    println!("{} encodings of X25519 points of small order, {refused} times refused, 0 accepted", weak.len());
    assert!(weak.len() >= 14);
}
