//! From the frames of a relay or another device to the store: judge each item, keep what is good in one transaction with the cursor,
//! then apply.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dinh_proto::error::{Fate, RejectCode};
use dinh_proto::ids::{ChainId, Cursor, DeviceId, DocId, ItemId, Seq, SpaceId};
use dinh_proto::item::{Item, Kind, Place, RawItem};
use dinh_proto::limits;
use dinh_proto::wire::{Fetch, Items, Scope};

use super::event::{LinkState, Refuser};
use super::schema::{self, Batch, ItemKey};
use super::{Event, Now, Replica, ReplicaError};
use crate::store::{Store, Table};

/// What is to be done with a received item.
enum Verdict {
    Keep(Item),
    Have,
    /// It may become acceptable when a charter record comes.
    Wait,
    Refuse(RejectCode),
    /// Another item with this chain and counter is here.
    Fork(Item),
}

/// Where a received item comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The relay's log.
    Relay,
    /// Another device: nothing is known of the relay's log by that.
    Hall,
    /// It came from the relay, and waited here.
    Parked,
}

impl<S: Store> Replica<S> {
    /// Whether another device gave what no honest device gives.
    pub(super) fn receive(&mut self, now: Now, source: Source, items: Items) -> Result<bool, ReplicaError> {
        let mut batch = Batch::default();
        let mut touched = BTreeSet::new();
        let before: BTreeSet<SpaceId> = self.readable().into_iter().collect();
        let mut grant_seq = Seq(0);
        let mut bad = false;
        // Bug: the cursor is on disk before the items are.
        #[cfg(feature = "canary")]
        if dinh_proto::canary::is_planted("cursor-before-store") {
            let mut early = Batch::default();
            self.move_cursor(items.scope, items.upto, &mut early);
            early.commit(&mut self.store)?;
        }
        for (seq, bytes) in items.items {
            let charter_records =
                self.charters.values().map(dinh_proto::charter::Charter::len).sum::<usize>();
            bad |= self.take(source, seq, bytes, &mut batch, &mut touched)?;
            if self.charters.values().map(dinh_proto::charter::Charter::len).sum::<usize>() != charter_records
            {
                grant_seq = grant_seq.max(seq);
            }
            self.retry_parked(&mut batch, &mut touched)?;
        }
        match source {
            Source::Hall => self.begin_backfills_by_charter(|space| !before.contains(space), &mut batch),
            Source::Relay | Source::Parked => self.begin_backfills(&before, grant_seq, &mut batch),
        }
        self.move_cursor(items.scope, items.upto, &mut batch);
        self.settle_charters(Some(now.mono), &mut batch)?;
        batch.commit(&mut self.store)?;
        self.retry_snapshots(&mut touched)?;
        self.settle_forks(&mut touched)?;
        self.rejudge()?;
        for doc in &touched {
            self.apply_received(now, doc)?;
        }
        self.apply_after_keys()?;
        self.drop_rewritten(&touched)?;
        Ok(bad)
    }

    fn move_cursor(&mut self, scope: Scope, upto: Seq, batch: &mut Batch) {
        match scope {
            Scope::Log => {
                if let Some(link) = self.link.as_ref().filter(|l| !l.reconciling) {
                    let cursor = Cursor { epoch: link.session.epoch(), seq: upto };
                    self.set_cursor(cursor, batch);
                }
            }
            Scope::Backfill(space) => {
                let Some(fetch) = self.backfills.get_mut(&space) else { return };
                fetch.from = upto;
                if fetch.from >= fetch.to {
                    self.backfills.remove(&space);
                    batch.delete(Table::Backfills, space.0);
                } else {
                    let value = [fetch.from.0.to_le_bytes(), fetch.to.0.to_le_bytes()].concat();
                    batch.put(Table::Backfills, space.0, value);
                }
            }
            Scope::Wanted => {}
        }
    }

    /// Spaces that this device could not read before this batch have a past that it has not received.
    fn begin_backfills(&mut self, before: &BTreeSet<SpaceId>, grant_seq: Seq, batch: &mut Batch) {
        if grant_seq == Seq(0) {
            return;
        }
        let Some(link) = &self.link else { return };
        if self.cursor.is_none() {
            // Nothing was passed yet: everything is still ahead.
            return;
        }
        // Bug: the past of a space that this device may read from now on is not asked for.
        #[cfg(feature = "canary")]
        if dinh_proto::canary::is_planted("backfill-skipped") {
            return;
        }
        // If the relay knew of the grant when it said welcome, it sends the space from the cursor on.
        let to = if grant_seq > link.head_at_welcome { grant_seq } else { link.cursor_at_hello };
        let reconciling = link.reconciling;
        for space in self.readable() {
            if !before.contains(&space) && !reconciling && !self.charters.contains_key(&space) {
                self.begin_backfill(Fetch { space, from: Seq(0), to }, batch);
            }
        }
    }

