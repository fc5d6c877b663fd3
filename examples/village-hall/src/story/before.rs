//! Before the evening: the roster, the committee's draft, two rounds, what members and the reviewer say of them, the invitation.

use std::collections::BTreeMap;

use dinh_model::feedback::Kind;
use dinh_model::review::Severity;
use serde_json::Value;

use super::{LinkEvent, Writer, each, text};
use crate::act::{Act, Doc, NewBlock, NewSection, NewTask, NewThread, Paper};

/// What members have in round 2 and the committee mends on it.
const SAFE: (&str, &str, &str) = ("r1b1", "an ninh trật tự giữ vững", "an ninh trật tự được giữ vững");

impl Writer<'_> {
    pub(super) fn before(&mut self) {
        self.draft();
        self.first_round();
        self.second_round();
        self.invitation();
    }

    fn draft(&mut self) {
        let chair = self.chair();
        self.say(
            "-8 19:00",
            "Bí thư nhập danh sách đảng viên từ cơ sở dữ liệu.",
            "The secretary imports the roster of the body that keeps the records.",
        );
        let people = self.fixtures.people(&self.cast);
        self.act("-8 19:01", chair, Act::ImportRoster { authority: "member-database".into(), people });
        self.say(
            "-7 19:00",
            "Chi ủy viết dự thảo Nghị quyết trong không gian riêng của chi ủy.",
            "The committee drafts the resolution in its own space; nobody else sees that there is one.",
        );
        let paper = self.paper(&self.fixtures.resolution.clone(), "-7 19:00", true);
        self.act("-7 19:01", chair, Act::BeginDraft { paper });
        self.converge("-6 07:00", false);
        if let Some(deputy) = self.phone("m02") {
            self.replace(
                "-5 20:00",
                deputy,
                Doc::Draft,
                "r4b2",
                "báo cáo Bí thư chi bộ trong ngày",
                "báo cáo Bí thư chi bộ trong 24 giờ",
            );
        }
        self.converge("-5 22:00", false);
        self.step("-5 23:00", chair, Doc::Draft, "committee_review", &[], false);
    }

    fn first_round(&mut self) {
        let chair = self.chair();
        self.say(
            "-3 07:00",
            "Bí thư gửi dự thảo lần 1 cho đảng viên và Đảng ủy xã.",
            "Round 1 goes to the members and, numbered and frozen, to the reviewer of the commune.",
        );
        self.act("-3 07:01", chair, Act::OpenRound { round: 1 });
        self.converge("-3 12:00", false);
        for phone in self.members() {
            self.act("-3 18:00", phone, Act::HasRead { round: 1 });
        }
        for (index, (name, time)) in
            [("sg1", "-2 06:42"), ("sg2", "-2 07:15"), ("sg3", "-2 07:30")].iter().enumerate()
        {
            let given = self.fixtures.resolution["suggestions"][index].clone();
            let Some(phone) = self.phone(text(&given["by"])) else { continue };
            let target = &given["target"];
            self.suggest(
                time,
                phone,
                name,
                text(&target["block"]),
                text(&target["from_text"]),
                text(&given["proposed"]),
            );
        }
        let (block, find, with) = SAFE;
        let proposer = self.phone("m07").unwrap_or(chair);
        self.suggest("-2 07:40", proposer, "sg-safe", block, find, with);
        self.threads();
        self.converge("-2 09:00", false);
        self.answers();
        self.say(
            "-2 10:00",
            "Đồng chí theo dõi của Đảng ủy xã góp ý vào lần 1.",
            "The reviewer remarks on round 1: who, how many, by when.",
        );
        let reviewer = self.cast.reviewer();
        let remarks = [
            (
                "rc1",
                Severity::MustFix,
                "r3b2",
                "vận động 04 hộ còn lại",
                "Cần ghi rõ người đến từng hộ, thời hạn và việc phối hợp với cán bộ địa chính; viết như hiện nay thì tháng sau không kiểm tra được.",
            ),
            (
                "rc2",
                Severity::Suggestion,
                "r2b4",
                "Từ 90%",
                "Chỉ tiêu nên nêu số đảng viên cụ thể để dễ đối chiếu với số lượt mở tài liệu.",
            ),
        ];
        for (name, severity, block, quote, words) in remarks {
            let new = self.make(name, "-2 10:10");
            let quote = Some((self.id(block), quote.to_owned()));
            let act = Act::Comment { new, round: 1, severity, quote, answers: None, text: words.into() };
            self.act("-2 10:10", reviewer, act);
        }
        self.step("-2 10:20", reviewer, Doc::Review, "returned", &[("round", "1")], false);
        self.converge("-2 11:00", false);
    }

    /// Threads that the whole branch reads.
    fn threads(&mut self) {
        let kinds = [
            (0, Kind::DraftComment, "-2 06:40"),
            (1, Kind::Petition, "-2 08:11"),
            (3, Kind::Question, "-2 08:30"),
        ];
        for (index, kind, time) in kinds {
            let given = self.fixtures.feedback[index].clone();
            let helper = given["submitted_via"].as_str().map(str::to_owned);
            let author = self.or_stand_in(helper.as_deref().unwrap_or(text(&given["author"])));
            let on_behalf_of = helper.map(|_| text(&given["author"]).to_owned());
            let new = self.make(&format!("thread-{}", index + 1), time);
            let (title, words) =
                (text(&given["title"]).to_owned(), text(&given["messages"][0]["text"]).to_owned());
            let thread = NewThread { new, doc: Doc::Feedback, kind, title, text: words, on_behalf_of };
            if let Some(phone) = self.phone(&author) {
                self.act(time, phone, Act::Thread(thread));
            }
        }
    }

    fn answers(&mut self) {
        let chair = self.chair();
        let deputy = self.phone("m02").unwrap_or(chair);
        let feedback = self.fixtures.feedback.clone();
        let words =
            |thread: usize, message: usize| text(&feedback[thread]["messages"][message]["text"]).to_owned();
        self.thread_step("-2 09:05", deputy, Doc::Feedback, "thread-1", "acknowledged", &[]);
        self.say_in("-2 09:06", deputy, Doc::Feedback, "thread-1", &words(0, 1));
        self.thread_step("-2 09:10", chair, Doc::Feedback, "thread-2", "acknowledged", &[]);
        self.say_in("-2 09:11", chair, Doc::Feedback, "thread-2", &words(1, 1));
        self.thread_step("-2 09:12", chair, Doc::Feedback, "thread-2", "forwarded", &[("to", "org-tan-khe")]);
        self.thread_step("-2 09:15", deputy, Doc::Feedback, "thread-4", "acknowledged", &[]);
        self.say_in("-2 09:16", deputy, Doc::Feedback, "thread-4", &words(3, 1));
        self.thread_step("-2 09:16", deputy, Doc::Feedback, "thread-4", "in_progress", &[]);
        self.thread_step("-2 09:17", deputy, Doc::Feedback, "thread-4", "answered", &[]);
    }

    fn second_round(&mut self) {
        let chair = self.chair();
        self.say(
            "-2 20:00",
            "Bí thư nhận một góp ý của đảng viên, rút dự thảo về, sửa theo nhận xét, gửi lần 2.",
            "The secretary takes a member's words in with credit, takes the draft back, mends it, opens round 2.",
        );
        let (block, _, with) = SAFE;
        self.accept("-2 20:01", "sg-safe", block, with);
        let (block, shows) = (self.id(block), with.to_owned());
        self.act("-2 20:02", chair, Act::TakeBack { block, shows });
        self.replace(
            "-2 20:05",
            chair,
            Doc::Draft,
            "r3b2",
            "vận động 04 hộ còn lại thống nhất ranh giới",
            "đồng chí Hạnh và đồng chí Sinh cùng cán bộ địa chính vận động 04 hộ còn lại thống nhất ranh giới",
        );
        self.replace("-2 20:06", chair, Doc::Draft, "r2b4", "Từ 90% đảng viên", "Ít nhất 14 đảng viên");
        let new = self.make("reply", "-2 20:10");
        let answers = Some(self.id("rc1"));
        let words = "Chi ủy tiếp thu, đã ghi rõ người và thời hạn ở lần 2.";
        let act = Act::Comment {
            new,
            round: 1,
            severity: Severity::Reply,
            quote: None,
            answers,
            text: words.into(),
        };
        self.act("-2 20:10", chair, act);
        self.act("-2 20:20", chair, Act::OpenRound { round: 2 });
        self.converge("-2 21:00", false);
        for phone in self.members() {
            self.act("-1 06:00", phone, Act::HasRead { round: 2 });
        }
        let reviewer = self.cast.reviewer();
        self.step("-1 06:30", reviewer, Doc::Review, "cleared", &[("round", "2")], false);
    }

    fn invitation(&mut self) {
        let chair = self.chair();
        self.say(
            "-1 07:00",
            "Bí thư triệu tập sinh hoạt, cử thư ký.",
            "The meeting is convened; the recorder is named; minutes, roll and vote box are made.",
        );
        let paper = self.paper(&self.fixtures.minutes.clone(), "-1 07:00", false);
        let agenda = paper.agenda.iter().map(|(title, _)| title.as_str()).collect::<Vec<_>>().join("; ");
        let venue = text(&self.fixtures.minutes["venue"]).to_owned();
        self.act("-1 07:01", chair, Act::BeginMeeting { paper, recorder: "m04".into() });
        let called = [("time", "19:30"), ("place", venue.as_str()), ("agenda", agenda.as_str())];
        self.step("-1 07:05", chair, Doc::Minutes, "convened", &called, false);
    }

    /// A paper of the fixtures before anybody wrote in it; with its prose if that is a draft.
    fn paper(&mut self, given: &Value, time: &str, with_prose: bool) -> Paper {
        let header = given["header"].as_object().into_iter().flatten();
        let header: BTreeMap<String, String> = header
            .filter(|(key, _)| *key != "draft_mark")
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        let mut sections = Vec::new();
        for section in each(&given["sections"]) {
            let new = self.make(text(&section["id"]), time);
            let mut blocks = Vec::new();
            for block in each(&section["blocks"]).filter(|_| with_prose) {
                let new = self.make(text(&block["id"]), time);
                let (kind, words) = (text(&block["kind"]).to_owned(), text(&block["text"]).to_owned());
                blocks.push(NewBlock { new, kind, text: words });
            }
            sections.push(NewSection { new, heading: text(&section["heading"]).to_owned(), blocks });
        }
        let tasks = if with_prose { self.tasks_of(given, "", time) } else { Vec::new() };
        let of = |value: &Value, key: &str| text(&value[key]).to_owned();
        let watchers = self.fixtures.roster["upper_watchers"].clone();
        let guests = each(&given["guests"]).filter_map(|id| {
            let known = each(&watchers).find(|known| known["id"] == *id)?;
            Some([of(known, "name"), of(known, "position"), "Đảng ủy xã Tân Khê".to_owned()])
        });
        Paper {
            period: text(&given["period"]).to_owned(),
            header,
            bases: each(&given["legal_bases"]).map(|v| of(v, "text")).collect(),
            clause: text(&given["enacting_clause"]).to_owned(),
            sections,
            tasks,
            agenda: each(&given["agenda"]).map(|v| (of(v, "title"), of(v, "presenter"))).collect(),
            guests: guests.collect(),
        }
    }

    /// The tasks of a paper of the fixtures; the story calls them by their ids there, behind `prefix`.
    pub(super) fn tasks_of(&mut self, given: &Value, prefix: &str, time: &str) -> Vec<NewTask> {
        let mut tasks = Vec::new();
        for task in each(&given["assignments"]) {
            let new = self.make(&format!("{prefix}{}", text(&task["id"])), time);
            let of = |key: &str| text(&task[key]).to_owned();
            let owners = each(&task["owners"]).map(|id| text(id).to_owned()).collect();
            tasks.push(NewTask { new, task: of("task"), owners, quantity: of("quantity"), due: of("due") });
        }
        tasks
    }

    /// All links of members, for what happens to the hall.
    pub(super) fn hall(&self) -> Vec<usize> {
        (0..self.cast.members).collect()
    }

    pub(super) fn links(&mut self, time: &str, phones: Vec<usize>, event: LinkEvent) {
        self.at(time, super::What::Link { phones, event });
    }
}
