//! One set, one answer: whatever the order in which records come, and whether they come one by one or at once.

use super::*;
use crate::crypto::SealedKey;

/// A branch in which anybody does anything, honest or not.
pub(super) struct History {
    rng: ChaCha20Rng,
    pub(super) branch: SpaceId,
    root: SignKey,
    chains: Vec<Chain>,
    /// By chain, the links of its items.
    links: Vec<Vec<[u8; 16]>>,
    pub(super) items: Vec<Item>,
    spaces: Vec<SpaceId>,
    docs: Vec<DocId>,
    /// Removals, and certificates by the device that they name.
    removals: Vec<(ItemId, DeviceId)>,
    certificates: Vec<(ItemId, DeviceId)>,
    nonces: u32,
}

thread_local! {
    /// Keys are dear to make: devices 0 to 13, of eight members.
    static DEVICES: Vec<Chain> = (0..14).map(|i| Chain::of_member(i, i % 8)).collect();
    static REQUESTS: Vec<JoinRequest> = DEVICES.with(|d| d.iter().map(|c| JoinRequest::new(&c.key)).collect());
}

impl History {
    pub(super) fn new(seed: u64, steps: usize) -> Self {
        let root = SignKey::from_seed(&[99; 32]);
        let mut chains: Vec<Chain> = DEVICES.with(Clone::clone);
        let secretary = Certificate {
            member: chains[0].member,
            role: Role::Secretary,
            request: REQUESTS.with(|r| r[0].clone()),
            name: Vec::new(),
        };
        let (branch, genesis) = found(&root, secretary);
        chains.iter_mut().for_each(|c| c.branch = branch);
        let founding = chains[0].sign(&genesis);
        let mut links = vec![Vec::new(); chains.len()];
        links[0].push(founding.id().link());
        let (items, spaces, rng) = (vec![founding], vec![branch], rng(seed));
        let certificates = vec![(items[0].id(), chains[0].id)];
        let (docs, removals, nonces) = (Vec::new(), Vec::new(), 0);
        let mut history =
            Self { rng, branch, root, chains, links, items, spaces, docs, removals, certificates, nonces };
        // So that there is somebody to do something.
        for (device, role) in [(1, Role::Deputy), (2, Role::Deputy), (3, Role::Member)] {
            let record = history.admission(device, member_id(device as u16), role);
            history.issue(0, &record.encode());
        }
        (0..steps).for_each(|_| history.step());
        history
    }

    fn below(&mut self, n: usize) -> usize {
        self.rng.next_u32() as usize % n
    }

    fn issue(&mut self, by: usize, payload: &[u8]) {
        // Now and then from another session, or with a number that was used before.
        let chain = &mut self.chains[by];
        if self.rng.next_u32().is_multiple_of(40) && chain.n > 1 {
            chain.n -= 1;
        }
        let item = chain.sign(payload);
        match Record::decode(payload).unwrap() {
            Record::Removal { device, .. } => self.removals.push((item.id(), device)),
            record => {
                let named = record.certificate().map(|c| (item.id(), c.request.public.id()));
                self.certificates.extend(named);
            }
        }
        self.links[by].push(item.id().link());
        self.items.push(item);
    }

    fn admission(&self, device: usize, member: MemberId, role: Role) -> Record {
        let request = REQUESTS.with(|r| r[device].clone());
        let certificate = Box::new(Certificate { member, role, request, name: Vec::new() });
        Record::Device { certificate, seen: Vec::new() }
    }

    fn member(&mut self) -> MemberId {
        member_id(self.below(8) as u16)
    }

    fn space(&mut self) -> SpaceId {
        let i = self.below(self.spaces.len());
        self.spaces[i]
    }

    /// A new one, or the last again.
    fn nonce(&mut self) -> [u8; 16] {
        if self.below(6) > 0 {
            self.nonces += 1;
        }
        *self.nonces.to_le_bytes().repeat(4).first_chunk().unwrap()
    }

    fn generation(&mut self) -> u32 {
        match self.below(12) {
            0 => u32::MAX,
            1 => limits::GENERATIONS_AHEAD_MAX + self.below(4) as u32,
            _ => 1 + self.below(4) as u32,
        }
    }

