//! Clients and the relay over real sockets: they converge, whatever the link between them does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests measure time")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use dinh_core::client::{Client, ClientConfig, ClientError, RelayUrl, Status, StoreKey, Timeouts};
use dinh_core::document::Value;
use dinh_core::path;
use dinh_core::replica::{Event, LinkState, Origin};
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_server::{Running, Server, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(30);

async fn relay(data: &Path, listen: &str) -> Running {
    let listen: SocketAddr = listen.parse().unwrap();
    // The port of a relay that stopped a moment ago may still be taken.
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Server::start(ServerConfig::new(data, listen)).await {
            Ok(running) => return running,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The relay, reached at an address that may be a link's.
fn url(relay: &Running, address: SocketAddr) -> Option<RelayUrl> {
    Some(RelayUrl::parse(&format!("ws://{address}/dinh/v1#{}", relay.public())).unwrap())
}

async fn phone(directory: &Path, n: u8, relay: Option<RelayUrl>) -> Client {
    let file = |end: &str| directory.join(format!("{n}.{end}"));
    let keys = (DeviceKey::from_seed(&[n; 32]), StoreKey::new([n; 32]));
    let config = ClientConfig::new(file("redb"), file("marker"), keys.0, keys.1);
    let timeouts = Timeouts { probe: Duration::from_millis(500), ..Timeouts::default() };
    Client::open(ClientConfig { relay, timeouts, ..config }).await.unwrap()
}

/// A branch of these phones with one space and one document.
async fn found(phones: &[&Client]) -> (SpaceId, DocId) {
    let first = phones[0];
    let root = SignKey::from_seed(&[99; 32]);
    let branch = first.found_branch(root, MemberId([0; 16]), "máy bí thư").await.unwrap();
    for (n, phone) in phones.iter().enumerate().skip(1) {
        let member = MemberId([u8::try_from(n).unwrap(); 16]);
        first.admit_device(branch, member, Role::Member, phone.join_request(), "máy").await.unwrap();
    }
    let space = first.create_space(branch, Audience::Everyone).await.unwrap();
    let doc = first.create_document(space, Writers::All).await.unwrap();
    first.edit(doc, None, |e| e.put(&path!["text"], Value::text(""))).await.unwrap();
    let invitation = first.invitation(branch).await.unwrap();
    for phone in &phones[1..] {
        phone.join(invitation.clone()).await.unwrap();
    }
    (space, doc)
}

async fn wait_for(client: &Client, what: impl FnMut(&Status) -> bool) {
    let mut status = client.status();
    let found = tokio::time::timeout(PATIENCE, status.wait_for(what)).await;
    assert!(found.is_ok(), "{:?}", client.status().borrow());
}

async fn add(client: &Client, doc: DocId, text: String) {
    let edit = client.edit(doc, None, move |e| {
        let end = e.view().text_len(&path!["text"]);
        e.splice_text(&path!["text"], end, 0, &text)
    });
    edit.await.unwrap();
}

async fn text(client: &Client, doc: DocId) -> String {
    client.read(doc, |v| v.text(&path!["text"])).await.unwrap().unwrap_or_default()
}

/// Until all are synced and hold the same document.
async fn converge(phones: &[&Client], doc: DocId) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut hashes = std::collections::BTreeSet::new();
        for phone in phones {
            hashes.insert(phone.document_hash(doc).await.ok());
        }
        let synced = phones.iter().all(|p| p.status().borrow().is_synced());
        if synced && hashes.len() == 1 && !hashes.contains(&None) {
            return;
        }
        if Instant::now() > deadline {
            let all: Vec<_> = phones.iter().map(|p| p.status().borrow().clone()).collect();
            panic!("{} hashes, {all:#?}", hashes.len());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Up,
    /// Bytes go nowhere; connections stay.
    HalfOpen,
}

/// A link to the relay; connections made while it is half open stay dead when it heals.
async fn link(upstream: SocketAddr) -> (SocketAddr, watch::Sender<Mode>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mode) = watch::channel(Mode::Up);
    tokio::spawn(async move {
        while let Ok((mut phone, _)) = listener.accept().await {
            let mut mode = mode.clone();
            tokio::spawn(async move {
                let mut relay = TcpStream::connect(upstream).await.unwrap();
                let half_open = async { drop(mode.wait_for(|m| *m == Mode::HalfOpen).await) };
                let told = tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut phone, &mut relay) => true,
                    () = half_open => false,
                };
                if !told {
                    // Neither side learns of it.
                    tokio::time::sleep(PATIENCE * 4).await;
                }
            });
        }
    });
    (address, sender)
}

