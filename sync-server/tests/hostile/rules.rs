//! Each rule of `docs/PROTOCOL.md` that a peer can break towards a relay, broken over a real socket of a real process.

use std::time::Duration;

use dinh_proto::codec::Write;
use dinh_proto::error::{CloseCode, RejectCode};
use dinh_proto::ids::{ItemId, LogEpoch, Seq, SpaceId};
use dinh_proto::keys::{DeviceKey, RelayKey};
use dinh_proto::limits;
use dinh_proto::wire::{
    Ack, CaughtUp, ChainSet, Ephemeral, Fetch, Items, Message, Put, PutItem, Reject, Scope, Welcome,
};
use futures_util::SinkExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::RwLockReadGuard;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::hub_common::{Branch, Phone, committee, draft, village};
use crate::peer::{End, Honest, PATIENCE, Peer, hello, wire};
use crate::relay::{Relay, memory_bound};
use crate::{ALONE, report};

/// A relay with a branch, a device that behaves, and a count of rules broken.
struct Stage {
    relay: Relay,
    branch: Branch,
    honest: Honest,
    broken: usize,
    _not_alone: RwLockReadGuard<'static, ()>,
    _data: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let not_alone = ALONE.read().await;
        let data = tempfile::tempdir().unwrap();
        let relay = Relay::start(data.path());
        let branch = Branch::new();
        let mut honest = Honest::connect(&relay.at, &branch.secretary.key).await;
        for record in &branch.records {
            honest.put(record).await;
        }
        Self { relay, branch, honest, broken: 0, _not_alone: not_alone, _data: data }
    }

    async fn peer(&self) -> Peer {
        Peer::connect(&self.relay.at, &self.branch.member.key).await
    }

    async fn greeted(&self) -> Peer {
        let mut peer = self.peer().await;
        peer.greet().await;
        peer
    }

    /// The peer broke a rule: it ends like this, it is counted, and nobody else notices.
    async fn ends(&mut self, what: &str, mut peer: Peer, end: End) {
        assert_eq!(peer.end().await, end, "{what}");
        self.noted(what).await;
    }

    async fn noted(&mut self, what: &str) {
        let item = self.branch.secretary.run(village(), draft(), b"an edit of who behaves");
        self.honest.put(&item).await;
        assert!(self.relay.is_alive(), "{what}");
        self.broken += 1;
    }

    async fn finish(mut self, section: &str) {
        assert!(self.relay.is_alive());
        let (peak, bound) = (self.relay.memory("VmHWM"), memory_bound(16, 4, 1, 1 << 20));
        assert!(peak < bound, "{peak} bytes, the bound is {bound}");
        report(&format!(
            "hostile: {section}: {} rules broken, each refused as the protocol says; the relay took at most {} MiB of {}",
            self.broken,
            peak >> 20,
            bound >> 20
        ));
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_blob(body);
    out
}

