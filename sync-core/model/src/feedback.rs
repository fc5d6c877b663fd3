//! Threads of feedback: questions, petitions, opinions that are kept back, with who must answer them and by when.
//!
//! A document holds the threads of one audience: a thread for all is a document of its own in the branch's space; what a member
//! says to the committee or to the upper body only is in the mailbox that the member got when admitted
//! (docs/MODEL.md), so that nothing outside shows that there is a thread. What was said is never edited. Who may read
//! a thread is the audience of its document: to widen it, its author quotes it in another one.

pub mod state;

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::gate::rights::{How, Rule, Says, Schema, Step, Who};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::{Deserialize, Serialize};

use crate::check::refuse_classified;
use crate::field::{Fields, Register, member, put_register};
use crate::lifecycle::{self, Event, Folded};
use crate::me::Me;

const HANDLERS: Who = Who::COMMITTEE.or(Who::REVIEWERS);

/// Who writes what.
pub static SCHEMA: Schema = Schema {
    name: "dinh.feedback/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("audience")], Who::CREATOR, How::Once),
        // Made with the document, by whoever opens it, and never again.
        Rule::new(&[Step::Key("threads")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("messages")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key(lifecycle::EVENTS)], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("threads"), Step::Any, Step::Key("by")], Who::EVERYBODY, How::Entry)
            .saying(Says::Own),
        Rule::new(&[Step::Key("threads"), Step::Any, Step::Rest], Who::EVERYBODY, How::Entry),
        Rule::new(&[Step::Key("messages"), Step::Any, Step::Key("by")], Who::EVERYBODY, How::Entry)
            .saying(Says::Own),
        Rule::new(&[Step::Key("messages"), Step::Any, Step::Rest], Who::EVERYBODY, How::Entry),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("by")], Who::EVERYBODY, How::Entry)
            .saying(Says::Own),
        // That it is the author's own thread, the fold asks.
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], Who::EVERYBODY, How::Entry)
            .saying(Says::OneOf(&["withdrawn", "reopened", "rated"])),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], HANDLERS, How::Entry),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Rest], Who::EVERYBODY, How::Entry),
    ],
    // A member makes its own mailbox.
    others: HANDLERS.or(Who::CREATOR),
    seal: None,
};

/// What a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// About a draft.
    DraftComment,
    /// Something is asked.
    Question,
    /// Something is asked for.
    Petition,
    /// Something is reported in confidence.
    ConfidentialReport,
    /// An opinion that lost a vote and is kept.
    ReservedOpinion,
    /// About oneself.
    SelfCriticism,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::DraftComment,
        Self::Question,
        Self::Petition,
        Self::ConfidentialReport,
        Self::ReservedOpinion,
        Self::SelfCriticism,
    ];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DraftComment => "draft_comment",
            Self::Question => "question",
            Self::Petition => "petition",
            Self::ConfidentialReport => "confidential_report",
            Self::ReservedOpinion => "reserved_opinion",
            Self::SelfCriticism => "self_criticism",
        }
    }

    /// Whether it may be said to all.
    #[must_use]
    pub const fn may_be_open(self) -> bool {
        !matches!(self, Self::ConfidentialReport | Self::ReservedOpinion)
    }
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Its key.
    pub id: String,
    /// By whom: the member whose device wrote it.
    pub by: MemberId,
    /// In whose name, if a helper wrote it down for somebody without a phone.
    pub on_behalf_of: Option<MemberId>,
    /// When, by that phone's clock.
    pub at: i64,
    /// What.
    pub text: String,
    /// In which language, ISO 639.
    pub language: String,
}

/// A thread as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Thread {
    /// Its key.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// Its title.
    pub title: String,
    /// Whose it is.
    pub author: MemberId,
    /// Whose device wrote it: a helper's, if its author has none.
    pub by: MemberId,
    /// When, by that phone's clock: milliseconds since 1970.
    pub at: i64,
    /// The document, place or vote that it is about, as the app writes it.
    pub subject: Option<String>,
    /// What was said, oldest first.
    pub messages: Vec<Message>,
    /// Where it stands.
    pub life: Folded<state::State>,
    /// Who of those that must answer deals with it.
    pub handler: Register<MemberId>,
    /// By when it must be answered, `YYYY-MM-DD`, if that was said; the last extension decides.
    pub due: Option<String>,
}

