//! Bar 3: a member signs, in its own name, what it may not say: each way is refused with an error of its own.
//!
//! What outsiders, removed devices and relays are told is in `replica_refusals.rs`, `sync-server/tests/refusals.rs` and the
//! charter's tests: `UnknownAuthor`, `BadSignature`, `NotAuthorised`, `Gap`, `Fork`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use dinh_core::document::{Document, EditError, Path};
use dinh_core::gate::{Authority, GateError, open_run, seal_run};
use dinh_core::path;
use dinh_proto::crypto::SpaceKey;
use dinh_proto::error::{InvalidMessage, RejectCode};
use dinh_proto::ids::{ActorId, ChangeHash, CharterTag, DeviceId, DocId, SessionId, SpaceId};
use dinh_proto::item::{Draft, HEADER_BYTES, Header, Item, Kind, Place, RawItem};
use dinh_proto::keys::{DeviceKey, DevicePublic};
use dinh_proto::limits;
use dinh_proto::pack::RawChange;

const DOC: DocId = DocId([2; 16]);
const SESSION: SessionId = SessionId([3; 8]);

fn key(seed: u8) -> DeviceKey {
    DeviceKey::from_seed(&[seed; 32])
}

/// Every member has it: it proves nothing about who wrote.
fn space_key() -> SpaceKey {
    SpaceKey::from_bytes(&[6; 32])
}

/// A charter by which all may write, and the space's key.
struct Everyone(SpaceKey);

impl Authority for Everyone {
    fn public(&self, device: &DeviceId) -> Option<DevicePublic> {
        (1..=3).map(|seed| key(seed).public()).find(|k| k.id() == *device)
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

fn device(seed: u8) -> DeviceId {
    key(seed).public().id()
}

/// Changes under this actor, and the hash of each.
fn changes(actor: ActorId, count: usize) -> Vec<(ChangeHash, Vec<u8>)> {
    let mut doc = Document::new(actor.0);
    for n in 0..count {
        let at: Path = path!["m"].join(format!("{n}").as_str());
        let value = i64::try_from(n).unwrap();
        doc.edit::<_, EditError>(1_700_000_000, None, |e| {
            if n == 0 {
                e.put_map(&path!["m"])?;
            }
            e.put(&at, value)
        })
        .unwrap();
    }
    let raw = doc.changes_raw(&[]).into_iter().map(|(_, raw)| raw);
    raw.map(|raw| (ChangeHash(RawChange::parse(&raw).unwrap().hash), raw)).collect()
}

/// What a member can put into a run that it signs.
struct Run {
    session: SessionId,
    doc: DocId,
    first_seq: u32,
    count: u16,
    last: ChangeHash,
    changes: Vec<Vec<u8>>,
}

impl Run {
    fn of(changes: &[(ChangeHash, Vec<u8>)]) -> Self {
        let first = RawChange::parse(&changes[0].1).unwrap();
        Self {
            session: SESSION,
            doc: DOC,
            first_seq: u32::try_from(first.seq).unwrap(),
            count: u16::try_from(changes.len()).unwrap(),
            last: changes.last().unwrap().0,
            changes: changes.iter().map(|(_, raw)| raw.clone()).collect(),
        }
    }

    /// Packed as a reader of the header expects it: actors and hashes that the reader knows stand for themselves.
    fn sign(&self, seed: u8, before: Option<&ChangeHash>) -> Item {
        let actor = ActorId::derive(&self.doc, &device(seed), &self.session);
        self.seal(seed, &seal_run(&actor, before, &self.changes).unwrap())
    }

    /// Signs whatever bytes.
    fn seal(&self, seed: u8, plain: &[u8]) -> Item {
        self.draft().seal(&key(seed), &space_key(), false, plain).unwrap()
    }

    fn draft(&self) -> Draft {
        Draft {
            kind: Kind::Run,
            space: SpaceId([1; 16]),
            doc: self.doc,
            session: self.session,
            place: Place::Chain { n: 1, prev: [0; 16] },
            first_seq: self.first_seq,
            count: self.count,
            last: self.last,
            charter_tag: CharterTag::default(),
        }
    }
}

/// What the gate says of a well-signed run; `before` is the author's change before it.
fn open(item: &Item, before: Option<&ChangeHash>) -> Result<usize, GateError> {
    let raw = RawItem::parse(item.bytes().clone()).unwrap();
    let author = raw.header().author.device;
    let public = (1..=3).map(|s| key(s).public()).find(|k| k.id() == author).unwrap();
    let item = raw.verify(&public).expect("it is well signed");
    open_run(&item, &Everyone(space_key()), before).map(|run| run.hashes().count())
}

fn own_actor(seed: u8) -> ActorId {
    ActorId::derive(&DOC, &device(seed), &SESSION)
}

#[test]
fn a_member_cannot_sign_what_is_not_its_own_or_not_in_its_place() {
    let mine = changes(own_actor(1), 17);
    let (first, last) = mine.split_at(16);
    assert_eq!(open(&Run::of(first).sign(1, None), None), Ok(16), "the honest run opens");
    let in_place = Some(&mine[15].0);
    assert_eq!(open(&Run::of(last).sign(1, in_place), in_place), Ok(1), "and the one after it");
    let theirs = changes(own_actor(2), 16);
    let other_doc = changes(ActorId::derive(&DocId([9; 16]), &device(1), &SESSION), 16);
    let other_session = changes(ActorId::derive(&DOC, &device(1), &SessionId([9; 8])), 16);
    let gone: Vec<_> = mine[..15].iter().chain(last).cloned().collect();
    let mut swapped = first.to_vec();
    swapped.swap(7, 8);
    let too_early = Some(&mine[14].0);
    // What is signed, and what its reader knows to be the author's change before.
    type Case<'a> = (&'static str, Run, Option<&'a ChangeHash>, &'static str);
    let cases: Vec<Case<'_>> = vec![
        ("another member's changes", Run::of(&theirs), None, "actor"),
        ("its own of another document", Run::of(&other_doc), None, "actor"),
        ("its own of another session", Run::of(&other_session), None, "actor"),
        ("signed for another document", Run { doc: DocId([9; 16]), ..Run::of(first) }, None, "actor"),
        ("signed in another session", Run { session: SessionId([9; 8]), ..Run::of(first) }, None, "actor"),
        ("more changes than counted", Run { count: 15, ..Run::of(first) }, None, "count"),
        ("fewer changes than counted", Run { count: 17, ..Run::of(first) }, None, "count"),
        ("no change", Run { changes: Vec::new(), ..Run::of(first) }, None, "count"),
        ("numbers that begin later", Run { first_seq: 2, ..Run::of(first) }, None, "change number"),
        ("a change left out", Run::of(&gone), None, "change number"),
        ("two changes in another order", Run::of(&swapped), None, "change number"),
        ("a later run as if it were the first", Run::of(last), None, "previous change"),
        ("a gap before the run", Run::of(last), too_early, "previous change"),
        ("the first changes again", Run::of(&first[..8]), in_place, "previous change"),
        (
            "a commitment to another change",
            Run { last: mine[14].0, ..Run::of(first) },
            None,
            "hash of the last change",
        ),
    ];
    let number = cases.len() + 1;
    for (what, run, before, expected) in cases {
        assert_eq!(open(&run.sign(1, before), before), Err(GateError::Mismatch(expected)), "{what}");
    }
    // Another's run as it was packed for its own reader: this one puts the signer in the author's place, and other changes come
    // out than were committed to.
    let theirs = Run::of(&theirs);
    let packed = seal_run(&own_actor(2), None, &theirs.changes).unwrap();
    let told = open(&theirs.seal(1, &packed), None);
    assert_eq!(told, Err(GateError::Mismatch("hash of the last change")));
    println!("{number} runs that a member signed and may not say, each with its own error, 0 accepted");
}

