//! The life of minutes: from the plan of a meeting to the archive.

use serde::Serialize;

use crate::lifecycle::{Event, Illegal, Lifecycle, Step};

/// Where minutes are in their life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The meeting is planned.
    Planned,
    /// It was called, with time, place and agenda.
    Convened,
    /// It was put off.
    Postponed,
    /// It will not be.
    Cancelled,
    /// It is being held.
    Open,
    /// The recorder read the minutes back.
    ReadBack,
    /// The branch adopted them.
    Adopted,
    /// Signed and sealed.
    Signed,
    /// In the archive.
    Archived,
}

/// See [`State`].
#[derive(Debug)]
pub struct MinutesLife;

impl Lifecycle for MinutesLife {
    type State = State;

    const START: State = State::Planned;

    fn step(from: State, event: &Event, _: &[&Event]) -> Result<Step<State>, Illegal> {
        use State::{Adopted, Archived, Cancelled, Convened, Open, Planned, Postponed, ReadBack, Signed};
        let needs = |key: &str| match event.text(key) {
            Some(_) => Ok(()),
            None => Err(Illegal::Guard { what: key.to_owned() }),
        };
        let to = match (from, event.kind.as_str()) {
            (Planned | Postponed, "convened") => {
                needs("time")?;
                needs("place")?;
                needs("agenda")?;
                Convened
            }
            (Planned | Convened, "postponed") => Postponed,
            (Planned | Convened, "cancelled") => Cancelled,
            (Convened, "open") => {
                needs("recorder")?;
                Open
            }
            (Open, "read_back") => ReadBack,
            // Asked for at the reading back; a kind of its own, because only the chair opens a meeting.
            (ReadBack, "correction") => Open,
            (ReadBack, "adopted") => {
                needs("vote")?;
                needs("heads")?;
                Adopted
            }
            (Adopted, "signed") => Signed,
            (Signed, "archived") => Archived,
            _ => return Err(Illegal::Step { from: format!("{from:?}") }),
        };
        Ok(Step::To(to))
    }

    /// A meeting that was held was held, whoever put it off without knowing. That an adoption holds against a correction asked
    /// for meanwhile needs no rule: the meeting was open before.
    fn wins(first: State, second: State) -> bool {
        first == State::Open && matches!(second, State::Postponed | State::Cancelled)
    }
}
