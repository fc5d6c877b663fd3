//! A resolution on phones that are apart: suggestions, a task that two date differently, rounds, votes, contradictions.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod village;

use dinh_core::document::Value;
use dinh_core::gate::rights::Schema;
use dinh_model::lifecycle::{self, Illegal, RESOLVE, Status};
use dinh_model::minutes::Vote;
use dinh_model::outline::{self, Put};
use dinh_model::resolution::{
    self, NewAssignment, OPEN_SCHEMA, SCHEMA, Voted, state::ResolutionLife, state::State,
};
use dinh_model::suggestion::{self, Outcome, Place};
use dinh_model::vote::{Method, Tally, Threshold};
use dinh_proto::charter::record::{Role, Writers};
use dinh_proto::ids::DocId;
use village::{SECRETARY, Village, who};

const DEPUTY: usize = 1;
const COMMITTEE: usize = 2;
const MEMBER: usize = 3;
const PROBATIONARY: usize = 4;

const ROAD: &str = "Hoàn thành giải phóng mặt bằng 420 m đường trước ngày 20/12, khởi công trong tháng.";

/// With one section and one block.
fn drafted(schema: &'static Schema) -> (Village, DocId, String) {
    let mut village = Village::new(&[Role::Deputy, Role::Committee, Role::Member, Role::Probationary]);
    let doc = village.create(SECRETARY, Writers::Members, schema);
    village.act(SECRETARY, &doc, |e, _| resolution::create(e, schema, "2026-12", &[("symbol", "NQ/CB")]));
    let section =
        village.act(SECRETARY, &doc, |e, me| outline::add_section(e, me, "II. Mục tiêu", Put::Last));
    let block = village
        .act(SECRETARY, &doc, |e, me| outline::add_block(e, me, &section, "item", ROAD, None, Put::Last));
    village.sync();
    (village, doc, block)
}

