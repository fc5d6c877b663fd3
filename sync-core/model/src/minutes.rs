//! Minutes of a meeting: what was said and decided, written by the recorder, adopted by the branch, sealed.

pub mod state;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::{Edit, EditError, Path, Value};
use dinh_core::gate::rights::{How, Rule, Says, Schema, Seal, Step, Who};
use dinh_core::path;
use dinh_proto::ids::{DocId, MemberId};
use serde::{Deserialize, Serialize};

use crate::field::{Fields, Register, count, member, put_register};
use crate::lifecycle::{self, Folded, RESOLVE};
use crate::me::Me;
use crate::outline::{BLOCKS, Outline, SECTIONS};
use crate::vote::{Ballots, Base, Method, Tally, Threshold};

const WRITERS: Who = Who::RECORDER.or(Who::OFFICERS);

/// What a seal freezes.
const FROZEN: &[&str] = &[
    "schema",
    "header",
    "meeting",
    "period",
    "kind",
    "language",
    "started_at",
    "ended_at",
    "venue",
    "chair",
    "recorder",
    "guests",
    "agenda",
    SECTIONS,
    BLOCKS,
    "confirmed",
    "motions",
    "votes",
    "confirmed_votes",
    "decisions",
    "assignments",
    "quality",
    "attendance",
];

/// Who writes what.
pub static SCHEMA: Schema = Schema {
    name: "dinh.minutes/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("meeting")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("period")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("seal"), Step::Rest], Who::OFFICERS, How::Once),
        Rule::new(&[Step::Key("chair")], Who::OFFICERS, How::Free),
        Rule::new(&[Step::Key("quality"), Step::Rest], Who::OFFICERS, How::Free),
        // A speaker says that these are its words.
        Rule::new(&[Step::Key("confirmed"), Step::Any, Step::Own], Who::EVERYBODY, How::Free),
        // Two people answer for a count: one writes it, another one, an officer, confirms it.
        Rule::new(&[Step::Key("votes"), Step::Any, Step::Key("by")], WRITERS, How::Entry).saying(Says::Own),
        Rule::new(&[Step::Key("votes"), Step::Any, Step::Rest], WRITERS, How::Entry),
        Rule::new(&[Step::Key("confirmed_votes"), Step::Any], Who::OFFICERS, How::Once).saying(Says::Own),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("by")], WRITERS, How::Entry).saying(Says::Own),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], WRITERS, How::Entry)
            .saying(Says::OneOf(&["read_back", "open", "signed"])),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], Who::OFFICERS, How::Entry),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Rest], WRITERS, How::Entry),
        Rule::new(&[Step::Key("signatures"), Step::Any, Step::Key("by")], WRITERS, How::Entry)
            .saying(Says::Own),
        Rule::new(&[Step::Key("signatures"), Step::Any, Step::Rest], WRITERS, How::Entry),
    ],
    others: WRITERS,
    seal: Some(Seal { key: crate::seal::KEY, frozen: FROZEN }),
};

/// The maps that are made with the document.
const MAPS: [&str; 16] = [
    "header",
    "guests",
    "agenda",
    SECTIONS,
    BLOCKS,
    "confirmed",
    "motions",
    "votes",
    "confirmed_votes",
    "decisions",
    "assignments",
    "quality",
    "attendance",
    lifecycle::EVENTS,
    "signatures",
    "late",
];

/// Regular or on a theme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The monthly one.
    Regular,
    /// On a theme.
    Thematic,
    /// Of the committee.
    Committee,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Regular, Self::Thematic, Self::Committee];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Thematic => "thematic",
            Self::Committee => "committee",
        }
    }
}

/// What the branch votes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Motion {
    /// Its key.
    pub id: String,
    /// What is moved.
    pub title: Register<String>,
    /// The document that is adopted by it, and its heads, in hex, if it is about one.
    pub subject: Option<(String, String)>,
    /// How many must be for it.
    pub threshold: Threshold,
    /// The counts that were written down.
    pub votes: Vec<Vote>,
}

