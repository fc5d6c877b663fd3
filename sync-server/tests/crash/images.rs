//! Power cuts: what is on a disk at any moment, with unsynced writes lost, torn or kept. `sync-core/tests/store.rs` does this to the
//! store and `sync-server/tests/log.rs` to the log at some moments; here it is a whole phone, and the log at every one.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dinh_core::client::{Client, ClientError, block_on};
use dinh_core::document::Value;
use dinh_core::path;
use dinh_core::store::RedbStore;
use dinh_core::testing::{Crash, SimDisk};
use dinh_proto::charter::record::{Audience, Writers};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::ids::{ChangeHash, CharterTag, DocId, LogEpoch, MemberId, Seq, SessionId, SpaceId};
use dinh_proto::item::{Draft, Item, Kind, Place, RawItem};
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_server::log::{IndexEntry, RedbLog, Summary};

use crate::{child, report};

const CRASHES: [Crash; 3] = [Crash::Tear, Crash::LoseUnsynced, Crash::KeepAll];
/// Edits of a phone in one life.
const EDITS: u64 = 6;

/// A phone whose file is on `disk`; the marker is on a real one, which keeps what it was given.
fn open(disk: &SimDisk, marker: &std::path::Path) -> Result<Client, ClientError> {
    let disk = disk.clone();
    block_on(Client::open_with(child::config(marker, 0), move || RedbStore::with_backend(disk.file())))
}

fn edit(client: &Client, doc: DocId, n: u64) -> Result<(), ClientError> {
    let put = client.edit(doc, None, move |e| e.put(&path![format!("k{n}")], Value::Uint(n)));
    block_on(put).map(|_| ())
}

fn held(client: &Client, doc: DocId) -> BTreeSet<u64> {
    let keys = block_on(client.read(doc, |v| v.keys(&path![]))).unwrap();
    keys.iter().map(|k| k[1..].parse().unwrap()).collect()
}

/// One life: what was reported saved before something failed.
fn live(client: &Client, doc: DocId, from: u64) -> BTreeSet<u64> {
    let mut saved = BTreeSet::new();
    for n in from..from + EDITS {
        if edit(client, doc, n).is_err() {
            return saved;
        }
        saved.insert(n);
        if n % 3 == 2 && block_on(client.flush()).is_err() {
            return saved;
        }
    }
    // Closing writes views.
    let _ = client.shutdown_blocking();
    saved
}

#[test]
fn every_image_of_a_phone_after_a_power_cut_opens_with_everything_that_was_saved() {
    let marker = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(1);
    let client = open(&disk, marker.path()).unwrap();
    let doc = block_on(async {
        let root = SignKey::from_seed(&[9; 32]);
        let branch = client.found_branch(root, MemberId([1; 16]), "máy").await.unwrap();
        let space = client.create_space(branch, Audience::Everyone).await.unwrap();
        client.create_document(space, Writers::All).await.unwrap()
    });
    edit(&client, doc, 0).unwrap();
    client.shutdown_blocking().unwrap();
    disk.crash(Crash::LoseUnsynced);
    let image = disk.durable_image();
    // How many operations of the disk one life takes.
    let undisturbed = SimDisk::from_image(2, image.clone());
    let client = open(&undisturbed, marker.path()).unwrap();
    assert_eq!(live(&client, doc, 1).len() as u64, EDITS);
    drop(client);
    let (points, syncs) = (undisturbed.operations(), undisturbed.syncs());
    let rounds = if std::env::var_os("DINH_FULL").is_some() { 6 } else { 1 };
    let (mut images, mut saved_in_all, mut more) = (0, 0, 0);
    for seed in 0..rounds {
        for point in 0..points {
            let disk = SimDisk::from_image(seed * points + point, image.clone());
            disk.fail_after(point, io::ErrorKind::Other);
            let mut saved = BTreeSet::from([0]);
            match open(&disk, marker.path()) {
                Ok(client) => saved.extend(live(&client, doc, 1)),
                // The cut came while it was opening.
                Err(error) => {
                    assert!(matches!(error, ClientError::Open(_) | ClientError::Replica(_)), "{error}")
                }
            }
            disk.crash(CRASHES[(seed + point) as usize % 3]);
            let client =
                open(&disk, marker.path()).unwrap_or_else(|e| panic!("seed {seed} point {point}: {e}"));
            let found = held(&client, doc);
            let lost: Vec<_> = saved.difference(&found).collect();
            assert!(lost.is_empty(), "seed {seed} point {point}: {lost:?} were saved and are gone");
            // At most the one that was being written.
            assert!(
                found.len() <= saved.len() + 1 && found.iter().all(|n| *n <= EDITS),
                "seed {seed} point {point}: {found:?}"
            );
            edit(&client, doc, 100).unwrap_or_else(|e| panic!("seed {seed} point {point}: it goes on: {e}"));
            assert!(block_on(client.quarantined()).unwrap().is_empty());
            client.shutdown_blocking().unwrap();
            images += 1;
            saved_in_all += saved.len();
            more += found.len() - saved.len();
        }
    }
    report(&format!(
        "crash: {images} images of a phone after a power cut ({points} operations, {syncs} syncs): all open, {saved_in_all} edits saved, \
         {more} more were on the disk before it could say so, 0 lost, 0 invented"
    ));
    assert!(images > 50, "{images}");
}

