//! Which documents this phone has: found by the indexes of the spaces that it reads, as an app finds them.

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::client::{ClientError, ClientStore, EventStream};
use dinh_core::replica::{Event, Replica, ReplicaError};
use dinh_model::access::read;
use dinh_model::client::Documents;
use dinh_model::index::{Index, Purpose};
use dinh_model::{
    attendance, branch, consultation, digest, feedback, minutes, resolution, review, roster, task, votebox,
};
use dinh_proto::ids::{DocId, SpaceId};

use crate::act::{Doc, Room, roster_id};

/// The documents by what they are.
pub type Shelf = BTreeMap<Doc, DocId>;

/// The documents, and hashes of their heads as long as nothing says that they changed.
#[derive(Debug)]
pub struct Shelves {
    events: EventStream,
    shelf: Shelf,
    is_stale: bool,
    /// Whether people or roles changed since readers were looked at.
    people_changed: bool,
    hashes: BTreeMap<DocId, Option<String>>,
}

impl Shelves {
    /// Empty; `events` must have been subscribed to before anything was read.
    #[must_use]
    pub fn new(events: EventStream) -> Self {
        Self { events, shelf: Shelf::new(), is_stale: true, people_changed: true, hashes: BTreeMap::new() }
    }

    fn hear(&mut self) {
        while let Some(event) = self.events.try_next() {
            match event {
                Event::DocumentChanged { doc, .. } | Event::DocumentReset { doc } => {
                    self.hashes.remove(&doc);
                    let name = self.shelf.iter().find(|(_, id)| **id == doc).map(|(name, _)| name);
                    // What no index lists may be an index that has arrived now.
                    self.is_stale |= name.is_none_or(|name| matches!(name, Doc::Index(_)));
                }
                Event::CharterChanged { .. } | Event::Joined { .. } => {
                    (self.is_stale, self.people_changed) = (true, true);
                }
                _ => {}
            }
        }
    }

    /// The documents that are here; `fresh`: looked up once more.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn shelf(&mut self, documents: &Documents, fresh: bool) -> Result<&Shelf, ClientError> {
        self.hear();
        if fresh || self.is_stale {
            self.shelf = documents.run(|replica, _| look_up(replica)).await?;
            self.is_stale = false;
        }
        Ok(&self.shelf)
    }

    /// Brings the readers of the spaces that this phone answers for in line with who is in the branch now, as an app does
    /// whenever that changes.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keep_readers(&mut self, documents: &Documents) -> Result<(), ClientError> {
        self.hear();
        if !std::mem::take(&mut self.people_changed) {
            return Ok(());
        }
        let kept = documents.run(|replica, _| {
            let branch = branch_of(replica)?;
            match branch::keep_readers(replica, &branch) {
                // A space's key is on its way: with it comes another change.
                Err(ReplicaError::NoKey(_)) => Ok(()),
                other => other.map(|_| ()),
            }
        });
        match kept.await {
            // This phone is in no branch yet, or was removed.
            Err(ClientError::Replica(ReplicaError::Edit(_) | ReplicaError::NotAuthorised(_))) => Ok(()),
            other => other,
        }
    }

    /// What is here, with hashes; none for what has not arrived. `fresh`: nothing that was known before is used.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn held(
        &mut self,
        documents: &Documents,
        fresh: bool,
    ) -> Result<Vec<(Doc, DocId, Option<String>)>, ClientError> {
        self.shelf(documents, fresh).await?;
        if fresh {
            self.hashes.clear();
        }
        let unknown: Vec<DocId> =
            self.shelf.values().filter(|id| !self.hashes.contains_key(id)).copied().collect();
        let found = documents.run(move |replica, _| {
            let hash = |id: DocId| Ok((id, heads_hash(replica, &id)?));
            unknown.into_iter().map(hash).collect::<Result<Vec<_>, ReplicaError>>()
        });
        self.hashes.extend(found.await?);
        let held = |(name, id): (&Doc, &DocId)| (name.clone(), *id, self.hashes.get(id).cloned().flatten());
        Ok(self.shelf.iter().map(held).collect())
    }
}

