//! Stories by hand, told with the same world.

use bytes::Bytes;
use dinh_core::testing::Crash;
use dinh_proto::channel::Binding;
use dinh_proto::charter::record::{Audience, Role};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::ids::{ChangeHash, CharterTag, Cursor, DocId, ItemId, SpaceId};
use dinh_proto::item::{Draft, Item, Kind, Place};
use dinh_proto::session::{DeviceEvent, DeviceSession};
use dinh_proto::wire::Hello;
use rand_chacha::rand_core::RngCore;

use crate::hub_peer;
use crate::net::{ConnKeys, relay_key};
use crate::options::Options;
use crate::workload::member;
use crate::world::{SECOND, World};

/// What a story may do: tell its trace.
type Story = fn(bool);

/// Name and story.
pub(crate) const ALL: [(&str, Story); 12] = [
    ("two phones, nothing fails", two_phones),
    ("a reconnect in the middle of a backlog goes on where it was", backlog),
    ("a relay restored from an older copy gets everything back", restored_relay),
    ("two phones with one key from one backup lose nothing", twins),
    ("a phone restored from a backup taken before it sent anything", restored_before_sending),
    ("a new device gets snapshot and tail", snapshot_and_tail),
    ("a bad snapshot is dropped and the runs are fetched", bad_snapshot),
    ("a space granted to a live device", granted_live),
    ("a space granted to a device that is away", granted_away),
    ("a device is removed while it and others write", removed_in_flight),
    ("a relay killed between append and ack", killed_before_ack),
    ("an edit and a power cut", power_cut),
];

fn calm(tracing: bool, change: impl FnOnce(&mut Options)) -> (World, DocId) {
    let mut opts = Options::calm();
    change(&mut opts);
    let mut world = World::new(1, opts, tracing);
    world.found();
    let doc = world.truth.docs[0].0;
    (world, doc)
}

impl World {
    fn settle(&mut self) {
        self.run_until(300 * SECOND, "convergence", Self::has_converged);
    }

    fn write(&mut self, p: usize, doc: DocId, n: usize) {
        for _ in 0..n {
            let token = format!("k{}", self.truth.deeds.len());
            self.edit_key(p, doc, token);
            self.pump_phone(p);
        }
    }

    fn cut(&mut self, p: usize) {
        self.phones[p].network = false;
        if let Some(conn) = self.phones[p].conn {
            self.break_conn(conn);
        }
        self.run_for(2 * SECOND);
    }

    /// Puts an item to the relay that a phone's replica would never make, over a connection of its own.
    fn put_by_hand(&mut self, p: usize, item: &Item) {
        self.ledger.borrow_mut().made.insert(item.id(), item.bytes().clone());
        let peer = hub_peer(1 << 40);
        let key = self.phones[p].key.clone();
        let now = self.mono();
        let keys = ConnKeys::new([5; 32]);
        let (relay, binding) = (relay_key().public(), Binding(keys.binding));
        let mut device = DeviceSession::new(&key, &relay, binding, keys.device_seed, Hello::default(), now);
        let hub = &mut self.relay.node.as_mut().expect("up").hub;
        hub.handle_connected(now, peer, keys.binding, keys.relay_seed);
        let mut told = None;
        let mut put = false;
        for _ in 0..100 {
            let now = self.mono();
            let mut frame = Vec::new();
            while device.poll_transmit(&mut frame) {
                let frame = Bytes::from(std::mem::take(&mut frame));
                self.relay.node.as_mut().expect("up").hub.handle_frame(now, peer, frame);
            }
            self.pump_relay();
            self.run_for(SECOND / 10);
            let mut frame = Vec::new();
            let now = self.mono();
            while self.relay.node.as_mut().expect("up").hub.poll_transmit(now, peer, &mut frame) {
                device.handle_frame(now, &frame);
                frame.clear();
            }
            while let Some(event) = device.poll_event() {
                match event {
                    DeviceEvent::Acked { .. } => told = Some(Ok(())),
                    DeviceEvent::Rejected { code, .. } => told = Some(Err(code)),
                    _ => {}
                }
            }
            if device.can_put() && !put {
                put = true;
                device.put(item.id(), item.bytes().clone(), false);
            }
        }
        let now = self.mono();
        self.relay.node.as_mut().expect("up").hub.handle_disconnected(now, peer);
        assert_eq!(told, Some(Ok(())), "the relay takes it");
    }

    fn counters(&self, p: usize) -> dinh_core::replica::Counters {
        self.phones[p].replica.as_ref().expect("it runs").counters()
    }
}

fn two_phones(tracing: bool) {
    let (mut world, doc) = calm(tracing, |_| {});
    world.settle();
    for _ in 0..5 {
        world.write(0, doc, 1);
        world.write(1, doc, 1);
        world.run_for(3 * SECOND);
    }
    world.finish();
}

