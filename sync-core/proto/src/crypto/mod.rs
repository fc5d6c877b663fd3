//! Keys of spaces: how they are handed to devices and what is encrypted with them.

use crate::ids::EpochId;

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
