//! The documents of branches from an app's threads: commands, snapshots and search over a [`Client`].

use std::sync::{Arc, Mutex, PoisonError};

use dinh_core::client::{Client, ClientError, ClientStore, EventStream};
use dinh_core::document::{Document, Edit, EditError};
use dinh_core::replica::{Now, Replica, ReplicaError};
use dinh_proto::ids::{ChangeHash, DocId};

use crate::access;
use crate::field::Fields;
use crate::library::{self, Found, Library};
use crate::me::Me;

/// A handle on a client's documents; cheap to clone. The client's [`ReplicaConfig::schemas`](dinh_core::replica::ReplicaConfig)
/// must hold [`SCHEMAS`](crate::SCHEMAS).
#[derive(Debug, Clone)]
pub struct Documents {
    client: Client,
    /// None until something is searched for.
    search: Arc<Mutex<Option<Search>>>,
}

#[derive(Debug)]
struct Search {
    events: EventStream,
    library: Library,
}

impl Documents {
    /// Those of this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, search: Arc::default() }
    }

    /// The client.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Writes to a document as this device's member: what `f` writes becomes one change, on disk when this returns.
    ///
    /// # Errors
    /// What `f` returns; see [`access::act`] and [`Client::edit`]. Dropping the future does not take it back.
    pub async fn act<R: Send + 'static>(
        &self,
        doc: DocId,
        f: impl FnOnce(&mut Edit<'_>, &mut Me) -> Result<R, EditError> + Send + 'static,
    ) -> Result<R, ClientError> {
        self.client.run(move |replica, now| Ok(access::act(replica, now, &doc, None, f)?.0)).await
    }

    /// The same with a message that is kept with the change; see [`credit`](crate::suggestion::credit).
    ///
    /// # Errors
    /// As [`act`](Self::act).
    pub async fn act_with<R: Send + 'static>(
        &self,
        doc: DocId,
        message: String,
        f: impl FnOnce(&mut Edit<'_>, &mut Me) -> Result<R, EditError> + Send + 'static,
    ) -> Result<(R, Option<ChangeHash>), ClientError> {
        self.client.run(move |replica, now| access::act(replica, now, &doc, Some(&message), f)).await
    }

    /// Reads a document as an immutable value: `documents.read(doc, Minutes::read)`.
    ///
    /// # Errors
    /// See [`Client::read`].
    pub async fn read<R: Send + 'static>(
        &self,
        doc: DocId,
        f: impl FnOnce(&Fields<'_, '_>) -> R + Send + 'static,
    ) -> Result<R, ClientError> {
        self.client.run(move |replica, _| access::read(replica, &doc, f)).await
    }

    /// Reads a document with its history: for seals and what came late.
    ///
    /// # Errors
    /// See [`Client::document`].
    pub async fn document<R: Send + 'static>(
        &self,
        doc: DocId,
        f: impl FnOnce(&Document) -> R + Send + 'static,
    ) -> Result<R, ClientError> {
        self.client.document(doc, f).await
    }

    /// Several steps that nothing comes between: [`branch`](crate::branch) and [`consultation`](crate::consultation).
    ///
    /// # Errors
    /// See [`Client::run`].
    pub async fn run<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Replica<ClientStore>, Now) -> Result<R, ReplicaError> + Send + 'static,
    ) -> Result<R, ClientError> {
        self.client.run(f).await
    }

    /// Searches all documents that this device may read. The first search reads them all; later ones what changed.
    ///
    /// # Errors
    /// See [`Client::run`].
    pub async fn search(&self, query: &str, hits_max: usize) -> Result<Vec<Found>, ClientError> {
        let (client, search, query) = (self.client.clone(), self.search.clone(), query.to_owned());
        let find = move |replica: &mut Replica<ClientStore>| {
            let mut search = search.lock().unwrap_or_else(PoisonError::into_inner);
            let search =
                search.get_or_insert_with(|| Search { events: client.subscribe(), library: Library::new() });
            while let Some(event) = search.events.try_next() {
                search.library.note(&event);
            }
            search.library.refresh(replica)?;
            library::with_texts(replica, search.library.search(&query, hits_max))
        };
        self.client.look(find).await
    }

    /// Forgets the words of all documents. To be called after [`Client::lock`] and [`Client::lock_protected`]: what a search
    /// found before stays in memory otherwise. Waits for a search that is under way.
    pub fn forget_words(&self) {
        *self.search.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
