//! The key on paper against a thief with the secretary's unlocked phone.

use super::*;

fn root_record(
    branch: &Branch,
    by: &mut Chain,
    generation: u32,
    removals: Vec<(DeviceId, Reason, Frontier)>,
) -> Item {
    let payload = recover(&branch.root, branch.id, generation, by.certificate(Role::Secretary), removals);
    by.sign(&payload)
}

/// Everything that a thief can do with the secretary's phone.
fn theft(branch: &mut Branch) -> Vec<Item> {
    let mut thief = branch.of(Role::Secretary).clone();
    let mut accomplice = branch.new_chain(60, 1);
    let mut stranger = branch.new_chain(61, 61);
    let mut items = Vec::new();
    let mut by = |chain: &mut Chain, record: &Record| items.push(chain.issue(record));
    by(&mut thief, &accomplice.admission(Role::Secretary));
    by(&mut thief, &stranger.admission(Role::Deputy));
    for role in Role::ALL.into_iter().skip(1) {
        let device = branch.of(role).id;
        by(&mut thief, &Record::Removal { device, reason: Reason::Expelled, frontier: Frontier::default() });
        let frontier = Frontier::default();
        by(&mut accomplice, &Record::Role { device, role: Role::Reader, generation: 1, frontier });
        let author = branch.of(role).author();
        by(&mut accomplice, &Record::Cut { space: branch.open, author, keep: 0 });
    }
    for member in [3, 6] {
        let (space, member) = (branch.closed, member_id(member));
        by(
            &mut thief,
            &Record::Revoke { space, member, generation: u32::MAX, frontier: Frontier::default() },
        );
        by(&mut thief, &Record::Revoke { space, member, generation: 1, frontier: Frontier::default() });
    }
    let key = epoch(branch.open, 2, 99, vec![wrap_for(&stranger.id, 1)]);
    by(&mut stranger, &key);
    by(&mut thief, &Record::Upper { generation: 1, upper: Some(SpaceId([13; 16])) });
    let own = branch.of(Role::Secretary).id;
    by(
        &mut accomplice,
        &Record::Removal { device: own, reason: Reason::Lost, frontier: Frontier::default() },
    );
    items
}

#[test]
fn one_root_record_restores_all_that_a_stolen_secretary_s_phone_took() {
    let mut branch = Branch::new();
    let (secretary, before) = (branch.of(Role::Secretary).clone(), branch.charter.clone());
    let stolen = theft(&mut branch);
    let count = stolen.len();
    stolen.into_iter().for_each(|item| branch.keep(item));
    let left: Vec<Role> = branch.charter.devices().values().map(|d| d.role).collect();
    assert!(!left.contains(&Role::Member), "{left:?}");
    // The secretary, too, is out, and all that it made; what others wrote there stays.
    let by_right = branch.charter.spaces().values().any(|s| s.counts);
    assert!(!by_right && branch.charter.spaces().keys().eq(before.spaces().keys()));

    let mut new = branch.new_chain(70, 1);
    let removals = vec![(secretary.id, Reason::Lost, secretary.mark())];
    let item = root_record(&branch, &mut new, 1, removals);
    branch.add(item.clone());
    let after = &branch.charter;
    let roles = |c: &Charter| c.devices().iter().map(|(id, d)| (*id, d.role)).collect::<BTreeMap<_, _>>();
    let mut expected = roles(&before);
    expected.remove(&secretary.id);
    expected.insert(new.id, Role::Secretary);
    assert_eq!(roles(after), expected);
    assert_eq!(after.removed().keys().collect::<Vec<_>>(), [&secretary.id]);
    assert_eq!(
        (after.spaces(), after.documents(), after.upper()),
        (before.spaces(), before.documents(), None)
    );
    assert_eq!(after.epochs(&branch.open).count(), 0);
    let known: BTreeSet<ItemId> = before.records().map(|r| r.id).collect();
    let counting: Vec<ItemId> =
        after.records().filter(|r| r.counts && !known.contains(&r.id)).map(|r| r.id).collect();
    assert_eq!(counting, [item.id()]);
    let (space, doc) = (branch.open, branch.doc(branch.open, Writers::Members));
    let author = branch.of(Role::Member).author();
    assert_eq!(after.standing(&run(author, space, doc, 5), link(5)), Ok(Standing::Accepted));
    // Everybody works on with the new secretary; the thief goes on for nothing.
    let mut by_thief = secretary.clone();
    by_thief.n += 100;
    let device = branch.of(Role::Member).id;
    let again = Record::Removal { device, reason: Reason::Left, frontier: Frontier::default() };
    assert!(branch.charter.insert(&by_thief.issue(&again)).is_err());
    branch.issue_by(&mut new, &again);
    assert_eq!(from_scratch(branch.id, &branch.items).view(), branch.charter.view());
    println!("{count} records of a thief, all void by one root record");
}

