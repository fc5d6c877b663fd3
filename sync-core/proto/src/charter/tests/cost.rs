//! What it costs to work out a full charter, however its records are chosen.

use super::*;

/// A chain of many devices' records; keys are made as they are needed.
struct Crowd {
    branch: Branch,
    items: Vec<Item>,
}

const FULL: usize = limits::CHARTER_RECORDS_MAX;

thread_local! {
    /// Keys are dear to make.
    static DEVICES: Vec<Chain> = (0..FULL as u16).map(|n| Chain::new(1_000 + n)).collect();
}

impl Crowd {
    fn new() -> Self {
        let branch = Branch::new();
        let items = branch.items.clone();
        Self { branch, items }
    }

    /// The first `n` of many devices, all of one member or each of its own.
    fn devices(&self, n: usize, member: Option<u16>) -> Vec<Chain> {
        let of = |chain: &Chain| Chain {
            branch: self.branch.id,
            member: member.map_or(chain.member, member_id),
            ..chain.clone()
        };
        DEVICES.with(|all| all[..n].iter().map(of).collect())
    }

    fn push(&mut self, chain: &mut Chain, record: &Record) {
        if self.items.len() < FULL {
            self.items.push(chain.issue(record));
        }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= FULL
    }
}

fn removal(device: DeviceId, frontier: Frontier) -> Record {
    Record::Removal { device, reason: Reason::Lost, frontier }
}

/// Frontiers of one chain that reach less and less far.
fn receding(chain: &Chain, i: u32) -> Frontier {
    Frontier(vec![mark(chain.branch, chain.author(), 10_000 - i)])
}

fn upper(generation: u32) -> Record {
    Record::Upper { generation, upper: None }
}

/// What an honest branch of some hundred members looks like after years.
fn honest() -> Crowd {
    let mut crowd = Crowd::new();
    let mut secretary = crowd.branch.of(Role::Secretary).clone();
    let open = crowd.branch.open;
    for (n, mut member) in (1u16..).zip(crowd.devices(FULL, None)) {
        crowd.push(&mut secretary, &member.admission(Role::Member));
        for i in 0..4 {
            let nonce = *[n.to_le_bytes(), [i, 0]].concat().repeat(4).first_chunk().unwrap();
            crowd.push(
                &mut member,
                &Record::Document { nonce, space: open, writers: Writers::All, schema: Vec::new() },
            );
        }
        if n % 4 == 0 {
            crowd.push(&mut secretary, &removal(member.id, member.mark()));
            let mut id = EpochId([n as u8; 16]);
            id.0[1] = (n >> 8) as u8;
            let wraps = vec![wrap_for(&secretary.id, 1)];
            let record = EpochRecord {
                space: open,
                generation: u32::from(n) / 4,
                id,
                issued: 0,
                prev: Vec::new(),
                wraps,
            };
            crowd.push(&mut secretary, &Record::Epoch(Box::new(record)));
        }
    }
    crowd
}

/// Each device admits the next.
fn one_admits_the_next() -> Crowd {
    let mut crowd = Crowd::new();
    let mut last = crowd.branch.of(Role::Member).clone();
    for next in crowd.devices(FULL, Some(4)) {
        crowd.push(&mut last, &next.admission(Role::Member));
        last = next;
    }
    crowd
}

/// As many devices of one member as may be, and each removes another.
fn all_own_devices_remove_each_other() -> Crowd {
    let mut crowd = Crowd::new();
    let mut first = crowd.branch.of(Role::Member).clone();
    let mut own = crowd.devices(2_000, Some(4));
    for device in &own {
        crowd.push(&mut first, &device.admission(Role::Member));
    }
    let ids: Vec<DeviceId> = own.iter().map(|c| c.id).collect();
    for (i, device) in own.iter_mut().enumerate() {
        crowd.push(device, &removal(ids[(i + 1) % ids.len()], Frontier::default()));
    }
    while !crowd.is_full() {
        crowd.push(&mut own[0], &removal(first.id, receding(&first, 1)));
    }
    crowd
}

/// Many removals of one device that issued many records.
fn one_is_removed_often() -> Crowd {
    let mut crowd = Crowd::new();
    let mut secretary = crowd.branch.of(Role::Secretary).clone();
    let mut deputy = crowd.branch.of(Role::Deputy).clone();
    for i in 0..2_000 {
        crowd.push(&mut secretary, &removal(deputy.id, receding(&deputy, i)));
    }
    while !crowd.is_full() {
        crowd.push(&mut deputy, &removal(crowd.branch.of(Role::Helper).id, Frontier::default()));
    }
    crowd
}

