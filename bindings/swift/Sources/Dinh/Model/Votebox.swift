import DinhFFI
import Foundation

/// What somebody votes on a phone.
public enum BallotChoice: String, Sendable, Hashable, CaseIterable, Decodable {
    /// For it.
    case yes
    /// Against it.
    case no
    /// Neither.
    case abstain
}

/// What was counted when a question was closed. Ballots that come later change nothing.
public struct ClosedQuestion: Sendable, Hashable, Decodable {
    /// What was counted.
    public let tally: VoteTally
    /// How many ballots.
    public let voters: Int
    /// The member who closed it.
    public let by: String
    /// When, by that member's device.
    public let at: Date

    private enum CodingKeys: String, CodingKey {
        case tally, voters, by, at
    }
}

/// A question that is voted on phones, as it is now. Hands that were counted in the hall decide against it; what is secret is not
/// here at all.
public struct Question: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// What is asked.
    public let title: String
    /// Since when, by the device that asked.
    public let at: Date
    /// What each member voted. Of two of one member's phones the choice that is shown counts.
    public let ballots: [String: Register<BallotChoice>]
    /// What was counted when it was closed; empty while it is open.
    public let closed: Register<ClosedQuestion>

    /// Whether it is open.
    public var isOpen: Bool { closed.value == nil }

    private enum CodingKeys: String, CodingKey {
        case id, title, at, ballots, closed
    }
}

// MARK: - Across the border

extension BallotChoice {
    var native: DinhFFI.BallotChoice {
        switch self {
        case .yes: .yes
        case .no: .no
        case .abstain: .abstain
        }
    }
}
