//! What is on a phone's disk: unreadable without the key, never read wrongly, and never continued twice.
//!
//! `DINH_FULL=1` runs the counts of a release.

#![allow(clippy::unwrap_used)] // in helpers of tests

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use dinh_core::document::Value;
use dinh_core::path;
use dinh_core::replica::{Marker, Now, Replica, ReplicaConfig};
use dinh_core::store::conformance::{Dump, dump};
use dinh_core::store::{
    EncryptedStore, MemoryStore, ReadTx, RedbStore, Store, StoreError, StoreKey, Table, WriteTx,
};
use dinh_core::testing::SimDisk;
use dinh_proto::charter::record::{Audience, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_proto::time::{Timestamp, WallTime};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use unicode_normalization::UnicodeNormalization;

const NOW: Now = Now { mono: Timestamp(1_000_000), wall: WallTime(1_700_000_000_000) };
/// Looked for in all encodings. Short pieces of random letters, so that compression leaves them as they are.
const CANARY: &str = "Qẫw7Ợk9Zhữxấ";

fn full() -> bool {
    std::env::var_os("DINH_FULL").is_some()
}

fn key() -> StoreKey {
    StoreKey::new([1; 32])
}

fn device() -> DeviceKey {
    DeviceKey::from_seed(&[1; 32])
}

fn found<S: Store>(replica: &mut Replica<S>, name: &str) -> SpaceId {
    let root = SignKey::from_seed(&[9; 32]);
    let branch = replica.found_branch(&root, MemberId([1; 16]), name).unwrap();
    replica.create_space(branch, Audience::Everyone).unwrap()
}

fn document<S: Store>(replica: &mut Replica<S>, space: SpaceId, text: &str) -> DocId {
    let doc = replica.create_document(space, Writers::All).unwrap();
    replica.edit(NOW, &doc, None, |e| e.put(&path!["text"], Value::text(text))).unwrap();
    doc
}

fn hits(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).filter(|window| *window == needle).count()
}

/// How often the canary is there: UTF-8 and UTF-16 of both byte orders, composed and decomposed.
fn canaries(haystack: &[u8]) -> usize {
    let forms = [CANARY.nfc().collect::<String>(), CANARY.nfd().collect()];
    assert_ne!(forms[0], forms[1]);
    let encodings = forms.iter().flat_map(|form| {
        let units = || form.encode_utf16();
        [
            form.as_bytes().to_vec(),
            units().flat_map(u16::to_le_bytes).collect(),
            units().flat_map(u16::to_be_bytes).collect(),
        ]
    });
    encodings.map(|needle| hits(haystack, &needle)).sum()
}

/// Everything that is logged, at every level.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Documents are written, closed, opened again and typed in.
fn write_canaries<S: Store>(store: S, documents: usize) -> S {
    let mut replica = Replica::open(store, device(), ReplicaConfig::default(), [1; 32]).unwrap();
    let space = found(&mut replica, CANARY);
    let mut docs = Vec::new();
    for n in 0..documents {
        docs.push(document(&mut replica, space, &format!("{n} {CANARY} {n}")));
    }
    let store = replica.close().unwrap();
    let mut replica = Replica::open(store, device(), ReplicaConfig::default(), [2; 32]).unwrap();
    for doc in docs.iter().take(50) {
        let typed = format!("{CANARY} gõ thêm {CANARY}");
        replica.type_text(NOW, doc, &path!["text"], &typed, false).unwrap();
        replica.flush_text(NOW, doc).unwrap();
        assert_eq!(replica.view(doc, |v| v.text(&path!["text"])).unwrap(), Some(typed));
    }
    replica.close().unwrap()
}

