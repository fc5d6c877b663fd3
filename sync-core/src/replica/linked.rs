//! Chains of removed devices. A removal names the last item of each chain that its issuer had ([`Charter::last_seen`]),
//! and an earlier item counts by right only if the chain leads from that one down to it. Who stole the device's key can
//! sign others under the same counters, but none that lead there: where one of them took an honest item's place (only a
//! relay that lies hands it out), the honest one takes it back.
//!
//! What this device had received before it heard of the removal counts as it did, until it turns out to be another item
//! than the removal's issuer had: a relay cannot hide what was read here by withholding what lies between.

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::charter::Charter;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{ChainId, DeviceId, DocId};
use dinh_proto::item::{Item, Kind, Place};
use dinh_proto::ranges::Ranges;

use super::schema::{self, Batch, ItemKey};
use super::{Replica, ReplicaError};
use crate::store::{Store, Table};

type Link = [u8; 16];

/// What is known of removed devices' chains.
#[derive(Debug, Default)]
pub(super) struct Linked {
    /// What is here of each and does not lead to what removals name.
    apart: BTreeMap<ChainId, Ranges>,
    /// What was here before the first removal.
    before: BTreeMap<ChainId, Ranges>,
    /// Documents that had an item which another one took the place of.
    replaced: BTreeSet<DocId>,
    /// Chains to look at again: charters say something else of their devices, or a snapshot covers something else of them.
    due: BTreeSet<ChainId>,
    /// Chains of which what was here before is to be saved.
    unsaved: BTreeSet<ChainId>,
}

impl Linked {
    /// Whether an item may count by right, as far as its chain decides that.
    pub(super) fn holds(&self, chain: &ChainId, n: u32) -> bool {
        let within = |of: &BTreeMap<ChainId, Ranges>| of.get(chain).is_some_and(|found| found.contains(n));
        !within(&self.apart) || within(&self.before)
    }

    /// Whether what is here in this place of a removed device's chain may turn out not to be what the device had written.
    pub(super) fn may_give_way(&self, chain: &ChainId, n: u32) -> bool {
        self.apart.get(chain).is_some_and(|apart| apart.contains(n))
    }

    /// What a snapshot covers of a chain changed.
    pub(super) fn look_again(&mut self, chain: ChainId) {
        self.due.insert(chain);
    }

    pub(super) fn take_replaced(&mut self) -> BTreeSet<DocId> {
        std::mem::take(&mut self.replaced)
    }
}

/// The place that an item's chain has for it, and the item's link to the one before.
fn place_of(item: &Item) -> Option<(ChainId, u32, Link)> {
    match item.header().place {
        Place::Chain { n, prev } => Some((item.header().chain(), n, prev)),
        Place::Covers(_) => None,
    }
}

impl<S: Store> Replica<S> {
    pub(super) fn load_linked(&mut self) -> Result<(), ReplicaError> {
        for (key, value) in self.store.read(|tx| schema::entries(tx, Table::Before, &[]))? {
            self.linked.before.insert(schema::chain_from(&key)?, super::ranges_from(&value)?);
        }
        let removed: BTreeSet<DeviceId> =
            self.charters.values().flat_map(|c| c.removed().keys()).copied().collect();
        let due: Vec<ChainId> = self.chains_of(&removed).collect();
        self.linked.due.extend(due);
        self.relink_due(&Batch::default())
    }

    /// Chains of devices of which something is here.
    fn chains_of<'a>(&'a self, devices: &'a BTreeSet<DeviceId>) -> impl Iterator<Item = ChainId> + 'a {
        let here = self.held.keys().chain(self.covered.keys());
        here.filter(|chain| devices.contains(&chain.author.device)).copied()
    }

    /// A charter was `old` and is another one now: what is here of devices that it removes was here before.
    pub(super) fn vouch_for_received(&mut self, old: &Charter, changed: &BTreeSet<DeviceId>) {
        let branch = old.branch();
        let Some(new) = self.charters.get(&branch) else { return };
        let is_new =
            |device: &DeviceId| new.removed().contains_key(device) && !old.removed().contains_key(device);
        let chains: BTreeSet<ChainId> = self.chains_of(changed).collect();
        let removed =
            |c: &&ChainId| is_new(&c.author.device) && self.space_branch.get(&c.space) == Some(&branch);
        let before: Vec<_> = chains.iter().filter(removed).map(|chain| (*chain, self.here(chain))).collect();
        self.linked.unsaved.extend(before.iter().map(|(chain, _)| *chain));
        self.linked.before.extend(before);
        self.linked.due.extend(chains);
    }

    /// Looks at the chains that are due.
    pub(super) fn relink_due(&mut self, batch: &Batch) -> Result<(), ReplicaError> {
        let due = std::mem::take(&mut self.linked.due);
        due.iter().try_for_each(|chain| self.relink(chain, None, batch))
    }

    /// Counters of a chain that are here, or in a snapshot.
    fn here(&self, chain: &ChainId) -> Ranges {
        let mut here = self.held.get(chain).cloned().unwrap_or_default();
        here.extend(self.covered.get(chain).unwrap_or(&Ranges::default()));
        here
    }

