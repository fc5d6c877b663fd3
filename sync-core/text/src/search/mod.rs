//! Search in memory over the fields of many documents, with or without diacritics.
//!
//! A query is some words. A field is found if **every word** of the query is a word in it; the last one, which may still be
//! typed, may also be the beginning of one. Words are compared [folded](crate::fold), so query and text may have any normal
//! form and case, and the query may leave diacritics out. What was typed with them ranks the finds: see [`Rank`].
//!
//! In scripts that do not part words (Khmer, Tai Viet, Chinese) every letter is a word, and letters that stand together in
//! the query must stand together in the text.
//!
//! # Memory
//!
//! Six bytes per word of text (its term, its place) are most of it; the text itself is not kept. A term costs about 100
//! bytes, and a branch's minutes have few thousand different ones. Measured on Vietnamese minutes
//! (`tests/search_cost.rs`): 1.4 bytes per byte of text for a branch-year of 140 documents.

mod matching;
mod place;
mod words;

use std::collections::BTreeMap;
use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;

use crate::normal;
use matching::Query;
use place::Places;

/// Most words of a query that count.
pub const QUERY_WORDS_MAX: usize = 16;
/// Most hits that [`Index::search`] gives.
pub const HITS_MAX: usize = 200;
/// Most highlights of one hit.
pub const HIGHLIGHTS_MAX: usize = 64;
/// Words that a snippet shows before the first highlight, if they are on its line.
pub const SNIPPET_WORDS_BEFORE: usize = 8;
/// Words that a snippet shows from the first highlight on, if they are on its line.
pub const SNIPPET_WORDS_FROM: usize = 24;

/// How well the words of a query fit; the first is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quality {
    /// The same word with all its diacritics; the place of the tone mark does not matter (`hòa`, `hoà`).
    Exact,
    /// The same letters (`ă â đ ê ô ơ ư` count), another tone.
    Letters,
    /// The same letters of the base alphabet only; or the query's word has no diacritics, and the text's has.
    Folded,
}

/// A hit's place among the hits: less is better. The worst of the words decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The last word of the query is only the beginning of a word here.
    pub partial: bool,
    /// How well the words fit.
    pub quality: Quality,
    /// The words do not stand together, in the order of the query, anywhere in the field.
    pub apart: bool,
}

/// A field in which all words of a query are. Positions are UTF-16 code units of the field's text in NFC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<D, F> {
    /// The document.
    pub doc: D,
    /// The field.
    pub field: F,
    /// How well it fits.
    pub rank: Rank,
    /// The words found, upward, one range each: if the words stand together anywhere then only where they do. At most
    /// [`HIGHLIGHTS_MAX`].
    pub highlights: Vec<Range<usize>>,
    /// The first highlight with words around it, within its line.
    pub snippet: Range<usize>,
}

/// The words of all fields of all documents. `D` and `F` are keys of documents and of their fields; hits of one rank are
/// in the order of these.
#[derive(Clone, Debug)]
pub struct Index<D, F> {
    /// Folded form, [`TERM_GAP`], exact form; so a scan from a folded prefix on finds all terms that begin with it.
    terms: BTreeMap<Arc<str>, u32>,
    /// By the number of a term.
    uses: Vec<Term>,
    free_terms: Vec<u32>,
    /// By the number of a slot.
    slots: Vec<Option<Field<D, F>>>,
    free_slots: Vec<u32>,
    /// Every field's slot.
    docs: BTreeMap<D, BTreeMap<F, u32>>,
}

/// Stands between the folded and the exact form of a term. No word has it.
const TERM_GAP: char = '\0';

#[derive(Clone, Debug)]
struct Term {
    name: Arc<str>,
    /// The slots whose field has it, upward.
    slots: Vec<u32>,
}

/// The words of one field, in their order.
#[derive(Clone, Debug)]
struct Field<D, F> {
    doc: D,
    field: F,
    terms: Box<[u32]>,
    /// Where the words are: [`Places`].
    places: Box<[u8]>,
}

impl<D, F> Field<D, F> {
    /// The places of the words, from the first on.
    fn places(&self) -> Places<'_> {
        Places { bytes: self.places.iter(), end: 0 }
    }

    fn terms_used(&self) -> Vec<u32> {
        let mut terms = self.terms.to_vec();
        terms.sort_unstable();
        terms.dedup();
        terms
    }
}

impl<D, F> Default for Index<D, F> {
    fn default() -> Self {
        Self {
            terms: BTreeMap::new(),
            uses: Vec::new(),
            free_terms: Vec::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            docs: BTreeMap::new(),
        }
    }
}

