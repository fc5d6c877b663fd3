import DinhFFI
import Foundation

/// How a vote is taken.
public enum VoteMethod: String, Sendable, Hashable, CaseIterable, Decodable {
    /// Hands that were counted in the hall.
    case showOfHands = "show_of_hands"
    /// Slips of paper: who voted how is nowhere.
    case secretBallot = "secret_ballot"
    /// On the phones. Where hands were counted too, those decide.
    case electronic
}

/// How many must agree.
public enum VoteThreshold: String, Sendable, Hashable, CaseIterable, Decodable {
    /// More than half of the base.
    case moreThanHalf = "more_than_half"
    /// Two thirds of the base.
    case twoThirds = "two_thirds"
}

/// A count of hands, slips or phones.
public struct VoteTally: Sendable, Hashable, Decodable {
    /// For.
    public let yes: Int
    /// Against.
    public let no: Int
    /// Neither.
    public let abstain: Int

    public init(yes: Int, no: Int, abstain: Int) {
        self.yes = yes
        self.no = no
        self.abstain = abstain
    }

    private enum CodingKeys: String, CodingKey {
        case yes, no, abstain
    }
}

/// The slips of a secret ballot.
public struct BallotSlips: Sendable, Hashable, Decodable {
    /// Handed out.
    public let issued: Int
    /// In the box.
    public let returned: Int
    /// Of those, valid.
    public let valid: Int

    public init(issued: Int, returned: Int, valid: Int) {
        self.issued = issued
        self.returned = returned
        self.valid = valid
    }

    private enum CodingKeys: String, CodingKey {
        case issued, returned, valid
    }
}

/// Why an official member is left out of the base of a vote.
public enum VoteExclusion: String, Sendable, Hashable, CaseIterable, Decodable {
    /// Freed from work and meetings, and not here.
    case exemptAndAbsent = "exempt_and_absent"
    /// Moved elsewhere for a time.
    case temporarilyAway = "temporarily_away"
    /// Suspended from party activities.
    case suspended
    /// Detained.
    case detained
    /// Absent with a reason that was approved.
    case excused
}

/// Whom votes are counted against, and who was left out and why.
public struct VoteBase: Sendable, Hashable, Decodable {
    /// How many.
    public let count: Int
    /// The rules by which it was made.
    public let excluding: Set<VoteExclusion>
    /// Official members that are not in it, with the reason.
    public let leftOut: [String: VoteExclusion]

    private enum CodingKeys: String, CodingKey {
        case count, excluding
        case leftOut = "left_out"
    }
}

/// What the branch votes on.
public struct Motion: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// What is moved.
    public let title: Register<String>
    /// The document that it adopts, as it was debated; nil if it is about none.
    public let subject: DocumentAtHeads?
    /// How many must be for it.
    public let threshold: VoteThreshold
    /// The counts that were written down.
    public let votes: [Vote]
    /// The count that an officer chose, where several were confirmed that say different things.
    public let chosen: Register<String>
    /// The id of the count that holds; see ``result``.
    public let holds: String?

    /// The count that holds: the one that an officer chose, else one that was confirmed, by hands before phones. Nil while there is
    /// none, or several that say different things.
    public var result: Vote? { votes.first { $0.id == holds } }

    /// Whether it was counted more than once and no count holds: the chair confirms or chooses one.
    public var isCountedTwice: Bool { votes.count > 1 && result == nil }

    private enum CodingKeys: String, CodingKey {
        case id, title, subject, threshold, votes, chosen, holds
    }
}

/// One count of a motion.
public struct Vote: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// How it was taken.
    public let method: VoteMethod
    /// Against how many it is counted, frozen with it.
    public let base: Int
    /// How many of them must be for it.
    public let needed: Int
    /// What was counted.
    public let tally: VoteTally
    /// The slips, of a secret ballot.
    public let ballots: BallotSlips?
    /// Whether it carried, against that base.
    public let carried: Bool
    /// The member who wrote it down.
    public let by: String
    /// When, by that member's device.
    public let at: Date
    /// The member who confirmed it; nil while nobody else did.
    public let confirmedBy: String?

    private enum CodingKeys: String, CodingKey {
        case id, method, base, needed, tally, ballots, carried, by, at
        case confirmedBy = "confirmed_by"
    }
}

/// A vote as it was counted, to be written down: ``MinutesDocument/recordCount(_:attendance:roster:)``.
public struct NewCount: Sendable, Hashable {
    /// The motion.
    public var motion: String
    /// How it was taken.
    public var method: VoteMethod
    /// How many must agree.
    public var threshold: VoteThreshold
    /// What was counted.
    public var tally: VoteTally
    /// The slips: of a secret ballot, and only then.
    public var slips: BallotSlips?

    public init(motion: String, method: VoteMethod, threshold: VoteThreshold, tally: VoteTally, slips: BallotSlips? = nil) {
        self.motion = motion
        self.method = method
        self.threshold = threshold
        self.tally = tally
        self.slips = slips
    }
}

// MARK: - Across the border

extension VoteMethod {
    var native: DinhFFI.VoteMethod {
        switch self {
        case .showOfHands: .showOfHands
        case .secretBallot: .secretBallot
        case .electronic: .electronic
        }
    }
}

extension VoteThreshold {
    var native: DinhFFI.VoteThreshold {
        switch self {
        case .moreThanHalf: .moreThanHalf
        case .twoThirds: .twoThirds
        }
    }
}

extension NewCount {
    func native() throws -> DinhFFI.NewCount {
        let counted = DinhFFI.VoteTally(
            yes: try unsigned(tally.yes), no: try unsigned(tally.no), abstain: try unsigned(tally.abstain))
        var papers: DinhFFI.BallotSlips?
        if let slips {
            papers = DinhFFI.BallotSlips(
                issued: try unsigned(slips.issued), returned: try unsigned(slips.returned), valid: try unsigned(slips.valid))
        }
        return DinhFFI.NewCount(
            motion: motion, method: method.native, threshold: threshold.native, tally: counted, slips: papers)
    }
}
