//! Members, deputies and secretaries who want more than is theirs, or to take what is others'.

use super::*;
use crate::crypto::SealedKey;

fn removal(device: DeviceId, frontier: Frontier) -> Record {
    Record::Removal { device, reason: Reason::Lost, frontier }
}

#[test]
fn own_devices_that_remove_each_other_are_both_out_and_different_members_cannot() {
    for role in Role::ALL.into_iter().filter(|r| r.writes()) {
        let mut branch = Branch::new();
        let mut first = branch.of(role).clone();
        let mut second = branch.new_chain(60, u16::from(role.to_wire()));
        branch.issue_by(&mut first, &second.admission(role));
        let frontier = first.mark();
        let one = first.issue(&removal(second.id, Frontier::default()));
        let other = second.issue(&removal(first.id, frontier));
        for order in [[&one, &other], [&other, &one]] {
            let mut charter = branch.charter.clone();
            order.iter().for_each(|item| assert_eq!(charter.keep(item), Ok(true)));
            let gone: BTreeSet<DeviceId> = charter.removed().keys().copied().collect();
            assert_eq!(gone, [first.id, second.id].into(), "{role:?}");
        }
    }
    let mut branch = Branch::new();
    let mut deputies = [branch.new_chain(60, 60), branch.new_chain(61, 61)];
    for deputy in &deputies {
        branch.issue(Role::Secretary, &deputy.admission(Role::Deputy));
    }
    let [a, b] = &mut deputies;
    for item in [a.issue(&removal(b.id, Frontier::default())), b.issue(&removal(a.id, Frontier::default()))] {
        branch.keep(item);
    }
    assert!(branch.charter.removed().is_empty());
}

#[test]
fn certificates_in_a_circle_certify_nobody() {
    let mut branch = Branch::new();
    let before = branch.charter.devices().clone();
    for length in 1..=5u16 {
        let ring: Vec<Chain> = (0..length).map(|i| branch.new_chain(100 * length + i, 77)).collect();
        let items: Vec<Item> = (0..ring.len())
            .map(|i| ring[i].clone().issue(&ring[(i + 1) % ring.len()].admission(Role::Deputy)))
            .collect();
        branch.charter.extend(&items).unwrap();
        assert_eq!(branch.charter.devices(), &before);
        assert!(items.iter().all(|item| !branch.charter.counts(&item.id())));
    }
}

#[test]
fn nobody_promotes_itself() {
    let mut tried = 0;
    for role in Role::ALL {
        let mut branch = Branch::new();
        let own = branch.of(role).clone();
        let second = branch.new_chain(60, own.member.0[0].into());
        let mut records: Vec<Record> = Role::ALL
            .into_iter()
            .map(|new| Record::Role {
                device: own.id,
                role: new,
                generation: 1,
                frontier: Frontier::default(),
            })
            .collect();
        records.extend(Role::ALL.into_iter().filter(|r| *r < role).map(|new| second.admission(new)));
        records.extend(Role::ALL.into_iter().filter(|r| *r != role).map(|new| own.admission(new)));
        let audience = Audience::Members(vec![own.member]);
        if !role.writes() {
            records.push(Record::Space { nonce: [1; 16], history: true, padded: false, audience });
        }
        for record in records {
            let below = matches!(&record, Record::Device { certificate, .. }
                if certificate.role.rank() > role.rank() && certificate.request.public.id() != own.id);
            let may = role.is_officer() && below;
            let item = branch.chain(role).issue(&record);
            assert_eq!(branch.charter.clone().insert(&item) == Ok(true), may, "{role:?}: {record:?}");
            let mut charter = branch.charter.clone();
            charter.keep(&item).unwrap();
            assert_eq!(charter.device(&own.id).unwrap().role, role);
            tried += 1;
        }
    }
    println!("{tried} attempts to rise, none succeeds");
}

