//! From stored runs to the document: each run is judged when what it builds on is there; those that pass are tried
//! on a copy of the document, in batches. A batch that fails is halved until the run at fault is alone; it goes to
//! quarantine, and nothing else is affected.

use std::fmt;

use dinh_proto::charter::Standing;
use dinh_proto::ids::{ChangeHash, DocId};
use dinh_proto::item::Item;

use super::aside::Aside;
use super::documents::{DeniedRun, OpenDocument};
use super::event::Origin;
use super::keys::BranchAuthority;
use super::schema::{self, Batch, ItemKey};
use super::waiting::Need;
use super::{Event, Outgoing, Replica, ReplicaError};
use crate::document::{self, Document};
use crate::gate::rights::{Denied, Rights};
use crate::gate::{self, Admitted, Authority, Call, GateError, Mark, Past};
use crate::store::{Store, StoreError, Table};

/// Applied bytes after which an open document's view is saved when the replica is idle.
const VIEW_EVERY_BYTES: usize = 64 * 1024;
/// Changes in one batch, about: its copy of the document is in memory beside the document.
const BATCH_CHANGES: usize = 2_048;

/// Runs that passed the rules, to be applied together.
struct Plan {
    runs: Vec<(u64, Item)>,
    changes: Vec<automerge::Change>,
    refused: Vec<(u64, Item, GateError)>,
    /// The past before them.
    mark: Mark,
}

enum Verdict {
    /// Its changes are in the document.
    Applied,
    Waits(Need),
    /// Its author may not write what it writes.
    Denied(Denied),
    /// It counts only if something accepted builds on it.
    Aside(Vec<Need>),
    /// Its author never had the right, or the charter cuts it off: it stays stored.
    Passed,
    Refused(GateError),
    Passes(Vec<Admitted>),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied => write!(f, "is in the document"),
            Self::Waits(need) => write!(f, "waits for {need:?}"),
            Self::Denied(denied) => write!(f, "denied: {denied}"),
            Self::Aside(_) => write!(f, "set aside"),
            Self::Passed => write!(f, "does not count"),
            Self::Refused(error) => write!(f, "refused: {error}"),
            Self::Passes(_) => write!(f, "passes"),
        }
    }
}

impl<S: Store> Replica<S> {
    /// Applies what can be applied to an open document, and tells the app if `tell`.
    pub(super) fn advance(&mut self, doc: &DocId, tell: bool) -> Result<(), ReplicaError> {
        // While it is worked on, it is not open: if this fails, it is read again from the store.
        let Some(mut open) = self.open.remove(doc) else { return Ok(()) };
        self.advance_open(doc, &mut open, tell)?;
        let save = open.unsaved >= VIEW_EVERY_BYTES;
        self.open.insert(*doc, open);
        if save {
            self.save_view(doc)?;
        }
        Ok(())
    }

    fn advance_open(&mut self, doc: &DocId, open: &mut OpenDocument, tell: bool) -> Result<(), ReplicaError> {
        loop {
            while !open.queue.is_empty() {
                if open.past.is_none() {
                    match learned(&open.document) {
                        Ok(past) => open.past = Some(past),
                        Err(error) if open.shadow.always => return Err(error.into()),
                        Err(error) => {
                            tracing::error!(%doc, %error, "a saved document breaks a rule: made again from its items");
                            *open = self.emptied(doc)?;
                            self.push_event(Event::DocumentReset { doc: *doc });
                            continue;
                        }
                    }
                }
                self.advance_by_a_batch(doc, open, tell)?;
            }
            if let Some(from) = open.waiting.take_spilled() {
                self.log_orders(doc, from, |order| {
                    if !open.waiting.contains(order) {
                        open.queue.insert(order, None);
                    }
                })?;
                continue;
            }
            self.apply_unsealed(doc, open)?;
            if open.queue.is_empty() {
                return Ok(());
            }
        }
    }

