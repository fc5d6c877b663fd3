//! The spaces of a branch: who reads what, and that nobody learns of what is not theirs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use dinh_core::replica::Replica;
use dinh_core::store::{MemoryStore, Store as _, Table};
use dinh_model::access::{act, read};
use dinh_model::branch::{self, Kept, Standing};
use dinh_model::feedback::{self, Kind, NewThread, Thread};
use dinh_model::index::{Index, Purpose, give_number};
use dinh_proto::charter::record::{JoinRequest, Reason, Role};
use dinh_proto::ids::DocId;

use crate::pair_common::net::{Net, member as who};
use crate::pair_common::{NOW, key, phone};

const SECRETARY: usize = 0;
const DEPUTY: usize = 1;
const COMMITTEE: usize = 2;
const AUTHOR: usize = 3;
const OUTSIDER: usize = 4;
const REVIEWER: usize = 5;
const ROLES: [Role; 5] = [Role::Deputy, Role::Committee, Role::Member, Role::Member, Role::Reviewer];
const SECRET: &str = "Đồng chí phó bí thư nhận tiền xi măng của xóm.";

/// A branch with its spaces, and both mailboxes of everybody.
fn branch_with_mailboxes() -> (Net, Standing) {
    let mut net = Net::branch(&ROLES);
    let branch = net.branch;
    let standing = branch::set_up(net.p(SECRETARY), NOW, branch, "Chi bộ thôn Nà Mận").unwrap();
    for member in (0..ROLES.len()).map(who) {
        branch::open_mailbox(net.p(SECRETARY), NOW, branch, member).unwrap();
    }
    net.settle();
    for i in [DEPUTY, COMMITTEE, AUTHOR, OUTSIDER] {
        branch::open_own_mailbox(net.p(i), NOW, branch).unwrap();
    }
    net.tend();
    (net, standing)
}

fn confidential(text: &str) -> NewThread<'_> {
    NewThread {
        kind: Kind::ConfidentialReport,
        title: "Phản ánh riêng",
        text,
        language: "vi",
        subject: None,
        on_behalf_of: None,
    }
}

fn mailbox(net: &mut Net, i: usize, of: usize, purpose: Purpose) -> Option<DocId> {
    let branch = net.branch;
    branch::mailbox_of(net.p(i), &branch, &who(of), purpose).unwrap()
}

fn threads(net: &mut Net, i: usize, doc: &DocId) -> Vec<Thread> {
    read(net.p(i), doc, Thread::read_all).unwrap()
}

/// Whether a phone has anything of a document that the charter names.
fn sees(net: &mut Net, i: usize, doc: &DocId) -> bool {
    let blind = net.p(i).document(doc, |d| d.heads().is_empty()).unwrap();
    assert!(!blind || net.p(i).waiting_runs(doc).unwrap() == 0, "phone {i} holds what it cannot read");
    !blind
}

#[test]
fn each_audience_has_its_space_and_nobody_else_reads_it() {
    let (mut net, standing) = branch_with_mailboxes();
    let branch = net.branch;
    let expected: [&[Purpose]; 6] = [
        &[Purpose::Branch, Purpose::Committee, Purpose::Oversight, Purpose::MailboxCommittee],
        &[
            Purpose::Branch,
            Purpose::Committee,
            Purpose::Oversight,
            Purpose::MailboxCommittee,
            Purpose::MailboxUpper,
        ],
        &[
            Purpose::Branch,
            Purpose::Committee,
            Purpose::Oversight,
            Purpose::MailboxCommittee,
            Purpose::MailboxUpper,
        ],
        &[Purpose::Branch, Purpose::MailboxCommittee, Purpose::MailboxUpper],
        &[Purpose::Branch, Purpose::MailboxCommittee, Purpose::MailboxUpper],
        &[Purpose::Oversight, Purpose::MailboxUpper],
    ];
    for (i, expected) in expected.iter().enumerate() {
        let places = branch::places(net.p(i), &branch).unwrap();
        let mut purposes: Vec<Purpose> = places.iter().map(|p| p.purpose).collect();
        purposes.sort();
        purposes.dedup();
        assert_eq!(&purposes, expected, "phone {i}");
        let mine = places.iter().filter(|p| p.purpose == Purpose::MailboxCommittee).count();
        assert_eq!(mine, if i <= COMMITTEE { 5 } else { usize::from(i != REVIEWER) }, "phone {i}");
    }
    for i in [DEPUTY, COMMITTEE] {
        assert_eq!(branch::standing(net.p(i), &branch).unwrap(), Some(standing), "phone {i}");
    }
    assert_eq!(branch::standing(net.p(AUTHOR), &branch).unwrap(), None, "it reads no committee");
    assert!(!sees(&mut net, OUTSIDER, &standing.digest));
    assert!(!sees(&mut net, REVIEWER, &standing.roster));
}

