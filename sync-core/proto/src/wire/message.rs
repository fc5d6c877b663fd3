use bytes::Bytes;

use crate::codec::{Reader, Write};
use crate::error::{CloseCode, InvalidMessage, RejectCode};
use crate::ids::{Author, Cursor, DeviceId, ItemId, LogEpoch, Seq, SessionId, SpaceId};
use crate::item::{ITEM_OVERHEAD_BYTES, SpaceSum};
use crate::limits;
use crate::permit::PERMIT_BYTES_MAX;
use crate::ranges::Ranges;

/// Everything one side can say to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// D→R, first.
    Hello(Hello),
    /// R→D, first.
    Welcome(Welcome),
    /// R→D: items.
    Items(Items),
    /// R→D: everything up to a place was sent.
    CaughtUp(CaughtUp),
    /// D→R: items to store.
    Put(Put),
    /// R→D: stored durably.
    Ack(Ack),
    /// R→D: not stored.
    Reject(Reject),
    /// R→D: which items of a space the relay has.
    Have(ChainSet),
    /// D→R: which of them to send.
    Want(ChainSet),
    /// D→R: send a newly granted space from the log.
    Fetch(Fetch),
    /// D→R: send `Have` for these spaces, or for all if none is named.
    Reconcile(Vec<SpaceId>),
    /// Both: presence; not stored.
    Ephemeral(Ephemeral),
    /// Both: the receiver took this many bytes of `Items` or `Put` messages.
    Credit(u64),
    /// Both: are you there?
    Ping,
    /// Both: yes.
    Pong,
    /// D→R: a permit to found a branch, before the `Put` of its first record. Who does not know it skips it.
    Permit(Bytes),
    /// Both: the last message.
    Close {
        /// Why.
        code: CloseCode,
        /// Reconnect not before this, milliseconds.
        retry_after_ms: u32,
        /// For logs.
        detail: String,
    },
}

/// The first message of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// How far it has everything, or none if it is new.
    pub cursor: Option<Cursor>,
    /// The newest acknowledgement that it knows of, if the cursor is before it: what it has not received back is in the log as
    /// long as both hold.
    pub acked: Option<Cursor>,
    /// Newly granted spaces that it has not received whole.
    pub backfills: Vec<Fetch>,
}

/// The answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The log's epoch: cursors are labelled with it from now on.
    pub epoch: LogEpoch,
    /// The head of the log.
    pub head: Seq,
    /// The cursor is of no use here: the relay sends `Have` for every space and takes up the log at `head`.
    pub reconcile: bool,
    /// 0: an acknowledged item survives a power cut; n: it is on n machines.
    pub replicas: u8,
    /// Items that will follow, about: for a progress bar.
    pub backlog: u64,
    /// The relay's wall clock, milliseconds since 1970, for display.
    pub time_ms: u64,
}

/// Which stream an [`Items`] message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The log: `upto` is the new cursor.
    Log,
    /// A newly granted space: `upto` is how far its backfill is.
    Backfill(SpaceId),
    /// An answer to `Want`: no cursor moves.
    Wanted,
}

/// A batch of items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items {
    /// Which stream.
    pub scope: Scope,
    /// See [`Scope`].
    pub upto: Seq,
    /// Place and bytes; places strictly increase, except for `Wanted`.
    pub items: Vec<(Seq, Bytes)>,
}

/// Everything that the device may read up to `seq` was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaughtUp {
    /// The new cursor.
    pub seq: Seq,
    /// The checksum of each space that changed since the device's cursor, in order of space.
    pub sums: Vec<(SpaceId, SpaceSum)>,
}

/// Items to store. They are numbered 0, 1, 2 … over the whole connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// In order.
    pub items: Vec<PutItem>,
}

/// One item of a [`Put`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutItem {
    /// The sender knows that items before this one in its chain may be missing, and does not have them: it was
    /// given a snapshot instead. The relay then stores the item across the gap.
    pub bridged: bool,
    /// The item.
    pub bytes: Bytes,
}

/// Items are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Number of the put, and the item's place in the log; numbers strictly increase.
    pub puts: Vec<(u64, Seq)>,
}

/// One item is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Number of the put.
    pub number: u64,
    /// The item's id; zero if the bytes are not an item.
    pub id: ItemId,
    /// Why.
    pub code: RejectCode,
    /// Its place if it is stored already, else 0.
    pub seq: Seq,
    /// For logs.
    pub detail: String,
}

/// Counters of the chains of one space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSet {
    /// The space.
    pub space: SpaceId,
    /// Nothing of this exchange follows.
    pub last: bool,
    /// Author and counters, in order of author.
    pub chains: Vec<(Author, Ranges)>,
}

