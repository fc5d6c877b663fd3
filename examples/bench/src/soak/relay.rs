//! The relay that is driven: started here or given, its metrics, its memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use dinh_proto::keys::RelayPublic;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(30);
/// Ticks in a second of `/proc/PID/stat`: Linux shows programs no other number.
const TICKS_PER_SECOND: f64 = 100.0;

/// Where a relay is: `ws://HOST:PORT/dinh/v1#KEY`.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) url: String,
    pub(super) host: String,
    pub(super) key: RelayPublic,
}

impl Address {
    pub(super) fn parse(printed: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{printed:?} is not ws://HOST:PORT/dinh/v1#KEY (TLS is not spoken here: name the relay behind the proxy)"
            )
        };
        let (url, key) = printed.split_once('#').ok_or_else(bad)?;
        let (host, _) = url.strip_prefix("ws://").and_then(|rest| rest.split_once('/')).ok_or_else(bad)?;
        Ok(Self { url: url.to_owned(), host: host.to_owned(), key: key.parse().map_err(|_| bad())? })
    }
}

/// A relay, and what is known of its process.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) address: Address,
    metrics_host: String,
    metrics_path: String,
    pid: Option<u32>,
    child: Option<Child>,
    stderr: PathBuf,
}

impl Relay {
    /// Starts the program with its data in this directory.
    pub(super) async fn spawn(
        program: &PathBuf,
        directory: &std::path::Path,
        set: &[String],
    ) -> Result<Self, String> {
        let stderr = directory.join("relay.log");
        let log = std::fs::File::create(&stderr).map_err(|e| format!("{}: {e}", stderr.display()))?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(directory.join("data"));
        set.iter().for_each(|set| {
            command.args(["--set", set]);
        });
        let mut child = command.stdout(Stdio::piped()).stderr(log).kill_on_drop(true).spawn().map_err(|e| {
            format!("cannot start {}: {e}. Build it with `cargo build --release -p dinh-server`, or name one with --program", program.display())
        })?;
        println!("relay: {:?}", command.as_std());
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let address = tokio::time::timeout(PATIENCE, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = line.strip_prefix("dinh-relay address ") {
                    return Some(address.to_owned());
                }
            }
            None
        })
        .await;
        let Ok(Some(address)) = address else {
            let log = std::fs::read_to_string(&stderr).unwrap_or_default();
            return Err(format!("the relay did not start:\n{log}"));
        };
        let address = Address::parse(&address)?;
        Ok(Self {
            metrics_host: address.host.clone(),
            metrics_path: "/metrics".to_owned(),
            address,
            pid: child.id(),
            child: Some(child),
            stderr,
        })
    }

    /// One that runs already.
    pub(super) fn given(relay: &str, metrics: &str, pid: Option<u32>) -> Result<Self, String> {
        let rest = metrics
            .strip_prefix("http://")
            .ok_or_else(|| format!("{metrics:?} is not http://HOST:PORT/metrics"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
        Ok(Self {
            address: Address::parse(relay)?,
            metrics_host: host.to_owned(),
            metrics_path: format!("/{path}"),
            pid,
            child: None,
            stderr: PathBuf::new(),
        })
    }

    /// Every sample of its page by name and labels, without the prefix of all.
    pub(super) async fn metrics(&self) -> Result<BTreeMap<String, f64>, String> {
        let host = &self.metrics_host;
        let failed = |e: std::io::Error| format!("http://{host}{}: {e}", self.metrics_path);
        let mut stream = TcpStream::connect(host).await.map_err(failed)?;
        let request =
            format!("GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", self.metrics_path);
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(failed)?;
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(format!(
                "http://{host}{}: {}",
                self.metrics_path,
                answer.lines().next().unwrap_or_default()
            ));
        }
        let samples = answer.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("dinh_relay_")?.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(samples.collect())
    }

    /// What its process has taken so far; `None` if it is not on this machine.
    pub(super) fn usage(&self) -> Option<Usage> {
        usage(self.pid?)
    }

    /// Ends a relay that was started here, in order, and says how it ended otherwise.
    pub(super) async fn stop(&mut self) -> Result<(), String> {
        let (Some(child), Some(pid)) = (&mut self.child, self.pid) else { return Ok(()) };
        let asked = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
        asked.map_err(|e| format!("kill: {e}"))?;
        let status = tokio::time::timeout(PATIENCE, child.wait()).await;
        match status {
            Ok(Ok(status)) if status.success() => Ok(()),
            other => {
                let log = std::fs::read_to_string(&self.stderr).unwrap_or_default();
                Err(format!("the relay did not stop in order: {other:?}\n{log}"))
            }
        }
    }
}

/// What a process has taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Memory now, KiB.
    pub(super) rss_kib: u64,
    /// Processor time so far, seconds.
    pub(super) cpu_s: f64,
}

pub(super) fn usage(pid: u32) -> Option<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let rss_kib = rss.trim().trim_end_matches(" kB").parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may have blanks in it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some(Usage { rss_kib, cpu_s: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND })
}

/// Open files that this process may have.
pub(super) fn open_files_max() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
