//! The records of a charter. A record is the payload of an item of kind *charter*, whose signature is the issuer's and
//! whose space is the branch; docs/PROTOCOL.md section 10 has the bytes, `codec.rs` reads and writes them.

mod certificate;
mod codec;

use crate::crypto::{SealedKey, Wrap};
use crate::error::InvalidMessage;
use crate::ids::{Author, DeviceId, DocId, EpochId, ItemId, MemberId, SpaceId, hash16};
use crate::keys::{SignKey, SignPublic};

pub use certificate::{Certificate, JoinRequest};

const BRANCH_DOMAIN: &[u8] = b"dinh/spc1\0";

/// The version of the rules in [`crate::charter`].
pub const RULES_VERSION: u16 = 1;

/// What a device may do in a branch. All devices of a member normally have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Admits and removes everybody below, creates spaces, writes everything.
    Secretary,
    /// Admits and removes ordinary members, writes everything.
    Deputy,
    /// On the committee.
    Committee,
    /// An official member.
    Member,
    /// A member on probation.
    Probationary,
    /// From an upper body: reads what names it, comments.
    Reviewer,
    /// Helps members with their phones: reads as they do, comments.
    Helper,
    /// Reads only.
    Reader,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Secretary,
        Self::Deputy,
        Self::Committee,
        Self::Member,
        Self::Probationary,
        Self::Reviewer,
        Self::Helper,
        Self::Reader,
    ];

    /// The byte on the wire.
    pub fn to_wire(self) -> u8 {
        match self {
            Self::Secretary => 1,
            Self::Deputy => 2,
            Self::Committee => 3,
            Self::Member => 4,
            Self::Probationary => 5,
            Self::Reviewer => 6,
            Self::Helper => 7,
            Self::Reader => 8,
        }
    }

    fn from_wire(value: u8) -> Result<Self, InvalidMessage> {
        let found = Self::ALL.into_iter().find(|role| role.to_wire() == value);
        found.ok_or(InvalidMessage::Unknown { what: "role", value: u64::from(value) })
    }

    /// Who decides: smaller is higher. The root key on paper is 0.
    pub fn rank(self) -> u8 {
        match self {
            Self::Secretary => 1,
            Self::Deputy => 2,
            _ => 3,
        }
    }

    /// Secretary or deputy.
    pub fn is_officer(self) -> bool {
        self.rank() <= 2
    }

    /// Whether this role writes anything.
    pub fn writes(self) -> bool {
        self != Self::Reader
    }

    /// Whether it reads the spaces that are for everyone.
    pub fn reads_what_is_for_everyone(self) -> bool {
        self != Self::Reviewer
    }
}

/// Who writes a document, among those who read its space and whose role writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// All of them: comments.
    All,
    /// Members, on probation or not, the committee and the officers.
    Members,
    /// The committee and the officers.
    Committee,
    /// The officers, and who was named a recorder of the document.
    Officers,
}

impl Writers {
    /// Whether a role is among them.
    pub fn include(self, role: Role) -> bool {
        match self {
            Self::All => role.writes(),
            Self::Members => {
                role.is_officer() || matches!(role, Role::Committee | Role::Member | Role::Probationary)
            }
            Self::Committee => role.is_officer() || role == Role::Committee,
            Self::Officers => role.is_officer(),
        }
    }
}

/// Who reads a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every device of the branch but reviewers'.
    Everyone,
    /// These members, as far as they are not taken off, and those granted later.
    Members(Vec<MemberId>),
}

/// Why a device was removed: for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Its owner left.
    Left,
    /// The phone is lost or stolen.
    Lost,
    /// Its owner was expelled.
    Expelled,
    /// Its owner has another phone now.
    Replaced,
}

/// The newest item of one chain that the issuer of a frontier had received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The chain's space.
    pub space: SpaceId,
    /// The chain's author.
    pub author: Author,
    /// The item's counter, at least 1.
    pub n: u32,
    /// [`ItemId::link`] of the item.
    pub link: [u8; 16],
}

/// What counts of a device in spite of a record about it: what its issuer had received. Sorted by space and author.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier(pub Vec<Mark>);

/// A key epoch of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRecord {
    /// The space; the branch itself for the key of names.
    pub space: SpaceId,
    /// One more than the highest that the issuer knew.
    pub generation: u32,
    /// The hash of the key.
    pub id: EpochId,
    /// When it was drawn, seconds since 1970 by the issuer's clock: for the age of keys only.
    pub issued: u64,
    /// Older keys under this one, by epoch.
    pub prev: Vec<SealedKey>,
    /// The key for each device, sorted by tag.
    pub wraps: Vec<Wrap>,
}

/// The first record of a branch. The branch's id is its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// Version of the rules.
    pub rules: u16,
    /// The key on paper that can replace the secretary.
    pub root: SignPublic,
    /// The first secretary's device.
    pub secretary: Certificate,
}

