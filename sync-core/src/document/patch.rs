//! What changed, in a form that an app's view can replay.
//!
//! Patches are the difference of two states, not automerge's own patches: those of 0.12.0 name a wrong index when an
//! element was replaced and deleted at the same time, and put the marks of two texts into one. What was there before is
//! noted for the objects that a change touches; the rest is one walk over the document.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use automerge::{Automerge, ObjId, ObjType, ROOT, ReadDoc, ValueRef};
use serde::Serialize;

use super::text;
use super::view::View;
use super::{Mark, Path, Prop, Value};

/// One step that turns a view of the document before into a view of it after. Apply patches in their order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Patch {
    /// The map, list or text that changes, where it is once all patches before this one are applied.
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
        /// Other values stand there too: see [`View::conflicts`](super::View::conflicts).
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
    /// The marks of a text are exactly these from now on. Between two of these, marks do not move by themselves.
    Marks {
        /// All marks of the text.
        marks: Vec<Mark>,
    },
    /// The value shown at a key or element is the same, but it has other values besides it now, or no more.
    Conflict {
        /// The key or index.
        prop: Prop,
        /// Whether there are others.
        conflict: bool,
    },
}

/// Objects that a change touches, as they are before it.
pub(super) type Before = BTreeMap<ObjId, Shape>;

/// An object without what is below it.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Map(BTreeMap<String, Entry>),
    List(Vec<Entry>),
    Text(String, Vec<Mark>),
}

/// What is shown at a key or index. The operation that wrote it is its identity.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    id: ObjId,
    content: Content,
    conflict: bool,
}

#[derive(Clone, Debug)]
enum Content {
    Scalar(Value),
    Object(ObjType),
}

impl Shape {
    /// The object as this view shows it; empty if it is not there.
    pub(super) fn read<D: ReadDoc>(view: &View<'_, D>, id: &ObjId, kind: ObjType) -> Self {
        match kind {
            ObjType::Text => {
                Self::Text(view.object_text(id, &Path::root()).unwrap_or_default(), view.object_marks(id))
            }
            ObjType::List => Self::List(
                view.list_items(id)
                    .map(|item| Entry::new(item.id(), item.value.into(), item.conflict))
                    .collect(),
            ),
            ObjType::Map | ObjType::Table => Self::Map(
                view.map_items(id)
                    .map(|item| {
                        let key = item.key.to_string();
                        (key, Entry::new(item.id(), item.value.into(), item.conflict))
                    })
                    .collect(),
            ),
        }
    }

    const fn empty(kind: ObjType) -> Self {
        match kind {
            ObjType::Text => Self::Text(String::new(), Vec::new()),
            ObjType::List => Self::List(Vec::new()),
            ObjType::Map | ObjType::Table => Self::Map(BTreeMap::new()),
        }
    }

    fn objects(&self) -> Vec<(Prop, ObjId, ObjType)> {
        let object = |(prop, entry): (Prop, &Entry)| match entry.content {
            Content::Object(kind) => Some((prop, entry.id.clone(), kind)),
            Content::Scalar(_) => None,
        };
        match self {
            Self::Map(map) => {
                map.iter().map(|(key, entry)| (Prop::Key(key.clone()), entry)).filter_map(object).collect()
            }
            Self::List(list) => list
                .iter()
                .enumerate()
                .map(|(index, entry)| (Prop::Index(index), entry))
                .filter_map(object)
                .collect(),
            Self::Text(..) => Vec::new(),
        }
    }

    fn ids(&self) -> BTreeSet<&ObjId> {
        match self {
            Self::Map(map) => map.values().map(|entry| &entry.id).collect(),
            Self::List(list) => list.iter().map(|entry| &entry.id).collect(),
            Self::Text(..) => BTreeSet::new(),
        }
    }
}

impl Entry {
    fn new(id: ObjId, value: automerge::Value<'_>, conflict: bool) -> Self {
        let content = match value {
            automerge::Value::Object(kind) => Content::Object(kind),
            automerge::Value::Scalar(scalar) => Content::Scalar(Value::from_scalar(&scalar)),
        };
        Self { id, content, conflict }
    }

    fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::Object(kind) => Value::empty(*kind),
        }
    }
}

/// The patches that lead from `before` to what `view` shows.
pub(super) fn patches(view: &View<'_, Automerge>, before: &Before) -> Vec<Patch> {
    let mut out = Vec::new();
    let mut missing = before.len();
    // Object, its path, and whether the app's view does not have it yet. Containers come before what is in them.
    let mut open = VecDeque::from([(ROOT, ObjType::Map, Path::root(), false)]);
    while let Some((id, kind, path, fresh)) = open.pop_front() {
        let empty = Shape::empty(kind);
        let old = if fresh { Some(&empty) } else { before.get(&id) };
        missing -= usize::from(before.contains_key(&id));
        if let Some(old) = old {
            let new = Shape::read(view, &id, kind);
            difference(&path, old, &new, &mut out);
            let known = old.ids();
            for (prop, id, kind) in new.objects() {
                let fresh = !known.contains(&id);
                open.push_back((id, kind, path.join(prop), fresh));
            }
        } else if missing > 0 {
            // Nothing touched this one, but something below it may have been.
            open.extend(
                children(view, &id, kind)
                    .into_iter()
                    .map(|(prop, id, kind)| (id, kind, path.join(prop), false)),
            );
        }
    }
    out
}

