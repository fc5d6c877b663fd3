//! Links: an ordered stream of frames in each direction that can be slow, clogged, half-open or broken; and the
//! tap on it, which reads what both sides say.

use std::collections::BTreeMap;

use dinh_proto::channel::{Binding, Channel};
use dinh_proto::error::SessionError;
use dinh_proto::ids::{DeviceId, ItemId, Seq, SpaceId};
use dinh_proto::item::{Kind, RawItem};
use dinh_proto::keys::{DeviceKey, RelayKey};
use dinh_proto::limits;
use dinh_proto::wire::{Message, MessageReader, Scope};

/// One connection between a phone and the relay.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) phone: usize,
    pub(crate) keys: ConnKeys,
    pub(crate) up: Direction,
    pub(crate) down: Direction,
    /// The phone's end is open.
    pub(crate) phone_open: bool,
    /// The relay's end is open.
    pub(crate) relay_open: bool,
    pub(crate) tap: Tap,
}

/// What both ends of a connection are given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnKeys {
    pub(crate) binding: [u8; 32],
    /// The device's and the relay's randomness for the handshake.
    pub(crate) device_seed: [u8; 32],
    pub(crate) relay_seed: [u8; 32],
}

impl ConnKeys {
    /// All of it from one random draw.
    pub(crate) fn new(binding: [u8; 32]) -> Self {
        Self { binding, device_seed: binding.map(|b| b ^ 0x55), relay_seed: binding.map(|b| b ^ 0xaa) }
    }
}

/// The key of the one relay, which keeps it over restarts and restored copies of its log.
pub(crate) fn relay_key() -> RelayKey {
    RelayKey::from_seed(&[77; 32])
}

/// Frames to one side.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    /// When the last frame arrives.
    pub(crate) last_at: u64,
    pub(crate) in_flight: usize,
    /// Half-open: frames vanish and nobody is told.
    pub(crate) vanish: bool,
    /// Nothing arrives before this.
    pub(crate) clogged_until: u64,
}

/// What was said in one frame, as far as the world's checkers care.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) acked: Vec<(ItemId, Seq)>,
    /// Of these, the ones that the relay took from this device.
    pub(crate) taken: Vec<(ItemId, Seq)>,
    /// Spaces that the relay said something else about, what, and how many bytes.
    pub(crate) told: Vec<(SpaceId, &'static str, usize)>,
    /// Items that the relay gave, with their spaces.
    pub(crate) given: Vec<RawItem>,
    /// Of these, runs and records in the order of the log.
    pub(crate) passed: Vec<(Seq, ItemId)>,
    /// Something other than keep-alives and credit.
    pub(crate) busy: bool,
    pub(crate) names: Vec<String>,
}

/// Reads both directions of a connection, as only someone can who has every key and seed: with a second pair of channels
/// that is kept in step with the first.
#[derive(Debug)]
pub(crate) struct Tap {
    device: DeviceId,
    /// Opens what goes up.
    relay_end: Channel,
    up_reader: MessageReader,
    /// Opens what goes down.
    device_end: Channel,
    down_reader: MessageReader,
    next_put: u64,
    unanswered: BTreeMap<u64, ItemId>,
    cursor: Seq,
    up_credit: i64,
    down_credit: i64,
}

impl Tap {
    pub(crate) fn new(key: &DeviceKey, keys: &ConnKeys) -> Self {
        let (relay, binding) = (relay_key(), Binding(keys.binding));
        Self {
            device: key.public().id(),
            relay_end: Channel::relay(&relay, binding, keys.relay_seed),
            up_reader: MessageReader::default(),
            device_end: Channel::device(key, &relay.public(), binding, keys.device_seed),
            down_reader: MessageReader::default(),
            next_put: 0,
            unanswered: BTreeMap::new(),
            cursor: Seq(0),
            up_credit: limits::CREDIT_BYTES as i64,
            down_credit: limits::CREDIT_BYTES as i64,
        }
    }

    /// A frame that the phone sent.
    pub(crate) fn up(&mut self, frame: &[u8]) -> Said {
        assert!(frame.len() <= limits::FRAME_BYTES_MAX, "a frame of {} bytes", frame.len());
        let plain = self.relay_end.open(frame).expect("a phone's frames open");
        self.up_reader.push(&plain);
        repeat(&mut self.device_end, &plain, frame);
        let mut said = Said::default();
        while let Some((message, len)) = self.up_reader.next_message().expect("a phone's messages parse") {
            said.note(&message);
            match &message {
                Message::Put(put) => {
                    assert!(self.up_credit > 0, "the phone sent more than its credit");
                    self.up_credit -= size_on_wire(len);
                    for item in &put.items {
                        let raw = RawItem::parse(item.bytes.clone()).expect("phones put well-formed items");
                        self.unanswered.insert(self.next_put, raw.id());
                        self.next_put += 1;
                    }
                    assert!(self.unanswered.len() <= limits::PUTS_UNANSWERED_MAX, "too many unanswered puts");
                }
                Message::Credit(bytes) => self.down_credit += *bytes as i64,
                _ => {}
            }
        }
        said
    }

