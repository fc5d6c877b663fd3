//! What happens to a branch after it was founded: devices are removed, roles change, readers of a space are taken off,
//! keys are rotated, the root key on paper replaces a secretary. Who loses the right to read is shut out by a new key in
//! the same act.

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::charter::record::{
    Certificate, EpochRecord, Frontier, JoinRequest, Mark, Reason, Record, Role, recover,
};
use dinh_proto::crypto::{SealedKey, SpaceKey, Wrap, WrapContext};
use dinh_proto::ids::{ChainId, DeviceId, EpochId, MemberId, SpaceId};
use dinh_proto::item::{HEADER_BYTES, Header, SignedHeader};
use dinh_proto::keys::{DevicePublic, SignKey};
use dinh_proto::limits;
use rand_chacha::rand_core::RngCore;

use super::schema::{self, Batch};
use super::{Replica, ReplicaError};
use crate::store::{Store, StoreError, Table};

/// What a recovery with the root key takes away from a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The device.
    pub device: DeviceId,
    /// Why.
    pub reason: Reason,
    /// The first of its charter records that does not count any more; none if all that were received count.
    pub from_record: Option<dinh_proto::ids::ItemId>,
}

impl<S: Store> Replica<S> {
    /// Removes a device: nothing that it writes from now on counts, wherever it is written, and new keys shut it out of
    /// everything that this device may read. What this device has received of it stays. One act, offline too; the new
    /// keys of protected spaces that are locked come with the unlocking, and until then nobody writes there.
    ///
    /// # Errors
    /// [`ReplicaError::NotAuthorised`] unless this device's rank is higher, or the device is its member's own.
    /// [`ReplicaError::Locked`] if what the device wrote last is in a snapshot that is locked here.
    pub fn remove_device(
        &mut self,
        branch: SpaceId,
        device: DeviceId,
        reason: Reason,
    ) -> Result<(), ReplicaError> {
        let frontier = self.frontier(&branch, |chain| chain.author.device == device)?;
        self.issue_and_rotate(branch, &[Record::Removal { device, reason, frontier }])
    }

    /// Removes a member with all its devices.
    ///
    /// # Errors
    /// As for [`remove_device`](Self::remove_device).
    pub fn remove_member(
        &mut self,
        branch: SpaceId,
        member: MemberId,
        reason: Reason,
    ) -> Result<(), ReplicaError> {
        let records = self
            .devices_of(&branch, &member)?
            .into_iter()
            .map(|device| {
                let frontier = self.frontier(&branch, |chain| chain.author.device == device)?;
                Ok(Record::Removal { device, reason, frontier })
            })
            .collect::<Result<Vec<_>, ReplicaError>>()?;
        self.issue_and_rotate(branch, &records)
    }

    /// Gives a member another role. What its devices wrote so far, as this device received it, is judged by the old one.
    ///
    /// # Errors
    /// [`ReplicaError::NotAuthorised`] unless this device's rank is higher than both roles'.
    pub fn change_role(&mut self, branch: SpaceId, member: MemberId, role: Role) -> Result<(), ReplicaError> {
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let devices: Vec<(DeviceId, u32)> = self
            .devices_of(&branch, &member)?
            .into_iter()
            .map(|device| (device, charter.role_generation(&device) + 1))
            .collect();
        let records = devices
            .into_iter()
            .map(|(device, generation)| {
                let frontier = self.frontier(&branch, |chain| chain.author.device == device)?;
                Ok(Record::Role { device, role, generation, frontier })
            })
            .collect::<Result<Vec<_>, ReplicaError>>()?;
        self.issue_and_rotate(branch, &records)
    }

    /// Takes a member off the readers of a space; a new key shuts it out. What its devices wrote there so far stays.
    pub fn revoke(&mut self, space: SpaceId, member: MemberId) -> Result<(), ReplicaError> {
        let branch = *self.space_branch.get(&space).ok_or(ReplicaError::UnknownSpace(space))?;
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let generation = charter.reader_generation(&space, &member) + 1;
        let devices: BTreeSet<DeviceId> = self.devices_of(&branch, &member)?.into_iter().collect();
        let frontier =
            self.frontier(&branch, |chain| chain.space == space && devices.contains(&chain.author.device))?;
        self.issue_and_rotate(branch, &[Record::Revoke { space, member, generation, frontier }])
    }

