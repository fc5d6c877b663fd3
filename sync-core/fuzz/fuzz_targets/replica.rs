//! A replica at a relay that lies: what a relay that holds the right key can say, with items of a member who works with it. Whatever it
//! said, nothing that was written here is lost, the store opens again, and an honest relay gets everything.
#![no_main]

#[path = "../../../sync-server/tests/pair_common/mod.rs"]
#[allow(unused_imports, unreachable_pub, unused_qualifications, clippy::all, reason = "a part of it is used")]
mod pair_common;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use dinh_core::path;
use dinh_core::replica::{Now, Replica};
use dinh_core::store::MemoryStore;
use dinh_fuzz::{Feed, Names, quiet, within};
use dinh_proto::channel::{Binding, Channel};
use dinh_proto::charter::record::Role;
use dinh_proto::ids::{Author, ChangeHash, CharterTag, DocId, LogEpoch, Seq, SessionId, SpaceId};
use dinh_proto::item::{Draft, Kind, Place, RawItem};
use dinh_proto::time::WallTime;
use dinh_proto::wire::{Ack, CaughtUp, Items, Message, MessageReader, Scope, Welcome, write_message};
use libfuzzer_sys::fuzz_target;
use pair_common::{NOW, Phone, Relay, branch, config, key, phone, put_token, relay_key, tokens};

/// What one input may make a replica hold, bytes, with the honest relay and the witness at the end.
const MEMORY_MAX: usize = 96 << 20;
const VICTIM: u8 = 2;
const ACCOMPLICE: u8 = 3;
const WITNESS: u8 = 4;

struct Fixture {
    victim: MemoryStore,
    witness: MemoryStore,
    doc: DocId,
    space: SpaceId,
    branch: SpaceId,
    /// What an honest relay has.
    log: Vec<Bytes>,
    names: Names,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let [mut secretary, mut victim, mut accomplice, mut witness] =
            [1, VICTIM, ACCOMPLICE, WITNESS].map(phone);
        let others = [(&victim, Role::Member), (&accomplice, Role::Member), (&witness, Role::Member)];
        let (branch, space, doc) = branch(&mut secretary, &others);
        let invitation = secretary.invitation(branch).expect("the founder's");
        for phone in [&mut victim, &mut accomplice, &mut witness] {
            phone.join(&invitation).expect("an invitation");
        }
        secretary.edit(NOW, &doc, None, |e| e.put_map(&path!["tokens"])).expect("its document");
        let mut relay = Relay::new();
        let mut meet = |phones: [&mut Phone; 4]| {
            let mut phones = phones.map(|phone| {
                let peer = relay.connect(phone);
                (phone, peer)
            });
            relay.settle(&mut phones);
            for (phone, peer) in &mut phones {
                phone.handle_disconnected();
                relay.hub.handle_disconnected(NOW.mono, *peer);
            }
            relay.run_effects();
            relay.log.values().cloned().collect::<Vec<Bytes>>()
        };
        meet([&mut secretary, &mut victim, &mut accomplice, &mut witness]);
        for (name, phone) in [("a", &mut secretary), ("b", &mut victim), ("c", &mut accomplice)] {
            (0..3).for_each(|n| put_token(phone, &doc, &format!("{name}{n}")));
        }
        let log = meet([&mut secretary, &mut victim, &mut accomplice, &mut witness]);
        let stores = [&mut victim, &mut witness].map(|phone| {
            let copy = std::mem::replace(phone, pair_common::phone(99));
            copy.close().expect("in memory")
        });
        // What the victim has not seen: later items, by members who may write them.
        for (name, phone) in [("d", &mut secretary), ("e", &mut accomplice)] {
            for n in 0..6 {
                put_token(phone, &doc, &format!("{name}{n}"));
                phone.save_views().expect("in memory");
            }
        }
        let [mut third, mut fourth] = [phone(98), phone(97)];
        let all = meet([&mut secretary, &mut accomplice, &mut third, &mut fourth]);
        let raw: Vec<RawItem> = all.iter().map(|b| RawItem::parse(b.clone()).expect("an item")).collect();
        let authors: BTreeSet<Author> = raw.iter().map(|r| r.header().author).collect();
        let names = Names {
            spaces: vec![branch, space, SpaceId([5; 16])],
            authors: authors.into_iter().collect(),
            epochs: vec![LogEpoch([1; 8]), LogEpoch([8; 8])],
            ids: raw.iter().map(RawItem::id).collect(),
            items: all,
        };
        let [victim, witness] = stores;
        Fixture { victim, witness, doc, space, branch, log, names }
    })
}

struct World {
    phone: Option<Phone>,
    now: Now,
    link: Option<(Channel, MessageReader)>,
    connections: u8,
    seq: u64,
    /// Puts of this connection, answered or not.
    puts: u64,
    written: BTreeSet<String>,
}

impl World {
    fn phone(&mut self) -> &mut Phone {
        self.phone.as_mut().expect("it is away only while it opens again")
    }

