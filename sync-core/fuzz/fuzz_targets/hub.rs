//! The relay's hub under devices of any making: a secretary, a member, a reader and a stranger who hold their keys, say anything in any
//! order, read when they like, and a disk that takes its time, or fails. Beside them a global view, which no node has: who may read
//! what, what is in the log, what was put over which connection.
#![no_main]

#[path = "../../../sync-server/tests/hub_common/mod.rs"]
#[allow(unused_imports, unreachable_pub, clippy::all, reason = "a part of it is used")]
mod hub_common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use dinh_fuzz::{Feed, Names, within};
use dinh_proto::channel::{Binding, Channel};
use dinh_proto::charter::Charter;
use dinh_proto::charter::record::{Audience, Record, Role, Writers};
use dinh_proto::ids::{Author, DeviceId, DocId, LogEpoch, Seq, SpaceId};
use dinh_proto::item::{Item, Kind, Place, RawItem};
use dinh_proto::keys::DeviceKey;
use dinh_proto::limits;
use dinh_proto::time::Timestamp;
use dinh_proto::wire::{Message, MessageReader, Scope, write_message};
use dinh_server::hub::{Admission, Effect, Hub, HubConfig, Loaded, PeerId};
use dinh_server::log::{EpochHistory, Summary};
use hub_common::{
    Branch, EPOCH, Phone, admission, committee, draft, minutes, plain_space, relay_key, secret, village,
};
use libfuzzer_sys::fuzz_target;

/// What one input may make the hub and this world around it hold, bytes: 8 connections, what waits for each, and what it was read from.
const MEMORY_MAX: usize = 96 << 20;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 8;

/// The branch, and items that its members and a stranger could make.
struct Fixture {
    records: Vec<Item>,
    keys: [DeviceKey; 4],
    names: Names,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let mut branch = Branch::new();
        let mut stranger = Phone::new(9);
        let mut items: Vec<Item> = branch.records.clone();
        let documents =
            [(village(), draft()), (village(), minutes()), (committee(), secret()), (branch.id, draft())];
        for (space, doc) in documents {
            for phone in [&mut branch.secretary, &mut branch.member, &mut branch.reader, &mut stranger] {
                for n in 0..3u8 {
                    items.push(phone.run(space, doc, &vec![n; 40 + 400 * usize::from(n)]));
                }
                items.push(phone.snapshot(space, doc, 9));
                // Two of one number: a copied phone.
                let place = Place::Chain { n: 2, prev: [7; 16] };
                items.push(phone.sign_at(Kind::Run, space, doc, place, b"another"));
            }
        }
        let secretary = &mut branch.secretary;
        let records = [
            Record::Document {
                nonce: [33; 16],
                space: village(),
                writers: Writers::Members,
                schema: Vec::new(),
            },
            plain_space(22, Audience::Everyone),
            admission(stranger.certificate(Role::Member)),
        ];
        items.extend(records.iter().map(|record| secretary.record(branch.id, record)));
        items.push(branch.member.record(branch.id, &records[1]));
        items.push(stranger.record(branch.id, &records[0]));
        let keys = [&branch.secretary, &branch.member, &branch.reader, &stranger].map(|p| p.key.clone());
        let author =
            |key: &DeviceKey| Author { device: key.public().id(), session: branch.secretary.session };
        let names = Names {
            spaces: vec![branch.id, village(), committee(), SpaceId([5; 16])],
            authors: keys.iter().map(author).collect(),
            epochs: vec![EPOCH, LogEpoch([8; 8])],
            ids: items.iter().map(Item::id).collect(),
            items: items.iter().map(|i| i.bytes().clone()).collect(),
        };
        Fixture { records: branch.records, keys, names }
    })
}

/// A connection, seen from outside.
struct End {
    device: DeviceId,
    channel: Channel,
    reader: MessageReader,
    /// What was put over it, by number.
    put: Vec<Bytes>,
    answered: BTreeSet<u64>,
    cursor: Seq,
    welcomed: bool,
    /// The hub wants it gone.
    closed: bool,
    /// It said what no device says: what it hears from here on is not looked at.
    is_wild: bool,
}

