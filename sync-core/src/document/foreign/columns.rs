//! The columns of a saved Automerge document, read one row after another. Nothing is expanded: a run that says a million rows costs what
//! the reader asks of it.

use std::collections::BTreeMap;
use std::io::Read as _;

use super::FileError;

/// Columns of one table, at most.
const COLUMNS_MAX: u64 = 32;
/// In a column's specification: its bytes are deflated.
const DEFLATED: u64 = 0x08;

/// What is wrong with the bytes.
pub(super) const fn damaged<T>(what: &'static str) -> Result<T, FileError> {
    Err(FileError::Damaged(what))
}

/// Bytes that are read from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, n: u64) -> Result<&'a [u8], FileError> {
        let split = usize::try_from(n).ok().and_then(|n| self.0.split_at_checked(n));
        let Some((taken, rest)) = split else { return damaged("it ends too early") };
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn uleb(&mut self) -> Result<u64, FileError> {
        let (value, _) = self.leb()?;
        Ok(value)
    }

    pub(super) fn sleb(&mut self) -> Result<i64, FileError> {
        let (value, bits) = self.leb()?;
        let is_negative = bits < 64 && value >> (bits - 1) & 1 == 1;
        Ok(if is_negative { value | u64::MAX << bits } else { value }.cast_signed())
    }

    /// A LEB128 number of at most 64 bits, and how many bits its bytes hold.
    fn leb(&mut self) -> Result<(u64, u32), FileError> {
        let (mut value, mut bits) = (0, 0);
        loop {
            let Some((byte, rest)) = self.0.split_first() else { return damaged("a number has no end") };
            self.0 = rest;
            if bits >= 64 {
                return damaged("a number is too long");
            }
            value |= u64::from(byte & 0x7f) << bits;
            bits += 7;
            if byte & 0x80 == 0 {
                return Ok((value, bits));
            }
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, FileError> {
        let length = self.uleb()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).or(damaged("a string is not UTF-8"))
    }
}

/// The columns of a table by specification, unpacked.
#[derive(Debug, Default)]
pub(super) struct Columns(BTreeMap<u64, Vec<u8>>);

impl Columns {
    /// What the head of a table says: specifications and lengths.
    pub(super) fn head(bytes: &mut Bytes<'_>) -> Result<Vec<(u64, u64)>, FileError> {
        let n = bytes.uleb()?;
        if n > COLUMNS_MAX {
            return damaged("it has too many columns");
        }
        (0..n).map(|_| Ok((bytes.uleb()?, bytes.uleb()?))).collect()
    }

    /// Unpacks them into at most `room` bytes, which become fewer.
    pub(super) fn read(
        head: &[(u64, u64)],
        known: &[u64],
        bytes: &mut Bytes<'_>,
        room: &mut usize,
    ) -> Result<Self, FileError> {
        let mut columns = BTreeMap::new();
        for (spec, length) in head {
            let stored = bytes.take(*length)?;
            let column = if spec & DEFLATED == 0 { stored.to_vec() } else { inflate(stored, *room)? };
            let Some(left) = room.checked_sub(column.len()) else {
                return damaged("it is too large unpacked");
            };
            *room = left;
            let spec = spec & !DEFLATED;
            if !known.contains(&spec) {
                return Err(FileError::Unsupported("a column that this version does not know"));
            }
            if columns.insert(spec, column).is_some() {
                return damaged("a column stands in it twice");
            }
        }
        Ok(Self(columns))
    }

