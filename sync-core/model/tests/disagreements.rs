//! When two phones disagree: each row of domain 2.14, on phones that are apart while they do. Status races are in
//! `transitions/races.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod village;

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::path;
use dinh_core::replica::ReplicaError;
use dinh_model::attendance::{self, Mark, Way};
use dinh_model::index::{self, Entry, Purpose};
use dinh_model::minutes::{self, Count, Kind, NewMinutes};
use dinh_model::outline::{self, Put};
use dinh_model::overlap;
use dinh_model::resolution::{self, NewAssignment};
use dinh_model::vote::{Base, Method, Tally, Threshold};
use dinh_proto::charter::record::{Role, Writers};
use dinh_proto::ids::{DocId, MemberId};
use village::{RECORDER, SECRETARY, Village, who};

const DEPUTY: usize = 2;
const COMMITTEE: usize = 3;
const MEMBER: usize = 4;
const PHONES: usize = 5;

fn village() -> Village {
    Village::new(&[Role::Member, Role::Deputy, Role::Committee, Role::Member])
}

/// A draft with one section and a block that says this.
fn draft(v: &mut Village, text: &str) -> (DocId, String, String) {
    let doc = v.create(SECRETARY, Writers::Members, &resolution::SCHEMA);
    let (section, block) = v.act(SECRETARY, &doc, |e, me| {
        resolution::create(e, &resolution::SCHEMA, "2026-12", &[])?;
        let section = outline::add_section(e, me, "II. Mục tiêu", Put::Last)?;
        let block = outline::add_block(e, me, &section, "item", text, None, Put::Last)?;
        Ok((section, block))
    });
    v.sync();
    (doc, section, block)
}

fn begun(v: &mut Village) -> DocId {
    let doc = v.create(SECRETARY, Writers::All, &minutes::SCHEMA);
    let new = NewMinutes { meeting: "m1", period: "2026-12", kind: Kind::Regular, header: &[] };
    v.act(SECRETARY, &doc, |e, _| minutes::create(e, &new));
    v.phones[SECRETARY].name_recorder(doc, who(RECORDER)).unwrap();
    v.sync();
    doc
}

/// What these do while each of them hears of nobody; then everybody meets.
fn apart(v: &mut Village, who: &[usize], f: impl FnOnce(&mut Village)) {
    who.iter().for_each(|i| v.leave(*i));
    f(v);
    who.iter().for_each(|i| v.come_back(*i));
    v.sync();
}

fn write(v: &mut Village, i: usize, doc: &DocId, block: &str, text: &str) {
    v.act(i, doc, |e, _| e.set_text(&outline::text_of(block), text));
}

fn text(v: &mut Village, i: usize, doc: &DocId, block: &str) -> String {
    v.outline(i, doc).block(block).unwrap().text.clone()
}

fn reread(v: &mut Village, i: usize, doc: &DocId, block: &str) -> Result<(), ReplicaError> {
    let heads = v.phones[i].document(doc, |d| d.heads()).unwrap();
    v.try_act(i, doc, |e, _| overlap::reread(e, block, &heads))
}

/// On all phones: which blocks are highlighted, and whose writing met there.
fn highlighted(v: &mut Village, doc: &DocId) -> BTreeMap<String, BTreeSet<MemberId>> {
    let said: Vec<_> = (0..PHONES).map(|i| v.overlaps(i, doc)).collect();
    assert!(said.iter().all(|s| *s == said[0]), "{said:?}");
    said[0].iter().map(|o| (o.block.clone(), o.members.clone())).collect()
}

