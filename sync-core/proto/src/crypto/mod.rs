//! Keys of spaces: how they are handed to devices and what is encrypted with them.
//!
//! A space has a key, 32 random bytes; a new one begins a new *key epoch*. The epoch's id is a hash of the key, so whoever
//! knows an id and is handed a key can tell whether it is the right one. From the key follow, each for one purpose:
//!
//! ```text
//! epoch id     SHA-256("dinh/epo1\0" ‖ key)[0..16]     its first 8 bytes (the hint) stand in headers
//! payload key  SHA-256("dinh/ken1\0" ‖ key)            payloads of items: [`payload`]
//! commitment   SHA-256("dinh/kcm1\0" ‖ key)            what binds a header to its content
//! nonce key    SHA-256("dinh/kno1\0" ‖ key)            nonces of payloads
//! presence     SHA-256("dinh/kpr1\0" ‖ key)            [`SpaceKey::seal_presence`]
//! names        SHA-256("dinh/knm1\0" ‖ key)            [`SpaceKey::seal_name`]
//! hall         SHA-256("dinh/kln1\0" ‖ key)            devices of one branch in one local network
//! older keys   SHA-256("dinh/kol1\0" ‖ key)            [`SpaceKey::seal_key`]
//! ```
//!
//! Keys are handed on in two ways: sealed to one device ([`Wrap`]), and, for those who join later, an older key under a newer
//! one ([`SealedKey`]). Everything is XChaCha20-Poly1305 but wraps, which are HPKE (RFC 9180). No function here draws
//! randomness: what must be random is an argument, used once.

mod blob;
mod local;
mod payload;
mod small;
#[cfg(test)]
mod tests;
mod wrap;

use std::fmt;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::ids::{ChangeHash, EpochId, KeyEpoch, hash16, hash32};
use crate::item::Header;

pub use blob::{BlobId, BlobPart};
pub use local::{open_local, seal_local};
pub(crate) use payload::SEALED_HEADER_BYTES;
pub use payload::{SEALED_OVERHEAD_BYTES, plain_bytes_max, sealed_len};
pub use small::{PRESENCE_OVERHEAD_BYTES, SEALED_NAME_BYTES, SEALED_SCHEMA_BYTES, sealed_hint};
pub use wrap::{SealedKey, Wrap, WrapContext, unwrap};

/// Why something does not open, or cannot be sealed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// It is encrypted under another key than this one.
    #[error("encrypted under key epoch {0:?}, which is not the key's")]
    WrongKey(KeyEpoch),
    /// The wrap is for another device.
    #[error("this wrapped key is for another device")]
    NotForThisDevice,
    /// This device's wrap secret is not here, so nothing opens that is sealed to the device.
    #[error("the wrap secret of this device is locked away: unlock it first")]
    NoWrapSecret,
    /// The wrap secret is another device's.
    #[error("this is not the wrap secret of this device")]
    NotThisWrapSecret,
    /// Its tag does not fit: it was changed, cut, or moved to another place; or the key is not the right one.
    #[error("{0} does not open: it was changed, or belongs elsewhere")]
    DoesNotOpen(&'static str),
    /// It opens, but the key in it is not the epoch's.
    #[error("the key that was handed on is not that of epoch {0}")]
    NotThisEpoch(EpochId),
    /// It opens, but what is inside does not have the form that it must have.
    #[error("{0} is malformed inside")]
    Malformed(&'static str),
    /// It opens, but its header is committed to other content.
    #[error("the header is committed to other content")]
    NotCommitted,
    /// It is too long to be sealed.
    #[error("{what} is over its limit of {limit} bytes")]
    TooLong {
        /// What.
        what: &'static str,
        /// The most bytes.
        limit: usize,
    },
}

/// The key of one key epoch of a space.
#[derive(Clone)]
pub struct SpaceKey {
    /// In a box: moving the key leaves no copies of it behind.
    key: Box<Zeroizing<[u8; 32]>>,
    id: EpochId,
}

impl fmt::Debug for SpaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpaceKey({:?})", self.id)
    }
}

/// Two keys are equal if their epoch ids, which are hashes of them, are.
impl PartialEq for SpaceKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for SpaceKey {}

impl SpaceKey {
    /// A new key from 32 secret random bytes that are used for nothing else.
    pub fn generate(seed: &[u8; 32]) -> Self {
        Self::from_bytes(&Zeroizing::new(hash32(b"dinh/ksk1\0", &[seed])))
    }

    /// The key that these bytes are: what [`SpaceKey::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self { key: Box::new(Zeroizing::new(*bytes)), id: EpochId(hash16(b"dinh/epo1\0", &[bytes])) }
    }

    /// The secret bytes, to be kept where only the app can read them.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        (*self.key).clone()
    }

    /// The id of the epoch that this key makes.
    pub fn id(&self) -> EpochId {
        self.id
    }

    /// What stands in the headers of items that are encrypted under it.
    pub fn hint(&self) -> KeyEpoch {
        self.id.hint()
    }

    /// Binds a header to content without letting a reader of headers test guesses. `content` is the hash of a run's last
    /// change, or the SHA-256 of a snapshot's plain body.
    pub fn commitment(&self, content: &ChangeHash) -> [u8; 16] {
        hash16(b"dinh/cmt1\0", &[&*self.subkey(b"dinh/kcm1\0"), &content.0])
    }

    /// Whether a header is committed to this content (see [`SpaceKey::commitment`]) under this key. Headers in a snapshot
    /// may be of older epochs: find the key by [`Header::key_epoch`] first.
    pub fn commits(&self, header: &Header, content: &ChangeHash) -> bool {
        header.key_epoch == self.hint() && header.commitment == self.commitment(content)
    }

    /// The key that devices which read this space prove to each other in a local network before they say who they are.
    pub fn hall_psk(&self) -> Zeroizing<[u8; 32]> {
        self.subkey(b"dinh/kln1\0")
    }

    fn subkey(&self, domain: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hash32(domain, &[&self.key[..]]))
    }

    fn check_hint(&self, hint: KeyEpoch) -> Result<(), CryptoError> {
        if hint == self.hint() { Ok(()) } else { Err(CryptoError::WrongKey(hint)) }
    }
}

/// Bytes of an authentication tag.
const TAG_BYTES: usize = 16;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// Encrypts `buffer` in place and appends the tag.
fn encrypt(key: &[u8; 32], nonce: &[u8; NONCE_BYTES], aad: &[u8], buffer: &mut Vec<u8>) {
    let tag = XChaCha20Poly1305::new(key.into())
        .encrypt_in_place_detached(XNonce::from_slice(nonce), aad, buffer)
        .expect("nothing here is near the 256 GiB that one nonce allows");
    buffer.extend_from_slice(&tag);
}

/// What was encrypted, or `None` if the tag (the last 16 bytes) does not fit.
fn decrypt(key: &[u8; 32], nonce: &[u8; NONCE_BYTES], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (body, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_BYTES)?)?;
    let mut plain = body.to_vec();
    XChaCha20Poly1305::new(key.into())
        .decrypt_in_place_detached(XNonce::from_slice(nonce), aad, &mut plain, Tag::from_slice(tag))
        .ok()?;
    Some(plain)
}
