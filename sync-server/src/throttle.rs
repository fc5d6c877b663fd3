//! Log lines that others can cause: so many of a kind, then the number of those that were left out. A flood of refusals must not fill
//! the disk; the metrics count all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use dinh_proto::time::Timestamp;

use crate::bucket::{Bucket, Rate};

/// Lines of one kind.
const LINES: Rate = Rate::new(10, Duration::from_secs(10));

/// What was said of late. A kind is one of this program's own names, so there are few.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    kinds: BTreeMap<(&'static str, &'static str), Kind>,
}

#[derive(Debug, Default)]
struct Kind {
    bucket: Bucket,
    left_out: u64,
}

impl Throttle {
    /// Whether a line of this kind may be written now, and then how many were left out before it.
    pub(crate) fn line(&mut self, now: Timestamp, what: &'static str, why: &'static str) -> Option<u64> {
        let kind = self.kinds.entry((what, why)).or_default();
        if kind.bucket.ready_at(&LINES, 1) > now {
            kind.left_out += 1;
            return None;
        }
        kind.bucket.take(now, &LINES, 1);
        Some(std::mem::take(&mut kind.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_of_a_kind_then_one_a_second_with_the_number_of_those_between() {
        let mut throttle = Throttle::default();
        let now = Timestamp(0) + Duration::from_secs(100);
        for _ in 0..10 {
            assert_eq!(throttle.line(now, "item", "Fork"), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(throttle.line(now, "item", "Fork"), None);
        }
        // Another kind is not affected.
        assert_eq!(throttle.line(now, "item", "Gap"), Some(0));
        let later = now + Duration::from_secs(1);
        assert_eq!(throttle.line(later, "item", "Fork"), Some(500));
        assert_eq!(throttle.line(later, "item", "Fork"), None);
    }
}
