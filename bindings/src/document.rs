//! Generic documents: reading, writing, history, observing. A document that is none of the kinds of `dinh-model` has no rules
//! besides its writers.

use std::sync::Arc;

use dinh_core::document::{self as core, Document, Path, View};
use dinh_core::replica::Origin;
use dinh_core::replica::ReplicaError;

use crate::client::Client;
use crate::error::Result;
use crate::ids;
use crate::stream::{Follow, Told};
use crate::value::{Mark, Patch, Step, Value, Write, path, units};

/// One of several values that were written to the same place without knowing of each other.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Conflict {
    /// The value.
    pub value: Value,
    /// The member who wrote it, if its device is known.
    pub member: Option<String>,
}

/// A change of a document's history.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Change {
    /// Its hash.
    pub hash: String,
    /// The member who made it, if its device is known.
    pub member: Option<String>,
    /// When, by the clock of the device that made it: seconds since 1970-01-01 UTC. Advisory.
    pub time_s: i64,
    /// What its maker said about it.
    pub message: Option<String>,
    /// What it builds on.
    pub parents: Vec<String>,
}

#[uniffi::export]
impl Client {
    /// Writes to a document: all of it becomes one change, on disk when this returns. Gives the change's hash, or none if
    /// nothing differs.
    pub async fn write(
        &self,
        doc: String,
        writes: Vec<Write>,
        message: Option<String>,
    ) -> Result<Option<String>> {
        let doc = ids::doc(&doc)?;
        let all = move |edit: &mut core::Edit<'_>| writes.into_iter().try_for_each(|write| write.apply(edit));
        let ((), hash) = self.core().edit(doc, message.as_deref(), all).await?;
        Ok(ids::change_text(hash.map(|hash| dinh_core::proto::ids::ChangeHash(hash.0))))
    }

    /// Reads what is at a path, with everything below it.
    pub async fn value(&self, doc: String, at: Vec<Step>) -> Result<Option<Value>> {
        self.look(doc, move |view| view.get(&path(at)).map(Value::from)).await
    }

    /// Reads a document as it was at these heads.
    pub async fn value_at(&self, doc: String, heads: Vec<String>, at: Vec<Step>) -> Result<Option<Value>> {
        let heads = heads.iter().map(|hash| ids::change(hash)).collect::<Result<Vec<_>>>()?;
        let read = move |document: &Document| {
            document.view_at(&heads).map(|view| view.get(&path(at)).map(Value::from))
        };
        let found = self.core().document(ids::doc(&doc)?, read).await?;
        Ok(found.map_err(ReplicaError::from)?)
    }

    /// The marks of a text.
    pub async fn marks(&self, doc: String, at: Vec<Step>) -> Result<Vec<Mark>> {
        self.look(doc, move |view| view.marks(&path(at)).into_iter().map(Mark::from).collect()).await
    }

    /// All values that stand at a place, the one that is shown first; more than one if they were written at the same time.
    pub async fn conflicts(&self, doc: String, at: Vec<Step>) -> Result<Vec<Conflict>> {
        let doc = ids::doc(&doc)?;
        let read = move |replica: &mut dinh_core::replica::Replica<_>| {
            let writers = dinh_model::access::writers(replica, &doc);
            replica.view(&doc, |view| {
                let of = |c: core::ConflictValue| {
                    let member = writers.of(&c.actor).map(|writer| ids::text(&writer.member));
                    Conflict { value: c.value.into(), member }
                };
                view.conflicts(&path(at)).into_iter().map(of).collect()
            })
        };
        Ok(self.core().look(read).await?)
    }

    /// A place in a text that moves with the letters around it, as opaque bytes.
    pub async fn cursor(&self, doc: String, at: Vec<Step>, index: u32) -> Result<Vec<u8>> {
        let made =
            self.look(doc, move |view| view.cursor(&path(at), index as usize).map(|c| c.to_bytes())).await?;
        Ok(made?)
    }

