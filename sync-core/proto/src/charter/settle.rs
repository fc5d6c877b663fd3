//! Spaces, readers, documents, keys: the records that decide about nobody's place, once everybody's place is known.
//!
//! They are taken kind by kind, so that each finds what it may build on; within a kind by item id. Who says who reads a
//! space is heard level by level: its creator, then secretaries, then deputies; nobody of a lower level lets back in whom a
//! higher one took off.
//!
//! What somebody made for others outlives the right to make it. A space, document or key whose issuer had the right once, and
//! lost it by one who had not seen the record, does not count, but is *there*: others may have written in it, and what they
//! wrote counts by their own right. What the issuer wrote there is judged as everywhere, and nobody's word is taken for a key
//! that is only there. A grant that is only there lets nobody read; but what its member made and wrote meanwhile is kept, as
//! that of one who was taken off.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::marks::{Marks, Position, RemovalEffect};
use super::record::{Audience, Frontier, Record, Role};
use super::view::{Certified, DocumentEntry, Epoch, LEVELS, ReaderEffect, Space, Standpoint, View};
use super::{Entry, Set};
use crate::crypto::Wrap;
use crate::error::RejectCode;
use crate::ids::{DeviceId, DocId, ItemId, MemberId, SpaceId};

/// Applies all of them that count.
pub(super) fn settle(view: &mut View, set: &Set, counts: &mut BTreeSet<ItemId>) {
    let mut apply_all = |view: &mut View, kinds: &[u8]| {
        let mut rest = Vec::new();
        for (id, entry) in set.of_kind(kinds) {
            if judge(view, set, &id, entry).is_ok() {
                apply(view, set, id, entry);
                counts.insert(id);
            } else {
                rest.push((id, entry));
            }
        }
        for (id, entry) in rest {
            if is_there(view, set, entry) {
                add(view, set, id, entry, false);
            }
        }
    };
    apply_all(view, &[3]);
    let readers = settle_readers(view, set);
    for (id, entry) in set.of_kind(&[4]) {
        if !readers.contains(&id) && is_there(view, set, entry) {
            add(view, set, id, entry, false);
        }
    }
    for kinds in [&[5][..], &[9], &[10], &[11, 12, 13], &[15]] {
        apply_all(view, kinds);
    }
    counts.extend(readers);
}

/// Grants and revokes. Within a level each that lets a member in may give its devices a say; nothing takes one away.
fn settle_readers(view: &mut View, set: &Set) -> BTreeSet<ItemId> {
    let mut by_level: [Vec<ItemId>; LEVELS] = Default::default();
    for (id, entry) in set.of_kind(&[4, 8]) {
        if let Some(level) =
            issuer(view, set, &id, entry).ok().and_then(|i| level_of(view, &i, space_of(entry)?))
        {
            by_level[level].push(id);
        }
    }
    let mut counted = BTreeSet::new();
    for due in by_level {
        let mut waiting: BTreeMap<(SpaceId, MemberId), Vec<ItemId>> = BTreeMap::new();
        let mut due: BTreeSet<ItemId> = due.into_iter().collect();
        while let Some(id) = due.pop_first() {
            let Some(entry) = set.get(&id) else { continue };
            if judge(view, set, &id, entry).is_ok() {
                apply(view, set, id, entry);
                counted.insert(id);
                if let Record::Grant { space, member, .. } = &entry.record {
                    due.extend(waiting.remove(&(*space, *member)).unwrap_or_default());
                }
            } else if let (Some(space), Some(by)) =
                (space_of(entry), view.certified.get(&entry.author.device))
            {
                waiting.entry((space, by.member)).or_default().push(id);
            }
        }
    }
    counted
}

fn space_of(entry: &Entry) -> Option<SpaceId> {
    match &entry.record {
        Record::Grant { space, .. } | Record::Revoke { space, .. } => Some(*space),
        _ => None,
    }
}

/// Who issued a record, as what, and where.
struct Issuer<'a> {
    device: &'a Certified,
    role: Role,
    at: Position,
}

fn issuer<'a>(view: &'a View, set: &Set, id: &ItemId, entry: &Entry) -> Result<Issuer<'a>, RejectCode> {
    super::count_step();
    let device = view.certified.get(&entry.author.device).ok_or(RejectCode::UnknownAuthor)?;
    let at = set.at(id, entry);
    let role = device.role_at(&at);
    if !role.writes() || device.is_cut(&at) {
        return Err(RejectCode::NotAuthorised);
    }
    Ok(Issuer { device, role, at })
}

