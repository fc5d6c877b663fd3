//! First frames and transport frames, at both ends.
#![no_main]

use dinh_fuzz::member;
use dinh_proto::channel::{Binding, Channel};
use dinh_proto::keys::RelayKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((which, frame)) = data.split_first() else { return };
    let relay_key = RelayKey::from_seed(&[2; 32]);
    let mut relay = Channel::relay(&relay_key, Binding([1; 32]), [4; 32]);
    let mut device = Channel::device(&member(), &relay_key.public(), Binding([1; 32]), [3; 32]);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    if which & 1 == 0 {
        // The relay's first frame is the fuzzer's. It cannot have made one that opens.
        if which & 2 != 0 {
            device.seal(b"hello", &mut first);
        }
        let opened = device.open(frame).is_ok();
        assert!(!opened && !device.can_seal() || !opened && which & 2 == 0);
        // The device's.
        let _ = relay.open(frame);
        return;
    }
    device.seal(b"hello", &mut first);
    relay.open(&first).expect("honest");
    relay.seal(b"welcome", &mut second);
    device.open(&second).expect("honest");
    assert!(relay.open(frame).is_err() && device.open(frame).is_err());
});
