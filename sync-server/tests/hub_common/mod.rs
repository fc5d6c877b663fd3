//! The production hub over a log in memory, with production device sessions, and a small branch to play with.
//! Everything happens in the calling thread, in virtual time.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::collections::BTreeMap;

use bytes::Bytes;
use dinh_proto::channel::{Binding, Channel};
use dinh_proto::charter::record::{Audience, Certificate, JoinRequest, Record, Role, Writers, found};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::error::{CloseCode, RejectCode, SessionError};
use dinh_proto::ids::{
    ChangeHash, CharterTag, Cursor, DeviceId, DocId, ItemId, LogEpoch, MemberId, Seq, SessionId, SpaceId,
};
use dinh_proto::item::{Draft, Item, Kind, Place};
use dinh_proto::keys::{DeviceKey, RelayKey, SignKey};
use dinh_proto::session::{DeviceEvent, DeviceSession};
use dinh_proto::time::Timestamp;
use dinh_proto::wire::{Hello, Message, MessageReader, write_message};
use dinh_server::hub::{Effect, Hub, HubConfig, Loaded, OperatorRow, PeerId};
use dinh_server::log::{EpochHistory, Summary};

/// The relay's.
pub fn relay_key() -> RelayKey {
    RelayKey::from_seed(&[77; 32])
}

pub const EPOCH: LogEpoch = LogEpoch([9; 8]);

/// The other end of a connection.
#[allow(clippy::large_enum_variant, reason = "there are few")]
pub enum End {
    Session(Box<DeviceSession>),
    /// Bytes of one's own making; what the relay says is kept.
    Raw {
        channel: Channel,
        outgoing: Vec<Vec<u8>>,
        reader: MessageReader,
    },
}

pub struct Client {
    pub end: End,
    pub events: Vec<DeviceEvent>,
    /// What a raw end was told.
    pub messages: Vec<Message>,
    /// The hub asked for this connection to be closed.
    pub closed: bool,
    /// Frames and bytes: to the relay, from the relay.
    pub frames: [usize; 2],
    pub bytes: [usize; 2],
    auto_release: bool,
}

impl Client {
    fn new(end: End) -> Self {
        Self {
            end,
            events: Vec::new(),
            messages: Vec::new(),
            closed: false,
            frames: [0; 2],
            bytes: [0; 2],
            auto_release: true,
        }
    }

    pub fn session(&mut self) -> &mut DeviceSession {
        match &mut self.end {
            End::Session(session) => session,
            End::Raw { .. } => panic!("a raw end has no session"),
        }
    }

    fn poll_transmit(&mut self, frame: &mut Vec<u8>) -> bool {
        match &mut self.end {
            End::Session(session) => session.poll_transmit(frame),
            End::Raw { outgoing, .. } => {
                if outgoing.is_empty() {
                    return false;
                }
                frame.extend(outgoing.remove(0));
                true
            }
        }
    }

    fn handle_frame(&mut self, now: Timestamp, frame: &[u8]) {
        match &mut self.end {
            End::Session(session) => {
                session.handle_frame(now, frame);
                while let Some(event) = session.poll_event() {
                    if let DeviceEvent::Items { bytes, .. } = &event
                        && self.auto_release
                    {
                        session.release(*bytes);
                    }
                    self.events.push(event);
                }
            }
            End::Raw { channel, reader, .. } => {
                match channel.open(frame) {
                    Ok(plain) => reader.push(&plain),
                    Err(SessionError::ClosedByPeer { code, retry_after_ms, detail }) => {
                        self.messages.push(Message::Close { code, retry_after_ms, detail });
                    }
                    Err(error) => panic!("the relay's frames open: {error}"),
                }
                while let Some((message, _)) = reader.next_message().expect("the relay's messages read") {
                    self.messages.push(message);
                }
            }
        }
    }

    /// Items received so far, in order.
    pub fn items(&self) -> Vec<(Seq, Bytes)> {
        let items = self.events.iter().filter_map(|e| match e {
            DeviceEvent::Items { items, .. } => Some(items.items.clone()),
            _ => None,
        });
        items.flatten().collect()
    }

    pub fn acks(&self) -> Vec<(ItemId, Seq)> {
        let acks = self.events.iter().filter_map(|e| match e {
            DeviceEvent::Acked { id, seq } => Some((*id, *seq)),
            _ => None,
        });
        acks.collect()
    }

