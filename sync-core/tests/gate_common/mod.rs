//! Honest sessions of several phones, and generic seeded mutations of what they write.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests, not all used by every program")]

#[path = "../document_common/mod.rs"]
pub(crate) mod document;

use std::collections::BTreeSet;

use automerge::legacy::{ElementId, Key, MarkData, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::{ActorId, Change, ExpandedChange, ObjType, ScalarValue};
use dinh_core::document::{ChangeHash, Document};
use dinh_core::gate::{GateError, Past, judge_change};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

use self::document::{Op as EditOp, base, commit, run};

/// `small`, or `full` when the variable DINH_FULL is set.
pub(crate) fn scaled(small: u64, full: u64) -> u64 {
    if std::env::var_os("DINH_FULL").is_some() { full } else { small }
}

/// Panics in the sandbox are expected: they are counted, not printed.
pub(crate) fn quiet() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if text.contains("tests/") || text.contains("dinh") {
            eprintln!("{text}");
        }
    }));
}

pub(crate) struct Rng(ChaCha8Rng);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn chance(&mut self, of: u64) -> bool {
        self.next().is_multiple_of(of)
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.0.fill_bytes(&mut out);
        out
    }

    fn text(&mut self) -> String {
        (0..self.below(5)).map(|_| ['a', 'ộ', ' ', '😀', 'ư'][self.below(5)]).collect()
    }

    pub(crate) fn edit(&mut self) -> EditOp {
        let n = |rng: &mut Self| rng.below(64);
        match self.below(14) {
            0..=3 => EditOp::Splice(n(self), n(self), self.below(4), self.text()),
            4 => EditOp::SetText(n(self), self.text()),
            5..=7 => EditOp::Mark(n(self), n(self), 1 + self.below(4), self.below(8), self.chance(2)),
            8..=9 => EditOp::Put(n(self), n(self), self.below(6)),
            10..=11 => EditOp::Insert(n(self), n(self), self.below(6)),
            _ => EditOp::Delete(n(self), n(self)),
        }
    }
}

/// A phone with a document and what its gate knows of it.
pub(crate) struct Phone {
    pub(crate) doc: Document,
    pub(crate) past: Past,
}

impl Phone {
    pub(crate) fn new(actor: u8) -> Self {
        Self { doc: Document::new([actor; 16]), past: Past::new() }
    }

    /// One random edit; the raw change if it wrote anything. The gate of the phone itself judges it.
    pub(crate) fn edit(&mut self, rng: &mut Rng) -> Option<Vec<u8>> {
        let ops: Vec<EditOp> = (0..=rng.below(3)).map(|_| rng.edit()).collect();
        let change = commit(&mut self.doc, &ops)?;
        dinh_core::gate::check_own(&change.raw, Some(&mut self.past), None).expect("an own change passes");
        Some(change.raw)
    }

    /// Takes everything that the other has: how many changes the gate judged, and what it refused.
    pub(crate) fn pull(&mut self, from: &Self) -> (u64, Vec<GateError>) {
        let (mut judged, mut refused, mut good) = (0, Vec::new(), Vec::new());
        for (hash, raw) in from.doc.changes_raw(&self.doc.heads()) {
            if self.doc.contains(&hash) {
                continue;
            }
            judged += 1;
            match judge_change(&raw, &mut self.past) {
                Ok(admitted) => good.push(admitted.change),
                Err(error) => refused.push(error),
            }
        }
        self.doc.apply(good).expect("complete");
        (judged, refused)
    }
}

/// A session of three phones that begin with one document: all changes, each after what it builds on.
pub(crate) struct Session {
    pub(crate) phones: Vec<Phone>,
    pub(crate) edits: u64,
    pub(crate) judged: u64,
    pub(crate) refused: Vec<GateError>,
}

impl Session {
    pub(crate) fn run(seed: u64, steps: usize) -> Self {
        let mut rng = Rng::new(seed);
        let first = base(1);
        let changes = first.changes_raw(&[]);
        let mut phones: Vec<Phone> = (1..=3).map(Phone::new).collect();
        let mut session = Self { phones: Vec::new(), edits: 1, judged: 0, refused: Vec::new() };
        for phone in &mut phones {
            for (_, raw) in &changes {
                judge_change(raw, &mut phone.past).expect("the base passes");
            }
            phone.doc.apply(changes.iter().map(|(_, raw)| document::parse(raw)).collect()).unwrap();
        }
        for _ in 0..steps {
            let one = rng.below(3);
            if rng.chance(4) {
                let other = (one + 1 + rng.below(2)) % 3;
                let from = std::mem::replace(&mut phones[other], Phone::new(9));
                let (judged, refused) = phones[one].pull(&from);
                phones[other] = from;
                session.judged += judged;
                session.refused.extend(refused);
            } else {
                session.edits += u64::from(phones[one].edit(&mut rng).is_some());
            }
        }
        session.phones = phones;
        session
    }