/// One count of a motion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vote {
    /// Its key.
    pub id: String,
    /// How it was taken.
    pub method: Method,
    /// Against how many.
    pub base: u32,
    /// What was counted.
    pub tally: Tally,
    /// The papers, of a secret ballot.
    pub ballots: Option<Ballots>,
    /// Whether it carried, against the base that is frozen with it.
    pub carried: bool,
    /// Who wrote it down.
    #[serde(skip)]
    pub by: MemberId,
    /// Who confirmed it, if somebody else did.
    #[serde(skip)]
    pub confirmed_by: Option<MemberId>,
}

impl Motion {
    /// The count that holds: one that was confirmed, by hands before phones. `None` while there is none, or several that
    /// say different things.
    #[must_use]
    pub fn result(&self) -> Option<&Vote> {
        let confirmed: Vec<&Vote> = self.votes.iter().filter(|v| v.confirmed_by.is_some()).collect();
        let by_hand: Vec<&Vote> =
            confirmed.iter().copied().filter(|v| v.method != Method::Electronic).collect();
        let deciding = if by_hand.is_empty() { confirmed } else { by_hand };
        let (first, others) = deciding.split_first()?;
        others.iter().all(|v| v.tally == first.tally && v.base == first.base).then_some(*first)
    }

    /// Whether counts were written down more than once and none decides: the chair confirms one.
    #[must_use]
    pub fn is_counted_twice(&self) -> bool {
        self.votes.len() > 1 && self.result().is_none()
    }
}

/// Minutes as they are now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Minutes {
    /// The meeting, `YYYY-MM` of its month.
    pub period: Register<String>,
    /// Which kind of meeting.
    pub kind: Register<String>,
    /// The parts of the form's head, by name.
    pub header: BTreeMap<String, Register<String>>,
    /// Where.
    pub venue: Register<String>,
    /// From when, milliseconds since 1970.
    pub started_at: Register<i64>,
    /// Until when.
    pub ended_at: Register<i64>,
    /// Who leads it.
    #[serde(skip)]
    pub chair: Register<MemberId>,
    /// Who writes it.
    #[serde(skip)]
    pub recorder: Register<MemberId>,
    /// The prose.
    pub outline: Outline,
    /// Who said of which block that these are its words.
    #[serde(skip)]
    pub confirmed: BTreeMap<String, BTreeSet<MemberId>>,
    /// What was voted on.
    pub motions: Vec<Motion>,
    /// Decisions, by key.
    pub decisions: BTreeMap<String, String>,
    /// The numbers of those who were there, frozen at the reading back: a document of the model `attendance::Summary`, as JSON.
    pub attendance: Register<String>,
    /// Where it stands.
    pub life: Folded<state::State>,
    /// The seals that stand there; more than one if two sealed it without knowing of each other.
    pub seals: Register<crate::seal::Seal>,
}

fn read_vote(fields: &Fields<'_, '_>, id: String) -> Option<(String, Vote)> {
    let Value::Map(entry) = fields.view().get(&path!["votes", id.as_str()])? else { return None };
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let number = |key: &str| entry.get(key).and_then(count);
    let method = [Method::ShowOfHands, Method::SecretBallot, Method::Electronic]
        .into_iter()
        .find(|m| Some(method_name(*m)) == text("method"))?;
    let ballots = match (number("issued"), number("returned"), number("valid")) {
        (Some(issued), Some(returned), Some(valid)) => Some(Ballots { issued, returned, valid }),
        _ => None,
    };
    let by = member(text("by")?)?;
    let confirmed = fields.member(&path!["confirmed_votes", id.as_str()]);
    let confirmed_by = confirmed.all().iter().map(|w| w.value).find(|other| *other != by);
    let (base, tally) =
        (number("base")?, Tally { yes: number("yes")?, no: number("no")?, abstain: number("abstain")? });
    let needed = number("needed")?;
    let carried = tally.yes >= needed;
    let motion = text("motion")?.to_owned();
    Some((motion, Vote { id, method, base, tally, ballots, carried, by, confirmed_by }))
}