/// Many role changes of one device that issued many records, each of which reaches less far back.
fn one_changes_its_role_often() -> Crowd {
    let mut crowd = Crowd::new();
    let mut secretary = crowd.branch.of(Role::Secretary).clone();
    let mut deputy = crowd.branch.of(Role::Deputy).clone();
    for i in 0..2_000 {
        let role = if i % 2 == 0 { Role::Member } else { Role::Deputy };
        let frontier = receding(&deputy, i);
        crowd
            .push(&mut secretary, &Record::Role { device: deputy.id, role, generation: 2_000 - i, frontier });
    }
    while !crowd.is_full() {
        crowd.push(&mut deputy, &removal(crowd.branch.of(Role::Helper).id, Frontier::default()));
    }
    crowd
}

/// One deputy lets in the next, who lets in the next.
fn one_lets_in_the_next() -> Crowd {
    let mut crowd = Crowd::new();
    let mut secretary = crowd.branch.of(Role::Secretary).clone();
    let space = crowd.branch.closed;
    let mut deputies = crowd.devices(2_030, None);
    for deputy in &deputies {
        crowd.push(&mut secretary, &deputy.admission(Role::Deputy));
    }
    let first = deputies[0].member;
    crowd.push(&mut secretary, &Record::Grant { space, member: first, generation: 1 });
    for i in 1..deputies.len() {
        let member = deputies[i].member;
        crowd.push(&mut deputies[i - 1], &Record::Grant { space, member, generation: 1 });
    }
    while !crowd.is_full() {
        crowd.push(&mut secretary, &upper(1));
    }
    crowd
}

/// One who lets in others is taken off again and again.
fn one_is_taken_off_often() -> Crowd {
    let mut crowd = Crowd::new();
    let mut secretary = crowd.branch.of(Role::Secretary).clone();
    let mut deputy = crowd.branch.of(Role::Deputy).clone();
    let (space, member) = (crowd.branch.closed, deputy.member);
    crowd.push(&mut secretary, &Record::Grant { space, member, generation: 1 });
    for i in 0..2_000 {
        let frontier = receding(&deputy, i);
        crowd.push(&mut secretary, &Record::Revoke { space, member, generation: 2 + i / 2, frontier });
    }
    while !crowd.is_full() {
        crowd.push(&mut deputy, &Record::Grant { space, member: member_id(77), generation: 1 });
    }
    crowd
}

/// One device has thousands of certificates.
fn one_has_all_certificates() -> Crowd {
    let mut crowd = Crowd::new();
    let mut deputy = crowd.branch.of(Role::Deputy).clone();
    let device = crowd.branch.new_chain(900, 900);
    for n in 0.. {
        let of = Chain { member: member_id(900 + n), ..device.clone() };
        crowd.push(&mut deputy, &of.admission(Role::Member));
        if crowd.is_full() {
            break;
        }
    }
    crowd
}

fn the_root_key_speaks_all_the_time() -> Crowd {
    let mut crowd = Crowd::new();
    let branch = crowd.branch.clone();
    let mut new: Vec<Chain> = (0..8).map(|n| branch.new_chain(900 + n, 1)).collect();
    for generation in 1.. {
        let i = generation as usize % new.len();
        let other = new[(i + 1) % new.len()].clone();
        let removals = vec![(other.id, Reason::Lost, receding(&other, generation))];
        let certificate = new[i].certificate(Role::Secretary);
        let payload = recover(&branch.root, branch.id, generation, certificate, removals);
        crowd.items.push(new[i].sign(&payload));
        if crowd.is_full() {
            return crowd;
        }
    }
    crowd
}

/// Word of one device in one space that all its many removers cannot read.
fn everybody_gives_word() -> Crowd {
    let mut crowd = Crowd::new();
    let branch = crowd.branch.clone();
    let (mut secretary, mut member) = (branch.of(Role::Secretary).clone(), branch.of(Role::Member).clone());
    let audience = Audience::Members(vec![member.member, branch.of(Role::Helper).member]);
    crowd.push(&mut member, &Record::Space { nonce: [9; 16], history: true, padded: false, audience });
    let (space, gone) = (SpaceId::derive(&member.id, &[9; 16]), branch.of(Role::Helper).clone());
    let mut removals = Vec::new();
    for i in 0..2_000 {
        crowd.push(&mut secretary, &removal(gone.id, receding(&gone, i)));
        removals.push(crowd.items.last().unwrap().id());
    }
    for (i, about) in (1..).zip(removals) {
        let frontier = Frontier(vec![mark(space, gone.author(), i)]);
        crowd.push(&mut member, &Record::Frontier { about, device: gone.id, frontier });
    }
    while !crowd.is_full() {
        crowd.push(&mut secretary, &upper(1));
    }
    crowd
}

