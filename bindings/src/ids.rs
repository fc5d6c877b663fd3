//! Ids as apps hold them: documents in Base58Check, everything else in lowercase hex.

use std::fmt::Display;

use dinh_core::proto::ids::{ChangeHash, DeviceId, DocId, ItemId, MemberId, SpaceId};

use crate::error::{DinhError, Result};

fn bytes<const N: usize>(what: &str, text: &str) -> Result<[u8; N]> {
    let wrong = || DinhError::invalid(format!("{text:?} is not the id of a {what}: {} hex digits", 2 * N));
    let mut out = [0; N];
    data_encoding::HEXLOWER
        .decode_len(text.len())
        .ok()
        .filter(|len| *len == N)
        .and_then(|_| data_encoding::HEXLOWER.decode_mut(text.as_bytes(), &mut out).ok())
        .ok_or_else(wrong)?;
    Ok(out)
}

pub(crate) fn doc(text: &str) -> Result<DocId> {
    text.parse().map_err(|_| {
        DinhError::invalid(format!("{text:?} is not the id of a document: take it as this library gave it"))
    })
}

pub(crate) fn space(text: &str) -> Result<SpaceId> {
    bytes("space or branch", text).map(SpaceId)
}

pub(crate) fn member(text: &str) -> Result<MemberId> {
    bytes("member", text).map(MemberId)
}

pub(crate) fn device(text: &str) -> Result<DeviceId> {
    bytes("device", text).map(DeviceId)
}

pub(crate) fn item(text: &str) -> Result<ItemId> {
    bytes("run", text).map(ItemId)
}

pub(crate) fn change(text: &str) -> Result<dinh_core::document::ChangeHash> {
    bytes("change", text).map(dinh_core::document::ChangeHash::new)
}

pub(crate) fn text(id: &impl Display) -> String {
    id.to_string()
}

pub(crate) fn change_text(hash: Option<ChangeHash>) -> Option<String> {
    hash.as_ref().map(text)
}

/// A new id for a person, 16 random bytes: an app gives one to each member it knows, and keeps which is whose.
#[uniffi::export]
pub fn new_member_id() -> Result<String> {
    let mut id = [0; 16];
    crate::secrets::fill(&mut id)?;
    Ok(text(&MemberId(id)))
}
