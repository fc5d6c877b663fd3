//! Each quota of the relay: what is just under it is taken, what is over it waits or is refused with `Quota` and a
//! detail that names the limit, it is counted, and nobody else is affected.

mod hub_common;

use std::time::Duration;

use dinh_proto::charter::record::{Audience, Record, Role, Writers};
use dinh_proto::crypto::SEALED_OVERHEAD_BYTES;
use dinh_proto::error::{CloseCode, RejectCode};
use dinh_proto::ids::{DocId, Seq, SpaceId};
use dinh_proto::item::{ITEM_OVERHEAD_BYTES, Item};
use dinh_proto::limits;
use dinh_proto::session::DeviceEvent;
use dinh_proto::wire::{Fetch, Hello, Message, Put, write_message};
use dinh_server::hub::{HubConfig, Limit, PeerId, Quotas, Rate};
use hub_common::{Branch, Phone, World, admission, committee, draft, minutes, plain_space, secret, village};

const DAY: Duration = Duration::from_secs(86_400);
const MS: Duration = Duration::from_millis(1);

fn config(quotas: Quotas) -> HubConfig {
    HubConfig { quotas, ..HubConfig::default() }
}

fn world(branch: &Branch, quotas: Quotas) -> World {
    World::over(config(quotas), branch.records.clone())
}

/// A run whose item has this many bytes.
fn sized(phone: &mut Phone, space: SpaceId, doc: DocId, bytes: usize) -> Item {
    phone.run(space, doc, &vec![7; bytes - ITEM_OVERHEAD_BYTES - SEALED_OVERHEAD_BYTES])
}

#[track_caller]
fn accepted(world: &mut World, from: u64, item: &Item) {
    assert!(matches!(world.offer(from, item.bytes().clone(), false), Some(Ok(_))));
}

/// The item must be refused because of this limit, and nothing else may have changed.
#[track_caller]
fn refused(world: &mut World, from: u64, item: &Item, limit: Limit) {
    let (before, log) = (world.hub.stats(), world.log.len());
    assert_eq!(world.offer(from, item.bytes().clone(), false), Some(Err(RejectCode::Quota)));
    counted(world, from, limit, &before);
    assert_eq!(world.log.len(), log);
}

#[track_caller]
fn counted(world: &mut World, from: u64, limit: Limit, before: &dinh_server::hub::HubStats) {
    let (mut quotas, mut rejects) = (before.quotas.clone(), before.rejects.clone());
    *quotas.entry(limit).or_default() += 1;
    *rejects.entry(RejectCode::Quota).or_default() += 1;
    let after = world.hub.stats();
    assert_eq!((after.quotas, after.rejects, after.closes), (quotas, rejects, before.closes.clone()));
    let Some(DeviceEvent::Rejected { detail, .. }) = world.client(from).events.last() else {
        panic!("{:?}", world.client(from).events.last())
    };
    assert!(detail.starts_with(&format!("{}: at most ", limit.name())), "{detail}");
    assert!(world.client(from).session().is_flowing());
}

#[test]
fn bytes_over_a_minute_s_share_wait_and_nobody_else_does() {
    let mut branch = Branch::new();
    let bytes_per_minute = Rate::new(10_000, Duration::from_secs(60));
    let mut world = world(&branch, Quotas { bytes_per_minute, ..Quotas::default() });
    let phone = world.connect(&branch.member.key, Some(8));
    for _ in 0..10 {
        accepted(&mut world, phone, &sized(&mut branch.member, village(), draft(), 1_000));
    }
    // Over all connections of the device.
    let second = world.connect(&branch.member.key, Some(8));
    let late = sized(&mut branch.member, village(), draft(), 1_000);
    assert_eq!(world.offer(second, late.bytes().clone(), false), None);
    let other = world.connect(&branch.secretary.key, Some(8));
    for _ in 0..10 {
        accepted(&mut world, other, &sized(&mut branch.secretary, village(), minutes(), 1_000));
    }
    world.pass(Duration::from_secs(6) - MS);
    assert_eq!(world.client(second).acks(), []);
    world.pass(MS);
    assert_eq!(world.client(second).acks().len(), 1, "after a tenth of a minute");
    let stats = world.hub.stats();
    assert_eq!((&stats.puts_delayed, &stats.rejects), (&[(Limit::BytesPerMinute, 1)].into(), &[].into()));
    // It is not forgotten with the connection.
    world.hub.handle_disconnected(world.now, PeerId(second));
    let again = world.connect(&branch.member.key, Some(8));
    let late = sized(&mut branch.member, village(), draft(), 1_000);
    assert_eq!(world.offer(again, late.bytes().clone(), false), None);
    // An item that is larger than the share needs all of it: nothing waits for ever.
    world.pass(Duration::from_secs(66));
    accepted(&mut world, again, &sized(&mut branch.member, village(), draft(), 30_000));
}

