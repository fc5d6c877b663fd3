//! Device keys. The algorithm byte 1 is Ed25519; 2 is kept for P-256 in secure hardware.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::error::InvalidMessage;
use crate::ids::{DeviceId, hash16};

/// Ed25519.
pub const ALG_ED25519: u8 = 1;

/// A device's secret signing key.
#[derive(Clone)]
pub struct DeviceKey(SigningKey);

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({:?})", self.public().id())
    }
}

impl DeviceKey {
    /// From 32 secret random bytes, which the app keeps in the platform's keystore.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> DevicePublic {
        DevicePublic(self.0.verifying_key())
    }

    /// Signs `domain ‖ message`. Domains are literals that end in a zero byte, so none is a prefix of another.
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> [u8; 64] {
        self.0.sign(&[domain, message].concat()).to_bytes()
    }
}

/// A device's public signing key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DevicePublic(VerifyingKey);

impl fmt::Debug for DevicePublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DevicePublic({:?})", self.id())
    }
}

impl DevicePublic {
    /// Reads a key. Weak (small-order) keys are refused.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, InvalidMessage> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| InvalidMessage::NotAllowed("public key"))?;
        if key.is_weak() { Err(InvalidMessage::NotAllowed("public key")) } else { Ok(Self(key)) }
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The device that has this key.
    pub fn id(&self) -> DeviceId {
        DeviceId(hash16(b"dinh/dev1\0", &[&[ALG_ED25519], self.0.as_bytes()]))
    }

    /// Whether `signature` is this key's over `domain ‖ message`, by the strict rules of RFC 8032 with
    /// small-order points refused (ed25519-dalek `verify_strict`).
    pub fn verify(&self, domain: &[u8], message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(&[domain, message].concat(), &Signature::from_bytes(signature)).is_ok()
    }
}
