//! What a write costs, and what opening costs after the process was killed. Measurements, no tests:
//! `cargo test --release -p dinh-core --no-default-features --test store_cost -- --ignored --nocapture --test-threads 1`

#![allow(clippy::unwrap_used)] // in helpers of tests

use std::path::Path;
use std::time::{Duration, Instant};

use dinh_core::store::{EncryptedStore, RedbStore, Store, StoreKey, Table};
use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, TableDefinition};

const ITEMS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("items");
const COMMITS: u64 = 300;

#[test]
#[ignore = "a measurement"]
fn cost_of_a_write() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for value_bytes in [200, 2_048] {
        let mut plain = RedbStore::open(dir.path().join(format!("plain-{value_bytes}"))).unwrap();
        let file = RedbStore::open(dir.path().join(format!("encrypted-{value_bytes}"))).unwrap();
        let mut encrypted = EncryptedStore::open(file, &StoreKey::new([1; 32]), [2; 32]).unwrap();
        // In turns, so that a busy machine is unjust to both.
        for _ in 0..2 {
            let of_plain = timed(COMMITS, |n| write(&mut plain, n, value_bytes));
            let of_encrypted = timed(COMMITS, |n| write(&mut encrypted, n, value_bytes));
            println!("write of {value_bytes} B and three small entries: plain {of_plain}");
            println!("write of {value_bytes} B and three small entries: encrypted {of_encrypted}");
        }
    }
}

/// As an edit does it: an item, its place in the document's log and the outbox, a counter.
fn write(store: &mut impl Store, n: u64, value_bytes: usize) {
    store
        .write(|tx| {
            tx.put(Table::Items, &key(n), &vec![7; value_bytes])?;
            tx.put(Table::DocumentLog, &n.to_be_bytes(), &key(n))?;
            tx.put(Table::Outbox, &n.to_be_bytes(), &key(n))?;
            tx.put(Table::Held, b"me", &n.to_be_bytes())
        })
        .unwrap();
}

#[test]
#[ignore = "a measurement"]
fn cost_of_reading_and_of_opening() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let app_key = StoreKey::new([1; 32]);
    for megabytes in [8_u64, 32] {
        let rows = megabytes * 2_000;
        let (plain_path, path) =
            (dir.path().join(format!("{megabytes}-plain")), dir.path().join(format!("{megabytes}")));
        let mut plain = RedbStore::open(&plain_path).unwrap();
        let open = || EncryptedStore::open(RedbStore::open(&path).unwrap(), &app_key, [2; 32]).unwrap();
        let mut encrypted = open();
        let filled = [fill(&mut plain, rows), fill(&mut encrypted, rows)];
        let scanned = [scan(&plain), scan(&encrypted), scan(&plain), scan(&encrypted)];
        let got = [gets(&plain, rows), gets(&encrypted, rows)];
        drop((plain, encrypted));
        let sizes = [&plain_path, &path].map(|p| std::fs::metadata(p).unwrap().len() >> 10);
        let opening = timed(5, |_| drop(open()));
        let verified = timed(5, |_| {
            let mut file = RedbStore::open(&path).unwrap();
            file.verify().unwrap();
        });
        println!(
            "{rows} rows of 300 B (plain, encrypted): fill {filled:.1?}, read all {scanned:.1?}, \
             10000 gets {got:.1?}, KiB {sizes:?}; open encrypted {opening}; open and verify {verified}"
        );
    }
}

fn fill(store: &mut impl Store, rows: u64) -> Duration {
    let start = Instant::now();
    for first in (0..rows).step_by(1_000) {
        let mut range = first..first + 1_000;
        store.write(|tx| range.try_for_each(|n| tx.put(Table::Items, &key(n), &[7; 300]))).unwrap();
    }
    start.elapsed()
}

fn scan(store: &impl Store) -> Duration {
    let start = Instant::now();
    let mut bytes = 0;
    let visit = &mut |_: &[u8], value: &[u8]| {
        bytes += value.len();
        Ok(std::ops::ControlFlow::Continue(()))
    };
    store.read(|tx| tx.scan(Table::Items, b"", None, visit)).unwrap();
    assert!(bytes > 0);
    start.elapsed()
}

fn gets(store: &impl Store, rows: u64) -> Duration {
    let start = Instant::now();
    for n in 0..10_000 {
        assert!(store.read(|tx| tx.get(Table::Items, &key(n * 7_919 % rows))).unwrap().is_some());
    }
    start.elapsed()
}

#[test]
#[ignore = "a measurement"]
fn quick_repair_on_and_off() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for megabytes in [4, 32, 256] {
        for quick in [false, true] {
            let path = dir.path().join(format!("{megabytes}-{quick}"));
            let db = open(&path);
            let mut n = 0;
            while std::fs::metadata(&path).unwrap().len() < megabytes << 20 {
                commit(&db, quick, n, 2_000);
                n += 2_000;
            }
            let times = timed(COMMITS, |i| commit(&db, quick, n + i, 1));
            let killed = dir.path().join("killed");
            // A copy of a file that is open is what a kill leaves.
            std::fs::copy(&path, &killed).unwrap();
            std::fs::File::open(&killed).unwrap().sync_all().unwrap();
            let start = Instant::now();
            let reopened = open(&killed);
            let took = start.elapsed();
            let found = reopened.begin_read().unwrap().open_table(ITEMS).unwrap().len().unwrap();
            assert_eq!(found, n + COMMITS);
            let size = std::fs::metadata(&path).unwrap().len() >> 20;
            println!(
                "{size} MiB, {found} items, quick repair {quick}: commit {times}, open after kill {took:.1?}"
            );
        }
    }
}

fn open(path: &Path) -> Database {
    Database::builder().set_cache_size(4 << 20).create(path).unwrap()
}

fn commit(db: &Database, quick_repair: bool, first: u64, count: u64) {
    let mut txn = db.begin_write().unwrap();
    txn.set_durability(Durability::Immediate).unwrap();
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(quick_repair);
    {
        let mut table = txn.open_table(ITEMS).unwrap();
        for n in first..first + count {
            table.insert(&key(n)[..], &[7; 500][..]).unwrap();
        }
    }
    txn.commit().unwrap();
}

/// Space, author, counter.
fn key(n: u64) -> Vec<u8> {
    [[1; 16], [(n % 30) as u8; 16]].concat().into_iter().chain(n.to_be_bytes()).collect()
}

fn timed(times: u64, mut f: impl FnMut(u64)) -> String {
    let mut took: Vec<Duration> = (0..times)
        .map(|n| {
            let start = Instant::now();
            f(n);
            start.elapsed()
        })
        .collect();
    took.sort();
    let mean = took.iter().sum::<Duration>() / took.len() as u32;
    format!("mean {mean:.1?}, median {:.1?}, 99 % {:.1?}", took[took.len() / 2], took[took.len() * 99 / 100])
}
