//! The evening until the Wi-Fi is back: roll-call, agenda, what is said, the cut, edits of the floor on phones apart.

use dinh_model::attendance::{Mark, Way};
use dinh_model::feedback::Kind;
use serde_json::Value;

use super::{CUT_MINUTES, LinkEvent, Show, What, Writer, each, text, to_committee};
use crate::act::{Act, Doc, Field, NewThread, Speech};
use crate::link::Conditions;

/// What a member proposes in the hall and the secretary takes in.
const REPORT: (&str, &str, &str) =
    ("r4b2", "và báo cáo Đảng ủy xã", "và báo cáo Đảng ủy xã trước ngày 05/12");
/// What is changed on the floor when the resolution was tabled.
const COLD: (&str, &str, &str) =
    ("r2b2", "không để gia súc chết do rét", "không để gia súc chết vì đói, rét");

impl Writer<'_> {
    pub(super) fn opening(&mut self) {
        let (chair, recorder) = (self.chair(), self.recorder());
        self.say(
            "19:15",
            "Bà con đến nhà văn hóa, máy nào cũng có dự thảo lần 2.",
            "People arrive; every phone has round 2 of the draft.",
        );
        self.converge("19:16", false);
        for phone in self.members() {
            let member = self.member_of(phone);
            if self.mark_of(&member).0 == Mark::Present {
                let way = if phone % 3 == 2 { Way::Tap } else { Way::Qr };
                self.act(&format!("19:{}", 18 + phone % 11), phone, Act::CheckIn { member, way });
            }
        }
        self.say(
            "19:30",
            "Bí thư tuyên bố khai mạc, thư ký điểm danh.",
            "The secretary opens the meeting; the recorder calls the roll, also of those without phones.",
        );
        self.step("19:30", chair, Doc::Minutes, "open", &[("recorder", "m04")], false);
        let field = |key: &str| vec![key.to_owned()];
        let venue = Field::Text(text(&self.fixtures.minutes["venue"]).to_owned());
        self.act("19:31", recorder, Act::Set { doc: Doc::Minutes, field: field("venue"), value: venue });
        let started = Field::Time(self.moment("19:30").wall);
        self.act(
            "19:31",
            recorder,
            Act::Set { doc: Doc::Minutes, field: field("started_at"), value: started },
        );
        let (block, find, with) = REPORT;
        let proposer = self.phone("m07").unwrap_or(chair);
        self.suggest("19:31", proposer, "sg-report", block, find, with);
        for member in self.fixtures.people(&self.cast).into_keys() {
            let (mark, reason) = self.mark_of(&member);
            self.act("19:32", recorder, Act::Mark { member, mark, reason });
        }
        self.block("19:33", "s1b1");
        self.block("19:35", "s1b2");
        self.converge("19:37", false);
        self.show("19:37", Show::Roll);
        let (block, _, with) = REPORT;
        self.accept("19:38", "sg-report", block, with);
        // What members may not.
        let forged = Act::Mark { member: "m15".into(), mark: Mark::Present, reason: None };
        self.attempt("19:38", proposer, forged);
        let into = Act::Clause {
            doc: Doc::Minutes,
            block: self.id("s1b1"),
            text: " [Không phải lời thư ký.]".into(),
        };
        self.attempt("19:39", proposer, into);
        self.say(
            "19:38",
            "Trời mưa, sóng yếu ở cuối hội trường.",
            "Rain: the signal is weak at the back of the hall.",
        );
        let back: Vec<usize> = self.hall().into_iter().filter(|phone| phone % 4 == 2).collect();
        let slow = LinkEvent::Slow(Conditions { latency_ms: 60, jitter_ms: 40, bytes_per_s: 60_000 });
        self.links("19:38", back, slow);
        self.block("19:40", "s2b1");
        if self.options.kill_relay {
            self.say("19:43", "Máy chủ tiếp sóng mất điện.", "The relay loses power (kill -9).");
            self.at("19:43", What::KillRelay);
            self.say("19:46", "Máy chủ có điện lại.", "The relay starts again on what its disk holds.");
            self.at("19:46", What::RestartRelay);
        }
        for phone in self.members() {
            let moment = self.between("19:41", "19:47");
            self.extra(moment, phone, true);
        }
    }

    /// How the recorder marks somebody, and why it is absent.
    fn mark_of(&self, member: &str) -> (Mark, Option<String>) {
        let entry = &self.fixtures.attendance["entries"][member];
        let mark = serde_json::from_value(entry["mark"].clone()).unwrap_or(Mark::Present);
        (mark, entry["reason"].as_str().map(str::to_owned))
    }

    pub(super) fn offline(&mut self) {
        let numb: Vec<usize> = self.hall().into_iter().filter(|phone| phone % 5 == 1).collect();
        self.say(
            "19:48",
            "Vài máy vẫn hiện sóng nhưng không gửi được gì.",
            "Some phones still show bars, but their bytes vanish (half-open).",
        );
        self.links("19:48", numb, LinkEvent::HalfOpen);
        self.say(
            "19:50",
            "Wi-Fi nhà văn hóa mất. Mọi người vẫn viết tiếp.",
            "The hall's Wi-Fi is gone. Everybody goes on writing.",
        );
        self.links("19:50", self.hall(), LinkEvent::Cut);
        for (time, block) in [
            ("19:52", "s3b1"),
            ("19:57", "s3b2"),
            ("20:00", "s3b3"),
            ("20:03", "s4b1"),
            ("20:08", "s4b2"),
            ("20:12", "s4b3"),
            ("20:16", "s4b4"),
            ("20:21", "s4b5"),
            ("20:25", "s4b6"),
            ("20:29", "s4b7"),
            ("20:34", "s4b8"),
        ] {
            self.block(time, block);
        }
        self.edits_of_the_floor();
        self.question_in_confidence();
        let more = (3 * self.options.cut_minutes).div_ceil(CUT_MINUTES).clamp(2, 12);
        for phone in self.members() {
            for _ in 0..u64::from(more) - 1 + self.extras.below(3) {
                let moment = self.between("19:51", "20:38");
                self.extra(moment, phone, true);
            }
        }
        if self.options.kill_phones {
            self.kills();
        }
    }

    /// What A, B, C and D do in the fixture, the pool's replacements, one phrase that two phones replace at once, a block that is
    /// left out while somebody writes in it.
    fn edits_of_the_floor(&mut self) {
        let replicas = [("A", "m01"), ("B", "m04"), ("C", "m07"), ("D", "m14")];
        for edit in each(&self.fixtures.offline_edits.clone()) {
            let Some((_, member)) = replicas.iter().find(|(id, _)| edit["on"] == *id) else { continue };
            let Some(phone) = self.phone(member) else { continue };
            let time = edit["t"].as_str().and_then(|t| t.get(11..16)).unwrap_or("20:10").to_owned();
            if edit["do"] == "set_assignment_due" {
                let task = self.id(text(&edit["assignment"]));
                self.act(&time, phone, Act::SetDue { task, due: text(&edit["due"]).into() });
            } else {
                let (block, find, with) = (text(&edit["block"]), text(&edit["find"]), text(&edit["with"]));
                self.replace(&time, phone, Doc::Resolution, block, find, with);
            }
        }
        let pool = self.fixtures.pool.clone();
        let count = self.cast.members;
        for (index, edit) in each(&pool["replacements"]).enumerate() {
            let time = format!("20:{}", 14 + 3 * index);
            let (block, find, with) = (text(&edit["block"]), text(&edit["find"]), text(&edit["with"]));
            self.replace(&time, (index + 4) % count, Doc::Resolution, block, find, with);
        }
        let contested = &pool["contested"];
        for (index, with) in each(&contested["with"]).enumerate() {
            let (block, find) = (text(&contested["block"]), text(&contested["find"]));
            self.replace("20:20", count - 1 - index, Doc::Resolution, block, find, text(with));
        }
        let hide = Act::Hide { doc: Doc::Resolution, block: self.id("r1b2"), hidden: true };
        self.act("20:18", self.chair(), hide);
    }

    /// A member asks the committee what the others need not know of.
    fn question_in_confidence(&mut self) {
        let asker = self.asker();
        let given = self.fixtures.feedback[2].clone();
        let new = self.make("secret-thread", "20:10");
        let thread = NewThread {
            new,
            doc: to_committee(&asker),
            kind: Kind::ConfidentialReport,
            title: text(&given["title"]).to_owned(),
            text: text(&given["messages"][0]["text"]).to_owned(),
            on_behalf_of: None,
        };
        if let Some(phone) = self.phone(&asker) {
            self.say(
                "20:10",
                "Một đảng viên viết riêng cho chi ủy, máy không có mạng.",
                "A member asks the committee in confidence. No other phone, nor the relay, may ever know of what.",
            );
            self.act("20:10", phone, Act::Thread(thread));
        }
    }

    fn kills(&mut self) {
        self.say(
            "20:11",
            "Điện thoại cũ hay tắt: vài máy sập giữa chừng.",
            "Old phones die in the middle of a word (kill -9).",
        );
        let count = self.cast.members;
        let mut victims = vec![self.recorder()];
        while victims.len() < (count / 3).max(1) {
            let phone = usize::try_from(self.extras.below(count as u64)).unwrap_or(0);
            if !victims.contains(&phone) {
                victims.push(phone);
            }
        }
        for (index, phone) in victims.into_iter().enumerate() {
            let at = self.between("20:12", "20:25").ms;
            self.push(at, What::KillPhone(phone));
            // However short the cut is, it is up again before it may be killed once more.
            let restart = (at + self.options.minute_ms * 3).min(self.moment("20:39").ms).max(at);
            self.push(restart, What::RestartPhone(phone));
            if index == 0 {
                self.at("20:41", What::KillPhone(phone));
                self.at("20:43", What::RestartPhone(phone));
            }
        }
    }

    pub(super) fn back(&mut self) {
        let (chair, recorder, late) = (self.chair(), self.recorder(), self.late());
        self.say(
            "20:40",
            "Có Wi-Fi trở lại; máy đồng chí Đoàn hết pin, chưa về.",
            "The Wi-Fi is back; one phone's battery is flat, it stays away.",
        );
        for phone in self.hall().into_iter().filter(|phone| *phone != late) {
            // One returns exactly when the others begin to wait for it, so that the time they wait is the time to heal.
            let delay = self.extras.below(2 * self.options.minute_ms);
            let delay = if phone == recorder { 2 * self.options.minute_ms } else { delay };
            let at = self.moment("20:40").ms + delay;
            self.push(at, What::Link { phones: vec![phone], event: LinkEvent::Heal });
        }
        if self.options.kill_relay {
            let at = self.moment("20:40").ms + self.options.minute_ms / 2;
            self.push(at, What::KillRelay);
            self.at("20:43", What::RestartRelay);
        }
        let kills = self.options.kill_relay || self.options.kill_phones;
        self.converge(if kills { "20:43" } else { "20:42" }, true);
        let task = self.id("t1");
        self.say(
            "20:44",
            "Hai người cùng sửa hạn việc t1: máy Bí thư hiện cả hai, Bí thư chọn một.",
            "Two people changed the same due date: the secretary sees both and settles it.",
        );
        self.show("20:44", Show::Due { task: task.clone(), count: 2 });
        self.act("20:44", chair, Act::SetDue { task, due: "2026-12-10".into() });
        let shown = Act::Hide { doc: Doc::Resolution, block: self.id("r1b2"), hidden: false };
        self.act("20:44", chair, shown);
        self.names.insert("secret".into(), self.id("secret-thread"));
        self.show("20:44", Show::Overlaps);
        self.act("20:44", recorder, Act::Reread);
        let asker = self.asker();
        self.names.insert("asker".into(), asker.clone());
        self.thread_step("20:44", chair, to_committee(&asker), "secret", "acknowledged", &[]);
        let promise = text(&self.fixtures.feedback[2]["messages"][1]["text"]).to_owned();
        self.say_in("20:44", chair, to_committee(&asker), "secret", &promise);
        for (member, block) in [("m05", "s4b1"), ("m07", "s4b2"), ("m09", "s4b5"), ("m11", "s4b6")] {
            if let Some(phone) = self.phone(member) {
                self.act("20:44", phone, Act::ConfirmWords { block: self.id(block) });
            }
        }
        self.debate();
        self.block("20:46", "s1b3");
        self.block("20:49", "s5b1");
    }

    /// The resolution is tabled as it stands now, and changed once more on the floor.
    fn debate(&mut self) {
        let chair = self.chair();
        let (block, find, with) = COLD;
        let proposer = self.phone("m07").unwrap_or(chair);
        self.suggest("20:44", proposer, "sg-cold", block, find, with);
        self.converge("20:45", true);
        self.say(
            "20:45",
            "Bí thư đưa dự thảo ra thảo luận, chốt bản đang xem.",
            "The resolution is tabled: the debate is about exact heads; what is changed on the floor names new ones.",
        );
        self.step("20:45", chair, Doc::Resolution, "tabled", &[("meeting", "2026-12")], true);
        self.accept("20:46", "sg-cold", block, with);
        self.step("20:47", chair, Doc::Resolution, "amended_on_floor", &[], true);
        self.converge("20:48", true);
    }

    /// The recorder begins a block of the minutes and types it.
    pub(super) fn block(&mut self, time: &str, block: &str) {
        let given: Value = each(&self.fixtures.minutes["sections"])
            .flat_map(|section| each(&section["blocks"]))
            .find(|known| known["id"] == block)
            .cloned()
            .unwrap_or_default();
        let new = self.make(block, time);
        let interpreted = given["spoken_lang"].as_str().zip(given["interpreter"].as_str());
        let speech = Speech {
            new,
            section: self.id(&block[..2]),
            kind: text(&given["kind"]).to_owned(),
            speaker: given["speaker"].as_str().map(str::to_owned),
            interpreted: interpreted.map(|(language, through)| (language.to_owned(), through.to_owned())),
            text: text(&given["text"]).to_owned(),
        };
        self.act(time, self.recorder(), Act::Speech(speech));
    }
}
