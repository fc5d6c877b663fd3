//! Resolutions: drafted by the committee, discussed by the members, adopted by the branch, issued, sealed.

pub mod parts;
pub mod state;

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::{
    ChangeHash, Document, DocumentError, Edit, EditError, Patch, Prop, ReadDoc, Value, View,
};
use dinh_core::gate::rights::{How, Rule, Says, Schema, Seal, Step, Who};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::Serialize;

use crate::check::{CLASSIFICATIONS, refuse_classified};
use crate::field::{Fields, Register, put_register};
use crate::lifecycle::{self, Event, Folded, NotYet, WRONG};
use crate::me::Me;
use crate::minutes::{Minutes, Vote};
use crate::outline::{BLOCKS, Outline, SECTIONS};
use crate::overlap::REREAD;
use crate::suggestion::{OUTCOMES, SUGGESTIONS, Suggestion};
use crate::vote::Threshold;

/// What a seal freezes.
const FROZEN: &[&str] = &[
    "schema",
    "classification",
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
            // What is above that is on no device with a network.
            Rule::new(&[Step::Key("classification")], KEEPERS, How::Free).saying(Says::OneOf(&CLASSIFICATIONS)),
            Rule::new(&[Step::Key("classification")], Who::NOBODY, How::Once),
            $($text,)*
            // Made with the document and never again: who put an empty one in its place would hide all that is in it.
            Rule::new(&[Step::Key(SECTIONS)], Who::CREATOR, How::Once),
            Rule::new(&[Step::Key(BLOCKS)], Who::CREATOR, How::Once),
            Rule::new(&[Step::Key(SUGGESTIONS)], Who::CREATOR, How::Once),
            Rule::new(&[Step::Key("assignments")], Who::CREATOR, How::Once),
            Rule::new(&[Step::Key(lifecycle::EVENTS)], Who::CREATOR, How::Once),
            // What is left out is hidden: somebody may be writing in it.
            Rule::new(&[Step::Key(SECTIONS), Step::Any], KEEPERS, How::Once),
            Rule::new(&[Step::Key(BLOCKS), Step::Any], KEEPERS, How::Once),
            Rule::new(&[Step::Key(SUGGESTIONS), Step::Any, Step::Key("by")], Who::MEMBERS, How::Entry).saying(Says::Own),
            Rule::new(&[Step::Key(SUGGESTIONS), Step::Any, Step::Rest], Who::MEMBERS, How::Entry),
            Rule::new(&[Step::Key("read"), Step::Own], Who::EVERYBODY, How::Free),
            Rule::new(&[Step::Key("number")], Who::OFFICERS, How::Once),
            Rule::new(&[Step::Key("events"), Step::Any, Step::Key("by")], KEEPERS, How::Entry).saying(Says::Own),
            Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], KEEPERS, How::Entry)
                .saying(Says::OneOf(&["amended_on_floor"])),
            Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], Who::COMMITTEE, How::Entry)
                .saying(Says::OneOf(&["committee_review", "drafting", "withdrawn", "completed"])),
            Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], Who::OFFICERS, How::Entry),
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
    rules: rules!(Rule::new(
        &[Step::Key(BLOCKS), Step::Any, Step::Key("text"), Step::Rest],
        Who::MEMBERS,
        How::Free
    )),
    others: KEEPERS,
    seal: Some(Seal { key: crate::seal::KEY, frozen: FROZEN }),
};

