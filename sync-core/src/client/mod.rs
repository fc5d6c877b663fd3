//! The client: a [`Replica`] on a thread of its own, with a clock and a socket.
//!
//! [`Client::open`] opens a store and starts one thread, which alone touches the store and the network; the handle
//! is cheap to clone and may be used from any thread. Disk syncs and Automerge never run on the caller's thread.
//!
//! Every call that writes returns when the write is on this device's disk, whatever the network does; its events
//! and the new status are there by then. Calls are done in the order in which they were made. **Dropping the future of a call does not take it back**: once it was
//! polled, it is done, and only its answer is lost. (The exception is a queue of [`COMMANDS_MAX`] waiting calls:
//! while it is full, dropping a future that waits for a place makes the call not happen.)
//!
//! The store is encrypted with a key of the app's ([`StoreKey`]). [`Client::lock`] forgets the keys and closes the
//! file until [`Client::unlock`]. [`Client::lock_protected`] forgets what opens some spaces only, and the rest goes on.
//!
//! Every async call works in any runtime, or none: [`block_on`] waits for it on the caller's thread.

mod blocking;
mod branch;
#[allow(clippy::disallowed_methods, reason = "the one place that reads clocks")]
mod clock;
mod config;
mod connection;
mod driver;
mod error;
mod events;
mod field;
mod marker;
mod protect;
mod shared;
mod status;
#[cfg(feature = "tls")]
mod tls;
mod transport;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use dinh_proto::charter::record::JoinRequest;
use dinh_proto::ids::{ChangeHash, DeviceId, DocId, Seq, SpaceId};
use dinh_proto::keys::DeviceKey;
use tokio::sync::{mpsc, oneshot, watch};

use self::driver::{Channels, Command, Driver, Job, Keys, Reply, Turned, wait_for_keys};
use self::shared::Shared;
use crate::document::{Document, Edit, EditError, Path, View};
use crate::replica::{Counters, LinkState, Now, Quarantined, Replica, ReplicaConfig, ReplicaError};
use crate::store::{EncryptedStore, RedbStore, StoreError};

pub use self::blocking::block_on;
pub use self::config::{ClientConfig, Timeouts};
pub use self::driver::ClientStore;
pub use self::error::ClientError;
pub use self::events::EventStream;
pub use self::field::BoundText;
pub use self::status::{Lifecycle, Status, Traffic};
use self::transport::Dial;
pub use self::transport::{BadRelayUrl, RelayUrl};
pub use crate::store::StoreKey;

/// Calls that may wait for the client's thread; more wait for a place.
pub const COMMANDS_MAX: usize = 256;

/// Enough for Automerge, which recurses as deeply as documents are nested.
const STACK_BYTES: usize = 8 << 20;

/// A handle on a running client. When the last one is dropped the client closes by itself in the background; call
/// [`shutdown`](Self::shutdown) to know when the store can be opened again.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commands: mpsc::Sender<Command>,
    relay: watch::Sender<Option<RelayUrl>>,
    shared: Arc<Shared>,
    request: JoinRequest,
    device: DeviceId,
}

impl Client {
    /// Opens the store and starts. The first connection is dialled in the background.
    ///
    /// # Errors
    /// [`ClientError::Open`] if the store cannot be opened (for example because it is open already, or with
    /// [`StoreError::WrongKey`]), [`ReplicaError::WrongKey`] if it is another device's, or [`ClientError::Marker`].
    pub async fn open(config: ClientConfig) -> Result<Self, ClientError> {
        let path = config.store.clone();
        Self::open_with(config, move || RedbStore::open(&path)).await
    }

    /// [`open`](Self::open), waiting on this thread.
    pub fn open_blocking(config: ClientConfig) -> Result<Self, ClientError> {
        block_on(Self::open(config))
    }

