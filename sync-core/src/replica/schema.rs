//! Keys and values of the replica's tables.
//!
//! ```text
//! meta          name                                   → value
//! branches      branch 16                              → nothing; or the id of the certificate that a welcome
//!                                                       names; the same and 1 if it is here, or 1
//!                                                        if that welcome was wrong
//! items         space 16 ‖ device 16 ‖ session 8 ‖ n 4 → item
//! held, covered space 16 ‖ device 16 ‖ session 8       → ranges
//! before        space 16 ‖ device 16 ‖ session 8       → ranges (see `linked.rs`)
//! snapshots     document 16                            → item
//! document_log  document 16 ‖ order 8                  → item key
//! unsealed      document 16 ‖ seq 4                    → a row: hash of the author's change before (or zero) 32
//!                                                       ‖ first half of the hash of the change that it stands
//!                                                       for (or zero) 16 ‖ change
//! numbers       document 16                            → session 8 ‖ seq 4 of the newest own change
//! outbox        order 8                                → 0 ‖ item key, or 1 ‖ document (a snapshot)
//! views         document 16                            → order 8 ‖ count ‖ order 8 … ‖ name of the schema (length, UTF-8)
//!                                                        ‖ saved document
//! sums          space 16                               → sum 16
//! backfills     space 16                               → from 8 ‖ to 8
//! parked        order 8                                → item
//! quarantine    order 8                                → code 1 ‖ detail (length, UTF-8) ‖ item
//! keys          space 16 ‖ epoch 16                    → a row: key 32
//! ```
//! A row is 0 ‖ plain, or, of a protected space, 1 ‖ what only this device's wrap secret opens (see `protect.rs`).
//! Numbers in keys are big-endian, so that they sort; in values little-endian.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use dinh_proto::codec::Reader;
use dinh_proto::ids::{Author, ChainId, Cursor, DeviceId, DocId, ItemId, LogEpoch, Seq, SessionId, SpaceId};
use dinh_proto::item::{Item, Kind, RawItem};

use crate::store::{ReadTx, Store, StoreError, Table, WriteTx};

pub(super) const META_DEVICE: &[u8] = b"device";
pub(super) const META_SESSION: &[u8] = b"session";
pub(super) const META_CURSOR: &[u8] = b"cursor";
pub(super) const META_ORDER: &[u8] = b"order";
pub(super) const META_ACKED: &[u8] = b"acked";
pub(super) const META_ACKED_AT: &[u8] = b"acked-at";
pub(super) const META_RECHECK: &[u8] = b"recheck";
pub(super) const META_MARKER: &[u8] = b"marker";
pub(super) const META_PROTECTED: &[u8] = b"protected";

/// Where an item is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ItemKey {
    pub(super) chain: ChainId,
    pub(super) n: u32,
}

impl ItemKey {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        [&chain_key(&self.chain)[..], &self.n.to_be_bytes()].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("item key");
        let (chain, n) = bytes.split_at_checked(40).ok_or_else(corrupt)?;
        let chain = chain_from(chain)?;
        Ok(Self { chain, n: u32::from_be_bytes(n.try_into().map_err(|_| corrupt())?) })
    }
}

pub(super) fn chain_key(chain: &ChainId) -> Vec<u8> {
    [&chain.space.0[..], &chain.author.device.0, &chain.author.session.0].concat()
}

pub(super) fn chain_from(bytes: &[u8]) -> Result<ChainId, StoreError> {
    let mut r = Reader::new(bytes);
    let mut read = || {
        let space = SpaceId(r.array("space")?);
        let device = DeviceId(r.array("device")?);
        let session = SessionId(r.array("session")?);
        Ok::<_, dinh_proto::error::InvalidMessage>(ChainId { space, author: Author { device, session } })
    };
    read().map_err(|_| StoreError::Corrupt("chain key"))
}

pub(super) fn doc_order_key(doc: &DocId, order: u64) -> Vec<u8> {
    [&doc.0[..], &order.to_be_bytes()].concat()
}

pub(super) fn unsealed_key(doc: &DocId, seq: u32) -> Vec<u8> {
    [&doc.0[..], &seq.to_be_bytes()].concat()
}

pub(super) fn order_from(bytes: &[u8]) -> Result<u64, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::Corrupt("order"))?;
    Ok(u64::from_be_bytes(bytes))
}

pub(super) fn u64_from(bytes: &[u8]) -> Result<u64, StoreError> {
    Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| StoreError::Corrupt("number"))?))
}

pub(super) fn spaces_bytes(spaces: &BTreeSet<SpaceId>) -> Vec<u8> {
    spaces.iter().flat_map(|space| space.0).collect()
}

