//! How a text is cut into the words by which it is found.

use unicode_normalization::char::is_combining_mark;

use crate::{fold, normal};

/// Characters of a word that count: longer ones are found by their beginning.
pub(super) const WORD_CHARS_MAX: usize = 64;

/// One word of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// As [`fold::fold`] gives it; not empty.
    pub(super) folded: String,
    /// Lower case with all marks.
    pub(super) exact: String,
    /// First UTF-16 code unit.
    pub(super) start: usize,
    /// Past the last UTF-16 code unit.
    pub(super) end: usize,
    /// It follows the word before without anything between, in a script that does not part its words.
    pub(super) glued: bool,
    /// It is the first of its line.
    pub(super) begins_line: bool,
}

/// The words of a text in NFC: runs of letters, digits and marks. In scripts that do not part words every letter with its
/// marks is one.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut cutter = Cutter::default();
    let mut at = 0;
    for c in text.chars() {
        cutter.take(c, at);
        at += c.len_utf16();
    }
    cutter.finish();
    cutter.words
}

#[derive(Default)]
struct Cutter {
    words: Vec<Word>,
    chars: String,
    start: usize,
    end: usize,
    glued: bool,
    unspaced: bool,
    line_begun: bool,
}

impl Cutter {
    fn take(&mut self, c: char, at: usize) {
        if normal::is_accidental(c) {
            return;
        }
        let alphanumeric = c.is_alphanumeric();
        let continues = !self.chars.is_empty();
        if alphanumeric && !is_combining_mark(c) {
            let unspaced = is_unspaced(c);
            if continues && (unspaced || self.unspaced) {
                let glue = unspaced && self.unspaced;
                self.finish();
                self.glued = glue;
            }
            if self.chars.is_empty() {
                self.start = at;
            }
            self.unspaced = unspaced;
        } else if !(continues && is_combining_mark(c)) {
            self.finish();
            self.line_begun &= !matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
            return;
        }
        self.chars.push(c);
        self.end = at + c.len_utf16();
    }

    fn finish(&mut self) {
        let chars = std::mem::take(&mut self.chars);
        let glued = std::mem::take(&mut self.glued);
        if chars.is_empty() {
            return;
        }
        let lower: String =
            normal::nfc(&chars).chars().take(WORD_CHARS_MAX).flat_map(char::to_lowercase).collect();
        let exact = normal::nfc(&lower).into_owned();
        let folded = fold::fold_visible(&exact);
        if folded.is_empty() {
            return;
        }
        let begins_line = !std::mem::replace(&mut self.line_begun, true);
        self.words.push(Word { folded, exact, start: self.start, end: self.end, glued, begins_line });
    }
}

/// Scripts that do not part words by spaces: Thai, Lao, Burmese, Khmer, Tai Viet, Chinese and Japanese.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17df}' | '\u{aa80}'..='\u{aadf}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(String, usize, usize)> {
        words(text).into_iter().map(|word| (word.folded, word.start, word.end)).collect()
    }

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let expected = [("nghi", 0, 4), ("quyet", 5, 10), ("12", 11, 13), ("nq", 14, 16), ("cb", 17, 19)];
        assert_eq!(cut("Nghị quyết 12-NQ/CB."), expected.map(|(word, a, b)| (word.to_owned(), a, b)));
        assert_eq!(
            cut("Ê̆a H'leo"),
            [("ea", 0, 3), ("h", 4, 5), ("leo", 6, 9)].map(|(w, a, b)| (w.to_owned(), a, b))
        );
        // Invisible characters part nothing; a mark alone is no word.
        assert_eq!(cut("\u{ad}ch\u{ad}i \u{301} "), [("chi".to_owned(), 1, 5)]);
        assert_eq!(cut(""), []);
    }

    #[test]
    fn letters_of_unspaced_scripts_are_words() {
        let cut = words("ខ្មែរ\u{200b}ក abc");
        let glued: Vec<_> = cut.iter().map(|word| (word.folded.as_str(), word.glued)).collect();
        assert_eq!(glued, [("ខ្", false), ("មែ", true), ("រ", true), ("ក", true), ("abc", false)]);
    }

    #[test]
    fn lines_are_known() {
        let begin: Vec<_> = words("a b\nc\r\n\nd e").into_iter().map(|word| word.begins_line).collect();
        assert_eq!(begin, [true, false, true, true, false]);
    }
}
