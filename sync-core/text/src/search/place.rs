//! Where the words of a field are, in two bytes for most of them: only hits are read.

use std::ops::Range;

use super::words::Word;

/// Where one word is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// UTF-16 code units of the text.
    pub(super) range: Range<usize>,
    /// It is the first of its line.
    pub(super) begins_line: bool,
}

/// Reads what [`encoded`] wrote. For each word: the distance from the end of the one before it, doubled, with 1 added if it
/// begins a line; and its length. Numbers have seven bits in a byte, the lowest first; the high bit says that more follow.
pub(super) struct Places<'a> {
    pub(super) bytes: std::slice::Iter<'a, u8>,
    pub(super) end: usize,
}

impl Iterator for Places<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let gap = self.number()?;
        let start = self.end + (gap >> 1);
        self.end = start + self.number()?;
        Some(Place { range: start..self.end, begins_line: gap & 1 == 1 })
    }
}

impl Places<'_> {
    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        let mut shift = 0;
        loop {
            let byte = *self.bytes.next()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }
}

pub(super) fn encoded(words: &[Word]) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(words.len() * 2);
    let mut end = 0;
    for word in words {
        push(&mut bytes, (word.start - end) << 1 | usize::from(word.begins_line));
        push(&mut bytes, word.end - word.start);
        end = word.end;
    }
    bytes.into()
}

fn push(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::words::words;

    #[test]
    fn places_are_read_as_written() {
        let long = format!("{} chi bộ{}\n\nthôn", "x".repeat(20_000), " .".repeat(9_000));
        let hundred = "x".repeat(100);
        for text in ["", "a", hundred.as_str(), "chi bộ\nthôn, xã", "  𝄞 Ê̆a", long.as_str()] {
            let words = words(text);
            let expected: Vec<_> = words
                .iter()
                .map(|word| Place { range: word.start..word.end, begins_line: word.begins_line })
                .collect();
            let bytes = encoded(&words);
            let read: Vec<_> = Places { bytes: bytes.iter(), end: 0 }.collect();
            assert_eq!(read, expected);
        }
    }
}
