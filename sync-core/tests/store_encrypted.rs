//! The contract over the encrypted store, its keys, and the change of keys when the power fails.

#![allow(clippy::unwrap_used)] // in helpers of tests

use std::io;

use dinh_core::store::conformance::{self, Dump, dump};
use dinh_core::store::{EncryptedStore, MemoryStore, RedbStore, Store, StoreError, StoreKey, Table};
use dinh_core::testing::{Crash, SimDisk};

type OnDisk = EncryptedStore<RedbStore>;

fn key(n: u8) -> StoreKey {
    StoreKey::new([n; 32])
}

fn open<S: Store>(inner: S) -> EncryptedStore<S> {
    EncryptedStore::open(inner, &key(1), [1; 32]).unwrap()
}

fn open_on(disk: &SimDisk, n: u8, seed: u8) -> Result<OnDisk, StoreError> {
    EncryptedStore::open(RedbStore::with_backend(disk.file())?, &key(n), [seed; 32])
}

#[test]
fn over_memory_it_keeps_the_contract() {
    conformance::check(|| open(MemoryStore::new()));
}

#[test]
fn over_a_file_it_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = 0;
    conformance::check(|| {
        files += 1;
        open(RedbStore::open(dir.path().join(format!("{files}"))).unwrap())
    });
    let at = |name: &str| {
        RedbStore::open(dir.path().join(name)).and_then(|s| EncryptedStore::open(s, &key(1), [2; 32]))
    };
    conformance::assert_durable(|| at("durable").unwrap());
    conformance::assert_exclusive(|| at("exclusive"));
}

#[test]
fn over_a_simulated_disk_it_keeps_the_contract() {
    conformance::check(|| open_on(&SimDisk::new(1), 1, 1).unwrap());
    let disk = SimDisk::new(2);
    conformance::assert_durable(|| {
        disk.crash(Crash::Tear);
        open_on(&disk, 1, 2).unwrap()
    });
    let disk = SimDisk::new(3);
    conformance::assert_exclusive(|| open_on(&disk, 1, 3));
    let disk = SimDisk::new(4);
    let mut store = open_on(&disk, 1, 4).unwrap();
    let full = || disk.fail_after(0, io::ErrorKind::StorageFull);
    let first = conformance::assert_fail_stop(&mut store, full, || disk.heal());
    assert!(matches!(first, StoreError::DiskFull(_)), "{first}");
}

#[test]
fn only_the_right_key_opens_and_the_others_change_nothing() {
    let mut store = open(MemoryStore::new());
    store.write(|tx| tx.put(Table::Items, b"a", b"1")).unwrap();
    let inner = store.into_inner();
    for n in 2..=255 {
        let refused = EncryptedStore::open(inner.clone(), &key(n), [n; 32]).map(drop);
        assert!(matches!(refused, Err(StoreError::WrongKey)), "{refused:?}");
    }
    let text = StoreError::WrongKey.to_string();
    assert!(text.contains("does not open") && text.contains("sync into a new one"), "{text}");
    assert_eq!(dump(&open(inner)), [(Table::Items, b"a".to_vec(), b"1".to_vec())]);
    println!("254 wrong keys, 0 opened");
}

#[test]
fn a_store_without_encryption_is_refused_and_left_alone() {
    for table in Table::ALL {
        let mut plain = MemoryStore::new();
        plain.write(|tx| tx.put(table, b"a", b"1")).unwrap();
        let before = plain.clone();
        let refused = EncryptedStore::open(plain.clone(), &key(1), [1; 32]).map(drop);
        assert!(matches!(refused, Err(StoreError::NotEncrypted)), "{refused:?}");
        assert!(plain == before);
    }
}