#[test]
fn bytes_over_a_day_s_share_wait_are_refused_and_taken_when_there_is_room_again() {
    let mut branch = Branch::new();
    let mut world = world(&branch, Quotas { bytes_per_day: Rate::new(10_000, DAY), ..Quotas::default() });
    let phone = world.connect(&branch.member.key, Some(8));
    let runs: Vec<Item> = (0..12).map(|_| sized(&mut branch.member, village(), draft(), 1_000)).collect();
    for run in &runs[..10] {
        accepted(&mut world, phone, run);
    }
    let before = world.hub.stats();
    assert_eq!(world.offer(phone, runs[10].bytes().clone(), false), None);
    world.pass(limits::PUT_PATIENCE - MS);
    assert_eq!(world.client(phone).rejects(), [], "it waits first");
    let other = world.connect(&branch.secretary.key, Some(8));
    accepted(&mut world, other, &sized(&mut branch.secretary, village(), minutes(), 10_000));
    world.pass(MS);
    counted(&mut world, phone, Limit::BytesPerDay, &before);
    // Refused items cost nothing: a tenth of the day after the tenth, the next is taken, though it was offered before.
    world.pass(DAY / 10 - limits::PUT_PATIENCE);
    accepted(&mut world, phone, &runs[10]);
    // What was stored already costs nothing either.
    let third = world.connect(&branch.reader.key, Some(8));
    for run in &runs[..10] {
        accepted(&mut world, third, run);
    }
    let stored = world.log.len();
    accepted(&mut world, third, &sized(&mut branch.secretary, village(), draft(), 10_000));
    assert_eq!(world.log.len(), stored + 1);
    let one_more = sized(&mut branch.secretary, village(), draft(), 1_000);
    assert_eq!(world.offer(third, one_more.bytes().clone(), false), None);
}

#[test]
fn what_waits_behind_a_refused_item_is_answered_with_it_and_credit_is_given_back() {
    let mut branch = Branch::new();
    let bytes_per_day = Rate::new(10_000, DAY);
    let mut world = world(&branch, Quotas { bytes_per_day, ..Quotas::default() });
    let phone = world.connect(&branch.member.key, Some(8));
    let runs: Vec<Item> = (0..100).map(|_| sized(&mut branch.member, village(), draft(), 10_000)).collect();
    let mut sent = 0;
    for run in &runs {
        if world.client(phone).session().can_put() {
            world.client(phone).session().put(run.id(), run.bytes().clone(), false);
            world.run();
            sent += 1;
        }
    }
    let up = world.client(phone).bytes[0];
    assert!(!world.client(phone).session().can_put(), "the credit is used up");
    assert!(up < 400_000, "{up}");
    world.pass(limits::PUT_PATIENCE);
    assert_eq!((world.client(phone).acks().len(), world.client(phone).rejects().len()), (1, sent - 1));
    assert!(world.client(phone).session().can_put(), "it may try again");
    println!("{sent} items of 10 kB sent with {up} bytes, 1 accepted, {} refused", sent - 1);
}

#[test]
fn more_messages_than_a_device_may_send_are_read_later() {
    let branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect_raw(&branch.member.key);
    let second = world.connect_raw(&branch.member.key);
    let other = world.connect_raw(&branch.secretary.key);
    let hello = || Message::Hello(Hello::default());
    for connection in [phone, second, other] {
        world.send(connection, &[hello()]);
    }
    world.pass(Duration::from_secs(10));
    let message = || Message::Put(Put { items: Vec::new() });
    let pause = |world: &World, peer: u64| world.hub.reads_again_at(PeerId(peer)) - world.now;
    for i in 0..limits::MESSAGES_BURST {
        world.send(if i % 2 == 0 { phone } else { second }, &[message()]);
    }
    assert_eq!(pause(&world, phone), Duration::ZERO);
    assert_eq!(world.hub.stats().paused_messages, 0);
    world.send(phone, &[message()]);
    assert_eq!([phone, second].map(|p| pause(&world, p)), [20 * MS; 2]);
    assert_eq!(world.hub.stats().paused_messages, 1);
    world.pass(20 * MS);
    assert_eq!(pause(&world, phone), Duration::ZERO);
    // However much it says at once, nobody takes it for dead.
    let mut many = Vec::new();
    (0..20_000).for_each(|_| write_message(&message(), &mut many));
    world.send_plain(phone, &many, |_| {});
    assert_eq!(pause(&world, phone), limits::READ_PAUSE_MAX);
    assert_eq!(pause(&world, other), Duration::ZERO);
    assert_eq!(world.hub.stats().closes, [].into());
    // Pings and credit are not counted: they come with what the relay sends.
    (0..1_000).for_each(|_| world.send(other, &[Message::Ping]));
    assert_eq!(pause(&world, other), Duration::ZERO);
}

