//! What the tables of all lifecycles have in common: a walk to a state, an arrow, a step that is none.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;

use dinh_core::document::Value;
use dinh_core::replica::ReplicaError;
use dinh_model::lifecycle::{Folded, Illegal, RESOLVE, Status};
use dinh_proto::charter::record::Role;
use dinh_proto::ids::DocId;

use crate::village::{RECORDER, SECRETARY, Village};

pub(crate) const DEPUTY: usize = 2;
pub(crate) const COMMITTEE: usize = 3;
pub(crate) const MEMBER: usize = 4;
pub(crate) const REVIEWER: usize = 5;
/// A member whose app does not know the rules.
pub(crate) const LENIENT: usize = 6;
pub(crate) const OTHER_REVIEWER: usize = 7;
/// A member whose phone is away while things happen.
pub(crate) const AWAY: usize = 8;
pub(crate) const PHONES: usize = 9;

pub(crate) type Data = Vec<(&'static str, Value)>;

/// A document, and the thread in it if it has threads.
#[derive(Clone)]
pub(crate) struct Place {
    pub doc: DocId,
    pub thread: String,
}

/// An arrow: from, kind of event, to, and who may.
pub(crate) type Arrow<S> = (S, &'static str, S, usize);

/// How a lifecycle is driven on phones.
pub(crate) trait Life {
    type State: Copy + Ord + Debug + 'static;
    /// The arrows of 2.11.
    const ARROWS: &'static [Arrow<Self::State>];
    /// Kinds that are noted and move nothing, and where.
    const NOTES: &'static [(&'static str, &'static [Self::State])];
    const START: Self::State;

    fn create(v: &mut Village) -> Place;
    /// What belongs to an event of this kind, complete. May write what it names.
    fn data(v: &mut Village, at: &Place, kind: &str) -> Data;
    fn write(v: &mut Village, i: usize, at: &Place, kind: &str, data: Data) -> Result<String, ReplicaError>;
    fn life(v: &mut Village, i: usize, at: &Place) -> Folded<Self::State>;
}

pub(crate) fn village() -> Village {
    let roles = [
        Role::Member,
        Role::Deputy,
        Role::Committee,
        Role::Member,
        Role::Reviewer,
        Role::Member,
        Role::Reviewer,
        Role::Member,
    ];
    debug_assert_eq!(roles.len() + 1, PHONES);
    Village::with_lenient(&roles, &[LENIENT])
}

/// A step that must succeed, with everything that belongs to it.
pub(crate) fn step<L: Life>(v: &mut Village, i: usize, at: &Place, kind: &str) -> String {
    let data = L::data(v, at, kind);
    L::write(v, i, at, kind, data).unwrap()
}

/// The arrows that lead to a state, fewest first.
pub(crate) fn path_to<L: Life>(state: L::State) -> Vec<Arrow<L::State>> {
    let mut reached: BTreeMap<L::State, Vec<Arrow<L::State>>> = BTreeMap::from([(L::START, Vec::new())]);
    let mut open = VecDeque::from([L::START]);
    while let Some(from) = open.pop_front() {
        for arrow in L::ARROWS.iter().filter(|a| a.0 == from) {
            if !reached.contains_key(&arrow.2) {
                let path = reached[&from].iter().chain([arrow]).copied().collect();
                reached.insert(arrow.2, path);
                open.push_back(arrow.2);
            }
        }
    }
    reached.remove(&state).unwrap()
}

/// A new document, brought to a state by those who may.
pub(crate) fn at_state<L: Life>(v: &mut Village, state: L::State) -> Place {
    let at = L::create(v);
    for (_, kind, to, by) in path_to::<L>(state) {
        v.sync();
        step::<L>(v, by, &at, kind);
        assert_eq!(L::life(v, by, &at).status, Status::In(to), "on the way to {state:?}");
    }
    v.sync();
    at
}

fn states<L: Life>() -> Vec<L::State> {
    let mut all: Vec<_> = L::ARROWS.iter().flat_map(|a| [a.0, a.2]).chain([L::START]).collect();
    all.sort();
    all.dedup();
    all
}

/// Each arrow, performed by the one who may; seen by who is here, and by who comes back.
pub(crate) fn every_arrow<L: Life>() {
    for (from, kind, to, by) in L::ARROWS {
        let mut v = village();
        let at = at_state::<L>(&mut v, *from);
        v.leave(AWAY);
        step::<L>(&mut v, *by, &at, kind);
        v.sync();
        assert_eq!(L::life(&mut v, AWAY, &at).status, Status::In(*from), "{from:?} {kind}: who is away");
        let others: Vec<usize> = (0..PHONES).filter(|i| *i != AWAY).collect();
        for i in others {
            assert_eq!(L::life(&mut v, i, &at).status, Status::In(*to), "{from:?} {kind}: phone {i}");
        }
        v.come_back(AWAY);
        v.sync();
        let found = L::life(&mut v, AWAY, &at);
        assert_eq!(found.status, Status::In(*to), "{from:?} {kind}: who came back");
        assert!(found.not_counted.is_empty() && found.waiting.is_empty());
    }
    println!("{} arrows, each on {PHONES} phones of which one was away", L::ARROWS.len());
}

/// Everything that is no arrow: kept, not counted, with the reason, on all phones. `guarded`: kinds that lack something from
/// some states rather than not to follow there.
pub(crate) fn nothing_else_is_legal<L: Life>(who_writes: impl Fn(&str) -> usize, but: &[(L::State, &str)]) {
    let mut kinds: Vec<&str> = L::ARROWS.iter().map(|a| a.1).chain(L::NOTES.iter().map(|n| n.0)).collect();
    kinds.extend([RESOLVE, "no_such_kind"]);
    kinds.sort();
    kinds.dedup();
    let all = states::<L>();
    let (mut illegal, mut noted) = (0, 0);
    for state in &all {
        let mut v = village();
        let at = at_state::<L>(&mut v, *state);
        v.leave(AWAY);
        let mut expected = BTreeMap::new();
        let mut last = None;
        for kind in &kinds {
            if L::ARROWS.iter().any(|a| a.0 == *state && a.1 == *kind) || but.contains(&(*state, kind)) {
                continue;
            }
            // Who writes has seen what was written before.
            if last.replace(who_writes(kind)).is_some_and(|i| i != who_writes(kind)) {
                v.sync();
            }
            let id = step::<L>(&mut v, who_writes(kind), &at, kind);
            if L::NOTES.iter().any(|(note, states)| note == kind && states.contains(state)) {
                noted += 1;
            } else {
                let step = Illegal::Step { from: format!("{state:?}") };
                expected.insert(id, if *kind == RESOLVE { Illegal::NothingToSettle } else { step });
            }
        }
        v.come_back(AWAY);
        v.sync();
        for i in 0..PHONES {
            let found = L::life(&mut v, i, &at);
            assert_eq!(found.status, Status::In(*state), "phone {i}");
            assert_eq!(found.not_counted, expected, "{state:?} on phone {i}");
        }
        illegal += expected.len();
    }
    println!(
        "{} states × {} kinds: {illegal} steps that are none, 0 counted; {noted} notes that move nothing",
        all.len(),
        kinds.len()
    );
}

/// An event that lacks something, or has it wrong: kept, not counted, with the reason, on all phones; then the whole one
/// counts.
pub(crate) struct Lacking<S> {
    pub from: S,
    pub kind: &'static str,
    pub by: usize,
    /// Changes a whole event's data.
    pub spoil: fn(&mut Data),
    pub what: &'static str,
}

pub(crate) fn drop_key(data: &mut Data, key: &str) {
    let before = data.len();
    data.retain(|(found, _)| *found != key);
    assert_eq!(data.len() + 1, before, "{key}");
}

pub(crate) fn set_key(data: &mut Data, key: &'static str, value: impl Into<Value>) {
    drop_key(data, key);
    data.push((key, value.into()));
}

pub(crate) fn every_guard<L: Life>(table: &[Lacking<L::State>]) {
    for Lacking { from, kind, by, spoil, what } in table {
        let mut v = village();
        let at = at_state::<L>(&mut v, *from);
        v.leave(AWAY);
        let mut data = L::data(&mut v, &at, kind);
        spoil(&mut data);
        let id = L::write(&mut v, *by, &at, kind, data).unwrap();
        v.sync();
        v.come_back(AWAY);
        v.sync();
        for i in 0..PHONES {
            let found = L::life(&mut v, i, &at);
            assert_eq!(found.status, Status::In(*from), "{kind} without {what}: phone {i}");
            let why = Illegal::Guard { what: (*what).to_owned() };
            assert_eq!(found.not_counted, BTreeMap::from([(id.clone(), why)]), "{kind}: phone {i}");
        }
        let arrow = L::ARROWS.iter().find(|a| a.0 == *from && a.1 == *kind);
        if let Some((_, _, to, by)) = arrow {
            step::<L>(&mut v, *by, &at, kind);
            v.sync();
            assert_eq!(L::life(&mut v, AWAY, &at).status, Status::In(*to), "{kind} with {what}");
        }
    }
    println!("{} guards violated, 0 counted", table.len());
}

/// Who may not: refused where it is made; made by an app without the rules, it is kept from everybody else. `table`: the state,
/// the kind, who is refused.
pub(crate) fn every_wrong_person<L: Life>(table: &[(L::State, &str, &[usize])]) {
    let (mut refused, mut forged) = (0, 0);
    for (from, kind, who) in table {
        let mut v = village();
        let at = at_state::<L>(&mut v, *from);
        let data = L::data(&mut v, &at, kind);
        v.sync();
        for i in who.iter().filter(|i| **i != LENIENT) {
            let result = L::write(&mut v, *i, &at, kind, data.clone());
            assert!(matches!(result, Err(ReplicaError::Denied(_))), "{kind} by {i}: {result:?}");
            refused += 1;
        }
        if who.contains(&LENIENT) {
            L::write(&mut v, LENIENT, &at, kind, data).unwrap();
            v.sync();
            for i in (0..PHONES).filter(|i| *i != LENIENT) {
                let found = L::life(&mut v, i, &at);
                assert_eq!(found.status, Status::In(*from), "{kind} forged: phone {i}");
                assert!(found.not_counted.is_empty(), "it is not even shown");
                let denied = v.phones[i].denied_runs(&at.doc).unwrap();
                assert_eq!(denied.len(), 1, "{kind} forged: phone {i}");
                assert_eq!(denied[0].author.device, v.phones[LENIENT].device());
            }
            forged += 1;
        }
    }
    println!("{refused} steps by the wrong person refused, {forged} forged, 0 counted");
}

/// Steps by some, and one by somebody who is away from them; what it comes to, everywhere.
pub(crate) struct Race<S: 'static> {
    pub from: S,
    pub one: &'static [(usize, &'static str)],
    pub other: (usize, &'static str),
    /// One state, or those between which it is disputed.
    pub to: &'static [S],
}

