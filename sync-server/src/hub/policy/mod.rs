//! What the operator decides while the relay runs: which branches may be founded, what each may take, and who is suspended.
//!
//! A decision holds at once and is handed to the driver as rows ([`Effect::Remember`]), which are durable before anything that was
//! appended after it: a branch's first record is acknowledged only when it is on disk by which permit it came.

mod rows;
mod view;

use std::collections::BTreeMap;

use bytes::Bytes;
use dinh_proto::charter::record::Genesis;
use dinh_proto::error::{CloseCode, InvalidMessage, RejectCode};
use dinh_proto::ids::{DeviceId, SpaceId};
use dinh_proto::limits;
use dinh_proto::permit::{BranchLimits, OperatorPublic, Permit, PermitError, PermitId};
use dinh_proto::time::{Timestamp, WallTime};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use rows::OperatorRow;
pub use view::{
    AdmittedView, ConnectionView, DeviceView, LimitsView, PermitView, PolicyView, SuspendedSpaceView,
    SuspensionView,
};

use super::admit::Refusal;
use super::{Effect, Hub, PeerId};
use rows::Decision;

/// Bytes of the reason that an operator gives.
pub const REASON_BYTES_MAX: usize = 200;
/// Decisions of one kind that a relay keeps.
pub const DECISIONS_MAX: usize = 1_000_000;

/// Which branches may be founded on a relay. What is hosted already, and what the operator admitted by its id, always may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    /// Anybody's.
    #[default]
    Open,
    /// Those of whoever has a permit.
    Permit,
    /// None.
    Closed,
}

/// Why the operator's wish cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The reason is too long.
    #[error("a reason has at most {REASON_BYTES_MAX} bytes; this one has {0}")]
    Reason(usize),
    /// Too many decisions.
    #[error(
        "the relay keeps at most {DECISIONS_MAX} decisions of a kind: take back what is not needed any more"
    )]
    TooMany,
}

/// A decision against a device or a space.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Suspension {
    at: WallTime,
    reason: String,
}

/// A branch that may be founded, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Admitted {
    at: WallTime,
    /// None: by hand.
    permit: Option<PermitId>,
    limits: BranchLimits,
}

/// A permit that was issued, used or revoked here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownPermit {
    since: WallTime,
    revoked: Option<WallTime>,
    /// Its bytes; none if it was revoked by its id only.
    token: Vec<u8>,
}

/// Everything that was decided.
#[derive(Debug, Default)]
pub(super) struct Policy {
    own: Option<OperatorPublic>,
    admitted: BTreeMap<SpaceId, Admitted>,
    permits: BTreeMap<PermitId, KnownPermit>,
    /// Branches that came by each permit.
    uses: BTreeMap<PermitId, u32>,
    devices: BTreeMap<DeviceId, Suspension>,
    spaces: BTreeMap<SpaceId, Suspension>,
}

/// What one connection showed.
pub(super) type Shown = Option<Result<Box<Permit>, PermitError>>;

impl Policy {
    fn take(&mut self, decision: Decision) {
        match decision {
            Decision::Permit(id, permit) => {
                self.permits.insert(id, permit);
            }
            Decision::Branch(branch, admitted) => {
                if let Some(id) = admitted.permit
                    && self.admitted.get(&branch).and_then(|old| old.permit) != Some(id)
                {
                    *self.uses.entry(id).or_default() += 1;
                }
                self.admitted.insert(branch, admitted);
            }
            Decision::Device(device, suspension) => {
                self.devices.insert(device, suspension);
            }
            Decision::Space(space, suspension) => {
                self.spaces.insert(space, suspension);
            }
        }
    }

    pub(super) fn counts(&self) -> [u64; 3] {
        [self.admitted.len(), self.devices.len(), self.spaces.len()].map(|n| n as u64)
    }

    pub(super) fn is_suspended(&self, device: &DeviceId) -> bool {
        self.devices.contains_key(device)
    }

    /// What was decided for a branch alone.
    pub(super) fn limits(&self, branch: &SpaceId) -> BranchLimits {
        self.admitted.get(branch).map_or_else(BranchLimits::default, |admitted| admitted.limits)
    }

