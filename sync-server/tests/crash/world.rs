//! One relay and some phones that are killed over and over, and what must hold after every kill and at the end.

use std::fmt;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dinh_core::client::{Client, block_on};
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, LogEpoch, MemberId, Seq};
use dinh_proto::item::{Kind, RawItem};
use dinh_proto::keys::SignKey;
use dinh_server::log::RedbLog;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::child::{self, Task};
use crate::process::{Heard, PATIENCE, Phone, Relay};
use crate::report;
use crate::tokens::{self, Numbers};

/// Phones that edit; one more device only ever reads, with an empty store, what a copy of the relay's log holds.
const PHONES: usize = 4;
const AUDITOR: usize = PHONES;
/// So many kills of the relay for each reading of its log by a new device.
const KILLS_PER_AUDIT: u64 = 8;
/// Ports below those that the system gives to outgoing connections, so that nobody takes the relay's while it is dead.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

#[derive(Debug, Default)]
pub(crate) struct Counts {
    rounds: AtomicU64,
    relay_kills: AtomicU64,
    phone_kills: AtomicU64,
    start_kills: AtomicU64,
    saved: AtomicU64,
    acked: AtomicU64,
    audits: AtomicU64,
    worlds: AtomicU64,
}

impl Counts {
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        write!(
            f,
            "{} rounds ({} relay kills, {} phone kills, {} of them while starting), {} edits saved, {} seen \
             acknowledged, {} logs read by a new device, {} worlds converged, 0 lost",
            of(&self.rounds),
            of(&self.relay_kills),
            of(&self.phone_kills),
            of(&self.start_kills),
            of(&self.saved),
            of(&self.acked),
            of(&self.audits),
            of(&self.worlds)
        )
    }
}

fn add(count: &AtomicU64, n: u64) {
    count.fetch_add(n, Ordering::Relaxed);
}

pub(crate) struct World {
    name: String,
    rng: ChaCha8Rng,
    total: Arc<Counts>,
    /// Kept when something is wrong.
    directory: Option<tempfile::TempDir>,
    at: PathBuf,
    listen: String,
    address: String,
    docs: [DocId; 2],
    devices: Vec<dinh_proto::ids::DeviceId>,
    phones: Vec<Phone>,
    relay: Option<Relay>,
    relay_kills: u64,
    /// Of each phone, what it had been told when the relay was killed last.
    acked_at_kill: Vec<Numbers>,
}

