//! What takes several documents: beginning papers, counting, consulting, issuing, sealing.

use std::collections::{BTreeSet, HashMap};

use dinh_core::client::ClientStore;
use dinh_core::document::Value;
use dinh_core::gate::rights::Schema;
use dinh_core::proto::charter::record::Writers;
use dinh_core::proto::ids::{DocId, MemberId, SpaceId};
use dinh_core::replica::{Now, Replica, ReplicaError};
use dinh_model::access::{act, read};
use dinh_model::attendance::{self, Attendance, Mark};
use dinh_model::branch;
use dinh_model::index::{self, Entry, Index, Purpose};
use dinh_model::lifecycle;
use dinh_model::minutes::{self, Count, Kind, Minutes, NewMinutes};
use dinh_model::resolution::state::ResolutionLife;
use dinh_model::resolution::{self, Resolution, Voted};
use dinh_model::roster::Roster;
use dinh_model::suggestion;
use dinh_model::vote::{self, Ballots, Exclusion, Tally};
use dinh_model::votebox::{self, Question};
use dinh_model::{amendment, book, consultation, late, notice};

use super::branch::place;
use super::snapshot::{heads_now, seal_of};
use super::words::{VoteMethod, VoteThreshold};
use super::{Done, refused};
use crate::client::Client;
use crate::error::Result;
use crate::ids;

/// In which space a paper begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Room {
    /// All members.
    Members,
    /// The committee.
    Committee,
    /// The committee and the upper body's reviewers.
    Oversight,
}

/// What kind of meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum MeetingKind {
    /// The regular one.
    Regular,
    /// About one matter.
    Thematic,
    /// The committee's.
    Committee,
}

/// A meeting to be held.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct NewMeeting {
    /// Its name, equal on all phones: of two documents with one name one is shown as the double of the other.
    pub meeting: String,
    /// The month, `YYYY-MM`.
    pub period: String,
    /// What kind.
    pub kind: MeetingKind,
    /// The parts of the head: `issuing_org`, `type_name`, …
    pub header: HashMap<String, String>,
    /// Who leads it.
    pub chair: Option<String>,
    /// Who writes the minutes: may write them whatever its role.
    pub recorder: Option<String>,
}

/// The documents of a meeting.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Meeting {
    /// The minutes.
    pub minutes: String,
    /// The roll.
    pub attendance: String,
    /// Votes on the phones.
    pub votebox: String,
}

/// A count of hands or slips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct VoteTally {
    /// For.
    pub yes: u32,
    /// Against.
    pub no: u32,
    /// Neither.
    pub abstain: u32,
}

/// Slips of a secret ballot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct BallotSlips {
    /// Handed out.
    pub issued: u32,
    /// In the box.
    pub returned: u32,
    /// Of them valid.
    pub valid: u32,
}

/// A vote as it was counted.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct NewCount {
    /// Of which motion.
    pub motion: String,
    /// How.
    pub method: VoteMethod,
    /// How many must agree.
    pub threshold: VoteThreshold,
    /// What was counted.
    pub tally: VoteTally,
    /// The slips, in a secret ballot.
    pub slips: Option<BallotSlips>,
}

/// The documents of a round of consultation.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct OpenedRound {
    /// Which, from 1.
    pub round: u32,
    /// What the branch reads.
    pub resolution: String,
    /// What reviewers read.
    pub frozen: String,
    /// Where they answer.
    pub review: String,
}

/// What a document does to a sealed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum AmendmentRelation {
    /// It adds to it: minutes that correct minutes.
    Adds,
    /// It changes parts of it.
    Amends,
    /// It holds in its place.
    Supersedes,
    /// It takes it back.
    Revokes,
}

impl From<AmendmentRelation> for amendment::Relation {
    fn from(relation: AmendmentRelation) -> Self {
        match relation {
            AmendmentRelation::Adds => Self::Adds,
            AmendmentRelation::Amends => Self::Amends,
            AmendmentRelation::Supersedes => Self::Supersedes,
            AmendmentRelation::Revokes => Self::Revokes,
        }
    }
}

/// What becomes of a suggestion that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Accepted {
    /// It stands in the text.
    Done,
    /// Something else stands there now: nothing was written.
    Changed,
}

impl From<Room> for Purpose {
    fn from(room: Room) -> Self {
        match room {
            Room::Members => Self::Branch,
            Room::Committee => Self::Committee,
            Room::Oversight => Self::Oversight,
        }
    }
}

