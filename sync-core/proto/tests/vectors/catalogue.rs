//! The vectors that are accepted, made from fixed seeds.

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{AutoCommit, ObjType, ROOT, ReadDoc};
use bytes::Bytes;
use dinh_proto::channel::{Binding, Channel, write_refusal};
use dinh_proto::charter::record::{
    Audience, Certificate, Frontier, JoinRequest, Mark, Reason, Record, Role, Writers, found, recover,
};
use dinh_proto::codec::Write;
use dinh_proto::error::{CloseCode, RejectCode};
use dinh_proto::ids::*;
use dinh_proto::item::{Draft, ITEM_OVERHEAD_BYTES, Item, Kind, Place, RawItem, SpaceSum};
use dinh_proto::keys::{DeviceKey, RelayKey, SignKey};
use dinh_proto::pack::{PackContext, PackLimits, RawChange, pack, pack_in};
use dinh_proto::ranges::Ranges;
use dinh_proto::wire::*;
use serde_json::{Map, Value, json};

use super::{hex, sealed};

/// One vector.
#[derive(Debug, Clone)]
pub(crate) struct Vector {
    /// Its file, without the ending.
    pub(crate) name: String,
    /// What `describe` reads it as.
    pub(crate) kind: &'static str,
    pub(crate) about: &'static str,
    /// What a reader must know besides.
    pub(crate) with: Map<String, Value>,
    pub(crate) bytes: Vec<u8>,
    /// The code with which it must be refused, or none if it must be accepted.
    pub(crate) refused: Option<&'static str>,
}

/// All vectors, in the order of the index.
#[derive(Debug, Default)]
pub(crate) struct Catalogue(pub(crate) Vec<Vector>);

impl Catalogue {
    pub(crate) fn accept(
        &mut self,
        name: &str,
        kind: &'static str,
        about: &'static str,
        with: Value,
        bytes: impl AsRef<[u8]>,
    ) {
        let Value::Object(with) = with else { panic!("an object") };
        let bytes = bytes.as_ref().to_vec();
        self.0.push(Vector { name: name.to_owned(), kind, about, with, bytes, refused: None });
    }

    pub(crate) fn refuse(
        &mut self,
        like: &str,
        name: &str,
        code: &'static str,
        about: &'static str,
        bytes: Vec<u8>,
    ) {
        let like = self.get(like);
        let (kind, with) = (like.kind, like.with.clone());
        let name = format!("refused-{kind}-{name}");
        self.0.push(Vector { name, kind, about, with, bytes, refused: Some(code) });
    }

    pub(crate) fn get(&self, name: &str) -> &Vector {
        self.0.iter().find(|v| v.name == name).unwrap_or_else(|| panic!("no vector {name}"))
    }
}

pub(crate) const SECRETARY: [u8; 32] = [1; 32];
pub(crate) const MEMBER: [u8; 32] = [2; 32];
pub(crate) const ROOT_SEED: [u8; 32] = [99; 32];
pub(crate) const RELAY: [u8; 32] = [3; 32];
const DEVICE_EPHEMERAL: [u8; 32] = [4; 32];
const RELAY_EPHEMERAL: [u8; 32] = [5; 32];
const SESSION: SessionId = SessionId(*b"session1");
pub(crate) const SPACE: SpaceId = SpaceId(*b"a space of 16 by");
const DOC: DocId = DocId(*b"a document 16 by");
const EPOCH: LogEpoch = LogEpoch(*b"epoch001");
pub(crate) const CHALLENGE: Binding = Binding(*b"a challenge of the relay, 32 by.");

fn key(seed: &[u8; 32]) -> DeviceKey {
    DeviceKey::from_seed(seed)
}

fn text(bytes: &[u8]) -> Value {
    json!(hex::write(bytes))
}