/// Whether what a record made that does not count is there all the same: its issuer might once have made it.
pub(super) fn is_there(view: &View, set: &Set, entry: &Entry) -> bool {
    super::count_step();
    let Some(device) = view.certified.get(&entry.author.device) else { return false };
    let among = |members: &[MemberId]| {
        members.contains(&device.member) || device.also.iter().any(|(member, _)| members.contains(member))
    };
    let was = |f: &dyn Fn(Role) -> bool| device.ever(f) || device.also.iter().any(|(_, role)| f(*role));
    let read_once = |space: &SpaceId| view.might_have_read(device, space, &set.branch);
    if set.is_ahead(&entry.record) || !was(&Role::writes) {
        return false;
    }
    match &entry.record {
        Record::Space { nonce, audience, .. } => {
            let among = matches!(audience, Audience::Members(members) if among(members));
            !view.spaces.contains_key(&SpaceId::derive(&entry.author.device, nonce))
                && (among || was(&|role| role == Role::Secretary))
        }
        Record::Grant { space, .. } => view.spaces.get(space).is_some_and(|found| {
            let says = |role| matches!(role, Role::Secretary | Role::Deputy);
            !found.everyone && (among(&[found.creator]) || was(&says))
        }),
        Record::Document { nonce, space, .. } => {
            *space != set.branch
                && read_once(space)
                && !view.documents.contains_key(&DocId::derive(&entry.author.device, nonce))
        }
        Record::Epoch(epoch) => read_once(&epoch.space),
        Record::Wraps { space, epoch, .. } => {
            view.epochs.get(space).is_some_and(|epochs| epochs.contains_key(epoch)) && read_once(space)
        }
        _ => false,
    }
}

/// At which level an issuer may say who reads a space, if it may.
fn level_of(view: &View, issuer: &Issuer<'_>, space: SpaceId) -> Option<usize> {
    let found = view.spaces.get(&space)?;
    match issuer.role {
        _ if found.creator == issuer.device.member => Some(0),
        Role::Secretary => Some(1),
        Role::Deputy => Some(2),
        _ => None,
    }
}

fn standpoint(view: &View, issuer: &Issuer<'_>, space: &SpaceId, branch: &SpaceId) -> Standpoint {
    let Issuer { device, role, at } = issuer;
    if !view.read_at(device, *role, space, at, branch) {
        Standpoint::Former
    } else if view.spaces.get(space).is_some_and(|s| s.creator == device.member) {
        Standpoint::Creator
    } else {
        match role {
            Role::Secretary => Standpoint::Secretary,
            Role::Deputy => Standpoint::Deputy,
            _ => Standpoint::Reader,
        }
    }
}

