//! Documents laid out as the real forms. `DINH_GOLDEN=1` writes the golden files in testdata/forms anew: look at them then.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "interchange_documents/mod.rs"]
mod documents;
mod village;

use std::path::Path;

use dinh_core::path;
use dinh_model::interchange::export;
use dinh_model::interchange::form::{Form, Markup, render, render_from};
use documents::Branch;
use pulldown_cmark::{Event, Options, Parser};
use village::SECRETARY;

const MARKUPS: [(Markup, &str); 2] = [(Markup::Html, "html"), (Markup::Markdown, "md")];

#[test]
fn every_document_is_laid_out_as_its_golden_file() {
    let mut branch = Branch::new(str::to_owned);
    let names: Vec<&str> = branch.documents.keys().copied().collect();
    let mut differ = Vec::new();
    for name in &names {
        let form = branch.form(name);
        for (markup, extension) in MARKUPS {
            let made = render(markup, &form).unwrap();
            let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("testdata/forms")
                .join(format!("{name}.{extension}"));
            if std::env::var_os("DINH_GOLDEN").is_some() {
                std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
                std::fs::write(&golden, &made).unwrap();
            }
            let expected = std::fs::read_to_string(&golden).unwrap_or_default();
            if made != expected {
                let at = made.lines().zip(expected.lines()).find(|(a, b)| a != b);
                differ.push(format!("{name}.{extension}: {at:?}"));
            }
        }
    }
    assert_eq!(differ, [""; 0], "if this is meant, run once with DINH_GOLDEN=1");
    println!("{} kinds of documents, {} forms", names.len(), 2 * names.len());
}

#[test]
fn the_forms_say_what_the_real_ones_say() {
    let mut branch = Branch::new(str::to_owned);
    let minutes = branch.form("minutes");
    let resolution = branch.form("resolution");
    for (markup, extension) in MARKUPS {
        let made = render(markup, &minutes).unwrap();
        for part in [
            "ĐẢNG BỘ XÃ TÂN KHÊ",
            "CHI BỘ THÔN NÀ MẬN",
            "ĐẢNG CỘNG SẢN VIỆT NAM",
            "Tân Khê, ngày 03 tháng 12 năm 2026",
            "DỰ THẢO",
            "19 giờ 30 phút",
            "tổng số 19 đảng viên (chính thức 18, dự bị 1)",
            "cơ sở tính kết quả biểu quyết: 15",
            "Vắng có lý do: Phạm Đình Cường (Chăm người thân nằm viện tuyến tỉnh)",
            "Được miễn: Nông Đình Lộc, Chu Thị Hiền",
            "Bàn Văn Sinh",
            "(người dịch: Triệu Tiến Phúc)",
            "13/15 (86,67%)",
            "phiếu kín (phát ra 14, thu về 14, hợp lệ 14)",
            "Chưa có kết quả được xác nhận",
            "Nông Thị Hạnh, Bàn Văn Sinh",
            "10/12/2026",
            "THƯ KÝ",
            "21 giờ 15 phút",
        ] {
            assert!(made.contains(part), "minutes.{extension}: {part}\n{made}");
        }
        let made = render(markup, &resolution).unwrap();
        for part in [
            "DỰ THẢO (lần 3)",
            "-NQ/CB",
            "Căn cứ Điều lệ Đảng Cộng sản Việt Nam;",
            "quyết nghị:",
            "04 hộ",
            "Nơi nhận:",
            "Đảng ủy xã Tân Khê (để báo cáo),",
            "Lưu chi bộ.",
            "T/M CHI BỘ",
            "BÍ THƯ",
            "Hoàng Văn Thiết",
        ] {
            assert!(made.contains(part), "resolution.{extension}: {part}\n{made}");
        }
    }
}

const HOSTILE: &str =
    "<script>alert(1)</script> | `x` {{ 7*191 }} {% raw %} **a** [b](c) &lt; \\ $x$ ![d](e) <!-- # ~~f~~";

