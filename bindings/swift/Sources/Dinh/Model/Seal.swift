import DinhFFI
import Foundation

/// What was adopted, named by its exact heads and a hash of its content. A seal is no lock: what was written by somebody who did not
/// know of it comes in and is listed as late, and the sealed text stays as it was.
public struct Seal: Sendable, Hashable, Decodable {
    /// The document.
    public let document: String
    /// The name of its kind, with its version.
    public let schema: String
    /// The heads that were sealed, for ``Document/get(_:at:)``.
    public let heads: [String]
    /// The SHA-256 of what it froze, in hex.
    public let content: String
    /// When, by the sealing device's clock.
    public let at: Date
    /// The number that the document got, if it has one.
    public let number: String?
    /// The member who sealed it.
    public let by: String
    /// The hashes of the branch's seals that nothing followed when it was made.
    public let previous: [String]

    private enum CodingKeys: String, CodingKey {
        case document, schema, heads, content, at, number, by, previous
    }
}

/// What a seal turns out to be on this device.
public enum SealVerdict: String, Sendable, Hashable, CaseIterable, Decodable {
    /// What stands at its heads is what it says.
    case valid
    /// Not everything that it names is here yet.
    case incomplete
    /// Something else stands at its heads: the seal is worth nothing.
    case wrong
}

/// A document's seal, checked on this device, with what came too late.
public struct Sealed: Sendable, Hashable, Decodable {
    /// The seal that is shown. If two people sealed the document without knowing of each other, its snapshot has both.
    public let seal: Seal
    /// The seal's hash, in hex, by which the next seal and amending documents name it.
    public let hash: String
    /// Whether it is what it says.
    public let verified: SealVerdict
    /// What was written without knowing of the seal, oldest change first.
    public let late: [LateProposal]

    private enum CodingKeys: String, CodingKey {
        case seal, hash, verified, late
    }
}

/// One field that somebody wrote without knowing of the seal.
public struct LateProposal: Sendable, Hashable, Decodable {
    /// The change. A change that wrote several fields is a proposal for each.
    public let change: String
    /// Who made it, if this device knows.
    public let by: Writer?
    /// When, by that device's clock.
    public let time: Date
    /// The field: keys from the document's root.
    public let field: [String]
    /// What its writer saw there.
    public let before: String
    /// What it wrote.
    public let after: String
    /// What became of the change: a document and an id in it, as `document#id`. Nil while nothing did.
    public let became: String?

    /// The block whose text it is; nil if it is another field.
    public var block: String? {
        field.count == 3 && field[0] == "blocks" && field[2] == "text" ? field[1] : nil
    }

    private enum CodingKeys: String, CodingKey {
        case change, by
        case time = "time_s"
        case field, before, after, became
    }

    public init(from decoder: any Decoder) throws {
        let found = try decoder.container(keyedBy: CodingKeys.self)
        change = try found.decode(String.self, forKey: .change)
        by = try found.decodeIfPresent(Writer.self, forKey: .by)
        // Seconds, as in histories; all other times are milliseconds.
        time = Date(timeIntervalSince1970: TimeInterval(try found.decode(Int64.self, forKey: .time)))
        field = try found.decode([String].self, forKey: .field)
        before = try found.decode(String.self, forKey: .before)
        after = try found.decode(String.self, forKey: .after)
        became = try found.decodeIfPresent(String.self, forKey: .became)
    }
}

/// What a document does to another one.
public enum AmendmentRelation: String, Sendable, Hashable, CaseIterable, Decodable {
    /// It adds to it: minutes that correct minutes.
    case adds
    /// It changes parts of it.
    case amends
    /// It holds in its place.
    case supersedes
    /// It takes it back.
    case revokes
}

/// What a document says that it does to another one, which is sealed and never changes itself.
public struct Amendment: Sendable, Hashable, Decodable {
    /// What it does.
    public let relation: AmendmentRelation
    /// The hash of the other one's seal, in hex.
    public let seal: String

    private enum CodingKeys: String, CodingKey {
        case relation, seal
    }
}

// MARK: - Across the border

extension AmendmentRelation {
    var native: DinhFFI.AmendmentRelation {
        switch self {
        case .adds: .adds
        case .amends: .amends
        case .supersedes: .supersedes
        case .revokes: .revokes
        }
    }
}
