//! Everything at once against one relay, in a process of its own with a low priority: an attacker brings its own
//! processor, and must not take those of the relay and of who behaves.

use std::io::{BufRead, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dinh_proto::codec::Write as _;
use dinh_proto::ids::Seq;
use dinh_proto::keys::DeviceKey;
use dinh_proto::wire::{Fetch, Message, Put, PutItem};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::hub_common::village;
use crate::peer::{Address, Peer, hello, wire};

/// The variable with the relay's address.
pub(crate) const AT: &str = "HOSTILE_AT";
/// Connections that flood with small frames; two of each stranger.
pub(crate) const FLOODS: u8 = 16;
/// Sockets that drip.
pub(crate) const DRIPS: u8 = 20;
/// Handshakes opened and abandoned at the same time.
pub(crate) const ABANDONS: u8 = 12;
/// Devices of the branch that put, or ask and do not read.
pub(crate) const INSIDERS: u8 = 2;
/// Plain bytes of a flooding frame.
const SMALL: usize = 2_048;
/// Between two of them on one connection: 250 a second, over all connections 8 MB a second. A relay takes four times as
/// many of each connection, but then it is the processor that is measured: 16,000 a second are half a core of a debug build.
const BETWEEN_US: u64 = 4_000;

/// Between two items of an insider: 20 a second of 10 kB, twice its share of a minute. Without a pause it is a burst that
/// the quotas allow, and what others notice is the disk: each of their commits waits for one of its.
const PUT_PAUSE: Duration = Duration::from_millis(40);

/// The process, from the outside.
pub(crate) struct Attackers {
    child: Child,
    stdin: ChildStdin,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Attackers {
    pub(crate) fn start(address: &str) -> Self {
        let mut child = Command::new("nice")
            .args(["-n", "10"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "attackers::attack", "--ignored", "--nocapture", "--test-threads=1"])
            .env(AT, address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, lines }
    }

    pub(crate) fn go(&mut self, on: bool) {
        writeln!(self.stdin, "{}", if on { "go" } else { "stop" }).unwrap();
    }

    /// What they did so far.
    pub(crate) fn totals(&mut self) -> Totals {
        writeln!(self.stdin, "totals").unwrap();
        for line in self.lines.by_ref() {
            if let Some(numbers) = line.unwrap().strip_prefix("totals ") {
                let n: Vec<u64> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
                return Totals {
                    bytes: n[0],
                    frames: n[1],
                    handshakes: n[2],
                    replays: n[3],
                    drips: n[4],
                    puts: n[5],
                };
            }
        }
        panic!("the attackers are gone");
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Of small frames.
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) handshakes: u64,
    pub(crate) replays: u64,
    pub(crate) drips: u64,
    pub(crate) puts: u64,
}

#[derive(Default)]
struct Shared {
    on: AtomicBool,
    bytes: AtomicU64,
    frames: AtomicU64,
    handshakes: AtomicU64,
    replays: AtomicU64,
    drips: AtomicU64,
    puts: AtomicU64,
}

impl Shared {
    async fn wait(&self) {
        while !self.on.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn count(n: &AtomicU64, by: u64) {
    n.fetch_add(by, Ordering::Relaxed);
}

/// Not a test: the attackers' process.
#[test]
#[ignore = "is run by another test"]
fn attack() {
    let Ok(address) = std::env::var(AT) else { return };
    let to = Address::parse(&address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shared = Arc::new(Shared::default());
    let of_stdin = shared.clone();
    std::thread::spawn(move || {
        println!();
        for line in std::io::stdin().lock().lines() {
            let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
            let s = &of_stdin;
            match line.as_deref() {
                Ok("go") => s.on.store(true, Ordering::Relaxed),
                Ok("stop") => s.on.store(false, Ordering::Relaxed),
                Ok("totals") => println!(
                    "totals {} {} {} {} {} {}",
                    of(&s.bytes),
                    of(&s.frames),
                    of(&s.handshakes),
                    of(&s.replays),
                    of(&s.drips),
                    of(&s.puts)
                ),
                _ => break,
            }
        }
        std::process::exit(0);
    });
    // To find out what of it somebody notices.
    let only = std::env::var("HOSTILE_ONLY").ok();
    let is_on = |kind: &str| only.as_ref().is_none_or(|only| only.contains(kind));
    runtime.block_on(async {
        for n in 0..if is_on("flood") { FLOODS } else { 0 } {
            tokio::spawn(flood(to.clone(), shared.clone(), n));
        }
        for n in 0..if is_on("drip") { DRIPS } else { 0 } {
            tokio::spawn(drip(to.clone(), shared.clone(), n));
        }
        for n in 0..if is_on("abandon") { ABANDONS } else { 0 } {
            tokio::spawn(abandon(to.clone(), shared.clone(), n));
        }
        for n in 0..if is_on("insider") { INSIDERS } else { 0 } {
            tokio::spawn(insider(to.clone(), shared.clone(), n));
        }
        if is_on("replay") {
            tokio::spawn(replay(to.clone(), shared.clone()));
        }
        std::future::pending::<()>().await;
    });
}

/// A stranger's legal frames, two million bytes a second from four connections: messages that are skipped, and some that are answered.
async fn flood(to: Address, shared: Arc<Shared>, n: u8) {
    let mut plain = Vec::new();
    while plain.len() < SMALL - 128 {
        plain.put_blob(&[0x80; 120]);
    }
    plain.extend(wire(&[Message::Ping]));
    loop {
        shared.wait().await;
        let key = DeviceKey::from_seed(&[200 + n / 2; 32]);
        let Some(mut peer) = Peer::from(&to, &key, &to.key, 100 + n).await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        peer.send(&[hello()]).await;
        if peer.next().await.is_err() {
            continue;
        }
        let Peer { mut channel, socket, .. } = peer;
        let (mut sink, mut stream) = socket.split();
        let reading = tokio::spawn(async move { while let Some(Ok(_)) = stream.next().await {} });
        let mut pace =
            tokio::time::interval(Duration::from_micros(crate::number("HOSTILE_BETWEEN_US", BETWEEN_US)));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            shared.wait().await;
            pace.tick().await;
            let mut frame = Vec::new();
            channel.seal(&plain, &mut frame);
            let bytes = frame.len() as u64;
            if sink.send(Frame::Binary(frame.into())).await.is_err() {
                break;
            }
            count(&shared.bytes, bytes);
            count(&shared.frames, 1);
        }
        reading.abort();
    }
}

/// A request, or a frame, byte by byte.
async fn drip(to: Address, shared: Arc<Shared>, n: u8) {
    let request = "GET /dinh/v1 HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    loop {
        shared.wait().await;
        let Ok(mut stream) = to.tcp(50 + n).await else { continue };
        if n.is_multiple_of(2) {
            let _ = stream.write_all(request.as_bytes()).await;
            // A frame of 60,000 bytes.
            let _ = stream.write_all(&[0x82, 0xfe, 0xea, 0x60, 0, 0, 0, 0]).await;
        }
        for byte in request.bytes().cycle() {
            count(&shared.drips, 1);
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Opens handshakes and goes away: after the request, after the upgrade, or after a greeting that costs the relay its keys.
async fn abandon(to: Address, shared: Arc<Shared>, n: u8) {
    for round in 0u32.. {
        shared.wait().await;
        count(&shared.handshakes, 1);
        let last = 10 + n * 2 + (round % 2) as u8;
        match round % 3 {
            0 => drop(to.tcp(last).await),
            1 => drop(to.upgrade(last).await),
            _ => {
                let key = DeviceKey::from_seed(&[150 + n; 32]);
                if let Some(mut peer) = Peer::from(&to, &key, &to.key, last).await {
                    peer.send(&[hello()]).await;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A recorded first frame, on one new connection after the other; and random bytes.
async fn replay(to: Address, shared: Arc<Shared>) {
    let mut recorded = Vec::new();
    let key = DeviceKey::from_seed(&[149; 32]);
    if let Some(mut peer) = Peer::from(&to, &key, &to.key, 40).await {
        peer.send_plain(&wire(&[hello()]), |frame| recorded.clone_from(frame)).await;
    }
    for round in 0u32.. {
        shared.wait().await;
        let Some((mut socket, binding)) = to.upgrade(41 + (round % 5) as u8).await else { continue };
        let frame = if round % 2 == 0 { recorded.clone() } else { binding.0.repeat(8) };
        let _ = socket.send(Frame::Binary(frame.into())).await;
        while let Ok(Some(Ok(_))) = tokio::time::timeout(Duration::from_secs(1), socket.next()).await {}
        count(&shared.replays, 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A device of the branch. One puts as much as it may, one fetches everything over and over and does not read it.
async fn insider(to: Address, shared: Arc<Shared>, n: u8) {
    let mut phone = crate::flood::insider(n);
    loop {
        shared.wait().await;
        let Some(mut peer) = Peer::from(&to, &phone.key, &to.key, 30 + n).await else { continue };
        peer.send(&[hello()]).await;
        if peer.next().await.is_err() {
            continue;
        }
        if n.is_multiple_of(2) {
            // One item at a time: credit is never overdrawn.
            loop {
                shared.wait().await;
                let item = phone.run(village(), crate::flood::spam(), &[n; 10_000]);
                let put = PutItem { bridged: false, bytes: item.bytes().clone() };
                peer.send(&[Message::Put(Put { items: vec![put] })]).await;
                let answered = loop {
                    match peer.next_without_limit().await {
                        Ok(Message::Ack(_) | Message::Reject(_)) => break true,
                        Ok(_) => {}
                        Err(_) => break false,
                    }
                };
                if !answered {
                    break;
                }
                count(&shared.puts, 1);
                tokio::time::sleep(PUT_PAUSE).await;
            }
        } else {
            let asks = [
                Message::Fetch(Fetch { space: village(), from: Seq(0), to: Seq(1 << 40) }),
                Message::Reconcile(Vec::new()),
            ];
            let asks = wire(&asks).repeat(20);
            loop {
                shared.wait().await;
                let mut frame = Vec::new();
                peer.channel.seal(&asks, &mut frame);
                let sent = peer.socket.send(Frame::Binary(frame.into()));
                match tokio::time::timeout(Duration::from_secs(30), sent).await {
                    Ok(Ok(())) => {}
                    _ => break,
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
