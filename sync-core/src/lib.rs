//! Dinh: an offline-first sync engine for shared documents.
//!
//! One edit's way through this package: [`replica`] (`edit`) → [`document`] (a change) → [`store`] (durable) →
//! `replica/seal.rs` (an item) → `replica/link.rs` (the session) → the relay → `replica/receive.rs` → [`gate`] →
//! [`document`] (patches) → [`replica::Event`]. `client` (a feature) is the driver: a thread, a clock and a socket.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

#[cfg(feature = "client")]
#[allow(clippy::disallowed_methods, reason = "a driver: it hands the clock to the replica")]
pub mod client;
pub mod document;
pub mod gate;
pub mod qr;
pub mod replica;
pub mod store;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;

pub use dinh_proto as proto;
pub use dinh_proto::channel::PROTOCOL_VERSION;