#[test]
fn a_full_document_and_a_full_space() {
    let mut branch = Branch::new();
    let quotas = Quotas { document_bytes: 10_000, space_bytes: 15_000, ..Quotas::default() };
    let mut world = world(&branch, quotas.clone());
    let phone = world.connect(&branch.member.key, Some(8));
    let secretary = world.connect(&branch.secretary.key, Some(8));
    for _ in 0..10 {
        accepted(&mut world, phone, &sized(&mut branch.member, village(), draft(), 1_000));
    }
    let over = sized(&mut branch.member, village(), draft(), 1_000);
    refused(&mut world, phone, &over, Limit::DocumentBytes);
    // Neither the other document nor a snapshot of the full one is affected.
    let snapshot = branch.member.snapshot(village(), draft(), 18);
    accepted(&mut world, phone, &snapshot);
    let left = 5_000 - snapshot.bytes().len();
    accepted(&mut world, secretary, &sized(&mut branch.secretary, village(), minutes(), left));
    let over =
        sized(&mut branch.secretary, village(), minutes(), ITEM_OVERHEAD_BYTES + SEALED_OVERHEAD_BYTES + 1);
    refused(&mut world, secretary, &over, Limit::SpaceBytes);
    let newer = branch.member.snapshot(village(), draft(), 19);
    refused(&mut world, phone, &newer, Limit::SpaceBytes);
    accepted(&mut world, secretary, &sized(&mut branch.secretary, committee(), secret(), 1_000));
    // A relay that starts over this log knows it too.
    let mut world = World::over(config(quotas), world.stored());
    let secretary = world.connect(&branch.secretary.key, None);
    refused(&mut world, secretary, &over, Limit::SpaceBytes);
}

fn document(n: u8) -> Record {
    Record::Document { nonce: [n; 16], space: village(), writers: Writers::All, schema: Vec::new() }
}

#[test]
fn one_document_too_many_and_one_record_too_many() {
    let mut branch = Branch::new();
    let mut world = world(&branch, Quotas { branch_documents: 4, ..Quotas::default() });
    let phone = world.connect(&branch.member.key, Some(8));
    let secretary = world.connect(&branch.secretary.key, Some(8));
    accepted(&mut world, phone, &branch.member.record(branch.id, &document(60)));
    refused(&mut world, phone, &branch.member.record(branch.id, &document(61)), Limit::BranchDocuments);
    let device = admission(Phone::new(7).certificate(Role::Member));
    accepted(&mut world, secretary, &branch.secretary.record(branch.id, &device));

    let mut branch = Branch::new();
    let stored: u64 = branch.records.iter().map(|r| r.bytes().len() as u64).sum();
    let (fits, over) = (branch.member.record(branch.id, &document(60)), document(61));
    let charter_bytes = stored + fits.bytes().len() as u64;
    let mut world = self::world(&branch, Quotas { charter_bytes, ..Quotas::default() });
    let phone = world.connect(&branch.member.key, Some(8));
    accepted(&mut world, phone, &fits);
    refused(&mut world, phone, &branch.member.record(branch.id, &over), Limit::CharterBytes);
    accepted(&mut world, phone, &sized(&mut branch.member, village(), draft(), 1_000));
}

