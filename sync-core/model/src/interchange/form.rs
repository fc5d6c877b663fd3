//! Documents laid out as the real forms, by templates that an organisation may change: Markdown, HTML, or whatever a template
//! makes. The ones here follow what the sources in docs/MODEL.md show of the forms; none of them is official.

use std::collections::BTreeMap;

use dinh_proto::ids::MemberId;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;

use crate::minutes::{Minutes, method_name};
use crate::outline::Outline;
use crate::resolution::Resolution;
use crate::vote::Threshold;

/// Minutes in Markdown.
pub const MINUTES_MD: &str = include_str!("../../templates/minutes.md");
/// Minutes in HTML.
pub const MINUTES_HTML: &str = include_str!("../../templates/minutes.html");
/// A resolution in Markdown.
pub const RESOLUTION_MD: &str = include_str!("../../templates/resolution.md");
/// A resolution in HTML.
pub const RESOLUTION_HTML: &str = include_str!("../../templates/resolution.html");

/// What a template gets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Form {
    /// The parts of the head, by name.
    pub header: BTreeMap<String, String>,
    /// Everything else that is one word or line, by name.
    pub fields: BTreeMap<String, String>,
    /// The prose.
    pub sections: Vec<FormSection>,
    /// On what it rests.
    pub legal_bases: Vec<String>,
    /// What was voted on.
    pub motions: Vec<FormMotion>,
    /// Who does what by when.
    pub assignments: Vec<FormAssignment>,
    /// Whether a seal stands in it.
    pub is_sealed: bool,
}

/// A section.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FormSection {
    /// Its heading.
    pub heading: String,
    /// What is in it.
    pub blocks: Vec<FormBlock>,
}

/// A block.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FormBlock {
    /// What it is.
    pub kind: String,
    /// Whose words, by name; empty if nobody's.
    pub speaker: String,
    /// What it says.
    pub text: String,
}

/// A motion with its result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FormMotion {
    /// What was moved.
    pub title: String,
    /// How it was counted; empty if it was not.
    pub method: String,
    /// For, against, neither, and against how many.
    pub counts: Option<(u32, u32, u32, u32)>,
    /// Whether more than half or two thirds were needed.
    pub two_thirds: bool,
    /// Whether it carried.
    pub carried: bool,
}

/// An assignment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FormAssignment {
    /// What.
    pub task: String,
    /// Who, by name.
    pub owners: String,
    /// How much.
    pub quantity: String,
    /// By when.
    pub due: String,
}

fn sections(outline: &Outline, name: &dyn Fn(&MemberId) -> String) -> Vec<FormSection> {
    let block = |b: &crate::outline::Block| FormBlock {
        kind: b.kind.get().cloned().unwrap_or_default(),
        speaker: b.speaker.get().map(name).unwrap_or_default(),
        text: b.text.clone(),
    };
    let section = |s: &crate::outline::Section| FormSection {
        heading: s.heading.clone(),
        blocks: s.blocks.iter().map(block).collect(),
    };
    outline.sections.iter().map(section).collect()
}

fn shown(map: &BTreeMap<String, crate::field::Register<String>>) -> BTreeMap<String, String> {
    map.iter().filter_map(|(key, text)| Some((key.clone(), text.get()?.clone()))).collect()
}

impl Form {
    /// Of minutes. `name` says what people are called.
    #[must_use]
    pub fn of_minutes(minutes: &Minutes, name: &dyn Fn(&MemberId) -> String) -> Self {
        let motion = |m: &crate::minutes::Motion| {
            let result = m.result();
            FormMotion {
                title: m.title.get().cloned().unwrap_or_default(),
                method: result.map(|v| method_name(v.method).to_owned()).unwrap_or_default(),
                counts: result.map(|v| (v.tally.yes, v.tally.no, v.tally.abstain, v.base)),
                two_thirds: m.threshold == Threshold::TwoThirds,
                carried: result.is_some_and(|v| v.carried),
            }
        };
        let one = |key: &str, text: Option<String>| text.map(|text| (key.to_owned(), text));
        let fields = [
            one("period", minutes.period.get().cloned()),
            one("venue", minutes.venue.get().cloned()),
            one("chair", minutes.chair.get().map(name)),
            one("recorder", minutes.recorder.get().map(name)),
        ];
        Self {
            header: shown(&minutes.header),
            fields: fields.into_iter().flatten().collect(),
            sections: sections(&minutes.outline, name),
            legal_bases: Vec::new(),
            motions: minutes.motions.iter().map(motion).collect(),
            assignments: Vec::new(),
            is_sealed: minutes.seals.get().is_some(),
        }
    }

    /// Of a resolution. `name` says what people are called.
    #[must_use]
    pub fn of_resolution(resolution: &Resolution, name: &dyn Fn(&MemberId) -> String) -> Self {
        let text = |register: &crate::field::Register<String>| register.get().cloned().unwrap_or_default();
        let owners = |keys: &[String]| {
            let names: Vec<String> =
                keys.iter().filter_map(|k| crate::field::member(k)).map(|m| name(&m)).collect();
            names.join(", ")
        };
        let assignment = |a: &crate::resolution::Assignment| FormAssignment {
            task: text(&a.task),
            owners: a.owners.get().map(|keys| owners(keys)).unwrap_or_default(),
            quantity: text(&a.quantity),
            due: text(&a.due),
        };
        let mut fields = BTreeMap::from([("round".to_owned(), resolution.round.to_string())]);
        for (key, register) in [
            ("period", &resolution.period),
            ("number", &resolution.number),
            ("enacting_clause", &resolution.enacting_clause),
        ] {
            if let Some(found) = register.get() {
                fields.insert(key.to_owned(), found.clone());
            }
        }
        Self {
            header: shown(&resolution.header),
            fields,
            sections: sections(&resolution.outline, name),
            legal_bases: resolution.legal_bases.values().cloned().collect(),
            motions: Vec::new(),
            assignments: resolution.assignments.iter().map(assignment).collect(),
            is_sealed: resolution.seals.get().is_some(),
        }
    }
}

/// What a template makes, which says how what people wrote is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Markup {
    /// Web pages: nothing that people wrote becomes a tag.
    Html,
    /// Markdown: nothing that people wrote becomes markup or a cell of a table.
    Markdown,
    /// Plain text, as it is.
    Plain,
}

const MARKDOWN: &str = "markdown";

/// Lays a document out by a template (minijinja's language).
///
/// # Errors
/// What is wrong with the template, with its line.
pub fn render(template: &str, markup: Markup, form: &Form) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(move |_| match markup {
        Markup::Html => AutoEscape::Html,
        Markup::Markdown => AutoEscape::Custom(MARKDOWN.into()),
        Markup::Plain => AutoEscape::None,
    });
    environment.set_formatter(|out, state, value| {
        let text = value.as_str().filter(|_| !value.is_safe());
        match (state.auto_escape(), text) {
            (AutoEscape::Custom(_), Some(text)) => Ok(out.write_str(&escape_markdown(text))?),
            (AutoEscape::Custom(_), None) => Ok(write!(out, "{value}")?),
            _ => minijinja::escape_formatter(out, state, value),
        }
    });
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.render_str(template, context! { form => Value::from(Serde(form)) })
}

/// Text that Markdown shows as it is: by backslashes before ASCII punctuation (CommonMark 0.31, section 2.4). Lines stay in their paragraph.
fn escape_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&' => {
                out.extend(['\\', letter])
            }
            _ => out.push(letter),
        }
    }
    out
}
