//! The one evaluation of a set of records: who is certified, what counts, what it adds up to. A pure function of the
//! set, so all devices and relays that have the same records say the same, in whatever order they came.
//!
//! Authority is settled rank by rank, from the key on paper down. Who decides about a device stands above it, so what
//! counts of a rank is known before it is asked what the rank decided. Only a member's own devices may remove each other
//! as equals: of such removals each counts whatever the other says, so both devices are out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::marks::{Effects, Marks, Position, RemovalEffect, RoleEffect};
use super::record::{Certificate, Frontier, Reason, Record, Role};
use super::view::{Certified, Device, RemovedDevice, View};
use super::{Entry, Set, settle};
use crate::ids::{DeviceId, ItemId, MemberId};
use crate::keys::SignPublic;

/// Rank of the key on paper.
const ROOT_RANK: u8 = 0;
/// Rank of everybody who is not an officer.
const LOWEST_RANK: u8 = 3;

/// What the records say, and which of them count.
pub(super) fn evaluate(set: &Set) -> (View, BTreeSet<ItemId>) {
    let accepted = accepted(set);
    let (people, effects, counts) = (People::new(), BTreeMap::new(), BTreeSet::new());
    let mut evaluation = Evaluation { set, accepted: &accepted, people, effects, counts };
    let root = evaluation.root_rank();
    for rank in 1..=LOWEST_RANK {
        evaluation.rank(rank);
    }
    let Evaluation { people, mut effects, mut counts, .. } = evaluation;
    let certified = people.into_iter().map(|(id, person)| (id, person.certified(effects.remove(&id))));
    let mut view = View { root, certified: certified.collect(), ..View::default() };
    for (id, device) in &view.certified {
        let found = Device {
            public: device.public,
            member: device.member,
            role: device.role_now(),
            name: set.certificate(&device.by).map(|c| c.name.clone()).unwrap_or_default(),
        };
        match device.effects.removals.iter().min_by_key(|(by, r)| (r.rank, **by)) {
            None => {
                view.devices.insert(*id, found);
            }
            Some((by, r)) => {
                view.removed.insert(*id, RemovedDevice { device: found, reason: r.reason, by: *by });
            }
        }
    }
    for (device, (accept, certificate)) in &accepted {
        if view.certified.get(device).is_some_and(|c| c.by == *certificate) {
            counts.insert(*accept);
        }
    }
    settle::settle(&mut view, set, &mut counts);
    (view, counts)
}

/// Which of its certificates a device itself names as its own, and the record in which it does: the one with the smallest
/// id.
fn accepted(set: &Set) -> BTreeMap<DeviceId, (ItemId, ItemId)> {
    let mut found = BTreeMap::new();
    for (id, entry) in set.of_kind(&[16]) {
        let Record::Accept { certificate } = &entry.record else { continue };
        if set.get(certificate).is_some_and(|e| e.device == Some(entry.author.device)) {
            found.entry(entry.author.device).or_insert((id, *certificate));
        }
    }
    found
}

/// A device with a certificate that counts, while its rank is settled.
#[derive(Clone)]
struct Person {
    by: ItemId,
    member: MemberId,
    role: Role,
    /// The key on paper made it a secretary's, and nobody certified it (yet) for what it was before.
    bare: bool,
    also: BTreeSet<(MemberId, Role)>,
    public: crate::keys::DevicePublic,
}

impl Person {
    fn of(by: ItemId, certificate: &Certificate) -> Self {
        let Certificate { member, role, request, .. } = certificate;
        Self { by, member: *member, role: *role, bare: false, also: BTreeSet::new(), public: request.public }
    }

    fn certified(self, effects: Option<Effects>) -> Certified {
        let Self { by, public, member, role, also, .. } = self;
        Certified { by, public, member, role, also, effects: effects.unwrap_or_default() }
    }
}

type People = BTreeMap<DeviceId, Person>;

struct Evaluation<'a> {
    set: &'a Set,
    accepted: &'a BTreeMap<DeviceId, (ItemId, ItemId)>,
    people: People,
    /// By device, certified or not.
    effects: BTreeMap<DeviceId, Effects>,
    counts: BTreeSet<ItemId>,
}

