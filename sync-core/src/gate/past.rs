//! What a document's changes have written, kept so that the rules about operations can be asked of any part of the
//! past: who made which operation, in which object, under which key, after which element.
//!
//! Numbers stand for things here: an *actor*, a *change* and a *row* (one operation) are places in lists. Changes
//! are only ever added, each after what it builds on, and taken away again from the end.
//!
//! Sizes: about 20 bytes an operation and 200 a change; a clock (4 bytes an actor) for every actor's newest change
//! and every sixteenth.

use std::collections::{BTreeMap, BTreeSet};

use automerge::ActorId;
use dinh_proto::ids::ChangeHash;

/// Every change of an actor whose number this divides keeps its clock.
const CLOCK_EVERY: u32 = 16;

/// What an operation is, as far as later ones must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Map,
    List,
    Text,
    Value,
    MarkBegin,
    MarkEnd,
    Delete,
}

impl Kind {
    pub(super) const fn is_object(self) -> bool {
        matches!(self, Self::Map | Self::List | Self::Text)
    }

    pub(super) const fn is_mark(self) -> bool {
        matches!(self, Self::MarkBegin | Self::MarkEnd)
    }
}

/// A place in a sequence: 0 is its head, others are a row plus one.
pub(super) type Place = u32;

/// The root map among objects; others are the row that made them plus one.
pub(super) const ROOT: u32 = 0;

/// One operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The object that it writes to.
    pub(super) object: u32,
    /// In a map the number of the key. In a sequence the place that it writes to, or inserts after.
    pub(super) key: u32,
    /// If it inserts: how many places it is below the head, counting from place to the place that it comes after.
    pub(super) depth: u32,
    /// If it inserts: a place some way up, so that going up is quick.
    jump: Place,
    pub(super) kind: Kind,
    pub(super) insert: bool,
    /// If it makes a container: how deep that is nested.
    pub(super) nesting: u8,
}

#[derive(Debug, Clone)]
struct ChangeRow {
    hash: ChangeHash,
    actor: u32,
    seq: u32,
    start_op: u32,
    ops: u32,
    first_row: u32,
    deps: Vec<u32>,
}

#[derive(Debug, Clone)]
struct ActorRow {
    id: [u8; 16],
    /// In order of their numbers, from 1.
    changes: Vec<u32>,
}

/// Which changes of each actor are in a past: their number, by actor. Actors beyond the end have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clock(Vec<u32>);

impl Clock {
    fn get(&self, actor: u32) -> u32 {
        self.0.get(actor as usize).copied().unwrap_or_default()
    }

    fn raise(&mut self, actor: u32, seq: u32) {
        let at = actor as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] = self.0[at].max(seq);
    }

    fn join(&mut self, other: &Self) {
        (0..).zip(&other.0).filter(|(_, seq)| **seq > 0).for_each(|(actor, seq)| self.raise(actor, *seq));
    }
}

/// The changes of one document, as the rules need them.
#[derive(Debug, Default, Clone)]
pub struct Past {
    actors: Vec<ActorRow>,
    actor_numbers: BTreeMap<[u8; 16], u32>,
    changes: Vec<ChangeRow>,
    change_numbers: BTreeMap<ChangeHash, u32>,
    clocks: BTreeMap<u32, Clock>,
    pub(super) rows: Vec<Row>,
    keys: BTreeMap<Box<str>, u32>,
    key_names: Vec<Box<str>>,
    /// The rows that write to the root map.
    root_rows: Vec<u32>,
}

/// How much a [`Past`] held at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(usize);

impl Past {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a change is here.
    #[must_use]
    pub fn contains(&self, hash: &ChangeHash) -> bool {
        self.change_numbers.contains_key(hash)
    }

    /// Number and hash of an actor's newest change here.
    #[must_use]
    pub fn tip(&self, actor: &[u8; 16]) -> Option<(u64, ChangeHash)> {
        let actor = &self.actors[*self.actor_numbers.get(actor)? as usize];
        let change = &self.changes[*actor.changes.last()? as usize];
        Some((u64::from(change.seq), change.hash))
    }

    /// How many changes are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many operations are here.
    #[must_use]
    pub fn ops(&self) -> usize {
        self.rows.len()
    }

