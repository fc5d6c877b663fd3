//! The document model as workload: a meeting's minutes, a resolution, questions and feedback, votes and tasks, written by
//! the production commands on phones that are apart; and what must be the same on all of them in the end.

use std::collections::BTreeSet;

use dinh_core::document::{ChangeHash, Edit, EditError, Value};
use dinh_core::gate::rights::Schema;
use dinh_core::path;
use dinh_core::replica::{Replica, ReplicaError};
use dinh_model::access;
use dinh_model::attendance::{self, Attendance, Mark, Way};
use dinh_model::feedback::{self, Kind, NewThread, Thread};
use dinh_model::field::Fields;
use dinh_model::lifecycle::RESOLVE;
use dinh_model::me::Me;
use dinh_model::minutes::{self, Count, Minutes, NewMinutes};
use dinh_model::outline::{self, Outline, Put};
use dinh_model::resolution::{self, NewAssignment, Resolution};
use dinh_model::seal::{self, NewSeal, Seal, Verified};
use dinh_model::suggestion::{self, Place};
use dinh_model::task::{self, Task};
use dinh_model::vote::{self, Method, Tally, Threshold};
use dinh_model::votebox::{self, Choice, Question};
use dinh_proto::charter::record::Writers;
use dinh_proto::ids::{DocId, MemberId};
use rand_chacha::rand_core::RngCore;

use crate::options::below;
use crate::spy::SpyStore;
use crate::truth::{Must, What};
use crate::workload::member;
use crate::world::World;

/// The kinds of acts, for the summary.
pub(crate) const ACTS: [&str; 9] =
    ["words", "parts", "steps", "suggestions", "counts", "ballots", "feedback", "tasks", "seals"];

/// The documents of one meeting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Papers {
    pub(crate) minutes: DocId,
    resolution: DocId,
    attendance: DocId,
    feedback: DocId,
    votes: DocId,
    tasks: DocId,
}

impl Papers {
    pub(crate) fn all(&self) -> [DocId; 6] {
        [self.minutes, self.resolution, self.attendance, self.feedback, self.votes, self.tasks]
    }
}

/// What somebody sealed, as the phone had it that did.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    heads: BTreeSet<String>,
    frozen: Vec<Option<Value>>,
}

fn frozen_keys() -> &'static [&'static str] {
    minutes::SCHEMA.seal.map_or(&[], |seal| seal.frozen)
}

/// A document's frozen content at some heads, read key by key and without the model's help.
fn frozen_at(d: &dinh_core::document::Document, heads: &[ChangeHash]) -> Option<Vec<Option<Value>>> {
    let view = d.view_at(heads).ok()?;
    Some(frozen_keys().iter().map(|key| view.get(&path![*key])).collect())
}