#[test]
fn what_nobody_signed_or_may_count_is_no_item() {
    let mine = changes(own_actor(1), 4);
    let run = Run::of(&mine);
    let item = run.sign(1, None);
    // An outsider with a key of its own, in its own name and in the member's.
    let outsider = run.sign(3, None);
    let parse = |item: &Item| RawItem::parse(item.bytes().clone()).unwrap();
    assert_eq!(parse(&outsider).verify(&key(1).public()), Err(RejectCode::BadSignature));
    assert_eq!(parse(&item).verify(&key(3).public()), Err(RejectCode::BadSignature));
    let with = |at: usize, bytes: &[u8]| {
        let mut head = item.bytes()[..HEADER_BYTES].to_vec();
        head[at..at + bytes.len()].copy_from_slice(bytes);
        Header::decode(&head)
    };
    // The place of each field is in docs/PROTOCOL.md, section 8.
    let over = u16::try_from(limits::RUN_CHANGES_MAX + 1).unwrap();
    let cases = [
        ("empty", with(84, &[0, 0]), InvalidMessage::NotAllowed("first seq and count")),
        (
            "over-count",
            with(84, &over.to_le_bytes()),
            InvalidMessage::TooLarge { what: "changes in a run", limit: limits::RUN_CHANGES_MAX as u64 },
        ),
        ("number zero", with(80, &[0; 4]), InvalidMessage::NotAllowed("first seq and count")),
        ("numbers beyond the last", with(80, &[0xff; 4]), InvalidMessage::NotAllowed("first seq")),
        ("no place", with(60, &[0; 4]), InvalidMessage::NotAllowed("n and link")),
        ("the first with a link", with(64, &[1; 16]), InvalidMessage::NotAllowed("n and link")),
        ("the second without one", with(60, &[2, 0, 0, 0]), InvalidMessage::NotAllowed("n and link")),
        ("no document", with(20, &[0; 16]), InvalidMessage::NotAllowed("document")),
    ];
    let number = cases.len();
    for (what, found, expected) in cases {
        assert_eq!(found.map(drop), Err(expected), "{what}");
    }
    // Nor does the API sign them.
    assert!(Run { count: 0, ..Run::of(&mine) }.draft().seal(&key(1), &space_key(), false, b"x").is_err());
    assert!(Run { count: over, ..Run::of(&mine) }.draft().seal(&key(1), &space_key(), false, b"x").is_err());
    println!("{} headers that cannot be, each with its own error, 0 accepted", number);
}
