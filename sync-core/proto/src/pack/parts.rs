//! The parts of a pack: where each field's bytes go, and their compressed storage.

use std::borrow::Cow;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::bytes::{Reader, put_uleb};
use super::columns::COLUMNS;
use super::{PackError, VERSION};

/// Head byte: the version in the high nibble, the form in the low one.
const HEAD: u8 = VERSION << 4;

/// Number of parts in a split pack.
pub(super) const PARTS: usize = Part::Column(COLUMNS).index();
/// Above this many plain bytes the split form is always the smaller one: the joined form is not tried.
const JOINED_BYTES_MAX: usize = 16 * 1024;
/// First step, in bytes, of the inflated buffer; it doubles while the stream really yields more.
const INFLATE_STEP: usize = 4 * 1024;

/// How the fields are stored; the numbers are the low nibble of the head byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Form {
    /// One sequence, as it is.
    Plain = 0,
    /// One sequence, deflated.
    Deflated = 1,
    /// One sequence a part, each deflated where that is smaller.
    Split = 2,
}

impl Form {
    fn from_head(head: u8) -> Result<Self, PackError> {
        match (head & 0xf0, head & 0x0f) {
            (HEAD, 0) => Ok(Self::Plain),
            (HEAD, 1) => Ok(Self::Deflated),
            (HEAD, 2) => Ok(Self::Split),
            _ => Err(PackError::UnsupportedVersion(head)),
        }
    }
}

/// Where a field's bytes go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Actors,
    Deps,
    Seqs,
    Starts,
    Times,
    Messages,
    Shapes,
    Column(usize),
}

impl Part {
    const fn index(self) -> usize {
        match self {
            Self::Actors => 0,
            Self::Deps => 1,
            Self::Seqs => 2,
            Self::Starts => 3,
            Self::Times => 4,
            Self::Messages => 5,
            Self::Shapes => 6,
            Self::Column(column) => 7 + column,
        }
    }
}

/// The plain bytes of a pack, both in one sequence and divided by part.
#[derive(Debug)]
pub(super) struct PartsWriter {
    joined: Vec<u8>,
    split: Vec<Vec<u8>>,
}

impl PartsWriter {
    pub(super) fn new() -> Self {
        Self { joined: Vec::new(), split: vec![Vec::new(); PARTS] }
    }

    /// Appends what `write` writes to `part`.
    pub(super) fn put(&mut self, part: Part, write: impl FnOnce(&mut Vec<u8>)) {
        let out = &mut self.split[part.index()];
        let start = out.len();
        write(out);
        self.joined.extend_from_slice(&out[start..]);
    }

    /// Plain bytes so far, the same in every form.
    pub(super) fn plain_bytes(&self) -> usize {
        self.joined.len()
    }

    /// The pack of `count` changes in the smallest form; at equal size the simpler one.
    pub(super) fn finish(&self, count: usize) -> Vec<u8> {
        let split = self.in_form(Form::Split, count);
        if self.joined.len() > JOINED_BYTES_MAX {
            return split;
        }
        let simpler = [Form::Plain, Form::Deflated].map(|form| self.in_form(form, count));
        // The first of the smallest.
        simpler.into_iter().chain([split]).min_by_key(Vec::len).unwrap_or_default()
    }

    /// The pack of `count` changes in the given form.
    pub(super) fn in_form(&self, form: Form, count: usize) -> Vec<u8> {
        let mut out = vec![HEAD | form as u8];
        put_uleb(&mut out, count as u64);
        match form {
            Form::Plain => out.extend_from_slice(&self.joined),
            Form::Deflated => {
                put_uleb(&mut out, self.joined.len() as u64);
                out.extend_from_slice(&deflate(&self.joined));
            }
            Form::Split => self.split.iter().for_each(|part| put_part(&mut out, part)),
        }
        out
    }
}

/// The inflated parts of a received pack.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    plain: Vec<Cow<'a, [u8]>>,
}

impl<'a> Parts<'a> {
    /// Reads the head and inflates all parts, never holding more than `plain_bytes_max` of them.
    /// Returns the number of changes the pack says it holds, at most `changes_max`.
    pub(super) fn read(
        bytes: &'a [u8],
        plain_bytes_max: usize,
        changes_max: usize,
    ) -> Result<(usize, Self), PackError> {
        let mut reader = Reader::new(bytes);
        let form = Form::from_head(reader.byte("head")?)?;
        let count = reader.bounded(changes_max, "changes")?;
        let mut budget = Budget { left: plain_bytes_max, limit: plain_bytes_max };
        let plain = match form {
            Form::Plain => {
                budget.spend(reader.remaining())?;
                vec![Cow::Borrowed(reader.rest())]
            }
            Form::Deflated => {
                let plain = budget.read(&mut reader)?;
                let stored = reader.rest();
                if stored.len() >= plain {
                    return Err(PackError::NotCanonical("deflated without being smaller"));
                }
                vec![Cow::Owned(inflate(stored, plain)?)]
            }
            Form::Split => read_split(&mut reader, &mut budget)?,
        };
        Ok((count, Self { plain }))
    }