fn item(n: u32) -> Item {
    let draft = Draft {
        kind: Kind::Run,
        space: SpaceId([1; 16]),
        doc: DocId([2; 16]),
        session: SessionId([1; 8]),
        place: Place::Chain { n, prev: [u8::from(n > 1); 16] },
        first_seq: n,
        count: 1,
        last: ChangeHash([1; 32]),
        charter_tag: CharterTag::default(),
    };
    let payload = vec![n as u8; 40 + (n as usize * 97) % 3_000];
    draft.seal(&DeviceKey::from_seed(&[3; 32]), &SpaceKey::from_bytes(&[7; 32]), false, &payload).unwrap()
}

fn all(log: &RedbLog) -> Vec<Bytes> {
    let seqs: Vec<Seq> = (1..=log.head().0).map(Seq).collect();
    log.read(&seqs).unwrap().into_iter().map(|(_, bytes)| bytes).collect()
}

#[test]
fn every_image_of_a_relay_s_log_after_a_power_cut_opens_with_everything_that_was_acknowledged() {
    let items: Vec<Item> = (1..=400).map(item).collect();
    let bytes: Vec<Bytes> = items.iter().map(|i| i.bytes().clone()).collect();
    // Batches of several sizes, and between them what they add to the tables of spaces.
    let run = |disk: &SimDisk, acknowledged: &Mutex<usize>| -> Result<(), dinh_server::log::LogError> {
        let log = RedbLog::with_backend(disk.file(), LogEpoch([1; 8]))?;
        let mut at = 0;
        for batch in [1, 2, 5, 30, 1, 80, 3, 130, 1, 100, 47] {
            log.append_batch(&items[at..at + batch])?;
            at += batch;
            *acknowledged.lock().unwrap() = at;
            log.write_index(if batch % 2 == 1 { 400 } else { 20 })?;
        }
        assert_eq!(at, items.len());
        log.close()
    };
    let undisturbed = SimDisk::new(0);
    run(&undisturbed, &Mutex::new(0)).unwrap();
    let (points, syncs) = (undisturbed.operations(), undisturbed.syncs());
    let full = std::env::var_os("DINH_FULL").is_some();
    let (rounds, step) = if full { (12, 1) } else { (1, 2) };
    let (mut images, mut acknowledged_in_all, mut more) = (0, 0, 0);
    for seed in 0..rounds {
        for point in (0..points).step_by(step) {
            let disk = SimDisk::new(seed * points + point);
            disk.fail_after(point, io::ErrorKind::Other);
            let acknowledged = Arc::new(Mutex::new(0));
            assert!(run(&disk, &acknowledged).is_err());
            disk.crash(CRASHES[(seed + point) as usize % 3]);
            // And once more while it recovers.
            disk.fail_after(point % 9, io::ErrorKind::Other);
            drop(RedbLog::with_backend(disk.file(), LogEpoch([2; 8])));
            disk.crash(Crash::Tear);
            let acknowledged = *acknowledged.lock().unwrap();
            let log = match RedbLog::with_backend(disk.file(), LogEpoch([3; 8])) {
                Ok(log) => log,
                // A file whose creation was cut off: on a real disk it has another name until it is whole.
                Err(_) if acknowledged == 0 => continue,
                Err(error) => panic!("seed {seed} point {point}: {error}"),
            };
            let stored = all(&log);
            assert!(
                stored.len() >= acknowledged,
                "seed {seed} point {point}: {acknowledged} were acknowledged"
            );
            assert_eq!(stored, bytes[..stored.len()], "seed {seed} point {point}");
            let parsed: Vec<RawItem> = stored.iter().map(|b| RawItem::parse(b.clone()).unwrap()).collect();
            let counted = Summary::of_items((1..).map(Seq).zip(&parsed));
            assert_eq!(log.summaries().unwrap(), counted, "seed {seed} point {point}");
            for summary in counted {
                let found = log.space(summary.space).unwrap().entries;
                let of_space = (1..).map(Seq).zip(&parsed).filter(|(_, i)| i.header().space == summary.space);
                assert!(found.into_iter().eq(of_space.map(|(seq, item)| IndexEntry::of(seq, item))));
            }
            images += 1;
            acknowledged_in_all += acknowledged;
            more += stored.len() - acknowledged;
        }
    }
    report(&format!(
        "crash: {images} images of a relay's log after a power cut, and one more in each recovery ({points} operations, {syncs} syncs): \
         all open, {acknowledged_in_all} items acknowledged, {more} more were on the disk, 0 lost, 0 invented"
    ));
    assert!(images > 200, "{images}");
}
