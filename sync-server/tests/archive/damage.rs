//! Damaged logs, and what `verify` says of them.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use dinh_proto::ids::SpaceId;
use dinh_proto::item::ITEM_OVERHEAD_BYTES;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use redb::ReadableTable;
use sha2::{Digest, Sha256};

use crate::hub_common::{Branch, Phone, draft, resigned, village};
use crate::make::*;

fn report(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[test]
fn a_flipped_bit_is_found_or_changes_nothing_in_the_log() {
    // What a damaged file makes redb panic about is caught; the lines about it help nobody.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name().is_some_and(|name| name.contains("flipped_bit")) {
            let is_ours = panic.location().is_some_and(|at| at.file().contains("tests/archive"));
            if !is_ours {
                return;
            }
        }
        hook(panic);
    }));
    let items = history(110);
    let data = data_with(&items[..50]);
    append(data.path(), 2, &items[50..100]);
    // The last commit has items: without it some would be gone.
    let log = dinh_server::log::RedbLog::open(&log_path(data.path()), epoch(3)).unwrap();
    log.append_batch(&items[100..]).unwrap();
    log.close().unwrap();
    let good = verify_data(data.path());
    assert!(good.problems.is_empty(), "{}", problems(&good));
    assert_eq!(good.counts.signatures, items.len() as u64);
    let path = log_path(data.path());
    let bytes = fs::read(&path).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut rng = ChaCha8Rng::from_seed([7; 32]);
    // All bits of the header's flags, every byte of the header; then pages that have something in them, and any.
    let mut positions: BTreeSet<(usize, u8)> = (0..8).map(|bit| (9, bit)).collect();
    positions.extend((0..320).map(|at| (at, (at % 8) as u8)));
    let used: Vec<usize> = (4_096..bytes.len())
        .step_by(4_096)
        .filter(|p| bytes[*p..][..4_096].iter().any(|b| *b != 0))
        .collect();
    while positions.len() < 630 {
        let page = used[rng.next_u32() as usize % used.len()];
        positions.insert((page + rng.next_u32() as usize % 4_096, (rng.next_u32() % 8) as u8));
    }
    while positions.len() < 680 {
        positions.insert((rng.next_u32() as usize % bytes.len(), (rng.next_u32() % 8) as u8));
    }
    let (mut found, mut harmless) = (0, 0);
    for (at, bit) in &positions {
        file.write_all_at(&[bytes[*at] ^ (1 << bit)], *at as u64).unwrap();
        let after = verify_data(data.path());
        if after.problems.is_empty() {
            harmless += 1;
            assert_eq!(after, good, "bit {bit} of byte {at} changed what is there, and nothing was said");
        } else {
            found += 1;
        }
        file.write_all_at(&bytes[*at..=*at], *at as u64).unwrap();
    }
    report(&format!(
        "{} bits flipped in a log of {} bytes, {} of them in {} pages that are not empty: {found} found, {harmless} in bytes \
         that nothing uses",
        positions.len(),
        bytes.len(),
        positions.iter().filter(|(at, _)| *at >= 4_096).count(),
        used.len()
    ));
    assert!(found > 200 && harmless > 0, "{found} found, {harmless} harmless");
    assert_eq!(Sha256::digest(fs::read(&path).unwrap()), Sha256::digest(&bytes), "verify changed the file");
}

#[test]
fn a_log_that_is_cut_short_or_no_log_is_damage_and_no_crash() {
    let data = data_with(&history(60));
    let path = log_path(data.path());
    let bytes = fs::read(&path).unwrap();
    for len in [0, 1, 319, 4_096, 5_000, bytes.len() / 2, bytes.len() - 4_096, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).unwrap();
        assert!(!verify_data(data.path()).problems.is_empty(), "{len} bytes");
    }
    fs::write(&path, "not a log at all").unwrap();
    assert!(!verify_data(data.path()).problems.is_empty());
}

