//! How much of something may come in a time: a token bucket in eight bytes.
//!
//! Kept as the time at which the bucket will be full again, so that it needs no tick, and a full one is as good as
//! none. Pure: time is passed in. (The crates for this read a clock or are made for many threads.)

use std::time::Duration;

use dinh_proto::time::Timestamp;

/// So much at once, and as much again in each `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What the bucket holds.
    pub amount: u64,
    /// The time in which an empty one fills.
    pub per: Duration,
}

impl Rate {
    /// So much at once, and again in each `per`.
    pub const fn new(amount: u64, per: Duration) -> Self {
        Self { amount, per }
    }

    /// The time in which this much comes back, rounded up.
    fn time_for(&self, cost: u64) -> Duration {
        let micros =
            u128::from(cost).saturating_mul(self.per.as_micros()).div_ceil(u128::from(self.amount.max(1)));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// What is left of a [`Rate`]. It begins full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bucket {
    full_at: Timestamp,
}

impl Bucket {
    /// From when on `cost` is in the bucket; not after `now` if it is there. What is more than a full bucket may be taken
    /// from a full one.
    pub(crate) fn ready_at(&self, rate: &Rate, cost: u64) -> Timestamp {
        let missing = rate.time_for(cost).min(rate.per);
        Timestamp(0) + ((self.full_at + missing) - (Timestamp(0) + rate.per))
    }

    /// Takes `cost` out, whether it is there or not.
    pub(crate) fn take(&mut self, now: Timestamp, rate: &Rate, cost: u64) {
        self.full_at = self.full_at.max(now) + rate.time_for(cost);
    }

    /// Puts back what was taken.
    pub(crate) fn give_back(&mut self, rate: &Rate, cost: u64) {
        self.full_at = Timestamp(0) + (self.full_at - (Timestamp(0) + rate.time_for(cost)));
    }

    /// Forgets what is owed beyond an empty bucket and `debt`.
    pub(crate) fn forgive(&mut self, now: Timestamp, rate: &Rate, debt: Duration) {
        self.full_at = self.full_at.min(now + rate.per + debt);
    }

    /// Whether it is as good as new.
    pub(crate) fn is_full(&self, now: Timestamp) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(200, Duration::from_secs(4));

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1_000)
    }

    #[test]
    fn a_burst_then_the_rate_and_never_more_than_a_bucket() {
        for begin in [0, 1_000_000] {
            let mut bucket = Bucket::default();
            let mut taken = 0;
            // A second of asking every millisecond: 200 at once and 50 more.
            for ms in begin..begin + 1_000 {
                while bucket.ready_at(&RATE, 1) <= at(ms) {
                    bucket.take(at(ms), &RATE, 1);
                    taken += 1;
                }
            }
            assert_eq!(taken, 200 + 49, "the 50th comes with the second");
            assert_eq!(bucket.ready_at(&RATE, 1), at(begin + 1_000));
            assert!(!bucket.is_full(at(begin + 4_979)));
            assert!(bucket.is_full(at(begin + 4_980)));
            // Much later there is one bucket, not more.
            let late = at(begin + 1_000_000);
            assert!(bucket.ready_at(&RATE, 200) <= late);
            bucket.take(late, &RATE, 200);
            assert!(bucket.ready_at(&RATE, 1) > late);
        }
    }

    #[test]
    fn what_is_larger_than_the_bucket_needs_a_full_one_and_is_paid_off() {
        let mut bucket = Bucket::default();
        assert!(bucket.ready_at(&RATE, 1_000) <= at(0));
        bucket.take(at(0), &RATE, 1_000);
        assert_eq!(bucket.ready_at(&RATE, 1), at(16_020));
        bucket.give_back(&RATE, 1_000);
        assert!(bucket.is_full(at(0)));
        bucket.take(at(0), &RATE, 1_000);
        bucket.forgive(at(0), &RATE, Duration::from_secs(3));
        assert_eq!(bucket.ready_at(&RATE, 0), at(3_000));
    }

    #[test]
    fn large_numbers_are_exact_and_nothing_overflows() {
        let day = Rate::new(50 << 20, Duration::from_secs(86_400));
        let mut bucket = Bucket::default();
        bucket.take(at(0), &day, 50 << 20);
        assert!(bucket.is_full(at(86_400_000)) && !bucket.is_full(at(86_399_999)));
        bucket.take(at(0), &day, u64::MAX);
        bucket.take(at(0), &Rate::new(0, Duration::MAX), u64::MAX);
        assert!(bucket.ready_at(&day, u64::MAX) > at(1 << 40));
    }
}
