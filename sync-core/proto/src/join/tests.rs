use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;
use crate::keys::{DeviceKey, RelayKey};

const URL: &str = "ws://relay.example:4480/dinh/v1";

fn welcome() -> Welcome {
    let relay = RelayKey::from_seed(&[3; 32]).public();
    Welcome::new(SpaceId([1; 16]), ItemId([2; 32]), relay, URL).unwrap()
}

fn codes() -> [Code; 3] {
    let request = JoinRequest::new(&DeviceKey::from_seed(&[1; 32]));
    [request.into(), welcome().into(), RootKey::new(&[0xab; 32], SpaceId([1; 16])).into()]
}

#[test]
fn codes_read_back_from_bytes_and_from_links() {
    for code in codes() {
        assert_eq!(Code::parse(&code.to_bytes()), Ok(code.clone()));
        assert_eq!(Code::parse(code.link().as_bytes()), Ok(code.clone()));
        assert!(code.link().starts_with(&format!("dinh:{}?", code.kind().name())));
        println!("{:?}: {} bytes, link {} bytes", code.kind(), code.to_bytes().len(), code.link().len());
        // As it comes out of a message that was wrapped, or of a keyboard that begins with a capital letter.
        let link = code.link();
        let wrapped = format!("  D{}\r\n{}\n", &link[1..40], &link[40..]);
        assert_eq!(Code::parse(wrapped.as_bytes()), Ok(code));
    }
    let url = format!("ws://{}", "x".repeat(RELAY_URL_BYTES_MAX - 5));
    let longest = Code::from(Welcome { url, ..welcome() });
    assert_eq!(longest.to_bytes().len(), CODE_BYTES_MAX);
    assert_eq!(codes()[0].to_bytes().len(), CODE_BYTES_MAX);
    assert!(longest.link().len() <= LINK_BYTES_MAX);
    assert_eq!(Code::parse(longest.link().as_bytes()), Ok(longest));
    assert_eq!(welcome().address(), format!("{URL}#{}", welcome().relay()));
}

#[test]
fn a_code_of_another_kind_is_refused_and_both_are_named() {
    let mut refused = 0;
    for code in codes() {
        for scanned in [code.to_bytes().to_vec(), code.link().as_bytes().to_vec()] {
            let found = code.kind();
            let read = || Code::parse(&scanned).unwrap();
            let answers = [
                (CodeKind::Join, read().into_join().err()),
                (CodeKind::Welcome, read().into_welcome().err()),
                (CodeKind::Root, read().into_root().err()),
            ];
            for (expected, answer) in answers {
                let wrong = (expected != found).then_some(JoinError::WrongCode { expected, found });
                assert_eq!(answer, wrong);
                refused += usize::from(wrong.is_some());
            }
        }
    }
    println!("{refused} codes shown where another kind is expected, 0 accepted");
    assert_eq!(refused, 12);
    let error = JoinError::WrongCode { expected: CodeKind::Welcome, found: CodeKind::Join };
    assert_eq!(
        error.to_string(),
        "this is a join code (a new phone shows it to the secretary); what is needed here is a welcome code \
         (the secretary's phone shows it to the new phone)"
    );
}

#[test]
fn what_is_no_code_is_told_apart() {
    let bytes = codes()[1].to_bytes();
    let newer = |magic: &[u8; 4]| Code::parse(&[&magic[..], &bytes[4..]].concat());
    assert_eq!(newer(b"DNW2"), Err(JoinError::Newer));
    assert_eq!(newer(b"DNX1"), Err(JoinError::Newer));
    let nothing: [&[u8]; 6] = [b"", b"DN", b"https://example.org/", b"dinh", b"\xff\xfe", "ết".as_bytes()];
    for scanned in nothing {
        assert_eq!(Code::parse(scanned), Err(JoinError::NotACode));
    }
    assert_eq!(Code::parse(b"dinh:join"), Err(JoinError::Damaged));
    let long = format!("{}{}", *codes()[0].link(), "1".repeat(1 << 20));
    assert_eq!(Code::parse(long.as_bytes()), Err(JoinError::Damaged));
    // The name of the kind is not in the checksum, and must fit what is.
    let renamed = codes()[0].link().replace("join", "welcome");
    assert_eq!(Code::parse(renamed.as_bytes()), Err(JoinError::Damaged));
}

#[test]
fn a_join_code_is_proved_by_its_keys() {
    let good = codes()[0].to_bytes();
    let mut accepted = 0;
    for bit in 0..good.len() * 8 {
        let mut bytes = good.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        accepted += usize::from(Code::parse(&bytes).is_ok());
    }
    println!("{} join codes with a changed bit, {accepted} accepted", good.len() * 8);
    assert_eq!(accepted, 0);
    let other = JoinRequest::new(&DeviceKey::from_seed(&[2; 32]));
    let Code::Join(request) = codes()[0].clone() else { unreachable!("the first is a join code") };
    let stolen = Code::from(JoinRequest { proof: other.proof, ..*request });
    assert_eq!(Code::parse(stolen.link().as_bytes()), Err(JoinError::NotProved));
}

#[test]
fn a_welcome_names_a_relay_by_an_address_that_may_stand_there() {
    let make = |url: &str| Welcome::new(SpaceId([1; 16]), ItemId([2; 32]), *welcome().relay(), url);
    let bad = [
        "",
        "relay.example",
        "http://relay.example",
        "ws://",
        "wss:///dinh",
        "ws://relay.example#key",
        "ws://relay.example /",
        "ws://relay\u{0}.example",
        "ws://xã.example",
    ];
    assert!(bad.iter().all(|url| make(url).is_err()));
    assert!(make(&format!("ws://{}", "x".repeat(RELAY_URL_BYTES_MAX - 4))).is_err());
    assert!(make("wss://[2001:db8::1]:4480").is_ok());
    for url in bad {
        let bytes = Code::from(Welcome { url: url.to_owned(), ..welcome() }).to_bytes();
        assert!(matches!(Code::parse(&bytes), Err(JoinError::Invalid(_))), "{url}");
    }
}

