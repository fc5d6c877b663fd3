//! The relay as devices meet it: a real process or a server in this one, real sockets, a real file.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may measure"
)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dinh_proto::channel::Binding;
use dinh_proto::charter::record::{Audience, Certificate, JoinRequest, Record, Role, Writers, found};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::error::{CloseCode, SessionError};
use dinh_proto::ids::{
    ChangeHash, CharterTag, Cursor, DeviceId, DocId, ItemId, MemberId, Seq, SessionId, SpaceId,
};
use dinh_proto::item::{Draft, Item, Kind, Place};
use dinh_proto::keys::{DeviceKey, RelayPublic, SignKey};
use dinh_proto::session::{DeviceEvent, DeviceSession};
use dinh_proto::time::Timestamp;
use dinh_proto::wire::Hello;
use dinh_server::{Running, Server, ServerConfig};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const PATIENCE: Duration = Duration::from_secs(20);

/// What a device has made, in its chains.
struct Author {
    key: DeviceKey,
    branch: SpaceId,
    records: (u32, [u8; 16]),
    runs: (u32, [u8; 16]),
}

impl Author {
    fn new(seed: u8, branch: SpaceId) -> Self {
        Self { key: DeviceKey::from_seed(&[seed; 32]), branch, records: (0, [0; 16]), runs: (0, [0; 16]) }
    }

    fn item(&mut self, kind: Kind, payload: &[u8]) -> Item {
        let is_run = kind == Kind::Run;
        let (n, prev) = if is_run { &mut self.runs } else { &mut self.records };
        *n += 1;
        let draft = Draft {
            kind,
            space: if is_run { space() } else { self.branch },
            doc: if is_run { doc() } else { DocId::default() },
            session: SessionId([1; 8]),
            place: Place::Chain { n: *n, prev: *prev },
            first_seq: u32::from(is_run) * *n,
            count: u16::from(is_run),
            last: if is_run { ChangeHash([1; 32]) } else { ChangeHash::default() },
            charter_tag: CharterTag::default(),
        };
        let item = if is_run {
            draft.seal(&self.key, &SpaceKey::from_bytes(&[7; 32]), false, payload).unwrap()
        } else {
            draft.sign(&self.key, payload).unwrap()
        };
        *prev = item.id().link();
        item
    }

    fn run(&mut self, payload: &[u8]) -> Item {
        self.item(Kind::Run, payload)
    }

    fn certificate(&self, member: u8, role: Role) -> Certificate {
        let request = JoinRequest::new(&self.key);
        Certificate { member: MemberId([member; 16]), role, request, name: Vec::new() }
    }
}

fn secretary_id() -> DeviceId {
    DeviceKey::from_seed(&[1; 32]).public().id()
}

fn space() -> SpaceId {
    SpaceId::derive(&secretary_id(), &[20; 16])
}

fn doc() -> DocId {
    DocId::derive(&secretary_id(), &[30; 16])
}

/// A branch with a secretary, a member, one space and one document: its records, and its two authors.
fn branch() -> (Vec<Item>, Author, Author) {
    let mut secretary = Author::new(1, SpaceId::default());
    let certificate = secretary.certificate(1, Role::Secretary);
    let (id, genesis) = found(&SignKey::from_seed(&[99; 32]), certificate);
    secretary.branch = id;
    let member = Author::new(2, id);
    let payloads = [
        genesis,
        Record::Device { certificate: Box::new(member.certificate(2, Role::Member)), seen: Vec::new() }
            .encode(),
        Record::Space { nonce: [20; 16], history: true, padded: false, audience: Audience::Everyone }
            .encode(),
        Record::Document { nonce: [30; 16], space: space(), writers: Writers::All, schema: Vec::new() }
            .encode(),
    ];
    let records = payloads.iter().map(|p| secretary.item(Kind::Charter, p)).collect();
    (records, secretary, member)
}

/// A device's end of a connection.
struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: DeviceSession,
    began: Instant,
}

