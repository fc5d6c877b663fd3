//! Who loses a right, and what is due of what they did. Devices and members are removed, roles change, readers are taken
//! off and let in again, while others write on and links break.
//!
//! What who took the right had seen stays, and everything that others wrote. What it had not seen may stay, if others
//! built on it. What is written when the removal is durable at the relay reaches nobody.

use std::collections::BTreeSet;

use dinh_core::replica::ReplicaError;
use dinh_proto::charter::record::{Reason, Role};
use dinh_proto::ids::{DeviceId, DocId, MemberId, SpaceId};

use crate::options::below;
use crate::truth::{Deed, Must, What};
use crate::workload::member;
use crate::world::World;

const ROLES: [Role; 6] =
    [Role::Member, Role::Member, Role::Deputy, Role::Committee, Role::Probationary, Role::Reviewer];

/// Acts on membership, for the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Device,
    Member,
    Role,
    Reader,
}

impl World {
    /// Somebody changes who may do what.
    pub(crate) fn change_membership(&mut self, p: usize) {
        // Mostly the secretary, who may.
        let secretary = self.phones[0].replica.is_some() && !self.phones[0].suspended;
        let p = if secretary && self.chance(60) { 0 } else { p };
        match below(&mut self.rng, 10) {
            0..=2 => self.remove_some_device(p),
            3 => self.remove_some_member(p),
            4..=5 => self.change_some_role(p),
            6..=7 => self.take_some_reader_off(p),
            8 => self.let_somebody_in_again(p),
            _ => drop(self.readmit_somebody()),
        }
        self.pump_phone(p);
    }

    fn remove_some_device(&mut self, p: usize) {
        let t = below(&mut self.rng, self.phones.len() as u64) as usize;
        let device = self.phones[t].device;
        if device != self.phones[0].device && device != self.phones[p].device {
            self.remove_device(p, device);
        }
    }

    pub(crate) fn remove_device(&mut self, p: usize, device: DeviceId) {
        let (branch, reason) = (self.truth.branch, Reason::Lost);
        self.take(p, Cut::Device, &[device].into(), None, |r| r.remove_device(branch, device, reason));
    }

    fn some_other_member(&mut self) -> Option<MemberId> {
        let n = 1 + below(&mut self.rng, self.opts.members.saturating_sub(1) as u64) as usize;
        (n < self.opts.members).then(|| member(n))
    }

    fn devices_of(&self, of: &MemberId) -> BTreeSet<DeviceId> {
        self.phones.iter().filter(|p| p.member == *of).map(|p| p.device).collect()
    }

    fn remove_some_member(&mut self, p: usize) {
        let Some(who) = self.some_other_member().filter(|who| *who != self.phones[p].member) else { return };
        self.remove_member(p, who);
    }

    pub(crate) fn remove_member(&mut self, p: usize, who: MemberId) {
        let (branch, devices) = (self.truth.branch, self.devices_of(&who));
        self.take(p, Cut::Member, &devices, None, |r| r.remove_member(branch, who, Reason::Expelled));
    }

    fn change_some_role(&mut self, p: usize) {
        let role = ROLES[below(&mut self.rng, ROLES.len() as u64) as usize];
        let Some(who) = self.some_other_member().filter(|who| *who != self.phones[p].member) else { return };
        let (branch, devices) = (self.truth.branch, self.devices_of(&who));
        self.take(p, Cut::Role, &devices, None, |r| r.change_role(branch, who, role));
    }

    fn take_some_reader_off(&mut self, p: usize) {
        let of_lists: Vec<(SpaceId, MemberId)> = self
            .truth
            .spaces
            .iter()
            .filter(|s| !s.everyone)
            .flat_map(|s| s.members.iter().map(|m| (s.id, *m)))
            .filter(|(_, m)| *m != self.phones[p].member)
            .collect();
        let i = below(&mut self.rng, of_lists.len() as u64) as usize;
        if let Some((space, who)) = of_lists.get(i).copied() {
            self.revoke(p, space, who);
        }
    }

