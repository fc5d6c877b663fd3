//! What minutes hold besides prose and votes: agenda, guests, decisions, who does what, how good the meeting was.

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::Serialize;

use crate::attendance::Summary;
use crate::check::refuse_classified;
use crate::field::{Fields, Register, count, member, put_register};
use crate::me::Me;
use crate::outline::{Put, order_at, place};
use crate::resolution::{self, Assignment, NewAssignment};

const AGENDA: &str = "agenda";

/// An item of the agenda.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its key.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// Who presents it.
    pub presenter: Register<MemberId>,
    /// Where it stands.
    pub order: Register<String>,
}

/// Somebody from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Guest {
    /// Its key.
    pub id: String,
    /// The name.
    pub name: String,
    /// The post.
    pub post: String,
    /// Of which body.
    pub body: String,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// In words.
    pub text: String,
    /// The vote by which it was, if it was one of these minutes' own.
    pub vote: Option<String>,
}

impl Decision {
    pub(super) fn read(fields: &Fields<'_, '_>, id: String) -> Self {
        let at = path!["decisions", id];
        let vote = fields.view().get(&at.join("vote")).and_then(|vote| vote.as_str().map(str::to_owned));
        Self { text: fields.prose(&at.join("text")), vote }
    }
}

/// A document that the meeting had before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Its key.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// Which, and at which heads (see [`heads_text`](crate::resolution::heads_text)), if it is one of the branch's.
    pub document: Option<(String, String)>,
}

/// Somebody who answers for the minutes. The device's signature is the change's own; it is not a legal digital signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// Its key.
    pub id: String,
    /// As what: `chair`, `recorder`.
    pub role: String,
    /// Who.
    pub by: MemberId,
    /// When, by that device's clock: milliseconds since 1970.
    pub at: i64,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Parts {
    /// In order.
    pub agenda: Vec<Item>,
    /// By key.
    pub guests: Vec<Guest>,
    /// Who does what by when, by key.
    pub assignments: Vec<Assignment>,
    /// What lay before the meeting, by key.
    pub documents_used: Vec<Used>,
    /// Who signed, by key.
    pub signatures: Vec<Signature>,
    /// Points by criterion.
    pub quality: BTreeMap<String, Register<u32>>,
}

impl Parts {
    /// Reads them.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let view = fields.view();
        let item = |id: String| {
            let at = path![AGENDA, id.as_str()];
            let (presenter, order) = (fields.member(&at.join("presenter")), fields.string(&at.join("order")));
            Item { title: fields.prose(&at.join("title")), presenter, order, id }
        };
        let mut agenda: Vec<Item> = view.keys(&path![AGENDA]).into_iter().map(item).collect();
        agenda.sort_by(|a, b| (place(&a.order), &a.id).cmp(&(place(&b.order), &b.id)));
        let guest = |id: String| {
            let text = |key: &str| {
                fields.string(&path!["guests", id.as_str(), key]).get().cloned().unwrap_or_default()
            };
            Guest { name: text("name"), post: text("post"), body: text("body"), id }
        };
        let used = |id: String| {
            let text = |key: &str| fields.string(&path!["documents_used", id.as_str(), key]).get().cloned();
            let (title, document) = (text("title").unwrap_or_default(), text("document").zip(text("heads")));
            Used { title, document, id }
        };
        let signature = |id: String| {
            let Value::Map(entry) = view.get(&path!["signatures", id.as_str()])? else { return None };
            let Some(Value::Timestamp(at)) = entry.get("at") else { return None };
            let text = |key: &str| entry.get(key).and_then(Value::as_str);
            Some(Signature { role: text("role")?.to_owned(), by: member(text("by")?)?, at: *at, id })
        };
        let quality = view.keys(&path!["quality"]).into_iter();
        Self {
            agenda,
            guests: view.keys(&path!["guests"]).into_iter().map(guest).collect(),
            assignments: Assignment::read_all(fields),
            documents_used: view.keys(&path!["documents_used"]).into_iter().map(used).collect(),
            signatures: view.keys(&path!["signatures"]).into_iter().filter_map(signature).collect(),
            quality: quality
                .map(|key| (key.clone(), fields.register(&path!["quality", key], count)))
                .collect(),
        }
    }
}

