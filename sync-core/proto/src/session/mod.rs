//! Both ends of the conversation between a device and a relay, and of that between two devices that meet without one, as
//! state machines without IO.
//!
//! Methods come in four kinds: getters; commands; `handle_*` for things that happened; `poll_*` for things to
//! do. After any command or `handle_*`, poll until nothing is left. `now` must never decrease. Output is pulled:
//! a frame is built only when the transport can take it, so a slow peer costs no memory.

mod conversation;
mod device;
mod hall;
mod reconnect;
mod relay;

pub use device::{DeviceEvent, DeviceSession};
pub use hall::{HallEvent, HallSession};
pub use reconnect::Reconnect;
pub use relay::{RelayEvent, RelaySession};

#[cfg(test)]
mod tests;
