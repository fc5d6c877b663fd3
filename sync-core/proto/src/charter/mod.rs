//! The charter: the set of signed records that says who is a member, with which devices and role, which spaces
//! exist and who may read them, and which documents there are.
//!
//! Records are kept as a set. Authority is a pure function of the set, whatever the order of arrival: the relay
//! and every phone run this same code. Of two records that contradict each other the one with the smaller item
//! id counts.
//!
//! Rules, version 1:
//! 1. A genesis counts if its hash is the branch's id and its author is the device it certifies as secretary.
//! 2. A device record counts if a secretary issued it and the device has no certificate yet.
//! 3. A space record counts if its issuer's role writes and the issuer is a secretary or in the audience.
//! 4. A grant counts if the member who created the space issued it.
//! 5. A document record counts if its issuer may read the space and its role writes.

pub mod record;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::error::RejectCode;
use crate::ids::{CharterTag, DeviceId, DocId, ItemId, MemberId, SpaceId};
use crate::item::{Header, Item, Kind, RawItem};
use crate::keys::DevicePublic;
use crate::limits;
use record::{Audience, Record, Role, Writers, branch_id};

/// A certified device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its signing key.
    pub public: DevicePublic,
    /// Whose it is.
    pub member: MemberId,
    /// What it may do.
    pub role: Role,
    /// What people call it.
    pub name: String,
}

/// A space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// Who created it.
    pub creator: MemberId,
    /// Whether every device of the branch reads it.
    pub everyone: bool,
    /// Who reads it if not everyone.
    pub members: BTreeSet<MemberId>,
}

/// A document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentEntry {
    /// Where it lives.
    pub space: SpaceId,
    /// Who writes it.
    pub writers: Writers,
}

/// What the set of records adds up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct View {
    devices: BTreeMap<DeviceId, Device>,
    spaces: BTreeMap<SpaceId, Space>,
    documents: BTreeMap<DocId, DocumentEntry>,
}

#[derive(Debug, Clone)]
struct Entry {
    issuer: DeviceId,
    record: Record,
    effective: bool,
}

/// The charter of one branch.
#[derive(Debug, Clone)]
pub struct Charter {
    branch: SpaceId,
    entries: BTreeMap<ItemId, Entry>,
    view: View,
    tag: CharterTag,
}

impl Charter {
    /// An empty charter: nobody is a member until the genesis is inserted.
    pub fn new(branch: SpaceId) -> Self {
        Self { branch, entries: BTreeMap::new(), view: View::default(), tag: digest(&BTreeMap::new()) }
    }

    /// The branch, which is also the id of its charter space.
    pub fn branch(&self) -> SpaceId {
        self.branch
    }

    /// First bytes of the digest of the set of records.
    pub fn tag(&self) -> CharterTag {
        self.tag
    }

    /// How many records are in the set.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The certified devices.
    pub fn devices(&self) -> &BTreeMap<DeviceId, Device> {
        &self.view.devices
    }

    /// The spaces, without the charter space itself.
    pub fn spaces(&self) -> &BTreeMap<SpaceId, Space> {
        &self.view.spaces
    }

    /// The documents.
    pub fn documents(&self) -> &BTreeMap<DocId, DocumentEntry> {
        &self.view.documents
    }

    /// Whether `device` may receive what is in `space`.
    pub fn can_read(&self, device: &DeviceId, space: &SpaceId) -> bool {
        self.view.devices.get(device).is_some_and(|d| self.view.member_reads(&d.member, space, &self.branch))
    }

    /// The spaces that `device` may read, the charter space among them, in order.
    pub fn readable(&self, device: &DeviceId) -> BTreeSet<SpaceId> {
        let Some(device) = self.view.devices.get(device) else { return BTreeSet::new() };
        let reads = |s: &&SpaceId| self.view.member_reads(&device.member, s, &self.branch);
        self.view.spaces.keys().filter(reads).copied().chain([self.branch]).collect()
    }

