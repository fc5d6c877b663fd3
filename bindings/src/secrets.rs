//! What an app keeps in the platform's keystore.

use dinh_core::client::StoreKey;
use dinh_core::proto::keys::DeviceKey;
use zeroize::{Zeroize, Zeroizing};

use crate::error::{DinhError, Result};

/// The secrets of a device, 32 bytes each. An app draws them once with [`generate_secrets`], and keeps them in the platform's
/// keystore.
#[derive(Clone, uniffi::Record)]
pub struct Secrets {
    /// Who this device is. Where it is at hand after the phone's first unlock, so that the client syncs in the background.
    pub device: Vec<u8>,
    /// What opens protected spaces, behind biometry. Without it the client opens with those locked, and `wrap_public` is needed.
    #[uniffi(default)]
    pub wrap: Option<Vec<u8>>,
    /// The public half of `wrap`, which is no secret: beside `device`.
    pub wrap_public: Vec<u8>,
    /// What encrypts the store. Beside `device`. If it is lost, so is what was not synced.
    pub store: Vec<u8>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// Draws the secrets of a new device, from the operating system's randomness.
#[uniffi::export]
pub fn generate_secrets() -> Result<Secrets> {
    let (device, wrap, store) = (draw()?, draw()?, draw()?);
    let key = DeviceKey::from_secrets(&device, &wrap);
    let wrap_public = key.public().wrap().to_vec();
    Ok(Secrets { device: device.to_vec(), wrap: Some(wrap.to_vec()), wrap_public, store: store.to_vec() })
}

pub(crate) fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|e| DinhError::Internal { detail: format!("no randomness: {e}") })
}

pub(crate) fn draw() -> Result<Zeroizing<[u8; 32]>> {
    let mut secret = Zeroizing::new([0; 32]);
    fill(&mut secret[..])?;
    Ok(secret)
}

pub(crate) fn secret(what: &str, bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let found = <[u8; 32]>::try_from(bytes);
    found
        .map(Zeroizing::new)
        .map_err(|_| DinhError::invalid(format!("{what} has {} bytes and needs 32", bytes.len())))
}

/// What a client keeps of its secrets while it can be paused and resumed. Erased when it is dropped.
pub(crate) struct Kept {
    device: Zeroizing<[u8; 32]>,
    /// Not while protected spaces are locked.
    wrap: Option<Zeroizing<[u8; 32]>>,
    wrap_public: [u8; 32],
    store: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl Kept {
    /// Takes them out of the record, which is erased.
    pub(crate) fn new(mut secrets: Secrets) -> Result<Self> {
        let kept = Self::read(&secrets);
        secrets.device.zeroize();
        secrets.wrap.zeroize();
        secrets.store.zeroize();
        kept
    }

    fn read(secrets: &Secrets) -> Result<Self> {
        let device = secret("the device's secret", &secrets.device)?;
        let wrap = secrets.wrap.as_ref().map(|wrap| secret("the wrap secret", wrap)).transpose()?;
        let wrap_public = match &wrap {
            Some(wrap) => *DeviceKey::from_secrets(&device, wrap).public().wrap(),
            None => *secret("the public wrap key", &secrets.wrap_public)?,
        };
        Ok(Self { device, wrap, wrap_public, store: secret("the store's key", &secrets.store)? })
    }

    /// The keys for opening: without the wrap secret, protected spaces are locked.
    pub(crate) fn keys(&self) -> Result<(DeviceKey, StoreKey)> {
        let device = match &self.wrap {
            Some(wrap) => DeviceKey::from_secrets(&self.device, wrap),
            None => DeviceKey::locked(&self.device, self.wrap_public)?,
        };
        Ok((device, StoreKey::new(*self.store)))
    }

    pub(crate) fn set_wrap(&mut self, wrap: Option<Zeroizing<[u8; 32]>>) {
        self.wrap = wrap;
    }

    pub(crate) fn set_store(&mut self, store: Zeroizing<[u8; 32]>) {
        self.store = store;
    }
}