    /// Draws a new key for a space: what is written from now on cannot be read with the old ones.
    ///
    /// # Errors
    /// [`ReplicaError::Locked`] while the second secret is away and the space is protected, or a key of it was missed.
    pub fn rotate_key(&mut self, space: SpaceId) -> Result<(), ReplicaError> {
        let branch = *self.space_branch.get(&space).ok_or(ReplicaError::UnknownSpace(space))?;
        if !self.may_draw_key(&branch, &space) {
            return Err(ReplicaError::Locked(space));
        }
        let mut batch = Batch::default();
        let result = self.issue_epoch(branch, space, &mut batch);
        self.settle_charters(None, &mut batch)?;
        batch.commit(&mut self.store)?;
        result
    }

    /// Names a member as a recorder of one document: it may write there whatever its role.
    pub fn name_recorder(
        &mut self,
        doc: dinh_proto::ids::DocId,
        member: MemberId,
    ) -> Result<(), ReplicaError> {
        let branch = self.branch_of_document(&doc)?;
        self.issue_record(branch, &Record::Recorder { doc, member })
    }

    /// Cuts a chain: of its author's items in this space only the first `keep` count, whatever builds on the others. For
    /// an author who signed two histories, and for what must not stay in a document.
    pub fn cut(&mut self, chain: ChainId, keep: u32) -> Result<(), ReplicaError> {
        let branch = *self.space_branch.get(&chain.space).ok_or(ReplicaError::UnknownSpace(chain.space))?;
        self.issue_record(branch, &Record::Cut { space: chain.space, author: chain.author, keep })?;
        self.rejudge()
    }

    /// Says which branch is this one's upper body, or that there is none.
    pub fn set_upper_body(&mut self, branch: SpaceId, upper: Option<SpaceId>) -> Result<(), ReplicaError> {
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let generation = charter.upper_generation() + 1;
        self.issue_record(branch, &Record::Upper { generation, upper })
    }

    /// Makes this device the secretary's with the root key from paper, and takes devices away: for a branch whose
    /// secretary's phones are lost or in wrong hands. Everything that a taken device did from `from_record` on is undone,
    /// removals too. The new keys of the spaces come from members' devices when they next connect.
    ///
    /// # Errors
    /// [`ReplicaError::NotAuthorised`] if `root` is not this branch's root key.
    pub fn recover_branch(
        &mut self,
        branch: SpaceId,
        root: &SignKey,
        member: MemberId,
        name: &str,
        taken: &[Taken],
    ) -> Result<(), ReplicaError> {
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let generation = charter.root_generation() + 1;
        let mut removals = Vec::new();
        for one in taken {
            let mut frontier = self.frontier(&branch, |chain| chain.author.device == one.device)?;
            let since = one.from_record.and_then(|id| charter.records().find(|r| r.id == id));
            if let Some(first_bad) = since {
                frontier = self.cut_frontier(&branch, frontier, &first_bad.author, first_bad.n)?;
            }
            removals.push((one.device, one.reason, frontier));
        }
        let request = JoinRequest::new(&self.key);
        let name = self.seal_device_name(&branch, &request.public, name);
        let certificate = Certificate { member, role: Role::Secretary, request, name };
        let payload = recover(root, branch, generation, certificate, removals);
        let mut batch = Batch::default();
        self.issue(branch, &payload, &mut batch)?;
        let result = self.rotate_where_due(branch, &mut batch);
        self.settle_charters(None, &mut batch)?;
        batch.commit(&mut self.store)?;
        result?;
        self.rejudge()
    }

    /// Issues records and then new keys for every space in which somebody lost the right to read.
    fn issue_and_rotate(&mut self, branch: SpaceId, records: &[Record]) -> Result<(), ReplicaError> {
        let mut batch = Batch::default();
        let issued = records.iter().try_for_each(|r| self.issue(branch, &r.encode(), &mut batch));
        let rotated = issued.and_then(|()| self.rotate_where_due(branch, &mut batch));
        // Who reads more than before gets the keys in the same act.
        let rotated = rotated.and_then(|()| self.hand_keys(branch, |_, _| true, &mut batch));
        self.settle_charters(None, &mut batch)?;
        // What was issued before an error counts: it is kept.
        batch.commit(&mut self.store)?;
        rotated?;
        self.rejudge()
    }

    pub(super) fn rotate_where_due(
        &mut self,
        branch: SpaceId,
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        let Some(charter) = self.charters.get(&branch) else { return Ok(()) };
        let mut due: Vec<SpaceId> =
            charter.readable(&self.device).into_iter().filter(|space| charter.rotation_due(space)).collect();
        // What is locked now waits for the unlocking, or for another device: until then nobody writes there.
        due.retain(|space| self.may_draw_key(&branch, space));
        due.into_iter().try_for_each(|space| self.issue_epoch(branch, space, batch))
    }

