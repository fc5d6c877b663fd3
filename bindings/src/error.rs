//! One error type for apps, by what they can do about it.

use dinh_core::client::{BadRelayUrl, ClientError};
use dinh_core::document::{DocumentError, EditError};
use dinh_core::proto::error::{InvalidMessage, RejectCode};
use dinh_core::proto::join::JoinError;
use dinh_core::qr::QrError;
use dinh_core::replica::ReplicaError;
use dinh_core::store::StoreError;
use dinh_model::interchange::import::ImportError;
use dinh_model::interchange::roster_csv::BadFile;

/// What the store's trouble is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum StoreFailure {
    /// Another process, or another client of this one, has it open.
    InUse,
    /// The key is not the store's.
    WrongKey,
    /// The disk is full. Free some space, then open the store again.
    DiskFull,
    /// The file may not be written.
    ReadOnly,
    /// A newer version of the app wrote it.
    NewerFormat,
    /// Its bytes are not what this library wrote.
    Damaged,
    /// The file or the disk failed. Open the store again.
    Failed,
}

/// Why a call failed. `detail` is a sentence for developers and logs; it names the cause and, where there is one, the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
#[uniffi::export(Display)]
pub enum DinhError {
    /// The client was shut down, or stopped by itself: open the store again.
    #[error("{detail}")]
    Closed {
        /// Why.
        detail: String,
    },
    /// The client is locked or paused, or the space is locked: unlock it.
    #[error("{detail}")]
    Locked {
        /// What is locked.
        detail: String,
    },
    /// The store's file or disk.
    #[error("{detail}")]
    Store {
        /// What its trouble is.
        failure: StoreFailure,
        /// In words.
        detail: String,
    },
    /// There is no such document, space, branch or value here.
    #[error("{detail}")]
    NotFound {
        /// What is missing.
        detail: String,
    },
    /// This device's member may not do that.
    #[error("{detail}")]
    NotAllowed {
        /// Who may.
        detail: String,
    },
    /// A rule of the document does not let it happen now: a vote that does not count, a step that does not follow. Nothing was
    /// written.
    #[error("{detail}")]
    Refused {
        /// Which rule.
        detail: String,
    },
    /// An argument is wrong: an index beyond the end, a malformed id, a value that is too long. Nothing was written.
    #[error("{detail}")]
    Invalid {
        /// Which, and what would be right.
        detail: String,
    },
    /// A code that was scanned or typed does not read.
    #[error("{detail}")]
    BadCode {
        /// Why, for people.
        detail: String,
    },
    /// Something that is on its way is missing: a key, what own changes build on. Connect, and try again.
    #[error("{detail}")]
    NotReady {
        /// What.
        detail: String,
    },
    /// The call was cancelled before it was done.
    #[error("{detail}")]
    Cancelled {
        /// What was waited for.
        detail: String,
    },
    /// A bug here or in the app's callback: report it.
    #[error("{detail}")]
    Internal {
        /// What happened.
        detail: String,
    },
}

/// The result of a call.
pub type Result<T, E = DinhError> = std::result::Result<T, E>;

/// A sentence with the causes that it does not name itself.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        if !text.contains(&why) {
            text = format!("{text}: {why}");
        }
        cause = error.source();
    }
    text
}

impl DinhError {
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid { detail: detail.into() }
    }
}

impl From<uniffi::UnexpectedUniFFICallbackError> for DinhError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Internal { detail: format!("the app's callback failed: {}", error.reason) }
    }
}

impl From<ClientError> for DinhError {
    fn from(error: ClientError) -> Self {
        let detail = told(&error);
        match error {
            ClientError::Open(error) => Self::of_store(&error, detail),
            ClientError::Replica(error) => Self::of_replica(&error, detail),
            ClientError::Closed | ClientError::Stopped(_) => Self::Closed { detail },
            ClientError::Locked => Self::Locked { detail },
            ClientError::NotLocked | ClientError::BadRelayUrl(_) | ClientError::BadRoot { .. } => {
                Self::Invalid { detail }
            }
            ClientError::Marker { .. } => Self::Store { failure: StoreFailure::Failed, detail },
            _ => Self::Internal { detail },
        }
    }
}

