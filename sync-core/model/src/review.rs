//! What reviewers of an upper body say about a draft, round by round. They never write in the branch's text.

pub mod state;

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::gate::rights::{How, Rule, Says, Schema, Step, Who};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::{Deserialize, Serialize};

use crate::check::refuse_classified;
use crate::field::{Fields, Register, member, put_register};
use crate::lifecycle::{self, Folded};
use crate::me::Me;

const BOTH: Who = Who::COMMITTEE.or(Who::REVIEWERS);

/// Who writes what.
pub static SCHEMA: Schema = Schema {
    name: "dinh.review/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("subject")], Who::CREATOR, How::Once),
        // Made with the document, by the committee, and never again.
        Rule::new(&[Step::Key("comments")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key(lifecycle::EVENTS)], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("comments"), Step::Any, Step::Key("by")], BOTH, How::Entry).saying(Says::Own),
        Rule::new(&[Step::Key("comments"), Step::Any, Step::Rest], BOTH, How::Entry),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("by")], BOTH, How::Entry).saying(Says::Own),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], Who::COMMITTEE, How::Entry)
            .saying(Says::OneOf(&["requested"])),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], Who::REVIEWERS, How::Entry),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Rest], BOTH, How::Entry),
    ],
    // An officer makes it and asks.
    others: Who::REVIEWERS.or(Who::CREATOR),
    seal: None,
};

/// How much a comment weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It has to be changed.
    MustFix,
    /// It could be better.
    Suggestion,
    /// It is good.
    Praise,
    /// The committee's answer to another comment.
    Reply,
}

impl Severity {
    const ALL: [Self; 4] = [Self::MustFix, Self::Suggestion, Self::Praise, Self::Reply];

    const fn name(self) -> &'static str {
        match self {
            Self::MustFix => "must_fix",
            Self::Suggestion => "suggestion",
            Self::Praise => "praise",
            Self::Reply => "reply",
        }
    }
}

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comment {
    /// Its key.
    pub id: String,
    /// Whose it is.
    pub by: MemberId,
    /// When, by that phone's clock.
    pub at: i64,
    /// The round of the draft that it is about.
    pub round: u32,
    /// How much it weighs.
    pub severity: Severity,
    /// The block that it is about, and what stands there, if it is about one.
    pub quote: Option<(String, String)>,
    /// The comment that it answers.
    pub answers: Option<String>,
    /// What it says.
    pub text: String,
}

/// A review as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Review {
    /// The document that is reviewed.
    pub subject: Register<String>,
    /// The body through which its remarks went to the branch, if they did not go directly.
    pub via: Register<String>,
    /// Oldest first.
    pub comments: Vec<Comment>,
    /// Where it stands, of the newest round that was asked for.
    pub life: Folded<state::State>,
}

impl Review {
    /// Reads it.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let ids = fields.view().keys(&path!["comments"]).into_iter();
        let mut comments: Vec<Comment> = ids.filter_map(|id| read_comment(fields, id)).collect();
        comments.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        Self {
            subject: fields.string(&path!["subject"]),
            via: fields.string(&path!["via"]),
            comments,
            life: lifecycle::fold::<state::ReviewLife>(&lifecycle::read(fields.view())),
        }
    }
}

fn read_comment(fields: &Fields<'_, '_>, id: String) -> Option<Comment> {
    let Value::Map(entry) = fields.view().get(&path!["comments", id.as_str()])? else { return None };
    let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let Some(Value::Timestamp(at)) = entry.get("at") else { return None };
    let severity = text("severity")?;
    Some(Comment {
        by: member(&text("by")?)?,
        at: *at,
        round: entry.get("round").and_then(crate::field::count)?,
        severity: Severity::ALL.into_iter().find(|s| s.name() == severity)?,
        quote: text("block").zip(text("quote")),
        answers: text("answers"),
        text: text("text")?,
        id,
    })
}

/// Makes the empty document for the reviews of another one.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(edit: &mut Edit<'_>, subject: &str) -> Result<(), EditError> {
    edit.put(&path!["schema"], SCHEMA.name)?;
    edit.put(&path!["subject"], subject)?;
    ["comments", lifecycle::EVENTS].iter().try_for_each(|map| edit.put_map(&path![*map]))
}

/// Says through which body the remarks went to the branch.
///
/// # Errors
/// If this device may not.
pub fn set_via(edit: &mut Edit<'_>, body: &str) -> Result<(), EditError> {
    put_register(edit, &path!["via"], body)
}

/// A comment to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewComment<'a> {
    /// The round that it is about.
    pub round: u32,
    /// How much it weighs.
    pub severity: Severity,
    /// The block, and what stands there.
    pub quote: Option<(&'a str, &'a str)>,
    /// The comment that it answers.
    pub answers: Option<&'a str>,
    /// What it says.
    pub text: &'a str,
}

/// Comments on a round, or answers a comment. Returns its key.
///
/// # Errors
/// If this device may not.
pub fn comment(edit: &mut Edit<'_>, me: &mut Me, new: &NewComment<'_>) -> Result<String, EditError> {
    refuse_classified(new.text)?;
    let id = me.new_id();
    let mut fields = BTreeMap::from([
        ("by".to_owned(), Value::from(me.key())),
        ("at".to_owned(), Value::Timestamp(me.now)),
        ("round".to_owned(), Value::Uint(u64::from(new.round))),
        ("severity".to_owned(), new.severity.name().into()),
        ("text".to_owned(), new.text.into()),
    ]);
    if let Some((block, quote)) = new.quote {
        fields.insert("block".to_owned(), block.into());
        fields.insert("quote".to_owned(), quote.into());
    }
    if let Some(answers) = new.answers {
        fields.insert("answers".to_owned(), answers.into());
    }
    edit.put(&path!["comments", id.as_str()], Value::Map(fields))?;
    Ok(id)
}

/// Asks for a review of a round (`requested`), or says what came of it: `commented`, `returned`, `cleared`.
///
/// # Errors
/// [`EditError::Refused`] if it does not follow on what stands; if this device may not.
pub fn step(edit: &mut Edit<'_>, me: &mut Me, kind: &str, round: u32) -> Result<String, EditError> {
    let events = lifecycle::read(&edit.view());
    let data = [("round", Value::Uint(u64::from(round)))];
    lifecycle::step::<state::ReviewLife>(edit, me, kind, data, events, |_| ())
}
