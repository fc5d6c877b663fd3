//! Proof that a device signed two different items under one number of one chain.
//!
//! An honest device never does: its numbers count up, and a store that turns out to be an old copy goes on in a new
//! session. Two signed headers are the whole proof, so it can be checked by anybody who knows the author's public keys,
//! without having seen either item, and it cannot be made without the author's secret.
//!
//! ```text
//! fork proof   u8 version = 1 ‖ header and signature 218 ‖ header and signature 218      (437 bytes)
//!              the item with the smaller id comes first: of two items there is one proof
//! ```

use thiserror::Error;

use crate::error::{InvalidMessage, RejectCode};
use crate::ids::{ChainId, DeviceId, ItemId};
use crate::item::{ITEM_OVERHEAD_BYTES, Item, SignedHeader};
use crate::keys::DevicePublic;

const VERSION: u8 = 1;

/// Why bytes, or two items, are no proof of a fork.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotAFork {
    /// The bytes are not two headers with signatures in the one order that there is.
    #[error("not a fork proof: {0}")]
    Malformed(#[from] InvalidMessage),
    /// A header is refused: its author is not known, or did not sign it.
    #[error("a header of the fork proof is refused: {0:?}")]
    Header(RejectCode),
    /// Both headers are good and do not contradict each other.
    #[error("no fork: {0}")]
    Compatible(&'static str),
}

/// Two signed headers of one chain and number that differ. One that exists was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkProof {
    chain: ChainId,
    n: u32,
    ids: [ItemId; 2],
    bytes: [u8; Self::BYTES],
}

impl ForkProof {
    /// Length of an encoded proof.
    pub const BYTES: usize = 1 + 2 * ITEM_OVERHEAD_BYTES;

    /// The proof that two verified items make.
    ///
    /// # Errors
    /// [`NotAFork::Compatible`] if an honest device may have signed both.
    pub fn of(one: &Item, other: &Item) -> Result<Self, NotAFork> {
        let (first, second) = if one.id() <= other.id() { (one, other) } else { (other, one) };
        let (chain, n) = contradiction((first.header(), first.id()), (second.header(), second.id()))?;
        let mut bytes = [VERSION; Self::BYTES];
        for (item, at) in [(first, 1), (second, 1 + ITEM_OVERHEAD_BYTES)] {
            bytes[at..at + ITEM_OVERHEAD_BYTES].copy_from_slice(&item.bytes()[..ITEM_OVERHEAD_BYTES]);
        }
        Ok(Self { chain, n, ids: [first.id(), second.id()], bytes })
    }

    /// Reads and checks a proof that somebody else made. `key_of` finds a device's keys, of removed devices too.
    ///
    /// # Errors
    /// See [`NotAFork`]. A proof in the other order, with a byte too many or of another version is malformed.
    pub fn verify(
        bytes: &[u8],
        key_of: impl Fn(&DeviceId) -> Option<DevicePublic>,
    ) -> Result<Self, NotAFork> {
        if bytes.len() > Self::BYTES {
            return Err(InvalidMessage::TrailingBytes("fork proof").into());
        }
        let bytes: [u8; Self::BYTES] =
            bytes.try_into().map_err(|_| InvalidMessage::Truncated("fork proof"))?;
        if bytes[0] != VERSION {
            let value = u64::from(bytes[0]);
            return Err(InvalidMessage::Unknown { what: "fork proof version", value }.into());
        }
        let (first, second) = bytes[1..].split_at(ITEM_OVERHEAD_BYTES);
        let first = SignedHeader::verify(first, &key_of).map_err(NotAFork::Header)?;
        let second = SignedHeader::verify(second, &key_of).map_err(NotAFork::Header)?;
        let (chain, n) = contradiction((first.header(), first.id()), (second.header(), second.id()))?;
        if first.id() > second.id() {
            return Err(InvalidMessage::NotAllowed("order of a fork proof").into());
        }
        Ok(Self { chain, n, ids: [first.id(), second.id()], bytes })
    }

    /// The chain, which names the device and its session.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// The number that was used twice.
    pub fn n(&self) -> u32 {
        self.n
    }

    /// The two items, the smaller id first.
    pub fn ids(&self) -> [ItemId; 2] {
        self.ids
    }

    /// What is stored and shown to others.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.bytes
    }
}

/// The place that both claim.
fn contradiction(
    (one, one_id): (&crate::item::Header, ItemId),
    (other, other_id): (&crate::item::Header, ItemId),
) -> Result<(ChainId, u32), NotAFork> {
    let (Some(n), Some(m)) = (one.n(), other.n()) else {
        return Err(NotAFork::Compatible("a snapshot is in no chain"));
    };
    if one.chain() != other.chain() {
        return Err(NotAFork::Compatible("the items are of two chains"));
    }
    if n != m {
        return Err(NotAFork::Compatible("the items have two numbers"));
    }
    if one_id == other_id {
        return Err(NotAFork::Compatible("the items are one"));
    }
    Ok((one.chain(), n))
}
