//! What documents a space holds: so that a list opens without opening them, and doubles are seen.

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::gate::rights::{How, Rule, Says, Schema, Step, Who};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::{Deserialize, Serialize};

use crate::field::{Fields, Register, member, put_register};
use crate::me::Me;
use crate::seal::Seal;

/// Who writes what: whoever creates a document lists it; officers say which are one, and keep the book of seals.
pub static SCHEMA: Schema = Schema {
    name: "dinh.index/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("audience")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("documents"), Step::Any, Step::Key("by")], Who::EVERYBODY, How::Entry)
            .saying(Says::Own),
        Rule::new(&[Step::Key("documents"), Step::Any, Step::Rest], Who::EVERYBODY, How::Entry),
        Rule::new(&[Step::Key("seals"), Step::Any, Step::Rest], Who::OFFICERS, How::Entry),
    ],
    others: Who::OFFICERS,
    seal: None,
};

/// For whom a space is. Spaces have no names in the charter, which the relay reads: their index says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// All members.
    Branch,
    /// The committee.
    Committee,
    /// The committee and reviewers of the upper body.
    Oversight,
    /// One member and the committee.
    MailboxCommittee,
    /// One member and the reviewers of the upper body.
    MailboxUpper,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Branch, Self::Committee, Self::Oversight, Self::MailboxCommittee, Self::MailboxUpper];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Committee => "committee",
            Self::Oversight => "oversight",
            Self::MailboxCommittee => "mailbox_committee",
            Self::MailboxUpper => "mailbox_upper",
        }
    }
}

/// A document as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its schema.
    pub schema: String,
    /// `YYYY-MM` of its month, if it has one.
    pub period: Option<String>,
    /// Which kind of its schema: regular or thematic minutes.
    pub kind: Option<String>,
    /// Who created it.
    #[serde(skip)]
    pub by: MemberId,
    /// The document that it turned out to be one with.
    pub same_as: Register<String>,
}

/// An index as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Index {
    /// For whom the space is.
    pub purpose: Option<Purpose>,
    /// The documents, by id.
    pub documents: BTreeMap<String, Listed>,
    /// Seals, by document: their hash and those that they follow.
    pub seals: BTreeMap<String, (String, Vec<String>)>,
}

impl Index {
    /// Reads it.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let view = fields.view();
        let audience = fields.string(&path!["audience"]);
        let listed = |id: String| {
            let Value::Map(entry) = view.get(&path!["documents", id.as_str()])? else { return None };
            let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
            let found = Listed {
                schema: text("schema")?,
                period: text("period"),
                kind: text("kind"),
                by: member(&text("by")?)?,
                same_as: fields.string(&path!["same_as", id.as_str()]),
            };
            Some((id, found))
        };
        let seal = |id: String| {
            let Value::Map(entry) = view.get(&path!["seals", id.as_str()])? else { return None };
            let hash = entry.get("hash")?.as_str()?.to_owned();
            let Some(Value::List(previous)) = entry.get("previous") else { return None };
            let previous = previous.iter().map(|p| p.as_str().map(str::to_owned)).collect::<Option<_>>()?;
            Some((id, (hash, previous)))
        };
        Self {
            purpose: Purpose::ALL.into_iter().find(|p| Some(p.name()) == audience.get().map(String::as_str)),
            documents: view.keys(&path!["documents"]).into_iter().filter_map(listed).collect(),
            seals: view.keys(&path!["seals"]).into_iter().filter_map(seal).collect(),
        }
    }

    /// Documents of one schema, kind and month, where there are several that nobody said are one: two people opened the same
    /// meeting.
    #[must_use]
    pub fn doubles(&self) -> Vec<Vec<&str>> {
        let mut by_month: BTreeMap<(&str, &str, Option<&str>), Vec<&str>> = BTreeMap::new();
        for (id, listed) in self.documents.iter().filter(|(_, l)| l.same_as.get().is_none()) {
            let Some(period) = &listed.period else { continue };
            by_month.entry((&listed.schema, period, listed.kind.as_deref())).or_default().push(id);
        }
        by_month.into_values().filter(|ids| ids.len() > 1).collect()
    }

    /// Hashes of the seals that no other one follows: what the next one names.
    #[must_use]
    pub fn last_seals(&self) -> Vec<String> {
        let followed = |hash: &String| self.seals.values().any(|(_, previous)| previous.contains(hash));
        self.seals.values().map(|(hash, _)| hash).filter(|hash| !followed(hash)).cloned().collect()
    }
}

/// Makes the empty index of a space.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(edit: &mut Edit<'_>, purpose: Purpose) -> Result<(), EditError> {
    edit.put(&path!["schema"], SCHEMA.name)?;
    edit.put(&path!["audience"], purpose.name())?;
    ["documents", "same_as", "seals"].iter().try_for_each(|map| edit.put_map(&path![*map]))
}

/// Lists a document.
///
/// # Errors
/// If this device may not.
pub fn list(
    edit: &mut Edit<'_>,
    me: &Me,
    document: &str,
    schema: &str,
    period: Option<&str>,
    kind: Option<&str>,
) -> Result<(), EditError> {
    let mut fields =
        BTreeMap::from([("schema".to_owned(), Value::from(schema)), ("by".to_owned(), me.key().into())]);
    for (key, text) in [("period", period), ("kind", kind)] {
        if let Some(text) = text {
            fields.insert(key.to_owned(), text.into());
        }
    }
    edit.put(&path!["documents", document], Value::Map(fields))
}

/// Says that a document is one with another, which is the one to use.
///
/// # Errors
/// If this device may not.
pub fn link(edit: &mut Edit<'_>, document: &str, same_as: &str) -> Result<(), EditError> {
    put_register(edit, &path!["same_as", document], same_as)
}

/// Enters a seal into the book.
///
/// # Errors
/// If this device may not, or the document's is in it.
pub fn enter_seal(edit: &mut Edit<'_>, seal: &Seal) -> Result<(), EditError> {
    let previous = seal.previous.iter().map(|hash| hash.as_str().into()).collect();
    let fields =
        [("hash".to_owned(), Value::from(seal.hash())), ("previous".to_owned(), Value::List(previous))];
    edit.put(&path!["seals", seal.document.as_str()], Value::Map(fields.into()))
}