/// One to four random edits. Of the bytes of a link most become other characters that a link may have.
fn mutate(bytes: &mut Vec<u8>, text: bool, rng: &mut ChaCha8Rng) {
    const ALPHABET: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz:?";
    for _ in 0..=rng.next_u32() % 4 {
        let at = rng.next_u32() as usize % bytes.len().max(1);
        let byte = match rng.next_u32() {
            r if text && r % 8 > 0 => ALPHABET[(r >> 8) as usize % ALPHABET.len()],
            r => (r >> 8) as u8,
        };
        match rng.next_u32() % 8 {
            0 => bytes.insert(at.min(bytes.len()), byte),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 if !bytes.is_empty() => bytes.truncate(at),
            3 if bytes.len() > at + 1 => bytes.swap(at, at + 1),
            4 if bytes.len() > at => bytes[at] ^= 1 << (byte % 8),
            _ if bytes.len() > at => bytes[at] = byte,
            _ => {}
        }
    }
}

/// Bar 36. A link has a checksum and a join request a signature. The bytes of the other two have neither: what they say is
/// compared with the charter. Of these it is tested that nothing is read that was not written.
#[test]
fn mutated_codes_are_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(36);
    for code in codes() {
        let (mut refused, mut same, mut accepted, mut read_otherwise) = (0, 0, 0, 0);
        let forms = [code.to_bytes().to_vec(), code.link().as_bytes().to_vec()];
        for i in 0..100_000 {
            let text = i % 2 == 1;
            let mut bytes = forms[i % 2].clone();
            mutate(&mut bytes, text, &mut rng);
            match Code::parse(&bytes) {
                Err(_) => refused += 1,
                Ok(found) if found == code => same += 1,
                Ok(found) if text || found.kind() == CodeKind::Join => {
                    println!("{found:?} of {bytes:02x?}");
                    accepted += 1;
                }
                Ok(found) => {
                    assert_eq!(*found.to_bytes(), bytes, "one form for what it says");
                    read_otherwise += 1;
                }
            }
        }
        println!(
            "{:?}: 50000 links and 50000 byte strings mutated: {refused} refused, {same} still say the same, \
             {accepted} accepted with a changed meaning; {read_otherwise} byte strings say something else",
            code.kind()
        );
        assert_eq!(accepted, 0);
        assert!(refused > 75_000);
    }
}

#[test]
fn a_root_key_is_written_down_as_words_and_read_from_them() {
    let branch = SpaceId([1; 16]);
    // The vectors of BIP 39 for 32 bytes.
    let published = [
        ([0x00; 32], format!("{}art", "abandon ".repeat(23))),
        ([0xff; 32], format!("{}vote", "zoo ".repeat(23))),
        (
            [0x7f; 32],
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful \
             legal winner thank year wave sausage worth title"
                .to_owned(),
        ),
    ];
    for (secret, words) in published {
        let root = RootKey::new(&secret, branch);
        assert_eq!(*root.words(), words);
        let typed = format!("\n {} \t", words.to_uppercase().replace(' ', "  \n"));
        assert_eq!(RootKey::from_words(&typed, branch), Ok(root.clone()));
        assert_eq!(root.sign_key().public(), SignKey::from_seed(&secret).public());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..2_000 {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let root = RootKey::new(&secret, branch);
        assert_eq!(RootKey::from_words(&root.words(), branch), Ok(root));
    }
    assert!(!format!("{:?}", RootKey::new(&[0xab; 32], branch)).contains("ab"));
}

#[test]
fn a_wrong_word_is_named_with_its_place() {
    let branch = SpaceId([1; 16]);
    let root = RootKey::new(&[0xab; 32], branch);
    let words = root.words();
    let words: Vec<&str> = words.split(' ').collect();
    let read = |words: &[&str]| RootKey::from_words(&words.join(" "), branch);
    for place in 0..ROOT_WORDS {
        let mut typed = words.clone();
        typed[place] = "Đình";
        let error = read(&typed).unwrap_err();
        assert_eq!(error, JoinError::UnknownWord { position: place + 1, word: "đình".to_owned() });
        let text = error.to_string();
        assert!(text.contains(&format!("word {}, “đình”", place + 1)), "{text}");
    }
    assert_eq!(read(&words[1..]), Err(JoinError::WordCount(23)));
    assert_eq!(read(&[&words[..], &["zoo"]].concat()), Err(JoinError::WordCount(25)));
    assert_eq!(read(&[]), Err(JoinError::WordCount(0)));

    // One word for another of the list: the checksum has 8 bits, so about one in 256 is not noticed here. The public half of
    // the key is in the charter, which notices all.
    let (mut tries, mut unnoticed) = (0, 0);
    for place in 0..ROOT_WORDS {
        for other in bip39::Language::English.word_list().iter().step_by(5) {
            if *other == words[place] {
                continue;
            }
            let mut typed = words.clone();
            typed[place] = other;
            tries += 1;
            match read(&typed) {
                Err(e) => assert_eq!(e, JoinError::WordsDamaged),
                Ok(found) => {
                    unnoticed += 1;
                    assert_ne!(found.sign_key().public(), root.sign_key().public());
                }
            }
        }
    }
    println!("{tries} times one word for another: {unnoticed} not noticed by the checksum");
    assert!(unnoticed < tries / 128);
}
