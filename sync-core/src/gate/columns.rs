//! G3: how many operations a change has, from the run lengths of its columns: nothing is expanded, so the time
//! taken is that of reading the bytes once, whatever they say.
//!
//! ```text
//! tail = n columns ‖ n × [specification ‖ length] ‖ data in that order ‖ extra bytes
//! run  = signed n > 0 ‖ value: the value n times | n < 0: -n values follow | 0 ‖ m: nothing m times
//! ```

use dinh_proto::limits;

use super::refusal::Refusal;

/// What is in a column, and how its rows count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Runs of unsigned numbers, or nothing.
    Numbers,
    /// Runs of signed differences, or nothing.
    Deltas,
    /// Runs of strings, or nothing.
    Strings,
    /// Lengths of alternating runs of false and true.
    Flags,
    /// The actions: a number for each operation.
    Actions,
    /// Kind and length of each value.
    ValueMeta,
    /// The values' bytes.
    ValueData,
    /// How many predecessors each operation has.
    PredCounts,
    /// A row for each predecessor.
    PredNumbers,
    /// The same, as differences.
    PredDeltas,
}

/// Every column that Automerge 0.12 writes, in its order.
const KNOWN: [(u64, Shape); 14] = [
    (0x01, Shape::Numbers),
    (0x02, Shape::Numbers),
    (0x11, Shape::Numbers),
    (0x13, Shape::Deltas),
    (0x15, Shape::Strings),
    (0x34, Shape::Flags),
    (0x42, Shape::Actions),
    (0x56, Shape::ValueMeta),
    (0x57, Shape::ValueData),
    (0x70, Shape::PredCounts),
    (0x71, Shape::PredNumbers),
    (0x73, Shape::PredDeltas),
    (0x94, Shape::Flags),
    (0xa5, Shape::Strings),
];

/// What the columns of a change say about themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// Operations.
    pub(super) ops: usize,
    /// Bytes after the columns.
    pub(super) extra: usize,
}

pub(super) fn count(tail: &[u8]) -> Result<Counted, Refusal> {
    let mut r = Reader(tail);
    let n = r.uleb()?;
    if n > KNOWN.len() as u64 {
        return Err(Refusal::Columns("too many"));
    }
    let mut columns = Vec::with_capacity(KNOWN.len());
    let mut known = KNOWN.iter();
    for _ in 0..n {
        let spec = r.uleb()?;
        // Ascending and each once, because the search goes on where it was.
        let Some((_, shape)) = known.find(|(k, _)| *k == spec) else {
            return Err(Refusal::Columns("unknown, repeated or out of order"));
        };
        columns.push((*shape, r.uleb()?));
    }
    let mut data = Vec::with_capacity(columns.len());
    for (shape, length) in columns {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        data.push((shape, r.take(length)?));
    }
    let of = |shape: Shape| data.iter().find(|(s, _)| *s == shape).map_or(&[][..], |(_, d)| *d);
    let ops = Rows::of(of(Shape::Actions), Item::Number, limits::CHANGE_OPS_MAX)?;
    if ops.nothing > 0 {
        return Err(Refusal::Columns("an operation without an action"));
    }
    if ops.rows == 0 {
        return Err(Refusal::Count { what: "operations", limit: limits::CHANGE_OPS_MAX });
    }
    let preds = Rows::of(of(Shape::PredCounts), Item::Number, ops.rows)?;
    if preds.sum > limits::CHANGE_PREDS_MAX as u64 {
        return Err(Refusal::Count { what: "predecessors", limit: limits::CHANGE_PREDS_MAX });
    }
    let preds = preds.sum as usize;
    for (shape, column) in &data {
        match shape {
            Shape::Numbers => Rows::of(column, Item::Number, ops.rows).map(drop)?,
            Shape::Deltas => Rows::of(column, Item::Delta, ops.rows).map(drop)?,
            Shape::Strings => Rows::of(column, Item::Text, ops.rows).map(drop)?,
            Shape::PredNumbers => Rows::of(column, Item::Number, preds).map(drop)?,
            Shape::PredDeltas => Rows::of(column, Item::Delta, preds).map(drop)?,
            Shape::Flags => flags(column, ops.rows)?,
            Shape::ValueMeta => {
                let meta = Rows::of(column, Item::Meta, ops.rows)?;
                if meta.sum != of(Shape::ValueData).len() as u64 {
                    return Err(Refusal::Columns("values and their lengths differ"));
                }
            }
            Shape::ValueData if of(Shape::ValueMeta).is_empty() => {
                return Err(Refusal::Columns("values without lengths"));
            }
            Shape::Actions | Shape::PredCounts | Shape::ValueData => {}
        }
    }
    Ok(Counted { ops: ops.rows, extra: r.0.len() })
}

/// Booleans: lengths of runs, false first.
fn flags(column: &[u8], limit: usize) -> Result<(), Refusal> {
    let mut r = Reader(column);
    let mut rows = 0u64;
    while !r.0.is_empty() {
        rows = rows.saturating_add(r.uleb()?);
        too_many(rows, limit)?;
    }
    Ok(())
}

