//! Lifecycles: what state a document is in, as the fold of events that people wrote, each of which names the events that its
//! writer had seen.
//!
//! A state is never a field that two phones could overwrite. An event is judged in its own causal past only, so every
//! device that has the same events says the same, in whatever order they came:
//!
//! * an event *counts* if it is legal in the state that the counting events in its past make;
//! * a *note* (an extension, an amendment on the floor) leaves the state as it is;
//! * of moves that were made without knowledge of each other, one that the other's side had made too is no news; one may
//!   win by the lifecycle's own rule ([`Lifecycle::wins`]), and with it what was built on it; otherwise the state is *disputed*, until somebody who may
//!   signs an event that chooses one.
//!
//! Events whose past is not whole yet wait. What does not count is kept and listed with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dinh_core::document::{Edit, EditError, ReadDoc, Value, View};
use dinh_core::path;
use serde::Serialize;

use crate::me::Me;

/// The kind of event that settles a dispute; its data names the event that holds under `choose`.
pub const RESOLVE: &str = "resolve";

/// Where the reader of a document says, among an event's data, what it found wrong with what the event names elsewhere in the
/// document (a vote that did not carry): then the event does not count. An event that says so of itself harms only itself.
pub const WRONG: &str = "wrong";

/// An event as it stands in a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Its key in the document.
    pub id: String,
    /// What happened.
    pub kind: String,
    /// The member who says so, in hex. That it is this member's device, every device has checked.
    pub by: String,
    /// When, by that device's clock: milliseconds since 1970. Advisory: order comes from `after`.
    pub at: i64,
    /// The events that its writer had seen and nothing there followed.
    pub after: Vec<String>,
    /// What belongs to it.
    pub data: BTreeMap<String, Value>,
}

impl Event {
    /// A text among its data, unless it is blank.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.data.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
    }
}

/// The map that holds a document's events.
pub const EVENTS: &str = "events";

/// Writes an event after those that nothing follows.
///
/// # Errors
/// If this device may not, or the document has no events.
pub fn write<'a>(
    edit: &mut Edit<'_>,
    me: &mut Me,
    kind: &str,
    after: &[String],
    data: impl IntoIterator<Item = (&'a str, Value)>,
) -> Result<String, EditError> {
    let mut fields: BTreeMap<String, Value> = data.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    fields.insert("kind".to_owned(), kind.into());
    fields.insert("by".to_owned(), me.key().into());
    fields.insert("at".to_owned(), Value::Timestamp(me.now));
    fields.insert("after".to_owned(), Value::List(after.iter().map(|id| id.as_str().into()).collect()));
    let id = me.new_id();
    edit.put(&path![EVENTS, id.as_str()], Value::Map(fields))?;
    Ok(id)
}

/// Writes an event after those that nothing follows, if it counts there. `events` are the document's, of one thread if it has
/// several; `annotate` says among their data what the reader of the document says ([`WRONG`], for instance).
///
/// # Errors
/// [`EditError::Refused`] with the reason if it would not count; if this device may not.
pub fn step<'a, L: Lifecycle>(
    edit: &mut Edit<'_>,
    me: &mut Me,
    kind: &str,
    data: impl IntoIterator<Item = (&'a str, Value)>,
    mut events: Vec<Event>,
    annotate: impl FnOnce(&mut [Event]),
) -> Result<String, EditError> {
    let data: Vec<(&str, Value)> = data.into_iter().collect();
    let after = fold::<L>(&events).heads;
    // Before all others by its id, so that it is found again.
    events.push(Event {
        id: String::new(),
        kind: kind.to_owned(),
        by: me.key(),
        at: me.now,
        after: after.clone(),
        data: data.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
    });
    annotate(&mut events);
    match fold::<L>(&events).not_counted.remove("") {
        Some(why) => Err(EditError::Refused(format!("{kind} would not count: {why}"))),
        None => write(edit, me, kind, &after, data),
    }
}

