//! Writing: what the closure of [`Document::edit`](super::Document::edit) gets.

use std::fmt;
use std::ops::Range;

use automerge::marks::ExpandMark;
use automerge::transaction::{Transactable, Transaction};
use automerge::{ObjId, ObjType};
use dinh_proto::limits;

use super::patch::{Before, Shape};
use super::text::{self, Hunk};
use super::typing::PendingText;
use super::view::{Node, View, bad_index, container_for, engine, wrong_type};
use super::{EditError, Path, Prop, Value};

/// Containers nested in one another, at most.
pub const DEPTH_MAX: usize = limits::DOCUMENT_DEPTH_MAX;

/// One edit in progress. Reads through [`view`](Self::view) see what was written so far.
///
/// All strings, texts, keys and mark names are stored in NFC. Indexes into texts are UTF-16 code units of the text as it
/// is stored.
pub struct Edit<'a> {
    tx: Transaction<'a>,
    /// The objects touched, as they were before.
    before: Before,
}

/// Whether a mark takes in what is typed at its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expand {
    /// Neither end: links, comment anchors.
    None,
    /// What is typed before its first character.
    Before,
    /// What is typed after its last character: bold, italic.
    #[default]
    After,
    /// Both.
    Both,
}

enum Slot {
    Put(automerge::Prop),
    Insert(usize),
}

impl<'a> Edit<'a> {
    pub(super) const fn new(tx: Transaction<'a>) -> Self {
        Self { tx, before: Before::new() }
    }

    /// Operations written so far.
    pub(super) fn ops(&self) -> usize {
        self.tx.pending_ops()
    }

    pub(super) fn into_parts(self) -> (Transaction<'a>, Before) {
        (self.tx, self.before)
    }

    /// The document with what this edit has written so far.
    #[must_use]
    pub const fn view(&self) -> View<'_, Transaction<'a>> {
        View::new(&self.tx, None)
    }

    /// Writes a value at a key of a map or over an element of a list. A map, list or text becomes a *new* object: what
    /// others write into the old one at the same time is kept but no longer seen. Writing an equal scalar writes nothing.
    ///
    /// # Errors
    /// If the container does not exist, the index is beyond its end, a key is empty or the value too deep.
    pub fn put(&mut self, path: &Path, value: impl Into<Value>) -> Result<(), EditError> {
        let value = value.into();
        let (id, kind, prop) = self.slot(path, true)?;
        check_value(path, &value)?;
        self.touch(&id, kind);
        self.write(path, &id, Slot::Put(prop), &value)
    }

    /// Writes a new, empty map; see [`put`](Self::put).
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_map(&mut self, path: &Path) -> Result<(), EditError> {
        self.put(path, Value::map())
    }

    /// Writes a new, empty list; see [`put`](Self::put).
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_list(&mut self, path: &Path) -> Result<(), EditError> {
        self.put(path, Value::List(Vec::new()))
    }

    /// Writes a new, empty text; see [`put`](Self::put).
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_text(&mut self, path: &Path) -> Result<(), EditError> {
        self.put(path, Value::text(""))
    }

    /// Inserts into the list at `path` before the element at `index`.
    ///
    /// # Errors
    /// If there is no list, the index is beyond its length, a key is empty or the value too deep.
    pub fn insert(&mut self, path: &Path, index: usize, value: impl Into<Value>) -> Result<(), EditError> {
        let value = value.into();
        let id = self.list(path)?;
        let len = self.view().object_len(&id);
        if index > len {
            return Err(EditError::OutOfRange { path: path.clone(), index, len });
        }
        let place = path.join(index);
        check_value(&place, &value)?;
        self.touch(&id, ObjType::List);
        self.write(&place, &id, Slot::Insert(index), &value)
    }

