//! Who may write which fields: what an app without the rules, or a forger, writes elsewhere is kept and shown to nobody, on
//! every device, until an officer lets it in.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod small_relay;

use dinh_core::document::{Path, Value};
use dinh_core::gate::rights::{How, Rule, Says, Schema, Seal, Step, Who};
use dinh_core::path;
use dinh_core::replica::{Event, Now, Replica, ReplicaConfig, ReplicaError};
use dinh_core::store::MemoryStore;
use dinh_proto::charter::record::{Audience, JoinRequest, Role, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::keys::{DeviceKey, SignKey};
use small_relay::{SmallRelay, at};

static LEDGER: Schema = Schema {
    name: "test.ledger/1",
    rules: &[
        Rule::new(&[Step::Key("title")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("seal"), Step::Rest], Who::SECRETARY, How::Once),
        Rule::new(&[Step::Key("text"), Step::Rest], Who::OFFICERS.or(Who::RECORDER), How::Free),
        Rule::new(&[Step::Key("marks"), Step::Own, Step::Rest], Who::MEMBERS, How::Free),
        Rule::new(&[Step::Key("marks"), Step::Any, Step::Rest], Who::RECORDER, How::Free),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("by")], Who::MEMBERS, How::Entry)
            .saying(Says::Own),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Key("kind")], Who::OFFICERS, How::Entry)
            .saying(Says::OneOf(&["close"])),
        Rule::new(&[Step::Key("events"), Step::Any, Step::Rest], Who::MEMBERS, How::Entry),
    ],
    others: Who::OFFICERS,
    seal: Some(Seal { key: "seal", frozen: &["text", "title"] }),
};

static SCHEMAS: &[&Schema] = &[&LEDGER];

type Phone = Replica<MemoryStore>;

fn opened(seed: u8, knows: bool) -> Phone {
    let schemas: &'static [&'static Schema] = if knows { SCHEMAS } else { &[] };
    let config = ReplicaConfig { schemas, ..ReplicaConfig::default() };
    Replica::open(MemoryStore::new(), DeviceKey::from_seed(&[seed; 32]), config, [seed; 32]).unwrap()
}

/// A secretary, a recorder, a member whose app knows the rules, and one whose app does not.
struct Hall {
    relay: SmallRelay,
    phones: Vec<Phone>,
    branch: SpaceId,
    doc: DocId,
    clock: u64,
}

const SECRETARY: usize = 0;
const RECORDER: usize = 1;
const MEMBER: usize = 2;
const FORGER: usize = 3;

fn member(i: usize) -> MemberId {
    MemberId([i as u8 + 1; 16])
}

impl Hall {
    fn new() -> Self {
        let mut phones: Vec<Phone> = (0..4).map(|i| opened(i + 1, usize::from(i) != FORGER)).collect();
        let root = SignKey::from_seed(&[200; 32]);
        let branch = phones[SECRETARY].found_branch(&root, member(0), "thư ký").unwrap();
        for i in 1..4 {
            let request = JoinRequest::new(&DeviceKey::from_seed(&[i as u8 + 1; 32]));
            phones[SECRETARY].admit_device(branch, member(i), Role::Member, request, "máy").unwrap();
        }
        let space = phones[SECRETARY].create_space(branch, Audience::Everyone).unwrap();
        let doc = phones[SECRETARY].create_document_with(space, Writers::All, LEDGER.name).unwrap();
        phones[SECRETARY].name_recorder(doc, member(RECORDER)).unwrap();
        let invitation = phones[SECRETARY].invitation(branch).unwrap();
        phones[1..].iter_mut().for_each(|p| {
            p.join(&invitation).unwrap();
        });
        let mut this = Self { relay: SmallRelay::default(), phones, branch, doc, clock: 0 };
        let now = this.now();
        this.phones[SECRETARY]
            .edit(now, &doc, None, |e| {
                e.put(&path!["title"], "Sổ biên bản")?;
                e.put_text(&path!["text"])?;
                e.put_map(&path!["marks"])?;
                e.put_map(&path!["events"])
            })
            .unwrap();
        this.sync();
        this
    }

