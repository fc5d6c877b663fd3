//! Text of the fonts from before Unicode: TCVN3 (the `.Vn` fonts, "ABC") and VNI-Windows (the `VNI-` fonts).
//!
//! Such text looks like Western letters when it is pasted without its font: `§¶ng bé x·` is `Đảng bộ xã` in TCVN3. It is
//! detected and converted **on request**: nothing here changes a text unasked, for `§` and `é` are also themselves.
//!
//! Ask about the pasted piece only, before anything else is done to it: the soft hyphen that [`normal::clean`] drops is
//! the `ư` of TCVN3.
//!
//! The table of TCVN3 is VN3 of TCVN 5712:1993, read from glibc's converter `TCVN5712-1`, which has the same lower-case
//! letters; that of VNI-Windows was compared between two published tables (the input method xvnkb; a table of all Vietnamese
//! encodings by hexadecimal codes). Both are held by tests.
//!
//! **TCVN3 has no capitals with tones**: they are the lower-case letters in a font of capitals (`.VnTimeH`), and pasting
//! loses the font. [`convert`] writes capitals in words whose other letters are capitals, two or more; other words of such
//! a font come out in lower case.

use crate::normal;
use crate::syllable::is_syllable;

/// An encoding from before Unicode, by which text was pasted as if it were Windows-1252.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Legacy {
    /// TCVN 5712:1993 VN3: one character for each letter.
    Tcvn3,
    /// VNI-Windows: a letter, then a character for its marks.
    VniWindows,
}

/// The encoding that a text seems to have. None if it seems to be Unicode, or if there is too little to tell.
///
/// Judged are the words with characters of that encoding, each as it stands and converted: those that only converted are
/// possible syllables speak for the encoding, those that are none then, and Vietnamese letters of Unicode, against it. Two
/// words at least must speak for it, and four of five.
#[must_use]
pub fn detect(text: &str) -> Option<Legacy> {
    let [tcvn3, vni] = [Legacy::Tcvn3, Legacy::VniWindows].map(|legacy| Evidence::of(text, legacy));
    match (tcvn3.convinces(), vni.convinces()) {
        (true, false) => Some(Legacy::Tcvn3),
        (false, true) => Some(Legacy::VniWindows),
        (false, false) => None,
        (true, true) => match tcvn3.weight().cmp(&vni.weight()) {
            std::cmp::Ordering::Greater => Some(Legacy::Tcvn3),
            std::cmp::Ordering::Less => Some(Legacy::VniWindows),
            std::cmp::Ordering::Equal => None,
        },
    }
}

/// The text in Unicode (NFC). Characters that the encoding does not have stay; those that it has are converted wherever they
/// are, so a text that is Unicode already is spoilt.
#[must_use]
pub fn convert(text: &str, legacy: Legacy) -> String {
    let converted = match legacy {
        Legacy::Tcvn3 => tcvn3(text),
        Legacy::VniWindows => vni(text),
    };
    normal::nfc(&converted).into_owned()
}

#[derive(Default)]
struct Evidence {
    good: usize,
    bad: usize,
}

impl Evidence {
    fn of(text: &str, legacy: Legacy) -> Self {
        let mut evidence = Self::default();
        for word in text.split(|c| !is_letter(c, legacy)).filter(|word| !word.is_ascii()) {
            let converted = convert(word, legacy);
            let before = is_syllable(word);
            match (before, converted != word && is_syllable(&converted)) {
                (false, true) => evidence.good += 1,
                (true, true) => {}
                // A French or a Vietnamese word, or another encoding.
                (_, false) => evidence.bad += 1,
            }
        }
        evidence
    }

    fn convinces(&self) -> bool {
        self.good >= 2 && self.good >= 4 * self.bad
    }

    fn weight(&self) -> isize {
        self.good.cast_signed() - self.bad.cast_signed()
    }
}

/// Whether a character is in words: letters of any kind, and the signs that are letters in the encoding.
fn is_letter(c: char, legacy: Legacy) -> bool {
    c.is_alphanumeric()
        || match legacy {
            Legacy::Tcvn3 => tcvn3_letter(c).is_some(),
            Legacy::VniWindows => false,
        }
}

