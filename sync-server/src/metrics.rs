//! Numbers for operators, in Prometheus's text format. Every family is named here and nowhere else.

use std::fmt::{Display, Write};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dinh_proto::ids::Seq;
use dinh_proto::time::WallTime;

use crate::hub::{Durations, HubStats, SpaceView};
use crate::process::Process;

/// Upper bounds of the buckets for durations, microseconds.
const MICROS: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];
/// Upper bounds of the buckets for items in a commit.
const ITEMS: [u64; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096];

/// What the driver measures itself.
#[derive(Debug)]
pub(crate) struct Metrics {
    commit_micros: Histogram,
    commit_items: Histogram,
    append_micros: Histogram,
    appended_bytes: AtomicU64,
    refused_connections: [AtomicU64; Refused::ALL.len()],
    failed_handshakes: [AtomicU64; HandshakeFailed::ALL.len()],
    paused_frames: AtomicU64,
    /// 0 without TLS.
    certificate_ends: AtomicU64,
    /// Zero as long as none is known.
    last_backup: [AtomicU64; 2],
    log_file: OnceLock<PathBuf>,
    started: SystemTime,
}

/// Why a connection was turned away before it was known whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many WebSockets are open.
    All,
    /// Too many have not greeted.
    Greeting,
    /// Too many of its address have not greeted.
    Address,
    /// It had not greeted for long, and another needed its place.
    GaveWay,
    /// Too many WebSockets of its address are open.
    OpenOfAddress,
    /// It did not ask for anything in time.
    RequestTime,
    /// The head of its request is too long.
    RequestHead,
}

impl Refused {
    const ALL: [Self; 7] = [
        Self::All,
        Self::Greeting,
        Self::Address,
        Self::GaveWay,
        Self::OpenOfAddress,
        Self::RequestTime,
        Self::RequestHead,
    ];

    /// The name in metrics and log lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Greeting => "greeting",
            Self::Address => "address",
            Self::GaveWay => "gave_way",
            Self::OpenOfAddress => "open_of_address",
            Self::RequestTime => "request_time",
            Self::RequestHead => "request_head",
        }
    }
}

/// Why a TLS handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeFailed {
    /// It took too long.
    TimedOut,
    /// It was HTTP without TLS.
    PlainHttp,
    /// The other side went away.
    Closed,
    /// The two sides did not agree: most likely the other one does not trust the certificate.
    Tls,
}

impl HandshakeFailed {
    const ALL: [Self; 4] = [Self::TimedOut, Self::PlainHttp, Self::Closed, Self::Tls];

    /// The name in metrics and log lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::PlainHttp => "plain_http",
            Self::Closed => "closed",
            Self::Tls => "tls",
        }
    }
}

