//! Threads of feedback. What comes before `submitted` is on one device only, so it is no state of a document.

use dinh_core::path;
use dinh_core::replica::ReplicaError;
use dinh_model::feedback::state::{FeedbackLife, State};
use dinh_model::feedback::{self, Kind, NewThread, SCHEMA};
use dinh_model::lifecycle::Folded;
use dinh_proto::charter::record::Writers;

use crate::common::*;
use crate::village::{SECRETARY, Village, raw_step};
use State::{
    Acknowledged, Answered, Closed, Declined, Forwarded, InProgress, Reopened, Submitted, Withdrawn,
};

pub(crate) struct F;

const AUTHOR: usize = MEMBER;

impl Life for F {
    type State = State;
    const START: State = Submitted;
    const ARROWS: &'static [Arrow<State>] = &[
        (Submitted, "acknowledged", Acknowledged, COMMITTEE),
        (Acknowledged, "in_progress", InProgress, COMMITTEE),
        (InProgress, "answered", Answered, SECRETARY),
        (Answered, "closed", Closed, COMMITTEE),
        (Acknowledged, "forwarded", Forwarded, COMMITTEE),
        (InProgress, "forwarded", Forwarded, COMMITTEE),
        (Forwarded, "answered", Answered, REVIEWER),
        (Answered, "reopened", Reopened, AUTHOR),
        (Reopened, "in_progress", InProgress, COMMITTEE),
        (Submitted, "withdrawn", Withdrawn, AUTHOR),
        (Acknowledged, "declined", Declined, COMMITTEE),
    ];
    /// An extension any time before it is answered. A rating (2.9) is the author's, once there is an answer.
    const NOTES: &'static [(&'static str, &'static [State])] = &[
        ("extended", &[Submitted, Acknowledged, InProgress, Forwarded, Reopened]),
        ("rated", &[Answered, Closed]),
    ];

    fn create(v: &mut Village) -> Place {
        let doc = v.create(SECRETARY, Writers::All, &SCHEMA);
        v.act(SECRETARY, &doc, |e, _| feedback::create(e, "branch"));
        v.sync();
        let new = NewThread {
            kind: Kind::Petition,
            title: "Đường xóm Khuổi Lặn",
            text: "Đề nghị hỗ trợ xi măng.",
            language: "vi",
            subject: None,
            on_behalf_of: None,
        };
        let thread = v.act(AUTHOR, &doc, |e, me| feedback::submit(e, me, &new));
        v.sync();
        Place { doc, thread }
    }

    fn data(_: &mut Village, _: &Place, kind: &str) -> Data {
        match kind {
            "forwarded" => vec![("to", "org-tan-khe".into())],
            "declined" => vec![("reason", "không thuộc thẩm quyền".into())],
            "extended" => vec![("reason", "chờ xã".into()), ("due", "2027-01-15".into())],
            _ => Vec::new(),
        }
    }

    fn write(v: &mut Village, i: usize, at: &Place, kind: &str, data: Data) -> Result<String, ReplicaError> {
        let thread = ("thread", at.thread.as_str().into());
        let data = data.into_iter().chain([thread]).collect();
        v.try_act(i, &at.doc, |e, me| raw_step::<FeedbackLife>(e, me, kind, data))
    }

    fn life(v: &mut Village, i: usize, at: &Place) -> Folded<State> {
        v.threads(i, &at.doc).into_iter().find(|t| t.id == at.thread).unwrap().life
    }
}

#[test]
fn every_arrow_is_seen_on_every_phone() {
    every_arrow::<F>();
}

#[test]
fn nothing_else_is_a_step() {
    let authors = |kind: &str| matches!(kind, "withdrawn" | "reopened" | "rated");
    nothing_else_is_legal::<F>(|kind| if authors(kind) { AUTHOR } else { COMMITTEE }, &[]);
}

