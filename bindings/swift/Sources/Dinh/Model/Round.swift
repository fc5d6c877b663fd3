import Foundation

/// A block of a frozen round.
public struct RoundBlock: Sendable, Hashable, Identifiable, Decodable {
    /// The block's id in the resolution.
    public let id: String
    /// What it says.
    public let text: String

    public init(from decoder: any Decoder) throws {
        var pair = try decoder.unkeyedContainer()
        id = try pair.decode(String.self)
        text = try pair.decode(String.self)
    }
}

/// A section of a frozen round.
public struct RoundSection: Sendable, Hashable, Decodable {
    /// Its heading.
    public let heading: String
    /// What is in it, in order.
    public let blocks: [RoundBlock]

    private enum CodingKeys: String, CodingKey {
        case heading, blocks
    }
}

/// An assignment of a frozen round.
public struct RoundAssignment: Sendable, Hashable, Decodable {
    /// What is to be done.
    public let task: String
    /// The members who do it.
    public let owners: [String]
    /// How many or how much.
    public let quantity: String
    /// By when, `YYYY-MM-DD`.
    public let due: String

    public init(from decoder: any Decoder) throws {
        var four = try decoder.unkeyedContainer()
        task = try four.decode(String.self)
        owners = try four.decode(String.self).split(separator: ",").map { String($0) }
        quantity = try four.decode(String.self)
        due = try four.decode(String.self)
    }
}

/// A round of a consultation as reviewers of the upper body read it: frozen, and copied from the resolution.
public struct Round: Sendable, Hashable, Decodable {
    /// The resolution.
    public let subject: String
    /// Which round, from 1.
    public let round: Int
    /// The heads of the resolution that it shows.
    public let heads: [String]
    /// The parts of the head, what it rests on, and the words that enact it: one a line.
    public let preamble: [String]
    /// The prose.
    public let sections: [RoundSection]
    /// Who does what by when.
    public let assignments: [RoundAssignment]

    private enum CodingKeys: String, CodingKey {
        case subject, round, heads, preamble, sections, assignments
    }
}
