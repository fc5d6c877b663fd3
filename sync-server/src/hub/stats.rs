//! Counters, as plain numbers: the driver turns them into metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use dinh_proto::error::{CloseCode, RejectCode, SessionError};
use dinh_proto::ids::LogEpoch;

use super::Limit;

/// What the hub has done since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Connections now.
    pub connections: u64,
    /// Branches hosted.
    pub branches: u64,
    /// Spaces hosted.
    pub spaces: u64,
    /// Branches that the operator admitted, by hand or by a permit.
    pub admitted_branches: u64,
    /// Devices that the operator has suspended.
    pub suspended_devices: u64,
    /// Spaces and branches that the operator has suspended.
    pub suspended_spaces: u64,
    /// Spaces whose items are known in memory.
    pub warm_spaces: u64,
    /// Bytes of memory that these take, about.
    pub warm_bytes: u64,
    /// Spaces that were read from the log into memory.
    pub loads: u64,
    /// Spaces that were forgotten to make room.
    pub evictions: u64,
    /// The last durable place.
    pub head: u64,
    /// The log's epoch now.
    pub epoch: LogEpoch,
    /// Epochs that are remembered.
    pub epochs: u64,
    /// Bytes of all items in the log.
    pub log_bytes: u64,
    /// Connections accepted.
    pub connected: u64,
    /// Connections gone.
    pub disconnected: u64,
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Bytes of frames sent.
    pub bytes_out: u64,
    /// Items stored.
    pub items_in: u64,
    /// Items delivered.
    pub items_out: u64,
    /// Snapshots delivered in place of the runs they cover.
    pub snapshots_out: u64,
    /// Items that were delivered from memory.
    pub tail_hits: u64,
    /// Reads from disk.
    pub reads: u64,
    /// Devices whose cursor was of no use, or that asked for a reconcile.
    pub reconciles: u64,
    /// Charter records in the log that the rules of this version do not count.
    pub charter_records_unused: u64,
    /// Connections that were closed because their device has too many.
    pub refused_of_device: u64,
    /// Connections that were closed because too much of greetings is kept.
    pub refused_greeting_bytes: u64,
    /// Times that a device's items had to wait because it put too much, by what it had too much of.
    pub puts_delayed: BTreeMap<Limit, u64>,
    /// Frames after which a socket was not read for a while because the device asks too much.
    pub paused_messages: u64,
    /// The same because it sends too many bytes.
    pub paused_bytes: u64,
    /// From the frame that completed a `Put` to the frame with the ack, for each item.
    pub acks: Durations,
    /// From durable to the socket of a device that was up to date, for the oldest item of each message.
    pub fan_out: Durations,
    /// Refused items by the quota that was used up; they are in `rejects` too.
    pub quotas: BTreeMap<Limit, u64>,
    /// Refused items by code.
    pub rejects: BTreeMap<RejectCode, u64>,
    /// Connections that this side closed, by code.
    pub closes: BTreeMap<CloseCode, u64>,
}

/// The longest queues of connections; each number may be another connection's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queues {
    /// Bytes that wait for the socket.
    pub outgoing_bytes: usize,
    /// Items that were put and are not judged.
    pub puts: usize,
    /// Items that were asked for and are not sent.
    pub wanted: usize,
}

impl HubStats {
    pub(super) fn count_reject(&mut self, code: RejectCode) {
        *self.rejects.entry(code).or_default() += 1;
    }

    pub(super) fn count_close(&mut self, error: &SessionError) {
        if let Some(code) = error.close_code() {
            *self.closes.entry(code).or_default() += 1;
        }
    }
}

/// How long something took, counted in buckets: observing adds to two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    counts: [u64; Self::BOUNDS_MICROS.len() + 1],
    sum_micros: u64,
}

impl Durations {
    /// Upper bounds of the buckets, microseconds. Longer ones are in one more.
    pub const BOUNDS_MICROS: [u64; 14] = [
        250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 10_000_000,
    ];

    /// `n` times the same.
    pub fn observe(&mut self, took: Duration, n: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[Self::BOUNDS_MICROS.partition_point(|bound| *bound < micros)] += n;
        self.sum_micros = self.sum_micros.saturating_add(micros.saturating_mul(n));
    }

    /// By bucket.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// All of them together, microseconds.
    pub fn sum_micros(&self) -> u64 {
        self.sum_micros
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What came after `earlier`, which are these as they were before.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts;
        counts.iter_mut().zip(&earlier.counts).for_each(|(now, before)| *now = now.saturating_sub(*before));
        Self { counts, sum_micros: self.sum_micros.saturating_sub(earlier.sum_micros) }
    }

    /// The time within which this share (0 to 1) of them was done, as Prometheus estimates it: evenly spread inside a bucket.
    /// What is beyond the last bound counts as that. `None` if there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let wanted = share * total as f64;
        let (mut below, mut from) = (0.0, 0);
        for (bound, count) in Self::BOUNDS_MICROS.iter().zip(&self.counts) {
            let count = *count as f64;
            if count > 0.0 && below + count >= wanted {
                let inside = ((wanted - below) / count).clamp(0.0, 1.0);
                return Some(Duration::from_micros(from + ((bound - from) as f64 * inside) as u64));
            }
            (below, from) = (below + count, *bound);
        }
        Some(Duration::from_micros(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let mut all = Durations::default();
        assert_eq!(all.quantile(0.5), None);
        all.observe(Duration::from_micros(900), 98);
        all.observe(Duration::from_millis(40), 1);
        let earlier = all;
        all.observe(Duration::from_secs(60), 1);
        assert_eq!(all.count(), 100);
        let at = |share| all.quantile(share).unwrap();
        assert!(at(0.5) > Duration::from_micros(500) && at(0.5) <= Duration::from_millis(1));
        assert!(at(0.99) > Duration::from_millis(25) && at(0.99) <= Duration::from_millis(50));
        assert_eq!(at(1.0), Duration::from_secs(10), "what is beyond the last bound counts as that");
        let last = all.since(&earlier);
        assert_eq!((last.count(), last.sum_micros()), (1, 60_000_000));
    }
}
