//! Protected spaces: while the device's second secret is away nothing of them can be read on this phone, neither by its
//! interface nor from its disk with the store's key; everything else goes on, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod small_relay;

use std::path::{Path, PathBuf};

use dinh_core::document::Value;
use dinh_core::path;
use dinh_core::replica::{Event, Replica, ReplicaConfig, ReplicaError};
use dinh_core::store::conformance::dump;
use dinh_core::store::{EncryptedStore, MemoryStore, RedbStore, Store, StoreKey};
use dinh_core::testing::space_key;
use dinh_proto::charter::record::{Audience, JoinRequest, Reason, Role, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::keys::{DeviceKey, RelayKey, SignKey};
use small_relay::{SmallRelay, at};

type Disk = EncryptedStore<RedbStore>;

const SECRET: [u8; 32] = [2; 32];
const WRAP_SECRET: [u8; 32] = [102; 32];
/// Random letters, so that compression leaves them as they are.
const HALL_WORD: &str = "Nhà văn hóa xq7vkz0p";
const COMMITTEE_WORD: &str = "Hồ sơ mật w3jyt9bh";

fn whole() -> DeviceKey {
    DeviceKey::from_secrets(&SECRET, &WRAP_SECRET)
}

/// As an app has it that got the first secret only.
fn locked() -> DeviceKey {
    DeviceKey::locked(&SECRET, *whole().public().wrap()).unwrap()
}

fn store_key() -> StoreKey {
    StoreKey::new([7; 32])
}

fn disk(path: &Path) -> Disk {
    EncryptedStore::open(RedbStore::open(path).unwrap(), &store_key(), [3; 32]).unwrap()
}

fn opened<S: Store>(store: S, key: DeviceKey, seed: u8) -> Replica<S> {
    let config = ReplicaConfig { snapshot_tail_bytes_min: 1_024, ..ReplicaConfig::default() };
    Replica::open(store, key, config, [seed; 32]).unwrap()
}

/// A secretary's phone and a deputy's, which has two secrets; two spaces with a document each.
struct Village {
    relay: SmallRelay,
    secretary: Replica<MemoryStore>,
    phone: Option<Replica<Disk>>,
    branch: SpaceId,
    hall: SpaceId,
    committee: SpaceId,
    notice: DocId,
    minutes: DocId,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Village {
    /// `protect`: the deputy's phone protects the committee's space as soon as it knows it.
    fn new(protect: bool) -> Self {
        let mut this = Self::unconnected(protect);
        this.sync(0);
        this
    }

    fn unconnected(protect: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut secretary = opened(MemoryStore::new(), DeviceKey::from_seed(&[1; 32]), 1);
        let mut deputy = opened(disk(&path), whole(), 2);
        let root = SignKey::from_seed(&[200; 32]);
        let branch = secretary.found_branch(&root, MemberId([1; 16]), "thư ký").unwrap();
        let request = JoinRequest::new(&whole());
        secretary.admit_device(branch, MemberId([2; 16]), Role::Deputy, request, "phó").unwrap();
        let hall = secretary.create_space(branch, Audience::Everyone).unwrap();
        let both = Audience::Members(vec![MemberId([1; 16]), MemberId([2; 16])]);
        let committee = secretary.create_space(branch, both).unwrap();
        let notice = secretary.create_document(hall, Writers::All).unwrap();
        let minutes = secretary.create_document(committee, Writers::All).unwrap();
        deputy.join(&secretary.invitation(branch).unwrap()).unwrap();
        if protect {
            deputy.protect_space(committee, true).unwrap();
        }
        let (relay, phone) = (SmallRelay::default(), Some(deputy));
        let mut this =
            Self { relay, secretary, phone, branch, hall, committee, notice, minutes, path, _dir: dir };
        write(&mut this.secretary, &notice, "s", HALL_WORD);
        write(&mut this.secretary, &minutes, "s", COMMITTEE_WORD);
        this
    }

    fn deputy(&mut self) -> &mut Replica<Disk> {
        self.phone.as_mut().unwrap()
    }

    fn sync(&mut self, seconds: u64) {
        for _ in 0..2 {
            self.relay.meet(&mut self.secretary, at(seconds));
            self.relay.meet(self.phone.as_mut().unwrap(), at(seconds));
        }
    }

    /// Another phone, which has received nothing yet but the branch's records.
    fn admit(&mut self, seed: u8, role: Role) -> Replica<MemoryStore> {
        let key = DeviceKey::from_seed(&[seed; 32]);
        let request = JoinRequest::new(&key);
        self.secretary.admit_device(self.branch, MemberId([seed; 16]), role, request, "máy").unwrap();
        let mut phone = opened(MemoryStore::new(), key, seed);
        phone.join(&self.secretary.invitation(self.branch).unwrap()).unwrap();
        phone
    }

    /// How many keys the deputy's charter knows of a space.
    fn epochs(&mut self, space: SpaceId) -> usize {
        let branch = self.branch;
        self.deputy().charters()[&branch].epochs(&space).count()
    }

    /// The deputy's phone connects, and stays until it has looked what the branch needs of it.
    fn tend(&mut self, seconds: u64) {
        self.relay.meet_and(self.phone.as_mut().unwrap(), at(seconds), |phone| {
            let later = at(seconds + 11);
            assert_eq!(phone.handle_timeout(later).unwrap(), None);
        });
    }

    /// The deputy's phone is killed and opened again.
    fn restart(&mut self, key: DeviceKey) {
        self.phone = None;
        self.phone = Some(opened(disk(&self.path), key, 4));
    }

    /// Kills the deputy's phone and looks for the committee's words and keys in what its store holds, read with the
    /// store's key; then it is opened again. Gives hits, and hits of the hall's words.
    fn scan(&mut self, what: &str, key: DeviceKey) -> (usize, usize) {
        let space_key = space_key(&self.secretary, &self.committee).unwrap().to_bytes().to_vec();
        let wrap = whole().wrap_secret().unwrap().to_vec();
        let secrets = [COMMITTEE_WORD.into(), space_key, wrap, WRAP_SECRET.to_vec()];
        self.phone = None;
        let rows = dump(&disk(&self.path));
        let hits =
            rows.iter().map(|(_, _, value)| secrets.iter().map(|s| count(value, s)).sum::<usize>()).sum();
        let of_hall = rows.iter().map(|(_, _, value)| count(value, HALL_WORD.as_bytes())).sum();
        println!(
            "{what}: {} rows, {hits} hits of committee words and keys, {of_hall} of the hall's",
            rows.len()
        );
        self.restart(key);
        (hits, of_hall)
    }
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).filter(|window| *window == needle).count()
}

fn write<S: Store>(phone: &mut Replica<S>, doc: &DocId, key: &str, text: &str) {
    phone.edit(at(0), doc, None, |e| e.put(&path![key], Value::text(text))).unwrap();
}

fn read<S: Store>(phone: &mut Replica<S>, doc: &DocId, key: &str) -> Option<String> {
    phone.view(doc, |v| v.text(&path![key])).unwrap()
}

fn assert_locked<R: std::fmt::Debug>(result: Result<R, ReplicaError>, space: SpaceId) {
    assert!(matches!(result, Err(ReplicaError::Locked(s)) if s == space), "{result:?}");
}

/// Every way of asking for what is in the committee's document.
fn assert_committee_is_locked(village: &mut Village) {
    let (space, doc, notice) = (village.committee, village.minutes, village.notice);
    let phone = village.deputy();
    assert!(phone.status().protected_locked);
    assert_locked(phone.view(&doc, |_| ()), space);
    assert_locked(phone.document(&doc, |_| ()), space);
    assert_locked(phone.document_hash(&doc), space);
    assert_locked(phone.waiting_runs(&doc), space);
    assert_locked(phone.set_aside_runs(&doc), space);
    assert_locked(phone.edit(at(1), &doc, None, |e| e.put(&path!["x"], 1)), space);
    assert_locked(phone.type_text(at(1), &doc, &path!["s"], "x", false), space);
    assert_locked(phone.rotate_key(space), space);
    assert_locked(phone.protect_space(space, false), space);
    assert!(space_key(phone, &space).is_none());
    assert!(phone.open_documents().all(|open| *open != doc));
    let told = phone.view(&doc, |_| ()).unwrap_err().to_string();
    assert!(told.contains("unlock"), "{told}");
    assert_eq!(read(phone, &notice, "s").as_deref(), Some(HALL_WORD));
}

#[test]
fn nothing_here_opens_what_is_protected_while_it_is_locked() {
    // Saved views, then changes that are in no item.
    let fill = |village: &mut Village| {
        let (minutes, notice) = (village.minutes, village.notice);
        let deputy = village.deputy();
        assert_eq!(read(deputy, &minutes, "s").as_deref(), Some(COMMITTEE_WORD));
        assert_eq!(read(deputy, &notice, "s").as_deref(), Some(HALL_WORD));
        deputy.save_views().unwrap();
        write(deputy, &minutes, "d", &format!("{COMMITTEE_WORD} của phó"));
        write(deputy, &notice, "d", HALL_WORD);
    };
    // The control: without protection, changes, a saved view and the key are found.
    let mut open = Village::new(false);
    fill(&mut open);
    let (found, of_hall) = open.scan("not protected", whole());
    assert!(found >= 3 && of_hall >= 2, "the search finds what is there");
    fill(&mut open);
    let committee = open.committee;
    open.deputy().protect_space(committee, true).unwrap();
    let (hits, of_hall) = open.scan("protected afterwards, killed", locked());
    assert!(hits == 0 && of_hall >= 2);
    assert_committee_is_locked(&mut open);

    let mut village = Village::new(true);
    fill(&mut village);
    let (hits, of_hall) = village.scan("protected, killed with changes in no item", locked());
    assert!(hits == 0 && of_hall > 0);
    assert_committee_is_locked(&mut village);
    assert_eq!(village.deputy().status().pending, 2);
    village.deputy().unlock_protected(at(2), &WRAP_SECRET).unwrap();
    while village.deputy().poll_event().is_some() {}
    fill(&mut village);
    let minutes = village.minutes;
    village.deputy().type_text(at(3), &minutes, &path!["d"], "gõ dở w3jyt9bh", true).unwrap();
    village.deputy().lock_protected(at(4)).unwrap();
    assert_committee_is_locked(&mut village);
    while let Some(event) = village.deputy().poll_event() {
        let content = matches!(event, Event::DocumentChanged { doc, .. } if doc == minutes);
        assert!(!content, "no content waits in events");
    }
    let (hits, of_hall) = village.scan("locked", locked());
    assert!(hits == 0 && of_hall > 0);
    assert_committee_is_locked(&mut village);

    // Everything is there again, also by opening with both.
    village.deputy().unlock_protected(at(5), &WRAP_SECRET).unwrap();
    assert_eq!(read(village.deputy(), &minutes, "d").as_deref(), Some("gõ dở w3jyt9bh"));
    assert!(!village.deputy().status().protected_locked);
    let (hits, _) = village.scan("unlocked", whole());
    assert_eq!(hits, 0);
    assert_eq!(read(village.deputy(), &minutes, "d").as_deref(), Some("gõ dở w3jyt9bh"));
    village.sync(10);
    assert_eq!(read(&mut village.secretary, &minutes, "d").as_deref(), Some("gõ dở w3jyt9bh"));
    let committee = village.committee;
    village.deputy().protect_space(committee, false).unwrap();
    village.restart(locked());
    assert_eq!(read(village.deputy(), &minutes, "d").as_deref(), Some("gõ dở w3jyt9bh"));
}

#[test]
fn a_wrong_second_secret_unlocks_nothing() {
    let mut village = Village::new(true);
    village.deputy().lock_protected(at(1)).unwrap();
    for wrong in [SECRET, [0; 32], [103; 32]] {
        let refused = village.deputy().unlock_protected(at(2), &wrong);
        assert!(matches!(refused, Err(ReplicaError::WrongWrapSecret)), "{refused:?}");
        assert_committee_is_locked(&mut village);
    }
    village.deputy().unlock_protected(at(3), &WRAP_SECRET).unwrap();
    let wrong = village.deputy().unlock_protected(at(3), &SECRET);
    assert!(matches!(wrong, Err(ReplicaError::WrongWrapSecret)), "also if nothing is locked: {wrong:?}");
    let minutes = village.minutes;
    assert_eq!(read(village.deputy(), &minutes, "s").as_deref(), Some(COMMITTEE_WORD));
    village.phone = None;
    let other = DeviceKey::locked(&SECRET, *DeviceKey::from_seed(&SECRET).public().wrap()).unwrap();
    let opened = Replica::open(disk(&village.path), other, ReplicaConfig::default(), [9; 32]);
    assert!(matches!(opened, Err(ReplicaError::WrongKey)), "the wrap key of another device");
}

#[test]
fn ordinary_spaces_go_on_and_what_arrives_meanwhile_is_there_after_unlocking() {
    for reopened in [false, true] {
        let mut village = Village::new(true);
        let (notice, minutes, committee) = (village.notice, village.minutes, village.committee);
        // Written just before: it goes out while it is locked. It would ask for a snapshot, too.
        let long: String = (0..900_u64).map(|n| (n * n * 7_919 % 10_007).to_string()).collect();
        write(village.deputy(), &minutes, "before", &long);
        village.deputy().lock_protected(at(1)).unwrap();
        if reopened {
            village.restart(locked());
        }
        let (held, items) = (village.deputy().items_held(), village.relay.items_of(committee));
        village.relay.meet(village.phone.as_mut().unwrap(), at(5));
        for n in 0..5 {
            write(&mut village.secretary, &minutes, &format!("m{n}"), "biên bản");
            write(&mut village.secretary, &notice, &format!("n{n}"), "thông báo");
            write(village.deputy(), &notice, &format!("d{n}"), "phó trả lời");
            village.sync(10 + n);
            assert_eq!(read(village.deputy(), &notice, &format!("n{n}")).as_deref(), Some("thông báo"));
            let key = format!("d{n}");
            assert_eq!(read(&mut village.secretary, &notice, &key).as_deref(), Some("phó trả lời"));
        }
        assert_committee_is_locked(&mut village);
        let before = read(&mut village.secretary, &minutes, "before");
        assert_eq!(before, Some(long), "what was sealed goes out");
        let received = village.deputy().items_held() - held;
        assert!(village.relay.items_of(committee) >= items + 6 && received >= 10);
        assert_eq!(village.deputy().status().pending, 0);
        assert_eq!((village.relay.reconciles, village.deputy().counters().mismatches), (0, 0));
        village.deputy().unlock_protected(at(20), &WRAP_SECRET).unwrap();
        let reset = std::iter::from_fn(|| village.deputy().poll_event());
        assert!(reset.filter(|e| *e == Event::DocumentReset { doc: minutes }).count() == 1);
        for n in 0..5 {
            assert_eq!(read(village.deputy(), &minutes, &format!("m{n}")).as_deref(), Some("biên bản"));
        }
        let hash = village.secretary.document_hash(&minutes).unwrap();
        assert_eq!(village.deputy().document_hash(&minutes).unwrap(), hash);
        println!("reopened {reopened}: {received} items received while locked, 0 lost, 0 reconciles");
    }
}

#[test]
fn changes_that_could_not_become_items_are_locked_too_and_nothing_is_lost() {
    let mut village = Village::new(true);
    let (committee, minutes, branch) = (village.committee, village.minutes, village.branch);
    let lost = village.admit(3, Role::Member);
    let mut other = village.admit(4, Role::Deputy);
    village.secretary.grant(committee, MemberId([3; 16])).unwrap();
    village.sync(10);
    village.relay.meet(&mut other, at(10));
    // Who removes it does not read the committee's space, so it has no key that shuts it out yet.
    other.remove_device(branch, lost.device(), Reason::Lost).unwrap();
    village.relay.meet(&mut other, at(11));
    village.relay.meet(village.phone.as_mut().unwrap(), at(11));
    write(village.deputy(), &minutes, "late", &format!("{COMMITTEE_WORD} chờ khóa mới"));
    village.deputy().lock_protected(at(12)).unwrap();
    assert_eq!(village.deputy().status().pending, 1);
    let epochs = village.epochs(committee);
    village.tend(20);
    assert_eq!(village.epochs(committee), epochs, "no key is drawn for a space that is locked");
    let (hits, _) = village.scan("locked with a change that has no key", locked());
    assert_eq!((hits, village.deputy().status().pending), (0, 1));
    assert_committee_is_locked(&mut village);
    village.deputy().unlock_protected(at(30), &WRAP_SECRET).unwrap();
    let late = format!("{COMMITTEE_WORD} chờ khóa mới");
    assert_eq!(read(village.deputy(), &minutes, "late"), Some(late.clone()));
    village.tend(40);
    assert_eq!(village.epochs(committee), epochs + 1);
    village.sync(60);
    assert_eq!(village.deputy().status().pending, 0);
    assert_eq!(read(&mut village.secretary, &minutes, "late"), Some(late));
}

#[test]
fn a_store_that_turns_out_to_be_a_copy_while_it_is_locked_loses_nothing_and_doubles_nothing() {
    for original_sends in [false, true] {
        let mut village = Village::new(true);
        let (minutes, notice) = (village.minutes, village.notice);
        write(village.deputy(), &minutes, "list", "một");
        village.phone = None;
        let backup = village.path.with_file_name("backup");
        std::fs::copy(&village.path, &backup).unwrap();
        if original_sends {
            village.restart(whole());
            village.sync(10);
            village.phone = None;
        }
        // The copy comes without its marker, so a new session begins; its change is in no item, and locked.
        let (copy, _) =
            Replica::open_marked(disk(&backup), locked(), ReplicaConfig::default(), [8; 32], None).unwrap();
        village.phone = Some(copy);
        assert_eq!(village.deputy().status().pending, 1);
        write(village.deputy(), &notice, "copy", "phiên mới");
        village.sync(20);
        assert_eq!(read(&mut village.secretary, &notice, "copy").as_deref(), Some("phiên mới"));
        assert_eq!(village.deputy().status().pending, 1);
        village.deputy().unlock_protected(at(30), &WRAP_SECRET).unwrap();
        assert_eq!(read(village.deputy(), &minutes, "list").as_deref(), Some("một"));
        village.sync(40);
        village.sync(50);
        assert_eq!(village.deputy().status().pending, 0);
        assert_eq!(read(&mut village.secretary, &minutes, "list").as_deref(), Some("một"));
        let changes = |phone: &mut Replica<MemoryStore>| phone.document(&minutes, |d| d.history().len());
        assert_eq!(changes(&mut village.secretary).unwrap(), 2, "the secretary's and the deputy's, once");
    }
}

#[test]
fn another_copy_that_was_first_while_it_is_locked_is_dealt_with_when_it_is_unlocked() {
    let mut village = Village::new(true);
    let (minutes, notice) = (village.minutes, village.notice);
    village.phone = None;
    let backup = village.path.with_file_name("backup");
    std::fs::copy(&village.path, &backup).unwrap();
    let mut first = opened(disk(&backup), whole(), 6);
    for n in 0..3 {
        write(&mut first, &minutes, &format!("first {n}"), "bản kia");
        village.relay.meet(&mut first, at(10 + n));
    }
    village.restart(whole());
    write(village.deputy(), &minutes, "second", "bản này");
    village.deputy().lock_protected(at(20)).unwrap();
    for n in 0..4 {
        write(village.deputy(), &notice, &format!("n{n}"), "vẫn đi");
        village.sync(30 + 10 * n);
        assert_eq!(read(&mut village.secretary, &notice, &format!("n{n}")).as_deref(), Some("vẫn đi"));
        if n == 1 {
            village.restart(locked());
        }
    }
    assert_committee_is_locked(&mut village);
    assert_eq!(village.deputy().status().pending, 1, "the item that was refused");
    let reconciles = village.relay.reconciles;
    village.deputy().unlock_protected(at(80), &WRAP_SECRET).unwrap();
    village.sync(90);
    village.sync(100);
    assert_eq!(village.deputy().status().pending, 0);
    for (key, text) in
        [("first 0", "bản kia"), ("first 1", "bản kia"), ("first 2", "bản kia"), ("second", "bản này")]
    {
        assert_eq!(read(&mut village.secretary, &minutes, key).as_deref(), Some(text), "{key}");
        assert_eq!(read(village.deputy(), &minutes, key).as_deref(), Some(text), "{key}");
    }
    println!("a fork while locked: {reconciles} reconciles, {} refusals, 0 lost", village.relay.rejected);
    assert!(reconciles <= 1);
}

#[test]
fn a_snapshot_that_comes_while_it_is_locked_is_fetched_as_runs_once() {
    let mut village = Village::unconnected(true);
    let (minutes, notice) = (village.minutes, village.notice);
    for n in 0..60 {
        write(&mut village.secretary, &minutes, &format!("m{n}"), "biên bản họp ban chấp hành");
        write(&mut village.secretary, &notice, &format!("n{n}"), "thông báo của nhà văn hóa");
        village.relay.meet(&mut village.secretary, at(n));
    }
    village.deputy().lock_protected(at(100)).unwrap();
    village.relay.meet(village.phone.as_mut().unwrap(), at(100));
    assert!(village.relay.snapshots_out >= 2, "{}", village.relay.snapshots_out);
    assert_eq!(village.deputy().counters().snapshots_used, 1, "the hall's");
    for n in 1..6 {
        village.relay.meet(village.phone.as_mut().unwrap(), at(100 + 20 * n));
    }
    println!("a snapshot while locked: {} reconciles in 6 connections", village.relay.reconciles);
    assert_eq!(village.relay.reconciles, 1);
    assert_committee_is_locked(&mut village);
    village.deputy().unlock_protected(at(300), &WRAP_SECRET).unwrap();
    for doc in [minutes, notice] {
        let hash = village.secretary.document_hash(&doc).unwrap();
        assert_eq!(village.deputy().document_hash(&doc).unwrap(), hash);
    }
    assert_eq!(village.relay.reconciles, 1);
}

/// In the order of the log, a device that was let in late meets the snapshots before its keys.
#[test]
fn a_snapshot_that_comes_before_its_key_waits_for_it() {
    let mut village = Village::unconnected(false);
    let notice = village.notice;
    for n in 0..60 {
        write(&mut village.secretary, &notice, &format!("n{n}"), "thông báo của nhà văn hóa");
        village.relay.meet(&mut village.secretary, at(n));
    }
    village.admit(3, Role::Member);
    // A welcome brings no records, unlike an invitation.
    let mut member = opened(MemoryStore::new(), DeviceKey::from_seed(&[3; 32]), 3);
    let (relay, device) =
        (RelayKey::from_seed(&[77; 32]).public(), DeviceKey::from_seed(&[3; 32]).public().id());
    let welcome = village.secretary.welcome(village.branch, device, relay, "wss://relay.example");
    member.join_by_welcome(&welcome.unwrap()).unwrap();
    village.relay.meet(&mut village.secretary, at(100));
    village.relay.meet(&mut member, at(100));
    assert_eq!(village.relay.snapshots_out, 1);
    assert_eq!((member.counters().snapshots_used, village.relay.reconciles), (1, 0));
    assert_eq!(member.document_hash(&notice).unwrap(), village.secretary.document_hash(&notice).unwrap());
    assert_eq!(member.backlog().parked, 0);
}

#[test]
fn acts_in_a_branch_go_on_while_it_is_locked_and_keys_follow_with_the_unlocking() {
    let mut village = Village::unconnected(true);
    let (branch, hall, committee) = (village.branch, village.hall, village.committee);
    let (minutes, notice) = (village.minutes, village.notice);
    let mut members = [village.admit(3, Role::Member), village.admit(4, Role::Member)];
    for seed in [3, 4] {
        village.secretary.grant(committee, MemberId([seed; 16])).unwrap();
    }
    for (n, member) in members.iter_mut().enumerate() {
        village.relay.meet(&mut village.secretary, at(0));
        village.relay.meet(member, at(0));
        write(member, &minutes, &format!("member {n}"), &"góp ý ".repeat(200));
        write(member, &notice, &format!("member {n}"), "góp ý");
        village.relay.meet(member, at(1));
    }
    // What they wrote reaches the deputy in a snapshot.
    write(&mut village.secretary, &minutes, "tail", &"kết luận ".repeat(400));
    village.relay.meet(&mut village.secretary, at(2));
    village.relay.meet(&mut village.secretary, at(3));
    village.relay.meet(village.phone.as_mut().unwrap(), at(4));
    assert!(village.deputy().counters().snapshots_used > 0);
    village.deputy().lock_protected(at(5)).unwrap();

    // Another removes a member: what it wrote is judged again, but not of what is locked.
    village.secretary.remove_device(branch, members[0].device(), Reason::Left).unwrap();
    // Its keys are new, and cannot be opened here: that is no reason to draw others.
    village.sync(10);
    let epochs = (village.epochs(hall), village.epochs(committee));
    write(&mut village.secretary, &notice, "new key", "khóa mới");
    write(village.deputy(), &notice, "waits", "chờ mở khóa");
    for n in 2..5 {
        village.tend(n * 20);
        village.relay.meet(&mut village.secretary, at(n * 20 + 12));
    }
    assert_eq!((village.epochs(hall), village.epochs(committee)), epochs, "0 keys drawn while locked");
    assert_eq!(read(village.deputy(), &notice, "new key"), None, "it waits for its key");
    assert_eq!(
        (read(&mut village.secretary, &notice, "waits"), village.deputy().status().pending),
        (None, 1)
    );

    // A lost phone can be removed while it is locked, unless that needs what is in a locked snapshot.
    assert_locked(village.deputy().remove_device(branch, members[1].device(), Reason::Lost), committee);
    village.deputy().unlock_protected(at(120), &WRAP_SECRET).unwrap();
    assert_eq!(read(village.deputy(), &notice, "new key").as_deref(), Some("khóa mới"));
    village.sync(130);
    assert_eq!(read(&mut village.secretary, &notice, "waits").as_deref(), Some("chờ mở khóa"));
    write(&mut members[1], &minutes, "held", "giữ ở đây");
    village.relay.meet(&mut members[1], at(131));
    village.relay.meet(village.phone.as_mut().unwrap(), at(132));
    village.deputy().lock_protected(at(133)).unwrap();
    village.deputy().remove_device(branch, members[1].device(), Reason::Lost).unwrap();
    assert_eq!(village.epochs(hall), epochs.0 + 1);
    assert_eq!(village.epochs(committee), epochs.1, "the new key of what is locked waits");
    village.deputy().unlock_protected(at(140), &WRAP_SECRET).unwrap();
    village.tend(150);
    assert_eq!(village.epochs(committee), epochs.1 + 1);
    village.sync(170);
    for doc in [minutes, notice] {
        let hash = village.secretary.document_hash(&doc).unwrap();
        assert_eq!(village.deputy().document_hash(&doc).unwrap(), hash);
    }
}