/// The bytes of the changes are taken from the files once there are some: another release of Automerge or of a
/// deflate library may write others.
pub(crate) fn catalogue(stored: impl Fn(&str) -> Option<Vec<u8>>) -> Catalogue {
    let mut c = Catalogue::default();
    for (name, seed) in [("secretary", SECRETARY), ("member", MEMBER), ("root", ROOT_SEED)] {
        c.accept(&format!("device-key-{name}"), "device-key", "the seed of an Ed25519 key", json!({}), seed);
    }
    let device = key(&SECRETARY).public().id();
    let names = [&DOC.0[..], &device.0, &SESSION.0].concat();
    c.accept("actor", "actor", "document, device and session of an Automerge actor", json!({}), names);
    c.accept("document-id", "document-id", "how a document is named in text", json!({}), DOC.0);
    for (name, ranges) in
        [("none", vec![]), ("first", vec![(1, 1)]), ("some", vec![(1, 3), (5, 5), (200, 1_000)])]
    {
        let mut set = Ranges::default();
        ranges.iter().for_each(|(a, b)| set.insert_range(*a, *b));
        let mut bytes = Vec::new();
        set.encode(&mut bytes);
        c.accept(&format!("ranges-{name}"), "ranges", "a set of counters", json!({}), bytes);
    }
    sealed::keys(&mut c);
    let items = items(&mut c, &stored);
    sealed::codes(&mut c);
    sealed::permits(&mut c);
    messages(&mut c, &items);
    frames(&mut c);
    c
}

fn draft(kind: Kind, space: SpaceId, doc: DocId, place: Place) -> Draft {
    Draft {
        kind,
        space,
        doc,
        session: SESSION,
        place,
        first_seq: 0,
        count: 0,
        last: ChangeHash::default(),
        charter_tag: CharterTag(*b"charter1"),
    }
}

/// A charter record.
fn sign(c: &mut Catalogue, name: &str, about: &'static str, draft: Draft, payload: &[u8]) -> Item {
    let item = draft.sign(&key(&SECRETARY), payload).expect("a draft that may be signed");
    let with = json!({ "seed": text(&SECRETARY), "key": text(&key(&SECRETARY).public().to_bytes()) });
    c.accept(name, "item", about, with, item.bytes());
    item
}

/// A run or a snapshot.
fn seal(
    c: &mut Catalogue,
    name: &str,
    about: &'static str,
    draft: Draft,
    padded: bool,
    plain: &[u8],
) -> Item {
    let mut with = json!({
        "seed": text(&SECRETARY),
        "key": text(&key(&SECRETARY).public().to_bytes()),
        "space_key": text(&sealed::SPACE_KEY),
        "padded": padded,
    });
    if draft.kind == Kind::Run {
        with["last"] = text(&draft.last.0);
    }
    let item = draft.seal(&key(&SECRETARY), &sealed::space_key(), padded, plain);
    let item = item.expect("a draft that may be sealed");
    c.accept(name, "item", about, with, item.bytes());
    item
}

fn certificate(seed: &[u8; 32], member: u8, role: Role, name: &str) -> Certificate {
    let request = JoinRequest::new(&key(seed));
    let name = sealed::space_key().seal_name(&request.public, &sealed::NONCE, name).expect("a short name");
    Certificate { member: MemberId([member; 16]), role, request, name }
}

fn frontier() -> Frontier {
    let author = Author { device: key(&MEMBER).public().id(), session: SESSION };
    let mark = |space, n| Mark { space, author, n, link: [0x91; 16] };
    Frontier(vec![mark(SpaceId([0x11; 16]), 7), mark(SPACE, 3)])
}

