//! Stored runs that wait for what they build on, by what each lacks: so that a change that comes wakes those that
//! wait for it, and nothing is looked at twice without a reason. The runs themselves are in the store.

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::ids::{ActorId, ChangeHash, ItemId, KeyEpoch, SpaceId};
use dinh_proto::limits;

/// What a run lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A change.
    Change(ChangeHash),
    /// A change of an actor, by its number.
    Number(ActorId, u64),
    /// The key that its payload is encrypted under.
    Key(SpaceId, KeyEpoch),
    /// A change that lets it in: its author may not write what it writes.
    Release(ItemId),
}

impl Need {
    /// Eight bytes of it. If two needs have the same, a run is looked at once in vain.
    fn print(self) -> u64 {
        let first = |bytes: &[u8]| bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        match self {
            Self::Change(hash) => first(&hash.0),
            Self::Number(actor, seq) => first(&actor.0) ^ seq.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            Self::Key(space, epoch) => first(&space.0) ^ first(&epoch.0),
            Self::Release(item) => first(&item.0),
        }
    }
}

/// The runs of one document that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_need: BTreeSet<(u64, u64)>,
    by_order: BTreeMap<u64, u64>,
    /// Runs from here on may wait that are not known here: there were too many.
    spilled_from: Option<u64>,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.by_order.len()
    }

    /// A run waits. If too many do, the oldest is known only to the store from now on.
    pub(super) fn insert(&mut self, order: u64, need: Need) {
        let print = need.print();
        if let Some(old) = self.by_order.insert(order, print) {
            self.by_need.remove(&(old, order));
        }
        self.by_need.insert((print, order));
        if self.by_order.len() > limits::WAITING_RUNS_PER_DOCUMENT_MAX
            && let Some((oldest, print)) = self.by_order.pop_first()
        {
            self.by_need.remove(&(print, oldest));
            if self.spilled_from.is_none() {
                tracing::warn!("too many runs of a document wait for what they build on");
            }
            self.spilled_from = Some(self.spilled_from.map_or(oldest, |from| from.min(oldest)));
        }
    }

    /// Something came: takes out those that waited for it.
    pub(super) fn wake(&mut self, came: Need) -> Vec<u64> {
        let print = came.print();
        let woken: Vec<u64> =
            self.by_need.range((print, 0)..=(print, u64::MAX)).map(|(_, order)| *order).collect();
        for order in &woken {
            self.by_need.remove(&(print, *order));
            self.by_order.remove(order);
        }
        woken
    }

    /// If runs wait that are not known here and there is room for many: from where on to look for them.
    pub(super) fn take_spilled(&mut self) -> Option<u64> {
        if self.by_order.len() > limits::WAITING_RUNS_PER_DOCUMENT_MAX / 2 {
            return None;
        }
        self.spilled_from.take()
    }

    pub(super) fn spilled_from(&self) -> Option<u64> {
        self.spilled_from
    }

    pub(super) fn contains(&self, order: u64) -> bool {
        self.by_order.contains_key(&order)
    }

    pub(super) fn orders(&self) -> impl Iterator<Item = u64> {
        self.by_order.keys().copied()
    }

    /// About how much memory this takes, bytes.
    pub(super) fn memory(&self) -> usize {
        // Two entries of 16 bytes, in tree nodes that are at least half full.
        self.by_order.len() * 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: u64) -> Need {
        let mut hash = ChangeHash::default();
        hash.0[..8].copy_from_slice(&n.to_le_bytes());
        Need::Change(hash)
    }

    #[test]
    fn what_comes_wakes_those_that_waited_for_it_and_no_others() {
        let mut waiting = Waiting::default();
        waiting.insert(1, change(7));
        waiting.insert(2, change(8));
        waiting.insert(3, change(7));
        waiting.insert(4, Need::Number(ActorId([7; 16]), 3));
        assert_eq!(waiting.wake(change(9)), []);
        assert_eq!(waiting.wake(change(7)), [1, 3]);
        assert_eq!(waiting.wake(change(7)), []);
        assert_eq!(waiting.wake(Need::Number(ActorId([7; 16]), 2)), []);
        assert_eq!(waiting.wake(Need::Number(ActorId([7; 16]), 3)), [4]);
        assert_eq!(waiting.orders().collect::<Vec<_>>(), [2]);
        // Looked at again, it waits for something else.
        waiting.insert(2, change(10));
        assert_eq!((waiting.wake(change(8)), waiting.wake(change(10)), waiting.len()), (vec![], vec![2], 0));
    }

    #[test]
    fn the_oldest_are_left_to_the_store_and_looked_for_when_there_is_room() {
        let mut waiting = Waiting::default();
        let max = limits::WAITING_RUNS_PER_DOCUMENT_MAX as u64;
        (1..=max).for_each(|n| waiting.insert(n, change(n)));
        assert_eq!((waiting.len() as u64, waiting.spilled_from()), (max, None));
        (max + 1..=max + 5).for_each(|n| waiting.insert(n, change(n)));
        assert_eq!((waiting.len() as u64, waiting.spilled_from()), (max, Some(1)));
        assert!(!waiting.contains(5) && waiting.contains(6));
        assert_eq!(waiting.take_spilled(), None, "no room yet");
        (6..=max / 2 + 6).for_each(|n| assert_eq!(waiting.wake(change(n)), [n]));
        assert_eq!(waiting.take_spilled(), Some(1));
        assert_eq!(waiting.take_spilled(), None);
    }
}