impl<D: Ord + Clone, F: Ord + Clone> Index<D, F> {
    /// An index of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what a field's text is now. The text that it had before is no longer found; an empty text removes the field.
    pub fn update(&mut self, doc: D, field: F, text: &str) {
        self.remove_field(&doc, &field);
        let text = normal::nfc(text);
        let words = words::words(&text);
        if words.is_empty() {
            return;
        }
        let terms = words.iter().map(|word| self.term(&word.folded, &word.exact)).collect();
        let places = place::encoded(&words);
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(None);
            number(self.slots.len() - 1)
        });
        let entry = Field { doc: doc.clone(), field: field.clone(), terms, places };
        for term in entry.terms_used() {
            let slots = &mut self.uses[term as usize].slots;
            let place = slots.partition_point(|&other| other < slot);
            slots.insert(place, slot);
        }
        self.slots[slot as usize] = Some(entry);
        self.docs.entry(doc).or_default().insert(field, slot);
    }

    /// Forgets a document with all its fields. Nothing happens if it is not there.
    pub fn remove(&mut self, doc: &D) {
        for slot in self.docs.remove(doc).into_iter().flat_map(BTreeMap::into_values) {
            self.clear(slot);
        }
    }

    /// Forgets one field of a document. Nothing happens if it is not there.
    pub fn remove_field(&mut self, doc: &D, field: &F) {
        let Some(fields) = self.docs.get_mut(doc) else { return };
        let slot = fields.remove(field);
        if fields.is_empty() {
            self.docs.remove(doc);
        }
        if let Some(slot) = slot {
            self.clear(slot);
        }
    }

    /// Whether nothing is indexed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.docs.is_empty()
    }

    /// The fields with all words of the query, best first; fields of one rank in the order of their keys. At most
    /// [`HITS_MAX`]. Of a query without words: none.
    #[must_use]
    pub fn search(&self, query: &str) -> Vec<Hit<D, F>> {
        self.search_at_most(query, HITS_MAX)
    }

    /// [`search`](Self::search) with another bound on the number of hits.
    #[must_use]
    pub fn search_at_most(&self, query: &str, hits_max: usize) -> Vec<Hit<D, F>> {
        let Some(query) = Query::new(query, self) else { return Vec::new() };
        let mut found: Vec<_> = query
            .candidates(self)
            .into_iter()
            .filter_map(|slot| {
                let field = self.slots[slot as usize].as_ref()?;
                Some((query.rank(field)?, &field.doc, &field.field, field))
            })
            .collect();
        found.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        found.truncate(hits_max);
        found.into_iter().map(|(rank, _, _, field)| hit(field, rank, &query.places(field, rank))).collect()
    }

    /// About the bytes that this index holds on the heap, without what the keys hold there.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        // What a map keeps beside each entry, and an Arc beside its content.
        const MAP_OVERHEAD: usize = 8;
        const ARC_OVERHEAD: usize = 16;
        let terms: usize = self
            .uses
            .iter()
            .map(|term| {
                size_of::<(Arc<str>, u32)>()
                    + MAP_OVERHEAD
                    + ARC_OVERHEAD
                    + term.name.len()
                    + term.slots.capacity() * size_of::<u32>()
            })
            .sum();
        let words: usize =
            self.slots.iter().flatten().map(|field| size_of_val(&*field.terms) + field.places.len()).sum();
        let fields = self.docs.values().map(BTreeMap::len).sum::<usize>()
            * (size_of::<(F, u32)>() + MAP_OVERHEAD)
            + self.docs.len() * (size_of::<(D, BTreeMap<F, u32>)>() + MAP_OVERHEAD);
        terms
            + words
            + fields
            + self.uses.capacity() * size_of::<Term>()
            + self.slots.capacity() * size_of::<Option<Field<D, F>>>()
            + (self.free_slots.capacity() + self.free_terms.capacity()) * size_of::<u32>()
    }

    /// The number of a term, which it gets if it has none.
    fn term(&mut self, folded: &str, exact: &str) -> u32 {
        let name: Arc<str> = format!("{folded}{TERM_GAP}{exact}").into();
        if let Some(&term) = self.terms.get(&name) {
            return term;
        }
        let entry = Term { name: name.clone(), slots: Vec::new() };
        let term = if let Some(term) = self.free_terms.pop() {
            self.uses[term as usize] = entry;
            term
        } else {
            self.uses.push(entry);
            number(self.uses.len() - 1)
        };
        self.terms.insert(name, term);
        term
    }

    fn clear(&mut self, slot: u32) {
        let Some(field) = self.slots[slot as usize].take() else { return };
        self.free_slots.push(slot);
        for term in field.terms_used() {
            let entry = &mut self.uses[term as usize];
            entry.slots.retain(|&other| other != slot);
            if entry.slots.is_empty() {
                self.terms.remove(&entry.name);
                entry.name = "".into();
                self.free_terms.push(term);
            }
        }
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before the numbers do")
}

fn hit<D: Clone, F: Clone>(field: &Field<D, F>, rank: Rank, found: &[usize]) -> Hit<D, F> {
    let found = &found[..found.len().min(HIGHLIGHTS_MAX)];
    let (first, last) = (found[0], found[found.len() - 1]);
    let shown = first.saturating_sub(SNIPPET_WORDS_BEFORE)..first + SNIPPET_WORDS_FROM;
    let mut highlights = Vec::with_capacity(found.len());
    let mut wanted = found.iter().copied().peekable();
    let mut snippet = 0..0;
    let mut ended = false;
    for (word, place) in field.places().enumerate().take(shown.end.max(last + 1)) {
        if wanted.next_if_eq(&word).is_some() {
            highlights.push(place.range.clone());
        }
        if word <= first && (word == shown.start || place.begins_line) {
            snippet.start = place.range.start;
        }
        ended |= word >= shown.end || (word > first && place.begins_line);
        if !ended {
            snippet.end = place.range.end;
        }
    }
    Hit { doc: field.doc.clone(), field: field.field.clone(), rank, highlights, snippet }
}

#[cfg(test)]
mod tests;