#[test]
fn a_device_of_lower_rank_does_not_remove_its_member_s_others() {
    let mut branch = Branch::new();
    // A deputy admits a phone of its own in the secretary's name.
    let mut false_phone = branch.new_chain(60, 1);
    let record = false_phone.admission(Role::Member);
    assert_eq!(branch.offer(Role::Deputy, &record), Err(RejectCode::NotAuthorised), "an officer's name");
    // The secretary has a tablet that only helps; whoever finds it does not become the branch's master.
    branch.issue(Role::Secretary, &false_phone.admission(Role::Helper));
    let secretary = branch.of(Role::Secretary).id;
    let item = false_phone.issue(&removal(secretary, Frontier::default()));
    assert_eq!(branch.charter.insert(&item), Err(RejectCode::NotAuthorised));
    branch.keep(item);
    assert!(branch.charter.devices().contains_key(&secretary));
    // The other way round it may.
    branch.issue(Role::Secretary, &removal(false_phone.id, Frontier::default()));
}

#[test]
fn a_deputy_does_not_make_devices_of_officers() {
    let mut branch = Branch::new();
    let audience = Audience::Members(vec![member_id(1)]);
    branch.issue(Role::Secretary, &Record::Space { nonce: [70; 16], history: true, padded: false, audience });
    let private = SpaceId::derive(&branch.of(Role::Secretary).id, &[70; 16]);
    let other = branch.new_chain(50, 50);
    branch.issue(Role::Secretary, &other.admission(Role::Deputy));
    for (i, of) in [1, 50].into_iter().enumerate() {
        for role in Role::ALL {
            let phone = branch.new_chain(60 + i as u16, of);
            assert!(branch.offer(Role::Deputy, &phone.admission(role)).is_err(), "{role:?} of {of}");
            assert!(!branch.charter.can_read(&phone.id, &private));
        }
    }
    // A further device of its own, with less rights, it may admit; and a new phone of a member.
    let tablet = branch.new_chain(80, 2);
    branch.issue(Role::Deputy, &tablet.admission(Role::Reader));
    let phone = branch.new_chain(81, 4);
    branch.issue(Role::Deputy, &phone.admission(Role::Member));
    // Who was an officer and is none now, too.
    let demotion =
        Record::Role { device: other.id, role: Role::Member, generation: 1, frontier: Frontier::default() };
    branch.issue(Role::Secretary, &demotion);
    let phone = branch.new_chain(82, 50);
    branch.issue(Role::Deputy, &phone.admission(Role::Member));
}

#[test]
fn whom_a_deputy_admitted_may_become_a_deputy() {
    let mut branch = Branch::new();
    let mut new = branch.new_chain(60, 60);
    branch.issue(Role::Deputy, &new.admission(Role::Member));
    let promotion = Record::Role { device: new.id, role: Role::Deputy, generation: 1, frontier: new.mark() };
    branch.issue(Role::Secretary, &promotion);
    let newest = branch.new_chain(61, 61);
    branch.issue_by(&mut new, &newest.admission(Role::Helper));
    branch.issue_by(&mut new, &removal(newest.id, Frontier::default()));
    branch.items.reverse();
    assert_same(&from_scratch(branch.id, &branch.items), &branch.charter, "reversed");
}

#[test]
fn one_device_has_one_certificate() {
    // Two of the same rank: the smaller id counts, whichever comes first. A higher rank's before that.
    let mut branch = Branch::new();
    let new = branch.new_chain(60, 60);
    let mut items: Vec<Item> = [Role::Member, Role::Helper, Role::Reader]
        .into_iter()
        .map(|role| branch.chain(Role::Deputy).issue(&new.admission(role)))
        .collect();
    items.sort_by_key(Item::id);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut charter = branch.charter.clone();
        for i in order {
            charter.keep(&items[i]).unwrap();
        }
        assert_eq!(charter.certificate_of(&new.id), Some(items[0].id()));
        assert_eq!(items.iter().map(|i| charter.counts(&i.id())).collect::<Vec<_>>(), [true, false, false]);
        let by_secretary = branch.of(Role::Secretary).clone().issue(&new.admission(Role::Committee));
        charter.keep(&by_secretary).unwrap();
        assert_eq!(charter.devices()[&new.id].role, Role::Committee);
    }
    // A second certificate changes nothing of what the first one's holder wrote before it: it is not stuck.
    let (space, doc) = (branch.open, branch.doc(branch.open, Writers::All));
    for item in &items {
        branch.charter.keep(item).unwrap();
    }
    let author = Author { device: new.id, ..branch.of(Role::Member).author() };
    assert!(branch.charter.standing(&run(author, space, doc, 1), link(1)).is_ok());
}

