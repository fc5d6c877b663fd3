//! Which fields a query finds, and how well.

use std::ops::Bound;

use super::words::{self, Word};
use super::{Field, Index, QUERY_WORDS_MAX, Quality, Rank, TERM_GAP};
use crate::letters::{self, Toneless};

/// How well one word fits: better ones first, beginnings of words after all whole words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    partial: bool,
    quality: Quality,
}

impl Fit {
    const BEST: Self = Self { partial: false, quality: Quality::Exact };

    /// What can be said of two words together.
    fn and(self, other: Self) -> Self {
        Self { partial: self.partial || other.partial, quality: self.quality.max(other.quality) }
    }

    fn is_within(self, worst: Self) -> bool {
        self.and(worst) == worst
    }
}

/// A query, resolved to the terms of an index.
pub(super) struct Query {
    words: Vec<QueryWord>,
    /// By the number of a term: whether it matches any word.
    wanted: Vec<bool>,
}

struct QueryWord {
    /// The terms that match, by their numbers upward.
    terms: Vec<(u32, Fit)>,
    /// It must stand directly after the word before it.
    glued: bool,
}

const _: () = assert!(QUERY_WORDS_MAX <= u16::BITS as usize, "Query::candidates has a bit for each word");

impl Query {
    /// None if the query has no words, or if one of them is nowhere.
    pub(super) fn new<D, F>(query: &str, index: &Index<D, F>) -> Option<Self> {
        let query = crate::normal::nfc(query);
        let mut cut = words::words(&query);
        cut.truncate(QUERY_WORDS_MAX);
        let last = cut.len().checked_sub(1)?;
        let mut wanted = vec![false; index.uses.len()];
        let mut words = Vec::with_capacity(cut.len());
        for (i, word) in cut.iter().enumerate() {
            let terms = matching_terms(word, i == last, index);
            if terms.is_empty() {
                return None;
            }
            for &(term, _) in &terms {
                wanted[term as usize] = true;
            }
            words.push(QueryWord { terms, glued: i > 0 && word.glued });
        }
        Some(Self { words, wanted })
    }

    /// The slots of fields that have a term for each word, upward.
    pub(super) fn candidates<D, F>(&self, index: &Index<D, F>) -> Vec<u32> {
        let mut missing = vec![self.words.len(); index.slots.len()];
        let mut seen = vec![0_u16; index.slots.len()];
        for (i, word) in self.words.iter().enumerate() {
            for &(term, _) in &word.terms {
                for &slot in &index.uses[term as usize].slots {
                    let slot = slot as usize;
                    if seen[slot] & (1 << i) == 0 {
                        seen[slot] |= 1 << i;
                        missing[slot] -= 1;
                    }
                }
            }
        }
        (0..).zip(missing).filter(|&(_, missing)| missing == 0).map(|(slot, _)| slot).collect()
    }

    /// How well a field fits; None if letters that stand together in the query nowhere do so in the field.
    pub(super) fn rank<D, F>(&self, field: &Field<D, F>) -> Option<Rank> {
        let found = self.found(field);
        // The worst of the best fits of each word.
        let mut worst = Fit::BEST;
        for phrase in self.phrases() {
            worst = worst.and(phrase_places(phrase, &found).map(|(_, fit)| fit).min()?);
        }
        let apart = !phrase_places(&self.words, &found).any(|(_, fit)| fit.is_within(worst));
        Some(Rank { partial: worst.partial, quality: worst.quality, apart })
    }

    /// The words of a field that match as well as its rank says, upward. At least one.
    pub(super) fn places<D, F>(&self, field: &Field<D, F>, rank: Rank) -> Vec<usize> {
        let worst = Fit { partial: rank.partial, quality: rank.quality };
        let found = self.found(field);
        let mut places = Vec::new();
        let mut take = |phrase: &[QueryWord]| {
            for (place, _) in phrase_places(phrase, &found).filter(|&(_, fit)| fit.is_within(worst)) {
                places.extend(place..place + phrase.len());
            }
        };
        if rank.apart {
            self.phrases().for_each(take);
        } else {
            take(&self.words);
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The words of a field that match any word of the query: their places, upward, and terms.
    fn found<D, F>(&self, field: &Field<D, F>) -> Vec<(usize, u32)> {
        let wanted = |&(_, &term): &(usize, &u32)| self.wanted[term as usize];
        field.terms.iter().enumerate().filter(wanted).map(|(place, &term)| (place, term)).collect()
    }

    /// The words that must stand together.
    fn phrases(&self) -> impl Iterator<Item = &[QueryWord]> {
        self.words.chunk_by(|_, next| next.glued)
    }
}

/// Where these words stand one after the other, with what can be said of their fits together.
fn phrase_places<'a>(
    phrase: &'a [QueryWord],
    found: &'a [(usize, u32)],
) -> impl Iterator<Item = (usize, Fit)> + 'a {
    found.windows(phrase.len()).filter_map(move |window| {
        let first = window[0].0;
        if window[window.len() - 1].0 - first + 1 != window.len() {
            return None;
        }
        let fit = phrase
            .iter()
            .zip(window)
            .try_fold(Fit::BEST, |fit, (word, &(_, term))| Some(fit.and(word.fit(term)?)))?;
        Some((first, fit))
    })
}

impl QueryWord {
    fn fit(&self, term: u32) -> Option<Fit> {
        let found = self.terms.binary_search_by_key(&term, |&(other, _)| other).ok()?;
        Some(self.terms[found].1)
    }
}

/// The terms that a word of a query matches, upward. As a prefix it also matches what begins with it.
fn matching_terms<D, F>(word: &Word, prefix: bool, index: &Index<D, F>) -> Vec<(u32, Fit)> {
    let wanted = letters::toneless(&word.exact);
    let mut found = Vec::new();
    let range = (Bound::Included(word.folded.as_str()), Bound::Unbounded);
    for (name, &term) in index.terms.range::<str, _>(range) {
        let Some((folded, exact)) = name.split_once(TERM_GAP) else { continue };
        if !folded.starts_with(&word.folded) {
            break;
        }
        let partial = folded.len() > word.folded.len();
        if partial && !prefix {
            continue;
        }
        found.push((term, Fit { partial, quality: quality(word, &wanted, exact, partial) }));
    }
    found.sort_unstable_by_key(|&(term, _)| term);
    found
}

fn quality(word: &Word, wanted: &Toneless, exact: &str, partial: bool) -> Quality {
    if exact == word.exact {
        return Quality::Exact;
    }
    // Who leaves out the diacritics means no letters by it: `dang` is not nearer to `dạng` than to `đảng`.
    if word.exact == word.folded {
        return Quality::Folded;
    }
    let found = letters::toneless(exact);
    let same_letters =
        if partial { found.letters.starts_with(&wanted.letters) } else { found.letters == wanted.letters };
    match same_letters {
        // The tone of a word that is still typed may be yet to come: it counts only when it is there.
        true if found.tones == wanted.tones || (partial && wanted.tones.is_empty()) => Quality::Exact,
        true => Quality::Letters,
        false => Quality::Folded,
    }
}
