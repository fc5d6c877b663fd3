//! What every act leaves in a document if it was done: what the account looks for at the end.

use serde_json::{Value, json};

use crate::act::{Act, Doc, Field, New, member};

/// A place in a document as JSON: keys from the root.
pub type Place = Vec<String>;

/// What an act leaves.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// Something stands here.
    There(Place),
    /// A text holds these words, or what later replacements made of them.
    Words(Place, String),
    /// Such words took the place of others in a text.
    Instead(Place, String, String),
    /// Something below holds these words.
    Among(Place, String),
    /// A field says this, or somebody who saw it wrote something else.
    Says(Place, Value),
}

fn at<const N: usize>(keys: [&str; N]) -> Place {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn key(id: &str) -> String {
    member(id).to_string()
}

fn text_of(block: &str) -> Place {
    at(["blocks", block, "text"])
}

fn there<const N: usize>(doc: &Doc, keys: [&str; N]) -> (Doc, Vec<Mark>) {
    (doc.clone(), vec![Mark::There(at(keys))])
}

fn said(doc: &Doc, id: &str, text: &str) -> (Doc, Vec<Mark>) {
    (doc.clone(), vec![Mark::Words(at(["messages", id, "text"]), text.to_owned())])
}

/// The document that an act writes, and what it leaves there. `by` does it, by its id in the roster.
#[must_use]
pub fn of(act: &Act, by: &str) -> (Doc, Vec<Mark>) {
    let new = |doc: Doc, map: &str, new: &New| there(&doc, [map, &new.id()]);
    match act {
        Act::ImportRoster { people, .. } => {
            let marks = people.keys().map(|id| Mark::There(at(["people", &key(id)])));
            (Doc::Roster, marks.collect())
        }
        Act::BeginDraft { paper } => {
            let blocks = paper.sections.iter().flat_map(|s| &s.blocks);
            (Doc::Draft, blocks.map(|b| Mark::There(text_of(&b.new.id()))).collect())
        }
        Act::BeginMeeting { paper, .. } => {
            let headings = paper.sections.iter();
            let heading = |s: &crate::act::NewSection| {
                Mark::Words(at(["sections", &s.new.id(), "heading"]), s.heading.clone())
            };
            (Doc::Minutes, headings.map(heading).collect())
        }
        Act::Step { new: id, doc, .. } | Act::ThreadStep { new: id, doc, .. } => {
            new(doc.clone(), "events", id)
        }
        Act::OpenRound { round } => there(&Doc::Round(*round), ["round", "sections"]),
        Act::TakeBack { block, shows } => (Doc::Draft, vec![Mark::Words(text_of(block), shows.clone())]),
        Act::HasRead { .. } => there(&Doc::Resolution, ["read", &key(by)]),
        Act::Comment { new: id, text, .. } => {
            let place = at(["comments", &id.id(), "text"]);
            (Doc::Review, vec![Mark::Words(place, text.clone())])
        }
        Act::Set { doc, field, value } => {
            let value = match value {
                Field::Text(text) => json!(text),
                Field::Time(at) => json!(at),
            };
            (doc.clone(), vec![Mark::Says(field.clone(), value)])
        }
        Act::CheckIn { member, .. } => there(&Doc::Attendance, ["checked_in", &key(member)]),
        Act::Mark { member, mark, .. } => {
            let value = serde_json::to_value(mark).unwrap_or_default();
            (Doc::Attendance, vec![Mark::Says(at(["mark", &key(member)]), value)])
        }
        Act::Speech(speech) => {
            (Doc::Minutes, vec![Mark::Words(text_of(&speech.new.id()), speech.text.clone())])
        }
        Act::ConfirmWords { block } => there(&Doc::Minutes, ["confirmed", block, &key(by)]),
        Act::Clause { doc, block, text } => (doc.clone(), vec![Mark::Words(text_of(block), text.clone())]),
        Act::Replace { doc, block, find, with } => {
            (doc.clone(), vec![Mark::Instead(text_of(block), find.clone(), with.clone())])
        }
        Act::Hide { doc, block, hidden } => {
            (doc.clone(), vec![Mark::Says(at(["blocks", block, "hidden"]), json!(hidden))])
        }
        Act::SetDue { task, due } => {
            (Doc::Resolution, vec![Mark::Says(at(["assignments", task, "due"]), json!(due))])
        }
        Act::Suggest { new: id, .. } => new(Doc::Resolution, "suggestions", id),
        Act::Accept { suggestion, block, with } => {
            let outcome = Mark::Says(at(["outcomes", suggestion]), json!("accepted"));
            (Doc::Resolution, vec![outcome, Mark::Words(text_of(block), with.clone())])
        }
        Act::Thread(thread) => {
            let ids = thread.new.ids(2);
            let (doc, mut marks) = said(&thread.doc, &ids[1], &thread.text);
            marks.push(Mark::There(at(["threads", &ids[0]])));
            (doc, marks)
        }
        Act::Say { new: id, doc, text, .. } => said(doc, &id.id(), text),
        Act::Motion { new: id, .. } => new(Doc::Minutes, "motions", id),
        Act::Count { new: id, .. } => new(Doc::Minutes, "votes", id),
        Act::ConfirmCount { vote } => there(&Doc::Minutes, ["confirmed_votes", vote]),
        Act::Ask { new: id, .. } => new(Doc::Votebox, "questions", id),
        Act::Cast { question, choice } => {
            let value = serde_json::to_value(choice).unwrap_or_default();
            (Doc::Votebox, vec![Mark::Says(at(["ballots", question, &key(by)]), value)])
        }
        Act::Close { question } => there(&Doc::Votebox, ["closed", question]),
        Act::FreezeRoll => there(&Doc::Minutes, ["attendance", "summary"]),
        Act::Decide { new: id, .. } => new(Doc::Resolution, "events", id),
        Act::Issue { new: id, .. } => {
            let (doc, mut marks) = new(Doc::Resolution, "events", id);
            marks.push(Mark::There(at(["number"])));
            (doc, marks)
        }
        Act::Assign { task } => new(Doc::Minutes, "assignments", &task.new),
        Act::Sign { new: id, .. } => new(Doc::Minutes, "signatures", id),
        Act::Reread => there(&Doc::Resolution, ["reread"]),
        Act::Seal { doc } => there(doc, ["seal"]),
        Act::GiveTask { task } => new(Doc::Tasks, "tasks", &task.new),
        Act::Progress { new: id, text, .. } => {
            (Doc::Tasks, vec![Mark::Words(at(["progress", &id.id(), "text"]), text.clone())])
        }
        Act::UpdateDigest => there(&Doc::Digest, ["state"]),
        Act::LateToFeedback { words, .. } => {
            (Doc::Feedback, vec![Mark::Among(at(["messages"]), words.clone())])
        }
    }
}
