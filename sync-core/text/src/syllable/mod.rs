//! Syllables: what Vietnamese spelling allows, and two things that go wrong with it in shared documents.
//!
//! * When two people correct the tone of the same syllable at the same time, the merged text has both: `hòa` and `hoà` make
//!   `hòà`. [`two_tones`] finds such syllables, so that someone is asked to look.
//! * When a text is taken from an input method before it is composed, the keys are in the document: `tieengs` for `tiếng`.
//!   [`telex_leftover`] finds such words.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::letters::{self, Tone, base};
use crate::normal;

mod keys;

/// Whether a word can be a Vietnamese syllable: an onset and a rhyme of the spelling, and a tone that goes with them (before
/// `c ch p t` there are only acute and dot). Case and the place of the tone mark do not matter. It is a matter of form:
/// not every syllable that is possible is in use.
#[must_use]
pub fn is_syllable(word: &str) -> bool {
    let lower: String = normal::nfc(word).to_lowercase();
    let parted = letters::toneless(&lower);
    let tone = match parted.tones[..] {
        [] => None,
        [tone] => Some(tone),
        _ => return false,
    };
    fits(&parted.letters, false) && tone_fits(&parted.letters, tone)
}

/// Syllables with more than one tone mark, in UTF-16 code units of the NFC text.
///
/// Found is a word with two or more tone marks which without tones is a possible syllable, or is one when vowels that stand
/// twice are taken once (`việết`: two people replaced the same letter). So foreign words with several accents (`résumé`)
/// and two syllables without a space between (`ViệtNam`) are not found.
#[must_use]
pub fn two_tones(text: &str) -> Vec<Range<usize>> {
    let text = normal::nfc(text);
    letters::words(&text, |c| c.is_alphabetic() || is_combining_mark(c))
        .filter(|(_, word)| has_two_tones(word))
        .map(|(at, word)| at..at + letters::utf16_len(word))
        .collect()
}

fn has_two_tones(word: &str) -> bool {
    // The longest syllable (`nghiêng`) has seven letters; each may have three marks, each vowel may stand twice.
    if word.is_ascii() || word.chars().count() > 24 {
        return false;
    }
    let parted = letters::toneless(&word.to_lowercase());
    if parted.tones.len() < 2 {
        return false;
    }
    let mut once: Vec<char> = parted.letters.chars().collect();
    once.dedup_by(|a, b| letters::is_vowel(base(*a)) && base(*a) == base(*b));
    fits(&parted.letters, false) || fits(&once.into_iter().collect::<String>(), true)
}

/// A word that looks like keystrokes of an input method that were never composed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Where, in UTF-16 code units of the NFC text.
    pub range: Range<usize>,
    /// What these keys compose to.
    pub meant: String,
}

/// Words that look like the keys of Telex (`tieengs`, `vieejt`) or VNI (`tie61ng`) and not like words.
///
/// Found is a word that is not a possible syllable, with or without its diacritics, and whose keys compose to one that
/// has diacritics. Because many English words compose to something (`moon`: `môn`, `his`: `hí`), the keys must also be
/// unlikely in one:
/// * Telex: `dd` at the beginning, `uw`, `uow`, `iee`, `yee` or `uoo`, or the tone keys `j` or `f`, or a key for the shape
///   of a letter together with a tone key; and it is not one of some 60 English words for which this is true (`rooms`).
/// * VNI: a digit for a shape (6 to 9) and another digit, in a word with three letters or more.
///
/// What this leaves out on purpose: words with only a tone key `s`, `r` or `x` (`caos` for `cáo`), or only one doubled
/// letter (`toois` is found, `tooi` is not). In the sample texts of this package (2,443 words), and in a
/// list of common English words, it finds nothing; of the sample's own words with diacritics, typed in Telex, 70 % (the
/// tests hold these figures).
#[must_use]
pub fn telex_leftover(text: &str) -> Vec<Leftover> {
    let text = normal::nfc(text);
    letters::words(&text, |c| c.is_alphanumeric() || is_combining_mark(c))
        .filter_map(|(at, word)| {
            let meant = keys::composed(word)?;
            Some(Leftover { range: at..at + letters::utf16_len(word), meant })
        })
        .collect()
}

