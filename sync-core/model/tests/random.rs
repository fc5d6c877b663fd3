//! Random things that people do on phones that are apart: whatever was refused or came in whatever order, in the end all phones
//! say the same, and nothing breaks. `DINH_FULL=1` runs 10,000 histories.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod village;

use std::collections::BTreeSet;

use dinh_core::document::Value;
use dinh_core::replica::ReplicaError;
use dinh_model::attendance::{self, Mark, Way};
use dinh_model::feedback::{self, Kind, NewThread};
use dinh_model::lifecycle::{self, RESOLVE, Status};
use dinh_model::minutes::{self, Count, NewMinutes};
use dinh_model::outline::{self, Put};
use dinh_model::resolution::{self, NewAssignment};
use dinh_model::seal::{self, NewSeal};
use dinh_model::suggestion::{self, Place};
use dinh_model::task;
use dinh_model::vote::{self, Method, Tally, Threshold};
use dinh_model::votebox::{self, Choice};
use dinh_proto::charter::record::{Role, Writers};
use dinh_proto::ids::DocId;
use village::{SECRETARY, Village, who};

const WORDS: [&str; 8] = ["đường", "xóm", "Khuổi Lặn", "hòa", "trước ngày", "20/12", "nhân dân", "góp ý"];
const MARKS: [Option<Mark>; 4] = [Some(Mark::Present), Some(Mark::Excused), Some(Mark::Unexcused), None];

/// xorshift64*: the histories are the same on every machine.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { Some(&of[self.below(of.len())]) }
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len())]
    }
}

