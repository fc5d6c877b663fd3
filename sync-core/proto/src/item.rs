//! Items: the immutable, signed unit of replication.
//!
//! An item is `header (154) ‖ signature (64) ‖ payload`. Its id is the hash of its header, and the header holds
//! the hash of the payload, so one signature over the id covers all of it. The received bytes are what is
//! hashed, stored and forwarded; nobody encodes an item again.
//!
//! ```text
//! off size field
//!   0    1 version = 1
//!   1    1 kind: 1 run, 2 snapshot, 3 charter record
//!   2    1 codec: 0 plain bytes, 1 pack, 2 snapshot body
//!   3    1 zero
//!   4   16 space
//!  20   16 document (zero in a charter record)
//!  36   16 author's device
//!  52    8 author's session
//!  60    4 n: the author's counter in this space, from 1 (0 in a snapshot)
//!  64   16 link: first half of the id of the author's item n-1 (zero if n = 1);
//!          in a snapshot the log epoch (8) and Seq (8) up to which it covers the document
//!  80    4 first_seq: Automerge seq of the run's first change (zero if not a run)
//!  84    2 count: changes in the run (zero if not a run)
//!  86   16 commitment to the hash of the run's last change, or of the snapshot's body (zero in a charter record)
//! 102    8 charter tag
//! 110    8 key epoch: first half of its id (zero in a charter record, which is not encrypted)
//! 118    4 payload length
//! 122   32 SHA-256 of the payload
//! 154   64 Ed25519 signature by the device over "dinh/itm1\0" ‖ SHA-256("dinh/hdr1\0" ‖ header)
//! 218    … payload
//! ```

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::codec::{Reader, Write};
use crate::crypto::{SEALED_HEADER_BYTES, SpaceKey, sealed_len};
use crate::error::{InvalidMessage, RejectCode};
use crate::ids::{
    ActorId, Author, ChainId, ChangeHash, CharterTag, Cursor, DeviceId, DocId, ItemId, KeyEpoch, LogEpoch,
    Seq, SessionId, SpaceId, hash32,
};
use crate::keys::{DeviceKey, DevicePublic};
use crate::limits;

/// Length of a header.
pub const HEADER_BYTES: usize = 154;
/// Header and signature.
pub const ITEM_OVERHEAD_BYTES: usize = HEADER_BYTES + 64;

const VERSION: u8 = 1;
const SIGN_DOMAIN: &[u8] = b"dinh/itm1\0";
const ID_DOMAIN: &[u8] = b"dinh/hdr1\0";

/// What an item carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Consecutive changes of one device to one document, as a pack.
    Run,
    /// A whole document up to a place in the log. An accelerator: it is in no chain and in no checksum.
    Snapshot,
    /// A record of the branch's charter; its space is the branch.
    Charter,
}

impl Kind {
    fn to_wire(self) -> (u8, u8) {
        match self {
            Self::Run => (1, 1),
            Self::Snapshot => (2, 2),
            Self::Charter => (3, 0),
        }
    }

    fn from_wire(kind: u8, codec: u8) -> Result<Self, InvalidMessage> {
        let found = match kind {
            1 => Self::Run,
            2 => Self::Snapshot,
            3 => Self::Charter,
            _ => return Err(InvalidMessage::Unknown { what: "item kind", value: u64::from(kind) }),
        };
        if codec == found.to_wire().1 {
            Ok(found)
        } else {
            Err(InvalidMessage::Unknown { what: "item codec", value: u64::from(codec) })
        }
    }
}

/// An item's place: in its author's chain, or beside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The author's `n`th item in this space, after the one that `prev` names.
    Chain {
        /// From 1.
        n: u32,
        /// [`ItemId::link`] of item `n - 1`, zero if `n` is 1.
        prev: [u8; 16],
    },
    /// A snapshot: all of the document's items up to this cursor are in it.
    Covers(Cursor),
}

/// The header's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// The audience.
    pub space: SpaceId,
    /// The document; zero in a charter record.
    pub doc: DocId,
    /// Who signed.
    pub author: Author,
    /// Where it stands.
    pub place: Place,
    /// Automerge sequence number of the run's first change; zero if not a run.
    pub first_seq: u32,
    /// Number of changes; zero if not a run.
    pub count: u16,
    /// [`SpaceKey::commitment`] to the hash of the run's last change, or to the SHA-256 of the snapshot's plain body; zero in a
    /// charter record.
    pub commitment: [u8; 16],
    /// The charter that the author knew.
    pub charter_tag: CharterTag,
    /// The key that the payload is encrypted under; zero in a charter record, which is not encrypted.
    pub key_epoch: KeyEpoch,
    /// Length of the payload, bytes.
    pub payload_len: u32,
    /// SHA-256 of the payload.
    pub payload_hash: [u8; 32],
}

