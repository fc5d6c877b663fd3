//! How much of a relay one device, document, space or branch may take. Quotas delay or refuse transfer; they never
//! decide what is valid.
//!
//! What a device may put is counted when an item is about to be judged. If it is not there yet the item waits where
//! it is, and since its credit is not given back the device soon stops sending: nothing is lost and nothing sent twice.
//! Only an item for which it would have to wait very long is refused. What is counted is forgotten when the relay stops.
//!
//! Each refusal and wait is counted and has a log line, of which a flood leaves out most.

use std::collections::BTreeMap;
use std::time::Duration;

use dinh_proto::charter::record::Record;
use dinh_proto::error::{CloseCode, Fate, RejectCode};
use dinh_proto::ids::{DeviceId, ItemId, SpaceId};
use dinh_proto::item::{ITEM_OVERHEAD_BYTES, Item, Kind};
use dinh_proto::limits;
use dinh_proto::time::Timestamp;

use super::admit::Refusal;
use super::peer::QueuedPut;
use super::{Hub, PeerId};
use crate::bucket::{Bucket, Rate};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// What the operator lets devices take. The defaults and their reasons are in [`limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotas {
    /// Messages of one device that ask for something.
    pub messages: Rate,
    /// Bytes of the frames of one device.
    pub frame_bytes: Rate,
    /// Items that one device puts: beyond it they wait.
    pub items: Rate,
    /// Bytes of items that one device puts, in the short run: beyond it they wait.
    pub bytes_per_minute: Rate,
    /// Bytes of items that one device puts, in the long run. To refill a relay that was restored from few devices an
    /// operator may want more.
    pub bytes_per_day: Rate,
    /// How long an item waits for its device's share of a day before it is refused.
    pub patience: Duration,
    /// Bytes of one item. What is larger is refused for ever.
    pub item_bytes: u64,
    /// Bytes of the runs of one document.
    pub document_bytes: u64,
    /// Bytes of all items of one space.
    pub space_bytes: u64,
    /// Documents of one branch.
    pub branch_documents: usize,
    /// Bytes of all records of one charter.
    pub charter_bytes: u64,
    /// New records of one charter.
    pub records_of_branch: Rate,
    /// New records by one device.
    pub records_of_device: Rate,
    /// Bytes of greetings that are not complete, over all connections.
    pub greeting_bytes: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            messages: Rate::new(limits::MESSAGES_BURST, limits::MESSAGES_PER),
            frame_bytes: Rate::new(limits::FRAME_BYTES_BURST, limits::FRAME_BYTES_PER),
            items: Rate::new(limits::PUT_ITEMS_BURST, limits::PUT_ITEMS_PER),
            bytes_per_minute: Rate::new(limits::PUT_BYTES_PER_MINUTE, MINUTE),
            bytes_per_day: Rate::new(limits::PUT_BYTES_PER_DAY, DAY),
            patience: limits::PUT_PATIENCE,
            item_bytes: (limits::ITEM_PAYLOAD_BYTES_MAX + ITEM_OVERHEAD_BYTES) as u64,
            document_bytes: limits::DOCUMENT_BYTES_MAX,
            space_bytes: limits::SPACE_BYTES_MAX,
            branch_documents: limits::BRANCH_DOCUMENTS_MAX,
            charter_bytes: limits::CHARTER_BYTES_MAX,
            records_of_branch: Rate::new(limits::CHARTER_RECORDS_PER_DAY, DAY),
            records_of_device: Rate::new(limits::CHARTER_RECORDS_OF_DEVICE_PER_DAY, DAY),
            greeting_bytes: limits::GREETING_BYTES_MAX,
        }
    }
}

/// A quota because of which items wait or are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Limit {
    /// [`Quotas::items`]: they wait.
    Items,
    /// [`Quotas::bytes_per_minute`]: they wait.
    BytesPerMinute,
    /// [`Quotas::bytes_per_day`]: they wait, and are refused in the end.
    BytesPerDay,
    /// [`Quotas::item_bytes`].
    ItemBytes,
    /// [`Quotas::document_bytes`].
    DocumentBytes,
    /// [`Quotas::space_bytes`].
    SpaceBytes,
    /// [`Quotas::branch_documents`].
    BranchDocuments,
    /// [`Quotas::charter_bytes`].
    CharterBytes,
    /// [`Quotas::records_of_branch`].
    RecordsOfBranch,
    /// [`Quotas::records_of_device`].
    RecordsOfDevice,
}