fn tcvn3(text: &str) -> String {
    let mut converted = String::with_capacity(text.len() * 3 / 2);
    for word in text.split_inclusive(|c| !is_letter(c, Legacy::Tcvn3)) {
        let capitals = word.chars().filter(char::is_ascii_uppercase).count();
        let of_capitals = capitals >= 2 && !word.chars().any(|c| c.is_ascii_lowercase());
        for c in word.chars() {
            let letter = tcvn3_letter(c).unwrap_or(c);
            if of_capitals {
                converted.extend(letter.to_uppercase());
            } else {
                converted.push(letter);
            }
        }
    }
    converted
}

fn tcvn3_letter(c: char) -> Option<char> {
    let code = u32::from(c).checked_sub(0xa1)? as usize;
    TCVN3.chars().nth(code).filter(|&letter| letter != '-')
}

/// The letters from 0xA1 on; `-` where VN3 has none.
const TCVN3: &str =
    "ĂÂÊÔƠƯĐăâêôơưđ------àảãáạ-ằẳẵắ-------ặầẩẫấậè-ẻẽéẹềểễếệìỉ---ĩíịò-ỏõóọồổỗốộờởỡớợù-ủũúụừửữứựỳỷỹýỵ";

fn vni(text: &str) -> String {
    let mut converted = String::with_capacity(text.len() * 3 / 2);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let lower = lowered(c);
        // `ô` and `ö` are letters, and letters that a mark may follow.
        let letter = match lower {
            'ô' => 'ơ',
            'ö' => 'ư',
            'ñ' => 'đ',
            'í' => 'í',
            'ì' => 'ì',
            'æ' => 'ỉ',
            'ó' => 'ĩ',
            'ò' => 'ị',
            'î' => 'ỵ',
            other => other,
        };
        let marked = chars.peek().and_then(|&mark| vni_marked(lower, lowered(mark)));
        if marked.is_some() {
            chars.next();
        }
        let letter = marked.unwrap_or(letter);
        // In names the letter is a capital and its mark is not (`Aùnh`).
        if c == lower { converted.push(letter) } else { converted.extend(letter.to_uppercase()) }
    }
    converted
}

