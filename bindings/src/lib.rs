//! The foreign-language surface of Dinh, of which the Kotlin, Swift and Python packages are made.
//!
//! It is small and coarse on purpose: a call across the border costs as much as a thousand operations behind it. One call makes
//! one change, one event tells one. Documents of a branch come over as JSON, everything else as records. Apps use the
//! hand-written layers on top of this (`kotlin/`, `swift/`), whose public signatures have no type of it.
//!
//! * No call waits for a network, and none does disk work on the caller's thread: the client has a thread of its own.
//! * A call that is dropped (Kotlin's coroutines do that) is done all the same if it was begun.
//! * What apps hear they pull: see [`stream`].
//! * A panic becomes an exception; the process goes on.

pub mod branch;
pub mod client;
pub mod document;
pub mod error;
pub mod events;
pub mod ids;
pub mod log;
pub mod model;
mod runtime;
pub mod secrets;
pub mod status;
pub mod stream;
pub mod text;
pub mod value;

uniffi::setup_scaffolding!("dinh");

/// The version of the library, as in its changelog.
#[uniffi::export]
pub fn library_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// The version of the protocol that the library speaks: `docs/PROTOCOL.md`.
#[uniffi::export]
pub fn protocol_version() -> u8 {
    dinh_core::PROTOCOL_VERSION
}
