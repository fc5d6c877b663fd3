//! Votes on the phones. They follow the hands in the hall and never decide against them; what is secret is not here at all.

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::gate::rights::{How, Rule, Says, Schema, Step, Who};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::{Deserialize, Serialize};

use crate::field::{Fields, Register, count, member, time};
use crate::me::Me;
use crate::vote::Tally;

const KEEPERS: Who = Who::RECORDER.or(Who::OFFICERS);

/// Who writes what: everybody who may vote its own ballot, nobody another's; who is on probation none.
pub static SCHEMA: Schema = Schema {
    name: "dinh.votebox/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("questions"), Step::Any, Step::Rest], KEEPERS, How::Entry),
        Rule::new(&[Step::Key("ballots"), Step::Any], KEEPERS, How::Once),
        Rule::new(&[Step::Key("ballots"), Step::Any, Step::Own], Who::OFFICIAL, How::Free),
        Rule::new(&[Step::Key("ballots"), Step::Any, Step::Rest], Who::NOBODY, How::Once),
        Rule::new(&[Step::Key("closed"), Step::Any, Step::Key("by")], KEEPERS, How::Entry).saying(Says::Own),
        Rule::new(&[Step::Key("closed"), Step::Any, Step::Rest], KEEPERS, How::Entry),
    ],
    others: KEEPERS,
    seal: None,
};

/// What somebody votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// For.
    Yes,
    /// Against.
    No,
    /// Neither.
    Abstain,
}

impl Choice {
    const ALL: [Self; 3] = [Self::Yes, Self::No, Self::Abstain];

    const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Abstain => "abstain",
        }
    }
}

/// A question as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Question {
    /// Its key.
    pub id: String,
    /// What is asked.
    pub title: String,
    /// Since when, by the phone's clock that asked: milliseconds since 1970.
    pub at: i64,
    /// Who voted what. Of two of one member's phones the one that is shown counts.
    pub ballots: BTreeMap<MemberId, Register<Choice>>,
    /// What was counted when it was closed, with who was counted. Ballots that come later change nothing.
    pub closed: Register<Closed>,
}

/// The end of a vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// What was counted.
    pub tally: Tally,
    /// How many ballots.
    pub voters: u32,
    /// Who closed it.
    pub by: MemberId,
    /// When, by that phone's clock: milliseconds since 1970.
    pub at: i64,
}

impl Question {
    /// Reads all of a document.
    #[must_use]
    pub fn read_all(fields: &Fields<'_, '_>) -> Vec<Self> {
        let choice = |value: &Value| {
            let name = value.as_str()?;
            Choice::ALL.into_iter().find(|c| c.name() == name)
        };
        let closed = |value: &Value| {
            let Value::Map(entry) = value else { return None };
            let number = |key: &str| entry.get(key).and_then(count);
            let tally = Tally { yes: number("yes")?, no: number("no")?, abstain: number("abstain")? };
            let by = member(entry.get("by")?.as_str()?)?;
            Some(Closed {
                tally,
                voters: number("voters")?,
                by,
                at: entry.get("at").and_then(time).unwrap_or_default(),
            })
        };
        let ids = fields.view().keys(&path!["questions"]).into_iter();
        ids.map(|id| {
            let voters = fields.members(&path!["ballots", id.as_str()]);
            let ballot =
                |m: MemberId| (m, fields.register(&path!["ballots", id.as_str(), m.to_string()], choice));
            let asked = |key: &str| path!["questions", id.as_str(), key];
            Self {
                title: fields.string(&asked("title")).get().cloned().unwrap_or_default(),
                at: fields.time(&asked("at")).get().copied().unwrap_or_default(),
                ballots: voters.map(ballot).collect(),
                closed: fields.register(&path!["closed", id.as_str()], closed),
                id,
            }
        })
        .collect()
    }

    /// The ballots of these members, as they are now.
    #[must_use]
    pub fn tally(&self, voters: &BTreeSet<MemberId>) -> (Tally, u32) {
        let mut tally = Tally::default();
        let chosen = self.ballots.iter().filter(|(id, _)| voters.contains(id)).filter_map(|(_, b)| b.get());
        let mut counted = 0;
        for choice in chosen {
            counted += 1;
            match choice {
                Choice::Yes => tally.yes += 1,
                Choice::No => tally.no += 1,
                Choice::Abstain => tally.abstain += 1,
            }
        }
        (tally, counted)
    }
}

/// Makes the empty document.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(edit: &mut Edit<'_>) -> Result<(), EditError> {
    edit.put(&path!["schema"], SCHEMA.name)?;
    ["questions", "ballots", "closed"].iter().try_for_each(|map| edit.put_map(&path![*map]))
}

/// Asks a question. Returns its key.
///
/// # Errors
/// If this device may not.
pub fn ask(edit: &mut Edit<'_>, me: &mut Me, title: &str) -> Result<String, EditError> {
    let id = me.new_id();
    let fields = [("title".to_owned(), Value::from(title)), ("at".to_owned(), Value::Timestamp(me.now))];
    edit.put(&path!["questions", id.as_str()], Value::Map(fields.into()))?;
    edit.put_map(&path!["ballots", id.as_str()])?;
    Ok(id)
}

/// Votes, or votes anew while the question is open.
///
/// # Errors
/// If this device may not (a member on probation does not vote), or there is no such question.
pub fn cast(edit: &mut Edit<'_>, me: &Me, question: &str, choice: Choice) -> Result<(), EditError> {
    edit.put(&path!["ballots", question, me.key()], choice.name())
}

/// Closes a question with what is counted of these members now.
///
/// # Errors
/// If this device may not, or it is closed.
pub fn close(
    edit: &mut Edit<'_>,
    me: &Me,
    question: &Question,
    voters: &BTreeSet<MemberId>,
) -> Result<(), EditError> {
    let (tally, counted) = question.tally(voters);
    let number = |n: u32| Value::Uint(u64::from(n));
    let fields = BTreeMap::from([
        ("yes".to_owned(), number(tally.yes)),
        ("no".to_owned(), number(tally.no)),
        ("abstain".to_owned(), number(tally.abstain)),
        ("voters".to_owned(), number(counted)),
        ("by".to_owned(), Value::from(me.key())),
        ("at".to_owned(), Value::Timestamp(me.now)),
    ]);
    edit.put(&path!["closed", question.id.as_str()], Value::Map(fields))
}
