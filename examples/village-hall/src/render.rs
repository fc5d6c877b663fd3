//! The minutes and the resolution as people are used to see them on paper, from their documents as JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::act::roster_id;
use crate::screen::{columns, fit};
use crate::story::{DAY, text};

/// Columns of the page.
const PAGE: usize = 96;

/// Renders minutes or a resolution. `names` turns a member's id in the roster into a full name. Fields that are missing are left
/// out, so that a half-arrived document still reads.
#[must_use]
pub fn render(document: &Value, names: &dyn Fn(&str) -> String) -> String {
    // Members are named by their ids in hex.
    let names =
        |key: &str| dinh_model::field::member(key).map_or_else(String::new, |id| names(&roster_id(&id)));
    let mut page = Page::default();
    header(&mut page, document);
    for (_, basis) in entries(&document["legal_bases"]) {
        page.paragraph(text(basis));
    }
    page.paragraph(text(&document["enacting_clause"]));
    opening(&mut page, document, &names);
    for (id, section) in in_order(&document["sections"]) {
        page.blank();
        page.paragraph(text(&section["heading"]));
        let blocks = in_order(&document["blocks"]);
        for (_, block) in
            blocks.into_iter().filter(|(_, b)| b["section"] == id.as_str() && b["hidden"] != true)
        {
            page.paragraph(&format!("    {}", text(&block["text"])));
        }
    }
    votes(&mut page, document);
    assignments(&mut page, document, &names);
    suggestions(&mut page, document, &names);
    signatures(&mut page, document, &names);
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn centred(&mut self, line: &str) {
        self.line(&centre(line, PAGE));
    }

    /// Two columns, each centred.
    fn two(&mut self, left: &str, right: &str) {
        self.line(&format!("{}{}", centre(left, PAGE / 2), centre(right, PAGE / 2)));
    }

    /// Wraps at spaces; leading spaces indent the first line only. Nothing for an empty text.
    fn paragraph(&mut self, paragraph: &str) {
        if paragraph.trim().is_empty() {
            return;
        }
        let mut line: String = paragraph.chars().take_while(|c| *c == ' ').collect();
        let mut fresh = true;
        for word in paragraph.split_whitespace() {
            if !fresh && columns(&line) + 1 + columns(word) > PAGE {
                self.line(&line);
                line.clear();
                fresh = true;
            }
            if !fresh {
                line.push(' ');
            }
            line.push_str(word);
            fresh = false;
        }
        self.line(&line);
    }
}

fn header(page: &mut Page, document: &Value) {
    let header = &document["header"];
    let issuing = text(&header["issuing_org"]);
    page.two(text(&header["superior_org"]), text(&header["party_title"]));
    page.two(issuing, &"─".repeat(columns(text(&header["party_title"]))));
    page.two("*", "");
    let number = document["number"].as_str().unwrap_or("……");
    let date = date(text(&header["doc_date"])).unwrap_or_else(|| "ngày …… tháng …… năm ……".into());
    let place = format!("{}, {date}", text(&header["place"]));
    page.two(&format!("Số {number}-{}", text(&header["symbol"])), &place);
    page.blank();
    page.centred(text(&header["type_name"]));
    page.centred(text(&header["abstract"]));
    page.centred("-----");
}

fn opening(page: &mut Page, minutes: &Value, names: &dyn Fn(&str) -> String) {
    let Some(started) = minutes["started_at"].as_i64() else { return };
    page.blank();
    let day = date(text(&minutes["header"]["doc_date"])).unwrap_or_default();
    page.paragraph(&format!("Thời gian: {}, {day}. Địa điểm: {}.", hour(started), text(&minutes["venue"])));
    page.paragraph(&format!(
        "Chủ trì: đồng chí {}. Thư ký: đồng chí {}.",
        names(text(&minutes["chair"])),
        names(text(&minutes["recorder"]))
    ));
    for (_, guest) in entries(&minutes["guests"]) {
        page.paragraph(&format!("Đại biểu: đồng chí {}, {}.", text(&guest["name"]), text(&guest["post"])));
    }
    page.paragraph("Chương trình:");
    for (index, (_, item)) in in_order(&minutes["agenda"]).into_iter().enumerate() {
        page.paragraph(&format!("  {}. {}", index + 1, text(&item["title"])));
    }
}

