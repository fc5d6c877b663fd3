//! The client: a device's store and its connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use dinh_core::client::{self, BoundText, ClientConfig, ClientError, Lifecycle, RelayUrl};
use dinh_core::proto::ids::DocId;
use dinh_core::proto::join::Code;
use dinh_model::client::Documents;
use zeroize::Zeroizing;

use crate::error::{DinhError, Result};
use crate::runtime::to_the_end;
use crate::secrets::{Kept, Secrets, secret};
use crate::status::{Status, StatusStream, Traffic};
use crate::stream::Cancel;

/// What a client needs besides its secrets.
#[derive(Debug, Clone, uniffi::Record)]
pub struct ClientOptions {
    /// The store's file; made if it is not there. Its folder must exist. One client at a time may have it open.
    pub store_path: String,
    /// A small file in a place that no backup of the system holds (Android: below `getNoBackupFilesDir()`; iOS: with
    /// `isExcludedFromBackup`): by it a store that came out of a backup is known. Its folder must exist.
    pub marker_path: String,
    /// The relay to keep a connection to, as it printed it: `wss://host/dinh/v1#KEY`. None: no connection.
    #[uniffi(default)]
    pub relay: Option<String>,
    /// Certificates (X.509, DER) of authorities that are trusted beside Mozilla's, for relays behind `wss://`.
    #[uniffi(default = [])]
    pub tls_roots: Vec<Vec<u8>>,
    /// Whether opening reads the whole file and compares its checksums.
    #[uniffi(default = true)]
    pub verify_store: bool,
    /// Open documents are closed, least recently used first, when they take more than this many bytes of memory together.
    #[uniffi(default = 16777216)]
    pub open_documents_bytes_max: u64,
}

/// How a wait for everything to be synced ended.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum SyncOutcome {
    /// Everything that is saved here is in the relay's durable log, and everything there is here.
    Synced,
    /// Connected, but not done in time: it goes on from there next time.
    Partial {
        /// What is saved here and not in the relay's log yet.
        pending: u64,
    },
    /// No connection.
    Offline {
        /// Why, for people who look into it.
        trouble: Option<String>,
    },
}

/// A device's store and its connection to a relay. Its work is done on a thread of its own: no call here waits for a network,
/// and each that writes returns when the write is on this device's disk.
///
/// Calls are done in the order in which they were made. A call that was cancelled while it waited may be done all the same.
#[derive(Debug, uniffi::Object)]
pub struct Client {
    pub(crate) documents: Documents,
    /// While it may be paused and resumed; not after `lock`.
    kept: Mutex<Option<Kept>>,
    fields: Mutex<Vec<Weak<BoundText>>>,
    /// The steps of its life (pausing, locking…) are done one after the other.
    turn: Arc<tokio::sync::Mutex<()>>,
}

fn config(options: ClientOptions, kept: &Kept) -> Result<ClientConfig> {
    let (key, store_key) = kept.keys()?;
    let mut config = ClientConfig::new(options.store_path, options.marker_path, key, store_key);
    config.verify_store = options.verify_store;
    config.relay = options.relay.as_deref().map(RelayUrl::parse).transpose()?;
    config.tls_roots = options.tls_roots;
    config.replica.schemas = dinh_model::SCHEMAS;
    let most = usize::try_from(options.open_documents_bytes_max);
    config.replica.open_documents_bytes_max = most.unwrap_or(usize::MAX);
    Ok(config)
}

#[uniffi::export]
impl Client {
    /// Opens the store and starts. The first connection is dialled in the background.
    #[uniffi::constructor]
    pub async fn open(options: ClientOptions, secrets: Secrets) -> Result<Arc<Self>> {
        let kept = Kept::new(secrets)?;
        let documents = Documents::new(client::Client::open(config(options, &kept)?).await?);
        let (kept, fields, turn) = (Mutex::new(Some(kept)), Mutex::default(), Arc::default());
        Ok(Arc::new(Self { documents, kept, fields, turn }))
    }