/// A piece of the log of one space, `from < seq ≤ to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// The space.
    pub space: SpaceId,
    /// Exclusive.
    pub from: Seq,
    /// Inclusive.
    pub to: Seq,
}

/// Presence and the like. Never stored, may be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ephemeral {
    /// Who sees it.
    pub space: SpaceId,
    /// Whose it is; the relay checks that it is the sender's.
    pub device: DeviceId,
    /// The app's bytes.
    pub payload: Bytes,
}

const ITEM_MIN: usize = ITEM_OVERHEAD_BYTES + 2;
const ITEM_MAX: usize = ITEM_OVERHEAD_BYTES + limits::ITEM_PAYLOAD_BYTES_MAX;

impl Message {
    /// Appends type and body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(m) => {
                out.put_u8(1);
                for cursor in [m.cursor, m.acked] {
                    out.put_u8(u8::from(cursor.is_some()));
                    if let Some(cursor) = cursor {
                        out.put_bytes(&cursor.epoch.0);
                        out.put_uleb(cursor.seq.0);
                    }
                }
                out.put_uleb(m.backfills.len() as u64);
                m.backfills.iter().for_each(|f| f.encode(out));
            }
            Self::Welcome(m) => {
                out.put_u8(2);
                out.put_bytes(&m.epoch.0);
                out.put_uleb(m.head.0);
                out.put_u8(u8::from(m.reconcile));
                out.put_u8(m.replicas);
                out.put_uleb(m.backlog);
                out.put_uleb(m.time_ms);
            }
            Self::Items(m) => {
                out.put_u8(3);
                match m.scope {
                    Scope::Log => out.put_u8(0),
                    Scope::Backfill(space) => {
                        out.put_u8(1);
                        out.put_bytes(&space.0);
                    }
                    Scope::Wanted => out.put_u8(2),
                }
                out.put_uleb(m.upto.0);
                out.put_uleb(m.items.len() as u64);
                for (seq, bytes) in &m.items {
                    out.put_uleb(seq.0);
                    out.put_blob(bytes);
                }
            }
            Self::CaughtUp(m) => {
                out.put_u8(4);
                out.put_uleb(m.seq.0);
                out.put_uleb(m.sums.len() as u64);
                for (space, sum) in &m.sums {
                    out.put_bytes(&space.0);
                    out.put_bytes(&sum.0.to_le_bytes());
                }
            }
            Self::Put(m) => {
                out.put_u8(5);
                out.put_uleb(m.items.len() as u64);
                for item in &m.items {
                    out.put_u8(u8::from(item.bridged));
                    out.put_blob(&item.bytes);
                }
            }
            Self::Ack(m) => {
                out.put_u8(6);
                out.put_uleb(m.puts.len() as u64);
                for (number, seq) in &m.puts {
                    out.put_uleb(*number);
                    out.put_uleb(seq.0);
                }
            }
            Self::Reject(m) => {
                out.put_u8(7);
                out.put_uleb(m.number);
                out.put_bytes(&m.id.0);
                out.put_u8(m.code.to_wire());
                out.put_uleb(m.seq.0);
                put_detail(out, &m.detail);
            }
            Self::Have(m) => {
                out.put_u8(8);
                m.encode(out);
            }
            Self::Want(m) => {
                out.put_u8(9);
                m.encode(out);
            }
            Self::Fetch(m) => {
                out.put_u8(10);
                m.encode(out);
            }
            Self::Reconcile(spaces) => {
                out.put_u8(11);
                out.put_uleb(spaces.len() as u64);
                spaces.iter().for_each(|s| out.put_bytes(&s.0));
            }
            Self::Ephemeral(m) => {
                out.put_u8(12);
                out.put_bytes(&m.space.0);
                out.put_bytes(&m.device.0);
                out.put_blob(&m.payload);
            }
            Self::Credit(bytes) => {
                out.put_u8(13);
                out.put_uleb(*bytes);
            }
            Self::Ping => out.put_u8(14),
            Self::Pong => out.put_u8(15),
            Self::Close { code, retry_after_ms, detail } => {
                out.put_u8(16);
                put_close(out, *code, *retry_after_ms, detail);
            }
            Self::Permit(permit) => {
                out.put_u8(0x81);
                out.put_blob(permit);
            }
        }
    }

    /// Reads type and body; `None` if the type is not known. Items share the memory of `body`.
    pub fn decode(body: &Bytes) -> Result<Option<Self>, InvalidMessage> {
        let mut r = Reader::new(body);
        let message = match r.u8("message type")? {
            1 => Self::Hello(decode_hello(&mut r)?),
            2 => Self::Welcome(Welcome {
                epoch: LogEpoch(r.array("epoch")?),
                head: Seq(r.uleb("head")?),
                reconcile: flag(&mut r, "reconcile")?,
                replicas: r.u8("replicas")?,
                backlog: r.uleb("backlog")?,
                time_ms: r.uleb("time")?,
            }),
            3 => Self::Items(decode_items(&mut r, body)?),
            4 => {
                let seq = Seq(r.uleb("seq")?);
                let n = r.count(limits::SPACES_PER_MESSAGE_MAX, 32, "sums")?;
                let sums = (0..n)
                    .map(|_| {
                        let space = SpaceId(r.array("space")?);
                        Ok((space, SpaceSum(u128::from_le_bytes(r.array("sum")?))))
                    })
                    .collect::<Result<Vec<_>, InvalidMessage>>()?;
                sorted(&sums, |s| s.0, "sums")?;
                Self::CaughtUp(CaughtUp { seq, sums })
            }
            5 => {
                let n = r.count(limits::ITEMS_PER_MESSAGE_MAX, 2, "put items")?;
                let items = (0..n)
                    .map(|_| {
                        let bridged = flag(&mut r, "bridged")?;
                        Ok(PutItem { bridged, bytes: shared(body, r.blob(ITEM_MAX, "put item")?) })
                    })
                    .collect::<Result<Vec<_>, InvalidMessage>>()?;
                Self::Put(Put { items })
            }
            6 => {
                let n = r.count(limits::PUTS_UNANSWERED_MAX, 2, "acks")?;
                let puts = (0..n)
                    .map(|_| Ok((r.uleb("put number")?, Seq(r.uleb("seq")?))))
                    .collect::<Result<Vec<_>, InvalidMessage>>()?;
                sorted(&puts, |p| p.0, "acks")?;
                Self::Ack(Ack { puts })
            }
            7 => Self::Reject(Reject {
                number: r.uleb("put number")?,
                id: ItemId(r.array("item id")?),
                code: RejectCode::from_wire(r.u8("reject code")?)?,
                seq: Seq(r.uleb("seq")?),
                detail: r.text(limits::DETAIL_BYTES_MAX, "detail")?.to_owned(),
            }),
            8 => Self::Have(ChainSet::decode(&mut r)?),
            9 => Self::Want(ChainSet::decode(&mut r)?),
            10 => Self::Fetch(Fetch::decode(&mut r)?),
            11 => {
                let n = r.count(limits::SPACES_PER_MESSAGE_MAX, SpaceId::BYTES, "spaces")?;
                let spaces = (0..n)
                    .map(|_| Ok(SpaceId(r.array("space")?)))
                    .collect::<Result<Vec<_>, InvalidMessage>>()?;
                sorted(&spaces, |s| *s, "spaces")?;
                Self::Reconcile(spaces)
            }
            12 => Self::Ephemeral(Ephemeral {
                space: SpaceId(r.array("space")?),
                device: DeviceId(r.array("device")?),
                payload: shared(body, r.blob(limits::EPHEMERAL_BYTES_MAX, "presence")?),
            }),
            13 => Self::Credit(r.uleb("credit")?),
            14 => Self::Ping,
            15 => Self::Pong,
            16 => {
                let (code, retry_after_ms, detail) = get_close(&mut r)?;
                Self::Close { code, retry_after_ms, detail }
            }
            0x81 => Self::Permit(shared(body, r.blob(PERMIT_BYTES_MAX, "permit")?)),
            _ => return Ok(None),
        };
        r.finish("message")?;
        Ok(Some(message))
    }

    /// Whether it counts against the receiver's credit.
    pub fn uses_credit(&self) -> bool {
        matches!(self, Self::Items(_) | Self::Put(_))
    }

    /// For logs and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Welcome(_) => "Welcome",
            Self::Items(_) => "Items",
            Self::CaughtUp(_) => "CaughtUp",
            Self::Put(_) => "Put",
            Self::Ack(_) => "Ack",
            Self::Reject(_) => "Reject",
            Self::Have(_) => "Have",
            Self::Want(_) => "Want",
            Self::Fetch(_) => "Fetch",
            Self::Reconcile(_) => "Reconcile",
            Self::Ephemeral(_) => "Ephemeral",
            Self::Credit(_) => "Credit",
            Self::Ping => "Ping",
            Self::Pong => "Pong",
            Self::Close { .. } => "Close",
            Self::Permit(_) => "Permit",
        }
    }
}

