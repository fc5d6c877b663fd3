//! Owns the hub, and does what it asks for.
//!
//! The hub sits behind a mutex that is held for short calls only, never across a wait. Whoever called it also
//! drains its effects before letting go, so appends reach the writer in the order in which the hub gave places.
//! Threads that did something for the hub call it the same way.
//!
//! Nothing here queues for a device: its socket's task asks the hub for frames when the socket can take them.
//! What devices send is bounded by their credit, and by [`Driver::room`], which holds back readers of sockets
//! while too much is being verified or stored.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::Seq;
use dinh_proto::item::{ITEM_OVERHEAD_BYTES, RawItem};
use dinh_proto::keys::DevicePublic;
use dinh_proto::time::{Timestamp, WallTime};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::hub::{Effect, Hub, HubStats, PeerId};
use crate::log::writer::{Commit, Job, Refused};
use crate::log::{LogError, RedbLog, Writer};
use crate::metrics::{Gauges, Metrics};
use crate::pool::Pool;

/// Bytes being verified or stored above which sockets are not read.
const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;
/// Frames taken from the hub at once for one socket, bytes; the last frame may go over it.
const BURST_BYTES: usize = 64 * 1024;
/// Threads that read from the log.
const READ_THREADS: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Driver {
    state: Mutex<State>,
    started: Instant,
    log: Arc<RedbLog>,
    writer: Writer,
    verifier: Pool<Verify>,
    reader: Pool<Read>,
    /// Rung when the hub's next timeout moved forward.
    timer: Notify,
    in_flight: AtomicUsize,
    room_made: Notify,
    failure: watch::Sender<Option<String>>,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    hub: Hub,
    peers: BTreeMap<PeerId, Arc<Signals>>,
    last_peer: u64,
    /// When the timer task will call, as far as it was told.
    armed: Option<Timestamp>,
    /// Appends that the writer has, oldest first: when they were handed over, and their bytes.
    appending: VecDeque<(Instant, usize)>,
    /// Appends that the writer has no room for yet. Bounded by the credit of the devices.
    overflow: VecDeque<Job>,
    stopping: bool,
}

/// How a socket's task is told to do something.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// There is something to send, or to end.
    pub(crate) wake: Notify,
    /// Rung once, when `ended` is set.
    pub(crate) end: Notify,
    ended: AtomicBool,
}

impl Signals {
    /// Whether the hub ended the connection: after what is left to send, it is closed.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heard {
    /// How long the socket should not be read.
    pub(crate) pause: Duration,
    /// It is known which device this is.
    pub(crate) has_greeted: bool,
}

#[derive(Debug)]
struct Verify {
    token: u64,
    items: Vec<(RawItem, DevicePublic)>,
    bytes: usize,
}

#[derive(Debug)]
struct Read {
    token: u64,
    seqs: Vec<Seq>,
}

impl Driver {
    /// Starts the threads. `connections_max` bounds what may wait for them: the hub asks for one verification and
    /// one read of a connection at a time.
    pub(crate) fn start(hub: Hub, log: Arc<RedbLog>, connections_max: usize) -> Arc<Self> {
        Arc::new_cyclic(|weak: &Weak<Self>| {
            let on_commit = with(weak, Self::committed);
            let on_stop = with(weak, |driver, ()| driver.writer_stopped());
            let writer = Writer::start(log.clone(), Box::new(on_commit), Box::new(move || on_stop(())));
            let panicked = || with(weak, |driver, ()| driver.fail("a worker thread panicked"));
            let cores = std::thread::available_parallelism().map_or(2, usize::from);
            Self {
                state: Mutex::new(State::new(hub)),
                started: Instant::now(),
                writer,
                verifier: Pool::start("verify", cores, connections_max, with(weak, Self::verify), panicked()),
                reader: Pool::start(
                    "log-read",
                    READ_THREADS,
                    connections_max,
                    with(weak, Self::read),
                    panicked(),
                ),
                log,
                timer: Notify::new(),
                in_flight: AtomicUsize::new(0),
                room_made: Notify::new(),
                failure: watch::Sender::new(None),
                metrics: Metrics::new(),
            }
        })
    }

