//! Logs to play with.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytes::Bytes;
use dinh_proto::ids::{LogEpoch, Seq, SpaceId};
use dinh_proto::item::Item;
use dinh_server::archive::{self, Backup, LogSource, Verified};
use dinh_server::log::{LogFile, ReadLog, RedbLog};
use redb::{ReadableTable, TableDefinition};

use crate::hub_common::{self, Branch, draft, minutes, secret, village};

/// Of 2026-11-23, 10:00 UTC.
pub(crate) const WALL_MS: u64 = 1_795_428_000_000;

pub(crate) fn epoch(i: u64) -> LogEpoch {
    LogEpoch(i.to_le_bytes())
}

pub(crate) fn log_path(data: &Path) -> PathBuf {
    data.join("relay.redb")
}

/// A branch's items: its charter, runs of two devices in two spaces, snapshots.
pub(crate) fn history(runs: usize) -> Vec<Item> {
    let mut branch = Branch::new();
    let mut items = branch.records.clone();
    for i in 0..runs {
        let text = vec![i as u8; 30 + i * 37 % 400];
        items.push(match i % 4 {
            0 => branch.secretary.run(village(), minutes(), &text),
            1 => branch.secretary.run(hub_common::committee(), secret(), &text),
            _ => branch.member.run(village(), draft(), &text),
        });
        if i % 20 == 19 {
            // Of the first epoch that `append` gives a log.
            items.push(snapshot(&branch, items.len() as u64));
        }
    }
    items
}

fn snapshot(branch: &Branch, covers: u64) -> Item {
    use dinh_proto::ids::Cursor;
    use dinh_proto::item::{Kind, Place};
    let place = Place::Covers(Cursor { epoch: epoch(1), seq: Seq(covers) });
    branch.member.sign_at(Kind::Snapshot, village(), draft(), place, b"all of it")
}

/// Of so many megabytes.
pub(crate) fn large_history(megabytes: usize) -> Vec<Item> {
    let mut branch = Branch::new();
    let mut items = branch.records.clone();
    items.extend((0..megabytes).map(|i| branch.member.run(village(), draft(), &vec![i as u8; 950_000])));
    items
}

/// Appends as a relay does that starts and stops.
pub(crate) fn append(data: &Path, opened_as: u64, items: &[Item]) {
    fs::create_dir_all(data).unwrap();
    let log = RedbLog::open(&log_path(data), epoch(opened_as)).unwrap();
    for batch in items.chunks(100) {
        log.append_batch(batch).unwrap();
    }
    while log.write_index(1_000).unwrap() > 0 {}
    log.close().unwrap();
    let key = data.join("relay.key");
    if !key.exists() {
        // That of `hub_common::relay_key`.
        fs::write(&key, "4d".repeat(32) + "\n").unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    }
}

/// A directory with a log of these items.
pub(crate) fn data_with(items: &[Item]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), 1, items);
    dir
}

pub(crate) fn items_of(data: &Path) -> Vec<Bytes> {
    let log = LogFile::open(&log_path(data)).unwrap();
    let head = log.state().unwrap().head;
    log.chunk(Seq(1), head, usize::MAX).unwrap().into_iter().map(|(_, bytes)| bytes).collect()
}

pub(crate) fn bytes_of(items: &[Item]) -> Vec<Bytes> {
    items.iter().map(|item| item.bytes().clone()).collect()
}

/// A whole copy in memory.
pub(crate) fn backup_of(data: &Path) -> Vec<u8> {
    let path = log_path(data);
    let log = LogFile::open(&path).unwrap();
    let mut source = LogSource::new(log, &path, Seq(0), WALL_MS).unwrap();
    let backup = Backup { relay: Some(hub_common::relay_key().public()), ..Backup::default() };
    let name = Path::new("memory");
    backup.write(&mut source, [0; 32], name, Vec::new(), &mut |_| {}).unwrap().0
}

pub(crate) fn verify_data(data: &Path) -> Verified {
    archive::verify_data(data, &mut |_| {}).unwrap()
}

pub(crate) fn verify_from(from: &Path) -> Verified {
    archive::verify_stream(from, &mut |_| {}).unwrap()
}

/// What is wrong, as one text.
pub(crate) fn problems(found: &Verified) -> String {
    let lines = found.problems.first().iter().map(|p| format!("{}: {}\n", p.place, p.what));
    lines.collect()
}

/// Changes a log through redb itself.
pub(crate) fn change(
    data: &Path,
    table: &str,
    change: impl FnOnce(&mut redb::Table<'_, u64, &'static [u8]>),
) {
    let db = redb::Database::open(log_path(data)).unwrap();
    let mut txn = db.begin_write().unwrap();
    txn.set_two_phase_commit(true);
    change(&mut txn.open_table(TableDefinition::<u64, &[u8]>::new(table)).unwrap());
    txn.commit().unwrap();
}

pub(crate) fn stored(table: &redb::Table<'_, u64, &'static [u8]>, key: u64) -> Vec<u8> {
    table.get(key).unwrap().unwrap().value().to_vec()
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinh-relay"));
    command.env_remove("RUST_LOG");
    command
}

pub(crate) fn run(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

/// The JSON that a command prints, which must have succeeded.
pub(crate) fn json(args: &[&str]) -> serde_json::Value {
    let output = run(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn space_text(space: SpaceId) -> String {
    space.to_string()
}