    pub(super) fn bytes(&self, spec: u64) -> Bytes<'_> {
        Bytes(self.0.get(&spec).map_or(&[], Vec::as_slice))
    }

    pub(super) fn numbers(&self, spec: u64) -> Runs<'_, u64> {
        Runs::new(self.bytes(spec), Bytes::uleb)
    }

    pub(super) fn texts(&self, spec: u64) -> Runs<'_, &str> {
        Runs::new(self.bytes(spec), Bytes::text)
    }

    pub(super) fn deltas(&self, spec: u64) -> Deltas<'_> {
        Deltas { runs: Runs::new(self.bytes(spec), Bytes::sleb), last: 0 }
    }

    pub(super) fn flags(&self, spec: u64) -> Flags<'_> {
        Flags { bytes: self.bytes(spec), left: 0, flag: true }
    }
}

fn inflate(bytes: &[u8], room: usize) -> Result<Vec<u8>, FileError> {
    let mut out = Vec::new();
    let limit = u64::try_from(room).unwrap_or(u64::MAX).saturating_add(1);
    match flate2::read::DeflateDecoder::new(bytes).take(limit).read_to_end(&mut out) {
        Ok(n) if n <= room => Ok(out),
        Ok(_) => damaged("it is too large unpacked"),
        Err(_) => damaged("a column does not unpack"),
    }
}

/// Runs of values, or of nothing.
#[derive(Debug)]
pub(super) struct Runs<'a, T> {
    bytes: Bytes<'a>,
    read: fn(&mut Bytes<'a>) -> Result<T, FileError>,
    left: u64,
    /// What the run repeats: nothing, one value, or each row has its own.
    run: Run<T>,
}

#[derive(Debug)]
enum Run<T> {
    Nothing,
    Same(T),
    Each,
}

impl<'a, T: Copy> Runs<'a, T> {
    const fn new(bytes: Bytes<'a>, read: fn(&mut Bytes<'a>) -> Result<T, FileError>) -> Self {
        Self { bytes, read, left: 0, run: Run::Nothing }
    }

    /// The next row; nothing behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<T>, FileError> {
        if self.left == 0 {
            if self.bytes.0.is_empty() {
                return Ok(None);
            }
            let n = self.bytes.sleb()?;
            (self.run, self.left) = match n {
                0 => (Run::Nothing, self.bytes.uleb()?),
                1.. => (Run::Same((self.read)(&mut self.bytes)?), n.unsigned_abs()),
                _ => (Run::Each, n.unsigned_abs()),
            };
            if self.left == 0 {
                return damaged("a run has no rows");
            }
        }
        self.left -= 1;
        match &self.run {
            Run::Nothing => Ok(None),
            Run::Same(value) => Ok(Some(*value)),
            Run::Each => (self.read)(&mut self.bytes).map(Some),
        }
    }

    /// Whether every row was read.
    pub(super) const fn is_at_end(&self) -> bool {
        self.left == 0 && self.bytes.0.is_empty()
    }
}

/// Numbers as differences from the one before.
#[derive(Debug)]
pub(super) struct Deltas<'a> {
    runs: Runs<'a, i64>,
    last: i64,
}

impl Deltas<'_> {
    pub(super) fn next(&mut self) -> Result<Option<i64>, FileError> {
        let Some(step) = self.runs.next()? else { return Ok(None) };
        let Some(next) = self.last.checked_add(step) else { return damaged("a number is too large") };
        self.last = next;
        Ok(Some(next))
    }

    /// The next row, which must be a count.
    pub(super) fn count(&mut self) -> Result<u64, FileError> {
        match self.next()?.map(u64::try_from) {
            Some(Ok(n)) => Ok(n),
            _ => damaged("a number is missing"),
        }
    }
}

/// Lengths of alternating runs, false first.
#[derive(Debug)]
pub(super) struct Flags<'a> {
    bytes: Bytes<'a>,
    left: u64,
    flag: bool,
}

impl Flags<'_> {
    pub(super) fn next(&mut self) -> Result<bool, FileError> {
        while self.left == 0 {
            if self.bytes.0.is_empty() {
                return Ok(false);
            }
            self.left = self.bytes.uleb()?;
            self.flag = !self.flag;
        }
        self.left -= 1;
        Ok(self.flag)
    }
}
