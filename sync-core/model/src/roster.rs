//! The roster: who belongs to the branch, as the body that keeps the members' records says. It is imported, not typed, and
//! holds nothing by which somebody could be reached or identified outside.

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Path, Value};
use dinh_core::gate::rights::{How, Rule, Schema, Step, Who};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use dinh_text::sort::name_key;
use serde::{Deserialize, Serialize};

use crate::field::{Fields, Register, put_register};

/// Who writes what.
pub static SCHEMA: Schema = Schema {
    name: "dinh.roster/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("people"), Step::Rest], Who::OFFICERS, How::Free),
        Rule::new(&[Step::Key("source"), Step::Rest], Who::OFFICERS, How::Free),
    ],
    others: Who::OFFICERS,
    seal: None,
};

/// What a member is to the branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A full member.
    Official,
    /// On probation: takes part in everything but votes.
    Probationary,
    /// Official, suspended from party activities.
    Suspended,
    /// Official, detained.
    Detained,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Official, Self::Probationary, Self::Suspended, Self::Detained];

    /// Whether it is a full member's.
    #[must_use]
    pub const fn is_official(self) -> bool {
        !matches!(self, Self::Probationary)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Probationary => "probationary",
            Self::Suspended => "suspended",
            Self::Detained => "detained",
        }
    }
}

/// A member as the roster has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The full name.
    pub name: String,
    /// The post in the branch, as its records call it; empty if none.
    #[serde(default)]
    pub post: String,
    /// What the member is to the branch.
    pub standing: Standing,
    /// Freed from work and meetings for age or health.
    #[serde(default)]
    pub is_exempt: bool,
    /// Moved elsewhere for a time.
    #[serde(default)]
    pub is_away: bool,
    /// The first language, ISO 639; empty if not said.
    #[serde(default)]
    pub language: String,
    /// Whether the member uses the app.
    #[serde(default)]
    pub has_phone: bool,
}

impl Person {
    fn value(&self) -> Value {
        let mut fields = BTreeMap::from([
            ("name".to_owned(), Value::from(self.name.as_str())),
            ("standing".to_owned(), Value::from(self.standing.name())),
        ]);
        for (key, text) in [("post", &self.post), ("language", &self.language)] {
            if !text.is_empty() {
                fields.insert(key.to_owned(), Value::from(text.as_str()));
            }
        }
        for (key, flag) in [("exempt", self.is_exempt), ("away", self.is_away), ("phone", self.has_phone)] {
            if flag {
                fields.insert(key.to_owned(), Value::Bool(true));
            }
        }
        Value::Map(fields)
    }

    fn read(value: &Value) -> Option<Self> {
        let Value::Map(fields) = value else { return None };
        let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
        let flag = |key: &str| fields.get(key) == Some(&Value::Bool(true));
        let standing = text("standing")?;
        Some(Self {
            name: text("name")?,
            post: text("post").unwrap_or_default(),
            standing: Standing::ALL.into_iter().find(|s| s.name() == standing)?,
            is_exempt: flag("exempt"),
            is_away: flag("away"),
            language: text("language").unwrap_or_default(),
            has_phone: flag("phone"),
        })
    }
}

/// Where the roster comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Who keeps the records.
    pub authority: String,
    /// When they were read, milliseconds since 1970.
    pub at: i64,
}

/// A roster as it is now.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Roster {
    /// Where it comes from.
    pub authority: Register<String>,
    /// When it was read there.
    pub at: Register<i64>,
    /// The members, by id.
    pub people: BTreeMap<MemberId, Register<Person>>,
}

fn people() -> Path {
    path!["people"]
}

impl Roster {
    /// Reads it.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let of = |id: MemberId| (id, fields.register(&people().join(id.to_string()), Person::read));
        Self {
            authority: fields.string(&path!["source", "authority"]),
            at: fields.time(&path!["source", "at"]),
            people: fields.members(&people()).map(of).collect(),
        }
    }

    /// Each member as it is shown.
    #[must_use]
    pub fn shown(&self) -> BTreeMap<MemberId, Person> {
        self.people.iter().filter_map(|(id, person)| Some((*id, person.get()?.clone()))).collect()
    }

    /// The same in the order of a Vietnamese list: by given name, then the rest of the name.
    #[must_use]
    pub fn by_name(&self) -> Vec<(MemberId, Person)> {
        let mut people: Vec<(MemberId, Person)> = self.shown().into_iter().collect();
        people.sort_by_cached_key(|(id, person)| (name_key(&person.name), *id));
        people
    }
}

/// Makes the empty document.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(edit: &mut Edit<'_>) -> Result<(), EditError> {
    edit.put(&path!["schema"], SCHEMA.name)?;
    edit.put_map(&people())?;
    edit.put_map(&path!["source"])
}

/// Writes a roster over the one that is there: who is not in it is taken out. What is as it was is not written.
///
/// # Errors
/// If this device may not.
pub fn import(
    edit: &mut Edit<'_>,
    source: &Source,
    new: &BTreeMap<MemberId, Person>,
) -> Result<(), EditError> {
    put_register(edit, &path!["source", "authority"], source.authority.as_str())?;
    put_register(edit, &path!["source", "at"], Value::Timestamp(source.at))?;
    for key in edit.view().keys(&people()) {
        if !new.keys().any(|id| id.to_string() == key) {
            edit.delete(&people().join(key))?;
        }
    }
    for (id, person) in new {
        put_register(edit, &people().join(id.to_string()), person.value())?;
    }
    Ok(())
}
