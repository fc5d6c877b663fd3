//! What kind of world a seed stands for: drawn first, so that runs differ in kind and not only in chance.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

/// A number below `n`.
pub(crate) fn below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    rng.next_u64() % n.max(1)
}

/// A number from `from` to `to`, both included.
pub(crate) fn between(rng: &mut ChaCha8Rng, from: u64, to: u64) -> u64 {
    from + below(rng, to - from + 1)
}

/// True `percent` times of a hundred.
pub(crate) fn chance(rng: &mut ChaCha8Rng, percent: u64) -> bool {
    below(rng, 100) < percent
}

/// Times are virtual microseconds. A weight of 0 switches a fault off.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Phones at the start; the first is the secretary's.
    pub(crate) phones: usize,
    /// Phones at most, with those that join later and twins.
    pub(crate) phones_max: usize,
    /// Members, by whom phones are shared out.
    pub(crate) members: usize,
    /// The last of the first phones only reads.
    pub(crate) reader: bool,
    /// Phones keep their store in memory instead of redb on a simulated disk.
    pub(crate) memory_store: bool,
    /// Things that people do before everything is healed.
    pub(crate) actions: u64,
    /// Between two of them, at most.
    pub(crate) action_gap: u64,
    /// Between two faults, at most.
    pub(crate) fault_gap: u64,
    /// One way over a link, at least and at most.
    pub(crate) latency: (u64, u64),
    /// Frames that may be on the way in one direction.
    pub(crate) window: usize,
    /// Of a commit at the relay.
    pub(crate) fsync: (u64, u64),
    /// Of a verification or a read at the relay.
    pub(crate) effect: (u64, u64),
    /// The monotonic clock of phones stops while they sleep.
    pub(crate) clock_sleeps: bool,
    /// Some edits go through the typing buffer.
    pub(crate) typing: bool,
    pub(crate) snapshot_min: usize,
    pub(crate) open_bytes_max: usize,
    pub(crate) events_max: usize,
    /// A hostile hand has the key of a phone: see `hostile.rs`.
    pub(crate) hostile: bool,
    /// Of a hundred things that people do, so many change who may do what.
    pub(crate) removals: u64,
    /// People write minutes, resolutions, votes and feedback with the commands of the model.
    pub(crate) model: bool,
    /// Some phones' clocks are years wrong from the beginning.
    pub(crate) wrong_clocks: bool,
    /// Between two meetings of phones without a relay, at most; 0 if there are none.
    pub(crate) hall_gap: u64,
    /// Phones open their stores as the client does: beside a marker that no backup holds.
    pub(crate) marked: bool,
    pub(crate) faults: Faults,
}

/// Relative frequencies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) link_break: u64,
    pub(crate) half_open: u64,
    pub(crate) clog: u64,
    pub(crate) offline: u64,
    pub(crate) suspend: u64,
    pub(crate) clock_jump: u64,
    pub(crate) phone_kill: u64,
    pub(crate) phone_disk: u64,
    pub(crate) phone_restore: u64,
    pub(crate) twin: u64,
    pub(crate) relay_kill: u64,
    pub(crate) relay_disk: u64,
    pub(crate) relay_restore: u64,
    pub(crate) slow_fsync: u64,
    pub(crate) relay_full: u64,
    pub(crate) phone_full: u64,
    pub(crate) stall: u64,
    pub(crate) slow_links: u64,
    /// These happen when a process starts.
    pub(crate) relay_start: u64,
    pub(crate) phone_start: u64,
}

impl Faults {
    pub(crate) fn total(&self) -> u64 {
        self.weights().iter().sum()
    }

    pub(crate) fn weights(&self) -> [u64; 18] {
        [
            self.link_break,
            self.half_open,
            self.clog,
            self.offline,
            self.suspend,
            self.clock_jump,
            self.phone_kill,
            self.phone_disk,
            self.phone_restore,
            self.twin,
            self.relay_kill,
            self.relay_disk,
            self.relay_restore,
            self.slow_fsync,
            self.relay_full,
            self.phone_full,
            self.stall,
            self.slow_links,
        ]
    }
}

