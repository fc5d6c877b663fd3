//! Pure protocol.

pub mod pack;