#[test]
fn a_log_that_was_not_closed_is_looked_at_and_left_as_it_is() {
    let data = data_with(&history(60));
    let copy = tempfile::tempdir().unwrap();
    // As a relay that was killed leaves it.
    let log = dinh_server::log::RedbLog::open(&log_path(data.path()), epoch(9)).unwrap();
    log.append_batch(&history(61)[71..]).unwrap();
    fs::copy(log_path(data.path()), log_path(copy.path())).unwrap();
    drop(log);
    let before = fs::read(log_path(copy.path())).unwrap();
    let found = verify_data(copy.path());
    assert!(found.problems.is_empty(), "{}", problems(&found));
    assert_eq!((found.counts.items, found.epochs), (72, 2));
    assert!(fs::read(log_path(copy.path())).unwrap() == before, "verify repaired the file");
    assert_eq!(found.notes.len(), 0);
    backup_of(copy.path());
    assert!(fs::read(log_path(copy.path())).unwrap() == before, "backup repaired the file");
    // The commit before this one is whole too, and nothing tells which one a relay was about to make: that is said.
    let mut flipped = before;
    flipped[9] ^= 1;
    fs::write(log_path(copy.path()), flipped).unwrap();
    let found = verify_data(copy.path());
    assert!(found.notes.len() == 1 || !found.problems.is_empty());
}

const SUMMARIES: redb::TableDefinition<'_, &[u8; 16], &[u8]> = redb::TableDefinition::new("summaries");

/// Puts others in the place of the village's segments.
fn change_segments(data: &std::path::Path, to: impl Fn([u8; 24], Vec<u8>) -> Option<([u8; 24], Vec<u8>)>) {
    let db = redb::Database::open(log_path(data)).unwrap();
    let txn = db.begin_write().unwrap();
    {
        let segments = redb::TableDefinition::<&[u8; 24], &[u8]>::new("segments");
        let mut table = txn.open_table(segments).unwrap();
        let rows = table.iter().unwrap().map(|row| row.unwrap());
        let rows = rows.map(|(key, value)| (*key.value(), value.value().to_vec()));
        let of_village: Vec<_> = rows.filter(|(key, _)| key.starts_with(&village().0)).collect();
        for (key, value) in of_village {
            table.remove(&key).unwrap();
            if let Some((key, value)) = to(key, value) {
                table.insert(&key, &value[..]).unwrap();
            }
        }
    }
    txn.commit().unwrap();
}

#[test]
fn each_thing_that_is_wrong_is_named_with_its_place() {
    let items = history(30);
    let count = items.len() as u64;
    let expect = |wrong: &[&str], what: &dyn Fn(&std::path::Path)| {
        let data = data_with(&items);
        what(data.path());
        let found = verify_data(data.path());
        let told = problems(&found);
        for wrong in wrong {
            assert!(told.contains(wrong), "{wrong:?} is not in\n{told}");
        }
    };
    let flip_item = |at: usize| {
        move |data: &std::path::Path| {
            change(data, "log", |log| {
                let mut bytes = stored(log, 20);
                let at = at.min(bytes.len() - 1);
                bytes[at] ^= 1;
                log.insert(20, &bytes[..]).unwrap();
            });
        }
    };
    expect(&["item 20: no item: item payload does not match its hash"], &flip_item(usize::MAX));
    expect(&["item 20: the signature is not that of its author"], &flip_item(ITEM_OVERHEAD_BYTES - 1));
    // Another number: the index says the old one, the chain has a fork or a gap, and the signature does not fit.
    let segments = format!("index: segments of space {}: ", village());
    let summary = format!("index: summary of space {}: ", village());
    let they_say = format!("{segments}they say something else than the items");
    let it_says = format!("{summary}it says something else than the items");
    expect(&["item 20: the signature", &they_say, &it_says], &flip_item(86));
    expect(&["item 12: nothing is stored there"], &|data| {
        change(data, "log", |log| drop(log.remove(12).unwrap()));
    });
    expect(&[&format!("{segments}index row does not match its hash"), &they_say], &|data| {
        change_segments(data, |key, mut bytes| {
            bytes[40] ^= 8;
            Some((key, bytes))
        });
    });
    expect(&[&format!("{segments}there are none")], &|data| change_segments(data, |_, _| None));
    // Sound by itself, and of another length than the item has: its last byte before the checksum.
    expect(&[&they_say], &|data| {
        change_segments(data, |key, mut bytes| {
            let body = bytes.len() - 8;
            bytes[body - 1] ^= 1;
            let sum = Sha256::new_with_prefix(&key[..16]).chain_update(&bytes[..body]).finalize();
            bytes[body..].copy_from_slice(&sum[..8]);
            Some((key, bytes))
        });
    });
    let nowhere = SpaceId([9; 16]);
    expect(&[&format!("index: summary of space {nowhere}: ")], &|data| {
        let db = redb::Database::open(log_path(data)).unwrap();
        let txn = db.begin_write().unwrap();
        {
            let mut summaries = txn.open_table(SUMMARIES).unwrap();
            let bytes = summaries.get(&village().0).unwrap().unwrap().value().to_vec();
            summaries.insert(&nowhere.0, &bytes[..]).unwrap();
        }
        txn.commit().unwrap();
    });
    expect(&[&format!("{summary}there is none")], &|data| {
        let db = redb::Database::open(log_path(data)).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(SUMMARIES).unwrap().remove(&village().0).unwrap();
        txn.commit().unwrap();
    });
    expect(&["index: it reaches to 5000, and the log ends at"], &|data| {
        let db = redb::Database::open(log_path(data)).unwrap();
        let txn = db.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        txn.open_table(meta).unwrap().insert("indexed", 5_000).unwrap();
        txn.commit().unwrap();
    });
    // Items of whom nobody knows, in a space that nobody made; and forks.
    let mut stranger = Phone::new(40);
    let mut branch = Branch::new();
    let twice = branch.secretary.run(village(), draft(), b"the second first one");
    let bad_link = resigned(&items[25], &Phone::new(2).key, |header| header[70] ^= 1);
    let odd = [
        stranger.run(village(), draft(), b"x").bytes().clone(),
        stranger.run(SpaceId([9; 16]), draft(), b"x").bytes().clone(),
        twice.bytes().clone(),
        bad_link,
    ];
    let place = |i: u64| format!("item {}: ", count + 1 + i);
    let wrong = [
        format!("{}its author has no certificate", place(0)),
        format!("{}its space 0909", place(1)),
        format!("{}it is another number 1 of the chain of device", place(2)),
        format!("{}it is another number", place(3)),
    ];
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    expect(&wrong, &|data| {
        change(data, "log", |log| {
            for (seq, bytes) in (count + 1..).zip(&odd) {
                log.insert(seq, &bytes[..]).unwrap();
            }
        });
    });
    expect(&["epoch 2: ", "it begins at 5000"], &|data| {
        let db = redb::Database::open(log_path(data)).unwrap();
        let txn = db.begin_write().unwrap();
        let mut value = [3; 16];
        value[8..].copy_from_slice(&5_000u64.to_le_bytes());
        let epochs = redb::TableDefinition::<u64, &[u8; 16]>::new("epochs");
        txn.open_table(epochs).unwrap().insert(1, &value).unwrap();
        txn.commit().unwrap();
    });
}

