//! Text fields of an app's screens: the keyboard never waits for the client's thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dinh_proto::ids::DocId;

use super::{Client, ClientError};
use crate::document::{EditError, Path, Prop, SharedTextField, TextField, TextSplice};
use crate::replica::ReplicaError;

/// A text of a document, bound to a field on a screen. Cheap to clone; all clones are one field.
///
/// The screen's thread calls [`splice`](Self::splice) or [`set`](Self::set) for what the keyboard did, and hands the future of
/// [`typed`](Self::typed) to any executor. When the document changed, [`refresh`](Self::refresh) tells the field; then the
/// screen, unless its keyboard composes, calls [`absorb`](Self::absorb) and does the same to what it shows.
///
/// Nothing typed is overwritten by what others write, or the other way round. What is typed is on disk after
/// [`flush`](Self::flush), or within the times of [`TypingConfig`](crate::document::TypingConfig).
#[derive(Debug, Clone)]
pub struct BoundText {
    client: Client,
    doc: DocId,
    path: Path,
    field: SharedTextField,
}

impl Client {
    /// Binds a text to a field.
    ///
    /// # Errors
    /// See [`read`](Self::read); [`EditError::NotFound`] if there is no text at this path; [`EditError::Refused`] if the path goes
    /// through a list: an index names another element after somebody inserts before it, and what is typed would go there.
    pub async fn bind_text(&self, doc: DocId, path: Path) -> Result<BoundText, ClientError> {
        if path.steps().iter().any(|step| matches!(step, Prop::Index(_))) {
            let why = format!(
                "{path} goes through a list, whose indexes change: keep texts that are typed in a map, under keys"
            );
            return Err(ReplicaError::Edit(EditError::Refused(why)).into());
        }
        let field = Arc::new(Mutex::new(TextField::new("")));
        let bound = BoundText { client: self.clone(), doc, path, field };
        bound.refresh().await?;
        bound.lock().absorb();
        Ok(bound)
    }
}

impl BoundText {
    fn lock(&self) -> MutexGuard<'_, TextField> {
        self.field.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The document.
    #[must_use]
    pub const fn doc(&self) -> DocId {
        self.doc
    }

    /// What the field shows. Never waits.
    #[must_use]
    pub fn text(&self) -> String {
        self.lock().shown().to_owned()
    }

    /// The keyboard replaced `delete` UTF-16 code units at `index`. Never waits.
    ///
    /// # Errors
    /// If the range is beyond the end or cuts a surrogate pair.
    pub fn splice(&self, index: usize, delete: usize, insert: &str) -> Result<(), EditError> {
        self.lock().splice(index, delete, insert)
    }

    /// The field shows this now, by the keyboard's doing. Never waits.
    pub fn set(&self, text: &str) {
        self.lock().set(text);
    }

    /// Whether something was typed that the document does not have. Never waits.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.lock().is_dirty()
    }

    /// Whether others wrote something that the field does not show yet. Never waits.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.lock().has_news()
    }

    /// Takes what others wrote into the field: what the screen has to replace, one after the other. Never waits.
    #[must_use]
    pub fn absorb(&self) -> Vec<TextSplice> {
        self.lock().absorb()
    }

    /// Why what was typed is not in the document, if it was tried and stands only here. Never waits.
    #[must_use]
    pub fn failure(&self) -> Option<ClientError> {
        let failure = self.lock().failure()?;
        let of_replica = failure.downcast_ref::<ReplicaError>().cloned().map(ClientError::from);
        of_replica.or_else(|| failure.downcast_ref().cloned())
    }

    /// Tells the client that something was typed. `composing` says that the keyboard still holds a part of it.
    ///
    /// # Errors
    /// As [`Replica::type_in`](crate::replica::Replica::type_in). What was typed stays in the field.
    pub async fn typed(&self, composing: bool) -> Result<(), ClientError> {
        let Self { doc, path, field, .. } = self.clone();
        let typed =
            self.client.run(move |replica, now| replica.type_in(now, &doc, &path, &field, composing)).await;
        typed.inspect_err(|error| self.lock().failed(Arc::new(error.clone())))
    }

    /// The keyboard let go of what it composed: the end of a word.
    ///
    /// # Errors
    /// As [`typed`](Self::typed).
    pub async fn composition_ended(&self) -> Result<(), ClientError> {
        self.client.end_composition(self.doc, self.path.clone()).await
    }

    /// Tells the field what the document's text is now.
    ///
    /// # Errors
    /// See [`Client::read`].
    pub async fn refresh(&self) -> Result<(), ClientError> {
        let Self { doc, path, field, .. } = self.clone();
        self.client.look(move |replica| replica.tell_field(&doc, &path, &field)).await
    }

    /// The field lost the focus: what was typed is on disk when this returns. Nothing is done if nothing was.
    ///
    /// # Errors
    /// As [`typed`](Self::typed); what the document's rules, or limits, say against it.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let Self { doc, path, field, .. } = self.clone();
        if !self.lock().is_dirty() {
            return Ok(());
        }
        let flushed = self.client.run(move |replica, now| {
            replica.type_in(now, &doc, &path, &field, false)?;
            replica.end_composition(now, &doc, &path)?;
            replica.flush_text(now, &doc)
        });
        flushed.await.inspect_err(|error| self.lock().failed(Arc::new(error.clone())))?;
        self.failure().map_or(Ok(()), Err)
    }
}
