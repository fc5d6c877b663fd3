//! Keeps a driver running: when the disk was full in the middle of a write, the log is of no more use, and as soon as there is room it is
//! opened again, in a new epoch, under the same listener. Any other failure is final.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::disk;
use crate::driver::{Current, Driver};
use crate::hub::HubConfig;
use crate::observer::Observer;
use crate::server::{DRAIN_TIMEOUT, Opened, ServeError, close, open};

/// How often it is looked how much room is left: between two looks a relay cannot store more than the default reserve on most disks.
const LOOK_AT_DISK_EVERY: Duration = Duration::from_secs(1);
/// Room without which opening the log is not tried: it writes a little.
const ROOM_TO_OPEN_BYTES: u64 = 4 << 20;
/// Pause before the log is opened again. It doubles each time that this was no use: where a quota says no, free space says nothing.
const AGAIN_AFTER_MIN: Duration = Duration::from_secs(2);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);
/// A log that was open for so long was not opened in vain.
const WENT_WELL: Duration = Duration::from_secs(600);

/// What the operator may change while it runs.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) hub: HubConfig,
    pub(crate) reserve_bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) data: PathBuf,
    /// Where everyone finds the driver.
    pub(crate) current: Current,
    /// One permit for each connection.
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) connections_max: u32,
    pub(crate) observer: Arc<Observer>,
    pub(crate) limits: watch::Receiver<Limits>,
    pub(crate) stop: watch::Receiver<bool>,
    /// Told what is final.
    pub(crate) failed: watch::Sender<Option<String>>,
}

/// A driver and the tasks that call it.
#[derive(Debug)]
struct Tended {
    driver: Arc<Driver>,
    tasks: [JoinHandle<()>; 2],
}

impl Tended {
    async fn rest(self) -> Arc<Driver> {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        self.driver
    }
}

impl Supervisor {
    /// Starts a driver, which everyone finds when this returns, and sees to it until the relay is to stop. The handle gives the driver
    /// that is to be finished, if there is one.
    pub(crate) async fn start(self, opened: Opened) -> JoinHandle<Option<Arc<Driver>>> {
        let tended = self.tend(opened).await;
        tokio::spawn(self.run(tended))
    }

    async fn tend(&self, Opened { hub, log, .. }: Opened) -> Tended {
        let driver = Driver::start(hub, Arc::new(log), self.connections_max as usize, self.observer.clone());
        let mut limits = self.limits.clone();
        let reserve = limits.borrow_and_update().reserve_bytes;
        look_at_disk(&driver, self.data.clone(), reserve).await;
        let timer = driver.clone();
        let tasks = [
            tokio::spawn(async move { timer.run_timer().await }),
            tokio::spawn(watch_disk(Arc::downgrade(&driver), self.data.clone(), limits)),
        ];
        self.current.set(Some(driver.clone()));
        Tended { driver, tasks }
    }

    async fn run(mut self, mut tended: Tended) -> Option<Arc<Driver>> {
        let mut pause = AGAIN_AFTER_MIN;
        loop {
            let opened_at = Instant::now();
            let mut failure = tended.driver.failure();
            let failure = tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => None,
                failure = failure.wait_for(Option::is_some) => failure.ok().and_then(|failure| failure.clone()),
            };
            match failure {
                None => return Some(tended.rest().await),
                Some(failure) if !failure.is_cured_by_room => {
                    self.failed.send_replace(Some(failure.why));
                    let _ = self.stop.wait_for(|stop| *stop).await;
                    return Some(tended.rest().await);
                }
                Some(_) => tracing::error!(
                    "the disk is full: devices are told to come back, and the log is opened again when there is room on the volume of the \
                     data directory"
                ),
            }
            pause = if opened_at.elapsed() > WENT_WELL { AGAIN_AFTER_MIN } else { pause };
            self.put_away(tended).await;
            let opened = self.open_again(&mut pause).await?;
            tended = self.tend(opened).await;
            tracing::info!("there is room again: the log is open");
        }
    }

    /// Ends a driver that failed, and lets go of its log.
    async fn put_away(&self, tended: Tended) {
        self.current.set(None);
        tended.driver.begin_shutdown();
        // Each holds the driver. Nobody gets a driver any more, so the permits are free again at once.
        let all = self.connections.acquire_many(self.connections_max);
        if tokio::time::timeout(DRAIN_TIMEOUT, all).await.is_err() {
            tracing::warn!("connections are left that did not end in time");
        }
        let driver = tended.rest().await;
        // The error is the one for which this is done.
        let _ = tokio::task::spawn_blocking(move || driver.finish().map(|()| drop(driver))).await;
    }

    /// Waits for room. `None` if the relay is to stop, or something else is wrong with the log.
    async fn open_again(&mut self, pause: &mut Duration) -> Option<Opened> {
        loop {
            let not_before = Instant::now() + *pause;
            *pause = (*pause * 2).min(AGAIN_AFTER_MAX);
            loop {
                let stopped = self.stop.wait_for(|stop| *stop);
                if tokio::time::timeout(LOOK_AT_DISK_EVERY, stopped).await.is_ok() {
                    return None;
                }
                let free = free_bytes(self.data.clone()).await;
                if Instant::now() >= not_before && free.is_none_or(|free| free >= ROOM_TO_OPEN_BYTES) {
                    break;
                }
            }
            let (data, hub) = (self.data.clone(), self.limits.borrow().hub.clone());
            let error = match tokio::task::spawn_blocking(move || open(&data, hub)).await {
                Ok(Ok(opened)) => return Some(opened),
                // A connection that did not end in time may still have it.
                Ok(Err(ServeError::Log { source, .. }))
                    if source.is_cured_by_room() || source.is_in_use() =>
                {
                    tracing::warn!(error = %source, "the log cannot be opened yet");
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("opening the log panicked: {panic}"),
            };
            self.failed.send_replace(Some(error));
            let _ = self.stop.wait_for(|stop| *stop).await;
            return None;
        }
    }
}

/// Stores what waits and closes the file of the driver that is left.
///
/// # Errors
/// The log's.
pub(crate) async fn finish(driver: Arc<Driver>, path: PathBuf) -> Result<(), ServeError> {
    let finished = tokio::task::spawn_blocking(move || close(driver, &path));
    finished.await.map_err(|e| ServeError::Failed(format!("stopping panicked: {e}")))?
}

/// Looks at the volume from time to time, and when the reserve changes, until the driver is gone.
async fn watch_disk(driver: Weak<Driver>, data: PathBuf, mut limits: watch::Receiver<Limits>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_AT_DISK_EVERY) => {}
            Ok(()) = limits.changed() => {}
        }
        let Some(driver) = driver.upgrade() else { return };
        let reserve = limits.borrow_and_update().reserve_bytes;
        look_at_disk(&driver, data.clone(), reserve).await;
    }
}

async fn look_at_disk(driver: &Driver, data: PathBuf, reserve: u64) {
    driver.room_left(free_bytes(data).await, reserve);
}

/// A network volume may not answer for long.
async fn free_bytes(data: PathBuf) -> Option<u64> {
    tokio::task::spawn_blocking(move || disk::free_bytes(&data)).await.ok()?.ok()
}
