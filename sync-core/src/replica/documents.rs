//! Documents in memory: opened from items when needed, closed under a memory cap.
//!
//! Received and applied are kept apart: an item is stored when it is received, and reaches its document when
//! what it builds on is there and the document is open.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dinh_proto::codec::{Reader, Write};
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{ActorId, ChangeHash, DocId};
use dinh_proto::item::{Header, Item};
use dinh_proto::limits;

use super::event::{Origin, Refuser};
use super::schema::{self, Batch, ItemKey};
use super::{Event, Replica, ReplicaError};
use crate::document::{self, Document, DocumentError, Patch, View};
use crate::gate::{self, Admitted, GateError};
use crate::store::{Store, StoreError, Table};

/// Applied bytes after which an open document's view is saved when the replica is idle.
const VIEW_EVERY_BYTES: usize = 64 * 1024;
/// What an applied byte of items is estimated to take in memory.
const MEMORY_FACTOR: usize = 8;
/// What a byte of a saved document is estimated to take in memory: measured 12 to 130, the more the longer the
/// history (Automerge 0.12: 4.8 KB saved, 54 KB live; 16 KB saved, 2.1 MB live).
const SAVED_MEMORY_FACTOR: usize = 32;

/// A run that is stored and not applied yet.
#[derive(Debug)]
struct Pending {
    header: Header,
    item: Item,
}

/// One document in memory.
#[derive(Debug)]
pub(super) struct OpenDocument {
    pub(super) document: Document,
    /// Stored runs that wait for what they build on, by order of arrival.
    pending: BTreeMap<u64, Pending>,
    /// Every item up to this order is applied or pending.
    upto: u64,
    /// Bytes of items applied since the view was saved.
    unsaved: usize,
    bytes: usize,
    used: u64,
}

/// A document as it was saved.
struct LoadedView {
    document: Document,
    upto: u64,
    waiting: Vec<u64>,
    bytes: usize,
}

impl LoadedView {
    fn empty(actor: [u8; 16]) -> Self {
        Self { document: Document::new(actor), upto: 0, waiting: Vec::new(), bytes: 0 }
    }
}

impl OpenDocument {
    /// A local change of this many bytes is in memory.
    pub(super) fn count_change(&mut self, raw_bytes: usize) {
        self.bytes += raw_bytes * 2;
        self.unsaved += raw_bytes;
    }
}

