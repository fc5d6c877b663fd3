//! Random interleavings and damaged frames.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Put(usize),
    Items(usize),
    TakePuts,
    TakeItems,
    Up,
    Down,
    Transmit,
    Time(u64),
    Presence,
    Probe,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (218usize..70_000).prop_map(Step::Put),
        4 => (218usize..70_000).prop_map(Step::Items),
        2 => Just(Step::TakePuts),
        2 => Just(Step::TakeItems),
        4 => Just(Step::Up),
        4 => Just(Step::Down),
        6 => Just(Step::Transmit),
        1 => (1u64..20_000).prop_map(Step::Time),
        1 => Just(Step::Presence),
        1 => Just(Step::Probe),
    ]
}

/// What was given to the sessions and what came out, in order.
#[derive(Default)]
struct Journal {
    put: Vec<Bytes>,
    put_got: Vec<Bytes>,
    acked: Vec<ItemId>,
    sent: Vec<Bytes>,
    got: Vec<Bytes>,
}

impl Journal {
    fn id(n: usize) -> ItemId {
        let mut id = ItemId::default();
        id.0[..8].copy_from_slice(&(n as u64).to_le_bytes());
        id
    }

    fn play(&mut self, pair: &mut Pair, step: &Step) {
        match step {
            Step::Put(len) if pair.device.can_put() => {
                let bytes = blob(self.put.len() as u64, *len);
                pair.device.put(Self::id(self.put.len()), bytes.clone(), false);
                self.put.push(bytes);
            }
            Step::Items(len) if pair.relay.can_send_items() => {
                let seq = self.sent.len() as u64 + 1;
                pair.relay.items(items(Scope::Log, seq, *len));
                self.sent.push(blob(seq, *len));
            }
            Step::Put(_) | Step::Items(_) => {}
            Step::TakePuts => {
                while let Some(event) = pair.relay.poll_event() {
                    let RelayEvent::Put { first, items, bytes } = event else { continue };
                    for (item, number) in items.into_iter().zip(first..) {
                        assert_eq!(number, self.put_got.len() as u64);
                        self.put_got.push(item.bytes);
                        pair.relay.ack(number, Seq(number + 1));
                    }
                    pair.relay.release(bytes);
                }
            }
            Step::TakeItems => {
                while let Some(event) = pair.device.poll_event() {
                    match event {
                        DeviceEvent::Items { items, bytes } => {
                            self.got.extend(items.items.into_iter().map(|(_, b)| b));
                            pair.device.release(bytes);
                        }
                        DeviceEvent::Acked { id, .. } => self.acked.push(id),
                        DeviceEvent::Closed(error) => panic!("{error}"),
                        _ => {}
                    }
                }
            }
            Step::Up => pair.deliver_up(),
            Step::Down => pair.deliver_down(),
            Step::Transmit => {
                pair.transmit();
            }
            Step::Time(ms) => {
                pair.now = pair.now + Duration::from_millis(*ms);
                pair.device.handle_timeout(pair.now);
                pair.relay.handle_timeout(pair.now);
                // Both are alive and the link is not slower than half a minute.
                pair.settle();
            }
            Step::Presence => {
                let device = DeviceId([1; 16]);
                pair.device.ephemeral(Ephemeral { space: SpaceId([1; 16]), device, payload: Bytes::new() });
            }
            Step::Probe => pair.device.handle_resumed(pair.now),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_interleaving_loses_or_reorders_anything(steps in proptest::collection::vec(step(), 1..150)) {
        let mut pair = Pair::flowing();
        let mut journal = Journal::default();
        for step in &steps {
            journal.play(&mut pair, step);
        }
        for _ in 0..200 {
            pair.settle();
            journal.play(&mut pair, &Step::TakePuts);
            journal.play(&mut pair, &Step::TakeItems);
        }
        prop_assert!(pair.device.is_flowing() && pair.relay.is_flowing());
        prop_assert_eq!(&journal.put_got, &journal.put);
        prop_assert_eq!(&journal.got, &journal.sent);
        let expected: Vec<ItemId> = (0..journal.put.len()).map(Journal::id).collect();
        prop_assert_eq!(&journal.acked, &expected);
    }

    #[test]
    fn damaged_frames_never_panic_and_what_ends_stays_ended(
        steps in proptest::collection::vec(step(), 1..60),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 60),
    ) {
        let mut pair = Pair::new(hello(1));
        let mut seq = 1;
        for (step, (at, byte, how)) in steps.iter().zip(damage) {
            match step {
                Step::Put(len) if pair.device.can_put() => {
                    pair.device.put(ItemId([1; 32]), blob(0, *len), false);
                }
                Step::Items(len) if pair.relay.can_send_items() => {
                    seq += 1;
                    pair.relay.items(items(Scope::Log, seq, *len));
                }
                _ => {}
            }
            pair.transmit();
            for frame in pair.up.iter_mut().chain(&mut pair.down).filter(|f| !f.is_empty()) {
                let i = at.index(frame.len());
                match how {
                    0 => frame[i] ^= byte,
                    1 => frame.truncate(i),
                    2 => frame.insert(i, byte),
                    _ => {}
                }
            }
            pair.deliver_up();
            pair.deliver_down();
            while let Some(event) = pair.relay.poll_event() {
                match event {
                    RelayEvent::Hello { .. } => pair.relay.welcome(welcome(1)),
                    RelayEvent::Put { items, bytes, first } => {
                        (first..).zip(items).for_each(|(n, _)| pair.relay.ack(n, Seq(n + 1)));
                        pair.relay.release(bytes);
                    }
                    RelayEvent::Closed(_) => prop_assert!(pair.relay.is_ended()),
                    _ => {}
                }
            }
            while let Some(event) = pair.device.poll_event() {
                match event {
                    DeviceEvent::Items { bytes, .. } => pair.device.release(bytes),
                    DeviceEvent::Closed(_) => prop_assert!(!pair.device.is_flowing()),
                    _ => {}
                }
            }
        }
        // An ended session takes and gives nothing more than its last words.
        pair.relay.close(CloseCode::Normal, 0);
        let mut rest = Vec::new();
        while pair.relay.poll_transmit(&mut rest) {}
        while pair.relay.poll_event().is_some() {}
        pair.relay.handle_frame(pair.now, &raw_first(&[Message::Ping]).into());
        pair.relay.ack(1, Seq(1));
        prop_assert!(!pair.relay.poll_transmit(&mut rest));
        prop_assert_eq!(pair.relay.poll_event(), None);
    }
}
