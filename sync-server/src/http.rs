//! The HTTP side for devices: the upgrade, health and metrics, and the limits on all of them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use dinh_proto::limits;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use crate::bucket::Rate;
use crate::doorstep::{Doorstep, NoRoom, Visit};
use crate::driver::Current;
use crate::metrics::{HandshakeFailed, Refused};
use crate::observer::Observer;
use crate::request_id::{self, Caller};
use crate::tls::{Opened, Tls};
use crate::ws::{self, Opening};

/// Pause after the system refused to accept, for example because too many files are open.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// What an HTTP connection may take after its time to end its last request.
const GRACE: Duration = Duration::from_secs(1);
/// What those get for which there is no room. Not all of them will read it.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// When to ask again while the disk is full.
const RETRY_AFTER_SECONDS: &str = "10";
/// What requests may still take after the relay began to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// What a relay says of itself that stores nothing for want of room: devices still read from it.
const READ_ONLY: &str = "ready, read-only: free space on the volume of the data directory\n";
/// What those get who speak HTTP to a relay that speaks TLS.
const NO_TLS: &str = "this port speaks TLS: write wss:// in a device, https:// in a browser\n";

/// Where connections come in, and what each must pass before it is heard.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) doorstep: Arc<Doorstep>,
    pub(crate) tls: Option<Arc<Tls>>,
}

/// The type of Prometheus's text format.
pub(crate) const METRICS_TYPE: &str = "text/plain; version=0.0.4";

/// What the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) driver: Current,
    pub(crate) observer: Arc<Observer>,
    /// One permit for each WebSocket that may be open.
    pub(crate) connections: Arc<Semaphore>,
    /// Messages of any kind that one WebSocket may bring.
    pub(crate) frames: watch::Receiver<Rate>,
    /// Addresses that are shown the metrics here.
    pub(crate) scrapers: watch::Receiver<BTreeSet<IpAddr>>,
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/dinh/v1", get(upgrade))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(name_connection))
        .with_state(shared)
}

/// Tells whoever asks how this connection is called in the log.
async fn name_connection(Extension(caller): Extension<Caller>, request: Request, next: Next) -> Response {
    named(next.run(request).await, &caller.id.to_string())
}

/// An answer that says how the log calls what it answers.
pub(crate) fn named(mut response: Response, id: &str) -> Response {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(request_id::HEADER, id);
    }
    response
}

/// Accepts connections until `stop` says so, and returns when all requests (not WebSockets) have ended.
pub(crate) async fn serve(door: Door, shared: Shared, mut stop: watch::Receiver<bool>) {
    let Door { listener, doorstep, tls } = door;
    let observer = shared.observer.clone();
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
                let (router, visit, stop) = (router.clone(), Arc::new(visit), stop.clone());
                let (observer, tls) = (observer.clone(), tls.clone());
                let caller = Caller::new(visit.peer());
                let connection = async move {
                    let refused = match tls {
                        None => serve_requests(stream, router, &visit, caller, stop).await,
                        Some(tls) => serve_tls(&tls, stream, router, &visit, caller, stop, &observer).await,
                    };
                    if let Some(why) = refused {
                        observer.refused_connection(why, visit.peer());
                    }
                };
                requests.spawn(connection.instrument(caller.span()));
            }
            Err(why) => {
                observer.refused_connection(why.into(), from.ip());
                turn_away(stream, tls.is_some());
            }
        }
    }
    // Who stops the relay wants to have the driver alone.
    drop((listener, router));
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

/// Says so if the socket takes it at once, and closes. Before a TLS handshake there is nothing to say it in.
fn turn_away(stream: TcpStream, is_tls: bool) {
    if let Some(mut stream) = stream.into_std().ok().filter(|_| !is_tls) {
        let _ = stream.write(NO_ROOM);
    }
}

impl From<NoRoom> for Refused {
    fn from(why: NoRoom) -> Self {
        match why {
            NoRoom::Total => Self::Greeting,
            NoRoom::Address => Self::Address,
            NoRoom::OpenOfAddress => Self::OpenOfAddress,
        }
    }
}

