//! Vectors of what is encrypted, of keys of spaces and of the codes by which phones join.

use dinh_proto::charter::record::{EpochRecord, Record, Writers};
use dinh_proto::codec::Reader;
use dinh_proto::crypto::{CryptoError, SealedKey, SpaceKey, Wrap, WrapContext, sealed_hint, unwrap};
use dinh_proto::ids::{ChangeHash, DeviceId, DocId, EpochId, ItemId, SpaceId};
use dinh_proto::item::{Draft, Item, Kind};
use dinh_proto::join::{Code, JoinError, RootKey, Welcome};
use dinh_proto::keys::{DeviceKey, DevicePublic, RelayKey, SignKey};
use dinh_proto::permit::{BranchLimits, Permit, PermitId, PermitTerms};
use dinh_proto::time::WallTime;
use serde_json::{Map, Value, json};

use super::catalogue::{Catalogue, MEMBER, RELAY, ROOT_SEED, SPACE};
use super::describe::{Described, Refused, fields, given};
use super::hex;

/// The key of the space in which the items are.
pub(crate) const SPACE_KEY: [u8; 32] = [0x51; 32];
const NEWER_KEY: [u8; 32] = [0x52; 32];
const BRANCH: SpaceId = SpaceId([0x21; 16]);
const SEED: [u8; 32] = [0x61; 32];
/// The operator's, who signs permits.
pub(crate) const OPERATOR: [u8; 32] = [0x71; 32];
pub(crate) const NONCE: [u8; 24] = [0x62; 24];
const PLACE: WrapContext = WrapContext { branch: BRANCH, space: SPACE };

/// The key of the space in which the items are.
pub(crate) fn space_key() -> SpaceKey {
    SpaceKey::from_bytes(&SPACE_KEY)
}

fn text(bytes: &[u8]) -> Value {
    json!(hex::write(bytes))
}

impl From<CryptoError> for Refused {
    /// There is no code on the wire for it: a device does with it what the place where it stands demands.
    fn from(e: CryptoError) -> Self {
        let code = match e {
            CryptoError::WrongKey(_) => "WrongKey",
            CryptoError::NotForThisDevice => "NotForThisDevice",
            CryptoError::DoesNotOpen(_) => "DoesNotOpen",
            CryptoError::NotThisEpoch(_) => "NotThisEpoch",
            CryptoError::Malformed(_) => "Malformed",
            CryptoError::NotCommitted => "NotCommitted",
            other => panic!("not an error of opening: {other}"),
        };
        Self { code, why: format!("{e:?}") }
    }
}

impl From<JoinError> for Refused {
    fn from(e: JoinError) -> Self {
        let code = match e {
            JoinError::NotACode => "NotACode",
            JoinError::Damaged => "Damaged",
            JoinError::Newer => "Newer",
            JoinError::NotProved => "NotProved",
            JoinError::Invalid(_) => "Invalid",
            other => panic!("not an error of bytes: {other}"),
        };
        Self { code, why: format!("{e:?}") }
    }
}

/// A space's second epoch: its key for one device, and the older key under it.
pub(crate) fn epoch_record(space: SpaceId) -> EpochRecord {
    let newer = SpaceKey::from_bytes(&NEWER_KEY);
    let wraps = vec![newer.wrap(&PLACE, &DeviceKey::from_seed(&MEMBER).public(), &SEED)];
    let prev = vec![newer.seal_key(&space_key(), &space, &NONCE)];
    EpochRecord { space, generation: 2, id: newer.id(), issued: 1_760_000_000, prev, wraps }
}

/// A document whose fields have rules.
pub(crate) fn document_record(space: SpaceId) -> Record {
    let nonce = [0x42; 16];
    let doc = DocId::derive(&DeviceKey::from_seed(&MEMBER).public().id(), &nonce);
    let schema = space_key().seal_schema(&doc, &NONCE, "dinh.minutes/1").expect("short");
    Record::Document { nonce, space, writers: Writers::Members, schema }
}

