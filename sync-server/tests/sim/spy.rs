//! A phone's store with a window in it: what the phone writes is known to the world, and to no other node.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use dinh_core::store::{MemoryStore, ReadTx, RedbStore, Store, StoreError, Table, Visit, WriteTx};
use dinh_core::testing::{Crash, SimDisk};
use dinh_proto::ids::{DeviceId, ItemId, SpaceId};
use dinh_proto::item::RawItem;

/// Every item that any phone ever wrote, as its author first wrote it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) made: BTreeMap<ItemId, Bytes>,
    /// Which device holds items of which space, with one example.
    pub(crate) holdings: BTreeMap<(DeviceId, SpaceId), ItemId>,
    pub(crate) violations: Vec<String>,
    pub(crate) commits: u64,
}

impl Ledger {
    fn see(&mut self, device: DeviceId, value: &[u8]) {
        let bytes = Bytes::copy_from_slice(value);
        let item = RawItem::parse(bytes.clone()).expect("a phone stores well-formed items");
        let header = item.header();
        self.holdings.entry((device, header.space)).or_insert(item.id());
        match self.made.get(&item.id()) {
            Some(made) if *made == bytes => {}
            Some(_) => self.violations.push(format!("{:?} exists with other bytes", item.id())),
            None if header.author.device == device => {
                self.made.insert(item.id(), bytes);
            }
            None => self.violations.push(format!("{:?} was never made by its author", item.id())),
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
        let mut seen = Vec::new();
        let spied = |tx: &mut dyn WriteTx| f(&mut SpyTx { tx, seen: &mut seen });
        let result = match &mut self.inner {
            Inner::Redb(store) => store.write(spied),
            Inner::Memory(store) => store.borrow_mut().write(spied),
        };
        // Also if the write failed: it may be on disk all the same.
        let mut ledger = self.ledger.borrow_mut();
        ledger.commits += 1;
        seen.iter().for_each(|value| ledger.see(self.device, value));
        result
    }
}

struct SpyTx<'a> {
    tx: &'a mut dyn WriteTx,
    seen: &'a mut Vec<Vec<u8>>,
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
        if matches!(table, Table::Items | Table::Snapshots) {
            self.seen.push(value.to_vec());
        }
        self.tx.put(table, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.tx.delete(table, key)
    }
}
