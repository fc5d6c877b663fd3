//! Frontiers, to look up in. Each look-up takes logarithmic time, however many records say something about one device.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::record::{Frontier, Reason, Role};
use crate::ids::{Author, DeviceId, ItemId, SpaceId};

type Link = [u8; 16];
type Chain = (SpaceId, Author);

/// Where an item stands in its author's chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) space: SpaceId,
    pub(super) author: Author,
    pub(super) n: u32,
    pub(super) link: Link,
}

impl Position {
    fn chain(&self) -> Chain {
        (self.space, self.author)
    }
}

/// How a position lies to a frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Within,
    Beyond,
    /// Another item than the one that the frontier's issuer had under this counter.
    Other,
}

/// One frontier.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Marks(BTreeMap<Chain, (u32, Link)>);

impl Marks {
    /// Those of a frontier that `about` picks.
    pub(super) fn of(frontier: &Frontier, about: impl Fn(&SpaceId, &Author) -> bool) -> Self {
        let picked = frontier.0.iter().filter(|m| about(&m.space, &m.author));
        Self(picked.map(|m| ((m.space, m.author), (m.n, m.link))).collect())
    }

    /// Everything before this item of its chain, and nothing else.
    pub(super) fn before(at: &Position, link_before: Link) -> Self {
        let before = (at.n > 1).then(|| (at.chain(), (at.n - 1, link_before)));
        Self(before.into_iter().collect())
    }

    /// What is named of a chain.
    pub(super) fn named(&self, chain: &Chain) -> Option<(u32, Link)> {
        self.0.get(chain).copied()
    }

    pub(super) fn side(&self, at: &Position) -> Side {
        match self.0.get(&at.chain()) {
            Some((n, _)) if at.n < *n => Side::Within,
            Some((n, link)) if at.n == *n => {
                if *link == at.link {
                    Side::Within
                } else {
                    Side::Other
                }
            }
            _ => Side::Beyond,
        }
    }
}

/// What lies within at least one of several frontiers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AnyOf(BTreeMap<Chain, (u32, BTreeSet<Link>)>);

impl AnyOf {
    pub(super) fn add(&mut self, marks: &Marks) {
        for (chain, (n, link)) in &marks.0 {
            let (highest, links) = self.0.entry(*chain).or_default();
            if *n > *highest {
                links.clear();
                *highest = *n;
            }
            if *n == *highest {
                links.insert(*link);
            }
        }
    }

    /// What is named of a chain.
    pub(super) fn named(&self, chain: &Chain) -> impl Iterator<Item = (u32, Link)> {
        self.0.get(chain).into_iter().flat_map(|(n, links)| links.iter().map(|link| (*n, *link)))
    }

    pub(super) fn holds(&self, at: &Position) -> bool {
        let found = self.0.get(&at.chain());
        found.is_some_and(|(n, links)| at.n < *n || (at.n == *n && links.contains(&at.link)))
    }
}

/// What lies within all of several frontiers; everything if there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AllOf(Option<BTreeMap<Chain, (u32, Option<Link>)>>);

impl AllOf {
    pub(super) fn add(&mut self, marks: &Marks) {
        let Some(held) = &mut self.0 else {
            self.0 = Some(marks.0.iter().map(|(chain, (n, link))| (*chain, (*n, Some(*link)))).collect());
            return;
        };
        held.retain(|chain, (n, link)| {
            let Some((other, other_link)) = marks.0.get(chain) else { return false };
            if other < n {
                (*n, *link) = (*other, Some(*other_link));
            } else if other == n && link.is_none_or(|link| link == *other_link) {
                *link = Some(*other_link);
            } else if other == n {
                // Two histories at this place: both frontiers hold what is before it.
                (*n, *link) = (*n - 1, None);
            }
            *n > 0
        });
    }

    pub(super) fn holds(&self, at: &Position) -> bool {
        let Some(held) = &self.0 else { return true };
        let found = held.get(&at.chain());
        found.is_some_and(|(n, link)| at.n < *n || (at.n == *n && link.is_none_or(|link| link == at.link)))
    }
}

/// A removal that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemovalEffect {
    pub(super) issuer: DeviceId,
    pub(super) rank: u8,
    pub(super) reason: Reason,
    pub(super) marks: Marks,
    /// What readers of spaces that the issuer cannot read had received there.
    pub(super) attested: AnyOf,
}

impl RemovalEffect {
    pub(super) fn side(&self, at: &Position) -> Side {
        if self.attested.holds(at) { Side::Within } else { self.marks.side(at) }
    }
}

/// A role change that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoleEffect {
    pub(super) by: ItemId,
    pub(super) rank: u8,
    pub(super) generation: u32,
    pub(super) role: Role,
    pub(super) marks: Marks,
}

/// One place in a chain from which on a role change decides.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    n: u32,
    link: Link,
    role: Role,
}

/// The role changes of one device, the one that decides first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Roles {
    changes: Vec<RoleEffect>,
    /// By chain, the highest place first, and what holds before all of them: `None` is the certificate's role. Of the changes
    /// that decide later only those are of use that reach further back.
    steps: BTreeMap<Chain, (Vec<Step>, Option<Role>)>,
}

