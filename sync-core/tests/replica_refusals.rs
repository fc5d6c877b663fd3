//! What a relay delivers is judged by the production replica: every kind of bad item is refused with its own code,
//! counted, kept in quarantine and never applied; and the connection goes on. Misuse of the cursor ends it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod scripted_relay;

use bytes::Bytes;
use dinh_core::document::Value;
use dinh_core::path;
use dinh_core::replica::{Event, Refuser};
use dinh_core::testing::space_key;
use dinh_proto::channel::{Binding, Channel};
use dinh_proto::charter::record::{Audience, JoinRequest, Record, Role, Writers};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::error::{PeerMisbehaved, RejectCode, SessionError};
use dinh_proto::ids::{ChangeHash, CharterTag, Cursor, DocId, MemberId, Seq, SessionId, SpaceId};
use dinh_proto::item::{Draft, HEADER_BYTES, ITEM_OVERHEAD_BYTES, Item, Kind, Place, RawItem, SpaceSum};
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_proto::limits;
use dinh_proto::session::{RelayEvent, RelaySession};
use dinh_proto::wire::{CaughtUp, Items, Message, Scope, write_message};
use scripted_relay::{EPOCH, NOW, Phone, key, relay_key, welcome};
use sha2::{Digest, Sha256};

impl Phone {
    fn refusals(&self) -> Vec<RejectCode> {
        let codes = self.events.iter().filter_map(|e| match e {
            Event::Refused { code, by: Refuser::Device, .. } => Some(*code),
            _ => None,
        });
        codes.collect()
    }

    fn quarantined(&self) -> Vec<(RejectCode, Vec<u8>)> {
        self.replica.quarantined().unwrap().into_iter().map(|q| (q.code, q.bytes)).collect()
    }

    fn title(&mut self, doc: &DocId) -> Option<Value> {
        self.replica.view(doc, |v| v.get(&path!["title"])).unwrap()
    }

    fn set_title(&mut self, doc: &DocId, title: &str) {
        self.replica.edit(NOW, doc, None, |e| e.put(&path!["title"], title)).unwrap();
    }
}

/// A branch of a secretary, a member and a reader, all with replicas that know the charter.
struct Hall {
    branch: SpaceId,
    space: SpaceId,
    /// All who may write write it.
    draft: DocId,
    /// The secretary writes it.
    minutes: DocId,
    secretary: Phone,
    member: Phone,
    reader: Phone,
}

impl Hall {
    fn new() -> Self {
        let (mut secretary, mut member, mut reader) = (Phone::new(1), Phone::new(2), Phone::new(3));
        let s = &mut secretary.replica;
        let branch = s.found_branch(&SignKey::from_seed(&[99; 32]), MemberId([1; 16]), "thư ký").unwrap();
        for (seed, role) in [(2, Role::Member), (3, Role::Reader)] {
            let request = JoinRequest::new(&key(seed));
            s.admit_device(branch, MemberId([seed; 16]), role, request, "điện thoại").unwrap();
        }
        let space = s.create_space(branch, Audience::Everyone).unwrap();
        let draft = s.create_document(space, Writers::All).unwrap();
        let minutes = s.create_document(space, Writers::Officers).unwrap();
        let invitation = s.invitation(branch).unwrap();
        for phone in [&mut member, &mut reader] {
            phone.replica.join(&invitation).unwrap();
        }
        for phone in [&mut secretary, &mut member, &mut reader] {
            phone.connect(0);
            phone.puts.clear();
        }
        Self { branch, space, draft, minutes, secretary, member, reader }
    }

    /// An honest run by the member, as the relay would deliver it.
    fn run_of_member(&mut self, title: &str) -> Bytes {
        self.member.set_title(&self.draft, title);
        self.member.run();
        self.member.puts.pop().unwrap()
    }
}

