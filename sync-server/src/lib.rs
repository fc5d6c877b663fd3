//! The Dinh relay: stores and forwards signed items, and acknowledges only what is durable.

pub mod hub;
pub mod log;
#[doc(hidden)]
pub mod testing;
