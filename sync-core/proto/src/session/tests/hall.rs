//! Two devices without a relay.

use zeroize::Zeroizing;

use super::*;
use crate::session::{HallEvent, HallSession};

fn device(n: u8) -> DeviceKey {
    DeviceKey::from_seed(&[n; 32])
}

fn caller(psk: u8) -> HallSession {
    HallSession::dial(&device(1), &[psk; 32], BINDING, [4; 32], Timestamp(0))
}

fn called(psks: &[u8]) -> HallSession {
    let psks: Vec<_> = psks.iter().map(|n| Zeroizing::new([*n; 32])).collect();
    HallSession::answer(&device(2), &psks, BINDING, [5; 32], Timestamp(0)).expect("there is a key")
}

/// Until both are silent; gives what both heard.
fn talk(one: &mut HallSession, two: &mut HallSession) -> (Vec<HallEvent>, Vec<HallEvent>) {
    loop {
        let mut frame = Vec::new();
        if one.poll_transmit(&mut frame) {
            two.handle_frame(Timestamp(0), &frame);
        } else if two.poll_transmit(&mut frame) {
            one.handle_frame(Timestamp(0), &frame);
        } else {
            let events = |s: &mut HallSession| std::iter::from_fn(|| s.poll_event()).collect();
            return (events(one), events(two));
        }
    }
}

fn met() -> (HallSession, HallSession) {
    let (mut one, mut two) = (caller(7), called(&[7]));
    let (heard, by) = talk(&mut one, &mut two);
    assert_eq!(heard, [HallEvent::Met(device(2).public().id())]);
    assert_eq!(by, [HallEvent::Met(device(1).public().id())]);
    (one, two)
}

fn account() -> ChainSet {
    ChainSet { space: SpaceId([4; 16]), last: true, chains: Vec::new() }
}

#[test]
fn both_say_what_they_have_and_give_what_the_other_lacks() {
    let (mut one, mut two) = met();
    assert_eq!(one.peer(), Some(device(2).public().id()));
    one.have(account());
    two.items(vec![blob(1, 300), blob(2, 300)]);
    let (heard, by) = talk(&mut one, &mut two);
    assert_eq!(by, [HallEvent::Have(account())]);
    let [HallEvent::Items { items, bytes }] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(items, &[blob(1, 300), blob(2, 300)]);
    one.release(*bytes);
}

#[test]
fn whoever_is_called_finds_the_key_among_its_own_and_no_other() {
    let (mut one, mut two) = (caller(7), called(&[5, 6, 7, 8]));
    assert_eq!(talk(&mut one, &mut two).1, [HallEvent::Met(device(1).public().id())]);
    let (mut one, mut two) = (caller(7), called(&[5, 6, 8]));
    let (heard, by) = talk(&mut one, &mut two);
    assert_eq!((heard, by), (vec![], vec![HallEvent::Closed(SessionError::BadHandshake)]));
    assert!(HallSession::answer(&device(2), &[], BINDING, [5; 32], Timestamp(0)).is_none());
}

#[test]
fn nothing_that_only_a_relay_or_its_device_says_is_taken() {
    let cases = [
        Message::Hello(hello(1)),
        Message::Welcome(welcome(1)),
        Message::CaughtUp(CaughtUp { seq: Seq(1), sums: Vec::new() }),
        Message::Put(Put { items: vec![PutItem { bridged: false, bytes: blob(1, 300) }] }),
        Message::Ack(Ack { puts: vec![(0, Seq(1))] }),
        Message::Want(account()),
        Message::Reconcile(Vec::new()),
        Message::Fetch(Fetch { space: SpaceId([4; 16]), from: Seq(0), to: Seq(9) }),
        Message::Items(Items { scope: Scope::Log, upto: Seq(1), items: vec![(Seq(1), blob(1, 300))] }),
        Message::Items(Items { scope: Scope::Wanted, upto: Seq(1), items: vec![(Seq(0), blob(1, 300))] }),
    ];
    for message in cases {
        let (mut one, mut two) = met();
        one.conversation.send(&message);
        let (heard, by) = talk(&mut one, &mut two);
        let name = message.name();
        assert_eq!(by, [HallEvent::Closed(PeerMisbehaved::OutOfTurn(name).into())]);
        assert!(matches!(
            heard[..],
            [HallEvent::Closed(SessionError::ClosedByPeer { code: CloseCode::Misbehaved, .. })]
        ));
    }
}

#[test]
fn a_device_gives_no_more_than_the_other_one_takes() {
    let (mut one, mut two) = met();
    let mut given = 0;
    while one.can_send_items() {
        one.items(vec![blob(given, 40_000)]);
        given += 1;
        talk(&mut one, &mut two);
    }
    assert_eq!(given, limits::CREDIT_BYTES / 40_000 + 1);
    one.items(vec![blob(given, 40_000)]);
    let (_, by) = talk(&mut one, &mut two);
    assert_eq!(by, [HallEvent::Closed(PeerMisbehaved::CreditExceeded.into())]);
}

#[test]
fn silence_ends_it_and_so_does_a_greeting_that_does_not_come() {
    let (mut one, mut two) = met();
    let at = |seconds: u64| Timestamp(0) + Duration::from_secs(seconds);
    assert_eq!(one.poll_timeout(), Some(Timestamp(0) + limits::HANDSHAKE_TIMEOUT));
    one.have(account());
    two.have(account());
    talk(&mut one, &mut two);
    assert_eq!(one.poll_timeout(), Some(Timestamp(0) + limits::KEEPALIVE_AFTER));
    one.handle_timeout(at(31));
    one.handle_timeout(at(80));
    assert_eq!(one.poll_event(), Some(HallEvent::Closed(SessionError::TimedOut)));
    let mut alone = caller(7);
    alone.handle_timeout(Timestamp(0) + limits::HANDSHAKE_TIMEOUT);
    assert_eq!(alone.poll_event(), Some(HallEvent::Closed(SessionError::TimedOut)));
}

#[test]
fn no_changed_repeated_or_missing_frame_is_taken() {
    let (mut one, mut two) = met();
    one.have(account());
    let mut frame = Vec::new();
    assert!(one.poll_transmit(&mut frame));
    for i in 0..frame.len() {
        let (mut one, mut two) = met();
        one.have(account());
        let mut bad = Vec::new();
        assert!(one.poll_transmit(&mut bad));
        bad[i] ^= 1;
        two.handle_frame(Timestamp(0), &bad);
        assert_eq!(two.poll_event(), Some(HallEvent::Closed(PeerMisbehaved::BadFrame.into())));
    }
    two.handle_frame(Timestamp(0), &frame);
    two.handle_frame(Timestamp(0), &frame);
    assert_eq!(two.poll_event(), Some(HallEvent::Have(account())));
    assert_eq!(two.poll_event(), Some(HallEvent::Closed(PeerMisbehaved::BadFrame.into())));
}