#[test]
fn same_sentence_edited_by_two_drafters() {
    let mut v = village();
    let (doc, section, block) = draft(&mut v, "Hoàn thành giải phóng mặt bằng.");
    let other = v.act(SECRETARY, &doc, |e, me| {
        outline::add_block(e, me, &section, "item", "Thu đảng phí.", None, Put::Last)
    });
    v.sync();
    // One after the other, each knowing of the other, is nothing to look at.
    write(&mut v, DEPUTY, &doc, &block, "Hoàn thành giải phóng mặt bằng đường.");
    v.sync();
    write(&mut v, COMMITTEE, &doc, &block, "Hoàn thành giải phóng mặt bằng đường thôn.");
    v.sync();
    assert!(highlighted(&mut v, &doc).is_empty());
    // Apart: both insertions are kept, and the block is highlighted. Another block that only one wrote in is not.
    apart(&mut v, &[DEPUTY, COMMITTEE], |v| {
        write(v, DEPUTY, &doc, &block, "Hoàn thành giải phóng mặt bằng 420 m đường thôn.");
        write(v, COMMITTEE, &doc, &block, "Hoàn thành giải phóng mặt bằng đường thôn trước 20/12.");
        write(v, COMMITTEE, &doc, &other, "Thu đảng phí quý IV.");
    });
    for i in 0..PHONES {
        let merged = text(&mut v, i, &doc, &block);
        assert_eq!(merged, "Hoàn thành giải phóng mặt bằng 420 m đường thôn trước 20/12.", "phone {i}");
    }
    let two = BTreeSet::from([who(DEPUTY), who(COMMITTEE)]);
    assert_eq!(highlighted(&mut v, &doc), BTreeMap::from([(block.clone(), two.clone())]));
    // Who goes on writing in it has not reread it; a member does not say so for the drafters.
    write(&mut v, DEPUTY, &doc, &block, "Hoàn thành giải phóng mặt bằng 420 m đường thôn trước ngày 20/12.");
    v.sync();
    assert_eq!(highlighted(&mut v, &doc).len(), 1);
    assert!(matches!(reread(&mut v, MEMBER, &doc, &block), Err(ReplicaError::Denied(_))));
    // Who rereads it settles what it knew of, not what somebody wrote meanwhile.
    apart(&mut v, &[SECRETARY, COMMITTEE], |v| {
        write(
            v,
            SECRETARY,
            &doc,
            &block,
            "Phải hoàn thành giải phóng mặt bằng 420 m đường thôn trước ngày 20/12.",
        );
        write(
            v,
            COMMITTEE,
            &doc,
            &block,
            "Hoàn thành giải phóng mặt bằng 420 m đường thôn trước ngày 25/12.",
        );
        reread(v, COMMITTEE, &doc, &block).unwrap();
    });
    let newer = BTreeSet::from([who(SECRETARY), who(COMMITTEE)]);
    assert_eq!(highlighted(&mut v, &doc), BTreeMap::from([(block.clone(), newer)]));
    reread(&mut v, SECRETARY, &doc, &block).unwrap();
    v.sync();
    assert!(highlighted(&mut v, &doc).is_empty());
}

#[test]
fn one_member_with_two_phones_is_one_writer() {
    let mut v = village();
    let (doc, _, block) = draft(&mut v, "Thu đảng phí.");
    let second = v.second_phone(COMMITTEE);
    v.sync();
    apart(&mut v, &[COMMITTEE, second], |v| {
        write(v, COMMITTEE, &doc, &block, "Thu đảng phí quý IV.");
        write(v, second, &doc, &block, "Tiếp tục thu đảng phí.");
    });
    assert_eq!(text(&mut v, SECRETARY, &doc, &block), "Tiếp tục thu đảng phí quý IV.");
    assert!(highlighted(&mut v, &doc).is_empty());
}