struct World {
    hub: Hub,
    now: Timestamp,
    ends: BTreeMap<u64, End>,
    /// Connections that each device has had.
    opened: BTreeMap<DeviceId, usize>,
    next: u64,
    log: Vec<Bytes>,
    /// Who may read what, by all that is in the log; and whoever might at some time.
    charter: Charter,
    readable: BTreeMap<DeviceId, BTreeSet<SpaceId>>,
    held: VecDeque<Effect>,
    failed: bool,
    delivered: usize,
}

impl World {
    fn new(feed: &mut Feed<'_>) -> Self {
        let fixture = fixture();
        // A relay that knows the branch, a part of its charter, or nothing.
        let known = match feed.below(4) {
            0 => 0,
            1 => feed.below(fixture.records.len() + 1),
            _ => fixture.records.len(),
        };
        let records = &fixture.records[..known];
        let admission = match feed.byte() {
            0..240 => Admission::Open,
            240..248 => Admission::Permit,
            _ => Admission::Closed,
        };
        let mut config = HubConfig { admission, ..HubConfig::default() };
        let kind = feed.byte();
        if kind >= 224 {
            config.connections_per_device_max = 1;
        }
        // Most relays forget what they may forget.
        if kind % 4 > 0 {
            config.warm_bytes_max = 0;
        }
        let head = Seq(known as u64);
        let mut hub = Hub::new(config, relay_key(), EpochHistory::new(EPOCH), head, [1; 32]);
        let stored = records.iter().zip(1..).map(|(item, seq)| (Seq(seq), item.as_raw()));
        Summary::of_items(stored).iter().for_each(|summary| hub.load_summary(summary));
        let mut world = Self {
            hub,
            now: Timestamp(1_000_000),
            ends: BTreeMap::new(),
            opened: BTreeMap::new(),
            next: 0,
            log: Vec::new(),
            charter: Charter::new(fixture.names.spaces[0]),
            readable: BTreeMap::new(),
            held: VecDeque::new(),
            failed: false,
            delivered: 0,
        };
        world.append(records);
        world
    }

    fn append(&mut self, items: &[Item]) {
        for item in items {
            self.log.push(item.bytes().clone());
            let header = item.header();
            if header.kind == Kind::Charter && header.space == self.charter.branch() {
                let _ = self.charter.keep(item);
            } else if header.kind == Kind::Charter {
                // A branch that somebody founded here: it reads its own.
                self.readable.entry(header.author.device).or_default().insert(header.space);
            }
        }
        for key in &fixture().keys {
            let device = key.public().id();
            let readable = self.charter.readable(&device);
            self.readable.entry(device).or_default().extend(readable);
        }
    }

    fn connect(&mut self, who: usize) {
        if self.ends.len() >= CONNECTIONS_MAX {
            return;
        }
        let key = &fixture().keys[who];
        let (id, mut binding) = (self.next, [5; 32]);
        self.next += 1;
        binding[..8].copy_from_slice(&id.to_le_bytes());
        self.hub.handle_connected(self.now, PeerId(id), binding, [8; 32]);
        let end = End {
            device: key.public().id(),
            channel: Channel::device(key, &relay_key().public(), Binding(binding), [7; 32]),
            reader: MessageReader::default(),
            put: Vec::new(),
            answered: BTreeSet::new(),
            cursor: Seq(0),
            welcomed: false,
            closed: false,
            is_wild: false,
        };
        *self.opened.entry(end.device).or_default() += 1;
        self.ends.insert(id, end);
    }

    fn pick(&self, feed: &mut Feed<'_>) -> Option<u64> {
        let n = self.ends.len();
        (n > 0).then(|| *self.ends.keys().nth(feed.below(n)).expect("below their number"))
    }

    fn send(&mut self, id: u64, plain: &[u8]) {
        let mut rest = plain;
        loop {
            let end = self.ends.get_mut(&id).expect("picked");
            if !end.channel.can_seal() {
                return;
            }
            let (now, later) = rest.split_at(rest.len().min(end.channel.room()));
            let mut frame = Vec::new();
            end.channel.seal(now, &mut frame);
            self.hub.handle_frame(self.now, PeerId(id), frame.into());
            rest = later;
            if rest.is_empty() {
                return;
            }
        }
    }

