//! A run that its author signed, whatever is in it, through all rules of the gate into a document.
#![no_main]

use dinh_core::document::Document;
use dinh_core::gate::{GateError, Past, judge_change, open_run};
use dinh_fuzz::{Members, member, quiet};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::ids::*;
use dinh_proto::item::{Draft, Kind, Place};
use dinh_proto::pack::{PackContext, PackLimits, unpack_in};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: quiet(), |data: &[u8]| {
    let key = member();
    let (doc, session) = (DocId([2; 16]), SessionId([3; 8]));
    let actor = ActorId::derive(&doc, &key.public().id(), &session);
    let Ok(changes) = unpack_in(PackContext { actors: &[&actor.0], hashes: &[] }, data, &PackLimits::RUN) else {
        return;
    };
    let Some(last) = changes.last() else { return };
    let space_key = SpaceKey::from_bytes(&[6; 32]);
    let draft = Draft {
        kind: Kind::Run,
        space: SpaceId([1; 16]),
        doc,
        session,
        place: Place::Chain { n: 1, prev: [0; 16] },
        first_seq: 1,
        count: u16::try_from(changes.len()).unwrap_or(u16::MAX),
        last: ChangeHash(last.hash()),
        charter_tag: CharterTag::default(),
    };
    let Ok(item) = draft.seal(&key, &space_key, false, data) else { return };
    let mut past = Past::new();
    // By itself, without the author's chain.
    for change in &changes {
        let _ = judge_change(change.raw(), &mut past.clone());
    }
    let Ok(run) = open_run(&item, &Members(space_key), None) else { return };
    let before = (past.len(), past.ops());
    match run.admit(&mut past, None) {
        Ok(admitted) => {
            let mut document = Document::new([9; 16]);
            document.apply(admitted.into_iter().map(|a| a.change).collect()).expect("complete");
            let loaded = Document::load(&document.save(), [9; 16]).expect("what was let in can be saved and loaded");
            assert_eq!(loaded.heads(), document.heads());
        }
        Err(GateError::Rule(_) | GateError::Missing(_) | GateError::Shadow(_)) => {
            assert_eq!((past.len(), past.ops()), before, "what is refused leaves no trace");
        }
        Err(other) => panic!("{other}"),
    }
});
