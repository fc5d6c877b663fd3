use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::transport::BadRelayUrl;
use crate::replica::ReplicaError;
use crate::store::StoreError;

/// Why a call of a client failed.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The store could not be opened.
    #[error("the store cannot be opened: {0}")]
    Open(#[source] StoreError),
    /// The command failed. After [`ReplicaError::Store`] the client has stopped: open another.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The client was shut down, or is being shut down.
    #[error("this client is closed: open the store again to go on")]
    Closed,
    /// The client stopped by itself earlier. Everything that calls have confirmed is on disk.
    #[error("this client has stopped and must be opened again, because of: {0}")]
    Stopped(#[source] Arc<Self>),
    /// The client is locked. Nothing was done.
    #[error("this client is locked: unlock it with its keys")]
    Locked,
    /// It was to be unlocked and is not locked. Nothing was done; the keys were not looked at.
    #[error("this client is not locked")]
    NotLocked,
    /// The file of the marker can be neither read nor written.
    #[error("the marker file {path} cannot be used: {source}; its directory must exist and be writable")]
    Marker {
        /// From [`ClientConfig`](super::ClientConfig).
        path: PathBuf,
        /// What the system says.
        source: Arc<std::io::Error>,
    },
    /// The address of the relay cannot be used.
    #[error(transparent)]
    BadRelayUrl(#[from] BadRelayUrl),
    /// One of [`ClientConfig::tls_roots`](super::ClientConfig::tls_roots) is no certificate of an authority.
    #[error("a certificate in `tls_roots` cannot be used: {reason}; give X.509 in DER, not PEM")]
    BadRoot {
        /// What is wrong with it.
        reason: String,
    },
    /// A closure that was given to the client panicked. Nothing was written.
    #[error("the closure given to this call panicked: nothing was written")]
    ClosurePanicked,
    /// The client's thread panicked: a bug here.
    #[error("the client's thread panicked: open the store again and report this")]
    Panicked,
    /// A `_blocking` call from inside a closure that runs on the client's own thread.
    #[error("a blocking call inside a closure of the same client would wait for itself")]
    WouldDeadlock,
    /// The operating system gives no thread, runtime or randomness.
    #[error("the operating system does not give {what}: {reason}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Its words.
        reason: String,
    },
}

impl ClientError {
    /// Whether the client can do nothing more after this.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Replica(ReplicaError::Store(_)) | Self::Panicked)
    }
}
