//! A document file that was changed elsewhere, read without Automerge.
//!
//! Automerge's loader is made for honest peers, so it never sees such a file. What it holds is read here, within bounds: the list of
//! changes, and of the operations only those by actors that this document does not know. Their changes are put together again and go
//! through the gate like anybody's ([`judge_change`]), into a copy. In the end the file's own heads must come out: so nothing was read
//! otherwise than it was written.
//!
//! ```text
//! file     = magic(4) ‖ checksum(4) ‖ 0 ‖ length ‖ document
//! document = actors ‖ heads ‖ columns of changes ‖ columns of operations ‖ their bytes ‖ places of the heads
//! ```

mod columns;
mod ops;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use automerge::{Change, ExpandedChange};
use sha2::{Digest, Sha256};

use self::columns::{Bytes, Columns, damaged};
use super::{ChangeHash, Document, Patch};
use crate::gate::{self, Call, GateError, Past, Shadow, guarded, judge_change};

/// Bytes of a file, at most.
pub const FILE_BYTES_MAX: usize = 8 << 20;
/// Bytes of its columns together, unpacked, at most.
const UNPACKED_BYTES_MAX: usize = 64 << 20;
/// Changes and operations in a file, at most: what is read takes time and memory with their number.
const CHANGES_MAX: usize = 1 << 17;
const OPS_MAX: usize = 1 << 20;
/// Operations by those who changed the file elsewhere, and what they replace, at most.
const NEW_OPS_MAX: usize = 1 << 17;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHANGE_COLUMNS: [u64; 9] = [0x01, 0x03, 0x13, 0x23, 0x35, 0x40, 0x43, 0x56, 0x57];

