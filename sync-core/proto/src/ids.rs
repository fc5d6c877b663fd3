//! Identifiers, sequence numbers and cursors. Each is a type of its own.

use std::fmt;

use sha2::{Digest, Sha256};

macro_rules! byte_ids {
    ($($(#[$meta:meta])* $name:ident($n:literal);)+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $n]);

        impl $name {
            /// Its length in bytes.
            pub const BYTES: usize = $n;

            /// The raw bytes.
            pub fn as_bytes(&self) -> &[u8; $n] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), short_hex(&self.0))
            }
        }
    )+};
}

macro_rules! display_hex {
    ($($name:ident)+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    )+};
}

fn short_hex(bytes: &[u8]) -> String {
    bytes.iter().take(4).map(|b| format!("{b:02x}")).collect()
}

byte_ids! {
    /// One document. Printed in bs58check, like automerge-repo's.
    DocId(16);
    /// One audience inside a branch. The charter space of a branch has the branch's own id.
    SpaceId(16);
    /// A person, opaque; may have several devices.
    MemberId(16);
    /// One installation: the hash of its public keys.
    DeviceId(16);
    /// One incarnation of an installation's store.
    SessionId(8);
    /// An Automerge actor: derived from document, device and session.
    ActorId(16);
    /// The hash of an item's header.
    ItemId(32);
    /// The SHA-256 of an Automerge change chunk.
    ChangeHash(32);
    /// A random id of one uninterrupted run of a relay's log.
    LogEpoch(8);
    /// First bytes of the charter digest that an author knew.
    CharterTag(8);
    /// First bytes of the id of the key epoch that a payload is encrypted under; zero means not encrypted.
    KeyEpoch(8);
    /// A key epoch of a space: the hash of its key.
    EpochId(16);
}

display_hex! { SpaceId MemberId DeviceId SessionId ActorId ItemId ChangeHash LogEpoch EpochId }

/// As they are printed.
macro_rules! serialize_as_text {
    ($($name:ident)+) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    )+};
}

serialize_as_text! { SpaceId MemberId DeviceId DocId }

impl fmt::Display for DocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).with_check().into_string())
    }
}

impl std::str::FromStr for DocId {
    type Err = crate::error::InvalidMessage;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = crate::error::InvalidMessage::NotAllowed("document id");
        let bytes = bs58::decode(s).with_check(None).into_vec().map_err(|_| bad.clone())?;
        Ok(Self(bytes.try_into().map_err(|_| bad)?))
    }
}

impl ItemId {
    /// The first half, by which the next item of a chain names this one.
    pub fn link(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out.copy_from_slice(&self.0[..16]);
        out
    }
}

impl EpochId {
    /// The half by which headers name it.
    pub fn hint(&self) -> KeyEpoch {
        KeyEpoch(*self.0.first_chunk().expect("8 of 16 bytes"))
    }
}

impl ActorId {
    /// The actor under which a device writes a document in one session. Nobody can write under another's.
    pub fn derive(doc: &DocId, device: &DeviceId, session: &SessionId) -> Self {
        Self(hash16(b"dinh/act1\0", &[&doc.0, &device.0, &session.0]))
    }
}

impl SpaceId {
    /// The id of the space that a device creates with this random nonce: nobody else can create one with this id.
    pub fn derive(creator: &DeviceId, nonce: &[u8; 16]) -> Self {
        Self(hash16(b"dinh/sid1\0", &[&creator.0, nonce]))
    }
}

impl DocId {
    /// The id of the document that a device creates with this random nonce: nobody else can create one with this id.
    pub fn derive(creator: &DeviceId, nonce: &[u8; 16]) -> Self {
        Self(hash16(b"dinh/did1\0", &[&creator.0, nonce]))
    }
}

/// First 16 bytes of SHA-256 over a domain and parts of fixed length.
pub(crate) fn hash16(domain: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hash32(domain, parts)[..16]);
    out
}

/// SHA-256 over a domain and parts of fixed length.
pub(crate) fn hash32(domain: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new_with_prefix(domain);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A place in a relay's log; the first item has 1. It increases over the whole relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How far a device has received everything it may read: all of the log up to `seq`, as it was in `epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The log's epoch when the cursor was given.
    pub epoch: LogEpoch,
    /// The last place that was received or passed over.
    pub seq: Seq,
}

/// The author of a chain of items: a device in one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author {
    /// The device.
    pub device: DeviceId,
    /// Its session.
    pub session: SessionId,
}

/// A chain: the items of one author in one space, numbered 1, 2, 3 … without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId {
    /// The space.
    pub space: SpaceId,
    /// The author.
    pub author: Author,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_ids_print_like_automerge_repo_and_read_back() {
        let id = DocId(*b"0123456789abcdef");
        let text = id.to_string();
        assert_eq!(text.parse::<DocId>().unwrap(), id);
        let mut broken = text.into_bytes();
        broken[3] = if broken[3] == b'a' { b'b' } else { b'a' };
        assert!(String::from_utf8(broken).unwrap().parse::<DocId>().is_err());
    }
}
