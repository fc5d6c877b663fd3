//! The contract of the store over every backend, and what redb does when the disk or the process ends.

#![allow(clippy::unwrap_used)] // in helpers of tests

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use dinh_core::store::conformance::{self, Dump, dump};
use dinh_core::store::{MemoryStore, RedbStore, Store, StoreError, Table};
use dinh_core::testing::{Crash, SimDisk};
use proptest::collection::vec;
use proptest::prelude::*;
use redb::{Database, ReadableDatabase, TableDefinition};

#[test]
fn memory_keeps_the_contract() {
    conformance::check(MemoryStore::new);
}

#[test]
fn redb_on_a_file_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = 0;
    conformance::check(|| {
        files += 1;
        RedbStore::open(dir.path().join(format!("{files}"))).unwrap()
    });
    conformance::assert_durable(|| RedbStore::open(dir.path().join("durable")).unwrap());
    conformance::assert_exclusive(|| RedbStore::open(dir.path().join("exclusive")));
}

#[test]
fn redb_on_a_simulated_disk_keeps_the_contract() {
    let open = |disk: &SimDisk| RedbStore::with_backend(disk.file());
    conformance::check(|| open(&SimDisk::new(1)).unwrap());
    let disk = SimDisk::new(2);
    conformance::assert_durable(|| {
        // Opening again is after a loss of power each time; a clean end is in the test over files.
        disk.crash(Crash::Tear);
        open(&disk).unwrap()
    });
    let disk = SimDisk::new(3);
    conformance::assert_exclusive(|| open(&disk));
}

#[test]
fn any_error_of_the_disk_stops_the_store() {
    for (kind, says) in [
        (io::ErrorKind::StorageFull, "the disk is full"),
        (io::ErrorKind::QuotaExceeded, "the disk is full"),
        (io::ErrorKind::ReadOnlyFilesystem, "the store cannot be written"),
        (io::ErrorKind::PermissionDenied, "the store cannot be written"),
        (io::ErrorKind::Other, "the store failed and must be opened again"),
    ] {
        let disk = SimDisk::new(4);
        let mut store = RedbStore::with_backend(disk.file()).unwrap();
        let break_disk = || disk.fail_after(0, kind);
        let first = conformance::assert_fail_stop(&mut store, break_disk, || disk.heal());
        assert!(first.to_string().starts_with(says), "{kind}: {first}");
    }
}

#[test]
fn a_full_disk_in_the_middle_of_a_write_leaves_the_state_before() {
    let mut refused = 0;
    for operations in 0.. {
        let disk = SimDisk::new(operations);
        let mut store = RedbStore::with_backend(disk.file()).unwrap();
        let model = Model::new();
        model.step(&mut store, 0).unwrap();
        disk.fill_after(operations);
        let written = model.step(&mut store, 1);
        if written.is_ok() {
            break;
        }
        refused += 1;
        assert!(matches!(written, Err(StoreError::DiskFull(_))), "{written:?}");
        assert!(matches!(model.step(&mut store, 2), Err(StoreError::Poisoned)));
        assert!(matches!(store.read(|_| Ok(())), Err(StoreError::Poisoned)));
        drop(store);
        disk.heal();
        let store = RedbStore::with_backend(disk.file()).unwrap();
        let found = dump(&store);
        // The very last sync may fail after everything was written.
        assert!(found == model.states[1] || found == model.states[2], "half a write after {operations}");
        if operations == 0 {
            assert!(found == model.states[1], "nothing was written, so nothing may be there");
        }
    }
    assert!(refused > 3, "only {refused} points at which the disk could fill up");
}

