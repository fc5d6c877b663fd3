//! Feedback and votes on phones that are apart.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod village;

use std::collections::BTreeSet;

use dinh_core::document::Value;
use dinh_core::path;
use dinh_model::feedback::state::{FeedbackLife, State};
use dinh_model::feedback::{self, Kind, NewThread};
use dinh_model::lifecycle::{Illegal, Status};
use dinh_model::vote::Tally;
use dinh_model::votebox::{self, Choice};
use dinh_proto::charter::record::{Role, Writers};
use dinh_proto::ids::DocId;
use village::{SECRETARY, Village, raw_step, who};

const COMMITTEE: usize = 1;
const AUTHOR: usize = 2;
const MEMBER: usize = 3;
const PROBATIONARY: usize = 4;

fn hall() -> Village {
    Village::new(&[Role::Committee, Role::Member, Role::Member, Role::Probationary])
}

fn asked(village: &mut Village) -> (DocId, String) {
    let doc = village.create(SECRETARY, Writers::All, &feedback::SCHEMA);
    village.act(SECRETARY, &doc, |e, _| feedback::create(e, "branch"));
    village.sync();
    let new = NewThread {
        kind: Kind::Petition,
        title: "Đường xóm Khuổi Lặn",
        text: "Đề nghị chi bộ kiến nghị xã hỗ trợ xi măng.",
        language: "vi",
        subject: None,
        on_behalf_of: None,
    };
    let thread = village.act(AUTHOR, &doc, |e, me| feedback::submit(e, me, &new));
    village.sync();
    (doc, thread)
}