/// Who is on the roster and the roll against it.
fn summary(replica: &mut Replica<ClientStore>, roster: &DocId, roll: &DocId) -> Done<attendance::Summary> {
    let roster = read(replica, roster, Roster::read)?;
    let roll = read(replica, roll, Attendance::read)?;
    Ok(roll.summary(&roster.shown(), &Exclusion::ORDINARY.into()))
}

/// The heads that were debated last.
fn debated(replica: &mut Replica<ClientStore>, resolution: &DocId) -> Done<String> {
    let (events, counted) = read(replica, resolution, |fields| {
        let events = lifecycle::read(fields.view());
        let counted = lifecycle::fold::<ResolutionLife>(&events).counted;
        (events, counted)
    })?;
    let debated = counted.iter().rev().find_map(|id| {
        let event = events.iter().find(|event| event.id == *id)?;
        matches!(event.kind.as_str(), "tabled" | "amended_on_floor").then(|| event.text("heads"))?
    });
    debated.map(str::to_owned).ok_or_else(|| refused("the resolution was not tabled"))
}

fn begin_meeting(
    replica: &mut Replica<ClientStore>,
    now: Now,
    branch: &SpaceId,
    new: &NewMeeting,
) -> Done<Meeting> {
    let purpose = match new.kind {
        MeetingKind::Committee => Purpose::Committee,
        MeetingKind::Regular | MeetingKind::Thematic => Purpose::Branch,
    };
    let place = place(replica, branch, purpose)?;
    let member = |id: &Option<String>| {
        let id = id.as_deref().map(ids::member).transpose();
        id.map_err(|error| refused(&error.to_string()))
    };
    let (chair, recorder) = (member(&new.chair)?, member(&new.recorder)?);
    let kind = match new.kind {
        MeetingKind::Regular => Kind::Regular,
        MeetingKind::Thematic => Kind::Thematic,
        MeetingKind::Committee => Kind::Committee,
    };
    let mut header: Vec<(&str, &str)> = new.header.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    header.sort_unstable();
    let period = Some(new.period.as_str());
    let fresh = NewMinutes { meeting: &new.meeting, period: &new.period, kind, header: &header };
    let listed = Entry { schema: minutes::SCHEMA.name, period, kind: Some(kind.name()), of: None };
    let minutes = branch::create(replica, now, &place, Writers::All, &listed, |edit, _| {
        minutes::create(edit, &fresh)?;
        chair.map_or(Ok(()), |chair| minutes::parts::set_chair(edit, &chair))?;
        recorder.map_or(Ok(()), |recorder| minutes::parts::set_recorder(edit, &recorder))
    })?;
    let of = ids::text(&minutes);
    let belongs = |schema: &Schema| Entry { schema: schema.name, period, kind: None, of: Some(&of) };
    let listed = belongs(&attendance::SCHEMA);
    let attendance = branch::create(replica, now, &place, Writers::All, &listed, |edit, _| {
        attendance::create(edit, &new.meeting)
    })?;
    let listed = belongs(&votebox::SCHEMA);
    let votebox =
        branch::create(replica, now, &place, Writers::All, &listed, |edit, _| votebox::create(edit))?;
    for doc in recorder.iter().flat_map(|_| [minutes, attendance, votebox]) {
        replica.name_recorder(doc, recorder.unwrap_or_default())?;
    }
    Ok(Meeting {
        minutes: ids::text(&minutes),
        attendance: ids::text(&attendance),
        votebox: ids::text(&votebox),
    })
}

#[uniffi::export]
impl Client {
    /// Begins the papers of a meeting, in the space of all members, or of the committee if it is the committee's.
    pub async fn begin_meeting(&self, branch: String, new: NewMeeting) -> Result<Meeting> {
        let branch = ids::space(&branch)?;
        Ok(self.core().run(move |replica, now| begin_meeting(replica, now, &branch, &new)).await?)
    }

    /// Begins the draft of a resolution, in the committee's space.
    pub async fn begin_draft(
        &self,
        branch: String,
        period: String,
        header: HashMap<String, String>,
    ) -> Result<String> {
        let branch = ids::space(&branch)?;
        let begin = move |replica: &mut Replica<ClientStore>, now| {
            let place = place(replica, &branch, Purpose::Committee)?;
            let mut header: Vec<(&str, &str)> =
                header.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            header.sort_unstable();
            let schema = &resolution::SCHEMA;
            let entry = Entry { schema: schema.name, period: Some(&period), ..Entry::default() };
            branch::create(replica, now, &place, Writers::All, &entry, |edit, _| {
                resolution::create(edit, schema, &period, &header)
            })
        };
        Ok(ids::text(&self.core().run(begin).await?))
    }

