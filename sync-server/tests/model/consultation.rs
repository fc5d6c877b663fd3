//! A draft goes to the branch and the upper body, round by round.

use dinh_core::document::Value;
use dinh_model::access::{act, read};
use dinh_model::branch::{self, Standing};
use dinh_model::consultation::{self, Round};
use dinh_model::index::Entry;
use dinh_model::lifecycle::Status;
use dinh_model::outline::{self, Put};
use dinh_model::resolution::state::State;
use dinh_model::resolution::{self, NewAssignment, Resolution, parts};
use dinh_model::review::{self, NewComment, Review, Severity};
use dinh_model::suggestion::{self, Place};
use dinh_proto::charter::record::{Role, Writers};
use dinh_proto::ids::DocId;

use crate::pair_common::NOW;
use crate::pair_common::net::{Net, member as who};

const SECRETARY: usize = 0;
const DEPUTY: usize = 1;
const MEMBER: usize = 3;
const REVIEWER: usize = 4;

const ROAD: &str = "Hoàn thành 420 m đường xóm Khuổi Lặn trước ngày 20/12.";
const SECOND: &str = "Trồng hoa hai bên đường.";

struct Drafted {
    net: Net,
    standing: Standing,
    draft: DocId,
    section: String,
    block: String,
}

fn drafted() -> Drafted {
    let mut net = Net::branch(&[Role::Deputy, Role::Committee, Role::Member, Role::Reviewer]);
    let branch = net.branch;
    let standing = branch::set_up(net.p(SECRETARY), NOW, branch, "Chi bộ thôn Nà Mận").unwrap();
    let entry = Entry { schema: resolution::SCHEMA.name, period: Some("2026-12"), ..Entry::default() };
    let mut ids = (String::new(), String::new());
    let draft = branch::create(net.p(SECRETARY), NOW, &standing.committee, Writers::All, &entry, |e, me| {
        resolution::create(e, &resolution::SCHEMA, "2026-12", &[("symbol", "NQ/CB")])?;
        ids.0 = outline::add_section(e, me, "II. Mục tiêu", Put::Last)?;
        ids.1 = outline::add_block(e, me, &ids.0, "item", ROAD, None, Put::Last)?;
        parts::add_legal_basis(e, me, "Căn cứ Điều lệ;")?;
        parts::add_recipient(e, me, "Đảng ủy xã")?;
        parts::set_signature(e, "T/M CHI BỘ", "BÍ THƯ", &who(SECRETARY))?;
        parts::set_enacting_clause(e, "Chi bộ quyết nghị:")?;
        let owners = [who(MEMBER)];
        let task =
            NewAssignment { task: "Vận động", owners: &owners, quantity: "23 hộ", due: "2026-12-20" };
        resolution::assign(e, me, &task).map(|_| ())
    });
    net.tend();
    Drafted { net, standing, draft: draft.unwrap(), section: ids.0, block: ids.1 }
}