impl World {
    /// The secretary makes the papers of a meeting.
    pub(crate) fn found_papers(&mut self) {
        let space = self.truth.spaces[0].id;
        let mut make = |schema: &'static Schema| {
            let made = self.call(0, |r, _| r.create_document_with(space, Writers::All, schema.name));
            let doc = made.expect("no fault yet").expect("a secretary creates documents");
            self.truth.docs.push((doc, space));
            self.truth.papers_docs.insert(doc);
            doc
        };
        let papers = Papers {
            minutes: make(&minutes::SCHEMA),
            resolution: make(&resolution::SCHEMA),
            attendance: make(&attendance::SCHEMA),
            feedback: make(&feedback::SCHEMA),
            votes: make(&votebox::SCHEMA),
            tasks: make(&task::SCHEMA),
        };
        self.truth.papers = Some(papers);
        let new = NewMinutes { meeting: "m", period: "2026-12", kind: minutes::Kind::Regular, header: &[] };
        self.paper(0, papers.minutes, 1, |e, _| minutes::create(e, &new));
        self.paper(0, papers.attendance, 1, |e, _| attendance::create(e, "m"));
        self.paper(0, papers.resolution, 1, |e, _| {
            resolution::create(e, &resolution::SCHEMA, "2026-12", &[])
        });
        self.paper(0, papers.feedback, 1, |e, _| feedback::create(e, "branch"));
        self.paper(0, papers.votes, 1, |e, _| votebox::create(e));
        self.paper(0, papers.tasks, 1, |e, _| task::create(e));
        for doc in papers.all() {
            self.deed(0, What::Paper { doc }, Must::Yes);
        }
        for doc in [papers.minutes, papers.attendance, papers.votes] {
            for n in 1..self.opts.members {
                let named = self.call(0, |r, _| r.name_recorder(doc, member(n)));
                named.expect("no fault yet").expect("a secretary names recorders");
            }
        }
        for doc in [papers.minutes, papers.resolution] {
            let section = self.paper(0, doc, 1, |e, me| outline::add_section(e, me, "I", Put::Last));
            let section = section.expect("a secretary writes");
            self.paper(0, doc, 1, |e, me| {
                outline::add_block(e, me, &section, "item", "Bắt đầu từ đây.", None, Put::Last)
            });
        }
    }

    /// One command on one phone. `None` if it was refused, or the phone died of it.
    fn paper<R>(
        &mut self,
        p: usize,
        doc: DocId,
        kind: usize,
        f: impl FnOnce(&mut Edit<'_>, &mut Me) -> Result<R, EditError>,
    ) -> Option<R> {
        match self.call(p, |r, now| access::act(r, now, &doc, None, f))? {
            Ok((result, _)) => {
                self.totals.acts[kind] += 1;
                self.say(|| format!("phone {p}: {} in {doc}", ACTS[kind]));
                Some(result)
            }
            Err(error) => self.not_theirs(p, &error),
        }
    }

    /// What is not theirs, and what is not there any more.
    fn not_theirs<R>(&mut self, p: usize, error: &ReplicaError) -> Option<R> {
        let fine = matches!(
            error,
            ReplicaError::Denied(_)
                | ReplicaError::Edit(_)
                | ReplicaError::NotAuthorised(_)
                | ReplicaError::UnknownDocument(_)
        );
        assert!(fine, "phone {p}: a command fails: {error}");
        self.totals.acts_refused += 1;
        None
    }

    /// The same; what it made is named by an id, and must be there in the end.
    fn paper_id(
        &mut self,
        p: usize,
        doc: DocId,
        kind: usize,
        f: impl FnOnce(&mut Edit<'_>, &mut Me) -> Result<String, EditError>,
    ) {
        if let Some(id) = self.paper(p, doc, kind, f) {
            self.deed(p, What::Act { doc, id }, Must::Yes);
        }
    }

    fn looked_up<R>(&mut self, p: usize, doc: DocId, f: impl FnOnce(&Fields<'_, '_>) -> R) -> Option<R> {
        self.call(p, |r, _| access::read(r, &doc, f))?.ok()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let i = below(&mut self.rng, of.len() as u64) as usize;
        of.get(i)
    }

    /// Somebody does something in the papers.
    pub(crate) fn paper_act(&mut self, p: usize) {
        let Some(papers) = self.truth.papers else { return };
        match below(&mut self.rng, 20) {
            0..=5 => self.write_words(p, papers.minutes),
            6..=7 => self.write_parts(p, papers),
            8..=9 => self.take_a_step(p, papers),
            10..=11 => self.suggest(p, papers.resolution),
            12 => self.count_hands(p, papers.minutes),
            13..=14 => self.vote(p, papers.votes),
            15..=16 => self.talk(p, papers.feedback),
            17..=18 => self.work(p, papers),
            _ => self.seal_minutes(p, papers.minutes),
        }
    }

    fn write_words(&mut self, p: usize, doc: DocId) {
        let Some(outline) = self.looked_up(p, doc, Outline::read) else { return };
        let blocks: Vec<_> = outline.sections.iter().flat_map(|s| &s.blocks).collect();
        let Some(block) = self.pick(&blocks) else { return };
        let token = format!("lời·{}·", self.truth.deeds.len());
        let at = crate::workload::word_starts(&block.text);
        let at = at[(self.rng.next_u64() % at.len() as u64) as usize];
        let text = outline::text_of(&block.id);
        self.paper_id(p, doc, 0, |e, _| {
            e.splice_text(&text, at, 0, &format!("{token} "))?;
            Ok(token)
        });
    }

    fn write_parts(&mut self, p: usize, papers: Papers) {
        let dice = below(&mut self.rng, 6);
        if dice == 0 {
            let own = self.phones[p].member;
            self.paper(p, papers.attendance, 1, |e, me| attendance::check_in(e, me, &own, Way::Tap));
            return;
        }
        if dice == 1 {
            let whom = member(below(&mut self.rng, self.opts.members as u64) as usize);
            self.paper(p, papers.attendance, 1, |e, _| attendance::mark(e, &whom, Some(Mark::Excused)));
            return;
        }
        let doc = if dice < 5 { papers.minutes } else { papers.resolution };
        let Some(outline) = self.looked_up(p, doc, Outline::read) else { return };
        let Some(section) = self.pick(&outline.sections).map(|s| s.id.clone()) else { return };
        let block = outline.sections.iter().flat_map(|s| &s.blocks).map(|b| b.id.clone()).next();
        match (dice, block) {
            (2, Some(block)) => {
                self.paper(p, doc, 1, |e, _| outline::move_block(e, &block, &section, Put::First));
            }
            (3, _) => self.paper_id(p, doc, 1, |e, me| outline::add_section(e, me, "II", Put::Last)),
            _ => self.paper_id(p, doc, 1, |e, me| {
                outline::add_block(e, me, &section, "speech", "Thưa các đồng chí.", None, Put::Last)
            }),
        }
    }

    fn take_a_step(&mut self, p: usize, papers: Papers) {
        let of_minutes = self.chance(50);
        let doc = if of_minutes { papers.minutes } else { papers.resolution };
        let dice = below(&mut self.rng, 5) as usize;
        let choose = match of_minutes {
            true => self.looked_up(p, doc, |f| disputed(&Minutes::read(f).life.status)),
            false => self.looked_up(p, doc, |f| disputed(&Resolution::read(f).life.status)),
        };
        let Some(choose) = choose else { return };
        let kinds = match of_minutes {
            true => ["convened", "open", "postponed", "read_back", "correction"],
            false => ["committee_review", "consulting", "drafting", "tabled", "withdrawn"],
        };
        let kind = if choose.is_some() { RESOLVE } else { kinds[dice] };
        let choose = choose.unwrap_or_default();
        self.paper_id(p, doc, 2, |e, me| {
            let data = ["heads", "time", "place", "agenda", "recorder", "meeting"].map(|k| (k, "x".into()));
            let data = data.into_iter().chain([("choose", choose.as_str().into())]);
            if of_minutes { minutes::step(e, me, kind, data) } else { resolution::step(e, me, kind, data) }
        });
    }

    fn suggest(&mut self, p: usize, doc: DocId) {
        let Some(found) = self.looked_up(p, doc, Resolution::read) else { return };
        let open: Vec<_> = found.suggestions.iter().filter(|s| s.outcome.get().is_none()).collect();
        if self.chance(50)
            && let Some(s) = self.pick(&open)
        {
            let Some(Ok(place)) = self.call(p, |r, _| r.view(&doc, |view| s.place(view))) else { return };
            self.paper(p, doc, 3, |e, _| match &place {
                Place::Here(range) => suggestion::accept(e, s, range),
                Place::Changed(_) | Place::Gone => suggestion::decline(e, &s.id),
            });
            return;
        }
        let blocks: Vec<_> = found.outline.sections.iter().flat_map(|s| &s.blocks).collect();
        let Some(block) = self.pick(&blocks) else { return };
        let len = block.text.encode_utf16().count();
        let from = below(&mut self.rng, len as u64) as usize;
        let to = (from + 1 + below(&mut self.rng, 6) as usize).min(len);
        self.paper_id(p, doc, 3, |e, me| suggestion::suggest(e, me, &block.id, from..to, "nước sạch"));
    }

    fn count_hands(&mut self, p: usize, doc: DocId) {
        let Some(found) = self.looked_up(p, doc, Minutes::read) else { return };
        let motion = self.pick(&found.motions).map(|m| m.id.clone()).filter(|_| self.chance(60));
        let base = vote::base(&Default::default(), &Default::default(), &BTreeSet::new());
        let tally = Tally { yes: below(&mut self.rng, 4) as u32, no: 0, abstain: 0 };
        self.paper_id(p, doc, 4, |e, me| match &motion {
            Some(motion) => {
                let (method, threshold) = (Method::ShowOfHands, Threshold::MoreThanHalf);
                minutes::record_count(
                    e,
                    me,
                    &Count { motion, method, base: &base, threshold, tally, ballots: None },
                )
            }
            None => minutes::move_motion(e, me, "m", Threshold::TwoThirds, None),
        });
    }

    fn vote(&mut self, p: usize, doc: DocId) {
        let Some(questions) = self.looked_up(p, doc, Question::read_all) else { return };
        let choice = [Choice::Yes, Choice::No, Choice::Abstain][below(&mut self.rng, 3) as usize];
        let question = self.pick(&questions).cloned();
        let dice = below(&mut self.rng, 10);
        match question {
            Some(question) if dice == 0 => {
                let voters: BTreeSet<MemberId> = (0..self.opts.members).map(member).collect();
                self.paper(p, doc, 5, |e, me| votebox::close(e, me, &question, &voters));
            }
            Some(question) if dice < 8 => {
                let cast = self.paper(p, doc, 5, |e, me| votebox::cast(e, me, &question.id, choice));
                if cast.is_some() {
                    let member = self.phones[p].member;
                    self.deed(p, What::Ballot { doc, question: question.id, member }, Must::Yes);
                }
            }
            _ => self.paper_id(p, doc, 5, |e, me| votebox::ask(e, me, "q")),
        }
    }

    fn talk(&mut self, p: usize, doc: DocId) {
        let Some(threads) = self.looked_up(p, doc, Thread::read_all) else { return };
        let thread = self.pick(&threads).map(|t| t.id.clone());
        let dice = below(&mut self.rng, 5) as usize;
        let kind = ["acknowledged", "answered", "closed", "reopened", "withdrawn"][dice];
        let step = self.chance(40);
        self.paper_id(p, doc, 6, |e, me| match &thread {
            Some(thread) if step => feedback::step(e, me, thread, kind, &[("reason", "x")]),
            Some(thread) if dice > 0 => feedback::say(e, me, thread, "góp ý", "vi", None),
            _ => feedback::submit(
                e,
                me,
                &NewThread {
                    kind: Kind::Question,
                    title: "hỏi",
                    text: "bao giờ",
                    language: "vi",
                    subject: None,
                    on_behalf_of: None,
                },
            ),
        });
    }

    fn work(&mut self, p: usize, papers: Papers) {
        let Some(tasks) = self.looked_up(p, papers.tasks, Task::read_all) else { return };
        let task = self.pick(&tasks).map(|t| t.id.clone());
        let own = [self.phones[p].member];
        match (below(&mut self.rng, 4), task) {
            (0, _) => {
                let new = NewAssignment { task: "việc", owners: &own, quantity: "1", due: "2026-12-20" };
                self.paper_id(p, papers.resolution, 7, |e, me| resolution::assign(e, me, &new));
            }
            (1, Some(task)) => {
                self.paper(p, papers.tasks, 7, |e, _| task::set_status(e, &task, task::Status::Done));
            }
            (2, Some(task)) => {
                self.paper_id(p, papers.tasks, 7, |e, me| task::report(e, me, &task, Some(50), "xong nửa"))
            }
            _ => self.paper_id(p, papers.tasks, 7, |e, me| task::give(e, me, "việc", &own, "2026-12-20", "")),
        }
    }

    pub(crate) fn seal_minutes(&mut self, p: usize, doc: DocId) {
        let name = doc.to_string();
        let done = self.call(p, |r: &mut Replica<SpyStore>, now| {
            let (heads, frozen) = r.document(&doc, |d| (d.heads(), frozen_at(d, &d.heads())))?;
            let sealed = Sealed {
                heads: heads.iter().map(ToString::to_string).collect(),
                frozen: frozen.unwrap_or_default(),
            };
            let new = NewSeal {
                document: &name,
                schema: &minutes::SCHEMA,
                heads: &heads,
                number: None,
                previous: &[],
            };
            let done = access::act(r, now, &doc, None, |e, me| seal::seal(e, me, &new));
            match done {
                Err(ReplicaError::Store(error)) => Err(error.into()),
                done => Ok((sealed, done)),
            }
        });
        match done {
            // It may be on disk all the same; then it is there again after the start.
            None => self.truth.seal_unsure = true,
            Some(Ok((sealed, Ok((made, _))))) => {
                self.totals.acts[8] += 1;
                self.say(|| format!("phone {p}: seals {:?}", made.heads));
                self.truth.sealed.insert(made.hash(), sealed);
            }
            Some(Ok((_, Err(error))) | Err(error)) => drop(self.not_theirs::<()>(p, &error)),
        }
    }

    /// At the end: folds, seals and late lists are the same on all of these phones, and what was sealed is what its heads
    /// show.
    pub(crate) fn check_papers(&mut self, phones: &[usize]) {
        let Some(papers) = self.truth.papers else { return };
        let mut first: Option<(usize, Vec<String>)> = None;
        for p in phones {
            let said = self.folds(*p, papers);
            match &first {
                None => first = Some((*p, said)),
                Some((other, expected)) => {
                    for (one, same) in said.iter().zip(expected) {
                        let differs = one.lines().zip(same.lines()).find(|(a, b)| a != b);
                        assert!(one == same, "folds: phones {other} and {p} say other things: {differs:?}");
                    }
                }
            }
            if self.truth.cut.is_empty() {
                for doc in papers.all() {
                    let denied = self.call(*p, |r, _| r.denied_runs(&doc)).expect("no faults").expect("open");
                    assert!(denied.is_empty(), "phone {p} denies what honest apps wrote: {denied:?}");
                }
            }
        }
    }

    fn folds(&mut self, p: usize, papers: Papers) -> Vec<String> {
        let found = self.looked_up(p, papers.minutes, Minutes::read).expect("it reads its minutes");
        let mut said = vec![
            format!("{found:#?}"),
            format!("{:#?}", self.looked_up(p, papers.resolution, Resolution::read)),
            format!("{:#?}", self.looked_up(p, papers.attendance, Attendance::read)),
            format!("{:#?}", self.looked_up(p, papers.feedback, Thread::read_all)),
            format!("{:#?}", self.looked_up(p, papers.votes, Question::read_all)),
            format!("{:#?}", self.looked_up(p, papers.tasks, Task::read_all)),
        ];
        for written in found.seals.all() {
            said.push(self.check_seal(p, papers.minutes, &written.value));
        }
        said
    }

    /// One seal on one phone: says what is late.
    fn check_seal(&mut self, p: usize, doc: DocId, found: &Seal) -> String {
        let known = self.truth.sealed.get(&found.hash()).cloned();
        assert!(
            known.is_some() || self.truth.seal_unsure,
            "phone {p} has a seal that nobody made: {found:?}"
        );
        let looked = self.call(p, |r, _| {
            r.document(&doc, |d| {
                let all = d.history().into_iter().map(|c| c.hash);
                let heads: Vec<ChangeHash> = all.filter(|h| found.heads.contains(&h.to_string())).collect();
                let verified = seal::verify(d, found, &minutes::SCHEMA).expect("it reads");
                let late = seal::late(d, found, &minutes::SCHEMA).expect("it reads");
                let frozen = (heads.len() == found.heads.len()).then(|| frozen_at(d, &heads)).flatten();
                (verified, late, frozen, frozen_at(d, &d.heads()))
            })
        });
        let (verified, late, frozen, now) = looked.expect("no faults").expect("it reads its minutes");
        // What was written again after a fork has other hashes, and what was cut is gone.
        let steady = self.truth.cut.is_empty() && !self.phones.iter().any(|phone| phone.may_fork);
        assert!(!steady || verified == Verified::Valid, "phone {p} finds a seal {verified:?}: {found:?}");
        if let (Some(known), Some(frozen)) = (&known, &frozen) {
            let heads: BTreeSet<String> = found.heads.iter().cloned().collect();
            assert_eq!(known.heads, heads, "phone {p} shows a seal with other heads");
            assert_eq!(&known.frozen, frozen, "phone {p} shows another text than was sealed");
            if steady && late.is_empty() {
                assert_eq!(Some(frozen), now.as_ref(), "phone {p}: the text changed and nothing is late");
            }
            self.totals.seals_checked += 1;
            self.totals.late += late.len() as u64;
        }
        format!("{verified:?} {late:#?}")
    }
}

/// The first of the events between which a dispute is.
fn disputed<S>(status: &dinh_model::lifecycle::Status<S>) -> Option<String> {
    match status {
        dinh_model::lifecycle::Status::Disputed(among) => among.first().map(|(id, _)| id.clone()),
        dinh_model::lifecycle::Status::In(_) => None,
    }
}

/// Everything in a document that a deed can be known by: keys, strings and the words of texts.
pub(crate) fn names(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Map(map) => map.iter().for_each(|(key, value)| {
            into.insert(key.clone());
            names(value, into);
        }),
        Value::List(list) => list.iter().for_each(|value| names(value, into)),
        Value::Str(text) => drop(into.insert(text.clone())),
        Value::Text(text) => into.extend(text.split(' ').map(str::to_owned)),
        _ => {}
    }
}