#[test]
fn a_device_says_which_of_its_certificates_it_was_shown() {
    let mut branch = Branch::new();
    let audience = Audience::Members(vec![member_id(4)]);
    branch.issue(Role::Member, &Record::Space { nonce: [7; 16], history: true, padded: false, audience });
    let (mut taken, mut by_itself) = (0, 0);
    for i in 0..20 {
        // A member's second phone; another member, and a deputy, write its keys into certificates of their own.
        let mut phone = branch.new_chain(60 + i, 4);
        let own = branch.chain(Role::Member).issue(&phone.admission(Role::Member));
        let stolen = Chain { member: member_id(5), ..phone.clone() };
        let other = branch.chain(Role::Probationary).issue(&stolen.admission(Role::Probationary));
        let higher = branch.chain(Role::Deputy).issue(&stolen.admission(Role::Reader));
        let mut charter = branch.charter.clone();
        [&own, &other].iter().for_each(|item| assert_eq!(charter.keep(item), Ok(true)));
        by_itself += usize::from(charter.device(&phone.id).unwrap().member == phone.member);
        charter.keep(&higher).unwrap();
        taken += usize::from(charter.device(&phone.id).unwrap().member == stolen.member);
        let accept = phone.issue(&Record::Accept { certificate: own.id() });
        // Not another's, and not a record that is no certificate of its.
        let false_ones = [
            branch.chain(Role::Deputy).clone().issue(&Record::Accept { certificate: higher.id() }),
            branch.chain(Role::Member).clone().issue(&Record::Accept { certificate: own.id() }),
            phone.clone().issue(&Record::Accept { certificate: branch.items[0].id() }),
        ];
        for item in &false_ones {
            assert_eq!(charter.clone().insert(item), Err(RejectCode::NotAuthorised));
        }
        assert_eq!(charter.insert(&accept), Ok(true));
        let found = charter.device(&phone.id).unwrap();
        assert_eq!((found.member, found.role), (phone.member, Role::Member));
        assert_eq!(charter.certificate_of(&phone.id), Some(own.id()));
        assert!(charter.counts(&own.id()) && !charter.counts(&other.id()) && !charter.counts(&higher.id()));
        // What it says first stays.
        for later in [&other, &higher] {
            let item = phone.issue(&Record::Accept { certificate: later.id() });
            let verdict = charter.clone().insert(&item);
            assert_eq!(verdict == Ok(true), item.id() < accept.id());
        }
    }
    assert!(taken == 20 && by_itself < 20, "{taken} {by_itself}");
    println!("20 phones with three certificates: each is its owner's once it says so");
}

/// A device that accepts a certificate which never counts (it gave it to itself) is in by none, whatever came first.
#[test]
fn an_acceptance_that_came_before_its_certificate_is_one_all_the_same() {
    let mut branch = Branch::new();
    let mut phone = branch.new_chain(60, 4);
    let own = branch.chain(Role::Secretary).issue(&phone.admission(Role::Member));
    let by_itself = phone.issue(&phone.clone().admission(Role::Probationary));
    let accept = phone.issue(&Record::Accept { certificate: by_itself.id() });
    let orders = [
        [&own, &accept, &by_itself],
        [&own, &by_itself, &accept],
        [&by_itself, &own, &accept],
        [&accept, &by_itself, &own],
    ];
    for order in orders {
        let mut charter = branch.charter.clone();
        for item in order.into_iter().cycle().take(6) {
            // What came before the device was known comes again.
            let _ = charter.keep(item);
            charter.devices();
        }
        assert_eq!(charter.len(), branch.charter.len() + 3);
        assert_eq!(charter.device(&phone.id), None);
    }
    println!(
        "4 orders of a certificate, another one and the word for that: in none of them the first one counts"
    );
}

