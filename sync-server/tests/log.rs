//! The contract of the relay's log, on a simulated disk that forgets and on real files.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may measure"
)]

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use dinh_core::testing::{Crash, SimDisk};
use dinh_proto::crypto::{SEALED_OVERHEAD_BYTES, SpaceKey};
use dinh_proto::ids::{ChangeHash, CharterTag, Cursor, DocId, LogEpoch, Seq, SessionId, SpaceId};
use dinh_proto::item::{Draft, Item, Kind, Place, RawItem};
use dinh_proto::keys::DeviceKey;
use dinh_server::log::writer::{self, Job, Refused};
use dinh_server::log::{IndexEntry, LogError, Position, RedbLog, Summary, Writer};
use redb::ReadableTable;

fn epoch(i: u64) -> LogEpoch {
    LogEpoch(i.to_le_bytes())
}

/// The `i`th item of a fixed mixture of devices, spaces and kinds.
fn item(i: u64) -> Item {
    item_of_size(i, 40 + (i as usize * 37) % 300)
}

fn item_of_size(i: u64, bytes: usize) -> Item {
    let key = DeviceKey::from_seed(&[(i % 5) as u8 + 1; 32]);
    let (kind, place) = match i % 9 {
        4 => (Kind::Snapshot, Place::Covers(Cursor { epoch: epoch(i % 3), seq: Seq(i) })),
        7 => (Kind::Charter, Place::Chain { n: i as u32 + 2, prev: [i as u8 | 1; 16] }),
        _ => (Kind::Run, Place::Chain { n: i as u32 + 2, prev: [i as u8 | 1; 16] }),
    };
    let run = kind == Kind::Run;
    let draft = Draft {
        kind,
        space: SpaceId([(i % 3) as u8 + 1; 16]),
        doc: if kind == Kind::Charter { DocId::default() } else { DocId([(i % 4) as u8 + 1; 16]) },
        session: SessionId([(i % 2) as u8; 8]),
        place,
        first_seq: if run { 1 } else { 0 },
        count: if run { 1 } else { 0 },
        last: if run { ChangeHash([1; 32]) } else { ChangeHash::default() },
        charter_tag: CharterTag([0; 8]),
    };
    if kind == Kind::Charter {
        draft.sign(&key, &vec![i as u8; bytes]).unwrap()
    } else {
        let plain = vec![i as u8; bytes - SEALED_OVERHEAD_BYTES];
        draft.seal(&key, &SpaceKey::from_bytes(&[7; 32]), false, &plain).unwrap()
    }
}

fn items(range: std::ops::Range<u64>) -> Vec<Item> {
    range.map(item).collect()
}

/// Cheap items in numbers: signing is what is slow.
fn many(n: u64) -> Vec<Item> {
    let few = items(0..64);
    (0..n).map(|i| few[i as usize % 64].clone()).collect()
}

fn read_all(log: &RedbLog) -> Vec<Bytes> {
    let seqs: Vec<_> = (1..=log.head().0).map(Seq).collect();
    log.read(&seqs).unwrap().into_iter().map(|(_, bytes)| bytes).collect()
}

fn entries(log: &RedbLog, from: u64) -> Vec<IndexEntry> {
    let mut out = Vec::new();
    log.entries(Seq(from), |entry| out.push(entry)).unwrap();
    out
}

/// The entries as the items themselves say.
fn scanned(log: &RedbLog, from: u64) -> Vec<IndexEntry> {
    let all = (from..).zip(read_all(log).into_iter().skip(from as usize - 1));
    all.map(|(seq, bytes)| IndexEntry::of(Seq(seq), &RawItem::parse(bytes).unwrap())).collect()
}

#[test]
fn what_was_appended_is_there_after_a_reopen_byte_for_byte() {
    let disk = SimDisk::new(1);
    let log = RedbLog::with_backend(disk.file(), epoch(1)).unwrap();
    assert_eq!(log.head(), Seq(0));
    let all = items(0..10);
    assert_eq!(log.append_batch(&all[..1]).unwrap(), Seq(1));
    assert_eq!(log.append_batch(&all[1..10]).unwrap(), Seq(2));
    assert_eq!(log.append_batch(&[]).unwrap(), Seq(11));
    log.close().unwrap();
    let log = RedbLog::with_backend(disk.file(), epoch(2)).unwrap();
    assert_eq!(log.head(), Seq(10));
    assert_eq!(read_all(&log), all.iter().map(|i| i.bytes().clone()).collect::<Vec<_>>());
    let picked = log.read(&[Seq(9), Seq(2)]).unwrap();
    assert_eq!(picked, vec![(Seq(9), all[8].bytes().clone()), (Seq(2), all[1].bytes().clone())]);
    assert!(matches!(log.read(&[Seq(11)]), Err(LogError::NotStored(Seq(11)))));
    // A wrong question is not a failed write.
    assert_eq!(log.append_batch(&all[..1]).unwrap(), Seq(11));
}

