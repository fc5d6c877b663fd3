//! Snapshots that a member signed, whatever is in them.
#![no_main]

use dinh_core::gate::{open_snapshot, read_frame};
use dinh_fuzz::{Members, member, quiet};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::ids::*;
use dinh_proto::item::{Draft, Kind, Place};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: quiet(), |data: &[u8]| {
    let key = member();
    let space_key = SpaceKey::from_bytes(&[6; 32]);
    let draft = Draft {
        kind: Kind::Snapshot,
        space: SpaceId([1; 16]),
        doc: DocId([2; 16]),
        session: SessionId([3; 8]),
        place: Place::Covers(Cursor { epoch: LogEpoch([1; 8]), seq: Seq(9) }),
        first_seq: 0,
        count: 0,
        last: ChangeHash::default(),
        charter_tag: CharterTag::default(),
    };
    let Ok(item) = draft.seal(&key, &space_key, false, data) else { return };
    let authority = Members(space_key);
    let _ = read_frame(&item, &authority);
    let _ = open_snapshot(&item, &authority);
});
