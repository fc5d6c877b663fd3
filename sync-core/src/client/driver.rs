//! One thread, one task, one `select!`: commands, the socket, timers.
//!
//! Nothing here waits for the network: connecting is a future among others, reading always goes on, and frames
//! are pulled from the replica when the socket can take them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dinh_proto::error::{CloseCode, SessionError};
use dinh_proto::keys::{DeviceKey, RelayPublic};
use dinh_proto::permit::Permit;
use dinh_proto::session::Reconnect;
use dinh_proto::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::clock::Clock;
use super::connection::{Connection, Io};
use super::shared::{Shared, count};
use super::status::{Lifecycle, Status};
use super::transport::{ConnectError, Dial, RelayUrl, connect};
use super::{ClientError, Timeouts};
use crate::replica::{Ended, Event, LinkState, Now, Replica, ReplicaError};
use crate::store::{EncryptedStore, RedbStore, StoreKey};

/// Commands in a row before the socket gets a turn.
const COMMANDS_IN_A_ROW: u32 = 32;
/// Frames that an ended conversation may still send.
const LAST_FRAMES_MAX: usize = 8;
/// How often the clocks are compared at least, to notice that the device slept.
const LOOK_AT_CLOCKS: Duration = Duration::from_secs(15);
/// A connection attempt younger than this is not begun again when the network changes.
const YOUNG_ATTEMPT: Duration = Duration::from_secs(1);
/// What people are told whom the operator does not let in.
const SUSPENDED: &str = "the relay's operator has suspended this device: everything is kept here and tried again later; ask the operator";

/// Where a client keeps everything: one encrypted file.
pub type ClientStore = EncryptedStore<RedbStore>;

/// What runs on the driver's thread; gives what answers the caller.
pub(super) type Job = Box<dyn FnOnce(Turned<'_>) -> Answer + Send>;
/// Runs when observers were told what the job did, so that a caller who looks at the status or at events finds it
/// there.
pub(super) type Answer = Box<dyn FnOnce()>;
/// Answers the caller of a command that is no job.
pub(super) type Reply = oneshot::Sender<Result<(), ClientError>>;

/// A job's turn.
pub(super) enum Turned<'a> {
    /// It has the replica to itself.
    Do(&'a mut Replica<ClientStore>, Now),
    /// It cannot be done.
    Refuse(ClientError),
}

/// What handles send.
pub(super) enum Command {
    Job(Job),
    /// Answers when the status says what is done about it.
    Probe(Reply),
    Lock(Reply),
    Unlock(Box<Keys>, Reply),
    Shutdown(Reply),
}

/// What a locked client does not have.
pub(super) struct Keys {
    pub(super) device: DeviceKey,
    pub(super) store: StoreKey,
}

/// What outlives a lock.
pub(super) struct Channels {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) relay: watch::Receiver<Option<RelayUrl>>,
    pub(super) shared: Arc<Shared>,
}

/// A connection, the key that the relay at its other end must prove, and what the handshake needs besides.
struct Opened {
    connection: Box<Connection>,
    relay: RelayPublic,
    permit: Option<Permit>,
    binding: [u8; 32],
    seed: [u8; 32],
}

type Dialled = Result<Opened, ConnectError>;
type Attempt = Pin<Box<dyn Future<Output = Dialled>>>;

enum Transport {
    Idle,
    Dialling { attempt: Attempt, since: Timestamp },
    Open(Box<Connection>),
}

enum Progress {
    Dialled(Box<Dialled>),
    Io(Io),
}

impl Transport {
    async fn next(&mut self) -> Progress {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Dialling { attempt, .. } => Progress::Dialled(Box::new(attempt.await)),
            Self::Open(connection) => Progress::Io(connection.next().await),
        }
    }
}

enum Turn {
    Command(Option<Command>),
    Progress(Progress),
    Suspect,
    RelayChanged,
    Timer,
}

/// Why the driver leaves its work.
enum Leave {
    Lock(Reply),
    Close(Option<Reply>),
}

