//! Reads a vector of any type and says what is in it, and what it is when written again.

use bytes::Bytes;
use dinh_proto::channel::{Binding, Channel, write_refusal};
use dinh_proto::charter::record::{
    Audience, Certificate, Frontier, JoinRequest, Mark, Reason, Record, branch_id, found,
};
use dinh_proto::codec::Reader;
use dinh_proto::crypto::Wrap;
use dinh_proto::error::{InvalidMessage, RejectCode, SessionError};
use dinh_proto::ids::{ActorId, ChangeHash, DeviceId, DocId, SessionId};
use dinh_proto::item::{Draft, Item, Kind, Place, RawItem};
use dinh_proto::keys::{DeviceKey, DevicePublic, RelayKey, RelayPublic, SignKey};
use dinh_proto::pack::{PackContext, PackLimits, RawChange, pack_in, unpack_in};
use dinh_proto::permit::{Permit, PermitError};
use dinh_proto::ranges::Ranges;
use dinh_proto::wire::{ChainSet, Fetch, Message, MessageReader, Scope, write_message};
use serde_json::{Map, Value, json};

use super::{hex, sealed};

/// What is in a vector, and its bytes when it is written again (where one writing is prescribed).
pub(crate) type Described = (Map<String, Value>, Option<Vec<u8>>);

/// How a vector is refused: a reject or close code, and this library's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) why: String,
}

impl From<InvalidMessage> for Refused {
    /// As an item.
    fn from(e: InvalidMessage) -> Self {
        Self { code: e.reject_code().name(), why: format!("{e:?}") }
    }
}

/// A part of a record: whatever is wrong, the record is malformed.
fn malformed(e: &InvalidMessage) -> Refused {
    Refused { code: RejectCode::Malformed.name(), why: format!("{e:?}") }
}

impl From<SessionError> for Refused {
    fn from(e: SessionError) -> Self {
        Self { code: e.close_code().expect("none of them is the peer's").name(), why: format!("{e:?}") }
    }
}

pub(crate) fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

pub(crate) fn given<const N: usize>(with: &Map<String, Value>, name: &str) -> [u8; N] {
    let text = with[name].as_str().expect("hexadecimal digits");
    hex::read(text).try_into().expect("the stated length")
}

pub(crate) fn describe(kind: &str, bytes: &[u8], with: &Map<String, Value>) -> Result<Described, Refused> {
    match kind {
        "device-key" => {
            let key = DeviceKey::from_seed(bytes.try_into().expect("32 bytes")).public();
            let found = fields([
                ("public", json!(hex::write(&key.to_bytes()))),
                ("device", json!(key.id().to_string())),
            ]);
            Ok((found, None))
        }
        "actor" => {
            let (doc, rest) = bytes.split_first_chunk().expect("40 bytes");
            let (device, session) = rest.split_first_chunk().expect("24 bytes");
            let session = SessionId(session.try_into().expect("8 bytes"));
            let actor = ActorId::derive(&DocId(*doc), &DeviceId(*device), &session);
            Ok((fields([("actor", json!(actor.to_string()))]), None))
        }
        "document-id" => {
            let id = DocId(bytes.try_into().expect("16 bytes"));
            let text = id.to_string();
            let again = text.parse::<DocId>().expect("what was printed").0.to_vec();
            Ok((fields([("text", json!(text))]), Some(again)))
        }
        "ranges" => ranges(bytes),
        "change" => Ok(change(bytes)),
        "pack" => packed(bytes, with),
        "item" => item(bytes, with),
        "record" => record(bytes, with),
        "join-request" => {
            let request = JoinRequest::decode(bytes).map_err(|e| malformed(&e))?;
            let found = fields([
                ("device", json!(request.public.id().to_string())),
                ("proved", json!(request.is_proved())),
            ]);
            Ok((found, Some(request.encode())))
        }
        "message" => message(bytes),
        "relay-key" => {
            let public = RelayKey::from_seed(bytes.try_into().expect("32 bytes")).public();
            let found = fields([
                ("public", json!(hex::write(public.as_bytes()))),
                ("text", json!(public.to_string())),
            ]);
            Ok((found, None))
        }
        "permit" => permit(bytes),
        "refusal" => refusal(bytes),
        "device-frame" | "relay-frame" => frame(kind == "device-frame", bytes, with),
        other => {
            sealed::describe(other, bytes, with).unwrap_or_else(|| panic!("no such type of vector: {other}"))
        }
    }
}