    /// A new connection, or `None` if the relay is stopping. `seed` as for [`Hub::handle_connected`].
    pub(crate) fn connect(&self, binding: [u8; 32], seed: [u8; 32]) -> Option<(PeerId, Arc<Signals>)> {
        let mut state = self.lock()?;
        if state.stopping {
            return None;
        }
        state.last_peer += 1;
        let peer = PeerId(state.last_peer);
        let signals = Arc::new(Signals::default());
        state.peers.insert(peer, signals.clone());
        self.call(&mut state, |hub, now| hub.handle_connected(now, peer, binding, seed));
        Some((peer, signals))
    }

    /// The connection is gone.
    pub(crate) fn disconnect(&self, peer: PeerId) {
        let Some(mut state) = self.lock() else { return };
        state.peers.remove(&peer);
        self.call(&mut state, |hub, now| hub.handle_disconnected(now, peer));
    }

    /// A frame came. Wait for [`room`](Self::room) first.
    pub(crate) fn frame(&self, peer: PeerId, frame: Bytes) -> Heard {
        let Some(mut state) = self.lock() else { return Heard::default() };
        self.call(&mut state, |hub, now| {
            hub.handle_frame(now, peer, frame);
            Heard { pause: hub.reads_again_at(peer) - now, has_greeted: hub.has_greeted(peer) }
        })
    }

    /// Another connection gets the place of this one, which has not greeted.
    pub(crate) fn turn_away(&self, peer: PeerId) {
        let Some(mut state) = self.lock() else { return };
        self.call(&mut state, |hub, now| hub.turn_away(now, peer));
    }

    /// The next frames for a socket; empty if there is nothing to send now.
    pub(crate) fn frames(&self, peer: PeerId) -> Vec<Bytes> {
        let Some(mut state) = self.lock() else { return Vec::new() };
        self.call(&mut state, |hub, now| {
            let (mut frames, mut bytes) = (Vec::new(), 0);
            let mut frame = Vec::new();
            while bytes < BURST_BYTES && hub.poll_transmit(now, peer, &mut frame) {
                bytes += frame.len();
                frames.push(Bytes::from(std::mem::take(&mut frame)));
            }
            frames
        })
    }

    /// Waits until less is being verified and stored than the bound.
    pub(crate) async fn room(&self) {
        loop {
            let mut made = pin!(self.room_made.notified());
            made.as_mut().enable();
            if self.in_flight.load(Ordering::Acquire) < IN_FLIGHT_BYTES_MAX {
                return;
            }
            made.await;
        }
    }

    /// Calls the hub when it asked to be called. Runs until it is dropped.
    pub(crate) async fn run_timer(&self) {
        loop {
            let Some(next) = self.lock().map(|mut state| {
                state.armed = state.hub.poll_timeout();
                state.armed
            }) else {
                return;
            };
            let rung = self.timer.notified();
            match next {
                None => rung.await,
                Some(at) => {
                    let at = self.started + Duration::from_micros(at.0);
                    tokio::select! {
                        () = rung => {}
                        () = tokio::time::sleep_until(at) => {
                            let Some(mut state) = self.lock() else { return };
                            self.call(&mut state, |hub, now| hub.handle_timeout(now));
                        }
                    }
                }
            }
        }
    }

    /// Tells every device that the relay goes away, and takes no more of them.
    pub(crate) fn begin_shutdown(&self) {
        let Some(mut state) = self.lock() else { return };
        state.stopping = true;
        self.call(&mut state, |hub, now| hub.handle_shutdown(now));
    }

    /// Stores what waits and ends all threads. Blocks; the connections must be gone.
    pub(crate) fn finish(&self) -> Result<(), Arc<LogError>> {
        if let Some(mut state) = self.lock() {
            state.stopping = true;
        }
        self.verifier.shutdown();
        loop {
            let Some(job) = self.lock().and_then(|mut state| state.overflow.pop_front()) else { break };
            if self.writer.append_wait(job).is_err() {
                break;
            }
        }
        let result = self.writer.shutdown();
        self.reader.shutdown();
        result
    }

    /// Gives the log back for closing, if nothing else holds it. Call after [`finish`](Self::finish).
    pub(crate) fn into_log(self: Arc<Self>) -> Option<RedbLog> {
        Arc::into_inner(self).map(|driver| driver.log).and_then(Arc::into_inner)
    }

