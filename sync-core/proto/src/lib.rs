//! The Dinh sync protocol: pure state machines and formats.
//!
//! Nothing here knows a clock, a socket, a file, randomness or a runtime: time and seeds are arguments. The
//! relay depends on this package only, and this package does not depend on Automerge.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

#[cfg(feature = "canary")]
pub mod canary;
pub mod channel;
pub mod charter;
pub mod codec;
pub mod crypto;
pub mod error;
pub mod fork;
pub mod ids;
pub mod item;
pub mod join;
pub mod keys;
pub mod limits;
pub mod pack;
pub mod permit;
pub mod ranges;
pub mod session;
pub mod time;
pub mod wire;