/// One of each type but genesis and root.
fn records(member: Certificate, audience: Audience) -> Vec<(&'static str, Record)> {
    let (device, other) = (key(&MEMBER).public().id(), SpaceId([0x31; 16]));
    let secretary = Author { device: key(&SECRETARY).public().id(), session: SESSION };
    let who = MemberId([0xc3; 16]);
    let epoch = || sealed::epoch_record(SPACE);
    let space = |nonce, history, padded, audience| Record::Space { nonce, history, padded, audience };
    let document = |nonce, writers| Record::Document { nonce, space: SPACE, writers, schema: Vec::new() };
    vec![
        ("device", Record::Device { certificate: Box::new(member), seen: vec![(secretary, 4)] }),
        ("space-everyone", space([0x30; 16], true, false, Audience::Everyone)),
        ("space-members", space([0x31; 16], false, true, audience)),
        ("grant", Record::Grant { space: other, member: who, generation: 1 }),
        ("document", document([0x40; 16], Writers::All)),
        ("document-officers", document([0x41; 16], Writers::Officers)),
        ("document-schema", sealed::document_record(SPACE)),
        ("removal", Record::Removal { device, reason: Reason::Expelled, frontier: frontier() }),
        ("role", Record::Role { device, role: Role::Deputy, generation: 1, frontier: frontier() }),
        (
            "revoke",
            Record::Revoke { space: other, member: who, generation: 2, frontier: Frontier::default() },
        ),
        ("epoch", Record::Epoch(Box::new(epoch()))),
        ("wraps", Record::Wraps { space: SPACE, epoch: epoch().id, wraps: epoch().wraps }),
        ("recorder", Record::Recorder { doc: DOC, member: who }),
        ("cut", Record::Cut { space: SPACE, author: secretary, keep: 5 }),
        ("upper", Record::Upper { generation: 1, upper: Some(SpaceId([0x22; 16])) }),
        ("upper-none", Record::Upper { generation: 2, upper: None }),
        ("frontier", Record::Frontier { about: ItemId([0x82; 32]), device, frontier: frontier() }),
        ("accept", Record::Accept { certificate: ItemId([0x83; 32]) }),
    ]
}

/// Charter records and an item of each kind.
fn items(c: &mut Catalogue, stored: &impl Fn(&str) -> Option<Vec<u8>>) -> Vec<Item> {
    let request = JoinRequest::new(&key(&MEMBER)).encode();
    c.accept("join-request", "join-request", "what a new device shows to be admitted", json!({}), request);
    let cert = certificate(&SECRETARY, 0xa1, Role::Secretary, "Máy thư ký");
    let (branch, genesis) = found(&SignKey::from_seed(&ROOT_SEED), cert);
    let with = json!({ "root_seed": text(&ROOT_SEED) });
    c.accept("record-genesis", "record", "founds a branch, whose id is its hash", with, &genesis);
    let member = certificate(&MEMBER, 0xb2, Role::Member, "Điện thoại");
    let audience = Audience::Members(vec![MemberId([0xa1; 16]), MemberId([0xb2; 16])]);
    let records = records(member, audience);
    for (name, record) in &records {
        let about = "the payload of a charter item";
        c.accept(&format!("record-{name}"), "record", about, json!({}), record.encode());
    }
    let first = Place::Chain { n: 1, prev: [0; 16] };
    let none = DocId::default();
    let about = "the first item of a branch";
    let founding = sign(c, "item-genesis", about, draft(Kind::Charter, branch, none, first), &genesis);
    let place = Place::Chain { n: 2, prev: founding.id().link() };
    let about = "the second item of the same chain";
    let second =
        sign(c, "item-record", about, draft(Kind::Charter, branch, none, place), &records[0].1.encode());
    let taken = vec![(key(&MEMBER).public().id(), Reason::Lost, frontier())];
    let secretary = certificate(&SECRETARY, 0xa1, Role::Secretary, "Máy thư ký");
    let root = recover(&SignKey::from_seed(&ROOT_SEED), branch, 1, secretary, taken);
    let with = json!({ "root_seed": text(&ROOT_SEED) });
    c.accept(
        "record-root",
        "record",
        "the key on paper names a secretary's device and removes another",
        with,
        root,
    );

    let (run, raw) = run(c, stored);
    let place = Place::Covers(Cursor { epoch: EPOCH, seq: Seq(300) });
    let body = snapshot_body(&run, &raw);
    let opened =
        |item: Vec<u8>| sealed::space_key().open(&RawItem::parse(item.into()).ok()?.trust(), false).ok();
    let body = stored("item-snapshot").and_then(opened).unwrap_or(body);
    let about = "all of the document up to a place in the log";
    let snapshot = seal(c, "item-snapshot", about, draft(Kind::Snapshot, SPACE, DOC, place), false, &body);
    vec![founding, second, run, snapshot]
}