#[test]
fn every_acknowledged_append_survives_every_crash() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let mut acknowledged: Vec<Bytes> = Vec::new();
        for life in 0..6 {
            let log = RedbLog::with_backend(disk.file(), epoch(life + 1)).unwrap();
            let stored = read_all(&log);
            assert_eq!(stored[..acknowledged.len()], acknowledged[..], "seed {seed} life {life}");
            // What was not acknowledged may be there, but whole batches and in order.
            assert_eq!(entries(&log, 1), scanned(&log, 1));
            acknowledged = stored;
            // Some lives end in the middle of a write, some just after an answer.
            let fault = (seed * 7 + life * 13) % 40;
            if life % 2 == 0 {
                disk.fill_after(fault);
            }
            for batch in 0..4 {
                let from = life * 100 + batch * 10;
                let batch = items(from..from + 1 + batch * 3);
                match log.append_batch(&batch) {
                    Ok(first) => {
                        assert_eq!(first.0 as usize, acknowledged.len() + 1);
                        acknowledged.extend(batch.iter().map(|i| i.bytes().clone()));
                    }
                    Err(_) => break,
                }
            }
            disk.crash(if seed % 3 == 0 { Crash::LoseUnsynced } else { Crash::Tear });
            drop(log);
        }
    }
}

#[test]
fn a_full_disk_stops_the_log_until_it_is_opened_again() {
    let disk = SimDisk::new(3);
    let log = RedbLog::with_backend(disk.file(), epoch(1)).unwrap();
    log.append_batch(&items(0..3)).unwrap();
    disk.fill_after(0);
    assert!(matches!(log.append_batch(&items(3..6)), Err(LogError::DiskFull(_))));
    disk.heal();
    assert!(matches!(log.append_batch(&items(3..6)), Err(LogError::Failed)));
    assert!(matches!(log.read(&[Seq(1)]), Err(LogError::Failed)));
    assert!(matches!(log.write_index(1), Err(LogError::Failed)));
    assert!(matches!(log.summaries(), Err(LogError::Failed)));
    assert!(matches!(log.space(SpaceId([1; 16])), Err(LogError::Failed)));
    assert_eq!(log.head(), Seq(3));
    disk.crash(Crash::Tear);
    drop(log);
    let log = RedbLog::with_backend(disk.file(), epoch(2)).unwrap();
    assert!(log.head() == Seq(3) || log.head() == Seq(6));
    assert_eq!(read_all(&log)[..3], items(0..3).iter().map(|i| i.bytes().clone()).collect::<Vec<_>>());
}

/// What the log says of every space, against the items themselves.
fn check_spaces(log: &RedbLog) {
    let all = scanned(log, 1);
    let parsed: Vec<RawItem> = read_all(log).into_iter().map(|b| RawItem::parse(b).unwrap()).collect();
    assert_eq!(log.summaries().unwrap(), Summary::of_items((1..).map(Seq).zip(&parsed)));
    for space in 0..5 {
        let space = SpaceId([space; 16]);
        let stored = log.space(space).unwrap();
        let expected: Vec<_> = all.iter().filter(|e| e.space == space).copied().collect();
        assert_eq!(stored.entries, expected);
        let records = parsed.iter().filter(|i| i.header().space == space && i.header().kind == Kind::Charter);
        assert!(stored.records.iter().map(RawItem::as_bytes).eq(records.map(RawItem::as_bytes)));
    }
}

