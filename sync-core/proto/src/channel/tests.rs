//! What an honest pair does, and what nobody between the two can do.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;

const CONTENT: &[u8] = b"minutes of the meeting, not to be read on the way";

fn key() -> DeviceKey {
    DeviceKey::from_seed(&[1; 32])
}

fn relay_key() -> RelayKey {
    RelayKey::from_seed(&[2; 32])
}

fn device(binding: u8) -> Channel {
    Channel::device(&key(), &relay_key().public(), Binding([binding; 32]), [3; 32])
}

fn relay(binding: u8) -> Channel {
    Channel::relay(&relay_key(), Binding([binding; 32]), [4; 32])
}

fn sealed(channel: &mut Channel, plain: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    channel.seal(plain, &mut frame);
    frame
}

/// Both ends after the handshake, and its two frames.
fn pair() -> (Channel, Channel, Vec<u8>, Vec<u8>) {
    let (mut device, mut relay) = (device(1), relay(1));
    let first = sealed(&mut device, CONTENT);
    assert_eq!(relay.open(&first).unwrap(), CONTENT);
    let second = sealed(&mut relay, b"welcome");
    assert_eq!(device.open(&second).unwrap(), b"welcome");
    (device, relay, first, second)
}

fn contains(frame: &[u8], part: &[u8]) -> bool {
    frame.windows(part.len()).any(|w| w == part)
}

/// Everything that differs from `frame` in one bit, is cut, or has a byte more.
fn damaged(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flipped = (0..frame.len() * 8).map(|bit| {
        let mut changed = frame.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    });
    let cut = (0..frame.len()).map(|n| frame[..n].to_vec());
    flipped.chain(cut).chain([[frame, &[0]].concat()])
}

#[test]
fn both_ends_know_each_other_and_nothing_is_in_the_clear() {
    let (mut device, mut relay, first, second) = pair();
    assert_eq!(relay.peer(), Some(&key().public()));
    assert_eq!(device.peer(), None);
    assert_eq!((first.len(), second.len()), (165 + CONTENT.len(), 53 + 7));
    let mut frames = vec![first, second];
    for i in 0..5u8 {
        let up = sealed(&mut device, &[CONTENT, &[i]].concat());
        assert_eq!(up.len(), CONTENT.len() + 1 + 16);
        assert_eq!(relay.open(&up).unwrap(), [CONTENT, &[i]].concat());
        let down = sealed(&mut relay, b"");
        assert_eq!(device.open(&down).unwrap(), b"");
        frames.extend([up, down]);
    }
    let public = key().public();
    for secret in [&CONTENT[..8], public.signing().as_bytes(), public.channel(), public.wrap(), b"welcome"] {
        assert!(frames.iter().all(|f| !contains(f, secret)));
    }
}

#[test]
fn the_same_seeds_make_the_same_frames_and_others_make_others() {
    let (_, _, first, second) = pair();
    let (_, _, again, second_again) = pair();
    assert_eq!((&first, &second), (&again, &second_again));
    let other = Channel::device(&key(), &relay_key().public(), Binding([1; 32]), [9; 32]);
    assert_ne!(sealed(&mut { other }, CONTENT), first);
}

#[test]
fn frames_are_as_long_as_they_may_be_and_no_longer() {
    let (mut device, mut relay) = (device(1), relay(1));
    let plain = vec![7; device.room()];
    let first = sealed(&mut device, &plain);
    assert_eq!(first.len(), limits::FRAME_BYTES_MAX);
    assert_eq!(relay.open(&first).unwrap(), plain);
    let plain = vec![8; relay.room()];
    let second = sealed(&mut relay, &plain);
    assert_eq!(device.open(&second).unwrap(), plain);
    let plain = vec![9; device.room()];
    let third = sealed(&mut device, &plain);
    assert_eq!(third.len(), limits::FRAME_BYTES_MAX);
    assert_eq!(relay.open(&third).unwrap(), plain);
    let too_long = relay.open(&vec![0; limits::FRAME_BYTES_MAX + 1]);
    assert!(matches!(too_long, Err(SessionError::InvalidMessage(InvalidMessage::TooLarge { .. }))));
}

