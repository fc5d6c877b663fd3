//! A TCP proxy between one phone and the relay that fails on command, as a hall's Wi-Fi does.
//!
//! Each phone dials the address of its own link. Buffers are bounded: a slow receiver slows the sender, as on a real
//! network. Latency and jitter delay bytes but never reorder them within a direction.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Bytes read at a time; the queue of a direction holds at most [`CHUNKS_MAX`] times this.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks under way in one direction of one connection.
const CHUNKS_MAX: usize = 16;
/// Connections of one link at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// How long the proxy waits for the relay to accept.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the second direction may go on after the first has ended.
const LINGER: Duration = Duration::from_secs(2);

/// Delay and bandwidth of each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Added to every chunk.
    pub latency_ms: u64,
    /// At most this much more, drawn evenly.
    pub jitter_ms: u64,
    /// Bytes per second; 0 is no limit.
    pub bytes_per_s: u64,
}

/// A running link. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: watch::Sender<State>,
    counters: Arc<Counters>,
    acceptor: JoinHandle<()>,
}

/// What has passed a link since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes delivered from the phone to the relay.
    pub bytes_up: u64,
    /// Bytes delivered from the relay to the phone.
    pub bytes_down: u64,
    /// Connections accepted, whatever became of them.
    pub connections: u64,
}

#[derive(Debug, Default)]
struct Counters {
    up: AtomicU64,
    down: AtomicU64,
    connections: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Up,
    Cut,
    HalfOpen,
}

#[derive(Clone, Copy, Debug)]
struct State {
    mode: Mode,
    /// Connections of an older generation than this are reset.
    generation: u64,
    conditions: Conditions,
    upstream: SocketAddr,
}

impl Link {
    /// Listens on a free port of the loopback interface and forwards to `upstream`. `seed` draws the jitter.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start(upstream: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let initial = State { mode: Mode::Up, generation: 0, conditions: Conditions::default(), upstream };
        let (state, observed) = watch::channel(initial);
        let counters = Arc::new(Counters::default());
        let rng = Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed)));
        let acceptor = tokio::spawn(accept(listener, observed, Arc::clone(&counters), rng));
        Ok(Self { address, state, counters, acceptor })
    }

    /// Where the phone dials.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets every connection; new ones are closed as soon as they are accepted.
    pub fn cut(&self) {
        self.change(|state| {
            state.mode = Mode::Cut;
            state.generation += 1;
        });
    }

    /// Lets bytes vanish in both directions. Connections stay established, new ones are accepted and lead nowhere.
    pub fn half_open(&self) {
        self.change(|state| state.mode = Mode::HalfOpen);
    }

    /// Delays and limits both directions, from the next chunk on. Does not end a cut.
    pub fn slow(&self, conditions: Conditions) {
        self.change(|state| state.conditions = conditions);
    }

    /// Forwards again, at full speed. Connections that were half open are reset, as a NAT box does which forgot them.
    pub fn heal(&self) {
        self.change(|state| {
            if state.mode == Mode::HalfOpen {
                state.generation += 1;
            }
            state.mode = Mode::Up;
            state.conditions = Conditions::default();
        });
    }

    /// Forwards new connections to another address. Existing ones stay with the old.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.change(|state| state.upstream = upstream);
    }

    /// Whether bytes pass at present.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state.borrow().mode == Mode::Up
    }

    /// What has passed.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic {
            bytes_up: self.counters.up.load(Ordering::Relaxed),
            bytes_down: self.counters.down.load(Ordering::Relaxed),
            connections: self.counters.connections.load(Ordering::Relaxed),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

type SharedRng = Arc<Mutex<ChaCha8Rng>>;

async fn accept(
    listener: TcpListener,
    state: watch::Receiver<State>,
    counters: Arc<Counters>,
    rng: SharedRng,
) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors, most likely: let connections end.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        counters.connections.fetch_add(1, Ordering::Relaxed);
        if state.borrow().mode == Mode::Cut || connections.len() >= CONNECTIONS_MAX {
            reset(&client);
            continue;
        }
        connections.spawn(connection(client, state.clone(), Arc::clone(&counters), Arc::clone(&rng)));
    }
}

async fn connection(
    client: TcpStream,
    state: watch::Receiver<State>,
    counters: Arc<Counters>,
    rng: SharedRng,
) {
    let State { mode, generation, upstream, .. } = *state.borrow();
    if mode == Mode::HalfOpen {
        outdated(state, generation).await;
        reset(&client);
        return;
    }
    let Ok(Ok(server)) = timeout(DIAL_TIMEOUT, TcpStream::connect(upstream)).await else {
        reset(&client);
        return;
    };
    // Small frames must not wait for each other: the link alone decides about delay.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let ended = {
        let up = pipe(&mut from_client, &mut to_server, &counters.up, &state, &rng);
        let down = pipe(&mut from_server, &mut to_client, &counters.down, &state, &rng);
        tokio::pin!(up, down);
        let flow = async {
            tokio::select! {
                () = &mut up => { let _ = timeout(LINGER, down).await; }
                () = &mut down => { let _ = timeout(LINGER, up).await; }
            }
        };
        tokio::select! {
            () = flow => true,
            () = outdated(state.clone(), generation) => false,
        }
    };
    if !ended {
        reset(to_client.as_ref());
        reset(to_server.as_ref());
    }
}

