//! Copies, and taking them back.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dinh_proto::ids::{Cursor, Seq};
use dinh_server::archive::{
    ArchiveError, Backup, Folder, KeyOutcome, LogSource, Restore, Restored, StreamReader,
};
use dinh_server::log::{LogFile, ReadLog, RedbLog};

use crate::hub_common::relay_key;
use crate::make::*;

pub(crate) fn restore(from: &Path, data: &Path) -> Result<Restored, ArchiveError> {
    let work = Restore { from: from.to_owned(), data: data.to_owned(), accept_problems: false };
    work.run(&mut |_| {})
}

/// Adds a segment, as the command does.
fn add(data: &Path, folder: &Path) -> Result<Option<PathBuf>, ArchiveError> {
    let path = log_path(data);
    let mut folder = Folder::open_for_backup(folder)?;
    let newest = folder.newest()?;
    let after = newest.as_ref().map_or(Seq(0), |n| n.header.last);
    let mut source = LogSource::new(LogFile::open(&path).unwrap(), &path, after, WALL_MS)?;
    let backup = Backup { relay: Some(relay_key().public()), ..Backup::default() };
    Ok(folder.add(newest.as_ref(), &mut source, &backup, &mut |_| {})?.map(|(path, _)| path))
}

fn state_of(data: &Path) -> dinh_server::log::LogState {
    LogFile::open(&log_path(data)).unwrap().state().unwrap()
}

#[test]
fn the_golden_backup_reads_and_is_written_again_byte_for_byte() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/backup-v1.dinh");
    let bytes = fs::read(&golden).unwrap();
    let found = verify_from(&golden);
    assert!(found.problems.is_empty(), "{}", problems(&found));
    assert_eq!((found.counts.items, found.counts.snapshots, found.counts.signatures), (29, 1, 29));
    let (header, mut reader) = StreamReader::open(&bytes[..], "golden").unwrap();
    assert_eq!((header.first, header.last, header.wall_ms), (Seq(1), Seq(29), WALL_MS));
    assert_eq!(header.relay, Some(relay_key().public()));
    assert_eq!(header.operator, vec![(b"k".to_vec(), b"value".to_vec())]);
    assert_eq!(
        header.epochs.iter().map(|e| (e.epoch, e.first)).collect::<Vec<_>>(),
        vec![(epoch(1), Seq(1))]
    );
    let mut writer = dinh_server::archive::StreamWriter::new(Vec::new(), &header).unwrap();
    while let Some(items) = reader.chunk().unwrap() {
        writer.chunk(&items).unwrap();
    }
    assert_eq!(writer.finish().unwrap().0, bytes);
}

#[test]
fn a_restored_log_is_the_same_but_for_its_next_epoch() {
    let items = history(1_300);
    let data = data_with(&items[..700]);
    append(data.path(), 2, &items[700..]);
    let db = redb::Database::open(log_path(data.path())).unwrap();
    let txn = db.begin_write().unwrap();
    let operator = redb::TableDefinition::<&[u8], &[u8]>::new("operator");
    txn.open_table(operator).unwrap().insert(&b"suspended"[..], &b"\0\xff"[..]).unwrap();
    txn.commit().unwrap();
    drop(db);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    fs::write(&file, backup_of(data.path())).unwrap();
    let target = dir.path().join("deep/below");
    let restored = restore(&file, &target).unwrap();
    assert_eq!((restored.head, restored.wall_ms), (Seq(items.len() as u64), WALL_MS));
    assert_eq!(restored.key, KeyOutcome::Missing);
    assert_eq!(state_of(&target), state_of(data.path()), "head, epochs and the operator's rows");
    assert_eq!(items_of(&target), bytes_of(&items));
    let (of_log, of_copy) = (verify_data(&target), verify_from(&file));
    assert!(of_log.problems.is_empty(), "{}", problems(&of_log));
    assert_eq!(of_log.counts, of_copy.counts);
    let (indexed, in_all) = (of_log.index_rows, verify_data(data.path()).index_rows);
    assert!(indexed > 4 && in_all > 4, "{indexed} {in_all}");
    // Cursors that devices got from the log hold up to where the copy ends.
    let log = RedbLog::open(&log_path(&target), epoch(3)).unwrap();
    let valid = |e, s| log.epochs().is_valid(Cursor { epoch: epoch(e), seq: Seq(s) }, log.head());
    let head = items.len() as u64;
    assert!(valid(1, 700) && !valid(1, 701) && valid(2, head) && !valid(2, head + 1) && !valid(4, 1));
    assert_eq!(log.unindexed(), 0, "the first start must not read every item");
    drop(log);
    // There is a log now.
    let error = restore(&file, &target).unwrap_err();
    assert!(matches!(error, ArchiveError::NotEmpty { .. }), "{error}");
    assert!(!target.join("relay.redb.restoring").exists());
}

