//! What minutes, reviews and threads hold besides prose, on phones that are apart.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod village;

use dinh_model::feedback::{self, Kind, NewThread};
use dinh_model::minutes::{self, NewMinutes, parts};
use dinh_model::outline::Put;
use dinh_model::review;
use dinh_proto::charter::record::{Role, Writers};
use village::{RECORDER, SECRETARY, Village, who};

const MEMBER: usize = 2;

#[test]
fn the_parts_of_minutes_are_each_whoevers_they_are() {
    let mut v = Village::new(&[Role::Member, Role::Member]);
    let doc = v.create(SECRETARY, Writers::All, &minutes::SCHEMA);
    let new = NewMinutes { meeting: "m", period: "2026-12", kind: minutes::Kind::Regular, header: &[] };
    v.act(SECRETARY, &doc, |e, _| minutes::create(e, &new));
    v.phones[SECRETARY].name_recorder(doc, who(RECORDER)).unwrap();
    v.sync();
    v.leave(RECORDER);
    let first = v.act(SECRETARY, &doc, |e, me| parts::add_item(e, me, "Thời sự", None, Put::Last));
    v.act(SECRETARY, &doc, |e, me| {
        parts::set_chair(e, &who(SECRETARY))?;
        parts::add_item(e, me, "Thảo luận", Some(&who(MEMBER)), Put::First)?;
        parts::score(e, "attendance", 9)
    });
    v.act(RECORDER, &doc, |e, me| {
        parts::set_recorder(e, &who(RECORDER))?;
        parts::add_guest(e, me, "Trần Văn A", "Đảng ủy viên", "Đảng ủy xã")?;
        parts::add_document_used(e, me, "Dự thảo lần 3", Some(("doc", "aa bb")))?;
        parts::add_decision(e, me, "Thông qua.", Some("v1"))?;
        parts::sign(e, me, "recorder")
    });
    assert!(v.try_act(RECORDER, &doc, |e, _| parts::score(e, "attendance", 10)).is_err(), "the chair scores");
    assert!(v.try_act(MEMBER, &doc, |e, me| parts::sign(e, me, "chair")).is_err());
    v.come_back(RECORDER);
    v.act(SECRETARY, &doc, |e, me| parts::add_item(e, me, "Khác", None, Put::After(&first)));
    v.sync();
    let expected = v.minutes(SECRETARY, &doc).parts;
    let titles: Vec<&str> = expected.agenda.iter().map(|i| i.title.as_str()).collect();
    assert_eq!(titles, ["Thảo luận", "Thời sự", "Khác"]);
    assert_eq!(expected.agenda[0].presenter.get(), Some(&who(MEMBER)));
    assert_eq!(expected.guests[0].post, "Đảng ủy viên");
    assert_eq!(expected.documents_used[0].document, Some(("doc".into(), "aa bb".into())));
    assert_eq!(
        (expected.signatures[0].role.as_str(), expected.signatures[0].by),
        ("recorder", who(RECORDER))
    );
    assert_eq!(expected.quality["attendance"].get(), Some(&9));
    for i in [RECORDER, MEMBER] {
        assert_eq!(v.minutes(i, &doc).parts, expected, "phone {i}");
    }
}

#[test]
fn who_deals_with_a_thread_and_by_which_way_remarks_went() {
    let mut v = Village::new(&[Role::Committee, Role::Member, Role::Reviewer]);
    let threads = v.create(SECRETARY, Writers::All, &feedback::SCHEMA);
    v.act(SECRETARY, &threads, |e, _| feedback::create(e, "branch"));
    v.sync();
    let (kind, language) = (Kind::Question, "vi");
    let new =
        NewThread { kind, title: "Hỏi", text: "Khi nào?", language, subject: None, on_behalf_of: None };
    let thread = v.act(MEMBER, &threads, |e, me| feedback::submit(e, me, &new));
    v.sync();
    assert!(v.try_act(MEMBER, &threads, |e, _| feedback::set_handler(e, &thread, &who(MEMBER))).is_err());
    v.act(1, &threads, |e, _| feedback::set_handler(e, &thread, &who(1)));
    let remarks = v.create(SECRETARY, Writers::All, &review::SCHEMA);
    v.act(SECRETARY, &remarks, |e, _| review::create(e, "doc"));
    v.sync();
    v.act(SECRETARY, &remarks, |e, _| review::set_via(e, "Đảng ủy xã Tân Khê"));
    v.sync();
    for i in [SECRETARY, MEMBER] {
        assert_eq!(v.threads(i, &threads)[0].handler.get(), Some(&who(1)), "phone {i}");
    }
}
