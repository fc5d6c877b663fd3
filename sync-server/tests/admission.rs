//! What an operator decides about branches and devices, at the hub: permits with their quotas, suspensions, and that all of it is
//! written down before anything is acknowledged.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not tests to clippy")]

mod hub_common;

use dinh_proto::error::{CloseCode, Fate, RejectCode};
use dinh_proto::ids::{DeviceId, Seq, SpaceId};
use dinh_proto::item::{ITEM_OVERHEAD_BYTES, Item};
use dinh_proto::keys::{RelayKey, SignKey};
use dinh_proto::permit::{BranchLimits, OperatorPublic, Permit, PermitId, PermitTerms};
use dinh_proto::session::DeviceEvent;
use dinh_proto::time::{Timestamp, WallTime};
use dinh_server::hub::{Admission, DECISIONS_MAX, HubConfig, PolicyError};
use hub_common::{Branch, Phone, World, committee, draft, relay_key, secret, village};

const NOW: WallTime = WallTime(1_800_000_000_000);

fn operator() -> SignKey {
    SignKey::from_seed(&[50; 32])
}

fn terms(id: u8) -> PermitTerms {
    PermitTerms {
        id: PermitId([id; 16]),
        relay: None,
        branches: 1,
        branch: None,
        device: None,
        expires: None,
        limits: BranchLimits::default(),
    }
}

fn permit(terms: PermitTerms) -> Permit {
    Permit::issue(&operator(), terms).unwrap()
}

/// A relay that knows nothing yet.
fn world(admission: Admission) -> World {
    let mut world = World::new(HubConfig { admission, ..HubConfig::default() });
    world.hub.load_policy([], Some(OperatorPublic(operator().public()))).unwrap();
    world.hub.set_wall_time(NOW);
    world
}

/// The same relay, started again over what was on its disk.
fn again(before: &World, admission: Admission) -> World {
    let mut world = World::over(HubConfig { admission, ..HubConfig::default() }, before.stored());
    let rows = before.operator.iter().map(|(key, value)| (&key[..], &value[..]));
    world.hub.load_policy(rows, Some(OperatorPublic(operator().public()))).unwrap();
    world.operator = before.operator.clone();
    world.hub.set_wall_time(NOW);
    world
}

/// Another branch, by another secretary.
fn other_branch(seed: u8) -> (SpaceId, Phone, Item) {
    use dinh_proto::charter::record::{Role, found};
    let mut phone = Phone::new(seed);
    let (id, genesis) = found(&SignKey::from_seed(&[98; 32]), phone.certificate(Role::Secretary));
    let place = phone.next_place(id);
    let item = phone.sign_at(
        dinh_proto::item::Kind::Charter,
        id,
        dinh_proto::ids::DocId::default(),
        place,
        &genesis,
    );
    phone.continue_after(id, &item);
    (id, phone, item)
}

/// Connects and shows a permit before its first item.
fn connect(world: &mut World, phone: &Phone, shown: Option<&[u8]>) -> u64 {
    let id = world.connect(&phone.key, None);
    world.client(id).session().set_permit(shown.map(|bytes| bytes.to_vec().into()));
    id
}