    /// As [`receive`](Self::receive), for one item.
    fn take(
        &mut self,
        source: Source,
        seq: Seq,
        bytes: Bytes,
        batch: &mut Batch,
        touched: &mut BTreeSet<DocId>,
    ) -> Result<bool, ReplicaError> {
        let raw = match RawItem::parse(bytes.clone()) {
            Ok(raw) => raw,
            Err(_) if source == Source::Hall => return Ok(true),
            Err(e) => {
                self.refuse(ItemId::default(), &bytes, e.reject_code(), batch);
                return Ok(false);
            }
        };
        // Nobody but the relay, which sees to it, brings what this device may not read.
        if source == Source::Hall && !self.reads(&raw.header().space) {
            self.counters.refused += 1;
            return Ok(false);
        }
        if raw.header().kind == Kind::Snapshot {
            self.take_snapshot(source, raw, batch, touched)?;
            return Ok(false);
        }
        let (id, space) = (raw.id(), raw.header().space);
        match self.judge(source, raw, batch)? {
            Verdict::Keep(item) => {
                self.keep_received(&item, batch, touched)?;
                if source == Source::Hall {
                    self.carry(&item, batch);
                }
            }
            Verdict::Have => {
                self.counters.duplicates += 1;
                let in_log = source == Source::Relay;
                // Bug: that another device has it counts as the relay's word.
                #[cfg(feature = "canary")]
                let in_log = in_log || dinh_proto::canary::is_planted("hall-acknowledged");
                // The relay has it: as good as an acknowledgement.
                if in_log {
                    self.handle_ack(id, seq, batch);
                }
            }
            // It comes again when this device knows more, and says so.
            Verdict::Wait if source == Source::Hall => {
                self.hall_waits.insert(space);
            }
            Verdict::Wait => self.park(id, space, &bytes, batch),
            // The other device may not have heard yet of what this one judges by; but it has checked what it keeps.
            Verdict::Refuse(code) if source == Source::Hall => {
                self.counters.refused += 1;
                return Ok(matches!(
                    code,
                    RejectCode::Malformed | RejectCode::TooLarge | RejectCode::BadSignature
                ));
            }
            // The relay's log will tell which of the two it is.
            Verdict::Fork(_) if source == Source::Hall => self.counters.refused += 1,
            Verdict::Refuse(code) => self.refuse(id, &bytes, code, batch),
            Verdict::Fork(item) => self.handle_fork(item, batch)?,
        }
        Ok(false)
    }

    /// Whether this device may read a space, by its charters as they are now.
    pub(super) fn reads(&self, space: &SpaceId) -> bool {
        self.charters.contains_key(space)
            || self.branch_charter(space).is_some_and(|charter| charter.can_read(&self.device, space))
    }

    /// A space that this device may read by its own act, or by what another device told it: the relay is asked for its past
    /// when it knows of that too, whenever that is.
    pub(super) fn begin_backfills_by_charter(
        &mut self,
        is_new: impl Fn(&SpaceId) -> bool,
        batch: &mut Batch,
    ) {
        if self.cursor.is_none() {
            return;
        }
        for space in self.readable() {
            if is_new(&space) && !self.charters.contains_key(&space) {
                self.begin_backfill(Fetch { space, from: Seq(0), to: Seq(u64::MAX) }, batch);
            }
        }
    }

