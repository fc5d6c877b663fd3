//! Messages of every kind, as the wire can carry them, out of a script.

use bytes::Bytes;
use dinh_proto::error::{CloseCode, RejectCode};
use dinh_proto::ids::{Author, Cursor, DeviceId, ItemId, LogEpoch, Seq, SpaceId};
use dinh_proto::item::{ITEM_OVERHEAD_BYTES, SpaceSum};
use dinh_proto::limits;
use dinh_proto::ranges::Ranges;
use dinh_proto::wire::{
    Ack, CaughtUp, ChainSet, Ephemeral, Fetch, Hello, Items, Message, Put, PutItem, Reject, Scope, Welcome,
};

use crate::Feed;

/// What messages are about.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Spaces.
    pub spaces: Vec<SpaceId>,
    /// Devices, with a session each.
    pub authors: Vec<Author>,
    /// Epochs of the log.
    pub epochs: Vec<LogEpoch>,
    /// Items.
    pub items: Vec<Bytes>,
    /// What items are called.
    pub ids: Vec<ItemId>,
}

impl Names {
    fn space(&self, feed: &mut Feed<'_>) -> SpaceId {
        match feed.below(8) {
            0 => SpaceId([feed.byte(); 16]),
            _ => *feed.one_of(&self.spaces),
        }
    }

    /// A device.
    pub fn device(&self, feed: &mut Feed<'_>) -> DeviceId {
        feed.one_of(&self.authors).device
    }

    fn epoch(&self, feed: &mut Feed<'_>) -> LogEpoch {
        match feed.below(4) {
            0 => LogEpoch([feed.byte(); 8]),
            _ => *feed.one_of(&self.epochs),
        }
    }

    /// An item's bytes: one of those there are, one that was changed, or anything.
    pub fn item(&self, feed: &mut Feed<'_>) -> Bytes {
        let mut bytes = match feed.below(8) {
            0 => feed.long_bytes().to_vec(),
            1 => {
                let item = self.items.get(usize::from(feed.byte()) % self.items.len().max(1));
                feed.spoilt(&item.cloned().unwrap_or_default())
            }
            _ => {
                let item = self.items.get(usize::from(feed.byte()) % self.items.len().max(1));
                return item.cloned().unwrap_or_else(|| vec![0; ITEM_OVERHEAD_BYTES + 2].into());
            }
        };
        bytes.resize(bytes.len().clamp(ITEM_OVERHEAD_BYTES + 2, 1 << 16), 0);
        bytes.into()
    }

    fn fetch(&self, feed: &mut Feed<'_>) -> Fetch {
        Fetch { space: self.space(feed), from: Seq(feed.number()), to: Seq(feed.number()) }
    }

    fn ranges(feed: &mut Feed<'_>) -> Ranges {
        let mut ranges = Ranges::default();
        for _ in 0..=feed.below(4) {
            let from = u32::try_from(feed.number().max(1)).unwrap_or(u32::MAX - 1);
            let length = u32::try_from(feed.number()).unwrap_or(u32::MAX);
            ranges.insert_range(from, from.saturating_add(length).min(u32::MAX - 1));
        }
        ranges
    }

    fn chains(&self, feed: &mut Feed<'_>) -> ChainSet {
        let n = feed.below(5);
        let mut chains: Vec<_> = (0..n).map(|_| (*feed.one_of(&self.authors), Self::ranges(feed))).collect();
        chains.sort_by_key(|(author, _)| *author);
        chains.dedup_by_key(|(author, _)| *author);
        ChainSet { space: self.space(feed), last: feed.flag(), chains }
    }

    /// The first message of a device.
    pub fn hello(&self, feed: &mut Feed<'_>) -> Hello {
        let mut cursor = || feed.flag().then(|| Cursor { epoch: self.epoch(feed), seq: Seq(feed.number()) });
        let (cursor, acked) = (cursor(), cursor());
        let n = feed.below(4);
        let mut backfills: Vec<Fetch> = (0..n).map(|_| self.fetch(feed)).collect();
        backfills.sort_by_key(|f| f.space);
        backfills.dedup_by_key(|f| f.space);
        Hello { cursor, acked, backfills }
    }

    /// A message that reads, in turn or not.
    pub fn message(&self, feed: &mut Feed<'_>) -> Message {
        match feed.below(20) {
            0 => Message::Hello(self.hello(feed)),
            1 => Message::Welcome(Welcome {
                epoch: self.epoch(feed),
                head: Seq(feed.number()),
                reconcile: feed.flag(),
                replicas: feed.byte(),
                backlog: feed.number(),
                time_ms: feed.number(),
            }),
            2 | 16 => {
                let scope = match feed.below(4) {
                    0 | 1 => Scope::Log,
                    2 => Scope::Backfill(self.space(feed)),
                    _ => Scope::Wanted,
                };
                let (mut seq, n) = (feed.number(), feed.below(9));
                let mut items = Vec::new();
                for _ in 0..n {
                    let Some(next) = seq.checked_add(1) else { break };
                    seq = next;
                    items.push((Seq(seq), self.item(feed)));
                }
                Message::Items(Items { scope, upto: Seq(seq.saturating_add(feed.number())), items })
            }
            3 => {
                let n = feed.below(5);
                let mut sums: Vec<_> =
                    (0..n).map(|_| (self.space(feed), SpaceSum(u128::from(feed.number())))).collect();
                sums.sort_by_key(|(space, _)| *space);
                sums.dedup_by_key(|(space, _)| *space);
                Message::CaughtUp(CaughtUp { seq: Seq(feed.number()), sums })
            }
            4 | 17..20 => {
                let n = feed.below(9);
                let item = |_| PutItem { bridged: feed.byte() & 7 == 7, bytes: self.item(feed) };
                Message::Put(Put { items: (0..n).map(item).collect() })
            }
            5 => {
                let (mut number, n) = (feed.number(), feed.below(9));
                let mut puts = Vec::new();
                for _ in 0..n {
                    puts.push((number, Seq(feed.number())));
                    let Some(next) = number.checked_add(1 + feed.below(2) as u64) else { break };
                    number = next;
                }
                Message::Ack(Ack { puts })
            }
            6 => {
                let id = self.ids.get(usize::from(feed.byte())).copied().unwrap_or_default();
                let (number, code) = (feed.number(), *feed.one_of(RejectCode::ALL));
                let detail = String::from_utf8_lossy(feed.bytes()).chars().take(40).collect();
                Message::Reject(Reject { number, id, code, seq: Seq(feed.number()), detail })
            }
            7 => Message::Have(self.chains(feed)),
            8 => Message::Want(self.chains(feed)),
            9 => Message::Fetch(self.fetch(feed)),
            10 => {
                let n = feed.below(5);
                let spaces: std::collections::BTreeSet<_> = (0..n).map(|_| self.space(feed)).collect();
                Message::Reconcile(spaces.into_iter().collect())
            }
            11 => {
                let payload = feed.repeated(limits::EPHEMERAL_BYTES_MAX);
                Message::Ephemeral(Ephemeral {
                    space: self.space(feed),
                    device: self.device(feed),
                    payload: payload.into(),
                })
            }
            12 => Message::Credit(feed.number() << (feed.byte() & 31)),
            13 => Message::Ping,
            14 => Message::Pong,
            _ => Message::Close {
                code: *feed.one_of(CloseCode::ALL),
                retry_after_ms: feed.number() as u32,
                detail: String::new(),
            },
        }
    }
}
