//! The records of a charter, byte by byte.
//!
//! A record is the payload of an item of kind *charter*, whose signature is the issuer's and whose space is the
//! branch. The first byte is the type:
//!
//! ```text
//! 1 genesis   rules u16 ‖ root public key 32 ‖ certificate ‖ root signature 64 over "dinh/gen1\0" ‖ all before
//! 2 device    certificate
//! 3 space     space 16 ‖ audience u8 (0 everyone, 1 the members that follow) ‖ [count ‖ member 16 …, sorted]
//! 4 grant     space 16 ‖ member 16
//! 5 document  document 16 ‖ space 16 ‖ writers u8 (0 all who may write, 1 the secretary)
//!
//! certificate = member 16 ‖ role u8 ‖ algorithm u8 (1) ‖ public keys 96 ‖ name (length ‖ UTF-8, ≤ 48)
//!               ‖ proof 64 by the certified key over "dinh/crt1\0" ‖ algorithm ‖ public keys
//! ```

use crate::codec::{Reader, Write};
use crate::error::InvalidMessage;
use crate::ids::{DocId, MemberId, SpaceId, hash16};
use crate::keys::{ALG_25519, DeviceKey, DevicePublic, SignKey, SignPublic};
use crate::limits;

const GENESIS_DOMAIN: &[u8] = b"dinh/gen1\0";
const PROOF_DOMAIN: &[u8] = b"dinh/crt1\0";
const BRANCH_DOMAIN: &[u8] = b"dinh/spc1\0";

/// The version of the rules in [`crate::charter`].
pub const RULES_VERSION: u16 = 1;

/// What a member may do in a branch. The number is the rank: smaller is higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Admits devices, creates spaces and documents, writes everything.
    Secretary,
    /// Writes in the spaces whose audience includes it.
    Member,
    /// Reads only.
    Reader,
}

impl Role {
    /// The byte on the wire.
    pub fn to_wire(self) -> u8 {
        match self {
            Self::Secretary => 1,
            Self::Member => 3,
            Self::Reader => 4,
        }
    }

    fn from_wire(value: u8) -> Result<Self, InvalidMessage> {
        match value {
            1 => Ok(Self::Secretary),
            3 => Ok(Self::Member),
            4 => Ok(Self::Reader),
            _ => Err(InvalidMessage::Unknown { what: "role", value: u64::from(value) }),
        }
    }

    /// Whether this role writes anything.
    pub fn writes(self) -> bool {
        self != Self::Reader
    }
}

/// What a new phone shows to be admitted: its key, and the proof that it holds the secret half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The key.
    pub public: DevicePublic,
    /// Its proof.
    pub proof: [u8; 64],
}

impl JoinRequest {
    /// Made by the phone that wants to join.
    pub fn new(key: &DeviceKey) -> Self {
        let public = key.public();
        Self { public, proof: key.sign(PROOF_DOMAIN, &proof_message(&public)) }
    }

    /// 161 bytes: algorithm, keys, proof.
    pub fn encode(&self) -> Vec<u8> {
        [&proof_message(&self.public)[..], &self.proof].concat()
    }

    /// Reads and checks the proof.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(bytes);
        let request = Self::read(&mut r)?;
        r.finish("join request")?;
        Ok(request)
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let alg = r.u8("key algorithm")?;
        if alg != ALG_25519 {
            return Err(InvalidMessage::Unknown { what: "key algorithm", value: u64::from(alg) });
        }
        let public = DevicePublic::from_bytes(&r.array("public key")?)?;
        Ok(Self { public, proof: r.array("key proof")? })
    }

    /// Whether the key signed for itself.
    pub fn is_proved(&self) -> bool {
        self.public.verify(PROOF_DOMAIN, &proof_message(&self.public), &self.proof)
    }
}

fn proof_message(public: &DevicePublic) -> [u8; 1 + DevicePublic::BYTES] {
    let mut out = [ALG_25519; 1 + DevicePublic::BYTES];
    out[1..].copy_from_slice(&public.to_bytes());
    out
}

/// Makes one device a member's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose device it is.
    pub member: MemberId,
    /// What it may do.
    pub role: Role,
    /// The device's key and proof.
    pub request: JoinRequest,
    /// For people: which phone this is. At most 48 bytes.
    pub name: String,
}

impl Certificate {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_bytes(&self.member.0);
        out.put_u8(self.role.to_wire());
        out.put_bytes(&proof_message(&self.request.public));
        out.put_blob(self.name.as_bytes());
        out.put_bytes(&self.request.proof);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let member = MemberId(r.array("member")?);
        let role = Role::from_wire(r.u8("role")?)?;
        let alg = r.u8("key algorithm")?;
        if alg != ALG_25519 {
            return Err(InvalidMessage::Unknown { what: "key algorithm", value: u64::from(alg) });
        }
        let public = DevicePublic::from_bytes(&r.array("public key")?)?;
        let name = r.text(limits::DEVICE_NAME_BYTES_MAX, "device name")?.to_owned();
        let request = JoinRequest { public, proof: r.array("key proof")? };
        Ok(Self { member, role, request, name })
    }
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

/// Who reads a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every device of the branch.
    Everyone,
    /// These members, and those granted later.
    Members(Vec<MemberId>),
}

