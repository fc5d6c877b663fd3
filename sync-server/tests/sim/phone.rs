//! A phone: a production replica, its disk, its process, its way to the network.

use std::collections::VecDeque;

use dinh_core::replica::{Event, LinkState, Marker, Now, Replica, ReplicaConfig, ReplicaError};
use dinh_core::testing::Crash;
use dinh_proto::charter::record::Role;
use dinh_proto::error::{CloseCode, RejectCode, SessionError};
use dinh_proto::ids::{Cursor, DeviceId, DocId, MemberId};
use dinh_proto::keys::DeviceKey;
use dinh_proto::session::Reconnect;
use dinh_proto::time::{Timestamp, WallTime};
use rand_chacha::rand_core::RngCore;

use crate::hub_peer;
use crate::net::relay_key;
use crate::options::below;
use crate::spy::{Image, Medium, SpyStore};
use crate::starts::Trouble;
use crate::truth::Must;
use crate::world::{Happening, SECOND, World};

pub(crate) struct Phone {
    pub(crate) key: DeviceKey,
    pub(crate) device: DeviceId,
    pub(crate) member: MemberId,
    pub(crate) role: Role,
    /// The phone whose disk this one began with a copy of.
    pub(crate) twin_of: Option<usize>,
    pub(crate) medium: Medium,
    pub(crate) replica: Option<Replica<SpyStore>>,
    /// Counts processes.
    pub(crate) life: u64,
    pub(crate) conn: Option<u64>,
    pub(crate) connecting: bool,
    pub(crate) reconnect: Reconnect,
    /// The network is within reach.
    pub(crate) network: bool,
    pub(crate) suspended: bool,
    suspended_at: u64,
    /// By how much its monotonic clock is behind, because it stops during sleep.
    clock_behind: u64,
    pub(crate) wall_offset_ms: i64,
    wake_at: u64,
    /// Frames that came while it slept.
    held: VecDeque<(u64, Vec<u8>)>,
    /// What stands in the place that no backup holds.
    marker: Option<Marker>,
    /// The next errors of the disk are meant.
    pub(crate) disk_fault: bool,
    pub(crate) trouble: Trouble,
    /// Deeds that are on this disk.
    pub(crate) deeds: Vec<usize>,
    /// That many of them are in the relay's log.
    pub(crate) deeds_acked: usize,
    pub(crate) backup: Option<Backup>,
    /// It, or its twin, was restored: forks are to be expected.
    pub(crate) may_fork: bool,
    last_cursor: Option<Cursor>,
    /// Items that the relay gave it.
    pub(crate) given: u64,
}

/// An older copy of a phone's disk.
#[derive(Clone)]
pub(crate) struct Backup {
    pub(crate) image: Image,
    pub(crate) deeds: Vec<usize>,
    pub(crate) deeds_acked: usize,
}

impl World {
    /// A new phone with an empty store.
    pub(crate) fn add_phone(&mut self, key: DeviceKey, member: MemberId, role: Role) -> usize {
        let medium = Medium::new(self.opts.memory_store, self.rng.next_u64());
        self.add_phone_with(key, member, role, medium, None)
    }

    /// A second phone with a copy of another's disk and its key.
    pub(crate) fn add_twin(&mut self, of: usize, backup: &Backup) -> usize {
        let original = &self.phones[of];
        let (key, member, role) = (original.key.clone(), original.member, original.role);
        let medium = Medium::from_image(&backup.image, self.rng.next_u64());
        let twin = self.add_phone_with(key, member, role, medium, Some(of));
        self.phones[twin].deeds.clone_from(&backup.deeds);
        self.phones[twin].deeds_acked = backup.deeds_acked;
        let device = self.phones[of].device;
        self.phones.iter_mut().filter(|p| p.device == device).for_each(|p| p.may_fork = true);
        twin
    }

    /// A copy of a phone found changes that were in no item, and wrote them again; the other copy may give them away, too. Only what was
    /// written within two seconds before the copy was made is ever in none.
    fn note_doubled(&mut self, p: usize) {
        let device = self.phones[p].device;
        let own = self.truth.deeds.iter().filter(|deed| self.phones[deed.phone].device == device);
        let docs: Vec<DocId> = own.filter_map(|deed| deed.what.doc()).collect();
        self.truth.doubled.extend(docs);
    }

