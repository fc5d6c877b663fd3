//! What a start costs on a large log. Makes a log of a province (5,000 branches that all write at the same time), then starts a relay
//! over it and says how long that took, what it read and what it holds in memory.
//!
//! ```text
//! cargo run --release -p dinh-server --example start_cost -- make DIR GIGABYTES
//! cargo run --release -p dinh-server --example start_cost -- start DIR
//! cargo run --release -p dinh-server --example start_cost -- devices DIR ADDRESS
//! ```
//!
//! The last connects devices to a relay that runs over the log at ADDRESS (127.0.0.1:4480): to spaces that are not in its memory, and
//! once again.
//!
//! The items are well formed and in chains, but only charter records are signed: a relay that starts checks no signature. To
//! measure a cold start, drop the file from the page cache before: `dd if=DIR/relay.redb iflag=nocache count=0`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measurement")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use dinh_proto::channel::Binding;
use dinh_proto::charter::record::{Audience, Certificate, JoinRequest, Record, Role, Writers, found};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::ids::{
    ChangeHash, CharterTag, Cursor, DeviceId, DocId, LogEpoch, MemberId, SessionId, SpaceId,
};
use dinh_proto::item::{Draft, Item, Kind, Place, RawItem};
use dinh_proto::keys::{DeviceKey, RelayKey, RelayPublic, SignKey};
use dinh_proto::session::{DeviceEvent, DeviceSession};
use dinh_proto::time::Timestamp;
use dinh_proto::wire::{CaughtUp, Hello};
use dinh_server::log::RedbLog;
use dinh_server::{Server, ServerConfig};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const BRANCHES: usize = 5_000;
const MEMBERS: usize = 20;
/// Members who write; each in all spaces of the branch.
const WRITERS: usize = 5;
const SPACES: usize = 4;
/// Runs that a document gets, all of one writer.
const RUNS_PER_DOCUMENT: usize = 12;
const BATCH: usize = 50_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", dir, gigabytes] => make(Path::new(dir), gigabytes.parse().unwrap()),
        ["start", dir] => start(Path::new(dir)),
        ["devices", dir, address] => devices(Path::new(dir), address.parse().unwrap()),
        _ => panic!("make DIR GIGABYTES, start DIR, or devices DIR ADDRESS"),
    }
}

/// The device of a member.
fn key(branch: usize, member: usize) -> DeviceKey {
    let mut seed = [1; 32];
    seed[..8].copy_from_slice(&((branch * MEMBERS + member) as u64).to_le_bytes());
    DeviceKey::from_seed(&seed)
}

/// A branch while the log is made.
struct Branch {
    id: SpaceId,
    secretary: DeviceKey,
    spaces: Vec<SpaceId>,
    writers: Vec<DeviceId>,
    records: (u32, [u8; 16]),
    /// By writer and space.
    tips: Vec<(u32, [u8; 16])>,
    documents: usize,
}

impl Branch {
    fn found(number: usize, out: &mut Vec<Item>) -> Self {
        let key = |member: usize| key(number, member);
        let certificate = |member: usize, role| {
            let mut id = MemberId([0; 16]);
            id.0[0] = member as u8;
            Certificate { member: id, role, request: JoinRequest::new(&key(member)), name: Vec::new() }
        };
        let (id, genesis) = found(&SignKey::from_seed(&[9; 32]), certificate(0, Role::Secretary));
        let secretary = key(0);
        let mut branch = Self {
            id,
            spaces: Vec::new(),
            writers: (0..WRITERS).map(|m| key(m).public().id()).collect(),
            secretary,
            records: (0, [0; 16]),
            tips: vec![(0, [0; 16]); WRITERS * SPACES],
            documents: 0,
        };
        out.push(branch.record(&genesis));
        for member in 1..MEMBERS {
            let certificate = Box::new(certificate(member, Role::Member));
            out.push(branch.record(&Record::Device { certificate, seen: Vec::new() }.encode()));
        }
        for space in 0..SPACES {
            let nonce = [space as u8; 16];
            let audience = Audience::Everyone;
            out.push(
                branch.record(&Record::Space { nonce, history: true, padded: false, audience }.encode()),
            );
            branch.spaces.push(SpaceId::derive(&branch.secretary.public().id(), &nonce));
        }
        branch
    }

