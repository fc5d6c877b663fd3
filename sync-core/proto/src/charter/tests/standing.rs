//! What counts of a device that lost a right: its runs within the frontier of what took it, and no others by themselves.

use super::*;

fn removal(device: DeviceId, frontier: Frontier) -> Record {
    Record::Removal { device, reason: Reason::Lost, frontier }
}

/// Which of the runs 1 to 20 of `author` are accepted, count if built on, or never count.
fn verdicts(charter: &Charter, author: Author, space: SpaceId, doc: DocId) -> String {
    let one = |n| match charter.standing(&run(author, space, doc, n), link(n)) {
        Ok(Standing::Accepted) => 'a',
        Ok(Standing::IfBuiltOn) => 'i',
        Err(RejectCode::NotAuthorised) => '-',
        Err(other) => panic!("{other:?}"),
    };
    (1..=20).map(one).collect()
}

#[test]
fn of_a_removed_device_runs_within_the_frontier_count_and_back_dated_ones_do_not() {
    let mut judged = 0;
    for n in 1..=20u32 {
        let mut branch = Branch::new();
        let (space, doc) = (branch.open, branch.doc(branch.open, Writers::Members));
        let author = branch.of(Role::Member).author();
        let frontier = Frontier(vec![mark(space, author, n)]);
        branch.issue(Role::Deputy, &removal(author.device, frontier));
        let expected: String = (1..=20).map(|i| if i <= n { 'a' } else { 'i' }).collect();
        assert_eq!(verdicts(&branch.charter, author, space, doc), expected);
        // Another run under the counter of the mark than the one that the remover had: a second history.
        let forged = branch.charter.standing(&run(author, space, doc, n), [0xbb; 16]);
        assert_eq!(forged, Err(RejectCode::NotAuthorised));
        // Other sessions and other spaces were not seen at all.
        let other = Author { session: SessionId([9; 8]), ..author };
        assert_eq!(verdicts(&branch.charter, other, space, doc), "i".repeat(20));
        // What it never might write it may not, before or after.
        let minutes = branch.doc(space, Writers::Officers);
        assert_eq!(verdicts(&branch.charter, author, space, minutes), "-".repeat(20));
        let closed = branch.doc(branch.closed, Writers::All);
        assert_eq!(verdicts(&branch.charter, author, branch.closed, closed), "-".repeat(20));
        // A snapshot is made by who may write now.
        let snapshot = Header {
            kind: Kind::Snapshot,
            place: Place::Covers(crate::ids::Cursor { epoch: Default::default(), seq: crate::ids::Seq(1) }),
            ..run(author, space, doc, 1)
        };
        assert_eq!(branch.charter.standing(&snapshot, link(1)), Err(RejectCode::NotAuthorised));
        assert_eq!(
            branch.charter.authorise_author(&author.device, &space, &doc),
            Err(RejectCode::NotAuthorised)
        );
        judged += 103;
    }
    println!("{judged} runs of removed devices, judged by the frontier");
}

#[test]
fn two_removals_leave_what_both_had_received() {
    let mut branch = Branch::new();
    let (space, doc) = (branch.open, branch.doc(branch.open, Writers::Members));
    let author = branch.of(Role::Member).author();
    branch.issue(Role::Deputy, &removal(author.device, Frontier(vec![mark(space, author, 12)])));
    branch.issue(Role::Secretary, &removal(author.device, Frontier(vec![mark(space, author, 5)])));
    assert_eq!(verdicts(&branch.charter, author, space, doc), "aaaaaiiiiiiiiiiiiiii");
    let at_second = |link| branch.charter.standing(&run(author, space, doc, 12), link);
    assert_eq!(at_second([0xbb; 16]), Err(RejectCode::NotAuthorised));
    assert_eq!(at_second(link(12)), Ok(Standing::IfBuiltOn));
}