/// Who writes a document, among those who may read its space and whose role writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// All of them.
    All,
    /// The secretary only.
    Secretary,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Founds the branch.
    Genesis(Box<Genesis>),
    /// Admits a device.
    Device(Box<Certificate>),
    /// Creates a space.
    Space {
        /// Its random id.
        space: SpaceId,
        /// Its readers.
        audience: Audience,
    },
    /// Adds a reader to a space.
    Grant {
        /// The space.
        space: SpaceId,
        /// The reader.
        member: MemberId,
    },
    /// Creates a document.
    Document {
        /// Its random id.
        doc: DocId,
        /// Where it lives.
        space: SpaceId,
        /// Who writes it.
        writers: Writers,
    },
}

impl Record {
    /// The payload bytes. A genesis is made by [`found`], which holds the root key.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Genesis(genesis) => genesis_body(genesis, &mut out),
            Self::Device(cert) => {
                out.put_u8(2);
                cert.write(&mut out);
            }
            Self::Space { space, audience } => {
                out.put_u8(3);
                out.put_bytes(&space.0);
                match audience {
                    Audience::Everyone => out.put_u8(0),
                    Audience::Members(members) => {
                        let mut members = members.clone();
                        members.sort();
                        members.dedup();
                        out.put_u8(1);
                        out.put_uleb(members.len() as u64);
                        members.iter().for_each(|m| out.put_bytes(&m.0));
                    }
                }
            }
            Self::Grant { space, member } => {
                out.put_u8(4);
                out.put_bytes(&space.0);
                out.put_bytes(&member.0);
            }
            Self::Document { doc, space, writers } => {
                out.put_u8(5);
                out.put_bytes(&doc.0);
                out.put_bytes(&space.0);
                out.put_u8(match writers {
                    Writers::All => 0,
                    Writers::Secretary => 1,
                });
            }
        }
        out
    }

    /// Reads a payload. A genesis is checked against its root key; key proofs are checked too.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(bytes);
        let record = match r.u8("record type")? {
            1 => {
                let rules = r.u16("rules version")?;
                if rules != RULES_VERSION {
                    return Err(InvalidMessage::Unknown { what: "rules version", value: u64::from(rules) });
                }
                let root = SignPublic::from_bytes(&r.array("root key")?)?;
                let secretary = Certificate::read(&mut r)?;
                let signed = &bytes[..bytes.len() - r.remaining()];
                if !root.verify(GENESIS_DOMAIN, signed, &r.array("root signature")?) {
                    return Err(InvalidMessage::HashMismatch("root signature"));
                }
                Self::Genesis(Box::new(Genesis { rules, root, secretary }))
            }
            2 => Self::Device(Box::new(Certificate::read(&mut r)?)),
            3 => {
                let space = SpaceId(r.array("space")?);
                let audience = match r.u8("audience")? {
                    0 => Audience::Everyone,
                    1 => Audience::Members(read_members(&mut r)?),
                    v => return Err(InvalidMessage::Unknown { what: "audience", value: u64::from(v) }),
                };
                Self::Space { space, audience }
            }
            4 => Self::Grant { space: SpaceId(r.array("space")?), member: MemberId(r.array("member")?) },
            5 => {
                let (doc, space) = (DocId(r.array("document")?), SpaceId(r.array("space")?));
                let writers = match r.u8("writers")? {
                    0 => Writers::All,
                    1 => Writers::Secretary,
                    v => return Err(InvalidMessage::Unknown { what: "writers", value: u64::from(v) }),
                };
                if doc == DocId::default() {
                    return Err(InvalidMessage::NotAllowed("document"));
                }
                Self::Document { doc, space, writers }
            }
            v => return Err(InvalidMessage::Unknown { what: "record type", value: u64::from(v) }),
        };
        r.finish("charter record")?;
        if let Self::Device(cert) = &record
            && !cert.request.is_proved()
        {
            return Err(InvalidMessage::HashMismatch("key proof"));
        }
        Ok(record)
    }
}

fn read_members(r: &mut Reader<'_>) -> Result<Vec<MemberId>, InvalidMessage> {
    let n = r.count(limits::AUDIENCE_MEMBERS_MAX, MemberId::BYTES, "audience members")?;
    let members =
        (0..n).map(|_| Ok(MemberId(r.array("member")?))).collect::<Result<Vec<_>, InvalidMessage>>()?;
    if members.windows(2).all(|w| w[0] < w[1]) {
        Ok(members)
    } else {
        Err(InvalidMessage::NotSorted("audience members"))
    }
}

fn genesis_body(genesis: &Genesis, out: &mut Vec<u8>) {
    out.put_u8(1);
    out.put_u16(genesis.rules);
    out.put_bytes(genesis.root.as_bytes());
    genesis.secretary.write(out);
}

/// Makes the payload of a genesis record and the branch's id. The root key signs here and is then put on paper.
pub fn found(root: &SignKey, secretary: Certificate) -> (SpaceId, Vec<u8>) {
    let genesis = Genesis { rules: RULES_VERSION, root: root.public(), secretary };
    let mut out = Vec::new();
    genesis_body(&genesis, &mut out);
    let signature = root.sign(GENESIS_DOMAIN, &out);
    out.put_bytes(&signature);
    (branch_id(&out), out)
}

/// The id of the branch that a genesis payload founds.
pub fn branch_id(genesis_payload: &[u8]) -> SpaceId {
    SpaceId(hash16(BRANCH_DOMAIN, &[genesis_payload]))
}
