//! Numbers of persons that must not be in a document: telephones, identity cards, party cards, payment cards.
//!
//! A finding is for a person to look at. What is found has the form of such a number, in the groupings in which people
//! write them; what could as well be a date, an amount, a quantity or the number of a document is left alone. So a number
//! that is cut in unusual places is missed, and a tax number of ten digits that begins like a mobile telephone is found
//! unless the words before it say what it is.

use std::ops::Range;

use crate::{fold, normal};

/// What a number seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A Vietnamese telephone number, mobile or fixed, from `0`, `+84` or `84`.
    Phone,
    /// A citizen's number (căn cước, 12 digits) or the number of an old identity card (chứng minh nhân dân, 9 digits). Also
    /// a party card's number of 12 digits that cannot be told from the former.
    IdNumber,
    /// A party card's number: 8 or 12 digits after words that say so.
    PartyCard,
    /// The number of a payment card.
    BankCard,
}

/// A number that should not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensitive {
    /// What it seems to be.
    pub kind: Kind,
    /// Where, in UTF-16 code units of the NFC text.
    pub range: Range<usize>,
}

/// The numbers of persons in a text, upward and without overlaps.
///
/// * **Telephone**: mobile numbers (03, 05, 07, 08, 09 and eight digits), fixed ones (02 and nine digits), mobile numbers of
///   before 2018 (012, 016, 018, 019 and eight digits); or `+84`, `0084`, `84` in place of the first 0.
/// * **Identity**: 12 digits of which the first three are a province's code (001 to 096) and the fourth is that of century
///   and sex (0 to 3); or 9 digits together that begin with the code of an old province (01 to 38), are not followed by a
///   unit and do not end in three zeros, or any 9 after words such as "CMND".
/// * **Payment card**: 13 to 19 digits that begin as those of a card network do and whose check digit (Luhn) is right.
/// * **Party card**: 8 or 12 digits after "thẻ đảng" on the same line.
///
/// Digits may be parted by single spaces, dots or hyphens, always the same, and the prefix may stand in parentheses.
#[must_use]
pub fn find(text: &str) -> Vec<Sensitive> {
    let text = normal::nfc(text);
    let chars: Vec<char> = text.chars().collect();
    let mut places = Vec::with_capacity(chars.len() + 1);
    let mut at = 0;
    for c in &chars {
        places.push(at);
        at += c.len_utf16();
    }
    places.push(at);
    let groups = groups(&chars);
    let mut found = Vec::new();
    let mut next = 0;
    while next < groups.len() {
        // The longest number that begins here counts: a card before the telephone that its first digits would be.
        let longest = (next + 1..=groups.len().min(next + GROUPS_MAX))
            .rev()
            .find_map(|past| Some((past, judge(&chars, &groups[next..past])?)));
        let Some((past, (kind, range))) = longest else {
            next += 1;
            continue;
        };
        found.push(Sensitive { kind, range: places[range.start]..places[range.end] });
        next = past;
    }
    found
}

/// Most groups of digits that a number is written in.
const GROUPS_MAX: usize = 7;

/// Maximal runs of digits, as ranges of characters.
fn groups(chars: &[char]) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (at, _) in chars.iter().enumerate().filter(|(_, c)| c.is_ascii_digit()) {
        match groups.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => groups.push(at..at + 1),
        }
    }
    groups
}

/// What these groups of digits are together; None if they are nothing together, or part of something else.
fn judge(chars: &[char], groups: &[Range<usize>]) -> Option<(Kind, Range<usize>)> {
    let separator = separator(chars, groups)?;
    let mut range = groups[0].start..groups[groups.len() - 1].end;
    let digits: String = groups.iter().flat_map(|group| &chars[group.clone()]).collect();
    if digits.len() < 8 || digits.len() > 19 {
        return None;
    }
    let sizes: Vec<usize> = groups.iter().map(Range::len).collect();
    let mut prefixed = false;
    if range.start > 0 && chars[range.start - 1] == '+' {
        prefixed = true;
        range.start -= 1;
    }
    if range.start > 0 && chars[range.start - 1] == '(' && chars[range.clone()].contains(&')') {
        range.start -= 1;
    }
    if joins_before(chars, range.start) || joins_after(chars, range.end) {
        return None;
    }
    let number =
        Number { digits: &digits, sizes: &sizes, separator, prefixed, before: before(chars, range.start) };
    let kind = number.kind(|| after(chars, range.end))?;
    Some((kind, range))
}

struct Number<'a> {
    digits: &'a str,
    sizes: &'a [usize],
    separator: Option<char>,
    prefixed: bool,
    /// The folded text before it on its line.
    before: String,
}

