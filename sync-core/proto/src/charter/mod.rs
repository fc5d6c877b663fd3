//! The charter: the set of signed records that says who is a member, with which devices and role, which spaces exist,
//! who may read them and with which keys, and which documents there are.
//!
//! Records are kept as a set. What they say is a pure function of the set, whatever the order of arrival: the relay and
//! every phone run this same code ([`evaluate`]). A record whose issuer had no right to it stays in the set and does not
//! count, as long as it does not: the record that gives the right, or voids what took it, may come later.
//!
//! Whether something was written before its author lost the right is answered without clocks: who takes a right away says
//! how far it had received the author's chains (the *frontier*). What lies within counts as before. What lies beyond was
//! written without knowing, or dated back: it counts only if an accepted change builds on it ([`Standing`]).
//!
//! docs/PROTOCOL.md section 10 has the rules and who may do what.

mod evaluate;
pub mod record;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::error::RejectCode;
use crate::ids::{Author, CharterTag, DeviceId, DocId, EpochId, ItemId, MemberId, SpaceId};
use crate::item::{Header, Item, Kind, RawItem};
use crate::keys::{DevicePublic, SignPublic};
use crate::limits;
use record::{Record, branch_id};
use view::View;
pub use view::{Device, DocumentEntry, Epoch, RemovedDevice, Space, Standing};

#[derive(Debug, Clone)]
struct Entry {
    author: Author,
    n: u32,
    record: Record,
    /// The device that its certificate is for, if it has one.
    device: Option<DeviceId>,
    bytes: usize,
    counts: bool,
}

/// One record, as people may look at it.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Its id.
    pub id: ItemId,
    /// Who issued it.
    pub author: Author,
    /// Its place in its author's chain.
    pub n: u32,
    /// What it says.
    pub record: &'a Record,
    /// Whether it counts now.
    pub counts: bool,
}

/// The charter of one branch.
#[derive(Debug, Clone)]
pub struct Charter {
    branch: SpaceId,
    entries: BTreeMap<ItemId, Entry>,
    /// How many of them do not count.
    idle: usize,
    bytes: usize,
    view: View,
    tag: CharterTag,
}

impl Charter {
    /// An empty charter: nobody is a member until the genesis is inserted.
    pub fn new(branch: SpaceId) -> Self {
        let (entries, view) = (BTreeMap::new(), View::default());
        let tag = digest(&entries);
        Self { branch, entries, idle: 0, bytes: 0, view, tag }
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

    /// Bytes of all records' payloads.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All records, by id.
    pub fn records(&self) -> impl Iterator<Item = Listed<'_>> {
        self.entries.iter().map(|(id, e)| Listed {
            id: *id,
            author: e.author,
            n: e.n,
            record: &e.record,
            counts: e.counts,
        })
    }

    /// Whether a record is in the set and counts.
    pub fn counts(&self, id: &ItemId) -> bool {
        self.entries.get(id).is_some_and(|e| e.counts)
    }

    /// The certified devices that were not removed.
    pub fn devices(&self) -> &BTreeMap<DeviceId, Device> {
        &self.view.devices
    }

    /// The certified devices that were removed.
    pub fn removed(&self) -> &BTreeMap<DeviceId, RemovedDevice> {
        &self.view.removed
    }