/// Keys, before the items.
pub(crate) fn keys(c: &mut Catalogue) {
    c.accept("space-key", "space-key", "the key of a space", json!({}), SPACE_KEY);
    let content = [&SPACE_KEY[..], &[0x71; 32]].concat();
    c.accept("commitment", "commitment", "the key of a space, and a hash", json!({}), content);

    let key = space_key();
    let wrap = key.wrap(&PLACE, &DeviceKey::from_seed(&MEMBER).public(), &SEED);
    let with = json!({
        "seed": text(&MEMBER),
        "branch": text(&BRANCH.0),
        "space": text(&SPACE.0),
        "epoch": text(&key.id().0),
        "ephemeral_seed": text(&SEED),
    });
    c.accept("wrap", "wrap", "the key of the space, for a device", with, wrap_bytes(&wrap));

    let sealed = SpaceKey::from_bytes(&NEWER_KEY).seal_key(&key, &SPACE, &NONCE);
    let with = json!({ "space_key": text(&NEWER_KEY), "space": text(&SPACE.0) });
    let about = "the key of the space under the one after it";
    c.accept("sealed-key", "sealed-key", about, with, sealed_key_bytes(&sealed));

    let device = DeviceKey::from_seed(&MEMBER).public();
    let with = json!({
        "space_key": text(&SPACE_KEY),
        "space": text(&SPACE.0),
        "device": text(&device.id().0),
    });
    let sealed = key.seal_presence(&SPACE, &device.id(), &NONCE, "đang gõ".as_bytes());
    let about = "what a device says to those who read the space now";
    c.accept("presence", "presence", about, with, sealed.expect("short"));

    let with = json!({ "space_key": text(&SPACE_KEY), "public": text(&device.to_bytes()) });
    let sealed = key.seal_name(&device, &NONCE, "Điện thoại").expect("short");
    c.accept("name", "name", "the name of a device, under the key of the charter space", with, sealed);

    let doc = DocId([0x43; 16]);
    let with = json!({ "space_key": text(&SPACE_KEY), "doc": text(&doc.0) });
    let sealed = key.seal_schema(&doc, &NONCE, "dinh.minutes/1").expect("short");
    c.accept("schema", "schema", "the name of a document's schema, under the key of its space", with, sealed);
}

/// Codes, after the items: a welcome names one.
pub(crate) fn codes(c: &mut Catalogue) {
    let request = dinh_proto::charter::record::JoinRequest::new(&DeviceKey::from_seed(&MEMBER));
    let relay = RelayKey::from_seed(&RELAY).public();
    let url = "ws://relay.example:4480/dinh/v1";
    let welcome = Welcome::new(BRANCH, ItemId([0x81; 32]), relay, url).expect("a good address");
    let codes = [
        ("code-join", "what a new phone shows", Code::from(request)),
        ("code-welcome", "what the phone that admitted it shows", welcome.into()),
        ("code-root", "the root key, on paper", RootKey::new(&ROOT_SEED, BRANCH).into()),
    ];
    for (name, about, code) in codes {
        c.accept(name, "code", about, json!({}), &*code.to_bytes());
    }
}

/// Permits, with as little and as much in them as there may be.
pub(crate) fn permits(c: &mut Catalogue) {
    let little = PermitTerms {
        id: PermitId([0x72; 16]),
        relay: None,
        branches: 300,
        branch: None,
        device: None,
        expires: None,
        limits: BranchLimits::default(),
    };
    let much = PermitTerms {
        id: PermitId([0x73; 16]),
        relay: Some(RelayKey::from_seed(&RELAY).public()),
        branches: 1,
        branch: Some(BRANCH),
        device: Some(DeviceKey::from_seed(&MEMBER).public().id()),
        expires: Some(WallTime(1_800_000_000_000)),
        limits: BranchLimits {
            document_bytes: Some(8 << 20),
            space_bytes: Some(100 << 20),
            documents: Some(5_000),
            charter_bytes: Some(1 << 20),
        },
    };
    for (name, about, terms) in [
        ("permit", "a permit for any relay that trusts its operator", little),
        ("permit-bound", "a permit that is bound to everything, with every limit", much),
    ] {
        let permit = Permit::issue(&SignKey::from_seed(&OPERATOR), terms).expect("good terms");
        c.accept(name, "permit", about, json!({ "seed": text(&OPERATOR) }), permit.bytes());
    }
}