impl Number<'_> {
    fn kind(&self, after: impl Fn() -> String) -> Option<Kind> {
        if self.said(&["the dang"]) && matches!(self.digits.len(), 8 | 12) && !self.prefixed {
            return Some(Kind::PartyCard);
        }
        if self.said(&["ma so thue", "mst"]) {
            return None;
        }
        if self.is_bank_card() {
            return Some(Kind::BankCard);
        }
        if self.is_phone() {
            return Some(Kind::Phone);
        }
        if self.prefixed {
            return None;
        }
        (self.is_citizen() || self.is_old_identity(after)).then_some(Kind::IdNumber)
    }

    /// Whether one of these folded words stands shortly before.
    fn said(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.before.contains(word))
    }

    fn is_phone(&self) -> bool {
        let digits = self.digits;
        let national = if self.prefixed {
            digits.strip_prefix("84")
        } else if let Some(rest) = digits.strip_prefix("0084") {
            Some(rest)
        } else if let Some(rest) = digits.strip_prefix('0') {
            Some(rest)
        } else {
            // Without a sign of it being a prefix, 84 must begin an unparted number.
            digits.strip_prefix("84").filter(|_| self.sizes.len() == 1)
        };
        // People write (+84)0912 too.
        let Some(national) =
            national.map(|rest| if self.prefixed { rest.strip_prefix('0').unwrap_or(rest) } else { rest })
        else {
            return false;
        };
        let first = national.as_bytes().first().copied().unwrap_or_default();
        let formed = match first {
            b'3' | b'5' | b'7' | b'8' | b'9' => national.len() == 9,
            b'2' => national.len() == 10,
            b'1' => national.len() == 10 && matches!(national.as_bytes()[1], b'2' | b'6' | b'8' | b'9'),
            _ => false,
        };
        // A number of pairs only, or one that begins with a pair, may be a date with something after it.
        formed
            && (self.sizes.len() == 1 || self.prefixed || self.sizes[0] >= 3 || self.sizes == [2, 4, 4])
            && self.sizes.iter().skip(1).all(|&size| size >= 2)
    }

    fn is_citizen(&self) -> bool {
        let Some(province) = self.digits.get(..3).and_then(|code| code.parse::<u32>().ok()) else {
            return false;
        };
        self.digits.len() == 12
            && (1..=96).contains(&province)
            && matches!(self.digits.as_bytes()[3], b'0'..=b'3')
            && matches!(
                self.sizes,
                [12] | [3, 3, 3, 3] | [4, 4, 4] | [3, 3, 6] | [3, 1, 2, 6] | [6, 6] | [3, 9]
            )
    }

    fn is_old_identity(&self, after: impl Fn() -> String) -> bool {
        if self.digits.len() != 9 || !matches!(self.sizes, [9] | [3, 3, 3]) {
            return false;
        }
        if self.said(&["cmnd", "cmt", "chung minh"]) {
            return true;
        }
        let province = self.digits[..2].parse().unwrap_or(0_u32);
        self.sizes.len() == 1
            && (1..=38).contains(&province)
            && !self.digits.ends_with("000")
            && !UNITS.iter().any(|unit| begins_with_word(&after(), unit))
    }

    fn is_bank_card(&self) -> bool {
        let digits = self.digits;
        let first = |len: usize| digits.get(..len).and_then(|prefix| prefix.parse::<u32>().ok()).unwrap_or(0);
        let known = match digits.len() {
            13 => first(1) == 4,
            14 => matches!(first(2), 30 | 36 | 38 | 39),
            15 => matches!(first(2), 34 | 37),
            16 => {
                matches!(first(1), 4)
                    || matches!(first(2), 35 | 51..=55 | 62 | 65)
                    || matches!(first(4), 2221..=2720 | 6011 | 9704)
            }
            17 | 18 => first(2) == 62,
            19 => first(1) == 4 || first(2) == 62 || first(4) == 9704,
            _ => false,
        };
        let grouped = matches!(
            self.sizes,
            [_] | [4, 4, 4, 4] | [4, 4, 4, 4, _] | [4, 6, 4] | [4, 6, 5] | [4, 4, 5] | [6, 13]
        );
        known && grouped && self.separator != Some('.') && !self.prefixed && luhn(digits)
    }
}

