//! The Automerge change chunk (type 1): reading its head and writing it back.
//!
//! ```text
//! 85 6f 4a 83 ‖ checksum(4) ‖ 01 ‖ uleb length ‖ contents
//! contents = n ‖ n × dep(32) ‖ len ‖ actor ‖ seq ‖ start op ‖ time (signed) ‖ len ‖ message
//!          ‖ n ‖ n × [len ‖ actor] ‖ tail
//! tail     = n ‖ n × [column ‖ len] ‖ column data in that order ‖ extra bytes
//! ```
//!
//! The hash is SHA-256 over `01 ‖ uleb length ‖ contents`; the checksum is its first four bytes.

use sha2::{Digest, Sha256};

use super::PackError;
use super::bytes::{Reader, put_prefixed, put_sleb, put_uleb};

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHANGE: u8 = 1;

/// The head of one uncompressed Automerge change chunk, borrowed from its bytes.
///
/// Parsing proves the chunk's form: magic, type, length, checksum, minimal numbers, no byte left
/// over. It does not look into the tail (columns and extra bytes), nor ask whether the message is
/// UTF-8 or the dependencies are sorted: the gate does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawChange<'a> {
    /// SHA-256 over the chunk's type, length and contents: Automerge's change hash.
    pub hash: [u8; 32],
    /// The author's actor id.
    pub actor: &'a [u8],
    /// The change's number among its actor's changes, from 1 when honest.
    pub seq: u64,
    /// Counter of the first operation, at least 1.
    pub start_op: u64,
    /// Seconds since 1970 by the author's clock; not to be trusted.
    pub time: i64,
    /// The commit message; none when its length is zero.
    pub message: Option<&'a [u8]>,
    /// Hashes of the changes that this one builds on, in the chunk's order.
    pub deps: Vec<[u8; 32]>,
    /// Other actors that the operations mention, in the chunk's order.
    pub other_actors: Vec<&'a [u8]>,
    /// Everything after the other actors: column heads, column data, extra bytes.
    pub tail: &'a [u8],
}

impl<'a> RawChange<'a> {
    /// Parses one chunk that fills `bytes` exactly.
    ///
    /// # Errors
    ///
    /// Any [`PackError`] cause but the limits: the caller bounds `bytes`, and the work and memory
    /// here are at most proportional to them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PackError> {
        let frame = Frame::parse(bytes)?;
        let hash: [u8; 32] = Sha256::digest(frame.hashed).into();
        if hash[..4] != frame.checksum {
            return Err(PackError::BadChunk("checksum"));
        }
        Self::from_contents(frame.contents, hash)
    }

    /// Parses a chunk whose hash was computed when it was built.
    pub(super) fn parse_hashed(bytes: &'a [u8], hash: [u8; 32]) -> Result<Self, PackError> {
        Self::from_contents(Frame::parse(bytes)?.contents, hash)
    }

    fn from_contents(contents: &'a [u8], hash: [u8; 32]) -> Result<Self, PackError> {
        let mut reader = Reader::new(contents);
        let mut deps = Vec::new();
        for _ in 0..reader.uleb("dependency count")? {
            deps.push(reader.array("dependency")?);
        }
        let actor = reader.prefixed("actor")?;
        let seq = reader.uleb("seq")?;
        let start_op = reader.uleb("start op")?;
        if start_op == 0 {
            return Err(PackError::BadChunk("start op is zero"));
        }
        let time = reader.sleb("time")?;
        let message = reader.prefixed("message")?;
        let mut other_actors = Vec::new();
        for _ in 0..reader.uleb("other actor count")? {
            other_actors.push(reader.prefixed("other actor")?);
        }
        Ok(Self {
            hash,
            actor,
            seq,
            start_op,
            time,
            message: (!message.is_empty()).then_some(message),
            deps,
            other_actors,
            tail: reader.rest(),
        })
    }

    /// Appends the chunk's contents: the inverse of parsing.
    pub(super) fn write_contents(&self, out: &mut Vec<u8>) {
        put_uleb(out, self.deps.len() as u64);
        for dep in &self.deps {
            out.extend_from_slice(dep);
        }
        put_prefixed(out, self.actor);
        put_uleb(out, self.seq);
        put_uleb(out, self.start_op);
        put_sleb(out, self.time);
        put_prefixed(out, self.message.unwrap_or_default());
        put_uleb(out, self.other_actors.len() as u64);
        for actor in &self.other_actors {
            put_prefixed(out, actor);
        }
        out.extend_from_slice(self.tail);
    }
}

/// Wraps `contents` in a chunk and hashes it.
pub(super) fn seal(contents: &[u8]) -> (Vec<u8>, [u8; 32]) {
    let mut head = Vec::with_capacity(11);
    head.push(CHANGE);
    put_uleb(&mut head, contents.len() as u64);
    let hash: [u8; 32] = Sha256::new().chain_update(&head).chain_update(contents).finalize().into();
    let mut raw = Vec::with_capacity(chunk_length(contents.len()));
    raw.extend_from_slice(&MAGIC);
    raw.extend_from_slice(&hash[..4]);
    raw.extend_from_slice(&head);
    raw.extend_from_slice(contents);
    (raw, hash)
}

/// Length in bytes of the chunk around `contents` bytes.
pub(super) fn chunk_length(contents: usize) -> usize {
    let mut length = Vec::with_capacity(10);
    put_uleb(&mut length, contents as u64);
    (MAGIC.len() + 4 + 1 + length.len()).saturating_add(contents)
}

/// A chunk's outer layer.
struct Frame<'a> {
    checksum: [u8; 4],
    /// What the hash covers: type, length and contents.
    hashed: &'a [u8],
    contents: &'a [u8],
}

impl<'a> Frame<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, PackError> {
        let mut reader = Reader::new(bytes);
        if reader.array("magic")? != MAGIC {
            return Err(PackError::BadChunk("magic"));
        }
        let checksum = reader.array("checksum")?;
        let hashed = reader.clone().rest();
        if reader.byte("chunk type")? != CHANGE {
            return Err(PackError::BadChunk("not an uncompressed change"));
        }
        let contents = reader.prefixed("chunk contents")?;
        reader.end("chunk")?;
        Ok(Self { checksum, hashed, contents })
    }
}
