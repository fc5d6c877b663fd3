//! A meeting on several phones that are apart for a part of it: what each sees, what is sealed, what comes too late.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod village;

use dinh_core::document::Value;
use dinh_model::attendance::{self, Mark, Way};
use dinh_model::lifecycle::{self, Status};
use dinh_model::minutes::{self, Count, Kind, NewMinutes, state::State};
use dinh_model::outline::{self, Put};
use dinh_model::roster::{self, Person, Source, Standing};
use dinh_model::seal::{self, NewSeal, Verified};
use dinh_model::vote::{self, Exclusion, Method, Tally, Threshold};
use dinh_proto::charter::record::{Role, Writers};
use dinh_proto::ids::{DocId, MemberId};
use std::collections::{BTreeMap, BTreeSet};
use village::{RECORDER, SECRETARY, Village, who};

const MEMBER: usize = 2;
const PROBATIONARY: usize = 3;
const LATE: usize = 4;

fn hall() -> Village {
    Village::new(&[Role::Member, Role::Member, Role::Probationary, Role::Member])
}

fn begin(village: &mut Village) -> DocId {
    let doc = village.create(SECRETARY, Writers::All, &minutes::SCHEMA);
    let header = [("issuing_org", "CHI BỘ THÔN NÀ MẬN"), ("type_name", "BIÊN BẢN")];
    let new = NewMinutes { meeting: "m1", period: "2026-12", kind: Kind::Regular, header: &header };
    village.act(SECRETARY, &doc, |e, _| minutes::create(e, &new));
    village.phones[SECRETARY].name_recorder(doc, who(RECORDER)).unwrap();
    village.sync();
    doc
}

