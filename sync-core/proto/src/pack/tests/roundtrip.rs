//! What goes in comes out, and how small it was between.

use automerge::AutoCommit;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::super::encode::encode;
use super::super::parts::Form;
use super::super::*;
use super::corpus::*;

const LIMITS: PackLimits = PackLimits::SNAPSHOT;

/// Packs, unpacks and compares in every form and with Automerge; returns the pack.
fn assert_round_trip(raw: &[Vec<u8>], context: PackContext<'_>) -> Vec<u8> {
    let chosen = pack_in(context, raw, &LIMITS).unwrap();
    let parts = encode(context, raw, &LIMITS).unwrap();
    let forms = [Form::Plain, Form::Deflated, Form::Split].map(|form| parts.in_form(form, raw.len()));
    for packed in forms.iter().chain([&chosen]) {
        let unpacked = match unpack_in(context, packed, &LIMITS) {
            // A short run need not become smaller by deflating; then that form is refused.
            Err(PackError::NotCanonical("deflated without being smaller")) => continue,
            other => other.unwrap(),
        };
        assert_eq!(unpacked.len(), raw.len());
        for (change, raw) in unpacked.iter().zip(raw) {
            assert_eq!(change.raw(), raw);
            let head = RawChange::parse(raw).unwrap();
            assert_eq!(change.head(), head);
            let theirs = automerge::Change::from_bytes(raw.clone()).unwrap();
            assert_eq!(change.hash(), theirs.hash().0);
            assert_eq!(change.actor(), theirs.actor_id().to_bytes());
            assert_eq!((change.seq(), change.start_op()), (theirs.seq(), theirs.start_op().get()));
            assert!(change.deps().iter().eq(theirs.deps().iter().map(|dep| &dep.0)));
            assert_eq!(head.time, theirs.timestamp());
            assert_eq!(head.message, theirs.message().map(str::as_bytes));
            assert!(
                head.other_actors.iter().copied().eq(theirs.other_actor_ids().iter().map(|a| a.to_bytes()))
            );
        }
    }
    assert!(forms.iter().all(|form| chosen.len() <= form.len()) || chosen.len() > 1000);
    chosen
}

fn assert_document(doc: &mut AutoCommit) -> Vec<u8> {
    assert_round_trip(&raw_changes(doc), PackContext::default())
}

#[test]
fn documents_come_out_byte_for_byte() {
    assert_document(&mut minutes(300, 1));
    assert_document(&mut telex(60));
    let choices: Vec<u8> = (0..=255).collect();
    assert_document(&mut session(1, 5, &choices));
    assert_round_trip(&[], PackContext::default());
}

#[test]
fn order_is_the_callers() {
    let mut raw = raw_changes(&mut minutes(40, 1));
    raw.reverse();
    assert_round_trip(&raw, PackContext::default());
    let some: Vec<_> = raw.into_iter().step_by(3).collect();
    assert_round_trip(&some, PackContext::default());
}

/// Chunks built from heads: Automerge itself does not commit at such times.
#[test]
fn extreme_numbers_survive() {
    let raw = raw_changes(&mut minutes(3, 1)).remove(0);
    let head = RawChange::parse(&raw).unwrap();
    let extremes = [i64::MIN, i64::MAX, 0, -1, i64::MIN + 1, 63, 64, -64, -65, 1];
    let made = extremes.map(|number| {
        let number_or_one = (number as u64).max(1);
        let head = RawChange { time: number, seq: number as u64, start_op: number_or_one, ..head.clone() };
        let mut contents = Vec::new();
        head.write_contents(&mut contents);
        chunk::seal(&contents).0
    });
    for change in &made {
        assert_eq!(RawChange::parse(change).unwrap().tail, head.tail);
    }
    let back = unpack(&pack(&made, &LIMITS).unwrap(), &LIMITS).unwrap();
    assert!(back.iter().map(UnpackedChange::raw).eq(made.iter().map(Vec::as_slice)));
}

/// Chunks that Automerge does not write, but which are well-formed: the codec is lossless for them.
#[test]
fn unusual_tails_travel_verbatim() {
    let raw = raw_changes(&mut minutes(3, 1)).remove(0);
    let mut head = RawChange::parse(&raw).unwrap();
    let tails: [&[u8]; 5] = [b"", b"\0", b"\0extra", b"\x01\x01\x00", b"\x02\x02\x01\x01\x01xy"];
    let mut made = Vec::new();
    for tail in tails {
        head.tail = tail;
        let mut contents = Vec::new();
        head.write_contents(&mut contents);
        made.push(chunk::seal(&contents).0);
    }
    let packed = pack(&made, &LIMITS).unwrap();
    let back: Vec<_> = unpack(&packed, &LIMITS).unwrap().into_iter().map(UnpackedChange::into_raw).collect();
    assert_eq!(back, made);
}

