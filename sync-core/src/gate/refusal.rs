//! Why a change is refused, rule by rule.

use dinh_proto::ids::ChangeHash;
use dinh_proto::limits;
use thiserror::Error;

/// The version of the rules. A charter names the version that its branch keeps to; all devices judge by that one.
pub const RULES_VERSION: u16 = 1;

/// A rule that a change breaks. Every device that has the change's causal past says the same of the same bytes.
///
/// docs/GATE.md lists the rules with their reasons.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// G1: the chunk is too large.
    #[error("G1 size: the change has {bytes} bytes, at most {} are allowed", limits::CHANGE_BYTES_MAX)]
    Size {
        /// Its bytes.
        bytes: usize,
    },
    /// G2: an actor id is not 16 bytes.
    #[error("G2 actor: an actor id has {0} bytes instead of 16")]
    ActorLength(usize),
    /// G2: the change's number does not follow its actor's last one.
    #[error("G2 number: the change has number {found} of its actor, where {expected} comes next")]
    Seq {
        /// Its number.
        found: u64,
        /// The number that follows.
        expected: u64,
    },
    /// G2: the actor's change before this one is not among what it builds on.
    #[error("G2 number: the change does not build on its actor's change before it")]
    Predecessor,
    /// G2: the first operation's counter does not follow what the change builds on.
    #[error(
        "G2 start: the first operation has counter {found}, where {expected} follows what the change builds on"
    )]
    StartOp {
        /// Its counter.
        found: u64,
        /// One more than the largest counter in what it builds on.
        expected: u64,
    },
    /// G2: the document would have too many operations.
    #[error(
        "G2 document: the last operation has counter {last}, at most {} is allowed",
        limits::DOCUMENT_OPS_MAX
    )]
    DocumentFull {
        /// Its counter.
        last: u64,
    },
    /// G2: too many dependencies, or not in strictly ascending order.
    #[error("G2 dependencies: {0}")]
    Deps(&'static str),
    /// G2: too many other actors, not in strictly ascending order, or the author among them.
    #[error("G2 actors: {0}")]
    Actors(&'static str),
    /// G2: the message is too long or not UTF-8.
    #[error("G2 message: {0}")]
    Message(&'static str),
    /// G2: the time is not between 1970 and 2100.
    #[error("G2 time: {0} s is not between 1970 and 2100")]
    Time(i64),
    /// G3: a column is unknown, out of order or not well formed.
    #[error("G3 columns: {0}")]
    Columns(&'static str),
    /// G3: the number of operations is zero or too large.
    #[error("G3 count: the number of {what} is zero or above {limit}")]
    Count {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// G4: the document engine does not read the change.
    #[error("G4 encoding: the document engine does not read the change ({0})")]
    Unreadable(String),
    /// G4: the change is not what the engine writes for its content.
    #[error("G4 encoding: the change is not in the form in which the document engine writes it")]
    Encoding,
    /// G5: an operation writes to what is no container in the change's past.
    #[error("G5 object: operation {op} writes to an object that is not there")]
    Object {
        /// Its place in the change, from 0.
        op: usize,
    },
    /// G5: a key where an element is needed, or the reverse.
    #[error("G5 key: operation {op} has a key that does not fit its object")]
    KeyKind {
        /// Its place in the change.
        op: usize,
    },
    /// G5: an element that is not in the object in the change's past, or cannot be written to.
    #[error("G5 element: operation {op} names an element that is not in its object")]
    Element {
        /// Its place in the change.
        op: usize,
    },
    /// G5: a wrong list of predecessors.
    #[error("G5 predecessors: operation {op}: {why}")]
    Preds {
        /// Its place in the change.
        op: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// G5: a kind of operation or value that documents do not have.
    #[error("G5 kind: operation {op} is of a kind that documents do not have here ({what})")]
    Kind {
        /// Its place in the change.
        op: usize,
        /// The kind.
        what: &'static str,
    },
    /// G5: a mark that has no end right after its beginning, or ends before it begins.
    #[error("G5 mark: operation {op}: {why}")]
    Mark {
        /// Its place in the change.
        op: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// G5: containers nested too deeply.
    #[error("G5 depth: operation {op} nests more than {} containers", limits::DOCUMENT_DEPTH_MAX)]
    Depth {
        /// Its place in the change.
        op: usize,
    },
    /// G5: a key, name or value is empty or too long.
    #[error("G5 length: {what} is empty or above {limit} bytes")]
    Length {
        /// Which.
        what: &'static str,
        /// The limit, bytes.
        limit: usize,
    },
    /// G6: bytes after the columns.
    #[error("G6 footer: {0} bytes follow the operations, where none are expected")]
    Footer(usize),
}

impl Refusal {
    /// The rule's stable name in golden files and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Size { .. } => "G1-size",
            Self::ActorLength(_) => "G2-actor",
            Self::Seq { .. } => "G2-number",
            Self::Predecessor => "G2-predecessor",
            Self::StartOp { .. } => "G2-start",
            Self::DocumentFull { .. } => "G2-document",
            Self::Deps(_) => "G2-deps",
            Self::Actors(_) => "G2-actors",
            Self::Message(_) => "G2-message",
            Self::Time(_) => "G2-time",
            Self::Columns(_) => "G3-columns",
            Self::Count { .. } => "G3-count",
            Self::Unreadable(_) => "G4-unreadable",
            Self::Encoding => "G4-encoding",
            Self::Object { .. } => "G5-object",
            Self::KeyKind { .. } => "G5-key",
            Self::Element { .. } => "G5-element",
            Self::Preds { .. } => "G5-preds",
            Self::Kind { .. } => "G5-kind",
            Self::Mark { .. } => "G5-mark",
            Self::Depth { .. } => "G5-depth",
            Self::Length { .. } => "G5-length",
            Self::Footer(_) => "G6-footer",
        }
    }
}

/// What the rules say of a change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Judgement {
    /// It is refused, on every device.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What it builds on is not here yet, so nothing can be said.
    #[error("change {0} is not here yet")]
    Missing(ChangeHash),
}