fn draft(kind: Kind, space: SpaceId, doc: DocId, place: Place) -> Draft {
    let run = kind == Kind::Run;
    Draft {
        kind,
        space,
        doc,
        session: SessionId([7; 8]),
        place,
        first_seq: u32::from(run),
        count: u16::from(run),
        last: if run { ChangeHash([1; 32]) } else { ChangeHash::default() },
        charter_tag: CharterTag::default(),
    }
}

const FIRST: Place = Place::Chain { n: 1, prev: [0; 16] };

impl Hall {
    /// The key of the hall's space, as the secretary's phone has it.
    fn key(&self) -> SpaceKey {
        space_key(&self.secretary.replica, &self.space).unwrap()
    }

    /// What a device of one's own making could sign: any plain bytes, under the hall's key.
    fn run_by(&self, seed: u8, space: SpaceId, doc: DocId, payload: &[u8]) -> Item {
        draft(Kind::Run, space, doc, FIRST).seal(&key(seed), &self.key(), false, payload).unwrap()
    }

    /// A run as it was before it was encrypted.
    fn opened(&self, run: &Bytes) -> Vec<u8> {
        let item = RawItem::parse(run.clone()).unwrap().trust();
        self.key().open(&item, false).unwrap()
    }
}

/// The item with a changed header, signed again by `key`.
fn resigned(item: &Bytes, key: &DeviceKey, change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = item.to_vec();
    change(&mut bytes[..HEADER_BYTES]);
    let id = Sha256::new_with_prefix(b"dinh/hdr1\0").chain_update(&bytes[..HEADER_BYTES]).finalize();
    bytes[HEADER_BYTES..ITEM_OVERHEAD_BYTES].copy_from_slice(&key.sign(b"dinh/itm1\0", &id));
    bytes.into()
}

fn flipped(item: &Bytes, at: usize) -> Bytes {
    let mut bytes = item.to_vec();
    bytes[at] ^= 1;
    bytes.into()
}

#[test]
fn bad_items_are_refused_each_with_its_code_and_the_good_one_after_them_is_applied() {
    let mut hall = Hall::new();
    let good = hall.run_of_member("Biên bản họp chi bộ");
    let (space, doc, minutes) = (hall.space, hall.draft, hall.minutes);
    let too_large = (limits::ITEM_PAYLOAD_BYTES_MAX as u32 + 1).to_le_bytes();
    let secretary = key(1).public().id();
    // A relay cannot deliver fewer bytes than an item has at least: such a message does not parse.
    let cases: Vec<(&str, Bytes, RejectCode)> = vec![
        ("not an item", vec![0xa5; 400].into(), RejectCode::Malformed),
        ("cut short", good.slice(..good.len() - 1), RejectCode::Malformed),
        ("a byte too many", [&good[..], &[0]].concat().into(), RejectCode::Malformed),
        ("changed payload", flipped(&good, ITEM_OVERHEAD_BYTES), RejectCode::Malformed),
        ("version", resigned(&good, &key(2), |h| h[0] = 2), RejectCode::Malformed),
        ("reserved byte", resigned(&good, &key(2), |h| h[3] = 1), RejectCode::Malformed),
        (
            "over the limit",
            resigned(&good, &key(2), |h| h[118..122].copy_from_slice(&too_large)),
            RejectCode::TooLarge,
        ),
        ("changed header", flipped(&good, 102), RejectCode::BadSignature),
        ("changed signature", flipped(&good, HEADER_BYTES + 9), RejectCode::BadSignature),
        (
            "in the secretary's name",
            resigned(&good, &key(2), |h| h[36..52].copy_from_slice(&secretary.0)),
            RejectCode::BadSignature,
        ),
        ("by a reader", hall.run_by(3, space, doc, b"x").bytes().clone(), RejectCode::NotAuthorised),
        (
            "the secretary's document by a member",
            hall.run_by(2, space, minutes, b"x").bytes().clone(),
            RejectCode::NotAuthorised,
        ),
        (
            "in a space that is not the document's",
            hall.run_by(2, hall.branch, doc, b"x").bytes().clone(),
            RejectCode::NotAuthorised,
        ),
    ];
    let reader = &mut hall.reader;
    assert_eq!(reader.title(&doc), None);
    let hash = reader.replica.document_hash(&doc).unwrap();
    for (i, (what, bytes, code)) in cases.iter().enumerate() {
        reader.deliver(std::slice::from_ref(bytes));
        assert_eq!(reader.refusals().last(), Some(code), "{what}");
        assert_eq!(reader.replica.counters().refused, i as u64 + 1, "{what}");
        assert_eq!(reader.quarantined().last(), Some(&(*code, bytes.to_vec())), "{what}");
        assert_eq!(reader.replica.counters().items_received, 0, "{what}");
        assert_eq!(reader.replica.document_hash(&doc).unwrap(), hash, "{what}");
        assert_eq!(reader.ended, None, "{what}");
        // The relay may go on: the bad item is passed over.
        assert_eq!(reader.replica.cursor(), Some(Cursor { epoch: EPOCH, seq: Seq(reader.head) }));
    }
    assert_eq!(reader.refusals().len(), cases.len());
    reader.deliver(&[good]);
    assert_eq!(reader.title(&doc).unwrap().as_str(), Some("Biên bản họp chi bộ"));
    assert_eq!(reader.replica.counters().items_received, 1);
}

