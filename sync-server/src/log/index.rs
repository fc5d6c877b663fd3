//! What the hub needs to know of every item without its payload, and the rows in which it is kept, space by space.
//!
//! A row holds consecutive items of one space, and can always be made again from the items.
//!
//! ```text
//! u8 version = 2 ‖ uleb count ‖ list of documents (16) ‖ list of authors (16 + 8) ‖ list of covered epochs (8)
//! ‖ count × (uleb places since the item before (the first: its place) ‖ u8 kind ‖ uleb document ‖ uleb author
//!            ‖ (uleb n, or uleb epoch ‖ uleb covered seq for a snapshot) ‖ id (32) ‖ uleb length)
//! ‖ first 8 bytes of SHA-256 of the space and everything before
//! ```

use std::collections::BTreeMap;

use dinh_proto::codec::{Reader, Write};
use dinh_proto::error::InvalidMessage;
use dinh_proto::ids::{Author, Cursor, DeviceId, DocId, ItemId, LogEpoch, Seq, SessionId, SpaceId};
use dinh_proto::item::{ITEM_OVERHEAD_BYTES, Kind, Place, RawItem};
use dinh_proto::limits::ITEM_PAYLOAD_BYTES_MAX;
use sha2::{Digest, Sha256};

/// Items in one row.
pub(crate) const ROW_ITEMS_MAX: usize = 1_024;

const VERSION: u8 = 2;
const CHECKSUM_BYTES: usize = 8;
/// Place, kind, two references, a number, id and length: no entry is shorter.
const ENTRY_BYTES_MIN: usize = 1 + 1 + 3 + 32 + 1;

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

impl IndexEntry {
    /// A hash of all that it says. Of entries that are to be compared in any order these are added up.
    pub(crate) fn digest(&self) -> u128 {
        let mut hash = Sha256::new_with_prefix(self.seq.0.to_le_bytes());
        hash.update(self.id.0);
        hash.update([kind_to_byte(self.kind)]);
        hash.update(self.space.0);
        hash.update(self.doc.0);
        hash.update(self.author.device.0);
        hash.update(self.author.session.0);
        match self.position {
            Position::Chain(n) => hash.update(n.to_le_bytes()),
            Position::Covers(cursor) => {
                hash.update(cursor.epoch.0);
                hash.update(cursor.seq.0.to_le_bytes());
            }
        }
        hash.update(self.len.to_le_bytes());
        u128::from_le_bytes(*hash.finalize().first_chunk().expect("a SHA-256 has 32 bytes"))
    }
}

/// Encodes items of one space, in order.
pub(crate) fn encode_row(entries: &[IndexEntry]) -> Vec<u8> {
    let space = entries.first().map_or(SpaceId::default(), |e| e.space);
    let (mut docs, mut authors, mut epochs) =
        (Dictionary::default(), Dictionary::default(), Dictionary::default());
    let mut body = Vec::with_capacity(entries.len() * 44);
    let mut before = 0;
    for entry in entries {
        body.put_uleb(entry.seq.0 - before);
        before = entry.seq.0;
        body.put_u8(kind_to_byte(entry.kind));
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
    out.put_uleb(entries.len() as u64);
    docs.write(&mut out, |out, doc| out.put_bytes(doc));
    authors.write(&mut out, |out, (device, session)| {
        out.put_bytes(device);
        out.put_bytes(session);
    });
    epochs.write(&mut out, |out, epoch| out.put_bytes(epoch));
    out.extend_from_slice(&body);
    let checksum = checksum(&space, &out);
    out.extend_from_slice(&checksum);
    out
}

/// Reads a row of `space` that must begin at `first`.
pub(crate) fn decode_row(
    space: SpaceId,
    first: Seq,
    bytes: &[u8],
) -> Result<Vec<IndexEntry>, InvalidMessage> {
    let mut r = Reader::new(checked(&space, bytes)?);
    let version = r.u8("index row version")?;
    if version != VERSION {
        return Err(InvalidMessage::Unknown { what: "index row version", value: u64::from(version) });
    }
    let count = r.count(ROW_ITEMS_MAX, ENTRY_BYTES_MIN, "entries")?;
    let docs = list(&mut r, DocId::BYTES, |r| r.array("document").map(DocId))?;
    let authors = list(&mut r, DeviceId::BYTES + SessionId::BYTES, |r| {
        Ok(Author { device: DeviceId(r.array("device")?), session: SessionId(r.array("session")?) })
    })?;
    let epochs = list(&mut r, LogEpoch::BYTES, |r| r.array("covered epoch").map(LogEpoch))?;
    let mut entries = Vec::with_capacity(count);
    let mut before = 0u64;
    for _ in 0..count {
        let step = r.uleb("place")?;
        let seq = before.checked_add(step).filter(|_| step > 0).ok_or(InvalidMessage::NotAllowed("place"))?;
        before = seq;
        let kind = kind_from_byte(r.u8("kind")?)?;
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
    r.finish("index row")?;
    if entries.first().is_none_or(|e| e.seq != first) {
        return Err(InvalidMessage::NotAllowed("first place"));
    }
    Ok(entries)
}

/// What the checksum at the end of a row of `space` covers, if it fits.
pub(super) fn checked<'a>(space: &SpaceId, bytes: &'a [u8]) -> Result<&'a [u8], InvalidMessage> {
    let body_len = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(InvalidMessage::Truncated("index row"))?;
    let (covered, sum) = bytes.split_at(body_len);
    if checksum(space, covered) == sum { Ok(covered) } else { Err(InvalidMessage::HashMismatch("index row")) }
}