impl Options {
    /// A quiet world: nothing fails.
    pub(crate) fn calm() -> Self {
        Self {
            phones: 2,
            phones_max: 2,
            members: 2,
            reader: false,
            memory_store: false,
            actions: 40,
            action_gap: 2_000_000,
            fault_gap: 5_000_000,
            latency: (5_000, 40_000),
            window: 4,
            fsync: (1_000, 10_000),
            effect: (100, 1_000),
            clock_sleeps: false,
            typing: false,
            snapshot_min: 1 << 20,
            open_bytes_max: 16 << 20,
            events_max: 4_096,
            hostile: false,
            removals: 0,
            model: false,
            wrong_clocks: false,
            hall_gap: 0,
            marked: false,
            faults: Faults::default(),
        }
    }

    /// The options of a seed.
    pub(crate) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let phones = between(rng, 1, 5) as usize;
        let slow_link = chance(rng, 30);
        let slow_disk = chance(rng, 30);
        let mut faults = Faults::default();
        let mut switch =
            |percent: u64, most: u64| if chance(rng, percent) { between(rng, 1, most) } else { 0 };
        faults.link_break = switch(60, 10);
        faults.half_open = switch(50, 6);
        faults.clog = switch(40, 6);
        faults.offline = switch(40, 6);
        faults.suspend = switch(40, 5);
        faults.clock_jump = switch(30, 3);
        faults.phone_kill = switch(50, 8);
        faults.phone_disk = switch(25, 4);
        faults.relay_kill = switch(50, 6);
        faults.relay_disk = switch(20, 3);
        faults.slow_fsync = switch(30, 4);
        // A phone and the relay going back in time together can lose what only they had: not both in one world.
        match below(rng, 4) {
            0 => faults.relay_restore = between(rng, 1, 3),
            1 => {
                faults.phone_restore = between(rng, 0, 2);
                faults.twin = between(rng, 0, 2);
            }
            _ => {}
        }
        Self {
            phones,
            phones_max: phones + below(rng, 4) as usize,
            members: between(rng, 1, phones as u64) as usize,
            reader: phones > 1 && chance(rng, 30),
            memory_store: chance(rng, 25),
            actions: between(rng, 20, 160),
            action_gap: [200_000, 2_000_000, 8_000_000][below(rng, 3) as usize],
            fault_gap: [1_000_000, 6_000_000, 20_000_000][below(rng, 3) as usize],
            latency: if slow_link { (50_000, 1_500_000) } else { (2_000, 80_000) },
            window: [1, 2, 8][below(rng, 3) as usize],
            fsync: if slow_disk { (20_000, 3_000_000) } else { (1_000, 20_000) },
            effect: if chance(rng, 20) { (1_000, 900_000) } else { (50, 2_000) },
            clock_sleeps: chance(rng, 50),
            typing: chance(rng, 40),
            snapshot_min: [600, 4_000, 1 << 20][below(rng, 3) as usize],
            open_bytes_max: if chance(rng, 30) { 1 } else { 16 << 20 },
            events_max: if chance(rng, 20) { 3 } else { 4_096 },
            hostile: false,
            removals: 0,
            model: false,
            wrong_clocks: false,
            hall_gap: 0,
            marked: false,
            faults,
        }
    }

    /// What was thought of later: drawn last, so that seeds that found something before stay what they were.
    pub(crate) fn draw_more(&mut self, rng: &mut ChaCha8Rng) {
        if chance(rng, 40) {
            self.removals = between(rng, 2, 8);
            self.phones_max += 2;
        }
        self.model = chance(rng, 30);
        self.wrong_clocks = chance(rng, 20);
        let mut switch =
            |percent: u64, most: u64| if chance(rng, percent) { between(rng, 1, most) } else { 0 };
        self.faults.relay_full = switch(20, 3);
        self.faults.phone_full = switch(20, 4);
        self.faults.stall = switch(30, 4);
        self.faults.slow_links = switch(30, 4);
        self.faults.relay_start = switch(30, 1);
        self.faults.phone_start = switch(30, 1);
        if chance(rng, 40) {
            self.hall_gap = [2_000_000, 20_000_000][below(rng, 2) as usize];
        }
        // Where no relay says what comes first, only the marker keeps two copies of a phone apart (docs/TESTING.md, "Open"):
        // worlds without it are drawn where phones do not meet.
        let copies = self.faults.phone_restore + self.faults.twin > 0;
        self.marked = copies && self.hall_gap > 0 && std::env::var_os("SIM_UNMARKED").is_none();
    }
}
