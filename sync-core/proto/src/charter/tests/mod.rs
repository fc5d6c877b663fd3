//! A branch with a device of every role, and chains that issue records as devices do.

mod cost;
mod hostile;
mod order;
mod records;
mod recovery;
mod roles;
mod standing;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::record::{
    Audience, Certificate, EpochRecord, Frontier, JoinRequest, Mark, Reason, Record, Role, Writers, found,
    recover,
};
use super::*;
use crate::crypto::Wrap;
use crate::ids::{ChangeHash, KeyEpoch, MemberId, SessionId};
use crate::item::{Draft, Place};
use crate::keys::{DeviceKey, SignKey};

/// One chain of charter records.
#[derive(Clone)]
struct Chain {
    key: DeviceKey,
    id: DeviceId,
    member: MemberId,
    branch: SpaceId,
    session: SessionId,
    n: u32,
    prev: [u8; 16],
}

impl Chain {
    /// The device `seed` of the member with the same number.
    fn new(seed: u16) -> Self {
        Self::of_member(seed, seed)
    }

    fn of_member(seed: u16, member: u16) -> Self {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&seed.to_le_bytes());
        let key = DeviceKey::from_seed(&bytes);
        let id = key.public().id();
        Self {
            key,
            id,
            member: member_id(member),
            branch: SpaceId::default(),
            session: SessionId([1; 8]),
            n: 0,
            prev: [0; 16],
        }
    }

    fn author(&self) -> Author {
        Author { device: self.id, session: self.session }
    }

    fn sign(&mut self, payload: &[u8]) -> Item {
        self.n += 1;
        let place = Place::Chain { n: self.n, prev: self.prev };
        let item = Draft {
            kind: Kind::Charter,
            space: self.branch,
            doc: DocId::default(),
            session: self.session,
            place,
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

    fn issue(&mut self, record: &Record) -> Item {
        self.sign(&record.encode())
    }

    fn certificate(&self, role: Role) -> Certificate {
        Certificate {
            member: self.member,
            role,
            request: JoinRequest::new(&self.key),
            name: b"sealed".to_vec(),
        }
    }

    fn admission(&self, role: Role) -> Record {
        Record::Device { certificate: Box::new(self.certificate(role)), seen: Vec::new() }
    }

    /// The newest record of this chain, as one who has received it writes it down.
    fn mark(&self) -> Frontier {
        let mark = Mark { space: self.branch, author: self.author(), n: self.n, link: self.prev };
        Frontier(if self.n == 0 { Vec::new() } else { vec![mark] })
    }
}

fn member_id(n: u16) -> MemberId {
    let mut id = [0xee; 16];
    id[..2].copy_from_slice(&n.to_le_bytes());
    MemberId(id)
}

/// How many inputs a test of random ones tries: `full` if `DINH_FULL=1`.
#[allow(clippy::disallowed_methods, reason = "the one switch of these tests")]
fn tries(few: usize, full: usize) -> usize {
    if std::env::var("DINH_FULL").is_ok_and(|v| v == "1") { full } else { few }
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn pick<'a, T>(rng: &mut ChaCha20Rng, of: &'a [T]) -> &'a T {
    &of[rng.next_u32() as usize % of.len()]
}

/// A branch with one device of each role, a space for everyone, a closed one of the secretary's with the committee's member
/// and the reviewer's, and in each a document for every kind of writers.
#[derive(Clone)]
struct Branch {
    id: SpaceId,
    root: SignKey,
    charter: Charter,
    items: Vec<Item>,
    /// By [`Role::ALL`]; the secretary's comes first.
    people: Vec<Chain>,
    open: SpaceId,
    closed: SpaceId,
    docs: BTreeMap<(SpaceId, u8), DocId>,
}

const WRITERS: [Writers; 4] = [Writers::All, Writers::Members, Writers::Committee, Writers::Officers];

