//! Both ends of a conversation: two honest ones over a link that delays and breaks, and each of them against a peer that says
//! anything in any order.
#![no_main]

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use dinh_fuzz::{Feed, Names, member, within};
use dinh_proto::channel::{Binding, Channel};
use dinh_proto::error::{CloseCode, PeerMisbehaved, RejectCode, SessionError};
use dinh_proto::ids::{Author, ItemId, LogEpoch, Seq, SessionId, SpaceId};
use dinh_proto::item::SpaceSum;
use dinh_proto::keys::RelayKey;
use dinh_proto::limits;
use dinh_proto::session::{DeviceEvent, DeviceSession, RelayEvent, RelaySession};
use dinh_proto::time::Timestamp;
use dinh_proto::wire::{CaughtUp, Ephemeral, Fetch, Hello, Items, Scope, Welcome, write_message};
use libfuzzer_sys::fuzz_target;

const BINDING: Binding = Binding([1; 32]);
/// What one end may hold because of its peer, beyond what an input itself takes: what waits to be sent, the credit, a message and a
/// frame that are not whole yet, and as much again while buffers grow.
const MEMORY_MAX: usize =
    2 * (limits::OUTGOING_BYTES_MAX + limits::CREDIT_BYTES as usize + 2 * limits::MESSAGE_BYTES_MAX);

fn relay_key() -> RelayKey {
    RelayKey::from_seed(&[2; 32])
}

fn space(n: u8) -> SpaceId {
    SpaceId([n; 16])
}

fn names() -> Names {
    let author = |n| Author { device: member().public().id(), session: SessionId([n; 8]) };
    Names {
        spaces: (0..4).map(space).collect(),
        authors: (0..4).map(author).collect(),
        epochs: vec![LogEpoch([9; 8])],
        items: [300, 3_000, 30_000].map(|n| Bytes::from(vec![7; n])).into(),
        ids: (0..=255).map(|n| ItemId([n; 32])).collect(),
    }
}

fn welcome(reconcile: bool) -> Welcome {
    Welcome { epoch: LogEpoch([9; 8]), head: Seq(5), reconcile, replicas: 0, backlog: 0, time_ms: 0 }
}

/// How the conversation of two honest ends may end.
fn is_honest_end(error: &SessionError) -> bool {
    match error {
        SessionError::TimedOut | SessionError::ClosedHere(_) => true,
        SessionError::ClosedByPeer { code, .. } => {
            matches!(code, CloseCode::Normal | CloseCode::GoingAway | CloseCode::TimedOut)
        }
        _ => false,
    }
}

/// The device's end, and what it must not lose, repeat or make up.
struct Device {
    session: DeviceSession,
    put: Vec<ItemId>,
    answered: BTreeSet<ItemId>,
    asked: BTreeSet<SpaceId>,
    cursor: Seq,
    welcomed: bool,
    /// Credit not given back.
    taken: VecDeque<usize>,
    /// Places of the log received.
    places: Vec<Seq>,
    end: Option<SessionError>,
}

impl Device {
    fn new(hello: Hello, now: Timestamp) -> Self {
        let asked = hello.backfills.iter().map(|f| f.space).collect();
        let cursor = hello.cursor.map_or(Seq(0), |c| c.seq);
        let session = DeviceSession::new(&member(), &relay_key().public(), BINDING, [3; 32], hello, now);
        let (put, answered, places) = (Vec::new(), BTreeSet::new(), Vec::new());
        Self {
            session,
            put,
            answered,
            asked,
            cursor,
            welcomed: false,
            taken: VecDeque::new(),
            places,
            end: None,
        }
    }

