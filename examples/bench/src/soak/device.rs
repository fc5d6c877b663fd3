//! A device: connects, writes, receives, drops its connection and comes back by cursor, and keeps what it received for the verdict.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dinh_proto::error::{Fate, SessionError};
use dinh_proto::ids::{Cursor, DeviceId, ItemId, LogEpoch, Seq, SpaceId};
use dinh_proto::item::{Kind, RawItem};
use dinh_proto::limits;
use dinh_proto::session::DeviceEvent;
use dinh_proto::wire::{Items, Scope};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use tokio::sync::watch;

use super::branch::{Author, Branch, Stored, signed_at};
use super::counts::{Counts, Drop};
use super::link::{Link, NoLink};
use super::relay::Address;

/// A device that dropped its connection is back within this time.
const AWAY_MAX: Duration = Duration::from_secs(10);
/// Pause after a connection that could not be made or broke.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How long a slow reader does not look at its socket at a time, at most.
const SLOW_PAUSE_MAX: Duration = Duration::from_secs(8);
/// And how long it then does.
const SLOW_READS_FOR: Duration = Duration::from_secs(1);

/// The most that is written at once.
const PAGE_BYTES: usize = 32_000;

/// What all devices are told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) phase: Phase,
    /// Outages so far: at each, every other device loses its connection.
    pub(super) storms: u32,
    /// How often somebody in each space was to write a whole page: after it, no connection's buffers grow any more.
    pub(super) pages: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connect, and write nothing.
    Connect,
    /// Write, leave, come back.
    Write,
    /// Stay, and write nothing more.
    Drain,
    Stop,
}

/// What all devices share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) relay: Address,
    pub(super) counts: Counts,
    pub(super) began: Instant,
    /// From one item of a device to its next, on average.
    pub(super) write_every: Duration,
    /// From one loss of a device's connection to the next, on average.
    pub(super) drop_every: Option<Duration>,
    /// Connects in a second when all come at once.
    pub(super) connects_per_second: f64,
}

/// What others look at while a device runs.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) branch: SpaceId,
    pub(super) device: DeviceId,
    /// Where it began; `None` if with nothing.
    pub(super) began_at: Option<Cursor>,
    /// Connected, and everything up to then was received.
    caught_up: AtomicBool,
    /// Items received that others wrote.
    others: AtomicU64,
    /// Items written that are not acknowledged.
    unanswered: AtomicU64,
}

impl Status {
    pub(super) fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    pub(super) fn others(&self) -> u64 {
        self.others.load(Ordering::Acquire)
    }

    pub(super) fn is_answered(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) == 0
    }
}

/// An item that is not acknowledged.
struct Outgoing {
    id: ItemId,
    bytes: Bytes,
    signed: Duration,
    /// When it was given to the connection that is open.
    offered: Option<Instant>,
    again: bool,
}

pub(super) struct Device {
    world: Arc<World>,
    pub(super) branch: Arc<Branch>,
    author: Author,
    pub(super) id: DeviceId,
    rng: ChaCha8Rng,
    orders: watch::Receiver<Orders>,
    pub(super) status: Arc<Status>,
    part: Part,
    cursor: Option<Cursor>,
    last_in_log: Seq,
    /// Everything that came, as it came.
    pub(super) got: Vec<(Seq, ItemId)>,
    outbox: VecDeque<Outgoing>,
    next_write: Option<Instant>,
    /// Of a slow reader.
    reads_until: Instant,
    pages: u32,
    page_at: Option<Instant>,
    /// After a refusal: when items are offered again.
    offers_from: Instant,
}

/// How a device takes part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Its place when all connect one after the other.
    pub(super) number: usize,
    /// When the first of them connects.
    pub(super) began: Instant,
    pub(super) is_slow: bool,
    /// It writes a page so long after one is ordered.
    pub(super) page_after: Option<Duration>,
    /// It has nothing of its branch yet, also not its charter.
    pub(super) is_new: bool,
}

/// Why a connection is over.
enum End {
    Stop,
    /// It was dropped on purpose.
    Left,
    Storm,
    TurnedAway,
    Broken(String),
}

impl Device {
    pub(super) fn new(
        world: Arc<World>,
        (branch, author): (Arc<Branch>, Author),
        rng: ChaCha8Rng,
        orders: watch::Receiver<Orders>,
        part: Part,
    ) -> Self {
        let (id, began_at) = (author.id(), branch.founded_at().filter(|_| !part.is_new));
        let status = Status {
            branch: branch.id,
            device: id,
            began_at,
            caught_up: AtomicBool::new(false),
            others: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
        };
        Self {
            id,
            world,
            branch,
            author,
            rng,
            orders,
            status: Arc::new(status),
            part,
            cursor: began_at,
            last_in_log: began_at.map_or(Seq(0), |cursor| cursor.seq),
            got: Vec::new(),
            outbox: VecDeque::new(),
            next_write: None,
            reads_until: part.began,
            pages: 0,
            page_at: None,
            offers_from: part.began,
        }
    }