    /// Where a cursor's place is now, in UTF-16 code units.
    pub async fn cursor_index(&self, doc: String, at: Vec<Step>, cursor: Vec<u8>) -> Result<u32> {
        let found = self.look(doc, move |view| {
            let at = path(at);
            view.read_cursor(&at, &cursor).and_then(|cursor| view.resolve(&at, &cursor))
        });
        Ok(units(found.await??))
    }

    /// The heads of a document.
    pub async fn heads(&self, doc: String) -> Result<Vec<String>> {
        let heads = |document: &Document| document.heads().iter().map(ToString::to_string).collect();
        Ok(self.core().document(ids::doc(&doc)?, heads).await?)
    }

    /// The changes of a document, oldest first.
    pub async fn history(&self, doc: String) -> Result<Vec<Change>> {
        let doc = ids::doc(&doc)?;
        let read = move |replica: &mut dinh_core::replica::Replica<_>| {
            let writers = dinh_model::access::writers(replica, &doc);
            replica.document(&doc, |document| {
                let of = |change: core::ChangeInfo| Change {
                    hash: change.hash.to_string(),
                    member: writers.of(&change.actor).map(|writer| ids::text(&writer.member)),
                    time_s: change.time_s,
                    message: change.message,
                    parents: change.deps.iter().map(ToString::to_string).collect(),
                };
                document.history().into_iter().map(of).collect()
            })
        };
        Ok(self.core().look(read).await?)
    }

    /// Closes a document to save memory; the next use opens it again.
    pub async fn close_document(&self, doc: String) -> Result<()> {
        Ok(self.core().close_document(ids::doc(&doc)?).await?)
    }

    /// What happens to a document: all of it first, then what changes.
    pub fn document_stream(&self, doc: String) -> Result<Arc<DocumentStream>> {
        let follow = Follow::new(self.core(), ids::doc(&doc)?, true, |replica, doc| {
            replica.document(doc, |document| {
                let value = document.view().get(&Path::root()).map_or(Value::Null, Value::from);
                (value, document.heads().iter().map(ToString::to_string).collect())
            })
        });
        Ok(Arc::new(DocumentStream { follow }))
    }
}

impl Client {
    async fn look<R: Send + 'static>(
        &self,
        doc: String,
        read: impl FnOnce(&View<'_>) -> R + Send + 'static,
    ) -> Result<R> {
        Ok(self.core().read(ids::doc(&doc)?, read).await?)
    }
}

/// What happens to a document.
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
pub enum DocumentEvent {
    /// The document is this now.
    Snapshot {
        /// All of it.
        value: Value,
        /// Its heads, in hex.
        heads: Vec<String>,
        /// Whether changes were left out since the last event, because there were too many or the document was rebuilt.
        resync: bool,
    },
    /// It changed; the patches turn what was shown into what is.
    Changed {
        /// In their order.
        patches: Vec<Patch>,
        /// Whether it was changed on this device.
        is_local: bool,
    },
    /// It cannot be read now: it is locked, or the client is. A snapshot follows when it can.
    Unavailable {
        /// Why.
        detail: String,
    },
}

/// What happens to a document: see [`Client::document_stream`].
#[derive(Debug, uniffi::Object)]
pub struct DocumentStream {
    follow: Follow<(Value, Vec<String>)>,
}

#[uniffi::export]
impl DocumentStream {
    /// Waits for the next event; none when the client was closed or the stream cancelled. Fails if the document cannot be read
    /// the first time.
    pub async fn next(&self) -> Result<Option<DocumentEvent>> {
        Ok(self.follow.next().await?.map(|told| match told {
            Told::State { state: (value, heads), resync } => DocumentEvent::Snapshot { value, heads, resync },
            Told::Changed { origin, patches } => DocumentEvent::Changed {
                patches: patches.into_iter().map(Patch::from).collect(),
                is_local: origin == Origin::Local,
            },
            Told::Unavailable { detail } => DocumentEvent::Unavailable { detail },
        }))
    }

    /// Ends the stream, and a wait that is under way.
    pub fn cancel(&self) {
        self.follow.cancel.cancel();
    }
}