/// Runs a race: all phones say the same. Returns the place and the events that ended it on both sides.
pub(crate) fn race<L: Life>(v: &mut Village, race: &Race<L::State>) -> (Place, [String; 2]) {
    let at = at_state::<L>(v, race.from);
    let (away, kind) = race.other;
    v.leave(away);
    let mut first = String::new();
    for (i, kind) in race.one {
        assert_ne!(*i, away);
        first = step::<L>(v, *i, &at, kind);
        v.sync();
    }
    let second = step::<L>(v, away, &at, kind);
    v.come_back(away);
    v.sync();
    let found = all_say::<L>(v, &at);
    match (&found, race.to) {
        (Status::In(state), [expected]) => assert_eq!(state, expected, "{:?} and {kind}", race.one),
        (Status::Disputed(among), [_, _, ..]) => {
            let mut states: Vec<_> = among.iter().map(|(_, state)| *state).collect();
            states.sort();
            assert_eq!(states, race.to, "{:?} and {kind}", race.one);
        }
        _ => panic!("{:?} and {kind}: {found:?}", race.one),
    }
    (at, [first, second])
}

/// All of a table. Who may settles what is disputed, each way once; nobody else does, and nothing goes on before.
pub(crate) fn races<L: Life>(table: &[Race<L::State>], resolver: usize, nobody: &[usize]) {
    let (mut settled, mut disputed) = (0, 0);
    for (n, row) in table.iter().enumerate() {
        let mut v = village();
        let (at, ends) = race::<L>(&mut v, row);
        if row.to.len() == 1 {
            settled += 1;
            continue;
        }
        disputed += 1;
        let choose = ends[n % 2].clone();
        let resolve = || vec![("choose", Value::from(choose.as_str()))];
        for i in nobody {
            let refused = L::write(&mut v, *i, &at, RESOLVE, resolve());
            assert!(matches!(refused, Err(ReplicaError::Denied(_))), "settled by {i}: {refused:?}");
        }
        let on = step::<L>(&mut v, row.one[0].0, &at, row.one[0].1);
        let nothing = L::write(&mut v, resolver, &at, RESOLVE, vec![("choose", "no such".into())]).unwrap();
        v.sync();
        for i in 0..PHONES {
            let found = L::life(&mut v, i, &at);
            assert!(matches!(found.status, Status::Disputed(_)), "phone {i}");
            assert_eq!(found.not_counted[&on], Illegal::Disputed, "phone {i}");
            assert_eq!(found.not_counted[&nothing], Illegal::NothingToSettle, "phone {i}");
        }
        let Status::Disputed(among) = L::life(&mut v, AWAY, &at).status else { panic!() };
        let chosen = among.iter().find(|(id, _)| *id == choose).unwrap().1;
        v.leave(AWAY);
        L::write(&mut v, resolver, &at, RESOLVE, resolve()).unwrap();
        v.sync();
        v.come_back(AWAY);
        v.sync();
        assert_eq!(all_say::<L>(&mut v, &at), Status::In(chosen), "{:?}: {chosen:?} was chosen", row.one);
    }
    println!("{settled} races with one end, {disputed} disputed until who may settled them");
}

/// What all phones say of a state.
pub(crate) fn all_say<L: Life>(v: &mut Village, at: &Place) -> Status<L::State> {
    let said = L::life(v, SECRETARY, at);
    for i in 1..PHONES {
        assert_eq!(L::life(v, i, at), said, "phone {i}");
    }
    said.status
}

pub(crate) const OFFICERS_ONLY: &[usize] = &[RECORDER, COMMITTEE, MEMBER, LENIENT];
