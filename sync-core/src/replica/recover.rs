//! Two phones restored from one backup write under one session until one of them learns of the other. The relay
//! keeps what came first; the other phone writes its own part again in a new session. Nothing is lost.

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::error::RejectCode;
use dinh_proto::ids::{ActorId, ChangeHash, DocId, SessionId};
use dinh_proto::item::{Item, Kind};
use rand_chacha::rand_core::RngCore;

use super::event::Refuser;
use super::schema::{self, Batch, ItemKey};
use super::{Event, Outgoing, Replica, ReplicaError};
use crate::document::{Document, reauthor};
use crate::gate;
use crate::store::{Store, StoreError, Table};

impl<S: Store> Replica<S> {
    /// Goes on in a new session: new chains, new actors. Own changes that are in no item yet are written again.
    pub(super) fn leave_session(&mut self, batch: &mut Batch) {
        let mut session = SessionId::default();
        self.rng.fill_bytes(&mut session.0);
        self.session = session;
        batch.put(Table::Meta, schema::META_SESSION, session.0);
        let docs: Vec<DocId> = self.open.keys().copied().collect();
        for doc in docs {
            let actor = self.actor(&doc).0;
            if let Some(open) = self.open.get_mut(&doc) {
                open.document.set_actor(actor);
            }
        }
    }

    /// An item of the current session was refused for good. It and what follows it in its chain are taken back;
    /// their content is written again in a new session, except that of the refused document if the refusal was
    /// about its content or the right to write it: that goes to quarantine.
    pub(super) fn recover(&mut self, key: ItemKey, code: RejectCode, detail: &str) -> Result<(), ReplicaError> {
        let mut batch = Batch::default();
        self.take_back(key, code, detail, true, &mut batch)?;
        batch.commit(&mut self.store)?;
        Ok(())
    }

    /// As [`Replica::recover`], for an item of an earlier session.
    pub(super) fn recover_older(
        &mut self,
        key: ItemKey,
        code: RejectCode,
        detail: &str,
        mut batch: Batch,
    ) -> Result<(), ReplicaError> {
        self.take_back(key, code, detail, false, &mut batch)?;
        batch.commit(&mut self.store)?;
        Ok(())
    }

    fn take_back(
        &mut self,
        key: ItemKey,
        code: RejectCode,
        detail: &str,
        current: bool,
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        let rewrite_all = matches!(code, RejectCode::Fork | RejectCode::BadLink);
        let mut items = Vec::new();
        for n in key.n..=self.tips.get(&key.chain).map_or(0, |t| t.n) {
            let Some(item) = self.read_item(&key.chain, n)? else { continue };
            // What the relay has acknowledged, or another copy of this store has made, is not ours to take back.
            if n == key.n || self.outbox_ids.contains_key(&item.id()) {
                items.push(item);
            }
        }
        let refused_doc = items.first().map(|i| i.header().doc);
        let mut docs: BTreeMap<DocId, Vec<Item>> = BTreeMap::new();
        let mut records = Vec::new();
        for item in items {
            self.forget_item(&item, batch)?;
            match item.header().kind {
                Kind::Charter => records.push(item),
                Kind::Run | Kind::Snapshot => docs.entry(item.header().doc).or_default().push(item),
            }
        }
        let old_session = key.chain.author.session;
        if current {
            // Changes that are in no item yet carry the old session's actor too.
            self.unsealed.keys().for_each(|doc| {
                docs.entry(*doc).or_default();
            });
            self.leave_session(batch);
        }
        let mut rewritten = 0;
        for (doc, runs) in docs {
            let keep_out = !rewrite_all && refused_doc == Some(doc);
            rewritten += self.rewrite_document(&doc, &runs, old_session, keep_out, (code, detail), batch)?;
        }
        if !records.is_empty() {
            self.rewrite_records(&records, rewrite_all, (code, detail), batch)?;
        }
        self.counters.recoveries += 1;
        let session = self.session;
        tracing::info!(?session, rewritten, ?code, "own items were refused: written again in a new session");
        self.push_event(Event::Recovered { session, changes: rewritten });
        Ok(())
    }

    /// Takes an item out of its chain, its document's log and the outbox.
    fn forget_item(&mut self, item: &Item, batch: &mut Batch) -> Result<(), ReplicaError> {
        let chain = item.header().chain();
        let n = item.header().n().unwrap_or_default();
        let key = ItemKey { chain, n };
        batch.delete(Table::Items, key.to_bytes());
        let mut held = self.held.remove(&chain).unwrap_or_default();
        held = held.minus(&std::iter::once(n).collect());
        let newest = held.max();
        if held.is_empty() {
            batch.delete(Table::Held, schema::chain_key(&chain));
            self.tips.remove(&chain);
        } else {
            batch.put(Table::Held, schema::chain_key(&chain), super::ranges_bytes(&held));
            let tip = self.read_item(&chain, newest)?.ok_or(StoreError::Corrupt("newest item"))?;
            self.tips.insert(chain, super::Tip { n: newest, link: tip.id().link() });
            self.held.insert(chain, held);
        }
        if !self.covered.get(&chain).is_some_and(|c| c.contains(n)) {
            self.change_sum(chain.space, batch, |sum| sum.remove(&item.id()));
        }
        if let Some(order) = self.outbox_ids.remove(&item.id()) {
            self.outbox.remove(&order);
            batch.delete(Table::Outbox, order.to_be_bytes());
        }
        if let Some(link) = &mut self.link {
            link.extras.retain(|(k, _)| *k != key);
        }
        Ok(())
    }