    fn judge(&mut self, source: Source, raw: RawItem, batch: &mut Batch) -> Result<Verdict, ReplicaError> {
        self.relink_due(batch)?;
        let space = raw.header().space;
        let Some(charter) = self.space_branch.get(&space).and_then(|b| self.charters.get(b)) else {
            return Ok(Verdict::Wait);
        };
        let verdict = |code: RejectCode| {
            if code.fate() == Fate::Later { Verdict::Wait } else { Verdict::Refuse(code) }
        };
        let item = match charter.key_for(&raw).and_then(|key| raw.verify(&key)) {
            Ok(item) => item,
            Err(code) => return Ok(verdict(code)),
        };
        let header = item.header();
        if header.kind == Kind::Run
            && let Err(code) = charter.standing(header, item.id().link())
        {
            return Ok(verdict(code));
        }
        let Place::Chain { n, .. } = header.place else {
            return Ok(Verdict::Refuse(RejectCode::Malformed));
        };
        let chain = header.chain();
        let is_taken = self.held.get(&chain).is_some_and(|h| h.contains(n));
        let is_here =
            is_taken && self.received_item(&chain, n, batch)?.is_some_and(|held| held.id() == item.id());
        // Bug: what is here already is stored and counted once more.
        #[cfg(feature = "canary")]
        let is_here = is_here && !dinh_proto::canary::is_planted("double-apply");
        if is_here {
            return Ok(Verdict::Have);
        }
        // What follows another copy's item waits with it.
        let follows = |i: &Item| i.header().chain() == chain && i.header().n() < Some(n);
        if !is_taken && (self.forks.iter().any(follows) || self.has_parked_fork(&chain, n)) {
            return Ok(Verdict::Fork(item));
        }
        let misfits = self.misfits(&item, batch)?;
        // Bug: whether it fits to what is before and after it in its chain is not looked at.
        #[cfg(feature = "canary")]
        let misfits =
            if dinh_proto::canary::is_planted("phone-skips-chain-check") { Vec::new() } else { misfits };
        let log_decides = match misfits.first() {
            Some(first) if source == Source::Relay => self.carried_from(&chain, *first, batch)?,
            _ => None,
        };
        if let Some(carried) = log_decides {
            self.make_way(&chain, &carried, batch)?;
        } else if !misfits.is_empty() {
            // Of what a removed device wrote, others may have to make room for the item that it had written there.
            if self.leads_to(&item, batch)? {
                self.make_way(&chain, &misfits, batch)?;
            } else if is_taken {
                let waits = self.linked.may_give_way(&chain, n);
                return Ok(if waits { Verdict::Wait } else { Verdict::Fork(item) });
            } else if misfits.iter().all(|other| self.linked.may_give_way(&chain, *other)) {
                return Ok(Verdict::Wait);
            } else {
                return Ok(Verdict::Refuse(RejectCode::BadLink));
            }
        }
        // Also a record that does not count: it may when another one comes.
        if header.kind == Kind::Charter
            && let Err(code) = self.change_charter(&item, |charter| charter.keep(&item))
        {
            return Ok(verdict(code));
        }
        Ok(Verdict::Keep(item))
    }

    /// The places of an item's chain whose items here do not fit to it: its own, and those next to it.
    fn misfits(&self, item: &Item, batch: &Batch) -> Result<Vec<u32>, ReplicaError> {
        let Place::Chain { n, prev } = item.header().place else { return Ok(Vec::new()) };
        let chain = item.header().chain();
        let tip = self.tips.get(&chain).copied().unwrap_or_default();
        let link_of = |n: u32| -> Result<Option<[u8; 16]>, ReplicaError> {
            if tip.n == n {
                return Ok(Some(tip.link));
            }
            Ok(self.received_item(&chain, n, batch)?.map(|i| i.id().link()))
        };
        let mut misfits = Vec::new();
        if n > 1 && link_of(n - 1)?.is_some_and(|link| link != prev) {
            misfits.push(n - 1);
        }
        if tip.n >= n {
            if link_of(n)?.is_some_and(|link| link != item.id().link()) {
                misfits.push(n);
            }
            let after = self.received_item(&chain, n + 1, batch)?;
            let follows =
                |i: &Item| matches!(i.header().place, Place::Chain { prev, .. } if prev == item.id().link());
            if after.is_some_and(|after| !follows(&after)) {
                misfits.push(n + 1);
            }
        }
        Ok(misfits)
    }

    /// The item of a chain under this counter, also if it came with this very message and is not stored yet.
    pub(super) fn received_item(
        &self,
        chain: &ChainId,
        n: u32,
        batch: &Batch,
    ) -> Result<Option<Item>, ReplicaError> {
        let key = ItemKey { chain: *chain, n }.to_bytes();
        match batch.get(Table::Items, &key) {
            Some(found) => Ok(found.map(|bytes| schema::stored_item(bytes.to_vec())).transpose()?),
            None => Ok(self.read_item(chain, n)?),
        }
    }

