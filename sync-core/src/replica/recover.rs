//! Two phones restored from one backup write under one session until one of them learns of the other. The relay
//! keeps what came first; the other phone writes its own part again in a new session. Nothing is lost.

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::charter::Listed;
use dinh_proto::charter::record::Record;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{ActorId, ChangeHash, DocId, ItemId, SessionId};
use dinh_proto::item::{Item, Kind};
use rand_chacha::rand_core::RngCore;

use super::event::Refuser;
use super::schema::{self, Batch, ItemKey};
use super::{Event, Outgoing, Replica, ReplicaError, Tip};
use crate::document::Document;
use crate::store::{Store, StoreError, Table};

/// Own runs of one document that are taken back, in the order in which they were made, with the hash of the own
/// change before them.
#[derive(Debug, Default)]
pub(super) struct TakenBack {
    pub(super) runs: Vec<Item>,
    pub(super) before: Option<ChangeHash>,
    /// Not to be written again: the refusal is about what it says, or the right to say it.
    pub(super) keep_out: bool,
}

impl<S: Store> Replica<S> {
    /// An item of this device was refused for good. It and what follows it in its chain are taken back; their
    /// content is written again in a new session, except that of the refused document if the refusal was about
    /// its content or the right to write it: that goes to quarantine. One transaction.
    /// `theirs` is what another copy of this store has in the chain from there on.
    pub(super) fn recover(
        &mut self,
        key: ItemKey,
        code: RejectCode,
        detail: &str,
        theirs: &[Item],
    ) -> Result<(), ReplicaError> {
        let rewrite_all = matches!(code, RejectCode::Fork | RejectCode::BadLink);
        let mut items = Vec::new();
        for n in key.n..=self.tips.get(&key.chain).map_or(0, |t| t.n) {
            let Some(item) = self.read_item(&key.chain, n)? else { continue };
            // What the relay has acknowledged, or another copy of this store has made, is not ours to take back.
            if self.outbox_ids.contains_key(&item.id()) {
                items.push(item);
            }
        }
        let refused_doc = items.first().filter(|i| i.header().n() == Some(key.n)).map(|i| i.header().doc);
        let mut batch = Batch::default();
        let mut taken: BTreeMap<DocId, TakenBack> = BTreeMap::new();
        let mut records = Vec::new();
        for item in items {
            let doc = item.header().doc;
            match item.header().kind {
                Kind::Charter => records.push(item.clone()),
                Kind::Run | Kind::Snapshot if taken.contains_key(&doc) => {}
                Kind::Run | Kind::Snapshot => {
                    let before = self.change_before(&item)?;
                    let keep_out = !rewrite_all && refused_doc == Some(doc);
                    taken.insert(doc, TakenBack { runs: Vec::new(), before, keep_out });
                }
            }
            if let Some(back) = taken.get_mut(&doc) {
                back.runs.push(item.clone());
            }
            self.forget_item(&item, &mut batch)?;
        }
        // A refusal for want of a right says nothing of another copy.
        let fork = rewrite_all.then_some(key);
        let changes = self.change_session(taken, fork, (code, detail), &mut batch)?;
        let said: Vec<&[u8]> = theirs.iter().map(Item::payload).collect();
        records.retain(|record| !said.contains(&record.payload()));
        self.reissue(&records, rewrite_all, (code, detail), &mut batch)?;
        batch.commit(&mut self.store)?;
        let docs = self.unsealed.keys().copied().collect();
        self.drop_rewritten(&docs)?;
        self.counters.recoveries += 1;
        let session = self.session;
        tracing::info!(?session, changes, ?code, "own items were refused: written again in a new session");
        self.push_event(Event::Recovered { session, changes });
        Ok(())
    }

    /// Goes on in a new session (new chains, new actors) because somebody has an item of this session that this
    /// store never made.
    pub(super) fn leave_session(&mut self, batch: &mut Batch) -> Result<(), ReplicaError> {
        self.change_session(BTreeMap::new(), None, (RejectCode::Fork, ""), batch)?;
        self.counters.recoveries += 1;
        Ok(())
    }

    /// Changes that are in no item yet carry the old session's actor: they are written again too (those that are locked:
    /// when they are unlocked). `fork` is where another copy of this store has an item that is not here yet.
    pub(super) fn change_session(
        &mut self,
        mut taken: BTreeMap<DocId, TakenBack>,
        fork: Option<ItemKey>,
        refusal: (RejectCode, &str),
        batch: &mut Batch,
    ) -> Result<usize, ReplicaError> {
        let old = self.session;
        let mut session = SessionId::default();
        self.rng.fill_bytes(&mut session.0);
        self.session = session;
        batch.put(Table::Meta, schema::META_SESSION, session.0);
        self.unsealed.keys().for_each(|doc| {
            taken.entry(*doc).or_default();
        });
        let mut rewritten = 0;
        for (doc, back) in &taken {
            let actor = ActorId::derive(doc, &self.device, &old);
            rewritten += self.rewrite_document(doc, back, actor, refusal, batch)?;
        }
        self.hold_rewritten(fork);
        for doc in self.open.keys().copied().collect::<Vec<_>>() {
            let actor = self.actor(&doc).0;
            if let Some(open) = self.open.get_mut(&doc) {
                open.document.set_actor(actor);
            }
        }
        Ok(rewritten)
    }

