//! Presence, names of devices and of documents' schemas: short, not in the log's chains, each with a random nonce of its own.
//!
//! ```text
//! presence  epoch hint 8 ‖ nonce 24 ‖ XChaCha20-Poly1305(presence key, nonce, aad = space 16 ‖ device 16, plain)
//! name      epoch hint 8 ‖ nonce 24 ‖ XChaCha20-Poly1305(names key, nonce, aad = public keys 96, u8 length ‖ UTF-8 ‖ zeros to 49)
//! schema    epoch hint 8 ‖ nonce 24 ‖ XChaCha20-Poly1305(names key, nonce, aad = document 16, u8 length ‖ UTF-8 ‖ zeros to 32)
//! ```

use super::{CryptoError, NONCE_BYTES, SpaceKey, TAG_BYTES, decrypt, encrypt};
use crate::ids::{DeviceId, DocId, KeyEpoch, SpaceId};
use crate::keys::DevicePublic;
use crate::limits;

/// What [`SpaceKey::seal_presence`] adds, bytes.
pub const PRESENCE_OVERHEAD_BYTES: usize = KeyEpoch::BYTES + NONCE_BYTES + TAG_BYTES;

const NAME_PLAIN_BYTES: usize = 1 + limits::DEVICE_NAME_BYTES_MAX;

/// Length of a sealed name, whatever the name, bytes.
pub const SEALED_NAME_BYTES: usize = KeyEpoch::BYTES + NONCE_BYTES + NAME_PLAIN_BYTES + TAG_BYTES;

const SCHEMA_PLAIN_BYTES: usize = 1 + limits::SCHEMA_NAME_BYTES_MAX;

/// Length of a sealed name of a schema, whatever the name, bytes.
pub const SEALED_SCHEMA_BYTES: usize = KeyEpoch::BYTES + NONCE_BYTES + SCHEMA_PLAIN_BYTES + TAG_BYTES;

/// Which key opens sealed presence or a sealed name; `None` if it is too short to be either.
pub fn sealed_hint(sealed: &[u8]) -> Option<KeyEpoch> {
    sealed.first_chunk().copied().map(KeyEpoch)
}

impl SpaceKey {
    /// Encrypts what a device says to those who read `space` now. `nonce` is random, used once.
    ///
    /// # Errors
    /// [`CryptoError::TooLong`] if it is over [`limits::PRESENCE_BYTES_MAX`].
    pub fn seal_presence(
        &self,
        space: &SpaceId,
        device: &DeviceId,
        nonce: &[u8; NONCE_BYTES],
        plain: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        if plain.len() > limits::PRESENCE_BYTES_MAX {
            return Err(CryptoError::TooLong { what: "presence", limit: limits::PRESENCE_BYTES_MAX });
        }
        Ok(self.seal_small(b"dinh/kpr1\0", &presence_aad(space, device), nonce, plain))
    }

    /// What [`SpaceKey::seal_presence`] encrypted for the same space and device.
    pub fn open_presence(
        &self,
        space: &SpaceId,
        device: &DeviceId,
        sealed: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.open_small(b"dinh/kpr1\0", &presence_aad(space, device), sealed, "presence")
    }

    /// Encrypts the name of the device with these keys; this is the key of the branch's charter space. `nonce` is random,
    /// used once. The result is [`SEALED_NAME_BYTES`] long, whatever the name.
    ///
    /// # Errors
    /// [`CryptoError::TooLong`] if it is over [`limits::DEVICE_NAME_BYTES_MAX`].
    pub fn seal_name(
        &self,
        public: &DevicePublic,
        nonce: &[u8; NONCE_BYTES],
        name: &str,
    ) -> Result<Vec<u8>, CryptoError> {
        let plain = padded(name, NAME_PLAIN_BYTES, "device name")?;
        Ok(self.seal_small(b"dinh/knm1\0", &public.to_bytes(), nonce, &plain))
    }