/// The objects that an object shows, without reading the values beside them.
fn children(view: &View<'_, Automerge>, id: &ObjId, kind: ObjType) -> Vec<(Prop, ObjId, ObjType)> {
    match kind {
        ObjType::Text => Vec::new(),
        ObjType::List => view
            .list_items(id)
            .filter_map(|item| match item.value {
                ValueRef::Object(kind) => Some((Prop::Index(item.index), item.id(), kind)),
                ValueRef::Scalar(_) => None,
            })
            .collect(),
        ObjType::Map | ObjType::Table => view
            .map_items(id)
            .filter_map(|item| match item.value {
                ValueRef::Object(kind) => Some((Prop::Key(item.key.to_string()), item.id(), kind)),
                ValueRef::Scalar(_) => None,
            })
            .collect(),
    }
}

/// All objects that a view shows.
pub(super) fn everything(view: &View<'_, Automerge>) -> Before {
    let mut all = Before::new();
    let mut open = vec![(ROOT, ObjType::Map)];
    while let Some((id, kind)) = open.pop() {
        let shape = Shape::read(view, &id, kind);
        open.extend(shape.objects().into_iter().map(|(_, id, kind)| (id, kind)));
        all.insert(id, shape);
    }
    all
}

fn difference(path: &Path, old: &Shape, new: &Shape, out: &mut Vec<Patch>) {
    let mut push = |action| out.push(Patch { path: path.clone(), action });
    match (old, new) {
        (Shape::Map(old), Shape::Map(new)) => map_difference(old, new, &mut push),
        (Shape::List(old), Shape::List(new)) => list_difference(old, new, &mut push),
        (Shape::Text(old, old_marks), Shape::Text(new, new_marks)) => {
            text_difference(old, new, &mut push);
            if old_marks != new_marks {
                push(PatchAction::Marks { marks: new_marks.clone() });
            }
        }
        // An object never changes its kind.
        _ => {}
    }
}

fn map_difference(
    old: &BTreeMap<String, Entry>,
    new: &BTreeMap<String, Entry>,
    push: &mut impl FnMut(PatchAction),
) {
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        push(PatchAction::DeleteKey { key: key.clone() });
    }
    for (key, entry) in new {
        let prop = Prop::Key(key.clone());
        match old.get(key) {
            Some(before) if before.id == entry.id => same_winner(prop, before, entry, push),
            _ => push(PatchAction::Put { prop, value: entry.value(), conflict: entry.conflict }),
        }
    }
}

fn list_difference(old: &[Entry], new: &[Entry], push: &mut impl FnMut(PatchAction)) {
    let old_ids: BTreeSet<_> = old.iter().map(|entry| &entry.id).collect();
    let new_ids: BTreeSet<_> = new.iter().map(|entry| &entry.id).collect();
    // Elements never move, so those that stay are in the same order before and after.
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let gone = old[i..].iter().take_while(|entry| !new_ids.contains(&entry.id)).count();
        let come = new[j..].iter().take_while(|entry| !old_ids.contains(&entry.id)).count();
        let replaced = gone.min(come);
        for (offset, entry) in new[j..j + replaced].iter().enumerate() {
            let prop = Prop::Index(j + offset);
            push(PatchAction::Put { prop, value: entry.value(), conflict: entry.conflict });
        }
        if gone > replaced {
            push(PatchAction::Delete { index: j + replaced, len: gone - replaced });
        }
        let inserted = &new[j + replaced..j + come];
        if !inserted.is_empty() {
            push(PatchAction::Insert {
                index: j + replaced,
                values: inserted.iter().map(Entry::value).collect(),
            });
            for (offset, _) in inserted.iter().enumerate().filter(|(_, entry)| entry.conflict) {
                push(PatchAction::Conflict { prop: Prop::Index(j + replaced + offset), conflict: true });
            }
        }
        (i, j) = (i + gone, j + come);
        if let (Some(before), Some(entry)) = (old.get(i), new.get(j)) {
            debug_assert_eq!(before.id, entry.id, "elements never move");
            same_winner(Prop::Index(j), before, entry, push);
            (i, j) = (i + 1, j + 1);
        }
    }
}

fn same_winner(prop: Prop, before: &Entry, after: &Entry, push: &mut impl FnMut(PatchAction)) {
    if before.conflict != after.conflict {
        push(PatchAction::Conflict { prop, conflict: after.conflict });
    }
}

fn text_difference(old: &str, new: &str, push: &mut impl FnMut(PatchAction)) {
    // From the end, so that indexes count in the old text.
    for hunk in text::hunks(old, new).into_iter().rev() {
        let index = text::utf16_len(&old[..hunk.old.start]);
        let len = text::utf16_len(&old[hunk.old]);
        if len > 0 {
            push(PatchAction::Delete { index, len });
        }
        if !hunk.new.is_empty() {
            push(PatchAction::SpliceText { index, value: new[hunk.new].to_owned() });
        }
    }
}
