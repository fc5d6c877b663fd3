//! Charter records of any content, signed by a secretary, a member and a stranger, into a branch.
#![no_main]

use bytes::Bytes;
use dinh_fuzz::{genesis, member, member_record, secretary};
use dinh_proto::charter::Charter;
use dinh_proto::charter::record::Record;
use dinh_proto::ids::{ChangeHash, CharterTag, DocId, SessionId, SpaceId};
use dinh_proto::item::{Draft, Item, Kind, Place, RawItem};
use dinh_proto::keys::DeviceKey;
use libfuzzer_sys::fuzz_target;

struct Author {
    key: DeviceKey,
    n: u32,
    link: [u8; 16],
}

impl Author {
    fn issue(&mut self, branch: SpaceId, payload: &[u8]) -> Option<Item> {
        let draft = Draft {
            kind: Kind::Charter,
            space: branch,
            doc: DocId::default(),
            session: SessionId([1; 8]),
            place: Place::Chain { n: self.n + 1, prev: self.link },
            first_seq: 0,
            count: 0,
            last: ChangeHash::default(),
            charter_tag: CharterTag::default(),
        };
        let item = draft.sign(&self.key, payload).ok()?;
        (self.n, self.link) = (self.n + 1, item.id().link());
        Some(item)
    }
}

/// What phones do: keep what may come to count, and try again what came too early.
fn kept<'a>(branch: SpaceId, items: impl Iterator<Item = &'a Item> + Clone) -> Charter {
    let mut charter = Charter::new(branch);
    loop {
        let before = charter.len();
        for item in items.clone() {
            let _ = charter.keep(item);
        }
        if charter.len() == before {
            return charter;
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let genesis = RawItem::parse(genesis()).expect("a vector");
    let branch = genesis.header().space;
    let mut charter = Charter::new(branch);
    let key = charter.key_for(&genesis).expect("in the genesis");
    let genesis = genesis.verify(&key).expect("a vector");
    charter.insert(&genesis).expect("a genesis counts");
    let new = |key| Author { key, n: 0, link: [0; 16] };
    let mut authors = [new(secretary()), new(member()), new(DeviceKey::from_seed(&[0xee; 32]))];
    // The vectors' genesis is the first of the secretary's chain in another session: numbers do not matter here.
    if let Some(item) = authors[0].issue(branch, &member_record()) {
        let _ = charter.insert(&item);
    }
    let mut rest = data;
    let mut items = vec![genesis];
    while let [who, length, tail @ ..] = rest {
        let (payload, after) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = after;
        if let Ok(record) = Record::decode(payload) {
            assert_eq!(record.encode(), payload, "one encoding");
        }
        if items.len() < 16
            && let Some(item) = authors[usize::from(*who) % 3].issue(branch, payload)
        {
            let before = charter.tag();
            if charter.insert(&item).is_err() {
                assert_eq!(charter.tag(), before, "what is refused leaves no trace");
            }
            items.push(item);
        }
    }
    for author in &authors {
        let device = author.key.public().id();
        for space in charter.readable(&device) {
            assert!(charter.can_read(&device, &space));
        }
    }
    for item in &items {
        let _ = charter.standing(item.header(), item.id().link());
        let _ = charter.key_for(&RawItem::parse(Bytes::clone(item.bytes())).expect("an item"));
    }
    let (forwards, backwards) = (kept(branch, items.iter()), kept(branch, items.iter().rev()));
    assert_eq!(forwards.tag(), backwards.tag(), "one set");
    assert_eq!(forwards.devices(), backwards.devices(), "one answer");
});
