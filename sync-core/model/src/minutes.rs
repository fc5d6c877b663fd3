//! Minutes of a meeting: what was said and decided, written by the recorder, adopted by the branch, sealed.

pub mod parts;
pub mod state;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::{Edit, EditError, Path, ReadDoc, Value, View};
use dinh_core::gate::rights::{How, Rule, Says, Schema, Seal, Step, Who};
use dinh_core::path;
use dinh_proto::ids::{DocId, MemberId};
use serde::{Deserialize, Serialize};

use crate::check::{CLASSIFICATIONS, refuse_classified};
use crate::field::{Fields, Register, count, member, put_register, time};
use crate::lifecycle::{self, Event, Folded, NotYet, RESOLVE, WRONG};
use crate::me::Me;
use crate::outline::{BLOCKS, Block, Outline, SECTIONS};
use crate::overlap::REREAD;
use crate::vote::{Ballots, Base, Method, Tally, Threshold};

const WRITERS: Who = Who::RECORDER.or(Who::OFFICERS);

/// What a seal freezes.
const FROZEN: &[&str] = &[
    "schema",
    "classification",
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
    "chosen_votes",
    "decisions",
    "assignments",
    "quality",
    "attendance",
    "documents_used",
    crate::amendment::AMENDS,
];

/// Who writes what.
pub static SCHEMA: Schema = Schema {
    name: "dinh.minutes/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("meeting")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("period")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("seal"), Step::Rest], Who::OFFICERS, How::Once),
        // What is above that is on no device with a network.
        Rule::new(&[Step::Key("classification")], WRITERS, How::Free).saying(Says::OneOf(&CLASSIFICATIONS)),
        Rule::new(&[Step::Key("classification")], Who::NOBODY, How::Once),
        Rule::new(&[Step::Key("chair")], Who::OFFICERS, How::Free),
        Rule::new(&[Step::Key("quality"), Step::Rest], Who::OFFICERS, How::Free),
        // Made with the document and never again: who put an empty one in its place would hide all that is in it.
        Rule::new(&[Step::Key(SECTIONS)], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key(BLOCKS)], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("motions")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("votes")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("confirmed_votes")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key(lifecycle::EVENTS)], Who::CREATOR, How::Once),
        // What is left out is hidden: somebody may be writing in it.
        Rule::new(&[Step::Key(SECTIONS), Step::Any], WRITERS, How::Once),
        Rule::new(&[Step::Key(BLOCKS), Step::Any], WRITERS, How::Once),
        Rule::new(&[Step::Key("chosen_votes"), Step::Any], Who::OFFICERS, How::Free),
        // A speaker says that these are its words.
        Rule::new(&[Step::Key("confirmed"), Step::Any, Step::Own], Who::EVERYBODY, How::Free),
        // Two people answer for a count: one writes it, another one, an officer, confirms it.
        Rule::new(&[Step::Key("votes"), Step::Any, Step::Key("by")], WRITERS, How::Entry).saying(Says::Own),
        Rule::new(&[Step::Key("votes"), Step::Any, Step::Rest], WRITERS, How::Entry),
        Rule::new(&[Step::Key("confirmed_votes"), Step::Any], Who::OFFICERS, How::Once).saying(Says::Own),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("by")], WRITERS, How::Entry).saying(Says::Own),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], WRITERS, How::Entry)
            .saying(Says::OneOf(&["read_back", "correction"])),
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
const MAPS: [&str; 19] = [
    "documents_used",
    "header",
    "guests",
    "agenda",
    SECTIONS,
    BLOCKS,
    "confirmed",
    "motions",
    "votes",
    "confirmed_votes",
    "chosen_votes",
    "decisions",
    "assignments",
    "quality",
    "attendance",
    lifecycle::EVENTS,
    REREAD,
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
    /// The count that an officer chose, where several were confirmed.
    pub chosen: Register<String>,
    /// Which count holds; see [`Motion::result`].
    pub holds: Option<String>,
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
    /// How many of them must be for it.
    pub needed: u32,
    /// What was counted.
    pub tally: Tally,
    /// The papers, of a secret ballot.
    pub ballots: Option<Ballots>,
    /// Whether it carried, against the base that is frozen with it.
    pub carried: bool,
    /// Who wrote it down.
    pub by: MemberId,
    /// When, by that phone's clock: milliseconds since 1970.
    pub at: i64,
    /// Who confirmed it, if somebody else did.
    pub confirmed_by: Option<MemberId>,
}

