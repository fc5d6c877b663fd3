use super::*;
use crate::document::EditError;
use crate::path;

fn uleb(mut n: u64, out: &mut Vec<u8>) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A run that says one value for this many rows. Counts are signed: a spare bit keeps them positive.
fn run(rows: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    uleb(rows, &mut out);
    if out.last().is_some_and(|last| last & 0x40 != 0) {
        if let Some(last) = out.last_mut() {
            *last |= 0x80;
        }
        out.push(0);
    }
    out.extend_from_slice(value);
    out
}

/// A file of one author, whose changes and operations have these columns.
fn file(actor: [u8; 16], changes: &[(u64, Vec<u8>)], ops: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![1, 16];
    out.extend_from_slice(&actor);
    out.push(0);
    for table in [changes, ops] {
        uleb(table.len() as u64, &mut out);
        for (spec, bytes) in table {
            uleb(*spec, &mut out);
            uleb(bytes.len() as u64, &mut out);
        }
    }
    changes.iter().chain(ops).for_each(|(_, bytes)| out.extend_from_slice(bytes));
    let mut hashed = Vec::new();
    uleb(out.len() as u64, &mut hashed);
    hashed.extend(out);
    let sum = Sha256::new().chain_update([0]).chain_update(&hashed).finalize();
    [&MAGIC[..], &sum[..4], &[0], &hashed].concat()
}

/// Found when the fuzz target `foreign` was written: every row had a copy of what its run said once.
#[test]
fn a_long_name_that_stands_in_many_rows_is_refused_at_once() {
    let mut document = Document::new([1; 16]);
    document.edit::<(), EditError>(1, None, |e| e.put(&path!["k"], 1)).unwrap();
    let changes = [(0x01, run(1, &[0])), (0x03, run(1, &[1])), (0x13, run(1, &[1]))];
    let rows = OPS_MAX as u64;
    let mut name = Vec::new();
    uleb(100_000, &mut name);
    name.resize(name.len() + 100_000, b'k');
    for spec in [0x15, 0xa5] {
        let short = run(rows, b"\x01k");
        let mut ops = vec![
            (0x15, short),
            (0x21, run(rows, &[0])),
            (0x23, run(rows, &[1])),
            (0x34, run(rows, &[])),
            (0x42, run(rows, &[1])),
        ];
        ops.retain(|(s, _)| *s != spec);
        ops.push((spec, run(rows, &name)));
        ops.sort_by_key(|(s, _)| *s);
        let result = document.merged_with_file(&file([1; 16], &changes, &ops));
        assert!(matches!(result, Err(FileError::Unsupported(what)) if what.contains("256")), "{result:?}");
    }
}