    fn now(&mut self) -> Now {
        self.clock += 10;
        at(self.clock)
    }

    fn sync(&mut self) {
        for _ in 0..3 {
            for i in 0..self.phones.len() {
                let now = self.now();
                self.relay.meet(&mut self.phones[i], now);
            }
        }
    }

    fn put(&mut self, i: usize, path: &Path, value: impl Into<Value>) -> Result<(), ReplicaError> {
        let (now, doc) = (self.now(), self.doc);
        self.phones[i].edit(now, &doc, None, |e| e.put(path, value.into())).map(|_| ())
    }

    fn get(&mut self, i: usize, path: &Path) -> Option<Value> {
        let doc = self.doc;
        self.phones[i].view(&doc, |v| v.get(path)).unwrap()
    }

    fn hash(&mut self, i: usize) -> [u8; 32] {
        let doc = self.doc;
        self.phones[i].document_hash(&doc).unwrap()
    }
}

fn event(by: MemberId, kind: &str) -> Value {
    Value::Map([("by".to_owned(), by.to_string().into()), ("kind".to_owned(), kind.into())].into())
}

fn own(i: usize, under: &str) -> Path {
    path![under, member(i).to_string()]
}

#[test]
fn what_is_not_ones_own_to_write_is_refused_at_once_with_the_reason() {
    let mut hall = Hall::new();
    assert_eq!(hall.phones[MEMBER].schema_of(&hall.doc), Some("test.ledger/1"));
    let says = |result: Result<(), ReplicaError>| match result {
        Err(ReplicaError::Denied(denied)) => denied.to_string(),
        other => panic!("{other:?}"),
    };
    let why = says(hall.put(MEMBER, &path!["title"], "khác"));
    assert!(why.contains("title") && why.contains("creator"), "{why}");
    assert!(says(hall.put(SECRETARY, &path!["title"], "khác")).contains("never changed"));
    assert!(says(hall.put(MEMBER, &path!["text"], "x")).contains("recorder"));
    assert!(says(hall.put(MEMBER, &own(RECORDER, "marks"), true)).contains("recorder"));
    assert!(says(hall.put(MEMBER, &path!["new field"], true)).contains("secretary"));
    assert!(
        says(hall.put(MEMBER, &path!["events", "e1"], event(member(0), "open"))).contains("another member")
    );
    assert!(says(hall.put(MEMBER, &path!["events", "e1"], event(member(2), "close"))).contains("secretary"));
    assert!(says(hall.put(MEMBER, &path!["released"], Value::map())).contains("secretary"));
    hall.put(MEMBER, &own(MEMBER, "marks"), true).unwrap();
    hall.put(MEMBER, &own(MEMBER, "marks"), false).unwrap();
    hall.put(MEMBER, &path!["events", "e2"], event(member(2), "open")).unwrap();
    hall.put(SECRETARY, &path!["events", "e3"], event(member(0), "close")).unwrap();
    // An entry is complete when it is made, whoever comes.
    assert!(says(hall.put(MEMBER, &path!["events", "e2", "more"], true)).contains("complete"));
    assert!(says(hall.put(SECRETARY, &path!["events", "e3", "kind"], "open")).contains("never changed"));
    hall.sync();
    hall.put(RECORDER, &own(MEMBER, "marks"), true).unwrap();
    hall.sync();
    for i in 0..4 {
        assert_eq!(hall.get(i, &own(MEMBER, "marks")), Some(Value::Bool(true)));
        assert_eq!(hall.hash(i), hall.hash(SECRETARY));
        let doc = hall.doc;
        assert!(hall.phones[i].denied_runs(&doc).unwrap().is_empty());
    }
}