    /// Until it is told to stop; then gives itself for the verdict.
    pub(super) async fn run(mut self) -> Self {
        let mut until = self.part.began + self.turn();
        loop {
            if self.is_stopped_before(until).await {
                return self;
            }
            let end = self.live().await;
            self.status.caught_up.store(false, Ordering::Release);
            until = Instant::now()
                + match end {
                    End::Stop => return self,
                    End::Left => AWAY_MAX.mul_f64(self.random()),
                    End::Storm => self.turn(),
                    End::TurnedAway => AGAIN_AFTER,
                    End::Broken(why) => {
                        self.world.counts.error(format!("device {}: {why}", self.id));
                        AGAIN_AFTER
                    }
                };
        }
    }

    /// When it is this one's turn to connect, if all do.
    fn turn(&self) -> Duration {
        Duration::from_secs_f64(self.part.number as f64 / self.world.connects_per_second)
    }

    async fn is_stopped_before(&mut self, until: Instant) -> bool {
        let stopped = self.orders.wait_for(|orders| orders.phase == Phase::Stop);
        // An error means that nobody is left to give orders.
        tokio::time::timeout_at(until.into(), stopped).await.is_ok()
    }

    /// A connection from dialling to its end.
    async fn live(&mut self) -> End {
        let dialled = Instant::now();
        let world = self.world.clone();
        let mut link = match Link::open(&world.relay, &self.author.key, self.cursor, &world.counts).await {
            Ok(link) => link,
            Err(NoLink::TurnedAway) => {
                world.counts.turned_away.add(1);
                return End::TurnedAway;
            }
            Err(NoLink::Failed(why)) => return End::Broken(why),
        };
        for outgoing in &mut self.outbox {
            outgoing.again |= outgoing.offered.take().is_some();
        }
        let far = Duration::from_secs(24 * 3_600);
        let drop_at = Instant::now() + world.drop_every.map_or(far, |every| self.exponential(every));
        let mut orders = self.orders.clone();
        let storms = orders.borrow_and_update().storms;
        let mut welcomed = false;
        loop {
            while let Some(event) = link.event() {
                if matches!(event, DeviceEvent::Welcomed(_)) {
                    welcomed = true;
                    world.counts.connecting.add(dialled.elapsed());
                }
                if let Err(why) = self.handle(&mut link, event).await {
                    return End::Broken(why);
                }
            }
            let waits = self.offers_from > Instant::now() && !self.outbox.is_empty();
            if welcomed && !waits {
                self.offer(&mut link);
            }
            if let Err(why) = link.flush(&world.counts).await {
                return End::Broken(why);
            }
            let now = *orders.borrow_and_update();
            if now.phase == Phase::Stop {
                return End::Stop;
            }
            if now.storms > storms && self.part.number.is_multiple_of(2) {
                self.note_drop();
                return End::Storm;
            }
            let writes = now.phase == Phase::Write && welcomed;
            if let Some(after) = self.part.page_after
                && now.pages > self.pages
            {
                self.pages = now.pages;
                self.page_at = Some(Instant::now() + after);
            }
            // Looked at whenever something happens, which is often enough.
            if writes && self.page_at.is_some_and(|at| at <= Instant::now()) {
                self.page_at = None;
                self.write(PAGE_BYTES);
                continue;
            }
            let next_write = if writes { self.next_write() } else { drop_at };
            tokio::select! {
                heard = link.hear(&world.counts) => {
                    if let Err(why) = heard {
                        return End::Broken(why);
                    }
                }
                () = tokio::time::sleep_until(next_write.into()), if writes => {
                    let bytes = size(&mut self.rng);
                    self.write(bytes);
                    self.next_write = None;
                }
                () = tokio::time::sleep_until(drop_at.into()), if writes => {
                    self.note_drop();
                    return End::Left;
                }
                () = tokio::time::sleep_until(self.offers_from.into()), if waits => {}
                _ = orders.changed() => {}
            }
        }
    }

    async fn handle(&mut self, link: &mut Link, event: DeviceEvent) -> Result<(), String> {
        match event {
            DeviceEvent::Welcomed(welcome) if welcome.reconcile => {
                return Err("its cursor was of no use".to_owned());
            }
            DeviceEvent::Welcomed(_) => {}
            DeviceEvent::Items { items, bytes } => {
                let epoch = link.session.epoch();
                self.receive(items, epoch)?;
                if self.part.is_slow
                    && self.reads_until < Instant::now()
                    && self.orders.borrow().phase == Phase::Write
                {
                    tokio::time::sleep(SLOW_PAUSE_MAX.mul_f64(self.random())).await;
                    self.reads_until = Instant::now() + SLOW_READS_FOR;
                }
                link.session.release(bytes);
            }
            DeviceEvent::CaughtUp(caught_up) => {
                self.cursor = Some(Cursor { epoch: link.session.epoch(), seq: caught_up.seq });
                self.status.caught_up.store(true, Ordering::Release);
            }
            DeviceEvent::Acked { id, seq } => self.acked(id, seq)?,
            DeviceEvent::Rejected { id, code, detail } => {
                self.world.counts.rejected(code.name());
                if code.fate() == Fate::Never {
                    return Err(format!("an item was refused: {code:?} {detail}"));
                }
                // As devices do: it stays, and it and those after it are offered again later.
                if let Some(outgoing) = self.outbox.iter_mut().find(|outgoing| outgoing.id == id) {
                    (outgoing.offered, outgoing.again) = (None, true);
                }
                self.offers_from = Instant::now() + limits::RETRY_LATER;
            }
            DeviceEvent::Closed(error) => {
                if matches!(error, SessionError::ClosedByPeer { .. }) {
                    self.world.counts.closed.add(1);
                }
                return Err(error.to_string());
            }
            other => return Err(format!("nobody asked for {other:?}")),
        }
        Ok(())
    }

