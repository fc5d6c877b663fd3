//! The one door through which foreign changes reach Automerge.
//!
//! Signature and authority were checked before ([`dinh_proto::item`], [`dinh_proto::charter`]). Here a run is
//! unpacked within bounds, every change's hash is recomputed, the last must be the one that the author signed,
//! and actor and counters must be the author's. Only then does Automerge parse it. A later version adds rules
//! about the operations themselves.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::Change;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{ActorId, ChangeHash, DeviceId};
use dinh_proto::item::{CLEAR_KEY, Header, Item, Kind, Place, SignedHeader, SpaceSum, commitment};
use dinh_proto::keys::DevicePublic;
use dinh_proto::limits;
use dinh_proto::pack::{
    PackContext, PackError, PackLimits, UnpackedChange, pack, pack_in, unpack, unpack_in,
};
use dinh_proto::ranges::Ranges;
use dinh_proto::{
    codec::{Reader, Write},
    error::InvalidMessage,
    ids::{Author, Cursor},
};
use thiserror::Error;

use crate::document::parse_change;

/// Why a run or snapshot is not let in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GateError {
    /// The pack is not well formed or over a limit.
    #[error("the pack is refused: {0}")]
    Pack(#[from] PackError),
    /// The snapshot's frame is not well formed.
    #[error("the snapshot is refused: {0}")]
    Invalid(#[from] InvalidMessage),
    /// The changes are not those that the header names.
    #[error("the changes do not match the signed header: {0}")]
    Mismatch(&'static str),
    /// A header inside a snapshot is not its author's.
    #[error("a header in the snapshot is refused: {0:?}")]
    Header(RejectCode),
    /// Automerge does not read the change.
    #[error("the change is not accepted by the document engine: {0}")]
    Engine(String),
}

/// A change that passed.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Its hash.
    pub hash: ChangeHash,
    /// Its actor.
    pub actor: ActorId,
    /// Its number.
    pub seq: u64,
    /// What must be in the document before it.
    pub deps: Vec<ChangeHash>,
    /// The change.
    pub change: Change,
}

/// Packs a device's own consecutive changes to one document. `before` is the hash of its change before them.
pub fn seal_run(
    actor: &ActorId,
    before: Option<&ChangeHash>,
    raw: &[impl AsRef<[u8]>],
) -> Result<Vec<u8>, PackError> {
    let hashes: Vec<[u8; 32]> = before.iter().map(|h| h.0).collect();
    pack_in(PackContext { actors: &[&actor.0], hashes: &hashes }, raw, &PackLimits::RUN)
}

/// Opens a run. `before` is the hash of the author's change before it, if it is not the first.
pub fn open_run(
    header: &Header,
    payload: &[u8],
    before: Option<&ChangeHash>,
) -> Result<Vec<Admitted>, GateError> {
    let actor = header.actor();
    let hashes: Vec<[u8; 32]> = before.iter().map(|h| h.0).collect();
    let context = PackContext { actors: &[&actor.0], hashes: &hashes };
    let changes = unpack_in(context, payload, &PackLimits::RUN)?;
    if changes.len() != usize::from(header.count) {
        return Err(GateError::Mismatch("count"));
    }
    check_chain(&changes.iter().collect::<Vec<_>>(), &actor, u64::from(header.first_seq), before)?;
    let last = changes.last().ok_or(GateError::Mismatch("count"))?;
    if commitment(&CLEAR_KEY, &ChangeHash(last.hash())) != header.commitment {
        return Err(GateError::Mismatch("hash of the last change"));
    }
    changes.into_iter().map(parse).collect()
}

/// The raw changes of one's own run, as they were packed.
pub fn open_own_run(
    header: &Header,
    payload: &[u8],
    before: Option<&ChangeHash>,
) -> Result<Vec<(ChangeHash, Vec<u8>)>, GateError> {
    let actor = header.actor();
    let hashes: Vec<[u8; 32]> = before.iter().map(|h| h.0).collect();
    let changes = unpack_in(PackContext { actors: &[&actor.0], hashes: &hashes }, payload, &PackLimits::RUN)?;
    Ok(changes.into_iter().map(|c| (ChangeHash(c.hash()), c.into_raw())).collect())
}

fn check_chain(
    changes: &[&UnpackedChange],
    actor: &ActorId,
    first_seq: u64,
    before: Option<&ChangeHash>,
) -> Result<(), GateError> {
    let mut previous = before.map(|h| h.0);
    for (change, seq) in changes.iter().zip(first_seq..) {
        if change.actor() != actor.0 {
            return Err(GateError::Mismatch("actor"));
        }
        if change.seq() != seq {
            return Err(GateError::Mismatch("change number"));
        }
        // Each change names its actor's one before: so the signature over the last hash covers all of them.
        if (seq > 1) != previous.is_some() || previous.is_some_and(|p| !change.deps().contains(&p)) {
            return Err(GateError::Mismatch("previous change"));
        }
        previous = Some(change.hash());
    }
    Ok(())
}

fn parse(change: UnpackedChange) -> Result<Admitted, GateError> {
    let hash = ChangeHash(change.hash());
    let mut actor = ActorId::default();
    actor.0.copy_from_slice(change.actor());
    let (seq, deps) = (change.seq(), change.deps().iter().map(|d| ChangeHash(*d)).collect());
    let raw = change.into_raw();
    let parsed = catch_unwind(AssertUnwindSafe(|| parse_change(&raw)))
        .map_err(|_| GateError::Engine("it failed while reading it".to_owned()))?
        .map_err(|e| GateError::Engine(e.to_string()))?;
    if parsed.hash().0 != hash.0 {
        return Err(GateError::Mismatch("hash of a change"));
    }
    Ok(Admitted { hash, actor, seq, deps, change: parsed })
}

const SNAPSHOT_VERSION: u8 = 1;
const HEADER_AND_SIGNATURE: usize = dinh_proto::item::ITEM_OVERHEAD_BYTES;

/// What a snapshot says about one author: its newest run of the document, and which of its items are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotAuthor {
    /// Header and signature of the newest run, 218 bytes.
    pub header: Vec<u8>,
    /// Counters of the author's items that are in the snapshot.
    pub covered: Ranges,
}

