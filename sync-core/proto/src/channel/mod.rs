//! The layer between frames and messages: who is at the other end, and secrecy.
//!
//! Channel kind 1 is [Noise](https://noiseprotocol.org/noise.html) IK: the device has pinned the relay's key and shows
//! its own in the first message, under encryption. The two handshake messages carry the first plain bytes of each side,
//! so a conversation begins in one round trip.
//!
//! Channel kind 2 is Noise XXpsk0 between two devices that meet without a relay: the secret that they share is one of a space
//! that both read ([`SpaceKey::hall_psk`](crate::crypto::SpaceKey::hall_psk)), so a stranger's first message already does not open, and neither shows
//! who it is to somebody without that secret. What it may then read is the charter's answer, as anywhere.
//!
//! ```text
//! prologue               "dinh/noise1\0" ‖ version u8 ‖ kind u8 ‖ challenge 32
//! device's first frame   "DNH" ‖ version u8 ‖ kind u8 ‖ Noise message 1 (signing key 32 ‖ wrap key 32 ‖ plain bytes)
//! relay's first frame    "DNH" ‖ version u8 ‖ kind u8 ‖ Noise message 2 (plain bytes)
//! every later frame      Noise transport message (plain bytes)
//!
//! hall, initiator        "DNH" ‖ version u8 ‖ kind u8 ‖ Noise message 1 (nothing)
//! hall, responder        "DNH" ‖ version u8 ‖ kind u8 ‖ Noise message 2 (signing key 32 ‖ wrap key 32)
//! hall, initiator        "DNH" ‖ version u8 ‖ kind u8 ‖ Noise message 3 (signing key 32 ‖ wrap key 32 ‖ plain bytes)
//! every later frame      as above
//!
//! refusal, in the clear  "DNH" ‖ version u8 ‖ 0xff ‖ close code u8 ‖ retry after u32 ‖ detail
//! ```
//!
//! The relay knows the device by the hash of its three keys. It has the channel key from the handshake, which proves it;
//! the other two are said under that proof, and who shows a set of keys that hashes to an id and proves one of them is that
//! device ([`keys`](crate::keys)).
//!
//! The challenge is fresh for each connection: a recorded first frame opens nowhere else. It can be replayed on the *same*
//! connection only, where it is no first frame any more.

mod noise;
#[cfg(test)]
mod tests;

use snow::{HandshakeState, TransportState};

use crate::codec::{Reader, Write};
use crate::error::{CloseCode, InvalidMessage, PeerIncompatible, PeerMisbehaved, SessionError};
use crate::keys::{DeviceKey, DevicePublic, RelayKey, RelayPublic, SignPublic};
use crate::limits;
use crate::wire::{get_close, put_close};

/// The protocol version of this library.
pub const PROTOCOL_VERSION: u8 = 1;

const MAGIC: [u8; 3] = *b"DNH";
/// Noise IK to a relay.
const KIND_RELAY: u8 = 1;
/// Noise XXpsk0 between two devices.
const KIND_HALL: u8 = 2;
/// Not a channel: why there will be none.
const KIND_REFUSAL: u8 = 0xff;
/// Magic, version and kind, before the handshake messages.
const HEADER_BYTES: usize = MAGIC.len() + 1 + 1;
/// Signing and wrap key, before the plain bytes of the device's first frame.
const KEYS_BYTES: usize = 64;
const PROLOGUE_DOMAIN: &[u8] = b"dinh/noise1\0";

/// 32 bytes that the transport gave both ends of this connection and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding(pub [u8; 32]);

#[derive(Debug)]
enum State {
    Handshake(Box<HandshakeState>),
    Transport(Box<TransportState>),
    /// The handshake failed: nothing can be sealed or opened.
    Failed,
}

/// What a device says of itself in its first frame, and nothing for a relay.
#[derive(Debug)]
enum Role {
    Device {
        keys: [u8; KEYS_BYTES],
    },
    Relay,
    /// One of two devices.
    Hall {
        keys: [u8; KEYS_BYTES],
        initiates: bool,
    },
}

/// One end of a channel.
#[derive(Debug)]
pub struct Channel {
    role: Role,
    state: State,
    peer: Option<DevicePublic>,
}

impl Channel {
    /// The device's end, to the relay whose key it has pinned. `seed` is 32 random bytes that serve this connection
    /// alone: the ephemeral key comes from it.
    pub fn device(key: &DeviceKey, relay: &RelayPublic, binding: Binding, seed: [u8; 32]) -> Self {
        let prologue = prologue(KIND_RELAY, &binding);
        let handshake = noise::initiator(&key.channel_secret(), relay.as_bytes(), &prologue, seed);
        let keys = shown_keys(key);
        Self { role: Role::Device { keys }, state: State::Handshake(Box::new(handshake)), peer: None }
    }