/// The checksum of a row of `space`.
pub(super) fn checksum(space: &SpaceId, bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = Sha256::new_with_prefix(space.0).chain_update(bytes).finalize();
    hash[..CHECKSUM_BYTES].try_into().expect("a SHA-256 is longer than the checksum")
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
    let n = r.count(ROW_ITEMS_MAX, each_bytes, "dictionary")?;
    (0..n).map(|_| read(r)).collect()
}

fn named<T: Copy>(r: &mut Reader<'_>, from: &[T], what: &'static str) -> Result<T, InvalidMessage> {
    let i = r.uleb_max(ROW_ITEMS_MAX as u64, what)? as usize;
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

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: SpaceId = SpaceId([7; 16]);

    fn entries(first: u64, n: u64) -> Vec<IndexEntry> {
        (first..first + n)
            .map(|i| {
                let snapshot = i % 7 == 3;
                let epoch = LogEpoch([(i % 2) as u8; 8]);
                IndexEntry {
                    seq: Seq(i * i),
                    id: ItemId([i as u8; 32]),
                    kind: if snapshot { Kind::Snapshot } else { Kind::Run },
                    space: SPACE,
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
    fn a_row_reads_back_and_is_small() {
        for (first, n) in [(1, 1), (1, 1_024), (1_025, 300)] {
            let all = entries(first, n);
            let bytes = encode_row(&all);
            assert_eq!(decode_row(SPACE, all[0].seq, &bytes).unwrap(), all);
            assert!(bytes.len() < 600 + 46 * n as usize, "{} bytes for {n} items", bytes.len());
        }
    }

    #[test]
    fn no_damaged_row_is_believed() {
        let all = entries(1, 40);
        let bytes = encode_row(&all);
        for n in 0..bytes.len() {
            assert!(decode_row(SPACE, Seq(1), &bytes[..n]).is_err(), "cut at {n}");
            let mut flipped = bytes.clone();
            flipped[n] ^= 1 << (n % 8);
            assert!(decode_row(SPACE, Seq(1), &flipped).is_err(), "flipped at {n}");
            // Damage under a checksum that fits must not panic or reserve memory, whatever it says.
            let body = flipped.len() - CHECKSUM_BYTES;
            let fitting = checksum(&SPACE, &flipped[..body]);
            flipped[body..].copy_from_slice(&fitting);
            let _ = decode_row(SPACE, Seq(1), &flipped);
        }
        assert!(decode_row(SPACE, Seq(2), &bytes).is_err(), "of another place");
        assert!(decode_row(SpaceId([8; 16]), Seq(1), &bytes).is_err(), "of another space");
    }
}