#[test]
fn a_folder_grows_by_what_is_new_and_restores_as_a_whole() {
    let items = history(200);
    let data = data_with(&items[..50]);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("backups");
    let first = add(data.path(), &folder).unwrap().unwrap();
    assert_eq!(first.file_name().unwrap(), "dinh-000001.backup");
    assert_eq!(add(data.path(), &folder).unwrap(), None, "nothing is new");
    // A relay that was only started knows cursors of another epoch.
    append(data.path(), 2, &[]);
    add(data.path(), &folder).unwrap().unwrap();
    append(data.path(), 3, &items[50..120]);
    add(data.path(), &folder).unwrap().unwrap();
    append(data.path(), 4, &items[120..]);
    let last = add(data.path(), &folder).unwrap().unwrap();
    assert!(fs::metadata(&last).unwrap().len() > 10_000);
    let found = verify_from(&folder);
    assert!(found.problems.is_empty(), "{}", problems(&found));
    assert_eq!(found.counts, verify_data(data.path()).counts);
    let target = dir.path().join("restored");
    restore(&folder, &target).unwrap();
    assert_eq!(state_of(&target), state_of(data.path()));
    assert_eq!(items_of(&target), bytes_of(&items));
    // The restored log goes on in the same folder.
    append(&target, 5, &[]);
    add(&target, &folder).unwrap().unwrap();
    assert!(verify_from(&folder).problems.is_empty());
    // One segment alone is no backup, and says so.
    let error = restore(&last, &dir.path().join("other")).unwrap_err();
    assert!(error.to_string().contains("give the folder"), "{error}");
    assert!(!dir.path().join("other").exists());
}

