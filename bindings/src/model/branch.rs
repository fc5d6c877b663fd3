//! The spaces of a branch and what is in them from the beginning.

use dinh_core::client::ClientStore;
use dinh_core::gate::rights::Schema;
use dinh_core::proto::ids::SpaceId;
use dinh_core::replica::Replica;
use dinh_model::access::read;
use dinh_model::branch::{self, Place};
use dinh_model::index::{Index, Purpose};
use dinh_model::{attendance, digest, feedback, minutes, roster, task, votebox};

use super::{Done, refused};
use crate::client::Client;
use crate::error::Result;
use crate::ids;

/// The standing spaces and documents of a branch, as far as this device's member reads them.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Standing {
    /// The space of all members.
    pub members: String,
    /// What is in it.
    pub members_index: String,
    /// The space of the committee: for its members.
    pub committee: Option<String>,
    /// What is in it.
    pub committee_index: Option<String>,
    /// The space of the committee and the upper body's reviewers: for these.
    pub oversight: Option<String>,
    /// What is in it.
    pub oversight_index: Option<String>,
    /// The roster.
    pub roster: String,
    /// Threads that the whole branch reads.
    pub feedback: String,
    /// Tasks.
    pub tasks: String,
    /// What reviewers see of the branch: for whom the oversight is.
    pub digest: Option<String>,
}

/// A meeting's documents, as a space lists them.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ListedMeeting {
    /// The minutes.
    pub minutes: String,
    /// The roll.
    pub attendance: Option<String>,
    /// Votes on the phones.
    pub votebox: Option<String>,
    /// The month, `YYYY-MM`.
    pub period: Option<String>,
    /// What kind: `regular`, `thematic`, `committee`.
    pub kind: Option<String>,
}

/// For whom a space is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum SpacePurpose {
    /// All members.
    Branch,
    /// The committee.
    Committee,
    /// The committee and the upper body's reviewers.
    Oversight,
    /// A member and the committee.
    MailboxCommittee,
    /// A member and the upper body's reviewers.
    MailboxUpper,
}

impl From<Purpose> for SpacePurpose {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Branch => Self::Branch,
            Purpose::Committee => Self::Committee,
            Purpose::Oversight => Self::Oversight,
            Purpose::MailboxCommittee => Self::MailboxCommittee,
            Purpose::MailboxUpper => Self::MailboxUpper,
        }
    }
}

/// A space of a branch, as its index says.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ListedSpace {
    /// The space.
    pub space: String,
    /// For whom it is.
    pub purpose: SpacePurpose,
    /// What is in it.
    pub index: String,
    /// Whose mailbox it is, if it is one.
    pub member: Option<String>,
}

/// With whom a member's mailbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Mailbox {
    /// The committee.
    Committee,
    /// The reviewers of the upper body.
    Upper,
}

/// A space that its purpose names.
pub(super) fn place(replica: &mut Replica<ClientStore>, branch: &SpaceId, purpose: Purpose) -> Done<Place> {
    let found = branch::places(replica, branch)?.into_iter().find(|place| place.purpose == purpose);
    found.ok_or_else(|| {
        refused("this space is not set up, is not here yet, or is not for this device's member")
    })
}

fn standing(replica: &mut Replica<ClientStore>, branch: &SpaceId) -> Done<Option<Standing>> {
    let places = branch::places(replica, branch)?;
    let place = |purpose| places.iter().find(|place| place.purpose == purpose);
    let Some(members) = place(Purpose::Branch) else { return Ok(None) };
    let (committee, oversight) = (place(Purpose::Committee), place(Purpose::Oversight));
    let mut listed =
        |place: &Place, schema| Done::Ok(branch::listed(replica, place, schema)?.as_ref().map(ids::text));
    let roster = listed(members, &roster::SCHEMA)?;
    let (feedback, tasks) = (listed(members, &feedback::SCHEMA)?, listed(members, &task::SCHEMA)?);
    let digest = oversight.map(|place| listed(place, &digest::SCHEMA)).transpose()?.flatten();
    let (Some(roster), Some(feedback), Some(tasks)) = (roster, feedback, tasks) else { return Ok(None) };
    Ok(Some(Standing {
        members: ids::text(&members.space),
        members_index: ids::text(&members.index),
        committee: committee.map(|place| ids::text(&place.space)),
        committee_index: committee.map(|place| ids::text(&place.index)),
        oversight: oversight.map(|place| ids::text(&place.space)),
        oversight_index: oversight.map(|place| ids::text(&place.index)),
        roster,
        feedback,
        tasks,
        digest,
    }))
}

/// The meetings that a space lists, oldest month first.
fn meetings(replica: &mut Replica<ClientStore>, place: &Place) -> Done<Vec<ListedMeeting>> {
    let index = read(replica, &place.index, Index::read)?;
    let shown = |schema: &Schema| {
        let name = schema.name;
        let all = index.documents.iter();
        all.filter(move |(_, listed)| listed.schema == name && listed.same_as.get().is_none())
    };
    let of = |schema: &Schema, minutes: &str| {
        shown(schema).find(|(_, listed)| listed.of.as_deref() == Some(minutes)).map(|(id, _)| id.clone())
    };
    let mut found: Vec<ListedMeeting> = shown(&minutes::SCHEMA)
        .map(|(id, listed)| ListedMeeting {
            minutes: id.clone(),
            attendance: of(&attendance::SCHEMA, id),
            votebox: of(&votebox::SCHEMA, id),
            period: listed.period.clone(),
            kind: listed.kind.clone(),
        })
        .collect();
    found.sort_by(|a, b| (&a.period, &a.minutes).cmp(&(&b.period, &b.minutes)));
    Ok(found)
}

