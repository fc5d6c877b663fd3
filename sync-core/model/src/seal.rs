//! Seals: what was adopted, named by its exact heads and a hash of its content, and chained to the seals before it.
//!
//! A seal is no lock: what somebody wrote who did not know of it comes in and is listed as late; what somebody writes who knows of
//! it is denied by every device ([`Schema::seal`](dinh_core::gate::rights::Schema)). The sealed text is always read at the
//! sealed heads, so nothing that comes later can change it.

use std::collections::BTreeSet;

use dinh_core::document::{
    ChangeHash, Document, DocumentError, Edit, EditError, Patch, Path, ReadDoc, Value, View,
};
use dinh_core::path;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::field::{Fields, Register};
use crate::me::Me;

/// The key at a document's root.
pub const KEY: &str = "seal";

const CONTENT_DOMAIN: &[u8] = b"dinh/sel1\0";
const SEAL_DOMAIN: &[u8] = b"dinh/slh1\0";

/// A seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seal {
    /// The document, as text.
    pub document: String,
    /// Its schema.
    pub schema: String,
    /// The changes that it ends with, in hex, in order.
    pub heads: Vec<String>,
    /// The SHA-256 of what it froze, in hex; see [`content_hash`].
    pub content: String,
    /// When, by the sealing device's clock: milliseconds since 1970.
    pub at: i64,
    /// The number that the document got, if it gets one.
    pub number: Option<String>,
    /// Who sealed it, in hex.
    pub by: String,
    /// The seals of the branch that nothing followed when it was made, in hex: a book of minutes.
    pub previous: Vec<String>,
}

