//! A sealed document never changes. What is to be different is another document, adopted and sealed in its turn, that says what it
//! does to the one before and by which seal it knows it.

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::path;
use dinh_core::replica::{Now, Replica, ReplicaError};
use dinh_core::store::Store;
use dinh_proto::ids::DocId;
use serde::{Deserialize, Serialize};

use crate::access::{act, read};
use crate::field::{Fields, ensure_map, later_map};
use crate::resolution;
use crate::seal;

/// The map at a document's root, frozen by its seal. Documents that were made before this field existed get it when it is first
/// written.
pub const AMENDS: &str = "amends";

/// What a document does to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// It adds to it: minutes that correct minutes.
    Adds,
    /// It changes parts of it.
    Amends,
    /// It holds in its place.
    Supersedes,
    /// It takes it back.
    Revokes,
}

impl Relation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Adds, Self::Amends, Self::Supersedes, Self::Revokes];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adds => "adds",
            Self::Amends => "amends",
            Self::Supersedes => "supersedes",
            Self::Revokes => "revokes",
        }
    }
}

/// A document that another one is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Amended {
    /// What is done to it.
    pub relation: Relation,
    /// The hash of its seal, in hex.
    pub seal: String,
}

/// What a document says that it does to others, by document.
#[must_use]
pub fn read_all(fields: &Fields<'_, '_>) -> BTreeMap<String, Amended> {
    let entry = |value: &Value| {
        let Value::Map(entry) = value else { return None };
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let relation = Relation::ALL.into_iter().find(|r| Some(r.name()) == text("relation"))?;
        Some(Amended { relation, seal: text("seal")?.to_owned() })
    };
    let all = later_map(fields.view(), AMENDS).into_iter();
    all.filter_map(|(document, value)| Some((document, entry(&value)?))).collect()
}

/// Says in a new document what it does to a sealed one.
///
/// # Errors
/// If this device may not, or the new one is sealed.
pub fn amend(
    edit: &mut Edit<'_>,
    document: &str,
    seal_hash: &str,
    relation: Relation,
) -> Result<(), EditError> {
    ensure_map(edit, AMENDS)?;
    let fields =
        [("relation".to_owned(), Value::from(relation.name())), ("seal".to_owned(), seal_hash.into())];
    edit.put(&path![AMENDS, document], Value::Map(fields.into()))
}

/// Notes in a resolution that another one, sealed, holds in its place or took it back. By an officer.
///
/// # Errors
/// [`EditError::Refused`] if the new one is not sealed, or does not say so of this one's seal; if this device may not.
pub fn follow<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    old: &DocId,
    new: &DocId,
) -> Result<(), ReplicaError> {
    let refused = |why: &str| ReplicaError::Edit(EditError::Refused(why.to_owned()));
    let seal_of = |fields: &Fields<'_, '_>| seal::read(fields).get().map(seal::Seal::hash);
    let old_seal = read(replica, old, seal_of)?.ok_or_else(|| refused("the older document is not sealed"))?;
    let (sealed, says) = read(replica, new, |f| (seal_of(f).is_some(), read_all(f)))?;
    if !sealed {
        return Err(refused("the newer document is not sealed yet: adopt and seal it first"));
    }
    let said = says.get(&old.to_string()).filter(|said| said.seal == old_seal);
    let kind = match said.map(|said| said.relation) {
        Some(Relation::Supersedes) => "superseded",
        Some(Relation::Revokes) => "revoked",
        _ => {
            return Err(refused(
                "the newer document does not say that it takes the place of this one's seal",
            ));
        }
    };
    let data = [("by_document", new.to_string().into())];
    act(replica, now, old, None, |edit, me| resolution::step(edit, me, kind, data))?;
    Ok(())
}
