//! The highest generation of the records about one thing: the next one is above it.

use super::Charter;
use super::record::Record;
use crate::ids::{DeviceId, MemberId, SpaceId};

impl Charter {
    /// The highest generation of a device's role records.
    pub fn role_generation(&self, device: &DeviceId) -> u32 {
        self.highest(&[7], |r| match r {
            Record::Role { device: d, generation, .. } if d == device => Some(*generation),
            _ => None,
        })
    }

    /// The highest generation of a member's grants and revokes in a space.
    pub fn reader_generation(&self, space: &SpaceId, member: &MemberId) -> u32 {
        self.highest(&[4, 8], |r| match r {
            Record::Grant { space: s, member: m, generation }
            | Record::Revoke { space: s, member: m, generation, .. }
                if s == space && m == member =>
            {
                Some(*generation)
            }
            _ => None,
        })
    }

    /// The highest generation of records that name an upper body.
    pub fn upper_generation(&self) -> u32 {
        self.highest(
            &[13],
            |r| if let Record::Upper { generation, .. } = r { Some(*generation) } else { None },
        )
    }

    /// The highest generation of root records.
    pub fn root_generation(&self) -> u32 {
        self.highest(&[14], |r| if let Record::Root(root) = r { Some(root.generation) } else { None })
    }

    fn highest(&self, kinds: &[u8], f: impl Fn(&Record) -> Option<u32>) -> u32 {
        let counting = self.set.of_kind(kinds).filter(|(id, _)| self.counts(id));
        counting.filter_map(|(_, e)| f(&e.record)).max().unwrap_or(0)
    }
}