    /// What somebody says that it had received of a device: the truth, less, or another history.
    fn frontier(&mut self, device: usize) -> Frontier {
        let mut marks = Vec::new();
        let author = self.chains[device].author();
        let made = self.links[device].len();
        if made > 0 && self.below(5) > 0 {
            let n = if self.below(3) == 0 { 1 + self.below(made) } else { made };
            let true_link = self.links[device][n - 1];
            let link = if self.below(8) == 0 { [0xbb; 16] } else { true_link };
            marks.push(Mark { space: self.branch, author, n: n as u32, link });
        }
        if self.spaces.len() > 1 && self.below(3) == 0 {
            let i = 1 + self.below(self.spaces.len() - 1);
            let n = 1 + self.below(9) as u32;
            marks.push(mark(self.spaces[i], author, n));
        }
        marks.sort_by_key(|m| (m.space, m.author));
        Frontier(marks)
    }

    fn step(&mut self) {
        // Officers do most; members and their second devices the rest.
        let by = if self.below(2) == 0 { self.below(4) } else { self.below(self.chains.len()) };
        let other = self.below(self.chains.len());
        let device = self.chains[other].id;
        let what = self.below(22);
        let payload = match what {
            0..=3 => {
                let role = Role::ALL[self.below(8)];
                let member = match self.below(4) {
                    0 => self.chains[by].member,
                    1 => self.member(),
                    _ => self.chains[other].member,
                };
                self.admission(other, member, role).encode()
            }
            4 => {
                // Its own further device, as it should be.
                let role = [Role::Deputy, Role::Member, Role::Secretary][self.below(3)];
                self.admission(other, self.chains[by].member, role).encode()
            }
            5..=7 => {
                let frontier = self.frontier(other);
                Record::Removal { device, reason: Reason::Lost, frontier }.encode()
            }
            8 | 9 => {
                let (role, generation) = (Role::ALL[self.below(8)], self.generation());
                let frontier = self.frontier(other);
                Record::Role { device, role, generation, frontier }.encode()
            }
            10 | 11 => self.new_space(by),
            12 => {
                let (space, member, generation) = (self.space(), self.member(), self.generation());
                Record::Grant { space, member, generation }.encode()
            }
            13 => {
                let (space, member, generation) = (self.space(), self.member(), self.generation());
                let frontier = self.frontier(other);
                Record::Revoke { space, member, generation, frontier }.encode()
            }
            14 => {
                let (space, writers) = (self.space(), WRITERS[self.below(4)]);
                let nonce = self.nonce();
                self.docs.push(DocId::derive(&self.chains[by].id, &nonce));
                Record::Document { nonce, space, writers, schema: Vec::new() }.encode()
            }
            15 => self.new_epoch(),
            16 => {
                let (space, epoch) = (self.space(), EpochId([self.below(5) as u8; 16]));
                Record::Wraps { space, epoch, wraps: vec![wrap_for(&device, self.below(3) as u8)] }.encode()
            }
            17 => {
                let i = self.below(self.docs.len() + 1);
                let doc = self.docs.get(i).copied().unwrap_or(DocId([1; 16]));
                Record::Recorder { doc, member: self.member() }.encode()
            }
            18 => {
                let (space, author) = (self.space(), self.chains[other].author());
                Record::Cut { space, author, keep: self.below(6) as u32 }.encode()
            }
            19 => Record::Upper { generation: self.generation(), upper: None }.encode(),
            20 => self.word_or_acceptance(by),
            _ => return self.root_record(other),
        };
        self.issue(by, &payload);
    }

    fn new_space(&mut self, by: usize) -> Vec<u8> {
        let (nonce, history) = (self.nonce(), self.below(2) == 0);
        self.spaces.push(SpaceId::derive(&self.chains[by].id, &nonce));
        let mut members = vec![self.chains[by].member, self.member()];
        members.sort();
        members.dedup();
        let audience = if self.below(3) == 0 { Audience::Everyone } else { Audience::Members(members) };
        Record::Space { nonce, history, padded: false, audience }.encode()
    }

    fn new_epoch(&mut self) -> Vec<u8> {
        let (space, generation, id) = (self.space(), self.generation(), EpochId([self.below(5) as u8; 16]));
        let (i, seed) = (self.below(self.chains.len()), self.below(3) as u8);
        let wraps = vec![wrap_for(&self.chains[i].id, seed)];
        let older = SealedKey { epoch: EpochId([self.below(5) as u8; 16]), nonce: [1; 24], ct: [2; 48] };
        let prev = if self.below(2) == 0 { vec![older] } else { Vec::new() };
        Record::Epoch(Box::new(EpochRecord { space, generation, id, issued: 1, prev, wraps })).encode()
    }