fn heads_hash(replica: &mut Replica<ClientStore>, id: &DocId) -> Result<Option<String>, ReplicaError> {
    if replica.document(id, |d| d.heads().is_empty())? {
        return Ok(None);
    }
    let hash = replica.document_hash(id)?;
    Ok(Some(hash[..8].iter().map(|b| format!("{b:02x}")).collect()))
}

/// The branch: each phone of the meeting is in one.
///
/// # Errors
/// If it is in none.
pub fn branch_of(replica: &Replica<ClientStore>) -> Result<SpaceId, ReplicaError> {
    let none = || super::refused("this phone is in no branch");
    replica.charters().keys().next().copied().ok_or_else(none)
}

/// Finds every document that this phone may read.
///
/// # Errors
/// If the store fails.
pub fn look_up(replica: &mut Replica<ClientStore>) -> Result<Shelf, ReplicaError> {
    let mut shelf = Shelf::new();
    let Ok(branch) = branch_of(replica) else { return Ok(shelf) };
    for place in branch::places(replica, &branch)? {
        let owner = place.member.map(|m| roster_id(&m)).unwrap_or_default();
        let room = match place.purpose {
            Purpose::Branch => Room::Branch,
            Purpose::Committee => Room::Committee,
            Purpose::Oversight => Room::Oversight,
            Purpose::MailboxCommittee => Room::ToCommittee(owner),
            Purpose::MailboxUpper => Room::ToUpper(owner),
        };
        shelf.insert(Doc::Index(room.clone()), place.index);
        let index = read(replica, &place.index, Index::read)?;
        for (id, listed) in &index.documents {
            let (Some(doc), Ok(id)) = (named(&room, &listed.schema, listed.kind.as_deref()), id.parse())
            else {
                continue;
            };
            shelf.entry(doc).or_insert(id);
        }
    }
    Ok(shelf)
}

fn named(room: &Room, schema: &str, kind: Option<&str>) -> Option<Doc> {
    let is = |other: &dinh_core::gate::rights::Schema| schema == other.name;
    match room {
        Room::ToCommittee(_) | Room::ToUpper(_) => is(&feedback::SCHEMA).then(|| Doc::Mailbox(room.clone())),
        Room::Committee => is(&resolution::SCHEMA).then_some(Doc::Draft),
        Room::Oversight if is(&consultation::SCHEMA) => Some(Doc::Round(kind?.parse().ok()?)),
        Room::Oversight if is(&review::SCHEMA) => Some(Doc::Review),
        Room::Oversight => is(&digest::SCHEMA).then_some(Doc::Digest),
        Room::Branch => {
            let known = [
                (&roster::SCHEMA, Doc::Roster),
                (&feedback::SCHEMA, Doc::Feedback),
                (&task::SCHEMA, Doc::Tasks),
                (&resolution::OPEN_SCHEMA, Doc::Resolution),
                (&minutes::SCHEMA, Doc::Minutes),
                (&attendance::SCHEMA, Doc::Attendance),
                (&votebox::SCHEMA, Doc::Votebox),
            ];
            known.into_iter().find(|(schema, _)| is(schema)).map(|(_, doc)| doc)
        }
    }
}

/// Which of these documents this phone has anything of, whether or not an index names them to it.
///
/// # Errors
/// If the store fails.
pub fn sees(replica: &mut Replica<ClientStore>, all: &BTreeSet<DocId>) -> Result<Vec<DocId>, ReplicaError> {
    let mut seen = Vec::new();
    for id in all.iter().filter(|id| replica.space_of(id).is_some()).copied().collect::<Vec<_>>() {
        if !replica.document(&id, |d| d.heads().is_empty())? || replica.waiting_runs(&id)? > 0 {
            seen.push(id);
        }
    }
    Ok(seen)
}