#[test]
fn the_tables_of_spaces_say_what_the_items_say() {
    let disk = SimDisk::new(4);
    let log = RedbLog::with_backend(disk.file(), epoch(1)).unwrap();
    log.append_batch(&many(2_500)).unwrap();
    check_spaces(&log);
    assert!(entries(&log, 1).iter().any(|e| matches!(e.position, Position::Covers(_))));
    assert_eq!(log.write_index(1_000).unwrap(), 1_000);
    assert_eq!(log.unindexed(), 1_500);
    check_spaces(&log);
    // Small steps grow the last segment, large ones begin others.
    for step in [1, 2, 40, 7, 300, 9_999] {
        log.write_index(step).unwrap();
        check_spaces(&log);
    }
    assert_eq!(log.unindexed(), 0);
    assert_eq!(log.write_index(9_999).unwrap(), 0, "an idle writer must come to rest");
    log.append_batch(&many(5_000)).unwrap();
    check_spaces(&log);
    log.write_index(3_000).unwrap();
    log.close().unwrap();
    let log = RedbLog::with_backend(disk.file(), epoch(2)).unwrap();
    assert_eq!(log.unindexed(), 2_000);
    check_spaces(&log);
    for from in [1, 2, 2_499, 7_500, 7_501] {
        assert_eq!(entries(&log, from), scanned(&log, from), "from {from}");
    }
}

type Rows = redb::TableDefinition<'static, &'static [u8; 24], &'static [u8]>;
const SEGMENTS: Rows = redb::TableDefinition::new("segments");
const SUMMARIES: redb::TableDefinition<'_, &[u8; 16], &[u8]> = redb::TableDefinition::new("summaries");
const LOG: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("log");

/// Changes a log's file through redb itself.
fn edit(disk: &SimDisk, edit: impl FnOnce(&redb::WriteTransaction)) {
    let db = redb::Database::builder().create_with_backend(disk.file()).unwrap();
    let txn = db.begin_write().unwrap();
    edit(&txn);
    txn.commit().unwrap();
}

#[test]
fn damaged_and_missing_rows_of_spaces_are_made_again_from_the_items() {
    let flip = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        bytes
    };
    for damage in 0..5 {
        let disk = SimDisk::new(damage);
        let log = RedbLog::with_backend(disk.file(), epoch(1)).unwrap();
        for _ in 0..5 {
            log.append_batch(&many(700)).unwrap();
            log.write_index(700).unwrap();
        }
        log.close().unwrap();
        edit(&disk, |txn| {
            let mut segments = txn.open_table(SEGMENTS).unwrap();
            let mut summaries = txn.open_table(SUMMARIES).unwrap();
            let (key, segment) = {
                let row = segments.iter().unwrap().nth(2).unwrap().unwrap();
                (*row.0.value(), row.1.value().to_vec())
            };
            let (space, summary) = {
                let row = summaries.first().unwrap().unwrap();
                (*row.0.value(), row.1.value().to_vec())
            };
            match damage {
                0 => drop(segments.insert(&key, &flip(&segment)[..]).unwrap()),
                1 => drop(segments.remove(&key).unwrap()),
                2 => drop(summaries.insert(&space, &flip(&summary)[..]).unwrap()),
                3 => drop(summaries.remove(&space).unwrap()),
                // A row that is sound, but another's.
                _ => drop(summaries.insert(&[9; 16], &summary[..]).unwrap()),
            }
        });
        let log = RedbLog::with_backend(disk.file(), epoch(2)).unwrap();
        check_spaces(&log);
        // More comes, and the writer repairs what was found.
        log.append_batch(&many(50)).unwrap();
        log.write_index(9_999).unwrap();
        check_spaces(&log);
        log.close().unwrap();
        // With an item's bytes gone, only the tables can tell: they are whole, and used.
        edit(&disk, |txn| drop(txn.open_table(LOG).unwrap().insert(6, &b"x"[..]).unwrap()));
        let log = RedbLog::with_backend(disk.file(), epoch(3)).unwrap();
        let found: usize = (0..5).map(|s| log.space(SpaceId([s; 16])).unwrap().entries.len()).sum();
        assert_eq!(found, 3_550, "damage {damage}");
    }
}

#[test]
fn cursors_survive_restarts_and_a_restored_copy_judges_them() {
    let disk = SimDisk::new(6);
    let log = RedbLog::with_backend(disk.file(), epoch(1)).unwrap();
    log.append_batch(&items(0..5)).unwrap();
    let copy = disk.durable_image();
    log.append_batch(&items(5..8)).unwrap();
    log.close().unwrap();
    let log = RedbLog::with_backend(disk.file(), epoch(2)).unwrap();
    let valid =
        |log: &RedbLog, e, s| log.epochs().is_valid(Cursor { epoch: epoch(e), seq: Seq(s) }, log.head());
    assert_eq!(log.epochs().current(), epoch(2));
    assert!(valid(&log, 1, 8) && !valid(&log, 1, 9) && valid(&log, 2, 8) && !valid(&log, 3, 0));

    let restored = SimDisk::from_image(7, copy);
    let log = RedbLog::with_backend(restored.file(), epoch(3)).unwrap();
    log.append_batch(&items(20..30)).unwrap();
    assert!(valid(&log, 1, 5) && !valid(&log, 1, 6), "only what the copy holds");
    assert!(!valid(&log, 2, 3), "an epoch that the copy never saw");
    assert!(valid(&log, 3, 15) && !valid(&log, 3, 16));
}