    /// The hash of the change that a run's author made in the document just before the run.
    fn change_before(&mut self, run: &Item) -> Result<Option<ChangeHash>, ReplicaError> {
        let header = run.header().clone();
        if header.first_seq <= 1 {
            return Ok(None);
        }
        let (actor, seq) = (header.actor().0, u64::from(header.first_seq) - 1);
        let found = self.document(&header.doc, |d: &Document| {
            d.history().into_iter().find(|c| c.actor == actor && c.seq == seq).map(|c| c.hash)
        })?;
        let found = found.map(|hash| ChangeHash(*hash.as_bytes()));
        // Its run may be kept and not be in the document: written without the right to, as it turned out.
        let hash = match found {
            Some(hash) => Some(hash),
            None => self.opened(&header.doc)?.aside.last_hash(header.actor(), seq),
        };
        Ok(Some(hash.ok_or(StoreError::Corrupt("own change before a refused run"))?))
    }

    /// Takes an item out of its chain and the outbox.
    pub(super) fn forget_item(&mut self, item: &Item, batch: &mut Batch) -> Result<(), ReplicaError> {
        let chain = item.header().chain();
        let n = item.header().n().unwrap_or_default();
        let key = ItemKey { chain, n };
        batch.delete(Table::Items, key.to_bytes());
        let held = self.held.remove(&chain).unwrap_or_default().minus(&std::iter::once(n).collect());
        self.tips.remove(&chain);
        if held.is_empty() {
            batch.delete(Table::Held, schema::chain_key(&chain));
        } else {
            batch.put(Table::Held, schema::chain_key(&chain), super::ranges_bytes(&held));
            let tip = self.received_item(&chain, held.max(), batch)?;
            let tip = tip.ok_or(StoreError::Corrupt("newest item"))?;
            self.tips.insert(chain, Tip { n: held.max(), link: tip.id().link() });
            self.held.insert(chain, held);
        }
        if !self.is_covered(&ItemKey { chain, n }) {
            self.change_sum(chain.space, batch, |sum| sum.remove(&item.id()));
        }
        self.leave_outbox(&item.id(), batch);
        if let Some(link) = &mut self.link {
            link.extras.retain(|e| e.key != key);
            link.extras_held_back.retain(|e| e.key != key);
        }
        Ok(())
    }

    /// Issues this device's charter records again in the new session's chain.
    fn reissue(
        &mut self,
        records: &[Item],
        rewrite_all: bool,
        (code, detail): (RejectCode, &str),
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        let ids: BTreeSet<ItemId> = records.iter().map(Item::id).collect();
        for branch in records.iter().map(|i| i.header().space).collect::<BTreeSet<_>>() {
            if let Some(charter) = self.charters.get_mut(&branch) {
                charter.remove(&ids);
            }
        }
        for (i, item) in records.iter().enumerate() {
            if self.has_said(item) {
                continue;
            }
            let issued =
                (rewrite_all || i > 0).then(|| self.issue(item.header().space, item.payload(), batch));
            match issued {
                Some(Ok(())) => {}
                Some(Err(ReplicaError::Store(e))) => return Err(e.into()),
                Some(Err(_)) | None => {
                    self.quarantine(item.bytes(), code, detail, batch);
                    let id = item.id();
                    self.push_event(Event::Refused {
                        id,
                        code,
                        by: Refuser::Relay,
                        detail: detail.to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether another copy of this store has issued the same record: two say no more than one, and the second may be refused.
    fn has_said(&self, item: &Item) -> bool {
        let Ok(record) = Record::decode(item.payload()) else { return false };
        let Some(charter) = self.charters.get(&item.header().space) else { return false };
        let is_same =
            |there: Listed<'_>| there.counts && there.author.device == self.device && *there.record == record;
        charter.records().any(is_same)
    }

    /// Whether items of an earlier session of this device are still unanswered in a document: what was written
    /// after them builds on them, and must not leave before they are settled.
    pub(super) fn has_unsettled(&self, doc: &DocId) -> bool {
        let space = self.space_of(doc);
        let rewritten = || self.unsealed.get(doc).is_some_and(|u| u.iter().any(|u| u.stands_for.is_some()));
        if self.rewritten_wait() && rewritten() {
            return true;
        }
        self.outbox.values().any(|e| match e.what {
            Outgoing::Item(key) => {
                Some(key.chain.space) == space
                    && key.chain.author.device == self.device
                    && key.chain.author.session != self.session
            }
            Outgoing::Snapshot(_) => false,
        })
    }

    /// Whether anything of a document is still to be sent.
    pub(super) fn has_unsent(&self, doc: &DocId) -> bool {
        let space = self.space_of(doc);
        self.unsealed.contains_key(doc)
            || self.outbox.values().any(|e| match e.what {
                Outgoing::Item(key) => Some(key.chain.space) == space,
                Outgoing::Snapshot(other) => other == *doc,
            })
    }
}
