//! Everything that is encrypted, as bytes that nobody encrypted: nothing opens.
#![no_main]

use dinh_fuzz::{member, members};
use dinh_proto::crypto::{SealedKey, SpaceKey, Wrap, WrapContext, unwrap};
use dinh_proto::ids::{EpochId, SpaceId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let key = SpaceKey::from_bytes(&[6; 32]);
    let device = member();
    let id = members()[1].id();
    let space = SpaceId([1; 16]);
    // With the right hint and tag, or nothing but the first check would be tried.
    let hinted = [&key.hint().0[..], data].concat();
    for bytes in [data, &hinted] {
        assert!(key.open_presence(&space, &id, bytes).is_err());
        assert!(key.open_name(&members()[0], bytes).is_err());
    }
    let (Some(enc), Some(ct)) = (data.first_chunk(), data.last_chunk()) else { return };
    let wrap = Wrap { tag: Wrap::tag_of(&id), enc: *enc, ct: *ct };
    let context = WrapContext { branch: space, space };
    assert!(unwrap(&device, &context, &key.id(), &wrap).is_err());
    let (Some(nonce), Some(epoch)) = (data.first_chunk(), data.last_chunk()) else { return };
    assert!(key.open_key(&SealedKey { epoch: EpochId(*epoch), nonce: *nonce, ct: *ct }, &space).is_err());
});