#[test]
fn a_power_cut_at_any_point_keeps_every_write_that_returned_and_half_of_none() {
    let model = Model::new();
    let run = |disk: &SimDisk| -> Result<u64, u64> {
        let mut store = RedbStore::with_backend(disk.file()).map_err(|_| 0_u64)?;
        (0..Model::STEPS).try_for_each(|n| model.step(&mut store, n).map_err(|_| n))?;
        Ok(Model::STEPS)
    };
    let undisturbed = SimDisk::new(0);
    run(&undisturbed).unwrap();
    let (points, mut in_flight_kept) = (undisturbed.operations(), 0);
    assert!(undisturbed.syncs() > 2 * Model::STEPS, "two phases are two syncs");
    // Bar 32: 10,065 with `DINH_FULL=1`. What a loss of power keeps is drawn anew each time.
    let rounds = if std::env::var_os("DINH_FULL").is_some() { 61 } else { 3 };
    for seed in 0..rounds {
        for point in 0..points {
            let disk = SimDisk::new(seed * points + point);
            disk.fail_after(point, io::ErrorKind::Other);
            let returned = run(&disk).unwrap_or_else(|n| n);
            disk.crash([Crash::Tear, Crash::LoseUnsynced, Crash::KeepAll][seed as usize % 3]);
            // And once more while recovering.
            disk.fail_after(point % 7, io::ErrorKind::Other);
            drop(RedbStore::with_backend(disk.file()));
            disk.crash(Crash::Tear);

            let mut store = RedbStore::with_backend(disk.file())
                .unwrap_or_else(|e| panic!("seed {seed} point {point}: {e}"));
            let found = dump(&store);
            let kept = model.states.iter().position(|state| *state == found);
            let kept = kept.unwrap_or_else(|| panic!("seed {seed} point {point}: half a write")) as u64;
            assert!(
                kept == returned || kept == returned + 1,
                "seed {seed} point {point}: {returned} writes returned, {kept} are there"
            );
            in_flight_kept += kept - returned;
            if kept < Model::STEPS {
                model.step(&mut store, kept).unwrap();
                assert!(dump(&store) == model.states[kept as usize + 1], "the store goes on");
            }
        }
    }
    println!(
        "{} power cuts, and one more in each recovery: 0 writes that returned are lost, 0 halves of a write",
        rounds * points
    );
    assert!(in_flight_kept > 0, "no cut fell between the commit and its return");
}

#[test]
fn a_killed_process_keeps_every_write_that_it_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let model = Model::new();
    let mut kept_before = 0;
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_until_killed", "--nocapture"])
            .env(CHILD_ENV, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut reported = None;
        let mut note = |line: String| {
            if let Some((_, n)) = line.split_once("stored ") {
                reported = Some(n.parse::<u64>().unwrap());
            }
        };
        // It reports each write, so the kill falls into one of the next.
        lines.by_ref().take(10 + 3 * round).for_each(&mut note);
        let locked = RedbStore::open(&path).map(drop);
        assert!(matches!(locked, Err(StoreError::Locked)), "{locked:?}");
        child.kill().unwrap();
        lines.for_each(&mut note);
        assert!(!child.wait().unwrap().success());

        let reported = reported.expect("the child reported writes");
        assert!(reported > kept_before, "each child goes on where the last was killed");
        let store = RedbStore::open(&path).unwrap();
        let kept = steps_in(&store);
        assert!(kept == reported || kept == reported + 1, "{reported} were reported, {kept} are there");
        assert!(dump(&store) == model.state_after(kept), "half a write");
        kept_before = kept;
    }
}

const CHILD_ENV: &str = "DINH_TEST_STORE_OF_CHILD";

/// No test by itself: the process that the test above kills.
#[test]
fn writes_until_killed() {
    let Some(path) = std::env::var_os(CHILD_ENV) else { return };
    let mut store = RedbStore::open(path).unwrap();
    let model = Model::new();
    for n in steps_in(&store)..u64::MAX {
        model.step(&mut store, n).unwrap();
        println!("stored {}", n + 1);
        io::stdout().flush().unwrap();
    }
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    drop(RedbStore::open(&path).unwrap());
    let format = TableDefinition::<&str, u32>::new("format");
    let edit = |value: u32| {
        let db = Database::open(&path).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(format).unwrap().insert("format", value).unwrap();
        txn.commit().unwrap();
    };
    edit(2);
    for _ in 0..2 {
        let refused = RedbStore::open(&path).map(drop);
        assert!(matches!(refused, Err(StoreError::NewerFormat { found: 2, supported: 1 })), "{refused:?}");
    }
    edit(1);
    RedbStore::open(&path).unwrap();
}

#[test]
fn a_table_that_a_later_release_adds_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut store = RedbStore::open(&path).unwrap();
    store.write(|tx| tx.put(Table::Items, b"a", b"1")).unwrap();
    store.close().unwrap();
    let db = Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    assert!(txn.delete_table(TableDefinition::<&[u8], &[u8]>::new(Table::Sums.name())).unwrap());
    txn.commit().unwrap();
    drop(db);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(dump(&store), [(Table::Items, b"a".to_vec(), b"1".to_vec())]);
}

