//! The relay in a process: open the log, wake the hub, listen; and the same backwards.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dinh_proto::ids::{LogEpoch, Seq};
use dinh_proto::keys::{RelayKey, RelayPublic, SignKey};
use dinh_proto::limits;
use dinh_proto::permit::OperatorPublic;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::admin::{Admin, AdminConfig};
use crate::archive::LOG_FILE;
use crate::disk;
use crate::doorstep::{Doorstep, GreetingLimits};
use crate::driver::{Current, Driver};
use crate::http::{self, Shared};
use crate::hub::{Hub, HubConfig, Rate};
use crate::identity::{self, IdentityError};
use crate::log::{LogError, RedbLog};
use crate::observer::Observer;
use crate::supervisor::{Limits, Supervisor, finish};
use crate::tls::{self, Tls, TlsError, TlsFiles};

/// What connections may take to end after they were told: more than each is given by itself.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where everything durable is kept; created if it is not there. One relay at a time may use it.
    pub data: PathBuf,
    /// Where to listen. Port 0 takes a free one: see [`Running::local_addr`].
    pub listen: SocketAddr,
    /// The certificate with which it listens. Without, it speaks no TLS.
    pub tls: Option<TlsFiles>,
    /// WebSockets open at the same time.
    pub connections_max: usize,
    /// Connections whose device has not greeted.
    pub greeting: GreetingLimits,
    /// WebSocket messages of any kind from one connection.
    pub frames: Rate,
    /// Addresses that are shown the metrics beside the devices' entry; this machine's own at first.
    pub scrapers: BTreeSet<IpAddr>,
    /// The operator's own listener, if there is to be one.
    pub admin: Option<AdminConfig>,
    /// Bytes that stay free on the volume of `data`: with less the relay goes on serving and stores nothing. 0 for no such limit.
    pub reserve_bytes: u64,
    /// The hub's part.
    pub hub: HubConfig,
}