    /// A certified device, removed or not.
    pub fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.view.devices.get(id).or_else(|| self.view.removed.get(id).map(|r| &r.device))
    }

    /// The spaces, without the charter space itself.
    pub fn spaces(&self) -> &BTreeMap<SpaceId, Space> {
        &self.view.spaces
    }

    /// The documents.
    pub fn documents(&self) -> &BTreeMap<DocId, DocumentEntry> {
        &self.view.documents
    }

    /// The branch of the upper body, if one is named.
    pub fn upper(&self) -> Option<SpaceId> {
        self.view.upper.as_ref().and_then(|(_, _, upper)| *upper)
    }

    /// The public half of the key on paper.
    pub fn root(&self) -> Option<SignPublic> {
        self.view.root
    }

    /// Whether newcomers get the keys of what was written in a space before.
    pub fn has_history(&self, space: &SpaceId) -> bool {
        *space == self.branch || self.view.spaces.get(space).is_some_and(|s| s.history)
    }

    /// Whether payloads in a space are padded.
    pub fn is_padded(&self, space: &SpaceId) -> bool {
        self.view.spaces.get(space).is_some_and(|s| s.padded)
    }

    /// Whether `device` may receive what is in `space`.
    pub fn can_read(&self, device: &DeviceId, space: &SpaceId) -> bool {
        let found = self.view.devices.get(device);
        found.is_some_and(|d| self.view.reads(&d.member, d.role, space, &self.branch))
    }

    /// The spaces that `device` may read, the charter space among them, in order.
    pub fn readable(&self, device: &DeviceId) -> BTreeSet<SpaceId> {
        let Some(found) = self.view.devices.get(device) else { return BTreeSet::new() };
        let reads = |s: &&SpaceId| self.view.reads(&found.member, found.role, s, &self.branch);
        self.view.spaces.keys().filter(reads).copied().chain([self.branch]).collect()
    }

    /// The devices that may read a space.
    pub fn readers(&self, space: &SpaceId) -> BTreeSet<DeviceId> {
        self.view.devices.keys().filter(|device| self.can_read(device, space)).copied().collect()
    }

    /// The key epochs of a space, by id.
    pub fn epochs(&self, space: &SpaceId) -> impl Iterator<Item = (EpochId, &Epoch)> {
        self.view.epochs.get(space).into_iter().flatten().map(|(id, epoch)| (*id, epoch))
    }

    /// The epoch that is written under: of the highest generation, of those the highest id.
    pub fn current_epoch(&self, space: &SpaceId) -> Option<(EpochId, &Epoch)> {
        self.epochs(space).max_by_key(|(id, epoch)| (epoch.generation, *id))
    }

    /// The epochs whose keys a reader must be handed to have all that it may: in a space with history those that no other
    /// epoch leads back to, else the current one.
    pub fn needed_epochs(&self, space: &SpaceId) -> BTreeSet<EpochId> {
        if !self.has_history(space) {
            return self.current_epoch(space).map(|(id, _)| id).into_iter().collect();
        }
        let followed: BTreeSet<EpochId> =
            self.epochs(space).flat_map(|(_, e)| e.prev.iter().map(|s| s.epoch)).collect();
        self.epochs(space).map(|(id, _)| id).filter(|id| !followed.contains(id)).collect()
    }

    /// Readers of a space for whom an epoch's key is not here.
    pub fn unwrapped(&self, space: &SpaceId, epoch: &EpochId) -> Vec<DeviceId> {
        let Some(epoch) = self.view.epochs.get(space).and_then(|epochs| epochs.get(epoch)) else {
            return Vec::new();
        };
        let lacks = |device: &DeviceId| !epoch.wraps.contains_key(&crate::crypto::Wrap::tag_of(device));
        self.readers(space).into_iter().filter(lacks).collect()
    }

    /// Whether a space needs a new key: it has none, or one that was handed to a device that may not read it now.
    pub fn rotation_due(&self, space: &SpaceId) -> bool {
        let Some((_, epoch)) = self.current_epoch(space) else { return true };
        self.view.certified.keys().any(|device| {
            epoch.wraps.contains_key(&crate::crypto::Wrap::tag_of(device)) && !self.can_read(device, space)
        })
    }

    /// The key that must have signed this item, also of a device that was removed. For a genesis and a root record it is
    /// in the item itself.
    ///
    /// # Errors
    /// `UnknownAuthor` if the device has no certificate here (yet); `BadLink` if it is a genesis of another branch.
    pub fn key_for(&self, item: &RawItem) -> Result<DevicePublic, RejectCode> {
        let header = item.header();
        if let Some(device) = self.view.certified.get(&header.author.device) {
            return Ok(device.public);
        }
        if header.kind == Kind::Charter {
            match Record::decode(item.payload()) {
                Ok(Record::Genesis(_)) if branch_id(item.payload()) != self.branch => {
                    return Err(RejectCode::BadLink);
                }
                Ok(Record::Genesis(genesis)) => return Ok(genesis.secretary.request.public),
                Ok(Record::Root(root)) => return Ok(root.secretary.request.public),
                _ => {}
            }
        }
        let named = self.entries.values().filter(|e| e.device == Some(header.author.device));
        let certificate = named.filter_map(|e| e.record.certificate()).next();
        certificate.map(|c| c.request.public).ok_or(RejectCode::UnknownAuthor)
    }

    /// Whether a run counts, judged at its place in its author's chain; `link` is its id's ([`ItemId::link`]). Of a
    /// snapshot only its author's right now is judged.
    ///
    /// # Errors
    /// `UnknownAuthor`, `UnknownTarget` (later) or `NotAuthorised` (never).
    pub fn standing(&self, header: &Header, link: [u8; 16]) -> Result<Standing, RejectCode> {
        self.view.standing(header, link, &self.branch)
    }

    /// Whether a device may write a document now.
    ///
    /// # Errors
    /// As for [`Charter::standing`].
    pub fn authorise_author(
        &self,
        device: &DeviceId,
        space: &SpaceId,
        doc: &DocId,
    ) -> Result<(), RejectCode> {
        self.view.authorise_now(device, space, doc, &self.branch)
    }

    /// The record that certified a device, removed or not.
    pub fn certificate_of(&self, device: &DeviceId) -> Option<ItemId> {
        self.view.certified.get(device).map(|c| c.by)
    }

    /// The device that a record in the set certifies, counting or not.
    pub fn certified_by(&self, record: &ItemId) -> Option<DeviceId> {
        self.entries.get(record)?.device
    }

    /// The chains of which a device's certificate says how far there are records.
    pub fn seen_by(&self, device: &DeviceId) -> &[(Author, u32)] {
        self.view.certified.get(device).map_or(&[], |c| &c.seen)
    }

    /// The charter chains that a newcomer must not miss: of who was ever an officer, and of whoever took a right away.
    pub fn decisive_chains(&self) -> BTreeSet<Author> {
        let decides = |e: &&Entry| {
            let officer = || {
                self.view.certified.get(&e.author.device).is_some_and(|c| c.ever(record::Role::is_officer))
            };
            let takes = matches!(
                e.record,
                Record::Removal { .. } | Record::Role { .. } | Record::Revoke { .. } | Record::Root(_)
            );
            takes || officer()
        };
        self.entries.values().filter(decides).map(|e| e.author).take(limits::SEEN_CHAINS_MAX).collect()
    }

    /// The highest generation of a device's role records.
    pub fn role_generation(&self, device: &DeviceId) -> u32 {
        self.highest(|r| match r {
            Record::Role { device: d, generation, .. } if d == device => Some(*generation),
            _ => None,
        })
    }

    /// The highest generation of a member's grants and revokes in a space.
    pub fn reader_generation(&self, space: &SpaceId, member: &MemberId) -> u32 {
        self.highest(|r| match r {
            Record::Grant { space: s, member: m, generation }
            | Record::Revoke { space: s, member: m, generation, .. }
                if s == space && m == member =>
            {
                Some(*generation)
            }
            _ => None,
        })
    }

    /// The highest generation of records that name an upper body.
    pub fn upper_generation(&self) -> u32 {
        self.highest(|r| if let Record::Upper { generation, .. } = r { Some(*generation) } else { None })
    }

    /// The highest generation of root records.
    pub fn root_generation(&self) -> u32 {
        self.highest(|r| if let Record::Root(root) = r { Some(root.generation) } else { None })
    }

    fn highest(&self, f: impl Fn(&Record) -> Option<u32>) -> u32 {
        self.entries.values().filter_map(|e| f(&e.record)).max().unwrap_or(0)
    }

    /// Removals (record, device, space) of a device that read a space which `reader` reads and the remover does not, and
    /// of which nobody has said yet what was received there.
    pub fn unattested(&self, reader: &DeviceId) -> Vec<(ItemId, DeviceId, SpaceId)> {
        let mut found = Vec::new();
        let readable = self.readable(reader);
        for (device, subject) in self.view.certified.iter().filter(|(id, _)| *id != reader) {
            for removal in &subject.removals {
                let Some(remover) = self.view.certified.get(&removal.issuer) else { continue };
                let spaces = readable.iter().filter(|space| {
                    self.view.ever_reads(subject, space, &self.branch)
                        && !self.view.ever_reads(remover, space, &self.branch)
                        && !removal.marks.names(space)
                        && !self.view.attested.contains(&(removal.by, *device, **space))
                });
                found.extend(spaces.map(|space| (removal.by, *device, *space)));
            }
        }
        found
    }

    /// Adds a record that counts. Returns whether it was new.
    ///
    /// # Errors
    /// As for [`keep`](Self::keep), or the reason why the record does not count: the set is then unchanged.
    pub fn insert(&mut self, item: &Item) -> Result<bool, RejectCode> {
        if self.entries.contains_key(&item.id()) {
            return if self.counts(&item.id()) { Ok(false) } else { Err(RejectCode::NotAuthorised) };
        }
        let entry = self.entry(item)?;
        if self.apply_quickly(item.id(), &entry) {
            return Ok(true);
        }
        let reason = self.refusal(item.id(), &entry);
        self.add(item.id(), entry);
        self.evaluate();
        if self.counts(&item.id()) {
            return Ok(true);
        }
        if let Some(entry) = self.entries.remove(&item.id()) {
            self.bytes -= entry.bytes;
        }
        self.evaluate();
        Err(reason)
    }

    /// Adds a record whether it counts now or not. Returns whether it was new.
    ///
    /// # Errors
    /// `Malformed`, `BadLink` (of another branch), `Quota`, or `UnknownAuthor` if its author has no certificate here: later.
    pub fn keep(&mut self, item: &Item) -> Result<bool, RejectCode> {
        if self.entries.contains_key(&item.id()) {
            return Ok(false);
        }
        let entry = self.entry(item)?;
        let is_first = matches!(entry.record, Record::Genesis(_) | Record::Root(_));
        let known = self.view.certified.contains_key(&entry.author.device)
            || self.entries.values().any(|e| e.device == Some(entry.author.device));
        if !is_first && !known {
            return Err(RejectCode::UnknownAuthor);
        }
        if !self.apply_quickly(item.id(), &entry) {
            self.add(item.id(), entry);
            self.evaluate();
        }
        Ok(true)
    }

    /// Adds many records, whether they count or not, and evaluates once.
    ///
    /// # Errors
    /// `Malformed`, `BadLink` or `Quota`; records before the one at fault are in the set.
    pub fn extend<'a>(&mut self, items: impl IntoIterator<Item = &'a Item>) -> Result<(), RejectCode> {
        let mut result = Ok(());
        for item in items {
            match self.entry(item) {
                Ok(entry) => self.add(item.id(), entry),
                Err(code) => {
                    result = Err(code);
                    break;
                }
            }
        }
        self.evaluate();
        result
    }

    /// Takes records out: those that a device takes back because no relay accepted them.
    pub fn remove(&mut self, ids: &BTreeSet<ItemId>) {
        self.entries.retain(|id, _| !ids.contains(id));
        self.bytes = self.entries.values().map(|e| e.bytes).sum();
        self.evaluate();
    }

    /// The devices of which something may count in one charter and not in the other, apart from what is new in one.
    pub fn changed_authors(before: &Self, after: &Self) -> BTreeSet<DeviceId> {
        let (old, new) = (&before.view, &after.view);
        let same = |device: &DeviceId| match (old.certified.get(device), new.certified.get(device)) {
            (Some(a), Some(b)) => (&a.removals, &a.roles, a.role) == (&b.removals, &b.roles, b.role),
            (a, b) => a.is_none() && b.is_none(),
        };
        let known = old.certified.keys().chain(new.certified.keys());
        let mut changed: BTreeSet<DeviceId> = known.filter(|d| !same(d)).copied().collect();
        let readers = old.readers.keys().chain(new.readers.keys());
        let members: BTreeSet<MemberId> = readers
            .filter(|k| old.readers.get(*k) != new.readers.get(*k))
            .map(|(_, member)| *member)
            .collect();
        let of_members = new.certified.iter().filter(|(_, c)| members.contains(&c.member));
        changed.extend(of_members.map(|(device, _)| *device));
        let cuts = old.cuts.keys().chain(new.cuts.keys());
        changed
            .extend(cuts.filter(|k| old.cuts.get(*k) != new.cuts.get(*k)).map(|(_, author)| author.device));
        changed
    }

    fn entry(&self, item: &Item) -> Result<Entry, RejectCode> {
        let header = item.header();
        let n = header.n().filter(|_| header.kind == Kind::Charter && header.space == self.branch);
        let n = n.ok_or(RejectCode::Malformed)?;
        if self.entries.len() >= limits::CHARTER_RECORDS_MAX
            || self.bytes + item.payload().len() > limits::CHARTER_HELD_BYTES_MAX
        {
            return Err(RejectCode::Quota);
        }
        let record = Record::decode(item.payload()).map_err(|_| RejectCode::Malformed)?;
        match &record {
            Record::Genesis(_) if branch_id(item.payload()) != self.branch => {
                return Err(RejectCode::BadLink);
            }
            Record::Root(root) if root.branch != self.branch => return Err(RejectCode::BadLink),
            _ => {}
        }
        let device = record.certificate().map(|c| c.request.public.id());
        Ok(Entry { author: header.author, n, record, device, bytes: item.payload().len(), counts: false })
    }

    fn add(&mut self, id: ItemId, entry: Entry) {
        let bytes = entry.bytes;
        if self.entries.insert(id, entry).is_none() {
            self.bytes += bytes;
        }
    }

    /// A record that decides about nobody is added to the view as it is, if nothing else could come to count by it.
    fn apply_quickly(&mut self, id: ItemId, entry: &Entry) -> bool {
        if self.idle > 0 || entry.record.changes_authority() {
            return false;
        }
        if evaluate::apply(&mut self.view, &self.branch, id, entry).is_err() {
            return false;
        }
        self.add(id, Entry { counts: true, ..entry.clone() });
        self.tag = digest(&self.entries);
        true
    }

    /// Why a record that does not count does not.
    fn refusal(&self, id: ItemId, entry: &Entry) -> RejectCode {
        let view = &self.view;
        if !view.certified.contains_key(&entry.author.device) {
            return RejectCode::UnknownAuthor;
        }
        let there = match &entry.record {
            Record::Removal { device, .. } | Record::Role { device, .. } => {
                view.certified.contains_key(device)
            }
            record
                if record.changes_authority()
                    && !matches!(record, Record::Revoke { .. } | Record::Frontier { .. }) =>
            {
                true
            }
            _ => {
                let applied = evaluate::apply(&mut view.clone(), &self.branch, id, entry);
                return applied.err().unwrap_or(RejectCode::NotAuthorised);
            }
        };
        if there { RejectCode::NotAuthorised } else { RejectCode::UnknownTarget }
    }

    fn evaluate(&mut self) {
        self.view = evaluate::evaluate(&self.branch, &mut self.entries);
        self.idle = self.entries.values().filter(|e| !e.counts).count();
        self.tag = digest(&self.entries);
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
