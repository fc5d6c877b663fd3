//! Parts for tests and simulators of this and other packages; nothing here is stable.

mod disk;
pub mod engine;

pub use disk::{Crash, SimDisk, SimFile};

use dinh_proto::crypto::SpaceKey;
use dinh_proto::ids::SpaceId;

use crate::replica::Replica;
use crate::store::Store;

/// The key under which a replica writes in a space now.
pub fn space_key<S: Store>(replica: &Replica<S>, space: &SpaceId) -> Option<SpaceKey> {
    replica.write_key(space).cloned()
}
