//! Typing Vietnamese key by key makes few changes, and no letter on its way to another one gets into the history.

mod document_common;

use dinh_core::document::{Document, EditError, PendingText, Typing, TypingConfig, Value};
use dinh_core::path;
use unicode_normalization::UnicodeNormalization;

const KEY_US: u64 = 180_000;
const SENTENCE: &str = "Hội nghị đã thống nhất";
const PARAGRAPH: &str = "Đồng chí bí thư chi bộ khai mạc hội nghị, thông báo chương trình và giới thiệu thư ký ghi biên bản. \
    Chi bộ nghe báo cáo kết quả tháng trước, nghe góp ý vào dự thảo nghị quyết về sửa đường liên thôn và nhà văn hóa. \
    Các đồng chí thảo luận sôi nổi, có bảy ý kiến phát biểu. Hội nghị đã thống nhất giao cho đoàn thanh niên phụ trách. ";

/// What the field shows after each key of a Telex keyboard: letters first, then their hats, the tone last.
fn telex(text: &str) -> Vec<String> {
    let mut shown = String::new();
    let mut states = Vec::new();
    for word in text.split_inclusive(&[' ', ',', '.']) {
        let (word, after) = match word.strip_suffix([' ', ',', '.']) {
            Some(bare) => (bare, &word[bare.len()..]),
            None => (word, ""),
        };
        let toneless: String = word.nfd().filter(|letter| !TONES.contains(letter)).nfc().collect();
        let start = shown.len();
        for letter in toneless.chars() {
            let bare = match letter {
                'đ' => 'd',
                'Đ' => 'D',
                letter => std::iter::once(letter).nfd().next().unwrap_or(letter),
            };
            if bare != letter {
                states.push(format!("{shown}{bare}"));
            }
            shown.push(letter);
            states.push(shown.clone());
        }
        if toneless != word {
            shown.truncate(start);
            shown.push_str(word);
            states.push(shown.clone());
        }
        if !after.is_empty() {
            shown.push_str(after);
            states.push(shown.clone());
        }
    }
    states
}

const TONES: [char; 5] = ['\u{300}', '\u{301}', '\u{303}', '\u{309}', '\u{323}'];

struct Field {
    doc: Document,
    typing: Typing,
    changes: usize,
    bytes: usize,
    committed: Vec<String>,
}

impl Field {
    fn new(config: TypingConfig) -> Self {
        let mut doc = Document::new([1; 16]);
        doc.edit::<_, EditError>(0, None, |edit| edit.put(&path!["t"], Value::text(""))).expect("fits");
        Self { doc, typing: Typing::new(config), changes: 0, bytes: 0, committed: Vec::new() }
    }

    fn stored(&self) -> String {
        self.doc.view().text(&path!["t"]).expect("there")
    }

    fn commit(&mut self, typed: Option<PendingText>) {
        let Some(typed) = typed else { return };
        let edit =
            self.doc.edit::<_, EditError>(0, None, |edit| edit.put_typed(&path!["t"], &typed)).expect("fits");
        let change = edit.1.expect("what comes out of typing differs");
        self.changes += 1;
        self.bytes += change.raw.len();
        self.committed.push(self.stored());
    }

    /// Lets time pass as an owner with a timer would.
    fn until(&mut self, now_us: u64) {
        while let Some(due) = self.typing.poll_timeout().filter(|due| *due <= now_us) {
            let typed = self.typing.handle_timeout(due);
            self.commit(typed);
        }
    }

    fn key(&mut self, now_us: u64, text: &str, composing: bool) {
        self.until(now_us);
        let stored = self.stored();
        self.typing.input(now_us, &stored, text, composing);
        self.until(now_us);
    }

    fn type_all(&mut self, states: &[String]) {
        let mut now = 1_000_000;
        for state in states {
            now += KEY_US;
            self.key(now, state, false);
        }
        self.until(now + 60_000_000);
    }
}

fn every_commit_ends_a_word(field: &Field, whole: &str) {
    for text in &field.committed {
        assert!(whole.starts_with(text.as_str()), "{text:?} has letters that are not in the end");
        assert!(text == whole || text.ends_with([' ', ',', '.']), "{text:?} ends in the middle of a word");
    }
    assert_eq!(field.stored(), whole);
}

#[test]
fn telex_as_people_type() {
    let states = telex(SENTENCE);
    assert!(states.starts_with(&["H", "Ho", "Hô", "Hôi", "Hội", "Hội "].map(str::to_owned)), "{states:?}");
    for config in [TypingConfig::CONNECTED, TypingConfig::OFFLINE] {
        let mut field = Field::new(config);
        field.type_all(&states);
        every_commit_ends_a_word(&field, SENTENCE);
        let most = if config == TypingConfig::CONNECTED { 3 } else { 1 };
        assert!(field.changes <= most, "{} changes", field.changes);
    }
}

#[test]
fn a_keyboard_that_composes_visibly() {
    // Raw letters are shown until the word is done: "Hooij" becomes "Hội".
    let mut field = Field::new(TypingConfig::CONNECTED);
    let mut now = 0;
    let mut shown = String::new();
    for (raw, word) in
        [("Hooij", "Hội"), ("nghij", "nghị"), ("ddax", "đã"), ("thoongs", "thống"), ("nhaats", "nhất")]
    {
        for end in 1..=raw.len() {
            now += KEY_US;
            field.key(now, &format!("{shown}{}", &raw[..end]), true);
            assert!(field.typing.is_composing());
        }
        shown.push_str(word);
        field.key(now, &shown, true);
        field.typing.composition_ended(now);
        field.until(now);
        now += KEY_US;
        if word != "nhất" {
            shown.push(' ');
            field.key(now, &shown, false);
        }
    }
    field.until(now + 5_000_000);
    assert_eq!(field.stored(), SENTENCE);
    assert!(field.changes <= 3, "{:?}", field.committed);
    for text in &field.committed {
        assert!(SENTENCE.starts_with(text.trim_end()), "{text:?}");
    }
}

