//! The same as the console shows, as JSON: what `dinh-relay status` and `spaces` ask, and scripts may.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use dinh_proto::ids::{Seq, SpaceId};
use dinh_proto::time::WallTime;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::history::Sample;
use super::lists::{self, ConnectionOrder, Page, SpaceOrder};
use super::{AdminShared, NO_DRIVER, NoDriver, OpenRelay, access};
use crate::driver::wall_time;
use crate::http::METRICS_TYPE;
use crate::hub::{ConnectionRow, DeviceRow, Durations, SpaceDetail, SpaceView};
use crate::metrics::Metrics;
use crate::request_id::Caller;

/// Spaces that the metrics name.
const SPACES_NAMED: usize = 50;

/// What a relay says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    /// Why it can go on no longer, if that is so.
    pub(crate) failure: Option<String>,
}

/// The relay in numbers. Times are milliseconds since 1970, durations seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub(crate) version: String,
    /// Why no device is served now, if that is so.
    pub(crate) unready: Option<String>,
    /// Nothing is stored for want of room; what there is is served.
    pub(crate) read_only: bool,
    /// On the volume of the data directory, if the system says.
    pub(crate) storage_free_bytes: Option<u64>,
    pub(crate) now_ms: u64,
    pub(crate) started_ms: u64,
    pub(crate) connections: u64,
    pub(crate) branches: u64,
    pub(crate) spaces: u64,
    pub(crate) log_head: u64,
    pub(crate) log_epoch: String,
    pub(crate) log_bytes: u64,
    pub(crate) log_file_bytes: Option<u64>,
    pub(crate) items_stored: u64,
    pub(crate) items_delivered: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) resident_bytes: Option<u64>,
    /// By code; `Duplicate` counts as stored.
    pub(crate) rejects: BTreeMap<String, u64>,
    /// All of them but duplicates.
    pub(crate) refused: u64,
    pub(crate) lately: Lately,
    pub(crate) last_backup: Option<Backup>,
}

/// The last five minutes, or as long as the relay runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Lately {
    pub(crate) seconds: f64,
    pub(crate) items_stored_per_second: f64,
    pub(crate) items_delivered_per_second: f64,
    pub(crate) refused: u64,
    pub(crate) ack_p50_seconds: Option<f64>,
    pub(crate) ack_p99_seconds: Option<f64>,
    pub(crate) fan_out_p50_seconds: Option<f64>,
    pub(crate) fan_out_p99_seconds: Option<f64>,
}

/// A backup that was finished.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Backup {
    pub(crate) at_ms: u64,
    /// The last place of the log that is in it.
    pub(crate) place: u64,
}

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct List<T> {
    /// Rows of all pages.
    pub(crate) total: usize,
    /// From 1.
    pub(crate) page: usize,
    pub(crate) pages: usize,
    pub(crate) rows: Vec<T>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Connection {
    /// As in the log.
    pub(crate) conn: String,
    /// Unknown before it has greeted.
    pub(crate) device: Option<String>,
    pub(crate) address: String,
    pub(crate) seconds: f64,
    pub(crate) cursor: u64,
    /// Items after its cursor in the spaces that it may read.
    pub(crate) lag: u64,
    pub(crate) spaces: usize,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) queue_bytes: usize,
    pub(crate) unjudged_items: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Space {
    pub(crate) id: String,
    pub(crate) branch: String,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    /// Known while the space is in memory.
    pub(crate) documents: Option<usize>,
    pub(crate) subscribers: usize,
    /// The place of its newest item.
    pub(crate) last_place: u64,
    /// When that was stored, if it was since the relay started.
    pub(crate) last_ms: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SpaceMore {
    #[serde(flatten)]
    pub(crate) space: Space,
    /// Devices and sessions that wrote; unknown only if the log could not be read.
    pub(crate) chains: Option<usize>,
    pub(crate) largest_documents: Vec<Document>,
    pub(crate) connected_devices: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) id: String,
    /// Of its changes.
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) id: String,
    /// Branches that have it as a member.
    pub(crate) branches: usize,
    pub(crate) connections: usize,
    pub(crate) suspended: bool,
}

