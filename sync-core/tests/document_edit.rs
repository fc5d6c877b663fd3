//! What an app meets: paths, values, errors, conflicts, cursors, marks, history.

mod document_common;

use std::collections::BTreeMap;

use dinh_core::document::{
    ChangeHash, Cursor, Document, DocumentError, EditError, Expand, PatchAction, Value,
};
use dinh_core::path;

use document_common::{base, missing, parse, pull};

type Result<T = ()> = std::result::Result<T, EditError>;

fn edit<R>(doc: &mut Document, f: impl FnOnce(&mut dinh_core::document::Edit<'_>) -> Result<R>) -> R {
    doc.edit(0, None, f).expect("the edit fits").0
}

fn fails(doc: &mut Document, f: impl FnOnce(&mut dinh_core::document::Edit<'_>) -> Result) -> EditError {
    let before = doc.save();
    let error = doc.edit(0, None, |edit| {
        edit.put(&path!["left behind"], 1)?;
        f(edit)
    });
    assert_eq!(doc.save(), before, "a failed edit leaves nothing");
    error.expect_err("the edit does not fit")
}

#[test]
fn values_come_back_as_they_were_written() {
    let mut doc = Document::new([1; 16]);
    let value = Value::Map(BTreeMap::from([
        ("bool".to_owned(), Value::from(true)),
        ("bytes".to_owned(), Value::from(vec![0, 255])),
        ("f64".to_owned(), Value::from(1.5)),
        ("int".to_owned(), Value::from(-3_i64)),
        (
            "list".to_owned(),
            Value::List(vec![Value::Null, Value::text("văn"), Value::map(), Value::List(vec![])]),
        ),
        ("str".to_owned(), Value::from("chuỗi")),
        ("time".to_owned(), Value::Timestamp(1_700_000_000_000)),
        ("uint".to_owned(), Value::from(u64::MAX)),
    ]));
    edit(&mut doc, |edit| edit.put(&path!["v"], value.clone()));
    let doc = Document::load(&doc.save(), [2; 16]).expect("saved by ourselves");
    let view = doc.view();
    assert_eq!(view.get(&path!["v"]), Some(value.clone()));
    assert_eq!(view.keys(&path!["v"]).len(), 8);
    assert_eq!(
        (view.len(&path!["v"]), view.len(&path!["v", "list"]), view.len(&path!["v", "int"])),
        (8, 4, 0)
    );
    assert_eq!(view.get(&path!["v", "list", 1]), Some(Value::text("văn")));
    assert_eq!(view.get(&path!["v", "nothing"]), None);
    assert_eq!(serde_json::to_value(&value).expect("json")["list"], serde_json::json!([null, "văn", {}, []]));
}

#[test]
fn one_edit_is_one_change_and_no_edit_is_none() {
    let mut doc = base(1);
    assert_eq!(doc.actor_tip(&[1; 16]).map(|tip| tip.0), Some(1));
    let heads = doc.heads();
    let ((), change) = doc
        .edit::<_, EditError>(5, Some("hai việc"), |edit| {
            edit.put(&path!["a"], 1)?;
            edit.splice_text(&path!["t"], 0, 3, "Đảng")
        })
        .expect("fits");
    let change = change.expect("something was written");
    assert_eq!((change.seq, &change.deps), (2, &heads));
    assert_eq!(doc.heads(), [change.hash]);
    assert_eq!(parse(&change.raw).hash().0, *change.hash.as_bytes());
    assert_eq!(change.raw[8], 1, "an uncompressed change chunk");
    assert_eq!(doc.changes_raw(&heads), [(change.hash, change.raw.clone())]);
    let info = doc.history().pop().expect("two changes");
    assert_eq!(
        (info.hash, info.seq, info.time_s, info.message.as_deref()),
        (change.hash, 2, 5, Some("hai việc"))
    );
    assert_eq!((info.start_op, info.ops as usize), (change.start_op, parse(&change.raw).len()));

    // Reading, writing what is there already, and writing and failing make no change.
    for nothing in [
        doc.edit::<_, EditError>(6, None, |edit| edit.view().hydrate(&path!["t"]).map(drop)).expect("fits").1,
        doc.edit::<_, EditError>(6, None, |edit| edit.put(&path!["a"], 1)).expect("fits").1,
        doc.edit::<_, EditError>(6, None, |edit| edit.set_text(&path!["u"], "nghị quyết")).expect("fits").1,
    ] {
        assert_eq!(nothing, None);
    }
    assert_eq!(doc.heads(), [change.hash]);
    assert_eq!(doc.actor_tip(&[1; 16]), Some((2, change.hash)));
    assert_eq!(doc.actor_tip(&[9; 16]), None);
}

#[test]
fn another_actor_goes_on_from_one() {
    let mut doc = Document::load(&base(1).save(), [2; 16]).expect("saved by ourselves");
    assert_eq!(doc.actor(), [2; 16]);
    edit(&mut doc, |edit| edit.put(&path!["a"], 1));
    doc.set_actor([3; 16]);
    edit(&mut doc, |edit| edit.put(&path!["a"], 2));
    let tips = [1, 2, 3].map(|actor| doc.actor_tip(&[actor; 16]).map(|tip| tip.0));
    assert_eq!(tips, [Some(1); 3]);
}

#[test]
fn errors_name_the_place_and_leave_nothing() {
    let mut doc = base(1);
    let text = path!["t"];
    let emoji = "Chi bộ họp ".encode_utf16().count();
    let len = doc.view().text_len(&text);
    let at = |index| EditError::OutOfRange { path: text.clone(), index, len };
    assert_eq!(fails(&mut doc, |edit| edit.splice_text(&path!["t"], len + 1, 0, "x")), at(len + 1));
    assert_eq!(fails(&mut doc, |edit| edit.splice_text(&path!["t"], 0, len + 1, "")), at(len + 1));
    assert_eq!(fails(&mut doc, |edit| edit.splice_text(&path!["t"], 1, usize::MAX, "")), at(usize::MAX));
    let pair = EditError::InsideSurrogatePair { path: path!["t"], index: emoji + 1 };
    assert_eq!(fails(&mut doc, |edit| edit.splice_text(&path!["t"], emoji + 1, 0, "x")), pair);
    assert_eq!(fails(&mut doc, |edit| edit.splice_text(&path!["t"], emoji, 1, "")), pair);
    assert_eq!(fails(&mut doc, |edit| edit.mark(&path!["t"], 0..emoji + 1, "b", true, Expand::None)), pair);
    assert!(matches!(
        fails(&mut doc, |edit| edit.mark(&path!["t"], 2..2, "b", true, Expand::None)),
        EditError::EmptyRange { .. }
    ));
    assert!(matches!(
        fails(&mut doc, |edit| edit.mark(&path!["t"], 2..3, "b", Value::map(), Expand::None)),
        EditError::MarkValue { found: "map", .. }
    ));
    let missing = |path| EditError::NotFound { path };
    assert_eq!(fails(&mut doc, |edit| edit.set_text(&path!["x"], "")), missing(path!["x"]));
    assert_eq!(fails(&mut doc, |edit| edit.put(&path!["x", "y", "z"], 1)), missing(path!["x"]));
    assert_eq!(fails(&mut doc, |edit| edit.delete(&path!["m", "x"])), missing(path!["m", "x"]));
    assert_eq!(fails(&mut doc, |edit| edit.delete(&path!["l", 3])), missing(path!["l", 3]));
    assert_eq!(
        fails(&mut doc, |edit| edit.put(&path!["l", 3], 1)),
        EditError::OutOfRange { path: path!["l"], index: 3, len: 3 }
    );
    assert_eq!(
        fails(&mut doc, |edit| edit.insert(&path!["l"], 4, 1)),
        EditError::OutOfRange { path: path!["l"], index: 4, len: 3 }
    );
    let wrong = |path, expected, found| EditError::WrongType { path, expected, found };
    assert_eq!(fails(&mut doc, |edit| edit.set_text(&path!["l"], "")), wrong(path!["l"], "text", "list"));
    assert_eq!(fails(&mut doc, |edit| edit.push(&path!["t"], 1)), wrong(path!["t"], "list", "text"));
    assert_eq!(fails(&mut doc, |edit| edit.put(&path!["l", "a"], 1)), wrong(path!["l"], "map", "list"));
    assert_eq!(fails(&mut doc, |edit| edit.put(&path!["t", 0], 1)), wrong(path!["t"], "list", "text"));
    assert_eq!(fails(&mut doc, |edit| edit.put(&path!["l", 0, 0], 1)), wrong(path!["l", 0], "list", "int"));
    assert_eq!(fails(&mut doc, |edit| edit.put(&path![], 1)), EditError::Root);
    assert_eq!(fails(&mut doc, |edit| edit.delete(&path![])), EditError::Root);
    assert_eq!(
        fails(&mut doc, |edit| edit.put(&path!["m", ""], 1)),
        EditError::EmptyKey { path: path!["m"] }
    );
    let deep = (0..40).fold(Value::Null, |value, _| Value::List(vec![value]));
    assert!(matches!(fails(&mut doc, |edit| edit.put(&path!["d"], deep)), EditError::TooDeep { .. }));
    let message = fails(&mut doc, |edit| edit.set_text(&path!["sections", 0, "text"], "")).to_string();
    assert_eq!(
        message,
        "there is nothing at /sections; create it first with put, put_map, put_list or put_text"
    );
}

#[test]
fn everything_enters_as_nfc() {
    use unicode_normalization::UnicodeNormalization;
    let nfd = |text: &str| text.nfd().collect::<String>();
    let mut doc = base(1);
    edit(&mut doc, |edit| edit.put(&path![nfd("nghị quyết")], nfd("đã biểu quyết").as_str()));
    let view = doc.view();
    assert!(view.keys(&path![]).contains(&"nghị quyết".to_owned()));
    assert_eq!(view.get(&path!["nghị quyết"]), Some(Value::from("đã biểu quyết")));
    assert_eq!(view.get(&path![nfd("nghị quyết")]), Some(Value::from("đã biểu quyết")), "found either way");
    // The same text in another encoding is not a change: automerge's own update_text rewrites every accented letter.
    let same = doc
        .edit::<_, EditError>(0, None, |edit| edit.set_text(&path!["u"], &nfd("nghị quyết")))
        .expect("fits");
    assert_eq!(same.1, None);
    edit(&mut doc, |edit| edit.splice_text(&path!["u"], 4, 0, &nfd(" về đất")));
    assert_eq!(doc.view().text(&path!["u"]).as_deref(), Some("nghị về đất quyết"));
    // Windows' keyboard sends the tone alone.
    edit(&mut doc, |edit| {
        edit.put(&path!["w"], Value::text("Hôi"))?;
        edit.splice_text(&path!["w"], 2, 0, "\u{323}")
    });
    assert_eq!(doc.view().text(&path!["w"]).as_deref(), Some("Hội"));
}

#[test]
fn both_values_of_a_conflict_are_seen_and_settled() {
    let mut a = base(1);
    let mut b = Document::load(&a.save(), [2; 16]).expect("saved by ourselves");
    edit(&mut a, |edit| edit.put(&path!["due"], "ngày 15"));
    edit(&mut b, |edit| edit.put(&path!["due"], Value::map()));
    assert_eq!(a.view().conflicts(&path!["due"]).len(), 1);
    let source = b.clone();
    let patches = pull(&source, &mut a);
    pull(&a, &mut b);
    let values = a.view().conflicts(&path!["due"]);
    assert_eq!(values, b.view().conflicts(&path!["due"]), "the same order everywhere");
    assert_eq!(values.iter().map(|value| value.actor).collect::<Vec<_>>(), [[2; 16], [1; 16]]);
    assert_eq!(Some(&values[0].value), a.view().get(&path!["due"]).as_ref(), "the winner first");
    assert!(values[1].op.ends_with(&"01".repeat(16)), "{}", values[1].op);
    let told = |patches: &[dinh_core::document::Patch]| {
        patches.iter().any(|patch| {
            matches!(
                &patch.action,
                PatchAction::Put { conflict: true, .. } | PatchAction::Conflict { conflict: true, .. }
            )
        })
    };
    assert!(told(&patches), "{patches:?}");
    // The phone whose value wins is told as well.
    let mut c = Document::load(&base(1).save(), [2; 16]).expect("saved by ourselves");
    edit(&mut c, |edit| edit.put(&path!["due"], Value::map()));
    let mut d = base(1);
    edit(&mut d, |edit| edit.put(&path!["due"], "ngày 15"));
    assert!(told(&pull(&d, &mut c)));
    // The other one takes its value back: the winner stays, the conflict goes.
    edit(&mut d, |edit| edit.delete(&path!["due"]));
    let actions: Vec<_> = pull(&d, &mut c).into_iter().map(|patch| patch.action).collect();
    assert_eq!(actions, [PatchAction::Conflict { prop: "due".into(), conflict: false }]);
    edit(&mut a, |edit| edit.put(&path!["due"], "ngày 16"));
    assert_eq!(a.view().conflicts(&path!["due"]).len(), 1);
    assert!(a.view().conflicts(&path!["nothing"]).is_empty());
}

#[test]
fn cursors_stay_with_their_letter() {
    let mut a = base(1);
    let text = path!["t"];
    let at = |doc: &Document, cursor: &Cursor| doc.view().resolve(&path!["t"], cursor);
    let word = a.view().cursor(&text, 7).expect("inside");
    let emoji = a.view().cursor(&text, 11).expect("before the emoji");
    let end = a.view().cursor(&text, a.view().text_len(&text)).expect("the end");
    assert!(matches!(a.view().cursor(&text, 12), Err(EditError::InsideSurrogatePair { .. })));
    assert!(matches!(a.view().cursor(&text, 99), Err(EditError::OutOfRange { .. })));
    let mut b = Document::load(&a.save(), [2; 16]).expect("saved by ourselves");
    edit(&mut b, |edit| edit.splice_text(&path!["t"], 0, 0, "😀😀"));
    edit(&mut b, |edit| edit.splice_text(&path!["t"], edit.view().text_len(&path!["t"]), 0, "."));
    pull(&b, &mut a);
    assert_eq!((at(&a, &word), at(&a, &emoji)), (Ok(11), Ok(15)));
    assert_eq!(at(&a, &end), Ok(a.view().text_len(&text)));
    let bytes = word.to_bytes();
    let read = b.view().read_cursor(&text, &bytes).expect("its own bytes");
    assert_eq!(at(&b, &read), Ok(11), "a cursor means the same on another phone");
    assert_eq!(b.view().read_cursor(&text, &end.to_bytes()).and_then(|end| at(&b, &end)), at(&b, &end));
    edit(&mut a, |edit| edit.splice_text(&path!["t"], 11, 3, ""));
    assert_eq!(at(&a, &word), Ok(11), "where the next letter is");
    // Another text, another document, damaged bytes: errors.
    let wrong = Err(EditError::Cursor { path: path!["u"] });
    assert_eq!(a.view().resolve(&path!["u"], &word), wrong);
    assert_eq!(a.view().read_cursor(&path!["u"], &bytes).map(drop), wrong.map(drop));
    assert!(matches!(at(&Document::new([5; 16]), &word), Err(EditError::NotFound { .. })));
    for len in 0..bytes.len() {
        assert!(a.view().read_cursor(&text, &bytes[..len]).is_err());
    }
    for place in 0..bytes.len() {
        for value in 0..=255 {
            let mut bytes = bytes.clone();
            bytes[place] = value;
            for path in [path!["t"], path!["u"]] {
                if let Ok(cursor) = a.view().read_cursor(&path, &bytes) {
                    assert!(a.view().resolve(&path, &cursor).is_ok());
                }
            }
        }
    }
}

#[test]
fn marks_grow_or_not_as_told_and_come_as_patches() {
    let mut a = base(1);
    let marks = |doc: &Document| -> Vec<(String, usize, usize)> {
        doc.view().marks(&path!["u"]).into_iter().map(|mark| (mark.name, mark.start, mark.end)).collect()
    };
    let ((), change) = a
        .edit::<_, EditError>(0, None, |edit| {
            edit.mark(&path!["u"], 0..4, "bold", true, Expand::After)?;
            edit.mark(&path!["u"], 0..4, "note", "n1", Expand::None)?;
            // Two texts in one change: automerge's own patches would tell of the first one only.
            edit.mark(&path!["t"], 0..3, "bold", true, Expand::After)
        })
        .expect("fits");
    let told: Vec<_> = change
        .expect("written")
        .patches
        .into_iter()
        .filter(|patch| matches!(patch.action, PatchAction::Marks { .. }))
        .map(|patch| patch.path.to_string())
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    edit(&mut a, |edit| edit.splice_text(&path!["u"], 4, 0, "!!"));
    assert_eq!(marks(&a), [("bold".to_owned(), 0, 6), ("note".to_owned(), 0, 4)]);
    edit(&mut a, |edit| edit.unmark(&path!["u"], 1..3, "bold", Expand::None));
    assert_eq!(marks(&a), [("bold".to_owned(), 0, 1), ("bold".to_owned(), 3, 6), ("note".to_owned(), 0, 4)]);
}

#[test]
fn the_past_can_be_read() {
    let mut doc = base(1);
    let first = doc.heads();
    edit(&mut doc, |edit| edit.splice_text(&path!["u"], 0, 4, "quyết"));
    edit(&mut doc, |edit| edit.mark(&path!["u"], 0..5, "bold", true, Expand::None));
    let past = doc.view_at(&first).expect("known");
    assert_eq!(past.text(&path!["u"]).as_deref(), Some("nghị quyết"));
    assert_eq!((past.text_len(&path!["u"]), past.marks(&path!["u"])), (10, vec![]));
    assert_eq!(past.cursor(&path!["u"], 2).and_then(|cursor| past.resolve(&path!["u"], &cursor)), Ok(2));
    assert_eq!(doc.view().marks(&path!["u"]).len(), 1);
    assert_eq!(doc.view_at(&[]).expect("nothing").get(&path![]), Some(Value::map()));
    let unknown = ChangeHash::new([0; 32]);
    assert_eq!(doc.view_at(&[unknown]).err(), Some(DocumentError::UnknownChange(unknown)));
    assert_eq!(doc.diff(&first, &[unknown]).err(), Some(DocumentError::UnknownChange(unknown)));
}

#[test]
fn applying_is_idempotent_unordered_and_all_or_nothing() {
    let mut a = base(1);
    let start = a.save();
    for n in 0..5 {
        edit(&mut a, |edit| edit.put(&path!["n"], n));
    }
    let load = || Document::load(&start, [2; 16]).expect("saved by ourselves");
    let changes: Vec<_> = missing(&a, &load()).iter().map(|(_, raw)| parse(raw)).collect();
    let mut b = load();
    let mut mixed: Vec<_> = changes.iter().rev().chain(&changes).cloned().collect();
    b.apply(std::mem::take(&mut mixed)).expect("complete");
    assert_eq!(b.heads(), a.heads());
    assert_eq!(b.apply(changes.clone()), Ok(vec![]));
    let mut c = load();
    let before = c.save();
    assert!(matches!(c.apply(changes[1..].to_vec()), Err(DocumentError::MissingDependency { .. })));
    assert_eq!((c.save(), c.actor_tip(&[1; 16]).map(|tip| tip.0)), (before, Some(1)));
    c.apply(changes).expect("complete");
    assert_eq!(c.heads(), a.heads());
    // Damaged saves are errors, not panics, at least where they are cut or flipped at random.
    assert!(matches!(Document::load(&start[..start.len() / 2], [2; 16]), Err(DocumentError::Load(_))));
}

#[test]
fn a_failed_edit_leaves_a_sound_document() {
    let mut doc = base(1);
    for round in 0..3 {
        fails(&mut doc, |edit| {
            edit.mark(&path!["t"], 0..4, "bold", true, Expand::Both)?;
            edit.splice_text(&path!["t"], 2, 2, "xyz")?;
            edit.put(&path!["m"], Value::List(vec![Value::text("q")]))?;
            edit.delete(&path!["l", 0])?;
            edit.put(&path![], round)
        });
        assert!(doc.view().marks(&path!["t"]).is_empty());
        edit(&mut doc, |edit| edit.splice_text(&path!["t"], 0, 0, "a"));
        assert_eq!(Document::load(&doc.save(), [1; 16]).expect("sound").heads(), doc.heads());
    }
}