/// Why a file cannot be taken in.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It is longer than [`FILE_BYTES_MAX`].
    #[error("the file has {bytes} bytes, and at most {FILE_BYTES_MAX} are read")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// It is something else.
    #[error("this is no saved Automerge document ({0})")]
    NotAutomerge(&'static str),
    /// It was cut or changed on its way.
    #[error("the file is damaged: {0}")]
    Damaged(&'static str),
    /// It has more in it than is read.
    #[error("the file has too many {0}")]
    TooMany(&'static str),
    /// None of its history is this document's.
    #[error("the file has no history in common with this document: it was not made from an export of it")]
    NothingInCommon,
    /// It has changes of somebody who writes this document, and they have not come here yet.
    #[error(
        "the file has changes of this branch that are not on this device yet; connect first, then try again"
    )]
    NotHereYet,
    /// It has something in it that documents of this app have not.
    #[error("the file holds what this app does not write: {0}")]
    Unsupported(&'static str),
    /// What it says about itself is not so.
    #[error("the file's changes are not those that it names")]
    Mismatch,
    /// One of its changes breaks a rule.
    #[error("what was changed in the file cannot be taken: {0}")]
    Refused(#[from] GateError),
}

/// A document with what a file has that was changed elsewhere: to look at, and never to be sent or stored. See
/// [`Document::merged_with_file`].
#[derive(Debug)]
pub struct MergedFile {
    /// Both.
    pub document: Document,
    /// What leads from the document to both.
    pub patches: Vec<Patch>,
    /// The heads that the file was exported at.
    pub base: Vec<ChangeHash>,
    /// Who changed it elsewhere.
    pub actors: BTreeSet<[u8; 16]>,
    /// How many changes that took.
    pub changes: usize,
}

/// A change as the file lists it.
#[derive(Debug)]
struct Listed<'a> {
    actor: usize,
    seq: u64,
    max_op: u64,
    time: i64,
    message: Option<&'a str>,
    deps: Vec<usize>,
}

impl Document {
    /// What this document would be if what was written elsewhere, into a saved copy of it, were written in it. The bytes may be anybody's.
    ///
    /// # Errors
    /// What cannot be taken in, and why.
    pub fn merged_with_file(&self, file: &[u8]) -> Result<MergedFile, FileError> {
        let mut bytes = Bytes(check(file)?);
        let n = bytes.uleb()?;
        let actors = listed(n, || {
            let length = bytes.uleb()?;
            let id = bytes.take(length)?;
            <[u8; 16]>::try_from(id).or(Err(FileError::Unsupported("an actor id that has not 16 bytes")))
        })?;
        let n = bytes.uleb()?;
        let heads = listed(n, || bytes.take(32)?.try_into().map(ChangeHash).or(damaged("a head is cut")))?;
        let (of_changes, of_ops) = (Columns::head(&mut bytes)?, Columns::head(&mut bytes)?);
        let mut room = UNPACKED_BYTES_MAX;
        let columns = Columns::read(&of_changes, &CHANGE_COLUMNS, &mut bytes, &mut room)?;
        let ops = Columns::read(&of_ops, &ops::COLUMNS, &mut bytes, &mut room)?;
        let changes = read_changes(&columns, actors.len())?;

        let ours: BTreeMap<([u8; 16], u64), ChangeHash> =
            self.history().into_iter().map(|c| ((c.actor, c.seq), c.hash)).collect();
        let known = |c: &Listed<'_>| ours.get(&(actors[c.actor], c.seq)).copied();
        if !changes.iter().any(|c| known(c).is_some()) {
            return Err(FileError::NothingInCommon);
        }
        let new: BTreeSet<usize> = changes.iter().filter(|c| known(c).is_none()).map(|c| c.actor).collect();
        if new.iter().any(|actor| self.actor_tip(&actors[*actor]).is_some()) {
            return Err(FileError::NotHereYet);
        }
        let mut ops = ops::read(&ops, &actors, &new)?;

        let mut past = Past::new();
        self.changes_raw(&[]).iter().try_for_each(|(_, raw)| gate::learn(raw, &mut past))?;
        let mut hashes: Vec<ChangeHash> = Vec::with_capacity(changes.len());
        let mut taken = Vec::new();
        for change in &changes {
            if let Some(hash) = known(change) {
                hashes.push(hash);
                continue;
            }
            let raw = build(change, &actors, &hashes, &mut ops)?;
            let admitted = judge_change(&raw, &mut past)?;
            hashes.push(ChangeHash(admitted.hash.0));
            taken.push(admitted.change);
        }
        let named: BTreeSet<ChangeHash> = heads.into_iter().collect();
        if named != heads_of(&changes, &hashes, |_| true) || !ops.is_empty() {
            return Err(FileError::Mismatch);
        }
        let base = heads_of(&changes, &hashes, |c| known(c).is_some()).into_iter().collect();
        let number = taken.len();
        let total = usize::try_from(self.max_op()).unwrap_or(usize::MAX);
        let (document, patches) = Shadow::default().apply(self, taken, total).map_err(GateError::from)?;
        let actors = new.into_iter().map(|actor| actors[actor]).collect();
        Ok(MergedFile { document, patches, base, actors, changes: number })
    }
}

/// What the chunk holds, if it is one and whole.
fn check(file: &[u8]) -> Result<&[u8], FileError> {
    if file.len() > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { bytes: file.len() });
    }
    let Some(head) = file.strip_prefix(&MAGIC) else {
        return Err(FileError::NotAutomerge("it begins otherwise"));
    };
    let mut bytes = Bytes(head);
    let checksum = bytes.take(4)?;
    match bytes.take(1)? {
        [0] => {}
        [1 | 2] => return Err(FileError::NotAutomerge("it holds single changes; save the whole document")),
        _ => return Err(FileError::NotAutomerge("it holds no document")),
    }
    let hashed = bytes.0;
    let length = bytes.uleb()?;
    let content = bytes.take(length)?;
    if !bytes.0.is_empty() {
        return Err(FileError::NotAutomerge("something follows the document; save the whole document"));
    }
    let sum = Sha256::new().chain_update([0]).chain_update(hashed).finalize();
    if sum[..4] == *checksum { Ok(content) } else { damaged("its checksum is wrong") }
}