/// A deputy decided something, then the secretary took its role, then another deputy removed its device with a frontier that does
/// not reach so far: among equals that voids nothing, whichever record comes last.
#[test]
fn what_a_deputy_decided_stands_against_another_deputy_in_any_order() {
    let mut branch = Branch::new();
    let (mut one, mut two, helper) =
        (branch.new_chain(70, 70), branch.new_chain(71, 71), branch.new_chain(72, 72));
    for record in [one.admission(Role::Deputy), two.admission(Role::Deputy), helper.admission(Role::Helper)] {
        branch.issue(Role::Secretary, &record);
    }
    let before = one.mark();
    let role = |device, role, frontier| Record::Role { device, role, generation: 1, frontier };
    let decided = one.issue(&role(helper.id, Role::Reader, Frontier::default()));
    let demoted = branch.chain(Role::Secretary).issue(&role(one.id, Role::Helper, one.mark()));
    let removed = two.issue(&Record::Removal { device: one.id, reason: Reason::Lost, frontier: before });
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut charter = branch.charter.clone();
        for i in order {
            charter.keep([&decided, &demoted, &removed][i]).unwrap();
            charter.devices();
        }
        assert!([&decided, &demoted, &removed].iter().all(|item| charter.counts(&item.id())), "{order:?}");
        assert_eq!(charter.device(&helper.id).unwrap().role, Role::Reader, "{order:?}");
    }
    println!("6 orders, one answer: the deputy's word stands");
}

#[test]
fn who_claims_to_lead_back_to_a_key_keeps_nobody_from_it() {
    let mut branch = Branch::new();
    let space = branch.open;
    branch.issue(Role::Secretary, &epoch(space, 1, 1, Vec::new()));
    let claim = |id: u8, of: u8| {
        let prev = vec![SealedKey { epoch: EpochId([of; 16]), nonce: [0; 24], ct: [0; 48] }];
        let id = EpochId([id; 16]);
        Record::Epoch(Box::new(EpochRecord { space, generation: 1, id, issued: 0, prev, wraps: Vec::new() }))
    };
    branch.issue(Role::Member, &claim(2, 1));
    assert!(branch.charter.needed_epochs(&space).contains(&EpochId([1; 16])));
    branch.issue(Role::Deputy, &claim(3, 1));
    assert!(!branch.charter.needed_epochs(&space).contains(&EpochId([1; 16])));
}

#[test]
fn two_devices_may_have_one_member_and_each_its_own_role() {
    let mut branch = Branch::new();
    let second = branch.new_chain(60, 4);
    branch.issue(Role::Secretary, &second.admission(Role::Reader));
    let roles = [branch.of(Role::Member).id, second.id].map(|id| branch.charter.devices()[&id].role);
    assert_eq!(roles, [Role::Member, Role::Reader]);
    let (space, doc) = (branch.open, branch.doc(branch.open, Writers::All));
    assert!(branch.charter.authorise_author(&second.id, &space, &doc).is_err());
}

#[test]
fn ids_of_spaces_and_documents_are_their_creators() {
    let mut branch = Branch::new();
    let (spaces, documents) = (branch.charter.spaces().clone(), branch.charter.documents().clone());
    for i in 1..40 {
        let audience = Audience::Members(vec![member_id(4)]);
        branch.issue(Role::Member, &Record::Space { nonce: [i; 16], history: true, padded: false, audience });
        branch.issue(
            Role::Member,
            &Record::Document {
                nonce: [i; 16],
                space: branch.open,
                writers: Writers::All,
                schema: Vec::new(),
            },
        );
    }
    assert!(spaces.iter().all(|(id, space)| branch.charter.spaces()[id] == *space));
    assert!(documents.iter().all(|(id, doc)| branch.charter.documents()[id] == *doc));
    assert_eq!(branch.charter.spaces().len(), spaces.len() + 39);
    // Its own it may claim twice; the smaller id counts.
    let (space, nonce) = (branch.open, [99; 16]);
    let mut twice = [Writers::All, Writers::Officers].map(|writers| {
        branch.chain(Role::Member).issue(&Record::Document { nonce, space, writers, schema: Vec::new() })
    });
    twice.sort_by_key(Item::id);
    for order in [[0, 1], [1, 0]] {
        let mut charter = branch.charter.clone();
        order.iter().for_each(|i| assert_eq!(charter.keep(&twice[*i]), Ok(true)));
        assert_eq!(twice.each_ref().map(|i| charter.counts(&i.id())), [true, false]);
    }
}

