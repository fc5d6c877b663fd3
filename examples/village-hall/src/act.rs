//! What people do in the meeting, one variant for each thing that a person does. A phone carries it out by a command of the model.

use std::collections::BTreeMap;
use std::fmt;

use dinh_model::attendance::{Mark, Way};
use dinh_model::feedback::Kind;
use dinh_model::me::Me;
use dinh_model::review::Severity;
use dinh_model::roster::Person;
use dinh_model::vote::{Ballots, Method, Tally};
use dinh_model::votebox::Choice;
use dinh_proto::charter::AuthorAt;
use dinh_proto::charter::record::Role;
use dinh_proto::ids::MemberId;
use serde::{Deserialize, Serialize};

/// An audience of the branch. Each has a space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// All members.
    Branch,
    /// The committee.
    Committee,
    /// The committee and the reviewer.
    Oversight,
    /// One member, by its id in the roster, and the committee.
    ToCommittee(String),
    /// One member and the reviewer.
    ToUpper(String),
}

/// A document of the meeting. Phones find it by the indexes of their spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doc {
    /// What a space holds.
    Index(Room),
    /// Who belongs to the branch.
    Roster,
    /// Threads that everybody reads.
    Feedback,
    /// Tasks that were given.
    Tasks,
    /// What the branch debates and adopts.
    Resolution,
    /// What is said and decided.
    Minutes,
    /// Who is there.
    Attendance,
    /// Votes on the phones.
    Votebox,
    /// The committee's draft of the resolution.
    Draft,
    /// What the reviewer sees of the month.
    Digest,
    /// What the reviewer says of the rounds.
    Review,
    /// A frozen round of the draft.
    Round(u32),
    /// Threads between one member and the committee or the reviewer.
    Mailbox(Room),
}

impl Doc {
    /// For whom it is.
    #[must_use]
    pub fn room(&self) -> Room {
        match self {
            Self::Index(room) | Self::Mailbox(room) => room.clone(),
            Self::Draft => Room::Committee,
            Self::Digest | Self::Review | Self::Round(_) => Room::Oversight,
            _ => Room::Branch,
        }
    }
}

impl fmt::Display for Doc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", serde_json::to_string(self).unwrap_or_default().replace('"', ""))
    }
}

/// Something that an act makes, with the id that it will have: so the script can speak of it later, and a phone that was
/// killed in the middle of the act sees on its screen whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct New {
    /// When, by the story's clock: milliseconds since 1970.
    pub at: i64,
    /// Drawn once.
    pub seed: [u8; 16],
}

impl New {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        self.ids(1).pop().unwrap_or_default()
    }

    /// The ids of what an act makes that makes several things.
    #[must_use]
    pub fn ids(&self, count: usize) -> Vec<String> {
        let nobody = AuthorAt {
            member: MemberId([0; 16]),
            role: Role::Reader,
            is_recorder: false,
            is_creator: false,
            role_changed: false,
        };
        let mut me = Me::new(&nobody, self.at, self.seed);
        (0..count).map(|_| me.new_id()).collect()
    }
}

/// A stretch of prose to begin with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewBlock {
    /// What it will be.
    pub new: New,
    /// What kind of block.
    pub kind: String,
    /// What it says.
    pub text: String,
}

/// A section to begin with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewSection {
    /// What it will be.
    pub new: New,
    /// Its heading.
    pub heading: String,
    /// What is in it.
    pub blocks: Vec<NewBlock>,
}

/// A task to give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// What it will be.
    pub new: New,
    /// What.
    pub task: String,
    /// Who, by ids in the roster.
    pub owners: Vec<String>,
    /// How much.
    pub quantity: String,
    /// By when, `YYYY-MM-DD`.
    pub due: String,
}

/// The paper of a draft or of minutes before anybody wrote in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paper {
    /// `YYYY-MM`.
    pub period: String,
    /// The parts of the form's head.
    pub header: BTreeMap<String, String>,
    /// On what it rests.
    pub bases: Vec<String>,
    /// The words that enact it.
    pub clause: String,
    /// The prose.
    pub sections: Vec<NewSection>,
    /// Tasks.
    pub tasks: Vec<NewTask>,
    /// The agenda: what, and who presents it, by ids in the roster.
    pub agenda: Vec<(String, String)>,
    /// Guests: name, post, body.
    pub guests: Vec<[String; 3]>,
}

/// A block that the recorder writes while somebody speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speech {
    /// What it will be.
    pub new: New,
    /// The section, by its id in the document.
    pub section: String,
    /// What kind of block.
    pub kind: String,
    /// Whose words, by its id in the roster.
    pub speaker: Option<String>,
    /// In which language, if not Vietnamese, and through whom.
    pub interpreted: Option<(String, String)>,
    /// What is typed.
    pub text: String,
}

/// A thread that somebody begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewThread {
    /// What it will be: the thread, and its first message.
    pub new: New,
    /// Where.
    pub doc: Doc,
    /// What kind.
    pub kind: Kind,
    /// Its title.
    pub title: String,
    /// What is said.
    pub text: String,
    /// For whom it is written down, by its id in the roster.
    pub on_behalf_of: Option<String>,
}

