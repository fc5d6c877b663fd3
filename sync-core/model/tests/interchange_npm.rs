//! The Automerge of the npm registry opens what is exported here, shows the same, and what is changed there comes back in, onto other phones.
//! Needs Node.js 20 or newer with npm, and the npm registry (or npm's cache) the first time.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod village;

use std::path::{Path, PathBuf};
use std::process::Command;

use dinh_core::document::{Expand, Value};
use dinh_core::path;
use dinh_core::replica::Now;
use dinh_model::interchange::{export, import};
use dinh_model::minutes::{self, Kind, NewMinutes};
use dinh_model::outline::{self, Put};
use dinh_proto::charter::record::{Role, Writers};
use dinh_proto::time::{Timestamp, WallTime};
use serde_json::Value as Json;
use village::{RECORDER, SECRETARY, Village, who};

const NEEDED: &str = "this test needs Node.js 20 or newer with npm (https://nodejs.org) on the PATH, and the npm registry the first time";

/// A directory with the pinned packages in it.
fn npm() -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm");
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm");
    std::fs::create_dir_all(&to).unwrap();
    let lock = std::fs::read(from.join("package-lock.json")).unwrap();
    let stamp = to.join("installed");
    for name in ["package.json", "package-lock.json", "change.mjs"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    if std::fs::read(&stamp).is_ok_and(|done| done == lock) {
        return to;
    }
    let run = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&to)
        .output()
        .unwrap_or_else(|error| panic!("npm does not start ({error}): {NEEDED}"));
    assert!(run.status.success(), "npm ci failed: {NEEDED}\n{}", String::from_utf8_lossy(&run.stderr));
    std::fs::write(&stamp, lock).unwrap();
    to
}

fn node(file: &Path, out: &Path, block: &str) -> Json {
    let run = Command::new("node")
        .arg("change.mjs")
        .args([file, out])
        .arg(block)
        .current_dir(npm())
        .output()
        .unwrap_or_else(|error| panic!("node does not start ({error}): {NEEDED}"));
    assert!(run.status.success(), "{NEEDED}\n{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

#[test]
fn the_automerge_of_npm_shows_the_same_and_what_is_changed_there_comes_back() {
    let mut village = Village::new(&[Role::Member, Role::Member]);
    let doc = village.create(SECRETARY, Writers::All, &minutes::SCHEMA);
    let header = [
        ("issuing_org", "CHI BỘ THÔN NÀ MẬN"),
        ("type_name", "BIÊN BẢN"),
        ("abstract", "sinh hoạt chi bộ thường kỳ"),
    ];
    let new = NewMinutes { meeting: "m1", period: "2026-12", kind: Kind::Regular, header: &header };
    village.act(SECRETARY, &doc, |e, _| minutes::create(e, &new));
    village.phones[SECRETARY].name_recorder(doc, who(RECORDER)).unwrap();
    village.sync();
    // Typed decomposed; a letter of Ê-đê has no composed form; a family is seven code points.
    let said = "Đồng chí Hạnh: đường 420 m, buôn Êa Kmư̆t, ơ̆ ê̆ ư̆, 👩‍👧‍👦 và 🇻🇳, ho\u{300}a thuận.";
    let section =
        village.act(RECORDER, &doc, |e, me| outline::add_section(e, me, "II. Thảo luận", Put::Last));
    let block = village.act(RECORDER, &doc, |e, me| {
        outline::add_block(e, me, &section, "speech", said, Some(&who(2)), Put::Last)
    });
    let text = outline::text_of(&block);
    village.act(RECORDER, &doc, |e, _| e.mark(&text, 0..9, "bold", true, Expand::After));
    village.act(RECORDER, &doc, |e, _| {
        minutes::set(e, &path!["venue"], "Nhà văn hóa thôn")?;
        minutes::set(e, &path!["started_at"], Value::Timestamp(1_796_301_000_123))
    });
    village.sync();

    let (file, json, shown, heads, changes) = village.phones[RECORDER]
        .document(&doc, |d| {
            let shown = d.view().text(&text).unwrap();
            (export::automerge_file(d), export::json(&d.view()), shown, d.heads(), d.history().len())
        })
        .unwrap();
    assert!(shown.contains("hòa") && shown.contains("ơ̆ ê̆ ư̆") && shown.contains("👩‍👧‍👦"));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (sent, returned) = (dir.join("minutes.automerge"), dir.join("minutes-changed.automerge"));
    std::fs::write(&sent, &file).unwrap();
    let there = node(&sent, &returned, &block);
    assert_eq!(there["text"], Json::from(shown.as_str()));
    assert_eq!(there["document"], json["document"]);
    let expected = serde_json::json!([{ "start": 0, "end": 9, "name": "bold", "value": true }]);
    assert_eq!((&there["marks"], &json["marks"][text.to_string()]), (&expected, &expected));
    assert_eq!(there["heads"], Json::from(heads.iter().map(ToString::to_string).collect::<Vec<_>>()));
    assert_eq!(there["changes"], changes);

    // Meanwhile the recorder goes on writing in the same sentence.
    village.act(RECORDER, &doc, |e, _| {
        let at = e.view().text(&text).unwrap().find("hòa thuận").unwrap();
        let at = e.view().text(&text).unwrap()[..at].encode_utf16().count();
        e.splice_text(&text, at, 0, "rất ")
    });
    let now = Now { mono: Timestamp(90_000_000_000), wall: WallTime(1_796_310_000_000) };
    let back = std::fs::read(&returned).unwrap();
    let taken = import::take_in(&mut village.phones[RECORDER], now, &doc, &back).unwrap();
    assert!(taken.change.is_some());
    assert_eq!(taken.left, []);
    village.sync();
    let expected =
        format!("🌾 {}", shown.replace("420 m", "430 m (đo lại)").replace("hòa thuận", "rất hòa thuận"));
    for i in 0..3 {
        let found = village.minutes(i, &doc);
        let block = found.outline.block(&block).unwrap();
        assert_eq!(block.text, expected, "phone {i}");
        assert_eq!(found.venue.get().map(String::as_str), Some("Nhà văn hóa thôn, phòng bên"));
        assert_eq!(found.header["place"].get().map(String::as_str), Some("Tân Khê"));
        assert!(!found.header.contains_key("abstract"));
        let marks = village.phones[i].view(&doc, |v| v.marks(&text)).unwrap();
        let marks: Vec<_> = marks.iter().map(|m| (m.name.as_str(), m.start, m.end)).collect();
        let word = expected[..expected.find("thuận").unwrap()].encode_utf16().count();
        assert_eq!(marks, [("bold", 3, 12), ("italic", 3, 8), ("italic", word, word + 5)]);
        let venue = village.phones[i].view(&doc, |v| v.get(&path!["venue"])).unwrap();
        assert_eq!(venue, Some(Value::from("Nhà văn hóa thôn, phòng bên")), "a value, and no text");
        let writer = found.venue.by().unwrap();
        assert_eq!(writer.member, who(RECORDER), "it is the change of whoever took it in");
        let last = village.phones[i].document(&doc, |d| d.history().pop().unwrap()).unwrap();
        assert!(last.message.unwrap().starts_with("dinh.file "));
    }
    // Not twice, on no phone; and not by somebody who may not write minutes.
    for i in [RECORDER, SECRETARY] {
        let again = import::take_in(&mut village.phones[i], now, &doc, &back);
        assert!(matches!(again, Err(import::ImportError::TakenBefore)), "{again:?}");
    }
    println!("{} bytes out, {} back, {changes} changes", file.len(), back.len());
}
