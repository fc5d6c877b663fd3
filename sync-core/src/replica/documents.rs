//! Documents in memory: opened from items when needed, closed under a memory cap.
//!
//! Received and applied are kept apart: an item is stored when it is received, and reaches its document when
//! what it builds on is there and the document is open; see `apply.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use dinh_proto::charter::AuthorAt;
use dinh_proto::codec::{Reader, Write};
use dinh_proto::ids::{ActorId, Author, DocId, ItemId};
use dinh_proto::item::Item;
use dinh_proto::limits;
use rand_chacha::rand_core::RngCore as _;

use super::aside::Aside;
use super::schema::{self, Batch};
use super::waiting::Waiting;
use super::{Event, Now, Replica, ReplicaError};
use crate::document::{Document, DocumentError, Path, View};
use crate::gate::rights::{Denied, RELEASED};
use crate::gate::{self, Call, Past, Shadow};
use crate::store::{Store, StoreError, Table};

/// What an applied byte of items is estimated to take in memory.
const MEMORY_FACTOR: usize = 8;
/// What a byte of a saved document is estimated to take in memory: measured 12 to 130, the more the longer the
/// history (Automerge 0.12: 4.8 KB saved, 54 KB live; 16 KB saved, 2.1 MB live).
const SAVED_MEMORY_FACTOR: usize = 32;

/// A run that is kept and not shown: its author may not write what it writes. An officer may let it in
/// ([`Replica::release_run`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedRun {
    /// Which.
    pub id: ItemId,
    /// Whose.
    pub author: Author,
    /// What it writes and who may.
    pub denied: Denied,
}

/// One document in memory.
#[derive(Debug)]
pub(super) struct OpenDocument {
    pub(super) document: Document,
    /// What the rules need of its changes, exactly those; none until foreign runs come.
    pub(super) past: Option<Past>,
    pub(super) shadow: Shadow,
    /// Stored runs to look at, by order of arrival.
    pub(super) queue: Queue,
    /// Stored runs that wait for what they build on.
    pub(super) waiting: Waiting,
    /// Stored runs that count only if something accepted builds on them.
    pub(super) aside: Aside,
    /// Of those that wait, the ones whose authors may not write what they write.
    pub(super) denied: BTreeMap<u64, DeniedRun>,
    /// Own changes that are in no item may not all be in the document.
    pub(super) unsealed_is_due: bool,
    /// Runs in one batch: fewer after a batch that failed, so that the run at fault is found.
    pub(super) batch_runs: usize,
    /// Runs on which the engine panicked once.
    pub(super) suspects: BTreeSet<u64>,
    /// Every item up to this order is applied, to be looked at, or waits.
    upto: u64,
    /// Bytes of items applied since the view was saved.
    pub(super) unsaved: usize,
    bytes: usize,
    used: u64,
}

/// Runs to look at; the first of them are in memory, the others only in the store.
#[derive(Debug, Default)]
pub(super) struct Queue {
    runs: BTreeMap<u64, Option<Item>>,
    bytes: usize,
}

