//! Reading a document, now or as it was.

use std::collections::BTreeSet;

use automerge::iter::{ListRange, MapRange};
use automerge::legacy::{ObjectId, OpType};
use automerge::{Automerge, ExpandedChange, ObjId, ObjType, ROOT, ReadDoc};
use serde::Serialize;

use super::text::{self, BadIndex};
use super::{EditError, Path, Prop, Value};

/// A document at one moment: now, or at heads of its history.
///
/// Reading never fails for want of data: a path that leads nowhere gives `None` or nothing.
#[derive(Clone, Debug)]
pub struct View<'a, D = Automerge> {
    doc: &'a D,
    at: Option<Vec<automerge::ChangeHash>>,
}

/// One of several values that were written to the same place without knowing of each other.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictValue {
    /// The value.
    pub value: Value,
    /// Who wrote it.
    pub actor: [u8; 16],
    /// The operation that wrote it, `counter@actor`: an identity to remember a choice by.
    pub op: String,
}

/// A stretch of text with a property, such as bold or a comment's anchor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mark {
    /// First UTF-16 code unit.
    pub start: usize,
    /// One past the last UTF-16 code unit.
    pub end: usize,
    /// The mark's name.
    pub name: String,
    /// The mark's value, a scalar.
    pub value: Value,
}

/// A place in a text that moves with the letters around it. Opaque; keep it as bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    text: ObjId,
    place: automerge::Cursor,
}

#[derive(Debug)]
pub(super) enum Node {
    Object(ObjId, ObjType),
    Scalar(Value),
}

impl<'a, D: ReadDoc> View<'a, D> {
    pub(super) const fn new(doc: &'a D, at: Option<Vec<automerge::ChangeHash>>) -> Self {
        Self { doc, at }
    }

