//! Packs: the lossless encoding of Automerge changes in which runs and snapshots travel.
//!
//! A pack holds uncompressed change chunks in a given order. What can be rebuilt is left out
//! (chunk headers, checksums, hashes of changes inside the pack, actor ids after their first use),
//! numbers are written as differences from their likely value, and like bytes stand together.
//! Unpacking rebuilds every change byte for byte and recomputes its hash.
//!
//! A pack proves nothing: whoever opens one compares the last hash with a signed one, and looks at
//! the changes themselves (the gate) before Automerge sees them. What unpacking promises is that
//! time and memory stay within [`PackLimits`] whatever the bytes say, and that what comes out is
//! well-formed chunks.
//!
//! # Format, version 1
//!
//! All numbers are unsigned LEB128 of at most 64 bits in their shortest form, called *n* here,
//! unless a fixed size is given. Nothing may follow the last byte of a pack, of a part or of a
//! deflate stream.
//!
//! ```text
//! pack   = head(1) ‖ n changes ‖ body
//! head   = 0x10 plain | 0x11 deflated | 0x12 split          (high nibble: version 1)
//!
//! plain    body = the fields of all changes, in the order below, to the end
//! deflated body = n plain length ‖ raw deflate stream of the same bytes, to the end;
//!                 the stream is shorter than the plain bytes
//! split    body = 21 parts, each  n plain length ‖ n stored length ‖ stored bytes
//!                 a part of plain length 0 is the single byte 0;
//!                 stored length = plain length: the bytes themselves
//!                 stored length < plain length: a raw deflate stream of them
//!                 stored length > plain length: refused
//! ```
//!
//! The fields of one change, with the part that each goes to in a split pack:
//!
//! ```text
//!  0 actors    actor ‖ n others ‖ others × actor
//!                actor = n index; index = number of actors known so far: a new one follows,
//!                        n length ‖ bytes, which must not be known already
//!  1 deps      n deps ‖ deps × dep
//!                dep = n distance; distance = 0: the 32 bytes of the hash follow
//!                      distance = d: the change d places earlier in this pack
//!  2 seqs      near(seq, the same author's previous seq in this pack + 1, or 1)
//!  3 starts    near(start op, the previous change's start op, or 0)
//!  4 times     near(time, the previous change's time, or 0)
//!  5 messages  n length ‖ bytes
//!  6 shapes    n mask; bit i says that column i of the list below is there
//!                mask = 0: the tail verbatim follows, n length ‖ bytes, and nothing more
//!                mask > 0: n length ‖ extra bytes
//!  7…20        one part for each column that the mask names, in this order: n length ‖ bytes
//!                columns 01 02 11 13 15 34 42 56 57 70 71 73 94 a5 (Automerge's specifications);
//!                the length is not 0
//! ```
//!
//! *near(value, expected)* is the difference, wrapping at 64 bits and read as signed, written as *n*
//! with 0, −1, 1, −2, … as 0, 1, 2, 3, …
//!
//! A tail is everything in a change after its other actors. It is split into columns when it has at
//! least one, all of them in the list, ascending and not empty, as in every change with operations
//! that Automerge 0.12 writes; a tail that could be split must not travel verbatim. For the same
//! reason (changes have one encoding, but for the form and the deflate streams) a hash must not be
//! written out when its change stands earlier in the pack, and no change may stand in it twice.
//! Start op is at least 1.
//!
//! ## Context
//!
//! Both ends may know some actors and hashes already, a [`PackContext`]. Its actors take the first
//! indexes; its hashes stand before the first change, the first of them nearest, so that the
//! distance runs on past the beginning of the pack. Opening with another context yields other
//! changes or an error, and the pinned hash tells.

mod bytes;
mod chunk;
mod columns;
mod decode;
mod encode;
mod parts;

#[cfg(test)]
mod tests;

pub use chunk::RawChange;
pub use decode::{UnpackedChange, unpack, unpack_in};
pub use encode::{pack, pack_in};

