//! The part of G2 that looks at the past, and G5: every operation fits what is there.
//!
//! All of it is asked of the change's own past, not of what this device happens to have: so all devices say the
//! same, in whatever order changes reach them.

use automerge::legacy::{ElementId, Key, MarkData, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, ExpandedChange, ObjType, ScalarValue};
use dinh_proto::ids::ChangeHash;
use dinh_proto::limits;

use super::past::{Clock, Kind, NewChange, Past, Place, ROOT, Row};
use super::refusal::{Judgement, Refusal};

impl Past {
    /// Judges a change whose form and encoding passed. If it passes it is part of the past from now on; if not,
    /// nothing changed.
    pub(super) fn admit(&mut self, hash: ChangeHash, change: &ExpandedChange) -> Result<(), Judgement> {
        let mark = self.mark();
        let outcome = self.judge(hash, change);
        if outcome.is_err() {
            self.rollback(mark);
        }
        outcome
    }

    fn judge(&mut self, hash: ChangeHash, change: &ExpandedChange) -> Result<(), Judgement> {
        let mut deps = Vec::with_capacity(change.deps.len());
        for dep in &change.deps {
            let dep = ChangeHash(dep.0);
            deps.push(self.change_number(&dep).ok_or(Judgement::Missing(dep))?);
        }
        let past = self.clock(&deps);
        let id = change.actor_id.to_bytes();
        let actor: [u8; 16] = id.try_into().map_err(|_| Refusal::ActorLength(id.len()))?;
        let before = self.actor_number(&change.actor_id).map_or(0, |a| self.seq_in(&past, a));
        // Two changes of one number cannot both be here: which of them is, decides who signs (a fork).
        let expected = u64::from(before) + 1;
        if change.seq != expected || self.tip(&actor).map_or(0, |(seq, _)| seq) + 1 != expected {
            return Err(Refusal::Seq { found: change.seq, expected }.into());
        }
        if let Some((_, tip)) = self.tip(&actor)
            && !change.deps.iter().any(|d| d.0 == tip.0)
        {
            return Err(Refusal::Predecessor.into());
        }
        let (found, expected) = (change.start_op.get(), self.next_op(&deps));
        if found != expected {
            return Err(Refusal::StartOp { found, expected }.into());
        }
        let last = found + change.operations.len() as u64 - 1;
        let (Ok(start_op), true) = (u32::try_from(found), last <= limits::DOCUMENT_OPS_MAX) else {
            return Err(Refusal::DocumentFull { last }.into());
        };
        let seq = u32::try_from(change.seq).map_err(|_| Refusal::Seq { found: change.seq, expected: 1 })?;
        let clock = self.begin(NewChange { hash, actor, seq, start_op, deps }, past);
        let mut typing = Typing { past: self, clock, actor: None, mark: None };
        for (op, n) in change.operations.iter().zip(0..) {
            typing.check(op, n)?;
        }
        if typing.mark.is_some() {
            return Err(Refusal::Mark { op: change.operations.len(), why: "a mark has no end" }.into());
        }
        Ok(())
    }
}

struct Typing<'p> {
    past: &'p mut Past,
    clock: Clock,
    /// The actor that was looked up last: mostly it is the same one again.
    actor: Option<(ActorId, u32)>,
    /// The beginning of a mark, whose end must be next: its row.
    mark: Option<u32>,
}

/// What an operation says that it writes to.
enum Target {
    Key(u32),
    /// A place in a sequence, to insert after.
    After(Place),
    /// An element of a sequence: its row.
    Element(u32),
}

