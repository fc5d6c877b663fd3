//! A local edit is refused with an error that names the limit, before anything is written, if other devices would
//! refuse it; what is just within the limits passes their gate.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use dinh_core::document::{Document, Edit, EditError, Expand, LocalChange, Path, Value};
use dinh_core::gate::{Past, judge_change};
use dinh_core::path;
use dinh_core::proto::limits;

fn edit(
    doc: &mut Document,
    message: Option<&str>,
    f: impl FnOnce(&mut Edit<'_>) -> Result<(), EditError>,
) -> Result<Option<LocalChange>, EditError> {
    doc.edit::<_, EditError>(1, message, f).map(|(_, change)| change)
}

/// Everything that is in the document passes.
fn passes(doc: &Document) {
    let mut past = Past::new();
    for (_, raw) in doc.changes_raw(&[]) {
        judge_change(&raw, &mut past).unwrap();
    }
}

#[test]
fn limits_of_an_edit_are_errors_and_what_is_within_them_passes_the_gate() {
    let mut doc = Document::new([1; 16]);
    edit(&mut doc, None, |e| e.put(&path!["t"], Value::text("chữ"))).unwrap();
    let heads = doc.heads();
    let (at_key, over_key) = ("k".repeat(limits::KEY_BYTES_MAX), "k".repeat(limits::KEY_BYTES_MAX + 1));
    let (at_value, over_value) =
        ("v".repeat(limits::SCALAR_BYTES_MAX), "v".repeat(limits::SCALAR_BYTES_MAX + 1));
    let inside =
        |key: &str, value: Value| Value::List(vec![Value::Map(BTreeMap::from([(key.to_owned(), value)]))]);
    let mark =
        |e: &mut Edit<'_>, name: &str, value: &str| e.mark(&path!["t"], 0..2, name, value, Expand::After);

    let key = Path::root().join(over_key.as_str());
    let refused: Vec<Result<Option<LocalChange>, EditError>> = vec![
        edit(&mut doc, None, |e| e.put(&key, 1_i64)),
        edit(&mut doc, None, |e| e.put(&path!["a"], inside(&over_key, Value::Null))),
        edit(&mut doc, None, |e| mark(e, &over_key, "x")),
        edit(&mut doc, None, |e| e.put(&path!["a"], over_value.as_str())),
        edit(&mut doc, None, |e| e.put(&path!["a"], Value::Bytes(vec![0; limits::SCALAR_BYTES_MAX + 1]))),
        edit(&mut doc, None, |e| e.put(&path!["a"], inside("k", Value::from(over_value.as_str())))),
        edit(&mut doc, None, |e| mark(e, "m", &over_value)),
        edit(&mut doc, Some(&"m".repeat(limits::EDIT_MESSAGE_BYTES_MAX + 1)), |e| e.put(&path!["a"], 1_i64)),
        edit(&mut doc, None, |e| e.put(&path!["a"], Value::text("x".repeat(limits::CHANGE_OPS_MAX)))),
    ];
    let names: Vec<&str> = refused
        .iter()
        .map(|outcome| match outcome {
            Err(EditError::KeyTooLong { len: 257, max: 256, .. }) => "key",
            Err(EditError::ValueTooLong { len: 65_537, max: 65_536, .. }) => "value",
            Err(EditError::MessageTooLong { len: 151, max: limits::EDIT_MESSAGE_BYTES_MAX }) => "message",
            Err(EditError::TooManyOperations { ops: 65_537, max: 65_536 }) => "operations",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["key", "key", "key", "value", "value", "value", "value", "message", "operations"]);
    assert_eq!(doc.heads(), heads, "nothing was written");

    let key = Path::root().join(at_key.as_str());
    edit(&mut doc, Some(&"m".repeat(limits::EDIT_MESSAGE_BYTES_MAX)), |e| e.put(&key, at_value.as_str()))
        .unwrap();
    edit(&mut doc, None, |e| e.put(&path!["a"], inside(&at_key, Value::Null))).unwrap();
    edit(&mut doc, None, |e| mark(e, &at_key, &at_value)).unwrap();
    edit(&mut doc, None, |e| e.put(&path!["a"], Value::text("x".repeat(limits::CHANGE_OPS_MAX - 1))))
        .unwrap();
    // The deepest path that an edit takes, with a text at its end.
    let mut at = Path::root();
    for _ in 1..limits::DOCUMENT_DEPTH_MAX {
        at = at.join("d");
        edit(&mut doc, None, |e| e.put_map(&at)).unwrap();
    }
    edit(&mut doc, None, |e| e.put_text(&at.join("t"))).unwrap();
    assert!(matches!(edit(&mut doc, None, |e| e.put_map(&at.join("d"))), Err(EditError::TooDeep { .. })));
    passes(&doc);
}

/// As many writers at once as a branch may have devices: the next change joins them all.
#[test]
fn a_change_that_joins_many_writers_passes() {
    let mut base = Document::new([255; 16]);
    edit(&mut base, None, |e| e.put(&path!["t"], Value::text("chữ"))).unwrap();
    let first = base.changes_raw(&[])[0].1.clone();
    let parse = |raw: &[u8]| automerge::Change::try_from(raw).unwrap();
    let changes: Vec<_> = (0..254u8)
        .map(|n| {
            let mut doc = Document::new([n; 16]);
            doc.apply(vec![parse(&first)]).unwrap();
            edit(&mut doc, None, |e| e.put(&path!["k"], i64::from(n))).unwrap().unwrap()
        })
        .collect();
    base.apply(changes.iter().map(|c| parse(&c.raw)).collect()).unwrap();
    assert_eq!(base.heads().len(), 254);
    let joined = edit(&mut base, None, |e| e.put(&path!["k"], "tất cả")).unwrap().unwrap();
    assert_eq!(joined.deps.len(), 255);
    passes(&base);
    println!("{} changes joined", joined.deps.len());
}

/// Changes that were written again under a new actor pass too.
#[test]
fn changes_written_again_in_a_new_session_pass() {
    let mut doc = Document::new([1; 16]);
    edit(&mut doc, None, |e| e.put(&path!["t"], Value::text("Chi bộ họp"))).unwrap();
    let sent = doc.changes_raw(&[]);
    let heads = doc.heads();
    edit(&mut doc, None, |e| e.splice_text(&path!["t"], 3, 4, "xã ")).unwrap();
    edit(&mut doc, None, |e| e.mark(&path!["t"], 1..5, "bold", true, Expand::After)).unwrap();
    edit(&mut doc, None, |e| e.put(&path!["k"], vec![Value::from(1_i64)])).unwrap();
    edit(&mut doc, None, |e| e.put(&path!["k", 0], "hai")).unwrap();
    let refused: Vec<Vec<u8>> = doc.changes_raw(&heads).into_iter().map(|(_, raw)| raw).collect();
    let again = dinh_core::document::reauthor(&refused, &[[1; 16]], [2; 16]).unwrap();
    let mut past = Past::new();
    for raw in sent.iter().map(|(_, raw)| raw).chain(again.iter().map(|r| &r.raw)) {
        judge_change(raw, &mut past).unwrap();
    }
    assert_eq!(past.len(), 5);
}