#[test]
fn what_lacks_its_guard_does_not_count() {
    let lacks = |from, kind, by, spoil, what| Lacking { from, kind, by, spoil, what };
    const AUTHORS: &str = "only its author does that";
    every_guard::<F>(&[
        lacks(Acknowledged, "forwarded", COMMITTEE, |d| drop_key(d, "to"), "to"),
        lacks(InProgress, "forwarded", COMMITTEE, |d| set_key(d, "to", " "), "to"),
        lacks(Acknowledged, "declined", COMMITTEE, |d| drop_key(d, "reason"), "reason"),
        lacks(Acknowledged, "declined", COMMITTEE, |d| set_key(d, "reason", "  "), "reason"),
        lacks(Submitted, "extended", COMMITTEE, |d| drop_key(d, "reason"), "reason"),
        lacks(InProgress, "extended", COMMITTEE, |d| set_key(d, "reason", ""), "reason"),
        lacks(InProgress, "extended", COMMITTEE, |d| drop_key(d, "due"), "due"),
        // Another one takes it back, is not content, or rates: the secretary neither.
        lacks(Submitted, "withdrawn", AWAY, |_| (), AUTHORS),
        lacks(Submitted, "withdrawn", SECRETARY, |_| (), AUTHORS),
        lacks(Answered, "reopened", AWAY, |_| (), AUTHORS),
        lacks(Answered, "reopened", SECRETARY, |_| (), AUTHORS),
        lacks(Answered, "rated", SECRETARY, |_| (), AUTHORS),
    ]);
}

#[test]
fn an_extension_says_until_when_and_the_last_one_decides() {
    let mut v = village();
    let at = at_state::<F>(&mut v, InProgress);
    v.leave(AWAY);
    for due in ["2027-01-15", "2027-02-01"] {
        let data = vec![("reason", "chờ xã".into()), ("due", due.into())];
        F::write(&mut v, COMMITTEE, &at, "extended", data).unwrap();
        v.sync();
    }
    v.come_back(AWAY);
    v.sync();
    for i in 0..PHONES {
        let found = v.threads(i, &at.doc).remove(0);
        assert_eq!((found.life.status.state(), found.due.as_deref()), (Some(InProgress), Some("2027-02-01")));
        // Derived from what stands, and from the day that the app says it is.
        assert!(found.is_overdue("2027-02-02") && !found.is_overdue("2027-02-01"), "phone {i}");
    }
}

#[test]
fn the_wrong_person_is_refused_and_a_forger_is_not_heard() {
    const OTHERS: &[usize] = &[AUTHOR, AWAY, LENIENT];
    every_wrong_person::<F>(&[
        (Submitted, "acknowledged", OTHERS),
        (Acknowledged, "in_progress", OTHERS),
        (Acknowledged, "forwarded", OTHERS),
        (InProgress, "forwarded", OTHERS),
        (InProgress, "answered", OTHERS),
        (Forwarded, "answered", OTHERS),
        (Acknowledged, "declined", OTHERS),
        (InProgress, "extended", OTHERS),
        (Answered, "closed", OTHERS),
    ]);
}

#[test]
fn a_member_makes_its_own_mailbox_and_nobody_empties_it() {
    let mut v = village();
    let doc = v.create(AUTHOR, Writers::All, &SCHEMA);
    v.act(AUTHOR, &doc, |e, _| feedback::create(e, "mailbox_upper"));
    v.sync();
    let new = NewThread {
        kind: Kind::ConfidentialReport,
        title: "…",
        text: "…",
        language: "vi",
        subject: None,
        on_behalf_of: None,
    };
    v.act(AUTHOR, &doc, |e, me| feedback::submit(e, me, &new));
    v.sync();
    for i in [SECRETARY, REVIEWER, AUTHOR] {
        for map in ["threads", "messages", "events"] {
            let emptied = v.try_act(i, &doc, |e, _| e.put_map(&path![map]));
            assert!(matches!(emptied, Err(ReplicaError::Denied(_))), "{map} by {i}");
            let removed = v.try_act(i, &doc, |e, _| e.delete(&path![map]));
            assert!(matches!(removed, Err(ReplicaError::Denied(_))), "{map} by {i}");
        }
    }
    (0..PHONES).for_each(|i| assert_eq!(v.threads(i, &doc).len(), 1, "phone {i}"));
}
