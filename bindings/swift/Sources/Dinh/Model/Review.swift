import DinhFFI
import Foundation

/// Where the review of the newest round stands.
public enum ReviewState: Sendable, Hashable, Decodable {
    /// Nobody asked.
    case notRequested
    /// The branch asked for this round.
    case requested(round: Int)
    /// Reviewers said something about it.
    case commented(round: Int)
    /// It goes back.
    case returned(round: Int)
    /// Nothing stands against it.
    case cleared(round: Int)

    /// The round that it is about; 0 if nobody asked.
    public var round: Int {
        switch self {
        case .notRequested: 0
        case .requested(let round), .commented(let round), .returned(let round), .cleared(let round): round
        }
    }

    private enum CodingKeys: String, CodingKey {
        case requested, commented, returned, cleared
    }

    public init(from decoder: any Decoder) throws {
        if let word = try? decoder.singleValueContainer().decode(String.self) {
            guard word == "none" else { throw unknown(word, at: decoder) }
            self = .notRequested
            return
        }
        let found = try decoder.container(keyedBy: CodingKeys.self)
        guard let key = found.allKeys.first else { throw unknown("a state of a review", at: decoder) }
        let round = try found.decode(Int.self, forKey: key)
        switch key {
        case .requested: self = .requested(round: round)
        case .commented: self = .commented(round: round)
        case .returned: self = .returned(round: round)
        case .cleared: self = .cleared(round: round)
        }
    }
}

/// Steps of a review, for ``ReviewDocument/stepReview(_:round:)``.
public enum ReviewSteps {
    /// The branch asks for a review of a round.
    public static let requested = "requested"
    /// Reviewers said something about it.
    public static let commented = "commented"
    /// It goes back.
    public static let returned = "returned"
    /// Nothing stands against it.
    public static let cleared = "cleared"
}

/// How much a reviewer's comment weighs.
public enum CommentSeverity: String, Sendable, Hashable, CaseIterable, Decodable {
    /// It goes back without this.
    case mustFix = "must_fix"
    /// It would be better.
    case suggestion
    /// Well done.
    case praise
    /// An answer to another comment.
    case reply
}

/// Words of a block.
public struct BlockQuote: Sendable, Hashable, Decodable {
    /// The block.
    public let block: String
    /// The words.
    public let quote: String

    public init(block: String, quote: String) {
        self.block = block
        self.quote = quote
    }

    public init(from decoder: any Decoder) throws {
        var pair = try decoder.unkeyedContainer()
        block = try pair.decode(String.self)
        quote = try pair.decode(String.self)
    }
}

/// What a reviewer says, or what the committee answers.
public struct ReviewComment: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// The member whose it is.
    public let by: String
    /// When, by that member's device.
    public let at: Date
    /// The round that it is about.
    public let round: Int
    /// How much it weighs.
    public let severity: CommentSeverity
    /// The words that it is about; nil if it is about the whole.
    public let quote: BlockQuote?
    /// The comment that it answers.
    public let answers: String?
    /// What it says.
    public let text: String

    private enum CodingKeys: String, CodingKey {
        case id, by, at, round, severity, quote, answers, text
    }
}

/// What reviewers of the upper body say about a resolution, as it is now.
public struct Review: Sendable, Hashable, Decodable {
    /// The resolution.
    public let subject: Register<String>
    /// The body through which the remarks went to the branch, if they did not go directly.
    public let via: Register<String>
    /// The comments, oldest first.
    public let comments: [ReviewComment]
    /// Where it stands.
    public let life: Life<ReviewState>

    private enum CodingKeys: String, CodingKey {
        case subject, via, comments, life
    }
}

// MARK: - Across the border

extension CommentSeverity {
    var native: DinhFFI.CommentSeverity {
        switch self {
        case .mustFix: .mustFix
        case .suggestion: .suggestion
        case .praise: .praise
        case .reply: .reply
        }
    }
}
