//! The script of the meeting: what happens when, as data. Pure and seeded: the same options give the same script.

mod departures;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::action::Action;
use crate::cast::{Cast, Fixtures};
use crate::extras::Extras;
use crate::link::Conditions;
use crate::protocol::Departure;

/// Minutes between the loss of the Wi-Fi and its return in the fixtures: 19:50 to 20:40.
pub const CUT_MINUTES: u32 = 50;

/// What shapes the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number of phones, see [`crate::cast::PHONES_MIN`] and [`crate::cast::PHONES_MAX`].
    pub phones: usize,
    /// Draws the extra edits, the kills and the moments at which phones come back.
    pub seed: u64,
    /// Story minutes without Wi-Fi. A longer cut holds more edits.
    pub cut_minutes: u32,
    /// Real milliseconds in one story minute.
    pub minute_ms: u64,
    /// Kill the relay with signal 9 once while people write and once while they come back.
    pub kill_relay: bool,
    /// Kill some phones with signal 9 while they are offline, and one while it comes back.
    pub kill_phones: bool,
}

/// One moment of the script.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Position in the script; names the edit in the line protocol.
    pub id: u32,
    /// Real milliseconds after the start, not counting waits at [`What::Converge`] and [`What::Admit`].
    pub at_ms: u64,
    /// What happens.
    pub what: What,
}

/// What happens in a [`Step`].
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Somebody edits on their phone.
    Edit {
        /// Whose phone.
        phone: usize,
        /// The edit.
        action: Action,
    },
    /// Something happens to the links of these phones.
    Link {
        /// Whose links.
        phones: Vec<usize>,
        /// What happens to them.
        event: LinkEvent,
    },
    /// The narrator speaks.
    Say {
        /// Vietnamese.
        vi: String,
        /// English gloss.
        en: String,
    },
    /// Everybody except these waits until all copies are equal and nothing is pending.
    Converge {
        /// The phones that are away.
        except: Vec<usize>,
    },
    /// Shows the values that stand at a field on the phone of the secretary.
    ShowValues {
        /// Document name.
        doc: String,
        /// The field.
        path: crate::action::Path,
    },
    /// The secretary removes a phone, or its owner, from the branch.
    Remove {
        /// The phone. It runs on.
        phone: usize,
        /// Why.
        departure: Departure,
    },
    /// The secretary admits a new phone, which gets the next index.
    Admit {
        /// A phone of the person who is to have it.
        owner: usize,
    },
    /// Kill the relay with signal 9.
    KillRelay,
    /// Start the relay again on what its disk holds.
    RestartRelay,
    /// Kill a phone with signal 9.
    KillPhone(usize),
    /// Start a phone again on what its disk holds.
    RestartPhone(usize),
}

/// What can happen to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkEvent {
    /// Connections are closed and new ones refused.
    Cut,
    /// Bytes vanish; nobody is told.
    HalfOpen,
    /// Delay and bandwidth limit.
    Slow(Conditions),
    /// Good again.
    Heal,
}

/// Writes the script for a cast.
#[must_use]
pub fn script(fixtures: &Fixtures, cast: &Cast, options: &Options) -> Vec<Step> {
    let mut writer = Writer {
        fixtures,
        cast: cast.clone(),
        options,
        steps: Vec::new(),
        extras: Extras::new(options.seed),
        gone: BTreeSet::new(),
    };
    writer.opening();
    writer.offline();
    writer.back();
    writer.departures();
    writer.closing();
    let mut steps = writer.steps;
    steps.sort_by_key(|(at_ms, order, _)| (*at_ms, *order));
    (0..).zip(steps).map(|(id, (at_ms, _, what))| Step { id, at_ms, what }).collect()
}

struct Writer<'a> {
    fixtures: &'a Fixtures,
    /// Grows by the phones that are admitted in the course of the story.
    cast: Cast,
    options: &'a Options,
    /// Phones that were removed.
    gone: BTreeSet<usize>,
    /// Time, order of writing (ties keep it), event.
    steps: Vec<(u64, usize, What)>,
    extras: Extras,
}

