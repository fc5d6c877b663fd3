use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::limits;
use crate::time::Timestamp;

/// When to try again: exponential back-off with full jitter, so that a province's phones do not all come back
/// in the same second. Pure: the seed is an argument.
#[derive(Debug, Clone)]
pub struct Reconnect {
    rng: ChaCha8Rng,
    failures: u32,
    not_before: Timestamp,
}

impl Reconnect {
    /// The first attempt may be made at once.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { rng: ChaCha8Rng::from_seed(seed), failures: 0, not_before: Timestamp(0) }
    }

    /// When the next attempt may be made.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// A connection ended or could not be made; `retry_after` is what the relay asked for, if anything.
    pub fn handle_failure(&mut self, now: Timestamp, retry_after: Option<Duration>) {
        let ceiling =
            limits::RECONNECT_MIN.saturating_mul(1 << self.failures.min(16)).min(limits::RECONNECT_MAX);
        self.failures = self.failures.saturating_add(1);
        let span = ceiling.max(retry_after.unwrap_or_default());
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
        let jitter = Duration::from_micros(self.rng.next_u64() % micros);
        self.not_before = now + retry_after.unwrap_or_default() + jitter;
    }

    /// A conversation came to `Welcome`: the next failure starts from the shortest pause again.
    pub fn handle_success(&mut self) {
        self.failures = 0;
    }

    /// The app says that the network changed or the phone woke up: try at once.
    pub fn handle_network_changed(&mut self, now: Timestamp) {
        self.failures = 0;
        self.not_before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_bounded_and_differ_between_phones() {
        let run = |seed| {
            let mut r = Reconnect::new([seed; 32]);
            (0..20)
                .map(|i| {
                    let now = Timestamp(i * 100_000_000);
                    r.handle_failure(now, None);
                    r.not_before() - now
                })
                .collect::<Vec<_>>()
        };
        let a = run(1);
        assert_eq!(a, run(1));
        assert_ne!(a, run(2));
        assert!(a[0] < limits::RECONNECT_MIN);
        assert!(a.iter().all(|d| *d < limits::RECONNECT_MAX));
        assert!(a[10..].iter().any(|d| *d > Duration::from_secs(10)));
    }

    #[test]
    fn a_network_change_ends_the_pause_and_the_relay_s_wish_is_kept() {
        let mut r = Reconnect::new([1; 32]);
        r.handle_failure(Timestamp(0), Some(Duration::from_secs(5)));
        assert!(r.not_before() >= Timestamp(5_000_000));
        r.handle_network_changed(Timestamp(7));
        assert_eq!(r.not_before(), Timestamp(7));
    }
}
