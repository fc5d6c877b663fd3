//! The operator's own listener: what `dinh-relay`'s commands ask a running relay, and the console.
//!
//! It listens on loopback unless it is told otherwise, and answers nobody without the token. Where it listens and what the token is
//! stands in [`FILE`] of the data directory as long as the relay runs, for whoever may read the relay's own files.

mod access;
pub(crate) mod api;
mod backup;
pub(crate) mod client;
mod console;
mod history;
pub(crate) mod lists;
pub(crate) mod policy;
mod session;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use dinh_proto::keys::{RelayPublic, SignKey};
use dinh_proto::limits;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::driver::{Current, Driver, wall_time};
use crate::identity;
use crate::request_id::Caller;
use console::Lang;
use history::{History, Sample};
use session::Sessions;

/// The file inside the data directory that says how a running relay is asked.
pub(crate) const FILE: &str = "admin.json";
/// Requests are few and of one person; this many at the same time.
const CONNECTIONS_MAX: usize = 64;
/// Pause after the system refused to accept.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// The least that a fixed token has: 128 bits in hexadecimal digits.
const TOKEN_CHARS_MIN: usize = 32;
const TOKEN_CHARS_MAX: usize = 256;

/// How the operator reaches the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A file with the token, so that it stays the same; without it a new one is drawn at each start.
    pub token_file: Option<PathBuf>,
    /// Names under which it may be asked, beside addresses and `localhost`.
    pub hosts: BTreeSet<String>,
    /// How often the numbers for the console's charts are kept.
    pub sample_every: Duration,
    /// What holds, for people to read; without secrets.
    pub configuration: String,
}

impl AdminConfig {
    /// A listener with the defaults of everything else.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            token_file: None,
            hosts: BTreeSet::new(),
            sample_every: history::SAMPLE_EVERY,
            configuration: String::new(),
        }
    }
}

/// What [`FILE`] says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Access {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

/// What the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct AdminShared {
    pub(crate) driver: Current,
    /// Signs permits.
    pub(crate) operator: Arc<SignKey>,
    /// This relay.
    pub(crate) relay: RelayPublic,
    token: Arc<str>,
    hosts: Arc<BTreeSet<String>>,
    sessions: Arc<Mutex<Sessions>>,
    history: Arc<Mutex<History>>,
    configuration: watch::Receiver<String>,
}

impl AdminShared {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks, and in which language.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    lang: Lang,
    /// What the forms of a page must carry; only who signed in gets forms.
    form_token: Option<String>,
}

impl Visitor {
    fn new(headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Self { lang: Lang::of(accepted.unwrap_or_default()), form_token: None }
    }
}

impl AdminShared {
    /// The relay's inside, if its log is open.
    pub(crate) fn driver(&self) -> Result<Arc<Driver>, NoDriver> {
        self.driver.get().ok_or(NoDriver)
    }
}

/// What handlers take that need an open log: without one [`NoDriver`] is the answer.
#[derive(Debug)]
pub(crate) struct OpenRelay {
    pub(crate) driver: Arc<Driver>,
    shared: AdminShared,
}

impl Deref for OpenRelay {
    type Target = AdminShared;

    fn deref(&self) -> &AdminShared {
        &self.shared
    }
}

impl FromRequestParts<AdminShared> for OpenRelay {
    type Rejection = NoDriver;

    async fn from_request_parts(_: &mut Parts, shared: &AdminShared) -> Result<Self, NoDriver> {
        Ok(Self { driver: shared.driver()?, shared: shared.clone() })
    }
}

/// What is said while there is none.
const NO_DRIVER: &str = "the disk is full: the relay waits for room on the volume of its data directory\n";

/// The log is closed until there is room on its disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoDriver;

impl IntoResponse for NoDriver {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, NO_DRIVER).into_response()
    }
}

/// The listener of a relay that runs.
#[derive(Debug)]
pub(crate) struct Admin {
    access: Access,
    file: PathBuf,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    sampling: JoinHandle<()>,
    configuration: watch::Sender<String>,
}