    fn advance_by_a_batch(
        &mut self,
        doc: &DocId,
        open: &mut OpenDocument,
        tell: bool,
    ) -> Result<(), ReplicaError> {
        let Some(past) = &mut open.past else { return Ok(()) };
        let mut plan = Plan { runs: Vec::new(), changes: Vec::new(), refused: Vec::new(), mark: past.mark() };
        let (queue, waiting, aside) = (&mut open.queue, &mut open.waiting, &mut open.aside);
        let mut applied = Vec::new();
        let mut denials = Vec::new();
        let mut judged = 0;
        while plan.runs.len() < open.batch_runs && plan.changes.len() < BATCH_CHANGES {
            let Some((order, item)) = queue.pop() else { break };
            let Some(item) = item.map_or_else(|| self.logged_item(doc, order), |i| Ok(Some(i)))? else {
                continue;
            };
            judged += 1;
            let verdict = judge(past, aside, &self.authority(&item.header().space), order, &item);
            tracing::trace!(%doc, order, author = ?item.header().author, n = item.header().n(), %verdict, "a run is judged");
            match verdict {
                Verdict::Applied => applied.push(item),
                Verdict::Waits(need) => {
                    waiting.insert(order, need);
                    aside.build_on(need).into_iter().for_each(|o| queue.insert(o, None));
                }
                Verdict::Denied(denied) => {
                    waiting.insert(order, Need::Release(item.id()));
                    let run = DeniedRun { id: item.id(), author: item.header().author, denied };
                    if open.denied.insert(order, run.clone()).is_none() {
                        denials.push(run);
                    }
                }
                Verdict::Aside(needs) => {
                    let woken = needs.into_iter().flat_map(|need| waiting.wake(need));
                    woken.for_each(|o| queue.insert(o, None));
                }
                Verdict::Passed => {}
                Verdict::Refused(error) => plan.refused.push((order, item, error)),
                Verdict::Passes(admitted) => {
                    for change in admitted {
                        let came = [Need::Change(change.hash), Need::Number(change.actor, change.seq)];
                        let released = change.releases.iter().map(|id| Need::Release(*id));
                        came.into_iter()
                            .chain(released)
                            .flat_map(|n| waiting.wake(n))
                            .for_each(|o| queue.insert(o, None));
                        plan.changes.push(change.change);
                    }
                    open.denied.remove(&order);
                    plan.runs.push((order, item));
                }
            }
        }
        self.counters.judged += judged;
        for run in denials.into_iter().filter(|_| tell) {
            let DeniedRun { id, author, denied } = run;
            self.push_event(Event::RunDenied {
                doc: *doc,
                id,
                device: author.device,
                why: denied.to_string(),
            });
        }
        applied.iter().for_each(|item| open.count_item(item));
        let Plan { runs, changes, mut refused, mark } = plan;
        let ops = open.past.as_ref().map_or(0, Past::ops);
        let outcome =
            if runs.is_empty() { None } else { Some(open.shadow.apply(&open.document, changes, ops)) };
        match outcome {
            None => {}
            Some(Ok((document, patches))) => {
                open.document = document;
                runs.iter().for_each(|(_, item)| open.count_item(item));
                open.batch_runs = open.batch_runs.saturating_mul(2);
                if tell && !patches.is_empty() {
                    self.push_event(Event::DocumentChanged { doc: *doc, origin: Origin::Remote, patches });
                }
            }
            Some(Err(error)) => {
                if let Some(past) = &mut open.past {
                    past.rollback(mark);
                }
                tracing::error!(%doc, %error, runs = runs.len(), "the document engine does not bear what passed the rules");
                open.batch_runs = (runs.len() / 2).max(1);
                if runs.len() == 1 {
                    refused.extend(runs.into_iter().map(|(o, i)| (o, i, GateError::Shadow(error.clone()))));
                } else {
                    runs.into_iter().for_each(|(order, item)| open.queue.insert(order, Some(item)));
                }
            }
        }
        for (order, item, error) in refused {
            if self.is_forked(&item) {
                continue;
            }
            // A panic may have been the device's fault: a run gets a second try.
            if error.is_panic() && open.suspects.insert(order) {
                open.queue.insert(order, Some(item));
            } else {
                self.quarantine_run(doc, order, &item, &error)?;
            }
        }
        Ok(())
    }