    /// Writes a notice for a room.
    pub async fn post_notice(
        &self,
        branch: String,
        room: Room,
        title: String,
        text: String,
        until: Option<String>,
    ) -> Result<String> {
        let branch = ids::space(&branch)?;
        let post = move |replica: &mut Replica<ClientStore>, now| {
            let place = place(replica, &branch, room.into())?;
            let entry = Entry { schema: notice::SCHEMA.name, ..Entry::default() };
            branch::create(replica, now, &place, Writers::All, &entry, |edit, _| {
                notice::create(edit, &title, &text, until.as_deref())
            })
        };
        Ok(ids::text(&self.core().run(post).await?))
    }

    /// The numbers of a roll against the roster, as JSON.
    pub async fn attendance_summary(&self, roster: String, attendance: String) -> Result<String> {
        let (roster, roll) = (ids::doc(&roster)?, ids::doc(&attendance)?);
        let found = self.core().look(move |replica| summary(replica, &roster, &roll)).await?;
        super::snapshot::text(&found)
    }

    /// Freezes who was there in the minutes, when they are read back.
    pub async fn freeze_attendance(&self, minutes: String, roster: String, attendance: String) -> Result<()> {
        let (minutes, roster, roll) = (ids::doc(&minutes)?, ids::doc(&roster)?, ids::doc(&attendance)?);
        let freeze = move |replica: &mut Replica<ClientStore>, now| {
            let summary = summary(replica, &roster, &roll)?;
            act(replica, now, &minutes, None, |edit, _| minutes::parts::freeze_attendance(edit, &summary))
        };
        self.core().run(freeze).await?;
        Ok(())
    }

    /// Puts a motion about a resolution, as it was debated last. Gives the motion's id.
    pub async fn move_resolution(
        &self,
        minutes: String,
        resolution: String,
        title: String,
        threshold: VoteThreshold,
    ) -> Result<String> {
        let (minutes, resolution) = (ids::doc(&minutes)?, ids::doc(&resolution)?);
        let put = move |replica: &mut Replica<ClientStore>, now| {
            let heads = debated(replica, &resolution)?;
            let subject = Some((&resolution, heads.as_str()));
            let (id, _) = act(replica, now, &minutes, None, |edit, me| {
                minutes::move_motion(edit, me, &title, threshold.into(), subject)
            })?;
            Ok(id)
        };
        Ok(self.core().run(put).await?)
    }

    /// Notes a count, against the base that roster and roll give now. Gives the vote's id.
    pub async fn record_count(
        &self,
        minutes: String,
        roster: String,
        attendance: String,
        count: NewCount,
    ) -> Result<String> {
        let (minutes, roster, roll) = (ids::doc(&minutes)?, ids::doc(&roster)?, ids::doc(&attendance)?);
        let note = move |replica: &mut Replica<ClientStore>, now| {
            let base = summary(replica, &roster, &roll)?.base;
            let VoteTally { yes, no, abstain } = count.tally;
            let (method, tally) = (count.method.into(), Tally { yes, no, abstain });
            let ballots = count.slips.map(|BallotSlips { issued, returned, valid }| Ballots {
                issued,
                returned,
                valid,
            });
            vote::check(method, &tally, ballots.as_ref(), &base).map_err(|bad| refused(&bad.to_string()))?;
            let threshold = count.threshold.into();
            let count = Count { motion: &count.motion, method, base: &base, threshold, tally, ballots };
            let (id, _) =
                act(replica, now, &minutes, None, |edit, me| minutes::record_count(edit, me, &count))?;
            Ok(id)
        };
        Ok(self.core().run(note).await?)
    }

    /// Closes a question with what is counted now of the official members who are marked present.
    pub async fn close_question(
        &self,
        votebox: String,
        roster: String,
        attendance: String,
        question: String,
    ) -> Result<()> {
        let (votes, roster, roll) = (ids::doc(&votebox)?, ids::doc(&roster)?, ids::doc(&attendance)?);
        let close = move |replica: &mut Replica<ClientStore>, now| {
            let people = read(replica, &roster, Roster::read)?.shown();
            let marks = read(replica, &roll, Attendance::read)?.marks();
            let may = |id: &MemberId| {
                marks.get(id) == Some(&Mark::Present)
                    && people.get(id).is_some_and(|p| p.standing.is_official())
            };
            let voters: BTreeSet<MemberId> = people.keys().copied().filter(may).collect();
            let all = read(replica, &votes, Question::read_all)?;
            let found = all.into_iter().find(|q| q.id == question);
            let found = found.ok_or_else(|| refused("the question is not here"))?;
            act(replica, now, &votes, None, |edit, me| votebox::close(edit, me, &found, &voters))
        };
        self.core().run(close).await?;
        Ok(())
    }

