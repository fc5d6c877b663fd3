//! Documents: maps, lists, scalars and texts that merge.
//!
//! A synchronous wrapper over automerge with four rules of its own:
//!
//! * Indexes into texts are UTF-16 code units, everywhere. Kotlin counts so, and Swift can.
//! * Text enters as NFC. Vietnamese arrives in three encodings, and a difference between two of them would rewrite every
//!   accented letter.
//! * Every change, local or remote, is told as [`Patch`]es, so that two screens of one phone follow each other.
//! * Only bytes that this device saved, and changes that the gate admitted, get in here.
//!
//! Nothing here knows the time, a file or the network. It allocates as the document grows and may recurse as deeply as
//! values are nested.

mod edit;
mod error;
mod foreign;
mod patch;
mod path;
mod reauthor;
mod text;
mod text_field;
mod typing;
mod value;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use automerge::transaction::CommitOptions;
use automerge::{ActorId, Automerge, Change, LoadOptions, TextEncoding};
use serde::Serialize;

/// What a [`View`] reads from: a document, or an edit in progress.
pub use automerge::ReadDoc;

pub use self::edit::{DEPTH_MAX, Edit, Expand};
pub use self::error::{DocumentError, EditError};
pub use self::foreign::{FILE_BYTES_MAX, FileError, MergedFile};
pub use self::patch::{Patch, PatchAction};
pub use self::path::{Path, Prop};
pub use self::reauthor::{Accepted, HashPrefix, Reauthored, reauthor, reauthor_after};
pub use self::text_field::{Failure, SharedTextField, TextField, TextSplice};
pub use self::typing::{PendingText, Typing, TypingConfig};
pub use self::value::Value;
pub use self::view::{ConflictValue, Cursor, Mark, View};

/// One document in memory.
#[derive(Clone, Debug)]
pub struct Document {
    doc: Automerge,
    /// The last change of each actor: automerge has no public way to ask.
    tips: BTreeMap<[u8; 16], (u64, ChangeHash)>,
    /// The largest counter of an operation.
    max_op: u64,
}

/// The SHA-256 that names an automerge change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeHash([u8; 32]);

/// A change that this device just made.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalChange {
    /// The change as an uncompressed chunk, as it travels.
    pub raw: Vec<u8>,
    /// Its hash.
    pub hash: ChangeHash,
    /// Its number among its actor's changes, from 1.
    pub seq: u64,
    /// The counter of its first operation.
    pub start_op: u64,
    /// What it builds on.
    pub deps: Vec<ChangeHash>,
    /// The edit for other observers on this device.
    pub patches: Vec<Patch>,
}

/// A change of the history, without its operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeInfo {
    /// Its hash.
    pub hash: ChangeHash,
    /// Who made it.
    pub actor: [u8; 16],
    /// Its number among its actor's changes, from 1.
    pub seq: u64,
    /// The counter of its first operation.
    pub start_op: u64,
    /// When, by the clock of the device that made it: seconds since 1970-01-01 UTC. Advisory.
    pub time_s: i64,
    /// What its maker said about it.
    pub message: Option<String>,
    /// It was written again after a device's store turned out to be an old copy, and stands for this change.
    pub stands_for: Option<HashPrefix>,
    /// What it builds on.
    pub deps: Vec<ChangeHash>,
    /// How many operations it has.
    pub ops: u64,
}

impl Document {
    /// An empty document, to be written by this actor.
    #[must_use]
    pub fn new(actor: [u8; 16]) -> Self {
        let mut doc = Automerge::new_with_encoding(TextEncoding::Utf16CodeUnit);
        doc.set_actor(actor_id(actor));
        Self { doc, tips: BTreeMap::new(), max_op: 0 }
    }

