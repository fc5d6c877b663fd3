//! What fails.

use std::io;

use dinh_core::testing::Crash;
use dinh_server::hub::HubConfig;

use crate::options::below;
use crate::spy::Medium;
use crate::world::{Happening, SECOND, World};

/// Names of the faults, in the order of [`Faults::weights`](crate::options::Faults::weights); the last two happen when
/// processes start.
pub(crate) const NAMES: [&str; 20] = [
    "link breaks",
    "half-open links",
    "clogs",
    "no network",
    "sleeps",
    "clock jumps",
    "phone kills",
    "phone disk errors",
    "phone restores",
    "twins",
    "relay kills",
    "relay disk errors",
    "relay restores",
    "slow disk",
    "relay disks full",
    "phone disks full",
    "stalls",
    "slow links",
    "relays killed while they start",
    "phones killed while they start",
];

impl World {
    /// Something fails; then the next is planned.
    pub(crate) fn fault(&mut self) {
        let total = self.opts.faults.total();
        if self.healing || total == 0 {
            return;
        }
        let gap = self.between((1, self.opts.fault_gap));
        self.after(gap, Happening::Fault);
        let mut dice = below(&mut self.rng, total);
        let kind = self.opts.faults.weights().iter().position(|weight| {
            let hit = dice < *weight;
            dice = dice.saturating_sub(*weight);
            hit
        });
        let Some(kind) = kind else { return };
        if self.inject(kind) {
            self.totals.faults[kind] += 1;
            self.hash(7, &[kind as u64], &[]);
        }
    }

    fn inject(&mut self, kind: usize) -> bool {
        match kind {
            0 => self.some_conn().map(|c| self.break_conn(c)).is_some(),
            1 => self.some_conn().map(|c| self.half_open(c)).is_some(),
            2 => self.some_conn().map(|c| self.clog(c)).is_some(),
            3 => self.running_phone().map(|p| self.offline(p)).is_some(),
            4 => self.running_phone().filter(|p| !self.phones[*p].suspended).map(|p| self.sleep(p)).is_some(),
            5 => self.running_phone().map(|p| self.jump_clock(p)).is_some(),
            6 => self.running_phone().map(|p| self.kill_and_restart_phone(p)).is_some(),
            7 => self.running_phone().is_some_and(|p| self.break_phone_disk(p)),
            8 => self.running_phone().is_some_and(|p| self.restore_or_back_up(p)),
            9 => self.running_phone().is_some_and(|p| self.twin_or_back_up(p)),
            10 => self.kill_and_restart_relay(),
            11 => self.break_relay_disk(),
            12 => self.restore_or_copy_relay(),
            14 => self.fill_relay_disk(),
            15 => self.running_phone().is_some_and(|p| self.fill_phone_disk(p)),
            16 => self.some_conn().map(|c| self.stall(c)).is_some(),
            17 => {
                self.slow_links();
                true
            }
            _ => {
                self.relay.slow = true;
                let span = self.between((SECOND, 30 * SECOND));
                self.after(span, Happening::FastDisk);
                true
            }
        }
    }

    fn some_conn(&mut self) -> Option<u64> {
        let conns: Vec<u64> = self.conns.keys().copied().collect();
        conns.get(below(&mut self.rng, conns.len() as u64) as usize).copied()
    }

    /// Frames vanish in one direction or both, and nobody is told.
    pub(crate) fn half_open(&mut self, conn: u64) {
        let which = below(&mut self.rng, 3);
        self.say(|| format!("#{conn} is half open ({which})"));
        if let Some(c) = self.conns.get_mut(&conn) {
            c.up.vanish |= which != 0;
            c.down.vanish |= which != 1;
        }
    }

    /// Nothing arrives for a while, then everything.
    fn clog(&mut self, conn: u64) {
        let until = self.now + self.between((SECOND, 60 * SECOND));
        let which = below(&mut self.rng, 3);
        self.say(|| format!("#{conn} is clogged"));
        if let Some(c) = self.conns.get_mut(&conn) {
            if which != 0 {
                c.up.clogged_until = until;
            }
            if which != 1 {
                c.down.clogged_until = until;
            }
        }
    }

    fn offline(&mut self, p: usize) {
        self.phones[p].network = false;
        self.say(|| format!("phone {p} has no network"));
        if let Some(conn) = self.phones[p].conn {
            if self.chance(60) {
                self.break_conn(conn);
            } else if let Some(c) = self.conns.get_mut(&conn) {
                (c.up.vanish, c.down.vanish) = (true, true);
            }
        }
        let span = self.between((SECOND, 120 * SECOND));
        self.after(span, Happening::Online { phone: p });
    }

