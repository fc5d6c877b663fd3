//! The newest items of the log in memory: what live devices are served from without touching the disk.

use std::collections::VecDeque;

use bytes::Bytes;
use dinh_proto::ids::Seq;

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
