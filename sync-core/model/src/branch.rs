//! A branch with the spaces that its documents need, and a mailbox for each member.
//!
//! A branch's charter is read by all of its devices: a space that was made for one thread would show everybody that there is one.
//! So everybody gets a mailbox with the committee and one with the upper body when admitted, used or not; threads are inside.

use dinh_core::replica::{Now, Replica, ReplicaError, SpaceOptions};
use dinh_core::store::Store;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};

use crate::index::{self, Purpose};
use crate::{digest, feedback, roster};

/// The standing spaces and documents of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// For all members.
    pub members: SpaceId,
    /// For the committee.
    pub committee: SpaceId,
    /// For the committee and the upper body's reviewers.
    pub oversight: SpaceId,
    /// The roster, for all members.
    pub roster: DocId,
    /// What reviewers see of the branch.
    pub digest: DocId,
}

/// Members of a branch with one of these roles.
fn with_role<S: Store>(
    replica: &Replica<S>,
    branch: &SpaceId,
    of: impl Fn(Role) -> bool,
) -> Result<Vec<MemberId>, ReplicaError> {
    let charter = replica.charters().get(branch).ok_or(ReplicaError::UnknownBranch(*branch))?;
    let mut found: Vec<MemberId> =
        charter.devices().values().filter(|d| of(d.role)).map(|d| d.member).collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// The committee, officers among it.
pub fn committee<S: Store>(replica: &Replica<S>, branch: &SpaceId) -> Result<Vec<MemberId>, ReplicaError> {
    with_role(replica, branch, |role| role.is_officer() || role == Role::Committee)
}

/// The reviewers of the upper body.
pub fn reviewers<S: Store>(replica: &Replica<S>, branch: &SpaceId) -> Result<Vec<MemberId>, ReplicaError> {
    with_role(replica, branch, |role| role == Role::Reviewer)
}

fn space<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: SpaceId,
    audience: Audience,
    purpose: Purpose,
) -> Result<SpaceId, ReplicaError> {
    let padded = matches!(purpose, Purpose::MailboxCommittee | Purpose::MailboxUpper);
    let options = SpaceOptions { history: true, padded };
    let space = replica.create_space_with(branch, audience, options)?;
    let doc = replica.create_document_with(space, Writers::All, index::SCHEMA.name)?;
    replica.edit(now, &doc, None, |edit| index::create(edit, purpose))?;
    Ok(space)
}

/// Makes the spaces and documents of a branch that was just founded. By its secretary.
///
/// # Errors
/// [`ReplicaError::NotAuthorised`] unless this device is an officer's.
pub fn set_up<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: SpaceId,
    name: &str,
) -> Result<Standing, ReplicaError> {
    let committee = committee(replica, &branch)?;
    let mut overseers = reviewers(replica, &branch)?;
    overseers.extend(&committee);
    overseers.sort();
    let members = space(replica, now, branch, Audience::Everyone, Purpose::Branch)?;
    let for_committee = Audience::Members(committee);
    let committee = space(replica, now, branch, for_committee, Purpose::Committee)?;
    let oversight = space(replica, now, branch, Audience::Members(overseers), Purpose::Oversight)?;
    let list = replica.create_document_with(members, Writers::Officers, roster::SCHEMA.name)?;
    replica.edit(now, &list, None, roster::create)?;
    let summary = replica.create_document_with(oversight, Writers::Committee, digest::SCHEMA.name)?;
    replica.edit(now, &summary, None, |edit| digest::create(edit, name))?;
    Ok(Standing { members, committee, oversight, roster: list, digest: summary })
}

/// Makes a member's mailbox with the committee. By an officer, in the act of admitting the member; for everybody, whether it
/// will be used or not.
///
/// # Errors
/// [`ReplicaError::NotAuthorised`] unless this device is an officer's.
pub fn open_mailbox<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: SpaceId,
    member: MemberId,
) -> Result<DocId, ReplicaError> {
    let mut audience = committee(replica, &branch)?;
    audience.push(member);
    mailbox(replica, now, branch, audience, Purpose::MailboxCommittee)
}

/// Makes this device's member's mailbox with the upper body: by the member itself, so that no officer has its keys. To be done when
/// the branch is joined, whether it will be used or not.
///
/// # Errors
/// [`ReplicaError::NotAuthorised`] unless this device is a member's.
pub fn open_own_mailbox<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: SpaceId,
) -> Result<DocId, ReplicaError> {
    let charter = replica.charters().get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
    let own = charter.devices().get(&replica.device()).map(|d| d.member);
    let mut audience = reviewers(replica, &branch)?;
    audience.extend(own);
    mailbox(replica, now, branch, audience, Purpose::MailboxUpper)
}

fn mailbox<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: SpaceId,
    mut audience: Vec<MemberId>,
    purpose: Purpose,
) -> Result<DocId, ReplicaError> {
    audience.sort();
    audience.dedup();
    let space = space(replica, now, branch, Audience::Members(audience), purpose)?;
    let doc = replica.create_document_with(space, Writers::All, feedback::SCHEMA.name)?;
    replica.edit(now, &doc, None, |edit| feedback::create(edit, purpose.name()))?;
    Ok(doc)
}
