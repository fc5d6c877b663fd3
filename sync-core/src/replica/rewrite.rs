//! Writing own changes again under a new session's actor, and giving that up for changes that another copy of this
//! store turns out to have sent: what both copies had when they parted must not be there twice.
//!
//! A rewritten change remembers the change that it stands for, and is not put into an item before the other copy's
//! items were received. When one of them brings the very change for which a rewritten one stands, the rewritten one
//! is dropped, and what was written after it is attached to the original.

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::error::RejectCode;
use dinh_proto::ids::{ActorId, ChangeHash, DocId, SessionId};
use dinh_proto::pack::RawChange;

use super::event::{LinkState, Refuser};
use super::recover::TakenBack;
use super::schema::{self, Batch, ItemKey};
use super::{Event, Replica, ReplicaError, Unsealed};
use crate::document::{Accepted, ChangeInfo, Document, HashPrefix, parse_change, reauthor_after};
use crate::gate;
use crate::store::{Store, StoreError, Table};

/// Until when rewritten changes wait.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hold {
    /// The connection on which the other copy was noticed: a later one that is caught up has brought everything.
    connection: u64,
    /// The item of the other copy that was noticed, if it was not received then.
    fork: Option<ItemKey>,
}

impl<S: Store> Replica<S> {
    pub(super) fn hold_rewritten(&mut self, fork: Option<ItemKey>) {
        // One that was noticed earlier may still be on its way.
        let fork = fork.or_else(|| self.hold.and_then(|h| h.fork));
        self.hold = Some(Hold { connection: self.connections, fork });
    }

    /// Whether items of another copy of this store may still come that hold what was rewritten.
    pub(super) fn rewritten_wait(&self) -> bool {
        let Some(hold) = self.hold else { return false };
        let received = |key: ItemKey| {
            self.held.get(&key.chain).is_some_and(|h| h.contains(key.n)) || self.is_covered(&key)
        };
        let here = self.connections > hold.connection || hold.fork.is_none_or(received);
        self.link_state != LinkState::Live || !here
    }

    /// After items were received and applied, or own changes rewritten: gives up rewritten changes whose originals, or
    /// others that stand for the same, are in the document.
    pub(super) fn drop_rewritten(&mut self, docs: &BTreeSet<DocId>) -> Result<(), ReplicaError> {
        let mut came = false;
        for doc in docs {
            came |= !self.accepted_originals(doc)?.is_empty();
        }
        if came {
            let mut batch = Batch::default();
            self.change_session(BTreeMap::new(), None, (RejectCode::Fork, ""), &mut batch)?;
            batch.commit(&mut self.store)?;
        }
        Ok(())
    }

    /// Changes that were locked away when a new session began are written again in it now.
    pub(super) fn rewrite_stale(&mut self) -> Result<(), ReplicaError> {
        let mut stale = Vec::new();
        for (doc, changes) in &self.unsealed {
            let Some(first) = changes.first() else { continue };
            let change = parse_change(&first.raw)?;
            let actor = change.actor_id().to_bytes().try_into().map(ActorId);
            let actor = actor.map_err(|_| StoreError::Corrupt("actor of an own change"))?;
            if actor != self.actor(doc) {
                stale.push((*doc, actor));
            }
        }
        if stale.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (doc, actor) in &stale {
            let nothing = TakenBack::default();
            self.rewrite_document(doc, &nothing, *actor, (RejectCode::Fork, ""), &mut batch)?;
        }
        self.hold_rewritten(None);
        batch.commit(&mut self.store)?;
        // The originals may have come in the meantime.
        self.drop_rewritten(&stale.into_iter().map(|(doc, _)| doc).collect())
    }