    fn record(&mut self, payload: &[u8]) -> Item {
        let (n, prev) = self.records;
        let item = draft(Kind::Charter, self.id, Place::Chain { n: n + 1, prev });
        let item = item.sign(&self.secretary, payload).unwrap();
        self.records = (n + 1, item.id().link());
        item
    }

    /// A document and its runs.
    fn write(&mut self, runs: &[Vec<u8>], out: &mut Vec<Item>) {
        let (space, writer) = (self.documents % 7 % SPACES, self.documents % WRITERS);
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&(self.documents as u64).to_le_bytes());
        let schema = vec![7; 40];
        let record = Record::Document { nonce, space: self.spaces[space], writers: Writers::All, schema };
        out.push(self.record(&record.encode()));
        let doc = DocId::derive(&self.secretary.public().id(), &nonce);
        for i in 0..RUNS_PER_DOCUMENT {
            let (n, prev) = self.tips[writer * SPACES + space];
            let mut bytes = runs[(self.documents * 31 + i) % runs.len()].clone();
            bytes[4..20].copy_from_slice(&self.spaces[space].0);
            bytes[20..36].copy_from_slice(&doc.0);
            bytes[36..52].copy_from_slice(&self.writers[writer].0);
            bytes[60..64].copy_from_slice(&(n + 1).to_le_bytes());
            bytes[64..80].copy_from_slice(&prev);
            let item = RawItem::parse(bytes.into()).unwrap().trust();
            self.tips[writer * SPACES + space] = (n + 1, item.id().link());
            out.push(item);
        }
        self.documents += 1;
    }
}

fn draft(kind: Kind, space: SpaceId, place: Place) -> Draft {
    let run = kind == Kind::Run;
    Draft {
        kind,
        space,
        doc: if run { DocId([1; 16]) } else { DocId::default() },
        session: SessionId([1; 8]),
        place,
        first_seq: u32::from(run),
        count: u16::from(run),
        last: if run { ChangeHash([4; 32]) } else { ChangeHash::default() },
        charter_tag: CharterTag::default(),
    }
}

/// Runs of all usual sizes, whose headers are written over.
fn runs() -> Vec<Vec<u8>> {
    let key = DeviceKey::from_seed(&[3; 32]);
    let place = Place::Chain { n: 2, prev: [1; 16] };
    let sealed = |len: usize| {
        let run = draft(Kind::Run, SpaceId([1; 16]), place);
        run.seal(&key, &SpaceKey::from_bytes(&[7; 32]), false, &vec![5; len]).unwrap().bytes().to_vec()
    };
    (0..256).map(|i| sealed(60 + i * 97 % 700)).collect()
}

fn make(dir: &Path, gigabytes: f64) {
    std::fs::create_dir_all(dir).unwrap();
    let log = RedbLog::open(&dir.join("relay.redb"), LogEpoch([1; 8])).unwrap();
    let (began, mut bytes, runs) = (Instant::now(), 0, runs());
    let mut kinds: BTreeMap<Kind, u64> = BTreeMap::new();
    let mut batch = Vec::new();
    let mut store = |batch: &mut Vec<Item>, at_least: usize| {
        if batch.len() < at_least {
            return bytes;
        }
        bytes += batch.iter().map(|i| i.bytes().len() as u64).sum::<u64>();
        batch.iter().for_each(|i| *kinds.entry(i.header().kind).or_default() += 1);
        log.append_batch(batch.iter()).unwrap();
        batch.clear();
        log.write_index(u64::MAX).unwrap();
        bytes
    };
    let mut branches = Vec::new();
    for number in 0..BRANCHES {
        branches.push(Branch::found(number, &mut batch));
        store(&mut batch, BATCH);
    }
    let wanted = (gigabytes * 1e9) as u64;
    'full: loop {
        for branch in &mut branches {
            branch.write(&runs, &mut batch);
            if store(&mut batch, BATCH) >= wanted {
                break 'full;
            }
        }
        println!("{:4.0} s: {:.2} GB", began.elapsed().as_secs_f64(), store(&mut batch, 1) as f64 / 1e9);
    }
    println!("{} items, {bytes} bytes, {kinds:?}", log.head());
    log.close().unwrap();
    let size = std::fs::metadata(dir.join("relay.redb")).unwrap().len();
    println!("{size} bytes in the file after {:.0} s", began.elapsed().as_secs_f64());
}