#[test]
fn both_correct_the_tone_of_one_syllable() {
    let mut v = village();
    let (doc, _, block) = draft(&mut v, "Chi bộ đoàn kết, hoa thuận.");
    assert!(v.outline(SECRETARY, &doc).two_tones().is_empty());
    apart(&mut v, &[DEPUTY, COMMITTEE], |v| {
        write(v, DEPUTY, &doc, &block, "Chi bộ đoàn kết, hòa thuận.");
        write(v, COMMITTEE, &doc, &block, "Chi bộ đoàn kết, hoà thuận.");
    });
    for i in 0..PHONES {
        let found = v.outline(i, &doc);
        assert_eq!(found.block(&block).unwrap().text, "Chi bộ đoàn kết, hòà thuận.", "phone {i}");
        assert_eq!(found.two_tones(), [(block.as_str(), 17..20)], "phone {i}");
    }
    assert_eq!(highlighted(&mut v, &doc).len(), 1, "and it is highlighted");
    write(&mut v, SECRETARY, &doc, &block, "Chi bộ đoàn kết, hòa thuận.");
    v.sync();
    assert!(v.outline(MEMBER, &doc).two_tones().is_empty());
}

#[test]
fn same_due_date_changed() {
    let mut v = village();
    let (doc, ..) = draft(&mut v, "…");
    let new =
        NewAssignment {
            task: "Vận động", owners: &[who(MEMBER)], quantity: "04 hộ", due: "2026-12-15"
        };
    let task = v.act(SECRETARY, &doc, |e, me| resolution::assign(e, me, &new));
    v.sync();
    apart(&mut v, &[DEPUTY, COMMITTEE], |v| {
        v.act(DEPUTY, &doc, |e, _| resolution::set_due(e, &task, "2026-12-10"));
        v.act(COMMITTEE, &doc, |e, _| resolution::set_due(e, &task, "2026-12-12"));
    });
    for i in 0..PHONES {
        let due = &v.resolution(i, &doc).assignments[0].due;
        assert!(due.is_contested(), "phone {i}");
        let both: BTreeSet<_> = due.all().iter().map(|w| (w.value.as_str(), w.by.unwrap().member)).collect();
        assert_eq!(both, BTreeSet::from([("2026-12-10", who(DEPUTY)), ("2026-12-12", who(COMMITTEE))]));
    }
    v.act(SECRETARY, &doc, |e, _| resolution::set_due(e, &task, "2026-12-12"));
    v.sync();
    for i in 0..PHONES {
        let due = &v.resolution(i, &doc).assignments[0].due;
        assert_eq!((due.is_contested(), due.get().map(String::as_str)), (false, Some("2026-12-12")));
    }
}

#[test]
fn block_deleted_and_edited() {
    let mut v = village();
    let (doc, section, block) = draft(&mut v, "Làm đường 420 m.");
    apart(&mut v, &[DEPUTY, COMMITTEE], |v| {
        v.act(DEPUTY, &doc, |e, _| outline::hide_block(e, &block, true));
        write(v, COMMITTEE, &doc, &block, "Làm đường 430 m.");
    });
    for i in 0..PHONES {
        let found = v.outline(i, &doc);
        assert!(found.sections[0].blocks.is_empty(), "phone {i}: left out");
        assert_eq!(found.hidden[0].text, "Làm đường 430 m.", "phone {i}: nothing is lost");
    }
    v.act(SECRETARY, &doc, |e, _| outline::hide_block(e, &block, false));
    v.sync();
    assert_eq!(v.outline(MEMBER, &doc).sections[0].blocks[0].text, "Làm đường 430 m.");
    // Nobody removes one, nor what holds them all, in drafts and in minutes.
    for (place, what) in [
        (path!["blocks", block.as_str()], "a block"),
        (path!["sections", section.as_str()], "a section"),
        (path!["blocks"], "all blocks"),
        (path!["events"], "all events"),
    ] {
        let refused = v.try_act(SECRETARY, &doc, |e, _| e.delete(&place));
        assert!(matches!(refused, Err(ReplicaError::Denied(_))), "{what}: {refused:?}");
    }
    let minutes = begun(&mut v);
    let block = v.act(RECORDER, &minutes, |e, me| {
        let section = outline::add_section(e, me, "I", Put::Last)?;
        outline::add_block(e, me, &section, "speech", "…", None, Put::Last)
    });
    for place in [path!["blocks", block.as_str()], path!["blocks"], path!["votes"]] {
        let refused = v.try_act(RECORDER, &minutes, |e, _| e.delete(&place));
        assert!(matches!(refused, Err(ReplicaError::Denied(_))), "{refused:?}");
    }
    assert!(v.try_act(RECORDER, &minutes, |e, _| e.put_map(&path!["blocks"])).is_err(), "nor hides them");
}

