//! Invitations as they are scanned, pasted and typed, behind their checksums and proofs: links, addresses of relays, words of a root
//! key, and the images that show them.
#![no_main]

use dinh_core::client::RelayUrl;
use dinh_core::qr;
use dinh_core::replica::{Replica, ReplicaConfig};
use dinh_core::store::MemoryStore;
use dinh_fuzz::{Feed, member, seed, within};
use dinh_proto::charter::record::JoinRequest;
use dinh_proto::ids::{ItemId, SpaceId};
use dinh_proto::join::{CODE_BYTES_MAX, Code, CodeKind, RELAY_URL_BYTES_MAX, RootKey, Welcome};
use dinh_proto::keys::{DeviceKey, RelayKey};
use libfuzzer_sys::fuzz_target;

/// What reading a code and drawing it may take, bytes.
const MEMORY_MAX: usize = 8 << 20;

/// Data bits of the largest image, version 40 with error correction M (ISO/IEC 18004, table 7).
const IMAGE_BITS_MAX: usize = 18_672;

/// What a text takes in an image at the very least, however it is cut into segments: 10 bits for three digits, 11 for two of the other
/// letters of the alphanumeric mode, 13 for two bytes of the kanji mode, which is the shortest for what is left.
fn bits_at_least(text: &str) -> usize {
    let twelfths: usize = text
        .bytes()
        .map(|byte| match byte {
            b'0'..=b'9' => 40,
            b'A'..=b'Z' | b' ' | b'$' | b'%' | b'*' | b'+' | b'-' | b'.' | b'/' | b':' => 66,
            _ => 78,
        })
        .sum();
    twelfths / 12
}

/// A link with a right checksum over any bytes.
fn link(name: &str, bytes: &[u8]) -> String {
    format!("dinh:{name}?{}", bs58::encode(bytes).with_check().into_string())
}

/// What holds for every code that was taken.
fn whole(code: &Code) {
    assert!(code.to_bytes().len() <= CODE_BYTES_MAX);
    assert_eq!(Code::from_bytes(&code.to_bytes()).as_ref(), Ok(code), "one code");
    let link = code.link();
    assert_eq!(Code::from_link(&link).as_ref(), Ok(code), "one code");
    // Messengers break lines and change letters' case in what stands before the checksum.
    let broken = format!(" {}\n{} ", &link[..9], &link[9..]).replacen("dinh:", "DINH:", 1);
    assert_eq!(Code::from_link(&broken).as_ref(), Ok(code), "one code");
    let image = qr::svg(&link).expect("every code fits");
    assert!(image.len() < 64 << 10);
    // It is one kind, and no other one.
    let kinds = [
        code.clone().into_join().is_ok(),
        code.clone().into_welcome().is_ok(),
        code.clone().into_root().is_ok(),
    ];
    assert_eq!(kinds, CodeKind::ALL.map(|kind| kind == code.kind()));
    if let Code::Join(request) = code {
        assert!(request.is_proved());
    }
    if let Code::Welcome(welcome) = code {
        assert!(welcome.url().len() <= RELAY_URL_BYTES_MAX);
        if let Ok(relay) = RelayUrl::parse(&welcome.address()) {
            assert_eq!(relay.key(), welcome.relay());
            assert_eq!(RelayUrl::parse(&relay.to_string()).as_ref(), Ok(&relay), "one address");
        }
        // Whoever follows it waits for a branch, and has none yet.
        let store = MemoryStore::new();
        let mut replica =
            Replica::open(store, member(), ReplicaConfig::default(), [1; 32]).expect("a new store");
        replica.join_by_welcome(welcome).expect("in memory");
        assert!(replica.charters().values().all(|charter| charter.devices().is_empty()));
        let store = replica.close().expect("in memory");
        Replica::open(store, member(), ReplicaConfig::default(), [2; 32])
            .expect("what was scanned does not spoil the store");
    }
}

fn parse(bytes: &[u8]) {
    if let Ok(code) = Code::parse(bytes) {
        whole(&code);
    }
}

