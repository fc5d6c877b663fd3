//! Snapshots: one item that stands for a whole document, so that a new device need not fetch every run.
//!
//! Policy: a document's snapshot is made by the author of its newest run, when that device is caught up and has
//! nothing of the document left to send, and the runs since the last snapshot are larger than that snapshot and
//! than [`ReplicaConfig::snapshot_tail_bytes_min`](super::ReplicaConfig). So the bytes of all snapshots together
//! stay below those of all runs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dinh_proto::crypto::plain_bytes_max;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{Author, ChainId, DeviceId, DocId, SpaceId};
use dinh_proto::item::{Header, Item, Kind, Place, RawItem, SpaceSum};
use dinh_proto::ranges::Ranges;

use super::event::LinkState;
use super::receive::Source;
use super::schema::{self, Batch, ItemKey};
use super::{Outgoing, Replica, ReplicaError};
use crate::document::Document;
use crate::gate::{self, Authority, OpenedSnapshot, SnapshotAuthor, SnapshotFrame};
use crate::store::{Store, StoreError, Table};

/// Runs of a document since its last snapshot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tail {
    bytes: usize,
    snapshot_bytes: usize,
    /// Whether this device wrote the newest run.
    newest_is_own: bool,
}

impl<S: Store> Replica<S> {
    /// A run of a document was stored.
    pub(super) fn count_tail(&mut self, doc: &DocId, run: &Item) -> Result<(), ReplicaError> {
        let own = run.header().author.device == self.device;
        if !self.tails.contains_key(doc) {
            // Only who writes here may have to make a snapshot; what was there before counts too.
            if !own {
                return Ok(());
            }
            let tail = self.stored_tail(doc)?;
            self.tails.insert(*doc, tail);
        }
        let tail = self.tails.entry(*doc).or_default();
        tail.bytes += run.bytes().len();
        tail.newest_is_own = own;
        Ok(())
    }

    fn stored_tail(&self, doc: &DocId) -> Result<Tail, ReplicaError> {
        let snapshot = self.store.read(|tx| tx.get(Table::Snapshots, &doc.0))?;
        let mut tail = Tail { snapshot_bytes: snapshot.map_or(0, |s| s.len()), ..Tail::default() };
        for (_, key) in self.store.read(|tx| schema::entries(tx, Table::DocumentLog, &doc.0))? {
            let key = ItemKey::from_bytes(&key)?;
            if !self.is_covered(&key) {
                tail.bytes += self.read_item(&key.chain, key.n)?.map_or(0, |i| i.bytes().len());
            }
        }
        Ok(tail)
    }

