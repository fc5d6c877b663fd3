//! One replica alone: what is on disk, what is in memory, who may write, what the app is told.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use dinh_core::path;
use dinh_core::proto::charter::record::{Audience, Role, Writers};
use dinh_core::proto::ids::{DocId, MemberId, SpaceId};
use dinh_core::proto::keys::{DeviceKey, SignKey};
use dinh_core::proto::time::{Timestamp, WallTime};
use dinh_core::replica::{Event, LinkState, Now, Origin, Replica, ReplicaConfig, ReplicaError};
use dinh_core::store::{MemoryStore, Store, Table};

type Phone = Replica<MemoryStore>;

fn at(ms: u64) -> Now {
    Now { mono: Timestamp(ms * 1_000), wall: WallTime(1_790_000_000_000 + ms) }
}

fn open(store: MemoryStore, key: u8, config: ReplicaConfig) -> Phone {
    Replica::open(store, DeviceKey::from_seed(&[key; 32]), config, [key; 32]).unwrap()
}

fn founded(config: ReplicaConfig) -> (Phone, SpaceId, SpaceId) {
    let mut phone = open(MemoryStore::new(), 1, config);
    let branch = phone.found_branch(&SignKey::from_seed(&[200; 32]), MemberId([1; 16]), "thư ký").unwrap();
    let space = phone.create_space(branch, Audience::Everyone).unwrap();
    (phone, branch, space)
}

fn written(phone: &mut Phone, space: SpaceId, text: &str) -> DocId {
    let doc = phone.create_document(space, Writers::All).unwrap();
    phone
        .edit(at(0), &doc, None, |e| {
            e.put_text(&path!["text"])?;
            e.set_text(&path!["text"], text)
        })
        .unwrap();
    doc
}

fn text(phone: &mut Phone, doc: &DocId) -> String {
    phone.view(doc, |v| v.text(&path!["text"])).unwrap().unwrap()
}

#[test]
fn what_edit_returned_is_there_when_the_store_is_opened_again() {
    let (mut phone, _, space) = founded(ReplicaConfig::default());
    let doc = written(&mut phone, space, "Biên bản");
    phone.edit(at(1), &doc, Some("điểm danh"), |e| e.put(&path!["m04"], "có mặt")).unwrap();
    let (hash, session, pending) =
        (phone.document_hash(&doc).unwrap(), phone.session(), phone.status().pending);
    // `close` would save views; a killed process does not.
    let store = phone.close().unwrap();
    let mut again = open(store, 1, ReplicaConfig::default());
    assert_eq!(again.document_hash(&doc).unwrap(), hash);
    assert_eq!(again.session(), session);
    // Opening makes items of changes, so the number may be smaller; it is not zero.
    assert!(pending > 0 && again.status().pending > 0);
    assert_eq!(text(&mut again, &doc), "Biên bản");
    let history = again.document(&doc, dinh_core::document::Document::history).unwrap();
    assert_eq!(history.last().unwrap().message.as_deref(), Some("điểm danh"));
}

#[test]
fn another_key_does_not_open_the_store() {
    let (phone, ..) = founded(ReplicaConfig::default());
    let store = phone.close().unwrap();
    let other = Replica::open(store, DeviceKey::from_seed(&[9; 32]), ReplicaConfig::default(), [9; 32]);
    assert!(matches!(other, Err(ReplicaError::WrongKey)));
}