fn decode_cursor(r: &mut Reader<'_>, what: &'static str) -> Result<Option<Cursor>, InvalidMessage> {
    if flag(r, what)? {
        Ok(Some(Cursor { epoch: LogEpoch(r.array("epoch")?), seq: Seq(r.uleb("seq")?) }))
    } else {
        Ok(None)
    }
}

fn decode_hello(r: &mut Reader<'_>) -> Result<Hello, InvalidMessage> {
    let cursor = decode_cursor(r, "cursor")?;
    let acked = decode_cursor(r, "acked")?;
    let n = r.count(limits::SPACES_PER_MESSAGE_MAX, SpaceId::BYTES + 2, "backfills")?;
    let backfills = (0..n).map(|_| Fetch::decode(r)).collect::<Result<Vec<_>, _>>()?;
    sorted(&backfills, |f| f.space, "backfills")?;
    Ok(Hello { cursor, acked, backfills })
}

fn decode_items(r: &mut Reader<'_>, body: &Bytes) -> Result<Items, InvalidMessage> {
    let scope = match r.u8("scope")? {
        0 => Scope::Log,
        1 => Scope::Backfill(SpaceId(r.array("space")?)),
        2 => Scope::Wanted,
        v => return Err(InvalidMessage::Unknown { what: "scope", value: u64::from(v) }),
    };
    let upto = Seq(r.uleb("upto")?);
    let n = r.count(limits::ITEMS_PER_MESSAGE_MAX, ITEM_MIN, "items")?;
    let items = (0..n)
        .map(|_| Ok((Seq(r.uleb("seq")?), shared(body, r.blob(ITEM_MAX, "item")?))))
        .collect::<Result<Vec<_>, InvalidMessage>>()?;
    if scope != Scope::Wanted {
        sorted(&items, |i| i.0, "items")?;
        if items.last().is_some_and(|(seq, _)| *seq > upto) {
            return Err(InvalidMessage::NotSorted("items"));
        }
    }
    Ok(Items { scope, upto, items })
}

