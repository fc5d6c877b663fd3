//! A device's keys, the proof that it holds the secret halves, and whose it is.

use super::Role;
use crate::codec::{Reader, Write};
use crate::error::InvalidMessage;
use crate::ids::MemberId;
use crate::keys::{ALG_25519, DeviceKey, DevicePublic};
use crate::limits;

const PROOF_DOMAIN: &[u8] = b"dinh/crt1\0";

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

    /// Reads it; [`is_proved`](Self::is_proved) checks the proof.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(bytes);
        let public = read_public(&mut r)?;
        let request = Self { public, proof: r.array("key proof")? };
        r.finish("join request")?;
        Ok(request)
    }

    /// Whether the key signed for itself.
    pub fn is_proved(&self) -> bool {
        self.public.verify(PROOF_DOMAIN, &proof_message(&self.public), &self.proof)
    }
}

fn read_public(r: &mut Reader<'_>) -> Result<DevicePublic, InvalidMessage> {
    let alg = r.u8("key algorithm")?;
    if alg != ALG_25519 {
        return Err(InvalidMessage::Unknown { what: "key algorithm", value: u64::from(alg) });
    }
    DevicePublic::from_bytes(&r.array("public key")?)
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
    /// For people, which phone this is: encrypted ([`crate::crypto::SpaceKey::seal_name`]), or empty.
    pub name: Vec<u8>,
}

impl Certificate {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_bytes(&self.member.0);
        out.put_u8(self.role.to_wire());
        out.put_bytes(&proof_message(&self.request.public));
        out.put_blob(&self.name);
        out.put_bytes(&self.request.proof);
    }

    /// Reads one whose key has signed for itself.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let member = MemberId(r.array("member")?);
        let role = Role::from_wire(r.u8("role")?)?;
        let public = read_public(r)?;
        let name = r.blob(limits::SEALED_NAME_BYTES_MAX, "device name")?.to_vec();
        let request = JoinRequest { public, proof: r.array("key proof")? };
        if !request.is_proved() {
            return Err(InvalidMessage::HashMismatch("key proof"));
        }
        Ok(Self { member, role, request, name })
    }
}