#[test]
fn what_people_write_is_text_in_every_markup() {
    let mut branch =
        Branch::new(|text| if text.is_empty() { String::new() } else { format!("{HOSTILE} {text}") });
    let names: Vec<&str> = branch.documents.keys().copied().collect();
    let shown_once = HOSTILE.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (mut seen, mut forms) = (0, 0);
    for name in names {
        let form = branch.form(name);
        let html = render(Markup::Html, &form).unwrap();
        forms += 2;
        assert!(!html.contains("<script") && !html.contains("<!--") && !html.contains("1337"), "{name}");
        let count = html.matches(&shown_once).count();
        assert!(count > 0 || name == "index", "{name}: {html}");
        seen += count;
        let markdown = render(Markup::Markdown, &form).unwrap();
        let mut text = String::new();
        for event in Parser::new_ext(&markdown, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
            match event {
                Event::Text(part) => text.push_str(&part),
                Event::SoftBreak | Event::HardBreak => text.push(' '),
                Event::Code(_) | Event::Html(_) | Event::InlineHtml(_) => panic!("{name}: {event:?}"),
                _ => {}
            }
        }
        let found = text.matches(HOSTILE).count();
        assert!(found > 0 || name == "index", "{name}: {text}");
        seen += found;
    }
    println!("{forms} forms with {seen} hostile texts, all of them text");
}

#[test]
fn an_app_has_templates_of_its_own_and_what_a_newer_app_wrote_is_not_shown() {
    let mut branch = Branch::new(str::to_owned);
    let doc = branch.documents["minutes"];
    let before = branch.form("minutes");
    branch.village.act(SECRETARY, &doc, |e, _| {
        e.put(&path!["newer"], "một trường mới")?;
        e.put(&path!["header", "newer"], "một phần mới")
    });
    let after = branch.form("minutes");
    assert_eq!((before.header.len() + 1, &before.fields), (after.header.len(), &after.fields));
    for (markup, _) in MARKUPS {
        assert_eq!(render(markup, &before).unwrap(), render(markup, &after).unwrap());
    }
    let own = [
        ("mine.html", "{% extends 'minutes.html' %}{% block name %}BIÊN BẢN HỌP{% endblock %}"),
        ("parts.html", include_str!("../templates/parts.html")),
    ];
    let made = render_from(&own, "mine.html", Markup::Html, &after).unwrap();
    assert!(made.contains("<h1>BIÊN BẢN HỌP</h1>") && made.contains("13/15"));
    let plain = [("short", "{{ form.header.type_name }} <{{ form.fields.venue }}>")];
    let made = render_from(&plain, "short", Markup::Plain, &after).unwrap();
    assert_eq!(made, "BIÊN BẢN <Nhà văn hóa thôn Nà Mận>");
    // What is wrong with it is said, with the line; one that never ends ends.
    let error = render_from(&[("x", "a\n{% if %}")], "x", Markup::Plain, &after).unwrap_err();
    assert_eq!((error.line(), error.name()), (Some(2), Some("x")));
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}";
    assert!(render_from(&[("x", endless)], "x", Markup::Plain, &after).is_err());
    // A form of nothing is a form.
    for (markup, _) in MARKUPS {
        for kind in
            ["minutes", "resolution", "attendance", "feedback", "tasks", "review", "notice", "roster", "x"]
        {
            let empty = Form { kind: kind.to_owned(), ..Form::default() };
            assert!(!render(markup, &empty).unwrap().is_empty());
        }
    }
}

#[test]
fn every_document_is_exported_as_json_and_as_a_file() {
    let mut branch = Branch::new(str::to_owned);
    let documents = branch.documents.clone();
    for (name, doc) in &documents {
        let (json, file) = branch.village.phones[SECRETARY]
            .document(doc, |d| (export::json(&d.view()), export::automerge_file(d)))
            .unwrap();
        assert_eq!(json["format"], export::JSON_FORMAT);
        assert!(json["document"]["schema"].as_str().unwrap().starts_with("dinh."), "{name}");
        assert_eq!(json["contested"], serde_json::json!({}));
        let again: serde_json::Value = serde_json::from_str(&json.to_string()).unwrap();
        assert_eq!(again, json, "{name}");
        let found =
            branch.village.phones[SECRETARY].document(doc, |d| d.merged_with_file(&file)).unwrap().unwrap();
        assert_eq!(
            (found.changes, found.patches.len()),
            (0, 0),
            "{name}: the file has what the document has"
        );
    }
    println!("{} kinds of documents", documents.len());
}
