//! A relay in memory that one phone at a time is connected to: it keeps a log, answers reconciles, gives new phones
//! snapshots in place of the runs that they stand for, and refuses forks.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of this")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dinh_core::replica::{LinkState, Now, Replica};
use dinh_core::store::Store;
use dinh_proto::channel::Binding;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{Author, DocId, ItemId, LogEpoch, Seq, SpaceId};
use dinh_proto::item::{Kind, Place, RawItem, SpaceSum};
use dinh_proto::keys::RelayKey;
use dinh_proto::ranges::Ranges;
use dinh_proto::session::{RelayEvent, RelaySession};
use dinh_proto::time::{Timestamp, WallTime};
use dinh_proto::wire::{CaughtUp, ChainSet, Items, Scope, Welcome};

const EPOCH: LogEpoch = LogEpoch([5; 8]);

pub(crate) fn at(seconds: u64) -> Now {
    Now { mono: Timestamp(seconds * 1_000_000), wall: WallTime(1_790_000_000_000 + seconds * 1_000) }
}

fn relay_key() -> RelayKey {
    RelayKey::from_seed(&[77; 32])
}

#[derive(Default)]
pub(crate) struct SmallRelay {
    log: Vec<RawItem>,
    connections: u8,
    pub reconciles: usize,
    pub rejected: usize,
    pub snapshots_out: usize,
}

impl SmallRelay {
    pub(crate) fn items_of(&self, space: SpaceId) -> usize {
        self.log.iter().filter(|i| i.header().space == space && i.header().kind != Kind::Snapshot).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.log.len()
    }

    /// A phone connects, everything is exchanged, it leaves.
    pub(crate) fn meet<S: Store>(&mut self, phone: &mut Replica<S>, now: Now) {
        self.meet_and(phone, now, |_| ());
    }

    /// The same, and something happens in between.
    pub(crate) fn meet_and<S: Store>(
        &mut self,
        phone: &mut Replica<S>,
        now: Now,
        f: impl FnOnce(&mut Replica<S>),
    ) {
        self.connections = self.connections.wrapping_add(1);
        let binding = [self.connections; 32];
        phone.handle_connected(now, &relay_key().public(), binding, [self.connections ^ 0xa5; 32]);
        let mut session = RelaySession::new(&relay_key(), Binding(binding), [self.connections; 32], now.mono);
        self.run(phone, &mut session, now);
        assert_eq!(phone.status().link, LinkState::Live);
        f(phone);
        self.run(phone, &mut session, now);
        phone.disconnect();
        phone.handle_disconnected();
    }

    fn run<S: Store>(&mut self, phone: &mut Replica<S>, session: &mut RelaySession, now: Now) {
        loop {
            let mut frame = Vec::new();
            let up = phone.poll_transmit(&mut frame).unwrap();
            if up {
                session.handle_frame(now.mono, &std::mem::take(&mut frame).into());
            }
            while let Some(event) = session.poll_event() {
                self.answer(session, event);
            }
            let down = session.poll_transmit(&mut frame);
            if down {
                assert_eq!(phone.handle_frame(now, &frame).unwrap(), None);
            }
            if !up && !down {
                return;
            }
        }
    }

    fn answer(&mut self, session: &mut RelaySession, event: RelayEvent) {
        match event {
            RelayEvent::Hello { hello, .. } => {
                let head = Seq(self.log.len() as u64);
                let welcome =
                    Welcome { epoch: EPOCH, head, reconcile: false, replicas: 0, backlog: 0, time_ms: 0 };
                session.welcome(welcome);
                let from = hello.cursor.map_or(Seq(0), |c| c.seq);
                let items = self.since(from, hello.cursor.is_none());
                self.send(session, items, Scope::Log, head);
                for fetch in hello.backfills {
                    self.backfill(session, fetch.space, fetch.to);
                }
                self.say_caught_up(session);
            }
            // It hosts whatever comes.
            RelayEvent::Permit(_) => {}
            RelayEvent::Put { first, items, bytes } => {
                for (item, number) in items.into_iter().zip(first..) {
                    self.put(session, number, item.bytes);
                }
                session.release(bytes);
            }
            RelayEvent::Reconcile(spaces) => {
                self.reconciles += 1;
                let last = spaces.len();
                for (i, space) in spaces.into_iter().enumerate() {
                    let mut chains: BTreeMap<Author, Ranges> = BTreeMap::new();
                    for item in self.log.iter().filter(|i| i.header().space == space) {
                        if let Some(n) = item.header().n() {
                            chains.entry(item.header().author).or_default().insert(n);
                        }
                    }
                    let chains = chains.into_iter().collect();
                    session.have(ChainSet { space, last: i + 1 == last, chains });
                }
            }
            RelayEvent::Want(want) => {
                let wanted = |item: &RawItem| {
                    let (header, n) = (item.header(), item.header().n().unwrap_or_default());
                    let mut chains = want.chains.iter();
                    header.space == want.space
                        && chains.any(|(a, r)| *a == header.author && header.n().is_some() && r.contains(n))
                };
                let items: Vec<_> = self.numbered().filter(|(_, item)| wanted(item)).collect();
                let items = items.into_iter().map(|(seq, item)| (seq, item.as_bytes().clone())).collect();
                self.send(session, items, Scope::Wanted, Seq(0));
                self.say_caught_up(session);
            }
            RelayEvent::Fetch(fetch) => {
                self.backfill(session, fetch.space, fetch.to);
                self.say_caught_up(session);
            }
            RelayEvent::Ephemeral(_) => {}
            RelayEvent::Closed(error) => panic!("{error}"),
        }
    }