/// It may come to count when another record is received: so it is kept, as the relay keeps it, and does nothing.
#[test]
fn a_record_by_who_may_not_issue_it_is_kept_and_does_not_count() {
    let mut hall = Hall::new();
    let record = Record::Space { nonce: [9; 16], history: true, padded: false, audience: Audience::Everyone };
    let draft = draft(Kind::Charter, hall.branch, DocId::default(), FIRST);
    let item = draft.sign(&key(2), &record.encode()).unwrap();
    let reader = &mut hall.reader;
    let spaces = reader.replica.charters()[&hall.branch].spaces().clone();
    reader.deliver(&[item.bytes().clone()]);
    assert_eq!(reader.refusals(), []);
    assert_eq!(reader.replica.counters().items_received, 1);
    let charter = &reader.replica.charters()[&hall.branch];
    assert_eq!(charter.spaces(), &spaces);
    assert!(!charter.counts(&item.id()));
}

#[test]
fn what_does_not_pass_the_gate_is_kept_out_of_the_document() {
    let mut hall = Hall::new();
    let good = hall.run_of_member("đúng");
    let doc = hall.draft;
    let payload = |bytes: &[u8]| {
        let mut spoiled = hall.opened(&good);
        spoiled.splice(..bytes.len(), bytes.iter().copied());
        spoiled
    };
    let cases: Vec<(&str, Item)> = vec![
        ("not a pack", hall.run_by(2, hall.space, doc, b"payload")),
        ("another pack version", hall.run_by(2, hall.space, doc, &payload(&[0xf0]))),
        // The pack is good, and another's: actor and signed hash do not fit.
        ("another session's changes", hall.run_by(2, hall.space, doc, &payload(&[]))),
        ("a wrong commitment", {
            let raw = RawItem::parse(good.clone()).unwrap();
            let mut d = draft(Kind::Run, hall.space, doc, FIRST);
            d.session = raw.header().author.session;
            d.seal(&key(2), &hall.key(), false, &hall.opened(&good)).unwrap()
        }),
    ];
    for (what, item) in cases {
        let mut reader = hall.reader_again();
        assert_eq!(reader.title(&doc), None);
        reader.deliver(&[item.bytes().clone()]);
        // It is well signed: it stays in the store as received, and out of the document.
        assert_eq!(reader.replica.counters().items_received, 1, "{what}");
        assert_eq!(reader.replica.counters().refused, 1, "{what}");
        assert_eq!(reader.refusals(), [RejectCode::Malformed], "{what}");
        assert_eq!(reader.quarantined(), [(RejectCode::Malformed, item.bytes().to_vec())], "{what}");
        assert_eq!(reader.title(&doc), None, "{what}");
        assert_eq!(reader.ended, None, "{what}");
    }
}