    /// Readers over the parts.
    pub(super) fn readers(&self) -> PartReaders<'_> {
        PartReaders { readers: self.plain.iter().map(|plain| Reader::new(plain)).collect() }
    }
}

/// One reader a part, or one for all when the pack is joined.
#[derive(Debug)]
pub(super) struct PartReaders<'p> {
    readers: Vec<Reader<'p>>,
}

impl<'p> PartReaders<'p> {
    pub(super) fn part(&mut self, part: Part) -> &mut Reader<'p> {
        let index = if self.readers.len() == 1 { 0 } else { part.index() };
        &mut self.readers[index]
    }

    /// Succeeds when every part was read to its end.
    pub(super) fn end(&self) -> Result<(), PackError> {
        self.readers.iter().try_for_each(|reader| reader.end("part"))
    }
}

/// What is left of the plain bytes that a pack may have.
struct Budget {
    left: usize,
    limit: usize,
}

impl Budget {
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<usize, PackError> {
        let plain = reader.bounded(self.limit, "unpacked bytes")?;
        self.spend(plain)?;
        Ok(plain)
    }

    fn spend(&mut self, plain: usize) -> Result<(), PackError> {
        let too_large = PackError::TooLarge { what: "unpacked bytes", limit: self.limit };
        self.left = self.left.checked_sub(plain).ok_or(too_large)?;
        Ok(())
    }
}

/// Reads all part heads before anything is inflated, so that the sum of the plain lengths is known
/// to be within bounds first.
fn read_split<'a>(reader: &mut Reader<'a>, budget: &mut Budget) -> Result<Vec<Cow<'a, [u8]>>, PackError> {
    let mut stored = [(0, &[][..]); PARTS];
    for part in &mut stored {
        let plain = budget.read(reader)?;
        if plain > 0 {
            let length = reader.uleb("stored length")?;
            if length > plain as u64 {
                return Err(PackError::NotCanonical("stored longer than plain"));
            }
            *part = (plain, reader.take(length as usize, "part")?);
        }
    }
    reader.end("pack")?;
    let inflated = stored.into_iter().map(|(plain, stored)| {
        if stored.len() == plain { Ok(Cow::Borrowed(stored)) } else { inflate(stored, plain).map(Cow::Owned) }
    });
    inflated.collect()
}

fn put_part(out: &mut Vec<u8>, plain: &[u8]) {
    put_uleb(out, plain.len() as u64);
    if plain.is_empty() {
        return;
    }
    let deflated = deflate(plain);
    let stored = if deflated.len() < plain.len() { &deflated } else { plain };
    put_uleb(out, stored.len() as u64);
    out.extend_from_slice(stored);
}

pub(super) fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    // Room for stored blocks, so that one call is nearly always enough.
    let mut out = Vec::with_capacity(plain.len() + plain.len() / 1024 + 64);
    loop {
        let rest = &plain[compress.total_in() as usize..];
        let status = compress
            .compress_vec(rest, &mut out, FlushCompress::Finish)
            .expect("deflating to memory cannot fail: no dictionary, no bad state");
        if status == Status::StreamEnd {
            return out;
        }
        out.reserve(INFLATE_STEP);
    }
}

/// Inflates exactly `plain_length` bytes from a stream that ends exactly with `stored`.
fn inflate(stored: &[u8], plain_length: usize) -> Result<Vec<u8>, PackError> {
    let mut decompress = Decompress::new(false);
    let mut out = Vec::new();
    loop {
        if out.len() == out.capacity() {
            // One byte more than allowed: enough to see that the stream says too much.
            out.reserve_exact((out.len().max(INFLATE_STEP)).min(plain_length.saturating_add(1) - out.len()));
        }
        let before = (decompress.total_in(), out.len());
        let rest = &stored[before.0 as usize..];
        let status = decompress.decompress_vec(rest, &mut out, FlushDecompress::None);
        let status = status.map_err(|_| PackError::Inflate("corrupt stream"))?;
        if out.len() > plain_length {
            return Err(PackError::Inflate("longer than stated"));
        }
        if status == Status::StreamEnd {
            break;
        }
        if (decompress.total_in(), out.len()) == before {
            return Err(PackError::Inflate("stream does not end"));
        }
    }
    if out.len() != plain_length {
        return Err(PackError::Inflate("shorter than stated"));
    }
    if decompress.total_in() != stored.len() as u64 {
        return Err(PackError::TrailingBytes("deflate stream"));
    }
    Ok(out)
}
