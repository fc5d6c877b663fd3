//! Search over everything that this device may read: folded, exact first, with highlights.

use std::collections::BTreeSet;

use dinh_core::document::{Path, ReadDoc, Value, View};
use dinh_core::replica::{Event, Replica, ReplicaError};
use dinh_core::store::Store;
use dinh_proto::charter::Charter;
use dinh_proto::ids::DocId;
use dinh_text::normal::nfc;
use dinh_text::search::{self, Hit};

use crate::{
    attendance, digest, feedback, index, minutes, notice, resolution, review, roster, task, votebox,
};

/// A field of a document: the keys on the way to it.
pub type Field = Vec<String>;

/// Which fields of a kind of document people look for: keys from the root, `*` for any.
type Fields = &'static [&'static [&'static str]];

const OUTLINE: [&[&str]; 2] = [&["sections", "*", "heading"], &["blocks", "*", "text"]];
const MINUTES: Fields = &[
    &["header", "*"],
    &["venue"],
    OUTLINE[0],
    OUTLINE[1],
    &["agenda", "*", "title"],
    &["motions", "*", "title"],
    &["decisions", "*", "text"],
    &["assignments", "*", "task"],
];
const RESOLUTION: Fields = &[
    &["header", "*"],
    &["legal_bases", "*"],
    &["enacting_clause"],
    OUTLINE[0],
    OUTLINE[1],
    &["assignments", "*", "task"],
    &["suggestions", "*", "proposed"],
];

/// The fields of documents of a schema. `None`: a kind that is not known here, of which every text is taken.
fn fields_of(schema: &str) -> Option<Fields> {
    Some(match schema {
        _ if schema == minutes::SCHEMA.name => MINUTES,
        _ if schema == resolution::SCHEMA.name || schema == resolution::OPEN_SCHEMA.name => RESOLUTION,
        _ if schema == feedback::SCHEMA.name => &[&["threads", "*", "title"], &["messages", "*", "text"]],
        _ if schema == review::SCHEMA.name => &[&["comments", "*", "text"]],
        _ if schema == task::SCHEMA.name => &[&["tasks", "*", "title"], &["progress", "*", "text"]],
        _ if schema == notice::SCHEMA.name => &[&["title"], &["text"]],
        _ if schema == roster::SCHEMA.name => &[&["people", "*", "name"]],
        _ if schema == votebox::SCHEMA.name => &[&["questions", "*", "title"]],
        _ if schema == digest::SCHEMA.name => &[&["branch"]],
        _ if schema == index::SCHEMA.name || schema == attendance::SCHEMA.name => &[],
        _ => return None,
    })
}

/// The words of all documents of a device. It is told what happened and looks again at what changed when it is asked.
#[derive(Debug, Clone, Default)]
pub struct Library {
    index: search::Index<DocId, Field>,
    known: BTreeSet<DocId>,
    changed: BTreeSet<DocId>,
    /// Whether the list of documents was read since a charter changed.
    is_listed: bool,
}

/// Something that was found, as it can be shown without opening the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where, and how well it fits: the best first.
    pub hit: Hit<DocId, Field>,
    /// The text of the field, in which highlights and snippet are ranges of UTF-16 code units.
    pub text: String,
}

