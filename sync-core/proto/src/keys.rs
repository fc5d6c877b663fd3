//! Keys: two secrets per device, from which a key for each purpose is derived. They may be the same.
//!
//! ```text
//! secret 32  → signing  SHA-256("dinh/ksg1\0" ‖ secret)   Ed25519: items
//!            → channel  SHA-256("dinh/kch1\0" ‖ secret)   X25519: Noise static key
//! second 32  → wrap     SHA-256("dinh/kwr1\0" ‖ second)   X25519: space keys are sealed to it (HPKE)
//!            → local    SHA-256("dinh/klo1\0" ‖ second)   XChaCha20-Poly1305: what this device keeps for itself
//! relay      SHA-256("dinh/krl1\0" ‖ secret)              X25519: Noise static key
//! device     first 16 bytes of SHA-256("dinh/dev1\0" ‖ algorithm u8 ‖ signing 32 ‖ channel 32 ‖ wrap 32)
//! ```
//!
//! The first secret is what a device needs to connect and to sign. The second, the *wrap secret*, is what it needs to be
//! handed keys of spaces: a device can do without it for a while, and then learns no key ([`DeviceKey::without_wrap`]).
//!
//! A relay has one secret of its own. No key serves two protocols. The device's id commits to all three: who proves one of them and shows a set that hashes to
//! the id is that device. The algorithm byte 1 is Ed25519 with X25519; 2 is kept for P-256 in secure hardware.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::crypto::CryptoError;
use crate::error::InvalidMessage;
use crate::ids::{DeviceId, hash16, hash32};

/// Ed25519 for signatures, X25519 for the channel and for wraps.
pub const ALG_25519: u8 = 1;

/// A secret signing key: a device's, or the branch's root key on paper.
#[derive(Clone)]
pub struct SignKey(SigningKey);

impl fmt::Debug for SignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignKey({:?})", self.public())
    }
}

impl SignKey {
    /// From 32 secret random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> SignPublic {
        SignPublic(self.0.verifying_key())
    }

    /// Signs `domain ‖ message`. Domains are literals that end in a zero byte, so none is a prefix of another.
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> [u8; 64] {
        self.0.sign(&[domain, message].concat()).to_bytes()
    }
}

/// A public signing key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignPublic(VerifyingKey);

impl fmt::Debug for SignPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0.to_bytes();
        write!(f, "SignPublic({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

impl SignPublic {
    /// Reads a key. Weak (small-order) keys are refused, and encodings that are not the one that the point has.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, InvalidMessage> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| InvalidMessage::NotAllowed("public key"))?;
        // The library reads y ≥ p too; then one point would be several devices.
        let canonical = key.to_edwards().compress().as_bytes() == bytes;
        if key.is_weak() || !canonical {
            Err(InvalidMessage::NotAllowed("public key"))
        } else {
            Ok(Self(key))
        }
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Whether `signature` is this key's over `domain ‖ message`, by the strict rules of RFC 8032 with
    /// small-order points refused (ed25519-dalek `verify_strict`).
    pub fn verify(&self, domain: &[u8], message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(&[domain, message].concat(), &Signature::from_bytes(signature)).is_ok()
    }
}

/// A device's secret keys, those of the wrap secret only while they are here.
#[derive(Clone)]
pub struct DeviceKey {
    signing: SignKey,
    channel: StaticSecret,
    wrap_public: [u8; 32],
    /// In a box: moving the key leaves no copies of it behind.
    second: Option<Box<SecondKeys>>,
}

/// What follows from the wrap secret. Both are erased when they are dropped.
#[derive(Clone)]
struct SecondKeys {
    wrap: StaticSecret,
    local: Zeroizing<[u8; 32]>,
}

impl SecondKeys {
    fn new(wrap_secret: &[u8; 32]) -> Box<Self> {
        Box::new(Self {
            wrap: StaticSecret::from(*derive(b"dinh/kwr1\0", wrap_secret)),
            local: derive(b"dinh/klo1\0", wrap_secret),
        })
    }

    fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.wrap).to_bytes()
    }
}

fn derive(domain: &[u8], secret: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(hash32(domain, &[secret]))
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({:?})", self.public().id())
    }
}

