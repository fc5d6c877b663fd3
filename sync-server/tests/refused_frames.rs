//! Every kind of bad frame closes its connection with its own code, is counted, and touches nobody else. The table
//! of `docs/PROTOCOL.md` names these tests.

mod hub_common;

use std::time::Duration;

use dinh_proto::codec::Write;
use dinh_proto::error::{CloseCode, RejectCode};
use dinh_proto::ids::{Cursor, ItemId, LogEpoch, Seq, SpaceId};
use dinh_proto::keys::{DeviceKey, RelayKey};
use dinh_proto::limits;
use dinh_proto::time::Timestamp;
use dinh_proto::wire::{
    Ack, CaughtUp, ChainSet, Ephemeral, Fetch, Hello, Items, Message, Put, PutItem, Reject, Scope, Welcome,
    write_message,
};
use dinh_server::hub::HubConfig;
use hub_common::{Branch, World, draft, village};

fn hello() -> Message {
    Message::Hello(Hello::default())
}

fn wire(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|m| write_message(m, &mut out));
    out
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_blob(body);
    out
}

/// What a bad peer did must have closed its connection with `code` and nothing else.
fn closed(branch: &mut Branch, what: &str, code: CloseCode, act: impl FnOnce(&mut World, u64)) {
    let mut world = branch.world();
    let good = world.connect(&branch.secretary.key, Some(8));
    let bad = world.connect_raw(&branch.member.key);
    act(&mut world, bad);
    assert_eq!(world.client(bad).close_code(), Some(code), "{what}");
    assert!(world.client(bad).closed, "{what}");
    let stats = world.hub.stats();
    assert_eq!(stats.closes, [(code, 1)].into(), "{what}");
    assert_eq!(stats.rejects, [].into(), "{what}");
    assert_eq!((stats.connections, stats.head), (1, 8), "{what}");
    // Whatever it says afterwards is not heard.
    let said = world.client(bad).messages.len();
    world.send(bad, &[hello(), Message::Ping]);
    assert_eq!(world.client(bad).messages.len(), said, "{what}");
    assert!(world.client(good).session().is_flowing(), "{what}");
}

#[test]
fn bad_handshakes() {
    type Spoil = fn(&mut Vec<u8>);
    let mut branch = Branch::new();
    let first = |plain: Vec<u8>, spoil: Spoil| {
        move |world: &mut World, bad: u64| world.send_plain(bad, &plain, spoil)
    };
    let good = || wire(&[hello()]);
    let spoiled: [(&str, CloseCode, Spoil); 14] = [
        ("ephemeral key", CloseCode::BadHandshake, |f| f[10] ^= 1),
        ("static key", CloseCode::BadHandshake, |f| f[50] ^= 1),
        ("keys", CloseCode::BadHandshake, |f| f[110] ^= 1),
        ("last byte", CloseCode::BadHandshake, |f| *f.last_mut().unwrap() ^= 1),
        ("a byte more", CloseCode::BadHandshake, |f| f.push(0)),
        ("weak key", CloseCode::BadHandshake, |f| f[5..37].fill(0)),
        ("cut short", CloseCode::BadHandshake, |f| f.truncate(80)),
        ("cut in the header", CloseCode::InvalidMessage, |f| f.truncate(4)),
        ("magic", CloseCode::InvalidMessage, |f| f[0] = b'X'),
        ("nothing", CloseCode::InvalidMessage, Vec::clear),
        ("version 2", CloseCode::Incompatible, |f| f[3] = 2),
        ("channel kind 0", CloseCode::Incompatible, |f| f[4] = 0),
        ("a refusal", CloseCode::Incompatible, |f| f[4] = 0xff),
        ("a frame that is too long", CloseCode::InvalidMessage, |f| f.resize(limits::FRAME_BYTES_MAX + 1, 0)),
    ];
    for (what, code, spoil) in spoiled {
        closed(&mut branch, what, code, first(good(), spoil));
    }
    // To a relay with another key.
    let key = branch.member.key.clone();
    closed(&mut branch, "another relay's key", CloseCode::BadHandshake, |world, bad| {
        let hub_common::End::Raw { channel, .. } = &mut world.client(bad).end else { panic!("raw") };
        *channel = World::channel(bad, &key, &RelayKey::from_seed(&[66; 32]));
        world.send_plain(bad, &good(), |_| {});
    });
    // The first frame of another connection.
    closed(&mut branch, "replayed", CloseCode::BadHandshake, |world, bad| {
        let other = world.connect_raw(&DeviceKey::from_seed(&[2; 32]));
        let mut copy = Vec::new();
        let hub_common::End::Raw { channel, .. } = &mut world.client(other).end else { panic!("raw") };
        channel.seal(&good(), &mut copy);
        world.clients.remove(&other);
        world.hub.handle_disconnected(world.now, dinh_server::hub::PeerId(other));
        world.send_plain(bad, &good(), |frame| *frame = copy);
    });
}

