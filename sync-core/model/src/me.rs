//! Who acts, when, and where new ids come from.

use dinh_proto::charter::AuthorAt;
use dinh_proto::charter::record::Role;
use dinh_proto::ids::MemberId;

/// The member who acts on this device, as the charter has it for one document.
#[derive(Debug, Clone)]
pub struct Me {
    /// The member.
    pub member: MemberId,
    /// Its role.
    pub role: Role,
    /// Whether it was named to keep the document's record.
    pub is_recorder: bool,
    /// The device's wall clock, milliseconds since 1970: shown to people, and decides nothing.
    pub now: i64,
    ids: u64,
    seed: [u8; 16],
}

impl Me {
    /// `seed` is random, used once: the ids of what this act creates come from it.
    #[must_use]
    pub const fn new(author: &AuthorAt, now: i64, seed: [u8; 16]) -> Self {
        let AuthorAt { member, role, is_recorder, .. } = *author;
        Self { member, role, is_recorder, now, ids: 0, seed }
    }

    /// The member's key in documents.
    #[must_use]
    pub fn key(&self) -> String {
        self.member.to_string()
    }

    /// A new id: 16 bytes in hex. The first six are the time, two more count the ids of this act, the rest is random: ids of one act
    /// sort as they were made, others roughly by age.
    pub fn new_id(&mut self) -> String {
        self.ids += 1;
        let mut bytes = self.seed;
        bytes[..6].copy_from_slice(&self.now.max(0).to_be_bytes()[2..]);
        let (high, low) = (self.ids >> 16, self.ids & 0xffff);
        bytes[6..8].copy_from_slice(&low.to_be_bytes()[6..]);
        for (byte, count) in bytes[8..].iter_mut().zip(high.to_le_bytes()) {
            *byte ^= count;
        }
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}