    fn add_phone_with(
        &mut self,
        key: DeviceKey,
        member: MemberId,
        role: Role,
        medium: Medium,
        twin_of: Option<usize>,
    ) -> usize {
        let seed = self.seed32();
        let index = self.phones.len();
        self.phones.push(Phone {
            device: key.public().id(),
            key,
            member,
            role,
            twin_of,
            medium,
            replica: None,
            life: 0,
            conn: None,
            connecting: false,
            reconnect: Reconnect::new(seed),
            network: true,
            suspended: false,
            suspended_at: 0,
            clock_behind: 0,
            wall_offset_ms: 1_790_000_000_000,
            wake_at: u64::MAX,
            held: VecDeque::new(),
            marker: None,
            disk_fault: false,
            trouble: Trouble::default(),
            deeds: Vec::new(),
            deeds_acked: 0,
            backup: None,
            may_fork: twin_of.is_some(),
            last_cursor: None,
            given: 0,
        });
        if self.opts.wrong_clocks && self.chance(50) {
            let years = below(&mut self.rng, 80) as i64 - 40;
            self.phones[index].wall_offset_ms += years * 31_556_952_000;
        }
        self.say(|| format!("phone {index} is new: {:?} of {member:?}", self.phones[index].device));
        self.start_phone(index);
        index
    }