/// The changes of one author, packed in each form, and the first of them as a run.
fn run(c: &mut Catalogue, stored: &impl Fn(&str) -> Option<Vec<u8>>) -> (Item, Vec<Vec<u8>>) {
    let device = key(&SECRETARY).public().id();
    let actor = ActorId::derive(&DOC, &device, &SESSION);
    let fresh = changes(&actor);
    let raw: Vec<Vec<u8>> =
        (0..FEW).map(|i| stored(&format!("change-{}", i + 1)).unwrap_or_else(|| fresh[i].clone())).collect();
    let hash = |raw: &[u8]| RawChange::parse(raw).expect("an Automerge change").hash;
    for (i, change) in raw.iter().enumerate() {
        let about = "an Automerge change chunk, as it comes out of the packs";
        c.accept(&format!("change-{}", i + 1), "change", about, json!({}), change);
    }
    let context = |before: &[[u8; 32]], raw: &[Vec<u8>]| {
        pack_in(PackContext { actors: &[&actor.0], hashes: before }, raw, &PackLimits::RUN)
            .expect("changes within the limits")
    };
    let mut add = |name: &str, about, before: Option<[u8; 32]>, bytes: Vec<u8>| {
        let bytes = stored(name).unwrap_or(bytes);
        let mut with = json!({ "actor": text(&actor.0) });
        if let Some(before) = before {
            with["before"] = text(&before);
        }
        c.accept(name, "pack", about, with, &bytes);
        bytes
    };
    let before = hash(&raw[0]);
    add("pack-plain", "the second change of a run's author", Some(before), context(&[before], &raw[1..2]));
    let payload = add("pack-deflated", "the first changes", None, context(&[], &raw));
    add("pack-split", "many changes", None, context(&[], &fresh));
    let header = Draft {
        first_seq: 1,
        count: FEW as u16,
        last: ChangeHash(hash(&raw[FEW - 1])),
        ..draft(Kind::Run, SPACE, DOC, Place::Chain { n: 1, prev: [0; 16] })
    };
    let about = "changes of one device to one document";
    let run = seal(c, "item-run", about, header.clone(), false, &payload);
    let about = "the same in a padded space";
    seal(c, "item-run-padded", about, header, true, &payload);
    (run, raw)
}

/// Changes in the run.
const FEW: usize = 4;

fn changes(actor: &ActorId) -> Vec<Vec<u8>> {
    let mut doc = AutoCommit::new().with_actor(automerge::ActorId::from(&actor.0[..]));
    let mut time = 1_760_000_000;
    let mut commit = |doc: &mut AutoCommit| {
        time += 3;
        doc.commit_with(CommitOptions::default().with_time(time));
    };
    doc.put(ROOT, "title", "Biên bản").expect("a map");
    commit(&mut doc);
    doc.put(ROOT, "votes", 31).expect("a map");
    commit(&mut doc);
    let body = doc.put_object(ROOT, "body", ObjType::Text).expect("a map");
    commit(&mut doc);
    for i in 0..300 {
        let end = doc.length(&body);
        let words = ["Chi bộ ", "thống nhất ", "nghị quyết ", "về đường làng, "][i % 4];
        doc.splice_text(&body, end, 0, words).expect("a text");
        commit(&mut doc);
    }
    doc.get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec()).collect()
}

/// Version, one author with its newest run, the sum of what is covered, all changes without context.
fn snapshot_body(run: &Item, raw: &[Vec<u8>]) -> Vec<u8> {
    let mut sum = SpaceSum::default();
    sum.add(&run.id());
    let mut body = vec![1];
    body.put_uleb(1);
    body.put_bytes(&run.bytes()[..ITEM_OVERHEAD_BYTES]);
    Ranges::up_to(1).encode(&mut body);
    body.put_bytes(&sum.0.to_le_bytes());
    body.put_bytes(&pack(raw, &PackLimits::SNAPSHOT).expect("changes within the limits"));
    body
}