/// Whether a record counts, in a view in which everything that it may build on is settled.
pub(super) fn judge(view: &View, set: &Set, id: &ItemId, entry: &Entry) -> Result<(), RejectCode> {
    let issuer = issuer(view, set, id, entry)?;
    let branch = &set.branch;
    let only = |may: bool| if may { Ok(()) } else { Err(RejectCode::NotAuthorised) };
    let known = |space: &SpaceId| {
        if space == branch || view.spaces.contains_key(space) {
            Ok(())
        } else {
            Err(RejectCode::UnknownTarget)
        }
    };
    let read_once = |space: &SpaceId| only(view.ever_reads(issuer.device, space, branch));
    if set.is_ahead(&entry.record) {
        // What would give it its place may come.
        return Err(RejectCode::UnknownTarget);
    }
    match &entry.record {
        Record::Genesis(_)
        | Record::Device { .. }
        | Record::Removal { .. }
        | Record::Role { .. }
        | Record::Root(_)
        | Record::Accept { .. } => Err(RejectCode::NotAuthorised),
        Record::Space { nonce, audience, .. } => {
            let among =
                matches!(audience, Audience::Members(members) if members.contains(&issuer.device.member));
            let new = !view.spaces.contains_key(&SpaceId::derive(&entry.author.device, nonce));
            only(new && (issuer.role == Role::Secretary || among))
        }
        Record::Grant { space, .. } | Record::Revoke { space, .. } => {
            known(space)?;
            let listed = view.spaces.get(space).is_some_and(|s| !s.everyone);
            let reader = view.readers.get(&(*space, issuer.device.member));
            only(
                listed
                    && match level_of(view, &issuer, *space) {
                        None => false,
                        Some(0) => true,
                        Some(level) => reader.is_some_and(|r| r.speaks(level, &issuer.at)),
                    },
            )
        }
        Record::Document { nonce, space, .. } => {
            known(space)?;
            read_once(space)?;
            only(space != branch && !view.documents.contains_key(&DocId::derive(&entry.author.device, nonce)))
        }
        Record::Epoch(epoch) => {
            known(&epoch.space)?;
            read_once(&epoch.space)?;
            only(epoch.prev.is_empty() || view.spaces.get(&epoch.space).is_none_or(|s| s.history))
        }
        Record::Wraps { space, epoch, .. } => {
            let epochs = view.epochs.get(space).ok_or(RejectCode::UnknownTarget)?;
            epochs.get(epoch).ok_or(RejectCode::UnknownTarget)?;
            read_once(space)
        }
        Record::Recorder { doc, .. } => {
            let space = view.documents.get(doc).ok_or(RejectCode::UnknownTarget)?.space;
            only(
                issuer.role.is_officer()
                    && view.read_at(issuer.device, issuer.role, &space, &issuer.at, branch),
            )
        }
        Record::Cut { space, .. } => only(issuer.role == Role::Secretary && space != branch),
        Record::Upper { .. } => only(issuer.role == Role::Secretary),
        Record::Frontier { about, device, frontier } => {
            let removal = removal_of(view, about, device).ok_or(RejectCode::UnknownTarget)?;
            only(may_attest(view, branch, issuer.device, removal, device, frontier))
        }
    }
}

fn removal_of<'a>(view: &'a View, about: &ItemId, device: &DeviceId) -> Option<&'a RemovalEffect> {
    view.certified.get(device)?.effects.removals.get(about)
}

/// Whether a reader may say what was received of a removed device in these places: where the remover could not know.
fn may_attest(
    view: &View,
    branch: &SpaceId,
    witness: &Certified,
    removal: &RemovalEffect,
    device: &DeviceId,
    frontier: &Frontier,
) -> bool {
    let (subject, remover) = (view.certified.get(device), view.certified.get(&removal.issuer));
    subject.is_some_and(|s| s.member != witness.member)
        && frontier.0.iter().all(|mark| {
            mark.author.device == *device
                && mark.space != *branch
                && view.ever_reads(witness, &mark.space, branch)
                && remover.is_some_and(|r| !view.ever_reads(r, &mark.space, branch))
        })
}

/// What a record that counts adds.
pub(super) fn apply(view: &mut View, set: &Set, id: ItemId, entry: &Entry) {
    let Ok(by) = issuer(view, set, &id, entry) else { return };
    let member = by.device.member;
    match &entry.record {
        Record::Grant { space, member: reader, generation } => {
            let level = level_of(view, &by, *space).unwrap_or(LEVELS - 1);
            let effect = ReaderEffect { generation: *generation, revoked: None };
            change_readers(view, (*space, *reader), level, id, effect);
        }
        Record::Revoke { space, member: reader, generation, frontier } => {
            let level = level_of(view, &by, *space).unwrap_or(LEVELS - 1);
            // What it wrote there, and what records about it counted.
            let revoked = Some(Marks::of(frontier, |s, _| s == space || *s == set.branch));
            change_readers(
                view,
                (*space, *reader),
                level,
                id,
                ReaderEffect { generation: *generation, revoked },
            );
        }
        Record::Recorder { doc, member } => {
            view.recorders.insert((*doc, *member));
        }
        Record::Cut { space, author, keep } => {
            let kept = view.cuts.entry((*space, *author)).or_insert(*keep);
            *kept = (*kept).min(*keep);
        }
        Record::Upper { generation, upper } => {
            view.upper = view.upper.take().max(Some((*generation, Reverse(id), *upper)));
        }
        Record::Frontier { about, device, frontier } => {
            for mark in &frontier.0 {
                view.attested.entry((*about, *device, mark.space)).or_default().insert(member);
            }
            let subject = view.certified.get_mut(device);
            if let Some(removal) = subject.and_then(|s| s.effects.removals.get_mut(about)) {
                removal.attested.add(&Marks::of(frontier, |_, _| true));
            }
        }
        _ => add(view, set, id, entry, true),
    }
}

