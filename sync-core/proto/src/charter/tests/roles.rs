//! Who may do what: every role against every action, by a table of its own. The columns are the roles in their order:
//! Secretary, Deputy, Committee, Member, Probationary, reViewer, Helper, Reader; `x` may.

use super::*;

const ROLES: &str = "SDCMPVHR";

fn row(text: &str) -> [bool; 8] {
    let cells: Vec<bool> = text.chars().filter(|c| *c != ' ').map(|c| c == 'x').collect();
    cells.try_into().expect("eight columns")
}

/// Offers `record(branch, role)` by each role's device, each in a branch of its own, and compares with the row.
fn check(tried: &mut usize, what: &str, expected: &str, record: impl Fn(&mut Branch, Role) -> Record) {
    for (role, may) in Role::ALL.into_iter().zip(row(expected)) {
        let mut branch = fixture();
        let record = record(&mut branch, role);
        let found = branch.offer(role, &record);
        assert_eq!(found == Ok(true), may, "{what} by {role:?}: {found:?}");
        *tried += 1;
    }
}

fn fixture() -> Branch {
    thread_local! {
        static FIXTURE: std::cell::OnceCell<Branch> = const { std::cell::OnceCell::new() };
    }
    FIXTURE.with(|f| f.get_or_init(Branch::new).clone())
}

fn name(role: Role) -> char {
    ROLES.chars().nth(usize::from(role.to_wire()) - 1).unwrap()
}

#[test]
fn who_admits_whom() {
    let mut tried = 0;
    let rows = [
        ('S', "- - - - - - - -"),
        ('D', "x - - - - - - -"),
        ('C', "x x - - - - - -"),
        ('M', "x x - - - - - -"),
        ('P', "x x - - - - - -"),
        ('V', "x x - - - - - -"),
        ('H', "x x - - - - - -"),
        ('R', "x x - - - - - -"),
    ];
    for (admitted, (letter, expected)) in Role::ALL.into_iter().zip(rows) {
        assert_eq!(name(admitted), letter);
        check(&mut tried, &format!("a stranger as {letter}"), expected, |branch, _| {
            branch.new_chain(40, 40).admission(admitted)
        });
    }
    check(&mut tried, "an own second device", "x x x x x x x -", |branch, role| {
        branch.new_chain(40, u16::from(role.to_wire())).admission(role)
    });
    for (of, same) in [(Role::Member, 'M'), (Role::Helper, 'H'), (Role::Reader, 'R')] {
        for role in Role::ALL.into_iter().filter(|r| *r != of && r.rank() == 3) {
            let mut branch = fixture();
            let record = branch.new_chain(40, u16::from(of.to_wire())).admission(role);
            assert!(branch.offer(of, &record).is_err(), "{same} an own device as {role:?}");
            tried += 1;
        }
    }
    check(&mut tried, "whom a secretary admitted", "- - - - - - - -", |branch, role| match role {
        // Once more is one of two by the same secretary: that is another test's.
        Role::Secretary => branch.of(Role::Secretary).admission(Role::Helper),
        _ => branch.of(Role::Helper).admission(if role == Role::Deputy { Role::Member } else { role }),
    });
    println!("{tried} admissions, as the table says");
}