#[test]
fn records_of_a_removed_device_count_within_the_frontier_only() {
    for seen in 0..=4u32 {
        let mut branch = Branch::new();
        let mut deputy = branch.of(Role::Deputy).clone();
        let mut marks = vec![Frontier::default()];
        let mut newcomers = Vec::new();
        for i in 0..4 {
            let new = branch.new_chain(40 + i, 40 + i);
            branch.issue_by(&mut deputy, &new.admission(Role::Member));
            newcomers.push(new);
            marks.push(deputy.mark());
        }
        branch.issue(Role::Secretary, &removal(deputy.id, marks[seen as usize].clone()));
        for (i, new) in (1..).zip(&newcomers) {
            assert_eq!(branch.charter.devices().contains_key(&new.id), i <= seen, "{i} of {seen}");
        }
        // A second history under the same counter.
        let wrong = Frontier(vec![Mark { link: [0xbb; 16], ..mark(branch.id, deputy.author(), 2) }]);
        let mut other = Branch::new();
        let mut deputy = other.of(Role::Deputy).clone();
        for new in &newcomers[..3] {
            other.issue_by(&mut deputy, &Chain { branch: other.id, ..new.clone() }.admission(Role::Member));
        }
        other.issue(Role::Secretary, &removal(deputy.id, wrong));
        let left: Vec<bool> =
            newcomers.iter().map(|new| other.charter.devices().contains_key(&new.id)).collect();
        assert_eq!(left, [true, false, false, false]);
    }
}

#[test]
fn after_a_role_change_the_old_role_judges_what_was_received_before() {
    let mut branch = Branch::new();
    let (space, doc) = (branch.open, branch.doc(branch.open, Writers::Members));
    let minutes = branch.doc(branch.open, Writers::Committee);
    let author = branch.of(Role::Member).author();
    let change = |role, generation, n| {
        let frontier = Frontier(if n == 0 { Vec::new() } else { vec![mark(space, author, n)] });
        Record::Role { device: author.device, role, generation, frontier }
    };
    branch.issue(Role::Secretary, &change(Role::Committee, 1, 4));
    assert_eq!(verdicts(&branch.charter, author, space, minutes), "iiiiaaaaaaaaaaaaaaaa");
    assert_eq!(verdicts(&branch.charter, author, space, doc), "a".repeat(20));
    branch.issue(Role::Deputy, &change(Role::Reader, 2, 9));
    assert_eq!(verdicts(&branch.charter, author, space, minutes), "iiiiaaaaaiiiiiiiiiii");
    assert_eq!(verdicts(&branch.charter, author, space, doc), "aaaaaaaaaiiiiiiiiiii");
    assert_eq!(branch.charter.device(&author.device).unwrap().role, Role::Reader);
    // Of equals the higher rank decides, then the smaller id.
    branch.issue(Role::Secretary, &change(Role::Member, 2, 12));
    assert_eq!(branch.charter.device(&author.device).unwrap().role, Role::Member);
    assert_eq!(verdicts(&branch.charter, author, space, minutes), "iiiiaaaaaiiiiiiiiiii");
    // Another history at the mark is judged by the newer role.
    let at = branch.charter.standing(&run(author, space, doc, 9), [0xbb; 16]);
    assert_eq!(at, Ok(Standing::IfBuiltOn));
}

#[test]
fn after_a_revoke_what_was_received_before_counts() {
    let mut branch = Branch::new();
    let (space, doc) = (branch.closed, branch.doc(branch.closed, Writers::All));
    let author = branch.of(Role::Committee).author();
    let member = branch.of(Role::Committee).member;
    let frontier = Frontier(vec![mark(space, author, 6)]);
    branch.issue(Role::Secretary, &Record::Revoke { space, member, generation: 1, frontier });
    assert_eq!(verdicts(&branch.charter, author, space, doc), "aaaaaaiiiiiiiiiiiiii");
    assert!(!branch.charter.can_read(&author.device, &space));
    branch.issue(Role::Secretary, &Record::Grant { space, member, generation: 2 });
    assert_eq!(verdicts(&branch.charter, author, space, doc), "a".repeat(20));
    // Of equals a revoke wins, whichever came first.
    let again = Record::Revoke { space, member, generation: 2, frontier: Frontier::default() };
    branch.issue(Role::Secretary, &again);
    assert!(!branch.charter.can_read(&author.device, &space));
    assert_eq!(branch.charter.reader_generation(&space, &member), 2);
    assert_eq!(verdicts(&branch.charter, author, space, doc), "aaaaaaiiiiiiiiiiiiii");
    // It never read the other space, so nothing of it counts there.
    let deputy = branch.of(Role::Deputy).author();
    assert_eq!(verdicts(&branch.charter, deputy, space, doc), "-".repeat(20));
    let revoke = Record::Revoke { space, member: member_id(2), generation: 1, frontier: Frontier::default() };
    branch.issue(Role::Secretary, &revoke);
    assert_eq!(verdicts(&branch.charter, deputy, space, doc), "-".repeat(20), "a revoke gives nothing");
}

