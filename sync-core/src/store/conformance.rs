//! Checks of the [contract](super), clause by clause, for every store. Each panics with what went wrong.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{ReadTx, Store, StoreError, Table};

/// Every entry of every table, in order.
pub type Dump = Vec<(Table, Vec<u8>, Vec<u8>)>;

/// Runs the checks that need nothing but fresh stores.
///
/// # Panics
/// If the store breaks the contract.
pub fn check<S: Store>(mut fresh: impl FnMut() -> S) {
    assert_holds_what_was_put(&mut fresh());
    assert_atomic(&mut fresh());
    assert_panic_leaves_nothing(&mut fresh());
    assert_isolated(&mut fresh());
    assert_ordered(&mut fresh());
    assert_scan_bounds(&mut fresh());
    assert_visitor_decides(&mut fresh());
}

/// All that is in a store.
///
/// # Panics
/// If the store cannot be read.
pub fn dump(store: &impl Store) -> Dump {
    store.read(|tx| dump_tx(tx)).expect("the store can be read")
}

fn dump_tx(tx: &dyn ReadTx) -> Result<Dump, StoreError> {
    let mut all = Dump::new();
    for table in Table::ALL {
        tx.scan(table, b"", None, &mut |key, value| {
            all.push((table, key.to_vec(), value.to_vec()));
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(all)
}

/// Tables are apart, values of any length come back, later puts win, deleting what is not there is no error.
///
/// # Panics
/// If the store does otherwise.
pub fn assert_holds_what_was_put(store: &mut impl Store) {
    assert_eq!(dump(store), [], "a fresh store is empty");
    let long = vec![7; 1 << 20];
    write(store, |tx| {
        for (i, table) in Table::ALL.iter().enumerate() {
            tx.put(*table, b"key", &[i as u8])?;
        }
        tx.put(Table::Meta, b"", b"empty key")?;
        tx.put(Table::Meta, b"empty value", b"")?;
        tx.put(Table::Meta, b"long", &long)?;
        tx.put(Table::Items, b"twice", b"first")?;
        tx.put(Table::Items, b"twice", b"second")?;
        tx.delete(Table::Items, b"not there")
    });
    for (i, table) in Table::ALL.iter().enumerate() {
        assert_eq!(get(store, *table, b"key"), Some(vec![i as u8]), "{table:?}");
    }
    assert_eq!(get(store, Table::Meta, b""), Some(b"empty key".to_vec()));
    assert_eq!(get(store, Table::Meta, b"empty value"), Some(Vec::new()));
    assert_eq!(get(store, Table::Meta, b"long"), Some(long));
    assert_eq!(get(store, Table::Items, b"twice"), Some(b"second".to_vec()));
    assert_eq!(get(store, Table::Items, b"long"), None);
    write(store, |tx| tx.delete(Table::Items, b"twice"));
    assert_eq!(get(store, Table::Items, b"twice"), None);
    let before = dump(store);
    write(store, |_| Ok(()));
    assert_eq!(dump(store), before, "an empty write changes nothing");
}

/// *atomic*: an error of the closure leaves nothing, is handed on, and the store goes on.
///
/// # Panics
/// If the store does otherwise.
pub fn assert_atomic(store: &mut impl Store) {
    fill(store);
    let before = dump(store);
    let refused = store.write(|tx| {
        tx.put(Table::Items, b"new", b"1")?;
        tx.put(Table::Items, b"a", b"changed")?;
        tx.put(Table::Items, b"a", b"changed again")?;
        tx.delete(Table::Items, b"b")?;
        tx.put(Table::Items, b"b", b"back")?;
        tx.delete(Table::Outbox, b"a")?;
        Err::<(), _>(StoreError::Corrupt("a check"))
    });
    assert!(matches!(refused, Err(StoreError::Corrupt("a check"))), "{refused:?}");
    assert_eq!(dump(store), before, "a write that returned an error left something");
    write(store, |tx| tx.put(Table::Items, b"new", b"2"));
    assert_eq!(get(store, Table::Items, b"new"), Some(b"2".to_vec()), "the store goes on");
    let refused = store.read(|_| Err::<(), _>(StoreError::Corrupt("a check")));
    assert!(matches!(refused, Err(StoreError::Corrupt("a check"))), "{refused:?}");
    assert_eq!(get(store, Table::Items, b"new"), Some(b"2".to_vec()), "the store goes on");
}

/// *atomic*: the same if the closure panics.
///
/// # Panics
/// If the store does otherwise.
pub fn assert_panic_leaves_nothing(store: &mut impl Store) {
    fill(store);
    let before = dump(store);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        store.write(|tx| {
            tx.put(Table::Items, b"a", b"changed")?;
            tx.delete(Table::Items, b"b")?;
            if tx.get(Table::Items, b"b")?.is_none() {
                panic!("this panic is a part of the check");
            }
            Ok(())
        })
    }));
    assert!(panicked.is_err(), "a panic goes on to the caller");
    assert_eq!(dump(store), before, "a write that panicked left something");
    write(store, |tx| tx.put(Table::Items, b"a", b"2"));
    assert_eq!(get(store, Table::Items, b"a"), Some(b"2".to_vec()), "the store goes on");
}

