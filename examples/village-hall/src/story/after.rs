//! After the evening: the number, the seals, the tasks; and the phone that comes back three days late.

use dinh_model::feedback::Kind;

use super::{LATE, LinkEvent, Show, Writer, each, text, to_upper};
use crate::act::{Act, Doc, Field, NewThread, Room};

impl Writer<'_> {
    pub(super) fn after(&mut self) {
        self.leave();
        self.sealing();
        self.tasks();
        self.three_days_late();
    }

    fn sealing(&mut self) {
        let chair = self.chair();
        self.say(
            "+2 08:00",
            "Bí thư lấy số, ký, niêm phong Nghị quyết và biên bản, ghi vào sổ của chi bộ.",
            "Number and date; the resolution and the minutes are sealed, one after the other, and entered into the branch's book.",
        );
        let date = Field::Text("2026-12-05".into());
        let field = vec!["header".to_owned(), "doc_date".to_owned()];
        self.act("+2 08:01", chair, Act::Set { doc: Doc::Resolution, field, value: date });
        let new = self.make("issued", "+2 08:02");
        let line = "resolution 2025-2027".to_owned();
        let recipients =
            each(&self.fixtures.resolution["recipients"]).map(|to| text(to).to_owned()).collect();
        self.act(
            "+2 08:02",
            chair,
            Act::Issue { new, line, date: "2026-12-05".into(), signer: "m01".into(), recipients },
        );
        self.act("+2 08:03", chair, Act::Seal { doc: Doc::Resolution });
        self.step("+2 08:05", chair, Doc::Resolution, "in_force", &[], false);
        self.act("+2 08:10", chair, Act::Seal { doc: Doc::Minutes });
        for (phone, role) in [(self.recorder(), "recorder"), (chair, "chair")] {
            let new = self.make("", "+2 08:12");
            self.act("+2 08:12", phone, Act::Sign { new, role: role.into() });
        }
        self.converge("+2 08:15", true);
        let (block, words) = (self.id("r2b1"), " [Sửa sau khi niêm phong.]".to_owned());
        self.attempt("+2 08:20", chair, Act::Clause { doc: Doc::Resolution, block, text: words });
        let (block, words) = (self.id("s4b8"), " [Sửa sau khi niêm phong.]".to_owned());
        self.attempt("+2 08:20", self.recorder(), Act::Clause { doc: Doc::Minutes, block, text: words });
    }

    fn tasks(&mut self) {
        let chair = self.chair();
        let mut owners_of = Vec::new();
        for mut task in self.tasks_of(&self.fixtures.resolution.clone(), "task-", "+2 09:00") {
            if task.new.id() == self.id("task-t1") {
                task.due = "2026-12-10".into();
            }
            owners_of.push((task.task.clone(), task.new.id(), task.owners.clone()));
            self.act("+2 09:00", chair, Act::GiveTask { task });
        }
        self.act("+2 09:10", chair, Act::UpdateDigest);
        self.converge("+2 12:00", true);
        self.show("+2 12:00", Show::Seals);
        self.show("+2 12:00", Show::Digest);
        for (task, id, owners) in owners_of {
            let phones: Vec<usize> = owners.iter().filter_map(|id| self.phone(id)).collect();
            for phone in phones {
                let new = self.make("", "+2 18:00");
                let words = format!("Đ/c {} đã bắt đầu: {task}.", self.cast.short_name(phone));
                self.act(
                    "+2 18:00",
                    phone,
                    Act::Progress { new, task: id.clone(), percent: 10, text: words },
                );
            }
        }
    }

    fn three_days_late(&mut self) {
        let (chair, late) = (self.chair(), self.late());
        self.say(
            "+3 18:00",
            "Máy đồng chí Đoàn sạc xong, ba ngày sau mới về.",
            "The last phone comes back three days late, with edits older than the vote: the sealed text stays as it is.",
        );
        self.links("+3 18:00", vec![late], LinkEvent::Heal);
        self.converge("+3 18:10", false);
        self.show("+3 18:10", Show::Late);
        let words = "khởi công trong tháng 02 năm 2027".to_owned();
        self.act("+3 18:20", chair, Act::LateToFeedback { author: LATE.into(), words });
        let given = self.fixtures.feedback[4].clone();
        let boxes = [Doc::Mailbox(Room::ToCommittee(LATE.into())), to_upper(LATE)];
        for (name, doc) in ["kept-1", "kept-2"].into_iter().zip(boxes) {
            let new = self.make(name, "+3 18:30");
            let thread = NewThread {
                new,
                doc,
                kind: Kind::ReservedOpinion,
                title: text(&given["title"]).to_owned(),
                text: text(&given["messages"][0]["text"]).to_owned(),
                on_behalf_of: None,
            };
            self.act("+3 18:30", late, Act::Thread(thread));
        }
        self.converge("+3 19:00", false);
        self.thread_step("+3 19:10", self.cast.reviewer(), to_upper(LATE), "kept-2", "acknowledged", &[]);
        self.thread_step(
            "+3 19:10",
            chair,
            Doc::Mailbox(Room::ToCommittee(LATE.into())),
            "kept-1",
            "acknowledged",
            &[],
        );
        self.act("+3 19:20", chair, Act::UpdateDigest);
        self.converge("+3 20:00", false);
    }
}
