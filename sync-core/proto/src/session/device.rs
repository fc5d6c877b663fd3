use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::conversation::Conversation;
use crate::channel::{Binding, Channel};
use crate::error::{CloseCode, PeerMisbehaved, RejectCode, SessionError};
use crate::ids::{ItemId, LogEpoch, Seq, SpaceId};
use crate::keys::{DeviceKey, RelayPublic};
use crate::limits;
use crate::time::Timestamp;
use crate::wire::{CaughtUp, ChainSet, Ephemeral, Fetch, Hello, Items, Message, Put, PutItem, Welcome};

/// What the device's end of a conversation learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceEvent {
    /// The relay answered. If `reconcile` is set the cursor was of no use and `Have`s follow.
    Welcomed(Welcome),
    /// Items came. When they are stored (or refused), call [`DeviceSession::release`] with `bytes`.
    Items {
        /// The batch.
        items: Items,
        /// Credit to give back.
        bytes: usize,
    },
    /// Everything up to a place was sent.
    CaughtUp(CaughtUp),
    /// This item is durable at the relay, at this place.
    Acked {
        /// Which.
        id: ItemId,
        /// Where.
        seq: Seq,
    },
    /// This item was refused.
    Rejected {
        /// Which.
        id: ItemId,
        /// Why.
        code: RejectCode,
        /// For logs.
        detail: String,
    },
    /// What the relay has of a space.
    Have(ChainSet),
    /// Another device's presence.
    Ephemeral(Ephemeral),
    /// The conversation is over; the session is of no more use.
    Closed(SessionError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `Hello` is out.
    Greeting,
    /// `Welcome` came; items flow.
    Flowing,
}

/// The device's end of a conversation with a relay.
#[derive(Debug)]
pub struct DeviceSession {
    conversation: Conversation,
    state: State,
    /// Ids of unanswered puts with their numbers, in order of number.
    puts: VecDeque<(u64, ItemId)>,
    /// Items that wait to share a `Put`.
    batch: Vec<PutItem>,
    batch_bytes: usize,
    next_put: u64,
    /// Goes before the first `Put`.
    permit: Option<Bytes>,
    cursor: Seq,
    epoch: LogEpoch,
    backfills: BTreeSet<SpaceId>,
    events: VecDeque<DeviceEvent>,
}

impl DeviceSession {
    /// Begins a conversation: the first frame carries `hello`.
    ///
    /// `relay` is the key that the relay must prove. `seed` is 32 random bytes that serve this connection alone.
    pub fn new(
        key: &DeviceKey,
        relay: &RelayPublic,
        binding: Binding,
        seed: [u8; 32],
        hello: Hello,
        now: Timestamp,
    ) -> Self {
        let mut conversation = Conversation::new(Channel::device(key, relay, binding, seed), now);
        let cursor = hello.cursor.map_or(Seq(0), |c| c.seq);
        let backfills = hello.backfills.iter().map(|f| f.space).collect();
        conversation.send(&Message::Hello(hello));
        Self {
            conversation,
            state: State::Greeting,
            puts: VecDeque::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            next_put: 0,
            permit: None,
            cursor,
            epoch: LogEpoch::default(),
            backfills,
            events: VecDeque::new(),
        }
    }

    /// A permit to found branches with, which is shown before the first item is offered.
    pub fn set_permit(&mut self, permit: Option<Bytes>) {
        self.permit = permit;
    }

    /// Bytes of messages that wait for frames.
    pub fn outgoing_bytes(&self) -> usize {
        self.conversation.queued()
    }

    /// Whether `Welcome` came.
    pub fn is_flowing(&self) -> bool {
        self.state == State::Flowing && !self.conversation.has_ended()
    }

    /// The epoch that cursors of this conversation are labelled with.
    pub fn epoch(&self) -> LogEpoch {
        self.epoch
    }

    /// Whether one more item may be given to [`DeviceSession::put`] now.
    pub fn can_put(&self) -> bool {
        self.is_flowing()
            && self.conversation.may_send()
            && self.puts.len() < limits::PUTS_UNANSWERED_MAX
            && self.conversation.queued() + self.batch_bytes < 2 * limits::FRAME_PLAIN_BYTES_MAX
    }

    /// Offers an item to the relay. Call only while [`DeviceSession::can_put`].
    pub fn put(&mut self, id: ItemId, bytes: Bytes, bridged: bool) {
        self.puts.push_back((self.next_put, id));
        self.next_put += 1;
        // An item that does not fit beside those before it goes into a message of its own: the largest item
        // fills one nearly.
        if self.batch_bytes + bytes.len() > limits::MESSAGE_FILL_BYTES {
            self.flush_puts();
        }
        self.batch_bytes += bytes.len();
        self.batch.push(PutItem { bridged, bytes });
        if self.batch_bytes >= limits::MESSAGE_FILL_BYTES || self.batch.len() == limits::ITEMS_PER_MESSAGE_MAX
        {
            self.flush_puts();
        }
    }

    /// Sends what waits, if there is credit.
    fn flush_puts(&mut self) {
        if !self.batch.is_empty() && self.conversation.may_send() {
            self.batch_bytes = 0;
            if let Some(permit) = self.permit.take() {
                self.conversation.send(&Message::Permit(permit));
            }
            let items = std::mem::take(&mut self.batch);
            self.conversation.send(&Message::Put(Put { items }));
        }
    }

    /// Gives back the credit of an [`DeviceEvent::Items`].
    pub fn release(&mut self, bytes: usize) {
        self.conversation.release(bytes);
    }

