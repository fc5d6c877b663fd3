//! The records themselves, with what finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::marks::Position;
use super::record::{Certificate, Genesis, Record, Role};
use crate::ids::{Author, DeviceId, ItemId, MemberId, SpaceId};
use crate::keys::{DevicePublic, SignPublic};
use crate::limits;

/// Types of records, and one more.
pub(super) const KINDS: usize = 17;

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) author: Author,
    pub(super) n: u32,
    /// The link of the item before it in its chain.
    pub(super) prev: [u8; 16],
    pub(super) record: Record,
    /// The device that its certificate is for, if it has one.
    pub(super) device: Option<DeviceId>,
    pub(super) bytes: usize,
    /// Whether it is a root record that the branch's root key made.
    pub(super) is_root: bool,
}

/// What a generation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Role(DeviceId),
    Reader(SpaceId, MemberId),
    Epoch(SpaceId),
    Upper,
}

/// All records of a charter.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) branch: SpaceId,
    entries: BTreeMap<ItemId, Arc<Entry>>,
    kinds: [BTreeSet<ItemId>; KINDS],
    /// Device records by who issued them.
    pub(super) admissions: BTreeMap<DeviceId, BTreeSet<ItemId>>,
    /// Devices that a certificate names, counting or not, and how many do.
    pub(super) named: BTreeMap<DeviceId, (DevicePublic, usize)>,
    /// How many records there are about one thing.
    about: BTreeMap<Subject, u32>,
    pub(super) bytes: usize,
}

impl Set {
    pub(super) fn new(branch: SpaceId) -> Self {
        Self {
            branch,
            entries: BTreeMap::new(),
            kinds: Default::default(),
            admissions: BTreeMap::new(),
            named: BTreeMap::new(),
            about: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, id: &ItemId) -> bool {
        self.entries.contains_key(id)
    }

    pub(super) fn get(&self, id: &ItemId) -> Option<&Entry> {
        self.entries.get(id).map(AsRef::as_ref)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&ItemId, &Entry)> {
        self.entries.iter().map(|(id, e)| (id, e.as_ref()))
    }

    /// Records of some types, type by type; of one type by id.
    pub(super) fn of_kind(&self, kinds: &[u8]) -> impl Iterator<Item = (ItemId, &Entry)> {
        let ids = kinds.iter().flat_map(|kind| &self.kinds[usize::from(*kind)]);
        ids.filter_map(|id| Some((*id, self.get(id)?)))
    }

    pub(super) fn count_of(&self, kind: u8) -> usize {
        self.kinds[usize::from(kind)].len()
    }

    pub(super) fn ids_of(&self, kind: usize) -> &BTreeSet<ItemId> {
        &self.kinds[kind]
    }

    pub(super) fn at(&self, id: &ItemId, entry: &Entry) -> Position {
        Position { space: self.branch, author: entry.author, n: entry.n, link: id.link() }
    }

    /// The certificate in a record.
    pub(super) fn certificate(&self, id: &ItemId) -> Option<&Certificate> {
        self.get(id)?.record.certificate()
    }

    /// The genesis: the founder's device may have signed several items with it.
    pub(super) fn genesis(&self) -> Option<(ItemId, &Genesis)> {
        self.of_kind(&[1]).find_map(|(id, e)| match &e.record {
            Record::Genesis(g)
                if e.device == Some(e.author.device) && g.secretary.role == Role::Secretary =>
            {
                Some((id, &**g))
            }
            _ => None,
        })
    }

    /// The key on paper.
    pub(super) fn root(&self) -> Option<SignPublic> {
        self.genesis().map(|(_, genesis)| genesis.root)
    }

    /// Whether a record's generation is further ahead than the number of records about the same thing lets it be. Whatever
    /// is issued, the next generation is within the bound: nobody takes the last one.
    pub(super) fn is_ahead(&self, record: &Record) -> bool {
        subject(record).is_some_and(|(subject, generation)| {
            let count = self.about.get(&subject).copied().unwrap_or(0);
            generation > count + limits::GENERATIONS_AHEAD_MAX
        })
    }

    pub(super) fn add(&mut self, id: ItemId, mut entry: Entry) {
        if self.contains(&id) {
            return;
        }
        entry.is_root = is_root(&entry.record, self.root());
        self.kinds[usize::from(entry.record.kind())].insert(id);
        self.bytes += entry.bytes;
        if let Some((device, certificate)) = entry.device.zip(entry.record.certificate()) {
            self.named.entry(device).or_insert((certificate.request.public, 0)).1 += 1;
        }
        if matches!(entry.record, Record::Device { .. }) {
            self.admissions.entry(entry.author.device).or_default().insert(id);
        }
        if let Some((subject, _)) = subject(&entry.record) {
            *self.about.entry(subject).or_default() += 1;
        }
        let is_genesis = matches!(entry.record, Record::Genesis(_));
        self.entries.insert(id, Arc::new(entry));
        if is_genesis {
            self.check_roots();
        }
    }

    /// Records that came before the genesis.
    fn check_roots(&mut self) {
        let root = self.root();
        for id in &self.kinds[14] {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            let signed = is_root(&entry.record, root);
            if signed != entry.is_root {
                let checked = Entry { is_root: signed, ..Entry::clone(entry) };
                *entry = Arc::new(checked);
            }
        }
    }

    pub(super) fn remove(&mut self, id: &ItemId) {
        let Some(entry) = self.entries.remove(id) else { return };
        self.kinds[usize::from(entry.record.kind())].remove(id);
        self.bytes -= entry.bytes;
        if let Some(device) = entry.device
            && let Some((_, count)) = self.named.get_mut(&device)
        {
            *count -= 1;
            if *count == 0 {
                self.named.remove(&device);
            }
        }
        if let Some(of_issuer) = self.admissions.get_mut(&entry.author.device) {
            of_issuer.remove(id);
        }
        if let Some((subject, _)) = subject(&entry.record)
            && let Some(count) = self.about.get_mut(&subject)
        {
            *count -= 1;
        }
    }
}

/// Whether it is a root record of the device that it makes the secretary's, by this key.
pub(super) fn is_root(record: &Record, root: Option<SignPublic>) -> bool {
    match (record, root) {
        (Record::Root(r), Some(root)) => r.is_signed_by(&root),
        _ => false,
    }
}

fn subject(record: &Record) -> Option<(Subject, u32)> {
    match record {
        Record::Role { device, generation, .. } => Some((Subject::Role(*device), *generation)),
        Record::Grant { space, member, generation } | Record::Revoke { space, member, generation, .. } => {
            Some((Subject::Reader(*space, *member), *generation))
        }
        Record::Epoch(epoch) => Some((Subject::Epoch(epoch.space), epoch.generation)),
        Record::Upper { generation, .. } => Some((Subject::Upper, *generation)),
        _ => None,
    }
}
