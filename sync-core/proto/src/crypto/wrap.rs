//! How a space's key is handed on.
//!
//! ```text
//! wrap        HPKE base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305; aad empty;
//!             info = "dinh/wrap1\0" ‖ branch 16 ‖ space 16 ‖ epoch id 16 ‖ device id 16; plain = key 32
//! sealed key  XChaCha20-Poly1305(SHA-256("dinh/kol1\0" ‖ newer key), nonce, aad = space 16 ‖ older epoch id 16, older key 32)
//! ```
//!
//! Who sends a wrap is not authenticated here: it travels in a charter record that its issuer signed. What comes out is
//! compared with the epoch's id, which is a hash of the key: these ciphers alone would let one ciphertext open under two
//! keys.

use hpke::aead::{AeadTag, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use zeroize::Zeroizing;

use super::{CryptoError, NONCE_BYTES, SpaceKey, decrypt, encrypt};
use crate::ids::{DeviceId, EpochId, SpaceId};
use crate::keys::{DeviceKey, DevicePublic};

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// A space's key, sealed to one device (HPKE).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrap {
    /// First bytes of the device's id: finds it quickly, proves nothing.
    pub tag: [u8; 8],
    /// Encapsulated key.
    pub enc: [u8; 32],
    /// The key and its tag.
    pub ct: [u8; 48],
}

/// An older key of a space, encrypted under a newer one: for those who join later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// The older key's epoch.
    pub epoch: EpochId,
    /// Nonce.
    pub nonce: [u8; 24],
    /// The key and its tag.
    pub ct: [u8; 48],
}

/// Where a wrapped key belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrapContext {
    /// The branch.
    pub branch: SpaceId,
    /// The space; the branch's own id for its charter space.
    pub space: SpaceId,
}

impl WrapContext {
    fn info(&self, epoch: &EpochId, device: &DeviceId) -> Vec<u8> {
        [b"dinh/wrap1\0", &self.branch.0[..], &self.space.0, &epoch.0, &device.0].concat()
    }
}

impl Wrap {
    /// The [`Wrap::tag`] of wraps for this device.
    pub fn tag_of(device: &DeviceId) -> [u8; 8] {
        *device.0.first_chunk().expect("8 of 16 bytes")
    }
}

impl SpaceKey {
    /// Seals this key to a device. `seed` is secret and random, used once.
    pub fn wrap(&self, context: &WrapContext, to: &DevicePublic, seed: &[u8; 32]) -> Wrap {
        let device = to.id();
        let public = PublicKey::from_bytes(to.wrap()).expect("an X25519 key is any 32 bytes");
        let mut key = self.to_bytes();
        let (enc, tag) =
            hpke::single_shot_seal_in_place_detached::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256, _>(
                &OpModeS::Base,
                &public,
                &context.info(&self.id(), &device),
                &mut key[..],
                &[],
                &mut ChaCha20Rng::from_seed(*seed),
            )
            .expect("a device's public keys are not of small order");
        let mut ct = [0; 48];
        ct[..32].copy_from_slice(&key[..]);
        tag.write_exact(&mut ct[32..]);
        let mut enc_bytes = [0; 32];
        enc.write_exact(&mut enc_bytes);
        Wrap { tag: Wrap::tag_of(&device), enc: enc_bytes, ct }
    }

    /// Encrypts an older key of the same space under this one. `nonce` is random, used once.
    pub fn seal_key(&self, older: &Self, space: &SpaceId, nonce: &[u8; NONCE_BYTES]) -> SealedKey {
        let mut ct = older.key.to_vec();
        encrypt(&self.subkey(b"dinh/kol1\0"), nonce, &sealed_key_aad(space, &older.id()), &mut ct);
        let ct = ct.try_into().expect("a key and its tag");
        SealedKey { epoch: older.id(), nonce: *nonce, ct }
    }

    /// The older key that [`SpaceKey::seal_key`] encrypted under this one.
    ///
    /// # Errors
    /// [`CryptoError::DoesNotOpen`] if it was not, or for another space; `NotThisEpoch` if the key in it is another's.
    pub fn open_key(&self, sealed: &SealedKey, space: &SpaceId) -> Result<Self, CryptoError> {
        let aad = sealed_key_aad(space, &sealed.epoch);
        let key = decrypt(&self.subkey(b"dinh/kol1\0"), &sealed.nonce, &aad, &sealed.ct)
            .map(Zeroizing::new)
            .ok_or(CryptoError::DoesNotOpen("older key"))?;
        Self::of_epoch(key.first_chunk().expect("48 bytes less the tag"), &sealed.epoch)
    }

    fn of_epoch(key: &[u8; 32], epoch: &EpochId) -> Result<Self, CryptoError> {
        let key = Self::from_bytes(key);
        if key.id() == *epoch { Ok(key) } else { Err(CryptoError::NotThisEpoch(*epoch)) }
    }
}

/// The key that was sealed to this device for this place and epoch.
///
/// # Errors
/// [`CryptoError::NotForThisDevice`] if the tag is another's, `DoesNotOpen` if it was sealed to another device, for another
/// place or epoch, or changed; `NotThisEpoch` if the key in it is not the epoch's.
pub fn unwrap(
    key: &DeviceKey,
    context: &WrapContext,
    epoch: &EpochId,
    wrap: &Wrap,
) -> Result<SpaceKey, CryptoError> {
    let device = key.public().id();
    if wrap.tag != Wrap::tag_of(&device) {
        return Err(CryptoError::NotForThisDevice);
    }
    let does_not_open = |_| CryptoError::DoesNotOpen("wrapped key");
    let private = PrivateKey::from_bytes(&key.wrap_secret()[..]).map_err(does_not_open)?;
    let enc = EncappedKey::from_bytes(&wrap.enc).map_err(does_not_open)?;
    let (body, tag) = wrap.ct.split_first_chunk::<32>().expect("32 of 48 bytes");
    let tag = AeadTag::<ChaCha20Poly1305>::from_bytes(tag).map_err(does_not_open)?;
    let mut plain = Zeroizing::new(*body);
    hpke::single_shot_open_in_place_detached::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &private,
        &enc,
        &context.info(epoch, &device),
        &mut plain[..],
        &[],
        &tag,
    )
    .map_err(does_not_open)?;
    SpaceKey::of_epoch(&plain, epoch)
}

fn sealed_key_aad(space: &SpaceId, older: &EpochId) -> [u8; 32] {
    let mut aad = [0; 32];
    aad[..16].copy_from_slice(&space.0);
    aad[16..].copy_from_slice(&older.0);
    aad
}
