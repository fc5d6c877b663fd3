//! From a device's `Put` to the log: parse, find the key, verify, authorise, continue the chain, append, ack.

use bytes::Bytes;
use dinh_proto::charter::Charter;
use dinh_proto::charter::record::{Record, branch_id};
use dinh_proto::error::{CloseCode, Fate, RejectCode};
use dinh_proto::ids::{ItemId, Seq, SpaceId};
use dinh_proto::item::{Item, Kind, Place, RawItem};
use dinh_proto::keys::DevicePublic;
use dinh_proto::time::Timestamp;

use super::space::{ChainRefusal, Space};
use super::{Effect, Hub, PeerId, is_snapshot};
use crate::log::IndexEntry;

/// Signatures checked in one request.
const VERIFY_BATCH_MAX: usize = 64;
/// Items in one append request: the writer gathers requests into commits.
const APPEND_BATCH_MAX: usize = 1_024;

/// A request to the verifier.
#[derive(Debug)]
pub(super) struct Verifying {
    peer: PeerId,
    puts: Vec<(u64, bool, ItemId)>,
}

/// A request to the log's writer.
#[derive(Debug)]
pub(super) struct Append {
    token: u64,
    entries: Vec<IndexEntry>,
    bytes: Vec<Bytes>,
}

pub(super) struct Refusal {
    pub(super) code: RejectCode,
    pub(super) seq: Seq,
    pub(super) detail: String,
}

impl From<RejectCode> for Refusal {
    fn from(code: RejectCode) -> Self {
        Self { code, seq: Seq(0), detail: String::new() }
    }
}

impl From<ChainRefusal> for Refusal {
    fn from(refusal: ChainRefusal) -> Self {
        Self { code: refusal.code, seq: refusal.seq, detail: String::new() }
    }
}

impl Hub {
    /// Signatures were checked: results in the order of the request.
    pub fn handle_verified(&mut self, now: Timestamp, token: u64, results: Vec<Result<Item, RejectCode>>) {
        self.now = now;
        let Some(request) = self.verifying.remove(&token) else { return };
        let id = request.peer;
        for ((number, bridged, item_id), result) in request.puts.into_iter().zip(results) {
            let outcome = result.map_err(Refusal::from).and_then(|item| {
                let outcome = self.admit(id, &item, bridged);
                if let Err(refusal) = &outcome {
                    self.repay(id, refusal.code, item.bytes().len());
                }
                outcome
            });
            match outcome {
                // Bug: the author is told before the item is on disk.
                #[cfg(feature = "canary")]
                Ok(seq) if dinh_proto::canary::is_planted("ack-before-append") => {
                    self.with_peer(id, |p| {
                        p.session.ack(number, seq);
                        p.answered(number);
                    });
                }
                Ok(seq) => self.waiting.entry(seq).or_default().push((id, number, false)),
                Err(refusal) => self.refuse(id, number, item_id, refusal),
            }
        }
        self.with_peer(id, |p| p.verifying = false);
        self.advance_puts(id);
        self.settle(id);
    }

    /// An append is durable (its first place is `first`), or failed: then the log is of no more use.
    pub fn handle_appended(&mut self, now: Timestamp, token: u64, first: Result<Seq, ()>) {
        self.now = now;
        let Some(append) = self.appends.pop_front() else { return };
        debug_assert_eq!(append.token, token, "appends complete in order");
        let expected = append.entries.first().map(|e| e.seq);
        if first.ok() != expected {
            let peers: Vec<PeerId> = self.peers.keys().copied().collect();
            for peer in peers {
                self.with_peer(peer, |p| p.session.close(CloseCode::StorageFailed, 5_000));
                self.drain_events(peer);
                self.settle(peer);
            }
            return;
        }
        for (entry, bytes) in append.entries.iter().zip(append.bytes) {
            self.durable = entry.seq;
            self.stats.items_in += 1;
            self.tail.push(entry.seq, bytes);
            let chained = !is_snapshot(entry.kind);
            if let Some(space) = self.spaces.get_mut(&entry.space) {
                if chained {
                    space.sum.add(&entry.id);
                }
                for peer in space.subscribers.iter().filter(|_| chained) {
                    if let Some(peer) = self.peers.get_mut(peer) {
                        peer.dirty.insert(entry.space);
                        if peer.owes_caught_up {
                            peer.changed.insert(entry.space);
                        }
                    }
                }
            }
        }
        self.tell_waiting();
        let spaces: std::collections::BTreeSet<_> = append.entries.iter().map(|e| e.space).collect();
        let woken: std::collections::BTreeSet<PeerId> = spaces
            .iter()
            .filter_map(|s| self.spaces.get(s))
            .flat_map(|s| s.subscribers.iter().copied())
            .collect();
        woken.into_iter().for_each(|peer| self.settle(peer));
    }

