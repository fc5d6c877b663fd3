//! Both ends talk to each other in virtual time. What the hub and the replica add is tested where they are.

mod channel;
mod hall;
mod random;

use std::collections::VecDeque;
use std::time::Duration;

use super::{DeviceEvent, DeviceSession, RelayEvent, RelaySession};
use crate::channel::{Binding, Channel};
use crate::error::{CloseCode, PeerMisbehaved, RejectCode, SessionError};
use crate::ids::{Cursor, DeviceId, ItemId, LogEpoch, Seq, SpaceId};
use crate::item::{ITEM_OVERHEAD_BYTES, SpaceSum};
use crate::keys::{DeviceKey, RelayKey};
use crate::limits;
use crate::time::Timestamp;
use crate::wire::{
    Ack, CaughtUp, ChainSet, Ephemeral, Fetch, Hello, Items, Message, Put, PutItem, Reject, Scope, Welcome,
    write_message,
};
use bytes::Bytes;

const EPOCH: LogEpoch = LogEpoch([7; 8]);
const BINDING: Binding = Binding([3; 32]);

fn key() -> DeviceKey {
    DeviceKey::from_seed(&[1; 32])
}

fn relay_key() -> RelayKey {
    RelayKey::from_seed(&[2; 32])
}

fn device_channel() -> Channel {
    Channel::device(&key(), &relay_key().public(), BINDING, [4; 32])
}

fn relay_channel() -> Channel {
    Channel::relay(&relay_key(), BINDING, [5; 32])
}

fn device_session(hello: Hello) -> DeviceSession {
    DeviceSession::new(&key(), &relay_key().public(), BINDING, [4; 32], hello, Timestamp(0))
}

fn relay_session() -> RelaySession {
    RelaySession::new(&relay_key(), BINDING, [5; 32], Timestamp(0))
}

fn wire(messages: &[Message]) -> Vec<u8> {
    let mut plain = Vec::new();
    messages.iter().for_each(|m| write_message(m, &mut plain));
    plain
}

fn sealed(channel: &mut Channel, plain: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    channel.seal(plain, &mut frame);
    frame
}

fn welcome(head: u64) -> Welcome {
    Welcome {
        epoch: EPOCH,
        head: Seq(head),
        reconcile: false,
        replicas: 0,
        backlog: 0,
        time_ms: 1_760_000_000_000,
    }
}

fn hello(seq: u64) -> Hello {
    Hello { cursor: Some(Cursor { epoch: EPOCH, seq: Seq(seq) }), ..Hello::default() }
}

/// Bytes as long as an item can be short, told apart by `n`.
fn blob(n: u64, len: usize) -> Bytes {
    let mut bytes = vec![n as u8; len];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes.into()
}

fn items(scope: Scope, from: u64, len: usize) -> Items {
    Items { scope, upto: Seq(from), items: vec![(Seq(from), blob(from, len))] }
}

/// Two sessions and the frames between them.
struct Pair {
    device: DeviceSession,
    relay: RelaySession,
    now: Timestamp,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    /// Every frame so far, with whether it is the device's.
    history: Vec<(bool, Vec<u8>)>,
    /// Frames and bytes, device to relay and back.
    sent: [(usize, usize); 2],
}

impl Pair {
    fn new(hello: Hello) -> Self {
        Self {
            device: device_session(hello),
            relay: relay_session(),
            now: Timestamp(0),
            up: VecDeque::new(),
            down: VecDeque::new(),
            history: Vec::new(),
            sent: [(0, 0); 2],
        }
    }

    /// A pair in which items flow.
    fn flowing() -> Self {
        let mut pair = Self::new(Hello::default());
        pair.settle();
        assert!(matches!(pair.relay.poll_event(), Some(RelayEvent::Hello { .. })));
        pair.relay.welcome(welcome(0));
        pair.settle();
        assert_eq!(pair.device.poll_event(), Some(DeviceEvent::Welcomed(welcome(0))));
        pair.sent = [(0, 0); 2];
        pair
    }

