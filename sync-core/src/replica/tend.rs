//! What a branch needs of this device without anybody asking: keys for devices that were admitted elsewhere, a new key
//! where somebody lost the right to read or the old one is old, word of what was seen of a removed device in spaces that
//! its remover cannot read.

use std::time::Duration;

use dinh_proto::charter::Device;
use dinh_proto::charter::record::Record;
use dinh_proto::ids::{ChainId, EpochId, MemberId, SpaceId};
use dinh_proto::keys::DevicePublic;
use dinh_proto::limits;
use dinh_proto::time::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

use super::event::LinkState;
use super::schema::Batch;
use super::{Event, Now, Replica, ReplicaError};
use crate::store::Store;

impl<S: Store> Replica<S> {
    /// Charters changed: keys are looked for, the app hears of devices, and this device soon looks what is needed of it.
    pub(super) fn look_at_charters(&mut self, now: Option<Timestamp>, batch: &mut Batch) {
        while let Some(branch) = self.charters_due.pop_first() {
            self.check_certificate(&branch, batch);
            self.learn_keys(&branch, batch);
            self.tell_devices(&branch);
            if let Some(now) = now {
                self.tend_soon(now);
            }
        }
    }

    /// The same, before the records that changed them are committed.
    pub(super) fn settle_charters(
        &mut self,
        now: Option<Timestamp>,
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        self.look_at_charters(now, batch);
        self.relink_due(batch)?;
        self.save_vouched(batch);
        self.drop_stale_views(batch)
    }

    /// Not at once: of several devices that could, the first does it and the others see that it is done.
    pub(super) fn tend_soon(&mut self, now: Timestamp) {
        let at = now + random_delay(&mut self.rng);
        self.tend_at.get_or_insert(at);
    }

    pub(super) fn handle_tend(&mut self, now: Now) -> Result<(), ReplicaError> {
        // What others did in the meantime is known only to who has received everything.
        if self.tend_at.is_none_or(|at| at > now.mono) || self.link_state != LinkState::Live {
            return Ok(());
        }
        self.tend_at = None;
        let branches: Vec<SpaceId> = self.charters.keys().copied().collect();
        branches.into_iter().try_for_each(|branch| self.tend(branch))
    }

    fn tend(&mut self, branch: SpaceId) -> Result<(), ReplicaError> {
        let Some(charter) = self.charters.get(&branch) else { return Ok(()) };
        let Some(own) = charter.devices().get(&self.device) else { return Ok(()) };
        let (officer, member) = (own.role.is_officer(), own.member);
        let now_s = self.wall.0 / 1_000;
        let mut rotate = Vec::new();
        for space in charter.readable(&self.device) {
            let creator = charter.spaces().get(&space).map(|s| s.creator);
            let own_space = creator == Some(member);
            let current = charter.current_epoch(&space);
            let have = current.is_some_and(|(id, _)| self.keys.has(&space, &id));
            let is_old = current.is_some_and(|(_, e)| {
                e.issued > 0 && now_s.saturating_sub(e.issued) > limits::KEY_AGE_MAX.as_secs()
            });
            // Where neither an officer nor who created the space reads it, its readers see to its keys.
            let readers = charter.readers(&space);
            let mut readers = readers.iter().filter_map(|id| charter.device(id));
            let mut alone = || !readers.any(|d| d.role.is_officer() || creator == Some(d.member));
            // An officer who is left without the newest key draws another: nobody can lock a space away.
            let orphans = || !self.orphaned_keys(&branch, &space).is_empty();
            let needed = charter.rotation_due(&space) || is_old || !have || orphans();
            // Without the wrap secret a newest key may be missing that this device only cannot open.
            if needed && (officer || own_space || alone()) && self.may_draw_key(&branch, &space) {
                rotate.push(space);
            }
        }
        let unattested = charter.unattested(&self.device);
        let mut batch = Batch::default();
        let mut result = Ok(());
        for space in rotate {
            result = result.and(self.issue_epoch(branch, space, &mut batch));
        }
        // The creator of a space too: who lost the one phone that made its mailbox has the keys from whom it writes to.
        let whom = |creator: Option<MemberId>, d: &Device| {
            let created = creator.is_some_and(|creator| creator == member || creator == d.member);
            officer || created || d.member == member || d.role.is_officer()
        };
        result = result.and(self.hand_keys(branch, whom, &mut batch));
        for (removal, device, space) in unattested {
            let seen = |chain: &ChainId| chain.space == space && chain.author.device == device;
            let frontier = match self.frontier(&branch, seen) {
                // It is in a snapshot that is locked: told when it is unlocked.
                Err(ReplicaError::Locked(_)) => continue,
                frontier => frontier?,
            };
            if !frontier.0.is_empty() {
                let record = Record::Frontier { about: removal, device, frontier };
                result = result.and(self.issue(branch, &record.encode(), &mut batch));
            }
        }
        self.settle_charters(None, &mut batch)?;
        batch.commit(&mut self.store)?;
        if let Err(error) = result {
            // Somebody else's record came first, or a right is gone: what is needed is looked at again on the next change.
            tracing::debug!(%error, "a record that a branch seemed to need was not issued");
        }
        self.rejudge()
    }