    fn poll(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(self.end.is_none(), "nothing follows the end");
            match event {
                DeviceEvent::Closed(error) => self.end = Some(error),
                DeviceEvent::Welcomed(welcome) => {
                    assert!(!std::mem::replace(&mut self.welcomed, true), "one welcome");
                    if welcome.reconcile {
                        self.cursor = welcome.head;
                    }
                }
                event => {
                    assert!(self.welcomed, "nothing comes before the welcome: {event:?}");
                    self.take(event);
                }
            }
        }
    }

    fn take(&mut self, event: DeviceEvent) {
        match event {
            DeviceEvent::Items { items, bytes } => {
                match items.scope {
                    Scope::Log => {
                        assert!(items.items.first().is_none_or(|(seq, _)| *seq > self.cursor));
                        assert!(items.upto >= self.cursor, "the cursor goes forward");
                        self.cursor = items.upto;
                        self.places.extend(items.items.iter().map(|(seq, _)| *seq));
                    }
                    Scope::Backfill(space) => assert!(self.asked.contains(&space), "nobody asked for it"),
                    Scope::Wanted => {}
                }
                self.taken.push_back(bytes);
                let held: usize = self.taken.iter().sum();
                assert!(
                    held <= limits::CREDIT_BYTES as usize + limits::MESSAGE_BYTES_MAX + 8,
                    "{held} bytes on credit"
                );
            }
            DeviceEvent::CaughtUp(caught_up) => {
                assert!(caught_up.seq >= self.cursor, "the cursor goes forward");
                self.cursor = caught_up.seq;
            }
            DeviceEvent::Acked { id, .. } | DeviceEvent::Rejected { id, .. } => {
                assert!(
                    self.put.contains(&id) && self.answered.insert(id),
                    "answered once, and what was put"
                );
            }
            _ => {}
        }
    }

    /// What an app does. False if there was nothing to do.
    fn act(&mut self, feed: &mut Feed<'_>, names: &Names, now: Timestamp) {
        match feed.below(9) {
            0..3 if self.session.can_put() => {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&(self.put.len() as u64).to_le_bytes());
                self.put.push(ItemId(id));
                self.session.put(ItemId(id), feed.one_of(&names.items).clone(), feed.flag());
            }
            3 | 4 => {
                if let Some(bytes) = self.taken.pop_front() {
                    self.session.release(bytes);
                }
            }
            5 if self.session.is_flowing() => {
                let space = *feed.one_of(&names.spaces);
                self.asked.insert(space);
                self.session.fetch(Fetch { space, from: Seq(0), to: Seq(feed.number()) });
            }
            6 if self.session.is_flowing() => self.session.reconcile(vec![*feed.one_of(&names.spaces)]),
            7 => self.session.ephemeral(Ephemeral {
                space: space(1),
                device: member().public().id(),
                payload: Bytes::from(feed.repeated(limits::EPHEMERAL_BYTES_MAX)),
            }),
            8 if feed.byte() == 255 => self.session.close(CloseCode::Normal),
            8 => self.session.handle_resumed(now),
            _ => {}
        }
    }
}

/// The relay's end.
struct Relay {
    session: RelaySession,
    hello: bool,
    welcomed: bool,
    /// Numbers that were not answered.
    open: VecDeque<u64>,
    next: u64,
    taken: VecDeque<usize>,
    fetched: Vec<SpaceId>,
    seq: Seq,
    end: Option<SessionError>,
}

impl Relay {
    fn new(now: Timestamp) -> Self {
        let session = RelaySession::new(&relay_key(), BINDING, [4; 32], now);
        let (open, taken) = (VecDeque::new(), VecDeque::new());
        let fetched = Vec::new();
        Self { session, hello: false, welcomed: false, open, next: 0, taken, fetched, seq: Seq(5), end: None }
    }

    fn poll(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(self.end.is_none(), "nothing follows the end");
            match event {
                RelayEvent::Closed(error) => self.end = Some(error),
                RelayEvent::Hello { device, .. } => {
                    assert!(!std::mem::replace(&mut self.hello, true), "one greeting");
                    assert_eq!(device, member().public().id(), "who proved its key");
                }
                event => {
                    assert!(self.welcomed, "nothing is done before the welcome: {event:?}");
                    self.take(event);
                }
            }
        }
    }

    fn take(&mut self, event: RelayEvent) {
        match event {
            RelayEvent::Put { first, items, bytes } => {
                assert_eq!(first, self.next, "numbered without a gap");
                assert!(items.len() <= limits::ITEMS_PER_MESSAGE_MAX);
                self.open.extend(first..first + items.len() as u64);
                self.next += items.len() as u64;
                self.taken.push_back(bytes);
                let held: usize = self.taken.iter().sum();
                assert!(
                    held <= limits::CREDIT_BYTES as usize + limits::MESSAGE_BYTES_MAX + 8,
                    "{held} bytes on credit"
                );
            }
            RelayEvent::Fetch(fetch) => self.fetched.push(fetch.space),
            RelayEvent::Ephemeral(m) => assert!(m.payload.len() <= limits::EPHEMERAL_BYTES_MAX),
            _ => {}
        }
    }

    fn act(&mut self, feed: &mut Feed<'_>, names: &Names) {
        if self.hello && !self.welcomed {
            self.welcomed = true;
            self.session.welcome(welcome(feed.flag()));
        }
        if !self.welcomed {
            return;
        }
        match feed.below(8) {
            0 | 1 => {
                if let Some(number) = self.open.pop_front() {
                    match feed.below(4) {
                        0 => {
                            let code = *feed.one_of(RejectCode::ALL);
                            self.session.reject(number, ItemId::default(), code, Seq(number + 1), "no");
                        }
                        _ => self.session.ack(number, Seq(number + 1)),
                    }
                }
            }
            2 if self.session.can_send_items() => {
                let scope = match self.fetched.last() {
                    Some(space) if feed.flag() => Scope::Backfill(*space),
                    _ => Scope::Log,
                };
                let first = Seq(self.seq.0 + 1);
                if scope == Scope::Log {
                    self.seq.0 += 1 + feed.below(3) as u64;
                }
                let items = vec![(first, feed.one_of(&names.items).clone())];
                self.session.items(Items { scope, upto: self.seq.max(first), items });
                self.seq = self.seq.max(first);
            }
            3 => self.session.caught_up(CaughtUp { seq: self.seq, sums: vec![(space(1), SpaceSum(1))] }),
            4 => {
                if let Some(bytes) = self.taken.pop_front() {
                    self.session.release(bytes);
                }
            }
            5 => self.session.ephemeral(Ephemeral {
                space: space(1),
                device: member().public().id(),
                payload: Bytes::from_static(b"here"),
            }),
            6 if feed.byte() == 255 => self.session.close(CloseCode::GoingAway, 5),
            _ => {}
        }
    }
}