/// As many keys as the bytes of a charter hold.
fn wraps_to_the_brim() -> Crowd {
    let mut crowd = Crowd::new();
    let mut member = crowd.branch.of(Role::Member).clone();
    let space = crowd.branch.open;
    crowd.push(&mut member, &epoch(space, 1, 1, Vec::new()));
    let mut bytes: usize = crowd.items.iter().map(|i| i.payload().len()).sum();
    for i in 0u8.. {
        let wraps: Vec<Wrap> =
            (0..512u64).map(|tag| Wrap { tag: tag.to_be_bytes(), enc: [i; 32], ct: [i; 48] }).collect();
        let record = Record::Wraps { space, epoch: EpochId([1; 16]), wraps };
        bytes += record.encode().len();
        if bytes + 128 * (FULL - crowd.items.len()) > limits::CHARTER_HELD_BYTES_MAX {
            break;
        }
        crowd.push(&mut member, &record);
    }
    while !crowd.is_full() {
        crowd.push(&mut member, &Record::Recorder { doc: DocId([1; 16]), member: member_id(1) });
    }
    crowd
}

type NamedCrowd = (&'static str, fn() -> Crowd);

const CROWDS: [NamedCrowd; 12] = [
    ("an honest branch", honest),
    ("each device admits the next", one_admits_the_next),
    ("own devices remove each other", all_own_devices_remove_each_other),
    ("one is removed 2,000 times", one_is_removed_often),
    ("one changes its role 2,000 times", one_changes_its_role_often),
    ("one lets in the next", one_lets_in_the_next),
    ("one is taken off 2,000 times", one_is_taken_off_often),
    ("one device with all certificates", one_has_all_certificates),
    ("the root key speaks all the time", the_root_key_speaks_all_the_time),
    ("2,000 words about 2,000 removals", everybody_gives_word),
    ("4 MiB of keys", wraps_to_the_brim),
    ("a random history", random),
];

fn random() -> Crowd {
    let history = order::History::new(5, FULL + 500);
    let mut branch = Branch::new();
    branch.id = history.branch;
    Crowd { branch, items: history.items.into_iter().take(FULL).collect() }
}

#[test]
fn looking_at_a_record_does_not_mean_looking_at_all_others() {
    for (what, crowd) in CROWDS {
        let crowd = crowd();
        assert_eq!(crowd.items.len(), FULL, "{what}");
        let charter = from_scratch(crowd.branch.id, &crowd.items);
        STEPS.set(0);
        charter.devices();
        let steps = STEPS.get();
        println!("{what}: {FULL} records, {steps} looks");
        assert!(steps > 0 && steps <= 16 * FULL, "{what}: {steps}");
        // One more record that decides about nobody is one look, not all again.
        let mut more = charter;
        more.remove(&crowd.items[FULL - 600..].iter().map(Item::id).collect());
        more.devices();
        let mut member =
            Chain { branch: crowd.branch.id, n: 5_000, prev: [1; 16], ..crowd.branch.people[0].clone() };
        STEPS.set(0);
        let _ = more.insert(&member.issue(&upper(1)));
        assert!(STEPS.get() < 20, "{what}: {}", STEPS.get());
    }
}

/// `cargo test --release -p dinh-proto --lib charter::tests::cost -- --ignored --nocapture`; the goal is 50 ms.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn measure_full_charters() {
    for (what, crowd) in CROWDS {
        let crowd = crowd();
        let charter = from_scratch(crowd.branch.id, &crowd.items);
        let times = (0..5).map(|_| {
            let mut again = charter.clone();
            again.answer.take();
            let start = std::time::Instant::now();
            again.devices();
            start.elapsed().as_micros()
        });
        let micros = times.min().unwrap();
        let counting = charter.records().filter(|r| r.counts).count();
        println!("{what}: {} records, {counting} count, {} ms", crowd.items.len(), micros as f64 / 1000.0);
    }
}
