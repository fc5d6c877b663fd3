//! Suggestions: what members propose to change in a draft that others write. Each is anchored to the letters that it is about,
//! and quotes them, so it finds its place after other changes; accepting one makes an ordinary change that names whose it was.

use std::collections::BTreeMap;
use std::ops::Range;

use dinh_core::document::{Edit, EditError, Value, View};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::Serialize;

use crate::check::refuse_classified;
use crate::field::{Fields, Register, member, put_register};
use crate::me::Me;
use crate::outline::text_of;

/// The map of suggestions.
pub const SUGGESTIONS: &str = "suggestions";
/// The map of what became of them.
pub const OUTCOMES: &str = "outcomes";

/// What became of a suggestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is in the text.
    Accepted,
    /// It was not taken.
    Declined,
}

/// A suggestion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// Its key.
    pub id: String,
    /// Whose it is.
    pub by: MemberId,
    /// When, by that phone's clock.
    pub at: i64,
    /// The block.
    pub block: String,
    /// What stood there.
    pub quote: String,
    /// What should stand there.
    pub proposed: String,
    /// What became of it; contested if two of the committee decided differently.
    pub outcome: Register<Outcome>,
    #[serde(skip)]
    anchors: (Vec<u8>, Vec<u8>),
    /// Where it was when it was read.
    pub place: Place,
}

/// Where a suggestion's quote is now, in UTF-16 code units of the block's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// There, as it was.
    Here(Range<usize>),
    /// There, but something else stands in it now: look before it is applied.
    Changed(Range<usize>),
    /// The block or the letters are gone.
    Gone,
}

impl Suggestion {
    /// Reads all of a document, oldest first.
    #[must_use]
    pub fn read_all(fields: &Fields<'_, '_>) -> Vec<Self> {
        let ids = fields.view().keys(&path![SUGGESTIONS]).into_iter();
        ids.filter_map(|id| Self::read(fields, id)).collect()
    }

    fn read(fields: &Fields<'_, '_>, id: String) -> Option<Self> {
        let Value::Map(entry) = fields.view().get(&path![SUGGESTIONS, id.as_str()])? else { return None };
        let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        let bytes = |key: &str| match entry.get(key) {
            Some(Value::Bytes(bytes)) => Some(bytes.clone()),
            _ => None,
        };
        let Some(Value::Timestamp(at)) = entry.get("at") else { return None };
        let outcome = fields.register(&path![OUTCOMES, id.as_str()], |value| match value.as_str()? {
            "accepted" => Some(Outcome::Accepted),
            "declined" => Some(Outcome::Declined),
            _ => None,
        });
        let mut found = Self {
            by: member(&text("by")?)?,
            at: *at,
            block: text("block")?,
            quote: text("quote")?,
            proposed: text("proposed")?,
            anchors: (bytes("first")?, bytes("last")?),
            outcome,
            place: Place::Gone,
            id,
        };
        found.place = found.place(fields.view());
        Some(found)
    }

    /// Where it is in what is shown now.
    #[must_use]
    pub fn place(&self, view: &View<'_>) -> Place {
        let at = text_of(&self.block);
        let Some(text) = view.text(&at) else { return Place::Gone };
        let resolve = |bytes: &[u8]| view.resolve(&at, &view.read_cursor(&at, bytes).ok()?).ok();
        let units: Vec<u16> = text.encode_utf16().collect();
        let quote: Vec<u16> = self.quote.encode_utf16().collect();
        let anchored = resolve(&self.anchors.0).zip(resolve(&self.anchors.1));
        if let Some((first, last)) = anchored {
            // The second anchor is on the quote's last letter.
            let letter = quote.len() - quote.iter().rposition(|u| !(0xdc00..0xe000).contains(u)).unwrap_or(0);
            let range = first..(last + letter).min(units.len()).max(first);
            if units.get(range.clone()) == Some(&quote[..]) {
                return Place::Here(range);
            }
            if let Some(found) = only_place(&units, &quote) {
                return Place::Here(found);
            }
            return if range.is_empty() { Place::Gone } else { Place::Changed(range) };
        }
        only_place(&units, &quote).map_or(Place::Gone, Place::Here)
    }
}

