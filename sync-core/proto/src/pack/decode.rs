//! Unpacking.

use std::collections::{BTreeMap, BTreeSet};

use super::bytes::{Reader, from_near};
use super::chunk::{RawChange, chunk_length, seal};
use super::columns::{COLUMNS, Columns, MASK_MAX};
use super::parts::{Part, PartReaders, Parts};
use super::{PackContext, PackError, PackLimits, check};

/// One change out of a pack: the chunk byte for byte as it went in, with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackedChange {
    raw: Vec<u8>,
    hash: [u8; 32],
    actor: Vec<u8>,
    seq: u64,
    start_op: u64,
    deps: Vec<[u8; 32]>,
}

impl UnpackedChange {
    /// The whole chunk, as [`RawChange::parse`] and Automerge read it.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The whole chunk, without a copy.
    pub fn into_raw(self) -> Vec<u8> {
        self.raw
    }

    /// The change's hash, computed from the chunk.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The author's actor id.
    pub fn actor(&self) -> &[u8] {
        &self.actor
    }

    /// The change's number among its actor's changes.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Counter of the first operation.
    pub fn start_op(&self) -> u64 {
        self.start_op
    }

    /// Hashes of the changes that this one builds on, in the chunk's order.
    pub fn deps(&self) -> &[[u8; 32]] {
        &self.deps
    }

    /// The parsed head, without hashing the chunk again.
    ///
    /// # Panics
    ///
    /// Never: unpacking builds only chunks that parse, and they cannot be changed.
    pub fn head(&self) -> RawChange<'_> {
        RawChange::parse_hashed(&self.raw, self.hash).expect("unpacking builds well-formed chunks")
    }
}

/// Unpacks what [`pack`](super::pack) packed.
///
/// # Errors
///
/// When the bytes are not a pack in every detail, or a limit is exceeded.
pub fn unpack(bytes: &[u8], limits: &PackLimits) -> Result<Vec<UnpackedChange>, PackError> {
    unpack_in(PackContext::default(), bytes, limits)
}

/// Unpacks what [`pack_in`](super::pack_in) packed with the same context.
///
/// # Errors
///
/// As for [`unpack`]. Another context than the packer's gives an error or other changes.
pub fn unpack_in(
    context: PackContext<'_>,
    bytes: &[u8],
    limits: &PackLimits,
) -> Result<Vec<UnpackedChange>, PackError> {
    check(context.actors.len(), limits.actors_max, "actors")?;
    let (count, parts) = Parts::read(bytes, limits.unpacked_bytes_max, limits.changes_max)?;
    let mut decoder = Decoder {
        limits,
        parts: parts.readers(),
        actor_indexes: context.actors.iter().enumerate().map(|(index, actor)| (*actor, index)).collect(),
        actors: context.actors.iter().map(|actor| (*actor, 0)).collect(),
        context_hashes: context.hashes,
        hashes: context.hashes.iter().copied().collect(),
        changes: Vec::new(),
        start_op: 0,
        time: 0,
        raw_bytes: 0,
        contents: Vec::new(),
        tail: Vec::new(),
    };
    for _ in 0..count {
        decoder.change()?;
    }
    decoder.parts.end()?;
    Ok(decoder.changes)
}

struct Decoder<'p> {
    limits: &'p PackLimits,
    parts: PartReaders<'p>,
    actor_indexes: BTreeMap<&'p [u8], usize>,
    /// Each known actor and its last seq in the pack.
    actors: Vec<(&'p [u8], u64)>,
    context_hashes: &'p [[u8; 32]],
    /// Hashes of all known changes, which must not be written out.
    hashes: BTreeSet<[u8; 32]>,
    changes: Vec<UnpackedChange>,
    start_op: u64,
    time: u64,
    raw_bytes: usize,
    /// Scratch space.
    contents: Vec<u8>,
    tail: Vec<u8>,
}