#[test]
fn what_is_cut_never_counts() {
    let mut branch = Branch::new();
    let (space, doc) = (branch.open, branch.doc(branch.open, Writers::Members));
    let author = branch.of(Role::Member).author();
    branch.issue(Role::Secretary, &Record::Cut { space, author, keep: 8 });
    assert_eq!(verdicts(&branch.charter, author, space, doc), "aaaaaaaa------------");
    branch.issue(Role::Secretary, &Record::Cut { space, author, keep: 3 });
    branch.issue(Role::Secretary, &Record::Cut { space, author, keep: 7 });
    assert_eq!(verdicts(&branch.charter, author, space, doc), "aaa-----------------");
    branch.issue(Role::Deputy, &removal(author.device, Frontier(vec![mark(space, author, 2)])));
    assert_eq!(verdicts(&branch.charter, author, space, doc), "aai-----------------");
    branch.issue(Role::Secretary, &Record::Cut { space, author, keep: 0 });
    assert_eq!(verdicts(&branch.charter, author, space, doc), "-".repeat(20));
    let other = Author { session: SessionId([2; 8]), ..author };
    assert_eq!(verdicts(&branch.charter, other, space, doc), "i".repeat(20));
}

/// A member's space that the secretary does not read, a removed device that wrote there, and the removal.
fn unseen() -> (Branch, SpaceId, DocId, Author, ItemId) {
    let mut branch = Branch::new();
    let audience = Audience::Members([2, 4, 5, 6].map(member_id).into());
    branch.issue(Role::Member, &Record::Space { nonce: [78; 16], history: true, padded: false, audience });
    let space = SpaceId::derive(&branch.of(Role::Member).id, &[78; 16]);
    branch.issue(
        Role::Member,
        &Record::Document { nonce: [79; 16], space, writers: Writers::Members, schema: Vec::new() },
    );
    let doc = DocId::derive(&branch.of(Role::Member).id, &[79; 16]);
    let author = branch.of(Role::Probationary).author();
    let frontier = Frontier(vec![mark(branch.open, author, 4)]);
    let about = branch.issue(Role::Secretary, &removal(author.device, frontier));
    (branch, space, doc, author, about)
}

