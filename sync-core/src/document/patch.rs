//! What changed, in a form that an app's view can replay.

use std::collections::BTreeMap;

use automerge::{Automerge, ObjId, ObjType, ROOT, ReadDoc};
use serde::Serialize;

use super::view::View;
use super::{Mark, Path, Prop, Value};

/// One step that turns a view of the document before into a view of it after. Apply patches in their order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Patch {
    /// The map, list or text that changes, as the path is once all patches of the batch before this one are applied.
    pub path: Path,
    /// What happens in it.
    pub action: PatchAction,
}

/// What happens in the container of a [`Patch`]. A new map, list or text arrives empty; later patches fill it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PatchAction {
    /// A key or element has this value now.
    Put {
        /// The key or index.
        prop: Prop,
        /// The value that is shown.
        value: Value,
        /// Other values stand there too: see [`View::conflicts`].
        conflict: bool,
    },
    /// Elements were inserted into a list.
    Insert {
        /// Index of the first.
        index: usize,
        /// The elements.
        values: Vec<Value>,
    },
    /// Characters were inserted into a text.
    SpliceText {
        /// Where, in UTF-16 code units.
        index: usize,
        /// The characters.
        value: String,
    },
    /// A key is gone from a map.
    DeleteKey {
        /// The key.
        key: String,
    },
    /// Elements are gone from a list or characters from a text.
    Delete {
        /// The first.
        index: usize,
        /// How many; UTF-16 code units in a text.
        len: usize,
    },
    /// The marks of a text are exactly these now, after all the patches of this batch. Sent whenever they may have changed.
    Marks {
        /// All marks of the text.
        marks: Vec<Mark>,
    },
    /// A key or element has other values besides the one that is shown.
    Conflict {
        /// The key or index.
        prop: Prop,
    },
}

/// Marks of texts before the batch, for those that it may touch.
pub(super) type MarksBefore = BTreeMap<ObjId, Vec<Mark>>;

/// Turns automerge's patches into ours.
///
/// Automerge's own mark patches are not used: in 0.12.0 consecutive marks of two texts end up in the first one's patch.
/// Each touched text gets its marks as a whole instead, from `marks_before` and the document itself.
pub(super) fn convert(
    doc: &Automerge,
    at: Option<&[automerge::ChangeHash]>,
    patches: Vec<automerge::Patch>,
    mut marks_before: MarksBefore,
) -> Vec<Patch> {
    let mut out = Vec::with_capacity(patches.len());
    let mut rewritten = Vec::new();
    for patch in patches {
        // Blocks inside a text are not part of this document model: their contents are not shown.
        if patch.path.iter().any(|(container, _)| kind(doc, container) == Some(ObjType::Text)) {
            continue;
        }
        let Some(kind) = kind(doc, &patch.obj) else { continue };
        if kind == ObjType::Text && !rewritten.contains(&patch.obj) {
            rewritten.push(patch.obj.clone());
        }
        let path: Path = patch.path.into_iter().map(|(_, prop)| Prop::from(prop)).collect();
        convert_action(&path, kind, patch.action, &mut out);
    }
    let view = View::new(doc, at.map(<[_]>::to_vec));
    for id in rewritten {
        let before = marks_before.remove(&id).unwrap_or_default();
        let marks = view.object_marks(&id);
        // A rewritten text may be a new one in the app's view: its marks are told again even if they are the same.
        if !marks.is_empty() || !before.is_empty() {
            push_marks(doc, at, &id, marks, &mut out);
        }
    }
    for (id, before) in marks_before {
        let marks = view.object_marks(&id);
        if marks != before {
            push_marks(doc, at, &id, marks, &mut out);
        }
    }
    out
}

