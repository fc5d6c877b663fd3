//! Packs: bounded, and what comes out packs to what gives the same again.
#![no_main]

use dinh_proto::pack::{PackContext, PackLimits, UnpackedChange, pack, unpack, unpack_in};
use libfuzzer_sys::fuzz_target;

const SMALL: PackLimits =
    PackLimits { unpacked_bytes_max: 1 << 20, raw_bytes_max: 2 << 20, ..PackLimits::SNAPSHOT };

fuzz_target!(|data: &[u8]| {
    let context = PackContext { actors: &[&[7; 16]], hashes: &[[8; 32]] };
    let _ = unpack_in(context, data, &PackLimits::RUN);
    let Ok(changes) = unpack(data, &SMALL) else { return };
    assert!(changes.iter().map(|c| c.raw().len()).sum::<usize>() <= SMALL.raw_bytes_max);
    let raw: Vec<&[u8]> = changes.iter().map(UnpackedChange::raw).collect();
    let again = pack(&raw, &SMALL).expect("what was unpacked packs");
    assert_eq!(unpack(&again, &SMALL).expect("what was packed unpacks"), changes);
});
