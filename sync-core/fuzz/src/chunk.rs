//! Automerge's chunks and columns, put together from parts that a script chooses: so a script gets behind checksums and deflate
//! streams, and can say with few bytes that there are many rows.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use sha2::{Digest, Sha256};

use crate::Feed;

/// Kinds of chunks.
pub const DOCUMENT: u8 = 0;
/// See [`DOCUMENT`].
pub const CHANGE: u8 = 1;
/// In a column's specification: it is deflated.
pub const DEFLATED: u64 = 8;

/// An unsigned LEB128 number.
pub fn uleb(mut n: u64, out: &mut Vec<u8>) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A signed one.
pub fn sleb(mut n: i64, out: &mut Vec<u8>) {
    loop {
        let byte = n as u8 & 0x7f;
        n >>= 7;
        if n == 0 && byte & 0x40 == 0 || n == -1 && byte & 0x40 != 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

/// Reads an unsigned number from the front; `None` at the end.
pub fn read_uleb(bytes: &mut &[u8]) -> Option<u64> {
    let (mut n, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
}

/// A chunk with the checksum that it should have.
pub fn chunk(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut body = vec![kind];
    uleb(content.len() as u64, &mut body);
    body.extend_from_slice(content);
    let sum = Sha256::digest(&body);
    [&[0x85, 0x6f, 0x4a, 0x83], &sum[..4], &body].concat()
}

/// A raw deflate stream of these bytes.
pub fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = DeflateEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).and_then(|()| out.finish()).expect("a vector takes all that is written")
}

/// What one column holds: bytes as they are, one piece again and again, or runs of rows.
pub fn column(feed: &mut Feed<'_>, bytes_max: usize) -> Vec<u8> {
    match feed.below(4) {
        0 => feed.bytes().to_vec(),
        1 => feed.repeated(bytes_max),
        _ => runs(feed, bytes_max),
    }
}

/// Runs: a value many times, values one by one, or nothing many times.
fn runs(feed: &mut Feed<'_>, bytes_max: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..=feed.below(4) {
        let rows = (1i64 << (feed.byte() & 31)).saturating_add(i64::from(feed.byte() & 3));
        match feed.below(5) {
            0 => {
                out.push(0);
                uleb(rows.unsigned_abs(), &mut out);
            }
            1 => {
                let piece = feed.bytes();
                sleb(-(piece.len().max(1) as i64), &mut out);
                out.extend_from_slice(piece);
            }
            2 => {
                // A text, perhaps a long one, in every row.
                let text = feed.repeated(bytes_max);
                sleb(rows, &mut out);
                uleb(text.len() as u64, &mut out);
                out.extend_from_slice(&text);
            }
            3 => {
                sleb(rows, &mut out);
                sleb(feed.number().cast_signed(), &mut out);
            }
            _ => {
                sleb(rows, &mut out);
                uleb(feed.number(), &mut out);
            }
        }
    }
    out.truncate(bytes_max);
    out
}

/// A table: what its columns are called, and their bytes.
pub type Table = Vec<(u64, Vec<u8>)>;

/// Reads the head of a table from the front.
pub fn read_head(bytes: &mut &[u8]) -> Option<Vec<(u64, usize)>> {
    let n = read_uleb(bytes)?;
    (0..n).map(|_| Some((read_uleb(bytes)?, read_uleb(bytes)? as usize))).collect()
}

/// Writes the head of a table, and returns its bytes, with those columns deflated that say so.
pub fn write_head(table: &Table, out: &mut Vec<u8>) -> Vec<u8> {
    let stored: Table = table
        .iter()
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(spec, bytes)| (*spec, if spec & DEFLATED == 0 { bytes.clone() } else { deflated(bytes) }))
        .collect();
    uleb(stored.len() as u64, out);
    for (spec, bytes) in &stored {
        uleb(*spec, out);
        uleb(bytes.len() as u64, out);
    }
    stored.into_iter().flat_map(|(_, bytes)| bytes).collect()
}

/// Changes some columns of a table as the script says; the others stay.
pub fn spoil(feed: &mut Feed<'_>, table: &mut Table, known: &[u64], bytes_max: usize) {
    for _ in 0..feed.below(4) {
        let spec = *feed.one_of(known);
        let at = table.iter().position(|(s, _)| s & !DEFLATED == spec);
        let old = at.map(|at| table.remove(at).1).unwrap_or_default();
        let new = match feed.below(5) {
            0 => Vec::new(),
            1 | 2 => feed.spoilt(&old),
            _ => column(feed, bytes_max),
        };
        table.push((spec | if feed.flag() { DEFLATED } else { 0 }, new));
    }
    table.sort_by_key(|(spec, _)| spec & !DEFLATED);
}