    /// The first rewritten changes that need not be sent: the document has what they stand for.
    fn accepted_originals(&mut self, doc: &DocId) -> Result<Vec<Accepted>, ReplicaError> {
        let rewritten: Vec<(HashPrefix, Vec<u8>)> = self
            .unsealed
            .get(doc)
            .into_iter()
            .flatten()
            .map_while(|u| u.stands_for.map(|prefix| (prefix, u.raw.clone())))
            .collect();
        if rewritten.is_empty() {
            return Ok(Vec::new());
        }
        // They are in the document too, and do not stand for themselves.
        let own = rewritten
            .iter()
            .map(|(_, raw)| Ok(RawChange::parse(raw).map_err(ReplicaError::TooLarge)?.hash))
            .collect::<Result<BTreeSet<[u8; 32]>, ReplicaError>>()?;
        // Only this device can say that a change stands for one of its own.
        let chains = self.held.keys().chain(self.covered.keys()).map(|chain| chain.author);
        let sessions: BTreeSet<SessionId> =
            chains.filter(|author| author.device == self.device).map(|author| author.session).collect();
        let actors: BTreeSet<[u8; 16]> =
            sessions.iter().map(|session| ActorId::derive(doc, &self.device, session).0).collect();
        self.document(doc, |d: &Document| {
            let mut there = BTreeMap::new();
            let by_this_device =
                |c: &ChangeInfo| actors.contains(&c.actor) && !own.contains(c.hash.as_bytes());
            for change in d.history().into_iter().filter(by_this_device) {
                let what = change.stands_for.unwrap_or_else(|| change.hash.prefix());
                there.entry(what).or_insert((change.actor, change.hash));
            }
            let accepted = rewritten.into_iter().map_while(|(stands_for, raw)| {
                let (actor, hash) = *there.get(&stands_for)?;
                Some(Accepted { raw, actor, hash })
            });
            accepted.collect()
        })
    }

    /// Takes runs, by their item keys, out of a document's log, also those that came with this batch.
    pub(super) fn drop_from_log(
        &self,
        doc: &DocId,
        gone: &BTreeSet<Vec<u8>>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let stored = self.store.read(|tx| schema::entries(tx, Table::DocumentLog, &doc.0))?;
        let stored = stored.iter().map(|(row, key)| (&row[..], &key[..]));
        let all = stored.chain(batch.puts(Table::DocumentLog));
        let rows: Vec<Vec<u8>> =
            all.filter(|(_, key)| gone.contains(*key)).map(|(row, _)| row.to_vec()).collect();
        rows.into_iter().for_each(|row| batch.delete(Table::DocumentLog, row));
        Ok(())
    }

    /// Writes the changes of taken-back runs, and those in no item yet, again under the new session's actor (or
    /// keeps them out). The document is closed: it is made again from what remains. Returns how many changes were
    /// written again.
    pub(super) fn rewrite_document(
        &mut self,
        doc: &DocId,
        back: &TakenBack,
        old_actor: ActorId,
        (code, detail): (RejectCode, &str),
        batch: &mut Batch,
    ) -> Result<usize, ReplicaError> {
        // Before taken-back runs nothing of the document was rewritten.
        let accepted = if back.runs.is_empty() { self.accepted_originals(doc)? } else { Vec::new() };
        let unsealed = self.unsealed.remove(doc).unwrap_or_default();
        for u in &unsealed {
            batch.delete(Table::Unsealed, schema::unsealed_key(doc, u.seq));
        }
        let gone: BTreeSet<Vec<u8>> = back
            .runs
            .iter()
            .map(|i| ItemKey { chain: i.header().chain(), n: i.header().n().unwrap_or_default() }.to_bytes())
            .collect();
        self.drop_from_log(doc, &gone, batch)?;
        batch.delete(Table::Views, doc.0);
        self.open.remove(doc);
        self.tails.remove(doc);
        let mut before = back.before;
        let mut raw = Vec::new();
        let mut actors = vec![old_actor.0];
        for run in &back.runs {
            for (hash, bytes) in
                gate::open_own_run(run, &self.authority(&run.header().space), before.as_ref())?
            {
                before = Some(hash);
                raw.push(bytes);
            }
            actors.push(run.header().actor().0);
        }
        raw.extend(unsealed.into_iter().skip(accepted.len()).map(|u| u.raw));
        self.push_event(Event::DocumentReset { doc: *doc });
        if back.keep_out {
            for run in &back.runs {
                self.quarantine(run.bytes(), code, detail, batch);
                let id = run.id();
                self.push_event(Event::Refused { id, code, by: Refuser::Relay, detail: detail.to_owned() });
            }
            return Ok(0);
        }
        let mut previous: Option<ChangeHash> = None;
        let written = reauthor_after(&accepted, &raw, &actors, self.actor(doc).0)?;
        for change in &written {
            let seq = u32::try_from(change.seq).unwrap_or(u32::MAX);
            let raw = change.raw.clone();
            tracing::trace!(%doc, hash = ?change.hash, stands_for = ?change.stands_for, "a change is written again");
            let unsealed = Unsealed { seq, before: previous, stands_for: Some(change.stands_for), raw };
            self.put_unsealed(doc, &unsealed, batch)?;
            self.unsealed.entry(*doc).or_default().push(unsealed);
            previous = Some(ChangeHash(*change.hash.as_bytes()));
        }
        Ok(written.len())
    }
}
