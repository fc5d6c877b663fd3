//! The tail of a change, split into its columns so that like bytes stand together.

use super::bytes::{Reader, put_uleb};

/// Column specifications that Automerge 0.12 writes, ascending: a change holds a subset of them in
/// this order. A column that comes later must be added at the end of a new pack version.
const KNOWN: [u32; COLUMNS] =
    [0x01, 0x02, 0x11, 0x13, 0x15, 0x34, 0x42, 0x56, 0x57, 0x70, 0x71, 0x73, 0x94, 0xa5];

/// How many columns are known.
pub(super) const COLUMNS: usize = 14;

/// Bits of a mask that name no column.
pub(super) const MASK_MAX: u64 = (1 << COLUMNS) - 1;

/// A tail in the form that every honest change has: at least one column, all known, ascending and
/// not empty. Absent columns are empty here, so the form has exactly one tail and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns<'a> {
    pub(super) data: [&'a [u8]; COLUMNS],
    pub(super) extra: &'a [u8],
}

impl<'a> Columns<'a> {
    /// Splits a tail; none when it is not of the honest form, and must travel verbatim.
    pub(super) fn split(tail: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(tail);
        let count = reader.bounded(COLUMNS, "columns").ok().filter(|count| *count > 0)?;
        let mut lengths = [0usize; COLUMNS];
        let mut first_free = 0;
        for _ in 0..count {
            let spec = reader.uleb("column").ok()?;
            let place =
                first_free + KNOWN[first_free..].iter().position(|known| u64::from(*known) == spec)?;
            lengths[place] = reader.bounded(tail.len(), "column length").ok().filter(|length| *length > 0)?;
            first_free = place + 1;
        }
        let mut data = [&[][..]; COLUMNS];
        for (data, length) in data.iter_mut().zip(lengths) {
            *data = reader.take(length, "column data").ok()?;
        }
        Some(Self { data, extra: reader.rest() })
    }

    /// One bit for each column that is there, the first column lowest.
    pub(super) fn mask(&self) -> u64 {
        (0..COLUMNS).filter(|column| !self.data[*column].is_empty()).map(|column| 1 << column).sum()
    }

    /// Appends the tail that these columns came from.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_uleb(out, u64::from(self.mask().count_ones()));
        for (spec, data) in KNOWN.iter().zip(self.data).filter(|(_, data)| !data.is_empty()) {
            put_uleb(out, u64::from(*spec));
            put_uleb(out, data.len() as u64);
        }
        for data in self.data {
            out.extend_from_slice(data);
        }
        out.extend_from_slice(self.extra);
    }
}
