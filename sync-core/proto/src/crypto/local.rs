//! What a device keeps for itself in a place that others may read: under a key that follows from its wrap secret.
//!
//! ```text
//! sealed = nonce 24 ‖ XChaCha20-Poly1305(local key, nonce, aad, plain)
//! ```

use zeroize::Zeroizing;

use super::{CryptoError, NONCE_BYTES, decrypt, encrypt};
use crate::keys::DeviceKey;

/// Encrypts what only this device is to read, and only with its wrap secret. `nonce` is random, used once; `aad` says
/// where it is kept.
///
/// # Errors
/// [`CryptoError::NoWrapSecret`].
pub fn seal_local(
    key: &DeviceKey,
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let local = key.local_key().ok_or(CryptoError::NoWrapSecret)?;
    let mut sealed = plain.to_vec();
    encrypt(local, nonce, aad, &mut sealed);
    Ok([&nonce[..], &sealed].concat())
}

/// What [`seal_local`] encrypted for the same place.
///
/// # Errors
/// [`CryptoError::NoWrapSecret`]; `DoesNotOpen` if it was changed, moved, or is another device's.
pub fn open_local(key: &DeviceKey, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let local = key.local_key().ok_or(CryptoError::NoWrapSecret)?;
    let opened = sealed.split_first_chunk().and_then(|(nonce, sealed)| decrypt(local, nonce, aad, sealed));
    opened.map(Zeroizing::new).ok_or(CryptoError::DoesNotOpen("what this device keeps for itself"))
}
