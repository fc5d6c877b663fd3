//! What an operator may wish, whether the relay runs (the admin listener asks for it) or not (a command does it on the file).

use dinh_proto::ids::{DeviceId, SpaceId};
use dinh_proto::keys::SignKey;
use dinh_proto::permit::{OperatorPublic, Permit, PermitError, PermitId, PermitTerms};
use dinh_proto::time::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hub::{Hub, LimitsView, PermitView, PolicyError};

/// One thing to be done.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    SuspendDevice { device: DeviceId, reason: String },
    ResumeDevice { device: DeviceId },
    SuspendSpace { space: SpaceId, reason: String },
    ResumeSpace { space: SpaceId },
    AdmitBranch { branch: SpaceId, limits: LimitsView },
    IssuePermit { terms: Box<PermitTerms> },
    RevokePermit { id: PermitId },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// The device, space, branch or permit.
    pub(crate) id: String,
    /// False if it was so already, or nothing was known of it.
    pub(crate) changed: bool,
    /// A new permit, which whoever has it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// What the new permit says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) permit: Option<PermitView>,
}

/// The decision may be lost: the relay stops, or its disk failed.
#[derive(Debug, Clone, Copy, Error)]
#[error("the relay stops, so this may not be kept: look again when it runs")]
pub(crate) struct NotKept;

/// Why a wish was not done.
#[derive(Debug, Error)]
pub(crate) enum WishError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("such a permit cannot be issued: {0}")]
    Permit(#[from] PermitError),
    #[error(transparent)]
    NotKept(#[from] NotKept),
}

/// Does it in the hub, and writes down in the log who asked for what: the operator is who has the token, or the file.
pub(crate) fn apply(hub: &mut Hub, now: Timestamp, key: &SignKey, wish: &Wish) -> Result<Done, WishError> {
    let done = |id: String, changed| Done { id, changed, token: None, permit: None };
    let (action, done) = match wish {
        Wish::SuspendDevice { device, reason } => {
            hub.suspend_device(now, *device, reason)?;
            ("devices suspend", done(device.to_string(), true))
        }
        Wish::ResumeDevice { device } => {
            ("devices resume", done(device.to_string(), hub.resume_device(device)))
        }
        Wish::SuspendSpace { space, reason } => {
            hub.suspend_space(*space, reason)?;
            ("spaces suspend", done(space.to_string(), true))
        }
        Wish::ResumeSpace { space } => ("spaces resume", done(space.to_string(), hub.resume_space(space))),
        Wish::AdmitBranch { branch, limits } => {
            hub.admit_branch(*branch, (*limits).into())?;
            ("permit admit", done(branch.to_string(), true))
        }
        Wish::IssuePermit { terms } => {
            let permit = Permit::issue(key, **terms)?;
            hub.keep_permit(&permit)?;
            let (token, view) = (Some(permit.text()), Some(PermitView::of(&permit)));
            let done = Done { token, permit: view, ..done(terms.id.to_string(), true) };
            ("permit issue", done)
        }
        Wish::RevokePermit { id } => ("permit revoke", done(id.to_string(), hub.revoke_permit(*id)?)),
    };
    audit(action, &done.id, done.changed);
    Ok(done)
}

/// The reason stays in the relay's file: an operator may have named somebody in it.
fn audit(action: &str, id: &str, changed: bool) {
    tracing::info!(audit = true, by = "operator", action, id, changed, "the operator decided");
}

/// Reads an id as this program prints it.
pub(crate) fn id16(text: &str, what: &str) -> Result<[u8; 16], String> {
    let bad = || format!("{text:?} is no {what}: it has 32 hexadecimal digits");
    let digits = text.trim().as_bytes();
    let mut id = [0; 16];
    if digits.len() != 32 {
        return Err(bad());
    }
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(pair[0]).ok_or_else(bad)? << 4 | digit(pair[1]).ok_or_else(bad)?;
    }
    Ok(id)
}

/// What is asked for with a new permit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IssueRequest {
    /// How many branches; 1 if it is left out.
    pub(crate) branches: Option<u32>,
    pub(crate) branch: Option<String>,
    pub(crate) device: Option<String>,
    /// For every relay that trusts this operator, not only this one.
    pub(crate) any_relay: bool,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) limits: LimitsView,
}

impl IssueRequest {
    /// With a freshly drawn id, for this relay unless it is for any.
    pub(crate) fn wish(&self, relay: dinh_proto::keys::RelayPublic) -> Result<Wish, String> {
        let mut id = PermitId::default();
        getrandom::fill(&mut id.0).map_err(|e| format!("the operating system gives no randomness: {e}"))?;
        let branch = self.branch.as_deref().map(|text| id16(text, "branch")).transpose()?.map(SpaceId);
        let device = self.device.as_deref().map(|text| id16(text, "device")).transpose()?.map(DeviceId);
        let terms = PermitTerms {
            id,
            relay: (!self.any_relay).then_some(relay),
            branches: self.branches.unwrap_or(1),
            branch,
            device,
            expires: self.expires_ms.map(dinh_proto::time::WallTime),
            limits: self.limits.into(),
        };
        Ok(Wish::IssuePermit { terms: Box::new(terms) })
    }
}

/// The public half, as it is printed.
pub(crate) fn operator_of(key: &SignKey) -> OperatorPublic {
    OperatorPublic(key.public())
}