/// What somebody made: by right, or as it is there without.
pub(super) fn add(view: &mut View, set: &Set, id: ItemId, entry: &Entry, counts: bool) {
    let device = entry.author.device;
    let Some(member) = view.certified.get(&device).map(|by| by.member) else { return };
    let by = issuer(view, set, &id, entry);
    let from = |space| by.map_or(Standpoint::Former, |by| standpoint(view, &by, space, &set.branch));
    match &entry.record {
        Record::Space { nonce, history, padded, audience } => {
            let space = SpaceId::derive(&device, nonce);
            let (everyone, members) = match audience {
                Audience::Everyone => (true, BTreeSet::new()),
                Audience::Members(members) => (false, members.iter().copied().collect()),
            };
            for member in &members {
                view.readers.entry((space, *member)).or_default().list(id);
            }
            let found =
                Space { creator: member, history: *history, padded: *padded, everyone, members, counts };
            view.spaces.insert(space, found);
        }
        Record::Grant { space, member, .. } => {
            view.let_in.insert((*space, *member));
        }
        Record::Document { nonce, space, writers, schema } => {
            let doc = DocId::derive(&device, nonce);
            let (space, writers, schema) = (*space, *writers, schema.clone());
            view.documents.insert(doc, DocumentEntry { space, writers, schema, creator: member, counts });
        }
        Record::Epoch(epoch) => {
            let first = (from(&epoch.space), id);
            add_epoch(view, first, device, epoch);
            hand(view, first.0, member, (&epoch.space, &epoch.id), &epoch.wraps);
        }
        Record::Wraps { space, epoch, wraps } => {
            let from = from(space);
            hand(view, from, member, (space, epoch), wraps);
        }
        _ => {}
    }
}

fn change_readers(
    view: &mut View,
    (space, member): (SpaceId, MemberId),
    level: usize,
    by: ItemId,
    effect: ReaderEffect,
) {
    let reader = view.readers.entry((space, member)).or_default();
    reader.add(level, by, effect);
    let Some(found) = view.spaces.get_mut(&space) else { return };
    if reader.reads() {
        found.members.insert(member);
    } else {
        found.members.remove(&member);
    }
}

/// A key epoch. Several records may have one id: whoever stands highest says what it is, and nobody takes from it.
fn add_epoch(
    view: &mut View,
    first: (Standpoint, ItemId),
    issuer: DeviceId,
    record: &super::record::EpochRecord,
) {
    let new = || Epoch {
        generation: record.generation,
        issuer,
        issued: record.issued,
        prev: record.prev.clone(),
        wraps: BTreeMap::new(),
        first,
        handed: BTreeSet::new(),
    };
    let epoch = view.epochs.entry(record.space).or_default().entry(record.id).or_insert_with(new);
    if first < epoch.first {
        let (wraps, handed) = (std::mem::take(&mut epoch.wraps), std::mem::take(&mut epoch.handed));
        *epoch = Epoch { wraps, handed, ..new() };
    }
}

/// Keys that are handed to devices.
fn hand(
    view: &mut View,
    from: Standpoint,
    by: MemberId,
    (space, epoch): (&SpaceId, &crate::ids::EpochId),
    wraps: &[Wrap],
) {
    let View { epochs, certified, .. } = view;
    let Some(epoch) = epochs.get_mut(space).and_then(|epochs| epochs.get_mut(epoch)) else { return };
    for wrap in wraps {
        let of_device = epoch.wraps.entry(wrap.tag).or_default();
        // One order, whatever the order in which records came.
        if let Err(i) = of_device.binary_search_by_key(&(wrap.enc, wrap.ct), |w| (w.enc, w.ct)) {
            of_device.insert(i, wrap.clone());
        }
        let own = || from < Standpoint::Former && with_tag(certified, &wrap.tag).any(|c| c.member == by);
        if from < Standpoint::Reader || own() {
            epoch.handed.insert(wrap.tag);
        }
    }
}

fn with_tag<'a>(
    certified: &'a BTreeMap<DeviceId, Certified>,
    tag: &[u8; 8],
) -> impl Iterator<Item = &'a Certified> + use<'a> {
    let mut least = DeviceId::default();
    least.0[..8].copy_from_slice(tag);
    let tag = *tag;
    certified.range(least..).take_while(move |(id, _)| Wrap::tag_of(id) == tag).map(|(_, c)| c)
}
