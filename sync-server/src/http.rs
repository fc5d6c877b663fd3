//! The HTTP side: the upgrade, health and metrics, and the limits on all three.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::driver::Driver;
use crate::ws;

/// A request that is not complete after this is dropped.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers of one request.
const HEADERS_MAX: usize = 64;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Connections that have not become a WebSocket (yet).
const REQUESTS_MAX: usize = 4_096;
/// Pause after the system refused to accept, for example because too many files are open.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// What requests may still take after the relay began to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) driver: Arc<Driver>,
    /// One permit for each WebSocket that may be open.
    pub(crate) connections: Arc<Semaphore>,
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/dinh/v1", get(upgrade))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(shared)
}

/// Accepts connections until `stop` says so, and returns when all requests (not WebSockets) have ended.
pub(crate) async fn serve(listener: TcpListener, shared: Shared, mut stop: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router(shared));
    let permits = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut requests = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = told(&mut stop) => break,
            Some(_) = requests.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let (service, stop) = (service.clone(), stop.clone());
        requests.spawn(async move {
            serve_requests(stream, service, stop).await;
            drop(permit);
        });
    }
    drop(listener);
    let all_ended = async { while requests.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, all_ended).await.is_err() {
        requests.shutdown().await;
    }
}

/// Returns when the relay stops, or its handle was dropped.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _from)) => {
            // Frames are gathered before they are written, so waiting for more would only delay them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
            Some((stream, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection; is the limit of open files too low?");
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            None
        }
    }
}

async fn serve_requests(
    stream: TcpStream,
    service: TowerToHyperService<Router>,
    mut stop: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "request");
    }
}

async fn upgrade(State(shared): State<Shared>, upgrade: WebSocketUpgrade) -> Response {
    let Ok(permit) = shared.connections.clone().try_acquire_owned() else {
        shared.driver.metrics().refused_connection();
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections\n").into_response();
    };
    let (mut challenge, mut seed) = ([0; 32], [0; 32]);
    if let Err(error) = getrandom::fill(&mut challenge).and_then(|()| getrandom::fill(&mut seed)) {
        tracing::error!(%error, "no randomness for a connection");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut response = ws::accept(upgrade, shared.driver, challenge, seed, permit);
    let hex: String = challenge.iter().map(|b| format!("{b:02x}")).collect();
    let value = HeaderValue::from_str(&hex).expect("hexadecimal digits may stand in a header");
    response.headers_mut().insert(ws::CHALLENGE_HEADER, value);
    response
}

async fn healthz(State(shared): State<Shared>) -> Response {
    match shared.driver.failure().borrow().as_ref() {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let page = shared.driver.render_metrics();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
}