impl Admin {
    /// Listens, and says so in the data directory.
    pub(crate) async fn start(
        config: &AdminConfig,
        data: &Path,
        driver: Current,
        (operator, relay): (SignKey, RelayPublic),
    ) -> io::Result<Self> {
        let token = match &config.token_file {
            Some(file) => read_token(file)?,
            None => draw_token()?,
        };
        let listener = TcpListener::bind(config.listen).await?;
        let access = Access { address: listener.local_addr()?, token };
        let file = data.join(FILE);
        store(data, &file, &access)?;
        let (configuration, shown) = watch::channel(config.configuration.clone());
        let shared = AdminShared {
            driver,
            operator: Arc::new(operator),
            relay,
            token: access.token.as_str().into(),
            hosts: Arc::new(config.hosts.clone()),
            sessions: Arc::default(),
            history: Arc::default(),
            configuration: shown,
        };
        let (stop, stopped) = watch::channel(false);
        let sampling = tokio::spawn(sample(shared.clone(), config.sample_every, stopped.clone()));
        let serving = tokio::spawn(serve(listener, router(shared), stopped));
        tracing::info!(address = %access.address, "the operator's listener");
        Ok(Self { access, file, stop, serving, sampling, configuration })
    }

    /// What holds from now on.
    pub(crate) fn show_configuration(&self, text: String) {
        self.configuration.send_replace(text);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.access.address
    }

    /// Ends what is being answered. When it returns nothing of this holds the driver.
    pub(crate) async fn stop(self) {
        if let Err(error) = fs::remove_file(&self.file) {
            tracing::debug!(%error, "{}", self.file.display());
        }
        self.stop.send_replace(true);
        let _ = self.serving.await;
        let _ = self.sampling.await;
    }
}

fn router(shared: AdminShared) -> Router {
    Router::new()
        .merge(api::routes())
        .merge(policy::routes())
        .merge(backup::routes())
        .merge(console::routes())
        .layer(middleware::from_fn_with_state(shared.clone(), access::guard))
        .with_state(shared)
}

/// Keeps what the charts show, until it is told to stop.
async fn sample(shared: AdminShared, every: Duration, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {
                let Ok(driver) = shared.driver() else { continue };
                shared.history().record(Sample::of(&driver.stats(), wall_time()));
            }
        }
    }
}

async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                // Over it nobody is told: it is closed.
                if let Ok(permit) = room.clone().try_acquire_owned() {
                    let router = router.clone();
                    connections.spawn(async move {
                        serve_connection(stream, Caller::new(from.ip()), router).await;
                        drop(permit);
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an operator's connection");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
    connections.shutdown().await;
}

async fn serve_connection(stream: TcpStream, caller: Caller, router: Router) {
    let inner = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(caller);
        inner.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::UPGRADE_TIMEOUT)
        .max_headers(limits::UPGRADE_HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = pin!(connection).await {
        tracing::debug!(%error, "operator's connection");
    }
}

fn draw_token() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

pub(crate) fn read_token(file: &Path) -> io::Result<String> {
    let named =
        |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", file.display()));
    let text = fs::read_to_string(file).map_err(|e| named(e.to_string()))?;
    let token = text.trim();
    let fits = (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&token.len());
    if !fits || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(named(format!(
            "a token has {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} letters and digits without spaces: \
             `openssl rand -hex 32` makes one"
        )));
    }
    Ok(token.to_owned())
}

/// Whole under its name or not there, and for its owner only.
fn store(data: &Path, file: &Path, access: &Access) -> io::Result<()> {
    let new = data.join("admin.json.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut written = identity::for_owner_only(OpenOptions::new().write(true).create_new(true)).open(&new)?;
    written.write_all(serde_json::to_string(access)?.as_bytes())?;
    drop(written);
    fs::rename(&new, file)
}
