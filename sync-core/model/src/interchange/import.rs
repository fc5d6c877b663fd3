//! What was changed elsewhere, in a file that [`export`](super::export) gave, comes back in.
//!
//! A change of another Automerge cannot be taken as it is: every change here is signed by a device, under its own actor. So what the file
//! adds is written once more, as **one ordinary change of this device**, with rights checked as always. What it adds is found by merging:
//! the file has the history up to its export, so its new changes merge into a copy of the document, with what was written here since, and the
//! difference between the document and that copy is what is written. Texts keep what both wrote. A value that was written on both sides is
//! not taken: it stays as it is here, and [`Incoming::left`] lists what the file says.
//!
//! Nobody sees in that change who wrote it in the other program; its message names the file's authors, so that no file is taken twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dinh_core::document::{
    ChangeHash, Document, DocumentError, Edit, EditError, Expand, FileError, Mark, Patch, PatchAction, Path,
    PendingText, Value,
};
use dinh_core::replica::{Now, Replica, ReplicaError};
use dinh_core::store::Store;
use dinh_proto::ids::DocId;
use dinh_text::normal::nfc;
use thiserror::Error;

/// Begins the message of a change that brings a file in; the first eight bytes of each of its authors' ids follow.
const FROM_FILE: &str = "dinh.file";
/// Programs that changed one file, at most: their names must fit the message.
const ACTORS_MAX: usize = 8;

/// Why a file is not taken in. Nothing of it was written.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It cannot be read, or has something in it that no document here may have.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something that the same program wrote into a copy was taken in before.
    #[error(
        "what this program wrote into its copy was taken in before; export the document again, and change that"
    )]
    TakenBefore,
    /// More programs changed it than can be named.
    #[error("more than {ACTORS_MAX} programs changed the file, one after another; export the document again")]
    TooManyAuthors,
    /// The document cannot be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// This device may not write what the file says, or cannot.
    #[error("the file's changes cannot be written here: {0}")]
    NotWritten(#[from] ReplicaError),
}

/// Something that the file says and that is not taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Left {
    /// Where.
    pub path: Path,
    /// What the file says; nothing if it deletes what was changed here.
    pub says: Option<Value>,
    /// What stands here.
    pub stands: Option<Value>,
}

/// What a file brings.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// What it says that is not taken, because it was written here too since the file was exported. Whoever may write it decides.
    pub left: Vec<Left>,
    /// The heads that the file was exported at.
    pub base: Vec<ChangeHash>,
    /// How many changes were made to it elsewhere.
    pub changes: usize,
    steps: Vec<Step>,
    message: String,
}

/// Something to write.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Put(Path, Value),
    Insert(Path, usize, Value),
    Splice(Path, usize, usize, String),
    Text(Path, PendingText),
    DeleteKey(Path),
    DeleteItems(Path, usize, usize),
    /// The marks of a text, and the text for which they are meant.
    Marks(Path, Vec<Mark>, String),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// The change that was written; none if the file says nothing new.
    pub change: Option<dinh_proto::ids::ChangeHash>,
    /// What was not taken: see [`Incoming::left`].
    pub left: Vec<Left>,
}

/// Takes a file in: [`read`] and [`Incoming::write`] as one edit of this device.
///
/// # Errors
/// [`ImportError`]. Nothing is written then.
pub fn take_in<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    doc: &DocId,
    file: &[u8],
) -> Result<Taken, ImportError> {
    // What is being typed belongs to what the file is compared with.
    replica.flush_text(now, doc)?;
    let incoming = replica.document(doc, |document| read(document, file))??;
    let ((), change) = replica.edit(now, doc, Some(incoming.message()), |edit| incoming.write(edit))?;
    Ok(Taken { change, left: incoming.left })
}

/// Compares a file with a document. The bytes may be anybody's: Automerge does not read them.
///
/// # Errors
/// [`ImportError`].
pub fn read(document: &Document, file: &[u8]) -> Result<Incoming, ImportError> {
    let merged = document.merged_with_file(file)?;
    if merged.actors.len() > ACTORS_MAX {
        return Err(ImportError::TooManyAuthors);
    }
    let mut message = FROM_FILE.to_owned();
    for actor in &merged.actors {
        let named = name(actor);
        let taken = |m: &String| m.split(' ').next() == Some(FROM_FILE) && m.split(' ').any(|n| n == named);
        if document.history().iter().filter_map(|c| c.message.as_ref()).any(taken) {
            return Err(ImportError::TakenBefore);
        }
        let _ = write!(message, " {named}");
    }
    let plan = Plan { ours: document, base: document.view_at(&merged.base)?, merged: &merged.document };
    let (steps, left) = plan.of(&merged.patches, &|actor| merged.actors.contains(actor));
    Ok(Incoming { left, base: merged.base, changes: merged.changes, steps, message })
}

fn name(actor: &[u8; 16]) -> String {
    actor[..8].iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

struct Plan<'a> {
    ours: &'a Document,
    base: dinh_core::document::View<'a>,
    merged: &'a Document,
}

/// What becomes of patches below a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// They are in the value that is written there.
    Written,
    /// They are not taken.
    Left,
}

