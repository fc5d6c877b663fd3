//! The fold of a resolution's events: one answer for a set of events, whatever the order; what counts goes on counting.

use std::collections::BTreeSet;

use dinh_core::document::Value;
use dinh_model::feedback::state::FeedbackLife;
use dinh_model::lifecycle::{Event, Folded, Illegal, Lifecycle, RESOLVE, Status, Step, fold};
use dinh_model::minutes::state::MinutesLife;
use dinh_model::resolution::state::{ResolutionLife, State};
use proptest::prelude::*;

/// Numbers as numbers.
fn value(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::from(text), Value::Uint)
}

fn event(id: &str, kind: &str, after: &[&str], data: &[(&str, &str)]) -> Event {
    Event {
        id: id.to_owned(),
        kind: kind.to_owned(),
        by: "00".to_owned(),
        at: 0,
        after: after.iter().map(|s| (*s).to_owned()).collect(),
        data: data.iter().map(|(k, v)| ((*k).to_owned(), value(v))).collect(),
    }
}

fn folded(events: &[Event]) -> Folded<State> {
    fold::<ResolutionLife>(events)
}

/// From the draft to the debate: `a` to `c`.
fn tabled() -> Vec<Event> {
    vec![
        event("a", "committee_review", &[], &[]),
        event("b", "consulting", &["a"], &[("heads", "h1")]),
        event("c", "tabled", &["b"], &[("heads", "h1"), ("meeting", "m")]),
    ]
}

fn adopted(id: &str, after: &[&str], heads: &str) -> Event {
    voted(id, "adopted", after, heads, "3")
}

/// Of five, counted by another one.
fn voted(id: &str, kind: &str, after: &[&str], heads: &str, yes: &str) -> Event {
    let threshold = ("threshold", "more_than_half");
    let count =
        [("heads", heads), ("vote", "v"), ("base", "5"), ("yes", yes), threshold, ("counted_by", "m")];
    event(id, kind, after, &count)
}

#[test]
fn a_vote_is_on_what_was_debated_last() {
    let mut events = tabled();
    events.push(event("d", "amended_on_floor", &["c"], &[("heads", "h2")]));
    let mut old = events.clone();
    old.push(adopted("e", &["d"], "h1"));
    let found = folded(&old);
    assert_eq!(found.status, Status::In(State::Tabled));
    assert!(matches!(found.not_counted["e"], Illegal::Guard { .. }));
    events.push(adopted("e", &["d"], "h2"));
    assert_eq!(folded(&events).status, Status::In(State::Adopted));
    // One who has not heard of the amendment votes on what it knows: that counts where it was made.
    let mut concurrent = tabled();
    concurrent.push(event("d", "amended_on_floor", &["c"], &[("heads", "h2")]));
    concurrent.push(adopted("e", &["c"], "h1"));
    assert_eq!(folded(&concurrent).status, Status::In(State::Adopted));
}

#[test]
fn a_vote_holds_against_a_withdrawal_that_did_not_know_of_it() {
    let mut events = tabled();
    events.push(adopted("d", &["c"], "h1"));
    events.push(event("w", "withdrawn", &["b"], &[]));
    let found = folded(&events);
    assert_eq!(found.status, Status::In(State::Adopted));
    assert!(found.not_counted.is_empty());
    assert_eq!(found.heads, ["d", "w"]);
}

#[test]
fn contradictions_are_disputed_until_one_chooses() {
    let mut events = tabled();
    events.push(event("x", "deferred", &["c"], &[]));
    events.push(voted("y", "rejected", &["c"], "h1", "2"));
    assert_eq!(folded(&events).status, Status::In(State::Rejected), "a vote holds");
    events.pop();
    events.push(adopted("y", &["c"], "h1"));
    events.push(voted("z", "rejected", &["c"], "h1", "2"));
    let found = folded(&events);
    assert_eq!(
        found.status,
        Status::Disputed(vec![("y".into(), State::Adopted), ("z".into(), State::Rejected)])
    );
    // Nothing goes on before it is settled.
    events.push(event("i", "issued", &["x", "y", "z"], &[("number", "23-NQ"), ("date", "2026-12-05")]));
    assert_eq!(folded(&events).not_counted["i"], Illegal::Disputed);
    events.push(event("r", RESOLVE, &["x", "y", "z"], &[("choose", "y")]));
    assert_eq!(folded(&events).status, Status::In(State::Adopted));
    events.push(event("j", "issued", &["r"], &[("number", "23-NQ"), ("date", "2026-12-05")]));
    assert_eq!(folded(&events).status, Status::In(State::Issued));
    // Two who settle it differently, each alone, dispute again.
    events.push(event("q", RESOLVE, &["x", "y", "z"], &[("choose", "z")]));
    let found = folded(&events);
    assert_eq!(found.status, Status::In(State::Issued), "it went on from the first");
    events.retain(|e| e.id != "j");
    assert!(matches!(folded(&events).status, Status::Disputed(_)));
    assert_eq!(folded(&[event("r", RESOLVE, &[], &[])]).not_counted["r"], Illegal::NothingToSettle);
}