impl Hall {
    /// Another device of the reader's kind, fresh: the same key and no items but the charter.
    fn reader_again(&mut self) -> Phone {
        let mut phone = Phone::new(3);
        let invitation = self.secretary.replica.invitation(self.branch).unwrap();
        phone.replica.join(&invitation).unwrap();
        phone.connect(0);
        phone.puts.clear();
        phone
    }
}

#[test]
fn a_fork_leaves_what_was_first_and_a_repetition_changes_nothing() {
    let mut hall = Hall::new();
    let good = hall.run_of_member("thứ nhất");
    let raw = RawItem::parse(good.clone()).unwrap();
    let header = raw.header();
    let mut fork = draft(Kind::Run, hall.space, hall.draft, header.place);
    fork.session = header.author.session;
    let fork = fork.seal(&key(2), &hall.key(), false, &hall.opened(&good)).unwrap();
    let reader = &mut hall.reader;
    reader.deliver(std::slice::from_ref(&good));
    reader.deliver(std::slice::from_ref(&good));
    assert_eq!(reader.replica.counters().duplicates, 1);
    assert_eq!(reader.refusals(), []);
    reader.deliver(&[fork.bytes().clone()]);
    assert_eq!(reader.refusals(), [RejectCode::Fork]);
    assert_eq!(reader.quarantined(), [(RejectCode::Fork, fork.bytes().to_vec())]);
    assert_eq!(reader.title(&hall.draft).unwrap().as_str(), Some("thứ nhất"));
    assert_eq!(reader.replica.counters().items_received, 1);
    assert_eq!(reader.ended, None);
    // All in one message: the first stays as well.
    let mut reader = hall.reader_again();
    reader.deliver(&[good.clone(), fork.bytes().clone(), good]);
    assert_eq!(reader.refusals(), [RejectCode::Fork]);
    assert_eq!(reader.replica.counters().items_received, 1);
    assert_eq!(reader.replica.counters().duplicates, 1);
    assert_eq!(reader.title(&hall.draft).unwrap().as_str(), Some("thứ nhất"));
}

#[test]
fn a_link_to_another_item_is_refused() {
    let mut hall = Hall::new();
    let first = hall.run_of_member("một");
    let second = hall.run_of_member("hai");
    let wrong = resigned(&second, &key(2), |h| h[64] ^= 1);
    let reader = &mut hall.reader;
    reader.deliver(&[first.clone(), wrong.clone()]);
    assert_eq!(reader.refusals(), [RejectCode::BadLink]);
    reader.deliver(std::slice::from_ref(&second));
    assert_eq!(reader.title(&hall.draft).unwrap().as_str(), Some("hai"));
    // Also when the later one came first: what waits in the store decides.
    let mut reader = hall.reader_again();
    let other_first = resigned(&first, &key(2), |h| h[110] ^= 1);
    reader.deliver(std::slice::from_ref(&second));
    assert_eq!(reader.title(&hall.draft), None, "it waits for what it builds on");
    reader.deliver(&[other_first]);
    assert_eq!(reader.refusals(), [RejectCode::BadLink]);
    reader.deliver(std::slice::from_ref(&first));
    assert_eq!(reader.title(&hall.draft).unwrap().as_str(), Some("hai"));
    // And when both came in one message.
    let other_first = resigned(&first, &key(2), |h| h[110] ^= 1);
    let mut reader = hall.reader_again();
    reader.deliver(&[second, other_first, first]);
    assert_eq!(reader.refusals(), [RejectCode::BadLink]);
    assert_eq!(reader.title(&hall.draft).unwrap().as_str(), Some("hai"));
}

