//! The life of a thread of feedback.

use dinh_core::document::Value;
use serde::Serialize;

use crate::lifecycle::{Event, Illegal, Lifecycle, Step};

/// The key under which the reader of a thread says whether an event is its author's.
pub(super) const BY_AUTHOR: &str = "by_author";

/// Where a thread is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was said.
    Submitted,
    /// Somebody who must answer has read it.
    Acknowledged,
    /// It is being dealt with.
    InProgress,
    /// It was handed to the upper body.
    Forwarded,
    /// It was answered.
    Answered,
    /// Its author is not content with the answer.
    Reopened,
    /// It is over.
    Closed,
    /// It will not be dealt with, and its author was told why.
    Declined,
    /// Its author took it back.
    Withdrawn,
}

impl State {
    /// Whether its author has an answer, or took it back.
    #[must_use]
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::Answered | Self::Closed | Self::Declined | Self::Withdrawn)
    }
}

/// See [`State`].
#[derive(Debug)]
pub struct FeedbackLife;

impl Lifecycle for FeedbackLife {
    type State = State;

    const START: State = State::Submitted;

    fn step(from: State, event: &Event, _: &[&Event]) -> Result<Step<State>, Illegal> {
        use State::{
            Acknowledged, Answered, Closed, Declined, Forwarded, InProgress, Reopened, Submitted, Withdrawn,
        };
        let needs = |key: &str| match event.text(key) {
            Some(_) => Ok(()),
            None => Err(Illegal::Guard { what: key.to_owned() }),
        };
        let by_author = || match event.data.get(BY_AUTHOR) {
            Some(Value::Bool(true)) => Ok(()),
            _ => Err(Illegal::Guard { what: "only its author does that".into() }),
        };
        let to = match (from, event.kind.as_str()) {
            (Submitted, "acknowledged") => Acknowledged,
            (Acknowledged | Reopened, "in_progress") => InProgress,
            (Acknowledged | InProgress, "forwarded") => {
                needs("to")?;
                Forwarded
            }
            (InProgress | Forwarded, "answered") => Answered,
            (Answered, "closed") => Closed,
            (Answered, "reopened") => {
                by_author()?;
                Reopened
            }
            (Submitted, "withdrawn") => {
                by_author()?;
                Withdrawn
            }
            (Acknowledged, "declined") => {
                needs("reason")?;
                Declined
            }
            (Submitted | Acknowledged | InProgress | Forwarded | Reopened, "extended") => {
                needs("reason")?;
                needs("due")?;
                return Ok(Step::Note);
            }
            (Answered | Closed, "rated") => {
                by_author()?;
                return Ok(Step::Note);
            }
            _ => return Err(Illegal::Step { from: format!("{from:?}") }),
        };
        Ok(Step::To(to))
    }

    /// An answer holds against what was done without knowing of it, and what the upper body has against what others do
    /// meanwhile. Taken back is only what nobody had read.
    fn wins(first: State, second: State) -> bool {
        use State::{Acknowledged, Answered, Declined, Forwarded, InProgress, Withdrawn};
        matches!(
            (first, second),
            (Acknowledged, Withdrawn)
                | (Answered, Forwarded | InProgress | Declined)
                | (Forwarded, InProgress)
        )
    }
}
