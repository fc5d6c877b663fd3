//! The operations of some actors, taken out of a saved document.
//!
//! A saved document has its operations by place, each with what replaced it, and no deletions: those are only named by what they
//! deleted. A change has them by number, each with what it replaced.

use std::collections::{BTreeMap, BTreeSet};

use automerge::legacy::{ElementId, Key, MarkData, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::{ObjType, ScalarValue};
use dinh_proto::limits;

use super::columns::{Bytes, Columns, Deltas, Flags, Runs, damaged};
use super::{FileError, NEW_OPS_MAX, OPS_MAX};

/// The columns, by specification.
pub(super) const COLUMNS: [u64; 16] = [
    OBJECT_ACTOR,
    OBJECT,
    KEY_ACTOR,
    KEY,
    KEY_TEXT,
    ID_ACTOR,
    ID,
    INSERT,
    ACTION,
    VALUE_META,
    VALUE,
    NEXT_COUNT,
    NEXT_ACTOR,
    NEXT,
    EXPAND,
    MARK_NAME,
];
const OBJECT_ACTOR: u64 = 0x01;
const OBJECT: u64 = 0x02;
const KEY_ACTOR: u64 = 0x11;
const KEY: u64 = 0x13;
const KEY_TEXT: u64 = 0x15;
const ID_ACTOR: u64 = 0x21;
const ID: u64 = 0x23;
const INSERT: u64 = 0x34;
const ACTION: u64 = 0x42;
const VALUE_META: u64 = 0x56;
const VALUE: u64 = 0x57;
const NEXT_COUNT: u64 = 0x80;
const NEXT_ACTOR: u64 = 0x81;
const NEXT: u64 = 0x83;
const EXPAND: u64 = 0x94;
const MARK_NAME: u64 = 0xa5;

/// An operation's number and its actor's place in the file.
type Id = (usize, u64);

#[derive(Debug, Default)]
struct Draft {
    /// Unless it is a deletion.
    made: Option<(OpType, bool)>,
    place: Option<(ObjectId, Key)>,
    replaces: Vec<OpId>,
}

/// Operations that no change has claimed yet.
#[derive(Debug)]
pub(super) struct Ops(BTreeMap<Id, Draft>);

impl Ops {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of an actor up to a number, and the first one's number: they follow one another.
    pub(super) fn of_change(&mut self, actor: usize, max_op: u64) -> Result<(u64, Vec<Op>), FileError> {
        let ids: Vec<u64> = self.0.range((actor, 0)..=(actor, max_op)).map(|((_, n), _)| *n).collect();
        let first = (max_op + 1).saturating_sub(ids.len() as u64);
        let mut out = Vec::with_capacity(ids.len());
        for (id, expected) in ids.into_iter().zip(first..) {
            let draft = self.0.remove(&(actor, id)).unwrap_or_default();
            let (Some((obj, key)), true) = (draft.place, id == expected) else {
                return damaged("an operation is missing");
            };
            let (action, insert) = draft.made.unwrap_or((OpType::Delete, false));
            out.push(Op { action, obj, key, pred: SortedVec::from(draft.replaces), insert });
        }
        Ok((first, out))
    }
}

/// Reads all operations, and keeps those of the actors `of`.
pub(super) fn read(columns: &Columns, actors: &[[u8; 16]], of: &BTreeSet<usize>) -> Result<Ops, FileError> {
    let mut rows = Rows::new(columns, actors);
    let mut kept: BTreeMap<Id, Draft> = BTreeMap::new();
    let (mut count, mut links) = (0, 0);
    while !rows.actions.is_at_end() {
        count += 1;
        let row = rows.next()?;
        let n = usize::try_from(rows.next_counts.next()?.unwrap_or(0)).unwrap_or(usize::MAX);
        links = n.saturating_add(links);
        if count > OPS_MAX || links > OPS_MAX {
            return Err(FileError::TooMany("operations"));
        }
        let own = rows.op_id(row.id);
        let key = if row.insert { Key::Seq(ElementId::Id(own.clone())) } else { row.key.clone() };
        for _ in 0..n {
            let next = rows.next_id()?;
            if of.contains(&next.0) {
                let draft = kept.entry(next).or_default();
                draft.place.get_or_insert_with(|| (row.object.clone(), key.clone()));
                draft.replaces.push(own.clone());
            }
        }
        if of.contains(&row.id.0) {
            let action = row.action()?;
            let draft = kept.entry(row.id).or_default();
            if draft.made.replace((action, row.insert)).is_some() {
                return damaged("an operation stands in it twice");
            }
            draft.place = Some((row.object, row.key));
        }
        if kept.len() > NEW_OPS_MAX {
            return Err(FileError::TooMany("new operations"));
        }
    }
    Ok(Ops(kept))
}

/// A key or the name of a mark. A run says it once for any number of rows and each row has a copy, so it is no longer than any document
/// here has one.
fn name(text: &str) -> Result<&str, FileError> {
    if text.len() > limits::KEY_BYTES_MAX {
        return Err(FileError::Unsupported("a key of more than 256 bytes"));
    }
    Ok(text)
}

struct Row<'a> {
    id: Id,
    object: ObjectId,
    key: Key,
    insert: bool,
    action: u64,
    meta: u64,
    value: &'a [u8],
    expand: bool,
    mark: Option<&'a str>,
}