    /// Whether an own run may follow one in whose place another copy of this store wrote something else, for which a snapshot
    /// stands. The relay's answer to that one says so, and then all are written again.
    fn is_forked(&self, run: &Item) -> bool {
        let (chain, n) = (run.header().chain(), run.header().n());
        let is_before = |what: &Outgoing| match what {
            Outgoing::Item(key) => key.chain == chain && Some(key.n) <= n && self.is_covered(key),
            Outgoing::Snapshot(_) => false,
        };
        chain.author.device == self.device && self.outbox.values().any(|entry| is_before(&entry.what))
    }

    /// The run under an order of a document's log, if it is there still.
    fn logged_item(&self, doc: &DocId, order: u64) -> Result<Option<Item>, StoreError> {
        self.store.read(|tx| {
            let Some(key) = tx.get(Table::DocumentLog, &schema::doc_order_key(doc, order))? else {
                return Ok(None);
            };
            let item = schema::item(tx, &ItemKey::from_bytes(&key)?)?;
            Ok(Some(item.ok_or(StoreError::Corrupt("item of a document"))?))
        })
    }

    /// Own changes that are in no item yet are in no log either. Queues what counts because they build on it.
    fn apply_unsealed(&mut self, doc: &DocId, open: &mut OpenDocument) -> Result<(), ReplicaError> {
        if !std::mem::take(&mut open.unsealed_is_due) {
            return Ok(());
        }
        let mark = open.past.as_ref().map(Past::mark);
        let mut changes: Vec<automerge::Change> = Vec::new();
        for unsealed in self.unsealed.get(doc).into_iter().flatten() {
            let change = document::parse_change(&unsealed.raw)?;
            let here = |hash: &automerge::ChangeHash| {
                open.document.contains(&(*hash).into()) || changes.iter().any(|c| c.hash() == *hash)
            };
            if here(&change.hash()) {
                continue;
            }
            let missing: Vec<_> = change.deps().iter().filter(|hash| !here(hash)).copied().collect();
            if !missing.is_empty() {
                // It was written again after another copy's changes, which are still to come; or on top of what does not count any
                // more by itself: it does if this counts.
                open.unsealed_is_due = true;
                if self.may_write(doc).is_ok() {
                    let needs = missing.into_iter().map(|hash| Need::Change(ChangeHash(hash.0)));
                    let built_on: Vec<u64> = needs.flat_map(|need| open.aside.build_on(need)).collect();
                    built_on.into_iter().for_each(|order| open.queue.insert(order, None));
                }
                break;
            }
            if let Some(past) = &mut open.past
                && let Err(error) = gate::learn(&unsealed.raw, past)
            {
                tracing::error!(%doc, %error, "an own change breaks a rule: it is kept out of the document");
                open.unsealed_is_due = true;
                break;
            }
            changes.push(change);
        }
        if changes.is_empty() {
            return Ok(());
        }
        let total = usize::try_from(open.document.max_op()).unwrap_or(usize::MAX);
        match open.shadow.apply(&open.document, changes, total) {
            Ok((document, _)) => open.document = document,
            Err(error) => {
                tracing::error!(%doc, %error, "own changes are kept out of the document");
                open.unsealed_is_due = true;
                if let (Some(past), Some(mark)) = (&mut open.past, mark) {
                    past.rollback(mark);
                }
            }
        }
        Ok(())
    }

    /// A document as it is before its first item, with all of them to look at and every check on.
    fn emptied(&mut self, doc: &DocId) -> Result<OpenDocument, ReplicaError> {
        let mut batch = Batch::default();
        batch.delete(Table::Views, doc.0);
        batch.commit(&mut self.store)?;
        let mut open = self.load_document(doc)?;
        open.shadow.always = true;
        Ok(open)
    }