#[test]
fn a_confidential_thread_is_read_by_whom_it_is_for() {
    let (mut net, _) = branch_with_mailboxes();
    let to_committee = mailbox(&mut net, AUTHOR, AUTHOR, Purpose::MailboxCommittee).unwrap();
    let to_upper = mailbox(&mut net, AUTHOR, AUTHOR, Purpose::MailboxUpper).unwrap();
    for doc in [&to_committee, &to_upper] {
        let author = net.p(AUTHOR);
        act(author, NOW, doc, None, |e, me| feedback::submit(e, me, &confidential(SECRET))).unwrap();
    }
    net.tend();
    for i in [SECRETARY, DEPUTY, COMMITTEE] {
        assert_eq!(threads(&mut net, i, &to_committee)[0].messages[0].text, SECRET, "phone {i}");
        assert!(!sees(&mut net, i, &to_upper), "a report about the committee: phone {i}");
        assert_eq!(mailbox(&mut net, i, AUTHOR, Purpose::MailboxUpper), None);
    }
    assert_eq!(threads(&mut net, REVIEWER, &to_upper)[0].messages[0].text, SECRET);
    assert!(!sees(&mut net, REVIEWER, &to_committee));
    for doc in [&to_committee, &to_upper] {
        assert!(!sees(&mut net, OUTSIDER, doc));
    }
    // What is confidential is not said to all.
    let author = net.p(AUTHOR);
    let open = branch::places(author, &author.charters().keys().next().copied().unwrap()).unwrap();
    let open = open.iter().find(|p| p.purpose == Purpose::Branch).copied().unwrap();
    let open = branch::listed(author, &open, &feedback::SCHEMA).unwrap().unwrap();
    let refused = act(author, NOW, &open, None, |e, me| feedback::submit(e, me, &confidential(SECRET)));
    assert!(refused.unwrap_err().to_string().contains("mailbox"));
}

/// Everything that a phone keeps.
fn everything(phone: Replica<MemoryStore>) -> BTreeMap<(&'static str, Vec<u8>), Vec<u8>> {
    let counters = format!("{:?}", phone.counters()).into_bytes();
    let store = phone.close().unwrap();
    let mut found = BTreeMap::from([(("counters", Vec::new()), counters)]);
    for table in Table::ALL {
        let visit = &mut |key: &[u8], value: &[u8]| {
            found.insert((table.name(), key.to_vec()), value.to_vec());
            Ok(ControlFlow::Continue(()))
        };
        store.read(|tx| tx.scan(table, &[], None, visit)).unwrap();
    }
    found
}

/// What the outsider's phone keeps in a world with threads and in one without.
fn outsider(with_threads: bool) -> BTreeMap<(&'static str, Vec<u8>), Vec<u8>> {
    let (mut net, _) = branch_with_mailboxes();
    let mailboxes = [Purpose::MailboxCommittee, Purpose::MailboxUpper];
    let mailboxes = mailboxes.map(|purpose| mailbox(&mut net, AUTHOR, AUTHOR, purpose).unwrap());
    for _ in 0..3 {
        for doc in &mailboxes {
            let author = net.p(AUTHOR);
            if with_threads {
                act(author, NOW, doc, None, |e, me| feedback::submit(e, me, &confidential(SECRET))).unwrap();
            }
        }
        net.tend();
    }
    everything(std::mem::replace(net.p(OUTSIDER), phone(250)))
}

#[test]
fn a_device_outside_holds_byte_for_byte_the_same_with_and_without_threads() {
    let (with, without) = (outsider(true), outsider(false));
    assert!(with.len() > 50, "{} entries", with.len());
    let keys = |all: &BTreeMap<(&'static str, Vec<u8>), Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&with), keys(&without));
    let differ: Vec<String> = with
        .iter()
        .filter(|(key, value)| without[*key] != **value)
        .map(|((table, key), _)| format!("{table}/{}", String::from_utf8_lossy(key)))
        .collect();
    assert!(differ.is_empty(), "{differ:?}");
    println!("{} entries, 0 differ", with.len());
}

#[test]
fn readers_follow_roles() {
    let (mut net, standing) = branch_with_mailboxes();
    let branch = net.branch;
    let kept = branch::keep_readers(net.p(SECRETARY), &branch).unwrap();
    assert_eq!(kept, [], "all are as they should be");
    let to_committee = mailbox(&mut net, AUTHOR, AUTHOR, Purpose::MailboxCommittee).unwrap();
    let author = net.p(AUTHOR);
    act(author, NOW, &to_committee, None, |e, me| feedback::submit(e, me, &confidential("trước"))).unwrap();
    net.tend();
    // One is elected to the committee, one leaves it.
    let secretary = net.p(SECRETARY);
    secretary.change_role(branch, who(OUTSIDER), Role::Committee).unwrap();
    secretary.change_role(branch, who(COMMITTEE), Role::Member).unwrap();
    let kept = branch::keep_readers(secretary, &branch).unwrap();
    // The committee's space, the oversight, and mailboxes; its own it had and keeps.
    let of = |i: usize, reads: bool| {
        kept.iter().filter(|k: &&Kept| k.member == who(i) && k.reads == reads).count()
    };
    assert_eq!((of(OUTSIDER, true), of(COMMITTEE, false), kept.len()), (6, 6, 12));
    assert!(branch::keep_readers(secretary, &branch).unwrap().is_empty());
    net.tend();
    let author = net.p(AUTHOR);
    act(author, NOW, &to_committee, None, |e, me| feedback::submit(e, me, &confidential("sau"))).unwrap();
    net.tend();
    assert_eq!(threads(&mut net, OUTSIDER, &to_committee).len(), 2, "the history too");
    assert_eq!(
        threads(&mut net, COMMITTEE, &to_committee).len(),
        1,
        "what comes after it left is not for it"
    );
    assert!(sees(&mut net, OUTSIDER, &standing.digest));
    // A new reviewer: each member answers for its own mailbox with the upper body.
    let request = JoinRequest::new(&key(99));
    net.p(SECRETARY).admit_device(branch, who(9), Role::Reviewer, request, "máy").unwrap();
    net.tend();
    let kept = branch::keep_readers(net.p(SECRETARY), &branch).unwrap();
    assert_eq!(kept, [Kept { space: standing.oversight.space, member: who(9), reads: true }]);
    let kept = branch::keep_readers(net.p(AUTHOR), &branch).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].member, kept[0].reads), (who(9), true));
}

