//! The life of a resolution: from a draft to what is in force.

use serde::Serialize;

use crate::field::count;
use crate::lifecycle::{Event, Illegal, Lifecycle, Step};
use crate::vote::Threshold;

/// Where a resolution is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The committee writes it.
    Drafting,
    /// The committee looks it over.
    CommitteeReview,
    /// Members and reviewers read a round of it.
    Consulting,
    /// Its heads are fixed for the debate.
    Tabled,
    /// The vote was for it.
    Adopted,
    /// The vote was against it.
    Rejected,
    /// Put off to another meeting.
    Deferred,
    /// It has number, date and signature, and is sealed.
    Issued,
    /// It holds.
    InForce,
    /// Everything it asks for is done.
    Completed,
    /// Another one holds instead.
    Superseded,
    /// Taken back.
    Revoked,
    /// Given up before the vote.
    Withdrawn,
}

impl State {
    fn name(self) -> String {
        format!("{self:?}")
    }
}

/// See [`State`].
#[derive(Debug)]
pub struct ResolutionLife;

impl Lifecycle for ResolutionLife {
    type State = State;

    const START: State = State::Drafting;

    fn step(from: State, event: &Event, past: &[&Event]) -> Result<Step<State>, Illegal> {
        use State::{
            Adopted, CommitteeReview, Completed, Consulting, Deferred, Drafting, InForce, Issued, Rejected,
            Revoked, Superseded, Tabled, Withdrawn,
        };
        let to = match (from, event.kind.as_str()) {
            (Drafting, "committee_review") => CommitteeReview,
            (CommitteeReview, "consulting") => {
                needs(event, "heads")?;
                Consulting
            }
            // The committee has seen an earlier round.
            (Drafting, "consulting") => {
                if !past.iter().any(|e| e.kind == "committee_review") {
                    return Err(Illegal::Guard { what: "the committee's review".into() });
                }
                needs(event, "heads")?;
                Consulting
            }
            (Consulting, "drafting") => Drafting,
            (Consulting, "tabled") => {
                needs(event, "heads")?;
                needs(event, "meeting")?;
                Tabled
            }
            (Tabled, "amended_on_floor") => {
                needs(event, "heads")?;
                return Ok(Step::Note);
            }
            (Tabled, "adopted") => {
                if !carried(event, past)? {
                    return Err(Illegal::Guard { what: "a vote that carried".into() });
                }
                Adopted
            }
            (Tabled, "rejected") => {
                if carried(event, past)? {
                    return Err(Illegal::Guard { what: "a vote that did not carry".into() });
                }
                Rejected
            }
            (Tabled, "deferred") => Deferred,
            (Deferred, "drafting") => Drafting,
            (Drafting | Consulting, "withdrawn") => Withdrawn,
            (Adopted, "issued") => {
                needs(event, "number")?;
                needs(event, "date")?;
                Issued
            }
            (Issued, "in_force") => InForce,
            (InForce, "completed") => Completed,
            (InForce, "superseded") => {
                needs(event, "by_document")?;
                Superseded
            }
            (InForce, "revoked") => {
                needs(event, "by_document")?;
                Revoked
            }
            _ => return Err(Illegal::Step { from: from.name() }),
        };
        Ok(Step::To(to))
    }

    /// A vote holds against what was decided without knowing of it; an end by another document against the end by being done.
    fn wins(first: State, second: State) -> bool {
        use State::{Adopted, Completed, Deferred, Drafting, Rejected, Revoked, Superseded, Withdrawn};
        matches!(
            (first, second),
            (Adopted | Rejected, Withdrawn | Drafting | Deferred) | (Superseded | Revoked, Completed)
        )
    }
}

fn needs<'a>(event: &'a Event, key: &str) -> Result<&'a str, Illegal> {
    event.text(key).ok_or_else(|| Illegal::Guard { what: key.to_owned() })
}

/// Whether the vote that an event names carried: on what was debated last, counted against a base that is frozen with it, by
/// somebody other than who says what came of it.
fn carried(event: &Event, past: &[&Event]) -> Result<bool, Illegal> {
    let guard = |what: &str| Illegal::Guard { what: what.to_owned() };
    let debated = past.iter().rev().find(|e| matches!(e.kind.as_str(), "tabled" | "amended_on_floor"));
    if debated.and_then(|e| e.text("heads")) != Some(needs(event, "heads")?) {
        return Err(guard("a vote on the heads that were debated last"));
    }
    needs(event, "vote")?;
    let number = |key: &str| event.data.get(key).and_then(count).ok_or_else(|| guard(key));
    let threshold = Threshold::from_name(needs(event, "threshold")?).ok_or_else(|| guard("threshold"))?;
    let (base, yes) = (number("base")?, number("yes")?);
    if base == 0 || yes > base {
        return Err(guard("base"));
    }
    if needs(event, "counted_by")? == event.by {
        return Err(guard("a count that somebody else wrote down"));
    }
    Ok(yes >= threshold.needed(base))
}