impl ChainSet {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_bytes(&self.space.0);
        out.put_u8(u8::from(self.last));
        out.put_uleb(self.chains.len() as u64);
        for (author, ranges) in &self.chains {
            out.put_bytes(&author.device.0);
            out.put_bytes(&author.session.0);
            ranges.encode(out);
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let space = SpaceId(r.array("space")?);
        let last = flag(r, "last")?;
        let n = r.count(limits::CHAINS_PER_MESSAGE_MAX, 25, "chains")?;
        let chains = (0..n)
            .map(|_| {
                let author =
                    Author { device: DeviceId(r.array("device")?), session: SessionId(r.array("session")?) };
                Ok((author, Ranges::decode(r)?))
            })
            .collect::<Result<Vec<_>, InvalidMessage>>()?;
        sorted(&chains, |c| c.0, "chains")?;
        Ok(Self { space, last, chains })
    }
}

impl Fetch {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_bytes(&self.space.0);
        out.put_uleb(self.from.0);
        out.put_uleb(self.to.0);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        Ok(Self { space: SpaceId(r.array("space")?), from: Seq(r.uleb("from")?), to: Seq(r.uleb("to")?) })
    }
}

fn flag(r: &mut Reader<'_>, what: &'static str) -> Result<bool, InvalidMessage> {
    match r.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        v => Err(InvalidMessage::Unknown { what, value: u64::from(v) }),
    }
}

fn sorted<T, K: Ord>(list: &[T], key: impl Fn(&T) -> K, what: &'static str) -> Result<(), InvalidMessage> {
    if list.windows(2).all(|w| key(&w[0]) < key(&w[1])) {
        Ok(())
    } else {
        Err(InvalidMessage::NotSorted(what))
    }
}

fn shared(body: &Bytes, part: &[u8]) -> Bytes {
    body.slice_ref(part)
}

/// The body of `Close`, which a refusal in the clear shares.
pub(crate) fn put_close(out: &mut Vec<u8>, code: CloseCode, retry_after_ms: u32, detail: &str) {
    out.put_u8(code.to_wire());
    out.put_u32(retry_after_ms);
    put_detail(out, detail);
}

/// See [`put_close`].
pub(crate) fn get_close(r: &mut Reader<'_>) -> Result<(CloseCode, u32, String), InvalidMessage> {
    let code = CloseCode::from_wire(r.u8("close code")?)?;
    let retry_after_ms = r.u32("retry after")?;
    Ok((code, retry_after_ms, r.text(limits::DETAIL_BYTES_MAX, "detail")?.to_owned()))
}

/// Writes at most [`limits::DETAIL_BYTES_MAX`] bytes of `detail`, cut between characters.
fn put_detail(out: &mut Vec<u8>, detail: &str) {
    let mut end = detail.len().min(limits::DETAIL_BYTES_MAX);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    out.put_blob(&detail.as_bytes()[..end]);
}
