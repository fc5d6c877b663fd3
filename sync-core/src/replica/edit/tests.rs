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

/// What was written again waits for another copy's items, on which it builds. What is typed then waits too, and is not lost.
#[test]
fn what_is_typed_while_own_changes_are_unsettled_waits_in_the_buffer() {
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