impl Typing<'_> {
    fn check(&mut self, op: &Op, n: usize) -> Result<(), Refusal> {
        let (object, container, nesting) = self.object(op, n)?;
        let target = self.target(op, n, object, container)?;
        let kind = kind_of(&op.action, n)?;
        if self.mark.is_some() && kind != Kind::MarkEnd {
            return Err(Refusal::Mark { op: n, why: "the end of a mark must follow its beginning" });
        }
        if container == Kind::Text {
            check_text(op, n)?;
        } else if kind.is_mark() {
            return Err(Refusal::Kind { op: n, what: "a mark outside a text" });
        }
        self.check_preds(op, n, object, &target, kind)?;
        let nesting = nesting + 1;
        if kind.is_object() && usize::from(nesting) > limits::DOCUMENT_DEPTH_MAX {
            return Err(Refusal::Depth { op: n });
        }
        let key = match target {
            Target::Key(key) => key,
            Target::After(place) => place,
            Target::Element(row) => row,
        };
        let row = self.past.rows.len() as u32;
        self.past.push(Row::new(object, key, kind, op.insert, nesting));
        match kind {
            Kind::MarkBegin => self.mark = Some(row),
            Kind::MarkEnd => self.check_mark(n, object, key)?,
            _ => {}
        }
        Ok(())
    }

    /// The container that an operation writes to, what it is, and how deep it is nested.
    fn object(&mut self, op: &Op, n: usize) -> Result<(u32, Kind, u8), Refusal> {
        let ObjectId::Id(id) = &op.obj else { return Ok((ROOT, Kind::Map, 0)) };
        let row = self.row(id).ok_or(Refusal::Object { op: n })?;
        let made = self.past.rows[row as usize];
        if made.kind.is_object() {
            Ok((row + 1, made.kind, made.nesting))
        } else {
            Err(Refusal::Object { op: n })
        }
    }

    fn target(&mut self, op: &Op, n: usize, object: u32, container: Kind) -> Result<Target, Refusal> {
        match (&op.key, container) {
            (Key::Map(key), Kind::Map) if !op.insert => {
                check_length("a key", key.len(), limits::KEY_BYTES_MAX)?;
                Ok(Target::Key(self.past.key_number(key)))
            }
            (Key::Seq(ElementId::Head), Kind::List | Kind::Text) if op.insert => Ok(Target::After(0)),
            (Key::Seq(ElementId::Id(id)), Kind::List | Kind::Text) => {
                let row = self.row(id).ok_or(Refusal::Element { op: n })?;
                let element = self.past.rows[row as usize];
                if !element.insert || element.object != object || (!op.insert && element.kind.is_mark()) {
                    return Err(Refusal::Element { op: n });
                }
                Ok(if op.insert { Target::After(row + 1) } else { Target::Element(row) })
            }
            (Key::Seq(ElementId::Head), Kind::List | Kind::Text) => Err(Refusal::Element { op: n }),
            _ => Err(Refusal::KeyKind { op: n }),
        }
    }

    fn check_preds(
        &mut self,
        op: &Op,
        n: usize,
        object: u32,
        target: &Target,
        kind: Kind,
    ) -> Result<(), Refusal> {
        let refused = |why| Err(Refusal::Preds { op: n, why });
        if op.insert && !op.pred.is_empty() {
            return refused("an insertion replaces nothing");
        }
        let must = kind == Kind::Delete || matches!(target, Target::Element(_));
        if must && op.pred.is_empty() {
            return refused("it names nothing that it replaces");
        }
        let mut last: Option<&OpId> = None;
        for pred in op.pred.iter() {
            if last == Some(pred) {
                return refused("one twice");
            }
            last = Some(pred);
            let Some(row) = self.row(pred) else { return refused("one is not in its past") };
            let replaced = self.past.rows[row as usize];
            let same = replaced.object == object
                && match target {
                    Target::Key(key) => replaced.key == *key,
                    Target::Element(element) if replaced.insert => row == *element,
                    Target::Element(element) => replaced.key == *element,
                    Target::After(_) => false,
                };
            if !same {
                return refused("one is of another place");
            }
            if replaced.kind == Kind::Delete || replaced.kind.is_mark() {
                return refused("one is no value");
            }
        }
        Ok(())
    }

    /// The end of a mark, which was just pushed and comes after `place`.
    fn check_mark(&mut self, n: usize, object: u32, place: Place) -> Result<(), Refusal> {
        let Some(begin) = self.mark.take() else {
            return Err(Refusal::Mark { op: n, why: "the end of a mark without its beginning" });
        };
        let row = self.past.rows[begin as usize];
        if row.object != object {
            return Err(Refusal::Mark { op: n, why: "a mark ends in another text" });
        }
        // Both are the newest, so each stands right behind the place that it comes after.
        if place == begin + 1 || (place != row.key && self.past.comes_before(row.key, place)) {
            Ok(())
        } else {
            Err(Refusal::Mark { op: n, why: "a mark ends before it begins" })
        }
    }

    fn row(&mut self, id: &OpId) -> Option<u32> {
        let actor = match &self.actor {
            Some((known, number)) if known == id.actor() => *number,
            _ => {
                let number = self.past.actor_number(id.actor())?;
                self.actor = Some((id.actor().clone(), number));
                number
            }
        };
        self.past.row(&self.clock, actor, id.counter())
    }
}

fn kind_of(action: &OpType, n: usize) -> Result<Kind, Refusal> {
    Ok(match action {
        OpType::Make(ObjType::Map) => Kind::Map,
        OpType::Make(ObjType::List) => Kind::List,
        OpType::Make(ObjType::Text) => Kind::Text,
        OpType::Make(ObjType::Table) => return Err(Refusal::Kind { op: n, what: "a table" }),
        OpType::Delete => Kind::Delete,
        OpType::Increment(_) => return Err(Refusal::Kind { op: n, what: "an increment" }),
        OpType::Put(value) => {
            check_scalar(value, n)?;
            Kind::Value
        }
        OpType::MarkBegin(MarkData { name, value, .. }) => {
            check_length("a mark's name", name.len(), limits::KEY_BYTES_MAX)?;
            check_scalar(value, n)?;
            Kind::MarkBegin
        }
        OpType::MarkEnd(_) => Kind::MarkEnd,
    })
}

fn check_scalar(value: &ScalarValue, n: usize) -> Result<(), Refusal> {
    let length = match value {
        ScalarValue::Str(text) => text.len(),
        ScalarValue::Bytes(bytes) => bytes.len(),
        ScalarValue::Counter(_) => return Err(Refusal::Kind { op: n, what: "a counter" }),
        ScalarValue::Unknown { .. } => return Err(Refusal::Kind { op: n, what: "an unknown value" }),
        ScalarValue::Null
        | ScalarValue::Boolean(_)
        | ScalarValue::Int(_)
        | ScalarValue::Uint(_)
        | ScalarValue::F64(_)
        | ScalarValue::Timestamp(_) => 0,
    };
    if length > limits::SCALAR_BYTES_MAX {
        return Err(Refusal::Length { what: "a value", limit: limits::SCALAR_BYTES_MAX });
    }
    Ok(())
}

/// A text is made of characters and marks, all of them inserted, and characters are deleted.
fn check_text(op: &Op, n: usize) -> Result<(), Refusal> {
    let fits = match &op.action {
        OpType::Put(ScalarValue::Str(text)) => op.insert && text.chars().count() == 1,
        OpType::MarkBegin(_) | OpType::MarkEnd(_) => op.insert,
        OpType::Delete => !op.insert,
        _ => false,
    };
    if fits { Ok(()) } else { Err(Refusal::Kind { op: n, what: "not a character of a text" }) }
}

fn check_length(what: &'static str, length: usize, limit: usize) -> Result<(), Refusal> {
    if length == 0 || length > limit { Err(Refusal::Length { what, limit }) } else { Ok(()) }
}