    /// The stored snapshot of a document, opened. One that does not count any more (an author lost the right to a part
    /// of it) is given up: its runs are fetched.
    pub(super) fn stored_snapshot(&mut self, doc: &DocId) -> Result<Option<OpenedSnapshot>, ReplicaError> {
        let stored = self.store.read(|tx| tx.get(Table::Snapshots, &doc.0))?;
        let Some(item) = stored.map(schema::stored_item).transpose()? else { return Ok(None) };
        // It was tried out when it was received.
        match gate::open_verified_snapshot(&item, &self.authority(&item.header().space)) {
            Ok(opened) => Ok(Some(opened)),
            Err(gate::GateError::Header(_)) => {
                let mut batch = Batch::default();
                self.forget_snapshot(&item, &mut batch)?;
                batch.commit(&mut self.store)?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open_snapshot(&self, item: &Item) -> Result<OpenedSnapshot, gate::GateError> {
        gate::open_snapshot(item, &self.authority(&item.header().space))
    }

    pub(super) fn snapshot_frame_of(&self, item: &Item) -> Result<SnapshotFrame, gate::GateError> {
        gate::read_frame(item, &self.authority(&item.header().space))
    }

    /// Whether any of these devices wrote a part of a stored snapshot.
    pub(super) fn snapshot_is_by(
        &self,
        item: &Item,
        devices: &BTreeSet<DeviceId>,
    ) -> Result<bool, ReplicaError> {
        for author in self.snapshot_frame_of(item)?.authors {
            let header = Header::decode(&author.header[..dinh_proto::item::HEADER_BYTES])?;
            if devices.contains(&header.author.device) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a stored snapshot out: what it covered and is not held is missing from now on, and the next connection
    /// brings it.
    fn forget_snapshot(&mut self, item: &Item, batch: &mut Batch) -> Result<(), ReplicaError> {
        let (doc, space) = (item.header().doc, item.header().space);
        let frame = self.snapshot_frame_of(item)?;
        let mut sum = frame.sum;
        for author in &frame.authors {
            let header = Header::decode(&author.header[..dinh_proto::item::HEADER_BYTES])?;
            let chain = ChainId { space, author: header.author };
            let held = self.held.get(&chain).cloned().unwrap_or_default();
            for n in author.covered.iter().flat_map(|(a, b)| a..=b).filter(|n| held.contains(*n)) {
                if let Some(held) = self.read_item(&chain, n)? {
                    sum.remove(&held.id());
                }
            }
            self.linked.look_again(chain);
            self.uncover(&chain, &author.covered, batch);
        }
        self.change_sum(space, batch, |s| *s = SpaceSum(s.0.wrapping_sub(sum.0)));
        batch.delete(Table::Snapshots, doc.0);
        batch.delete(Table::Views, doc.0);
        self.leave_outbox(&item.id(), batch);
        self.tails.remove(&doc);
        self.note_missing(space, batch);
        Ok(())
    }

    fn uncover(&mut self, chain: &ChainId, ranges: &Ranges, batch: &mut Batch) {
        let covered = self.covered.remove(chain).unwrap_or_default().minus(ranges);
        if covered.is_empty() {
            batch.delete(Table::Covered, schema::chain_key(chain));
        } else {
            batch.put(Table::Covered, schema::chain_key(chain), super::ranges_bytes(&covered));
            self.covered.insert(*chain, covered);
        }
    }

    /// A snapshot came in place of the runs that it covers. One whose key is still on the way waits, as a run does: a
    /// device that is let in while it is connected gets the snapshots before its keys. One that does not open (also:
    /// not now, because its space is locked) is dropped, and the runs are fetched.
    pub(super) fn take_snapshot(
        &mut self,
        source: Source,
        raw: RawItem,
        batch: &mut Batch,
        touched: &mut BTreeSet<DocId>,
    ) -> Result<(), ReplicaError> {
        let (id, space) = (raw.id(), raw.header().space);
        let bytes = raw.as_bytes().clone();
        let charter = self.branch_charter(&space);
        let is_unjoined = charter.is_none();
        let verified = charter.map_or(Err(RejectCode::UnknownTarget), |c| {
            let key = c.key_for(&raw)?;
            let item = raw.verify(&key)?;
            c.standing(item.header(), item.id().link())?;
            Ok(item)
        });
        // With why not, whether it may open later.
        let opened = match verified {
            Ok(item) => match self.open_snapshot(&item) {
                Ok(opened) => Ok((item, opened)),
                Err(e) => Err((e == gate::GateError::NoKey && !self.is_locked(&space), e.to_string())),
            },
            Err(code) => Err((is_unjoined, format!("{code:?}"))),
        };
        let (item, opened) = match opened {
            Ok(found) => found,
            Err((true, reason)) if source != Source::Hall => {
                tracing::debug!(?id, reason, "a snapshot waits");
                self.park(id, space, &bytes, batch);
                return Ok(());
            }
            Err((_, reason)) => {
                tracing::warn!(?id, reason, "a snapshot is dropped: the runs will be fetched");
                self.counters.refused += 1;
                if source != Source::Hall {
                    self.note_missing(space, batch);
                }
                if source == Source::Parked && self.link_state == LinkState::Live {
                    self.ask_have(vec![space]);
                }
                return Ok(());
            }
        };
        if self.covers_less(source, &item, &opened, batch)? {
            tracing::debug!(?id, "an older snapshot than the one that is here is dropped");
            return Ok(());
        }
        self.use_snapshot(&item, &opened, batch)?;
        touched.insert(item.header().doc);
        Ok(())
    }

    /// Keys came: snapshots that waited for them are taken, in a transaction of its own.
    pub(super) fn retry_snapshots(&mut self, touched: &mut BTreeSet<DocId>) -> Result<(), ReplicaError> {
        if !self.keys_came {
            return Ok(());
        }
        let mut batch = Batch::default();
        for raw in self.unpark_snapshots(|_| true, &mut batch) {
            self.take_snapshot(Source::Parked, raw, &mut batch, touched)?;
        }
        batch.commit(&mut self.store)?;
        Ok(())
    }

    /// Everything came that there is, and not the keys of some snapshots: the runs are fetched.
    pub(super) fn give_up_snapshots(&mut self, spaces: &BTreeSet<SpaceId>, batch: &mut Batch) {
        for raw in self.unpark_snapshots(|space| spaces.contains(space), batch) {
            tracing::warn!(id = ?raw.id(), "a snapshot is dropped: its key did not come");
            self.counters.refused += 1;
            self.note_missing(raw.header().space, batch);
        }
    }

    /// Whether a parked item is a snapshot that waits for a key: no record lets it in.
    pub(super) fn lacks_key(&self, parked: &[u8]) -> bool {
        let Ok(raw) = RawItem::parse(Bytes::copy_from_slice(parked)) else { return false };
        let header = raw.header();
        header.kind == Kind::Snapshot
            && self.branch_charter(&header.space).is_some()
            && self.keys.get(&header.space, &header.key_epoch).is_none()
    }

    fn unpark_snapshots(&mut self, of: impl Fn(&SpaceId) -> bool, batch: &mut Batch) -> Vec<RawItem> {
        let mut found = Vec::new();
        self.parked.retain(|order, bytes| {
            let Ok(raw) = RawItem::parse(Bytes::copy_from_slice(bytes)) else { return true };
            if raw.header().kind != Kind::Snapshot || !of(&raw.header().space) {
                return true;
            }
            batch.delete(Table::Parked, order.to_be_bytes());
            found.push(raw);
            false
        });
        found
    }

    /// Whether something that only the stored snapshot holds would be lost by taking this one in its place. Another device's
    /// may not cover less at all: it is older.
    fn covers_less(
        &self,
        source: Source,
        item: &Item,
        opened: &OpenedSnapshot,
        batch: &Batch,
    ) -> Result<bool, ReplicaError> {
        let (doc, space) = (item.header().doc, item.header().space);
        let Some(old) = self.received_snapshot(&doc, batch)? else { return Ok(false) };
        for author in self.snapshot_frame_of(&schema::stored_item(old)?)?.authors {
            let header = Header::decode(&author.header[..dinh_proto::item::HEADER_BYTES])?;
            let chain = ChainId { space, author: header.author };
            let mut kept = covered_by(opened, &header.author);
            if source != Source::Hall {
                kept.extend(self.held.get(&chain).unwrap_or(&Ranges::default()));
            }
            if !author.covered.minus(&kept).is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The snapshot of a document that is here, also if it came with this very message.
    fn received_snapshot(&self, doc: &DocId, batch: &Batch) -> Result<Option<Vec<u8>>, StoreError> {
        match batch.get(Table::Snapshots, &doc.0) {
            Some(found) => Ok(found.map(<[u8]>::to_vec)),
            None => self.store.read(|tx| tx.get(Table::Snapshots, &doc.0)),
        }
    }

    fn use_snapshot(
        &mut self,
        item: &Item,
        opened: &OpenedSnapshot,
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        let doc = item.header().doc;
        let space = item.header().space;
        let mut sum = opened.frame.sum;
        let mut own_future = false;
        for (author, ranges) in &opened.covered {
            let chain = ChainId { space, author: *author };
            own_future |= *author == self.own_author()
                && self.held.get(&chain).is_none_or(|held| !ranges.minus(held).is_empty());
            // What is held already is in the space's sum; what an older snapshot covered is taken out below.
            let mut held = self.held.get(&chain).cloned().unwrap_or_default();
            held = held.minus(self.covered.get(&chain).unwrap_or(&Ranges::default()));
            for n in ranges.iter().flat_map(|(a, b)| a..=b).filter(|n| held.contains(*n)) {
                // It may have come with this very message.
                if let Some(held) = self.received_item(&chain, n, batch)? {
                    sum.remove(&held.id());
                }
            }
            let covered = self.covered.entry(chain).or_default();
            covered.extend(ranges);
            batch.put(Table::Covered, schema::chain_key(&chain), super::ranges_bytes(covered));
            self.linked.look_again(chain);
        }
        if let Some(old) = self.received_snapshot(&doc, batch)? {
            let old = self.snapshot_frame_of(&schema::stored_item(old)?)?;
            sum = SpaceSum(sum.0.wrapping_sub(old.sum.0));
            for author in &old.authors {
                let header = Header::decode(&author.header[..dinh_proto::item::HEADER_BYTES])?;
                let chain = ChainId { space, author: header.author };
                let given_up = author.covered.minus(&covered_by(opened, &header.author));
                // It does not count any more, say. What is held of it is in the sum by itself from now on.
                for n in given_up.iter().flat_map(|(a, b)| a..=b) {
                    if let Some(held) = self.received_item(&chain, n, batch)? {
                        sum.add(&held.id());
                    }
                }
                self.uncover(&chain, &given_up, batch);
            }
        }
        self.change_sum(space, batch, |s| *s = SpaceSum(s.0.wrapping_add(sum.0)));
        batch.put(Table::Snapshots, doc.0, item.bytes().to_vec());
        // The view is made again from the snapshot and the runs held.
        batch.delete(Table::Views, doc.0);
        self.open.remove(&doc);
        self.tails.insert(doc, Tail { bytes: 0, snapshot_bytes: item.bytes().len(), newest_is_own: false });
        self.counters.snapshots_used += 1;
        if own_future {
            // It was made of items of this very session that this store never made: the store is an old copy.
            self.leave_session(batch)?;
        }
        Ok(())
    }

    /// Whether a stored snapshot stands for an item.
    pub(super) fn is_covered(&self, key: &ItemKey) -> bool {
        self.covered.get(&key.chain).is_some_and(|covered| covered.contains(key.n))
    }

    /// Makes the snapshots that the policy asks for. Called when the device is caught up.
    pub(super) fn make_snapshots(&mut self) -> Result<(), ReplicaError> {
        let min = self.config.snapshot_tail_bytes_min;
        let due: Vec<DocId> = self
            .tails
            .iter()
            .filter(|(_, t)| t.newest_is_own && t.bytes > t.snapshot_bytes.max(min))
            .map(|(doc, _)| *doc)
            .collect();
        for doc in due {
            if !self.has_unsent(&doc) && self.must_be_unlocked(&doc).is_ok() {
                self.make_snapshot(&doc)?;
            }
        }
        Ok(())
    }

    fn make_snapshot(&mut self, doc: &DocId) -> Result<(), ReplicaError> {
        let (Some(space), Some(covers)) = (self.space_of(doc), self.cursor) else { return Ok(()) };
        if self.waiting_runs(doc)? > 0 {
            return Ok(());
        }
        let Some(frame) = self.snapshot_frame(doc)? else { return Ok(()) };
        let raw: Vec<Vec<u8>> =
            self.document(doc, |d: &Document| d.changes_raw(&[]).into_iter().map(|(_, raw)| raw).collect())?;
        let content = gate::seal_snapshot(&frame, &raw).map_err(ReplicaError::TooLarge)?;
        self.tails.insert(*doc, Tail { bytes: 0, snapshot_bytes: content.len(), newest_is_own: false });
        if content.len() > plain_bytes_max(true) {
            tracing::info!(%doc, bytes = content.len(), "the document is too large for a snapshot: new devices fetch its runs");
            return Ok(());
        }
        let Some(key) = self.write_key(&space) else { return Ok(()) };
        let draft = self.draft(Kind::Snapshot, space, *doc, Place::Covers(covers));
        let item = draft.seal(&self.key, key, self.authority(&space).is_padded(&space), &content)?;
        let mut batch = Batch::default();
        // The maker's own store gains nothing from it but the bytes to send.
        let opened = match self.open_snapshot(&item) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::info!(%doc, %error, "the document has no snapshot: new devices fetch its runs");
                return Ok(());
            }
        };
        self.use_snapshot(&item, &opened, &mut batch)?;
        let order = self.next_order(&mut batch);
        batch.put(Table::Outbox, order.to_be_bytes(), [&[1][..], &doc.0].concat());
        self.outbox_insert(order, Outgoing::Snapshot(*doc), item.id(), space);
        batch.commit(&mut self.store)?;
        self.counters.snapshots_made += 1;
        Ok(())
    }

    /// The newest run of every author and what the snapshot covers, or `None` if there is no run.
    fn snapshot_frame(&self, doc: &DocId) -> Result<Option<SnapshotFrame>, ReplicaError> {
        let mut authors: BTreeMap<Author, (u32, SnapshotAuthor)> = BTreeMap::new();
        let mut sum = SpaceSum::default();
        if let Some(old) = self.store.read(|tx| tx.get(Table::Snapshots, &doc.0))? {
            let frame = self.snapshot_frame_of(&schema::stored_item(old)?)?;
            sum = frame.sum;
            for author in frame.authors {
                let header = Header::decode(&author.header[..dinh_proto::item::HEADER_BYTES])?;
                authors.insert(header.author, (header.n().unwrap_or_default(), author));
            }
        }
        for (_, key) in self.store.read(|tx| schema::entries(tx, Table::DocumentLog, &doc.0))? {
            let key = ItemKey::from_bytes(&key)?;
            let Some(item) = self.read_item(&key.chain, key.n)? else { continue };
            // What does not count by its author's right is in no snapshot: nobody could tell it from what was dated back.
            if self.authority(&key.chain.space).may_write(item.header(), item.id().link()).is_err() {
                continue;
            }
            let (newest, author) = authors
                .entry(key.chain.author)
                .or_insert_with(|| (0, SnapshotAuthor { header: Vec::new(), covered: Ranges::default() }));
            if author.covered.insert(key.n) {
                sum.add(&item.id());
            }
            if key.n > *newest {
                *newest = key.n;
                author.header = item.bytes()[..dinh_proto::item::ITEM_OVERHEAD_BYTES].to_vec();
            }
        }
        if authors.is_empty() {
            return Ok(None);
        }
        Ok(Some(SnapshotFrame { authors: authors.into_values().map(|(_, a)| a).collect(), sum }))
    }
}

fn covered_by(opened: &OpenedSnapshot, author: &Author) -> Ranges {
    let mut covered = Ranges::default();
    opened.covered.iter().filter(|(a, _)| a == author).for_each(|(_, ranges)| covered.extend(ranges));
    covered
}
