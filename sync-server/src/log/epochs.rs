//! The log's epochs: which cursors still mean something.
//!
//! Every time a relay opens its log it draws a new random [`LogEpoch`] and records it with the first place that
//! it may fill. A cursor `(e, s)` says "I have everything up to `s`, as the log was in `e`". It is still true
//! if `e` is part of this file's history and `s` lies before the place where the next epoch began: up to there
//! the file has not changed since. An older copy of the file lacks the later epochs, and begins its next epoch
//! where the copy ends, so every cursor that points beyond the copy is refused without any marker or clock.

use dinh_proto::ids::{Cursor, LogEpoch, Seq};

/// Epochs that are remembered. A cursor of an older one is refused, which costs its device one reconcile.
pub const EPOCHS_MAX: usize = 4_096;

/// One opening of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// Its random name.
    pub epoch: LogEpoch,
    /// The first place that it could fill: one beyond the head when the log was opened.
    pub first: Seq,
}

/// The epochs of one log, oldest first. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochHistory {
    starts: Vec<EpochStart>,
}

/// A history that no log can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHistory {
    /// An epoch begins before the one before it.
    #[error("the log's epochs are not in order")]
    NotInOrder,
    /// The same name occurs twice.
    #[error("a log epoch occurs twice in the history: epochs must be random")]
    Repeated,
}

impl EpochHistory {
    /// The history of a log that was opened for the first time, in `epoch`.
    pub fn new(epoch: LogEpoch) -> Self {
        Self { starts: vec![EpochStart { epoch, first: Seq(1) }] }
    }

    /// `earlier`, oldest first, followed by the opening of now. Forgets all but the newest [`EPOCHS_MAX`].
    pub fn opened(mut earlier: Vec<EpochStart>, now: EpochStart) -> Result<Self, BadHistory> {
        if earlier.iter().any(|e| e.epoch == now.epoch) {
            return Err(BadHistory::Repeated);
        }
        earlier.push(now);
        if earlier.windows(2).any(|pair| pair[1].first < pair[0].first) {
            return Err(BadHistory::NotInOrder);
        }
        earlier.drain(..earlier.len().saturating_sub(EPOCHS_MAX));
        Ok(Self { starts: earlier })
    }

    /// The epoch that new cursors are labelled with.
    pub fn current(&self) -> LogEpoch {
        self.starts.last().expect("a history is never empty").epoch
    }

    /// Every epoch, oldest first.
    pub fn starts(&self) -> &[EpochStart] {
        &self.starts
    }

    /// Whether everything up to `cursor` is still what its holder received. `head` is the log's last place.
    pub fn is_valid(&self, cursor: Cursor, head: Seq) -> bool {
        // Newest first: most cursors are of the last few epochs.
        let mut last = head;
        for start in self.starts.iter().rev() {
            if start.epoch == cursor.epoch {
                return cursor.seq <= last;
            }
            last = Seq(start.first.0.saturating_sub(1));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(epoch: u8, first: u64) -> EpochStart {
        EpochStart { epoch: LogEpoch([epoch; 8]), first: Seq(first) }
    }

    fn cursor(epoch: u8, seq: u64) -> Cursor {
        Cursor { epoch: LogEpoch([epoch; 8]), seq: Seq(seq) }
    }

    #[test]
    fn a_cursor_survives_clean_restarts() {
        let h = EpochHistory::opened(vec![start(1, 1), start(2, 11), start(3, 11)], start(4, 21)).unwrap();
        assert_eq!(h.current(), LogEpoch([4; 8]));
        for valid in [cursor(1, 0), cursor(1, 10), cursor(2, 10), cursor(3, 20), cursor(4, 5), cursor(4, 25)]
        {
            assert!(h.is_valid(valid, Seq(25)), "{valid:?}");
        }
        // Epoch 2 was opened and closed without an append: it never reached 11.
        for invalid in [cursor(1, 11), cursor(2, 11), cursor(3, 21), cursor(4, 26), cursor(9, 0)] {
            assert!(!h.is_valid(invalid, Seq(25)), "{invalid:?}");
        }
    }

    #[test]
    fn a_restored_copy_refuses_what_lies_beyond_it_and_nothing_else() {
        // Epoch 1 ran to 100 and epoch 2 to 120; the copy was taken at 60, in epoch 1, and opened as epoch 3.
        let copy = EpochHistory::opened(vec![start(1, 1)], start(3, 61)).unwrap();
        assert!(copy.is_valid(cursor(1, 60), Seq(60)));
        assert!(!copy.is_valid(cursor(1, 61), Seq(60)));
        assert!(!copy.is_valid(cursor(2, 5), Seq(60)));
        // Growing again past the old head does not make the lost cursors look right.
        assert!(!copy.is_valid(cursor(1, 100), Seq(500)));
        assert!(!copy.is_valid(cursor(2, 120), Seq(500)));
    }

    #[test]
    fn the_oldest_epochs_are_forgotten_beyond_the_limit() {
        let named = |i: u64| EpochStart { epoch: LogEpoch(i.to_le_bytes()), first: Seq(i + 1) };
        let earlier = (0..EPOCHS_MAX as u64).map(named).collect();
        let h = EpochHistory::opened(earlier, named(EPOCHS_MAX as u64)).unwrap();
        assert_eq!(h.starts().len(), EPOCHS_MAX);
        let head = Seq(EPOCHS_MAX as u64 + 10);
        assert!(!h.is_valid(Cursor { epoch: named(0).epoch, seq: Seq(0) }, head));
        assert!(h.is_valid(Cursor { epoch: named(1).epoch, seq: Seq(0) }, head));
    }

    #[test]
    fn a_history_that_cannot_be_is_refused() {
        assert_eq!(EpochHistory::opened(vec![start(1, 1)], start(1, 5)), Err(BadHistory::Repeated));
        assert_eq!(EpochHistory::opened(vec![start(1, 9)], start(2, 5)), Err(BadHistory::NotInOrder));
    }
}