fn backlog(tracing: bool) {
    let (mut world, doc) = calm(tracing, |o| {
        o.window = 1;
        o.latency = (100_000, 100_000);
    });
    world.settle();
    world.cut(1);
    for _ in 0..400 {
        world.write(0, doc, 1);
        world.run_for(SECOND);
    }
    let before = world.phones[1].given;
    let start = world.phones[1].replica.as_ref().and_then(|r| r.cursor()).expect("it was live").seq;
    world.online(1);
    // Until the first part of the backlog is stored.
    world.run_until(60 * SECOND, "a part of the backlog", |w| {
        w.phones[1].replica.as_ref().and_then(|r| r.cursor()).is_some_and(|c| c.seq > start)
    });
    let conn = world.phones[1].conn.expect("it is connected");
    let middle = world.phones[1].replica.as_ref().and_then(|r| r.cursor()).expect("a cursor").seq;
    assert!(
        middle < world.relay.node.as_ref().expect("up").hub.durable_head(),
        "in the middle of the backlog"
    );
    world.break_conn(conn);
    world.settle();
    let given = world.phones[1].given - before;
    // At most what was on the way when the link broke comes twice: two messages of items.
    assert!((400..400 + 2 * 150).contains(&given), "{given} items were given for 400");
    world.finish();
}

fn restored_relay(tracing: bool) {
    let (mut world, doc) = calm(tracing, |o| o.phones = 3);
    world.settle();
    world.write(0, doc, 3);
    world.settle();
    let copy = world.relay.disk.durable_image();
    world.write(1, doc, 4);
    let space = world.create_space(1, Audience::Members(vec![member(1), member(0)])).expect("a member may");
    let own = world.create_document(1, space).expect("its creator may");
    world.write(1, own, 4);
    world.settle();
    world.write(0, doc, 2);
    world.settle();
    let head = world.truth.log.len();
    world.restore_relay(copy);
    world.run_for(SECOND);
    world.start_relay();
    assert!(world.truth.log.len() < head, "the copy is older");
    world.settle();
    assert_eq!(world.truth.log.len(), head, "everything came back, once");
    world.finish();
    assert_eq!(world.totals.mismatches, 0, "the first reconcile brought everything");
}

fn twins(tracing: bool) {
    let (mut world, doc) = calm(tracing, |o| o.phones_max = 4);
    world.settle();
    world.write(1, doc, 2);
    world.settle();
    let backup = world.backup(1);
    world.cut(1);
    world.write(1, doc, 3);
    let twin = world.add_twin(1, &backup);
    world.write(twin, doc, 3);
    world.settle_but(1);
    world.write(twin, doc, 2);
    world.settle_but(1);
    world.online(1);
    world.settle();
    world.write(1, doc, 1);
    world.write(twin, doc, 1);
    world.settle();
    world.finish();
    assert!(world.totals.recoveries >= 1, "one of them had to go on in a new session");
}

impl World {
    /// Converged, but for a phone that is away.
    fn settle_but(&mut self, away: usize) {
        self.run_until(300 * SECOND, "everything sent", |w| {
            let rest = w.phones.iter().enumerate().filter(|(p, _)| *p != away);
            rest.filter_map(|(_, p)| p.replica.as_ref()).all(|r| r.status().pending == 0)
        });
    }
}

/// Both copies hold the same changes, which neither has sent: they must not be written twice.
fn restored_before_sending(tracing: bool) {
    let (mut world, doc) = calm(tracing, |o| o.phones_max = 4);
    world.settle();
    world.cut(1);
    let space = world.truth.spaces[0].id;
    let own = world.create_document(1, space).expect("a member may");
    world.write(1, own, 2);
    world.write(1, doc, 1);
    let backup = world.backup(1);
    let twin = world.add_twin(1, &backup);
    world.write(twin, own, 2);
    world.write(1, own, 1);
    world.settle_but(1);
    world.online(1);
    world.settle();
    world.finish();
}

fn snapshot_and_tail(tracing: bool) {
    let (mut world, doc) = calm(tracing, |o| {
        o.snapshot_min = 2_000;
        o.phones_max = 3;
    });
    world.settle();
    for _ in 0..30 {
        world.write(0, doc, 1);
        world.run_for(SECOND);
    }
    world.settle();
    assert!(world.counters(0).snapshots_made > 0, "a snapshot was made");
    world.write(1, doc, 2);
    world.settle();
    let runs = world.truth.log.len() as u64;
    let new = world.join(member(1), Role::Member).expect("the secretary is there");
    world.settle();
    assert_eq!(world.counters(new).snapshots_used, 1, "the new device used the snapshot");
    assert_eq!(world.counters(new).mismatches, 0, "and lacked nothing");
    assert!(world.phones[new].given < runs / 2, "{} items were given", world.phones[new].given);
    world.write(new, doc, 2);
    world.settle();
    world.finish();
}

