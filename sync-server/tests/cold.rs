//! Spaces that are not in memory: whatever needs one waits until it was read from the log, and nobody else does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hub_common;

use dinh_proto::charter::record::{Frontier, Reason, Record, Role, found};
use dinh_proto::error::{CloseCode, RejectCode};
use dinh_proto::ids::{Author, Cursor, DocId, LogEpoch, Seq, SpaceId};
use dinh_proto::item::{Item, Kind, Place};
use dinh_proto::keys::SignKey;
use dinh_proto::permit::BranchLimits;
use dinh_proto::ranges::Ranges;
use dinh_proto::session::DeviceEvent;
use dinh_proto::wire::{ChainSet, Fetch, Hello};
use dinh_server::hub::{Admission, HubConfig, Loaded};
use hub_common::{Branch, EPOCH, Phone, World, committee, draft, forgetful, village};

/// A relay that starts over a branch with ten runs of the member; nothing of it is in memory.
fn stored() -> (Branch, Vec<Item>) {
    let mut branch = Branch::new();
    let mut items = branch.records.clone();
    items.extend((0..10).map(|i| branch.member.run(village(), draft(), &[i])));
    (branch, items)
}

/// The first record of another branch.
fn founding(founder: &Phone) -> Item {
    let (branch, genesis) = found(&SignKey::from_seed(&[98; 32]), founder.certificate(Role::Secretary));
    let place = Place::Chain { n: 1, prev: [0; 16] };
    founder.sign_at(Kind::Charter, branch, DocId::default(), place, &genesis)
}

fn warm(world: &World) -> u64 {
    world.hub.stats().warm_spaces
}

#[test]
fn a_start_reads_no_space_and_a_device_only_its_own_branch() {
    let (branch, mut items) = stored();
    items.push(founding(&Phone::new(50)));
    let mut world = World::over(HubConfig::default(), items.clone());
    assert_eq!((warm(&world), world.hub.stats().loads), (0, 0));
    assert_eq!((world.hub.stats().branches, world.hub.stats().spaces), (2, 4));
    let stranger = world.connect(&Phone::new(60).key, None);
    assert_eq!(world.hub.stats().loads, 0, "a stranger costs nothing");
    assert!(world.client(stranger).caught_up().is_none());
    let reader = world.connect(&branch.reader.key, None);
    // The charter space and the village; the other branch and the committee's space are not his.
    assert_eq!(world.hub.stats().loads, 2);
    assert_eq!(world.client(reader).items().len(), 18);
    let late = world.connect(&branch.reader.key, Some(items.len() as u64));
    assert_eq!(world.client(late).caught_up(), Some(Seq(items.len() as u64)));
    assert_eq!(world.hub.stats().loads, 2, "they are in memory");
}

#[test]
fn a_device_that_has_everything_needs_only_the_charter() {
    let (branch, items) = stored();
    let head = items.len() as u64;
    let mut world = World::over(forgetful(), items);
    let reader = world.connect(&branch.reader.key, Some(head));
    assert_eq!(world.client(reader).caught_up(), Some(Seq(head)));
    assert_eq!((world.hub.stats().loads, warm(&world)), (1, 0));
}

#[test]
fn an_item_for_a_cold_space_waits_for_it_and_no_other_connection_does() {
    let (mut branch, items) = stored();
    let head = items.len() as u64;
    let mut world = World::over(forgetful(), items);
    let member = world.connect(&branch.member.key, Some(head));
    let reader = world.connect(&branch.reader.key, Some(head));
    world.hold_loads = true;
    let run = branch.member.run(village(), draft(), b"new");
    assert_eq!(world.offer(member, run.bytes().clone(), false), None);
    assert_eq!(world.loads.len(), 2, "the charter and the village");
    // Meanwhile somebody founds a branch.
    let founder = Phone::new(50);
    let phone = world.connect(&founder.key, None);
    let genesis = founding(&founder);
    assert_eq!(world.offer(phone, genesis.bytes().clone(), false), Some(Ok(Seq(head + 1))));
    world.hold_loads = false;
    world.run();
    assert_eq!(world.client(member).acks(), vec![(world.client(member).acks()[0].0, Seq(head + 2))]);
    assert_eq!(world.client(reader).items().last().unwrap().1, *run.bytes(), "it is delivered as ever");
}