    pub(crate) fn revoke(&mut self, p: usize, space: SpaceId, who: MemberId) {
        let devices = self.devices_of(&who);
        if self.take(p, Cut::Reader, &devices, Some(space), |r| r.revoke(space, who)) {
            self.truth.revoked.insert((space, who));
            for deed in &mut self.truth.deeds {
                if matches!(deed.what, What::Grant { space: s, member: m } if s == space && m == who) {
                    deed.must = Must::Maybe;
                }
            }
        }
    }

    fn let_somebody_in_again(&mut self, p: usize) {
        let i = below(&mut self.rng, self.truth.revoked.len() as u64) as usize;
        if let Some((space, who)) = self.truth.revoked.iter().nth(i).copied() {
            self.grant(p, space, who);
        }
    }

    /// A member of whom a phone was removed gets a new one.
    fn readmit_somebody(&mut self) -> Option<usize> {
        let out: Vec<MemberId> =
            (0..self.phones.len()).filter(|p| self.is_out(*p)).map(|p| self.phones[p].member).collect();
        let i = below(&mut self.rng, out.len() as u64) as usize;
        let who = out.get(i).copied().filter(|_| self.phones.len() < self.opts.phones_max)?;
        self.join(who, Role::Member)
    }

    /// Takes a right away, and writes down what is due of what was done with it. Returns whether anything was taken.
    fn take(
        &mut self,
        p: usize,
        cut: Cut,
        devices: &BTreeSet<DeviceId>,
        space: Option<SpaceId>,
        act: impl FnOnce(&mut dinh_core::replica::Replica<crate::spy::SpyStore>) -> Result<(), ReplicaError>,
    ) -> bool {
        let concerned: Vec<usize> = (0..self.truth.deeds.len())
            .filter(|i| {
                let deed = &self.truth.deeds[*i];
                let of_theirs = devices.contains(&self.phones[deed.phone].device);
                let there = space.is_none_or(|space| self.space_of_deed(&deed.what) == Some(space));
                deed.must == Must::Yes && of_theirs && there
            })
            .collect();
        let Some(unseen) = self.lacking(p, &concerned) else { return false };
        let done = self.call(p, |r, _| {
            let before = r.charters().values().map(|c| c.len()).sum::<usize>();
            let done = match act(r) {
                Err(ReplicaError::Store(error)) => return Err(error.into()),
                done => done,
            };
            let after = r.charters().values().map(|c| c.len()).sum::<usize>();
            // What was issued before an error counts.
            Ok((done, after > before))
        });
        let must = match done {
            None => Must::Maybe,
            Some(Ok((Ok(()), _))) => Must::Yes,
            Some(Ok((Err(_), true))) => Must::Maybe,
            Some(Ok((Err(_), false)) | Err(_)) => return false,
        };
        self.say(|| format!("phone {p}: {cut:?} {devices:?} {space:?} {must:?}, unseen {unseen:?}"));
        self.totals.cuts[cut as usize] += 1;
        // Of a key that is not here nobody can tell whether it was deleted or never came.
        let deletes = |i: &usize| matches!(self.truth.deeds[*i].what, What::Delete { .. });
        let unsure: Vec<usize> =
            unseen.into_iter().chain(concerned.iter().copied().filter(deletes)).collect();
        unsure.into_iter().for_each(|i| self.truth.deeds[i].must = Must::Maybe);
        self.truth.cut.extend(devices.iter().map(|device| (*device, space)));
        if matches!(cut, Cut::Device | Cut::Member) {
            for device in devices {
                // A member may have phones that this one has not heard of.
                let known =
                    self.call(p, |r, _| Ok(r.charters().values().any(|c| c.removed().contains_key(device))));
                let must = if matches!(known, Some(Ok(true))) { must } else { Must::Maybe };
                self.deed(p, What::Removal { device: *device }, must);
            }
        }
        true
    }