    pub fn rejects(&self) -> Vec<(ItemId, RejectCode)> {
        let rejects = self.events.iter().filter_map(|e| match e {
            DeviceEvent::Rejected { id, code, .. } => Some((*id, *code)),
            _ => None,
        });
        rejects.collect()
    }

    pub fn caught_up(&self) -> Option<Seq> {
        self.events.iter().rev().find_map(|e| match e {
            DeviceEvent::CaughtUp(c) => Some(c.seq),
            _ => None,
        })
    }

    /// The code with which the relay closed this connection.
    pub fn close_code(&self) -> Option<CloseCode> {
        let told = self.events.iter().find_map(|e| match e {
            DeviceEvent::Closed(SessionError::ClosedByPeer { code, .. }) => Some(*code),
            _ => None,
        });
        told.or_else(|| {
            self.messages.iter().find_map(|m| match m {
                Message::Close { code, .. } => Some(*code),
                _ => None,
            })
        })
    }
}

pub struct World {
    pub hub: Hub,
    pub now: Timestamp,
    pub clients: BTreeMap<u64, Client>,
    /// The log: the item at place `i + 1`.
    pub log: Vec<Bytes>,
    /// The operator's table.
    pub operator: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Appends wait here instead of being done.
    pub hold_appends: bool,
    held: Vec<(u64, Vec<Item>)>,
    /// Verdicts on signatures wait here instead of being told.
    pub hold_verdicts: bool,
    pub verdicts: Vec<(u64, Vec<Result<Item, RejectCode>>)>,
    /// Loads wait here instead of being done.
    pub hold_loads: bool,
    pub loads: Vec<(u64, SpaceId)>,
    next: u64,
}

/// A relay that forgets spaces as soon as it may: what needs them must say so.
pub fn forgetful() -> HubConfig {
    HubConfig { warm_bytes_max: 0, ..HubConfig::default() }
}

impl World {
    pub fn new(config: HubConfig) -> Self {
        Self::over(config, Vec::new())
    }

    /// A relay that starts over a log with these items.
    pub fn over(config: HubConfig, items: Vec<Item>) -> Self {
        let head = Seq(items.len() as u64);
        let mut hub = Hub::new(config, relay_key(), EpochHistory::new(EPOCH), head, [1; 32]);
        let stored = items.iter().zip(1..).map(|(item, seq)| (Seq(seq), item.as_raw()));
        Summary::of_items(stored).iter().for_each(|summary| hub.load_summary(summary));
        Self {
            hub,
            now: Timestamp(0),
            clients: BTreeMap::new(),
            log: items.iter().map(|i| i.bytes().clone()).collect(),
            operator: BTreeMap::new(),
            hold_appends: false,
            held: Vec::new(),
            hold_verdicts: false,
            verdicts: Vec::new(),
            hold_loads: false,
            loads: Vec::new(),
            next: 0,
        }
    }

    fn binding(id: u64) -> [u8; 32] {
        let mut binding = [5; 32];
        binding[..8].copy_from_slice(&id.to_le_bytes());
        binding
    }

    /// The device's end of a connection, to a relay with this key.
    pub fn channel(id: u64, key: &DeviceKey, relay: &RelayKey) -> Channel {
        Channel::device(key, &relay.public(), Binding(Self::binding(id)), [7; 32])
    }

    /// Connects a device; what follows from it has happened when this returns.
    pub fn connect(&mut self, key: &DeviceKey, cursor: Option<u64>) -> u64 {
        let cursor = cursor.map(|seq| Cursor { epoch: EPOCH, seq: Seq(seq) });
        self.connect_with(key, Hello { cursor, ..Hello::default() })
    }

    pub fn connect_with(&mut self, key: &DeviceKey, hello: Hello) -> u64 {
        let id = self.next;
        self.next += 1;
        self.hub.handle_connected(self.now, PeerId(id), Self::binding(id), [8; 32]);
        let session = DeviceSession::new(
            key,
            &relay_key().public(),
            Binding(Self::binding(id)),
            [7; 32],
            hello,
            self.now,
        );
        self.clients.insert(id, Client::new(End::Session(Box::new(session))));
        self.run();
        id
    }

