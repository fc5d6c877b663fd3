//! What a reviewer of hundreds of branches sees of each without opening anything: about 150 bytes for each month, kept up to date by
//! the branch's own devices in the space that both read.

pub mod keep;

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::gate::rights::{How, Rule, Schema, Step, Who};
use dinh_core::path;
use serde::{Deserialize, Serialize};

use crate::field::{Fields, Register, count, put_register};

/// Who writes what.
pub static SCHEMA: Schema = Schema {
    name: "dinh.digest/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("branch")], Who::CREATOR, How::Once),
    ],
    others: Who::COMMITTEE.or(Who::RECORDER),
    seal: None,
};

/// The numbers of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// The round of the draft.
    Round,
    /// How many read it.
    Read,
    /// How many should.
    Members,
    /// How many were at the meeting.
    Present,
    /// Votes for the resolution.
    Yes,
    /// Whom votes are counted against.
    Base,
    /// Feedback that is not answered.
    OpenFeedback,
    /// Tasks and feedback after their day.
    Overdue,
}

impl Count {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Round,
        Self::Read,
        Self::Members,
        Self::Present,
        Self::Yes,
        Self::Base,
        Self::OpenFeedback,
        Self::Overdue,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Round => "round",
            Self::Read => "read",
            Self::Members => "members",
            Self::Present => "present",
            Self::Yes => "yes",
            Self::Base => "base",
            Self::OpenFeedback => "open_feedback",
            Self::Overdue => "overdue",
        }
    }
}

/// One month of a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Month {
    /// Where minutes or resolution stand, as a word of their lifecycle.
    pub state: Option<String>,
    /// The numbers that are known.
    pub counts: BTreeMap<Count, u32>,
    /// When it was written last, milliseconds since 1970, by that device's clock.
    pub updated_at: Option<i64>,
}

/// All months of a branch, by `YYYY-MM`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Digest {
    /// What the branch is called.
    pub branch: Register<String>,
    /// The months.
    pub months: BTreeMap<String, Month>,
}

impl Digest {
    /// Reads it.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let view = fields.view();
        let mut months: BTreeSet<String> = view.keys(&path!["state"]).into_iter().collect();
        Count::ALL.iter().for_each(|c| months.extend(view.keys(&path![c.name()])));
        let month = |key: String| {
            let number =
                |c: &Count| Some((*c, *fields.register(&path![c.name(), key.as_str()], count).get()?));
            let found = Month {
                state: fields.string(&path!["state", key.as_str()]).get().cloned(),
                counts: Count::ALL.iter().filter_map(number).collect(),
                updated_at: fields.time(&path!["updated_at", key.as_str()]).get().copied(),
            };
            (key, found)
        };
        Self { branch: fields.string(&path!["branch"]), months: months.into_iter().map(month).collect() }
    }
}

/// Makes the empty document.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(edit: &mut Edit<'_>, branch: &str) -> Result<(), EditError> {
    edit.put(&path!["schema"], SCHEMA.name)?;
    edit.put(&path!["branch"], branch)?;
    ["state", "updated_at"].iter().try_for_each(|map| edit.put_map(&path![*map]))?;
    Count::ALL.iter().try_for_each(|c| edit.put_map(&path![c.name()]))
}

/// Brings a month up to date. What is as it was is not written, nor is the time then. Returns whether anything was.
///
/// # Errors
/// If this device may not.
pub fn update(edit: &mut Edit<'_>, now: i64, month: &str, new: &Month) -> Result<bool, EditError> {
    let stands = |edit: &Edit<'_>, field: &str, value: &Value| {
        let found = edit.view().conflicts(&path![field, month]);
        found.len() == 1 && found[0].value == *value
    };
    let mut due: Vec<(&str, Value)> = Vec::new();
    if let Some(state) = &new.state {
        due.push(("state", state.as_str().into()));
    }
    due.extend(new.counts.iter().map(|(c, n)| (c.name(), Value::Uint(u64::from(*n)))));
    due.retain(|(field, value)| !stands(edit, field, value));
    if due.is_empty() {
        return Ok(false);
    }
    for (field, value) in due {
        put_register(edit, &path![field, month], value)?;
    }
    put_register(edit, &path!["updated_at", month], Value::Timestamp(now))?;
    Ok(true)
}