/// All texts of the document with the marks that they have at `before`, for a comparison of two moments.
pub(super) fn all_texts(
    doc: &Automerge,
    before: &[automerge::ChangeHash],
    after: &[automerge::ChangeHash],
) -> MarksBefore {
    let past = View::new(doc, Some(before.to_vec()));
    let mut texts = MarksBefore::new();
    let mut open = vec![(ROOT, ObjType::Map)];
    while let Some((id, kind)) = open.pop() {
        let mut visit = |value: &automerge::ValueRef<'_>, id: ObjId| {
            if let automerge::ValueRef::Object(kind) = value {
                open.push((id, *kind));
            }
        };
        match kind {
            ObjType::Text => {
                texts.insert(id.clone(), past.object_marks(&id));
            }
            ObjType::List => {
                doc.list_range_at(&id, .., after).for_each(|item| visit(&item.value, item.id()));
            }
            ObjType::Map | ObjType::Table => {
                doc.map_range_at(&id, .., after).for_each(|item| visit(&item.value, item.id()));
            }
        }
    }
    texts
}

fn convert_action(path: &Path, kind: ObjType, action: automerge::PatchAction, out: &mut Vec<Patch>) {
    use automerge::PatchAction as Theirs;
    let in_text = kind == ObjType::Text;
    let mut push = |action| out.push(Patch { path: path.clone(), action });
    match action {
        Theirs::PutMap { key, value: (value, _), conflict } => {
            push(PatchAction::Put { prop: Prop::Key(key), value: Value::from_automerge(&value), conflict });
        }
        Theirs::PutSeq { index, value: (value, _), .. } if in_text => {
            push(PatchAction::Delete { index, len: 1 });
            push(PatchAction::SpliceText { index, value: shown_in_text(&value) });
        }
        Theirs::PutSeq { index, value: (value, _), conflict } => {
            push(PatchAction::Put {
                prop: Prop::Index(index),
                value: Value::from_automerge(&value),
                conflict,
            });
        }
        Theirs::Insert { index, values } if in_text => {
            push(PatchAction::SpliceText {
                index,
                value: values.iter().map(|(value, ..)| shown_in_text(value)).collect(),
            });
        }
        Theirs::Insert { index, values } => {
            let new = values.iter().map(|(value, ..)| Value::from_automerge(value)).collect();
            push(PatchAction::Insert { index, values: new });
            for (offset, _) in values.iter().enumerate().filter(|(_, (.., conflict))| *conflict) {
                push(PatchAction::Conflict { prop: Prop::Index(index + offset) });
            }
        }
        Theirs::SpliceText { index, value, .. } => {
            push(PatchAction::SpliceText { index, value: value.make_string() });
        }
        Theirs::DeleteMap { key } => push(PatchAction::DeleteKey { key }),
        Theirs::DeleteSeq { index, length } => push(PatchAction::Delete { index, len: length }),
        Theirs::Conflict { prop } => push(PatchAction::Conflict { prop: prop.into() }),
        // Marks come as a whole; counters never pass the gate.
        Theirs::Mark { .. } | Theirs::Increment { .. } => {}
    }
}

fn push_marks(
    doc: &Automerge,
    at: Option<&[automerge::ChangeHash]>,
    id: &ObjId,
    marks: Vec<Mark>,
    out: &mut Vec<Patch>,
) {
    let parents = match at {
        None => doc.parents(id),
        Some(heads) => doc.parents_at(id, heads),
    };
    // A text that is not shown has no place in the app's view.
    if let Some(path) = parents.ok().and_then(automerge::Parents::visible_path) {
        let path = path.into_iter().map(|(_, prop)| Prop::from(prop)).collect();
        out.push(Patch { path, action: PatchAction::Marks { marks } });
    }
}

fn kind(doc: &Automerge, id: &ObjId) -> Option<ObjType> {
    doc.object_type(id).ok()
}

fn shown_in_text(value: &automerge::Value<'_>) -> String {
    match value {
        automerge::Value::Scalar(scalar) => match scalar.as_ref() {
            automerge::ScalarValue::Str(text) => text.to_string(),
            _ => OBJECT_REPLACEMENT.to_owned(),
        },
        automerge::Value::Object(_) => OBJECT_REPLACEMENT.to_owned(),
    }
}

const OBJECT_REPLACEMENT: &str = "\u{fffc}";