/// Where to sign in, once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SignIn {
    /// Path and query.
    pub(crate) path: String,
    pub(crate) seconds: u64,
}

pub(super) fn routes() -> Router<AdminShared> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/stats", get(async |shared: OpenRelay| Json(stats(&shared))))
        .route("/api/v1/connections", get(connections))
        .route("/api/v1/spaces", get(spaces))
        .route("/api/v1/spaces/{id}", get(space))
        .route("/api/v1/sign-in", post(sign_in))
        .route("/api/v1/last-backup", post(note_backup))
        .route("/metrics", get(metrics))
}

async fn status(State(shared): State<AdminShared>) -> Json<Status> {
    // Answered without a log too: commands ask this to know whether a relay runs.
    let failure = match shared.driver() {
        Ok(driver) => driver.failure().borrow().as_ref().map(|failure| failure.why.clone()),
        Err(NoDriver) => Some(NO_DRIVER.trim_end().to_owned()),
    };
    Json(Status { version: env!("CARGO_PKG_VERSION").to_owned(), failure })
}

pub(super) fn stats(shared: &OpenRelay) -> Stats {
    let (stats, gauges, metrics) = (shared.driver.stats(), shared.driver.gauges(), shared.driver.metrics());
    let now = Sample::of(&stats, wall_time());
    let before = shared.history().lately(now);
    let seconds = now.seconds_since(&before);
    let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    let (acks, fan_out) = (now.acks.since(&before.acks), now.fan_out.since(&before.fan_out));
    let quantile = |of: &Durations, share| of.quantile(share).map(|d| d.as_secs_f64());
    Stats {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        unready: shared.driver.unready(),
        read_only: gauges.read_only,
        storage_free_bytes: gauges.storage_free_bytes,
        now_ms: now.at.0,
        started_ms: metrics.started().0,
        connections: stats.connections,
        branches: stats.branches,
        spaces: stats.spaces,
        log_head: stats.head,
        log_epoch: stats.epoch.to_string(),
        log_bytes: stats.log_bytes,
        log_file_bytes: metrics.log_file_bytes(),
        items_stored: stats.items_in,
        items_delivered: stats.items_out,
        received_bytes: stats.bytes_in,
        sent_bytes: stats.bytes_out,
        resident_bytes: gauges.process.resident_bytes,
        refused: now.rejects,
        rejects: stats.rejects.iter().map(|(code, n)| (code.name().to_owned(), *n)).collect(),
        lately: Lately {
            seconds,
            items_stored_per_second: per_second(now.items_in, before.items_in),
            items_delivered_per_second: per_second(now.items_out, before.items_out),
            refused: now.rejects.saturating_sub(before.rejects),
            ack_p50_seconds: quantile(&acks, 0.5),
            ack_p99_seconds: quantile(&acks, 0.99),
            fan_out_p50_seconds: quantile(&fan_out, 0.5),
            fan_out_p99_seconds: quantile(&fan_out, 0.99),
        },
        last_backup: metrics.last_backup().map(|(at, seq)| Backup { at_ms: at.0, place: seq.0 }),
    }
}

/// What a list is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked<O> {
    pub(super) sort: O,
    pub(super) page: usize,
}

async fn connections(
    shared: OpenRelay,
    Query(asked): Query<Asked<ConnectionOrder>>,
) -> Json<List<Connection>> {
    Json(connection_list(&shared, &asked).await)
}

pub(super) async fn connection_list(shared: &OpenRelay, asked: &Asked<ConnectionOrder>) -> List<Connection> {
    let now = shared.driver.now();
    let row = |(view, caller): (ConnectionRow, Caller)| Connection {
        conn: caller.id.to_string(),
        device: view.device.map(|id| id.to_string()),
        address: caller.address.to_string(),
        seconds: (now - view.since).as_secs_f64(),
        cursor: view.cursor.0,
        lag: view.lag,
        spaces: view.spaces,
        received_bytes: view.bytes_in,
        sent_bytes: view.bytes_out,
        queue_bytes: view.queue_bytes,
        unjudged_items: view.puts,
    };
    lists::connections(&shared.driver, asked.sort, asked.page).await.into_list(row)
}

