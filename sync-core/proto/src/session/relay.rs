use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::conversation::Conversation;
use crate::channel::{Binding, Channel};
use crate::error::{CloseCode, PeerMisbehaved, RejectCode, SessionError};
use crate::ids::{DeviceId, ItemId, Seq, SpaceId};
use crate::keys::RelayKey;
use crate::limits;
use crate::time::Timestamp;
use crate::wire::{
    Ack, CaughtUp, ChainSet, Ephemeral, Fetch, Hello, Items, Message, PutItem, Reject, Welcome,
};

/// What the relay's end of a conversation learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayEvent {
    /// The device proved its key and said hello. Answer with [`RelaySession::welcome`].
    Hello {
        /// Who it is.
        device: DeviceId,
        /// What it said.
        hello: Hello,
    },
    /// Items to store, numbered from `first`. Answer each with an ack or a reject, and release `bytes`.
    Put {
        /// Number of the first.
        first: u64,
        /// The items.
        items: Vec<PutItem>,
        /// Credit to give back.
        bytes: usize,
    },
    /// Items that the device asks for by counter.
    Want(ChainSet),
    /// A space that the device asks for by place.
    Fetch(Fetch),
    /// Spaces whose `Have` the device asks for; none means all.
    Reconcile(Vec<SpaceId>),
    /// A permit to found a branch, as it came.
    Permit(Bytes),
    /// Presence to pass on.
    Ephemeral(Ephemeral),
    /// The conversation is over.
    Closed(SessionError),
}

/// The relay's end of a conversation with one device.
#[derive(Debug)]
pub struct RelaySession {
    conversation: Conversation,
    greeted: bool,
    welcomed: bool,
    next_put: u64,
    acks: Vec<(u64, Seq)>,
    events: VecDeque<RelayEvent>,
}

