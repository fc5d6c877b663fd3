//! Letters and tones: what the other modules know of Vietnamese spelling.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// The tone of a syllable, in the order of dictionaries. The level tone is written by no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tone {
    Grave,
    Hook,
    Tilde,
    Acute,
    Dot,
}

impl Tone {
    pub(crate) const ALL: [Self; 5] = [Self::Grave, Self::Hook, Self::Tilde, Self::Acute, Self::Dot];

    /// The combining mark that writes this tone.
    pub(crate) fn mark(self) -> char {
        match self {
            Self::Grave => '\u{300}',
            Self::Hook => '\u{309}',
            Self::Tilde => '\u{303}',
            Self::Acute => '\u{301}',
            Self::Dot => '\u{323}',
        }
    }

    fn of_mark(c: char) -> Option<Self> {
        Self::ALL.into_iter().find(|tone| tone.mark() == c)
    }
}

/// A text without its tone marks (`ă â ê ô ơ ư đ` stay), and the tones in their order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Toneless {
    /// In NFC.
    pub(crate) letters: String,
    pub(crate) tones: Vec<Tone>,
}

/// Parts a text into letters and tones. Only a mark on a vowel is a tone: the tilde of `ñ` is not.
pub(crate) fn toneless(text: &str) -> Toneless {
    let mut tones = Vec::new();
    let mut on_vowel = false;
    let letters = text
        .nfd()
        .filter(|&c| {
            if canonical_combining_class(c) == 0 {
                on_vowel = is_vowel(c);
            }
            match Tone::of_mark(c) {
                Some(tone) if on_vowel => {
                    tones.push(tone);
                    false
                }
                _ => true,
            }
        })
        .nfc()
        .collect();
    Toneless { letters, tones }
}

/// Whether this is a vowel of the base alphabet, without marks.
pub(crate) fn is_vowel(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 'a' | 'e' | 'i' | 'o' | 'u' | 'y')
}

/// The letter of the base alphabet that a lower-case toneless Vietnamese letter is made from; others are themselves.
pub(crate) fn base(c: char) -> char {
    match c {
        'ă' | 'â' => 'a',
        'đ' => 'd',
        'ê' => 'e',
        'ô' | 'ơ' => 'o',
        'ư' => 'u',
        _ => c,
    }
}

/// Maximal runs of word characters, each with where it begins in UTF-16. Marks and invisible characters belong to the
/// word that they are in.
pub(crate) fn words<'a>(
    text: &'a str,
    is_word: impl Fn(char) -> bool + 'a,
) -> impl Iterator<Item = (usize, &'a str)> + 'a {
    let mut rest = text.char_indices().peekable();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(&(_, c)) = rest.peek()
            && !is_word(c)
        {
            at += c.len_utf16();
            rest.next();
        }
        let &(from, _) = rest.peek()?;
        let (begin, mut to) = (at, from);
        while let Some(&(_, c)) = rest.peek()
            && is_word(c)
        {
            at += c.len_utf16();
            to += c.len_utf8();
            rest.next();
        }
        Some((begin, &text[from..to]))
    })
}

/// Length in UTF-16 code units.
pub(crate) fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_tones_part() {
        let cases: [(&str, &str, &[Tone]); 7] = [
            ("hòa", "hoa", &[Tone::Grave]),
            ("Việt", "Viêt", &[Tone::Dot]),
            ("Nguyễn", "Nguyên", &[Tone::Tilde]),
            ("được", "đươc", &[Tone::Dot]),
            ("hòà", "hoa", &[Tone::Grave, Tone::Grave]),
            ("mañana", "mañana", &[]),
            ("Ê̆ ơ̆", "Ê̆ ơ̆", &[]),
        ];
        for (text, letters, tones) in cases {
            assert_eq!(toneless(text), Toneless { letters: letters.into(), tones: tones.to_vec() }, "{text}");
        }
        println!("{} words parted", cases.len());
    }

    #[test]
    fn words_count_utf16() {
        let found: Vec<_> = words("𝄞 chi bộ, 5", char::is_alphanumeric).collect();
        assert_eq!(found, [(3, "chi"), (7, "bộ"), (11, "5")]);
    }
}