/// The error is final: the driver stops.
type Step = Result<(), ClientError>;

pub(super) struct Driver {
    replica: Replica<ClientStore>,
    commands: mpsc::Receiver<Command>,
    relay: watch::Receiver<Option<RelayUrl>>,
    shared: Arc<Shared>,
    timeouts: Timeouts,
    dial: Dial,
    clock: Clock,
    reconnect: Reconnect,
    transport: Transport,
    trouble: Option<String>,
    failures: u64,
    commands_in_a_row: u32,
}

impl Driver {
    pub(super) fn new(
        replica: Replica<ClientStore>,
        channels: Channels,
        (timeouts, dial): (Timeouts, Dial),
        seed: [u8; 32],
    ) -> Self {
        let Channels { commands, relay, shared } = channels;
        let mut driver = Self {
            replica,
            commands,
            relay,
            shared,
            timeouts,
            dial,
            clock: Clock::start(),
            reconnect: Reconnect::new(seed),
            transport: Transport::Idle,
            trouble: None,
            failures: 0,
            commands_in_a_row: 0,
        };
        // So that the first look at the status says what is in the store.
        driver.publish();
        driver
    }

    /// Runs until shutdown, until the store fails, or until it is locked: then gives what goes on.
    pub(super) async fn run(mut self) -> Option<Channels> {
        let shared = self.shared.clone();
        match self.work().await {
            Ok(leave) => self.close(leave).await,
            Err(error) => {
                shared.fail(error.clone());
                // The store first, so that who learns of the failure can open it again.
                drop(self.replica);
                shared.ended(Lifecycle::Stopped(error));
                None
            }
        }
    }

    async fn work(&mut self) -> Result<Leave, ClientError> {
        loop {
            let now = self.now();
            self.fire_timers(now)?;
            self.dial_when_due(now.mono);
            self.publish();
            if self.commands_in_a_row >= COMMANDS_IN_A_ROW {
                self.commands_in_a_row = 0;
                if let Transport::Open(connection) = &mut self.transport
                    && let Some(io) = connection.next_now().await
                {
                    self.handle_io(io)?;
                    continue;
                }
            }
            match self.next_turn(now.mono).await {
                Turn::Command(Some(Command::Job(job))) => self.do_job(job)?,
                Turn::Command(Some(Command::Unlock(_, reply))) => {
                    // Whoever asked may have given up, here and below.
                    let _ = reply.send(Err(ClientError::NotLocked));
                }
                Turn::Command(Some(Command::Probe(reply))) => {
                    self.suspect();
                    self.publish();
                    let _ = reply.send(Ok(()));
                }
                Turn::Command(Some(Command::Lock(reply))) => return Ok(Leave::Lock(reply)),
                Turn::Command(Some(Command::Shutdown(reply))) => return Ok(Leave::Close(Some(reply))),
                Turn::Command(None) => return Ok(Leave::Close(None)),
                Turn::Progress(Progress::Dialled(result)) => self.handle_dialled(*result),
                Turn::Progress(Progress::Io(io)) => self.handle_io(io)?,
                Turn::Suspect => self.suspect(),
                Turn::RelayChanged => self.relay_changed(),
                Turn::Timer => {}
            }
        }
    }

    async fn next_turn(&mut self, now: Timestamp) -> Turn {
        let until = self.clock.instant(self.next_timeout(now));
        let Self { commands, transport, relay, shared, commands_in_a_row, .. } = self;
        // Commands first: a person waits for an edit, nobody waits for a frame. They get no more than their turns.
        let turn = tokio::select! {
            biased;
            command = commands.recv() => Turn::Command(command),
            () = shared.suspect.notified() => Turn::Suspect,
            Ok(()) = relay.changed() => Turn::RelayChanged,
            progress = transport.next() => Turn::Progress(progress),
            () = tokio::time::sleep_until(until) => Turn::Timer,
        };
        *commands_in_a_row = if matches!(turn, Turn::Command(_)) { *commands_in_a_row + 1 } else { 0 };
        turn
    }