struct World {
    village: Village,
    rng: Rng,
    minutes: DocId,
    resolution: DocId,
    attendance: DocId,
    feedback: DocId,
    votes: DocId,
    tasks: DocId,
    done: usize,
    refused: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let all = [Role::Deputy, Role::Member, Role::Committee, Role::Probationary];
        let mut village = Village::new(&all[..2 + rng.below(3)]);
        let mut make = |schema| village.create(SECRETARY, Writers::All, schema);
        let (minutes, attendance) = (make(&minutes::SCHEMA), make(&attendance::SCHEMA));
        let resolution =
            make(if seed.is_multiple_of(2) { &resolution::SCHEMA } else { &resolution::OPEN_SCHEMA });
        let (feedback, votes, tasks) = (make(&feedback::SCHEMA), make(&votebox::SCHEMA), make(&task::SCHEMA));
        let new = NewMinutes { meeting: "m", period: "2026-12", kind: minutes::Kind::Regular, header: &[] };
        village.act(SECRETARY, &minutes, |e, _| minutes::create(e, &new));
        village.act(SECRETARY, &attendance, |e, _| attendance::create(e, "m"));
        village
            .act(SECRETARY, &resolution, |e, _| resolution::create(e, &resolution::SCHEMA, "2026-12", &[]));
        village.act(SECRETARY, &feedback, |e, _| feedback::create(e, "branch"));
        village.act(SECRETARY, &votes, |e, _| votebox::create(e));
        village.act(SECRETARY, &tasks, |e, _| task::create(e));
        for doc in [&minutes, &attendance] {
            village.phones[SECRETARY].name_recorder(*doc, who(2)).unwrap();
        }
        for doc in [&minutes, &resolution] {
            let section = village.act(SECRETARY, doc, |e, me| outline::add_section(e, me, "I", Put::Last));
            village.act(SECRETARY, doc, |e, me| {
                outline::add_block(e, me, &section, "item", "Bắt đầu.", None, Put::Last)
            });
        }
        village.sync();
        Self { village, rng, minutes, resolution, attendance, feedback, votes, tasks, done: 0, refused: 0 }
    }

    fn note(&mut self, result: Result<(), ReplicaError>) {
        match result {
            Ok(()) => self.done += 1,
            // What is not theirs, and what is not there any more.
            Err(ReplicaError::Denied(_) | ReplicaError::Edit(_) | ReplicaError::NotAuthorised(_)) => {
                self.refused += 1
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn act(&mut self) {
        let i = self.rng.below(self.village.phones.len());
        let result = match self.rng.below(12) {
            0..3 => self.write(i),
            3 => self.attend(i),
            4..6 => self.step(i),
            6 => self.suggest(i),
            7 => self.count(i),
            8 => self.talk(i),
            9 => self.vote(i),
            10 => self.work(i),
            _ => self.seal(i),
        };
        self.note(result);
        match self.rng.below(10) {
            0 => self.village.leave(i),
            1 => self.village.come_back(i),
            2 => self.village.sync(),
            _ => {}
        }
    }

    fn prose(&mut self) -> DocId {
        if self.rng.below(2) == 0 { self.minutes } else { self.resolution }
    }

    fn write(&mut self, i: usize) -> Result<(), ReplicaError> {
        let (doc, word, what) = (self.prose(), self.rng.word(), self.rng.below(6));
        let outline = self.village.outline(i, &doc);
        let blocks: Vec<_> = outline.sections.iter().flat_map(|s| &s.blocks).chain(&outline.hidden).collect();
        let section = self.rng.pick(&outline.sections).map(|s| s.id.clone()).unwrap_or_default();
        let block = self.rng.pick(&blocks).map(|b| (b.id.clone(), b.text.clone())).unwrap_or_default();
        let at = self.rng.below(block.1.chars().count() + 1);
        let text: String =
            block.1.chars().take(at).chain(word.chars()).chain(block.1.chars().skip(at + 3)).collect();
        self.village.try_act(i, &doc, |e, me| match what {
            0 => outline::add_section(e, me, word, Put::First).map(|_| ()),
            1 => outline::add_block(e, me, &section, "speech", word, Some(&who(i)), Put::After(&block.0))
                .map(|_| ()),
            2 => outline::move_block(e, &block.0, &section, Put::First),
            3 => outline::hide_block(e, &block.0, at.is_multiple_of(2)),
            _ => e.set_text(&outline::text_of(&block.0), &text),
        })
    }

    fn attend(&mut self, i: usize) -> Result<(), ReplicaError> {
        let (doc, whom, mark) = (self.attendance, self.rng.below(5), MARKS[self.rng.below(4)]);
        if self.rng.below(2) == 0 {
            self.village.try_act(i, &doc, |e, me| attendance::check_in(e, me, &who(i), Way::Tap))
        } else {
            self.village.try_act(i, &doc, |e, _| attendance::mark(e, &who(whom), mark))
        }
    }

    fn step(&mut self, i: usize) -> Result<(), ReplicaError> {
        let doc = self.prose();
        let (minutes, word) = (doc == self.minutes, self.rng.below(14));
        let kinds = if minutes {
            ["convened", "open", "read_back", "adopted", "correction", "postponed", "cancelled", RESOLVE]
        } else {
            [
                "committee_review",
                "consulting",
                "tabled",
                "adopted",
                "issued",
                "withdrawn",
                "rejected",
                RESOLVE,
            ]
        };
        // Mostly what follows.
        let (heads, now, choose) = self.village.life(i, &doc, minutes);
        let kind = if word < 8 { kinds[word] } else { now };
        let data = ["heads", "time", "place", "agenda", "recorder", "meeting", "number", "date"];
        let votes = self.village.minutes(i, &self.minutes.clone()).motions.into_iter().flat_map(|m| m.votes);
        let vote = votes.map(|vote| vote.id).next().unwrap_or_default();
        let yes = if kind == "rejected" { 2 } else { 3 };
        self.village.try_act(i, &doc, |e, me| {
            if kind == "issued" {
                return resolution::issue(e, me, &format!("{i}"), "2026-12-05").map(|_| ());
            }
            let data = data.iter().map(|key| (*key, "x".into()));
            let more = [
                ("vote", vote.as_str().into()),
                ("base", Value::Uint(5)),
                ("yes", Value::Uint(yes)),
                ("threshold", "more_than_half".into()),
                ("counted_by", "x".into()),
                ("choose", choose.as_str().into()),
            ];
            lifecycle::write(e, me, kind, &heads, data.chain(more)).map(|_| ())
        })
    }

    fn suggest(&mut self, i: usize) -> Result<(), ReplicaError> {
        let (doc, word) = (self.resolution, self.rng.word());
        let found = self.village.resolution(i, &doc);
        let open: Vec<_> = found.suggestions.iter().filter(|s| s.outcome.get().is_none()).collect();
        if self.rng.below(2) == 0
            && let Some(s) = self.rng.pick(&open)
        {
            let place = self.village.place(i, &doc, s);
            return self.village.try_act(i, &doc, |e, _| match &place {
                Place::Here(range) => suggestion::accept(e, s, range),
                Place::Changed(_) | Place::Gone => suggestion::decline(e, &s.id),
            });
        }
        let blocks: Vec<_> = found.outline.sections.iter().flat_map(|s| &s.blocks).collect();
        let Some(block) = self.rng.pick(&blocks) else { return Ok(()) };
        let len = block.text.encode_utf16().count();
        let from = self.rng.below(len);
        let to = (from + 1 + self.rng.below(6)).min(len);
        self.village
            .try_act(i, &doc, |e, me| suggestion::suggest(e, me, &block.id, from..to, word).map(|_| ()))
    }

    fn count(&mut self, i: usize) -> Result<(), ReplicaError> {
        let doc = self.minutes;
        let found = self.village.minutes(i, &doc);
        let motion = self.rng.pick(&found.motions).cloned();
        let (what, yes) = (self.rng.below(3), self.rng.below(4) as u32);
        let base = vote::base(&Default::default(), &Default::default(), &BTreeSet::new());
        self.village.try_act(i, &doc, |e, me| match (&motion, what) {
            (Some(motion), 0) => {
                let threshold = Threshold::MoreThanHalf;
                let tally = Tally { yes, no: 0, abstain: 0 };
                let method = Method::ShowOfHands;
                let count =
                    Count { motion: &motion.id, method, base: &base, threshold, tally, ballots: None };
                minutes::record_count(e, me, &count).map(|_| ())
            }
            (Some(motion), 1) if !motion.votes.is_empty() => {
                minutes::confirm_count(e, me, &motion.votes[0].id)
            }
            _ => minutes::move_motion(e, me, "m", Threshold::TwoThirds, None).map(|_| ()),
        })
    }

    fn talk(&mut self, i: usize) -> Result<(), ReplicaError> {
        let (doc, word) = (self.feedback, self.rng.word());
        let threads = self.village.threads(i, &doc);
        let kinds = [
            "acknowledged",
            "in_progress",
            "forwarded",
            "answered",
            "extended",
            "declined",
            "closed",
            "reopened",
            "withdrawn",
            RESOLVE,
        ];
        let (kind, what) = (kinds[self.rng.below(kinds.len())], self.rng.below(3));
        let thread = self.rng.pick(&threads).cloned();
        self.village.try_act(i, &doc, |e, me| match (&thread, what) {
            (Some(thread), 0) => feedback::say(e, me, &thread.id, word, "vi", None).map(|_| ()),
            (Some(thread), 1) => {
                let choose = match &thread.life.status {
                    Status::Disputed(among) => among[0].0.clone(),
                    Status::In(_) => String::new(),
                };
                let data =
                    [("reason", word), ("due", "2026-12-20"), ("to", "x"), ("choose", choose.as_str())];
                feedback::step(e, me, &thread.id, kind, &data).map(|_| ())
            }
            _ => {
                let new = NewThread {
                    kind: Kind::Question,
                    title: word,
                    text: word,
                    language: "vi",
                    subject: None,
                    on_behalf_of: None,
                };
                feedback::submit(e, me, &new).map(|_| ())
            }
        })
    }

    fn vote(&mut self, i: usize) -> Result<(), ReplicaError> {
        let doc = self.votes;
        let questions = self.village.questions(i, &doc);
        let (what, choice) =
            (self.rng.below(4), [Choice::Yes, Choice::No, Choice::Abstain][self.rng.below(3)]);
        let question = self.rng.pick(&questions).cloned();
        let voters: BTreeSet<_> = (0..5).map(who).collect();
        self.village.try_act(i, &doc, |e, me| match (&question, what) {
            (Some(question), 0) => votebox::close(e, me, question, &voters),
            (Some(question), 1 | 2) => votebox::cast(e, me, &question.id, choice),
            _ => votebox::ask(e, me, "q").map(|_| ()),
        })
    }

    fn work(&mut self, i: usize) -> Result<(), ReplicaError> {
        let (doc, resolution) = (self.tasks, self.resolution);
        let tasks = self.village.tasks(i, &doc);
        let (what, day) = (self.rng.below(5), format!("2026-12-{:02}", 1 + self.rng.below(28)));
        let task = self.rng.pick(&tasks).cloned();
        let assigned = self.village.resolution(i, &resolution).assignments;
        let assignment = self.rng.pick(&assigned).cloned();
        match (what, &task, &assignment) {
            (0, Some(task), _) => self
                .village
                .try_act(i, &doc, |e, me| task::report(e, me, &task.id, Some(50), "xong nửa").map(|_| ())),
            (1, Some(task), _) => {
                self.village.try_act(i, &doc, |e, _| task::set_status(e, &task.id, task::Status::Done))
            }
            (2, ..) => self
                .village
                .try_act(i, &doc, |e, me| task::give(e, me, "việc", &[who(i)], &day, "").map(|_| ())),
            (3, _, Some(a)) => {
                self.village.try_act(i, &resolution, |e, _| resolution::set_due(e, &a.id, &day))
            }
            _ => {
                let new = NewAssignment { task: "việc", owners: &[who(i)], quantity: "1", due: &day };
                self.village.try_act(i, &resolution, |e, me| resolution::assign(e, me, &new).map(|_| ()))
            }
        }
    }

    fn seal(&mut self, i: usize) -> Result<(), ReplicaError> {
        if self.rng.below(8) > 0 {
            return Ok(());
        }
        let doc = self.minutes;
        let heads = self.village.phones[i].document(&doc, |d| d.heads()).unwrap();
        let name = doc.to_string();
        let new =
            NewSeal { document: &name, schema: &minutes::SCHEMA, heads: &heads, number: None, previous: &[] };
        self.village.try_act(i, &doc, |e, me| seal::seal(e, me, &new).map(|_| ()))
    }

    /// Everybody meets; all phones must say the same of everything.
    fn finish(&mut self) -> usize {
        (0..self.village.phones.len()).for_each(|i| self.village.come_back(i));
        self.village.sync();
        let said: Vec<Vec<String>> = (0..self.village.phones.len())
            .map(|i| {
                let v = &mut self.village;
                vec![
                    format!("{:#?}", v.minutes(i, &self.minutes)),
                    format!("{:#?}", v.resolution(i, &self.resolution)),
                    format!("{:#?}", v.attendance(i, &self.attendance)),
                    format!("{:#?}", v.threads(i, &self.feedback)),
                    format!("{:#?}", v.questions(i, &self.votes)),
                    format!("{:#?}", v.tasks(i, &self.tasks)),
                    format!("{:#?}", v.late(i, &self.minutes)),
                ]
            })
            .collect();
        for i in 1..said.len() {
            for (one, other) in said[i].iter().zip(&said[0]) {
                let differs = one.lines().zip(other.lines()).find(|(a, b)| a != b);
                assert!(one == other, "phone {i} says something else than phone 0: {differs:?}");
            }
        }
        for doc in [self.minutes, self.resolution, self.attendance, self.feedback, self.votes, self.tasks] {
            for i in 0..self.village.phones.len() {
                assert!(
                    self.village.phones[i].denied_runs(&doc).unwrap().is_empty(),
                    "honest apps make none"
                );
            }
        }
        let minutes = self.village.minutes(0, &self.minutes);
        if let Some(found) = minutes.seals.get() {
            for i in 0..self.village.phones.len() {
                assert_eq!(self.village.verified(i, &self.minutes, found), seal::Verified::Valid);
            }
            return 1;
        }
        0
    }
}

#[test]
fn whatever_people_do_apart_all_phones_say_the_same_in_the_end() {
    let full = std::env::var_os("DINH_FULL").is_some();
    let histories = if full {
        10_000
    } else if cfg!(debug_assertions) {
        25
    } else {
        300
    };
    let (mut done, mut refused, mut sealed) = (0, 0, 0);
    let one = std::env::var("MODEL_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = one.map_or(0..histories, |seed| seed..seed + 1);
    let histories = seeds.end - seeds.start;
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            let acts = 20 + world.rng.below(60);
            (0..acts).for_each(|_| world.act());
            let sealed = world.finish();
            (world.done, world.refused, sealed)
        });
        let Ok((d, r, s)) = outcome else { panic!("again: MODEL_SEED={seed}") };
        (done, refused, sealed) = (done + d, refused + r, sealed + s);
    }
    println!(
        "{histories} histories: {done} acts, {refused} refused where they were made, {sealed} sealed minutes; all phones say the same"
    );
}