    /// Starts the phone's app on its disk as it is.
    pub(crate) fn start_phone(&mut self, p: usize) {
        if self.phones[p].replica.is_some() {
            return;
        }
        let config = ReplicaConfig {
            open_documents_bytes_max: self.opts.open_bytes_max,
            events_max: self.opts.events_max,
            snapshot_tail_bytes_min: self.opts.snapshot_min,
            schemas: if self.opts.model { dinh_model::SCHEMAS } else { &[] },
        };
        let seed = self.seed32();
        self.arm_phone(p);
        let phone = &mut self.phones[p];
        let store = phone.medium.open(phone.device, &self.ledger).map_err(ReplicaError::from);
        let (key, found) = (phone.key.clone(), phone.marker);
        let opened = store.and_then(|store| {
            if self.opts.marked {
                let opened = Replica::open_marked(store, key, config, seed, found);
                opened.map(|(replica, marker)| (replica, Some(marker)))
            } else {
                Replica::open(store, key, config, seed).map(|replica| (replica, None))
            }
        });
        let (replica, marker) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.phone_start_failed(p, &error),
        };
        self.phone_started(p);
        if marker != found && self.dies_before_marking(p) {
            self.died_before_marking(p);
            drop(replica);
            return;
        }
        self.phones[p].marker = marker;
        let phone = &mut self.phones[p];
        phone.replica = Some(replica);
        phone.life += 1;
        phone.wake_at = u64::MAX;
        let life = phone.life;
        self.say(|| format!("phone {p} starts"));
        self.check_restarted(p);
        self.after(0, Happening::Connect { phone: p, life });
        self.pump_phone(p);
    }

    /// The process ends; its memory is lost. Its end of a connection is closed by the system, or nobody hears.
    pub(crate) fn kill_phone(&mut self, p: usize, crash: Crash) {
        let phone = &mut self.phones[p];
        if phone.replica.is_none() {
            return;
        }
        if let Some(replica) = &phone.replica {
            self.totals.mismatches += replica.counters().mismatches;
            self.totals.refused += replica.counters().refused;
        }
        // Before the store is dropped: what a dying process would still write must not reach the disk.
        phone.medium.crash(crash);
        phone.replica = None;
        phone.disk_fault = false;
        phone.suspended = false;
        phone.held.clear();
        phone.connecting = false;
        let conn = phone.conn.take();
        self.say(|| format!("phone {p} dies"));
        self.leave_hall(p);
        if let Some(conn) = conn {
            if let Some(c) = self.conns.get_mut(&conn) {
                c.phone_open = false;
                (c.up.vanish, c.down.vanish) = (true, true);
            }
            if self.chance(60) {
                let delay = self.between((1_000, 200_000));
                self.after(delay, Happening::RelayGone { conn });
            }
            self.forget_conn(conn);
        }
    }

    /// Both clocks of a phone.
    pub(crate) fn now_of(&self, p: usize) -> Now {
        let phone = &self.phones[p];
        let wall = phone.wall_offset_ms + (self.now / 1_000) as i64;
        Now {
            mono: Timestamp(self.now - phone.clock_behind),
            wall: WallTime(u64::try_from(wall).unwrap_or_default()),
        }
    }

    /// Calls a phone's replica. `None` if its disk failed and it died of that.
    pub(crate) fn call<R>(
        &mut self,
        p: usize,
        f: impl FnOnce(&mut Replica<SpyStore>, Now) -> Result<R, ReplicaError>,
    ) -> Option<Result<R, ReplicaError>> {
        let now = self.now_of(p);
        let replica = self.phones[p].replica.as_mut()?;
        match f(replica, now) {
            Err(ReplicaError::Store(error)) => {
                assert!(self.phones[p].disk_fault, "phone {p}: the store failed by itself: {error}");
                self.disk_failed(p);
                None
            }
            other => Some(other),
        }
    }

    fn disk_failed(&mut self, p: usize) {
        let crash = if self.chance(50) { Crash::Tear } else { Crash::KeepAll };
        self.kill_phone(p, crash);
        let delay = self.between((SECOND, 10 * SECOND));
        self.after(delay, Happening::RestartPhone { phone: p });
    }

    /// After anything: sends what it has to send, hears what it has to tell, and sets its alarm.
    pub(crate) fn pump_phone(&mut self, p: usize) {
        while let Some(conn) = self.phones[p].conn {
            let window = self.opts.window;
            if self.conns.get(&conn).is_none_or(|c| c.up.in_flight >= window) {
                break;
            }
            if !self.transmit_phone(p, conn) {
                break;
            }
        }
        self.pump_hall(p);
        let Some(replica) = self.phones[p].replica.as_mut() else { return };
        let mut events = Vec::new();
        while let Some(event) = replica.poll_event() {
            events.push(event);
        }
        let status = replica.status();
        self.check_phone_bounds(p, &events);
        if status.pending == 0 {
            self.phones[p].deeds_acked = self.phones[p].deeds.len();
            self.check_synced(p);
        }
        if matches!(status.link, LinkState::CatchingUp | LinkState::Live) {
            self.phones[p].reconnect.handle_success();
        }
        self.check_cursor(p);
        events.into_iter().for_each(|e| self.heard(p, &e));
        self.set_alarm(p);
    }

    /// False if there was nothing to send, or the phone died.
    fn transmit_phone(&mut self, p: usize, conn: u64) -> bool {
        let mut frame = Vec::new();
        match self.call(p, |r, _| r.poll_transmit(&mut frame)) {
            Some(Ok(true)) => {
                self.send(conn, true, frame);
                true
            }
            Some(Ok(false)) | None => false,
            Some(Err(error)) => panic!("phone {p}: poll_transmit: {error}"),
        }
    }

    fn set_alarm(&mut self, p: usize) {
        let phone = &mut self.phones[p];
        let Some(at) = phone.replica.as_ref().and_then(Replica::poll_timeout) else { return };
        let at = (at.0.saturating_add(phone.clock_behind)).max(self.now);
        if at < phone.wake_at {
            phone.wake_at = at;
            let life = phone.life;
            self.at(at, Happening::WakePhone { phone: p, life });
        }
    }

    pub(crate) fn wake_phone(&mut self, p: usize, life: u64) {
        let phone = &mut self.phones[p];
        if phone.life != life || phone.replica.is_none() {
            return;
        }
        if phone.wake_at <= self.now {
            phone.wake_at = u64::MAX;
        }
        if phone.suspended {
            return;
        }
        let ended = self.call(p, |r, now| Ok(r.handle_timeout(now)?.map(|e| e.error)));
        self.hash(3, &[p as u64], &[]);
        self.take_ended(p, ended, "handle_timeout");
        self.pump_phone(p);
    }

    fn take_ended(
        &mut self,
        p: usize,
        ended: Option<Result<Option<SessionError>, ReplicaError>>,
        what: &str,
    ) {
        match ended {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(error))) => self.conversation_ended(p, &error),
            Some(Err(error)) => panic!("phone {p}: {what}: {error}"),
        }
    }

    fn conversation_ended(&mut self, p: usize, error: &SessionError) {
        self.say(|| format!("phone {p}: the conversation ended: {error}"));
        let fine = match error {
            SessionError::TimedOut | SessionError::ClosedHere(CloseCode::Normal) => true,
            SessionError::ClosedByPeer { code, .. } => match code {
                CloseCode::Normal | CloseCode::GoingAway | CloseCode::TimedOut | CloseCode::TooMany => true,
                CloseCode::StorageFailed => self.relay.disk_fault,
                _ => false,
            },
            _ => false,
        };
        assert!(fine, "phone {p}: honest nodes fell out: {error}");
        let Some(conn) = self.phones[p].conn else { return };
        // The last words go out, then the connection is closed.
        while self.phones[p].replica.is_some() && self.transmit_phone(p, conn) {}
        self.phones[p].conn = None;
        if let Some(c) = self.conns.get_mut(&conn) {
            c.phone_open = false;
            c.down.vanish = true;
            let at = c.up.last_at;
            if !c.up.vanish {
                self.at(at, Happening::RelayGone { conn });
            }
        }
        self.forget_conn(conn);
        self.disconnected(p);
    }

    /// The replica hears that it has no connection, and a new try is planned.
    fn disconnected(&mut self, p: usize) {
        let now = self.now_of(p).mono;
        let phone = &mut self.phones[p];
        phone.connecting = false;
        let Some(replica) = &mut phone.replica else { return };
        replica.handle_disconnected();
        phone.reconnect.handle_failure(now, None);
        let at = phone.reconnect.not_before().0.saturating_add(phone.clock_behind);
        let life = phone.life;
        self.at(at, Happening::Connect { phone: p, life });
        self.pump_phone(p);
    }

    pub(crate) fn connect(&mut self, p: usize, life: u64) {
        let phone = &mut self.phones[p];
        let ready = phone.life == life && phone.conn.is_none() && !phone.connecting && !phone.suspended;
        let Some(replica) = phone.replica.as_mut().filter(|_| ready) else { return };
        replica.handle_connecting();
        phone.connecting = true;
        let network = phone.network;
        if !network || self.relay.node.is_none() {
            let delay = self.between((1_000, 8 * SECOND));
            self.after(delay, Happening::ConnectFailed { phone: p, life });
            return;
        }
        let conn = self.new_conn(p);
        let delay = 2 * self.between(self.opts.latency);
        let relay_life = self.relay.life;
        self.after(delay, Happening::Connected { phone: p, conn, phone_life: life, relay_life });
    }

    pub(crate) fn connect_failed(&mut self, p: usize, life: u64) {
        if self.phones[p].life == life && self.phones[p].connecting {
            self.disconnected(p);
        }
    }

    pub(crate) fn connected(&mut self, p: usize, conn: u64, phone_life: u64, relay_life: u64) {
        let keys = self.conns.get(&conn).filter(|c| c.phone_open && c.relay_open).map(|c| c.keys);
        let phone = &self.phones[p];
        let waits = phone.life == phone_life && phone.connecting && !phone.suspended;
        let relay_there = self.relay.node.is_some() && self.relay.life == relay_life;
        let Some(keys) = keys.filter(|_| waits && phone.network && relay_there) else {
            self.conns.remove(&conn);
            if waits {
                self.disconnected(p);
            }
            return;
        };
        self.say(|| format!("phone {p} is connected as #{conn}"));
        self.phones[p].connecting = false;
        self.phones[p].conn = Some(conn);
        let now = self.mono();
        if let Some(node) = &mut self.relay.node {
            node.hub.handle_connected(now, hub_peer(conn), keys.binding, keys.relay_seed);
        }
        self.pump_relay();
        let now = self.now_of(p);
        if let Some(replica) = &mut self.phones[p].replica {
            replica.handle_connected(now, &relay_key().public(), keys.binding, keys.device_seed);
        }
        self.pump_phone(p);
    }

    pub(crate) fn frame_at_phone(&mut self, conn: u64, frame: Vec<u8>) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        if c.down.vanish || !c.phone_open {
            return;
        }
        let p = c.phone;
        if self.phones[p].suspended {
            self.phones[p].held.push_back((conn, frame));
            return;
        }
        c.down.in_flight -= 1;
        self.hash(4, &[conn], &[]);
        let ended = self.call(p, |r, now| Ok(r.handle_frame(now, &frame)?.map(|e| e.error)));
        self.take_ended(p, ended, "handle_frame");
        self.pump_phone(p);
        self.transmit_relay(conn);
        self.pump_relay();
    }

    pub(crate) fn phone_gone(&mut self, conn: u64) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.phone_open = false;
        let p = c.phone;
        self.forget_conn(conn);
        if self.phones[p].conn == Some(conn) {
            self.phones[p].conn = None;
            self.say(|| format!("phone {p} hears that #{conn} is gone"));
            self.disconnected(p);
        }
    }

    pub(crate) fn suspend(&mut self, p: usize) {
        let phone = &mut self.phones[p];
        phone.suspended = true;
        phone.suspended_at = self.now;
        self.say(|| format!("phone {p} sleeps"));
        self.leave_hall(p);
    }

    pub(crate) fn resume(&mut self, p: usize) {
        let phone = &mut self.phones[p];
        if !phone.suspended {
            return;
        }
        phone.suspended = false;
        if self.opts.clock_sleeps {
            phone.clock_behind += self.now - phone.suspended_at;
        }
        self.say(|| format!("phone {p} wakes up"));
        let held = std::mem::take(&mut self.phones[p].held);
        for (conn, frame) in held {
            self.after(0, Happening::Down { conn, frame });
        }
        self.network_changed(p);
    }

    pub(crate) fn online(&mut self, p: usize) {
        if !self.phones[p].network {
            self.phones[p].network = true;
            self.say(|| format!("phone {p} has a network again"));
            self.network_changed(p);
        }
    }

    /// What the app tells the engine when it wakes up or the system says that the network changed.
    fn network_changed(&mut self, p: usize) {
        let now = self.now_of(p);
        let phone = &mut self.phones[p];
        phone.reconnect.handle_network_changed(now.mono);
        let life = phone.life;
        let Some(replica) = &mut phone.replica else { return };
        replica.handle_resumed(now);
        // An attempt that was under way when it fell asleep came to nothing.
        phone.connecting = false;
        self.after(0, Happening::Connect { phone: p, life });
        self.after(0, Happening::WakePhone { phone: p, life });
        self.pump_phone(p);
    }

    fn heard(&mut self, p: usize, event: &Event) {
        match event {
            Event::Refused { id, code, by, detail } => {
                self.say(|| format!("phone {p}: {id:?} refused by {by:?}: {code:?} {detail}"));
                let fork = self.phones.iter().any(|phone| phone.may_fork)
                    && matches!(code, RejectCode::Fork | RejectCode::BadLink);
                // What became of the right to it may not have been known to who wrote it.
                let shaken = !self.truth.cut.is_empty();
                assert!(
                    fork || shaken,
                    "phone {p}: an honest item {id:?} was refused by {by:?}: {code:?} {detail}"
                );
            }
            Event::Recovered { changes, .. } => {
                self.say(|| format!("phone {p}: recovered, {changes} changes written again"));
                if self.opts.marked && *changes > 0 {
                    self.note_doubled(p);
                }
                let may = self.phones[p].may_fork || !self.truth.cut.is_empty();
                assert!(may, "phone {p}: nothing was restored, and still its items were written again");
            }
            Event::Presence { .. } => self.totals.presence += 1,
            _ => {}
        }
    }

    fn check_cursor(&mut self, p: usize) {
        let phone = &mut self.phones[p];
        let Some(cursor) = phone.replica.as_ref().map(Replica::cursor) else { return };
        if let (Some(old), Some(new)) = (phone.last_cursor, cursor) {
            assert!(
                old.epoch != new.epoch || old.seq <= new.seq,
                "phone {p}: its cursor went back from {old:?} to {new:?}"
            );
        }
        phone.last_cursor = cursor;
    }

    /// The phone's process ends, and an older copy of its disk is put in the place of its disk.
    pub(crate) fn restore_phone(&mut self, p: usize, backup: &Backup) {
        self.kill_phone(p, Crash::LoseUnsynced);
        let acked = self.phones[p].deeds_acked;
        let lost = self.phones[p].deeds.split_off(acked);
        for deed in lost.into_iter().filter(|d| !backup.deeds.contains(d)) {
            self.truth.deeds[deed].must = Must::Maybe;
        }
        let seed = self.rng.next_u64();
        let phone = &mut self.phones[p];
        phone.medium = Medium::from_image(&backup.image, seed);
        // Another phone, or the app installed anew: no backup holds it.
        phone.marker = None;
        phone.deeds.clone_from(&backup.deeds);
        phone.deeds_acked = backup.deeds_acked;
        phone.last_cursor = None;
        let device = phone.device;
        self.phones.iter_mut().filter(|other| other.device == device).for_each(|other| other.may_fork = true);
        self.say(|| format!("phone {p} gets an older copy of its disk"));
    }

    pub(crate) fn backup(&self, p: usize) -> Backup {
        let phone = &self.phones[p];
        Backup { image: phone.medium.image(), deeds: phone.deeds.clone(), deeds_acked: phone.deeds_acked }
    }

    /// One of the phones whose app runs, by chance.
    pub(crate) fn running_phone(&mut self) -> Option<usize> {
        let running: Vec<usize> =
            (0..self.phones.len()).filter(|p| self.phones[*p].replica.is_some()).collect();
        let i = below(&mut self.rng, running.len() as u64) as usize;
        running.get(i).copied()
    }
}