#[test]
fn files_of_others_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let refuse = |path: &Path| {
        let refused = RedbStore::open(path).map(drop);
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    };
    let text = dir.path().join("text");
    std::fs::write(&text, "not a store").unwrap();
    refuse(&text);
    assert_eq!(std::fs::read(&text).unwrap(), b"not a store");

    let foreign = dir.path().join("redb");
    let table = TableDefinition::<&str, &str>::new("theirs");
    let db = Database::create(&foreign).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(table).unwrap().insert("a", "b").unwrap();
    txn.commit().unwrap();
    drop(db);
    refuse(&foreign);
    let db = Database::open(&foreign).unwrap();
    assert_eq!(db.begin_read().unwrap().list_tables().unwrap().count(), 1);

    let missing = RedbStore::open(dir.path().join("no such directory/store")).map(drop);
    assert!(matches!(missing, Err(StoreError::Failed(_))), "{missing:?}");
}

#[test]
fn only_a_file_without_any_data_counts_as_unfinished() {
    // What is left if the machine stops before redb wrote its magic number.
    let disk = SimDisk::from_image(5, vec![0; 1 << 20]);
    RedbStore::with_backend(disk.file()).unwrap();
    let mut image = vec![0; 1 << 20];
    image[20] = 1;
    RedbStore::with_backend(SimDisk::from_image(6, image).file()).unwrap();

    // A store whose first sector was lost still holds data.
    let disk = SimDisk::new(7);
    let mut store = RedbStore::with_backend(disk.file()).unwrap();
    Model::new().step(&mut store, 0).unwrap();
    drop(store);
    disk.edit(|image| image[..512].fill(0));
    let before = disk.durable_image();
    let refused = RedbStore::with_backend(disk.file()).map(drop);
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    assert!(disk.durable_image() == before, "it was changed");
}

#[test]
fn opening_and_reading_write_nothing_of_ours() {
    let disk = SimDisk::new(8);
    let mut store = RedbStore::with_backend(disk.file()).unwrap();
    Model::new().step(&mut store, 0).unwrap();
    let syncs = disk.syncs();
    dump(&store);
    store.write(|tx| tx.delete(Table::Items, b"not there")).unwrap();
    assert!(
        store.write(|tx| tx.put(Table::Items, b"a", b"1").and(Err::<(), _>(StoreError::Poisoned))).is_err()
    );
    assert_eq!(disk.syncs(), syncs, "only a write that changes something waits for the disk");

    drop(store);
    let (redb_alone, ours) = (disk.durable_image(), disk.durable_image());
    let (redb_alone, ours) = (SimDisk::from_image(9, redb_alone), SimDisk::from_image(9, ours));
    Database::builder().create_with_backend(redb_alone.file()).unwrap();
    RedbStore::with_backend(ours.file()).unwrap();
    assert_eq!(ours.syncs(), redb_alone.syncs(), "a start costs no commit");
}

#[test]
fn verifying_finds_what_changed_by_itself_and_nothing_else() {
    let disk = SimDisk::new(10);
    let mut store = RedbStore::with_backend(disk.file()).unwrap();
    store.write(|tx| (1..=40).try_for_each(|n| tx.put(Table::Items, &[n], &[n; 300]))).unwrap();
    store.verify().unwrap();
    Model::new().step(&mut store, 0).unwrap();
    store.verify().unwrap();
    store.write(|tx| tx.delete(Table::Meta, b"steps")).unwrap();
    drop(store);
    let image = disk.durable_image();
    let mut flipped = 0;
    for n in 1..=40_u8 {
        let Some(at) = image.windows(300).position(|w| w == [n; 300]) else { continue };
        let disk = SimDisk::from_image(n.into(), image.clone());
        disk.edit(|image| image[at + 150] ^= 1);
        let read = |store: &RedbStore| store.read(|tx| tx.get(Table::Items, &[n])).unwrap();
        let mut store = RedbStore::with_backend(disk.file()).unwrap();
        if read(&store) == Some(vec![n; 300]) {
            // An old page.
            continue;
        }
        flipped += 1;
        assert!(matches!(store.verify(), Err(StoreError::Corrupt("file"))));
        assert!(matches!(store.read(|_| Ok(())), Err(StoreError::Poisoned)), "it is not used any more");
    }
    println!("{flipped} flipped bytes of values, 0 passed");
    assert!(flipped > 10, "{flipped}");
}

#[derive(Debug, Clone)]
enum Op {
    Put(Table, Vec<u8>, Vec<u8>),
    Delete(Table, Vec<u8>),
}

