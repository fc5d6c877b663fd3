import DinhFFI
import Foundation

/// For whom a space is.
public enum SpacePurpose: String, Sendable, Hashable, CaseIterable, Decodable {
    /// All members.
    case branch
    /// The committee.
    case committee
    /// The committee and reviewers of the upper body.
    case oversight
    /// One member and the committee.
    case mailboxCommittee = "mailbox_committee"
    /// One member and the reviewers of the upper body.
    case mailboxUpper = "mailbox_upper"
}

/// A space of a branch, as its index says: ``Branch/spaces()``.
public struct ListedSpace: Sendable, Identifiable {
    /// The space's id.
    public let id: String
    /// For whom it is.
    public let purpose: SpacePurpose
    /// What is in it.
    public let index: IndexDocument
    /// The member whose mailbox it is, if it is one.
    public let member: String?
}

/// A document as an index lists it.
public struct ListedDocument: Sendable, Hashable, Decodable {
    /// The name of its kind: one of ``Schemas``, or an app's.
    public let schema: String
    /// The document that it was made from: the draft of a resolution, the resolution of a round.
    public let of: String?
    /// Its month, `YYYY-MM`, if it has one.
    public let period: String?
    /// Which of its kind: regular or thematic minutes, the number of a round.
    public let kind: String?
    /// The member who created it.
    public let by: String
    /// The document that it turned out to be the double of.
    public let sameAs: Register<String>

    private enum CodingKeys: String, CodingKey {
        case schema, of, period, kind, by
        case sameAs = "same_as"
    }
}

/// A number that a document got.
public struct GivenNumber: Sendable, Hashable, Decodable {
    /// The number, from 1.
    public let number: Int
    /// In which line: of a type of documents, and a term of the branch.
    public let line: String
    /// How many numbers who gave it knew of: less was given earlier, whatever clocks say.
    public let known: Int

    private enum CodingKeys: String, CodingKey {
        case number, line, known
    }
}

/// A seal in the book of a space.
public struct IndexedSeal: Sendable, Hashable, Decodable {
    /// Its hash, in hex.
    public let hash: String
    /// The hashes of the seals that it follows.
    public let previous: [String]

    public init(from decoder: any Decoder) throws {
        var pair = try decoder.unkeyedContainer()
        hash = try pair.decode(String.self)
        previous = try pair.decode([String].self)
    }
}

/// What a space holds, as it is now. (Not named `Index`, as Swift's collections have one.)
public struct SpaceIndex: Sendable, Hashable, Decodable {
    /// For whom the space is; nil if only a newer app knows.
    public let purpose: SpacePurpose?
    /// The member whose mailbox it is, if it is one.
    public let member: String?
    /// The documents, by id.
    public let documents: [String: ListedDocument]
    /// Numbers that documents got, by document.
    public let numbers: [String: Register<GivenNumber>]
    /// The book of seals, by document.
    public let seals: [String: IndexedSeal]

    private enum CodingKeys: String, CodingKey {
        case purpose, member, documents, numbers, seals
    }
}

// MARK: - Across the border

extension SpacePurpose {
    init(_ purpose: DinhFFI.SpacePurpose) {
        switch purpose {
        case .branch: self = .branch
        case .committee: self = .committee
        case .oversight: self = .oversight
        case .mailboxCommittee: self = .mailboxCommittee
        case .mailboxUpper: self = .mailboxUpper
        }
    }
}

extension ListedSpace {
    init(_ found: DinhFFI.ListedSpace, of client: Client) {
        self.init(
            id: found.space, purpose: SpacePurpose(found.purpose), index: client.index(found.index), member: found.member)
    }
}
