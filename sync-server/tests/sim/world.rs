//! The world: virtual time, one seed, and a queue of what will happen. It pops the earliest, tells one node, and
//! does what that node then asks for. Phones are production replicas, the relay is the production hub and log.

use std::cell::RefCell;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use dinh_proto::error::RejectCode;
use dinh_proto::ids::{Seq, SpaceId};
use dinh_proto::item::Item;
use dinh_proto::time::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

use crate::bounds::Marks;
use crate::hall::HallConn;
use crate::hostile::HostileConn;
use crate::net::{Conn, ConnKeys, Direction, Tap};
use crate::options::{Options, between, chance};
use crate::phone::Phone;
use crate::privacy::Served;
use crate::relay::Relay;
use crate::spy::Ledger;
use crate::truth::Truth;

pub(crate) const SECOND: u64 = 1_000_000;

/// What will happen. `life` is that of the process it is about: an earlier one hears nothing of it.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A frame arrives at the relay.
    Up {
        conn: u64,
        frame: Vec<u8>,
    },
    /// A frame arrives at the phone.
    Down {
        conn: u64,
        frame: Vec<u8>,
    },
    /// The phone tries to connect.
    Connect {
        phone: usize,
        life: u64,
    },
    /// A connection is open at both ends.
    Connected {
        phone: usize,
        conn: u64,
        phone_life: u64,
        relay_life: u64,
    },
    /// No connection could be made.
    ConnectFailed {
        phone: usize,
        life: u64,
    },
    /// The phone's end hears that the connection is gone.
    PhoneGone {
        conn: u64,
    },
    /// The relay's end hears it.
    RelayGone {
        conn: u64,
    },
    WakePhone {
        phone: usize,
        life: u64,
    },
    WakeRelay {
        life: u64,
    },
    Verified {
        life: u64,
        token: u64,
        results: Vec<Result<Item, RejectCode>>,
    },
    Read {
        life: u64,
        token: u64,
        seqs: Vec<Seq>,
    },
    Loaded {
        life: u64,
        token: u64,
        space: SpaceId,
    },
    /// The disk is done with a commit.
    CommitDone {
        life: u64,
    },
    /// The hub hears of it.
    CommitTold {
        life: u64,
        answers: Vec<(u64, Seq)>,
    },
    RestartPhone {
        phone: usize,
    },
    RestartRelay,
    Resume {
        phone: usize,
    },
    Online {
        phone: usize,
    },
    FastDisk,
    /// Somebody does something.
    Act,
    /// Something fails.
    Fault,
    /// Two phones meet without a relay, or part.
    Meet,
    /// A frame arrives at one end of a connection between two phones.
    HallFrame {
        conn: u64,
        end: usize,
        frame: Vec<u8>,
    },
    /// One end of it hears that it is gone.
    HallGone {
        conn: u64,
        end: usize,
    },
    Probe,
}

struct Entry {
    at: u64,
    n: u64,
    what: Happening,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.n).cmp(&(other.at, other.n))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// What a run did, for the summary.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) virtual_us: u64,
    pub(crate) edits: u64,
    pub(crate) items: u64,
    pub(crate) frames: u64,
    pub(crate) faults: [u64; 20],
    pub(crate) mismatches: u64,
    /// What phones were given and could not use.
    pub(crate) refused: u64,
    pub(crate) recoveries: u64,
    pub(crate) snapshots_made: u64,
    pub(crate) snapshots_used: u64,
    pub(crate) reconciles: u64,
    pub(crate) heal_us_max: u64,
    pub(crate) presence: u64,
    pub(crate) meetings: u64,
    pub(crate) hall_frames: u64,
    /// Rights taken away, by kind: devices and members removed, roles changed, readers taken off.
    pub(crate) cuts: [u64; 4],
    /// What devices that were out did, on each phone that was looked at for it.
    pub(crate) refused_deeds: u64,
    pub(crate) marks: Marks,
    /// Commands of the model that were done, by kind, and that were refused where they were made.
    pub(crate) acts: [u64; 9],
    pub(crate) acts_refused: u64,
    /// Seals that were looked at on a phone, and late changes in them.
    pub(crate) seals_checked: u64,
    pub(crate) late: u64,
}

