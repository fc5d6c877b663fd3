//! Strict reading and writing of fixed-layout bytes.
//!
//! There is one encoding of every value: integers are little-endian or minimal LEB128, lists carry their
//! length, and a reader must end exactly at the end of its input.

use crate::error::InvalidMessage;

/// Reads a byte slice from front to back; every method names what it was reading when it fails.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over the whole of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], InvalidMessage> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(InvalidMessage::Truncated(what))?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], InvalidMessage> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(InvalidMessage::Truncated(what))?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, InvalidMessage> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, InvalidMessage> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, InvalidMessage> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, InvalidMessage> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Unsigned LEB128 in its shortest form.
    pub fn uleb(&mut self, what: &'static str) -> Result<u64, InvalidMessage> {
        let mut value = 0u64;
        for shift in (0..).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 || shift > 63 {
                return Err(InvalidMessage::TooLarge { what, limit: u64::MAX });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(InvalidMessage::NonMinimal(what));
                }
                return Ok(value);
            }
        }
        unreachable!("the loop returns by the tenth byte")
    }

    /// LEB128 that may not exceed `limit`.
    pub fn uleb_max(&mut self, limit: u64, what: &'static str) -> Result<u64, InvalidMessage> {
        let value = self.uleb(what)?;
        if value > limit { Err(InvalidMessage::TooLarge { what, limit }) } else { Ok(value) }
    }

    /// A list length: at most `limit`, and never more than the bytes left could hold at `each_min` bytes an
    /// entry, so that a lying length cannot reserve memory.
    pub fn count(
        &mut self,
        limit: usize,
        each_min: usize,
        what: &'static str,
    ) -> Result<usize, InvalidMessage> {
        let n = self.uleb_max(limit as u64, what)? as usize;
        if n.saturating_mul(each_min.max(1)) > self.remaining() {
            return Err(InvalidMessage::Truncated(what));
        }
        Ok(n)
    }

    /// A length-prefixed byte string of at most `limit` bytes.
    pub fn blob(&mut self, limit: usize, what: &'static str) -> Result<&'a [u8], InvalidMessage> {
        let n = self.uleb_max(limit as u64, what)? as usize;
        self.bytes(n, what)
    }

    /// A length-prefixed UTF-8 string of at most `limit` bytes.
    pub fn text(&mut self, limit: usize, what: &'static str) -> Result<&'a str, InvalidMessage> {
        std::str::from_utf8(self.blob(limit, what)?).map_err(|_| InvalidMessage::NotUtf8(what))
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Fails if anything is left.
    pub fn finish(self, what: &'static str) -> Result<(), InvalidMessage> {
        if self.rest.is_empty() { Ok(()) } else { Err(InvalidMessage::TrailingBytes(what)) }
    }
}

/// Appends to a byte vector in the same layout that [`Reader`] reads.
pub trait Write {
    /// One byte.
    fn put_u8(&mut self, v: u8);
    /// Raw bytes.
    fn put_bytes(&mut self, v: &[u8]);

    /// Two bytes, little-endian.
    fn put_u16(&mut self, v: u16) {
        self.put_bytes(&v.to_le_bytes());
    }
    /// Four bytes, little-endian.
    fn put_u32(&mut self, v: u32) {
        self.put_bytes(&v.to_le_bytes());
    }
    /// Eight bytes, little-endian.
    fn put_u64(&mut self, v: u64) {
        self.put_bytes(&v.to_le_bytes());
    }
    /// Unsigned LEB128, shortest form.
    fn put_uleb(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.put_u8(v as u8 | 0x80);
            v >>= 7;
        }
        self.put_u8(v as u8);
    }
    /// Length-prefixed bytes.
    fn put_blob(&mut self, v: &[u8]) {
        self.put_uleb(v.len() as u64);
        self.put_bytes(v);
    }
}

impl Write for Vec<u8> {
    fn put_u8(&mut self, v: u8) {
        self.push(v);
    }
    fn put_bytes(&mut self, v: &[u8]) {
        self.extend_from_slice(v);
    }
}

/// How many bytes [`Write::put_uleb`] writes for `v`.
pub fn uleb_len(v: u64) -> usize {
    (64 - (v | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uleb_round_trips_and_only_the_shortest_form_is_read() {
        for v in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            out.put_uleb(v);
            assert_eq!(out.len(), uleb_len(v));
            let mut r = Reader::new(&out);
            assert_eq!(r.uleb("v").unwrap(), v);
            r.finish("v").unwrap();
        }
        assert_eq!(Reader::new(&[0x80, 0x00]).uleb("v"), Err(InvalidMessage::NonMinimal("v")));
        assert_eq!(Reader::new(&[0x80]).uleb("v"), Err(InvalidMessage::Truncated("v")));
        let too_large = [0xff; 10];
        assert!(matches!(Reader::new(&too_large).uleb("v"), Err(InvalidMessage::TooLarge { .. })));
        let eleven = [0x80; 11];
        assert!(Reader::new(&eleven).uleb("v").is_err());
    }

    #[test]
    fn a_lying_count_is_refused_before_memory_is_reserved() {
        let mut out = Vec::new();
        out.put_uleb(1_000_000);
        assert_eq!(Reader::new(&out).count(2_000_000, 16, "list"), Err(InvalidMessage::Truncated("list")));
    }
}
