//! The messages of the protocol and their bytes.
//!
//! A message is `length ‖ type ‖ body` in the plain byte stream of a channel; messages may share a frame or span
//! frames. A type of 0x80 or above that is not known is skipped; any other unknown type closes the connection.
//! `docs/PROTOCOL.md` has the tables.

mod message;

pub use message::{
    Ack, CaughtUp, ChainSet, Ephemeral, Fetch, Hello, Items, Message, Put, PutItem, Reject, Scope, Welcome,
};

pub(crate) use message::{get_close, put_close};

use bytes::{Buf, Bytes, BytesMut};

use crate::codec::{Write, uleb_len};
use crate::error::{InvalidMessage, PeerIncompatible, SessionError};
use crate::limits;

/// Types from here on may be skipped by who does not know them.
pub const SKIPPABLE_FROM: u8 = 0x80;

/// Appends a message to a plain stream.
pub fn write_message(message: &Message, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    message.encode(&mut body);
    debug_assert!(body.len() <= limits::MESSAGE_BYTES_MAX, "callers keep messages within the limit");
    out.put_uleb(body.len() as u64);
    out.put_bytes(&body);
}

/// Cuts a plain stream, arriving in pieces of any size, into messages.
#[derive(Debug, Default)]
pub struct MessageReader {
    buffer: BytesMut,
}

impl MessageReader {
    /// Adds bytes in order. The buffer never holds more than one message and one frame.
    pub fn push(&mut self, plain: &[u8]) {
        self.buffer.extend_from_slice(plain);
    }

    /// Whether a message has begun that is not whole yet.
    pub fn is_midway(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next whole message with its size on the wire, or `None` until more bytes come.
    ///
    /// # Errors
    /// The stream cannot be read on after an error.
    pub fn next_message(&mut self) -> Result<Option<(Message, usize)>, SessionError> {
        loop {
            let mut r = crate::codec::Reader::new(&self.buffer);
            let len = match r.uleb_max(limits::MESSAGE_BYTES_MAX as u64, "message length") {
                Ok(len) => len as usize,
                Err(InvalidMessage::Truncated(_)) => return Ok(None),
                Err(e) => return Err(e.into()),
            };
            let prefix = uleb_len(len as u64);
            if self.buffer.len() < prefix + len {
                return Ok(None);
            }
            self.buffer.advance(prefix);
            let body: Bytes = self.buffer.split_to(len).freeze();
            match Message::decode(&body)? {
                Some(message) => return Ok(Some((message, len))),
                None if body[0] >= SKIPPABLE_FROM => {}
                None => return Err(PeerIncompatible::MessageType(body[0]).into()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
