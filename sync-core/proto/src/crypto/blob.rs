//! Attachments, for when there are some: encrypted part by part, so that a transfer can go on where it broke off.
//!
//! ```text
//! blob id   SHA-256("dinh/blb1\0" ‖ content): stands in documents, which only readers of the space see
//! name      first 16 bytes of SHA-256("dinh/bln1\0" ‖ blob-name key ‖ blob id): what a relay sees, who cannot test guesses with it
//! key       SHA-256("dinh/kbl1\0" ‖ space key ‖ blob id)
//! part      epoch hint 8 ‖ XChaCha20-Poly1305(key, nonce = number u32 ‖ zeros to 24, aad = space 16 ‖ blob id 32 ‖ number u32 ‖ last u8, plain)
//! ```
//! The key is the blob's own and each part has its number for a nonce. The id commits to the content and every part but the last has
//! the same length, so nothing else is ever encrypted under the same nonce.

use super::{CryptoError, NONCE_BYTES, SpaceKey, decrypt, encrypt};
use crate::ids::{KeyEpoch, SpaceId, hash16, hash32};
use crate::limits;
use zeroize::Zeroizing;

/// What an attachment is: the hash of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 32]);

impl BlobId {
    /// Of this content.
    pub fn of(content: &[u8]) -> Self {
        Self(hash32(b"dinh/blb1\0", &[content]))
    }
}

/// One part of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobPart {
    /// The space.
    pub space: SpaceId,
    /// The attachment.
    pub blob: BlobId,
    /// Which part, from 0.
    pub number: u32,
    /// Whether it is the last one.
    pub is_last: bool,
}

impl BlobPart {
    fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..4].copy_from_slice(&self.number.to_le_bytes());
        nonce
    }

    fn aad(&self) -> Vec<u8> {
        [&self.space.0[..], &self.blob.0, &self.number.to_le_bytes(), &[u8::from(self.is_last)]].concat()
    }
}

impl SpaceKey {
    /// Under which name a relay keeps an attachment.
    pub fn blob_name(&self, blob: &BlobId) -> [u8; 16] {
        hash16(b"dinh/bln1\0", &[&self.subkey(b"dinh/kbn1\0")[..], &blob.0])
    }

    fn blob_key(&self, blob: &BlobId) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hash32(b"dinh/kbl1\0", &[&self.to_bytes()[..], &blob.0]))
    }

    /// Encrypts a part: [`limits::BLOB_PART_BYTES`] of the content, fewer if it is the last one.
    ///
    /// # Errors
    /// [`CryptoError::TooLong`] if it is longer, [`CryptoError::Malformed`] if it is shorter and not the last.
    pub fn seal_part(&self, part: &BlobPart, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if plain.len() > limits::BLOB_PART_BYTES {
            return Err(CryptoError::TooLong {
                what: "part of an attachment",
                limit: limits::BLOB_PART_BYTES,
            });
        }
        if !part.is_last && plain.len() < limits::BLOB_PART_BYTES {
            return Err(CryptoError::Malformed("part of an attachment"));
        }
        let mut sealed = plain.to_vec();
        encrypt(&self.blob_key(&part.blob), &part.nonce(), &part.aad(), &mut sealed);
        Ok([&self.hint().0[..], &sealed].concat())
    }

    /// What [`SpaceKey::seal_part`] encrypted for the same place. Whether all parts together are the attachment,
    /// [`BlobId::of`] says.
    pub fn open_part(&self, part: &BlobPart, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let does_not_open = CryptoError::DoesNotOpen("part of an attachment");
        let (hint, sealed) = sealed.split_first_chunk().ok_or(does_not_open.clone())?;
        self.check_hint(KeyEpoch(*hint))?;
        decrypt(&self.blob_key(&part.blob), &part.nonce(), &part.aad(), sealed).ok_or(does_not_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_open_in_their_place_and_nowhere_else() {
        let key = SpaceKey::from_bytes(&[3; 32]);
        let content: Vec<u8> = (0..limits::BLOB_PART_BYTES + 1_000).map(|i| (i * 7) as u8).collect();
        let blob = BlobId::of(&content);
        let space = SpaceId([5; 16]);
        let place = |number, is_last| BlobPart { space, blob, number, is_last };
        let (first, last) = content.split_at(limits::BLOB_PART_BYTES);
        let sealed =
            [key.seal_part(&place(0, false), first).unwrap(), key.seal_part(&place(1, true), last).unwrap()];
        let opened = [
            key.open_part(&place(0, false), &sealed[0]).unwrap(),
            key.open_part(&place(1, true), &sealed[1]).unwrap(),
        ];
        assert_eq!(BlobId::of(&opened.concat()), blob);
        let elsewhere = [
            BlobPart { space: SpaceId([6; 16]), ..place(1, true) },
            BlobPart { blob: BlobId([0; 32]), ..place(1, true) },
            place(0, true),
            place(1, false),
        ];
        assert!(elsewhere.iter().all(|p| key.open_part(p, &sealed[1]).is_err()));
        assert!(SpaceKey::from_bytes(&[4; 32]).open_part(&place(1, true), &sealed[1]).is_err());
        let flipped = (0..sealed[1].len() * 8).filter(|bit| {
            let mut bad = sealed[1].clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            key.open_part(&place(1, true), &bad).is_ok()
        });
        assert_eq!(flipped.count(), 0);
        assert!((0..sealed[1].len()).all(|n| key.open_part(&place(1, true), &sealed[1][..n]).is_err()));
        // Only the last part may be short; a name says nothing to who lacks the key.
        assert!(key.seal_part(&place(0, false), last).is_err());
        assert!(key.seal_part(&place(0, true), &content).is_err());
        assert_ne!(key.blob_name(&blob), SpaceKey::from_bytes(&[4; 32]).blob_name(&blob));
        println!("2 parts, {} flipped bits and {} cuts: 0 opened", sealed[1].len() * 8, sealed[1].len());
    }
}