    /// Tables a resolution as it is now, in the meeting of these minutes.
    pub async fn table(&self, resolution: String, minutes: String) -> Result<()> {
        let (doc, minutes) = (ids::doc(&resolution)?, ids::doc(&minutes)?);
        self.flush_fields_of(&[doc]).await;
        let table = move |replica: &mut Replica<ClientStore>, now| {
            let open = read(replica, &minutes, Minutes::read)?;
            let found = read(replica, &doc, Resolution::read)?;
            found.may_table(&open).map_err(|not| refused(&not.to_string()))?;
            let heads = heads_now(replica, now, &doc)?;
            let data = [("meeting", Value::from(open.meeting.as_str())), ("heads", heads.into())];
            act(replica, now, &doc, None, |edit, me| resolution::step(edit, me, "tabled", data))
        };
        self.core().run(table).await?;
        Ok(())
    }

    /// Says in a resolution what a motion about it came to.
    pub async fn decide(&self, resolution: String, minutes: String, motion: String) -> Result<()> {
        let (doc, minutes) = (ids::doc(&resolution)?, ids::doc(&minutes)?);
        let decide = move |replica: &mut Replica<ClientStore>, now| {
            let heads = debated(replica, &doc)?;
            let found = read(replica, &minutes, Minutes::read)?;
            let found = found.motions.into_iter().find(|m| m.id == motion);
            let found = found.ok_or_else(|| refused("the motion is not here"))?;
            let vote = found.result().ok_or_else(|| refused("no count of the motion holds"))?;
            let voted = Voted { heads: &heads, vote, threshold: found.threshold };
            act(replica, now, &doc, None, |edit, me| resolution::decide(edit, me, &voted))
        };
        self.core().run(decide).await?;
        Ok(())
    }

    /// Gives a resolution the next number of a line (`NQ`) and issues it. Gives the number.
    pub async fn issue(
        &self,
        branch: String,
        resolution: String,
        line: String,
        date: String,
    ) -> Result<String> {
        let (branch, doc) = (ids::space(&branch)?, ids::doc(&resolution)?);
        let issue = move |replica: &mut Replica<ClientStore>, now| {
            let place = place(replica, &branch, Purpose::Branch)?;
            let index = read(replica, &place.index, Index::read)?;
            let number = format!("{:02}", index.next_number(&line));
            let found = read(replica, &doc, Resolution::read)?;
            found.may_issue(&number, &BTreeSet::new()).map_err(|not| refused(&not.to_string()))?;
            let id = ids::text(&doc);
            act(replica, now, &place.index, None, |edit, _| index::give_number(edit, &index, &id, &line))?;
            act(replica, now, &doc, None, |edit, me| resolution::issue(edit, me, &number, &date))?;
            Ok(number)
        };
        Ok(self.core().run(issue).await?)
    }

    /// Seals a document as it is and enters the seal into the book of its space. Gives the seal's hash. If it was interrupted,
    /// calling it again finishes what is missing.
    pub async fn seal(&self, branch: String, doc: String) -> Result<String> {
        let (branch, doc) = (ids::space(&branch)?, ids::doc(&doc)?);
        self.flush_fields_of(&[doc]).await;
        let seal = move |replica: &mut Replica<ClientStore>, now| {
            let place = place(replica, &branch, Purpose::Branch)?;
            book::seal(replica, now, &place, &doc)
        };
        Ok(self.core().run(seal).await?.hash())
    }

    /// Opens a round of consultation on a draft: copies it to the resolution that members read, and a frozen copy for reviewers.
    pub async fn open_round(&self, branch: String, draft: String) -> Result<OpenedRound> {
        let (branch, draft) = (ids::space(&branch)?, ids::doc(&draft)?);
        self.flush_fields_of(&[draft]).await;
        let open = move |replica: &mut Replica<ClientStore>, now| {
            consultation::open_round(replica, now, &branch, &draft, &resolution::OPEN_SCHEMA)
        };
        let consultation::Opened { round, resolution, frozen, review } = self.core().run(open).await?;
        let (resolution, frozen, review) = (ids::text(&resolution), ids::text(&frozen), ids::text(&review));
        Ok(OpenedRound { round, resolution, frozen, review })
    }