/// What else goes into a scrape.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) unindexed: u64,
    pub(crate) in_flight_bytes: u64,
    /// Unless it is not known.
    pub(crate) storage_free_bytes: Option<u64>,
    pub(crate) read_only: bool,
    pub(crate) process: Process,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            commit_micros: Histogram::new(&MICROS),
            commit_items: Histogram::new(&ITEMS),
            append_micros: Histogram::new(&MICROS),
            appended_bytes: AtomicU64::new(0),
            refused_connections: Default::default(),
            failed_handshakes: Default::default(),
            paused_frames: AtomicU64::new(0),
            certificate_ends: AtomicU64::new(0),
            last_backup: Default::default(),
            log_file: OnceLock::new(),
            started: SystemTime::now(),
        }
    }

    /// The file whose size is told.
    pub(crate) fn set_log_file(&self, path: PathBuf) {
        // There is one for the life of a relay.
        let _ = self.log_file.set(path);
    }

    /// Bytes of the log's file.
    pub(crate) fn log_file_bytes(&self) -> Option<u64> {
        std::fs::metadata(self.log_file.get()?).ok().map(|file| file.len())
    }

    /// A backup of everything up to `seq` was finished at `at`.
    pub(crate) fn backed_up(&self, at: WallTime, seq: Seq) {
        self.last_backup[0].store(at.0, Ordering::Relaxed);
        self.last_backup[1].store(seq.0, Ordering::Relaxed);
    }

    /// When the last backup was finished that is known of, and how far it goes.
    pub(crate) fn last_backup(&self) -> Option<(WallTime, Seq)> {
        let [at, seq] = self.last_backup.each_ref().map(|n| n.load(Ordering::Relaxed));
        (at > 0).then_some((WallTime(at), Seq(seq)))
    }

    /// When this relay began to measure.
    pub(crate) fn started(&self) -> WallTime {
        let since = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// One transaction of the log.
    pub(crate) fn committed(&self, items: usize, bytes: usize, took: Duration) {
        self.commit_micros.observe(micros(took));
        self.commit_items.observe(items as u64);
        self.appended_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// From the moment an item was admitted to the moment it could be acknowledged.
    pub(crate) fn appended(&self, took: Duration) {
        self.append_micros.observe(micros(took));
    }

    /// A connection was turned away because there are too many.
    pub(crate) fn refused_connection(&self, why: Refused) {
        self.refused_connections[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A TLS handshake came to nothing.
    pub(crate) fn handshake_failed(&self, why: HandshakeFailed) {
        self.failed_handshakes[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The last second of the certificate in use, since 1970.
    pub(crate) fn certificate_ends(&self, at: u64) {
        self.certificate_ends.store(at, Ordering::Relaxed);
    }

    /// A socket is not read for a while because it brings too many WebSocket messages.
    pub(crate) fn paused_frames(&self) {
        self.paused_frames.fetch_add(1, Ordering::Relaxed);
    }

    /// The whole page.
    pub(crate) fn render(&self, hub: &HubStats, gauges: &Gauges) -> String {
        let mut page = Page::default();
        let version = env!("CARGO_PKG_VERSION");
        page.info("build_info", "The version of this relay.", "version", version);
        page.one("connections", "gauge", "Connections now.", hub.connections);
        page.one("branches", "gauge", "Branches hosted.", hub.branches);
        page.one("spaces", "gauge", "Spaces hosted.", hub.spaces);
        page.one("spaces_in_memory", "gauge", "Spaces whose items are known in memory.", hub.warm_spaces);
        page.one("spaces_in_memory_bytes", "gauge", "Memory that these take, about.", hub.warm_bytes);
        page.one("space_loads_total", "counter", "Spaces that were read into memory.", hub.loads);
        page.one(
            "space_evictions_total",
            "counter",
            "Spaces that were forgotten to make room.",
            hub.evictions,
        );
        page.one("admitted_branches", "gauge", "Branches that the operator admitted.", hub.admitted_branches);
        page.one("suspended_devices", "gauge", "Devices that are suspended.", hub.suspended_devices);
        page.one(
            "suspended_spaces",
            "gauge",
            "Spaces and branches that are suspended.",
            hub.suspended_spaces,
        );
        page.one("log_head", "gauge", "Place of the last durable item.", hub.head);
        page.info(
            "log_epoch_info",
            "The log's epoch: another one after each start.",
            "epoch",
            &hub.epoch.to_string(),
        );
        page.one("log_epochs", "gauge", "Epochs whose cursors may still be valid.", hub.epochs);
        page.one("log_bytes", "gauge", "Bytes of all items in the log.", hub.log_bytes);
        if let Some(bytes) = self.log_file_bytes() {
            page.one("log_file_bytes", "gauge", "Bytes of the log's file.", bytes);
        }
        page.one("log_unindexed_items", "gauge", "Items that the next start has to read.", gauges.unindexed);
        page.one("in_flight_bytes", "gauge", "Bytes being verified or stored.", gauges.in_flight_bytes);
        if let Some(free) = gauges.storage_free_bytes {
            page.one("storage_free_bytes", "gauge", "Room on the volume of the data directory.", free);
        }
        let read_only = u64::from(gauges.read_only);
        page.one("read_only", "gauge", "Whether nothing is stored for want of room.", read_only);
        page.one("connections_total", "counter", "Connections accepted.", hub.connected);
        page.one("disconnections_total", "counter", "Connections ended.", hub.disconnected);
        let refused = Refused::ALL
            .map(|why| (why.name(), self.refused_connections[why as usize].load(Ordering::Relaxed)));
        let by_hub = [("device", hub.refused_of_device), ("greeting_bytes", hub.refused_greeting_bytes)];
        let refused = refused.into_iter().chain(by_hub);
        page.by("connections_refused_total", "Connections over a limit.", "limit", refused);
        let certificate = self.certificate_ends.load(Ordering::Relaxed);
        if certificate > 0 {
            let ends = "When the TLS certificate ends, seconds since 1970.";
            page.one("tls_certificate_expiry_seconds", "gauge", ends, certificate);
            let failed = HandshakeFailed::ALL
                .map(|why| (why.name(), self.failed_handshakes[why as usize].load(Ordering::Relaxed)));
            let help = "TLS handshakes that came to nothing.";
            page.by("tls_handshakes_failed_total", help, "why", failed.into_iter());
        }
        page.one("received_bytes_total", "counter", "Bytes of frames received.", hub.bytes_in);
        page.one("sent_bytes_total", "counter", "Bytes of frames sent.", hub.bytes_out);
        page.one("items_stored_total", "counter", "Items stored.", hub.items_in);
        page.one("items_delivered_total", "counter", "Items delivered.", hub.items_out);
        page.one("items_from_memory_total", "counter", "Items delivered from memory.", hub.tail_hits);
        page.one("snapshots_delivered_total", "counter", "Snapshots delivered.", hub.snapshots_out);
        page.one("log_reads_total", "counter", "Reads from the log.", hub.reads);
        page.one("reconciles_total", "counter", "Devices that had to reconcile.", hub.reconciles);
        let unused = hub.charter_records_unused;
        page.one("charter_records_unused", "gauge", "Charter records that do not count.", unused);
        let appended = self.appended_bytes.load(Ordering::Relaxed);
        page.one("log_appended_bytes_total", "counter", "Bytes of items stored.", appended);
        let rejects = hub.rejects.iter().map(|(code, n)| (code.name(), *n));
        page.by("rejects_total", "Items refused.", "code", rejects);
        let quotas = hub.quotas.iter().map(|(limit, n)| (limit.name(), *n));
        page.by("quota_refusals_total", "Items refused by a quota.", "limit", quotas);
        let delayed = hub.puts_delayed.iter().map(|(share, n)| (share.name(), *n));
        page.by("puts_delayed_total", "Items that waited for their device's share.", "limit", delayed);
        let frames = self.paused_frames.load(Ordering::Relaxed);
        let paused = [("frames", frames), ("messages", hub.paused_messages), ("bytes", hub.paused_bytes)];
        let help = "Times that a socket was not read for a while.";
        page.by("reads_paused_total", help, "limit", paused.into_iter());
        let closes = hub.closes.iter().map(|(code, n)| (code.name(), *n));
        page.by("closes_total", "Connections that this relay closed.", "code", closes);
        page.seconds("commit_seconds", "Transactions of the log.", &self.commit_micros);
        page.histogram("commit_items", "Items in a transaction.", &self.commit_items, |n| n as f64);
        page.seconds("append_seconds", "From admission to acknowledgement.", &self.append_micros);
        page.durations("ack_seconds", "From the arrival of an item to its ack.", &hub.acks);
        page.durations("fan_out_seconds", "From durable to a device that is up to date.", &hub.fan_out);
        let (at, seq) = self.last_backup().unwrap_or_default();
        let help = "When the last backup was finished, 0 if none is known.";
        page.float("last_backup_timestamp_seconds", "gauge", help, at.0 as f64 / 1e3);
        page.one("last_backup_place", "gauge", "The last place of the log that is in it.", seq.0);
        page.process(&gauges.process, self.started());
        page.text
    }

    /// What only the operator's listener tells, for it names spaces: those with most bytes.
    pub(crate) fn render_spaces(largest: &[SpaceView]) -> String {
        let mut page = Page::default();
        page.head("space_bytes", "gauge", "Bytes of the items of the largest spaces.");
        for space in largest {
            let SpaceView { id, branch, bytes, .. } = space;
            page.line(format_args!("dinh_relay_space_bytes{{space=\"{id}\",branch=\"{branch}\"}} {bytes}"));
        }
        page.text
    }
}

/// Cumulative counts are made when it is read, so that observing costs three additions.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [u64],
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP dinh_relay_{name} {help}"));
        self.line(format_args!("# TYPE dinh_relay_{name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.text, "{line}").expect("writing to a string does not fail");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.line(format_args!("dinh_relay_{name} {value}"));
    }

    fn by<'a>(&mut self, name: &str, help: &str, label: &str, values: impl Iterator<Item = (&'a str, u64)>) {
        self.head(name, "counter", help);
        for (value, n) in values {
            self.line(format_args!("dinh_relay_{name}{{{label}=\"{value}\"}} {n}"));
        }
    }

    fn info(&mut self, name: &str, help: &str, label: &str, value: &str) {
        self.head(name, "gauge", help);
        self.line(format_args!("dinh_relay_{name}{{{label}=\"{value}\"}} 1"));
    }

    fn float(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.line(format_args!("dinh_relay_{name} {value}"));
    }

    /// Under the names that all programs give them.
    fn process(&mut self, process: &Process, started: WallTime) {
        let bytes = |n: Option<u64>| n.map(|n| n as f64);
        let families = [
            ("cpu_seconds_total", "counter", "User and system time.", process.cpu.map(|d| d.as_secs_f64())),
            ("resident_memory_bytes", "gauge", "Resident memory.", bytes(process.resident_bytes)),
            ("virtual_memory_bytes", "gauge", "Virtual memory.", bytes(process.virtual_bytes)),
            ("open_fds", "gauge", "Open file descriptors.", bytes(process.open_files)),
            ("max_fds", "gauge", "Most file descriptors.", bytes(process.open_files_max)),
            ("start_time_seconds", "gauge", "When it started.", Some(started.0 as f64 / 1e3)),
        ];
        for (name, kind, help, value) in families {
            let Some(value) = value else { continue };
            self.line(format_args!("# HELP process_{name} {help}"));
            self.line(format_args!("# TYPE process_{name} {kind}"));
            self.line(format_args!("process_{name} {value}"));
        }
    }

    fn durations(&mut self, name: &str, help: &str, of: &Durations) {
        self.head(name, "histogram", help);
        let mut total = 0;
        for (bound, count) in Durations::BOUNDS_MICROS.iter().zip(of.counts()) {
            total += count;
            let bound = *bound as f64 / 1e6;
            self.line(format_args!("dinh_relay_{name}_bucket{{le=\"{bound}\"}} {total}"));
        }
        let (sum, total) = (of.sum_micros() as f64 / 1e6, of.count());
        self.line(format_args!("dinh_relay_{name}_bucket{{le=\"+Inf\"}} {total}"));
        self.line(format_args!("dinh_relay_{name}_sum {sum}"));
        self.line(format_args!("dinh_relay_{name}_count {total}"));
    }

    fn seconds(&mut self, name: &str, help: &str, of: &Histogram) {
        self.histogram(name, help, of, |micros| micros as f64 / 1e6);
    }

    fn histogram(&mut self, name: &str, help: &str, of: &Histogram, unit: impl Fn(u64) -> f64) {
        self.head(name, "histogram", help);
        let mut total = 0;
        for (bound, count) in of.bounds.iter().zip(&of.counts) {
            total += count.load(Ordering::Relaxed);
            let bound = unit(*bound);
            self.line(format_args!("dinh_relay_{name}_bucket{{le=\"{bound}\"}} {total}"));
        }
        total += of.counts[of.bounds.len()].load(Ordering::Relaxed);
        self.line(format_args!("dinh_relay_{name}_bucket{{le=\"+Inf\"}} {total}"));
        let sum = unit(of.sum.load(Ordering::Relaxed));
        self.line(format_args!("dinh_relay_{name}_sum {sum}"));
        self.line(format_args!("dinh_relay_{name}_count {total}"));
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use dinh_proto::error::RejectCode;

    use super::*;

    #[test]
    fn the_page_is_what_prometheus_reads() {
        let metrics = Metrics::new();
        metrics.committed(3, 700, Duration::from_micros(900));
        metrics.committed(5_000, 9, Duration::from_secs(60));
        let mut hub = HubStats { head: 42, ..HubStats::default() };
        hub.rejects.insert(RejectCode::Fork, 2);
        hub.acks.observe(Duration::from_micros(700), 2);
        metrics.backed_up(WallTime(1_700_000_000_500), Seq(40));
        let page = metrics.render(&hub, &Gauges { unindexed: 1, ..Gauges::default() });
        for line in [
            "dinh_relay_log_head 42",
            "dinh_relay_rejects_total{code=\"Fork\"} 2",
            "dinh_relay_commit_seconds_bucket{le=\"0.0005\"} 0",
            "dinh_relay_commit_seconds_bucket{le=\"0.001\"} 1",
            "dinh_relay_commit_seconds_bucket{le=\"+Inf\"} 2",
            "dinh_relay_commit_items_bucket{le=\"4\"} 1",
            "dinh_relay_commit_items_count 2",
            "dinh_relay_log_appended_bytes_total 709",
            "dinh_relay_ack_seconds_bucket{le=\"0.00025\"} 0",
            "dinh_relay_ack_seconds_bucket{le=\"0.001\"} 2",
            "dinh_relay_ack_seconds_sum 0.0014",
            "dinh_relay_last_backup_timestamp_seconds 1700000000.5",
            "dinh_relay_log_epoch_info{epoch=\"0000000000000000\"} 1",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
        for line in page.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(
                (name.starts_with("dinh_relay_") || name.starts_with("process_"))
                    && value.parse::<f64>().is_ok(),
                "{line}"
            );
        }
    }
}
