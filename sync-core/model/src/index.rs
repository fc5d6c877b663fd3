//! What documents a space holds: so that a list opens without opening them, and doubles are seen.

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::gate::rights::{How, Rule, Says, Schema, Step, Who};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::{Deserialize, Serialize};

use crate::field::{Fields, Register, count, member, put_register};
use crate::me::Me;
use crate::seal::Seal;

/// Who writes what: whoever creates a document lists it; officers say which are one, and keep the book of seals.
pub static SCHEMA: Schema = Schema {
    name: "dinh.index/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("audience")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("member")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("documents"), Step::Any, Step::Key("by")], Who::EVERYBODY, How::Entry)
            .saying(Says::Own),
        Rule::new(&[Step::Key("documents"), Step::Any, Step::Rest], Who::EVERYBODY, How::Entry),
        Rule::new(&[Step::Key("seals"), Step::Any, Step::Rest], Who::OFFICERS, How::Entry),
    ],
    // A member makes its own mailbox.
    others: Who::OFFICERS.or(Who::CREATOR),
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
    /// The document that it was made from, or belongs to: the draft of a resolution, the resolution of a round, the minutes of a
    /// roll.
    pub of: Option<String>,
    /// `YYYY-MM` of its month, if it has one.
    pub period: Option<String>,
    /// Which kind of its schema: regular or thematic minutes.
    pub kind: Option<String>,
    /// Who created it.
    pub by: MemberId,
    /// The document that it turned out to be one with.
    pub same_as: Register<String>,
}

/// A number that a document got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Numbered {
    /// The number, from 1.
    pub number: u32,
    /// In which line: of a type of documents and a term of the branch.
    pub line: String,
    /// How many numbers who gave it knew of: less was given earlier, whatever clocks say.
    pub known: u32,
}

impl Numbered {
    fn read(value: &Value) -> Option<Self> {
        let Value::Map(entry) = value else { return None };
        Some(Self {
            number: entry.get("number").and_then(count)?,
            line: entry.get("line").and_then(Value::as_str)?.to_owned(),
            known: entry.get("known").and_then(count)?,
        })
    }
}

/// A document that needs another number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Renumber {
    /// Which.
    pub document: String,
    /// The number that it has.
    pub number: u32,
    /// The document that keeps this number.
    pub keeps: String,
}

/// An index as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Index {
    /// For whom the space is.
    pub purpose: Option<Purpose>,
    /// Whose mailbox it is, if it is one.
    pub member: Option<MemberId>,
    /// The documents, by id.
    pub documents: BTreeMap<String, Listed>,
    /// Numbers that documents got, by document.
    pub numbers: BTreeMap<String, Register<Numbered>>,
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
                of: text("of"),
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
        let number = |id: String| {
            let found = fields.register(&path!["numbers", id.as_str()], Numbered::read);
            (id, found)
        };
        Self {
            member: fields.member(&path!["member"]).get().copied(),
            numbers: view.keys(&path!["numbers"]).into_iter().map(number).collect(),
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

    /// The number that comes next in a line.
    #[must_use]
    pub fn next_number(&self, line: &str) -> u32 {
        let given = self.numbers.values().flat_map(Register::all).filter(|w| w.value.line == line);
        given.map(|w| w.value.number).max().unwrap_or(0).saturating_add(1)
    }

    /// Documents that need another number, because two phones that were apart gave one twice: the one whose number was
    /// given knowing of fewer others keeps it, and of those that knew of as many the one with the smaller id.
    #[must_use]
    pub fn renumber(&self) -> Vec<Renumber> {
        let mut given: BTreeMap<(&str, u32), Vec<(u32, &str)>> = BTreeMap::new();
        for (document, register) in &self.numbers {
            let Some(found) = register.get() else { continue };
            given.entry((&found.line, found.number)).or_default().push((found.known, document));
        }
        let again = given.into_iter().flat_map(|((_, number), mut documents)| {
            documents.sort_unstable();
            let keeps = documents[0].1.to_owned();
            documents.into_iter().skip(1).map(move |(_, document)| Renumber {
                document: document.to_owned(),
                number,
                keeps: keeps.clone(),
            })
        });
        again.collect()
    }

    /// Hashes of the seals that no other one follows: what the next one names.
    #[must_use]
    pub fn last_seals(&self) -> Vec<String> {
        let followed = |hash: &String| self.seals.values().any(|(_, previous)| previous.contains(hash));
        self.seals.values().map(|(hash, _)| hash).filter(|hash| !followed(hash)).cloned().collect()
    }
}

/// Makes the empty index of a space. `member`: whose mailbox it is, if it is one.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(edit: &mut Edit<'_>, purpose: Purpose, member: Option<&MemberId>) -> Result<(), EditError> {
    edit.put(&path!["schema"], SCHEMA.name)?;
    edit.put(&path!["audience"], purpose.name())?;
    if let Some(member) = member {
        edit.put(&path!["member"], member.to_string())?;
    }
    ["documents", "same_as", "numbers", "seals"].iter().try_for_each(|map| edit.put_map(&path![*map]))
}

/// A document to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its schema.
    pub schema: &'a str,
    /// `YYYY-MM` of its month, if it has one.
    pub period: Option<&'a str>,
    /// Which kind of its schema.
    pub kind: Option<&'a str>,
    /// The document that it is made from.
    pub of: Option<&'a str>,
}

/// Lists a document.
///
/// # Errors
/// If this device may not.
pub fn list(edit: &mut Edit<'_>, me: &Me, document: &str, entry: &Entry<'_>) -> Result<(), EditError> {
    let parts = [("period", entry.period), ("kind", entry.kind), ("of", entry.of)];
    let parts = parts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::from(text?))));
    let always = [("schema".to_owned(), Value::from(entry.schema)), ("by".to_owned(), me.key().into())];
    edit.put(&path!["documents", document], Value::Map(parts.chain(always).collect()))
}

/// Gives a document the next number of a line, or another one if [`Index::renumber`] says so. Returns it.
///
/// # Errors
/// If this device may not.
pub fn give_number(edit: &mut Edit<'_>, index: &Index, document: &str, line: &str) -> Result<u32, EditError> {
    let number = index.next_number(line);
    let known = u64::try_from(index.numbers.len()).unwrap_or(u64::MAX);
    let fields = [
        ("number".to_owned(), Value::Uint(u64::from(number))),
        ("line".to_owned(), line.into()),
        ("known".to_owned(), Value::Uint(known)),
    ];
    put_register(edit, &path!["numbers", document], Value::Map(fields.into()))?;
    Ok(number)
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