    /// Makes a document again from its items, with every check on: what is wrong with it is found and put into
    /// quarantine.
    pub(super) fn rebuild(&mut self, doc: &DocId) -> Result<(), ReplicaError> {
        self.open.remove(doc);
        let open = self.emptied(doc)?;
        self.open.insert(*doc, open);
        self.push_event(Event::DocumentReset { doc: *doc });
        self.advance(doc, false)
    }
}

fn judge(
    past: &mut Past,
    aside: &mut Aside,
    authority: &BranchAuthority<'_>,
    order: u64,
    run: &Item,
) -> Verdict {
    let header = run.header();
    let actor = header.actor();
    let first = u64::from(header.first_seq);
    let last = first + u64::from(header.count) - 1;
    let tip = past.tip(&actor.0);
    let known = tip.map_or(0, |(seq, _)| seq);
    if known >= last {
        return Verdict::Applied;
    }
    let counts = match authority.standing(header, run.id().link()) {
        Ok(Standing::Accepted) => true,
        Ok(Standing::IfBuiltOn) => aside.is_built_on(order),
        Err(_) => return Verdict::Passed,
    };
    let before = if counts || known + 1 == first {
        tip.map(|(_, hash)| hash)
    } else {
        aside.last_hash(actor, first - 1)
    };
    if known + 1 < first && (counts || before.is_none()) {
        return Verdict::Waits(Need::Number(actor, first - 1));
    }
    if known + 1 > first {
        // A run is applied whole or not at all, so its author wrote these numbers twice.
        return Verdict::Refused(GateError::Mismatch("change numbers overlap"));
    }
    let opened = match gate::open_run(run, authority, before.as_ref()) {
        Ok(opened) => opened,
        Err(GateError::NoKey) => return Verdict::Waits(Need::Key(header.space, header.key_epoch)),
        Err(error) => return Verdict::Refused(error),
    };
    if !counts {
        let is_apart = authority.is_apart(header);
        return Verdict::Aside(aside.insert(order, actor, last, opened.hashes().collect(), is_apart));
    }
    if let Some(missing) = opened.missing(past) {
        return Verdict::Waits(Need::Change(missing));
    }
    let released = past.releases(&run.id());
    let rights = match authority.rights(header, run.id().link()) {
        Ok(rights) => rights.filter(|_| !released),
        Err(_) => return Verdict::Waits(Need::Key(header.space, header.key_epoch)),
    };
    match opened.admit(past, rights.as_ref()) {
        Ok(admitted) => Verdict::Passes(admitted),
        Err(GateError::Denied(denied)) => Verdict::Denied(denied),
        Err(error) => Verdict::Refused(error),
    }
}

/// The past of everything that is in a document.
fn learned(document: &Document) -> Result<Past, GateError> {
    learned_before(document, &[])
}

/// The same without one change.
fn learned_before(document: &Document, newest: &[u8]) -> Result<Past, GateError> {
    let mut past = Past::new();
    let changes = gate::guarded(Call::Rebuild, || document.changes_raw(&[]));
    for (_, raw) in changes?.into_iter().filter(|(_, raw)| raw != newest) {
        gate::learn(&raw, &mut past)?;
    }
    Ok(past)
}

impl OpenDocument {
    /// Whether a change that this device just made here would pass on every device.
    pub(super) fn check_own(&mut self, raw: &[u8], rights: Option<&Rights>) -> Result<(), GateError> {
        if rights.is_some() && self.past.is_none() {
            // The change is in the document already, and is to be judged after what was there before it.
            self.past = Some(learned_before(&self.document, raw)?);
        }
        let released = gate::check_own(raw, self.past.as_mut(), rights)?;
        for id in released {
            let woken = self.waiting.wake(Need::Release(id));
            woken.into_iter().for_each(|order| self.queue.insert(order, None));
        }
        Ok(())
    }
}
