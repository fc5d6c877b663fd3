//! A branch with the spaces that its documents need, and a mailbox for each member.
//!
//! A branch's charter is read by all of its devices: a space that was made for one thread would show everybody that there is one.
//! So everybody gets a mailbox with the committee and one with the upper body when admitted, used or not; threads are inside.

use std::collections::BTreeSet;

use dinh_core::document::{Edit, EditError};
use dinh_core::gate::rights::Schema;
use dinh_core::replica::{Now, Replica, ReplicaError, SpaceOptions};
use dinh_core::store::Store;
use dinh_proto::charter::Charter;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};

use crate::access::{act, read};
use crate::index::{self, Entry, Index, Purpose};
use crate::me::Me;
use crate::{digest, feedback, roster, task};

/// The standing spaces and documents of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// For all members.
    pub members: Place,
    /// For the committee.
    pub committee: Place,
    /// For the committee and the upper body's reviewers.
    pub oversight: Place,
    /// The roster, for all members.
    pub roster: DocId,
    /// Threads that the whole branch reads.
    pub feedback: DocId,
    /// Tasks that were given.
    pub tasks: DocId,
    /// What reviewers see of the branch.
    pub digest: DocId,
}

/// A space, as its index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The space.
    pub space: SpaceId,
    /// For whom it is.
    pub purpose: Purpose,
    /// Its index.
    pub index: DocId,
    /// Whose mailbox it is, if it is one.
    pub member: Option<MemberId>,
}

/// A reader whom [`keep_readers`] let in or took off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The space.
    pub space: SpaceId,
    /// Whom.
    pub member: MemberId,
    /// Whether it reads now.
    pub reads: bool,
}

/// Members of a branch with one of these roles.
fn with_role(charter: &Charter, of: impl Fn(Role) -> bool) -> BTreeSet<MemberId> {
    charter.devices().values().filter(|d| of(d.role)).map(|d| d.member).collect()
}

fn charter<'a, S: Store>(replica: &'a Replica<S>, branch: &SpaceId) -> Result<&'a Charter, ReplicaError> {
    replica.charters().get(branch).ok_or(ReplicaError::UnknownBranch(*branch))
}

/// The committee, officers among it.
fn committee(charter: &Charter) -> BTreeSet<MemberId> {
    with_role(charter, |role| role.is_officer() || role == Role::Committee)
}

/// The reviewers of the upper body.
fn reviewers(charter: &Charter) -> BTreeSet<MemberId> {
    with_role(charter, |role| role == Role::Reviewer)
}

/// Who should read a space. `None`: the charter lets everybody.
fn audience(charter: &Charter, purpose: Purpose, owner: Option<MemberId>) -> Option<BTreeSet<MemberId>> {
    let mut readers = match purpose {
        Purpose::Branch => return None,
        Purpose::Committee | Purpose::MailboxCommittee => committee(charter),
        Purpose::Oversight => &committee(charter) | &reviewers(charter),
        Purpose::MailboxUpper => reviewers(charter),
    };
    readers.extend(owner);
    Some(readers)
}

/// The spaces of a branch that this device reads and whose index is here. Only what a space's own creator says of it counts.
///
/// # Errors
/// [`ReplicaError::UnknownBranch`]; see [`Replica::view`].
pub fn places<S: Store>(replica: &mut Replica<S>, branch: &SpaceId) -> Result<Vec<Place>, ReplicaError> {
    let charter = charter(replica, branch)?;
    let by_creator = charter.documents().iter().filter(|(_, entry)| {
        charter.spaces().get(&entry.space).is_some_and(|space| space.creator == entry.creator)
    });
    let listed: Vec<(DocId, SpaceId)> = by_creator.map(|(doc, entry)| (*doc, entry.space)).collect();
    let mut found: Vec<Place> = Vec::new();
    for (doc, space) in listed {
        if replica.schema_of(&doc) != Some(index::SCHEMA.name) || found.iter().any(|p| p.space == space) {
            continue;
        }
        let index = read(replica, &doc, Index::read)?;
        if let Some(purpose) = index.purpose {
            found.push(Place { space, purpose, index: doc, member: index.member });
        }
    }
    Ok(found)
}

