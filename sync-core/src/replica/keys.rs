//! Keys of the spaces that this device may read. The charter holds each, sealed to this device; what was unsealed once
//! is kept in the store (of protected spaces: under a key that only the wrap secret gives, see `protect.rs`).

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::charter::{Charter, Standing};
use dinh_proto::crypto::{SpaceKey, Wrap, WrapContext, sealed_hint, unwrap};
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{DeviceId, DocId, EpochId, KeyEpoch, SpaceId};
use dinh_proto::item::Header;
use dinh_proto::keys::DevicePublic;

use super::linked::Linked;
use super::schema::{self, Batch};
use super::waiting::Need;
use super::{Event, Replica};
use crate::gate::rights::{Rights, Schema};
use crate::gate::{Authority, GateError};
use crate::store::{Store, StoreError, Table};

/// The keys that are here, by space and by the epoch's first bytes, as headers name them.
#[derive(Debug, Default)]
pub(super) struct Keyring(BTreeMap<SpaceId, BTreeMap<KeyEpoch, SpaceKey>>);

impl Keyring {
    pub(super) fn get(&self, space: &SpaceId, epoch: &KeyEpoch) -> Option<&SpaceKey> {
        self.0.get(space)?.get(epoch)
    }

    pub(super) fn has(&self, space: &SpaceId, epoch: &EpochId) -> bool {
        self.get(space, &epoch.hint()).is_some_and(|key| key.id() == *epoch)
    }

    /// Returns whether it is new.
    pub(super) fn insert(&mut self, space: SpaceId, key: SpaceKey) -> bool {
        self.0.entry(space).or_default().insert(key.id().hint(), key).is_none()
    }

    /// Its keys are erased.
    pub(super) fn forget(&mut self, space: &SpaceId) {
        self.0.remove(space);
    }

    pub(super) fn of(&self, space: &SpaceId) -> impl Iterator<Item = &SpaceKey> {
        self.0.get(space).into_iter().flat_map(BTreeMap::values)
    }
}

/// What a branch's charter and this device's keys say of an item.
pub(super) struct BranchAuthority<'a> {
    pub(super) charter: Option<&'a Charter>,
    pub(super) keys: &'a Keyring,
    pub(super) linked: &'a Linked,
    pub(super) schemas: &'static [&'static Schema],
}

impl BranchAuthority<'_> {
    /// Whether a run counts: by the charter, and because its chain leads to what removals name.
    pub(super) fn standing(&self, header: &Header, link: [u8; 16]) -> Result<Standing, RejectCode> {
        let standing = self.charter.ok_or(RejectCode::UnknownTarget)?.standing(header, link)?;
        Ok(if self.is_apart(header) { Standing::IfBuiltOn } else { standing })
    }

    /// The schema of a document, if it has one that this app knows.
    pub(super) fn schema(&self, doc: &DocId) -> Result<Option<&'static Schema>, GateError> {
        let Some(entry) = self.charter.and_then(|c| c.documents().get(doc)) else { return Ok(None) };
        let Some(hint) = sealed_hint(&entry.schema) else { return Ok(None) };
        let key = self.keys.get(&entry.space, &hint).ok_or(GateError::NoKey)?;
        // One that nobody can read is nobody's: as if there were none.
        let name = key.open_schema(doc, &entry.schema).unwrap_or_default();
        Ok(self.schemas.iter().find(|schema| schema.name == name).copied())
    }

    /// Whether a removed device's chain does not (yet) lead to this run.
    pub(super) fn is_apart(&self, header: &Header) -> bool {
        header.n().is_some_and(|n| !self.linked.holds(&header.chain(), n))
    }
}

impl Authority for BranchAuthority<'_> {
    fn public(&self, device: &DeviceId) -> Option<DevicePublic> {
        self.charter?.device(device).map(|d| d.public)
    }

    fn may_write(&self, header: &Header, link: [u8; 16]) -> Result<(), RejectCode> {
        match self.standing(header, link)? {
            Standing::Accepted => Ok(()),
            // Whether an accepted change builds on it shows in the runs only.
            Standing::IfBuiltOn => Err(RejectCode::NotAuthorised),
        }
    }

    fn key(&self, header: &Header) -> Option<&SpaceKey> {
        self.keys.get(&header.space, &header.key_epoch)
    }

    fn rights(&self, header: &Header, link: [u8; 16]) -> Result<Option<Rights>, GateError> {
        let Some(schema) = self.schema(&header.doc)? else { return Ok(None) };
        let author = self.charter.and_then(|c| c.author_at(header, link));
        Ok(author.map(|author| Rights::new(schema, author)))
    }

    fn is_padded(&self, space: &SpaceId) -> bool {
        self.charter.is_some_and(|c| c.is_padded(space))
    }
}

impl<S: Store> Replica<S> {
    pub(super) fn load_keys(&mut self) -> Result<(), StoreError> {
        for (key, value) in self.store.read(|tx| schema::entries(tx, Table::Keys, &[]))? {
            let corrupt = || StoreError::Corrupt("space key");
            let space = SpaceId(key.get(..16).and_then(|b| b.try_into().ok()).ok_or_else(corrupt)?);
            let Some(value) = self.open_row(Table::Keys, &key, &value)? else { continue };
            let key = SpaceKey::from_bytes(value.as_slice().try_into().map_err(|_| corrupt())?);
            self.keys.insert(space, key);
        }
        Ok(())
    }