    fn transmit(&mut self) -> bool {
        let mut frame = Vec::new();
        let device = self.device.poll_transmit(&mut frame);
        if device {
            self.count(0, &frame);
            self.up.push_back(std::mem::take(&mut frame));
        }
        let relay = self.relay.poll_transmit(&mut frame);
        if relay {
            self.count(1, &frame);
            self.down.push_back(frame);
        }
        device || relay
    }

    fn count(&mut self, direction: usize, frame: &[u8]) {
        assert!(frame.len() <= limits::FRAME_BYTES_MAX);
        self.sent[direction].0 += 1;
        self.sent[direction].1 += frame.len();
        self.history.push((direction == 0, frame.to_vec()));
    }

    /// The device's and the relay's channel once more, as they are now: for frames of one's own making.
    fn twins(&self) -> (Channel, Channel) {
        let (mut device, mut relay) = (device_channel(), relay_channel());
        for (up, frame) in &self.history {
            let (from, to) = if *up { (&mut device, &mut relay) } else { (&mut relay, &mut device) };
            let plain = to.open(frame).unwrap();
            assert_eq!(&sealed(from, &plain), frame);
        }
        (device, relay)
    }

    /// The relay hears these from the device's place.
    fn say_up(&mut self, messages: &[Message]) {
        let frame = sealed(&mut self.twins().0, &wire(messages));
        self.relay.handle_frame(self.now, &frame.into());
    }

    /// The device hears these from the relay's place.
    fn say_down(&mut self, messages: &[Message]) {
        let frame = sealed(&mut self.twins().1, &wire(messages));
        self.device.handle_frame(self.now, &frame);
    }

    fn deliver_up(&mut self) {
        if let Some(frame) = self.up.pop_front() {
            self.relay.handle_frame(self.now, &frame.into());
        }
    }

    fn deliver_down(&mut self) {
        if let Some(frame) = self.down.pop_front() {
            self.device.handle_frame(self.now, &frame);
        }
    }

    /// Carries frames until both ends are silent.
    fn settle(&mut self) {
        while self.transmit() || !self.up.is_empty() || !self.down.is_empty() {
            self.deliver_up();
            self.deliver_down();
        }
    }