    fn word_or_acceptance(&mut self, by: usize) -> Vec<u8> {
        let i = self.below(self.removals.len() + 1);
        if self.below(3) > 0
            && let Some((about, device)) = self.removals.get(i).copied()
        {
            let i = self.chains.iter().position(|c| c.id == device).unwrap();
            let mut frontier = self.frontier(i);
            frontier.0.retain(|m| m.space != self.branch);
            return Record::Frontier { about, device, frontier }.encode();
        }
        let own = self.chains[by].id;
        let about = self.certificates.iter().filter(|(_, device)| *device == own);
        let mut certificates: Vec<ItemId> = about.map(|(id, _)| *id).collect();
        certificates.push(self.items[0].id());
        let certificate = certificates[self.below(certificates.len())];
        Record::Accept { certificate }.encode()
    }

    fn root_record(&mut self, by: usize) {
        if self.below(2) > 0 {
            return;
        }
        let mut removals = BTreeMap::new();
        for _ in 0..self.below(3) {
            let i = self.below(self.chains.len());
            removals.insert(self.chains[i].id, (Reason::Lost, self.frontier(i)));
        }
        let removals = removals.into_iter().map(|(id, (reason, frontier))| (id, reason, frontier)).collect();
        let key = if self.below(5) == 0 { SignKey::from_seed(&[98; 32]) } else { self.root.clone() };
        let request = REQUESTS.with(|r| r[by].clone());
        let secretary =
            Certificate { member: self.chains[by].member, role: Role::Secretary, request, name: Vec::new() };
        let generation = 1 + self.below(3) as u32;
        let payload = recover(&key, self.branch, generation, secretary, removals);
        self.issue(by, &payload);
    }

    /// Its records, read once: what reading costs is not the question here.
    fn entries(&self) -> Vec<Taken> {
        let charter = Charter::new(self.branch);
        self.items.iter().map(|item| (item.id(), charter.entry(item).unwrap())).collect()
    }