/// Its name in documents.
#[must_use]
pub const fn method_name(method: Method) -> &'static str {
    match method {
        Method::ShowOfHands => "show_of_hands",
        Method::SecretBallot => "secret_ballot",
        Method::Electronic => "electronic",
    }
}

const fn threshold_name(threshold: Threshold) -> &'static str {
    match threshold {
        Threshold::MoreThanHalf => "more_than_half",
        Threshold::TwoThirds => "two_thirds",
    }
}

impl Minutes {
    /// Reads them.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let view = fields.view();
        let mut votes: BTreeMap<String, Vec<Vote>> = BTreeMap::new();
        for (motion, vote) in view.keys(&path!["votes"]).into_iter().filter_map(|id| read_vote(fields, id)) {
            votes.entry(motion).or_default().push(vote);
        }
        let motion = |id: String| {
            let at = path!["motions", id.as_str()];
            let text = |key: &str| view.get(&at.join(key)).and_then(|v| v.as_str().map(str::to_owned));
            let two_thirds = text("threshold").as_deref() == Some(threshold_name(Threshold::TwoThirds));
            Motion {
                title: fields.string(&at.join("title")),
                subject: text("document").zip(text("heads")),
                threshold: if two_thirds { Threshold::TwoThirds } else { Threshold::MoreThanHalf },
                votes: votes.remove(&id).unwrap_or_default(),
                id,
            }
        };
        let motions = view.keys(&path!["motions"]).into_iter().map(motion).collect();
        let named = |map: &str| {
            let keys = view.keys(&path![map]).into_iter();
            keys.map(|key| (key.clone(), fields.string(&path![map, key]))).collect::<BTreeMap<_, _>>()
        };
        let confirmed = view.keys(&path!["confirmed"]).into_iter().map(|block| {
            let who = fields.members(&path!["confirmed", block.as_str()]).collect();
            (block, who)
        });
        Self {
            period: fields.string(&path!["period"]),
            kind: fields.string(&path!["kind"]),
            header: named("header"),
            venue: fields.string(&path!["venue"]),
            started_at: fields.time(&path!["started_at"]),
            ended_at: fields.time(&path!["ended_at"]),
            chair: fields.member(&path!["chair"]),
            recorder: fields.member(&path!["recorder"]),
            outline: Outline::read(fields),
            confirmed: confirmed.collect(),
            motions,
            decisions: view
                .keys(&path!["decisions"])
                .into_iter()
                .map(|id| (id.clone(), fields.prose(&path!["decisions", id, "text"])))
                .collect(),
            attendance: fields.string(&path!["attendance", "summary"]),
            life: lifecycle::fold::<state::MinutesLife>(&lifecycle::read(view)),
            seals: crate::seal::read(fields),
        }
    }
}

/// What minutes begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMinutes<'a> {
    /// The meeting's key.
    pub meeting: &'a str,
    /// `YYYY-MM`.
    pub period: &'a str,
    /// Which kind.
    pub kind: Kind,
    /// The parts of the form's head that a template fills in.
    pub header: &'a [(&'a str, &'a str)],
}

/// Makes the document.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(edit: &mut Edit<'_>, new: &NewMinutes<'_>) -> Result<(), EditError> {
    edit.put(&path!["schema"], SCHEMA.name)?;
    edit.put(&path!["meeting"], new.meeting)?;
    edit.put(&path!["period"], new.period)?;
    edit.put(&path!["kind"], new.kind.name())?;
    edit.put(&path!["language"], "vi")?;
    MAPS.iter().try_for_each(|map| edit.put_map(&path![*map]))?;
    new.header.iter().try_for_each(|(key, text)| edit.put(&path!["header", *key], *text))
}