#[test]
fn context_saves_the_actor_and_the_hash() {
    let raw = raw_changes(&mut minutes(50, 1));
    let last = raw.last().unwrap();
    let head = RawChange::parse(last).unwrap();
    let (actor, deps) = (head.actor, head.deps.clone());
    let context = PackContext { actors: &[b"someone else", actor], hashes: &[[1; 32], deps[0]] };
    let run = std::slice::from_ref(last);
    let with = assert_round_trip(run, context);
    let without = assert_round_trip(run, PackContext::default());
    assert_eq!(without.len() - with.len(), 32 + 17);

    // Without its context a pack does not open, and with another one it yields other hashes.
    assert!(unpack(&with, &LIMITS).is_err());
    let other = PackContext { hashes: &[[1; 32], [2; 32]], ..context };
    assert_ne!(unpack_in(other, &with, &LIMITS).unwrap()[0].hash(), head.hash);
    // What the context knows must not be written out.
    let only_hashes = PackContext { actors: &[], ..context };
    let written_out = Err(PackError::NotCanonical("a known hash written out"));
    assert_eq!(unpack_in(only_hashes, &without, &LIMITS), written_out);
}

#[test]
fn packing_refuses_what_it_could_not_unpack() {
    let raw = raw_changes(&mut session(2, 4, &[0, 3, 4, 5, 10, 6, 7, 10, 1, 2, 10, 3, 4, 5, 10, 6, 10, 0]));
    let refuse = |limits: PackLimits, what: &str| {
        let error = pack(&raw, &limits).unwrap_err();
        assert!(matches!(error, PackError::TooLarge { what: w, .. } if w == what), "{what}: {error}");
        // The receiver's own check, on a pack made with wider limits.
        let error = unpack(&pack(&raw, &LIMITS).unwrap(), &limits).unwrap_err();
        assert!(matches!(error, PackError::TooLarge { what: w, .. } if w == what), "{what}: {error}");
    };
    refuse(PackLimits { changes_max: raw.len() - 1, ..LIMITS }, "changes");
    refuse(PackLimits { change_bytes_max: raw[0].len() - 1, ..LIMITS }, "change bytes");
    let bytes: usize = raw.iter().map(Vec::len).sum();
    refuse(PackLimits { raw_bytes_max: bytes - 1, ..LIMITS }, "raw bytes");
    let plain = encode(PackContext::default(), &raw, &LIMITS).unwrap().plain_bytes();
    refuse(PackLimits { unpacked_bytes_max: plain - 1, ..LIMITS }, "unpacked bytes");
    refuse(PackLimits { actors_max: 1, ..LIMITS }, "actors");
    refuse(PackLimits { actor_bytes_max: 15, ..LIMITS }, "actor bytes");
    refuse(PackLimits { others_max: 0, ..LIMITS }, "other actors");
    refuse(PackLimits { deps_max: 1, ..LIMITS }, "dependencies");
    let exact =
        PackLimits { changes_max: raw.len(), raw_bytes_max: bytes, unpacked_bytes_max: plain, ..LIMITS };
    assert_eq!(unpack(&pack(&raw, &exact).unwrap(), &exact).unwrap().len(), raw.len());

    let twice = [&raw[0], &raw[0]];
    assert_eq!(pack(&twice, &LIMITS), Err(PackError::NotCanonical("a change twice")));
}

/// Fixed packs: the format must not change under a version number, nor the deflate back end.
#[test]
fn golden() {
    let raw = raw_changes(&mut minutes(6, 1));
    let digest = |packed: &[u8]| bs58::encode(Sha256::digest(packed)).into_string();
    assert_eq!(bs58::encode(pack(&raw[3..4], &LIMITS).unwrap()).into_string(), GOLDEN_ONE);
    assert_eq!(digest(&pack(&raw, &LIMITS).unwrap()), GOLDEN_SEVEN);
    assert_eq!(digest(&pack(&raw_changes(&mut minutes(400, 1)), &LIMITS).unwrap()), GOLDEN_SPLIT);
}
const GOLDEN_ONE: &str = "JxvVYyZJe2GALUYi5PhX1zUjyMGGzGccaFw8fE4XP47W58FZczQFai3Pi3jNuLJCCeijSftQhvhxShMg21weFSskGm4bc5b8z7GDj2oobfdCW9Jsa9oDoxi4bHvXcP5E2adfkVBmtrgVTd1";
const GOLDEN_SEVEN: &str = "dTbF7AjWt75A88Rb5nMPuhkVhPKKLoefhXrTvtR7QFQ";
const GOLDEN_SPLIT: &str = "Cj9kmuZvN5o1f366iiQ5GNz6uw2r3fGPysjCvtFoaguS";