    /// A part of them, in some order.
    fn part(&mut self, of: &[Taken]) -> Vec<Taken> {
        let keep = 3 + self.below(8) as u32;
        let mut part = of.to_vec();
        part.retain(|(id, _)| *id == of[0].0 || self.rng.next_u32() % 10 < keep);
        self.shuffle(&mut part);
        part
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

type Taken = (ItemId, Entry);

/// Keeps records one by one, later those whose authors are not known yet.
fn keep_all(branch: SpaceId, entries: &[Taken], look: impl Fn(usize) -> bool) -> Charter {
    let mut charter = Charter::new(branch);
    let mut waiting: Vec<&Taken> = entries.iter().collect();
    loop {
        let before = waiting.len();
        waiting.retain(|(id, entry)| {
            if charter.set.contains(id) {
                return false;
            }
            match charter.keep_new(*id, entry.clone()) {
                Ok(new) => {
                    assert!(new);
                    // An answer that was asked for is added to; one that was not is worked out later.
                    if look(charter.len()) {
                        charter.devices();
                    }
                    false
                }
                Err(RejectCode::NotAuthorised) => false,
                Err(RejectCode::UnknownAuthor) => true,
                Err(code) => panic!("{code:?}"),
            }
        });
        if waiting.len() == before {
            return charter;
        }
    }
}

/// Everything at once, and whatever was remembered forgotten.
fn at_once(branch: SpaceId, entries: &[Taken]) -> Charter {
    let mut charter = Charter::new(branch);
    entries.iter().for_each(|(id, entry)| charter.add(*id, entry.clone()));
    charter
}

#[test]
fn any_set_in_any_order_gives_one_answer() {
    let sets = tries(if cfg!(debug_assertions) { 500 } else { 4_000 }, 1_000_000);
    let (mut records, mut counting, mut removed, mut kept_away, mut empty) = (0, 0, 0, 0, 0);
    let mut history = History::new(0, 40);
    let mut all = history.entries();
    for set in 0..sets {
        if set % 8 == 0 {
            // All the million would take hours if they were as long as those of every day: most of them are short.
            let is_long = sets < 1_000_000 || set % 512 == 0;
            let lengths = if is_long { [10, 25, 40, 60] } else { [4, 6, 9, 12] };
            history = History::new(set as u64, lengths[set / 8 % 4]);
            all = history.entries();
        }
        let mut entries = history.part(&all);
        let first = keep_all(history.branch, &entries, |_| true);
        let kept: Vec<Taken> = entries.iter().filter(|(id, _)| first.set.contains(id)).cloned().collect();
        assert_same(&first, &at_once(history.branch, &kept), &format!("set {set}, one by one"));
        for order in 1..5 {
            history.shuffle(&mut entries);
            let other = keep_all(history.branch, &entries, |i| order < 3 || i % order == 0);
            assert_same(&other, &first, &format!("set {set}, order {order}"));
        }
        let counts = first.records().filter(|r| r.counts).count();
        records += kept.len();
        kept_away += entries.len() - kept.len();
        counting += counts;
        empty += usize::from(counts < 3);
        removed += first.removed().len();
    }
    println!(
        "{sets} sets in 5 orders, one answer each: {records} records, {counting} of them count, {kept_away} not kept, \
         {removed} devices removed; {empty} sets say next to nothing"
    );
    // Short ones say less.
    let removals = if sets < 1_000_000 { 4 } else { 20 };
    assert!(counting * 5 > records && removed * removals > sets && empty * 3 < sets);
}

#[test]
fn every_step_is_the_same_as_from_the_beginning_and_a_refusal_leaves_no_trace() {
    let histories = tries(if cfg!(debug_assertions) { 100 } else { 1_000 }, 100_000);
    let (mut taken, mut refused, mut kept, mut full) = (0, 0, 0, 0);
    for seed in 0..histories as u64 {
        let mut history = History::new(1_000_000 + seed, 45);
        let mut entries = history.entries();
        if seed % 2 == 0 {
            history.shuffle(&mut entries[4..]);
        }
        let (mut charter, mut set) = (Charter::new(history.branch), Vec::<Taken>::new());
        for (i, (id, entry)) in entries.into_iter().enumerate() {
            if charter.set.contains(&id) {
                continue;
            }
            // As a relay does, but for one in three, which a phone may have been told.
            if seed % 3 == 0 && i % 3 == 0 {
                if charter.keep_new(id, entry.clone()) == Ok(true) {
                    set.push((id, entry));
                    assert_same(&charter, &at_once(history.branch, &set), &format!("{seed}, kept {i}"));
                    kept += 1;
                }
                continue;
            }
            let before = charter.clone();
            let known = charter.check_known(&entry).is_ok();
            let verdict = charter.insert_new(id, entry.clone());
            if verdict.is_ok() {
                set.push((id, entry));
                assert_same(&charter, &at_once(history.branch, &set), &format!("{seed}, taken {i}"));
                assert!(charter.counts(&id));
                taken += 1;
                continue;
            }
            let with: Vec<Taken> = set.iter().cloned().chain([(id, entry)]).collect();
            if verdict == Err(RejectCode::Quota) {
                full += 1;
            } else {
                assert!(!known || !at_once(history.branch, &with).counts(&id), "{seed}, {i}: {verdict:?}");
            }
            assert_same(&charter, &before, &format!("{seed}, refused {i}"));
            assert_eq!(charter.bytes(), before.bytes());
            refused += 1;
        }
        assert_same(&charter, &at_once(history.branch, &set), &format!("{seed}, in the end"));
    }
    println!(
        "{histories} histories: {taken} records taken, {kept} kept, {refused} refused ({full} for too many devices), each \
         as from the beginning"
    );
    assert!(taken > 8 * histories && refused > 8 * histories);
}

#[test]
fn what_a_device_takes_back_is_as_if_it_had_never_been() {
    for seed in 0..20 {
        let mut history = History::new(2_000_000 + seed, 30);
        let mut kept = history.entries();
        let mut charter = keep_all(history.branch, &kept, |_| false);
        kept.retain(|(id, _)| charter.set.contains(id));
        let (gone, left): (Vec<Taken>, Vec<Taken>) =
            kept.into_iter().partition(|_| history.rng.next_u32().is_multiple_of(3));
        charter.remove(&gone.iter().map(|(id, _)| *id).collect());
        let expected = at_once(history.branch, &left);
        assert_same(&charter, &expected, &format!("{seed}"));
        assert_eq!((charter.bytes(), charter.len()), (expected.bytes(), expected.len()));
    }
}
