//! The book of what a branch sealed: each seal names the ones before it, so that none can be taken out or put in unseen.

use std::collections::BTreeSet;

use dinh_core::document::EditError;
use dinh_core::gate::rights::Schema;
use dinh_core::replica::{Now, Replica, ReplicaError};
use dinh_core::store::Store;
use dinh_proto::ids::DocId;
use serde::Serialize;

use crate::access::{act, read};
use crate::branch::Place;
use crate::index::{self, Index};
use crate::lifecycle::{NotYet, Status};
use crate::minutes::{self, Minutes};
use crate::resolution::{self, Resolution};
use crate::seal::{self, NewSeal, Seal, Verified};

/// What a page of the book turns out to be on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Page {
    /// The document's seal is the one in the book, its content is what it says, and the seals that it follows are there.
    Valid,
    /// The document, or a seal that it follows, is not here yet.
    Incomplete,
    /// The document has another seal, or its content is not what the seal says.
    Wrong,
}

fn refused(why: impl ToString) -> ReplicaError {
    ReplicaError::Edit(EditError::Refused(why.to_string()))
}

/// The schema of a document that can be sealed.
fn schema_of<S: Store>(replica: &Replica<S>, doc: &DocId) -> Result<&'static Schema, ReplicaError> {
    let name = replica.schema_of(doc);
    let sealed = [&minutes::SCHEMA, &resolution::SCHEMA, &resolution::OPEN_SCHEMA];
    let found = sealed.into_iter().find(|schema| Some(schema.name) == name);
    found.ok_or_else(|| refused("documents of this kind are not sealed"))
}

/// Whether a document may be sealed now, the number that it got, and the seal that it has.
type Standing = (Result<(), NotYet>, Option<String>, Option<Seal>);

fn standing<S: Store>(
    replica: &mut Replica<S>,
    doc: &DocId,
    schema: &'static Schema,
) -> Result<Standing, ReplicaError> {
    if schema.name == minutes::SCHEMA.name {
        let found = read(replica, doc, Minutes::read)?;
        return Ok((found.may_seal(), None, found.seals.get().cloned()));
    }
    let found = read(replica, doc, Resolution::read)?;
    let number = found.issued.as_ref().map(|(number, _)| number.clone());
    Ok((found.may_seal(), number, found.seals.get().cloned()))
}

/// Seals a document as it is and enters the seal into the book of its space; adopted minutes are signed by it. By an officer.
/// If it was interrupted, calling it again finishes what is missing.
///
/// # Errors
/// [`EditError::Refused`] unless the document is where it is sealed from, undisputed; [`ReplicaError::Denied`] unless this
/// device is an officer's.
pub fn seal<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    place: &Place,
    doc: &DocId,
) -> Result<Seal, ReplicaError> {
    // What is being typed belongs to what is sealed, and to its heads.
    replica.flush_text(now, doc)?;
    let schema = schema_of(replica, doc)?;
    let (may, number, sealed) = standing(replica, doc, schema)?;
    let sealed = match sealed {
        Some(sealed) => sealed,
        None => {
            may.map_err(refused)?;
            let heads = replica.document(doc, |d| d.heads())?;
            let previous = read(replica, &place.index, Index::read)?.last_seals();
            let document = doc.to_string();
            let new = NewSeal {
                document: &document,
                schema,
                heads: &heads,
                number: number.as_deref(),
                previous: &previous,
            };
            act(replica, now, doc, None, |edit, me| seal::seal(edit, me, &new))?.0
        }
    };
    if schema.name == minutes::SCHEMA.name
        && read(replica, doc, Minutes::read)?.life.status == Status::In(minutes::state::State::Adopted)
    {
        act(replica, now, doc, None, |edit, me| minutes::step(edit, me, "signed", []))?;
    }
    if !read(replica, &place.index, Index::read)?.seals.contains_key(&sealed.document) {
        act(replica, now, &place.index, None, |edit, _| index::enter_seal(edit, &sealed))?;
    }
    Ok(sealed)
}

/// Checks every page of a space's book, in the order of documents' ids.
///
/// # Errors
/// If the store or the document engine fails.
pub fn check<S: Store>(replica: &mut Replica<S>, place: &Place) -> Result<Vec<(DocId, Page)>, ReplicaError> {
    let index = read(replica, &place.index, Index::read)?;
    let known: BTreeSet<&String> = index.seals.values().map(|(hash, _)| hash).collect();
    let mut pages = Vec::new();
    for (document, (hash, previous)) in &index.seals {
        let Ok(doc) = document.parse::<DocId>() else { continue };
        let Ok(schema) = schema_of(replica, &doc) else {
            pages.push((doc, Page::Incomplete));
            continue;
        };
        let all = read(replica, &doc, seal::read)?;
        let page = match all.all().iter().map(|w| &w.value).find(|sealed| sealed.hash() == *hash) {
            None if all.all().is_empty() => Page::Incomplete,
            None => Page::Wrong,
            Some(sealed) => match replica.document(&doc, |d| seal::verify(d, sealed, schema))?? {
                Verified::Valid if previous.iter().all(|before| known.contains(before)) => Page::Valid,
                Verified::Valid | Verified::Incomplete => Page::Incomplete,
                Verified::Wrong => Page::Wrong,
            },
        };
        pages.push((doc, page));
    }
    Ok(pages)
}
