//! The row that says which key opens the store: a random data key, encrypted under the app's key. So another key
//! of the app's is one row written, not all values.
//!
//! `1 ‖ nonce 24 ‖ ciphertext of the data key 32 ‖ tag 16 ‖ first 8 bytes of the SHA-256 of what precedes`. The
//! checksum tells a damaged row from a wrong key; in every version it is the last 8 bytes.

use std::fmt;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::cipher::{Key, Nonce, open_after, seal_after};
use crate::store::{StoreError, Table};

pub(super) const TABLE: Table = Table::Meta;
pub(super) const KEY: &[u8] = b"\0dinh/store-key";
const VERSION: u8 = 1;
const AAD: &[u8] = b"dinh/kek1\0";
const CHECKSUM_BYTES: usize = 8;
const DAMAGED: StoreError = StoreError::Corrupt("the store's key row");

/// The key that opens a store: 32 secret random bytes, which the app keeps in the platform's keystore. Does not
/// print itself, and is erased when it is dropped.
#[derive(Clone)]
pub struct StoreKey(Key);

impl StoreKey {
    /// From secret random bytes. The caller's copy is the caller's to erase.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(not shown)")
    }
}

/// Whether a row is the header.
pub(super) fn is_header(table: Table, key: &[u8]) -> bool {
    table == TABLE && key == KEY
}

pub(super) fn wrap(key: &StoreKey, data_key: &Key, nonce: Nonce) -> Vec<u8> {
    let mut out = vec![VERSION];
    seal_after(&cipher(key), AAD, data_key.as_slice(), nonce, &mut out);
    let checksum = checksum(&out);
    out.extend_from_slice(&checksum);
    out
}

pub(super) fn unwrap(key: &StoreKey, row: &[u8]) -> Result<Key, StoreError> {
    let (head, found) = row.split_last_chunk::<CHECKSUM_BYTES>().ok_or(DAMAGED)?;
    if *found != checksum(head) {
        return Err(DAMAGED);
    }
    match head.split_first() {
        Some((&VERSION, wrapped)) => {
            let data_key =
                Zeroizing::new(open_after(&cipher(key), AAD, wrapped).ok_or(StoreError::WrongKey)?);
            Ok(Zeroizing::new(data_key.as_slice().try_into().map_err(|_| DAMAGED)?))
        }
        Some((&version, _)) if version > VERSION => {
            Err(StoreError::NewerFormat { found: version.into(), supported: VERSION.into() })
        }
        _ => Err(DAMAGED),
    }
}

fn cipher(key: &StoreKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.0.as_slice().into())
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|i| digest[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_a_damaged_row_and_a_newer_one_are_told_apart() {
        let (key, data_key) = (StoreKey::new([1; 32]), Zeroizing::new([9; 32]));
        let row = wrap(&key, &data_key, [4; 24]);
        assert_eq!(row.len(), 81);
        assert_eq!(unwrap(&key, &row).unwrap(), data_key);
        assert!(matches!(unwrap(&StoreKey::new([2; 32]), &row), Err(StoreError::WrongKey)));
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(unwrap(&key, &flipped), Err(StoreError::Corrupt(_))), "bit {bit}");
        }
        let newer = [&[2][..], b"of a layout that is not known yet"].concat();
        let newer = [&newer[..], &checksum(&newer)].concat();
        let refused = unwrap(&key, &newer);
        assert!(matches!(refused, Err(StoreError::NewerFormat { found: 2, supported: 1 })), "{refused:?}");
    }

    #[test]
    fn a_key_does_not_print_itself() {
        assert_eq!(format!("{:?}", StoreKey::new([7; 32])), "StoreKey(not shown)");
    }
}