const MAPS: [&str; 13] = [
    "signature",
    "header",
    "legal_bases",
    SECTIONS,
    BLOCKS,
    "assignments",
    SUGGESTIONS,
    OUTCOMES,
    "read",
    lifecycle::EVENTS,
    REREAD,
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

impl Assignment {
    /// Reads all of a document.
    pub(crate) fn read_all(fields: &Fields<'_, '_>) -> Vec<Self> {
        let read = |id: String| {
            let at = path!["assignments", id.as_str()];
            let owners = |value: &Value| match value {
                Value::List(all) => all.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
                _ => None,
            };
            Self {
                task: fields.string(&at.join("task")),
                owners: fields.register(&at.join("owners"), owners),
                quantity: fields.string(&at.join("quantity")),
                due: fields.string(&at.join("due")),
                id,
            }
        };
        fields.view().keys(&path!["assignments"]).into_iter().map(read).collect()
    }
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
    /// Who signs.
    pub signature: parts::Signature,
    /// Who gets it, by key.
    pub recipients: BTreeMap<String, Register<String>>,
    /// What members propose, oldest first.
    pub suggestions: Vec<Suggestion>,
    /// Which round each member has read.
    pub read: BTreeMap<MemberId, Register<u32>>,
    /// The number that it got.
    pub number: Register<String>,
    /// Number and date under which it was issued: those of the first event that counts.
    pub issued: Option<(String, String)>,
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
        let mut events = lifecycle::read(view);
        let number = fields.string(&path!["number"]);
        check_numbers(&mut events, &numbers(view));
        let life = lifecycle::fold::<state::ResolutionLife>(&events);
        let counted: BTreeSet<&str> = life.counted.iter().map(String::as_str).collect();
        let rounds =
            events.iter().filter(|e| e.kind == "consulting" && counted.contains(e.id.as_str())).count();
        let by_id = |id: &String| events.iter().find(|e| e.id == *id && e.kind == "issued");
        let issued = life.counted.iter().find_map(by_id);
        let issued = issued.and_then(|e| Some((e.text("number")?.to_owned(), e.text("date")?.to_owned())));
        let named = |map: &str| {
            let keys = view.keys(&path![map]).into_iter();
            keys.map(|key| (key.clone(), fields.string(&path![map, key]))).collect::<BTreeMap<_, _>>()
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
            assignments: Assignment::read_all(fields),
            signature: parts::Signature::read(fields),
            recipients: parts::recipients(fields),
            suggestions: Suggestion::read_all(fields),
            read: fields
                .members(&path!["read"])
                .map(|id| (id, fields.register(&path!["read", id.to_string()], crate::field::count)))
                .collect(),
            number,
            issued,
            life,
            round: u32::try_from(rounds).unwrap_or(u32::MAX),
            seals: crate::seal::read(fields),
        }
    }

    /// Whether it may be sealed: when it was issued, and nobody contradicts it.
    ///
    /// # Errors
    /// Why not.
    pub fn may_seal(&self) -> Result<(), NotYet> {
        if self.seals.get().is_some() {
            return Err(NotYet::Sealed);
        }
        self.life.stands(|state| matches!(state, state::State::Issued | state::State::InForce))
    }

    /// Whether it may be tabled in a meeting: members were consulted, and the meeting is open.
    ///
    /// # Errors
    /// Why not.
    pub fn may_table(&self, meeting: &Minutes) -> Result<(), NotYet> {
        let open = meeting.life.stands(|state| state == crate::minutes::state::State::Open);
        self.life.stands(|state| state == state::State::Consulting).and(open.map_err(|_| NotYet::Meeting))
    }

    /// Whether it may be issued under a number, when the numbers in `used` were given in this term as far as this device
    /// knows. What was changed in it since it was adopted, [`changed_since`] lists.
    ///
    /// # Errors
    /// Why not.
    pub fn may_issue(&self, number: &str, used: &BTreeSet<String>) -> Result<(), NotYet> {
        self.life.stands(|state| state == state::State::Adopted)?;
        let taken = self.number.get().is_some() || used.contains(number) || number.trim().is_empty();
        if taken { Err(NotYet::Number) } else { Ok(()) }
    }
}

/// Heads as events name them.
#[must_use]
pub fn heads_text(heads: &[ChangeHash]) -> String {
    let mut heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    heads.sort();
    heads.join(" ")
}

/// What differs in what a seal freezes between the heads that an event names ([`heads_text`]) and now, for instance since the
/// vote: formal fixes, which are listed when it is issued, or a text that nobody voted on. `None` if not all of these changes
/// are here.
///
/// # Errors
/// If the document engine fails.
pub fn changed_since(document: &Document, heads: &str) -> Result<Option<Vec<Patch>>, DocumentError> {
    let history = document.history();
    let find = |text: &str| history.iter().map(|c| c.hash).find(|hash| hash.to_string() == text);
    let Some(heads) = heads.split(' ').map(find).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let mut patches = document.diff(&heads, &document.heads())?;
    patches.retain(
        |patch| matches!(patch.path.steps().first(), Some(Prop::Key(key)) if FROZEN.contains(&key.as_str())),
    );
    Ok(Some(patches))
}