    /// Why the relay can go on no longer, once that is so.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.subscribe()
    }

    /// What the driver measures.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The page for Prometheus.
    pub(crate) fn render_metrics(&self) -> String {
        let stats = self.lock().map_or_else(HubStats::default, |state| state.hub.stats());
        let in_flight_bytes = self.in_flight.load(Ordering::Relaxed) as u64;
        self.metrics.render(&stats, &Gauges { unindexed: self.log.unindexed(), in_flight_bytes })
    }

    /// `None` after a panic inside the hub: its state is worth nothing then, and the process ends.
    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.lock() {
            Ok(state) => Some(state),
            Err(_poisoned) => {
                self.fail("the hub panicked; please report this with the message above");
                None
            }
        }
    }

    fn fail(&self, why: impl Into<String>) {
        self.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert_with(|| why.into());
            is_first
        });
    }

    /// Calls the hub, does what it then asks for, and sees to the timer.
    fn call<R>(&self, state: &mut State, f: impl FnOnce(&mut Hub, Timestamp) -> R) -> R {
        // Read under the lock, so that the hub never sees time go back.
        let now = self.now();
        state.hub.set_wall_time(wall_time());
        let result = f(&mut state.hub, now);
        while let Some(effect) = state.hub.poll_effect() {
            self.perform(state, now, effect);
        }
        let next = state.hub.poll_timeout();
        if next.is_some_and(|next| state.armed.is_none_or(|armed| next < armed)) {
            state.armed = next;
            self.timer.notify_one();
        }
        result
    }

    fn perform(&self, state: &mut State, now: Timestamp, effect: Effect) {
        match effect {
            Effect::Verify { token, items } => {
                let bytes = items.iter().map(|(item, _)| ITEM_OVERHEAD_BYTES + item.payload().len()).sum();
                self.in_flight.fetch_add(bytes, Ordering::AcqRel);
                if let Err(job) = self.verifier.submit(Verify { token, items, bytes }) {
                    self.landed(bytes);
                    let refused = job.items.iter().map(|_| Err(RejectCode::Unavailable)).collect();
                    state.hub.handle_verified(now, token, refused);
                }
            }
            Effect::Append { token, items } => {
                let bytes = items.iter().map(|item| item.bytes().len()).sum();
                self.in_flight.fetch_add(bytes, Ordering::AcqRel);
                state.appending.push_back((Instant::now(), bytes));
                state.overflow.push_back(Job { token, items });
                self.hand_over(state);
            }
            Effect::Read { token, seqs } => {
                if self.reader.submit(Read { token, seqs }).is_err() {
                    state.hub.handle_read(now, token, Err(()));
                }
            }
            Effect::Wake { peer } => {
                if let Some(signals) = state.peers.get(&peer) {
                    signals.wake.notify_one();
                }
            }
            Effect::Close { peer } => {
                if let Some(signals) = state.peers.get(&peer) {
                    signals.ended.store(true, Ordering::Release);
                    signals.end.notify_one();
                    signals.wake.notify_one();
                }
            }
        }
    }

    /// Gives the writer what it has room for, in order.
    fn hand_over(&self, state: &mut State) {
        while let Some(job) = state.overflow.pop_front() {
            match self.writer.append(job) {
                Ok(()) => {}
                Err(Refused::Full(job)) => {
                    state.overflow.push_front(job);
                    return;
                }
                // The hub has closed, or is about to close, everyone with the writer's error.
                Err(Refused::Stopped(_)) => {}
            }
        }
    }

    fn committed(&self, commit: Commit) {
        self.metrics.committed(commit.items, commit.bytes, commit.took);
        let Some(mut state) = self.lock() else { return };
        for answer in commit.answers {
            if let Some((handed_over, bytes)) = state.appending.pop_front() {
                self.landed(bytes);
                self.metrics.appended(handed_over.elapsed());
            }
            if let Err(error) = &answer.first {
                self.fail(error.to_string());
            }
            let first = answer.first.map_err(drop);
            self.call(&mut state, |hub, now| hub.handle_appended(now, answer.token, first));
        }
        self.hand_over(&mut state);
    }

    fn writer_stopped(&self) {
        let is_wanted = self.lock().is_some_and(|state| state.stopping);
        if !is_wanted {
            self.fail("the log's writer ended; please report this with the message above");
        }
    }

    fn verify(&self, job: Verify) {
        let results = job.items.into_iter().map(|(item, key)| item.verify(&key)).collect();
        self.landed(job.bytes);
        let Some(mut state) = self.lock() else { return };
        self.call(&mut state, |hub, now| hub.handle_verified(now, job.token, results));
    }

    fn read(&self, job: Read) {
        let items = self.log.read(&job.seqs);
        if let Err(error) = &items {
            tracing::error!(%error, "reading from the log failed");
        }
        let Some(mut state) = self.lock() else { return };
        self.call(&mut state, |hub, now| hub.handle_read(now, job.token, items.map_err(drop)));
    }

    /// These bytes are no longer being verified or stored.
    fn landed(&self, bytes: usize) {
        let before = self.in_flight.fetch_sub(bytes, Ordering::AcqRel);
        if before >= IN_FLIGHT_BYTES_MAX && before - bytes < IN_FLIGHT_BYTES_MAX {
            self.room_made.notify_waiters();
        }
    }

    /// The hub's time.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::default() + self.started.elapsed()
    }
}