impl DeviceKey {
    /// From 32 secret random bytes, which the app keeps in the platform's keystore: both secrets are the same, and
    /// nothing can be locked apart.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::from_secrets(seed, seed)
    }

    /// From two times 32 secret random bytes: `secret` the app keeps where it is at hand after the phone's first unlock,
    /// so that the device can connect and write in the background; `wrap_secret` where only the person at the phone gets
    /// it out (behind biometry). The device's id commits to both: they are chosen once, together.
    pub fn from_secrets(secret: &[u8; 32], wrap_secret: &[u8; 32]) -> Self {
        let second = SecondKeys::new(wrap_secret);
        Self::with(secret, second.public(), Some(second))
    }

    /// Without the wrap secret, of which the public half has to be known: see [`DevicePublic::wrap`].
    ///
    /// # Errors
    /// If `wrap_public` is a weak (small-order) key.
    pub fn locked(secret: &[u8; 32], wrap_public: [u8; 32]) -> Result<Self, InvalidMessage> {
        if is_weak_x25519(&wrap_public) {
            return Err(InvalidMessage::NotAllowed("public key"));
        }
        Ok(Self::with(secret, wrap_public, None))
    }

    fn with(secret: &[u8; 32], wrap_public: [u8; 32], second: Option<Box<SecondKeys>>) -> Self {
        Self {
            signing: SignKey::from_seed(&derive(b"dinh/ksg1\0", secret)),
            channel: StaticSecret::from(*derive(b"dinh/kch1\0", secret)),
            wrap_public,
            second,
        }
    }

    /// Whether the wrap secret is here.
    pub fn has_wrap(&self) -> bool {
        self.second.is_some()
    }

    /// The same device without its wrap secret: it signs and connects, and opens nothing that is sealed to it.
    #[must_use]
    pub fn without_wrap(mut self) -> Self {
        self.forget_wrap();
        self
    }

    /// As [`DeviceKey::without_wrap`]: the wrap secret is erased.
    pub fn forget_wrap(&mut self) {
        self.second = None;
    }

    /// Takes the wrap secret back. Nothing changes if it is here already.
    ///
    /// # Errors
    /// [`CryptoError::NotThisWrapSecret`] if it is not this device's; nothing is changed then.
    pub fn with_wrap(&mut self, wrap_secret: &[u8; 32]) -> Result<(), CryptoError> {
        let second = SecondKeys::new(wrap_secret);
        if second.public() != self.wrap_public {
            return Err(CryptoError::NotThisWrapSecret);
        }
        self.second = Some(second);
        Ok(())
    }

    /// The public halves.
    pub fn public(&self) -> DevicePublic {
        DevicePublic {
            signing: self.signing.public(),
            channel: PublicKey::from(&self.channel).to_bytes(),
            wrap: self.wrap_public,
        }
    }

    /// As [`SignKey::sign`], with the signing key.
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> [u8; 64] {
        self.signing.sign(domain, message)
    }

    /// The secret half of the channel key (X25519).
    pub fn channel_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.channel.to_bytes())
    }

    /// The secret half of the wrap key (X25519), if it is here.
    pub fn wrap_secret(&self) -> Option<Zeroizing<[u8; 32]>> {
        self.second.as_ref().map(|second| Zeroizing::new(second.wrap.to_bytes()))
    }

    /// The key of what this device keeps for itself, if the wrap secret is here.
    pub(crate) fn local_key(&self) -> Option<&[u8; 32]> {
        self.second.as_ref().map(|second| &*second.local)
    }
}

/// A device's public keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DevicePublic {
    signing: SignPublic,
    channel: [u8; 32],
    wrap: [u8; 32],
}

impl fmt::Debug for DevicePublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DevicePublic({:?})", self.id())
    }
}

impl DevicePublic {
    /// Signing, channel and wrap key.
    pub const BYTES: usize = 96;

