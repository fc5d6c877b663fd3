//! What a set of records adds up to, and the questions that it answers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::marks::{AnyOf, Effects, Marks, Position, Side};
use super::record::{Reason, Role, Writers};
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
    /// Whether its record counts. If not, it is there for what others wrote in it: list it if there is something.
    pub counts: bool,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentEntry {
    /// Where it lives.
    pub space: SpaceId,
    /// Who writes it.
    pub writers: Writers,
    /// The sealed name of its schema, if it has one.
    pub schema: Vec<u8>,
    /// Whose device created it.
    pub creator: MemberId,
    /// Whether its record counts. If not, it is there for what others wrote in it: list it if there is something.
    pub counts: bool,
}

/// Who an item's author was, at the item's place in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthorAt {
    /// The member.
    pub member: MemberId,
    /// The role.
    pub role: Role,
    /// Whether the member may write the document as one who keeps its record.
    pub is_recorder: bool,
    /// Whether it created the document.
    pub is_creator: bool,
    /// Whether the device's role was ever another one: what it wrote earlier may be judged by that.
    pub role_changed: bool,
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
    /// Of the records with this id the one that says the rest: who stands highest, then the smallest id.
    pub(super) first: (Standpoint, ItemId),
    /// To whom it was handed by one whose word is taken for it: an officer, the space's creator, the member itself.
    pub(super) handed: BTreeSet<[u8; 8]>,
}

/// How far the issuer's word goes in a space, the furthest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standpoint {
    Creator,
    Secretary,
    Deputy,
    Reader,
    /// Who read there once and did not when it issued the record.
    Former,
}

/// Whether an item counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// By its author's right.
    Accepted,
    /// Its author had lost the right, which it may not have known: it counts if an accepted change builds on it.
    IfBuiltOn,
}

/// A grant or revoke that counts, or a name in the list that a space began with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReaderEffect {
    pub(super) generation: u32,
    /// `None` grants.
    pub(super) revoked: Option<Marks>,
}

/// How many levels there are of those who say who reads a space: its creator, secretaries, deputies.
pub(super) const LEVELS: usize = 3;

/// What was said about one member as a reader of one space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reader {
    effects: BTreeMap<ItemId, ReaderEffect>,
    /// The deciding one: generation, whether it revokes, id.
    last: Option<(u32, bool, Reverse<ItemId>)>,
    /// By the level of who said so: the highest generation of a grant, the last revoke.
    granted: [u32; LEVELS],
    listed: bool,
    revoked: [Option<(u32, Reverse<ItemId>)>; LEVELS],
    /// What revokes leave.
    kept: AnyOf,
}

impl Reader {
    pub(super) fn list(&mut self, by: ItemId) {
        self.listed = true;
        self.last = self.last.max(Some((0, false, Reverse(by))));
    }

    pub(super) fn add(&mut self, level: usize, by: ItemId, effect: ReaderEffect) {
        let generation = effect.generation;
        if let Some(marks) = &effect.revoked {
            self.revoked[level] = self.revoked[level].max(Some((generation, Reverse(by))));
            self.kept.add(marks);
        } else {
            self.granted[level] = self.granted[level].max(generation);
        }
        // Of equals a revoke wins.
        self.last = self.last.max(Some((generation, effect.revoked.is_some(), Reverse(by))));
        self.effects.insert(by, effect);
    }

    /// Whether it reads now.
    pub(super) fn reads(&self) -> bool {
        self.last.is_some_and(|(_, revoked, _)| !revoked)
    }

    /// Whether it ever did.
    pub(super) fn read_once(&self) -> bool {
        self.listed || self.granted.iter().any(|generation| *generation > 0)
    }

    /// Whether it read when it wrote this: now, or within the frontier of what took it off.
    pub(super) fn read_at(&self, at: &Position) -> bool {
        self.reads() || self.kept.holds(at)
    }

