//! The life of a resolution: from a draft to what is in force.

use serde::Serialize;

use crate::lifecycle::{Event, Illegal, Lifecycle, Step};

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
            (Drafting, "consulting") if past.iter().any(|e| e.kind == "committee_review") => {
                needs(event, "heads")?;
                Consulting
            }
            (CommitteeReview | Consulting, "drafting") => Drafting,
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
                let debated =
                    past.iter().rev().find(|e| matches!(e.kind.as_str(), "tabled" | "amended_on_floor"));
                if debated.and_then(|e| e.text("heads")) != Some(needs(event, "heads")?) {
                    return Err(Illegal::Guard { what: "a vote on the heads that were debated last".into() });
                }
                carried(event)?;
                Adopted
            }
            (Tabled, "rejected") => {
                needs(event, "vote")?;
                Rejected
            }
            (Tabled, "deferred") => Deferred,
            (Deferred, "drafting") => Drafting,
            (Drafting | CommitteeReview | Consulting, "withdrawn") => Withdrawn,
            (Adopted, "issued") => {
                needs(event, "number")?;
                needs(event, "date")?;
                Issued
            }
            (Issued, "in_force") => InForce,
            (InForce, "completed") => Completed,
            (InForce | Completed, "superseded") => {
                needs(event, "by_document")?;
                Superseded
            }
            (InForce | Completed, "revoked") => {
                needs(event, "by_document")?;
                Revoked
            }
            _ => return Err(Illegal::Step { from: from.name() }),
        };
        Ok(Step::To(to))
    }

    /// A vote holds against what was decided without knowing of it.
    fn wins(first: State, second: State) -> bool {
        let voted = |state| matches!(state, State::Adopted | State::Rejected);
        let ends = |state| matches!(state, State::Superseded | State::Revoked | State::Completed);
        voted(first) && matches!(second, State::Withdrawn | State::Drafting | State::Deferred)
            || matches!(first, State::Superseded | State::Revoked)
                && second == State::Completed
                && ends(first)
    }
}

fn needs<'a>(event: &'a Event, key: &str) -> Result<&'a str, Illegal> {
    event.text(key).ok_or_else(|| Illegal::Guard { what: key.to_owned() })
}

/// A vote that was counted against a frozen base, and carried.
fn carried(event: &Event) -> Result<(), Illegal> {
    needs(event, "vote")?;
    if event.text("result") == Some("carried") {
        Ok(())
    } else {
        Err(Illegal::Guard { what: "a vote that carried".into() })
    }
}
