use proptest::prelude::*;
use proptest::sample::subsequence;

use super::record::{Certificate, JoinRequest, found};
use super::*;
use crate::crypto::SpaceKey;
use crate::ids::{Author, ChangeHash, SessionId};
use crate::item::{Draft, Place};
use crate::keys::{DeviceKey, SignKey};

struct Chain {
    key: DeviceKey,
    branch: SpaceId,
    n: u32,
    prev: [u8; 16],
}

impl Chain {
    fn new(seed: u8) -> Self {
        Self { key: DeviceKey::from_seed(&[seed; 32]), branch: SpaceId::default(), n: 0, prev: [0; 16] }
    }

    fn issue(&mut self, payload: &[u8]) -> Item {
        self.n += 1;
        let item = Draft {
            kind: Kind::Charter,
            space: self.branch,
            doc: DocId::default(),
            session: SessionId([1; 8]),
            place: Place::Chain { n: self.n, prev: self.prev },
            first_seq: 0,
            count: 0,
            last: ChangeHash::default(),
            charter_tag: CharterTag::default(),
        }
        .sign(&self.key, payload)
        .unwrap();
        self.prev = item.id().link();
        item
    }

    fn cert(&self, member: u8, role: Role) -> Certificate {
        Certificate {
            member: MemberId([member; 16]),
            role,
            request: JoinRequest::new(&self.key),
            name: "phone".into(),
        }
    }
}

const SPACE: SpaceId = SpaceId([20; 16]);
const COMMITTEE: SpaceId = SpaceId([21; 16]);
const DOC: DocId = DocId([30; 16]);
const MINUTES: DocId = DocId([31; 16]);

/// A branch with a secretary (1), a member (2) and a reader (3).
fn branch() -> (Vec<Item>, [Chain; 3], SpaceId) {
    let (mut s, mut m, mut r) = (Chain::new(1), Chain::new(2), Chain::new(3));
    let (id, genesis) = found(&SignKey::from_seed(&[99; 32]), s.cert(1, Role::Secretary));
    for c in [&mut s, &mut m, &mut r] {
        c.branch = id;
    }
    let mut items = vec![s.issue(&genesis)];
    items.push(s.issue(&Record::Device(Box::new(m.cert(2, Role::Member))).encode()));
    items.push(s.issue(&Record::Device(Box::new(r.cert(3, Role::Reader))).encode()));
    items.push(s.issue(&Record::Space { space: SPACE, audience: Audience::Everyone }.encode()));
    let audience = Audience::Members(vec![MemberId([1; 16])]);
    items.push(s.issue(&Record::Space { space: COMMITTEE, audience }.encode()));
    items.push(m.issue(&Record::Document { doc: DOC, space: SPACE, writers: Writers::All }.encode()));
    items.push(
        s.issue(&Record::Document { doc: MINUTES, space: SPACE, writers: Writers::Secretary }.encode()),
    );
    items.push(s.issue(&Record::Grant { space: COMMITTEE, member: MemberId([2; 16]) }.encode()));
    (items, [s, m, r], id)
}

fn run(key: &DeviceKey, space: SpaceId, doc: DocId) -> Header {
    Draft {
        kind: Kind::Run,
        space,
        doc,
        session: SessionId([1; 8]),
        place: Place::Chain { n: 1, prev: [0; 16] },
        first_seq: 1,
        count: 1,
        last: ChangeHash([1; 32]),
        charter_tag: CharterTag::default(),
    }
    .seal(key, &SpaceKey::generate(&[1; 32]), false, b"p")
    .unwrap()
    .header()
    .clone()
}

#[test]
fn roles_decide_who_writes_where() {
    let (items, [s, m, r], id) = branch();
    let mut charter = Charter::new(id);
    for item in &items {
        assert_eq!(charter.insert(item), Ok(true));
        assert_eq!(charter.insert(item), Ok(false));
    }
    let stranger = DeviceKey::from_seed(&[50; 32]);
    let table = [
        (&s.key, DOC, Ok(())),
        (&s.key, MINUTES, Ok(())),
        (&m.key, DOC, Ok(())),
        (&m.key, MINUTES, Err(RejectCode::NotAuthorised)),
        (&r.key, DOC, Err(RejectCode::NotAuthorised)),
        (&r.key, MINUTES, Err(RejectCode::NotAuthorised)),
        (&stranger, DOC, Err(RejectCode::UnknownAuthor)),
        (&m.key, DocId([77; 16]), Err(RejectCode::UnknownTarget)),
    ];
    for (key, doc, expected) in table {
        assert_eq!(charter.authorise(&run(key, SPACE, doc)), expected, "{key:?} {doc}");
    }
    assert_eq!(charter.authorise(&run(&m.key, COMMITTEE, DOC)), Err(RejectCode::NotAuthorised));
    assert_eq!(charter.readable(&s.key.public().id()), [id, SPACE, COMMITTEE].into());
    assert_eq!(charter.readable(&m.key.public().id()), [id, SPACE, COMMITTEE].into());
    assert_eq!(charter.readable(&r.key.public().id()), [id, SPACE].into());
    assert!(charter.readable(&stranger.public().id()).is_empty());
}

