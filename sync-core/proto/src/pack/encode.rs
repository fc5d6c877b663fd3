//! Packing.

use std::collections::BTreeMap;

use super::bytes::{near, put_prefixed, put_uleb};
use super::chunk::RawChange;
use super::columns::Columns;
use super::parts::{Part, PartsWriter};
use super::{PackContext, PackError, PackLimits, check};

/// Packs uncompressed change chunks in the given order.
///
/// The result depends on the arguments only. A change may stand before its dependencies, which then
/// cost 32 bytes each.
///
/// # Errors
///
/// When one of `changes` is not a well-formed chunk with minimal numbers, stands there twice, or a
/// limit is exceeded.
pub fn pack(changes: &[impl AsRef<[u8]>], limits: &PackLimits) -> Result<Vec<u8>, PackError> {
    pack_in(PackContext::default(), changes, limits)
}

/// Packs like [`pack`], leaving out what `context` says. [`unpack_in`](super::unpack_in) needs the
/// same context.
///
/// # Errors
///
/// As for [`pack`].
pub fn pack_in(
    context: PackContext<'_>,
    changes: &[impl AsRef<[u8]>],
    limits: &PackLimits,
) -> Result<Vec<u8>, PackError> {
    Ok(encode(context, changes, limits)?.finish(changes.len()))
}

/// All fields of all changes, not yet stored in a form.
pub(super) fn encode(
    context: PackContext<'_>,
    changes: &[impl AsRef<[u8]>],
    limits: &PackLimits,
) -> Result<PartsWriter, PackError> {
    check(changes.len(), limits.changes_max, "changes")?;
    check(context.actors.len(), limits.actors_max, "actors")?;
    let mut raw_bytes = 0usize;
    for change in changes {
        check(change.as_ref().len(), limits.change_bytes_max, "change bytes")?;
        raw_bytes = raw_bytes.saturating_add(change.as_ref().len());
    }
    check(raw_bytes, limits.raw_bytes_max, "raw bytes")?;

    let mut encoder = Encoder::new(context, limits);
    for (place, change) in changes.iter().enumerate() {
        encoder.change(place as i64, &RawChange::parse(change.as_ref())?)?;
        check(encoder.out.plain_bytes(), limits.unpacked_bytes_max, "unpacked bytes")?;
    }
    Ok(encoder.out)
}

struct Encoder<'a> {
    limits: &'a PackLimits,
    out: PartsWriter,
    actors: BTreeMap<Vec<u8>, usize>,
    /// Last seq of each actor in the pack; 0 before its first.
    seqs: Vec<u64>,
    /// Place of each known change: from 0 inside the pack, below 0 in the context.
    places: BTreeMap<[u8; 32], i64>,
    start_op: u64,
    time: u64,
}

impl<'a> Encoder<'a> {
    fn new(context: PackContext<'_>, limits: &'a PackLimits) -> Self {
        let actors = context.actors.iter().enumerate().map(|(index, actor)| (actor.to_vec(), index));
        Self {
            limits,
            out: PartsWriter::new(),
            actors: actors.collect(),
            seqs: vec![0; context.actors.len()],
            places: context.hashes.iter().copied().zip((i64::MIN..0).rev()).collect(),
            start_op: 0,
            time: 0,
        }
    }

    fn change(&mut self, place: i64, change: &RawChange<'_>) -> Result<(), PackError> {
        check(change.other_actors.len(), self.limits.others_max, "other actors")?;
        check(change.deps.len(), self.limits.deps_max, "dependencies")?;
        let author = self.actor(change.actor)?;
        self.out.put(Part::Actors, |out| put_uleb(out, change.other_actors.len() as u64));
        for other in &change.other_actors {
            self.actor(other)?;
        }
        self.deps(place, &change.deps);

        let expected = self.seqs[author].wrapping_add(1);
        self.out.put(Part::Seqs, |out| put_uleb(out, near(change.seq, expected)));
        self.seqs[author] = change.seq;
        self.out.put(Part::Starts, |out| put_uleb(out, near(change.start_op, self.start_op)));
        self.start_op = change.start_op;
        let time = change.time as u64;
        self.out.put(Part::Times, |out| put_uleb(out, near(time, self.time)));
        self.time = time;
        self.out.put(Part::Messages, |out| put_prefixed(out, change.message.unwrap_or_default()));
        self.tail(change.tail);

        if self.places.insert(change.hash, place).is_some() {
            return Err(PackError::NotCanonical("a change twice"));
        }
        Ok(())
    }

    fn actor(&mut self, actor: &[u8]) -> Result<usize, PackError> {
        if let Some(&index) = self.actors.get(actor) {
            self.out.put(Part::Actors, |out| put_uleb(out, index as u64));
            return Ok(index);
        }
        let index = self.seqs.len();
        check(index + 1, self.limits.actors_max, "actors")?;
        check(actor.len(), self.limits.actor_bytes_max, "actor bytes")?;
        self.actors.insert(actor.to_vec(), index);
        self.seqs.push(0);
        self.out.put(Part::Actors, |out| {
            put_uleb(out, index as u64);
            put_prefixed(out, actor);
        });
        Ok(index)
    }

    fn deps(&mut self, place: i64, deps: &[[u8; 32]]) {
        let places = &self.places;
        self.out.put(Part::Deps, |out| {
            put_uleb(out, deps.len() as u64);
            for dep in deps {
                match places.get(dep) {
                    Some(known) => put_uleb(out, place.abs_diff(*known)),
                    None => {
                        put_uleb(out, 0);
                        out.extend_from_slice(dep);
                    }
                }
            }
        });
    }

    fn tail(&mut self, tail: &[u8]) {
        let Some(columns) = Columns::split(tail) else {
            self.out.put(Part::Shapes, |out| {
                put_uleb(out, 0);
                put_prefixed(out, tail);
            });
            return;
        };
        self.out.put(Part::Shapes, |out| {
            put_uleb(out, columns.mask());
            put_prefixed(out, columns.extra);
        });
        for (column, data) in columns.data.into_iter().enumerate().filter(|(_, data)| !data.is_empty()) {
            self.out.put(Part::Column(column), |out| put_prefixed(out, data));
        }
    }
}
