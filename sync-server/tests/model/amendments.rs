//! What is sealed stays; what follows it says so. And documents of an older app, in a newer one's hands and back.

use dinh_core::document::Value;
use dinh_core::path;
use dinh_model::access::{act, read};
use dinh_model::amendment::{self, Relation};
use dinh_model::book::{self, Page};
use dinh_model::branch::{self, Standing};
use dinh_model::index::Entry;
use dinh_model::lifecycle::Status;
use dinh_model::outline;
use dinh_model::resolution::state::State;
use dinh_model::resolution::{self, Resolution, SCHEMA};
use dinh_model::seal::{self, Seal, Verified};
use dinh_proto::charter::record::{Role, Writers};
use dinh_proto::ids::DocId;

use crate::pair_common::NOW;
use crate::pair_common::net::{Net, member as who};

const SECRETARY: usize = 0;
const DEPUTY: usize = 1;

fn branch() -> (Net, Standing) {
    let mut net = Net::branch(&[Role::Deputy]);
    let branch = net.branch;
    let standing = branch::set_up(net.p(SECRETARY), NOW, branch, "Chi bộ").unwrap();
    net.tend();
    (net, standing)
}

fn draft(net: &mut Net, standing: &Standing, period: &str) -> DocId {
    let entry = Entry { schema: SCHEMA.name, period: Some(period), ..Entry::default() };
    branch::create(net.p(SECRETARY), NOW, &standing.members, Writers::All, &entry, |e, _| {
        resolution::create(e, &SCHEMA, period, &[("type_name", "NGHỊ QUYẾT")])
    })
    .unwrap()
}

