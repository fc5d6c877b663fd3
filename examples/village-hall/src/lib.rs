//! A whole branch meeting in one command: a relay and phones as separate processes, links that fail, a script in real
//! Vietnamese, and an account at the end of what was saved and what, if anything, was lost.
#![warn(missing_docs)]

pub mod act;
pub mod cast;
mod extras;
pub mod ledger;
pub mod link;
pub mod marks;
pub mod orchestrator;
#[allow(missing_docs, reason = "the phone's own parts are named as what they do")]
pub mod phone;
pub mod plain;
pub mod process;
pub mod protocol;
pub mod relay;
pub mod render;
pub mod report;
pub mod screen;
pub mod story;