/// The version of the format, in the high nibble of a pack's first byte.
pub const VERSION: u8 = 1;

/// Bounds on one pack, the same for packing and unpacking, so that what was packed can be unpacked.
///
/// Unpacking holds at most `unpacked_bytes_max` of inflated parts, twice `raw_bytes_max` of rebuilt
/// changes (once as chunks, once as actors and dependencies), and about 250 bytes of bookkeeping a
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// Bytes of all parts together before deflating.
    pub unpacked_bytes_max: usize,
    /// Bytes of all rebuilt chunks together. A pack can mention an actor or a hash by one byte many
    /// times, so this is apart from `unpacked_bytes_max`.
    pub raw_bytes_max: usize,
    /// Changes.
    pub changes_max: usize,
    /// Bytes of one chunk, with its header.
    pub change_bytes_max: usize,
    /// Distinct actors in the pack, those of the context included.
    pub actors_max: usize,
    /// Bytes of one actor id.
    pub actor_bytes_max: usize,
    /// Other actors that one change mentions.
    pub others_max: usize,
    /// Dependencies of one change.
    pub deps_max: usize,
}

impl PackLimits {
    /// A run: what one device wrote to one document between two flushes.
    pub const RUN: Self = Self {
        unpacked_bytes_max: 1 << 20,
        raw_bytes_max: 2 << 20,
        changes_max: 1024,
        change_bytes_max: crate::limits::CHANGE_BYTES_MAX,
        actors_max: 257,
        actor_bytes_max: 32,
        others_max: crate::limits::CHANGE_ACTORS_MAX,
        deps_max: crate::limits::CHANGE_DEPS_MAX,
    };

    /// A snapshot: a whole document.
    pub const SNAPSHOT: Self = Self {
        unpacked_bytes_max: 64 << 20,
        raw_bytes_max: 128 << 20,
        changes_max: 1_000_000,
        actors_max: 65_536,
        ..Self::RUN
    };
}

/// What both ends know before a pack is opened, and the pack need not say.
///
/// For a run, typically its author's actor id (derived from the item's header) and the hash of the
/// author's previous change. A snapshot is packed with none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackContext<'a> {
    /// Known actors, without repetition.
    pub actors: &'a [&'a [u8]],
    /// Hashes of known changes, without repetition and none of them a change of the pack.
    pub hashes: &'a [[u8; 32]],
}

/// Why bytes are not a pack or not a change, or changes cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The bytes end in the middle of the named field.
    #[error("input ends inside {0}")]
    Truncated(&'static str),
    /// Bytes follow the end of the named thing.
    #[error("bytes after the end of {0}")]
    TrailingBytes(&'static str),
    /// The named number is not the shortest LEB128 form of a number of at most 64 bits.
    #[error("{0} is not a minimal LEB128 number of 64 bits")]
    NonMinimal(&'static str),
    /// The named size is above its limit.
    #[error("too large: {what}, limit {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit from [`PackLimits`], in the unit of `what`.
        limit: usize,
    },
    /// The bytes are not an uncompressed Automerge change chunk.
    #[error("not a well-formed change chunk: {0}")]
    BadChunk(&'static str),
    /// The named reference points at nothing.
    #[error("{0} refers to nothing")]
    BadReference(&'static str),
    /// The bytes say in a second way what has another, prescribed encoding.
    #[error("not canonical: {0}")]
    NotCanonical(&'static str),
    /// A deflate stream is corrupt or of another length than stated.
    #[error("deflate: {0}")]
    Inflate(&'static str),
    /// The first byte names a version or form that this code does not know.
    #[error("unsupported pack head {0:#04x}")]
    UnsupportedVersion(u8),
}

/// Fails when `size` is above `limit`.
fn check(size: usize, limit: usize, what: &'static str) -> Result<(), PackError> {
    if size > limit { Err(PackError::TooLarge { what, limit }) } else { Ok(()) }
}
