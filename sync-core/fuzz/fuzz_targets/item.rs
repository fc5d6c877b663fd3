//! Items, headers and fork proofs: nothing that was not signed is accepted.
#![no_main]

use bytes::Bytes;
use dinh_fuzz::members;
use dinh_proto::fork::ForkProof;
use dinh_proto::ids::DeviceId;
use dinh_proto::item::{HEADER_BYTES, Header, RawItem, SignedHeader};
use dinh_proto::keys::DevicePublic;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let keys = members();
    let find = |id: &DeviceId| -> Option<DevicePublic> { keys.iter().find(|k| k.id() == *id).copied() };
    if let Some(head) = data.get(..HEADER_BYTES) {
        let _ = Header::decode(head);
    }
    let _ = SignedHeader::verify(data, find);
    if let Ok(proof) = ForkProof::verify(data, find) {
        assert_eq!(proof.as_bytes(), data);
    }
    if let Ok(raw) = RawItem::parse(Bytes::copy_from_slice(data)) {
        assert_eq!(raw.as_bytes().as_ref(), data);
        let key = find(&raw.header().author.device).unwrap_or(keys[0]);
        // Only what the vectors' authors signed can be here: this program has their keys and signs nothing.
        if let Ok(item) = raw.verify(&key) {
            assert_eq!(item.bytes().as_ref(), data);
        }
    }
});
