//! The one evaluation of a set of records: who is certified, what counts, what it adds up to. A pure function of the
//! set, so all devices and relays that have the same records say the same, in whatever order they came.
//!
//! Authority is settled rank by rank, from the key on paper down. Who decides about a device stands above it, so what
//! counts of a rank is known before it is asked what the rank decided. Only a member's own devices may remove each other
//! as equals: of such removals each counts whatever the other says, so both devices are out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Entry;
use super::record::{Audience, Certificate, Frontier, Reason, Record, Role};
use super::view::{
    Certified, Device, DocumentEntry, Epoch, Marks, Position, ReaderEffect, RemovalEffect, RemovedDevice,
    RoleEffect, Space, View,
};
use crate::error::RejectCode;
use crate::ids::{Author, DeviceId, DocId, ItemId, MemberId, SpaceId};

/// Rank of the key on paper.
const ROOT_RANK: u8 = 0;
/// Rank of everybody who is not an officer.
const LOWEST_RANK: u8 = 3;

pub(super) struct Evaluation<'a> {
    branch: &'a SpaceId,
    entries: &'a mut BTreeMap<ItemId, Entry>,
    certified: BTreeMap<DeviceId, Certified>,
    removals: BTreeMap<DeviceId, Vec<RemovalEffect>>,
    roles: BTreeMap<DeviceId, Vec<RoleEffect>>,
    /// Device records by who issued them, in the order of their ids.
    admissions: BTreeMap<DeviceId, Vec<ItemId>>,
    /// Devices that a certificate names, counting or not.
    named: BTreeSet<DeviceId>,
}

/// What the records say. Each entry learns whether it counts.
pub(super) fn evaluate(branch: &SpaceId, entries: &mut BTreeMap<ItemId, Entry>) -> View {
    entries.values_mut().for_each(|e| e.counts = false);
    let mut evaluation = Evaluation {
        branch,
        entries,
        certified: BTreeMap::new(),
        removals: BTreeMap::new(),
        roles: BTreeMap::new(),
        admissions: BTreeMap::new(),
        named: BTreeSet::new(),
    };
    evaluation.index();
    let mut view = View { root: evaluation.root_rank(), ..View::default() };
    for rank in 1..=LOWEST_RANK {
        evaluation.rank(rank);
    }
    view.certified = std::mem::take(&mut evaluation.certified);
    for (id, device) in &view.certified {
        let found = Device {
            public: device.public,
            member: device.member,
            role: device.role_now(),
            name: device.name.clone(),
        };
        match device.removals.iter().min_by_key(|r| (r.rank, r.by)) {
            None => {
                view.devices.insert(*id, found);
            }
            Some(r) => {
                view.removed.insert(*id, RemovedDevice { device: found, reason: r.reason, by: r.by });
            }
        }
    }
    settle_rest(&mut view, branch, entries);
    view
}