/// Reads a document's events; what is none (a newer app's) is passed over.
pub fn read<D: ReadDoc>(view: &View<'_, D>) -> Vec<Event> {
    let ids = view.keys(&path![EVENTS]).into_iter();
    ids.filter_map(|id| {
        let Value::Map(mut data) = view.get(&path![EVENTS, id.as_str()])? else { return None };
        let kind = data.remove("kind")?.as_str()?.to_owned();
        let by = data.remove("by")?.as_str()?.to_owned();
        let Some(Value::Timestamp(at)) = data.remove("at") else { return None };
        let Some(Value::List(after)) = data.remove("after") else { return None };
        let after = after.iter().map(|id| id.as_str().map(str::to_owned)).collect::<Option<_>>()?;
        Some(Event { id, kind, by, at, after, data })
    })
    .collect()
}

/// Why an event does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Illegal {
    /// The lifecycle has no such step from the state that it was made in.
    Step {
        /// The state, by name.
        from: String,
    },
    /// What must come with it is missing or wrong.
    Guard {
        /// What.
        what: String,
    },
    /// It was made in a dispute and does not settle it.
    Disputed,
    /// It settles no dispute, or chooses what is not disputed.
    NothingToSettle,
    /// Its past leads back to itself.
    Circular,
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { from } => write!(f, "that does not follow on {from}"),
            Self::Guard { what } => write!(f, "missing or wrong: {what}"),
            Self::Disputed => write!(f, "its state was disputed: settle that first"),
            Self::NothingToSettle => write!(f, "there is no such dispute"),
            Self::Circular => write!(f, "it names itself as its own past"),
        }
    }
}

/// What a legal event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<S> {
    /// It leads to this state.
    To(S),
    /// It leaves the state as it is.
    Note,
}

/// The rules of one kind of document.
pub trait Lifecycle {
    /// Its states.
    type State: Copy + Ord + fmt::Debug;

    /// Before the first event.
    const START: Self::State;

    /// What an event does in a state. `past` are the counting events that its writer had seen, in an order in which each
    /// comes after its own past.
    ///
    /// # Errors
    /// Why it is not legal there.
    fn step(from: Self::State, event: &Event, past: &[&Event]) -> Result<Step<Self::State>, Illegal>;

    /// Whether a move to the first state holds against one to the second that was made at the same time. So does then what
    /// was made after the first without knowing of the second.
    fn wins(first: Self::State, second: Self::State) -> bool;
}

/// Where a document stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status<S> {
    /// Here.
    In(S),
    /// Two or more moves contradict each other: these events, with where they lead.
    Disputed(Vec<(String, S)>),
}

impl<S: Copy> Status<S> {
    /// The state, unless it is disputed.
    pub fn state(&self) -> Option<S> {
        match self {
            Self::In(state) => Some(*state),
            Self::Disputed(_) => None,
        }
    }
}

/// Why something is not to be done with a document yet: sealed, issued, tabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum NotYet {
    /// Events contradict each other: somebody who may settles that first.
    Disputed,
    /// It is not where it is sealed from.
    State {
        /// Where it is, by name.
        is: String,
    },
    /// Something is not here yet on which its state rests: other devices may know more.
    Waiting,
    /// It is sealed.
    Sealed,
    /// The meeting is not open.
    Meeting,
    /// It has a number, or another document of the term has this one.
    Number,
}

impl fmt::Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disputed => write!(f, "its state is disputed: settle that first"),
            Self::State { is } => write!(f, "it is {is}"),
            Self::Waiting => write!(f, "not everything that was decided is here yet"),
            Self::Sealed => write!(f, "it is sealed already"),
            Self::Meeting => write!(f, "the meeting is not open"),
            Self::Number => write!(f, "the number is taken, or it has one"),
        }
    }
}

impl std::error::Error for NotYet {}