/// A TLS handshake, and then what is said inside it. Returns as [`serve_requests`] does.
async fn serve_tls(
    tls: &Tls,
    stream: TcpStream,
    router: Router,
    visit: &Arc<Visit>,
    caller: Caller,
    mut stop: watch::Receiver<bool>,
    observer: &Observer,
) -> Option<Refused> {
    let opened = tokio::select! {
        opened = tokio::time::timeout(visit.request_timeout(), tls.open(stream)) => opened,
        () = visit.asked_to_go() => return Some(Refused::GaveWay),
        () = told(&mut stop) => return None,
    };
    let (why, error) = match opened {
        Ok(Ok(Opened::Tls(stream))) => return serve_requests(stream, router, visit, caller, stop).await,
        Ok(Ok(Opened::Plain(stream))) => {
            observer.handshake_failed(HandshakeFailed::PlainHttp, visit.peer(), None);
            let router = Router::new().fallback(async || (StatusCode::BAD_REQUEST, NO_TLS));
            return serve_requests(stream, router, visit, caller, stop).await;
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => (HandshakeFailed::Tls, Some(error)),
        Ok(Err(error)) => (HandshakeFailed::Closed, Some(error)),
        Err(_elapsed) => (HandshakeFailed::TimedOut, None),
    };
    observer.handshake_failed(why, visit.peer(), error);
    None
}

/// Serves one connection until it ends or has become a WebSocket: a few seconds at most. Says why, if it had to end before it asked
/// for anything.
async fn serve_requests<S>(
    stream: S,
    router: Router,
    visit: &Arc<Visit>,
    caller: Caller,
    mut stop: watch::Receiver<bool>,
) -> Option<Refused>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let time = visit.request_timeout();
    let inner = TowerToHyperService::new(router);
    let has_asked = Arc::new(AtomicBool::new(false));
    let (of_visit, asks) = (visit.clone(), has_asked.clone());
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        asks.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(of_visit.clone());
        request.extensions_mut().insert(caller);
        inner.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(time)
        .max_headers(limits::UPGRADE_HEADERS_MAX)
        .max_buf_size(limits::UPGRADE_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let (result, is_late) = tokio::select! {
        result = connection.as_mut() => (Some(result), false),
        () = visit.asked_to_go() => return Some(Refused::GaveWay),
        () = told(&mut stop) => (None, false),
        () = tokio::time::sleep(time) => (None, true),
    };
    let result = match result {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    let error = result.inspect_err(|error| tracing::debug!(%error, "request")).err();
    if error.as_ref().is_some_and(hyper::Error::is_parse_too_large) {
        return Some(Refused::RequestHead);
    }
    let is_late = is_late || error.as_ref().is_some_and(hyper::Error::is_timeout);
    (is_late && !has_asked.load(Ordering::Relaxed)).then_some(Refused::RequestTime)
}

async fn upgrade(
    State(shared): State<Shared>,
    Extension(visit): Extension<Arc<Visit>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let client = visit.client(&headers);
    let from = client.unwrap_or_else(|| visit.peer());
    let open = match visit.open(client, Instant::now()) {
        Ok(open) => open,
        Err(why) => return refuse(&shared, why.into(), from, "too many connections from this address\n"),
    };
    let Ok(permit) = shared.connections.clone().try_acquire_owned() else {
        return refuse(&shared, Refused::All, from, "too many connections\n");
    };
    // After the permit: who opens the log again waits for all of them.
    let Some(driver) = shared.driver.get() else { return no_room_on_disk() };
    let (mut challenge, mut seed) = ([0; 32], [0; 32]);
    if let Err(error) = getrandom::fill(&mut challenge).and_then(|()| getrandom::fill(&mut seed)) {
        tracing::error!(%error, "no randomness for a connection");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let frames = *shared.frames.borrow();
    // From here on the device's own address, if a proxy that is trusted says it.
    let caller = Caller { address: from, ..caller };
    let opening = Opening { driver, challenge, seed, frames, visit, caller, _open: open, permit };
    let mut response = ws::accept(upgrade, opening);
    let hex: String = challenge.iter().map(|b| format!("{b:02x}")).collect();
    let value = HeaderValue::from_str(&hex).expect("hexadecimal digits may stand in a header");
    response.headers_mut().insert(ws::CHALLENGE_HEADER, value);
    response
}

/// The relay waits until its log can be opened again.
fn no_room_on_disk() -> Response {
    let why = "the disk is full: free space on the volume of the data directory, the relay then goes on by itself\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER_SECONDS)], why).into_response()
}

fn refuse(shared: &Shared, why: Refused, from: IpAddr, words: &'static str) -> Response {
    shared.observer.refused_connection(why, from);
    (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
}

/// Whether the process is worth keeping. One that waits for room on its disk is: it goes on by itself.
async fn healthz(State(shared): State<Shared>) -> Response {
    let Some(driver) = shared.driver.get() else {
        return "ok, waiting for room on its disk\n".into_response();
    };
    match driver.failure().borrow().as_ref() {
        None => "ok\n".into_response(),
        Some(failure) if failure.is_cured_by_room => "ok, waiting for room on its disk\n".into_response(),
        Some(failure) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", failure.why)).into_response(),
    }
}

/// Whether devices are served, be it only to read. [`healthz`] says whether the process is worth keeping.
async fn readyz(State(shared): State<Shared>) -> Response {
    let Some(driver) = shared.driver.get() else { return no_room_on_disk() };
    match driver.unready() {
        None if driver.is_read_only() => READ_ONLY.into_response(),
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// What a proxy adds when it passes on what somebody else asked.
const FORWARDED: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

async fn metrics(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    // Behind a proxy everybody comes from its address.
    let is_direct = !FORWARDED.iter().any(|name| headers.contains_key(*name));
    if !is_direct || !shared.scrapers.borrow().contains(&caller.address) {
        let how = "metrics are for the addresses in `metrics.scrapers` of the configuration\n";
        return (StatusCode::FORBIDDEN, how).into_response();
    }
    let Some(driver) = shared.driver.get() else { return no_room_on_disk() };
    ([(header::CONTENT_TYPE, METRICS_TYPE)], driver.render_metrics()).into_response()
}