    pub(crate) fn space_of_deed(&self, what: &What) -> Option<SpaceId> {
        match what {
            What::Space { space } | What::Grant { space, .. } => Some(*space),
            other => other.doc().and_then(|doc| self.space_of(&doc)),
        }
    }

    pub(crate) fn space_of(&self, doc: &DocId) -> Option<SpaceId> {
        self.truth.docs.iter().find(|(d, _)| d == doc).map(|(_, space)| *space)
    }

    /// What is due of something that this phone does now.
    pub(crate) fn must_of(&self, p: usize, what: &What, must: Must) -> Must {
        let device = self.phones[p].device;
        let space = self.space_of_deed(what);
        let is_cut = self.truth.cut.contains(&(device, None)) || self.truth.cut.contains(&(device, space));
        match must {
            Must::Yes if self.is_out_for_good(p) && self.nobody_goes_back() => Must::Not,
            Must::Yes if is_cut => Must::Maybe,
            must => must,
        }
    }

    /// Nobody but the relay brings phones anything (phones that meet may not know of a removal), and nobody's past comes back.
    fn nobody_goes_back(&self) -> bool {
        let faults = &self.opts.faults;
        faults.relay_restore + faults.phone_restore + faults.twin == 0 && self.opts.hall_gap == 0
    }

    /// Whether a deed must be seen by who may read it: it was done, its space and document are there for certain, and its
    /// author's right hangs on nothing that was cut.
    pub(crate) fn is_due(&self, deed: &Deed) -> bool {
        if deed.must != Must::Yes || deed.what.doc().is_some_and(|doc| self.truth.doubled.contains(&doc)) {
            return false;
        }
        if self.truth.cut.is_empty() {
            return true;
        }
        let made = |wanted: &dyn Fn(&What) -> bool| {
            self.truth.deeds.iter().any(|d| d.must == Must::Yes && wanted(&d.what))
        };
        let Some(id) = self.space_of_deed(&deed.what) else { return true };
        let Some(space) = self.truth.spaces.iter().find(|s| s.id == id) else { return false };
        let who = self.phones[deed.phone].member;
        let listed = space.everyone || space.first.contains(&who);
        listed
            || made(&|what| matches!(what, What::Grant { space, member } if *space == id && *member == who))
    }

    /// At the end: what a device that was out did is on no phone of those who are in.
    pub(crate) fn check_nothing_of_who_was_out(&mut self, p: usize, docs: &BTreeSet<DocId>) {
        // A removal by one who was himself removed, and not seen by who did that, is void, though the relay went by it for a while.
        let removed = |must: &dyn Fn(Must) -> bool| -> BTreeSet<DeviceId> {
            let removals = self.truth.deeds.iter().filter(|d| must(d.must));
            removals
                .filter_map(|d| if let What::Removal { device } = d.what { Some(device) } else { None })
                .collect()
        };
        let out = &removed(&|must| must == Must::Yes) - &removed(&|must| must != Must::Yes);
        let deeds: Vec<usize> = (0..self.truth.deeds.len())
            .filter(|i| {
                let deed = &self.truth.deeds[*i];
                let content = matches!(
                    deed.what,
                    What::Key { .. } | What::Entry { .. } | What::Word { .. } | What::Act { .. }
                );
                // A key that was deleted again cannot be seen either way.
                let deleted = |d: &Deed| matches!(d.what, What::Delete { of, .. } if of == *i);
                let content = content && !self.truth.deeds.iter().any(deleted);
                deed.must == Must::Not
                    && content
                    && out.contains(&self.phones[deed.phone].device)
                    && deed.what.doc().is_some_and(|d| docs.contains(&d))
            })
            .collect();
        let lacking: BTreeSet<usize> = self.lacking(p, &deeds).expect("no faults").into_iter().collect();
        self.totals.refused_deeds += lacking.len() as u64;
        if let Some(i) = deeds.iter().find(|i| !lacking.contains(i)) {
            let deed = &self.truth.deeds[*i];
            panic!("revoked: phone {p} shows what phone {} did when it was out: {:?}", deed.phone, deed.what);
        }
    }
}