impl From<ReplicaError> for DinhError {
    fn from(error: ReplicaError) -> Self {
        Self::of_replica(&error, told(&error))
    }
}

impl From<EditError> for DinhError {
    fn from(error: EditError) -> Self {
        Self::of_edit(&error, told(&error))
    }
}

impl From<JoinError> for DinhError {
    fn from(error: JoinError) -> Self {
        Self::BadCode { detail: told(&error) }
    }
}

impl From<BadRelayUrl> for DinhError {
    fn from(error: BadRelayUrl) -> Self {
        Self::Invalid { detail: told(&error) }
    }
}

impl From<QrError> for DinhError {
    fn from(error: QrError) -> Self {
        Self::Invalid { detail: told(&error) }
    }
}

impl From<BadFile> for DinhError {
    fn from(error: BadFile) -> Self {
        Self::Invalid { detail: told(&error) }
    }
}

impl From<ImportError> for DinhError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::NotWritten(error) => error.into(),
            error => Self::Invalid { detail: told(&error) },
        }
    }
}

impl From<InvalidMessage> for DinhError {
    fn from(error: InvalidMessage) -> Self {
        Self::Invalid { detail: told(&error) }
    }
}

impl DinhError {
    fn of_store(error: &StoreError, detail: String) -> Self {
        let failure = match error {
            StoreError::Locked => StoreFailure::InUse,
            StoreError::DiskFull(_) => StoreFailure::DiskFull,
            StoreError::ReadOnly(_) => StoreFailure::ReadOnly,
            StoreError::NewerFormat { .. } => StoreFailure::NewerFormat,
            StoreError::WrongKey | StoreError::NotEncrypted => StoreFailure::WrongKey,
            StoreError::Corrupt(_) => StoreFailure::Damaged,
            _ => StoreFailure::Failed,
        };
        Self::Store { failure, detail }
    }

    fn of_replica(error: &ReplicaError, detail: String) -> Self {
        match error {
            ReplicaError::Store(error) => Self::of_store(error, detail),
            ReplicaError::WrongKey => Self::Store { failure: StoreFailure::WrongKey, detail },
            ReplicaError::UnknownDocument(_)
            | ReplicaError::UnknownSpace(_)
            | ReplicaError::UnknownBranch(_)
            | ReplicaError::NotAuthorised(RejectCode::UnknownTarget) => Self::NotFound { detail },
            ReplicaError::NotAuthorised(_) | ReplicaError::Denied(_) => Self::NotAllowed { detail },
            // Heads that another device noted may be here before the changes are.
            ReplicaError::NoKey(_)
            | ReplicaError::Unsettled(_)
            | ReplicaError::Document(DocumentError::UnknownChange(_)) => Self::NotReady { detail },
            ReplicaError::Locked(_) => Self::Locked { detail },
            ReplicaError::Join(_) => Self::BadCode { detail },
            ReplicaError::Edit(error) => Self::of_edit(error, detail),
            ReplicaError::WrongWrapSecret
            | ReplicaError::UnknownSchema(_)
            | ReplicaError::TooLarge(_)
            | ReplicaError::Invalid(_)
            | ReplicaError::Refused(_) => Self::Invalid { detail },
            _ => Self::Internal { detail },
        }
    }

    fn of_edit(error: &EditError, detail: String) -> Self {
        match error {
            EditError::Refused(_) => Self::Refused { detail },
            EditError::NotFound { .. } => Self::NotFound { detail },
            EditError::Engine { .. } => Self::Internal { detail },
            _ => Self::Invalid { detail },
        }
    }
}
