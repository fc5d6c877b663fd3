//! Folding: letters without case and marks, so that a text is found however its words are typed.
//!
//! A folded text is what people type who leave the marks out: `Đặng Hữu Đoàn` is `dang huu doan`. Folding unifies what NFC
//! does not: the two places of a tone mark (`hòa`, `hoà`). It takes away **only U+0300-U+036F**: the marks of Khmer and of
//! other scripts are letters and not decoration.

use std::ops::Range;

use unicode_normalization::char::{canonical_combining_class, decompose_canonical, is_combining_mark};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::{letters, normal};

/// Lower case, without the marks U+0300-U+036F, `đ` as `d`, and without invisible characters, in NFC.
///
/// The invisible characters are those of [`clean`](normal::clean), here without exception: a search is to find a Khmer
/// word or a picture of several emoji with or without its joiners.
#[must_use]
pub fn fold(text: &str) -> String {
    let text = normal::nfc(text);
    if text.chars().any(normal::is_accidental) {
        let visible: String = text.chars().filter(|&c| !normal::is_accidental(c)).collect();
        return fold_visible(&visible);
    }
    fold_visible(&text)
}

/// [`fold`] of a text in NFC without invisible characters, or of such texts put together.
pub(crate) fn fold_visible(text: &str) -> String {
    // Nearly all words are base letters with marks: what is left of them composes with nothing.
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            folded.push(c.to_ascii_lowercase());
        } else {
            for c in c.to_lowercase() {
                decompose_canonical(c, |c| folded.extend(plain(c)));
            }
        }
    }
    if folded.is_ascii() {
        return folded;
    }
    text.chars().flat_map(char::to_lowercase).nfd().filter_map(plain).nfc().collect()
}

/// What folding leaves of a decomposed lower-case character.
fn plain(c: char) -> Option<char> {
    match c {
        '\u{300}'..='\u{36f}' => None,
        'đ' => Some('d'),
        _ => Some(c),
    }
}

/// A folded text that knows where each part of it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    text: String,
    parts: Vec<Part>,
}

/// A stretch of folded text that comes from one stretch of the original and cannot be parted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// First byte in the folded text.
    at: usize,
    /// UTF-16 range in the NFC original.
    from: Range<usize>,
}

impl Folded {
    /// Folds a text. [`text`](Self::text) is the same as [`fold`] gives.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = normal::nfc(text);
        let mut folded = Self { text: String::with_capacity(text.len()), parts: Vec::new() };
        let mut part = String::new();
        let mut from = 0..0;
        let mut at = 0;
        for c in text.chars() {
            if !normal::is_accidental(c) {
                if begins_part(c) {
                    folded.push(&part, from);
                    part.clear();
                    from = at..at;
                }
                part.push(c);
                from.end = at + c.len_utf16();
            }
            at += c.len_utf16();
        }
        folded.push(&part, from);
        folded
    }

    fn push(&mut self, part: &str, from: Range<usize>) {
        let at = self.text.len();
        self.text.push_str(&fold_visible(part));
        if self.text.len() > at {
            self.parts.push(Part { at, from });
        }
    }

    /// The folded text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where a byte range of the folded text came from, in UTF-16 code units of the NFC original. A letter that the range
    /// only touches is in it as a whole, with its marks. Of an empty range and of one beyond the end: an empty range.
    #[must_use]
    pub fn original(&self, range: Range<usize>) -> Range<usize> {
        let first = self.parts.partition_point(|part| part.at <= range.start).saturating_sub(1);
        let past = self.parts.partition_point(|part| part.at < range.end);
        if range.is_empty() || range.start >= self.text.len() {
            let end = self.parts.last().map_or(0, |part| part.from.end);
            let at = if range.start >= self.text.len() { end } else { self.parts[first].from.start };
            return at..at;
        }
        self.parts[first].from.start..self.parts[past - 1].from.end
    }

    /// Every place, from the first on and without overlaps, where the folded `needle` is; in UTF-16 code units of the NFC
    /// original. None if nothing of the needle is left by folding.
    #[must_use]
    pub fn find_all(&self, needle: &str) -> Vec<Range<usize>> {
        let needle = fold(needle);
        if needle.is_empty() {
            return Vec::new();
        }
        self.text.match_indices(&needle).map(|(at, found)| self.original(at..at + found.len())).collect()
    }
}

/// Whether a character is normalised without regard to those before it: what goes before does not compose with it.
fn begins_part(c: char) -> bool {
    c.is_ascii()
        || (canonical_combining_class(c) == 0
            && !is_combining_mark(c)
            && is_nfc_quick(std::iter::once(c)) == IsNormalized::Yes)
}

/// A character that looks like a Vietnamese letter and is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookalike {
    /// Where, in UTF-16 code units of the NFC text.
    pub range: Range<usize>,
    /// What is there.
    pub found: char,
    /// What it looks like.
    pub meant: char,
}

