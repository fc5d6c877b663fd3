//! The committed snapshot and run pass the production gate.

use std::path::PathBuf;

use bytes::Bytes;
use dinh_core::gate::{Authority, Past, open_run, open_snapshot};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{Cursor, DeviceId, LogEpoch, Seq, SpaceId};
use dinh_proto::item::{Header, Item, RawItem, SpaceSum};
use dinh_proto::keys::{DeviceKey, DevicePublic};
use dinh_proto::ranges::Ranges;

fn item(name: &str) -> Item {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/v1");
    let text = std::fs::read_to_string(directory.join(name)).expect("a committed vector");
    let digits: Vec<u32> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).expect("a digit")).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect();
    let raw = RawItem::parse(Bytes::from(bytes)).expect("a good item");
    raw.verify(&DeviceKey::from_seed(&[1; 32]).public()).expect("a good signature")
}

/// The secretary of the vectors, and the key of their space.
struct Secretary(SpaceKey);

impl Authority for Secretary {
    fn public(&self, device: &DeviceId) -> Option<DevicePublic> {
        Some(DeviceKey::from_seed(&[1; 32]).public()).filter(|public| public.id() == *device)
    }

    fn may_write(&self, _header: &Header, _link: [u8; 16]) -> Result<(), RejectCode> {
        Ok(())
    }

    fn key(&self, header: &Header) -> Option<&SpaceKey> {
        Some(&self.0).filter(|key| key.hint() == header.key_epoch)
    }

    fn is_padded(&self, _space: &SpaceId) -> bool {
        false
    }
}

#[test]
fn the_committed_run_and_snapshot_open_to_the_same_changes() {
    let secretary = Secretary(SpaceKey::from_bytes(&[0x51; 32]));
    let run = item("item-run.hex");
    let of_run = open_run(&run, &secretary, None).unwrap().admit(&mut Past::new(), None).unwrap();
    assert_eq!(of_run.len(), usize::from(run.header().count));

    let snapshot = item("item-snapshot.hex");
    let opened = open_snapshot(&snapshot, &secretary).unwrap();
    assert_eq!(opened.covers, Cursor { epoch: LogEpoch(*b"epoch001"), seq: Seq(300) });
    assert_eq!(opened.covered, [(run.header().author, Ranges::up_to(1))]);
    let mut sum = SpaceSum::default();
    sum.add(&run.id());
    assert_eq!(opened.frame.sum, sum);
    let hashes = |changes: &[dinh_core::gate::Admitted]| changes.iter().map(|c| c.hash).collect::<Vec<_>>();
    assert_eq!(hashes(&opened.changes), hashes(&of_run));
}
