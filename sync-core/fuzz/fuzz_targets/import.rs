//! What others wrote into an exported file comes back in as one edit of this device: scripts of edits on both sides, and then
//! everything that could go wrong between the comparison and the writing.
#![no_main]

use std::sync::OnceLock;

use dinh_core::document::{Document, Edit, EditError, Expand, Path, Value};
use dinh_core::path;
use dinh_fuzz::{Feed, quiet, within};
use dinh_model::interchange::export;
use dinh_model::interchange::import::{self, ImportError};
use libfuzzer_sys::fuzz_target;

/// What comparing and writing may take, bytes, for files of some thousand operations.
const MEMORY_MAX: usize = 128 << 20;
const KEYS: [&str; 5] = ["a", "b", "text", "list", "é"];

fn base() -> &'static Document {
    static BASE: OnceLock<Document> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut document = Document::new([1; 16]);
        let written = document.edit::<(), EditError>(1, None, |e| {
            e.put_map(&path!["m"])?;
            e.put_text(&path!["text"])?;
            e.set_text(&path!["text"], "Đồng chí Hạnh đề nghị")?;
            e.mark(&path!["text"], 0..9, "bold", true, Expand::After)?;
            e.put_list(&path!["list"])?;
            (0..5).try_for_each(|n| e.push(&path!["list"], n))?;
            e.put(&path!["m", "a"], "Nhà văn hóa")
        });
        written.expect("the fixture's edits are possible");
        document
    })
}

fn text(feed: &mut Feed<'_>) -> String {
    match feed.below(4) {
        0 => String::from_utf8_lossy(&feed.repeated(2_000)).into_owned(),
        // Letters and what is composed with them.
        1 => (0..feed.below(6))
            .map(|_| *feed.one_of(&['a', 'Đ', '\u{302}', '\u{301}', '😀', 'o', '\u{31b}']))
            .collect(),
        _ => String::from_utf8_lossy(feed.bytes()).into_owned(),
    }
}

fn value(feed: &mut Feed<'_>, depth: usize) -> Value {
    match feed.below(if depth == 0 { 6 } else { 8 }) {
        0 => Value::text(text(feed)),
        1 => Value::Str(text(feed)),
        2 => Value::Int(feed.number().cast_signed()),
        3 => Value::Null,
        4 => Value::Bool(feed.flag()),
        5 => Value::Bytes(feed.bytes().to_vec()),
        6 => Value::Map(
            (0..feed.below(3)).map(|_| (feed.one_of(&KEYS).to_string(), value(feed, depth - 1))).collect(),
        ),
        _ => Value::List((0..feed.below(4)).map(|_| value(feed, depth - 1)).collect()),
    }
}

fn place(feed: &mut Feed<'_>) -> Path {
    match feed.below(5) {
        0 => path!["m"].join(*feed.one_of(&KEYS)),
        1 => path!["list", feed.below(8)],
        2 => path!["m"].join(*feed.one_of(&KEYS)).join(*feed.one_of(&KEYS)),
        3 => path!["list", feed.below(4)].join(*feed.one_of(&KEYS)),
        _ => path!().join(*feed.one_of(&KEYS)),
    }
}

fn edits(feed: &mut Feed<'_>, e: &mut Edit<'_>) {
    for _ in 0..=feed.below(8) {
        let at = place(feed);
        // What is not possible there is left out.
        let _ = match feed.below(10) {
            0 | 1 => e.put(&at, value(feed, 2)),
            2 => e.delete(&at),
            3 => e.insert(&path!["list"], feed.below(8), value(feed, 1)),
            4 => e.splice_text(&path!["text"], feed.below(30), feed.below(6), &text(feed)),
            5 => e.splice_text(&at, feed.below(8), feed.below(4), &text(feed)),
            6 => {
                let from = feed.below(30);
                e.mark(
                    &path!["text"],
                    from..from + feed.below(20),
                    *feed.one_of(&KEYS),
                    feed.flag(),
                    Expand::Both,
                )
            }
            7 => e.unmark(&path!["text"], 0..feed.below(20), "bold", Expand::None),
            8 => e.set_text(&at, &text(feed)),
            _ => e.set_text(&path!["text"], &text(feed)),
        };
    }
}

fn write(feed: &mut Feed<'_>, document: &mut Document, times: usize) {
    for _ in 0..times {
        let _ = document.edit::<(), EditError>(2, None, |e| {
            edits(feed, e);
            Ok(())
        });
    }
}

fn run(feed: &mut Feed<'_>) {
    let mut theirs = Document::load(&export::automerge_file(base()), [200; 16]).expect("just saved");
    let mut ours = Document::load(&export::automerge_file(base()), [1; 16]).expect("just saved");
    let (n, here) = (1 + feed.below(3), feed.below(3));
    write(feed, &mut theirs, n);
    write(feed, &mut ours, here);
    let mut file = theirs.save();
    if feed.flag() {
        file = feed.spoilt(&file);
    }
    let before = ours.heads();
    let Ok(incoming) = import::read(&ours, &file) else {
        assert_eq!(ours.heads(), before);
        return;
    };
    if here == 0 {
        assert_eq!(incoming.left, [], "nobody else wrote anything");
    }
    let written = ours.edit::<(), EditError>(3, Some(incoming.message()), |e| incoming.write(e));
    let Ok(((), change)) = written else {
        assert_eq!(ours.heads(), before, "what cannot be written leaves no trace");
        return;
    };
    let loaded = Document::load(&ours.save(), [9; 16]).expect("saved");
    assert_eq!(loaded.heads(), ours.heads());
    if change.is_some() {
        assert!(
            matches!(import::read(&ours, &file), Err(ImportError::TakenBefore)),
            "no file is taken twice"
        );
    }
    // Whoever reads the same two things writes the same.
    if change.is_some() {
        let json = export::json(&ours.view());
        assert!(serde_json::to_string(&json).is_ok());
    }
}

fuzz_target!(init: { quiet(); base(); }, |data: &[u8]| {
    within(MEMORY_MAX, || run(&mut Feed(data)));
});