#[test]
fn the_highest_generation_leaves_room_for_the_next() {
    let mut branch = Branch::new();
    let (space, member, device) = (branch.closed, member_id(6), branch.of(Role::Reviewer).id);
    let high = u32::MAX;
    let none = Frontier::default();
    let hostile = [
        branch.chain(Role::Deputy).issue(&Record::Role {
            device,
            role: Role::Reader,
            generation: high,
            frontier: none.clone(),
        }),
        branch.chain(Role::Secretary).issue(&Record::Grant { space, member, generation: high }),
        branch.chain(Role::Secretary).issue(&Record::Revoke {
            space,
            member,
            generation: high,
            frontier: none,
        }),
        branch.chain(Role::Committee).issue(&epoch(space, high, 7, Vec::new())),
        branch.chain(Role::Secretary).issue(&Record::Upper { generation: high, upper: None }),
    ];
    for item in hostile {
        assert_eq!(branch.charter.clone().insert(&item), Err(RejectCode::UnknownTarget));
        branch.keep(item.clone());
        assert!(!branch.charter.counts(&item.id()));
    }
    for _ in 0..3 {
        let charter = &branch.charter;
        let next = charter.role_generation(&device) + 1;
        branch.issue(
            Role::Deputy,
            &Record::Role { device, role: Role::Helper, generation: next, frontier: Frontier::default() },
        );
        let next = branch.charter.reader_generation(&space, &member) + 1;
        branch.issue(Role::Secretary, &Record::Grant { space, member, generation: next });
        let next = branch.charter.reader_generation(&space, &member) + 1;
        branch.issue(
            Role::Secretary,
            &Record::Revoke { space, member, generation: next, frontier: Frontier::default() },
        );
        let next = branch.charter.epochs(&space).map(|(_, e)| e.generation).max().unwrap_or(0) + 1;
        branch.issue(Role::Secretary, &epoch(space, next, next as u8, Vec::new()));
        let next = branch.charter.upper_generation() + 1;
        branch.issue(Role::Secretary, &Record::Upper { generation: next, upper: None });
    }
    assert_eq!(branch.charter.role_generation(&device), 3);
    // As far ahead as may be: there is room after it all the same.
    let ahead = limits::GENERATIONS_AHEAD_MAX + 5;
    branch.issue(
        Role::Deputy,
        &Record::Role { device, role: Role::Reader, generation: ahead, frontier: Frontier::default() },
    );
    let next = branch.charter.role_generation(&device) + 1;
    assert_eq!(next, ahead + 1);
    branch.issue(
        Role::Deputy,
        &Record::Role { device, role: Role::Member, generation: next, frontier: Frontier::default() },
    );
    assert_eq!(branch.charter.devices()[&device].role, Role::Member);
    // A root record has no such bound: nobody else makes them.
    let payload = recover(
        &branch.root,
        branch.id,
        high,
        branch.of(Role::Helper).certificate(Role::Secretary),
        Vec::new(),
    );
    assert!(Record::decode(&payload).is_err());
}

#[test]
fn who_was_taken_off_a_space_has_no_say_there() {
    let mut branch = Branch::new();
    let audience = Audience::Members([2, 4, 50].map(member_id).into());
    branch.issue(Role::Member, &Record::Space { nonce: [78; 16], history: true, padded: false, audience });
    let space = SpaceId::derive(&branch.of(Role::Member).id, &[78; 16]);
    branch.issue(
        Role::Member,
        &Record::Document { nonce: [79; 16], space, writers: Writers::Officers, schema: Vec::new() },
    );
    let doc = DocId::derive(&branch.of(Role::Member).id, &[79; 16]);
    branch.issue(Role::Deputy, &epoch(space, 1, 1, vec![wrap_for(&branch.of(Role::Member).id, 1)]));
    let deputy = branch.of(Role::Deputy).clone();
    let frontier = deputy.mark();
    branch.issue(Role::Member, &Record::Revoke { space, member: deputy.member, generation: 1, frontier });
    assert!(branch.charter.rotation_due(&space), "the deputy drew this key");
    let next = Record::Grant { space, member: deputy.member, generation: 2 };
    assert_eq!(branch.offer(Role::Deputy, &next), Err(RejectCode::NotAuthorised), "lets itself in again");
    let recorder = Record::Recorder { doc, member: member_id(50) };
    assert_eq!(branch.offer(Role::Deputy, &recorder), Err(RejectCode::NotAuthorised));
    // A key that it draws now is no current one, though what is under it may be read.
    branch.issue(Role::Member, &epoch(space, 2, 2, Vec::new()));
    branch.issue(Role::Deputy, &epoch(space, 3, 3, Vec::new()));
    assert_eq!(branch.charter.current_epoch(&space).unwrap().0, EpochId([2; 16]));
    assert!(!branch.charter.rotation_due(&space));
    assert_eq!(branch.charter.epochs(&space).count(), 3);
    // Of two deputies the secretary's word stands against both, not one's against the other.
    let mut other = branch.new_chain(50, 50);
    branch.issue(Role::Secretary, &other.admission(Role::Deputy));
    branch.issue_by(&mut other, &Record::Grant { space, member: deputy.member, generation: 2 });
    assert!(branch.charter.can_read(&deputy.id, &space));
    branch.items.reverse();
    assert_same(&from_scratch(branch.id, &branch.items), &branch.charter, "reversed");
}

