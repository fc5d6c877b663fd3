//! Parts for tests and the simulator; no part of the relay, and nothing here is stable.

mod sim_disk;

pub use sim_disk::{Crash, SimDisk, SimFile};
