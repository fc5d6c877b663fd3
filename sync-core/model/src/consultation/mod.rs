//! Consultations: how a draft goes from the committee to the branch and to the upper body, round by round.
//!
//! Who holds an Automerge document reads all of it, with its history. So a draft has a document of its own in the committee's
//! space; opening a round copies it to the *resolution*, which lives in the branch's space, where members read and suggest, and
//! puts a frozen copy, the *round*, into the oversight for reviewers. Taking it back copies what the members made of it to
//! the draft. The meeting debates, adopts and seals the resolution.

mod copy;

use dinh_core::document::{EditError, Value};
use dinh_core::gate::rights::{How, Rule, Schema, Step, Who};
use dinh_core::path;
use dinh_core::replica::{Now, Replica, ReplicaError};
use dinh_core::store::Store;
use dinh_proto::charter::record::Writers;
use dinh_proto::ids::{DocId, SpaceId};
use serde::Serialize;

use crate::access::{act, read};
use crate::branch::{self, Place};
use crate::field::{Fields, count};
use crate::index::{Entry, Index};
use crate::lifecycle::Status;
use crate::resolution::state::State;
use crate::resolution::{self, Resolution, heads_text};
use crate::review;

use self::copy::Draft;

/// A round, as reviewers read it: written once, by the officer who opened it.
pub static SCHEMA: Schema = Schema {
    name: "dinh.round/1",
    rules: &[Rule::new(&[Step::Rest], Who::CREATOR, How::Once)],
    others: Who::NOBODY,
    seal: None,
};

/// The documents of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Which round, from 1.
    pub round: u32,
    /// What the branch reads.
    pub resolution: DocId,
    /// What reviewers read.
    pub frozen: DocId,
    /// Where reviewers answer.
    pub review: DocId,
}

/// A frozen round as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Round {
    /// The resolution.
    pub subject: String,
    /// Which round, from 1.
    pub round: u32,
    /// The heads of the resolution that it shows, in hex, in order.
    pub heads: Vec<String>,
    /// The parts of the head, legal bases, and the words that enact it, one a line.
    pub preamble: Vec<String>,
    /// The prose.
    pub sections: Vec<RoundSection>,
    /// Who does what by when: task, owners (member ids in hex, with commas), quantity, due day.
    pub assignments: Vec<[String; 4]>,
}

/// A section of a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoundSection {
    /// Its heading.
    pub heading: String,
    /// The blocks: their keys in the resolution, and what they say.
    pub blocks: Vec<(String, String)>,
}

impl Round {
    /// Reads it; `None` until it is here.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Option<Self> {
        let Value::Map(root) = fields.view().get(&path!["round"])? else { return None };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts = |value: &Value| match value {
            Value::List(all) => all.iter().map(text).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        let section = |value: &Value| {
            let Value::Map(section) = value else { return None };
            let Value::List(blocks) = section.get("blocks")? else { return None };
            let block = |value: &Value| match texts(value)?.as_slice() {
                [id, text] => Some((id.clone(), text.clone())),
                _ => None,
            };
            let blocks = blocks.iter().map(block).collect::<Option<_>>()?;
            Some(RoundSection { heading: text(section.get("heading")?)?, blocks })
        };
        let list = |key: &str| match root.get(key) {
            Some(Value::List(all)) => Some(all),
            _ => None,
        };
        let assignment = |value: &Value| texts(value)?.try_into().ok();
        Some(Self {
            subject: text(root.get("subject")?)?,
            round: root.get("number").and_then(count)?,
            heads: texts(root.get("heads")?)?,
            preamble: texts(root.get("preamble")?)?,
            sections: list("sections")?.iter().map(section).collect::<Option<_>>()?,
            assignments: list("assignments")?.iter().map(assignment).collect::<Option<_>>()?,
        })
    }
}

fn refused(why: &str) -> ReplicaError {
    ReplicaError::Edit(EditError::Refused(why.to_owned()))
}

