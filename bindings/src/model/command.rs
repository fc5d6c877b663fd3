//! What a member does to a document.

use std::collections::{BTreeSet, HashMap};

use dinh_core::client::ClientStore;
use dinh_core::document::{self as core, Edit, EditError};
use dinh_core::path;
use dinh_core::proto::ids::MemberId;
use dinh_core::replica::Replica;
use dinh_model::access;
use dinh_model::me::Me;
use dinh_model::minutes::{parts, words};
use dinh_model::resolution::NewAssignment;
use dinh_model::{
    attendance, feedback, index, minutes, notice, outline, overlap, resolution, review, suggestion, task,
    votebox,
};

use super::snapshot::heads_now;
use super::words::{
    AttendanceMark, BallotChoice, CheckInWay, CommentSeverity, FeedbackKind, Place, TaskStatus, VoteThreshold,
};
use crate::client::Client;
use crate::error::Result;
use crate::ids;
use crate::value::{Step, Value, path as path_of};

/// One act of this device's member on one document. Which document a command is for stands in its group.
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
pub enum Command {
    // Minutes and resolutions.
    /// Adds a section. Makes its id.
    AddSection {
        /// Its heading.
        heading: String,
        /// Where.
        place: Place,
    },
    /// Adds a block of prose to a section. Makes its id.
    AddBlock {
        /// The section.
        section: String,
        /// What it is: `paragraph`, `speech`, `item`, an app's word.
        kind: String,
        /// What it says.
        text: String,
        /// Who speaks.
        speaker: Option<String>,
        /// Where.
        place: Place,
    },
    /// Moves a block.
    MoveBlock {
        /// Which.
        block: String,
        /// Into which section.
        section: String,
        /// Where there.
        place: Place,
    },
    /// Leaves a block out, or takes it in again.
    HideBlock {
        /// Which.
        block: String,
        /// Whether it is left out.
        hidden: bool,
    },
    /// Says who speaks in a block.
    SetSpeaker {
        /// Which.
        block: String,
        /// Who.
        speaker: String,
        /// In which language.
        language: Option<String>,
        /// Who put it into Vietnamese.
        interpreter: Option<String>,
    },
    /// Sets a field that is one value: `venue`, `started_at`, a part of the head.
    SetField {
        /// Where.
        path: Vec<Step>,
        /// What.
        value: Value,
    },
    /// Says that a block in which several wrote apart was read again, as it was at these heads.
    Reread {
        /// The block.
        block: String,
        /// The heads, in hex.
        heads: Vec<String>,
    },
    /// Notes who does what by when. Makes its id.
    Assign {
        /// What.
        task: String,
        /// Who.
        owners: Vec<String>,
        /// How much.
        quantity: String,
        /// By when, `YYYY-MM-DD`.
        due: String,
    },
    /// Takes a step of the document's life. Makes the event's id.
    Step {
        /// Which: `convened`, `open`, `read_back`, `adopted`… in minutes; `tabled`, `issued`… in resolutions.
        kind: String,
        /// What belongs to it.
        data: HashMap<String, String>,
    },

    // Minutes.
    /// Puts something on the agenda. Makes its id.
    AddAgendaItem {
        /// Its title.
        title: String,
        /// Who presents it.
        presenter: Option<String>,
        /// Where.
        place: Place,
    },
    /// Names a guest. Makes its id.
    AddGuest {
        /// The name.
        name: String,
        /// The post.
        post: String,
        /// The body that the guest comes from.
        body: String,
    },
    /// Notes a decision. Makes its id.
    AddDecision {
        /// What was decided.
        text: String,
        /// By which vote.
        vote: Option<String>,
    },
    /// Signs, as chair or recorder. Makes its id.
    Sign {
        /// As what.
        role: String,
    },
    /// Says who leads the meeting.
    SetChair {
        /// Who.
        member: String,
    },
    /// Says who writes the minutes.
    SetRecorder {
        /// Who.
        member: String,
    },
    /// Gives the meeting points for a criterion.
    Score {
        /// Which.
        criterion: String,
        /// How many.
        points: u32,
    },
    /// Asks the speaker of a block whether the words are theirs.
    AskWords {
        /// Which.
        block: String,
    },
    /// Says that the words of a block are one's own.
    ConfirmWords {
        /// Which.
        block: String,
    },
    /// Puts a motion. Makes its id.
    MoveMotion {
        /// What it says.
        title: String,
        /// How many must agree.
        threshold: VoteThreshold,
    },
    /// Confirms a count that somebody else noted.
    ConfirmCount {
        /// Which vote.
        vote: String,
    },
    /// Says which of two counts holds.
    ChooseCount {
        /// Of which motion.
        motion: String,
        /// Which vote.
        vote: String,
    },
    /// Settles a dispute about where the minutes are. Makes the event's id.
    Resolve {
        /// The event that holds.
        choose: String,
    },