#[test]
fn who_removes_whom_and_gives_which_role() {
    let mut tried = 0;
    let below = ["- - - - - - - -", "x - - - - - - -", "x x - - - - - -"];
    for subject in Role::ALL {
        let rank = usize::from(subject.rank());
        let others = row(below[rank - 1]);
        for role in Role::ALL {
            let mut branch = fixture();
            let device = branch.of(subject).id;
            let record = Record::Removal { device, reason: Reason::Expelled, frontier: Frontier::default() };
            let may = others[usize::from(role.to_wire()) - 1] || role == subject;
            assert_eq!(branch.offer(role, &record) == Ok(true), may, "{role:?} removes {subject:?}");
            assert_eq!(branch.charter.removed().contains_key(&device), may);
            tried += 1;
            for new in Role::ALL {
                let mut branch = fixture();
                let frontier = Frontier::default();
                let record = Record::Role { device, role: new, generation: 1, frontier };
                let may = match role {
                    Role::Secretary => subject.rank() > 1 && new.rank() > 1,
                    Role::Deputy => subject.rank() > 2 && new.rank() > 2,
                    _ => false,
                };
                assert_eq!(
                    branch.offer(role, &record) == Ok(true),
                    may,
                    "{role:?} makes {subject:?} {new:?}"
                );
                if may {
                    assert_eq!(branch.charter.device(&device).unwrap().role, new);
                }
                tried += 1;
            }
        }
    }
    println!("{tried} removals and role changes, as the table says");
}

#[test]
fn who_makes_spaces_and_who_says_who_reads_them() {
    let mut tried = 0;
    let space = |audience| Record::Space { nonce: [77; 16], history: true, padded: false, audience };
    check(&mut tried, "a space for everyone", "x - - - - - - -", |_, _| space(Audience::Everyone));
    check(&mut tried, "a space with itself in it", "x x x x x x x -", |_, role| {
        space(Audience::Members(vec![member_id(20), member_id(u16::from(role.to_wire()))]))
    });
    check(&mut tried, "a space without itself", "x - - - - - - -", |_, _| {
        space(Audience::Members(vec![member_id(20)]))
    });
    let everyone = |branch: &mut Branch, _| branch.open;
    // The secretary's, with the committee's member and the reviewer in it.
    let closed = |branch: &mut Branch, _| branch.closed;
    // A member's, with the deputy, the secretary and the reader in it.
    let feedback = |branch: &mut Branch, _| {
        let audience = Audience::Members([1, 2, 4, 8].map(member_id).into());
        branch.issue(Role::Member, &Record::Space { nonce: [78; 16], history: true, padded: true, audience });
        SpaceId::derive(&branch.of(Role::Member).id, &[78; 16])
    };
    type Which = fn(&mut Branch, Role) -> SpaceId;
    let table: [(&str, &str, Which); 3] = [
        ("the space for everyone", "- - - - - - - -", everyone),
        ("the closed space", "x - - - - - - -", closed),
        ("the member's space", "x x - x - - - -", feedback),
    ];
    for (what, expected, which) in table {
        check(&mut tried, &format!("a grant in {what}"), expected, |branch, role| Record::Grant {
            space: which(branch, role),
            member: member_id(5),
            generation: 1,
        });
        check(&mut tried, &format!("a revoke in {what}"), expected, |branch, role| {
            let space = which(branch, role);
            Record::Revoke { space, member: member_id(1), generation: 1, frontier: Frontier::default() }
        });
    }
    println!("{tried} spaces, grants and revokes, as the table says");
}

