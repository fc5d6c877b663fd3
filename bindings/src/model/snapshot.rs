//! Documents as immutable values, in JSON; what is heard of them; search.

use std::sync::Arc;

use dinh_core::client::ClientStore;
use dinh_core::document::EditError;
use dinh_core::gate::rights::Schema;
use dinh_core::proto::ids::{DocId, MemberId};
use dinh_core::replica::{Now, Replica, ReplicaError};
use dinh_model::access;
use dinh_model::attendance::Attendance;
use dinh_model::check::{self, Warning as Found};
use dinh_model::consultation::Round;
use dinh_model::digest::Digest;
use dinh_model::feedback::Thread;
use dinh_model::field::Fields;
use dinh_model::index::Index;
use dinh_model::minutes::Minutes;
use dinh_model::notice::Notice;
use dinh_model::resolution::{Resolution, heads_text};
use dinh_model::review::Review;
use dinh_model::roster::Roster;
use dinh_model::task::Task;
use dinh_model::votebox::Question;
use dinh_model::{amendment, late, lifecycle, overlap, seal};
use dinh_text::search::Quality;
use serde::Serialize;

use crate::client::Client;
use crate::error::Result;
use crate::ids;
use crate::stream::{Follow, Told};
use crate::value::units;

/// As what a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum SnapshotKind {
    /// Minutes.
    Minutes,
    /// A resolution, or the draft of one.
    Resolution,
    /// A frozen round of a consultation; null until it is here.
    Round,
    /// A review.
    Review,
    /// Threads of feedback.
    Threads,
    /// The roll of a meeting.
    Attendance,
    /// The people of a branch.
    Roster,
    /// Questions that are voted on phones.
    Questions,
    /// Tasks.
    Tasks,
    /// A notice.
    Notice,
    /// What reviewers see of a branch.
    Digest,
    /// What a space holds.
    Index,
    /// The events of a document's life, with their data.
    Events,
    /// Blocks in which several wrote without knowing of each other.
    Overlaps,
    /// The seal, whether what stands at its heads is what it says, and what came late; null if it is not sealed.
    Seal,
    /// What amends this document.
    Amended,
}

/// A seal as it is shown.
#[derive(Serialize)]
struct Sealed {
    seal: seal::Seal,
    /// By which the next seal names it.
    hash: String,
    verified: seal::Verified,
    late: Vec<late::Proposal>,
}

/// A roster as it is shown.
#[derive(Serialize)]
struct People {
    #[serde(flatten)]
    roster: Roster,
    /// The members in the order of a Vietnamese list: by given name.
    by_name: Vec<MemberId>,
}

impl People {
    fn read(fields: &Fields<'_, '_>) -> Self {
        let roster = Roster::read(fields);
        let by_name = roster.by_name().into_iter().map(|(id, _)| id).collect();
        Self { roster, by_name }
    }
}

/// JSON of a plain value cannot fail; a document engine that fails in between says so.
fn json(value: &impl Serialize) -> Result<String, ReplicaError> {
    serde_json::to_string(value).map_err(|error| ReplicaError::Edit(EditError::Refused(error.to_string())))
}

/// The same for what is not a document.
pub(super) fn text(value: &impl Serialize) -> Result<String> {
    Ok(json(value)?)
}

fn of_fields<R: Serialize>(
    replica: &mut Replica<ClientStore>,
    doc: &DocId,
    read: impl FnOnce(&Fields<'_, '_>) -> R,
) -> Result<String, ReplicaError> {
    json(&access::read(replica, doc, read)?)
}

/// The heads of a document as it is now, with what is being typed in it.
pub(super) fn heads_now(
    replica: &mut Replica<ClientStore>,
    now: Now,
    doc: &DocId,
) -> Result<String, ReplicaError> {
    replica.flush_text(now, doc)?;
    replica.document(doc, |document| heads_text(&document.heads()))
}

/// A document's seal, and the schema by which it was sealed.
pub(super) fn seal_of(
    replica: &mut Replica<ClientStore>,
    doc: &DocId,
) -> Result<Option<(seal::Seal, &'static Schema)>, ReplicaError> {
    let Some(found) = access::read(replica, doc, |f| seal::read(f).get().cloned())? else { return Ok(None) };
    let schema = dinh_model::SCHEMAS.iter().find(|schema| schema.name == found.schema);
    let schema = *schema.ok_or_else(|| ReplicaError::UnknownSchema(found.schema.clone()))?;
    Ok(Some((found, schema)))
}

fn sealed(replica: &mut Replica<ClientStore>, doc: &DocId) -> Result<Option<Sealed>, ReplicaError> {
    let Some((found, schema)) = seal_of(replica, doc)? else { return Ok(None) };
    let verified = replica.document(doc, |document| seal::verify(document, &found, schema))??;
    let late = late::of(replica, doc, schema)?;
    Ok(Some(Sealed { hash: found.hash(), verified, late, seal: found }))
}

impl SnapshotKind {
    fn read(self, replica: &mut Replica<ClientStore>, doc: &DocId) -> Result<String, ReplicaError> {
        match self {
            Self::Minutes => of_fields(replica, doc, Minutes::read),
            Self::Resolution => of_fields(replica, doc, Resolution::read),
            Self::Round => of_fields(replica, doc, Round::read),
            Self::Review => of_fields(replica, doc, Review::read),
            Self::Threads => of_fields(replica, doc, Thread::read_all),
            Self::Attendance => of_fields(replica, doc, Attendance::read),
            Self::Roster => of_fields(replica, doc, People::read),
            Self::Questions => of_fields(replica, doc, Question::read_all),
            Self::Tasks => of_fields(replica, doc, Task::read_all),
            Self::Notice => of_fields(replica, doc, Notice::read),
            Self::Digest => of_fields(replica, doc, Digest::read),
            Self::Index => of_fields(replica, doc, Index::read),
            Self::Events => of_fields(replica, doc, |fields| lifecycle::read(fields.view())),
            Self::Amended => of_fields(replica, doc, amendment::read_all),
            Self::Overlaps => {
                let writers = access::writers(replica, doc);
                let found = replica.document(doc, |document| overlap::overlaps(document, &writers))??;
                json(&found)
            }
            Self::Seal => json(&sealed(replica, doc)?),
        }
    }
}