    fn tell_waiting(&mut self) {
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= self.durable
        {
            let (seq, told) = entry.remove_entry();
            for (id, number, repeat) in told {
                let Some(peer) = self.peers.get_mut(&id) else { continue };
                if repeat {
                    peer.session.reject(number, ItemId::default(), RejectCode::Duplicate, seq, "");
                } else {
                    peer.session.ack(number, seq);
                    peer.own.insert(seq);
                }
                peer.answered(number);
                self.settle(id);
            }
        }
    }

    /// Judges queued puts in order, as far as their keys are known.
    pub(super) fn advance_puts(&mut self, id: PeerId) {
        loop {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            if peer.verifying || peer.puts.is_empty() || self.is_waiting(id) {
                return;
            }
            let mut items = Vec::new();
            let mut puts = Vec::new();
            while items.len() < VERIFY_BATCH_MAX {
                let Some(put) = self.next_put(id) else { break };
                match self.parse(put.bytes.clone()) {
                    Ok((raw, key)) => {
                        puts.push((put.number, put.bridged, raw.id()));
                        items.push((raw, key));
                    }
                    // The record that it waits for may be among the items before it: those first.
                    Err((_, refusal)) if refusal.code.fate() == Fate::Later && !items.is_empty() => {
                        self.with_peer(id, |p| p.puts.push_front(put));
                        break;
                    }
                    Err((item, refusal)) => {
                        self.repay(id, refusal.code, put.bytes.len());
                        self.refuse(id, put.number, item, refusal);
                    }
                }
            }
            if !items.is_empty() {
                let token = self.token();
                self.verifying.insert(token, Verifying { peer: id, puts });
                self.with_peer(id, |p| p.verifying = true);
                self.effects.push_back(Effect::Verify { token, items });
                return;
            }
        }
    }

    fn parse(&self, bytes: Bytes) -> Result<(RawItem, DevicePublic), (ItemId, Refusal)> {
        let raw = RawItem::parse(bytes).map_err(|e| {
            (ItemId::default(), Refusal { code: e.reject_code(), seq: Seq(0), detail: e.to_string() })
        })?;
        let header = raw.header();
        let branch = if header.kind == Kind::Charter {
            header.space
        } else {
            let space = self.spaces.get(&header.space).ok_or((raw.id(), RejectCode::UnknownTarget.into()))?;
            space.branch
        };
        let key = match self.branches.get(&branch) {
            Some(charter) => charter.key_for(&raw),
            None if header.kind == Kind::Charter => self.founder_key(&raw),
            None => Err(RejectCode::UnknownTarget),
        };
        key.map(|key| (raw.clone(), key)).map_err(|code| (raw.id(), code.into()))
    }

    /// The key in a genesis that founds a branch which this relay does not host yet.
    fn founder_key(&self, raw: &RawItem) -> Result<DevicePublic, RejectCode> {
        let Ok(Record::Genesis(genesis)) = Record::decode(raw.payload()) else {
            return Err(RejectCode::UnknownAuthor);
        };
        if branch_id(raw.payload()) != raw.header().space {
            return Err(RejectCode::BadLink);
        }
        if self.config.admit_new_branches {
            Ok(genesis.secretary.request.public)
        } else {
            Err(RejectCode::NotAdmitted)
        }
    }