fn ranges(bytes: &[u8]) -> Result<Described, Refused> {
    let mut r = Reader::new(bytes);
    let ranges = Ranges::decode(&mut r).map_err(SessionError::from)?;
    r.finish("ranges").map_err(SessionError::from)?;
    let mut again = Vec::new();
    ranges.encode(&mut again);
    Ok((fields([("ranges", ranges_json(&ranges))]), Some(again)))
}

fn ranges_json(ranges: &Ranges) -> Value {
    ranges.iter().map(|(a, b)| json!([a, b])).collect()
}

fn change(bytes: &[u8]) -> Described {
    let change = RawChange::parse(bytes).expect("changes of the vectors are good");
    let found = fields([
        ("hash", json!(hex::write(&change.hash))),
        ("actor", json!(hex::write(change.actor))),
        ("seq", json!(change.seq)),
        ("start_op", json!(change.start_op)),
        ("time", json!(change.time)),
        ("deps", change.deps.iter().map(|d| json!(hex::write(d))).collect()),
    ]);
    (found, None)
}

/// Packs of a run, with the actor and the hash before as context where `with` names them.
fn packed(bytes: &[u8], with: &Map<String, Value>) -> Result<Described, Refused> {
    let actor = with.contains_key("actor").then(|| given::<16>(with, "actor"));
    let before = with.contains_key("before").then(|| given::<32>(with, "before"));
    let actors: Vec<&[u8]> = actor.iter().map(|a| &a[..]).collect();
    let hashes: Vec<[u8; 32]> = before.into_iter().collect();
    let context = PackContext { actors: &actors, hashes: &hashes };
    let unpacked = unpack_in(context, bytes, &PackLimits::RUN)
        .map_err(|e| Refused { code: RejectCode::Malformed.name(), why: format!("{e:?}") })?;
    let form = ["plain", "deflated", "split"][usize::from(bytes[0] & 0xf)];
    let found = fields([
        ("form", json!(form)),
        ("changes", unpacked.iter().map(|c| json!(hex::write(&c.hash()))).collect()),
    ]);
    // Deflate streams may differ between writers: only the plain form has one writing.
    let raw: Vec<&[u8]> = unpacked.iter().map(|c| c.raw()).collect();
    let again = pack_in(context, &raw, &PackLimits::RUN).expect("what was unpacked packs");
    Ok((found, (form == "plain" && again[0] == bytes[0]).then_some(again)))
}

fn item(bytes: &[u8], with: &Map<String, Value>) -> Result<Described, Refused> {
    let raw = RawItem::parse(Bytes::copy_from_slice(bytes))?;
    let public = DevicePublic::from_bytes(&given(with, "key"))?;
    let item = raw.verify(&public).map_err(|code| Refused { code: code.name(), why: format!("{code:?}") })?;
    let header = item.header();
    let mut found = fields([
        ("id", json!(hex::write(&item.id().0))),
        ("kind", json!(format!("{:?}", header.kind).to_lowercase())),
        ("space", json!(header.space.to_string())),
        ("doc", json!(hex::write(&header.doc.0))),
        ("device", json!(header.author.device.to_string())),
        ("session", json!(header.author.session.to_string())),
        ("first_seq", json!(header.first_seq)),
        ("count", json!(header.count)),
        ("commitment", json!(hex::write(&header.commitment))),
        ("charter_tag", json!(hex::write(&header.charter_tag.0))),
        ("key_epoch", json!(hex::write(&header.key_epoch.0))),
        ("payload_len", json!(header.payload_len)),
        ("payload_hash", json!(hex::write(&header.payload_hash))),
    ]);
    match header.place {
        Place::Chain { n, prev } => {
            found.extend(fields([("n", json!(n)), ("link", json!(hex::write(&prev)))]));
        }
        Place::Covers(cursor) => {
            let covers = json!({ "epoch": cursor.epoch.to_string(), "seq": cursor.seq.0 });
            found.insert("covers".to_owned(), covers);
        }
    }
    if !with.contains_key("seed") {
        return Ok((found, None));
    }
    let draft = draft_of(&item);
    let again = if header.kind == Kind::Charter {
        let again = draft.sign(&DeviceKey::from_seed(&given(with, "seed")), item.payload());
        again.expect("what was read may be signed").bytes().to_vec()
    } else {
        let (inside, again) = sealed::payload(&item, draft, with)?;
        found.extend(inside);
        again
    };
    Ok((found, Some(again)))
}