    // Resolutions.
    /// Says by when an assignment is due.
    SetDue {
        /// Which.
        assignment: String,
        /// When, `YYYY-MM-DD`.
        due: String,
    },
    /// Says that this member has read a round.
    HasReadRound {
        /// Which.
        round: u32,
    },
    /// Adds a legal basis. Makes its id.
    AddLegalBasis {
        /// What it says.
        text: String,
    },
    /// Sets the words that enact it.
    SetEnactingClause {
        /// The words.
        text: String,
    },
    /// Adds a recipient. Makes its id.
    AddRecipient {
        /// Who.
        text: String,
    },
    /// Says who signs it.
    SetSignature {
        /// For whom.
        authority: String,
        /// As what.
        title: String,
        /// Who.
        signer: String,
    },
    /// Proposes another text for a stretch of a block, in UTF-16 code units. Makes its id.
    Suggest {
        /// The block.
        block: String,
        /// The first.
        start: u32,
        /// One past the last.
        end: u32,
        /// What should stand there.
        proposed: String,
    },
    /// Says that a suggestion is not taken.
    DeclineSuggestion {
        /// Which.
        suggestion: String,
    },

    // Attendance.
    /// Says that somebody is here.
    CheckIn {
        /// Who.
        member: String,
        /// How.
        way: CheckInWay,
    },
    /// Marks somebody on the roll, or takes the mark away.
    MarkAttendance {
        /// Whom.
        member: String,
        /// As what.
        mark: Option<AttendanceMark>,
        /// Why.
        reason: Option<String>,
    },

    /// Says when somebody came late, or left early: milliseconds since 1970.
    GiveTimes {
        /// Who.
        member: String,
        /// When it came.
        late_at: Option<i64>,
        /// When it left.
        left_at: Option<i64>,
    },

    // Votes on the phones.
    /// Asks a question. Makes its id.
    Ask {
        /// What is asked.
        title: String,
    },
    /// Votes, or votes anew while the question is open.
    Cast {
        /// Which question.
        question: String,
        /// What.
        choice: BallotChoice,
    },

    // Reviews.
    /// Comments. Makes its id.
    Comment {
        /// Which round.
        round: u32,
        /// How much it weighs.
        severity: CommentSeverity,
        /// A block, and words of it.
        block: Option<String>,
        /// The words.
        quote: Option<String>,
        /// The comment that it answers.
        answers: Option<String>,
        /// What it says.
        text: String,
    },
    /// Says through which body a review's remarks came.
    SetVia {
        /// Which.
        body: String,
    },
    /// Takes a step of a review: `requested`, `commented`, `returned`, `cleared`. Makes the event's id.
    StepReview {
        /// Which.
        kind: String,
        /// Which round.
        round: u32,
    },

    // Feedback.
    /// Begins a thread. Makes its id.
    BeginThread {
        /// What it is.
        kind: FeedbackKind,
        /// Its title.
        title: String,
        /// What it says.
        text: String,
        /// In which language.
        language: String,
        /// The document that it is about.
        subject: Option<String>,
        /// For whom it is written down.
        on_behalf_of: Option<String>,
    },
    /// Says something in a thread. Makes its id.
    Say {
        /// Which.
        thread: String,
        /// What.
        text: String,
        /// In which language.
        language: String,
        /// For whom it is written down.
        on_behalf_of: Option<String>,
    },
    /// Says who takes care of a thread.
    SetHandler {
        /// Which.
        thread: String,
        /// Who.
        member: String,
    },
    /// Takes a step of a thread: `acknowledged`, `answered`, `closed`… Makes the event's id.
    StepThread {
        /// Which thread.
        thread: String,
        /// Which step.
        kind: String,
        /// What belongs to it.
        data: HashMap<String, String>,
    },

    // Tasks.
    /// Gives a task. Makes its id.
    GiveTask {
        /// What.
        title: String,
        /// To whom.
        owners: Vec<String>,
        /// By when, `YYYY-MM-DD`.
        due: String,
        /// What it comes from.
        from: String,
    },
    /// Reports on a task. Makes its id.
    ReportTask {
        /// Which.
        task: String,
        /// How far, 0 to 100.
        percent: Option<u32>,
        /// What is done.
        text: String,
    },
    /// Says where a task is.
    SetTaskStatus {
        /// Which.
        task: String,
        /// Where.
        status: TaskStatus,
    },

    // Notices.
    /// Says that this member has read it.
    HasReadNotice,

    // Indexes.
    /// Says that of two documents one stands for the other.
    Link {
        /// The double.
        document: String,
        /// What stands for it.
        same_as: String,
    },
}

/// Steps of a document's life that name the heads which they are about.
const AS_IT_IS_NOW: [&str; 3] = ["adopted", "amended_on_floor", "consulting"];