/// The standing spaces and documents of a branch, if they are here. Reviewers, who read the oversight alone, have their
/// documents from [`places`].
///
/// # Errors
/// [`ReplicaError::UnknownBranch`]; see [`Replica::view`].
pub fn standing<S: Store>(
    replica: &mut Replica<S>,
    branch: &SpaceId,
) -> Result<Option<Standing>, ReplicaError> {
    let places = places(replica, branch)?;
    let place = |purpose| places.iter().find(|p| p.purpose == purpose).copied();
    let (Some(members), Some(committee), Some(oversight)) =
        (place(Purpose::Branch), place(Purpose::Committee), place(Purpose::Oversight))
    else {
        return Ok(None);
    };
    let mut document = |place: &Place, schema: &Schema| listed(replica, place, schema);
    let (roster, digest) = (document(&members, &roster::SCHEMA)?, document(&oversight, &digest::SCHEMA)?);
    let (feedback, tasks) = (document(&members, &feedback::SCHEMA)?, document(&members, &task::SCHEMA)?);
    let all = roster.zip(digest).zip(feedback.zip(tasks));
    Ok(all.map(|((roster, digest), (feedback, tasks))| Standing {
        members,
        committee,
        oversight,
        roster,
        feedback,
        tasks,
        digest,
    }))
}

/// The one document of a schema that a space lists.
///
/// # Errors
/// See [`Replica::view`].
pub fn listed<S: Store>(
    replica: &mut Replica<S>,
    place: &Place,
    schema: &Schema,
) -> Result<Option<DocId>, ReplicaError> {
    let index = read(replica, &place.index, Index::read)?;
    let of_schema =
        index.documents.iter().filter(|(_, d)| d.schema == schema.name && d.same_as.get().is_none());
    Ok(of_schema.filter_map(|(id, _)| id.parse().ok()).next())
}

fn space<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: SpaceId,
    purpose: Purpose,
    owner: Option<MemberId>,
) -> Result<Place, ReplicaError> {
    let readers = audience(charter(replica, &branch)?, purpose, owner);
    let readers = readers.map_or(Audience::Everyone, |list| Audience::Members(list.into_iter().collect()));
    let padded = matches!(purpose, Purpose::MailboxCommittee | Purpose::MailboxUpper);
    let space = replica.create_space_with(branch, readers, SpaceOptions { history: true, padded })?;
    let index = replica.create_document_with(space, Writers::All, index::SCHEMA.name)?;
    replica.edit(now, &index, None, |edit| index::create(edit, purpose, owner.as_ref()))?;
    Ok(Place { space, purpose, index, member: owner })
}

/// Creates a document in a space and lists it there. `fill` writes what it begins with.
///
/// # Errors
/// If this device may not; see [`Replica::create_document_with`].
pub fn create<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    place: &Place,
    writers: Writers,
    entry: &Entry<'_>,
    fill: impl FnOnce(&mut Edit<'_>, &mut Me) -> Result<(), EditError>,
) -> Result<DocId, ReplicaError> {
    let doc = replica.create_document_with(place.space, writers, entry.schema)?;
    act(replica, now, &doc, None, fill)?;
    act(replica, now, &place.index, None, |e, me| index::list(e, me, &doc.to_string(), entry))?;
    Ok(doc)
}

/// The space with a purpose: one that is here, or a new one.
fn space_once<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: SpaceId,
    purpose: Purpose,
    owner: Option<MemberId>,
) -> Result<Place, ReplicaError> {
    let found = places(replica, &branch)?.into_iter().find(|p| p.purpose == purpose && p.member == owner);
    found.map_or_else(|| space(replica, now, branch, purpose, owner), Ok)
}

/// The one document of a schema in a space: the one that is listed there, or a new one.
fn create_once<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    place: &Place,
    writers: Writers,
    schema: &'static Schema,
    fill: impl FnOnce(&mut Edit<'_>, &mut Me) -> Result<(), EditError>,
) -> Result<DocId, ReplicaError> {
    if let Some(doc) = listed(replica, place, schema)? {
        return Ok(doc);
    }
    create(replica, now, place, writers, &Entry { schema: schema.name, ..Entry::default() }, fill)
}

