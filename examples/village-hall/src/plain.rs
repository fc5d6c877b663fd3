//! The search for plain text in what the relay has on its disk. It must find none: the relay carries what it cannot read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

/// Shortest phrase that is searched for, in bytes: so long that chance does not bring it into ciphertext.
const PHRASE_BYTES_MIN: usize = 8;
/// Bytes by which phrases are told apart at first.
const HEAD: usize = PHRASE_BYTES_MIN;

/// Phrases to search for.
#[derive(Debug, Default)]
pub struct Phrases {
    all: BTreeSet<String>,
    by_head: BTreeMap<[u8; HEAD], Vec<String>>,
    /// Whether a phrase begins with these two bytes: most places are done with after one look.
    begins: BTreeSet<[u8; 2]>,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Places where a phrase stands.
    pub hits: u64,
    /// Some of the phrases that were found, with the file's name.
    pub found: Vec<String>,
}

impl Phrases {
    /// A phrase by itself, such as a name. One that is too short is passed over.
    pub fn add(&mut self, phrase: &str) {
        let Some(head) = phrase.as_bytes().first_chunk::<HEAD>() else { return };
        if self.all.insert(phrase.to_owned()) {
            self.begins.insert([head[0], head[1]]);
            self.by_head.entry(*head).or_default().push(phrase.to_owned());
        }
    }

    /// Every two words that follow each other in the strings of a document: in Vietnamese that is about a word. What has
    /// no letter outside ASCII is passed over, because a program's own strings may hold it.
    pub fn add_document(&mut self, document: &Value) {
        match document {
            Value::String(text) => {
                let words: Vec<&str> = text.split(' ').collect();
                for pair in words.windows(2).map(|pair| pair.join(" ")).filter(|pair| !pair.is_ascii()) {
                    self.add(&pair);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| self.add_document(value)),
            Value::Object(map) => map.values().for_each(|value| self.add_document(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Reads every file in a directory and below it, and searches.
    ///
    /// # Errors
    /// If something cannot be read.
    pub fn search(&self, directory: &Path) -> io::Result<Search> {
        let mut search = Search::default();
        self.search_in(directory, &mut search)?;
        Ok(search)
    }

    fn search_in(&self, directory: &Path, search: &mut Search) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.search_in(&entry.path(), search)?;
                continue;
            }
            let bytes = fs::read(entry.path())?;
            search.files += 1;
            search.bytes += bytes.len() as u64;
            for phrase in self.found_in(&bytes) {
                search.hits += 1;
                if search.found.len() < 5 {
                    search.found.push(format!("{phrase:?} in {}", entry.file_name().display()));
                }
            }
        }
        Ok(())
    }

    fn found_in<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a str> {
        let mut begins = vec![false; 1 << 16];
        for two in &self.begins {
            begins[usize::from(u16::from_le_bytes(*two))] = true;
        }
        let here = move |(at, head): (usize, &'a [u8])| {
            let head: &[u8; HEAD] = head.try_into().ok()?;
            begins[usize::from(u16::from_le_bytes([head[0], head[1]]))].then_some(())?;
            let rest = &bytes[at..];
            self.by_head.get(head)?.iter().find(|phrase| rest.starts_with(phrase.as_bytes()))
        };
        bytes.windows(HEAD).enumerate().filter_map(here).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_text_is_found_wherever_it_stands() {
        let mut phrases = Phrases::default();
        phrases.add("Hoàng Văn Thiết");
        phrases.add("ừ");
        phrases.add_document(&json!({"a": [{"text": "Chi bộ nhất trí với all the rest"}], "n": 1}));
        let found: BTreeSet<&str> = phrases.all.iter().map(String::as_str).collect();
        assert_eq!(
            found,
            ["Hoàng Văn Thiết", "bộ nhất", "nhất trí", "trí với", "với all", "Chi bộ"].into(),
            "the short word is not there"
        );
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("below")).unwrap();
        fs::write(directory.path().join("clean"), [0xA5; 4096]).unwrap();
        assert_eq!(phrases.search(directory.path()).unwrap().hits, 0);
        let noise =
            [&[7; 100][..], "chi bộ nhất trí".as_bytes(), &[9; 3], "Hoàng Văn Thiết".as_bytes()].concat();
        fs::write(directory.path().join("below").join("log"), &noise).unwrap();
        let search = phrases.search(directory.path()).unwrap();
        assert_eq!((search.files, search.bytes, search.hits), (2, 4096 + noise.len() as u64, 3));
        assert!(search.found[0].contains("bộ nhất") && search.found[0].contains("log"), "{:?}", search.found);
    }
}