fn start(dir: &Path) {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let before = read_bytes();
        let began = Instant::now();
        let listen = "127.0.0.1:0".parse().unwrap();
        let relay = Server::start(ServerConfig::new(dir, listen)).await.unwrap();
        let took = began.elapsed();
        println!(
            "start {:.3} s, {} MB from the disk, {} MB by read calls, {} MB resident (peak {})",
            took.as_secs_f64(),
            (read_bytes().0 - before.0) / 1_000_000,
            (read_bytes().1 - before.1) / 1_000_000,
            status("VmRSS:") / 1_000,
            status("VmHWM:") / 1_000
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        let began = Instant::now();
        relay.shutdown().await.unwrap();
        println!("stop {:.3} s", began.elapsed().as_secs_f64());
    });
}

fn devices(dir: &Path, address: SocketAddr) {
    let seed = std::fs::read_to_string(dir.join("relay.key")).unwrap();
    let seed: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&seed[2 * i..2 * i + 2], 16).unwrap()).collect();
    let relay = RelayKey::from_seed(&seed.try_into().unwrap()).public();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // Any that are far from each other in the log.
        for branch in [17, 1_234, 2_345, 3_456, 4_567] {
            let everything = connect(address, &relay, &key(branch, 10), None).await;
            println!("branch {branch}, cold, without a cursor: {everything}");
            let again = connect(address, &relay, &key(branch, 11), None).await;
            println!("branch {branch}, in memory, without a cursor: {again}");
            let cursor = again.cursor;
            let cold = connect(address, &relay, &key(branch + 1, 10), Some(cursor)).await;
            println!("branch {}, cold, nothing new: {cold}", branch + 1);
            let warm = connect(address, &relay, &key(branch + 1, 11), Some(cursor)).await;
            println!("branch {}, in memory, nothing new: {warm}", branch + 1);
        }
    });
}

/// What a connection cost.
struct Cost {
    upgraded: Duration,
    welcomed: Duration,
    caught_up: Duration,
    items: usize,
    cursor: Cursor,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let (upgraded, welcomed, caught_up) = (ms(self.upgraded), ms(self.welcomed), ms(self.caught_up));
        write!(
            f,
            "socket {upgraded:.1} ms, welcome {welcomed:.1} ms, {} items by {caught_up:.1} ms",
            self.items
        )
    }
}

async fn connect(address: SocketAddr, relay: &RelayPublic, key: &DeviceKey, cursor: Option<Cursor>) -> Cost {
    let began = Instant::now();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = "ws://relay/dinh/v1".into_client_request().unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let hex = response.headers()["dinh-challenge"].to_str().unwrap();
    let mut binding = [0; 32];
    for (i, byte) in binding.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
    }
    let upgraded = began.elapsed();
    let hello = Hello { cursor, ..Hello::default() };
    let mut session = DeviceSession::new(key, relay, Binding(binding), [7; 32], hello, Timestamp(0));
    let (mut welcomed, mut epoch, mut items) = (None, LogEpoch::default(), 0);
    loop {
        let mut frame = Vec::new();
        while session.poll_transmit(&mut frame) {
            socket.send(Message::Binary(std::mem::take(&mut frame).into())).await.unwrap();
        }
        while let Some(event) = session.poll_event() {
            match event {
                DeviceEvent::Welcomed(welcome) => {
                    welcomed = Some(began.elapsed());
                    epoch = welcome.epoch;
                }
                DeviceEvent::Items { items: batch, bytes } => {
                    items += batch.items.len();
                    session.release(bytes);
                }
                DeviceEvent::CaughtUp(CaughtUp { seq, .. }) => {
                    let cursor = Cursor { epoch, seq };
                    let caught_up = began.elapsed();
                    return Cost { upgraded, welcomed: welcomed.unwrap(), caught_up, items, cursor };
                }
                DeviceEvent::Closed(error) => panic!("{error}"),
                _ => {}
            }
        }
        if let Message::Binary(frame) = socket.next().await.unwrap().unwrap() {
            session.handle_frame(Timestamp(0), &frame);
        }
    }
}

/// What this process has read: from the disk, and by calls.
fn read_bytes() -> (u64, u64) {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    (field(&io, "read_bytes:"), field(&io, "rchar:"))
}

/// Kilobytes.
fn status(name: &str) -> u64 {
    field(&std::fs::read_to_string("/proc/self/status").unwrap(), name)
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len()..].trim().trim_end_matches(" kB").parse().unwrap()
}