impl ServerConfig {
    /// Defaults for everything but the two things that have none.
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data: data.into(),
            listen,
            tls: None,
            connections_max: 65_536,
            greeting: GreetingLimits::default(),
            frames: Rate::new(limits::FRAMES_BURST, limits::FRAMES_PER),
            scrapers: [IpAddr::from([127, 0, 0, 1]), IpAddr::V6(Ipv6Addr::LOCALHOST)].into(),
            admin: None,
            reserve_bytes: disk::RESERVE_BYTES,
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
    /// The certificate cannot be used.
    #[error("no TLS: {0}")]
    Tls(#[from] TlsError),
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}; is another program using this port?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The operator's listener cannot be had.
    #[error("cannot serve the operator on {address}: {source}")]
    Admin {
        /// Its address.
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
    driver: Current,
    public: RelayPublic,
    local_addr: SocketAddr,
    log_path: PathBuf,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    supervising: JoinHandle<Option<Arc<Driver>>>,
    failed: watch::Receiver<Option<String>>,
    observer: Arc<Observer>,
    tls: Option<Arc<Tls>>,
    keep_tls: Option<JoinHandle<()>>,
    connections: Arc<Semaphore>,
    connections_max: u32,
    doorstep: Arc<Doorstep>,
    frames: watch::Sender<Rate>,
    scrapers: watch::Sender<BTreeSet<IpAddr>>,
    admin: Option<Admin>,
    limits: watch::Sender<Limits>,
}

impl Server {
    /// Opens the log, loads the hub and listens. Must be called inside a tokio runtime with its IO and time
    /// drivers enabled; several relays may run in one.
    pub async fn start(config: ServerConfig) -> Result<Running, ServeError> {
        // First: what is written wrongly is told before a file is made.
        let files = config.tls.clone();
        let tls = tokio::task::spawn_blocking(move || files.map(Tls::load).transpose());
        let tls =
            tls.await.map_err(|e| ServeError::Failed(format!("starting panicked: {e}")))??.map(Arc::new);
        let (data, hub_config) = (config.data.clone(), config.hub.clone());
        let opened = tokio::task::spawn_blocking(move || open(&data, hub_config));
        let opened = opened.await.map_err(|e| ServeError::Failed(format!("starting panicked: {e}")))??;
        let (public, operator, log_path) = (opened.public, opened.operator.clone(), opened.log_path.clone());
        let listen_error = |source| ServeError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
        let local_addr = listener.local_addr().map_err(listen_error)?;
        let connections_max = u32::try_from(config.connections_max).unwrap_or(u32::MAX);
        let connections = Arc::new(Semaphore::new(connections_max as usize));
        let (limits, of_limits) =
            watch::channel(Limits { hub: config.hub, reserve_bytes: config.reserve_bytes });
        let (stop, stopped) = watch::channel(false);
        let (tell, failed) = watch::channel(None);
        let driver = Current::default();
        let observer = Observer::new();
        observer.metrics().set_log_file(log_path.clone());
        let supervisor = Supervisor {
            data: config.data.clone(),
            current: driver.clone(),
            connections: connections.clone(),
            connections_max,
            observer: observer.clone(),
            limits: of_limits,
            stop: stopped.clone(),
            failed: tell,
        };
        let supervising = supervisor.start(opened).await;
        let admin = match &config.admin {
            Some(admin) => {
                let started = Admin::start(admin, &config.data, driver.clone(), (operator, public)).await;
                Some(started.map_err(|source| match source.kind() {
                    io::ErrorKind::StorageFull => ServeError::Log {
                        path: log_path.clone(),
                        source: Arc::new(LogError::DiskFull(source)),
                    },
                    _ => ServeError::Admin { address: admin.listen, source },
                })?)
            }
            None => None,
        };
        let (frames, of_frames) = watch::channel(config.frames);
        let (scrapers, may_scrape) = watch::channel(config.scrapers);
        let shared = Shared {
            driver: driver.clone(),
            observer: observer.clone(),
            connections: connections.clone(),
            frames: of_frames,
            scrapers: may_scrape,
        };
        let doorstep = Doorstep::new(config.greeting);
        let door = http::Door { listener, doorstep: doorstep.clone(), tls: tls.clone() };
        let accepting = tokio::spawn(http::serve(door, shared, stopped));
        let keep_tls = tls.clone().map(|tls| {
            let metrics = observer.metrics().clone();
            metrics.certificate_ends(tls.not_after());
            tokio::spawn(tls::keep(tls, move |ends| metrics.certificate_ends(ends)))
        });
        tracing::info!(%local_addr, tls = tls.is_some(), "listening");
        Ok(Running {
            driver,
            public,
            local_addr,
            log_path,
            stop,
            accepting,
            supervising,
            failed,
            observer,
            tls,
            keep_tls,
            connections,
            connections_max,
            doorstep,
            frames,
            scrapers,
            admin,
            limits,
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

    /// Where the operator's listener is, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// What devices on this machine, or on its network if it listens on one address of that, connect to. With a wildcard
    /// address `HOST` stands for a name that devices can reach; with TLS it is a name in the certificate.
    pub fn address(&self) -> String {
        let listen = self.local_addr;
        if let Some(tls) = &self.tls {
            let name = tls.name();
            let name = name.as_deref().unwrap_or("HOST");
            format!("wss://{name}:{}/dinh/v1#{}", listen.port(), self.public)
        } else if listen.ip().is_unspecified() {
            format!("ws://HOST:{}/dinh/v1#{}", listen.port(), self.public)
        } else {
            format!("ws://{listen}/dinh/v1#{}", self.public)
        }
    }

    /// Takes other limits, for connections that are open too but for [`ServerConfig::frames`], which new ones have, and reads the
    /// certificate again, which new ones get. `data`, `listen`, `connections_max`, and whether there is TLS, stay as they are.
    pub fn reconfigure(&self, config: ServerConfig) {
        if let (Some(tls), Some(files)) = (&self.tls, &config.tls) {
            tls.reload(files);
            self.observer.metrics().certificate_ends(tls.not_after());
        }
        self.doorstep.reconfigure(config.greeting);
        self.frames.send_replace(config.frames);
        self.scrapers.send_replace(config.scrapers);
        if let Some(driver) = self.driver.get() {
            driver.reconfigure(config.hub.clone());
        }
        self.limits.send_replace(Limits { hub: config.hub, reserve_bytes: config.reserve_bytes });
        if let (Some(running), Some(config)) = (&self.admin, config.admin) {
            running.show_configuration(config.configuration);
        }
    }

    /// Waits until the relay can go on no longer, and says why. It then acknowledges nothing more, but its
    /// sockets are still open: call [`shutdown`](Self::shutdown). Waits for ever otherwise; a disk that is full is nothing final.
    pub async fn failed(&self) -> ServeError {
        let mut failure = self.failed.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(why) => ServeError::Failed(why.clone().unwrap_or_default()),
            Err(_driver_gone) => ServeError::Failed("the driver is gone".into()),
        }
    }

    /// Accepts nothing more, tells every device to come back later, stores what was taken in, closes the file.
    /// Takes a few seconds at most, unless the disk does not answer.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.stop.send_replace(true);
        if let Some(driver) = self.driver.get() {
            driver.begin_shutdown();
        }
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
        // A request that is becoming a WebSocket ends here, and is then either connected or refused.
        let _ = self.accepting.await;
        let all = self.connections.clone().acquire_many_owned(self.connections_max);
        if tokio::time::timeout(DRAIN_TIMEOUT, all).await.is_err() {
            tracing::warn!("connections are left that did not end in time");
        }
        if let Some(task) = self.keep_tls {
            task.abort();
            let _ = task.await;
        }
        let left =
            self.supervising.await.map_err(|e| ServeError::Failed(format!("stopping panicked: {e}")))?;
        self.driver.set(None);
        match left {
            Some(driver) => finish(driver, self.log_path).await,
            // It was waiting for room on its disk, with the log closed.
            None => Ok(()),
        }
    }
}

/// What is read before anything listens.
pub(crate) struct Opened {
    pub(crate) hub: Hub,
    pub(crate) public: RelayPublic,
    /// What permits are signed with.
    pub(crate) operator: SignKey,
    pub(crate) log: RedbLog,
    pub(crate) log_path: PathBuf,
}

pub(crate) fn open(data: &Path, config: HubConfig) -> Result<Opened, ServeError> {
    let directory_error = |source| ServeError::DataDirectory { path: data.to_owned(), source };
    identity::create_directory(data).map_err(directory_error)?;
    let path = data.join(LOG_FILE);
    let mut epoch = LogEpoch::default();
    getrandom::fill(&mut epoch.0).map_err(ServeError::Randomness)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(ServeError::Randomness)?;
    let log_error = |source| ServeError::Log { path: path.clone(), source: Arc::new(source) };
    // The log first: it is locked, so no other relay makes a key in this directory meanwhile.
    let log = RedbLog::open(&path, epoch).map_err(log_error)?;
    let key = match log.head() {
        Seq(0) => identity::load_or_create(data)?,
        _ => identity::load_kept(data)?,
    };
    let public = key.public();
    let had_operator = data.join(identity::OPERATOR_FILE).exists();
    let operator = identity::load_or_create_operator(data)?;
    if !had_operator && !log.operator_rows().map_err(log_error)?.is_empty() {
        tracing::warn!(
            "operator.key was missing and another was made: permits that the old one signed are taken no more"
        );
    }
    let hub = load(&log, config, key, OperatorPublic(operator.public()), seed).map_err(log_error)?;
    Ok(Opened { hub, public, operator, log, log_path: path })
}

/// A hub that knows of every space in the log. What is in them it asks for when it needs it.
fn load(
    log: &RedbLog,
    config: HubConfig,
    key: RelayKey,
    operator: OperatorPublic,
    seed: [u8; 32],
) -> Result<Hub, LogError> {
    let mut hub = Hub::new(config, key, log.epochs().clone(), log.head(), seed);
    let spaces = log.summaries()?;
    spaces.iter().for_each(|summary| hub.load_summary(summary));
    let rows = log.operator_rows()?;
    hub.load_policy(rows.iter().map(|(key, value)| (&key[..], &value[..])), Some(operator))
        .map_err(|e| LogError::Corrupted(format!("a decision of the operator: {e}")))?;
    tracing::info!(items = log.head().0, spaces = spaces.len(), "log opened");
    Ok(hub)
}

pub(crate) fn close(driver: Arc<Driver>, path: &Path) -> Result<(), ServeError> {
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
