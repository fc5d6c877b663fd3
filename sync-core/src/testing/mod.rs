//! Parts for tests and simulators of this and other packages; nothing here is stable.

mod disk;
pub mod engine;

pub use disk::{Crash, SimDisk, SimFile};