    fn say(&mut self, id: u64, message: &Message) {
        let end = self.ends.get_mut(&id).expect("picked");
        if !end.channel.can_seal() {
            return;
        }
        match message {
            Message::Put(put) => end.put.extend(put.items.iter().map(|i| i.bytes.clone())),
            Message::Hello(hello) if !end.welcomed => end.cursor = hello.cursor.map_or(Seq(0), |c| c.seq),
            _ => {}
        }
        let mut plain = Vec::new();
        write_message(message, &mut plain);
        self.send(id, &plain);
    }

    /// Reads what the hub has for a connection.
    fn read(&mut self, id: u64, frames_max: usize) {
        for _ in 0..frames_max {
            let mut frame = Vec::new();
            if !self.hub.poll_transmit(self.now, PeerId(id), &mut frame) {
                return;
            }
            assert!(frame.len() <= limits::FRAME_BYTES_MAX);
            let Some(end) = self.ends.get_mut(&id) else { return };
            // A refusal in the clear is no frame of the channel.
            let Ok(plain) = end.channel.open(&frame) else { return };
            end.reader.push(&plain);
            loop {
                let end = self.ends.get_mut(&id).expect("it is read");
                match end.reader.next_message().expect("the relay's messages read") {
                    Some((message, _)) => self.hear(id, &message),
                    None => break,
                }
            }
            self.effects_later();
        }
    }

    fn hear(&mut self, id: u64, message: &Message) {
        let durable = self.hub.durable_head();
        let end = self.ends.get_mut(&id).expect("it is read");
        match message {
            Message::Welcome(welcome) => {
                assert!(!std::mem::replace(&mut end.welcomed, true), "one welcome");
                assert!(welcome.head <= durable, "what is not durable is not named");
                if welcome.reconcile {
                    end.cursor = welcome.head;
                }
            }
            Message::Items(items) => {
                assert!(end.welcomed && items.items.len() <= limits::ITEMS_PER_MESSAGE_MAX);
                let readable = self.readable.get(&end.device);
                for (seq, bytes) in &items.items {
                    let place = usize::try_from(seq.0).ok().and_then(|s| s.checked_sub(1));
                    let raw = RawItem::parse(bytes.clone()).expect("an item");
                    let is_snapshot = raw.header().kind == Kind::Snapshot;
                    let stored = place.and_then(|place| self.log.get(place));
                    assert!(
                        stored == Some(bytes) || is_snapshot && self.log.contains(bytes),
                        "nothing is made up"
                    );
                    assert!(*seq <= durable, "what is not durable is not sent");
                    let space = raw.header().space;
                    assert!(
                        readable.is_some_and(|r| r.contains(&space)),
                        "an item for one who may never read it"
                    );
                }
                self.delivered += items.items.len();
                if items.scope == Scope::Log {
                    assert!(
                        items.items.first().is_none_or(|(seq, _)| *seq > end.cursor),
                        "the cursor goes forward"
                    );
                    assert!(items.upto >= end.cursor && items.upto <= durable);
                    end.cursor = items.upto;
                }
            }
            Message::CaughtUp(caught_up) => {
                assert!(caught_up.seq >= end.cursor || end.cursor > durable, "the cursor goes forward");
                end.cursor = caught_up.seq;
            }
            Message::Ack(ack) => {
                for (number, seq) in &ack.puts {
                    assert!(*seq <= durable, "an acknowledgement of what is not durable");
                    if end.is_wild {
                        continue;
                    }
                    assert!(end.answered.insert(*number), "one answer");
                    let put =
                        usize::try_from(*number).ok().and_then(|n| end.put.get(n)).expect("what was put");
                    assert_eq!(put, &self.log[seq.0 as usize - 1], "what was put is what is stored");
                }
            }
            Message::Reject(reject) if !end.is_wild => {
                assert!(
                    end.answered.insert(reject.number) && reject.number < end.put.len() as u64,
                    "one answer"
                );
            }
            Message::Ephemeral(m) => {
                assert!(self.readable.get(&end.device).is_some_and(|r| r.contains(&m.space)));
                // Which may be gone by now.
                assert!(
                    m.device != end.device || self.opened[&end.device] > 1,
                    "to oneself from another connection only"
                );
            }
            Message::Have(have) => {
                let readable = self.readable.get(&end.device);
                assert!(have.chains.is_empty() || readable.is_some_and(|r| r.contains(&have.space)));
            }
            _ => {}
        }
    }

