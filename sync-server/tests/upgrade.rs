//! Files of earlier formats open, whole and once and for all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hub_common;

use dinh_core::testing::{Crash, SimDisk};
use dinh_proto::charter::record::Role;
use dinh_proto::ids::{Cursor, LogEpoch, Seq};
use dinh_proto::item::{Item, RawItem};
use dinh_server::log::{IndexEntry, LogError, RedbLog, Summary};
use hub_common::{Branch, Phone, admission, committee, draft, minutes, secret, village};
use redb::ReadableDatabase;

fn epoch(i: u64) -> LogEpoch {
    LogEpoch(i.to_le_bytes())
}

/// The items of the file: two branches, three spaces, a device that was admitted late, a snapshot.
fn items() -> Vec<Item> {
    let mut branch = Branch::new();
    let mut items = branch.records.clone();
    let text = |i: u8| vec![i; 20 + usize::from(i)];
    for i in 0..40 {
        items.push(branch.secretary.run(village(), minutes(), &text(i)));
        items.push(branch.member.run(village(), draft(), &text(i)));
        if i % 4 == 0 {
            items.push(branch.secretary.run(committee(), secret(), &text(i)));
        }
        if i == 20 {
            items.push(branch.secretary.snapshot(village(), minutes(), items.len() as u64));
            let late = admission(Phone::new(4).certificate(Role::Member));
            items.push(branch.secretary.record(branch.id, &late));
        }
    }
    items
}

/// A file of format 1 of the relay that was built of commit c9208b4: 50 items, closed, opened again, 30 items and their index
/// block, and 20 that no block has, as after a crash.
const FORMAT_1: &[u8] = include_bytes!("data/relay-format-1.redb");

/// Everything that a start and the hub ask of a log.
fn check(log: &RedbLog) {
    let items = items();
    assert_eq!(log.head(), Seq(items.len() as u64));
    let places: Vec<Seq> = (1..=log.head().0).map(Seq).collect();
    let stored = log.read(&places).unwrap();
    assert!(stored.iter().map(|(_, bytes)| bytes).eq(items.iter().map(Item::bytes)));
    let placed: Vec<(Seq, &RawItem)> = places.iter().copied().zip(items.iter().map(Item::as_raw)).collect();
    let summaries = Summary::of_items(placed.iter().copied());
    assert_eq!(log.summaries().unwrap(), summaries);
    assert_eq!(summaries.len(), 3);
    for Summary { space, .. } in summaries {
        let of_space = placed.iter().filter(|(_, item)| item.header().space == space);
        let entries = of_space.map(|(seq, item)| IndexEntry::of(*seq, item));
        assert!(log.space(space).unwrap().entries.into_iter().eq(entries));
    }
}

fn format_of(disk: &SimDisk) -> u64 {
    let db = redb::Database::builder().create_with_backend(disk.file()).unwrap();
    let txn = db.begin_read().unwrap();
    txn.open_table(redb::TableDefinition::<&str, u64>::new("meta"))
        .unwrap()
        .get("format")
        .unwrap()
        .unwrap()
        .value()
}

#[test]
fn a_file_of_format_1_opens_with_everything_in_it_and_is_of_format_2_then() {
    let disk = SimDisk::from_image(1, FORMAT_1.to_vec());
    assert_eq!(format_of(&disk), 1);
    let log = RedbLog::with_backend(disk.file(), epoch(3)).unwrap();
    check(&log);
    // Cursors of before are as good as they were.
    for (e, seq) in [(1, 50), (2, 80), (3, items().len() as u64)] {
        assert!(log.epochs().is_valid(Cursor { epoch: epoch(e), seq: Seq(seq) }, log.head()));
    }
    log.close().unwrap();
    assert_eq!(format_of(&disk), 2);
    let log = RedbLog::with_backend(disk.file(), epoch(4)).unwrap();
    check(&log);
    log.write_index(u64::MAX).unwrap();
    check(&log);
    log.close().unwrap();
    let log = RedbLog::with_backend(disk.file(), epoch(5)).unwrap();
    assert_eq!(log.unindexed(), 0);
    check(&log);
}

#[test]
fn an_upgrade_that_is_cut_off_anywhere_goes_on_at_the_next_start() {
    let undisturbed = SimDisk::from_image(1, FORMAT_1.to_vec());
    RedbLog::with_backend(undisturbed.file(), epoch(3)).unwrap().close().unwrap();
    let (mut of_1, mut of_2) = (0, 0);
    for point in (0..undisturbed.operations()).step_by(3) {
        for crash in [Crash::LoseUnsynced, Crash::Tear, Crash::KeepAll] {
            let disk = SimDisk::from_image(point, FORMAT_1.to_vec());
            disk.fail_after(point, std::io::ErrorKind::Other);
            drop(RedbLog::with_backend(disk.file(), epoch(3)));
            disk.crash(crash);
            match format_of(&disk) {
                1 => of_1 += 1,
                _ => of_2 += 1,
            }
            check(&RedbLog::with_backend(disk.file(), epoch(4)).unwrap());
        }
    }
    assert!(of_1 > 10 && of_2 > 0, "{of_1} {of_2}");
}

/// What a relay of format 1 does first with a file: the check as it was.
#[test]
fn a_relay_of_format_1_refuses_an_upgraded_file() {
    let disk = SimDisk::from_image(1, FORMAT_1.to_vec());
    RedbLog::with_backend(disk.file(), epoch(3)).unwrap().close().unwrap();
    const FORMAT_THEN: u64 = 1;
    let refused = match format_of(&disk) {
        FORMAT_THEN => None,
        found if found > FORMAT_THEN => Some(LogError::NewerFormat { found, known: FORMAT_THEN }),
        _ => None,
    };
    let told = refused.unwrap().to_string();
    assert!(told.contains("format 2") && told.contains("use a newer dinh-relay"), "{told}");
}
