//! From a device's `Put` to the log: parse, find the key, verify, authorise, continue the chain, append, ack.

use bytes::Bytes;
use dinh_proto::charter::Charter;
use dinh_proto::charter::record::{Record, branch_id};
use dinh_proto::error::{CloseCode, Fate, RejectCode};
use dinh_proto::ids::{DeviceId, ItemId, Seq, SpaceId};
use dinh_proto::item::{Header, Item, Kind, Place, RawItem};
use dinh_proto::keys::DevicePublic;
use dinh_proto::time::Timestamp;

use super::memory::Pins;
use super::peer::QueuedPut;
use super::policy::Shown;
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
    /// Who put them, and the permit that was shown: the connection may be gone when they are verified.
    carrier: Option<DeviceId>,
    permit: Shown,
    puts: Vec<(u64, bool, ItemId, Pins)>,
}

/// A request to the log's writer.
#[derive(Debug)]
pub(super) struct Append {
    token: u64,
    entries: Vec<IndexEntry>,
    bytes: Vec<Bytes>,
    pins: Vec<Pins>,
}

/// Why an item goes no further.
enum Held {
    Refused(ItemId, Refusal),
    /// These spaces must be in memory first.
    Cold(Vec<SpaceId>),
}

pub(super) struct Refusal {
    pub(super) code: RejectCode,
    pub(super) seq: Seq,
    pub(super) detail: String,
    /// Of which space the item is, as far as is known.
    pub(super) space: Option<SpaceId>,
}

impl From<RejectCode> for Refusal {
    fn from(code: RejectCode) -> Self {
        Self { code, seq: Seq(0), detail: String::new(), space: None }
    }
}

impl From<ChainRefusal> for Refusal {
    fn from(refusal: ChainRefusal) -> Self {
        Self { seq: refusal.seq, ..refusal.code.into() }
    }
}