fn draft_of(item: &Item) -> Draft {
    let h = item.header().clone();
    Draft {
        kind: h.kind,
        space: h.space,
        doc: h.doc,
        session: h.author.session,
        place: h.place,
        first_seq: h.first_seq,
        count: h.count,
        last: ChangeHash::default(),
        charter_tag: h.charter_tag,
    }
}

fn certificate(cert: &Certificate) -> Map<String, Value> {
    fields([
        ("member", json!(cert.member.to_string())),
        ("role", json!(format!("{:?}", cert.role).to_lowercase())),
        ("device", json!(cert.request.public.id().to_string())),
        ("sealed_name", json!(hex::write(&cert.name))),
    ])
}

fn frontier(frontier: &Frontier) -> Value {
    let mark = |m: &Mark| {
        json!({
            "space": m.space.to_string(),
            "device": m.author.device.to_string(),
            "session": m.author.session.to_string(),
            "n": m.n,
            "link": hex::write(&m.link),
        })
    };
    frontier.0.iter().map(mark).collect()
}

fn wraps(wraps: &[Wrap]) -> Value {
    wraps
        .iter()
        .map(|w| json!({ "tag": hex::write(&w.tag), "enc": hex::write(&w.enc), "ct": hex::write(&w.ct) }))
        .collect()
}

fn removal(reason: Reason, left: &Frontier) -> Map<String, Value> {
    fields([("reason", json!(format!("{reason:?}").to_lowercase())), ("frontier", frontier(left))])
}

fn record(bytes: &[u8], with: &Map<String, Value>) -> Result<Described, Refused> {
    let record = Record::decode(bytes).map_err(|e| malformed(&e))?;
    let lower = |what: &dyn std::fmt::Debug| json!(format!("{what:?}").to_lowercase());
    let (mut found, again) = match &record {
        Record::Genesis(genesis) => {
            let mut found = certificate(&genesis.secretary);
            found.extend(fields([
                ("rules", json!(genesis.rules)),
                ("root", json!(hex::write(genesis.root.as_bytes()))),
                ("branch", json!(branch_id(bytes).to_string())),
            ]));
            let root = SignKey::from_seed(&given(with, "root_seed"));
            (found, found_again(&root, genesis.secretary.clone()))
        }
        other => (plain(other, &lower), record.encode()),
    };
    let name = format!("{record:?}").split(['(', ' ']).next().unwrap_or_default().to_lowercase();
    found.insert("record".to_owned(), json!(name));
    Ok((found, Some(again)))
}

