//! Permits, as bytes that a device shows to a relay and as text that people paste; rows of the operator's table are read by the same
//! means.
#![no_main]

use dinh_proto::codec::Reader;
use dinh_proto::keys::SignKey;
use dinh_proto::permit::{BranchLimits, OperatorPublic, Permit};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Nobody can sign for an operator: what is read is signed again by one whose key is known, so that an input gets behind that.
    let operator = SignKey::from_seed(&[1; 32]);
    let mut signed = data.to_vec();
    if signed.len() >= 36 {
        signed[..4].copy_from_slice(b"DNP1");
        signed[4..36].copy_from_slice(operator.public().as_bytes());
    }
    let signature = operator.sign(b"dinh/per1\0", &signed);
    signed.extend(signature);
    for bytes in [data, &signed[..]] {
        if let Ok(permit) = Permit::from_bytes(bytes) {
            assert_eq!(permit.bytes(), bytes);
            assert_eq!(permit.text().parse::<Permit>().as_ref(), Ok(&permit));
            let again = Permit::issue(&operator, *permit.terms()).expect("what was read can be signed");
            assert_eq!(again.terms(), permit.terms());
            if permit.operator().0 == operator.public() {
                assert_eq!(again, permit, "one encoding");
            }
        }
    }
    let mut reader = Reader::new(data);
    if let Ok(limits) = BranchLimits::decode(&mut reader) {
        let mut again = Vec::new();
        limits.encode(&mut again);
        assert!(data.starts_with(&again), "one encoding");
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = text.parse::<Permit>();
        if let Ok(key) = text.parse::<OperatorPublic>() {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }
});
