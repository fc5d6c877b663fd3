//! Where a value lives in a document.

use std::fmt;

use serde::Serialize;

/// One step into a map or a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum Prop {
    /// A key of a map.
    Key(String),
    /// An index into a list, from 0.
    Index(usize),
}

/// A list of steps from the document's root map. The empty path is the root.
///
/// Build one with [`path!`](crate::path): `path!["sections", 0, "text"]`. Paths are positions, not identities: an index
/// names another element after somebody inserts before it. Use a [`Cursor`](super::Cursor) to hold a place in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Path(Vec<Prop>);

impl Path {
    /// The root map of a document.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// This path with one more step.
    #[must_use]
    pub fn join(&self, prop: impl Into<Prop>) -> Self {
        let mut steps = self.0.clone();
        steps.push(prop.into());
        Self(steps)
    }

    /// The steps from the root.
    #[must_use]
    pub fn steps(&self) -> &[Prop] {
        &self.0
    }

    /// The path of the container and the last step, or `None` for the root.
    #[must_use]
    pub fn split_last(&self) -> Option<(Self, &Prop)> {
        let (last, parents) = self.0.split_last()?;
        Some((Self(parents.to_vec()), last))
    }

    /// True for the root map.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn truncated(&self, len: usize) -> Self {
        Self(self.0[..len].to_vec())
    }
}

/// Builds a [`Path`](crate::document::Path) from keys (strings) and indexes (`usize`).
///
/// ```
/// let path = dinh_core::path!["sections", 0, "text"];
/// assert_eq!(path.to_string(), "/sections/0/text");
/// assert!(dinh_core::path![].is_root());
/// ```
#[macro_export]
macro_rules! path {
    ($($step:expr),* $(,)?) => {
        $crate::document::Path::from(::std::vec::Vec::<$crate::document::Prop>::from([
            $($crate::document::Prop::from($step)),*
        ]))
    };
}

impl From<Vec<Prop>> for Path {
    fn from(steps: Vec<Prop>) -> Self {
        Self(steps)
    }
}

impl FromIterator<Prop> for Path {
    fn from_iter<I: IntoIterator<Item = Prop>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl From<&str> for Prop {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<String> for Prop {
    fn from(key: String) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Prop {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl From<automerge::Prop> for Prop {
    fn from(prop: automerge::Prop) -> Self {
        match prop {
            automerge::Prop::Map(key) => Self::Key(key),
            automerge::Prop::Seq(index) => Self::Index(index),
        }
    }
}

impl fmt::Display for Prop {
    /// The step as in a JSON pointer: `~` is written `~0` and `/` is written `~1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(&key.replace('~', "~0").replace('/', "~1")),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

impl fmt::Display for Path {
    /// For people to read: a key `"0"` and an index `0` look alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|step| write!(f, "/{step}"))
    }
}
