//! Reconcile: when the cursor is of no use (the relay was restored from a backup) or a checksum does not match,
//! both sides say what they have, and each sends what the other lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dinh_proto::ids::{Author, ChainId, SpaceId};
use dinh_proto::limits;
use dinh_proto::ranges::Ranges;
use dinh_proto::time::Timestamp;
use dinh_proto::wire::ChainSet;

use super::hall::of_space;
use super::link::Extra;
use super::schema::{Batch, ItemKey};
use super::{Outgoing, Replica, ReplicaError};
use crate::store::Store;

/// Reconciles that this device asked for: the pause before the next doubles while they do not help.
#[derive(Debug, Clone)]
pub(super) struct LastReconcile {
    pause: Duration,
    due: Option<Timestamp>,
    /// What did not match, and has not matched since: the relay names a space again only when something in it is new.
    spaces: BTreeSet<SpaceId>,
}

impl<S: Store> Replica<S> {
    pub(super) fn handle_have(&mut self, have: ChainSet) -> Result<(), ReplicaError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if have.space != SpaceId::default() {
            link.haves.entry(have.space).or_default().extend(have.chains);
        }
        if !have.last {
            return Ok(());
        }
        let haves = std::mem::take(&mut link.haves);
        let complete = std::mem::take(&mut link.have_is_complete);
        link.awaiting_have = false;
        let named: Vec<SpaceId> = haves.keys().copied().collect();
        let spaces = if complete { self.readable() } else { named };
        let nothing = BTreeMap::new();
        let (mut wants, mut settled) = (Vec::new(), Vec::new());
        for space in spaces {
            let theirs = haves.get(&space).unwrap_or(&nothing);
            let want = self.lacks(space, theirs);
            let lacks_nothing = want.is_empty();
            if !lacks_nothing {
                wants.push(ChainSet { space, last: false, chains: want });
            }
            self.offer_surplus(space, theirs);
            if lacks_nothing && !self.link.as_ref().is_some_and(|l| l.uploading.contains(&space)) {
                settled.push(space);
            }
        }
        let mut batch = Batch::default();
        self.change_recheck(&mut batch, |recheck| recheck.retain(|space| !settled.contains(space)));
        batch.commit(&mut self.store)?;
        let Some(link) = &mut self.link else { return Ok(()) };
        match wants.last_mut() {
            Some(last) => last.last = true,
            None => wants.push(ChainSet { space: SpaceId::default(), last: true, chains: Vec::new() }),
        }
        link.wanted.extend(wants.iter().filter(|w| !w.chains.is_empty()).map(|w| w.space));
        wants.into_iter().for_each(|w| link.session.want(w));
        Ok(())
    }

    /// What the relay has and this device has neither as items nor in a snapshot.
    fn lacks(&self, space: SpaceId, theirs: &BTreeMap<Author, Ranges>) -> Vec<(Author, Ranges)> {
        let waiting = self.waiting_items();
        let lack = |author: &Author, ranges: &Ranges| {
            let chain = ChainId { space, author: *author };
            let mut have = self.held.get(&chain).cloned().unwrap_or_default();
            // Of what is not acknowledged the relay may have another version, by a copy of this store.
            let unconfirmed = waiting.iter().filter(|key| key.chain == chain).map(|key| key.n).collect();
            have = have.minus(&unconfirmed);
            if let Some(covered) = self.covered.get(&chain) {
                have.extend(covered);
            }
            ranges.minus(&have)
        };
        theirs.iter().map(|(a, r)| (*a, lack(a, r))).filter(|(_, r)| !r.is_empty()).collect()
    }

    /// Items of the outbox.
    fn waiting_items(&self) -> BTreeSet<ItemKey> {
        let key = |what: &Outgoing| match what {
            Outgoing::Item(key) => Some(*key),
            Outgoing::Snapshot(_) => None,
        };
        self.outbox.values().filter_map(|e| key(&e.what)).collect()
    }

    /// Queues what this device holds and the relay lacks, in the order of chains. What is in the outbox is sent
    /// from there, after it.
    fn offer_surplus(&mut self, space: SpaceId, theirs: &BTreeMap<Author, Ranges>) {
        let waiting = self.waiting_items();
        let nothing = Ranges::default();
        let mut extras = Vec::new();
        for (chain, held) in of_space(&self.held, space) {
            let theirs = theirs.get(&chain.author).unwrap_or(&nothing);
            for n in held.minus(theirs).iter().flat_map(|(from, to)| from..=to) {
                let key = ItemKey { chain: *chain, n };
                if !waiting.contains(&key) {
                    let before_is_there = n == 1 || held.contains(n - 1) || theirs.contains(n - 1);
                    extras.push(Extra { key, bridged: !before_is_there, attempts: 0 });
                }
            }
        }
        if let Some(link) = &mut self.link
            && !extras.is_empty()
        {
            link.uploading.insert(space);
            link.extras.extend(extras);
        }
    }

    /// Checksums differ: asks what the relay has, unless that was just done. What differed before is forgotten unless it may
    /// still differ.
    pub(super) fn handle_mismatches(
        &mut self,
        now: Timestamp,
        spaces: &[SpaceId],
        may_differ: impl Fn(&SpaceId) -> bool,
    ) {
        if let Some(last) = &mut self.last_reconcile {
            last.spaces.retain(may_differ);
            if spaces.is_empty() && last.spaces.is_empty() {
                self.last_reconcile = None;
            }
        }
        if spaces.is_empty() {
            return;
        }
        self.counters.mismatches += 1;
        tracing::warn!(spaces = spaces.len(), "the checksum of what was received does not match the relay's");
        match &mut self.last_reconcile {
            None => {
                self.last_reconcile = Some(LastReconcile {
                    pause: limits::RECONCILE_AGAIN_AFTER,
                    due: None,
                    spaces: spaces.iter().copied().collect(),
                });
                self.ask_have(spaces.to_vec());
            }
            Some(last) => {
                last.due = Some(now + last.pause);
                last.pause = (last.pause * 2).min(Duration::from_secs(3_600));
                last.spaces.extend(spaces);
            }
        }
    }

    pub(super) fn reconcile_when_due(&mut self, now: Timestamp) {
        if !self.is_flowing() {
            return;
        }
        let Some(last) = &mut self.last_reconcile else { return };
        if last.due.is_some_and(|due| due <= now) {
            last.due = None;
            let spaces = last.spaces.iter().copied().collect();
            self.ask_have(spaces);
        }
    }

    pub(super) fn reconcile_timeout(&self) -> Option<Timestamp> {
        self.last_reconcile.as_ref().filter(|_| self.is_flowing())?.due
    }

    fn is_flowing(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.session.is_flowing())
    }

    pub(super) fn ask_have(&mut self, mut spaces: Vec<SpaceId>) {
        spaces.sort_unstable();
        self.counters.reconciles += 1;
        if let Some(link) = self.link.as_mut().filter(|l| l.session.is_flowing()) {
            link.session.reconcile(spaces);
        }
    }
}
