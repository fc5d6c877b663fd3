//! The newest items of the log in memory, what live devices are served from without touching the disk; and when they became durable.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use dinh_proto::ids::Seq;
use dinh_proto::time::Timestamp;

/// Bytes of items that are kept.
pub(super) const TAIL_BYTES_MAX: usize = 32 << 20;

/// A contiguous end of the log. Receivers share the bytes.
#[derive(Debug, Default)]
pub(super) struct Tail {
    first: u64,
    items: VecDeque<Bytes>,
    bytes: usize,
}

impl Tail {
    /// Adds the next item of the log.
    pub(super) fn push(&mut self, seq: Seq, item: Bytes) {
        if self.items.is_empty() {
            self.first = seq.0;
        }
        debug_assert_eq!(self.first + self.items.len() as u64, seq.0, "the tail has no holes");
        self.bytes += item.len();
        self.items.push_back(item);
        while self.bytes > TAIL_BYTES_MAX {
            let Some(oldest) = self.items.pop_front() else { break };
            self.bytes -= oldest.len();
            self.first += 1;
        }
    }

    /// The item at this place, if it is still kept.
    pub(super) fn item(&self, seq: Seq) -> Option<Bytes> {
        let index = seq.0.checked_sub(self.first)?;
        self.items.get(usize::try_from(index).ok()?).cloned()
    }
}

/// Moments that are kept apart: 8 seconds of the busiest relay, the last few thousand appends of a quiet one.
const COMMITS_MAX: usize = 8_192;
/// Appends that became durable within this time count as one moment.
const COMMIT_GRAIN: Duration = Duration::from_millis(1);

/// When the newest places became durable: a few numbers for an append, nothing for an item or a device.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// When, and the last place that was durable then.
    moments: VecDeque<(Timestamp, Seq)>,
}

impl Commits {
    /// Everything up to `last` is durable.
    pub(super) fn note(&mut self, now: Timestamp, last: Seq) {
        match self.moments.back_mut() {
            Some((at, upto)) if now - *at < COMMIT_GRAIN => *upto = last,
            _ => {
                if self.moments.len() == COMMITS_MAX {
                    self.moments.pop_front();
                }
                self.moments.push_back((now, last));
            }
        }
    }

    /// When this place became durable, up to [`COMMIT_GRAIN`] early. For one that is too old the oldest moment that is known, so
    /// that it seems newer than it is; `None` if nothing became durable since the relay started.
    pub(super) fn durable_at(&self, seq: Seq) -> Option<Timestamp> {
        let i = self.moments.partition_point(|(_, last)| *last < seq);
        self.moments.get(i).map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_became_durable_when_the_append_that_brought_it_did() {
        let mut commits = Commits::default();
        assert_eq!(commits.durable_at(Seq(1)), None);
        commits.note(Timestamp(10_000), Seq(3));
        commits.note(Timestamp(10_500), Seq(4));
        commits.note(Timestamp(20_000), Seq(9));
        let at = |seq| commits.durable_at(Seq(seq));
        assert_eq!((at(1), at(4), at(5), at(9)), (at(1), at(3), Some(Timestamp(20_000)), at(5)));
        assert_eq!((at(3), at(10)), (Some(Timestamp(10_000)), None));
        for n in 0..2 * COMMITS_MAX as u64 {
            commits.note(Timestamp(30_000 + n * 1_000), Seq(10 + n));
        }
        assert_eq!(commits.moments.len(), COMMITS_MAX);
        assert_eq!(commits.durable_at(Seq(1)), commits.moments.front().map(|(at, _)| *at));
    }
}
