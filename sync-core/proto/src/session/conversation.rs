use std::time::Duration;

use crate::channel::{Channel, write_refusal};
use crate::error::{CloseCode, PeerMisbehaved, SessionError};
use crate::keys::DevicePublic;
use crate::limits;
use crate::time::Timestamp;
use crate::wire::{Message, MessageReader, write_message};

/// Room for what waits that is kept while nothing does. A relay has tens of thousands of conversations, and each of them had something
/// large to say once.
const OUT_BYTES_KEPT: usize = 1_024;

/// What both ends share: framing, credit, liveness, closing.
#[derive(Debug)]
pub(super) struct Conversation {
    channel: Channel,
    reader: MessageReader,
    /// Plain bytes that wait for frames.
    out: Vec<u8>,
    /// A frame in the clear that says why there is no channel: a relay's only words then.
    refusal: Option<Vec<u8>>,
    /// Bytes of `Items` and `Put` that this side may still send; a message may overdraw it once.
    may_send: i64,
    /// Bytes that the peer may still send.
    may_receive: i64,
    /// Bytes taken since the last `Credit`.
    taken: u64,
    last_received: Timestamp,
    ping_sent: bool,
    /// Until when the other side must have greeted.
    greeting_until: Option<Timestamp>,
    /// Silence after which the other side is gone.
    dead_after: Duration,
    /// Set once: nothing is sent after what is in `out`, nothing is received.
    ended: Option<SessionError>,
    told_end: bool,
}

impl Conversation {
    pub(super) fn new(channel: Channel, now: Timestamp) -> Self {
        Self {
            channel,
            reader: MessageReader::default(),
            out: Vec::new(),
            refusal: None,
            may_send: limits::CREDIT_BYTES as i64,
            may_receive: limits::CREDIT_BYTES as i64,
            taken: 0,
            last_received: now,
            ping_sent: false,
            greeting_until: Some(now + limits::HANDSHAKE_TIMEOUT),
            dead_after: limits::DEAD_AFTER,
            ended: None,
            told_end: false,
        }
    }

    /// Other times than the usual ones.
    pub(super) fn set_patience(&mut self, now: Timestamp, greeting: Duration, silence: Duration) {
        self.greeting_until = self.greeting_until.map(|_| now + greeting);
        self.dead_after = silence;
    }

