//! What an app decides about its client.

use std::path::PathBuf;
use std::time::Duration;

use dinh_proto::keys::DeviceKey;
use dinh_proto::limits;

use super::RelayUrl;
use crate::replica::ReplicaConfig;
use crate::store::StoreKey;

/// What a client needs.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The store's file; made if it is not there. Its directory must exist. One client at a time may have it open.
    pub store: PathBuf,
    /// A file of this client's own, **in a place that no backup of the system holds** (Android: under
    /// `getNoBackupFilesDir()`; iOS: with `isExcludedFromBackup`): by it a store that came out of a backup, or from
    /// another phone, is known, and goes on in a new session. Its directory must exist.
    pub marker: PathBuf,
    /// This device's key, of two secrets that the app draws once, together, and keeps in the platform's keystore
    /// ([`DeviceKey::from_secrets`]): the first where it is at hand after the phone's first unlock, so that the client syncs
    /// in the background (iOS: `AfterFirstUnlockThisDeviceOnly`; Android: a key without user authentication), the second
    /// behind biometry (iOS: `WhenUnlockedThisDeviceOnly` with access control; Android: user authentication required).
    /// Beside the first the app keeps the public wrap key ([`DevicePublic::wrap`](dinh_proto::keys::DevicePublic::wrap)).
    ///
    /// With both ([`DeviceKey::from_secrets`]) everything can be read. With the first alone ([`DeviceKey::locked`]) the
    /// client opens with protected spaces locked: see [`Client::lock_protected`](super::Client::lock_protected). An app that
    /// locks nothing apart keeps one secret ([`DeviceKey::from_seed`]). A device that joins a branch does so with both. If the second is
    /// lost (systems may throw such a key away when fingerprints are enrolled anew, unless a passcode opens it too), new
    /// keys cannot be handed to this device any more: it has to be admitted as a new one.
    pub key: DeviceKey,
    /// The key that encrypts the store, which the app keeps in the platform's keystore, beside the first secret. If it is
    /// lost, so is what was not synced.
    pub store_key: StoreKey,
    /// Whether opening reads the whole file and compares it with its checksums; see [`RedbStore::verify`](crate::store::RedbStore::verify).
    pub verify_store: bool,
    /// The relay to keep a connection to, if any; see [`Client::set_relay`](super::Client::set_relay).
    pub relay: Option<RelayUrl>,
    /// Certificates (X.509, DER) of authorities that are trusted beside Mozilla's, for relays behind `wss://`. Used only with the
    /// feature `tls`.
    pub tls_roots: Vec<Vec<u8>>,
    /// The replica's part.
    pub replica: ReplicaConfig,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Events that may wait for each [`EventStream`](super::EventStream).
    pub events_max: usize,
}

impl ClientConfig {
    /// Defaults for everything that has one: no relay, and the store is verified.
    pub fn new(
        store: impl Into<PathBuf>,
        marker: impl Into<PathBuf>,
        key: DeviceKey,
        store_key: StoreKey,
    ) -> Self {
        Self {
            store: store.into(),
            marker: marker.into(),
            key,
            store_key,
            verify_store: true,
            relay: None,
            tls_roots: Vec::new(),
            replica: ReplicaConfig::default(),
            timeouts: Timeouts::default(),
            events_max: 1_024,
        }
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From dialling to the end of the upgrade.
    pub connect: Duration,
    /// How long a relay may be silent after the app said that the connection is suspect.
    pub probe: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: limits::HANDSHAKE_TIMEOUT, probe: Duration::from_secs(4) }
    }
}