    /// Loads what [`save`](Self::save) gave. Only for bytes that this device saved itself: automerge's loader is not made
    /// for hostile bytes.
    ///
    /// # Errors
    /// If the bytes are damaged, or hold an actor id that is not 16 bytes.
    pub fn load(saved: &[u8], actor: [u8; 16]) -> Result<Self, DocumentError> {
        let options = LoadOptions::new().text_encoding(TextEncoding::Utf16CodeUnit);
        let mut doc = Automerge::load_with_options(saved, options)
            .map_err(|error| DocumentError::Load(error.to_string()))?;
        doc.set_actor(actor_id(actor));
        let mut tips = BTreeMap::new();
        let mut max_op = 0;
        for change in doc.get_changes_meta(&[]) {
            max_op = max_op.max(change.max_op);
            let tip = tips.entry(actor_bytes(&change.actor)?).or_insert((0, ChangeHash::from(change.hash)));
            if change.seq > tip.0 {
                *tip = (change.seq, change.hash.into());
            }
        }
        Ok(Self { doc, tips, max_op })
    }

    /// The whole document with its history, compressed.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.doc.save()
    }

    /// Who writes here.
    ///
    /// # Panics
    /// Never: actors are set from 16 bytes only.
    #[must_use]
    pub fn actor(&self) -> [u8; 16] {
        actor_bytes(self.doc.get_actor()).expect("actors are set from 16 bytes")
    }

    /// Goes on under another actor.
    pub fn set_actor(&mut self, actor: [u8; 16]) {
        self.doc.set_actor(actor_id(actor));
    }

    /// The changes that nothing builds on yet, in ascending order.
    #[must_use]
    pub fn heads(&self) -> Vec<ChangeHash> {
        let mut heads: Vec<_> = self.doc.get_heads().into_iter().map(ChangeHash::from).collect();
        heads.sort_unstable();
        heads
    }

    /// True if this change is in the document.
    #[must_use]
    pub fn contains(&self, hash: &ChangeHash) -> bool {
        self.doc.get_missing_deps(&[(*hash).into()]).is_empty()
    }

    /// The largest counter of an operation; about how many operations there are.
    #[must_use]
    pub fn max_op(&self) -> u64 {
        self.max_op
    }

    /// The number and hash of an actor's last change here.
    #[must_use]
    pub fn actor_tip(&self, actor: &[u8; 16]) -> Option<(u64, ChangeHash)> {
        self.tips.get(actor).copied()
    }

    /// Runs `f` in one transaction. What it wrote becomes one change; if it wrote nothing, or nothing new, there is none.
    /// If `f` fails, nothing of it stays.
    ///
    /// `time_s` is seconds since 1970-01-01 UTC by this device's clock.
    ///
    /// # Errors
    /// What `f` returns; or if the change would be larger than any device accepts ([`EditError::TooManyOperations`],
    /// [`EditError::MessageTooLong`]), or the document is full.
    ///
    /// # Panics
    /// If automerge panics; the document must then be rebuilt from its items.
    pub fn edit<R, E: From<EditError>>(
        &mut self,
        time_s: i64,
        message: Option<&str>,
        f: impl FnOnce(&mut Edit<'_>) -> Result<R, E>,
    ) -> Result<(R, Option<LocalChange>), E> {
        let actor = self.actor();
        let heads = self.doc.get_heads().len();
        let mut edit = Edit::new(self.doc.transaction());
        let result = f(&mut edit);
        let fits = edit::check_change(self.max_op, heads, edit.ops(), message);
        let (tx, before) = edit.into_parts();
        let result = match result.and_then(|result| fits.map(|()| result).map_err(E::from)) {
            Ok(result) => result,
            Err(error) => {
                tx.rollback();
                return Err(error);
            }
        };
        let mut options = CommitOptions::default().with_time(time_s);
        if let Some(message) = message {
            options.set_message(message);
        }
        let (Some(hash), _) = tx.commit_with(options) else {
            return Ok((result, None));
        };
        let change = self.doc.get_change_by_hash(&hash).expect("the change was committed just now");
        let max_op = change.max_op();
        let change = LocalChange {
            raw: change.raw_bytes().to_vec(),
            hash: hash.into(),
            seq: change.seq(),
            start_op: change.start_op().get(),
            deps: hashes(change.deps()),
            patches: patch::patches(&self.view(), &before),
        };
        self.tips.insert(actor, (change.seq, change.hash));
        self.max_op = max_op;
        Ok((result, Some(change)))
    }

    /// Applies changes that the gate has admitted, in one batch: a batch costs little more than a single change. Their
    /// order does not matter; those that are here already are skipped.
    ///
    /// # Errors
    /// If a dependency is missing or a number of an actor is taken or skipped: then nothing is applied.
    /// [`DocumentError::Engine`] means that the document must be rebuilt from its items.
    pub fn apply(&mut self, changes: Vec<Change>) -> Result<Vec<Patch>, DocumentError> {
        let (changes, tips) = self.check(changes)?;
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.touched_by(&changes);
        let max_op = changes.iter().map(Change::max_op).fold(self.max_op, u64::max);
        self.doc.apply_changes(changes).map_err(|error| DocumentError::Engine(error.to_string()))?;
        self.tips.extend(tips);
        self.max_op = max_op;
        Ok(patch::patches(&self.view(), &before))
    }

    /// The hashes and raw bytes (uncompressed chunks) of all changes that are not in the past of `since`, each after what
    /// it builds on. Hashes in `since` that are not known here are ignored.
    #[must_use]
    pub fn changes_raw(&self, since: &[ChangeHash]) -> Vec<(ChangeHash, Vec<u8>)> {
        let known: Vec<_> =
            since.iter().filter(|hash| self.contains(hash)).map(|hash| (*hash).into()).collect();
        let changes = self.doc.get_changes(&known);
        changes.iter().map(|change| (change.hash().into(), change.raw_bytes().to_vec())).collect()
    }

    /// All changes, each after what it builds on.
    #[must_use]
    pub fn history(&self) -> Vec<ChangeInfo> {
        let changes = self.doc.get_changes_meta(&[]);
        changes
            .into_iter()
            .filter_map(|change| {
                let (stands_for, message) =
                    reauthor::split_message(change.message.as_deref().unwrap_or_default());
                Some(ChangeInfo {
                    hash: change.hash.into(),
                    actor: actor_bytes(&change.actor).ok()?,
                    seq: change.seq,
                    start_op: change.start_op,
                    time_s: change.timestamp,
                    message: (!message.is_empty()).then(|| message.to_owned()),
                    stands_for,
                    deps: hashes(&change.deps),
                    ops: (change.max_op + 1).saturating_sub(change.start_op),
                })
            })
            .collect()
    }

    /// What turns the document at `before` into the document at `after`; either may be the later one. No heads at all
    /// mean the empty document.
    ///
    /// # Errors
    /// If a head is not in this document.
    pub fn diff(&self, before: &[ChangeHash], after: &[ChangeHash]) -> Result<Vec<Patch>, DocumentError> {
        let before = patch::everything(&self.view_at(before)?);
        Ok(patch::patches(&self.view_at(after)?, &before))
    }

    /// The document now.
    #[must_use]
    pub const fn view(&self) -> View<'_> {
        View::new(&self.doc, None)
    }

    /// The document as it was at these heads. No heads mean the empty document.
    ///
    /// # Errors
    /// If a head is not in this document.
    pub fn view_at(&self, heads: &[ChangeHash]) -> Result<View<'_>, DocumentError> {
        Ok(View::new(&self.doc, Some(self.known(heads)?)))
    }

    fn known(&self, heads: &[ChangeHash]) -> Result<Vec<automerge::ChangeHash>, DocumentError> {
        match heads.iter().find(|head| !self.contains(head)) {
            Some(head) => Err(DocumentError::UnknownChange(*head)),
            None => Ok(heads.iter().map(|head| (*head).into()).collect()),
        }
    }

    /// The changes that are new, and the tips after them. Automerge fails half-way or keeps changes waiting in a queue
    /// where this refuses.
    fn check(&self, changes: Vec<Change>) -> Result<(Vec<Change>, Tips), DocumentError> {
        let mut new = BTreeMap::new();
        for change in changes {
            let hash = ChangeHash::from(change.hash());
            if !self.contains(&hash) {
                new.insert(hash, change);
            }
        }
        let mut by_actor: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (hash, change) in &new {
            for dep in change.deps() {
                let dependency = ChangeHash::from(*dep);
                if !new.contains_key(&dependency) && !self.contains(&dependency) {
                    return Err(DocumentError::MissingDependency { change: *hash, dependency });
                }
            }
            by_actor.entry(actor_bytes(change.actor_id())?).or_default().push((change.seq(), *hash));
        }
        let mut tips = Tips::new();
        for (actor, mut run) in by_actor {
            run.sort_unstable();
            let first = self.actor_tip(&actor).map_or(0, |tip| tip.0) + 1;
            for ((seq, change), expected) in run.into_iter().zip(first..) {
                if seq != expected {
                    return Err(DocumentError::Sequence { change, seq, expected });
                }
                tips.insert(actor, (seq, change));
            }
        }
        Ok((new.into_values().collect(), tips))
    }

    /// The objects that these changes write to, as they are now.
    fn touched_by(&self, changes: &[Change]) -> patch::Before {
        let mut objects = BTreeSet::new();
        for change in changes {
            for op in change.decode().operations {
                objects.insert(match op.obj {
                    automerge::legacy::ObjectId::Root => automerge::ROOT,
                    // The third part is a hint where to find the actor; automerge looks it up if it is wrong.
                    automerge::legacy::ObjectId::Id(id) => automerge::ObjId::Id(id.0, id.1, 0),
                });
            }
        }
        let view = self.view();
        objects
            .into_iter()
            .filter_map(|id| {
                // An object that the changes create is not here yet.
                let kind = self.doc.object_type(&id).ok()?;
                let shape = patch::Shape::read(&view, &id, kind);
                Some((id, shape))
            })
            .collect()
    }
}

