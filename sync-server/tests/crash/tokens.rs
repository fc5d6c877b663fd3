//! Edits that can be recognised: each writes a token, a phone's index and a number that this phone never used before.

use std::collections::BTreeSet;

use dinh_core::document::{Path, View};
use dinh_core::path;

/// What of a phone's numbers is somewhere.
pub(crate) type Numbers = BTreeSet<u64>;

/// Every fourth token is typed into the phone's own text field; the others are keys of the document's root.
pub(crate) fn is_typed(n: u64) -> bool {
    n % 4 == 3
}

/// The document of two that a token is in.
pub(crate) fn document_of(n: u64) -> usize {
    usize::from(n.is_multiple_of(3))
}

pub(crate) fn key(phone: usize, n: u64) -> Path {
    path![format!("p{phone}.{n}")]
}

pub(crate) fn field(phone: usize) -> Path {
    path![format!("t{phone}")]
}

/// The numbers of every phone that a document holds.
pub(crate) fn found(view: &View<'_>, phones: usize) -> Vec<Numbers> {
    let mut found = vec![Numbers::new(); phones];
    for key in view.keys(&path![]) {
        if let Some((phone, n)) = key.strip_prefix('p').and_then(|k| k.split_once('.')) {
            assert!(found[phone.parse::<usize>().unwrap()].insert(n.parse().unwrap()));
        }
    }
    for (phone, found) in found.iter_mut().enumerate() {
        for n in view.text(&field(phone)).unwrap_or_default().split_whitespace() {
            assert!(found.insert(n.parse().unwrap()), "{n} is there twice");
        }
    }
    found
}

/// As ranges, for a line.
pub(crate) fn write(numbers: &Numbers) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for n in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *n => *last = *n,
            _ => ranges.push((*n, *n)),
        }
    }
    ranges.iter().map(|(a, b)| format!("{a}-{b}")).collect::<Vec<_>>().join(",")
}

pub(crate) fn read(text: &str) -> Numbers {
    let ranges = text.split(',').filter(|r| !r.is_empty());
    ranges
        .flat_map(|range| {
            let (a, b) = range.split_once('-').unwrap();
            a.parse().unwrap()..=b.parse().unwrap()
        })
        .collect()
}
