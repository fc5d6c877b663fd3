//! The gate in a replica: runs that wait, runs that break a rule, and an engine that panics at any of its calls.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod gate_common;
mod scripted_relay;

use std::time::Instant;

use bytes::Bytes;
use dinh_core::document::Value;
use dinh_core::gate::{Call, seal_run};
use dinh_core::path;
use dinh_core::replica::ReplicaError;
use dinh_core::testing::{engine, space_key};
use dinh_proto::charter::record::{Audience, JoinRequest, Role, Writers};
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{ChangeHash, CharterTag, DeviceId, DocId, MemberId, SessionId, SpaceId};
use dinh_proto::item::{Draft, Item, Kind, Place, RawItem};
use dinh_proto::keys::SignKey;
use dinh_proto::pack::RawChange;
use gate_common::{Rng, encode, quiet, scaled};
use scripted_relay::{NOW, Phone, key};

impl Phone {
    /// Delivers items; the connection goes on.
    fn receive(&mut self, items: &[Bytes]) {
        self.deliver(items);
        assert_eq!(self.ended, None);
    }

    fn put(&mut self, doc: &DocId, key: &str, value: &str) -> Bytes {
        self.replica.edit(NOW, doc, None, |e| e.put(&path![key], value)).unwrap();
        self.run();
        // A snapshot may come with it.
        let is_run = |item: &Bytes| RawItem::parse(item.clone()).unwrap().header().kind == Kind::Run;
        let runs: Vec<Bytes> = self.puts.drain(..).filter(is_run).collect();
        assert_eq!(runs.len(), 1);
        runs[0].clone()
    }

    fn get(&mut self, doc: &DocId, key: &str) -> Option<Value> {
        self.replica.view(doc, |v| v.get(&path![key])).unwrap()
    }
}

struct Hall {
    branch: SpaceId,
    space: SpaceId,
    doc: DocId,
    secretary: Phone,
    members: Vec<Phone>,
}

impl Hall {
    fn new(members: u8) -> Self {
        let mut secretary = Phone::new(1);
        let s = &mut secretary.replica;
        let branch = s.found_branch(&SignKey::from_seed(&[99; 32]), MemberId([1; 16]), "thư ký").unwrap();
        for seed in 2..=members + 1 {
            let request = JoinRequest::new(&key(seed));
            s.admit_device(branch, MemberId([seed; 16]), Role::Member, request, "điện thoại").unwrap();
        }
        let space = s.create_space(branch, Audience::Everyone).unwrap();
        let doc = s.create_document(space, Writers::All).unwrap();
        secretary.connect(0);
        secretary.puts.clear();
        let mut hall = Self { branch, space, doc, secretary, members: Vec::new() };
        hall.members = (2..=members + 1).map(|seed| hall.phone(seed)).collect();
        hall
    }

    fn phone(&self, seed: u8) -> Phone {
        let mut phone = Phone::new(seed);
        phone.replica.join(&self.secretary.replica.invitation(self.branch).unwrap()).unwrap();
        phone.connect(0);
        phone.puts.clear();
        phone
    }

    /// A run of one change that the member with this seed signs, whatever it says.
    fn signed(&self, seed: u8, raw: &[u8], n: u32, prev: [u8; 16], session: SessionId) -> Item {
        let head = RawChange::parse(raw).unwrap();
        let actor = dinh_proto::ids::ActorId(head.actor.try_into().unwrap());
        let payload = seal_run(&actor, None, &[raw]).unwrap();
        Draft {
            kind: Kind::Run,
            space: self.space,
            doc: self.doc,
            session,
            place: Place::Chain { n, prev },
            first_seq: u32::try_from(head.seq).unwrap(),
            count: 1,
            last: ChangeHash(head.hash),
            charter_tag: CharterTag::default(),
        }
        .seal(&key(seed), &space_key(&self.secretary.replica, &self.space).unwrap(), false, &payload)
        .unwrap()
    }
}

/// Runs of four members, and a fifth who has written too and has not received them.
fn four_runs_and_a_reader() -> (Hall, Vec<Bytes>, Phone) {
    let mut hall = Hall::new(5);
    let doc = hall.doc;
    let runs = (0..4).map(|i| hall.members[i].put(&doc, &format!("m{i}"), "có mặt")).collect();
    let mut reader = hall.phone(6);
    reader.put(&doc, "own", "của mình");
    (hall, runs, reader)
}

fn device(seed: u8) -> DeviceId {
    key(seed).public().id()
}