    /// Gives a verified item its place, or says why not.
    fn admit(&mut self, id: PeerId, item: &Item, bridged: bool) -> Result<Seq, Refusal> {
        let header = item.header();
        let space_id = header.space;
        if header.kind == Kind::Charter {
            self.admit_record(id, item, bridged)?;
        } else {
            let space = self.spaces.get(&space_id).ok_or(RejectCode::UnknownTarget)?;
            let charter = self.branches.get(&space.branch).ok_or(RejectCode::UnknownTarget)?;
            // What was written after its author lost the right may still be what others build on: devices judge that.
            charter.standing(header, item.id().link())?;
            let carrier = self.peers.get(&id).and_then(|p| p.device);
            let may = carrier.is_some_and(|device| charter.can_read(&device, &space_id));
            // Bug: a device that was removed goes on putting in what it writes (devices believe it: see `view.rs` of the charter).
            #[cfg(feature = "canary")]
            let may = may
                || dinh_proto::canary::is_planted("revoked-author-accepted")
                    && carrier.is_some_and(|device| charter.removed().contains_key(&device));
            if !may {
                return Err(RejectCode::NotAuthorised.into());
            }
            match header.place {
                Place::Covers(cursor) => {
                    if !self.epochs.is_valid(cursor, self.durable) {
                        return Err(RejectCode::BadLink.into());
                    }
                    if let Some(newer) = space.snapshot(&header.doc).filter(|s| s.covers >= cursor.seq.0) {
                        return Err(Refusal {
                            code: RejectCode::Duplicate,
                            seq: Seq(newer.seq),
                            detail: String::new(),
                        });
                    }
                }
                Place::Chain { .. } => {
                    let fits = space.check_chain(&header.author, &header.place, &item.id(), bridged);
                    // Bug: neither counter nor link is looked at: only what is here already is told apart.
                    #[cfg(feature = "canary")]
                    let fits = fits.or_else(|refusal| match refusal.code {
                        RejectCode::Fork | RejectCode::BadLink | RejectCode::Gap
                            if dinh_proto::canary::is_planted("relay-skips-chain-check") =>
                        {
                            Ok(())
                        }
                        _ => Err(refusal),
                    });
                    // Bug: what comes again, because its ack was lost, gets a second place.
                    #[cfg(feature = "canary")]
                    let fits = fits.or_else(|refusal| match refusal.code {
                        RejectCode::Duplicate if dinh_proto::canary::is_planted("append-twice") => Ok(()),
                        _ => Err(refusal),
                    });
                    fits?
                }
            }
        }
        if header.kind != Kind::Charter {
            self.check_room(item)?;
        }
        let seq = Seq(self.staged.0 + 1);
        self.staged = seq;
        let entry = IndexEntry::of(seq, item.as_raw());
        self.spaces.entry(space_id).or_insert_with(|| Space::new(space_id)).add(&entry, false);
        self.gathered.push((item.clone(), entry));
        Ok(seq)
    }

    fn admit_record(&mut self, id: PeerId, item: &Item, bridged: bool) -> Result<(), Refusal> {
        let branch = item.header().space;
        let record = Record::decode(item.payload()).map_err(|e| Refusal {
            code: RejectCode::Malformed,
            seq: Seq(0),
            detail: e.to_string(),
        })?;
        if let Some(space) = self.spaces.get(&branch) {
            space.check_chain(&item.header().author, &item.header().place, &item.id(), bridged)?;
        }
        // A space belongs to the branch that named it first.
        if let Record::Space { nonce, .. } = &record
            && let space = SpaceId::derive(&item.header().author.device, nonce)
            && self.spaces.get(&space).is_some_and(|s| s.branch != branch)
        {
            return Err(RejectCode::NotAuthorised.into());
        }
        self.check_record_room(item, &record)?;
        let charter = self.branches.entry(branch).or_insert_with(|| Charter::new(branch));
        // One that does not count (any more) and that another member holds is a part of what all members hold: it stays, so
        // that a relay that lost its log gets back what the others have. Its own author has no such claim.
        let author = item.header().author.device;
        let carrier = self.peers.get(&id).and_then(|p| p.device).filter(|carrier| *carrier != author);
        let held = carrier.is_some_and(|carrier| charter.can_read(&carrier, &branch));
        let inserted = match charter.insert(item) {
            Err(RejectCode::NotAuthorised) if held => charter.keep(item),
            other => other,
        };
        if charter.is_empty() {
            self.branches.remove(&branch);
        }
        inserted?;
        self.count_record(branch, author);
        // Bug: the record is stored, and who may read what stays as it was.
        #[cfg(feature = "canary")]
        if dinh_proto::canary::is_planted("record-not-applied") {
            return Ok(());
        }
        self.take_over_charter(branch);
        Ok(())
    }

    pub(super) fn refuse(&mut self, id: PeerId, number: u64, item: ItemId, refusal: Refusal) {
        self.stats.count_reject(refusal.code);
        // A repeat of what is not durable yet is answered when it is.
        if refusal.code == RejectCode::Duplicate && refusal.seq > self.durable {
            self.waiting.entry(refusal.seq).or_default().push((id, number, true));
            return;
        }
        self.with_peer(id, |p| {
            p.session.reject(number, item, refusal.code, refusal.seq, &refusal.detail);
            p.answered(number);
        });
    }

    /// Hands gathered items to the writer.
    pub(super) fn flush_appends(&mut self) {
        while !self.gathered.is_empty() {
            let n = self.gathered.len().min(APPEND_BATCH_MAX);
            let (items, entries): (Vec<Item>, Vec<IndexEntry>) = self.gathered.drain(..n).unzip();
            let bytes = items.iter().map(|i| i.bytes().clone()).collect();
            let token = self.token();
            self.appends.push_back(Append { token, entries, bytes });
            self.effects.push_back(Effect::Append { token, items });
        }
    }
}