fn too_many(rows: u64, limit: usize) -> Result<(), Refusal> {
    if rows > limit as u64 {
        let limit = if limit == 0 { 0 } else { limits::CHANGE_OPS_MAX };
        return Err(Refusal::Count { what: "rows of a column", limit });
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Item {
    Number,
    Delta,
    Text,
    /// A number whose bits from the fourth up are a length.
    Meta,
}

struct Rows {
    rows: usize,
    nothing: u64,
    /// Of the numbers, or of the lengths.
    sum: u64,
}

impl Rows {
    fn of(column: &[u8], item: Item, limit: usize) -> Result<Self, Refusal> {
        let mut r = Reader(column);
        let (mut rows, mut nothing, mut sum) = (0u64, 0u64, 0u64);
        while !r.0.is_empty() {
            let run = r.sleb()?;
            let values = if run == 0 {
                let n = r.uleb()?;
                nothing = nothing.saturating_add(n);
                rows = rows.saturating_add(n);
                0
            } else {
                rows = rows.saturating_add(run.unsigned_abs());
                if run > 0 { 1 } else { run.unsigned_abs() }
            };
            too_many(rows, limit)?;
            for _ in 0..values {
                let value = item.read(&mut r)?;
                let times = if run > 0 { run.unsigned_abs() } else { 1 };
                sum = sum.saturating_add(value.saturating_mul(times));
            }
        }
        Ok(Self { rows: rows as usize, nothing, sum })
    }
}

impl Item {
    fn read(self, r: &mut Reader<'_>) -> Result<u64, Refusal> {
        match self {
            Self::Number => r.uleb(),
            Self::Delta => r.sleb().map(|_| 0),
            Self::Text => {
                let length = r.uleb()?;
                if length == 0 || length > limits::KEY_BYTES_MAX as u64 {
                    return Err(Refusal::Length { what: "a key or name", limit: limits::KEY_BYTES_MAX });
                }
                r.take(length as usize)?;
                Ok(0)
            }
            Self::Meta => {
                let length = r.uleb()? >> 4;
                if length > limits::SCALAR_BYTES_MAX as u64 {
                    return Err(Refusal::Length { what: "a value", limit: limits::SCALAR_BYTES_MAX });
                }
                Ok(length)
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

const CUT: Refusal = Refusal::Columns("cut short");
const LONG: Refusal = Refusal::Columns("a number of more than 64 bits");

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(CUT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Refusal> {
        let (first, rest) = self.0.split_first().ok_or(CUT)?;
        self.0 = rest;
        Ok(*first)
    }

    /// Unsigned LEB128. That it is the shortest form is seen when the change is encoded again.
    fn uleb(&mut self) -> Result<u64, Refusal> {
        let mut value = 0u64;
        for index in 0..10 {
            let byte = self.byte()?;
            if index == 9 && byte > 1 {
                return Err(LONG);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(LONG)
    }

    /// Signed LEB128.
    fn sleb(&mut self) -> Result<i64, Refusal> {
        let mut value = 0i64;
        for index in 0..10 {
            let byte = self.byte()?;
            if index == 9 && byte != 0 && byte != 0x7f {
                return Err(LONG);
            }
            let shift = 7 * index;
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte & 0x40 != 0 && shift + 7 < 64 {
                    value |= -1 << (shift + 7);
                }
                return Ok(value);
            }
        }
        Err(LONG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(columns: &[(u64, &[u8])]) -> Vec<u8> {
        let mut out = vec![columns.len() as u8];
        for (spec, data) in columns {
            dinh_proto::codec::Write::put_uleb(&mut out, *spec);
            out.push(data.len() as u8);
        }
        columns.iter().for_each(|(_, data)| out.extend_from_slice(data));
        out
    }

    #[test]
    fn runs_are_counted_without_being_expanded() {
        // 5 times, then 2 single ones.
        assert_eq!(count(&tail(&[(0x42, &[5, 1, 0x7e, 1, 3])])).map(|c| c.ops), Ok(7));
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f, 1];
        let refused = Err(Refusal::Count { what: "rows of a column", limit: limits::CHANGE_OPS_MAX });
        assert_eq!(count(&tail(&[(0x42, &huge)])), refused);
        // As many as fit the counter, as single values and as nothing.
        assert_eq!(
            count(&tail(&[(0x42, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f])])),
            refused
        );
        assert_eq!(count(&tail(&[(0x15, &[0, 0xff, 0xff, 0x7f]), (0x42, &[1, 1])])), refused);
        assert_eq!(
            count(&tail(&[])).map(|c| c.ops),
            Err(Refusal::Count { what: "operations", limit: 65_536 })
        );
        assert!(matches!(
            count(&tail(&[(0x42, &[2, 1]), (0x70, &[2, 0xff, 0xff, 0x7f])])),
            Err(Refusal::Count { .. })
        ));
    }

    #[test]
    fn only_known_columns_in_order_and_nothing_cut() {
        let one: &[u8] = &[0x7f, 1];
        for columns in
            [&[(0x42, one), (0x42, one)][..], &[(0x70, one), (0x42, one)], &[(0x42, one), (0x99, one)]]
        {
            assert!(matches!(count(&tail(columns)), Err(Refusal::Columns(_))));
        }
        let good = tail(&[(0x42, one), (0x56, &[0x7f, 0x16]), (0x57, b"x")]);
        assert_eq!(count(&good), Ok(Counted { ops: 1, extra: 0 }));
        for cut in 0..good.len() {
            assert!(count(&good[..cut]).is_err(), "{cut}");
        }
        assert_eq!(count(&[&good[..], b"xy"].concat()).map(|c| c.extra), Ok(2));
    }
}
