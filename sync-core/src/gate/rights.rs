//! G7: who may write what in a document, by its schema. Automerge knows no rights, so what a change writes is read from its
//! operations and the past that it builds on: never from what else this device has, so all devices say the same.
//!
//! A schema's rules are part of its name's version: they never change once an app with them is out. A field that no rule
//! names is anybody's who the schema says writes the rest, so that a newer app's fields are kept by older ones.

use std::fmt;

use automerge::legacy::{Op, OpType};
use automerge::{ExpandedChange, ScalarValue};
use dinh_proto::charter::AuthorAt;
use dinh_proto::charter::record::Role;
use dinh_proto::ids::{ItemId, MemberId};
use thiserror::Error;

use super::past::{Past, ROOT};

/// The map at a document's root in which refused runs are let in: item ids in hex.
pub const RELEASED: &str = "released";

/// In every schema, before its own rules.
const RELEASES: &[Rule] = &[Rule::new(&[Step::Key(RELEASED), Step::Rest], Who::OFFICERS, How::Once)];

/// A set of authors: roles, and what a member is to the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who(u16);

impl Who {
    /// Nobody: the field is written when the document is created, by its creator.
    pub const NOBODY: Self = Self(0);
    /// Everybody who writes the document at all.
    pub const EVERYBODY: Self = Self(u16::MAX);
    /// The secretary.
    pub const SECRETARY: Self = Self(1 << 1);
    /// The secretary and deputies.
    pub const OFFICERS: Self = Self(0b110);
    /// Officers and the committee.
    pub const COMMITTEE: Self = Self(0b1110);
    /// Official members, the committee and officers.
    pub const OFFICIAL: Self = Self(0b1_1110);
    /// Members, on probation or not, the committee and officers.
    pub const MEMBERS: Self = Self(0b11_1110);
    /// Reviewers from an upper body.
    pub const REVIEWERS: Self = Self(1 << 6);
    /// Who was named to keep the document's record.
    pub const RECORDER: Self = Self(1 << 9);
    /// Whose device created the document.
    pub const CREATOR: Self = Self(1 << 10);

    /// Both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn includes(self, author: &AuthorAt) -> bool {
        let role = 1 << author.role.to_wire();
        let recorder = if author.is_recorder { Self::RECORDER.0 } else { 0 };
        let creator = if author.is_creator { Self::CREATOR.0 } else { 0 };
        self.0 & (role | recorder | creator) != 0
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles = Role::ALL.into_iter().filter(|r| self.0 & (1 << r.to_wire()) != 0);
        let mut names: Vec<String> = roles.map(|r| format!("{r:?}").to_lowercase()).collect();
        if self.0 & Self::RECORDER.0 != 0 {
            names.push("the recorder".into());
        }
        if self.0 & Self::CREATOR.0 != 0 {
            names.push("its creator".into());
        }
        f.write_str(&if names.is_empty() { "nobody".to_owned() } else { names.join(", ") })
    }
}

/// One step of a rule's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This key of a map.
    Key(&'static str),
    /// A key of a map that is the author's own member id, in hex.
    Own,
    /// Any key of a map, or any element of a list.
    Any,
    /// Whatever is below, and the place itself. Only at the end.
    Rest,
}

/// How a field may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Written, replaced, deleted.
    Free,
    /// Written where nothing is; never replaced or deleted.
    Once,
    /// As [`Once`](Self::Once), and what is inside only by the change that made it: entries of a list that only grows.
    Entry,
}

/// What a value must say for a rule to be about it, or for it to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Anything.
    Anything,
    /// The rule is about these texts only; others go to the rules after it.
    OneOf(&'static [&'static str]),
    /// It must be the author's own member id, in hex.
    Own,
}

/// One rule: the first that fits a place decides.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Where.
    pub path: &'static [Step],
    /// By whom.
    pub who: Who,
    /// How.
    pub how: How,
    /// With which value.
    pub says: Says,
}

impl Rule {
    /// A rule about any value.
    pub const fn new(path: &'static [Step], who: Who, how: How) -> Self {
        Self { path, who, how, says: Says::Anything }
    }

    /// The same for what a value says.
    #[must_use]
    pub const fn saying(self, says: Says) -> Self {
        Self { says, ..self }
    }
}

/// What a kind of document is called, and who writes what in it.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// Name and version, as `dinh.minutes/1`.
    pub name: &'static str,
    /// The first that fits decides.
    pub rules: &'static [Rule],
    /// Who writes what no rule is about.
    pub others: Who,
    /// What a seal freezes, if documents of this kind are sealed.
    pub seal: Option<Seal>,
}

/// A place at the root that is written once, and what nobody writes any more who knows that it was.
#[derive(Debug, Clone, Copy)]
pub struct Seal {
    /// The key of the seal.
    pub key: &'static str,
    /// The keys at the root under which everything is frozen then.
    pub frozen: &'static [&'static str],
}

/// Why a change may not write what it writes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{schema}: operation {op} writes {path}: {why}")]
pub struct Denied {
    /// The schema whose rule it is.
    pub schema: &'static str,
    /// The operation's place in the change, from 0.
    pub op: usize,
    /// What it writes to.
    pub path: String,
    /// Why it may not.
    pub why: String,
}

/// The rights of one author in one document.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    schema: &'static Schema,
    author: AuthorAt,
}

/// A step of the place that an operation writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Key(&'a str),
    Element,
}

impl Rights {
    /// Those of this author, by this schema.
    pub const fn new(schema: &'static Schema, author: AuthorAt) -> Self {
        Self { schema, author }
    }