    /// The same over a store whose file is opened in another way, now and at every [`unlock`](Self::unlock);
    /// `config.store` is not used.
    pub async fn open_with(
        config: ClientConfig,
        open: impl FnMut() -> Result<RedbStore, StoreError> + Send + 'static,
    ) -> Result<Self, ClientError> {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (relay, wanted) = watch::channel(config.relay.clone());
        let status = Status {
            link: LinkState::Offline,
            pending: 0,
            stranded: 0,
            acked: Seq(0),
            received: Seq(0),
            protected_locked: !config.key.has_wrap(),
            trouble: None,
            is_probing: false,
            failures: 0,
            lifecycle: Lifecycle::Open,
        };
        let shared = Arc::new(Shared::new(status, config.events_max));
        let request = JoinRequest::new(&config.key);
        let device = config.key.public().id();
        let (opened, answer) = oneshot::channel();
        let thread = std::thread::Builder::new().name("dinh-client".into()).stack_size(STACK_BYTES);
        let of_thread = shared.clone();
        let main = move || {
            let _ = of_thread.thread.set(std::thread::current().id());
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let channels = Channels { commands: received, relay: wanted, shared: of_thread.clone() };
                run(config, Box::new(open), channels, opened);
            }));
            if outcome.is_err() {
                of_thread.fail(ClientError::Panicked);
                of_thread.ended(Lifecycle::Stopped(ClientError::Panicked));
            }
        };
        thread.spawn(main).map_err(|e| system("a thread", &e))?;
        answer.await.map_err(|_| ClientError::Panicked)??;
        Ok(Self { inner: Arc::new(Inner { commands, relay, shared, request, device }) })
    }

    /// Runs `f` on the client's thread with the replica to itself: for what takes several steps that nothing should come
    /// between. Everything else waits meanwhile, so `f` should not.
    ///
    /// # Errors
    /// What `f` returns; [`ClientError::Panicked`] if it panics, and then the client has ended.
    pub async fn run<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Replica<ClientStore>, Now) -> Result<R, ReplicaError> + Send + 'static,
    ) -> Result<R, ClientError> {
        self.job(ClientError::Panicked, f).await
    }

    /// The same for what only reads: if it panics, which may be the app's fault, the client goes on.
    ///
    /// # Errors
    /// What `f` returns; [`ClientError::ClosurePanicked`] if it panics.
    pub async fn look<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Replica<ClientStore>) -> Result<R, ReplicaError> + Send + 'static,
    ) -> Result<R, ClientError> {
        self.job(ClientError::ClosurePanicked, |replica, _| f(replica)).await
    }

    async fn job<R: Send + 'static>(
        &self,
        panicked: ClientError,
        f: impl FnOnce(&mut Replica<ClientStore>, Now) -> Result<R, ReplicaError> + Send + 'static,
    ) -> Result<R, ClientError> {
        let (reply, answer) = oneshot::channel();
        let shared = self.inner.shared.clone();
        let job: Job = Box::new(move |turned| {
            let result = match turned {
                Turned::Refuse(error) => Err(error),
                Turned::Do(replica, now) => match catch_unwind(AssertUnwindSafe(|| f(replica, now))) {
                    Ok(result) => result.map_err(ClientError::from),
                    Err(_) => Err(panicked),
                },
            };
            if let Some(error) = result.as_ref().err().filter(|e| e.is_final()) {
                // Before the answer: the next call must find it.
                shared.fail(error.clone());
            }
            // Whoever asked may have given up; what was done stays done.
            Box::new(move || drop(reply.send(result)))
        });
        let gone = |_| self.inner.shared.gone();
        self.inner.commands.send(Command::Job(job)).await.map_err(gone)?;
        answer.await.unwrap_or_else(|_| Err(self.inner.shared.gone()))
    }

    fn blocking<R>(&self, future: impl Future<Output = Result<R, ClientError>>) -> Result<R, ClientError> {
        if self.inner.shared.thread.get() == Some(&std::thread::current().id()) {
            return Err(ClientError::WouldDeadlock);
        }
        block_on(future)
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.inner.device
    }

    /// The request that this device shows to be admitted to a branch.
    pub fn join_request(&self) -> JoinRequest {
        self.inner.request.clone()
    }

    /// Edits a document: what `f` writes becomes one change. It is on disk when this returns, and never waits for
    /// a network. Gives what `f` returns, and the change if anything was written.
    ///
    /// # Errors
    /// What `f` returns; see [`Replica::edit`].
    pub async fn edit<R: Send + 'static>(
        &self,
        doc: DocId,
        message: Option<&str>,
        f: impl FnOnce(&mut Edit<'_>) -> Result<R, EditError> + Send + 'static,
    ) -> Result<(R, Option<ChangeHash>), ClientError> {
        let message = message.map(str::to_owned);
        self.run(move |replica, now| replica.edit(now, &doc, message.as_deref(), f)).await
    }

    /// [`edit`](Self::edit), waiting on this thread.
    pub fn edit_blocking<R: Send + 'static>(
        &self,
        doc: DocId,
        message: Option<&str>,
        f: impl FnOnce(&mut Edit<'_>) -> Result<R, EditError> + Send + 'static,
    ) -> Result<(R, Option<ChangeHash>), ClientError> {
        self.blocking(self.edit(doc, message, f))
    }

    /// Reads a document as it is now.
    pub async fn read<R: Send + 'static>(
        &self,
        doc: DocId,
        f: impl FnOnce(&View<'_>) -> R + Send + 'static,
    ) -> Result<R, ClientError> {
        self.look(move |replica| replica.view(&doc, f)).await
    }

    /// [`read`](Self::read), waiting on this thread.
    pub fn read_blocking<R: Send + 'static>(
        &self,
        doc: DocId,
        f: impl FnOnce(&View<'_>) -> R + Send + 'static,
    ) -> Result<R, ClientError> {
        self.blocking(self.read(doc, f))
    }

    /// Reads a document with its history.
    pub async fn document<R: Send + 'static>(
        &self,
        doc: DocId,
        f: impl FnOnce(&Document) -> R + Send + 'static,
    ) -> Result<R, ClientError> {
        self.look(move |replica| replica.document(&doc, f)).await
    }

    /// [`document`](Self::document), waiting on this thread.
    pub fn document_blocking<R: Send + 'static>(
        &self,
        doc: DocId,
        f: impl FnOnce(&Document) -> R + Send + 'static,
    ) -> Result<R, ClientError> {
        self.blocking(self.document(doc, f))
    }

    /// The SHA-256 of a document's heads: equal on two devices when they have the same document.
    pub async fn document_hash(&self, doc: DocId) -> Result<[u8; 32], ClientError> {
        self.look(move |replica| replica.document_hash(&doc)).await
    }

    /// Closes a document to save memory; the next use opens it again.
    pub async fn close_document(&self, doc: DocId) -> Result<(), ClientError> {
        self.run(move |replica, _| replica.close_document(&doc)).await
    }

    /// The keyboard let go of what it composed.
    pub async fn end_composition(&self, doc: DocId, path: Path) -> Result<(), ClientError> {
        self.run(move |replica, now| replica.end_composition(now, &doc, &path)).await
    }

    /// The field lost the focus: what was typed in this document is on disk when this returns.
    pub async fn flush_text(&self, doc: DocId) -> Result<(), ClientError> {
        self.run(move |replica, now| replica.flush_text(now, &doc)).await
    }

    /// The app goes to the background, where the system may end it: everything typed is on disk when this returns,
    /// and documents will open quickly next time.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.run(|replica, now| {
            replica.flush_all_text(now)?;
            replica.save_views()
        })
        .await
    }

    /// [`flush`](Self::flush), waiting on this thread.
    pub fn flush_blocking(&self) -> Result<(), ClientError> {
        self.blocking(self.flush())
    }

    /// Everything that was refused: why, whose it is, and the bytes.
    pub async fn quarantined(&self) -> Result<Vec<Quarantined>, ClientError> {
        self.look(|replica| replica.quarantined()).await
    }

    /// What was done since the client was opened.
    pub async fn counters(&self) -> Result<Counters, ClientError> {
        self.look(|replica| Ok(replica.counters())).await
    }

    /// How many items this device holds, its own and others'.
    pub async fn items_held(&self) -> Result<u64, ClientError> {
        self.look(|replica| Ok(replica.items_held())).await
    }

    /// Shows other devices of a space what this one is doing. Not stored; lost if not connected, or while many calls
    /// wait.
    pub fn send_presence(&self, space: SpaceId, payload: Bytes) {
        let job: Job = Box::new(move |turned| {
            if let Turned::Do(replica, _) = turned {
                replica.send_presence(space, payload);
            }
            Box::new(|| ())
        });
        let _ = self.inner.commands.try_send(Command::Job(job));
    }

    /// What happens from now on. Subscribe first, then read documents.
    pub fn subscribe(&self) -> EventStream {
        self.inner.shared.observers.subscribe(None)
    }

    /// What happens to one document from now on.
    pub fn subscribe_document(&self, doc: DocId) -> EventStream {
        self.inner.shared.observers.subscribe(Some(doc))
    }

    /// Where the client stands, and every change of it.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.inner.shared.status.subscribe()
    }

    /// What went over sockets since the client was opened.
    pub fn traffic(&self) -> Traffic {
        self.inner.shared.traffic()
    }

    /// The system says that the network changed: the relay is asked at once whether it is there, or dialled.
    pub fn network_changed(&self) {
        self.inner.shared.suspect.notify_one();
    }

    /// The app is in the foreground again. Its connection may have died while it slept without anybody telling: the
    /// relay is asked at once, and dialled anew if it does not answer within [`Timeouts::probe`].
    pub fn resumed(&self) {
        self.inner.shared.suspect.notify_one();
    }

    /// As [`resumed`](Self::resumed); when this returns, the status says that the relay is being asked
    /// ([`Status::is_probing`]) or that there is no connection. For whoever wants to know whether it is live *now*.
    ///
    /// # Errors
    /// [`ClientError::Locked`], [`ClientError::Closed`] and the like.
    pub async fn probe(&self) -> Result<(), ClientError> {
        self.ask(Command::Probe).await
    }

    /// The relay to which a connection is kept, if any: from the configuration, a welcome code, or [`set_relay`](Self::set_relay).
    pub fn relay(&self) -> Option<RelayUrl> {
        self.inner.relay.borrow().clone()
    }

    /// Connects to another relay from now on, or to none.
    pub fn set_relay(&self, relay: Option<RelayUrl>) {
        self.inner.relay.send_if_modified(|old| {
            let changed = *old != relay;
            *old = relay;
            changed
        });
    }

    /// Forgets the keys and closes the store until [`unlock`](Self::unlock): for a phone that is put away. What is
    /// typed is saved first, and the relay is told goodbye.
    ///
    /// What becomes of calls in flight: those that were made before this one are done, and durable when they
    /// answer; those made after it get [`ClientError::Locked`], and nothing of them is done. What was not sent yet
    /// is in the store and goes out after the unlocking. Waiting events shrink to "read this document again".
    /// Observers, the status and the choice of the relay go on.
    ///
    /// Keys are erased from memory. Documents that were open are freed, not erased; nor can this erase what the app
    /// has read.
    ///
    /// # Errors
    /// If something could not be saved; it is locked all the same. No error if it was locked already.
    pub async fn lock(&self) -> Result<(), ClientError> {
        self.ask(Command::Lock).await
    }

    /// [`lock`](Self::lock), waiting on this thread.
    pub fn lock_blocking(&self) -> Result<(), ClientError> {
        self.blocking(self.lock())
    }

    /// Opens a locked client's store again and goes on: with protected spaces locked if `key` is without its wrap secret
    /// ([`DeviceKey::locked`]), else with everything.
    ///
    /// # Errors
    /// [`ClientError::Open`] (with [`StoreError::WrongKey`] if the key is not the store's),
    /// [`ReplicaError::WrongKey`] if it is another device's key, [`ClientError::Marker`]: it is still locked then.
    /// [`ClientError::NotLocked`] if it was not.
    pub async fn unlock(&self, key: DeviceKey, store_key: StoreKey) -> Result<(), ClientError> {
        let keys = Box::new(Keys { device: key, store: store_key });
        self.ask(|reply| Command::Unlock(keys, reply)).await
    }

    /// [`unlock`](Self::unlock), waiting on this thread.
    pub fn unlock_blocking(&self, key: DeviceKey, store_key: StoreKey) -> Result<(), ClientError> {
        self.blocking(self.unlock(key, store_key))
    }

    /// From now on another key opens the store. If the process ends before this returns, the old key or the new one
    /// does: keep both until then. See [`EncryptedStore::rekey`] for what this does not do.
    pub async fn change_store_key(&self, new: StoreKey) -> Result<(), ClientError> {
        self.run(move |replica, _| Ok(replica.store_mut().rekey(&new)?)).await
    }

    /// Saves what is typed, says goodbye to the relay and closes the store, which can be opened again when this
    /// returns. Does not wait for anything to be sent.
    ///
    /// # Errors
    /// [`ClientError::Closed`] the second time.
    pub async fn shutdown(&self) -> Result<(), ClientError> {
        self.ask(Command::Shutdown).await
    }

    /// [`shutdown`](Self::shutdown), waiting on this thread.
    pub fn shutdown_blocking(&self) -> Result<(), ClientError> {
        self.blocking(self.shutdown())
    }

    async fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<(), ClientError> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| self.inner.shared.gone();
        self.inner.commands.send(command(reply)).await.map_err(gone)?;
        answer.await.unwrap_or_else(|_| Err(self.inner.shared.gone()))
    }
}