    fn keep_received(
        &mut self,
        item: &Item,
        batch: &mut Batch,
        touched: &mut BTreeSet<DocId>,
    ) -> Result<(), ReplicaError> {
        self.counters.items_received += 1;
        let own_future = item.header().author == self.own_author();
        self.keep_item(item, batch);
        self.relink_received(item, batch)?;
        if item.header().kind == Kind::Run {
            let doc = item.header().doc;
            let order = self.next_order(batch);
            let key = ItemKey { chain: item.header().chain(), n: item.header().n().unwrap_or_default() };
            batch.put(Table::DocumentLog, schema::doc_order_key(&doc, order), key.to_bytes());
            self.add_pending(&doc, order, item);
            self.count_tail(&doc, item)?;
            touched.insert(doc);
        }
        if own_future {
            // Somebody has an item of this very session that this store never made: the store is an old copy.
            self.leave_session(batch)?;
        }
        Ok(())
    }

    pub(super) fn park(&mut self, id: ItemId, space: SpaceId, bytes: &[u8], batch: &mut Batch) {
        let total: usize = self.parked.values().map(Vec::len).sum();
        if self.parked.len() >= limits::PARKED_RUNS_PER_DOCUMENT_MAX
            || total + bytes.len() > limits::PARKED_BYTES_PER_DOCUMENT_MAX
        {
            // It is on the relay.
            self.counters.refused += 1;
            self.note_missing(space, batch);
            tracing::warn!(
                ?id,
                "too many items wait for charter records: one is dropped and will be asked for again"
            );
            return;
        }
        let order = self.next_order(batch);
        batch.put(Table::Parked, order.to_be_bytes(), bytes);
        self.parked.insert(order, bytes.to_vec());
    }

    /// If a charter changed, items that waited are judged again.
    fn retry_parked(&mut self, batch: &mut Batch, touched: &mut BTreeSet<DocId>) -> Result<(), ReplicaError> {
        while std::mem::take(&mut self.parked_is_due) {
            let (keyless, due): (BTreeMap<_, _>, BTreeMap<_, _>) =
                std::mem::take(&mut self.parked).into_iter().partition(|(_, bytes)| self.lacks_key(bytes));
            self.parked = keyless;
            for (order, bytes) in due {
                batch.delete(Table::Parked, order.to_be_bytes());
                self.take(Source::Parked, Seq(0), bytes.into(), batch, touched)?;
            }
        }
        Ok(())
    }

