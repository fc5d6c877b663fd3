//! What a set of records adds up to, and the questions that it answers.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{Frontier, Reason, Role, Writers};
use crate::crypto::{SealedKey, Wrap};
use crate::error::RejectCode;
use crate::ids::{Author, DeviceId, DocId, EpochId, ItemId, MemberId, SpaceId};
use crate::item::{Header, Kind};
use crate::keys::{DevicePublic, SignPublic};

/// A certified device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its keys.
    pub public: DevicePublic,
    /// Whose it is.
    pub member: MemberId,
    /// What it may do now.
    pub role: Role,
    /// What people call it, encrypted.
    pub name: Vec<u8>,
}

/// A device that was certified and is not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedDevice {
    /// As it was.
    pub device: Device,
    /// Why.
    pub reason: Reason,
    /// The record that removed it.
    pub by: ItemId,
}

/// A space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// Who created it.
    pub creator: MemberId,
    /// Whether newcomers get older keys.
    pub history: bool,
    /// Whether payloads are padded.
    pub padded: bool,
    /// Whether every device of the branch but reviewers' reads it.
    pub everyone: bool,
    /// Who reads it if not everyone.
    pub members: BTreeSet<MemberId>,
}

/// A document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentEntry {
    /// Where it lives.
    pub space: SpaceId,
    /// Who writes it.
    pub writers: Writers,
}

/// A key epoch of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// The highest is the current one.
    pub generation: u32,
    /// Who drew it.
    pub issuer: DeviceId,
    /// When, seconds since 1970 by the issuer's clock.
    pub issued: u64,
    /// Older keys under this one.
    pub prev: Vec<SealedKey>,
    /// The key for devices, by the first bytes of their ids.
    pub wraps: BTreeMap<[u8; 8], Vec<Wrap>>,
}

/// Whether an item counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// By its author's right.
    Accepted,
    /// Its author had lost the right, which it may not have known: it counts if an accepted change builds on it.
    IfBuiltOn,
}

/// Where an item stands in its author's chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) space: SpaceId,
    pub(super) author: Author,
    pub(super) n: u32,
    pub(super) link: [u8; 16],
}

/// How a position lies to a frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Within,
    Beyond,
    /// Another item than the one that the frontier's issuer had under this counter.
    Other,
}

/// A frontier, to look up in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Marks(BTreeMap<(SpaceId, Author), (u32, [u8; 16])>);

impl Marks {
    pub(super) fn of(frontier: &Frontier) -> Self {
        Self(frontier.0.iter().map(|m| ((m.space, m.author), (m.n, m.link))).collect())
    }

    pub(super) fn side(&self, at: &Position) -> Side {
        match self.0.get(&(at.space, at.author)) {
            Some((n, _)) if at.n < *n => Side::Within,
            Some((n, link)) if at.n == *n => {
                if *link == at.link {
                    Side::Within
                } else {
                    Side::Other
                }
            }
            _ => Side::Beyond,
        }
    }

    pub(super) fn names(&self, space: &SpaceId) -> bool {
        self.0.keys().any(|(s, _)| s == space)
    }

    pub(super) fn extend(&mut self, space: &SpaceId, author: &Author, n: u32, link: [u8; 16]) {
        let mark = self.0.entry((*space, *author)).or_insert((n, link));
        if n > mark.0 {
            *mark = (n, link);
        }
    }
}

/// A removal that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemovalEffect {
    pub(super) by: ItemId,
    pub(super) issuer: DeviceId,
    pub(super) rank: u8,
    pub(super) reason: Reason,
    pub(super) marks: Marks,
}

/// A role change that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoleEffect {
    pub(super) by: ItemId,
    pub(super) rank: u8,
    pub(super) generation: u32,
    pub(super) role: Role,
    pub(super) marks: Marks,
}

/// A grant or revoke that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReaderEffect {
    pub(super) by: ItemId,
    pub(super) generation: u32,
    /// `None` grants.
    pub(super) revoked: Option<Marks>,
}

/// A certificate that counts, whatever became of its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certified {
    pub(super) by: ItemId,
    pub(super) public: DevicePublic,
    pub(super) member: MemberId,
    pub(super) role: Role,
    pub(super) name: Vec<u8>,
    pub(super) seen: Vec<(Author, u32)>,
    pub(super) removals: Vec<RemovalEffect>,
    pub(super) roles: Vec<RoleEffect>,
}

impl Certified {
    pub(super) fn is_cut(&self, at: &Position) -> bool {
        self.removals.iter().any(|r| r.marks.side(at) != Side::Within)
    }

    pub(super) fn role_at(&self, at: &Position) -> Role {
        self.best_role(|e| e.marks.side(at) != Side::Within)
    }

    pub(super) fn role_now(&self) -> Role {
        self.best_role(|_| true)
    }

    fn best_role(&self, applies: impl Fn(&RoleEffect) -> bool) -> Role {
        let candidates = self.roles.iter().filter(|e| applies(e));
        let best =
            candidates.max_by_key(|e| (e.generation, std::cmp::Reverse(e.rank), std::cmp::Reverse(e.by)));
        best.map_or(self.role, |e| e.role)
    }