impl Queue {
    pub(super) fn insert(&mut self, order: u64, item: Option<Item>) {
        let fits = |i: &Item| self.bytes + i.bytes().len() <= limits::QUEUED_BYTES_PER_DOCUMENT_MAX;
        let item = item.filter(fits);
        self.bytes += item.as_ref().map_or(0, |i| i.bytes().len());
        if let Some(Some(old)) = self.runs.insert(order, item) {
            self.bytes -= old.bytes().len();
        }
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Option<Item>)> {
        let (order, item) = self.runs.pop_first()?;
        self.bytes -= item.as_ref().map_or(0, |i| i.bytes().len());
        Some((order, item))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// A document as it was saved.
struct LoadedView {
    document: Document,
    upto: u64,
    waiting: BTreeSet<u64>,
    bytes: usize,
}

impl OpenDocument {
    fn new(view: LoadedView) -> Self {
        let LoadedView { document, upto, bytes, .. } = view;
        Self {
            document,
            past: None,
            shadow: Shadow::default(),
            queue: Queue::default(),
            waiting: Waiting::default(),
            aside: Aside::default(),
            denied: BTreeMap::new(),
            unsealed_is_due: true,
            batch_runs: usize::MAX,
            suspects: BTreeSet::new(),
            upto,
            unsaved: 0,
            bytes,
            used: 0,
        }
    }

    /// A local change of this many bytes is in memory.
    pub(super) fn count_change(&mut self, raw_bytes: usize) {
        self.bytes += raw_bytes * 2;
        self.unsaved += raw_bytes;
        self.shadow.count(1);
    }

    /// An item is in the document.
    pub(super) fn count_item(&mut self, item: &Item) {
        self.unsaved += item.bytes().len();
        self.bytes += item.bytes().len() * MEMORY_FACTOR;
    }

    /// Bytes of received runs that are in memory until they are looked at.
    #[cfg(feature = "test-util")]
    pub(super) fn queued_bytes(&self) -> usize {
        self.queue.bytes
    }

    pub(super) fn memory(&self) -> usize {
        let lists = self.waiting.memory() + self.aside.memory() + self.queue.bytes;
        self.bytes + self.past.as_ref().map_or(0, Past::memory) + lists
    }

    /// Up to which order every item is in the document, except these.
    fn applied(&self) -> (u64, Vec<u64>) {
        let open: BTreeSet<u64> =
            self.queue.runs.keys().copied().chain(self.waiting.orders()).chain(self.aside.orders()).collect();
        // What follows the first one that is not known here is looked at again.
        let upto = self.waiting.spilled_from().map_or(self.upto, |from| self.upto.min(from - 1));
        (upto, open.into_iter().filter(|order| *order <= upto).collect())
    }
}

impl<S: Store> Replica<S> {
    /// Reads a document as it is now.
    ///
    /// # Errors
    /// [`ReplicaError::UnknownDocument`] if no charter here names it, [`ReplicaError::Locked`] if it is in a protected
    /// space that is locked.
    pub fn view<R>(&mut self, doc: &DocId, f: impl FnOnce(&View<'_>) -> R) -> Result<R, ReplicaError> {
        Ok(f(&self.opened(doc)?.document.view()))
    }

    /// Reads a document with its history.
    pub fn document<R>(&mut self, doc: &DocId, f: impl FnOnce(&Document) -> R) -> Result<R, ReplicaError> {
        Ok(f(&self.opened(doc)?.document))
    }

    /// How many stored runs of a document wait for something that is missing; own changes that are in no run yet and wait, too,
    /// count as one.
    pub fn waiting_runs(&mut self, doc: &DocId) -> Result<usize, ReplicaError> {
        let open = self.opened(doc)?;
        let more = usize::from(open.waiting.spilled_from().is_some());
        Ok(open.queue.runs.len() + open.waiting.len() + more + usize::from(open.unsealed_is_due))
    }

    /// Runs of a document that are kept and not shown, because their authors may not write what they write, oldest first.
    pub fn denied_runs(&mut self, doc: &DocId) -> Result<Vec<DeniedRun>, ReplicaError> {
        Ok(self.opened(doc)?.denied.values().cloned().collect())
    }

    /// Lets a run in that its author's rights do not, on all devices.
    ///
    /// # Errors
    /// [`ReplicaError::Denied`] unless this device is an officer's.
    pub fn release_run(&mut self, now: Now, doc: &DocId, run: &ItemId) -> Result<(), ReplicaError> {
        let (map, key) = (Path::default().join(RELEASED), run.to_string());
        self.edit(now, doc, None, |edit| {
            if edit.view().get(&map).is_none() {
                edit.put_map(&map)?;
            }
            edit.put(&map.join(key), true)
        })?;
        Ok(())
    }

    /// Who wrote in a document under which actor id, as far as their items are here.
    pub fn authors(&self, doc: &DocId) -> BTreeMap<ActorId, Author> {
        let space = self.space_of(doc);
        let chains = self.held.keys().chain(self.covered.keys()).filter(|chain| Some(chain.space) == space);
        let authors = chains.map(|chain| chain.author).chain([self.own_author()]);
        authors.map(|a| (ActorId::derive(doc, &a.device, &a.session), a)).collect()
    }

    /// 16 random bytes, by the seed that this replica was opened with: for ids of what an app creates.
    pub fn draw(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// What this device's member is to a document now; `None` if the charter does not know the device.
    pub fn author_now(&self, doc: &DocId) -> Option<AuthorAt> {
        self.branch_charter(&self.space_of(doc)?)?.author_now(&self.device, doc)
    }

    /// The name of a document's schema, if it has one that this app knows and can read.
    pub fn schema_of(&self, doc: &DocId) -> Option<&'static str> {
        let space = self.space_of(doc)?;
        self.authority(&space).schema(doc).ok().flatten().map(|schema| schema.name)
    }

    /// How many stored runs of a document were written without the right to (after a removal, a role change or a
    /// revoke) and are not in it, because nothing accepted builds on them.
    pub fn set_aside_runs(&mut self, doc: &DocId) -> Result<usize, ReplicaError> {
        Ok(self.opened(doc)?.aside.len())
    }

    /// Documents that are open now.
    pub fn open_documents(&self) -> impl Iterator<Item = &DocId> {
        self.open.keys()
    }

    /// Closes a document: its view is saved.
    pub fn close_document(&mut self, doc: &DocId) -> Result<(), ReplicaError> {
        self.save_view(doc)?;
        self.open.remove(doc);
        Ok(())
    }

    /// The actor under which this device writes a document in this session.
    pub(super) fn actor(&self, doc: &DocId) -> ActorId {
        ActorId::derive(doc, &self.device, &self.session)
    }

    pub(super) fn opened(&mut self, doc: &DocId) -> Result<&mut OpenDocument, ReplicaError> {
        self.must_be_unlocked(doc)?;
        if !self.open.contains_key(doc) {
            self.space_of(doc).ok_or(ReplicaError::UnknownDocument(*doc))?;
            let opened = self.load_document(doc)?;
            self.open.insert(*doc, opened);
            self.advance(doc, false)?;
            self.evict(doc)?;
        }
        self.uses += 1;
        let uses = self.uses;
        let open = self.open.get_mut(doc).ok_or(ReplicaError::UnknownDocument(*doc))?;
        open.used = uses;
        Ok(open)
    }

    pub(super) fn load_document(&mut self, doc: &DocId) -> Result<OpenDocument, ReplicaError> {
        let actor = self.actor(doc).0;
        let empty =
            || LoadedView { document: Document::new(actor), upto: 0, waiting: BTreeSet::new(), bytes: 0 };
        let mut view = self.load_view(doc, actor)?.unwrap_or_else(empty);
        let waiting = std::mem::take(&mut view.waiting);
        let mut open = OpenDocument::new(view);
        if open.upto == 0
            && let Some(opened) = self.stored_snapshot(doc)?
        {
            let changes = opened.changes.into_iter().map(|a| a.change).collect();
            let applied = gate::guarded(Call::Apply, || open.document.apply(changes));
            applied.map_err(|e| DocumentError::Engine(e.to_string()))??;
            open.past = Some(opened.past);
        }
        let from = waiting.first().copied().unwrap_or(open.upto + 1).min(open.upto + 1);
        let upto = open.upto;
        self.log_orders(doc, from, |order| {
            if order > upto || waiting.contains(&order) {
                open.queue.insert(order, None);
                open.upto = open.upto.max(order);
            }
        })?;
        Ok(open)
    }

    /// The orders of a document's items, from one on.
    pub(super) fn log_orders(
        &self,
        doc: &DocId,
        from: u64,
        mut f: impl FnMut(u64),
    ) -> Result<(), StoreError> {
        self.store.read(|tx| {
            let end = schema::prefix_end(&doc.0);
            tx.scan(Table::DocumentLog, &schema::doc_order_key(doc, from), end.as_deref(), &mut |k, _| {
                f(schema::order_from(&k[16..])?);
                Ok(ControlFlow::Continue(()))
            })
        })
    }

    fn load_view(&self, doc: &DocId, actor: [u8; 16]) -> Result<Option<LoadedView>, StoreError> {
        if self.is_protected_document(doc) {
            return Ok(None);
        }
        let Some(bytes) = self.store.read(|tx| tx.get(Table::Views, &doc.0))? else { return Ok(None) };
        let mut r = Reader::new(&bytes);
        let mut read = || {
            let upto = r.u64("order")?;
            let n = r.count(usize::MAX, 8, "waiting")?;
            let waiting = (0..n).map(|_| r.u64("order")).collect::<Result<BTreeSet<_>, _>>()?;
            Ok::<_, dinh_proto::error::InvalidMessage>((
                upto,
                waiting,
                r.text(usize::MAX, "schema")?,
                r.rest(),
            ))
        };
        // A view is only a cache: if it does not read, or the app knows other rules now, the document is made from its items.
        let Ok((upto, waiting, schema, saved)) = read() else { return Ok(None) };
        if schema != self.schema_of(doc).unwrap_or_default() {
            return Ok(None);
        }
        let loaded = gate::guarded(Call::Load, || Document::load(saved, actor));
        let bytes = saved.len() * SAVED_MEMORY_FACTOR;
        Ok(loaded.ok().and_then(Result::ok).map(|document| LoadedView { document, upto, waiting, bytes }))
    }

    pub(super) fn save_view(&mut self, doc: &DocId) -> Result<(), ReplicaError> {
        // Changes that are in no item yet are not saved here: a view that ends in the middle of the run that they
        // will become would not fit that run.
        if self.unsealed.contains_key(doc) {
            return Ok(());
        }
        // What is protected is on disk as items only: it is made again from them.
        if self.is_protected_document(doc) {
            return Ok(());
        }
        let schema = self.schema_of(doc);
        let Some(open) = self.open.get_mut(doc).filter(|o| o.unsaved > 0) else { return Ok(()) };
        let saved = gate::save(&open.document).and_then(|saved| {
            // No view takes the place of another before it was loaded back.
            if open.shadow.is_unchecked() {
                gate::reload(&open.document, &saved)?;
            }
            Ok(saved)
        });
        let saved = match saved {
            Ok(saved) => saved,
            Err(error) => {
                tracing::error!(%doc, %error, "the document does not save: it is made again from its items");
                open.unsaved = 0;
                return if open.shadow.always { Ok(()) } else { self.rebuild(doc) };
            }
        };
        open.shadow.checked();
        let mut out = Vec::new();
        let (upto, waiting) = open.applied();
        out.put_u64(upto);
        out.put_uleb(waiting.len() as u64);
        waiting.iter().for_each(|order| out.put_u64(*order));
        out.put_blob(schema.unwrap_or_default().as_bytes());
        out.put_bytes(&saved);
        open.unsaved = 0;
        let mut batch = Batch::default();
        batch.put(Table::Views, doc.0, out);
        batch.commit(&mut self.store)?;
        Ok(())
    }

    /// Saves the views of open documents, so that they open quickly next time.
    pub fn save_views(&mut self) -> Result<(), ReplicaError> {
        let docs: Vec<DocId> = self.open.keys().copied().collect();
        docs.iter().try_for_each(|doc| self.save_view(doc))
    }

    /// Closes the least recently used documents while the open ones take too much memory. `keep` stays.
    pub(super) fn evict(&mut self, keep: &DocId) -> Result<(), ReplicaError> {
        while self.open.values().map(OpenDocument::memory).sum::<usize>()
            > self.config.open_documents_bytes_max
        {
            let candidates = self.open.iter().filter(|(doc, _)| *doc != keep);
            let Some(oldest) = candidates.min_by_key(|(_, o)| o.used).map(|(doc, _)| *doc) else { break };
            self.flush_typing_as_typed(&oldest)?;
            self.save_view(&oldest)?;
            self.open.remove(&oldest);
        }
        Ok(())
    }

    /// A stored run for an open document.
    pub(super) fn add_pending(&mut self, doc: &DocId, order: u64, item: &Item) {
        if let Some(open) = self.open.get_mut(doc) {
            open.upto = open.upto.max(order);
            open.queue.insert(order, Some(item.clone()));
        }
    }

    /// An own run whose changes are in the open document already.
    pub(super) fn add_applied(&mut self, doc: &DocId, order: u64, bytes: usize) {
        if let Some(open) = self.open.get_mut(doc) {
            open.upto = open.upto.max(order);
            open.unsaved += bytes;
        }
    }

    /// Queues an event; when too many wait, those of a document shrink to one.
    pub(super) fn push_event(&mut self, event: Event) {
        let is_full = self.events.len() >= self.config.events_max;
        // Bug: the queue for an app that does not listen grows for ever.
        #[cfg(feature = "canary")]
        let is_full = is_full && !dinh_proto::canary::is_planted("queue-unbounded");
        if is_full {
            match event {
                Event::DocumentChanged { doc, .. } | Event::DocumentReset { doc } => {
                    if self.reset_events.insert(doc) {
                        self.events.push_back(Event::DocumentReset { doc });
                    }
                    return;
                }
                Event::Presence { .. } => return,
                _ => {}
            }
        }
        // After a reset is queued for a document, patches say nothing that reading it again does not.
        if let Event::DocumentChanged { doc, .. } = &event
            && self.reset_events.contains(doc)
        {
            return;
        }
        if let Event::DocumentReset { doc } = &event
            && !self.reset_events.insert(*doc)
        {
            return;
        }
        self.events.push_back(event);
    }
}
