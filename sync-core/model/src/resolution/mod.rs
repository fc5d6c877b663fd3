//! Resolutions: drafted by the committee, discussed by the members, adopted by the branch, issued, sealed.

pub mod state;

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::gate::rights::{How, Rule, Says, Schema, Seal, Step, Who};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::Serialize;

use crate::field::{Fields, Register, put_register};
use crate::lifecycle::{self, Folded};
use crate::me::Me;
use crate::outline::{BLOCKS, Outline, SECTIONS};
use crate::suggestion::{OUTCOMES, SUGGESTIONS, Suggestion};

/// What a seal freezes.
const FROZEN: &[&str] = &[
    "schema",
    "header",
    "period",
    "kind",
    "language",
    "legal_bases",
    "enacting_clause",
    SECTIONS,
    BLOCKS,
    "assignments",
    "adoption",
    "signature",
    "recipients",
    "amends",
    "supersedes",
];

const KEEPERS: Who = Who::COMMITTEE.or(Who::RECORDER);

/// Rules that both policies have.
macro_rules! rules {
    ($($text:expr),*) => {
        &[
            Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
            Rule::new(&[Step::Key("period")], Who::CREATOR, How::Once),
            Rule::new(&[Step::Key("seal"), Step::Rest], Who::OFFICERS, How::Once),
            $($text,)*
            Rule::new(&[Step::Key(SUGGESTIONS), Step::Any, Step::Key("by")], Who::MEMBERS, How::Entry).saying(Says::Own),
            Rule::new(&[Step::Key(SUGGESTIONS), Step::Any, Step::Rest], Who::MEMBERS, How::Entry),
            Rule::new(&[Step::Key("read"), Step::Own], Who::EVERYBODY, How::Free),
            Rule::new(&[Step::Key("number")], Who::OFFICERS, How::Once),
            Rule::new(&[Step::Key("events"), Step::Any, Step::Key("by")], KEEPERS, How::Entry).saying(Says::Own),
            Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], Who::OFFICERS, How::Entry)
                .saying(Says::OneOf(&["consulting", "issued", "in_force", "superseded", "revoked", "resolve"])),
            Rule::new(&[Step::Key("events"), Step::Any, Step::Rest], KEEPERS, How::Entry),
        ]
    };
}

/// Who writes what where members suggest and the committee writes.
pub static SCHEMA: Schema = Schema {
    name: "dinh.resolution/1",
    rules: rules!(),
    others: KEEPERS,
    seal: Some(Seal { key: crate::seal::KEY, frozen: FROZEN }),
};

/// The same where all members write the text of drafts.
pub static OPEN_SCHEMA: Schema = Schema {
    name: "dinh.resolution-open/1",
    rules: rules!(
        Rule::new(&[Step::Key(BLOCKS), Step::Any], Who::MEMBERS, How::Once),
        Rule::new(&[Step::Key(BLOCKS), Step::Any, Step::Rest], Who::MEMBERS, How::Free)
    ),
    others: KEEPERS,
    seal: Some(Seal { key: crate::seal::KEY, frozen: FROZEN }),
};

const MAPS: [&str; 11] = [
    "header",
    "legal_bases",
    SECTIONS,
    BLOCKS,
    "assignments",
    SUGGESTIONS,
    OUTCOMES,
    "read",
    lifecycle::EVENTS,
    "recipients",
    "late",
];

/// Who does what by when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Assignment {
    /// Its key.
    pub id: String,
    /// What.
    pub task: Register<String>,
    /// Who, as member ids in hex.
    pub owners: Register<Vec<String>>,
    /// How many or how much.
    pub quantity: Register<String>,
    /// By when, `YYYY-MM-DD`.
    pub due: Register<String>,
}

/// A resolution as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resolution {
    /// `YYYY-MM` of the meeting.
    pub period: Register<String>,
    /// The parts of the form's head, by name.
    pub header: BTreeMap<String, Register<String>>,
    /// On what it rests, by key.
    pub legal_bases: BTreeMap<String, String>,
    /// The words that enact it.
    pub enacting_clause: Register<String>,
    /// The prose.
    pub outline: Outline,
    /// Who does what by when.
    pub assignments: Vec<Assignment>,
    /// What members propose, oldest first.
    pub suggestions: Vec<Suggestion>,
    /// Which round each member has read.
    #[serde(skip)]
    pub read: BTreeMap<MemberId, Register<u32>>,
    /// The number that it got.
    pub number: Register<String>,
    /// Where it stands.
    pub life: Folded<state::State>,
    /// How many rounds were put to consultation.
    pub round: u32,
    /// The seals that stand there.
    pub seals: Register<crate::seal::Seal>,
}