#[test]
fn a_log_of_another_history_is_not_added_to_a_folder() {
    let items = history(100);
    let data = data_with(&items[..60]);
    let folder = tempfile::tempdir().unwrap();
    add(data.path(), folder.path()).unwrap().unwrap();
    let before = fs::read_dir(folder.path()).unwrap().count();
    // Restored from an older copy, and grown past the place where the folder ends by other items.
    let mut otherwise = items[..40].to_vec();
    otherwise.extend(items[60..].iter().cloned());
    for other in [&otherwise[..], &items[..40]] {
        let other = data_with(other);
        let error = add(other.path(), folder.path()).unwrap_err();
        let told = matches!(error, ArchiveError::OtherHistory { .. } | ArchiveError::Log { .. });
        assert!(told, "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
    }
    // With the command the folder that is ahead is told apart too.
    let shorter = data_with(&items[..40]);
    let output = run(&["backup", "--data", text(shorter.path()), "--to", text(folder.path())]);
    assert!(stderr(&output).contains("Back up this log to a new folder"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(1));
    // Another relay's log that is as long and says the same.
    fs::write(shorter.path().join("relay.key"), "4e".repeat(32)).unwrap();
    append(shorter.path(), 2, &items[40..60]);
    let output = run(&["backup", "--data", text(shorter.path()), "--to", text(folder.path())]);
    assert!(stderr(&output).contains("it is of the relay"), "{}", stderr(&output));
}

#[test]
fn segments_that_are_swapped_missing_or_of_another_folder_are_named() {
    let items = history(120);
    let dir = tempfile::tempdir().unwrap();
    let (data, folder) = (dir.path().join("data"), dir.path().join("backups"));
    for (i, part) in items.chunks(items.len().div_ceil(4)).enumerate() {
        append(&data, i as u64 + 1, part);
        add(&data, &folder).unwrap().unwrap();
    }
    let segment = |n: u32| folder.join(format!("dinh-{n:06}.backup"));
    let aside = dir.path().join("aside");
    let good = verify_from(&folder);
    assert!(good.problems.is_empty());
    let damaged = |what: &str, named: &Path| {
        let outcome = dinh_server::archive::verify_stream(&folder, &mut |_| {});
        let told = outcome.map_or_else(|e| e.to_string(), |found| problems(&found));
        assert!(told.contains(text(named)), "{what}: {told:?}");
        let target = dir.path().join("restored");
        assert!(restore(&folder, &target).is_err(), "{what}");
        assert!(!log_path(&target).exists());
        let _ = fs::remove_dir_all(&target);
    };
    fs::rename(segment(2), &aside).unwrap();
    damaged("missing", &segment(2));
    fs::rename(segment(3), segment(2)).unwrap();
    fs::rename(&aside, segment(3)).unwrap();
    damaged("swapped", &segment(2));
    fs::rename(segment(3), &aside).unwrap();
    fs::rename(segment(2), segment(3)).unwrap();
    fs::rename(&aside, segment(2)).unwrap();
    assert!(verify_from(&folder).problems.is_empty(), "as it was");
    fs::copy(segment(2), segment(3)).unwrap();
    damaged("repeated", &segment(3));
}

#[test]
fn every_changed_bit_and_every_cut_of_a_backup_is_found() {
    let data = data_with(&history(12));
    let good = backup_of(data.path());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    let is_found = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        !verify_from(&file).problems.is_empty()
    };
    assert!(!is_found(&good));
    // Every byte of the header and the end, and every ninth between.
    let positions = (0..500).chain((500..good.len() - 100).step_by(9)).chain(good.len() - 100..good.len());
    let mut flipped = 0;
    for at in positions {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(is_found(&bad), "bit {} of byte {at}", at % 8);
        flipped += 1;
    }
    assert!(flipped > 1_000, "{flipped}");
    for cut in (0..good.len()).step_by(61).chain([good.len() - 1]) {
        assert!(is_found(&good[..cut]), "cut at {cut}");
    }
    assert!(is_found(&[&good[..], b"x"].concat()));
    assert!(is_found(&[&good[..], &good[..]].concat()));
    let target = dir.path().join("restored");
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&file, &bad).unwrap();
    let error = restore(&file, &target).unwrap_err();
    assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "nothing half is there");
}

#[test]
fn a_lying_length_takes_no_memory() {
    let data = data_with(&history(4));
    let good = backup_of(data.path());
    let header = u32::from_le_bytes(good[13..17].try_into().unwrap()) as usize;
    // Of the header, of the items' number, of the chunk, of the first item.
    let chunk = 17 + header + 32;
    for (at, value) in [(13, u32::MAX), (13, 16 << 20), (chunk + 1, u32::MAX), (chunk + 5, u32::MAX)] {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let opened = StreamReader::open(&bad[..], "lying");
        let error = opened.and_then(|(_, mut reader)| reader.chunk()).unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
    }
    let mut newer = good;
    newer[12] = 2;
    let error = StreamReader::open(&newer[..], "newer").unwrap_err();
    assert!(error.to_string().contains("newer dinh-relay"), "{error}");
}

#[test]
fn a_backup_whose_items_have_a_problem_is_restored_only_when_told_to() {
    let mut items = history(40);
    // Its author's chain then lacks nothing, but the item is there twice.
    items.push(items[30].clone());
    let data = data_with(&items);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    fs::write(&file, backup_of(data.path())).unwrap();
    let target = dir.path().join("restored");
    let error = restore(&file, &target).unwrap_err();
    assert!(error.to_string().contains(&format!("item {}", items.len())), "{error}");
    assert!(!log_path(&target).exists());
    let told = Restore { from: file, data: target.clone(), accept_problems: true };
    let restored = told.run(&mut |_| {}).unwrap();
    assert_eq!(restored.problems.total(), 1);
    assert_eq!(items_of(&target), bytes_of(&items));
}