#[test]
fn the_same_step_by_two_is_one_step() {
    let mut events = tabled();
    events.push(event("b2", "consulting", &["a"], &[("heads", "h1")]));
    assert_eq!(folded(&events).status, Status::In(State::Tabled), "the other has not heard that it went on");
}

#[test]
fn what_lacks_its_past_waits_and_circles_do_not_count() {
    let events = [
        event("a", "committee_review", &["b"], &[]),
        event("b", "committee_review", &["a"], &[]),
        event("c", "drafting", &["gone"], &[]),
        event("d", "drafting", &["c"], &[]),
        event("e", "drafting", &["e"], &[]),
    ];
    let found = folded(&events);
    assert_eq!(found.status, Status::In(State::Drafting));
    assert_eq!(found.waiting, BTreeSet::from(["c".to_owned(), "d".to_owned()]));
    assert_eq!(found.not_counted.len(), 3);
    assert!(found.counted.is_empty() && found.heads.is_empty());
}

/// With all that any event needs.
fn whole(id: &str, kind: &str, after: &[&str]) -> Event {
    let vote = [("yes", if kind == "rejected" { "2" } else { "3" }), ("base", "5"), ("counted_by", "m")];
    let keys = ["heads", "meeting", "vote", "number", "date", "by_document", "to", "reason", "due", "time"];
    let texts = keys.into_iter().chain(["place", "agenda", "recorder"]).map(|key| (key, "x"));
    let data: Vec<_> = vote.into_iter().chain(texts).chain([("threshold", "more_than_half")]).collect();
    let mut event = event(id, kind, after, &data);
    event.data.insert("by_author".to_owned(), Value::Bool(true));
    event
}

/// Of all pairs of steps from all states that one rule settles by itself: whatever the side that won does next, not knowing
/// of the other, it stays settled. Returns how many were looked at.
fn goes_on_winning<L: Lifecycle>(kinds: &[&str]) -> usize {
    type Moves<S> = Vec<(String, S)>;
    let moves = |path: &[Event]| -> Moves<L::State> {
        let Status::In(from) = fold::<L>(path).status else { panic!("disputed") };
        let past: Vec<&Event> = path.iter().collect();
        let step = |kind: &&str| match L::step(from, &whole("", kind, &[]), &past) {
            Ok(Step::To(to)) => Some(((*kind).to_owned(), to)),
            _ => None,
        };
        kinds.iter().filter_map(step).collect()
    };
    let then = |path: &[Event], kind: &str| {
        let last = path.last().map(|e| e.id.as_str());
        let id = format!("{:02}", path.len());
        [path, &[whole(&id, kind, last.as_slice())]].concat()
    };
    let mut seen = 0;
    let mut reached = BTreeSet::from([L::START]);
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let here = moves(&path);
        for (kind, to) in &here {
            if reached.insert(*to) {
                open.push(then(&path, kind));
            }
            for (other, _) in here.iter().filter(|(_, state)| state != to) {
                let last = path.last().map(|e| e.id.as_str());
                let against = whole("zz", other, last.as_slice());
                let mut sides = vec![then(&path, kind)];
                let mut depth = 0;
                while let (Some(side), true) = (sides.pop(), depth < 200) {
                    let status = fold::<L>(&[&side[..], std::slice::from_ref(&against)].concat()).status;
                    let Status::In(state) = status else {
                        // From the start it is disputed; later it must not be.
                        assert_eq!(side.len(), path.len() + 1, "{other} against {side:#?}");
                        continue;
                    };
                    seen += 1;
                    depth += 1;
                    if side.len() == path.len() + 1 && state != *to {
                        continue;
                    }
                    if side.len() < path.len() + 6 {
                        sides.extend(moves(&side).iter().map(|(kind, _)| then(&side, kind)));
                    }
                }
            }
        }
    }
    seen
}

#[test]
fn what_won_goes_on_winning() {
    let minutes = [
        "convened",
        "postponed",
        "cancelled",
        "open",
        "read_back",
        "correction",
        "adopted",
        "signed",
        "archived",
    ];
    let feedback = [
        "acknowledged",
        "in_progress",
        "forwarded",
        "answered",
        "closed",
        "declined",
        "reopened",
        "withdrawn",
    ];
    let resolution = [&KINDS[..13], &["revoked"]].concat();
    let seen = [
        goes_on_winning::<MinutesLife>(&minutes),
        goes_on_winning::<ResolutionLife>(&resolution),
        goes_on_winning::<FeedbackLife>(&feedback),
    ];
    assert!(seen.iter().all(|n| *n > 10), "{seen:?}");
    println!("{seen:?} steps by who had won, 0 disputed again");
}

