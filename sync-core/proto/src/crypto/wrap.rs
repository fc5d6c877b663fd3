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
use hpke::{Deserializable, HpkeError, Kem, OpModeR, OpModeS, Serializable};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::rand_core::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use super::{CryptoError, NONCE_BYTES, SpaceKey, TAG_BYTES, decrypt, encrypt};
use crate::ids::{DeviceId, EpochId, SpaceId};
use crate::keys::{DeviceKey, DevicePublic};

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
        self.wrap_for(context, &self.id(), to, seed)
    }

    fn wrap_for(&self, context: &WrapContext, epoch: &EpochId, to: &DevicePublic, seed: &[u8; 32]) -> Wrap {
        let device = to.id();
        let mut ct = [0; 48];
        ct[..32].copy_from_slice(&self.key[..]);
        let mut rng = ChaCha20Rng::from_seed(*seed);
        let enc = hpke_seal(to.wrap(), &context.info(epoch, &device), &[], &mut ct, &mut rng)
            .expect("a device's public keys are not of small order");
        Wrap { tag: Wrap::tag_of(&device), enc, ct }
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
/// [`CryptoError::NotForThisDevice`] if the tag is another's, `NoWrapSecret` if the device's is not here, `DoesNotOpen` if it was sealed to another device, for another
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
    let secret = key.wrap_secret().ok_or(CryptoError::NoWrapSecret)?;
    let mut plain = Zeroizing::new(wrap.ct);
    hpke_open(&secret, &wrap.enc, &context.info(epoch, &device), &[], &mut plain[..])
        .map_err(|_| CryptoError::DoesNotOpen("wrapped key"))?;
    SpaceKey::of_epoch(plain.first_chunk().expect("32 of 48 bytes"), epoch)
}

/// HPKE base mode, one message: encrypts all but the last 16 bytes of `buffer`, which become the tag, and returns the
/// encapsulated key.
fn hpke_seal(
    to: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    buffer: &mut [u8],
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<[u8; 32], HpkeError> {
    let to = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(to)?;
    let (plain, tag_place) = buffer.split_at_mut(buffer.len() - TAG_BYTES);
    let (enc, tag) = hpke::single_shot_seal_in_place_detached::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519HkdfSha256,
        _,
    >(&OpModeS::Base, &to, info, plain, aad, rng)?;
    tag.write_exact(tag_place);
    let mut bytes = [0; 32];
    enc.write_exact(&mut bytes);
    Ok(bytes)
}

/// Opens what [`hpke_seal`] made, in place: the plain bytes are all but the last 16 of `buffer`.
fn hpke_open(
    key: &[u8; 32],
    enc: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    buffer: &mut [u8],
) -> Result<(), HpkeError> {
    let key = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(key)?;
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc)?;
    let (body, tag) = buffer.split_at_mut(buffer.len() - TAG_BYTES);
    let tag = AeadTag::<ChaCha20Poly1305>::from_bytes(tag)?;
    hpke::single_shot_open_in_place_detached::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &key,
        &enc,
        info,
        body,
        aad,
        &tag,
    )
}