    /// Appends to the list at `path`.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn push(&mut self, path: &Path, value: impl Into<Value>) -> Result<(), EditError> {
        let id = self.list(path)?;
        self.insert(path, self.view().object_len(&id), value)
    }

    /// Deletes a key of a map or an element of a list.
    ///
    /// # Errors
    /// If there is nothing at this path.
    pub fn delete(&mut self, path: &Path) -> Result<(), EditError> {
        self.view().locate(path)?;
        let (id, kind, prop) = self.slot(path, false)?;
        self.touch(&id, kind);
        self.tx.delete(&id, prop).map_err(|error| engine(path, &error))
    }

    /// Replaces `delete` code units at `index` of a text. All three lengths are in UTF-16.
    ///
    /// If the edge of the insertion composes with its neighbour (a tone mark typed alone), the neighbour is replaced too.
    ///
    /// # Errors
    /// If there is no text, or the range is beyond its end or cuts a surrogate pair.
    pub fn splice_text(
        &mut self,
        path: &Path,
        index: usize,
        delete: usize,
        insert: &str,
    ) -> Result<(), EditError> {
        let id = self.view().text_object(path)?;
        let stored = self.view().object_text(&id, path)?;
        let range = byte_range(path, &stored, index, index.saturating_add(delete))?;
        let (range, insert) = text::compose(&stored, range, insert);
        self.replace(path, &id, &stored, range, &insert)
    }

    /// Makes the text be `new` by writing only what differs.
    ///
    /// `new` must come from the text as it is now: with an older one, it undoes what others wrote since. The text API
    /// ([`Typing`](super::Typing)) sees to that.
    ///
    /// # Errors
    /// If there is no text.
    pub fn set_text(&mut self, path: &Path, new: &str) -> Result<(), EditError> {
        let id = self.view().text_object(path)?;
        let stored = self.view().object_text(&id, path)?;
        let new = text::nfc(new);
        // From the end, so that earlier offsets stay valid.
        for Hunk { old, new: insert } in text::hunks(&stored, &new).into_iter().rev() {
            self.replace(path, &id, &stored, old, &new[insert])?;
        }
        Ok(())
    }

    /// Writes what was gathered while typing. If the text has changed since typing began (its owner should have prevented
    /// that), the typed difference is moved to where it belongs now.
    ///
    /// # Errors
    /// If there is no text any more.
    pub fn put_typed(&mut self, path: &Path, typed: &PendingText) -> Result<(), EditError> {
        let id = self.view().text_object(path)?;
        let stored = self.view().object_text(&id, path)?;
        if stored == typed.base {
            return self.set_text(path, &typed.text);
        }
        text::rebase(&typed.base, &typed.text, &stored)
            .into_iter()
            .try_for_each(|(range, insert)| self.replace(path, &id, &stored, range, insert))
    }

    /// Gives the characters of a UTF-16 range a mark. Where marks of one name overlap, the later one counts.
    ///
    /// # Errors
    /// If there is no text, the range is empty, beyond the end or cuts a surrogate pair, or the value is no scalar.
    pub fn mark(
        &mut self,
        path: &Path,
        range: Range<usize>,
        name: &str,
        value: impl Into<Value>,
        expand: Expand,
    ) -> Result<(), EditError> {
        let value = value.into();
        let Some(scalar) = value.to_scalar().filter(|_| value != Value::Null) else {
            return Err(EditError::MarkValue { name: name.to_owned(), found: value.kind() });
        };
        self.write_mark(path, &range, name, scalar, expand)
    }

    /// Removes the marks of this name from a UTF-16 range.
    ///
    /// # Errors
    /// As [`mark`](Self::mark).
    pub fn unmark(
        &mut self,
        path: &Path,
        range: Range<usize>,
        name: &str,
        expand: Expand,
    ) -> Result<(), EditError> {
        self.write_mark(path, &range, name, automerge::ScalarValue::Null, expand)
    }

    fn write_mark(
        &mut self,
        path: &Path,
        range: &Range<usize>,
        name: &str,
        value: automerge::ScalarValue,
        expand: Expand,
    ) -> Result<(), EditError> {
        let id = self.view().text_object(path)?;
        let stored = self.view().object_text(&id, path)?;
        if range.start >= range.end {
            return Err(EditError::EmptyRange { path: path.clone(), start: range.start, end: range.end });
        }
        byte_range(path, &stored, range.start, range.end)?;
        check_key(path, name)?;
        check_scalar(path, &value)?;
        self.touch(&id, ObjType::Text);
        let mark = automerge::marks::Mark::new(text::nfc(name).into_owned(), value, range.start, range.end);
        let expand = match expand {
            Expand::None => ExpandMark::None,
            Expand::Before => ExpandMark::Before,
            Expand::After => ExpandMark::After,
            Expand::Both => ExpandMark::Both,
        };
        self.tx.mark(&id, mark, expand).map_err(|error| engine(path, &error))
    }

    fn write(&mut self, path: &Path, id: &ObjId, slot: Slot, value: &Value) -> Result<(), EditError> {
        let failed = |error| engine(path, &error);
        if let Some(scalar) = value.to_scalar() {
            return match slot {
                Slot::Put(prop) => self.tx.put(id, prop, scalar),
                Slot::Insert(index) => self.tx.insert(id, index, scalar),
            }
            .map_err(failed);
        }
        let kind = match value {
            Value::Text(_) => ObjType::Text,
            Value::List(_) => ObjType::List,
            _ => ObjType::Map,
        };
        let object = match slot {
            Slot::Put(prop) => self.tx.put_object(id, prop, kind),
            Slot::Insert(index) => self.tx.insert_object(id, index, kind),
        }
        .map_err(failed)?;
        match value {
            Value::Text(content) if !content.is_empty() => {
                self.tx.splice_text(&object, 0, 0, &text::nfc(content)).map_err(failed)
            }
            Value::List(list) => list.iter().enumerate().try_for_each(|(index, value)| {
                self.write(&path.join(index), &object, Slot::Insert(index), value)
            }),
            Value::Map(map) => map.iter().try_for_each(|(key, value)| {
                let prop = automerge::Prop::Map(text::nfc(key).into_owned());
                self.write(&path.join(key.as_str()), &object, Slot::Put(prop), value)
            }),
            _ => Ok(()),
        }
    }

    /// Replaces bytes of the stored text. `stored` may be older than the document only behind `range`.
    fn replace(
        &mut self,
        path: &Path,
        id: &ObjId,
        stored: &str,
        range: Range<usize>,
        insert: &str,
    ) -> Result<(), EditError> {
        if range.is_empty() && insert.is_empty() {
            return Ok(());
        }
        self.touch(id, ObjType::Text);
        let index = text::utf16_len(&stored[..range.start]);
        let delete = isize::try_from(text::utf16_len(&stored[range])).expect("a text fits in memory");
        self.tx.splice_text(id, index, delete, insert).map_err(|error| engine(path, &error))
    }

    /// Notes an object as it is before the first write to it.
    fn touch(&mut self, id: &ObjId, kind: ObjType) {
        if !self.before.contains_key(id) {
            let shape = Shape::read(&self.view(), id, kind);
            self.before.insert(id.clone(), shape);
        }
    }

    fn list(&self, path: &Path) -> Result<ObjId, EditError> {
        match self.view().locate(path)? {
            Node::Object(id, ObjType::List) => Ok(id),
            other => Err(wrong_type(path.clone(), "list", &other)),
        }
    }

    /// The container of a path and its last step.
    fn slot(&self, path: &Path, writing: bool) -> Result<(ObjId, ObjType, automerge::Prop), EditError> {
        let (parent, prop) = path.split_last().ok_or(EditError::Root)?;
        if let (true, Prop::Key(key)) = (writing, prop) {
            check_key(&parent, key)?;
        }
        let view = self.view();
        let node = view.locate(&parent)?;
        let Node::Object(id, kind) = &node else {
            return Err(wrong_type(parent, container_for(prop), &node));
        };
        let Some(step) = view.step(id, *kind, prop) else {
            return Err(wrong_type(parent, container_for(prop), &node));
        };
        if let automerge::Prop::Seq(index) = step {
            let len = view.object_len(id);
            if index >= len {
                return Err(EditError::OutOfRange { path: parent, index, len });
            }
        }
        Ok((id.clone(), *kind, step))
    }
}