#[test]
fn the_store_file_and_the_log_hold_no_canary() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let documents = 1_000;
    let logged = tracing::subscriber::with_default(subscriber, || {
        let store = EncryptedStore::open(RedbStore::open(&path).unwrap(), &key(), [3; 32]).unwrap();
        let store = write_canaries(store, documents);
        // Also of what is thrown away, of errors and of a wrong key.
        let file = store.into_inner();
        file.close().unwrap();
        let again = || RedbStore::open(&path).unwrap();
        assert!(EncryptedStore::open(again(), &StoreKey::new([2; 32]), [4; 32]).is_err());
        let mut store = EncryptedStore::open(again(), &key(), [4; 32]).unwrap();
        store.rekey(&StoreKey::new([3; 32])).unwrap();
        drop(store);
        let logged = log.0.lock().unwrap().clone();
        tracing::trace!("{CANARY}");
        logged
    });
    let file = std::fs::read(&path).unwrap();
    let control = {
        let plain = dir.path().join("plain");
        write_canaries(RedbStore::open(&plain).unwrap(), 20).close().unwrap();
        canaries(&std::fs::read(&plain).unwrap())
    };
    println!(
        "{documents} documents: {} canaries in {} bytes of the store file, {} in {} bytes of the log; \
         {control} in a plain store of 20",
        canaries(&file),
        file.len(),
        canaries(&logged),
        logged.len()
    );
    assert!(control > 20, "the search finds what is there");
    assert_eq!(canaries(&log.0.lock().unwrap()), 1, "the log would show it");
    assert!(logged.len() > 1_000, "{}", logged.len());
    assert_eq!(canaries(&file), 0);
    assert_eq!(canaries(&logged), 0);
}

