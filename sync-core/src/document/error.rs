//! What can go wrong, by who can do something about it.

use super::{ChangeHash, Path};

/// A read or write that the document cannot do. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Whoever wrote the edit does not allow it: a rule of the app, or of a kind of document. Nothing was written.
    #[error("{0}")]
    Refused(String),
    /// There is nothing at this path.
    #[error("there is nothing at {path}; create it first with put, put_map, put_list or put_text")]
    NotFound {
        /// The first part of the path that does not exist.
        path: Path,
    },
    /// The value at this path is of another kind than the operation needs.
    #[error("{path} is a {found}, not a {expected}; check the path, or replace the value with put")]
    WrongType {
        /// The path of the value.
        path: Path,
        /// What the operation needs.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// An index (UTF-16 for texts) is beyond the end.
    #[error(
        "index {index} is beyond the end of {path}, which has length {len}; read the length again before editing"
    )]
    OutOfRange {
        /// The path of the list or text.
        path: Path,
        /// The index asked for; for a range, its end.
        index: usize,
        /// The length now; UTF-16 code units for a text.
        len: usize,
    },
    /// An index would cut a character that takes two UTF-16 code units.
    #[error("index {index} of {path} is inside a surrogate pair; move it one unit back or forward")]
    InsideSurrogatePair {
        /// The path of the text.
        path: Path,
        /// The index, in UTF-16 code units.
        index: usize,
    },
    /// A mark needs at least one character.
    #[error("the range {start}..{end} of {path} is empty; a mark needs at least one character")]
    EmptyRange {
        /// The path of the text.
        path: Path,
        /// Start of the range, in UTF-16 code units.
        start: usize,
        /// End of the range, in UTF-16 code units.
        end: usize,
    },
    /// A mark's value is a container or null.
    #[error("the value of mark {name:?} is a {found}; use a scalar, or unmark to remove the mark")]
    MarkValue {
        /// The mark's name.
        name: String,
        /// What was given.
        found: &'static str,
    },
    /// Map keys and mark names have at least one character.
    #[error("the key or mark name written at {path} is empty; give it at least one character")]
    EmptyKey {
        /// The container.
        path: Path,
    },
    /// The root map cannot be replaced, inserted or deleted.
    #[error("the root map cannot be replaced or deleted; write to a key in it")]
    Root,
    /// The value would be nested too deeply.
    #[error("writing at {path} would nest more than {max} containers; flatten the value")]
    TooDeep {
        /// Where the value was to be written.
        path: Path,
        /// The limit.
        max: usize,
    },
    /// A key or mark name is longer than any device accepts.
    #[error("the key or mark name written at {path} has {len} bytes; use at most {max}")]
    KeyTooLong {
        /// The container.
        path: Path,
        /// Its bytes, in NFC.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A string or byte string is longer than any device accepts.
    #[error("the value written at {path} has {len} bytes; use at most {max}, or a text")]
    ValueTooLong {
        /// Where it was to be written.
        path: Path,
        /// Its bytes, in NFC.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The message of the change is longer than any device accepts.
    #[error("the message of the change has {len} bytes; use at most {max}")]
    MessageTooLong {
        /// Its bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// One change would have more operations than any device accepts; each character is one.
    #[error("the edit has {ops} operations (each character is one); make several edits of at most {max}")]
    TooManyOperations {
        /// Its operations.
        ops: usize,
        /// The limit.
        max: usize,
    },
    /// The document has as many operations as any device accepts.
    #[error("the document has reached {max} operations; go on in a new document")]
    DocumentFull {
        /// The limit.
        max: u64,
    },
    /// More branches of history stand side by side than one change can join.
    #[error("the document has {heads} branches of history, and a change joins at most {max}")]
    TooManyHeads {
        /// The branches.
        heads: usize,
        /// The limit.
        max: usize,
    },
    /// A cursor does not belong to this text, or its bytes are damaged.
    #[error("the cursor does not belong to {path}; make a new one with cursor()")]
    Cursor {
        /// The path of the text.
        path: Path,
    },
    /// Automerge refused what the checks above should have let through: a bug here.
    #[error("automerge refused an edit at {path}: {reason}")]
    Engine {
        /// Where.
        path: Path,
        /// Its message.
        reason: String,
    },
}

/// A document that cannot be loaded, or changes that cannot be applied to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The saved bytes are damaged: rebuild the document from its items.
    #[error("the saved document does not load ({0}); rebuild it from its items")]
    Load(String),
    /// A hash that names no change of this document.
    #[error("no change {0} in this document")]
    UnknownChange(ChangeHash),
    /// A change whose dependencies are neither in the document nor in the batch.
    #[error("change {change} needs change {dependency}, which is neither in the document nor in the batch")]
    MissingDependency {
        /// The change.
        change: ChangeHash,
        /// What it needs.
        dependency: ChangeHash,
    },
    /// Two different changes with the same actor and sequence number, or a gap in the numbers.
    #[error("change {change} has number {seq} of its actor, where {expected} comes next")]
    Sequence {
        /// The change.
        change: ChangeHash,
        /// Its sequence number.
        seq: u64,
        /// The next number of that actor.
        expected: u64,
    },
    /// Actor ids are 16 bytes.
    #[error("an actor id has {0} bytes instead of 16")]
    ActorLength(usize),
    /// Bytes that are not one uncompressed change.
    #[error("not a change: {0}")]
    NotAChange(String),
    /// A run that cannot be rewritten under a new actor.
    #[error("the run cannot be written again under a new actor: {0}")]
    Reauthor(&'static str),
    /// Automerge failed in the middle of applying: drop this document and rebuild it from its items.
    #[error("automerge failed to apply admitted changes ({0}); rebuild the document from its items")]
    Engine(String),
}
