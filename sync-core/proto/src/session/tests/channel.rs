//! What the two ends make of a channel that is not open yet, does not open, or is tampered with.

use super::*;

/// The only words of a relay that cannot talk: a frame in the clear.
fn refusal(relay: &mut RelaySession) -> Vec<u8> {
    let mut frame = Vec::new();
    assert!(relay.poll_transmit(&mut frame));
    assert!(!relay.poll_transmit(&mut Vec::new()), "nothing after it");
    assert_eq!(&frame[..5], b"DNH\x01\xff");
    frame
}

#[test]
fn a_hello_that_spans_frames_goes_on_after_the_relay_s_answer() {
    let space = |i: u64| {
        SpaceId({
            let mut id = [0; 16];
            id[..8].copy_from_slice(&i.to_be_bytes());
            id
        })
    };
    let backfills = (0..limits::SPACES_PER_MESSAGE_MAX as u64)
        .map(|i| Fetch { space: space(i), from: Seq(i), to: Seq(u64::MAX) })
        .collect();
    let hello = Hello { backfills, ..Hello::default() };
    let mut pair = Pair::new(hello.clone());
    assert!(pair.transmit());
    assert!(!pair.transmit(), "the device waits for the handshake");
    pair.settle();
    let Some(RelayEvent::Hello { hello: got, device }) = pair.relay.poll_event() else { panic!("no hello") };
    assert_eq!((got, device), (hello, key().public().id()));
    let [up, down] = pair.sent;
    assert!(up.0 > 5, "{up:?}");
    assert_eq!(down, (1, 53), "an empty answer, once");
    pair.relay.welcome(welcome(1));
    pair.settle();
    assert_eq!(pair.device.poll_event(), Some(DeviceEvent::Welcomed(welcome(1))));
}

#[test]
fn a_relay_whose_key_is_not_the_pinned_one_tells_why() {
    let mut device = device_session(hello(1));
    let mut first = Vec::new();
    assert!(device.poll_transmit(&mut first));
    let other = RelayKey::from_seed(&[77; 32]);
    let mut relay = RelaySession::new(&other, BINDING, [5; 32], Timestamp(0));
    relay.handle_frame(Timestamp(0), &first.into());
    assert_eq!(relay.poll_event(), Some(RelayEvent::Closed(SessionError::BadHandshake)));
    device.handle_frame(Timestamp(0), &refusal(&mut relay));
    let Some(DeviceEvent::Closed(SessionError::ClosedByPeer { code, detail, .. })) = device.poll_event()
    else {
        panic!("not closed");
    };
    assert_eq!(code, CloseCode::BadHandshake);
    assert!(detail.contains("pinned") && detail.ends_with("prints the right one"), "{detail}");
    assert!(!device.poll_transmit(&mut Vec::new()));
}

#[test]
fn a_device_that_meets_another_relay_says_nothing_more() {
    let mut device = device_session(hello(1));
    assert!(device.poll_transmit(&mut Vec::new()));
    device.handle_resumed(Timestamp(0));
    // The answer of a relay with another key, to a device of its own.
    let other = RelayKey::from_seed(&[77; 32]);
    let mut ours = Channel::device(&DeviceKey::from_seed(&[8; 32]), &other.public(), BINDING, [4; 32]);
    let mut theirs = Channel::relay(&other, BINDING, [5; 32]);
    theirs.open(&sealed(&mut ours, b"")).unwrap();
    device.handle_frame(Timestamp(0), &sealed(&mut theirs, &wire(&[Message::Welcome(welcome(1))])));
    assert_eq!(device.poll_event(), Some(DeviceEvent::Closed(SessionError::BadHandshake)));
    device.close(CloseCode::Normal);
    assert!(!device.poll_transmit(&mut Vec::new()), "there is nobody to tell");
}

#[test]
fn a_relay_that_ends_before_the_handshake_says_so_in_the_clear() {
    for spoke in [false, true] {
        let mut relay = relay_session();
        relay.close(CloseCode::GoingAway, 700);
        let mut device = device_session(hello(1));
        if spoke {
            assert!(device.poll_transmit(&mut Vec::new()));
        }
        device.handle_frame(Timestamp(0), &refusal(&mut relay));
        let expected = SessionError::ClosedByPeer {
            code: CloseCode::GoingAway,
            retry_after_ms: 700,
            detail: String::new(),
        };
        assert_eq!(device.poll_event(), Some(DeviceEvent::Closed(expected)));
        assert!(!device.poll_transmit(&mut Vec::new()));
        // What comes too late is not looked at.
        relay.handle_frame(Timestamp(0), &raw_first(&[Message::Hello(hello(1))]).into());
        assert_eq!(
            relay.poll_event(),
            Some(RelayEvent::Closed(SessionError::ClosedHere(CloseCode::GoingAway)))
        );
        assert_eq!(relay.poll_event(), None);
    }
    // Nor does a relay wait for ever for a device to speak.
    let mut relay = relay_session();
    relay.handle_timeout(Timestamp(0) + limits::HANDSHAKE_TIMEOUT);
    assert_eq!(refusal(&mut relay)[5], CloseCode::TimedOut.to_wire());
}

#[test]
fn a_frame_that_does_not_open_ends_the_conversation_and_the_other_end_is_told_under_encryption() {
    let ping = wire(&[Message::Ping]);
    let mut pair = Pair::flowing();
    let mut frame = sealed(&mut pair.twins().0, &ping);
    frame[0] ^= 1;
    pair.relay.handle_frame(pair.now, &frame.into());
    assert_eq!(pair.relay_end(), PeerMisbehaved::BadFrame.into());
    pair.settle();
    assert!(closed(CloseCode::Misbehaved)(&pair.device_end()));

    let mut pair = Pair::flowing();
    let frame = sealed(&mut pair.twins().1, &ping);
    for _ in 0..2 {
        pair.device.handle_frame(pair.now, &frame);
    }
    assert_eq!(pair.device_end(), PeerMisbehaved::BadFrame.into());
    pair.settle();
    assert!(closed(CloseCode::Misbehaved)(&pair.relay_end()));

    // A refusal in the clear is nothing once the channel is open: it takes more to close it under a good name.
    let mut pair = Pair::flowing();
    let mut clear = Vec::new();
    crate::channel::write_refusal(CloseCode::GoingAway, u32::MAX, "", &mut clear);
    pair.device.handle_frame(pair.now, &clear);
    assert_eq!(pair.device_end(), PeerMisbehaved::BadFrame.into());
}