/// How long before the meeting members are to have the draft: 24 hours, in milliseconds.
pub const NOTICE_MS: i64 = 24 * 60 * 60 * 1_000;

/// Whether a round that is put to consultation now leaves members less than [`NOTICE_MS`] to read it: a warning, not a
/// guard. Both in milliseconds since 1970.
#[must_use]
pub const fn is_short_notice(now: i64, meeting: i64) -> bool {
    meeting.saturating_sub(now) < NOTICE_MS
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
    edit.put(&path!["classification"], CLASSIFICATIONS[0])?;
    header.iter().try_for_each(|(_, text)| refuse_classified(text))?;
    MAPS.iter().try_for_each(|map| edit.put_map(&path![*map]))?;
    header.iter().try_for_each(|(key, text)| edit.put(&path!["header", *key], *text))
}

/// The vote that the branch took on it, as the minutes have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voted<'a> {
    /// The heads that were voted on, as the event has them that tabled or amended it last.
    pub heads: &'a str,
    /// The count.
    pub vote: &'a Vote,
    /// How many had to be for it.
    pub threshold: Threshold,
}

impl Voted<'_> {
    /// What an event says of it.
    #[must_use]
    pub fn data(&self) -> [(&'static str, Value); 6] {
        [
            ("heads", self.heads.into()),
            ("vote", self.vote.id.as_str().into()),
            ("base", Value::Uint(u64::from(self.vote.base))),
            ("yes", Value::Uint(u64::from(self.vote.tally.yes))),
            ("threshold", self.threshold.name().into()),
            ("counted_by", self.vote.by.to_string().into()),
        ]
    }
}

/// Says what came of the vote: `adopted` if it carried, otherwise `rejected`. Counts are written down by one and this is
/// said by another one; the base goes with it, so that it stays what it was.
///
/// # Errors
/// If this device may not.
pub fn decide(edit: &mut Edit<'_>, me: &mut Me, voted: &Voted<'_>) -> Result<String, EditError> {
    let Vote { tally, base, .. } = voted.vote;
    let kind = if tally.yes >= voted.threshold.needed(*base) { "adopted" } else { "rejected" };
    step(edit, me, kind, voted.data())
}

/// Gives it its number and issues it, in one change.
///
/// # Errors
/// If this device may not, or it has a number: a number is never changed.
pub fn issue(edit: &mut Edit<'_>, me: &mut Me, number: &str, date: &str) -> Result<String, EditError> {
    put_register(edit, &path!["number"], number)?;
    step(edit, me, "issued", [("number", number.into()), ("date", date.into())])
}

/// Writes an event of its life.
///
/// # Errors
/// [`EditError::Refused`] if it would not count; if this device may not.
pub fn step<'a>(
    edit: &mut Edit<'_>,
    me: &mut Me,
    kind: &str,
    data: impl IntoIterator<Item = (&'a str, Value)>,
) -> Result<String, EditError> {
    let events = lifecycle::read(&edit.view());
    let numbers = numbers(&edit.view());
    lifecycle::step::<state::ResolutionLife>(edit, me, kind, data, events, |events| {
        check_numbers(events, &numbers);
    })
}

/// The numbers that stand in the document.
fn numbers<D: ReadDoc>(view: &View<'_, D>) -> Vec<String> {
    let all = view.conflicts(&path!["number"]).into_iter();
    all.filter_map(|c| c.value.as_str().map(str::to_owned)).collect()
}

/// Who issues a resolution gives it its number in the same act.
fn check_numbers(events: &mut [Event], numbers: &[String]) {
    let given = |event: &Event| numbers.iter().any(|n| Some(n.as_str()) == event.text("number"));
    for event in events.iter_mut().filter(|e| e.kind == "issued" && !given(e)) {
        event.data.insert(WRONG.to_owned(), "the number that it was given".into());
    }
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
