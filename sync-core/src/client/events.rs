//! Events for several observers, each with a queue of its own: a slow one delays nobody and costs bounded memory.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dinh_proto::ids::{DocId, SpaceId};
use tokio::sync::Notify;

use super::block_on;
use crate::replica::Event;

/// Refusals that a queue keeps when it overflows; all are in quarantine.
const REFUSALS_KEPT: usize = 64;

/// What happened, for one observer. Subscribe first, then read documents: so that nothing falls in between.
///
/// If the observer is slower than what happens, waiting changes of documents shrink to one
/// [`Event::DocumentReset`] a document ("read it again"), and presence is dropped.
#[derive(Debug)]
pub struct EventStream {
    queue: Arc<Queue>,
}

impl EventStream {
    /// The next event; `None` when the client has ended. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            {
                let mut waiting = self.queue.lock();
                if let Some(event) = waiting.pop() {
                    return Some(event);
                }
                if waiting.ended {
                    return None;
                }
            }
            self.queue.news.notified().await;
        }
    }

    /// [`next`](Self::next) for a thread of its own.
    pub fn next_blocking(&mut self) -> Option<Event> {
        block_on(self.next())
    }

    /// An event that waits already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.queue.lock().pop()
    }
}

/// All observers of a client.
#[derive(Debug)]
pub(super) struct Observers {
    queues: Mutex<(Vec<Weak<Queue>>, bool)>,
    capacity: usize,
}

impl Observers {
    pub(super) fn new(capacity: usize) -> Self {
        Self { queues: Mutex::default(), capacity: capacity.max(1) }
    }

    pub(super) fn subscribe(&self, doc: Option<DocId>) -> EventStream {
        let queue = Arc::new(Queue::new(self.capacity, doc));
        let mut guard = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let (queues, ended) = &mut *guard;
        queues.retain(|q| q.strong_count() > 0);
        queues.push(Arc::downgrade(&queue));
        queue.lock().ended = *ended;
        EventStream { queue }
    }

    pub(super) fn tell(&self, event: &Event) {
        let guard = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in guard.0.iter().filter_map(Weak::upgrade).filter(|queue| queue.wants(event)) {
            queue.lock().push(event.clone());
            queue.news.notify_one();
        }
    }

    /// Forgets what waits of the content of documents: whoever was slow is told to read them again.
    pub(super) fn forget_content(&self) {
        let guard = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        guard.0.iter().filter_map(Weak::upgrade).for_each(|queue| queue.lock().shrink());
    }

    /// Nothing more happens.
    pub(super) fn end(&self) {
        let mut guard = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        guard.1 = true;
        for queue in guard.0.iter().filter_map(Weak::upgrade) {
            queue.lock().ended = true;
            queue.news.notify_one();
        }
    }
}

#[derive(Debug)]
struct Queue {
    /// The document of which it wants to hear; of everything if none.
    doc: Option<DocId>,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug)]
struct Waiting {
    events: VecDeque<Event>,
    capacity: usize,
    /// With more than this many it shrinks. If what is left then is not less than the capacity (a reset for each of many
    /// documents), it waits until there is something to gain.
    shrinks_at: usize,
    /// Documents of which a reset waits.
    resets: BTreeSet<DocId>,
    ended: bool,
}

impl Queue {
    fn wants(&self, event: &Event) -> bool {
        self.doc.is_none_or(|wanted| {
            matches!(event, Event::DocumentChanged { doc, .. } | Event::DocumentReset { doc } if *doc == wanted)
        })
    }

