//! Resolutions.

use std::collections::BTreeSet;

use dinh_core::document::Value;
use dinh_core::path;
use dinh_core::replica::ReplicaError;
use dinh_model::lifecycle::{Folded, NotYet};
use dinh_model::outline::{self, Put};
use dinh_model::resolution::state::{ResolutionLife, State};
use dinh_model::resolution::{self, NOTICE_MS, SCHEMA};
use dinh_proto::charter::record::Writers;

use crate::common::*;
use crate::village::{RECORDER, SECRETARY, Village, raw_step, who};
use State::{
    Adopted, CommitteeReview, Completed, Consulting, Deferred, Drafting, InForce, Issued, Rejected, Revoked,
    Superseded, Tabled, Withdrawn,
};

pub(crate) struct R;

impl Life for R {
    type State = State;
    const START: State = Drafting;
    const ARROWS: &'static [Arrow<State>] = &[
        (Drafting, "committee_review", CommitteeReview, COMMITTEE),
        (CommitteeReview, "consulting", Consulting, DEPUTY),
        (Consulting, "drafting", Drafting, COMMITTEE),
        (Consulting, "tabled", Tabled, SECRETARY),
        (Tabled, "adopted", Adopted, SECRETARY),
        (Tabled, "rejected", Rejected, SECRETARY),
        (Tabled, "deferred", Deferred, SECRETARY),
        (Deferred, "drafting", Drafting, COMMITTEE),
        (Adopted, "issued", Issued, SECRETARY),
        (Issued, "in_force", InForce, SECRETARY),
        (InForce, "completed", Completed, COMMITTEE),
        (InForce, "superseded", Superseded, SECRETARY),
        (InForce, "revoked", Revoked, DEPUTY),
        (Drafting, "withdrawn", Withdrawn, COMMITTEE),
        (Consulting, "withdrawn", Withdrawn, SECRETARY),
    ];
    /// `tabled → amended_on_floor*`: any number of amendments, and it is still debated.
    const NOTES: &'static [(&'static str, &'static [State])] = &[("amended_on_floor", &[Tabled])];

    fn create(v: &mut Village) -> Place {
        let doc = v.create(SECRETARY, Writers::All, &SCHEMA);
        v.act(SECRETARY, &doc, |e, _| resolution::create(e, &SCHEMA, "2026-12", &[]));
        v.phones[SECRETARY].name_recorder(doc, who(RECORDER)).unwrap();
        v.sync();
        Place { doc, thread: String::new() }
    }

    fn data(_: &mut Village, _: &Place, kind: &str) -> Data {
        let vote = |yes| {
            vec![
                ("heads", "h1".into()),
                ("vote", "v1".into()),
                ("base", Value::Uint(17)),
                ("yes", Value::Uint(yes)),
                ("threshold", "more_than_half".into()),
                ("counted_by", who(RECORDER).to_string().into()),
            ]
        };
        match kind {
            "consulting" | "amended_on_floor" => vec![("heads", "h1".into())],
            "tabled" => vec![("heads", "h1".into()), ("meeting", "m1".into())],
            "adopted" => vote(9),
            "rejected" => vote(8),
            "issued" => vec![("number", "23".into()), ("date", "2026-12-05".into())],
            "superseded" | "revoked" => vec![("by_document", "dnhdoc1".into())],
            _ => Vec::new(),
        }
    }

    fn write(v: &mut Village, i: usize, at: &Place, kind: &str, data: Data) -> Result<String, ReplicaError> {
        v.try_act(i, &at.doc, |e, me| {
            // The number goes into its register with the event, as `issue` does it.
            if kind == "issued" && e.view().get(&path!["number"]).is_none() && i != LENIENT {
                e.put(&path!["number"], "23")?;
            }
            raw_step::<ResolutionLife>(e, me, kind, data)
        })
    }

    fn life(v: &mut Village, i: usize, at: &Place) -> Folded<State> {
        v.resolution(i, &at.doc).life
    }
}

#[test]
fn every_arrow_is_seen_on_every_phone() {
    every_arrow::<R>();
}

#[test]
fn nothing_else_is_a_step() {
    // From a draft that the committee never saw, consulting lacks its guard; after a round it is an arrow: both below.
    nothing_else_is_legal::<R>(|_| SECRETARY, &[(Drafting, "consulting")]);
}