#[test]
fn frames_that_do_not_open() {
    let mut branch = Branch::new();
    type Spoil = fn(&mut Vec<u8>);
    let spoiled: [(&str, Spoil); 5] = [
        ("a bit", |f| f[0] ^= 1),
        ("a bit of the tag", |f| *f.last_mut().unwrap() ^= 1),
        ("cut short", |f| f.truncate(15)),
        ("no byte", Vec::clear),
        ("a byte more", |f| f.push(0)),
    ];
    for (what, spoil) in spoiled {
        closed(&mut branch, what, CloseCode::Misbehaved, |world, bad| {
            world.send(bad, &[hello()]);
            world.send_plain(bad, &wire(&[Message::Ping]), spoil);
        });
    }
    closed(&mut branch, "repeated", CloseCode::Misbehaved, |world, bad| {
        world.send(bad, &[hello()]);
        let mut copy = Vec::new();
        world.send_plain(bad, &wire(&[Message::Ping]), |frame| copy.clone_from(frame));
        world.send_plain(bad, &wire(&[Message::Ping]), |frame| *frame = copy);
    });
    closed(&mut branch, "left out", CloseCode::Misbehaved, |world, bad| {
        world.send(bad, &[hello()]);
        let hub_common::End::Raw { channel, .. } = &mut world.client(bad).end else { panic!("raw") };
        channel.seal(&wire(&[Message::Ping]), &mut Vec::new());
        world.send(bad, &[Message::Ping]);
    });
}

#[test]
fn messages_out_of_turn() {
    let mut branch = Branch::new();
    let chains = || ChainSet { space: village(), last: true, chains: Vec::new() };
    let put = || Message::Put(Put { items: Vec::new() });
    let fetch = || Message::Reconcile(Vec::new());
    for (what, first) in [("put", put()), ("reconcile", fetch()), ("want", Message::Want(chains()))] {
        closed(&mut branch, what, CloseCode::Misbehaved, |world, bad| world.send(bad, &[first]));
    }
    closed(&mut branch, "put before Welcome", CloseCode::Misbehaved, |world, bad| {
        world.send(bad, &[hello(), put()]);
    });
    let reject = Reject {
        number: 0,
        id: ItemId::default(),
        code: RejectCode::Gap,
        seq: Seq(0),
        detail: String::new(),
    };
    let welcome = Welcome {
        epoch: LogEpoch([1; 8]),
        head: Seq(1),
        reconcile: false,
        replicas: 0,
        backlog: 0,
        time_ms: 0,
    };
    let later = [
        hello(),
        Message::Welcome(welcome),
        Message::Items(Items { scope: Scope::Log, upto: Seq(9), items: Vec::new() }),
        Message::CaughtUp(CaughtUp { seq: Seq(9), sums: Vec::new() }),
        Message::Ack(Ack { puts: vec![(0, Seq(1))] }),
        Message::Reject(reject),
        Message::Have(chains()),
        Message::Credit(limits::CREDIT_BYTES),
        Message::Credit(u64::MAX),
    ];
    for message in later {
        closed(&mut branch, message.name(), CloseCode::Misbehaved, |world, bad| {
            world.send(bad, &[hello()]);
            world.send(bad, &[message]);
        });
    }
}

#[test]
fn messages_that_do_not_parse() {
    let mut branch = Branch::new();
    let spaces = |a: u8, b: u8| [&[11, 2][..], &[a; 16], &[b; 16]].concat();
    let mut too_large_item = vec![5, 1, 0];
    too_large_item.put_uleb(1_000_219);
    let bodies: Vec<(&str, Vec<u8>, CloseCode)> = vec![
        ("an empty message", framed(&[]), CloseCode::InvalidMessage),
        ("a length that is over the limit", vec![0x81, 0x80, 0x40], CloseCode::InvalidMessage),
        ("a length in two ways", vec![0x81, 0x00, 14], CloseCode::InvalidMessage),
        ("a message type that may not be skipped", framed(&[0x20, 1]), CloseCode::Incompatible),
        ("type 0", framed(&[0]), CloseCode::Incompatible),
        ("a body that is cut short", framed(&[10, 1, 2]), CloseCode::InvalidMessage),
        ("a body with a byte too many", framed(&[14, 0]), CloseCode::InvalidMessage),
        ("a list that is not sorted", framed(&spaces(2, 1)), CloseCode::InvalidMessage),
        ("a list with a repetition", framed(&spaces(1, 1)), CloseCode::InvalidMessage),
        ("a list longer than its message", framed(&[11, 0xff, 0x7f]), CloseCode::InvalidMessage),
        ("a list over its limit", framed(&[11, 0xff, 0xff, 0x7f]), CloseCode::InvalidMessage),
        ("a number in two ways", framed(&[13, 0x80, 0x00]), CloseCode::InvalidMessage),
        ("a flag that is not 0 or 1", framed(&[5, 1, 2, 0]), CloseCode::InvalidMessage),
        ("an item that no message may hold", framed(&too_large_item), CloseCode::InvalidMessage),
        ("a close code that is not known", framed(&[16, 99, 0, 0, 0, 0, 0]), CloseCode::InvalidMessage),
        ("garbage", vec![0x07; 300], CloseCode::InvalidMessage),
    ];
    for (what, plain, code) in bodies {
        closed(&mut branch, what, code, |world, bad| {
            world.send(bad, &[hello()]);
            world.send_plain(bad, &plain, |_| {});
        });
    }
    closed(&mut branch, "a frame that is too long", CloseCode::InvalidMessage, |world, bad| {
        world.send(bad, &[hello()]);
        world.send_plain(bad, &[], |frame| frame.resize(limits::FRAME_BYTES_MAX + 1, 0));
    });
}

