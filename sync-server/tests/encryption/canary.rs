//! Bar 17: text that must be found nowhere.

use std::io::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dinh_core::path;
use dinh_core::replica::{Event, Replica, ReplicaConfig};
use dinh_core::store::{EncryptedStore, RedbStore, StoreKey};
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::LogEpoch;
use dinh_server::log::RedbLog;

use crate::pair_common::net::{Net, Node, member, root};
use crate::pair_common::{NOW, Relay, key};

/// In every text; ASCII, so that it is found in debug output too.
const CANARY: &str = "CANARY7391";
const DOCUMENTS: usize = 1_000;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn hits(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).filter(|w| *w == needle).count()
}

fn found(haystack: &[u8]) -> usize {
    hits(haystack, CANARY.as_bytes())
}

#[test]
fn canaries_in_a_thousand_documents_are_found_nowhere() {
    let log_output = Captured::default();
    let writer = log_output.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::trace!("captured");
    let dir = tempfile::tempdir().unwrap();
    let log_file = dir.path().join("log");
    let mut relay = Relay::new();
    relay.disk = Some(RedbLog::open(&log_file, LogEpoch([1; 8])).unwrap());
    relay.frames = Some(Vec::new());
    let file = |i: usize| dir.path().join(format!("phone{i}"));
    let mut net = Net { relay, nodes: Vec::new(), branch: Default::default() };
    for i in 0..4usize {
        let seed = i as u8 + 1;
        let store = RedbStore::open(file(i)).unwrap();
        let store = EncryptedStore::open(store, &StoreKey::new([seed; 32]), [seed; 32]).unwrap();
        let phone = Replica::open(store, key(seed), ReplicaConfig::default(), [seed; 32]).unwrap();
        net.nodes.push(Node { phone, seed, peer: None, events: Vec::new() });
    }
    let name = |i: usize| format!("{CANARY} đồng chí {i}");
    net.branch = net.p(0).found_branch(&root(), member(0), &name(0)).unwrap();
    let branch = net.branch;
    for i in 1..4 {
        let request = net.p(i).join_request();
        net.p(0).admit_device(branch, member(i), Role::Member, request, &name(i)).unwrap();
        let welcome = net.welcome(0, i);
        net.p(i).join_by_welcome(&welcome).unwrap();
    }
    let space = net.p(0).create_space(branch, Audience::Everyone).unwrap();
    net.meet(&[0, 1, 2]);
    let mut docs = Vec::new();
    for n in 0..DOCUMENTS {
        let by = n % 3;
        let doc = net.p(by).create_document(space, Writers::All).unwrap();
        let text = format!("{CANARY} biên bản số {n}: {CANARY}");
        net.p(by)
            .edit(NOW, &doc, Some(CANARY), |e| {
                e.put(&path!["title"], format!("{CANARY} {n}"))?;
                e.put(&path![CANARY], true)?;
                e.put_text(&path!["text"])?;
                e.set_text(&path!["text"], &text)
            })
            .unwrap();
        docs.push(doc);
        if n % 50 == 0 {
            net.p(by).send_presence(space, Bytes::from(format!("{CANARY} is here")));
            net.settle();
        }
    }
    net.settle();
    // A phone that comes later, and one that has only ears: both get everything.
    net.meet(&[3]);
    net.tend();
    let mut ear = net.relay.ear(&key(4));
    for i in 0..3 {
        net.p(i).send_presence(space, Bytes::from(format!("{CANARY} still here")));
    }
    net.settle();
    net.relay.hear(&mut ear);
    // It is there for who may read it.
    let mut readable = 0;
    for i in [0, 3] {
        for (n, doc) in docs.iter().enumerate() {
            let text = net.p(i).view(doc, |v| v.text(&path!["text"])).unwrap().unwrap();
            assert_eq!(text, format!("{CANARY} biên bản số {n}: {CANARY}"), "phone {i}");
            readable += found(text.as_bytes());
        }
        net.p(i).save_views().unwrap();
        for j in 0..4 {
            let device = net.device(j);
            assert_eq!(net.p(i).device_name(&branch, &device).unwrap(), name(j));
        }
    }
    assert_eq!(readable, 4 * DOCUMENTS);
    let seen = |e: &Event| matches!(e, Event::Presence { payload, .. } if found(payload) == 1);
    assert!(net.told(1, seen) >= 10);
    assert!(ear.presence.len() == 3 && ear.items.len() > 2 * DOCUMENTS);
    let debug = format!("{:?} {:?}", net.relay.hub, net.relay.hub.stats());
    let frames: Vec<Bytes> = net.relay.frames.take().unwrap();
    let ears: Vec<u8> = ear.items.iter().chain(&ear.presence).flat_map(|b| b.to_vec()).collect();
    let phones: String = net.nodes.iter().map(|n| format!("{:?}", n.phone.charters())).collect();
    net.relay.disk.take().unwrap().close().unwrap();
    for node in net.nodes {
        drop(node.phone.close().unwrap());
    }
    let read = |path: std::path::PathBuf| std::fs::read(path).unwrap();
    let places = [
        ("the relay's file", read(log_file)),
        ("what the relay hands on", ears),
        ("frames", frames.iter().flat_map(|b| b.to_vec()).collect()),
        ("logs at TRACE", std::mem::take(&mut *log_output.0.lock().unwrap())),
        ("debug output of the hub", debug.into_bytes()),
        ("debug output of the phones' charters", phones.into_bytes()),
        ("phone 0's file", read(file(0))),
        ("phone 1's file", read(file(1))),
        ("phone 2's file", read(file(2))),
        ("phone 3's file", read(file(3))),
    ];
    let mut all = 0;
    for (what, bytes) in &places {
        let n = found(bytes);
        println!("{what}: {} bytes, {n} canaries", bytes.len());
        assert!(!bytes.is_empty(), "{what}");
        all += n;
    }
    assert_eq!(all, 0);
    println!("{DOCUMENTS} documents with {} canaries: {all} found", readable / 2);
}