    /// The key that must have signed this item. For a genesis it is in the item itself.
    ///
    /// # Errors
    /// `UnknownAuthor` if the device has no certificate here (yet); `BadLink` if it is a genesis of another branch.
    pub fn key_for(&self, item: &RawItem) -> Result<DevicePublic, RejectCode> {
        let header = item.header();
        if let Some(device) = self.view.devices.get(&header.author.device) {
            return Ok(device.public);
        }
        if header.kind == Kind::Charter
            && let Ok(Record::Genesis(genesis)) = Record::decode(item.payload())
        {
            if branch_id(item.payload()) != self.branch {
                return Err(RejectCode::BadLink);
            }
            return Ok(genesis.secretary.request.public);
        }
        Err(RejectCode::UnknownAuthor)
    }

    /// Whether the author of a run or snapshot may write it, by this charter.
    ///
    /// # Errors
    /// `UnknownAuthor`, `UnknownTarget` (later) or `NotAuthorised` (never).
    pub fn authorise(&self, header: &Header) -> Result<(), RejectCode> {
        self.authorise_author(&header.author.device, &header.space, &header.doc)
    }

    /// Whether a device may write a document.
    ///
    /// # Errors
    /// As for [`Charter::authorise`].
    pub fn authorise_author(
        &self,
        device: &DeviceId,
        space: &SpaceId,
        doc: &DocId,
    ) -> Result<(), RejectCode> {
        let device = self.view.devices.get(device).ok_or(RejectCode::UnknownAuthor)?;
        let document = self.view.documents.get(doc).ok_or(RejectCode::UnknownTarget)?;
        let may_write = document.space == *space
            && device.role.writes()
            && self.view.member_reads(&device.member, space, &self.branch)
            && (document.writers == Writers::All || device.role == Role::Secretary);
        if may_write { Ok(()) } else { Err(RejectCode::NotAuthorised) }
    }

    /// Adds a record. Returns whether it was new.
    ///
    /// # Errors
    /// `Malformed`, `Quota`, or the reason why the record does not count: the set is then unchanged.
    pub fn insert(&mut self, item: &Item) -> Result<bool, RejectCode> {
        if self.entries.contains_key(&item.id()) {
            return Ok(false);
        }
        let before = self.entries.len();
        self.extend(std::iter::once(item))?;
        let effective = self.entries.get(&item.id()).is_some_and(|e| e.effective);
        if effective {
            return Ok(self.entries.len() > before);
        }
        let entry = self.entries.remove(&item.id()).ok_or(RejectCode::Malformed)?;
        let reason = self.view.clone().apply(&entry, &self.branch).err();
        self.evaluate();
        Err(reason.unwrap_or(RejectCode::NotAuthorised))
    }