impl Roles {
    pub(super) fn add(&mut self, changes: Vec<RoleEffect>) {
        self.changes.extend(changes);
        self.changes.sort_by_key(|e| Reverse((e.generation, Reverse(e.rank), Reverse(e.by))));
        let mut by_chain: BTreeMap<Chain, Vec<(usize, u32, Link)>> = BTreeMap::new();
        for (i, change) in self.changes.iter().enumerate() {
            for (chain, (n, link)) in &change.marks.0 {
                by_chain.entry(*chain).or_default().push((i, *n, *link));
            }
        }
        self.steps = by_chain.into_iter().map(|(chain, marks)| (chain, self.steps_of(&marks))).collect();
    }

    fn steps_of(&self, marks: &[(usize, u32, Link)]) -> (Vec<Step>, Option<Role>) {
        let mut steps: Vec<Step> = Vec::new();
        // A change that says nothing of the chain decides about all of it that those before leave to it.
        let in_a_row = marks.iter().enumerate().take_while(|(at, (i, _, _))| at == i).count();
        for (i, n, link) in &marks[..in_a_row] {
            let (n, link) = (*n, *link);
            let reaches_back = match &steps[..] {
                [] => true,
                [.., before, last] if last.n == n && before.n == n => false,
                [.., last] => n < last.n || (n == last.n && link != last.link),
            };
            if reaches_back {
                steps.push(Step { n, link, role: self.changes[*i].role });
            }
        }
        (steps, self.changes.get(in_a_row).map(|e| e.role))
    }

    /// The role at a place, if it is not the certificate's.
    pub(super) fn at(&self, at: &Position) -> Option<Role> {
        let Some((steps, before)) = self.steps.get(&at.chain()) else { return self.now() };
        let holds_more = steps.partition_point(|s| s.n > at.n);
        let decides = steps[holds_more..].iter().find(|s| s.n < at.n || s.link != at.link);
        decides.map_or(*before, |s| Some(s.role))
    }

    /// The role now, if it is not the certificate's.
    pub(super) fn now(&self) -> Option<Role> {
        self.changes.first().map(|e| e.role)
    }

    pub(super) fn every(&self) -> impl Iterator<Item = Role> {
        self.changes.iter().map(|e| e.role)
    }
}

/// What counting records say about one device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Effects {
    /// By record.
    pub(super) removals: BTreeMap<ItemId, RemovalEffect>,
    kept: AllOf,
    pub(super) roles: Roles,
}

impl Effects {
    pub(super) fn remove(&mut self, by: ItemId, removal: RemovalEffect) {
        self.kept.add(&removal.marks);
        self.removals.insert(by, removal);
    }

    /// Whether a removal voids what stands there. What readers said later is not asked: it is about other spaces than the
    /// charter's.
    pub(super) fn is_cut(&self, at: &Position) -> bool {
        !self.kept.holds(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::charter::record::Mark;
    use crate::ids::SessionId;

    fn position(chain: u8, n: u32, link: u8) -> Position {
        let author = Author { device: DeviceId([1; 16]), session: SessionId([chain; 8]) };
        Position { space: SpaceId([2; 16]), author, n, link: [link; 16] }
    }

    fn marks() -> impl Strategy<Value = Marks> {
        proptest::collection::btree_map(0..3u8, (1..6u32, 0..3u8), 0..3).prop_map(|marks| {
            let mark = |(chain, (n, link))| {
                let at = position(chain, n, link);
                Mark { space: at.space, author: at.author, n, link: at.link }
            };
            Marks::of(&Frontier(marks.into_iter().map(mark).collect()), |_, _| true)
        })
    }

    fn everywhere() -> impl Iterator<Item = Position> {
        (0..3u8).flat_map(|c| (1..8u32).flat_map(move |n| (0..4u8).map(move |link| position(c, n, link))))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn looking_up_in_many_frontiers_is_asking_each(frontiers in proptest::collection::vec(marks(), 0..6)) {
            let (mut any, mut all) = (AnyOf::default(), AllOf::default());
            for marks in &frontiers {
                any.add(marks);
                all.add(marks);
            }
            let within = |m: &Marks, at: &Position| m.side(at) == Side::Within;
            for at in everywhere() {
                prop_assert_eq!(all.holds(&at), frontiers.iter().all(|m| within(m, &at)));
                prop_assert_eq!(any.holds(&at), frontiers.iter().any(|m| within(m, &at)));
            }
        }

        #[test]
        fn the_role_at_a_place_is_that_of_the_first_change_beyond_whose_frontier_it_lies(
            changes in proptest::collection::vec((marks(), 1..4u32, 0..3u8, 0..8usize), 0..7),
            split in 0..7usize,
        ) {
            let effect = |(i, (marks, generation, rank, role)): (usize, (Marks, u32, u8, usize))| RoleEffect {
                by: ItemId([i as u8; 32]), rank, generation, role: Role::ALL[role], marks,
            };
            let mut effects: Vec<RoleEffect> = changes.into_iter().enumerate().map(effect).collect();
            let mut roles = Roles::default();
            let (first, second) = effects.split_at(split.min(effects.len()));
            roles.add(first.to_vec());
            roles.add(second.to_vec());
            effects.sort_by_key(|e| (Reverse(e.generation), e.rank, e.by));
            for at in everywhere() {
                let expected = effects.iter().find(|e| e.marks.side(&at) != Side::Within).map(|e| e.role);
                prop_assert_eq!(roles.at(&at), expected, "{:?}", at);
            }
        }
    }
}