fn step(net: &mut Net, i: usize, doc: &DocId, kind: &str, data: &[(&'static str, &str)]) {
    let data = data.iter().map(|(k, v)| (*k, Value::from(*v)));
    act(net.p(i), NOW, doc, None, |e, me| resolution::step(e, me, kind, data)).unwrap();
}

fn resolution(net: &mut Net, i: usize, doc: &DocId) -> Resolution {
    read(net.p(i), doc, Resolution::read).unwrap()
}

fn text(net: &mut Net, i: usize, doc: &DocId) -> Vec<String> {
    let outline = resolution(net, i, doc).outline;
    outline.sections.iter().flat_map(|s| &s.blocks).map(|b| b.text.clone()).collect()
}

#[test]
fn a_draft_is_the_committees_until_a_round_is_opened() {
    let Drafted { mut net, draft, .. } = drafted();
    let branch = net.branch;
    assert!(net.p(MEMBER).document(&draft, |d| d.heads().is_empty()).unwrap(), "members do not have it");
    let open = |net: &mut Net, i: usize| {
        consultation::open_round(net.p(i), NOW, &branch, &draft, &resolution::SCHEMA)
    };
    let early = open(&mut net, SECRETARY).unwrap_err().to_string();
    assert!(early.contains("has not looked"), "{early}");
    step(&mut net, SECRETARY, &draft, "committee_review", &[]);
    let opened = open(&mut net, SECRETARY).unwrap();
    net.tend();
    assert_eq!(opened.round, 1);
    for i in [SECRETARY, DEPUTY, MEMBER] {
        let found = resolution(&mut net, i, &opened.resolution);
        assert_eq!((found.round, &found.life.status), (1, &Status::In(State::Consulting)), "phone {i}");
        assert_eq!(found.outline.plain(), format!("II. Mục tiêu\n{ROAD}\n"));
        assert_eq!(found.assignments[0].due.get().unwrap(), "2026-12-20");
        assert_eq!(found.legal_bases.values().collect::<Vec<_>>(), ["Căn cứ Điều lệ;"]);
        assert_eq!((found.recipients.len(), found.signature.signer.get()), (1, Some(&who(SECRETARY))));
    }
    assert_eq!(resolution(&mut net, DEPUTY, &draft).life.status, Status::In(State::Consulting));
    // Reviewers read the round, not the resolution.
    assert!(net.p(REVIEWER).document(&opened.resolution, |d| d.heads().is_empty()).unwrap());
    let round = read(net.p(REVIEWER), &opened.frozen, Round::read).unwrap().unwrap();
    assert_eq!((round.round, round.subject.as_str()), (1, opened.resolution.to_string().as_str()));
    assert_eq!(round.sections[0].blocks[0].1, ROAD);
    assert!(
        net.p(MEMBER).document(&opened.frozen, |d| d.heads().is_empty()).unwrap(),
        "nor members the review"
    );
    let asked = read(net.p(REVIEWER), &opened.review, Review::read).unwrap();
    assert_eq!(asked.life.status, Status::In(review::state::State::Requested(1)));
    // Once more changes nothing.
    assert_eq!(open(&mut net, SECRETARY).unwrap(), opened);
    assert_eq!(open(&mut net, DEPUTY).unwrap(), opened);
    // A round does not change any more, whoever opened it.
    let changed = act(net.p(SECRETARY), NOW, &opened.frozen, None, |e, _| {
        e.put(&dinh_core::path!["round", "number"], Value::Uint(9))
    });
    assert!(changed.is_err());
}

#[test]
fn what_is_being_typed_goes_along_with_what_is_copied() {
    let Drafted { mut net, draft, block, .. } = drafted();
    let branch = net.branch;
    step(&mut net, SECRETARY, &draft, "committee_review", &[]);
    let at = outline::text_of(&block);
    let typed = format!("Thôn: {ROAD}");
    net.p(SECRETARY).type_text(NOW, &draft, &at, &typed, true).unwrap();
    let opened =
        consultation::open_round(net.p(SECRETARY), NOW, &branch, &draft, &resolution::SCHEMA).unwrap();
    net.tend();
    assert_eq!(text(&mut net, MEMBER, &opened.resolution), std::slice::from_ref(&typed));
    let typed = format!("{typed} Xong.");
    net.p(SECRETARY).type_text(NOW, &opened.resolution, &at, &typed, true).unwrap();
    consultation::take_back(net.p(SECRETARY), NOW, &branch, &draft).unwrap();
    net.tend();
    assert_eq!(text(&mut net, DEPUTY, &draft), [typed]);
}

#[test]
fn what_members_and_reviewers_say_reaches_the_next_round() {
    let Drafted { mut net, standing, draft, section, block } = drafted();
    let branch = net.branch;
    step(&mut net, SECRETARY, &draft, "committee_review", &[]);
    let first =
        consultation::open_round(net.p(SECRETARY), NOW, &branch, &draft, &resolution::SCHEMA).unwrap();
    net.tend();
    let at = ROAD.encode_utf16().count() - 6;
    act(net.p(MEMBER), NOW, &first.resolution, None, |e, me| {
        suggestion::suggest(e, me, &block, at..at + 5, "25/12")
    })
    .unwrap();
    let comment = NewComment {
        round: 1,
        severity: Severity::MustFix,
        quote: Some((&block, ROAD)),
        answers: None,
        text: "Ghi rõ ai làm.",
    };
    act(net.p(REVIEWER), NOW, &first.review, None, |e, me| {
        review::comment(e, me, &comment)?;
        review::step(e, me, "returned", 1)
    })
    .unwrap();
    net.tend();
    let said = read(net.p(DEPUTY), &first.review, Review::read).unwrap();
    assert_eq!(said.comments[0].text, "Ghi rõ ai làm.");
    assert_eq!(said.life.status, Status::In(review::state::State::Returned(1)));
    let found = resolution(&mut net, SECRETARY, &first.resolution).suggestions.remove(0);
    let Place::Here(range) = net.p(SECRETARY).view(&first.resolution, |v| found.place(v)).unwrap() else {
        panic!("it has its place")
    };
    act(net.p(SECRETARY), NOW, &first.resolution, Some(&suggestion::credit(&found)), |e, _| {
        suggestion::accept(e, &found, &range)
    })
    .unwrap();
    consultation::take_back(net.p(SECRETARY), NOW, &branch, &draft).unwrap();
    net.tend();
    let mended = ROAD.replace("20/12", "25/12");
    assert_eq!(text(&mut net, DEPUTY, &draft), std::slice::from_ref(&mended));
    assert_eq!(resolution(&mut net, DEPUTY, &draft).life.status, Status::In(State::Drafting));
    // The committee goes on; the branch does not see it until the next round. Two of the committee write at the same time.
    net.off(DEPUTY);
    act(net.p(DEPUTY), NOW, &draft, None, |e, me| {
        outline::add_block(e, me, &section, "item", SECOND, None, Put::Last)
    })
    .unwrap();
    let mended = format!("Xóm trưởng phụ trách: {mended}");
    act(net.p(SECRETARY), NOW, &draft, None, |e, _| e.set_text(&outline::text_of(&block), &mended)).unwrap();
    net.on(DEPUTY);
    net.tend();
    assert_eq!(text(&mut net, MEMBER, &first.resolution).len(), 1);
    let second = consultation::open_round(net.p(DEPUTY), NOW, &branch, &draft, &resolution::SCHEMA).unwrap();
    net.tend();
    assert_eq!((second.round, second.resolution, second.review), (2, first.resolution, first.review));
    assert_ne!(second.frozen, first.frozen);
    for i in [SECRETARY, DEPUTY, MEMBER] {
        assert_eq!(text(&mut net, i, &first.resolution), [mended.clone(), SECOND.to_owned()], "phone {i}");
        let found = resolution(&mut net, i, &first.resolution);
        assert_eq!((found.round, found.suggestions.len()), (2, 1), "suggestions stay");
        assert_eq!(
            (found.legal_bases.len(), found.recipients.len(), found.assignments.len()),
            (1, 1, 1),
            "once"
        );
    }
    let frozen = |net: &mut Net, doc: &DocId| read(net.p(REVIEWER), doc, Round::read).unwrap().unwrap();
    assert_eq!(frozen(&mut net, &first.frozen).sections[0].blocks.len(), 1, "the first round is as it was");
    assert_eq!(frozen(&mut net, &second.frozen).sections[0].blocks.len(), 2);
    let asked = read(net.p(REVIEWER), &second.review, Review::read).unwrap();
    assert_eq!(asked.life.status, Status::In(review::state::State::Requested(2)));
    // A third time nothing is doubled, and what the draft drops is hidden.
    consultation::take_back(net.p(SECRETARY), NOW, &branch, &draft).unwrap();
    let blocks = resolution(&mut net, SECRETARY, &draft).outline.sections[0].blocks.clone();
    assert_eq!(blocks.len(), 2);
    act(net.p(SECRETARY), NOW, &draft, None, |e, _| outline::hide_block(e, &blocks[1].id, true)).unwrap();
    let third =
        consultation::open_round(net.p(SECRETARY), NOW, &branch, &draft, &resolution::SCHEMA).unwrap();
    net.tend();
    assert_eq!(third.round, 3);
    assert_eq!(text(&mut net, MEMBER, &first.resolution), [mended]);
    assert_eq!(resolution(&mut net, MEMBER, &first.resolution).outline.hidden.len(), 1, "nothing is deleted");
    assert_eq!(standing, branch::standing(net.p(DEPUTY), &branch).unwrap().unwrap());
}