#[test]
fn two_recorders_take_minutes() {
    let mut v = village();
    let doc = begun(&mut v);
    v.phones[SECRETARY].name_recorder(doc, who(MEMBER)).unwrap();
    let section = v.act(SECRETARY, &doc, |e, me| outline::add_section(e, me, "II. Thảo luận", Put::Last));
    v.sync();
    let mut blocks = Vec::new();
    apart(&mut v, &[RECORDER, MEMBER], |v| {
        for i in [RECORDER, MEMBER] {
            v.act(i, &doc, |e, _| minutes::set(e, &path!["recorder"], who(i).to_string()));
            blocks.push(v.act(i, &doc, |e, me| {
                outline::add_block(e, me, &section, "speech", "Đồng chí Hạnh phát biểu.", None, Put::Last)
            }));
        }
    });
    for i in 0..PHONES {
        let found = v.minutes(i, &doc);
        assert_eq!(found.outline.sections[0].blocks.len(), 2, "phone {i}: both are there");
        assert!(
            found.recorder.is_contested() && found.attachments().is_empty(),
            "phone {i}: not decided yet"
        );
    }
    v.act(SECRETARY, &doc, |e, _| {
        minutes::set(e, &path!["recorder"], who(RECORDER).to_string())?;
        minutes::set(e, &path!["chair"], who(SECRETARY).to_string())
    });
    // What the chair corrects stays with its writer, and what the chair adds is no attachment.
    write(&mut v, SECRETARY, &doc, &blocks[1], "Đồng chí Hạnh đề nghị khởi công.");
    v.act(SECRETARY, &doc, |e, me| {
        outline::add_block(e, me, &section, "conclusion", "Thống nhất.", None, Put::Last)
    });
    v.sync();
    for i in 0..PHONES {
        let found = v.minutes(i, &doc);
        let beside: Vec<&str> = found.attachments().iter().map(|b| b.id.as_str()).collect();
        assert_eq!(beside, [blocks[1].as_str()], "phone {i}");
        assert_eq!(found.outline.sections[0].blocks.len(), 3);
    }
}

#[test]
fn member_checks_in_twice_and_from_two_devices() {
    let mut v = village();
    let doc = v.create(SECRETARY, Writers::All, &attendance::SCHEMA);
    v.act(SECRETARY, &doc, |e, _| attendance::create(e, "m1"));
    v.phones[SECRETARY].name_recorder(doc, who(RECORDER)).unwrap();
    v.sync();
    let second = v.second_phone(MEMBER);
    let check_in =
        |v: &mut Village, i, way| v.act(i, &doc, |e, me| attendance::check_in(e, me, &who(MEMBER), way));
    apart(&mut v, &[MEMBER, second], |v| {
        check_in(v, MEMBER, Way::Qr);
        check_in(v, MEMBER, Way::Tap);
        check_in(v, second, Way::Tap);
        check_in(v, RECORDER, Way::Audio);
    });
    let expected = v.attendance(SECRETARY, &doc);
    let changes = v.phones[SECRETARY].document(&doc, |d| d.history().len()).unwrap();
    for i in 0..=second {
        let found = v.attendance(i, &doc);
        assert_eq!(found, expected, "phone {i}");
        assert_eq!(found.entries.keys().collect::<Vec<_>>(), [&who(MEMBER)], "one person, once");
        assert_eq!(found.unconfirmed().collect::<Vec<_>>(), [&who(MEMBER)]);
        // Once more is no news.
        if i == MEMBER || i == second {
            check_in(&mut v, i, Way::Tap);
        }
    }
    v.act(RECORDER, &doc, |e, _| attendance::mark(e, &who(MEMBER), Some(Mark::Present)));
    v.sync();
    for i in 0..=second {
        assert_eq!(v.attendance(i, &doc).marks(), BTreeMap::from([(who(MEMBER), Mark::Present)]));
        let now = v.phones[i].document(&doc, |d| d.history().len()).unwrap();
        assert_eq!(now, changes + 1, "phone {i}: only the mark is new");
    }
}