    fn next_timeout(&self, now: Timestamp) -> Timestamp {
        let transport = match &self.transport {
            Transport::Idle => self.relay.borrow().is_some().then(|| self.reconnect.not_before()),
            Transport::Dialling { .. } => None,
            Transport::Open(connection) => connection.suspect_until,
        };
        let look = self.relay.borrow().is_some().then(|| now + LOOK_AT_CLOCKS);
        let far = now + Duration::from_secs(24 * 3_600);
        [self.replica.poll_timeout(), transport, look].into_iter().flatten().min().unwrap_or(far)
    }

    /// The time; notices when the device has slept.
    fn now(&mut self) -> Now {
        let (now, jumped) = self.clock.read();
        if jumped {
            tracing::info!("the clocks jumped: the device slept, or somebody set them");
            self.suspect_at(now);
        }
        now
    }

    fn do_job(&mut self, job: Job) -> Step {
        let now = self.now();
        self.replica.set_wall_time(now.wall);
        let answer = job(Turned::Do(&mut self.replica, now));
        self.publish();
        answer();
        self.may_have_to_send();
        self.shared.failure.get().cloned().map_or(Ok(()), Err)
    }

    fn fire_timers(&mut self, now: Now) -> Step {
        if let Transport::Open(connection) = &self.transport
            && connection.suspect_until.is_some_and(|until| until <= now.mono)
        {
            self.reconnect.handle_network_changed(now.mono);
            self.drop_transport("the relay did not answer when it was asked whether it is there".into());
        }
        if self.replica.poll_timeout().is_some_and(|at| at <= now.mono) {
            let ended = self.replica.handle_timeout(now);
            self.may_have_to_send();
            match ended {
                Ok(None) => {}
                Ok(Some(ended)) => self.conversation_ended(now.mono, &ended),
                Err(ReplicaError::Store(e)) => return Err(ReplicaError::Store(e).into()),
                // Typing whose field is gone, for example. It is not tried again.
                Err(error) => tracing::warn!(%error, "what was due could not be done"),
            }
        }
        Ok(())
    }

    fn dial_when_due(&mut self, now: Timestamp) {
        if !matches!(self.transport, Transport::Idle) || self.reconnect.not_before() > now {
            return;
        }
        let Some(url) = self.relay.borrow_and_update().clone() else { return };
        tracing::debug!(address = url.address(), "connecting");
        self.replica.handle_connecting();
        let (relay, permit) = (*url.key(), url.permit().cloned());
        let dialling = connect(url, self.dial.clone());
        let attempt = Box::pin(async move {
            let (socket, binding) = dialling.await?;
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(ConnectError::Randomness)?;
            Ok(Opened { connection: Box::new(Connection::new(socket)), relay, permit, binding, seed })
        });
        self.transport = Transport::Dialling { attempt, since: now };
    }

    fn handle_dialled(&mut self, result: Dialled) {
        let now = self.now();
        match result {
            Ok(Opened { connection, relay, permit, binding, seed }) => {
                self.shared.connections.fetch_add(1, Ordering::Relaxed);
                self.replica.set_permit(permit);
                self.replica.handle_connected(now, &relay, binding, seed);
                self.transport = Transport::Open(connection);
            }
            Err(error) => {
                tracing::debug!(%error, "no connection");
                self.failures += 1;
                self.reconnect.handle_failure(now.mono, None);
                self.drop_transport(error.to_string());
            }
        }
    }

    fn handle_io(&mut self, io: Io) -> Step {
        let now = self.now();
        match io {
            Io::Frame(frame) => {
                count(&self.shared.frames_down, 1);
                count(&self.shared.bytes_down, frame.len());
                if let Transport::Open(connection) = &mut self.transport {
                    connection.suspect_until = None;
                }
                let outcome = self.replica.handle_frame(now, &frame);
                self.may_have_to_send();
                match outcome {
                    Ok(None) => {}
                    Ok(Some(ended)) => {
                        self.conversation_ended(now.mono, &ended);
                    }
                    Err(error) => self.broken(now.mono, error)?,
                }
                if self.replica.status().link == LinkState::Live {
                    self.trouble = None;
                }
            }
            Io::Writable => {
                if let Err(error) = self.transmit() {
                    self.broken(now.mono, error)?;
                }
            }
            Io::Ended(why) => self.lost(now.mono, why),
        }
        Ok(())
    }