    fn receive(&mut self, items: Items, epoch: LogEpoch) -> Result<(), String> {
        let world = self.world.clone();
        let is_live = self.status.is_caught_up() && !self.part.is_slow;
        for (seq, bytes) in items.items {
            let item = RawItem::parse(bytes).map_err(|e| format!("what came at {seq} is no item: {e}"))?;
            let header = item.header();
            if header.space != self.branch.space && header.space != self.branch.id {
                return Err(format!("what came at {seq} is of another space"));
            }
            if items.scope == Scope::Log {
                if seq <= self.last_in_log {
                    return Err(format!("{seq} came after {}", self.last_in_log));
                }
                self.last_in_log = seq;
            }
            self.got.push((seq, item.id()));
            world.counts.received.add(1);
            if header.author.device == self.id {
                world.counts.own_back.add(1);
            } else {
                self.status.others.fetch_add(1, Ordering::AcqRel);
                if is_live && header.kind == Kind::Run {
                    world
                        .counts
                        .deliveries
                        .add(world.began.elapsed().saturating_sub(signed_at(header.first_seq)));
                }
            }
        }
        if items.scope == Scope::Log {
            self.cursor = Some(Cursor { epoch, seq: items.upto });
        }
        Ok(())
    }

    fn write(&mut self, bytes: usize) {
        let mut plain = vec![0; bytes];
        self.rng.fill_bytes(&mut plain);
        let signed = self.world.began.elapsed();
        let item = self.author.write(&self.branch, signed, &plain);
        let outgoing =
            Outgoing { id: item.id(), bytes: item.bytes().clone(), signed, offered: None, again: false };
        self.outbox.push_back(outgoing);
        self.status.unanswered.fetch_add(1, Ordering::AcqRel);
        self.world.counts.written.add(1);
    }

    fn next_write(&mut self) -> Instant {
        match self.next_write {
            Some(at) => at,
            None => {
                let at = Instant::now() + self.exponential(self.world.write_every);
                *self.next_write.insert(at)
            }
        }
    }

    /// Puts what was not put over this connection, in order.
    fn offer(&mut self, link: &mut Link) {
        for outgoing in self.outbox.iter_mut().filter(|outgoing| outgoing.offered.is_none()) {
            if !link.session.can_put() {
                return;
            }
            outgoing.offered = Some(Instant::now());
            self.world.counts.offered_again.add(u64::from(outgoing.again));
            link.session.put(outgoing.id, outgoing.bytes.clone(), false);
        }
    }

    fn acked(&mut self, id: ItemId, seq: Seq) -> Result<(), String> {
        let at = self.outbox.iter().position(|outgoing| outgoing.id == id);
        let outgoing = at.and_then(|at| self.outbox.remove(at)).ok_or("an ack for what was not put")?;
        let counts = &self.world.counts;
        if let (Some(offered), false) = (outgoing.offered, outgoing.again || self.part.is_slow) {
            counts.acks.add(offered.elapsed());
        }
        counts.acked.add(1);
        counts.acked_bytes.add(outgoing.bytes.len() as u64);
        self.status.unanswered.fetch_sub(1, Ordering::AcqRel);
        self.branch.acknowledged(Stored { seq, id, author: self.id, signed: outgoing.signed });
        Ok(())
    }

    fn note_drop(&self) {
        let cursor = self.cursor.map_or(Seq(0), |cursor| cursor.seq);
        self.world.counts.dropped(Drop {
            branch: self.branch.id,
            device: self.id,
            cursor,
            at: self.world.began.elapsed(),
        });
    }

    /// From 0 to 1.
    fn random(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.random()).max(1e-9).ln())
    }
}

/// Bytes of what is written at once: mostly a few sentences, sometimes a paragraph, seldom a pasted page.
fn size(rng: &mut ChaCha8Rng) -> usize {
    let (kind, size) = (rng.next_u32() % 100, rng.next_u32() as usize);
    match kind {
        0..90 => 120 + size % 480,
        90..99 => 1_000 + size % 3_000,
        _ => 8_000 + size % (PAGE_BYTES - 8_000),
    }
}