    /// The relay's end. `seed` as for [`Channel::device`].
    pub fn relay(key: &RelayKey, binding: Binding, seed: [u8; 32]) -> Self {
        let handshake = noise::responder(&key.secret(), &prologue(KIND_RELAY, &binding), seed);
        Self { role: Role::Relay, state: State::Handshake(Box::new(handshake)), peer: None }
    }

    /// A device's end to another device that has the same `psk`; one of the two initiates. `seed` as for
    /// [`Channel::device`]. Whether the other one may have anything the caller asks the charter, by [`Channel::peer`].
    pub fn hall(key: &DeviceKey, psk: &[u8; 32], binding: Binding, seed: [u8; 32], initiates: bool) -> Self {
        let prologue = prologue(KIND_HALL, &binding);
        let handshake = noise::hall(&key.channel_secret(), psk, &prologue, seed, initiates);
        let role = Role::Hall { keys: shown_keys(key), initiates };
        Self { role, state: State::Handshake(Box::new(handshake)), peer: None }
    }

    /// The device at the other end, once the frame that shows its keys was opened. A device's end to a relay learns none.
    pub fn peer(&self) -> Option<&DevicePublic> {
        self.peer.as_ref()
    }

    /// Whether this is the relay's end.
    pub fn is_relay(&self) -> bool {
        matches!(self.role, Role::Relay)
    }

    /// Whether a frame may be sealed now: a device says one thing and then waits for the relay's first frame, a relay
    /// says nothing before the device's.
    pub fn can_seal(&self) -> bool {
        match &self.state {
            State::Handshake(handshake) => handshake.is_my_turn(),
            State::Transport(_) => true,
            State::Failed => false,
        }
    }

    /// Whether the device waits for this end's first frame before it can say more.
    pub fn owes_first(&self) -> bool {
        matches!((&self.role, &self.state), (Role::Relay, State::Handshake(h)) if h.is_my_turn())
    }

    /// Whether the other device waits for this end's part of the handshake, with or without anything to say in it.
    pub fn owes_handshake(&self) -> bool {
        matches!((&self.role, &self.state), (Role::Hall { .. }, State::Handshake(h)) if h.is_my_turn())
    }

    /// How many plain bytes the next frame can take.
    pub fn room(&self) -> usize {
        match (&self.role, &self.state) {
            // Before the initiator's second frame one end does not know who the other is.
            (Role::Hall { initiates: true, .. }, State::Handshake(handshake)) if knows_peer(handshake) => {
                limits::FIRST_FRAME_PLAIN_BYTES_MAX
            }
            (Role::Hall { .. }, State::Handshake(_)) => 0,
            (Role::Hall { .. }, _) => limits::FRAME_PLAIN_BYTES_MAX,
            (Role::Relay, _) => limits::RELAY_FRAME_PLAIN_BYTES,
            (Role::Device { .. }, State::Handshake(_)) => limits::FIRST_FRAME_PLAIN_BYTES_MAX,
            (Role::Device { .. }, _) => limits::FRAME_PLAIN_BYTES_MAX,
        }
    }