fn bad_snapshot(tracing: bool) {
    let (mut world, doc) = calm(tracing, |o| (o.phones_max, o.hostile) = (3, true));
    world.settle();
    world.write(0, doc, 5);
    world.write(1, doc, 5);
    world.settle();
    let node = world.relay.node.as_ref().expect("up");
    let (epoch, seq) = (node.log.epochs().current(), node.hub.durable_head());
    let mut payload = vec![0; 300];
    world.rng.fill_bytes(&mut payload);
    let session = world.phones[1].replica.as_ref().expect("up").session();
    let item = Draft {
        kind: Kind::Snapshot,
        space: world.truth.docs[0].1,
        doc,
        session,
        place: Place::Covers(Cursor { epoch, seq }),
        first_seq: 0,
        count: 0,
        last: ChangeHash::default(),
        charter_tag: CharterTag::default(),
    }
    .seal(&world.phones[1].key, &SpaceKey::from_bytes(&[7; 32]), false, &payload)
    .expect("it signs");
    world.put_by_hand(1, &item);
    let bad: ItemId = item.id();
    let new = world.join(member(1), Role::Member).expect("the secretary is there");
    world.settle();
    assert!(world.truth.logged.contains_key(&bad), "the relay cannot know that it is bad");
    assert!(world.counters(new).refused > 0, "the device refused it");
    assert_eq!(world.counters(new).snapshots_used, 0);
    world.finish();
}

/// Three phones, and a space that two of them read and have written in.
fn space_of_two(tracing: bool) -> (World, SpaceId, DocId) {
    let (mut world, _) = calm(tracing, |o| {
        o.phones = 3;
        o.members = 3;
    });
    let space = world.create_space(0, Audience::Members(vec![member(0), member(1)])).expect("may");
    let doc = world.create_document(0, space).expect("may");
    world.settle();
    world.write(1, doc, 5);
    (world, space, doc)
}

fn granted_live(tracing: bool) {
    let (mut world, space, doc) = space_of_two(tracing);
    world.write(0, doc, 5);
    world.settle();
    world.grant(0, space, member(2));
    world.pump_phone(0);
    world.write(1, doc, 3);
    world.settle();
    world.write(2, doc, 3);
    world.settle();
    world.finish();
    assert_eq!(world.totals.mismatches, 0);
}

fn granted_away(tracing: bool) {
    let (mut world, space, doc) = space_of_two(tracing);
    world.settle();
    world.cut(2);
    world.write(1, doc, 3);
    world.grant(0, space, member(2));
    world.pump_phone(0);
    world.settle_but(2);
    world.write(0, doc, 3);
    world.settle_but(2);
    world.online(2);
    world.settle();
    world.write(2, doc, 3);
    world.settle();
    world.finish();
    assert_eq!(world.totals.mismatches, 0);
}

/// 1 writes what the remover has seen, what only 2 has and builds on, and what nobody has; and writes on when it is out.
fn removed_in_flight(tracing: bool) {
    let (mut world, doc) = calm(tracing, |o| {
        o.phones = 4;
        o.members = 4;
        o.phones_max = 5;
    });
    world.settle();
    world.write(1, doc, 3);
    world.settle();
    world.cut(0);
    world.write(1, doc, 2);
    world.settle_but(0);
    world.write(2, doc, 2);
    world.cut(3);
    world.write(3, doc, 2);
    world.cut(1);
    world.write(1, doc, 2);
    let device = world.phones[1].device;
    world.remove_device(0, device);
    world.write(0, doc, 2);
    world.online(0);
    world.run_for(60 * SECOND);
    assert!(world.is_out_for_good(1), "the removal is in the log");
    world.write(1, doc, 2);
    world.online(1);
    world.write(1, doc, 2);
    world.run_for(60 * SECOND);
    world.online(3);
    world.settle();
    world.join(member(1), Role::Member).expect("the secretary is there");
    world.settle();
    world.finish();
    assert_eq!(world.totals.cuts, [1, 0, 0, 0]);
    assert_eq!(world.totals.refused_deeds, 4 * 4, "four words on four phones");
}

fn killed_before_ack(tracing: bool) {
    let (mut world, doc) = calm(tracing, |_| {});
    world.settle();
    let head = world.truth.log.len();
    world.write(0, doc, 1);
    while world.truth.log.len() == head {
        assert!(world.step(), "the item is on its way");
    }
    let acked = world.truth.acked.len();
    world.kill_relay(Crash::LoseUnsynced);
    world.run_for(2 * SECOND);
    assert_eq!(world.truth.acked.len(), acked, "nobody was told");
    assert!(world.phones[0].replica.as_ref().expect("up").status().pending > 0);
    world.start_relay();
    world.settle();
    assert_eq!(world.truth.log.len(), head + 1, "it is there once");
    world.finish();
}

fn power_cut(tracing: bool) {
    let (mut world, doc) = calm(tracing, |_| {});
    world.settle();
    world.cut(0);
    for _ in 0..10 {
        world.write(0, doc, 1);
        world.kill_phone(0, Crash::LoseUnsynced);
        world.start_phone(0);
    }
    world.online(0);
    world.settle();
    world.finish();
}
