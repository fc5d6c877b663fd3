//! Tasks that a resolution or the minutes gave, and how far they are. What was adopted stays in the sealed document; this one
//! goes on.

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::gate::rights::{How, Rule, Says, Schema, Step, Who};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::{Deserialize, Serialize};

use crate::check::refuse_classified;
use crate::field::{Fields, Register, count, member, put_register};
use crate::me::Me;

/// Who writes what: the committee gives tasks and says that they are done; whoever works on one says how far it is.
pub static SCHEMA: Schema = Schema {
    name: "dinh.tasks/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("progress"), Step::Any, Step::Key("by")], Who::EVERYBODY, How::Entry)
            .saying(Says::Own),
        Rule::new(&[Step::Key("progress"), Step::Any, Step::Rest], Who::EVERYBODY, How::Entry),
    ],
    others: Who::COMMITTEE,
    seal: None,
};

/// What the committee says of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// To be done.
    Open,
    /// Done.
    Done,
    /// Given up.
    Dropped,
}

impl Status {
    const ALL: [Self; 3] = [Self::Open, Self::Done, Self::Dropped];

    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
            Self::Dropped => "dropped",
        }
    }
}

/// How far a task was at some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Its key.
    pub id: String,
    /// Who says so.
    pub by: MemberId,
    /// When, by that phone's clock.
    pub at: i64,
    /// How much is done, in hundredths, if it can be said.
    pub percent: Option<u32>,
    /// What was done, what is in the way.
    pub text: String,
}

/// A task as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Task {
    /// Its key.
    pub id: String,
    /// What.
    pub title: Register<String>,
    /// Who, as member ids in hex.
    pub owners: Register<Vec<String>>,
    /// By when, `YYYY-MM-DD`.
    pub due: Register<String>,
    /// The document that gave it, and its key there.
    pub from: Register<String>,
    /// What the committee says.
    pub status: Register<Status>,
    /// Oldest first.
    pub progress: Vec<Progress>,
}

impl Task {
    /// Reads all of a document.
    #[must_use]
    pub fn read_all(fields: &Fields<'_, '_>) -> Vec<Self> {
        let view = fields.view();
        let mut progress: BTreeMap<String, Vec<Progress>> = BTreeMap::new();
        for id in view.keys(&path!["progress"]) {
            if let Some((task, found)) = read_progress(fields, id) {
                progress.entry(task).or_default().push(found);
            }
        }
        let status = |value: &Value| {
            let name = value.as_str()?;
            Status::ALL.into_iter().find(|s| s.name() == name)
        };
        let owners = |value: &Value| match value {
            Value::List(all) => all.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let read = |id: String| {
            let at = path!["tasks", id.as_str()];
            let mut progress = progress.remove(&id).unwrap_or_default();
            progress.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
            Self {
                title: fields.string(&at.join("title")),
                owners: fields.register(&at.join("owners"), owners),
                due: fields.string(&at.join("due")),
                from: fields.string(&at.join("from")),
                status: fields.register(&at.join("status"), status),
                progress,
                id,
            }
        };
        view.keys(&path!["tasks"]).into_iter().map(read).collect()
    }

    /// Whether it is open after its day, both as `YYYY-MM-DD`.
    #[must_use]
    pub fn is_overdue(&self, today: &str) -> bool {
        self.status.get() == Some(&Status::Open) && self.due.get().is_some_and(|due| due.as_str() < today)
    }
}

fn read_progress(fields: &Fields<'_, '_>, id: String) -> Option<(String, Progress)> {
    let Value::Map(entry) = fields.view().get(&path!["progress", id.as_str()])? else { return None };
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let Some(Value::Timestamp(at)) = entry.get("at") else { return None };
    let found = Progress {
        by: member(text("by")?)?,
        at: *at,
        percent: entry.get("percent").and_then(count),
        text: text("text")?.to_owned(),
        id,
    };
    Some((text("task")?.to_owned(), found))
}

/// Makes the empty document.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(edit: &mut Edit<'_>) -> Result<(), EditError> {
    edit.put(&path!["schema"], SCHEMA.name)?;
    ["tasks", "progress"].iter().try_for_each(|map| edit.put_map(&path![*map]))
}

/// Gives a task. `from`: the document that says so and the task's key there. Returns its key.
///
/// # Errors
/// If this device may not.
pub fn give(
    edit: &mut Edit<'_>,
    me: &mut Me,
    title: &str,
    owners: &[MemberId],
    due: &str,
    from: &str,
) -> Result<String, EditError> {
    let id = me.new_id();
    let owners = owners.iter().map(|id| Value::from(id.to_string())).collect();
    let fields = [
        ("title".to_owned(), Value::from(title)),
        ("owners".to_owned(), Value::List(owners)),
        ("due".to_owned(), due.into()),
        ("from".to_owned(), from.into()),
        ("status".to_owned(), Status::Open.name().into()),
    ];
    edit.put(&path!["tasks", id.as_str()], Value::Map(fields.into()))?;
    Ok(id)
}

/// Says how far a task is.
///
/// # Errors
/// If this device may not, or there is no such task.
pub fn report(
    edit: &mut Edit<'_>,
    me: &mut Me,
    task: &str,
    percent: Option<u32>,
    text: &str,
) -> Result<String, EditError> {
    refuse_classified(text)?;
    edit.view().hydrate(&path!["tasks", task, "status"])?;
    let id = me.new_id();
    let mut fields = BTreeMap::from([
        ("task".to_owned(), Value::from(task)),
        ("by".to_owned(), me.key().into()),
        ("at".to_owned(), Value::Timestamp(me.now)),
        ("text".to_owned(), text.into()),
    ]);
    if let Some(percent) = percent {
        fields.insert("percent".to_owned(), Value::Uint(u64::from(percent.min(100))));
    }
    edit.put(&path!["progress", id.as_str()], Value::Map(fields))?;
    Ok(id)
}

/// Says what became of a task.
///
/// # Errors
/// If this device may not, or there is no such task.
pub fn set_status(edit: &mut Edit<'_>, task: &str, status: Status) -> Result<(), EditError> {
    edit.view().hydrate(&path!["tasks", task, "status"])?;
    put_register(edit, &path!["tasks", task, "status"], status.name())
}