#[test]
fn what_is_in_a_cold_space_is_known_as_what_it_is() {
    let (mut branch, items) = stored();
    let mut world = World::over(forgetful(), items.clone());
    let member = world.connect(&branch.member.key, Some(items.len() as u64));
    let mut offer = |item: &Item, bridged| {
        assert_eq!(warm(&world), 0);
        world.offer(member, item.bytes().clone(), bridged).unwrap()
    };
    // A repeat is settled with its place.
    assert_eq!(offer(&items[12], false), Ok(Seq(13)));
    assert_eq!(offer(&items[3], true), Ok(Seq(4)), "a charter record");
    let Place::Chain { prev, .. } = items[12].header().place else { panic!() };
    let n = items[12].header().n().unwrap();
    let kind = items[12].header().kind;
    let fork = branch.member.sign_at(kind, village(), draft(), Place::Chain { n, prev }, b"fork");
    assert_eq!(offer(&fork, false), Err(RejectCode::Fork));
    let gap = branch.member.sign_at(kind, village(), draft(), Place::Chain { n: 15, prev: [1; 16] }, b"gap");
    assert_eq!(offer(&gap, false), Err(RejectCode::Gap));
    let other =
        branch.member.sign_at(kind, village(), draft(), Place::Chain { n: 11, prev: [1; 16] }, b"link");
    assert_eq!(offer(&other, false), Err(RejectCode::BadLink));
    let unknown = branch.member.run(SpaceId([77; 16]), draft(), b"x");
    assert_eq!(offer(&unknown, false), Err(RejectCode::UnknownTarget));
    let foreign = branch.member.run(committee(), DocId([7; 16]), b"x");
    assert!(matches!(offer(&foreign, false), Err(RejectCode::NotAuthorised | RejectCode::UnknownTarget)));
    let snapshot = branch.member.snapshot(village(), draft(), 18);
    assert_eq!(offer(&snapshot, false), Ok(Seq(19)));
    assert_eq!(offer(&snapshot, false), Ok(Seq(19)));
    assert_eq!(world.hub.stats().rejects[&RejectCode::Duplicate], 3);
}

