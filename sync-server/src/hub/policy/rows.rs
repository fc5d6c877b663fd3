//! How the operator's decisions are kept: rows of a table, each written whole.
//!
//! ```text
//! key                  value: u8 version = 1, and
//! 1 ‖ permit id 16     n known since ‖ n revoked at (0: is not) ‖ blob ≤ 256 permit (empty: only its id is known)
//! 2 ‖ branch 16        n admitted at ‖ flag ‖ if 1: permit id 16 ‖ limits (as in a permit)
//! 3 ‖ device 16        n suspended at ‖ text ≤ 200 reason
//! 4 ‖ space 16         n suspended at ‖ text ≤ 200 reason
//! ```
//!
//! Times are of the relay's clock, milliseconds since 1970. Numbers are as everywhere in the protocol.

use dinh_proto::codec::{Reader, Write};
use dinh_proto::error::InvalidMessage;
use dinh_proto::ids::{DeviceId, SpaceId};
use dinh_proto::permit::{BranchLimits, PERMIT_BYTES_MAX, PermitId};
use dinh_proto::time::WallTime;

use super::{Admitted, KnownPermit, REASON_BYTES_MAX, Suspension};

const VERSION: u8 = 1;

/// A row of the operator's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRow {
    /// What it is about.
    pub key: Vec<u8>,
    /// What was decided; `None`: the row goes.
    pub value: Option<Vec<u8>>,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Permit(PermitId, KnownPermit),
    Branch(SpaceId, Admitted),
    Device(DeviceId, Suspension),
    Space(SpaceId, Suspension),
}

impl Decision {
    /// The row that says this.
    pub(super) fn row(&self) -> OperatorRow {
        let mut value = vec![VERSION];
        match self {
            Self::Permit(_, permit) => {
                value.put_uleb(permit.since.0);
                value.put_uleb(permit.revoked.map_or(0, |at| at.0.max(1)));
                value.put_blob(&permit.token);
            }
            Self::Branch(_, admitted) => {
                value.put_uleb(admitted.at.0);
                value.put_u8(u8::from(admitted.permit.is_some()));
                value.put_bytes(admitted.permit.as_ref().map_or(&[], |id| &id.0[..]));
                admitted.limits.encode(&mut value);
            }
            Self::Device(_, suspension) | Self::Space(_, suspension) => {
                value.put_uleb(suspension.at.0);
                value.put_blob(suspension.reason.as_bytes());
            }
        }
        OperatorRow { key: self.key(), value: Some(value) }
    }

    fn key(&self) -> Vec<u8> {
        match self {
            Self::Permit(id, _) => key(1, &id.0),
            Self::Branch(id, _) => key(2, &id.0),
            Self::Device(id, _) => key(3, &id.0),
            Self::Space(id, _) => key(4, &id.0),
        }
    }

    /// Reads a row.
    pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Self, InvalidMessage> {
        let (mut k, mut v) = (Reader::new(key), Reader::new(value));
        let kind = k.u8("kind")?;
        let id: [u8; 16] = k.array("id")?;
        k.finish("key")?;
        match v.u8("version")? {
            VERSION => {}
            version => return Err(InvalidMessage::Unknown { what: "version", value: u64::from(version) }),
        }
        let at = WallTime(v.uleb("time")?);
        let decision = match kind {
            1 => {
                let revoked = Some(v.uleb("revoked")?).filter(|at| *at != 0).map(WallTime);
                let token = v.blob(PERMIT_BYTES_MAX, "permit")?.to_vec();
                Self::Permit(PermitId(id), KnownPermit { since: at, revoked, token })
            }
            2 => {
                let permit = match v.u8("permit")? {
                    0 => None,
                    1 => Some(PermitId(v.array("permit id")?)),
                    value => {
                        return Err(InvalidMessage::Unknown { what: "permit", value: u64::from(value) });
                    }
                };
                let limits = BranchLimits::decode(&mut v)?;
                Self::Branch(SpaceId(id), Admitted { at, permit, limits })
            }
            3 | 4 => {
                let reason = v.text(REASON_BYTES_MAX, "reason")?.to_owned();
                let suspension = Suspension { at, reason };
                match kind {
                    3 => Self::Device(DeviceId(id), suspension),
                    _ => Self::Space(SpaceId(id), suspension),
                }
            }
            kind => return Err(InvalidMessage::Unknown { what: "kind", value: u64::from(kind) }),
        };
        v.finish("row")?;
        Ok(decision)
    }
}

fn key(kind: u8, id: &[u8; 16]) -> Vec<u8> {
    [&[kind], &id[..]].concat()
}

/// The row of a device goes.
pub(super) fn without_device(device: &DeviceId) -> OperatorRow {
    OperatorRow { key: key(3, &device.0), value: None }
}

/// The row of a space goes.
pub(super) fn without_space(space: &SpaceId) -> OperatorRow {
    OperatorRow { key: key(4, &space.0), value: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decision_reads_as_it_was_written_and_nothing_else_reads() {
        let at = WallTime(1_800_000_000_000);
        let suspension = Suspension { at, reason: "máy bị mất".to_owned() };
        let limits = BranchLimits { space_bytes: Some(5), ..BranchLimits::default() };
        let id = PermitId([3; 16]);
        let known = KnownPermit { since: at, revoked: None, token: vec![1, 2, 3] };
        let all = [
            Decision::Permit(id, known.clone()),
            Decision::Permit(id, KnownPermit { revoked: Some(at), token: Vec::new(), ..known }),
            Decision::Branch(SpaceId([4; 16]), Admitted { at, permit: None, limits }),
            Decision::Branch(SpaceId([4; 16]), Admitted { at, permit: Some(id), limits }),
            Decision::Device(DeviceId([5; 16]), suspension.clone()),
            Decision::Space(SpaceId([6; 16]), suspension),
        ];
        for decision in all {
            let row = decision.row();
            let value = row.value.unwrap();
            assert_eq!(Decision::read(&row.key, &value), Ok(decision));
            for end in 0..value.len() {
                assert!(Decision::read(&row.key, &value[..end]).is_err());
            }
            assert!(Decision::read(&row.key, &[&value[..], &[0]].concat()).is_err());
            assert!(Decision::read(&row.key[..16], &value).is_err());
            assert!(Decision::read(&row.key, &[&[2], &value[1..]].concat()).is_err());
        }
    }
}