#[derive(Debug, Clone)]
enum Action {
    Write { ops: Vec<Op>, keep: bool },
    Scan { table: Table, from: Vec<u8>, to: Option<Vec<u8>>, visits: usize },
    Reopen(Crash),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..4)
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(vec![Table::Meta, Table::Items, Table::Outbox])
}

fn op() -> impl Strategy<Value = Op> {
    let value = prop_oneof![4 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 3_000..9_000)];
    prop_oneof![
        3 => (table(), key(), value).prop_map(|(table, key, value)| Op::Put(table, key, value)),
        2 => (table(), key()).prop_map(|(table, key)| Op::Delete(table, key)),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let crash = prop::sample::select(vec![Crash::Tear, Crash::LoseUnsynced, Crash::KeepAll]);
    prop_oneof![
        6 => (vec(op(), 0..12), prop::bool::weighted(0.8)).prop_map(|(ops, keep)| Action::Write { ops, keep }),
        3 => (table(), key(), prop::option::of(key()), 1..9_usize)
            .prop_map(|(table, from, to, visits)| Action::Scan { table, from, to, visits }),
        1 => crash.prop_map(Action::Reopen),
    ]
}

/// Does it and says what was seen.
fn act(store: &mut impl Store, action: &Action) -> Result<Vec<Vec<u8>>, String> {
    let mut seen = Vec::new();
    match action {
        Action::Write { ops, keep } => store.write(|tx| {
            for op in ops {
                match op {
                    Op::Put(table, key, value) => tx.put(*table, key, value)?,
                    Op::Delete(table, key) => tx.delete(*table, key)?,
                }
                let (Op::Put(table, key, _) | Op::Delete(table, key)) = op;
                seen.extend(tx.get(*table, key)?);
            }
            if *keep { Ok(()) } else { Err(StoreError::Corrupt("not kept")) }
        }),
        Action::Scan { table, from, to, visits } => store.read(|tx| {
            tx.scan(*table, from, to.as_deref(), &mut |key, value| {
                seen.extend([key.to_vec(), value.to_vec()]);
                Ok(if seen.len() < 2 * visits {
                    std::ops::ControlFlow::Continue(())
                } else {
                    std::ops::ControlFlow::Break(())
                })
            })
        }),
        Action::Reopen(_) => Ok(()),
    }
    .map_err(|error| error.to_string())?;
    Ok(seen)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn redb_does_what_memory_does(seed: u64, actions in vec(action(), 1..40)) {
        let disk = SimDisk::new(seed);
        let mut redb = RedbStore::with_backend(disk.file()).unwrap();
        let mut memory = MemoryStore::new();
        for action in &actions {
            prop_assert_eq!(act(&mut redb, action), act(&mut memory, action));
            if let Action::Reopen(crash) = action {
                disk.crash(*crash);
                redb = RedbStore::with_backend(disk.file()).unwrap();
            }
            prop_assert!(dump(&redb) == dump(&memory), "they differ after {:?}", action);
        }
    }
}

/// A row of writes, each of which touches several tables and pages, and the state after each.
struct Model {
    states: Vec<Dump>,
}

impl Model {
    const STEPS: u64 = 8;

    fn new() -> Self {
        let mut model = Self { states: Vec::new() };
        let mut store = MemoryStore::new();
        for n in 0..Self::STEPS {
            model.states.push(dump(&store));
            model.step(&mut store, n).unwrap();
        }
        model.states.push(dump(&store));
        model
    }

    fn step(&self, store: &mut impl Store, n: u64) -> Result<(), StoreError> {
        store.write(|tx| {
            tx.put(Table::Meta, b"steps", &(n + 1).to_be_bytes())?;
            for i in 0..6_u64 {
                tx.put(Table::Items, &[n.to_be_bytes(), i.to_be_bytes()].concat(), &vec![n as u8; 900])?;
            }
            tx.put(Table::Outbox, &n.to_be_bytes(), b"all of them")?;
            if let Some(old) = n.checked_sub(3) {
                tx.delete(Table::Outbox, &old.to_be_bytes())?;
                for i in 0..6_u64 {
                    tx.delete(Table::Items, &[old.to_be_bytes(), i.to_be_bytes()].concat())?;
                }
            }
            Ok(())
        })
    }

    fn state_after(&self, steps: u64) -> Dump {
        let mut store = MemoryStore::new();
        (0..steps).for_each(|n| self.step(&mut store, n).unwrap());
        dump(&store)
    }
}

fn steps_in(store: &RedbStore) -> u64 {
    let value = store.read(|tx| tx.get(Table::Meta, b"steps")).unwrap();
    value.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
}