/// The check digit of payment cards.
fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, digit)| {
            let digit = u32::from(digit - b'0') << (i % 2);
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// What parts the groups: always the same space, dot or hyphen, or nothing if there is one group. None if it is something
/// else or different things. Closing parentheses after the first group do not count.
fn separator(chars: &[char], groups: &[Range<usize>]) -> Option<Option<char>> {
    let mut common = None;
    for (i, pair) in groups.windows(2).enumerate() {
        let c = match chars[pair[0].end..pair[1].start] {
            [')'] if i == 0 => continue,
            [')', c] if i == 0 => c,
            [c] => c,
            _ => return None,
        };
        let c = if matches!(c, '\u{a0}' | '\u{202f}') { ' ' } else { c };
        if !matches!(c, ' ' | '.' | '-') || common.is_some_and(|common| common != c) {
            // After the prefix something else may stand (`+84 912.345.678`, `(024) 3823-1234`).
            let after_prefix = i == 1 && chars[groups[0].clone()].len() <= 4 && matches!(c, ' ' | '.' | '-');
            if !after_prefix {
                return None;
            }
        }
        common = Some(c);
    }
    Some(common)
}

/// Whether what stands before makes these digits part of something longer: a word, a fraction, an amount, a date.
fn joins_before(chars: &[char], at: usize) -> bool {
    let Some(&c) = at.checked_sub(1).and_then(|at| chars.get(at)) else { return false };
    let digit_before = at.checked_sub(2).and_then(|at| chars.get(at)).is_some_and(char::is_ascii_digit);
    c.is_alphanumeric()
        || matches!(c, '+' | '$' | '€' | '#')
        || (matches!(c, '.' | ',' | '-' | ':') && digit_before)
        || (c == '/' && is_short_part(chars, at - 1))
}

/// Whether what stands after makes these digits part of something longer.
fn joins_after(chars: &[char], at: usize) -> bool {
    let Some(&c) = chars.get(at) else { return false };
    let next = chars.get(at + 1);
    c.is_alphanumeric()
        || matches!(c, '%' | '$' | '€' | '₫')
        || (matches!(c, '.' | ',' | ':') && next.is_some_and(char::is_ascii_digit))
        || (c == '-' && next.is_some_and(|c| c.is_alphanumeric()))
        || (c == '/' && !chars[at + 1..].iter().take(8).all(char::is_ascii_digit))
        || (c == '/' && chars.len() < at + 9)
}

/// Whether less than eight digits stand before a slash: then it is that of a date or of a document's number, not one between
/// two telephones.
fn is_short_part(chars: &[char], slash: usize) -> bool {
    let digits = chars[..slash]
        .iter()
        .rev()
        .take(8 + GROUPS_MAX)
        .take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ' '))
        .count();
    digits < 8
}

/// The folded text shortly before a place, on its line.
fn before(chars: &[char], at: usize) -> String {
    let from = at.saturating_sub(CONTEXT_CHARS);
    let line: Vec<char> = chars[from..at].iter().rev().take_while(|&&c| c != '\n').copied().collect();
    fold::fold(&line.into_iter().rev().collect::<String>())
}

/// The folded text directly after a place, on its line.
fn after(chars: &[char], at: usize) -> String {
    let line: String = chars[at..].iter().take(CONTEXT_CHARS).take_while(|&&c| c != '\n').collect();
    fold::fold(line.trim_start())
}

/// How far words say what a number is.
const CONTEXT_CHARS: usize = 32;

/// Folded words after a number which say that it is an amount or a quantity.
const UNITS: [&str; 14] =
    ["dong", "d", "vnd", "usd", "kg", "tan", "ta", "lit", "m2", "m3", "nguoi", "trieu", "ty", "khau"];