#[test]
fn items_of_unknown_authors_and_documents_wait_for_their_records() {
    let mut hall = Hall::new();
    hall.secretary.puts.clear();
    let doc = hall.secretary.replica.create_document(hall.space, Writers::All).unwrap();
    let request = JoinRequest::new(&key(4));
    let admitted =
        hall.secretary.replica.admit_device(hall.branch, MemberId([4; 16]), Role::Member, request, "mới");
    admitted.unwrap();
    hall.secretary.set_title(&doc, "văn bản mới");
    hall.secretary.run();
    // The newcomer gets the keys of the two spaces that it reads.
    let [record, certificate, _, _, run] = &hall.secretary.puts[..] else { panic!("five items") };
    let by_stranger = hall.run_by(5, hall.space, hall.draft, b"x");
    let by_newcomer = hall.run_by(4, hall.space, hall.draft, b"not a pack");
    let reader = &mut hall.reader;
    reader.deliver(&[run.clone(), by_newcomer.bytes().clone(), by_stranger.bytes().clone()]);
    assert_eq!(reader.refusals(), []);
    assert_eq!(reader.replica.counters().items_received, 0);
    // The records come: what waited is judged, and the stranger goes on waiting.
    reader.deliver(&[record.clone(), certificate.clone()]);
    assert_eq!(reader.replica.counters().items_received, 4);
    assert_eq!(reader.title(&doc).unwrap().as_str(), Some("văn bản mới"));
    assert_eq!(reader.title(&hall.draft), None);
    assert_eq!(reader.quarantined().len(), 1, "the newcomer's run does not pass the gate");
}

#[test]
fn a_bad_snapshot_is_dropped() {
    let mut hall = Hall::new();
    let good = hall.run_of_member("đúng");
    let covers = Place::Covers(Cursor { epoch: EPOCH, seq: Seq(1) });
    let space_key = hall.key();
    let snapshot = |seed: u8, payload: &[u8]| {
        draft(Kind::Snapshot, hall.space, hall.draft, covers)
            .seal(&key(seed), &space_key, false, payload)
            .unwrap()
            .bytes()
            .clone()
    };
    // Version, no authors, sum, and a pack with nothing in it.
    let empty = [&[1, 0][..], &[0; 16], &[0x10, 0]].concat();
    let foreign = [&[1, 1][..], &good[..ITEM_OVERHEAD_BYTES], &[1, 1, 0], &[0; 16], &[0x10, 0]].concat();
    let bad = [
        snapshot(2, b""),
        snapshot(2, &[2, 0]),
        snapshot(2, &foreign),
        snapshot(3, &empty),
        snapshot(9, &empty),
        flipped(&snapshot(2, &empty), HEADER_BYTES),
    ];
    let reader = &mut hall.reader;
    for (i, bytes) in bad.iter().enumerate() {
        reader.deliver(std::slice::from_ref(bytes));
        assert_eq!(reader.replica.counters().refused, i as u64 + 1);
        assert_eq!(reader.replica.counters().snapshots_used, 0);
        assert_eq!(reader.ended, None);
    }
    reader.deliver(&[good]);
    assert_eq!(reader.title(&hall.draft).unwrap().as_str(), Some("đúng"));
}