/// Bar 35. Four runs come in one message. The engine panics in the batch of all, takes the first two, panics at the
/// other two together and at the last one alone, twice: that one is to blame.
#[test]
fn a_run_on_which_the_engine_panics_is_put_aside_and_nothing_else_is_affected() {
    quiet();
    for call in [Call::Copy, Call::Apply, Call::Rebuild, Call::Save, Call::Load] {
        let (mut hall, runs, mut reader) = four_runs_and_a_reader();
        let doc = hall.doc;
        // What has been written here is read first.
        let first = (call == Call::Rebuild).then_some(false);
        engine::panic_at(call, first.into_iter().chain([true, false, true, false, true, true]));
        reader.receive(&runs);
        assert_eq!(engine::disarm(), 0, "{call:?}: every panic happened");
        let there: Vec<bool> = (0..4).map(|i| reader.get(&doc, &format!("m{i}")).is_some()).collect();
        assert_eq!(there, [true, true, true, false], "{call:?}");
        let list = reader.replica.quarantined().unwrap();
        assert_eq!(list.len(), 1, "{call:?}");
        assert_eq!((list[0].code, list[0].doc), (RejectCode::Malformed, Some(doc)));
        assert_eq!(list[0].author.map(|a| a.device), Some(device(5)));
        assert_eq!(list[0].bytes, runs[3].to_vec());
        assert!(list[0].detail.contains("panicked"), "{}", list[0].detail);
        // Everybody goes on: who was put aside waits, the others do not.
        let later = hall.members[3].put(&doc, "later", "sau");
        let other = hall.members[0].put(&doc, "other", "khác");
        reader.receive(&[later, other]);
        assert_eq!(
            (reader.get(&doc, "later"), reader.get(&doc, "other").is_some()),
            (None, true),
            "{call:?}"
        );
        assert_eq!(reader.replica.waiting_runs(&doc).unwrap(), 1, "{call:?}");
        reader.put(&doc, "own", "vẫn ghi được");
        // And the same from the disk.
        let hash = reader.replica.document_hash(&doc).unwrap();
        reader.replica.close_document(&doc).unwrap();
        assert_eq!(reader.replica.document_hash(&doc).unwrap(), hash, "{call:?}");
        assert_eq!(reader.replica.quarantined().unwrap().len(), 1);
    }
}

/// Bar 35: one panic at each call that happens while four runs are received, an edit is made, the document is closed,
/// opened and made again.
#[test]
fn one_panic_at_any_call_leaves_everything_else_standing() {
    quiet();
    let scene = |panic: Option<(Call, usize)>| {
        let (hall, runs, mut reader) = four_runs_and_a_reader();
        let doc = hall.doc;
        engine::calls();
        if let Some((call, skip)) = panic {
            engine::panic_at(call, (0..=skip).map(|n| n == skip));
        }
        reader.receive(&runs);
        let edited = reader.replica.edit(NOW, &doc, None, |e| e.put(&path!["own"], "lần hai"));
        let closed = reader.replica.close_document(&doc);
        // One try that fails is followed by one that does not.
        let read = reader.replica.view(&doc, |v| v.get(&path![])).map(drop);
        let calls = engine::calls();
        let left = engine::disarm();
        let failed = [edited.map(drop), closed, read].into_iter().filter_map(Result::err).collect::<Vec<_>>();
        assert!(failed.len() <= 1, "{failed:?}");
        for error in &failed {
            let told = matches!(error, ReplicaError::Document(_) | ReplicaError::Refused(_));
            assert!(told, "{panic:?}: {error:?}");
        }
        let here = (0..4).filter(|i| reader.get(&doc, &format!("m{i}")).is_some()).count();
        let aside = reader.replica.quarantined().unwrap().len();
        assert_eq!((here, aside), (4, 0), "{panic:?}: every run is in the document");
        assert!(reader.get(&doc, "own").is_some(), "{panic:?}: what was written before is there");
        // It goes on.
        reader.put(&doc, "after", "vẫn ghi được");
        reader.replica.close_document(&doc).unwrap();
        assert!(reader.get(&doc, "after").is_some(), "{panic:?}");
        (calls, left, failed.len())
    };
    let (calls, ..) = scene(None);
    let (mut scenes, mut failed) = (0, 0);
    for call in Call::ALL {
        let times = calls.iter().filter(|c| **c == call).count();
        assert!(times > 0, "{call:?} is called");
        for skip in 0..times {
            let (_, left, errors) = scene(Some((call, skip)));
            assert_eq!(left, 0, "{call:?} {skip}: it panicked");
            (scenes, failed) = (scenes + 1, failed + errors);
        }
    }
    println!("{scenes} panics: {failed} calls of the app failed, 0 runs lost");
}