    /// Draws a key, seals it to every device that reads the space now and issues it.
    pub(super) fn issue_epoch(
        &mut self,
        branch: SpaceId,
        space: SpaceId,
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        let key = SpaceKey::generate(&self.fresh_seed());
        self.issue_epoch_of(branch, space, key, batch)
    }

    pub(super) fn issue_epoch_of(
        &mut self,
        branch: SpaceId,
        space: SpaceId,
        key: SpaceKey,
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        if self.is_locked(&space) {
            return Err(ReplicaError::Locked(space));
        }
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let generation = charter.epochs(&space).map(|(_, e)| e.generation).max().unwrap_or(0) + 1;
        let readers: Vec<DevicePublic> =
            charter.readers(&space).iter().filter_map(|id| charter.device(id)).map(|d| d.public).collect();
        let older =
            if charter.has_history(&space) { self.newest_epochs(&branch, &space) } else { Vec::new() };
        let wraps = self.wraps(&branch, &space, &key, &readers);
        let mut prev: Vec<SealedKey> = Vec::new();
        for older in older {
            let mut nonce = [0; 24];
            self.rng.fill_bytes(&mut nonce);
            prev.push(key.seal_key(&older, &space, &nonce));
        }
        prev.sort_by_key(|s| s.epoch);
        let record =
            EpochRecord { space, generation, id: key.id(), issued: self.wall.0 / 1_000, prev, wraps };
        // Known before it is issued: what is written next is written under it.
        self.keep_key(space, key, batch);
        self.issue(branch, &Record::Epoch(Box::new(record)).encode(), batch)
    }

    /// Whether this device may draw a new key for a space now. Not while it does without its wrap secret, if the space is
    /// protected (the key would be here) or if older keys may come that the new one would not lead back to.
    pub(super) fn may_draw_key(&self, branch: &SpaceId, space: &SpaceId) -> bool {
        let has_all = || {
            let charter = self.charters.get(branch);
            charter.is_some_and(|c| c.needed_epochs(space).iter().all(|id| self.keys.has(space, id)))
        };
        self.key.has_wrap() || (!self.is_locked(space) && has_all())
    }

    /// The keys of the epochs that no other epoch leads back to: who has these has all.
    fn newest_epochs(&self, branch: &SpaceId, space: &SpaceId) -> Vec<SpaceKey> {
        let Some(charter) = self.charters.get(branch) else { return Vec::new() };
        let needed = charter.needed_epochs(space);
        let mut newest: Vec<(u32, SpaceKey)> = charter
            .epochs(space)
            .filter(|(id, _)| needed.contains(id))
            .filter_map(|(id, e)| Some((e.generation, self.keys.get(space, &id.hint())?.clone())))
            .collect();
        newest.sort_by_key(|(generation, _)| std::cmp::Reverse(*generation));
        newest.splice(0..0, self.orphaned_keys(branch, space).into_iter().map(|key| (0, key)));
        newest.into_iter().take(limits::EPOCH_PREV_MAX).map(|(_, key)| key).collect()
    }

    /// Keys that are here and that no epoch leads to which counts: who drew them was removed before it did. What was written
    /// under them in good faith stays, so newcomers must get them.
    pub(super) fn orphaned_keys(&self, branch: &SpaceId, space: &SpaceId) -> Vec<SpaceKey> {
        let Some(charter) = self.charters.get(branch).filter(|c| c.has_history(space)) else {
            return Vec::new();
        };
        let led_to: BTreeSet<EpochId> =
            charter.epochs(space).flat_map(|(id, e)| e.prev.iter().map(|s| s.epoch).chain([id])).collect();
        self.keys.of(space).filter(|key| !led_to.contains(&key.id())).cloned().collect()
    }

    pub(super) fn wraps(
        &mut self,
        branch: &SpaceId,
        space: &SpaceId,
        key: &SpaceKey,
        devices: &[DevicePublic],
    ) -> Vec<Wrap> {
        let context = WrapContext { branch: *branch, space: *space };
        let mut wraps: Vec<Wrap> =
            devices.iter().map(|device| key.wrap(&context, device, &self.fresh_seed())).collect();
        wraps.sort_by_key(|w| (w.tag, w.enc));
        wraps
    }