#[uniffi::export]
impl Client {
    /// Makes the standing spaces and documents of a branch that was founded on this device. If it was interrupted, calling it
    /// again finishes what is missing.
    pub async fn set_up_branch(&self, branch: String, name: String) -> Result<Standing> {
        let branch = ids::space(&branch)?;
        let set_up = move |replica: &mut Replica<ClientStore>, now| {
            branch::set_up(replica, now, branch, &name)?;
            standing(replica, &branch)?.ok_or_else(|| refused("what was set up is not listed"))
        };
        Ok(self.core().run(set_up).await?)
    }

    /// The standing spaces and documents of a branch; none until they are here, and for reviewers, who read the oversight alone:
    /// see `spaces`.
    pub async fn standing(&self, branch: String) -> Result<Option<Standing>> {
        let branch = ids::space(&branch)?;
        Ok(self.core().look(move |replica| standing(replica, &branch)).await?)
    }

    /// The meetings of a branch that this device's member reads, each with its documents: all members', then the committee's.
    pub async fn meetings(&self, branch: String) -> Result<Vec<ListedMeeting>> {
        let branch = ids::space(&branch)?;
        let list = move |replica: &mut Replica<ClientStore>| {
            let places = branch::places(replica, &branch)?;
            let mut found = Vec::new();
            for purpose in [Purpose::Branch, Purpose::Committee] {
                for place in places.iter().filter(|place| place.purpose == purpose) {
                    found.extend(meetings(replica, place)?);
                }
            }
            Ok(found)
        };
        Ok(self.core().look(list).await?)
    }

    /// The spaces of a branch that this device reads and whose index is here. Reviewers, for whom there is no [`Standing`], have
    /// their documents from these.
    pub async fn spaces(&self, branch: String) -> Result<Vec<ListedSpace>> {
        let branch = ids::space(&branch)?;
        let found = self.core().look(move |replica| branch::places(replica, &branch)).await?;
        let of = |place: Place| ListedSpace {
            space: ids::text(&place.space),
            purpose: place.purpose.into(),
            index: ids::text(&place.index),
            member: place.member.as_ref().map(ids::text),
        };
        Ok(found.into_iter().map(of).collect())
    }

    /// Gives a member its mailbox with the committee, when it is admitted: by the officer who admits.
    pub async fn open_mailbox(&self, branch: String, member: String) -> Result<()> {
        let (branch, member) = (ids::space(&branch)?, ids::member(&member)?);
        self.core().run(move |replica, now| branch::open_mailbox(replica, now, branch, member)).await?;
        Ok(())
    }

    /// The same by the new member's own device, for the mailbox with the upper body.
    pub async fn open_own_mailbox(&self, branch: String) -> Result<()> {
        let branch = ids::space(&branch)?;
        self.core().run(move |replica, now| branch::open_own_mailbox(replica, now, branch)).await?;
        Ok(())
    }

    /// The document of a member's mailbox, where its confidential threads are; none until it is here.
    pub async fn mailbox(&self, branch: String, member: String, with: Mailbox) -> Result<Option<String>> {
        let (branch, member) = (ids::space(&branch)?, ids::member(&member)?);
        let purpose = match with {
            Mailbox::Committee => Purpose::MailboxCommittee,
            Mailbox::Upper => Purpose::MailboxUpper,
        };
        let find =
            move |replica: &mut Replica<ClientStore>| branch::mailbox_of(replica, &branch, &member, purpose);
        Ok(self.core().look(find).await?.as_ref().map(ids::text))
    }

    /// Lets read who should by its role, and takes off who should not: to be called when the charter changed, on every device.
    pub async fn keep_readers(&self, branch: String) -> Result<()> {
        let branch = ids::space(&branch)?;
        self.core().run(move |replica, _| branch::keep_readers(replica, &branch)).await?;
        Ok(())
    }

    /// Brings the digest of a branch up to date: to be called on devices of the committee after documents changed. `today` is
    /// `YYYY-MM-DD`. Gives whether anything was written.
    pub async fn keep_digest(&self, branch: String, today: String) -> Result<bool> {
        let branch = ids::space(&branch)?;
        Ok(self.core().run(move |replica, now| digest::keep::keep(replica, now, &branch, &today)).await?)
    }

    /// The digests of all branches that this device reads, as JSON: pairs of branch and digest.
    pub async fn digests(&self) -> Result<String> {
        let list = self.core().look(digest::keep::list).await?;
        let list: Vec<_> = list.iter().map(|(branch, digest)| (ids::text(branch), digest)).collect();
        super::snapshot::text(&list)
    }
}