    /// Hands the keys that this device has to devices that lack them, as far as `whom` says (who created the space, the device).
    pub(super) fn hand_keys(
        &mut self,
        branch: SpaceId,
        whom: impl Fn(Option<MemberId>, &Device) -> bool,
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        let Some(charter) = self.charters.get(&branch) else { return Ok(()) };
        let mut lacking: Vec<(SpaceId, EpochId, Vec<DevicePublic>)> = Vec::new();
        for space in charter.readable(&self.device) {
            let creator = charter.spaces().get(&space).map(|s| s.creator);
            for epoch in charter.needed_epochs(&space).into_iter().filter(|id| self.keys.has(&space, id)) {
                let unwrapped = charter.unwrapped(&space, &epoch);
                let devices = unwrapped.iter().filter_map(|id| charter.devices().get(id));
                let devices: Vec<DevicePublic> =
                    devices.filter(|d| whom(creator, d)).map(|d| d.public).collect();
                if !devices.is_empty() {
                    lacking.push((space, epoch, devices));
                }
            }
        }
        lacking
            .into_iter()
            .try_for_each(|(space, epoch, devices)| self.issue_wraps(branch, space, epoch, &devices, batch))
    }

    /// Hands devices the keys of a space that they need, as far as they are here.
    pub(super) fn hand_keys_of(
        &mut self,
        branch: SpaceId,
        space: SpaceId,
        devices: &[DevicePublic],
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let needed = charter.needed_epochs(&space);
        needed.into_iter().try_for_each(|epoch| self.issue_wraps(branch, space, epoch, devices, batch))
    }

    fn issue_wraps(
        &mut self,
        branch: SpaceId,
        space: SpaceId,
        epoch: EpochId,
        devices: &[DevicePublic],
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        let Some(key) = self.keys.get(&space, &epoch.hint()).cloned() else { return Ok(()) };
        for some in devices.chunks(limits::WRAPS_PER_RECORD_MAX) {
            let wraps = self.wraps(&branch, &space, &key, some);
            self.issue(branch, &Record::Wraps { space, epoch, wraps }.encode(), batch)?;
        }
        Ok(())
    }

    /// Caught up: whether the records are here that this device's certificate says there are.
    pub(super) fn check_seen(&mut self) {
        let mut withheld = Vec::new();
        for (branch, charter) in &self.charters {
            let missing = charter.seen_by(&self.device).iter().filter(|(author, n)| {
                let chain = ChainId { space: *branch, author: *author };
                self.held.get(&chain).is_none_or(|held| (1..=*n).any(|n| !held.contains(n)))
            });
            let missing = missing.count();
            if missing > 0 {
                withheld.push(Event::Withheld { branch: *branch, chains: missing });
            }
        }
        withheld.into_iter().for_each(|event| self.push_event(event));
    }
}

/// Up to [`TEND_WITHIN`](limits::TEND_WITHIN).
pub(super) fn random_delay(rng: &mut ChaCha8Rng) -> Duration {
    let within = u64::try_from(limits::TEND_WITHIN.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(rng.next_u64() % within.max(1))
}