fn detail(world: &mut World, id: u64) -> String {
    match world.client(id).events.last() {
        Some(DeviceEvent::Rejected { detail, .. }) => detail.clone(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn accepted(world: &mut World, from: u64, item: &Item) -> Seq {
    match world.offer(from, item.bytes().clone(), false) {
        Some(Ok(seq)) => seq,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(world: &mut World, from: u64, item: &Item, code: RejectCode, told: &str) {
    let log = world.log.len();
    assert_eq!(world.offer(from, item.bytes().clone(), false), Some(Err(code)));
    let detail = detail(world, from);
    assert!(detail.contains(told), "{detail}");
    assert_eq!((code.fate(), world.log.len()), (Fate::Later, log));
}

#[test]
fn a_branch_is_founded_with_a_permit_and_stays_when_the_relay_starts_again() {
    let branch = Branch::new();
    let mut world = world(Admission::Permit);
    let without = connect(&mut world, &branch.secretary, None);
    refused(&mut world, without, &branch.records[0], RejectCode::NotAdmitted, "ask its operator for one");
    assert!(world.operator.is_empty());
    let permit = permit(terms(1));
    let with = connect(&mut world, &branch.secretary, Some(permit.bytes()));
    for record in &branch.records {
        accepted(&mut world, with, record);
    }
    let view = world.hub.policy_view();
    let id = branch.id.to_string();
    assert_eq!(view.permits[0].used_by, std::slice::from_ref(&id));
    assert!(view.admitted[0].founded && view.admitted[0].branch == id);
    assert_eq!(world.hub.stats().admitted_branches, 1);

    // It is used up: by whoever asks, and after a start.
    let mut world = again(&world, Admission::Permit);
    assert_eq!(world.hub.policy_view(), view);
    let (_, other, genesis) = other_branch(7);
    let third = connect(&mut world, &other, Some(permit.bytes()));
    refused(&mut world, third, &genesis, RejectCode::NotAdmitted, "used up");
    // A relay whose log was lost takes the branch again, and nobody needs the permit for that.
    let mut lost = World::new(HubConfig { admission: Admission::Permit, ..HubConfig::default() });
    lost.hub.load_policy(world.operator.iter().map(|(k, v)| (&k[..], &v[..])), None).unwrap();
    let phone = connect(&mut lost, &branch.secretary, None);
    accepted(&mut lost, phone, &branch.records[0]);
}

#[test]
fn what_permits_a_branch_is_written_before_its_first_record_is_acknowledged() {
    let branch = Branch::new();
    let mut world = world(Admission::Permit);
    world.hold_appends = true;
    let phone = connect(&mut world, &branch.secretary, Some(permit(terms(1)).bytes()));
    assert_eq!(world.offer(phone, branch.records[0].bytes().clone(), false), None, "the log holds it back");
    assert_eq!(world.operator.len(), 2, "the permit, and the branch that it admitted");
    // The relay dies there: the permit counts as used by this very branch, which may come again.
    let mut world = again(&world, Admission::Permit);
    let phone = connect(&mut world, &branch.secretary, Some(permit(terms(1)).bytes()));
    accepted(&mut world, phone, &branch.records[0]);
    let (_, other, genesis) = other_branch(7);
    let second = connect(&mut world, &other, Some(permit(terms(1)).bytes()));
    refused(&mut world, second, &genesis, RejectCode::NotAdmitted, "used up");
}

#[test]
fn one_use_of_a_permit_is_not_given_to_two_branches_at_the_same_time() {
    let branch = Branch::new();
    let (_, other, genesis) = other_branch(7);
    let mut world = world(Admission::Permit);
    let shown = permit(terms(1));
    let first = connect(&mut world, &branch.secretary, Some(shown.bytes()));
    let second = connect(&mut world, &other, Some(shown.bytes()));
    // Both are judged before either signature was checked.
    world.client(first).session().put(branch.records[0].id(), branch.records[0].bytes().clone(), false);
    world.client(second).session().put(genesis.id(), genesis.bytes().clone(), false);
    world.run();
    let answers = [first, second].map(|id| {
        let client = world.client(id);
        (client.acks().len(), client.rejects().iter().map(|(_, code)| *code).collect::<Vec<_>>())
    });
    let (taken, not) = ((1, vec![]), (0, vec![RejectCode::NotAdmitted]));
    assert!(answers == [taken.clone(), not.clone()] || answers == [not, taken], "{answers:?}");
    assert_eq!(world.hub.stats().branches, 1);
}

#[test]
fn a_permit_that_does_not_hold_is_refused_and_says_why() {
    let branch = Branch::new();
    let genesis = &branch.records[0];
    let bound = |change: fn(&mut PermitTerms)| {
        let mut terms = terms(1);
        change(&mut terms);
        permit(terms).bytes().to_vec()
    };
    let good = permit(terms(1));
    let foreign = Permit::issue(&SignKey::from_seed(&[51; 32]), terms(1)).unwrap();
    let forged = {
        let signed = good.bytes().len() - 64;
        let signature = SignKey::from_seed(&[51; 32]).sign(b"dinh/per1\0", &good.bytes()[..signed]);
        [&good.bytes()[..signed], &signature].concat()
    };
    let flipped = |at: usize| {
        let mut bytes = good.bytes().to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (foreign.bytes().to_vec(), "whom this relay does not trust"),
        (forged, "not signed by the operator"),
        (flipped(40), "not signed by the operator"),
        (flipped(good.bytes().len() - 1), "not signed by the operator"),
        (flipped(3), "newer version"),
        (b"nothing".to_vec(), "not a permit"),
        (Vec::new(), "not a permit"),
        (bound(|t| t.expires = Some(NOW)), "expired"),
        (bound(|t| t.relay = Some(RelayKey::from_seed(&[1; 32]).public())), "another relay"),
        (bound(|t| t.branch = Some(SpaceId([1; 16]))), "another branch"),
        (bound(|t| t.device = Some(DeviceId([1; 16]))), "another founder's device"),
    ];
    let mut world = world(Admission::Permit);
    for (shown, told) in cases {
        let phone = connect(&mut world, &branch.secretary, Some(&shown));
        refused(&mut world, phone, genesis, RejectCode::NotAdmitted, told);
        world.hub.handle_disconnected(world.now, dinh_server::hub::PeerId(phone));
        world.clients.remove(&phone);
    }
    world.hub.keep_permit(&good).unwrap();
    assert!(world.hub.revoke_permit(good.terms().id).unwrap());
    assert!(!world.hub.revoke_permit(PermitId([9; 16])).unwrap(), "nothing was known of it");
    world.run();
    let mut world = again(&world, Admission::Permit);
    let phone = connect(&mut world, &branch.secretary, Some(good.bytes()));
    refused(&mut world, phone, genesis, RejectCode::NotAdmitted, "revoked");
    let other = permit(terms(9));
    let phone = connect(&mut world, &branch.secretary, Some(other.bytes()));
    refused(&mut world, phone, genesis, RejectCode::NotAdmitted, "revoked");
    // Everything that it is bound to, and not expired yet.
    let all = PermitTerms {
        relay: Some(relay_key().public()),
        branch: Some(branch.id),
        device: Some(branch.secretary.key.public().id()),
        expires: Some(WallTime(NOW.0 + 1)),
        ..terms(2)
    };
    let phone = connect(&mut world, &branch.secretary, Some(permit(all).bytes()));
    accepted(&mut world, phone, genesis);
}

#[test]
fn permits_of_another_office_are_taken_when_its_key_is_configured() {
    let branch = Branch::new();
    let office = SignKey::from_seed(&[51; 32]);
    let permit = Permit::issue(&office, terms(1)).unwrap();
    let mut world = world(Admission::Permit);
    let operators = vec![OperatorPublic(office.public())];
    let config = |admission| HubConfig { admission, operators: operators.clone(), ..HubConfig::default() };
    world.hub.reconfigure(config(Admission::Closed));
    let phone = connect(&mut world, &branch.secretary, Some(permit.bytes()));
    refused(&mut world, phone, &branch.records[0], RejectCode::NotAdmitted, "takes no new branches");
    world.hub.reconfigure(config(Admission::Permit));
    let phone = connect(&mut world, &branch.secretary, Some(permit.bytes()));
    accepted(&mut world, phone, &branch.records[0]);
}

#[test]
fn a_branch_that_was_admitted_by_its_id_needs_no_permit_whatever_the_mode() {
    for mode in [Admission::Permit, Admission::Closed] {
        let branch = Branch::new();
        let mut world = world(mode);
        let phone = connect(&mut world, &branch.secretary, None);
        refused(&mut world, phone, &branch.records[0], RejectCode::NotAdmitted, "operator");
        world.hub.admit_branch(branch.id, BranchLimits::default()).unwrap();
        world.run();
        let mut world = again(&world, mode);
        let phone = connect(&mut world, &branch.secretary, None);
        branch.records.iter().for_each(|record| {
            accepted(&mut world, phone, record);
        });
    }
}

#[test]
fn the_quota_of_a_permit_trips_and_another_branch_is_not_affected() {
    let mut branch = Branch::new();
    let (other, mut secretary, genesis) = other_branch(7);
    let mut world = world(Admission::Permit);
    let limits = BranchLimits { space_bytes: Some(2_000), documents: Some(3), ..BranchLimits::default() };
    let small = permit(PermitTerms { limits, ..terms(1) });
    let phone = connect(&mut world, &branch.secretary, Some(small.bytes()));
    branch.records.iter().for_each(|record| {
        accepted(&mut world, phone, record);
    });
    let run = |phone: &mut Phone, bytes: usize| {
        phone.run(village(), draft(), &vec![7; bytes - ITEM_OVERHEAD_BYTES])
    };
    let member = world.connect(&branch.member.key, Some(8));
    let first = run(&mut branch.member, 1_500);
    accepted(&mut world, member, &first);
    let second = run(&mut branch.member, 1_500);
    refused(&mut world, member, &second, RejectCode::Quota, "SpaceBytes: at most 2000 bytes in one space");
    // Another space of the branch has its own.
    let elsewhere = branch.secretary.run(committee(), secret(), &[7; 1_500]);
    accepted(&mut world, phone, &elsewhere);
    let document = |nonce: u8, space| dinh_proto::charter::record::Record::Document {
        nonce: [nonce; 16],
        space,
        writers: dinh_proto::charter::record::Writers::All,
        schema: Vec::new(),
    };
    let fourth = branch.secretary.record(branch.id, &document(40, village()));
    refused(&mut world, phone, &fourth, RejectCode::Quota, "BranchDocuments: at most 3 documents");

    // The other branch has the relay's own limits.
    let phone = connect(&mut world, &secretary, Some(permit(terms(2)).bytes()));
    accepted(&mut world, phone, &genesis);
    let space = SpaceId::derive(&secretary.key.public().id(), &[20; 16]);
    let everyone = hub_common::plain_space(20, dinh_proto::charter::record::Audience::Everyone);
    let record = secretary.record(other, &everyone);
    accepted(&mut world, phone, &record);
    let record = secretary.record(other, &document(30, space));
    accepted(&mut world, phone, &record);
    let doc = dinh_proto::ids::DocId::derive(&secretary.key.public().id(), &[30; 16]);
    for _ in 0..3 {
        let run = secretary.run(space, doc, &[7; 1_500]);
        accepted(&mut world, phone, &run);
    }
    // More for the first, by hand, after a start.
    let mut world = again(&world, Admission::Permit);
    let member = world.connect(&branch.member.key, Some(8));
    refused(&mut world, member, &second, RejectCode::Quota, "at most 2000 bytes");
    world.hub.admit_branch(branch.id, BranchLimits { space_bytes: Some(9_000), ..limits }).unwrap();
    accepted(&mut world, member, &second);
    assert_eq!(world.hub.policy_view().permits[0].used_by, [branch.id.to_string()], "still its permit's");
}

#[test]
fn a_suspended_device_is_closed_at_once_and_nobody_else_notices() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let (a, b) = (world.connect(&branch.member.key, Some(8)), world.connect(&branch.member.key, Some(8)));
    let secretary = world.connect(&branch.secretary.key, Some(8));
    let run = branch.member.run(village(), draft(), b"one");
    accepted(&mut world, a, &run);
    let member = branch.member.key.public().id();
    world.hub.suspend_device(world.now, member, "bị mất").unwrap();
    world.run();
    for id in [a, b] {
        assert_eq!(world.client(id).close_code(), Some(CloseCode::Suspended));
    }
    assert_eq!(world.client(secretary).close_code(), None);
    assert_eq!(world.hub.stats().closes.get(&CloseCode::Suspended), Some(&2));
    assert_eq!(world.hub.stats().suspended_devices, 1);
    let retries = world.client(a).events.iter().find_map(|e| match e {
        DeviceEvent::Closed(dinh_proto::error::SessionError::ClosedByPeer { retry_after_ms, .. }) => {
            Some(*retry_after_ms)
        }
        _ => None,
    });
    assert_eq!(retries, Some(600_000), "it stays away for a while");

    // It is let in no more, after a start too; what it wrote and another brings is taken.
    let mut world = again(&world, Admission::Open);
    let back = world.connect(&branch.member.key, Some(8));
    assert_eq!(world.client(back).close_code(), Some(CloseCode::Suspended));
    assert!(world.client(back).items().is_empty());
    let late = branch.member.run(village(), draft(), b"two");
    let secretary = world.connect(&branch.secretary.key, Some(8));
    accepted(&mut world, secretary, &late);
    let view = world.hub.device_views(world.now, Some(&member)).remove(0);
    assert_eq!(view.suspended.map(|s| s.reason).as_deref(), Some("bị mất"));
    assert_eq!(view.branches, [branch.id.to_string()]);

    assert!(world.hub.resume_device(&member));
    assert!(!world.hub.resume_device(&member), "it was resumed");
    world.run();
    assert!(world.operator.is_empty());
    let back = world.connect(&branch.member.key, Some(8));
    let third = branch.member.run(village(), draft(), b"three");
    accepted(&mut world, back, &third);
}

#[test]
fn what_a_device_put_before_it_was_suspended_is_not_taken_after() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let a = world.connect(&branch.member.key, Some(8));
    let run = branch.member.run(village(), draft(), b"one");
    // The verifier has it while the operator decides.
    world.client(a).session().put(run.id(), run.bytes().clone(), false);
    let mut frame = Vec::new();
    assert!(world.client(a).session().poll_transmit(&mut frame));
    world.hub.handle_frame(world.now, dinh_server::hub::PeerId(a), frame.into());
    world.hub.suspend_device(world.now, branch.member.key.public().id(), "").unwrap();
    let log = world.log.len();
    world.run();
    assert_eq!((world.log.len(), world.client(a).acks().len()), (log, 0));
}

#[test]
fn a_suspended_space_can_be_read_and_takes_nothing_new_until_it_is_resumed() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let secretary = world.connect(&branch.secretary.key, None);
    let before = branch.secretary.run(village(), draft(), b"before");
    accepted(&mut world, secretary, &before);
    world.hub.suspend_space(village(), "not paid").unwrap();
    world.run();
    let mut world = again(&world, Admission::Open);
    let secretary = world.connect(&branch.secretary.key, None);
    let member = world.connect(&branch.member.key, None);
    let run = branch.secretary.run(village(), draft(), b"during");
    refused(&mut world, secretary, &run, RejectCode::Unavailable, "the relay's operator has suspended this");
    let elsewhere = branch.secretary.run(committee(), secret(), b"elsewhere");
    accepted(&mut world, secretary, &elsewhere);
    assert!(world.client(member).items().iter().any(|(_, bytes)| *bytes == *before.bytes()), "it is read");

    // All of the branch, its charter too.
    world.hub.suspend_space(branch.id, "").unwrap();
    let more = branch.secretary.run(committee(), secret(), b"more");
    refused(&mut world, secretary, &more, RejectCode::Unavailable, "ask the operator");
    let record = branch.secretary.record(
        branch.id,
        &hub_common::admission(Phone::new(9).certificate(dinh_proto::charter::record::Role::Member)),
    );
    refused(&mut world, secretary, &record, RejectCode::Unavailable, "ask the operator");
    assert_eq!(world.hub.stats().suspended_spaces, 2);
    assert!(world.hub.resume_space(&branch.id) && world.hub.resume_space(&village()));
    world.run();
    assert!(world.operator.is_empty());
    for item in [&run, &more, &record] {
        accepted(&mut world, secretary, item);
    }
}

#[test]
fn decisions_are_bounded() {
    let mut world = world(Admission::Permit);
    let long = "x".repeat(201);
    let device = DeviceId([1; 16]);
    assert_eq!(world.hub.suspend_device(Timestamp(0), device, &long), Err(PolicyError::Reason(201)));
    assert_eq!(world.hub.suspend_space(SpaceId([1; 16]), &long), Err(PolicyError::Reason(201)));
    world.run();
    assert!(world.operator.is_empty());
    const { assert!(DECISIONS_MAX <= 1_000_000) };
    // A row that a later release wrote is not passed over.
    assert!(world.hub.load_policy([(&[9u8; 17][..], &[1u8, 2][..])], None).is_err());
}