#[test]
fn readers_say_what_they_had_received_where_the_remover_cannot_read() {
    let (mut branch, space, doc, author, about) = unseen();
    assert_eq!(verdicts(&branch.charter, author, space, doc), "i".repeat(20));
    let due = |branch: &Branch, role| branch.charter.unattested(&branch.of(role).id);
    assert_eq!(due(&branch, Role::Member), [(about, author.device, space)]);
    assert_eq!(due(&branch, Role::Secretary), []);
    assert_eq!(due(&branch, Role::Committee), []);
    let word =
        |marks: Vec<Mark>| Record::Frontier { about, device: author.device, frontier: Frontier(marks) };
    // Not in spaces that the remover reads, nor in the charter space, nor about others, nor by who does not read there.
    let open = mark(branch.open, author, 9);
    let charter = mark(branch.id, author, 9);
    let other = mark(space, branch.of(Role::Helper).author(), 9);
    for bad in [open, charter, other] {
        assert_eq!(branch.offer(Role::Member, &word(vec![bad])), Err(RejectCode::NotAuthorised));
        assert_eq!(
            branch.offer(Role::Member, &word(vec![mark(space, author, 3), bad])),
            Err(RejectCode::NotAuthorised)
        );
    }
    let there = word(vec![mark(space, author, 7)]);
    for role in [Role::Secretary, Role::Committee, Role::Helper] {
        assert_eq!(branch.offer(role, &there), Err(RejectCode::NotAuthorised), "{role:?}");
    }
    assert_eq!(
        branch.charter.insert(&branch.people[4].clone().issue(&there)),
        Err(RejectCode::NotAuthorised)
    );
    branch.issue(Role::Member, &there);
    assert_eq!(verdicts(&branch.charter, author, space, doc), "aaaaaaaiiiiiiiiiiiii");
    // The highest of several; the others say less.
    branch.issue(Role::Deputy, &word(vec![mark(space, author, 10)]));
    branch.issue(Role::Reviewer, &word(vec![mark(space, author, 2)]));
    assert_eq!(verdicts(&branch.charter, author, space, doc), "aaaaaaaaaaiiiiiiiiii");
    assert_eq!(
        verdicts(&branch.charter, author, branch.open, branch.doc(branch.open, Writers::All)),
        "aaaaiiiiiiiiiiiiiiii"
    );
    for role in [Role::Member, Role::Deputy, Role::Reviewer] {
        assert_eq!(due(&branch, role), []);
    }
}

#[test]
fn a_false_word_takes_nothing_away() {
    let (mut branch, space, doc, author, about) = unseen();
    let word = |n, link| {
        let frontier = Frontier(vec![Mark { link, ..mark(space, author, n) }]);
        Record::Frontier { about, device: author.device, frontier }
    };
    // False about the run that an honest reader names too, and about a later one.
    branch.issue(Role::Reviewer, &word(10, [0xbb; 16]));
    branch.issue(Role::Member, &word(10, link(10)));
    branch.issue(Role::Reviewer, &word(10, [0xcc; 16]));
    assert_eq!(verdicts(&branch.charter, author, space, doc), "aaaaaaaaaaiiiiiiiiii");
    branch.issue(Role::Reviewer, &word(12, [0xbb; 16]));
    assert_eq!(verdicts(&branch.charter, author, space, doc), "aaaaaaaaaaaiiiiiiiii");
    // One who says little does not keep the others from speaking.
    let (mut branch, space, _, author, about) = unseen();
    let little = Frontier(vec![mark(space, author, 1)]);
    branch.issue(Role::Reviewer, &Record::Frontier { about, device: author.device, frontier: little });
    assert_eq!(branch.charter.unattested(&branch.of(Role::Member).id), [(about, author.device, space)]);
    assert_eq!(branch.charter.unattested(&branch.of(Role::Reviewer).id), []);
}