    /// Asks for items that a `Have` named.
    pub fn want(&mut self, want: ChainSet) {
        self.conversation.send(&Message::Want(want));
    }

    /// Asks for a newly granted space.
    pub fn fetch(&mut self, fetch: Fetch) {
        self.backfills.insert(fetch.space);
        self.conversation.send(&Message::Fetch(fetch));
    }

    /// Asks for `Have` of these spaces.
    pub fn reconcile(&mut self, spaces: Vec<SpaceId>) {
        self.conversation.send(&Message::Reconcile(spaces));
    }

    /// Sends presence. Dropped while a frame's worth of bytes waits already: it may be lost.
    pub fn ephemeral(&mut self, message: Ephemeral) {
        if self.is_flowing() && self.conversation.queued() < limits::FRAME_PLAIN_BYTES_MAX {
            self.conversation.send(&Message::Ephemeral(message));
        }
    }

    /// Ends the conversation.
    pub fn close(&mut self, code: CloseCode) {
        self.conversation.close(code, 0);
    }

    /// The transport may be dead without telling: asks the relay at once.
    pub fn handle_resumed(&mut self, now: Timestamp) {
        self.conversation.probe(now);
    }

    /// Takes a frame in. Errors become [`DeviceEvent::Closed`].
    pub fn handle_frame(&mut self, now: Timestamp, frame: &[u8]) {
        self.conversation.receive(now, frame);
        while let Some((message, bytes)) = self.conversation.next() {
            if let Err(e) = self.handle_message(message, bytes) {
                self.conversation.fail(e);
            }
        }
    }

    fn handle_message(&mut self, message: Message, bytes: usize) -> Result<(), SessionError> {
        let name = message.name();
        let out_of_turn = Err(PeerMisbehaved::OutOfTurn(name).into());
        match (self.state, message) {
            (State::Greeting, Message::Welcome(welcome)) => {
                self.state = State::Flowing;
                self.conversation.greeted();
                self.epoch = welcome.epoch;
                if welcome.reconcile {
                    self.cursor = welcome.head;
                }
                self.events.push_back(DeviceEvent::Welcomed(welcome));
                Ok(())
            }
            (State::Greeting, _) => out_of_turn,
            (State::Flowing, message) => match message {
                Message::Items(items) => {
                    self.check_scope(&items)?;
                    self.events.push_back(DeviceEvent::Items { items, bytes });
                    Ok(())
                }
                Message::CaughtUp(caught_up) => {
                    if caught_up.seq < self.cursor {
                        return Err(PeerMisbehaved::BadCursor.into());
                    }
                    self.cursor = caught_up.seq;
                    self.events.push_back(DeviceEvent::CaughtUp(caught_up));
                    Ok(())
                }
                Message::Ack(ack) => {
                    for (number, seq) in ack.puts {
                        let id = self.answer(number)?;
                        self.events.push_back(DeviceEvent::Acked { id, seq });
                    }
                    Ok(())
                }
                Message::Reject(reject) => {
                    let id = self.answer(reject.number)?;
                    self.events.push_back(if reject.code == RejectCode::Duplicate {
                        DeviceEvent::Acked { id, seq: reject.seq }
                    } else {
                        DeviceEvent::Rejected { id, code: reject.code, detail: reject.detail }
                    });
                    Ok(())
                }
                Message::Have(have) => {
                    self.events.push_back(DeviceEvent::Have(have));
                    Ok(())
                }
                Message::Ephemeral(message) => {
                    self.events.push_back(DeviceEvent::Ephemeral(message));
                    Ok(())
                }
                Message::Hello(_)
                | Message::Welcome(_)
                | Message::Put(_)
                | Message::Want(_)
                | Message::Fetch(_)
                | Message::Reconcile(_)
                | Message::Credit(_)
                | Message::Ping
                | Message::Pong
                | Message::Permit(_)
                | Message::Close { .. } => out_of_turn,
            },
        }
    }

    fn check_scope(&mut self, items: &Items) -> Result<(), PeerMisbehaved> {
        use crate::wire::Scope;
        match items.scope {
            Scope::Log => {
                let repeats = items.items.first().is_some_and(|(first, _)| *first <= self.cursor);
                if items.upto < self.cursor || repeats {
                    return Err(PeerMisbehaved::BadCursor);
                }
                self.cursor = items.upto;
            }
            Scope::Backfill(space) if !self.backfills.contains(&space) => {
                return Err(PeerMisbehaved::OutOfTurn("Items of a backfill"));
            }
            Scope::Backfill(_) | Scope::Wanted => {}
        }
        Ok(())
    }

    fn answer(&mut self, number: u64) -> Result<ItemId, SessionError> {
        let index =
            self.puts.binary_search_by_key(&number, |(n, _)| *n).map_err(|_| PeerMisbehaved::BadAck)?;
        self.puts.remove(index).map(|(_, id)| id).ok_or_else(|| PeerMisbehaved::BadAck.into())
    }

    /// A timer fired.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.conversation.handle_timeout(now);
    }

    /// Appends one frame to `buf`; false if there is nothing to send. Call when the transport can take more.
    pub fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> bool {
        self.flush_puts();
        self.conversation.poll_transmit(buf)
    }

    /// When [`DeviceSession::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.conversation.poll_timeout()
    }

    /// What happened, in order. [`DeviceEvent::Closed`] is the last.
    pub fn poll_event(&mut self) -> Option<DeviceEvent> {
        self.events.pop_front().or_else(|| self.conversation.take_end().map(DeviceEvent::Closed))
    }
}
