//! The relay in a process: open the log, wake the hub, listen; and the same backwards.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dinh_proto::ids::{LogEpoch, Seq};
use dinh_proto::item::{Kind, RawItem};
use dinh_proto::keys::{RelayKey, RelayPublic};
use dinh_proto::limits;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::doorstep::{Doorstep, GreetingLimits};
use crate::driver::Driver;
use crate::http::{self, Shared};
use crate::hub::{Hub, HubConfig, Rate};
use crate::identity::{self, IdentityError};
use crate::log::{LogError, RedbLog};

/// The log's file inside the data directory.
const LOG_FILE: &str = "relay.redb";
/// Charter records read at a time while starting.
const CHARTER_BATCH: usize = 256;
/// What connections may take to end after they were told: more than each is given by itself.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where everything durable is kept; created if it is not there. One relay at a time may use it.
    pub data: PathBuf,
    /// Where to listen. Port 0 takes a free one: see [`Running::local_addr`].
    pub listen: SocketAddr,
    /// WebSockets open at the same time.
    pub connections_max: usize,
    /// Connections whose device has not greeted.
    pub greeting: GreetingLimits,
    /// WebSocket messages of any kind from one connection.
    pub frames: Rate,
    /// The hub's part.
    pub hub: HubConfig,
}

impl ServerConfig {
    /// Defaults for everything but the two things that have none.
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data: data.into(),
            listen,
            connections_max: 65_536,
            greeting: GreetingLimits::default(),
            frames: Rate::new(limits::FRAMES_BURST, limits::FRAMES_PER),
            hub: HubConfig::default(),
        }
    }
}

/// Why a relay could not start, or had to stop.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The directory cannot be used.
    #[error("cannot use the data directory {}: {source}", path.display())]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log cannot be used.
    #[error("{}: {source}", path.display())]
    Log {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: Arc<LogError>,
    },
    /// The relay's key cannot be used.
    #[error("{0}")]
    Identity(#[from] IdentityError),
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}; is another program using this port?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    /// Something broke while it ran.
    #[error("{0}")]
    Failed(String),
}

/// Starts relays.
#[derive(Debug)]
pub struct Server;

/// A relay that runs. Dropping it stops accepting, but does not wait for anything: call
/// [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Running {
    driver: Arc<Driver>,
    public: RelayPublic,
    local_addr: SocketAddr,
    log_path: PathBuf,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    timer: JoinHandle<()>,
    connections: Arc<Semaphore>,
    connections_max: u32,
}

impl Server {
    /// Opens the log, loads the hub and listens. Must be called inside a tokio runtime with its IO and time
    /// drivers enabled; several relays may run in one.
    pub async fn start(config: ServerConfig) -> Result<Running, ServeError> {
        let (data, hub_config) = (config.data.clone(), config.hub.clone());
        let opened = tokio::task::spawn_blocking(move || open(&data, hub_config));
        let Opened { hub, public, log, log_path } =
            opened.await.map_err(|e| ServeError::Failed(format!("starting panicked: {e}")))??;
        let listen_error = |source| ServeError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
        let local_addr = listener.local_addr().map_err(listen_error)?;
        let connections_max = u32::try_from(config.connections_max).unwrap_or(u32::MAX);
        let connections = Arc::new(Semaphore::new(connections_max as usize));
        let driver = Driver::start(hub, Arc::new(log), connections_max as usize);
        let (stop, stopped) = watch::channel(false);
        let shared =
            Shared { driver: driver.clone(), connections: connections.clone(), frames: config.frames };
        let doorstep = Doorstep::new(config.greeting);
        let accepting = tokio::spawn(http::serve(listener, shared, doorstep, stopped));
        let timer = {
            let driver = driver.clone();
            tokio::spawn(async move { driver.run_timer().await })
        };
        tracing::info!(%local_addr, "listening");
        Ok(Running {
            driver,
            public,
            local_addr,
            log_path,
            stop,
            accepting,
            timer,
            connections,
            connections_max,
        })
    }
}

impl Running {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The key that devices must have pinned.
    pub fn public(&self) -> RelayPublic {
        self.public
    }

