//! Errors by blame, and the two wire tables they map to: [`CloseCode`] ends a connection, [`RejectCode`]
//! refuses one item and leaves the connection open.

use thiserror::Error;

/// The bytes do not parse. Whoever sent them has a bug or is hostile; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// The input ends inside the named field.
    #[error("{0} is cut short")]
    Truncated(&'static str),
    /// Bytes follow the end of the named value.
    #[error("bytes follow the end of {0}")]
    TrailingBytes(&'static str),
    /// An integer is not in its shortest form.
    #[error("{0} is not in its shortest form")]
    NonMinimal(&'static str),
    /// A size or number is over its limit.
    #[error("{what} is over its limit of {limit}")]
    TooLarge {
        /// The field.
        what: &'static str,
        /// The largest value allowed.
        limit: u64,
    },
    /// A tag byte has no meaning in this version.
    #[error("{what} {value} is not known")]
    Unknown {
        /// The field.
        what: &'static str,
        /// The value found.
        value: u64,
    },
    /// A field that must have a fixed value in this place has another.
    #[error("{0} has a value that is not allowed here")]
    NotAllowed(&'static str),
    /// Text is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// A hash in the bytes does not match what it names.
    #[error("{0} does not match its hash")]
    HashMismatch(&'static str),
    /// Entries are not in strictly increasing order.
    #[error("{0} are not in strictly increasing order")]
    NotSorted(&'static str),
}

impl InvalidMessage {
    /// How an item with such bytes is refused.
    pub fn reject_code(&self) -> RejectCode {
        match self {
            Self::TooLarge { .. } => RejectCode::TooLarge,
            _ => RejectCode::Malformed,
        }
    }
}

/// The bytes parse, but the peer broke a rule of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A message came in a state in which it is not allowed.
    #[error("{0} is not allowed at this point of the conversation")]
    OutOfTurn(&'static str),
    /// More bytes were sent than were granted.
    #[error("the peer sent more than its credit")]
    CreditExceeded,
    /// A frame does not open: it is not the one that the other side sealed next.
    #[error("a frame was changed, repeated, left out or moved on its way")]
    BadFrame,
    /// A cursor went backwards, or beyond the head.
    #[error("the peer moved the cursor to where it cannot be")]
    BadCursor,
    /// It asks for more than it takes.
    #[error("the peer asks for more than it reads")]
    AsksTooMuch,
    /// An acknowledgement names something that was never sent.
    #[error("the peer acknowledged what was not sent")]
    BadAck,
}

/// The peer is honest, but there is no common ground.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerIncompatible {
    /// No protocol version in common.
    #[error(
        "the peer speaks protocol version {theirs}, this side speaks {ours}: update the older of the two"
    )]
    Version {
        /// What the peer offered.
        theirs: u8,
        /// What this side speaks.
        ours: u8,
    },
    /// The channel kind is not offered.
    #[error("the peer asks for channel kind {0}, which this side does not offer")]
    Channel(u8),
    /// A message type that may not be skipped is not known.
    #[error("the peer sent message type {0}, which this version does not know and may not skip")]
    MessageType(u8),
}

/// Why a conversation ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// See [`InvalidMessage`].
    #[error("invalid message: {0}")]
    InvalidMessage(#[from] InvalidMessage),
    /// See [`PeerMisbehaved`].
    #[error("the peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// See [`PeerIncompatible`].
    #[error("incompatible peer: {0}")]
    PeerIncompatible(#[from] PeerIncompatible),
    /// The handshake of the channel fails: who is at the other end does not hold the key that was pinned.
    #[error(
        "no secure channel: the relay key that the device has pinned (after # in the relay's address) is not this \
         relay's, or a frame was damaged. `dinh-relay key` prints the right one"
    )]
    BadHandshake,
    /// The peer closed with a code.
    #[error("closed by the peer: {code:?} {detail}")]
    ClosedByPeer {
        /// Its code.
        code: CloseCode,
        /// How long it asks this side to stay away, milliseconds; 0 if it does not say.
        retry_after_ms: u32,
        /// Its words, for logs.
        detail: String,
    },
    /// This side closed.
    #[error("closed by this side: {0:?}")]
    ClosedHere(CloseCode),
    /// Nothing was heard for longer than the limit.
    #[error("nothing was heard from the peer for too long")]
    TimedOut,
}

impl SessionError {
    /// The code that tells the peer, or `None` where there is nobody to tell.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::InvalidMessage(_) => Some(CloseCode::InvalidMessage),
            Self::BadHandshake => Some(CloseCode::BadHandshake),
            Self::PeerMisbehaved(_) => Some(CloseCode::Misbehaved),
            Self::PeerIncompatible(_) => Some(CloseCode::Incompatible),
            Self::ClosedHere(code) => Some(*code),
            Self::TimedOut => Some(CloseCode::TimedOut),
            Self::ClosedByPeer { .. } => None,
        }
    }
}

