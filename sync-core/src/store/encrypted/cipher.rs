//! What becomes of a value: `1 ‖ nonce 24 ‖ ciphertext ‖ tag 16`, by XChaCha20-Poly1305. The name of the table and
//! the row's key are authenticated with it, so that a value counts in its own row only.

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::store::{StoreError, Table};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// By how much a value grows.
pub(super) const OVERHEAD: usize = 1 + NONCE_BYTES + TAG_BYTES;

pub(super) type Key = Zeroizing<[u8; 32]>;
pub(super) type Nonce = [u8; NONCE_BYTES];

/// The key of a new store. Apart from what nonces come from: the state of their generator, which is not erased,
/// says nothing of it.
pub(super) fn data_key(seed: &Key) -> Key {
    Zeroizing::new(Sha256::new_with_prefix(b"dinh/dek1\0").chain_update(seed.as_slice()).finalize().into())
}

/// Nonces: at 24 random bytes each, none comes twice.
pub(super) struct Nonces(ChaCha20Rng);

impl Nonces {
    pub(super) fn new(seed: &Key) -> Self {
        let seed = Sha256::new_with_prefix(b"dinh/nnc1\0").chain_update(seed.as_slice()).finalize();
        Self(ChaCha20Rng::from_seed(seed.into()))
    }

    pub(super) fn next(&mut self) -> Nonce {
        let mut nonce = [0; NONCE_BYTES];
        self.0.fill_bytes(&mut nonce);
        nonce
    }
}

/// Encrypts and decrypts values. Its keys are erased when it is dropped.
pub(super) struct RowCipher {
    data_key: Key,
    cipher: XChaCha20Poly1305,
}

impl RowCipher {
    pub(super) fn new(data_key: Key) -> Self {
        let cipher = XChaCha20Poly1305::new(data_key.as_slice().into());
        Self { data_key, cipher }
    }

    pub(super) fn data_key(&self) -> &Key {
        &self.data_key
    }

    pub(super) fn seal(&self, table: Table, key: &[u8], value: &[u8], nonce: Nonce) -> Vec<u8> {
        let mut out = Vec::with_capacity(value.len() + OVERHEAD);
        out.push(VERSION);
        seal_after(&self.cipher, &aad(table, key), value, nonce, &mut out);
        out
    }

    pub(super) fn open(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let opened = sealed
            .split_first()
            .filter(|(version, _)| **version == VERSION)
            .and_then(|(_, rest)| open_after(&self.cipher, &aad(table, key), rest));
        opened.ok_or(StoreError::Corrupt(table.name()))
    }
}

/// Appends `nonce ‖ ciphertext ‖ tag`.
pub(super) fn seal_after(
    cipher: &XChaCha20Poly1305,
    aad: &[u8],
    value: &[u8],
    nonce: Nonce,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(value);
    let tag = cipher.encrypt_in_place_detached(XNonce::from_slice(&nonce), aad, &mut out[start..]);
    out.extend_from_slice(&tag.expect("a value is shorter than 256 GiB"));
}

/// Reverses [`seal_after`]; `None` if it does not authenticate.
pub(super) fn open_after(cipher: &XChaCha20Poly1305, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
    let mut plain = ciphertext.to_vec();
    let nonce = XNonce::from_slice(nonce);
    cipher.decrypt_in_place_detached(nonce, aad, &mut plain, Tag::from_slice(tag)).ok()?;
    Some(plain)
}

/// No name of a table holds a zero byte, so no two rows give the same.
fn aad(table: Table, key: &[u8]) -> Vec<u8> {
    [table.name().as_bytes(), &[0], key].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(n: u8) -> RowCipher {
        RowCipher::new(data_key(&Zeroizing::new([n; 32])))
    }

    #[test]
    fn a_value_opens_in_its_own_row_with_its_own_key_and_whole() {
        let plain = "biên bản".as_bytes();
        let sealed = cipher(1).seal(Table::Items, b"row", plain, [5; 24]);
        assert_eq!(sealed.len(), plain.len() + 41);
        assert_eq!(cipher(1).open(Table::Items, b"row", &sealed).unwrap(), plain);
        let mut tried = 0;
        let mut refuse = |cipher: &RowCipher, table: Table, key: &[u8], sealed: &[u8]| {
            let opened = cipher.open(table, key, sealed);
            assert!(matches!(opened, Err(StoreError::Corrupt(name)) if name == table.name()), "{opened:?}");
            tried += 1;
        };
        refuse(&cipher(2), Table::Items, b"row", &sealed);
        refuse(&cipher(1), Table::Held, b"row", &sealed);
        refuse(&cipher(1), Table::Items, b"rov", &sealed);
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refuse(&cipher(1), Table::Items, b"row", &flipped);
        }
        for length in 0..sealed.len() {
            refuse(&cipher(1), Table::Items, b"row", &sealed[..length]);
        }
        println!("{tried} wrong keys, rows, flipped bits and cut values, 0 opened");
    }

    #[test]
    fn the_layout_does_not_change_unnoticed() {
        // The test vector of draft-irtf-cfrg-xchacha, A.3.1.
        let vector = RowCipher::new(Zeroizing::new(std::array::from_fn(|i| 0x80 + i as u8)));
        let nonce = std::array::from_fn(|i| 0x40 + i as u8);
        let mut out = Vec::new();
        let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let plain = b"Ladies and Gentlemen of the class of '99: \
            If I could offer you only one tip for the future, sunscreen would be it.";
        seal_after(&vector.cipher, &aad, plain, nonce, &mut out);
        let tag =
            [0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79, 0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a, 0xcf, 0x49];
        assert_eq!(out[out.len() - 16..], tag);
    }

    #[test]
    fn no_nonce_comes_twice() {
        let mut nonces = Nonces::new(&Zeroizing::new([3; 32]));
        let drawn: std::collections::BTreeSet<_> = (0..100_000).map(|_| nonces.next()).collect();
        assert_eq!(drawn.len(), 100_000);
    }
}
