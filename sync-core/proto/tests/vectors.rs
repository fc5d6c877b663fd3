//! The files in `sync-core/testdata/v1` say what the formats of version 1 are, to the byte.
//!
//! The files are the truth: this test reads them, and writes them only when it is run with
//! `DINH_WRITE_VECTORS=1`, which is for a new version or a new vector and never for continuous integration.

#[path = "vectors/catalogue.rs"]
mod catalogue;
#[path = "vectors/describe.rs"]
mod describe;
#[path = "vectors/hex.rs"]
mod hex;
#[path = "vectors/refused.rs"]
mod refused;
#[path = "vectors/sealed.rs"]
mod sealed;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use catalogue::{Catalogue, Vector, catalogue as build};
use describe::{Refused, describe};
use serde_json::{Map, Value, json};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/v1")
}

#[allow(clippy::disallowed_methods, reason = "the one switch of this test")]
fn writing() -> bool {
    std::env::var("DINH_WRITE_VECTORS").is_ok_and(|v| v == "1")
}

fn stored(name: &str) -> Option<Vec<u8>> {
    fs::read_to_string(directory().join(format!("{name}.hex"))).ok().map(|text| hex::read(&text))
}

fn all() -> Catalogue {
    let mut catalogue = build(stored);
    refused::add(&mut catalogue);
    catalogue
}

/// What the index says of a vector.
fn entry(vector: &Vector) -> Value {
    let described = describe(vector.kind, &vector.bytes, &vector.with);
    let mut entry = json!({
        "file": format!("{}.hex", vector.name),
        "type": vector.kind,
        "about": vector.about,
        "bytes": vector.bytes.len(),
    });
    if !vector.with.is_empty() {
        entry["with"] = Value::Object(vector.with.clone());
    }
    match (described, vector.refused) {
        (Ok((found, _)), None) => entry["expect"] = Value::Object(found),
        (Err(Refused { code, why }), Some(expected)) => {
            assert_eq!(code, expected, "{}: {why}", vector.name);
            entry["error"] = json!({ "code": code, "why": why });
        }
        (Ok(_), Some(expected)) => panic!("{} is accepted and should be refused: {expected}", vector.name),
        (Err(e), None) => panic!("{} is refused: {e:?}", vector.name),
    }
    entry
}

fn index() -> Vec<Map<String, Value>> {
    let text = fs::read_to_string(directory().join("index.json")).expect("testdata/v1/index.json");
    serde_json::from_str(&text).expect("an array of objects")
}

fn text<'a>(entry: &'a Map<String, Value>, name: &str) -> &'a str {
    entry[name].as_str().expect("a string")
}

#[test]
fn the_committed_vectors_read_as_the_index_says_and_write_to_the_same_bytes() {
    if writing() {
        write();
    }
    let mut listed = BTreeSet::new();
    let mut refused = 0;
    for entry in index() {
        let file = text(&entry, "file");
        assert!(listed.insert(file.to_owned()), "{file} is listed twice");
        let bytes = fs::read_to_string(directory().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let bytes = hex::read(&bytes);
        assert_eq!(json!(bytes.len()), entry["bytes"], "{file}");
        let with = entry.get("with").and_then(Value::as_object).cloned().unwrap_or_default();
        match describe(text(&entry, "type"), &bytes, &with) {
            Ok((found, again)) => {
                assert_eq!(Some(&Value::Object(found)), entry.get("expect"), "{file}");
                let skipped = with.get("skipped").and_then(Value::as_u64).unwrap_or(0) as usize;
                if let Some(again) = again {
                    assert_eq!(
                        hex::write(&again),
                        hex::write(&bytes[skipped..]),
                        "{file} writes to other bytes"
                    );
                }
            }
            Err(Refused { code, why }) => {
                refused += 1;
                assert_eq!(Some(&json!({ "code": code, "why": why })), entry.get("error"), "{file}");
            }
        }
    }
    assert!(refused >= 30, "{refused} vectors that must be refused");
    let there: BTreeSet<String> = fs::read_dir(directory())
        .expect("testdata/v1")
        .map(|f| f.expect("a file").file_name().to_string_lossy().into_owned())
        .filter(|name| name != "index.json" && name != "README.md")
        .collect();
    assert_eq!(listed, there, "every file is listed, and every listed file is there");
}

#[test]
fn the_vectors_are_what_the_fixed_seeds_make() {
    if writing() {
        return;
    }
    let index = index();
    let catalogue = all();
    let named: Vec<String> = catalogue.0.iter().map(|v| format!("{}.hex", v.name)).collect();
    let listed: Vec<&str> = index.iter().map(|e| text(e, "file")).collect();
    assert_eq!(listed, named);
    for (vector, listed) in catalogue.0.iter().zip(&index) {
        assert_eq!(stored(&vector.name).as_ref(), Some(&vector.bytes), "{}", vector.name);
        assert_eq!(&entry(vector), &Value::Object(listed.clone()), "{}", vector.name);
    }
}

/// The packs of the run hold the changes that have files of their own.
#[test]
fn packs_give_back_the_changes_byte_for_byte() {
    use dinh_proto::pack::{PackContext, PackLimits, unpack_in};
    if writing() {
        return;
    }
    let index = index();
    let actor = index.iter().find(|e| text(e, "file") == "pack-deflated.hex").expect("listed");
    let actor = hex::read(actor["with"]["actor"].as_str().expect("hexadecimal"));
    let context = PackContext { actors: &[&actor], hashes: &[] };
    let pack = stored("pack-deflated").expect("a file");
    let unpacked = unpack_in(context, &pack, &PackLimits::RUN).expect("a good pack");
    let changes: Vec<Vec<u8>> = (1..=unpacked.len()).filter_map(|i| stored(&format!("change-{i}"))).collect();
    assert_eq!(changes.len(), unpacked.len());
    assert!(unpacked.iter().zip(&changes).all(|(u, c)| u.raw() == &c[..]));
}

fn write() {
    let directory = directory();
    fs::create_dir_all(&directory).expect("a directory that can be made");
    let catalogue = all();
    let mut lines = Vec::new();
    for vector in &catalogue.0 {
        let file = directory.join(format!("{}.hex", vector.name));
        fs::write(file, hex::lines(&vector.bytes)).expect("a file that can be written");
        lines.push(serde_json::to_string_pretty(&entry(vector)).expect("text"));
    }
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    fs::write(directory.join("index.json"), text).expect("a file that can be written");
}