impl Writer<'_> {
    fn opening(&mut self) {
        let all: Vec<usize> = (0..self.cast.people.len()).collect();
        self.say(
            "19:15",
            "Bà con đến nhà văn hóa, điện thoại nhận dự thảo lần 3.",
            "People arrive; every phone fetches draft round 3.",
        );
        self.at("19:16", What::Converge { except: vec![] });
        for phone in all {
            let member = self.cast.people[phone].member.clone();
            let entry = json!({"id": format!("ci-{member}"), "member": member, "method": "qr"});
            self.append(&format!("19:{}", 18 + phone % 11), phone, "attendance", "check_ins", entry);
        }
        self.say(
            "19:30",
            "Bí thư tuyên bố khai mạc, thư ký điểm danh.",
            "The secretary opens the meeting; the recorder calls the roll.",
        );
        let chair = self.cast.phone_of("m01");
        self.append(
            "19:30",
            chair,
            "minutes",
            "transitions",
            json!({"id": "open", "to": "open", "by": "m01"}),
        );
        let recorder = self.cast.phone_of("m04");
        for (member, entry) in self.fixtures.attendance["entries"].as_object().into_iter().flatten() {
            self.set(
                "19:32",
                recorder,
                "attendance",
                &format!("entries/{member}/mark"),
                entry["mark"].clone(),
            );
        }
        self.block("19:33", "s1b1");
        self.block("19:36", "s1b2");
        self.say(
            "19:38",
            "Trời mưa, sóng yếu ở cuối hội trường.",
            "Rain: the signal is weak at the back of the hall.",
        );
        let back: Vec<usize> = (0..self.cast.people.len()).filter(|phone| phone % 4 == 2).collect();
        let slow = LinkEvent::Slow(Conditions { latency_ms: 60, jitter_ms: 40, bytes_per_s: 60_000 });
        self.at("19:38", What::Link { phones: back, event: slow });
        self.block("19:40", "s2b1");
        if self.options.kill_relay {
            self.say("19:43", "Máy chủ tiếp sóng mất điện.", "The relay loses power (kill -9).");
            self.at("19:43", What::KillRelay);
            self.say("19:46", "Máy chủ có điện lại.", "The relay starts again on what its disk holds.");
            self.at("19:46", What::RestartRelay);
        }
        for phone in 0..self.cast.people.len() {
            let at = self.clock("19:41") + self.extras.below(6 * self.options.minute_ms);
            let action = self.extras.draw(&self.cast, self.fixtures, phone);
            self.push(at, What::Edit { phone, action });
        }
    }

    fn offline(&mut self) {
        let count = self.cast.people.len();
        let numb: Vec<usize> = (0..count).filter(|phone| phone % 5 == 1).collect();
        self.say(
            "19:48",
            "Vài máy vẫn hiện sóng nhưng không gửi được gì.",
            "Some phones still show bars, but their bytes vanish (half-open).",
        );
        self.at("19:48", What::Link { phones: numb, event: LinkEvent::HalfOpen });
        self.say(
            "19:50",
            "Wi-Fi nhà văn hóa mất. Mọi người vẫn viết tiếp.",
            "The hall's Wi-Fi is gone. Everybody goes on writing.",
        );
        self.at("19:50", What::Link { phones: (0..count).collect(), event: LinkEvent::Cut });
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
        let more = (3 * self.options.cut_minutes).div_ceil(CUT_MINUTES).clamp(2, 12);
        for phone in 0..count {
            let n = u64::from(more) - 1 + self.extras.below(3);
            for _ in 0..n {
                let from = self.clock("19:51");
                let at = from + self.extras.below(self.clock("20:38").saturating_sub(from).max(1));
                let action = self.extras.draw(&self.cast, self.fixtures, phone);
                self.push(at, What::Edit { phone, action });
            }
        }
        if self.options.kill_phones {
            self.kills();
        }
    }

    /// What A, B, C and D do in the fixture, the pool's replacements, and one phrase that two phones replace at once.
    fn edits_of_the_floor(&mut self) {
        let replicas = [("A", "m01"), ("B", "m04"), ("C", "m07"), ("D", "m14")];
        for edit in self.fixtures.offline_edits.as_array().into_iter().flatten() {
            let Some((_, member)) = replicas.iter().find(|(id, _)| edit["on"] == *id) else { continue };
            let phone = self.cast.phone_of(member);
            let time = edit["t"].as_str().and_then(|t| t.get(11..16)).unwrap_or("20:10").to_owned();
            if edit["do"] == "set_assignment_due" {
                let path = format!("assignments/#{}/due", text(&edit["assignment"]));
                self.set(&time, phone, "resolution", &path, edit["due"].clone());
            } else {
                self.replace(&time, phone, text(&edit["block"]), text(&edit["find"]), text(&edit["with"]));
            }
        }
        let pool = &self.fixtures.pool;
        let count = self.cast.people.len();
        for (index, edit) in pool["replacements"].as_array().into_iter().flatten().enumerate() {
            let time = format!("20:{}", 14 + 3 * index);
            self.replace(
                &time,
                (index + 3) % count,
                text(&edit["block"]),
                text(&edit["find"]),
                text(&edit["with"]),
            );
        }
        let contested = &pool["contested"];
        for (index, with) in contested["with"].as_array().into_iter().flatten().enumerate() {
            self.replace(
                "20:20",
                count - 1 - index,
                text(&contested["block"]),
                text(&contested["find"]),
                text(with),
            );
        }
    }

    fn kills(&mut self) {
        let count = self.cast.people.len();
        self.say(
            "20:11",
            "Điện thoại cũ hay tắt: vài máy sập giữa chừng.",
            "Old phones die in the middle of a word (kill -9).",
        );
        let mut victims = vec![self.cast.phone_of("m04")];
        while victims.len() < (count / 3).max(1) {
            let phone = usize::try_from(self.extras.below(count as u64)).unwrap_or(0);
            if !victims.contains(&phone) {
                victims.push(phone);
            }
        }
        for (index, phone) in victims.into_iter().enumerate() {
            let at = self.clock("20:12") + self.extras.below(self.clock("20:25") - self.clock("20:12"));
            self.push(at, What::KillPhone(phone));
            // However short the cut is, it is up again before it may be killed once more.
            let restart = (at + self.options.minute_ms * 3).min(self.clock("20:39")).max(at);
            self.push(restart, What::RestartPhone(phone));
            if index == 0 {
                self.at("20:41", What::KillPhone(phone));
                self.at("20:43", What::RestartPhone(phone));
            }
        }
    }

    fn back(&mut self) {
        let late = self.cast.late_phone();
        self.say(
            "20:40",
            "Có Wi-Fi trở lại; máy đồng chí Đoàn hết pin, chưa về.",
            "The Wi-Fi is back; one phone's battery is flat, it stays away.",
        );
        let recorder = self.cast.phone_of("m04");
        for phone in (0..self.cast.people.len()).filter(|phone| *phone != late) {
            // One returns exactly when the others begin to wait for it, so that the time they wait is the time to heal.
            let last = if recorder == late { 0 } else { recorder };
            let delay = self.extras.below(2 * self.options.minute_ms);
            let delay = if phone == last { 2 * self.options.minute_ms } else { delay };
            let at = self.clock("20:40") + delay;
            self.push(at, What::Link { phones: vec![phone], event: LinkEvent::Heal });
        }
        if self.options.kill_relay {
            let at = self.clock("20:40") + self.options.minute_ms / 2;
            self.push(at, What::KillRelay);
            self.at("20:43", What::RestartRelay);
        }
        let kills = self.options.kill_relay || self.options.kill_phones;
        self.at(if kills { "20:43" } else { "20:42" }, What::Converge { except: vec![late] });
        let due: crate::action::Path = "assignments/#t1/due".parse().expect("a path");
        self.say(
            "20:45",
            "Hai người cùng sửa hạn việc t1: máy Bí thư hiện cả hai.",
            "Two people changed the same due date: the secretary sees both.",
        );
        self.at("20:45", What::ShowValues { doc: "resolution".into(), path: due });
        let chair = self.cast.phone_of("m01");
        self.set("20:46", chair, "resolution", "assignments/#t1/due", json!("2026-12-10"));
        for suggestion in ["sg1", "sg2"] {
            self.set(
                "20:47",
                chair,
                "resolution",
                &format!("suggestions/#{suggestion}/outcome"),
                json!("accepted"),
            );
        }
        self.block("20:46", "s1b3");
        self.block("20:49", "s5b1");
    }

    fn closing(&mut self) {
        let (chair, recorder) = (self.cast.phone_of("m01"), self.cast.phone_of("m04"));
        self.say(
            "20:58",
            "Biểu quyết thông qua Nghị quyết: 13/15 tán thành.",
            "Vote on the resolution: 13 of 15 for.",
        );
        let votes = self.fixtures.minutes["votes"].clone();
        for (vote, time) in votes.as_array().into_iter().flatten().zip(["20:58", "21:05", "21:12"]) {
            let mut entry = vote.clone();
            entry["confirmed_by"] = Value::Null;
            self.append(time, recorder, "minutes", "votes", entry);
        }
        let adopted = json!({"id": "adopted", "to": "adopted", "by": "m01", "evidence": "v1"});
        self.append("20:59", chair, "resolution", "transitions", adopted);
        self.block("20:59", "s6b1");
        self.block("21:04", "s6b2");
        let late = self.cast.late_phone();
        let opinion = &self
            .fixtures
            .feedback
            .as_array()
            .and_then(|all| all.last())
            .map_or(Value::Null, |t| t["messages"][0].clone());
        self.append("21:06", late, "feedback-005", "messages", opinion.clone());
        self.block("21:07", "s7b1");
        for task in self.fixtures.minutes["assignments"].as_array().into_iter().flatten().cloned() {
            self.append("21:09", recorder, "minutes", "assignments", task);
        }
        self.say("21:10", "Thư ký đọc lại biên bản, chi bộ góp ý.", "The recorder reads the minutes back.");
        for phone in
            (0..self.cast.people.len()).filter(|phone| !self.gone.contains(phone)).collect::<Vec<_>>()
        {
            let action = self.extras.remark(&self.cast, self.fixtures, phone);
            let at = self.clock("21:11") + self.extras.below(2 * self.options.minute_ms);
            self.push(at, What::Edit { phone, action });
        }
        self.block("21:12", "s7b2");
        self.append(
            "21:13",
            recorder,
            "minutes",
            "transitions",
            json!({"id": "read_back", "to": "read_back", "by": "m04"}),
        );
        self.at("21:14", What::Converge { except: vec![late] });
        // With few phones the recorder's is the late one, and the chair can confirm only what has arrived.
        let confirmed = if late == recorder { "21:22" } else { "21:14" };
        for vote in ["v1", "v2", "v3"] {
            self.set(confirmed, chair, "minutes", &format!("votes/#{vote}/confirmed_by"), json!("m01"));
        }
        self.append(
            "21:14",
            chair,
            "minutes",
            "transitions",
            json!({"id": "adopted", "to": "adopted", "by": "m01", "evidence": "v3"}),
        );
        self.set("21:15", recorder, "minutes", "ended_at", self.fixtures.minutes["ended_at"].clone());
        self.say(
            "21:20",
            "Máy đồng chí Đoàn sạc xong, về sau cùng.",
            "The last phone comes back, with edits older than the vote.",
        );
        self.at("21:20", What::Link { phones: vec![late], event: LinkEvent::Heal });
        self.at("21:21", What::Converge { except: vec![] });
        self.at("21:23", What::Converge { except: vec![] });
    }

    /// The recorder begins a block of the minutes and types it.
    fn block(&mut self, time: &str, block: &str) {
        let section = &block[..2];
        let recorder = self.cast.phone_of("m04");
        let found = self.fixtures.minutes["sections"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|section| section["blocks"].as_array().into_iter().flatten())
            .find(|known| known["id"] == block);
        let Some(mut entry) = found.and_then(Value::as_object).cloned() else { return };
        let typed = text(&entry["text"]).to_owned();
        entry.insert("text".into(), json!(""));
        let list = format!("sections/#{section}/blocks");
        self.append(time, recorder, "minutes", &list, Value::Object(entry));
        let path = format!("{list}/#{block}/text").parse().expect("block ids have no slash");
        self.edit(time, recorder, Action::Type { doc: "minutes".into(), path, text: typed });
    }

    fn append(&mut self, time: &str, phone: usize, doc: &str, list: &str, entry: Value) {
        let entry: Map<String, Value> = entry.as_object().cloned().unwrap_or_default();
        let list = list.parse().expect("paths of the script are well formed");
        self.edit(time, phone, Action::Append { doc: doc.into(), list, entry });
    }

    fn set(&mut self, time: &str, phone: usize, doc: &str, path: &str, value: Value) {
        let path = path.parse().expect("paths of the script are well formed");
        self.edit(time, phone, Action::Set { doc: doc.into(), path, value });
    }

    fn replace(&mut self, time: &str, phone: usize, block: &str, find: &str, with: &str) {
        let path = resolution_block(block);
        let action = Action::Replace { doc: "resolution".into(), path, find: find.into(), with: with.into() };
        self.edit(time, phone, action);
    }

    fn edit(&mut self, time: &str, phone: usize, action: Action) {
        self.at(time, What::Edit { phone, action });
    }

    fn say(&mut self, time: &str, vi: &str, en: &str) {
        self.at(time, What::Say { vi: format!("{time} — {vi}"), en: en.into() });
    }

    fn at(&mut self, time: &str, what: What) {
        self.push(self.clock(time), what);
    }

    fn push(&mut self, at_ms: u64, what: What) {
        self.steps.push((at_ms, self.steps.len(), what));
    }

    fn clock(&self, time: &str) -> u64 {
        clock_ms(time, self.options)
    }
}

/// The text of a block of the resolution, whose ids begin with their section's.
pub(crate) fn resolution_block(block: &str) -> crate::action::Path {
    format!("sections/#{}/blocks/#{block}/text", &block[..2]).parse().expect("block ids have no slash")
}

/// A string of a fixture; empty when it is something else.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Real milliseconds from 19:15 to a story time `HH:MM`. The minutes from 19:50 to 20:40 stretch to the cut that was
/// asked for.
fn clock_ms(time: &str, options: &Options) -> u64 {
    let (hours, minutes) = time.split_once(':').unwrap_or(("19", "15"));
    let number = |text: &str| text.parse::<u64>().unwrap_or(0);
    let minute = (number(hours) * 60 + number(minutes)).saturating_sub(19 * 60 + 15) * options.minute_ms;
    let (from, until) = (35 * options.minute_ms, 85 * options.minute_ms);
    let cut = u64::from(options.cut_minutes) * options.minute_ms;
    if minute <= from {
        minute
    } else if minute <= until {
        from + (minute - from) * cut / (until - from).max(1)
    } else {
        minute - until + from + cut
    }
}
