//! The Noise protocol, as the `snow` crate has it, with randomness from a seed.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, TransportState};

use crate::limits::FRAME_BYTES_MAX;

/// The pattern and the algorithms: to a relay whose key is pinned.
const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_SHA256";
/// The same between two devices that share a secret and do not know each other's keys.
const HALL_PATTERN: &str = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";
/// Of each encrypted part.
pub(super) const TAG_BYTES: usize = 16;
/// Ephemeral key, static key and its tag, tag of the payload.
pub(super) const FIRST_OVERHEAD_BYTES: usize = 32 + 32 + TAG_BYTES + TAG_BYTES;
/// Ephemeral key, tag of the payload.
pub(super) const SECOND_OVERHEAD_BYTES: usize = 32 + TAG_BYTES;

pub(super) fn initiator(
    secret: &[u8; 32],
    responder: &[u8; 32],
    prologue: &[u8],
    seed: [u8; 32],
) -> HandshakeState {
    builder(PATTERN, seed)
        .prologue(prologue)
        .and_then(|b| b.local_private_key(secret))
        .and_then(|b| b.remote_public_key(responder))
        .and_then(Builder::build_initiator)
        .expect("each part is given once and has the pattern's length")
}

pub(super) fn responder(secret: &[u8; 32], prologue: &[u8], seed: [u8; 32]) -> HandshakeState {
    builder(PATTERN, seed)
        .prologue(prologue)
        .and_then(|b| b.local_private_key(secret))
        .and_then(Builder::build_responder)
        .expect("each part is given once and has the pattern's length")
}

/// One end between two devices.
pub(super) fn hall(
    secret: &[u8; 32],
    psk: &[u8; 32],
    prologue: &[u8],
    seed: [u8; 32],
    initiates: bool,
) -> HandshakeState {
    builder(HALL_PATTERN, seed)
        .prologue(prologue)
        .and_then(|b| b.local_private_key(secret))
        .and_then(|b| b.psk(0, psk))
        .and_then(|b| if initiates { b.build_initiator() } else { b.build_responder() })
        .expect("each part is given once and has the pattern's length")
}

fn builder<'a>(pattern: &str, seed: [u8; 32]) -> Builder<'a> {
    let pattern = pattern.parse().expect("a pattern that snow has");
    Builder::with_resolver(pattern, Box::new(Seeded(seed)))
}

/// Appends a handshake message whose turn it is.
pub(super) fn write_handshake(handshake: &mut HandshakeState, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    // No message of either pattern needs more: an ephemeral key, a static one and two tags.
    out.resize(start + payload.len() + FIRST_OVERHEAD_BYTES, 0);
    let n = handshake
        .write_message(payload, &mut out[start..])
        .expect("it is this side's turn, there is room, and no key is of small order");
    out.truncate(start + n);
}

/// The payload of a handshake message, or `None` if it is not what the holder of the other key made for this
/// connection.
pub(super) fn read_handshake(handshake: &mut HandshakeState, message: &[u8]) -> Option<Vec<u8>> {
    let mut payload = vec![0; message.len()];
    let n = handshake.read_message(message, &mut payload).ok()?;
    payload.truncate(n);
    Some(payload)
}

/// The other side's long-lived key, once a message that shows it was read.
pub(super) fn remote_static(handshake: &HandshakeState) -> Option<[u8; 32]> {
    handshake.get_remote_static()?.try_into().ok()
}

pub(super) fn into_transport(handshake: HandshakeState) -> Option<TransportState> {
    handshake.into_transport_mode().ok()
}

/// Appends a transport message.
pub(super) fn write_transport(transport: &mut TransportState, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + payload.len() + TAG_BYTES, 0);
    let n = transport
        .write_message(payload, &mut out[start..])
        .expect("there is room, and nobody sends 2^64 frames over one connection");
    out.truncate(start + n);
}

/// The payload of a transport message, or `None` if it is not the one that was written next.
pub(super) fn read_transport(transport: &mut TransportState, message: &[u8]) -> Option<Vec<u8>> {
    if message.len() > FRAME_BYTES_MAX {
        return None;
    }
    let mut payload = vec![0; message.len()];
    let n = transport.read_message(message, &mut payload).ok()?;
    payload.truncate(n);
    Some(payload)
}

/// snow's own algorithms, with the ephemeral key drawn from a seed and keys of small order refused.
struct Seeded([u8; 32]);

impl CryptoResolver for Seeded {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeededRng(ChaCha20Rng::from_seed(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice).map(|dh| Box::new(Contributory(dh)) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

struct SeededRng(ChaCha20Rng);

impl Random for SeededRng {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

/// Noise leaves it open whether an exchange that gives zero is an error. Here it is: no secret then went in.
struct Contributory(Box<dyn Dh>);

impl Dh for Contributory {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pub_len(&self) -> usize {
        self.0.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.0.priv_len()
    }

    fn set(&mut self, privkey: &[u8]) {
        self.0.set(privkey);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        self.0.generate(rng)
    }

    fn pubkey(&self) -> &[u8] {
        self.0.pubkey()
    }

    fn privkey(&self) -> &[u8] {
        self.0.privkey()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        self.0.dh(pubkey, out)?;
        // Not in constant time, and need not be: what it tells of is the other side's public key.
        if out[..self.0.dh_len()].iter().all(|byte| *byte == 0) { Err(snow::Error::Dh) } else { Ok(()) }
    }
}
