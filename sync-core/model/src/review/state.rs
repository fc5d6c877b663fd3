//! The life of a review: of one round after another.

use serde::Serialize;

use crate::field::count;
use crate::lifecycle::{Event, Illegal, Lifecycle, Step};

/// Where the review of the newest round stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody asked.
    None,
    /// The branch asked for this round.
    Requested(u32),
    /// Reviewers said something about it.
    Commented(u32),
    /// It goes back.
    Returned(u32),
    /// Nothing stands against it.
    Cleared(u32),
}

impl State {
    /// The round that it is about; 0 if nobody asked.
    #[must_use]
    pub const fn round(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Requested(n) | Self::Commented(n) | Self::Returned(n) | Self::Cleared(n) => n,
        }
    }
}

/// See [`State`].
#[derive(Debug)]
pub struct ReviewLife;

impl Lifecycle for ReviewLife {
    type State = State;

    const START: State = State::None;

    fn step(from: State, event: &Event, _: &[&Event]) -> Result<Step<State>, Illegal> {
        let guard = |what: &str| Illegal::Guard { what: what.to_owned() };
        let round = event.data.get("round").and_then(count).ok_or_else(|| guard("round"))?;
        let to = match event.kind.as_str() {
            "requested" if round > from.round() => State::Requested(round),
            "requested" => return Err(guard("a round after those that were asked for")),
            _ if round != from.round() || from == State::None => {
                return Err(guard("the round that was asked for last"));
            }
            "commented" => State::Commented(round),
            "returned" => State::Returned(round),
            "cleared" => State::Cleared(round),
            _ => return Err(Illegal::Step { from: format!("{from:?}") }),
        };
        Ok(Step::To(to))
    }

    /// A new round begins again, whatever was said about the one before; the stricter of two reviewers is heard.
    fn wins(first: State, second: State) -> bool {
        let strict = |s: State| match s {
            State::None | State::Requested(_) => 0,
            State::Cleared(_) => 1,
            State::Commented(_) => 2,
            State::Returned(_) => 3,
        };
        (first.round(), strict(first)) > (second.round(), strict(second))
    }
}