fn plain(record: &Record, lower: &dyn Fn(&dyn std::fmt::Debug) -> Value) -> Map<String, Value> {
    match record {
        Record::Genesis(genesis) => certificate(&genesis.secretary),
        Record::Device { certificate: cert, seen } => {
            let mut found = certificate(cert);
            let seen = seen.iter().map(|(author, n)| {
                json!({ "device": author.device.to_string(), "session": author.session.to_string(), "n": n })
            });
            found.insert("seen".to_owned(), seen.collect());
            found
        }
        Record::Space { nonce, history, padded, audience } => {
            let audience = match audience {
                Audience::Everyone => json!("everyone"),
                Audience::Members(members) => members.iter().map(|m| json!(m.to_string())).collect(),
            };
            fields([
                ("nonce", json!(hex::write(nonce))),
                ("history", json!(history)),
                ("padded", json!(padded)),
                ("audience", audience),
            ])
        }
        Record::Grant { space, member, generation } => fields([
            ("space", json!(space.to_string())),
            ("member", json!(member.to_string())),
            ("generation", json!(generation)),
        ]),
        Record::Document { nonce, space, writers, schema } => fields([
            ("schema", json!(hex::write(schema))),
            ("nonce", json!(hex::write(nonce))),
            ("space", json!(space.to_string())),
            ("writers", lower(writers)),
        ]),
        Record::Removal { device, reason, frontier } => {
            let mut found = removal(*reason, frontier);
            found.insert("device".to_owned(), json!(device.to_string()));
            found
        }
        Record::Role { device, role, generation, frontier: left } => fields([
            ("device", json!(device.to_string())),
            ("role", lower(role)),
            ("generation", json!(generation)),
            ("frontier", frontier(left)),
        ]),
        Record::Revoke { space, member, generation, frontier: left } => fields([
            ("space", json!(space.to_string())),
            ("member", json!(member.to_string())),
            ("generation", json!(generation)),
            ("frontier", frontier(left)),
        ]),
        Record::Epoch(epoch) => {
            let older = epoch.prev.iter().map(|s| {
                json!({ "epoch": s.epoch.to_string(), "nonce": hex::write(&s.nonce), "ct": hex::write(&s.ct) })
            });
            fields([
                ("space", json!(epoch.space.to_string())),
                ("generation", json!(epoch.generation)),
                ("epoch", json!(epoch.id.to_string())),
                ("issued", json!(epoch.issued)),
                ("older", older.collect()),
                ("wraps", wraps(&epoch.wraps)),
            ])
        }
        Record::Wraps { space, epoch, wraps: sealed } => fields([
            ("space", json!(space.to_string())),
            ("epoch", json!(epoch.to_string())),
            ("wraps", wraps(sealed)),
        ]),
        Record::Recorder { doc, member } => {
            fields([("doc", json!(hex::write(&doc.0))), ("member", json!(member.to_string()))])
        }
        Record::Cut { space, author, keep } => fields([
            ("space", json!(space.to_string())),
            ("device", json!(author.device.to_string())),
            ("session", json!(author.session.to_string())),
            ("keep", json!(keep)),
        ]),
        Record::Upper { generation, upper } => {
            let upper = upper.map(|branch| branch.to_string());
            fields([("generation", json!(generation)), ("upper", json!(upper))])
        }
        Record::Root(root) => {
            let mut found = certificate(&root.secretary);
            let removals = root.removals.iter().map(|(device, reason, left)| {
                let mut one = removal(*reason, left);
                one.insert("device".to_owned(), json!(device.to_string()));
                Value::Object(one)
            });
            found.insert("removals".to_owned(), removals.collect());
            found.insert("branch".to_owned(), json!(root.branch.to_string()));
            found.insert("generation".to_owned(), json!(root.generation));
            found
        }
        Record::Frontier { about, device, frontier: left } => fields([
            ("about", json!(about.to_string())),
            ("device", json!(device.to_string())),
            ("frontier", frontier(left)),
        ]),
        Record::Accept { certificate } => fields([("certificate", json!(certificate.to_string()))]),
    }
}

fn found_again(root: &SignKey, secretary: Certificate) -> Vec<u8> {
    found(root, secretary).1
}

fn message(bytes: &[u8]) -> Result<Described, Refused> {
    let mut reader = MessageReader::default();
    reader.push(bytes);
    let Some((message, _)) = reader.next_message()? else {
        let why = "the stream ends inside a message: nothing is refused, more is awaited".to_owned();
        return Err(Refused { code: "", why });
    };
    let mut again = Vec::new();
    write_message(&message, &mut again);
    Ok((message_json(&message), Some(again)))
}

