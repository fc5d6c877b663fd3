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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{DeviceId, Seq, SpaceId};
use dinh_proto::item::{ITEM_OVERHEAD_BYTES, RawItem};
use dinh_proto::keys::{DevicePublic, SignKey};
use dinh_proto::time::{Timestamp, WallTime};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::desk::{self, Done, NotKept, Wish, WishError};
use crate::disk;
use crate::hub::memory::LOADS_MAX;
use crate::hub::{
    ConnectionRow, DeviceRow, DeviceView, Effect, Hub, HubConfig, HubStats, Loaded, PeerId, PolicyView,
    SpaceDetail, SpaceView,
};
use crate::log::writer::{Commit, Job, Refused};
use crate::log::{LogError, RedbLog, Writer};
use crate::metrics::{Gauges, Metrics};
use crate::observer::Observer;
use crate::pool::Pool;
use crate::process::Process;
use crate::request_id::Caller;

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
    failure: watch::Sender<Option<Failure>>,
    metrics: Arc<Metrics>,
    observer: Arc<Observer>,
    storage: Mutex<Storage>,
}

/// Why a driver can go on no longer.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// Its volume was full: another driver may go on as soon as there is room.
    pub(crate) is_cured_by_room: bool,
}

/// The driver, for those who outlive it. There is none while the log of a disk that was full is opened again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Current(Arc<Mutex<Option<Arc<Driver>>>>);

impl Current {
    pub(crate) fn get(&self) -> Option<Arc<Driver>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, driver: Option<Arc<Driver>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = driver;
    }
}

/// What was seen of the volume last.
#[derive(Debug, Clone, Copy, Default)]
struct Storage {
    /// `None` if it cannot be known.
    free: Option<u64>,
    read_only: bool,
}

#[derive(Debug)]
struct State {
    hub: Hub,
    peers: BTreeMap<PeerId, (Arc<Signals>, Caller)>,
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
    /// Which device this is, once it is known.
    pub(crate) device: Option<DeviceId>,
}

#[derive(Debug)]
struct Verify {
    token: u64,
    items: Vec<(RawItem, DevicePublic)>,
    bytes: usize,
}

/// Something to read from the log.
#[derive(Debug)]
enum Read {
    Items { token: u64, seqs: Vec<Seq> },
    Space { token: u64, space: SpaceId },
}