    /// The value at this path with everything below it.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<Value> {
        self.hydrate(path).ok()
    }

    /// Like [`get`](Self::get), but says what is missing.
    ///
    /// # Errors
    /// If there is nothing at this path.
    pub fn hydrate(&self, path: &Path) -> Result<Value, EditError> {
        match self.locate(path)? {
            Node::Scalar(value) => Ok(value),
            Node::Object(id, _) => self.hydrate_object(&id, path),
        }
    }

    /// All values that stand at this place, the winner first and the others in a fixed order. More than one means that
    /// people wrote without knowing of each other; writing once more settles it.
    #[must_use]
    pub fn conflicts(&self, path: &Path) -> Vec<ConflictValue> {
        let Some((parent, prop)) = path.split_last() else {
            return Vec::new();
        };
        let Ok((id, kind)) = self.object(&parent) else {
            return Vec::new();
        };
        let Some(prop) = self.step(&id, kind, prop) else {
            return Vec::new();
        };
        let all = match &self.at {
            None => self.doc.get_all(&id, prop),
            Some(heads) => self.doc.get_all_at(&id, prop, heads),
        };
        let mut values: Vec<_> = all
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(value, op)| {
                let value = match value {
                    automerge::Value::Scalar(scalar) => Value::from_scalar(&scalar),
                    automerge::Value::Object(_) => self.hydrate_object(&op, path).ok()?,
                };
                let ObjId::Id(_, actor, _) = &op else { return None };
                Some(ConflictValue { value, actor: actor.to_bytes().try_into().ok()?, op: op.to_string() })
            })
            .collect();
        // Automerge gives them in ascending order of operation, and the last one wins.
        values.reverse();
        values
    }

    /// The keys of a map in ascending order; nothing if there is no map.
    #[must_use]
    pub fn keys(&self, path: &Path) -> Vec<String> {
        match self.object(path) {
            Ok((id, ObjType::Map | ObjType::Table)) => {
                let keys = match &self.at {
                    None => self.doc.keys(&id),
                    Some(heads) => self.doc.keys_at(&id, heads),
                };
                keys.collect::<BTreeSet<_>>().into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// The number of keys of a map, elements of a list or UTF-16 code units of a text; 0 if there is none of these.
    #[must_use]
    pub fn len(&self, path: &Path) -> usize {
        match self.object(path) {
            Ok((id, ObjType::List | ObjType::Text)) => self.object_len(&id),
            Ok(_) => self.keys(path).len(),
            Err(_) => 0,
        }
    }

    /// True if [`len`](Self::len) is 0.
    #[must_use]
    pub fn is_empty(&self, path: &Path) -> bool {
        self.len(path) == 0
    }

    /// The text at this path; `None` if there is none.
    #[must_use]
    pub fn text(&self, path: &Path) -> Option<String> {
        self.text_object(path).and_then(|id| self.object_text(&id, path)).ok()
    }

    /// Length of a text in UTF-16 code units; 0 if there is none.
    #[must_use]
    pub fn text_len(&self, path: &Path) -> usize {
        self.text_object(path).map_or(0, |id| self.object_len(&id))
    }

    /// The marks of a text, by name and then by place.
    #[must_use]
    pub fn marks(&self, path: &Path) -> Vec<Mark> {
        self.text_object(path).map(|id| self.object_marks(&id)).unwrap_or_default()
    }

    /// A cursor on the character at this UTF-16 index. At the end of the text it stays at the end, whatever is appended.
    ///
    /// # Errors
    /// If there is no text, or the index is beyond its end or inside a surrogate pair.
    pub fn cursor(&self, path: &Path, index: usize) -> Result<Cursor, EditError> {
        let id = self.text_object(path)?;
        let text = self.object_text(&id, path)?;
        let byte = text::byte_at(&text, index).map_err(|error| bad_index(path, index, error))?;
        let position = if byte == text.len() {
            automerge::CursorPosition::End
        } else {
            automerge::CursorPosition::Index(index)
        };
        let place =
            self.doc.get_cursor(&id, position, self.at.as_deref()).map_err(|error| engine(path, &error))?;
        Ok(Cursor { text: id, place })
    }

    /// Where a cursor is now, as a UTF-16 index. A cursor on a deleted character is where the next one is.
    ///
    /// # Errors
    /// If there is no text, or the cursor belongs to another one.
    pub fn resolve(&self, path: &Path, cursor: &Cursor) -> Result<usize, EditError> {
        let id = self.text_object(path)?;
        let wrong = || EditError::Cursor { path: path.clone() };
        if id != cursor.text {
            return Err(wrong());
        }
        self.doc.get_cursor_position(&id, &cursor.place, self.at.as_deref()).map_err(|_| wrong())
    }

    pub(super) fn locate(&self, path: &Path) -> Result<Node, EditError> {
        let mut node = Node::Object(ROOT, ObjType::Map);
        for (depth, prop) in path.steps().iter().enumerate() {
            let (id, kind) = match node {
                Node::Object(id, kind @ (ObjType::Map | ObjType::Table | ObjType::List)) => (id, kind),
                other => return Err(wrong_type(path.truncated(depth), container_for(prop), &other)),
            };
            let missing = || EditError::NotFound { path: path.truncated(depth + 1) };
            let Some(step) = self.step(&id, kind, prop) else {
                return Err(wrong_type(path.truncated(depth), container_for(prop), &Node::Object(id, kind)));
            };
            let found = match &self.at {
                None => self.doc.get(&id, step),
                Some(heads) => self.doc.get_at(&id, step, heads),
            };
            node = match found.map_err(|error| engine(path, &error))?.ok_or_else(missing)? {
                (automerge::Value::Object(kind), id) => Node::Object(id, kind),
                (automerge::Value::Scalar(scalar), _) => Node::Scalar(Value::from_scalar(&scalar)),
            };
        }
        Ok(node)
    }

    pub(super) fn object(&self, path: &Path) -> Result<(ObjId, ObjType), EditError> {
        match self.locate(path)? {
            Node::Object(id, kind) => Ok((id, kind)),
            scalar => Err(wrong_type(path.clone(), "map, list or text", &scalar)),
        }
    }

    pub(super) fn text_object(&self, path: &Path) -> Result<ObjId, EditError> {
        match self.locate(path)? {
            Node::Object(id, ObjType::Text) => Ok(id),
            other => Err(wrong_type(path.clone(), "text", &other)),
        }
    }

    pub(super) fn object_text(&self, id: &ObjId, path: &Path) -> Result<String, EditError> {
        match &self.at {
            None => self.doc.text(id),
            Some(heads) => self.doc.text_at(id, heads),
        }
        .map_err(|error| engine(path, &error))
    }

    pub(super) fn object_len(&self, id: &ObjId) -> usize {
        match &self.at {
            None => self.doc.length(id),
            Some(heads) => self.doc.length_at(id, heads),
        }
    }

    pub(super) fn list_items(&self, id: &ObjId) -> ListRange<'_> {
        match &self.at {
            None => self.doc.list_range(id, ..),
            Some(heads) => self.doc.list_range_at(id, .., heads),
        }
    }

    pub(super) fn map_items(&self, id: &ObjId) -> MapRange<'_> {
        match &self.at {
            None => self.doc.map_range(id, ..),
            Some(heads) => self.doc.map_range_at(id, .., heads),
        }
    }

    pub(super) fn object_marks(&self, id: &ObjId) -> Vec<Mark> {
        let marks = match &self.at {
            None => self.doc.marks(id),
            Some(heads) => self.doc.marks_at(id, heads),
        };
        let mut marks: Vec<_> = marks
            .unwrap_or_default()
            .into_iter()
            .map(|mark| Mark {
                start: mark.start,
                end: mark.end,
                name: mark.name().to_owned(),
                value: Value::from_scalar(mark.value()),
            })
            .collect();
        marks.sort_by(|a, b| (&a.name, a.start, a.end).cmp(&(&b.name, b.start, b.end)));
        marks
    }

    /// The step as automerge takes it. A key is looked up as it is written, and in NFC if it is not found so, because a
    /// foreign writer may have stored it otherwise. `None` if the step does not fit the container.
    pub(super) fn step(&self, id: &ObjId, kind: ObjType, prop: &Prop) -> Option<automerge::Prop> {
        match (kind, prop) {
            (ObjType::Map | ObjType::Table, Prop::Key(key)) => {
                let normal = text::nfc(key);
                if *normal != **key && self.doc.get(id, key.as_str()).is_ok_and(|found| found.is_some()) {
                    return Some(automerge::Prop::Map(key.clone()));
                }
                Some(automerge::Prop::Map(normal.into_owned()))
            }
            (ObjType::List, Prop::Index(index)) => Some(automerge::Prop::Seq(*index)),
            _ => None,
        }
    }

    fn hydrate_object(&self, id: &ObjId, path: &Path) -> Result<Value, EditError> {
        match self.doc.hydrate(id, self.at.as_deref()) {
            Ok(value) => Ok(Value::from_hydrated(&value)),
            Err(error) => Err(engine(path, &error)),
        }
    }
}

