//! How votes are counted: whom the base holds, how many are needed, whether a motion carried.
//!
//! Sources: a decision needs more than half of the body's members, by the party's rules on voting (24-QĐ/TW 9.3.2, an excerpt;
//! see docs/MODEL.md); discipline by expulsion needs two thirds of the same base. Whom the base leaves out is the branch's decision, shown
//! with every vote and frozen with it.

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::ids::MemberId;
use serde::{Deserialize, Serialize};

use crate::attendance::Mark;
use crate::roster::{Person, Standing};

/// Why an official member is left out of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// Freed from work and meetings, and not here. Who comes all the same is counted.
    ExemptAndAbsent,
    /// Moved elsewhere for a time.
    TemporarilyAway,
    /// Suspended from party activities.
    Suspended,
    /// Detained.
    Detained,
    /// Absent with a reason that was approved: at a congress; for other meetings as the branch decides.
    Excused,
}

impl Exclusion {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::ExemptAndAbsent, Self::TemporarilyAway, Self::Suspended, Self::Detained, Self::Excused];

    /// What an ordinary meeting leaves out, unless the branch decides otherwise.
    pub const ORDINARY: [Self; 4] =
        [Self::ExemptAndAbsent, Self::TemporarilyAway, Self::Suspended, Self::Detained];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExemptAndAbsent => "exempt_and_absent",
            Self::TemporarilyAway => "temporarily_away",
            Self::Suspended => "suspended",
            Self::Detained => "detained",
            Self::Excused => "excused",
        }
    }
}

/// Whom a vote is counted against, and who was left out and why. Frozen with the vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Base {
    /// How many.
    pub count: u32,
    /// The rules by which it was made.
    pub excluding: BTreeSet<Exclusion>,
    /// Official members that are not in it.
    pub left_out: BTreeMap<MemberId, Exclusion>,
}

/// The base of a vote: official members, without those whom `excluding` leaves out. Who votes on probation is never in it.
#[must_use]
pub fn base(
    people: &BTreeMap<MemberId, Person>,
    marks: &BTreeMap<MemberId, Mark>,
    excluding: &BTreeSet<Exclusion>,
) -> Base {
    let mut left_out = BTreeMap::new();
    let mut count = 0;
    for (id, person) in people.iter().filter(|(_, p)| p.standing.is_official()) {
        let mark = marks.get(id).copied();
        let here = mark == Some(Mark::Present);
        let why = match person.standing {
            Standing::Suspended => Some(Exclusion::Suspended),
            Standing::Detained => Some(Exclusion::Detained),
            _ if here => None,
            _ if person.is_exempt || mark == Some(Mark::Exempt) => Some(Exclusion::ExemptAndAbsent),
            _ if person.is_away || mark == Some(Mark::TemporarilyAway) => Some(Exclusion::TemporarilyAway),
            _ if mark == Some(Mark::Excused) => Some(Exclusion::Excused),
            _ => None,
        };
        match why.filter(|why| excluding.contains(why)) {
            Some(why) => {
                left_out.insert(*id, why);
            }
            None => count += 1,
        }
    }
    Base { count, excluding: excluding.clone(), left_out }
}

/// How many votes carry a motion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// More than half of the base.
    MoreThanHalf,
    /// Two thirds of the base.
    TwoThirds,
}

impl Threshold {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MoreThanHalf => "more_than_half",
            Self::TwoThirds => "two_thirds",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::MoreThanHalf, Self::TwoThirds].into_iter().find(|threshold| threshold.name() == name)
    }

    /// The smallest number of votes that carries, of a base. Of nobody nothing carries.
    #[must_use]
    pub const fn needed(self, base: u32) -> u32 {
        match self {
            Self::MoreThanHalf => base / 2 + 1,
            Self::TwoThirds => {
                let needed = (base as u64 * 2).div_ceil(3) as u32;
                if needed == 0 { 1 } else { needed }
            }
        }
    }
}

/// How a vote is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Counted in the hall.
    ShowOfHands,
    /// On paper, counted by tellers; who voted how is nowhere.
    SecretBallot,
    /// On the phones. Where hands were counted too, those decide.
    Electronic,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// For.
    pub yes: u32,
    /// Against.
    pub no: u32,
    /// Neither.
    pub abstain: u32,
}