#[test]
fn each_end_speaks_in_its_turn() {
    let (mut device, mut relay) = (device(1), relay(1));
    assert!(device.can_seal() && !relay.can_seal() && !relay.owes_first());
    let first = sealed(&mut device, b"1");
    assert!(!device.can_seal());
    // A device takes nothing but a refusal before it has spoken.
    let mut early = tests::device(1);
    assert!(early.open(&first).is_err() && !early.can_seal());
    relay.open(&first).unwrap();
    assert!(relay.can_seal() && relay.owes_first());
    assert!(relay.open(&first).is_err(), "there is one first frame");
    let (mut device, relay, ..) = pair();
    assert!(device.can_seal() && relay.can_seal() && !relay.owes_first());
    assert_eq!(device.open(b""), Err(PeerMisbehaved::BadFrame.into()));
}

#[test]
fn every_changed_bit_and_every_cut_of_a_frame_is_refused() {
    let (_, _, first, second) = pair();
    let (mut device_end, mut relay_end, ..) = pair();
    let up = sealed(&mut device_end, CONTENT);
    let down = sealed(&mut relay_end, CONTENT);
    let mut counts = [0; 4];
    for frame in damaged(&first) {
        let mut end = relay(1);
        assert!(end.open(&frame).is_err());
        assert!(end.peer().is_none() && !end.can_seal());
        counts[0] += 1;
    }
    for frame in damaged(&second) {
        let mut end = device(1);
        sealed(&mut end, CONTENT);
        assert!(end.open(&frame).is_err());
        assert!(!end.can_seal());
        counts[1] += 1;
    }
    for frame in damaged(&up) {
        assert_eq!(pair().1.open(&frame), Err(PeerMisbehaved::BadFrame.into()));
        counts[2] += 1;
    }
    for frame in damaged(&down) {
        assert_eq!(pair().0.open(&frame), Err(PeerMisbehaved::BadFrame.into()));
        counts[3] += 1;
    }
    println!("first, second, transport up and down: {counts:?} damaged frames, 0 accepted");
}

#[test]
fn frames_that_are_repeated_moved_or_left_out_are_refused() {
    let bad = Err(PeerMisbehaved::BadFrame.into());
    let (mut device, _, first, second) = pair();
    let frames: Vec<Vec<u8>> = (0..4u8).map(|i| sealed(&mut device, &[i])).collect();
    let (mut refused, mut taken) = (0, 0);
    for at in 0..frames.len() {
        for wrong in frames.iter().chain([&first, &second]).filter(|f| **f != frames[at]) {
            let mut relay = pair().1;
            for (i, frame) in frames[..at].iter().enumerate() {
                assert_eq!(relay.open(frame).unwrap(), [i as u8]);
                taken += 1;
            }
            assert_eq!(relay.open(wrong), bad);
            assert!(relay.can_seal(), "it can say why");
            refused += 1;
        }
    }
    // What one end sealed does not open at that end, nor on another connection.
    assert_eq!(device.open(&frames[0]), bad);
    let mut other = Channel::relay(&relay_key(), Binding([1; 32]), [5; 32]);
    other.open(&first).unwrap();
    sealed(&mut other, b"welcome");
    assert_eq!(other.open(&frames[0]), bad);
    println!("{refused} frames out of their place, 0 accepted; {taken} in their place");
}

#[test]
fn a_first_frame_serves_one_connection_only() {
    let (_, _, first, second) = pair();
    let mut relay = relay(2);
    assert_eq!(relay.open(&first), Err(SessionError::BadHandshake));
    // Nor does the answer of one connection serve another.
    for (binding, seed) in [(2, 3), (1, 5)] {
        let pinned = relay_key().public();
        let mut device = Channel::device(&key(), &pinned, Binding([binding; 32]), [seed; 32]);
        sealed(&mut device, CONTENT);
        assert_eq!(device.open(&second), Err(SessionError::BadHandshake));
    }
}