    /// Gives the socket what it can take.
    fn transmit(&mut self) -> Result<(), ReplicaError> {
        let Transport::Open(connection) = &mut self.transport else { return Ok(()) };
        // One frame for each time that the socket says it can take one; the flush comes when there is no more.
        let mut frame = Vec::new();
        if self.replica.poll_transmit(&mut frame)? {
            count(&self.shared.frames_up, 1);
            count(&self.shared.bytes_up, frame.len());
            if let Err(why) = connection.send(frame) {
                let now = self.now();
                self.lost(now.mono, why);
            }
        } else {
            connection.wants_write = false;
        }
        Ok(())
    }

    fn may_have_to_send(&mut self) {
        if let Transport::Open(connection) = &mut self.transport {
            connection.wants_write = true;
        }
    }

    /// The socket is gone.
    fn lost(&mut self, now: Timestamp, why: String) {
        let was_welcomed = matches!(self.replica.status().link, LinkState::CatchingUp | LinkState::Live);
        if was_welcomed {
            self.reconnect.handle_success();
        } else {
            self.failures += 1;
        }
        self.reconnect.handle_failure(now, None);
        tracing::debug!(why, "connection lost");
        self.drop_transport(why);
    }

    /// One of the ends ended the conversation.
    fn conversation_ended(&mut self, now: Timestamp, ended: &Ended) {
        tracing::info!(error = %ended.error, "the conversation with the relay ended");
        let retry_after = match &ended.error {
            SessionError::ClosedByPeer { retry_after_ms, .. } if *retry_after_ms > 0 => {
                Some(Duration::from_millis(u64::from(*retry_after_ms)))
            }
            _ => None,
        };
        if ended.was_welcomed {
            self.reconnect.handle_success();
        } else {
            self.failures += 1;
        }
        self.reconnect.handle_failure(now, retry_after);
        self.say_goodbye();
        let why = match &ended.error {
            SessionError::ClosedByPeer { code: CloseCode::Suspended, .. } => SUSPENDED.to_owned(),
            error => error.to_string(),
        };
        self.drop_transport(why);
    }

    /// What an ended conversation still has to say is sent while the driver goes on.
    fn say_goodbye(&mut self) {
        let last = self.last_frames();
        if let Transport::Open(connection) = std::mem::replace(&mut self.transport, Transport::Idle) {
            tokio::spawn(connection.farewell(last));
        }
    }

    /// The replica could not do what the relay's frame asks. If its store failed that is final; otherwise the
    /// conversation begins anew.
    fn broken(&mut self, now: Timestamp, error: ReplicaError) -> Step {
        if let ReplicaError::Store(_) = error {
            return Err(error.into());
        }
        tracing::error!(%error, "what the relay sent could not be handled");
        self.lost(now, error.to_string());
        Ok(())
    }