    /// This device's id.
    pub fn device(&self) -> String {
        self.core().device().to_string()
    }

    /// The code that this device shows to be admitted to a branch, as a link: see `qr_svg`.
    pub fn join_code(&self) -> String {
        Code::from(self.core().join_request()).link().to_string()
    }

    /// Where the client stands.
    pub fn status(&self) -> Status {
        Status::from(&*self.core().status().borrow())
    }

    /// Where the client stands, now and at every change.
    pub fn status_stream(&self) -> Arc<StatusStream> {
        Arc::new(StatusStream::new(self.core()))
    }

    /// What went over sockets since the client was opened.
    pub fn traffic(&self) -> Traffic {
        self.core().traffic().into()
    }

    /// The address of the relay to which a connection is kept, if any: the one that was given at opening, that a welcome code
    /// named, or that was set. For the next opening: it is not kept here.
    pub fn relay(&self) -> Option<String> {
        self.core().relay().map(|relay| relay.to_string())
    }

    /// Connects to another relay from now on, or to none.
    pub fn set_relay(&self, relay: Option<String>) -> Result<()> {
        self.core().set_relay(relay.as_deref().map(RelayUrl::parse).transpose()?);
        Ok(())
    }

    /// The system says that the network changed: the relay is asked at once whether it is there, or dialled.
    pub fn network_changed(&self) {
        self.core().network_changed();
    }

    /// The app is in the foreground again: its connection may have died while it slept.
    pub fn foregrounded(&self) {
        self.core().resumed();
    }

    /// Everything typed is on disk when this returns, and documents will open quickly next time: for the moment when the app
    /// goes to the background. If something that was typed cannot be saved, this says why; everything else is.
    pub async fn flush(&self) -> Result<()> {
        let flushed = self.flush_fields().await;
        self.core().flush().await?;
        flushed
    }

    /// Closes the store's files until `resume`, as systems demand of apps that they suspend: what is typed is saved first, the
    /// relay is told goodbye, calls meanwhile fail. Observers stay. No error if it was paused already. If something that was
    /// typed cannot be saved, this says why; it stays in its field, and the client is paused all the same.
    pub async fn pause(self: Arc<Self>) -> Result<()> {
        let pause = |client: Arc<Self>| async move {
            let flushed = client.flush_fields().await;
            client.core().lock().await?;
            flushed
        };
        self.in_turn(pause).await
    }

    /// Goes on after `pause`, with protected spaces locked if they were. No error if it was not paused. After `lock` it fails:
    /// that takes the keys, see `unlock`.
    pub async fn resume(self: Arc<Self>) -> Result<()> {
        let resume = |client: Arc<Self>| async move {
            let keys = client.kept().as_ref().map(Kept::keys).transpose()?;
            let (device, store) = keys.ok_or_else(|| DinhError::Locked {
                detail: "this client was locked, not paused: unlock it with its secrets".to_owned(),
            })?;
            match client.core().unlock(device, store).await {
                Err(ClientError::NotLocked) => {}
                done => done?,
            }
            client.retry_fields().await;
            Ok(())
        };
        self.in_turn(resume).await
    }

    /// As `pause`, and forgets the keys: for a phone that is put away. What a search found before is forgotten too.
    pub async fn lock(self: Arc<Self>) -> Result<()> {
        let lock = |client: Arc<Self>| async move {
            let flushed = client.flush_fields().await;
            *client.kept() = None;
            let locked = client.core().lock().await;
            // It is locked, whatever could not be saved.
            client.documents.forget_words();
            locked?;
            flushed
        };
        self.in_turn(lock).await
    }

