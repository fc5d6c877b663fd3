//! What a start needs to know of a space: one short row, however many items it has.
//!
//! ```text
//! u8 version = 1 ‖ uleb items ‖ uleb newest place but of snapshots ‖ uleb newest place ‖ uleb bytes ‖ checksum of the items (16, little-endian)
//! ‖ list of devices (16) ‖ list of spaces (16) ‖ first 8 bytes of SHA-256 of the space and everything before
//! ```

use std::collections::BTreeSet;

use dinh_proto::charter::record::Record;
use dinh_proto::codec::{Reader, Write};
use dinh_proto::error::InvalidMessage;
use dinh_proto::ids::{DeviceId, Seq, SpaceId};
use dinh_proto::item::{Kind, RawItem, SpaceSum};

use super::index::{IndexEntry, Position, checked, checksum};

/// Raised when anything counts otherwise too, [`Name::of`] above all: summaries of another version are made again.
const VERSION: u8 = 1;
/// More than a row can hold: how much of one charter a relay stores is the operator's to say.
const NAMES_MAX: usize = u32::MAX as usize;

/// What the items of one space add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The space.
    pub space: SpaceId,
    /// How many items it has, with snapshots.
    pub items: u64,
    /// The place of the newest that is no snapshot.
    pub last: Seq,
    /// The place of the newest of any kind.
    pub newest: Seq,
    /// Their bytes.
    pub bytes: u64,
    /// The checksum of those that are no snapshots.
    pub sum: SpaceSum,
    /// Devices for which there is a certificate in the space's charter records, counting or not.
    pub devices: BTreeSet<DeviceId>,
    /// Spaces that its charter records create, counting or not.
    pub spaces: BTreeSet<SpaceId>,
}

/// What a charter record names that must be found without reading the charter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// A device that it certifies.
    Device(DeviceId),
    /// A space that it creates.
    Space(SpaceId),
}

impl Name {
    /// What an item names: nothing, but for some charter records.
    pub fn of(item: &RawItem) -> Option<Self> {
        let header = item.header();
        if header.kind != Kind::Charter {
            return None;
        }
        // Records were read before they were stored; what no longer reads is of a changed format, and says nothing.
        let record = Record::decode(item.payload()).ok()?;
        if let Record::Space { nonce, .. } = &record {
            return Some(Self::Space(SpaceId::derive(&header.author.device, nonce)));
        }
        record.certificate().map(|c| Self::Device(c.request.public.id()))
    }
}

impl Summary {
    /// Of a space without items.
    pub fn new(space: SpaceId) -> Self {
        Self {
            space,
            items: 0,
            last: Seq(0),
            newest: Seq(0),
            bytes: 0,
            sum: SpaceSum::default(),
            devices: BTreeSet::new(),
            spaces: BTreeSet::new(),
        }
    }

    /// Counts one more item.
    pub fn add(&mut self, entry: &IndexEntry, name: Option<Name>) {
        self.items += 1;
        self.newest = self.newest.max(entry.seq);
        self.bytes += u64::from(entry.len);
        if let Position::Chain(_) = entry.position {
            self.last = self.last.max(entry.seq);
            self.sum.add(&entry.id);
        }
        match name {
            Some(Name::Device(device)) => drop(self.devices.insert(device)),
            Some(Name::Space(space)) => drop(self.spaces.insert(space)),
            None => {}
        }
    }

    /// Of every space of a log that is no file: a test's.
    pub fn of_items<'a>(items: impl IntoIterator<Item = (Seq, &'a RawItem)>) -> Vec<Self> {
        let mut all = std::collections::BTreeMap::new();
        for (seq, item) in items {
            let space = item.header().space;
            let summary = all.entry(space).or_insert_with(|| Self::new(space));
            summary.add(&IndexEntry::of(seq, item), Name::of(item));
        }
        all.into_values().collect()
    }

    /// Whether these are the items that it counted.
    pub(crate) fn fits(&self, entries: &[IndexEntry]) -> bool {
        let mut counted = Self::new(self.space);
        entries.iter().for_each(|entry| counted.add(entry, None));
        (counted.items, counted.last, counted.newest, counted.bytes, counted.sum)
            == (self.items, self.last, self.newest, self.bytes, self.sum)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_uleb(self.items);
        out.put_uleb(self.last.0);
        out.put_uleb(self.newest.0);
        out.put_uleb(self.bytes);
        out.put_bytes(&self.sum.0.to_le_bytes());
        out.put_uleb(self.devices.len() as u64);
        self.devices.iter().for_each(|device| out.put_bytes(&device.0));
        out.put_uleb(self.spaces.len() as u64);
        self.spaces.iter().for_each(|space| out.put_bytes(&space.0));
        let checksum = checksum(&self.space, &out);
        out.extend_from_slice(&checksum);
        out
    }

    pub(crate) fn decode(space: SpaceId, bytes: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(checked(&space, bytes)?);
        let version = r.u8("summary version")?;
        if version != VERSION {
            return Err(InvalidMessage::Unknown { what: "summary version", value: u64::from(version) });
        }
        let items = r.uleb("items")?;
        let (last, newest) = (Seq(r.uleb("newest chained place")?), Seq(r.uleb("newest place")?));
        let bytes = r.uleb("bytes")?;
        let sum = SpaceSum(u128::from_le_bytes(r.array("checksum")?));
        let devices = r.count(NAMES_MAX, DeviceId::BYTES, "devices")?;
        let devices = (0..devices).map(|_| r.array("device").map(DeviceId)).collect::<Result<_, _>>()?;
        let spaces = r.count(NAMES_MAX, SpaceId::BYTES, "spaces")?;
        let spaces = (0..spaces).map(|_| r.array("space").map(SpaceId)).collect::<Result<_, _>>()?;
        r.finish("summary")?;
        Ok(Self { space, items, last, newest, bytes, sum, devices, spaces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_reads_back_and_no_damaged_one_is_believed() {
        let space = SpaceId([3; 16]);
        let full = Summary {
            items: 70_000,
            last: Seq(1 << 40),
            newest: Seq((1 << 40) + 9),
            bytes: 1 << 33,
            sum: SpaceSum(u128::MAX - 5),
            devices: (0..30).map(|i| DeviceId([i; 16])).collect(),
            spaces: (0..4).map(|i| SpaceId([i; 16])).collect(),
            ..Summary::new(space)
        };
        // An operator may let a branch have a charter of any size.
        let large = (0..100_000u32).map(|i| {
            let mut id = [9; 16];
            id[..4].copy_from_slice(&i.to_le_bytes());
            DeviceId(id)
        });
        let large = Summary { devices: large.collect(), ..full.clone() };
        assert_eq!(Summary::decode(space, &large.encode()).unwrap(), large);
        for summary in [Summary::new(space), full] {
            let bytes = summary.encode();
            assert_eq!(Summary::decode(space, &bytes).unwrap(), summary);
            assert!(Summary::decode(SpaceId([4; 16]), &bytes).is_err(), "of another space");
            for n in 0..bytes.len() {
                assert!(Summary::decode(space, &bytes[..n]).is_err(), "cut at {n}");
                let mut flipped = bytes.clone();
                flipped[n] ^= 1 << (n % 8);
                assert!(Summary::decode(space, &flipped).is_err(), "flipped at {n}");
            }
        }
    }
}