    /// Copies what members made of a resolution back to its draft.
    pub async fn take_back(&self, branch: String, draft: String) -> Result<()> {
        let (branch, draft) = (ids::space(&branch)?, ids::doc(&draft)?);
        // Of the resolution, whose id is not known here.
        let _ = self.flush_fields().await;
        let take = move |replica: &mut Replica<ClientStore>, now| {
            consultation::take_back(replica, now, &branch, &draft)
        };
        Ok(self.core().run(take).await?)
    }

    /// Puts a suggestion into the text. Its author is named in the change.
    pub async fn accept_suggestion(&self, resolution: String, suggestion: String) -> Result<Accepted> {
        let doc = ids::doc(&resolution)?;
        self.flush_fields_of(&[doc]).await;
        let accept = move |replica: &mut Replica<ClientStore>, now| {
            // What is being typed may move the place.
            replica.flush_text(now, &doc)?;
            let all = read(replica, &doc, Resolution::read)?.suggestions;
            let found = all.into_iter().find(|s| s.id == suggestion);
            let found = found.ok_or_else(|| refused("the suggestion is not here"))?;
            let suggestion::Place::Here(range) = &found.place else { return Ok(Accepted::Changed) };
            let credit = suggestion::credit(&found);
            act(replica, now, &doc, Some(&credit), |edit, _| suggestion::accept(edit, &found, range))?;
            Ok(Accepted::Done)
        };
        Ok(self.core().run(accept).await?)
    }

    /// Makes feedback of what came late to a sealed document. `change` is a late proposal's. Gives the threads' ids.
    pub async fn late_into_feedback(
        &self,
        doc: String,
        change: String,
        threads: String,
    ) -> Result<Vec<String>> {
        let (doc, threads) = (ids::doc(&doc)?, ids::doc(&threads)?);
        let move_on = move |replica: &mut Replica<ClientStore>, now| {
            let sealed = seal_of(replica, &doc)?;
            let (_, schema) = sealed.ok_or_else(|| refused("the document is not sealed"))?;
            let all = late::of(replica, &doc, schema)?;
            let of_change = all.iter().filter(|p| p.change == change && p.became.is_none());
            of_change.map(|p| late::into_feedback(replica, now, &doc, p, &threads)).collect()
        };
        Ok(self.core().run(move_on).await?)
    }

    /// Says in a new document what it does to a sealed one. Gives the seal's hash, by which it knows it.
    pub async fn amend(&self, new: String, old: String, relation: AmendmentRelation) -> Result<String> {
        let (new, old) = (ids::doc(&new)?, ids::doc(&old)?);
        let relation = relation.into();
        let say = move |replica: &mut Replica<ClientStore>, now| {
            let sealed = read(replica, &old, |fields| dinh_model::seal::read(fields).get().cloned())?;
            let hash =
                sealed.ok_or_else(|| refused("the older document is not sealed: change it instead"))?.hash();
            let document = ids::text(&old);
            act(replica, now, &new, None, |edit, _| amendment::amend(edit, &document, &hash, relation))?;
            Ok(hash)
        };
        Ok(self.core().run(say).await?)
    }

    /// Notes a paper that lies before the meeting, as it is now if it is a document of the branch. Gives its id.
    pub async fn add_document_used(
        &self,
        minutes: String,
        title: String,
        doc: Option<String>,
    ) -> Result<String> {
        let minutes = ids::doc(&minutes)?;
        let doc = doc.as_deref().map(ids::doc).transpose()?;
        self.flush_fields_of(doc.as_slice()).await;
        let note = move |replica: &mut Replica<ClientStore>, now| {
            let heads_of =
                |doc: DocId| Ok::<_, ReplicaError>((ids::text(&doc), heads_now(replica, now, &doc)?));
            let used = doc.map(heads_of).transpose()?;
            let used = used.as_ref().map(|(doc, heads)| (doc.as_str(), heads.as_str()));
            let (id, _) = act(replica, now, &minutes, None, |edit, me| {
                minutes::parts::add_document_used(edit, me, &title, used)
            })?;
            Ok(id)
        };
        Ok(self.core().run(note).await?)
    }

    /// Notes in an old document that a new one follows it, as the new one's relation says.
    pub async fn follow_up(&self, old: String, new: String) -> Result<()> {
        let (old, new) = (ids::doc(&old)?, ids::doc(&new)?);
        Ok(self.core().run(move |replica, now| amendment::follow(replica, now, &old, &new)).await?)
    }
}
