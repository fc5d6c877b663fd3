//! The layer between frames and messages: who the peer is, and (from the next version on) secrecy.
//!
//! Channel kind 0, *clear*: the device's first frame proves its key by a signature that covers what the transport
//! gave both sides (the relay's fresh challenge) and the frame's own bytes, so it can be neither replayed nor
//! changed. It hides nothing: run it inside TLS. Kind 1 is kept for Noise IK, whose two handshake messages carry
//! the same first frames.
//!
//! ```text
//! device's first frame   "DNH" ‖ version u8 ‖ kind u8 ‖ public keys 96 ‖ signature 64 ‖ plain bytes
//! relay's first frame    "DNH" ‖ version u8 ‖ kind u8 ‖ plain bytes
//! every later frame      plain bytes
//! signature over "dinh/chn1\0" ‖ version ‖ kind ‖ challenge 32 ‖ public keys 96 ‖ SHA-256(plain bytes) 32
//! ```

use sha2::{Digest, Sha256};

use crate::codec::{Reader, Write};
use crate::error::{InvalidMessage, PeerIncompatible, PeerMisbehaved, SessionError};
use crate::keys::{DeviceKey, DevicePublic};
use crate::limits;

/// The protocol version of this library.
pub const PROTOCOL_VERSION: u8 = 1;

const MAGIC: [u8; 3] = *b"DNH";
const KIND_CLEAR: u8 = 0;
/// Magic, version, kind, key and signature before the plain bytes of a device's first frame.
const DEVICE_PROLOGUE_BYTES: usize = 3 + 1 + 1 + DevicePublic::BYTES + 64;
const DOMAIN: &[u8] = b"dinh/chn1\0";

/// 32 bytes that the transport gave both ends of this connection and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding(pub [u8; 32]);

#[derive(Debug, Clone)]
enum Role {
    Device(Box<DeviceKey>),
    Relay,
}

/// One end of a channel.
#[derive(Debug, Clone)]
pub struct Channel {
    role: Role,
    binding: Binding,
    sent_first: bool,
    received_first: bool,
    peer: Option<DevicePublic>,
}

impl Channel {
    /// The device's end.
    pub fn device(key: DeviceKey, binding: Binding) -> Self {
        Self::new(Role::Device(Box::new(key)), binding)
    }

    /// The relay's end.
    pub fn relay(binding: Binding) -> Self {
        Self::new(Role::Relay, binding)
    }

    fn new(role: Role, binding: Binding) -> Self {
        Self { role, binding, sent_first: false, received_first: false, peer: None }
    }

    /// The device at the other end, once its first frame was opened. Only the relay's end learns one.
    pub fn peer(&self) -> Option<&DevicePublic> {
        self.peer.as_ref()
    }

    /// How many plain bytes the next frame can take.
    pub fn room(&self) -> usize {
        match self.role {
            Role::Relay => limits::RELAY_FRAME_PLAIN_BYTES,
            Role::Device(_) if self.sent_first => limits::FRAME_PLAIN_BYTES_MAX,
            Role::Device(_) => limits::FRAME_PLAIN_BYTES_MAX - DEVICE_PROLOGUE_BYTES,
        }
    }

    /// Appends one frame that carries `plain` (at most [`Channel::room`] bytes).
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        debug_assert!(plain.len() <= self.room(), "callers ask for room first");
        if !self.sent_first {
            self.sent_first = true;
            out.put_bytes(&MAGIC);
            out.put_bytes(&[PROTOCOL_VERSION, KIND_CLEAR]);
            if let Role::Device(key) = &self.role {
                let public = key.public();
                out.put_bytes(&public.to_bytes());
                out.put_bytes(&key.sign(DOMAIN, &signed_bytes(&self.binding, &public, plain)));
            }
        }
        out.put_bytes(plain);
    }

    /// The plain bytes of a frame.
    ///
    /// # Errors
    /// The channel cannot be used after an error.
    pub fn open<'a>(&mut self, frame: &'a [u8]) -> Result<&'a [u8], SessionError> {
        if frame.len() > limits::FRAME_BYTES_MAX {
            let limit = limits::FRAME_BYTES_MAX as u64;
            return Err(InvalidMessage::TooLarge { what: "frame", limit }.into());
        }
        if self.received_first {
            return Ok(frame);
        }
        let mut r = Reader::new(frame);
        if r.array::<3>("magic")? != MAGIC {
            return Err(InvalidMessage::NotAllowed("magic").into());
        }
        let theirs = r.u8("version")?;
        if theirs != PROTOCOL_VERSION {
            return Err(PeerIncompatible::Version { theirs, ours: PROTOCOL_VERSION }.into());
        }
        let kind = r.u8("channel kind")?;
        if kind != KIND_CLEAR {
            return Err(PeerIncompatible::Channel(kind).into());
        }
        if matches!(self.role, Role::Relay) {
            let public = DevicePublic::from_bytes(&r.array("public key")?)?;
            let signature = r.array("channel signature")?;
            if !public.verify(DOMAIN, &signed_bytes(&self.binding, &public, r.clone().rest()), &signature) {
                return Err(PeerMisbehaved::BadHandshake.into());
            }
            self.peer = Some(public);
        }
        self.received_first = true;
        Ok(r.rest())
    }
}

fn signed_bytes(binding: &Binding, public: &DevicePublic, plain: &[u8]) -> Vec<u8> {
    let mut out = vec![PROTOCOL_VERSION, KIND_CLEAR];
    out.put_bytes(&binding.0);
    out.put_bytes(&public.to_bytes());
    out.put_bytes(&Sha256::digest(plain));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(relay_binding: u8) -> (Channel, Channel) {
        let key = DeviceKey::from_seed(&[1; 32]);
        (Channel::device(key, Binding([1; 32])), Channel::relay(Binding([relay_binding; 32])))
    }

    #[test]
    fn the_relay_learns_who_the_device_is() {
        let (mut device, mut relay) = pair(1);
        let mut frame = Vec::new();
        device.seal(b"hello", &mut frame);
        assert_eq!(relay.open(&frame).unwrap(), b"hello");
        assert_eq!(relay.peer(), Some(&DeviceKey::from_seed(&[1; 32]).public()));
        let mut back = Vec::new();
        relay.seal(b"welcome", &mut back);
        assert_eq!(device.open(&back).unwrap(), b"welcome");
        let mut second = Vec::new();
        device.seal(b"more", &mut second);
        assert_eq!(second, b"more");
        assert_eq!(relay.open(&second).unwrap(), b"more");
    }

    #[test]
    fn a_first_frame_serves_one_connection_only_and_cannot_be_changed() {
        let (mut device, mut relay) = pair(2);
        let mut frame = Vec::new();
        device.seal(b"hello", &mut frame);
        assert_eq!(relay.open(&frame), Err(PeerMisbehaved::BadHandshake.into()));
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(pair(1).1.open(&changed).is_err(), "bit {bit}");
        }
        for n in 0..frame.len() {
            assert!(pair(1).1.open(&frame[..n]).is_err(), "{n}");
        }
    }
}
