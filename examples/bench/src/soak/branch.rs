//! A branch as a relay sees it: a charter with its members, one space, one document; and the items that its devices write.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use dinh_proto::charter::record::{Audience, Certificate, JoinRequest, Record, Role, Writers, found};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::ids::{
    ChangeHash, CharterTag, Cursor, DeviceId, DocId, ItemId, MemberId, Seq, SessionId, SpaceId,
};
use dinh_proto::item::{Draft, Item, Kind, Place};
use dinh_proto::keys::{DeviceKey, SignKey};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Unit of the time that a run carries in its `first_seq`, microseconds: twelve hours fit.
const STAMP_MICROS: u64 = 10;
/// Bytes of one item of a branch's past.
const PAST_ITEM_BYTES: usize = 40_000;

/// What everyone knows of a branch.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) id: SpaceId,
    pub(super) space: SpaceId,
    doc: DocId,
    key: SpaceKey,
    /// Everything that was acknowledged.
    truth: Mutex<Vec<Stored>>,
    founded: OnceLock<Cursor>,
}

/// An item in the relay's log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) seq: Seq,
    pub(super) id: ItemId,
    pub(super) author: DeviceId,
    /// When it was signed, since the start.
    pub(super) signed: Duration,
}

impl Branch {
    pub(super) fn acknowledged(&self, stored: Stored) {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner).push(stored);
    }

    /// In the order of the log.
    pub(super) fn truth(&self) -> Vec<Stored> {
        let mut truth = self.truth.lock().unwrap_or_else(PoisonError::into_inner).clone();
        truth.sort_by_key(|stored| stored.seq);
        truth
    }

    /// Where the log was when its charter and its past were stored.
    pub(super) fn founded_at(&self) -> Option<Cursor> {
        self.founded.get().copied()
    }

    pub(super) fn set_founded_at(&self, cursor: Cursor) {
        self.founded.get_or_init(|| cursor);
    }
}

/// A device that writes: its key, and the ends of its chains.
#[derive(Debug)]
pub(super) struct Author {
    pub(super) key: DeviceKey,
    session: SessionId,
    charter: (u32, [u8; 16]),
    meeting: (u32, [u8; 16]),
}

impl Author {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self {
            key: DeviceKey::from_seed(&seed),
            session: SessionId([1; 8]),
            charter: (0, [0; 16]),
            meeting: (0, [0; 16]),
        }
    }

    pub(super) fn id(&self) -> DeviceId {
        self.key.public().id()
    }

    fn draft(&self, kind: Kind, space: SpaceId, (n, prev): (u32, [u8; 16])) -> Draft {
        Draft {
            kind,
            space,
            doc: DocId::default(),
            session: self.session,
            place: Place::Chain { n: n + 1, prev },
            first_seq: 0,
            count: 0,
            last: ChangeHash::default(),
            charter_tag: CharterTag::default(),
        }
    }

    fn record(&mut self, branch: SpaceId, payload: &[u8]) -> Item {
        let item = self
            .draft(Kind::Charter, branch, self.charter)
            .sign(&self.key, payload)
            .expect("a record within its limits");
        self.charter = (self.charter.0 + 1, item.id().link());
        item
    }

    /// A run with this many bytes of what somebody wrote. The relay cannot read it, so noise will do.
    pub(super) fn write(&mut self, branch: &Branch, signed: Duration, plain: &[u8]) -> Item {
        let draft = Draft {
            doc: branch.doc,
            first_seq: stamp(signed),
            count: 1,
            last: ChangeHash([4; 32]),
            ..self.draft(Kind::Run, branch.space, self.meeting)
        };
        let item = draft.seal(&self.key, &branch.key, false, plain).expect("a run within its limits");
        self.meeting = (self.meeting.0 + 1, item.id().link());
        item
    }
}

fn stamp(signed: Duration) -> u32 {
    u32::try_from(signed.as_micros() as u64 / STAMP_MICROS + 1).unwrap_or(u32::MAX)
}

/// When a run was signed.
pub(super) fn signed_at(first_seq: u32) -> Duration {
    Duration::from_micros(u64::from(first_seq.saturating_sub(1)) * STAMP_MICROS)
}

/// A branch whose first author is its secretary, and what has to be stored before anyone else can come: the charter, and a past
/// of so many bytes.
pub(super) fn found_branch(
    number: usize,
    members: usize,
    past_bytes: usize,
    rng: &mut ChaCha8Rng,
) -> (Arc<Branch>, Vec<Author>, Vec<Item>) {
    let mut rng = ChaCha8Rng::seed_from_u64(rng.next_u64());
    let mut authors: Vec<Author> = (0..members).map(|_| Author::new(&mut rng)).collect();
    let certificates: Vec<Certificate> = authors
        .iter()
        .zip(0u64..)
        .map(|(author, place)| {
            let mut member = [0; 16];
            member[..8].copy_from_slice(&(number as u64).to_le_bytes());
            member[8..].copy_from_slice(&(place + 1).to_le_bytes());
            let role = if place == 0 { Role::Secretary } else { Role::Member };
            Certificate {
                member: MemberId(member),
                role,
                request: JoinRequest::new(&author.key),
                name: Vec::new(),
            }
        })
        .collect();
    let (mut root, mut space_key) = ([0; 32], [0; 32]);
    rng.fill_bytes(&mut root);
    rng.fill_bytes(&mut space_key);
    let secretary = &mut authors[0];
    let mut certificates = certificates.into_iter();
    let first = certificates.next().expect("a branch has a secretary");
    let (id, genesis) = found(&SignKey::from_seed(&root), first);
    let mut items = vec![secretary.record(id, &genesis)];
    for certificate in certificates {
        let record = Record::Device { certificate: Box::new(certificate), seen: Vec::new() };
        items.push(secretary.record(id, &record.encode()));
    }
    let nonce = [20; 16];
    let space = SpaceId::derive(&secretary.id(), &nonce);
    let record = Record::Space { nonce, history: true, padded: false, audience: Audience::Everyone };
    items.push(secretary.record(id, &record.encode()));
    let doc = DocId::derive(&secretary.id(), &nonce);
    let record = Record::Document { nonce, space, writers: Writers::All, schema: Vec::new() };
    items.push(secretary.record(id, &record.encode()));
    let branch = Branch {
        id,
        space,
        doc,
        key: SpaceKey::from_bytes(&space_key),
        truth: Mutex::default(),
        founded: OnceLock::new(),
    };
    let mut plain = vec![0; PAST_ITEM_BYTES];
    for _ in 0..past_bytes / PAST_ITEM_BYTES {
        rng.fill_bytes(&mut plain);
        items.push(secretary.write(&branch, Duration::ZERO, &plain));
    }
    (Arc::new(branch), authors, items)
}
