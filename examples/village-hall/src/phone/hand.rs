//! Carries out acts by the model's commands. Each is one change, or a few that nothing comes between.

use std::collections::BTreeSet;

use dinh_core::client::ClientStore;
use dinh_core::document::{Edit, EditError, Value};
use dinh_core::path;
use dinh_core::replica::{Now, Replica, ReplicaError};
use dinh_model::attendance::{self, Attendance};
use dinh_model::branch::{self, Standing};
use dinh_model::feedback::{self, NewThread as Begin};
use dinh_model::field::Fields;
use dinh_model::index::{self, Entry, Index};
use dinh_model::lifecycle;
use dinh_model::me::Me;
use dinh_model::minutes::{self, Count, Minutes, NewMinutes, parts, words};
use dinh_model::outline::{self, Put, text_of};
use dinh_model::resolution::{self, NewAssignment, Resolution, Voted, state::ResolutionLife};
use dinh_model::review::{self, NewComment};
use dinh_model::roster::{self, Roster, Source};
use dinh_model::suggestion::{self, Place};
use dinh_model::vote::{self, Exclusion, Threshold};
use dinh_model::votebox::{self, Question};
use dinh_model::{access, book, consultation, digest, late, overlap, task};
use dinh_proto::charter::record::Writers;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::time::WallTime;

use super::refused;
use super::shelf::Shelf;
use crate::act::{Act, Doc, Field, New, NewTask, NewThread, Paper, Room, Speech, member};

/// What became of an act.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// It is written.
    Written,
    /// There was nothing to do.
    Nothing(String),
}

/// This phone's member, about to do something.
#[allow(missing_debug_implementations, reason = "it borrows the store")]
pub struct Hand<'a> {
    pub replica: &'a mut Replica<ClientStore>,
    pub now: Now,
    pub branch: SpaceId,
    pub shelf: &'a Shelf,
    /// Whose phone it is.
    pub own: MemberId,
}

type Result<T = Done> = std::result::Result<T, ReplicaError>;

impl<'a> Hand<'a> {
    /// `at`: the story's clock, which this phone's clock shows.
    pub fn new(
        replica: &'a mut Replica<ClientStore>,
        now: Now,
        at: i64,
        shelf: &'a Shelf,
        own: MemberId,
    ) -> Result<Self> {
        let branch = super::shelf::branch_of(replica)?;
        let now = Now { wall: WallTime(u64::try_from(at).unwrap_or_default()), ..now };
        Ok(Self { replica, now, branch, shelf, own })
    }

    pub fn id(&self, doc: &Doc) -> Result<DocId> {
        self.shelf.get(doc).copied().ok_or_else(|| refused(&format!("{doc} has not arrived")))
    }

    pub fn read<R>(&mut self, doc: &Doc, f: impl FnOnce(&Fields<'_, '_>) -> R) -> Result<R> {
        let id = self.id(doc)?;
        access::read(self.replica, &id, f)
    }