#[test]
fn credit_that_is_exceeded() {
    let mut branch = Branch::new();
    // The hub gives credit back with its answers: while it waits for the disk, a device may send no more.
    let items: Vec<PutItem> = (0..8)
        .map(|_| PutItem {
            bridged: false,
            bytes: branch.member.run(village(), draft(), &[7; 50_000]).bytes().clone(),
        })
        .collect();
    closed(&mut branch, "credit", CloseCode::Misbehaved, |world, bad| {
        world.hold_appends = true;
        world.send(bad, &[hello()]);
        for item in &items {
            world.send(bad, &[Message::Put(Put { items: vec![item.clone()] })]);
        }
    });
}

#[test]
fn asking_for_more_than_is_read() {
    use dinh_server::hub::{Effect, PeerId};
    let branch = Branch::new();
    // A device that asks over and over what there is, and never reads.
    let asks = |world: &mut World, plain: Vec<u8>| {
        let bad = world.connect_raw(&branch.member.key);
        world.send(bad, &[hello()]);
        let mut client = world.clients.remove(&bad).expect("a client of this world");
        let hub_common::End::Raw { channel, .. } = &mut client.end else { panic!("raw") };
        for frames in 1..200 {
            let mut frame = Vec::new();
            channel.seal(&plain, &mut frame);
            world.hub.handle_frame(world.now, PeerId(bad), frame.into());
            let closed = std::iter::from_fn(|| world.hub.poll_effect())
                .any(|e| matches!(e, Effect::Close { peer } if peer == PeerId(bad)));
            if closed {
                assert_eq!(world.hub.stats().closes, [(CloseCode::Misbehaved, 1)].into());
                return frames;
            }
        }
        panic!("it may ask for ever");
    };
    let mut world = branch.world();
    let reconcile = wire(&[Message::Reconcile(Vec::new())]);
    assert!(asks(&mut world, reconcile.repeat(10_000)) > 1);
    // Or fetches spaces that are none.
    let mut world = branch.world();
    let mut fetches = Vec::new();
    for i in 0..=limits::SPACES_PER_MESSAGE_MAX as u64 / 6 {
        let mut space = SpaceId([0; 16]);
        space.0[..8].copy_from_slice(&i.to_le_bytes());
        write_message(&Message::Fetch(Fetch { space, from: Seq(0), to: Seq(1) }), &mut fetches);
    }
    let bad = world.connect_raw(&branch.member.key);
    world.send(bad, &[hello()]);
    for n in 0..6u8 {
        for i in 0..=limits::SPACES_PER_MESSAGE_MAX as u64 / 6 {
            let at = i as usize * 20;
            fetches[at + 17] = n;
        }
        for frame in fetches.chunks(60_000) {
            world.send_plain(bad, frame, |_| {});
        }
        assert_eq!(world.client(bad).closed, n == 5, "{n}");
    }
}

