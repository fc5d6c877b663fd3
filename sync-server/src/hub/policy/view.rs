//! What an operator sees of their decisions, and of devices: plain values, with the names that `--json` prints.

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::ids::{DeviceId, SpaceId};
use dinh_proto::permit::{BranchLimits, Permit, PermitId};
use dinh_proto::time::{Timestamp, WallTime};
use serde::{Deserialize, Serialize};

use super::super::{Hub, PeerId};
use super::{Admission, Suspension};

/// A decision against a device or a space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspensionView {
    /// The operator's words.
    pub reason: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// One connection of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionView {
    /// The hub's number of it.
    pub connection: u64,
    /// The address of the device, or of the proxy before it, if it is known.
    pub address: Option<String>,
    /// How long it is connected.
    pub seconds: u64,
}

/// What is known of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its id.
    pub device: String,
    /// Branches whose charter names it; until a branch's charter was read, also one that it has left.
    pub branches: Vec<String>,
    /// Its connections now.
    pub connections: Vec<ConnectionView>,
    /// Whether it is suspended.
    pub suspended: Option<SuspensionView>,
}

/// What a branch may take where that is not the relay's own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsView {
    /// Bytes of the changes of one document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_bytes: Option<u64>,
    /// Bytes of everything in one space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space_bytes: Option<u64>,
    /// Documents of the branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    /// Bytes of the branch's charter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charter_bytes: Option<u64>,
}

impl From<BranchLimits> for LimitsView {
    fn from(limits: BranchLimits) -> Self {
        let BranchLimits { document_bytes, space_bytes, documents, charter_bytes } = limits;
        Self { document_bytes, space_bytes, documents, charter_bytes }
    }
}

impl From<LimitsView> for BranchLimits {
    fn from(limits: LimitsView) -> Self {
        let LimitsView { document_bytes, space_bytes, documents, charter_bytes } = limits;
        Self { document_bytes, space_bytes, documents, charter_bytes }
    }
}

/// A permit, without what would let somebody use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermitView {
    /// Its id.
    pub id: String,
    /// Whose key signed it, if the permit itself is known.
    pub operator: Option<String>,
    /// The relay that it is for.
    pub relay: Option<String>,
    /// Branches that may be founded with it.
    pub branches: Option<u32>,
    /// Branches that were.
    pub used_by: Vec<String>,
    /// The only branch that it is for.
    pub branch: Option<String>,
    /// The only device that may found with it.
    pub device: Option<String>,
    /// From then on nothing is founded with it, milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// When it was revoked, milliseconds since 1970.
    pub revoked_ms: Option<u64>,
    /// What its branches may take.
    pub limits: LimitsView,
}

impl PermitView {
    /// Of a permit of which nothing else is known.
    #[must_use]
    pub fn of(permit: &Permit) -> Self {
        let terms = permit.terms();
        Self {
            id: terms.id.to_string(),
            operator: Some(permit.operator().to_string()),
            relay: terms.relay.map(|key| key.to_string()),
            branches: Some(terms.branches),
            used_by: Vec::new(),
            branch: terms.branch.map(|id| id.to_string()),
            device: terms.device.map(|id| id.to_string()),
            expires_ms: terms.expires.map(|at| at.0),
            revoked_ms: None,
            limits: terms.limits.into(),
        }
    }

    fn unknown(id: PermitId) -> Self {
        Self {
            id: id.to_string(),
            operator: None,
            relay: None,
            branches: None,
            used_by: Vec::new(),
            branch: None,
            device: None,
            expires_ms: None,
            revoked_ms: None,
            limits: LimitsView::default(),
        }
    }
}

/// A branch that the operator admitted, by hand or by a permit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedView {
    /// The branch.
    pub branch: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// By which permit; none if by hand.
    pub permit: Option<String>,
    /// What it may take.
    pub limits: LimitsView,
    /// Whether its first record came.
    pub founded: bool,
}

/// A suspended space, or branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendedSpaceView {
    /// The space; of a branch its id.
    pub space: String,
    /// Why and since when.
    #[serde(flatten)]
    pub suspended: SuspensionView,
}

/// Everything that an operator has decided about branches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// Which branches are taken.
    pub mode: Admission,
    /// The relay's own operator key, if it has one.
    pub operator: Option<String>,
    /// Permits that were issued, used or revoked here.
    pub permits: Vec<PermitView>,
    /// Branches that were admitted.
    pub admitted: Vec<AdmittedView>,
    /// Suspended spaces and branches.
    pub suspended_spaces: Vec<SuspendedSpaceView>,
}

impl From<&Suspension> for SuspensionView {
    fn from(suspension: &Suspension) -> Self {
        Self { reason: suspension.reason.clone(), at_ms: suspension.at.0 }
    }
}

impl Hub {
    /// What the operator has decided about branches and spaces.
    pub fn policy_view(&self) -> PolicyView {
        let policy = &self.policy;
        let mut used: BTreeMap<PermitId, Vec<String>> = BTreeMap::new();
        for (branch, admitted) in &policy.admitted {
            if let Some(id) = admitted.permit {
                used.entry(id).or_default().push(branch.to_string());
            }
        }
        let permit = |(id, known): (&PermitId, &super::KnownPermit)| {
            let read = Permit::from_bytes(&known.token).ok();
            let view = read.map_or_else(|| PermitView::unknown(*id), |permit| PermitView::of(&permit));
            let used_by = used.get(id).cloned().unwrap_or_default();
            PermitView { used_by, revoked_ms: known.revoked.map(|WallTime(at)| at), ..view }
        };
        let admitted = |(branch, admitted): (&SpaceId, &super::Admitted)| AdmittedView {
            branch: branch.to_string(),
            at_ms: admitted.at.0,
            permit: admitted.permit.map(|id| id.to_string()),
            limits: admitted.limits.into(),
            founded: self.spaces.get(branch).is_some_and(|space| space.items() > 0),
        };
        let space = |(space, suspension): (&SpaceId, &Suspension)| SuspendedSpaceView {
            space: space.to_string(),
            suspended: suspension.into(),
        };
        PolicyView {
            mode: self.config.admission,
            operator: policy.own.map(|key| key.to_string()),
            permits: policy.permits.iter().map(permit).collect(),
            admitted: policy.admitted.iter().map(admitted).collect(),
            suspended_spaces: policy.spaces.iter().map(space).collect(),
        }
    }

    /// Devices that are connected, suspended, or named by a charter; or `one`, of which nothing need be known.
    pub fn device_views(&self, now: Timestamp, one: Option<&DeviceId>) -> Vec<DeviceView> {
        if let Some(device) = one {
            return vec![self.device_view(now, device)];
        }
        let named = self.members.keys().chain(self.by_device.keys()).chain(self.policy.devices.keys());
        let all: BTreeSet<DeviceId> = named.copied().collect();
        all.iter().map(|device| self.device_view(now, device)).collect()
    }

    fn device_view(&self, now: Timestamp, device: &DeviceId) -> DeviceView {
        let peers = self.by_device.get(device).into_iter().flatten();
        let connection = |peer: &PeerId| {
            let since = self.peers.get(peer)?.since;
            let seconds = (now - since).as_secs();
            Some(ConnectionView { connection: peer.0, address: None, seconds })
        };
        DeviceView {
            device: device.to_string(),
            branches: self.members.get(device).into_iter().flatten().map(ToString::to_string).collect(),
            connections: peers.filter_map(connection).collect(),
            suspended: self.policy.devices.get(device).map(SuspensionView::from),
        }
    }
}
