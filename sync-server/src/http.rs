//! The HTTP side: the upgrade, health and metrics, and the limits on all three.

use std::io::Write;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use dinh_proto::limits;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bucket::Rate;
use crate::doorstep::{Doorstep, NoRoom, Visit};
use crate::driver::Driver;
use crate::metrics::Refused;
use crate::ws::{self, Opening};

/// Pause after the system refused to accept, for example because too many files are open.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// What an HTTP connection may take after [`limits::UPGRADE_TIMEOUT`] to end its last request.
const GRACE: Duration = Duration::from_secs(1);
/// What those get for which there is no room. Not all of them will read it.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// What requests may still take after the relay began to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) driver: Arc<Driver>,
    /// One permit for each WebSocket that may be open.
    pub(crate) connections: Arc<Semaphore>,
    /// Messages of any kind that one WebSocket may bring.
    pub(crate) frames: Rate,
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/dinh/v1", get(upgrade))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(shared)
}

/// Accepts connections until `stop` says so, and returns when all requests (not WebSockets) have ended.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Shared,
    doorstep: Arc<Doorstep>,
    mut stop: watch::Receiver<bool>,
) {
    let driver = shared.driver.clone();
    let router = router(shared);
    let mut requests = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = told(&mut stop) => break,
            Some(_) = requests.join_next() => continue,
            accepted = accept(&listener) => accepted,
        };
        let Some((stream, from)) = accepted else { continue };
        match doorstep.enter(from.ip(), Instant::now()) {
            Ok(visit) => {
                let request = serve_requests(stream, router.clone(), Arc::new(visit), stop.clone());
                requests.spawn(count_given_way(driver.clone(), request));
            }
            Err(why) => {
                driver.metrics().refused_connection(match why {
                    NoRoom::Total => Refused::Greeting,
                    NoRoom::Address => Refused::Address,
                });
                turn_away(stream);
            }
        }
    }
    // Who stops the relay wants to have the driver alone.
    drop((listener, router, driver));
    let all_ended = async { while requests.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, all_ended).await.is_err() {
        requests.shutdown().await;
    }
}

/// Returns when the relay stops, or its handle was dropped.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok((stream, from)) => {
            // Frames are gathered before they are written, so waiting for more would only delay them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
            Some((stream, from))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection; is the limit of open files too low?");
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            None
        }
    }
}

/// Says so if the socket takes it at once, and closes.
fn turn_away(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(NO_ROOM);
    }
}

async fn count_given_way(driver: Arc<Driver>, request: impl Future<Output = Ended>) {
    if request.await == Ended::GaveWay {
        driver.metrics().refused_connection(Refused::GaveWay);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    ByItself,
    GaveWay,
}

/// Serves one connection until it ends or has become a WebSocket: a few seconds at most.
async fn serve_requests(
    stream: TcpStream,
    router: Router,
    visit: Arc<Visit>,
    mut stop: watch::Receiver<bool>,
) -> Ended {
    let inner = TowerToHyperService::new(router);
    let of_visit = visit.clone();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(of_visit.clone());
        inner.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::UPGRADE_TIMEOUT)
        .max_headers(limits::UPGRADE_HEADERS_MAX)
        .max_buf_size(limits::UPGRADE_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => Some(result),
        () = visit.asked_to_go() => return Ended::GaveWay,
        () = told(&mut stop) => None,
        () = tokio::time::sleep(limits::UPGRADE_TIMEOUT) => None,
    };
    let result = match result {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "request");
    }
    Ended::ByItself
}

async fn upgrade(
    State(shared): State<Shared>,
    Extension(visit): Extension<Arc<Visit>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(permit) = shared.connections.clone().try_acquire_owned() else {
        shared.driver.metrics().refused_connection(Refused::All);
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections\n").into_response();
    };
    let (mut challenge, mut seed) = ([0; 32], [0; 32]);
    if let Err(error) = getrandom::fill(&mut challenge).and_then(|()| getrandom::fill(&mut seed)) {
        tracing::error!(%error, "no randomness for a connection");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let Shared { driver, frames, .. } = shared;
    let mut response = ws::accept(upgrade, Opening { driver, challenge, seed, frames, visit, permit });
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