#[test]
fn who_makes_documents_keys_and_the_rest() {
    let mut tried = 0;
    let (open, closed, charter) = ("x x x x x - x -", "x - x - - x - -", "x x x x x x x -");
    let doc = |space| Record::Document { nonce: [50; 16], space, writers: Writers::All, schema: Vec::new() };
    check(&mut tried, "a document for everyone", open, |b, _| doc(b.open));
    check(&mut tried, "a closed document", closed, |b, _| doc(b.closed));
    check(&mut tried, "a document in the charter space", "- - - - - - - -", |b, _| doc(b.id));
    type Named = (&'static str, &'static str, fn(&Branch) -> SpaceId);
    let spaces: [Named; 3] = [
        ("everyone", open, |b| b.open),
        ("a closed space", closed, |b| b.closed),
        ("the charter space", charter, |b| b.id),
    ];
    for (what, expected, of) in spaces {
        check(&mut tried, &format!("a key for {what}"), expected, |b, _| epoch(of(b), 1, 9, Vec::new()));
        check(&mut tried, &format!("wraps for {what}"), expected, |b, _| {
            let space = of(b);
            b.issue(Role::Secretary, &epoch(space, 1, 8, Vec::new()));
            let wraps = vec![wrap_for(&b.of(Role::Reader).id, 1)];
            Record::Wraps { space, epoch: EpochId([8; 16]), wraps }
        });
    }
    check(&mut tried, "a recorder", "x x - - - - - -", |b, _| Record::Recorder {
        doc: b.doc(b.open, Writers::Officers),
        member: member_id(4),
    });
    check(&mut tried, "a recorder in a closed space", "x - - - - - - -", |b, _| Record::Recorder {
        doc: b.doc(b.closed, Writers::Officers),
        member: member_id(6),
    });
    check(&mut tried, "a cut", "x - - - - - - -", |b, _| Record::Cut {
        space: b.open,
        author: b.of(Role::Member).author(),
        keep: 3,
    });
    check(&mut tried, "an upper body", "x - - - - - - -", |_, _| Record::Upper {
        generation: 1,
        upper: Some(SpaceId([5; 16])),
    });
    check(&mut tried, "word of a removed device", "- x - x - - - -", |b, _| {
        // In a member's space that the secretary, who removed the device, does not read.
        let audience = Audience::Members([2, 4, 5, 8].map(member_id).into());
        b.issue(Role::Member, &Record::Space { nonce: [78; 16], history: true, padded: true, audience });
        let space = SpaceId::derive(&b.of(Role::Member).id, &[78; 16]);
        let device = b.of(Role::Probationary).id;
        let removal =
            Record::Removal { device, reason: Reason::Left, frontier: b.of(Role::Probationary).mark() };
        let about = b.issue(Role::Secretary, &removal);
        let frontier = Frontier(vec![mark(space, b.of(Role::Probationary).author(), 4)]);
        Record::Frontier { about, device, frontier }
    });
    println!("{tried} records, as the table says");
}

#[test]
fn the_root_key_makes_anybody_secretary_and_nothing_else_does() {
    let mut tried = 0;
    for role in Role::ALL {
        for (key, may) in [(SignKey::from_seed(&[99; 32]), true), (SignKey::from_seed(&[98; 32]), false)] {
            let mut branch = fixture();
            let payload =
                recover(&key, branch.id, 1, branch.of(role).certificate(Role::Secretary), Vec::new());
            let item = branch.chain(role).sign(&payload);
            assert_eq!(branch.charter.insert(&item) == Ok(true), may, "{role:?}");
            let now = branch.charter.device(&branch.of(role).id).unwrap().role;
            assert_eq!(now == Role::Secretary, may || role == Role::Secretary);
            tried += 1;
        }
        // Another's certificate, or another role than secretary.
        let mut branch = fixture();
        let other = branch.new_chain(40, 40).certificate(Role::Secretary);
        let own = branch.of(role).certificate(Role::Deputy);
        for certificate in [other, own] {
            let payload = recover(&branch.root, branch.id, 1, certificate, Vec::new());
            let item = branch.chain(role).sign(&payload);
            assert!(branch.charter.insert(&item).is_err(), "{role:?}");
            tried += 1;
        }
    }
    println!("{tried} root records, as they should be");
}

