//! Stored runs that their authors had no right to write any more: made after a removal, a role change or a revoke that
//! the author may not have known of. Such a run is in the document if, and only if, an accepted change builds on it;
//! so nobody can date anything back, and nothing is lost that others worked on.

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::ids::{ActorId, ChangeHash};
use dinh_proto::limits;

use super::waiting::Need;

#[derive(Debug)]
struct AsideRun {
    actor: ActorId,
    last: u64,
    hashes: Vec<ChangeHash>,
    /// Its chain does not (yet) lead to it from what a removal names: its author may have written something else under
    /// this number.
    is_apart: bool,
}

/// The runs of one document that count only if they are built on.
#[derive(Debug, Default)]
pub(super) struct Aside {
    runs: BTreeMap<u64, AsideRun>,
    by_change: BTreeMap<ChangeHash, u64>,
    by_number: BTreeMap<(ActorId, u64), u64>,
    /// Something accepted builds on these.
    built_on: BTreeSet<u64>,
}

impl Aside {
    pub(super) fn is_built_on(&self, order: u64) -> bool {
        self.built_on.contains(&order)
    }

    /// The hash of an actor's change with this number, if the run that ends with it is here.
    pub(super) fn last_hash(&self, actor: ActorId, seq: u64) -> Option<ChangeHash> {
        let run = self.runs.get(self.by_number.get(&(actor, seq))?)?;
        run.hashes.last().copied()
    }

    /// A run is put aside. Returns what others may wait for.
    pub(super) fn insert(
        &mut self,
        order: u64,
        actor: ActorId,
        last: u64,
        hashes: Vec<ChangeHash>,
        is_apart: bool,
    ) -> Vec<Need> {
        if self.runs.len() >= limits::WAITING_RUNS_PER_DOCUMENT_MAX {
            tracing::warn!(
                "too many runs of a document were written without the right to: one is passed over"
            );
            return Vec::new();
        }
        self.by_number.insert((actor, last), order);
        let mut needs = if is_apart { Vec::new() } else { vec![Need::Number(actor, last)] };
        for hash in &hashes {
            self.by_change.insert(*hash, order);
            needs.push(Need::Change(*hash));
        }
        self.runs.insert(order, AsideRun { actor, last, hashes, is_apart });
        needs
    }

    /// An accepted run lacks this. If it is here, the run that holds it counts, with what its author wrote before it:
    /// their orders, to be looked at.
    pub(super) fn build_on(&mut self, need: Need) -> Vec<u64> {
        let found = match need {
            Need::Change(hash) => self.by_change.get(&hash),
            Need::Number(actor, seq) => self.by_number.get(&(actor, seq)),
            Need::Key(..) | Need::Release(_) => None,
        };
        let Some(run) = found.and_then(|order| self.runs.get(order)) else { return Vec::new() };
        if run.is_apart && matches!(need, Need::Number(..)) {
            return Vec::new();
        }
        let (actor, last) = (run.actor, run.last);
        let earlier: Vec<u64> =
            self.by_number.range((actor, 0)..=(actor, last)).map(|(_, order)| *order).collect();
        for order in &earlier {
            self.built_on.insert(*order);
            if let Some(run) = self.runs.remove(order) {
                self.by_number.remove(&(run.actor, run.last));
                run.hashes.iter().for_each(|hash| {
                    self.by_change.remove(hash);
                });
            }
        }
        earlier
    }

    pub(super) fn orders(&self) -> impl Iterator<Item = u64> {
        self.runs.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    pub(super) fn memory(&self) -> usize {
        self.runs.len() * 128 + self.by_change.len() * 96
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_on_counts_with_all_that_its_author_wrote_before() {
        let (actor, hash) = (ActorId([1; 16]), |n: u8| ChangeHash([n; 32]));
        let mut aside = Aside::default();
        aside.insert(10, actor, 2, vec![hash(1), hash(2)], false);
        aside.insert(11, actor, 3, vec![hash(3)], false);
        aside.insert(12, actor, 4, vec![hash(4)], false);
        let other = ActorId([2; 16]);
        aside.insert(13, other, 1, vec![hash(9)], true);
        assert_eq!(aside.last_hash(actor, 3), Some(hash(3)));
        assert_eq!(aside.build_on(Need::Change(hash(7))), []);
        assert_eq!(aside.build_on(Need::Change(hash(3))), [10, 11]);
        assert!(aside.is_built_on(10) && !aside.is_built_on(12));
        assert_eq!(aside.orders().collect::<Vec<_>>(), [12, 13]);
        assert_eq!(aside.build_on(Need::Number(actor, 4)), [12]);
        assert_eq!(aside.build_on(Need::Number(other, 1)), [], "its author may have written something else");
        assert_eq!(aside.build_on(Need::Change(hash(9))), [13]);
        assert_eq!(aside.len(), 0);
    }
}