impl fmt::Debug for Edit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit").field("pending_ops", &self.tx.pending_ops()).finish_non_exhaustive()
    }
}

fn byte_range(path: &Path, stored: &str, start: usize, end: usize) -> Result<Range<usize>, EditError> {
    let byte = |index| text::byte_at(stored, index).map_err(|error| bad_index(path, index, error));
    Ok(byte(start)?..byte(end)?)
}

fn check_value(path: &Path, value: &Value) -> Result<(), EditError> {
    if path.steps().len() + value.depth() > DEPTH_MAX {
        return Err(EditError::TooDeep { path: path.clone(), max: DEPTH_MAX });
    }
    check_parts(path, value)
}

/// Keys and scalars of a value and of what is in it.
fn check_parts(path: &Path, value: &Value) -> Result<(), EditError> {
    match value {
        Value::Map(map) => map.iter().try_for_each(|(key, value)| {
            check_key(path, key)?;
            check_parts(path, value)
        }),
        Value::List(list) => list.iter().try_for_each(|value| check_parts(path, value)),
        Value::Text(_) => Ok(()),
        scalar => scalar.to_scalar().map_or(Ok(()), |scalar| check_scalar(path, &scalar)),
    }
}

fn check_key(path: &Path, key: &str) -> Result<(), EditError> {
    if key.is_empty() {
        return Err(EditError::EmptyKey { path: path.clone() });
    }
    let (len, max) = (text::nfc(key).len(), limits::KEY_BYTES_MAX);
    if len > max { Err(EditError::KeyTooLong { path: path.clone(), len, max }) } else { Ok(()) }
}

fn check_scalar(path: &Path, value: &automerge::ScalarValue) -> Result<(), EditError> {
    let len = match value {
        automerge::ScalarValue::Str(text) => text.len(),
        automerge::ScalarValue::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    let max = limits::SCALAR_BYTES_MAX;
    if len > max { Err(EditError::ValueTooLong { path: path.clone(), len, max }) } else { Ok(()) }
}

/// Whether a change of so many operations would be accepted by other devices, in a document whose largest counter is
/// `max_op` and which has so many heads.
pub(super) fn check_change(
    max_op: u64,
    heads: usize,
    ops: usize,
    message: Option<&str>,
) -> Result<(), EditError> {
    let len = message.map_or(0, str::len);
    if len > limits::EDIT_MESSAGE_BYTES_MAX {
        return Err(EditError::MessageTooLong { len, max: limits::EDIT_MESSAGE_BYTES_MAX });
    }
    if ops > limits::CHANGE_OPS_MAX {
        return Err(EditError::TooManyOperations { ops, max: limits::CHANGE_OPS_MAX });
    }
    if ops > 0 && max_op + ops as u64 > limits::DOCUMENT_OPS_MAX {
        return Err(EditError::DocumentFull { max: limits::DOCUMENT_OPS_MAX });
    }
    // The actor's own last change comes on top.
    if ops > 0 && heads >= limits::CHANGE_DEPS_MAX {
        return Err(EditError::TooManyHeads { heads, max: limits::CHANGE_DEPS_MAX - 1 });
    }
    Ok(())
}
