use bytes::Bytes;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{DeviceId, DocId, ItemId, Seq, SessionId, SpaceId};

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

/// Where a replica stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The connection.
    pub link: LinkState,
    /// Changes and items that are saved here and not yet in the relay's durable log.
    pub pending: usize,
    /// The highest place in the relay's log that was acknowledged to this device; 0 if none.
    pub acked: Seq,
    /// The place up to which everything was received; 0 if nothing.
    pub received: Seq,
}