/// The papers of a secret ballot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballots {
    /// Handed out.
    pub issued: u32,
    /// In the box.
    pub returned: u32,
    /// Of those, valid.
    pub valid: u32,
}

/// Why a count cannot be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadCount {
    /// More votes than the base has people.
    MoreThanBase {
        /// Votes.
        votes: u32,
        /// The base.
        base: u32,
    },
    /// A secret ballot's papers do not add up.
    Ballots(&'static str),
    /// A secret ballot without its papers, or papers without a secret ballot.
    Method(&'static str),
}

impl std::fmt::Display for BadCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MoreThanBase { votes, base } => {
                write!(
                    f,
                    "{votes} votes were counted, but only {base} may vote: count again, or correct who is here"
                )
            }
            Self::Ballots(what) | Self::Method(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for BadCount {}

/// Whether a count can be right.
///
/// # Errors
/// What does not add up.
pub fn check(method: Method, tally: &Tally, ballots: Option<&Ballots>, base: &Base) -> Result<(), BadCount> {
    let votes = tally.yes.saturating_add(tally.no).saturating_add(tally.abstain);
    if votes > base.count {
        return Err(BadCount::MoreThanBase { votes, base: base.count });
    }
    match (method, ballots) {
        (Method::SecretBallot, None) => Err(BadCount::Method("a secret ballot needs the number of papers")),
        (Method::SecretBallot, Some(b)) if b.issued > base.count => {
            Err(BadCount::Ballots("more papers were handed out than may vote"))
        }
        (Method::SecretBallot, Some(b)) if b.returned > b.issued => {
            Err(BadCount::Ballots("more papers came back than were handed out"))
        }
        (Method::SecretBallot, Some(b)) if b.valid > b.returned => {
            Err(BadCount::Ballots("more papers are valid than came back"))
        }
        (Method::SecretBallot, Some(b)) if votes != b.valid => {
            Err(BadCount::Ballots("for, against and neither are not as many as the valid papers"))
        }
        (Method::SecretBallot, Some(_)) | (_, None) => Ok(()),
        (_, Some(_)) => Err(BadCount::Method("only a secret ballot has papers")),
    }
}

/// Whether a motion carried.
#[must_use]
pub const fn carried(tally: &Tally, threshold: Threshold, base: &Base) -> bool {
    tally.yes >= threshold.needed(base.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_is_more_than_half() {
        let needed: Vec<u32> = (0..=6).map(|base| Threshold::MoreThanHalf.needed(base)).collect();
        assert_eq!(needed, [1, 1, 2, 2, 3, 3, 4]);
        let needed: Vec<u32> = (0..=6).map(|base| Threshold::TwoThirds.needed(base)).collect();
        assert_eq!(needed, [1, 1, 2, 2, 3, 4, 4]);
        for base in 1..2_000 {
            let half = Threshold::MoreThanHalf.needed(base);
            assert!(2 * half > base && 2 * (half - 1) <= base);
            let thirds = Threshold::TwoThirds.needed(base);
            assert!(3 * thirds >= 2 * base && 3 * (thirds - 1) < 2 * base);
        }
    }

    #[test]
    fn papers_add_up() {
        let base = Base { count: 15, excluding: BTreeSet::new(), left_out: BTreeMap::new() };
        let tally = Tally { yes: 12, no: 1, abstain: 0 };
        let ballots = |issued, returned, valid| Some(Ballots { issued, returned, valid });
        let secret = |b: Option<Ballots>| check(Method::SecretBallot, &tally, b.as_ref(), &base);
        assert_eq!(secret(ballots(14, 14, 13)), Ok(()));
        for wrong in
            [None, ballots(16, 14, 13), ballots(13, 14, 13), ballots(14, 12, 13), ballots(14, 14, 14)]
        {
            assert!(secret(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(check(Method::ShowOfHands, &tally, None, &base), Ok(()));
        assert!(check(Method::ShowOfHands, &tally, ballots(14, 14, 13).as_ref(), &base).is_err());
        let many = Tally { yes: 15, no: 1, abstain: 0 };
        assert_eq!(
            check(Method::Electronic, &many, None, &base),
            Err(BadCount::MoreThanBase { votes: 16, base: 15 })
        );
    }
}