fn chains(set: &ChainSet) -> Map<String, Value> {
    let chain = |(author, ranges): &(dinh_proto::ids::Author, Ranges)| {
        json!({
            "device": author.device.to_string(),
            "session": author.session.to_string(),
            "ranges": ranges_json(ranges),
        })
    };
    fields([
        ("space", json!(set.space.to_string())),
        ("last", json!(set.last)),
        ("chains", set.chains.iter().map(chain).collect()),
    ])
}

fn fetch(f: &Fetch) -> Map<String, Value> {
    fields([("space", json!(f.space.to_string())), ("from", json!(f.from.0)), ("to", json!(f.to.0))])
}

fn message_json(message: &Message) -> Map<String, Value> {
    let item = |bytes: &Bytes| {
        let id = RawItem::parse(bytes.clone()).expect("items of the vectors are good").id();
        json!(hex::write(&id.0))
    };
    let mut found = match message {
        Message::Hello(m) => fields([
            ("cursor", json!(m.cursor.map(|c| json!({ "epoch": c.epoch.to_string(), "seq": c.seq.0 })))),
            ("backfills", m.backfills.iter().map(|f| Value::Object(fetch(f))).collect()),
        ]),
        Message::Welcome(m) => fields([
            ("epoch", json!(m.epoch.to_string())),
            ("head", json!(m.head.0)),
            ("reconcile", json!(m.reconcile)),
            ("replicas", json!(m.replicas)),
            ("backlog", json!(m.backlog)),
            ("time_ms", json!(m.time_ms)),
        ]),
        Message::Items(m) => fields([
            (
                "scope",
                match m.scope {
                    Scope::Log => json!("log"),
                    Scope::Backfill(space) => json!({ "backfill": space.to_string() }),
                    Scope::Wanted => json!("wanted"),
                },
            ),
            ("upto", json!(m.upto.0)),
            ("items", m.items.iter().map(|(seq, bytes)| json!([seq.0, item(bytes)])).collect()),
        ]),
        Message::CaughtUp(m) => fields([
            ("seq", json!(m.seq.0)),
            (
                "sums",
                m.sums.iter().map(|(s, v)| json!([s.to_string(), hex::write(&v.0.to_le_bytes())])).collect(),
            ),
        ]),
        Message::Put(m) => fields([(
            "items",
            m.items.iter().map(|i| json!({ "bridged": i.bridged, "item": item(&i.bytes) })).collect(),
        )]),
        Message::Ack(m) => fields([("puts", m.puts.iter().map(|(n, s)| json!([n, s.0])).collect())]),
        Message::Reject(m) => fields([
            ("number", json!(m.number)),
            ("id", json!(hex::write(&m.id.0))),
            ("code", json!(m.code.name())),
            ("seq", json!(m.seq.0)),
            ("detail", json!(m.detail)),
        ]),
        Message::Have(m) | Message::Want(m) => chains(m),
        Message::Fetch(m) => fetch(m),
        Message::Reconcile(spaces) => {
            fields([("spaces", spaces.iter().map(|s| json!(s.to_string())).collect())])
        }
        Message::Ephemeral(m) => fields([
            ("space", json!(m.space.to_string())),
            ("device", json!(m.device.to_string())),
            ("payload", json!(hex::write(&m.payload))),
        ]),
        Message::Credit(bytes) => fields([("bytes", json!(bytes))]),
        Message::Permit(permit) => fields([("permit", json!(hex::write(permit)))]),
        Message::Ping | Message::Pong => Map::new(),
        Message::Close { code, retry_after_ms, detail } => fields([
            ("code", json!(code.name())),
            ("retry_after_ms", json!(retry_after_ms)),
            ("detail", json!(detail)),
        ]),
    };
    found.insert("message".to_owned(), json!(message.name()));
    found
}