impl Seal {
    /// What the next seal names it by: the SHA-256 of `"dinh/slh1\0" ‖ value` in hex, where the value is the map of its fields
    /// as it stands in the document, encoded as [`content_hash`] does.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hasher = Sha256::new_with_prefix(SEAL_DOMAIN);
        absorb(&mut hasher, &self.value());
        hex(&hasher.finalize())
    }

    fn value(&self) -> Value {
        let list = |texts: &[String]| Value::List(texts.iter().map(|t| t.as_str().into()).collect());
        let mut fields = vec![
            ("document".to_owned(), Value::from(self.document.as_str())),
            ("schema".to_owned(), self.schema.as_str().into()),
            ("heads".to_owned(), list(&self.heads)),
            ("content".to_owned(), self.content.as_str().into()),
            ("at".to_owned(), Value::Timestamp(self.at)),
            ("by".to_owned(), self.by.as_str().into()),
            ("previous".to_owned(), list(&self.previous)),
        ];
        if let Some(number) = &self.number {
            fields.push(("number".to_owned(), number.as_str().into()));
        }
        Value::Map(fields.into_iter().collect())
    }

    fn read(value: &Value) -> Option<Self> {
        let Value::Map(fields) = value else { return None };
        let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
        let list = |key: &str| match fields.get(key) {
            Some(Value::List(all)) => {
                all.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        let Some(Value::Timestamp(at)) = fields.get("at") else { return None };
        Some(Self {
            document: text("document")?,
            schema: text("schema")?,
            heads: list("heads")?,
            content: text("content")?,
            at: *at,
            number: text("number"),
            by: text("by")?,
            previous: list("previous")?,
        })
    }
}

/// The seals that stand in a document.
#[must_use]
pub fn read(fields: &Fields<'_, '_>) -> Register<Seal> {
    fields.register(&path![KEY], Seal::read)
}

/// The SHA-256 of a document's content under these keys of its root, with marks: the same on every device for the same heads.
///
/// ```text
/// content = "dinh/sel1\0" ‖ for each key, ascending, that is there: key ‖ value
/// value   = 0 null | 1 false | 2 true | 3 i64 | 4 u64 | 5 f64 (bits) | 6 string | 7 bytes | 8 i64 (timestamp)
///         | 9 text ‖ u32 marks ‖ (u32 start ‖ u32 end ‖ name ‖ value)… | 10 u32 ‖ (key ‖ value)… | 11 u32 ‖ value…
/// string, bytes, key, name, text = u32 bytes ‖ bytes (UTF-8, NFC). Numbers are little-endian; keys ascend by bytes; marks ascend
/// by start, end, name; positions are UTF-16 code units.
/// ```
#[must_use]
pub fn content_hash<D: ReadDoc>(view: &View<'_, D>, keys: &[&str]) -> [u8; 32] {
    let keys: BTreeSet<&str> = keys.iter().copied().collect();
    let mut hasher = Sha256::new_with_prefix(CONTENT_DOMAIN);
    for key in keys {
        let at = path![key];
        if let Some(value) = view.get(&at) {
            absorb_bytes(&mut hasher, key.as_bytes());
            absorb_at(&mut hasher, view, &at, &value);
        }
    }
    hasher.finalize().into()
}

fn absorb_bytes(hasher: &mut Sha256, bytes: &[u8]) {
    absorb_len(hasher, bytes.len());
    hasher.update(bytes);
}

fn absorb_len(hasher: &mut Sha256, len: usize) {
    hasher.update(u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn absorb_at<D: ReadDoc>(hasher: &mut Sha256, view: &View<'_, D>, at: &Path, value: &Value) {
    match value {
        Value::Text(text) => {
            hasher.update([9]);
            absorb_bytes(hasher, text.as_bytes());
            let mut marks = view.marks(at);
            marks.sort_by(|a, b| (a.start, a.end, &a.name).cmp(&(b.start, b.end, &b.name)));
            absorb_len(hasher, marks.len());
            for mark in marks {
                absorb_len(hasher, mark.start);
                absorb_len(hasher, mark.end);
                absorb_bytes(hasher, mark.name.as_bytes());
                absorb(hasher, &mark.value);
            }
        }
        Value::Map(map) => {
            hasher.update([10]);
            absorb_len(hasher, map.len());
            for (key, value) in map {
                absorb_bytes(hasher, key.as_bytes());
                absorb_at(hasher, view, &at.join(key.as_str()), value);
            }
        }
        Value::List(list) => {
            hasher.update([11]);
            absorb_len(hasher, list.len());
            for (i, value) in list.iter().enumerate() {
                absorb_at(hasher, view, &at.join(i), value);
            }
        }
        scalar => absorb(hasher, scalar),
    }
}

/// A value outside a document, in which texts have no marks.
fn absorb(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hasher.update([0]),
        Value::Bool(flag) => hasher.update([1 + u8::from(*flag)]),
        Value::Int(n) => hasher.update([&[3][..], &n.to_le_bytes()].concat()),
        Value::Uint(n) => hasher.update([&[4][..], &n.to_le_bytes()].concat()),
        Value::F64(n) => hasher.update([&[5][..], &n.to_bits().to_le_bytes()].concat()),
        Value::Str(text) => {
            hasher.update([6]);
            absorb_bytes(hasher, text.as_bytes());
        }
        Value::Bytes(bytes) => {
            hasher.update([7]);
            absorb_bytes(hasher, bytes);
        }
        Value::Timestamp(at) => hasher.update([&[8][..], &at.to_le_bytes()].concat()),
        Value::Text(text) => {
            hasher.update([9]);
            absorb_bytes(hasher, text.as_bytes());
            absorb_len(hasher, 0);
        }
        Value::Map(map) => {
            hasher.update([10]);
            absorb_len(hasher, map.len());
            for (key, value) in map {
                absorb_bytes(hasher, key.as_bytes());
                absorb(hasher, value);
            }
        }
        Value::List(list) => {
            hasher.update([11]);
            absorb_len(hasher, list.len());
            list.iter().for_each(|value| absorb(hasher, value));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What a document is sealed with.
#[derive(Debug, Clone)]
pub struct NewSeal<'a> {
    /// The document, as text.
    pub document: &'a str,
    /// Its schema.
    pub schema: &'static dinh_core::gate::rights::Schema,
    /// Its heads now ([`Document::heads`]): what is sealed.
    pub heads: &'a [ChangeHash],
    /// The number that it gets.
    pub number: Option<&'a str>,
    /// The hashes of the branch's seals that nothing follows yet.
    pub previous: &'a [String],
}

/// Seals a document as it is. Returns the seal.
///
/// # Errors
/// If this device may not.
pub fn seal(edit: &mut Edit<'_>, me: &Me, new: &NewSeal<'_>) -> Result<Seal, EditError> {
    let frozen = new.schema.seal.map_or(&[][..], |seal| seal.frozen);
    let mut heads: Vec<String> = new.heads.iter().map(ToString::to_string).collect();
    heads.sort();
    let mut previous = new.previous.to_vec();
    previous.sort();
    let seal = Seal {
        document: new.document.to_owned(),
        schema: new.schema.name.to_owned(),
        heads,
        content: hex(&content_hash(&edit.view(), frozen)),
        at: me.now,
        number: new.number.map(str::to_owned),
        by: me.key(),
        previous,
    };
    edit.put(&path![KEY], seal.value())?;
    Ok(seal)
}

/// What a seal turns out to be on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// The content at its heads is what it says.
    Valid,
    /// Not all changes that it names are here yet.
    Incomplete,
    /// The content at its heads is something else: the seal is worth nothing.
    Wrong,
}

fn heads_of(document: &Document, seal: &Seal) -> Option<Vec<ChangeHash>> {
    let by_text: std::collections::BTreeMap<String, ChangeHash> =
        document.history().into_iter().map(|c| (c.hash.to_string(), c.hash)).collect();
    seal.heads.iter().map(|head| by_text.get(head).copied()).collect()
}

/// Checks a seal against the document that it is in.
///
/// # Errors
/// If the document engine fails.
pub fn verify(
    document: &Document,
    seal: &Seal,
    schema: &dinh_core::gate::rights::Schema,
) -> Result<Verified, DocumentError> {
    let Some(heads) = heads_of(document, seal) else { return Ok(Verified::Incomplete) };
    // Bug: the document is read as it is now, and not as it was sealed.
    #[cfg(feature = "canary")]
    let heads =
        if dinh_proto::canary::is_planted("seal-view-at-current-heads") { document.heads() } else { heads };
    let frozen = schema.seal.map_or(&[][..], |seal| seal.frozen);
    let view = document.view_at(&heads)?;
    let same = hex(&content_hash(&view, frozen)) == seal.content;
    Ok(if same && schema.name == seal.schema { Verified::Valid } else { Verified::Wrong })
}

/// A change that came after the seal without knowing of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Late {
    /// The change.
    pub change: ChangeHash,
    /// Who made it.
    pub actor: [u8; 16],
    /// When, by its device's clock: seconds since 1970.
    pub time_s: i64,
    /// What it did to what is frozen, as patches of the document as its writer saw it.
    pub patches: Vec<Patch>,
}

/// What came too late: changes to what a seal froze that are not in what it sealed, oldest first: each comes after
/// what its writer knew.
///
/// # Errors
/// If the document engine fails.
pub fn late(
    document: &Document,
    seal: &Seal,
    schema: &dinh_core::gate::rights::Schema,
) -> Result<Vec<Late>, DocumentError> {
    let Some(heads) = heads_of(document, seal) else { return Ok(Vec::new()) };
    let frozen = schema.seal.map_or(&[][..], |seal| seal.frozen);
    // In one order on all devices: what was written knowing of more comes later.
    let mut history = document.history();
    history.sort_by_key(|c| (c.start_op, c.actor, c.seq));
    let deps: std::collections::BTreeMap<ChangeHash, &[ChangeHash]> =
        history.iter().map(|c| (c.hash, &c.deps[..])).collect();
    let mut sealed: BTreeSet<ChangeHash> = BTreeSet::new();
    let mut open = heads;
    while let Some(hash) = open.pop() {
        if sealed.insert(hash) {
            open.extend(deps.get(&hash).into_iter().flat_map(|d| d.iter().copied()));
        }
    }
    let mut found = Vec::new();
    for change in history.iter().filter(|c| !sealed.contains(&c.hash)) {
        let mut patches = document.diff(&change.deps, &[change.hash])?;
        patches.retain(|patch| {
            let first = patch.path.steps().first();
            matches!(first, Some(dinh_core::document::Prop::Key(key)) if frozen.contains(&key.as_str()))
        });
        if !patches.is_empty() {
            found.push(Late { change: change.hash, actor: change.actor, time_s: change.time_s, patches });
        }
    }
    Ok(found)
}