/// Two honest ends never blame each other, whatever the link does and in whatever order things happen.
fn honest(feed: &mut Feed<'_>) {
    let names = names();
    let mut now = Timestamp(0);
    let mut hello = Hello::default();
    if feed.byte() == 255 {
        let n = u128::from(feed.word() % (limits::SPACES_PER_MESSAGE_MAX as u16));
        let fetch = |i: u128| Fetch { space: SpaceId(i.to_be_bytes()), from: Seq(0), to: Seq(9) };
        hello.backfills = (0..n).map(fetch).collect();
    }
    let (mut device, mut relay) = (Device::new(hello, now), Relay::new(now));
    let (mut up, mut down): (VecDeque<Vec<u8>>, VecDeque<Vec<u8>>) = Default::default();
    let mut quiet = false;
    while !feed.is_empty() || !quiet {
        let step = if feed.is_empty() { 255 } else { feed.byte() };
        quiet = step == 255;
        match step % 8 {
            _ if step == 255 => {
                // Everything that is under way arrives.
                let mut frame = Vec::new();
                while device.session.poll_transmit(&mut frame) {
                    up.push_back(std::mem::take(&mut frame));
                }
                while relay.session.poll_transmit(&mut frame) {
                    down.push_back(std::mem::take(&mut frame));
                }
                quiet = up.is_empty() && down.is_empty();
                up.drain(..).for_each(|frame| relay.session.handle_frame(now, &frame.into()));
                down.drain(..).for_each(|frame| device.session.handle_frame(now, &frame));
            }
            0 | 1 => device.act(feed, &names, now),
            2 | 3 => relay.act(feed, &names),
            4 => {
                let mut frame = Vec::new();
                if device.session.poll_transmit(&mut frame) {
                    up.push_back(frame);
                }
                let mut frame = Vec::new();
                if relay.session.poll_transmit(&mut frame) {
                    down.push_back(frame);
                }
            }
            5 => up.pop_front().into_iter().for_each(|frame| relay.session.handle_frame(now, &frame.into())),
            6 => down.pop_front().into_iter().for_each(|frame| device.session.handle_frame(now, &frame)),
            _ => {
                now = now + Duration::from_secs(u64::from(feed.byte() & 31));
                device.session.handle_timeout(now);
                relay.session.handle_timeout(now);
            }
        }
        device.poll();
        relay.poll();
    }
    for end in [&device.end, &relay.end].into_iter().flatten() {
        assert!(is_honest_end(end), "{end:?}");
    }
    if device.end.is_none() && relay.end.is_none() {
        assert!(relay.next <= device.put.len() as u64);
        assert!(device.places.windows(2).all(|two| two[0] < two[1]), "in order, once");
        let seen = device.places.last().copied().unwrap_or_default();
        assert!(seen <= relay.seq, "nothing is made up");
        let unanswered = device.put.len() - device.answered.len();
        assert!(unanswered >= relay.open.len(), "what is open there is open here");
    }
    for end in [device.session.poll_timeout().is_none(), relay.session.poll_timeout().is_none()] {
        assert!(!end || device.end.is_some() || relay.end.is_some(), "whoever lives has a timer");
    }
}

/// What a peer says that keeps to nothing: plain bytes, which the channel then carries.
fn said(feed: &mut Feed<'_>, names: &Names) -> Vec<u8> {
    let mut plain = Vec::new();
    for _ in 0..=feed.below(4) {
        match feed.below(8) {
            0 => plain.extend_from_slice(feed.bytes()),
            1 => plain.extend(feed.repeated(100_000)),
            _ => write_message(&names.message(feed), &mut plain),
        }
    }
    plain
}