    /// Reads signing, channel and wrap key. Weak (small-order) keys are refused.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self, InvalidMessage> {
        let part = |i: usize| {
            let mut out = [0; 32];
            out.copy_from_slice(&bytes[i * 32..(i + 1) * 32]);
            out
        };
        Self::from_parts(SignPublic::from_bytes(&part(0))?, part(1), part(2))
    }

    /// From the three keys.
    pub fn from_parts(
        signing: SignPublic,
        channel: [u8; 32],
        wrap: [u8; 32],
    ) -> Result<Self, InvalidMessage> {
        if is_weak_x25519(&channel) || is_weak_x25519(&wrap) {
            return Err(InvalidMessage::NotAllowed("public key"));
        }
        Ok(Self { signing, channel, wrap })
    }

    /// Signing, channel and wrap key, one after the other.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..32].copy_from_slice(self.signing.as_bytes());
        out[32..64].copy_from_slice(&self.channel);
        out[64..].copy_from_slice(&self.wrap);
        out
    }

    /// The device that has these keys.
    pub fn id(&self) -> DeviceId {
        DeviceId(hash16(b"dinh/dev1\0", &[&[ALG_25519], &self.to_bytes()]))
    }

    /// The signing key.
    pub fn signing(&self) -> &SignPublic {
        &self.signing
    }

    /// The channel key (X25519).
    pub fn channel(&self) -> &[u8; 32] {
        &self.channel
    }

    /// The wrap key (X25519).
    pub fn wrap(&self) -> &[u8; 32] {
        &self.wrap
    }

    /// As [`SignPublic::verify`], with the signing key.
    pub fn verify(&self, domain: &[u8], message: &[u8], signature: &[u8; 64]) -> bool {
        self.signing.verify(domain, message, signature)
    }
}

/// A relay's secret key, by which devices know it.
#[derive(Clone)]
pub struct RelayKey(StaticSecret);

impl fmt::Debug for RelayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayKey({})", self.public())
    }
}

impl RelayKey {
    /// From 32 secret random bytes, which the relay keeps as long as devices shall know it.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(StaticSecret::from(*Zeroizing::new(hash32(b"dinh/krl1\0", &[seed]))))
    }

    /// The public half, which devices pin.
    pub fn public(&self) -> RelayPublic {
        RelayPublic(PublicKey::from(&self.0).to_bytes())
    }

    /// The secret half (X25519).
    pub(crate) fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }
}

/// A relay's public key (X25519). Written as text in Base58Check: a mistake in it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayPublic([u8; 32]);

impl RelayPublic {
    /// Reads a key. Weak (small-order) keys are refused.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidMessage> {
        if is_weak_x25519(&bytes) { Err(InvalidMessage::NotAllowed("relay key")) } else { Ok(Self(bytes)) }
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RelayPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayPublic({self})")
    }
}

impl fmt::Display for RelayPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).with_check().into_string())
    }
}

impl std::str::FromStr for RelayPublic {
    type Err = InvalidMessage;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = InvalidMessage::NotAllowed("relay key");
        let bytes = bs58::decode(s).with_check(None).into_vec().map_err(|_| bad.clone())?;
        Self::from_bytes(bytes.try_into().map_err(|_| bad)?)
    }
}

/// The encodings of the points of small order, on the curve and its twist: <https://cr.yp.to/ecdh.html#validate>, those without
/// the highest bit, which X25519 ignores.
const WEAK_X25519: [[u8; 32]; 7] = {
    const fn ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
        let mut point = [middle; 32];
        point[0] = first;
        point[31] = last;
        point
    }
    [
        ends(0x00, 0x00, 0x00),
        ends(0x01, 0x00, 0x00),
        ends(0xec, 0xff, 0x7f),
        ends(0xed, 0xff, 0x7f),
        ends(0xee, 0xff, 0x7f),
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
            0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
            0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
        ],
    ]
};

