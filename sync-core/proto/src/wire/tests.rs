use proptest::prelude::*;

use super::*;
use crate::error::{CloseCode, RejectCode};
use crate::ids::*;
use crate::item::SpaceSum;
use crate::ranges::Ranges;

fn space() -> impl Strategy<Value = SpaceId> {
    any::<[u8; 16]>().prop_map(SpaceId)
}

fn chains() -> impl Strategy<Value = ChainSet> {
    let author = (any::<[u8; 16]>(), any::<[u8; 8]>())
        .prop_map(|(d, s)| Author { device: DeviceId(d), session: SessionId(s) });
    let ranges = proptest::collection::vec(1u32..100, 0..20).prop_map(|v| v.into_iter().collect::<Ranges>());
    (space(), any::<bool>(), proptest::collection::btree_map(author, ranges, 0..5))
        .prop_map(|(space, last, chains)| ChainSet { space, last, chains: chains.into_iter().collect() })
}

fn fetch() -> impl Strategy<Value = Fetch> {
    (space(), any::<u64>(), any::<u64>()).prop_map(|(space, a, b)| Fetch { space, from: Seq(a), to: Seq(b) })
}

fn item_bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 218..300).prop_map(Bytes::from)
}

fn message() -> impl Strategy<Value = Message> {
    let cursor = proptest::option::of((any::<[u8; 8]>(), any::<u64>()))
        .prop_map(|c| c.map(|(e, s)| Cursor { epoch: LogEpoch(e), seq: Seq(s) }));
    let backfills = proptest::collection::vec(fetch(), 0..4).prop_map(|mut v| {
        v.sort_by_key(|f| f.space);
        v.dedup_by_key(|f| f.space);
        v
    });
    let seqs = proptest::collection::btree_map(1u64..1000, item_bytes(), 0..4);
    prop_oneof![
        (cursor.clone(), cursor, backfills).prop_map(|(cursor, acked, backfills)| Message::Hello(Hello {
            cursor,
            acked,
            backfills
        })),
        (any::<[u8; 8]>(), any::<u64>(), any::<bool>(), any::<u8>(), any::<u64>(), any::<u64>()).prop_map(
            |(e, head, reconcile, replicas, backlog, time_ms)| Message::Welcome(Welcome {
                epoch: LogEpoch(e),
                head: Seq(head),
                reconcile,
                replicas,
                backlog,
                time_ms
            })
        ),
        (prop_oneof![Just(Scope::Log), space().prop_map(Scope::Backfill), Just(Scope::Wanted)], seqs)
            .prop_map(|(scope, items)| Message::Items(Items {
                scope,
                upto: Seq(1000),
                items: items.into_iter().map(|(s, b)| (Seq(s), b)).collect()
            })),
        (any::<u64>(), proptest::collection::btree_map(space(), any::<u128>(), 0..4)).prop_map(
            |(seq, sums)| {
                Message::CaughtUp(CaughtUp {
                    seq: Seq(seq),
                    sums: sums.into_iter().map(|(s, v)| (s, SpaceSum(v))).collect(),
                })
            }
        ),
        proptest::collection::vec((any::<bool>(), item_bytes()), 0..4).prop_map(|v| Message::Put(Put {
            items: v.into_iter().map(|(bridged, bytes)| PutItem { bridged, bytes }).collect()
        })),
        proptest::collection::btree_map(any::<u64>(), any::<u64>(), 0..5)
            .prop_map(|m| Message::Ack(Ack { puts: m.into_iter().map(|(n, s)| (n, Seq(s))).collect() })),
        (any::<u64>(), any::<[u8; 32]>(), 0..RejectCode::ALL.len(), "[a-zđ ]{0,40}").prop_map(
            |(number, id, c, detail)| {
                Message::Reject(Reject {
                    number,
                    id: ItemId(id),
                    code: RejectCode::ALL[c],
                    seq: Seq(7),
                    detail,
                })
            }
        ),
        chains().prop_map(Message::Have),
        chains().prop_map(Message::Want),
        fetch().prop_map(Message::Fetch),
        proptest::collection::btree_set(space(), 0..4)
            .prop_map(|s| Message::Reconcile(s.into_iter().collect())),
        (space(), any::<[u8; 16]>(), proptest::collection::vec(any::<u8>(), 0..50)).prop_map(
            |(space, d, p)| {
                Message::Ephemeral(Ephemeral { space, device: DeviceId(d), payload: p.into() })
            }
        ),
        any::<u64>().prop_map(Message::Credit),
        Just(Message::Ping),
        Just(Message::Pong),
        (0..CloseCode::ALL.len(), any::<u32>(), "[a-z ]{0,40}").prop_map(|(c, retry_after_ms, detail)| {
            Message::Close { code: CloseCode::ALL[c], retry_after_ms, detail }
        }),
    ]
}

proptest! {
    #[test]
    fn any_message_survives_any_cutting_of_the_stream(messages in proptest::collection::vec(message(), 1..5), piece in 1usize..400) {
        let mut stream = Vec::new();
        messages.iter().for_each(|m| write_message(m, &mut stream));
        let mut reader = MessageReader::default();
        let mut got = Vec::new();
        for part in stream.chunks(piece) {
            reader.push(part);
            while let Some((m, _)) = reader.next_message().unwrap() {
                got.push(m);
            }
        }
        prop_assert_eq!(got, messages);
    }

    #[test]
    fn a_truncated_or_prolonged_body_is_refused(message in message()) {
        let mut body = Vec::new();
        message.encode(&mut body);
        for n in 0..body.len() {
            prop_assert!(Message::decode(&Bytes::copy_from_slice(&body[..n])).is_err());
        }
        body.push(0);
        prop_assert!(Message::decode(&Bytes::from(body)).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut reader = MessageReader::default();
        reader.push(&bytes);
        while let Ok(Some(_)) = reader.next_message() {}
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(message in message(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut body = Vec::new();
        message.encode(&mut body);
        let i = at.index(body.len());
        body[i] ^= 1 << bit;
        let body = Bytes::from(body);
        if let Ok(Some(other)) = Message::decode(&body) {
            let mut again = Vec::new();
            other.encode(&mut again);
            prop_assert_eq!(&again[..], &body[..]);
        }
    }
}

#[test]
fn unknown_types_are_skipped_or_close_by_the_stated_rule() {
    let mut reader = MessageReader::default();
    reader.push(&[3, 0x80, 1, 2, 1, 14]);
    assert_eq!(reader.next_message().unwrap().unwrap().0, Message::Ping);
    reader.push(&[2, 0x20, 1]);
    assert_eq!(reader.next_message(), Err(PeerIncompatible::MessageType(0x20).into()));
    let mut reader = MessageReader::default();
    reader.push(&[0]);
    assert!(reader.next_message().is_err());
}

#[test]
fn a_lying_length_is_refused_at_once() {
    let mut reader = MessageReader::default();
    reader.push(&[0xff, 0xff, 0xff, 0x7f]);
    assert!(matches!(
        reader.next_message(),
        Err(SessionError::InvalidMessage(InvalidMessage::TooLarge { .. }))
    ));
}