    /// Opens a locked client's store again and goes on: with protected spaces locked if `secrets` has no wrap secret.
    pub async fn unlock(self: Arc<Self>, secrets: Secrets) -> Result<()> {
        let kept = Kept::new(secrets)?;
        let unlock = |client: Arc<Self>| async move {
            let (device, store) = kept.keys()?;
            client.core().unlock(device, store).await?;
            *client.kept() = Some(kept);
            client.retry_fields().await;
            Ok(())
        };
        self.in_turn(unlock).await
    }

    /// Locks protected spaces until `unlock_protected`, also over a pause; everything else goes on.
    pub async fn lock_protected(self: Arc<Self>) -> Result<()> {
        let lock = |client: Arc<Self>| async move {
            let flushed = client.flush_fields().await;
            client.kept().iter_mut().for_each(|kept| kept.set_wrap(None));
            let locked = client.core().lock_protected().await;
            // They are locked, whatever could not be saved.
            client.documents.forget_words();
            match locked {
                // Paused: it will open without them.
                Err(ClientError::Locked) => {}
                locked => locked?,
            }
            flushed
        };
        self.in_turn(lock).await
    }

    /// Takes the wrap secret, 32 bytes, back: everything can be read again.
    pub async fn unlock_protected(self: Arc<Self>, wrap: Vec<u8>) -> Result<()> {
        let wrap = secret("the wrap secret", &Zeroizing::new(wrap))?;
        let unlock = |client: Arc<Self>| async move {
            client.core().unlock_protected(*wrap).await?;
            client.kept().iter_mut().for_each(|kept| kept.set_wrap(Some(wrap.clone())));
            client.retry_fields().await;
            Ok(())
        };
        self.in_turn(unlock).await
    }

    /// From now on another key of 32 bytes opens the store. Keep both until this returns.
    pub async fn change_store_key(self: Arc<Self>, key: Vec<u8>) -> Result<()> {
        let new = secret("the store's key", &Zeroizing::new(key))?;
        let change = |client: Arc<Self>| async move {
            client.core().change_store_key(client::StoreKey::new(*new)).await?;
            client.kept().iter_mut().for_each(|kept| kept.set_store(new.clone()));
            Ok(())
        };
        self.in_turn(change).await
    }

    /// Saves what is typed, says goodbye to the relay and closes the store, which can be opened again when this returns. Does not
    /// wait for anything to be sent. No error the second time.
    pub async fn shutdown(self: Arc<Self>) -> Result<()> {
        let shut_down = |client: Arc<Self>| async move {
            let flushed = client.flush_fields().await;
            match client.core().shutdown().await {
                Err(ClientError::Closed) => Ok(()),
                done => flushed.and(done.map_err(DinhError::from)),
            }
        };
        self.in_turn(shut_down).await
    }

    /// Waits until everything is synced, for background work: see [`SyncWait`].
    pub fn sync(self: Arc<Self>, timeout_ms: u64) -> Arc<SyncWait> {
        Arc::new(SyncWait { client: self, timeout: Duration::from_millis(timeout_ms), cancel: Cancel::new() })
    }
}