#[test]
fn a_misused_cursor_ends_the_conversation_and_changes_nothing() {
    let mut hall = Hall::new();
    let run = hall.run_of_member("một");
    let items = |upto, items| Items { scope: Scope::Log, upto: Seq(upto), items };
    type Misuse<'a> = &'a dyn Fn(&mut RelaySession, Bytes);
    let bad: [Misuse<'_>; 4] = [
        &|relay, run| relay.items(items(12, vec![(Seq(10), run)])),
        &|relay, run| relay.items(items(9, vec![(Seq(9), run)])),
        &|relay, _| relay.items(items(3, Vec::new())),
        &|relay, _| relay.caught_up(CaughtUp { seq: Seq(9), sums: Vec::new() }),
    ];
    for misuse in bad {
        let mut reader = hall.reader_again();
        reader.relay.items(Items { scope: Scope::Log, upto: Seq(10), items: Vec::new() });
        reader.run();
        assert_eq!(reader.replica.cursor().unwrap().seq, Seq(10));
        let mut frame = Vec::new();
        misuse(&mut reader.relay, run.clone());
        assert!(reader.relay.poll_transmit(&mut frame));
        let ended = reader.replica.handle_frame(NOW, &frame).unwrap().expect("the conversation ends");
        assert_eq!(ended.error, SessionError::PeerMisbehaved(PeerMisbehaved::BadCursor));
        assert!(ended.was_welcomed);
        assert_eq!(reader.replica.cursor().unwrap().seq, Seq(10));
        assert_eq!(reader.title(&hall.draft), None);
        // It can begin another.
        reader.connect(10);
        reader.deliver(std::slice::from_ref(&run));
        assert_eq!(reader.title(&hall.draft).unwrap().as_str(), Some("một"));
    }
}

#[test]
fn a_checksum_that_differs_makes_the_phone_ask_what_there_is() {
    let mut hall = Hall::new();
    hall.reader
        .relay
        .caught_up(CaughtUp { seq: Seq(hall.reader.head), sums: vec![(hall.space, SpaceSum(1))] });
    let mut frame = Vec::new();
    assert!(hall.reader.relay.poll_transmit(&mut frame));
    hall.reader.replica.handle_frame(NOW, &frame).unwrap();
    frame.clear();
    assert!(hall.reader.replica.poll_transmit(&mut frame).unwrap());
    hall.reader.relay.handle_frame(NOW.mono, &frame.into());
    assert_eq!(hall.reader.relay.poll_event(), Some(RelayEvent::Reconcile(vec![hall.space])));
    assert_eq!(hall.reader.replica.counters().mismatches, 1);
}

#[test]
fn a_relay_that_greets_wrongly_is_left() {
    type Answer = Box<dyn Fn(&mut Channel) -> Vec<u8>>;
    let sealed = |channel: &mut Channel, message: &Message| {
        let (mut plain, mut frame) = (Vec::new(), Vec::new());
        write_message(message, &mut plain);
        channel.seal(&plain, &mut frame);
        frame
    };
    let spoil = |at: usize| -> Answer {
        Box::new(move |channel| flipped(&sealed(channel, &Message::Welcome(welcome(0))).into(), at).to_vec())
    };
    let cases: Vec<(&str, Answer)> = vec![
        ("magic", spoil(0)),
        ("version", spoil(3)),
        ("channel kind", spoil(4)),
        ("a bit of the handshake", spoil(20)),
        ("a bit of the message", spoil(60)),
        ("nothing", Box::new(|_| Vec::new())),
        ("too long", Box::new(|_| vec![0; limits::FRAME_BYTES_MAX + 1])),
        (
            "another message",
            Box::new(move |channel| {
                sealed(channel, &Message::CaughtUp(CaughtUp { seq: Seq(1), sums: Vec::new() }))
            }),
        ),
    ];
    for (what, answer) in cases {
        let mut phone = Phone::new(1);
        let mut channel = Channel::relay(&relay_key(), Binding([1; 32]), [5; 32]);
        phone.replica.handle_connected(NOW, &relay_key().public(), [1; 32], [4; 32]);
        let mut hello = Vec::new();
        assert!(phone.replica.poll_transmit(&mut hello).unwrap());
        channel.open(&hello).unwrap();
        let ended = phone.replica.handle_frame(NOW, &answer(&mut channel)).unwrap().expect(what);
        assert!(!ended.was_welcomed, "{what}");
        assert!(ended.error.close_code().is_some(), "{what}");
    }
}