impl Thread {
    /// Whether it is unanswered after its day, both as `YYYY-MM-DD`.
    #[must_use]
    pub fn is_overdue(&self, today: &str) -> bool {
        let open = self.life.status.state().is_none_or(|s| !s.is_answered());
        open && self.due.as_deref().is_some_and(|due| due < today)
    }

    /// Reads all of a document, oldest first.
    #[must_use]
    pub fn read_all(fields: &Fields<'_, '_>) -> Vec<Self> {
        let view = fields.view();
        let mut messages: BTreeMap<String, Vec<Message>> = BTreeMap::new();
        for id in view.keys(&path!["messages"]) {
            if let Some((thread, message)) = read_message(fields, id) {
                messages.entry(thread).or_default().push(message);
            }
        }
        let mut events: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        for event in lifecycle::read(view) {
            if let Some(thread) = event.text("thread").map(str::to_owned) {
                events.entry(thread).or_default().push(event);
            }
        }
        let ids = view.keys(&path!["threads"]).into_iter();
        let mut threads: Vec<Self> = ids
            .filter_map(|id| {
                let Value::Map(entry) = view.get(&path!["threads", id.as_str()])? else { return None };
                let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
                let Some(Value::Timestamp(at)) = entry.get("at") else { return None };
                let (kind, by, own) = (text("kind")?, text("by")?, authors(&entry));
                let on_behalf_of = text("on_behalf_of").as_deref().and_then(member);
                let by = member(&by)?;
                let mut events = events.remove(&id).unwrap_or_default();
                note_authors(&mut events, &own);
                let life = lifecycle::fold::<state::FeedbackLife>(&events);
                let by_id: BTreeMap<&str, &Event> = events.iter().map(|e| (e.id.as_str(), e)).collect();
                let due = life.counted.iter().rev().find_map(|id| by_id.get(id.as_str())?.text("due"));
                Some(Self {
                    kind: Kind::ALL.into_iter().find(|k| k.name() == kind)?,
                    title: text("title")?,
                    author: on_behalf_of.unwrap_or(by),
                    by,
                    at: *at,
                    subject: text("subject"),
                    messages: messages.remove(&id).unwrap_or_default(),
                    handler: fields.member(&path!["handlers", id.as_str()]),
                    due: due.map(str::to_owned),
                    life,
                    id,
                })
            })
            .collect();
        threads.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        threads
    }
}

fn read_message(fields: &Fields<'_, '_>, id: String) -> Option<(String, Message)> {
    let Value::Map(entry) = fields.view().get(&path!["messages", id.as_str()])? else { return None };
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let Some(Value::Timestamp(at)) = entry.get("at") else { return None };
    let message = Message {
        by: member(text("by")?)?,
        on_behalf_of: text("on_behalf_of").and_then(member),
        at: *at,
        text: text("text")?.to_owned(),
        language: text("language").unwrap_or("vi").to_owned(),
        id,
    };
    Some((text("thread")?.to_owned(), message))
}

/// Makes an empty document for threads.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(edit: &mut Edit<'_>, audience: &str) -> Result<(), EditError> {
    edit.put(&path!["schema"], SCHEMA.name)?;
    edit.put(&path!["audience"], audience)?;
    ["threads", "messages", "handlers", lifecycle::EVENTS]
        .iter()
        .try_for_each(|map| edit.put_map(&path![*map]))
}

/// A thread to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewThread<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its title.
    pub title: &'a str,
    /// What is said first.
    pub text: &'a str,
    /// In which language, ISO 639.
    pub language: &'a str,
    /// What it is about.
    pub subject: Option<&'a str>,
    /// In whose name, if this device's member helps somebody without a phone.
    pub on_behalf_of: Option<&'a MemberId>,
}