#[test]
fn values_that_were_moved_cut_or_made_by_others_stop_the_store() {
    let mut store = open(MemoryStore::new());
    store
        .write(|tx| {
            tx.put(Table::Items, b"a", b"1")?;
            tx.put(Table::Items, b"b", b"2")?;
            tx.put(Table::Outbox, b"a", b"3")
        })
        .unwrap();
    let inner = store.into_inner();
    let of = |table, key: &[u8]| inner.read(|tx| tx.get(table, key)).unwrap().unwrap();
    let stranger = {
        let mut other = EncryptedStore::open(MemoryStore::new(), &key(1), [9; 32]).unwrap();
        other.write(|tx| tx.put(Table::Items, b"a", b"1")).unwrap();
        let bytes = other.into_inner().read(|tx| tx.get(Table::Items, b"a")).unwrap().unwrap();
        assert_eq!(bytes.len(), 42);
        bytes
    };
    let cut = of(Table::Items, b"a")[1..].to_vec();
    let forged = [of(Table::Items, b"b"), of(Table::Outbox, b"a"), stranger, cut, b"1".to_vec(), Vec::new()];
    for value in &forged {
        let mut inner = inner.clone();
        inner.write(|tx| tx.put(Table::Items, b"a", value)).unwrap();
        let mut store = open(inner);
        assert_eq!(store.read(|tx| tx.get(Table::Items, b"b")).unwrap(), Some(b"2".to_vec()));
        // The closure may overlook the error; the store must not, and nothing of the write may stay.
        let written = store.write(|tx| {
            tx.put(Table::Items, b"c", b"4")?;
            Ok(tx.get(Table::Items, b"a").is_err())
        });
        assert!(matches!(written, Err(StoreError::Corrupt("items"))), "{written:?}");
        assert!(matches!(store.read(|_| Ok(())), Err(StoreError::Poisoned)));
        assert!(matches!(store.write(|_| Ok(())), Err(StoreError::Poisoned)));
        assert!(matches!(store.rekey(&key(2)), Err(StoreError::Poisoned)));
        let store = open(store.into_inner());
        assert_eq!(store.read(|tx| tx.get(Table::Items, b"c")).unwrap(), None);
        let scanned = store
            .read(|tx| tx.scan(Table::Items, b"", None, &mut |_, _| Ok(std::ops::ControlFlow::Continue(()))));
        assert!(matches!(scanned, Err(StoreError::Corrupt("items"))), "{scanned:?}");
    }
    println!("{} forged values, 0 read", forged.len());
}

#[test]
fn equal_values_are_stored_differently_and_only_keys_of_rows_show() {
    let mut store = open(MemoryStore::new());
    for n in 0..200_u8 {
        store.write(|tx| tx.put(Table::Items, &[n], b"the same value in every row")).unwrap();
        store.write(|tx| tx.put(Table::Items, &[n], b"the same value in every row")).unwrap();
    }
    let mut values: Vec<_> = dump(&store.into_inner()).into_iter().map(|(_, _, value)| value).collect();
    let rows = values.len();
    values.sort();
    values.dedup();
    assert_eq!((rows, values.len()), (201, 201));
    assert!(values.iter().all(|value| value.windows(4).all(|w| w != b"same")));
}

#[test]
#[should_panic(expected = "belongs to this layer")]
fn the_header_row_cannot_be_written_by_others() {
    let _ = open(MemoryStore::new()).write(|tx| tx.put(Table::Meta, b"\0dinh/store-key", b"x"));
}

fn fill(store: &mut impl Store) -> Dump {
    // The long one alone is more than is encrypted again in one step.
    for n in 0..40_u8 {
        let table = Table::ALL[usize::from(n) % 14];
        let length = if n == 21 { 70 << 10 } else { usize::from(n) * 20 };
        store.write(|tx| tx.put(table, &[n, 0, n], &vec![n; length])).unwrap();
    }
    dump(store)
}