    /// Fires both ends' timers in order until `until`, carrying frames if `connected`.
    fn pass_time(&mut self, until: Duration, connected: bool) {
        let until = Timestamp(0) + until;
        loop {
            let next = [self.device.poll_timeout(), self.relay.poll_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(next);
            self.device.handle_timeout(self.now);
            self.relay.handle_timeout(self.now);
            if connected {
                self.settle();
            } else {
                while self.transmit() {}
            }
        }
        self.now = until;
    }

    fn device_end(&mut self) -> SessionError {
        loop {
            match self.device.poll_event().expect("the device's end closes") {
                DeviceEvent::Closed(error) => return error,
                _ => continue,
            }
        }
    }

    fn relay_end(&mut self) -> SessionError {
        loop {
            match self.relay.poll_event().expect("the relay's end closes") {
                RelayEvent::Closed(error) => return error,
                _ => continue,
            }
        }
    }
}

fn closed(code: CloseCode) -> impl Fn(&SessionError) -> bool {
    move |error| matches!(error, SessionError::ClosedByPeer { code: c, .. } if *c == code)
}

#[test]
fn an_idle_reconnect_is_one_round_trip_below_512_bytes_whatever_is_followed() {
    // Neither end names a document or a space: only the number of digits of the places in the log can differ.
    // 1, 500 and 100,000 documents in 20 spaces, with one or a thousand items each.
    let mut totals = Vec::new();
    for head in [1, 500, 100_000, 500_000, 100_000_000, u64::MAX] {
        let mut pair = Pair::new(hello(head));
        assert!(pair.transmit());
        pair.deliver_up();
        pair.relay.welcome(welcome(head));
        pair.relay.caught_up(CaughtUp { seq: Seq(head), sums: Vec::new() });
        pair.settle();
        let [up, down] = pair.sent;
        println!("head {head}: up {up:?}, down {down:?} (frames, bytes)");
        assert_eq!((up.0, down.0), (1, 1), "one frame each way");
        // The place is in `Hello`, `Welcome` and `CaughtUp`; everything else is fixed.
        assert_eq!(up.1 + down.1, 253 + 3 * crate::codec::uleb_len(head));
        totals.push(up.1 + down.1);
        assert!(matches!(pair.relay.poll_event(), Some(RelayEvent::Hello { .. })));
        assert!(matches!(pair.device.poll_event(), Some(DeviceEvent::Welcomed(_))));
        assert!(matches!(pair.device.poll_event(), Some(DeviceEvent::CaughtUp(_))));
        assert_eq!(pair.device.poll_event(), None);
    }
    assert!(totals.iter().all(|total| *total <= 512), "{totals:?}");
}

#[test]
fn credit_stops_the_relay_and_returned_credit_lets_it_go_on() {
    let mut pair = Pair::flowing();
    let len = 10_000;
    let mut seq = 0;
    let mut fill = |pair: &mut Pair| {
        let before = seq;
        while pair.relay.can_send_items() {
            seq += 1;
            pair.relay.items(items(Scope::Log, seq, len));
            pair.settle();
        }
        seq - before
    };
    let sent = fill(&mut pair);
    // One message may overdraw the credit.
    let most = limits::CREDIT_BYTES / len as u64 + 1;
    assert!((most - 1..=most).contains(&sent), "{sent}");
    pair.settle();
    assert!(!pair.relay.can_send_items());
    let mut taken = 0;
    while let Some(DeviceEvent::Items { bytes, .. }) = pair.device.poll_event() {
        pair.device.release(bytes);
        taken += 1;
    }
    assert_eq!(taken, sent);
    pair.settle();
    assert!(fill(&mut pair) > 0);
    assert!(!pair.relay.is_ended());
}

#[test]
fn credit_stops_the_device_and_nothing_that_was_given_to_it_is_lost() {
    let mut pair = Pair::flowing();
    let mut given = 0;
    let mut got = 0;
    for _ in 0..5 {
        let before = given;
        while pair.device.can_put() {
            given += 1;
            pair.device.put(ItemId([given as u8; 32]), blob(given, 30_000), false);
            pair.settle();
        }
        assert!(given > before, "credit came back");
        while let Some(RelayEvent::Put { first, items, bytes }) = pair.relay.poll_event() {
            assert_eq!(first, got);
            for item in items {
                got += 1;
                assert_eq!(item.bytes, blob(got, 30_000));
                pair.relay.ack(got - 1, Seq(got));
            }
            pair.relay.release(bytes);
        }
        pair.settle();
        while pair.device.poll_event().is_some() {}
    }
    assert!(!pair.device.can_put() || got == given);
    assert!(got as usize * 30_000 > 3 * limits::CREDIT_BYTES as usize);
}

#[test]
fn a_peer_that_ignores_its_credit_is_closed() {
    let mut pair = Pair::flowing();
    let put = Message::Put(Put { items: vec![PutItem { bridged: false, bytes: blob(1, 50_000) }] });
    let put = wire(&[put]);
    let (mut device, _) = pair.twins();
    for _ in 0..6 {
        pair.relay.handle_frame(pair.now, &sealed(&mut device, &put).into());
        assert!(!pair.relay.is_ended());
    }
    pair.relay.handle_frame(pair.now, &sealed(&mut device, &put).into());
    assert_eq!(pair.relay_end(), PeerMisbehaved::CreditExceeded.into());
    pair.settle();
    assert!(closed(CloseCode::Misbehaved)(&pair.device_end()));
    // Nor may it be given more than there is.
    let mut pair = Pair::flowing();
    pair.say_down(&[Message::Credit(1)]);
    assert_eq!(pair.device_end(), PeerMisbehaved::OutOfTurn("Credit").into());
}

#[test]
fn silence_is_probed_after_30_seconds_and_ends_after_75() {
    let mut pair = Pair::flowing();
    pair.pass_time(Duration::from_millis(29_999), true);
    assert_eq!(pair.sent, [(0, 0); 2]);
    pair.pass_time(Duration::from_secs(30), true);
    let [up, down] = pair.sent;
    // Both ask at the same moment and both answer: 2 bytes each, and a tag.
    assert_eq!((up, down), ((2, 36), (2, 36)));
    pair.pass_time(Duration::from_secs(3_600), true);
    assert!(pair.device.is_flowing() && pair.relay.is_flowing(), "an idle connection stays");

    let mut pair = Pair::flowing();
    pair.pass_time(Duration::from_millis(74_999), false);
    assert!(pair.device.is_flowing() && pair.relay.is_flowing());
    pair.pass_time(Duration::from_secs(75), false);
    assert_eq!(pair.device_end(), SessionError::TimedOut);
    assert_eq!(pair.relay_end(), SessionError::TimedOut);
}

#[test]
fn any_byte_counts_as_life() {
    let mut pair = Pair::flowing();
    for second in 1..20u64 {
        pair.pass_time(Duration::from_secs(second * 20), false);
        pair.device.ephemeral(Ephemeral {
            space: SpaceId([1; 16]),
            device: key().public().id(),
            payload: Bytes::from_static(b"here"),
        });
        while pair.transmit() {}
        while !pair.up.is_empty() {
            pair.deliver_up();
        }
        if second % 3 == 0 {
            // Of what the relay says only a Pong gets through now and then.
            while !pair.down.is_empty() {
                pair.deliver_down();
            }
        } else {
            pair.down.clear();
        }
    }
    assert!(pair.relay.is_flowing());
}

#[test]
fn a_greeting_that_is_not_answered_ends_after_20_seconds() {
    let mut pair = Pair::new(Hello::default());
    pair.pass_time(Duration::from_millis(19_999), false);
    assert!(!pair.relay.is_ended());
    pair.pass_time(limits::HANDSHAKE_TIMEOUT, false);
    assert_eq!(pair.device_end(), SessionError::TimedOut);
    assert_eq!(pair.relay_end(), SessionError::TimedOut);
}

#[test]
fn after_a_resume_the_device_asks_at_once() {
    let mut pair = Pair::flowing();
    pair.pass_time(Duration::from_secs(10), true);
    pair.device.handle_resumed(pair.now);
    pair.settle();
    assert_eq!(pair.sent, [(1, 18), (1, 18)]);
    assert!(pair.device.is_flowing());
    // After a long sleep there is nobody to ask any more.
    pair.now = Timestamp(0) + Duration::from_secs(3_600);
    pair.device.handle_resumed(pair.now);
    assert_eq!(pair.device_end(), SessionError::TimedOut);
}

#[test]
fn the_largest_item_spans_frames_and_shares_no_message_with_others() {
    let mut pair = Pair::flowing();
    let largest = ITEM_OVERHEAD_BYTES + limits::ITEM_PAYLOAD_BYTES_MAX;
    pair.device.put(ItemId([1; 32]), blob(1, limits::MESSAGE_FILL_BYTES - 1), false);
    pair.device.put(ItemId([2; 32]), blob(2, largest), false);
    let mut got = Vec::new();
    for _ in 0..4 {
        pair.settle();
        while let Some(event) = pair.relay.poll_event() {
            let RelayEvent::Put { items, bytes, .. } = event else { panic!("{event:?}") };
            assert_eq!(items.len(), 1);
            got.extend(items.into_iter().map(|i| i.bytes));
            pair.relay.release(bytes);
        }
    }
    assert_eq!(got, [blob(1, limits::MESSAGE_FILL_BYTES - 1), blob(2, largest)]);
    assert!(pair.sent[0].0 >= largest / limits::FRAME_PLAIN_BYTES_MAX);

    pair.relay.items(items(Scope::Log, 9, largest));
    pair.settle();
    let Some(DeviceEvent::Items { items, .. }) = pair.device.poll_event() else { panic!("no items") };
    assert_eq!(items.items[0].1.len(), largest);
}

#[test]
fn puts_are_numbered_over_the_connection_and_each_is_answered_once() {
    let offer = |n: u8| {
        let mut pair = Pair::flowing();
        for i in 0..n {
            pair.device.put(ItemId([i; 32]), blob(u64::from(i), 300), i == 1);
        }
        pair.settle();
        assert!(matches!(pair.relay.poll_event(), Some(RelayEvent::Put { first: 0, .. })));
        pair
    };
    let mut pair = offer(4);
    pair.relay.ack(2, Seq(30));
    pair.relay.ack(0, Seq(10));
    pair.relay.reject(1, ItemId([1; 32]), RejectCode::Gap, Seq(0), "why");
    pair.relay.reject(3, ItemId::default(), RejectCode::Duplicate, Seq(5), "");
    pair.settle();
    let mut answers: Vec<DeviceEvent> = std::iter::from_fn(|| pair.device.poll_event()).collect();
    answers.sort_by_key(|e| match e {
        DeviceEvent::Acked { id, .. } | DeviceEvent::Rejected { id, .. } => *id,
        _ => panic!("{e:?}"),
    });
    let acked = |n: u8, seq| DeviceEvent::Acked { id: ItemId([n; 32]), seq: Seq(seq) };
    let rejected =
        DeviceEvent::Rejected { id: ItemId([1; 32]), code: RejectCode::Gap, detail: "why".to_owned() };
    // A duplicate counts as an acknowledgement.
    assert_eq!(answers, [acked(0, 10), rejected, acked(2, 30), acked(3, 5)]);
    // A second Put goes on counting.
    pair.device.put(ItemId([9; 32]), blob(9, 300), false);
    pair.settle();
    assert!(matches!(pair.relay.poll_event(), Some(RelayEvent::Put { first: 4, .. })));

    let bad_ack = |act: fn(&mut RelaySession)| {
        let mut pair = offer(2);
        act(&mut pair.relay);
        pair.settle();
        assert_eq!(pair.device_end(), PeerMisbehaved::BadAck.into());
        assert!(closed(CloseCode::Misbehaved)(&pair.relay_end()));
    };
    bad_ack(|relay| relay.ack(2, Seq(1)));
    bad_ack(|relay| relay.reject(7, ItemId([0; 32]), RejectCode::Gap, Seq(0), ""));
    bad_ack(|relay| {
        relay.ack(0, Seq(1));
        relay.items(items(Scope::Wanted, 1, 300));
        relay.ack(0, Seq(1));
    });
    bad_ack(|relay| {
        relay.ack(1, Seq(1));
        relay.reject(1, ItemId([1; 32]), RejectCode::Fork, Seq(0), "");
    });
}

/// What a device of one's own making sends: the first frame, and frames after it.
fn raw_first(messages: &[Message]) -> Vec<u8> {
    sealed(&mut device_channel(), &wire(messages))
}

/// Takes the device's first frame and answers it with plain bytes of one's own making.
fn answer(device: &mut DeviceSession, messages: &[Message]) {
    let mut first = Vec::new();
    assert!(device.poll_transmit(&mut first));
    let mut relay = relay_channel();
    relay.open(&first).unwrap();
    device.handle_frame(Timestamp(0), &sealed(&mut relay, &wire(messages)));
}

#[test]
fn what_is_out_of_turn_closes_the_relay_s_end() {
    let space = SpaceId([1; 16]);
    let chains = || ChainSet { space, last: true, chains: Vec::new() };
    let hello = || Message::Hello(Hello::default());
    let put = || Message::Put(Put { items: Vec::new() });
    // Before Hello nothing but talk about the connection itself is allowed; before Welcome nothing else.
    for (message, before_hello) in [(put(), true), (Message::Reconcile(Vec::new()), true), (put(), false)] {
        let mut relay = relay_session();
        let name = message.name();
        let messages = if before_hello { vec![message] } else { vec![hello(), message] };
        relay.handle_frame(Timestamp(0), &raw_first(&messages).into());
        let mut last = None;
        while let Some(event) = relay.poll_event() {
            last = Some(event);
        }
        assert_eq!(last, Some(RelayEvent::Closed(PeerMisbehaved::OutOfTurn(name).into())));
    }
    let from_a_relay_only = [
        hello(),
        Message::Welcome(welcome(1)),
        Message::Items(items(Scope::Log, 1, 300)),
        Message::CaughtUp(CaughtUp { seq: Seq(1), sums: vec![(space, SpaceSum(1))] }),
        Message::Ack(Ack { puts: Vec::new() }),
        Message::Reject(Reject {
            number: 0,
            id: ItemId::default(),
            code: RejectCode::Gap,
            seq: Seq(0),
            detail: String::new(),
        }),
        Message::Have(chains()),
    ];
    for message in from_a_relay_only {
        let mut pair = Pair::flowing();
        pair.say_up(std::slice::from_ref(&message));
        assert_eq!(pair.relay_end(), PeerMisbehaved::OutOfTurn(message.name()).into());
    }
}

#[test]
fn what_is_out_of_turn_closes_the_device_s_end() {
    let space = SpaceId([1; 16]);
    let fetch = Fetch { space, from: Seq(0), to: Seq(1) };
    let backfill = || Message::Items(items(Scope::Backfill(space), 1, 300));
    let from_a_device_only = [
        Message::Hello(Hello::default()),
        Message::Welcome(welcome(1)),
        Message::Put(Put { items: Vec::new() }),
        Message::Want(ChainSet { space, last: true, chains: Vec::new() }),
        Message::Fetch(fetch),
        Message::Reconcile(Vec::new()),
    ];
    for message in from_a_device_only {
        let mut pair = Pair::flowing();
        pair.say_down(std::slice::from_ref(&message));
        assert_eq!(pair.device_end(), PeerMisbehaved::OutOfTurn(message.name()).into());
    }
    // A backfill that nobody asked for, and one that was.
    let mut pair = Pair::flowing();
    pair.say_down(&[backfill()]);
    assert!(matches!(
        pair.device_end(),
        SessionError::PeerMisbehaved(PeerMisbehaved::OutOfTurn(what)) if what.contains("backfill")
    ));
    let mut pair = Pair::flowing();
    pair.device.fetch(fetch);
    pair.say_down(&[backfill()]);
    assert!(matches!(pair.device.poll_event(), Some(DeviceEvent::Items { .. })));
    // Anything but Welcome as the answer to Hello.
    let mut device = device_session(Hello::default());
    answer(&mut device, &[backfill()]);
    assert_eq!(device.poll_event(), Some(DeviceEvent::Closed(PeerMisbehaved::OutOfTurn("Items").into())));
}

#[test]
fn a_cursor_that_moves_back_closes_the_device_s_end() {
    let log = |items: &[u64], upto: u64| {
        let items = items.iter().map(|s| (Seq(*s), blob(*s, 300))).collect();
        Message::Items(Items { scope: Scope::Log, upto: Seq(upto), items })
    };
    let caught_up = |seq| Message::CaughtUp(CaughtUp { seq: Seq(seq), sums: Vec::new() });
    // The cursor is 10. What follows it is taken, also an empty step.
    let good = [log(&[11, 13], 15), log(&[], 10), log(&[], 12), caught_up(10), caught_up(99)];
    let bad = [log(&[10], 10), log(&[10, 11], 12), log(&[9, 11], 12), log(&[], 9), caught_up(9)];
    for (message, taken) in good.map(|m| (m, true)).into_iter().chain(bad.map(|m| (m, false))) {
        let mut device = device_session(hello(10));
        answer(&mut device, &[Message::Welcome(welcome(20)), message.clone()]);
        assert!(matches!(device.poll_event(), Some(DeviceEvent::Welcomed(_))));
        let event = device.poll_event();
        let refused = event == Some(DeviceEvent::Closed(PeerMisbehaved::BadCursor.into()));
        assert_eq!(refused, !taken, "{message:?}: {event:?}");
    }
}