impl Row<'_> {
    fn action(&self) -> Result<OpType, FileError> {
        Ok(match self.action {
            0 => OpType::Make(ObjType::Map),
            1 => OpType::Put(self.scalar()?),
            2 => OpType::Make(ObjType::List),
            4 => OpType::Make(ObjType::Text),
            5 => return Err(FileError::Unsupported("a counter")),
            6 => return Err(FileError::Unsupported("a table")),
            7 => match self.mark {
                Some(name) => OpType::MarkBegin(MarkData {
                    name: name.into(),
                    value: self.scalar()?,
                    expand: self.expand,
                }),
                None => OpType::MarkEnd(self.expand),
            },
            _ => return Err(FileError::Unsupported("an operation that this version does not know")),
        })
    }

    fn scalar(&self) -> Result<ScalarValue, FileError> {
        let mut bytes = Bytes(self.value);
        let value = match self.meta & 0x0f {
            0 => ScalarValue::Null,
            1 => ScalarValue::Boolean(false),
            2 => ScalarValue::Boolean(true),
            3 => ScalarValue::Uint(bytes.uleb()?),
            4 => ScalarValue::Int(bytes.sleb()?),
            5 => match bytes.take(8)?.try_into() {
                Ok(number) => ScalarValue::F64(f64::from_le_bytes(number)),
                Err(_) => return damaged("a number is cut"),
            },
            6 => match std::str::from_utf8(self.value) {
                Ok(text) => return Ok(ScalarValue::Str(text.into())),
                Err(_) => return damaged("a string is not UTF-8"),
            },
            7 => return Ok(ScalarValue::Bytes(self.value.to_vec())),
            8 => return Err(FileError::Unsupported("a counter")),
            9 => ScalarValue::Timestamp(bytes.sleb()?),
            _ => return Err(FileError::Unsupported("a value of an unknown kind")),
        };
        if bytes.0.is_empty() { Ok(value) } else { damaged("a value is too long") }
    }
}

/// The rows of all columns, side by side.
struct Rows<'a> {
    actors: &'a [[u8; 16]],
    object_actors: Runs<'a, u64>,
    objects: Runs<'a, u64>,
    key_actors: Runs<'a, u64>,
    keys: Deltas<'a>,
    key_texts: Runs<'a, &'a str>,
    id_actors: Runs<'a, u64>,
    ids: Deltas<'a>,
    inserts: Flags<'a>,
    actions: Runs<'a, u64>,
    metas: Runs<'a, u64>,
    values: Bytes<'a>,
    next_counts: Runs<'a, u64>,
    next_actors: Runs<'a, u64>,
    nexts: Deltas<'a>,
    expands: Flags<'a>,
    marks: Runs<'a, &'a str>,
}

impl<'a> Rows<'a> {
    fn new(columns: &'a Columns, actors: &'a [[u8; 16]]) -> Self {
        Self {
            actors,
            object_actors: columns.numbers(OBJECT_ACTOR),
            objects: columns.numbers(OBJECT),
            key_actors: columns.numbers(KEY_ACTOR),
            keys: columns.deltas(KEY),
            key_texts: columns.texts(KEY_TEXT),
            id_actors: columns.numbers(ID_ACTOR),
            ids: columns.deltas(ID),
            inserts: columns.flags(INSERT),
            actions: columns.numbers(ACTION),
            metas: columns.numbers(VALUE_META),
            values: columns.bytes(VALUE),
            next_counts: columns.numbers(NEXT_COUNT),
            next_actors: columns.numbers(NEXT_ACTOR),
            nexts: columns.deltas(NEXT),
            expands: columns.flags(EXPAND),
            marks: columns.texts(MARK_NAME),
        }
    }

    fn next(&mut self) -> Result<Row<'a>, FileError> {
        let object = match (self.object_actors.next()?, self.objects.next()?) {
            (None, None) => ObjectId::Root,
            (Some(actor), Some(n)) => ObjectId::Id(self.op_id((self.actor(actor)?, n))),
            _ => return damaged("an object has half an id"),
        };
        let key = match (self.key_actors.next()?, self.keys.next()?, self.key_texts.next()?) {
            (None, None, Some(text)) => Key::Map(name(text)?.into()),
            (None, Some(0), None) => Key::Seq(ElementId::Head),
            (Some(actor), Some(n), None) => {
                let Ok(n) = u64::try_from(n) else { return damaged("an element has no number") };
                Key::Seq(ElementId::Id(self.op_id((self.actor(actor)?, n))))
            }
            _ => return damaged("an operation has no key"),
        };
        let (Some(by), Some(action)) = (self.id_actors.next()?, self.actions.next()?) else {
            return damaged("an operation has no author or action");
        };
        let id = (self.actor(by)?, self.ids.count()?);
        let meta = self.metas.next()?.unwrap_or(0);
        let value = self.values.take(meta >> 4)?;
        Ok(Row {
            id,
            object,
            key,
            insert: self.inserts.next()?,
            action,
            meta,
            value,
            expand: self.expands.next()?,
            mark: self.marks.next()?.map(name).transpose()?,
        })
    }

    fn next_id(&mut self) -> Result<Id, FileError> {
        let Some(actor) = self.next_actors.next()? else { return damaged("a replacement of nobody's") };
        Ok((self.actor(actor)?, self.nexts.count()?))
    }

    fn actor(&self, at: u64) -> Result<usize, FileError> {
        match usize::try_from(at) {
            Ok(at) if at < self.actors.len() => Ok(at),
            _ => damaged("an operation of nobody"),
        }
    }

    fn op_id(&self, id: Id) -> OpId {
        OpId(id.1, super::super::actor_id(self.actors[id.0]))
    }
}