/// Characters that look like letters of the Vietnamese alphabet and are not: words with them are not found by those who
/// type the right ones. They are reported and never folded, for in their own languages they are right.
///
/// The Icelandic eth (`Ð ð`) and the African D (`Ɖ`) are reported wherever they are. Cyrillic and Greek letters of the
/// same shape are reported in words that also have a Latin letter.
#[must_use]
pub fn lookalikes(text: &str) -> Vec<Lookalike> {
    let text = normal::nfc(text);
    let mut found = Vec::new();
    for (begin, word) in letters::words(&text, |c| c.is_alphabetic() || is_combining_mark(c)) {
        let mixed = word.chars().any(is_latin);
        let mut at = begin;
        for c in word.chars() {
            if let Some(meant) = looks_like(c).filter(|_| mixed || matches!(c, 'Ð' | 'ð' | 'Ɖ')) {
                found.push(Lookalike { range: at..at + c.len_utf16(), found: c, meant });
            }
            at += c.len_utf16();
        }
    }
    found
}

fn is_latin(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
        && !matches!(c, 'Ð' | 'ð' | 'Ɖ')
}

fn looks_like(c: char) -> Option<char> {
    Some(match c {
        // Eth, capital and small, and the African D, whose capital alone has this shape.
        'Ð' | 'Ɖ' => 'Đ',
        'ð' => 'đ',
        // Cyrillic, then Greek.
        'А' | 'Α' => 'A',
        'В' | 'Β' => 'B',
        'Е' | 'Ε' => 'E',
        'К' | 'Κ' => 'K',
        'М' | 'Μ' => 'M',
        'Н' | 'Η' => 'H',
        'О' | 'Ο' => 'O',
        'Р' | 'Ρ' => 'P',
        'С' => 'C',
        'Т' | 'Τ' => 'T',
        'Х' | 'Χ' => 'X',
        'І' | 'Ι' => 'I',
        'Ν' => 'N',
        'Υ' => 'Y',
        'а' => 'a',
        'е' => 'e',
        'о' | 'ο' => 'o',
        'р' => 'p',
        'с' => 'c',
        'у' => 'y',
        'х' => 'x',
        'і' => 'i',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utf16(text: &str, range: Range<usize>) -> String {
        let units: Vec<u16> = normal::nfc(text).encode_utf16().collect();
        String::from_utf16(&units[range]).expect("a range ends between characters")
    }

    #[test]
    fn what_is_found_is_shown_with_its_marks() {
        let cases = [
            ("Khe Gầy", "khe gay", vec!["Khe Gầy"]),
            ("về Khe Ga\u{302}\u{300}y.", "gay", vec!["Gầy"]),
            ("𝄞 Đặng, ĐẶNG", "dang", vec!["Đặng", "ĐẶNG"]),
            ("Ê̆a Ê̆a", "ea", vec!["Ê̆a", "Ê̆a"]),
            ("Đảng\u{200d}viên\u{ad}", "gvi", vec!["g\u{200d}vi"]),
            ("កម្ពុជា", "ម្ព", vec!["ម្ពុ"]),
            ("hoa", "\u{301}", vec![]),
        ];
        for (text, needle, expected) in &cases {
            let found: Vec<_> =
                Folded::new(text).find_all(needle).into_iter().map(|range| utf16(text, range)).collect();
            assert_eq!(&found, expected, "{needle} in {text}");
        }
        println!("{} searches in folded text", cases.len());
    }

    #[test]
    fn empty_and_far_ranges_have_a_place() {
        let folded = Folded::new("Đà");
        assert_eq!(folded.text(), "da");
        assert_eq!(folded.original(1..1), 1..1);
        assert_eq!(folded.original(2..2), 2..2);
        assert_eq!(folded.original(7..9), 2..2);
        assert_eq!(folded.original(0..9), 0..2);
        assert_eq!(Folded::new("").original(0..1), 0..0);
    }

    #[test]
    fn lookalikes_are_reported() {
        let found = lookalikes("Ðặng và ðồng chí");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Lookalike { range: 0..1, found: 'Ð', meant: 'Đ' });
        assert_eq!(found[1], Lookalike { range: 8..9, found: 'ð', meant: 'đ' });
        // A Cyrillic letter among Latin ones, and in a Cyrillic word.
        assert_eq!(lookalikes("Сhi bộ").len(), 1);
        assert_eq!(lookalikes("СССР, Москва"), []);
        assert_eq!(lookalikes("Đặng Hữu Đoàn, Ê̆a H'leo"), []);
    }

    proptest! {
        #[test]
        fn folded_text_and_its_map_agree(text in any_text()) {
            let folded = Folded::new(&text);
            prop_assert_eq!(folded.text(), fold(&text));
            prop_assert_eq!(fold(folded.text()), folded.text());
            let decomposed: String = text.nfd().collect();
            prop_assert_eq!(fold(&decomposed), folded.text());
            // The parts go upward, and what a part came from folds to that part.
            let mut last = 0;
            for (i, part) in folded.parts.iter().enumerate() {
                prop_assert!(last <= part.from.start && part.from.start < part.from.end);
                last = part.from.end;
                let end = folded.parts.get(i + 1).map_or(folded.text.len(), |next| next.at);
                prop_assert_eq!(folded.original(part.at..end), part.from.clone());
                prop_assert_eq!(fold(&utf16(&text, part.from.clone())), &folded.text[part.at..end]);
            }
        }
    }

    fn any_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>(),
            proptest::sample::select(
                "aăeêoơuưđĐÐẶİẞς\u{301}\u{323}\u{302}\u{31b}\u{344}\u{200d}\u{ad}\u{feff} កខ\u{17d2}\u{17bb}\u{1100}\u{1161}\u{11a8}"
                    .chars()
                    .collect::<Vec<_>>()
            ),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|chars| chars.into_iter().collect())
    }
}
