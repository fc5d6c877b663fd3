//! Gathering key strokes into few changes.
//!
//! How often a text is committed decides what a document costs: a change per state of a Vietnamese keyboard takes twenty
//! times the bytes of a change per five syllables, and keeps every letter that was only on its way to another one.

use std::sync::{Arc, PoisonError};

use super::text::{self, BadIndex};
use super::{EditError, Path, SharedTextField};

/// How long typing is gathered. All times are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypingConfig {
    /// No key for so long: commit.
    pub pause_us: u64,
    /// After so long without a pause: commit at the next end of a word.
    pub gather_us: u64,
    /// After so long: commit anyway, be it in the middle of a word or of a composition.
    pub gather_us_max: u64,
}

/// Typing into one text field, from the first key to the commit.
///
/// A pure state machine: the time comes in as monotonic microseconds, and whoever owns it commits what comes out of
/// [`handle_timeout`](Self::handle_timeout), [`blur`](Self::blur) and [`flush`](Self::flush) with
/// [`Edit::put_typed`](super::Edit::put_typed). After every input, ask [`poll_timeout`](Self::poll_timeout) again.
///
/// When changes of others arrive while [`has_pending`](Self::has_pending): flush and commit first, then apply them. While
/// [`is_composing`](Self::is_composing): apply them after the composition has ended, because a keyboard loses its place
/// when the text changes under it.
#[derive(Clone, Debug)]
pub struct Typing {
    config: TypingConfig,
    composing: bool,
    pending: Option<Pending>,
    /// Where what was typed is taken from, if the field has a text of its own.
    field: Option<SharedTextField>,
}

/// What was typed: the text when typing began and the text now (NFC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingText {
    /// The text as it was stored when typing began.
    pub base: String,
    /// The text as it shall be.
    pub text: String,
}

#[derive(Clone, Debug)]
struct Pending {
    base: String,
    /// As the app has it, so that the app's indexes hold.
    text: String,
    started_us: u64,
    last_input_us: u64,
    /// The last input left the caret at the end of a word.
    at_border: bool,
}

impl TypingConfig {
    /// While connected: others see the text within about two seconds.
    pub const CONNECTED: Self = Self { pause_us: 1_000_000, gather_us: 2_000_000, gather_us_max: 10_000_000 };
    /// While offline: nobody is waiting, so changes are larger and fewer.
    pub const OFFLINE: Self = Self { pause_us: 1_000_000, gather_us: 10_000_000, gather_us_max: 20_000_000 };
}

impl Default for TypingConfig {
    fn default() -> Self {
        Self::CONNECTED
    }
}

impl Typing {
    /// A text field at rest.
    #[must_use]
    pub const fn new(config: TypingConfig) -> Self {
        Self { config, composing: false, pending: None, field: None }
    }

    /// The same for a field with a text of its own: only the times are kept here, and what is committed is what the field
    /// shows by then.
    #[must_use]
    pub const fn of_field(config: TypingConfig, field: SharedTextField) -> Self {
        Self { config, composing: false, pending: None, field: Some(field) }
    }

    /// Whether it is for this field.
    #[must_use]
    pub fn is_of(&self, field: &SharedTextField) -> bool {
        self.field.as_ref().is_some_and(|own| Arc::ptr_eq(own, field))
    }

    /// The field, if it has a text of its own.
    #[must_use]
    pub const fn field(&self) -> Option<&SharedTextField> {
        self.field.as_ref()
    }