impl<'p> Decoder<'p> {
    fn change(&mut self) -> Result<(), PackError> {
        let author = self.actor()?;
        let actor = self.actors[author].0;
        let mut other_actors = Vec::new();
        for _ in 0..self.parts.part(Part::Actors).bounded(self.limits.others_max, "other actors")? {
            let other = self.actor()?;
            other_actors.push(self.actors[other].0);
        }
        let deps = self.deps()?;

        let expected = self.actors[author].1.wrapping_add(1);
        let seq = from_near(self.parts.part(Part::Seqs).uleb("seq")?, expected);
        self.actors[author].1 = seq;
        self.start_op = from_near(self.parts.part(Part::Starts).uleb("start op")?, self.start_op);
        if self.start_op == 0 {
            return Err(PackError::BadChunk("start op is zero"));
        }
        self.time = from_near(self.parts.part(Part::Times).uleb("time")?, self.time);
        let message = self.parts.part(Part::Messages).prefixed("message")?;
        self.tail()?;

        let mut change = RawChange {
            hash: [0; 32],
            actor,
            seq,
            start_op: self.start_op,
            time: self.time as i64,
            message: (!message.is_empty()).then_some(message),
            deps,
            other_actors,
            tail: &self.tail,
        };
        self.contents.clear();
        change.write_contents(&mut self.contents);
        let length = chunk_length(self.contents.len());
        check(length, self.limits.change_bytes_max, "change bytes")?;
        self.raw_bytes = self.raw_bytes.saturating_add(length);
        check(self.raw_bytes, self.limits.raw_bytes_max, "raw bytes")?;

        let (raw, hash) = seal(&self.contents);
        if !self.hashes.insert(hash) {
            return Err(PackError::NotCanonical("a change twice"));
        }
        let deps = std::mem::take(&mut change.deps);
        self.changes.push(UnpackedChange {
            raw,
            hash,
            actor: actor.to_vec(),
            seq,
            start_op: self.start_op,
            deps,
        });
        Ok(())
    }

    fn actor(&mut self) -> Result<usize, PackError> {
        let known = self.actors.len();
        let reader = self.parts.part(Part::Actors);
        let index = reader.uleb("actor index")?;
        if index < known as u64 {
            return Ok(index as usize);
        }
        if index > known as u64 {
            return Err(PackError::BadReference("actor index"));
        }
        check(known + 1, self.limits.actors_max, "actors")?;
        let length = reader.bounded(self.limits.actor_bytes_max, "actor bytes")?;
        let actor = reader.take(length, "actor")?;
        if self.actor_indexes.insert(actor, known).is_some() {
            return Err(PackError::NotCanonical("a known actor written out"));
        }
        self.actors.push((actor, 0));
        Ok(known)
    }

    fn deps(&mut self) -> Result<Vec<[u8; 32]>, PackError> {
        let place = self.changes.len();
        let reader = self.parts.part(Part::Deps);
        let count = reader.bounded(self.limits.deps_max, "dependencies")?;
        // One distance takes a byte at least, so the count is no promise but the rest is.
        let mut deps = Vec::with_capacity(count.min(reader.remaining()));
        for _ in 0..count {
            let distance = usize::try_from(reader.uleb("dependency distance")?).unwrap_or(usize::MAX);
            let hash = if distance == 0 {
                let hash = reader.array("dependency hash")?;
                if self.hashes.contains(&hash) {
                    return Err(PackError::NotCanonical("a known hash written out"));
                }
                hash
            } else if distance <= place {
                self.changes[place - distance].hash
            } else {
                let known = self.context_hashes.get(distance - place - 1);
                *known.ok_or(PackError::BadReference("dependency distance"))?
            };
            deps.push(hash);
        }
        Ok(deps)
    }

    /// Rebuilds the next tail in the scratch space.
    fn tail(&mut self) -> Result<(), PackError> {
        self.tail.clear();
        let shapes = self.parts.part(Part::Shapes);
        let mask = shapes.uleb("column mask")?;
        let bytes = shapes.prefixed("tail")?;
        if mask == 0 {
            if Columns::split(bytes).is_some() {
                return Err(PackError::NotCanonical("columns written out as a verbatim tail"));
            }
            self.tail.extend_from_slice(bytes);
            return Ok(());
        }
        if mask > MASK_MAX {
            return Err(PackError::BadReference("column mask"));
        }
        let mut columns = Columns { data: [&[][..]; COLUMNS], extra: bytes };
        for (column, data) in columns.data.iter_mut().enumerate() {
            if mask & (1 << column) != 0 {
                let reader: &mut Reader<'p> = self.parts.part(Part::Column(column));
                *data = reader.prefixed("column data")?;
                if data.is_empty() {
                    return Err(PackError::NotCanonical("an empty column"));
                }
            }
        }
        columns.write(&mut self.tail);
        Ok(())
    }
}