/// What a document's events add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Folded<S> {
    /// Where it stands.
    pub status: Status<S>,
    /// Events that count, each after its own past.
    pub counted: Vec<String>,
    /// Events that do not, and why.
    pub not_counted: BTreeMap<String, Illegal>,
    /// Events whose past is not here yet.
    pub waiting: BTreeSet<String>,
    /// What a new event is made after.
    pub heads: Vec<String>,
}

impl<S: Copy + fmt::Debug> Folded<S> {
    /// Whether it stands where something is done that is done in these states.
    ///
    /// # Errors
    /// Why not.
    pub fn stands(&self, from: impl Fn(S) -> bool) -> Result<(), NotYet> {
        match &self.status {
            Status::Disputed(_) => Err(NotYet::Disputed),
            Status::In(state) if !from(*state) => Err(NotYet::State { is: format!("{state:?}") }),
            Status::In(_) if !self.waiting.is_empty() => Err(NotYet::Waiting),
            Status::In(_) => Ok(()),
        }
    }
}

/// One event that counts.
struct Counted<'a, S> {
    event: &'a Event,
    /// If it moves: where to. A settlement moves to where the chosen event led.
    to: Option<S>,
    /// Everything before it, counting or not.
    past: BTreeSet<&'a str>,
}

/// Folds a document's events.
pub fn fold<L: Lifecycle>(events: &[Event]) -> Folded<L::State> {
    let by_id: BTreeMap<&str, &Event> = events.iter().map(|e| (e.id.as_str(), e)).collect();
    let (order, circular, waiting) = in_order(&by_id);
    let mut counted: BTreeMap<&str, Counted<'_, L::State>> = BTreeMap::new();
    let mut counted_order: Vec<&str> = Vec::new();
    let mut pasts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut not_counted: BTreeMap<String, Illegal> =
        circular.into_iter().map(|id| (id.to_owned(), Illegal::Circular)).collect();
    for id in order {
        let event = by_id[id];
        let mut past: BTreeSet<&str> = BTreeSet::new();
        for parent in &event.after {
            past.insert(parent);
            past.extend(pasts.get(parent.as_str()).into_iter().flatten());
        }
        let known: Vec<&str> = counted_order.iter().copied().filter(|id| past.contains(id)).collect();
        let before = status::<L>(&counted, &known);
        let seen: Vec<&Event> = known.iter().map(|id| counted[id].event).collect();
        match judge::<L>(&before, event, &seen) {
            Ok(step) => {
                let to = if let Step::To(state) = step { Some(state) } else { None };
                counted.insert(id, Counted { event, to, past: past.clone() });
                counted_order.push(id);
            }
            Err(why) => {
                not_counted.insert(id.to_owned(), why);
            }
        }
        pasts.insert(id, past);
    }
    let followed: BTreeSet<&str> = events.iter().flat_map(|e| &e.after).map(String::as_str).collect();
    let is_head = |id: &&&str| !followed.contains(**id);
    let heads = pasts.keys().filter(is_head).map(|id| (*id).to_owned()).collect();
    Folded {
        status: status::<L>(&counted, &counted_order),
        counted: counted_order.into_iter().map(str::to_owned).collect(),
        not_counted,
        waiting: waiting.into_iter().map(str::to_owned).collect(),
        heads,
    }
}

fn judge<L: Lifecycle>(
    before: &Status<L::State>,
    event: &Event,
    past: &[&Event],
) -> Result<Step<L::State>, Illegal> {
    match before {
        Status::In(_) if event.kind == RESOLVE => Err(Illegal::NothingToSettle),
        Status::In(state) => {
            let step = L::step(*state, event, past)?;
            event.text(WRONG).map_or(Ok(step), |what| Err(Illegal::Guard { what: what.to_owned() }))
        }
        Status::Disputed(among) if event.kind == RESOLVE => {
            let chosen = among.iter().find(|(id, _)| event.text("choose") == Some(id));
            chosen.map(|(_, state)| Step::To(*state)).ok_or(Illegal::NothingToSettle)
        }
        Status::Disputed(_) => Err(Illegal::Disputed),
    }
}