#[test]
fn an_old_root_record_of_a_device_that_a_later_one_removed_does_not_count() {
    for seed in 0..20 {
        let branch = Branch::new();
        let (mut first, mut second) = (branch.new_chain(70 + seed, 1), branch.new_chain(90 + seed, 1));
        // Of equals the smaller id counts against the other.
        let generations = if seed < 10 { (1, 2) } else { (1, 1) };
        let secretary = branch.of(Role::Secretary).clone();
        let old = root_record(
            &branch,
            &mut first,
            generations.0,
            vec![(secretary.id, Reason::Lost, secretary.mark())],
        );
        let all_gone = (first.id, Reason::Lost, Frontier::default());
        let new = root_record(&branch, &mut second, generations.1, vec![all_gone]);
        if generations == (1, 1) && old.id() < new.id() {
            continue;
        }
        let mut sets = vec![vec![old.clone(), new.clone()], vec![new.clone(), old.clone()]];
        for set in &mut sets {
            let mut charter = branch.charter.clone();
            set.iter().for_each(|item| assert_eq!(charter.keep(item), Ok(true)));
            assert!(!charter.counts(&old.id()) && charter.counts(&new.id()));
            assert!(
                charter.devices().contains_key(&secretary.id) && !charter.devices().contains_key(&first.id)
            );
            assert_eq!(charter.devices()[&second.id].role, Role::Secretary);
        }
        // One that the later record has within its frontier counts still.
        let kept = (first.id, Reason::Lost, first.mark());
        let mut third = branch.new_chain(200 + seed, 1);
        let new = root_record(&branch, &mut third, 2, vec![kept]);
        let mut charter = branch.charter.clone();
        [&new, &old].iter().for_each(|item| assert_eq!(charter.keep(item), Ok(true)));
        assert!(charter.counts(&old.id()) && charter.counts(&new.id()));
        assert!(charter.removed().contains_key(&secretary.id) && charter.removed().contains_key(&first.id));
    }
}

#[test]
fn the_device_that_the_root_key_chose_last_is_not_removed_by_an_older_root_record() {
    let mut branch = Branch::new();
    let (mut first, mut second) = (branch.new_chain(70, 1), branch.new_chain(71, 1));
    let found_again = (second.id, Reason::Lost, Frontier::default());
    let lost = root_record(&branch, &mut first, 1, vec![found_again]);
    let chosen = root_record(&branch, &mut second, 2, vec![(first.id, Reason::Replaced, first.mark())]);
    branch.keep(chosen);
    branch.keep(lost);
    assert_eq!(branch.charter.devices().get(&second.id).map(|d| d.role), Some(Role::Secretary));
    assert!(branch.charter.removed().contains_key(&first.id));
}

