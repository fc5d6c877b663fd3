//! What the hub needs to know of every item without its payload, and the blocks in which it is kept.
//!
//! A block covers [`BLOCK_ITEMS`] consecutive places (the last one maybe fewer) and can always be made again
//! from the items, so a block that does not decode is dropped, not an error.
//!
//! ```text
//! u8 version = 1 ‖ uleb first place ‖ uleb count
//! ‖ list of spaces (16 each) ‖ list of documents (16) ‖ list of authors (16 + 8) ‖ list of covered epochs (8)
//! ‖ count × (u8 kind ‖ uleb space ‖ uleb document ‖ uleb author
//!            ‖ (uleb n, or uleb epoch ‖ uleb covered seq for a snapshot) ‖ id (32) ‖ uleb length)
//! ‖ first 8 bytes of SHA-256 of everything before
//! ```

use std::collections::BTreeMap;

use dinh_proto::codec::{Reader, Write};
use dinh_proto::error::InvalidMessage;
use dinh_proto::ids::{Author, Cursor, DeviceId, DocId, ItemId, LogEpoch, Seq, SessionId, SpaceId};
use dinh_proto::item::{ITEM_OVERHEAD_BYTES, Kind, Place, RawItem};
use dinh_proto::limits::ITEM_PAYLOAD_BYTES_MAX;
use sha2::{Digest, Sha256};

/// Places that one block covers.
pub const BLOCK_ITEMS: u64 = 1_024;

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;
/// Kind, four references or numbers, id and length: no entry is shorter.
const ENTRY_BYTES_MIN: usize = 1 + 4 + 32 + 1;

/// Where an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The author's `n`th item in the space.
    Chain(u32),
    /// A snapshot that holds the document up to this cursor.
    Covers(Cursor),
}

/// One item of the log without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its place in the log.
    pub seq: Seq,
    /// Its id.
    pub id: ItemId,
    /// What it carries.
    pub kind: Kind,
    /// Its audience.
    pub space: SpaceId,
    /// Its document; zero for a charter record.
    pub doc: DocId,
    /// Who signed it.
    pub author: Author,
    /// Its place in its author's chain, or what it covers.
    pub position: Position,
    /// Bytes of the whole item.
    pub len: u32,
}

impl IndexEntry {
    /// The entry of an item that is stored at `seq`.
    pub fn of(seq: Seq, item: &RawItem) -> Self {
        let header = item.header();
        Self {
            seq,
            id: item.id(),
            kind: header.kind,
            space: header.space,
            doc: header.doc,
            author: header.author,
            position: match header.place {
                Place::Chain { n, .. } => Position::Chain(n),
                Place::Covers(cursor) => Position::Covers(cursor),
            },
            len: (ITEM_OVERHEAD_BYTES as u32) + header.payload_len,
        }
    }
}

/// Encodes consecutive entries. The first must begin a block: see [`block_of`].
pub(crate) fn encode_block(entries: &[IndexEntry]) -> Vec<u8> {
    let first = entries.first().map_or(0, |e| e.seq.0);
    let (mut spaces, mut docs) = (Dictionary::default(), Dictionary::default());
    let (mut authors, mut epochs) = (Dictionary::default(), Dictionary::default());
    let mut body = Vec::with_capacity(entries.len() * 44);
    for entry in entries {
        body.put_u8(kind_to_byte(entry.kind));
        body.put_uleb(spaces.add(entry.space.0));
        body.put_uleb(docs.add(entry.doc.0));
        body.put_uleb(authors.add((entry.author.device.0, entry.author.session.0)));
        match entry.position {
            Position::Chain(n) => body.put_uleb(u64::from(n)),
            Position::Covers(cursor) => {
                body.put_uleb(epochs.add(cursor.epoch.0));
                body.put_uleb(cursor.seq.0);
            }
        }
        body.put_bytes(&entry.id.0);
        body.put_uleb(u64::from(entry.len));
    }
    let mut out = vec![VERSION];
    out.put_uleb(first);
    out.put_uleb(entries.len() as u64);
    spaces.write(&mut out, |out, space| out.put_bytes(space));
    docs.write(&mut out, |out, doc| out.put_bytes(doc));
    authors.write(&mut out, |out, (device, session)| {
        out.put_bytes(device);
        out.put_bytes(session);
    });
    epochs.write(&mut out, |out, epoch| out.put_bytes(epoch));
    out.extend_from_slice(&body);
    let checksum = checksum(&out);
    out.extend_from_slice(&checksum);
    out
}

/// Reads a block that must begin at `first`.
pub(crate) fn decode_block(first: Seq, bytes: &[u8]) -> Result<Vec<IndexEntry>, InvalidMessage> {
    let body_len = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(InvalidMessage::Truncated("index block"))?;
    let (covered, sum) = bytes.split_at(body_len);
    if checksum(covered) != sum {
        return Err(InvalidMessage::HashMismatch("index block"));
    }
    let mut r = Reader::new(covered);
    let version = r.u8("index block version")?;
    if version != VERSION {
        return Err(InvalidMessage::Unknown { what: "index block version", value: u64::from(version) });
    }
    if r.uleb("first place")? != first.0 {
        return Err(InvalidMessage::NotAllowed("first place"));
    }
    let count = r.count(BLOCK_ITEMS as usize, ENTRY_BYTES_MIN, "entries")?;
    let spaces = list(&mut r, SpaceId::BYTES, |r| r.array("space").map(SpaceId))?;
    let docs = list(&mut r, DocId::BYTES, |r| r.array("document").map(DocId))?;
    let authors = list(&mut r, DeviceId::BYTES + SessionId::BYTES, |r| {
        Ok(Author { device: DeviceId(r.array("device")?), session: SessionId(r.array("session")?) })
    })?;
    let epochs = list(&mut r, LogEpoch::BYTES, |r| r.array("covered epoch").map(LogEpoch))?;
    let mut entries = Vec::with_capacity(count);
    for seq in (first.0..).take(count) {
        let kind = kind_from_byte(r.u8("kind")?)?;
        let space = named(&mut r, &spaces, "space")?;
        let doc = named(&mut r, &docs, "document")?;
        let author = named(&mut r, &authors, "author")?;
        let position = if kind == Kind::Snapshot {
            let epoch = named(&mut r, &epochs, "covered epoch")?;
            Position::Covers(Cursor { epoch, seq: Seq(r.uleb("covered seq")?) })
        } else {
            Position::Chain(r.uleb_max(u64::from(u32::MAX), "n")? as u32)
        };
        let id = ItemId(r.array("item id")?);
        let len = r.uleb_max((ITEM_OVERHEAD_BYTES + ITEM_PAYLOAD_BYTES_MAX) as u64, "item length")? as u32;
        entries.push(IndexEntry { seq: Seq(seq), id, kind, space, doc, author, position, len });
    }
    r.finish("index block")?;
    Ok(entries)
}