/// Section 4.
#[tokio::test(flavor = "multi_thread")]
async fn transport() {
    let mut stage = Stage::new().await;
    let upgrade = |more: &str| {
        format!(
            "GET /dinh/v1 HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    };
    let requests = [
        (
            "another path",
            "GET /dinh/v2 HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n".to_owned(),
            "HTTP/1.1 404",
        ),
        (
            "no upgrade",
            "GET /dinh/v1 HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n".to_owned(),
            "HTTP/1.1 4",
        ),
        (
            "another method",
            "POST /dinh/v1 HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n".to_owned(),
            "HTTP/1.1 4",
        ),
        ("another WebSocket version", upgrade("Sec-WebSocket-Version: 7\r\n"), "HTTP/1.1 4"),
        ("no HTTP", "\u{16}\u{3}\u{1} hello\r\n\r\n".to_owned(), ""),
    ];
    for (what, request, expected) in requests {
        let mut stream = stage.relay.at.tcp(1).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("it stays open");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(expected) && !answer.contains(" 101 "), "{what}: {answer}");
        stage.noted(what).await;
    }
    // No subprotocol is chosen, and the challenge is another one each time.
    let mut challenges = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let mut stream = stage.relay.at.tcp(1).await.unwrap();
        let request = upgrade("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: dinh\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let n = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..n]).to_lowercase();
        assert!(answer.starts_with("http/1.1 101") && !answer.contains("websocket-protocol"), "{answer}");
        assert!(challenges.insert(answer.split("dinh-challenge: ").nth(1).unwrap()[..64].to_owned()));
    }
    stage.noted("a subprotocol").await;
    let bad: [(&str, Frame); 2] = [
        ("a text message", Frame::Text("hello".into())),
        ("a frame that is too long", Frame::Binary(vec![0; limits::FRAME_BYTES_MAX + 1].into())),
    ];
    for (what, frame) in bad {
        let mut peer = stage.greeted().await;
        let _ = peer.socket.send(frame).await;
        stage.ends(what, peer, End::Silent).await;
    }
    // Below the WebSocket library: frames that no client may send.
    let raw: [(&str, &[u8]); 5] = [
        ("not masked", &[0x82, 0x01, 0x00]),
        ("compressed", &[0xc2, 0x81, 0, 0, 0, 0, 0]),
        ("an unknown opcode", &[0x83, 0x80, 0, 0, 0, 0]),
        ("a part of nothing", &[0x80, 0x81, 0, 0, 0, 0, 0]),
        ("a length of 2^63", &[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
    ];
    for (what, bytes) in raw {
        let mut stream = stage.relay.at.tcp(1).await.unwrap();
        stream.write_all(upgrade("Sec-WebSocket-Version: 13\r\n").as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        assert!(stream.read(&mut answer).await.unwrap() > 0);
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        let _ =
            tokio::time::timeout(Duration::from_secs(15), read).await.unwrap_or_else(|_| panic!("{what}"));
        stage.noted(what).await;
    }
    stage.finish("section 4, transport").await;
}

/// Section 5.
#[tokio::test(flavor = "multi_thread")]
async fn channel() {
    type Spoil = fn(&mut Vec<u8>);
    let mut stage = Stage::new().await;
    let first: [(&str, CloseCode, Spoil); 15] = [
        ("ephemeral key", CloseCode::BadHandshake, |f| f[10] ^= 1),
        ("static key", CloseCode::BadHandshake, |f| f[50] ^= 1),
        ("keys", CloseCode::BadHandshake, |f| f[110] ^= 1),
        ("last byte", CloseCode::BadHandshake, |f| *f.last_mut().unwrap() ^= 1),
        ("a byte more", CloseCode::BadHandshake, |f| f.push(0)),
        ("weak key", CloseCode::BadHandshake, |f| f[5..37].fill(0)),
        ("cut short", CloseCode::BadHandshake, |f| f.truncate(80)),
        ("cut in the header", CloseCode::InvalidMessage, |f| f.truncate(4)),
        ("magic", CloseCode::InvalidMessage, |f| f[0] = b'X'),
        ("nothing", CloseCode::InvalidMessage, Vec::clear),
        ("version 0", CloseCode::Incompatible, |f| f[3] = 0),
        ("version 2", CloseCode::Incompatible, |f| f[3] = 2),
        ("the kind of the hall", CloseCode::Incompatible, |f| f[4] = 2),
        ("an unknown kind", CloseCode::Incompatible, |f| f[4] = 9),
        ("a refusal", CloseCode::Incompatible, |f| f[4] = 0xff),
    ];
    for (what, code, spoil) in first {
        let mut peer = stage.peer().await;
        peer.send_plain(&wire(&[hello()]), spoil).await;
        stage.ends(what, peer, End::InTheClear(code)).await;
    }
    let other = RelayKey::from_seed(&[66; 32]).public();
    let mut peer = Peer::from(&stage.relay.at, &stage.branch.member.key, &other, 1).await.unwrap();
    peer.send(&[hello()]).await;
    stage.ends("another relay's key", peer, End::InTheClear(CloseCode::BadHandshake)).await;
    // A first frame that another connection made, whether that one is over or not.
    let mut recorded = Vec::new();
    let mut victim = stage.peer().await;
    victim.send_plain(&wire(&[hello()]), |frame| recorded.clone_from(frame)).await;
    assert!(matches!(victim.next().await, Ok(Message::Welcome(_))));
    for _ in 0..3 {
        let mut peer = stage.peer().await;
        let copy = recorded.clone();
        peer.send_plain(&[], |frame| *frame = copy).await;
        stage.ends("a replayed first frame", peer, End::InTheClear(CloseCode::BadHandshake)).await;
    }
    drop(victim);
    // The same on the same connection: it is no first frame any more.
    let mut peer = stage.peer().await;
    let mut copy = Vec::new();
    peer.send_plain(&wire(&[hello()]), |frame| copy.clone_from(frame)).await;
    // Before the relay has answered there is no key to say it under.
    assert!(matches!(peer.next().await, Ok(Message::Welcome(_))));
    let _ = peer.socket.send(Frame::Binary(copy.into())).await;
    stage.ends("a repeated first frame", peer, End::Closed(CloseCode::Misbehaved)).await;
    let later: [(&str, Spoil); 5] = [
        ("a bit", |f| f[0] ^= 1),
        ("a bit of the tag", |f| *f.last_mut().unwrap() ^= 1),
        ("cut", |f| f.truncate(15)),
        ("no byte", Vec::clear),
        ("a byte more later", |f| f.push(0)),
    ];
    for (what, spoil) in later {
        let mut peer = stage.greeted().await;
        peer.send_plain(&wire(&[Message::Ping]), spoil).await;
        stage.ends(what, peer, End::Closed(CloseCode::Misbehaved)).await;
    }
    let mut peer = stage.greeted().await;
    let mut copy = Vec::new();
    peer.send_plain(&wire(&[Message::Ping]), |frame| copy.clone_from(frame)).await;
    peer.send_plain(&wire(&[Message::Ping]), |frame| *frame = copy).await;
    stage.ends("repeated", peer, End::Closed(CloseCode::Misbehaved)).await;
    let mut peer = stage.greeted().await;
    peer.channel.seal(&wire(&[Message::Ping]), &mut Vec::new());
    peer.send(&[Message::Ping]).await;
    stage.ends("left out", peer, End::Closed(CloseCode::Misbehaved)).await;
    // Nothing changes before the second frame: many greetings of a device that goes away leave nothing behind.
    let head = stage.relay.metric("log_head").await;
    for _ in 0..30 {
        let mut peer = stage.peer().await;
        peer.send(&[hello()]).await;
    }
    assert_eq!(stage.relay.metric("log_head").await, head);
    stage.noted("greetings without a second frame").await;
    stage.finish("section 5, channel").await;
}

/// Sections 2 and 6.
#[tokio::test(flavor = "multi_thread")]
async fn messages() {
    let mut stage = Stage::new().await;
    let chains = || ChainSet { space: village(), last: true, chains: Vec::new() };
    let put = || Message::Put(Put { items: Vec::new() });
    let first = [
        ("Put first", put()),
        ("Reconcile first", Message::Reconcile(Vec::new())),
        ("Want first", Message::Want(chains())),
        ("Fetch first", Message::Fetch(Fetch { space: village(), from: Seq(0), to: Seq(1) })),
        ("CaughtUp first", Message::CaughtUp(CaughtUp { seq: Seq(9), sums: Vec::new() })),
    ];
    for (what, message) in first {
        let mut peer = stage.peer().await;
        peer.send(&[message]).await;
        stage.ends(what, peer, End::Closed(CloseCode::Misbehaved)).await;
    }
    let mut peer = stage.peer().await;
    peer.send(&[hello(), put()]).await;
    stage.ends("Put before Welcome", peer, End::Closed(CloseCode::Misbehaved)).await;
    let reject = Reject {
        number: 0,
        id: ItemId::default(),
        code: RejectCode::Gap,
        seq: Seq(0),
        detail: String::new(),
    };
    let welcome = Welcome {
        epoch: LogEpoch([1; 8]),
        head: Seq(1),
        reconcile: false,
        replicas: 0,
        backlog: 0,
        time_ms: 0,
    };
    let later = [
        hello(),
        Message::Welcome(welcome),
        Message::Items(Items { scope: Scope::Log, upto: Seq(9), items: Vec::new() }),
        Message::CaughtUp(CaughtUp { seq: Seq(9), sums: Vec::new() }),
        Message::Ack(Ack { puts: vec![(0, Seq(1))] }),
        Message::Reject(reject),
        Message::Have(chains()),
        // Section 7: credit that nobody took.
        Message::Credit(limits::CREDIT_BYTES),
        Message::Credit(u64::MAX),
    ];
    for message in later {
        let what = message.name();
        let mut peer = stage.greeted().await;
        peer.send(&[message]).await;
        stage.ends(what, peer, End::Closed(CloseCode::Misbehaved)).await;
    }
    let spaces = |a: u8, b: u8| [&[11, 2][..], &[a; 16], &[b; 16]].concat();
    let mut too_large_item = vec![5, 1, 0];
    too_large_item.put_uleb(1_000_219);
    let bodies: Vec<(&str, Vec<u8>, CloseCode)> = vec![
        ("an empty message", framed(&[]), CloseCode::InvalidMessage),
        ("a length that is over the limit", vec![0x81, 0x80, 0x40], CloseCode::InvalidMessage),
        ("a length of 2^64", vec![0xff; 11], CloseCode::InvalidMessage),
        ("a length in two ways", vec![0x81, 0x00, 14], CloseCode::InvalidMessage),
        ("a message type that may not be skipped", framed(&[0x20, 1]), CloseCode::Incompatible),
        ("type 0", framed(&[0]), CloseCode::Incompatible),
        ("a body that is cut short", framed(&[10, 1, 2]), CloseCode::InvalidMessage),
        ("a body with a byte too many", framed(&[14, 0]), CloseCode::InvalidMessage),
        ("a list that is not sorted", framed(&spaces(2, 1)), CloseCode::InvalidMessage),
        ("a list with a repetition", framed(&spaces(1, 1)), CloseCode::InvalidMessage),
        ("a list longer than its message", framed(&[11, 0xff, 0x7f]), CloseCode::InvalidMessage),
        ("a list over its limit", framed(&[11, 0xff, 0xff, 0x7f]), CloseCode::InvalidMessage),
        ("a number in two ways", framed(&[13, 0x80, 0x00]), CloseCode::InvalidMessage),
        ("a flag that is not 0 or 1", framed(&[5, 1, 2, 0]), CloseCode::InvalidMessage),
        ("an item that no message may hold", framed(&too_large_item), CloseCode::InvalidMessage),
        ("a close code that is not known", framed(&[16, 99, 0, 0, 0, 0, 0]), CloseCode::InvalidMessage),
        ("text that is not UTF-8", framed(&[16, 0, 0, 0, 0, 0, 1, 0xff]), CloseCode::InvalidMessage),
        ("garbage", vec![0x07; 300], CloseCode::InvalidMessage),
    ];
    for (what, plain, code) in bodies {
        let mut peer = stage.greeted().await;
        peer.send_plain(&plain, |_| {}).await;
        stage.ends(what, peer, End::Closed(code)).await;
    }
    // What may be skipped or said at any time, also in pieces of a byte.
    let mut peer = stage.greeted().await;
    peer.send_plain(&framed(&[0x80, 1, 2, 3]), |_| {}).await;
    for byte in framed(&[0xff; 20]) {
        peer.send_plain(&[byte], |_| {}).await;
        peer.send_plain(&[], |_| {}).await;
    }
    assert!(peer.is_answered().await, "what is unknown is skipped from 0x80 on");
    stage.noted("unknown types").await;
    stage.finish("sections 2 and 6, messages").await;
}

/// Section 7.
#[tokio::test(flavor = "multi_thread")]
async fn conversation() {
    let mut stage = Stage::new().await;
    // After Close nothing is heard.
    let mut peer = stage.greeted().await;
    let late = stage.branch.member.run(village(), draft(), b"after Close");
    let close = Message::Close { code: CloseCode::Normal, retry_after_ms: 0, detail: String::new() };
    let item = PutItem { bridged: false, bytes: late.bytes().clone() };
    peer.send(&[close, Message::Put(Put { items: vec![item.clone()] })]).await;
    assert!(matches!(peer.end().await, End::Silent | End::Closed(CloseCode::Normal)));
    let mut asker = stage.greeted().await;
    let answer = answer_to(&mut asker, item).await;
    assert!(matches!(answer, Message::Ack(_)), "it was not stored before: {answer:?}");
    stage.noted("Put after Close").await;
    // The ninth connection of one device.
    let mut crowd = Vec::new();
    for _ in 0..limits::CONNECTIONS_PER_DEVICE_MAX - 1 {
        crowd.push(stage.greeted().await);
    }
    let mut ninth = stage.peer().await;
    ninth.send(&[hello()]).await;
    stage.ends("a ninth connection", ninth, End::Closed(CloseCode::TooMany)).await;
    drop(crowd);
    // What it may not read, or is not there, is answered like nothing.
    for (what, space) in [("a space it may not read", committee()), ("an unknown space", SpaceId([7; 16]))] {
        let mut peer = stage.greeted().await;
        let want = ChainSet { space, last: true, chains: Vec::new() };
        let asks = [
            Message::Fetch(Fetch { space, from: Seq(0), to: Seq(1_000) }),
            Message::Reconcile(vec![space]),
            Message::Want(want),
        ];
        peer.send(&asks).await;
        peer.send(&[Message::Ping]).await;
        loop {
            match peer.next().await.unwrap() {
                Message::Pong => break,
                Message::Items(items) => assert!(!matches!(items.scope, Scope::Backfill(s) if s == space)),
                Message::Have(have) => {
                    assert!(have.chains.is_empty() && have.space == SpaceId::default(), "{what}")
                }
                _ => {}
            }
        }
        stage.noted(what).await;
    }
    // Presence in another's name goes nowhere.
    let mut witness = Peer::connect(&stage.relay.at, &stage.branch.reader.key).await;
    witness.greet().await;
    let mut peer = stage.greeted().await;
    let (own, other) = (stage.branch.member.key.public().id(), stage.branch.reader.key.public().id());
    let presence =
        |space, device, n: u8| Message::Ephemeral(Ephemeral { space, device, payload: vec![n].into() });
    peer.send(&[presence(village(), other, 1), presence(committee(), own, 2), presence(village(), own, 3)])
        .await;
    loop {
        if let Message::Ephemeral(seen) = witness.next().await.unwrap() {
            assert_eq!((seen.device, &seen.payload[..]), (own, &[3][..]));
            break;
        }
    }
    stage.noted("presence in another's name").await;
    // Asking over and over without reading: closed without a word when too much waits, and its memory is bounded.
    let mut deaf = stage.greeted().await;
    let asks = wire(&vec![Message::Reconcile(Vec::new()); 30_000]);
    let ends = async {
        for chunk in asks.chunks(60_000).cycle().take(2_000) {
            let mut frame = Vec::new();
            deaf.channel.seal(chunk, &mut frame);
            if deaf.socket.send(Frame::Binary(frame.into())).await.is_err() {
                return true;
            }
        }
        false
    };
    // The relay reads it later and later, so it may just wait: what it must not do is take memory.
    let closed = tokio::time::timeout(Duration::from_secs(10), ends).await;
    report(&format!(
        "hostile: who asks without reading is {}",
        match closed {
            Ok(true) => "closed",
            _ => "read later",
        }
    ));
    assert_ne!(closed, Ok(false), "it may ask for ever");
    stage.noted("asking without reading").await;
    stage.finish("section 7, conversation").await;
}

async fn answer_to(peer: &mut Peer, item: PutItem) -> Message {
    peer.send(&[Message::Put(Put { items: vec![item] })]).await;
    loop {
        if let answer @ (Message::Ack(_) | Message::Reject(_)) = peer.next().await.unwrap() {
            return answer;
        }
    }
}

/// Sections 3, 8 and 12, as far as bytes go: whatever a seed does to an item, a message or a first frame, nothing of
/// it is taken. Code by code: `tests/refusals.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn mutations() {
    let seed = crate::number("HOSTILE_SEED", 11);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut stage = Stage::new().await;
    let good = stage.branch.member.run(village(), draft(), &[5; 300]);
    let mut below = |n: usize| rng.next_u32() as usize % n;
    let mut spoil = |bytes: &mut Vec<u8>| {
        let original = bytes.clone();
        for _ in 0..=below(3) {
            let at = below(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match below(4) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << below(8),
                1 if !bytes.is_empty() => bytes[at] = below(256) as u8,
                2 => bytes.truncate(at),
                _ => bytes.insert(at.min(bytes.len()), below(256) as u8),
            }
        }
        *bytes != original
    };
    let (mut items, mut frames, mut firsts) = (0, 0, 0);
    let mut peer = stage.greeted().await;
    while items < 150 {
        let mut bytes = good.bytes().to_vec();
        if !spoil(&mut bytes) {
            continue;
        }
        let answer = answer_to(&mut peer, PutItem { bridged: false, bytes: bytes.into() }).await;
        assert!(matches!(answer, Message::Reject(_)), "{answer:?}");
        items += 1;
    }
    assert!(peer.is_answered().await);
    drop(peer);
    let head = stage.relay.metric("log_head").await;
    let item = PutItem { bridged: false, bytes: good.bytes().clone() };
    let message = wire(&[Message::Put(Put { items: vec![item.clone()] })]);
    while frames < 60 {
        let mut plain = message.clone();
        if !spoil(&mut plain) {
            continue;
        }
        let mut peer = stage.greeted().await;
        peer.send_plain(&plain, |_| {}).await;
        // It may be the beginning of something longer; then nothing comes.
        let _ = tokio::time::timeout(Duration::from_millis(20), peer.next()).await;
        frames += 1;
    }
    while firsts < 150 {
        let mut peer = stage.peer().await;
        let mut changed = false;
        peer.send_plain(&wire(&[hello()]), |frame| changed = spoil(frame)).await;
        if changed {
            let end = peer.end().await;
            assert!(matches!(end, End::InTheClear(_)), "{end:?}");
            firsts += 1;
        }
    }
    assert_eq!(stage.relay.metric("log_head").await, head, "nothing spoiled was stored");
    let mut peer = stage.greeted().await;
    assert!(matches!(answer_to(&mut peer, item).await, Message::Ack(_)), "the good one is");
    stage.noted("mutations").await;
    report(&format!(
        "hostile: {items} spoiled items, {frames} spoiled messages, {firsts} spoiled first frames, 0 accepted (seed {seed})"
    ));
    stage.finish("spoiled bytes").await;
}

/// What a stranger to every branch gets: a welcome and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn strangers() {
    let mut stage = Stage::new().await;
    for n in 0..20u8 {
        let key = DeviceKey::from_seed(&[100 + n; 32]);
        let mut peer = Peer::connect(&stage.relay.at, &key).await;
        peer.greet().await;
        let asks = [
            Message::Reconcile(Vec::new()),
            Message::Fetch(Fetch { space: village(), from: Seq(0), to: Seq(1_000) }),
            Message::Ephemeral(Ephemeral {
                space: village(),
                device: key.public().id(),
                payload: vec![1].into(),
            }),
            Message::Ping,
        ];
        peer.send(&asks).await;
        loop {
            match peer.next().await.unwrap() {
                Message::Pong => break,
                Message::Have(have) => assert!(have.chains.is_empty() && have.space == SpaceId::default()),
                Message::CaughtUp(caught_up) => assert!(caught_up.sums.is_empty()),
                other => panic!("a stranger is told {other:?}"),
            }
        }
        let run = Phone::new(100 + n).run(village(), draft(), b"of a stranger");
        let answer = answer_to(&mut peer, PutItem { bridged: false, bytes: run.bytes().clone() }).await;
        let Message::Reject(reject) = answer else { panic!("{answer:?}") };
        assert_eq!(reject.code, RejectCode::UnknownAuthor);
        stage.noted("a stranger").await;
    }
    stage.finish("strangers").await;
}
