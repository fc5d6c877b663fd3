//! Bars 1, 2, 4 and 5: what an author did not sign is accepted from nobody, and who signs two histories leaves a proof.
//!
//! `DINH_FULL=1` runs the counts of a release.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod curve;
mod fork;
mod item;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjType, ROOT, ReadDoc};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::ids::{ActorId, ChangeHash, CharterTag, DocId, SessionId, SpaceId};
use dinh_proto::item::{Draft, Item, Kind, Place};
use dinh_proto::keys::DeviceKey;
use dinh_proto::pack::{PackContext, PackLimits, RawChange, pack_in};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

const SPACE: SpaceId = SpaceId([1; 16]);
const DOC: DocId = DocId([2; 16]);
const SESSION: SessionId = SessionId([3; 8]);

/// `small`, or `full` when the variable DINH_FULL is set.
fn scaled(small: u64, full: u64) -> u64 {
    if std::env::var_os("DINH_FULL").is_some() { full } else { small }
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A number below `n`.
fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    (rng.next_u64() % n.max(1) as u64) as usize
}

fn key(seed: u8) -> DeviceKey {
    DeviceKey::from_seed(&[seed; 32])
}

/// The changes that an author writes after another, each a few words.
struct Author {
    key: DeviceKey,
    doc: AutoCommit,
    text: automerge::ObjId,
    actor: ActorId,
    before: Option<ChangeHash>,
    seq: u32,
}

impl Author {
    fn new(seed: u8) -> Self {
        let key = key(seed);
        let actor = ActorId::derive(&DOC, &key.public().id(), &SESSION);
        let mut doc = AutoCommit::new().with_actor(automerge::ActorId::from(&actor.0[..]));
        let text = doc.put_object(ROOT, "text", ObjType::Text).unwrap();
        Self { key, doc, text, actor, before: None, seq: 0 }
    }

    fn write(&mut self, words: &str) {
        let at = self.doc.length(&self.text);
        self.doc.splice_text(&self.text, at, 0, words).unwrap();
        self.doc.commit();
    }

    /// The item of what was written since the last one.
    fn run(&mut self, place: Place) -> Item {
        let heads: Vec<_> = self.before.iter().map(|h| automerge::ChangeHash(h.0)).collect();
        let raw: Vec<Vec<u8>> = self.doc.get_changes(&heads).iter().map(|c| c.raw_bytes().to_vec()).collect();
        let hashes: Vec<[u8; 32]> = self.before.iter().map(|h| h.0).collect();
        let context = PackContext { actors: &[&self.actor.0], hashes: &hashes };
        let payload = pack_in(context, &raw, &PackLimits::RUN).unwrap();
        let last = ChangeHash(RawChange::parse(raw.last().unwrap()).unwrap().hash);
        let count = u16::try_from(raw.len()).unwrap();
        let item = sealed(&self.key, place, self.seq + 1, count, &last, &payload);
        self.before = Some(last);
        self.seq += u32::from(count);
        item
    }
}

/// The run that `key` makes of these bytes.
fn sealed(
    key: &DeviceKey,
    place: Place,
    first_seq: u32,
    count: u16,
    last: &ChangeHash,
    plain: &[u8],
) -> Item {
    Draft {
        kind: Kind::Run,
        space: SPACE,
        doc: DOC,
        session: SESSION,
        place,
        first_seq,
        count,
        last: *last,
        charter_tag: CharterTag::default(),
    }
    .seal(key, &SpaceKey::from_bytes(&[6; 32]), false, plain)
    .unwrap()
}

/// A run of `count` changes.
fn run_of(seed: u8, count: usize, place: Place) -> Item {
    let mut author = Author::new(seed);
    (0..count).for_each(|n| author.write(&format!("ý kiến {n} của máy {seed}, ")));
    author.run(place)
}

const FIRST: Place = Place::Chain { n: 1, prev: [0; 16] };