#[tokio::test]
async fn two_clients_converge_and_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir.path().join("relay"), "127.0.0.1:0").await;
    let url = url(&relay, relay.local_addr());
    let (a, b) = (phone(dir.path(), 1, url.clone()).await, phone(dir.path(), 2, url).await);
    let (space, doc) = found(&[&a, &b]).await;
    converge(&[&a, &b], doc).await;
    let mut events = b.subscribe();
    for i in 0..20 {
        add(&a, doc, format!("a{i} ")).await;
        add(&b, doc, format!("b{i} ")).await;
    }
    converge(&[&a, &b], doc).await;
    let merged = text(&a, doc).await;
    assert_eq!(merged, text(&b, doc).await);
    for i in 0..20 {
        assert!(merged.contains(&format!("a{i} ")) && merged.contains(&format!("b{i} ")), "{merged}");
    }
    let mut remote = 0;
    while let Some(event) = events.try_next() {
        remote += usize::from(matches!(event, Event::DocumentChanged { origin: Origin::Remote, .. }));
    }
    assert!(remote > 0);
    let traffic = a.traffic();
    assert!(
        traffic.connections == 1 && traffic.bytes_up > 1_000 && traffic.bytes_down > 1_000,
        "{traffic:?}"
    );

    // Presence goes to the other, not into the log.
    let mut events = b.subscribe();
    a.send_presence(space, (&b"con tro"[..]).into());
    let next = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
    assert!(matches!(&next, Some(Event::Presence { payload, .. }) if payload == "con tro"), "{next:?}");
    relay.shutdown().await.unwrap();
}

/// Someone who answers in the relay's place, with a certificate that the system would trust if there were one, and with a
/// relay of his own. He gets no byte of content, and the phone says what is wrong.
#[tokio::test]
async fn a_man_in_the_middle_gets_nothing_and_the_phone_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir.path().join("relay"), "127.0.0.1:0").await;
    let false_relay = self::relay(&dir.path().join("false"), "127.0.0.1:0").await;
    let a = phone(dir.path(), 1, None).await;
    let (_, doc) = found(&[&a]).await;
    add(&a, doc, "chỉ cho chi bộ".into()).await;
    a.set_relay(url(&relay, false_relay.local_addr()));
    let names_it = |s: &Status| s.trouble.as_deref().is_some_and(|t| t.contains("dinh-relay key"));
    wait_for(&a, names_it).await;
    let traffic = a.traffic();
    // It goes on trying, and says nothing but `Hello`, which only the true relay can read.
    assert!(traffic.bytes_up <= 200 * traffic.connections, "{traffic:?}");
    assert!(a.status().borrow().pending > 0);
    a.set_relay(url(&relay, relay.local_addr()));
    wait_for(&a, Status::is_synced).await;
    a.shutdown().await.unwrap();
    false_relay.shutdown().await.unwrap();
    let path = dir.path().join("false/relay.redb");
    let log = std::fs::read(&path).unwrap();
    let found = log.windows(8).filter(|w| *w == &"chỉ cho chi bộ".as_bytes()[..8]).count();
    println!(
        "{} connections, {} bytes sent, {found} bytes of content there",
        traffic.connections, traffic.bytes_up
    );
    assert_eq!(found, 0);
}