impl Resolution {
    /// Reads it.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let view = fields.view();
        let events = lifecycle::read(view);
        let life = lifecycle::fold::<state::ResolutionLife>(&events);
        let counted: BTreeSet<&str> = life.counted.iter().map(String::as_str).collect();
        let rounds =
            events.iter().filter(|e| e.kind == "consulting" && counted.contains(e.id.as_str())).count();
        let named = |map: &str| {
            let keys = view.keys(&path![map]).into_iter();
            keys.map(|key| (key.clone(), fields.string(&path![map, key]))).collect::<BTreeMap<_, _>>()
        };
        let assignment = |id: String| {
            let at = path!["assignments", id.as_str()];
            let owners = |value: &Value| match value {
                Value::List(all) => all.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
                _ => None,
            };
            Assignment {
                task: fields.string(&at.join("task")),
                owners: fields.register(&at.join("owners"), owners),
                quantity: fields.string(&at.join("quantity")),
                due: fields.string(&at.join("due")),
                id,
            }
        };
        Self {
            period: fields.string(&path!["period"]),
            header: named("header"),
            legal_bases: view
                .keys(&path!["legal_bases"])
                .into_iter()
                .map(|id| (id.clone(), fields.prose(&path!["legal_bases", id])))
                .collect(),
            enacting_clause: fields.string(&path!["enacting_clause"]),
            outline: Outline::read(fields),
            assignments: view.keys(&path!["assignments"]).into_iter().map(assignment).collect(),
            suggestions: Suggestion::read_all(fields),
            read: fields
                .members(&path!["read"])
                .map(|id| (id, fields.register(&path!["read", id.to_string()], crate::field::count)))
                .collect(),
            number: fields.string(&path!["number"]),
            life,
            round: u32::try_from(rounds).unwrap_or(u32::MAX),
            seals: crate::seal::read(fields),
        }
    }
}

/// Makes the document.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(
    edit: &mut Edit<'_>,
    schema: &Schema,
    period: &str,
    header: &[(&str, &str)],
) -> Result<(), EditError> {
    edit.put(&path!["schema"], schema.name)?;
    edit.put(&path!["period"], period)?;
    edit.put(&path!["language"], "vi")?;
    MAPS.iter().try_for_each(|map| edit.put_map(&path![*map]))?;
    header.iter().try_for_each(|(key, text)| edit.put(&path!["header", *key], *text))
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAssignment<'a> {
    /// What.
    pub task: &'a str,
    /// Who.
    pub owners: &'a [MemberId],
    /// How many or how much.
    pub quantity: &'a str,
    /// By when, `YYYY-MM-DD`.
    pub due: &'a str,
}

/// Assigns a task. Returns its key.
///
/// # Errors
/// If this device may not.
pub fn assign(edit: &mut Edit<'_>, me: &mut Me, new: &NewAssignment<'_>) -> Result<String, EditError> {
    let id = me.new_id();
    let owners = new.owners.iter().map(|id| Value::from(id.to_string())).collect();
    let fields = [
        ("task".to_owned(), Value::from(new.task)),
        ("owners".to_owned(), Value::List(owners)),
        ("quantity".to_owned(), new.quantity.into()),
        ("due".to_owned(), new.due.into()),
    ];
    edit.put(&path!["assignments", id.as_str()], Value::Map(fields.into()))?;
    Ok(id)
}

/// Changes by when a task is due, `YYYY-MM-DD`.
///
/// # Errors
/// If this device may not, or there is no such task.
pub fn set_due(edit: &mut Edit<'_>, id: &str, due: &str) -> Result<(), EditError> {
    edit.view().hydrate(&path!["assignments", id, "task"])?;
    put_register(edit, &path!["assignments", id, "due"], due)
}

/// Says that this device's member has read a round.
///
/// # Errors
/// If this device may not.
pub fn has_read(edit: &mut Edit<'_>, me: &Me, round: u32) -> Result<(), EditError> {
    put_register(edit, &path!["read", me.key()], Value::Uint(u64::from(round)))
}