    /// What devices on this machine, or on its network if it listens on one address of that, connect to. With a wildcard
    /// address `HOST` stands for a name that devices can reach.
    pub fn address(&self) -> String {
        let listen = self.local_addr;
        if listen.ip().is_unspecified() {
            format!("ws://HOST:{}/dinh/v1#{}", listen.port(), self.public)
        } else {
            format!("ws://{listen}/dinh/v1#{}", self.public)
        }
    }

    /// Waits until the relay can go on no longer, and says why. It then acknowledges nothing more, but its
    /// sockets are still open: call [`shutdown`](Self::shutdown). Waits for ever otherwise.
    pub async fn failed(&self) -> ServeError {
        let mut failure = self.driver.failure();
        match failure.wait_for(Option::is_some).await {
            Ok(why) => ServeError::Failed(why.clone().unwrap_or_default()),
            Err(_driver_gone) => ServeError::Failed("the driver is gone".into()),
        }
    }

    /// Accepts nothing more, tells every device to come back later, stores what was taken in, closes the file.
    /// Takes a few seconds at most, unless the disk does not answer.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.stop.send_replace(true);
        self.driver.begin_shutdown();
        // A request that is becoming a WebSocket ends here, and is then either connected or refused.
        let _ = self.accepting.await;
        let all = self.connections.clone().acquire_many_owned(self.connections_max);
        if tokio::time::timeout(DRAIN_TIMEOUT, all).await.is_err() {
            tracing::warn!("connections are left that did not end in time");
        }
        self.timer.abort();
        let _ = self.timer.await;
        let (driver, path) = (self.driver, self.log_path);
        let finished = tokio::task::spawn_blocking(move || finish(driver, &path));
        finished.await.map_err(|e| ServeError::Failed(format!("stopping panicked: {e}")))?
    }
}

/// What is read before anything listens.
struct Opened {
    hub: Hub,
    public: RelayPublic,
    log: RedbLog,
    log_path: PathBuf,
}

fn open(data: &Path, config: HubConfig) -> Result<Opened, ServeError> {
    let directory_error = |source| ServeError::DataDirectory { path: data.to_owned(), source };
    std::fs::create_dir_all(data).map_err(directory_error)?;
    let path = data.join(LOG_FILE);
    let mut epoch = LogEpoch::default();
    getrandom::fill(&mut epoch.0).map_err(ServeError::Randomness)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(ServeError::Randomness)?;
    let log_error = |source| ServeError::Log { path: path.clone(), source: Arc::new(source) };
    // The log first: it is locked, so no other relay makes a key in this directory meanwhile.
    let log = RedbLog::open(&path, epoch).map_err(log_error)?;
    let key = identity::load_or_create(data)?;
    let public = key.public();
    let hub = load(&log, config, key, seed).map_err(log_error)?;
    Ok(Opened { hub, public, log, log_path: path })
}

/// A hub that knows everything in the log.
fn load(log: &RedbLog, config: HubConfig, key: RelayKey, seed: [u8; 32]) -> Result<Hub, LogError> {
    let mut hub = Hub::new(config, key, log.epochs().clone(), log.head(), seed);
    let mut records: Vec<Seq> = Vec::new();
    log.entries(Seq(1), |entry| {
        hub.load_entry(&entry);
        if entry.kind == Kind::Charter {
            records.push(entry.seq);
        }
    })?;
    let mut charters = Vec::with_capacity(records.len());
    for batch in records.chunks(CHARTER_BATCH) {
        for (seq, bytes) in log.read(batch)? {
            let item = RawItem::parse(bytes)
                .map_err(|e| LogError::Corrupted(format!("charter record {seq}: {e}")))?;
            charters.push(item);
        }
    }
    hub.load_charters(charters);
    tracing::info!(items = log.head().0, charter_records = records.len(), "log loaded");
    Ok(hub)
}

fn finish(driver: Arc<Driver>, path: &Path) -> Result<(), ServeError> {
    let log_error = |source| ServeError::Log { path: path.to_owned(), source };
    driver.finish().map_err(log_error)?;
    match driver.into_log() {
        Some(log) => log.close().map_err(|e| log_error(Arc::new(e)))?,
        // Everything acknowledged is durable all the same; the next start takes a little longer.
        None => tracing::warn!("the log is still in use by a connection that did not end"),
    }
    tracing::info!("stopped");
    Ok(())
}