fn listed<T>(n: u64, mut read: impl FnMut() -> Result<T, FileError>) -> Result<Vec<T>, FileError> {
    if n > CHANGES_MAX as u64 {
        return Err(FileError::TooMany("authors"));
    }
    (0..n).map(|_| read()).collect()
}

fn read_changes<'a>(columns: &'a Columns, actors: usize) -> Result<Vec<Listed<'a>>, FileError> {
    let (mut by, mut seqs) = (columns.numbers(0x01), columns.deltas(0x03));
    let (mut max_ops, mut times) = (columns.deltas(0x13), columns.deltas(0x23));
    let (mut messages, mut extra) = (columns.texts(0x35), columns.numbers(0x56));
    let (mut counts, mut deps) = (columns.numbers(0x40), columns.deltas(0x43));
    let (mut changes, mut links): (Vec<Listed<'_>>, usize) = (Vec::new(), 0);
    while !by.is_at_end() {
        let actor = by.next()?.and_then(|a| usize::try_from(a).ok()).filter(|a| *a < actors);
        let Some(actor) = actor else { return damaged("a change of nobody") };
        let (seq, max_op) = (seqs.count()?, max_ops.count()?);
        let n = usize::try_from(counts.next()?.unwrap_or(0)).unwrap_or(usize::MAX);
        links = links.saturating_add(n);
        if changes.len() >= CHANGES_MAX || links > 2 * CHANGES_MAX {
            return Err(FileError::TooMany("changes"));
        }
        let here = changes.len() as u64;
        let dep = |_| match deps.count()? {
            dep if dep < here => Ok(dep as usize),
            _ => damaged("a change builds on a later one"),
        };
        let deps = (0..n).map(dep).collect::<Result<_, _>>()?;
        // Kind 7 is bytes, 0 nothing; their length is in the higher bits.
        if extra.next()?.is_some_and(|meta| meta >> 4 != 0) {
            return Err(FileError::Unsupported("bytes behind a change"));
        }
        let time = times.next()?.unwrap_or(0);
        changes.push(Listed { actor, seq, max_op, time, message: messages.next()?, deps });
    }
    Ok(changes)
}

/// The change as a chunk, as whoever made it sent it.
fn build(
    change: &Listed<'_>,
    actors: &[[u8; 16]],
    hashes: &[ChangeHash],
    ops: &mut ops::Ops,
) -> Result<Vec<u8>, FileError> {
    let (start_op, operations) = ops.of_change(change.actor, change.max_op)?;
    let Some(start_op) = NonZeroU64::new(start_op) else { return damaged("operations begin at 0") };
    let mut deps: Vec<automerge::ChangeHash> = change.deps.iter().map(|i| hashes[*i].into()).collect();
    deps.sort_unstable();
    let expanded = ExpandedChange {
        operations,
        actor_id: super::actor_id(actors[change.actor]),
        hash: None,
        seq: change.seq,
        start_op,
        time: change.time,
        message: change.message.filter(|m| !m.is_empty()).map(str::to_owned),
        deps,
        extra_bytes: Vec::new(),
        author: None,
    };
    let encoded = guarded(Call::Encode, || Change::from(expanded)).map_err(GateError::from)?;
    Ok(encoded.raw_bytes().to_vec())
}

/// Those on which no other one builds, among those that fit.
fn heads_of(
    changes: &[Listed<'_>],
    hashes: &[ChangeHash],
    fits: impl Fn(&Listed<'_>) -> bool,
) -> BTreeSet<ChangeHash> {
    let among = || changes.iter().zip(hashes).filter(|(c, _)| fits(c));
    let inner: BTreeSet<ChangeHash> = among().flat_map(|(c, _)| &c.deps).map(|i| hashes[*i]).collect();
    among().map(|(_, hash)| *hash).filter(|hash| !inner.contains(hash)).collect()
}
