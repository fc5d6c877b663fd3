//! Copies of a relay that runs, and a relay that begins from one.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dinh_core::client::{Client, ClientConfig, RelayUrl, StoreKey};
use dinh_core::document::Value;
use dinh_core::path;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, ItemId, MemberId};
use dinh_proto::item::{Kind, RawItem};
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_server::archive::StreamReader;
use dinh_server::{AdminConfig, Running, Server, ServerConfig};

use crate::make::*;

const PATIENCE: Duration = Duration::from_secs(60);

async fn start(data: &Path, listen: SocketAddr) -> Running {
    let admin = AdminConfig::new("127.0.0.1:0".parse().unwrap());
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The port of a relay that stopped a moment ago may still be taken.
        match Server::start(ServerConfig { admin: Some(admin.clone()), ..ServerConfig::new(data, listen) })
            .await
        {
            Ok(running) => return running,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn phone(directory: &Path, n: u8, relay: &str) -> Client {
    let file = |end: &str| directory.join(format!("{n}.{end}"));
    let (key, store) = (DeviceKey::from_seed(&[n; 32]), StoreKey::new([n; 32]));
    let config = ClientConfig::new(file("redb"), file("marker"), key, store);
    let relay = Some(RelayUrl::parse(relay).unwrap());
    Client::open(ClientConfig { relay, ..config }).await.unwrap()
}

/// A branch of two phones with one document.
async fn found(first: &Client, second: &Client) -> DocId {
    let root = SignKey::from_seed(&[99; 32]);
    let branch = first.found_branch(root, MemberId([0; 16]), "máy bí thư").await.unwrap();
    let member = MemberId([1; 16]);
    first.admit_device(branch, member, Role::Member, second.join_request(), "máy").await.unwrap();
    let space = first.create_space(branch, Audience::Everyone).await.unwrap();
    let doc = first.create_document(space, Writers::All).await.unwrap();
    first.edit(doc, None, |e| e.put(&path!["text"], Value::text(""))).await.unwrap();
    second.join(first.invitation(branch).await.unwrap()).await.unwrap();
    doc
}

async fn add(client: &Client, doc: DocId, text: String) {
    let edit = client.edit(doc, None, move |e| {
        let end = e.view().text_len(&path!["text"]);
        e.splice_text(&path!["text"], end, 0, &text)
    });
    edit.await.unwrap();
}

async fn until_all_have_the_same(phones: &[&Client], doc: DocId) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut hashes = BTreeSet::new();
        for phone in phones {
            hashes.insert(phone.document_hash(doc).await.ok());
        }
        let synced = phones.iter().all(|p| p.status().borrow().is_synced());
        if synced && hashes.len() == 1 && !hashes.contains(&None) {
            return;
        }
        assert!(Instant::now() < deadline, "{} hashes", hashes.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A command's JSON, while this process serves the relay.
async fn command(args: &[&str]) -> serde_json::Value {
    let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
    let run = move || json(&args.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// What devices put into a log; snapshots are made anew where they are needed.
fn ids(items: impl IntoIterator<Item = Bytes>) -> BTreeSet<ItemId> {
    let items = items.into_iter().map(|bytes| RawItem::parse(bytes).unwrap());
    items.filter(|item| item.header().kind != Kind::Snapshot).map(|item| item.id()).collect()
}

fn ids_of_backup(file: &Path) -> BTreeSet<ItemId> {
    let bytes = fs::read(file).unwrap();
    let (_, mut reader) = StreamReader::open(&bytes[..], "backup").unwrap();
    let mut all = BTreeSet::new();
    while let Some(items) = reader.chunk().unwrap() {
        all.extend(ids(items));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_give_a_restored_relay_what_its_backup_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let relay = start(&at("data"), "127.0.0.1:0".parse().unwrap()).await;
    let (address, listen) = (relay.address(), relay.local_addr());
    let first = phone(dir.path(), 1, &address).await;
    let second = phone(dir.path(), 2, &address).await;
    let doc = found(&first, &second).await;
    until_all_have_the_same(&[&first, &second], doc).await;
    // Copies while devices go on writing.
    let (data, folder) = (at("data"), at("backups"));
    let backup = ["backup", "--data", text(&data), "--to", text(&folder), "--with-key"];
    let (report, ()) = tokio::join!(command(&backup), async {
        for i in 0..10 {
            add(&first, doc, format!("một {i} ")).await;
            add(&second, doc, format!("hai {i} ")).await;
        }
    });
    assert_eq!((&report["online"], &report["with_key"]), (&true.into(), &true.into()));
    until_all_have_the_same(&[&first, &second], doc).await;
    add(&first, doc, "trước khi sao lưu ".to_owned()).await;
    until_all_have_the_same(&[&first, &second], doc).await;
    let report = command(&backup).await;
    assert!(report["file"].as_str().unwrap().ends_with("dinh-000002.backup"), "{report}");
    let copied = report["last"].as_u64().unwrap();
    add(&second, doc, "sau khi sao lưu ".to_owned()).await;
    until_all_have_the_same(&[&first, &second], doc).await;
    relay.shutdown().await.unwrap();
    let lost = ids(items_of(&data));
    assert!(lost.len() as u64 > copied, "{} items, {copied} in the copy", lost.len());

    // The disk is gone. Another directory, at the same address.
    let restored = at("restored");
    let report = command(&["restore", "--from", text(&folder), "--data", text(&restored)]).await;
    assert_eq!((report["head"].as_u64(), report["key"].as_str()), (Some(copied), Some("restored")));
    let relay = start(&restored, listen).await;
    assert_eq!(relay.address(), address, "devices know it by its key");
    let deadline = Instant::now() + PATIENCE;
    for i in 0.. {
        let file = at(&format!("look {i}"));
        command(&["backup", "--data", text(&restored), "--output", text(&file)]).await;
        let back = ids_of_backup(&file);
        if back.is_superset(&lost) {
            break;
        }
        assert!(Instant::now() < deadline, "{} of {} items are back", back.len(), lost.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It goes on from there.
    add(&first, doc, "và tiếp tục ".to_owned()).await;
    until_all_have_the_same(&[&first, &second], doc).await;
    relay.shutdown().await.unwrap();
    let found = verify_data(&restored);
    assert!(found.problems.is_empty(), "{}", problems(&found));
    let epochs = found.epochs;
    assert_eq!(epochs, 2, "that of the lost log, and the one that began where the copy ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_copy_and_does_not_read_it_holds_nothing_up() {
    let data = data_with(&large_history(25));
    let relay = start(data.path(), "127.0.0.1:0".parse().unwrap()).await;
    let access: serde_json::Value =
        serde_json::from_slice(&fs::read(data.path().join("admin.json")).unwrap()).unwrap();
    let mut stream = TcpStream::connect(relay.admin_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let token = access["token"].as_str().unwrap();
    write!(stream, "GET /api/v1/backup HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
        .unwrap();
    let mut begin = [0; 15];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200 OK");
    // Another one is served meanwhile.
    let file = data.path().join("backup");
    let report = command(&["backup", "--data", text(data.path()), "--output", text(&file)]).await;
    assert_eq!(report["items"].as_u64(), Some(33));
    let began = Instant::now();
    relay.shutdown().await.unwrap();
    assert!(began.elapsed() < PATIENCE);
    // What was on the way has no end, and is not taken for a copy.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 25_000_000, "{} bytes", rest.len());
    assert!(verify_from(&file).problems.is_empty());
}