/// What must be refused of them.
pub(crate) fn refused(c: &mut Catalogue) {
    let changed = |c: &Catalogue, name: &str, at: usize| {
        let mut bytes = c.get(name).bytes.clone();
        let at = if at == usize::MAX { bytes.len() - 1 } else { at };
        bytes[at] ^= 1;
        bytes
    };
    const LAST: usize = usize::MAX;
    for (like, name, code, about, at) in [
        ("wrap", "another-device", "NotForThisDevice", "the tag of another device", 0),
        ("wrap", "enc", "DoesNotOpen", "a bit of the encapsulated key", 8),
        ("wrap", "ct", "DoesNotOpen", "a bit of the sealed key", LAST),
        ("sealed-key", "epoch", "DoesNotOpen", "a bit of the epoch", 0),
        ("sealed-key", "ct", "DoesNotOpen", "a bit of the sealed key", LAST),
        ("presence", "hint", "WrongKey", "another key's", 0),
        ("presence", "nonce", "DoesNotOpen", "a bit of the nonce", 8),
        ("presence", "changed", "DoesNotOpen", "a bit of the ciphertext", LAST),
        ("name", "changed", "DoesNotOpen", "a bit of the ciphertext", LAST),
        ("code-join", "proof", "NotProved", "a bit of the proof", LAST),
        ("code-join", "keys", "NotProved", "a bit of the channel key", 40),
        ("code-join", "algorithm", "Invalid", "key algorithm 0", 4),
        ("code-join", "nothing", "NotACode", "another beginning", 0),
        ("code-join", "kind", "Newer", "a kind that is not known", 2),
        ("code-welcome", "url", "Invalid", "an address of another scheme", 85),
        ("permit", "signature", "Forged", "a bit of the signature", LAST),
        ("permit", "id", "Forged", "a bit of the id", 40),
        ("permit", "nothing", "NotAPermit", "another beginning", 0),
        ("permit", "version", "Newer", "a version that is not known", 3),
    ] {
        let bytes = changed(c, like, at);
        c.refuse(like, name, code, about, bytes);
    }
    // Signed well, but with what may not stand there.
    let signed = |bytes: &[u8], at: usize, value: u8| {
        let mut bytes = bytes[..bytes.len() - 64].to_vec();
        bytes[at] = value;
        let signature = SignKey::from_seed(&OPERATOR).sign(b"dinh/per1\0", &bytes);
        [&bytes[..], &signature].concat()
    };
    // Before the signature: flag of the relay, branches in two bytes, flags of branch and device, expires, limits.
    for (name, about, at, value) in [
        ("flag", "a flag that is 2", 52, 2),
        ("branches", "10,028 branches", 54, 78),
        ("limits", "a limit that is not known", 58, 16),
    ] {
        let bytes = signed(&c.get("permit").bytes, at, value);
        c.refuse("permit", name, "Invalid", about, bytes);
    }
    let longer = [&c.get("permit").bytes[..], &[0]].concat();
    c.refuse("permit", "trailing", "Invalid", "a byte follows", longer);
    let longer = [&c.get("code-root").bytes[..], &[0]].concat();
    c.refuse("code-root", "trailing", "Invalid", "a byte follows", longer);
    // Well sealed, but another key: whoever does it hands different devices different keys.
    let other = SpaceKey::from_bytes(&NEWER_KEY);
    let mut sealed = other.seal_key(&other, &SPACE, &NONCE);
    sealed.epoch = space_key().id();
    let bytes = sealed_key_bytes(&sealed);
    c.refuse("sealed-key", "another-epoch", "DoesNotOpen", "sealed as that of another epoch", bytes);
}

fn wrap_bytes(wrap: &Wrap) -> Vec<u8> {
    [&wrap.tag[..], &wrap.enc, &wrap.ct].concat()
}

fn sealed_key_bytes(sealed: &SealedKey) -> Vec<u8> {
    [&sealed.epoch.0[..], &sealed.nonce, &sealed.ct].concat()
}

fn with_key(with: &Map<String, Value>) -> SpaceKey {
    SpaceKey::from_bytes(&given(with, "space_key"))
}

/// What is in a vector of these types; `None` if it is of another.
pub(crate) fn describe(
    kind: &str,
    bytes: &[u8],
    with: &Map<String, Value>,
) -> Option<Result<Described, Refused>> {
    Some(match kind {
        "space-key" => {
            let key = SpaceKey::from_bytes(bytes.try_into().expect("32 bytes"));
            let found = fields([
                ("epoch", json!(key.id().to_string())),
                ("key_epoch", text(&key.hint().0)),
                ("hall_psk", text(&*key.hall_psk())),
            ]);
            Ok((found, None))
        }
        "commitment" => {
            let (key, content) = bytes.split_first_chunk().expect("64 bytes");
            let content = ChangeHash(content.try_into().expect("32 bytes"));
            let commitment = SpaceKey::from_bytes(key).commitment(&content);
            Ok((fields([("commitment", text(&commitment))]), None))
        }
        "wrap" => wrap(bytes, with),
        "sealed-key" => sealed_key(bytes, with),
        "presence" => presence(bytes, with),
        "name" => name(bytes, with),
        "schema" => schema(bytes, with),
        "code" => code(bytes),
        _ => return None,
    })
}

fn wrap(bytes: &[u8], with: &Map<String, Value>) -> Result<Described, Refused> {
    let mut r = Reader::new(bytes);
    let mut read = || -> Result<Wrap, dinh_proto::error::InvalidMessage> {
        Ok(Wrap { tag: r.array("tag")?, enc: r.array("enc")?, ct: r.array("ct")? })
    };
    let wrap = read().expect("88 bytes");
    let device = DeviceKey::from_seed(&given(with, "seed"));
    let place = WrapContext { branch: SpaceId(given(with, "branch")), space: SpaceId(given(with, "space")) };
    let key = unwrap(&device, &place, &EpochId(given(with, "epoch")), &wrap)?;
    let again = key.wrap(&place, &device.public(), &given(with, "ephemeral_seed"));
    Ok((fields([("key", text(&*key.to_bytes()))]), Some(wrap_bytes(&again))))
}

