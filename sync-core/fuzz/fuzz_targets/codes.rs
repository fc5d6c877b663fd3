//! What people scan, type and paste: codes, words, keys, ids and join requests.
#![no_main]

use dinh_proto::charter::record::JoinRequest;
use dinh_proto::ids::{DocId, SpaceId};
use dinh_proto::join::{Code, RootKey};
use dinh_proto::keys::{DevicePublic, RelayPublic};
use dinh_proto::ranges::Ranges;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(key) = text.parse::<RelayPublic>() {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        if let Ok(id) = text.parse::<DocId>() {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
    if let Ok(code) = Code::parse(data) {
        assert_eq!(Code::from_bytes(&code.to_bytes()).as_ref(), Ok(&code));
        assert_eq!(Code::from_link(&code.link()).as_ref(), Ok(&code));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = RootKey::from_words(text, SpaceId([1; 16]));
    }
    if let Ok(request) = JoinRequest::decode(data) {
        assert_eq!(request.encode(), data);
        let _ = request.is_proved();
    }
    if let Some(bytes) = data.first_chunk() {
        let _ = DevicePublic::from_bytes(bytes).map(|key| key.id());
    }
    let mut reader = dinh_proto::codec::Reader::new(data);
    if let Ok(ranges) = Ranges::decode(&mut reader) {
        let mut again = Vec::new();
        ranges.encode(&mut again);
        assert!(data.starts_with(&again), "one encoding");
    }
});