/// Puts something on the agenda. Returns its key.
///
/// # Errors
/// If this device may not.
pub fn add_item(
    edit: &mut Edit<'_>,
    me: &mut Me,
    title: &str,
    presenter: Option<&MemberId>,
    put: Put<'_>,
) -> Result<String, EditError> {
    refuse_classified(title)?;
    let order = order_at(&edit.view(), AGENDA, None, put);
    let id = me.new_id();
    let mut fields =
        BTreeMap::from([("title".to_owned(), Value::text(title)), ("order".to_owned(), order.into())]);
    if let Some(presenter) = presenter {
        fields.insert("presenter".to_owned(), presenter.to_string().into());
    }
    edit.put(&path![AGENDA, id.as_str()], Value::Map(fields))?;
    Ok(id)
}

/// Names a guest. Returns its key.
///
/// # Errors
/// If this device may not.
pub fn add_guest(
    edit: &mut Edit<'_>,
    me: &mut Me,
    name: &str,
    post: &str,
    body: &str,
) -> Result<String, EditError> {
    let id = me.new_id();
    let fields = [("name", name), ("post", post), ("body", body)];
    let fields = fields.map(|(key, text)| (key.to_owned(), Value::from(text)));
    edit.put(&path!["guests", id.as_str()], Value::Map(fields.into()))?;
    Ok(id)
}

/// Notes what was decided, and by which vote if one was taken. Returns its key.
///
/// # Errors
/// If this device may not.
pub fn add_decision(
    edit: &mut Edit<'_>,
    me: &mut Me,
    text: &str,
    vote: Option<&str>,
) -> Result<String, EditError> {
    refuse_classified(text)?;
    let id = me.new_id();
    let mut fields = BTreeMap::from([("text".to_owned(), Value::text(text))]);
    if let Some(vote) = vote {
        fields.insert("vote".to_owned(), vote.into());
    }
    edit.put(&path!["decisions", id.as_str()], Value::Map(fields))?;
    Ok(id)
}

/// Notes a document that lies before the meeting. `document`: its id and heads, if it is one of the branch's. Returns its key.
///
/// # Errors
/// If this device may not.
pub fn add_document_used(
    edit: &mut Edit<'_>,
    me: &mut Me,
    title: &str,
    document: Option<(&str, &str)>,
) -> Result<String, EditError> {
    let id = me.new_id();
    let mut fields = BTreeMap::from([("title".to_owned(), Value::from(title))]);
    if let Some((document, heads)) = document {
        fields.insert("document".to_owned(), document.into());
        fields.insert("heads".to_owned(), heads.into());
    }
    edit.put(&path!["documents_used", id.as_str()], Value::Map(fields))?;
    Ok(id)
}

/// Signs, as chair or recorder. Also after the seal: it is not frozen.
///
/// # Errors
/// If this device may not.
pub fn sign(edit: &mut Edit<'_>, me: &mut Me, role: &str) -> Result<String, EditError> {
    let id = me.new_id();
    let fields = [
        ("role".to_owned(), Value::from(role)),
        ("by".to_owned(), me.key().into()),
        ("at".to_owned(), Value::Timestamp(me.now)),
    ];
    edit.put(&path!["signatures", id.as_str()], Value::Map(fields.into()))?;
    Ok(id)
}

/// Notes who does what by when. Returns its key.
///
/// # Errors
/// If this device may not.
pub fn assign(edit: &mut Edit<'_>, me: &mut Me, new: &NewAssignment<'_>) -> Result<String, EditError> {
    resolution::assign(edit, me, new)
}

/// Says who leads the meeting. By an officer.
///
/// # Errors
/// If this device may not.
pub fn set_chair(edit: &mut Edit<'_>, member: &MemberId) -> Result<(), EditError> {
    put_register(edit, &path!["chair"], member.to_string())
}

/// Says who writes the minutes. Who may is the charter's to say ([`Replica::name_recorder`](dinh_core::replica::Replica::name_recorder)).
///
/// # Errors
/// If this device may not.
pub fn set_recorder(edit: &mut Edit<'_>, member: &MemberId) -> Result<(), EditError> {
    put_register(edit, &path!["recorder"], member.to_string())
}

/// Gives the meeting points for a criterion. By an officer.
///
/// # Errors
/// If this device may not.
pub fn score(edit: &mut Edit<'_>, criterion: &str, points: u32) -> Result<(), EditError> {
    put_register(edit, &path!["quality", criterion], Value::Uint(u64::from(points)))
}

/// Freezes who was there, as numbers, when the minutes are read back.
///
/// # Errors
/// [`EditError::Refused`] if the numbers cannot be written as JSON; if this device may not.
pub fn freeze_attendance(edit: &mut Edit<'_>, summary: &Summary) -> Result<(), EditError> {
    let text = serde_json::to_string(summary).map_err(|error| EditError::Refused(error.to_string()))?;
    put_register(edit, &path!["attendance", "summary"], text)
}
