//! A replica and, at the other end of its connection, whatever a test has the relay say.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of this")]

use bytes::Bytes;
use dinh_core::replica::{Ended, Event, LinkState, Now, Replica, ReplicaConfig};
use dinh_core::store::MemoryStore;
use dinh_proto::channel::Binding;
use dinh_proto::ids::{LogEpoch, Seq};
use dinh_proto::keys::{DeviceKey, RelayKey};
use dinh_proto::limits;
use dinh_proto::session::{RelayEvent, RelaySession};
use dinh_proto::time::{Timestamp, WallTime};
use dinh_proto::wire::{CaughtUp, Items, Scope, Welcome};

pub(crate) const NOW: Now = Now { mono: Timestamp(0), wall: WallTime(1_760_000_000_000) };
pub(crate) const EPOCH: LogEpoch = LogEpoch([5; 8]);

pub(crate) fn key(seed: u8) -> DeviceKey {
    DeviceKey::from_seed(&[seed; 32])
}

pub(crate) fn welcome(head: u64) -> Welcome {
    Welcome { epoch: EPOCH, head: Seq(head), reconcile: false, replicas: 0, backlog: 0, time_ms: 0 }
}

pub(crate) fn relay_key() -> RelayKey {
    RelayKey::from_seed(&[77; 32])
}

pub(crate) fn relay_session() -> RelaySession {
    RelaySession::new(&relay_key(), Binding([1; 32]), [5; 32], NOW.mono)
}

/// A replica and the relay's end of its connection, which says what the test wants.
pub(crate) struct Phone {
    pub replica: Replica<MemoryStore>,
    pub relay: RelaySession,
    pub head: u64,
    pub ended: Option<Ended>,
    pub puts: Vec<Bytes>,
    pub events: Vec<Event>,
}

impl Phone {
    pub(crate) fn new(seed: u8) -> Self {
        let opened =
            Replica::open(MemoryStore::new(), key(seed), ReplicaConfig::default(), [seed; 32]).unwrap();
        Self {
            replica: opened,
            relay: relay_session(),
            head: 0,
            ended: None,
            puts: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Connects; the relay has `head` items, all of which the phone is said to have.
    pub(crate) fn connect(&mut self, head: u64) {
        self.head = head;
        self.replica.handle_connected(NOW, &relay_key().public(), [1; 32], [4; 32]);
        self.relay = relay_session();
        self.run();
        self.relay.welcome(welcome(head));
        self.relay.caught_up(CaughtUp { seq: Seq(head), sums: Vec::new() });
        self.run();
        assert_eq!(self.replica.status().link, LinkState::Live);
    }

    /// Carries frames both ways; every item that the phone puts is kept and acknowledged.
    pub(crate) fn run(&mut self) {
        loop {
            let mut frame = Vec::new();
            let up = self.replica.poll_transmit(&mut frame).unwrap();
            if up {
                self.relay.handle_frame(NOW.mono, &std::mem::take(&mut frame).into());
            }
            while let Some(event) = self.relay.poll_event() {
                if let RelayEvent::Put { first, items, bytes } = event {
                    for (item, number) in items.into_iter().zip(first..) {
                        self.head += 1;
                        self.puts.push(item.bytes);
                        self.relay.ack(number, Seq(self.head));
                    }
                    self.relay.release(bytes);
                }
            }
            let down = self.relay.poll_transmit(&mut frame);
            if down {
                let ended = self.replica.handle_frame(NOW, &frame).unwrap();
                self.ended = self.ended.take().or(ended);
            }
            while let Some(event) = self.replica.poll_event() {
                self.events.push(event);
            }
            if !up && !down {
                return;
            }
        }
    }

    /// Delivers items as the next of the log.
    pub(crate) fn deliver(&mut self, items: &[Bytes]) {
        for part in items.chunks(limits::ITEMS_PER_MESSAGE_MAX) {
            let first = self.head + 1;
            self.head += part.len() as u64;
            let items = part.iter().cloned().zip(first..).map(|(item, seq)| (Seq(seq), item)).collect();
            self.relay.items(Items { scope: Scope::Log, upto: Seq(self.head), items });
            self.run();
        }
    }
}