/// Whether lower-case letters without tones are an onset and a rhyme. `plain`: compare the letters of the base alphabet
/// only.
fn fits(letters: &str, plain: bool) -> bool {
    ONSETS.iter().any(|onset| {
        let Some(rhyme) = strip(letters, onset, plain) else { return false };
        let Some(first) = rhyme.chars().next().map(base) else { return false };
        let front = matches!(first, 'e' | 'i' | 'y');
        // `c g ng` and `k gh ngh` write the same sounds before other vowels; `g` before `i` is another (`gì`).
        let spelled = match *onset {
            "c" | "ng" => !front,
            "g" => !front || first == 'i',
            "gh" | "ngh" => front,
            _ => true,
        };
        spelled && (is_rhyme(rhyme, plain) || (*onset == "qu" && same(QU_RHYMES, rhyme, plain)))
    })
}

fn strip<'a>(letters: &'a str, onset: &str, plain: bool) -> Option<&'a str> {
    let mut rest = letters.chars();
    for wanted in onset.chars() {
        let found = rest.next()?;
        if found != wanted && !(plain && base(found) == base(wanted)) {
            return None;
        }
    }
    Some(rest.as_str())
}

fn is_rhyme(rhyme: &str, plain: bool) -> bool {
    same(RHYMES, rhyme, plain)
}

fn same(rhymes: &str, rhyme: &str, plain: bool) -> bool {
    rhymes
        .split_ascii_whitespace()
        .any(|known| if plain { known.chars().map(base).eq(rhyme.chars().map(base)) } else { known == rhyme })
}

fn tone_fits(letters: &str, tone: Option<Tone>) -> bool {
    let stopped = letters.ends_with(['c', 'p', 't']) || letters.ends_with("ch");
    !stopped || matches!(tone, Some(Tone::Acute | Tone::Dot))
}

const ONSETS: [&str; 28] = [
    "", "b", "c", "ch", "d", "đ", "g", "gh", "gi", "h", "k", "kh", "l", "m", "n", "ng", "ngh", "nh", "p",
    "ph", "qu", "r", "s", "t", "th", "tr", "v", "x",
];

/// The rhymes of Vietnamese, without tones.
const RHYMES: &str = "\
    a ac ach ai am an ang anh ao ap at au ay ăc ăm ăn ăng ăp ăt âc âm ân âng âp ât âu ây \
    e ec em en eng eo ep et ê êch êm ên êng ênh êp êt êu \
    i ia ich im in inh ip it iu iêc iêm iên iêng iêp iêt iêu \
    o oa oac oach oai oam oan oang oanh oao oap oat oay oc oe oen oeo oet oi om on ong ooc oong op ot oăc oăm oăn oăng oăt \
    ô ôc ôi ôm ôn ông ôp ôt ơ ơi ơm ơn ơp ơt \
    u ua uc ui um un ung up ut uy uya uych uynh uyp uyt uyu uyên uyêt uân uâng uât uây uê uêch uên uênh uơ \
    uôc uôi uôm uôn uông uôt \
    ư ưa ưc ưi ưm ưn ưng ưt ưu ươc ươi ươm ươn ương ươp ươt ươu \
    y yêm yên yêng yêt yêu";

/// Rhymes that only `qu` has.
const QU_RHYMES: &str = "yt ynh ych yn yp ơi";

/// Puts a tone mark on lower-case letters where it is usually written (`hòa`, `thủy`): on the letter with a mark of its own,
/// else before a final consonant, else in the middle.
fn with_tone(letters: &str, tone: Tone) -> String {
    let chars: Vec<char> = letters.chars().collect();
    let onset =
        if letters.starts_with("qu") || (letters.starts_with("gi") && vowels(&chars[2..]).next().is_some()) {
            2
        } else {
            0
        };
    let places: Vec<usize> = vowels(&chars[onset..]).map(|at| at + onset).collect();
    let closed = places.last().is_some_and(|&last| last + 1 < chars.len());
    let marked = places.iter().rev().find(|&&at| base(chars[at]) != chars[at]);
    let place = marked.copied().or_else(|| match places[..] {
        [] => None,
        [only] => Some(only),
        [.., last] if closed => Some(last),
        [first, _] => Some(first),
        [_, middle, ..] => Some(middle),
    });
    let mut toned = String::new();
    for (at, c) in chars.into_iter().enumerate() {
        toned.push(c);
        if Some(at) == place {
            toned.push(tone.mark());
        }
    }
    toned.nfc().collect()
}

fn vowels(chars: &[char]) -> impl Iterator<Item = usize> {
    chars.iter().enumerate().filter(|&(_, &c)| letters::is_vowel(base(c))).map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
