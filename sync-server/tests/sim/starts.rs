//! Disks that stay full for a while, and processes that die while they start.

use std::io;

use dinh_core::replica::ReplicaError;
use dinh_core::testing::{Crash, SimDisk};
use dinh_server::log::LogError;

use crate::options::below;
use crate::spy::Medium;
use crate::world::{Happening, SECOND, World};

/// What is meant to go wrong when a process starts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// Its disk is full until then.
    pub(crate) full_until: u64,
    /// The process dies in the middle of this start.
    dies: bool,
}

impl World {
    /// Before a start: what is meant to go wrong with it. Returns whether anything is.
    fn arm(&mut self, disk: &SimDisk, trouble: &mut Trouble, weight: u64) -> bool {
        if self.healing {
            *trouble = Trouble::default();
            return false;
        }
        if trouble.full_until > self.now {
            let operations = below(&mut self.rng, 40);
            disk.fill_after(operations);
            return true;
        }
        if weight > 0 && self.chance(40) {
            let operations = below(&mut self.rng, 12);
            disk.fail_after(operations, io::ErrorKind::Other);
            trouble.dies = true;
            return true;
        }
        false
    }

    fn some_crash(&mut self) -> Crash {
        [Crash::LoseUnsynced, Crash::Tear, Crash::KeepAll][below(&mut self.rng, 3) as usize]
    }

    pub(crate) fn arm_phone(&mut self, p: usize) {
        let phone = &self.phones[p];
        let Medium::Disk(disk) = &phone.medium else { return };
        if phone.life == 0 {
            return;
        }
        let (disk, mut trouble) = (disk.clone(), phone.trouble);
        let weight = self.opts.faults.phone_start;
        let armed = self.arm(&disk, &mut trouble, weight);
        self.phones[p].trouble = trouble;
        self.phones[p].disk_fault |= armed;
    }

    /// The phone's store is open: the process lives.
    pub(crate) fn phone_started(&mut self, p: usize) {
        if std::mem::take(&mut self.phones[p].trouble.dies) {
            if let Medium::Disk(disk) = &self.phones[p].medium {
                disk.heal();
            }
            self.phones[p].disk_fault = false;
        }
    }

    /// Whether a process dies when the store has a new marker and the place that no backup holds has not.
    pub(crate) fn dies_before_marking(&mut self, p: usize) -> bool {
        self.phones[p].life > 0 && !self.healing && self.chance(30)
    }

    pub(crate) fn died_before_marking(&mut self, p: usize) {
        let crash = self.some_crash();
        self.phones[p].medium.crash(crash);
        self.say(|| format!("phone {p} dies before its marker is written"));
        let delay = self.between((1, 5 * SECOND));
        self.after(delay, Happening::RestartPhone { phone: p });
    }

    pub(crate) fn phone_start_failed(&mut self, p: usize, error: &ReplicaError) {
        let meant = std::mem::take(&mut self.phones[p].disk_fault);
        assert!(meant && matches!(error, ReplicaError::Store(_)), "phone {p}: it does not start: {error}");
        if std::mem::take(&mut self.phones[p].trouble.dies) {
            self.totals.faults[19] += 1;
        }
        let crash = self.some_crash();
        self.phones[p].medium.crash(crash);
        self.say(|| format!("phone {p} dies while it starts: {error}"));
        let delay = self.between((1, 5 * SECOND));
        self.after(delay, Happening::RestartPhone { phone: p });
    }

    pub(crate) fn arm_relay(&mut self) {
        if self.relay.life == 0 {
            return;
        }
        let (disk, mut trouble) = (self.relay.disk.clone(), self.relay.trouble);
        let weight = self.opts.faults.relay_start;
        let armed = self.arm(&disk, &mut trouble, weight);
        self.relay.trouble = trouble;
        self.relay.disk_fault |= armed;
    }

    pub(crate) fn relay_started(&mut self) {
        if std::mem::take(&mut self.relay.trouble.dies) {
            self.relay.disk.heal();
            self.relay.disk_fault = false;
        }
    }

    pub(crate) fn relay_start_failed(&mut self, error: &LogError) {
        assert!(std::mem::take(&mut self.relay.disk_fault), "the relay does not start: {error}");
        if std::mem::take(&mut self.relay.trouble.dies) {
            self.totals.faults[18] += 1;
        }
        let crash = self.some_crash();
        self.relay.disk.crash(crash);
        self.say(|| format!("the relay dies while it starts: {error}"));
        let delay = self.between((1, 5 * SECOND));
        self.after(delay, Happening::RestartRelay);
    }

    /// The relay's disk is full for a while, and slow before it is.
    pub(crate) fn fill_relay_disk(&mut self) -> bool {
        if self.relay.node.is_none() {
            return false;
        }
        let operations = below(&mut self.rng, 60);
        self.relay.disk.fill_after(operations);
        self.relay.disk_fault = true;
        self.relay.slow = true;
        let span = self.between((SECOND, 60 * SECOND));
        self.relay.trouble.full_until = self.now + span;
        self.after(span, Happening::FastDisk);
        self.say(|| {
            format!("the relay's disk is full after {operations} operations, for {} s", span / SECOND)
        });
        true
    }

    /// The phone's disk is full for a while: the app dies of it, starts again, and dies again when it writes.
    pub(crate) fn fill_phone_disk(&mut self, p: usize) -> bool {
        let Medium::Disk(disk) = self.phones[p].medium.clone() else { return false };
        let operations = below(&mut self.rng, 40);
        disk.fill_after(operations);
        self.phones[p].disk_fault = true;
        let span = self.between((SECOND, 120 * SECOND));
        self.phones[p].trouble.full_until = self.now + span;
        self.say(|| {
            format!("phone {p}: its disk is full after {operations} operations, for {} s", span / SECOND)
        });
        true
    }

    /// One direction of a link delivers nothing for so long that the other side gives it up, and then everything.
    pub(crate) fn stall(&mut self, conn: u64) {
        let until = self.now + self.between((30 * SECOND, 400 * SECOND));
        let up = self.chance(50);
        self.say(|| format!("#{conn} stalls {}", if up { "up" } else { "down" }));
        if let Some(c) = self.conns.get_mut(&conn) {
            let way = if up { &mut c.up } else { &mut c.down };
            way.clogged_until = until;
        }
    }

    /// All links are slow for a while.
    pub(crate) fn slow_links(&mut self) {
        let span = self.between((SECOND, 60 * SECOND));
        self.slow_until = self.now + span;
        self.say(|| format!("links are slow for {} s", span / SECOND));
    }
}