/// Changes keys while the power fails, at up to 25 points and all of the last 12 (every point with `DINH_FULL=1`),
/// and sees which key opens the store afterwards.
fn change_keys_while_the_power_fails(change: impl Fn(&mut OnDisk) -> Result<(), StoreError>) {
    let disk = SimDisk::new(1);
    let mut store = open_on(&disk, 1, 1).unwrap();
    let content = fill(&mut store);
    drop(store);
    let image = disk.durable_image();
    let operations = {
        let disk = SimDisk::from_image(0, image.clone());
        let mut store = open_on(&disk, 1, 2).unwrap();
        let before = disk.operations();
        change(&mut store).unwrap();
        disk.operations() - before
    };
    let stride = if std::env::var_os("DINH_FULL").is_some() { 1 } else { operations.div_ceil(25) };
    let points = (0..=operations).filter(|point| point % stride == 0 || operations - point < 12);
    let (mut old, mut new) = (0, 0);
    for point in points {
        for (round, crash) in [Crash::Tear, Crash::LoseUnsynced, Crash::KeepAll].iter().enumerate() {
            let disk = SimDisk::from_image(point * 3 + round as u64, image.clone());
            let mut store = open_on(&disk, 1, 2).unwrap();
            disk.fail_after(point, io::ErrorKind::Other);
            let changed = change(&mut store).is_ok();
            disk.crash(*crash);
            drop(store);
            let opens = match [open_on(&disk, 1, 3).map(drop), open_on(&disk, 2, 3).map(drop)] {
                [Ok(()), Err(StoreError::WrongKey)] if !changed => 1,
                [Err(StoreError::WrongKey), Ok(())] => 2,
                other => panic!("{crash:?} at {point}: {other:?}, {changed}"),
            };
            *if opens == 1 { &mut old } else { &mut new } += 1;
            assert!(dump(&open_on(&disk, opens, 4).unwrap()) == content, "{crash:?} at {point}");
        }
    }
    assert!(old > 3 && new > 3, "{old} old, {new} new");
    println!(
        "{} power cuts in {operations} operations: {old} times the old, {new} times the new key opens all",
        old + new
    );
}

#[test]
fn a_new_key_is_in_force_whole_or_not_at_all() {
    change_keys_while_the_power_fails(|store| store.rekey(&key(2)));
}

#[test]
fn encrypting_all_again_is_done_whole_or_not_at_all() {
    change_keys_while_the_power_fails(|store| store.rotate(&key(2), [7; 32]));
}

#[test]
fn after_a_change_of_keys_the_store_goes_on_and_rotation_leaves_no_old_value() {
    let mut store = open(MemoryStore::new());
    let content = fill(&mut store);
    store.rekey(&key(2)).unwrap();
    store.write(|tx| tx.put(Table::Meta, b"later", b"1")).unwrap();
    let inner = store.into_inner();
    let before = dump(&inner);
    assert!(matches!(EncryptedStore::open(inner.clone(), &key(1), [3; 32]), Err(StoreError::WrongKey)));
    let mut store = EncryptedStore::open(inner, &key(2), [3; 32]).unwrap();
    assert_eq!(dump(&store).len(), content.len() + 1);
    store.write(|tx| tx.delete(Table::Meta, b"later")).unwrap();
    store.rotate(&key(3), [5; 32]).unwrap();
    assert!(dump(&store) == content);
    store.write(|tx| tx.put(Table::Meta, b"later", b"2")).unwrap();
    let inner = store.into_inner();
    let after = dump(&inner);
    assert_eq!(before.len(), after.len());
    assert!(before.iter().zip(&after).all(|(b, a)| b.0 == a.0 && b.1 == a.1 && b.2 != a.2));
    // The old header over the new values: the old key opens the row and none of the values.
    let mut forged = inner;
    let (table, key_of_row, row) = before.iter().find(|(_, k, _)| k == b"\0dinh/store-key").unwrap().clone();
    forged.write(|tx| tx.put(table, &key_of_row, &row)).unwrap();
    let store = EncryptedStore::open(forged, &key(2), [6; 32]).unwrap();
    assert!(matches!(store.read(|tx| tx.get(Table::Meta, b"later")), Err(StoreError::Corrupt("meta"))));
}
