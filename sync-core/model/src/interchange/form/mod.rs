//! Documents laid out as the real forms, by templates that an organisation may change: Markdown, HTML, or whatever a template makes.
//! Wording, order and look are in `templates/`; here is only what a template gets. The templates follow what the sources in docs/MODEL.md show of
//! the forms; none of them is official. Fields that a newer app wrote are not shown.

mod of;
mod render;

use std::collections::BTreeMap;

use dinh_proto::ids::MemberId;
use serde::Serialize;

pub use self::render::{Markup, TEMPLATES, render, render_from};

/// What a document does not say itself.
#[derive(Clone, Copy)]
pub struct Locale<'a> {
    /// What people are called.
    pub name: &'a dyn Fn(&MemberId) -> String,
    /// The clock on the wall, in minutes east of UTC: 420 in Vietnam.
    pub utc_offset_minutes: i32,
}

impl std::fmt::Debug for Locale<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Locale").field("utc_offset_minutes", &self.utc_offset_minutes).finish_non_exhaustive()
    }
}

/// Something with a few words or lines, by name.
pub type Row = BTreeMap<String, String>;

/// What a template gets, as `form`. Days are `YYYY-MM-DD`, times `YYYY-MM-DDTHH:MM` by the clock on the wall, members their names,
/// and everything that was chosen among words is the word that the document has (`must_fix`).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Form {
    /// Which kind of document: `minutes`, `resolution`, `attendance`, `feedback`, `tasks`, `review`, `notice`, `roster`, or `other`.
    pub kind: String,
    /// The parts of the head: `superior_org`, `issuing_org`, `symbol`, `number`, `place`, `doc_date`, `type_name`, `abstract`.
    pub header: Row,
    /// Everything else that is one word or line.
    pub fields: Row,
    /// The prose.
    pub sections: Vec<FormSection>,
    /// What comes in rows: `agenda`, `guests`, `decisions`, `assignments`, `legal_bases`, `recipients`, `entries`, `values`.
    pub lists: BTreeMap<String, Vec<Row>>,
    /// Who was there, in numbers: `total`, `official`, `present_official`, …, `base`.
    pub numbers: BTreeMap<String, u64>,
    /// What was voted on.
    pub motions: Vec<FormMotion>,
    /// Whether a seal stands in it.
    pub is_sealed: bool,
    /// Whether it is a draft as yet.
    pub is_draft: bool,
}

/// A section, or a thread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FormSection {
    /// Its heading.
    pub heading: String,
    /// What else is said of it.
    pub fields: Row,
    /// What is in it.
    pub blocks: Vec<FormBlock>,
}

/// A block, or something that somebody said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FormBlock {
    /// What it is.
    pub kind: String,
    /// Whose words, by name; empty if nobody's.
    pub speaker: String,
    /// What it says.
    pub text: String,
    /// What else is said of it.
    pub fields: Row,
}

/// A motion with its result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FormMotion {
    /// What was moved.
    pub title: String,
    /// Whether two thirds were needed, and not more than half.
    pub two_thirds: bool,
    /// The count that holds; none while nobody confirmed one.
    pub result: Option<FormResult>,
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FormResult {
    /// How: `show_of_hands`, `secret_ballot`, `electronic`.
    pub method: String,
    /// For it.
    pub yes: u32,
    /// Against it.
    pub no: u32,
    /// Neither.
    pub abstain: u32,
    /// Against how many it was counted.
    pub base: u32,
    /// The papers of a secret ballot: given out, returned, valid.
    pub ballots: Option<(u32, u32, u32)>,
    /// Whether it carried.
    pub carried: bool,
}
