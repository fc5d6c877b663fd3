//! Payloads of runs and snapshots.
//!
//! ```text
//! payload = XChaCha20-Poly1305(payload key, nonce, aad = header[0..122], padded plain)
//! nonce   = SHA-256("dinh/non1\0" ‖ nonce key ‖ header[0..122])[0..24]
//! ```
//!
//! `header[0..122]` is all of the header but the payload's hash, which is known only afterwards. It holds the commitment
//! to the content: the same content in the same place gives the same bytes (two copies of a store that seal it are no
//! fork), and other content has another commitment, so another nonce. The payload's length is in it because the
//! same changes can be packed in more than one way (deflate). What is left: two copies of a store with different versions of
//! that library that write down the same changes in the same place at the same (padded) length use one nonce twice, and show
//! how the two packings of one text differ. A device seals an item once and keeps the bytes.
//!
//! In a padded space the plain bytes are followed by 0x80 and as many zeros as make the payload, with its tag, a multiple of
//! [`limits::PADDED_STEP`] (ISO/IEC 7816-4): readers of headers learn little from lengths.

use sha2::{Digest, Sha256};

use super::{CryptoError, NONCE_BYTES, SpaceKey, TAG_BYTES, decrypt, encrypt};
use crate::ids::{ChangeHash, hash32};
use crate::item::{Item, Kind};
use crate::limits;

/// What encryption adds to a payload, bytes. Padding comes on top: see [`sealed_len`].
pub const SEALED_OVERHEAD_BYTES: usize = TAG_BYTES;

/// The part of a header that payloads are bound to.
pub(crate) const SEALED_HEADER_BYTES: usize = 122;

/// Length of the payload that holds `plain` bytes.
pub fn sealed_len(plain: usize, padded: bool) -> usize {
    if padded {
        (plain + 1 + SEALED_OVERHEAD_BYTES).next_multiple_of(limits::PADDED_STEP)
    } else {
        plain + SEALED_OVERHEAD_BYTES
    }
}

/// The most plain bytes that one item holds.
pub fn plain_bytes_max(padded: bool) -> usize {
    if padded {
        limits::ITEM_PAYLOAD_BYTES_MAX / limits::PADDED_STEP * limits::PADDED_STEP - 1 - SEALED_OVERHEAD_BYTES
    } else {
        limits::ITEM_PAYLOAD_BYTES_MAX - SEALED_OVERHEAD_BYTES
    }
}

impl SpaceKey {
    /// Opens the payload of a run or snapshot. `padded` is what the space's record says.
    ///
    /// That a snapshot's header is committed to what comes out is checked here; that a run's is, the caller checks with
    /// [`SpaceKey::commits`] when it knows the last change's hash.
    ///
    /// # Errors
    /// [`CryptoError::WrongKey`] if the item is of another epoch or not encrypted, `DoesNotOpen` if its author did not
    /// seal it under this key in this place, `Malformed` if the padding is not as it must be, `NotCommitted`.
    pub fn open(&self, item: &Item, padded: bool) -> Result<Vec<u8>, CryptoError> {
        self.check_hint(item.header().key_epoch)?;
        let head = item.bytes().first_chunk().expect("an item has a whole header");
        let plain = self.open_payload(head, padded, item.payload())?;
        let committed = item.header().kind != Kind::Snapshot
            || self.commits(item.header(), &ChangeHash(Sha256::digest(&plain).into()));
        if committed { Ok(plain) } else { Err(CryptoError::NotCommitted) }
    }

    pub(crate) fn seal_payload(
        &self,
        head: &[u8; SEALED_HEADER_BYTES],
        padded: bool,
        plain: &[u8],
    ) -> Vec<u8> {
        let len = sealed_len(plain.len(), padded);
        let mut buffer = Vec::with_capacity(len);
        buffer.extend_from_slice(plain);
        if padded {
            buffer.push(0x80);
            buffer.resize(len - SEALED_OVERHEAD_BYTES, 0);
        }
        encrypt(&self.subkey(b"dinh/ken1\0"), &self.payload_nonce(head), head, &mut buffer);
        buffer
    }

    pub(crate) fn open_payload(
        &self,
        head: &[u8; SEALED_HEADER_BYTES],
        padded: bool,
        payload: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let mut plain = decrypt(&self.subkey(b"dinh/ken1\0"), &self.payload_nonce(head), head, payload)
            .ok_or(CryptoError::DoesNotOpen("payload"))?;
        if padded {
            let end = plain.iter().rposition(|b| *b != 0).filter(|end| plain[*end] == 0x80);
            let end = end.filter(|end| sealed_len(*end, true) == payload.len());
            plain.truncate(end.ok_or(CryptoError::Malformed("padding"))?);
        }
        Ok(plain)
    }

    pub(super) fn payload_nonce(&self, head: &[u8; SEALED_HEADER_BYTES]) -> [u8; NONCE_BYTES] {
        let hash = hash32(b"dinh/non1\0", &[&*self.subkey(b"dinh/kno1\0"), head]);
        *hash.first_chunk().expect("24 of 32 bytes")
    }
}

const _: () = assert!(limits::PADDED_STEP > 1 + SEALED_OVERHEAD_BYTES);
