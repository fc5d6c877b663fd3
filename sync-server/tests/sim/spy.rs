//! A phone's store with a window in it: what the phone writes is known to the world, and to no other node.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use dinh_core::store::{MemoryStore, ReadTx, RedbStore, Store, StoreError, Table, Visit, WriteTx};
use dinh_core::testing::{Crash, SimDisk};
use dinh_proto::ids::{DeviceId, ItemId, Seq, SpaceId};
use dinh_proto::item::{Kind, RawItem};

/// Every item that any phone ever wrote, as its author first wrote it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) made: BTreeMap<ItemId, Bytes>,
    /// Which device holds items of which space, with one example.
    pub(crate) holdings: BTreeMap<(DeviceId, SpaceId), ItemId>,
    pub(crate) violations: Vec<String>,
    pub(crate) commits: u64,
    /// Runs and records that a device made, until they are known to have been in the log.
    pub(crate) unlogged: BTreeMap<DeviceId, BTreeSet<ItemId>>,
    /// What each device has ever stored.
    stored: BTreeMap<DeviceId, BTreeSet<ItemId>>,
    /// What must be stored before the cursor of a device passes it, of its newest connection.
    due: BTreeMap<DeviceId, (u64, BTreeMap<u64, ItemId>)>,
}

/// What one transaction did, as far as the ledger cares.
#[derive(Debug, Default)]
struct Seen {
    items: Vec<Vec<u8>>,
    parked: Vec<Vec<u8>>,
    cursor: Option<u64>,
    /// Something was refused, so that it need not be stored.
    refused: bool,
}

impl Ledger {
    /// The relay gave these items in the order of its log.
    pub(crate) fn note_passed(&mut self, conn: u64, device: DeviceId, forks: bool, items: &[(Seq, ItemId)]) {
        let (newest, due) = self.due.entry(device).or_default();
        if *newest != conn || forks {
            *newest = conn;
            due.clear();
        }
        if !forks {
            due.extend(items.iter().map(|(seq, id)| (seq.0, *id)));
        }
    }

    fn see_all(&mut self, device: DeviceId, seen: &Seen, committed: bool) {
        for value in &seen.items {
            self.see(device, value, committed);
        }
        let ids = |values: &[Vec<u8>]| -> Vec<ItemId> {
            let parsed = values.iter().filter_map(|v| RawItem::parse(Bytes::copy_from_slice(v)).ok());
            parsed.map(|item| item.id()).collect()
        };
        let stored = self.stored.entry(device).or_default();
        stored.extend(ids(&seen.items).into_iter().chain(ids(&seen.parked)));
        let Some((cursor, (_, due))) = seen.cursor.zip(self.due.get_mut(&device)) else { return };
        let rest = due.split_off(&(cursor + 1));
        let passed = std::mem::replace(due, rest);
        let lost = passed.iter().find(|(_, id)| !stored.contains(id)).filter(|_| !seen.refused);
        if let Some((seq, id)) = lost {
            self.violations.push(format!(
                "cursor: {device:?} says that it has everything up to {cursor}, and did not store {id:?} of {seq}"
            ));
        }
    }

    fn see(&mut self, device: DeviceId, value: &[u8], committed: bool) {
        let bytes = Bytes::copy_from_slice(value);
        let item = RawItem::parse(bytes.clone()).expect("a phone stores well-formed items");
        let header = item.header();
        self.holdings.entry((device, header.space)).or_insert(item.id());
        match self.made.get(&item.id()) {
            Some(made) if *made == bytes => {}
            Some(_) => self.violations.push(format!("invention: {:?} exists with other bytes", item.id())),
            None if header.author.device == device => {
                self.made.insert(item.id(), bytes);
                // What a failing disk was given may not be on it: nobody has to send it.
                if committed && header.kind != Kind::Snapshot {
                    self.unlogged.entry(device).or_default().insert(item.id());
                }
            }
            None => self.violations.push(format!("invention: {:?} was never made by its author", item.id())),
        }
    }
}

/// What outlives a phone's process.
#[derive(Debug, Clone)]
pub(crate) enum Medium {
    Disk(SimDisk),
    Memory(Rc<RefCell<MemoryStore>>),
}

/// A copy of a medium.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a world holds a handful of them")]
pub(crate) enum Image {
    Disk(Vec<u8>),
    Memory(MemoryStore),
}

impl Medium {
    pub(crate) fn new(memory: bool, seed: u64) -> Self {
        if memory { Self::Memory(Rc::default()) } else { Self::Disk(SimDisk::new(seed)) }
    }

    pub(crate) fn from_image(image: &Image, seed: u64) -> Self {
        match image {
            Image::Disk(bytes) => Self::Disk(SimDisk::from_image(seed, bytes.clone())),
            Image::Memory(store) => Self::Memory(Rc::new(RefCell::new(store.clone()))),
        }
    }

    pub(crate) fn image(&self) -> Image {
        match self {
            Self::Disk(disk) => Image::Disk(disk.durable_image()),
            Self::Memory(store) => Image::Memory(store.borrow().clone()),
        }
    }

    pub(crate) fn crash(&self, crash: Crash) {
        if let Self::Disk(disk) = self {
            disk.crash(crash);
        }
    }

    pub(crate) fn open(
        &self,
        device: DeviceId,
        ledger: &Rc<RefCell<Ledger>>,
    ) -> Result<SpyStore, StoreError> {
        let inner = match self {
            Self::Disk(disk) => Inner::Redb(Box::new(RedbStore::with_backend(disk.file())?)),
            Self::Memory(store) => Inner::Memory(store.clone()),
        };
        Ok(SpyStore { inner, device, ledger: ledger.clone() })
    }
}

enum Inner {
    Redb(Box<RedbStore>),
    Memory(Rc<RefCell<MemoryStore>>),
}

/// See the module.
pub(crate) struct SpyStore {
    inner: Inner,
    device: DeviceId,
    ledger: Rc<RefCell<Ledger>>,
}

impl Store for SpyStore {
    fn read<R>(&self, f: impl FnOnce(&dyn ReadTx) -> Result<R, StoreError>) -> Result<R, StoreError> {
        match &self.inner {
            Inner::Redb(store) => store.read(f),
            Inner::Memory(store) => store.borrow().read(f),
        }
    }

    fn write<R>(
        &mut self,
        f: impl FnOnce(&mut dyn WriteTx) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut seen = Seen::default();
        let spied = |tx: &mut dyn WriteTx| f(&mut SpyTx { tx, seen: &mut seen });
        let result = match &mut self.inner {
            Inner::Redb(store) => store.write(spied),
            Inner::Memory(store) => store.borrow_mut().write(spied),
        };
        // Also if the write failed: it may be on disk all the same.
        let mut ledger = self.ledger.borrow_mut();
        ledger.commits += 1;
        ledger.see_all(self.device, &seen, result.is_ok());
        result
    }
}

struct SpyTx<'a> {
    tx: &'a mut dyn WriteTx,
    seen: &'a mut Seen,
}

impl ReadTx for SpyTx<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.tx.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
        self.tx.scan(table, from, to, visit)
    }
}

impl WriteTx for SpyTx<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        match table {
            Table::Items | Table::Snapshots => self.seen.items.push(value.to_vec()),
            Table::Parked => self.seen.parked.push(value.to_vec()),
            Table::Quarantine => self.seen.refused = true,
            Table::Meta if key == b"cursor" => {
                let seq = value.last_chunk().expect("a cursor ends in a place");
                self.seen.cursor = Some(u64::from_le_bytes(*seq));
            }
            _ => {}
        }
        self.tx.put(table, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.tx.delete(table, key)
    }
}
