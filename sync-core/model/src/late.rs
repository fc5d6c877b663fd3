//! What came too late: what it changed, in words, and what becomes of it. The sealed text never changes; a late proposal is
//! answered as feedback, or goes on as a suggestion for the next document.

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::{
    Document, DocumentError, Edit, EditError, PatchAction, Path, Prop, ReadDoc, Value, View,
};
use dinh_core::path;
use dinh_core::replica::{Now, Replica, ReplicaError};
use dinh_core::store::Store;
use dinh_proto::ids::{DocId, MemberId};
use serde::Serialize;

use crate::access::{act, read, writers};
use crate::feedback::{self, Kind, NewThread};
use crate::field::{Fields, Writer, Writers, put_register};
use crate::me::Me;
use crate::outline::text_of;
use crate::seal::{self, Late, Seal};
use crate::suggestion;

/// The map in which a sealed document notes what became of what came late, by change.
const LATE: &str = "late";

/// One field that a late change wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The change, in hex.
    pub change: String,
    /// Who made it.
    pub by: Option<Writer>,
    /// When, by its device's clock: seconds since 1970.
    pub time_s: i64,
    /// The field: keys from the root.
    pub field: Vec<String>,
    /// What its writer saw there.
    pub before: String,
    /// What it wrote.
    pub after: String,
    /// What became of the change, if anything did: a document and a key in it.
    pub became: Option<String>,
}

impl Proposal {
    /// The block whose text it is, if it is one's.
    #[must_use]
    pub fn block(&self) -> Option<&str> {
        match &self.field[..] {
            [map, id, last] if map == crate::outline::BLOCKS && last == "text" => Some(id),
            _ => None,
        }
    }
}

/// Everything that came later than a seal, field by field, oldest change first: the same on every device.
///
/// # Errors
/// If the document engine fails.
pub fn proposals(
    document: &Document,
    seal: &Seal,
    schema: &dinh_core::gate::rights::Schema,
    writers: &Writers,
) -> Result<Vec<Proposal>, DocumentError> {
    let deps: BTreeMap<_, _> = document.history().into_iter().map(|c| (c.hash, c.deps)).collect();
    let now = document.view();
    let mut found = Vec::new();
    for late in seal::late(document, seal, schema)? {
        let before = document.view_at(deps.get(&late.change).map_or(&[][..], Vec::as_slice))?;
        let after = document.view_at(&[late.change])?;
        let became = now.get(&path![LATE, late.change.to_string()]);
        let became = became.as_ref().and_then(Value::as_str).map(str::to_owned);
        for field in touched(&late, &after) {
            found.push(Proposal {
                change: late.change.to_string(),
                by: writers.of(&late.actor),
                time_s: late.time_s,
                before: shown(&before, &field),
                after: shown(&after, &field),
                became: became.clone(),
                field: field.steps().iter().filter_map(key).collect(),
            });
        }
    }
    Ok(found)
}

fn key(step: &Prop) -> Option<String> {
    match step {
        Prop::Key(key) => Some(key.clone()),
        Prop::Index(index) => Some(index.to_string()),
    }
}

/// The fields that a change wrote: texts and values. Of something that it made whole, the prose alone if there is any: a new
/// block is what it says, not its order.
fn touched<D: ReadDoc>(late: &Late, after: &View<'_, D>) -> BTreeSet<Path> {
    let mut fields = BTreeSet::new();
    let mut made: Vec<Path> = Vec::new();
    for patch in &late.patches {
        let at = match &patch.action {
            PatchAction::Put { prop, .. } | PatchAction::Conflict { prop, .. } => {
                patch.path.join(prop.clone())
            }
            PatchAction::DeleteKey { key } => patch.path.join(key.as_str()),
            _ => patch.path.clone(),
        };
        match after.get(&at) {
            Some(Value::Map(_)) => made.push(at),
            _ => drop(fields.insert(at)),
        }
    }
    for thing in made {
        let inside = |at: &&Path| at.steps().starts_with(thing.steps());
        let prose = |at: &&Path| matches!(after.get(at), Some(Value::Text(_)));
        if fields.iter().filter(inside).any(|at| prose(&at)) {
            fields.retain(|at| !inside(&at) || prose(&at));
        }
    }
    fields
}

fn shown<D: ReadDoc>(view: &View<'_, D>, at: &Path) -> String {
    match view.get(at) {
        None => String::new(),
        Some(Value::Text(text) | Value::Str(text)) => text,
        Some(other) => format!("{other:?}"),
    }
}

/// The proposals that came after the seal of a document.
///
/// # Errors
/// See [`Replica::document`].
pub fn of<S: Store>(
    replica: &mut Replica<S>,
    doc: &DocId,
    schema: &dinh_core::gate::rights::Schema,
) -> Result<Vec<Proposal>, ReplicaError> {
    let writers = writers(replica, doc);
    let Some(found) = read(replica, doc, |fields: &Fields<'_, '_>| seal::read(fields).get().cloned())? else {
        return Ok(Vec::new());
    };
    Ok(replica.document(doc, |document| proposals(document, &found, schema, &writers))??)
}

/// Makes a late proposal a thread of feedback in its author's name, which the committee must answer, and notes it in the
/// sealed document. Returns the thread's key.
///
/// # Errors
/// If this device may not.
pub fn into_feedback<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    doc: &DocId,
    proposal: &Proposal,
    threads: &DocId,
) -> Result<String, ReplicaError> {
    let author: Option<MemberId> = proposal.by.map(|by| by.member);
    let subject = format!("{doc}#{}", proposal.field.join("/"));
    let text = format!("{}\n(trước: {})", proposal.after, proposal.before);
    let (thread, _) = act(replica, now, threads, None, |edit, me| {
        let new = NewThread {
            kind: Kind::DraftComment,
            title: "Ý kiến đến muộn",
            text: &text,
            language: "vi",
            subject: Some(&subject),
            on_behalf_of: author.as_ref().filter(|author| **author != me.member),
        };
        feedback::submit(edit, me, &new)
    })?;
    note(replica, now, doc, proposal, &format!("{threads}#{thread}"))?;
    Ok(thread)
}

/// Makes a late proposal a suggestion in another draft, where a block says what its writer saw, and notes it in the sealed
/// document. Returns the suggestion's key.
///
/// # Errors
/// [`EditError::Refused`] if the block does not say it; if this device may not.
pub fn into_suggestion<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    doc: &DocId,
    proposal: &Proposal,
    draft: &DocId,
    block: &str,
) -> Result<String, ReplicaError> {
    let (id, _) = act(replica, now, draft, None, |edit, me| suggest(edit, me, proposal, block))?;
    note(replica, now, doc, proposal, &format!("{draft}#{id}"))?;
    Ok(id)
}

fn suggest(edit: &mut Edit<'_>, me: &mut Me, proposal: &Proposal, block: &str) -> Result<String, EditError> {
    let text = edit.view().text(&text_of(block)).unwrap_or_default();
    let at = text.find(&proposal.before).filter(|_| !proposal.before.is_empty()).ok_or_else(|| {
        EditError::Refused("this block does not say what was changed there: choose another one".into())
    })?;
    let units = |text: &str| text.encode_utf16().count();
    let start = units(&text[..at]);
    suggestion::suggest(edit, me, block, start..start + units(&proposal.before), &proposal.after)
}

fn note<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    doc: &DocId,
    proposal: &Proposal,
    became: &str,
) -> Result<(), ReplicaError> {
    let at = path![LATE, proposal.change.as_str()];
    act(replica, now, doc, None, |edit, _| put_register(edit, &at, became))?;
    Ok(())
}