#[test]
fn what_an_app_without_the_rules_writes_is_kept_and_shown_to_nobody_until_an_officer_lets_it_in() {
    let mut hall = Hall::new();
    let doc = hall.doc;
    let before = hall.hash(SECRETARY);
    // Who has the document open is told.
    (0..4).for_each(|i| assert_eq!(hall.hash(i), before));
    hall.put(FORGER, &path!["text"], "chiếm chỗ").unwrap();
    hall.put(FORGER, &own(FORGER, "marks"), true).unwrap();
    hall.sync();
    for i in [SECRETARY, RECORDER, MEMBER] {
        assert_eq!(hall.hash(i), before, "phone {i}");
        let denied = hall.phones[i].denied_runs(&doc).unwrap();
        assert_eq!(denied.len(), 1);
        assert_eq!(denied[0].author.device, hall.phones[FORGER].device());
        assert!(denied[0].denied.to_string().contains("text"));
        let told = std::iter::from_fn(|| hall.phones[i].poll_event());
        assert_eq!(told.filter(|e| matches!(e, Event::RunDenied { .. })).count(), 1, "phone {i}");
    }
    // Others go on; what the forger builds on its own waits with it.
    hall.put(RECORDER, &own(MEMBER, "marks"), true).unwrap();
    hall.put(FORGER, &own(FORGER, "marks"), false).unwrap();
    hall.sync();
    for i in [SECRETARY, RECORDER, MEMBER] {
        assert_eq!(hall.get(i, &own(MEMBER, "marks")), Some(Value::Bool(true)));
        assert_eq!(hall.get(i, &own(FORGER, "marks")), None);
        // From disk, the same.
        let store = std::mem::replace(&mut hall.phones[i], opened(99, true)).close().unwrap();
        let config = ReplicaConfig { schemas: SCHEMAS, ..ReplicaConfig::default() };
        let key = DeviceKey::from_seed(&[i as u8 + 1; 32]);
        hall.phones[i] = Replica::open(store, key, config, [i as u8 + 50; 32]).unwrap();
        assert_eq!(hall.phones[i].denied_runs(&doc).unwrap().len(), 1);
    }
    let run = hall.phones[MEMBER].denied_runs(&doc).unwrap()[0].id;
    let now = hall.now();
    assert!(matches!(hall.phones[MEMBER].release_run(now, &doc, &run), Err(ReplicaError::Denied(_))));
    hall.phones[SECRETARY].release_run(now, &doc, &run).unwrap();
    assert_eq!(hall.get(SECRETARY, &own(FORGER, "marks")), Some(Value::Bool(false)), "at once");
    hall.sync();
    let hash = hall.hash(SECRETARY);
    for i in 0..4 {
        assert_eq!(hall.get(i, &path!["text"]), Some(Value::from("chiếm chỗ")));
        assert_eq!(hall.hash(i), hash, "phone {i}");
        assert!(hall.phones[i].denied_runs(&doc).unwrap().is_empty(), "phone {i}");
    }
    // A phone that comes now says the same.
    let request = JoinRequest::new(&DeviceKey::from_seed(&[9; 32]));
    let branch = hall.branch;
    hall.phones[SECRETARY].admit_device(branch, MemberId([9; 16]), Role::Member, request, "mới").unwrap();
    let mut new = opened(9, true);
    new.join(&hall.phones[SECRETARY].invitation(branch).unwrap()).unwrap();
    hall.phones.push(new);
    hall.sync();
    assert_eq!(hall.hash(4), hash);
}

#[test]
fn a_role_that_comes_or_goes_is_judged_where_it_was_held() {
    let mut hall = Hall::new();
    let (doc, branch) = (hall.doc, hall.branch);
    // The forger's app lets it write; then it becomes a deputy, and what it writes from then on counts.
    hall.put(FORGER, &path!["text"], "trước").unwrap();
    hall.sync();
    hall.phones[SECRETARY].change_role(branch, member(FORGER), Role::Deputy).unwrap();
    hall.sync();
    for i in [SECRETARY, RECORDER, MEMBER] {
        assert_eq!(hall.phones[i].denied_runs(&doc).unwrap().len(), 1, "phone {i}: it was a member's then");
    }
    let run = hall.phones[SECRETARY].denied_runs(&doc).unwrap()[0].id;
    let now = hall.now();
    hall.phones[SECRETARY].release_run(now, &doc, &run).unwrap();
    hall.sync();
    hall.put(FORGER, &path!["text"], "sau").unwrap();
    hall.sync();
    let hash = hall.hash(SECRETARY);
    for i in 0..4 {
        assert_eq!(hall.get(i, &path!["text"]), Some(Value::from("sau")), "phone {i}");
        assert_eq!(hall.hash(i), hash);
    }
}