fn step(
    village: &mut Village,
    i: usize,
    doc: &DocId,
    thread: &str,
    kind: &str,
    data: &[(&'static str, &str)],
) {
    // As an app without checks: what does not count is kept, and shown as that.
    let thread = ("thread", Value::from(thread));
    let data = data.iter().map(|(key, text)| (*key, Value::from(*text))).chain([thread]).collect();
    village.act(i, doc, |e, me| raw_step::<FeedbackLife>(e, me, kind, data));
}

#[test]
fn a_petition_is_answered_in_time_or_its_author_is_told_why_not() {
    let mut village = hall();
    let (doc, thread) = asked(&mut village);
    step(&mut village, COMMITTEE, &doc, &thread, "acknowledged", &[("due", "2026-12-20")]);
    // An extension needs a reason and a new day: the command says so, an app without it writes what does not count.
    let refused = village.try_act(COMMITTEE, &doc, |e, me| {
        feedback::step(e, me, &thread, "extended", &[("due", "2027-01-15")])
    });
    assert!(refused.unwrap_err().to_string().contains("would not count: missing or wrong: reason"));
    step(&mut village, COMMITTEE, &doc, &thread, "extended", &[("due", "2027-01-15")]);
    let found = village.threads(COMMITTEE, &doc).remove(0);
    assert_eq!(found.due.as_deref(), Some("2026-12-20"));
    assert!(
        matches!(found.life.not_counted.values().next(), Some(Illegal::Guard { what }) if what == "reason")
    );
    assert!(found.is_overdue("2026-12-21") && !found.is_overdue("2026-12-20"));
    let extension = [("due", "2027-01-15"), ("reason", "chờ ý kiến xã")];
    step(&mut village, COMMITTEE, &doc, &thread, "extended", &extension);
    step(&mut village, COMMITTEE, &doc, &thread, "forwarded", &[("to", "org-tan-khe")]);
    village.act(COMMITTEE, &doc, |e, me| feedback::say(e, me, &thread, "Đã chuyển xã.", "vi", None));
    step(&mut village, SECRETARY, &doc, &thread, "answered", &[]);
    village.sync();
    for i in 0..5 {
        let found = village.threads(i, &doc).remove(0);
        // The secretary had not heard of the rest: its answer came from where it stood.
        assert_eq!(found.due.as_deref(), Some("2027-01-15"), "phone {i}");
        assert_eq!(found.messages.len(), 2);
        assert_eq!(found.author, who(AUTHOR));
        assert_eq!(
            found.life.status,
            Status::In(State::Forwarded),
            "an answer to what was not acknowledged there"
        );
    }
    step(&mut village, SECRETARY, &doc, &thread, "answered", &[]);
    village.sync();
    // Only its author says that it is not enough.
    step(&mut village, MEMBER, &doc, &thread, "reopened", &[]);
    village.sync();
    assert_eq!(village.threads(AUTHOR, &doc)[0].life.status, Status::In(State::Answered));
    step(&mut village, AUTHOR, &doc, &thread, "reopened", &[]);
    village.sync();
    for i in 0..5 {
        assert_eq!(village.threads(i, &doc)[0].life.status, Status::In(State::Reopened), "phone {i}");
    }
    // A member answers nobody's petition, and edits nothing that was said.
    let data = vec![("thread", Value::from(thread.as_str()))];
    let refused = village.try_act(MEMBER, &doc, |e, me| raw_step::<FeedbackLife>(e, me, "answered", data));
    assert!(refused.unwrap_err().to_string().contains("committee"));
    let message = village.threads(AUTHOR, &doc)[0].messages[0].id.clone();
    let refused = village.try_act(AUTHOR, &doc, |e, _| e.put(&path!["messages", message, "text"], "khác"));
    assert!(refused.unwrap_err().to_string().contains("never changed"));
}

#[test]
fn taking_it_back_and_acknowledging_it_at_the_same_time_leaves_it_acknowledged() {
    let mut village = hall();
    let (doc, thread) = asked(&mut village);
    village.leave(AUTHOR);
    step(&mut village, AUTHOR, &doc, &thread, "withdrawn", &[]);
    step(&mut village, COMMITTEE, &doc, &thread, "acknowledged", &[("due", "2026-12-20")]);
    village.come_back(AUTHOR);
    village.sync();
    for i in 0..5 {
        assert_eq!(village.threads(i, &doc)[0].life.status, Status::In(State::Acknowledged), "phone {i}");
    }
}

#[test]
fn a_helper_writes_down_what_somebody_says_and_both_are_named() {
    let mut village = hall();
    let (doc, _) = asked(&mut village);
    let new = NewThread {
        kind: Kind::Question,
        title: "Hỏi về thẻ",
        text: "…",
        language: "ium",
        subject: Some("draft"),
        on_behalf_of: Some(&who(MEMBER)),
    };
    village.act(PROBATIONARY, &doc, |e, me| feedback::submit(e, me, &new));
    village.sync();
    let found = village.threads(SECRETARY, &doc).remove(1);
    assert_eq!((found.author, found.messages[0].by), (who(MEMBER), who(PROBATIONARY)));
    assert_eq!(found.messages[0].on_behalf_of, Some(who(MEMBER)));
}

#[test]
fn ballots_are_each_members_own_and_counted_once_when_the_question_is_closed() {
    let mut village = hall();
    let doc = village.create(SECRETARY, Writers::Members, &votebox::SCHEMA);
    village.act(SECRETARY, &doc, |e, _| votebox::create(e));
    let question = village.act(SECRETARY, &doc, |e, me| votebox::ask(e, me, "Thông qua nghị quyết"));
    village.sync();
    village.leave(MEMBER);
    village.act(COMMITTEE, &doc, |e, me| votebox::cast(e, me, &question, Choice::No));
    village.act(COMMITTEE, &doc, |e, me| votebox::cast(e, me, &question, Choice::Yes));
    village.act(AUTHOR, &doc, |e, me| votebox::cast(e, me, &question, Choice::Abstain));
    village.act(MEMBER, &doc, |e, me| votebox::cast(e, me, &question, Choice::No));
    let refused = village.try_act(PROBATIONARY, &doc, |e, me| votebox::cast(e, me, &question, Choice::Yes));
    assert!(refused.unwrap_err().to_string().contains("member"));
    // Nobody votes for another, the secretary neither.
    let other = path!["ballots", question.as_str(), who(AUTHOR).to_string()];
    assert!(village.try_act(SECRETARY, &doc, |e, _| e.put(&other, "yes")).is_err());
    village.sync();
    let here: BTreeSet<_> = [SECRETARY, COMMITTEE, AUTHOR].map(who).into();
    let found = village.questions(SECRETARY, &doc).remove(0);
    village.act(SECRETARY, &doc, |e, me| votebox::close(e, me, &found, &here));
    assert!(village.try_act(SECRETARY, &doc, |e, me| votebox::close(e, me, &found, &here)).is_err(), "once");
    village.come_back(MEMBER);
    village.sync();
    for i in 0..5 {
        let found = village.questions(i, &doc).remove(0);
        let closed = found.closed.get().unwrap();
        assert_eq!((closed.tally, closed.voters), (Tally { yes: 1, no: 0, abstain: 1 }, 2), "phone {i}");
        assert_eq!(found.ballots.len(), 3, "the late one is there, and counts for nothing");
    }
}