    /// A branch was joined: what the relay sent of it before is judged again, in a transaction of its own.
    pub(super) fn take_parked(&mut self) -> Result<(), ReplicaError> {
        let mut batch = Batch::default();
        let mut touched = BTreeSet::new();
        self.retry_parked(&mut batch, &mut touched)?;
        self.settle_charters(None, &mut batch)?;
        batch.commit(&mut self.store)?;
        self.settle_forks(&mut touched)?;
        self.rejudge()?;
        for doc in touched {
            // Nobody types in a document that was not known until now, so there is no typing to commit first.
            self.advance(&doc, true)?;
            if !self.open.contains_key(&doc) {
                self.push_event(Event::DocumentReset { doc });
            }
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, id: ItemId, bytes: &[u8], code: RejectCode, batch: &mut Batch) {
        self.counters.refused += 1;
        self.quarantine(bytes, code, "refused on receipt", batch);
        self.push_event(Event::Refused { id, code, by: Refuser::Device, detail: String::new() });
    }

    /// Another item with this chain and counter is here.
    fn handle_fork(&mut self, item: Item, batch: &mut Batch) -> Result<(), ReplicaError> {
        let chain = item.header().chain();
        let n = item.header().n().unwrap_or_default();
        let ours = self.read_item(&chain, n)?.map(|i| i.id());
        let unconfirmed = ours.is_some_and(|id| self.outbox_ids.contains_key(&id));
        let follows =
            self.forks.iter().any(|i| i.header().chain() == chain) || self.has_parked_fork(&chain, u32::MAX);
        if chain.author.device == self.device && (unconfirmed || follows) {
            if self.is_locked(&chain.space) {
                // To take back own runs they have to be opened.
                self.park(item.id(), chain.space, item.bytes(), batch);
            } else {
                // It is kept in a later transaction, and the cursor passes it in this one.
                self.note_missing(chain.space, batch);
                self.forks.push(item);
            }
            return Ok(());
        }
        // Two items of one author under one number: proof of a fork. What was seen first stays.
        self.refuse(item.id(), item.bytes(), RejectCode::Fork, batch);
        Ok(())
    }

    /// Another copy of this store was first: what this one has under the same numbers is taken back and written
    /// again in a new session, then the other copy's items fit.
    fn settle_forks(&mut self, touched: &mut BTreeSet<DocId>) -> Result<(), ReplicaError> {
        loop {
            // Those of other chains stay: what was parked for want of a record may follow them.
            self.forks.sort_by_key(|i| (i.header().chain(), i.header().n()));
            let Some(first) = self.forks.first() else { return Ok(()) };
            let chain = first.header().chain();
            let n = first.header().n().unwrap_or_default();
            let end = self.forks.partition_point(|i| i.header().chain() <= chain);
            let theirs: Vec<Item> = self.forks.drain(..end).collect();
            self.recover(
                ItemKey { chain, n },
                RejectCode::Fork,
                "another copy of this store was first",
                &theirs,
            )?;
            let mut batch = Batch::default();
            for item in theirs {
                // Judged once more: a record also has to find its place in the charter.
                self.take(Source::Relay, Seq(0), item.bytes().clone(), &mut batch, touched)?;
            }
            self.retry_parked(&mut batch, touched)?;
            batch.commit(&mut self.store)?;
        }
    }

    /// Saved views of documents that are to be judged again go with the records that ask for it, in one transaction.
    pub(super) fn drop_stale_views(&mut self, batch: &mut Batch) -> Result<(), ReplicaError> {
        for (branch, devices) in self.rejudge.iter().filter(|(_, devices)| !devices.is_empty()) {
            let Some(charter) = self.charters.get(branch) else { continue };
            for doc in charter.documents().keys() {
                // Of what is protected there is no saved view, and while it is locked nobody can tell who wrote it.
                if !self.is_protected_document(doc) && self.was_written_by(doc, devices)? {
                    batch.delete(Table::Views, doc.0);
                }
            }
        }
        Ok(())
    }

    /// After a change of who may do what: documents with runs that may count otherwise now are made again.
    pub(super) fn rejudge(&mut self) -> Result<(), ReplicaError> {
        for (branch, devices) in std::mem::take(&mut self.rejudge) {
            let Some(charter) = self.charters.get(&branch) else { continue };
            if devices.is_empty() {
                continue;
            }
            let docs: Vec<DocId> = charter.documents().keys().copied().collect();
            for doc in docs {
                if self.must_be_unlocked(&doc).is_err() {
                    // Nothing of it is open; what is to be said of its snapshot is said when that opens.
                    self.rejudge_locked.entry(branch).or_default().extend(&devices);
                    continue;
                }
                if self.was_written_by(&doc, &devices)? {
                    self.remake(&doc)?;
                }
            }
        }
        for doc in self.linked.take_replaced() {
            if self.must_be_unlocked(&doc).is_ok() {
                self.remake(&doc)?;
            }
        }
        Ok(())
    }

    fn was_written_by(&self, doc: &DocId, devices: &BTreeSet<DeviceId>) -> Result<bool, ReplicaError> {
        for (_, key) in self.store.read(|tx| schema::entries(tx, Table::DocumentLog, &doc.0))? {
            if devices.contains(&ItemKey::from_bytes(&key)?.chain.author.device) {
                return Ok(true);
            }
        }
        let Some(snapshot) = self.store.read(|tx| tx.get(Table::Snapshots, &doc.0))? else {
            return Ok(false);
        };
        self.snapshot_is_by(&schema::stored_item(snapshot)?, devices)
    }

    /// Makes a document again from its items, by the charter as it is now.
    pub(super) fn remake(&mut self, doc: &DocId) -> Result<(), ReplicaError> {
        self.flush_typing_as_typed(doc)?;
        let was_open = self.open.remove(doc).is_some();
        let mut batch = Batch::default();
        batch.delete(Table::Views, doc.0);
        batch.commit(&mut self.store)?;
        // Also of a closed document: runs that an invalid snapshot stood for have to be fetched.
        let had_snapshot = self.store.read(|tx| tx.get(Table::Snapshots, &doc.0))?.is_some();
        if had_snapshot && self.stored_snapshot(doc)?.is_none() && self.link_state == LinkState::Live {
            self.ask_have(self.space_of(doc).into_iter().collect());
        }
        if was_open {
            self.opened(doc)?;
        }
        self.push_event(Event::DocumentReset { doc: *doc });
        Ok(())
    }

    /// Brings received runs into an open document; tells the app about a closed one.
    pub(super) fn apply_received(&mut self, now: Now, doc: &DocId) -> Result<(), ReplicaError> {
        if self.open.contains_key(doc) {
            // Typing that is not under composition is committed first, so that it keeps its place.
            self.flush_typing_or_drop(doc, now.wall)?;
            self.advance(doc, true)?;
            // It may have grown.
            self.evict(doc)
        } else {
            self.push_event(Event::DocumentReset { doc: *doc });
            Ok(())
        }
    }
}