    fn effects_later(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Wake { .. } => {}
                Effect::Close { peer } => {
                    if let Some(end) = self.ends.get_mut(&peer.0) {
                        end.closed = true;
                    }
                }
                effect => self.held.push_back(effect),
            }
        }
        assert!(self.held.len() <= 4_096, "{} effects wait", self.held.len());
    }

    /// Answers one thing that the hub waits for: not always the oldest, except appends, which a log takes in order.
    fn answer(&mut self, feed: &mut Feed<'_>) {
        if self.held.is_empty() {
            return;
        }
        let chosen = feed.below(self.held.len());
        let is_append = |effect: &Effect| matches!(effect, Effect::Append { .. });
        let chosen = if is_append(&self.held[chosen]) {
            self.held.iter().position(is_append).expect("there is one")
        } else {
            chosen
        };
        let fails = feed.byte() == 255;
        match self.held.remove(chosen).expect("one of them") {
            Effect::Verify { token, items } => {
                let results = items.into_iter().map(|(raw, key)| raw.verify(&key)).collect();
                self.hub.handle_verified(self.now, token, results);
            }
            Effect::Append { token, items } => {
                self.failed |= fails;
                if self.failed {
                    // A relay stops then: nothing is durable any more.
                    self.hub.handle_appended(self.now, token, Err(()));
                } else {
                    let first = Seq(self.log.len() as u64 + 1);
                    self.append(&items);
                    self.hub.handle_appended(self.now, token, Ok(first));
                }
            }
            Effect::Read { token, seqs } => {
                assert!(seqs.windows(2).all(|two| two[0] < two[1]), "reads are in order");
                let read =
                    |seq: &Seq| (*seq, self.log.get(seq.0 as usize - 1).expect("what is there").clone());
                let items = if fails { Err(()) } else { Ok(seqs.iter().map(read).collect()) };
                self.hub.handle_read(self.now, token, items);
            }
            Effect::Load { token, space } => {
                let parsed = self.log.iter().map(|bytes| RawItem::parse(bytes.clone()).expect("an item"));
                let items: Vec<(Seq, RawItem)> = (1..).map(Seq).zip(parsed).collect();
                let loaded = Loaded::of_items(space, items.iter().map(|(seq, item)| (*seq, item)));
                self.hub.handle_loaded(self.now, token, if fails { Err(()) } else { Ok(loaded) });
            }
            Effect::Wake { .. } | Effect::Close { .. } | Effect::Remember { .. } => {}
        }
        self.effects_later();
    }

    fn disconnect(&mut self, id: u64) {
        self.ends.remove(&id);
        self.hub.handle_disconnected(self.now, PeerId(id));
    }

    /// An item that one of the four signs now, to go on with its chain or not.
    fn forged(&self, feed: &mut Feed<'_>) -> Bytes {
        let names = &fixture().names;
        let mut phone = Phone::new(1);
        phone.key = feed.one_of(&fixture().keys).clone();
        let (space, doc) =
            (*feed.one_of(&names.spaces), *feed.one_of(&[draft(), minutes(), secret(), DocId([1; 16])]));
        let chain = |n, prev| Place::Chain { n, prev };
        // Behind the newest of its chain that is in the log.
        let newest = self.log.iter().rev().filter_map(|b| RawItem::parse(b.clone()).ok()).find(|raw| {
            let header = raw.header();
            header.author.device == phone.key.public().id() && header.space == space && header.n().is_some()
        });
        let next = newest.map_or(chain(1, [0; 16]), |raw| {
            chain(raw.header().n().unwrap_or(0).saturating_add(1), raw.id().link())
        });
        let place = match feed.below(8) {
            0 => chain(feed.number() as u32, [feed.byte(); 16]),
            _ => next,
        };
        let payload = feed.long_bytes();
        let (kind, place, doc) = match feed.below(5) {
            0 | 1 => (Kind::Charter, place, DocId::default()),
            2 => {
                let covers =
                    dinh_proto::ids::Cursor { epoch: *feed.one_of(&names.epochs), seq: Seq(feed.number()) };
                (Kind::Snapshot, Place::Covers(covers), doc)
            }
            _ => (Kind::Run, place, doc),
        };
        if matches!(place, Place::Chain { n: 0 | u32::MAX, .. }) || payload.is_empty() {
            return Bytes::new();
        }
        phone.sign_at(kind, space, doc, place, payload).bytes().clone()
    }
}