fn messages(c: &mut Catalogue, items: &[Item]) {
    let device = key(&SECRETARY).public().id();
    let author = |n: u8| Author { device: DeviceId([n; 16]), session: SessionId([n; 8]) };
    let bytes = |i: usize| -> Bytes { items[i].bytes().clone() };
    let backfill = Fetch { space: SPACE, from: Seq(0), to: Seq(70_000) };
    let some: Ranges = [1, 2, 3, 7].into_iter().collect();
    let set =
        ChainSet { space: SPACE, last: true, chains: vec![(author(1), some), (author(2), Ranges::up_to(9))] };
    let nothing = ChainSet { space: SpaceId::default(), last: true, chains: Vec::new() };
    let batch =
        |scope| Items { scope, upto: Seq(400), items: vec![(Seq(300), bytes(2)), (Seq(301), bytes(1))] };
    let sums = vec![(SPACE, SpaceSum(0x0102_0304)), (SpaceId([0xff; 16]), SpaceSum(u128::MAX))];
    let reject = |code, id, seq, detail: &str| {
        Message::Reject(Reject { number: 3, id, code, seq: Seq(seq), detail: detail.to_owned() })
    };
    let all = [
        ("hello-new", Message::Hello(Hello::default())),
        ("hello", Message::Hello(hello())),
        ("hello-backfill", Message::Hello(Hello { backfills: vec![backfill], ..hello() })),
        (
            "hello-acked",
            Message::Hello(Hello { acked: Some(Cursor { epoch: EPOCH, seq: Seq(301) }), ..hello() }),
        ),
        ("welcome", Message::Welcome(welcome())),
        ("welcome-reconcile", Message::Welcome(Welcome { reconcile: true, replicas: 3, ..welcome() })),
        ("items-log", Message::Items(batch(Scope::Log))),
        ("items-log-passed", Message::Items(Items { scope: Scope::Log, upto: Seq(500), items: Vec::new() })),
        ("items-backfill", Message::Items(batch(Scope::Backfill(SPACE)))),
        (
            "items-wanted",
            Message::Items(Items {
                scope: Scope::Wanted,
                upto: Seq(0),
                items: vec![(Seq(301), bytes(1)), (Seq(300), bytes(2))],
            }),
        ),
        ("caught-up", Message::CaughtUp(CaughtUp { seq: Seq(300), sums: Vec::new() })),
        ("caught-up-sums", Message::CaughtUp(CaughtUp { seq: Seq(300), sums })),
        (
            "put",
            Message::Put(Put {
                items: vec![
                    PutItem { bridged: false, bytes: bytes(0) },
                    PutItem { bridged: true, bytes: bytes(3) },
                ],
            }),
        ),
        ("ack", Message::Ack(Ack { puts: vec![(0, Seq(301)), (2, Seq(302))] })),
        ("reject-fork", reject(RejectCode::Fork, items[2].id(), 0, "")),
        ("reject-duplicate", reject(RejectCode::Duplicate, ItemId::default(), 300, "")),
        (
            "reject-malformed",
            reject(RejectCode::Malformed, ItemId::default(), 0, "item is cut short: mất đuôi"),
        ),
        ("have", Message::Have(set.clone())),
        ("have-nothing", Message::Have(nothing.clone())),
        ("want", Message::Want(set)),
        ("want-nothing", Message::Want(nothing)),
        ("fetch", Message::Fetch(backfill)),
        ("reconcile", Message::Reconcile(vec![SPACE, SpaceId([0xff; 16])])),
        ("reconcile-all", Message::Reconcile(Vec::new())),
        (
            "ephemeral",
            Message::Ephemeral(Ephemeral {
                space: SPACE,
                device,
                payload: Bytes::from_static(b"\xf0\x9f\x91\x8b"),
            }),
        ),
        ("credit", Message::Credit(65_536)),
        ("ping", Message::Ping),
        ("pong", Message::Pong),
        (
            "close",
            Message::Close {
                code: CloseCode::GoingAway,
                retry_after_ms: 2_500,
                detail: "maintenance".to_owned(),
            },
        ),
        (
            "close-suspended",
            Message::Close { code: CloseCode::Suspended, retry_after_ms: 600_000, detail: String::new() },
        ),
        ("permit", Message::Permit(c.get("permit").bytes.clone().into())),
        ("reject-not-admitted", reject(RejectCode::NotAdmitted, items[0].id(), 0, "xin giấy phép")),
    ];
    for (name, message) in all {
        let mut bytes = Vec::new();
        write_message(&message, &mut bytes);
        let about = "length, type and body of a message";
        c.accept(&format!("message-{name}"), "message", about, json!({}), bytes);
    }
    let mut stream = vec![3, 0x80, 1, 2];
    write_message(&Message::Ping, &mut stream);
    // The skipped message is not written again.
    let about = "an unknown type from 0x80 on is skipped: then Ping";
    c.accept("stream-skipped", "message", about, json!({ "skipped": 4 }), stream);
}

