import Foundation

/// The numbers of a month.
public enum DigestCount: String, Sendable, Hashable, CaseIterable, Decodable {
    /// The round of the draft.
    case round
    /// How many read it.
    case read
    /// How many should.
    case members
    /// How many were at the meeting.
    case present
    /// Votes for the resolution.
    case yes
    /// Whom votes are counted against.
    case base
    /// Threads of feedback that are not answered.
    case openFeedback = "open_feedback"
    /// Tasks and threads after their day.
    case overdue
}

/// One month of a branch.
public struct DigestMonth: Sendable, Hashable, Decodable {
    /// Where the resolution stands, or the minutes in a month without one: the word of a ``ResolutionState`` or ``MinutesState``, or
    /// `disputed`.
    public let state: String?
    /// The numbers that are known.
    public let counts: [DigestCount: Int]
    /// When it was written last, by the device that wrote it.
    public let updatedAt: Date?

    private enum CodingKeys: String, CodingKey {
        case state, counts
        case updatedAt = "updated_at"
    }

    public init(from decoder: any Decoder) throws {
        let found = try decoder.container(keyedBy: CodingKeys.self)
        state = try found.decodeIfPresent(String.self, forKey: .state)
        var counts: [DigestCount: Int] = [:]
        for (word, n) in try found.decode([String: Int].self, forKey: .counts) {
            guard let count = DigestCount(rawValue: word) else { throw unknown(word, at: decoder) }
            counts[count] = n
        }
        self.counts = counts
        updatedAt = try found.decodeIfPresent(Date.self, forKey: .updatedAt)
    }
}

/// What reviewers see of a branch without opening anything.
public struct Digest: Sendable, Hashable, Decodable {
    /// What the branch is called.
    public let branch: Register<String>
    /// The months, by `YYYY-MM`.
    public let months: [String: DigestMonth]

    private enum CodingKeys: String, CodingKey {
        case branch, months
    }
}

/// The digest of one of the branches that this device reads.
public struct BranchDigest: Sendable, Hashable, Identifiable, Decodable {
    /// The branch.
    public let id: String
    /// Its digest.
    public let digest: Digest

    public init(from decoder: any Decoder) throws {
        var pair = try decoder.unkeyedContainer()
        id = try pair.decode(String.self)
        digest = try pair.decode(Digest.self)
    }
}