fn sealed_key(bytes: &[u8], with: &Map<String, Value>) -> Result<Described, Refused> {
    let mut r = Reader::new(bytes);
    let mut read = || -> Result<SealedKey, dinh_proto::error::InvalidMessage> {
        Ok(SealedKey { epoch: EpochId(r.array("epoch")?), nonce: r.array("nonce")?, ct: r.array("ct")? })
    };
    let sealed = read().expect("88 bytes");
    let (newer, space) = (with_key(with), SpaceId(given(with, "space")));
    let older = newer.open_key(&sealed, &space)?;
    let again = newer.seal_key(&older, &space, &sealed.nonce);
    let found = fields([("key", text(&*older.to_bytes())), ("epoch", json!(older.id().to_string()))]);
    Ok((found, Some(sealed_key_bytes(&again))))
}

fn nonce_of(bytes: &[u8]) -> [u8; 24] {
    bytes[8..32].try_into().expect("24 bytes")
}

fn schema(bytes: &[u8], with: &Map<String, Value>) -> Result<Described, Refused> {
    let (key, doc) = (with_key(with), DocId(given(with, "doc")));
    let name = key.open_schema(&doc, bytes)?;
    let again = key.seal_schema(&doc, &nonce_of(bytes), &name)?;
    Ok((fields([("name", json!(name))]), Some(again)))
}

fn presence(bytes: &[u8], with: &Map<String, Value>) -> Result<Described, Refused> {
    let (key, space) = (with_key(with), SpaceId(given(with, "space")));
    let device = DeviceId(given(with, "device"));
    let plain = key.open_presence(&space, &device, bytes)?;
    let again = key.seal_presence(&space, &device, &nonce_of(bytes), &plain)?;
    let hint = sealed_hint(bytes).expect("8 bytes and more");
    Ok((fields([("key_epoch", text(&hint.0)), ("plain", text(&plain))]), Some(again)))
}

fn name(bytes: &[u8], with: &Map<String, Value>) -> Result<Described, Refused> {
    let key = with_key(with);
    let public = DevicePublic::from_bytes(&given(with, "public"))?;
    let name = key.open_name(&public, bytes)?;
    let again = key.seal_name(&public, &nonce_of(bytes), &name)?;
    Ok((fields([("name", json!(name))]), Some(again)))
}

fn code(bytes: &[u8]) -> Result<Described, Refused> {
    let code = Code::parse(bytes)?;
    assert_eq!(Code::parse(code.link().as_bytes()), Ok(code.clone()));
    let mut found = fields([
        ("kind", json!(format!("{:?}", code.kind()).to_lowercase())),
        ("link", json!(code.link().as_str())),
    ]);
    found.extend(match &code {
        Code::Join(request) => fields([("device", json!(request.public.id().to_string()))]),
        Code::Welcome(welcome) => fields([
            ("branch", json!(welcome.branch().to_string())),
            ("certificate", json!(welcome.certificate().to_string())),
            ("address", json!(welcome.address())),
        ]),
        Code::Root(root) => fields([
            ("branch", json!(root.branch().to_string())),
            ("root_public", text(root.sign_key().public().as_bytes())),
            ("words", json!(root.words().as_str())),
        ]),
    });
    Ok((found, Some(code.to_bytes().to_vec())))
}

/// What is in the payload of a run or snapshot, and its item when it is made again.
pub(crate) fn payload(
    item: &Item,
    draft: Draft,
    with: &Map<String, Value>,
) -> Result<(Map<String, Value>, Vec<u8>), Refused> {
    let (key, padded) = (with_key(with), with["padded"].as_bool().expect("a boolean"));
    let plain = key.open(item, padded)?;
    let last = if draft.kind == Kind::Run { ChangeHash(given(with, "last")) } else { ChangeHash::default() };
    let committed = draft.kind != Kind::Run || key.commits(item.header(), &last);
    assert!(committed, "the header is committed to the hash of the last change");
    let again =
        Draft { last, ..draft }.seal(&DeviceKey::from_seed(&given(with, "seed")), &key, padded, &plain);
    let found = fields([
        ("plain_len", json!(plain.len())),
        ("plain_hash", text(&<sha2::Sha256 as sha2::Digest>::digest(&plain))),
    ]);
    Ok((found, again.expect("what was read may be sealed").bytes().to_vec()))
}
