//! The fuzzer's bytes as a script: numbers, choices and byte strings, taken from the front; zeros behind the end.

/// See the module.
#[derive(Debug, Clone)]
pub struct Feed<'a>(pub &'a [u8]);

impl<'a> Feed<'a> {
    /// Whether all was taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At most `n` bytes.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Two bytes.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `n`, which is at most 256 and not 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// One of these.
    pub fn one_of<'b, T>(&mut self, all: &'b [T]) -> &'b T {
        &all[self.below(all.len())]
    }

    /// Small mostly; sometimes any number, or one near the end of all.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            n @ 0..=247 => u64::from(n),
            248..=251 => u64::from(self.word()),
            252 | 253 => self.take(8).iter().fold(0, |n, byte| n << 8 | u64::from(*byte)),
            254 => u64::MAX - u64::from(self.byte()),
            255 => (i64::MAX as u64).wrapping_add_signed(i64::from(self.byte() as i8)),
        }
    }

    /// A byte string of a length that it says itself.
    pub fn bytes(&mut self) -> &'a [u8] {
        let n = usize::from(self.byte());
        self.take(n)
    }

    /// A longer one.
    pub fn long_bytes(&mut self) -> &'a [u8] {
        let n = usize::from(self.word());
        self.take(n)
    }

    /// A piece, repeated up to this many bytes in all: what a short input can say of a long one.
    pub fn repeated(&mut self, bytes_max: usize) -> Vec<u8> {
        let times = 1usize << (self.byte() & 31);
        let piece = self.bytes();
        if piece.is_empty() {
            return Vec::new();
        }
        piece.repeat(times.min(bytes_max / piece.len()).max(1))
    }

    /// These bytes, changed in up to 8 places as the script says.
    pub fn spoilt(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..self.below(9) {
            if out.is_empty() {
                break;
            }
            let at = usize::from(self.word()) % out.len();
            match self.below(5) {
                0 => out[at] ^= 1 << (self.byte() & 7),
                1 => out[at] = self.byte(),
                2 => out.truncate(at),
                3 => drop(out.splice(at..at, self.bytes().iter().copied())),
                _ => drop(out.drain(at..(at + 1 + self.below(16)).min(out.len()))),
            }
        }
        out
    }
}