impl View<'_, Automerge> {
    /// Reads a cursor that [`Cursor::to_bytes`] wrote, here or on another phone. Safe on bytes from others: a cursor whose
    /// letter is not in this text never reaches automerge. Takes about a millisecond in a document with thousands of
    /// changes, so keep the cursor rather than its bytes.
    ///
    /// # Errors
    /// If there is no text, the bytes are not a cursor's, or its letter is not (yet) in this text.
    pub fn read_cursor(&self, path: &Path, bytes: &[u8]) -> Result<Cursor, EditError> {
        let text = self.text_object(path)?;
        let place = match bytes {
            [CURSOR_VERSION, CURSOR_START] => Some(automerge::Cursor::Start),
            [CURSOR_VERSION, CURSOR_END] => Some(automerge::Cursor::End),
            [CURSOR_VERSION, CURSOR_OP, ACTOR_LEN, rest @ ..] if rest.len() > usize::from(ACTOR_LEN) + 1 => {
                let (actor, rest) = rest.split_at(usize::from(ACTOR_LEN));
                let (counter, side) = rest.split_at(rest.len() - 1);
                parse_counter(counter)
                    .filter(|counter| matches!(side, [1 | 2]) && self.is_letter(&text, *counter, actor))
                    .and_then(|_| automerge::Cursor::try_from(bytes).ok())
            }
            _ => None,
        };
        let place = place.ok_or_else(|| EditError::Cursor { path: path.clone() })?;
        Ok(Cursor { text, place })
    }

    /// True if this operation put a letter into this text.
    fn is_letter(&self, text: &ObjId, counter: u32, actor: &[u8]) -> bool {
        let actor = automerge::ActorId::from(actor);
        let Some(run) = self.change_with(u64::from(counter), &actor) else {
            return false;
        };
        let Some(index) = u64::from(counter).checked_sub(run.start_op.get()) else {
            return false;
        };
        let op = usize::try_from(index).ok().and_then(|index| run.operations.get(index));
        op.is_some_and(|op| {
            let here = matches!(&op.obj, ObjectId::Id(id) if ObjId::Id(id.0, id.1.clone(), 0) == *text);
            here && op.insert && matches!(op.action, OpType::Put(_))
        })
    }

    /// The change of an actor that has the operation with this counter.
    fn change_with(&self, counter: u64, actor: &automerge::ActorId) -> Option<ExpandedChange> {
        let changes = self.doc.get_changes_meta(&[]);
        let change = changes
            .into_iter()
            .find(|change| *change.actor == *actor && (change.start_op..=change.max_op).contains(&counter))?;
        Some(self.doc.get_change_by_hash(&change.hash)?.decode())
    }
}

