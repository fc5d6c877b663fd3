//! Permits, suspensions, and who is connected.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /api/v1/policy` | | [`PolicyView`] |
//! | `POST /api/v1/permits` | [`IssueRequest`] | [`Done`] with `token` |
//! | `POST /api/v1/permits/{id}/revoke` | | [`Done`] |
//! | `POST /api/v1/branches/{id}/admit` | [`LimitsView`] | [`Done`] |
//! | `GET /api/v1/devices`, `GET /api/v1/devices/{id}` | | list of [`DeviceView`], one |
//! | `POST /api/v1/devices/{id}/suspend`, `POST /api/v1/spaces/{id}/suspend` | `{"reason": TEXT}` | [`Done`] |
//! | `POST /api/v1/devices/{id}/resume`, `POST /api/v1/spaces/{id}/resume` | | [`Done`] |
//!
//! An answer to a POST comes when the decision is durable.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use dinh_proto::ids::{DeviceId, SpaceId};
use dinh_proto::permit::PermitId;
use serde::{Deserialize, Serialize};

use super::{AdminShared, OpenRelay};
use crate::desk::{Done, IssueRequest, Wish, WishError, id16};
use crate::hub::{DeviceView, LimitsView, PolicyView};

/// Why somebody is suspended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    pub(crate) reason: String,
}

pub(super) type Refusal = (StatusCode, String);
type Answer<T> = Result<Json<T>, Refusal>;

pub(super) fn routes() -> Router<AdminShared> {
    Router::new()
        .route("/api/v1/policy", get(policy))
        .route("/api/v1/permits", post(issue))
        .route("/api/v1/permits/{id}/revoke", post(revoke))
        .route("/api/v1/branches/{id}/admit", post(admit))
        .route("/api/v1/devices", get(devices))
        .route("/api/v1/devices/{id}", get(device))
        .route("/api/v1/devices/{id}/suspend", post(suspend_device))
        .route("/api/v1/devices/{id}/resume", post(resume_device))
        .route("/api/v1/spaces/{id}/suspend", post(suspend_space))
        .route("/api/v1/spaces/{id}/resume", post(resume_space))
}

async fn policy(shared: OpenRelay) -> Answer<PolicyView> {
    let gone = || (StatusCode::SERVICE_UNAVAILABLE, "the relay stops\n".to_owned());
    shared.driver.policy().map(Json).ok_or_else(gone)
}

async fn issue(shared: OpenRelay, Json(request): Json<IssueRequest>) -> Answer<Done> {
    let wish = request.wish(shared.relay).map_err(bad)?;
    fulfil(&shared, wish).await
}

async fn revoke(shared: OpenRelay, Path(id): Path<String>) -> Answer<Done> {
    let id = PermitId(id16(&id, "permit").map_err(bad)?);
    fulfil(&shared, Wish::RevokePermit { id }).await
}

async fn admit(shared: OpenRelay, Path(id): Path<String>, Json(limits): Json<LimitsView>) -> Answer<Done> {
    let branch = SpaceId(id16(&id, "branch").map_err(bad)?);
    fulfil(&shared, Wish::AdmitBranch { branch, limits }).await
}

async fn devices(shared: OpenRelay) -> Json<Vec<DeviceView>> {
    Json(shared.driver.devices())
}

async fn device(shared: OpenRelay, Path(id): Path<String>) -> Answer<DeviceView> {
    let device = DeviceId(id16(&id, "device").map_err(bad)?);
    let gone = || (StatusCode::SERVICE_UNAVAILABLE, "the relay stops\n".to_owned());
    shared.driver.device(&device).await.map(Json).ok_or_else(gone)
}

pub(super) async fn suspend_device(
    shared: OpenRelay,
    Path(id): Path<String>,
    Json(Reason { reason }): Json<Reason>,
) -> Answer<Done> {
    let device = DeviceId(id16(&id, "device").map_err(bad)?);
    fulfil(&shared, Wish::SuspendDevice { device, reason }).await
}

pub(super) async fn resume_device(shared: OpenRelay, Path(id): Path<String>) -> Answer<Done> {
    let device = DeviceId(id16(&id, "device").map_err(bad)?);
    fulfil(&shared, Wish::ResumeDevice { device }).await
}

async fn suspend_space(
    shared: OpenRelay,
    Path(id): Path<String>,
    Json(Reason { reason }): Json<Reason>,
) -> Answer<Done> {
    let space = SpaceId(id16(&id, "space").map_err(bad)?);
    fulfil(&shared, Wish::SuspendSpace { space, reason }).await
}

async fn resume_space(shared: OpenRelay, Path(id): Path<String>) -> Answer<Done> {
    let space = SpaceId(id16(&id, "space").map_err(bad)?);
    fulfil(&shared, Wish::ResumeSpace { space }).await
}

async fn fulfil(shared: &OpenRelay, wish: Wish) -> Answer<Done> {
    shared.driver.decide(&shared.operator, &wish).await.map(Json).map_err(|e| refusal(&e))
}

fn refusal(error: &WishError) -> Refusal {
    let status = match error {
        WishError::Policy(_) | WishError::Permit(_) => StatusCode::BAD_REQUEST,
        WishError::NotKept(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{error}\n"))
}

fn bad(why: String) -> Refusal {
    (StatusCode::BAD_REQUEST, format!("{why}\n"))
}