impl Driver {
    /// Starts the threads. `connections_max` bounds what may wait for them: the hub asks for one verification and
    /// one read of a connection at a time, and for few spaces.
    pub(crate) fn start(
        hub: Hub,
        log: Arc<RedbLog>,
        connections_max: usize,
        observer: Arc<Observer>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|weak: &Weak<Self>| {
            let on_commit = with(weak, Self::committed);
            let on_stop = with(weak, Self::writer_stopped);
            let writer = Writer::start(log.clone(), Box::new(on_commit), Box::new(on_stop));
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
                    connections_max.saturating_add(LOADS_MAX),
                    with(weak, Self::read),
                    panicked(),
                ),
                log,
                timer: Notify::new(),
                in_flight: AtomicUsize::new(0),
                room_made: Notify::new(),
                failure: watch::Sender::new(None),
                metrics: observer.metrics().clone(),
                observer,
                storage: Mutex::default(),
            }
        })
    }

    /// So much room is left, and that is to be: the hub stores nothing while it is not.
    pub(crate) fn room_left(&self, free: Option<u64>, reserve: u64) {
        let was = self.storage();
        // What is not known keeps nobody from writing.
        let read_only = free.is_some_and(|free| disk::is_short(free, reserve, was.read_only));
        *self.storage.lock().unwrap_or_else(PoisonError::into_inner) = Storage { free, read_only };
        if read_only == was.read_only {
            return;
        }
        let Some(mut state) = self.lock() else { return };
        state.hub.set_read_only(read_only);
        if read_only {
            tracing::error!(
                free,
                reserve,
                "the volume of the data directory is nearly full: nothing is stored until there is room, devices keep what they write; \
                 free some space"
            );
        } else {
            tracing::info!(free, reserve, "there is room again: items are stored");
        }
    }

    fn storage(&self) -> Storage {
        *self.storage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection, or `None` if the relay is stopping. `seed` as for [`Hub::handle_connected`].
    pub(crate) fn connect(
        &self,
        binding: [u8; 32],
        seed: [u8; 32],
        caller: Caller,
    ) -> Option<(PeerId, Arc<Signals>)> {
        let mut state = self.lock()?;
        if state.stopping {
            return None;
        }
        state.last_peer += 1;
        let peer = PeerId(state.last_peer);
        let signals = Arc::new(Signals::default());
        state.peers.insert(peer, (signals.clone(), caller));
        self.call(&mut state, |hub, now| hub.handle_connected(now, peer, binding, seed));
        Some((peer, signals))
    }

    /// The log, to read from.
    pub(crate) fn log(&self) -> &RedbLog {
        &self.log
    }

    /// Other limits from now on.
    pub(crate) fn reconfigure(&self, config: HubConfig) {
        let Some(mut state) = self.lock() else { return };
        state.hub.reconfigure(config);
    }

    /// Does what the operator wishes; it holds at once, and is durable when this returns. `key` signs permits.
    ///
    /// # Errors
    /// See [`WishError`]. If it is `NotKept`, nothing is known about the decision.
    pub(crate) async fn decide(&self, key: &SignKey, wish: &Wish) -> Result<Done, WishError> {
        let (result, kept) = {
            let mut state = self.lock().ok_or(NotKept)?;
            (self.call(&mut state, |hub, now| desk::apply(hub, now, key, wish))?, self.writer.remembered())
        };
        match kept.await {
            Ok(Ok(())) => Ok(result),
            Ok(Err(error)) => {
                self.log_failed(&error);
                Err(NotKept.into())
            }
            Err(_stopped) => Err(NotKept.into()),
        }
    }

    /// What is known of devices.
    pub(crate) fn devices(&self) -> Vec<DeviceView> {
        self.device_views(None)
    }

    /// What is known of one device.
    pub(crate) async fn device(&self, device: &DeviceId) -> Option<DeviceView> {
        let cold = self.lock()?.hub.cold_branches(device);
        for branch in cold {
            // As it is counted among those that may have the device, if it cannot be read.
            if let Some(loaded) = self.load(branch).await {
                let mut state = self.lock()?;
                self.call(&mut state, |hub, now| hub.offer(now, branch, loaded));
            }
        }
        self.device_views(Some(device)).pop()
    }

    fn device_views(&self, one: Option<&DeviceId>) -> Vec<DeviceView> {
        let Some(mut state) = self.lock() else { return Vec::new() };
        let mut views = self.call(&mut state, |hub, now| hub.device_views(now, one));
        for connection in views.iter_mut().flat_map(|view| &mut view.connections) {
            let caller = state.peers.get(&PeerId(connection.connection)).map(|(_, caller)| caller);
            connection.address = caller.map(|caller| caller.address.to_string());
        }
        views
    }

    /// What the operator has decided.
    pub(crate) fn policy(&self) -> Option<PolicyView> {
        self.lock().map(|state| state.hub.policy_view())
    }

    /// The connection is gone.
    pub(crate) fn disconnect(&self, peer: PeerId) {
        let Some(mut state) = self.lock() else { return };
        state.peers.remove(&peer);
        self.call(&mut state, |hub, now| hub.handle_disconnected(now, peer));
    }

    /// A frame came, at `arrived`. Wait for [`room`](Self::room) first.
    pub(crate) fn frame(&self, peer: PeerId, arrived: Timestamp, frame: Bytes) -> Heard {
        let Some(mut state) = self.lock() else { return Heard::default() };
        self.call(&mut state, |hub, now| {
            hub.handle_held_frame(now, arrived, peer, frame);
            Heard { pause: hub.reads_again_at(peer) - now, device: hub.device_of(peer) }
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
    pub(crate) fn failure(&self) -> watch::Receiver<Option<Failure>> {
        self.failure.subscribe()
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What is counted and told of connections.
    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Whether nothing is stored for want of room.
    pub(crate) fn is_read_only(&self) -> bool {
        self.storage().read_only
    }

    /// Why no device is served now, if that is so.
    pub(crate) fn unready(&self) -> Option<String> {
        if let Some(failure) = self.failure.borrow().as_ref() {
            return Some(failure.why.clone());
        }
        match self.lock() {
            Some(state) if state.stopping => Some("the relay is stopping".to_owned()),
            Some(_) => None,
            None => Some("the hub panicked".to_owned()),
        }
    }

    /// A backup of everything up to `seq` was finished at `at`.
    pub(crate) fn note_backup(&self, at: WallTime, seq: Seq) {
        self.metrics.backed_up(at, seq);
    }

    /// What the hub counts.
    pub(crate) fn stats(&self) -> HubStats {
        self.lock().map_or_else(HubStats::default, |state| state.hub.stats())
    }

    /// What else is measured now.
    pub(crate) fn gauges(&self) -> Gauges {
        let Storage { free: storage_free_bytes, read_only } = self.storage();
        Gauges {
            unindexed: self.log.unindexed(),
            in_flight_bytes: self.in_flight.load(Ordering::Relaxed) as u64,
            storage_free_bytes,
            read_only,
            process: Process::read(),
        }
    }

    /// The page for Prometheus, without anything about one space.
    pub(crate) fn render_metrics(&self) -> String {
        self.metrics.render(&self.stats(), &self.gauges())
    }

    /// Connections by number, the first `limit` after `after`, with who is at the other end.
    pub(crate) fn connections(&self, after: Option<PeerId>, limit: usize) -> Vec<(ConnectionRow, Caller)> {
        let Some(state) = self.lock() else { return Vec::new() };
        let views = state.hub.connections(after, limit).into_iter();
        views.filter_map(|view| Some((state.peers.get(&view.peer)?.1, view))).map(|(c, v)| (v, c)).collect()
    }

    /// Spaces by name, the first `limit` after `after`.
    pub(crate) fn spaces(&self, after: Option<SpaceId>, limit: usize) -> Vec<SpaceView> {
        self.lock().map_or_else(Vec::new, |state| state.hub.spaces(after, limit))
    }

    /// One space, which is read for that if it is not in memory.
    pub(crate) async fn space(&self, id: SpaceId) -> Option<SpaceDetail> {
        let is_cold = self.lock()?.hub.is_cold(&id);
        let loaded = if is_cold { self.load(id).await } else { None };
        let mut state = self.lock()?;
        self.call(&mut state, |hub, now| {
            if let Some(loaded) = loaded {
                hub.offer(now, id, loaded);
            }
            hub.space(id)
        })
    }

    /// Reads a space that somebody looks at.
    async fn load(&self, space: SpaceId) -> Option<Loaded> {
        let log = self.log.clone();
        let read = move || log.space(space).map(|stored| Loaded::new(space, stored));
        match tokio::task::spawn_blocking(read).await.ok()? {
            Ok(loaded) => Some(loaded),
            Err(error) => {
                tracing::error!(%error, %space, "reading from the log failed");
                None
            }
        }
    }

    /// Devices by name, the first `limit` after `after`.
    pub(crate) fn device_rows(&self, after: Option<DeviceId>, limit: usize) -> Vec<DeviceRow> {
        self.lock().map_or_else(Vec::new, |state| state.hub.device_rows(after, limit))
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
        self.fail_with(Failure { why: why.into(), is_cured_by_room: false });
    }

    fn fail_with(&self, why: Failure) {
        self.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert(why);
            is_first
        });
    }

    fn log_failed(&self, error: &LogError) {
        self.fail_with(Failure { why: error.to_string(), is_cured_by_room: error.is_cured_by_room() });
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
            Effect::Remember { rows } => {
                // A relay that stops appends nothing either: what follows from the decision is not acknowledged.
                if !self.writer.remember(rows) {
                    tracing::warn!("the relay stops: what was decided last is not kept");
                }
            }
            Effect::Read { token, seqs } => {
                if self.reader.submit(Read::Items { token, seqs }).is_err() {
                    state.hub.handle_read(now, token, Err(()));
                }
            }
            Effect::Load { token, space } => {
                if self.reader.submit(Read::Space { token, space }).is_err() {
                    state.hub.handle_loaded(now, token, Err(()));
                }
            }
            Effect::Wake { peer } => {
                if let Some((signals, _)) = state.peers.get(&peer) {
                    signals.wake.notify_one();
                }
            }
            Effect::Close { peer } => {
                if let Some((signals, _)) = state.peers.get(&peer) {
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
            let first = answer.first.as_ref().map(|seq| *seq).map_err(drop);
            self.call(&mut state, |hub, now| hub.handle_appended(now, answer.token, first));
            if let Err(error) = &answer.first {
                self.log_failed(error);
            }
        }
        self.hand_over(&mut state);
    }

    fn writer_stopped(&self, error: Option<Arc<LogError>>) {
        let is_wanted = self.lock().is_some_and(|state| state.stopping);
        match error {
            Some(error) => self.log_failed(&error),
            None if is_wanted => {}
            None => self.fail("the log's writer ended; please report this with the message above"),
        }
    }

    fn verify(&self, job: Verify) {
        let results = job.items.into_iter().map(|(item, key)| item.verify(&key)).collect();
        self.landed(job.bytes);
        let Some(mut state) = self.lock() else { return };
        self.call(&mut state, |hub, now| hub.handle_verified(now, job.token, results));
    }

    fn read(&self, job: Read) {
        let tell = |error: &LogError| tracing::error!(%error, "reading from the log failed");
        match job {
            Read::Items { token, seqs } => {
                let items = self.log.read(&seqs).inspect_err(tell).map_err(drop);
                let Some(mut state) = self.lock() else { return };
                self.call(&mut state, |hub, now| hub.handle_read(now, token, items));
            }
            Read::Space { token, space } => {
                let stored = self.log.space(space).inspect_err(tell).map_err(drop);
                let loaded = stored.map(|stored| Loaded::new(space, stored));
                let Some(mut state) = self.lock() else { return };
                self.call(&mut state, |hub, now| hub.handle_loaded(now, token, loaded));
            }
        }
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

pub(crate) fn wall_time() -> WallTime {
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
        Driver::start(hub, Arc::new(log), 16, Observer::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_ended_on_time() {
        let driver = driver();
        let began = Instant::now();
        let timer = driver.clone();
        let timer = tokio::spawn(async move { timer.run_timer().await });
        // The timer already waits, for ever, when the first connection gives it something to wait for.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (peer, signals) = driver.connect([0; 32], [1; 32], Caller::of_test()).unwrap();
        signals.end.notified().await;
        let waited = began.elapsed() - Duration::from_secs(3);
        assert!(waited >= limits::HANDSHAKE_TIMEOUT, "{waited:?}");
        assert!(waited < limits::HANDSHAKE_TIMEOUT + Duration::from_secs(1), "{waited:?}");
        assert!(signals.has_ended());
        driver.disconnect(peer);
        timer.abort();
        let _ = timer.await;
        driver.begin_shutdown();
        assert!(driver.connect([0; 32], [1; 32], Caller::of_test()).is_none());
        assert_eq!(driver.unready().as_deref(), Some("the relay is stopping"));
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
        assert!(driver.connect([0; 32], [1; 32], Caller::of_test()).is_none());
        assert!(driver.unready().unwrap().contains("panicked"));
        assert!(driver.failure().borrow().as_ref().unwrap().why.contains("panicked"));
    }
}
