//! Names in the order of a Vietnamese list.
//!
//! Vietnamese lists go by the **given name**, the last syllable, then by family and middle names. Letters are in the order
//! `a ă â b c d đ e ê f g h i j k l m n o ô ơ p q r s t u ư v w x y z`, tones in the order level, grave, hook, tilde,
//! acute, dot: the tailoring `vi` of the Unicode CLDR (`common/collation/vi.xml`: `&̀<<̉<<̃<<́<<̣`, `&a<ă<<<Ă<â<<<Â`,
//! `&d<đ<<<Đ`, `&e<ê<<<Ê`, `&o<ô<<<Ô<ơ<<<Ơ`, `&u<ư<<<Ư`). A tone counts where the letters are the same, case after both.
//! The order differs from CLDR's on purpose in one thing: a tone belongs to its syllable and not to a letter, so the
//! places of the mark do not matter (`hóa` is after `hoà`, as `hoá` is after `hòa`).
//!
//! Why not the `icu_collator` crate: it brings the root collation of all scripts (hundreds of kilobytes) into a phone
//! library that may have 4 MB in all, and it compares strings; the given name first would be ours to do in any case.

use std::fmt;

use crate::letters::{self, Tone};
use crate::normal;

/// A name's place in a list: keys compare as the names sort. Two names have equal keys exactly if they are the same text,
/// whatever its normal form, spaces and invisible characters are.
///
/// A key may be kept: it is made by the same rules in every version with the same [`NAME_KEY_VERSION`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(Box<[u8]>);

/// Changes when keys are made in another way. Keys of two versions do not compare.
pub const NAME_KEY_VERSION: u32 = 1;

impl NameKey {
    /// The key as bytes, which compare as the names sort.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last level is the name itself.
        let name = self.0.rsplit(|&byte| byte == LEVEL_END).next().unwrap_or_default();
        write!(f, "NameKey({})", String::from_utf8_lossy(name))
    }
}

/// The key by which a person's name sorts. Other scripts than Latin come after it, by code point; an empty name comes first.
#[must_use]
pub fn name_key(name: &str) -> NameKey {
    // The level's end is a byte of the key's own.
    let name = normal::clean(name).replace('\0', "\u{fffd}");
    let mut words: Vec<&str> = name.split_whitespace().collect();
    let given: Vec<_> = words.pop().into_iter().map(letters::toneless).collect();
    let others: Vec<_> = words.iter().copied().map(letters::toneless).collect();
    let mut key = Vec::with_capacity(name.len() * 4);
    for part in [&given, &others] {
        for word in part {
            word.letters.chars().for_each(|c| push_letter(&mut key, c));
            key.push(WORD_END);
        }
        key.push(LEVEL_END);
        for word in part {
            push_marks(&mut key, word);
            key.push(WORD_END);
        }
        key.push(LEVEL_END);
    }
    for word in given.iter().chain(&others) {
        key.extend(word.letters.chars().map(|c| if c.is_uppercase() { UPPER } else { LOWER }));
    }
    key.push(LEVEL_END);
    // What no level has told apart, such as the place of a tone mark.
    key.extend(name.split_whitespace().collect::<Vec<_>>().join(" ").bytes());
    NameKey(key.into())
}

// The bytes of a key, in their order. A level ends lower than all that it may hold, so a shorter word is before a longer one.
const LEVEL_END: u8 = 0x00;
const WORD_END: u8 = 0x01;
const LOWER: u8 = 0x02;
const UPPER: u8 = 0x03;
const FIRST_TONE: u8 = 0x02;
const PUNCTUATION: u8 = 0x02;
const FIRST_DIGIT: u8 = 0x10;
const FIRST_LETTER: u8 = 0x20;

/// The Latin letters in their order. `ƀ` is a letter of Ê-đê and other languages of the highlands.
const ALPHABET: &str = "aăâbƀcdđeêfghijklmnoôơpqrstuưvwxyz";

/// The first level: the letter, without its case and its other marks.
fn push_letter(key: &mut Vec<u8>, c: char) {
    for c in c.to_lowercase() {
        if let Some(place) = ALPHABET.chars().position(|letter| letter == c) {
            key.push(FIRST_LETTER + u8::try_from(place).expect("the alphabet is short"));
        } else if c.is_ascii_digit() {
            key.push(FIRST_DIGIT + (c as u8 - b'0'));
        } else if let Ok(byte @ 0..=0x7e) = u8::try_from(c) {
            key.extend([PUNCTUATION, byte + 1]);
        } else if let Some(letter) = marked(c) {
            push_letter(key, letter);
        } else if !is_mark(c) {
            // UTF-8 keeps the order of code points, and its bytes are above all others here.
            key.extend(c.to_string().bytes());
        }
    }
}

/// The second level: the syllable's tones, then marks that Vietnamese does not have.
fn push_marks(key: &mut Vec<u8>, word: &letters::Toneless) {
    for tone in &word.tones {
        let place = Tone::ALL.iter().position(|other| other == tone).expect("all tones are there");
        key.push(FIRST_TONE + u8::try_from(place).expect("there are five"));
    }
    for c in word.letters.chars().flat_map(char::to_lowercase) {
        if is_mark(c) || marked(c).is_some() {
            key.extend(c.to_string().bytes());
        }
    }
}

fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

/// The Vietnamese letter that a letter with a foreign mark (`č`, `ñ`) is made from.
fn marked(c: char) -> Option<char> {
    if ALPHABET.contains(c) {
        return None;
    }
    let mut parts = None;
    unicode_normalization::char::decompose_canonical(c, |part| {
        if parts.is_none() {
            parts = Some(part);
        }
    });
    parts.filter(|&letter| ALPHABET.contains(letter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    fn assert_sorted(names: &[&str]) {
        for pair in names.windows(2) {
            assert!(name_key(pair[0]) < name_key(pair[1]), "{} before {}", pair[0], pair[1]);
        }
        println!("{} names in order", names.len());
    }

    #[test]
    fn given_names_first() {
        assert_sorted(&["Trần Văn An", "Lê An Bình", "Trần Văn Bình", "Hoàng Đức Cường"]);
        assert_sorted(&["Lan", "Lê Lan", "Lê Thị Lan", "Lê Thị Hoa Lan", "Nguyễn Lan"]);
    }

    #[test]
    fn letters_in_their_order() {
        assert_sorted(&[
            "A", "Ă", "Â", "B", "Ƀ", "C", "D", "Đ", "E", "Ê", "F", "G", "H", "I", "J", "K", "L", "M", "N",
            "O", "Ô", "Ơ", "P", "Q", "R", "S", "T", "U", "Ư", "V", "W", "X", "Y", "Z",
        ]);
        // A letter outweighs every tone before it.
        assert_sorted(&["Mạn", "Măn", "Mận", "Mật", "Mâu"]);
    }

    #[test]
    fn tones_in_their_order() {
        assert_sorted(&["Ma", "Mà", "Mả", "Mã", "Má", "Mạ"]);
        assert_sorted(&["Hoa", "Hoà", "Hòa", "Hoá", "Hóa", "Hoan"]);
        // A tone of the given name outweighs the family name.
        assert_sorted(&["Vũ Hoa", "Bùi Hòa"]);
        // Letters of the family name outweigh its tones.
        assert_sorted(&["Lê An", "Lệ An", "Lên An"]);
    }

    #[test]
    fn case_then_nothing() {
        assert_sorted(&["nguyễn lan", "nguyễn Lan", "Nguyễn Lan", "NGUYỄN LAN", "Nguyễn Làn"]);
        assert_eq!(name_key(" Nguyễn   Lan\u{200b} "), name_key("Nguyễn Lan"));
    }

    #[test]
    fn others_after() {
        assert_sorted(&["", "'", "10a", "2", "Zơ", "Ê̆ban Ʊ", "Ê̆ban Дима", "កម្ពុជា", "ꨌꩌ"]);
        assert_sorted(&["Y Co", "Y Čo", "Y Cu"]);
    }

    #[test]
    fn the_key_is_settled() {
        // Kept keys compare with new ones: change the version with this.
        assert_eq!(NAME_KEY_VERSION, 1);
        let expected = [
            [0x30, 0x20, 1, 0].as_slice(), // l, a
            &[0x03, 1, 0],                 // hook
            &[0x30, 0x29, 1, 0],           // l, ê
            &[1, 0],                       // level
            &[3, 2, 3, 2, 0],              // La, Lê
            "Lê Lả".as_bytes(),
        ];
        assert_eq!(name_key("Lê Lả").as_bytes(), expected.concat());
        assert_eq!(format!("{:?}", name_key("Lê Lan")), "NameKey(Lê Lan)");
    }

    proptest! {
        #[test]
        fn keys_are_of_the_text(a in name(), b in name()) {
            let decomposed: String = a.nfd().collect();
            prop_assert_eq!(name_key(&decomposed), name_key(&a));
            let same = |text: &str| normal::clean(text).split_whitespace().collect::<Vec<_>>().join(" ");
            prop_assert_eq!(name_key(&a) == name_key(&b), same(&a) == same(&b));
        }

        #[test]
        fn letters_come_before_tones(a in name(), b in name()) {
            // Names whose given names differ in letters sort the same without all tones and case.
            let plain = |name: &str| letters::toneless(&normal::clean(name)).letters.to_lowercase();
            let given = |name: &str| plain(name).split_whitespace().last().map(str::to_owned);
            let only = |name: &str| given(name).map(|given| name_key(&given));
            if only(&a) != only(&b) && a.chars().chain(b.chars()).all(|c| c.is_alphabetic() || c == ' ') {
                prop_assert_eq!(name_key(&a).cmp(&name_key(&b)), only(&a).cmp(&only(&b)));
            }
        }
    }

    fn name() -> impl Strategy<Value = String> {
        let letter =
            proptest::sample::select("aăâeêoôơuưđdbnđgàảãáạắậệộợỹAĂĐÊỘ   '2Дក".chars().collect::<Vec<_>>());
        let c = prop_oneof![8 => letter, 1 => any::<char>()];
        proptest::collection::vec(c, 0..10).prop_map(|chars| chars.into_iter().collect())
    }
}
