//! What a phone shows: seals and what came late, the numbers of the meeting, contested values, the papers.

use std::collections::BTreeMap;

use dinh_core::document::{ChangeHash, Document, DocumentError, Path};
use dinh_core::gate::rights::Schema;
use dinh_core::replica::{Now, ReplicaError};
use dinh_model::access::writers;
use dinh_model::field::Fields;
use dinh_model::interchange::form::{self, Form, Locale, Markup};
use dinh_model::minutes::{self, Minutes};
use dinh_model::resolution::{self, Resolution};
use dinh_model::seal::{self, Seal};
use dinh_model::votebox::Question;
use dinh_model::{late, overlap};
use dinh_proto::ids::MemberId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hand::Hand;
use super::refused;
use crate::act::{Doc, roster_id};

/// A change that came after the seal without knowing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateChange {
    /// The change.
    pub change: String,
    /// Whose phone it is from, by its id in the roster.
    pub member: String,
    /// The field: keys from the root.
    pub field: Vec<String>,
    /// What its writer saw there.
    pub before: String,
    /// What it wrote.
    pub after: String,
}

/// A seal as a phone finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealSeen {
    /// The sealed document.
    pub doc: Doc,
    /// The hash of the content.
    pub content: String,
    /// The hash of the seal, by which the next one names it.
    pub hash: String,
    /// The seals that it follows.
    pub previous: Vec<String>,
    /// `valid`, if what stands at its heads is what it says.
    pub verified: String,
    /// What came too late, oldest first.
    pub late: Vec<LateChange>,
}

/// A count that holds: for, against, base, whether it carried.
pub type Held = (u32, u32, u32, bool);

/// The numbers of the meeting as a phone shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// On the roster.
    pub total: u32,
    /// Members here, official or on probation.
    pub present: u32,
    /// Of them, official.
    pub present_official: u32,
    /// On the roster and not marked.
    pub unmarked: u32,
    /// Whom votes are counted against.
    pub base: u32,
    /// Who is left out of it, by name, and why.
    pub left_out: Vec<(String, String)>,
    /// Motions with what holds: yes, no, base, carried.
    pub motions: Vec<(String, Option<Held>)>,
    /// Votes on the phones: yes, no, abstain.
    pub phones: Option<(u32, u32, u32)>,
    /// Where the resolution stands.
    pub resolution: String,
    /// Where the minutes stand.
    pub minutes: String,
    /// The number of the resolution.
    pub number: Option<String>,
    /// Blocks of the resolution that several wrote in apart and nobody reread, with who.
    pub overlaps: Vec<(String, Vec<String>)>,
}

/// The papers, laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Papers {
    /// File names and contents.
    pub files: BTreeMap<String, String>,
}

/// The schema of what is sealed.
pub fn schema_of(doc: &Doc) -> &'static Schema {
    if *doc == Doc::Minutes { &minutes::SCHEMA } else { &resolution::OPEN_SCHEMA }
}

fn failed(error: DocumentError) -> ReplicaError {
    refused(&error.to_string())
}

fn standing(hand: &mut Hand<'_>, doc: &Doc) -> Result<Option<Seal>, ReplicaError> {
    hand.read(doc, |f| seal::read(f).get().cloned())
}

fn heads_of(document: &Document, seal: &Seal) -> Vec<ChangeHash> {
    let all = document.history().into_iter().map(|c| c.hash);
    all.filter(|hash| seal.heads.contains(&hash.to_string())).collect()
}

/// What came too late to what is sealed.
fn late_of(hand: &mut Hand<'_>, doc: &Doc) -> Result<Vec<LateChange>, ReplicaError> {
    let id = hand.id(doc)?;
    let proposals = late::of(hand.replica, &id, schema_of(doc))?;
    let seen = |p: late::Proposal| LateChange {
        change: p.change,
        member: p.by.map(|by| roster_id(&by.member)).unwrap_or_default(),
        field: p.field,
        before: p.before,
        after: p.after,
    };
    Ok(proposals.into_iter().map(seen).collect())
}

/// Blocks of the resolution that several wrote in without knowing of each other, with who, by ids in the roster.
pub fn overlaps(hand: &mut Hand<'_>) -> Result<Vec<(String, Vec<String>)>, ReplicaError> {
    let id = hand.id(&Doc::Resolution)?;
    let known = writers(hand.replica, &id);
    let found = hand.replica.document(&id, |d| overlap::overlaps(d, &known))?.map_err(failed)?;
    Ok(found.iter().map(|o| (o.block.clone(), o.members.iter().map(roster_id).collect())).collect())
}

/// What day it is, `YYYY-MM-DD`: the story is over before its month is.
pub fn day(now: Now) -> String {
    let days = (i64::try_from(now.wall.0).unwrap_or(0) - crate::story::DAY).div_euclid(86_400_000);
    if days < -2 { format!("2026-11-{:02}", 33 + days) } else { format!("2026-12-{:02}", 3 + days) }
}