    /// Connects an end that will send bytes of its own making.
    pub fn connect_raw(&mut self, key: &DeviceKey) -> u64 {
        let id = self.next;
        self.next += 1;
        self.hub.handle_connected(self.now, PeerId(id), Self::binding(id), [8; 32]);
        let channel = Self::channel(id, key, &relay_key());
        let raw = End::Raw { channel, outgoing: Vec::new(), reader: MessageReader::default() };
        self.clients.insert(id, Client::new(raw));
        self.run();
        id
    }

    /// Sends plain bytes as one frame of a raw end, with the handshake if it is the first; `spoil` may change the
    /// finished frame. Where the channel is closed, they go as they are.
    pub fn send_plain(&mut self, id: u64, plain: &[u8], spoil: impl FnOnce(&mut Vec<u8>)) {
        let mut frame = Vec::new();
        let End::Raw { channel, outgoing, .. } = &mut self.client(id).end else { panic!("not a raw end") };
        if channel.can_seal() {
            channel.seal(plain, &mut frame);
        } else {
            frame.extend(plain);
        }
        spoil(&mut frame);
        outgoing.push(frame);
        self.run();
    }

    /// Sends messages as one frame of a raw end.
    pub fn send(&mut self, id: u64, messages: &[Message]) {
        let mut plain = Vec::new();
        messages.iter().for_each(|m| write_message(m, &mut plain));
        self.send_plain(id, &plain, |_| {});
    }

    pub fn client(&mut self, id: u64) -> &mut Client {
        self.clients.get_mut(&id).expect("a client of this world")
    }

    /// Offers bytes as an item and returns what the relay says: a place or a code, or `None` if it does not say.
    pub fn offer(&mut self, id: u64, bytes: Bytes, bridged: bool) -> Option<Result<Seq, RejectCode>> {
        // The session tells answers apart by the id that it was given.
        let name = ItemId([id as u8 ^ self.client(id).events.len() as u8; 32]);
        let seen = self.client(id).events.len();
        self.client(id).session().put(name, bytes, bridged);
        self.run();
        self.client(id).events[seen..].iter().find_map(|e| match e {
            DeviceEvent::Acked { id, seq } if *id == name => Some(Ok(*seq)),
            DeviceEvent::Rejected { id, code, .. } if *id == name => Some(Err(*code)),
            _ => None,
        })
    }

    /// Does everything that there is to do.
    pub fn run(&mut self) {
        loop {
            let mut progress = self.run_effects();
            for (id, client) in &mut self.clients {
                let mut frame = Vec::new();
                if client.poll_transmit(&mut frame) {
                    progress = true;
                    client.frames[0] += 1;
                    client.bytes[0] += frame.len();
                    self.hub.handle_frame(self.now, PeerId(*id), frame.into());
                }
                let mut frame = Vec::new();
                if self.hub.poll_transmit(self.now, PeerId(*id), &mut frame) {
                    progress = true;
                    client.frames[1] += 1;
                    client.bytes[1] += frame.len();
                    client.handle_frame(self.now, &frame);
                } else if client.closed {
                    self.hub.handle_disconnected(self.now, PeerId(*id));
                }
            }
            if !progress {
                return;
            }
        }
    }

