//! What a person at a phone can do to a document: generic edits of maps, lists and text, addressed by path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The key under which every document of the meeting keeps collaborative text. All other strings are plain scalars.
pub const TEXT_KEY: &str = "text";

/// One segment of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A key of a map.
    Key(String),
    /// The element of a list whose field `id` equals this, written `#id`. Indexes move under concurrent edits; ids do not.
    Id(String),
}

/// A place in a document, written `sections/#s4/blocks/#s4b1/text`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Path(Vec<Segment>);

/// A [`Path`] step that has been resolved against one state of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prop {
    /// A key of a map.
    Key(String),
    /// An index of a list, valid for the state against which it was resolved only.
    Index(usize),
}

impl Path {
    /// The segments, from the root.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// This path and one more key.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(Segment::Key(key.to_owned()));
        Self(segments)
    }

    /// This path, which leads to a list, and the element with this id.
    #[must_use]
    pub fn id(&self, id: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(Segment::Id(id.to_owned()));
        Self(segments)
    }

    /// Keys and indexes for `document` as it is now. `None` when an element or a map on the way is missing. The last
    /// segment may be a key that does not exist yet, so that it can be set.
    #[must_use]
    pub fn resolve(&self, document: &Value) -> Option<Vec<Prop>> {
        let mut props = Vec::with_capacity(self.0.len());
        let mut here = Some(document);
        for segment in &self.0 {
            match segment {
                Segment::Key(key) => {
                    here = here?.as_object()?.get(key);
                    props.push(Prop::Key(key.clone()));
                }
                Segment::Id(id) => {
                    let list = here?.as_array()?;
                    let index = list.iter().position(|element| has_id(element, id))?;
                    here = list.get(index);
                    props.push(Prop::Index(index));
                }
            }
        }
        Some(props)
    }

    /// The value at this path.
    #[must_use]
    pub fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(document, |here, segment| match segment {
            Segment::Key(key) => here.as_object()?.get(key),
            Segment::Id(id) => here.as_array()?.iter().find(|element| has_id(element, id)),
        })
    }

    /// As [`find`](Self::find), to change it.
    #[must_use]
    pub fn find_mut<'a>(&self, document: &'a mut Value) -> Option<&'a mut Value> {
        self.0.iter().try_fold(document, |here, segment| match segment {
            Segment::Key(key) => here.as_object_mut()?.get_mut(key),
            Segment::Id(id) => here.as_array_mut()?.iter_mut().find(|element| has_id(element, id)),
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            match segment {
                Segment::Key(key) => f.write_str(key)?,
                Segment::Id(id) => write!(f, "#{id}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        let segments = text
            .split('/')
            .map(|part| match part.strip_prefix('#') {
                Some("") => Err(BadPath),
                Some(id) => Ok(Segment::Id(id.to_owned())),
                None if part.is_empty() => Err(BadPath),
                None => Ok(Segment::Key(part.to_owned())),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self(segments))
    }
}

impl TryFrom<String> for Path {
    type Error = BadPath;

    fn try_from(text: String) -> Result<Self, BadPath> {
        text.parse()
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.to_string()
    }
}

/// A path with an empty segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPath;

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path has an empty segment")
    }
}

impl std::error::Error for BadPath {}

/// One edit. Every edit leaves a mark that [`crate::ledger`] can look for at the end: an entry with an id of its own, or
/// text that no other edit of the meeting contains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    /// Append a map, which has a field `id`, to a list.
    Append {
        /// Document name.
        doc: String,
        /// The list.
        list: Path,
        /// The entry; its field [`TEXT_KEY`], if any, becomes collaborative text.
        entry: Map<String, Value>,
    },
    /// Type at the end of a text in bursts of whole words, as a thumb keyboard commits them.
    Type {
        /// Document name.
        doc: String,
        /// A collaborative text that only this phone types in.
        path: Path,
        /// What is typed.
        text: String,
    },
    /// Put a sentence at the end of a text that others may be changing too, as one edit.
    Insert {
        /// Document name.
        doc: String,
        /// A collaborative text.
        path: Path,
        /// What is put there.
        text: String,
    },
    /// Replace the first occurrence of a phrase: one deletion and one insertion at the same place.
    Replace {
        /// Document name.
        doc: String,
        /// A collaborative text.
        path: Path,
        /// The phrase.
        find: String,
        /// What takes its place.
        with: String,
    },
    /// Set a scalar field of a map.
    Set {
        /// Document name.
        doc: String,
        /// The field; its map exists.
        path: Path,
        /// A scalar.
        value: Value,
    },
}

impl Action {
    /// The document that is edited.
    #[must_use]
    pub fn doc(&self) -> &str {
        match self {
            Self::Append { doc, .. }
            | Self::Type { doc, .. }
            | Self::Insert { doc, .. }
            | Self::Replace { doc, .. }
            | Self::Set { doc, .. } => doc,
        }
    }
}

/// Cuts a paragraph into what a thumb keyboard commits at a time: `words` words with the space that follows them. The
/// pieces concatenate to the paragraph; none splits a syllable.
#[must_use]
pub fn bursts(text: &str, words: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut seen) = (0, 0);
    for (index, _) in text.match_indices(' ') {
        seen += 1;
        if seen % words.max(1) == 0 {
            pieces.push(&text[start..=index]);
            start = index + 1;
        }
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

fn has_id(element: &Value, id: &str) -> bool {
    element.get("id").and_then(Value::as_str) == Some(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_print_parse_and_find() {
        let document = json!({"a": [{"id": "x"}, {"id": "y", "text": "chữ"}]});
        let path: Path = "a/#y/text".parse().unwrap();
        assert_eq!(path.to_string(), "a/#y/text");
        assert_eq!(path.find(&document), Some(&json!("chữ")));
        assert_eq!(
            path.resolve(&document),
            Some(vec![Prop::Key("a".into()), Prop::Index(1), Prop::Key("text".into())])
        );
        assert_eq!("a/#z/text".parse::<Path>().unwrap().resolve(&document), None);
        assert!("a/#y/new".parse::<Path>().unwrap().resolve(&document).is_some(), "a new key can be set");
        assert!("a//b".parse::<Path>().is_err() && "a/#".parse::<Path>().is_err());
        assert_eq!(serde_json::to_string(&path).unwrap(), "\"a/#y/text\"");
    }

    #[test]
    fn bursts_lose_nothing_and_split_at_spaces() {
        let text = "Chi bộ thống nhất với chương trình đã nêu";
        let pieces = bursts(text, 3);
        assert_eq!(pieces, ["Chi bộ thống ", "nhất với chương ", "trình đã nêu"]);
        assert_eq!(bursts("một", 5), ["một"]);
        assert!(bursts("", 5).is_empty());
    }
}