impl Cursor {
    /// Bytes to keep or to send to another phone. Read them with [`View::read_cursor`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.place.to_bytes()
    }
}

/// One minimal LEB128 number that fits automerge's operation counters (32 bits).
fn parse_counter(bytes: &[u8]) -> Option<u32> {
    let (last, rest) = bytes.split_last()?;
    let minimal = bytes.len() <= 5
        && rest.iter().all(|byte| byte & 0x80 != 0)
        && last & 0x80 == 0
        && (rest.is_empty() || *last != 0);
    let value = bytes.iter().rev().fold(0_u64, |value, byte| (value << 7) | u64::from(byte & 0x7f));
    if minimal { u32::try_from(value).ok() } else { None }
}

pub(super) fn bad_index(path: &Path, index: usize, error: BadIndex) -> EditError {
    match error {
        BadIndex::OutOfRange { len } => EditError::OutOfRange { path: path.clone(), index, len },
        BadIndex::InsidePair => EditError::InsideSurrogatePair { path: path.clone(), index },
    }
}

pub(super) fn engine(path: &Path, error: &automerge::AutomergeError) -> EditError {
    EditError::Engine { path: path.clone(), reason: error.to_string() }
}

pub(super) fn wrong_type(path: Path, expected: &'static str, found: &Node) -> EditError {
    let found = match found {
        Node::Object(_, ObjType::Map | ObjType::Table) => "map",
        Node::Object(_, ObjType::List) => "list",
        Node::Object(_, ObjType::Text) => "text",
        Node::Scalar(value) => value.kind(),
    };
    EditError::WrongType { path, expected, found }
}

pub(super) const fn container_for(prop: &Prop) -> &'static str {
    match prop {
        Prop::Key(_) => "map",
        Prop::Index(_) => "list",
    }
}

const CURSOR_VERSION: u8 = 1;
const CURSOR_START: u8 = 1;
const CURSOR_END: u8 = 2;
const CURSOR_OP: u8 = 3;
const ACTOR_LEN: u8 = 16;