/// Where a quote stands, if it does in one place only.
fn only_place(text: &[u16], quote: &[u16]) -> Option<Range<usize>> {
    if quote.is_empty() || quote.len() > text.len() {
        return None;
    }
    let mut places = (0..=text.len() - quote.len()).filter(|at| text[*at..].starts_with(quote));
    let at = places.next()?;
    places.next().is_none().then(|| at..at + quote.len())
}

/// Proposes another text for a stretch of a block, in UTF-16 code units. Returns its key.
///
/// # Errors
/// If this device may not, or there is no such stretch.
pub fn suggest(
    edit: &mut Edit<'_>,
    me: &mut Me,
    block: &str,
    range: Range<usize>,
    proposed: &str,
) -> Result<String, EditError> {
    refuse_classified(proposed)?;
    let at = text_of(block);
    let view = edit.view();
    let units: Vec<u16> = view.text(&at).unwrap_or_default().encode_utf16().collect();
    let quote = units.get(range.clone()).filter(|quote| !quote.is_empty());
    let quote = quote.and_then(|quote| String::from_utf16(quote).ok());
    let len = units.len();
    let quote = quote.ok_or_else(|| EditError::OutOfRange { path: at.clone(), index: range.end, len })?;
    let letter = quote.chars().next_back().map_or(1, char::len_utf16);
    let first = view.cursor(&at, range.start)?.to_bytes();
    let last = view.cursor(&at, range.end - letter)?.to_bytes();
    let id = me.new_id();
    let fields = BTreeMap::from([
        ("by".to_owned(), Value::from(me.key())),
        ("at".to_owned(), Value::Timestamp(me.now)),
        ("block".to_owned(), block.into()),
        ("quote".to_owned(), quote.as_str().into()),
        ("proposed".to_owned(), proposed.into()),
        ("first".to_owned(), Value::Bytes(first)),
        ("last".to_owned(), Value::Bytes(last)),
    ]);
    edit.put(&path![SUGGESTIONS, id.as_str()], Value::Map(fields))?;
    Ok(id)
}

/// Puts a suggestion into the text, at the place where [`Suggestion::place`] found it in the text as it is now: what is being typed
/// must have been flushed before ([`Replica::flush_text`](dinh_core::replica::Replica::flush_text)). The change's message should name
/// it: [`credit`].
///
/// # Errors
/// If this device may not, or the place is not there.
pub fn accept(edit: &mut Edit<'_>, suggestion: &Suggestion, range: &Range<usize>) -> Result<(), EditError> {
    let at = text_of(&suggestion.block);
    let text = edit.view().text(&at).ok_or_else(|| EditError::NotFound { path: at.clone() })?;
    let units: Vec<u16> = text.encode_utf16().collect();
    let out_of_range = || EditError::OutOfRange { path: at.clone(), index: range.end, len: units.len() };
    let part = |range: Range<usize>| {
        units.get(range).and_then(|units| String::from_utf16(units).ok()).ok_or_else(out_of_range)
    };
    let new = part(0..range.start)? + &suggestion.proposed + &part(range.end..units.len())?;
    edit.set_text(&at, &new)?;
    put_register(edit, &path![OUTCOMES, suggestion.id.as_str()], "accepted")
}

/// Says that a suggestion is not taken.
///
/// # Errors
/// If this device may not.
pub fn decline(edit: &mut Edit<'_>, id: &str) -> Result<(), EditError> {
    put_register(edit, &path![OUTCOMES, id], "declined")
}

/// What the change that accepts a suggestion says of it.
#[must_use]
pub fn credit(suggestion: &Suggestion) -> String {
    format!("suggestion {} by {}", suggestion.id, suggestion.by)
}