impl Branch {
    fn new() -> Self {
        let mut people: Vec<Chain> = (1..=8).map(Chain::new).collect();
        let root = SignKey::from_seed(&[99; 32]);
        let (id, genesis) = found(&root, people[0].certificate(Role::Secretary));
        people.iter_mut().for_each(|chain| chain.branch = id);
        let founding = people[0].sign(&genesis);
        let (open, closed) =
            (SpaceId::derive(&people[0].id, &[1; 16]), SpaceId::derive(&people[0].id, &[2; 16]));
        let mut branch = Self {
            id,
            root,
            charter: Charter::new(id),
            items: Vec::new(),
            people,
            open,
            closed,
            docs: BTreeMap::new(),
        };
        branch.add(founding);
        for role in Role::ALL.into_iter().skip(1) {
            let admission = branch.of(role).admission(role);
            branch.issue(Role::Secretary, &admission);
        }
        let space =
            |n: u8, audience| Record::Space { nonce: [n; 16], history: true, padded: false, audience };
        branch.issue(Role::Secretary, &space(1, Audience::Everyone));
        let audience = Audience::Members(vec![member_id(1), member_id(3), member_id(6)]);
        branch.issue(Role::Secretary, &space(2, audience));
        for (i, writers) in WRITERS.into_iter().enumerate() {
            for (j, space) in [open, closed].into_iter().enumerate() {
                let nonce = [10 + 2 * i as u8 + j as u8; 16];
                branch
                    .issue(Role::Secretary, &Record::Document { nonce, space, writers, schema: Vec::new() });
                let doc = DocId::derive(&branch.of(Role::Secretary).id, &nonce);
                branch.docs.insert((space, i as u8), doc);
            }
        }
        branch
    }

    fn of(&self, role: Role) -> &Chain {
        &self.people[usize::from(role.to_wire()) - 1]
    }

    fn chain(&mut self, role: Role) -> &mut Chain {
        &mut self.people[usize::from(role.to_wire()) - 1]
    }

    fn new_chain(&self, seed: u16, member: u16) -> Chain {
        Chain { branch: self.id, ..Chain::of_member(seed, member) }
    }

    /// Adds a record that must count.
    fn add(&mut self, item: Item) {
        assert_eq!(self.charter.insert(&item), Ok(true), "{:?}", Record::decode(item.payload()));
        self.items.push(item);
    }

    fn issue(&mut self, role: Role, record: &Record) -> ItemId {
        let item = self.chain(role).issue(record);
        let id = item.id();
        self.add(item);
        id
    }

    fn issue_by(&mut self, chain: &mut Chain, record: &Record) -> ItemId {
        let item = chain.issue(record);
        let id = item.id();
        self.add(item);
        id
    }

    /// What `insert` says of a record, which is then in the charter or not.
    fn offer(&mut self, role: Role, record: &Record) -> Result<bool, RejectCode> {
        let item = self.chain(role).issue(record);
        self.charter.insert(&item)
    }

    fn keep(&mut self, item: Item) {
        assert_eq!(self.charter.keep(&item), Ok(true));
        self.items.push(item);
    }

    fn doc(&self, space: SpaceId, writers: Writers) -> DocId {
        let i = WRITERS.iter().position(|w| *w == writers).unwrap();
        self.docs[&(space, i as u8)]
    }
}

/// The header of a run.
fn run(author: Author, space: SpaceId, doc: DocId, n: u32) -> Header {
    Header {
        kind: Kind::Run,
        space,
        doc,
        author,
        place: Place::Chain { n, prev: if n == 1 { [0; 16] } else { [9; 16] } },
        first_seq: 1,
        count: 1,
        commitment: [1; 16],
        charter_tag: CharterTag::default(),
        key_epoch: KeyEpoch([1; 8]),
        payload_len: 1,
        payload_hash: [0; 32],
    }
}

/// The link of the only item that an author has under this counter in these tests.
fn link(n: u32) -> [u8; 16] {
    let mut out = [0x11; 16];
    out[..4].copy_from_slice(&n.to_le_bytes());
    out
}

fn mark(space: SpaceId, author: Author, n: u32) -> Mark {
    Mark { space, author, n, link: link(n) }
}

fn wrap_for(device: &DeviceId, seed: u8) -> Wrap {
    Wrap { tag: Wrap::tag_of(device), enc: [seed; 32], ct: [seed; 48] }
}

fn epoch(space: SpaceId, generation: u32, id: u8, wraps: Vec<Wrap>) -> Record {
    let id = EpochId([id; 16]);
    Record::Epoch(Box::new(EpochRecord { space, generation, id, issued: 0, prev: Vec::new(), wraps }))
}

/// The same answer for the same set, added at once.
fn from_scratch(branch: SpaceId, items: &[Item]) -> Charter {
    let mut charter = Charter::new(branch);
    charter.extend(items).unwrap();
    charter
}

fn assert_same(a: &Charter, b: &Charter, context: &str) {
    assert_eq!(a.tag(), b.tag(), "{context}");
    let counting = |c: &Charter| c.records().filter(|r| r.counts).map(|r| r.id).collect::<BTreeSet<_>>();
    assert_eq!(counting(a), counting(b), "{context}");
    assert!(a.view() == b.view(), "{context}: {:#?}\n{:#?}", a.view(), b.view());
}
