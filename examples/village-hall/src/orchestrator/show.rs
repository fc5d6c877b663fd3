//! What is read out in the meeting from a phone's screen.

use std::fmt::Write as _;

use serde_json::Value;

use super::Hall;
use crate::act::Doc;
use crate::phone::look::{Numbers, SealSeen};
use crate::protocol::{Command, Look, Reply, Seen};
use crate::story::Show;

impl Hall<'_> {
    /// Looks, and says it in lines. `None` and a fault if a phone does not show what it must.
    pub(super) async fn show(&mut self, show: &Show) -> Option<String> {
        match show {
            Show::Roll => {
                let seen = self.numbers().await?;
                if seen.unmarked > 0 {
                    return self.fault(format!("{} are not marked", seen.unmarked));
                }
                let mut line = format!(
                    "        Có mặt {}/{} ({} chính thức). Cơ số biểu quyết {}. · Present, base of votes; left out:",
                    seen.present, seen.total, seen.present_official, seen.base
                );
                for (name, why) in &seen.left_out {
                    let _ = write!(line, " {name} ({why});");
                }
                Some(line)
            }
            Show::Due { task, count } => {
                let place = vec!["assignments".to_owned(), task.clone(), "due".to_owned()];
                let ask = Command::Values { doc: Doc::Resolution, place };
                let Some(Reply::Values { values }) = self.ask(0, ask).await else {
                    return self.fault("the secretary's phone does not show the day".into());
                };
                if values.len() != *count {
                    return self
                        .fault(format!("{} days stand for one task, not {count}: {values:?}", values.len()));
                }
                let shown =
                    values.iter().map(|(value, by)| format!("{} ({by})", value.as_str().unwrap_or_default()));
                Some(format!("        t1: {}", shown.collect::<Vec<_>>().join("  |  ")))
            }
            Show::Overlaps => {
                let seen = self.numbers().await?;
                let shown: Vec<String> = seen.overlaps.iter().map(|(_, who)| who.join(", ")).collect();
                Some(format!(
                    "        {} khối nhiều người cùng sửa khi mất mạng, thư ký đọc lại · blocks that several wrote in apart: {}",
                    shown.len(),
                    shown.join("; ")
                ))
            }
            Show::Votes => {
                let seen = self.numbers().await?;
                let mut lines = String::new();
                for (title, result) in &seen.motions {
                    let Some((yes, no, base, carried)) = result else {
                        return self.fault(format!("no count of {title:?} holds"));
                    };
                    let end =
                        if *carried { "thông qua · carried" } else { "không thông qua · not carried" };
                    let _ =
                        writeln!(lines, "        {title}: {yes} tán thành, {no} không, trên {base}: {end}");
                }
                if let Some((yes, no, abstain)) = seen.phones {
                    let _ = write!(lines, "        Trên điện thoại · on phones: {yes} / {no} / {abstain}");
                }
                Some(lines)
            }
            Show::Digest => {
                let reviewer = self.cast.reviewer();
                let ask = Command::Dump { doc: Doc::Digest, sealed: false };
                let Some(Reply::Dump { value }) = self.ask(reviewer, ask).await else {
                    return self.fault("the reviewer sees no digest".into());
                };
                let month = |field: &str| match &value[field]["2026-12"] {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                Some(format!(
                    "        Đảng ủy xã thấy · the commune sees: {}, round {}, read {}/{}, present {}, {} of {} for, open feedback {}",
                    month("state"),
                    month("round"),
                    month("read"),
                    month("members"),
                    month("present"),
                    month("yes"),
                    month("base"),
                    month("open_feedback"),
                ))
            }
            Show::Seals => {
                let seals = self.seals().await?;
                if seals.len() != 2 || seals.iter().any(|seal| seal.verified != "valid") {
                    return self.fault(format!("the seals are not valid: {seals:?}"));
                }
                let shown =
                    seals.iter().map(|s| format!("        {}: {} ({})", s.doc, s.content, s.verified));
                Some(shown.collect::<Vec<_>>().join("\n"))
            }
            Show::Late => {
                let seals = self.seals().await?;
                let late: Vec<_> = seals.iter().flat_map(|seal| &seal.late).collect();
                if !late.iter().any(|l| l.member == self.script.late) {
                    return self.fault("what came too late is not listed".into());
                }
                let shown = late.iter().map(|l| {
                    let (before, after) = difference(&l.before, &l.after);
                    format!("        muộn · late ({}): {before:?} → {after:?}", l.member)
                });
                Some(shown.collect::<Vec<_>>().join("\n"))
            }
        }
    }

    async fn numbers(&mut self) -> Option<Numbers> {
        let recorder = self.cast.phone_of("m04").unwrap_or(1);
        match self.ask(recorder, Command::Look(Look::Numbers)).await {
            Some(Reply::Seen(Seen::Numbers(numbers))) => Some(*numbers),
            other => self.fault(format!("the recorder's phone shows no numbers: {other:?}")),
        }
    }

    async fn seals(&mut self) -> Option<Vec<SealSeen>> {
        match self.ask(0, Command::Look(Look::Seals)).await {
            Some(Reply::Seen(Seen::Seals(seals))) => Some(seals),
            other => self.fault(format!("the secretary's phone shows no seals: {other:?}")),
        }
    }
}

/// What differs, in whole words: where two texts begin and end alike is left out.
fn difference<'a>(before: &'a str, after: &'a str) -> (&'a str, &'a str) {
    let words = |text: &'a str| text.split_inclusive(' ').collect::<Vec<_>>();
    let (b, a) = (words(before), words(after));
    let first = b.iter().zip(&a).take_while(|(x, y)| x == y).count();
    let left = b.len().min(a.len()) - first;
    let last = b.iter().rev().zip(a.iter().rev()).take(left).take_while(|(x, y)| x == y).count();
    let part = |text: &'a str, words: &[&str]| {
        let bytes = |some: &[&str]| some.iter().map(|word| word.len()).sum::<usize>();
        text[bytes(&words[..first])..text.len() - bytes(&words[words.len() - last..])].trim()
    };
    (part(before, &b), part(after, &a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_whole_words() {
        let before = "Hoàn thành trước ngày 20/12, khởi công trong tháng.";
        let after = "Hoàn thành trước ngày 20/12, khởi công trong tháng 02 năm 2027.";
        assert_eq!(difference(before, after), ("tháng.", "tháng 02 năm 2027."));
        assert_eq!(difference("a b c", "a c"), ("b", ""));
        assert_eq!(difference("", "mới"), ("", "mới"));
        assert_eq!(difference("như cũ", "như cũ"), ("", ""));
    }
}