    /// A key is here: it is kept. Not of a locked space.
    pub(super) fn keep_key(&mut self, space: SpaceId, key: SpaceKey, batch: &mut Batch) {
        let row = [&space.0[..], &key.id().0].concat();
        let Ok(value) = self.row(Table::Keys, &row, &key.to_bytes()[..], space) else { return };
        batch.put(Table::Keys, row, value);
        self.keys.insert(space, key);
    }

    /// Unseals what the charter of a branch holds for this device. Runs that waited for a key are looked at again.
    pub(super) fn learn_keys(&mut self, branch: &SpaceId, batch: &mut Batch) {
        let Some(charter) = self.charters.get(branch) else { return };
        let mut found: Vec<(SpaceId, SpaceKey)> = Vec::new();
        let tag = Wrap::tag_of(&self.device);
        for space in charter.spaces().keys().chain([branch]) {
            let mut known: BTreeMap<EpochId, SpaceKey> =
                self.keys.of(space).map(|k| (k.id(), k.clone())).collect();
            let before = known.len();
            for (id, epoch) in charter.epochs(space) {
                if known.contains_key(&id) || !self.key.has_wrap() {
                    continue;
                }
                let context = WrapContext { branch: *branch, space: *space };
                let wraps = epoch.wraps.get(&tag).into_iter().flatten();
                if let Some(key) = wraps.filter_map(|w| unwrap(&self.key, &context, &id, w).ok()).next() {
                    known.insert(id, key);
                }
            }
            // Newer keys open older ones, and those older ones still.
            let mut opened = BTreeSet::new();
            while let Some((id, key)) = known.iter().find(|(id, _)| !opened.contains(*id)) {
                let (id, key) = (*id, key.clone());
                opened.insert(id);
                let Some((_, epoch)) = charter.epochs(space).find(|(e, _)| *e == id) else { continue };
                for sealed in epoch.prev.iter().filter(|s| !known.contains_key(&s.epoch)).collect::<Vec<_>>()
                {
                    if let Ok(older) = key.open_key(sealed, space) {
                        known.insert(older.id(), older);
                    }
                }
            }
            if known.len() > before {
                let new = known.into_values().filter(|k| !self.keys.has(space, &k.id()));
                found.extend(new.map(|key| (*space, key)));
            }
        }
        for (space, key) in found {
            self.wake_for_key(&space, key.id().hint());
            self.keep_key(space, key, batch);
        }
    }

    /// Runs of open documents that waited for a key; closed ones are looked at when they are opened.
    fn wake_for_key(&mut self, space: &SpaceId, epoch: KeyEpoch) {
        for open in self.open.values_mut() {
            let woken = open.waiting.wake(Need::Key(*space, epoch));
            woken.into_iter().for_each(|order| open.queue.insert(order, None));
        }
        self.keys_came = true;
    }

    /// The key under which this device writes in a space now, or none: then what is written stays here until the key
    /// comes, or until those who may no longer read are shut out by a new one.
    pub(crate) fn write_key(&self, space: &SpaceId) -> Option<&SpaceKey> {
        let charter = self.branch_charter(space)?;
        if charter.rotation_due(space) {
            return None;
        }
        let (id, _) = charter.current_epoch(space)?;
        self.keys.get(space, &id.hint()).filter(|key| key.id() == id)
    }

    pub(super) fn authority(&self, space: &SpaceId) -> BranchAuthority<'_> {
        BranchAuthority {
            charter: self.branch_charter(space),
            keys: &self.keys,
            linked: &self.linked,
            schemas: self.config.schemas,
        }
    }

    /// What people call a device, if this device may know.
    pub fn device_name(&self, branch: &SpaceId, device: &DeviceId) -> Option<String> {
        let found = self.charters.get(branch)?.device(device)?;
        self.keys.of(branch).find_map(|key| key.open_name(&found.public, &found.name).ok())
    }

    /// After new keys: open documents get what waited for them.
    pub(super) fn apply_after_keys(&mut self) -> Result<(), super::ReplicaError> {
        if !std::mem::take(&mut self.keys_came) {
            return Ok(());
        }
        let docs: Vec<_> = self.open.keys().copied().collect();
        for doc in &docs {
            self.flush_typing_as_typed(doc)?;
            self.advance(doc, true)?;
        }
        // They may have grown.
        docs.last().map_or(Ok(()), |doc| self.evict(doc))
    }

    pub(super) fn tell_devices(&mut self, branch: &SpaceId) {
        let Some(charter) = self.charters.get(branch) else { return };
        let now: BTreeSet<DeviceId> = charter.devices().keys().copied().collect();
        let before = self.known_devices.insert(*branch, now.clone()).unwrap_or_default();
        let branch = *branch;
        let added: Vec<Event> = now
            .difference(&before)
            .filter_map(|id| Some((id, charter.device(id)?)))
            .map(|(id, found)| Event::DeviceAdded {
                branch,
                device: *id,
                member: found.member,
                role: found.role,
            })
            .collect();
        let removed: Vec<Event> = before
            .difference(&now)
            .filter_map(|id| Some((id, charter.removed().get(id)?)))
            .map(|(id, gone)| Event::DeviceRemoved { branch, device: *id, reason: gone.reason })
            .collect();
        added.into_iter().chain(removed).for_each(|event| self.push_event(event));
    }
}