/// Writes one of the plain fields: `venue`, a part of the head as `header/symbol`.
///
/// # Errors
/// If this device may not.
pub fn set(edit: &mut Edit<'_>, field: &Path, value: impl Into<Value>) -> Result<(), EditError> {
    put_register(edit, field, value)
}

/// Puts something to the vote. Returns its key. `subject`: the document that it adopts, with its heads.
///
/// # Errors
/// If this device may not.
pub fn move_motion(
    edit: &mut Edit<'_>,
    me: &mut Me,
    title: &str,
    threshold: Threshold,
    subject: Option<(&DocId, &str)>,
) -> Result<String, EditError> {
    let id = me.new_id();
    let mut fields = BTreeMap::from([
        ("title".to_owned(), Value::from(title)),
        ("threshold".to_owned(), threshold_name(threshold).into()),
    ]);
    if let Some((doc, heads)) = subject {
        fields.insert("document".to_owned(), doc.to_string().into());
        fields.insert("heads".to_owned(), heads.into());
    }
    edit.put(&path!["motions", id.as_str()], Value::Map(fields))?;
    Ok(id)
}

/// A count to write down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count<'a> {
    /// Of which motion.
    pub motion: &'a str,
    /// How it was taken.
    pub method: Method,
    /// Against whom; see [`base`](crate::vote::base).
    pub base: &'a Base,
    /// How many must be for it.
    pub threshold: Threshold,
    /// What was counted.
    pub tally: Tally,
    /// The papers, of a secret ballot.
    pub ballots: Option<Ballots>,
}

/// Writes a count down; it holds when an officer other than this one confirms it. Check it before:
/// [`check`](crate::vote::check).
///
/// # Errors
/// If this device may not.
pub fn record_count(edit: &mut Edit<'_>, me: &mut Me, count: &Count<'_>) -> Result<String, EditError> {
    let id = me.new_id();
    let number = |n: u32| Value::Uint(u64::from(n));
    let mut fields = BTreeMap::from([
        ("motion".to_owned(), Value::from(count.motion)),
        ("method".to_owned(), method_name(count.method).into()),
        ("base".to_owned(), number(count.base.count)),
        ("needed".to_owned(), number(count.threshold.needed(count.base.count))),
        ("yes".to_owned(), number(count.tally.yes)),
        ("no".to_owned(), number(count.tally.no)),
        ("abstain".to_owned(), number(count.tally.abstain)),
        ("by".to_owned(), me.key().into()),
        ("at".to_owned(), Value::Timestamp(me.now)),
    ]);
    let left_out = count.base.left_out.iter();
    let left_out = left_out.map(|(id, why)| (id.to_string(), Value::from(format!("{why:?}").as_str())));
    fields.insert("left_out".to_owned(), Value::Map(left_out.collect()));
    if let Some(ballots) = count.ballots {
        fields.insert("issued".to_owned(), number(ballots.issued));
        fields.insert("returned".to_owned(), number(ballots.returned));
        fields.insert("valid".to_owned(), number(ballots.valid));
    }
    edit.put(&path!["votes", id.as_str()], Value::Map(fields))?;
    Ok(id)
}

/// Confirms a count. That the same person wrote it down does not count as one.
///
/// # Errors
/// If this device may not.
pub fn confirm_count(edit: &mut Edit<'_>, me: &Me, vote: &str) -> Result<(), EditError> {
    edit.put(&path!["confirmed_votes", vote], me.key())
}

/// Settles a dispute about where the minutes stand.
///
/// # Errors
/// If this device may not.
pub fn resolve(edit: &mut Edit<'_>, me: &mut Me, choose: &str) -> Result<String, EditError> {
    let folded = lifecycle::fold::<state::MinutesLife>(&lifecycle::read(&edit.view()));
    lifecycle::write(edit, me, RESOLVE, &folded.heads, [("choose", choose.into())])
}