async fn spaces(shared: OpenRelay, Query(asked): Query<Asked<SpaceOrder>>) -> Json<List<Space>> {
    Json(space_list(&shared, &asked).await)
}

pub(super) async fn space_list(shared: &OpenRelay, asked: &Asked<SpaceOrder>) -> List<Space> {
    lists::spaces(&shared.driver, asked.sort, asked.page).await.into_list(|view| Space::from(&view))
}

pub(super) async fn device_list(shared: &OpenRelay, page: usize) -> List<Device> {
    let row = |view: DeviceRow| Device {
        id: view.id.to_string(),
        branches: view.branches,
        connections: view.connections,
        suspended: view.suspended,
    };
    lists::devices(&shared.driver, page).await.into_list(row)
}

async fn space(shared: OpenRelay, Path(id): Path<String>) -> Response {
    match find_space(&shared, &id).await {
        Some(space) => Json(space).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such space on this relay\n").into_response(),
    }
}

pub(super) async fn find_space(shared: &OpenRelay, id: &str) -> Option<SpaceMore> {
    let SpaceDetail { view, chains, largest, connected } = shared.driver.space(space_id(id)?).await?;
    Some(SpaceMore {
        space: Space::from(&view),
        chains,
        largest_documents: largest
            .into_iter()
            .map(|(id, bytes)| Document { id: id.to_string(), bytes })
            .collect(),
        connected_devices: connected.iter().map(ToString::to_string).collect(),
    })
}

/// 32 hexadecimal digits.
fn space_id(text: &str) -> Option<SpaceId> {
    if text.len() != 2 * SpaceId::BYTES || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some(SpaceId(u128::from_str_radix(text, 16).ok()?.to_be_bytes()))
}

async fn sign_in(State(shared): State<AdminShared>) -> Response {
    let Ok(code) = access::secret() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let code = access::sessions(&shared).link(Instant::now(), &code);
    tracing::info!("a link to sign in at the console was made");
    let seconds = super::session::LINK_TIME.as_secs();
    Json(SignIn { path: format!("/sign-in?code={code}"), seconds }).into_response()
}

/// Whoever made a backup in another way than with `dinh-relay backup` says so here.
async fn note_backup(shared: OpenRelay, Json(backup): Json<Backup>) -> Response {
    if backup.at_ms == 0 || backup.at_ms > wall_time().0 || backup.place > shared.driver.stats().head {
        let why = "a backup is of the past, and ends where the log does at the latest\n";
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    shared.driver.note_backup(WallTime(backup.at_ms), Seq(backup.place));
    tracing::info!(place = backup.place, "a backup was noted");
    Json(backup).into_response()
}

async fn metrics(shared: OpenRelay) -> Response {
    let mut page = shared.driver.render_metrics();
    page += &Metrics::render_spaces(&lists::largest_spaces(&shared.driver, SPACES_NAMED).await);
    ([(header::CONTENT_TYPE, METRICS_TYPE)], page).into_response()
}

impl From<&SpaceView> for Space {
    fn from(view: &SpaceView) -> Self {
        Self {
            id: view.id.to_string(),
            branch: view.branch.to_string(),
            items: view.items,
            bytes: view.bytes,
            documents: view.documents,
            subscribers: view.subscribers,
            last_place: view.last.0,
            last_ms: view.last_at.map(|at| at.0),
        }
    }
}

impl<T> Page<T> {
    fn into_list<R>(self, row: impl FnMut(T) -> R) -> List<R> {
        let Self { rows, total, number, pages } = self;
        List { total, page: number, pages, rows: rows.into_iter().map(row).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_is_named_by_its_digits_and_nothing_else() {
        assert_eq!(space_id("000102030405060708090a0b0c0d0e0F").map(|id| id.0[15]), Some(15));
        for text in ["", "00", "+00102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0f0"] {
            assert_eq!(space_id(text), None);
        }
    }
}