/// The payload of a snapshot, apart from the changes.
///
/// ```text
/// version u8 = 1 ‖ count ‖ (header and signature 218 ‖ ranges)… in order of author ‖ sum of covered ids 16 ‖ pack
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFrame {
    /// In order of author.
    pub authors: Vec<SnapshotAuthor>,
    /// Sum of the ids of all covered items.
    pub sum: SpaceSum,
}

/// A verified snapshot.
#[derive(Debug, Clone)]
pub struct OpenedSnapshot {
    /// Frame.
    pub frame: SnapshotFrame,
    /// Authors with what is covered.
    pub covered: Vec<(Author, Ranges)>,
    /// All changes, each after what it builds on.
    pub changes: Vec<Admitted>,
    /// The place in the log up to which the document is in it.
    pub covers: Cursor,
}

/// Packs a snapshot's payload; `raw` holds all changes of the document, each after what it builds on.
pub fn seal_snapshot(frame: &SnapshotFrame, raw: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, PackError> {
    let mut out = vec![SNAPSHOT_VERSION];
    out.put_uleb(frame.authors.len() as u64);
    for author in &frame.authors {
        out.put_bytes(&author.header);
        author.covered.encode(&mut out);
    }
    out.put_bytes(&frame.sum.0.to_le_bytes());
    out.put_bytes(&pack(raw, &PackLimits::SNAPSHOT)?);
    Ok(out)
}

/// The frame of a snapshot that this device verified earlier.
pub fn read_frame(payload: &[u8]) -> Result<SnapshotFrame, GateError> {
    Ok(split_frame(payload)?.0)
}

fn split_frame(payload: &[u8]) -> Result<(SnapshotFrame, &[u8]), GateError> {
    let mut r = Reader::new(payload);
    let version = r.u8("snapshot version")?;
    if version != SNAPSHOT_VERSION {
        return Err(InvalidMessage::Unknown { what: "snapshot version", value: u64::from(version) }.into());
    }
    let n = r.count(limits::CHAINS_PER_MESSAGE_MAX, HEADER_AND_SIGNATURE + 1, "snapshot authors")?;
    let mut authors = Vec::new();
    for _ in 0..n {
        let header = r.bytes(HEADER_AND_SIGNATURE, "snapshot header")?.to_vec();
        authors.push(SnapshotAuthor { header, covered: Ranges::decode(&mut r)? });
    }
    let sum = SpaceSum(u128::from_le_bytes(r.array("snapshot sum")?));
    Ok((SnapshotFrame { authors, sum }, r.rest()))
}

/// Opens a snapshot: every author's changes must end in the run that the author signed, and nothing else may be
/// in it. `key_of` finds keys; `may_write` is the charter's word.
pub fn open_snapshot(
    item: &Item,
    key_of: impl Fn(&DeviceId) -> Option<DevicePublic>,
    may_write: impl Fn(&Header) -> Result<(), RejectCode>,
) -> Result<OpenedSnapshot, GateError> {
    let Place::Covers(covers) = item.header().place else { return Err(GateError::Mismatch("kind")) };
    let (frame, packed) = split_frame(item.payload())?;
    let changes = unpack(packed, &PackLimits::SNAPSHOT)?;
    let mut covered = Vec::new();
    let mut in_chains = 0;
    for author in &frame.authors {
        let signed = SignedHeader::verify(&author.header, &key_of).map_err(GateError::Header)?;
        let header = signed.header();
        let same = header.kind == Kind::Run
            && header.space == item.header().space
            && header.doc == item.header().doc;
        if !same || header.n() != Some(author.covered.max()) {
            return Err(GateError::Mismatch("newest run of an author"));
        }
        may_write(header).map_err(GateError::Header)?;
        if covered.last().is_some_and(|(a, _)| *a >= header.author) {
            return Err(GateError::Mismatch("order of authors"));
        }
        let actor = header.actor();
        let chain: Vec<&UnpackedChange> = changes.iter().filter(|c| c.actor() == actor.0).collect();
        check_chain(&chain, &actor, 1, None)?;
        let last_seq = u64::from(header.first_seq) + u64::from(header.count) - 1;
        let last = chain.last().filter(|c| c.seq() == last_seq).ok_or(GateError::Mismatch("last change"))?;
        if commitment(&CLEAR_KEY, &ChangeHash(last.hash())) != header.commitment {
            return Err(GateError::Mismatch("hash of the last change"));
        }
        in_chains += chain.len();
        covered.push((header.author, author.covered.clone()));
    }
    if in_chains != changes.len() {
        return Err(GateError::Mismatch("a change by nobody"));
    }
    let changes = changes.into_iter().map(parse).collect::<Result<_, _>>()?;
    Ok(OpenedSnapshot { frame, covered, changes, covers })
}
