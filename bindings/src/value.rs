//! Values, places and changes of generic documents.

use std::collections::HashMap;

use dinh_core::document::{self as core, EditError, Expand, PatchAction, Path, Prop};

/// A value with everything below it.
#[expect(clippy::use_self, reason = "uniffi's derive puts the fields' types where there is no `Self`")]
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool {
        /// Which.
        value: bool,
    },
    /// A signed number.
    Int {
        /// The number.
        value: i64,
    },
    /// An unsigned number that no `Int` holds.
    Uint {
        /// The number.
        value: u64,
    },
    /// A floating-point number.
    Float {
        /// The number.
        value: f64,
    },
    /// A string that is replaced as a whole: of two that are written at the same time one is shown.
    Str {
        /// The string.
        value: String,
    },
    /// Bytes that are replaced as a whole.
    Bytes {
        /// The bytes.
        value: Vec<u8>,
    },
    /// A time.
    Timestamp {
        /// Milliseconds since 1970-01-01 UTC.
        millis: i64,
    },
    /// A text that merges letter by letter.
    Text {
        /// The text.
        value: String,
    },
    /// A map.
    MapValue {
        /// Its entries, in no order.
        entries: HashMap<String, Value>,
    },
    /// A list.
    ListValue {
        /// Its elements.
        values: Vec<Value>,
    },
}

impl From<core::Value> for Value {
    fn from(value: core::Value) -> Self {
        match value {
            core::Value::Null => Self::Null,
            core::Value::Bool(value) => Self::Bool { value },
            core::Value::Int(value) => Self::Int { value },
            core::Value::Uint(value) => {
                i64::try_from(value).map_or(Self::Uint { value }, |value| Self::Int { value })
            }
            core::Value::F64(value) => Self::Float { value },
            core::Value::Str(value) => Self::Str { value },
            core::Value::Bytes(value) => Self::Bytes { value },
            core::Value::Timestamp(millis) => Self::Timestamp { millis },
            core::Value::Text(value) => Self::Text { value },
            core::Value::Map(map) => {
                Self::MapValue { entries: map.into_iter().map(|(key, value)| (key, value.into())).collect() }
            }
            core::Value::List(list) => Self::ListValue { values: list.into_iter().map(Self::from).collect() },
        }
    }
}

impl From<Value> for core::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool { value } => Self::Bool(value),
            Value::Int { value } => Self::Int(value),
            Value::Uint { value } => Self::Uint(value),
            Value::Float { value } => Self::F64(value),
            Value::Str { value } => Self::Str(value),
            Value::Bytes { value } => Self::Bytes(value),
            Value::Timestamp { millis } => Self::Timestamp(millis),
            Value::Text { value } => Self::Text(value),
            Value::MapValue { entries } => {
                Self::Map(entries.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
            Value::ListValue { values } => Self::List(values.into_iter().map(Self::from).collect()),
        }
    }
}

/// One step into a map or a list.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Step {
    /// A key of a map.
    Key {
        /// The key.
        key: String,
    },
    /// An element of a list.
    Index {
        /// From 0.
        index: u32,
    },
}

impl From<&Prop> for Step {
    fn from(prop: &Prop) -> Self {
        match prop {
            Prop::Key(key) => Self::Key { key: key.clone() },
            Prop::Index(index) => Self::Index { index: units(*index) },
        }
    }
}

impl From<Step> for Prop {
    fn from(step: Step) -> Self {
        match step {
            Step::Key { key } => Self::Key(key),
            Step::Index { index } => Self::Index(index as usize),
        }
    }
}

pub(crate) fn path(steps: Vec<Step>) -> Path {
    Path::from(steps.into_iter().map(Prop::from).collect::<Vec<_>>())
}

pub(crate) fn steps(path: &Path) -> Vec<Step> {
    path.steps().iter().map(Step::from).collect()
}

/// Lengths and indexes of documents, which their limits keep far below this.
pub(crate) fn units(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A stretch of text with a property.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Mark {
    /// First UTF-16 code unit.
    pub start: u32,
    /// One past the last UTF-16 code unit.
    pub end: u32,
    /// Its name.
    pub name: String,
    /// Its value, a scalar.
    pub value: Value,
}

impl From<core::Mark> for Mark {
    fn from(mark: core::Mark) -> Self {
        let core::Mark { start, end, name, value } = mark;
        Self { start: units(start), end: units(end), name, value: value.into() }
    }
}

/// UTF-16 code units of a text that are replaced.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct TextSplice {
    /// The first.
    pub index: u32,
    /// How many.
    pub delete: u32,
    /// By what.
    pub insert: String,
}

impl From<core::TextSplice> for TextSplice {
    fn from(splice: core::TextSplice) -> Self {
        Self { index: units(splice.index), delete: units(splice.delete), insert: splice.insert }
    }
}

/// One step that turns what is shown of a document into what it is now. Apply patches in their order.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Patch {
    /// The map, list or text that changes, where it is once all patches before this one are applied.
    pub path: Vec<Step>,
    /// What happens in it.
    pub action: Action,
}