    /// Everybody gets everything.
    pub(crate) fn merge(mut self) -> Self {
        for (one, other) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
            let from = std::mem::replace(&mut self.phones[other], Phone::new(9));
            let (judged, refused) = self.phones[one].pull(&from);
            self.phones[other] = from;
            self.judged += judged;
            self.refused.extend(refused);
        }
        self
    }

    /// All changes of a merged session.
    pub(crate) fn changes(&self) -> Vec<(ChangeHash, Vec<u8>)> {
        self.phones[0].doc.changes_raw(&[])
    }
}

pub(crate) fn edit_once(doc: &mut Document, rng: &mut Rng) {
    let op = rng.edit();
    let _ = doc.edit::<_, dinh_core::document::EditError>(1_700_000_000, None, |edit| run(edit, &op));
}

// ---- mutations ------------------------------------------------------------------------------------------------

/// A chunk around these contents, with the right length, checksum and hash.
pub(crate) fn chunk(contents: &[u8]) -> Vec<u8> {
    let mut hashed = vec![1];
    let mut length = contents.len();
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        hashed.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    hashed.extend_from_slice(contents);
    let hash = Sha256::digest(&hashed);
    [&[0x85, 0x6f, 0x4a, 0x83], &hash[..4], &hashed].concat()
}

pub(crate) fn contents(raw: &[u8]) -> &[u8] {
    let length = raw[9..].iter().position(|b| b & 0x80 == 0).unwrap() + 1;
    &raw[9 + length..]
}

/// Numbers at which things tend to break, in either kind of LEB128.
fn extreme(rng: &mut Rng) -> Vec<u8> {
    let bits = [7, 8, 14, 16, 21, 24, 31, 32, 53, 62, 63, 64][rng.below(12)];
    let mut value: u128 = (1u128 << bits) - 1 + u128::from(rng.chance(2));
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out.truncate(10);
    out
}

/// The bytes with one to four places changed.
pub(crate) fn mutate_bytes(bytes: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(out.len());
        match rng.below(8) {
            0 => out[at] ^= 1 << rng.below(8),
            1 => out[at] = rng.next() as u8,
            2 => out[at] = out[at].wrapping_add([1, 0xff, 2, 0x80][rng.below(4)]),
            3 => out.insert(at, rng.next() as u8),
            4 => {
                let to = (at + 1 + rng.below(4)).min(out.len());
                out.drain(at..to);
            }
            5 => drop(out.splice(at..=at, extreme(rng))),
            6 => {
                let from = rng.below(other.len());
                let to = (from + 1 + rng.below(12)).min(other.len());
                out.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let to = (at + 1 + rng.below(8)).min(out.len());
                let twice = out[at..to].to_vec();
                out.splice(at..at, twice);
            }
        }
        if out.is_empty() {
            out.push(rng.next() as u8);
        }
    }
    out
}

/// What a session's changes mention: to make wrong references of right ones.
pub(crate) struct Pool {
    ids: Vec<OpId>,
    keys: Vec<Key>,
    objects: Vec<ObjectId>,
    actors: Vec<ActorId>,
    hashes: Vec<automerge::ChangeHash>,
    ops: Vec<Op>,
}

impl Pool {
    pub(crate) fn new(changes: &[(ChangeHash, Vec<u8>)]) -> Self {
        let mut pool = Self {
            ids: Vec::new(),
            keys: vec![Key::head()],
            objects: vec![ObjectId::Root],
            actors: Vec::new(),
            hashes: Vec::new(),
            ops: Vec::new(),
        };
        let mut actors = BTreeSet::new();
        for (_, raw) in changes {
            let change = Change::try_from(&raw[..]).unwrap();
            actors.insert(change.actor_id().clone());
            pool.hashes.push(change.hash());
            for (op, counter) in change.decode().operations.into_iter().zip(change.start_op().get()..) {
                let id = OpId(counter, change.actor_id().clone());
                match &op.action {
                    OpType::Make(_) => pool.objects.push(ObjectId::Id(id.clone())),
                    _ if op.insert => pool.keys.push(Key::Seq(ElementId::Id(id.clone()))),
                    _ => {}
                }
                if matches!(op.key, Key::Map(_)) {
                    pool.keys.push(op.key.clone());
                }
                pool.ids.push(id);
                pool.ops.push(op);
            }
        }
        pool.actors = actors.into_iter().collect();
        pool
    }

    fn id(&self, rng: &mut Rng) -> OpId {
        let mut id = self.ids[rng.below(self.ids.len())].clone();
        match rng.below(6) {
            0 => id.0 = id.0.wrapping_add(rng.below(3) as u64),
            1 => id.1 = self.actors[rng.below(self.actors.len())].clone(),
            2 => id.0 = rng.below(self.ids.len() + 10) as u64,
            _ => {}
        }
        id
    }

    fn key(&self, rng: &mut Rng) -> Key {
        match rng.below(8) {
            0 => Key::Map(["", "a", "b", "mới", &"k".repeat(300)][rng.below(5)].into()),
            1 => Key::Seq(ElementId::Id(self.id(rng))),
            _ => self.keys[rng.below(self.keys.len())].clone(),
        }
    }

