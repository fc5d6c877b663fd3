//! What the targets share: keys and a branch from `sync-core/testdata/v1`, so that they follow the formats; scripts, messages, and
//! a bound on memory.

pub mod chunk;
mod feed;
mod memory;
mod messages;

use std::sync::OnceLock;

pub use feed::Feed;
pub use memory::within;
pub use messages::Names;

use bytes::Bytes;
use dinh_core::gate::Authority;
use dinh_proto::crypto::SpaceKey;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{DeviceId, SpaceId};
use dinh_proto::item::Header;
use dinh_proto::keys::{DeviceKey, DevicePublic};

/// The bytes of a vector.
pub fn vector(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |d: u8| (d as char).to_digit(16).expect("a hexadecimal digit") as u8;
    digits.chunks_exact(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect()
}

/// The secretary of the vectors' branch.
pub fn secretary() -> DeviceKey {
    static KEY: OnceLock<DeviceKey> = OnceLock::new();
    KEY.get_or_init(|| key(include_str!("../../testdata/v1/device-key-secretary.hex"))).clone()
}

/// A member of it.
pub fn member() -> DeviceKey {
    static KEY: OnceLock<DeviceKey> = OnceLock::new();
    KEY.get_or_init(|| key(include_str!("../../testdata/v1/device-key-member.hex"))).clone()
}

/// The public keys of both.
pub fn members() -> &'static [DevicePublic; 2] {
    static KEYS: OnceLock<[DevicePublic; 2]> = OnceLock::new();
    KEYS.get_or_init(|| [secretary().public(), member().public()])
}

fn key(hex: &str) -> DeviceKey {
    DeviceKey::from_seed(&vector(hex).try_into().expect("32 bytes"))
}

/// The genesis of it.
pub fn genesis() -> Bytes {
    vector(include_str!("../../testdata/v1/item-genesis.hex")).into()
}

/// The record that certifies the member.
pub fn member_record() -> Vec<u8> {
    vector(include_str!("../../testdata/v1/record-device.hex"))
}

/// A charter of the two members, and the space's key.
pub struct Members(pub SpaceKey);

impl Authority for Members {
    fn public(&self, device: &DeviceId) -> Option<DevicePublic> {
        members().iter().find(|k| k.id() == *device).copied()
    }

    fn may_write(&self, _: &Header, _: [u8; 16]) -> Result<(), RejectCode> {
        Ok(())
    }

    fn key(&self, _: &Header) -> Option<&SpaceKey> {
        Some(&self.0)
    }

    fn is_padded(&self, _: &SpaceId) -> bool {
        false
    }
}

/// Panics inside the document engine are the gate's to catch, and no finding: one that it lets through still ends the
/// program, because the fuzzer's own frame catches it. A panic in code of this project is a finding wherever it is caught.
pub fn quiet() {
    std::panic::set_hook(Box::new(|info| {
        let foreign = |file: &str| file.contains("/registry/") || file.starts_with("/rustc/");
        if !info.location().is_some_and(|l| foreign(l.file())) {
            eprintln!("{info}");
            std::process::abort();
        }
    }));
}

/// Gives an input to begin with, where somebody asked for it: with `FUZZ_SEEDS` set to a directory, each becomes a file there.
pub fn seed(name: &str, bytes: &[u8]) {
    if let Some(directory) = std::env::var_os("FUZZ_SEEDS") {
        let path = std::path::Path::new(&directory).join(name);
        std::fs::write(&path, bytes).expect("FUZZ_SEEDS names a directory that can be written");
    }
}
