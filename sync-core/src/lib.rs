//! Core.

pub mod document;
