//! Local edits: durable when they return.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use dinh_proto::error::RejectCode;
use dinh_proto::ids::{ChangeHash, DocId};
use dinh_proto::limits;
use dinh_proto::time::{Timestamp, WallTime};

use super::event::{LinkState, Origin};
use super::schema::{self, Batch};
use super::{Event, Now, Replica, ReplicaError, Unsealed};
use crate::document::{
    Document, DocumentError, Edit, EditError, LocalChange, Path, PendingText, SharedTextField, Typing,
    TypingConfig,
};
use crate::gate::rights::Rights;
use crate::gate::{self, Call, GateError};
use crate::store::{Store, Table};

impl<S: Store> Replica<S> {
    /// Edits a document: what `f` writes becomes one change. It is on disk when this returns, and never waits for
    /// a network. Returns what `f` returns, and the change if anything was written.
    ///
    /// # Errors
    /// What `f` returns, [`ReplicaError::NotAuthorised`] by the charter, [`ReplicaError::Locked`] if it is in a protected
    /// space that is locked, or the store's. Nothing is changed then.
    /// If `f` panics, [`ReplicaError::Document`].
    pub fn edit<R>(
        &mut self,
        now: Now,
        doc: &DocId,
        message: Option<&str>,
        f: impl FnOnce(&mut Edit<'_>) -> Result<R, EditError>,
    ) -> Result<(R, Option<ChangeHash>), ReplicaError> {
        self.flush_typing_of(doc, now.wall)?;
        self.seal_at = Some(now.mono + limits::SEAL_AFTER);
        self.edit_now(now.wall, doc, message, f)
    }

    fn edit_now<R>(
        &mut self,
        wall: WallTime,
        doc: &DocId,
        message: Option<&str>,
        f: impl FnOnce(&mut Edit<'_>) -> Result<R, EditError>,
    ) -> Result<(R, Option<ChangeHash>), ReplicaError> {
        self.may_write(doc)?;
        self.give_own_number(doc)?;
        let actor = self.actor(doc).0;
        let rights = self.own_rights(doc)?;
        let open = self.opened(doc)?;
        let before = open.document.actor_tip(&actor).map(|(_, hash)| ChangeHash(*hash.as_bytes()));
        // Times beyond it are of clocks that are wrong; no device takes them.
        let time_s = i64::try_from(wall.0 / 1_000).unwrap_or(i64::MAX).min(limits::CHANGE_TIME_S_MAX);
        let edited = gate::guarded(Call::Edit, || {
            open.document.edit::<R, ReplicaError>(time_s, message, |edit| Ok(f(edit)?))
        });
        let edited = match edited {
            Ok(edited) => edited,
            Err(panicked) => {
                // Whether the closure or the engine panicked: the document is read again from disk.
                self.open.remove(doc);
                return Err(DocumentError::Engine(panicked.to_string()).into());
            }
        };
        let (result, change) = edited?;
        let Some(change) = change else { return Ok((result, None)) };
        // What other devices would refuse must not leave this phone, nor anything that builds on it.
        let fits = open.check_own(&change.raw, rights.as_ref()).map_err(|error| match error {
            GateError::Denied(denied) => ReplicaError::Denied(denied),
            error => ReplicaError::Refused(error),
        });
        if let Err(error) = fits.and_then(|()| self.keep_change(doc, &actor, before, &change)) {
            // The change is in memory and not on disk: the document is read again from disk.
            self.open.remove(doc);
            return Err(error);
        }
        if let Some(open) = self.open.get_mut(doc) {
            open.count_change(change.raw.len());
            if !open.queue.is_empty() {
                // It let runs in that waited for it.
                self.advance(doc, true)?;
            }
        }
        self.counters.edits += 1;
        let patches = change.patches;
        self.push_event(Event::DocumentChanged { doc: *doc, origin: Origin::Local, patches });
        Ok((result, Some(ChangeHash(*change.hash.as_bytes()))))
    }

    /// Sees to it that the next change takes no number under which this session has already written something that is not in
    /// the document: runs that are denied, whose author's words turned out not to count, or that wait for a snapshot's.
    /// The next one is of a new session then.
    fn give_own_number(&mut self, doc: &DocId) -> Result<(), ReplicaError> {
        if self.has_all_own(doc)? {
            return Ok(());
        }
        // What kept it out may have passed: the engine's panic.
        self.advance(doc, true)?;
        if self.has_all_own(doc)? {
            return Ok(());
        }
        // As items they keep their place, whatever comes.
        self.seal_all()?;
        if self.unsealed.contains_key(doc) {
            return Err(ReplicaError::Unsettled(*doc));
        }
        tracing::info!(%doc, "own changes are not in the document: the next ones are of a new session");
        let mut batch = Batch::default();
        self.change_session(BTreeMap::new(), None, (RejectCode::Fork, ""), &mut batch)?;
        batch.commit(&mut self.store)?;
        Ok(())
    }

    /// Whether every own change of this session is in the document.
    fn has_all_own(&mut self, doc: &DocId) -> Result<bool, ReplicaError> {
        let (session, actor) = (self.session, self.actor(doc).0);
        let newest = self.store.read(|tx| tx.get(Table::Numbers, &doc.0))?;
        let newest = newest.map(|bytes| schema::number_from(&bytes)).transpose()?;
        let Some((_, seq)) = newest.filter(|(of, _)| *of == session) else { return Ok(true) };
        let tip = self.opened(doc)?.document.actor_tip(&actor);
        Ok(tip.is_some_and(|(tip, _)| tip >= u64::from(seq)))
    }

    fn own_rights(&self, doc: &DocId) -> Result<Option<Rights>, ReplicaError> {
        let Some(space) = self.space_of(doc) else { return Ok(None) };
        let schema = match self.authority(&space).schema(doc) {
            Err(GateError::NoKey) => return Err(ReplicaError::NoKey(space)),
            schema => schema?,
        };
        let author = self.branch_charter(&space).and_then(|c| c.author_now(&self.device, doc));
        Ok(schema.zip(author).map(|(schema, author)| Rights::new(schema, author)))
    }

    fn keep_change(
        &mut self,
        doc: &DocId,
        actor: &[u8; 16],
        before: Option<ChangeHash>,
        change: &LocalChange,
    ) -> Result<(), ReplicaError> {
        // What does not fit an item would never leave this phone: say so now.
        gate::seal_run(&dinh_proto::ids::ActorId(*actor), before.as_ref(), &[&change.raw])
            .map_err(ReplicaError::TooLarge)?;
        let seq = u32::try_from(change.seq).unwrap_or(u32::MAX);
        let mut batch = Batch::default();
        let unsealed = Unsealed { seq, before, stands_for: None, raw: change.raw.clone() };
        self.put_unsealed(doc, &unsealed, &mut batch)?;
        // Bug: the app hears that it is saved, and it is in memory until it becomes an item.
        #[cfg(feature = "canary")]
        let batch =
            if dinh_proto::canary::is_planted("saved-before-commit") { Batch::default() } else { batch };
        batch.commit(&mut self.store)?;
        self.unsealed.entry(*doc).or_default().push(unsealed);
        Ok(())
    }

    /// Whether the charter lets this device write the document, and it is not locked.
    pub fn may_write(&self, doc: &DocId) -> Result<(), ReplicaError> {
        let space = self.space_of(doc).ok_or(ReplicaError::UnknownDocument(*doc))?;
        let charter = self.branch_charter(&space).ok_or(ReplicaError::UnknownSpace(space))?;
        self.must_be_unlocked(doc)?;
        match charter.authorise_author(&self.device, &space, doc) {
            Ok(()) => Ok(()),
            Err(RejectCode::UnknownTarget) => Err(ReplicaError::UnknownDocument(*doc)),
            Err(code) => Err(ReplicaError::NotAuthorised(code)),
        }
    }

    /// A text field shows `text` now. What is typed is gathered and committed as one change at a pause, at the
    /// end of a composition, when the field loses focus or on [`Replica::flush_text`]; until then it is not on
    /// disk. `composing` says that the keyboard still holds a part of the text (Telex before the tone).
    pub fn type_text(
        &mut self,
        now: Now,
        doc: &DocId,
        path: &Path,
        text: &str,
        composing: bool,
    ) -> Result<(), ReplicaError> {
        self.may_write(doc)?;
        let stored = self.stored_text(doc, path)?;
        let config = self.typing_config();
        let typing = self.typing.entry((*doc, path.clone())).or_insert_with(|| Typing::new(config));
        typing.input(now.mono.0, &stored, text, composing);
        self.typed_at.insert(*doc, now.wall);
        self.handle_typing(now)
    }

    /// Something was typed in a field with a text of its own, which has it already: it is gathered and committed as in
    /// [`type_text`](Self::type_text), by what the field shows by then.
    ///
    /// # Errors
    /// As [`type_text`](Self::type_text). What was typed stays in the field.
    pub fn type_in(
        &mut self,
        now: Now,
        doc: &DocId,
        path: &Path,
        field: &SharedTextField,
        composing: bool,
    ) -> Result<(), ReplicaError> {
        self.may_write(doc)?;
        // Of fields that went away while their keyboard composed.
        self.typing.retain(|_, typing| !typing.is_abandoned());
        let key = (*doc, path.clone());
        if self.typing.get(&key).is_some_and(|typing| !typing.is_of(field)) {
            // What was typed before in another field of the same text is its own change.
            self.flush_typing_at(&key, now.wall)?;
            self.typing.remove(&key);
        }
        let stored = self.stored_text(doc, path)?;
        let shown = field.lock().unwrap_or_else(PoisonError::into_inner).shown().to_owned();
        let config = self.typing_config();
        let typing = || Typing::of_field(config, field.clone());
        let typing = self.typing.entry(key).or_insert_with(typing);
        typing.input(now.mono.0, &stored, &shown, composing);
        self.typed_at.insert(*doc, now.wall);
        self.handle_typing(now)
    }

    /// Tells a field what the document's text is now.
    ///
    /// # Errors
    /// If there is no text any more: the field keeps what it shows.
    pub fn tell_field(
        &mut self,
        doc: &DocId,
        path: &Path,
        field: &SharedTextField,
    ) -> Result<(), ReplicaError> {
        let stored = self.stored_text(doc, path)?;
        field.lock().unwrap_or_else(PoisonError::into_inner).stored(&stored);
        Ok(())
    }

    fn stored_text(&mut self, doc: &DocId, path: &Path) -> Result<String, ReplicaError> {
        Ok(self.view(doc, |v| v.text(path))?.ok_or_else(|| EditError::NotFound { path: path.clone() })?)
    }

    /// What cannot be written and has a field stays there, and the field is told why: that is no error then.
    fn commit_typed(
        &mut self,
        wall: WallTime,
        (doc, path): &(DocId, Path),
        typed: &PendingText,
        field: Option<&SharedTextField>,
    ) -> Result<(), ReplicaError> {
        let written = self.edit_now(wall, doc, None, |e| e.put_typed(path, typed));
        let Some(field) = field else { return written.map(drop) };
        let written = written.and_then(|_| self.stored_text(doc, path));
        let mut field = field.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(stored) => field.written(&stored),
            Err(error) => {
                field.put_back(Arc::new(error.clone()));
                if let ReplicaError::Store(_) = error {
                    return Err(error);
                }
                tracing::debug!(%doc, %error, "what was typed stays in its field");
                self.push_event(Event::DocumentReset { doc: *doc });
            }
        }
        Ok(())
    }

    /// The keyboard let go of what it composed.
    pub fn end_composition(&mut self, now: Now, doc: &DocId, path: &Path) -> Result<(), ReplicaError> {
        if let Some(typing) = self.typing.get_mut(&(*doc, path.clone())) {
            typing.composition_ended(now.mono.0);
        }
        self.handle_typing(now)
    }

    /// The field lost the focus, or the app wants everything on disk now.
    pub fn flush_text(&mut self, now: Now, doc: &DocId) -> Result<(), ReplicaError> {
        self.flush_typing_of(doc, now.wall)
    }

    /// The app goes to the background or ends: everything typed is on disk when this returns.
    pub fn flush_all_text(&mut self, now: Now) -> Result<(), ReplicaError> {
        self.flush_all_typing(now.wall)
    }

    fn typing_config(&self) -> TypingConfig {
        if self.link_state == LinkState::Offline { TypingConfig::OFFLINE } else { TypingConfig::CONNECTED }
    }

    pub(super) fn flush_typing_of(&mut self, doc: &DocId, wall: WallTime) -> Result<(), ReplicaError> {
        let keys: Vec<_> = self.typing.keys().filter(|(d, _)| d == doc).cloned().collect();
        // Before anything is taken out of the buffer.
        if !keys.is_empty() && self.may_write(doc).is_ok() {
            self.give_own_number(doc)?;
        }
        keys.iter().try_for_each(|key| self.flush_typing_at(key, wall))
    }

    fn flush_typing_at(&mut self, key: &(DocId, Path), wall: WallTime) -> Result<(), ReplicaError> {
        let Some(mut typing) = self.typing.remove(key) else { return Ok(()) };
        if let Some(typed) = typing.flush() {
            self.commit_typed(wall, key, &typed, typing.field())?;
        }
        if typing.is_composing() {
            self.typing.insert(key.clone(), typing);
        }
        Ok(())
    }

    /// Goes on with the other documents if one fails, and gives the first reason.
    pub(super) fn flush_all_typing(&mut self, wall: WallTime) -> Result<(), ReplicaError> {
        let docs: BTreeSet<DocId> = self.typing.keys().map(|(doc, _)| *doc).collect();
        let mut flushed = Ok(());
        for doc in docs {
            match self.flush_typing_of(&doc, wall) {
                Err(error @ ReplicaError::Store(_)) => return Err(error),
                done => flushed = flushed.and(done),
            }
        }
        flushed
    }

    /// The same where nobody waits for an answer: what cannot be written and has no field where it stays is given up, and the app
    /// reads the document again.
    pub(super) fn flush_typing_or_drop(&mut self, doc: &DocId, wall: WallTime) -> Result<(), ReplicaError> {
        match self.flush_typing_of(doc, wall) {
            Ok(()) => Ok(()),
            // It stays in the buffer, and is tried again.
            Err(error @ ReplicaError::Unsettled(_)) => {
                self.tell_fields(doc, &error);
                Ok(())
            }
            Err(error @ ReplicaError::Store(_)) => Err(error),
            Err(error) => {
                self.give_up_typing(doc, &error);
                Ok(())
            }
        }
    }

    /// What is typed in a document is not written by this device: it stays in its fields, which are told why.
    pub(super) fn give_up_typing(&mut self, doc: &DocId, error: &ReplicaError) {
        tracing::info!(%doc, %error, "what was being typed is given up");
        self.tell_fields(doc, error);
        self.typing.retain(|(typed_in, _), _| typed_in != doc);
        self.push_event(Event::DocumentReset { doc: *doc });
    }

    /// Tells the fields of a document why what is typed in them is not written yet, if they do not know.
    fn tell_fields(&mut self, doc: &DocId, error: &ReplicaError) {
        let mut is_news = false;
        for (_, typing) in self.typing.iter().filter(|((typed_in, _), _)| typed_in == doc) {
            let Some(field) = typing.field() else { continue };
            let mut field = field.lock().unwrap_or_else(PoisonError::into_inner);
            if field.failure().is_none() {
                field.failed(Arc::new(error.clone()));
                is_news |= field.failure().is_some();
            }
        }
        if is_news {
            self.push_event(Event::DocumentReset { doc: *doc });
        }
    }

    /// The same where no clock is at hand: what is committed has the time at which it was typed.
    pub(super) fn flush_typing_as_typed(&mut self, doc: &DocId) -> Result<(), ReplicaError> {
        let wall = self.typed_at.get(doc).copied().unwrap_or(WallTime(0));
        self.flush_typing_or_drop(doc, wall)
    }

    pub(super) fn flush_all_typing_as_typed(&mut self) -> Result<(), ReplicaError> {
        let docs: Vec<DocId> = self.typing.keys().map(|(doc, _)| *doc).collect();
        docs.iter().try_for_each(|doc| self.flush_typing_as_typed(doc))
    }

    /// Commits what is due.
    pub(super) fn handle_typing(&mut self, now: Now) -> Result<(), ReplicaError> {
        let due: Vec<_> = self
            .typing
            .iter()
            .filter(|(_, t)| t.poll_timeout().is_some_and(|at| at <= now.mono.0))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            if self.may_write(&key.0).is_ok()
                && let Err(error) = self.give_own_number(&key.0)
            {
                let ReplicaError::Unsettled(_) = error else { return Err(error) };
                self.tell_fields(&key.0, &error);
                self.typing.get_mut(&key).into_iter().for_each(|typing| typing.postpone(now.mono.0));
                continue;
            }
            let Some(typing) = self.typing.get_mut(&key) else { continue };
            let pending = typing.handle_timeout(now.mono.0);
            let field = typing.field().cloned();
            if !typing.has_pending() && !typing.is_composing() {
                self.typing.remove(&key);
            }
            if let Some(pending) = pending {
                self.seal_at = Some(now.mono + limits::SEAL_AFTER);
                self.commit_typed(now.wall, &key, &pending, field.as_ref())?;
            }
        }
        Ok(())
    }

    pub(super) fn typing_timeout(&self) -> Option<Timestamp> {
        self.typing.values().filter_map(Typing::poll_timeout).min().map(Timestamp)
    }

    /// The SHA-256 of a document's heads: equal on two devices when they have the same document.
    pub fn document_hash(&mut self, doc: &DocId) -> Result<[u8; 32], ReplicaError> {
        use sha2::{Digest, Sha256};
        self.document(doc, |d: &Document| {
            let mut hasher = Sha256::new_with_prefix(b"dinh/dsh1\0");
            d.heads().iter().for_each(|h| hasher.update(h.as_bytes()));
            hasher.finalize().into()
        })
    }
}