#[test]
fn a_log_without_its_key_is_not_served_under_another_by_accident() {
    let data = data_with(&history(5));
    fs::remove_file(data.path().join("relay.key")).unwrap();
    let data = text(data.path());
    let output = run(&["serve", "--data", data, "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("relay.key is missing") && said.contains("dinh-relay key --new"), "{said}");
    assert!(!Path::new(data).join("relay.key").exists());
    // Whoever has no copy says so.
    let made = run(&["key", "--new", "--data", data]);
    assert!(made.status.success(), "{}", stderr(&made));
    assert_eq!(run(&["key", "--data", data]).stdout, made.stdout);
}

#[cfg(unix)]
#[test]
fn what_root_makes_in_somebody_s_directory_is_theirs() {
    use std::os::unix::fs::{MetadataExt, chown};
    let data = data_with(&history(5));
    let folder = tempfile::tempdir().unwrap();
    let backups = folder.path().join("backups");
    let restored = folder.path().join("restored");
    const NOBODY: u32 = 65_534;
    for path in [&backups, &restored] {
        fs::create_dir(path).unwrap();
        if chown(path, Some(NOBODY), Some(NOBODY)).is_err() {
            // Who is not root cannot make anything of somebody else's.
            return;
        }
    }
    json(&["backup", "--data", text(data.path()), "--to", text(&backups), "--with-key"]);
    json(&["restore", "--from", text(&backups), "--data", text(&restored)]);
    let made = [&backups, &restored].map(|dir| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()));
    let made: Vec<_> = made.into_iter().flatten().collect();
    assert!(made.len() >= 5, "{made:?}");
    for path in made {
        let made = fs::metadata(&path).unwrap();
        assert_eq!(made.uid(), NOBODY, "{}", path.display());
        assert!(made.mode() & 0o077 == 0 || made.len() == 0, "{} is for its owner only", path.display());
    }
}

#[test]
fn the_key_travels_only_when_it_is_asked_to() {
    let data = data_with(&history(10));
    // As a relay makes it when it starts, or as the operator brought it along.
    fs::copy(data.path().join("relay.key"), data.path().join("operator.key")).unwrap();
    fs::write(data.path().join("operator.key"), "5e".repeat(32) + "\n").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let data = text(data.path());
    let output = run(&["backup", "--data", data, "--output", text(&at("without"))]);
    assert!(
        output.status.success() && stderr(&output).matches("relay.key").count() == 1,
        "{}",
        stderr(&output)
    );
    for folder in ["--output", "--to"] {
        let to = at(folder);
        let report = json(&["backup", "--data", data, folder, text(&to), "--with-key"]);
        assert_eq!(report["with_key"], true);
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&at("--to/relay.key")), 0o600);
    assert_eq!((mode(&at("--output")), mode(&at("--to/dinh-000001.backup"))), (0o600, 0o600));
    let secret = [0x4d; 32];
    let contains = |name: &str| {
        let bytes = fs::read(at(name)).unwrap();
        bytes.windows(32).any(|w| w == secret) || bytes.windows(64).any(|w| w == "4d".repeat(32).as_bytes())
    };
    assert!(!contains("without") && contains("--output") && !contains("--to/dinh-000001.backup"));
    for (from, key) in [("without", "missing"), ("--output", "restored"), ("--to", "restored")] {
        let target = at(&format!("restored from {from}"));
        let report = json(&["restore", "--from", text(&at(from)), "--data", text(&target)]);
        assert_eq!(report["key"], key);
        for file in ["relay.key", "operator.key"] {
            assert_eq!(target.join(file).exists(), key == "restored", "{file} from {from}");
        }
        if key == "restored" {
            assert_eq!((mode(&target.join("relay.key")), mode(&target.join("operator.key"))), (0o600, 0o600));
            assert_eq!(fs::read_to_string(target.join("operator.key")).unwrap(), "5e".repeat(32) + "\n");
            let printed = run(&["key", "--data", text(&target)]);
            assert_eq!(String::from_utf8_lossy(&printed.stdout).trim(), relay_key().public().to_string());
        }
    }
}

#[test]
fn a_backup_goes_through_a_pipe() {
    let items = history(300);
    let data = data_with(&items);
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["backup", "--data", text(data.path()), "--output", "-"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let target = dir.path().join("restored");
    let mut child = program()
        .args(["restore", "--from", "-", "--data", text(&target)])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&output.stdout).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(items_of(&target), bytes_of(&items));
}