impl RelaySession {
    /// Waits for the device's first frame. `seed` is 32 random bytes that serve this connection alone.
    pub fn new(key: &RelayKey, binding: Binding, seed: [u8; 32], now: Timestamp) -> Self {
        Self {
            conversation: Conversation::new(Channel::relay(key, binding, seed), now),
            greeted: false,
            welcomed: false,
            next_put: 0,
            acks: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Other times than the usual ones: in which the device must have greeted, and of silence after which it is gone.
    pub fn set_patience(&mut self, now: Timestamp, greeting: Duration, silence: Duration) {
        self.conversation.set_patience(now, greeting, silence);
    }

    /// Bytes of messages that wait for frames.
    pub fn outgoing_bytes(&self) -> usize {
        self.conversation.queued()
    }

    /// Whether [`RelaySession::welcome`] was called and the conversation goes on.
    pub fn is_flowing(&self) -> bool {
        self.welcomed && !self.conversation.has_ended()
    }

    /// Whether the conversation is over.
    pub fn is_ended(&self) -> bool {
        self.conversation.has_ended()
    }

    /// Whether one more batch of items may be sent: there is credit, and little waits for the socket.
    pub fn can_send_items(&self) -> bool {
        self.is_flowing()
            && self.conversation.may_send()
            && self.conversation.queued() < limits::FRAME_PLAIN_BYTES_MAX
    }

    /// Answers `Hello`.
    pub fn welcome(&mut self, welcome: Welcome) {
        self.welcomed = true;
        self.conversation.send(&Message::Welcome(welcome));
    }

    /// Sends a batch. Call only while [`RelaySession::can_send_items`].
    pub fn items(&mut self, items: Items) {
        self.flush_acks();
        self.conversation.send(&Message::Items(items));
    }

    /// Everything up to a place was sent.
    pub fn caught_up(&mut self, message: CaughtUp) {
        self.flush_acks();
        self.conversation.send(&Message::CaughtUp(message));
    }

    /// Put `number` is durable. Acks of one wake-up share a message.
    pub fn ack(&mut self, number: u64, seq: Seq) {
        self.acks.push((number, seq));
    }

    /// Makes a message of the acks so far: what is sent from now on comes after them.
    pub fn flush_acks(&mut self) {
        let mut puts = std::mem::take(&mut self.acks);
        puts.sort_unstable();
        for puts in puts.chunks(limits::PUTS_UNANSWERED_MAX) {
            self.conversation.send(&Message::Ack(Ack { puts: puts.to_vec() }));
        }
    }

    /// Put `number` is refused.
    pub fn reject(&mut self, number: u64, id: ItemId, code: RejectCode, seq: Seq, detail: &str) {
        self.conversation.send(&Message::Reject(Reject { number, id, code, seq, detail: detail.to_owned() }));
    }

    /// Says what the relay has.
    pub fn have(&mut self, have: ChainSet) {
        self.conversation.send(&Message::Have(have));
    }

    /// Passes presence on; dropped if much waits already.
    pub fn ephemeral(&mut self, message: Ephemeral) {
        if self.is_flowing() && self.conversation.queued() < limits::FRAME_PLAIN_BYTES_MAX {
            self.conversation.send(&Message::Ephemeral(message));
        }
    }

    /// Gives back the credit of a [`RelayEvent::Put`].
    pub fn release(&mut self, bytes: usize) {
        self.conversation.release(bytes);
    }

    /// Ends the conversation.
    pub fn close(&mut self, code: CloseCode, retry_after_ms: u32) {
        self.flush_acks();
        self.conversation.close(code, retry_after_ms);
    }

    /// Ends the conversation because of what the device did.
    pub fn fail(&mut self, error: SessionError) {
        self.conversation.fail(error);
    }

    /// Takes a frame in. Errors become [`RelayEvent::Closed`].
    pub fn handle_frame(&mut self, now: Timestamp, frame: &Bytes) {
        self.conversation.receive(now, frame);
        while let Some((message, bytes)) = self.conversation.next() {
            if let Err(e) = self.handle_message(message, bytes) {
                self.conversation.fail(e);
            }
        }
    }

    fn handle_message(&mut self, message: Message, bytes: usize) -> Result<(), SessionError> {
        let out_of_turn = PeerMisbehaved::OutOfTurn(message.name());
        if !self.greeted {
            let Message::Hello(hello) = message else { return Err(out_of_turn.into()) };
            let device = self.conversation.peer().ok_or(SessionError::BadHandshake)?.id();
            self.greeted = true;
            self.conversation.greeted();
            self.events.push_back(RelayEvent::Hello { device, hello });
            return Ok(());
        }
        // Only a device that read this connection's Welcome may change anything.
        if !self.welcomed {
            return Err(out_of_turn.into());
        }
        let event = match message {
            Message::Put(put) => {
                let first = self.next_put;
                self.next_put += put.items.len() as u64;
                RelayEvent::Put { first, items: put.items, bytes }
            }
            Message::Want(want) => RelayEvent::Want(want),
            Message::Fetch(fetch) => RelayEvent::Fetch(fetch),
            Message::Reconcile(spaces) => RelayEvent::Reconcile(spaces),
            Message::Ephemeral(message) => RelayEvent::Ephemeral(message),
            Message::Permit(permit) => RelayEvent::Permit(permit),
            Message::Hello(_)
            | Message::Welcome(_)
            | Message::Items(_)
            | Message::CaughtUp(_)
            | Message::Ack(_)
            | Message::Reject(_)
            | Message::Have(_)
            | Message::Credit(_)
            | Message::Ping
            | Message::Pong
            | Message::Close { .. } => return Err(out_of_turn.into()),
        };
        self.events.push_back(event);
        Ok(())
    }

    /// A timer fired.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.conversation.handle_timeout(now);
    }

    /// Appends one frame to `buf`; false if there is nothing to send.
    pub fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> bool {
        self.flush_acks();
        self.conversation.poll_transmit(buf)
    }

    /// When [`RelaySession::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.conversation.poll_timeout()
    }

    /// What happened, in order. [`RelayEvent::Closed`] is the last.
    pub fn poll_event(&mut self) -> Option<RelayEvent> {
        self.events.pop_front().or_else(|| self.conversation.take_end().map(RelayEvent::Closed))
    }
}
