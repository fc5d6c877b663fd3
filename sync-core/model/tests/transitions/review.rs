//! Reviews: `none → requested → commented | returned | cleared`, round by round. The outcome of a round is a register (2.8), so a
//! reviewer may say another one later.

use dinh_core::document::Value;
use dinh_core::replica::ReplicaError;
use dinh_model::lifecycle::{Folded, Illegal, Status};
use dinh_model::review::state::State;
use dinh_model::review::{self, SCHEMA};
use dinh_proto::charter::record::Writers;

use crate::common::*;
use crate::village::{RECORDER, SECRETARY, Village};
use State::{Cleared, Commented, Requested, Returned};

pub(crate) struct W;

impl Life for W {
    type State = State;
    const START: State = State::None;
    /// All in round 1, but where a second one is asked for.
    const ARROWS: &'static [Arrow<State>] = &[
        (State::None, "requested", Requested(1), COMMITTEE),
        (Requested(1), "commented", Commented(1), REVIEWER),
        (Requested(1), "returned", Returned(1), REVIEWER),
        (Requested(1), "cleared", Cleared(1), REVIEWER),
        (Requested(1), "requested", Requested(2), SECRETARY),
        (Commented(1), "requested", Requested(2), SECRETARY),
        (Returned(1), "requested", Requested(2), COMMITTEE),
        (Cleared(1), "requested", Requested(2), COMMITTEE),
        (Commented(1), "cleared", Cleared(1), REVIEWER),
        (Commented(1), "returned", Returned(1), REVIEWER),
        (Returned(1), "cleared", Cleared(1), REVIEWER),
        (Returned(1), "commented", Commented(1), REVIEWER),
        (Cleared(1), "commented", Commented(1), REVIEWER),
        (Cleared(1), "returned", Returned(1), REVIEWER),
        (Requested(2), "commented", Commented(2), REVIEWER),
        (Requested(2), "returned", Returned(2), REVIEWER),
        (Requested(2), "cleared", Cleared(2), REVIEWER),
    ];
    const NOTES: &'static [(&'static str, &'static [State])] = &[];

    fn create(v: &mut Village) -> Place {
        let doc = v.create(SECRETARY, Writers::All, &SCHEMA);
        v.act(SECRETARY, &doc, |e, _| review::create(e, "dnhdoc1"));
        v.sync();
        Place { doc, thread: String::new() }
    }

    fn data(v: &mut Village, at: &Place, kind: &str) -> Data {
        let round = match Self::life(v, SECRETARY, at).status {
            Status::In(State::None) => 0,
            Status::In(Requested(n) | Commented(n) | Returned(n) | Cleared(n)) => n,
            Status::Disputed(_) => panic!("reviews are never disputed"),
        };
        vec![("round", Value::Uint(u64::from(round + u32::from(kind == "requested"))))]
    }

    fn write(v: &mut Village, i: usize, at: &Place, kind: &str, data: Data) -> Result<String, ReplicaError> {
        v.try_act(i, &at.doc, |e, me| {
            let events = dinh_model::lifecycle::read(&e.view());
            let heads = dinh_model::lifecycle::fold::<review::state::ReviewLife>(&events).heads;
            dinh_model::lifecycle::write(e, me, kind, &heads, data)
        })
    }

    fn life(v: &mut Village, i: usize, at: &Place) -> Folded<State> {
        v.review(i, &at.doc).life
    }
}

#[test]
fn every_arrow_is_seen_on_every_phone() {
    every_arrow::<W>();
}

#[test]
fn a_round_that_was_not_asked_for_or_is_over_has_no_outcome() {
    let mut v = village();
    let guard = |what: &str| Illegal::Guard { what: what.to_owned() };
    let last = guard("the round that was asked for last");
    let newer = guard("a round after those that were asked for");
    let table = [
        (State::None, REVIEWER, "commented", Some(0), last.clone()),
        (State::None, REVIEWER, "cleared", Some(1), last.clone()),
        (State::None, REVIEWER, "returned", Some(1), last.clone()),
        (Requested(2), REVIEWER, "cleared", Some(1), last.clone()),
        (Requested(1), REVIEWER, "commented", Some(2), last.clone()),
        (Cleared(1), REVIEWER, "returned", Some(2), last),
        (State::None, COMMITTEE, "requested", Some(0), newer.clone()),
        (Requested(1), COMMITTEE, "requested", Some(1), newer.clone()),
        (Returned(1), COMMITTEE, "requested", Some(1), newer),
        (State::None, COMMITTEE, "requested", None, guard("round")),
        (Requested(1), REVIEWER, "cleared", None, guard("round")),
        (Requested(1), REVIEWER, "no_such_kind", Some(1), Illegal::Step { from: "Requested(1)".into() }),
        (Requested(1), REVIEWER, "resolve", Some(1), Illegal::NothingToSettle),
    ];
    for (from, by, kind, round, why) in &table {
        let at = at_state::<W>(&mut v, *from);
        v.leave(AWAY);
        let data = round.map(|n: u64| ("round", Value::Uint(n))).into_iter().collect();
        let id = W::write(&mut v, *by, &at, kind, data).unwrap();
        v.sync();
        v.come_back(AWAY);
        v.sync();
        for i in 0..PHONES {
            let found = W::life(&mut v, i, &at);
            assert_eq!(found.status, Status::In(*from), "{kind} {round:?}: phone {i}");
            assert_eq!(found.not_counted[&id], *why, "{kind} {round:?}: phone {i}");
        }
    }
    println!("{} steps that are none, 0 counted", table.len());
}

#[test]
fn the_wrong_person_is_refused_and_a_forger_is_not_heard() {
    const OTHERS: &[usize] = &[SECRETARY, COMMITTEE, RECORDER, MEMBER, LENIENT];
    every_wrong_person::<W>(&[
        (State::None, "requested", &[REVIEWER, RECORDER, MEMBER, LENIENT]),
        (Requested(1), "commented", OTHERS),
        (Requested(1), "returned", OTHERS),
        (Requested(1), "cleared", OTHERS),
        (Returned(1), "cleared", OTHERS),
    ]);
}
