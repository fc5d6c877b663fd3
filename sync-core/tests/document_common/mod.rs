//! A plain model that follows a document by its patches alone, and random edits to drive both.

#![allow(dead_code, reason = "not every test program uses everything")]

use std::collections::BTreeMap;

use dinh_core::document::{
    ChangeHash, Document, Edit, EditError, Expand, LocalChange, Mark, Patch, PatchAction, Path, Prop, Value,
};
use dinh_core::path;
use proptest::prelude::*;

/// What an app's view would keep.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Scalar(Value),
    /// With whether there is a conflict.
    Map(BTreeMap<String, (bool, Self)>),
    List(Vec<(bool, Self)>),
    Text(Vec<u16>, Vec<Mark>),
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::Map(BTreeMap::new())
    }

    pub(crate) fn apply(&mut self, patches: &[Patch]) {
        for patch in patches {
            let mut node = &mut *self;
            for step in patch.path.steps() {
                node = match (node, step) {
                    (Self::Map(map), Prop::Key(key)) => {
                        &mut map.get_mut(key).unwrap_or_else(|| panic!("{patch:?}")).1
                    }
                    (Self::List(list), Prop::Index(index)) => {
                        &mut list.get_mut(*index).unwrap_or_else(|| panic!("{patch:?}")).1
                    }
                    (node, _) => panic!("{patch:?} at {node:?}"),
                };
            }
            node.act(&patch.action);
        }
    }

    fn act(&mut self, action: &PatchAction) {
        match (self, action) {
            (Self::Map(map), PatchAction::Put { prop: Prop::Key(key), value, conflict }) => {
                map.insert(key.clone(), (*conflict, Self::empty(value)));
            }
            (Self::List(list), PatchAction::Put { prop: Prop::Index(index), value, conflict }) => {
                list[*index] = (*conflict, Self::empty(value));
            }
            (Self::List(list), PatchAction::Insert { index, values }) => {
                list.splice(index..index, values.iter().map(|value| (false, Self::empty(value))));
            }
            (Self::Text(text, _), PatchAction::SpliceText { index, value }) => {
                text.splice(index..index, value.encode_utf16());
            }
            (Self::Map(map), PatchAction::DeleteKey { key }) => {
                assert!(map.remove(key).is_some());
            }
            (Self::List(list), PatchAction::Delete { index, len }) => {
                list.drain(*index..index + len);
            }
            (Self::Text(text, _), PatchAction::Delete { index, len }) => {
                text.drain(*index..index + len);
            }
            (Self::Text(_, marks), PatchAction::Marks { marks: new }) => marks.clone_from(new),
            (Self::Map(map), PatchAction::Conflict { prop: Prop::Key(key), conflict }) => {
                let flag = &mut map.get_mut(key).expect("there").0;
                assert_ne!(std::mem::replace(flag, *conflict), *conflict);
            }
            (Self::List(list), PatchAction::Conflict { prop: Prop::Index(index), conflict }) => {
                assert_ne!(std::mem::replace(&mut list[*index].0, *conflict), *conflict);
            }
            (node, action) => panic!("{action:?} on {node:?}"),
        }
    }

    fn empty(value: &Value) -> Self {
        match value {
            Value::Map(map) if map.is_empty() => Self::Map(BTreeMap::new()),
            Value::List(list) if list.is_empty() => Self::List(Vec::new()),
            Value::Text(text) if text.is_empty() => Self::Text(Vec::new(), Vec::new()),
            value => {
                assert!(value.is_scalar(), "containers arrive empty");
                Self::Scalar(value.clone())
            }
        }
    }

    /// The same shape read from the document itself.
    pub(crate) fn read(doc: &Document) -> Self {
        Self::read_at(doc, &Path::root())
    }

    fn read_at(doc: &Document, path: &Path) -> Self {
        let view = doc.view();
        match view.get(path).expect("read_at goes where something is") {
            Value::Map(map) => {
                let child = |key: &String| {
                    let path = path.join(key.as_str());
                    (key.clone(), (view.conflicts(&path).len() > 1, Self::read_at(doc, &path)))
                };
                Self::Map(map.keys().map(child).collect())
            }
            Value::List(list) => {
                let child = |index| {
                    let path = path.join(index);
                    (view.conflicts(&path).len() > 1, Self::read_at(doc, &path))
                };
                Self::List((0..list.len()).map(child).collect())
            }
            Value::Text(text) => {
                assert_eq!(view.text(path).as_deref(), Some(text.as_str()));
                assert_eq!(view.text_len(path), text.encode_utf16().count());
                Self::Text(text.encode_utf16().collect(), view.marks(path))
            }
            scalar => Self::Scalar(scalar),
        }
    }
}