    /// Adds many records and evaluates once; records that do not count yet stay in the set and wait.
    ///
    /// # Errors
    /// `Malformed` or `Quota`; records before the one at fault are in the set.
    pub fn extend<'a>(&mut self, items: impl IntoIterator<Item = &'a Item>) -> Result<(), RejectCode> {
        let mut result = Ok(());
        for item in items {
            if item.header().kind != Kind::Charter || item.header().space != self.branch {
                result = Err(RejectCode::Malformed);
                break;
            }
            if self.entries.len() >= limits::CHARTER_RECORDS_MAX {
                result = Err(RejectCode::Quota);
                break;
            }
            let Ok(record) = Record::decode(item.payload()) else {
                result = Err(RejectCode::Malformed);
                break;
            };
            if matches!(record, Record::Genesis(_)) && branch_id(item.payload()) != self.branch {
                result = Err(RejectCode::BadLink);
                break;
            }
            let issuer = item.header().author.device;
            self.entries.entry(item.id()).or_insert(Entry { issuer, record, effective: false });
        }
        self.evaluate();
        result
    }

    /// Takes out the records that do not count.
    pub fn drop_unused(&mut self) {
        self.entries.retain(|_, e| e.effective);
        self.tag = digest(&self.entries);
    }

    /// Takes records out: those that a device takes back because no relay accepted them.
    pub fn remove(&mut self, ids: &BTreeSet<ItemId>) {
        self.entries.retain(|id, _| !ids.contains(id));
        self.evaluate();
    }

    /// Applies records in the order of their ids until no more of them count.
    fn evaluate(&mut self) {
        let mut view = View::default();
        self.entries.values_mut().for_each(|e| e.effective = false);
        loop {
            let mut changed = false;
            for entry in self.entries.values_mut().filter(|e| !e.effective) {
                if view.apply(entry, &self.branch).is_ok() {
                    entry.effective = true;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        self.view = view;
        self.tag = digest(&self.entries);
    }
}

impl View {
    fn member_reads(&self, member: &MemberId, space: &SpaceId, branch: &SpaceId) -> bool {
        space == branch || self.spaces.get(space).is_some_and(|s| s.everyone || s.members.contains(member))
    }

    /// Applies one record if it counts.
    fn apply(&mut self, entry: &Entry, branch: &SpaceId) -> Result<(), RejectCode> {
        if let Record::Genesis(genesis) = &entry.record {
            let request = &genesis.secretary.request;
            if request.public.id() != entry.issuer
                || !request.is_proved()
                || genesis.secretary.role != Role::Secretary
            {
                return Err(RejectCode::NotAuthorised);
            }
            return self.certify(&genesis.secretary);
        }
        let issuer = self.devices.get(&entry.issuer).ok_or(RejectCode::UnknownAuthor)?.clone();
        if !issuer.role.writes() {
            return Err(RejectCode::NotAuthorised);
        }
        match &entry.record {
            Record::Genesis(_) => unreachable!("handled above"),
            Record::Device(cert) => {
                if issuer.role != Role::Secretary {
                    return Err(RejectCode::NotAuthorised);
                }
                self.certify(cert)
            }
            Record::Space { space, audience } => {
                if self.spaces.contains_key(space) || space == branch {
                    return Err(RejectCode::NotAuthorised);
                }
                let (everyone, members) = match audience {
                    Audience::Everyone => (true, BTreeSet::new()),
                    Audience::Members(members) => (false, members.iter().copied().collect()),
                };
                if issuer.role != Role::Secretary && (everyone || !members.contains(&issuer.member)) {
                    return Err(RejectCode::NotAuthorised);
                }
                self.spaces.insert(*space, Space { creator: issuer.member, everyone, members });
                Ok(())
            }
            Record::Grant { space, member } => {
                let found = self.spaces.get_mut(space).ok_or(RejectCode::UnknownTarget)?;
                if found.creator != issuer.member {
                    return Err(RejectCode::NotAuthorised);
                }
                found.members.insert(*member);
                Ok(())
            }
            Record::Document { doc, space, writers } => {
                if space != branch && !self.spaces.contains_key(space) {
                    return Err(RejectCode::UnknownTarget);
                }
                if space == branch
                    || !self.member_reads(&issuer.member, space, branch)
                    || self.documents.contains_key(doc)
                {
                    return Err(RejectCode::NotAuthorised);
                }
                self.documents.insert(*doc, DocumentEntry { space: *space, writers: *writers });
                Ok(())
            }
        }
    }

    fn certify(&mut self, cert: &record::Certificate) -> Result<(), RejectCode> {
        let public = cert.request.public;
        if self.devices.contains_key(&public.id()) {
            return Err(RejectCode::NotAuthorised);
        }
        let device = Device { public, member: cert.member, role: cert.role, name: cert.name.clone() };
        self.devices.insert(public.id(), device);
        Ok(())
    }
}

fn digest(entries: &BTreeMap<ItemId, Entry>) -> CharterTag {
    let mut hasher = Sha256::new_with_prefix(b"dinh/cdg1\0");
    entries.keys().for_each(|id| hasher.update(id.0));
    let mut tag = CharterTag::default();
    tag.0.copy_from_slice(&hasher.finalize()[..8]);
    tag
}

#[cfg(test)]
mod tests;
