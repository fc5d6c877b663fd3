//! Notices of the committee to members, with who has read them.

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::gate::rights::{How, Rule, Schema, Step, Who};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::Serialize;

use crate::check::refuse_classified;
use crate::field::{Fields, Register, put_register};
use crate::me::Me;

/// Who writes what.
pub static SCHEMA: Schema = Schema {
    name: "dinh.notice/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("read"), Step::Own], Who::EVERYBODY, How::Free),
        Rule::new(&[Step::Key("read"), Step::Rest], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("text"), Step::Rest], Who::COMMITTEE, How::Free),
    ],
    others: Who::COMMITTEE,
    seal: None,
};

/// A notice as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// Its title.
    pub title: Register<String>,
    /// What it says.
    pub text: String,
    /// Until when it matters, `YYYY-MM-DD`.
    pub until: Register<String>,
    /// When each reader first said that it has read it.
    pub read: BTreeMap<MemberId, Register<i64>>,
}

impl Notice {
    /// Reads it.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let read = |id: MemberId| (id, fields.time(&path!["read", id.to_string()]));
        Self {
            title: fields.string(&path!["title"]),
            text: fields.prose(&path!["text"]),
            until: fields.string(&path!["until"]),
            read: fields.members(&path!["read"]).map(read).collect(),
        }
    }
}

/// Makes a notice.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(edit: &mut Edit<'_>, title: &str, text: &str, until: Option<&str>) -> Result<(), EditError> {
    refuse_classified(text)?;
    edit.put(&path!["schema"], SCHEMA.name)?;
    edit.put(&path!["title"], title)?;
    edit.put(&path!["text"], Value::text(text))?;
    edit.put_map(&path!["read"])?;
    until.map_or(Ok(()), |until| put_register(edit, &path!["until"], until))
}

/// Says that this device's member has read it. Saying it again changes nothing.
///
/// # Errors
/// If this device may not.
pub fn has_read(edit: &mut Edit<'_>, me: &Me) -> Result<(), EditError> {
    let place = path!["read", me.key()];
    if edit.view().get(&place).is_some() {
        return Ok(());
    }
    edit.put(&place, Value::Timestamp(me.now))
}
