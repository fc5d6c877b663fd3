use dinh_proto::charter::record::{Audience, Writers};
use dinh_proto::ids::MemberId;
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_proto::time::{Timestamp, WallTime};

use super::*;
use crate::path;
use crate::replica::ReplicaConfig;
use crate::store::MemoryStore;

fn at(seconds: u64) -> Now {
    Now { mono: Timestamp(seconds * 1_000_000), wall: WallTime(seconds * 1_000) }
}

/// A phone with a text whose own changes are unsettled: what was written again waits for another copy's items, on which it builds.
fn unsettled() -> (Replica<MemoryStore>, DocId, Path) {
    let key = DeviceKey::from_seed(&[1; 32]);
    let mut phone =
        Replica::open(MemoryStore::new(), key, ReplicaConfig::default(), [1; 32]).expect("an empty store");
    let root = SignKey::from_seed(&[2; 32]);
    let branch = phone.found_branch(&root, MemberId([1; 16]), "thư ký").expect("founded");
    let space = phone.create_space(branch, Audience::Everyone).expect("created");
    let doc = phone.create_document(space, Writers::All).expect("created");
    let text = path!["text"];
    phone.edit(at(1), &doc, None, |e| e.put_text(&text)).expect("written");
    // As if it were written again, and another one, that builds on what is still to come, followed it.
    phone.hold_rewritten(None);
    let change = &mut phone.unsealed.get_mut(&doc).expect("in no item yet")[0];
    change.stands_for = Some([7; 16]);
    let mut batch = Batch::default();
    batch.put(Table::Numbers, doc.0, schema::number_bytes(&phone.session, 2));
    batch.commit(&mut phone.store).expect("kept");

    (phone, doc, text)
}

#[test]
fn what_is_typed_while_own_changes_are_unsettled_waits_in_the_buffer() {
    let (mut phone, doc, text) = unsettled();
    phone.type_text(at(2), &doc, &text, "đình", false).expect("gathered");
    let refused = phone.edit(at(3), &doc, None, |e| e.put(&path!["key"], true));
    assert!(matches!(refused, Err(ReplicaError::Unsettled(_))), "{refused:?}");
    phone.handle_typing(at(60)).expect("it is tried again later");
    assert!(phone.typing_timeout().is_some_and(|due| due > at(60).mono));
    phone.flush_typing_or_drop(&doc, at(61).wall).expect("it stays");
    assert_eq!(phone.view(&doc, |v| v.text(&text)).expect("open").as_deref(), Some(""));

    phone.hold = None;
    phone.handle_typing(at(120)).expect("committed in a new session");
    assert_eq!(phone.view(&doc, |v| v.text(&text)).expect("open").as_deref(), Some("đình"));
    phone.edit(at(121), &doc, None, |e| e.put(&path!["key"], true)).expect("written");
}

fn resets(phone: &mut Replica<MemoryStore>) -> usize {
    std::iter::from_fn(|| phone.poll_event()).filter(|e| matches!(e, Event::DocumentReset { .. })).count()
}

#[test]
fn a_field_is_told_once_that_what_is_typed_in_it_waits() {
    let (mut phone, doc, text) = unsettled();
    let field = SharedTextField::default();
    field.lock().expect("sound").set("đình");
    phone.type_in(at(2), &doc, &text, &field, false).expect("gathered");
    assert!(field.lock().expect("sound").failure().is_none());
    resets(&mut phone);
    for seconds in [60, 120] {
        phone.handle_typing(at(seconds)).expect("it is tried again later");
        assert!(field.lock().expect("sound").failure().is_some());
    }
    assert_eq!(resets(&mut phone), 1);
    phone.hold = None;
    phone.handle_typing(at(180)).expect("committed");
    assert!(!field.lock().expect("sound").is_dirty());
}

/// The keys are forgotten all the same, and what was typed stays on the screen.
#[test]
fn protected_spaces_are_locked_though_something_typed_there_is_unsettled() {
    let (mut phone, doc, text) = unsettled();
    let space = phone.space_of(&doc).expect("it is in one");
    phone.protected.insert(space);
    let field = SharedTextField::default();
    field.lock().expect("sound").set("đình");
    phone.type_in(at(2), &doc, &text, &field, true).expect("gathered");
    let told = phone.lock_protected(at(3));
    assert!(matches!(told, Err(ReplicaError::Unsettled(_))), "{told:?}");
    assert!(phone.typing.is_empty());
    let field = field.lock().expect("sound");
    assert!(field.is_dirty() && field.failure().is_some());
    assert_eq!(field.shown(), "đình");
}

#[test]
fn a_field_that_went_away_while_it_composed_is_forgotten() {
    let (mut phone, doc, text) = unsettled();
    phone.hold = None;
    let (gone, stays) = (SharedTextField::default(), SharedTextField::default());
    phone.edit(at(2), &doc, None, |e| e.put_text(&path!["other"])).expect("written");
    gone.lock().expect("sound").set("đình");
    phone.type_in(at(3), &doc, &text, &gone, true).expect("gathered");
    phone.flush_text(at(4), &doc).expect("committed");
    assert_eq!(phone.typing.len(), 1, "the keyboard composes");
    drop(gone);
    stays.lock().expect("sound").set("làng");
    phone.type_in(at(5), &doc, &path!["other"], &stays, true).expect("gathered");
    assert_eq!(phone.typing.keys().map(|(_, at)| at.clone()).collect::<Vec<_>>(), [path!["other"]]);
}