#[test]
fn who_becomes_secretary_by_the_root_key_was_none_before() {
    let mut branch = Branch::new();
    let mut member = branch.of(Role::Member).clone();
    let victim = branch.of(Role::Committee).id;
    // Refused everywhere, kept by phones that were told: it counts for nothing, also when its author becomes secretary.
    let early = member.issue(&Record::Removal {
        device: victim,
        reason: Reason::Left,
        frontier: Frontier::default(),
    });
    branch.keep(early.clone());
    let mut own = branch.new_chain(62, 4);
    let admission = own.admission(Role::Member);
    branch.issue_by(&mut member, &admission);
    assert!(!branch.charter.counts(&early.id()));
    let made = root_record(&branch, &mut member, 1, Vec::new());
    branch.add(made);
    assert!(!branch.charter.counts(&early.id()), "a right begins where it was given");
    assert!(branch.charter.devices().contains_key(&victim) && branch.charter.devices().contains_key(&own.id));
    assert_eq!(branch.charter.devices()[&member.id].role, Role::Secretary);
    assert_eq!(branch.charter.devices()[&own.id].role, Role::Member);
    branch.issue_by(
        &mut member,
        &Record::Removal { device: victim, reason: Reason::Left, frontier: Frontier::default() },
    );
    let late = own.issue(&Record::Removal {
        device: member.id,
        reason: Reason::Left,
        frontier: Frontier::default(),
    });
    assert!(branch.charter.insert(&late).is_err(), "below the secretary now, though the same member");
    // From scratch the same, whichever record comes first.
    branch.items.reverse();
    assert_same(&from_scratch(branch.id, &branch.items), &branch.charter, "reversed");
}

#[test]
fn forged_root_records_are_not_kept() {
    let mut branch = Branch::new();
    let (tag, before) = (branch.charter.tag(), branch.charter.len());
    for seed in (0..200).filter(|seed| *seed != 99) {
        let mut outsider = branch.new_chain(500 + seed, 500);
        let key = SignKey::from_seed(&[seed as u8; 32]);
        let payload =
            recover(&key, branch.id, u32::from(seed) + 1, outsider.certificate(Role::Secretary), Vec::new());
        let item = outsider.sign(&payload);
        assert_eq!(branch.charter.keep(&item), Err(RejectCode::NotAuthorised));
        assert_eq!(branch.charter.insert(&item), Err(RejectCode::NotAuthorised));
        assert_eq!((branch.charter.tag(), branch.charter.len()), (tag, before));
    }
    let mut empty = Charter::new(branch.id);
    let mut new = branch.new_chain(70, 1);
    let item = root_record(&branch, &mut new, 1, Vec::new());
    assert_eq!(empty.keep(&item), Err(RejectCode::UnknownAuthor), "whose root key it is, the genesis says");
    println!("199 forged root records, 0 kept");
}

#[test]
fn a_record_that_does_not_count_comes_to_count_when_a_root_record_voids_what_took_it() {
    let mut branch = Branch::new();
    let secretary = branch.of(Role::Secretary).clone();
    let mut deputy = branch.of(Role::Deputy).clone();
    let device = deputy.id;
    branch.issue(
        Role::Secretary,
        &Record::Removal { device, reason: Reason::Expelled, frontier: deputy.mark() },
    );
    let new = branch.new_chain(40, 40);
    let admission = deputy.issue(&new.admission(Role::Member));
    let mut refused = branch.charter.clone();
    assert_eq!(refused.insert(&admission), Err(RejectCode::NotAuthorised));
    assert_same(&refused, &branch.charter, "no trace");
    branch.keep(admission.clone());
    assert!(!branch.charter.counts(&admission.id()) && branch.charter.device(&new.id).is_none());
    let mut by = branch.new_chain(70, 1);
    let item = root_record(&branch, &mut by, 1, vec![(secretary.id, Reason::Lost, secretary.mark())]);
    branch.add(item);
    assert!(branch.charter.counts(&admission.id()) && branch.charter.devices().contains_key(&new.id));
}
