//! The charter: the set of signed records that says who is a member, with which devices and role, which spaces exist,
//! who may read them and with which keys, and which documents there are.
//!
//! Records are kept as a set. What they say is a pure function of the set, whatever the order of arrival: the relay and
//! every phone run this same code (`evaluate.rs`). A record whose issuer had no right to it stays in the set and does not
//! count, as long as it does not: the record that gives the right, or voids what took it, may come later.
//!
//! Whether something was written before its author lost the right is answered without clocks: who takes a right away says
//! how far it had received the author's chains (the *frontier*). What lies within counts as before. What lies beyond was
//! written without knowing, or dated back: it counts only if an accepted change builds on it ([`Standing`]).
//!
//! docs/PROTOCOL.md section 10 has the rules and who may do what.

mod evaluate;
mod generations;
mod marks;
mod quick;
pub mod record;
mod set;
mod settle;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::crypto::Wrap;
use crate::error::RejectCode;
use crate::ids::{Author, CharterTag, DeviceId, DocId, EpochId, ItemId, SpaceId};
use crate::item::{Header, Item, Kind, Place, RawItem};
use crate::keys::{DevicePublic, SignPublic};
use crate::limits;
use quick::Quick;
use record::{Record, branch_id};
use set::{Entry, KINDS, Set};
pub use view::{AuthorAt, Device, DocumentEntry, Epoch, RemovedDevice, Space, Standing};
use view::{Standpoint, View};

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

/// The charter of one branch. What its records add up to is worked out when it is asked for.
#[derive(Debug, Clone)]
pub struct Charter {
    set: Set,
    answer: OnceLock<Answer>,
    tag: OnceLock<CharterTag>,
}

/// What the records add up to.
#[derive(Debug, Clone)]
struct Answer {
    view: View,
    counts: BTreeSet<ItemId>,
    /// By type of record, how many do not count.
    idle: [usize; KINDS],
}

impl Charter {
    /// An empty charter: nobody is a member until the genesis is inserted.
    pub fn new(branch: SpaceId) -> Self {
        Self { set: Set::new(branch), answer: OnceLock::new(), tag: OnceLock::new() }
    }

    fn answer(&self) -> &Answer {
        self.answer.get_or_init(|| {
            let (view, counts) = evaluate::evaluate(&self.set);
            Answer::of(view, counts, &self.set)
        })
    }

    fn view(&self) -> &View {
        &self.answer().view
    }

    /// The branch, which is also the id of its charter space.
    pub fn branch(&self) -> SpaceId {
        self.set.branch
    }

    /// First bytes of the digest of the set of records.
    pub fn tag(&self) -> CharterTag {
        *self.tag.get_or_init(|| digest(&self.set))
    }