    /// Writes to a document. What is made has the id that the script knows.
    pub fn write<R>(
        &mut self,
        doc: &Doc,
        new: Option<&New>,
        f: impl FnOnce(&mut Edit<'_>, &mut Me) -> std::result::Result<R, EditError>,
    ) -> Result<R> {
        let id = self.id(doc)?;
        self.write_to(&id, new, None, f)
    }

    fn write_to<R>(
        &mut self,
        id: &DocId,
        new: Option<&New>,
        message: Option<&str>,
        f: impl FnOnce(&mut Edit<'_>, &mut Me) -> std::result::Result<R, EditError>,
    ) -> Result<R> {
        let unknown = ReplicaError::NotAuthorised(RejectCode::UnknownAuthor);
        let author = self.replica.author_now(id).ok_or(unknown)?;
        let drawn = self.replica.draw();
        let at = i64::try_from(self.now.wall.0).unwrap_or(i64::MAX);
        let mut me = new.map_or_else(|| Me::new(&author, at, drawn), |n| Me::new(&author, n.at, n.seed));
        self.replica.edit(self.now, id, message, |edit| f(edit, &mut me)).map(|(result, _)| result)
    }

    fn standing(&mut self) -> Result<Standing> {
        let found = branch::standing(self.replica, &self.branch)?;
        found.ok_or_else(|| refused("the branch's spaces are not here"))
    }

    /// Carries out an act.
    pub fn perform(&mut self, act: &Act) -> Result {
        match act {
            Act::ImportRoster { authority, people } => {
                let at = i64::try_from(self.now.wall.0).unwrap_or(i64::MAX);
                let source = Source { authority: authority.clone(), at };
                let people = people.iter().map(|(id, p)| (member(id), p.clone())).collect();
                self.write(&Doc::Roster, None, |e, _| roster::import(e, &source, &people))?;
            }
            Act::BeginDraft { paper } => self.begin_draft(paper)?,
            Act::BeginMeeting { paper, recorder } => self.begin_meeting(paper, &member(recorder))?,
            Act::Step { new, doc, kind, data, with_heads } => self.step(new, doc, kind, data, *with_heads)?,
            Act::OpenRound { .. } => {
                let draft = self.id(&Doc::Draft)?;
                let (branch, now) = (self.branch, self.now);
                consultation::open_round(self.replica, now, &branch, &draft, &resolution::OPEN_SCHEMA)?;
            }
            Act::TakeBack { .. } => {
                let draft = self.id(&Doc::Draft)?;
                consultation::take_back(self.replica, self.now, &self.branch, &draft)?;
            }
            Act::HasRead { round } => {
                self.write(&Doc::Resolution, None, |e, me| resolution::has_read(e, me, *round))?;
            }
            Act::Comment { new, round, severity, quote, answers, text } => {
                let quote = quote.as_ref().map(|(block, quote)| (block.as_str(), quote.as_str()));
                let answers = answers.as_deref();
                let comment = NewComment { round: *round, severity: *severity, quote, answers, text };
                self.write(&Doc::Review, Some(new), |e, me| review::comment(e, me, &comment))?;
            }
            Act::Set { doc, field, value } => {
                let value = match value {
                    Field::Text(text) => Value::from(text.as_str()),
                    Field::Time(at) => Value::Timestamp(*at),
                };
                let at = field.iter().fold(path![], |path, key| path.join(key.as_str()));
                self.write(doc, None, |e, _| minutes::set(e, &at, value))?;
            }
            Act::CheckIn { member: who, way } => {
                self.write(&Doc::Attendance, None, |e, me| attendance::check_in(e, me, &member(who), *way))?;
            }
            Act::Mark { member: who, mark, reason } => {
                self.write(&Doc::Attendance, None, |e, _| {
                    let who = member(who);
                    attendance::mark(e, &who, Some(*mark))?;
                    reason.as_ref().map_or(Ok(()), |reason| attendance::give_reason(e, &who, reason))
                })?;
            }
            Act::Speech(speech) => self.begin_speech(speech)?,
            Act::ConfirmWords { block } => {
                self.write(&Doc::Minutes, None, |e, me| words::confirm(e, me, block))?;
            }
            Act::Clause { doc, block, text } => {
                self.write(doc, None, |e, _| {
                    let at = text_of(block);
                    let end = e.view().text_len(&at);
                    e.splice_text(&at, end, 0, text)
                })?;
            }
            Act::Replace { doc, block, find, with } => return self.replace(doc, block, find, with),
            Act::Hide { doc, block, hidden } => {
                self.write(doc, None, |e, _| outline::hide_block(e, block, *hidden))?;
            }
            Act::SetDue { task, due } => {
                self.write(&Doc::Resolution, None, |e, _| resolution::set_due(e, task, due))?;
            }
            Act::Suggest { new, block, find, with } => return self.suggest(new, block, find, with),
            Act::Accept { suggestion, .. } => return self.accept(suggestion),
            Act::Thread(thread) => self.thread(thread)?,
            Act::Say { new, doc, thread, text } => {
                self.write(doc, Some(new), |e, me| feedback::say(e, me, thread, text, "vi", None))?;
            }
            Act::ThreadStep { new, doc, thread, kind, data } => {
                let data = pairs(data);
                self.write(doc, Some(new), |e, me| feedback::step(e, me, thread, kind, &data))?;
            }
            Act::Motion { new, title, on_resolution } => self.motion(new, title, *on_resolution)?,
            Act::Count { .. } => self.count(act)?,
            Act::ConfirmCount { vote } => {
                self.write(&Doc::Minutes, None, |e, me| minutes::confirm_count(e, me, vote))?;
            }
            Act::Ask { new, title } => {
                self.write(&Doc::Votebox, Some(new), |e, me| votebox::ask(e, me, title))?;
            }
            Act::Cast { question, choice } => {
                self.write(&Doc::Votebox, None, |e, me| votebox::cast(e, me, question, *choice))?;
            }
            Act::Close { question } => self.close(question)?,
            Act::FreezeRoll => {
                let roll = self.roll()?.1;
                self.write(&Doc::Minutes, None, |e, _| parts::freeze_attendance(e, &roll))?;
            }
            Act::Assign { task } => {
                let owners: Vec<MemberId> = task.owners.iter().map(|id| member(id)).collect();
                self.write(&Doc::Minutes, Some(&task.new), |e, me| {
                    parts::assign(e, me, &assignment(task, &owners))
                })?;
            }
            Act::Sign { new, role } => {
                self.write(&Doc::Minutes, Some(new), |e, me| parts::sign(e, me, role))?;
            }
            Act::Decide { new, motion } => self.decide(new, motion)?,
            Act::Issue { .. } => self.issue(act)?,
            Act::Reread => self.reread()?,
            Act::Seal { doc } => {
                let (place, doc) = (self.standing()?.members, self.id(doc)?);
                book::seal(self.replica, self.now, &place, &doc)?;
            }
            Act::GiveTask { task: new } => {
                let from = format!("{}/{}", self.id(&Doc::Resolution)?, new.new.id());
                let owners: Vec<MemberId> = new.owners.iter().map(|id| member(id)).collect();
                self.write(&Doc::Tasks, Some(&new.new), |e, me| {
                    task::give(e, me, &new.task, &owners, &new.due, &from)
                })?;
            }
            Act::Progress { new, task: id, percent, text } => {
                self.write(&Doc::Tasks, Some(new), |e, me| task::report(e, me, id, Some(*percent), text))?;
            }
            Act::UpdateDigest => {
                let today = super::look::day(self.now);
                digest::keep::keep(self.replica, self.now, &self.branch, &today)?;
            }
            Act::LateToFeedback { author, .. } => self.late_to_feedback(&member(author))?,
        }
        Ok(Done::Written)
    }

    fn begin_draft(&mut self, paper: &Paper) -> Result<()> {
        let place = self.standing()?.committee;
        let entry =
            Entry { schema: resolution::SCHEMA.name, period: Some(&paper.period), ..Entry::default() };
        let header: Vec<(&str, &str)> = paper.header.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let id = branch::create(self.replica, self.now, &place, Writers::All, &entry, |e, me| {
            resolution::create(e, &resolution::SCHEMA, &paper.period, &header)?;
            resolution::parts::set_enacting_clause(e, &paper.clause)?;
            paper
                .bases
                .iter()
                .try_for_each(|text| resolution::parts::add_legal_basis(e, me, text).map(|_| ()))
        })?;
        for section in &paper.sections {
            let in_section = self.write_to(&id, Some(&section.new), None, |e, me| {
                outline::add_section(e, me, &section.heading, Put::Last)
            })?;
            for block in &section.blocks {
                self.write_to(&id, Some(&block.new), None, |e, me| {
                    outline::add_block(e, me, &in_section, &block.kind, &block.text, None, Put::Last)
                })?;
            }
        }
        for task in &paper.tasks {
            let owners: Vec<MemberId> = task.owners.iter().map(|id| member(id)).collect();
            let new = assignment(task, &owners);
            self.write_to(&id, Some(&task.new), None, |e, me| resolution::assign(e, me, &new))?;
        }
        Ok(())
    }

    fn begin_meeting(&mut self, paper: &Paper, recorder: &MemberId) -> Result<()> {
        let place = self.standing()?.members;
        let of = |schema: &'static str, kind| Entry {
            schema,
            period: Some(paper.period.as_str()),
            kind,
            of: None,
        };
        let header: Vec<(&str, &str)> = paper.header.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let kind = minutes::Kind::Regular;
        let new = NewMinutes { meeting: &paper.period, period: &paper.period, kind, header: &header };
        let entry = of(minutes::SCHEMA.name, Some(kind.name()));
        let (now, own) = (self.now, self.own);
        let doc = branch::create(self.replica, now, &place, Writers::All, &entry, |e, me| {
            minutes::create(e, &new)?;
            parts::set_chair(e, &own)?;
            parts::set_recorder(e, recorder)?;
            for [name, post, body] in &paper.guests {
                parts::add_guest(e, me, name, post, body)?;
            }
            paper.agenda.iter().try_for_each(|(title, presenter)| {
                parts::add_item(e, me, title, Some(&member(presenter)), Put::Last).map(|_| ())
            })
        })?;
        for section in &paper.sections {
            self.write_to(&doc, Some(&section.new), None, |e, me| {
                outline::add_section(e, me, &section.heading, Put::Last)
            })?;
        }
        let entry = of(attendance::SCHEMA.name, None);
        let roll = branch::create(self.replica, now, &place, Writers::All, &entry, |e, _| {
            attendance::create(e, &paper.period)
        })?;
        let entry = of(votebox::SCHEMA.name, None);
        let votes =
            branch::create(self.replica, now, &place, Writers::All, &entry, |e, _| votebox::create(e))?;
        let resolution = self.id(&Doc::Resolution)?;
        for doc in [doc, roll, votes, resolution] {
            self.replica.name_recorder(doc, *recorder)?;
        }
        Ok(())
    }

    fn step(
        &mut self,
        new: &New,
        doc: &Doc,
        kind: &str,
        data: &[(String, String)],
        with_heads: bool,
    ) -> Result<()> {
        if *doc == Doc::Review {
            let round = data.iter().find(|(key, _)| key == "round").and_then(|(_, n)| n.parse().ok());
            let round = round.ok_or_else(|| refused("a review has a round"))?;
            self.write(doc, Some(new), |e, me| review::step(e, me, kind, round))?;
            return Ok(());
        }
        let mut data: Vec<(&'static str, Value)> =
            pairs(data).into_iter().map(|(key, text)| (key, Value::from(text))).collect();
        if with_heads {
            let id = self.id(doc)?;
            let heads = self.replica.document(&id, |d| resolution::heads_text(&d.heads()))?;
            data.push(("heads", heads.into()));
        }
        let is_minutes = *doc == Doc::Minutes;
        self.write(doc, Some(new), |e, me| {
            if is_minutes { minutes::step(e, me, kind, data) } else { resolution::step(e, me, kind, data) }
        })?;
        Ok(())
    }

    /// The heads of the resolution that were debated last.
    fn debated(&mut self) -> Result<String> {
        let (events, counted) = self.read(&Doc::Resolution, |f| {
            let events = lifecycle::read(f.view());
            let counted = lifecycle::fold::<ResolutionLife>(&events).counted;
            (events, counted)
        })?;
        let debated = counted.iter().rev().find_map(|id| {
            let event = events.iter().find(|e| e.id == *id)?;
            matches!(event.kind.as_str(), "tabled" | "amended_on_floor").then(|| event.text("heads"))?
        });
        debated.map(str::to_owned).ok_or_else(|| refused("the resolution was not tabled"))
    }

    fn begin_speech(&mut self, speech: &Speech) -> Result<()> {
        self.write(&Doc::Minutes, Some(&speech.new), |e, me| {
            let speaker = speech.speaker.as_deref().map(member);
            let put = Put::Last;
            let block = outline::add_block(e, me, &speech.section, &speech.kind, "", speaker.as_ref(), put)?;
            if let (Some(speaker), Some((language, through))) = (&speaker, &speech.interpreted) {
                outline::set_speaker(e, &block, speaker, Some(language), Some(&member(through)))?;
            }
            words::ask(e, &block)
        })
    }

    fn replace(&mut self, doc: &Doc, block: &str, find: &str, with: &str) -> Result {
        self.write(doc, None, |e, _| {
            let at = text_of(block);
            let text = e.view().text(&at).unwrap_or_default();
            if text.contains(with) {
                return Ok(Done::Written);
            }
            let Some(byte) = text.find(find) else {
                return Ok(Done::Nothing("somebody else had replaced the phrase".to_owned()));
            };
            e.splice_text(&at, units(&text[..byte]), units(find), with).map(|()| Done::Written)
        })
    }

    fn suggest(&mut self, new: &New, block: &str, find: &str, with: &str) -> Result {
        self.write(&Doc::Resolution, Some(new), |e, me| {
            let text = e.view().text(&text_of(block)).unwrap_or_default();
            let Some(byte) = text.find(find) else {
                return Ok(Done::Nothing("the phrase is not there any more".to_owned()));
            };
            let from = units(&text[..byte]);
            suggestion::suggest(e, me, block, from..from + units(find), with).map(|_| Done::Written)
        })
    }

    fn accept(&mut self, id: &str) -> Result {
        let doc = self.id(&Doc::Resolution)?;
        let all = self.read(&Doc::Resolution, Resolution::read)?.suggestions;
        let found = all.into_iter().find(|s| s.id == id);
        let found = found.ok_or_else(|| refused("the suggestion has not arrived"))?;
        let Place::Here(range) = self.replica.view(&doc, |v| found.place(v))? else {
            return Ok(Done::Nothing("something else stands there now".to_owned()));
        };
        let credit = suggestion::credit(&found);
        self.write_to(&doc, None, Some(&credit), |e, _| suggestion::accept(e, &found, &range))?;
        Ok(Done::Written)
    }

    fn thread(&mut self, new: &NewThread) -> Result<()> {
        let on_behalf_of = new.on_behalf_of.as_deref().map(member);
        let begin = Begin {
            kind: new.kind,
            title: &new.title,
            text: &new.text,
            language: "vi",
            subject: None,
            on_behalf_of: on_behalf_of.as_ref(),
        };
        self.write(&new.doc, Some(&new.new), |e, me| feedback::submit(e, me, &begin)).map(|_| ())
    }

    fn motion(&mut self, new: &New, title: &str, on_resolution: bool) -> Result<()> {
        let subject = if on_resolution { Some((self.id(&Doc::Resolution)?, self.debated()?)) } else { None };
        let subject = subject.as_ref().map(|(doc, heads)| (doc, heads.as_str()));
        self.write(&Doc::Minutes, Some(new), |e, me| {
            minutes::move_motion(e, me, title, Threshold::MoreThanHalf, subject).map(|_| ())
        })
    }

    /// Who is on the roster, and the numbers of the roll against it.
    pub fn roll(&mut self) -> Result<(Roster, attendance::Summary)> {
        let roster = self.read(&Doc::Roster, Roster::read)?;
        let roll = self.read(&Doc::Attendance, Attendance::read)?;
        let summary = roll.summary(&roster.shown(), &Exclusion::ORDINARY.into());
        Ok((roster, summary))
    }

    fn count(&mut self, act: &Act) -> Result<()> {
        let Act::Count { new, motion, method, tally, ballots } = act else { return Ok(()) };
        let base = self.roll()?.1.base;
        vote::check(*method, tally, ballots.as_ref(), &base).map_err(|bad| refused(&bad.to_string()))?;
        let threshold = Threshold::MoreThanHalf;
        let count =
            Count { motion, method: *method, base: &base, threshold, tally: *tally, ballots: *ballots };
        self.write(&Doc::Minutes, Some(new), |e, me| minutes::record_count(e, me, &count).map(|_| ()))
    }

    fn close(&mut self, question: &str) -> Result<()> {
        let roster = self.read(&Doc::Roster, Roster::read)?.shown();
        let marks = self.read(&Doc::Attendance, Attendance::read)?.marks();
        let votes = |id: &MemberId| {
            marks.get(id) == Some(&attendance::Mark::Present)
                && roster.get(id).is_some_and(|p| p.standing.is_official())
        };
        let voters: BTreeSet<MemberId> = roster.keys().copied().filter(votes).collect();
        let all = self.read(&Doc::Votebox, Question::read_all)?;
        let found = all.into_iter().find(|q| q.id == question);
        let found = found.ok_or_else(|| refused("the question is not here"))?;
        self.write(&Doc::Votebox, None, |e, me| votebox::close(e, me, &found, &voters))
    }

    fn decide(&mut self, new: &New, motion: &str) -> Result<()> {
        let heads = self.debated()?;
        let minutes = self.read(&Doc::Minutes, Minutes::read)?;
        let found = minutes.motions.iter().find(|m| m.id == motion);
        let found = found.ok_or_else(|| refused("the motion has not arrived"))?;
        let vote = found.result().ok_or_else(|| refused("no count of the motion holds"))?;
        let voted = Voted { heads: &heads, vote, threshold: found.threshold };
        self.write(&Doc::Resolution, Some(new), |e, me| resolution::decide(e, me, &voted))?;
        Ok(())
    }

    fn issue(&mut self, act: &Act) -> Result<()> {
        let Act::Issue { new, line, date, signer, recipients } = act else { return Ok(()) };
        let doc = self.id(&Doc::Resolution)?.to_string();
        let place = Doc::Index(Room::Branch);
        let index = self.read(&place, Index::read)?;
        let number = format!("{:02}", index.next_number(line));
        let resolution = self.read(&Doc::Resolution, Resolution::read)?;
        resolution.may_issue(&number, &BTreeSet::new()).map_err(|not| refused(&not.to_string()))?;
        self.write(&place, None, |e, _| index::give_number(e, &index, &doc, line))?;
        self.write(&Doc::Resolution, None, |e, me| {
            resolution::parts::set_signature(e, "T/M CHI BỘ", "BÍ THƯ", &member(signer))?;
            recipients.iter().try_for_each(|to| resolution::parts::add_recipient(e, me, to).map(|_| ()))
        })?;
        self.write(&Doc::Resolution, Some(new), |e, me| resolution::issue(e, me, &number, date))?;
        Ok(())
    }

    fn reread(&mut self) -> Result<()> {
        let id = self.id(&Doc::Resolution)?;
        let (overlaps, heads) = (super::look::overlaps(self)?, self.replica.document(&id, |d| d.heads())?);
        self.write(&Doc::Resolution, None, |e, _| {
            overlaps.iter().try_for_each(|(block, _)| overlap::reread(e, block, &heads))
        })
    }

    fn late_to_feedback(&mut self, author: &MemberId) -> Result<()> {
        let (doc, threads) = (self.id(&Doc::Resolution)?, self.id(&Doc::Feedback)?);
        let all = late::of(self.replica, &doc, &resolution::OPEN_SCHEMA)?;
        let of_author =
            |p: &&late::Proposal| p.by.is_some_and(|by| by.member == *author) && p.became.is_none();
        for proposal in all.iter().filter(of_author) {
            late::into_feedback(self.replica, self.now, &doc, proposal, &threads)?;
        }
        Ok(())
    }
}

fn assignment<'a>(task: &'a NewTask, owners: &'a [MemberId]) -> NewAssignment<'a> {
    NewAssignment { task: &task.task, owners, quantity: &task.quantity, due: &task.due }
}

/// The keys of events are known when the program is compiled.
fn pairs(data: &[(String, String)]) -> Vec<(&'static str, &str)> {
    const KEYS: [&str; 12] = [
        "time", "place", "agenda", "recorder", "meeting", "vote", "result", "number", "date", "to", "reason",
        "due",
    ];
    let known = |key: &str| KEYS.into_iter().find(|k| *k == key);
    data.iter().filter_map(|(key, text)| Some((known(key)?, text.as_str()))).collect()
}

/// UTF-16 code units.
pub fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