    pub(super) fn peer(&self) -> Option<&DevicePublic> {
        self.channel.peer()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Why the conversation ended: said once.
    pub(super) fn take_end(&mut self) -> Option<SessionError> {
        let error = self.ended.as_ref().filter(|_| !self.told_end)?.clone();
        self.told_end = true;
        Some(error)
    }

    /// The other side said what a conversation begins with.
    pub(super) fn greeted(&mut self) {
        self.greeting_until = None;
    }

    /// Queues a message. Callers bound what they queue by [`Conversation::queued`] and [`Conversation::may_send`].
    pub(super) fn send(&mut self, message: &Message) {
        if self.ended.is_some() {
            return;
        }
        let before = self.out.len();
        write_message(message, &mut self.out);
        if message.uses_credit() {
            self.may_send -= (self.out.len() - before) as i64;
        }
        if self.out.len() > limits::OUTGOING_BYTES_MAX {
            // It would not read the reason either.
            self.out = Vec::new();
            self.ended = Some(PeerMisbehaved::AsksTooMuch.into());
        }
    }

    /// Bytes that wait for frames.
    pub(super) fn queued(&self) -> usize {
        self.out.len()
    }

    /// Whether the peer's credit allows one more message of items.
    pub(super) fn may_send(&self) -> bool {
        self.may_send > 0
    }

    /// Tells the peer that `bytes` of its items were taken (stored, or refused).
    pub(super) fn release(&mut self, bytes: usize) {
        self.taken += bytes as u64;
        self.may_receive += bytes as i64;
        if self.taken >= limits::CREDIT_BYTES / 4 {
            let taken = std::mem::take(&mut self.taken);
            self.send(&Message::Credit(taken));
        }
    }

    /// Takes a frame in. Follow with [`Conversation::next`] until it returns `None`.
    pub(super) fn receive(&mut self, now: Timestamp, frame: &[u8]) {
        if self.ended.is_some() {
            return;
        }
        self.last_received = now;
        self.ping_sent = false;
        match self.channel.open(frame) {
            Ok(plain) => self.reader.push(&plain),
            Err(e) => self.fail(e),
        }
    }

    /// The same. Before the first frame one of `others` may be the channel that it opens: then that one takes over.
    pub(super) fn receive_by_any(&mut self, now: Timestamp, frame: &[u8], others: Vec<Channel>) {
        let mut opened =
            others.into_iter().filter_map(|mut other| other.open(frame).ok().map(|plain| (other, plain)));
        match opened.next().filter(|_| self.ended.is_none()) {
            Some((channel, plain)) => {
                self.last_received = now;
                self.channel = channel;
                self.reader.push(&plain);
            }
            None => self.receive(now, frame),
        }
    }

    /// The next message that is not about the conversation itself, with the bytes to [`release`] for it.
    ///
    /// [`release`]: Conversation::release
    pub(super) fn next(&mut self) -> Option<(Message, usize)> {
        while self.ended.is_none() {
            let (message, body_len) = match self.reader.next_message() {
                Ok(Some(found)) => found,
                Ok(None) => return None,
                Err(e) => {
                    self.fail(e);
                    return None;
                }
            };
            match message {
                Message::Ping => self.send(&Message::Pong),
                Message::Pong => {}
                Message::Credit(bytes) => {
                    let granted = i64::try_from(bytes).unwrap_or(i64::MAX);
                    self.may_send = self.may_send.saturating_add(granted);
                    if self.may_send > limits::CREDIT_BYTES as i64 {
                        self.fail(PeerMisbehaved::OutOfTurn("Credit").into());
                    }
                }
                Message::Close { code, retry_after_ms, detail } => {
                    self.ended = Some(SessionError::ClosedByPeer { code, retry_after_ms, detail });
                }
                message => {
                    let size = body_len + crate::codec::uleb_len(body_len as u64);
                    if message.uses_credit() {
                        if self.may_receive <= 0 {
                            self.fail(PeerMisbehaved::CreditExceeded.into());
                            return None;
                        }
                        self.may_receive -= size as i64;
                    }
                    return Some((message, size));
                }
            }
        }
        None
    }

    /// Ends the conversation and tells the peer why.
    pub(super) fn fail(&mut self, error: SessionError) {
        if let Some(code) = error.close_code() {
            let detail = if code == CloseCode::Normal { String::new() } else { error.to_string() };
            self.close_with(code, 0, detail, error);
        } else if self.ended.is_none() {
            self.ended = Some(error);
            if !self.channel.can_seal() {
                self.out = Vec::new();
            }
        }
    }

    /// Ends the conversation in an orderly way.
    pub(super) fn close(&mut self, code: CloseCode, retry_after_ms: u32) {
        self.close_with(code, retry_after_ms, String::new(), SessionError::ClosedHere(code));
    }

    fn close_with(&mut self, code: CloseCode, retry_after_ms: u32, detail: String, error: SessionError) {
        if self.ended.is_some() {
            return;
        }
        if self.channel.can_seal() {
            self.send(&Message::Close { code, retry_after_ms, detail });
        } else {
            self.out = Vec::new();
            if self.channel.is_relay() {
                write_refusal(code, retry_after_ms, &detail, self.refusal.insert(Vec::new()));
            }
        }
        self.ended = Some(error);
    }

    /// Appends one frame to `buf`; false if there is nothing to send.
    pub(super) fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> bool {
        if let Some(refusal) = self.refusal.take() {
            buf.extend_from_slice(&refusal);
            return true;
        }
        if !self.channel.can_seal() {
            return false;
        }
        // A first message that spans frames goes on only after the answer to the first of them.
        let is_awaited = self.ended.is_none()
            && (self.channel.owes_handshake() || self.channel.owes_first() && self.reader.is_midway());
        if self.out.is_empty() && !is_awaited {
            return false;
        }
        let n = self.out.len().min(self.channel.room());
        self.channel.seal(&self.out[..n], buf);
        self.out.drain(..n);
        if self.out.is_empty() && self.out.capacity() > OUT_BYTES_KEPT {
            self.out = Vec::new();
        }
        true
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        if self.ended.is_some() {
            return None;
        }
        let wait = if self.ping_sent { self.dead_after } else { limits::KEEPALIVE_AFTER };
        let alive = self.last_received + wait;
        Some(self.greeting_until.map_or(alive, |greeting| greeting.min(alive)))
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        if self.ended.is_some() {
            return;
        }
        let silent = now - self.last_received;
        if silent >= self.dead_after || self.greeting_until.is_some_and(|until| until <= now) {
            self.fail(SessionError::TimedOut);
        } else if silent >= limits::KEEPALIVE_AFTER && !self.ping_sent {
            self.ping_sent = true;
            self.send(&Message::Ping);
        }
    }

    /// The transport is suspect (resume from sleep, network change): asks at once whether the peer is there. If
    /// it was silent for too long already, the conversation ends here.
    pub(super) fn probe(&mut self, now: Timestamp) {
        self.handle_timeout(now);
        if self.ended.is_none() && !self.ping_sent {
            self.ping_sent = true;
            self.send(&Message::Ping);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Binding;
    use crate::keys::{DeviceKey, RelayKey};
    use crate::wire::{Put, PutItem};

    #[test]
    fn the_room_of_something_large_is_given_back_once_it_is_sent() {
        let (device, relay) = (DeviceKey::from_seed(&[1; 32]), RelayKey::from_seed(&[2; 32]).public());
        let channel = Channel::device(&device, &relay, Binding([3; 32]), [4; 32]);
        let mut conversation = Conversation::new(channel, Timestamp(0));
        let items = vec![PutItem { bridged: false, bytes: vec![5; 40_000].into() }];
        conversation.send(&Message::Put(Put { items }));
        assert!(conversation.out.capacity() >= 40_000);
        assert!(conversation.poll_transmit(&mut Vec::new()));
        assert_eq!(conversation.queued(), 0);
        assert!(conversation.out.capacity() <= OUT_BYTES_KEPT);
    }
}
