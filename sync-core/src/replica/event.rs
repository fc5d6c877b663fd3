use bytes::Bytes;
use dinh_proto::charter::record::{Reason, Role};
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{DeviceId, DocId, ItemId, MemberId, SessionId, SpaceId};

use super::Status;
use crate::document::Patch;

/// Whether a change was made on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Here.
    Local,
    /// Elsewhere.
    Remote,
}

/// Who refused an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuser {
    /// The relay.
    Relay,
    /// This device.
    Device,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An open document changed; the patches turn what was shown into what is.
    DocumentChanged {
        /// Which.
        doc: DocId,
        /// By whom.
        origin: Origin,
        /// How.
        patches: Vec<Patch>,
    },
    /// Read this document again: it changed while it was closed, was rebuilt, or too many changes waited.
    DocumentReset {
        /// Which.
        doc: DocId,
    },
    /// Members, spaces or documents of a branch changed.
    CharterChanged {
        /// Which.
        branch: SpaceId,
    },
    /// A device was admitted to a branch. Everybody's phone says so: a device that nobody knows of must not go unseen.
    DeviceAdded {
        /// Where.
        branch: SpaceId,
        /// The device.
        device: DeviceId,
        /// Whose it is.
        member: MemberId,
        /// What it may do.
        role: Role,
    },
    /// A device was removed from a branch: nothing that it writes from now on counts.
    DeviceRemoved {
        /// Where.
        branch: SpaceId,
        /// The device.
        device: DeviceId,
        /// Why.
        reason: Reason,
    },
    /// This device is in the branch whose welcome it scanned.
    Joined {
        /// The branch.
        branch: SpaceId,
    },
    /// The branch's records do not name this device in the certificate that its welcome says: the welcome was made for
    /// another phone, or is forged. Scan again, in person.
    JoinFailed {
        /// The branch.
        branch: SpaceId,
    },
    /// Who admitted this device had seen records that the relay does not deliver: it is an old copy, or withholds them.
    /// Ask another device or relay.
    Withheld {
        /// The branch.
        branch: SpaceId,
        /// Chains of which records are missing.
        chains: usize,
    },
    /// An item was refused for good. It is kept in quarantine, where the app can list and export it.
    Refused {
        /// Which.
        id: ItemId,
        /// Why.
        code: RejectCode,
        /// By whom.
        by: Refuser,
        /// For logs.
        detail: String,
    },
    /// A run of an open document is kept and not shown: its author may not write what it writes. An officer may let it in
    /// ([`Replica::release_run`](super::Replica::release_run)).
    RunDenied {
        /// The document.
        doc: DocId,
        /// The run.
        id: ItemId,
        /// Its author's device.
        device: DeviceId,
        /// What it writes and who may, for people.
        why: String,
    },
    /// This store turned out to be an old copy: own changes were written again in a new session. Nothing is lost.
    Recovered {
        /// The new session.
        session: SessionId,
        /// How many changes were written again.
        changes: usize,
    },
    /// Presence of another device.
    Presence {
        /// Where.
        space: SpaceId,
        /// Who.
        device: DeviceId,
        /// The app's bytes.
        payload: Bytes,
    },
    /// See [`Status`].
    Status(Status),
}

/// The connection, as people would describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// No connection.
    Offline,
    /// A connection is being made.
    Connecting,
    /// Connected; older items are still coming.
    CatchingUp,
    /// Connected; everything is received.
    Live,
}