fn run(feed: &mut Feed<'_>) {
    let mut world = World::new(feed);
    let names = &fixture().names;
    while !feed.is_empty() {
        match feed.below(16) {
            0 | 1 => {
                world.connect(feed.below(4));
                let id = world.next - 1;
                if world.ends.contains_key(&id) && feed.byte() < 250 {
                    world.say(id, &Message::Hello(names.hello(feed)));
                    world.effects_later();
                    if feed.flag() {
                        world.read(id, 4);
                    }
                }
            }
            2..6 => {
                if let Some(id) = world.pick(feed) {
                    let message = names.message(feed);
                    world.say(id, &message);
                }
            }
            6 => {
                if let Some(id) = world.pick(feed) {
                    let items: Vec<_> = (0..=feed.below(3))
                        .map(|_| dinh_proto::wire::PutItem {
                            bridged: feed.flag(),
                            bytes: world.forged(feed),
                        })
                        .collect();
                    world.say(id, &Message::Put(dinh_proto::wire::Put { items }));
                }
            }
            7 => {
                if let Some(id) = world.pick(feed) {
                    world.ends.get_mut(&id).expect("picked").is_wild = true;
                    world.send(id, feed.long_bytes());
                }
            }
            8 => {
                if let Some(id) = world.pick(feed) {
                    let frame = Bytes::copy_from_slice(feed.bytes());
                    world.hub.handle_frame(world.now, PeerId(id), frame);
                }
            }
            9 | 10 => {
                if let Some(id) = world.pick(feed) {
                    let frames = 1 + feed.below(32);
                    world.read(id, frames);
                    if world.ends.get(&id).is_some_and(|end| end.closed) {
                        world.disconnect(id);
                    }
                }
            }
            11 | 12 => {
                for _ in 0..=feed.below(8) {
                    world.answer(feed);
                }
            }
            13 => {
                world.now = world.now
                    + Duration::from_millis(feed.number().min(7 * 86_400_000) << (feed.byte() & 15));
                world.hub.handle_timeout(world.now);
            }
            14 => {
                if let Some(id) = world.pick(feed) {
                    world.disconnect(id);
                }
            }
            _ => match feed.byte() {
                255 => world.hub.handle_shutdown(world.now),
                250..255 => {
                    if let Some(id) = world.pick(feed) {
                        world.hub.turn_away(world.now, PeerId(id));
                    }
                }
                _ => {}
            },
        }
        world.effects_later();
    }
    // What is owed is answered, and the hub comes to rest.
    let mut rest = Feed(&[]);
    for _ in 0..10_000 {
        if world.held.is_empty() {
            break;
        }
        world.answer(&mut rest);
    }
    let ids: Vec<u64> = world.ends.keys().copied().collect();
    for id in ids {
        world.read(id, 1_000);
        world.disconnect(id);
        world.effects_later();
    }
    let stats = world.hub.stats();
    assert_eq!((stats.connections, stats.connected), (0, stats.disconnected), "nothing stays of who is gone");
    assert!(world.failed || stats.head <= world.log.len() as u64);
}

fuzz_target!(init: { fixture(); }, |data: &[u8]| {
    within(MEMORY_MAX, || run(&mut Feed(data)));
});