/// The first place of the block that covers `seq`.
pub(crate) fn block_of(seq: Seq) -> Seq {
    Seq(seq.0.saturating_sub(1) / BLOCK_ITEMS * BLOCK_ITEMS + 1)
}

/// Values in the order of their first use.
#[derive(Debug)]
struct Dictionary<T> {
    order: Vec<T>,
    numbers: BTreeMap<T, u64>,
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self { order: Vec::new(), numbers: BTreeMap::new() }
    }
}

impl<T: Copy + Ord> Dictionary<T> {
    fn add(&mut self, value: T) -> u64 {
        *self.numbers.entry(value).or_insert_with(|| {
            self.order.push(value);
            self.order.len() as u64 - 1
        })
    }

    fn write(&self, out: &mut Vec<u8>, each: impl Fn(&mut Vec<u8>, &T)) {
        out.put_uleb(self.order.len() as u64);
        self.order.iter().for_each(|value| each(out, value));
    }
}

fn list<T>(
    r: &mut Reader<'_>,
    each_bytes: usize,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, InvalidMessage>,
) -> Result<Vec<T>, InvalidMessage> {
    let n = r.count(BLOCK_ITEMS as usize, each_bytes, "dictionary")?;
    (0..n).map(|_| read(r)).collect()
}

fn named<T: Copy>(r: &mut Reader<'_>, from: &[T], what: &'static str) -> Result<T, InvalidMessage> {
    let i = r.uleb_max(BLOCK_ITEMS, what)? as usize;
    from.get(i).copied().ok_or(InvalidMessage::NotAllowed(what))
}

fn kind_to_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Run => 1,
        Kind::Snapshot => 2,
        Kind::Charter => 3,
    }
}

fn kind_from_byte(byte: u8) -> Result<Kind, InvalidMessage> {
    match byte {
        1 => Ok(Kind::Run),
        2 => Ok(Kind::Snapshot),
        3 => Ok(Kind::Charter),
        _ => Err(InvalidMessage::Unknown { what: "item kind", value: u64::from(byte) }),
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = Sha256::digest(bytes);
    hash[..CHECKSUM_BYTES].try_into().expect("a SHA-256 is longer than the checksum")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(first: u64, n: u64) -> Vec<IndexEntry> {
        (first..first + n)
            .map(|i| {
                let snapshot = i % 7 == 3;
                let epoch = LogEpoch([(i % 2) as u8; 8]);
                IndexEntry {
                    seq: Seq(i),
                    id: ItemId([i as u8; 32]),
                    kind: if snapshot { Kind::Snapshot } else { Kind::Run },
                    space: SpaceId([(i % 3) as u8; 16]),
                    doc: DocId([(i % 5) as u8 + 1; 16]),
                    author: Author { device: DeviceId([(i % 11) as u8; 16]), session: SessionId([1; 8]) },
                    position: if snapshot {
                        Position::Covers(Cursor { epoch, seq: Seq(i * 1_000) })
                    } else {
                        Position::Chain(i as u32 * 900)
                    },
                    len: 218 + i as u32 * 37,
                }
            })
            .collect()
    }

    #[test]
    fn a_block_reads_back_and_is_small() {
        for (first, n) in [(1, 1), (1, 1_024), (1_025, 300)] {
            let all = entries(first, n);
            let bytes = encode_block(&all);
            assert_eq!(decode_block(Seq(first), &bytes).unwrap(), all);
            assert!(bytes.len() < 600 + 46 * n as usize, "{} bytes for {n} items", bytes.len());
        }
    }

    #[test]
    fn no_damaged_block_is_believed() {
        let bytes = encode_block(&entries(1, 40));
        for n in 0..bytes.len() {
            assert!(decode_block(Seq(1), &bytes[..n]).is_err(), "cut at {n}");
            let mut flipped = bytes.clone();
            flipped[n] ^= 1 << (n % 8);
            assert!(decode_block(Seq(1), &flipped).is_err(), "flipped at {n}");
            // Damage under a checksum that fits must not panic or reserve memory, whatever it says.
            let body = flipped.len() - CHECKSUM_BYTES;
            let fitting = checksum(&flipped[..body]);
            flipped[body..].copy_from_slice(&fitting);
            let _ = decode_block(Seq(1), &flipped);
        }
        assert!(decode_block(Seq(1_025), &bytes).is_err());
    }

    #[test]
    fn blocks_begin_at_fixed_places() {
        let places = [1, 1_024, 1_025, 2_048, 2_049].map(|s| block_of(Seq(s)).0);
        assert_eq!(places, [1, 1, 1_025, 1_025, 2_049]);
    }
}