/// A secretary's phone is lost; who removes it has not seen what it made last. What others wrote there is theirs.
#[test]
fn what_a_removed_device_made_for_others_is_there_without_counting() {
    let mut branch = Branch::new();
    let maker = branch.of(Role::Deputy).clone();
    let seen = maker.mark();
    let all = vec![maker.member, branch.of(Role::Member).member];
    let space_record =
        Record::Space { nonce: [7; 16], history: true, padded: false, audience: Audience::Members(all) };
    let space = SpaceId::derive(&maker.id, &[7; 16]);
    branch.issue(Role::Deputy, &space_record);
    branch.issue(Role::Deputy, &epoch(space, 1, 3, vec![wrap_for(&maker.id, 1)]));
    let document = Record::Document { nonce: [8; 16], space, writers: Writers::All, schema: Vec::new() };
    branch.issue(Role::Deputy, &document);
    let doc = DocId::derive(&maker.id, &[8; 16]);
    let (deputy, member) = (maker.author(), branch.of(Role::Member).author());
    assert_eq!(verdicts(&branch.charter, member, space, doc), "a".repeat(20));
    let counted = branch.charter.clone();
    branch.issue(Role::Secretary, &removal(maker.id, seen));

    let charter = &branch.charter;
    assert!(counted.documents()[&doc].counts && counted.spaces()[&space].counts);
    assert!(!charter.documents()[&doc].counts && !charter.spaces()[&space].counts);
    // What others write counts by their own right; what the removed device wrote only if they build on it.
    assert_eq!(verdicts(charter, member, space, doc), "a".repeat(20));
    assert_eq!(verdicts(charter, deputy, space, doc), "i".repeat(20));
    // Its key is known, so that what was written under it can be handed on; nobody writes under it any more.
    assert_eq!(charter.epochs(&space).count(), 1);
    assert!(charter.rotation_due(&space));
    // It makes nothing for others after that, and neither does one who never might.
    let mut branch = branch;
    let late = Record::Document { nonce: [9; 16], space, writers: Writers::All, schema: Vec::new() };
    assert_eq!(branch.offer(Role::Deputy, &late), Err(RejectCode::NotAuthorised));
    let mut reader = branch.of(Role::Reader).clone();
    let record = Record::Document { nonce: [1; 16], space, writers: Writers::All, schema: Vec::new() };
    branch.keep(reader.issue(&record));
    assert!(!branch.charter.documents().contains_key(&DocId::derive(&reader.id, &[1; 16])));
}

/// The same with a grant: who was let in by it made and wrote things before anybody told them. Nobody reads by it any more, and
/// what they wrote is kept for an officer who lets them in again.
#[test]
fn what_a_removed_device_let_others_make_is_there_without_counting() {
    let mut branch = Branch::new();
    let maker = branch.of(Role::Deputy).clone();
    let guest = branch.of(Role::Member).clone();
    let seen = maker.mark();
    let audience = Audience::Members(vec![maker.member, branch.of(Role::Secretary).member]);
    let space_record = Record::Space { nonce: [7; 16], history: true, padded: false, audience };
    let space = SpaceId::derive(&maker.id, &[7; 16]);
    branch.issue(Role::Deputy, &space_record);
    let document = Record::Document { nonce: [8; 16], space, writers: Writers::All, schema: Vec::new() };
    let doc = DocId::derive(&guest.id, &[8; 16]);
    // Without a grant it makes nothing there.
    branch.keep(guest.clone().issue(&document));
    assert!(!branch.charter.documents().contains_key(&doc));
    branch.issue(Role::Deputy, &Record::Grant { space, member: guest.member, generation: 1 });
    assert!(branch.charter.documents()[&doc].counts);
    assert_eq!(verdicts(&branch.charter, guest.author(), space, doc), "a".repeat(20));
    branch.issue(Role::Secretary, &removal(maker.id, seen.clone()));

    assert!(!branch.charter.can_read(&guest.id, &space));
    assert!(!branch.charter.documents()[&doc].counts);
    assert_eq!(verdicts(&branch.charter, guest.author(), space, doc), "i".repeat(20));
    // Who may let others in lets it in: as if it had been so from the beginning.
    branch.issue(Role::Secretary, &Record::Grant { space, member: guest.member, generation: 2 });
    assert!(branch.charter.documents()[&doc].counts);
    assert_eq!(verdicts(&branch.charter, guest.author(), space, doc), "a".repeat(20));

    // In another order, record by record: the grant comes when nobody counts on it any more.
    let mut branch = Branch::new();
    let (mut maker, mut guest) = (branch.of(Role::Deputy).clone(), guest);
    branch.keep(maker.issue(&space_record));
    branch.issue(Role::Secretary, &removal(maker.id, seen));
    branch.keep(guest.issue(&document));
    assert!(!branch.charter.documents().contains_key(&doc));
    branch.keep(maker.issue(&Record::Grant { space, member: guest.member, generation: 1 }));
    assert!(!branch.charter.documents()[&doc].counts);
    assert_eq!(verdicts(&branch.charter, guest.author(), space, doc), "i".repeat(20));
}
