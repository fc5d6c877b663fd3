//! Words that commands and flows have in common.

use dinh_model::outline::Put;
use dinh_model::{attendance, feedback, review, task, vote};

/// Where something is put among its like.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Place {
    /// Before all others.
    First,
    /// Behind another one.
    After {
        /// Its id.
        id: String,
    },
    /// Behind all others.
    Last,
}

impl Place {
    pub(super) fn put(&self) -> Put<'_> {
        match self {
            Self::First => Put::First,
            Self::After { id } => Put::After(id),
            Self::Last => Put::Last,
        }
    }
}

/// How somebody said that they are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum CheckInWay {
    /// By a code on the wall.
    Qr,
    /// By a tap.
    Tap,
    /// By sound.
    Audio,
}

/// How a vote was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum VoteMethod {
    /// Hands that were counted.
    ShowOfHands,
    /// Slips of paper.
    SecretBallot,
    /// On the phones.
    Electronic,
}

impl From<VoteMethod> for vote::Method {
    fn from(method: VoteMethod) -> Self {
        match method {
            VoteMethod::ShowOfHands => Self::ShowOfHands,
            VoteMethod::SecretBallot => Self::SecretBallot,
            VoteMethod::Electronic => Self::Electronic,
        }
    }
}

/// How many must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum VoteThreshold {
    /// More than half of the base.
    MoreThanHalf,
    /// Two thirds of the base.
    TwoThirds,
}

impl From<VoteThreshold> for vote::Threshold {
    fn from(threshold: VoteThreshold) -> Self {
        match threshold {
            VoteThreshold::MoreThanHalf => Self::MoreThanHalf,
            VoteThreshold::TwoThirds => Self::TwoThirds,
        }
    }
}

/// What somebody votes on a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum BallotChoice {
    /// For it.
    Yes,
    /// Against it.
    No,
    /// Neither.
    Abstain,
}

/// What the roll says of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum AttendanceMark {
    /// Here.
    Present,
    /// Away with leave.
    Excused,
    /// Away without.
    Unexcused,
    /// Need not come.
    Exempt,
    /// Works elsewhere for a while.
    TemporarilyAway,
    /// From another branch, here for a while.
    TemporarilyHere,
}

impl From<AttendanceMark> for attendance::Mark {
    fn from(mark: AttendanceMark) -> Self {
        match mark {
            AttendanceMark::Present => Self::Present,
            AttendanceMark::Excused => Self::Excused,
            AttendanceMark::Unexcused => Self::Unexcused,
            AttendanceMark::Exempt => Self::Exempt,
            AttendanceMark::TemporarilyAway => Self::TemporarilyAway,
            AttendanceMark::TemporarilyHere => Self::TemporarilyHere,
        }
    }
}

/// How much a reviewer's comment weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum CommentSeverity {
    /// It goes back without this.
    MustFix,
    /// It would be better.
    Suggestion,
    /// Well done.
    Praise,
    /// An answer to another comment.
    Reply,
}

impl From<CommentSeverity> for review::Severity {
    fn from(severity: CommentSeverity) -> Self {
        match severity {
            CommentSeverity::MustFix => Self::MustFix,
            CommentSeverity::Suggestion => Self::Suggestion,
            CommentSeverity::Praise => Self::Praise,
            CommentSeverity::Reply => Self::Reply,
        }
    }
}

/// What a thread of feedback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum FeedbackKind {
    /// About a draft.
    DraftComment,
    /// A question.
    Question,
    /// A petition.
    Petition,
    /// For the eyes of a few: in a mailbox only.
    ConfidentialReport,
    /// An opinion that its author keeps after the vote: in a mailbox only.
    ReservedOpinion,
    /// Self-criticism.
    SelfCriticism,
}

impl From<FeedbackKind> for feedback::Kind {
    fn from(kind: FeedbackKind) -> Self {
        match kind {
            FeedbackKind::DraftComment => Self::DraftComment,
            FeedbackKind::Question => Self::Question,
            FeedbackKind::Petition => Self::Petition,
            FeedbackKind::ConfidentialReport => Self::ConfidentialReport,
            FeedbackKind::ReservedOpinion => Self::ReservedOpinion,
            FeedbackKind::SelfCriticism => Self::SelfCriticism,
        }
    }
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum TaskStatus {
    /// Being done.
    Open,
    /// Done.
    Done,
    /// Given up.
    Dropped,
}

impl From<TaskStatus> for task::Status {
    fn from(status: TaskStatus) -> Self {
        match status {
            TaskStatus::Open => Self::Open,
            TaskStatus::Done => Self::Done,
            TaskStatus::Dropped => Self::Dropped,
        }
    }
}