#[test]
fn records_that_do_not_count_are_refused_and_leave_no_trace() {
    let (items, [mut s, mut m, mut r], id) = branch();
    let mut charter = Charter::new(id);
    charter.extend(&items).unwrap();
    let tag = charter.tag();
    let space = |n: u8, audience| Record::Space { space: SpaceId([n; 16]), audience }.encode();
    let device = |c: &Chain| Record::Device(Box::new(c.cert(9, Role::Secretary))).encode();
    let doc = |space| Record::Document { doc: DocId([40; 16]), space, writers: Writers::All }.encode();
    let other = Chain::new(60);
    let refused = [
        (m.issue(&device(&other)), RejectCode::NotAuthorised),
        (s.issue(&device(&m)), RejectCode::NotAuthorised),
        (m.issue(&space(90, Audience::Everyone)), RejectCode::NotAuthorised),
        (m.issue(&space(91, Audience::Members(vec![MemberId([1; 16])]))), RejectCode::NotAuthorised),
        (r.issue(&space(92, Audience::Members(vec![MemberId([3; 16])]))), RejectCode::NotAuthorised),
        (
            m.issue(&Record::Grant { space: COMMITTEE, member: MemberId([3; 16]) }.encode()),
            RejectCode::NotAuthorised,
        ),
        (m.issue(&doc(SpaceId([55; 16]))), RejectCode::UnknownTarget),
        (r.issue(&doc(SPACE)), RejectCode::NotAuthorised),
        (s.issue(&[9, 9]), RejectCode::Malformed),
    ];
    for (item, code) in refused {
        assert_eq!(charter.insert(&item), Err(code));
        assert_eq!(charter.tag(), tag);
    }
    let mut stranger = Chain::new(61);
    stranger.branch = id;
    assert_eq!(charter.insert(&stranger.issue(&doc(SPACE))), Err(RejectCode::UnknownAuthor));
    let (_, other_genesis) = found(&SignKey::from_seed(&[98; 32]), stranger.cert(1, Role::Secretary));
    assert_eq!(charter.insert(&stranger.issue(&other_genesis)), Err(RejectCode::BadLink));
}

#[test]
fn a_genesis_proves_its_root_key_and_a_certificate_its_device_key() {
    let s = Chain::new(1);
    let (_, genesis) = found(&SignKey::from_seed(&[99; 32]), s.cert(1, Role::Secretary));
    assert!(Record::decode(&genesis).is_ok());
    for i in 0..genesis.len() {
        let mut bad = genesis.clone();
        bad[i] ^= 1;
        assert!(Record::decode(&bad).is_err() || branch_id(&bad) != branch_id(&genesis), "{i}");
    }
    let mut cert = s.cert(1, Role::Member);
    cert.request.proof[5] ^= 1;
    assert!(Record::decode(&Record::Device(Box::new(cert)).encode()).is_err());
    let author = Author { device: s.key.public().id(), session: SessionId([1; 8]) };
    assert_eq!(author.device, DeviceKey::from_seed(&[1; 32]).public().id());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_order_of_any_subset_gives_one_answer(
        subset in subsequence((0..8usize).collect::<Vec<_>>(), 0..=8),
        shuffle in Just((0..8usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let (items, _, id) = branch();
        let chosen: Vec<&Item> = subset.iter().map(|i| &items[*i]).collect();
        let mut sorted = Charter::new(id);
        sorted.extend(chosen.iter().copied()).unwrap();
        let mut shuffled = Charter::new(id);
        for i in shuffle.iter().filter(|i| subset.contains(i)) {
            shuffled.extend([&items[*i]]).unwrap();
        }
        prop_assert_eq!(&sorted.view, &shuffled.view);
        prop_assert_eq!(sorted.tag(), shuffled.tag());
    }
}