fn votes(page: &mut Page, minutes: &Value) {
    for (index, (id, vote)) in entries(&minutes["votes"]).enumerate() {
        if index == 0 {
            page.blank();
            page.paragraph("Kết quả biểu quyết");
        }
        let method = if vote["method"] == "secret_ballot" { "phiếu kín" } else { "giơ tay" };
        let is_confirmed = minutes["confirmed_votes"].get(id).is_some();
        let confirmed = if is_confirmed { "chủ trì đã xác nhận" } else { "chưa xác nhận" };
        let motion = text(&minutes["motions"][text(&vote["motion"])]["title"]);
        page.paragraph(&format!(
            "  {}. {motion}: {method}, tán thành {}/{}, không tán thành {} ({confirmed}).",
            index + 1,
            vote["yes"],
            vote["base"],
            vote["no"],
        ));
    }
}

fn assignments(page: &mut Page, document: &Value, names: &dyn Fn(&str) -> String) {
    for (index, (_, task)) in entries(&document["assignments"]).enumerate() {
        if index == 0 {
            page.blank();
            page.paragraph("Phân công nhiệm vụ");
            page.line(&format!("  {} {} Thời hạn", fit("Việc", 52), fit("Người chịu trách nhiệm", 30)));
        }
        let owners = task["owners"].as_array().into_iter().flatten();
        let owners: Vec<String> = owners.map(|owner| given(&names(text(owner)))).collect();
        let due = text(&task["due"]);
        let short =
            due.get(8..10).zip(due.get(5..7)).map_or(due.to_owned(), |(day, month)| format!("{day}/{month}"));
        page.line(&format!("  {} {} {short}", fit(text(&task["task"]), 52), fit(&owners.join(", "), 30)));
    }
}

/// What members proposed and the committee took in.
fn suggestions(page: &mut Page, document: &Value, names: &dyn Fn(&str) -> String) {
    let taken =
        entries(&document["suggestions"]).filter(|(id, _)| document["outcomes"][id.as_str()] == "accepted");
    for (index, (_, suggestion)) in taken.enumerate() {
        if index == 0 {
            page.blank();
            page.paragraph("Góp ý đã tiếp thu");
        }
        let (by, words) = (names(text(&suggestion["by"])), text(&suggestion["proposed"]));
        page.paragraph(&format!("  - Đ/c {by}: {words}"));
    }
}

fn signatures(page: &mut Page, document: &Value, names: &dyn Fn(&str) -> String) {
    page.blank();
    if let Some(ended) = document["ended_at"].as_i64() {
        page.paragraph(&format!("Kết thúc lúc {}.", hour(ended)));
        page.blank();
    }
    if document["schema"] == dinh_model::minutes::SCHEMA.name {
        page.two("THƯ KÝ", "CHỦ TRÌ");
        page.blank();
        page.two(&names(text(&document["recorder"])), &names(text(&document["chair"])));
        return;
    }
    let signature = &document["signature"];
    page.two("Nơi nhận:", text(&signature["authority"]));
    let to: Vec<&str> = entries(&document["recipients"]).map(|(_, to)| text(to)).collect();
    for index in 0..to.len().max(3) {
        let right = match index {
            0 => text(&signature["title"]).to_owned(),
            2 => names(text(&signature["signer"])),
            _ => String::new(),
        };
        let left = to.get(index).map_or(String::new(), |to| format!("- {to}"));
        page.line(&format!("{}{}", fit(&left, PAGE / 2), centre(&right, PAGE / 2)));
    }
}

/// A map's entries by key. Keys begin with the time, so what has an id is in the order in which it was made.
fn entries(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    map.as_object().into_iter().flatten()
}

/// Sections or blocks in the order that they have.
fn in_order(map: &Value) -> Vec<(&String, &Value)> {
    let sorted: BTreeMap<(&str, &String), &Value> =
        entries(map).map(|(id, value)| ((text(&value["order"]), id), value)).collect();
    sorted.into_iter().map(|((_, id), value)| (id, value)).collect()
}

fn centre(line: &str, width: usize) -> String {
    let left = width.saturating_sub(columns(line)) / 2;
    fit(&format!("{}{line}", " ".repeat(left)), width)
}

