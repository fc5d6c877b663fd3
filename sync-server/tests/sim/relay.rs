//! The relay: the production hub and log on a simulated disk, and a stand-in for the driver between them.

use std::collections::VecDeque;

use bytes::Bytes;
use dinh_core::testing::{Crash, SimDisk};
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{LogEpoch, Seq, SpaceId};
use dinh_proto::item::Item;
use dinh_server::hub::{Effect, Hub, HubConfig, Loaded, WARM_BYTES_MAX};
use dinh_server::log::{LogError, RedbLog};
use rand_chacha::rand_core::RngCore;

use crate::net::relay_key;
use crate::starts::Trouble;
use crate::world::{Happening, SECOND, World};
use crate::{hub_conn, hub_peer};

/// Items that wait to be entered into the tables of spaces.
const INDEX_WHEN_BEHIND: u64 = 16;

pub(crate) struct Relay {
    pub(crate) disk: SimDisk,
    pub(crate) node: Option<Node>,
    pub(crate) life: u64,
    wake_at: u64,
    pub(crate) slow: bool,
    /// The next errors of the disk are meant.
    pub(crate) disk_fault: bool,
    pub(crate) copy: Option<Vec<u8>>,
    pub(crate) trouble: Trouble,
}

/// A running relay.
pub(crate) struct Node {
    pub(crate) hub: Hub,
    pub(crate) log: RedbLog,
    /// Appends that wait for the disk.
    jobs: VecDeque<(u64, Vec<Item>)>,
    /// Appends in the commit that is under way.
    committing: Vec<(u64, Vec<Item>)>,
    busy: bool,
}

impl Relay {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::new(seed),
            node: None,
            life: 0,
            wake_at: u64::MAX,
            slow: false,
            disk_fault: false,
            copy: None,
            trouble: Trouble::default(),
        }
    }
}

impl World {
    /// Starts the relay on its disk as it is, as `dinh-relay serve` does.
    pub(crate) fn start_relay(&mut self) {
        if self.relay.node.is_some() {
            return;
        }
        let mut epoch = LogEpoch::default();
        self.rng.fill_bytes(&mut epoch.0);
        let seed = self.seed32();
        self.arm_relay();
        let log = match RedbLog::with_backend(self.relay.disk.file(), epoch) {
            Ok(log) => log,
            Err(error) => return self.relay_start_failed(&error),
        };
        self.relay_started();
        // Some relays forget a space as soon as they may, some keep a few, some all.
        let warm_bytes_max = [0, 8 << 10, WARM_BYTES_MAX][self.opts.actions as usize % 3];
        let config = HubConfig { warm_bytes_max, ..HubConfig::default() };
        let mut hub = Hub::new(config, relay_key(), log.epochs().clone(), log.head(), seed);
        log.summaries().expect("the log reads").iter().for_each(|summary| hub.load_summary(summary));
        let mut found = Vec::new();
        log.entries(Seq(1), |entry| found.push((entry.seq, entry.id))).expect("the log reads");
        self.check_log_after_start(&found);
        self.relay.life += 1;
        self.relay.wake_at = u64::MAX;
        self.relay.node = Some(Node { hub, log, jobs: VecDeque::new(), committing: Vec::new(), busy: false });
        self.say(|| format!("the relay starts at head {}", found.len()));
        self.pump_relay();
    }

    /// The process ends. Connections are reset by the system, or nobody hears.
    pub(crate) fn kill_relay(&mut self, crash: Crash) {
        if self.relay.node.is_none() {
            return;
        }
        self.relay.disk.crash(crash);
        self.relay.node = None;
        self.relay.disk_fault = false;
        self.say(|| "the relay dies".to_owned());
        let open: Vec<u64> = self.conns.iter().filter(|(_, c)| c.relay_open).map(|(id, _)| *id).collect();
        for conn in open {
            if let Some(c) = self.conns.get_mut(&conn) {
                c.relay_open = false;
                (c.up.vanish, c.down.vanish) = (true, true);
            }
            if self.chance(70) {
                let delay = self.between((1_000, 300_000));
                self.after(delay, Happening::PhoneGone { conn });
            }
            self.forget_conn(conn);
        }
    }