impl Header {
    /// The chain that the item belongs to.
    pub fn chain(&self) -> ChainId {
        ChainId { space: self.space, author: self.author }
    }

    /// The author's counter, or `None` for a snapshot.
    pub fn n(&self) -> Option<u32> {
        match self.place {
            Place::Chain { n, .. } => Some(n),
            Place::Covers(_) => None,
        }
    }

    /// The Automerge actor that a run's changes must have.
    pub fn actor(&self) -> ActorId {
        ActorId::derive(&self.doc, &self.author.device, &self.author.session)
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        let (kind, codec) = self.kind.to_wire();
        out.put_bytes(&[VERSION, kind, codec, 0]);
        out.put_bytes(&self.space.0);
        out.put_bytes(&self.doc.0);
        out.put_bytes(&self.author.device.0);
        out.put_bytes(&self.author.session.0);
        match self.place {
            Place::Chain { n, prev } => {
                out.put_u32(n);
                out.put_bytes(&prev);
            }
            Place::Covers(cursor) => {
                out.put_u32(0);
                out.put_bytes(&cursor.epoch.0);
                out.put_u64(cursor.seq.0);
            }
        }
        out.put_u32(self.first_seq);
        out.put_u16(self.count);
        out.put_bytes(&self.commitment);
        out.put_bytes(&self.charter_tag.0);
        out.put_bytes(&self.key_epoch.0);
        out.put_u32(self.payload_len);
        out.put_bytes(&self.payload_hash);
        out.try_into().expect("the fields add up to HEADER_BYTES")
    }

    /// Reads a header and checks that every field may stand beside the others.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(bytes);
        let version = r.u8("item version")?;
        if version != VERSION {
            return Err(InvalidMessage::Unknown { what: "item version", value: u64::from(version) });
        }
        let (kind, codec) = (r.u8("item kind")?, r.u8("item codec")?);
        let kind = Kind::from_wire(kind, codec)?;
        if r.u8("reserved byte")? != 0 {
            return Err(InvalidMessage::NotAllowed("reserved byte"));
        }
        let space = SpaceId(r.array("space")?);
        let doc = DocId(r.array("document")?);
        let author = Author { device: DeviceId(r.array("device")?), session: SessionId(r.array("session")?) };
        let n = r.u32("n")?;
        let link: [u8; 16] = r.array("link")?;
        let place = if kind == Kind::Snapshot {
            let mut l = Reader::new(&link);
            let cursor =
                Cursor { epoch: LogEpoch(l.array("covered epoch")?), seq: Seq(l.u64("covered seq")?) };
            if n != 0 {
                return Err(InvalidMessage::NotAllowed("n of a snapshot"));
            }
            Place::Covers(cursor)
        } else {
            if n == 0 || (n == 1) != (link == [0; 16]) {
                return Err(InvalidMessage::NotAllowed("n and link"));
            }
            Place::Chain { n, prev: link }
        };
        let header = Self {
            kind,
            space,
            doc,
            author,
            place,
            first_seq: r.u32("first seq")?,
            count: r.u16("count")?,
            commitment: r.array("commitment")?,
            charter_tag: CharterTag(r.array("charter tag")?),
            key_epoch: KeyEpoch(r.array("key epoch")?),
            payload_len: r.u32("payload length")?,
            payload_hash: r.array("payload hash")?,
        };
        r.finish("item header")?;
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), InvalidMessage> {
        if self.payload_len as usize > limits::ITEM_PAYLOAD_BYTES_MAX {
            let limit = limits::ITEM_PAYLOAD_BYTES_MAX as u64;
            return Err(InvalidMessage::TooLarge { what: "item payload", limit });
        }
        if usize::from(self.count) > limits::RUN_CHANGES_MAX {
            let limit = limits::RUN_CHANGES_MAX as u64;
            return Err(InvalidMessage::TooLarge { what: "changes in a run", limit });
        }
        let run = self.kind == Kind::Run;
        let has_run_fields = self.first_seq > 0 && self.count > 0;
        let lacks_run_fields = self.first_seq == 0 && self.count == 0;
        if if run { !has_run_fields } else { !lacks_run_fields } {
            return Err(InvalidMessage::NotAllowed("first seq and count"));
        }
        if (self.kind == Kind::Charter) != (self.commitment == [0; 16]) {
            return Err(InvalidMessage::NotAllowed("commitment"));
        }
        if (self.kind == Kind::Charter) != (self.key_epoch == KeyEpoch::default()) {
            return Err(InvalidMessage::NotAllowed("key epoch"));
        }
        if run && self.first_seq.checked_add(u32::from(self.count)).is_none() {
            return Err(InvalidMessage::NotAllowed("first seq"));
        }
        if (self.kind == Kind::Charter) != (self.doc == DocId::default()) {
            return Err(InvalidMessage::NotAllowed("document"));
        }
        if self.kind == Kind::Charter && self.payload_len as usize > limits::CHARTER_RECORD_BYTES_MAX {
            let limit = limits::CHARTER_RECORD_BYTES_MAX as u64;
            return Err(InvalidMessage::TooLarge { what: "charter record", limit });
        }
        Ok(())
    }
}