impl Evaluation<'_> {
    /// The genesis and what the key on paper decided since. Of its records the one with the higher generation counts
    /// against others.
    fn root_rank(&mut self) -> Option<SignPublic> {
        let (id, genesis) = self.set.genesis()?;
        let founder = Person::of(id, &genesis.secretary);
        self.people.insert(genesis.secretary.request.public.id(), founder);
        self.counts.insert(id);
        let mut records: Vec<(ItemId, &Entry)> = self.set.of_kind(&[14]).filter(|(_, e)| e.is_root).collect();
        records.sort_by_key(|(id, e)| match &e.record {
            Record::Root(r) => (Reverse(r.generation), *id),
            _ => (Reverse(0), *id),
        });
        let mut made: BTreeMap<DeviceId, Vec<RoleEffect>> = BTreeMap::new();
        for (id, entry) in records {
            let (Record::Root(root), at) = (&entry.record, self.set.at(&id, entry)) else { continue };
            let author = entry.author.device;
            if self.is_cut(&author, &at) {
                continue;
            }
            self.counts.insert(id);
            // What it was before, if anything, a certificate says. It is the secretary's from this record on.
            let marks = Marks::before(&at, entry.prev);
            let role =
                RoleEffect { by: id, rank: ROOT_RANK, generation: u32::MAX, role: Role::Secretary, marks };
            made.entry(author).or_default().push(role);
            self.people.entry(author).or_insert_with(|| {
                let person = Person::of(id, &root.secretary);
                Person { role: Role::Reader, bare: true, ..person }
            });
            for (device, reason, frontier) in &root.removals {
                // Whom the key chose later it did not remove.
                if !made.contains_key(device) {
                    self.remove(device, id, &author, ROOT_RANK, *reason, frontier);
                }
            }
        }
        for (device, roles) in made {
            self.effects.entry(device).or_default().roles.add(roles);
        }
        Some(genesis.root)
    }

    fn rank(&mut self, rank: u8) {
        let officers = self.officers();
        // As if no device of this rank had removed another of its member's.
        let mut optimistic = self.people.clone();
        self.admit(rank, &officers, &mut optimistic);
        let own: Vec<(ItemId, &Entry)> =
            self.set.of_kind(&[6]).filter(|(id, e)| self.removes_own(rank, &optimistic, id, e)).collect();
        for (id, entry) in own {
            self.remove_by(rank, id, entry);
        }
        let mut people = std::mem::take(&mut self.people);
        let counted = self.admit(rank, &officers, &mut people);
        self.people = people;
        self.counts.extend(counted);
        if rank < LOWEST_RANK {
            self.decide_below(rank);
        }
    }

    /// Members of whom those above made a device an officer's.
    fn officers(&self) -> BTreeSet<MemberId> {
        let is_officer = |(id, p): &(&DeviceId, &Person)| self.role_now(id, p).is_officer();
        self.people.iter().filter(is_officer).map(|(_, p)| p.member).collect()
    }

    /// Certificates by devices of this rank: for their members' further devices, for those below, and by those among
    /// these whom a higher rank gave this one. Of those whose issuer is known the one with the smallest id comes next.
    fn admit(&self, rank: u8, officers: &BTreeSet<MemberId>, people: &mut People) -> Vec<ItemId> {
        let by_device = &self.set.admissions;
        let mut due: BTreeSet<ItemId> =
            people.keys().filter_map(|d| by_device.get(d)).flatten().copied().collect();
        let mut counted = Vec::new();
        while let Some(id) = due.pop_first() {
            let Some(entry) = self.set.get(&id) else { continue };
            let (Record::Device { certificate, .. }, Some(by)) =
                (&entry.record, people.get(&entry.author.device))
            else {
                continue;
            };
            let at = self.set.at(&id, entry);
            let role = self.role_at(&entry.author.device, by, &at);
            if role.rank() != rank || self.is_cut(&entry.author.device, &at) {
                continue;
            }
            if !may_admit(role, &by.member, certificate, officers) {
                continue;
            }
            let device = certificate.request.public.id();
            let is_chosen = self.accepted.get(&device).is_none_or(|(_, chosen)| *chosen == id);
            match people.get_mut(&device) {
                None if is_chosen => {
                    people.insert(device, Person::of(id, certificate));
                }
                Some(person) if person.bare && is_chosen => {
                    person.bare = false;
                    person.role = certificate.role;
                }
                Some(person) => {
                    person.also.insert((certificate.member, certificate.role));
                    continue;
                }
                None => continue,
            }
            counted.push(id);
            due.extend(by_device.get(&device).into_iter().flatten());
        }
        counted
    }

    /// Whether a removal is by a device of this rank of its own member's other one, which may not stand above it.
    fn removes_own(&self, rank: u8, people: &People, id: &ItemId, entry: &Entry) -> bool {
        let Record::Removal { device, .. } = &entry.record else { return false };
        let (Some(issuer), Some(subject)) = (people.get(&entry.author.device), people.get(device)) else {
            return false;
        };
        let at = self.set.at(id, entry);
        issuer.member == subject.member
            && self.role_at(&entry.author.device, issuer, &at).rank() == rank
            && self.role_now(device, subject).rank() >= rank
            && !self.is_cut(&entry.author.device, &at)
    }

    /// What the devices of this rank decided about those below.
    fn decide_below(&mut self, rank: u8) {
        let mut removals = Vec::new();
        let mut roles: BTreeMap<DeviceId, Vec<RoleEffect>> = BTreeMap::new();
        for (id, entry) in self.set.of_kind(&[6, 7]) {
            let Some(issuer) = self.people.get(&entry.author.device) else { continue };
            let at = self.set.at(&id, entry);
            let decides = self.role_at(&entry.author.device, issuer, &at).rank() == rank
                && !self.is_cut(&entry.author.device, &at);
            match &entry.record {
                Record::Removal { device, .. } if decides && self.is_below(device, rank) => {
                    removals.push((id, entry))
                }
                Record::Role { device, role, generation, frontier }
                    if decides
                        && self.is_below(device, rank)
                        && role.rank() > rank
                        && !self.set.is_ahead(&entry.record) =>
                {
                    let marks = Marks::of(frontier, |_, author| author.device == *device);
                    let effect = RoleEffect { by: id, rank, generation: *generation, role: *role, marks };
                    roles.entry(*device).or_default().push(effect);
                    self.counts.insert(id);
                }
                _ => {}
            }
        }
        for (id, entry) in removals {
            self.remove_by(rank, id, entry);
        }
        for (device, roles) in roles {
            self.effects.entry(device).or_default().roles.add(roles);
        }
    }

    /// Whether a device, as those above this rank made it, stands below it. Devices that a lower rank admitted later do.
    fn is_below(&self, device: &DeviceId, rank: u8) -> bool {
        match self.people.get(device) {
            Some(found) => self.role_now(device, found).rank() > rank,
            // Whoever certified it, or will, stands below this rank, or it is nobody.
            None => rank < LOWEST_RANK && self.set.named.contains_key(device),
        }
    }

    fn remove_by(&mut self, rank: u8, id: ItemId, entry: &Entry) {
        if let Record::Removal { device, reason, frontier } = &entry.record {
            self.remove(device, id, &entry.author.device, rank, *reason, frontier);
            self.counts.insert(id);
        }
    }

    fn remove(
        &mut self,
        device: &DeviceId,
        by: ItemId,
        issuer: &DeviceId,
        rank: u8,
        reason: Reason,
        frontier: &Frontier,
    ) {
        // Only what is about the device itself.
        let marks = Marks::of(frontier, |_, author| author.device == *device);
        let effect = RemovalEffect { issuer: *issuer, rank, reason, marks, attested: Default::default() };
        self.effects.entry(*device).or_default().remove(by, effect);
    }

    fn is_cut(&self, device: &DeviceId, at: &Position) -> bool {
        super::count_step();
        self.effects.get(device).is_some_and(|e| e.is_cut(at))
    }

    fn role_at(&self, device: &DeviceId, person: &Person, at: &Position) -> Role {
        super::count_step();
        self.effects.get(device).and_then(|e| e.roles.at(at)).unwrap_or(person.role)
    }

    fn role_now(&self, device: &DeviceId, person: &Person) -> Role {
        self.effects.get(device).and_then(|e| e.roles.now()).unwrap_or(person.role)
    }
}

/// Whether a device with this role and member may give this certificate. A deputy gives none in an officer's name but its
/// own: whoever holds a device of a member reads what is for that member only.
pub(super) fn may_admit(
    role: Role,
    member: &MemberId,
    certificate: &Certificate,
    officers: &BTreeSet<MemberId>,
) -> bool {
    let own = role.writes() && certificate.role == role && certificate.member == *member;
    let below = role.is_officer()
        && certificate.role.rank() > role.rank()
        && (role == Role::Secretary
            || certificate.member == *member
            || !officers.contains(&certificate.member));
    own || below
}
