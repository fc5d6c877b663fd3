//! The first meeting of a relay with a branch, and of a device with a relay that does not know it yet.

mod hub_common;

use dinh_proto::charter::record::{Record, Role};
use dinh_proto::ids::Seq;
use dinh_proto::item::SpaceSum;
use dinh_proto::session::DeviceEvent;
use dinh_proto::wire::Fetch;
use dinh_server::hub::HubConfig;
use hub_common::{Branch, Phone, World, admission, committee, draft, secret, village};

#[test]
fn a_branch_that_was_founded_offline_is_uploaded_without_one_refusal() {
    let mut branch = Branch::new();
    let run = branch.secretary.run(village(), draft(), b"run");
    let mut world = World::new(HubConfig::default());
    let phone = world.connect(&branch.secretary.key, None);
    for item in branch.records.iter().chain([&run]) {
        world.client(phone).session().put(item.id(), item.bytes().clone(), false);
    }
    world.run();
    assert_eq!(world.client(phone).rejects(), []);
    let places: Vec<Seq> = world.client(phone).acks().into_iter().map(|(_, seq)| seq).collect();
    assert_eq!(places, (1..=9).map(Seq).collect::<Vec<_>>());
    assert!(world.hub.stats().rejects.is_empty());
}

#[test]
fn a_device_that_the_relay_does_not_know_yet_misses_nothing_of_what_is_stored_already() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let secretary = world.connect(&branch.secretary.key, Some(8));
    let run = branch.secretary.run(village(), draft(), b"before the newcomer came");
    assert_eq!(world.offer(secretary, run.bytes().clone(), false), Some(Ok(Seq(9))));

    // The newcomer is connected before its certificate reaches the relay.
    let newcomer = Phone::new(7);
    let connection = world.connect(&newcomer.key, None);
    assert_eq!(world.client(connection).caught_up(), None);
    assert_eq!(world.client(connection).items(), []);
    let certificate = admission(newcomer.certificate(Role::Member));
    let record = branch.secretary.record(branch.id, &certificate);
    assert_eq!(world.offer(secretary, record.bytes().clone(), false), Some(Ok(Seq(10))));

    let got: Vec<Seq> = world.client(connection).items().into_iter().map(|(seq, _)| seq).collect();
    // The charter before everything else.
    assert_eq!(got, (1..=8).chain([10, 9]).map(Seq).collect::<Vec<_>>());
    assert_eq!(world.client(connection).caught_up(), Some(Seq(10)));
}

#[test]
fn a_device_that_gains_spaces_is_told_their_checksums() {
    let mut branch = Branch::new();
    let mut world = branch.world();
    let member = world.connect(&branch.member.key, None);
    assert_eq!(world.client(member).caught_up(), Some(Seq(8)));
    // The secret space has an item that lies before the member's cursor when it is let in.
    let secretary = world.connect(&branch.secretary.key, Some(8));
    let run = branch.secretary.run(committee(), secret(), b"run");
    assert_eq!(world.offer(secretary, run.bytes().clone(), false), Some(Ok(Seq(9))));
    let draft = branch.secretary.run(village(), draft(), b"moves the cursor");
    assert_eq!(world.offer(secretary, draft.bytes().clone(), false), Some(Ok(Seq(10))));
    let grant = Record::Grant { space: committee(), member: branch.member.member, generation: 1 };
    let grant = branch.secretary.record(branch.id, &grant);
    assert_eq!(world.offer(secretary, grant.bytes().clone(), false), Some(Ok(Seq(11))));

    let mut sum = SpaceSum::default();
    sum.add(&run.id());
    let last = world.client(member).events.iter().rev().find_map(|e| match e {
        DeviceEvent::CaughtUp(c) => Some(c.clone()),
        _ => None,
    });
    let last = last.expect("a second CaughtUp");
    assert_eq!(last.seq, Seq(11));
    assert!(last.sums.contains(&(committee(), sum)));

    // It asks for what lies before the grant.
    let fetch = Fetch { space: committee(), from: Seq(0), to: Seq(11) };
    world.client(member).session().fetch(fetch);
    world.run();
    let got = world.client(member).items().last().cloned();
    assert_eq!(got, Some((Seq(9), run.bytes().clone())));
}