impl Hub {
    /// Signatures were checked: results in the order of the request.
    pub fn handle_verified(&mut self, now: Timestamp, token: u64, results: Vec<Result<Item, RejectCode>>) {
        self.now = now;
        let Some(request) = self.verifying.remove(&token) else { return };
        let id = request.peer;
        let mut again = Vec::new();
        for ((number, bridged, item_id, pins), result) in request.puts.into_iter().zip(results) {
            // Its space may have come to be while its signature was checked, and be out of memory already. It is judged again then,
            // and so is what follows, which may build on it.
            if let Ok(item) = &result
                && (!again.is_empty() || !self.is_warm_for(item.header()))
            {
                again.push(QueuedPut { number, bridged, bytes: item.bytes().clone(), paid: true });
                self.unpin(pins);
                continue;
            }
            let outcome = result.map_err(Refusal::from).and_then(|item| {
                let mut outcome = self.admit(request.carrier, &request.permit, &item, bridged);
                if let Err(refusal) = &mut outcome {
                    refusal.space = Some(item.header().space);
                    self.repay(id, refusal.code, item.bytes().len());
                }
                outcome
            });
            self.unpin(pins);
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
        self.with_peer(id, |p| {
            p.verifying = false;
            again.into_iter().rev().for_each(|put| p.puts.push_front(put));
        });
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
            self.stats.log_bytes += u64::from(entry.len);
            self.tail.push(entry.seq, bytes);
            let chained = !is_snapshot(entry.kind);
            if let Some(space) = self.spaces.get_mut(&entry.space) {
                space.last_at = Some(self.wall);
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
        append.pins.into_iter().for_each(|pins| self.unpin(pins));
        self.commits.note(now, self.durable);
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
                    peer.mark_ack(number);
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
            let mut waits = false;
            let held = self.peers.get_mut(&id).map(|p| std::mem::take(&mut p.held_to_judge));
            while items.len() < VERIFY_BATCH_MAX {
                let Some(put) = self.next_put(id) else { break };
                match self.parse(id, put.bytes.clone()) {
                    Ok((raw, key)) => {
                        let pins = self.pin(&raw.header().space);
                        puts.push((put.number, put.bridged, raw.id(), pins));
                        items.push((raw, key));
                    }
                    Err(Held::Cold(needed)) => {
                        self.with_peer(id, |p| p.puts.push_front(put));
                        self.hold(id, |p| &mut p.held_to_judge, needed);
                        waits = true;
                        break;
                    }
                    // The record that it waits for may be among the items before it: those first.
                    Err(Held::Refused(_, refusal))
                        if refusal.code.fate() == Fate::Later && !items.is_empty() =>
                    {
                        self.with_peer(id, |p| p.puts.push_front(put));
                        break;
                    }
                    Err(Held::Refused(item, refusal)) => {
                        self.repay(id, refusal.code, put.bytes.len());
                        self.refuse(id, put.number, item, refusal);
                    }
                }
            }
            self.release(held.unwrap_or_default());
            if !items.is_empty() {
                let token = self.token();
                let peer = self.peers.get(&id);
                let carrier = peer.and_then(|p| p.device);
                let permit = peer.and_then(|p| p.permit.clone());
                self.verifying.insert(token, Verifying { peer: id, carrier, permit, puts });
                self.with_peer(id, |p| p.verifying = true);
                self.effects.push_back(Effect::Verify { token, items });
                return;
            }
            if waits {
                return;
            }
        }
    }

    fn parse(&mut self, id: PeerId, bytes: Bytes) -> Result<(RawItem, DevicePublic), Held> {
        let raw = RawItem::parse(bytes).map_err(|e| {
            let refusal = Refusal { detail: e.to_string(), ..e.reject_code().into() };
            Held::Refused(ItemId::default(), refusal)
        })?;
        let space = raw.header().space;
        let refused = |refusal| Held::Refused(raw.id(), Refusal { space: Some(space), ..refusal });
        self.check_size(raw.as_bytes().len()).map_err(refused)?;
        let branch = self.branch_of(raw.header()).map_err(refused)?;
        // The charter says whose key it is, and both are needed when it is judged.
        if !self.is_warm_for(raw.header()) {
            return Err(Held::Cold(vec![branch, space]));
        }
        self.key_of(id, &raw, &branch).map(|key| (raw.clone(), key)).map_err(refused)
    }

    /// The branch of an item, if anything is taken of it.
    fn branch_of(&self, header: &Header) -> Result<SpaceId, Refusal> {
        let branch = if header.kind == Kind::Charter {
            header.space
        } else {
            self.spaces.get(&header.space).ok_or(RejectCode::UnknownTarget)?.branch
        };
        self.policy.check_space(&header.space, &branch)?;
        Ok(branch)
    }

    /// Whether what judges an item is in memory: its space, and the charter of its branch.
    fn is_warm_for(&self, header: &Header) -> bool {
        let branch = self.spaces.get(&header.space).map(|s| s.branch);
        self.is_warm(&header.space) && branch.is_none_or(|branch| self.is_warm(&branch))
    }

    fn key_of(&self, id: PeerId, raw: &RawItem, branch: &SpaceId) -> Result<DevicePublic, Refusal> {
        match self.branches.get(branch) {
            Some(charter) => charter.key_for(raw).map_err(Refusal::from),
            None if raw.header().kind == Kind::Charter => self.founder_key(id, raw),
            None => Err(RejectCode::UnknownTarget.into()),
        }
    }

    /// The key in a genesis that founds a branch which this relay does not host yet.
    fn founder_key(&self, id: PeerId, raw: &RawItem) -> Result<DevicePublic, Refusal> {
        let Ok(Record::Genesis(genesis)) = Record::decode(raw.payload()) else {
            return Err(RejectCode::UnknownAuthor.into());
        };
        if branch_id(raw.payload()) != raw.header().space {
            return Err(RejectCode::BadLink.into());
        }
        let shown = self.peers.get(&id).map_or(&None, |p| &p.permit);
        self.may_found(shown, &raw.header().space, &genesis)?;
        Ok(genesis.secretary.request.public)
    }

    /// Gives a verified item its place, or says why not.
    fn admit(
        &mut self,
        carrier: Option<DeviceId>,
        permit: &Shown,
        item: &Item,
        bridged: bool,
    ) -> Result<Seq, Refusal> {
        let header = item.header();
        let space_id = header.space;
        if carrier.is_some_and(|device| self.policy.is_suspended(&device)) {
            return Err(RejectCode::Unavailable.into());
        }
        if header.kind == Kind::Charter {
            self.admit_record(carrier, permit, item, bridged)?;
        } else {
            let space = self.spaces.get(&space_id).ok_or(RejectCode::UnknownTarget)?;
            let charter = self.branches.get(&space.branch).ok_or(RejectCode::UnknownTarget)?;
            // What was written after its author lost the right may still be what others build on: devices judge that.
            charter.standing(header, item.id().link())?;
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
                        return Err(Refusal { seq: Seq(newer.seq), ..RejectCode::Duplicate.into() });
                    }
                    self.check_storing(Ok(()))?;
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
                    self.check_storing(fits)?
                }
            }
        }
        if header.kind != Kind::Charter {
            self.check_room(item)?;
        }
        let seq = Seq(self.staged.0 + 1);
        self.staged = seq;
        let entry = IndexEntry::of(seq, item.as_raw());
        self.spaces.entry(space_id).or_insert_with(|| Space::new(space_id)).add(&entry);
        self.weigh(space_id);
        // Until it is durable the log does not know of it, so nothing may be read from there instead.
        let pins = self.pin(&space_id);
        self.gathered.push((item.clone(), entry, pins));
        Ok(seq)
    }

    /// Whether what fits (or fits as soon as the items before it are here) can be stored now.
    fn check_storing(&self, fits: Result<(), ChainRefusal>) -> Result<(), Refusal> {
        match fits {
            Ok(()) | Err(ChainRefusal { code: RejectCode::Gap, .. }) if self.read_only => Err(Refusal {
                detail: "the relay's disk is full".to_owned(),
                ..RejectCode::Unavailable.into()
            }),
            fits => Ok(fits?),
        }
    }

    fn admit_record(
        &mut self,
        carrier: Option<DeviceId>,
        permit: &Shown,
        item: &Item,
        bridged: bool,
    ) -> Result<(), Refusal> {
        let branch = item.header().space;
        let record = Record::decode(item.payload())
            .map_err(|e| Refusal { detail: e.to_string(), ..RejectCode::Malformed.into() })?;
        let space = self.spaces.get(&branch);
        let fits = space.map_or(Ok(()), |space| {
            space.check_chain(&item.header().author, &item.header().place, &item.id(), bridged)
        });
        self.check_storing(fits)?;
        // A space belongs to the branch that named it first.
        if let Record::Space { nonce, .. } = &record
            && let space = SpaceId::derive(&item.header().author.device, nonce)
            && self.spaces.get(&space).is_some_and(|s| s.branch != branch)
        {
            return Err(RejectCode::NotAuthorised.into());
        }
        self.check_record_room(item, &record)?;
        // Judged again: another branch may have used the permit while this one's signature was checked.
        let permit = match &record {
            Record::Genesis(genesis) if !self.branches.contains_key(&branch) => {
                self.may_found(permit, &branch, genesis)?
            }
            _ => None,
        };
        let charter = self.branches.entry(branch).or_insert_with(|| Charter::new(branch));
        // One that does not count (any more) and that another member holds is a part of what all members hold: it stays, so
        // that a relay that lost its log gets back what the others have. Its own author has no such claim.
        let author = item.header().author.device;
        let other = carrier.filter(|carrier| *carrier != author);
        let held = other.is_some_and(|carrier| charter.can_read(&carrier, &branch));
        let inserted = match charter.insert(item) {
            Err(RejectCode::NotAuthorised) if held => charter.keep(item),
            other => other,
        };
        if charter.is_empty() {
            self.branches.remove(&branch);
        }
        inserted?;
        if let Some(permit) = permit {
            self.use_permit(branch, &permit);
        }
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
        self.log_refusal(id, item, &refusal);
        self.with_peer(id, |p| {
            p.session.reject(number, item, refusal.code, refusal.seq, &refusal.detail);
            p.answered(number);
        });
    }

    /// Hands gathered items to the writer.
    pub(super) fn flush_appends(&mut self) {
        while !self.gathered.is_empty() {
            let n = self.gathered.len().min(APPEND_BATCH_MAX);
            let (mut items, mut entries, mut pins) = (Vec::new(), Vec::new(), Vec::new());
            for (item, entry, pinned) in self.gathered.drain(..n) {
                items.push(item);
                entries.push(entry);
                pins.push(pinned);
            }
            let bytes = items.iter().map(|i| i.bytes().clone()).collect();
            let token = self.token();
            self.appends.push_back(Append { token, entries, bytes, pins });
            self.effects.push_back(Effect::Append { token, items });
        }
    }
}
