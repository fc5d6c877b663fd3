//! A speaker says that what the recorder wrote down are its words.
//!
//! `confirmed/<block>` is made by the recorder together with the block, so that two phones never make it twice.

use dinh_core::document::{Edit, EditError};
use dinh_core::path;

use crate::me::Me;

/// Lets people confirm a block: to be done in the change that adds it, by who adds it.
///
/// # Errors
/// If this device may not.
pub fn ask(edit: &mut Edit<'_>, block: &str) -> Result<(), EditError> {
    edit.put_map(&path!["confirmed", block])
}

/// Says that a block holds this device's member's words.
///
/// # Errors
/// If this device may not, or nobody asked.
pub fn confirm(edit: &mut Edit<'_>, me: &Me, block: &str) -> Result<(), EditError> {
    edit.view().hydrate(&path!["confirmed", block])?;
    edit.put(&path!["confirmed", block, me.key()], true)
}