#[test]
fn open_documents_stay_under_the_cap_and_lose_nothing() {
    let config = ReplicaConfig { open_documents_bytes_max: 40_000, ..ReplicaConfig::default() };
    let (phone, _, space) = founded(config.clone());
    let mut phone = phone;
    let docs: Vec<DocId> =
        (0..20).map(|i| written(&mut phone, space, &format!("Nghị quyết số {i}. ").repeat(40))).collect();
    let store = phone.close().unwrap();
    // The estimate counts what was applied from disk, so it is looked at after opening again.
    let mut phone = open(store, 1, config);
    let hashes: Vec<_> = docs.iter().map(|d| phone.document_hash(d).unwrap()).collect();
    let open_now = phone.open_documents().count();
    for (i, doc) in docs.iter().enumerate() {
        assert!(text(&mut phone, doc).starts_with(&format!("Nghị quyết số {i}. ")));
        assert_eq!(phone.document_hash(doc).unwrap(), hashes[i]);
    }
    assert!(open_now < docs.len(), "{open_now} documents are open");
    phone.close_document(&docs[0]).unwrap();
    assert!(!phone.open_documents().any(|d| *d == docs[0]));
    assert_eq!(phone.document_hash(&docs[0]).unwrap(), hashes[0]);
}

#[test]
fn a_damaged_view_is_made_again_from_items() {
    let (mut phone, _, space) = founded(ReplicaConfig::default());
    let doc = written(&mut phone, space, "Toàn thôn thu hoạch xong 31,5 ha lúa mùa");
    let hash = phone.document_hash(&doc).unwrap();
    for garbage in [vec![], vec![1, 2, 3], vec![0; 64], vec![0xff; 400]] {
        let mut store = phone.close().unwrap();
        store.write(|tx| tx.put(Table::Views, &doc.0, &garbage)).unwrap();
        phone = open(store, 1, ReplicaConfig::default());
        assert_eq!(phone.document_hash(&doc).unwrap(), hash);
        assert_eq!(text(&mut phone, &doc), "Toàn thôn thu hoạch xong 31,5 ha lúa mùa");
    }
}

#[test]
fn typing_becomes_one_change_at_a_pause_and_survives_other_edits() {
    let (mut phone, _, space) = founded(ReplicaConfig::default());
    let doc = written(&mut phone, space, "");
    let edits = phone.counters().edits;
    let p = path!["text"];
    let states = ["H", "Ho", "Hô", "Hội", "Hội ", "Hội n", "Hội ng", "Hội ngh", "Hội nghi", "Hội nghị"];
    for (i, state) in states.iter().enumerate() {
        phone.type_text(at(100 * i as u64), &doc, &p, state, !state.ends_with(' ')).unwrap();
    }
    phone.end_composition(at(1_000), &doc, &p).unwrap();
    assert_eq!(phone.counters().edits, edits, "nothing is committed while typing goes on");
    assert_eq!(text(&mut phone, &doc), "");
    let due = phone.poll_timeout().unwrap();
    phone.handle_timeout(Now { mono: due, wall: at(0).wall }).unwrap();
    assert_eq!(phone.counters().edits, edits + 1);
    assert_eq!(text(&mut phone, &doc), "Hội nghị");

    phone.type_text(at(5_000), &doc, &p, "Hội nghị đã", false).unwrap();
    phone.edit(at(5_100), &doc, None, |e| e.put(&path!["chair"], "m01")).unwrap();
    assert_eq!(text(&mut phone, &doc), "Hội nghị đã", "another edit commits what was typed first");
    phone.type_text(at(6_000), &doc, &p, "Hội nghị đã thống nhất", false).unwrap();
    phone.flush_text(at(6_001), &doc).unwrap();
    assert_eq!(text(&mut phone, &doc), "Hội nghị đã thống nhất");
}