/// An item whose bytes are well formed and whose payload matches its header. Whether the author signed it is
/// not known yet: see [`RawItem::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawItem {
    header: Header,
    id: ItemId,
    bytes: Bytes,
}

impl RawItem {
    /// Checks everything that needs no key. `bytes` must hold exactly one item.
    pub fn parse(bytes: Bytes) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(&bytes);
        let head = r.bytes(HEADER_BYTES, "item header")?;
        let header = Header::decode(head)?;
        r.bytes(64, "item signature")?;
        let payload = r.bytes(header.payload_len as usize, "item payload")?;
        if Sha256::digest(payload)[..] != header.payload_hash {
            return Err(InvalidMessage::HashMismatch("item payload"));
        }
        r.finish("item")?;
        let id = ItemId(hash32(ID_DOMAIN, &[head]));
        Ok(Self { header, id, bytes })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The id.
    pub fn id(&self) -> ItemId {
        self.id
    }

    /// The bytes as they were received.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The payload; do not act on it before [`RawItem::verify`].
    pub fn payload(&self) -> &[u8] {
        &self.bytes[ITEM_OVERHEAD_BYTES..]
    }

    /// Checks that `key` is the author's and that it signed this item.
    pub fn verify(self, key: &DevicePublic) -> Result<Item, RejectCode> {
        let signature: &[u8; 64] =
            self.bytes[HEADER_BYTES..ITEM_OVERHEAD_BYTES].try_into().expect("the slice is 64 bytes");
        let author_has_key = key.id() == self.header.author.device;
        if author_has_key && key.verify(SIGN_DOMAIN, &self.id.0, signature) {
            Ok(Item(self))
        } else {
            Err(RejectCode::BadSignature)
        }
    }

    /// For bytes that this process verified before it stored them.
    pub fn trust(self) -> Item {
        Item(self)
    }
}

/// An item whose author's signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item(RawItem);

impl Item {
    /// The header.
    pub fn header(&self) -> &Header {
        &self.0.header
    }

    /// The id.
    pub fn id(&self) -> ItemId {
        self.0.id
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.0.payload()
    }

    /// The item without the fact that it was verified.
    pub fn as_raw(&self) -> &RawItem {
        &self.0
    }

    /// The bytes as they were received or made: what is stored and forwarded.
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }
}

/// The header and signature of an item without its payload: enough to prove what its author signed. A snapshot
/// carries one for each author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHeader {
    header: Header,
    id: ItemId,
}