    fn connect(&mut self) {
        self.connections = self.connections.wrapping_add(1);
        let (now, binding) = (self.now, [self.connections; 32]);
        self.phone().handle_disconnected();
        self.phone().handle_connected(now, &relay_key().public(), binding, [7; 32]);
        self.link = Some((Channel::relay(&relay_key(), Binding(binding), [4; 32]), MessageReader::default()));
        self.puts = 0;
        self.read();
    }

    /// What the replica sends, as the relay reads it.
    fn read(&mut self) {
        let Some((mut channel, mut reader)) = self.link.take() else { return };
        let mut frame = Vec::new();
        while self.phone().poll_transmit(&mut frame).expect("the store is in memory") {
            let plain = channel.open(&std::mem::take(&mut frame)).expect("an honest frame");
            reader.push(&plain);
            while let Some((message, _)) = reader.next_message().expect("an honest message") {
                if let Message::Put(put) = message {
                    self.puts += put.items.len() as u64;
                }
            }
        }
        self.link = Some((channel, reader));
    }

    fn say(&mut self, messages: &[Message]) {
        let mut plain = Vec::new();
        messages.iter().for_each(|m| write_message(m, &mut plain));
        self.say_plain(&plain);
    }

    fn say_plain(&mut self, plain: &[u8]) {
        let Some((mut channel, reader)) = self.link.take() else { return };
        let (mut rest, now) = (plain, self.now);
        let mut ended = None;
        while channel.can_seal() && !rest.is_empty() && ended.is_none() {
            let (piece, later) = rest.split_at(rest.len().min(channel.room()));
            let mut frame = Vec::new();
            channel.seal(piece, &mut frame);
            ended = self.phone().handle_frame(now, &frame).expect("no peer breaks the store");
            rest = later;
        }
        self.link = Some((channel, reader));
        if ended.is_some() {
            self.read();
            self.link = None;
            self.phone().handle_disconnected();
        }
    }

    fn reopen(&mut self, seed: u8) {
        self.link = None;
        let store = self.phone.take().expect("here").close().expect("in memory");
        let opened = Replica::open(store, key(VICTIM), config(), [seed; 32]);
        self.phone = Some(opened.expect("what a peer said does not spoil the store"));
        self.keeps_all();
    }

    /// Nothing that was written here is lost.
    fn keeps_all(&mut self) {
        let here = tokens(self.phone(), &fixture().doc);
        assert!(self.written.iter().all(|token| here.contains(token)), "an own edit is gone");
    }

    fn events(&mut self) {
        let mut n = 0;
        while self.phone().poll_event().is_some() {
            n += 1;
        }
        assert!(n <= 2 * config().events_max, "{n} events wait");
    }
}

/// An item that the accomplice signs.
fn forged(feed: &mut Feed<'_>) -> Bytes {
    let fixture = fixture();
    let mut draft = Draft {
        kind: Kind::Charter,
        space: *feed.one_of(&fixture.names.spaces),
        doc: DocId::default(),
        session: SessionId([feed.byte() & 1; 8]),
        place: Place::Chain { n: 1 + u32::from(feed.byte() & 7), prev: [feed.byte() & 1; 16] },
        first_seq: 0,
        count: 0,
        last: ChangeHash::default(),
        charter_tag: CharterTag::default(),
    };
    let run = feed.flag();
    if run {
        draft.kind = Kind::Run;
        draft.space = fixture.space;
        draft.doc = fixture.doc;
        (draft.first_seq, draft.count, draft.last) = (1, 1, ChangeHash([4; 32]));
    }
    let payload = [feed.bytes(), &[0]].concat();
    let key = key(ACCOMPLICE);
    let item = if run {
        draft.seal(&key, &dinh_proto::crypto::SpaceKey::from_bytes(&[7; 32]), false, &payload)
    } else {
        draft.sign(&key, &payload)
    };
    item.map(|item| item.bytes().clone()).unwrap_or_default()
}