    fn object(&self, rng: &mut Rng) -> ObjectId {
        if rng.chance(4) {
            ObjectId::Id(self.id(rng))
        } else {
            self.objects[rng.below(self.objects.len())].clone()
        }
    }
}

fn scalar(rng: &mut Rng) -> ScalarValue {
    match rng.below(14) {
        0 => ScalarValue::Null,
        1 => ScalarValue::Boolean(rng.chance(2)),
        2 => ScalarValue::Int(rng.next() as i64),
        3 => ScalarValue::Uint(rng.next()),
        4 => ScalarValue::F64(f64::from_bits(rng.next())),
        5 => ScalarValue::Timestamp(rng.next() as i64),
        6 => ScalarValue::Counter((rng.below(9) as i64).into()),
        7 => ScalarValue::Bytes(vec![7; rng.below(9)]),
        8 => ScalarValue::Unknown { type_code: 10 + rng.below(5) as u8, bytes: vec![1; rng.below(4)] },
        9 => ScalarValue::Str("".into()),
        10 => ScalarValue::Str("hai chữ".into()),
        11 => ScalarValue::Str("x".repeat(70_000).into()),
        _ => ScalarValue::Str(["a", "😀", "ộ"][rng.below(3)].into()),
    }
}

fn action(rng: &mut Rng) -> OpType {
    match rng.below(12) {
        0 => OpType::Make(ObjType::Map),
        1 => OpType::Make(ObjType::List),
        2 => OpType::Make(ObjType::Text),
        3 => OpType::Make(ObjType::Table),
        4 => OpType::Delete,
        5 => OpType::Increment(rng.next() as i64),
        6 | 7 => OpType::MarkBegin(MarkData {
            name: ["bold", "note", ""][rng.below(3)].into(),
            value: scalar(rng),
            expand: rng.chance(2),
        }),
        8 => OpType::MarkEnd(rng.chance(2)),
        _ => OpType::Put(scalar(rng)),
    }
}

fn preds(list: Vec<OpId>) -> SortedVec<OpId> {
    list.into()
}

fn mutate_op(op: &mut Op, pool: &Pool, rng: &mut Rng) {
    match rng.below(7) {
        0 => op.obj = pool.object(rng),
        1 => op.key = pool.key(rng),
        2 => op.insert = !op.insert,
        3 => op.action = action(rng),
        4 => op.pred = preds((0..rng.below(3)).map(|_| pool.id(rng)).collect()),
        5 => {
            let mut list: Vec<OpId> = op.pred.iter().cloned().collect();
            if rng.chance(2) && !list.is_empty() {
                list.remove(rng.below(list.len()));
            } else {
                list.push(pool.id(rng));
            }
            op.pred = preds(list);
        }
        _ => *op = pool.ops[rng.below(pool.ops.len())].clone(),
    }
}

/// A well-formed change with one to three fields of its head or operations changed.
pub(crate) fn mutate_change(change: &ExpandedChange, pool: &Pool, rng: &mut Rng) -> ExpandedChange {
    let mut out = change.clone();
    out.hash = None;
    for _ in 0..=rng.below(3) {
        let n = out.operations.len();
        match rng.below(24) {
            0 => out.seq = [0, 1, out.seq + 1, rng.next()][rng.below(4)],
            1 => {
                let start = [1, out.start_op.get() + 1, 1 << 24, rng.next() >> 32, u64::from(u32::MAX)];
                out.start_op = start[rng.below(5)].try_into().unwrap_or(out.start_op);
            }
            2 => out.time = [0, -1, i64::MIN, i64::MAX, 4_102_444_801, 1][rng.below(6)],
            3 => out.message = Some("m".repeat([0, 1, 200, 201][rng.below(4)])),
            4 => out.deps.push(pool.hashes[rng.below(pool.hashes.len())]),
            5 => drop(out.deps.pop()),
            6 => out.extra_bytes = vec![1; 1 + rng.below(5)],
            7 => out.actor_id = pool.actors[rng.below(pool.actors.len())].clone(),
            8 if n > 0 => drop(out.operations.remove(rng.below(n))),
            9 if n > 0 => out.operations.swap(rng.below(n), rng.below(n)),
            10 if n > 0 => {
                let op = out.operations[rng.below(n)].clone();
                out.operations.insert(rng.below(n + 1), op);
            }
            11 => out.operations.insert(rng.below(n + 1), pool.ops[rng.below(pool.ops.len())].clone()),
            _ if n > 0 => mutate_op(&mut out.operations[rng.below(n)], pool, rng),
            _ => {}
        }
    }
    out
}

/// The encoded mutation, if the encoder takes it.
pub(crate) fn encode(change: ExpandedChange) -> Option<Vec<u8>> {
    let encoded = std::panic::catch_unwind(|| Change::from(change).raw_bytes().to_vec());
    encoded.ok()
}