macro_rules! wire_codes {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$vmeta:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every code, in the order of its wire value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The byte on the wire.
            pub fn to_wire(self) -> u8 {
                match self { $(Self::$variant => $value),+ }
            }

            /// Reads the byte on the wire.
            pub fn from_wire(value: u8) -> Result<Self, InvalidMessage> {
                match value {
                    $($value => Ok(Self::$variant),)+
                    _ => Err(InvalidMessage::Unknown { what: $what, value: u64::from(value) }),
                }
            }

            /// The name used in metrics and logs.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }
    };
}

wire_codes! {
    /// Why a connection is closed. One table for both directions.
    CloseCode, "close code" {
        /// An orderly end; nothing is wrong.
        Normal = 0,
        /// The relay is stopping; reconnect after the time it names.
        GoingAway = 1,
        /// The bytes did not parse.
        InvalidMessage = 2,
        /// A rule was broken.
        Misbehaved = 3,
        /// No common version, channel or message.
        Incompatible = 4,
        /// Nothing was heard for too long.
        TimedOut = 5,
        /// The relay's storage failed; nothing can be acknowledged.
        StorageFailed = 6,
        /// Too many connections, of this device or in all.
        TooMany = 7,
        /// No secure channel came about. Most likely the device has pinned another relay's key.
        BadHandshake = 8,
        /// The device at the other end is in no branch that this device follows, or was removed from it.
        Stranger = 9,
        /// The relay's operator has suspended the device. (10 is in no use: the vectors of version 1 refuse it.)
        Suspended = 11,
    }
}

wire_codes! {
    /// Why one item is refused. The connection goes on.
    RejectCode, "reject code" {
        /// The bytes are not an item. Never.
        Malformed = 1,
        /// Header or payload is over a limit. Never.
        TooLarge = 2,
        /// The signature is not the author's. Never.
        BadSignature = 3,
        /// The author's certificate is not known yet. Later.
        UnknownAuthor = 4,
        /// The space or document is not known yet. Later.
        UnknownTarget = 5,
        /// The author's role may not write there. Never.
        NotAuthorised = 6,
        /// The item before this one in its chain is not known yet. Later.
        Gap = 7,
        /// The item does not name the stored item before it. Never.
        BadLink = 8,
        /// Another item with this chain and counter is stored. Never; proof of a fork.
        Fork = 9,
        /// The very same item is stored already. Settled: counts as an acknowledgement.
        Duplicate = 10,
        /// A quota is used up. Later.
        Quota = 11,
        /// The relay cannot store now, or its operator has suspended the space. Later.
        Unavailable = 12,
        /// The branch is not admitted by this relay's operator (yet). Later.
        NotAdmitted = 13,
    }
}

/// What a refusal means for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The chain waits and is tried again on a timer.
    Later,
    /// The item will not be taken, whatever happens.
    Never,
    /// It is stored already.
    Settled,
}

impl RejectCode {
    /// What the sender does about it.
    pub fn fate(self) -> Fate {
        match self {
            Self::UnknownAuthor
            | Self::UnknownTarget
            | Self::Gap
            | Self::Quota
            | Self::Unavailable
            | Self::NotAdmitted => Fate::Later,
            Self::Duplicate => Fate::Settled,
            Self::Malformed
            | Self::TooLarge
            | Self::BadSignature
            | Self::NotAuthorised
            | Self::BadLink
            | Self::Fork => Fate::Never,
        }
    }
}