/// What a document is, again and again.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum SnapshotEvent {
    /// It is this now. Between two of these it may have changed more than once.
    Snapshot {
        /// The value.
        json: String,
    },
    /// It cannot be read now: it is locked, or the client is. A snapshot follows when it can.
    Unavailable {
        /// Why.
        detail: String,
    },
}

/// What a document is, again and again: see `Client.snapshot_stream`.
#[derive(Debug, uniffi::Object)]
pub struct SnapshotStream {
    follow: Follow<String>,
}

#[uniffi::export]
impl SnapshotStream {
    /// Waits for the next one; none when the client was closed or the stream cancelled. Fails if the document cannot be read the
    /// first time.
    pub async fn next(&self) -> Result<Option<SnapshotEvent>> {
        Ok(self.follow.next().await?.map(|told| match told {
            Told::State { state: json, .. } => SnapshotEvent::Snapshot { json },
            Told::Unavailable { detail } => SnapshotEvent::Unavailable { detail },
            Told::Changed { .. } => unreachable!("this stream was made without patches"),
        }))
    }

    /// Ends the stream, and a wait that is under way.
    pub fn cancel(&self) {
        self.follow.cancel.cancel();
    }
}

/// Something that a search found.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Hit {
    /// The document.
    pub doc: String,
    /// The field: keys from the document's root.
    pub field: Vec<String>,
    /// The text of the field.
    pub text: String,
    /// The words found: ranges of UTF-16 code units of the text.
    pub highlights: Vec<TextRange>,
    /// The first of them with words around it.
    pub snippet: TextRange,
    /// Whether it is written as it was asked for, with all its marks.
    pub is_exact: bool,
}

/// Something in a document that people should look at before others read it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Warning {
    /// The field: keys from the document's root.
    pub field: Vec<String>,
    /// What it is.
    pub kind: WarningKind,
    /// Where; the whole field if it is about that.
    pub range: Option<TextRange>,
    /// What could stand there instead.
    pub suggestion: Option<String>,
}

/// See [`Warning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum WarningKind {
    /// A number by which somebody can be reached or identified.
    PersonalNumber,
    /// A syllable with two tone marks: two people corrected its tone at the same time.
    TwoTones,
    /// Keys of an input method that were not composed.
    Uncomposed,
    /// Text in an encoding from before Unicode.
    OldEncoding,
    /// The mark of a state secret.
    Classified,
}

fn warned((field, found): (Vec<String>, Found)) -> Warning {
    let (kind, range, suggestion) = match found {
        Found::Number { range, .. } => (WarningKind::PersonalNumber, Some(range), None),
        Found::TwoTones { range } => (WarningKind::TwoTones, Some(range), None),
        Found::Uncomposed { range, meant } => (WarningKind::Uncomposed, Some(range), Some(meant)),
        Found::Legacy { converted, .. } => (WarningKind::OldEncoding, None, Some(converted)),
        Found::Classified { range, .. } => (WarningKind::Classified, Some(range), None),
    };
    Warning { field, kind, range: range.map(TextRange::from), suggestion }
}

/// A stretch of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct TextRange {
    /// First UTF-16 code unit.
    pub start: u32,
    /// One past the last.
    pub end: u32,
}

impl From<std::ops::Range<usize>> for TextRange {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self { start: units(range.start), end: units(range.end) }
    }
}

#[uniffi::export]
impl Client {
    /// A document as an immutable value, as JSON.
    pub async fn snapshot(&self, doc: String, kind: SnapshotKind) -> Result<String> {
        let doc = ids::doc(&doc)?;
        Ok(self.core().look(move |replica| kind.read(replica, &doc)).await?)
    }

    /// What a document is, now and after each change.
    pub fn snapshot_stream(&self, doc: String, kind: SnapshotKind) -> Result<Arc<SnapshotStream>> {
        let read = move |replica: &mut Replica<ClientStore>, doc: &DocId| kind.read(replica, doc);
        Ok(Arc::new(SnapshotStream { follow: Follow::new(self.core(), ids::doc(&doc)?, false, read) }))
    }

    /// What people should look at in a document: when somebody leaves a field, and after others' changes.
    pub async fn check(&self, doc: String) -> Result<Vec<Warning>> {
        let doc = ids::doc(&doc)?;
        let look = move |replica: &mut Replica<ClientStore>| {
            let schema = replica.schema_of(&doc);
            replica.view(&doc, |view| check::document(schema, view))
        };
        Ok(self.core().look(look).await?.into_iter().map(warned).collect())
    }

    /// Searches all documents that this device may read, without regard to case and marks; what is written as it was asked for
    /// comes first. The first search reads them all; later ones what changed.
    pub async fn search(&self, query: String, hits_max: u32) -> Result<Vec<Hit>> {
        let found = self.documents.search(&query, hits_max as usize).await?;
        let of = |found: dinh_model::library::Found| Hit {
            doc: ids::text(&found.hit.doc),
            field: found.hit.field,
            highlights: found.hit.highlights.into_iter().map(TextRange::from).collect(),
            snippet: found.hit.snippet.into(),
            is_exact: found.hit.rank.quality == Quality::Exact,
            text: found.text,
        };
        Ok(found.into_iter().map(of).collect())
    }
}
