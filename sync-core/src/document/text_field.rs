//! A text field between a keyboard and a document, which are on two threads.
//!
//! A screen cannot wait for a disk, and a document cannot be changed under a keyboard that composes. So the field has its own
//! text, which the keyboard changes at once; whoever owns the document takes from time to time what was typed
//! ([`TextField::take`]), and the screen takes what others wrote when the keyboard has let go ([`TextField::absorb`]). Three
//! texts are enough: what stands in the field, the part of it that the document has had, and the document's.

use std::error::Error;
use std::sync::{Arc, Mutex};

use super::text::{self, BadIndex, Hunk};
use super::{EditError, Path, PendingText};

/// A field and the client that gathers what is typed in it: locked for the time of a comparison of texts, never while
/// something is written to a disk.
pub type SharedTextField = Arc<Mutex<TextField>>;

/// A text field's content; the default is of an empty text.
#[derive(Debug, Default)]
pub struct TextField {
    /// As the screen has it, in whatever normal form the keyboard writes.
    shown: String,
    /// What `shown` consists of besides what was typed and not taken yet; in NFC, as the document's.
    base: String,
    /// The document's text when it was last told: `base` and what others wrote since.
    stored: String,
    /// While something was taken and is being written: `base` as it was before.
    taken: Option<String>,
    /// Why what was taken last could not be written.
    failure: Option<Failure>,
}

/// Why something could not be written.
pub type Failure = Arc<dyn Error + Send + Sync>;

/// Code units of a field's text that are replaced. All numbers are UTF-16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextSplice {
    /// The first.
    pub index: usize,
    /// How many.
    pub delete: usize,
    /// By what.
    pub insert: String,
}

impl TextField {
    /// A field that shows the document's text.
    #[must_use]
    pub fn new(stored: &str) -> Self {
        let stored = stored.to_owned();
        Self { shown: stored.clone(), base: stored.clone(), stored, taken: None, failure: None }
    }

    /// What the field shows.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The keyboard replaced `delete` code units at `index`.
    ///
    /// # Errors
    /// If the range is beyond the end or cuts a surrogate pair; the path that the error names is the root, as this does not
    /// know the text's.
    pub fn splice(&mut self, index: usize, delete: usize, insert: &str) -> Result<(), EditError> {
        let byte = |index| {
            text::byte_at(&self.shown, index).map_err(|error| match error {
                BadIndex::OutOfRange { len } => EditError::OutOfRange { path: Path::root(), index, len },
                BadIndex::InsidePair => EditError::InsideSurrogatePair { path: Path::root(), index },
            })
        };
        let range = byte(index)?..byte(index.saturating_add(delete))?;
        self.shown.replace_range(range, insert);
        Ok(())
    }

    /// The field shows this now, by the keyboard's doing.
    pub fn set(&mut self, text: &str) {
        text.clone_into(&mut self.shown);
    }

    /// Others wrote something that the field does not show yet.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.taken.is_none() && self.base != self.stored
    }

    /// Puts what others wrote into the field, around what was typed. Returns what the screen has to replace, one after the other.
    /// Not while the keyboard composes: it would lose its place.
    pub fn absorb(&mut self) -> Vec<TextSplice> {
        if !self.has_news() {
            return Vec::new();
        }
        let typed = text::nfc(&self.shown).into_owned();
        let mut merged = self.stored.clone();
        for (range, insert) in text::rebase(&self.base, &typed, &self.stored) {
            merged.replace_range(range, insert);
        }
        let merged = text::nfc(&merged).into_owned();
        self.base.clone_from(&self.stored);
        if merged == typed {
            return Vec::new();
        }
        let splices = splices(&self.shown, &merged);
        self.shown = merged;
        splices
    }

    /// What was typed and not taken before, for the document. Until [`stored`](Self::stored) or [`put_back`](Self::put_back)
    /// says what became of it there is no other.
    #[must_use]
    pub fn take(&mut self) -> Option<PendingText> {
        let text = text::nfc(&self.shown).into_owned();
        if self.taken.is_some() || text == self.base {
            return None;
        }
        let base = std::mem::replace(&mut self.base, text.clone());
        self.taken = Some(base.clone());
        Some(PendingText { base, text })
    }

    /// Whether something was typed that the document does not have.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.taken.is_some() || text::nfc(&self.shown) != self.base
    }

    /// Why what was typed is not in the document, if it was tried and is still only here.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.failure.clone().filter(|_| self.is_dirty())
    }

    /// What was taken is written, and the document's text is this now.
    pub fn written(&mut self, stored: &str) {
        self.failure = None;
        self.stored(stored);
    }

    /// The document's text is this now, with what was taken in it.
    pub fn stored(&mut self, stored: &str) {
        self.taken = None;
        stored.clone_into(&mut self.stored);
    }

    /// What was taken could not be written: it counts as typed again.
    pub fn put_back(&mut self, why: Failure) {
        if let Some(base) = self.taken.take() {
            self.base = base;
        }
        self.failed(why);
    }

    /// What was typed cannot be taken now. Unlike [`put_back`](Self::put_back) it may be said by anybody, at any time: what is being
    /// written meanwhile stays taken, and a word that comes too late changes nothing.
    pub fn failed(&mut self, why: Failure) {
        if self.is_dirty() {
            self.failure = Some(why);
        }
    }
}

