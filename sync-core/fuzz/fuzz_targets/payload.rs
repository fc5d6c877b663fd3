//! What a member's device may put into a run or a snapshot, made to unpack into much: packs whose parts are deflated streams of
//! anything, and changes whose columns say that there are many rows. Time and memory stay within what is stated, whatever comes of it.
#![no_main]

use dinh_core::document::Document;
use dinh_core::gate::{GateError, Past, judge_change};
use dinh_fuzz::chunk::{self, Table};
use dinh_fuzz::{Feed, quiet, within};
use dinh_proto::pack::{PackContext, PackLimits, UnpackedChange, pack, unpack, unpack_in};
use libfuzzer_sys::fuzz_target;

const COLUMNS: [u64; 14] =
    [0x01, 0x02, 0x11, 0x13, 0x15, 0x34, 0x42, 0x56, 0x57, 0x70, 0x71, 0x73, 0x94, 0xa5];
/// What one change may take while it is judged and applied, bytes: 65,536 operations, decoded, and encoded again.
const CHANGE_MEMORY_MAX: usize = 192 << 20;

/// What unpacking may hold, by its own documentation, and a quarter more for buffers that grow.
const fn unpacking_max(limits: &PackLimits) -> usize {
    let stated = limits.unpacked_bytes_max + 2 * limits.raw_bytes_max + 250 * limits.changes_max;
    stated + stated / 4 + (1 << 20)
}

/// A change of columns that the script chooses, well-formed outside of them.
fn change(feed: &mut Feed<'_>) -> Vec<u8> {
    let mut out = vec![0];
    out.push(16);
    out.extend_from_slice(&[7; 16]);
    chunk::uleb(1, &mut out);
    let start = if feed.flag() { 1 } else { feed.number() };
    chunk::uleb(start, &mut out);
    chunk::sleb(i64::from(feed.byte()), &mut out);
    let message = feed.flag().then(|| feed.repeated(300)).unwrap_or_default();
    chunk::uleb(message.len() as u64, &mut out);
    out.extend_from_slice(&message);
    let others = usize::from(feed.flag());
    chunk::uleb(others as u64, &mut out);
    (0..others).for_each(|_| {
        out.push(16);
        out.extend_from_slice(&[9; 16]);
    });
    let mut table: Table = Vec::new();
    // A map's puts, as many as the script says: the columns that such a change has, before it is spoilt.
    let rows = 1 + (i64::from(feed.word()) << (feed.byte() & 3));
    let mut same = |spec: u64, value: &[u8]| {
        let mut column = Vec::new();
        chunk::sleb(if rows == 1 { -1 } else { rows }, &mut column);
        column.extend_from_slice(value);
        table.push((spec, column));
    };
    same(0x15, b"\x01k");
    same(0x42, &[1]);
    same(0x56, &[2]);
    same(0x70, &[0]);
    let mut inserts = Vec::new();
    chunk::uleb(rows.unsigned_abs(), &mut inserts);
    table.push((0x34, inserts));
    chunk::spoil(feed, &mut table, &COLUMNS, 1 << 18);
    // A deflated column is a chunk of another kind; here they are plain unless the script wants it otherwise.
    if feed.byte() < 250 {
        table.iter_mut().for_each(|(spec, _)| *spec &= !chunk::DEFLATED);
    }
    let columns = chunk::write_head(&table, &mut out);
    chunk::chunk(chunk::CHANGE, &[&out[..], &columns].concat())
}

fn judge(raw: &[u8]) {
    let mut past = Past::new();
    let judged = within(CHANGE_MEMORY_MAX, || judge_change(raw, &mut past));
    match judged {
        Ok(admitted) => {
            let mut document = Document::new([9; 16]);
            within(CHANGE_MEMORY_MAX, || document.apply(vec![admitted.change]).expect("complete"));
            let saved = document.save();
            let loaded = Document::load(&saved, [9; 16]).expect("what was let in can be saved and loaded");
            assert_eq!(loaded.heads(), document.heads());
        }
        Err(GateError::Rule(_) | GateError::Missing(_) | GateError::Shadow(_) | GateError::Pack(_)) => {
            assert_eq!((past.len(), past.ops()), (0, 0), "what is refused leaves no trace");
        }
        Err(other) => panic!("{other}"),
    }
}

/// A part: its length, the stored length, the bytes, of which one of the lengths may be a lie.
fn part(feed: &mut Feed<'_>, out: &mut Vec<u8>) {
    let plain = feed.repeated(8 << 20);
    let stored = if feed.flag() { chunk::deflated(&plain) } else { plain.clone() };
    let lie = if feed.byte() >= 240 { feed.number() } else { 0 };
    chunk::uleb((plain.len() as u64).wrapping_add(lie), out);
    if plain.is_empty() && lie == 0 {
        return;
    }
    chunk::uleb(stored.len() as u64, out);
    out.extend_from_slice(&stored);
}

fn bomb(feed: &mut Feed<'_>) {
    let mut bytes = Vec::new();
    if feed.flag() {
        bytes.push(0x11);
        chunk::uleb(feed.number(), &mut bytes);
        let plain = feed.repeated(64 << 20);
        let lie = if feed.byte() >= 240 { feed.number() } else { 0 };
        chunk::uleb((plain.len() as u64).wrapping_add(lie), &mut bytes);
        bytes.extend(chunk::deflated(&plain));
    } else {
        bytes.push(0x12);
        chunk::uleb(feed.number(), &mut bytes);
        (0..21).for_each(|_| part(feed, &mut bytes));
        bytes.extend_from_slice(feed.bytes());
    }
    unpacked(&bytes, &PackLimits::RUN);
    unpacked(&bytes, &PackLimits::SNAPSHOT);
}

fn unpacked(bytes: &[u8], limits: &PackLimits) {
    let context = PackContext { actors: &[&[7; 16]], hashes: &[] };
    let result = within(unpacking_max(limits), || unpack_in(context, bytes, limits));
    let Ok(changes) = result else { return };
    assert!(changes.len() <= limits.changes_max);
    assert!(changes.iter().map(|c| c.raw().len()).sum::<usize>() <= limits.raw_bytes_max);
    changes.iter().take(4).for_each(|change| judge(change.raw()));
}

fuzz_target!(init: quiet(), |data: &[u8]| {
    let mut feed = Feed(data);
    match feed.below(4) {
        0 => bomb(&mut feed),
        1 => judge(feed.0),
        2 => judge(&chunk::chunk(chunk::CHANGE, feed.0)),
        _ => {
            let raw = change(&mut feed);
            judge(&raw);
            // And as it would travel.
            if let Ok(packed) = pack(&[&raw], &PackLimits::RUN) {
                let back = unpack(&packed, &PackLimits::RUN).expect("what was packed unpacks");
                assert_eq!(back.iter().map(UnpackedChange::raw).collect::<Vec<_>>(), [&raw[..]]);
            }
        }
    }
});