impl Motion {
    /// The count that holds: one that was confirmed, by hands before phones. `None` while there is none, or several that
    /// say different things and none of them is chosen.
    #[must_use]
    pub fn result(&self) -> Option<&Vote> {
        let chosen = self.chosen.get().filter(|_| !self.chosen.is_contested());
        let chosen = self.votes.iter().find(|v| v.confirmed_by.is_some() && Some(&v.id) == chosen);
        if chosen.is_some() {
            return chosen;
        }
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
    /// The meeting's name.
    pub meeting: String,
    /// Its month, `YYYY-MM`.
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
    pub chair: Register<MemberId>,
    /// Who writes it.
    pub recorder: Register<MemberId>,
    /// The prose.
    pub outline: Outline,
    /// Who said of which block that these are its words.
    pub confirmed: BTreeMap<String, BTreeSet<MemberId>>,
    /// What was voted on.
    pub motions: Vec<Motion>,
    /// Agenda, guests, assignments, quality.
    pub parts: parts::Parts,
    /// Decisions, by key.
    pub decisions: BTreeMap<String, parts::Decision>,
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
    let at = entry.get("at").and_then(time).unwrap_or_default();
    let carried = tally.yes >= needed;
    let motion = text("motion")?.to_owned();
    Some((motion, Vote { id, method, base, needed, tally, ballots, carried, by, at, confirmed_by }))
}

/// Says of adoptions what is wrong with the vote that they name. Nothing of it changes later: a count is complete when it is
/// written down, and who names its key has seen it. Who adopts answers for it as the second person.
fn check_votes<D: ReadDoc>(events: &mut [Event], view: &View<'_, D>) {
    for event in events.iter_mut().filter(|e| e.kind == "adopted") {
        if let Some(wrong) = wrong_vote(event, view) {
            event.data.insert(WRONG.to_owned(), wrong.into());
        }
    }
}

fn wrong_vote<D: ReadDoc>(event: &Event, view: &View<'_, D>) -> Option<&'static str> {
    const MISSING: Option<&str> = Some("a vote that was written down");
    let Some(Value::Map(vote)) = view.get(&path!["votes", event.text("vote")?]) else { return MISSING };
    let number = |key: &str| vote.get(key).and_then(count);
    let (Some(yes), Some(needed)) = (number("yes"), number("needed")) else { return MISSING };
    match vote.get("by").and_then(Value::as_str) {
        None => MISSING,
        Some(_) if yes < needed => Some("a vote that carried"),
        Some(by) if by == event.by => Some("a count that somebody else wrote down"),
        Some(_) => None,
    }
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
            let threshold = text("threshold").as_deref().and_then(Threshold::from_name);
            let mut motion = Motion {
                title: fields.string(&at.join("title")),
                subject: text("document").zip(text("heads")),
                threshold: threshold.unwrap_or(Threshold::MoreThanHalf),
                votes: votes.remove(&id).unwrap_or_default(),
                chosen: fields.string(&path!["chosen_votes", id.as_str()]),
                holds: None,
                id,
            };
            motion.holds = motion.result().map(|vote| vote.id.clone());
            motion
        };
        let motions: Vec<Motion> = view.keys(&path!["motions"]).into_iter().map(motion).collect();
        let named = |map: &str| {
            let keys = view.keys(&path![map]).into_iter();
            keys.map(|key| (key.clone(), fields.string(&path![map, key]))).collect::<BTreeMap<_, _>>()
        };
        let mut events = lifecycle::read(view);
        check_votes(&mut events, view);
        let life = lifecycle::fold::<state::MinutesLife>(&events);
        let confirmed = view.keys(&path!["confirmed"]).into_iter().map(|block| {
            let who = fields.members(&path!["confirmed", block.as_str()]).collect();
            (block, who)
        });
        let meeting = view.get(&path!["meeting"]).and_then(|name| name.as_str().map(str::to_owned));
        Self {
            meeting: meeting.unwrap_or_default(),
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
            parts: parts::Parts::read(fields),
            decisions: view
                .keys(&path!["decisions"])
                .into_iter()
                .map(|id| (id.clone(), parts::Decision::read(fields, id)))
                .collect(),
            attendance: fields.string(&path!["attendance", "summary"]),
            life,
            seals: crate::seal::read(fields),
        }
    }