/// What happens in the container of a [`Patch`]. A new map, list or text arrives empty; later patches fill it.
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
pub enum Action {
    /// A key or element has this value now.
    Put {
        /// The key or index.
        step: Step,
        /// The value that is shown.
        value: Value,
        /// Other values stand there too.
        conflict: bool,
    },
    /// Elements were inserted into a list.
    Insert {
        /// Index of the first.
        index: u32,
        /// The elements.
        values: Vec<Value>,
    },
    /// Characters were inserted into a text.
    SpliceText {
        /// Where, in UTF-16 code units.
        index: u32,
        /// The characters.
        value: String,
    },
    /// A key is gone from a map.
    DeleteKey {
        /// The key.
        key: String,
    },
    /// Elements are gone from a list, or code units from a text.
    Delete {
        /// The first.
        index: u32,
        /// How many.
        count: u32,
    },
    /// The marks of a text are exactly these from now on.
    Marks {
        /// All of them.
        marks: Vec<Mark>,
    },
    /// The value shown is the same, but other values stand beside it now, or no more.
    Conflict {
        /// The key or index.
        step: Step,
        /// Whether there are others.
        conflict: bool,
    },
}

impl From<core::Patch> for Patch {
    fn from(patch: core::Patch) -> Self {
        let action = match patch.action {
            PatchAction::Put { prop, value, conflict } => {
                Action::Put { step: (&prop).into(), value: value.into(), conflict }
            }
            PatchAction::Insert { index, values } => {
                Action::Insert { index: units(index), values: values.into_iter().map(Value::from).collect() }
            }
            PatchAction::SpliceText { index, value } => Action::SpliceText { index: units(index), value },
            PatchAction::DeleteKey { key } => Action::DeleteKey { key },
            PatchAction::Delete { index, len } => Action::Delete { index: units(index), count: units(len) },
            PatchAction::Marks { marks } => {
                Action::Marks { marks: marks.into_iter().map(Mark::from).collect() }
            }
            PatchAction::Conflict { prop, conflict } => Action::Conflict { step: (&prop).into(), conflict },
        };
        Self { path: steps(&patch.path), action }
    }
}

/// Which ends of a mark grow with what is typed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum MarkExpand {
    /// Neither: links, anchors of comments.
    Neither,
    /// What is typed before its first character.
    Before,
    /// What is typed after its last character: bold, italic.
    After,
    /// Both.
    Both,
}

impl From<MarkExpand> for Expand {
    fn from(expand: MarkExpand) -> Self {
        match expand {
            MarkExpand::Neither => Self::None,
            MarkExpand::Before => Self::Before,
            MarkExpand::After => Self::After,
            MarkExpand::Both => Self::Both,
        }
    }
}

/// One write to a document. Several in one call become one change.
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
pub enum Write {
    /// Writes a value to a key of a map or an element of a list; a `Text` that merges, a whole map or list.
    Put {
        /// Where.
        path: Vec<Step>,
        /// What.
        value: Value,
    },
    /// Inserts into a list.
    Insert {
        /// The list.
        path: Vec<Step>,
        /// Before which element; the list's length appends.
        index: u32,
        /// What.
        value: Value,
    },
    /// Appends to a list.
    Push {
        /// The list.
        path: Vec<Step>,
        /// What.
        value: Value,
    },
    /// Deletes a key or an element.
    Delete {
        /// Which.
        path: Vec<Step>,
    },
    /// Replaces UTF-16 code units of a text.
    SpliceText {
        /// The text.
        path: Vec<Step>,
        /// What is replaced, and by what.
        splice: TextSplice,
    },
    /// Makes a text be this, by writing only what differs. `value` must come from the text as it is now.
    SetText {
        /// The text.
        path: Vec<Step>,
        /// The new text.
        value: String,
    },
    /// Gives a range of a text a mark.
    Mark {
        /// The text.
        path: Vec<Step>,
        /// Range, name and value.
        mark: Mark,
        /// Which ends grow.
        expand: MarkExpand,
    },
    /// Removes the marks of a name from a range.
    Unmark {
        /// The text.
        path: Vec<Step>,
        /// First UTF-16 code unit.
        start: u32,
        /// One past the last.
        end: u32,
        /// The name.
        name: String,
    },
}

impl Write {
    pub(crate) fn apply(self, edit: &mut core::Edit<'_>) -> Result<(), EditError> {
        match self {
            Self::Put { path: at, value } => edit.put(&path(at), core::Value::from(value)),
            Self::Insert { path: at, index, value } => {
                edit.insert(&path(at), index as usize, core::Value::from(value))
            }
            Self::Push { path: at, value } => edit.push(&path(at), core::Value::from(value)),
            Self::Delete { path: at } => edit.delete(&path(at)),
            Self::SpliceText { path: at, splice } => {
                edit.splice_text(&path(at), splice.index as usize, splice.delete as usize, &splice.insert)
            }
            Self::SetText { path: at, value } => edit.set_text(&path(at), &value),
            Self::Mark { path: at, mark, expand } => {
                let range = mark.start as usize..mark.end as usize;
                edit.mark(&path(at), range, &mark.name, core::Value::from(mark.value), expand.into())
            }
            Self::Unmark { path: at, start, end, name } => {
                edit.unmark(&path(at), start as usize..end as usize, &name, Expand::None)
            }
        }
    }
}