#[test]
fn tally_recorded_twice() {
    let mut v = village();
    let doc = begun(&mut v);
    let motion = v.act(RECORDER, &doc, |e, me| {
        minutes::move_motion(e, me, "Thông qua nghị quyết", Threshold::MoreThanHalf, None)
    });
    v.sync();
    let base = Base { count: 17, excluding: BTreeSet::new(), left_out: BTreeMap::new() };
    let record = |v: &mut Village, i: usize, yes| {
        let count = Count {
            motion: &motion,
            method: Method::ShowOfHands,
            base: &base,
            threshold: Threshold::MoreThanHalf,
            tally: Tally { yes, no: 17 - yes, abstain: 0 },
            ballots: None,
        };
        v.act(i, &doc, |e, me| minutes::record_count(e, me, &count))
    };
    let mut counts = Vec::new();
    apart(&mut v, &[RECORDER, DEPUTY], |v| {
        counts.push(record(v, RECORDER, 13));
        counts.push(record(v, DEPUTY, 12));
    });
    for i in 0..PHONES {
        let found = v.minutes(i, &doc).motions.remove(0);
        assert_eq!(found.votes.len(), 2, "phone {i}: not 25 hands");
        assert!(
            found.is_counted_twice() && found.result().is_none(),
            "phone {i}: the second one is a warning"
        );
    }
    // Two officers confirm different ones, apart: it is still open, and the chair picks.
    apart(&mut v, &[SECRETARY, DEPUTY], |v| {
        v.act(DEPUTY, &doc, |e, me| minutes::confirm_count(e, me, &counts[0]));
        v.act(SECRETARY, &doc, |e, me| minutes::confirm_count(e, me, &counts[1]));
    });
    for i in 0..PHONES {
        assert!(v.minutes(i, &doc).motions[0].is_counted_twice(), "phone {i}");
    }
    for i in [RECORDER, MEMBER] {
        let refused = v.try_act(i, &doc, |e, _| minutes::choose_count(e, &motion, &counts[0]));
        assert!(matches!(refused, Err(ReplicaError::Denied(_))), "not by {i}");
    }
    v.act(SECRETARY, &doc, |e, _| minutes::choose_count(e, &motion, &counts[1]));
    v.sync();
    for i in 0..PHONES {
        let found = v.minutes(i, &doc).motions.remove(0);
        assert_eq!(found.result().map(|vote| vote.tally.yes), Some(12), "phone {i}");
        assert!(!found.is_counted_twice());
    }
}

