//! Minutes.

use std::collections::BTreeMap;

use dinh_core::document::Value;
use dinh_core::replica::ReplicaError;
use dinh_model::lifecycle::{self, Folded};
use dinh_model::minutes::state::{MinutesLife, State};
use dinh_model::minutes::{self, Count, Kind, NewMinutes, SCHEMA};
use dinh_model::vote::{Base, Method, Tally, Threshold};
use dinh_proto::charter::record::Writers;

use crate::common::*;
use crate::village::{RECORDER, SECRETARY, Village, who};
use State::{Adopted, Archived, Cancelled, Convened, Open, Planned, Postponed, ReadBack, Signed};

pub(crate) struct M;

/// A count of a new motion by one of them: of 17, so many for it.
pub(crate) fn count(v: &mut Village, i: usize, at: &Place, yes: u32) -> String {
    let base = Base { count: 17, excluding: Default::default(), left_out: BTreeMap::new() };
    v.act(i, &at.doc, |e, me| {
        let motion = minutes::move_motion(e, me, "Thông qua", Threshold::MoreThanHalf, None)?;
        let count = Count {
            motion: &motion,
            method: Method::ShowOfHands,
            base: &base,
            threshold: Threshold::MoreThanHalf,
            tally: Tally { yes, no: 17 - yes, abstain: 0 },
            ballots: None,
        };
        minutes::record_count(e, me, &count)
    })
}

impl Life for M {
    type State = State;
    const START: State = Planned;
    const ARROWS: &'static [Arrow<State>] = &[
        (Planned, "convened", Convened, SECRETARY),
        (Convened, "open", Open, SECRETARY),
        (Open, "read_back", ReadBack, RECORDER),
        (ReadBack, "adopted", Adopted, SECRETARY),
        (Adopted, "signed", Signed, SECRETARY),
        (Signed, "archived", Archived, DEPUTY),
        (Planned, "postponed", Postponed, SECRETARY),
        (Convened, "postponed", Postponed, DEPUTY),
        (Postponed, "convened", Convened, SECRETARY),
        (Planned, "cancelled", Cancelled, SECRETARY),
        (Convened, "cancelled", Cancelled, SECRETARY),
        // A correction is asked for: `read_back → open`.
        (ReadBack, "correction", Open, RECORDER),
    ];
    const NOTES: &'static [(&'static str, &'static [State])] = &[];

    fn create(v: &mut Village) -> Place {
        let doc = v.create(SECRETARY, Writers::All, &SCHEMA);
        let new = NewMinutes { meeting: "m1", period: "2026-12", kind: Kind::Regular, header: &[] };
        v.act(SECRETARY, &doc, |e, _| minutes::create(e, &new));
        v.phones[SECRETARY].name_recorder(doc, who(RECORDER)).unwrap();
        v.sync();
        Place { doc, thread: String::new() }
    }

    fn data(v: &mut Village, at: &Place, kind: &str) -> Data {
        match kind {
            "convened" => vec![
                ("time", "2026-12-05T19:30".into()),
                ("place", "Nhà văn hóa thôn".into()),
                ("agenda", "a1".into()),
            ],
            "open" => vec![("recorder", who(RECORDER).to_string().into())],
            "adopted" => {
                let vote = count(v, RECORDER, at, 9);
                v.sync();
                vec![("vote", vote.into()), ("heads", "h1".into())]
            }
            _ => Vec::new(),
        }
    }

    fn write(v: &mut Village, i: usize, at: &Place, kind: &str, data: Data) -> Result<String, ReplicaError> {
        v.try_act(i, &at.doc, |e, me| {
            let heads = lifecycle::fold::<MinutesLife>(&lifecycle::read(&e.view())).heads;
            lifecycle::write(e, me, kind, &heads, data)
        })
    }

    fn life(v: &mut Village, i: usize, at: &Place) -> Folded<State> {
        v.minutes(i, &at.doc).life
    }
}

#[test]
fn every_arrow_is_seen_on_every_phone() {
    every_arrow::<M>();
}

#[test]
fn nothing_else_is_a_step() {
    nothing_else_is_legal::<M>(|_| SECRETARY, &[]);
}

#[test]
fn what_lacks_its_guard_does_not_count() {
    let lacks = |from, kind, spoil, what| Lacking { from, kind, by: SECRETARY, spoil, what };
    every_guard::<M>(&[
        lacks(Planned, "convened", |d| drop_key(d, "time"), "time"),
        lacks(Planned, "convened", |d| drop_key(d, "place"), "place"),
        lacks(Planned, "convened", |d| set_key(d, "agenda", "  "), "agenda"),
        lacks(Postponed, "convened", |d| drop_key(d, "time"), "time"),
        lacks(Convened, "open", |d| drop_key(d, "recorder"), "recorder"),
        lacks(ReadBack, "adopted", |d| drop_key(d, "vote"), "vote"),
        lacks(ReadBack, "adopted", |d| drop_key(d, "heads"), "heads"),
        lacks(ReadBack, "adopted", |d| set_key(d, "vote", "none"), "a vote that was written down"),
    ]);
}

#[test]
fn the_vote_that_adopts_carried_and_was_counted_by_somebody_else() {
    let mut v = village();
    let at = at_state::<M>(&mut v, ReadBack);
    let table =
        [(RECORDER, 8, "a vote that carried"), (SECRETARY, 17, "a count that somebody else wrote down")];
    for (by, yes, what) in table {
        let vote = count(&mut v, by, &at, yes);
        v.sync();
        let data = vec![("vote", Value::from(vote)), ("heads", "h1".into())];
        let id = M::write(&mut v, SECRETARY, &at, "adopted", data).unwrap();
        v.sync();
        for i in 0..PHONES {
            let found = M::life(&mut v, i, &at);
            assert_eq!(found.status.state(), Some(ReadBack), "phone {i}: {what}");
            assert_eq!(found.not_counted[&id], lifecycle::Illegal::Guard { what: what.to_owned() });
        }
    }
}

#[test]
fn the_wrong_person_is_refused_and_a_forger_is_not_heard() {
    every_wrong_person::<M>(&[
        (Planned, "convened", OFFICERS_ONLY),
        (Planned, "postponed", OFFICERS_ONLY),
        (Convened, "postponed", OFFICERS_ONLY),
        (Planned, "cancelled", OFFICERS_ONLY),
        (Convened, "open", OFFICERS_ONLY),
        (Open, "read_back", &[COMMITTEE, MEMBER, LENIENT]),
        (ReadBack, "correction", &[COMMITTEE, MEMBER, LENIENT]),
        (ReadBack, "adopted", OFFICERS_ONLY),
        (Adopted, "signed", OFFICERS_ONLY),
        (Signed, "archived", OFFICERS_ONLY),
    ]);
}