/// A random edit. Numbers choose among what is there; an edit that finds nothing to do does nothing.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Splice(usize, usize, usize, String),
    SetText(usize, String),
    Mark(usize, usize, usize, usize, bool),
    Put(usize, usize, usize),
    Insert(usize, usize, usize),
    Delete(usize, usize),
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let n = 0..64_usize;
    prop_oneof![
        4 => (n.clone(), n.clone(), 0..4_usize, "[aộ 😀]{0,3}").prop_map(|(a, b, c, d)| Op::Splice(a, b, c, d)),
        1 => (n.clone(), "[aộ 😀]{0,6}").prop_map(|(a, b)| Op::SetText(a, b)),
        3 => (n.clone(), n.clone(), 1..5_usize, 0..8_usize, any::<bool>()).prop_map(|(a, b, c, d, e)| Op::Mark(a, b, c, d, e)),
        2 => (n.clone(), n.clone(), 0..6_usize).prop_map(|(a, b, c)| Op::Put(a, b, c)),
        2 => (n.clone(), n.clone(), 0..6_usize).prop_map(|(a, b, c)| Op::Insert(a, b, c)),
        2 => (n.clone(), n).prop_map(|(a, b)| Op::Delete(a, b)),
    ]
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(op(), 1..4)
}

/// Everything that is in a document, by kind.
#[derive(Default)]
struct Places {
    texts: Vec<Path>,
    maps: Vec<Path>,
    lists: Vec<Path>,
}

fn places(value: &Value, path: &Path, out: &mut Places) {
    match value {
        Value::Text(_) => out.texts.push(path.clone()),
        Value::Map(map) => {
            out.maps.push(path.clone());
            map.iter().for_each(|(key, value)| places(value, &path.join(key.as_str()), out));
        }
        Value::List(list) => {
            out.lists.push(path.clone());
            list.iter().enumerate().for_each(|(index, value)| places(value, &path.join(index), out));
        }
        _ => {}
    }
}

fn some_value(kind: usize) -> Value {
    match kind {
        0 => Value::from("chữ"),
        1 => Value::from(7_i64),
        2 => Value::text("văn 😀"),
        3 => Value::map(),
        4 => Value::List(vec![Value::from(true), Value::text("trong")]),
        _ => Value::Map(BTreeMap::from([("a".to_owned(), Value::text("sâu"))])),
    }
}

fn choose(list: &[Path], n: usize) -> Option<Path> {
    list.get(n.checked_rem(list.len())?).cloned()
}

/// A UTF-16 index between two characters.
fn border(text: &str, n: usize) -> usize {
    let borders: Vec<usize> = std::iter::once(0)
        .chain(text.chars().scan(0, |at, letter| {
            *at += letter.len_utf16();
            Some(*at)
        }))
        .collect();
    borders[n % borders.len()]
}