    /// After anything: does what the hub asks for.
    pub(crate) fn pump_relay(&mut self) {
        let mut effects = VecDeque::new();
        loop {
            let Some(node) = &mut self.relay.node else { return };
            // What the relay takes is known before anything that follows from it is said.
            let new: Vec<Effect> = std::iter::from_fn(|| node.hub.poll_effect()).collect();
            for effect in new {
                if let Effect::Append { items, .. } = &effect {
                    self.taken(items);
                }
                effects.push_back(effect);
            }
            let Some(node) = &mut self.relay.node else { return };
            let Some(effect) = effects.pop_front() else { break };
            let life = self.relay.life;
            match effect {
                Effect::Verify { token, items } => {
                    let results: Vec<Result<Item, RejectCode>> =
                        items.into_iter().map(|(item, key)| item.verify(&key)).collect();
                    let delay = self.between(self.opts.effect);
                    self.after(delay, Happening::Verified { life, token, results });
                }
                Effect::Append { token, items } => {
                    node.jobs.push_back((token, items));
                    self.start_commit();
                }
                Effect::Read { token, seqs } => {
                    let delay = self.between(self.opts.effect);
                    self.after(delay, Happening::Read { life, token, seqs });
                }
                Effect::Remember { rows } => panic!("nobody decided anything: {rows:?}"),
                Effect::Load { token, space } => {
                    let delay = self.between(self.opts.effect);
                    self.after(delay, Happening::Loaded { life, token, space });
                }
                Effect::Wake { peer } => {
                    self.transmit_relay(hub_conn(peer));
                    self.converse_hostile(peer);
                }
                Effect::Close { peer } => self.close_relay_end(hub_conn(peer)),
            }
        }
        self.check_relay_bounds();
        let Some(node) = &self.relay.node else { return };
        let Some(at) = node.hub.poll_timeout() else { return };
        let at = at.0.max(self.now);
        if at < self.relay.wake_at {
            self.relay.wake_at = at;
            let life = self.relay.life;
            self.at(at, Happening::WakeRelay { life });
        }
    }

    pub(crate) fn transmit_relay(&mut self, conn: u64) {
        loop {
            let window = self.opts.window;
            if self.conns.get(&conn).is_none_or(|c| !c.relay_open || c.down.in_flight >= window) {
                return;
            }
            if !self.transmit_relay_frame(conn) {
                return;
            }
        }
    }

    fn transmit_relay_frame(&mut self, conn: u64) -> bool {
        let now = self.mono();
        let Some(node) = &mut self.relay.node else { return false };
        let mut frame = Vec::new();
        if !node.hub.poll_transmit(now, hub_peer(conn), &mut frame) {
            return false;
        }
        self.send(conn, false, frame);
        true
    }

    /// The hub ended a conversation: its last words go out, then the connection is closed.
    fn close_relay_end(&mut self, conn: u64) {
        while self.conns.contains_key(&conn) && self.transmit_relay_frame(conn) {}
        let now = self.mono();
        if let Some(node) = &mut self.relay.node {
            node.hub.handle_disconnected(now, hub_peer(conn));
        }
        if let Some(c) = self.conns.get_mut(&conn) {
            c.relay_open = false;
            c.up.vanish = true;
            let at = c.down.last_at;
            if !c.down.vanish {
                self.at(at, Happening::PhoneGone { conn });
            }
        }
        self.forget_conn(conn);
    }

    pub(crate) fn frame_at_relay(&mut self, conn: u64, frame: Vec<u8>) {
        let now = self.mono();
        let Some(c) = self.conns.get_mut(&conn) else { return };
        if c.up.vanish || !c.relay_open {
            return;
        }
        c.up.in_flight -= 1;
        let p = c.phone;
        self.hash(5, &[conn], &[]);
        let Some(node) = &mut self.relay.node else { return };
        node.hub.handle_frame(now, hub_peer(conn), Bytes::from(frame));
        self.pump_relay();
        if self.phones[p].conn == Some(conn) && !self.phones[p].suspended {
            self.pump_phone(p);
        }
    }

