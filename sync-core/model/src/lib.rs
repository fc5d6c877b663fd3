//! The documents of a branch, over the generic documents of [`dinh_core`].

pub mod lifecycle;
pub mod resolution;