/// One thing that a person does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[allow(missing_docs, reason = "fields are named as the model's own")]
pub enum Act {
    /// The secretary reads the roster of the body that keeps the records.
    ImportRoster { authority: String, people: BTreeMap<String, Person> },
    /// The secretary begins a draft in the committee's space.
    BeginDraft { paper: Paper },
    /// The secretary begins the documents of the meeting, and names who records.
    BeginMeeting { paper: Paper, recorder: String },
    /// A step in a document's life. `with_heads`: it names the heads that the document has now.
    Step { new: New, doc: Doc, kind: String, data: Vec<(String, String)>, with_heads: bool },
    /// The secretary opens the next round of the draft.
    OpenRound { round: u32 },
    /// The secretary takes the draft back. `shows`: what the branch made of a block, by which the account sees that it was done.
    TakeBack { block: String, shows: String },
    /// Somebody has read a round.
    HasRead { round: u32 },
    /// Somebody comments on a round, or answers a comment.
    Comment {
        new: New,
        round: u32,
        severity: Severity,
        quote: Option<(String, String)>,
        answers: Option<String>,
        text: String,
    },
    /// A plain field is written.
    Set { doc: Doc, field: Vec<String>, value: Field },
    /// Somebody is here.
    CheckIn { member: String, way: Way },
    /// The recorder marks somebody.
    Mark { member: String, mark: Mark, reason: Option<String> },
    /// The recorder writes down what somebody says.
    Speech(Speech),
    /// A speaker says that these are its words.
    ConfirmWords { block: String },
    /// A sentence is put at the end of a block that others may be changing too.
    Clause { doc: Doc, block: String, text: String },
    /// A phrase is replaced where it stands.
    Replace { doc: Doc, block: String, find: String, with: String },
    /// A block is left out, or taken in again.
    Hide { doc: Doc, block: String, hidden: bool },
    /// A task's day is changed.
    SetDue { task: String, due: String },
    /// A member proposes another phrase.
    Suggest { new: New, block: String, find: String, with: String },
    /// The secretary puts a suggestion into the text, with credit.
    Accept { suggestion: String, block: String, with: String },
    /// A thread is begun.
    Thread(NewThread),
    /// Something is said in a thread.
    Say { new: New, doc: Doc, thread: String, text: String },
    /// A step in a thread's life.
    ThreadStep { new: New, doc: Doc, thread: String, kind: String, data: Vec<(String, String)> },
    /// Something is put to the vote; `on_resolution`: the resolution as it was debated last.
    Motion { new: New, title: String, on_resolution: bool },
    /// The recorder writes a count down, against the base as the roll has it now.
    Count { new: New, motion: String, method: Method, tally: Tally, ballots: Option<Ballots> },
    /// An officer confirms a count.
    ConfirmCount { vote: String },
    /// A question to the phones.
    Ask { new: New, title: String },
    /// A vote on a phone.
    Cast { question: String, choice: Choice },
    /// The recorder closes a question with the ballots of those who may vote and are here.
    Close { question: String },
    /// The numbers of the roll go into the minutes.
    FreezeRoll,
    /// The secretary says what came of the vote on the resolution, as the minutes have it.
    Decide { new: New, motion: String },
    /// The secretary gives the resolution the next number and issues it.
    Issue { new: New, line: String, date: String, signer: String, recipients: Vec<String> },
    /// The recorder notes a task in the minutes.
    Assign { task: NewTask },
    /// Somebody signs the minutes.
    Sign { new: New, role: String },
    /// The recorder looks at the blocks that several wrote in apart, and says that they were reread.
    Reread,
    /// The secretary seals a document and enters the seal into the branch's book.
    Seal { doc: Doc },
    /// A task is given.
    GiveTask { task: NewTask },
    /// Somebody says how far a task is.
    Progress { new: New, task: String, percent: u32, text: String },
    /// The secretary brings what the reviewer sees up to date.
    UpdateDigest,
    /// What came too late becomes a thread in its author's name, which the committee must answer. `words`: of what it says.
    LateToFeedback { author: String, words: String },
}

/// What a plain field is set to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// A text that is replaced as a whole.
    Text(String),
    /// A time, milliseconds since 1970.
    Time(i64),
}

/// A member's id in documents: the roster's short ids are enough of an identity for a play.
#[must_use]
pub fn member(id: &str) -> MemberId {
    let mut bytes = [0; 16];
    let n = id.len().min(bytes.len());
    bytes[..n].copy_from_slice(&id.as_bytes()[..n]);
    MemberId(bytes)
}

/// A member's id in the roster.
#[must_use]
pub fn roster_id(member: &MemberId) -> String {
    let end = member.0.iter().position(|b| *b == 0).unwrap_or(member.0.len());
    String::from_utf8_lossy(&member.0[..end]).into_owned()
}

/// Cuts a paragraph into what a thumb keyboard commits at a time: `words` words with the space that follows them. The
/// pieces concatenate to the paragraph; none splits a syllable.
#[must_use]
pub fn bursts(text: &str, words: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut seen) = (0, 0);
    for (index, _) in text.match_indices(' ') {
        seen += 1;
        if seen % words.max(1) == 0 {
            pieces.push(&text[start..=index]);
            start = index + 1;
        }
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_lose_nothing_and_split_at_spaces() {
        let text = "Chi bộ thống nhất với chương trình đã nêu";
        let pieces = bursts(text, 3);
        assert_eq!(pieces, ["Chi bộ thống ", "nhất với chương ", "trình đã nêu"]);
        assert_eq!(bursts("một", 5), ["một"]);
        assert!(bursts("", 5).is_empty());
    }

    #[test]
    fn members_keep_their_short_ids_and_new_things_have_ids_of_their_own() {
        assert_eq!(roster_id(&member("m13")), "m13");
        let new = New { at: 1_796_230_800_000, seed: [7; 16] };
        let ids = new.ids(3);
        assert!(ids[0] == new.id() && ids[0] != ids[1] && ids[1] != ids[2]);
        assert_ne!(new.id(), New { seed: [8; 16], ..new }.id());
    }
}