/// Makes the spaces and documents of a branch that was just founded. By its secretary. What is there already stays: if it was
/// interrupted, calling it again makes what is missing.
///
/// # Errors
/// [`ReplicaError::NotAuthorised`] unless this device is the secretary's.
pub fn set_up<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: SpaceId,
    name: &str,
) -> Result<Standing, ReplicaError> {
    let members = space_once(replica, now, branch, Purpose::Branch, None)?;
    let committee = space_once(replica, now, branch, Purpose::Committee, None)?;
    let oversight = space_once(replica, now, branch, Purpose::Oversight, None)?;
    let (officers, all) = (Writers::Officers, Writers::All);
    let roster = create_once(replica, now, &members, officers, &roster::SCHEMA, |e, _| roster::create(e))?;
    let feedback = create_once(replica, now, &members, all, &feedback::SCHEMA, |e, _| {
        feedback::create(e, Purpose::Branch.name())
    })?;
    let tasks = create_once(replica, now, &members, all, &task::SCHEMA, |e, _| task::create(e))?;
    let digest = create_once(replica, now, &oversight, Writers::Committee, &digest::SCHEMA, |e, _| {
        digest::create(e, name)
    })?;
    Ok(Standing { members, committee, oversight, roster, feedback, tasks, digest })
}

/// Makes a member's mailbox with the committee, with a document for threads. By an officer, in the act of admitting the
/// member; for everybody, whether it will be used or not. Gives the one that is there already, if there is one.
///
/// # Errors
/// [`ReplicaError::NotAuthorised`] unless this device is an officer's.
pub fn open_mailbox<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: SpaceId,
    member: MemberId,
) -> Result<DocId, ReplicaError> {
    mailbox(replica, now, branch, Purpose::MailboxCommittee, member)
}

/// Makes this device's member's mailbox with the upper body: by the member itself, so that no officer has its keys. To be done when
/// the branch is joined, whether it will be used or not. Gives the one that is there already, if there is one.
///
/// # Errors
/// [`ReplicaError::NotAuthorised`] unless this device is a member's.
pub fn open_own_mailbox<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: SpaceId,
) -> Result<DocId, ReplicaError> {
    let own = own(replica, &branch)?.0;
    mailbox(replica, now, branch, Purpose::MailboxUpper, own)
}

fn own<S: Store>(replica: &Replica<S>, branch: &SpaceId) -> Result<(MemberId, Role), ReplicaError> {
    let unknown = ReplicaError::NotAuthorised(dinh_proto::error::RejectCode::UnknownAuthor);
    let device = charter(replica, branch)?.device(&replica.device()).ok_or(unknown)?;
    Ok((device.member, device.role))
}

fn mailbox<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: SpaceId,
    purpose: Purpose,
    member: MemberId,
) -> Result<DocId, ReplicaError> {
    let place = space_once(replica, now, branch, purpose, Some(member))?;
    create_once(replica, now, &place, Writers::All, &feedback::SCHEMA, |e, _| {
        feedback::create(e, purpose.name())
    })
}

/// The document for threads between a member and whom a mailbox is with, if it is here.
///
/// # Errors
/// [`ReplicaError::UnknownBranch`]; see [`Replica::view`].
pub fn mailbox_of<S: Store>(
    replica: &mut Replica<S>,
    branch: &SpaceId,
    member: &MemberId,
    purpose: Purpose,
) -> Result<Option<DocId>, ReplicaError> {
    let places = places(replica, branch)?;
    match places.iter().find(|p| p.purpose == purpose && p.member == Some(*member)) {
        Some(place) => listed(replica, place, &feedback::SCHEMA),
        None => Ok(None),
    }
}

/// Brings the readers of the spaces that this device answers for in line with the roles that people have now: who joined the
/// committee reads its spaces and the members' mailboxes from now on, who left it does not. To be called when the charter
/// changed. Officers answer for the committee's spaces, each member for its mailbox with the upper body.
///
/// # Errors
/// [`ReplicaError::UnknownBranch`], [`ReplicaError::NoKey`] if a space's key is not here yet: call it again then.
pub fn keep_readers<S: Store>(replica: &mut Replica<S>, branch: &SpaceId) -> Result<Vec<Kept>, ReplicaError> {
    let (own, role) = own(replica, branch)?;
    let mut kept = Vec::new();
    for place in places(replica, branch)? {
        let charter = charter(replica, branch)?;
        let Some(space) = charter.spaces().get(&place.space) else { continue };
        let Some(wanted) = audience(charter, place.purpose, place.member) else { continue };
        let answers = match place.purpose {
            Purpose::MailboxUpper => place.member == Some(own),
            _ => role.is_officer(),
        };
        if !answers || !wanted.contains(&own) {
            continue;
        }
        let reads = space.members.clone();
        for member in &wanted - &reads {
            replica.grant(place.space, member)?;
            kept.push(Kept { space: place.space, member, reads: true });
        }
        for member in &reads - &wanted {
            replica.revoke(place.space, member)?;
            kept.push(Kept { space: place.space, member, reads: false });
        }
    }
    Ok(kept)
}
