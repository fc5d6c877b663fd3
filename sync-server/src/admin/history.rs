//! The last day in numbers, for the console's charts: two rings of fixed length in memory.

use std::collections::VecDeque;
use std::time::Duration;

use dinh_proto::error::Fate;
use dinh_proto::time::WallTime;

use crate::hub::{Durations, HubStats};

/// How often a sample is taken unless the relay is told otherwise.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// An hour of them.
const FINE_MAX: usize = 361;
/// Each so-many-th is kept for a day: one in five minutes.
const COARSE_EVERY: u32 = 30;
const COARSE_MAX: usize = 289;
/// What "now" is, when something is told of the last minutes.
const LATELY: Duration = Duration::from_secs(300);

/// Items that were not taken. What is stored already is no loss for anybody.
pub(super) fn refused(stats: &HubStats) -> u64 {
    stats.rejects.iter().filter(|(code, _)| code.fate() != Fate::Settled).map(|(_, n)| n).sum()
}

/// What is kept of one moment. All but the first two only grow.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) at: WallTime,
    pub(super) connections: u64,
    pub(super) items_in: u64,
    pub(super) items_out: u64,
    pub(super) rejects: u64,
    pub(super) log_bytes: u64,
    pub(super) acks: Durations,
    pub(super) fan_out: Durations,
}

impl Sample {
    pub(super) fn of(stats: &HubStats, at: WallTime) -> Self {
        Self {
            at,
            connections: stats.connections,
            items_in: stats.items_in,
            items_out: stats.items_out,
            rejects: refused(stats),
            log_bytes: stats.log_bytes,
            acks: stats.acks,
            fan_out: stats.fan_out,
        }
    }

    /// Seconds between two, never nothing.
    pub(super) fn seconds_since(&self, earlier: &Self) -> f64 {
        (self.at.0.saturating_sub(earlier.at.0).max(1)) as f64 / 1e3
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct History {
    fine: VecDeque<Sample>,
    coarse: VecDeque<Sample>,
    until_coarse: u32,
}

impl History {
    pub(super) fn record(&mut self, sample: Sample) {
        push(&mut self.fine, sample, FINE_MAX);
        if self.until_coarse == 0 {
            push(&mut self.coarse, sample, COARSE_MAX);
            self.until_coarse = COARSE_EVERY;
        }
        self.until_coarse -= 1;
    }

    /// The last hour, oldest first, up to `now`.
    pub(super) fn hour(&self, now: Sample) -> Vec<Sample> {
        self.fine.iter().copied().chain([now]).collect()
    }

    /// The last day, oldest first, up to `now`: as fine as there is as long as it is not an hour yet.
    pub(super) fn day(&self, now: Sample) -> Vec<Sample> {
        let samples = if self.fine.len() < FINE_MAX { &self.fine } else { &self.coarse };
        samples.iter().copied().chain([now]).collect()
    }

    /// The oldest sample of the last five minutes.
    pub(super) fn lately(&self, now: Sample) -> Sample {
        let from = now.at.0.saturating_sub(LATELY.as_millis() as u64);
        self.fine.iter().copied().find(|sample| sample.at.0 >= from).unwrap_or(now)
    }
}

fn push(ring: &mut VecDeque<Sample>, sample: Sample, max: usize) {
    if ring.len() == max {
        ring.pop_front();
    }
    ring.push_back(sample);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_fine_and_a_day_is_coarse() {
        let mut history = History::default();
        let sample = |n: u64| Sample { at: WallTime(n * 10_000), items_in: n, ..Sample::default() };
        for n in 0..20_000 {
            history.record(sample(n));
        }
        let now = sample(20_000);
        let (hour, day) = (history.hour(now), history.day(now));
        assert_eq!((hour.len(), day.len()), (FINE_MAX + 1, COARSE_MAX + 1));
        assert!((now.seconds_since(&hour[0]) - 3_610.0).abs() < 20.0);
        assert!((now.seconds_since(&day[0]) - 86_400.0).abs() < 600.0);
        assert!(day.windows(2).all(|pair| pair[0].at < pair[1].at));
        let lately = history.lately(now);
        assert_eq!((now.seconds_since(&lately), now.items_in - lately.items_in), (300.0, 30));
    }
}