/// *isolated*: within a write, reads see what it put and deleted.
///
/// # Panics
/// If the store does otherwise.
pub fn assert_isolated(store: &mut impl Store) {
    fill(store);
    let before = dump(store);
    let seen = write(store, |tx| {
        assert_eq!(dump_tx(tx)?, before);
        tx.put(Table::Items, b"aa", b"new")?;
        assert_eq!(tx.get(Table::Items, b"aa")?, Some(b"new".to_vec()));
        tx.delete(Table::Items, b"b")?;
        assert_eq!(tx.get(Table::Items, b"b")?, None);
        tx.put(Table::Items, b"c", b"changed")?;
        assert_eq!(keys(tx, Table::Items, b"", None)?, [&b"a"[..], b"aa", b"c"]);
        dump_tx(tx)
    });
    assert_eq!(dump(store), seen, "afterwards, reads see what the write saw");
}

/// *ordered*: keys come in ascending byte order, however they were put.
///
/// # Panics
/// If the store does otherwise.
pub fn assert_ordered(store: &mut impl Store) {
    let mut keys_put: Vec<Vec<u8>> =
        vec![vec![], vec![0], vec![0, 0], vec![0, 255], vec![255], vec![255; 300]];
    keys_put.extend((0..2_000_u16).map(|n| n.wrapping_mul(40_503).to_be_bytes().to_vec()));
    write(store, |tx| keys_put.iter().try_for_each(|key| tx.put(Table::DocumentLog, key, key)));
    let mut expected = keys_put;
    expected.sort();
    expected.dedup();
    let found = store.read(|tx| keys(tx, Table::DocumentLog, b"", None)).expect("the store can be read");
    assert_eq!(found, expected);
}

/// *ordered*: a scan visits `from <= key < to`.
///
/// # Panics
/// If the store does otherwise.
pub fn assert_scan_bounds(store: &mut impl Store) {
    fill(store);
    write(store, |tx| tx.put(Table::Items, b"b\0", b"just after b"));
    let expect = |from: &[u8], to: Option<&[u8]>, expected: &[&[u8]]| {
        let found = store.read(|tx| keys(tx, Table::Items, from, to)).expect("the store can be read");
        assert_eq!(found, expected, "from {from:?} to {to:?}");
    };
    expect(b"", None, &[b"a", b"b", b"b\0", b"c"]);
    expect(b"b", None, &[b"b", b"b\0", b"c"]);
    expect(b"b", Some(b"c"), &[b"b", b"b\0"]);
    expect(b"b", Some(b"b\0"), &[b"b"]);
    expect(b"aa", Some(b"bb"), &[b"b", b"b\0"]);
    expect(b"b", Some(b"b"), &[]);
    expect(b"c", Some(b"a"), &[]);
    expect(b"", Some(b""), &[]);
    expect(b"d", None, &[]);
}

