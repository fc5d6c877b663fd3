//! What apps hear. They pull: an app asks for the next thing when it is done with the last one, so a slow one costs bounded memory
//! and delays nobody. The first thing is the current state. What waits shrinks to the state as it is when its turn comes.
//!
//! Waiting may be given up (Kotlin drops the future): nothing is lost by that. `Cancel` ends a stream from elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dinh_core::client::{Client, ClientError, ClientStore, EventStream, Lifecycle};
use dinh_core::document::Patch;
use dinh_core::proto::ids::DocId;
use dinh_core::replica::{Event, Origin, Replica, ReplicaError};
use tokio::sync::{Mutex, watch};

use crate::error::{DinhError, Result};

static LIVE: AtomicU64 = AtomicU64::new(0);

/// How many streams and waits of this process are not freed: for tests that look for leaks.
#[uniffi::export]
pub fn live_streams() -> u64 {
    LIVE.load(Ordering::Relaxed)
}

/// Counts a stream while it is there, and ends waits for it.
#[derive(Debug)]
pub(crate) struct Cancel {
    is_cancelled: watch::Sender<bool>,
}

impl Cancel {
    pub(crate) fn new() -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self { is_cancelled: watch::Sender::new(false) }
    }

    pub(crate) fn cancel(&self) {
        self.is_cancelled.send_replace(true);
    }

    /// The wait, or none if it was cancelled before or meanwhile.
    pub(crate) async fn unless<T>(&self, wait: impl Future<Output = Result<Option<T>>>) -> Result<Option<T>> {
        let mut cancelled = self.is_cancelled.subscribe();
        tokio::select! {
            biased;
            _ = cancelled.wait_for(|is| *is) => Ok(None),
            found = wait => found,
        }
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads something of a document.
type Read<T> = Arc<dyn Fn(&mut Replica<ClientStore>, &DocId) -> Result<T, ReplicaError> + Send + Sync>;

/// Follows a document.
pub(crate) struct Follow<T> {
    client: Client,
    doc: DocId,
    read: Read<T>,
    /// Whether changes are told as patches. Else each is a reason to read again.
    patches: bool,
    /// None while it is read, and after such a read was given up: then it begins anew.
    following: Mutex<Option<Following>>,
    pub(crate) cancel: Cancel,
}

impl<T> std::fmt::Debug for Follow<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow").field("doc", &self.doc).finish_non_exhaustive()
    }
}

struct Following {
    events: EventStream,
    status: watch::Receiver<dinh_core::client::Status>,
    due: Due,
    /// It was told that it cannot be read.
    is_unavailable: bool,
}

/// What to do before anything can be told. With what was locked when it was read last, or was tried to be.
enum Due {
    Read { is_first: bool },
    WaitForEvent { before: Locks },
    WaitForUnlocking { before: Locks },
}

/// What is told of a document.
pub(crate) enum Told<T> {
    /// It is this now. `resync`: changes were left out before.
    State { state: T, resync: bool },
    /// It changed.
    Changed { origin: Origin, patches: Vec<Patch> },
    /// It cannot be read now.
    Unavailable { detail: String },
}

/// What decides whether documents can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Locks {
    protected: bool,
    client: bool,
}

enum Happened {
    Event(Event),
    Locks,
}

impl Following {
    fn new(client: &Client, doc: DocId, is_first: bool) -> Self {
        let (events, status) = (client.subscribe_document(doc), client.status());
        Self { events, status, due: Due::Read { is_first }, is_unavailable: false }
    }

    fn locks(&self) -> Locks {
        let status = self.status.borrow();
        Locks { protected: status.protected_locked, client: matches!(status.lifecycle, Lifecycle::Locked) }
    }

    /// The next event; none when the client has ended. What was locked, or unlocked, is a reason to read again.
    async fn event(&mut self, before: Locks) -> Option<Happened> {
        loop {
            if self.locks() != before {
                return Some(Happened::Locks);
            }
            tokio::select! {
                biased;
                event = self.events.next() => return event.map(Happened::Event),
                // An end is told by the events.
                Ok(()) = self.status.changed() => {}
            }
        }
    }