/// Someone who ends the TLS connection and the WebSocket himself, with a certificate that the system trusts, and has
/// every key but the relay's.
#[test]
fn a_man_in_the_middle_gets_no_byte_of_content() {
    let mut device = device(1);
    let first = sealed(&mut device, CONTENT);
    let public = key().public();
    for part in [&CONTENT[..8], public.signing().as_bytes(), public.channel(), public.wrap()] {
        assert!(!contains(&first, part));
    }
    // He cannot open it with a key of his own, nor with the device's public keys.
    let own = RelayKey::from_seed(&[66; 32]);
    for binding in [1, 2] {
        let mut middle = Channel::relay(&own, Binding([binding; 32]), [4; 32]);
        assert_eq!(middle.open(&first), Err(SessionError::BadHandshake));
        assert!(middle.peer().is_none());
    }
    // Whatever he answers, the device says nothing more. The best that he has is a conversation of his own with the
    // device's key, which is public, or one that he replays.
    let imposter = DeviceKey::from_seed(&[67; 32]);
    let mut to_himself = Channel::device(&imposter, &own.public(), Binding([1; 32]), [3; 32]);
    let mut own_end = Channel::relay(&own, Binding([1; 32]), [4; 32]);
    own_end.open(&sealed(&mut to_himself, CONTENT)).unwrap();
    let answers = [sealed(&mut own_end, b"welcome"), pair().2, vec![0; 200], b"DNH\x01\x01".to_vec()];
    for answer in &answers {
        let mut device = tests::device(1);
        sealed(&mut device, CONTENT);
        let error = device.open(answer).unwrap_err();
        assert!(!device.can_seal(), "{error}");
    }
    assert_eq!(device.open(&answers[0]), Err(SessionError::BadHandshake));
    println!("{} answers, 0 accepted, 0 bytes of content given", answers.len());
}

/// The other way round: who knows the relay's public key can talk to it, but only as himself.
#[test]
fn nobody_can_be_another_device() {
    let him = DeviceKey::from_seed(&[67; 32]);
    let victim = key().public();
    for (signing, wrap) in [(victim.signing(), him.public().wrap()), (victim.signing(), victim.wrap())] {
        let keys = [&signing.as_bytes()[..], wrap].concat();
        let mut relay = relay(1);
        relay.open(&first_of(&him, &[&keys[..], CONTENT].concat())).unwrap();
        assert_ne!(relay.peer().unwrap().id(), victim.id());
    }
}

/// A first frame whose payload is of one's own making.
fn first_of(key: &DeviceKey, payload: &[u8]) -> Vec<u8> {
    let binding = Binding([1; 32]);
    let relay = relay_key().public();
    let mut handshake =
        noise::initiator(&key.channel_secret(), relay.as_bytes(), &prologue(KIND_RELAY, &binding), [3; 32]);
    let mut frame = Vec::new();
    put_header(KIND_RELAY, &mut frame);
    noise::write_handshake(&mut handshake, payload, &mut frame);
    frame
}

#[test]
fn keys_of_small_order_and_bad_payloads_are_refused() {
    let good = [&key().public().signing().as_bytes()[..], key().public().wrap(), CONTENT].concat();
    assert!(relay(1).open(&first_of(&key(), &good)).is_ok());
    let mut refused = 0;
    // In the payload.
    for part in 0..2 {
        for low in [0u8, 1] {
            let mut bad = good.clone();
            bad[part * 32..(part + 1) * 32].fill(0);
            bad[part * 32] = low;
            let opened = relay(1).open(&first_of(&key(), &bad));
            assert!(matches!(opened, Err(SessionError::InvalidMessage(_))), "{opened:?}");
            refused += 1;
        }
    }
    for n in 0..KEYS_BYTES {
        let opened = relay(1).open(&first_of(&key(), &good[..n]));
        assert!(matches!(opened, Err(SessionError::InvalidMessage(_))), "{opened:?}");
        refused += 1;
    }
    // As ephemeral keys, in both directions.
    let (_, _, first, second) = pair();
    for low in [0u8, 1] {
        for (frame, to_relay) in [(&first, true), (&second, false)] {
            let mut bad = frame.clone();
            bad[5..37].fill(0);
            bad[5] = low;
            let mut end = if to_relay { relay(1) } else { device(1) };
            if !to_relay {
                sealed(&mut end, CONTENT);
            }
            assert_eq!(end.open(&bad), Err(SessionError::BadHandshake));
            refused += 1;
        }
    }
    // A peer that computes with such a key itself, so that everything else fits.
    let mut handshake =
        noise::initiator(&[9; 32], &[0; 32], &prologue(KIND_RELAY, &Binding([1; 32])), [3; 32]);
    assert!(handshake.write_message(&good, &mut vec![0; 1_000]).is_err());
    refused += 1;
    println!("{refused} weak keys and short payloads, 0 accepted");
}