impl Library {
    /// Of nothing: the first [`refresh`](Self::refresh) reads everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of what happened.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::DocumentChanged { doc, .. } | Event::DocumentReset { doc } => {
                self.changed.insert(*doc);
            }
            Event::CharterChanged { .. } | Event::Joined { .. } => self.is_listed = false,
            _ => {}
        }
    }

    /// Reads again what changed. Documents that cannot be read (their space is locked, their key is not here, they are not for
    /// this device any more) are not found afterwards.
    ///
    /// # Errors
    /// If the store fails.
    pub fn refresh<S: Store>(&mut self, replica: &mut Replica<S>) -> Result<(), ReplicaError> {
        if !self.is_listed {
            let device = replica.device();
            let of = |charter: &Charter| {
                let readable = charter.readable(&device);
                let listed = charter.documents().iter().filter(|(_, entry)| readable.contains(&entry.space));
                listed.map(|(doc, _)| *doc).collect::<Vec<_>>()
            };
            let listed: BTreeSet<DocId> = replica.charters().values().flat_map(of).collect();
            for gone in &self.known - &listed {
                self.index.remove(&gone);
            }
            self.changed.extend(&listed - &self.known);
            self.known = listed;
            self.is_listed = true;
        }
        while let Some(doc) = self.changed.pop_first() {
            if !self.known.contains(&doc) {
                continue;
            }
            let schema = replica.schema_of(&doc);
            match replica.view(&doc, |view| self.update(doc, schema, view)) {
                Err(error @ ReplicaError::Store(_)) => {
                    self.changed.insert(doc);
                    return Err(error);
                }
                Err(_) => {
                    // It is asked for again when its charter changes: a key may come.
                    self.index.remove(&doc);
                    self.known.remove(&doc);
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Says what a document holds. `schema` is its schema's name, if it has one.
    fn update(&mut self, doc: DocId, schema: Option<&str>, view: &View<'_>) {
        self.index.remove(&doc);
        let Some(root) = view.get(&Path::root()) else { return };
        let mut put = |field: &[String], text: &str| self.index.update(doc, field.to_vec(), text);
        match schema.map(fields_of) {
            Some(Some(patterns)) => {
                patterns.iter().for_each(|p| matching(&root, p, &mut Vec::new(), &mut put))
            }
            _ => prose(&root, &mut Vec::new(), &mut put),
        }
    }

    /// Fields with all words of a query, best first: as written before folded, together before apart. At most `hits_max`.
    #[must_use]
    pub fn search(&self, query: &str, hits_max: usize) -> Vec<Hit<DocId, Field>> {
        self.index.search_at_most(query, hits_max)
    }

    /// About the bytes that it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.index.memory_bytes()
    }
}

/// What was found, with the texts that it is in.
///
/// # Errors
/// If the store fails.
pub fn with_texts<S: Store>(
    replica: &mut Replica<S>,
    hits: Vec<Hit<DocId, Field>>,
) -> Result<Vec<Found>, ReplicaError> {
    let mut found = Vec::new();
    for hit in hits {
        let at = hit.field.iter().fold(Path::root(), |at, key| at.join(key.as_str()));
        let text = match replica.view(&hit.doc, |view| view.get(&at)) {
            Ok(Some(Value::Text(text) | Value::Str(text))) => nfc(&text).into_owned(),
            Err(error @ ReplicaError::Store(_)) => return Err(error),
            _ => continue,
        };
        found.push(Found { hit, text });
    }
    Ok(found)
}

/// Every field of a document that people read, with its text. `schema`: its schema's name, if it has one.
pub fn texts<D: ReadDoc>(schema: Option<&str>, view: &View<'_, D>, put: &mut impl FnMut(&[String], &str)) {
    let Some(root) = view.get(&Path::root()) else { return };
    match schema.map(fields_of) {
        Some(Some(patterns)) => patterns.iter().for_each(|p| matching(&root, p, &mut Vec::new(), put)),
        _ => prose(&root, &mut Vec::new(), put),
    }
}

fn matching(value: &Value, pattern: &[&str], at: &mut Field, put: &mut impl FnMut(&[String], &str)) {
    match (value, pattern.split_first()) {
        (Value::Text(text) | Value::Str(text), None) => put(at, text),
        (Value::Map(map), Some((step, rest))) => {
            for (key, inner) in map.iter().filter(|(key, _)| *step == "*" || key == step) {
                at.push(key.clone());
                matching(inner, rest, at, put);
                at.pop();
            }
        }
        _ => {}
    }
}

/// Every text that merges, at any depth under keys.
fn prose(value: &Value, at: &mut Field, put: &mut impl FnMut(&[String], &str)) {
    match value {
        Value::Text(text) => put(at, text),
        Value::Map(map) => {
            for (key, inner) in map {
                at.push(key.clone());
                prose(inner, at, put);
                at.pop();
            }
        }
        _ => {}
    }
}