#[tokio::test]
async fn a_phone_that_is_sent_its_branch_before_it_was_shown_the_invitation_needs_no_second_telling() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir.path().join("relay"), "127.0.0.1:0").await;
    let url = url(&relay, relay.local_addr());
    let (a, b) = (phone(dir.path(), 1, url.clone()).await, phone(dir.path(), 2, url).await);
    wait_for(&b, |s| s.link == LinkState::CatchingUp).await;
    let (_, doc) = found(&[&a]).await;
    let branch = *a.charters().await.unwrap().first_key_value().unwrap().0;
    a.admit_device(branch, MemberId([7; 16]), Role::Member, b.join_request(), "máy").await.unwrap();
    add(&a, doc, "đã có trước".into()).await;
    wait_for(&a, Status::is_synced).await;
    let head = a.status().borrow().acked;
    wait_for(&b, |s| s.received >= head).await;

    b.join(a.invitation(branch).await.unwrap()).await.unwrap();
    assert_eq!(text(&b, doc).await, "đã có trước", "it was here already");
    converge(&[&a, &b], doc).await;
    let counters = b.counters().await.unwrap();
    assert_eq!((counters.mismatches, counters.reconciles, counters.refused), (0, 0, 0), "{counters:?}");
}

#[tokio::test]
async fn a_reconnect_with_nothing_changed_is_one_frame_each_way_and_small() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir.path().join("relay"), "127.0.0.1:0").await;
    let (a, b) =
        (phone(dir.path(), 1, url(&relay, relay.local_addr())).await, phone(dir.path(), 2, None).await);
    let (_, doc) = found(&[&a, &b]).await;
    wait_for(&a, Status::is_synced).await;
    add(&a, doc, "đã gửi".into()).await;
    wait_for(&a, Status::is_synced).await;
    a.set_relay(None);
    wait_for(&a, |s| s.link == LinkState::Offline).await;
    let before = a.traffic();
    a.set_relay(url(&relay, relay.local_addr()));
    wait_for(&a, Status::is_synced).await;
    let after = a.traffic();
    assert_eq!((after.frames_up - before.frames_up, after.frames_down - before.frames_down), (1, 1));
    let bytes = after.bytes_up + after.bytes_down - before.bytes_up - before.bytes_down;
    assert!(bytes <= 512, "{bytes}");
}

#[tokio::test]
async fn work_goes_on_over_a_half_open_link_and_a_resume_finds_the_way_back() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir.path().join("relay"), "127.0.0.1:0").await;
    let (through, mode) = link(relay.local_addr()).await;
    let (a, b) = (
        phone(dir.path(), 1, url(&relay, through)).await,
        phone(dir.path(), 2, url(&relay, relay.local_addr())).await,
    );
    let (_, doc) = found(&[&a, &b]).await;
    converge(&[&a, &b], doc).await;

    mode.send_replace(Mode::HalfOpen);
    let mut slowest = Duration::ZERO;
    let long = "một câu dài để làm đầy bộ đệm ".repeat(20);
    for i in 0..150 {
        let began = Instant::now();
        // More than the socket's buffers and the protocol's credit take.
        add(&a, doc, format!("{i} {long}")).await;
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let status = a.status().borrow().clone();
    assert!(status.link == LinkState::Live && status.pending > 0, "nobody has noticed: {status:?}");
    assert_eq!(text(&b, doc).await, "");

    mode.send_replace(Mode::Up);
    let began = Instant::now();
    a.resumed();
    converge(&[&a, &b], doc).await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(text(&b, doc).await.contains("149 một câu"));
}

#[tokio::test]
async fn who_asks_whether_the_connection_lives_is_not_told_of_what_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir.path().join("relay"), "127.0.0.1:0").await;
    let (address, mode) = link(relay.local_addr()).await;
    let phone = phone(dir.path(), 1, url(&relay, address)).await;
    found(&[&phone]).await;
    wait_for(&phone, Status::is_synced).await;
    // Alive: it answers.
    phone.probe().await.unwrap();
    assert!(phone.status().borrow().is_probing);
    wait_for(&phone, |s| !s.is_probing && s.is_synced()).await;
    // Dead: the old status is all there is until the answer does not come. Then it dials anew, and that fails at first.
    let failures = phone.status().borrow().failures;
    mode.send(Mode::HalfOpen).unwrap();
    phone.probe().await.unwrap();
    assert!(phone.status().borrow().is_synced() && phone.status().borrow().is_probing);
    relay.shutdown().await.unwrap();
    wait_for(&phone, |s| s.link == LinkState::Offline && s.failures > failures).await;
    // Locked: there is nobody who could ask.
    phone.lock().await.unwrap();
    assert!(matches!(phone.probe().await, Err(ClientError::Locked)));
}