impl Limit {
    /// The name in metrics and in what a device is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Items => "Items",
            Self::BytesPerMinute => "BytesPerMinute",
            Self::BytesPerDay => "BytesPerDay",
            Self::ItemBytes => "ItemBytes",
            Self::DocumentBytes => "DocumentBytes",
            Self::SpaceBytes => "SpaceBytes",
            Self::BranchDocuments => "BranchDocuments",
            Self::CharterBytes => "CharterBytes",
            Self::RecordsOfBranch => "RecordsOfBranch",
            Self::RecordsOfDevice => "RecordsOfDevice",
        }
    }
}

/// What one device has taken, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Share {
    messages: Bucket,
    frame_bytes: Bucket,
    items: Bucket,
    minute: Bucket,
    day: Bucket,
}

/// New records of one branch.
#[derive(Debug, Default)]
pub(super) struct RecordShare {
    /// When the branch came to this relay, if that was since the relay started.
    founded: Option<Timestamp>,
    all: Bucket,
    devices: BTreeMap<DeviceId, Bucket>,
}

impl RecordShare {
    fn is_new(&self, now: Timestamp) -> bool {
        self.founded.is_some_and(|founded| now < founded + DAY)
    }
}

/// The first item in a connection's queue waits for its device's share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    /// Since when it waits for the share of a day.
    since: Timestamp,
    /// When it is looked at again.
    until: Timestamp,
}

impl Hub {
    /// From when on the socket of this connection should be read again; not after now if at once.
    pub fn reads_again_at(&self, peer: PeerId) -> Timestamp {
        let (messages, bytes) = self.read_again_at(peer);
        messages.max(bytes)
    }

    /// For the number of its device's messages, and for their bytes.
    fn read_again_at(&self, peer: PeerId) -> (Timestamp, Timestamp) {
        let quotas = &self.config.quotas;
        let share = self.peers.get(&peer).and_then(|p| self.shares.get(&p.device?));
        share.map_or_else(Default::default, |share| {
            let bytes = share.frame_bytes.ready_at(&quotas.frame_bytes, 0);
            (share.messages.ready_at(&quotas.messages, 0), bytes)
        })
    }

    /// Which device this connection is, once that is known.
    pub fn device_of(&self, peer: PeerId) -> Option<DeviceId> {
        self.peers.get(&peer)?.device
    }

    /// Ends a connection that has not greeted, because others want its place.
    pub fn turn_away(&mut self, now: Timestamp, peer: PeerId) {
        self.now = now;
        if self.device_of(peer).is_some() {
            return;
        }
        self.with_peer(peer, |p| p.session.close(CloseCode::TooMany, 1_000));
        self.drain_events(peer);
        self.settle(peer);
    }