/// A run that breaks a rule is put aside on its own, with its author and the rule.
#[test]
fn a_run_that_breaks_a_rule_is_put_aside_with_author_and_rule() {
    quiet();
    let mut hall = Hall::new(3);
    let doc = hall.doc;
    let good = hall.members[0].put(&doc, "m0", "có mặt");
    let session = SessionId([7; 8]);
    let actor = dinh_proto::ids::ActorId::derive(&doc, &device(3), &session);
    let honest = hall.members[0].replica.document(&doc, |d| d.changes_raw(&[])).unwrap();
    let mut change = automerge::Change::try_from(&honest[0].1[..]).unwrap().decode();
    change.actor_id = automerge::ActorId::from(&actor.0[..]);
    change.time = -1;
    let raw = encode(change).unwrap();
    let bad = hall.signed(3, &raw, 1, [0; 16], session);
    let mut reader = hall.phone(4);
    assert_eq!(reader.get(&doc, "m0"), None);
    reader.receive(&[bad.bytes().clone(), good]);
    assert!(reader.get(&doc, "m0").is_some());
    let list = reader.replica.quarantined().unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].id, list[0].author), (Some(bad.id()), Some(bad.header().author)));
    assert!(list[0].detail.contains("G2 time"), "{}", list[0].detail);
}

/// Bar 11: runs that wait are looked at once, and once more when what they lack comes.
#[test]
fn runs_that_wait_cost_time_in_proportion_to_their_number_and_bounded_memory() {
    quiet();
    let full = scaled(1_000, 50_000);
    let mut times = Vec::new();
    for n in [full, 2 * full] {
        let mut hall = Hall::new(2);
        let doc = hall.doc;
        // Changes that build on something that nobody has, by one device after another.
        let mut rng = Rng::new(n);
        let session = SessionId([7; 8]);
        let actor = dinh_proto::ids::ActorId::derive(&doc, &device(2), &session);
        let first = hall.members[0].put(&doc, "x", "y");
        let honest = hall.members[0].replica.document(&doc, |d| d.changes_raw(&[])).unwrap();
        let mut change = automerge::Change::try_from(&honest[0].1[..]).unwrap().decode();
        change.actor_id = automerge::ActorId::from(&actor.0[..]);
        let mut prev = [0; 16];
        let mut runs = Vec::new();
        for i in 1..=n {
            change.deps = vec![automerge::ChangeHash(rng.bytes())];
            // The first waits for a change, the others for the author's one before; some for another's.
            change.seq = 1 + i * u64::from(!i.is_multiple_of(3));
            change.start_op = 2.try_into().unwrap();
            let raw = encode(change.clone()).unwrap();
            let item = hall.signed(2, &raw, u32::try_from(i).unwrap(), prev, session);
            prev = item.id().link();
            runs.push(item.bytes().clone());
        }
        let mut reader = hall.phone(3);
        assert_eq!(reader.get(&doc, "x"), None);
        let before = reader.replica.counters();
        let begin = Instant::now();
        reader.receive(&runs);
        let time = begin.elapsed();
        let judged = reader.replica.counters().judged - before.judged;
        assert_eq!(judged, n, "each is looked at once");
        let waiting = reader.replica.waiting_runs(&doc).unwrap() as u64;
        assert_eq!(waiting, n.min(32_768) + u64::from(n > 32_768));
        reader.receive(&[first]);
        assert!(reader.get(&doc, "x").is_some(), "others are not held up");
        assert_eq!(reader.replica.counters().judged - before.judged, n + 1, "nothing is looked at in vain");
        println!("{n} runs that wait: {time:?}, judged {judged} times, {waiting} known in memory");
        times.push(time.as_secs_f64());
    }
    let ratio = times[1] / times[0];
    println!("twice the runs: {ratio:.2} times the time");
    // Counted above; the clock of a busy machine only shows what is grossly wrong.
    assert!(ratio < if full > 10_000 { 2.3 } else { 4.0 }, "{ratio}");
}

/// What waited comes in the worst order, and all of it gets in.
#[test]
fn runs_that_came_backwards_are_applied_when_the_first_one_comes() {
    quiet();
    let n = usize::try_from(scaled(300, 3_000)).unwrap();
    let mut hall = Hall::new(3);
    let doc = hall.doc;
    let mut runs: Vec<Bytes> =
        (0..n).map(|i| hall.members[0].put(&doc, &format!("k{}", i % 50), &format!("{i}"))).collect();
    hall.members[1].receive(&runs);
    runs.push(hall.members[1].put(&doc, "b", "xây trên tất cả"));
    runs.reverse();
    let hash = hall.members[1].replica.document_hash(&doc).unwrap();
    let mut reader = hall.phone(4);
    assert_eq!(reader.get(&doc, "b"), None);
    let last = runs.pop().unwrap();
    reader.receive(&runs);
    assert_eq!(reader.replica.waiting_runs(&doc).unwrap(), n);
    reader.receive(&[last]);
    assert_eq!(reader.replica.waiting_runs(&doc).unwrap(), 0);
    assert_eq!(reader.replica.document_hash(&doc).unwrap(), hash);
    let judged = reader.replica.counters().judged;
    assert!(judged <= 2 * n as u64 + 2, "{judged}");
    println!("{n} runs backwards: judged {judged} times");
}