#[tokio::test]
async fn clients_come_back_after_a_relay_restart_and_keep_the_time_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("relay");
    let first = relay(&data, "127.0.0.1:0").await;
    let address = first.local_addr();
    let (a, b) =
        (phone(dir.path(), 1, url(&first, address)).await, phone(dir.path(), 2, url(&first, address)).await);
    let (_, doc) = found(&[&a, &b]).await;
    converge(&[&a, &b], doc).await;
    first.shutdown().await.unwrap();
    wait_for(&a, |s| !matches!(s.link, LinkState::Live)).await;
    add(&a, doc, "trong lúc tắt ".into()).await;
    add(&b, doc, "cả hai máy ".into()).await;
    let second = relay(&data, &address.to_string()).await;
    converge(&[&a, &b], doc).await;
    let merged = text(&b, doc).await;
    assert!(merged.contains("trong lúc tắt ") && merged.contains("cả hai máy "), "{merged}");
    assert!(a.traffic().connections >= 2);
    second.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_was_edited_before_the_process_ended_goes_out_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir.path().join("relay"), "127.0.0.1:0").await;
    let url = url(&relay, relay.local_addr());
    let (a, b) = (phone(dir.path(), 1, None).await, phone(dir.path(), 2, url.clone()).await);
    let (_, doc) = found(&[&a, &b]).await;
    add(&a, doc, "ngoại tuyến".into()).await;
    a.shutdown().await.unwrap();
    let a = phone(dir.path(), 1, url).await;
    converge(&[&a, &b], doc).await;
    assert_eq!(text(&b, doc).await, "ngoại tuyến");
}

/// The operator stops the relay, puts yesterday's copy of its file back, and starts it again. Nobody presses anything.
#[tokio::test]
async fn a_relay_with_an_older_copy_of_its_file_gets_everything_back() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("relay");
    let running = relay(&data, "127.0.0.1:0").await;
    let address = running.local_addr();
    let (a, b) = (
        phone(directory.path(), 1, url(&running, address)).await,
        phone(directory.path(), 2, url(&running, address)).await,
    );
    let (_, doc) = found(&[&a, &b]).await;
    add(&a, doc, "trước bản sao; ".into()).await;
    converge(&[&a, &b], doc).await;
    running.shutdown().await.unwrap();
    let files = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    };
    let copy = directory.path().join("copy");
    files(&data, &copy);

    let running = relay(&data, &address.to_string()).await;
    for i in 0..10 {
        add(&a, doc, format!("a{i}; ")).await;
        add(&b, doc, format!("b{i}; ")).await;
    }
    for phone in [&a, &b] {
        phone.network_changed();
    }
    converge(&[&a, &b], doc).await;
    running.shutdown().await.unwrap();

    std::fs::remove_dir_all(&data).unwrap();
    files(&copy, &data);
    let running = relay(&data, &address.to_string()).await;
    for phone in [&a, &b] {
        phone.network_changed();
        wait_for(phone, |s| s.link == LinkState::Live).await;
    }
    // A phone that has nothing gets all of it from the restored relay, the words that only phones had among them.
    let late = phone(directory.path(), 3, url(&running, address)).await;
    let branch = *a.charters().await.unwrap().keys().next().unwrap();
    a.admit_device(branch, MemberId([7; 16]), Role::Reader, late.join_request(), "máy").await.unwrap();
    late.join(a.invitation(branch).await.unwrap()).await.unwrap();
    converge(&[&a, &b, &late], doc).await;
    let all = text(&late, doc).await;
    for i in 0..10 {
        assert!(all.contains(&format!("a{i}; ")) && all.contains(&format!("b{i}; ")), "{all}");
    }
    for phone in [&a, &b] {
        assert!(phone.quarantined().await.unwrap().is_empty());
        assert_eq!(phone.counters().await.unwrap().refused, 0);
    }
    running.shutdown().await.unwrap();
}