    pub(super) fn fresh_seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        seed
    }

    pub(super) fn devices_of(
        &self,
        branch: &SpaceId,
        member: &MemberId,
    ) -> Result<Vec<DeviceId>, ReplicaError> {
        let charter = self.charters.get(branch).ok_or(ReplicaError::UnknownBranch(*branch))?;
        let of_member = charter.devices().iter().filter(|(_, d)| d.member == *member);
        Ok(of_member.map(|(id, _)| *id).collect())
    }

    /// The newest item that this device holds, or has in a snapshot, of each of a branch's chains that `wanted` picks.
    pub(super) fn frontier(
        &self,
        branch: &SpaceId,
        wanted: impl Fn(&ChainId) -> bool,
    ) -> Result<Frontier, ReplicaError> {
        let mut marks: BTreeMap<ChainId, Mark> = BTreeMap::new();
        let in_branch = |chain: &ChainId| self.space_branch.get(&chain.space) == Some(branch);
        for (chain, tip) in self.tips.iter().filter(|(chain, _)| in_branch(chain) && wanted(chain)) {
            let mark = Mark { space: chain.space, author: chain.author, n: tip.n, link: tip.link };
            marks.insert(*chain, mark);
        }
        let beyond: BTreeSet<SpaceId> = self
            .covered
            .iter()
            .filter(|(chain, covered)| {
                in_branch(chain) && wanted(chain) && marks.get(*chain).is_none_or(|m| m.n < covered.max())
            })
            .map(|(chain, _)| chain.space)
            .collect();
        // Where it ends is inside of a snapshot that does not open.
        if let Some(space) = beyond.iter().find(|space| self.is_locked(space)) {
            return Err(ReplicaError::Locked(*space));
        }
        if !beyond.is_empty() {
            let snapshots = self.store.read(|tx| schema::entries(tx, Table::Snapshots, &[]))?;
            for (_, bytes) in snapshots {
                let item = schema::stored_item(bytes)?;
                if beyond.contains(&item.header().space) {
                    self.mark_snapshot(&item, &wanted, &mut marks)?;
                }
            }
        }
        let mut marks: Vec<Mark> = marks.into_values().collect();
        marks.sort_by_key(|m| (m.space, m.author));
        Ok(Frontier(marks))
    }

    fn mark_snapshot(
        &self,
        snapshot: &dinh_proto::item::Item,
        wanted: &impl Fn(&ChainId) -> bool,
        marks: &mut BTreeMap<ChainId, Mark>,
    ) -> Result<(), ReplicaError> {
        let charter = self.branch_charter(&snapshot.header().space);
        for author in self.snapshot_frame_of(snapshot)?.authors {
            let header = Header::decode(&author.header[..HEADER_BYTES])?;
            let (chain, n) = (header.chain(), header.n().unwrap_or_default());
            if !wanted(&chain) || marks.get(&chain).is_some_and(|m| m.n >= n) {
                continue;
            }
            let key = |device: &DeviceId| charter.and_then(|c| c.device(device)).map(|d| d.public);
            let Ok(signed) = SignedHeader::verify(&author.header, key) else { continue };
            let link = signed.id().link();
            marks.insert(chain, Mark { space: chain.space, author: chain.author, n, link });
        }
        Ok(())
    }

    /// A frontier that ends, in the charter space, before a record.
    fn cut_frontier(
        &self,
        branch: &SpaceId,
        frontier: Frontier,
        author: &dinh_proto::ids::Author,
        first_bad: u32,
    ) -> Result<Frontier, ReplicaError> {
        let mut marks = Vec::new();
        for mut mark in frontier.0 {
            if mark.space == *branch && mark.author == *author && mark.n >= first_bad {
                if first_bad <= 1 {
                    continue;
                }
                let chain = ChainId { space: *branch, author: *author };
                let before = self.read_item(&chain, first_bad - 1)?;
                let before = before.ok_or(StoreError::Corrupt("charter record"))?;
                mark.n = first_bad - 1;
                mark.link = before.id().link();
            }
            marks.push(mark);
        }
        Ok(Frontier(marks))
    }

    pub(super) fn seal_device_name(
        &mut self,
        branch: &SpaceId,
        public: &DevicePublic,
        name: &str,
    ) -> Vec<u8> {
        let mut nonce = [0; 24];
        self.rng.fill_bytes(&mut nonce);
        let name = super::charter::clip(name);
        // A device that recovers a branch may have no key yet: it is nameless until its next certificate.
        self.write_key(branch).and_then(|key| key.seal_name(public, &nonce, &name).ok()).unwrap_or_default()
    }

    fn branch_of_document(&self, doc: &dinh_proto::ids::DocId) -> Result<SpaceId, ReplicaError> {
        let space = self.space_of(doc).ok_or(ReplicaError::UnknownDocument(*doc))?;
        self.space_branch.get(&space).copied().ok_or(ReplicaError::UnknownSpace(space))
    }
}
