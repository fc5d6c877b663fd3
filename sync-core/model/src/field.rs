//! Reading and writing fields the same way in every kind of document.
//!
//! Everything that is not prose is a plain value that is replaced as a whole. Where people wrote one at the same time, all
//! values stay visible with their authors: [`Register`]. Maps are written by key and created with the document, never on first use:
//! two phones that each made one at the same key would hide one of them. What several people say about one thing is
//! therefore kept in one map for each field, by the thing's id, and not in one map for each thing.

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Path, Value, View};
use dinh_proto::ids::{ActorId, Author, DeviceId, MemberId};
use serde::Serialize;

/// Who wrote under which actor id, as far as this device knows.
#[derive(Debug, Clone, Default)]
pub struct Writers(BTreeMap<[u8; 16], Writer>);

/// Who wrote a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Writer {
    /// Whose device.
    pub member: MemberId,
    /// Which device.
    pub device: DeviceId,
}

impl Writers {
    /// From the authors of a document, and whose their devices are.
    pub fn new(
        authors: impl IntoIterator<Item = (ActorId, Author)>,
        member_of: impl Fn(&DeviceId) -> Option<MemberId>,
    ) -> Self {
        let known = |(actor, author): (ActorId, Author)| {
            Some((actor.0, Writer { member: member_of(&author.device)?, device: author.device }))
        };
        Self(authors.into_iter().filter_map(known).collect())
    }

    /// Who writes under an actor id.
    #[must_use]
    pub fn of(&self, actor: &[u8; 16]) -> Option<Writer> {
        self.0.get(actor).copied()
    }
}

/// One of the values of a register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written<T> {
    /// The value.
    pub value: T,
    /// Whose it is, if that is known here.
    pub by: Option<Writer>,
}

/// A value that is replaced as a whole. If people wrote it without knowing of each other, there are several, the one that
/// all devices show first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Register<T>(Vec<Written<T>>);

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Register<T> {
    /// What is shown, if anything was written.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        self.0.first().map(|w| &w.value)
    }

    /// Who wrote what is shown.
    #[must_use]
    pub fn by(&self) -> Option<Writer> {
        self.0.first().and_then(|w| w.by)
    }

    /// Everything that stands there, what is shown first.
    #[must_use]
    pub fn all(&self) -> &[Written<T>] {
        &self.0
    }

    /// Whether people wrote different things without knowing of each other: whoever may write it decides by writing it once
    /// more.
    #[must_use]
    pub fn is_contested(&self) -> bool
    where
        T: PartialEq,
    {
        self.0.iter().skip(1).any(|w| Some(&w.value) != self.get())
    }
}

/// Reads the fields of one document.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a, 'd> {
    view: &'a View<'d>,
    writers: &'a Writers,
}

impl<'a, 'd> Fields<'a, 'd> {
    /// Of this view.
    #[must_use]
    pub const fn new(view: &'a View<'d>, writers: &'a Writers) -> Self {
        Self { view, writers }
    }

    /// The view.
    #[must_use]
    pub const fn view(&self) -> &'a View<'d> {
        self.view
    }

    /// A register, its values read by `read`; those that do not read (a newer app's) are passed over.
    pub fn register<T>(&self, path: &Path, read: impl Fn(&Value) -> Option<T>) -> Register<T> {
        let all = self.view.conflicts(path).into_iter();
        Register(
            all.filter_map(|c| Some(Written { value: read(&c.value)?, by: self.writers.of(&c.actor) }))
                .collect(),
        )
    }

    /// A register that holds a text which is replaced as a whole.
    #[must_use]
    pub fn string(&self, path: &Path) -> Register<String> {
        self.register(path, |value| value.as_str().map(str::to_owned))
    }

    /// A register that holds a time: milliseconds since 1970 by its writer's clock.
    #[must_use]
    pub fn time(&self, path: &Path) -> Register<i64> {
        self.register(path, time)
    }

    /// A register that holds a yes or no.
    #[must_use]
    pub fn flag(&self, path: &Path) -> Register<bool> {
        self.register(path, |value| if let Value::Bool(flag) = value { Some(*flag) } else { None })
    }

    /// A register that holds a member.
    #[must_use]
    pub fn member(&self, path: &Path) -> Register<MemberId> {
        self.register(path, |value| value.as_str().and_then(member))
    }

    /// The keys of a map that are members.
    pub fn members(&self, path: &Path) -> impl Iterator<Item = MemberId> + use<> {
        self.view.keys(path).into_iter().filter_map(|key| member(&key))
    }

    /// A text that merges, or nothing.
    #[must_use]
    pub fn prose(&self, path: &Path) -> String {
        self.view.text(path).unwrap_or_default()
    }
}

/// A time as documents hold it.
pub fn time(value: &Value) -> Option<i64> {
    match value {
        Value::Timestamp(at) => Some(*at),
        _ => None,
    }
}

/// A number as documents hold it.
pub fn count(value: &Value) -> Option<u32> {
    match value {
        Value::Int(n) => u32::try_from(*n).ok(),
        Value::Uint(n) => u32::try_from(*n).ok(),
        _ => None,
    }
}

/// A member by its key in documents: its id in hex.
#[must_use]
pub fn member(key: &str) -> Option<MemberId> {
    let mut id = [0; 16];
    if key.len() != 32 || !key.is_ascii() || key.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    for (byte, at) in id.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&key[at..at + 2], 16).ok()?;
    }
    Some(MemberId(id))
}

/// Writes a register where it says something else, or where several stand.
pub fn put_register(edit: &mut Edit<'_>, path: &Path, value: impl Into<Value>) -> Result<(), EditError> {
    let value = value.into();
    let standing = edit.view().conflicts(path);
    if standing.len() == 1 && standing[0].value == value {
        return Ok(());
    }
    if standing.len() > 1 {
        // Writing what stands would write nothing, and settle nothing.
        edit.delete(path)?;
    }
    edit.put(path, value)
}

/// Makes a map at a document's root that documents of an earlier app do not have. Two phones that do so without knowing of each
/// other make two, and one is shown: what is in such a map is read with [`later_map`], which sees both.
pub fn ensure_map(edit: &mut Edit<'_>, key: &str) -> Result<(), EditError> {
    if edit.view().get(&dinh_core::path![key]).is_some() {
        Ok(())
    } else {
        edit.put_map(&dinh_core::path![key])
    }
}

/// The entries of all maps that stand at a key of a document's root, those of the one that is shown before others'.
#[must_use]
pub fn later_map(view: &View<'_>, key: &str) -> BTreeMap<String, Value> {
    let mut entries = BTreeMap::new();
    for found in view.conflicts(&dinh_core::path![key]) {
        if let Value::Map(map) = found.value {
            for (key, value) in map {
                entries.entry(key).or_insert(value);
            }
        }
    }
    entries
}