fn hello() -> Hello {
    Hello { cursor: Some(Cursor { epoch: EPOCH, seq: Seq(300) }), ..Hello::default() }
}

fn welcome() -> Welcome {
    Welcome {
        epoch: EPOCH,
        head: Seq(300),
        reconcile: false,
        replicas: 0,
        backlog: 0,
        time_ms: 1_760_000_000_000,
    }
}

/// Both ends of the channel of the frame vectors.
pub(crate) fn channels(challenge: Binding) -> (Channel, Channel) {
    let relay = RelayKey::from_seed(&RELAY);
    let device = Channel::device(&key(&SECRETARY), &relay.public(), challenge, DEVICE_EPHEMERAL);
    (device, Channel::relay(&relay, challenge, RELAY_EPHEMERAL))
}

/// An idle reconnect, and a frame each way after it.
fn frames(c: &mut Catalogue) {
    let relay_public = RelayKey::from_seed(&RELAY).public();
    let about = "the secret of a relay";
    c.accept("relay-key", "relay-key", about, json!({}), RELAY);
    let mut with = json!({
        "challenge": text(&CHALLENGE.0),
        "seed": text(&SECRETARY),
        "relay_seed": text(&RELAY),
        "relay": relay_public.to_string(),
        "device_ephemeral_seed": text(&DEVICE_EPHEMERAL),
        "relay_ephemeral_seed": text(&RELAY_EPHEMERAL),
    });
    let hello = [Message::Hello(hello())];
    let caught_up = CaughtUp { seq: Seq(300), sums: Vec::new() };
    let welcome = [Message::Welcome(welcome()), Message::CaughtUp(caught_up)];
    let (ping, pong) = ([Message::Ping], [Message::Pong]);
    let steps: [(&str, &'static str, &'static str, &[Message]); 4] = [
        ("frame-device-first", "device-frame", "Hello of an idle reconnect", &hello),
        ("frame-relay-first", "relay-frame", "Welcome and CaughtUp of an idle reconnect", &welcome),
        ("frame-device-second", "device-frame", "Ping in a transport message", &ping),
        ("frame-relay-second", "relay-frame", "Pong in a transport message", &pong),
    ];
    let (mut device, mut relay) = channels(CHALLENGE);
    let mut before = Vec::new();
    for (name, kind, about, messages) in steps {
        let mut plain = Vec::new();
        messages.iter().for_each(|m| write_message(m, &mut plain));
        let (from, to) =
            if kind == "device-frame" { (&mut device, &mut relay) } else { (&mut relay, &mut device) };
        let mut frame = Vec::new();
        from.seal(&plain, &mut frame);
        to.open(&frame).expect("what was sealed");
        with["before"] = before.clone().into();
        before.push(text(&frame));
        c.accept(name, kind, about, with.clone(), frame);
    }
    let mut frame = Vec::new();
    write_refusal(CloseCode::GoingAway, 2_000, "đang dừng", &mut frame);
    c.accept("frame-refusal", "refusal", "a relay that is stopping, before the handshake", json!({}), frame);
}