pub(super) fn spaces_from(bytes: &[u8]) -> Result<BTreeSet<SpaceId>, StoreError> {
    let (spaces, rest) = bytes.as_chunks::<16>();
    if rest.is_empty() {
        Ok(spaces.iter().map(|space| SpaceId(*space)).collect())
    } else {
        Err(StoreError::Corrupt("spaces"))
    }
}

pub(super) fn cursor_bytes(cursor: &Cursor) -> Vec<u8> {
    [&cursor.epoch.0[..], &cursor.seq.0.to_le_bytes()].concat()
}

pub(super) fn cursor_from(bytes: &[u8]) -> Result<Cursor, StoreError> {
    let mut r = Reader::new(bytes);
    let mut read = || {
        Ok::<_, dinh_proto::error::InvalidMessage>(Cursor {
            epoch: LogEpoch(r.array("epoch")?),
            seq: Seq(r.u64("seq")?),
        })
    };
    read().map_err(|_| StoreError::Corrupt("cursor"))
}

pub(super) fn number_bytes(session: &SessionId, seq: u32) -> Vec<u8> {
    [&session.0[..], &seq.to_le_bytes()].concat()
}

pub(super) fn number_from(bytes: &[u8]) -> Result<(SessionId, u32), StoreError> {
    let mut r = Reader::new(bytes);
    let mut read =
        || Ok::<_, dinh_proto::error::InvalidMessage>((SessionId(r.array("session")?), r.u32("seq")?));
    read().map_err(|_| StoreError::Corrupt("number of an own change"))
}

/// An item that this device verified before it stored it.
pub(super) fn stored_item(bytes: Vec<u8>) -> Result<Item, StoreError> {
    Ok(RawItem::parse(Bytes::from(bytes)).map_err(|_| StoreError::Corrupt("item"))?.trust())
}

/// The id of a chain's item that was received and not judged yet, if it belongs to this space.
pub(super) fn parked_id(bytes: &[u8], space: &SpaceId) -> Option<ItemId> {
    let item = RawItem::parse(Bytes::copy_from_slice(bytes)).ok()?;
    let header = item.header();
    (header.space == *space && header.kind != Kind::Snapshot).then(|| item.id())
}

pub(super) fn item(tx: &dyn ReadTx, key: &ItemKey) -> Result<Option<Item>, StoreError> {
    tx.get(Table::Items, &key.to_bytes())?.map(stored_item).transpose()
}

/// One past the last key that begins with `prefix`, or `None` if there is none.
pub(super) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|b| *b != 0xff)? + 1;
    let mut end = prefix[..keep].to_vec();
    end[keep - 1] += 1;
    Some(end)
}

/// Key and value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// All entries whose key begins with `prefix`, in order.
pub(super) fn entries(tx: &dyn ReadTx, table: Table, prefix: &[u8]) -> Result<Vec<Entry>, StoreError> {
    let mut out = Vec::new();
    tx.scan(table, prefix, prefix_end(prefix).as_deref(), &mut |k, v| {
        out.push((k.to_vec(), v.to_vec()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(out)
}

/// Everything that one step of the replica changes on disk: one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch(Vec<(Table, Vec<u8>, Option<Vec<u8>>)>);

impl Batch {
    pub(super) fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push((table, key.into(), Some(value.into())));
    }

    pub(super) fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.0.push((table, key.into(), None));
    }

    /// What this batch will have made of a key, or `None` if it does not touch it.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        let newest = self.0.iter().rev().find(|(t, k, _)| *t == table && k == key);
        newest.map(|(_, _, value)| value.as_deref())
    }

    /// What this batch puts into a table, in order.
    pub(super) fn puts(&self, table: Table) -> impl Iterator<Item = (&[u8], &[u8])> {
        let of_table = self.0.iter().filter(move |(t, _, _)| *t == table);
        of_table.filter_map(|(_, key, value)| Some((&key[..], value.as_deref()?)))
    }

    /// Durable when it returns.
    pub(super) fn commit(self, store: &mut impl Store) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Ok(());
        }
        store.write(|tx: &mut dyn WriteTx| {
            for (table, key, value) in &self.0 {
                match value {
                    Some(value) => tx.put(*table, key, value)?,
                    None => tx.delete(*table, key)?,
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_comes_after_all_its_keys() {
        assert_eq!(prefix_end(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(prefix_end(&[1, 0xff]), Some(vec![2]));
        assert_eq!(prefix_end(&[0xff, 0xff]), None);
        assert_eq!(prefix_end(&[]), None);
    }
}