/// The seals that stand here.
pub fn seals(hand: &mut Hand<'_>) -> Result<Vec<SealSeen>, ReplicaError> {
    let mut seen = Vec::new();
    for doc in [Doc::Minutes, Doc::Resolution] {
        if hand.id(&doc).is_err() {
            continue;
        }
        let Some(found) = standing(hand, &doc)? else { continue };
        let id = hand.id(&doc)?;
        let schema = schema_of(&doc);
        let verified = hand.replica.document(&id, |d| seal::verify(d, &found, schema))?.map_err(failed)?;
        let verified = serde_json::to_value(verified).unwrap_or_default();
        seen.push(SealSeen {
            content: found.content.clone(),
            hash: found.hash(),
            previous: found.previous.clone(),
            verified: verified.as_str().unwrap_or_default().to_owned(),
            late: late_of(hand, &doc)?,
            doc,
        });
    }
    Ok(seen)
}

/// The numbers of the meeting.
pub fn numbers(hand: &mut Hand<'_>) -> Result<Numbers, ReplicaError> {
    let (roster, roll) = hand.roll()?;
    let people = roster.shown();
    let left_out = roll.base.left_out.iter().map(|(id, why)| {
        let name = people.get(id).map_or_else(|| roster_id(id), |p| p.name.clone());
        (name, format!("{why:?}"))
    });
    let minutes = hand.read(&Doc::Minutes, Minutes::read)?;
    let resolution = hand.read(&Doc::Resolution, Resolution::read)?;
    let phones = hand.read(&Doc::Votebox, Question::read_all)?;
    let motion = |m: &minutes::Motion| {
        let result = m.result().map(|v| (v.tally.yes, v.tally.no, v.base, v.carried));
        (m.title.get().cloned().unwrap_or_default(), result)
    };
    Ok(Numbers {
        total: roll.total,
        present: roll.present_official + roll.present_probationary,
        present_official: roll.present_official,
        unmarked: roll.unmarked,
        base: roll.base.count,
        left_out: left_out.collect(),
        motions: minutes.motions.iter().map(motion).collect(),
        phones: phones
            .iter()
            .find_map(|q| q.closed.get())
            .map(|c| (c.tally.yes, c.tally.no, c.tally.abstain)),
        resolution: word(&resolution.life.status.state()),
        minutes: word(&minutes.life.status.state()),
        number: resolution.number.get().cloned(),
        overlaps: overlaps(hand)?,
    })
}

/// A state by the word of its lifecycle.
fn word<S: Serialize>(state: &Option<S>) -> String {
    let value = serde_json::to_value(state).unwrap_or_default();
    value.as_str().unwrap_or("disputed").to_owned()
}

/// The values that stand at a place of a document, what is shown first, with whose they are.
pub fn values(
    hand: &mut Hand<'_>,
    doc: &Doc,
    place: &[String],
) -> Result<Vec<(Value, String)>, ReplicaError> {
    let at = path_of(place);
    let id = hand.id(doc)?;
    let known = writers(hand.replica, &id);
    let all = hand.replica.view(&id, |v| v.conflicts(&at))?;
    let shown = all.iter().map(|c| {
        let by = known.of(&c.actor).map(|w| roster_id(&w.member)).unwrap_or_default();
        (serde_json::to_value(&c.value).unwrap_or_default(), by)
    });
    Ok(shown.collect())
}

/// A place as a path of the document.
pub fn path_of(place: &[String]) -> Path {
    place.iter().fold(Path::root(), |path, key| path.join(key.as_str()))
}

/// A whole document as JSON; `sealed`: as it was sealed. `None` when it has not arrived, or bears no seal.
pub fn dump(hand: &mut Hand<'_>, doc: &Doc, sealed: bool) -> Result<Option<Value>, ReplicaError> {
    let Ok(id) = hand.id(doc) else { return Ok(None) };
    let whole = if sealed {
        let Some(found) = standing(hand, doc)? else { return Ok(None) };
        let at = |d: &Document| d.view_at(&heads_of(d, &found)).map(|v| v.get(&Path::root()));
        hand.replica.document(&id, at)?.map_err(failed)?
    } else {
        hand.replica.view(&id, |v| v.get(&Path::root()))?
    };
    Ok(whole
        .and_then(|v| serde_json::to_value(&v).ok())
        .filter(|v| v.as_object().is_some_and(|m| !m.is_empty())))
}

/// The sealed papers, as an app would print them.
pub fn papers(hand: &mut Hand<'_>) -> Result<Papers, ReplicaError> {
    let people = hand.roll()?.0.shown();
    let name = |id: &MemberId| people.get(id).map_or_else(|| roster_id(id), |p| p.name.clone());
    let mut files = BTreeMap::new();
    for doc in [Doc::Minutes, Doc::Resolution] {
        let Some(found) = standing(hand, &doc)? else { continue };
        let id = hand.id(&doc)?;
        let known = writers(hand.replica, &id);
        let form = hand.replica.document(&id, |d| {
            let view = d.view_at(&heads_of(d, &found))?;
            let locale = Locale { name: &name, utc_offset_minutes: 420 };
            Ok::<_, DocumentError>(Form::read(&Fields::new(&view, &known), &locale))
        })?;
        let form = Form { is_sealed: true, is_draft: false, ..form.map_err(failed)? };
        let file = if doc == Doc::Minutes { "bien-ban.html" } else { "nghi-quyet.html" };
        let page = form::render(Markup::Html, &form).map_err(|error| refused(&error.to_string()))?;
        files.insert(file.to_owned(), page);
    }
    Ok(Papers { files })
}