    /// Whether a member whose devices speak at this level may say who reads, at this place in its chain: it was let in, and
    /// nobody of a higher level has taken it off since.
    pub(super) fn speaks(&self, level: usize, at: &Position) -> bool {
        let granted = self.granted[..=level].iter().copied().max().unwrap_or(0);
        if granted == 0 && !self.listed {
            return false;
        }
        let Some((generation, Reverse(id))) = self.revoked[..level].iter().copied().max().flatten() else {
            return true;
        };
        let kept = || {
            self.effects.get(&id).and_then(|e| e.revoked.as_ref()).is_some_and(|m| m.side(at) == Side::Within)
        };
        granted > generation || kept()
    }
}

/// A certificate that counts, whatever became of its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certified {
    pub(super) by: ItemId,
    pub(super) public: DevicePublic,
    pub(super) member: MemberId,
    /// The certificate's; what it is at a place in a chain, the effects say.
    pub(super) role: Role,
    /// What other certificates say that would count if this one were not.
    pub(super) also: BTreeSet<(MemberId, Role)>,
    pub(super) effects: Effects,
}

impl Certified {
    pub(super) fn is_cut(&self, at: &Position) -> bool {
        self.effects.is_cut(at)
    }

    pub(super) fn role_at(&self, at: &Position) -> Role {
        self.effects.roles.at(at).unwrap_or(self.role)
    }

    pub(super) fn role_now(&self) -> Role {
        self.effects.roles.now().unwrap_or(self.role)
    }