fn step(village: &mut Village, i: usize, doc: &DocId, kind: &str, data: &[(&'static str, &str)]) {
    village.try_step(i, doc, kind, data).unwrap();
}

impl Village {
    fn try_step(
        &mut self,
        i: usize,
        doc: &DocId,
        kind: &str,
        data: &[(&'static str, &str)],
    ) -> Result<(), dinh_core::replica::ReplicaError> {
        let data: Vec<(&'static str, Value)> = data.iter().map(|(k, v)| (*k, Value::from(*v))).collect();
        self.try_write(i, doc, kind, data)
    }

    /// What came of a vote on these heads, of 17, that the deputy counted or, if the deputy says it, the secretary.
    fn decide(&mut self, i: usize, doc: &DocId, heads: &str, yes: u32) {
        let by = if i == DEPUTY { who(SECRETARY) } else { who(DEPUTY) };
        let tally = Tally { yes, no: 17 - yes, abstain: 0 };
        let (method, carried) = (Method::ShowOfHands, yes > 8);
        let id = "v1".to_owned();
        let vote = Vote {
            id,
            method,
            base: 17,
            needed: 9,
            tally,
            ballots: None,
            carried,
            by,
            at: 0,
            confirmed_by: None,
        };
        let voted = Voted { heads, vote: &vote, threshold: Threshold::MoreThanHalf };
        self.act(i, doc, |e, me| resolution::decide(e, me, &voted));
    }

    fn try_write(
        &mut self,
        i: usize,
        doc: &DocId,
        kind: &str,
        data: Vec<(&'static str, Value)>,
    ) -> Result<(), dinh_core::replica::ReplicaError> {
        self.try_act(i, doc, |e, me| {
            let heads = lifecycle::fold::<ResolutionLife>(&lifecycle::read(&e.view())).heads;
            lifecycle::write(e, me, kind, &heads, data).map(|_| ())
        })
    }

    fn text(&mut self, i: usize, doc: &DocId, block: &str) -> String {
        self.resolution(i, doc).outline.block(block).unwrap().text.clone()
    }
}

fn range(text: &str, of: &str) -> std::ops::Range<usize> {
    let at = text[..text.find(of).unwrap()].encode_utf16().count();
    at..at + of.encode_utf16().count()
}

#[test]
fn a_suggestion_finds_its_place_after_other_changes_and_is_applied_with_credit() {
    let (mut village, doc, block) = drafted(&SCHEMA);
    let date = range(ROAD, "trước ngày 20/12");
    let month = range(ROAD, "khởi công trong tháng");
    let first =
        village.act(MEMBER, &doc, |e, me| suggestion::suggest(e, me, &block, date, "trước ngày 25/12"));
    village
        .act(PROBATIONARY, &doc, |e, me| suggestion::suggest(e, me, &block, month, "khởi công trong quý I"));
    // Members do not write the text themselves, nor say what became of it.
    let refused = village.try_act(MEMBER, &doc, |e, _| e.set_text(&outline::text_of(&block), "khác"));
    assert!(refused.unwrap_err().to_string().contains("committee"));
    assert!(village.try_act(MEMBER, &doc, |e, _| suggestion::decline(e, &first)).is_err());
    // The committee, apart from them, writes before and inside.
    let edited = format!("Mục tiêu 1: {}", ROAD.replace("420 m", "430 m"));
    village.act(COMMITTEE, &doc, |e, _| e.set_text(&outline::text_of(&block), &edited));
    village.sync();
    let text = village.text(COMMITTEE, &doc, &block);
    let all = village.resolution(COMMITTEE, &doc).suggestions;
    assert_eq!(all.len(), 2);
    for s in &all {
        let Place::Here(found) = village.place(COMMITTEE, &doc, s) else { panic!("{s:?}") };
        assert_eq!(found, range(&text, &s.quote));
        village.act(COMMITTEE, &doc, |e, _| {
            let view_text = e.view().text(&outline::text_of(&block)).unwrap();
            suggestion::accept(e, s, &range(&view_text, &s.quote))
        });
        assert!(suggestion::credit(s).contains(&s.by.to_string()));
    }
    village.sync();
    let expected = edited.replace("20/12", "25/12").replace("khởi công trong tháng", "khởi công trong quý I");
    for i in 0..5 {
        assert_eq!(village.text(i, &doc, &block), expected, "phone {i}");
        for s in village.resolution(i, &doc).suggestions {
            assert_eq!(s.outcome.get(), Some(&Outcome::Accepted));
            assert_ne!(village.place(i, &doc, &s), Place::Here(range(ROAD, &s.quote)));
        }
    }
    // What it is about is gone.
    let end = range(&expected, "quý I");
    village.act(MEMBER, &doc, |e, me| suggestion::suggest(e, me, &block, end, "quý II"));
    village.sync();
    village.act(COMMITTEE, &doc, |e, _| e.set_text(&outline::text_of(&block), "Bỏ mục này."));
    let s = village.resolution(COMMITTEE, &doc).suggestions.pop().unwrap();
    assert!(!matches!(village.place(COMMITTEE, &doc, &s), Place::Here(_)));
}

#[test]
fn where_members_write_drafts_themselves_their_sentences_merge_and_the_rest_stays_the_committees() {
    let (mut village, doc, block) = drafted(&OPEN_SCHEMA);
    (1..5).for_each(|i| village.leave(i));
    let write = |village: &mut Village, i: usize, text: String| {
        village.act(i, &doc, |e, _| e.set_text(&outline::text_of(&block), &text));
    };
    write(&mut village, MEMBER, ROAD.replace("20/12", "25/12"));
    write(&mut village, PROBATIONARY, ROAD.replace("trong tháng", "trong quý I"));
    let assigned = village.try_act(MEMBER, &doc, |e, me| {
        resolution::assign(e, me, &NewAssignment { task: "t", owners: &[], quantity: "", due: "2026-12-10" })
    });
    assert!(assigned.is_err());
    assert!(village.try_act(MEMBER, &doc, |e, _| outline::hide_block(e, &block, true)).is_err());
    (1..5).for_each(|i| village.come_back(i));
    village.sync();
    for i in 0..5 {
        let expected = ROAD.replace("20/12", "25/12").replace("trong tháng", "trong quý I");
        assert_eq!(village.text(i, &doc, &block), expected, "phone {i}");
    }
}

#[test]
fn two_dates_for_one_task_are_both_shown_until_one_is_chosen() {
    let (mut village, doc, _) = drafted(&SCHEMA);
    let new = NewAssignment {
        task: "Vận động 04 hộ",
        owners: &[who(MEMBER)],
        quantity: "04 hộ",
        due: "2026-12-15",
    };
    let task = village.act(SECRETARY, &doc, |e, me| resolution::assign(e, me, &new));
    village.sync();
    [DEPUTY, COMMITTEE].iter().for_each(|i| village.leave(*i));
    village.act(DEPUTY, &doc, |e, _| resolution::set_due(e, &task, "2026-12-10"));
    village.act(COMMITTEE, &doc, |e, _| resolution::set_due(e, &task, "2026-12-12"));
    [DEPUTY, COMMITTEE].iter().for_each(|i| village.come_back(*i));
    village.sync();
    for i in 0..5 {
        let due = &village.resolution(i, &doc).assignments[0].due;
        assert!(due.is_contested(), "phone {i}");
        let mut dates: Vec<(&str, _)> =
            due.all().iter().map(|w| (w.value.as_str(), w.by.unwrap().member)).collect();
        dates.sort();
        assert_eq!(dates, [("2026-12-10", who(DEPUTY)), ("2026-12-12", who(COMMITTEE))]);
    }
    // Choosing what is shown already is a choice too.
    let shown = village.resolution(SECRETARY, &doc).assignments[0].due.get().unwrap().clone();
    village.act(SECRETARY, &doc, |e, _| resolution::set_due(e, &task, &shown));
    village.sync();
    for i in 0..5 {
        let due = &village.resolution(i, &doc).assignments[0].due;
        assert_eq!((due.is_contested(), due.get()), (false, Some(&shown)));
    }
}

#[test]
fn from_the_draft_to_the_number_with_a_withdrawal_that_did_not_know_of_the_vote() {
    let (mut village, doc, _) = drafted(&SCHEMA);
    step(&mut village, COMMITTEE, &doc, "committee_review", &[]);
    village.sync();
    // Only officers put a round to consultation.
    assert!(village.try_step(COMMITTEE, &doc, "consulting", &[("heads", "h1")]).is_err());
    step(&mut village, DEPUTY, &doc, "consulting", &[("heads", "h1")]);
    village.sync();
    village.act(MEMBER, &doc, |e, me| resolution::has_read(e, me, 1));
    step(&mut village, SECRETARY, &doc, "drafting", &[]);
    step(&mut village, SECRETARY, &doc, "consulting", &[("heads", "h2")]);
    village.sync();
    village.leave(COMMITTEE);
    step(&mut village, COMMITTEE, &doc, "withdrawn", &[]);
    step(&mut village, SECRETARY, &doc, "tabled", &[("heads", "h2"), ("meeting", "m1")]);
    village.decide(SECRETARY, &doc, "h2", 9);
    village.come_back(COMMITTEE);
    village.sync();
    for i in 0..5 {
        let found = village.resolution(i, &doc);
        assert_eq!(found.life.status, Status::In(State::Adopted), "phone {i}");
        assert_eq!((found.round, found.read[&who(MEMBER)].get()), (2, Some(&1)));
    }
    // Two officers, apart: one says in force, the other has it revoked by mistake before it was issued.
    village.leave(DEPUTY);
    village.act(SECRETARY, &doc, |e, me| resolution::issue(e, me, "23", "2026-12-05"));
    step(&mut village, SECRETARY, &doc, "in_force", &[]);
    step(&mut village, DEPUTY, &doc, "revoked", &[("by_document", "x")]);
    village.come_back(DEPUTY);
    village.sync();
    for i in 0..5 {
        let life = village.resolution(i, &doc).life;
        assert_eq!(life.status, Status::In(State::InForce));
        assert_eq!(
            life.not_counted.values().collect::<Vec<_>>(),
            [&Illegal::Step { from: "Adopted".into() }]
        );
    }
}

#[test]
fn contradicting_officers_leave_it_disputed_until_one_settles_it() {
    let (mut village, doc, _) = drafted(&SCHEMA);
    step(&mut village, SECRETARY, &doc, "committee_review", &[]);
    step(&mut village, SECRETARY, &doc, "consulting", &[("heads", "h1")]);
    step(&mut village, SECRETARY, &doc, "tabled", &[("heads", "h1"), ("meeting", "m1")]);
    village.sync();
    village.leave(DEPUTY);
    village.decide(SECRETARY, &doc, "h1", 9);
    village.decide(DEPUTY, &doc, "h1", 8);
    village.come_back(DEPUTY);
    village.sync();
    let mut among = Vec::new();
    for i in 0..5 {
        let Status::Disputed(found) = village.resolution(i, &doc).life.status else { panic!("phone {i}") };
        assert_eq!(found.len(), 2);
        among = found;
    }
    step(&mut village, SECRETARY, &doc, "issued", &[("number", "23"), ("date", "2026-12-05")]);
    let life = village.resolution(SECRETARY, &doc).life;
    assert!(life.not_counted.values().any(|why| *why == Illegal::Disputed));
    let adopted = among.iter().find(|(_, state)| *state == State::Adopted).unwrap().0.clone();
    // A member of the committee is no officer.
    assert!(village.try_step(COMMITTEE, &doc, RESOLVE, &[("choose", &adopted)]).is_err());
    step(&mut village, SECRETARY, &doc, RESOLVE, &[("choose", &adopted)]);
    village.sync();
    for i in 0..5 {
        assert_eq!(village.resolution(i, &doc).life.status, Status::In(State::Adopted), "phone {i}");
    }
}