/// A visitor ends the scan by a break or an error, and may read meanwhile.
///
/// # Panics
/// If the store does otherwise.
pub fn assert_visitor_decides(store: &mut impl Store) {
    fill(store);
    let seen = write(store, |tx| {
        let tx = &*tx;
        let mut seen = Vec::new();
        tx.scan(Table::Items, b"", None, &mut |key, _| {
            seen.push((key.to_vec(), tx.get(Table::Outbox, key)?, tx.get(Table::Items, key)?.is_some()));
            Ok(if key == b"b" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(seen)
    });
    assert_eq!(seen, [(b"a".to_vec(), Some(b"1".to_vec()), true), (b"b".to_vec(), None, true)]);
    let mut visits = 0;
    let refused = store.read(|tx| {
        tx.scan(Table::Items, b"", None, &mut |_, _| {
            visits += 1;
            Err(StoreError::Corrupt("a check"))
        })
    });
    assert!(matches!(refused, Err(StoreError::Corrupt("a check"))), "{refused:?}");
    assert_eq!(visits, 1, "an error ends the scan");
    assert_eq!(get(store, Table::Items, b"a"), Some(b"1".to_vec()), "the store goes on");
}

/// *durable*: what was written is there when the same store is opened again.
///
/// # Panics
/// If it is not.
pub fn assert_durable<S: Store>(mut open: impl FnMut() -> S) {
    let mut expected = Dump::new();
    for round in 0..5_u8 {
        let mut store = open();
        assert_eq!(dump(&store), expected);
        write(&mut store, |tx| {
            tx.put(Table::Items, &[round], &vec![round; 5_000])?;
            tx.delete(Table::Items, &[round.wrapping_sub(2)])
        });
        expected = dump(&store);
    }
    assert_eq!(expected.len(), 2);
    assert_eq!(dump(&open()), expected);
}

/// *exclusive*: a second opening is refused while the first lives, and harms nothing.
///
/// # Panics
/// If it is not.
pub fn assert_exclusive<S: Store>(mut open: impl FnMut() -> Result<S, StoreError>) {
    let mut first = open().expect("nobody has it open");
    fill(&mut first);
    let before = dump(&first);
    let second = open().map(drop);
    assert!(matches!(second, Err(StoreError::Locked)), "{second:?}");
    assert_eq!(dump(&first), before);
    write(&mut first, |tx| tx.put(Table::Meta, b"later", b"1"));
    drop(first);
    assert_eq!(get(&open().expect("it was closed"), Table::Meta, b"later"), Some(b"1".to_vec()));
}

/// *fail-stop*: after `break_storage`, the next write fails, and then everything until the store is opened again,
/// even when the storage is well again after `heal_storage`. Returns the first error.
///
/// # Panics
/// If the store does otherwise.
pub fn assert_fail_stop<S: Store>(
    store: &mut S,
    break_storage: impl FnOnce(),
    heal_storage: impl FnOnce(),
) -> StoreError {
    fill(store);
    break_storage();
    let first = store.write(|tx| {
        // The closure may overlook an error; the store must not.
        let _ = tx.put(Table::Items, b"a", &vec![9; 300_000]);
        Ok(())
    });
    let first = first.expect_err("the storage is broken");
    assert!(!matches!(first, StoreError::Poisoned), "the first error says what happened");
    for _ in 0..2 {
        let read = store.read(|tx| tx.get(Table::Items, b"a"));
        assert!(matches!(read, Err(StoreError::Poisoned)), "{read:?}");
        let mut ran = false;
        let written = store.write(|_| {
            ran = true;
            Ok(())
        });
        assert!(matches!(written, Err(StoreError::Poisoned)), "{written:?}");
        assert!(!ran, "no closure runs on a store that failed");
    }
    heal_storage();
    let written = store.write(|tx| tx.put(Table::Items, b"a", b"retry"));
    assert!(matches!(written, Err(StoreError::Poisoned)), "{written:?}");
    first
}

fn fill(store: &mut impl Store) {
    write(store, |tx| {
        tx.put(Table::Items, b"c", b"3")?;
        tx.put(Table::Items, b"a", b"1")?;
        tx.put(Table::Items, b"b", b"2")?;
        tx.put(Table::Outbox, b"a", b"1")
    });
}

fn write<R>(store: &mut impl Store, f: impl FnOnce(&mut dyn super::WriteTx) -> Result<R, StoreError>) -> R {
    store.write(f).expect("the store can be written")
}

fn get(store: &impl Store, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    store.read(|tx| tx.get(table, key)).expect("the store can be read")
}

fn keys(tx: &dyn ReadTx, table: Table, from: &[u8], to: Option<&[u8]>) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut keys = Vec::new();
    tx.scan(table, from, to, &mut |key, _| {
        keys.push(key.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(keys)
}
