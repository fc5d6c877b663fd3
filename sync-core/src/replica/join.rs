//! Joining a branch by codes that people show each other: the new phone shows its keys, the admitting phone shows a
//! welcome that pins the branch, the new phone's own certificate and the relay's key. Everything else comes from the
//! relay and is checked against these.

use dinh_proto::charter::Charter;
use dinh_proto::charter::record::Record;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{DeviceId, ItemId, Seq, SpaceId};
use dinh_proto::join::Welcome;
use dinh_proto::keys::RelayPublic;
use dinh_proto::wire::Fetch;

use super::schema::Batch;
use super::{Event, Replica, ReplicaError};
use crate::store::{Store, Table};

/// What is kept of a branch whose welcome turned out to be wrong, until the right one comes.
const FAILED: &[u8] = &[1];

/// How far a device has come into a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    /// It is in it.
    In,
    /// It took a welcome code; the records that confirm it are not here yet.
    Waiting,
    /// The branch's records do not confirm the welcome code.
    Failed,
    /// It is not, or not any more, and waits for nothing.
    Out,
}

impl<S: Store> Replica<S> {
    /// The welcome for a device that this branch has admitted: what its screen is to scan.
    ///
    /// # Errors
    /// [`ReplicaError::NotAuthorised`] if the device is not admitted.
    pub fn welcome(
        &self,
        branch: SpaceId,
        device: DeviceId,
        relay: RelayPublic,
        url: &str,
    ) -> Result<Welcome, ReplicaError> {
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let certificate = charter.certificate_of(&device);
        let certificate = certificate.ok_or(ReplicaError::NotAuthorised(RejectCode::UnknownAuthor))?;
        Ok(Welcome::new(branch, certificate, relay, url)?)
    }

    /// Takes a welcome: the branch is followed from now on, and comes from the relay that the welcome names. Until its
    /// records are here, and name this device in the very certificate that the welcome pins, there is no charter to act
    /// on.
    pub fn join_by_welcome(&mut self, welcome: &Welcome) -> Result<(), ReplicaError> {
        let branch = welcome.branch();
        if self.charters.get(&branch).is_some_and(|c| c.devices().contains_key(&self.device)) {
            // Shown once more; or the first one was wrong.
            let failed = self.store.read(|tx| tx.get(Table::Branches, &branch.0))?;
            if failed.as_deref() != Some(FAILED) {
                return Ok(());
            }
        }
        self.charters_due.insert(branch);
        let mut batch = Batch::default();
        batch.put(Table::Branches, branch.0, welcome.certificate().0);
        self.charters.entry(branch).or_insert_with(|| Charter::new(branch));
        self.expected.insert(branch, welcome.certificate());
        self.index_spaces(&branch);
        // A device that already follows another branch has a cursor: what lies before it must be fetched.
        if let Some(cursor) = self.cursor {
            self.begin_backfill(Fetch { space: branch, from: Seq(0), to: cursor.seq }, &mut batch);
        }
        batch.commit(&mut self.store)?;
        self.take_parked()
    }

    /// How far this device has come into a branch.
    ///
    /// # Errors
    /// The store's.
    pub fn joining(&self, branch: &SpaceId) -> Result<Joining, ReplicaError> {
        if self.expected.contains_key(branch) {
            return Ok(Joining::Waiting);
        }
        let kept = self.store.read(|tx| tx.get(Table::Branches, &branch.0))?;
        if kept.as_deref() == Some(FAILED) {
            return Ok(Joining::Failed);
        }
        let is_in = self.charters.get(branch).is_some_and(|charter| charter.device(&self.device).is_some());
        Ok(if is_in { Joining::In } else { Joining::Out })
    }

    /// A charter changed: whether this device's certificate is the one that its welcome named, or by which it joined.
    pub(super) fn check_certificate(&mut self, branch: &SpaceId, batch: &mut Batch) {
        let Some(charter) = self.charters.get(branch) else { return };
        let own = charter.certificate_of(&self.device);
        if let Some(expected) = self.expected.get(branch).copied() {
            let about = charter.certified_by(&expected);
            if own == Some(expected) {
                self.expected.remove(branch);
                self.pin(branch, expected, batch);
                self.push_event(Event::Joined { branch: *branch });
            } else if about == Some(self.device) && own.is_some() && self.accept(branch, expected, batch) {
                // Looked at again: the record just issued changed the charter.
            } else if about.is_some_and(|device| device != self.device) || own.is_some() {
                // The welcome was made for another phone, or another certificate was slipped in.
                self.expected.remove(branch);
                batch.put(Table::Branches, branch.0, FAILED.to_vec());
                self.push_event(Event::JoinFailed { branch: *branch });
            }
        } else if let Some(pinned) = self.pinned.get(branch).copied()
            && own.is_some_and(|own| own != pinned)
        {
            self.accept(branch, pinned, batch);
        }
    }

    /// Says to everybody which of several certificates this device joined by: whoever may admit may write its keys into
    /// another. Returns whether that counts; once is enough.
    fn accept(&mut self, branch: &SpaceId, certificate: ItemId, batch: &mut Batch) -> bool {
        if !self.accepted.insert(*branch) {
            return false;
        }
        let issued = self.issue(*branch, &Record::Accept { certificate }.encode(), batch);
        if let Err(error) = &issued {
            tracing::warn!(%branch, %error, "another certificate stands in the place of the one this device joined by");
        }
        issued.is_ok()
    }

    /// This device is in a branch by this certificate.
    pub(super) fn pin(&mut self, branch: &SpaceId, certificate: ItemId, batch: &mut Batch) {
        self.pinned.insert(*branch, certificate);
        batch.put(Table::Branches, branch.0, [&certificate.0[..], &[1]].concat());
    }

    /// The certificate by which this device is in a branch, from what is kept of it.
    pub(super) fn pinned_from(value: &[u8]) -> Option<ItemId> {
        let (certificate, flag) = value.split_first_chunk::<32>()?;
        (flag == [1]).then_some(ItemId(*certificate))
    }

    /// What is kept of a branch whose welcome is not confirmed yet.
    pub(super) fn expected_from(value: &[u8]) -> Option<ItemId> {
        value.try_into().ok().map(ItemId)
    }
}
