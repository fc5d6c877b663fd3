//! Bytes that nobody packed: refused, or opened within the limits, and never a panic.

use std::collections::BTreeSet;

use rand_chacha::rand_core::RngCore;

use super::super::bytes::put_uleb;
use super::super::encode::encode;
use super::super::parts::{Form, PARTS, PartsWriter, deflate};
use super::super::*;
use super::corpus::*;

const LIMITS: PackLimits = PackLimits {
    unpacked_bytes_max: 64 << 10,
    raw_bytes_max: 96 << 10,
    changes_max: 300,
    change_bytes_max: 8 << 10,
    ..PackLimits::RUN
};

/// Packs of different shape, each in every form.
fn samples() -> Vec<Vec<u8>> {
    let mut documents = vec![minutes(3, 1), minutes(40, 2), telex(10)];
    let choices: Vec<u8> = (0..=255).step_by(4).collect();
    documents.push(session(5, 4, &choices));
    let mut samples = BTreeSet::new();
    for mut document in documents {
        let raw = raw_changes(&mut document);
        for run in [&raw[..1], &raw[1..2], &raw[..raw.len().min(9)], &raw[..]] {
            let parts = encode(PackContext::default(), run, &LIMITS).unwrap();
            samples.extend(
                [Form::Plain, Form::Deflated, Form::Split].map(|form| parts.in_form(form, run.len())),
            );
        }
    }
    samples.retain(|sample| unpack(sample, &LIMITS).is_ok());
    samples.into_iter().collect()
}

/// What unpacking promises whatever the bytes say.
fn assert_bounded(unpacked: &[UnpackedChange]) {
    assert!(unpacked.len() <= LIMITS.changes_max);
    assert!(unpacked.iter().map(|change| change.raw().len()).sum::<usize>() <= LIMITS.raw_bytes_max);
    for change in unpacked {
        let head = RawChange::parse(change.raw()).expect("only well-formed chunks come out");
        assert_eq!(head, change.head());
        assert_eq!((head.actor, &head.deps[..]), (change.actor(), change.deps()));
        assert!(change.raw().len() <= LIMITS.change_bytes_max);
        assert!(head.deps.len() <= LIMITS.deps_max && head.other_actors.len() <= LIMITS.others_max);
    }
}

fn raws(bytes: &[u8]) -> Vec<Vec<u8>> {
    unpack(bytes, &LIMITS).unwrap().into_iter().map(UnpackedChange::into_raw).collect()
}

#[test]
fn every_truncation_and_extension_is_refused() {
    for sample in samples() {
        for end in 0..sample.len() {
            assert!(unpack(&sample[..end], &LIMITS).is_err(), "{end} of {}", sample.len());
        }
        for byte in [0, 1, 0xff] {
            let longer = [&sample[..], &[byte]].concat();
            assert!(unpack(&longer, &LIMITS).is_err());
        }
    }
}

/// A flipped bit may leave a pack well-formed, but then it is another set of changes; the same
/// changes come out only where deflate itself has two ways to say a thing.
#[test]
fn flipped_bits_are_seen() {
    for sample in samples().into_iter().filter(|sample| sample.len() < 600) {
        let honest: Vec<_> = unpack(&sample, &LIMITS).unwrap();
        for bit in 0..sample.len() * 8 {
            let mut flipped = sample.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(unpacked) = unpack(&flipped, &LIMITS) else { continue };
            assert_bounded(&unpacked);
            let hashes =
                |changes: &[UnpackedChange]| changes.iter().map(UnpackedChange::hash).collect::<Vec<_>>();
            let same_hashes = hashes(&unpacked) == hashes(&honest);
            assert_eq!(same_hashes, unpacked == honest);
            assert!(!same_hashes || sample[0] & 0x0f != Form::Plain as u8, "bit {bit}");
        }
    }
}

