//! Adding one record to an answer that is there, where that is the same as asking again from the beginning.

use std::collections::BTreeSet;

use super::marks::{Position, Side};
use super::record::{Record, Role};
use super::set::Entry;
use super::view::Reader;
use super::{Charter, evaluate, settle};
use crate::error::RejectCode;
use crate::ids::{DeviceId, DocId, ItemId, SpaceId};

/// What is known of a record that was just added.
pub(super) enum Quick {
    /// It counts, and the answer has it in it.
    Counts,
    /// It does not. What else its being there may change, [`Charter::stirs_as_idle`] says.
    DoesNot(RejectCode),
    /// Only a new evaluation can tell.
    Unknown,
}

impl Charter {
    /// Adds a record to the set, and to the answer if it counts and that changes nothing for others.
    pub(super) fn add_quickly(&mut self, id: ItemId, entry: Entry) -> Quick {
        let hopeless = self.hopeless(&id, &entry);
        self.add(id, entry);
        if let Some(code) = hopeless {
            return Quick::DoesNot(code);
        }
        let Some(entry) = self.set.get(&id) else { return Quick::Unknown };
        if decides(&entry.record) || self.is_twice(entry) {
            return Quick::Unknown;
        }
        let answer = self.answer();
        let verdict = settle::judge(&answer.view, &self.set, &id, entry);
        match verdict {
            Err(code) => Quick::DoesNot(code),
            Ok(()) if self.stirs(entry) => Quick::Unknown,
            Ok(()) => {
                let Some(answer) = self.answer.get_mut() else { return Quick::Unknown };
                settle::apply(&mut answer.view, &self.set, id, entry);
                answer.counts.insert(id);
                Quick::Counts
            }
        }
    }

    /// Why a record that decides about somebody's place cannot count, whatever it changes itself.
    fn hopeless(&self, id: &ItemId, entry: &Entry) -> Option<RejectCode> {
        let (view, author) = (self.view(), &entry.author.device);
        let named = |device: &DeviceId| self.set.named.contains_key(device);
        let Some(issuer) = view.certified.get(author) else {
            // A device whose certificate a removal by its own member took may still have removed.
            let may = matches!(entry.record, Record::Genesis(_) | Record::Root(_))
                || (named(author) && matches!(entry.record, Record::Removal { .. } | Record::Accept { .. }));
            return if may { None } else { Some(RejectCode::UnknownAuthor) };
        };
        let at: Position = self.set.at(id, entry);
        // What its own rank or a lower one decided about it is heard after what it decided itself: so it may count by any
        // role that it ever had, unless a higher rank cuts it off.
        let may = |f: &dyn Fn(Role) -> bool| {
            let stands = |role: Role| {
                let mut above = issuer.effects.removals.values().filter(|r| r.rank < role.rank());
                above.all(|r| r.marks.side(&at) == Side::Within)
            };
            issuer.ever(|role| f(role) && stands(role))
        };
        let below = |device: &DeviceId, role: Role| match view.certified.get(device) {
            Some(subject) => subject.role_now().rank() > role.rank(),
            None => named(device),
        };
        let refused = |device: &DeviceId| {
            let known = view.certified.contains_key(device) || named(device);
            Some(if known { RejectCode::NotAuthorised } else { RejectCode::UnknownTarget })
        };
        match &entry.record {
            Record::Device { certificate, .. } => {
                let admits = |role| evaluate::may_admit(role, &issuer.member, certificate, &BTreeSet::new());
                (!may(&admits)).then_some(RejectCode::NotAuthorised)
            }
            Record::Removal { device, .. } => {
                let own = view.certified.get(device).is_none_or(|subject| subject.member == issuer.member);
                if (own && named(device)) || may(&|role| role.is_officer() && below(device, role)) {
                    None
                } else {
                    refused(device)
                }
            }
            Record::Role { device, role: new, .. } => {
                let decides =
                    |role: Role| role.is_officer() && new.rank() > role.rank() && below(device, role);
                if may(&decides) { None } else { refused(device) }
            }
            _ => None,
        }
    }

    /// What a record made that does not count is put in the answer if it is there all the same, or the answer is given up.
    pub(super) fn add_as_there(&mut self, id: ItemId) {
        let Some(entry) = self.set.get(&id) else { return };
        if !settle::is_there(self.view(), &self.set, entry) {
            return;
        }
        let stirs = match &entry.record {
            Record::Grant { .. } => self.idle(&[5, 9, 10]),
            _ => self.stirs(entry),
        };
        if stirs {
            self.answer.take();
        } else if let Some(answer) = self.answer.get_mut() {
            settle::add(&mut answer.view, &self.set, id, entry, false);
        }
    }

    /// Whether its issuer created the same space or document before: the record with the smaller id counts.
    fn is_twice(&self, entry: &Entry) -> bool {
        let device = &entry.author.device;
        match &entry.record {
            Record::Space { nonce, .. } => self.view().spaces.contains_key(&SpaceId::derive(device, nonce)),
            Record::Document { nonce, .. } => {
                self.view().documents.contains_key(&DocId::derive(device, nonce))
            }
            _ => false,
        }
    }

    /// Whether something else might count by this record, or not count any more.
    fn stirs(&self, entry: &Entry) -> bool {
        match &entry.record {
            Record::Space { .. } => self.idle(&[4, 5, 8, 9, 10, 11, 15]),
            Record::Grant { space, member, .. } => {
                let read_once = self.view().readers.get(&(*space, *member)).is_some_and(Reader::read_once);
                read_once || self.set.count_of(15) > 0 || self.idle(&[4, 5, 8, 9, 10, 11])
            }
            Record::Revoke { .. } => true,
            Record::Document { .. } => self.idle(&[11]),
            Record::Epoch(_) => self.idle(&[9, 10]),
            Record::Upper { .. } => self.idle(&[13]),
            _ => false,
        }
    }

    /// Whether that a record of this type is there, though it does not count, may let others count: by their number those
    /// about one thing let generations rise; a certificate names a device, and its device may have accepted it.
    pub(super) fn stirs_as_idle(&self, kind: usize) -> bool {
        match kind {
            2 => self.idle(&[6, 7, 16]),
            4 | 8 => self.idle(&[4, 8]),
            7 => self.idle(&[7]),
            9 => self.idle(&[9, 10]),
            13 => self.idle(&[13]),
            _ => false,
        }
    }

    fn idle(&self, kinds: &[usize]) -> bool {
        kinds.iter().any(|kind| self.answer().idle[*kind] > 0)
    }

    /// Why a record in the set that does not count does not, by the answer without it.
    pub(super) fn refusal(&self, id: &ItemId) -> RejectCode {
        let (view, Some(entry)) = (self.view(), self.set.get(id)) else { return RejectCode::NotAuthorised };
        if !view.certified.contains_key(&entry.author.device) {
            return RejectCode::UnknownAuthor;
        }
        let there = match &entry.record {
            Record::Removal { device, .. } => view.certified.contains_key(device),
            Record::Role { device, .. } => {
                view.certified.contains_key(device) && !self.set.is_ahead(&entry.record)
            }
            _ => true,
        };
        if there { RejectCode::NotAuthorised } else { RejectCode::UnknownTarget }
    }
}

/// Whether it may change anybody's place.
fn decides(record: &Record) -> bool {
    matches!(
        record,
        Record::Genesis(_)
            | Record::Device { .. }
            | Record::Removal { .. }
            | Record::Role { .. }
            | Record::Root(_)
            | Record::Accept { .. }
    )
}