#[test]
fn wants_haves_and_grants_are_answered_from_cold_spaces() {
    let (branch, items) = stored();
    let head = items.len() as u64;
    let mut world = World::over(forgetful(), items.clone());
    // Its cursor is of a log that never was.
    let cursor = Some(Cursor { epoch: LogEpoch([1; 8]), seq: Seq(5) });
    let reader = world.connect_with(&branch.reader.key, Hello { cursor, ..Hello::default() });
    let haves: Vec<ChainSet> = world
        .client(reader)
        .events
        .iter()
        .filter_map(|e| match e {
            DeviceEvent::Have(have) => Some(have.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(haves.len(), 2);
    assert!(haves[1].last && !haves[0].last);
    let of_village = haves.iter().find(|h| h.space == village()).unwrap();
    assert_eq!(
        of_village.chains.iter().map(|(_, r)| r.iter().collect::<Vec<_>>()).collect::<Vec<_>>(),
        [[(1, 10)]]
    );
    let author: Author = of_village.chains[0].0;
    let mut ranges = Ranges::default();
    ranges.insert(4);
    ranges.insert(7);
    let want = ChainSet { space: village(), last: true, chains: vec![(author, ranges)] };
    world.client(reader).session().want(want);
    world.run();
    let got: Vec<Seq> = world.client(reader).items().iter().map(|(seq, _)| *seq).collect();
    assert_eq!(got, [Seq(12), Seq(15)]);
    assert_eq!(world.client(reader).caught_up(), Some(Seq(head)));
    // A space that was granted late is asked for by place.
    let fetch = Fetch { space: village(), from: Seq(0), to: Seq(head) };
    let cursor = Some(Cursor { epoch: EPOCH, seq: Seq(head) });
    let granted =
        world.connect_with(&branch.reader.key, Hello { cursor, backfills: vec![fetch], ..Hello::default() });
    assert_eq!(world.client(granted).items().len(), 10);
    assert_eq!(warm(&world), 0);
}

#[test]
fn a_space_with_a_subscriber_is_forgotten_and_delivered_all_the_same() {
    let (mut branch, items) = stored();
    let mut world = World::over(forgetful(), items.clone());
    let reader = world.connect(&branch.reader.key, None);
    let member = world.connect(&branch.member.key, Some(items.len() as u64));
    for i in 0..5 {
        assert_eq!(warm(&world), 0);
        let run = branch.member.run(village(), draft(), &[i; 30]);
        assert!(world.offer(member, run.bytes().clone(), false).unwrap().is_ok());
        assert_eq!(world.client(reader).items().len(), 19 + usize::from(i));
        let snapshot = branch.member.snapshot(village(), draft(), 11 + u64::from(i));
        assert!(world.offer(member, snapshot.bytes().clone(), false).unwrap().is_ok());
    }
    // Each device got what is stored, and the next start says the same as this hub.
    let again = World::over(forgetful(), world.stored());
    let numbers =
        |world: &World| (world.hub.stats().spaces, world.hub.stats().branches, world.hub.durable_head());
    assert_eq!(numbers(&again), numbers(&world));
    assert!(world.hub.stats().evictions > 10);
}

#[test]
fn nothing_is_forgotten_that_is_not_durable_yet() {
    let (mut branch, items) = stored();
    let mut world = World::over(forgetful(), items.clone());
    let member = world.connect(&branch.member.key, Some(items.len() as u64));
    world.hold_appends = true;
    let first = branch.member.run(village(), draft(), b"first");
    let second = branch.member.run(village(), draft(), b"second");
    assert_eq!(world.offer(member, first.bytes().clone(), false), None);
    assert_eq!(warm(&world), 2);
    assert_eq!(world.offer(member, second.bytes().clone(), false), None);
    world.hold_appends = false;
    world.run();
    assert_eq!(world.client(member).acks().len(), 2);
    assert_eq!(warm(&world), 0);
}

#[test]
fn a_space_that_cannot_be_read_is_a_failure_of_storage_and_not_an_empty_space() {
    let (mut branch, items) = stored();
    let head = items.len() as u64;
    let mut world = World::over(forgetful(), items.clone());
    let idle = world.connect(&branch.reader.key, Some(head));
    let member = world.connect(&branch.member.key, Some(head));
    world.hold_loads = true;
    let run = branch.member.run(village(), draft(), b"new");
    assert_eq!(world.offer(member, run.bytes().clone(), false), None);
    world.fail_loads();
    assert_eq!(world.client(member).close_code(), Some(CloseCode::StorageFailed));
    let reader = world.connect(&branch.reader.key, None);
    // The disk gives less than was stored.
    for (token, space) in std::mem::take(&mut world.loads) {
        let less = (1..).map(Seq).zip(items[..items.len() - 1].iter().map(Item::as_raw));
        world.hub.handle_loaded(
            world.now,
            token,
            Ok(Loaded::of_items(space, less.filter(|(s, _)| *s != Seq(3)))),
        );
    }
    world.run();
    assert_eq!(world.client(reader).close_code(), Some(CloseCode::StorageFailed));
    assert!(world.client(reader).items().is_empty());
    assert_eq!(world.client(idle).close_code(), None, "who asked for nothing goes on");
    // The next one who asks is served, if it works then.
    world.hold_loads = false;
    let reader = world.connect(&branch.reader.key, None);
    assert_eq!(world.client(reader).items().len(), 18);
}

#[test]
fn a_device_that_was_removed_reads_nothing_though_its_certificate_is_in_the_charter() {
    let (mut branch, mut items) = stored();
    let device = branch.reader.key.public().id();
    let removal = Record::Removal { device, reason: Reason::Lost, frontier: Frontier::default() };
    items.push(branch.secretary.record(branch.id, &removal));
    let mut world = World::over(forgetful(), items);
    let reader = world.connect(&branch.reader.key, None);
    assert_eq!(world.hub.stats().loads, 1, "the charter says who it is");
    assert!(world.client(reader).items().is_empty() && world.client(reader).caught_up().is_none());
}

#[test]
fn a_connection_that_ends_while_it_waits_leaves_nothing_behind() {
    let (mut branch, items) = stored();
    let head = items.len() as u64;
    let mut world = World::over(forgetful(), items);
    for round in 0..3 {
        world.hold_loads = true;
        let reader = world.connect(&branch.reader.key, None);
        world.hub.handle_disconnected(world.now, dinh_server::hub::PeerId(reader));
        world.clients.remove(&reader);
        world.hold_loads = false;
        world.run();
        assert_eq!(warm(&world), 0, "round {round}");
    }
    world.hold_loads = true;
    let member = world.connect(&branch.member.key, Some(head));
    world.hold_loads = false;
    world.run();
    let run = branch.member.run(village(), draft(), b"new");
    world.hold_loads = true;
    assert_eq!(world.offer(member, run.bytes().clone(), false), None);
    world.hub.handle_disconnected(world.now, dinh_server::hub::PeerId(member));
    world.clients.remove(&member);
    world.hold_loads = false;
    world.run();
    assert_eq!((warm(&world), world.hub.durable_head()), (0, Seq(head)), "what it sent was not judged");
}

#[test]
fn items_whose_space_came_and_went_while_their_signatures_were_checked_are_judged_again() {
    let branch = Branch::new();
    let mut world = World::new(forgetful());
    let phones = [world.connect(&branch.secretary.key, None), world.connect(&branch.secretary.key, None)];
    world.hold_verdicts = true;
    for phone in phones {
        for record in &branch.records[..3] {
            world.client(phone).session().put(record.id(), record.bytes().clone(), false);
        }
        world.run();
    }
    world.hold_verdicts = false;
    // The relay does not know the branch yet, so of each only the first can be checked. The second connection's is first.
    assert_eq!(world.verdicts.len(), 2);
    for (token, results) in std::mem::take(&mut world.verdicts).into_iter().rev() {
        world.hub.handle_verified(world.now, token, results);
        world.run();
        assert_eq!(warm(&world), 0);
    }
    let places = |world: &mut World, phone| {
        world.client(phone).acks().iter().map(|(_, seq)| seq.0).collect::<Vec<_>>()
    };
    assert_eq!(places(&mut world, phones[0]), [1, 2, 3]);
    assert_eq!(places(&mut world, phones[1]), [1, 2, 3]);
    assert_eq!(world.log.len(), 3);
}

/// As when the relay starts again: what the operator decided, over the same log.
fn started_again(before: &World, config: HubConfig) -> World {
    let mut world = World::over(config, before.stored());
    let rows = before.operator.iter().map(|(key, value)| (&key[..], &value[..]));
    world.hub.load_policy(rows, None).unwrap();
    world.operator = before.operator.clone();
    world
}

#[test]
fn a_suspended_space_is_refused_without_being_read_and_taken_again_after_it_is_resumed() {
    let (mut branch, items) = stored();
    let head = items.len() as u64;
    let run = branch.member.run(village(), draft(), b"new");
    for suspended in [village(), branch.id] {
        let mut world = World::over(forgetful(), items.clone());
        world.hub.suspend_space(suspended, "for the test").unwrap();
        world.run();
        let mut world = started_again(&world, forgetful());
        let member = world.connect(&branch.member.key, Some(head));
        let loads = world.hub.stats().loads;
        assert_eq!(world.offer(member, run.bytes().clone(), false), Some(Err(RejectCode::Unavailable)));
        assert_eq!(world.hub.stats().loads, loads);
        let reader = world.connect(&branch.reader.key, None);
        assert_eq!(world.client(reader).items().len(), 18, "it can be read");
        assert!(world.hub.resume_space(&suspended));
        assert_eq!(world.offer(member, run.bytes().clone(), false), Some(Ok(Seq(head + 1))));
    }
    // Of others nothing is refused.
    let mut world = World::over(forgetful(), items);
    world.hub.suspend_space(committee(), "for the test").unwrap();
    let member = world.connect(&branch.member.key, Some(head));
    assert_eq!(world.offer(member, run.bytes().clone(), false), Some(Ok(Seq(head + 1))));
}

#[test]
fn a_device_that_is_suspended_while_it_waits_for_its_charter_gets_nothing() {
    let (branch, items) = stored();
    let mut world = World::over(forgetful(), items);
    world.hold_loads = true;
    let reader = world.connect(&branch.reader.key, None);
    assert_eq!(world.loads.len(), 1);
    world.hub.suspend_device(world.now, branch.reader.key.public().id(), "lost").unwrap();
    world.hold_loads = false;
    world.run();
    assert_eq!(world.client(reader).close_code(), Some(CloseCode::Suspended));
    assert!(world.client(reader).items().is_empty() && world.client(reader).caught_up().is_none());
    let member = world.connect(&branch.member.key, None);
    assert_eq!(world.client(member).items().len(), 18, "nobody else is in the way");
}

#[test]
fn a_branch_s_own_limits_hold_when_it_comes_back_into_memory() {
    let (mut branch, items) = stored();
    let head = items.len() as u64;
    let mut world = World::over(forgetful(), items.clone());
    let stored: u64 =
        items.iter().filter(|i| i.header().space == village()).map(|i| i.bytes().len() as u64).sum();
    let limits = BranchLimits { space_bytes: Some(stored + 400), ..BranchLimits::default() };
    world.hub.admit_branch(branch.id, limits).unwrap();
    world.run();
    let mut world = started_again(&world, forgetful());
    assert!(world.hub.policy_view().admitted[0].founded, "it is here, in memory or not");
    assert_eq!(world.hub.stats().loads, 0);
    let member = world.connect(&branch.member.key, Some(head));
    let small = branch.member.run(village(), draft(), b"small");
    assert_eq!(world.offer(member, small.bytes().clone(), false), Some(Ok(Seq(head + 1))));
    let large = branch.member.run(village(), draft(), &[7; 300]);
    assert_eq!(world.offer(member, large.bytes().clone(), false), Some(Err(RejectCode::Quota)));
}

#[test]
fn a_relay_that_takes_no_new_branches_takes_the_records_of_a_cold_one() {
    let (mut branch, items) = stored();
    let head = items.len() as u64;
    let mut world = World::over(HubConfig { admission: Admission::Closed, ..forgetful() }, items.clone());
    let secretary = world.connect(&branch.secretary.key, Some(head));
    assert_eq!(warm(&world), 0);
    let late = hub_common::admission(Phone::new(4).certificate(Role::Member));
    let record = branch.secretary.record(branch.id, &late);
    assert_eq!(world.offer(secretary, record.bytes().clone(), false), Some(Ok(Seq(head + 1))));
    // The genesis once more is no new branch.
    assert_eq!(world.offer(secretary, items[0].bytes().clone(), true), Some(Ok(Seq(1))));
    let founder = Phone::new(50);
    let phone = world.connect(&founder.key, None);
    assert_eq!(
        world.offer(phone, founding(&founder).bytes().clone(), false),
        Some(Err(RejectCode::NotAdmitted))
    );
}

#[test]
fn an_operator_sees_cold_spaces_as_they_are_and_looking_reads_only_what_is_looked_at() {
    let (mut branch, mut items) = stored();
    items.push(branch.member.snapshot(village(), draft(), 18));
    let keep = HubConfig::default();
    let mut all = World::over(keep.clone(), items.clone());
    // One over which everything was asked for.
    for space in [village(), branch.id] {
        let loaded = all.loaded(space);
        all.hub.offer(all.now, space, loaded);
    }
    let mut world = World::over(keep, items.clone());
    let bytes: u64 = items.iter().map(|i| i.bytes().len() as u64).sum();
    assert_eq!((world.hub.stats().log_bytes, all.hub.stats().log_bytes), (bytes, bytes));
    let (cold, warm_views) = (world.hub.spaces(None, 10), all.hub.spaces(None, 10));
    assert_eq!(cold.len(), 3);
    for (cold, warm) in cold.iter().zip(&warm_views) {
        assert_eq!(
            (cold.id, cold.branch, cold.items, cold.bytes),
            (warm.id, warm.branch, warm.items, warm.bytes)
        );
        assert_eq!(cold.last, warm.last);
        assert_eq!(cold.documents.is_some(), cold.items == 0, "what is not known is not said to be none");
    }
    assert_eq!(
        cold.iter().find(|v| v.id == village()).unwrap().last,
        Seq(items.len() as u64),
        "the snapshot"
    );
    assert_eq!(world.hub.space(village()).unwrap().chains, None);
    assert_eq!(world.hub.stats().loads, 0);
    let loaded = world.loaded(village());
    world.hub.offer(world.now, village(), loaded);
    let shown = world.hub.space(village()).unwrap();
    assert_eq!((shown.view.documents, shown.chains, shown.largest.len()), (Some(1), Some(1), 1));
    assert_eq!((world.hub.stats().loads, warm(&world)), (1, 1));
    // What was read before something was added is not taken.
    let mut world = World::over(forgetful(), items.clone());
    let old = world.loaded(village());
    let member = world.connect(&branch.member.key, Some(items.len() as u64));
    let run = branch.member.run(village(), draft(), b"new");
    assert!(world.offer(member, run.bytes().clone(), false).unwrap().is_ok());
    world.hub.offer(world.now, village(), old);
    assert!(world.hub.is_cold(&village()));
    assert_eq!(world.hub.space(village()).unwrap().view.items, 12);
}

#[test]
fn a_space_that_somebody_looked_at_while_it_was_asked_for_is_there_for_both() {
    let (mut branch, items) = stored();
    let head = items.len() as u64;
    let mut world = World::over(HubConfig::default(), items);
    let first = world.connect(&branch.member.key, Some(head));
    world.hold_loads = true;
    let reader = world.connect(&branch.reader.key, None);
    assert_eq!(world.loads.len(), 1, "the village");
    let loaded = world.loaded(village());
    world.hub.offer(world.now, village(), loaded);
    // It grows before the answer comes, which is of before.
    let run = branch.member.run(village(), draft(), b"new");
    let (token, space) = world.loads.pop().unwrap();
    let old = world.loaded(space);
    assert_eq!(world.offer(first, run.bytes().clone(), false), Some(Ok(Seq(head + 1))));
    world.hub.handle_loaded(world.now, token, Ok(old));
    world.hold_loads = false;
    world.run();
    assert_eq!(world.client(reader).close_code(), None);
    assert_eq!(world.client(reader).items().len(), 19);
}

#[test]
fn of_a_device_that_left_a_branch_that_is_known_when_its_charter_was_read() {
    let (mut branch, mut items) = stored();
    let device = branch.reader.key.public().id();
    let removal = Record::Removal { device, reason: Reason::Lost, frontier: Frontier::default() };
    items.push(branch.secretary.record(branch.id, &removal));
    let mut world = World::over(forgetful(), items);
    assert_eq!(world.hub.cold_branches(&device), [branch.id]);
    for branch in world.hub.cold_branches(&device) {
        let loaded = world.loaded(branch);
        world.hub.offer(world.now, branch, loaded);
    }
    world.run();
    let view = world.hub.device_views(world.now, Some(&device)).pop().unwrap();
    assert!(view.branches.is_empty(), "{view:?}");
    assert_eq!(warm(&world), 0, "and that stays known");
    assert!(world.hub.cold_branches(&device).is_empty());
    let member = branch.member.key.public().id();
    assert_eq!(world.hub.device_views(world.now, Some(&member))[0].branches, [branch.id.to_string()]);
}

#[test]
fn a_read_only_relay_reads_cold_spaces_and_stores_nothing() {
    let (mut branch, items) = stored();
    let head = items.len() as u64;
    let mut world = World::over(forgetful(), items);
    world.hub.set_read_only(true);
    let member = world.connect(&branch.member.key, None);
    assert_eq!(world.client(member).items().len(), 18);
    let run = branch.member.run(village(), draft(), b"new");
    assert_eq!(world.offer(member, run.bytes().clone(), false), Some(Err(RejectCode::Unavailable)));
    world.hub.set_read_only(false);
    assert_eq!(world.offer(member, run.bytes().clone(), false), Some(Ok(Seq(head + 1))));
}