/// Frames of at most what fits, so that a long message spans several.
fn frames(channel: &mut Channel, plain: &[u8], mut to: impl FnMut(Vec<u8>)) {
    let mut rest = plain;
    while channel.can_seal() && !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(channel.room()));
        let mut frame = Vec::new();
        channel.seal(now, &mut frame);
        to(frame);
        rest = later;
        if !channel.can_seal() {
            break;
        }
    }
}

/// All that an end has to say, which its peer did not read until now.
fn drained(mut poll: impl FnMut(&mut Vec<u8>) -> bool) -> Vec<Vec<u8>> {
    let (mut frames, mut frame, mut bytes) = (Vec::new(), Vec::new(), 0);
    while poll(&mut frame) {
        bytes += frame.len();
        assert!(frame.len() <= limits::FRAME_BYTES_MAX, "a frame of {} bytes", frame.len());
        assert!(bytes <= 2 * limits::OUTGOING_BYTES_MAX, "what waits is bounded");
        frames.push(std::mem::take(&mut frame));
    }
    frames
}

/// The relay's end against a device of any making, which holds its key.
fn hostile_device(feed: &mut Feed<'_>) {
    let names = names();
    let mut now = Timestamp(0);
    let mut relay = Relay::new(now);
    let mut channel = Channel::device(&member(), &relay_key().public(), BINDING, [3; 32]);
    let mut first = Vec::new();
    // It cannot do more before the relay's answer than greet; the greeting may span frames.
    let mut greeting = Vec::new();
    write_message(&dinh_proto::wire::Message::Hello(names.hello(feed)), &mut greeting);
    if feed.byte() == 255 {
        greeting = said(feed, &names);
    }
    greeting.truncate(channel.room());
    channel.seal(&greeting, &mut first);
    relay.session.handle_frame(now, &first.into());
    while !feed.is_empty() {
        match feed.below(8) {
            0..3 => {
                let plain = said(feed, &names);
                frames(&mut channel, &plain, |frame| relay.session.handle_frame(now, &frame.into()));
            }
            3 => {
                let mut frame = feed.bytes().to_vec();
                if feed.flag() && channel.can_seal() {
                    let mut sealed = Vec::new();
                    channel.seal(b"changed on its way", &mut sealed);
                    frame = feed.spoilt(&sealed);
                }
                relay.session.handle_frame(now, &frame.into());
            }
            4 | 5 => relay.act(feed, &names),
            6 => {
                for frame in drained(|frame| relay.session.poll_transmit(frame)) {
                    let _ = channel.open(&frame);
                }
            }
            _ => {
                now = now + Duration::from_millis(feed.number().min(100_000));
                relay.session.handle_timeout(now);
            }
        }
        relay.poll();
        assert_eq!(relay.session.is_ended(), relay.end.is_some());
        assert_eq!(relay.session.poll_timeout().is_none(), relay.end.is_some());
    }
    drained(|frame| relay.session.poll_transmit(frame));
}

/// The device's end against a relay of any making, which has the key that the device pinned.
fn hostile_relay(feed: &mut Feed<'_>) {
    let names = names();
    let mut now = Timestamp(0);
    let mut device = Device::new(names.hello(feed), now);
    let mut channel = Channel::relay(&relay_key(), BINDING, [4; 32]);
    for frame in drained(|frame| device.session.poll_transmit(frame)) {
        channel.open(&frame).expect("an honest frame");
    }
    if feed.byte() < 240 {
        let mut plain = Vec::new();
        let honest = dinh_proto::wire::Message::Welcome(welcome(feed.flag()));
        write_message(&honest, &mut plain);
        frames(&mut channel, &plain, |frame| device.session.handle_frame(now, &frame));
    }
    device.poll();
    while !feed.is_empty() {
        match feed.below(8) {
            0..3 => {
                let plain = said(feed, &names);
                frames(&mut channel, &plain, |frame| device.session.handle_frame(now, &frame));
            }
            3 => device.session.handle_frame(now, feed.bytes()),
            4 | 5 => device.act(feed, &names, now),
            6 => {
                for frame in drained(|frame| device.session.poll_transmit(frame)) {
                    let _ = channel.open(&frame);
                }
            }
            _ => {
                now = now + Duration::from_millis(feed.number().min(100_000));
                device.session.handle_timeout(now);
            }
        }
        device.poll();
        assert_eq!(device.session.poll_timeout().is_none(), device.end.is_some());
        if let Some(SessionError::PeerMisbehaved(PeerMisbehaved::AsksTooMuch)) = device.end {
            assert!(device.session.poll_timeout().is_none());
        }
    }
    drained(|frame| device.session.poll_transmit(frame));
}

fuzz_target!(|data: &[u8]| {
    let mut feed = Feed(data);
    within(MEMORY_MAX, || match feed.below(3) {
        0 => honest(&mut feed),
        1 => hostile_device(&mut feed),
        _ => hostile_relay(&mut feed),
    });
});
