//! Resolutions.

pub mod state;