fn step(world: &mut World, feed: &mut Feed<'_>) {
    let fixture = fixture();
    let names = &fixture.names;
    match feed.below(16) {
        0 => world.connect(),
        1 => {
            let (epoch, head) = (*feed.one_of(&names.epochs), Seq(feed.number()));
            let reconcile = feed.flag();
            world.say(&[Message::Welcome(Welcome {
                epoch,
                head,
                reconcile,
                replicas: 0,
                backlog: 0,
                time_ms: 0,
            })]);
            world.seq = if reconcile { head.0 } else { world.seq };
        }
        // Items in the order of a log, true ones and false ones.
        2..5 => {
            let mut items = Vec::new();
            for _ in 0..=feed.below(6) {
                let Some(next) = world.seq.checked_add(1) else { break };
                let bytes = if feed.below(4) == 0 { forged(feed) } else { names.item(feed) };
                if bytes.is_empty() {
                    continue;
                }
                world.seq = next;
                items.push((Seq(next), bytes));
            }
            world.say(&[Message::Items(Items { scope: Scope::Log, upto: Seq(world.seq), items })]);
        }
        // All that there is, in order, from somewhere on.
        5 => {
            let from = usize::from(feed.byte()) % names.items.len();
            let first = world.seq;
            let items: Vec<_> = (1..)
                .zip(&names.items[from..])
                .map(|(n, b)| (Seq(first.saturating_add(n)), b.clone()))
                .collect();
            let upto = items.last().map_or(Seq(first), |(seq, _)| *seq);
            if upto.0 != u64::MAX {
                world.seq = upto.0;
                world.say(&[Message::Items(Items { scope: Scope::Log, upto, items })]);
            }
        }
        // "It is durable", of what nobody kept.
        6 => {
            let puts: Vec<(u64, Seq)> = (0..world.puts.min(256)).map(|n| (n, Seq(n + 1))).collect();
            let from = feed.below(puts.len().max(1));
            world.say(&[Message::Ack(Ack { puts: puts[from.min(puts.len())..].to_vec() })]);
        }
        7 => {
            let sums =
                vec![(*feed.one_of(&names.spaces), dinh_proto::item::SpaceSum(u128::from(feed.number())))];
            world.say(&[Message::CaughtUp(CaughtUp { seq: Seq(world.seq), sums })]);
        }
        8 | 9 => {
            let message = names.message(feed);
            world.say(&[message]);
        }
        10 => world.say_plain(feed.bytes()),
        11 => {
            let token = format!("own{}", world.written.len());
            let doc = fixture.doc;
            put_token(world.phone(), &doc, &token);
            world.written.insert(token);
        }
        12 => {
            let ms = feed.number().min(100_000);
            world.now.mono = world.now.mono + Duration::from_millis(ms);
            // The device's clock for people may be anything.
            world.now.wall = WallTime(if feed.byte() == 255 { feed.number() } else { NOW.wall.0 + ms });
            let now = world.now;
            if world.phone().handle_timeout(now).expect("in memory").is_some() {
                world.read();
                world.link = None;
                world.phone().handle_disconnected();
            }
        }
        13 => world.read(),
        14 => {
            world.link = None;
            world.phone().handle_disconnected();
        }
        _ => match feed.byte() {
            200.. => world.reopen(feed.byte()),
            100..200 => {
                let space = fixture.space;
                world.phone().send_presence(space, Bytes::from_static(b"here"));
            }
            _ => {
                let now = world.now;
                world.phone().handle_resumed(now);
            }
        },
    }
    world.events();
}

/// An honest relay that came out of nothing but what it had, and a phone that saw nothing of the lies.
fn heal(mut world: World) {
    let fixture = fixture();
    let mut relay = Relay::of(fixture.log.iter().cloned(), 0xee);
    let mut victim = world.phone.take().expect("here");
    victim.handle_disconnected();
    let opened = Replica::open(fixture.witness.clone(), key(WITNESS), config(), [3; 32]);
    let mut witness = opened.expect("the fixture's");
    relay.now.mono = relay.now.mono.max(world.now.mono);
    let peers = [relay.connect(&mut victim), relay.connect(&mut witness)];
    for _ in 0..8 {
        relay.settle(&mut [(&mut victim, peers[0]), (&mut witness, peers[1])]);
        let there = tokens(&mut witness, &fixture.doc);
        if world.written.iter().all(|token| there.contains(token)) {
            return;
        }
        relay.now.mono = relay.now.mono + Duration::from_secs(8);
        relay.hub.handle_timeout(relay.now.mono);
        relay.run_effects();
        for phone in [&mut victim, &mut witness] {
            assert_eq!(
                phone.handle_timeout(relay.now).expect("in memory"),
                None,
                "an honest relay is honest"
            );
        }
    }
    let there = tokens(&mut witness, &fixture.doc);
    panic!("{:?} did not reach the witness, who has {there:?}; {:?}", world.written, victim.status());
}

fuzz_target!(init: { quiet(); fixture(); }, |data: &[u8]| {
    let mut feed = Feed(data);
    let fixture = fixture();
    let heals = feed.flag();
    within(MEMORY_MAX, || {
        let opened = Replica::open(fixture.victim.clone(), key(VICTIM), config(), [2; 32]);
        let mut world = World {
            phone: Some(opened.expect("the fixture's")),
            now: NOW,
            link: None,
            connections: 0,
            seq: 0,
            puts: 0,
            written: ["b0", "b1", "b2"].map(str::to_owned).into(),
        };
        world.seq = world.phone().cursor().map_or(0, |c| c.seq.0);
        world.connect();
        for _ in 0..200 {
            if feed.is_empty() {
                break;
            }
            step(&mut world, &mut feed);
        }
        world.keeps_all();
        world.reopen(9);
        if heals {
            heal(world);
        }
        let _ = fixture.branch;
    });
});