#[test]
fn what_may_be_skipped_or_said_at_any_time_closes_nothing() {
    let branch = Branch::new();
    let mut world = branch.world();
    let phone = world.connect_raw(&branch.member.key);
    let mut plain = wire(&[Message::Ping]);
    plain.extend(framed(&[0x80, 1, 2, 3]));
    plain.extend(wire(&[hello()]));
    world.send_plain(phone, &plain, |_| {});
    world.send_plain(phone, &framed(&[0xff]), |_| {});
    // A message in as many frames as it has bytes; an empty frame between.
    for byte in wire(&[Message::Ping]) {
        world.send_plain(phone, &[byte], |_| {});
        world.send_plain(phone, &[], |_| {});
    }
    let messages = &world.client(phone).messages;
    assert_eq!(messages.iter().filter(|m| **m == Message::Pong).count(), 2);
    assert!(messages.iter().any(|m| matches!(m, Message::CaughtUp(_))));
    assert!(!world.client(phone).closed);
    // Presence in another's name, or where it may not be seen, goes nowhere.
    let secretary = world.connect(&branch.secretary.key, None);
    let seen = world.client(secretary).events.len();
    let presence =
        |space: SpaceId, device| Message::Ephemeral(Ephemeral { space, device, payload: vec![1].into() });
    let (own, other) = (branch.member.key.public().id(), branch.reader.key.public().id());
    world.send(phone, &[presence(village(), other), presence(hub_common::committee(), own)]);
    assert_eq!(world.client(secretary).events.len(), seen);
    world.send(phone, &[presence(village(), own)]);
    assert_eq!(world.client(secretary).events.len(), seen + 1);
    assert_eq!(world.hub.stats().closes, [].into());
}

#[test]
fn silence_and_crowds() {
    let mut branch = Branch::new();
    closed(&mut branch, "no greeting", CloseCode::TimedOut, |world, _| {
        pass(world, limits::HANDSHAKE_TIMEOUT);
    });
    let mut world = branch.world();
    let silent = world.connect_raw(&branch.member.key);
    world.send(silent, &[hello()]);
    pass(&mut world, limits::DEAD_AFTER - Duration::from_millis(1));
    assert_eq!(world.client(silent).messages.last(), Some(&Message::Ping));
    pass(&mut world, limits::DEAD_AFTER);
    assert_eq!(world.client(silent).close_code(), Some(CloseCode::TimedOut));

    let mut world = branch.world();
    let most = HubConfig::default().connections_per_device_max;
    for _ in 0..most {
        let connection = world.connect(&branch.member.key, Some(8));
        assert!(world.client(connection).session().is_flowing());
    }
    let one_more = world.connect(&branch.member.key, Some(8));
    assert_eq!(world.client(one_more).close_code(), Some(CloseCode::TooMany));
    let other = world.connect(&branch.secretary.key, Some(8));
    assert!(world.client(other).session().is_flowing());

    world.hub.handle_shutdown(world.now);
    world.run();
    let late = world.connect(&branch.reader.key, Some(8));
    for connection in [other, late] {
        assert_eq!(world.client(connection).close_code(), Some(CloseCode::GoingAway));
    }
    let expected = [(CloseCode::TooMany, 1), (CloseCode::GoingAway, most as u64 + 2)];
    assert_eq!(world.hub.stats().closes, expected.into());
}

/// Lets the hub's timers fire, in order, until `until`. Production sessions answer.
fn pass(world: &mut World, until: Duration) {
    let until = Timestamp(0) + until;
    while let Some(at) = world.hub.poll_timeout().filter(|at| *at <= until) {
        world.now = world.now.max(at);
        world.hub.handle_timeout(world.now);
        world.run();
    }
    world.now = until;
}

#[test]
fn a_cursor_that_means_nothing_here_is_reconciled_and_not_an_error() {
    let branch = Branch::new();
    for (cursor, acked) in [
        Cursor { epoch: LogEpoch([1; 8]), seq: Seq(3) },
        Cursor { epoch: hub_common::EPOCH, seq: Seq(9) },
        Cursor { epoch: hub_common::EPOCH, seq: Seq(u64::MAX) },
    ]
    .into_iter()
    .flat_map(|place| {
        // What was acknowledged may be gone although the cursor is good, or there is none.
        let good = Some(Cursor { epoch: hub_common::EPOCH, seq: Seq(0) });
        let (cursor, acked) = (Some(place), Some(place));
        [(cursor, None), (good, acked), (None, acked)]
    }) {
        let mut world = branch.world();
        let phone = world.connect_raw(&branch.member.key);
        world.send(phone, &[Message::Hello(Hello { cursor, acked, backfills: Vec::new() })]);
        let messages = &world.client(phone).messages;
        let Message::Welcome(welcome) = &messages[0] else { panic!("{messages:?}") };
        assert!(welcome.reconcile);
        let haves: Vec<_> = messages.iter().filter(|m| matches!(m, Message::Have(_))).collect();
        // The charter and the village: every space that it may read.
        assert_eq!(haves.len(), 2);
        assert_eq!(world.hub.stats().reconciles, 1);
        world.send(
            phone,
            &[Message::Want(ChainSet { space: SpaceId::default(), last: true, chains: Vec::new() })],
        );
        assert!(matches!(world.client(phone).messages.last(), Some(Message::CaughtUp(_))));
        assert_eq!(world.hub.stats().closes, [].into());
    }
}
