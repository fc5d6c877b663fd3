import DinhFFI
import Foundation

/// Where a thread of feedback is in its life.
public enum FeedbackState: String, Sendable, Hashable, CaseIterable, Decodable {
    /// It was said.
    case submitted
    /// Somebody who must answer has read it.
    case acknowledged
    /// It is being dealt with.
    case inProgress = "in_progress"
    /// It was handed to the upper body.
    case forwarded
    /// It was answered.
    case answered
    /// Its author is not content with the answer.
    case reopened
    /// It is over.
    case closed
    /// It will not be dealt with, and its author was told why.
    case declined
    /// Its author took it back.
    case withdrawn

    /// Whether its author has an answer, or took it back.
    public var isAnswered: Bool {
        switch self {
        case .answered, .closed, .declined, .withdrawn: true
        case .submitted, .acknowledged, .inProgress, .forwarded, .reopened: false
        }
    }
}

/// Steps of a thread, for ``FeedbackDocument/stepThread(_:_:data:)``.
public enum FeedbackSteps {
    /// Somebody who must answer has read it.
    public static let acknowledged = "acknowledged"
    /// It is being dealt with.
    public static let inProgress = "in_progress"
    /// It is handed to the upper body. Data: `to`.
    public static let forwarded = "forwarded"
    /// It is answered: what the answer is, ``FeedbackDocument/say(_:_:language:onBehalfOf:)`` says.
    public static let answered = "answered"
    /// It gets more time. Data: `reason`, `due` as `YYYY-MM-DD`. It stays where it is.
    public static let extended = "extended"
    /// It will not be dealt with. Data: `reason`.
    public static let declined = "declined"
    /// It is over.
    public static let closed = "closed"
    /// By its author: the answer does not do.
    public static let reopened = "reopened"
    /// By its author: it is taken back, while nobody has read it.
    public static let withdrawn = "withdrawn"
    /// By its author: what the answer is worth. It stays where it is.
    public static let rated = "rated"
    /// Settles a dispute: ``FeedbackDocument/resolve(_:choosing:)``.
    public static let resolve = "resolve"
}

/// What a thread of feedback is.
public enum FeedbackKind: String, Sendable, Hashable, CaseIterable, Decodable {
    /// About a draft.
    case draftComment = "draft_comment"
    /// Something is asked.
    case question
    /// Something is asked for.
    case petition
    /// For the eyes of a few: in a mailbox only.
    case confidentialReport = "confidential_report"
    /// An opinion that lost a vote and is kept: in a mailbox only.
    case reservedOpinion = "reserved_opinion"
    /// About oneself.
    case selfCriticism = "self_criticism"
}

/// Something that was said in a thread. It is never edited: a correction is another message.
public struct FeedbackMessage: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// The member whose device wrote it.
    public let by: String
    /// The member in whose name, if a helper wrote it down for somebody without a phone.
    public let onBehalfOf: String?
    /// When, by the device that wrote it.
    public let at: Date
    /// What was said.
    public let text: String
    /// In which language, ISO 639.
    public let language: String

    private enum CodingKeys: String, CodingKey {
        case id, by
        case onBehalfOf = "on_behalf_of"
        case at, text, language
    }
}

/// A thread of feedback, as it is now.
public struct FeedbackThread: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// What it is.
    public let kind: FeedbackKind
    /// Its title.
    public let title: String
    /// The member whose it is.
    public let author: String
    /// The member whose device wrote it: a helper's, if its author has none.
    public let by: String
    /// When, by that member's device.
    public let at: Date
    /// What it is about, as the app wrote it: a document, a place in one, a vote.
    public let subject: String?
    /// What was said, oldest first.
    public let messages: [FeedbackMessage]
    /// Where it stands.
    public let life: Life<FeedbackState>
    /// The member who takes care of it.
    public let handler: Register<String>
    /// By when it must be answered, `YYYY-MM-DD`; nil if nobody said.
    public let due: String?

    /// Whether it is unanswered after its day. `today`: `YYYY-MM-DD`.
    public func isOverdue(today: String) -> Bool {
        if let state = life.state, state.isAnswered { return false }
        guard let due else { return false }
        return due < today
    }

    private enum CodingKeys: String, CodingKey {
        case id, kind, title, author, by, at, subject, messages, life, handler, due
    }
}

// MARK: - Across the border

extension FeedbackKind {
    var native: DinhFFI.FeedbackKind {
        switch self {
        case .draftComment: .draftComment
        case .question: .question
        case .petition: .petition
        case .confidentialReport: .confidentialReport
        case .reservedOpinion: .reservedOpinion
        case .selfCriticism: .selfCriticism
        }
    }
}