    pub(crate) fn relay_gone(&mut self, conn: u64) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let was_open = std::mem::take(&mut c.relay_open);
        self.forget_conn(conn);
        let now = self.mono();
        if let Some(node) = self.relay.node.as_mut().filter(|_| was_open) {
            node.hub.handle_disconnected(now, hub_peer(conn));
            self.pump_relay();
        }
    }

    pub(crate) fn wake_relay(&mut self, life: u64) {
        if self.relay.life != life {
            return;
        }
        if self.relay.wake_at <= self.now {
            self.relay.wake_at = u64::MAX;
        }
        let now = self.mono();
        if let Some(node) = &mut self.relay.node {
            node.hub.handle_timeout(now);
            self.pump_relay();
        }
    }

    pub(crate) fn verified(&mut self, life: u64, token: u64, results: Vec<Result<Item, RejectCode>>) {
        let now = self.mono();
        if let Some(node) = self.relay.node.as_mut().filter(|_| self.relay.life == life) {
            node.hub.handle_verified(now, token, results);
            self.pump_relay();
        }
    }

    pub(crate) fn read(&mut self, life: u64, token: u64, seqs: &[Seq]) {
        let now = self.mono();
        if let Some(node) = self.relay.node.as_mut().filter(|_| self.relay.life == life) {
            let found = node.log.read(seqs);
            if let Err(error) = &found {
                assert!(matches!(error, LogError::Failed), "the hub reads what is not there: {error}");
            }
            node.hub.handle_read(now, token, found.map_err(|_| ()));
            self.pump_relay();
        }
    }

    pub(crate) fn loaded(&mut self, life: u64, token: u64, space: SpaceId) {
        let now = self.mono();
        if let Some(node) = self.relay.node.as_mut().filter(|_| self.relay.life == life) {
            let stored = node.log.space(space);
            if let Err(error) = &stored {
                assert!(matches!(error, LogError::Failed), "the hub loads what is not there: {error}");
            }
            let loaded = stored.map(|stored| Loaded::new(space, stored));
            node.hub.handle_loaded(now, token, loaded.map_err(|_| ()));
            self.pump_relay();
        }
    }

    /// Begins a commit of everything that waits, if none is under way.
    fn start_commit(&mut self) {
        let mut delay = self.between(self.opts.fsync);
        if self.relay.slow {
            delay += self.between((SECOND, 8 * SECOND));
        }
        let life = self.relay.life;
        let Some(node) = self.relay.node.as_mut().filter(|n| !n.busy && !n.jobs.is_empty()) else { return };
        node.busy = true;
        node.committing = node.jobs.drain(..).collect();
        self.after(delay, Happening::CommitDone { life });
    }

    pub(crate) fn commit_done(&mut self, life: u64) {
        let Some(node) = self.relay.node.as_mut().filter(|_| self.relay.life == life) else { return };
        let committing = std::mem::take(&mut node.committing);
        // As the writer does when it is behind, but sooner.
        let is_behind = node.log.unindexed() > INDEX_WHEN_BEHIND;
        let indexed = if is_behind { node.log.write_index(INDEX_WHEN_BEHIND / 2) } else { Ok(0) };
        let stored =
            indexed.and_then(|_| node.log.append_batch(committing.iter().flat_map(|(_, items)| items)));
        let first = match stored {
            Ok(first) => first,
            Err(error) => {
                assert!(self.relay.disk_fault, "the log failed by itself: {error}");
                let crash = if self.chance(50) { Crash::Tear } else { Crash::KeepAll };
                self.kill_relay(crash);
                let delay = self.between((SECOND, 10 * SECOND));
                self.after(delay, Happening::RestartRelay);
                return;
            }
        };
        let mut next = first;
        let mut answers = Vec::new();
        for (token, items) in committing {
            answers.push((token, next));
            for item in items {
                self.truth.append(next, item.id());
                next = Seq(next.0 + 1);
            }
        }
        self.hash(6, &[first.0, next.0], &[]);
        self.say(|| format!("the relay's log holds {}..{}", first, next));
        // A process can die between the disk's word and its own.
        let delay = self.between((0, 2_000));
        self.after(delay, Happening::CommitTold { life, answers });
    }

    pub(crate) fn commit_told(&mut self, life: u64, answers: Vec<(u64, Seq)>) {
        let now = self.mono();
        let Some(node) = self.relay.node.as_mut().filter(|_| self.relay.life == life) else { return };
        node.busy = false;
        for (token, first) in answers {
            node.hub.handle_appended(now, token, Ok(first));
        }
        self.start_commit();
        self.pump_relay();
    }

    /// An older copy of the log is put back.
    pub(crate) fn restore_relay(&mut self, copy: Vec<u8>) {
        self.kill_relay(Crash::LoseUnsynced);
        let seed = self.rng.next_u64();
        self.relay.disk = SimDisk::from_image(seed, copy);
        // Its head is learned when it starts.
        self.truth.restored = true;
        self.say(|| "the relay gets an older copy of its log".to_owned());
    }
}