#[test]
fn a_refusal_in_the_clear_is_understood_whatever_the_version_and_only_before_the_handshake() {
    let mut frame = Vec::new();
    write_refusal(CloseCode::GoingAway, 1_500, "đang dừng", &mut frame);
    for version in [PROTOCOL_VERSION, 0, 2, 255] {
        for spoke in [false, true] {
            let mut end = device(1);
            if spoke {
                sealed(&mut end, CONTENT);
            }
            frame[3] = version;
            let expected = SessionError::ClosedByPeer {
                code: CloseCode::GoingAway,
                retry_after_ms: 1_500,
                detail: "đang dừng".to_owned(),
            };
            assert_eq!(end.open(&frame), Err(expected));
            assert!(!end.can_seal());
        }
    }
    assert_eq!(relay(1).open(&frame[..4]), Err(InvalidMessage::Truncated("channel kind").into()));
    frame[3] = PROTOCOL_VERSION;
    assert_eq!(relay(1).open(&frame), Err(PeerIncompatible::Channel(KIND_REFUSAL).into()));
    assert_eq!(pair().0.open(&frame), Err(PeerMisbehaved::BadFrame.into()), "not after the handshake");
    for n in 0..frame.len() {
        assert!(matches!(device(1).open(&frame[..n]), Err(SessionError::InvalidMessage(_))), "{n}");
    }
    frame.push(0);
    assert!(matches!(device(1).open(&frame), Err(SessionError::InvalidMessage(_))));
    // Too long a text is cut, not refused.
    let mut long = Vec::new();
    write_refusal(CloseCode::Incompatible, 0, &"đ".repeat(300), &mut long);
    assert!(matches!(device(1).open(&long), Err(SessionError::ClosedByPeer { .. })));
    // What tells a person with the wrong address what to do is not cut.
    assert!(SessionError::BadHandshake.to_string().len() <= limits::DETAIL_BYTES_MAX);
}

#[test]
fn another_version_or_kind_is_incompatible() {
    let (_, _, first, second) = pair();
    for (byte, value) in [(3, 0), (3, 2), (4, 0), (4, 2)] {
        let (mut up, mut down) = (first.clone(), second.clone());
        (up[byte], down[byte]) = (value, value);
        let mut device = device(1);
        sealed(&mut device, CONTENT);
        for error in [relay(1).open(&up), device.open(&down)] {
            assert!(matches!(error, Err(SessionError::PeerIncompatible(_))), "{error:?}");
        }
    }
}

/// How many inputs a test of random ones tries: a million if `DINH_FULL=1`.
#[allow(clippy::disallowed_methods, reason = "the one switch of this test")]
fn inputs() -> u32 {
    if std::env::var("DINH_FULL").is_ok_and(|v| v == "1") { 1_000_000 } else { 10_000 }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may measure")]
fn random_and_mutated_first_frames_are_refused_without_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(24);
    let (_, _, first, second) = pair();
    let inputs = inputs();
    let mut took = std::time::Duration::ZERO;
    for i in 0..inputs {
        let to_relay = i % 2 == 0;
        let honest = if to_relay { &first } else { &second };
        let mut frame = honest.clone();
        while frame == *honest {
            mutate(&mut frame, &first, &second, &mut rng);
        }
        let mut end = if to_relay { relay(1) } else { device(1) };
        if !to_relay {
            sealed(&mut end, CONTENT);
        }
        let began = std::time::Instant::now();
        let opened = end.open(&frame);
        took += began.elapsed();
        assert!(opened.is_err() && !end.can_seal() && end.peer().is_none(), "input {i}");
        assert!(end.open(honest).is_err(), "what failed stays failed");
    }
    println!("{inputs} handshake frames, 0 accepted, {:?} each on average", took / inputs);
}

fn mutate(frame: &mut Vec<u8>, first: &[u8], second: &[u8], rng: &mut ChaCha8Rng) {
    let below = |rng: &mut ChaCha8Rng, n: usize| rng.next_u64() as usize % n.max(1);
    match rng.next_u32() % 6 {
        0 => {
            *frame = vec![0; below(rng, 400)];
            rng.fill_bytes(frame);
        }
        1 => {
            // As above, behind a good header.
            frame.resize(5 + below(rng, 400), 0);
            rng.fill_bytes(&mut frame[5..]);
        }
        2 => frame.truncate(below(rng, frame.len())),
        3 => {
            for _ in 0..=below(rng, 8) {
                let at = below(rng, frame.len());
                frame[at] = rng.next_u32() as u8;
            }
        }
        4 => {
            let at = below(rng, frame.len());
            let other = if rng.next_u32().is_multiple_of(2) { first } else { second };
            frame.truncate(at);
            frame.extend_from_slice(&other[at.min(other.len())..]);
        }
        _ => {
            // Two pieces change places.
            let (a, n) = (5 + below(rng, frame.len() - 5), 1 + below(rng, 64));
            let n = n.min(frame.len() - a);
            let piece: Vec<u8> = frame.drain(a..a + n).collect();
            let at = 5 + below(rng, frame.len().saturating_sub(5));
            let at = at.min(frame.len());
            frame.splice(at..at, piece);
        }
    }
}