#[test]
fn an_epoch_is_durable_before_anything_can_be_labelled_with_it() {
    let disk = SimDisk::new(8);
    let log = RedbLog::with_backend(disk.file(), epoch(1)).unwrap();
    disk.crash(Crash::LoseUnsynced);
    drop(log);
    let log = RedbLog::with_backend(disk.file(), epoch(2)).unwrap();
    assert!(log.epochs().is_valid(Cursor { epoch: epoch(1), seq: Seq(0) }, log.head()));
    drop(log);
    let again = RedbLog::with_backend(disk.file(), epoch(1));
    assert!(matches!(again, Err(LogError::BadEpoch(_))));
}

#[test]
fn a_file_of_a_later_release_is_refused_and_left_alone() {
    let disk = SimDisk::new(9);
    RedbLog::with_backend(disk.file(), epoch(1)).unwrap().close().unwrap();
    let set_format = |format: u64| {
        let db = redb::Database::builder().create_with_backend(disk.file()).unwrap();
        let txn = db.begin_write().unwrap();
        let mut meta = txn.open_table(redb::TableDefinition::<&str, u64>::new("meta")).unwrap();
        meta.insert("format", format).unwrap();
        drop(meta);
        txn.commit().unwrap();
    };
    set_format(3);
    let error = RedbLog::with_backend(disk.file(), epoch(2)).unwrap_err();
    assert!(matches!(error, LogError::NewerFormat { found: 3, known: 2 }));
    assert!(error.to_string().contains("newer dinh-relay"), "{error}");
    set_format(2);
    let log = RedbLog::with_backend(disk.file(), epoch(3)).unwrap();
    assert!(!log.epochs().starts().iter().any(|s| s.epoch == epoch(2)));
}

#[test]
fn a_second_opener_of_a_file_is_told_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.redb");
    let log = RedbLog::open(&path, epoch(1)).unwrap();
    let error = RedbLog::open(&path, epoch(2)).unwrap_err();
    assert!(error.to_string().contains("another dinh-relay has this file open"), "{error}");
    drop(log);
    RedbLog::open(&path, epoch(2)).unwrap();
    std::fs::write(dir.path().join("other"), "not a log at all").unwrap();
    let error = RedbLog::open(&dir.path().join("other"), epoch(1)).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

/// A writer whose answers are collected, with the largest commit.
fn collecting(log: Arc<RedbLog>) -> (Writer, mpsc::Receiver<writer::Commit>) {
    let (tx, rx) = mpsc::channel();
    let on_commit = Box::new(move |commit| drop(tx.send(commit)));
    (Writer::start(log, on_commit, Box::new(|_| {})), rx)
}

#[test]
fn eight_threads_share_commits_and_each_gets_its_own_places() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(RedbLog::open(&dir.path().join("relay.redb"), epoch(1)).unwrap());
    let (writer, commits) = collecting(log.clone());
    let sent = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (writer, sent) = (&writer, &sent);
            scope.spawn(move || {
                for i in 0..25 {
                    let token = thread * 1_000 + i;
                    let job_items = items(token..token + 1 + i % 3);
                    sent.lock().unwrap().insert(token, job_items.clone());
                    writer.append_wait(Job { token, items: job_items }).unwrap();
                }
            });
        }
    });
    writer.shutdown().unwrap();
    let commits: Vec<_> = commits.iter().collect();
    let stored = read_all(&log);
    let mut answered = 0;
    for answer in commits.iter().flat_map(|c| &c.answers) {
        let first = answer.first.as_ref().unwrap().0 as usize;
        for (i, item) in sent.lock().unwrap()[&answer.token].iter().enumerate() {
            assert_eq!(&stored[first - 1 + i], item.bytes());
        }
        answered += 1;
    }
    assert_eq!(answered, 200);
    assert!(commits.len() < 200, "{} commits for 200 jobs: nothing was shared", commits.len());
    assert_eq!(log.unindexed(), 0, "shutdown leaves nothing for the next start to read");
    // Each thread's jobs keep their order.
    let tokens: Vec<_> = commits.iter().flat_map(|c| &c.answers).map(|a| a.token).collect();
    for thread in 0..8 {
        let own: Vec<_> = tokens.iter().filter(|t| *t / 1_000 == thread).collect();
        assert!(own.is_sorted(), "thread {thread}");
    }
}