fn step(village: &mut Village, i: usize, doc: &DocId, kind: &str, data: &[(&'static str, &str)]) {
    let data: Vec<(&'static str, Value)> = data.iter().map(|(k, v)| (*k, Value::from(*v))).collect();
    village.act(i, doc, |e, me| {
        let heads = lifecycle::fold::<minutes::state::MinutesLife>(&lifecycle::read(&e.view())).heads;
        lifecycle::write(e, me, kind, &heads, data).map(|_| ())
    });
}

fn open(village: &mut Village, doc: &DocId) {
    let when = [("time", "19:30"), ("place", "Nhà văn hóa thôn"), ("agenda", "a1")];
    step(village, SECRETARY, doc, "convened", &when);
    step(village, SECRETARY, doc, "open", &[("recorder", &who(RECORDER).to_string())]);
    village.sync();
}

#[test]
fn minutes_are_written_voted_on_sealed_and_what_comes_late_changes_nothing() {
    let mut village = hall();
    let doc = begin(&mut village);
    open(&mut village, &doc);
    let section =
        village.act(RECORDER, &doc, |e, me| outline::add_section(e, me, "II. Thảo luận", Put::Last));
    let speech = "Đồng chí Hạnh đề nghị khởi công trong tháng.";
    let block = village.act(RECORDER, &doc, |e, me| {
        outline::add_block(e, me, &section, "speech", speech, Some(&who(MEMBER)), Put::Last)
    });
    village.sync();
    // One phone goes home without signal, and its owner, who took over the writing there, corrects a sentence.
    village.phones[SECRETARY].name_recorder(doc, who(LATE)).unwrap();
    village.sync();
    village.leave(LATE);
    village.act(LATE, &doc, |e, _| e.set_text(&outline::text_of(&block), &speech.replace("tháng", "quý I")));
    // The others vote, read back, adopt, seal.
    let base = vote::base(&people(), &BTreeMap::new(), &Exclusion::ORDINARY.into());
    let motion = village.act(RECORDER, &doc, |e, me| {
        minutes::move_motion(e, me, "Thông qua biên bản", Threshold::MoreThanHalf, None)
    });
    let count = Count {
        motion: &motion,
        method: Method::ShowOfHands,
        base: &base,
        threshold: Threshold::MoreThanHalf,
        tally: Tally { yes: 3, no: 0, abstain: 1 },
        ballots: None,
    };
    let vote = village.act(RECORDER, &doc, |e, me| minutes::record_count(e, me, &count));
    village.sync();
    assert_eq!(village.minutes(MEMBER, &doc).motions[0].result(), None, "one person's word");
    village.act(SECRETARY, &doc, |e, me| minutes::confirm_count(e, me, &vote));
    step(&mut village, RECORDER, &doc, "read_back", &[]);
    village.sync();
    step(&mut village, SECRETARY, &doc, "adopted", &[("vote", &vote), ("heads", "h")]);
    let heads = village.phones[SECRETARY].document(&doc, |d| d.heads()).unwrap();
    let name = doc.to_string();
    let new =
        NewSeal { document: &name, schema: &minutes::SCHEMA, heads: &heads, number: None, previous: &[] };
    let sealed = village.act(SECRETARY, &doc, |e, me| seal::seal(e, me, &new));
    step(&mut village, SECRETARY, &doc, "signed", &[]);
    village.sync();
    for i in [SECRETARY, RECORDER, MEMBER, PROBATIONARY] {
        let found = village.minutes(i, &doc);
        assert!(found.motions[0].result().unwrap().carried);
        assert_eq!(found.life.status, Status::In(State::Signed), "phone {i}: {:?}", found.life.not_counted);
        assert_eq!(found.seals.get(), Some(&sealed));
        assert!(village.late(i, &doc).is_empty());
    }
    // Who knows of the seal is refused, whoever it is.
    let refused = village.try_act(SECRETARY, &doc, |e, _| e.set_text(&outline::text_of(&block), "khác"));
    assert!(refused.unwrap_err().to_string().contains("sealed"));
    // Three days later the phone comes back.
    village.come_back(LATE);
    village.sync();
    let mut said = BTreeSet::new();
    for i in 0..village.phones.len() {
        let (verified, text) = village.sealed(i, &doc, &sealed);
        assert_eq!(verified, Verified::Valid, "phone {i}");
        assert_eq!(text, speech, "phone {i}: the sealed text");
        let late = village.late(i, &doc);
        assert_eq!(late.len(), 1, "phone {i}");
        assert!(late[0].1.contains("blocks"), "{late:?}");
        said.insert(late);
        assert_eq!(village.minutes(i, &doc).life.status, Status::In(State::Signed));
    }
    assert_eq!(said.len(), 1, "all devices list the same");
}

fn people() -> BTreeMap<MemberId, Person> {
    let person = |name: &str, standing| Person {
        name: name.to_owned(),
        post: String::new(),
        standing,
        is_exempt: false,
        is_away: false,
        language: String::new(),
        has_phone: true,
    };
    [
        (who(SECRETARY), person("Hoàng Văn Thiết", Standing::Official)),
        (who(RECORDER), person("Lương Thị Mai", Standing::Official)),
        (who(MEMBER), person("Nông Thị Hạnh", Standing::Official)),
        (who(PROBATIONARY), person("Vi Thị Thơm", Standing::Probationary)),
        (who(LATE), person("Trần Quốc Hưng", Standing::Official)),
    ]
    .into()
}

#[test]
fn a_count_that_was_written_down_twice_holds_when_the_chair_picks_one() {
    let mut village = hall();
    let doc = begin(&mut village);
    village.phones[SECRETARY].name_recorder(doc, who(MEMBER)).unwrap();
    village.sync();
    let base = vote::base(&people(), &BTreeMap::new(), &BTreeSet::new());
    assert_eq!(base.count, 4);
    let motion = village.act(RECORDER, &doc, |e, me| {
        minutes::move_motion(e, me, "Thông qua nghị quyết", Threshold::MoreThanHalf, None)
    });
    village.sync();
    village.leave(MEMBER);
    let count = |yes, method| Count {
        motion: &motion,
        method,
        base: &base,
        threshold: Threshold::MoreThanHalf,
        tally: Tally { yes, no: 0, abstain: 0 },
        ballots: None,
    };
    let first =
        village.act(RECORDER, &doc, |e, me| minutes::record_count(e, me, &count(3, Method::ShowOfHands)));
    let second =
        village.act(MEMBER, &doc, |e, me| minutes::record_count(e, me, &count(2, Method::ShowOfHands)));
    village.act(SECRETARY, &doc, |e, me| minutes::record_count(e, me, &count(1, Method::Electronic)));
    village.come_back(MEMBER);
    village.sync();
    for i in 0..4 {
        let found = village.minutes(i, &doc);
        assert_eq!(found.motions[0].votes.len(), 3, "phone {i}");
        assert!(found.motions[0].is_counted_twice());
    }
    village.act(SECRETARY, &doc, |e, me| minutes::confirm_count(e, me, &first));
    village.sync();
    for i in 0..4 {
        let found = village.minutes(i, &doc);
        let result = found.motions[0].result().unwrap();
        assert_eq!((result.id.as_str(), result.tally.yes), (first.as_str(), 3));
        assert_eq!(result.confirmed_by, Some(who(SECRETARY)));
    }
    // A member, or the one who wrote it down, cannot confirm.
    assert!(village.try_act(MEMBER, &doc, |e, me| minutes::confirm_count(e, me, &second)).is_err());
}

#[test]
fn two_recorders_hide_nothing_of_each_other() {
    let mut village = hall();
    let doc = begin(&mut village);
    open(&mut village, &doc);
    village.phones[SECRETARY].name_recorder(doc, who(MEMBER)).unwrap();
    let section = village.act(RECORDER, &doc, |e, me| outline::add_section(e, me, "I. Mở đầu", Put::Last));
    let first = village.act(RECORDER, &doc, |e, me| {
        outline::add_block(e, me, &section, "narration", "Khai mạc lúc 19 giờ 30.", None, Put::Last)
    });
    village.sync();
    village.leave(MEMBER);
    let by_one = village.act(RECORDER, &doc, |e, me| {
        outline::add_block(e, me, &section, "speech", "ý kiến một", None, Put::After(&first))
    });
    let by_two = village.act(MEMBER, &doc, |e, me| {
        outline::add_block(e, me, &section, "speech", "ý kiến hai", None, Put::After(&first))
    });
    // One hides what the other goes on writing; both move it.
    village.act(RECORDER, &doc, |e, _| outline::hide_block(e, &first, true));
    village.act(MEMBER, &doc, |e, _| e.set_text(&outline::text_of(&first), "Khai mạc lúc 19 giờ 45."));
    village.act(RECORDER, &doc, |e, _| outline::move_block(e, &first, &section, Put::Last));
    village.act(MEMBER, &doc, |e, _| outline::move_block(e, &first, &section, Put::Last));
    village.come_back(MEMBER);
    village.sync();
    let expected = village.minutes(0, &doc).outline;
    for i in 0..4 {
        let found = village.minutes(i, &doc).outline;
        assert_eq!(found, expected, "phone {i}");
        let ids: BTreeSet<&str> = found.sections[0].blocks.iter().map(|b| b.id.as_str()).collect();
        assert_eq!(ids, BTreeSet::from([by_one.as_str(), by_two.as_str()]), "each once");
        let hidden = found.block(&first).unwrap();
        assert_eq!(hidden.text, "Khai mạc lúc 19 giờ 45.", "not lost");
        assert_eq!(found.hidden.len(), 1);
    }
    village.act(RECORDER, &doc, |e, _| outline::hide_block(e, &first, false));
    assert_eq!(village.minutes(RECORDER, &doc).outline.sections[0].blocks.len(), 3);
}

#[test]
fn attendance_is_the_recorders_and_checking_in_twice_is_once() {
    let mut village = hall();
    let list = village.create(SECRETARY, Writers::All, &roster::SCHEMA);
    let source = Source { authority: "Ban Tổ chức".to_owned(), at: 1 };
    village.act(SECRETARY, &list, |e, _| {
        roster::create(e)?;
        roster::import(e, &source, &people())
    });
    let doc = village.create(SECRETARY, Writers::All, &attendance::SCHEMA);
    village.act(SECRETARY, &doc, |e, _| attendance::create(e, "m1"));
    village.phones[SECRETARY].name_recorder(doc, who(RECORDER)).unwrap();
    village.sync();
    (1..5).for_each(|i| village.leave(i));
    for i in [MEMBER, PROBATIONARY] {
        village.act(i, &doc, |e, me| attendance::check_in(e, me, &who(i), Way::Qr));
        village.act(i, &doc, |e, me| attendance::check_in(e, me, &who(i), Way::Tap));
    }
    // The recorder, who has not heard of it, checks the same member in, and marks.
    village.act(RECORDER, &doc, |e, me| attendance::check_in(e, me, &who(MEMBER), Way::Tap));
    village.act(RECORDER, &doc, |e, _| attendance::mark(e, &who(MEMBER), Some(Mark::Present)));
    village.act(RECORDER, &doc, |e, _| attendance::mark(e, &who(LATE), Some(Mark::Excused)));
    village.act(SECRETARY, &doc, |e, _| attendance::mark(e, &who(LATE), Some(Mark::Unexcused)));
    assert!(
        village.try_act(MEMBER, &doc, |e, _| attendance::mark(e, &who(MEMBER), Some(Mark::Present))).is_err()
    );
    assert!(
        village.try_act(MEMBER, &doc, |e, me| attendance::check_in(e, me, &who(LATE), Way::Tap)).is_err()
    );
    (1..5).for_each(|i| village.come_back(i));
    village.sync();
    let expected = village.attendance(0, &doc);
    for i in 0..5 {
        let found = village.attendance(i, &doc);
        assert_eq!(found, expected, "phone {i}");
        assert_eq!(found.unconfirmed().collect::<Vec<_>>(), [&who(PROBATIONARY)]);
        let late = &found.entries[&who(LATE)].mark;
        assert!(late.is_contested(), "both are shown");
        let by: BTreeSet<MemberId> = late.all().iter().filter_map(|w| w.by).map(|w| w.member).collect();
        assert_eq!(by, BTreeSet::from([who(SECRETARY), who(RECORDER)]));
    }
    village.act(SECRETARY, &doc, |e, _| attendance::mark(e, &who(LATE), Some(Mark::Excused)));
    village.sync();
    let found = village.attendance(MEMBER, &doc);
    assert!(!found.entries[&who(LATE)].mark.is_contested());
    let people = village.roster(MEMBER, &list).shown();
    assert_eq!(people.len(), 5);
    let summary = found.summary(&people, &Exclusion::ORDINARY.into());
    assert_eq!((summary.total, summary.official, summary.present_official, summary.excused), (5, 4, 1, 1));
    assert_eq!(summary.base.count, 4);
}

#[test]
fn what_bears_the_mark_of_a_state_secret_is_refused() {
    let mut village = hall();
    let doc = begin(&mut village);
    let section = village.act(RECORDER, &doc, |e, me| outline::add_section(e, me, "I", Put::Last));
    let refused = village.try_act(RECORDER, &doc, |e, me| {
        outline::add_block(e, me, &section, "narration", "TỐI MẬT\nKế hoạch số 5", None, Put::Last)
    });
    assert!(refused.unwrap_err().to_string().contains("state secret"));
    // No device takes a classification above internal, whoever writes it.
    let classify = |village: &mut Village, what: &str| {
        village.try_act(SECRETARY, &doc, |e, _| e.put(&dinh_core::path!["classification"], what))
    };
    assert!(classify(&mut village, "public").is_ok());
    assert!(classify(&mut village, "secret").unwrap_err().to_string().contains("nobody"));
}