/// Bar 10.
#[test]
fn mutated_packs_stay_within_bounds() {
    let inputs = scaled(200_000, 1_000_000);
    let samples = samples();
    let mut rng = rng(9);
    let mut opened = 0;
    for round in 0..inputs {
        let mut bytes = samples[below(&mut rng, samples.len())].clone();
        for _ in 0..1 + below(&mut rng, 4) {
            mutate(&mut bytes, &mut rng);
        }
        // Every other one has its body deflated anew, so that mutations reach the fields.
        if round % 2 == 0 && bytes.len() > 2 && bytes[0] == 0x10 {
            bytes = [&[0x11, bytes[1]][..], &uleb(bytes.len() as u64 - 2), &deflate(&bytes[2..])].concat();
        }
        if let Ok(unpacked) = unpack(&bytes, &LIMITS) {
            assert_bounded(&unpacked);
            opened += 1;
            // Packing again loses nothing; a plain pack is the only one of its changes.
            let raw: Vec<_> = unpacked.iter().map(UnpackedChange::raw).collect();
            let again = encode(PackContext::default(), &raw, &LIMITS).unwrap();
            assert_eq!(unpack(&again.in_form(Form::Split, raw.len()), &LIMITS).as_ref(), Ok(&unpacked));
            if bytes[0] == 0x10 {
                assert_eq!(again.in_form(Form::Plain, unpacked.len()), bytes);
            }
        }
    }
    // Mutations that all fail at the first byte would test little.
    println!("{inputs} mutated packs: {opened} opened, all within the limits and packed again to the same");
    assert!(opened > 5_000, "{opened}");
}