fn hall(key_seed: u8, psk: u8, initiates: bool) -> Channel {
    let key = DeviceKey::from_seed(&[key_seed; 32]);
    Channel::hall(&key, &[psk; 32], Binding([9; 32]), [key_seed ^ 0x55; 32], initiates)
}

/// Three frames, after each of which the ends know what they may.
fn hall_frames(one: &mut Channel, two: &mut Channel) -> [Vec<u8>; 3] {
    assert!(one.can_seal() && !two.can_seal() && one.room() == 0);
    let first = sealed(one, b"");
    assert_eq!(two.open(&first).unwrap(), b"");
    assert_eq!((two.peer(), two.room()), (None, 0));
    let second = sealed(two, b"");
    assert_eq!(one.open(&second).unwrap(), b"");
    let third = sealed(one, CONTENT);
    assert_eq!(two.open(&third).unwrap(), CONTENT);
    [first, second, third]
}

#[test]
fn two_devices_that_share_a_space_meet_without_a_relay_and_strangers_learn_nothing() {
    let (mut one, mut two) = (hall(1, 7, true), hall(2, 7, false));
    let frames = hall_frames(&mut one, &mut two);
    let public = |seed: u8| DeviceKey::from_seed(&[seed; 32]).public();
    assert_eq!((one.peer(), two.peer()), (Some(&public(2)), Some(&public(1))));
    for (i, frame) in frames.iter().enumerate() {
        for key in [public(1), public(2)] {
            for secret in [key.signing().as_bytes(), key.channel(), key.wrap()] {
                assert!(!contains(frame, secret), "frame {i}");
            }
        }
        assert!(!contains(frame, &CONTENT[..8]));
    }
    let down = sealed(&mut two, CONTENT);
    assert_eq!(one.open(&down).unwrap(), CONTENT);
    let up = sealed(&mut one, b"up");
    assert_eq!(two.open(&up).unwrap(), b"up");
    // Who has another secret, or none, does not get beyond the first frame.
    assert!(matches!(hall(2, 8, false).open(&frames[0]), Err(SessionError::BadHandshake)));
    // A relay's channel is another kind, on both sides.
    let incompatible = |e: Result<Vec<u8>, SessionError>| {
        matches!(e, Err(SessionError::PeerIncompatible(PeerIncompatible::Channel(_))))
    };
    assert!(incompatible(relay(1).open(&frames[0])));
    assert!(incompatible(hall(2, 7, false).open(&sealed(&mut device(9), CONTENT))));
}

#[test]
fn no_damaged_frame_of_a_meeting_in_the_hall_opens() {
    let frames = hall_frames(&mut hall(1, 7, true), &mut hall(2, 7, false));
    let mut tried = 0;
    for bad in damaged(&frames[0]) {
        assert!(hall(2, 7, false).open(&bad).is_err());
        tried += 1;
    }
    let greeted = || {
        let mut one = hall(1, 7, true);
        assert_eq!(sealed(&mut one, b""), frames[0]);
        one
    };
    for bad in damaged(&frames[1]).step_by(3) {
        assert!(greeted().open(&bad).is_err());
        tried += 1;
    }
    let answered = || {
        let mut two = hall(2, 7, false);
        two.open(&frames[0]).unwrap();
        assert_eq!(sealed(&mut two, b""), frames[1]);
        two
    };
    for bad in damaged(&frames[2]).step_by(3) {
        assert!(answered().open(&bad).is_err());
        tried += 1;
    }
    // One device's own frames sent back to it, and frames in another place.
    assert!(greeted().open(&frames[0]).is_err() && greeted().open(&frames[2]).is_err());
    assert!(answered().open(&frames[1]).is_err() && hall(2, 7, false).open(&frames[2]).is_err());
    println!("{tried} damaged frames of three: 0 opened");
}
