//! A strict byte reader, and the two kinds of LEB128 numbers that Automerge writes.

use super::PackError;

/// Bytes in the longest LEB128 form of 64 bits.
const LEB128_BYTES_MAX: usize = 10;

/// Reads from the front of a slice; every refusal names what was being read.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], PackError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(PackError::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, PackError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], PackError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(PackError::Truncated(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn uleb(&mut self, what: &'static str) -> Result<u64, PackError> {
        let mut value = 0u64;
        for index in 0..LEB128_BYTES_MAX {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if index == LEB128_BYTES_MAX - 1 && byte > 1 {
                return Err(PackError::NonMinimal(what));
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                return if byte == 0 && index > 0 { Err(PackError::NonMinimal(what)) } else { Ok(value) };
            }
        }
        Err(PackError::NonMinimal(what))
    }

    /// Signed LEB128. Minimality is checked by writing the number again: no encoding is the
    /// beginning of another, so what was read starts with it only if it is it.
    pub(super) fn sleb(&mut self, what: &'static str) -> Result<i64, PackError> {
        let start = self.rest;
        let mut value = 0i64;
        for index in 0..LEB128_BYTES_MAX {
            let byte = self.byte(what)?;
            let shift = 7 * index;
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte & 0x40 != 0 && shift + 7 < 64 {
                    value |= -1 << (shift + 7);
                }
                let mut again = Vec::with_capacity(LEB128_BYTES_MAX);
                put_sleb(&mut again, value);
                return if start.starts_with(&again) { Ok(value) } else { Err(PackError::NonMinimal(what)) };
            }
        }
        Err(PackError::NonMinimal(what))
    }

    /// A length or count that must be at most `max`; names the limit when it is not.
    pub(super) fn bounded(&mut self, max: usize, what: &'static str) -> Result<usize, PackError> {
        let value = self.uleb(what)?;
        match usize::try_from(value) {
            Ok(value) if value <= max => Ok(value),
            _ => Err(PackError::TooLarge { what, limit: max }),
        }
    }

    /// Bytes behind their own length; a length beyond the input is a truncation.
    pub(super) fn prefixed(&mut self, what: &'static str) -> Result<&'a [u8], PackError> {
        let length = usize::try_from(self.uleb(what)?).map_err(|_| PackError::Truncated(what))?;
        self.take(length, what)
    }

    pub(super) fn end(&self, what: &'static str) -> Result<(), PackError> {
        if self.rest.is_empty() { Ok(()) } else { Err(PackError::TrailingBytes(what)) }
    }
}

pub(super) fn put_uleb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_sleb(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        let sign = byte & 0x40 != 0;
        if (value == 0 && !sign) || (value == -1 && sign) {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

pub(super) fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uleb(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The wrapping difference as an unsigned number that is small when the two are near:
/// 0, −1, 1, −2, … become 0, 1, 2, 3, …
pub(super) fn near(value: u64, predicted: u64) -> u64 {
    let difference = value.wrapping_sub(predicted) as i64;
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// The inverse of [`near`]: one to one over all 64-bit numbers, so no form is non-canonical.
pub(super) fn from_near(coded: u64, predicted: u64) -> u64 {
    predicted.wrapping_add((coded >> 1) ^ (coded & 1).wrapping_neg())
}