#[test]
fn what_gathering_saves() {
    let text = PARAGRAPH.repeat(3);
    let text = text.trim_end();
    let states = telex(text);
    let rows: Vec<_> = [
        ("each state", None),
        ("connected", Some(TypingConfig::CONNECTED)),
        ("offline", Some(TypingConfig::OFFLINE)),
    ]
    .into_iter()
    .map(|(name, config)| {
        let mut field = Field::new(config.unwrap_or_default());
        match config {
            Some(_) => field.type_all(&states),
            None => {
                for state in &states {
                    field.key(0, state, false);
                    let typed = field.typing.flush();
                    field.commit(typed);
                }
            }
        }
        assert_eq!(field.stored(), text);
        if config.is_some() {
            every_commit_ends_a_word(&field, text);
        }
        println!(
            "{name:>10}: {} words, {} keys, {} changes, {} B raw, save {} B",
            text.split(' ').count(),
            states.len(),
            field.changes,
            field.bytes,
            field.doc.save().len()
        );
        (field.changes, field.bytes)
    })
    .collect();
    assert!(rows[1].1 * 5 < rows[0].1 && rows[2].1 * 12 < rows[0].1, "{rows:?}");
    assert!(rows[2].0 < rows[1].0 && rows[1].0 * 8 < rows[0].0, "{rows:?}");
}

#[test]
fn pauses_blur_and_flush() {
    let mut field = Field::new(TypingConfig::CONNECTED);
    field.key(0, "Họp", false);
    assert_eq!(field.typing.poll_timeout(), Some(1_000_000));
    assert_eq!(field.typing.handle_timeout(999_999), None);
    field.until(1_000_000);
    assert_eq!(field.stored(), "Họp");
    assert_eq!((field.typing.has_pending(), field.typing.poll_timeout()), (false, None));
    // Blur and flush give everything at once.
    field.key(2_000_000, "Họp chi", true);
    let typed = field.typing.blur();
    assert_eq!(typed, Some(PendingText { base: "Họp".to_owned(), text: "Họp chi".to_owned() }));
    assert!(!field.typing.is_composing());
    field.commit(typed);
    // What comes back to where it was is nothing.
    field.key(3_000_000, "Họp chix", false);
    field.key(3_100_000, "Họp chi", false);
    assert!(field.typing.has_pending());
    assert_eq!(field.typing.flush(), None);
    assert_eq!(field.typing.flush(), None);
    // Neither is the same text in another encoding.
    let nfd: String = "Họp chi".nfd().collect();
    field.key(4_000_000, &nfd, false);
    assert_eq!(field.typing.flush(), None);
    assert_eq!(field.changes, 2);
}

#[test]
fn a_long_composition_is_committed_in_the_end() {
    let mut field = Field::new(TypingConfig::CONNECTED);
    for n in 0..12_u64 {
        field.key(n * 1_000_000, &"a".repeat(n as usize + 1), true);
        assert!(field.typing.is_composing(), "the keyboard decides when it ends");
    }
    assert_eq!(field.committed, ["a".repeat(10)]);
    assert!(field.typing.has_pending());
}

#[test]
fn emoji_and_splices() {
    let mut field = Field::new(TypingConfig::CONNECTED);
    field.key(0, "ạ 👩‍👧", false);
    let typed = field.typing.flush();
    field.commit(typed);
    let stored = field.stored();
    let mut splice = |at, insert: &str| field.typing.splice(10, &stored, at, insert, false);
    // Three UTF-16 units before the daughter; the family becomes a mother with a son.
    assert_eq!(splice((5, 2), "👦"), Ok(()));
    assert!(matches!(splice((6, 0), "x"), Err(EditError::InsideSurrogatePair { index: 6, .. })));
    assert!(matches!(splice((3, 0), "x"), Err(EditError::InsideSurrogatePair { index: 3, .. })));
    assert!(matches!(splice((8, 0), "x"), Err(EditError::OutOfRange { len: 7, .. })));
    assert_eq!(splice((7, 0), "!"), Ok(()));
    assert_eq!(field.typing.shown(), Some("ạ 👩‍👦!"));
    let typed = field.typing.flush();
    field.commit(typed);
    assert_eq!(field.stored(), "ạ 👩‍👦!");
}

#[test]
fn a_change_that_slipped_in_is_not_undone() {
    let mut field = Field::new(TypingConfig::CONNECTED);
    field.key(0, "một hai ba bốn", false);
    let typed = field.typing.flush();
    field.commit(typed);
    for (theirs, mine, merged) in [
        ("không một hai ba bốn", "một hai ba bốn năm", "không một hai ba bốn năm"),
        ("một ba bốn", "một hai BA bốn", "một BA bốn"),
        ("một hai ba bốn và", "hai ba bốn", "hai ba bốn và"),
        ("một bốn", "một hai ba rưỡi bốn", "một rưỡi bốn"),
        ("", "một hai ba bốn năm", " năm"),
        ("một hai hai rưỡi ba bốn", "một bốn", "một hai rưỡi bốn"),
    ] {
        let mut field =
            Field { doc: field.doc.clone(), typing: field.typing.clone(), committed: vec![], ..field };
        field.key(0, mine, false);
        field.doc.edit::<_, EditError>(0, None, |edit| edit.set_text(&path!["t"], theirs)).expect("fits");
        let typed = field.typing.flush();
        field.commit(typed);
        assert_eq!(field.stored(), merged, "{theirs} / {mine}");
    }
}
