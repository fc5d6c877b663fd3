//! What a resolution holds besides prose and tasks: on what it rests, the words that enact it, who signs and who gets it.

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::Serialize;

use crate::check::refuse_classified;
use crate::field::{Fields, Register, put_register};
use crate::me::Me;

/// Who signs, as the form shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// For whom: `T/M CHI BỘ`.
    pub authority: Register<String>,
    /// The post: `BÍ THƯ`.
    pub title: Register<String>,
    /// Who.
    pub signer: Register<MemberId>,
}

impl Signature {
    /// Reads it.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let at = path!["signature"];
        Self {
            authority: fields.string(&at.join("authority")),
            title: fields.string(&at.join("title")),
            signer: fields.member(&at.join("signer")),
        }
    }
}

/// Who gets it, by key.
#[must_use]
pub fn recipients(fields: &Fields<'_, '_>) -> BTreeMap<String, Register<String>> {
    let keys = fields.view().keys(&path!["recipients"]).into_iter();
    keys.map(|key| (key.clone(), fields.string(&path!["recipients", key]))).collect()
}

/// Adds what it rests on (`Căn cứ …`). Returns its key.
///
/// # Errors
/// If this device may not.
pub fn add_legal_basis(edit: &mut Edit<'_>, me: &mut Me, text: &str) -> Result<String, EditError> {
    refuse_classified(text)?;
    let id = me.new_id();
    edit.put(&path!["legal_bases", id.as_str()], Value::text(text))?;
    Ok(id)
}

/// Sets the words that enact it.
///
/// # Errors
/// If this device may not.
pub fn set_enacting_clause(edit: &mut Edit<'_>, text: &str) -> Result<(), EditError> {
    put_register(edit, &path!["enacting_clause"], text)
}

/// Says who gets it. Returns its key.
///
/// # Errors
/// If this device may not.
pub fn add_recipient(edit: &mut Edit<'_>, me: &mut Me, text: &str) -> Result<String, EditError> {
    let id = me.new_id();
    edit.put(&path!["recipients", id.as_str()], text)?;
    Ok(id)
}

/// Says who signs.
///
/// # Errors
/// If this device may not.
pub fn set_signature(
    edit: &mut Edit<'_>,
    authority: &str,
    title: &str,
    signer: &MemberId,
) -> Result<(), EditError> {
    let signer = signer.to_string();
    [("authority", authority), ("title", title), ("signer", &signer)]
        .into_iter()
        .try_for_each(|(key, text)| put_register(edit, &path!["signature", key], text))
}