impl World {
    pub(crate) fn new(seed: u64, number: u64, total: Arc<Counts>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        let parent = std::env::var_os("CRASH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = tempfile::Builder::new().prefix("dinh-crash-").tempdir_in(parent).unwrap();
        let at = directory.path().to_owned();
        let (docs, devices) = found(&at);
        let port = loop {
            let port = PORTS.start + (rng.next_u32() % u32::try_from(PORTS.len()).unwrap()) as u16;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        };
        let listen = format!("127.0.0.1:{port}");
        let mut relay = Relay::spawn(&at.join("relay"), &listen);
        let address = relay.address();
        Self {
            name: format!("seed {seed}, world {number}, {}", at.display()),
            rng,
            total,
            directory: Some(directory),
            at,
            listen,
            address,
            docs,
            devices,
            phones: (0..PHONES).map(Phone::new).collect(),
            relay: Some(relay),
            relay_kills: 0,
            acked_at_kill: Vec::new(),
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        u64::from(self.rng.next_u32()) % n
    }

    fn pause(&mut self, least_ms: u64, most_ms: u64) {
        let us = least_ms * 1_000 + self.below((most_ms - least_ms) * 1_000);
        std::thread::sleep(Duration::from_micros(us));
    }

    pub(crate) fn run(mut self, rounds: u64) {
        for phone in 0..PHONES {
            self.start(phone);
        }
        self.wait_for_start(&(0..PHONES).collect::<Vec<_>>());
        for _ in 0..rounds {
            self.round();
            add(&self.total.rounds, 1);
        }
        self.converge();
        let saved: usize = self.phones.iter().map(|p| p.heard().saved.len()).sum();
        add(&self.total.saved, saved as u64);
        let acked: usize = self.acked_at_kill.iter().map(Numbers::len).sum();
        add(&self.total.acked, acked as u64);
        add(&self.total.worlds, 1);
        report(&format!("crash: {} so far", self.total));
        self.phones.clear();
        self.relay = None;
        drop(self.directory.take());
    }

    fn round(&mut self) {
        self.pause(10, 250);
        let (relay, victims): (bool, Vec<usize>) = match self.below(10) {
            0..=3 => (true, Vec::new()),
            4..=6 => (false, vec![self.below(PHONES as u64) as usize]),
            7 => (false, (0..PHONES).collect()),
            8 => (true, vec![self.below(PHONES as u64) as usize]),
            _ => (true, (0..PHONES).collect()),
        };
        // Either first: neither may count on the other's last words.
        let phones_first = self.below(2) == 0;
        if phones_first {
            victims.iter().for_each(|v| self.phones[*v].kill());
        }
        if relay {
            self.kill_relay();
        }
        if !phones_first {
            victims.iter().for_each(|v| self.phones[*v].kill());
        }
        add(&self.total.phone_kills, victims.len() as u64);
        let audit = relay.then(|| self.check_log()).flatten();
        // Some fall again while they start.
        while self.below(4) == 0 {
            self.kill_while_starting(relay, &victims);
        }
        if relay {
            self.start_relay();
        }
        victims.iter().for_each(|v| self.start(*v));
        self.wait_for_start(&victims);
        if let Some(copy) = audit {
            self.audit(&copy, None);
        }
    }

    fn kill_relay(&mut self) {
        self.relay.take().unwrap().kill();
        self.relay_kills += 1;
        add(&self.total.relay_kills, 1);
    }

    fn kill_while_starting(&mut self, relay: bool, victims: &[usize]) {
        let half = relay.then(|| Relay::spawn(&self.at.join("relay"), &self.listen));
        victims.iter().for_each(|v| self.start(*v));
        self.pause(0, 150);
        if let Some(half) = half {
            half.kill();
            add(&self.total.relay_kills, 1);
            add(&self.total.start_kills, 1);
        }
        for v in victims {
            self.phones[*v].kill();
            self.check_held(*v, false);
        }
        add(&self.total.phone_kills, victims.len() as u64);
        add(&self.total.start_kills, victims.len() as u64);
    }

    fn start_relay(&mut self) {
        let mut relay = Relay::spawn(&self.at.join("relay"), &self.listen);
        assert_eq!(relay.address(), self.address, "{}", self.name);
        self.relay = Some(relay);
        self.phones.iter_mut().for_each(|p| p.tell("net"));
    }

    fn task(&mut self, index: usize) -> Task {
        Task {
            directory: self.at.clone(),
            index,
            phones: PHONES,
            relay: self.address.clone(),
            docs: self.docs,
            next: self.phones.get(index).map_or(0, |p| p.heard().begun) + 1,
            seed: u64::from(self.rng.next_u32()),
            join: None,
        }
    }

    fn start(&mut self, index: usize) {
        let task = self.task(index);
        self.phones[index].spawn(&task);
    }

    fn wait_for_start(&mut self, victims: &[usize]) {
        for v in victims {
            let heard = self.phones[*v].wait(|h| h.ready, PATIENCE);
            assert!(heard.is_some(), "{}: phone {v} does not start", self.name);
            self.check_held(*v, true);
        }
    }

    /// Every edit that was reported saved is in the phone's store after a restart, and nothing that it never began.
    fn check_held(&mut self, index: usize, must: bool) {
        let heard = self.phones[index].heard();
        let Some(held) = &heard.held else {
            assert!(!must, "{}: phone {index} does not say what it holds", self.name);
            return;
        };
        // It may have gone on since it said so.
        let lost: Vec<_> = self.phones[index].before_start.difference(held).collect();
        assert!(
            lost.is_empty(),
            "{}: phone {index} said that {lost:?} are saved, and they are gone",
            self.name
        );
        let invented: Vec<_> = held.iter().filter(|n| **n > heard.begun).collect();
        assert!(invented.is_empty(), "{}: phone {index} holds {invented:?}, never begun", self.name);
        self.phones[index].note_saved(held);
    }

    /// What phones were told is in the relay's log, as the kill left it: every `KILLS_PER_AUDIT`th copy is also for a new
    /// device to read.
    fn check_log(&mut self) -> Option<PathBuf> {
        let copy = self.at.join("copy");
        let _ = std::fs::remove_dir_all(&copy);
        std::fs::create_dir(&copy).unwrap();
        for file in std::fs::read_dir(self.at.join("relay")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
        self.acked_at_kill = self.phones.iter().map(|p| p.heard().acknowledged()).collect();
        let name = &self.name;
        let log = RedbLog::open(&copy.join("relay.redb"), LogEpoch([0xee; 8])).unwrap();
        let seqs: Vec<Seq> = (1..=log.head().0).map(Seq).collect();
        let items = log.read(&seqs).unwrap();
        let items: Vec<_> =
            items.into_iter().map(|(_, bytes)| RawItem::parse(bytes).unwrap().header().clone()).collect();
        for (phone, device) in self.phones.iter().zip(&self.devices) {
            let heard = phone.heard();
            let Some(at) = (heard.acked_seq as usize).checked_sub(1) else { continue };
            let index = phone.index;
            let seq = heard.acked_seq;
            let item = items.get(at);
            let item = item.unwrap_or_else(|| {
                panic!("{name}: {seq} was acknowledged, and the log ends at {}", items.len())
            });
            // In the place of a snapshot that came too late the relay names another device's, which covers as much.
            assert!(
                item.author.device == *device || item.kind == Kind::Snapshot,
                "{name}: {seq} was acknowledged to phone {index}, and {:?} has a {:?} there",
                item.author.device,
                item.kind
            );
            let own = items.iter().filter(|i| i.author.device == *device && i.kind == Kind::Run);
            let changes: u64 = own.map(|i| u64::from(i.count)).sum();
            let acknowledged = heard.acknowledged().len() as u64;
            assert!(
                changes >= acknowledged,
                "{name}: {acknowledged} edits of phone {index} were acknowledged, {changes} are in the log"
            );
        }
        drop(log);
        (self.relay_kills % KILLS_PER_AUDIT == 1).then_some(copy)
    }

    /// A new device reads everything from a relay on a copy of the log, to which nobody else connects.
    fn audit(&mut self, copy: &Path, whole: Option<&str>) {
        let before: Vec<Heard> = self.phones.iter().map(Phone::heard).collect();
        let mut relay = Relay::spawn(copy, "127.0.0.1:0");
        let directory = tempfile::tempdir_in(&self.at).unwrap();
        let mut task = self.task(AUDITOR);
        task.directory = directory.path().to_owned();
        task.relay = relay.address();
        task.join = Some(self.at.join("invitation"));
        let mut auditor = Phone::new(AUDITOR);
        auditor.spawn(&task);
        let heard = auditor.wait(|h| h.state.starts_with("synced"), PATIENCE);
        let heard = heard.unwrap_or_else(|| panic!("{}: the auditor {}", self.name, auditor.heard().state));
        let state = State::read(&heard.state);
        assert_eq!(state.quarantined, 0, "{}", self.name);
        for (index, held) in state.held.iter().enumerate() {
            let acked = &self.acked_at_kill[index];
            let lost: Vec<_> = acked.difference(held).collect();
            assert!(
                lost.is_empty(),
                "{}: {lost:?} of phone {index} were acknowledged and are not in the log",
                self.name
            );
            let invented: Vec<_> = held.iter().filter(|n| **n > before[index].begun).collect();
            assert!(invented.is_empty(), "{}: the log holds {invented:?} of phone {index}", self.name);
            if whole.is_some() {
                assert_eq!(*held, before[index].saved, "{}: phone {index}", self.name);
            }
        }
        if let Some(whole) = whole {
            assert_eq!(heard.state, whole, "{}", self.name);
        }
        add(&self.total.audits, 1);
    }

    /// Nobody is killed any more: everybody comes to the same documents, in which nothing is missing.
    fn converge(&mut self) {
        self.phones.iter_mut().for_each(|p| p.tell("quiet"));
        let said = |phones: &[Phone]| phones.iter().map(|p| p.heard().state).collect::<Vec<_>>();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            self.phones.iter_mut().for_each(|p| p.tell("net"));
            std::thread::sleep(Duration::from_millis(200));
            let states = said(&self.phones);
            if states[0].starts_with("synced") && states.iter().all(|s| *s == states[0]) {
                break;
            }
        }
        let states = said(&self.phones);
        let same = states[0].starts_with("synced") && states.iter().all(|s| *s == states[0]);
        assert!(same, "{}: they do not converge: {states:#?}", self.name);
        let state = State::read(&states[0]);
        assert_eq!(state.quarantined, 0, "{}", self.name);
        for (index, held) in state.held.iter().enumerate() {
            let heard = self.phones[index].heard();
            let lost: Vec<_> = heard.saved.difference(held).collect();
            assert!(lost.is_empty(), "{}: {lost:?} of phone {index} were saved and are gone", self.name);
            assert!(held.iter().all(|n| *n <= heard.begun), "{}: phone {index}", self.name);
        }
        self.relay_kills = 0;
        self.kill_relay();
        let copy = self.check_log().unwrap();
        self.audit(&copy, Some(&states[0]));
    }
}

/// A phone's line about its state.
struct State {
    quarantined: usize,
    held: Vec<Numbers>,
}

impl State {
    fn read(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        Self { quarantined: words[2].parse().unwrap(), held: words[3].split(';').map(tokens::read).collect() }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take() {
            let kept = directory.keep();
            report(&format!("crash: FAILED, {}: kept {}", self.name, kept.display()));
        }
    }
}

/// A branch of these phones and the auditor, two spaces with a document each, and no relay yet.
fn found(at: &Path) -> ([DocId; 2], Vec<dinh_proto::ids::DeviceId>) {
    let open = |n| Client::open_blocking(child::config(at, n)).unwrap();
    let clients: Vec<Client> = (0..PHONES).map(open).collect();
    let auditor = open(AUDITOR);
    let first = &clients[0];
    let docs = block_on(async {
        let root = SignKey::from_seed(&[99; 32]);
        let branch = first.found_branch(root, MemberId([1; 16]), "máy bí thư").await.unwrap();
        for (n, client) in clients.iter().chain([&auditor]).enumerate().skip(1) {
            let member = MemberId([u8::try_from(n + 1).unwrap(); 16]);
            first.admit_device(branch, member, Role::Member, client.join_request(), "máy").await.unwrap();
        }
        let mut docs = Vec::new();
        for _ in 0..2 {
            let space = first.create_space(branch, Audience::Everyone).await.unwrap();
            docs.push(first.create_document(space, Writers::All).await.unwrap());
        }
        let invitation = first.invitation(branch).await.unwrap();
        std::fs::write(at.join("invitation"), &invitation).unwrap();
        for client in &clients[1..] {
            client.join(invitation.clone()).await.unwrap();
        }
        docs
    });
    let devices = clients.iter().map(Client::device).collect();
    for client in clients.iter().chain([&auditor]) {
        client.shutdown_blocking().unwrap();
    }
    (docs.try_into().unwrap(), devices)
}