/// Whether every exchange with this key gives zero: the points of small order. Looked up, because charters are full of keys.
fn is_weak_x25519(public: &[u8; 32]) -> bool {
    let mut point = *public;
    point[31] &= 0x7f;
    WEAK_X25519.contains(&point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weak_keys_are_those_with_which_every_exchange_gives_zero() {
        let exchange = |public: [u8; 32]| {
            StaticSecret::from([0x5a; 32]).diffie_hellman(&PublicKey::from(public)).was_contributory()
        };
        let highest_bit = |mut point: [u8; 32]| {
            point[31] |= 0x80;
            point
        };
        for weak in WEAK_X25519.iter().flat_map(|point| [*point, highest_bit(*point)]) {
            assert!(is_weak_x25519(&weak) && !exchange(weak), "{weak:02x?}");
        }
        // Whatever else is next to zero and to the prime, in both encodings.
        for first in 0..=255 {
            for (middle, last) in [(0x00, 0x00), (0xff, 0x7f), (0xff, 0xff), (0x00, 0x80)] {
                let mut point = [middle; 32];
                (point[0], point[31]) = (first, last);
                assert_eq!(is_weak_x25519(&point), !exchange(point), "{point:02x?}");
            }
        }
    }

    #[test]
    fn a_device_s_id_commits_to_all_three_keys() {
        let public = DeviceKey::from_seed(&[1; 32]).public();
        assert_eq!(DevicePublic::from_bytes(&public.to_bytes()).unwrap(), public);
        let other = DeviceKey::from_seed(&[2; 32]).public();
        for part in 0..3 {
            let mut mixed = public.to_bytes();
            mixed[part * 32..(part + 1) * 32].copy_from_slice(&other.to_bytes()[part * 32..(part + 1) * 32]);
            assert_ne!(DevicePublic::from_bytes(&mixed).unwrap().id(), public.id());
        }
        let all = [*public.signing().as_bytes(), *public.channel(), *public.wrap()];
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    }

    #[test]
    fn a_device_is_the_same_with_and_without_its_wrap_secret() {
        let key = DeviceKey::from_secrets(&[1; 32], &[2; 32]);
        let one = DeviceKey::from_seed(&[1; 32]);
        assert_eq!(DeviceKey::from_secrets(&[1; 32], &[1; 32]).public(), one.public());
        assert_eq!(key.public().signing(), one.public().signing());
        assert_eq!(key.public().channel(), one.public().channel());
        assert_eq!(*key.public().wrap(), *DeviceKey::from_seed(&[2; 32]).public().wrap());
        let mut locked = key.clone().without_wrap();
        let opened = DeviceKey::locked(&[1; 32], *key.public().wrap()).unwrap();
        for without in [&locked, &opened] {
            assert_eq!(without.public(), key.public());
            assert!(!without.has_wrap() && without.wrap_secret().is_none() && without.local_key().is_none());
            assert_eq!(without.sign(b"a\0", b"b"), key.sign(b"a\0", b"b"));
        }
        for wrong in [[1; 32], [3; 32]] {
            assert_eq!(locked.with_wrap(&wrong), Err(CryptoError::NotThisWrapSecret));
            assert!(!locked.has_wrap());
        }
        locked.with_wrap(&[2; 32]).unwrap();
        assert_eq!(locked.wrap_secret(), key.wrap_secret());
        assert_eq!(locked.local_key(), key.local_key());
        assert!(DeviceKey::locked(&[1; 32], [0; 32]).is_err());
    }

    #[test]
    fn a_relay_s_key_is_read_from_what_was_printed_and_from_nothing_else() {
        let public = RelayKey::from_seed(&[1; 32]).public();
        assert_ne!(public.as_bytes(), DeviceKey::from_seed(&[1; 32]).public().channel());
        let text = public.to_string();
        assert_eq!(text.parse(), Ok(public));
        let mut refused = 0;
        for i in 0..text.len() {
            for other in [&text[..i], &format!("{}{}{}", &text[..i], 'A', &text[i + 1..])] {
                refused += usize::from(*other != text && other.parse::<RelayPublic>().is_err());
                assert!(*other == text || other.parse::<RelayPublic>().is_err(), "{other}");
            }
        }
        println!("{refused} texts, 0 accepted");
        for low in [0u8, 1] {
            let mut bytes = [0; 32];
            bytes[0] = low;
            assert!(RelayPublic::from_bytes(bytes).is_err());
            assert!(bs58::encode(bytes).with_check().into_string().parse::<RelayPublic>().is_err());
        }
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let public = DeviceKey::from_seed(&[1; 32]).public().to_bytes();
        for part in 0..3 {
            for low in [0u8, 1] {
                let mut bytes = public;
                bytes[part * 32..(part + 1) * 32].fill(0);
                bytes[part * 32] = low;
                assert!(DevicePublic::from_bytes(&bytes).is_err(), "part {part}, point {low}");
            }
        }
    }
}