    /// A frame that the relay sent.
    pub(crate) fn down(&mut self, frame: &[u8]) -> Said {
        assert!(frame.len() <= limits::FRAME_BYTES_MAX, "a frame of {} bytes", frame.len());
        let mut said = Said::default();
        let plain = match self.device_end.open(frame) {
            Ok(plain) => plain,
            // The relay's last words to who has not shown who it is.
            Err(SessionError::ClosedByPeer { code, retry_after_ms, detail }) => {
                said.note(&Message::Close { code, retry_after_ms, detail });
                return said;
            }
            Err(error) => panic!("the relay's frames open: {error}"),
        };
        self.down_reader.push(&plain);
        repeat(&mut self.relay_end, &plain, frame);
        while let Some((message, len)) = self.down_reader.next_message().expect("the relay's messages parse")
        {
            said.note(&message);
            match message {
                Message::Items(items) => {
                    assert!(self.down_credit > 0, "the relay sent more than its credit");
                    self.down_credit -= size_on_wire(len);
                    if items.scope == Scope::Log {
                        assert!(items.upto >= self.cursor, "the cursor of {:?} went back", self.device);
                        self.cursor = items.upto;
                    }
                    for (seq, bytes) in items.items {
                        let item = RawItem::parse(bytes).expect("the relay gives well-formed items");
                        if items.scope == Scope::Log && item.header().kind != Kind::Snapshot {
                            said.passed.push((seq, item.id()));
                        }
                        said.given.push(item);
                    }
                }
                Message::CaughtUp(m) => {
                    assert!(m.seq >= self.cursor, "the cursor of {:?} went back", self.device);
                    self.cursor = m.seq;
                    said.told.extend(m.sums.iter().map(|(space, _)| (*space, "a checksum", 32)));
                }
                // An empty one of no space says that there is nothing.
                Message::Have(m) if m.space == SpaceId::default() && m.chains.is_empty() => {}
                Message::Have(m) => said.told.push((m.space, "a list of what is there", len)),
                Message::Ephemeral(m) => said.told.push((m.space, "presence", len)),
                Message::Ack(ack) => {
                    for (number, seq) in ack.puts {
                        let id = self.unanswered.remove(&number).expect("an ack answers a put");
                        said.acked.push((id, seq));
                        said.taken.push((id, seq));
                    }
                }
                Message::Reject(reject) => {
                    let id = self.unanswered.remove(&reject.number).expect("a reject answers a put");
                    if reject.code == dinh_proto::error::RejectCode::Duplicate {
                        said.acked.push((id, reject.seq));
                    }
                }
                Message::Credit(bytes) => self.up_credit += bytes as i64,
                _ => {}
            }
        }
        said
    }
}

/// Seals what the true end sealed: a handshake goes on only when both ends of it have done their part.
fn repeat(end: &mut Channel, plain: &[u8], frame: &[u8]) {
    let mut again = Vec::new();
    end.seal(plain, &mut again);
    assert_eq!(again, frame, "the same keys and seeds make the same frames");
}

impl Said {
    fn note(&mut self, message: &Message) {
        self.busy |= !matches!(message, Message::Ping | Message::Pong | Message::Credit(_));
        self.names.push(match message {
            Message::Items(m) => {
                let seqs: Vec<u64> = m.items.iter().map(|(seq, _)| seq.0).collect();
                format!("Items({:?} upto {} {:?})", m.scope, m.upto, seqs)
            }
            Message::Put(m) => format!("Put({})", m.items.len()),
            Message::Reject(m) => format!("Reject({} {:?} {})", m.number, m.code, m.seq),
            Message::Ack(m) => {
                format!("Ack({:?})", m.puts.iter().map(|(n, s)| (*n, s.0)).collect::<Vec<_>>())
            }
            Message::Hello(m) => format!("Hello({:?} {})", m.cursor, m.backfills.len()),
            Message::Welcome(m) => format!("Welcome(head {} reconcile {})", m.head, m.reconcile),
            Message::CaughtUp(m) => format!("CaughtUp({} {:?})", m.seq, m.sums),
            Message::Have(m) => format!("Have({:?} {:?} last {})", m.space, m.chains, m.last),
            Message::Want(m) => format!("Want({:?} {:?} last {})", m.space, m.chains, m.last),
            Message::Close { code, .. } => format!("Close({code:?})"),
            other => other.name().to_owned(),
        });
    }
}

/// Bytes of a message with its length prefix.
fn size_on_wire(len: usize) -> i64 {
    let mut prefix = 1;
    let mut rest = len >> 7;
    while rest > 0 {
        prefix += 1;
        rest >>= 7;
    }
    (len + prefix) as i64
}
