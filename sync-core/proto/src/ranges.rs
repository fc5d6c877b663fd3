//! Sets of counters as ranges: "what have you got" of one chain.

use std::collections::BTreeMap;

use crate::codec::{Reader, Write};
use crate::error::InvalidMessage;
use crate::limits;

/// A set of counters ≥ 1, kept as disjoint, non-adjacent, inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges(BTreeMap<u32, u32>);

impl Ranges {
    /// The set {1 … n}.
    pub fn up_to(n: u32) -> Self {
        if n == 0 { Self::default() } else { Self([(1, n)].into()) }
    }

    /// Adds one counter; false if it was in.
    pub fn insert(&mut self, n: u32) -> bool {
        if self.contains(n) {
            return false;
        }
        self.insert_range(n, n);
        true
    }

    /// Adds `from ..= to`.
    pub fn insert_range(&mut self, from: u32, to: u32) {
        if from == 0 || from > to {
            return;
        }
        let (mut from, mut to) = (from, to);
        while let Some((&a, &b)) = self.0.range(..=to.saturating_add(1)).next_back() {
            if b.saturating_add(1) < from {
                break;
            }
            self.0.remove(&a);
            from = from.min(a);
            to = to.max(b);
        }
        self.0.insert(from, to);
    }

    /// Whether `n` is in.
    pub fn contains(&self, n: u32) -> bool {
        self.0.range(..=n).next_back().is_some_and(|(_, &b)| b >= n)
    }

    /// The largest n such that 1 … n are all in; 0 if 1 is not.
    pub fn head(&self) -> u32 {
        self.0.get(&1).copied().unwrap_or(0)
    }

    /// The largest counter in the set, 0 if empty.
    pub fn max(&self) -> u32 {
        self.0.last_key_value().map_or(0, |(_, &b)| b)
    }

    /// How many counters are in.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(a, b)| u64::from(b - a) + 1).sum()
    }

    /// Whether nothing is in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges in order, inclusive.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().map(|(&a, &b)| (a, b))
    }

    /// What is in `self` and not in `other`.
    pub fn minus(&self, other: &Self) -> Self {
        let mut out = Self::default();
        for (mut from, to) in self.iter() {
            let before = other.0.range(..from).next_back().map(|(&a, &b)| (a, b));
            let inside = other.0.range(from..=to).map(|(&a, &b)| (a, b));
            for (a, b) in before.into_iter().chain(inside) {
                if b < from {
                    continue;
                }
                if a > from {
                    out.0.insert(from, a - 1);
                }
                from = b.saturating_add(1);
                if from > to || b == u32::MAX {
                    break;
                }
            }
            if from <= to {
                out.0.insert(from, to);
            }
        }
        out
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        for (a, b) in other.iter() {
            self.insert_range(a, b);
        }
    }

    /// `count ‖ (gap before, length - 1)…`, each LEB128; the gap is counted from the end of the range before.
    pub fn encode(&self, out: &mut impl Write) {
        out.put_uleb(self.0.len() as u64);
        let mut end = 0;
        for (a, b) in self.iter() {
            out.put_uleb(u64::from(a - end));
            out.put_uleb(u64::from(b - a));
            end = b;
        }
    }

    /// Reads what [`Ranges::encode`] wrote. Adjacent ranges are refused: there is one encoding of a set.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let n = r.count(limits::RANGES_PER_CHAIN_MAX, 2, "ranges")?;
        let mut out = BTreeMap::new();
        let mut end = 0u64;
        for i in 0..n {
            let gap = r.uleb_max(u64::from(u32::MAX), "range start")?;
            if gap < if i == 0 { 1 } else { 2 } {
                return Err(InvalidMessage::NotSorted("ranges"));
            }
            let from = end + gap;
            end = from + r.uleb_max(u64::from(u32::MAX), "range length")?;
            let too_large = |_| InvalidMessage::TooLarge { what: "range", limit: u64::from(u32::MAX) };
            out.insert(u32::try_from(from).map_err(too_large)?, u32::try_from(end).map_err(too_large)?);
        }
        Ok(Self(out))
    }
}

impl FromIterator<u32> for Ranges {
    fn from_iter<T: IntoIterator<Item = u32>>(iter: T) -> Self {
        let mut out = Self::default();
        for n in iter {
            out.insert(n);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(a in proptest::collection::vec(1u32..60, 0..40), b in proptest::collection::vec(1u32..60, 0..40)) {
            let (sa, sb): (BTreeSet<u32>, BTreeSet<u32>) = (a.iter().copied().collect(), b.iter().copied().collect());
            let (ra, rb): (Ranges, Ranges) = (a.iter().copied().collect(), b.iter().copied().collect());
            prop_assert_eq!(ra.len(), sa.len() as u64);
            prop_assert!((1..60).all(|n| ra.contains(n) == sa.contains(&n)));
            let minus: Ranges = sa.difference(&sb).copied().collect();
            prop_assert_eq!(ra.minus(&rb), minus);
            prop_assert_eq!(ra.intersection(&rb), sa.intersection(&sb).copied().collect::<Ranges>());
            let mut union = ra.clone();
            union.extend(&rb);
            prop_assert_eq!(union, sa.union(&sb).copied().collect::<Ranges>());
            prop_assert_eq!(ra.head(), (1..).take_while(|n| sa.contains(n)).count() as u32);
            let mut out = Vec::new();
            ra.encode(&mut out);
            let mut r = Reader::new(&out);
            prop_assert_eq!(Ranges::decode(&mut r).unwrap(), ra);
            r.finish("ranges").unwrap();
        }
    }

    #[test]
    fn adjacent_ranges_on_the_wire_are_refused() {
        assert!(Ranges::decode(&mut Reader::new(&[2, 1, 0, 1, 0])).is_err());
        assert!(Ranges::decode(&mut Reader::new(&[1, 0, 0])).is_err());
    }
}
