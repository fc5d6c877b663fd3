//! The end of the evening: votes by hand and on phones, the reading back, the adoption.

use dinh_model::feedback::Kind;
use dinh_model::vote::{Ballots, Method, Tally};
use dinh_model::votebox::Choice;

use super::{Show, Writer, text};
use crate::act::{Act, Doc, Field, NewThread};

impl Writer<'_> {
    pub(super) fn closing(&mut self) {
        self.hands();
        self.phones_vote();
        self.reading_back();
    }

    /// The motion about the resolution, by hands, and the secret ballot.
    fn hands(&mut self) {
        let (chair, recorder, base) = (self.chair(), self.recorder(), self.base());
        let votes = self.fixtures.minutes["votes"].clone();
        let new = self.make("v1", "20:56");
        let title = text(&votes[0]["motion"]).to_owned();
        self.act("20:56", recorder, Act::Motion { new, title, on_resolution: true });
        self.say(
            "20:58",
            &format!("Biểu quyết thông qua Nghị quyết bằng giơ tay: {}/{base} tán thành.", base - 2),
            "Hands are counted; the recorder writes it down with the base, the secretary confirms it: two people answer for it.",
        );
        let tally = Tally { yes: base - 2, no: 1, abstain: 0 };
        self.count("20:58", "c1", "v1", Method::ShowOfHands, tally, None);
        self.converge("20:58", true);
        self.act("20:59", chair, Act::ConfirmCount { vote: self.id("c1") });
        let new = self.make("decision", "20:59");
        self.act("20:59", chair, Act::Decide { new, motion: self.id("v1") });
        self.block("20:59", "s6b1");
        let new = self.make("v2", "21:00");
        let title = text(&votes[1]["motion"]).to_owned();
        self.act("21:00", recorder, Act::Motion { new, title, on_resolution: false });
        let here = base - 1;
        let ballots = Ballots { issued: here, returned: here, valid: here };
        let tally = Tally { yes: here, no: 0, abstain: 0 };
        self.count("21:01", "c2", "v2", Method::SecretBallot, tally, Some(ballots));
        self.block("21:01", "s6b2");
    }

    /// Members' phones in the hall.
    fn here(&self) -> Vec<usize> {
        self.members().into_iter().filter(|phone| *phone != self.late()).collect()
    }

    fn count(
        &mut self,
        time: &str,
        name: &str,
        motion: &str,
        method: Method,
        tally: Tally,
        ballots: Option<Ballots>,
    ) {
        let new = self.make(name, time);
        let act = Act::Count { new, motion: self.id(motion), method, tally, ballots };
        self.act(time, self.recorder(), act);
    }

    fn phones_vote(&mut self) {
        let recorder = self.recorder();
        self.say(
            "21:02",
            "Sau giơ tay, biểu quyết trên điện thoại để đối chiếu.",
            "Then a vote on the phones, which never decides against the hands.",
        );
        let new = self.make("question", "21:02");
        let title = text(&self.fixtures.minutes["votes"][0]["motion"]).to_owned();
        self.act("21:02", recorder, Act::Ask { new, title });
        self.converge("21:02", true);
        let question = self.id("question");
        for phone in self.here() {
            let person = self.cast.people[phone].clone();
            let cast = |choice| Act::Cast { question: question.clone(), choice };
            match person.role.as_str() {
                // On probation one takes part in everything but votes.
                "probationary" => self.attempt("21:03", phone, cast(Choice::Yes)),
                // Excused, not in the hall.
                _ if person.member == "m15" => {}
                _ => self.act("21:03", phone, cast(Choice::Yes)),
            }
        }
        self.converge("21:04", true);
        self.act("21:05", recorder, Act::Close { question });
    }

    fn reading_back(&mut self) {
        let (chair, recorder, base) = (self.chair(), self.recorder(), self.base());
        self.block("21:07", "s7b1");
        for task in self.tasks_of(&self.fixtures.minutes.clone(), "minutes-", "21:09") {
            self.act("21:09", recorder, Act::Assign { task });
        }
        self.say(
            "21:10",
            "Thư ký đọc lại biên bản, chi bộ góp ý.",
            "The recorder reads the minutes back; the numbers of the roll are frozen into them.",
        );
        let new = self.make("thread-minutes", "21:10");
        let thread = NewThread {
            new,
            doc: Doc::Feedback,
            kind: Kind::Question,
            title: "Góp ý khi đọc lại biên bản".into(),
            text: "Các đồng chí nghe và góp ý từng phần.".into(),
            on_behalf_of: None,
        };
        self.act("21:10", recorder, Act::Thread(thread));
        self.converge("21:10", true);
        for phone in self.here() {
            let moment = self.between("21:11", "21:12");
            let act = self.extras.remark(&self.cast, self.fixtures, &self.names, phone, moment.wall);
            self.push_act(moment, phone, act, false);
        }
        self.block("21:12", "s7b2");
        let ended = Field::Time(self.moment("21:15").wall);
        self.act(
            "21:12",
            recorder,
            Act::Set { doc: Doc::Minutes, field: vec!["ended_at".into()], value: ended },
        );
        self.act("21:12", recorder, Act::FreezeRoll);
        self.step("21:12", recorder, Doc::Minutes, "read_back", &[], false);
        let new = self.make("v3", "21:13");
        let title = text(&self.fixtures.minutes["votes"][2]["motion"]).to_owned();
        self.act("21:13", recorder, Act::Motion { new, title, on_resolution: false });
        let tally = Tally { yes: base - 1, no: 0, abstain: 0 };
        self.count("21:13", "c3", "v3", Method::ShowOfHands, tally, None);
        self.converge("21:14", true);
        for count in ["c2", "c3"] {
            self.act("21:14", chair, Act::ConfirmCount { vote: self.id(count) });
        }
        let vote = self.id("c3");
        self.step("21:15", chair, Doc::Minutes, "adopted", &[("vote", &vote)], true);
        self.say("21:15", "Biên bản được thông qua; bế mạc.", "The minutes are adopted; the meeting ends.");
        self.converge("21:16", true);
        self.show("21:16", Show::Votes);
    }
}