    fn new(capacity: usize, doc: Option<DocId>) -> Self {
        let waiting = Waiting {
            events: VecDeque::new(),
            capacity,
            shrinks_at: capacity,
            resets: BTreeSet::new(),
            ended: false,
        };
        Self { doc, waiting: Mutex::new(waiting), news: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Event::DocumentReset { doc } = &event {
            self.resets.remove(doc);
        }
        Some(event)
    }

    fn push(&mut self, event: Event) {
        // Patches after a reset say nothing that reading the document again does not.
        match &event {
            Event::DocumentChanged { doc, .. } if self.resets.contains(doc) => return,
            Event::DocumentReset { doc } if !self.resets.insert(*doc) => return,
            _ => {}
        }
        self.events.push_back(event);
        if self.events.len() > self.shrinks_at {
            self.shrink();
        }
    }

    /// Keeps one event for each document and branch, and the newest refusals. The set of documents and branches
    /// is the bound then.
    fn shrink(&mut self) {
        let (mut docs, mut branches) = (BTreeSet::new(), BTreeSet::<SpaceId>::new());
        let mut refusals = 0;
        let mut kept = VecDeque::new();
        for event in std::mem::take(&mut self.events).into_iter().rev() {
            match event {
                Event::DocumentChanged { doc, .. } | Event::DocumentReset { doc } => {
                    if docs.insert(doc) {
                        kept.push_front(Event::DocumentReset { doc });
                    }
                }
                Event::CharterChanged { branch } => {
                    if branches.insert(branch) {
                        kept.push_front(event);
                    }
                }
                Event::Refused { .. }
                | Event::Recovered { .. }
                | Event::RunDenied { .. }
                | Event::DeviceAdded { .. }
                | Event::DeviceRemoved { .. }
                | Event::Joined { .. }
                | Event::JoinFailed { .. }
                | Event::Withheld { .. } => {
                    refusals += 1;
                    if refusals <= REFUSALS_KEPT.min(self.capacity / 2 + 1) {
                        kept.push_front(event);
                    }
                }
                Event::Presence { .. } | Event::Status(_) => {}
            }
        }
        self.resets = docs;
        self.shrinks_at = self.capacity.max(kept.len() + self.capacity / 2);
        self.events = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Origin;

    fn doc(n: u8) -> DocId {
        DocId([n; 16])
    }

    fn changed(n: u8) -> Event {
        Event::DocumentChanged { doc: doc(n), origin: Origin::Local, patches: Vec::new() }
    }

    #[test]
    fn a_slow_observer_is_told_to_read_again_and_a_quick_one_gets_everything() {
        let observers = Observers::new(8);
        let (mut slow, mut quick) = (observers.subscribe(None), observers.subscribe(None));
        for i in 0..100 {
            observers.tell(&changed(i % 3));
            assert_eq!(quick.try_next(), Some(changed(i % 3)));
            observers.tell(&Event::Presence {
                space: SpaceId::default(),
                device: Default::default(),
                payload: Default::default(),
            });
            assert!(quick.try_next().is_some());
        }
        let mut docs = Vec::new();
        while let Some(event) = slow.try_next() {
            match event {
                Event::DocumentReset { doc } => docs.push(doc),
                Event::Presence { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        docs.sort();
        assert_eq!(docs, [doc(0), doc(1), doc(2)], "once each");
        observers.tell(&changed(0));
        assert_eq!(slow.try_next(), Some(changed(0)), "patches again after the reset was taken");
        observers.end();
        assert_eq!(slow.next_blocking(), None);
        assert_eq!(observers.subscribe(None).next_blocking(), None);
    }

    #[test]
    fn the_queue_stays_bounded_whatever_is_pushed() {
        let observers = Observers::new(16);
        let stream = observers.subscribe(None);
        for i in 0..10_000_u32 {
            observers.tell(&Event::Refused {
                id: Default::default(),
                code: dinh_proto::error::RejectCode::Fork,
                by: crate::replica::Refuser::Device,
                detail: i.to_string(),
            });
            observers.tell(&changed((i % 5) as u8));
            // Five documents, nine refusals, and half of what it may hold.
            assert!(stream.queue.lock().events.len() <= 5 + 9 + 8 + 1);
        }
    }

    #[test]
    fn a_queue_of_more_documents_than_it_holds_is_not_gone_through_at_each_event() {
        let observers = Observers::new(16);
        let stream = observers.subscribe(None);
        for i in 0..1_000_u16 {
            let [high, low] = i.to_be_bytes();
            let mut id = [high; 16];
            id[15] = low;
            observers.tell(&Event::DocumentReset { doc: DocId(id) });
            let waiting = stream.queue.lock();
            assert!(waiting.shrinks_at >= waiting.events.len(), "{i}");
        }
        assert_eq!(stream.queue.lock().events.len(), 1_000, "each is to be read again");
    }
}