impl Client {
    /// To an address as the relay prints it.
    async fn connect(address: &str, key: &DeviceKey, cursor: Option<Cursor>) -> Self {
        let (url, relay) = address.split_once('#').unwrap();
        let relay: RelayPublic = relay.parse().unwrap();
        let (socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
        let hex = response.headers()["dinh-challenge"].to_str().unwrap();
        let mut binding = [0; 32];
        assert_eq!(hex.len(), 64);
        for (i, byte) in binding.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
        }
        let hello = Hello { cursor, ..Hello::default() };
        let session = DeviceSession::new(key, &relay, Binding(binding), [7; 32], hello, Timestamp(0));
        let mut client = Self { socket, session, began: Instant::now() };
        client.send().await;
        client
    }

    fn now(&self) -> Timestamp {
        Timestamp(0) + self.began.elapsed()
    }

    async fn send(&mut self) {
        let mut frame = Vec::new();
        while self.session.poll_transmit(&mut frame) {
            let message = Message::Binary(std::mem::take(&mut frame).into());
            // What a closed relay says is learned by reading.
            if self.socket.send(message).await.is_err() {
                return;
            }
        }
    }

    async fn event(&mut self) -> DeviceEvent {
        let next = async {
            loop {
                if let Some(event) = self.session.poll_event() {
                    return event;
                }
                self.send().await;
                match self.socket.next().await {
                    Some(Ok(Message::Binary(frame))) => {
                        let now = self.now();
                        self.session.handle_frame(now, &frame);
                    }
                    Some(Ok(_)) => {}
                    gone => panic!("the connection ended without a word: {gone:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("the relay says nothing")
    }

    /// Puts items and waits for all acknowledgements.
    async fn put(&mut self, items: &[Item]) -> Vec<Seq> {
        self.offer(items);
        let mut seqs = Vec::new();
        while seqs.len() < items.len() {
            match self.event().await {
                DeviceEvent::Acked { id, seq } => {
                    assert_eq!(id, items[seqs.len()].id());
                    seqs.push(seq);
                }
                DeviceEvent::Rejected { id, code, detail } => panic!("{id:?} refused: {code:?} {detail}"),
                DeviceEvent::Closed(error) => panic!("{error}"),
                _ => {}
            }
        }
        seqs
    }

    fn offer(&mut self, items: &[Item]) {
        for item in items {
            self.session.put(item.id(), item.bytes().clone(), false);
        }
    }

    async fn welcomed(&mut self) -> dinh_proto::wire::Welcome {
        match self.event().await {
            DeviceEvent::Welcomed(welcome) => welcome,
            other => panic!("not a welcome: {other:?}"),
        }
    }

    /// Items until the relay says that these are all; and the cursor then.
    async fn catch_up(&mut self) -> (Vec<Bytes>, Seq) {
        let mut received = Vec::new();
        loop {
            match self.event().await {
                DeviceEvent::Items { items, bytes } => {
                    self.session.release(bytes);
                    received.extend(items.items.into_iter().map(|(_, item)| item));
                }
                DeviceEvent::CaughtUp(caught_up) => return (received, caught_up.seq),
                DeviceEvent::Closed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }

    async fn closed(&mut self) -> SessionError {
        loop {
            if let DeviceEvent::Closed(error) = self.event().await {
                return error;
            }
        }
    }
}

async fn start(data: &Path) -> Running {
    Server::start(ServerConfig::new(data, "127.0.0.1:0".parse().unwrap())).await.unwrap()
}

fn bytes_of(items: &[Item]) -> Vec<Bytes> {
    items.iter().map(|item| item.bytes().clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn items_travel_between_devices_and_survive_a_restart_with_the_cursor() {
    let data = tempfile::tempdir().unwrap();
    let relay = start(&data.path().join("made/by/the/relay")).await;
    let (records, mut secretary, mut member) = branch();
    let mut s = Client::connect(&relay.address(), &secretary.key, None).await;
    s.welcomed().await;
    s.put(&records).await;
    let mut m = Client::connect(&relay.address(), &member.key, None).await;
    let epoch = m.welcomed().await.epoch;
    let (received, cursor) = m.catch_up().await;
    assert_eq!(received, bytes_of(&records));
    // Both ways, while both are there.
    let one = secretary.run(b"one");
    let seqs = s.put(std::slice::from_ref(&one)).await;
    assert_eq!(seqs, vec![Seq(cursor.0 + 1)]);
    let DeviceEvent::Items { items, .. } = m.event().await else { panic!("no items") };
    assert_eq!(items.items, vec![(seqs[0], one.bytes().clone())]);
    let large = member.run(&vec![7; 900_000]);
    m.put(std::slice::from_ref(&large)).await;
    relay.shutdown().await.unwrap();
    assert!(matches!(m.closed().await, SessionError::ClosedByPeer { code: CloseCode::GoingAway, .. }));

    let relay = start(&data.path().join("made/by/the/relay")).await;
    let from = Cursor { epoch, seq: seqs[0] };
    let mut m = Client::connect(&relay.address(), &member.key, Some(from)).await;
    let welcome = m.welcomed().await;
    assert!(!welcome.reconcile, "a clean restart must not cost a reconcile");
    assert_ne!(welcome.epoch, epoch);
    assert_eq!(m.catch_up().await.0, bytes_of(&[large]), "only what came after the cursor, from disk");
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_protocol_ends_the_connection_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let relay = start(data.path()).await;
    let url = format!("ws://{}/dinh/v1", relay.local_addr());
    let refused = [Message::Text("hello".into()), Message::Binary(vec![0; 70_000].into())];
    for message in refused {
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
        socket.send(message).await.unwrap();
        let end = async { while let Some(Ok(_)) = socket.next().await {} };
        tokio::time::timeout(PATIENCE, end).await.expect("it stays connected");
    }
    // Bytes that are no frame of the protocol are answered with a reason.
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    socket.send(Message::Binary(vec![1; 40].into())).await.unwrap();
    let mut heard = Vec::new();
    while let Ok(Some(Ok(message))) = tokio::time::timeout(PATIENCE, socket.next()).await {
        heard.push(message);
    }
    assert!(heard[0].is_binary() && heard[1].is_close() && heard.len() == 2, "{heard:?}");
    // A ping is answered, and the relay still serves.
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    socket.send(Message::Ping(vec![5].into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(vec![5].into()));
    let one_left = async {
        loop {
            let page = http_get(relay.local_addr(), "/metrics").await;
            if page.contains("dinh_relay_connections 1\n") {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let page = tokio::time::timeout(PATIENCE, one_left).await.expect("connections are left over");
    assert!(page.contains("dinh_relay_closes_total{code=\"InvalidMessage\"} 1"), "{page}");
    assert!(http_get(relay.local_addr(), "/healthz").await.ends_with("ok\n"));
    assert!(http_get(relay.local_addr(), "/else").await.starts_with("HTTP/1.1 404"));
    relay.shutdown().await.unwrap();
}

async fn http_get(relay: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(relay).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_too_much_head_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let relay = start(data.path()).await;
    let mut stream = TcpStream::connect(relay.local_addr()).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: relay\r\nX-Long: {}\r\n\r\n", "x".repeat(100_000));
    // The relay may answer before it has read everything.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("no answer");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_does_not_read_does_not_hold_up_the_others_or_the_end() {
    let data = tempfile::tempdir().unwrap();
    let relay = start(data.path()).await;
    let (records, mut secretary, member) = branch();
    let mut s = Client::connect(&relay.address(), &secretary.key, None).await;
    s.welcomed().await;
    s.put(&records).await;
    let mut stalled = Client::connect(&relay.address(), &member.key, None).await;
    stalled.welcomed().await;
    stalled.catch_up().await;
    let mut alive = Client::connect(&relay.address(), &member.key, None).await;
    alive.welcomed().await;
    alive.catch_up().await;
    let began = Instant::now();
    for _ in 0..8 {
        let run = secretary.run(&[3; 400_000]);
        s.put(std::slice::from_ref(&run)).await;
        let DeviceEvent::Items { items, bytes } = alive.event().await else { panic!("no items") };
        alive.session.release(bytes);
        assert_eq!(items.items[0].1, run.bytes());
    }
    assert!(began.elapsed() < PATIENCE);
    let began = Instant::now();
    relay.shutdown().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

/// A relay in a process of its own.
struct Process {
    child: Child,
    /// What devices connect to.
    address: String,
}

impl Process {
    fn start(data: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinh-relay"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        Self::from(command)
    }

    fn from(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let mut after = |words: &str| {
            let line = lines.next().expect("it says that it is ready").unwrap();
            line.strip_prefix(words).expect("the lines say where").to_owned()
        };
        let listening: SocketAddr = after("dinh-relay listening ").parse().unwrap();
        let address = after("dinh-relay address ");
        assert!(address.starts_with(&format!("ws://{listening}/dinh/v1#")), "{address}");
        Self { child, address }
    }

    fn exit(mut self, within: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < within, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let data = tempfile::tempdir().unwrap();
    let (records, mut secretary, member) = branch();
    let mut acknowledged: Vec<ItemId> = Vec::new();
    let mut waiting: Vec<Item> = Vec::new();
    for life in 0..4 {
        let process = Process::start(data.path());
        let mut s = Client::connect(&process.address, &secretary.key, None).await;
        s.welcomed().await;
        if life == 0 {
            s.put(&records).await;
        }
        waiting.extend((0..40).map(|i| secretary.run(&[i; 200])));
        s.offer(&waiting);
        s.send().await;
        // Killed after some acknowledgements, with more on the way.
        let enough = 5 + life * 7;
        let mut acked = 0;
        while acked < enough {
            match s.event().await {
                DeviceEvent::Acked { id, .. } => {
                    acknowledged.push(id);
                    acked += 1;
                }
                DeviceEvent::Rejected { code, .. } => panic!("{code:?}"),
                _ => {}
            }
        }
        waiting.retain(|item| !acknowledged.contains(&item.id()));
        drop(process);
    }
    let process = Process::start(data.path());
    let mut m = Client::connect(&process.address, &member.key, None).await;
    m.welcomed().await;
    let (received, _) = m.catch_up().await;
    let received: Vec<_> =
        received.into_iter().map(|b| dinh_proto::item::RawItem::parse(b).unwrap().id()).collect();
    for id in &acknowledged {
        assert!(received.contains(id), "{id:?} was acknowledged and is gone");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_in_order() {
    let data = tempfile::tempdir().unwrap();
    let process = Process::start(data.path());
    let (records, secretary, _) = branch();
    let mut s = Client::connect(&process.address, &secretary.key, None).await;
    s.welcomed().await;
    s.put(&records).await;
    Command::new("kill").args(["-TERM", &process.child.id().to_string()]).status().unwrap();
    assert!(matches!(s.closed().await, SessionError::ClosedByPeer { code: CloseCode::GoingAway, .. }));
    drop(s);
    assert_eq!(process.exit(PATIENCE).code(), Some(0));
    let relay = start(data.path()).await;
    assert!(http_get(relay.local_addr(), "/metrics").await.contains("dinh_relay_log_head 4\n"));
    relay.shutdown().await.unwrap();
}

/// A file-size limit stands for a full disk.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_ends_the_process_with_its_code_and_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 16384; exec \"$0\" serve --listen 127.0.0.1:0 --data \"$1\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_dinh-relay")]).arg(data.path());
    let process = Process::from(command);
    let (records, mut secretary, member) = branch();
    let mut s = Client::connect(&process.address, &secretary.key, None).await;
    s.welcomed().await;
    s.put(&records).await;
    let mut acknowledged = Vec::new();
    let error = loop {
        let run = secretary.run(&[acknowledged.len() as u8; 900_000]);
        s.offer(std::slice::from_ref(&run));
        // One at a time: each is larger than all the credit.
        let closed = loop {
            match s.event().await {
                DeviceEvent::Acked { .. } => break None,
                DeviceEvent::Closed(error) => break Some(error),
                _ => {}
            }
        };
        match closed {
            None => acknowledged.push(run.bytes().clone()),
            Some(error) => break error,
        }
        assert!(acknowledged.len() < 100, "the limit does not bite");
    };
    assert!(matches!(error, SessionError::ClosedByPeer { code: CloseCode::StorageFailed, .. }), "{error}");
    assert!(!acknowledged.is_empty());
    drop(s);
    assert_eq!(process.exit(PATIENCE).code(), Some(3));
    let relay = start(data.path()).await;
    let mut m = Client::connect(&relay.address(), &member.key, None).await;
    m.welcomed().await;
    let (received, _) = m.catch_up().await;
    assert!(received.len() >= 4 + acknowledged.len());
    assert_eq!(received[4..4 + acknowledged.len()], acknowledged);
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_relay_on_the_same_directory_says_so() {
    let data = tempfile::tempdir().unwrap();
    let _first = Process::start(data.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinh-relay"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("another dinh-relay has this file open"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_keeps_its_key_and_tells_it() {
    let key = |data: &Path| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_dinh-relay")).args(["key", "--data"]).arg(data).output();
        let output = output.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let data = tempfile::tempdir().unwrap();
    let (code, _, error) = key(data.path());
    assert_eq!(code, Some(1));
    assert!(error.contains("makes it when it starts"), "{error}");

    let process = Process::start(data.path());
    let (_, printed) = process.address.split_once('#').unwrap();
    let printed = printed.to_owned();
    assert_eq!(key(data.path()), (Some(0), printed.clone(), String::new()));
    drop(process);
    // Another start, another port, the same relay; another directory, another relay.
    let process = Process::start(data.path());
    assert!(process.address.ends_with(&printed));
    drop(process);
    let other = tempfile::tempdir().unwrap();
    assert!(!Process::start(other.path()).address.ends_with(&printed));

    // It does not start with a key that others may have read, nor with half of one.
    let path = data.path().join("relay.key");
    std::fs::write(&path, "12").unwrap();
    let started = Server::start(ServerConfig::new(data.path(), "127.0.0.1:0".parse().unwrap())).await;
    assert!(started.unwrap_err().to_string().contains("64 hexadecimal digits"));
}

#[test]
fn the_program_explains_itself() {
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_dinh-relay")).args(args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, help) = run(&["serve", "--help"]);
    assert_eq!(code, Some(0));
    assert!(help.contains("dinh-relay serve --data /var/lib/dinh"), "{help}");
    assert_eq!(run(&["version"]), (Some(0), format!("dinh-relay {}\n", env!("CARGO_PKG_VERSION"))));
    assert_eq!(run(&["serve"]).0, Some(2));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_costs_little_memory() {
    const CONNECTIONS: usize = 400;
    let data = tempfile::tempdir().unwrap();
    let process = Process::start(data.path());
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    };
    let key = DeviceKey::from_seed(&[1; 32]);
    Client::connect(&process.address, &key, None).await.welcomed().await;
    let before = resident();
    let mut clients = Vec::new();
    for i in 0..CONNECTIONS {
        let key = DeviceKey::from_seed(&[(i / 4) as u8; 32]);
        let mut client = Client::connect(&process.address, &key, None).await;
        client.welcomed().await;
        clients.push(client);
    }
    let each = (resident() - before) / CONNECTIONS;
    println!("{each} bytes for each of {CONNECTIONS} idle connections");
    assert!(each < 40_000, "{each} bytes: have the socket's buffers grown?");
}