#[test]
fn mutated_chunks_are_refused_or_another_change() {
    let raw = raw_changes(&mut minutes(20, 1));
    let mut rng = rng(10);
    for _ in 0..20_000 {
        let honest = &raw[below(&mut rng, raw.len())];
        let mut bytes = honest.clone();
        mutate(&mut bytes, &mut rng);
        let parsed = RawChange::parse(&bytes);
        assert_eq!(parsed.is_ok(), bytes == *honest, "the checksum catches it");
        assert_eq!(pack(&[&bytes], &LIMITS).is_ok(), bytes == *honest);
        // Behind the checksum: wrapped again, whatever parses must come back as it was.
        let contents = &bytes[bytes.len().min(11)..];
        let (sealed, hash) = chunk::seal(contents);
        if let Ok(head) = RawChange::parse(&sealed) {
            let mut written = Vec::new();
            head.write_contents(&mut written);
            assert_eq!(written, contents);
            assert_eq!(head.hash, hash);
            if let Ok(packed) = pack(&[&sealed], &LIMITS) {
                assert_eq!(raws(&packed), [sealed]);
            }
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut impl RngCore) {
    if bytes.is_empty() {
        return;
    }
    let at = below(rng, bytes.len());
    match rng.next_u32() % 8 {
        0 => bytes[at] ^= 1 << (rng.next_u32() % 8),
        1 => bytes[at] = rng.next_u32() as u8,
        2 => bytes[at] = bytes[at].wrapping_add(1),
        3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][below(rng, 5)],
        4 => bytes.insert(at, rng.next_u32() as u8),
        5 => drop(bytes.remove(at)),
        6 => {
            let piece = bytes[at..].iter().take(1 + below(rng, 40)).copied().collect::<Vec<_>>();
            let to = below(rng, bytes.len());
            bytes.splice(to..to, piece);
        }
        _ => {
            let end = (at + 1 + below(rng, 20)).min(bytes.len());
            bytes.drain(at..end);
        }
    }
}

fn uleb(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_uleb(&mut out, value);
    out
}

/// A split pack of `count` changes with this first part, the others empty.
fn split(count: u64, plain: u64, stored: &[u8]) -> Vec<u8> {
    [&[0x12][..], &uleb(count), &uleb(plain), &uleb(stored.len() as u64), stored, &[0; PARTS - 1]].concat()
}

#[test]
fn deflate_bombs_are_refused() {
    let bomb = deflate(&vec![0; 4 << 20]);
    assert!(bomb.len() * 1000 < 4 << 20);
    let too_large = PackError::TooLarge { what: "unpacked bytes", limit: LIMITS.unpacked_bytes_max };
    let longer = PackError::Inflate("longer than stated");
    let joined = |plain: u64| [&[0x11, 1][..], &uleb(plain), &bomb].concat();
    for plain in [4 << 20, LIMITS.unpacked_bytes_max as u64 + 1, u64::MAX, u64::MAX / 2, 1 << 32] {
        assert_eq!(unpack(&joined(plain), &LIMITS), Err(too_large));
        assert_eq!(unpack(&split(1, plain, &bomb), &LIMITS), Err(too_large));
    }
    for plain in [LIMITS.unpacked_bytes_max as u64, bomb.len() as u64 + 1] {
        assert_eq!(unpack(&joined(plain), &LIMITS), Err(longer));
        assert_eq!(unpack(&split(1, plain, &bomb), &LIMITS), Err(longer));
    }
    // Each part within the limit, their sum above it: refused before anything is inflated.
    let half = deflate(&vec![0; LIMITS.unpacked_bytes_max / 2 + 1]);
    let part =
        [&uleb(LIMITS.unpacked_bytes_max as u64 / 2 + 1)[..], &uleb(half.len() as u64), &half].concat();
    let two = [&[0x12, 1][..], &part, &part, &[0; PARTS - 2]].concat();
    assert_eq!(unpack(&two, &LIMITS), Err(too_large));
}

#[test]
fn lying_lengths_are_refused() {
    let plain = vec![7; 500];
    let stored = deflate(&plain);
    let wrong = |error: &PackError| matches!(error, PackError::Inflate(_));
    assert!(wrong(&unpack(&split(0, 501, &stored), &LIMITS).unwrap_err()));
    assert!(wrong(&unpack(&split(0, 499, &stored), &LIMITS).unwrap_err()));
    assert!(wrong(&unpack(&split(0, 500, &stored[..stored.len() - 1]), &LIMITS).unwrap_err()));
    assert!(wrong(&unpack(&split(0, 500, &[]), &LIMITS).unwrap_err()));
    let longer = [&stored[..], &[0]].concat();
    assert_eq!(unpack(&split(0, 500, &longer), &LIMITS), Err(PackError::TrailingBytes("deflate stream")));
    assert_eq!(unpack(&split(0, 500, &stored), &LIMITS), Err(PackError::TrailingBytes("part")));
    assert_eq!(
        unpack(&split(0, 3, &[1, 2, 3, 4]), &LIMITS),
        Err(PackError::NotCanonical("stored longer than plain"))
    );
    assert_eq!(unpack(&[0x12, 0, 5, 5, 1, 2], &LIMITS), Err(PackError::Truncated("part")));
    let noise: Vec<u8> = (0..=255).collect();
    let deflated = deflate(&noise);
    let not_smaller = [&[0x11, 0][..], &uleb(noise.len() as u64), &deflated].concat();
    assert_eq!(unpack(&not_smaller, &LIMITS), Err(PackError::NotCanonical("deflated without being smaller")));
}

#[test]
fn heads_and_numbers_have_one_form() {
    assert_eq!(unpack(&[0x10, 0], &LIMITS), Ok(vec![]));
    for head in (0..=255).filter(|head| !(0x10..=0x12).contains(head)) {
        assert_eq!(unpack(&[head, 0], &LIMITS), Err(PackError::UnsupportedVersion(head)));
    }
    assert_eq!(unpack(&[0x10, 0x80, 0], &LIMITS), Err(PackError::NonMinimal("changes")));
    let too_large = PackError::TooLarge { what: "changes", limit: LIMITS.changes_max };
    assert_eq!(unpack(&[&[0x10][..], &uleb(u64::MAX)].concat(), &LIMITS), Err(too_large));
    // 65 bits, eleven bytes.
    let ten = [0xff; 9];
    assert_eq!(unpack(&[&[0x10][..], &ten, &[2]].concat(), &LIMITS), Err(PackError::NonMinimal("changes")));
    assert_eq!(
        unpack(&[&[0x10][..], &ten, &[0x81, 0]].concat(), &LIMITS),
        Err(PackError::NonMinimal("changes"))
    );
    // Time is signed: −1 and 0 have longer forms too.
    for (bytes, value) in
        [(&[0x7f][..], Some(-1)), (&[0xff, 0x7f], None), (&[0x80, 0], None), (&[0xc0, 0], Some(64))]
    {
        assert_eq!(bytes::Reader::new(bytes).sleb("").ok(), value);
    }
    let sixty_five_bits = [&[0x80; 9][..], &[0x7e]].concat();
    assert!(bytes::Reader::new(&sixty_five_bits).sleb("").is_err());
}

/// Fields written by hand, each wrong in one place.
#[test]
fn references_have_one_form() {
    let actor = |index: u8| [index, 1, b'a'];
    let tail: &[u8] = &[0, 1, 0];
    let change =
        |actors: &[u8], deps: &[u8], start: u8, tail: &[u8]| [actors, deps, &[0, start, 0, 0], tail].concat();
    let plain = |changes: &[Vec<u8>]| [&[0x10, changes.len() as u8][..], &changes.concat()].concat();
    let first = change(&[&actor(0)[..], &[0]].concat(), &[0], 2, tail);
    let second = |actors: &[u8], deps: &[u8], tail: &[u8]| {
        unpack(&plain(&[first.clone(), change(actors, deps, 2, tail)]), &LIMITS)
    };
    let good = second(&[0, 0], &[1, 1], tail).unwrap();
    assert_eq!(good[1].deps(), [good[0].hash()]);
    assert_eq!((good[1].seq(), good[1].start_op()), (2, 2));

    assert_eq!(second(&[2, 0], &[0], tail), Err(PackError::BadReference("actor index")));
    let again = [&actor(1)[..], &[0]].concat();
    assert_eq!(second(&again, &[0], tail), Err(PackError::NotCanonical("a known actor written out")));
    assert_eq!(second(&[0, 0], &[1, 2], tail), Err(PackError::BadReference("dependency distance")));
    let written_out = [&[1, 0][..], &good[0].hash()].concat();
    assert_eq!(second(&[0, 0], &written_out, tail), Err(PackError::NotCanonical("a known hash written out")));
    assert_eq!(
        second(&[0, 0], &[0], &[0, 4, 1, 1, 1, 9]),
        Err(PackError::NotCanonical("columns written out as a verbatim tail"))
    );
    assert_eq!(second(&[0, 0], &[0], &[1, 0, 0]), Err(PackError::NotCanonical("an empty column")));
    assert_eq!(second(&[0, 0], &[0], &[0x80, 0x80, 1, 0]), Err(PackError::BadReference("column mask")));
    let no_start = change(&[&actor(0)[..], &[0]].concat(), &[0], 0, tail);
    assert_eq!(unpack(&plain(&[no_start]), &LIMITS), Err(PackError::BadChunk("start op is zero")));
    // Near −1: the second change is the first one again.
    let same = [&[0, 0][..], &[0], &[1, 0, 0, 0], tail].concat();
    assert_eq!(unpack(&plain(&[first, same]), &LIMITS), Err(PackError::NotCanonical("a change twice")));
}

/// One byte can mention an actor, one byte a hash: the rebuilt bytes have their own bound.
#[test]
fn expansion_by_references_is_bounded() {
    let mut writer = PartsWriter::new();
    let count = 200;
    for place in 0..count {
        writer.put(parts::Part::Actors, |out| {
            if place == 0 {
                out.extend([0, 32]);
                out.extend([5; 32]);
            } else {
                out.push(0);
            }
            put_uleb(out, 200);
            out.extend([0; 200]);
        });
        writer.put(parts::Part::Deps, |out| {
            let deps = place.min(60) as u8;
            put_uleb(out, u64::from(deps));
            out.extend(1..=deps);
        });
        for part in [parts::Part::Seqs, parts::Part::Times, parts::Part::Messages] {
            writer.put(part, |out| out.push(0));
        }
        writer.put(parts::Part::Starts, |out| out.push(2));
        writer.put(parts::Part::Shapes, |out| out.extend([0, 0]));
    }
    let bytes = writer.in_form(Form::Split, count);
    assert!(
        bytes.len() < 1000 && writer.plain_bytes() < LIMITS.unpacked_bytes_max,
        "{}",
        writer.plain_bytes()
    );
    let too_large = PackError::TooLarge { what: "raw bytes", limit: LIMITS.raw_bytes_max };
    assert_eq!(unpack(&bytes, &LIMITS), Err(too_large));
    assert_eq!(unpack(&bytes, &PackLimits::RUN).unwrap().len(), count);
}