pub(crate) fn run(edit: &mut Edit<'_>, op: &Op) -> Result<(), EditError> {
    let mut all = Places::default();
    places(&edit.view().get(&path![]).expect("the root is there"), &path![], &mut all);
    match op {
        Op::Splice(which, at, delete, insert) => {
            let Some(path) = choose(&all.texts, *which) else { return Ok(()) };
            let text = edit.view().text(&path).expect("chosen");
            let start = border(&text, *at);
            let end = border(&text, *at + delete).max(start);
            edit.splice_text(&path, start, end - start, insert)
        }
        Op::SetText(which, text) => match choose(&all.texts, *which) {
            Some(path) => edit.set_text(&path, text),
            None => Ok(()),
        },
        Op::Mark(which, at, len, name, on) => {
            let Some(path) = choose(&all.texts, *which) else { return Ok(()) };
            let text = edit.view().text(&path).expect("chosen");
            let (start, end) = (border(&text, *at), border(&text, at + len));
            if start >= end {
                return Ok(());
            }
            let expand = [Expand::None, Expand::Before, Expand::After, Expand::Both][name % 4];
            let name = ["bold", "note"][name / 4];
            if *on {
                edit.mark(&path, start..end, name, true, expand)
            } else {
                edit.unmark(&path, start..end, name, expand)
            }
        }
        Op::Put(which, key, kind) => {
            if which % 2 == 0 {
                let path = choose(&all.maps, *which).expect("the root is a map");
                return edit.put(&path.join(["a", "b", "c", "đ"][key % 4]), some_value(*kind));
            }
            let Some(path) = choose(&all.lists, *which) else { return Ok(()) };
            match edit.view().len(&path) {
                0 => Ok(()),
                len => edit.put(&path.join(key % len), some_value(*kind)),
            }
        }
        Op::Insert(which, at, kind) => {
            let Some(path) = choose(&all.lists, *which) else { return Ok(()) };
            let len = edit.view().len(&path);
            edit.insert(&path, at % (len + 1), some_value(*kind))
        }
        Op::Delete(which, at) => {
            let containers: Vec<_> = all.maps.iter().chain(&all.lists).cloned().collect();
            let path = choose(&containers, *which).expect("the root is a map");
            match edit.view().get(&path).expect("chosen") {
                Value::Map(map) if !map.is_empty() => {
                    let key = map.keys().nth(at % map.len()).expect("within");
                    edit.delete(&path.join(key.as_str()))
                }
                Value::List(list) if !list.is_empty() => edit.delete(&path.join(at % list.len())),
                _ => Ok(()),
            }
        }
    }
}

pub(crate) fn commit(doc: &mut Document, ops: &[Op]) -> Option<LocalChange> {
    doc.edit(1_700_000_000, None, |edit| ops.iter().try_for_each(|op| run(edit, op))).expect("edits fit").1
}

/// A document with two texts, a list and a map, to begin with.
pub(crate) fn base(actor: u8) -> Document {
    let mut doc = Document::new([actor; 16]);
    doc.edit::<_, EditError>(1_700_000_000, Some("khởi tạo"), |edit| {
        edit.put(&path!["t"], Value::text("Chi bộ họp 😀 tối"))?;
        edit.put(&path!["u"], Value::text("nghị quyết"))?;
        edit.put(&path!["l"], vec![Value::from(1_i64), Value::text("mục"), Value::map()])?;
        edit.put(&path!["m"], BTreeMap::from([("a".to_owned(), Value::text("x"))]))
    })
    .expect("a fresh document takes anything");
    doc
}

pub(crate) fn parse(raw: &[u8]) -> automerge::Change {
    automerge::Change::try_from(raw).expect("made by a document")
}

/// The changes of `from` that `to` lacks.
pub(crate) fn missing(from: &Document, to: &Document) -> Vec<(ChangeHash, Vec<u8>)> {
    from.changes_raw(&[]).into_iter().filter(|(hash, _)| !to.contains(hash)).collect()
}

pub(crate) fn pull(from: &Document, to: &mut Document) -> Vec<Patch> {
    let changes = missing(from, to).iter().map(|(_, raw)| parse(raw)).collect();
    to.apply(changes).expect("complete")
}