fn step(net: &mut Net, doc: &DocId, kind: &str, data: &[(&'static str, &str)]) {
    let data = data.iter().map(|(k, v)| (*k, Value::from(*v)));
    act(net.p(SECRETARY), NOW, doc, None, |e, me| resolution::step(e, me, kind, data)).unwrap();
}

/// From the draft to its number.
fn issue(net: &mut Net, doc: &DocId, number: &str) {
    for (kind, data) in [
        ("committee_review", &[][..]),
        ("consulting", &[("heads", "1")]),
        ("tabled", &[("heads", "1"), ("meeting", "m")]),
    ] {
        step(net, doc, kind, data);
    }
    // The deputy counted, the secretary says so.
    let voted = [("heads", Value::from("1")), ("vote", "v".into()), ("threshold", "more_than_half".into())];
    let numbers =
        [("base", Value::Uint(15)), ("yes", Value::Uint(13)), ("counted_by", who(DEPUTY).to_string().into())];
    let data = voted.into_iter().chain(numbers);
    act(net.p(SECRETARY), NOW, doc, None, |e, me| resolution::step(e, me, "adopted", data)).unwrap();
    act(net.p(SECRETARY), NOW, doc, None, |e, me| resolution::issue(e, me, number, "2026-12-05")).unwrap();
    let early = format!("{:?}", read(net.p(SECRETARY), doc, Resolution::read).unwrap().may_seal());
    assert_eq!(early, "Ok(())");
}

/// From the draft to being in force, sealed.
fn enact(net: &mut Net, standing: &Standing, doc: &DocId, number: &str) -> Seal {
    issue(net, doc, number);
    let seal = book::seal(net.p(SECRETARY), NOW, &standing.members, doc).unwrap();
    step(net, doc, "in_force", &[]);
    net.tend();
    seal
}

/// The seal holds heads and the content at them: what is typed between the two would break it for ever.
#[test]
fn what_is_being_typed_is_in_the_seal() {
    let (mut net, standing) = branch();
    let doc = draft(&mut net, &standing, "2026-12");
    let (block, _) = act(net.p(SECRETARY), NOW, &doc, None, |e, me| {
        let section = outline::add_section(e, me, "Điều 1", outline::Put::Last)?;
        outline::add_block(e, me, &section, "clause", "Làm 200 m đường.", None, outline::Put::Last)
    })
    .unwrap();
    issue(&mut net, &doc, "23");
    let at = path!["blocks", block, "text"];
    net.p(SECRETARY).type_text(NOW, &doc, &at, "Làm 250 m đường.", true).unwrap();
    let seal = book::seal(net.p(SECRETARY), NOW, &standing.members, &doc).unwrap();
    net.tend();
    for i in [SECRETARY, DEPUTY] {
        let verified = net.p(i).document(&doc, |d| seal::verify(d, &seal, &SCHEMA).unwrap()).unwrap();
        assert_eq!(verified, Verified::Valid, "phone {i}");
        assert_eq!(net.p(i).view(&doc, |v| v.text(&at)).unwrap().as_deref(), Some("Làm 250 m đường."));
    }
}

#[test]
fn a_sealed_resolution_is_followed_by_another_one() {
    let (mut net, standing) = branch();
    let (old, new) = (draft(&mut net, &standing, "2026-12"), draft(&mut net, &standing, "2027-01"));
    let seal = enact(&mut net, &standing, &old, "23");
    // In the sealed one nothing changes, not by its maker either.
    let changed = act(net.p(SECRETARY), NOW, &old, None, |e, _| e.put(&path!["header", "abstract"], "khác"));
    assert!(changed.unwrap_err().to_string().contains("sealed"));
    let old_name = old.to_string();
    act(net.p(SECRETARY), NOW, &new, None, |e, _| {
        amendment::amend(e, &old_name, &seal.hash(), Relation::Supersedes)
    })
    .unwrap();
    let early = amendment::follow(net.p(SECRETARY), NOW, &old, &new).unwrap_err().to_string();
    assert!(early.contains("not sealed yet"), "{early}");
    let new_seal = enact(&mut net, &standing, &new, "24");
    let wrong = amendment::follow(net.p(SECRETARY), NOW, &new, &old).unwrap_err().to_string();
    assert!(wrong.contains("does not say"), "{wrong}");
    amendment::follow(net.p(SECRETARY), NOW, &old, &new).unwrap();
    net.tend();
    for i in [SECRETARY, DEPUTY] {
        let found = read(net.p(i), &old, Resolution::read).unwrap();
        assert_eq!(found.life.status, Status::In(State::Superseded), "{:?}", found.life.not_counted);
        let says = read(net.p(i), &new, amendment::read_all).unwrap();
        assert_eq!(
            (says[&old_name].relation, says[&old_name].seal.as_str()),
            (Relation::Supersedes, seal.hash().as_str())
        );
    }
    // The book: each seal names the one before.
    assert_eq!((new_seal.previous.clone(), seal.previous.len()), (vec![seal.hash()], 0));
    for i in [SECRETARY, DEPUTY] {
        let mut book = book::check(net.p(i), &standing.members).unwrap();
        book.sort_by_key(|(doc, _)| *doc == new);
        assert_eq!(book, [(old, Page::Valid), (new, Page::Valid)], "phone {i}");
    }
    // A page for a document that has no seal.
    let unsealed = draft(&mut net, &standing, "2027-02");
    let refused = book::seal(net.p(SECRETARY), NOW, &standing.members, &unsealed).unwrap_err().to_string();
    assert!(refused.contains("it is Drafting"), "{refused}");
    let page =
        [("hash".to_owned(), Value::from("11")), ("previous".to_owned(), Value::List(vec!["22".into()]))];
    let at = path!["seals", unsealed.to_string()];
    act(net.p(SECRETARY), NOW, &standing.members.index, None, |e, _| e.put(&at, Value::Map(page.into())))
        .unwrap();
    net.tend();
    let book = book::check(net.p(DEPUTY), &standing.members).unwrap();
    assert_eq!(book.len(), 3);
    assert!(book.contains(&(unsealed, Page::Incomplete)), "{book:?}");
    // What it says it does is sealed with it.
    let changed = act(net.p(SECRETARY), NOW, &new, None, |e, _| {
        amendment::amend(e, "another", &new_seal.hash(), Relation::Revokes)
    });
    assert!(changed.unwrap_err().to_string().contains("sealed"));
}

#[test]
fn a_field_that_came_later_is_made_twice_by_two_phones_and_both_are_read() {
    let (mut net, standing) = branch();
    let doc = draft(&mut net, &standing, "2026-12");
    net.tend();
    let had = net.p(DEPUTY).view(&doc, |v| v.get(&path![amendment::AMENDS])).unwrap();
    assert_eq!(had, None, "documents are not made with it");
    net.off(DEPUTY);
    for (i, of) in [(SECRETARY, "a"), (DEPUTY, "b")] {
        act(net.p(i), NOW, &doc, None, |e, _| amendment::amend(e, of, "00", Relation::Amends)).unwrap();
    }
    net.on(DEPUTY);
    net.tend();
    for i in [SECRETARY, DEPUTY] {
        let says = read(net.p(i), &doc, amendment::read_all).unwrap();
        assert_eq!(says.keys().collect::<Vec<_>>(), ["a", "b"], "phone {i}");
    }
}

#[test]
fn fields_of_a_newer_app_are_kept_by_an_older_one() {
    let (mut net, standing) = branch();
    let doc = draft(&mut net, &standing, "2026-12");
    net.tend();
    // A newer app's phone writes what this one knows nothing of.
    act(net.p(DEPUTY), NOW, &doc, None, |e, _| {
        e.put(&path!["mood"], "phấn khởi")?;
        e.put_map(&path!["annexes"])?;
        e.put(&path!["annexes", "x"], Value::Map([("pages".to_owned(), Value::Uint(3))].into()))
    })
    .unwrap();
    net.tend();
    act(net.p(SECRETARY), NOW, &doc, None, |e, _| e.put(&path!["header", "abstract"], "tháng 12")).unwrap();
    net.tend();
    for i in [SECRETARY, DEPUTY] {
        let kept = net.p(i).view(&doc, |v| (v.get(&path!["mood"]), v.get(&path!["annexes", "x", "pages"])));
        assert_eq!(kept.unwrap(), (Some("phấn khởi".into()), Some(Value::Uint(3))));
        let found = read(net.p(i), &doc, Resolution::read).unwrap();
        assert_eq!(found.header["abstract"].get().unwrap(), "tháng 12");
    }
}
