//! Text arithmetic: NFC, UTF-16 indexes and differences. Pure string functions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, is_nfc, is_nfc_quick};

/// The text in NFC; borrowed when it is already.
pub(super) fn nfc(text: &str) -> Cow<'_, str> {
    if is_nfc_quick(text.chars()) == IsNormalized::Yes || is_nfc(text) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

/// Length in UTF-16 code units.
pub(super) fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Why a UTF-16 index names no place between two characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadIndex {
    OutOfRange { len: usize },
    InsidePair,
}

/// The byte offset of a UTF-16 index.
pub(super) fn byte_at(text: &str, index: usize) -> Result<usize, BadIndex> {
    let mut units = 0;
    for (byte, letter) in text.char_indices() {
        if units == index {
            return Ok(byte);
        }
        if units > index {
            return Err(BadIndex::InsidePair);
        }
        units += letter.len_utf16();
    }
    match units {
        len if len == index => Ok(text.len()),
        len if len > index => Err(BadIndex::InsidePair),
        len => Err(BadIndex::OutOfRange { len }),
    }
}

/// Bytes of the old text that become bytes of the new text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hunk {
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
}

/// The smallest sensible set of replacements that turns `old` into `new`, in ascending order.
///
/// Common ends are trimmed first, which is all that typing needs. What is left in the middle is compared word by word, so
/// that replacing a word in ten places does not rewrite everything between, and two people's rewrites of one phrase are
/// not mixed letter by letter as a letter-wise difference would. In a text of 4,500 letters a changed phrase costs 155 bytes
/// (automerge's `update_text`: 173), a word changed in 48 places 2,410 bytes (2,897), another text 9 KB (26 KB).
pub(super) fn hunks(old: &str, new: &str) -> Vec<Hunk> {
    let Some(middle) = trim(old, new, 0..old.len(), 0..new.len()) else {
        return Vec::new();
    };
    let old_words = words(old, middle.old.clone());
    let new_words = words(new, middle.new.clone());
    // Beyond this the table costs megabytes; such a rewrite has no useful alignment anyway.
    if old_words.len() * new_words.len() > WORD_TABLE_MAX || old_words.len() <= 1 || new_words.len() <= 1 {
        return vec![middle];
    }
    align(old, new, &middle, &old_words, &new_words)
        .into_iter()
        .filter_map(|hunk| trim(old, new, hunk.old, hunk.new))
        .collect()
}

/// `insert` placed at byte `at..end` of `text`, widened so that the result is NFC where it was touched.
///
/// A keyboard may deliver a tone mark alone: it has to join the letter before it. Returns the bytes to replace and by what.
pub(super) fn compose(text: &str, range: Range<usize>, insert: &str) -> (Range<usize>, String) {
    let insert = nfc(insert);
    let before = text[..range.start]
        .char_indices()
        .rev()
        .find(|(_, letter)| canonical_combining_class(*letter) == 0)
        .map_or(0, |(byte, _)| byte);
    let after = text[range.end..]
        .char_indices()
        .find(|(byte, letter)| *byte > 0 && canonical_combining_class(*letter) == 0)
        .map_or(text.len(), |(byte, _)| range.end + byte);
    let plain = format!("{}{insert}{}", &text[before..range.start], &text[range.end..after]);
    if is_nfc(&plain) {
        return (range, insert.into_owned());
    }
    let composed: String = plain.nfc().collect();
    match trim(&text[before..after], &composed, 0..after - before, 0..composed.len()) {
        Some(hunk) => (before + hunk.old.start..before + hunk.old.end, composed[hunk.new].to_owned()),
        None => (range.start..range.start, String::new()),
    }
}

/// True where typing may be cut: not in the middle of a word.
pub(super) fn is_border(letter: char) -> bool {
    !letter.is_alphanumeric() && !is_extending(letter)
}

/// A letter that changes the one before it: cutting there would show half a character.
fn is_extending(letter: char) -> bool {
    canonical_combining_class(letter) != 0
        || matches!(letter, '\u{200c}' | ZERO_WIDTH_JOINER | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}')
}

/// A cut after `before` and in front of `after` shows no half character.
fn may_cut(before: &str, after: &str) -> bool {
    !before.ends_with(ZERO_WIDTH_JOINER) && !after.starts_with(is_extending)
}