fn begins_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(Kind, String)> {
        let units: Vec<u16> = normal::nfc(text).encode_utf16().collect();
        find(text).into_iter().map(|s| (s.kind, String::from_utf16(&units[s.range]).unwrap())).collect()
    }

    #[test]
    fn numbers_of_persons_are_found() {
        let cases = [
            (Kind::Phone, "0912345678"),
            (Kind::Phone, "0912 345 678"),
            (Kind::Phone, "0912.345.678"),
            (Kind::Phone, "0912-345-678"),
            (Kind::Phone, "091 234 5678"),
            (Kind::Phone, "09 1234 5678"),
            (Kind::Phone, "0912 34 56 78"),
            (Kind::Phone, "0912\u{a0}345\u{a0}678"),
            (Kind::Phone, "+84912345678"),
            (Kind::Phone, "+84 912 345 678"),
            (Kind::Phone, "+84 912.345.678"),
            (Kind::Phone, "(+84) 912 345 678"),
            (Kind::Phone, "0084912345678"),
            (Kind::Phone, "84912345678"),
            (Kind::Phone, "024 3823 1234"),
            (Kind::Phone, "(024) 3823 1234"),
            (Kind::Phone, "(0207)3822345"),
            (Kind::Phone, "0207.3822.345"),
            (Kind::Phone, "+84 24 3823 1234"),
            (Kind::Phone, "01681234567"),
            (Kind::IdNumber, "008090012345"),
            (Kind::IdNumber, "008 090 012 345"),
            (Kind::IdNumber, "0080 9001 2345"),
            (Kind::IdNumber, "073123456"),
            (Kind::BankCard, "4111111111111111"),
            (Kind::BankCard, "4111 1111 1111 1111"),
            (Kind::BankCard, "5500-0000-0000-0004"),
            (Kind::BankCard, "340000000000009"),
            (Kind::BankCard, "9704 0000 0000 0018"),
        ];
        for (kind, number) in cases {
            for text in [
                number.to_owned(),
                format!("𝄞 Số: {number}, đã đổi"),
                format!("({number})"),
                format!("số {number}."),
            ] {
                // A parenthesis around the whole is not part of the number.
                assert_eq!(found(&text), [(kind, number.to_owned())], "{text}");
            }
        }
        println!("{} numbers of persons in four places each", cases.len());
    }

    #[test]
    fn words_before_say_what_it_is() {
        let cases = [
            ("Số thẻ đảng viên: 36.068.456", Some((Kind::PartyCard, "36.068.456"))),
            ("THẺ ĐẢNG số 301 041 123 456", Some((Kind::PartyCard, "301 041 123 456"))),
            ("thẻ đảng 008090012345", Some((Kind::PartyCard, "008090012345"))),
            ("CMND số 912 345 678", Some((Kind::IdNumber, "912 345 678"))),
            ("Giấy chứng minh 473000000", Some((Kind::IdNumber, "473000000"))),
            ("MST 0312345678", None),
            ("mã số thuế: 0312345678", None),
            ("thẻ đảng\n36.068.456", None),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> =
                expected.into_iter().map(|(kind, number)| (kind, number.to_owned())).collect();
            assert_eq!(found(text), expected, "{text}");
        }
        println!("{} numbers after words", cases.len());
    }

    #[test]
    fn several_in_a_line() {
        let text = "Sinh: 0912 345 678/0387654321; Pà 008190012345 - 0977.123.456";
        let kinds: Vec<_> = found(text).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Kind::Phone, Kind::Phone, Kind::IdNumber, Kind::Phone]);
    }

    #[test]
    fn other_numbers_are_left_alone() {
        let others = [
            "ngày 03/12/2026",
            "03.12.2026",
            "03-12-2026",
            "2026-12-03",
            "03-12-2026 15",
            "từ 03/12/2026 đến 05/12/2026",
            "1.250.000 đồng",
            "125000000 đồng",
            "312500000đ",
            "912.345.678 đồng",
            "0,912345678",
            "123.456.789.012 đồng",
            "123 456 789 012",
            "1.234.567.890.123 đồng",
            "500.000 đồng mỗi khẩu",
            "250000000",
            "$0912345678",
            "12-NQ/CB",
            "42-HD/BTCTW",
            "0123456789/QĐ-UBND",
            "số 0912345678/BB",
            "339-QĐ/TW, 10/07/2025",
            "19:30",
            "19 giờ 50 phút",
            "2026-12-03T19:30:00+07:00",
            "96/104 hộ",
            "80%",
            "0912345678%",
            "31,5 ha",
            "năm 2025 - 2027",
            "2025 2026 2027 2028",
            "640 m²",
            "10 20 30 40 50 60",
            "01 02 03 04 05",
            "2 4 6 8 10 12 14",
            "4111111111111112",
            "0387-65 43-21",
            "1764000000000",
            "4111.1111.1111.1111",
            "QL279",
            "1900 1234",
            "18001234",
            "113, 114, 115",
            "21.0285, 105.8542",
            "v1.2.3.4567890",
            "008990012345",
            "097090012345",
            "000090012345",
            "ISBN 978-604-1-23456-7",
            "01 quần chúng, 08 hộ, 04 kỳ",
            "03 12 2026 15",
            "0912345678901",
            "a0912345678",
            "0912345678a",
        ];
        for text in others {
            assert_eq!(found(text), [], "{text}");
        }
        let sample = include_str!("../testdata/village.txt");
        assert_eq!(found(sample), []);
        println!("{} other numbers and {} lines are left alone", others.len(), sample.lines().count());
    }

    #[test]
    fn any_text_is_taken() {
        use proptest::prelude::*;
        let text = proptest::collection::vec(
            proptest::sample::select("0123489.-+()/ ,:aạ\n𝄞".chars().collect::<Vec<_>>()),
            0..60,
        );
        proptest!(|(chars in text)| {
            let text: String = chars.into_iter().collect();
            let len = text.encode_utf16().count();
            let mut last = 0;
            for s in find(&text) {
                prop_assert!(last <= s.range.start && s.range.start < s.range.end && s.range.end <= len);
                last = s.range.end;
            }
        });
    }
}