/// Begins a thread: it is submitted with that. Returns its key.
///
/// # Errors
/// If this device may not, or what is confidential would be said to the whole branch ([`Kind::may_be_open`]).
pub fn submit(edit: &mut Edit<'_>, me: &mut Me, new: &NewThread<'_>) -> Result<String, EditError> {
    let audience = edit.view().get(&path!["audience"]);
    if !new.kind.may_be_open() && audience.as_ref().and_then(Value::as_str) == Some("branch") {
        let why = "this kind of thread is not for everybody: begin it in the member's mailbox";
        return Err(EditError::Refused(why.into()));
    }
    let id = me.new_id();
    let mut fields = BTreeMap::from([
        ("kind".to_owned(), Value::from(new.kind.name())),
        ("title".to_owned(), new.title.into()),
        ("by".to_owned(), me.key().into()),
        ("at".to_owned(), Value::Timestamp(me.now)),
    ]);
    if let Some(subject) = new.subject {
        fields.insert("subject".to_owned(), subject.into());
    }
    if let Some(member) = new.on_behalf_of {
        fields.insert("on_behalf_of".to_owned(), member.to_string().into());
    }
    edit.put(&path!["threads", id.as_str()], Value::Map(fields))?;
    say(edit, me, &id, new.text, new.language, new.on_behalf_of)?;
    Ok(id)
}

/// Says something in a thread. What was said stays as it is: a correction is another message.
///
/// # Errors
/// If this device may not, or there is no such thread.
pub fn say(
    edit: &mut Edit<'_>,
    me: &mut Me,
    thread: &str,
    text: &str,
    language: &str,
    on_behalf_of: Option<&MemberId>,
) -> Result<String, EditError> {
    refuse_classified(text)?;
    edit.view().hydrate(&path!["threads", thread, "kind"])?;
    let id = me.new_id();
    let mut fields = BTreeMap::from([
        ("thread".to_owned(), Value::from(thread)),
        ("by".to_owned(), me.key().into()),
        ("at".to_owned(), Value::Timestamp(me.now)),
        ("text".to_owned(), text.into()),
        ("language".to_owned(), language.into()),
    ]);
    if let Some(member) = on_behalf_of {
        fields.insert("on_behalf_of".to_owned(), member.to_string().into());
    }
    edit.put(&path!["messages", id.as_str()], Value::Map(fields))?;
    Ok(id)
}

/// Says who deals with a thread. By the committee, or the upper body in its mailboxes.
///
/// # Errors
/// If this device may not, or there is no such thread.
pub fn set_handler(edit: &mut Edit<'_>, thread: &str, member: &MemberId) -> Result<(), EditError> {
    edit.view().hydrate(&path!["threads", thread, "kind"])?;
    put_register(edit, &path!["handlers", thread], member.to_string())
}

/// Writes an event of a thread: `acknowledged`, `in_progress`, `forwarded`, `answered`, `extended`, `declined`, `closed`,
/// `reopened`, `withdrawn`, `rated`.
///
/// # Errors
/// [`EditError::Refused`] if it would not count; if this device may not, or there is no such thread.
pub fn step(
    edit: &mut Edit<'_>,
    me: &mut Me,
    thread: &str,
    kind: &str,
    data: &[(&str, &str)],
) -> Result<String, EditError> {
    let at = path!["threads", thread];
    let Some(Value::Map(entry)) = edit.view().get(&at) else { return Err(EditError::NotFound { path: at }) };
    let own = authors(&entry);
    let mut events = lifecycle::read(&edit.view());
    events.retain(|e| e.text("thread") == Some(thread));
    let data = data.iter().map(|(key, text)| (*key, Value::from(*text)));
    let data = data.chain([("thread", thread.into())]);
    lifecycle::step::<state::FeedbackLife>(edit, me, kind, data, events, |events| note_authors(events, &own))
}

/// Whose words a thread's are: its author's, and those of who wrote them down.
fn authors(entry: &BTreeMap<String, Value>) -> Vec<String> {
    let keys = ["by", "on_behalf_of"].into_iter();
    keys.filter_map(|key| entry.get(key).and_then(Value::as_str).map(str::to_owned)).collect()
}

/// Says of events whether the thread's author wrote them.
fn note_authors(events: &mut [Event], own: &[String]) {
    for event in events {
        let by_author = Value::Bool(own.contains(&event.by));
        event.data.insert(state::BY_AUTHOR.to_owned(), by_author);
    }
}