    fn sleep(&mut self, p: usize) {
        self.suspend(p);
        let long = self.chance(30);
        let span = self.between(if long { (60 * SECOND, 1_200 * SECOND) } else { (SECOND, 60 * SECOND) });
        self.after(span, Happening::Resume { phone: p });
    }

    fn jump_clock(&mut self, p: usize) {
        let years = below(&mut self.rng, 80) as i64 - 40;
        self.phones[p].wall_offset_ms += years * 31_556_952_000;
        self.say(|| format!("phone {p}: the clock jumps by {years} years"));
    }

    fn kill_and_restart_phone(&mut self, p: usize) {
        let crash = [Crash::LoseUnsynced, Crash::Tear, Crash::KeepAll][below(&mut self.rng, 3) as usize];
        self.kill_phone(p, crash);
        let delay = self.between((1, 30 * SECOND));
        self.after(delay, Happening::RestartPhone { phone: p });
    }

    fn break_phone_disk(&mut self, p: usize) -> bool {
        let operations = below(&mut self.rng, 60);
        let full = self.chance(40);
        let Medium::Disk(disk) = &self.phones[p].medium else { return false };
        if full {
            disk.fill_after(operations);
        } else {
            disk.fail_after(operations, io::ErrorKind::Other);
        }
        self.phones[p].disk_fault = true;
        self.say(|| format!("phone {p}: its disk fails after {operations} operations"));
        true
    }

    fn restore_or_back_up(&mut self, p: usize) -> bool {
        // The secretary's phone is the root of trust of what was handed over face to face.
        if p == 0 || self.phones[p].disk_fault {
            return false;
        }
        match self.phones[p].backup.clone().filter(|_| self.actions_left.is_multiple_of(2)) {
            None => {
                self.phones[p].backup = Some(self.backup(p));
                false
            }
            Some(backup) => {
                self.restore_phone(p, &backup);
                let delay = self.between((1, 30 * SECOND));
                self.after(delay, Happening::RestartPhone { phone: p });
                true
            }
        }
    }

    fn twin_or_back_up(&mut self, p: usize) -> bool {
        if p == 0 || self.phones[p].disk_fault || self.phones.len() > self.opts.phones_max {
            return false;
        }
        // More connections of one device than that the relay does not take.
        let device = self.phones[p].device;
        let copies = self.phones.iter().filter(|phone| phone.device == device).count();
        if copies >= HubConfig::default().connections_per_device_max {
            return false;
        }
        let old = self.phones[p].backup.clone().filter(|_| self.actions_left.is_multiple_of(2));
        let backup = old.unwrap_or_else(|| self.backup(p));
        self.say(|| format!("phone {p} gets a twin"));
        self.add_twin(p, &backup);
        true
    }

    fn kill_and_restart_relay(&mut self) -> bool {
        if self.relay.node.is_none() {
            return false;
        }
        let crash = [Crash::LoseUnsynced, Crash::Tear, Crash::KeepAll][below(&mut self.rng, 3) as usize];
        self.kill_relay(crash);
        let delay = self.between((1, 20 * SECOND));
        self.after(delay, Happening::RestartRelay);
        true
    }

    fn break_relay_disk(&mut self) -> bool {
        if self.relay.node.is_none() {
            return false;
        }
        let operations = below(&mut self.rng, 60);
        self.relay.disk.fail_after(operations, io::ErrorKind::Other);
        self.relay.disk_fault = true;
        self.say(|| format!("the relay's disk fails after {operations} operations"));
        true
    }

    fn restore_or_copy_relay(&mut self) -> bool {
        if self.relay.node.is_none() || self.relay.disk_fault {
            return false;
        }
        match self.relay.copy.clone().filter(|_| self.actions_left.is_multiple_of(2)) {
            None => {
                self.relay.copy = Some(self.relay.disk.durable_image());
                false
            }
            Some(copy) => {
                self.restore_relay(copy);
                let delay = self.between((1, 20 * SECOND));
                self.after(delay, Happening::RestartRelay);
                true
            }
        }
    }

    /// No more faults: everything comes up, and what is broken is found out by its own timers.
    pub(crate) fn heal(&mut self) {
        self.healing = true;
        self.actions_left = 0;
        self.say(|| "faults are over".to_owned());
        self.close_hall();
        self.relay.slow = false;
        self.relay.disk.heal();
        self.relay.disk_fault = false;
        self.slow_until = 0;
        self.start_relay();
        for p in 0..self.phones.len() {
            if let Medium::Disk(disk) = &self.phones[p].medium {
                disk.heal();
            }
            self.phones[p].disk_fault = false;
            self.start_phone(p);
            self.online(p);
            self.resume(p);
        }
    }
}