    /// Waits until reading is worth another try; false when the client has ended.
    async fn is_readable(&mut self, before: Locks) -> bool {
        loop {
            if self.locks() != before {
                return true;
            }
            tokio::select! {
                event = self.events.next() => return event.is_some(),
                changed = self.status.changed() => {
                    let ended = matches!(self.status.borrow_and_update().lifecycle, Lifecycle::Closed | Lifecycle::Stopped(_));
                    if changed.is_err() || ended {
                        return false;
                    }
                }
            }
        }
    }
}

impl<T: Send + 'static> Follow<T> {
    pub(crate) fn new(
        client: &Client,
        doc: DocId,
        patches: bool,
        read: impl Fn(&mut Replica<ClientStore>, &DocId) -> Result<T, ReplicaError> + Send + Sync + 'static,
    ) -> Self {
        let following = Mutex::new(Some(Following::new(client, doc, true)));
        Self { client: client.clone(), doc, read: Arc::new(read), patches, following, cancel: Cancel::new() }
    }

    /// The next thing; none when the client has ended, or this was cancelled.
    ///
    /// # Errors
    /// If the first reading fails, but for what is locked.
    pub(crate) async fn next(&self) -> Result<Option<Told<T>>> {
        self.cancel.unless(self.advance()).await
    }

    async fn advance(&self) -> Result<Option<Told<T>>> {
        let mut slot = self.following.lock().await;
        loop {
            let following = slot.get_or_insert_with(|| Following::new(&self.client, self.doc, false));
            match following.due {
                Due::WaitForEvent { before } => match following.event(before).await {
                    None => return Ok(None),
                    Some(Happened::Event(Event::DocumentChanged { origin, patches, .. })) if self.patches => {
                        return Ok(Some(Told::Changed { origin, patches }));
                    }
                    Some(_) => following.due = Due::Read { is_first: false },
                },
                Due::WaitForUnlocking { before } => {
                    if !following.is_readable(before).await {
                        return Ok(None);
                    }
                    following.due = Due::Read { is_first: false };
                }
                Due::Read { is_first } => {
                    let Some(taken) = slot.take() else { continue };
                    let before = taken.locks();
                    let (mut following, found) = self.read_now(taken).await;
                    let was_unavailable = std::mem::take(&mut following.is_unavailable);
                    let told = match found {
                        Ok(state) => {
                            following.due = Due::WaitForEvent { before };
                            Some(Ok(Some(Told::State { state, resync: !is_first })))
                        }
                        Err(ClientError::Closed | ClientError::Stopped(_)) if !is_first => Some(Ok(None)),
                        Err(error) => match DinhError::from(error) {
                            // What is locked is a state, at first too; what is not there was asked for by mistake.
                            error if is_first && !matches!(error, DinhError::Locked { .. }) => {
                                Some(Err(error))
                            }
                            error => {
                                following.due = Due::WaitForUnlocking { before };
                                following.is_unavailable = true;
                                let detail = error.to_string();
                                (!was_unavailable).then_some(Ok(Some(Told::Unavailable { detail })))
                            }
                        },
                    };
                    *slot = Some(following);
                    if let Some(told) = told {
                        return told;
                    }
                }
            }
        }
    }

    /// Reads, so that exactly what happens after it is still to come.
    async fn read_now(&self, following: Following) -> (Following, Result<T, ClientError>) {
        let Following { mut events, status, due, is_unavailable } = following;
        let (read, doc) = (self.read.clone(), self.doc);
        let done = self.client.look(move |replica| {
            while events.try_next().is_some() {}
            match read(replica, &doc) {
                // This ends the client.
                Err(error @ ReplicaError::Store(_)) => Err(error),
                state => Ok((events, state)),
            }
        });
        match done.await {
            Ok((events, state)) => {
                (Following { events, status, due, is_unavailable }, state.map_err(ClientError::from))
            }
            // The job took the stream with it.
            Err(error) => {
                let again = Following::new(&self.client, self.doc, false);
                (Following { is_unavailable, ..again }, Err(error))
            }
        }
    }
}
