//! What edits cost: `cargo test -p dinh-core --test document_cost -- --nocapture`. Bytes are asserted; times, which depend
//! on the machine and here include automerge's debug assertions, are only printed.

mod document_common;

use std::collections::BTreeMap;
use std::time::Instant;

use automerge::transaction::Transactable;
use automerge::{Automerge, ObjType, ROOT, TextEncoding};
use dinh_core::document::{Document, EditError, Value};
use dinh_core::path;
use unicode_normalization::UnicodeNormalization;

use document_common::{missing, parse};

const SENTENCE: &str =
    "Hội nghị đã thống nhất giao cho đoàn thanh niên phụ trách sửa đường liên thôn và nhà văn hóa. ";

fn minutes() -> String {
    SENTENCE.repeat(48)
}

fn document(text: &str) -> Document {
    let mut doc = Document::new([1; 16]);
    doc.edit::<_, EditError>(0, None, |edit| edit.put(&path!["t"], Value::text(text))).expect("fits");
    doc
}

/// Time and bytes of a change by `set_text` and by automerge's `update_text`.
fn compare(name: &str, old: &str, new: &str) -> (usize, usize) {
    let mut doc = document(old);
    let start = Instant::now();
    let change = doc.edit::<_, EditError>(0, None, |edit| edit.set_text(&path!["t"], new)).expect("fits").1;
    let ours = (start.elapsed(), change.map_or(0, |change| change.raw.len()));

    let mut doc = Automerge::new_with_encoding(TextEncoding::Utf16CodeUnit);
    let mut tx = doc.transaction();
    let id = tx.put_object(ROOT, "t", ObjType::Text).expect("new");
    tx.splice_text(&id, 0, 0, old).expect("new");
    tx.commit();
    let start = Instant::now();
    let mut tx = doc.transaction();
    tx.update_text(&id, new).expect("there");
    tx.commit();
    let raw = doc.get_last_local_change().map_or(0, |change| change.raw_bytes().len());
    let theirs = (start.elapsed(), raw);
    println!("cost: {name}: set_text {:?} {} B, update_text {:?} {} B", ours.0, ours.1, theirs.0, theirs.1);
    (ours.1, theirs.1)
}

#[test]
fn setting_a_long_text() {
    let old = minutes();
    println!("cost: {} characters, {} B", old.chars().count(), old.len());
    let one = old.replacen("đoàn thanh niên phụ", "hội phụ nữ phụ", 20).replacen(
        "hội phụ nữ phụ",
        "đoàn thanh niên phụ",
        19,
    );
    let (ours, theirs) = compare("one phrase", &old, &one);
    assert!(ours < 260 && ours <= theirs + 40, "{ours} {theirs}");
    let (ours, theirs) = compare("a word in 48 places", &old, &old.replace("thanh niên", "phụ nữ"));
    assert!(ours < theirs * 2, "{ours} {theirs}");
    let (ours, theirs) = compare("both ends", &old, &format!("Một. {old}Hai."));
    assert!(ours < 200, "{ours} {theirs}");
    let nfd: String = old.nfd().collect();
    let (ours, theirs) = compare("the same text in NFD", &old, &nfd);
    assert!(ours == 0 && theirs > 5_000, "{ours} {theirs}");
    compare("another text", &old, &SENTENCE.chars().rev().collect::<String>().repeat(48));
}

#[test]
fn applying_a_batch() {
    let base = document(&minutes());
    let saved = base.save();
    let mut writer = Document::load(&saved, [2; 16]).expect("saved by ourselves");
    for n in 0..200 {
        writer
            .edit::<_, EditError>(0, None, |edit| edit.splice_text(&path!["t"], n * 20, 0, "thêm "))
            .expect("fits");
    }
    let load = || Document::load(&saved, [3; 16]).expect("saved by ourselves");
    let (mut batch, mut single) = (load(), load());
    let changes: Vec<_> = missing(&writer, &batch).iter().map(|(_, raw)| parse(raw)).collect();
    assert_eq!(changes.len(), 200);
    let start = Instant::now();
    let patches = batch.apply(changes.clone()).expect("complete");
    println!("cost: 200 changes in one batch {:?}, {} patches", start.elapsed(), patches.len());
    let start = Instant::now();
    for change in changes {
        single.apply(vec![change]).expect("complete");
    }
    println!("cost: 200 changes one by one {:?}", start.elapsed());
    assert_eq!(batch.heads(), single.heads());
}

#[test]
fn a_small_edit_in_a_large_document() {
    let mut doc = Document::new([1; 16]);
    let item = || {
        Value::Map(BTreeMap::from([
            ("text".to_owned(), Value::text(SENTENCE)),
            ("due".to_owned(), Value::from("2026-12-15")),
            ("who".to_owned(), Value::from("m-01")),
        ]))
    };
    let list: Vec<_> = (0..500).map(|_| item()).collect();
    let start = Instant::now();
    doc.edit::<_, EditError>(0, None, |edit| edit.put(&path!["l"], list)).expect("fits");
    println!("cost: writing 500 items of a text and two fields {:?}", start.elapsed());
    let start = Instant::now();
    for n in 0..20_usize {
        doc.edit::<_, EditError>(0, None, |edit| edit.put(&path!["l", n, "due"], "2027")).expect("fits");
    }
    println!("cost: one field in such a document, with its patch {:?}", start.elapsed() / 20);
    let start = Instant::now();
    let loaded = Document::load(&doc.save(), [2; 16]).expect("saved by ourselves");
    println!("cost: saving and loading it {:?}", start.elapsed());
    assert_eq!(loaded.heads(), doc.heads());
}