#[test]
fn a_failed_commit_answers_everyone_with_the_error_and_stops_the_writer() {
    let disk = SimDisk::new(11);
    let log = Arc::new(RedbLog::with_backend(disk.file(), epoch(1)).unwrap());
    let (tx, answers) = mpsc::channel();
    let (stop_tx, stopped) = mpsc::channel();
    let on_commit =
        Box::new(move |commit: writer::Commit| commit.answers.into_iter().for_each(|a| tx.send(a).unwrap()));
    let writer = Writer::start(log, on_commit, Box::new(move |_| stop_tx.send(()).unwrap()));
    writer.append(Job { token: 1, items: items(0..2) }).unwrap();
    assert_eq!(*answers.recv().unwrap().first.as_ref().unwrap(), Seq(1));
    disk.fill_after(0);
    writer.append(Job { token: 2, items: items(2..4) }).unwrap();
    assert!(matches!(*answers.recv().unwrap().first.unwrap_err(), LogError::DiskFull(_)));
    stopped.recv().unwrap();
    assert!(matches!(writer.append(Job { token: 3, items: items(4..5) }), Err(Refused::Stopped(_))));
    assert!(writer.append_wait(Job { token: 4, items: items(4..5) }).is_err());
    assert!(matches!(*writer.shutdown().unwrap_err(), LogError::DiskFull(_)));
}

#[test]
fn a_writer_that_cannot_keep_up_refuses_instead_of_hoarding() {
    let log = Arc::new(RedbLog::with_backend(SimDisk::new(12).file(), epoch(1)).unwrap());
    let (tx, rx) = mpsc::channel::<()>();
    // The first commit's answer blocks until the test says so.
    let writer = Writer::start(log.clone(), Box::new(move |_| _ = rx.recv()), Box::new(|_| {}));
    let big = item_of_size(0, 1_000_000);
    let mut taken = 0;
    let refused = loop {
        match writer.append(Job { token: taken, items: vec![big.clone(); 4] }) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
        assert!(taken < 1_000, "no bound");
    };
    assert!(matches!(refused, Refused::Full(Job { token, .. }) if token == taken));
    drop(tx);
    writer.shutdown().unwrap();
    assert_eq!(log.head().0, taken * 4, "what was taken is stored, what was refused is not");
}

#[test]
fn print_the_cost_of_an_append() {
    let dir = tempfile::tempdir().unwrap();
    let log = RedbLog::open(&dir.path().join("relay.redb"), epoch(1)).unwrap();
    let pool: Vec<_> = (0..100).map(|i| item_of_size(i, 200)).collect();
    for (batch, rounds) in [(1, 200), (100, 50)] {
        let began = Instant::now();
        for _ in 0..rounds {
            log.append_batch(&pool[..batch]).unwrap();
        }
        let took = began.elapsed();
        let per_second = (batch * rounds) as f64 / took.as_secs_f64();
        println!(
            "batch {batch}: {per_second:.0} appends/s, {:.2} ms per commit",
            took.as_secs_f64() * 1e3 / rounds as f64
        );
    }
}

#[test]
fn a_log_whose_creation_was_cut_off_is_created_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    let beside = dir.path().join("log.redb.new");
    for left in [&b""[..], &[0; 4_096], b"half a header"] {
        std::fs::write(&beside, left).unwrap();
        let log = RedbLog::open(&path, epoch(1)).unwrap();
        assert_eq!(log.head(), Seq(0));
        log.close().unwrap();
        assert!(path.exists() && !beside.exists());
        std::fs::remove_file(&path).unwrap();
    }
    // What is left of a creation beside a finished log does not touch the log.
    let log = RedbLog::open(&path, epoch(1)).unwrap();
    log.append_batch(&items(0..3)).unwrap();
    log.close().unwrap();
    std::fs::write(&beside, b"left over").unwrap();
    let log = RedbLog::open(&path, epoch(2)).unwrap();
    assert_eq!(log.head(), Seq(3));
}