    fn every_role(&self) -> impl Iterator<Item = Role> {
        std::iter::once(self.role).chain(self.roles.iter().map(|e| e.role))
    }

    pub(super) fn ever(&self, f: impl Fn(Role) -> bool) -> bool {
        self.every_role().any(f)
    }
}

/// The answer of one evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct View {
    pub(super) root: Option<SignPublic>,
    pub(super) certified: BTreeMap<DeviceId, Certified>,
    pub(super) devices: BTreeMap<DeviceId, Device>,
    pub(super) removed: BTreeMap<DeviceId, RemovedDevice>,
    pub(super) spaces: BTreeMap<SpaceId, Space>,
    pub(super) readers: BTreeMap<(SpaceId, MemberId), Vec<ReaderEffect>>,
    pub(super) documents: BTreeMap<DocId, DocumentEntry>,
    pub(super) recorders: BTreeSet<(DocId, MemberId)>,
    pub(super) cuts: BTreeMap<(SpaceId, Author), u32>,
    pub(super) epochs: BTreeMap<SpaceId, BTreeMap<EpochId, Epoch>>,
    /// By generation; of two, the first by item id.
    pub(super) upper: Option<(u32, std::cmp::Reverse<ItemId>, Option<SpaceId>)>,
    pub(super) attested: BTreeSet<(ItemId, DeviceId, SpaceId)>,
}

impl View {
    /// Whether a member reads a space with this role, as it is now.
    pub(super) fn reads(&self, member: &MemberId, role: Role, space: &SpaceId, branch: &SpaceId) -> bool {
        if space == branch {
            return true;
        }
        self.spaces.get(space).is_some_and(|s| match s.everyone {
            true => role.reads_what_is_for_everyone(),
            false => s.members.contains(member),
        })
    }

    /// Whether a member was ever among the readers of a space.
    pub(super) fn ever_reads(&self, device: &Certified, space: &SpaceId, branch: &SpaceId) -> bool {
        if space == branch {
            return true;
        }
        self.spaces.get(space).is_some_and(|s| match s.everyone {
            true => device.ever(Role::reads_what_is_for_everyone),
            false => {
                s.members.contains(&device.member) || self.readers.contains_key(&(*space, device.member))
            }
        })
    }

    fn may_write(&self, doc: &DocId, entry: &DocumentEntry, member: MemberId, role: Role) -> bool {
        entry.writers.include(role) || (role.writes() && self.recorders.contains(&(*doc, member)))
    }

    pub(super) fn authorise_now(
        &self,
        device: &DeviceId,
        space: &SpaceId,
        doc: &DocId,
        branch: &SpaceId,
    ) -> Result<(), RejectCode> {
        let Some(found) = self.devices.get(device) else {
            let known = self.certified.contains_key(device);
            return Err(if known { RejectCode::NotAuthorised } else { RejectCode::UnknownAuthor });
        };
        let entry = self.documents.get(doc).ok_or(RejectCode::UnknownTarget)?;
        let may = entry.space == *space
            && self.reads(&found.member, found.role, space, branch)
            && self.may_write(doc, entry, found.member, found.role);
        if may { Ok(()) } else { Err(RejectCode::NotAuthorised) }
    }

    pub(super) fn standing(
        &self,
        header: &Header,
        link: [u8; 16],
        branch: &SpaceId,
    ) -> Result<Standing, RejectCode> {
        let (space, doc) = (&header.space, &header.doc);
        let Some(n) = header.n().filter(|_| header.kind == Kind::Run) else {
            return self
                .authorise_now(&header.author.device, space, doc, branch)
                .map(|()| Standing::Accepted);
        };
        let device = self.certified.get(&header.author.device).ok_or(RejectCode::UnknownAuthor)?;
        let entry = self.documents.get(doc).ok_or(RejectCode::UnknownTarget)?;
        let at = Position { space: *space, author: header.author, n, link };
        if entry.space != *space || self.cuts.get(&(*space, header.author)).is_some_and(|keep| n > *keep) {
            return Err(RejectCode::NotAuthorised);
        }
        let mut removed = false;
        for removal in &device.removals {
            match removal.marks.side(&at) {
                Side::Within => {}
                Side::Beyond => removed = true,
                Side::Other => return Err(RejectCode::NotAuthorised),
            }
        }
        let role = device.role_at(&at);
        let now = !removed
            && self.read_at(device, role, &at, branch)
            && self.may_write(doc, entry, device.member, role);
        if now {
            return Ok(Standing::Accepted);
        }
        let once = self.ever_reads(device, space, branch)
            && device.ever(|role| self.may_write(doc, entry, device.member, role));
        if once { Ok(Standing::IfBuiltOn) } else { Err(RejectCode::NotAuthorised) }
    }

    /// Whether a device with this role read the space of an item when it wrote it: now, or within the frontier of what
    /// took it off.
    fn read_at(&self, device: &Certified, role: Role, at: &Position, branch: &SpaceId) -> bool {
        if self.reads(&device.member, role, &at.space, branch) {
            return true;
        }
        let effects = self.readers.get(&(at.space, device.member)).into_iter().flatten();
        effects.filter_map(|e| e.revoked.as_ref()).any(|marks| marks.side(at) == Side::Within)
    }
}