#[test]
fn a_charter_grows_by_so_much_in_a_day() {
    let mut branch = Branch::new();
    let quotas = Quotas {
        records_of_device: Rate::new(3, DAY),
        records_of_branch: Rate::new(5, DAY),
        ..Quotas::default()
    };
    let mut world = world(&branch, quotas.clone());
    let phone = world.connect(&branch.member.key, Some(8));
    let secretary = world.connect(&branch.secretary.key, Some(8));
    // Who may not write records cannot use up the day.
    let reader = world.connect(&branch.reader.key, Some(8));
    for n in 100..110 {
        let place = branch.reader.next_place(branch.id);
        let payload = document(n).encode();
        let record = branch.reader.sign_at(
            dinh_proto::item::Kind::Charter,
            branch.id,
            DocId::default(),
            place,
            &payload,
        );
        let answer = world.offer(reader, record.bytes().clone(), false);
        assert_eq!(answer, Some(Err(RejectCode::NotAuthorised)));
    }
    let records: Vec<Item> = (60..66).map(|n| branch.member.record(branch.id, &document(n))).collect();
    for record in &records[..3] {
        accepted(&mut world, phone, record);
    }
    // It counts who signed it, not who brings it.
    refused(&mut world, phone, &records[3], Limit::RecordsOfDevice);
    refused(&mut world, secretary, &records[3], Limit::RecordsOfDevice);
    let space = |n| plain_space(n, Audience::Everyone);
    let spaces: Vec<Item> = (70..73).map(|n| branch.secretary.record(branch.id, &space(n))).collect();
    accepted(&mut world, secretary, &spaces[0]);
    accepted(&mut world, secretary, &spaces[1]);
    refused(&mut world, secretary, &spaces[2], Limit::RecordsOfBranch);
    // Documents can be written all the same.
    accepted(&mut world, phone, &sized(&mut branch.member, village(), draft(), 1_000));
    world.pass(DAY / 3);
    accepted(&mut world, secretary, &spaces[2]);
    world.pass(DAY / 5);
    accepted(&mut world, phone, &records[3]);

    // A branch that comes to this relay brings what it has, on the first day.
    let mut world = World::new(config(quotas));
    let secretary = world.connect(&branch.secretary.key, None);
    for record in &branch.records {
        accepted(&mut world, secretary, record);
    }
    let phone = world.connect(&branch.member.key, None);
    world.pass(DAY);
    for record in &records[..3] {
        accepted(&mut world, phone, record);
    }
    refused(&mut world, phone, &records[3], Limit::RecordsOfDevice);
}

/// A greeting with so many backfills: 22 bytes each.
fn long_hello(backfills: u32) -> Vec<u8> {
    let backfill = |i: u32| {
        let mut space = SpaceId([0; 16]);
        space.0[..4].copy_from_slice(&i.to_be_bytes());
        Fetch { space, from: Seq(1 << 14), to: Seq(1 << 15) }
    };
    let hello = Hello { backfills: (0..backfills).map(backfill).collect(), ..Hello::default() };
    let mut plain = Vec::new();
    write_message(&Message::Hello(hello), &mut plain);
    plain
}

#[test]
fn greetings_that_do_not_end_are_kept_up_to_a_limit_over_all_connections() {
    let branch = Branch::new();
    let greeting_bytes = 200_000;
    let mut world = world(&branch, Quotas { greeting_bytes, ..Quotas::default() });
    let hello = long_hello(8_000);
    assert!((160_000..190_000).contains(&hello.len()), "{}", hello.len());
    let greet = |world: &mut World, connection, frames: std::ops::Range<usize>| {
        hello.chunks(60_000).enumerate().filter(|(i, _)| frames.contains(i)).for_each(|(_, frame)| {
            world.send_plain(connection, frame, |_| {});
        });
    };
    let slow = world.connect_raw(&branch.reader.key);
    greet(&mut world, slow, 0..2);
    let over = world.connect_raw(&branch.member.key);
    greet(&mut world, over, 0..1);
    assert!(!world.client(over).closed, "a first frame is always looked at");
    greet(&mut world, over, 1..2);
    assert_eq!(world.client(over).close_code(), Some(CloseCode::TooMany));
    // A usual greeting is not affected, and the one that came first may end.
    let usual = world.connect(&branch.secretary.key, Some(8));
    assert!(world.client(usual).session().is_flowing());
    greet(&mut world, slow, 2..3);
    assert!(matches!(world.client(slow).messages[..], [Message::Welcome(_), ..]));
    // What ended no longer counts.
    for _ in 0..5 {
        let next = world.connect_raw(&branch.member.key);
        greet(&mut world, next, 0..2);
        world.hub.handle_disconnected(world.now, PeerId(next));
        world.clients.remove(&next);
    }
    let next = world.connect_raw(&branch.member.key);
    greet(&mut world, next, 0..3);
    assert!(matches!(world.client(next).messages[..], [Message::Welcome(_), ..]));
    assert_eq!(world.hub.stats().closes, [(CloseCode::TooMany, 1)].into());
}

#[test]
fn only_a_connection_that_has_not_greeted_can_be_turned_away() {
    let branch = Branch::new();
    let mut world = branch.world();
    let silent = world.connect_raw(&branch.member.key);
    let greeted = world.connect(&branch.member.key, Some(8));
    for connection in [silent, greeted] {
        world.hub.turn_away(world.now, PeerId(connection));
    }
    world.run();
    assert_eq!(world.client(silent).close_code(), Some(CloseCode::TooMany));
    assert!(world.client(greeted).session().is_flowing());
    assert_eq!(world.hub.stats().closes, [(CloseCode::TooMany, 1)].into());
}