/// The resolution that a draft was opened as, if it was.
///
/// # Errors
/// [`ReplicaError::UnknownBranch`]; see [`Replica::view`].
pub fn resolution_of<S: Store>(
    replica: &mut Replica<S>,
    branch: &SpaceId,
    draft: &DocId,
) -> Result<Option<DocId>, ReplicaError> {
    let Some(standing) = branch::standing(replica, branch)? else { return Ok(None) };
    made_from(replica, &standing.members, draft, None)
}

/// The document that a space lists as made from another one.
fn made_from<S: Store>(
    replica: &mut Replica<S>,
    place: &Place,
    of: &DocId,
    like: Option<(&Schema, Option<&str>)>,
) -> Result<Option<DocId>, ReplicaError> {
    let index = read(replica, &place.index, Index::read)?;
    let of = of.to_string();
    let fits = like.map_or(resolution::SCHEMA.name, |(schema, _)| schema.name);
    let found = index.documents.iter().find(|(_, entry)| {
        let schema = entry.schema == fits || (like.is_none() && entry.schema == resolution::OPEN_SCHEMA.name);
        schema
            && entry.of.as_deref() == Some(&of)
            && like.is_none_or(|(_, kind)| entry.kind.as_deref() == kind)
            && entry.same_as.get().is_none()
    });
    Ok(found.and_then(|(id, _)| id.parse().ok()))
}

/// Opens the next round of a draft in the committee's space: to the branch, and as a numbered round to the oversight, where a
/// review is asked for. By an officer. `schema` says who writes the text of the resolution; it counts in the first round.
///
/// If it was interrupted, calling it again finishes what is missing.
///
/// # Errors
/// [`EditError::Refused`] unless the committee has looked the draft over, or while its state is disputed;
/// [`ReplicaError::Denied`] unless this device is an officer's.
pub fn open_round<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: &SpaceId,
    draft: &DocId,
    schema: &'static Schema,
) -> Result<Opened, ReplicaError> {
    let standing = branch::standing(replica, branch)?
        .ok_or_else(|| refused("the branch's spaces are not here: connect to the relay first"))?;
    // What is being typed belongs to what is copied, and to its heads.
    replica.flush_text(now, draft)?;
    let source = read(replica, draft, Draft::read)?;
    let resolution = match made_from(replica, &standing.members, draft, None)? {
        None => {
            may_open(&source.resolution)?;
            let period = source.resolution.period.get().cloned().unwrap_or_default();
            let of = draft.to_string();
            let entry =
                Entry { schema: schema.name, period: Some(&period), of: Some(&of), ..Entry::default() };
            branch::create(replica, now, &standing.members, Writers::All, &entry, |edit, me| {
                resolution::create(edit, schema, &period, &[])?;
                source.write(edit, me, copy::Ids::Kept)
            })?
        }
        Some(resolution) => resolution,
    };
    replica.flush_text(now, &resolution)?;
    // What the branch was shown, and what the draft knows of: more if this was interrupted.
    let shown = read(replica, &resolution, Resolution::read)?;
    let is_opened = shown.round > source.resolution.round
        || (shown.round > 0 && source.resolution.life.status == Status::In(State::Consulting));
    let round = if is_opened {
        shown.round
    } else {
        may_open(&source.resolution)?;
        if shown.round > 0 {
            act(replica, now, &resolution, None, |edit, me| source.write(edit, me, copy::Ids::New))?;
        }
        if shown.life.status == Status::In(State::Drafting) && shown.round == 0 {
            step(replica, now, &resolution, "committee_review", &[("draft", &draft.to_string())])?;
        }
        let heads = heads_text(&replica.document(&resolution, |d| d.heads())?);
        step(replica, now, &resolution, "consulting", &[("heads", &heads)])?;
        shown.round + 1
    };
    if source.resolution.round < round {
        let heads = heads_text(&replica.document(draft, |d| d.heads())?);
        let data = [("heads", heads.as_str()), ("document", &resolution.to_string())];
        step(replica, now, draft, "consulting", &data)?;
    }
    let frozen = freeze(replica, now, &standing.oversight, &resolution, round)?;
    let review = ask(replica, now, &standing.oversight, &resolution, round)?;
    Ok(Opened { round, resolution, frozen, review })
}