fn made(id: Result<String, EditError>) -> Result<Option<String>, EditError> {
    id.map(Some)
}

fn done(done: Result<(), EditError>) -> Result<Option<String>, EditError> {
    done.map(|()| None)
}

fn member(id: &str) -> Result<MemberId, EditError> {
    ids::member(id).map_err(|error| EditError::Refused(error.to_string()))
}

fn some_member(id: Option<&String>) -> Result<Option<MemberId>, EditError> {
    id.map(|id| member(id)).transpose()
}

fn pairs(data: &HashMap<String, String>) -> Vec<(&str, &str)> {
    let mut pairs: Vec<(&str, &str)> = data.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
    pairs.sort_unstable();
    pairs
}

impl Command {
    fn write(self, edit: &mut Edit<'_>, me: &mut Me) -> Result<Option<String>, EditError> {
        match self {
            Self::AddSection { heading, place } => {
                made(outline::add_section(edit, me, &heading, place.put()))
            }
            Self::AddBlock { section, kind, text, speaker, place } => {
                let speaker = some_member(speaker.as_ref())?;
                made(outline::add_block(edit, me, &section, &kind, &text, speaker.as_ref(), place.put()))
            }
            Self::MoveBlock { block, section, place } => {
                done(outline::move_block(edit, &block, &section, place.put()))
            }
            Self::HideBlock { block, hidden } => done(outline::hide_block(edit, &block, hidden)),
            Self::SetSpeaker { block, speaker, language, interpreter } => {
                let (speaker, interpreter) = (member(&speaker)?, some_member(interpreter.as_ref())?);
                done(outline::set_speaker(edit, &block, &speaker, language.as_deref(), interpreter.as_ref()))
            }
            Self::SetField { path, value } => {
                done(minutes::set(edit, &path_of(path), core::Value::from(value)))
            }
            Self::Reread { block, heads } => {
                let heads = heads.iter().map(|hash| ids::change(hash)).collect::<Result<Vec<_>>>();
                let heads = heads.map_err(|error| EditError::Refused(error.to_string()))?;
                done(overlap::reread(edit, &block, &heads))
            }
            Self::Assign { task, owners, quantity, due } => {
                let owners = owners.iter().map(|id| member(id)).collect::<Result<Vec<_>, _>>()?;
                let new = NewAssignment { task: &task, owners: &owners, quantity: &quantity, due: &due };
                made(resolution::assign(edit, me, &new))
            }
            Self::Step { kind, data } => {
                let data = pairs(&data).into_iter().map(|(key, text)| (key, core::Value::from(text)));
                // Both kinds of documents that this is for say which they are.
                let schema = edit.view().get(&path!["schema"]);
                if schema.as_ref().and_then(core::Value::as_str) == Some(minutes::SCHEMA.name) {
                    made(minutes::step(edit, me, &kind, data))
                } else {
                    made(resolution::step(edit, me, &kind, data))
                }
            }
            Self::AddAgendaItem { title, presenter, place } => {
                let presenter = some_member(presenter.as_ref())?;
                made(parts::add_item(edit, me, &title, presenter.as_ref(), place.put()))
            }
            Self::AddGuest { name, post, body } => made(parts::add_guest(edit, me, &name, &post, &body)),
            Self::AddDecision { text, vote } => made(parts::add_decision(edit, me, &text, vote.as_deref())),
            Self::Sign { role } => made(parts::sign(edit, me, &role)),
            Self::SetChair { member: id } => done(parts::set_chair(edit, &member(&id)?)),
            Self::SetRecorder { member: id } => done(parts::set_recorder(edit, &member(&id)?)),
            Self::Score { criterion, points } => done(parts::score(edit, &criterion, points)),
            Self::AskWords { block } => done(words::ask(edit, &block)),
            Self::ConfirmWords { block } => done(words::confirm(edit, me, &block)),
            Self::MoveMotion { title, threshold } => {
                made(minutes::move_motion(edit, me, &title, threshold.into(), None))
            }
            Self::ConfirmCount { vote } => done(minutes::confirm_count(edit, me, &vote)),
            Self::ChooseCount { motion, vote } => done(minutes::choose_count(edit, &motion, &vote)),
            Self::Resolve { choose } => made(minutes::resolve(edit, me, &choose)),
            Self::SetDue { assignment, due } => done(resolution::set_due(edit, &assignment, &due)),
            Self::HasReadRound { round } => done(resolution::has_read(edit, me, round)),
            Self::AddLegalBasis { text } => made(resolution::parts::add_legal_basis(edit, me, &text)),
            Self::SetEnactingClause { text } => done(resolution::parts::set_enacting_clause(edit, &text)),
            Self::AddRecipient { text } => made(resolution::parts::add_recipient(edit, me, &text)),
            Self::SetSignature { authority, title, signer } => {
                done(resolution::parts::set_signature(edit, &authority, &title, &member(&signer)?))
            }
            Self::Suggest { block, start, end, proposed } => {
                made(suggestion::suggest(edit, me, &block, start as usize..end as usize, &proposed))
            }
            Self::DeclineSuggestion { suggestion } => done(suggestion::decline(edit, &suggestion)),
            Self::Comment { round, severity, block, quote, answers, text } => {
                let quote = block.as_deref().zip(quote.as_deref());
                let severity = severity.into();
                let answers = answers.as_deref();
                let new = review::NewComment { round, severity, quote, answers, text: &text };
                made(review::comment(edit, me, &new))
            }
            Self::SetVia { body } => done(review::set_via(edit, &body)),
            Self::StepReview { kind, round } => made(review::step(edit, me, &kind, round)),
            Self::CheckIn { member: id, way } => {
                let way = match way {
                    CheckInWay::Qr => attendance::Way::Qr,
                    CheckInWay::Tap => attendance::Way::Tap,
                    CheckInWay::Audio => attendance::Way::Audio,
                };
                done(attendance::check_in(edit, me, &member(&id)?, way))
            }
            Self::MarkAttendance { member: id, mark, reason } => {
                let id = member(&id)?;
                attendance::mark(edit, &id, mark.map(attendance::Mark::from))?;
                done(reason.map_or(Ok(()), |reason| attendance::give_reason(edit, &id, &reason)))
            }
            Self::GiveTimes { member: id, late_at, left_at } => {
                done(attendance::give_times(edit, &member(&id)?, late_at, left_at))
            }
            Self::Ask { title } => made(votebox::ask(edit, me, &title)),
            Self::Cast { question, choice } => {
                let choice = match choice {
                    BallotChoice::Yes => votebox::Choice::Yes,
                    BallotChoice::No => votebox::Choice::No,
                    BallotChoice::Abstain => votebox::Choice::Abstain,
                };
                done(votebox::cast(edit, me, &question, choice))
            }
            Self::BeginThread { kind, title, text, language, subject, on_behalf_of } => {
                let on_behalf_of = some_member(on_behalf_of.as_ref())?;
                let new = feedback::NewThread {
                    kind: kind.into(),
                    title: &title,
                    text: &text,
                    language: &language,
                    subject: subject.as_deref(),
                    on_behalf_of: on_behalf_of.as_ref(),
                };
                made(feedback::submit(edit, me, &new))
            }
            Self::Say { thread, text, language, on_behalf_of } => {
                let on_behalf_of = some_member(on_behalf_of.as_ref())?;
                made(feedback::say(edit, me, &thread, &text, &language, on_behalf_of.as_ref()))
            }
            Self::SetHandler { thread, member: id } => {
                done(feedback::set_handler(edit, &thread, &member(&id)?))
            }
            Self::StepThread { thread, kind, data } => {
                made(feedback::step(edit, me, &thread, &kind, &pairs(&data)))
            }
            Self::GiveTask { title, owners, due, from } => {
                let owners: BTreeSet<MemberId> =
                    owners.iter().map(|id| member(id)).collect::<Result<_, _>>()?;
                let owners: Vec<MemberId> = owners.into_iter().collect();
                made(task::give(edit, me, &title, &owners, &due, &from))
            }
            Self::ReportTask { task, percent, text } => made(task::report(edit, me, &task, percent, &text)),
            Self::SetTaskStatus { task, status } => done(task::set_status(edit, &task, status.into())),
            Self::HasReadNotice => done(notice::has_read(edit, me)),
            Self::Link { document, same_as } => done(index::link(edit, &document, &same_as)),
        }
    }
}

#[uniffi::export]
impl Client {
    /// Does something to a document as this device's member: one change, on disk when this returns. Gives the id of what it
    /// made, if it makes something with an id. A step that is taken on a text as it is now (`adopted` of minutes,
    /// `amended_on_floor`, `consulting`) need not name the `heads` itself.
    pub async fn act(&self, doc: String, mut command: Command) -> Result<Option<String>> {
        let doc = ids::doc(&doc)?;
        let is_as_it_is_now = |command: &Command| {
            matches!(command, Command::Step { kind, data }
                if AS_IT_IS_NOW.contains(&kind.as_str()) && !data.contains_key("heads"))
        };
        if is_as_it_is_now(&command) {
            self.flush_fields_of(&[doc]).await;
        }
        let act = move |replica: &mut Replica<ClientStore>, now| {
            if is_as_it_is_now(&command)
                && let Command::Step { data, .. } = &mut command
            {
                data.insert("heads".to_owned(), heads_now(replica, now, &doc)?);
            }
            access::act(replica, now, &doc, None, |edit, me| command.write(edit, me)).map(|(made, _)| made)
        };
        Ok(self.core().run(act).await?)
    }
}
