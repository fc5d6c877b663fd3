//! Snapshots: a whole document in one item, with the proof that each author wrote its part.

use std::collections::BTreeMap;

use dinh_proto::codec::{Reader, Write};
use dinh_proto::error::{InvalidMessage, RejectCode};
use dinh_proto::ids::{Author, ChangeHash, Cursor};
use dinh_proto::item::{Item, Kind, Place, SignedHeader, SpaceSum};
use dinh_proto::limits;
use dinh_proto::pack::{PackError, PackLimits, UnpackedChange, pack, unpack};
use dinh_proto::ranges::Ranges;

use super::past::Past;
use super::shadow::Shadow;
use super::{Admitted, Authority, GateError, check_chain, examine};
use crate::document::Document;

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

/// What a snapshot's payload is made of before it is encrypted, apart from the changes.
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
    /// What the rules need of the changes.
    pub past: Past,
    /// The place in the log up to which the document is in it.
    pub covers: Cursor,
}

/// Packs a snapshot's content; `raw` holds all changes of the document, each after what it builds on.
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
pub fn read_frame(snapshot: &Item, authority: &impl Authority) -> Result<SnapshotFrame, GateError> {
    Ok(split_frame(&authority.open(snapshot)?)?.0)
}

fn split_frame(content: &[u8]) -> Result<(SnapshotFrame, &[u8]), GateError> {
    let mut r = Reader::new(content);
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

/// Opens a received snapshot: every author's changes must end in the run that the author signed, nothing else may be
/// in it, every change must pass the rules, and a document made of them must be sound.
pub fn open_snapshot(item: &Item, authority: &impl Authority) -> Result<OpenedSnapshot, GateError> {
    let opened = open_verified_snapshot(item, authority)?;
    let changes = opened.changes.iter().map(|a| a.change.clone()).collect();
    Shadow::default().apply(&Document::new([0; 16]), changes, 0)?;
    Ok(opened)
}

/// The same for one that this device received and stored: the document is not tried out again.
pub fn open_verified_snapshot(item: &Item, authority: &impl Authority) -> Result<OpenedSnapshot, GateError> {
    let Place::Covers(covers) = item.header().place else { return Err(GateError::Mismatch("kind")) };
    let content = authority.open(item)?;
    let (frame, packed) = split_frame(&content)?;
    let changes = unpack(packed, &PackLimits::SNAPSHOT)?;
    let mut covered = Vec::new();
    let mut in_chains = 0;
    let mut rights = BTreeMap::new();
    for author in &frame.authors {
        let signed = SignedHeader::verify(&author.header, |device| authority.public(device))
            .map_err(GateError::Header)?;
        let header = signed.header();
        let same = header.kind == Kind::Run
            && header.space == item.header().space
            && header.doc == item.header().doc;
        if !same || header.n() != Some(author.covered.max()) {
            return Err(GateError::Mismatch("newest run of an author"));
        }
        authority.may_write(header, signed.id().link()).map_err(GateError::Header)?;
        if let Some(found) = authority.rights(header, signed.id().link())? {
            // By which role the earlier ones were written is only in the runs.
            if found.may_have_been_others() {
                return Err(GateError::Header(RejectCode::NotAuthorised));
            }
            rights.insert(header.actor().0, found);
        }
        if covered.last().is_some_and(|(a, _)| *a >= header.author) {
            return Err(GateError::Mismatch("order of authors"));
        }
        let actor = header.actor();
        let chain: Vec<&UnpackedChange> = changes.iter().filter(|c| c.actor() == actor.0).collect();
        check_chain(&chain, &actor, 1, None)?;
        let last_seq = u64::from(header.first_seq) + u64::from(header.count) - 1;
        // Bug: that an author's changes end in the run that the author signed is believed.
        #[cfg(feature = "canary")]
        if dinh_proto::canary::is_planted("snapshot-unverified") {
            in_chains += chain.len();
            covered.push((header.author, author.covered.clone()));
            continue;
        }
        let last = chain.last().filter(|c| c.seq() == last_seq).ok_or(GateError::Mismatch("last change"))?;
        authority.commits(header, &ChangeHash(last.hash()))?;
        in_chains += chain.len();
        covered.push((header.author, author.covered.clone()));
    }
    if in_chains != changes.len() {
        return Err(GateError::Mismatch("a change by nobody"));
    }
    let mut past = Past::new();
    let changes = changes
        .iter()
        .map(|c| {
            examine(c, &mut past, c.actor().try_into().ok().and_then(|actor: [u8; 16]| rights.get(&actor)))
        })
        .collect::<Result<_, _>>()?;
    Ok(OpenedSnapshot { frame, covered, changes, past, covers })
}