    /// About how much memory this takes, bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let clocks: usize = self.clocks.values().map(|c| 48 + 4 * c.0.capacity()).sum();
        self.rows.capacity() * size_of::<Row>() + self.changes.len() * 200 + self.keys.len() * 96 + clocks
    }

    /// What is here now; see [`rollback`](Self::rollback).
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.changes.len())
    }

    /// Forgets every change that came after `mark`.
    pub fn rollback(&mut self, mark: Mark) {
        while self.changes.len() > mark.0 {
            let Some(change) = self.changes.pop() else { break };
            self.rows.truncate(change.first_row as usize);
            self.change_numbers.remove(&change.hash);
            self.clocks.remove(&(self.changes.len() as u32));
            self.actors[change.actor as usize].changes.pop();
        }
        let rows = self.rows.len();
        while self.root_rows.last().is_some_and(|row| *row as usize >= rows) {
            self.root_rows.pop();
        }
    }

    pub(super) fn actor_number(&self, actor: &ActorId) -> Option<u32> {
        let id: &[u8; 16] = actor.to_bytes().try_into().ok()?;
        self.actor_numbers.get(id).copied()
    }

    pub(super) fn change_number(&self, hash: &ChangeHash) -> Option<u32> {
        self.change_numbers.get(hash).copied()
    }

    /// One more than the largest counter in what builds on these changes.
    pub(super) fn next_op(&self, deps: &[u32]) -> u64 {
        let last =
            deps.iter().map(|d| &self.changes[*d as usize]).map(|c| u64::from(c.start_op) + u64::from(c.ops));
        last.max().unwrap_or(1)
    }

    /// Everything in the past of these changes, they among it.
    pub(super) fn clock(&self, deps: &[u32]) -> Clock {
        // What is in `closed` is there with its whole past.
        let mut closed = Clock::default();
        let mut seen = BTreeSet::new();
        let mut open = deps.to_vec();
        while let Some(number) = open.pop() {
            let change = &self.changes[number as usize];
            if closed.get(change.actor) >= change.seq || seen.contains(&number) {
                continue;
            }
            if let Some(clock) = self.clocks.get(&number) {
                closed.join(clock);
            } else {
                seen.insert(number);
                open.extend(&change.deps);
            }
        }
        for number in seen {
            let change = &self.changes[number as usize];
            closed.raise(change.actor, change.seq);
        }
        closed
    }

    pub(super) fn seq_in(&self, clock: &Clock, actor: u32) -> u32 {
        clock.get(actor)
    }

    /// The row of an operation, if it is in this past.
    pub(super) fn row(&self, clock: &Clock, actor: u32, counter: u64) -> Option<u32> {
        let counter = u32::try_from(counter).ok()?;
        let changes = &self.actors[actor as usize].changes;
        let after = changes.partition_point(|c| self.changes[*c as usize].start_op <= counter);
        let change = &self.changes[changes[after.checked_sub(1)?] as usize];
        let at = counter - change.start_op;
        (at < change.ops && change.seq <= clock.get(actor)).then_some(change.first_row + at)
    }

    pub(super) fn key_number(&mut self, key: &str) -> u32 {
        match self.keys.get(key) {
            Some(number) => *number,
            None => {
                let number = self.keys.len() as u32;
                self.keys.insert(key.into(), number);
                self.key_names.push(key.into());
                number
            }
        }
    }

    pub(super) fn key_of(&self, key: &str) -> Option<u32> {
        self.keys.get(key).copied()
    }

    pub(super) fn key_name(&self, number: u32) -> &str {
        self.key_names.get(number as usize).map_or("", AsRef::as_ref)
    }

    /// A change is here now, without operations; if it turns out to be refused, it is rolled back.
    pub(super) fn begin(&mut self, change: NewChange, past: Clock) -> Clock {
        let NewChange { hash, actor, seq, start_op, deps } = change;
        let number = self.changes.len() as u32;
        let next = self.actors.len() as u32;
        let actor_number = *self.actor_numbers.entry(actor).or_insert(next);
        if actor_number == next {
            self.actors.push(ActorRow { id: actor, changes: Vec::new() });
        }
        let own = &mut self.actors[actor_number as usize].changes;
        if let Some(before) = own.last()
            && !self.changes[*before as usize].seq.is_multiple_of(CLOCK_EVERY)
        {
            self.clocks.remove(before);
        }
        own.push(number);
        let mut clock = past;
        clock.raise(actor_number, seq);
        self.clocks.insert(number, clock.clone());
        self.change_numbers.insert(hash, number);
        let first_row = self.rows.len() as u32;
        self.changes.push(ChangeRow { hash, actor: actor_number, seq, start_op, ops: 0, first_row, deps });
        clock
    }

    /// The next operation of the change that began last.
    pub(super) fn push(&mut self, mut row: Row) {
        if row.insert {
            row.depth = self.depth(row.key) + 1;
            row.jump = self.jump_from(row.key);
        }
        if row.object == ROOT {
            self.root_rows.push(self.rows.len() as u32);
        }
        self.rows.push(row);
        if let Some(change) = self.changes.last_mut() {
            change.ops += 1;
        }
    }

    /// Where one may jump from a place that comes after `parent`: the sum of two equal jumps, or one step, so that
    /// a way of n steps takes about 3 log n.
    fn jump_from(&self, parent: Place) -> Place {
        let jump = self.jump(parent);
        let far = self.jump(jump);
        if self.depth(parent) - self.depth(jump) == self.depth(jump) - self.depth(far) { far } else { parent }
    }

    fn depth(&self, place: Place) -> u32 {
        place.checked_sub(1).map_or(0, |row| self.rows[row as usize].depth)
    }

    fn jump(&self, place: Place) -> Place {
        place.checked_sub(1).map_or(0, |row| self.rows[row as usize].jump)
    }

    fn parent(&self, place: Place) -> Place {
        place.checked_sub(1).map_or(0, |row| self.rows[row as usize].key)
    }

    /// Whether a place comes before another one of the same sequence. Later insertions do not change it.
    pub(super) fn comes_before(&self, first: Place, second: Place) -> bool {
        let (mut a, mut b) = (first, second);
        let (a_depth, b_depth) = (self.depth(a), self.depth(b));
        a = self.up_to(a, b_depth);
        b = self.up_to(b, a_depth);
        if a == b {
            // What a place comes after is before it.
            return a_depth < b_depth;
        }
        while self.parent(a) != self.parent(b) {
            (a, b) = if self.jump(a) == self.jump(b) {
                (self.parent(a), self.parent(b))
            } else {
                (self.jump(a), self.jump(b))
            };
        }
        // Of two that were inserted at one place, the newer stands first.
        self.id(a) > self.id(b)
    }

    /// The place above this one that is at most so deep.
    fn up_to(&self, mut place: Place, depth: u32) -> Place {
        while self.depth(place) > depth {
            let jump = self.jump(place);
            place = if self.depth(jump) >= depth { jump } else { self.parent(place) };
        }
        place
    }

    /// Whether something wrote to this key of the root map that the newest change knew of.
    pub(super) fn newest_knows(&self, key: &str) -> bool {
        let Some(key) = self.key_of(key) else { return false };
        let Some(newest) = self.changes.len().checked_sub(1) else { return false };
        let Some(clock) = self.clocks.get(&(newest as u32)) else { return false };
        let first_row = self.changes[newest].first_row;
        self.root_rows.iter().take_while(|row| **row < first_row).any(|row| {
            let after = self.changes.partition_point(|c| c.first_row <= *row);
            let change = &self.changes[after.saturating_sub(1)];
            self.rows[*row as usize].key == key && clock.get(change.actor) >= change.seq
        })
    }

    /// Counter and actor of the operation at a place that is not the head.
    fn id(&self, place: Place) -> (u32, [u8; 16]) {
        let row = place.saturating_sub(1);
        let after = self.changes.partition_point(|c| c.first_row <= row);
        let change = &self.changes[after.saturating_sub(1)];
        (change.start_op + (row - change.first_row), self.actors[change.actor as usize].id)
    }
}

/// A change whose head passed.
#[derive(Debug)]
pub(super) struct NewChange {
    pub(super) hash: ChangeHash,
    pub(super) actor: [u8; 16],
    pub(super) seq: u32,
    pub(super) start_op: u32,
    pub(super) deps: Vec<u32>,
}

impl Row {
    pub(super) const fn new(object: u32, key: u32, kind: Kind, insert: bool, nesting: u8) -> Self {
        Self { object, key, depth: 0, jump: 0, kind, insert, nesting }
    }
}