impl Client {
    pub(crate) const fn core(&self) -> &client::Client {
        self.documents.client()
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a step of the client's life to its end, whatever becomes of who asked for it.
    async fn in_turn<F>(self: Arc<Self>, step: impl FnOnce(Arc<Self>) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (turn, step) = (self.turn.clone(), step(self));
        let step = async move {
            let _turn = turn.lock_owned().await;
            step.await
        };
        to_the_end(step).await
    }

    pub(crate) fn add_field(&self, field: &Arc<BoundText>) {
        let mut fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        fields.retain(|field| field.strong_count() > 0);
        fields.push(Arc::downgrade(field));
    }

    fn bound_fields(&self) -> Vec<Arc<BoundText>> {
        let fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        fields.iter().filter_map(Weak::upgrade).collect()
    }

    /// What was not saved before something was locked is tried again.
    async fn retry_fields(&self) {
        for field in self.bound_fields().into_iter().filter(|field| field.is_dirty()) {
            // The field is told.
            let _ = field.typed(false).await;
        }
    }

    /// What stands in fields of these documents is in them when this returns, or stays in its field, which is told: for what is done
    /// to documents as they are now. The keyboard's words may not have been handed to the client yet.
    pub(crate) async fn flush_fields_of(&self, docs: &[DocId]) {
        for field in self.bound_fields().into_iter().filter(|field| docs.contains(&field.doc())) {
            let _ = field.flush().await;
        }
    }

    /// What stands in fields may not have been handed to the client yet.
    pub(crate) async fn flush_fields(&self) -> Result<()> {
        let mut flushed = Ok(());
        for field in self.bound_fields() {
            match field.flush().await {
                Ok(()) | Err(ClientError::Closed | ClientError::Locked) => {}
                Err(error) => flushed = flushed.and(Err(error.into())),
            }
        }
        flushed
    }
}

/// Who drops it without `shutdown` closes it all the same, in the background: what waits on its streams ends.
impl Drop for Client {
    fn drop(&mut self) {
        let (core, fields) = (self.core().clone(), self.bound_fields());
        let close = async move {
            for field in fields {
                if let Err(error) = field.flush().await {
                    tracing::debug!(%error, "a field of a client that is gone");
                }
            }
            let _ = core.shutdown().await;
        };
        // Without threads there is nobody who could.
        let _ = crate::runtime::spawn(close);
    }
}

/// A wait for everything to be synced. Cancelling the caller's task ends it in Kotlin; in Swift, `cancel` does.
#[derive(Debug, uniffi::Object)]
pub struct SyncWait {
    client: Arc<Client>,
    timeout: Duration,
    cancel: Cancel,
}

#[uniffi::export]
impl SyncWait {
    /// Waits. `Offline` comes as soon as an attempt to connect has failed.
    pub async fn run(self: Arc<Self>) -> Result<SyncOutcome> {
        // On the pool: timers need it.
        let wait =
            crate::runtime::spawn(
                async move { self.cancel.unless(async { self.wait().await.map(Some) }).await },
            )?;
        // Whoever drops this takes the wait back.
        let _abort = AbortOnDrop(wait.abort_handle());
        let outcome = wait.await.unwrap_or_else(|failed| Err(crate::runtime::failed(&failed)))?;
        outcome.ok_or_else(|| DinhError::Cancelled { detail: "the wait was cancelled".to_owned() })
    }

    /// Ends the wait: `run` fails with `Cancelled`.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SyncWait {
    async fn wait(&self) -> Result<SyncOutcome> {
        // What cannot be saved is told by its field; the rest can be synced.
        let _ = self.client.flush_fields().await;
        let core = self.client.core();
        let mut status = core.status();
        // The connection may have died while the phone slept, and what failed before may have been about another network.
        core.probe().await?;
        let failures = status.borrow().failures;
        let end = tokio::time::sleep(self.timeout);
        tokio::pin!(end);
        loop {
            let now = status.borrow_and_update().clone();
            match &now.lifecycle {
                Lifecycle::Open => {}
                Lifecycle::Locked => return Err(ClientError::Locked.into()),
                Lifecycle::Closed => return Err(ClientError::Closed.into()),
                Lifecycle::Stopped(error) => return Err(error.clone().into()),
            }
            if now.is_synced() && !now.is_probing {
                return Ok(SyncOutcome::Synced);
            }
            let offline = now.link == dinh_core::replica::LinkState::Offline;
            if offline && now.failures != failures {
                return Ok(SyncOutcome::Offline { trouble: now.trouble });
            }
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return Err(ClientError::Closed.into()) },
                () = &mut end => return Ok(match offline {
                    true => SyncOutcome::Offline { trouble: now.trouble },
                    false => SyncOutcome::Partial { pending: now.pending as u64 },
                }),
            }
        }
    }
}