#[test]
fn a_revoke_gives_nothing() {
    let mut branch = Branch::new();
    let (space, member) = (branch.closed, member_id(4));
    branch.issue(
        Role::Secretary,
        &Record::Revoke { space, member, generation: 1, frontier: Frontier::default() },
    );
    let doc = Record::Document { nonce: [9; 16], space, writers: Writers::All, schema: Vec::new() };
    assert_eq!(branch.offer(Role::Member, &doc), Err(RejectCode::NotAuthorised));
    assert_eq!(branch.offer(Role::Member, &epoch(space, 1, 1, Vec::new())), Err(RejectCode::NotAuthorised));
}

#[test]
fn a_false_epoch_does_not_displace_a_true_one() {
    let mut branch = Branch::new();
    let space = branch.open;
    let reader = branch.of(Role::Reader).id;
    let prev = SealedKey { epoch: EpochId([1; 16]), nonce: [1; 24], ct: [2; 48] };
    let record = |id: u8, generation, prev: &[SealedKey], wraps| {
        let id = EpochId([id; 16]);
        let record = EpochRecord { space, generation, id, issued: 5, prev: prev.to_vec(), wraps };
        Record::Epoch(Box::new(record))
    };
    branch.issue(Role::Secretary, &record(1, 1, &[], Vec::new()));
    branch.issue(Role::Deputy, &record(2, 2, &[prev], vec![wrap_for(&reader, 1)]));
    let find = |branch: &Branch, id: u8| {
        branch.charter.epochs(&space).find(|(e, _)| *e == EpochId([id; 16])).unwrap().1.clone()
    };
    let (first, second) = (find(&branch, 1), find(&branch, 2));
    for i in 0..40u8 {
        // The same ids, and other ids with the same first half; members may, but change nothing that is there.
        let mut near = EpochId([2; 16]);
        near.0[15] = i;
        let wraps = vec![wrap_for(&reader, 100 + i)];
        let record = |id| {
            Record::Epoch(Box::new(EpochRecord {
                space,
                generation: 3,
                id,
                issued: 0,
                prev: Vec::new(),
                wraps: wraps.clone(),
            }))
        };
        let chain = branch.chain(Role::Member);
        let items = [EpochId([1; 16]), EpochId([2; 16]), near].map(|id| chain.issue(&record(id)));
        items.into_iter().for_each(|item| branch.keep(item));
    }
    for (id, before) in [(1, &first), (2, &second)] {
        let after = find(&branch, id);
        let who = |e: &Epoch| (e.generation, e.issuer, e.issued, e.prev.clone());
        assert_eq!(who(&after), who(before));
        assert!(before.wraps.values().flatten().all(|w| after.wraps[&w.tag].contains(w)));
    }
    branch.items.reverse();
    assert_same(&from_scratch(branch.id, &branch.items), &branch.charter, "reversed");
}