/// Applies the records that decide about nobody, until no more of them count.
fn settle_rest(view: &mut View, branch: &SpaceId, entries: &mut BTreeMap<ItemId, Entry>) {
    loop {
        let mut changed = false;
        for (id, entry) in entries.iter_mut().filter(|(_, e)| !e.counts) {
            if apply(view, branch, *id, entry).is_ok() {
                entry.counts = true;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
}

impl Evaluation<'_> {
    fn index(&mut self) {
        for (id, entry) in self.entries.iter() {
            self.named.extend(entry.device);
            if matches!(entry.record, Record::Device { .. }) {
                self.admissions.entry(entry.author.device).or_default().push(*id);
            }
        }
    }

    fn at(&self, id: &ItemId, entry: &Entry) -> Position {
        Position { space: *self.branch, author: entry.author, n: entry.n, link: id.link() }
    }

    /// The genesis and what the key on paper decided since. Of its records the one with the higher generation counts
    /// against others.
    fn root_rank(&mut self) -> Option<crate::keys::SignPublic> {
        let genesis = self.entries.iter().find_map(|(id, e)| match &e.record {
            Record::Genesis(g)
                if g.secretary.request.public.id() == e.author.device
                    && g.secretary.role == Role::Secretary =>
            {
                Some((*id, (**g).clone()))
            }
            _ => None,
        });
        let (genesis_id, genesis) = genesis?;
        self.certify(genesis_id, &genesis.secretary, &[]);
        self.count(&genesis_id);
        let mut records: Vec<(u32, ItemId)> = self
            .entries
            .iter()
            .filter_map(|(id, e)| match &e.record {
                Record::Root(r)
                    if r.secretary.role == Role::Secretary
                        && r.secretary.request.public.id() == e.author.device
                        && r.is_signed_by(&genesis.root) =>
                {
                    Some((r.generation, *id))
                }
                _ => None,
            })
            .collect();
        records.sort_by_key(|(generation, id)| (Reverse(*generation), *id));
        for (_, id) in records {
            let Some(entry) = self.entries.get(&id) else { continue };
            let at = self.at(&id, entry);
            if self.is_cut(&entry.author.device, &at) {
                continue;
            }
            let Record::Root(root) = entry.record.clone() else { continue };
            let author = entry.author;
            self.count(&id);
            for (device, reason, frontier) in &root.removals {
                self.remove(device, id, &author.device, ROOT_RANK, *reason, frontier);
            }
            if self.certified.contains_key(&author.device) {
                // It was certified for something else: it is the secretary's from this record on.
                let mut marks = Marks::default();
                if at.n > 1 {
                    marks.extend(self.branch, &author, at.n - 1, entry_link(self.entries, &author, at.n - 1));
                }
                let effect = RoleEffect {
                    by: id,
                    rank: ROOT_RANK,
                    generation: u32::MAX,
                    role: Role::Secretary,
                    marks,
                };
                self.roles.entry(author.device).or_default().push(effect);
                self.refresh(&author.device);
            } else {
                self.certify(id, &root.secretary, &[]);
            }
        }
        Some(genesis.root)
    }

    fn rank(&mut self, rank: u8) {
        // Own further devices, as if no device of this rank had removed another.
        let before = self.certified.clone();
        self.certify_own(rank, false);
        let own_removals: Vec<(ItemId, DeviceId, DeviceId, Reason, Frontier)> = self
            .entries
            .iter()
            .filter_map(|(id, e)| {
                let Record::Removal { device, reason, frontier } = &e.record else { return None };
                let issuer = self.certified.get(&e.author.device)?;
                let subject = self.certified.get(device)?;
                let at = self.at(id, e);
                let live = issuer.role_at(&at).rank() == rank
                    && issuer.member == subject.member
                    && !issuer.removals.iter().any(|r| r.rank < rank && side_is_cut(r, &at));
                live.then(|| (*id, *device, e.author.device, *reason, frontier.clone()))
            })
            .collect();
        self.certified = before;
        for (id, device, issuer, reason, frontier) in own_removals {
            self.remove(&device, id, &issuer, rank, reason, &frontier);
            self.count(&id);
        }
        self.certify_own(rank, true);
        self.decide_below(rank);
    }

    /// Certificates by devices of this rank for their own members' further devices, and by those for others.
    fn certify_own(&mut self, rank: u8, counts: bool) {
        let mut issuers: VecDeque<DeviceId> = self.certified.keys().copied().collect();
        while let Some(issuer) = issuers.pop_front() {
            for id in self.admissions.get(&issuer).cloned().unwrap_or_default() {
                let (Some(entry), Some(by)) = (self.entries.get(&id), self.certified.get(&issuer)) else {
                    continue;
                };
                let Record::Device { certificate, seen } = &entry.record else { continue };
                let at = self.at(&id, entry);
                let role = by.role_at(&at);
                let own = role.rank() == rank
                    && role.writes()
                    && certificate.role == role
                    && certificate.member == by.member;
                let device = certificate.request.public.id();
                if !own || by.is_cut(&at) || self.certified.contains_key(&device) {
                    continue;
                }
                let (certificate, seen) = (certificate.clone(), seen.clone());
                self.certify(id, &certificate, &seen);
                issuers.push_back(device);
                if counts {
                    self.count(&id);
                }
            }
        }
    }

    /// What the devices of this rank decided about those below.
    fn decide_below(&mut self, rank: u8) {
        let decided: Vec<ItemId> = self
            .entries
            .iter()
            .filter(|(id, e)| {
                self.certified.get(&e.author.device).is_some_and(|issuer| {
                    let at = self.at(id, e);
                    issuer.role_at(&at).rank() == rank && !issuer.is_cut(&at)
                })
            })
            .map(|(id, _)| *id)
            .collect();
        for id in &decided {
            let Some(entry) = self.entries.get(id) else { continue };
            let Record::Device { certificate, seen } = entry.record.clone() else { continue };
            let new = !self.certified.contains_key(&certificate.request.public.id());
            // Only officers stand above anybody.
            if new && rank < LOWEST_RANK && certificate.role.rank() > rank {
                self.certify(*id, &certificate, &seen);
                self.count(id);
            }
        }
        for id in decided {
            let Some(entry) = self.entries.get(&id) else { continue };
            let (author, record) = (entry.author, entry.record.clone());
            match record {
                Record::Removal { device, reason, frontier } if self.is_below(&device, rank) => {
                    self.remove(&device, id, &author.device, rank, reason, &frontier);
                    self.count(&id);
                }
                Record::Role { device, role, generation, frontier }
                    if self.is_below(&device, rank) && role.rank() > rank =>
                {
                    let marks = marks_of(&frontier, &device);
                    let effect = RoleEffect { by: id, rank, generation, role, marks };
                    self.roles.entry(device).or_default().push(effect);
                    self.refresh(&device);
                    self.count(&id);
                }
                _ => {}
            }
        }
    }

    /// Whether a device, as those above this rank made it, stands below it. Devices that a lower rank admitted later do.
    fn is_below(&self, device: &DeviceId, rank: u8) -> bool {
        match self.certified.get(device) {
            Some(found) => {
                let above = found.roles.iter().filter(|e| e.rank < rank);
                let role = above.max_by_key(|e| (e.generation, Reverse(e.rank), Reverse(e.by)));
                role.map_or(found.role, |e| e.role).rank() > rank
            }
            // Whoever certified it, or will, stands below this rank, or it is nobody.
            None => rank < LOWEST_RANK && self.named.contains(device),
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
        let marks = marks_of(frontier, device);
        let effect = RemovalEffect { by, issuer: *issuer, rank, reason, marks };
        self.removals.entry(*device).or_default().push(effect);
        self.refresh(device);
    }

    fn is_cut(&self, device: &DeviceId, at: &Position) -> bool {
        self.removals.get(device).into_iter().flatten().any(|r| side_is_cut(r, at))
    }

    fn certify(&mut self, by: ItemId, certificate: &Certificate, seen: &[(Author, u32)]) {
        let public = certificate.request.public;
        let id = public.id();
        let certified = Certified {
            by,
            public,
            member: certificate.member,
            role: certificate.role,
            name: certificate.name.clone(),
            seen: seen.to_vec(),
            removals: Vec::new(),
            roles: Vec::new(),
        };
        self.certified.insert(id, certified);
        self.refresh(&id);
    }

    fn refresh(&mut self, device: &DeviceId) {
        if let Some(found) = self.certified.get_mut(device) {
            found.removals = self.removals.get(device).cloned().unwrap_or_default();
            found.roles = self.roles.get(device).cloned().unwrap_or_default();
        }
    }

    fn count(&mut self, id: &ItemId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.counts = true;
        }
    }
}

fn side_is_cut(removal: &RemovalEffect, at: &Position) -> bool {
    removal.marks.side(at) != super::view::Side::Within
}

/// Only what is about the device itself.
fn marks_of(frontier: &Frontier, device: &DeviceId) -> Marks {
    let own = frontier.0.iter().filter(|m| m.author.device == *device).copied().collect();
    Marks::of(&Frontier(own))
}

fn entry_link(entries: &BTreeMap<ItemId, Entry>, author: &Author, n: u32) -> [u8; 16] {
    let found = entries.iter().find(|(_, e)| e.author == *author && e.n == n);
    found.map_or([0; 16], |(id, _)| id.link())
}

/// Applies one record that decides about nobody's place, if it counts.
pub(super) fn apply(view: &mut View, branch: &SpaceId, id: ItemId, entry: &Entry) -> Result<(), RejectCode> {
    let issuer = view.certified.get(&entry.author.device).ok_or(RejectCode::UnknownAuthor)?;
    let at = Position { space: *branch, author: entry.author, n: entry.n, link: id.link() };
    let (member, role) = (issuer.member, issuer.role_at(&at));
    let refuse = Err(RejectCode::NotAuthorised);
    if !role.writes() || issuer.is_cut(&at) {
        return refuse;
    }
    let reads = |space: &SpaceId| view.ever_reads(issuer, space, branch);
    match &entry.record {
        Record::Genesis(_)
        | Record::Device { .. }
        | Record::Removal { .. }
        | Record::Role { .. }
        | Record::Root(_) => {
            return refuse;
        }
        Record::Space { nonce, history, padded, audience } => {
            let space = SpaceId::derive(&entry.author.device, nonce);
            let (everyone, members) = match audience {
                Audience::Everyone => (true, BTreeSet::new()),
                Audience::Members(members) => (false, members.iter().copied().collect()),
            };
            let may = role == Role::Secretary || (!everyone && members.contains(&member));
            if !may || view.spaces.contains_key(&space) {
                return refuse;
            }
            let found = Space { creator: member, history: *history, padded: *padded, everyone, members };
            view.spaces.insert(space, found);
        }
        Record::Grant { space, member: reader, generation } => {
            may_change_readers(view, space, &member, role, reads(space))?;
            let effect = ReaderEffect { by: id, generation: *generation, revoked: None };
            change_readers(view, *space, *reader, effect);
        }
        Record::Revoke { space, member: reader, generation, frontier } => {
            may_change_readers(view, space, &member, role, reads(space))?;
            let own = frontier.0.iter().filter(|m| m.space == *space).copied().collect();
            let revoked = Some(Marks::of(&Frontier(own)));
            change_readers(view, *space, *reader, ReaderEffect { by: id, generation: *generation, revoked });
        }
        Record::Document { nonce, space, writers } => {
            let doc = DocId::derive(&entry.author.device, nonce);
            if space != branch && !view.spaces.contains_key(space) {
                return Err(RejectCode::UnknownTarget);
            }
            if space == branch || !reads(space) || view.documents.contains_key(&doc) {
                return refuse;
            }
            view.documents.insert(doc, DocumentEntry { space: *space, writers: *writers });
        }
        Record::Epoch(epoch) => {
            if epoch.space != *branch && !view.spaces.contains_key(&epoch.space) {
                return Err(RejectCode::UnknownTarget);
            }
            let history = view.spaces.get(&epoch.space).is_none_or(|s| s.history);
            if !reads(&epoch.space) || (!history && !epoch.prev.is_empty()) {
                return refuse;
            }
            let of_space = view.epochs.entry(epoch.space).or_default();
            // Headers name an epoch by its first bytes.
            if of_space.keys().any(|other| other.hint() == epoch.id.hint()) {
                return refuse;
            }
            let mut found = Epoch {
                generation: epoch.generation,
                issuer: entry.author.device,
                issued: epoch.issued,
                prev: epoch.prev.clone(),
                wraps: BTreeMap::new(),
            };
            epoch.wraps.iter().for_each(|w| found.wraps.entry(w.tag).or_default().push(w.clone()));
            of_space.insert(epoch.id, found);
        }
        Record::Wraps { space, epoch, wraps } => {
            let may = reads(space);
            let found = view.epochs.get_mut(space).and_then(|epochs| epochs.get_mut(epoch));
            let found = found.ok_or(RejectCode::UnknownTarget)?;
            if !may {
                return refuse;
            }
            for wrap in wraps {
                let of_device = found.wraps.entry(wrap.tag).or_default();
                // One order, whatever the order in which records came.
                if let Err(i) = of_device.binary_search_by_key(&(wrap.enc, wrap.ct), |w| (w.enc, w.ct)) {
                    of_device.insert(i, wrap.clone());
                }
            }
        }
        Record::Recorder { doc, member: recorder } => {
            let space = view.documents.get(doc).ok_or(RejectCode::UnknownTarget)?.space;
            if !role.is_officer() || !reads(&space) {
                return refuse;
            }
            view.recorders.insert((*doc, *recorder));
        }
        Record::Cut { space, author, keep } => {
            if role != Role::Secretary {
                return refuse;
            }
            let kept = view.cuts.entry((*space, *author)).or_insert(*keep);
            *kept = (*kept).min(*keep);
        }
        Record::Upper { generation, upper } => {
            if role != Role::Secretary {
                return refuse;
            }
            let found = (*generation, Reverse(id), *upper);
            view.upper = view.upper.take().max(Some(found));
        }
        Record::Frontier { about, device, frontier } => {
            let witness = (member, entry.author.device);
            return attest(view, branch, *about, device, frontier, witness);
        }
    }
    Ok(())
}

fn may_change_readers(
    view: &View,
    space: &SpaceId,
    issuer: &MemberId,
    role: Role,
    reads: bool,
) -> Result<(), RejectCode> {
    let found = view.spaces.get(space).ok_or(RejectCode::UnknownTarget)?;
    if !found.everyone && (found.creator == *issuer || (role.is_officer() && reads)) {
        Ok(())
    } else {
        Err(RejectCode::NotAuthorised)
    }
}

fn change_readers(view: &mut View, space: SpaceId, reader: MemberId, effect: ReaderEffect) {
    let effects = view.readers.entry((space, reader)).or_default();
    let i = effects.partition_point(|e| e.by < effect.by);
    effects.insert(i, effect);
    // Of equals a revoke wins.
    let last = effects.iter().max_by_key(|e| (e.generation, e.revoked.is_some(), Reverse(e.by)));
    let granted = last.is_some_and(|e| e.revoked.is_none());
    if let Some(found) = view.spaces.get_mut(&space) {
        if granted {
            found.members.insert(reader);
        } else {
            found.members.remove(&reader);
        }
    }
}

/// What a reader of a space had received of a removed device there, where the remover could not know.
fn attest(
    view: &mut View,
    branch: &SpaceId,
    about: ItemId,
    device: &DeviceId,
    frontier: &Frontier,
    (member, witness): (MemberId, DeviceId),
) -> Result<(), RejectCode> {
    let subject = view.certified.get(device).ok_or(RejectCode::UnknownTarget)?;
    let witness = view.certified.get(&witness).ok_or(RejectCode::UnknownAuthor)?;
    let removal = subject.removals.iter().find(|r| r.by == about).map(|r| r.issuer);
    let remover = removal.ok_or(RejectCode::UnknownTarget)?;
    let remover = view.certified.get(&remover).ok_or(RejectCode::UnknownTarget)?;
    let allowed = member != subject.member
        && frontier.0.iter().all(|mark| {
            mark.author.device == *device
                && mark.space != *branch
                && view.ever_reads(witness, &mark.space, branch)
                && !view.ever_reads(remover, &mark.space, branch)
        });
    if !allowed {
        return Err(RejectCode::NotAuthorised);
    }
    for mark in &frontier.0 {
        view.attested.insert((about, *device, mark.space));
        let Some(subject) = view.certified.get_mut(device) else { continue };
        for removal in subject.removals.iter_mut().filter(|r| r.by == about) {
            removal.marks.extend(&mark.space, &mark.author, mark.n, mark.link);
        }
    }
    Ok(())
}