/// Takes equal ends off both ranges; `None` if nothing differs.
fn trim(old: &str, new: &str, old_range: Range<usize>, new_range: Range<usize>) -> Option<Hunk> {
    let (a, b) = (&old[old_range.clone()], &new[new_range.clone()]);
    if a == b {
        return None;
    }
    let mut prefix =
        a.chars().zip(b.chars()).take_while(|(x, y)| x == y).map(|(x, _)| x.len_utf8()).sum::<usize>();
    while prefix > 0 && !(may_cut(&a[..prefix], &a[prefix..]) && may_cut(&b[..prefix], &b[prefix..])) {
        prefix -= a[..prefix].chars().next_back().map_or(0, char::len_utf8);
    }
    let (a_rest, b_rest) = (&a[prefix..], &b[prefix..]);
    let mut suffix = a_rest
        .chars()
        .rev()
        .zip(b_rest.chars().rev())
        .take_while(|(x, y)| x == y)
        .map(|(x, _)| x.len_utf8())
        .sum::<usize>();
    let cut_ok = |suffix: usize| {
        let (a_cut, b_cut) = (a.len() - suffix, b.len() - suffix);
        may_cut(&a[..a_cut], &a[a_cut..]) && may_cut(&b[..b_cut], &b[b_cut..])
    };
    while suffix > 0 && !cut_ok(suffix) {
        suffix -= a[a.len() - suffix..].chars().next().map_or(0, char::len_utf8);
    }
    Some(Hunk {
        old: old_range.start + prefix..old_range.end - suffix,
        new: new_range.start + prefix..new_range.end - suffix,
    })
}

/// Words, each with the spaces and punctuation after it, so that a space alone never aligns.
fn words(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = range.start;
    let mut last_was_border = false;
    for (byte, letter) in text[range.clone()].char_indices() {
        if is_extending(letter) {
            continue;
        }
        let border = is_border(letter);
        let at = range.start + byte;
        if last_was_border && !border && may_cut(&text[start..at], &text[at..]) {
            words.push(start..at);
            start = at;
        }
        last_was_border = border;
    }
    if start < range.end {
        words.push(start..range.end);
    }
    words
}

/// The longest common subsequence of words, as the hunks between.
fn align<'a>(
    old: &'a str,
    new: &'a str,
    middle: &Hunk,
    old_words: &[Range<usize>],
    new_words: &[Range<usize>],
) -> Vec<Hunk> {
    // Numbers compare faster than words, a million times over.
    let mut numbers = BTreeMap::new();
    let mut number = |word: &'a str| {
        let next = numbers.len();
        *numbers.entry(word).or_insert(next)
    };
    let old_numbers: Vec<usize> = old_words.iter().map(|word| number(&old[word.clone()])).collect();
    let new_numbers: Vec<usize> = new_words.iter().map(|word| number(&new[word.clone()])).collect();
    let same = |i: usize, j: usize| old_numbers[i] == new_numbers[j];
    let width = new_words.len() + 1;
    let mut table = vec![0_u32; (old_words.len() + 1) * width];
    for i in (0..old_words.len()).rev() {
        for j in (0..new_words.len()).rev() {
            table[i * width + j] = if same(i, j) {
                table[(i + 1) * width + j + 1] + 1
            } else {
                table[(i + 1) * width + j].max(table[i * width + j + 1])
            };
        }
    }
    let mut hunks = Vec::new();
    let (mut i, mut j) = (0, 0);
    let (mut old_from, mut new_from) = (middle.old.start, middle.new.start);
    while i < old_words.len() && j < new_words.len() {
        if same(i, j) {
            hunks.push(Hunk { old: old_from..old_words[i].start, new: new_from..new_words[j].start });
            (old_from, new_from) = (old_words[i].end, new_words[j].end);
            (i, j) = (i + 1, j + 1);
        } else if table[(i + 1) * width + j] >= table[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    hunks.push(Hunk { old: old_from..middle.old.end, new: new_from..middle.new.end });
    hunks
}

/// What `mine` changes of `base`, as replacements in `theirs`, which comes of the same base: byte ranges from the end, so that
/// earlier ones stay valid. What both removed is removed once, what both inserted at one place stands behind theirs.
pub(super) fn rebase<'a>(base: &str, mine: &'a str, theirs: &str) -> Vec<(Range<usize>, &'a str)> {
    let moved = hunks(base, theirs);
    let mut replacements = Vec::new();
    for Hunk { old, new } in hunks(base, mine).into_iter().rev() {
        let mut kept = kept_parts(&moved, &old, base.len());
        // Deletions from the end; the insertion goes where the first of them begins.
        let at = kept.first().map_or_else(|| place_of(&moved, old.start), |part| part.start);
        let first = if kept.is_empty() { at..at } else { kept.remove(0) };
        replacements.extend(kept.into_iter().rev().map(|part| (part, "")));
        replacements.push((first, &mine[new]));
    }
    replacements
}

/// The parts of `range` of the old text that are still there, as ranges of the new text.
fn kept_parts(hunks: &[Hunk], range: &Range<usize>, old_len: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut old_from, mut new_from) = (0, 0);
    let ends = hunks.iter().map(|hunk| (hunk.old.start, hunk.old.end, hunk.new.end));
    for (equal_end, old_end, new_end) in ends.chain([(old_len, old_len, 0)]) {
        let (start, end) = (range.start.max(old_from), range.end.min(equal_end));
        if start < end {
            parts.push(new_from + (start - old_from)..new_from + (end - old_from));
        }
        (old_from, new_from) = (old_end, new_end);
    }
    parts
}