fn lowered(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// A letter with the marks that the next character of VNI-Windows puts on it.
fn vni_marked(letter: char, mark: char) -> Option<char> {
    let (_, marks, letters) = VNI.iter().find(|(base, marks, _)| *base == letter && marks.contains(mark))?;
    let place = marks.chars().position(|known| known == mark)?;
    letters.chars().nth(place)
}

/// A letter, the marks that may follow it, and what they make of it.
const VNI: [(char, &str, &str); 7] = [
    ('a', "ùøûõïâáàåãäêéèúüë", "áàảãạâấầẩẫậăắằẳẵặ"),
    ('e', "ùøûõïâáàåãä", "éèẻẽẹêếềểễệ"),
    ('o', "ùøûõïâáàåãä", "óòỏõọôốồổỗộ"),
    ('u', "ùøûõï", "úùủũụ"),
    ('y', "ùøûõ", "ýỳỷỹ"),
    ('ô', "ùøûõï", "ớờởỡợ"),
    ('ö', "ùøûõï", "ứừửữự"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// All letters of Vietnamese with diacritics, in lower case.
    const LETTERS: &str = "áàảãạâấầẩẫậăắằẳẵặéèẻẽẹêếềểễệíìỉĩịóòỏõọôốồổỗộơớờởỡợúùủũụưứừửữựýỳỷỹỵđ";

    /// The same letters in each encoding.
    const IN_TCVN3: &str = "¸µ¶·¹©ÊÇÈÉË¨¾»¼½ÆÐÌÎÏÑªÕÒÓÔÖÝ×ØÜÞãßáâä«èåæçé¬íêëìîóïñòô\u{ad}øõö÷ùýúûüþ®";
    const IN_VNI: &str = "aùaøaûaõaïaâaáaàaåaãaäaêaéaèaúaüaëeùeøeûeõeïeâeáeàeåeãeäíìæóòoùoøoûoõoïoâoáoàoåoãoäôôùôøôûôõôïuùuøuûuõuïööùöøöûöõöïyùyøyûyõîñ";

    #[test]
    fn all_letters_are_converted() {
        assert_eq!(LETTERS.chars().count(), 67);
        assert_eq!(TCVN3.chars().count(), 0xfe - 0xa1 + 1);
        assert_eq!(convert(IN_TCVN3, Legacy::Tcvn3), LETTERS);
        assert_eq!(convert(IN_VNI, Legacy::VniWindows), LETTERS);
        assert_eq!(convert(&IN_VNI.to_uppercase(), Legacy::VniWindows), LETTERS.to_uppercase());
        assert_eq!(convert("¡¢£¤¥¦§", Legacy::Tcvn3), "ĂÂÊÔƠƯĐ");
        println!("{} letters in two encodings", LETTERS.chars().count());
    }

    #[test]
    fn texts_are_detected_and_converted() {
        let cases = [
            ("§¶ng bé x·", Legacy::Tcvn3, "Đảng bộ xã"),
            ("Céng hoµ x· héi chñ nghÜa ViÖt Nam", Legacy::Tcvn3, "Cộng hoà xã hội chủ nghĩa Việt Nam"),
            ("§éc lËp - Tù do - H¹nh phóc", Legacy::Tcvn3, "Độc lập - Tự do - Hạnh phúc"),
            ("NGHÞ QUYÕT cña chi bé", Legacy::Tcvn3, "NGHỊ QUYẾT của chi bộ"),
            ("ng\u{ad}êi d©n t\u{ad}¬ng trî", Legacy::Tcvn3, "người dân tương trợ"),
            ("Ñaûng boä xaõ", Legacy::VniWindows, "Đảng bộ xã"),
            (
                "Coäng hoøa xaõ hoäi chuû nghóa Vieät Nam",
                Legacy::VniWindows,
                "Cộng hòa xã hội chủ nghĩa Việt Nam",
            ),
            ("ÑAÛNG BOÄ", Legacy::VniWindows, "ĐẢNG BỘ"),
            ("Aùnh vaø ngöôøi daân", Legacy::VniWindows, "Ánh và người dân"),
        ];
        for (text, legacy, expected) in cases {
            assert_eq!(detect(text), Some(legacy), "{text}");
            assert_eq!(convert(text, legacy), expected, "{text}");
        }
        println!("{} texts of old fonts", cases.len());
    }

    #[test]
    fn the_sample_goes_there_and_back() {
        let sample = include_str!("../testdata/village.txt").to_lowercase();
        let mut lines = 0;
        for line in sample.lines() {
            for (legacy, table) in [(Legacy::Tcvn3, in_tcvn3()), (Legacy::VniWindows, in_vni())] {
                let old: String = line
                    .chars()
                    .map(|c| {
                        table
                            .iter()
                            .find(|(letter, _)| *letter == c)
                            .map_or(c.to_string(), |(_, old)| old.clone())
                    })
                    .collect();
                // Signs that the encoding uses as letters are lost, as they are in the font.
                if !line.contains(['²', '°', '·']) {
                    assert_eq!(convert(&old, legacy), line);
                }
                if line.split(' ').filter(|word| !word.is_ascii()).count() >= 5 {
                    assert_eq!(detect(&old), Some(legacy), "{old}");
                    lines += 1;
                }
            }
        }
        println!("{lines} lines detected in two encodings");
        assert!(lines > 100);
    }

    #[test]
    fn unicode_is_left_alone() {
        let mut count = 0;
        let others = [
            "Điều 5 § 7, © 2026, 25 °C, 640 m², «trích dẫn», ±5%, 3 × 4",
            "Le président a déclaré à l'hôtel « été » où l'élève était très gênée",
            "Die Straße führt über die Brücke; schöne Grüße aus München",
            "El niño mañana en España, ¿cómo está? ¡Olé!",
            "não são três irmãos em São João",
            "Ê̆a H'leo, Čư̆ M'gar",
            "កម្ពុជា",
            "bé",
            // One word may be a sign, and few among many are quoted.
            "x·",
            "prévu déjà à l'été, Genève: x· §¶ng",
            "",
        ];
        for text in include_str!("../testdata/village.txt").lines().chain(others) {
            assert_eq!(detect(text), None, "{text}");
            count += 1;
        }
        println!("{count} texts, none taken for an old font");
    }

    fn in_tcvn3() -> Vec<(char, String)> {
        LETTERS.chars().zip(IN_TCVN3.chars().map(String::from)).collect()
    }

    fn in_vni() -> Vec<(char, String)> {
        // One or two characters to a letter: two unless the first stands alone.
        let mut rest = IN_VNI.chars().peekable();
        LETTERS
            .chars()
            .map(|letter| {
                let mut old = String::from(rest.next().expect("as many as letters"));
                let alone = "íìỉĩịơưỵđ".contains(letter);
                if !alone {
                    old.push(rest.next().expect("a mark"));
                }
                (letter, old)
            })
            .collect()
    }
}