fn sealed_key_aad(space: &SpaceId, older: &EpochId) -> [u8; 32] {
    let mut aad = [0; 32];
    aad[..16].copy_from_slice(&space.0);
    aad[16..].copy_from_slice(&older.0);
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the key material that the vectors of the RFC prescribe.
    struct Given([u8; 32]);

    impl RngCore for Given {
        fn next_u32(&mut self) -> u32 {
            unreachable!("key material is drawn in one piece")
        }
        fn next_u64(&mut self) -> u64 {
            unreachable!("key material is drawn in one piece")
        }
        fn fill_bytes(&mut self, dest: &mut [u8]) {
            dest.copy_from_slice(&self.0);
        }
        fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_chacha::rand_core::Error> {
            self.fill_bytes(dest);
            Ok(())
        }
    }

    impl CryptoRng for Given {}

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let byte = |i: usize| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
        assert_eq!(text.len(), 2 * N);
        std::array::from_fn(byte)
    }

    /// RFC 9180, A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode, sequence number 0.
    #[test]
    fn the_vector_of_rfc_9180_for_this_suite_comes_out() {
        let info: [u8; 20] = hex("4f6465206f6e2061204772656369616e2055726e");
        let material = hex("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b");
        let secret = hex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
        let public = hex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
        let enc: [u8; 32] = hex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
        let aad: [u8; 7] = hex("436f756e742d30");
        let plain: [u8; 29] = hex("4265617574792069732074727574682c20747275746820626561757479");
        let ct: [u8; 45] =
            hex("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28");
        let mut buffer = [0; 45];
        buffer[..29].copy_from_slice(&plain);
        assert_eq!(hpke_seal(&public, &info, &aad, &mut buffer, &mut Given(material)), Ok(enc));
        assert_eq!(buffer, ct);
        assert_eq!(hpke_open(&secret, &enc, &info, &aad, &mut buffer), Ok(()));
        assert_eq!(buffer[..29], plain);
    }

    const PLACE: WrapContext = WrapContext { branch: SpaceId([1; 16]), space: SpaceId([2; 16]) };

    fn device(seed: u8) -> DeviceKey {
        DeviceKey::from_seed(&[seed; 32])
    }

    #[test]
    fn a_wrap_opens_for_its_device_in_its_place_and_nowhere_else() {
        let key = SpaceKey::generate(&[1; 32]);
        let wrap = key.wrap(&PLACE, &device(1).public(), &[9; 32]);
        assert_eq!(unwrap(&device(1), &PLACE, &key.id(), &wrap), Ok(key.clone()));
        assert_eq!(*unwrap(&device(1), &PLACE, &key.id(), &wrap).unwrap().to_bytes(), *key.to_bytes());
        let locked = unwrap(&device(1).without_wrap(), &PLACE, &key.id(), &wrap);
        assert_eq!(locked, Err(CryptoError::NoWrapSecret));
        assert_eq!(key.wrap(&PLACE, &device(1).public(), &[9; 32]), wrap);
        assert_ne!(key.wrap(&PLACE, &device(1).public(), &[8; 32]).enc, wrap.enc);

        let mut opened = 0;
        let mut tries = 0;
        let mut refuse = |key: &DeviceKey, place: WrapContext, epoch: EpochId, wrap: &Wrap| {
            tries += 1;
            opened += usize::from(unwrap(key, &place, &epoch, wrap).is_ok());
        };
        for seed in 2..=100 {
            refuse(&device(seed), PLACE, key.id(), &wrap);
            let tag = Wrap::tag_of(&device(seed).public().id());
            refuse(&device(seed), PLACE, key.id(), &Wrap { tag, ..wrap.clone() });
            let other = SpaceKey::generate(&[seed; 32]).id();
            refuse(&device(1), PLACE, other, &wrap);
            refuse(&device(1), WrapContext { branch: SpaceId([seed; 16]), ..PLACE }, key.id(), &wrap);
            refuse(&device(1), WrapContext { space: SpaceId([seed + 1; 16]), ..PLACE }, key.id(), &wrap);
        }
        let swapped = WrapContext { branch: PLACE.space, space: PLACE.branch };
        refuse(&device(1), swapped, key.id(), &wrap);
        refuse(&device(1), PLACE, key.id(), &Wrap { enc: [0; 32], ..wrap.clone() });
        for bit in 0..(8 + 32 + 48) * 8 {
            let mut changed = wrap.clone();
            let parts: [&mut [u8]; 3] = [&mut changed.tag, &mut changed.enc, &mut changed.ct];
            *parts.into_iter().flatten().nth(bit / 8).unwrap() ^= 1 << (bit % 8);
            // X25519 does not look at the highest bit of a public key; HPKE binds the bytes all the same.
            refuse(&device(1), PLACE, key.id(), &changed);
        }
        println!("{tries} wraps, {opened} opened");
        assert_eq!((tries, opened), (99 * 5 + 2 + 704, 0));
    }

    #[test]
    fn a_key_that_does_not_hash_to_its_epoch_is_refused() {
        let (key, other) = (SpaceKey::generate(&[1; 32]), SpaceKey::generate(&[2; 32]));
        let not_this = Err(CryptoError::NotThisEpoch(key.id()));
        // Well sealed by somebody who hands different devices different keys.
        let wrap = other.wrap_for(&PLACE, &key.id(), &device(1).public(), &[9; 32]);
        assert_eq!(unwrap(&device(1), &PLACE, &key.id(), &wrap), not_this);
        let newer = SpaceKey::generate(&[3; 32]);
        let (space, nonce) = (PLACE.space, [4; 24]);
        let mut ct = other.to_bytes().to_vec();
        encrypt(&newer.subkey(b"dinh/kol1\0"), &nonce, &sealed_key_aad(&space, &key.id()), &mut ct);
        let sealed = SealedKey { epoch: key.id(), nonce, ct: ct.try_into().unwrap() };
        assert_eq!(newer.open_key(&sealed, &space), not_this);
    }

    #[test]
    fn an_older_key_opens_under_the_newer_one_in_its_space() {
        let (older, newer) = (SpaceKey::generate(&[1; 32]), SpaceKey::generate(&[2; 32]));
        let sealed = newer.seal_key(&older, &PLACE.space, &[4; 24]);
        assert_eq!(newer.open_key(&sealed, &PLACE.space), Ok(older.clone()));
        let mut bad = vec![
            older.open_key(&sealed, &PLACE.space),
            newer.open_key(&sealed, &PLACE.branch),
            newer.open_key(&SealedKey { epoch: newer.id(), ..sealed.clone() }, &PLACE.space),
        ];
        for bit in 0..(16 + 24 + 48) * 8 {
            let mut changed = sealed.clone();
            let parts: [&mut [u8]; 3] = [&mut changed.epoch.0, &mut changed.nonce, &mut changed.ct];
            *parts.into_iter().flatten().nth(bit / 8).unwrap() ^= 1 << (bit % 8);
            bad.push(newer.open_key(&changed, &PLACE.space));
        }
        let opened = bad.iter().filter(|b| b.is_ok()).count();
        println!("{} sealed keys, {opened} opened", bad.len());
        assert_eq!((bad.len(), opened), (3 + 704, 0));
    }
}