    fn run_effects(&mut self) -> bool {
        let mut progress = false;
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Verify { token, items } => {
                    let results = items.into_iter().map(|(raw, key)| raw.verify(&key)).collect();
                    if self.hold_verdicts {
                        self.verdicts.push((token, results));
                        continue;
                    }
                    progress = true;
                    self.hub.handle_verified(self.now, token, results);
                }
                Effect::Append { token, items } => {
                    self.held.push((token, items));
                    progress |= !self.hold_appends;
                }
                Effect::Read { token, seqs } => {
                    progress = true;
                    let items = seqs.iter().map(|s| (*s, self.log[s.0 as usize - 1].clone())).collect();
                    self.hub.handle_read(self.now, token, Ok(items));
                }
                Effect::Load { token, space } => {
                    self.loads.push((token, space));
                    progress |= !self.hold_loads;
                }
                Effect::Wake { .. } => {}
                Effect::Remember { rows } => {
                    progress = true;
                    self.remember(rows);
                }
                Effect::Close { peer } => {
                    progress = true;
                    self.client(peer.0).closed = true;
                }
            }
        }
        if !self.hold_loads {
            for (token, space) in std::mem::take(&mut self.loads) {
                progress = true;
                let loaded = self.loaded(space);
                self.hub.handle_loaded(self.now, token, Ok(loaded));
            }
        }
        if !self.hold_appends {
            for (token, items) in std::mem::take(&mut self.held) {
                progress = true;
                let first = Seq(self.log.len() as u64 + 1);
                self.log.extend(items.iter().map(|i| i.bytes().clone()));
                self.hub.handle_appended(self.now, token, Ok(first));
            }
        }
        progress
    }

    fn remember(&mut self, rows: Vec<OperatorRow>) {
        for row in rows {
            match row.value {
                Some(value) => self.operator.insert(row.key, value),
                None => self.operator.remove(&row.key),
            };
        }
    }

    /// What the log has of a space.
    pub fn loaded(&self, space: SpaceId) -> Loaded {
        let stored = self.stored();
        Loaded::of_items(space, (1..).map(Seq).zip(stored.iter().map(Item::as_raw)))
    }

    /// The disk fails at the loads that were held.
    pub fn fail_loads(&mut self) {
        for (token, _) in std::mem::take(&mut self.loads) {
            self.hub.handle_loaded(self.now, token, Err(()));
        }
        self.run();
    }

    /// The disk fails at the appends that were held.
    pub fn fail_appends(&mut self) {
        for (token, _) in std::mem::take(&mut self.held) {
            self.hub.handle_appended(self.now, token, Err(()));
        }
        self.run();
    }
}

/// A device that writes items.
pub struct Phone {
    pub key: DeviceKey,
    pub member: MemberId,
    pub session: SessionId,
    tips: BTreeMap<SpaceId, (u32, [u8; 16])>,
}

impl Phone {
    pub fn new(seed: u8) -> Self {
        Self {
            key: DeviceKey::from_seed(&[seed; 32]),
            member: MemberId([seed; 16]),
            session: SessionId([1; 8]),
            tips: BTreeMap::new(),
        }
    }

    pub fn certificate(&self, role: Role) -> Certificate {
        Certificate { member: self.member, role, request: JoinRequest::new(&self.key), name: Vec::new() }
    }

    fn sign(&mut self, kind: Kind, space: SpaceId, doc: DocId, payload: &[u8]) -> Item {
        let (n, prev) = self.tips.get(&space).copied().unwrap_or_default();
        let item = self.sign_at(kind, space, doc, Place::Chain { n: n + 1, prev }, payload);
        self.tips.insert(space, (n + 1, item.id().link()));
        item
    }

    /// An item at any place; the phone's own counters stay as they are.
    pub fn sign_at(&self, kind: Kind, space: SpaceId, doc: DocId, place: Place, payload: &[u8]) -> Item {
        let run = kind == Kind::Run;
        let draft = Draft {
            kind,
            space,
            doc,
            session: self.session,
            place,
            first_seq: u32::from(run),
            count: u16::from(run),
            last: if run { ChangeHash([4; 32]) } else { ChangeHash::default() },
            charter_tag: CharterTag::default(),
        };
        let item = if kind == Kind::Charter {
            draft.sign(&self.key, payload)
        } else {
            draft.seal(&self.key, &SpaceKey::from_bytes(&[7; 32]), false, payload)
        };
        item.expect("a draft that may be signed")
    }

    pub fn record(&mut self, branch: SpaceId, record: &Record) -> Item {
        self.sign(Kind::Charter, branch, DocId::default(), &record.encode())
    }

    pub fn run(&mut self, space: SpaceId, doc: DocId, payload: &[u8]) -> Item {
        self.sign(Kind::Run, space, doc, payload)
    }

    /// Takes an item that was signed apart as the newest of its chain.
    pub fn continue_after(&mut self, space: SpaceId, item: &Item) {
        self.tips.insert(space, (item.header().n().expect("an item of a chain"), item.id().link()));
    }

    /// The next item of a chain, without taking the number.
    pub fn next_place(&self, space: SpaceId) -> Place {
        let (n, prev) = self.tips.get(&space).copied().unwrap_or_default();
        Place::Chain { n: n + 1, prev }
    }

    pub fn snapshot(&self, space: SpaceId, doc: DocId, covers: u64) -> Item {
        let covers = Cursor { epoch: EPOCH, seq: Seq(covers) };
        self.sign_at(Kind::Snapshot, space, doc, Place::Covers(covers), b"snapshot")
    }
}

