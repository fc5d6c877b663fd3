//! The mark of a state secret in a text. Documents with one must not be on devices with a network, so an app asks before
//! it takes such a text in.

use std::ops::Range;

use crate::letters::utf16_len;
use crate::normal;

/// The three degrees of state secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Degree {
    /// "Mật".
    Secret,
    /// "Tối mật".
    HighlySecret,
    /// "Tuyệt mật".
    TopSecret,
}

/// A mark of classification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What it says.
    pub degree: Degree,
    /// The words of the mark, in UTF-16 code units of the NFC text.
    pub range: Range<usize>,
}

/// Lines with text, from the first on, in which a mark is looked for: the head of a document.
pub const HEAD_LINES: usize = 16;

/// The mark of classification at the head of a document, or in a field of its header; if there are several, that of the
/// highest degree, and of these the first.
///
/// A mark is "MẬT", "TỐI MẬT" or "TUYỆT MẬT" in capitals with their diacritics, **alone** on its line or in its cell (cells
/// end at a tab, a `|`, or three spaces). Spaces between the letters, brackets, stars and dashes around it and "Độ mật:" or
/// "Mức độ mật:" before it do not matter. So "MẬT ONG", "BẢO MẬT", "mật" and a mark in a sentence are none. One with
/// three spaces between its letters is one if it is alone on its line.
#[must_use]
pub fn find_mark(text: &str) -> Option<Mark> {
    let text = normal::nfc(text);
    let mut found: Option<Mark> = None;
    let mut at = 0;
    let mut lines = 0;
    for line in text.split(['\n', '\r', '\u{2028}', '\u{2029}']) {
        if lines == HEAD_LINES {
            break;
        }
        lines += usize::from(!line.trim().is_empty());
        for (offset, cell) in std::iter::once((0, line)).chain(cells(line)) {
            if let Some(mark) = mark_in(cell, at + utf16_len(&line[..offset]))
                && found.as_ref().is_none_or(|found| found.degree < mark.degree)
            {
                found = Some(mark);
            }
        }
        // Every separator is one code unit.
        at += utf16_len(line) + 1;
    }
    found
}

/// The cells of a line, with where they begin in it.
fn cells(line: &str) -> Vec<(usize, &str)> {
    let mut cells = Vec::new();
    let mut from = 0;
    for part in line.split(['\t', '|']) {
        let mut begin = from;
        for cell in part.split("   ") {
            cells.push((begin, cell));
            begin += cell.len() + 3;
        }
        from += part.len() + 1;
    }
    cells
}

/// The mark that is alone in a cell, which begins at this UTF-16 position.
fn mark_in(cell: &str, at: usize) -> Option<Mark> {
    let mut place = at;
    let mut from = None;
    let mut to = at;
    let mut letters = String::new();
    for c in cell.chars() {
        let begin = place;
        place += c.len_utf16();
        if c == ':' && is_label(&letters) {
            letters.clear();
            from = None;
        } else if !(c.is_whitespace() || normal::is_accidental(c) || is_frame(c)) {
            letters.push(c);
            from.get_or_insert(begin);
            to = place;
        }
        // The longest label has eleven letters.
        if letters.len() > 64 {
            return None;
        }
    }
    let degree = match letters.as_str() {
        "MẬT" => Degree::Secret,
        "TỐIMẬT" => Degree::HighlySecret,
        "TUYỆTMẬT" => Degree::TopSecret,
        _ => return None,
    };
    Some(Mark { degree, range: from?..to })
}

fn is_label(letters: &str) -> bool {
    matches!(letters.to_lowercase().as_str(), "độmật" | "mứcđộmật" | "mứcmật" | "độmậtcủavănbản")
}

/// What may stand around a mark.
fn is_frame(c: char) -> bool {
    matches!(
        c,
        '*' | '-' | '–' | '—' | '_' | '=' | '(' | ')' | '[' | ']' | '"' | '“' | '”' | '«' | '»' | '.' | '!'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found() {
        let cases = [
            ("MẬT", Degree::Secret, "MẬT"),
            ("TỐI MẬT", Degree::HighlySecret, "TỐI MẬT"),
            ("TUYỆT MẬT", Degree::TopSecret, "TUYỆT MẬT"),
            ("ĐẢNG BỘ XÃ TÂN KHÊ\nMẬT\nNGHỊ QUYẾT", Degree::Secret, "MẬT"),
            ("T Ố I   M Ậ T", Degree::HighlySecret, "T Ố I   M Ậ T"),
            ("  *TỐI  MẬT*  ", Degree::HighlySecret, "TỐI  MẬT"),
            ("[MẬT]", Degree::Secret, "MẬT"),
            ("Độ mật: MẬT", Degree::Secret, "MẬT"),
            ("MỨC ĐỘ MẬT: TUYỆT MẬT", Degree::TopSecret, "TUYỆT MẬT"),
            ("CHI BỘ THÔN NÀ MẬN\tTỐI MẬT", Degree::HighlySecret, "TỐI MẬT"),
            ("| TỐI MẬT | Số 12 |", Degree::HighlySecret, "TỐI MẬT"),
            ("𝄞 CHI BỘ    MẬT", Degree::Secret, "MẬT"),
            ("MA\u{302}\u{323}T", Degree::Secret, "MẬT"),
            ("M\u{200b}ẬT", Degree::Secret, "M\u{200b}ẬT"),
            ("MẬT\r\nTUYỆT MẬT\r\n", Degree::TopSecret, "TUYỆT MẬT"),
        ];
        for (text, degree, shown) in cases {
            let mark = find_mark(text).unwrap_or_else(|| panic!("no mark in {text:?}"));
            let units: Vec<u16> = normal::nfc(text).encode_utf16().collect();
            assert_eq!(
                (mark.degree, String::from_utf16(&units[mark.range]).unwrap().as_str()),
                (degree, shown),
                "{text:?}"
            );
        }
        println!("{} marks", cases.len());
    }

    #[test]
    fn other_words_are_none() {
        let late = "dòng\n".repeat(HEAD_LINES) + "MẬT";
        let others = [
            "MẬT ONG RỪNG",
            "BẢO MẬT",
            "mật",
            "Mật",
            "Tối mật",
            "tài liệu MẬT của tỉnh",
            "Độ mật: không",
            "MAT",
            "TOI MAT",
            "KHẨN",
            "DẤU MẬT",
            "MẬT: không",
            "Ghi chú: MẬT",
            "MẬT, TỐI MẬT",
            "NÀ MẬN",
            "",
            late.as_str(),
        ];
        for text in others {
            assert_eq!(find_mark(text), None, "{text:?}");
        }
        for line in include_str!("../testdata/village.txt").lines() {
            assert_eq!(find_mark(line), None, "{line}");
        }
        println!("{} texts without a mark", others.len());
    }
}
