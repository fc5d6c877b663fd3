use dinh_proto::error::{InvalidMessage, RejectCode};
use dinh_proto::ids::{DocId, SpaceId};
use dinh_proto::pack::PackError;
use thiserror::Error;

use crate::document::{DocumentError, EditError};
use crate::gate::GateError;
use crate::gate::rights::Denied;
use crate::store::StoreError;

/// Why a command failed.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The store failed: drop the replica and open it again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store belongs to another device key.
    #[error("this store was made with another device key: open it with that key, or choose a new path")]
    WrongKey,
    /// No charter here names the document.
    #[error("document {0} is not known here: create it, or wait until its charter record is received")]
    UnknownDocument(DocId),
    /// No charter here names the space.
    #[error("space {0} is not known here: create it, or wait until its charter record is received")]
    UnknownSpace(SpaceId),
    /// A document was to be created with a schema that the app did not name.
    #[error("schema {0:?} is not known: add it to the replica's schemas")]
    UnknownSchema(String),
    /// The branch is not one that this device takes part in.
    #[error("branch {0} is not known here: join it first")]
    UnknownBranch(SpaceId),
    /// The charter does not allow it to this device.
    #[error("this device's role does not allow that ({0:?})")]
    NotAuthorised(RejectCode),
    /// The key of the space is not here: it comes with the charter, or whoever may has to hand it on.
    #[error("the key of space {0} is not here yet: connect to the relay, or meet a device that has it")]
    NoKey(SpaceId),
    /// The space is protected on this device, and the device's second secret is not here.
    #[error(
        "space {0} is locked on this device: unlock it with the device's second secret (`unlock_protected`)"
    )]
    Locked(SpaceId),
    /// Protected spaces were to be unlocked with another secret. Nothing was done.
    #[error(
        "that is not the second secret of this device: give the one with which its key was made; what is \
         protected stays locked"
    )]
    WrongWrapSecret,
    /// A code that was scanned or typed does not read.
    #[error(transparent)]
    Join(#[from] dinh_proto::join::JoinError),
    /// The edit is not possible in this document.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The change that the edit makes is larger than one item can be.
    #[error("the edit is too large for one change ({0}): split it")]
    TooLarge(PackError),
    /// The edit writes what this device's member may not.
    #[error("that is not yours to write ({0}): nothing was written")]
    Denied(Denied),
    /// Earlier changes of this device in the document are on its disk, and neither in the document nor ready to be sent: what
    /// they build on, or a key, is still to come. Nothing of them is lost.
    #[error(
        "earlier changes of this device in document {0} wait for what they build on: connect to the relay, then try again"
    )]
    Unsettled(DocId),
    /// The change that the edit makes would be refused by every device.
    #[error("the edit is not one that other devices accept ({0}): nothing was written")]
    Refused(GateError),
    /// The document engine failed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// An invitation, key or record does not read.
    #[error("not a valid invitation or record: {0}")]
    Invalid(#[from] InvalidMessage),
    /// A stored item does not pass the gate any more.
    #[error("a stored item is refused: {0}")]
    Gate(#[from] GateError),
}