/// Where some counting events lead. They are closed: with each its counting past is among them.
fn status<L: Lifecycle>(counted: &BTreeMap<&str, Counted<'_, L::State>>, among: &[&str]) -> Status<L::State> {
    let moves: Vec<(&str, L::State)> = among.iter().filter_map(|id| Some((*id, counted[id].to?))).collect();
    let followed = |id: &str| moves.iter().any(|(other, _)| counted[other].past.contains(id));
    let last: Vec<(&str, L::State)> = moves.iter().copied().filter(|(id, _)| !followed(id)).collect();
    // What the other side had done too on its way is no news.
    let passed = |state: L::State, by: &str| {
        moves.iter().any(|(other, to)| *to == state && counted[by].past.contains(other))
    };
    // What won goes on winning: who had won needs not have heard of the other to go on.
    let won_before = |by: &str, id: &str, state: L::State| {
        let only_there = |m: &str| counted[by].past.contains(m) && !counted[id].past.contains(m);
        moves.iter().any(|(m, to)| only_there(m) && L::wins(*to, state))
    };
    let stands = |(id, state): &(&str, L::State)| {
        !last.iter().any(|(other, to)| {
            other != id
                && to != state
                && !L::wins(*state, *to)
                && (L::wins(*to, *state) || won_before(other, id, *state) || passed(*state, other))
        })
    };
    let mut left: Vec<(String, L::State)> =
        last.iter().filter(|found| stands(found)).map(|(id, state)| ((*id).to_owned(), *state)).collect();
    left.sort();
    let states: BTreeSet<L::State> = left.iter().map(|(_, state)| *state).collect();
    match (states.first(), states.len()) {
        (None, _) if last.is_empty() => Status::In(L::START),
        (Some(state), 1) => Status::In(*state),
        // Each side is passed by the other: they went round in opposite directions.
        (None, _) => Status::Disputed(last.iter().map(|(id, state)| ((*id).to_owned(), *state)).collect()),
        _ => Status::Disputed(left),
    }
}

/// Events in an order in which each comes after its past, by id where that leaves a choice; those that lead back to
/// themselves; those of which something before is missing.
fn in_order<'a>(
    by_id: &BTreeMap<&'a str, &'a Event>,
) -> (Vec<&'a str>, BTreeSet<&'a str>, BTreeSet<&'a str>) {
    let mut missing: BTreeSet<&str> = BTreeSet::new();
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut followers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, event) in by_id {
        let after: BTreeSet<&str> = event.after.iter().map(String::as_str).collect();
        open.insert(id, after.len());
        for parent in after {
            match by_id.get_key_value(parent) {
                Some((parent, _)) => followers.entry(parent).or_default().push(id),
                None => {
                    missing.insert(id);
                }
            }
        }
    }
    let mut due: BTreeSet<&str> = open.iter().filter(|(_, n)| **n == 0).map(|(id, _)| *id).collect();
    let mut order = Vec::new();
    while let Some(id) = due.pop_first() {
        order.push(id);
        for follower in followers.get(id).into_iter().flatten() {
            if let Some(n) = open.get_mut(follower) {
                *n -= 1;
                if *n == 0 {
                    due.insert(follower);
                }
            }
        }
    }
    // Whatever follows what waits, waits.
    let mut queue: Vec<&str> = missing.iter().copied().collect();
    while let Some(id) = queue.pop() {
        for follower in followers.get(id).into_iter().flatten() {
            if missing.insert(follower) {
                queue.push(follower);
            }
        }
    }
    let placed: BTreeSet<&str> = order.iter().copied().collect();
    let circular = by_id.keys().copied().filter(|id| !placed.contains(id) && !missing.contains(id)).collect();
    (order, circular, missing)
}