impl<S: Store> Replica<S> {
    /// Reads a document as it is now.
    ///
    /// # Errors
    /// [`ReplicaError::UnknownDocument`] if no charter here names it.
    pub fn view<R>(&mut self, doc: &DocId, f: impl FnOnce(&View<'_>) -> R) -> Result<R, ReplicaError> {
        Ok(f(&self.opened(doc)?.document.view()))
    }

    /// Reads a document with its history.
    pub fn document<R>(&mut self, doc: &DocId, f: impl FnOnce(&Document) -> R) -> Result<R, ReplicaError> {
        Ok(f(&self.opened(doc)?.document))
    }

    /// How many stored runs of a document wait for something that is missing.
    pub fn waiting_runs(&mut self, doc: &DocId) -> Result<usize, ReplicaError> {
        Ok(self.opened(doc)?.pending.len())
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

    fn load_document(&mut self, doc: &DocId) -> Result<OpenDocument, ReplicaError> {
        let actor = self.actor(doc).0;
        let view = self.load_view(doc, actor)?.unwrap_or_else(|| LoadedView::empty(actor));
        let LoadedView { mut document, mut upto, waiting, bytes: view_bytes } = view;
        let mut bytes = 0;
        if upto == 0
            && let Some(opened) = self.stored_snapshot(doc)?
        {
            apply(&mut document, opened.changes)?;
        }
        let mut pending = BTreeMap::new();
        let from = waiting.first().copied().unwrap_or(upto + 1).min(upto + 1);
        let mut keys = Vec::new();
        self.store.read(|tx| {
            let end = schema::prefix_end(&doc.0);
            tx.scan(Table::DocumentLog, &schema::doc_order_key(doc, from), end.as_deref(), &mut |k, v| {
                let order = schema::order_from(&k[16..])?;
                if order > upto || waiting.contains(&order) {
                    keys.push((order, ItemKey::from_bytes(v)?));
                }
                Ok(ControlFlow::Continue(()))
            })?;
            for (order, key) in &keys {
                let item = schema::item(tx, key)?.ok_or(StoreError::Corrupt("item of a document"))?;
                bytes += item.bytes().len();
                pending.insert(*order, Pending { header: item.header().clone(), item });
            }
            Ok(())
        })?;
        upto = upto.max(pending.last_key_value().map_or(0, |(order, _)| *order));
        let bytes = view_bytes + bytes * MEMORY_FACTOR;
        Ok(OpenDocument { document, pending, upto, unsaved: 0, bytes, used: 0 })
    }

    fn load_view(&self, doc: &DocId, actor: [u8; 16]) -> Result<Option<LoadedView>, StoreError> {
        let Some(bytes) = self.store.read(|tx| tx.get(Table::Views, &doc.0))? else { return Ok(None) };
        let mut r = Reader::new(&bytes);
        let mut read = || {
            let upto = r.u64("order")?;
            let n = r.count(usize::MAX, 8, "waiting")?;
            let waiting = (0..n).map(|_| r.u64("order")).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, dinh_proto::error::InvalidMessage>((upto, waiting, r.rest()))
        };
        // A view is only a cache: if it does not read, the document is made from its items.
        let Ok((upto, waiting, saved)) = read() else { return Ok(None) };
        let loaded = catch_unwind(AssertUnwindSafe(|| Document::load(saved, actor)));
        let bytes = saved.len() * SAVED_MEMORY_FACTOR;
        Ok(loaded.ok().and_then(Result::ok).map(|document| LoadedView { document, upto, waiting, bytes }))
    }

    fn save_view(&mut self, doc: &DocId) -> Result<(), ReplicaError> {
        // Changes that are in no item yet are not saved here: a view that ends in the middle of the run that they
        // will become would not fit that run.
        if self.unsealed.contains_key(doc) {
            return Ok(());
        }
        let Some(open) = self.open.get_mut(doc).filter(|o| o.unsaved > 0) else { return Ok(()) };
        let mut out = Vec::new();
        out.put_u64(open.upto);
        out.put_uleb(open.pending.len() as u64);
        open.pending.keys().for_each(|order| out.put_u64(*order));
        out.put_bytes(&open.document.save());
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
    fn evict(&mut self, keep: &DocId) -> Result<(), ReplicaError> {
        while self.open.values().map(|o| o.bytes).sum::<usize>() > self.config.open_documents_bytes_max {
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
            open.pending.insert(order, Pending { header: item.header().clone(), item: item.clone() });
        }
    }

    /// An own run whose changes are in the open document already.
    pub(super) fn add_applied(&mut self, doc: &DocId, order: u64, bytes: usize) {
        if let Some(open) = self.open.get_mut(doc) {
            open.upto = open.upto.max(order);
            open.unsaved += bytes;
        }
    }

    /// Applies what can be applied to an open document, in one batch, and tells the app if `tell`.
    pub(super) fn advance(&mut self, doc: &DocId, tell: bool) -> Result<(), ReplicaError> {
        let unsealed = self.unsealed.get(doc).map(|u| u.iter().map(|u| u.raw.clone()).collect::<Vec<_>>());
        let Some(open) = self.open.get_mut(doc) else { return Ok(()) };
        let mut plan = Plan::new(&open.document);
        let mut refused = Vec::new();
        loop {
            let mut progress = false;
            let orders: Vec<u64> = open.pending.keys().copied().collect();
            for order in orders {
                let Some(pending) = open.pending.get(&order) else { continue };
                match plan.admit(&open.document, pending) {
                    Verdict::Applied => {
                        open.unsaved += pending.item.bytes().len();
                        open.bytes += pending.item.bytes().len() * MEMORY_FACTOR;
                        open.pending.remove(&order);
                        progress = true;
                    }
                    Verdict::Wait => {}
                    Verdict::Refused(e) => {
                        refused.push((order, pending.item.clone(), e));
                        open.pending.remove(&order);
                        progress = true;
                    }
                }
            }
            if !progress {
                break;
            }
        }
        for raw in unsealed.into_iter().flatten() {
            let change = document::parse_change(&raw)?;
            let hash = ChangeHash(change.hash().0);
            if !open.document.contains(&hash.into()) {
                plan.changes.push(change);
            }
        }
        let outcome = if plan.changes.is_empty() {
            Ok(Vec::new())
        } else {
            apply_changes(&mut open.document, plan.changes)
        };
        let over = open.pending.len() > limits::PARKED_RUNS_PER_DOCUMENT_MAX;
        for (order, item, error) in refused {
            self.quarantine_run(doc, order, &item, &error)?;
        }
        if over {
            tracing::warn!(%doc, "many stored runs wait for what they build on");
        }
        match outcome {
            Ok(patches) if patches.is_empty() => {}
            Ok(patches) if tell => {
                self.push_event(Event::DocumentChanged { doc: *doc, origin: Origin::Remote, patches });
            }
            Ok(_) => {}
            Err(error) => {
                // Nothing admitted should do this: the document is dropped and made again from its items, and
                // what it cannot take is found one by one.
                tracing::error!(%doc, %error, "the document engine failed: the document is rebuilt");
                self.rebuild_one_by_one(doc)?;
            }
        }
        if self.open.get(doc).is_some_and(|o| o.unsaved >= VIEW_EVERY_BYTES) {
            self.save_view(doc)?;
        }
        Ok(())
    }

    /// Makes a document again from its items, each in a batch of its own: one that the engine fails on goes to
    /// quarantine.
    fn rebuild_one_by_one(&mut self, doc: &DocId) -> Result<(), ReplicaError> {
        let mut batch = Batch::default();
        batch.delete(Table::Views, doc.0);
        batch.commit(&mut self.store)?;
        self.open.remove(doc);
        let mut open = self.load_document(doc)?;
        let mut refused = Vec::new();
        loop {
            let mut progress = false;
            for order in open.pending.keys().copied().collect::<Vec<_>>() {
                let Some(pending) = open.pending.get(&order) else { continue };
                let mut plan = Plan::new(&open.document);
                let failed = match plan.admit(&open.document, pending) {
                    Verdict::Wait => continue,
                    Verdict::Refused(e) => Some(e),
                    Verdict::Applied => {
                        let mut copy = open.document.clone();
                        match apply_changes(&mut copy, plan.changes) {
                            Ok(_) => {
                                open.document = copy;
                                None
                            }
                            Err(e) => Some(GateError::Engine(e.to_string())),
                        }
                    }
                };
                if let (Some(error), Some(pending)) = (failed, open.pending.remove(&order)) {
                    refused.push((order, pending.item, error));
                }
                open.pending.remove(&order);
                progress = true;
            }
            if !progress {
                break;
            }
        }
        self.open.insert(*doc, open);
        for (order, item, error) in refused {
            self.quarantine_run(doc, order, &item, &error)?;
        }
        self.push_event(Event::DocumentReset { doc: *doc });
        Ok(())
    }

    /// Keeps a run that does not pass the gate out of its document, where the app can see it. The item itself
    /// stays in the store: other devices may judge by newer rules.
    fn quarantine_run(
        &mut self,
        doc: &DocId,
        order: u64,
        item: &Item,
        error: &GateError,
    ) -> Result<(), ReplicaError> {
        let mut batch = Batch::default();
        batch.delete(Table::DocumentLog, schema::doc_order_key(doc, order));
        self.quarantine(item.bytes(), RejectCode::Malformed, &error.to_string(), &mut batch);
        batch.commit(&mut self.store)?;
        self.counters.refused += 1;
        self.push_event(Event::Refused {
            id: item.id(),
            code: RejectCode::Malformed,
            by: Refuser::Device,
            detail: error.to_string(),
        });
        Ok(())
    }

    pub(super) fn quarantine(&mut self, bytes: &[u8], code: RejectCode, detail: &str, batch: &mut Batch) {
        let order = self.next_order(batch);
        let mut value = vec![code.to_wire()];
        value.put_blob(detail.as_bytes());
        value.put_bytes(bytes);
        batch.put(Table::Quarantine, order.to_be_bytes(), value);
    }

    /// Everything in quarantine: code, detail, bytes.
    pub fn quarantined(&self) -> Result<Vec<(RejectCode, String, Vec<u8>)>, ReplicaError> {
        let entries = self.store.read(|tx| schema::entries(tx, Table::Quarantine, &[]))?;
        let read = |value: &[u8]| {
            let mut r = Reader::new(value);
            let code = RejectCode::from_wire(r.u8("code")?)?;
            let detail = r.text(usize::MAX, "detail")?.to_owned();
            Ok::<_, dinh_proto::error::InvalidMessage>((code, detail, r.rest().to_vec()))
        };
        entries.iter().map(|(_, v)| read(v).map_err(|_| StoreError::Corrupt("quarantine").into())).collect()
    }

    /// Queues an event; when too many wait, those of a document shrink to one.
    pub(super) fn push_event(&mut self, event: Event) {
        if self.events.len() >= self.config.events_max {
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

enum Verdict {
    Applied,
    Wait,
    Refused(GateError),
}

/// Changes that will be applied together, with what the document will then know.
struct Plan {
    changes: Vec<automerge::Change>,
    hashes: std::collections::BTreeSet<ChangeHash>,
    tips: BTreeMap<ActorId, (u64, ChangeHash)>,
}

impl Plan {
    fn new(_document: &Document) -> Self {
        Self { changes: Vec::new(), hashes: std::collections::BTreeSet::new(), tips: BTreeMap::new() }
    }

    fn admit(&mut self, document: &Document, pending: &Pending) -> Verdict {
        let header = &pending.header;
        let actor = header.actor();
        let tip =
            self.tips.get(&actor).copied().or_else(|| {
                document.actor_tip(&actor.0).map(|(seq, hash)| (seq, ChangeHash(*hash.as_bytes())))
            });
        let first = u64::from(header.first_seq);
        let last = first + u64::from(header.count) - 1;
        let known = tip.map_or(0, |(seq, _)| seq);
        if known >= last {
            return Verdict::Applied;
        }
        if known + 1 < first {
            return Verdict::Wait;
        }
        if known + 1 > first {
            // A run is applied whole or not at all, so its author wrote these numbers twice.
            return Verdict::Refused(GateError::Mismatch("change numbers overlap"));
        }
        let before = tip.map(|(_, hash)| hash);
        let admitted = match gate::open_run(header, pending.item.payload(), before.as_ref()) {
            Ok(admitted) => admitted,
            Err(e) => return Verdict::Refused(e),
        };
        let own: std::collections::BTreeSet<ChangeHash> = admitted.iter().map(|a| a.hash).collect();
        let known = |dep: &ChangeHash| {
            own.contains(dep) || self.hashes.contains(dep) || document.contains(&(*dep).into())
        };
        if !admitted.iter().flat_map(|a| &a.deps).all(known) {
            return Verdict::Wait;
        }
        if let Some(newest) = admitted.last() {
            self.tips.insert(actor, (newest.seq, newest.hash));
        }
        self.hashes.extend(own);
        self.changes.extend(admitted.into_iter().map(|a| a.change));
        Verdict::Applied
    }
}

fn apply(document: &mut Document, admitted: Vec<Admitted>) -> Result<Vec<Patch>, DocumentError> {
    apply_changes(document, admitted.into_iter().map(|a| a.change).collect())
}

/// Applies in one batch; a panic of the engine becomes an error, after which the document must be dropped.
fn apply_changes(
    document: &mut Document,
    changes: Vec<automerge::Change>,
) -> Result<Vec<Patch>, DocumentError> {
    catch_unwind(AssertUnwindSafe(|| document.apply(changes)))
        .unwrap_or_else(|_| Err(DocumentError::Engine("it panicked".to_owned())))
}