/// What a store says of itself: how many of the rows it was given, or why nothing.
fn read_all(store: &impl Store, expected: &BTreeMap<(Table, Vec<u8>), Vec<u8>>) -> Result<usize, StoreError> {
    let mut seen = 0;
    store.read(|tx| {
        for table in Table::ALL {
            tx.scan(table, b"", None, &mut |key, value| {
                let right = expected.get(&(table, key.to_vec())).map(Vec::as_slice);
                assert_eq!(right, Some(value), "a WRONG value of {table:?} {key:?}");
                seen += 1;
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for ((table, key), value) in expected {
            if let Some(found) = tx.get(*table, key)? {
                assert!(found == *value, "a WRONG value of {table:?} {key:?}");
            }
        }
        Ok(seen)
    })
}

fn store_of_many_rows() -> (Vec<u8>, Dump) {
    let disk = SimDisk::new(1);
    let file = RedbStore::with_backend(disk.file()).unwrap();
    let mut store = EncryptedStore::open(file, &key(), [5; 32]).unwrap();
    for n in 0..20_u8 {
        store
            .write(|tx| {
                Table::ALL.iter().try_for_each(|table| {
                    tx.put(*table, &[n, n ^ 3, *table as u8], &vec![n; 30 + usize::from(n) * 7])
                })?;
                n.checked_sub(9).map_or(Ok(()), |old| tx.delete(Table::Outbox, &[old, old ^ 3, 8]))
            })
            .unwrap();
    }
    let rows = dump(&store);
    drop(store);
    (disk.durable_image(), rows)
}

#[test]
fn a_flipped_byte_gives_an_error_or_what_was_stored() {
    let (image, rows) = store_of_many_rows();
    let count = rows.len();
    let expected: BTreeMap<_, _> =
        rows.into_iter().map(|(table, key, value)| ((table, key), value)).collect();
    let flips = if full() { 100_000 } else { 700 };
    let mut rng = ChaCha8Rng::seed_from_u64(34);
    let (mut errors, mut right) = (0, 0);
    for flip in 0..flips {
        let at = rng.next_u64() as usize % image.len();
        let with = 1 + (rng.next_u32() % 255) as u8;
        let mut damaged = image.clone();
        damaged[at] ^= with;
        let disk = SimDisk::from_image(flip, damaged);
        let read = || {
            let mut file = RedbStore::with_backend(disk.file())?;
            // As the client opens it.
            file.verify()?;
            let store = EncryptedStore::open(file, &key(), [6; 32])?;
            read_all(&store, &expected)
        };
        match read() {
            Ok(seen) => {
                assert_eq!(seen, count, "rows are missing after byte {at} was changed by {with}");
                right += 1;
            }
            Err(_) => errors += 1,
        }
        // What redb could not close stays in memory.
        disk.edit(|image| *image = Vec::new());
    }
    println!(
        "{flips} flipped bytes of {} in {count} rows: {errors} errors, {right} right, 0 wrong, 0 missing",
        image.len()
    );
    assert!(errors > flips / 100 && right > 0);
}

#[test]
fn a_flipped_byte_of_a_stored_value_never_passes_without_the_checksums_of_the_file_either() {
    let mut store = EncryptedStore::open(Live::default(), &key(), [7; 32]).unwrap();
    store.write(|tx| (0..60_u8).try_for_each(|n| tx.put(Table::Items, &[n], &[n; 200]))).unwrap();
    let inner = store.into_inner();
    let rows = dump(&inner);
    let mut rng = ChaCha8Rng::seed_from_u64(35);
    let flips = if full() { 100_000 } else { 2_000 };
    for _ in 0..flips {
        let (table, row, value) = &rows[rng.next_u32() as usize % rows.len()];
        let mut damaged = value.clone();
        let at = rng.next_u32() as usize % damaged.len();
        damaged[at] ^= 1 + (rng.next_u32() % 255) as u8;
        let mut inner = inner.clone();
        inner.write(|tx| tx.put(*table, row, &damaged)).unwrap();
        let read =
            EncryptedStore::open(inner, &key(), [8; 32]).and_then(|s| s.read(|tx| tx.get(*table, row)));
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
    }
    println!("{flips} flipped bytes of values, 0 accepted");
}

/// A store that can be backed up while a replica has it.
#[derive(Clone, Default)]
struct Live(Rc<RefCell<MemoryStore>>);

impl Live {
    fn backup(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }
}

impl Store for Live {
    fn read<R>(&self, f: impl FnOnce(&dyn ReadTx) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.0.borrow().read(f)
    }

    fn write<R>(
        &mut self,
        f: impl FnOnce(&mut dyn WriteTx) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.0.borrow_mut().write(f)
    }
}

type Phone = Replica<Live>;

fn open(store: Live, seed: u8, found: Option<Marker>) -> (Phone, Marker) {
    Replica::open_marked(store, device(), ReplicaConfig::default(), [seed; 32], found).unwrap()
}

/// Writes everything that makes own items: a record, changes, and (by opening again) runs.
fn work(mut phone: Phone, space: SpaceId, doc: DocId, text: &str, seed: u8, marker: Marker) -> Phone {
    phone.edit(NOW, &doc, None, |e| e.put(&path!["title"], text)).unwrap();
    document(&mut phone, space, text);
    let (phone, kept) = open(phone.close().unwrap(), seed, Some(marker));
    assert_eq!(kept, marker);
    phone
}

/// Places in chains where two stores hold different items.
fn forks(a: &Live, b: &Live) -> usize {
    let items = |store: &Live| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let items = dump(store).into_iter().filter(|(table, ..)| *table == Table::Items);
        items.map(|(_, key, value)| (key, value)).collect()
    };
    let (a, b) = (items(a), items(b));
    a.iter().filter(|(key, value)| b.get(*key).is_some_and(|other| other != *value)).count()
}

#[test]
fn a_restored_or_cloned_store_begins_a_new_session_before_it_writes() {
    let (mut copies, mut found_forks, mut control) = (0, 0, 0);
    for edits_before in 0..6 {
        let disk = Live::default();
        let (mut phone, marker) = open(disk.clone(), 1, None);
        let session = phone.session();
        let space = found(&mut phone, "máy bí thư");
        let doc = document(&mut phone, space, "chung");
        for n in 0..edits_before {
            phone.edit(NOW, &doc, None, |e| e.put(&path!["n"], i64::from(n))).unwrap();
            if n == 2 {
                let (again, kept) = open(phone.close().unwrap(), 2, Some(marker));
                assert_eq!((again.session(), kept), (session, marker), "a normal restart keeps the session");
                phone = again;
            }
        }
        // The phone goes on; its changes since become items together with those in the backup.
        let backup = disk.backup();
        let original = work(phone, space, doc, "gốc", 4, marker);
        assert_eq!(original.session(), session);
        let original = original.close().unwrap();
        // Restored (the marker's file is gone), or brought to a phone that has a marker of its own.
        for (seed, found) in [(10, None), (20, Some(Marker([7; 16])))] {
            let (copy, fresh) = open(backup.backup(), seed, found);
            assert_ne!(copy.session(), session, "before anything is written");
            assert!(fresh != marker && Some(fresh) != found);
            let copy = work(copy, space, doc, "bản sao", seed + 1, fresh);
            let mut copy = copy;
            let title = copy.view(&doc, |v| v.get(&path!["title"])).unwrap();
            assert!(title.is_some(), "what was written is there");
            if edits_before > 0 {
                let n = copy.view(&doc, |v| v.get(&path!["n"])).unwrap();
                assert!(n.is_some(), "and what the backup held");
            }
            copies += 1;
            found_forks += forks(&original, &copy.close().unwrap());
        }
        // Without the marker, a copy goes on in the same session, and forks.
        let unmarked = Replica::open(backup, device(), ReplicaConfig::default(), [30; 32]).unwrap();
        let unmarked = work(unmarked, space, doc, "bản sao", 31, marker);
        control += forks(&original, &unmarked.close().unwrap());
    }
    println!("{copies} copies of stores, {found_forks} forks; {control} without the marker");
    assert_eq!(found_forks, 0);
    assert!(control > 0, "the test would see forks");
}

#[test]
fn a_crash_while_the_marker_is_written_costs_a_session_and_never_saves_one() {
    let (mut phone, marker) = open(Live::default(), 1, None);
    let space = found(&mut phone, "máy bí thư");
    let doc = document(&mut phone, space, "chung");
    let (session, backup) = (phone.session(), phone.close().unwrap());
    // The new session is in the store, the new marker not in its file.
    let (copy, fresh) = open(backup, 2, None);
    let first = copy.session();
    assert_ne!(first, session);
    let crashed = copy.close().unwrap();
    let mut sessions = vec![session, first];
    for (seed, file) in [(3, None), (4, Some(marker)), (5, Some(Marker([0; 16])))] {
        let (again, newest) = open(crashed.backup(), seed, file);
        assert!(!sessions.contains(&again.session()), "one more, and none twice");
        assert!(newest != fresh && newest != marker);
        sessions.push(again.session());
        work(again, space, doc, "đi tiếp", seed + 10, newest);
    }
    let (kept, _) = open(crashed, 6, Some(fresh));
    assert_eq!(kept.session(), first, "if the file was written all is well");

    // The same for the very first opening: a crash before the file is there.
    let (phone, _) = open(Live::default(), 7, None);
    let first = phone.session();
    assert_ne!(open(phone.close().unwrap(), 8, None).0.session(), first);
    println!("{} crashes, 0 sessions kept that should have ended", sessions.len());
}

#[test]
fn typing_that_closing_saves_has_the_time_at_which_it_was_typed() {
    let (mut phone, marker) = open(Live::default(), 1, None);
    let space = found(&mut phone, "máy bí thư");
    let doc = document(&mut phone, space, "chung");
    let typed = Now { wall: WallTime(1_800_000_000_000), ..NOW };
    phone.type_text(typed, &doc, &path!["text"], "gõ dở", true).unwrap();
    let (mut phone, _) = open(phone.close().unwrap(), 2, Some(marker));
    let times = |phone: &mut Phone, doc| {
        phone.document(doc, |d| d.history().iter().map(|c| c.time_s).collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(times(&mut phone, &doc).last(), Some(&1_800_000_000));

    // So has what is typed in a document that is closed to make room.
    let small = ReplicaConfig { open_documents_bytes_max: 1, ..ReplicaConfig::default() };
    let store = phone.close().unwrap();
    let mut phone = Replica::open(store, device(), small, [3; 32]).unwrap();
    phone.type_text(typed, &doc, &path!["text"], "gõ dở nữa", true).unwrap();
    let other = document(&mut phone, space, "khác");
    phone.view(&other, |_| ()).unwrap();
    assert!(!phone.open_documents().any(|open| *open == doc), "it was closed");
    assert_eq!(times(&mut phone, &doc), [1_700_000_000, 1_800_000_000, 1_800_000_000]);
}