/// Replacements that turn one text into another if they are done one after the other.
fn splices(old: &str, new: &str) -> Vec<TextSplice> {
    // From the end, so that each index holds when its turn comes.
    let hunks = text::hunks(old, new).into_iter().rev();
    let of = |Hunk { old: gone, new: come }: Hunk| TextSplice {
        index: text::utf16_len(&old[..gone.start]),
        delete: text::utf16_len(&old[gone]),
        insert: new[come].to_owned(),
    };
    hunks.map(of).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::{Document, Value};
    use crate::path;

    fn document(text: &str) -> Document {
        let mut doc = Document::new([1; 16]);
        doc.edit::<_, EditError>(0, None, |edit| edit.put(&path!["t"], Value::text(text))).expect("fits");
        doc
    }

    fn text_of(doc: &Document) -> String {
        doc.view().text(&path!["t"]).expect("there")
    }

    fn write(doc: &mut Document, field: &mut TextField) {
        if let Some(typed) = field.take() {
            doc.edit::<_, EditError>(0, None, |edit| edit.put_typed(&path!["t"], &typed)).expect("fits");
            field.stored(&text_of(doc));
        }
    }

    fn replay(screen: &mut String, splices: &[TextSplice]) {
        for TextSplice { index, delete, insert } in splices {
            let start = text::byte_at(screen, *index).expect("a place");
            let end = text::byte_at(screen, index + delete).expect("a place");
            screen.replace_range(start..end, insert);
        }
    }

    #[test]
    fn what_others_wrote_comes_when_the_field_takes_it_and_typing_is_not_undone() {
        let mut doc = document("Hội nghị thống nhất.");
        let mut field = TextField::new("Hội nghị thống nhất.");
        field.splice(8, 0, " đã").expect("a place");
        // Somebody else's words reach the document while the keyboard composes.
        doc.edit::<_, EditError>(0, None, |e| e.splice_text(&path!["t"], 0, 0, "19:30. ")).expect("fits");
        field.stored(&text_of(&doc));
        assert!(field.has_news());
        write(&mut doc, &mut field);
        assert_eq!(text_of(&doc), "19:30. Hội nghị đã thống nhất.");
        assert_eq!(field.shown(), "Hội nghị đã thống nhất.");
        let splices = field.absorb();
        assert_eq!(splices, [TextSplice { index: 0, delete: 0, insert: "19:30. ".into() }]);
        assert_eq!(field.shown(), text_of(&doc));
        assert!(!field.has_news());
    }

    #[test]
    fn what_could_not_be_written_counts_as_typed_again() {
        let mut doc = document("a");
        let mut field = TextField::new("a");
        field.splice(1, 0, "b").expect("a place");
        let typed = field.take().expect("typed");
        assert_eq!((typed.base.as_str(), typed.text.as_str()), ("a", "ab"));
        assert_eq!(field.take(), None, "it is being written");
        field.put_back(Arc::new(EditError::Refused("full".into())));
        write(&mut doc, &mut field);
        assert_eq!(text_of(&doc), "ab");
    }

    /// Who waits for an answer may hear of a failure when the words have been taken again by somebody else.
    #[test]
    fn a_failure_that_is_told_late_doubles_nothing_and_is_not_shown_for_what_is_written() {
        let mut doc = document("a");
        let mut field = TextField::new("a");
        let late = || Arc::new(EditError::Refused("locked".into()));
        field.splice(1, 0, "b").expect("a place");
        let typed = field.take().expect("typed");
        field.failed(late());
        doc.edit::<_, EditError>(0, None, |edit| edit.put_typed(&path!["t"], &typed)).expect("fits");
        field.written(&text_of(&doc));
        field.failed(late());
        field.splice(2, 0, "c").expect("a place");
        assert!(field.failure().is_none());
        write(&mut doc, &mut field);
        assert_eq!((text_of(&doc).as_str(), field.shown()), ("abc", "abc"));
        assert_eq!(field.absorb(), []);
    }

    #[test]
    fn a_keyboard_that_writes_decomposed_letters_is_not_disturbed() {
        let mut doc = document("");
        let mut field = TextField::new("");
        field.set("Ho\u{323}\u{302}i");
        write(&mut doc, &mut field);
        assert_eq!(text_of(&doc), "Hội");
        assert_eq!(field.absorb(), []);
        assert_eq!(field.shown(), "Ho\u{323}\u{302}i");
        assert_eq!(field.take(), None);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Type(usize, usize, String),
        Remote(usize, usize, String),
        Told,
        Write,
        TypeWhileWriting(usize, String),
        Absorb,
    }

    fn act() -> impl Strategy<Value = Act> {
        // Each letter is typed once: what is lost or doubled shows.
        let place = || 0..40_usize;
        prop_oneof![
            (place(), 0..3_usize, "[a-z ộ😀]{0,3}").prop_map(|(at, n, s)| Act::Type(at, n, s)),
            (place(), 0..3_usize, "[A-Z ]{0,3}").prop_map(|(at, n, s)| Act::Remote(at, n, s)),
            Just(Act::Told),
            Just(Act::Write),
            (place(), "[a-z]{1,2}").prop_map(|(at, s)| Act::TypeWhileWriting(at, s)),
            Just(Act::Absorb),
        ]
    }

    /// The nearest place to `at` that cuts nothing, and the end of `n` units from there.
    fn range_in(text: &str, at: usize, n: usize) -> (usize, usize) {
        let places: Vec<usize> = text
            .char_indices()
            .map(|(byte, _)| text::utf16_len(&text[..byte]))
            .chain([text::utf16_len(text)])
            .collect();
        let start = at % places.len();
        let end = (start + n).min(places.len() - 1);
        (places[start], places[end] - places[start])
    }

    proptest! {
        #[test]
        fn screen_field_and_document_agree_in_the_end(acts in prop::collection::vec(act(), 0..24)) {
            let mut doc = document("một hai");
            let mut field = TextField::new("một hai");
            let mut screen = "một hai".to_owned();
            let type_in = |field: &mut TextField, screen: &mut String, at, n, insert: &str| {
                let (index, delete) = range_in(screen, at, n);
                field.splice(index, delete, insert).expect("a place");
                replay(screen, &[TextSplice { index, delete, insert: insert.to_owned() }]);
            };
            for act in acts {
                match act {
                    Act::Type(at, n, insert) => type_in(&mut field, &mut screen, at, n, &insert),
                    Act::Remote(at, n, insert) => {
                        let (index, delete) = range_in(&text_of(&doc), at, n);
                        doc.edit::<_, EditError>(0, None, |e| e.splice_text(&path!["t"], index, delete, &insert))
                            .expect("fits");
                    }
                    Act::Told => field.stored(&text_of(&doc)),
                    Act::Write => write(&mut doc, &mut field),
                    Act::TypeWhileWriting(at, insert) => {
                        if let Some(typed) = field.take() {
                            type_in(&mut field, &mut screen, at, 0, &insert);
                            prop_assert_eq!(field.absorb(), []);
                            doc.edit::<_, EditError>(0, None, |e| e.put_typed(&path!["t"], &typed)).expect("fits");
                            field.stored(&text_of(&doc));
                        }
                    }
                    Act::Absorb => replay(&mut screen, &field.absorb()),
                }
                prop_assert_eq!(field.shown(), &screen);
            }
            write(&mut doc, &mut field);
            field.stored(&text_of(&doc));
            replay(&mut screen, &field.absorb());
            prop_assert_eq!(field.take(), None);
            prop_assert_eq!(&screen, &text_of(&doc));
        }

        /// What one types where nobody else writes is there once, whenever it is taken.
        #[test]
        fn nothing_typed_is_lost_or_doubled(words in prop::collection::vec(("[a-z]{1,3}", 0..4_u8), 1..12)) {
            let mut doc = document("");
            let mut field = TextField::new("");
            let mut expected = String::new();
            for (i, (word, what)) in words.iter().enumerate() {
                let word = format!("{word}{i} ");
                let end = text::utf16_len(field.shown());
                field.splice(end, 0, &word).expect("the end");
                expected.push_str(&word);
                if what & 1 == 1 {
                    write(&mut doc, &mut field);
                }
                if what & 2 == 2 {
                    let remote = format!("R{i} ");
                    doc.edit::<_, EditError>(0, None, |e| e.splice_text(&path!["t"], 0, 0, &remote)).expect("fits");
                    field.stored(&text_of(&doc));
                }
            }
            write(&mut doc, &mut field);
            let own: String = text_of(&doc).split_inclusive(' ').filter(|w| !w.starts_with('R')).collect();
            prop_assert_eq!(own, expected);
        }
    }
}
