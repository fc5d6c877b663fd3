//! The form in which text is stored, and the form in which it is compared and hashed.

use std::borrow::Cow;

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// The text in NFC. Costs one pass and no memory when it is NFC already.
#[must_use]
pub fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) }
}

/// The text in NFC without the invisible characters that text input and pasting bring by accident. For comparing,
/// searching and hashing only: what is stored and shown is the text as it was written.
///
/// Dropped are the soft hyphen, the combining grapheme joiner, the zero width space, joiner and non-joiner, the marks and
/// controls of writing direction, the word joiner and its kin, and the byte order mark (U+00AD, U+034F, U+061C,
/// U+200B-U+200F, U+202A-U+202E, U+2060-U+206F, U+FEFF).
///
/// The zero width space, joiner and non-joiner (U+200B-U+200D) **stay where they mean something**: between two characters
/// of which neither is of the Latin, Greek or Cyrillic script or common punctuation. In Khmer they end words and join
/// letters, in the scripts of India they choose the form of a letter, and in emoji they make one picture of several. (A
/// combining mark counts as of the letter before it.)
///
/// Other default-ignorable characters (variation selectors, Hangul fillers, Khmer inherent vowels, tags) stay: nobody
/// types them by accident.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let text = nfc(text);
    if !text.chars().any(is_accidental) {
        return text;
    }
    let kept = kept(&text);
    // What stood on both sides of a dropped character may compose.
    if is_nfc(&kept) { Cow::Owned(kept) } else { Cow::Owned(kept.nfc().collect()) }
}

/// What [`clean`] keeps of a text in NFC.
fn kept(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    // Joiners since the last character that stays, for which the next one decides.
    let mut waiting = String::new();
    let mut before: Option<char> = None;
    for c in text.chars() {
        if !is_accidental(c) {
            // A mark is of the letter before it, whatever other marks normalisation puts between.
            let begins = canonical_combining_class(c) == 0;
            if before.is_some_and(takes_joiners) && (!begins || takes_joiners(c)) {
                kept.push_str(&waiting);
            }
            waiting.clear();
            kept.push(c);
            if begins {
                before = Some(c);
            }
        } else if is_joiner(c) {
            waiting.push(c);
        }
    }
    kept
}

/// Whether this is invisible and comes by accident; [`clean`] drops it, unless it is a joiner in its place.
pub(crate) fn is_accidental(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200d}')
}

/// Whether joiners beside this character may mean something: all but Latin, Greek, Cyrillic, Armenian and what is common
/// to scripts.
fn takes_joiners(c: char) -> bool {
    !matches!(c,
        '\0'..='\u{58f}' | '\u{1d00}'..='\u{20ff}' | '\u{2c60}'..='\u{2c7f}' | '\u{2de0}'..='\u{2e7f}'
        | '\u{3000}'..='\u{3004}' | '\u{a640}'..='\u{a69f}' | '\u{a700}'..='\u{a7ff}' | '\u{ab30}'..='\u{ab6f}'
        | '\u{fb00}'..='\u{fb17}' | '\u{fe20}'..='\u{fe2f}' | '\u{ff00}'..='\u{ff5e}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nfc_borrows_what_is_nfc() {
        assert!(matches!(nfc("Đảng bộ xã"), Cow::Borrowed(_)));
        assert!(matches!(nfc("abc"), Cow::Borrowed(_)));
        assert!(matches!(clean("Đảng bộ xã"), Cow::Borrowed(_)));
        assert_eq!(nfc("Tie\u{302}\u{301}ng"), "Tiếng");
    }

    #[test]
    fn accidental_characters_are_dropped() {
        let cases = [
            ("Đảng\u{200d}viên\u{ad}", "Đảngviên"),
            ("\u{feff}chi bộ", "chi bộ"),
            ("chi\u{200b} bộ", "chi bộ"),
            // A letter and its tone mark, parted.
            ("bo\u{200c}\u{323}", "bọ"),
            ("a\u{34f}\u{301}", "á"),
            ("\u{202a}số 5\u{202c}", "số 5"),
            // At the ends of a text nothing joins.
            ("\u{200d}ក\u{200d}", "ក"),
            ("ក\u{200d}a", "កa"),
            // A mark of one script after a letter of another, which normalisation moves.
            ("\u{301}\u{200b}\u{17d2}\u{200b}\u{590}", "\u{17d2}\u{301}\u{590}"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text), expected, "{text:?}");
        }
        println!("{} texts with accidental characters", cases.len());
    }

    #[test]
    fn joiners_stay_where_they_mean_something() {
        let cases = [
            "ភាសា\u{200b}ខ្មែរ",            // Khmer words, parted
            "ន្\u{200d}យ",                 // Khmer
            "क्\u{200d}ष",                 // Devanagari half form
            "\u{1f468}\u{200d}\u{1f33e}", // a farmer
            "\u{2764}\u{fe0f}\u{200d}\u{1f525}",
        ];
        for text in cases {
            assert_eq!(clean(text), text, "{text:?}");
        }
        println!("{} texts whose joiners stay", cases.len());
    }

    proptest! {
        #[test]
        fn clean_is_nfc_and_settled(text in any_text()) {
            let once = clean(&text).into_owned();
            prop_assert!(is_nfc(&once));
            prop_assert_eq!(clean(&once), once.as_str());
            let decomposed: String = text.nfd().collect();
            prop_assert_eq!(clean(&decomposed), once.as_str());
        }
    }

    /// Any characters, thick with those that this module treats apart.
    fn any_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>(),
            proptest::sample::select(
                "aăeêoơuưđĐÐẶ\u{301}\u{323}\u{302}\u{31b}\u{200b}\u{200d}\u{ad}\u{34f}\u{feff} កខ\u{17d2}ꨌ\u{212a}\u{1100}\u{1161}"
                    .chars()
                    .collect::<Vec<_>>()
            ),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|chars| chars.into_iter().collect())
    }
}