#[test]
fn who_reads_and_who_writes() {
    let branch = fixture();
    let reads = [
        ("open", branch.open, "x x x x x - x x"),
        ("closed", branch.closed, "x - x - - x - -"),
        ("charter", branch.id, "x x x x x x x x"),
    ];
    let mut tried = 0;
    for (what, space, expected) in reads {
        for (role, may) in Role::ALL.into_iter().zip(row(expected)) {
            let device = &branch.of(role).id;
            assert_eq!(branch.charter.can_read(device, &space), may, "{role:?} reads {what}");
            assert_eq!(branch.charter.readable(device).contains(&space), may);
            assert_eq!(branch.charter.readers(&space).contains(device), may);
            tried += 1;
        }
    }
    let writes = [
        (branch.open, Writers::All, "x x x x x - x -"),
        (branch.open, Writers::Members, "x x x x x - - -"),
        (branch.open, Writers::Committee, "x x x - - - - -"),
        (branch.open, Writers::Officers, "x x - - - - - -"),
        (branch.closed, Writers::All, "x - x - - x - -"),
        (branch.closed, Writers::Members, "x - x - - - - -"),
        (branch.closed, Writers::Committee, "x - x - - - - -"),
        (branch.closed, Writers::Officers, "x - - - - - - -"),
    ];
    for (space, writers, expected) in writes {
        let doc = branch.doc(space, writers);
        for (role, may) in Role::ALL.into_iter().zip(row(expected)) {
            let author = branch.of(role).author();
            let expected = if may { Ok(()) } else { Err(RejectCode::NotAuthorised) };
            assert_eq!(
                branch.charter.authorise_author(&author.device, &space, &doc),
                expected,
                "{role:?} {writers:?}"
            );
            let standing = branch.charter.standing(&run(author, space, doc, 3), link(3));
            assert_eq!(standing, expected.map(|()| Standing::Accepted), "{role:?} {writers:?}");
            tried += 2;
        }
    }
    println!("{tried} rights to read and write, as the table says");
}

#[test]
fn a_recorder_writes_where_its_role_does_not() {
    for (role, may) in Role::ALL.into_iter().zip(row("x x x x x - x -")) {
        let mut branch = fixture();
        let (space, doc) = (branch.open, branch.doc(branch.open, Writers::Officers));
        let chain = branch.of(role).clone();
        branch.issue(Role::Deputy, &Record::Recorder { doc, member: chain.member });
        assert_eq!(branch.charter.authorise_author(&chain.id, &space, &doc).is_ok(), may, "{role:?}");
        let other = branch.doc(branch.open, Writers::Committee);
        let others = branch.charter.authorise_author(&chain.id, &space, &other).is_ok();
        assert_eq!(others, role.is_officer() || role == Role::Committee);
    }
}

#[test]
fn who_is_not_certified_does_nothing() {
    let mut branch = fixture();
    let mut stranger = branch.new_chain(50, 50);
    let device = branch.of(Role::Reader).id;
    let records = [
        branch.new_chain(51, 51).admission(Role::Member),
        Record::Removal { device, reason: Reason::Left, frontier: Frontier::default() },
        Record::Role { device, role: Role::Member, generation: 1, frontier: Frontier::default() },
        Record::Space { nonce: [1; 16], history: true, padded: false, audience: Audience::Everyone },
        Record::Grant { space: branch.closed, member: stranger.member, generation: 1 },
        Record::Cut { space: branch.open, author: stranger.author(), keep: 1 },
        epoch(branch.open, 1, 1, Vec::new()),
    ];
    let tag = branch.charter.tag();
    for record in records {
        let item = stranger.issue(&record);
        assert_eq!(branch.charter.insert(&item), Err(RejectCode::UnknownAuthor), "{record:?}");
        assert_eq!(branch.charter.keep(&item), Err(RejectCode::UnknownAuthor), "{record:?}");
        assert_eq!(branch.charter.key_for(item.as_raw()), Err(RejectCode::UnknownAuthor));
    }
    assert_eq!(branch.charter.tag(), tag);
    let (space, doc) = (branch.open, branch.doc(branch.open, Writers::All));
    let standing = branch.charter.standing(&run(stranger.author(), space, doc, 1), link(1));
    assert_eq!(standing, Err(RejectCode::UnknownAuthor));
    let unknown = run(branch.of(Role::Member).author(), space, DocId([66; 16]), 1);
    assert_eq!(branch.charter.standing(&unknown, link(1)), Err(RejectCode::UnknownTarget));
    let elsewhere = run(branch.of(Role::Secretary).author(), branch.closed, doc, 1);
    assert_eq!(branch.charter.standing(&elsewhere, link(1)), Err(RejectCode::NotAuthorised));
}