fn may_open(draft: &Resolution) -> Result<(), ReplicaError> {
    match draft.life.status {
        Status::In(State::CommitteeReview) => Ok(()),
        Status::In(State::Drafting) if draft.round > 0 => Ok(()),
        Status::In(State::Drafting) => {
            Err(refused("the committee has not looked the draft over yet: note its review first"))
        }
        Status::In(_) => Err(refused("a round is open already, or the draft is past consulting")),
        Status::Disputed(_) => Err(refused("what became of the draft is disputed: settle that first")),
    }
}

fn step<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    doc: &DocId,
    kind: &str,
    data: &[(&'static str, &str)],
) -> Result<(), ReplicaError> {
    let data = data.iter().map(|(key, text)| (*key, Value::from(*text)));
    act(replica, now, doc, None, |edit, me| resolution::step(edit, me, kind, data))?;
    Ok(())
}

/// The frozen copy of a round for the oversight.
fn freeze<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    oversight: &Place,
    resolution: &DocId,
    round: u32,
) -> Result<DocId, ReplicaError> {
    let kind = round.to_string();
    if let Some(found) = made_from(replica, oversight, resolution, Some((&SCHEMA, Some(&kind))))? {
        return Ok(found);
    }
    let shown = read(replica, resolution, Draft::read)?;
    let heads = heads_text(&replica.document(resolution, |d| d.heads())?);
    let of = resolution.to_string();
    let content = shown.frozen(&of, round, &heads);
    let entry = Entry {
        schema: SCHEMA.name,
        period: shown.resolution.period.get().map(String::as_str),
        kind: Some(&kind),
        of: Some(&of),
    };
    branch::create(replica, now, oversight, Writers::All, &entry, |edit, _| {
        edit.put(&path!["schema"], SCHEMA.name)?;
        edit.put(&path!["round"], content)
    })
}

/// Asks the reviewers for a review of a round.
fn ask<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    oversight: &Place,
    resolution: &DocId,
    round: u32,
) -> Result<DocId, ReplicaError> {
    let of = resolution.to_string();
    let review = match made_from(replica, oversight, resolution, Some((&review::SCHEMA, None)))? {
        Some(found) => found,
        None => {
            let entry = Entry { schema: review::SCHEMA.name, of: Some(&of), ..Entry::default() };
            branch::create(replica, now, oversight, Writers::All, &entry, |edit, _| {
                review::create(edit, &of)
            })?
        }
    };
    let asked = read(replica, &review, review::Review::read)?.life.status;
    if asked.state().is_none_or(|state| state.round() < round) {
        act(replica, now, &review, None, |edit, me| review::step(edit, me, "requested", round))?;
    }
    Ok(review)
}

/// Takes the draft back to the committee: what the branch made of it is copied to the draft, which the committee goes on with.
/// By an officer.
///
/// # Errors
/// [`EditError::Refused`] if no round is open; [`ReplicaError::Denied`] unless this device is an officer's.
pub fn take_back<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: &SpaceId,
    draft: &DocId,
) -> Result<(), ReplicaError> {
    let resolution =
        resolution_of(replica, branch, draft)?.ok_or_else(|| refused("no round of this draft was opened"))?;
    // What is being typed belongs to what is copied.
    replica.flush_text(now, &resolution)?;
    let shown = read(replica, &resolution, Draft::read)?;
    let stands = read(replica, draft, Resolution::read)?.life.status;
    match (&shown.resolution.life.status, &stands) {
        (Status::In(State::Consulting), _) => step(replica, now, &resolution, "drafting", &[])?,
        // It was interrupted after that.
        (Status::In(State::Drafting), Status::In(State::Consulting)) => {}
        _ => return Err(refused("no round is open, or it is debated already")),
    }
    act(replica, now, draft, None, |edit, me| shown.write(edit, me, copy::Ids::New))?;
    if stands == Status::In(State::Consulting) {
        step(replica, now, draft, "drafting", &[])?;
    }
    Ok(())
}
