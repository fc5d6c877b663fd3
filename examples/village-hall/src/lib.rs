//! A whole branch meeting in one command: a relay and phones as separate processes, links that fail, a script in real
//! Vietnamese, and an account at the end of what was saved and what, if anything, was lost.
#![warn(missing_docs)]

pub mod action;
pub mod cast;
pub mod engine;
mod extras;
pub mod ledger;
pub mod link;
pub mod orchestrator;
pub mod phone;
pub mod plain;
pub mod process;
pub mod protocol;
pub mod render;
pub mod report;
pub mod screen;
pub mod story;