/// See the module.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: ChaCha8Rng,
    queue: BinaryHeap<Reverse<Entry>>,
    next_entry: u64,
    pub(crate) opts: Options,
    pub(crate) phones: Vec<Phone>,
    pub(crate) relay: Relay,
    pub(crate) conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    /// Connections between phones.
    pub(crate) hall: BTreeMap<u64, HallConn>,
    pub(crate) next_hall: u64,
    pub(crate) hostile: Option<HostileConn>,
    pub(crate) next_hostile: u64,
    pub(crate) ledger: Rc<RefCell<Ledger>>,
    pub(crate) truth: Truth,
    /// Who may be given what, at this point of the relay's log.
    pub(crate) served: Served,
    pub(crate) totals: Totals,
    pub(crate) actions_left: u64,
    /// Faults are over: everything comes up, stays up and must converge.
    pub(crate) healing: bool,
    pub(crate) last_busy: u64,
    /// All links are slow until then.
    pub(crate) slow_until: u64,
    tracing: bool,
    trace: Sha256,
    same_time: u64,
}

impl World {
    pub(crate) fn new(seed: u64, opts: Options, tracing: bool) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0064_696e_6873_696d);
        let relay = Relay::new(rng.next_u64());
        let mut world = Self {
            now: SECOND,
            queue: BinaryHeap::new(),
            next_entry: 0,
            actions_left: opts.actions,
            opts,
            phones: Vec::new(),
            relay,
            conns: BTreeMap::new(),
            next_conn: 0,
            hall: BTreeMap::new(),
            next_hall: 0,
            hostile: None,
            next_hostile: 0,
            ledger: Rc::default(),
            truth: Truth::default(),
            served: Served::new(SpaceId::default()),
            totals: Totals::default(),
            healing: false,
            last_busy: 0,
            slow_until: 0,
            tracing,
            trace: Sha256::new(),
            same_time: 0,
            rng,
        };
        world.start_relay();
        world
    }

    /// A line of the trace, made only if somebody reads it.
    pub(crate) fn say(&self, line: impl FnOnce() -> String) {
        if self.tracing {
            println!("{:>12.6}  {}", self.now as f64 / SECOND as f64, line());
        }
    }

    /// Adds to the hash of everything that happened.
    pub(crate) fn hash(&mut self, tag: u8, numbers: &[u64], bytes: &[u8]) {
        self.trace.update([tag]);
        self.trace.update(self.now.to_le_bytes());
        numbers.iter().for_each(|n| self.trace.update(n.to_le_bytes()));
        self.trace.update(bytes);
    }

    pub(crate) fn trace_hash(&self) -> [u8; 32] {
        self.trace.clone().finalize().into()
    }

    pub(crate) fn mono(&self) -> Timestamp {
        Timestamp(self.now)
    }

    pub(crate) fn at(&mut self, at: u64, what: Happening) {
        let n = self.next_entry;
        self.next_entry += 1;
        self.queue.push(Reverse(Entry { at: at.max(self.now), n, what }));
    }

    pub(crate) fn after(&mut self, delay: u64, what: Happening) {
        self.at(self.now + delay, what);
    }

    pub(crate) fn between(&mut self, range: (u64, u64)) -> u64 {
        between(&mut self.rng, range.0, range.1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        chance(&mut self.rng, percent)
    }

    pub(crate) fn seed32(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        seed
    }

    /// Lets the earliest thing happen. False if nothing will ever happen again.
    pub(crate) fn step(&mut self) -> bool {
        let Some(Reverse(entry)) = self.queue.pop() else { return false };
        self.same_time = if entry.at == self.now { self.same_time + 1 } else { 0 };
        assert!(
            self.same_time < 200_000,
            "time stands still: a node wakes itself for ever ({:?})",
            entry.what
        );
        self.now = entry.at;
        self.happen(entry.what);
        if let Some(violation) = self.ledger.borrow().violations.first() {
            panic!("{violation}");
        }
        true
    }

    /// Runs for a time.
    pub(crate) fn run_for(&mut self, span: u64) {
        let end = self.now + span;
        self.at(end, Happening::Probe);
        while self.now < end && self.step() {}
    }

    /// Runs until something holds, looking every second.
    pub(crate) fn run_until(&mut self, within: u64, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let end = self.now + within;
        while !holds(self) {
            assert!(self.now < end, "not within {} s: {what}\n{}", within / SECOND, self.describe());
            self.run_for(SECOND);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Up { conn, frame } => self.frame_at_relay(conn, frame),
            Happening::Down { conn, frame } => self.frame_at_phone(conn, frame),
            Happening::Connect { phone, life } => self.connect(phone, life),
            Happening::Connected { phone, conn, phone_life, relay_life } => {
                self.connected(phone, conn, phone_life, relay_life);
            }
            Happening::ConnectFailed { phone, life } => self.connect_failed(phone, life),
            Happening::PhoneGone { conn } => self.phone_gone(conn),
            Happening::RelayGone { conn } => self.relay_gone(conn),
            Happening::WakePhone { phone, life } => self.wake_phone(phone, life),
            Happening::WakeRelay { life } => self.wake_relay(life),
            Happening::Verified { life, token, results } => self.verified(life, token, results),
            Happening::Read { life, token, seqs } => self.read(life, token, &seqs),
            Happening::Loaded { life, token, space } => self.loaded(life, token, space),
            Happening::CommitDone { life } => self.commit_done(life),
            Happening::CommitTold { life, answers } => self.commit_told(life, answers),
            Happening::RestartPhone { phone } => self.start_phone(phone),
            Happening::RestartRelay => self.start_relay(),
            Happening::Resume { phone } => self.resume(phone),
            Happening::Online { phone } => self.online(phone),
            Happening::FastDisk => self.relay.slow = false,
            Happening::Act => self.act(),
            Happening::Fault => self.fault(),
            Happening::Meet => self.meet(),
            Happening::HallFrame { conn, end, frame } => self.frame_in_hall(conn, end, &frame),
            Happening::HallGone { conn, end } => self.hall_gone(conn, end),
            Happening::Probe => {}
        }
    }

    pub(crate) fn new_conn(&mut self, phone: usize) -> u64 {
        let keys = ConnKeys::new(self.seed32());
        let id = self.next_conn;
        self.next_conn += 1;
        let tap = Tap::new(&self.phones[phone].key, &keys);
        let conn = Conn {
            phone,
            keys,
            up: Direction::default(),
            down: Direction::default(),
            phone_open: true,
            relay_open: true,
            tap,
        };
        self.conns.insert(id, conn);
        id
    }

    /// Gives a frame to a link.
    pub(crate) fn send(&mut self, conn: u64, up: bool, frame: Vec<u8>) {
        self.totals.frames += 1;
        let mut latency = self.between(self.opts.latency) + frame.len() as u64 / 4;
        if self.now < self.slow_until {
            latency += self.between((100_000, 6 * SECOND));
        }
        let now = self.now;
        self.hash(if up { 1 } else { 2 }, &[conn], &frame);
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let phone = c.phone;
        let said = if up { c.tap.up(&frame) } else { c.tap.down(&frame) };
        self.say(|| {
            format!("{} #{conn} phone {phone}: {}", if up { "->" } else { "<-" }, said.names.join(" "))
        });
        // What one side still says to a connection that the other has left is no traffic.
        let open = self.conns.get(&conn).is_some_and(|c| c.phone_open && c.relay_open);
        if said.busy && open && !self.is_out(phone) {
            self.last_busy = now;
        }
        self.check_said(conn, phone, &said);
        self.note_passed(conn, phone, &said);
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let way = if up { &mut c.up } else { &mut c.down };
        way.in_flight += 1;
        if way.vanish {
            return;
        }
        let at = (now + latency).max(way.last_at).max(way.clogged_until);
        way.last_at = at;
        self.at(at, if up { Happening::Up { conn, frame } } else { Happening::Down { conn, frame } });
    }

    /// The link breaks: what is on the way is lost, and both ends are told, sooner or later.
    pub(crate) fn break_conn(&mut self, conn: u64) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        (c.up.vanish, c.down.vanish) = (true, true);
        c.up.last_at = u64::MAX;
        let (a, b) = (self.between((1_000, 500_000)), self.between((1_000, 500_000)));
        self.after(a, Happening::PhoneGone { conn });
        self.after(b, Happening::RelayGone { conn });
    }

    /// A connection that both ends have left is forgotten.
    pub(crate) fn forget_conn(&mut self, conn: u64) {
        if self.conns.get(&conn).is_some_and(|c| !c.phone_open && !c.relay_open) {
            self.conns.remove(&conn);
        }
    }

    /// Where everything stands, for messages.
    pub(crate) fn describe(&mut self) -> String {
        let mut out = format!("relay: head {}\n", self.truth.log.len());
        let docs = self.truth.docs.clone();
        for i in 0..self.phones.len() {
            let phone = &mut self.phones[i];
            out += &format!(
                "phone {i} {:?} {:?} role {:?} twin of {:?}: conn {:?} suspended {} ",
                phone.device, phone.member, phone.role, phone.twin_of, phone.conn, phone.suspended
            );
            match &mut phone.replica {
                None => out += "down\n",
                Some(replica) => {
                    out += &format!("{:?} {:?}\n", replica.status(), replica.counters());
                    for (doc, space) in &docs {
                        let hash = replica.document_hash(doc).map(|h| u16::from_le_bytes([h[0], h[1]]));
                        let waiting = replica.waiting_runs(doc).unwrap_or_default();
                        if let Ok(hash) = hash {
                            out += &format!("    {doc} in {space:?}: {hash:04x} waiting {waiting}\n");
                        }
                    }
                }
            }
        }
        out
    }
}