    fn numbered(&self) -> impl Iterator<Item = (Seq, &RawItem)> {
        self.log.iter().zip(1..).map(|(item, seq)| (Seq(seq), item))
    }

    /// What a phone with this cursor lacks. A new one gets the newest snapshot at the place of the first run that it
    /// stands for.
    fn since(&mut self, from: Seq, fresh: bool) -> Vec<(Seq, Bytes)> {
        let mut newest: BTreeMap<DocId, (u64, Bytes)> = BTreeMap::new();
        for item in self.log.iter().filter(|_| fresh) {
            if let Place::Covers(cursor) = item.header().place {
                newest.insert(item.header().doc, (cursor.seq.0, item.as_bytes().clone()));
            }
        }
        let (mut out, mut sent) = (Vec::new(), BTreeSet::new());
        for (seq, item) in self.numbered().filter(|(seq, _)| *seq > from) {
            let doc = item.header().doc;
            match (item.header().kind, newest.get(&doc)) {
                (Kind::Snapshot, _) => {}
                (Kind::Run, Some((covers, snapshot))) if seq.0 <= *covers => {
                    if sent.insert(doc) {
                        out.push((seq, snapshot.clone()));
                    }
                }
                _ => out.push((seq, item.as_bytes().clone())),
            }
        }
        self.snapshots_out += sent.len();
        out
    }

    fn backfill(&self, session: &mut RelaySession, space: SpaceId, to: Seq) {
        let chained = |item: &RawItem| item.header().space == space && item.header().kind != Kind::Snapshot;
        let items = self.numbered().filter(|(seq, item)| *seq <= to && chained(item));
        let items = items.map(|(seq, item)| (seq, item.as_bytes().clone())).collect();
        self.send(session, items, Scope::Backfill(space), to);
    }

    fn send(&self, session: &mut RelaySession, items: Vec<(Seq, Bytes)>, scope: Scope, upto: Seq) {
        for part in items.chunks(8) {
            session.items(Items { scope, upto: part[part.len() - 1].0, items: part.to_vec() });
        }
        if scope != Scope::Wanted {
            session.items(Items { scope, upto, items: Vec::new() });
        }
    }

    fn say_caught_up(&self, session: &mut RelaySession) {
        let mut sums: BTreeMap<SpaceId, SpaceSum> = BTreeMap::new();
        for item in self.log.iter().filter(|i| i.header().kind != Kind::Snapshot) {
            sums.entry(item.header().space).or_default().add(&item.id());
        }
        let seq = Seq(self.log.len() as u64);
        session.caught_up(CaughtUp { seq, sums: sums.into_iter().collect() });
    }

    fn put(&mut self, session: &mut RelaySession, number: u64, bytes: Bytes) {
        let raw = RawItem::parse(bytes).unwrap();
        let id: ItemId = raw.id();
        if let Some((seq, _)) = self.numbered().find(|(_, item)| item.id() == id) {
            session.ack(number, seq);
            return;
        }
        let at = |n: u32| {
            let chain = raw.header().chain();
            self.log.iter().find(|i| i.header().n() == Some(n) && i.header().chain() == chain)
        };
        let refusal = match raw.header().place {
            Place::Chain { n, .. } if at(n).is_some() => Some(RejectCode::Fork),
            Place::Chain { n, prev } => {
                at(n - 1).filter(|before| before.id().link() != prev).map(|_| RejectCode::BadLink)
            }
            Place::Covers(_) => None,
        };
        if let Some(code) = refusal {
            self.rejected += 1;
            session.reject(number, id, code, Seq(0), "");
            return;
        }
        self.log.push(raw);
        session.ack(number, Seq(self.log.len() as u64));
    }
}
