//! Search over everything that a phone may read, and what it must not find.

use dinh_model::access::act;
use dinh_model::branch;
use dinh_model::feedback::{self, Kind, NewThread};
use dinh_model::index::{Entry, Purpose};
use dinh_model::library::{Library, with_texts};
use dinh_model::notice;
use dinh_proto::charter::record::{Role, Writers};
use dinh_text::search::Quality;

use crate::pair_common::NOW;
use crate::pair_common::net::{Net, member as who};

const SECRETARY: usize = 0;
const AUTHOR: usize = 1;
const OTHER: usize = 2;

/// What was found: the text, and the words in it that are marked.
fn found(net: &mut Net, library: &mut Library, i: usize, query: &str) -> Vec<(String, Vec<String>)> {
    for event in std::mem::take(&mut net.nodes[i].events) {
        library.note(&event);
    }
    library.refresh(net.p(i)).unwrap();
    let hits = library.search(query, 50);
    let all = with_texts(net.p(i), hits).unwrap().into_iter().map(|found| {
        let units: Vec<u16> = found.text.encode_utf16().collect();
        let word = |range: &std::ops::Range<usize>| String::from_utf16(&units[range.clone()]).unwrap();
        (found.text.clone(), found.hit.highlights.iter().map(word).collect())
    });
    all.collect()
}

#[test]
fn words_are_found_with_and_without_marks_in_what_a_phone_may_read_and_nowhere_else() {
    let mut net = Net::branch(&[Role::Member, Role::Member]);
    let branch = net.branch;
    let standing = branch::set_up(net.p(SECRETARY), NOW, branch, "Chi bộ").unwrap();
    branch::open_mailbox(net.p(SECRETARY), NOW, branch, who(AUTHOR)).unwrap();
    let entry = Entry { schema: notice::SCHEMA.name, ..Entry::default() };
    let texts = ["Họp tại Ha Noi.", "Đi Hà Nội ngày 20/12.", "Hồ sơ đã gửi."];
    let notices: Vec<_> = texts
        .iter()
        .map(|text| {
            branch::create(net.p(SECRETARY), NOW, &standing.members, Writers::Officers, &entry, |e, _| {
                notice::create(e, "Thông báo", text, None)
            })
            .unwrap()
        })
        .collect();
    net.tend();
    let mailbox = branch::mailbox_of(net.p(AUTHOR), &branch, &who(AUTHOR), Purpose::MailboxCommittee);
    let mailbox = mailbox.unwrap().unwrap();
    let thread = NewThread {
        kind: Kind::ConfidentialReport,
        title: "Chuyện ở Hà Nội",
        text: "Riêng.",
        language: "vi",
        subject: None,
        on_behalf_of: None,
    };
    act(net.p(AUTHOR), NOW, &mailbox, None, |e, me| feedback::submit(e, me, &thread)).unwrap();
    net.tend();
    let mut libraries = [Library::new(), Library::new(), Library::new()];
    let decomposed = "ha\u{300} no\u{323}\u{302}i";
    for query in ["hà nội", decomposed] {
        let other = found(&mut net, &mut libraries[OTHER], OTHER, query);
        assert_eq!(other.len(), 2, "{query}: {other:?}");
        assert_eq!(
            other[0],
            (texts[1].to_owned(), vec!["Hà".to_owned(), "Nội".to_owned()]),
            "as it is written first"
        );
        let author = found(&mut net, &mut libraries[AUTHOR], AUTHOR, query);
        assert_eq!(author.len(), 3, "its own thread too");
    }
    let folded = found(&mut net, &mut libraries[OTHER], OTHER, "ha noi");
    assert_eq!(folded.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), [texts[0], texts[1]], "exact first");
    let hits = libraries[OTHER].search("ha noi", 9);
    assert_eq!((hits[0].rank.quality, hits[1].rank.quality), (Quality::Exact, Quality::Folded));
    // What changes is found as it is now.
    let text = dinh_core::path!["text"];
    net.p(SECRETARY).edit(NOW, &notices[1], None, |e| e.set_text(&text, "Đi Hải Phòng.")).unwrap();
    net.tend();
    assert_eq!(found(&mut net, &mut libraries[OTHER], OTHER, "hà nội").len(), 1);
    assert_eq!(found(&mut net, &mut libraries[OTHER], OTHER, "hai phong").len(), 1);
    assert_eq!(found(&mut net, &mut libraries[SECRETARY], SECRETARY, "chuyện").len(), 1);
    // Who may not read any more finds no more.
    let places = branch::places(net.p(SECRETARY), &branch).unwrap();
    let space = places.iter().find(|p| p.member == Some(who(AUTHOR))).unwrap().space;
    assert_eq!(found(&mut net, &mut libraries[AUTHOR], AUTHOR, "chuyen").len(), 1);
    net.p(SECRETARY).revoke(space, who(AUTHOR)).unwrap();
    net.tend();
    assert!(found(&mut net, &mut libraries[AUTHOR], AUTHOR, "chuyen").is_empty());
}