    /// Whether nobody holds its field any more, and nothing of it waits.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.pending.is_none() && self.field.as_ref().is_some_and(|field| Arc::strong_count(field) == 1)
    }

    /// Takes other times from now on: the device went offline or came back.
    pub const fn set_config(&mut self, config: TypingConfig) {
        self.config = config;
    }

    /// The field now shows `text`. `stored` is the document's text; it counts only if nothing was pending.
    /// `composing` says that the keyboard still holds a part of it (underlined on most).
    pub fn input(&mut self, now_us: u64, stored: &str, text: &str, composing: bool) {
        let at_border = ends_word(self.pending.as_ref().map_or(stored, |pending| &pending.text), text);
        let pending = self.pending.get_or_insert_with(|| Pending::new(now_us, stored));
        text.clone_into(&mut pending.text);
        pending.last_input_us = now_us;
        pending.at_border = at_border;
        self.composing = composing;
    }

    /// `delete` code units at `index` of the shown text were replaced, all in UTF-16. Else as [`input`](Self::input).
    ///
    /// # Errors
    /// If the range is beyond the end of the shown text or cuts a surrogate pair. The error names the root, as this does
    /// not know the text's path.
    pub fn splice(
        &mut self,
        now_us: u64,
        stored: &str,
        (index, delete): (usize, usize),
        insert: &str,
        composing: bool,
    ) -> Result<(), EditError> {
        let shown = self.pending.as_ref().map_or(stored, |pending| &pending.text);
        let byte = |index| {
            text::byte_at(shown, index).map_err(|error| match error {
                BadIndex::OutOfRange { len } => EditError::OutOfRange { path: Path::root(), index, len },
                BadIndex::InsidePair => EditError::InsideSurrogatePair { path: Path::root(), index },
            })
        };
        let range = byte(index)?..byte(index.saturating_add(delete))?;
        let mut text = shown.to_owned();
        text.replace_range(range, insert);
        self.input(now_us, stored, &text, composing);
        Ok(())
    }

    /// The keyboard has let go of what it composed: the end of a word.
    pub fn composition_ended(&mut self, now_us: u64) {
        self.composing = false;
        if let Some(pending) = &mut self.pending {
            pending.last_input_us = now_us;
            pending.at_border = true;
        }
    }

    /// The field lost the focus: everything is committed.
    pub fn blur(&mut self) -> Option<PendingText> {
        self.composing = false;
        self.flush()
    }

    /// What there is to commit now, whatever the time. A composition goes on, and what follows is a new change.
    pub fn flush(&mut self) -> Option<PendingText> {
        let Pending { base, text, .. } = self.pending.take()?;
        if let Some(field) = &self.field {
            return field.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        let text = text::nfc(&text).into_owned();
        (text != base).then_some(PendingText { base, text })
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do; may be in the past.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let pending = self.pending.as_ref()?;
        let limit = pending.started_us.saturating_add(self.config.gather_us_max);
        if self.composing {
            return Some(limit);
        }
        let pause = pending.last_input_us.saturating_add(self.config.pause_us);
        let gathered = pending.started_us.saturating_add(self.config.gather_us);
        Some(if pending.at_border { pause.min(gathered) } else { pause.min(limit) })
    }

    /// What is due at this time. `None` if nothing is, or if the text is again what it was.
    pub fn handle_timeout(&mut self, now_us: u64) -> Option<PendingText> {
        if self.poll_timeout().is_some_and(|due| due <= now_us) { self.flush() } else { None }
    }

    /// What is due cannot be committed now: the times begin anew.
    pub fn postpone(&mut self, now_us: u64) {
        if let Some(pending) = &mut self.pending {
            pending.started_us = now_us;
            pending.last_input_us = now_us;
        }
    }

    /// The keyboard holds a part of the text: nothing should be changed under it.
    #[must_use]
    pub const fn is_composing(&self) -> bool {
        self.composing
    }

    /// Something was typed that is not committed.
    #[must_use]
    pub const fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The text as the field shows it, if anything is pending.
    #[must_use]
    pub fn shown(&self) -> Option<&str> {
        self.pending.as_ref().map(|pending| pending.text.as_str())
    }
}

impl Pending {
    fn new(now_us: u64, stored: &str) -> Self {
        Self {
            base: stored.to_owned(),
            text: String::new(),
            started_us: now_us,
            last_input_us: now_us,
            at_border: false,
        }
    }
}

/// True if what was typed between these two states ends a word: a space, a full stop, an emoji.
fn ends_word(before: &str, after: &str) -> bool {
    match text::hunks(before, after).last() {
        Some(hunk) => after[..hunk.new.end].chars().next_back().is_none_or(text::is_border),
        None => false,
    }
}
