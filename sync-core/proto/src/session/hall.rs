use std::collections::VecDeque;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::conversation::Conversation;
use crate::channel::{Binding, Channel};
use crate::error::{CloseCode, PeerMisbehaved, SessionError};
use crate::ids::{DeviceId, Seq};
use crate::keys::DeviceKey;
use crate::limits;
use crate::time::Timestamp;
use crate::wire::{ChainSet, Ephemeral, Items, Message, Scope};

/// What one of two devices that meet without a relay learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HallEvent {
    /// The other end proved that it is this device. Whether it may have anything is for the caller to say.
    Met(DeviceId),
    /// What the other device has of a space; one with `last` ends its account of what it has now.
    Have(ChainSet),
    /// Items came. When they are stored (or refused), call [`HallSession::release`] with `bytes`.
    Items {
        /// The batch.
        items: Vec<Bytes>,
        /// Credit to give back.
        bytes: usize,
    },
    /// The other device's presence.
    Ephemeral(Ephemeral),
    /// The conversation is over; the session is of no more use.
    Closed(SessionError),
}

/// One end of a conversation between two devices. Both ends do the same: each says what it has, and gives what the other
/// lacks. Nothing is acknowledged: what was lost on the way shows in the next account.
#[derive(Debug)]
pub struct HallSession {
    pub(super) conversation: Conversation,
    /// Whoever answers does not know which of its keys the other one uses: the first frame tells.
    candidates: Vec<Channel>,
    met: bool,
    events: VecDeque<HallEvent>,
}

impl HallSession {
    /// Begins a conversation under a key that the other device has too. `seed` is 32 random bytes that serve this connection
    /// alone, `binding` is what the transport gave both ends.
    pub fn dial(key: &DeviceKey, psk: &[u8; 32], binding: Binding, seed: [u8; 32], now: Timestamp) -> Self {
        Self {
            conversation: Conversation::new(Channel::hall(key, psk, binding, seed, true), now),
            candidates: Vec::new(),
            met: false,
            events: VecDeque::new(),
        }
    }

    /// Waits for a conversation under one of several keys; `None` if there is none. Else as [`HallSession::dial`].
    pub fn answer(
        key: &DeviceKey,
        psks: &[Zeroizing<[u8; 32]>],
        binding: Binding,
        seed: [u8; 32],
        now: Timestamp,
    ) -> Option<Self> {
        let mut candidates: Vec<Channel> =
            psks.iter().map(|psk| Channel::hall(key, psk, binding, seed, false)).collect();
        let conversation = Conversation::new(candidates.pop()?, now);
        Some(Self { conversation, candidates, met: false, events: VecDeque::new() })
    }

    /// The other device, once it is met.
    pub fn peer(&self) -> Option<DeviceId> {
        self.conversation.peer().map(|keys| keys.id()).filter(|_| self.met)
    }

    /// Whether one more batch of items may be sent: there is credit, and little waits for the socket.
    pub fn can_send_items(&self) -> bool {
        self.met
            && !self.conversation.has_ended()
            && self.conversation.may_send()
            && self.conversation.queued() < limits::FRAME_PLAIN_BYTES_MAX
    }

    /// Gives items. Call only while [`HallSession::can_send_items`], with at most
    /// [`ITEMS_PER_MESSAGE_MAX`](limits::ITEMS_PER_MESSAGE_MAX) items of about [`MESSAGE_FILL_BYTES`](limits::MESSAGE_FILL_BYTES)
    /// together, or a single one.
    pub fn items(&mut self, items: Vec<Bytes>) {
        let items = items.into_iter().map(|bytes| (Seq(0), bytes)).collect();
        self.conversation.send(&Message::Items(Items { scope: Scope::Wanted, upto: Seq(0), items }));
    }

    /// Says what this device has of a space.
    pub fn have(&mut self, have: ChainSet) {
        self.conversation.send(&Message::Have(have));
    }

    /// Sends presence. Dropped while a frame's worth of bytes waits already: it may be lost.
    pub fn ephemeral(&mut self, message: Ephemeral) {
        if self.met && self.conversation.queued() < limits::FRAME_PLAIN_BYTES_MAX {
            self.conversation.send(&Message::Ephemeral(message));
        }
    }

    /// Gives back the credit of an [`HallEvent::Items`].
    pub fn release(&mut self, bytes: usize) {
        self.conversation.release(bytes);
    }

    /// Ends the conversation.
    pub fn close(&mut self, code: CloseCode) {
        self.conversation.close(code, 0);
    }

    /// Ends the conversation because of what the other device did.
    pub fn fail(&mut self, error: SessionError) {
        self.conversation.fail(error);
    }

    /// The transport may be dead without telling: asks the other device at once.
    pub fn handle_resumed(&mut self, now: Timestamp) {
        self.conversation.probe(now);
    }

    /// Takes a frame in. Errors become [`HallEvent::Closed`].
    pub fn handle_frame(&mut self, now: Timestamp, frame: &[u8]) {
        self.conversation.receive_by_any(now, frame, std::mem::take(&mut self.candidates));
        self.look_who_is_there();
        while let Some((message, bytes)) = self.conversation.next() {
            if let Err(e) = self.handle_message(message, bytes) {
                self.conversation.fail(e);
            }
        }
    }

    fn look_who_is_there(&mut self) {
        if let Some(keys) = self.conversation.peer().filter(|_| !self.met && !self.conversation.has_ended()) {
            self.met = true;
            self.events.push_back(HallEvent::Met(keys.id()));
        }
    }

    fn handle_message(&mut self, message: Message, bytes: usize) -> Result<(), SessionError> {
        self.conversation.greeted();
        let event = match message {
            Message::Have(have) => HallEvent::Have(have),
            Message::Items(Items { scope: Scope::Wanted, upto: Seq(0), items }) => {
                HallEvent::Items { items: items.into_iter().map(|(_, bytes)| bytes).collect(), bytes }
            }
            Message::Ephemeral(message) => HallEvent::Ephemeral(message),
            // Everything else is about a log, and only a relay has one.
            other => return Err(PeerMisbehaved::OutOfTurn(other.name()).into()),
        };
        self.events.push_back(event);
        Ok(())
    }

    /// A timer fired.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.conversation.handle_timeout(now);
    }

    /// Appends one frame to `buf`; false if there is nothing to send. Call when the transport can take more.
    pub fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> bool {
        self.conversation.poll_transmit(buf)
    }

    /// When [`HallSession::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.conversation.poll_timeout()
    }

    /// What happened, in order. [`HallEvent::Closed`] is the last.
    pub fn poll_event(&mut self) -> Option<HallEvent> {
        self.events.pop_front().or_else(|| self.conversation.take_end().map(HallEvent::Closed))
    }
}