    /// Rebuilds a document without the runs that were taken back, and writes their changes again (or keeps them
    /// out). Returns how many changes were written again.
    fn rewrite_document(
        &mut self,
        doc: &DocId,
        runs: &[Item],
        old_session: SessionId,
        keep_out: bool,
        (code, detail): (RejectCode, &str),
        batch: &mut Batch,
    ) -> Result<usize, ReplicaError> {
        let old_actor = ActorId::derive(doc, &self.device, &old_session);
        let unsealed = self.unsealed.remove(doc).unwrap_or_default();
        for (seq, _, _) in &unsealed {
            batch.delete(Table::Unsealed, schema::unsealed_key(doc, *seq));
        }
        let refused: BTreeSet<Vec<u8>> = runs
            .iter()
            .map(|i| ItemKey { chain: i.header().chain(), n: i.header().n().unwrap_or_default() }.to_bytes())
            .collect();
        for (key, value) in self.store.read(|tx| schema::entries(tx, Table::DocumentLog, &doc.0))? {
            if refused.contains(&value) {
                batch.delete(Table::DocumentLog, key);
            }
        }
        batch.delete(Table::Views, doc.0);
        self.open.remove(doc);
        self.tails.remove(doc);
        // The base: everything in the store but the refused runs. It is rebuilt here, as the store still has them.
        std::mem::take(batch).commit(&mut self.store)?;
        let base: ChangeHash = match runs.first() {
            Some(first) if first.header().first_seq > 1 => {
                let known = self.document(doc, |d: &Document| d.actor_tip(&old_actor.0))?;
                ChangeHash(*known.ok_or(StoreError::Corrupt("own change before a refused run"))?.1.as_bytes())
            }
            _ => ChangeHash::default(),
        };
        let mut before = (base != ChangeHash::default()).then_some(base);
        let mut raw = Vec::new();
        for run in runs {
            for (hash, bytes) in gate::open_own_run(run.header(), run.payload(), before.as_ref())? {
                before = Some(hash);
                raw.push(bytes);
            }
            if keep_out {
                self.quarantine(run.bytes(), code, detail, batch);
                let id = run.id();
                let event = Event::Refused { id, code, by: Refuser::Relay, detail: detail.to_owned() };
                self.push_event(event);
            }
        }
        raw.extend(unsealed.into_iter().map(|(_, _, raw)| raw));
        if keep_out {
            self.push_event(Event::DocumentReset { doc: *doc });
            return Ok(0);
        }
        let new_actor = self.actor(doc);
        let mut previous = None;
        let written = reauthor(&raw, old_actor.0, new_actor.0)?;
        for change in &written {
            let seq = u32::try_from(change.seq).unwrap_or(u32::MAX);
            let before: Option<ChangeHash> = previous;
            let value = [&before.unwrap_or_default().0[..], &change.raw].concat();
            batch.put(Table::Unsealed, schema::unsealed_key(doc, seq), value);
            self.unsealed.entry(*doc).or_default().push((seq, before, change.raw.clone()));
            previous = Some(ChangeHash(*change.hash.as_bytes()));
        }
        self.open.remove(doc);
        self.push_event(Event::DocumentReset { doc: *doc });
        Ok(written.len())
    }

    /// Issues this device's charter records again in the new session's chain.
    fn rewrite_records(
        &mut self,
        records: &[Item],
        rewrite_all: bool,
        (code, detail): (RejectCode, &str),
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        std::mem::take(batch).commit(&mut self.store)?;
        self.space_branch.clear();
        self.charters.clear();
        self.load_charters()?;
        for (i, item) in records.iter().enumerate() {
            let issued = (rewrite_all || i > 0).then(|| self.issue(item.header().space, item.payload(), batch));
            match issued {
                Some(Ok(())) => {}
                Some(Err(ReplicaError::Store(e))) => return Err(e.into()),
                Some(Err(_)) | None => {
                    self.quarantine(item.bytes(), code, detail, batch);
                    let id = item.id();
                    self.push_event(Event::Refused { id, code, by: Refuser::Relay, detail: detail.to_owned() });
                }
            }
        }
        Ok(())
    }

    /// What is still to be sent of a document.
    pub(super) fn has_unsent(&self, doc: &DocId) -> bool {
        self.unsealed.contains_key(doc)
            || self.outbox.values().any(|e| match e.what {
                Outgoing::Item(key) => self.space_of(doc) == Some(key.chain.space),
                Outgoing::Snapshot(other) => other == *doc,
            })
    }
}
