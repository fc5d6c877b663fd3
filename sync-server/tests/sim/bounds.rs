//! The bounds of `limits.rs`, after everything that happens; and the memory of the whole.

use dinh_core::replica::{Backlog, Event};
use dinh_proto::limits;

use crate::world::World;

/// The most that was seen of each, in a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Marks {
    pub(crate) events: usize,
    pub(crate) parked: usize,
    pub(crate) waiting: usize,
    pub(crate) open: usize,
    pub(crate) phone_queue: usize,
    pub(crate) relay_queue: usize,
}

impl Marks {
    pub(crate) fn add(&mut self, other: &Self) {
        self.events = self.events.max(other.events);
        self.parked = self.parked.max(other.parked);
        self.waiting = self.waiting.max(other.waiting);
        self.open = self.open.max(other.open);
        self.phone_queue = self.phone_queue.max(other.phone_queue);
        self.relay_queue = self.relay_queue.max(other.relay_queue);
    }

    pub(crate) fn summary(&self) -> String {
        format!(
            "{} events, {} parked, {} waiting runs, {} bytes of open documents, {} and {} bytes to send on a phone and a relay",
            self.events, self.parked, self.waiting, self.open, self.phone_queue, self.relay_queue
        )
    }
}

impl World {
    /// What waits on a phone; `events` are those that it had not told yet.
    pub(crate) fn check_phone_bounds(&mut self, p: usize, events: &[Event]) {
        let Some(replica) = &self.phones[p].replica else { return };
        let Backlog { parked, parked_bytes, waiting, queued_bytes, open_bytes, outgoing, .. } =
            replica.backlog();
        let over = |what: &str, n: usize, most: usize| {
            assert!(n <= most, "bounds: phone {p} has {n} {what}, more than {most}");
        };
        let of_documents = |e: &&Event| {
            matches!(e, Event::DocumentChanged { .. } | Event::DocumentReset { .. } | Event::Presence { .. })
        };
        let told = events.iter().filter(of_documents).count();
        // When the queue is full a document still gets one event, that says to read it again.
        over("events that wait", told, self.opts.events_max + self.truth.docs.len());
        over("parked items", parked, limits::PARKED_RUNS_PER_DOCUMENT_MAX);
        over("bytes parked", parked_bytes, limits::PARKED_BYTES_PER_DOCUMENT_MAX);
        over("runs of a document that wait", waiting, limits::WAITING_RUNS_PER_DOCUMENT_MAX);
        over("bytes of runs to look at", queued_bytes, limits::QUEUED_BYTES_PER_DOCUMENT_MAX);
        over("bytes to send", outgoing, 2 * limits::FRAME_PLAIN_BYTES_MAX + limits::MESSAGE_BYTES_MAX);
        let marks =
            Marks { events: told, parked, waiting, open: open_bytes, phone_queue: outgoing, relay_queue: 0 };
        self.totals.marks.add(&marks);
    }

    /// What waits at the relay for the connection that has most.
    pub(crate) fn check_relay_bounds(&mut self) {
        let Some(node) = &self.relay.node else { return };
        let load = node.hub.longest_queues();
        let over = |what: &str, n: usize, most: usize| {
            assert!(n <= most, "bounds: the relay has {n} {what} of one connection, more than {most}");
        };
        over("bytes to send", load.outgoing_bytes, limits::FRAME_PLAIN_BYTES_MAX + limits::MESSAGE_BYTES_MAX);
        over("items to judge", load.puts, limits::PUTS_UNANSWERED_MAX);
        over("items asked for", load.wanted, limits::WANTED_ITEMS_MAX);
        self.totals.marks.add(&Marks { relay_queue: load.outgoing_bytes, ..Marks::default() });
    }
}

/// The most memory that this process ever had, KiB; as many worlds as there are cores run in it at once. 0 if the system
/// does not tell.
pub(crate) fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