const KINDS: [&str; 14] = [
    "committee_review",
    "consulting",
    "drafting",
    "tabled",
    "amended_on_floor",
    "adopted",
    "rejected",
    "deferred",
    "withdrawn",
    "issued",
    "in_force",
    "completed",
    "superseded",
    RESOLVE,
];

/// What phones wrote, some of them apart from the others: each event after what its writer had seen.
fn histories() -> impl Strategy<Value = Vec<Event>> {
    let act = (0..4usize, 0..KINDS.len(), 0..3u8, any::<bool>());
    proptest::collection::vec(act, 1..40).prop_map(|acts| {
        let mut events: Vec<Event> = Vec::new();
        let mut seen: [BTreeSet<String>; 4] = Default::default();
        for (n, (phone, kind, heads, meet)) in acts.into_iter().enumerate() {
            if meet {
                let other = (phone + 1) % 4;
                let both: BTreeSet<String> = seen[phone].union(&seen[other]).cloned().collect();
                (seen[phone], seen[other]) = (both.clone(), both);
            }
            let known: Vec<Event> = events.iter().filter(|e| seen[phone].contains(&e.id)).cloned().collect();
            let now = folded(&known);
            let choose = match &now.status {
                Status::Disputed(among) => among[0].0.clone(),
                Status::In(_) => String::new(),
            };
            // Half of the time a step that follows.
            let follows = match now.status.state() {
                Some(State::Drafting) => "committee_review",
                Some(State::CommitteeReview) => "consulting",
                Some(State::Consulting) => "tabled",
                Some(State::Tabled) => "adopted",
                Some(State::Adopted) => "issued",
                Some(State::Issued) => "in_force",
                None => RESOLVE,
                _ => "drafting",
            };
            let kind = if n % 2 == 0 { follows } else { KINDS[kind] };
            let heads = format!("h{heads}");
            let data = [
                ("heads", heads.as_str()),
                ("meeting", "m"),
                ("vote", "v"),
                ("base", "5"),
                ("yes", if kind == "rejected" { "2" } else { "3" }),
                ("threshold", "more_than_half"),
                ("counted_by", "m"),
                ("number", "1."),
                ("date", "d"),
                ("by_document", "x"),
                ("choose", choose.as_str()),
            ];
            let after: Vec<&str> = now.heads.iter().map(String::as_str).collect();
            let id = format!("{:03}{phone}", (n * 37) % 1000);
            events.push(event(&id, kind, &after, &data));
            seen[phone].insert(id);
        }
        events
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 2_000 }))]

    #[test]
    fn any_order_gives_one_answer(events in histories(), seed in any::<u64>()) {
        let expected = folded(&events);
        let mut shuffled = events.clone();
        let mut state = seed | 1;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            shuffled.swap(i, (state >> 33) as usize % (i + 1));
        }
        prop_assert_eq!(folded(&shuffled), expected);
    }

    #[test]
    fn what_counted_where_it_was_made_goes_on_counting(events in histories()) {
        let all = folded(&events);
        prop_assert_eq!(all.waiting.len(), 0);
        let counted: BTreeSet<&String> = all.counted.iter().collect();
        // With nothing but its own past, each event has the same fate.
        for e in &events {
            let mut past: BTreeSet<&str> = BTreeSet::new();
            let mut open = vec![e.id.as_str()];
            while let Some(id) = open.pop() {
                if past.insert(id) {
                    let found = events.iter().find(|e| e.id == id);
                    open.extend(found.iter().flat_map(|e| &e.after).map(String::as_str));
                }
            }
            let part: Vec<Event> = events.iter().filter(|e| past.contains(e.id.as_str())).cloned().collect();
            prop_assert_eq!(folded(&part).counted.contains(&e.id), counted.contains(&e.id));
        }
    }

    #[test]
    fn nonsense_breaks_nothing(links in proptest::collection::vec((0..12u8, proptest::collection::vec(0..14u8, 0..4), 0..KINDS.len()), 0..16)) {
        let events: Vec<Event> = links
            .iter()
            .map(|(id, after, kind)| {
                let after: Vec<String> = after.iter().map(|n| format!("{n}")).collect();
                event(&format!("{id}"), KINDS[*kind], &after.iter().map(String::as_str).collect::<Vec<_>>(), &[])
            })
            .collect();
        let found = folded(&events);
        let ids: BTreeSet<&String> = events.iter().map(|e| &e.id).collect();
        prop_assert_eq!(found.counted.len() + found.not_counted.len() + found.waiting.len(), ids.len());
    }
}