    /// Whether the author's role was another one at some other time.
    #[must_use]
    pub const fn may_have_been_others(&self) -> bool {
        self.author.role_changed
    }

    /// Judges the change that was admitted last. Returns the items that it lets in.
    ///
    /// # Errors
    /// The first operation that its author may not do.
    pub(super) fn judge(&self, past: &Past, change: &ExpandedChange) -> Result<Vec<ItemId>, Denied> {
        let own = self.author.member.to_string();
        let first = past.rows.len() - change.operations.len();
        let mut released = Vec::new();
        let seal = self.schema.seal.filter(|seal| past.newest_knows(seal.key));
        // Characters of one text follow each other: what was said of the first goes for the others.
        let mut same: Option<(u32, bool)> = None;
        for (n, op) in change.operations.iter().enumerate() {
            let row = past.rows[first + n];
            let in_text = past.is_text(row.object);
            let kind = (row.object, op.pred.is_empty());
            if in_text && same == Some(kind) {
                continue;
            }
            let path = past.place(first + n);
            let frozen =
                |seal: &Seal| matches!(path.first(), Some(Part::Key(key)) if seal.frozen.contains(key));
            let judged = match seal.as_ref().filter(|seal| frozen(seal)) {
                Some(_) => Err("the document is sealed".to_owned()),
                None => self.judge_op(op, &path, &own, row.object as usize > first),
            };
            judged.map_err(|why| Denied { schema: self.schema.name, op: n, path: written(&path), why })?;
            if let [Part::Key(RELEASED), Part::Key(id)] = path[..]
                && let Some(id) = item_id(id)
            {
                released.push(id);
            }
            same = in_text.then_some(kind);
        }
        Ok(released)
    }

    /// `made_here`: whether the container that it writes to was made by this change.
    fn judge_op(&self, op: &Op, path: &[Part<'_>], own: &str, made_here: bool) -> Result<(), String> {
        let text = match &op.action {
            OpType::Put(ScalarValue::Str(text)) => Some(text.as_str()),
            _ => None,
        };
        let fits = |rule: &&Rule| {
            let about = match rule.says {
                Says::OneOf(texts) => text.is_some_and(|text| texts.contains(&text)),
                Says::Anything | Says::Own => true,
            };
            about && fits(rule.path, path, own)
        };
        let Some(rule) = RELEASES.iter().chain(self.schema.rules).find(fits) else {
            let may = self.schema.others.includes(&self.author);
            return if may { Ok(()) } else { Err(only(self.schema.others)) };
        };
        if !rule.who.includes(&self.author) {
            return Err(only(rule.who));
        }
        if rule.says == Says::Own && text != Some(own) {
            return Err("it names another member than the author".into());
        }
        match rule.how {
            How::Free => Ok(()),
            How::Once | How::Entry if !op.pred.is_empty() => Err("what is there is never changed".into()),
            How::Entry if path.len() > entry_steps(rule.path) && !made_here => {
                Err("an entry is complete when it is made".into())
            }
            How::Once | How::Entry => Ok(()),
        }
    }
}

fn only(who: Who) -> String {
    format!("written only by {who}")
}

/// Up to where a rule's path leads to an entry itself.
fn entry_steps(path: &[Step]) -> usize {
    let any = |step: &Step| matches!(step, Step::Any | Step::Own);
    path.iter().position(any).map_or(path.len(), |at| at + 1)
}

fn fits(steps: &[Step], path: &[Part<'_>], own: &str) -> bool {
    match (steps, path) {
        ([Step::Rest], _) => true,
        ([], []) => true,
        ([step, steps @ ..], [part, path @ ..]) => {
            let here = match (step, part) {
                (Step::Key(key), Part::Key(found)) => key == found,
                (Step::Own, Part::Key(found)) => *found == own,
                (Step::Any, _) => true,
                _ => false,
            };
            here && fits(steps, path, own)
        }
        _ => false,
    }
}

fn written(path: &[Part<'_>]) -> String {
    let steps: Vec<&str> = path
        .iter()
        .map(|part| match part {
            Part::Key(key) => key,
            Part::Element => "*",
        })
        .collect();
    steps.join("/")
}

fn item_id(hex: &str) -> Option<ItemId> {
    let mut id = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, at) in id.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(ItemId(id))
}

/// The key of a member in documents.
#[must_use]
pub fn member_key(member: &MemberId) -> String {
    member.to_string()
}

impl Past {
    fn is_text(&self, object: u32) -> bool {
        object != ROOT && self.rows[object as usize - 1].kind == super::past::Kind::Text
    }

    /// The place that an operation writes to, from the root.
    fn place(&self, row: usize) -> Vec<Part<'_>> {
        let mut path = Vec::new();
        let mut at = self.rows[row];
        loop {
            let in_map =
                at.object == ROOT || self.rows[at.object as usize - 1].kind == super::past::Kind::Map;
            path.push(if in_map { Part::Key(self.key_name(at.key)) } else { Part::Element });
            if at.object == ROOT {
                break;
            }
            at = self.rows[at.object as usize - 1];
        }
        path.reverse();
        path
    }

    /// Whether a change here lets an item in that its author's rights do not.
    pub(crate) fn releases(&self, item: &ItemId) -> bool {
        let (Some(released), Some(key)) = (self.key_of(RELEASED), self.key_of(&item.to_string())) else {
            return false;
        };
        self.rows.iter().any(|row| {
            row.key == key
                && row.object != ROOT
                && self.rows[row.object as usize - 1].object == ROOT
                && self.rows[row.object as usize - 1].key == released
        })
    }
}