/// Copies one direction until its end.
async fn pipe(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    counter: &AtomicU64,
    state: &watch::Receiver<State>,
    rng: &SharedRng,
) {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let reading = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut due = Instant::now();
        loop {
            let read = from.read(&mut buffer).await;
            let State { mode, conditions, .. } = *state.borrow();
            match read {
                // The end of the stream vanishes like everything else.
                Ok(0) | Err(_) if mode == Mode::HalfOpen => std::future::pending().await,
                Ok(0) | Err(_) => break,
                Ok(_) if mode == Mode::HalfOpen => {}
                Ok(len) => {
                    due = conditions.due(due, len, rng);
                    if queue.send((due, buffer[..len].to_vec())).await.is_err() {
                        break;
                    }
                }
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = queued.recv().await {
            sleep_until(due).await;
            if state.borrow().mode == Mode::HalfOpen {
                continue;
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
            counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

impl Conditions {
    /// When a chunk that was read now arrives, if the one before it arrives at `before`.
    fn due(&self, before: Instant, len: usize, rng: &SharedRng) -> Instant {
        let jitter_ms = match self.jitter_ms {
            0 => 0,
            most => rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64() % (most + 1),
        };
        let arrival = (Instant::now() + Duration::from_millis(self.latency_ms + jitter_ms)).max(before);
        let transfer_us = (len as u64 * 1_000_000).checked_div(self.bytes_per_s).unwrap_or(0);
        arrival + Duration::from_micros(transfer_us)
    }
}

/// Waits until connections of this generation are to be reset.
async fn outdated(mut state: watch::Receiver<State>, generation: u64) {
    // An error means that the link was dropped, which aborts this task anyway.
    let _ = state.wait_for(|state| state.generation > generation).await;
}

/// Makes the stream close with a reset instead of a polite end when it is dropped.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn says(stream: &mut TcpStream, text: &[u8]) -> io::Result<()> {
        stream.write_all(text).await?;
        let mut back = vec![0; text.len()];
        timeout(Duration::from_millis(600), stream.read_exact(&mut back))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        assert_eq!(back, text);
        Ok(())
    }

    #[tokio::test]
    async fn forwards_and_counts() {
        let link = Link::start(echo().await, 1).await.unwrap();
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        says(&mut stream, b"chi bo").await.unwrap();
        assert_eq!(link.traffic(), Traffic { bytes_up: 6, bytes_down: 6, connections: 1 });
    }

    #[tokio::test]
    async fn a_cut_resets_and_refuses_until_healed() {
        let link = Link::start(echo().await, 1).await.unwrap();
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        says(&mut stream, b"a").await.unwrap();
        link.cut();
        let gone =
            timeout(Duration::from_secs(1), stream.read(&mut [0; 8])).await.expect("the cut is noticed");
        assert!(!matches!(gone, Ok(n) if n > 0));
        if let Ok(mut new) = TcpStream::connect(link.address()).await {
            assert!(says(&mut new, b"b").await.is_err());
        }
        link.heal();
        let mut new = TcpStream::connect(link.address()).await.unwrap();
        says(&mut new, b"c").await.unwrap();
    }

    #[tokio::test]
    async fn half_open_swallows_and_healing_resets_what_was_stalled() {
        let link = Link::start(echo().await, 1).await.unwrap();
        let mut old = TcpStream::connect(link.address()).await.unwrap();
        says(&mut old, b"a").await.unwrap();
        link.half_open();
        let before = link.traffic().bytes_up;
        assert_eq!(says(&mut old, b"lost").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(link.traffic().bytes_up, before, "vanished bytes are not counted as delivered");
        let mut new = TcpStream::connect(link.address()).await.expect("new connections are accepted");
        assert_eq!(says(&mut new, b"lost").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        link.heal();
        for stalled in [&mut old, &mut new] {
            let end =
                timeout(Duration::from_secs(1), stalled.read(&mut [0; 8])).await.expect("reset on healing");
            assert!(!matches!(end, Ok(n) if n > 0));
        }
        let mut fresh = TcpStream::connect(link.address()).await.unwrap();
        says(&mut fresh, b"b").await.unwrap();
    }

    #[tokio::test]
    async fn slow_delays_and_limits_but_loses_nothing() {
        let link = Link::start(echo().await, 1).await.unwrap();
        link.slow(Conditions { latency_ms: 40, jitter_ms: 10, bytes_per_s: 200_000 });
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        let started = Instant::now();
        says(&mut stream, b"ping").await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(80), "latency in both directions");
        let started = Instant::now();
        let text: Vec<u8> = (0..40_000u32).map(|n| (n % 251) as u8).collect();
        says(&mut stream, &text).await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(200), "40 kB at 200 kB/s");
    }

    #[tokio::test]
    async fn a_relay_that_comes_back_elsewhere_is_found() {
        let link = Link::start(echo().await, 1).await.unwrap();
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        link.set_upstream(closed);
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert!(says(&mut stream, b"a").await.is_err());
        link.set_upstream(echo().await);
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        says(&mut stream, b"b").await.unwrap();
    }
}