/// Prints sizes; `cargo test -p dinh-proto sizes -- --nocapture`.
#[test]
fn sizes() {
    let report = |name: &str, raw: &[Vec<u8>], context: PackContext<'_>| {
        let bytes: usize = raw.iter().map(Vec::len).sum();
        let packed = pack_in(context, raw, &LIMITS).unwrap();
        assert_eq!(unpack_in(context, &packed, &LIMITS).unwrap().len(), raw.len());
        let each = packed.len() as f64 / raw.len() as f64;
        println!(
            "{name:34} {:6} changes, raw {bytes:7}, pack {:6} (form {}), {each:.1} a change",
            raw.len(),
            packed.len(),
            packed[0] & 15
        );
        (bytes, packed.len())
    };
    let mut doc = minutes(1000, 1);
    let raw = raw_changes(&mut doc);
    let middle = &raw[500..];
    let head = RawChange::parse(&middle[0]).unwrap();
    let known = PackContext { actors: &[head.actor], hashes: &head.deps };
    for count in [1, 2, 4, 8, 16, 32, 64, 256] {
        report("run", &middle[..count], PackContext::default());
        let (bytes, packed) = report("run, actor and previous known", &middle[..count], known);
        assert!(packed * 3 < bytes * 2, "{count} changes: {packed} of {bytes} bytes");
    }
    let (_, packed) = report("minutes, a commit a syllable", &raw, PackContext::default());
    println!("{:34} {}", "  save()", doc.save().len());
    assert!(packed < 19 * raw.len());
    let mut doc = minutes(1000, 5);
    report("minutes, a commit each 5 syllables", &raw_changes(&mut doc), PackContext::default());
    println!("{:34} {}", "  save()", doc.save().len());
    let mut doc = telex(1000);
    report("minutes, a commit a key", &raw_changes(&mut doc), PackContext::default());
    println!("{:34} {}", "  save()", doc.save().len());
    let choices: Vec<u8> = (0..1200u32).map(|choice| (choice * 7 % 251) as u8).collect();
    let mut doc = session(3, 12, &choices);
    report("12 authors", &raw_changes(&mut doc), PackContext::default());
    println!("{:34} {}", "  save()", doc.save().len());
}

/// Bar 10: consecutive changes of one author, as a device packs them.
#[test]
fn honest_runs_come_out_byte_for_byte() {
    let wanted = scaled(10_000, 1_000_000);
    let (mut runs, mut changes, mut rng) = (0u64, 0usize, rng(10));
    'all: for seed in 0.. {
        let choices: Vec<u8> = (0..60).map(|_| below(&mut rng, 256) as u8).collect();
        let raw = raw_changes(&mut session(seed, 1 + seed as usize % 5, &choices));
        let actor = |raw: &Vec<u8>| RawChange::parse(raw).unwrap().actor.to_vec();
        for (first, one) in raw.iter().enumerate() {
            let of_author: Vec<&Vec<u8>> = raw[first..].iter().filter(|r| actor(r) == actor(one)).collect();
            let before = raw[..first].iter().rev().find(|r| actor(r) == actor(one));
            let hashes: Vec<[u8; 32]> = before.iter().map(|r| RawChange::parse(r).unwrap().hash).collect();
            let author = actor(one);
            let context = PackContext { actors: &[&author], hashes: &hashes };
            for length in [1, 2, 5, 16] {
                let run = &of_author[..of_author.len().min(length)];
                let packed = pack_in(context, run, &PackLimits::RUN).unwrap();
                let unpacked = unpack_in(context, &packed, &PackLimits::RUN).unwrap();
                assert!(unpacked.iter().map(UnpackedChange::raw).eq(run.iter().map(|r| &r[..])));
                (runs, changes) = (runs + 1, changes + run.len());
                if runs == wanted {
                    break 'all;
                }
            }
        }
    }
    println!("{runs} runs of {changes} changes: all came out byte for byte");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_sessions_come_out_byte_for_byte(
        seed in any::<u64>(),
        authors in 1usize..6,
        choices in proptest::collection::vec(any::<u8>(), 0..60),
        skip in 0usize..8,
    ) {
        let raw = raw_changes(&mut session(seed, authors, &choices));
        assert_round_trip(&raw[skip.min(raw.len())..], PackContext::default());
    }

    #[test]
    fn numbers_come_back(value in any::<u64>(), expected in any::<u64>()) {
        prop_assert_eq!(bytes::from_near(bytes::near(value, expected), expected), value);
        let mut out = Vec::new();
        bytes::put_uleb(&mut out, value);
        bytes::put_sleb(&mut out, expected as i64);
        let mut reader = bytes::Reader::new(&out);
        prop_assert_eq!(reader.uleb("").unwrap(), value);
        prop_assert_eq!(reader.sleb("").unwrap(), expected as i64);
        reader.end("").unwrap();
    }
}