#[test]
fn two_people_open_two_meetings_for_the_month() {
    let mut v = village();
    let index = v.create(SECRETARY, Writers::All, &index::SCHEMA);
    v.act(SECRETARY, &index, |e, _| index::create(e, Purpose::Branch, None));
    v.sync();
    let open = |v: &mut Village, i: usize, period: &str, kind: Kind| {
        let doc = v.create(i, Writers::All, &minutes::SCHEMA);
        let new = NewMinutes { meeting: "m", period, kind, header: &[] };
        v.act(i, &doc, |e, _| minutes::create(e, &new));
        let (name, schema) = (doc.to_string(), minutes::SCHEMA.name);
        v.act(i, &index, |e, me| {
            let entry = Entry { schema, period: Some(period), kind: Some(kind.name()), of: None };
            index::list(e, me, &name, &entry)
        });
        name
    };
    let mut docs = Vec::new();
    apart(&mut v, &[SECRETARY, DEPUTY], |v| {
        docs.push(open(v, SECRETARY, "2026-12", Kind::Regular));
        docs.push(open(v, DEPUTY, "2026-12", Kind::Regular));
        open(v, SECRETARY, "2026-12", Kind::Thematic);
        open(v, DEPUTY, "2027-01", Kind::Regular);
    });
    docs.sort();
    for i in 0..PHONES {
        let found = v.index(i, &index);
        assert_eq!(found.documents.len(), 4, "phone {i}");
        assert_eq!(found.doubles(), [docs.iter().map(String::as_str).collect::<Vec<_>>()], "phone {i}");
    }
    // Who is no officer does not say which one it is.
    let refused = v.try_act(MEMBER, &index, |e, _| index::link(e, &docs[1], &docs[0]));
    assert!(matches!(refused, Err(ReplicaError::Denied(_))));
    v.act(SECRETARY, &index, |e, _| index::link(e, &docs[1], &docs[0]));
    v.sync();
    for i in 0..PHONES {
        let found = v.index(i, &index);
        assert!(found.doubles().is_empty(), "phone {i}");
        assert_eq!(found.documents[&docs[1]].same_as.get(), Some(&docs[0]), "phone {i}");
    }
}

#[test]
fn block_moved_by_two() {
    let mut v = village();
    let (doc, section, block) = draft(&mut v, "một");
    let other = v.act(SECRETARY, &doc, |e, me| outline::add_section(e, me, "III. Giải pháp", Put::Last));
    let (two, three) = v.act(SECRETARY, &doc, |e, me| {
        let two = outline::add_block(e, me, &section, "item", "hai", None, Put::Last)?;
        Ok((two, outline::add_block(e, me, &section, "item", "ba", None, Put::Last)?))
    });
    v.sync();
    let shown = |v: &mut Village, i: usize| -> Vec<Vec<String>> {
        let outline = v.outline(i, &doc);
        outline.sections.iter().map(|s| s.blocks.iter().map(|b| b.text.clone()).collect()).collect()
    };
    // To two places in one section.
    apart(&mut v, &[DEPUTY, COMMITTEE], |v| {
        v.act(DEPUTY, &doc, |e, _| outline::move_block(e, &block, &section, Put::After(&two)));
        v.act(COMMITTEE, &doc, |e, _| outline::move_block(e, &block, &section, Put::Last));
        write(v, COMMITTEE, &doc, &block, "một, sửa");
    });
    let expected = shown(&mut v, SECRETARY);
    assert_eq!(expected[0].len(), 3, "each once: {expected:?}");
    assert!(expected[0] == ["hai", "một, sửa", "ba"] || expected[0] == ["hai", "ba", "một, sửa"]);
    (0..PHONES).for_each(|i| assert_eq!(shown(&mut v, i), expected, "phone {i}"));
    assert!(v.outline(MEMBER, &doc).block(&block).unwrap().order.is_contested(), "both places are known");
    // To two sections.
    apart(&mut v, &[DEPUTY, COMMITTEE], |v| {
        v.act(DEPUTY, &doc, |e, _| outline::move_block(e, &three, &other, Put::Last));
        v.act(COMMITTEE, &doc, |e, _| outline::move_block(e, &three, &section, Put::First));
    });
    let expected = shown(&mut v, SECRETARY);
    assert_eq!(expected.iter().map(Vec::len).sum::<usize>(), 3, "each once: {expected:?}");
    assert_eq!(expected.iter().flatten().filter(|text| *text == "ba").count(), 1);
    (0..PHONES).for_each(|i| assert_eq!(shown(&mut v, i), expected, "phone {i}"));
}