/// What the key on paper decides. The item's author is the device that becomes the secretary's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The branch.
    pub branch: SpaceId,
    /// One more than that of the last one: the higher counts against the lower.
    pub generation: u32,
    /// The secretary's device from now on.
    pub secretary: Certificate,
    /// Devices that are removed.
    pub removals: Vec<(DeviceId, Reason, Frontier)>,
    /// By the root key.
    pub signature: [u8; 64],
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Founds the branch.
    Genesis(Box<Genesis>),
    /// Admits a device.
    Device {
        /// Its certificate.
        certificate: Box<Certificate>,
        /// Charter chains of officers, and how far the issuer had received them: what the new device must find.
        seen: Vec<(Author, u32)>,
    },
    /// Creates a space.
    Space {
        /// Random; with the issuer's device it makes the id ([`SpaceId::derive`]), so nobody can claim another's.
        nonce: [u8; 16],
        /// Whether newcomers get the keys of what was written before.
        history: bool,
        /// Whether payloads are padded.
        padded: bool,
        /// Its readers.
        audience: Audience,
    },
    /// Adds a reader to a space.
    Grant {
        /// The space.
        space: SpaceId,
        /// The reader.
        member: MemberId,
        /// The highest among grants and revokes decides.
        generation: u32,
    },
    /// Creates a document.
    Document {
        /// Random; with the issuer's device it makes the id ([`DocId::derive`]).
        nonce: [u8; 16],
        /// Where it lives.
        space: SpaceId,
        /// Who writes it.
        writers: Writers,
        /// The name of its schema, sealed under a key of the space ([`SpaceKey::seal_schema`]); empty if its fields have no
        /// rules of their own.
        ///
        /// [`SpaceKey::seal_schema`]: crate::crypto::SpaceKey::seal_schema
        schema: Vec<u8>,
    },
    /// Removes a device.
    Removal {
        /// The device.
        device: DeviceId,
        /// Why.
        reason: Reason,
        /// What counts of it.
        frontier: Frontier,
    },
    /// Gives a device another role.
    Role {
        /// The device.
        device: DeviceId,
        /// From now on.
        role: Role,
        /// The highest decides.
        generation: u32,
        /// What is judged by the role before.
        frontier: Frontier,
    },
    /// Takes a reader off a space.
    Revoke {
        /// The space.
        space: SpaceId,
        /// The reader.
        member: MemberId,
        /// The highest among grants and revokes decides.
        generation: u32,
        /// What counts of the member's devices there.
        frontier: Frontier,
    },
    /// A new key of a space.
    Epoch(Box<EpochRecord>),
    /// A key for more devices.
    Wraps {
        /// The space.
        space: SpaceId,
        /// The key.
        epoch: EpochId,
        /// For whom; sorted by tag.
        wraps: Vec<Wrap>,
    },
    /// Names a member a recorder of a document.
    Recorder {
        /// The document.
        doc: DocId,
        /// The member.
        member: MemberId,
    },
    /// Of a chain only the first `keep` items count, whatever builds on the others.
    Cut {
        /// The chain's space.
        space: SpaceId,
        /// The chain's author.
        author: Author,
        /// How many.
        keep: u32,
    },
    /// Names the upper body.
    Upper {
        /// The highest decides.
        generation: u32,
        /// Its branch, or none.
        upper: Option<SpaceId>,
    },
    /// The key on paper decides.
    Root(Box<Root>),
    /// What was received of a device in spaces that the issuer of a record about it cannot read.
    Frontier {
        /// The removal or root record.
        about: ItemId,
        /// The device.
        device: DeviceId,
        /// Marks in those spaces.
        frontier: Frontier,
    },
    /// Says which of several certificates for the issuing device is the one that it was shown when it joined: anybody who
    /// may admit may also write its keys into another certificate.
    Accept {
        /// The device record.
        certificate: ItemId,
    },
}

impl Record {
    /// The certificate in it.
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Genesis(genesis) => Some(&genesis.secretary),
            Self::Device { certificate, .. } => Some(certificate),
            Self::Root(root) => Some(&root.secretary),
            _ => None,
        }
    }

    /// The first byte of its payload.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Genesis(_) => 1,
            Self::Device { .. } => 2,
            Self::Space { .. } => 3,
            Self::Grant { .. } => 4,
            Self::Document { .. } => 5,
            Self::Removal { .. } => 6,
            Self::Role { .. } => 7,
            Self::Revoke { .. } => 8,
            Self::Epoch(_) => 9,
            Self::Wraps { .. } => 10,
            Self::Recorder { .. } => 11,
            Self::Cut { .. } => 12,
            Self::Upper { .. } => 13,
            Self::Root(_) => 14,
            Self::Frontier { .. } => 15,
            Self::Accept { .. } => 16,
        }
    }

    /// Whether it may change what counts of other records and of items that are there already.
    pub fn changes_authority(&self) -> bool {
        match self {
            Self::Genesis(_)
            | Self::Device { .. }
            | Self::Grant { .. }
            | Self::Removal { .. }
            | Self::Role { .. }
            | Self::Revoke { .. }
            | Self::Recorder { .. }
            | Self::Cut { .. }
            | Self::Root(_)
            | Self::Frontier { .. }
            | Self::Accept { .. } => true,
            Self::Space { .. }
            | Self::Document { .. }
            | Self::Epoch(_)
            | Self::Wraps { .. }
            | Self::Upper { .. } => false,
        }
    }
}

/// Makes the payload of a genesis record and the branch's id. The root key signs here and is then put on paper.
pub fn found(root: &SignKey, secretary: Certificate) -> (SpaceId, Vec<u8>) {
    let genesis = Genesis { rules: RULES_VERSION, root: root.public(), secretary };
    let payload = codec::sign_genesis(root, &genesis);
    (branch_id(&payload), payload)
}

/// Makes the payload of a root record.
pub fn recover(
    root: &SignKey,
    branch: SpaceId,
    generation: u32,
    secretary: Certificate,
    removals: Vec<(DeviceId, Reason, Frontier)>,
) -> Vec<u8> {
    codec::sign_root(root, Root { branch, generation, secretary, removals, signature: [0; 64] })
}

/// The id of the branch that a genesis payload founds.
pub fn branch_id(genesis_payload: &[u8]) -> SpaceId {
    SpaceId(hash16(BRANCH_DOMAIN, &[genesis_payload]))
}
