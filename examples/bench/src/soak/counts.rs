//! What the devices count, and how long things took them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dinh_proto::ids::{DeviceId, Seq, SpaceId};
use serde::Serialize;

/// Errors of which the words are kept.
const ERRORS_KEPT: usize = 20;

/// A number that many devices add to.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection that a device dropped without a word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drop {
    pub(super) branch: SpaceId,
    pub(super) device: DeviceId,
    /// How far the device had received everything.
    pub(super) cursor: Seq,
    pub(super) at: Duration,
}

/// All devices together.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Upgrades to WebSockets.
    pub(super) connects: Count,
    /// Upgrades that the relay refused because there are too many.
    pub(super) turned_away: Count,
    /// Items signed.
    pub(super) written: Count,
    /// Bytes of items acknowledged, each once.
    pub(super) acked_bytes: Count,
    /// Items acknowledged, each once.
    pub(super) acked: Count,
    /// Items offered again over another connection because the answer to the first offer was lost.
    pub(super) offered_again: Count,
    /// Items received, of others and of one's own.
    pub(super) received: Count,
    /// Of these, what the device had written itself over an earlier connection.
    pub(super) own_back: Count,
    /// Bytes of frames.
    pub(super) sent_bytes: Count,
    pub(super) received_bytes: Count,
    /// Connections that the relay closed with a code.
    pub(super) closed: Count,
    pub(super) errors: Count,
    rejects: Mutex<BTreeMap<&'static str, u64>>,
    words: Mutex<Vec<String>>,
    drops: Mutex<Vec<Drop>>,
    pub(super) acks: Latencies,
    pub(super) deliveries: Latencies,
    pub(super) connecting: Latencies,
}

impl Counts {
    /// Something that must not happen.
    pub(super) fn error(&self, what: impl Into<String>) {
        self.errors.add(1);
        let mut words = lock(&self.words);
        if words.len() < ERRORS_KEPT {
            words.push(what.into());
        }
    }

    pub(super) fn words(&self) -> Vec<String> {
        lock(&self.words).clone()
    }

    pub(super) fn rejected(&self, code: &'static str) {
        *lock(&self.rejects).entry(code).or_default() += 1;
    }

    pub(super) fn rejects(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.rejects).clone()
    }

    pub(super) fn dropped(&self, drop: Drop) {
        lock(&self.drops).push(drop);
    }

    pub(super) fn drops(&self) -> Vec<Drop> {
        lock(&self.drops).clone()
    }
}

/// Durations, each kept: a soak has a million of them.
#[derive(Debug, Default)]
pub(super) struct Latencies(Mutex<Vec<u32>>);

impl Latencies {
    pub(super) fn add(&self, took: Duration) {
        lock(&self.0).push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Of those with these indexes.
    pub(super) fn quantiles(&self, which: Range<usize>) -> Quantiles {
        let mut micros = lock(&self.0).get(which).unwrap_or_default().to_vec();
        micros.sort_unstable();
        let at = |share: f64| {
            let rank = (micros.len() as f64 * share).ceil() as usize;
            micros.get(rank.saturating_sub(1)).map_or(0.0, |micros| f64::from(*micros) / 1e3)
        };
        Quantiles {
            count: micros.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }
}

/// Milliseconds, by nearest rank.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Quantiles {
    pub(super) count: usize,
    #[serde(rename = "p50_ms")]
    pub(super) p50: f64,
    #[serde(rename = "p90_ms")]
    pub(super) p90: f64,
    #[serde(rename = "p99_ms")]
    pub(super) p99: f64,
    #[serde(rename = "p999_ms")]
    pub(super) p999: f64,
    #[serde(rename = "max_ms")]
    pub(super) max: f64,
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let all = Latencies::default();
        (1..=1_000).rev().for_each(|ms| all.add(Duration::from_millis(ms)));
        let q = all.quantiles(0..1_000);
        assert_eq!(
            (q.count, q.p50, q.p90, q.p99, q.p999, q.max),
            (1_000, 500.0, 900.0, 990.0, 999.0, 1_000.0)
        );
        assert_eq!(all.quantiles(999..1_000).max, 1.0);
        assert_eq!(all.quantiles(1_000..1_000).count, 0);
    }
}