type Tips = BTreeMap<[u8; 16], (u64, ChangeHash)>;

impl ChangeHash {
    /// A hash from its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its first half.
    #[must_use]
    pub fn prefix(&self) -> HashPrefix {
        let mut prefix = HashPrefix::default();
        prefix.copy_from_slice(&self.0[..16]);
        prefix
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ChangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangeHash({self})")
    }
}

impl Serialize for ChangeHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<dinh_proto::ids::ChangeHash> for ChangeHash {
    fn from(hash: dinh_proto::ids::ChangeHash) -> Self {
        Self(hash.0)
    }
}

impl From<automerge::ChangeHash> for ChangeHash {
    fn from(hash: automerge::ChangeHash) -> Self {
        Self(hash.0)
    }
}

impl From<ChangeHash> for automerge::ChangeHash {
    fn from(hash: ChangeHash) -> Self {
        Self(hash.0)
    }
}

/// Parses one uncompressed change whose hash is known to be right.
pub(crate) fn parse_change(raw: &[u8]) -> Result<Change, DocumentError> {
    // Magic (4), checksum (4), then the chunk type: 1 is a change, 2 a compressed one.
    if raw.get(8) != Some(&1) {
        return Err(DocumentError::NotAChange("not an uncompressed change chunk".to_owned()));
    }
    Change::try_from(raw).map_err(|error| DocumentError::NotAChange(error.to_string()))
}

fn actor_id(actor: [u8; 16]) -> ActorId {
    ActorId::from(actor.as_slice())
}

fn actor_bytes(actor: &ActorId) -> Result<[u8; 16], DocumentError> {
    let bytes = actor.to_bytes();
    bytes.try_into().map_err(|_| DocumentError::ActorLength(bytes.len()))
}

fn hashes(hashes: &[automerge::ChangeHash]) -> Vec<ChangeHash> {
    let mut hashes: Vec<_> = hashes.iter().copied().map(ChangeHash::from).collect();
    hashes.sort_unstable();
    hashes
}