#[test]
fn a_false_wrap_keeps_nobody_from_the_key_and_no_space_in_rotation() {
    let mut branch = Branch::new();
    let space = branch.open;
    let ids: Vec<DeviceId> = branch.people.iter().map(|p| p.id).collect();
    let wraps: Vec<Wrap> = ids[..3].iter().map(|id| wrap_for(id, 1)).collect();
    branch.issue(Role::Secretary, &epoch(space, 1, 1, wraps));
    let lacking: BTreeSet<DeviceId> = [3, 4, 6, 7].map(|i| ids[i]).into();
    let unwrapped = |b: &Branch| {
        let (current, _) = b.charter.current_epoch(&space).unwrap();
        b.charter.unwrapped(&space, &current).into_iter().collect::<BTreeSet<_>>()
    };
    assert_eq!(unwrapped(&branch), lacking);
    let by_member = |branch: &Branch, to: &[DeviceId]| {
        let mut wraps: Vec<Wrap> = to.iter().map(|id| wrap_for(id, 2)).collect();
        wraps.sort_by_key(|w| w.tag);
        (Record::Wraps { space, epoch: EpochId([1; 16]), wraps }, branch.of(Role::Probationary).id)
    };
    // A member hands rubbish to everybody, and the key to one who may not read.
    let (record, own) = by_member(&branch, &ids);
    branch.issue(Role::Probationary, &record);
    assert_eq!(unwrapped(&branch), lacking.iter().copied().filter(|id| *id != own).collect());
    assert!(!branch.charter.rotation_due(&space));
    // An officer's word is taken.
    let mut wraps: Vec<Wrap> = lacking.iter().map(|id| wrap_for(id, 3)).collect();
    wraps.sort_by_key(|w| w.tag);
    branch.issue(Role::Deputy, &Record::Wraps { space, epoch: EpochId([1; 16]), wraps });
    assert!(unwrapped(&branch).is_empty() && !branch.charter.rotation_due(&space));
    let gone = ids[7];
    branch.issue(Role::Deputy, &removal(gone, Frontier::default()));
    assert!(branch.charter.rotation_due(&space));
}

#[test]
fn a_key_is_new_after_the_one_who_drew_it_is_gone() {
    let mut branch = Branch::new();
    let space = branch.open;
    // Draws a key and does not hand it to its own device: it holds it all the same.
    let wraps = vec![wrap_for(&branch.of(Role::Member).id, 1)];
    branch.issue(Role::Deputy, &epoch(space, 1, 1, wraps));
    let deputy = branch.of(Role::Deputy).clone();
    branch.issue(Role::Secretary, &removal(deputy.id, deputy.mark()));
    assert!(branch.charter.rotation_due(&space));
}

#[test]
fn a_member_who_fills_the_charter_is_removed_all_the_same() {
    let mut branch = Branch::new();
    let (space, mut member) = (branch.open, branch.of(Role::Member).clone());
    let mut n = 0u32;
    let refused = loop {
        let nonce = *[n.to_le_bytes(); 4].concat().first_chunk().unwrap();
        n += 1;
        let item =
            member.issue(&Record::Document { nonce, space, writers: Writers::All, schema: Vec::new() });
        if let Err(code) = branch.charter.insert(&item) {
            break code;
        }
    };
    assert_eq!(refused, RejectCode::Quota);
    let kept = branch.charter.len();
    assert!((limits::CHARTER_RECORDS_MAX - 600..limits::CHARTER_RECORDS_MAX - 400).contains(&kept), "{kept}");
    branch.issue(Role::Deputy, &removal(member.id, Frontier::default()));
    assert_eq!(branch.charter.documents().values().filter(|d| d.counts).count(), 8);
    // The secretary's thief fills what is left; the key on paper still finds room.
    let mut thief = branch.of(Role::Secretary).clone();
    while branch.charter.insert(&thief.issue(&Record::Upper { generation: 1, upper: None })).is_ok() {}
    assert!(branch.charter.len() < limits::CHARTER_RECORDS_MAX);
    let mut new = branch.new_chain(70, 1);
    let removals = vec![(thief.id, Reason::Lost, branch.of(Role::Secretary).mark())];
    let payload = recover(&branch.root, branch.id, 1, new.certificate(Role::Secretary), removals);
    assert_eq!(branch.charter.insert(&new.sign(&payload)), Ok(true));
    println!(
        "{n} records of one member and {} in all: it is removed, and the root key finds room",
        branch.charter.len()
    );
}