fn secretary_id() -> DeviceId {
    Phone::new(1).key.public().id()
}

/// Made by the secretary.
pub fn village() -> SpaceId {
    SpaceId::derive(&secretary_id(), &[20; 16])
}

/// Made by the secretary.
pub fn committee() -> SpaceId {
    SpaceId::derive(&secretary_id(), &[21; 16])
}

/// Made by the secretary.
pub fn draft() -> DocId {
    DocId::derive(&secretary_id(), &[30; 16])
}

/// Made by the secretary.
pub fn minutes() -> DocId {
    DocId::derive(&secretary_id(), &[31; 16])
}

/// Made by the secretary.
pub fn secret() -> DocId {
    DocId::derive(&secretary_id(), &[32; 16])
}

/// A branch with a secretary, a member and a reader. `DRAFT` (all write) and `MINUTES` (the secretary writes) are
/// in `VILLAGE`, which everyone reads; `SECRET` is in `COMMITTEE`, which only the secretary reads.
pub struct Branch {
    pub id: SpaceId,
    pub secretary: Phone,
    pub member: Phone,
    pub reader: Phone,
    /// The charter, 8 records.
    pub records: Vec<Item>,
}

impl Branch {
    #[allow(clippy::new_without_default, reason = "it is a fixture")]
    pub fn new() -> Self {
        let (mut secretary, member, reader) = (Phone::new(1), Phone::new(2), Phone::new(3));
        let (id, genesis) = found(&SignKey::from_seed(&[99; 32]), secretary.certificate(Role::Secretary));
        let mut records = vec![secretary.sign(Kind::Charter, id, DocId::default(), &genesis)];
        let document = |nonce: u8, space, writers| Record::Document {
            nonce: [nonce; 16],
            space,
            writers,
            schema: Vec::new(),
        };
        let rest = [
            admission(member.certificate(Role::Member)),
            admission(reader.certificate(Role::Reader)),
            plain_space(20, Audience::Everyone),
            plain_space(21, Audience::Members(vec![secretary.member])),
            document(30, village(), Writers::All),
            document(31, village(), Writers::Officers),
            document(32, committee(), Writers::All),
        ];
        records.extend(rest.iter().map(|record| secretary.record(id, record)));
        Self { id, secretary, member, reader, records }
    }

    /// A relay that holds the charter and nothing else.
    pub fn world(&self) -> World {
        World::over(forgetful(), self.records.clone())
    }
}

/// A device's admission.
pub fn admission(certificate: Certificate) -> Record {
    Record::Device { certificate: Box::new(certificate), seen: Vec::new() }
}

/// A space with the usual options.
pub fn plain_space(nonce: u8, audience: Audience) -> Record {
    Record::Space { nonce: [nonce; 16], history: true, padded: false, audience }
}

/// An item whose header was changed after signing, signed again by `key`: what a client of one's own making could
/// send. Offsets are those of the header's table.
pub fn resigned(item: &Item, key: &DeviceKey, change: impl FnOnce(&mut [u8])) -> Bytes {
    use dinh_proto::item::{HEADER_BYTES, ITEM_OVERHEAD_BYTES};
    use sha2::{Digest, Sha256};
    let mut bytes = item.bytes().to_vec();
    change(&mut bytes[..HEADER_BYTES]);
    let id = Sha256::new_with_prefix(b"dinh/hdr1\0").chain_update(&bytes[..HEADER_BYTES]).finalize();
    bytes[HEADER_BYTES..ITEM_OVERHEAD_BYTES].copy_from_slice(&key.sign(b"dinh/itm1\0", &id));
    bytes.into()
}

impl World {
    /// Lets this much time pass; the hub's timers fire in it, in order.
    pub fn pass(&mut self, by: std::time::Duration) {
        let until = self.now + by;
        while let Some(at) = self.hub.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.hub.handle_timeout(self.now);
            self.run();
        }
        self.now = until;
    }

    /// What the log holds, for a relay that starts over it.
    pub fn stored(&self) -> Vec<Item> {
        let parse = |bytes: &Bytes| dinh_proto::item::RawItem::parse(bytes.clone()).expect("an item").trust();
        self.log.iter().map(parse).collect()
    }
}