/// What opening a store needs besides its keys.
struct Opening {
    open: Box<dyn FnMut() -> Result<RedbStore, StoreError>>,
    marker: PathBuf,
    /// The first time only: an app that is paused and resumed would read the whole file each time.
    verify: bool,
    replica: ReplicaConfig,
}

impl Opening {
    fn open(&mut self, keys: Keys) -> Result<Replica<ClientStore>, ClientError> {
        let mut file = (self.open)().map_err(ClientError::Open)?;
        if std::mem::take(&mut self.verify) {
            file.verify().map_err(ClientError::Open)?;
        }
        let store = EncryptedStore::open(file, &keys.store, fresh_seed()?).map_err(ClientError::Open)?;
        let found = marker::read(&self.marker)?;
        let replica = Replica::open_marked(store, keys.device, self.replica.clone(), fresh_seed()?, found);
        let (replica, marker) = replica?;
        if found != Some(marker) {
            marker::write(&self.marker, marker)?;
        }
        Ok(replica)
    }
}

/// The client's thread.
fn run(
    config: ClientConfig,
    open: Box<dyn FnMut() -> Result<RedbStore, StoreError>>,
    mut channels: Channels,
    opened: Reply,
) {
    let ClientConfig { marker, key, store_key, verify_store, replica, timeouts, tls_roots, .. } = config;
    let mut opening = Opening { open, marker, verify: verify_store, replica };
    let mut start = |keys| {
        let dial = dial(&timeouts, &tls_roots)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|e| system("a runtime", &e))?;
        Ok::<_, ClientError>((runtime, dial, opening.open(keys)?, fresh_seed()?))
    };
    let (runtime, dial, mut replica, mut seed) = match start(Keys { device: key, store: store_key }) {
        Ok(started) => started,
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    let mut reply = opened;
    loop {
        let driver = Driver::new(replica, channels, (timeouts, dial.clone()), seed);
        let _ = reply.send(Ok(()));
        let Some(locked) = runtime.block_on(driver.run()) else { break };
        channels = locked;
        let unlocked = loop {
            let Some((keys, reply)) = runtime.block_on(wait_for_keys(&mut channels)) else { break None };
            match opening.open(*keys).and_then(|replica| Ok((replica, fresh_seed()?))) {
                Ok((replica, seed)) => break Some((replica, seed, reply)),
                Err(error) => drop(reply.send(Err(error))),
            }
        };
        let Some(next) = unlocked else { break };
        (replica, seed, reply) = next;
    }
    // A name that is being looked up would hold the thread.
    runtime.shutdown_background();
}

#[cfg(feature = "tls")]
fn dial(timeouts: &Timeouts, roots: &[Vec<u8>]) -> Result<Dial, ClientError> {
    Ok(Dial { within: timeouts.connect, tls: tls::Tls::new(roots)? })
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "with TLS it can fail")]
fn dial(timeouts: &Timeouts, _: &[Vec<u8>]) -> Result<Dial, ClientError> {
    Ok(Dial { within: timeouts.connect })
}

fn fresh_seed() -> Result<[u8; 32], ClientError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| system("randomness", &e))?;
    Ok(seed)
}

fn system(what: &'static str, reason: &dyn std::fmt::Display) -> ClientError {
    ClientError::System { what, reason: reason.to_string() }
}