/// `2026-12-03T…` as `ngày 03 tháng 12 năm 2026`.
fn date(iso: &str) -> Option<String> {
    let (year, month, day) = (iso.get(0..4)?, iso.get(5..7)?, iso.get(8..10)?);
    Some(format!("ngày {day} tháng {month} năm {year}"))
}

/// A time of the story as `19 giờ 30 phút`.
fn hour(at: i64) -> String {
    let minute = (at - DAY).rem_euclid(86_400_000) / 60_000;
    format!("{:02} giờ {:02} phút", minute / 60, minute % 60)
}

/// A Vietnamese given name is the last syllable.
fn given(name: &str) -> String {
    name.rsplit(' ').next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::act::member;
    use crate::cast::Fixtures;

    fn names(id: &str) -> String {
        Fixtures::load().name(id).unwrap_or_else(|| id.to_owned())
    }

    fn key(id: &str) -> String {
        member(id).to_string()
    }

    #[test]
    fn minutes_read_like_minutes() {
        let minutes = json!({
            "schema": dinh_model::minutes::SCHEMA.name,
            "header": {"party_title": "ĐẢNG CỘNG SẢN VIỆT NAM", "symbol": "BB/CB", "place": "Tân Khê", "doc_date": "2026-12-03"},
            "started_at": DAY + 1_170 * 60_000, "venue": "Nhà văn hóa", "chair": key("m01"), "recorder": key("m04"),
            "sections": {"b": {"heading": "II. Sau", "order": "90"}, "a": {"heading": "I. Mở đầu", "order": "80"}},
            "blocks": {
                "x": {"section": "a", "order": "90", "text": "Thứ hai."},
                "y": {"section": "a", "order": "80", "text": "Thứ nhất."},
                "z": {"section": "a", "order": "95", "text": "Bỏ ra.", "hidden": true},
            },
            "motions": {"v": {"title": "Thông qua Nghị quyết"}},
            "votes": {"c": {"motion": "v", "method": "show_of_hands", "yes": 13, "no": 1, "base": 15}},
            "confirmed_votes": {"c": key("m01")},
        });
        let page = render(&minutes, &names);
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in [
            "Số ……-BB/CB",
            "Tân Khê, ngày 03 tháng 12 năm 2026",
            "Thời gian: 19 giờ 30 phút",
            "Chủ trì: đồng chí Hoàng Văn Thiết",
            "I. Mở đầu Thứ nhất. Thứ hai. II. Sau",
            "tán thành 13/15",
            "chủ trì đã xác nhận",
            "THƯ KÝ",
        ] {
            assert!(words.contains(expected), "{expected}\n{page}");
        }
        assert!(!page.contains("Bỏ ra") && page.lines().all(|line| columns(line) <= PAGE));
    }

    #[test]
    fn a_resolution_has_its_bases_tasks_and_credits() {
        let resolution = json!({
            "number": "01", "header": {"symbol": "NQ/CB"},
            "legal_bases": {"c1": "Căn cứ Điều lệ"}, "enacting_clause": "Chi bộ quyết nghị:",
            "assignments": {"t": {"task": "Vận động", "owners": [key("m02"), key("m06")], "due": "2026-12-10"}},
            "suggestions": {"s": {"by": key("m07"), "proposed": "trồng hoa"}, "no": {"by": key("m05"), "proposed": "khác"}},
            "outcomes": {"s": "accepted"},
            "signature": {"authority": "T/M CHI BỘ", "title": "BÍ THƯ", "signer": key("m01")},
            "recipients": {"r": "Lưu chi bộ"},
        });
        let page = render(&resolution, &names);
        for expected in [
            "Số 01-NQ/CB",
            "Căn cứ Điều lệ",
            "quyết nghị:",
            "Hạnh, Sinh",
            "10/12",
            "Nguyệt: trồng hoa",
            "- Lưu chi bộ",
            "Hoàng Văn Thiết",
            "T/M CHI BỘ",
        ] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
        assert!(!page.contains("khác"));
    }

    #[test]
    fn half_a_document_still_renders() {
        assert!(!render(&Value::Null, &names).is_empty());
    }
}