/// The words of a root key, as a hand on paper may write them.
fn words(feed: &mut Feed<'_>) {
    let branch = SpaceId([1; 16]);
    let mut secret = [0; 32];
    let bytes = feed.take(32);
    secret[..bytes.len()].copy_from_slice(bytes);
    let key = RootKey::new(&secret, branch);
    let written = key.words();
    assert_eq!(RootKey::from_words(&written, branch).as_ref(), Ok(&key));
    let list: Vec<&str> = written.split_whitespace().collect();
    let mut list: Vec<String> = list.into_iter().map(str::to_owned).collect();
    let original = list.clone();
    for _ in 0..feed.below(4) {
        let (at, other) = (feed.below(list.len()), feed.below(list.len()));
        match feed.below(5) {
            0 => list.swap(at, other),
            1 => list[at] = list[at].to_uppercase(),
            2 => list[at] = String::from_utf8_lossy(feed.bytes()).into_owned(),
            3 => drop(list.remove(at)),
            _ => list[at].push(char::from(feed.byte())),
        }
        if list.is_empty() {
            return;
        }
    }
    let read = RootKey::from_words(&list.join(*feed.one_of(&[" ", "\n", "  ", " \t"])), branch);
    let same =
        list.len() == original.len() && list.iter().zip(&original).all(|(a, b)| a.eq_ignore_ascii_case(b));
    if same {
        assert_eq!(read, Ok(key));
    } else if let Ok(other) = read {
        // Whatever reads is a key whose words these are.
        assert_eq!(RootKey::from_words(&other.words(), branch), Ok(other));
    }
}

fn run(feed: &mut Feed<'_>) {
    let names = ["join", "welcome", "root", "Welcome", "other"];
    match feed.below(10) {
        0 => parse(feed.0),
        1 => {
            let name = *feed.one_of(&names);
            parse(link(name, feed.0).as_bytes());
        }
        // The kind is right, and everything else anything.
        2 => {
            let (magic, name) = *feed.one_of(&[(b"DNJ1", "join"), (b"DNW1", "welcome"), (b"DNR1", "root")]);
            parse(link(name, &[&magic[..], feed.0].concat()).as_bytes());
        }
        // A relay's address of any text.
        3 => {
            let url = format!("{}{}", feed.one_of(&["ws://", "wss://", ""]), String::from_utf8_lossy(feed.0));
            let relay = RelayKey::from_seed(&[2; 32]).public();
            match Welcome::new(SpaceId([1; 16]), ItemId([2; 32]), relay, &url) {
                Ok(welcome) => whole(&welcome.into()),
                Err(_) => assert!(
                    RelayUrl::parse(&format!("{url}#{relay}")).is_err()
                        || url.len() > RELAY_URL_BYTES_MAX
                        || !url.is_ascii()
                ),
            }
        }
        // Keys of anybody, proved.
        4 => {
            let mut key = [0; 32];
            let bytes = feed.take(32);
            key[..bytes.len()].copy_from_slice(bytes);
            let request = JoinRequest::new(&DeviceKey::from_seed(&key));
            whole(&request.clone().into());
            let spoilt = feed.spoilt(&request.encode());
            if let Ok(other) = JoinRequest::decode(&spoilt) {
                assert!(other == request || !other.is_proved(), "a proof of other keys");
            }
        }
        5 => words(feed),
        6 => {
            let text = String::from_utf8_lossy(feed.0);
            if let Ok(key) = RootKey::from_words(&text, SpaceId([1; 16])) {
                whole(&key.into());
            }
        }
        7 => {
            let text = String::from_utf8_lossy(feed.0);
            if let Ok(relay) = RelayUrl::parse(&text) {
                assert_eq!(RelayUrl::parse(&relay.to_string()).as_ref(), Ok(&relay), "one address");
            }
        }
        8 => {
            let text = feed.repeated(1 << 20);
            let text = String::from_utf8_lossy(&text);
            parse(text.as_bytes());
            let _ = qr::svg(&text);
            if IMAGE_BITS_MAX < bits_at_least(&text) {
                assert!(qr::svg(&text).is_err(), "no image holds it");
            }
        }
        _ => {
            let (scale, text) = (feed.byte(), String::from_utf8_lossy(feed.0));
            if let Ok(image) = qr::png(&text, scale % 5) {
                assert!(image.starts_with(b"\x89PNG\r\n\x1a\n") && image.len() < 256 << 10);
            }
        }
    }
}

fuzz_target!(init: {
    let relay = RelayKey::from_seed(&[2; 32]).public();
    let welcome = Welcome::new(SpaceId([1; 16]), ItemId([2; 32]), relay, "ws://10.0.0.1:7070").expect("an address");
    let codes: [Code; 3] =
        [welcome.into(), JoinRequest::new(&member()).into(), RootKey::new(&[3; 32], SpaceId([1; 16])).into()];
    for code in codes {
        let name = format!("{:?}", code.kind());
        seed(&format!("{name}-link"), &[&[0], code.link().as_bytes()].concat());
        seed(&format!("{name}-bytes"), &[&[1, code.kind() as u8], &code.to_bytes()[..]].concat());
        if let Code::Root(key) = &code {
            seed("words", &[&[6], key.words().as_bytes()].concat());
        }
    }
    seed("address", &[&[7], format!("ws://[::1]:7070/dinh#{relay}").as_bytes()].concat());
}, |data: &[u8]| {
    within(MEMORY_MAX, || run(&mut Feed(data)));
});
