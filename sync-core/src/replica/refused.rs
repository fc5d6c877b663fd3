//! What becomes of an item that the relay refuses: it is offered again, waits for what the relay may learn, is taken back, or stays
//! here and is not offered any more.

use dinh_proto::charter::Standing;
use dinh_proto::error::{Fate, RejectCode};
use dinh_proto::ids::ItemId;
use dinh_proto::item::{Item, Kind};
use dinh_proto::limits;

use super::event::Refuser;
use super::link::Extra;
use super::schema::Batch;
use super::{Event, Now, Outgoing, Replica, ReplicaError};
use crate::store::Store;

/// How often an extra is offered again when the relay does not know its author or document yet: the record may
/// be among the extras behind it.
const EXTRA_ATTEMPTS_MAX: u8 = 16;

impl<S: Store> Replica<S> {
    pub(super) fn handle_reject(
        &mut self,
        now: Now,
        id: ItemId,
        code: RejectCode,
        detail: &str,
    ) -> Result<(), ReplicaError> {
        if matches!(code, RejectCode::NotAdmitted | RejectCode::Unavailable) {
            self.decline(now, &id, detail);
        }
        let Some(link) = &mut self.link else { return Ok(()) };
        if let Some(extra) = link.extras_sent.remove(&id)
            && code.fate() == Fate::Later
        {
            // What it waits for may be among the extras behind it; what the relay has no room for, time may help.
            let at_once =
                matches!(code, RejectCode::UnknownAuthor | RejectCode::UnknownTarget | RejectCode::Gap);
            if !at_once {
                link.extras_held_back.push(extra);
                link.retry_at.get_or_insert(now.mono + limits::RETRY_LATER);
            } else if extra.attempts < EXTRA_ATTEMPTS_MAX {
                link.extras.push_back(Extra { attempts: extra.attempts + 1, ..extra });
            } else {
                link.not_taken.insert(extra.key.chain.space);
            }
        }
        link.offered.remove(&id);
        let mut batch = Batch::default();
        self.finish_upload(&mut batch);
        batch.commit(&mut self.store)?;
        let Some(order) = self.outbox_ids.get(&id).copied() else { return Ok(()) };
        match code.fate() {
            Fate::Settled => {}
            Fate::Later => {
                self.hold_back(id);
                if let Some(link) = &mut self.link {
                    link.retry_at.get_or_insert(now.mono + limits::RETRY_LATER);
                }
            }
            Fate::Never => self.refused_for_good(order, id, code, detail)?,
        }
        Ok(())
    }

    /// The relay's operator has to do something first: nothing of this space (of a branch: of all its spaces) is offered for a while.
    fn decline(&mut self, now: Now, id: &ItemId, detail: &str) {
        let of_outbox =
            self.outbox_ids.get(id).and_then(|order| self.outbox.get(order)).map(|entry| entry.space);
        let Some(link) = &mut self.link else { return };
        let of_extras = || link.extras_sent.get(id).map(|extra| extra.key.chain.space);
        if let Some(space) = of_outbox.or_else(of_extras) {
            link.declined.insert(space);
            link.declined_until.get_or_insert(now.mono + limits::RETRY_DECLINED);
            link.declined_why = detail.to_owned();
        }
    }

    /// It is not offered again before something changes.
    fn hold_back(&mut self, id: ItemId) {
        if let Some(link) = &mut self.link {
            link.held_back.insert(id);
        }
    }

    /// A charter changed: what was refused by the old one is offered again.
    pub(super) fn offer_again(&mut self) {
        if let Some(link) = &mut self.link {
            link.held_back.clear();
        }
    }

    fn refused_for_good(
        &mut self,
        order: u64,
        id: ItemId,
        code: RejectCode,
        detail: &str,
    ) -> Result<(), ReplicaError> {
        let Some(entry) = self.outbox.get(&order).copied() else { return Ok(()) };
        let item = match entry.what {
            Outgoing::Item(key) => self.read_item(&key.chain, key.n)?.map(|item| (key, item)),
            Outgoing::Snapshot(_) => None,
        };
        // Where this device may not read any more, it is refused as the one that brings it.
        let brings_nothing = code == RejectCode::NotAuthorised && !self.reads(&entry.space);
        let waits = match (code, &item) {
            // It counts, by all that is known here: the relay knows of a record that did not come (that removed its
            // device, say), or is wrong. A later record may undo it: nothing is given up before.
            (RejectCode::NotAuthorised, Some((_, item))) => !brings_nothing && self.may_by_own_charter(item),
            // The log has another item in this place, and brings it.
            (RejectCode::Fork | RejectCode::BadLink, _) => self.is_carried(&entry.what),
            _ => false,
        };
        if waits {
            self.hold_back(id);
            return Ok(());
        }
        // What counts whoever took the right has, and brings; what is another's stays here as it is.
        let stays = |item: &Item| {
            let own = item.header().author.device == self.device;
            brings_nothing && (!own || (item.header().kind == Kind::Run && self.counts_by_right(item)))
        };
        if let Some((key, item)) = item.filter(|(_, item)| !stays(item)) {
            if key.chain.author.device == self.device {
                if self.is_locked(&key.chain.space) {
                    // To write its content again it has to be opened: it waits for the unlocking.
                    self.hold_back(id);
                    return Ok(());
                }
                return self.recover(key, code, detail, &[]);
            }
            if self.is_carried_run(&entry.what) {
                return self.give_up_carried(&item, code);
            }
        }
        // A snapshot that came too late, another's record, or what others bring: it stays in the store and is not offered again.
        let mut batch = Batch::default();
        self.leave_outbox(&id, &mut batch);
        batch.commit(&mut self.store)?;
        // Nothing is lost with a snapshot: nobody needs to hear of it.
        if matches!(entry.what, Outgoing::Item(_)) {
            self.push_event(Event::Refused { id, code, by: Refuser::Relay, detail: detail.to_owned() });
        }
        Ok(())
    }

    /// Whether this device's charters say that an item counts, and that its author may write there now.
    fn may_by_own_charter(&self, item: &Item) -> bool {
        let header = item.header();
        let Some(charter) = self.branch_charter(&header.space) else { return false };
        match header.kind {
            Kind::Charter => charter.counts(&item.id()),
            _ => {
                let now = charter.authorise_author(&header.author.device, &header.space, &header.doc);
                now.is_ok() && self.counts_by_right(item)
            }
        }
    }

    /// Whether a run or snapshot counts by its author's right at its place, whatever became of the author.
    fn counts_by_right(&self, item: &Item) -> bool {
        let charter = self.branch_charter(&item.header().space);
        charter.is_some_and(|c| c.standing(item.header(), item.id().link()) == Ok(Standing::Accepted))
    }
}