    /// What [`SpaceKey::seal_name`] encrypted for the same device.
    pub fn open_name(&self, public: &DevicePublic, sealed: &[u8]) -> Result<String, CryptoError> {
        let plain = self.open_small(b"dinh/knm1\0", &public.to_bytes(), sealed, "device name")?;
        unpadded(&plain, NAME_PLAIN_BYTES, "device name")
    }

    /// Encrypts the name of a document's schema; this is the key of the document's space. `nonce` is random, used once.
    /// The result is [`SEALED_SCHEMA_BYTES`] long, whatever the name.
    ///
    /// # Errors
    /// [`CryptoError::TooLong`] if it is over [`limits::SCHEMA_NAME_BYTES_MAX`].
    pub fn seal_schema(
        &self,
        doc: &DocId,
        nonce: &[u8; NONCE_BYTES],
        name: &str,
    ) -> Result<Vec<u8>, CryptoError> {
        let plain = padded(name, SCHEMA_PLAIN_BYTES, "name of a schema")?;
        Ok(self.seal_small(b"dinh/knm1\0", &doc.0, nonce, &plain))
    }

    /// What [`SpaceKey::seal_schema`] encrypted for the same document.
    pub fn open_schema(&self, doc: &DocId, sealed: &[u8]) -> Result<String, CryptoError> {
        let plain = self.open_small(b"dinh/knm1\0", &doc.0, sealed, "name of a schema")?;
        unpadded(&plain, SCHEMA_PLAIN_BYTES, "name of a schema")
    }

    pub(super) fn seal_small(
        &self,
        domain: &[u8],
        aad: &[u8],
        nonce: &[u8; NONCE_BYTES],
        plain: &[u8],
    ) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        encrypt(&self.subkey(domain), nonce, aad, &mut sealed);
        [&self.hint().0[..], nonce, &sealed].concat()
    }

    fn open_small(
        &self,
        domain: &[u8],
        aad: &[u8],
        sealed: &[u8],
        what: &'static str,
    ) -> Result<Vec<u8>, CryptoError> {
        let does_not_open = CryptoError::DoesNotOpen(what);
        let (hint, rest) = sealed.split_first_chunk().ok_or(does_not_open.clone())?;
        self.check_hint(KeyEpoch(*hint))?;
        let (nonce, sealed) = rest.split_first_chunk().ok_or(does_not_open.clone())?;
        decrypt(&self.subkey(domain), nonce, aad, sealed).ok_or(does_not_open)
    }
}

/// A length, a name, zeros.
fn padded(name: &str, bytes: usize, what: &'static str) -> Result<Vec<u8>, CryptoError> {
    let Some(len) = u8::try_from(name.len()).ok().filter(|len| usize::from(*len) < bytes) else {
        return Err(CryptoError::TooLong { what, limit: bytes - 1 });
    };
    let mut plain = Vec::with_capacity(bytes + TAG_BYTES);
    plain.push(len);
    plain.extend_from_slice(name.as_bytes());
    plain.resize(bytes, 0);
    Ok(plain)
}

fn unpadded(plain: &[u8], bytes: usize, what: &'static str) -> Result<String, CryptoError> {
    let malformed = CryptoError::Malformed(what);
    let (len, rest) = plain.split_first().ok_or(malformed.clone())?;
    let (name, padding) = rest.split_at_checked(usize::from(*len)).ok_or(malformed.clone())?;
    if plain.len() != bytes || padding.iter().any(|b| *b != 0) {
        return Err(malformed);
    }
    Ok(std::str::from_utf8(name).map_err(|_| malformed)?.to_owned())
}

fn presence_aad(space: &SpaceId, device: &DeviceId) -> [u8; 32] {
    let mut aad = [0; 32];
    aad[..16].copy_from_slice(&space.0);
    aad[16..].copy_from_slice(&device.0);
    aad
}