    pub(super) fn ever(&self, f: impl Fn(Role) -> bool) -> bool {
        std::iter::once(self.role).chain(self.effects.roles.every()).any(f)
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
    pub(super) readers: BTreeMap<(SpaceId, MemberId), Reader>,
    /// Whom grants let in that do not count any more, because their issuers lost the right by one who had not seen them.
    pub(super) let_in: BTreeSet<(SpaceId, MemberId)>,
    pub(super) documents: BTreeMap<DocId, DocumentEntry>,
    pub(super) recorders: BTreeSet<(DocId, MemberId)>,
    pub(super) cuts: BTreeMap<(SpaceId, Author), u32>,
    pub(super) epochs: BTreeMap<SpaceId, BTreeMap<EpochId, Epoch>>,
    /// By generation; of two, the first by item id.
    pub(super) upper: Option<(u32, Reverse<ItemId>, Option<SpaceId>)>,
    /// Who said what was received, by removal, device and space.
    pub(super) attested: BTreeMap<(ItemId, DeviceId, SpaceId), BTreeSet<MemberId>>,
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

    /// Whether a device ever read a space.
    pub(super) fn ever_reads(&self, device: &Certified, space: &SpaceId, branch: &SpaceId) -> bool {
        if space == branch {
            return true;
        }
        let listed = |member| self.readers.get(&(*space, member)).is_some_and(Reader::read_once);
        self.spaces.get(space).is_some_and(|s| match s.everyone {
            true => {
                device.ever(Role::reads_what_is_for_everyone)
                    || device.also.iter().any(|(_, role)| role.reads_what_is_for_everyone())
            }
            false => listed(device.member) || device.also.iter().any(|(member, _)| listed(*member)),
        })
    }

    /// The same, or it may have thought so.
    pub(super) fn might_have_read(&self, device: &Certified, space: &SpaceId, branch: &SpaceId) -> bool {
        let let_in = |member| self.let_in.contains(&(*space, member));
        self.ever_reads(device, space, branch)
            || let_in(device.member)
            || device.also.iter().any(|(member, _)| let_in(*member))
    }

    /// Whether a device with this role read a space when it wrote what stands `at` a place, there or in the charter space.
    pub(super) fn read_at(
        &self,
        device: &Certified,
        role: Role,
        space: &SpaceId,
        at: &Position,
        branch: &SpaceId,
    ) -> bool {
        if space == branch {
            return true;
        }
        self.spaces.get(space).is_some_and(|s| match s.everyone {
            true => role.reads_what_is_for_everyone(),
            false => self.readers.get(&(*space, device.member)).is_some_and(|r| r.read_at(at)),
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

    /// Who the author of an item about a document was when it made it.
    pub(super) fn author_at(&self, header: &Header, link: [u8; 16]) -> Option<AuthorAt> {
        let device = self.certified.get(&header.author.device)?;
        let n = header.n()?;
        let at = Position { space: header.space, author: header.author, n, link };
        let role = device.role_at(&at);
        Some(AuthorAt {
            member: device.member,
            role,
            is_recorder: self.recorders.contains(&(header.doc, device.member)),
            is_creator: self.documents.get(&header.doc).is_some_and(|d| d.creator == device.member),
            role_changed: device.ever(|other| other != role),
        })
    }

    /// The devices of which something may count in one and not in the other, apart from what is new in one.
    pub(super) fn changed_authors(old: &Self, new: &Self) -> BTreeSet<DeviceId> {
        // A document or a space that changed or is gone: everybody may have written there.
        let documents = old.documents.iter().all(|(id, doc)| new.documents.get(id) == Some(doc));
        let everyone =
            |view: &Self| view.spaces.iter().map(|(id, s)| (*id, s.everyone)).collect::<BTreeMap<_, _>>();
        let (spaces, now) = (everyone(old), everyone(new));
        if !documents || !spaces.iter().all(|(id, everyone)| now.get(id) == Some(everyone)) {
            return old.certified.keys().chain(new.certified.keys()).copied().collect();
        }
        let same = |device: &DeviceId| match (old.certified.get(device), new.certified.get(device)) {
            (Some(a), Some(b)) => {
                (a.member, a.role, &a.also, &a.effects) == (b.member, b.role, &b.also, &b.effects)
            }
            (a, b) => a.is_none() && b.is_none(),
        };
        let known = old.certified.keys().chain(new.certified.keys());
        let mut changed: BTreeSet<DeviceId> = known.filter(|d| !same(d)).copied().collect();
        let readers = old.readers.keys().chain(new.readers.keys());
        let readers =
            readers.filter(|k| old.readers.get(*k) != new.readers.get(*k)).map(|(_, member)| *member);
        let recorders = old.recorders.symmetric_difference(&new.recorders).map(|(_, member)| *member);
        let let_in = old.let_in.symmetric_difference(&new.let_in).map(|(_, member)| *member);
        let members: BTreeSet<MemberId> = readers.chain(recorders).chain(let_in).collect();
        let of_members = new.certified.iter().filter(|(_, c)| members.contains(&c.member));
        changed.extend(of_members.map(|(device, _)| *device));
        let cuts = old.cuts.keys().chain(new.cuts.keys());
        changed
            .extend(cuts.filter(|k| old.cuts.get(*k) != new.cuts.get(*k)).map(|(_, author)| author.device));
        changed
    }

    pub(super) fn last_seen(&self, chain: &(SpaceId, Author)) -> Vec<Vec<(u32, [u8; 16])>> {
        let Some(device) = self.certified.get(&chain.1.device) else { return Vec::new() };
        let end = self.cuts.get(chain).copied().unwrap_or(u32::MAX);
        let of_each = device.effects.removals.values().map(|removal| {
            let named = removal.marks.named(chain).into_iter().chain(removal.attested.named(chain));
            named.filter(|(n, _)| *n <= end).collect::<Vec<_>>()
        });
        of_each.filter(|named| !named.is_empty()).collect()
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
        for removal in device.effects.removals.values() {
            match removal.side(&at) {
                Side::Within => {}
                Side::Beyond => removed = true,
                Side::Other => return Err(RejectCode::NotAuthorised),
            }
        }
        // Bug: what a device wrote counts, also if it was removed before. The relay has the same bug, or nobody would get it.
        #[cfg(feature = "canary")]
        let removed = removed && !crate::canary::is_planted("revoked-author-accepted");
        let role = device.role_at(&at);
        let now = !removed
            && self.read_at(device, role, space, &at, branch)
            && self.may_write(doc, entry, device.member, role);
        if now {
            return Ok(Standing::Accepted);
        }
        let may = |role, member| self.may_write(doc, entry, member, role);
        let once = self.might_have_read(device, space, branch)
            && (device.ever(|role| may(role, device.member))
                || device.also.iter().any(|(member, role)| may(*role, *member)));
        if once { Ok(Standing::IfBuiltOn) } else { Err(RejectCode::NotAuthorised) }
    }
}