#[test]
fn two_who_give_one_number_apart_find_out_and_one_gets_another() {
    let (mut net, standing) = branch_with_mailboxes();
    let index = standing.members.index;
    let line = "resolution 2025-2027";
    let give = |net: &mut Net, i: usize, doc: &str| {
        let found = read(net.p(i), &index, Index::read).unwrap();
        let phone = net.p(i);
        act(phone, NOW, &index, None, |e, _| give_number(e, &found, doc, line)).unwrap().0
    };
    assert_eq!(give(&mut net, SECRETARY, "a"), 1);
    net.tend();
    net.off(DEPUTY);
    assert_eq!(give(&mut net, DEPUTY, "c"), 2);
    assert_eq!(give(&mut net, SECRETARY, "b"), 2);
    net.on(DEPUTY);
    net.tend();
    for i in 0..=OUTSIDER {
        let found = read(net.p(i), &index, Index::read).unwrap().renumber();
        assert_eq!(found.len(), 1, "phone {i}");
        assert_eq!((found[0].document.as_str(), found[0].keeps.as_str(), found[0].number), ("c", "b", 2));
    }
    // Whoever sees it gives the next one.
    assert_eq!(give(&mut net, SECRETARY, "c"), 3);
    net.tend();
    let found = read(net.p(DEPUTY), &index, Index::read).unwrap();
    assert!(found.renumber().is_empty());
    assert_eq!(found.next_number(line), 4);
    let member = net.p(AUTHOR).author_now(&index).unwrap();
    assert_eq!(member.role, Role::Member);
    let author = net.p(AUTHOR);
    let refused = act(author, NOW, &index, None, |e, _| give_number(e, &found, "d", line));
    assert!(refused.is_err(), "officers number");
}

#[test]
fn a_new_phone_reads_what_its_member_said_in_confidence_on_the_lost_one() {
    let (mut net, _) = branch_with_mailboxes();
    let branch = net.branch;
    let mailboxes = [Purpose::MailboxCommittee, Purpose::MailboxUpper];
    let mailboxes = mailboxes.map(|purpose| mailbox(&mut net, AUTHOR, AUTHOR, purpose).unwrap());
    for doc in &mailboxes {
        act(net.p(AUTHOR), NOW, doc, None, |e, me| feedback::submit(e, me, &confidential(SECRET))).unwrap();
    }
    net.settle();
    net.off(AUTHOR);
    let (lost, new) = (net.device(AUTHOR), net.add());
    net.p(SECRETARY).remove_device(branch, lost, Reason::Lost).unwrap();
    let request = net.p(new).join_request();
    net.p(SECRETARY).admit_device(branch, who(AUTHOR), Role::Member, request, "máy mới").unwrap();
    let welcome = net.welcome(SECRETARY, new);
    net.p(new).join_by_welcome(&welcome).unwrap();
    net.on(new);
    net.tend();
    for doc in &mailboxes {
        assert_eq!(threads(&mut net, new, doc)[0].messages[0].text, SECRET);
        let text = confidential("từ máy mới");
        act(net.p(new), NOW, doc, None, |e, me| feedback::submit(e, me, &text)).unwrap();
    }
    net.tend();
    assert_eq!(threads(&mut net, REVIEWER, &mailboxes[1]).len(), 2, "the reviewer reads both phones");
    assert_eq!(threads(&mut net, SECRETARY, &mailboxes[0]).len(), 2);
    assert!(!sees(&mut net, OUTSIDER, &mailboxes[0]) && !sees(&mut net, SECRETARY, &mailboxes[1]));
}