impl SignedHeader {
    /// Reads and verifies 218 bytes. `key_of` finds the author's key.
    pub fn verify(
        bytes: &[u8],
        key_of: impl FnOnce(&DeviceId) -> Option<DevicePublic>,
    ) -> Result<Self, RejectCode> {
        let (head, signature) = bytes.split_at_checked(HEADER_BYTES).ok_or(RejectCode::Malformed)?;
        let signature: &[u8; 64] = signature.try_into().map_err(|_| RejectCode::Malformed)?;
        let header = Header::decode(head).map_err(|_| RejectCode::Malformed)?;
        let key = key_of(&header.author.device).ok_or(RejectCode::UnknownAuthor)?;
        let id = ItemId(hash32(ID_DOMAIN, &[head]));
        if key.id() == header.author.device && key.verify(SIGN_DOMAIN, &id.0, signature) {
            Ok(Self { header, id })
        } else {
            Err(RejectCode::BadSignature)
        }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The item's id.
    pub fn id(&self) -> ItemId {
        self.id
    }
}

/// What an author fills in; [`Draft::seal`] makes the item, or [`Draft::sign`] if it is a charter record.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What the payload is.
    pub kind: Kind,
    /// The audience.
    pub space: SpaceId,
    /// The document; zero in a charter record.
    pub doc: DocId,
    /// The author's session.
    pub session: SessionId,
    /// Where it stands.
    pub place: Place,
    /// See [`Header::first_seq`].
    pub first_seq: u32,
    /// See [`Header::count`].
    pub count: u16,
    /// Hash of the run's last change; zero if not a run.
    pub last: ChangeHash,
    /// See [`Header::charter_tag`].
    pub charter_tag: CharterTag,
}

impl Draft {
    /// Signs and encodes a charter record, which is not encrypted. Fails if a field may not stand beside another, or a size
    /// is over its limit.
    pub fn sign(self, key: &DeviceKey, payload: &[u8]) -> Result<Item, InvalidMessage> {
        let header = self.header(key, [0; 16], KeyEpoch::default(), payload.len())?;
        Ok(finish(key, header, payload))
    }

    /// Encrypts, signs and encodes a run or a snapshot. `padded` is what the space's record says. The same draft, keys and
    /// plain bytes give the same item. Fails if a field may not stand beside another, or `plain` is over
    /// [`plain_bytes_max`](crate::crypto::plain_bytes_max).
    pub fn seal(
        self,
        key: &DeviceKey,
        space_key: &SpaceKey,
        padded: bool,
        plain: &[u8],
    ) -> Result<Item, InvalidMessage> {
        let content =
            if self.kind == Kind::Snapshot { ChangeHash(Sha256::digest(plain).into()) } else { self.last };
        let len = sealed_len(plain.len(), padded);
        let header = self.header(key, space_key.commitment(&content), space_key.hint(), len)?;
        let head = header.encode();
        let sealed_to = head.first_chunk::<SEALED_HEADER_BYTES>().expect("the beginning of a header");
        let payload = space_key.seal_payload(sealed_to, padded, plain);
        Ok(finish(key, header, &payload))
    }

    /// The header without the payload's hash.
    fn header(
        self,
        key: &DeviceKey,
        commitment: [u8; 16],
        key_epoch: KeyEpoch,
        payload_len: usize,
    ) -> Result<Header, InvalidMessage> {
        if (self.kind == Kind::Run) == (self.last == ChangeHash::default()) {
            return Err(InvalidMessage::NotAllowed("hash of the last change"));
        }
        let header = Header {
            kind: self.kind,
            space: self.space,
            doc: self.doc,
            author: Author { device: key.public().id(), session: self.session },
            place: self.place,
            first_seq: self.first_seq,
            count: self.count,
            commitment,
            charter_tag: self.charter_tag,
            key_epoch,
            payload_len: u32::try_from(payload_len).unwrap_or(u32::MAX),
            payload_hash: [0; 32],
        };
        header.check()?;
        Ok(header)
    }
}

fn finish(key: &DeviceKey, header: Header, payload: &[u8]) -> Item {
    let header = Header { payload_hash: Sha256::digest(payload).into(), ..header };
    let head = header.encode();
    let id = ItemId(hash32(ID_DOMAIN, &[&head]));
    let signature = key.sign(SIGN_DOMAIN, &id.0);
    let bytes = Bytes::from([&head[..], &signature, payload].concat());
    Item(RawItem { header, id, bytes })
}

/// A commutative checksum of a set of items: the sum of the first halves of their ids. It finds mistakes and
/// omissions; it is no proof against a relay that chooses ids, which signatures and chains are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpaceSum(pub u128);

impl SpaceSum {
    /// Adds an item.
    pub fn add(&mut self, id: &ItemId) {
        self.0 = self.0.wrapping_add(u128::from_le_bytes(id.link()));
    }

    /// Takes an item out.
    pub fn remove(&mut self, id: &ItemId) {
        self.0 = self.0.wrapping_sub(u128::from_le_bytes(id.link()));
    }
}

#[cfg(test)]
mod tests;