#[test]
fn what_lacks_its_guard_does_not_count() {
    let lacks = |from, kind, spoil, what| Lacking { from, kind, by: SECRETARY, spoil, what };
    const DEBATED: &str = "a vote on the heads that were debated last";
    every_guard::<R>(&[
        lacks(Drafting, "consulting", |_| (), "the committee's review"),
        lacks(CommitteeReview, "consulting", |d| drop_key(d, "heads"), "heads"),
        lacks(Consulting, "tabled", |d| drop_key(d, "heads"), "heads"),
        lacks(Consulting, "tabled", |d| drop_key(d, "meeting"), "meeting"),
        lacks(Tabled, "amended_on_floor", |d| drop_key(d, "heads"), "heads"),
        lacks(Tabled, "adopted", |d| drop_key(d, "heads"), "heads"),
        lacks(Tabled, "adopted", |d| set_key(d, "heads", "h0"), DEBATED),
        lacks(Tabled, "adopted", |d| drop_key(d, "vote"), "vote"),
        lacks(Tabled, "adopted", |d| drop_key(d, "base"), "base"),
        lacks(Tabled, "adopted", |d| set_key(d, "base", Value::Uint(0)), "base"),
        lacks(Tabled, "adopted", |d| set_key(d, "base", Value::Uint(8)), "base"),
        lacks(Tabled, "adopted", |d| drop_key(d, "yes"), "yes"),
        lacks(Tabled, "adopted", |d| set_key(d, "yes", Value::Uint(8)), "a vote that carried"),
        // A special threshold: of 17, twelve are two thirds.
        lacks(
            Tabled,
            "adopted",
            |d| {
                set_key(d, "threshold", "two_thirds");
                set_key(d, "yes", Value::Uint(11));
            },
            "a vote that carried",
        ),
        lacks(Tabled, "adopted", |d| set_key(d, "threshold", "a_third"), "threshold"),
        lacks(Tabled, "adopted", |d| drop_key(d, "counted_by"), "counted_by"),
        lacks(
            Tabled,
            "adopted",
            |d| set_key(d, "counted_by", who(SECRETARY).to_string()),
            "a count that somebody else wrote down",
        ),
        lacks(Tabled, "rejected", |d| drop_key(d, "vote"), "vote"),
        lacks(Tabled, "rejected", |d| set_key(d, "yes", Value::Uint(9)), "a vote that did not carry"),
        lacks(Adopted, "issued", |d| drop_key(d, "number"), "number"),
        lacks(Adopted, "issued", |d| drop_key(d, "date"), "date"),
        lacks(Adopted, "issued", |d| set_key(d, "number", "24"), "the number that it was given"),
        lacks(InForce, "superseded", |d| drop_key(d, "by_document"), "by_document"),
        lacks(InForce, "revoked", |d| set_key(d, "by_document", " "), "by_document"),
    ]);
}

#[test]
fn after_a_round_a_draft_goes_to_consultation_again_and_rounds_are_counted() {
    let mut v = village();
    let at = at_state::<R>(&mut v, Consulting);
    v.leave(AWAY);
    step::<R>(&mut v, COMMITTEE, &at, "drafting");
    v.sync();
    step::<R>(&mut v, SECRETARY, &at, "consulting");
    v.sync();
    v.come_back(AWAY);
    v.sync();
    for i in 0..PHONES {
        let found = v.resolution(i, &at.doc);
        assert_eq!((found.life.status.state(), found.round), (Some(Consulting), 2), "phone {i}");
    }
    let day = 1_790_000_000_000;
    assert!(
        resolution::is_short_notice(day, day + NOTICE_MS - 1) && resolution::is_short_notice(day, day - 1)
    );
    assert!(!resolution::is_short_notice(day, day + NOTICE_MS));
}

#[test]
fn what_was_amended_on_the_floor_is_what_is_voted_on() {
    let mut v = village();
    let at = at_state::<R>(&mut v, Tabled);
    R::write(&mut v, RECORDER, &at, "amended_on_floor", vec![("heads", "h2".into())]).unwrap();
    v.sync();
    let before = step::<R>(&mut v, SECRETARY, &at, "adopted");
    let mut data = R::data(&mut v, &at, "adopted");
    set_key(&mut data, "heads", "h2");
    R::write(&mut v, SECRETARY, &at, "adopted", data).unwrap();
    v.sync();
    for i in 0..PHONES {
        let found = R::life(&mut v, i, &at);
        assert_eq!(found.status.state(), Some(Adopted), "phone {i}");
        assert_eq!(found.not_counted.keys().collect::<Vec<_>>(), [&before]);
    }
}

#[test]
fn it_is_tabled_in_a_meeting_that_is_open() {
    use dinh_model::minutes::state::State as Ms;
    let mut v = village();
    let (draft, at) = (at_state::<R>(&mut v, Drafting), at_state::<R>(&mut v, Consulting));
    for (state, expected) in
        [(Ms::Convened, Err(NotYet::Meeting)), (Ms::Open, Ok(())), (Ms::ReadBack, Err(NotYet::Meeting))]
    {
        let meeting = at_state::<crate::minutes::M>(&mut v, state);
        for i in 0..PHONES {
            let meeting = v.minutes(i, &meeting.doc);
            assert_eq!(v.resolution(i, &at.doc).may_table(&meeting), expected, "{state:?}: phone {i}");
            assert!(matches!(v.resolution(i, &draft.doc).may_table(&meeting), Err(NotYet::State { .. })));
        }
    }
}