#[test]
fn the_charter_decides_who_writes() {
    let (mut secretary, branch, space) = founded(ReplicaConfig::default());
    let minutes = secretary.create_document(space, Writers::Officers).unwrap();
    let draft = secretary.create_document(space, Writers::All).unwrap();
    let (mut member, mut reader) = (
        open(MemoryStore::new(), 2, ReplicaConfig::default()),
        open(MemoryStore::new(), 3, ReplicaConfig::default()),
    );
    assert!(matches!(
        member.join(&secretary.invitation(branch).unwrap()),
        Err(ReplicaError::NotAuthorised(_))
    ));
    secretary.admit_device(branch, MemberId([2; 16]), Role::Member, member.join_request(), "m").unwrap();
    secretary.admit_device(branch, MemberId([3; 16]), Role::Reader, reader.join_request(), "r").unwrap();
    let committee = secretary.create_space(branch, Audience::Members(vec![MemberId([1; 16])])).unwrap();
    let secret = secretary.create_document(committee, Writers::All).unwrap();
    let invitation = secretary.invitation(branch).unwrap();
    member.join(&invitation).unwrap();
    reader.join(&invitation).unwrap();
    let put =
        |phone: &mut Phone, doc: &DocId| phone.edit(at(0), doc, None, |e| e.put(&path!["k"], 1)).map(|_| ());
    assert!(put(&mut secretary, &minutes).is_ok());
    assert!(put(&mut member, &draft).is_ok());
    let refused = |phone: &mut Phone, doc: &DocId| {
        assert!(matches!(put(phone, doc), Err(ReplicaError::NotAuthorised(_))));
        assert!(phone.view(doc, |v| v.get(&path!["k"])).unwrap().is_none());
    };
    refused(&mut member, &minutes);
    refused(&mut reader, &draft);
    refused(&mut member, &secret);
    assert!(matches!(put(&mut member, &DocId([7; 16])), Err(ReplicaError::UnknownDocument(_))));
    assert!(matches!(member.create_space(branch, Audience::Everyone), Err(ReplicaError::NotAuthorised(_))));
    assert!(matches!(
        member.admit_device(branch, MemberId([4; 16]), Role::Member, reader.join_request(), ""),
        Err(ReplicaError::NotAuthorised(_))
    ));
    let mut damaged = invitation.clone();
    damaged[60] ^= 1;
    assert!(member.join(&damaged).is_err());
}

#[test]
fn a_failed_edit_leaves_nothing() {
    let (mut phone, _, space) = founded(ReplicaConfig::default());
    let doc = written(&mut phone, space, "giữ nguyên");
    let (hash, pending) = (phone.document_hash(&doc).unwrap(), phone.status().pending);
    let failed = phone.edit(at(1), &doc, None, |e| {
        e.put(&path!["a"], 1)?;
        e.splice_text(&path!["text"], 999, 0, "x")
    });
    assert!(matches!(failed, Err(ReplicaError::Edit(_))));
    assert_eq!(phone.document_hash(&doc).unwrap(), hash);
    assert_eq!(phone.status().pending, pending);
    let (_, change) = phone.edit(at(2), &doc, None, |e| e.set_text(&path!["text"], "giữ nguyên")).unwrap();
    assert_eq!(change, None, "an edit that changes nothing makes no change");
}

#[test]
fn events_tell_changes_as_patches_and_shrink_when_nobody_listens() {
    let config = ReplicaConfig { events_max: 50, ..ReplicaConfig::default() };
    let (mut phone, _, space) = founded(config);
    let doc = written(&mut phone, space, "");
    while phone.poll_event().is_some() {}
    phone.edit(at(1), &doc, None, |e| e.put(&path!["k"], "v")).unwrap();
    let event = phone.poll_event().unwrap();
    assert!(
        matches!(event, Event::DocumentChanged { doc: d, origin: Origin::Local, ref patches } if d == doc && patches.len() == 1)
    );
    assert!(
        matches!(phone.poll_event(), Some(Event::Status(s)) if s.link == LinkState::Offline && s.pending > 0)
    );
    assert_eq!(phone.poll_event(), None);
    for i in 0..500 {
        phone.edit(at(2), &doc, None, |e| e.put(&path!["k"], i)).unwrap();
    }
    let events: Vec<Event> = std::iter::from_fn(|| phone.poll_event()).collect();
    assert!(events.len() <= 53, "{}", events.len());
    assert!(events.contains(&Event::DocumentReset { doc }));
}