    /// Counts a frame of a connection that has not greeted; ends it if too much of greetings is kept.
    pub(super) fn count_greeting(&mut self, id: PeerId, bytes: usize) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.device.is_some() {
            return;
        }
        let is_first = peer.greeting_bytes == 0;
        peer.greeting_bytes += bytes;
        self.greeting_bytes += bytes;
        // A first frame is looked at in any case: most greetings end in it.
        if !is_first && self.greeting_bytes > self.config.quotas.greeting_bytes {
            peer.session.close(CloseCode::TooMany, 1_000);
            self.stats.refused_greeting_bytes += 1;
            self.log_connection("greeting_bytes", id, None);
        }
    }

    /// Counts a frame of a device that is known.
    pub(super) fn count_frame(&mut self, id: PeerId, bytes: usize) {
        let Some(device) = self.peers.get(&id).and_then(|p| p.device) else { return };
        let rate = &self.config.quotas.frame_bytes;
        let share = self.shares.entry(device).or_default();
        share.frame_bytes.take(self.now, rate, bytes as u64);
        share.frame_bytes.forgive(self.now, rate, limits::READ_PAUSE_MAX);
    }

    /// After a frame: whether its socket is read later now.
    pub(super) fn count_pause(&mut self, id: PeerId) {
        let (messages, bytes) = self.read_again_at(id);
        if messages > self.now {
            self.stats.paused_messages += 1;
            self.log_pause(id, "messages");
        }
        if bytes > self.now {
            self.stats.paused_bytes += 1;
            self.log_pause(id, "bytes");
        }
    }

    /// What a connection that greeted, or is over, sent before is no longer kept.
    pub(super) fn end_greeting(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && (peer.device.is_some() || peer.session.is_ended())
        {
            self.greeting_bytes -= std::mem::take(&mut peer.greeting_bytes);
        }
    }

    /// Counts a message that asks for something.
    pub(super) fn count_message(&mut self, id: PeerId) {
        let Some(device) = self.peers.get(&id).and_then(|p| p.device) else { return };
        let rate = &self.config.quotas.messages;
        let share = self.shares.entry(device).or_default();
        share.messages.take(self.now, rate, 1);
        share.messages.forgive(self.now, rate, limits::READ_PAUSE_MAX);
    }

    /// A connection of this device ended. A stranger is forgotten (it could come back under another name anyway), a
    /// member when nothing is counted any more.
    pub(super) fn forget_share(&mut self, device: &DeviceId) {
        let is_member = self.members.contains_key(device);
        let now = self.now;
        let is_unused = |s: &Share| {
            [s.messages, s.frame_bytes, s.items, s.minute, s.day].iter().all(|bucket| bucket.is_full(now))
        };
        if !self.by_device.contains_key(device)
            && (!is_member || self.shares.get(device).is_some_and(is_unused))
        {
            self.shares.remove(device);
        }
    }

    /// The next item of a connection that may be judged. `None` if there is none, or it waits for its device's share.
    pub(super) fn next_put(&mut self, id: PeerId) -> Option<QueuedPut> {
        let (now, quotas) = (self.now, &self.config.quotas);
        let peer = self.peers.get_mut(&id)?;
        let device = peer.device?;
        let put = peer.puts.front_mut()?;
        if !put.paid {
            let cost = put.bytes.len() as u64;
            let share = self.shares.entry(device).or_default();
            let day = share.day.ready_at(&quotas.bytes_per_day, cost);
            let (ready, limit) = [
                (share.items.ready_at(&quotas.items, 1), Limit::Items),
                (share.minute.ready_at(&quotas.bytes_per_minute, cost), Limit::BytesPerMinute),
                (day, Limit::BytesPerDay),
            ]
            .into_iter()
            .max()
            .unwrap_or((now, Limit::Items));
            if ready > now {
                // What comes back soon is waited for, however long.
                let since = peer.wait.filter(|_| day > now).map_or(now, |w| w.since);
                let at_most = if day > now { since + quotas.patience } else { ready };
                if now >= at_most {
                    self.refuse_waiting(id);
                    return None;
                }
                let until = ready.min(at_most);
                let is_new = peer.wait.replace(Wait { since, until }).is_none();
                self.waits.insert((until, id));
                if is_new {
                    self.count_delay(device, limit);
                }
                return None;
            }
            share.items.take(now, &quotas.items, 1);
            share.minute.take(now, &quotas.bytes_per_minute, cost);
            share.day.take(now, &quotas.bytes_per_day, cost);
            put.paid = true;
        }
        peer.wait = None;
        peer.puts.pop_front()
    }

    fn count_delay(&mut self, device: DeviceId, limit: Limit) {
        *self.stats.puts_delayed.entry(limit).or_default() += 1;
        self.log_delay(device, limit);
    }

    /// Whether the next item of a connection waits, and not long enough yet.
    pub(super) fn is_waiting(&self, id: PeerId) -> bool {
        self.peers.get(&id).and_then(|p| p.wait).is_some_and(|w| w.until > self.now)
    }

    /// All of them: what follows would only wait as long, or be refused for the gap.
    fn refuse_waiting(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.wait = None;
        let puts = std::mem::take(&mut peer.puts);
        let quotas = self.config.quotas.clone();
        for put in puts {
            let refusal = self.over(Limit::BytesPerDay, &quotas);
            self.refuse(id, put.number, ItemId::default(), refusal);
        }
    }

    /// Judges what may no longer wait.
    pub(super) fn end_waits(&mut self) {
        while let Some((at, id)) = self.waits.first().copied()
            && at <= self.now
        {
            self.waits.pop_first();
            self.advance_puts(id);
            self.settle(id);
        }
    }

    /// What comes again costs nothing in the long run: items that are refused for now are offered later, and several
    /// devices that refill a relay have the same ones.
    pub(super) fn repay(&mut self, id: PeerId, code: RejectCode, bytes: usize) {
        if code.fate() != Fate::Never
            && let Some(share) = self.peers.get(&id).and_then(|p| self.shares.get_mut(&p.device?))
        {
            share.day.give_back(&self.config.quotas.bytes_per_day, bytes as u64);
        }
    }

    /// Whether an item is not too large for this relay.
    pub(super) fn check_size(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes as u64 <= self.config.quotas.item_bytes {
            return Ok(());
        }
        let quotas = self.config.quotas.clone();
        Err(Refusal { code: RejectCode::TooLarge, ..self.over(Limit::ItemBytes, &quotas) })
    }

    /// Whether there is room for a run or snapshot.
    pub(super) fn check_room(&mut self, item: &Item) -> Result<(), Refusal> {
        let (header, len) = (item.header(), item.bytes().len() as u64);
        let Some(space) = self.spaces.get(&header.space) else { return Ok(()) };
        let quotas = self.quotas_of(&space.branch);
        if space.bytes() + len > quotas.space_bytes {
            return Err(self.over(Limit::SpaceBytes, &quotas));
        }
        let document = space.document_bytes(&header.doc);
        if header.kind == Kind::Run && document + len > quotas.document_bytes {
            return Err(self.over(Limit::DocumentBytes, &quotas));
        }
        Ok(())
    }

    /// Whether there is room for a charter record.
    pub(super) fn check_record_room(&mut self, item: &Item, record: &Record) -> Result<(), Refusal> {
        let now = self.now;
        let branch = item.header().space;
        let quotas = self.quotas_of(&branch);
        let stored = self.spaces.get(&branch).map_or(0, |s| s.bytes());
        if stored + item.bytes().len() as u64 > quotas.charter_bytes {
            return Err(self.over(Limit::CharterBytes, &quotas));
        }
        if matches!(record, Record::Document { .. })
            && self.branches.get(&branch).is_some_and(|c| {
                c.documents().values().filter(|d| d.counts).count() >= quotas.branch_documents
            })
        {
            return Err(self.over(Limit::BranchDocuments, &quotas));
        }
        let Some(share) = self.record_shares.get(&branch).filter(|s| !s.is_new(now)) else { return Ok(()) };
        if share.all.ready_at(&quotas.records_of_branch, 1) > now {
            return Err(self.over(Limit::RecordsOfBranch, &quotas));
        }
        let own = share.devices.get(&item.header().author.device).copied().unwrap_or_default();
        if own.ready_at(&quotas.records_of_device, 1) > now {
            return Err(self.over(Limit::RecordsOfDevice, &quotas));
        }
        Ok(())
    }

    /// Counts a record that was taken. What does not count in the charter is not counted here: a reader cannot use up
    /// the day of a branch.
    pub(super) fn count_record(&mut self, branch: SpaceId, issuer: DeviceId) {
        let (now, quotas) = (self.now, &self.config.quotas);
        let share = self.record_shares.entry(branch).or_default();
        if self.branches.get(&branch).is_some_and(|c| c.len() == 1) {
            share.founded = Some(now);
        }
        if !share.is_new(now) {
            share.all.take(now, &quotas.records_of_branch, 1);
            share.devices.entry(issuer).or_default().take(now, &quotas.records_of_device, 1);
        }
    }

    /// What a branch may take: the relay's own limits, but for what the operator decided for it alone.
    fn quotas_of(&self, branch: &SpaceId) -> Quotas {
        let (mut quotas, own) = (self.config.quotas.clone(), self.policy.limits(branch));
        quotas.document_bytes = own.document_bytes.unwrap_or(quotas.document_bytes);
        quotas.space_bytes = own.space_bytes.unwrap_or(quotas.space_bytes);
        quotas.charter_bytes = own.charter_bytes.unwrap_or(quotas.charter_bytes);
        if let Some(documents) = own.documents {
            quotas.branch_documents = usize::try_from(documents).unwrap_or(usize::MAX);
        }
        quotas
    }

    /// A refusal that names the limit; counted.
    fn over(&mut self, limit: Limit, q: &Quotas) -> Refusal {
        *self.stats.quotas.entry(limit).or_default() += 1;
        let per = |what, rate: &Rate| format!("{} {what} in {} s", rate.amount, rate.per.as_secs());
        let most = match limit {
            Limit::Items => per("items of one device", &q.items),
            Limit::BytesPerMinute => per("bytes of one device", &q.bytes_per_minute),
            Limit::BytesPerDay => per("bytes of one device", &q.bytes_per_day),
            Limit::ItemBytes => format!("{} bytes in one item", q.item_bytes),
            Limit::DocumentBytes => format!("{} bytes in one document", q.document_bytes),
            Limit::SpaceBytes => format!("{} bytes in one space", q.space_bytes),
            Limit::BranchDocuments => format!("{} documents in one branch", q.branch_documents),
            Limit::CharterBytes => format!("{} bytes in one charter", q.charter_bytes),
            Limit::RecordsOfBranch => per("charter records of one branch", &q.records_of_branch),
            Limit::RecordsOfDevice => per("charter records of one device", &q.records_of_device),
        };
        let detail = format!("{}: at most {most}", limit.name());
        Refusal { code: RejectCode::Quota, detail, ..RejectCode::Quota.into() }
    }
}