    /// Whether they may be sealed: when the branch adopted them, and nobody contradicts it.
    ///
    /// # Errors
    /// Why not.
    pub fn may_seal(&self) -> Result<(), NotYet> {
        if self.seals.get().is_some() {
            return Err(NotYet::Sealed);
        }
        self.life.stands(|state| matches!(state, state::State::Adopted | state::State::Signed))
    }

    /// Blocks that somebody wrote who neither keeps this record nor leads the meeting, as two did who each thought that they
    /// were the recorder: to be shown beside the text of the one that is. None while it is not said who that is.
    #[must_use]
    pub fn attachments(&self) -> Vec<&Block> {
        let Some(recorder) = self.recorder.get().filter(|_| !self.recorder.is_contested()) else {
            return Vec::new();
        };
        let others = |block: &&Block| {
            let by = block.kind.by().map(|writer| writer.member);
            by.is_some_and(|by| by != *recorder && Some(&by) != self.chair.get())
        };
        self.outline.sections.iter().flat_map(|s| &s.blocks).filter(others).collect()
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
    edit.put(&path!["classification"], CLASSIFICATIONS[0])?;
    new.header.iter().try_for_each(|(_, text)| refuse_classified(text))?;
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
        ("threshold".to_owned(), threshold.name().into()),
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
    let left_out = left_out.map(|(id, why)| (id.to_string(), Value::from(why.name())));
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

/// Chooses the count of a motion that holds, where several were confirmed that say different things. By an officer.
///
/// # Errors
/// If this device may not.
pub fn choose_count(edit: &mut Edit<'_>, motion: &str, vote: &str) -> Result<(), EditError> {
    put_register(edit, &path!["chosen_votes", motion], vote)
}

/// Writes an event of their life.
///
/// # Errors
/// [`EditError::Refused`] if it would not count; if this device may not.
pub fn step<'a>(
    edit: &mut Edit<'_>,
    me: &mut Me,
    kind: &str,
    data: impl IntoIterator<Item = (&'a str, Value)>,
) -> Result<String, EditError> {
    let mut events = lifecycle::read(&edit.view());
    check_votes(&mut events, &edit.view());
    let data: Vec<(&str, Value)> = data.into_iter().collect();
    let named = data.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let mut candidate = [Event {
        id: String::new(),
        kind: kind.to_owned(),
        by: me.key(),
        at: me.now,
        after: Vec::new(),
        data: named,
    }];
    check_votes(&mut candidate, &edit.view());
    let [candidate] = candidate;
    lifecycle::step::<state::MinutesLife>(edit, me, kind, data, events, |events| {
        if let Some((wrong, event)) = candidate.data.get(WRONG).cloned().zip(events.last_mut()) {
            event.data.insert(WRONG.to_owned(), wrong);
        }
    })
}

/// Settles a dispute about where the minutes stand.
///
/// # Errors
/// If this device may not.
pub fn resolve(edit: &mut Edit<'_>, me: &mut Me, choose: &str) -> Result<String, EditError> {
    step(edit, me, RESOLVE, [("choose", choose.into())])
}