/// Where a place of the old text is in the new one; after anything inserted or replaced there.
fn place_of(hunks: &[Hunk], place: usize) -> usize {
    let before = hunks.iter().take_while(|hunk| hunk.old.start <= place).last();
    before.map_or(place, |hunk| hunk.new.end + place.saturating_sub(hunk.old.end))
}

const ZERO_WIDTH_JOINER: char = '\u{200d}';
const WORD_TABLE_MAX: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apply(old: &str, new: &str, hunks: &[Hunk]) -> String {
        let mut out = old.to_owned();
        for hunk in hunks.iter().rev() {
            out.replace_range(hunk.old.clone(), &new[hunk.new.clone()]);
        }
        out
    }

    #[test]
    fn typing_touches_only_what_changed() {
        let old = "Chi bộ họp lúc 19:30.";
        let new = "Chi bộ họp vào lúc 19:30.";
        let hunks = hunks(old, new);
        assert_eq!(hunks.len(), 1);
        assert_eq!(&new[hunks[0].new.clone()], "vào ");
        assert!(hunks[0].old.is_empty());
    }

    #[test]
    fn far_apart_changes_do_not_rewrite_what_is_between() {
        let old = "một hai ba bốn năm sáu bảy";
        let new = "mốt hai ba bốn năm sáu bẩy";
        let hunks = hunks(old, new);
        assert_eq!(hunks.len(), 2);
        assert_eq!(apply(old, new, &hunks), new);
        assert!(hunks.iter().all(|hunk| hunk.old.len() <= 3), "{hunks:?}");
    }

    #[test]
    fn a_character_of_several_code_points_is_replaced_as_a_whole() {
        // Rade letter without a precomposed form, and two members of one emoji family.
        for (old, new) in [("ê̆ban", "êban"), ("👩‍👧", "👩‍👦"), ("👍🏽 ạ", "👍🏿 ạ")]
        {
            for hunk in hunks(old, new) {
                assert!(may_cut(&old[..hunk.old.start], &old[hunk.old.start..]), "{old} {hunk:?}");
                assert!(may_cut(&old[..hunk.old.end], &old[hunk.old.end..]), "{old} {hunk:?}");
            }
            assert_eq!(apply(old, new, &hunks(old, new)), new);
        }
    }

    #[test]
    fn utf16_indexes() {
        let text = "a😀b";
        assert_eq!(byte_at(text, 1), Ok(1));
        assert_eq!(byte_at(text, 2), Err(BadIndex::InsidePair));
        assert_eq!(byte_at(text, 3), Ok(5));
        assert_eq!(byte_at(text, 4), Ok(6));
        assert_eq!(byte_at(text, 5), Err(BadIndex::OutOfRange { len: 4 }));
        assert_eq!(byte_at("😀", 1), Err(BadIndex::InsidePair));
    }

    #[test]
    fn a_lone_tone_mark_joins_the_letter_before_it() {
        let text = "Hôi nghị";
        let at = "Hô".len();
        let (range, insert) = compose(text, at..at, "\u{323}");
        assert_eq!(&text[range.clone()], "ô");
        assert_eq!(insert, "ộ");
        // Text that was not NFC elsewhere is not this edit's business.
        let foreign = "o\u{302} va a";
        let (range, insert) = compose(foreign, foreign.len()..foreign.len(), "\u{301}");
        assert_eq!((&foreign[range], insert.as_str()), ("a", "á"));
    }

    proptest! {
        #[test]
        fn hunks_turn_old_into_new(old in "[ab ộ😀\u{301}\u{200d}]{0,24}", new in "[ab ộ😀\u{301}\u{200d}]{0,24}") {
            let hunks = hunks(&old, &new);
            prop_assert_eq!(apply(&old, &new, &hunks), new);
            prop_assert!(hunks.windows(2).all(|pair| pair[0].old.end <= pair[1].old.start));
        }

        #[test]
        fn composing_is_normalising(text in "[aeô ]{0,8}", insert in "[e\u{302}\u{301}\u{323}]{0,3}", at in 0_usize..8) {
            let at = text.char_indices().map(|(byte, _)| byte).nth(at).unwrap_or(text.len());
            let (range, insert_as) = compose(&text, at..at, &insert);
            let mut out = text.clone();
            out.replace_range(range, &insert_as);
            let plain = format!("{}{insert}{}", &text[..at], &text[at..]);
            prop_assert_eq!(out, plain.nfc().collect::<String>());
        }
    }
}
