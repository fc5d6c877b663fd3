//! The minutes and the resolution as people are used to see them on paper, from their JSON views.

use serde_json::Value;

use crate::screen::{columns, fit};
use crate::story::text;

/// Columns of the page.
const PAGE: usize = 96;

/// Renders minutes or a resolution. `names` turns a member's id into a full name. Fields that are missing are left out,
/// so that a half-arrived document still reads.
#[must_use]
pub fn render(document: &Value, names: &dyn Fn(&str) -> String) -> String {
    let mut page = Page::default();
    header(&mut page, &document["header"]);
    for basis in each(&document["legal_bases"]) {
        page.paragraph(text(&basis["text"]));
    }
    page.paragraph(text(&document["enacting_clause"]));
    opening(&mut page, document, names);
    for section in each(&document["sections"]) {
        page.blank();
        page.paragraph(text(&section["heading"]));
        for block in each(&section["blocks"]) {
            page.paragraph(&format!("    {}", text(&block["text"])));
        }
    }
    votes(&mut page, document);
    assignments(&mut page, document, names);
    opinions(&mut page, document, "remarks", "Ý kiến đảng viên về biên bản", names);
    opinions(&mut page, document, "suggestions", "Góp ý vào dự thảo", names);
    signatures(&mut page, document, names);
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

fn header(page: &mut Page, header: &Value) {
    let issuing = text(&header["issuing_org"]);
    page.two(text(&header["superior_org"]), text(&header["party_title"]));
    page.two(issuing, &"─".repeat(columns(text(&header["party_title"]))));
    page.two("*", "");
    let number = match &header["number"] {
        Value::Number(number) => format!("{number:0>2}"),
        _ => "……".into(),
    };
    let date = date(text(&header["doc_date"])).unwrap_or_else(|| "ngày …… tháng …… năm ……".into());
    let place = format!("{}, {date}", text(&header["place"]));
    page.two(&format!("Số {number}-{}", text(&header["symbol"])), &place);
    if let Some(mark) = header["draft_mark"].as_str() {
        page.two(&format!("{mark} (lần {})", header["draft_round"]), "");
    }
    page.blank();
    page.centred(text(&header["type_name"]));
    page.centred(text(&header["abstract"]));
    page.centred("-----");
}

fn opening(page: &mut Page, minutes: &Value, names: &dyn Fn(&str) -> String) {
    let Some(started) = minutes["started_at"].as_str() else { return };
    page.blank();
    let when = format!("{}, {}", hour(started), date(started).unwrap_or_default());
    page.paragraph(&format!("Thời gian: {when}. Địa điểm: {}.", text(&minutes["venue"])));
    let chair = names(text(&minutes["chair"]));
    page.paragraph(&format!(
        "Chủ trì: đồng chí {chair}. Thư ký: đồng chí {}.",
        names(text(&minutes["recorder"]))
    ));
    page.paragraph("Chương trình:");
    for (index, item) in each(&minutes["agenda"]).enumerate() {
        page.paragraph(&format!("  {}. {}", index + 1, text(&item["title"])));
    }
}

fn votes(page: &mut Page, minutes: &Value) {
    for (index, vote) in each(&minutes["votes"]).enumerate() {
        if index == 0 {
            page.blank();
            page.paragraph("Kết quả biểu quyết");
        }
        let tally = &vote["tally"];
        let method = if vote["method"] == "secret_ballot" { "phiếu kín" } else { "giơ tay" };
        let confirmed =
            if vote["confirmed_by"].is_null() { "chưa xác nhận" } else { "chủ trì đã xác nhận" };
        let (base, motion) = (&vote["base"], text(&vote["motion"]));
        page.paragraph(&format!(
            "  {}. {motion}: {method}, tán thành {}/{base}, không tán thành {}, vắng {} ({confirmed}).",
            index + 1,
            tally["for"],
            tally["against"],
            tally["absent"],
        ));
    }
}

fn assignments(page: &mut Page, document: &Value, names: &dyn Fn(&str) -> String) {
    for (index, task) in each(&document["assignments"]).enumerate() {
        if index == 0 {
            page.blank();
            page.paragraph("Phân công nhiệm vụ");
            page.line(&format!("  {} {} Thời hạn", fit("Việc", 52), fit("Người chịu trách nhiệm", 30)));
        }
        let owners: Vec<String> = each(&task["owners"]).map(|owner| given(&names(text(owner)))).collect();
        let due = text(&task["due"]);
        let short =
            due.get(8..10).zip(due.get(5..7)).map_or(due.to_owned(), |(day, month)| format!("{day}/{month}"));
        page.line(&format!("  {} {} {short}", fit(text(&task["task"]), 52), fit(&owners.join(", "), 30)));
    }
}

fn opinions(page: &mut Page, document: &Value, list: &str, title: &str, names: &dyn Fn(&str) -> String) {
    for (index, opinion) in each(&document[list]).enumerate() {
        if index == 0 {
            page.blank();
            page.paragraph(title);
        }
        let words = opinion["text"].as_str().unwrap_or_else(|| text(&opinion["proposed"]));
        let outcome = if opinion["outcome"] == "accepted" { " [tiếp thu]" } else { "" };
        page.paragraph(&format!("  - Đ/c {}: {words}{outcome}", names(text(&opinion["by"]))));
    }
}

fn signatures(page: &mut Page, document: &Value, names: &dyn Fn(&str) -> String) {
    page.blank();
    if let Some(ended) = document["ended_at"].as_str() {
        page.paragraph(&format!("Kết thúc lúc {}.", hour(ended)));
        page.blank();
    }
    let block = &document["signature_block"];
    if block.is_null() {
        page.two("THƯ KÝ", "CHỦ TRÌ");
        page.blank();
        page.two(&names(text(&document["recorder"])), &names(text(&document["chair"])));
        return;
    }
    page.two("Nơi nhận:", text(&block["authority"]));
    let recipients: Vec<&str> = each(&document["recipients"]).map(text).collect();
    for index in 0..recipients.len().max(3) {
        let right = match index {
            0 => text(&block["title"]).to_owned(),
            2 => names(text(&block["signer"])),
            _ => String::new(),
        };
        let left = recipients.get(index).map_or(String::new(), |name| format!("- {name}"));
        page.line(&format!("{}{}", fit(&left, PAGE / 2), centre(&right, PAGE / 2)));
    }
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
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

/// `…T19:30…` as `19 giờ 30 phút`.
fn hour(iso: &str) -> String {
    let (hour, minute) = (iso.get(11..13).unwrap_or("…"), iso.get(14..16).unwrap_or("…"));
    format!("{hour} giờ {minute} phút")
}

/// A Vietnamese given name is the last syllable.
fn given(name: &str) -> String {
    name.rsplit(' ').next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::Fixtures;

    fn names(id: &str) -> String {
        let roster = Fixtures::load().roster;
        let member = each(&roster["members"])
            .find(|member| member["id"] == id)
            .map(|member| text(&member["name"]).into());
        member.unwrap_or_else(|| id.to_owned())
    }

    #[test]
    fn finished_minutes_read_like_minutes() {
        let page = render(&Fixtures::load().minutes, &names);
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in [
            "ĐẢNG CỘNG SẢN VIỆT NAM",
            "Số ……-BB/CB",
            "Tân Khê, ngày 03 tháng 12 năm 2026",
            "Thời gian: 19 giờ 30 phút",
            "Chủ trì: đồng chí Hoàng Văn Thiết",
            "tán thành 13/15",
            "Hạnh, Sinh",
            "10/12",
            "THƯ KÝ",
        ] {
            assert!(words.contains(expected), "{expected}\n{page}");
        }
        assert!(page.lines().all(|line| columns(line) <= PAGE));
    }

    #[test]
    fn a_resolution_has_its_bases_round_and_recipients() {
        let page = render(&Fixtures::load().resolution, &names);
        for expected in [
            "DỰ THẢO (lần 3)",
            "Căn cứ Điều lệ",
            "quyết nghị:",
            "T/M CHI BỘ",
            "- Lưu chi bộ",
            "Góp ý vào dự thảo",
        ] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
    }

    #[test]
    fn half_a_document_still_renders() {
        assert!(!render(&Value::Null, &names).is_empty());
        assert!(
            render(&serde_json::json!({"sections": [{"heading": "I. Mở đầu"}]}), &names)
                .contains("I. Mở đầu")
        );
    }
}