impl Plan<'_> {
    fn of(&self, patches: &[Patch], is_new: &dyn Fn(&[u8; 16]) -> bool) -> (Vec<Step>, Vec<Left>) {
        let (mut steps, mut left) = (Vec::new(), Vec::new());
        let mut below: BTreeMap<Path, Below> = BTreeMap::new();
        for Patch { path, action } in patches {
            let above = (0..=path.steps().len())
                .find_map(|n| below.get(&path.steps()[..n].iter().cloned().collect::<Path>()).copied());
            match (above, action) {
                (Some(Below::Left), _) => continue,
                (Some(Below::Written), action) if !matches!(action, PatchAction::Marks { .. }) => continue,
                _ => {}
            }
            match action {
                PatchAction::Put { prop, conflict: true, .. }
                | PatchAction::Conflict { prop, conflict: true } => {
                    let at = path.join(prop.clone());
                    if let Some(says) = self.contested(&at, is_new) {
                        left.push(Left {
                            stands: self.ours.view().get(&at),
                            says: Some(says),
                            path: at.clone(),
                        });
                        below.insert(at, Below::Left);
                    }
                }
                PatchAction::Put { prop, .. } => {
                    let at = path.join(prop.clone());
                    steps.extend(self.put(&at));
                    below.insert(at, Below::Written);
                }
                PatchAction::Insert { index, values } => {
                    for index in *index..index + values.len() {
                        let at = path.join(index);
                        let value = self.merged.view().get(&at).unwrap_or(Value::Null);
                        steps.push(Step::Insert(path.clone(), index, value));
                        below.insert(at, Below::Written);
                    }
                }
                PatchAction::SpliceText { index, value } => {
                    steps.push(Step::Splice(path.clone(), *index, 0, value.clone()));
                }
                PatchAction::DeleteKey { key } => {
                    let at = path.join(key.as_str());
                    let stands = self.ours.view().get(&at);
                    if stands == self.base.get(&at) {
                        steps.push(Step::DeleteKey(at));
                    } else {
                        left.push(Left { path: at, says: None, stands });
                    }
                }
                PatchAction::Delete { index, len } => {
                    let is_text = self.merged.view().text(path).is_some();
                    let (path, index, len) = (path.clone(), *index, *len);
                    steps.push(if is_text {
                        Step::Splice(path, index, len, String::new())
                    } else {
                        Step::DeleteItems(path, index, len)
                    });
                }
                PatchAction::Marks { marks } => {
                    let text = self.merged.view().text(path).unwrap_or_default();
                    steps.push(Step::Marks(path.clone(), marks.clone(), text));
                }
                PatchAction::Conflict { .. } => {}
            }
        }
        (steps, left)
    }

    /// What the file says where something else was written here.
    fn contested(&self, at: &Path, is_new: &dyn Fn(&[u8; 16]) -> bool) -> Option<Value> {
        let all = self.merged.view().conflicts(at);
        all.into_iter().find(|c| is_new(&c.actor)).map(|c| c.value)
    }

    fn put(&self, at: &Path) -> Option<Step> {
        let value = self.merged.view().get(at)?;
        let Value::Text(text) = &value else { return Some(Step::Put(at.clone(), value)) };
        Some(match (self.base.get(at), self.ours.view().get(at)) {
            // Other programs write texts where a document has a value that is replaced as a whole.
            (_, Some(Value::Str(_))) => Step::Put(at.clone(), Value::Str(text.clone())),
            // The other program put a new text in the place of one that others write in.
            (Some(Value::Text(base)), Some(Value::Text(_))) => {
                Step::Text(at.clone(), PendingText { base, text: nfc(text).into_owned() })
            }
            _ => Step::Put(at.clone(), value),
        })
    }
}

impl Incoming {
    /// Whether the file says nothing that is to be written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The message that the change must have: by it the same file is not taken twice.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Writes it, into the document that it was [`read`] with, and as that was.
    ///
    /// # Errors
    /// If this device may not, or the document is another one by now.
    pub fn write(&self, edit: &mut Edit<'_>) -> Result<(), EditError> {
        self.steps.iter().try_for_each(|step| step.write(edit))
    }
}

impl Step {
    fn write(&self, edit: &mut Edit<'_>) -> Result<(), EditError> {
        match self {
            Self::Put(at, value) => edit.put(at, value.clone()),
            Self::Insert(at, index, value) => edit.insert(at, *index, value.clone()),
            Self::Splice(at, index, delete, insert) => edit.splice_text(at, *index, *delete, insert),
            Self::Text(at, typed) => edit.put_typed(at, typed),
            Self::DeleteKey(at) => edit.delete(at),
            Self::DeleteItems(at, index, len) => (0..*len).try_for_each(|_| edit.delete(&at.join(*index))),
            Self::Marks(at, marks, text) => write_marks(edit, at, marks, text),
        }
    }
}

/// `text` is the one for which the marks are meant: as the other program wrote it, which need not be NFC.
fn write_marks(edit: &mut Edit<'_>, at: &Path, marks: &[Mark], text: &str) -> Result<(), EditError> {
    if edit.view().text(at).as_deref() != Some(&*nfc(text)) {
        // It was composed with what stands beside it: the marks that moved with the letters stay.
        return Ok(());
    }
    let place = |index: usize| {
        let before: String = text
            .chars()
            .scan(0, |units, letter| {
                *units += letter.len_utf16();
                (*units <= index).then_some(letter)
            })
            .collect();
        nfc(&before).encode_utf16().count()
    };
    let moved = |m: &Mark| Mark { start: place(m.start), end: place(m.end), ..m.clone() };
    let marks: Vec<Mark> = marks.iter().map(moved).filter(|m| m.start < m.end).collect();
    let standing = edit.view().marks(at);
    for mark in standing.iter().filter(|m| !marks.contains(m)) {
        edit.unmark(at, mark.start..mark.end, &mark.name, Expand::None)?;
    }
    for mark in marks.iter().filter(|m| !standing.contains(m)) {
        edit.mark(at, mark.start..mark.end, &mark.name, mark.value.clone(), Expand::After)?;
    }
    Ok(())
}
