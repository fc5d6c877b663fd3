//! G8: what passed the rules is tried on a copy before the document changes. A local check, not a rule: it depends
//! on this version of Automerge, so it decides only about this device.
//!
//! * *Always:* the copy takes the batch, and gives back every change of it byte for byte. That is what a saved
//!   document is checked against when it is loaded, and what other devices would be sent.
//! * *Full:* the copy is saved and loaded, and has the same heads. It takes as long as the document is large, so
//!   a large document gets it after every eighth of its size, and when its view is saved: the time for all full
//!   checks together is a constant for each operation.

use std::collections::BTreeMap;

use automerge::Change;
use thiserror::Error;

use super::engine::{Call, Panicked, guarded};
use crate::document::{ChangeHash, Document, DocumentError, Patch};

/// Documents of fewer operations get the full check with every batch: it takes a few milliseconds.
const ALWAYS_FULL_OPS: usize = 1_000;
/// Larger ones after this part of their size.
const FULL_AFTER: usize = 8;

/// Why a batch must not be applied on this device.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShadowError {
    /// The engine panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] DocumentError),
    /// The document does not give back a change that it took.
    #[error("the document would not give back change {0} as it was")]
    Lost(ChangeHash),
    /// The saved document would not be the same.
    #[error("the saved document would not load as it was")]
    Reload,
}

/// What has been checked of a document.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Shadow {
    /// Operations since the last full check.
    since: usize,
    /// Check fully whatever it costs: something was found wrong with the document.
    pub(crate) always: bool,
}

impl Shadow {
    /// Whether a document of this size is due for the full check when `new` operations come.
    fn is_due(&self, total: usize, new: usize) -> bool {
        self.always || total < ALWAYS_FULL_OPS || self.since + new >= total / FULL_AFTER
    }

    /// These operations were applied without a full check.
    pub(crate) fn count(&mut self, ops: usize) {
        self.since += ops;
    }

    /// Whether anything was applied since the last full check.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.since > 0
    }

    /// The document was checked fully.
    pub(crate) fn checked(&mut self) {
        self.since = 0;
    }

    /// Applies changes that passed the rules to a copy, and gives the copy if nothing is wrong with it. `total` is
    /// how many operations the document has then.
    pub(crate) fn apply(
        &mut self,
        document: &Document,
        changes: Vec<Change>,
        total: usize,
    ) -> Result<(Document, Vec<Patch>), ShadowError> {
        let new: usize = changes.iter().map(Change::len).sum();
        let full = self.is_due(total, new);
        let wanted: BTreeMap<ChangeHash, Vec<u8>> =
            changes.iter().map(|c| (c.hash().into(), c.raw_bytes().to_vec())).collect();
        let heads = document.heads();
        let mut copy = guarded(Call::Copy, || document.clone())?;
        let patches = guarded(Call::Apply, || copy.apply(changes))??;
        let given: BTreeMap<ChangeHash, Vec<u8>> =
            guarded(Call::Rebuild, || copy.changes_raw(&heads))?.into_iter().collect();
        if let Some((hash, _)) = wanted.iter().find(|(hash, raw)| given.get(hash) != Some(raw)) {
            return Err(ShadowError::Lost(*hash));
        }
        if full {
            reload(&copy, &save(&copy)?)?;
            self.checked();
        } else {
            self.count(new);
        }
        Ok((copy, patches))
    }
}

pub(crate) fn save(document: &Document) -> Result<Vec<u8>, ShadowError> {
    Ok(guarded(Call::Save, || document.save())?)
}

/// The saved bytes load, to the same document.
pub(crate) fn reload(document: &Document, saved: &[u8]) -> Result<(), ShadowError> {
    let loaded = guarded(Call::Load, || Document::load(saved, document.actor()))??;
    if loaded.heads() == document.heads() { Ok(()) } else { Err(ShadowError::Reload) }
}