#[test]
fn of_many_problems_the_first_are_shown_and_all_are_counted() {
    let items = history(250);
    let data = data_with(&items);
    change(data.path(), "log", |log| {
        for seq in 21..=220 {
            let mut bytes = stored(log, seq);
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            log.insert(seq, &bytes[..]).unwrap();
        }
    });
    let found = verify_data(data.path());
    assert_eq!(found.problems.first().len(), 100);
    assert!(found.problems.total() >= 200, "{}", found.problems.total());
    // Such a log is not copied as if it were good.
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["backup", "--data", text(data.path()), "--to", text(folder.path())]);
    assert!(!output.status.success() && stderr(&output).contains("item 21"), "{}", stderr(&output));
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["dinh.lock"]);
}

/// The file of `tests/upgrade.rs`.
const OF_FORMAT_1: &[u8] = include_bytes!("../data/relay-format-1.redb");

#[test]
fn a_log_of_the_format_before_is_looked_at_and_copied_and_not_upgraded_by_that() {
    let data = tempfile::tempdir().unwrap();
    fs::write(log_path(data.path()), OF_FORMAT_1).unwrap();
    let found = verify_data(data.path());
    assert!(found.problems.is_empty(), "{}", problems(&found));
    assert!(found.notes.iter().any(|note| note.contains("earlier release")), "{:?}", found.notes);
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join("backup");
    fs::write(&file, backup_of(data.path())).unwrap();
    let spaces = copy.path().join("spaces");
    let branch = space_text(Branch::new().id);
    let data_path = text(data.path());
    let exported = run(&[
        "export-space",
        "--space",
        &branch,
        "--all-spaces",
        "--data",
        data_path,
        "--output",
        text(&spaces),
    ]);
    assert!(exported.status.success(), "{}", stderr(&exported));
    assert!(fs::read(log_path(data.path())).unwrap() == OF_FORMAT_1, "it was written to");
    // What is restored is of this format, and indexed.
    let target = copy.path().join("target");
    crate::copies::restore(&file, &target).unwrap();
    let restored = verify_data(&target);
    assert!(restored.problems.is_empty() && restored.notes.is_empty());
    assert_eq!(restored.counts, found.counts);
    assert!(restored.index_rows > 0);
}