    /// What an ended conversation still has to say: few frames, because it queues little.
    fn last_frames(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            let mut frame = Vec::new();
            match self.replica.poll_transmit(&mut frame) {
                Ok(true) if frames.len() < LAST_FRAMES_MAX => frames.push(frame),
                Ok(_) | Err(_) => return frames,
            }
        }
    }

    fn drop_transport(&mut self, why: String) {
        self.transport = Transport::Idle;
        self.replica.handle_disconnected();
        self.trouble = Some(why);
    }

    fn suspect(&mut self) {
        let now = self.now();
        self.suspect_at(now);
    }

    /// The connection may be dead, or one may be possible that was not: asks, or dials, at once.
    fn suspect_at(&mut self, now: Now) {
        match &mut self.transport {
            Transport::Open(connection) => {
                self.replica.handle_resumed(now);
                connection.wants_write = true;
                connection.suspect_until.get_or_insert(now.mono + self.timeouts.probe);
            }
            Transport::Dialling { since, .. } if now.mono - *since < YOUNG_ATTEMPT => {}
            Transport::Dialling { .. } | Transport::Idle => {
                self.reconnect.handle_network_changed(now.mono);
                self.transport = Transport::Idle;
            }
        }
    }

    fn relay_changed(&mut self) {
        let now = self.now();
        let wanted = self.relay.borrow_and_update().is_some();
        self.replica.disconnect();
        self.say_goodbye();
        self.replica.handle_disconnected();
        self.trouble = None;
        if wanted {
            self.reconnect.handle_network_changed(now.mono);
        }
    }

    /// Tells observers what happened.
    fn publish(&mut self) {
        while let Some(event) = self.replica.poll_event() {
            if !matches!(event, Event::Status(_)) {
                self.shared.observers.tell(&event);
            }
        }
        let replica = self.replica.status();
        let status = Status {
            link: replica.link,
            pending: replica.pending,
            stranded: replica.stranded,
            acked: replica.acked,
            received: replica.received,
            protected_locked: replica.protected_locked,
            is_probing: matches!(&self.transport, Transport::Open(open) if open.suspect_until.is_some()),
            trouble: self.trouble.clone().or_else(|| self.replica.declined().map(str::to_owned)),
            failures: self.failures,
            lifecycle: Lifecycle::Open,
        };
        self.shared.status.send_if_modified(|told| {
            let changed = !told.same(&status);
            if changed {
                *told = status;
            }
            changed
        });
    }

    /// Saves what is typed and the views, closes the file, answers, says goodbye to the relay.
    async fn close(mut self, leave: Leave) -> Option<Channels> {
        let now = self.now();
        self.replica.disconnect();
        let last = self.last_frames();
        let flushed = self.replica.flush_all_text(now);
        self.publish();
        let Self { replica, transport, shared, mut commands, relay, .. } = self;
        if let Leave::Close(_) = leave {
            // What was sent after this gets an answer, not silence.
            commands.close();
        }
        let closed = catch_unwind(AssertUnwindSafe(|| replica.close()));
        let result = match closed {
            Ok(Ok(store)) => store.into_inner().close().map_err(|e| ClientError::Replica(e.into())),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ClientError::Panicked),
        };
        let result = flushed.map_err(ClientError::from).and(result);
        if let Err(error) = &result {
            tracing::error!(%error, "closing");
        }
        let connection = match transport {
            Transport::Open(connection) => Some(connection),
            Transport::Idle | Transport::Dialling { .. } => None,
        };
        let farewell = async {
            if let Some(connection) = connection {
                connection.farewell(last).await;
            }
        };
        match leave {
            Leave::Close(reply) => {
                drop(commands);
                shared.ended(Lifecycle::Closed);
                if let Some(reply) = reply {
                    let _ = reply.send(result);
                }
                farewell.await;
                None
            }
            Leave::Lock(reply) => {
                shared.locked();
                let _ = reply.send(result);
                tokio::spawn(farewell);
                Some(Channels { commands, relay, shared })
            }
        }
    }
}

/// A locked client: answers until it gets keys, with which to try. `None` if it was closed.
pub(super) async fn wait_for_keys(channels: &mut Channels) -> Option<(Box<Keys>, Reply)> {
    loop {
        match channels.commands.recv().await {
            Some(Command::Job(job)) => job(Turned::Refuse(ClientError::Locked))(),
            Some(Command::Lock(reply)) => {
                let _ = reply.send(Ok(()));
            }
            Some(Command::Probe(reply)) => {
                let _ = reply.send(Err(ClientError::Locked));
            }
            Some(Command::Unlock(keys, reply)) => return Some((keys, reply)),
            Some(Command::Shutdown(reply)) => {
                channels.commands.close();
                channels.shared.ended(Lifecycle::Closed);
                let _ = reply.send(Ok(()));
                return None;
            }
            None => {
                channels.shared.ended(Lifecycle::Closed);
                return None;
            }
        }
    }
}