impl State {
    fn new(hub: Hub) -> Self {
        Self {
            hub,
            peers: BTreeMap::new(),
            last_peer: 0,
            armed: None,
            appending: VecDeque::new(),
            overflow: VecDeque::new(),
            stopping: false,
        }
    }
}

/// A callback that does nothing once the driver is gone.
fn with<A>(driver: &Weak<Driver>, f: fn(&Driver, A)) -> impl Fn(A) + Clone + Send + 'static
where
    A: 'static,
{
    let driver = driver.clone();
    move |argument| {
        if let Some(driver) = driver.upgrade() {
            f(&driver, argument);
        }
    }
}

fn wall_time() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use dinh_proto::ids::LogEpoch;
    use dinh_proto::keys::RelayKey;
    use dinh_proto::limits;

    use super::*;
    use crate::hub::HubConfig;
    use dinh_core::testing::SimDisk;

    fn driver() -> Arc<Driver> {
        let log = RedbLog::with_backend(SimDisk::new(1).file(), LogEpoch([1; 8])).unwrap();
        let key = RelayKey::from_seed(&[1; 32]);
        let hub = Hub::new(HubConfig::default(), key, log.epochs().clone(), log.head(), [0; 32]);
        Driver::start(hub, Arc::new(log), 16)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_ended_on_time() {
        let driver = driver();
        let began = Instant::now();
        let timer = driver.clone();
        let timer = tokio::spawn(async move { timer.run_timer().await });
        // The timer already waits, for ever, when the first connection gives it something to wait for.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (peer, signals) = driver.connect([0; 32], [1; 32]).unwrap();
        signals.end.notified().await;
        let waited = began.elapsed() - Duration::from_secs(3);
        assert!(waited >= limits::HANDSHAKE_TIMEOUT, "{waited:?}");
        assert!(waited < limits::HANDSHAKE_TIMEOUT + Duration::from_secs(1), "{waited:?}");
        assert!(signals.has_ended());
        driver.disconnect(peer);
        timer.abort();
        let _ = timer.await;
        driver.begin_shutdown();
        assert!(driver.connect([0; 32], [1; 32]).is_none());
        driver.finish().unwrap();
        driver.into_log().expect("nothing else holds the log").close().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn sockets_are_not_read_while_too_much_is_on_its_way() {
        let driver = driver();
        driver.room().await;
        driver.in_flight.store(IN_FLIGHT_BYTES_MAX + 5, Ordering::Release);
        let patience = Duration::from_secs(60);
        assert!(tokio::time::timeout(patience, driver.room()).await.is_err());
        let waiting = {
            let driver = driver.clone();
            tokio::spawn(async move { driver.room().await })
        };
        tokio::task::yield_now().await;
        driver.landed(5);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        driver.landed(1);
        tokio::time::timeout(patience, waiting).await.unwrap().unwrap();
    }

    #[test]
    fn a_panic_in_the_hub_is_the_end_of_the_relay() {
        let driver = driver();
        let in_hub = driver.clone();
        let panicked = std::thread::spawn(move || {
            let mut state = in_hub.lock().unwrap();
            in_hub.call(&mut state, |_, _| panic!("for the test"));
        });
        assert!(panicked.join().is_err());
        assert!(driver.connect([0; 32], [1; 32]).is_none());
        assert!(driver.failure().borrow().as_ref().unwrap().contains("panicked"));
    }
}
