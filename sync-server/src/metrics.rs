//! Numbers for operators, in Prometheus's text format. Every family is named here and nowhere else.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::hub::HubStats;

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
    paused_frames: AtomicU64,
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
}

impl Refused {
    const ALL: [(Self, &str); 4] = [
        (Self::All, "all"),
        (Self::Greeting, "greeting"),
        (Self::Address, "address"),
        (Self::GaveWay, "gave_way"),
    ];
}

/// What else goes into a scrape.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) unindexed: u64,
    pub(crate) in_flight_bytes: u64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            commit_micros: Histogram::new(&MICROS),
            commit_items: Histogram::new(&ITEMS),
            append_micros: Histogram::new(&MICROS),
            appended_bytes: AtomicU64::new(0),
            refused_connections: Default::default(),
            paused_frames: AtomicU64::new(0),
        }
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

    /// A socket is not read for a while because it brings too many WebSocket messages.
    pub(crate) fn paused_frames(&self) {
        self.paused_frames.fetch_add(1, Ordering::Relaxed);
    }

    /// The whole page.
    pub(crate) fn render(&self, hub: &HubStats, gauges: &Gauges) -> String {
        let mut page = Page::default();
        page.one("connections", "gauge", "Connections now.", hub.connections);
        page.one("branches", "gauge", "Branches hosted.", hub.branches);
        page.one("spaces", "gauge", "Spaces hosted.", hub.spaces);
        page.one("log_head", "gauge", "Place of the last durable item.", hub.head);
        page.one("log_unindexed_items", "gauge", "Items that the next start has to read.", gauges.unindexed);
        page.one("in_flight_bytes", "gauge", "Bytes being verified or stored.", gauges.in_flight_bytes);
        page.one("connections_total", "counter", "Connections accepted.", hub.connected);
        page.one("disconnections_total", "counter", "Connections ended.", hub.disconnected);
        let refused = Refused::ALL
            .map(|(why, name)| (name, self.refused_connections[why as usize].load(Ordering::Relaxed)));
        page.by("connections_refused_total", "Connections over a limit.", "limit", refused.into_iter());
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
        page.by("quota_refusals_total", "Items refused with Quota.", "limit", quotas);
        let delayed = hub.puts_delayed;
        page.one("puts_delayed_total", "counter", "Items that waited for their device's share.", delayed);
        let paused = hub.reads_paused + self.paused_frames.load(Ordering::Relaxed);
        page.one("reads_paused_total", "counter", "Times that a socket was not read for a while.", paused);
        let closes = hub.closes.iter().map(|(code, n)| (code.name(), *n));
        page.by("closes_total", "Connections that this relay closed.", "code", closes);
        page.seconds("commit_seconds", "Transactions of the log.", &self.commit_micros);
        page.histogram("commit_items", "Items in a transaction.", &self.commit_items, |n| n as f64);
        page.seconds("append_seconds", "From admission to acknowledgement.", &self.append_micros);
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
        let page = metrics.render(&hub, &Gauges { unindexed: 1, in_flight_bytes: 0 });
        for line in [
            "dinh_relay_log_head 42",
            "dinh_relay_rejects_total{code=\"Fork\"} 2",
            "dinh_relay_commit_seconds_bucket{le=\"0.0005\"} 0",
            "dinh_relay_commit_seconds_bucket{le=\"0.001\"} 1",
            "dinh_relay_commit_seconds_bucket{le=\"+Inf\"} 2",
            "dinh_relay_commit_items_bucket{le=\"4\"} 1",
            "dinh_relay_commit_items_count 2",
            "dinh_relay_log_appended_bytes_total 709",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
        for line in page.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("dinh_relay_") && value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
