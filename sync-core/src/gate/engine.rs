//! Calls of Automerge on content that others wrote: a panic becomes an error, and whoever called drops what the
//! call had its hands on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;

/// Where Automerge is called. Tests make it fail at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Call {
    /// Reading one change.
    Parse,
    /// Taking a change apart.
    Decode,
    /// Putting a change together again.
    Encode,
    /// Copying a document.
    Copy,
    /// Applying changes to a document.
    Apply,
    /// Making changes again from a document's operations.
    Rebuild,
    /// Saving a document.
    Save,
    /// Loading a saved document.
    Load,
    /// A local edit.
    Edit,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Parse,
        Self::Decode,
        Self::Encode,
        Self::Copy,
        Self::Apply,
        Self::Rebuild,
        Self::Save,
        Self::Load,
        Self::Edit,
    ];
}

/// Automerge panicked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the document engine panicked at {call:?}: {message}")]
pub struct Panicked {
    /// Where.
    pub call: Call,
    /// What it said, cut to 120 bytes.
    pub message: String,
}

/// Runs `f`; a panic in it is an error.
pub(crate) fn guarded<R>(call: Call, f: impl FnOnce() -> R) -> Result<R, Panicked> {
    let run = || {
        #[cfg(any(test, feature = "test-util"))]
        crate::testing::engine::before(call);
        f()
    };
    // What `f` had in its hands is dropped by the caller when this is an error.
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| Panicked { call, message: said(payload.as_ref()) })
}

fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let end = (0..=text.len().min(120)).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}