    /// Whether nothing new is taken of a space, or of its whole branch.
    pub(super) fn check_space(&self, space: &SpaceId, branch: &SpaceId) -> Result<(), Refusal> {
        if self.spaces.is_empty() || !(self.spaces.contains_key(space) || self.spaces.contains_key(branch)) {
            return Ok(());
        }
        let detail = "the relay's operator has suspended this: it can be read, and nothing new is taken until it is \
                      resumed; ask the operator";
        Err(Refusal { detail: detail.to_owned(), ..RejectCode::Unavailable.into() })
    }
}

impl Hub {
    /// At start: what the operator had decided, and the key whose permits are always trusted.
    ///
    /// # Errors
    /// A row that does not read: a later release wrote it, or the file is damaged.
    pub fn load_policy<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        own: Option<OperatorPublic>,
    ) -> Result<(), InvalidMessage> {
        self.policy.own = own;
        for (key, value) in rows {
            self.policy.take(Decision::read(key, value)?);
        }
        Ok(())
    }

    fn decide(&mut self, decision: Decision) -> Result<(), PolicyError> {
        let policy = &self.policy;
        let (kept, is_there) = match &decision {
            Decision::Permit(id, _) => (policy.permits.len(), policy.permits.contains_key(id)),
            Decision::Branch(id, _) => (policy.admitted.len(), policy.admitted.contains_key(id)),
            Decision::Device(id, _) => (policy.devices.len(), policy.devices.contains_key(id)),
            Decision::Space(id, _) => (policy.spaces.len(), policy.spaces.contains_key(id)),
        };
        if kept >= DECISIONS_MAX && !is_there {
            return Err(PolicyError::TooMany);
        }
        self.keep(decision);
        Ok(())
    }

    fn keep(&mut self, decision: Decision) {
        self.effects.push_back(Effect::Remember { rows: vec![decision.row()] });
        self.policy.take(decision);
    }

    fn suspension(&self, reason: &str) -> Result<Suspension, PolicyError> {
        if reason.len() > REASON_BYTES_MAX {
            return Err(PolicyError::Reason(reason.len()));
        }
        Ok(Suspension { at: self.wall, reason: reason.to_owned() })
    }

    /// Closes the connections of a device and lets it in no more. What others bring of what it wrote is taken as before: who may
    /// write is for the charter to say.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn suspend_device(
        &mut self,
        now: Timestamp,
        device: DeviceId,
        reason: &str,
    ) -> Result<(), PolicyError> {
        self.now = now;
        let suspension = self.suspension(reason)?;
        self.decide(Decision::Device(device, suspension))?;
        for peer in self.by_device.get(&device).cloned().unwrap_or_default() {
            self.with_peer(peer, |p| p.puts.clear());
            self.close_suspended(peer);
            self.drain_events(peer);
            self.settle(peer);
        }
        Ok(())
    }

    pub(super) fn close_suspended(&mut self, peer: PeerId) {
        let away = u32::try_from(limits::SUSPENDED_RETRY.as_millis()).unwrap_or(u32::MAX);
        self.with_peer(peer, |p| p.session.close(CloseCode::Suspended, away));
    }

    /// Lets a device in again. Returns whether it was suspended.
    pub fn resume_device(&mut self, device: &DeviceId) -> bool {
        let was = self.policy.devices.remove(device).is_some();
        if was {
            self.effects.push_back(Effect::Remember { rows: vec![rows::without_device(device)] });
        }
        was
    }

    /// Takes nothing new in a space; of a branch (its id is that of its charter space), in all of its spaces. It can be read.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn suspend_space(&mut self, space: SpaceId, reason: &str) -> Result<(), PolicyError> {
        let suspension = self.suspension(reason)?;
        self.decide(Decision::Space(space, suspension))
    }

    /// Takes what is new again. Returns whether it was suspended.
    pub fn resume_space(&mut self, space: &SpaceId) -> bool {
        let was = self.policy.spaces.remove(space).is_some();
        if was {
            self.effects.push_back(Effect::Remember { rows: vec![rows::without_space(space)] });
        }
        was
    }

    /// Lets a branch be founded here, whatever [`Admission`] says, and says what it may take; also of one that is here already.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn admit_branch(&mut self, branch: SpaceId, limits: BranchLimits) -> Result<(), PolicyError> {
        let permit = self.policy.admitted.get(&branch).and_then(|old| old.permit);
        self.decide(Decision::Branch(branch, Admitted { at: self.wall, permit, limits }))
    }

    /// Keeps a permit that was issued here, so that it is listed.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn keep_permit(&mut self, permit: &Permit) -> Result<(), PolicyError> {
        let known = KnownPermit { since: self.wall, revoked: None, token: permit.bytes().to_vec() };
        self.decide(Decision::Permit(permit.terms().id, known))
    }

    /// Lets nobody found with a permit any more. Branches that came by it stay. Returns whether it was known here; one that was
    /// not (another office's) is refused from now on all the same.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn revoke_permit(&mut self, id: PermitId) -> Result<bool, PolicyError> {
        let known = self.policy.permits.get(&id).cloned();
        let is_known = known.is_some();
        let known =
            known.unwrap_or_else(|| KnownPermit { since: self.wall, revoked: None, token: Vec::new() });
        let revoked = known.revoked.or(Some(WallTime(self.wall.0.max(1))));
        self.decide(Decision::Permit(id, KnownPermit { revoked, ..known }))?;
        Ok(is_known)
    }

    /// A connection shows a permit. It is looked at when a branch is founded.
    pub(super) fn take_permit(&mut self, id: PeerId, bytes: &Bytes) {
        if self.config.admission != Admission::Closed {
            let read = Permit::from_bytes(bytes).map(Box::new);
            self.with_peer(id, |p| p.permit = Some(read));
        }
    }

    /// Whether a branch may be founded that is not here yet; by which permit, if it is by one.
    pub(super) fn may_found(
        &self,
        shown: &Shown,
        branch: &SpaceId,
        genesis: &Genesis,
    ) -> Result<Option<Permit>, Refusal> {
        if self.policy.admitted.contains_key(branch) {
            return Ok(None);
        }
        let founder = genesis.secretary.request.public.id();
        let judged = match shown {
            None => Err("this relay takes new branches with a permit: ask its operator for one".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(permit)) => self.judge(permit, branch, &founder).map_err(str::to_owned),
        };
        match (self.config.admission, judged) {
            (Admission::Closed, _) => {
                let detail = "this relay takes no new branches: ask its operator to admit this one";
                Err(Refusal { detail: detail.to_owned(), ..RejectCode::NotAdmitted.into() })
            }
            (_, Ok(permit)) => Ok(Some(permit)),
            (Admission::Open, Err(_)) => Ok(None),
            (Admission::Permit, Err(detail)) => Err(Refusal { detail, ..RejectCode::NotAdmitted.into() }),
        }
    }

    fn judge(&self, permit: &Permit, branch: &SpaceId, founder: &DeviceId) -> Result<Permit, &'static str> {
        let (terms, policy) = (permit.terms(), &self.policy);
        let operator = permit.operator();
        let is_trusted = policy.own == Some(operator) || self.config.operators.contains(&operator);
        let uses = policy.uses.get(&terms.id).copied().unwrap_or_default();
        if !is_trusted {
            Err("the permit is of an operator whom this relay does not trust: ask its own for one")
        } else if policy.permits.get(&terms.id).is_some_and(|known| known.revoked.is_some()) {
            Err("the permit was revoked: ask the relay's operator for another")
        } else if terms.relay.is_some_and(|key| key != self.key.public()) {
            Err("the permit is for another relay: ask this relay's operator for one")
        } else if terms.expires.is_some_and(|at| at <= self.wall) {
            Err("the permit has expired: ask the relay's operator for another")
        } else if terms.branch.is_some_and(|only| only != *branch) {
            Err("the permit is for another branch: ask the relay's operator for one")
        } else if terms.device.is_some_and(|only| only != *founder) {
            Err("the permit is for another founder's device: ask the relay's operator for one")
        } else if policy.permits.len().max(policy.admitted.len()) >= DECISIONS_MAX {
            Err("this relay's operator keeps too many permits and branches: tell them")
        } else if uses >= terms.branches {
            Err("the permit is used up: ask the relay's operator for another")
        } else {
            Ok(permit.clone())
        }
    }

    /// A branch was founded by a permit (that [`Hub::may_found`] gave): it is used.
    pub(super) fn use_permit(&mut self, branch: SpaceId, permit: &Permit) {
        let (terms, at) = (permit.terms(), self.wall);
        if !self.policy.permits.contains_key(&terms.id) {
            let known = KnownPermit { since: at, revoked: None, token: permit.bytes().to_vec() };
            self.keep(Decision::Permit(terms.id, known));
        }
        let admitted = Admitted { at, permit: Some(terms.id), limits: terms.limits };
        self.keep(Decision::Branch(branch, admitted));
    }
}