    /// Appends one frame that carries `plain`.
    ///
    /// # Panics
    /// If not [`Channel::can_seal`], or `plain` is longer than [`Channel::room`].
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        assert!(self.can_seal() && plain.len() <= self.room(), "callers ask first");
        match &mut self.state {
            State::Handshake(handshake) => {
                put_header(self.role.kind(), out);
                match &self.role {
                    Role::Device { keys } => {
                        noise::write_handshake(handshake, &[&keys[..], plain].concat(), out);
                    }
                    Role::Relay => noise::write_handshake(handshake, plain, out),
                    Role::Hall { initiates: true, .. } if !knows_peer(handshake) => {
                        noise::write_handshake(handshake, &[], out);
                    }
                    Role::Hall { keys, .. } => {
                        noise::write_handshake(handshake, &[&keys[..], plain].concat(), out);
                    }
                }
                self.finish_handshake();
            }
            State::Transport(transport) => noise::write_transport(transport, plain, out),
            State::Failed => {}
        }
    }

    /// The plain bytes of a frame.
    ///
    /// # Errors
    /// Nothing can be opened after an error. What was sealed may still be opened by the other end, if the handshake is
    /// over: [`Channel::can_seal`] says so.
    pub fn open(&mut self, frame: &[u8]) -> Result<Vec<u8>, SessionError> {
        if frame.len() > limits::FRAME_BYTES_MAX {
            let limit = limits::FRAME_BYTES_MAX as u64;
            self.fail_handshake();
            return Err(InvalidMessage::TooLarge { what: "frame", limit }.into());
        }
        match &mut self.state {
            State::Transport(transport) => {
                noise::read_transport(transport, frame).ok_or_else(|| PeerMisbehaved::BadFrame.into())
            }
            State::Handshake(_) => {
                let opened = self.open_first(frame);
                match opened {
                    Ok(_) => self.finish_handshake(),
                    Err(_) => self.fail_handshake(),
                }
                opened
            }
            State::Failed => Err(SessionError::BadHandshake),
        }
    }

    fn open_first(&mut self, frame: &[u8]) -> Result<Vec<u8>, SessionError> {
        let mut r = Reader::new(frame);
        if r.array::<3>("magic")? != MAGIC {
            return Err(InvalidMessage::NotAllowed("magic").into());
        }
        let theirs = r.u8("version")?;
        let kind = r.u8("channel kind")?;
        let is_device = matches!(self.role, Role::Device { .. });
        if kind == KIND_REFUSAL && is_device {
            // The form of a refusal is the same in every version: it must be understood by who speaks another.
            return Err(read_refusal(r)?);
        }
        if theirs != PROTOCOL_VERSION {
            return Err(PeerIncompatible::Version { theirs, ours: PROTOCOL_VERSION }.into());
        }
        if kind != self.role.kind() {
            return Err(PeerIncompatible::Channel(kind).into());
        }
        let State::Handshake(handshake) = &mut self.state else {
            return Err(SessionError::BadHandshake);
        };
        if handshake.is_my_turn() {
            return Err(PeerMisbehaved::OutOfTurn("a first frame").into());
        }
        let payload = noise::read_handshake(handshake, r.rest()).ok_or(SessionError::BadHandshake)?;
        match &self.role {
            Role::Device { .. } => return Ok(payload),
            // The initiator's greeting, in which there is nothing to read.
            Role::Hall { initiates: false, .. } if !knows_peer(handshake) => {
                if payload.is_empty() {
                    return Ok(payload);
                }
                return Err(PeerMisbehaved::BadFrame.into());
            }
            Role::Hall { .. } | Role::Relay => {}
        }
        let channel = noise::remote_static(handshake).ok_or(SessionError::BadHandshake)?;
        let mut r = Reader::new(&payload);
        let signing = SignPublic::from_bytes(&r.array("signing key")?)?;
        let wrap = r.array("wrap key")?;
        self.peer = Some(DevicePublic::from_parts(signing, channel, wrap)?);
        Ok(r.rest().to_vec())
    }

    fn finish_handshake(&mut self) {
        if matches!(&self.state, State::Handshake(h) if h.is_handshake_finished())
            && let State::Handshake(handshake) = std::mem::replace(&mut self.state, State::Failed)
            && let Some(transport) = noise::into_transport(*handshake)
        {
            self.state = State::Transport(Box::new(transport));
        }
    }

    fn fail_handshake(&mut self) {
        if matches!(self.state, State::Handshake(_)) {
            self.state = State::Failed;
        }
    }
}

/// Appends the frame by which a relay says, in the clear, why it will not talk: the channel could not be opened. Nobody
/// can know whether it was the relay that said it.
pub fn write_refusal(code: CloseCode, retry_after_ms: u32, detail: &str, out: &mut Vec<u8>) {
    put_header(KIND_REFUSAL, out);
    put_close(out, code, retry_after_ms, detail);
}

fn read_refusal(mut r: Reader<'_>) -> Result<SessionError, InvalidMessage> {
    let (code, retry_after_ms, detail) = get_close(&mut r)?;
    r.finish("a refusal")?;
    Ok(SessionError::ClosedByPeer { code, retry_after_ms, detail })
}

impl Role {
    const fn kind(&self) -> u8 {
        match self {
            Self::Device { .. } | Self::Relay => KIND_RELAY,
            Self::Hall { .. } => KIND_HALL,
        }
    }
}

/// Whether the other end has shown its channel key.
fn knows_peer(handshake: &HandshakeState) -> bool {
    noise::remote_static(handshake).is_some()
}

/// What a device shows of itself under its channel key.
fn shown_keys(key: &DeviceKey) -> [u8; KEYS_BYTES] {
    let public = key.public();
    let mut keys = [0; KEYS_BYTES];
    keys[..32].copy_from_slice(public.signing().as_bytes());
    keys[32..].copy_from_slice(public.wrap());
    keys
}

fn put_header(kind: u8, out: &mut Vec<u8>) {
    out.put_bytes(&MAGIC);
    out.put_bytes(&[PROTOCOL_VERSION, kind]);
}

fn prologue(kind: u8, binding: &Binding) -> Vec<u8> {
    let mut out = PROLOGUE_DOMAIN.to_vec();
    out.put_bytes(&[PROTOCOL_VERSION, kind]);
    out.put_bytes(&binding.0);
    out
}

const _: () = assert!(
    limits::FIRST_FRAME_PLAIN_BYTES_MAX
        == limits::FRAME_BYTES_MAX - HEADER_BYTES - noise::FIRST_OVERHEAD_BYTES - KEYS_BYTES
);
const _: () = assert!(
    limits::RELAY_FRAME_PLAIN_BYTES + HEADER_BYTES + noise::SECOND_OVERHEAD_BYTES <= limits::FRAME_BYTES_MAX
);
const _: () = assert!(limits::FRAME_PLAIN_BYTES_MAX == limits::FRAME_BYTES_MAX - noise::TAG_BYTES);