    /// How many records are in the set.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.set.len() == 0
    }

    /// Bytes of all records' payloads.
    pub fn bytes(&self) -> usize {
        self.set.bytes
    }

    /// All records, by id.
    pub fn records(&self) -> impl Iterator<Item = Listed<'_>> {
        self.set.all().map(|(id, e)| Listed {
            id: *id,
            author: e.author,
            n: e.n,
            record: &e.record,
            counts: self.counts(id),
        })
    }

    /// Whether a record is in the set and counts.
    pub fn counts(&self, id: &ItemId) -> bool {
        self.answer().counts.contains(id)
    }

    /// The certified devices that were not removed.
    pub fn devices(&self) -> &BTreeMap<DeviceId, Device> {
        &self.view().devices
    }

    /// The certified devices that were removed.
    pub fn removed(&self) -> &BTreeMap<DeviceId, RemovedDevice> {
        &self.view().removed
    }

    /// A certified device, removed or not.
    pub fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.view().devices.get(id).or_else(|| self.view().removed.get(id).map(|r| &r.device))
    }

    /// The spaces, without the charter space itself.
    pub fn spaces(&self) -> &BTreeMap<SpaceId, Space> {
        &self.view().spaces
    }

    /// The documents.
    pub fn documents(&self) -> &BTreeMap<DocId, DocumentEntry> {
        &self.view().documents
    }

    /// The branch of the upper body, if one is named.
    pub fn upper(&self) -> Option<SpaceId> {
        self.view().upper.as_ref().and_then(|(_, _, upper)| *upper)
    }

    /// The public half of the key on paper.
    pub fn root(&self) -> Option<SignPublic> {
        self.view().root
    }

    /// Whether newcomers get the keys of what was written in a space before.
    pub fn has_history(&self, space: &SpaceId) -> bool {
        *space == self.set.branch || self.view().spaces.get(space).is_some_and(|s| s.history)
    }

    /// Whether payloads in a space are padded.
    pub fn is_padded(&self, space: &SpaceId) -> bool {
        self.view().spaces.get(space).is_some_and(|s| s.padded)
    }

    /// Whether `device` may receive what is in `space`.
    pub fn can_read(&self, device: &DeviceId, space: &SpaceId) -> bool {
        let found = self.view().devices.get(device);
        found.is_some_and(|d| self.view().reads(&d.member, d.role, space, &self.set.branch))
    }

    /// The spaces that `device` may read, the charter space among them, in order.
    pub fn readable(&self, device: &DeviceId) -> BTreeSet<SpaceId> {
        let Some(found) = self.view().devices.get(device) else { return BTreeSet::new() };
        let reads = |s: &&SpaceId| self.view().reads(&found.member, found.role, s, &self.set.branch);
        self.view().spaces.keys().filter(reads).copied().chain([self.set.branch]).collect()
    }

    /// The devices that may read a space.
    pub fn readers(&self, space: &SpaceId) -> BTreeSet<DeviceId> {
        self.view().devices.keys().filter(|device| self.can_read(device, space)).copied().collect()
    }

    /// The key epochs of a space, by id.
    pub fn epochs(&self, space: &SpaceId) -> impl Iterator<Item = (EpochId, &Epoch)> {
        self.view().epochs.get(space).into_iter().flatten().map(|(id, epoch)| (*id, epoch))
    }

    /// The epoch that is written under: of the highest generation, of those the highest id. None that was drawn by one
    /// who had been taken off the space.
    pub fn current_epoch(&self, space: &SpaceId) -> Option<(EpochId, &Epoch)> {
        self.epochs(space)
            .max_by_key(|(id, epoch)| (epoch.first.0 < Standpoint::Former, epoch.generation, *id))
    }

    /// The epochs whose keys a reader must be handed to have all that it may: in a space with history those that no other
    /// epoch leads back to, else the current one.
    pub fn needed_epochs(&self, space: &SpaceId) -> BTreeSet<EpochId> {
        if !self.has_history(space) {
            return self.current_epoch(space).map(|(id, _)| id).into_iter().collect();
        }
        // Any reader may say that its epoch leads back to another; only of those whose word is taken it is believed.
        let believed = self.epochs(space).filter(|(_, e)| e.first.0 < Standpoint::Reader);
        let followed: BTreeSet<EpochId> =
            believed.flat_map(|(_, e)| e.prev.iter().map(|s| s.epoch)).collect();
        self.epochs(space).map(|(id, _)| id).filter(|id| !followed.contains(id)).collect()
    }

    /// Readers of a space to whom nobody has handed an epoch's key. The word of an officer, the space's creator or
    /// the member itself is taken for it; an officer who lacks a key draws another, so of an officer everybody's is.
    pub fn unwrapped(&self, space: &SpaceId, epoch: &EpochId) -> Vec<DeviceId> {
        let Some(epoch) = self.view().epochs.get(space).and_then(|epochs| epochs.get(epoch)) else {
            return Vec::new();
        };
        let has = |device: &DeviceId| {
            let tag = Wrap::tag_of(device);
            let officer = || self.view().devices.get(device).is_some_and(|d| d.role.is_officer());
            epoch.handed.contains(&tag) || (epoch.wraps.contains_key(&tag) && officer())
        };
        self.readers(space).into_iter().filter(|device| !has(device)).collect()
    }

    /// Whether a space needs a new key: it has none, or one that a device has which may not read it now.
    pub fn rotation_due(&self, space: &SpaceId) -> bool {
        let Some((_, epoch)) = self.current_epoch(space) else { return true };
        !self.can_read(&epoch.issuer, space)
            || self
                .view()
                .certified
                .keys()
                .any(|device| epoch.handed.contains(&Wrap::tag_of(device)) && !self.can_read(device, space))
    }

    /// The key that must have signed this item, also of a device that was removed. For a genesis and a root record it is
    /// in the item itself.
    ///
    /// # Errors
    /// `UnknownAuthor` if the device has no certificate here (yet); `BadLink` if it is a genesis of another branch.
    pub fn key_for(&self, item: &RawItem) -> Result<DevicePublic, RejectCode> {
        let header = item.header();
        if let Some((public, _)) = self.set.named.get(&header.author.device) {
            return Ok(*public);
        }
        if header.kind == Kind::Charter {
            match Record::decode(item.payload()) {
                Ok(Record::Genesis(_)) if branch_id(item.payload()) != self.set.branch => {
                    return Err(RejectCode::BadLink);
                }
                Ok(Record::Genesis(genesis)) => return Ok(genesis.secretary.request.public),
                Ok(Record::Root(root)) => return Ok(root.secretary.request.public),
                _ => {}
            }
        }
        Err(RejectCode::UnknownAuthor)
    }

    /// Whether a run counts, judged at its place in its author's chain; `link` is its id's ([`ItemId::link`]). Of a
    /// snapshot only its author's right now is judged.
    ///
    /// # Errors
    /// `UnknownAuthor`, `UnknownTarget` (later) or `NotAuthorised` (never).
    pub fn standing(&self, header: &Header, link: [u8; 16]) -> Result<Standing, RejectCode> {
        self.view().standing(header, link, &self.set.branch)
    }

    /// What each removal of a chain's device that counts names of it: the last items, by counter and link, that its issuer
    /// had, or a witness where the issuer could not. One who has the device's key can sign others with lower counters; what
    /// the device had written leads down from these. Nothing beyond a cut is named.
    pub fn last_seen(&self, space: &SpaceId, author: &Author) -> Vec<Vec<(u32, [u8; 16])>> {
        self.view().last_seen(&(*space, *author))
    }

    /// Who the author of a run was, at its place in its author's chain; `None` if its device has no certificate here, or
    /// it is no run.
    pub fn author_at(&self, header: &Header, link: [u8; 16]) -> Option<AuthorAt> {
        self.view().author_at(header, link)
    }

    /// Who a device is now, as an author of a document; `None` if it has no certificate here or was removed.
    pub fn author_now(&self, device: &DeviceId, doc: &DocId) -> Option<AuthorAt> {
        let found = self.view().devices.get(device)?;
        Some(AuthorAt {
            member: found.member,
            role: found.role,
            is_recorder: self.view().recorders.contains(&(*doc, found.member)),
            is_creator: self.view().documents.get(doc).is_some_and(|d| d.creator == found.member),
            role_changed: false,
        })
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
        self.view().authorise_now(device, space, doc, &self.set.branch)
    }

    /// The record that certified a device, removed or not.
    pub fn certificate_of(&self, device: &DeviceId) -> Option<ItemId> {
        self.view().certified.get(device).map(|c| c.by)
    }

    /// The device that a record in the set certifies, counting or not.
    pub fn certified_by(&self, record: &ItemId) -> Option<DeviceId> {
        self.set.get(record)?.device
    }

    /// The chains of which a device's certificate says how far there are records.
    pub fn seen_by(&self, device: &DeviceId) -> &[(Author, u32)] {
        match self.view().certified.get(device).and_then(|c| self.set.get(&c.by)).map(|e| &e.record) {
            Some(Record::Device { seen, .. }) => seen,
            _ => &[],
        }
    }

    /// The charter chains that a newcomer must not miss: of who was ever an officer, and of whoever took a right away.
    pub fn decisive_chains(&self) -> BTreeSet<Author> {
        let officer = |e: &Entry| {
            self.view().certified.get(&e.author.device).is_some_and(|c| c.ever(record::Role::is_officer))
        };
        let officers: BTreeSet<Author> =
            self.set.all().filter(|(_, e)| officer(e)).map(|(_, e)| e.author).collect();
        let takes = self.set.of_kind(&[6, 7, 8, 14]).filter(|(id, _)| self.counts(id)).map(|(_, e)| e.author);
        let others: BTreeSet<Author> = takes.filter(|author| !officers.contains(author)).collect();
        officers.into_iter().chain(others).take(limits::SEEN_CHAINS_MAX).collect()
    }

    /// Removals (record, device, space) of a device that read a space which `reader` reads and the remover does not, and of
    /// which too few have said yet what was received there.
    pub fn unattested(&self, reader: &DeviceId) -> Vec<(ItemId, DeviceId, SpaceId)> {
        let (mut found, view, branch) = (Vec::new(), self.view(), &self.set.branch);
        let Some(witness) = view.devices.get(reader).map(|d| d.member) else { return found };
        let readable = self.readable(reader);
        for (device, subject) in view.certified.iter().filter(|(_, c)| c.member != witness) {
            for (by, removal) in &subject.effects.removals {
                let Some(remover) = view.certified.get(&removal.issuer) else { continue };
                let spaces = readable.iter().filter(|space| {
                    let said = view.attested.get(&(*by, *device, **space));
                    view.ever_reads(subject, space, branch)
                        && !view.ever_reads(remover, space, branch)
                        && said.is_none_or(|s| s.len() < limits::WITNESSES_ENOUGH && !s.contains(&witness))
                });
                found.extend(spaces.map(|space| (*by, *device, *space)));
            }
        }
        found
    }

    /// Adds a record that counts. Returns whether it was new.
    ///
    /// # Errors
    /// As for [`keep`](Self::keep), or the reason why the record does not count: the set is then unchanged. `Quota` also if
    /// the member has [`limits::DEVICES_PER_MEMBER_MAX`] devices.
    pub fn insert(&mut self, item: &Item) -> Result<bool, RejectCode> {
        let id = item.id();
        if self.set.contains(&id) {
            return if self.counts(&id) { Ok(false) } else { Err(RejectCode::NotAuthorised) };
        }
        let entry = self.entry(item)?;
        self.insert_new(id, entry)
    }

    fn insert_new(&mut self, id: ItemId, entry: Entry) -> Result<bool, RejectCode> {
        self.check_room(&entry)?;
        self.check_known(&entry)?;
        if let Record::Device { certificate, .. } = &entry.record {
            let devices = self.view().devices.values().filter(|d| d.member == certificate.member);
            if devices.count() >= limits::DEVICES_PER_MEMBER_MAX
                && entry.device.is_some_and(|d| self.device(&d).is_none())
            {
                return Err(RejectCode::Quota);
            }
        }
        let code = match self.add_quickly(id, entry) {
            Quick::Counts => return Ok(true),
            Quick::DoesNot(code) => code,
            Quick::Unknown => {
                let (view, counts) = evaluate::evaluate(&self.set);
                if counts.contains(&id) {
                    self.answer = OnceLock::from(Answer::of(view, counts, &self.set));
                    return Ok(true);
                }
                self.refusal(&id)
            }
        };
        self.set.remove(&id);
        self.tag.take();
        Err(code)
    }

    /// Adds a record whether it counts now or not. Returns whether it was new.
    ///
    /// # Errors
    /// `Malformed`, `BadLink` (of another branch), `NotAuthorised` (a root record by another key), `Quota`, or
    /// `UnknownAuthor` if its author has no certificate here: later.
    pub fn keep(&mut self, item: &Item) -> Result<bool, RejectCode> {
        if self.set.contains(&item.id()) {
            return Ok(false);
        }
        let entry = self.entry(item)?;
        self.keep_new(item.id(), entry)
    }

    fn keep_new(&mut self, id: ItemId, entry: Entry) -> Result<bool, RejectCode> {
        self.check_room(&entry)?;
        self.check_known(&entry)?;
        let kind = usize::from(entry.record.kind());
        if self.answer.get().is_none() {
            self.add(id, entry);
            return Ok(true);
        }
        match self.add_quickly(id, entry) {
            Quick::Counts => {}
            // That it is there lets nothing else count.
            Quick::DoesNot(_) if !self.stirs_as_idle(kind) => {
                self.add_as_there(id);
                if let Some(answer) = self.answer.get_mut() {
                    answer.idle[kind] += 1;
                }
            }
            Quick::DoesNot(_) | Quick::Unknown => {
                self.answer.take();
            }
        }
        Ok(true)
    }

    /// Adds many records, whether they count or not: those that a device or a relay kept before.
    ///
    /// # Errors
    /// `Malformed`, `BadLink` or `Quota`; records before the one at fault are in the set.
    pub fn extend<'a>(&mut self, items: impl IntoIterator<Item = &'a Item>) -> Result<(), RejectCode> {
        for item in items {
            let entry = self.entry(item)?;
            if self.set.len() >= limits::CHARTER_RECORDS_MAX
                || self.set.bytes + entry.bytes > limits::CHARTER_HELD_BYTES_MAX
            {
                return Err(RejectCode::Quota);
            }
            self.answer.take();
            self.add(item.id(), entry);
        }
        Ok(())
    }

    /// Takes records out: those that a device takes back because no relay accepted them.
    pub fn remove(&mut self, ids: &BTreeSet<ItemId>) {
        ids.iter().for_each(|id| self.set.remove(id));
        self.answer.take();
        self.tag.take();
    }

    /// The devices of which something may count in one charter and not in the other, apart from what is new in one.
    pub fn changed_authors(before: &Self, after: &Self) -> BTreeSet<DeviceId> {
        View::changed_authors(before.view(), after.view())
    }

    fn entry(&self, item: &Item) -> Result<Entry, RejectCode> {
        let header = item.header();
        let Place::Chain { n, prev } = header.place else { return Err(RejectCode::Malformed) };
        if header.kind != Kind::Charter || header.space != self.set.branch {
            return Err(RejectCode::Malformed);
        }
        let record = Record::decode(item.payload()).map_err(|_| RejectCode::Malformed)?;
        let device = record.certificate().map(|c| c.request.public.id());
        match &record {
            Record::Genesis(_) if branch_id(item.payload()) != self.set.branch => {
                return Err(RejectCode::BadLink);
            }
            Record::Root(root) if root.branch != self.set.branch => return Err(RejectCode::BadLink),
            _ => {}
        }
        Ok(Entry {
            author: header.author,
            n,
            prev,
            record,
            device,
            bytes: item.payload().len(),
            is_root: false,
        })
    }

    /// The last places are for those who can put things right.
    fn check_room(&self, entry: &Entry) -> Result<(), RejectCode> {
        let officer = || {
            let device = self.view().certified.get(&entry.author.device);
            device.is_some_and(|d| d.ever(record::Role::is_officer))
        };
        let kept_free = match &entry.record {
            Record::Genesis(_) | Record::Root(_) => 0,
            _ if self.set.len() + limits::CHARTER_RECORDS_FOR_OFFICERS < limits::CHARTER_RECORDS_MAX
                && self.set.bytes + entry.bytes + limits::CHARTER_BYTES_FOR_OFFICERS
                    <= limits::CHARTER_HELD_BYTES_MAX =>
            {
                return Ok(());
            }
            _ if officer() => 1,
            _ => return Err(RejectCode::Quota),
        };
        let records = limits::CHARTER_RECORDS_MAX - kept_free * limits::CHARTER_RECORDS_FOR_ROOT;
        let bytes = limits::CHARTER_HELD_BYTES_MAX - kept_free * limits::CHARTER_BYTES_FOR_ROOT;
        let fits = self.set.len() < records && self.set.bytes + entry.bytes <= bytes;
        if fits { Ok(()) } else { Err(RejectCode::Quota) }
    }

    /// Whether its author may be known: it has a certificate here, or brings what stands for one.
    fn check_known(&self, entry: &Entry) -> Result<(), RejectCode> {
        match &entry.record {
            Record::Genesis(_) => Ok(()),
            Record::Root(root) => {
                let key = self.set.root().ok_or(RejectCode::UnknownAuthor)?;
                let good = root.secretary.role == record::Role::Secretary
                    && entry.device == Some(entry.author.device)
                    && root.is_signed_by(&key);
                if good { Ok(()) } else { Err(RejectCode::NotAuthorised) }
            }
            _ if self.set.named.contains_key(&entry.author.device) => Ok(()),
            _ => Err(RejectCode::UnknownAuthor),
        }
    }

    fn add(&mut self, id: ItemId, entry: Entry) {
        self.set.add(id, entry);
        self.tag.take();
    }
}

impl Answer {
    fn of(view: View, counts: BTreeSet<ItemId>, set: &Set) -> Self {
        let idle =
            std::array::from_fn(|kind| set.ids_of(kind).iter().filter(|id| !counts.contains(*id)).count());
        Self { view, counts, idle }
    }
}

fn digest(set: &Set) -> CharterTag {
    let mut hasher = Sha256::new_with_prefix(b"dinh/cdg1\0");
    set.all().for_each(|(id, _)| hasher.update(id.0));
    let mut tag = CharterTag::default();
    tag.0.copy_from_slice(&hasher.finalize()[..8]);
    tag
}

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// One look at one record: what an evaluation costs, for tests.
fn count_step() {
    #[cfg(test)]
    STEPS.set(STEPS.get() + 1);
}

#[cfg(test)]
mod tests;