    /// Says anew which items of a chain lead to what removals name. Those that do now and did not (apart from the one that
    /// was just received) are judged again.
    fn relink(&mut self, chain: &ChainId, received: Option<u32>, batch: &Batch) -> Result<(), ReplicaError> {
        let last_seen = self.last_seen(chain);
        if last_seen.is_empty() {
            self.linked.apart.remove(chain);
            return Ok(());
        }
        // One that waits, because it does not fit to another, may turn out to be the right one.
        self.parked_is_due |= !self.parked.is_empty();
        let here = self.here(chain);
        let mut linked = here.clone();
        for seen in &last_seen {
            // What lies beyond what its issuer saw is judged by the charter alone.
            let top = seen.iter().map(|(n, _)| *n).max().unwrap_or_default();
            let mut counts = Ranges::default();
            counts.insert_range(top.saturating_add(1), here.max());
            for (n, link) in seen {
                let is_here = match self.received_item(chain, *n, batch)? {
                    Some(item) => item.id().link() == *link,
                    // Whoever made the snapshot had it.
                    None => here.contains(*n),
                };
                if let Some((from, _)) = here.iter().find(|(a, b)| is_here && (*a..=*b).contains(n)) {
                    counts.insert_range(from, *n);
                }
            }
            linked = linked.intersection(&counts);
        }
        let before = self.linked.apart.insert(*chain, here.minus(&linked)).unwrap_or_default();
        let gained = before.intersection(&linked).minus(&received.into_iter().collect());
        if !gained.is_empty()
            && let Some(branch) = self.space_branch.get(&chain.space)
        {
            self.rejudge.entry(*branch).or_default().insert(chain.author.device);
        }
        Ok(())
    }

    fn last_seen(&self, chain: &ChainId) -> Vec<Vec<(u32, Link)>> {
        let charter = self.branch_charter(&chain.space);
        charter.map(|c| c.last_seen(&chain.space, &chain.author)).unwrap_or_default()
    }

    /// Whether what removals name leads to this very item. What another one of this chain says then is forged.
    pub(super) fn leads_to(&self, item: &Item, batch: &Batch) -> Result<bool, ReplicaError> {
        let Some((chain, n, _)) = place_of(item) else { return Ok(false) };
        // Its own chains a device knows better.
        if chain.author.device == self.device || !self.linked.apart.contains_key(&chain) {
            return Ok(false);
        }
        let link = item.id().link();
        let last_seen = self.last_seen(&chain);
        let named =
            |seen: &Vec<(u32, Link)>| seen.iter().all(|(top, _)| *top < n) || seen.contains(&(n, link));
        if last_seen.iter().any(|seen| seen.contains(&(n, link))) && last_seen.iter().all(named) {
            return Ok(true);
        }
        let within = last_seen.iter().flatten().any(|(top, _)| *top > n);
        if !within || self.linked.apart.get(&chain).is_some_and(|apart| apart.contains(n + 1)) {
            return Ok(false);
        }
        let next = self.received_item(&chain, n + 1, batch)?;
        Ok(next.and_then(|next| place_of(&next)).is_some_and(|(_, _, prev)| prev == link))
    }

    /// An item that leads to what a removal names is to be kept: what stands in these places and does not fit to it goes.
    pub(super) fn make_way(
        &mut self,
        chain: &ChainId,
        misfits: &[u32],
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        for n in misfits {
            if let Some(other) = self.received_item(chain, *n, batch)? {
                self.take_out(&other, RejectCode::Fork, batch)?;
            }
        }
        Ok(())
    }

    /// Takes another device's item out of its chain: this is not what that device has written there (if it was removed,
    /// by what removals name; else by the relay's log), or it does not count.
    pub(super) fn take_out(
        &mut self,
        item: &Item,
        code: RejectCode,
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        let Some((chain, n, _)) = place_of(item) else { return Ok(()) };
        let key = ItemKey { chain, n };
        tracing::warn!(id = ?item.id(), ?code, "an item is taken out of its chain");
        self.forget_item(item, batch)?;
        if let Some(before) = self.linked.before.get_mut(&chain) {
            *before = before.minus(&Ranges::from_iter([n]));
            self.linked.unsaved.insert(chain);
        }
        let doc = item.header().doc;
        if item.header().kind == Kind::Charter {
            self.change_charter(item, |charter| {
                charter.remove(&BTreeSet::from([item.id()]));
                Ok(true)
            })
            .map_err(ReplicaError::NotAuthorised)?;
        } else {
            self.drop_from_log(&doc, &BTreeSet::from([key.to_bytes()]), batch)?;
            batch.delete(Table::Views, doc.0);
            self.tails.remove(&doc);
            self.linked.replaced.insert(doc);
        }
        self.relink(&chain, None, batch)?;
        self.refuse(item.id(), item.bytes(), code, batch);
        Ok(())
    }

    /// An item of a chain was kept: others may lead to a removal's frontier by it.
    pub(super) fn relink_received(&mut self, item: &Item, batch: &Batch) -> Result<(), ReplicaError> {
        let Some((chain, n, _)) = place_of(item) else { return Ok(()) };
        self.relink(&chain, Some(n), batch)
    }

    /// What was here before removals goes to the store with them.
    pub(super) fn save_vouched(&mut self, batch: &mut Batch) {
        for chain in std::mem::take(&mut self.linked.unsaved) {
            match self.linked.before.get(&chain).filter(|before| !before.is_empty()) {
                Some(before) => {
                    batch.put(Table::Before, schema::chain_key(&chain), super::ranges_bytes(before));
                }
                None => batch.delete(Table::Before, schema::chain_key(&chain)),
            }
        }
    }
}