#[test]
fn who_knows_of_the_seal_changes_nothing_that_it_froze_and_who_does_not_is_heard_late() {
    let mut hall = Hall::new();
    let doc = hall.doc;
    // The recorder is away and writes on; the secretary seals.
    hall.put(RECORDER, &path!["text"], "chưa biết niêm phong").unwrap();
    let now = hall.now();
    hall.phones[SECRETARY].edit(now, &doc, None, |e| e.put(&path!["seal"], "đã niêm phong")).unwrap();
    let why = hall.put(SECRETARY, &path!["text"], "sửa sau").unwrap_err().to_string();
    assert!(why.contains("sealed"), "{why}");
    let why = hall.put(SECRETARY, &path!["seal"], "khác").unwrap_err().to_string();
    assert!(why.contains("never changed"), "{why}");
    hall.put(MEMBER, &own(MEMBER, "marks"), true).unwrap();
    hall.sync();
    // An app without the rules goes on although it knows.
    hall.put(FORGER, &path!["text"], "bất chấp").unwrap();
    hall.sync();
    let hash = hall.hash(SECRETARY);
    for i in [SECRETARY, RECORDER, MEMBER] {
        assert_eq!(
            hall.get(i, &path!["text"]),
            Some(Value::from("chưa biết niêm phong")),
            "kept: it is late"
        );
        assert_eq!(hall.get(i, &own(MEMBER, "marks")), Some(Value::Bool(true)), "not frozen");
        assert_eq!(hall.hash(i), hash);
        let denied = hall.phones[i].denied_runs(&doc).unwrap();
        assert_eq!(denied.len(), 1);
        assert!(denied[0].denied.to_string().contains("sealed"));
    }
    assert!(hall.put(RECORDER, &path!["text"], "nữa").unwrap_err().to_string().contains("sealed"));
}

/// An app learns the rules: what it wrote without them is off its own screen, too. What is written from then on must not take
/// the numbers of that, or the two could never both be there.
#[test]
fn what_is_written_beside_own_denied_changes_stands_apart_from_them() {
    let mut hall = Hall::new();
    let doc = hall.doc;
    hall.put(FORGER, &path!["text"], "trước khi cập nhật").unwrap();
    hall.sync();
    let store = std::mem::replace(&mut hall.phones[FORGER], opened(99, true)).close().unwrap();
    let config = ReplicaConfig { schemas: SCHEMAS, ..ReplicaConfig::default() };
    let key = DeviceKey::from_seed(&[FORGER as u8 + 1; 32]);
    hall.phones[FORGER] = Replica::open(store, key, config, [77; 32]).unwrap();
    let run = hall.phones[FORGER].denied_runs(&doc).unwrap()[0].id;
    hall.put(FORGER, &own(FORGER, "marks"), true).unwrap();
    assert_eq!(hall.get(FORGER, &own(FORGER, "marks")), Some(Value::Bool(true)));
    let now = hall.now();
    // The secretary's word and the other's new mark do not know of each other.
    hall.phones[SECRETARY].release_run(now, &doc, &run).unwrap();
    hall.sync();
    let hash = hall.hash(SECRETARY);
    for i in 0..4 {
        assert_eq!(hall.get(i, &own(FORGER, "marks")), Some(Value::Bool(true)), "phone {i}");
        assert_eq!(hall.get(i, &path!["text"]), Some(Value::from("trước khi cập nhật")), "phone {i}");
        assert_eq!(hall.hash(i), hash, "phone {i}");
    }
}