#[test]
fn what_was_changed_after_the_vote_is_listed_before_it_is_issued() {
    let mut v = village();
    let at = R::create(&mut v);
    let (block, section) = v.act(SECRETARY, &at.doc, |e, me| {
        let section = outline::add_section(e, me, "II. Mục tiêu", Put::Last)?;
        Ok((outline::add_block(e, me, &section, "item", "Làm 420 m đường.", None, Put::Last)?, section))
    });
    step::<R>(&mut v, COMMITTEE, &at, "committee_review");
    v.sync();
    step::<R>(&mut v, SECRETARY, &at, "consulting");
    v.sync();
    // One of the committee is away since before the debate.
    v.leave(COMMITTEE);
    v.act(COMMITTEE, &at.doc, |e, me| outline::add_block(e, me, &section, "item", "Thêm.", None, Put::Last));
    let heads = resolution::heads_text(&v.phones[SECRETARY].document(&at.doc, |d| d.heads()).unwrap());
    for kind in ["tabled", "adopted"] {
        let mut data = R::data(&mut v, &at, kind);
        set_key(&mut data, "heads", heads.as_str());
        R::write(&mut v, SECRETARY, &at, kind, data).unwrap();
        v.sync();
    }
    let changed = |v: &mut Village, i: usize| -> Option<BTreeSet<String>> {
        let found = v.phones[i].document(&at.doc, |d| resolution::changed_since(d, &heads).unwrap()).unwrap();
        found.map(|all| all.iter().map(|patch| format!("{}", patch.path)).collect())
    };
    assert_eq!(changed(&mut v, SECRETARY), Some(BTreeSet::new()), "what was voted on, and nothing else");
    v.act(DEPUTY, &at.doc, |e, _| e.set_text(&outline::text_of(&block), "Làm 420 m đường thôn."));
    v.sync();
    let fix = changed(&mut v, SECRETARY).unwrap();
    assert_eq!(fix.len(), 1, "{fix:?}");
    v.come_back(COMMITTEE);
    v.sync();
    let all = changed(&mut v, SECRETARY).unwrap();
    assert!(all.len() > 1 && all.is_superset(&fix), "{all:?}");
    for i in 0..PHONES {
        assert_eq!(changed(&mut v, i), Some(all.clone()), "phone {i}");
        let found = v.phones[i].document(&at.doc, |d| resolution::changed_since(d, "h1").unwrap()).unwrap();
        assert_eq!(found, None, "of what is not here nothing is said");
    }
}

#[test]
fn a_number_is_given_once() {
    let mut v = village();
    let at = at_state::<R>(&mut v, Adopted);
    let used = BTreeSet::from(["22".to_owned()]);
    let may = |v: &mut Village, i: usize, number: &str| v.resolution(i, &at.doc).may_issue(number, &used);
    for i in 0..PHONES {
        assert_eq!(may(&mut v, i, "22"), Err(NotYet::Number), "used in this term");
        assert_eq!(may(&mut v, i, "23"), Ok(()));
    }
    v.act(SECRETARY, &at.doc, |e, me| resolution::issue(e, me, "23", "2026-12-05"));
    v.sync();
    assert_eq!(may(&mut v, DEPUTY, "24"), Err(NotYet::State { is: "Issued".to_owned() }));
    let again = v.try_act(DEPUTY, &at.doc, |e, me| resolution::issue(e, me, "24", "2026-12-06"));
    assert!(again.unwrap_err().to_string().contains("never changed"));
    // Two officers number it, apart: one number holds, the same on all phones.
    let at = at_state::<R>(&mut v, Adopted);
    v.leave(DEPUTY);
    v.act(SECRETARY, &at.doc, |e, me| resolution::issue(e, me, "25", "2026-12-05"));
    v.act(DEPUTY, &at.doc, |e, me| resolution::issue(e, me, "26", "2026-12-06"));
    v.come_back(DEPUTY);
    v.sync();
    let expected = v.resolution(SECRETARY, &at.doc).issued;
    for i in 0..PHONES {
        let found = v.resolution(i, &at.doc);
        assert_eq!(found.life.status.state(), Some(Issued), "phone {i}");
        assert!(found.number.is_contested(), "both are shown");
        assert!(found.issued.is_some() && found.issued == expected, "phone {i}");
    }
}

#[test]
fn the_wrong_person_is_refused_and_a_forger_is_not_heard() {
    const NO_COMMITTEE: &[usize] = &[RECORDER, MEMBER, LENIENT];
    every_wrong_person::<R>(&[
        (Drafting, "committee_review", NO_COMMITTEE),
        (Drafting, "withdrawn", NO_COMMITTEE),
        (Consulting, "drafting", NO_COMMITTEE),
        (CommitteeReview, "consulting", OFFICERS_ONLY),
        (Consulting, "tabled", OFFICERS_ONLY),
        (Tabled, "amended_on_floor", &[MEMBER, LENIENT]),
        (Tabled, "adopted", OFFICERS_ONLY),
        (Tabled, "rejected", OFFICERS_ONLY),
        (Tabled, "deferred", OFFICERS_ONLY),
        (Adopted, "issued", OFFICERS_ONLY),
        (Issued, "in_force", OFFICERS_ONLY),
        (InForce, "completed", NO_COMMITTEE),
        (InForce, "superseded", OFFICERS_ONLY),
        (InForce, "revoked", OFFICERS_ONLY),
    ]);
}
