//! `dinh-bench soak`: see [`Options`]. A run is: found the branches and store their past, connect all devices as after an outage, let
//! them write and come and go for some minutes with one more outage in between, wait until everything is where it belongs, and judge.

mod branch;
mod counts;
mod device;
mod founding;
mod link;
mod relay;
mod report;
mod run;
mod verdict;

use std::path::{Path, PathBuf};

use relay::Relay;
use run::Run;

/// Thái Bình's evening of the 3rd: phones at once, and per second items in and reconnects after an outage (DESIGN, section 10).
const PROVINCE: (f64, f64, f64) = (59_500.0, 1_000.0, 992.0);
/// Files that this process needs beside the devices' sockets.
const OTHER_FILES: u64 = 100;
/// Drives a relay with thousands of devices and fails if an item is lost, something is refused or breaks, the relay's memory grows,
/// or its metrics are not what the devices counted. The rates are Thái Bình's busiest evening, scaled to the number of devices.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Devices, connected at the same time.
    #[arg(long, default_value_t = 5_000)]
    devices: usize,
    /// Branches with one space each, among which the devices are divided.
    #[arg(long, default_value_t = 250)]
    spaces: usize,
    /// Minutes of load, after all have connected.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Items in a second, from all devices [default: 1000 for 59500 devices, scaled].
    #[arg(long, value_name = "ITEMS_PER_SECOND")]
    rate: Option<f64>,
    /// Connects in a second when all come at once [default: 992 for 59500 devices, scaled].
    #[arg(long, value_name = "CONNECTS_PER_SECOND")]
    storm: Option<f64>,
    /// Percent of the devices that drop their connection in a minute and come back by cursor.
    #[arg(long, default_value_t = 5.0)]
    churn: f64,
    /// Percent of the devices that take seconds for each batch of items.
    #[arg(long, default_value_t = 3.0)]
    slow: f64,
    /// Percent of the devices that begin with nothing, as new members do.
    #[arg(long, default_value_t = 5.0)]
    new: f64,
    /// Megabytes stored before anyone connects: they fill the relay's caches, which would be taken for growth otherwise.
    #[arg(long, default_value_t = 160)]
    past: usize,
    /// A relay that runs already, as it printed its address, instead of one that is started here.
    #[arg(long, requires = "metrics", value_name = "ws://HOST:PORT/dinh/v1#KEY")]
    relay: Option<String>,
    /// Its metrics.
    #[arg(long, requires = "relay", value_name = "http://HOST:PORT/metrics")]
    metrics: Option<String>,
    /// Its process, if it is on this machine: without it nothing is said about memory.
    #[arg(long, requires = "relay")]
    pid: Option<u32>,
    /// The relay's program [default: dinh-relay beside this program].
    #[arg(long, conflicts_with = "relay")]
    program: Option<PathBuf>,
    /// A key of the relay's configuration, as for `dinh-relay serve`.
    #[arg(long, conflicts_with = "relay", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Writes everything that was measured to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Repeats the keys, sizes and pauses of an earlier run; not its timing.
    #[arg(long)]
    seed: Option<u64>,
    /// Twenty seconds with 200 devices in 10 spaces.
    #[arg(long, conflicts_with_all = ["devices", "spaces", "minutes", "past"])]
    quick: bool,
}

impl Options {
    fn filled_in(&self) -> Self {
        let mut all = self.clone();
        if self.quick {
            (all.devices, all.spaces, all.minutes, all.past) = (200, 10, 1.0 / 3.0, 8);
            // Else there would be three items a second, and hardly a reconnect.
            (all.rate, all.storm) = (all.rate.or(Some(50.0)), all.storm.or(Some(100.0)));
            all.churn = all.churn.max(60.0);
        }
        let (phones, items, connects) = PROVINCE;
        let share = all.devices as f64 / phones;
        all.rate.get_or_insert(items * share);
        all.storm.get_or_insert(connects * share);
        all
    }

    fn check(&self) -> Result<(), String> {
        if self.spaces == 0 || self.devices < self.spaces || !self.devices.is_multiple_of(self.spaces) {
            return Err("--devices must be a multiple of --spaces: every branch has as many".to_owned());
        }
        let rates = [self.rate.unwrap_or(1.0), self.storm.unwrap_or(1.0), self.minutes];
        if rates.iter().any(|rate| rate.is_nan() || *rate <= 0.0) {
            return Err("--rate, --storm and --minutes must be more than 0".to_owned());
        }
        let needed = self.devices as u64 + OTHER_FILES;
        if let Some(may) = relay::open_files_max().filter(|may| *may < needed) {
            return Err(format!(
                "{} sockets need more open files than this shell allows ({may}): run `ulimit -n {needed}` first",
                self.devices
            ));
        }
        Ok(())
    }

    async fn relay(&self, directory: &Path) -> Result<Relay, String> {
        if let (Some(relay), Some(metrics)) = (&self.relay, &self.metrics) {
            return Relay::given(relay, metrics, self.pid);
        }
        let beside = || Some(std::env::current_exe().ok()?.with_file_name("dinh-relay"));
        let program = self
            .program
            .clone()
            .or_else(beside)
            .ok_or("where this program is, is not known: give --program")?;
        Relay::spawn(&program, directory, &self.set).await
    }
}

/// Runs it; false if it went wrong.
///
/// # Errors
/// What kept it from being run at all.
pub(crate) async fn run(options: &Options) -> Result<bool, String> {
    let options = options.filled_in();
    options.check()?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|e| format!("no randomness: {e}"))?;
    let seed = options.seed.unwrap_or(u64::from_le_bytes(seed) >> 16);
    let directory = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
    let mut relay = options.relay(directory.path()).await?;
    let mut run = Run::prepare(&options, &relay, seed).await?;
    run.connect(&relay).await?;
    run.load(&relay).await;
    let report = run.judge(&relay).await?;
    relay.stop().await?;
    println!("{report}");
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
        std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(report.is_good())
}