/// A frame of one side, after the frames of both sides `before` it: the messages in it.
fn frame(from_device: bool, bytes: &[u8], with: &Map<String, Value>) -> Result<Described, Refused> {
    let binding = Binding(given(with, "challenge"));
    let key = DeviceKey::from_seed(&given(with, "seed"));
    let relay_key = RelayKey::from_seed(&given(with, "relay_seed"));
    let pinned: RelayPublic = with["relay"].as_str().expect("text").parse().expect("a relay's key");
    let mut device = Channel::device(&key, &pinned, binding, given(with, "device_ephemeral_seed"));
    let mut relay = Channel::relay(&relay_key, binding, given(with, "relay_ephemeral_seed"));
    let before = with["before"].as_array().expect("an array");
    for (i, earlier) in before.iter().enumerate() {
        // They alternate.
        let (from, to) = if i % 2 == 0 { (&mut device, &mut relay) } else { (&mut relay, &mut device) };
        let earlier = hex::read(earlier.as_str().expect("hexadecimal digits"));
        let plain = to.open(&earlier).expect("a good frame");
        let mut again = Vec::new();
        from.seal(&plain, &mut again);
        assert_eq!(again, earlier);
    }
    let (to, from) = if from_device { (&mut relay, &mut device) } else { (&mut device, &mut relay) };
    let plain = to.open(bytes)?;
    let mut messages = Vec::new();
    let mut reader = MessageReader::default();
    reader.push(&plain);
    while let Some((message, _)) = reader.next_message()? {
        messages.push(Value::Object(message_json(&message)));
    }
    let mut found = fields([("messages", messages.into())]);
    if let Some(public) = to.peer() {
        found.insert("device".to_owned(), json!(public.id().to_string()));
    }
    let mut again = Vec::new();
    from.seal(&plain, &mut again);
    Ok((found, Some(again)))
}

fn permit(bytes: &[u8]) -> Result<Described, Refused> {
    let permit = Permit::from_bytes(bytes)?;
    let terms = permit.terms();
    let limits = terms.limits;
    let found = fields([
        ("id", json!(terms.id.to_string())),
        ("operator", json!(permit.operator().to_string())),
        ("relay", json!(terms.relay.map(|key| key.to_string()))),
        ("branches", json!(terms.branches)),
        ("branch", json!(terms.branch.map(|id| id.to_string()))),
        ("device", json!(terms.device.map(|id| id.to_string()))),
        ("expires_ms", json!(terms.expires.map(|at| at.0))),
        ("document_bytes", json!(limits.document_bytes)),
        ("space_bytes", json!(limits.space_bytes)),
        ("documents", json!(limits.documents)),
        ("charter_bytes", json!(limits.charter_bytes)),
        ("text", json!(permit.text())),
    ]);
    let operator = SignKey::from_seed(&sealed::OPERATOR);
    let again = Permit::issue(&operator, *terms).expect("what was read can be signed");
    Ok((found, Some(again.bytes().to_vec())))
}

impl From<PermitError> for Refused {
    fn from(e: PermitError) -> Self {
        let code = match e {
            PermitError::NotAPermit => "NotAPermit",
            PermitError::Newer => "Newer",
            PermitError::Forged => "Forged",
            PermitError::Invalid(_) => "Invalid",
            other => panic!("not an error of bytes: {other}"),
        };
        Self { code, why: format!("{e:?}") }
    }
}

/// A refusal in the clear, as any device reads it that has not opened its channel.
fn refusal(bytes: &[u8]) -> Result<Described, Refused> {
    let pinned = RelayKey::from_seed(&[0; 32]).public();
    let mut device = Channel::device(&DeviceKey::from_seed(&[0; 32]), &pinned, Binding([0; 32]), [0; 32]);
    match device.open(bytes).expect_err("nothing was sealed") {
        SessionError::ClosedByPeer { code, retry_after_ms, detail } => {
            let mut again = Vec::new();
            write_refusal(code, retry_after_ms, &detail, &mut again);
            // A refusal is read whatever the version.
            again[3] = bytes[3];
            let found = fields([
                ("code", json!(code.name())),
                ("retry_after_ms", json!(retry_after_ms)),
                ("detail", json!(detail)),
            ]);
            Ok((found, Some(again)))
        }
        error => Err(error.into()),
    }
}
