import DinhFFI
import Foundation

/// Where a resolution is in its life.
public enum ResolutionState: String, Sendable, Hashable, CaseIterable, Decodable {
    /// The committee writes it.
    case drafting
    /// The committee looks it over.
    case committeeReview = "committee_review"
    /// Members and reviewers read a round of it.
    case consulting
    /// It is fixed for the debate.
    case tabled
    /// The vote was for it.
    case adopted
    /// The vote was against it.
    case rejected
    /// Put off to another meeting.
    case deferred
    /// It has number, date and signature.
    case issued
    /// It holds.
    case inForce = "in_force"
    /// Everything that it asks for is done.
    case completed
    /// Another one holds in its place.
    case superseded
    /// Taken back.
    case revoked
    /// Given up before the vote.
    case withdrawn
}

/// Steps of the life of a resolution, for ``OutlineDocument/step(_:data:)``. Those that other documents have a part in are taken by
/// functions of their own: ``Branch/openRound(of:)``, ``Branch/takeBack(_:)``, ``ResolutionDocument/table(in:)``,
/// ``ResolutionDocument/decide(_:in:)``, ``Branch/issue(_:line:date:)``, ``ModelDocument/followUp(_:)``.
public enum ResolutionSteps {
    /// The committee looked the draft over.
    public static let committeeReview = "committee_review"
    /// A round is put to consultation: as the text is now, unless the data's `heads` says otherwise.
    public static let consulting = "consulting"
    /// The committee goes on with it.
    public static let drafting = "drafting"
    /// It is tabled. Data: `heads`, `meeting`.
    public static let tabled = "tabled"
    /// It was amended in the debate: what is voted on is the text as it is now, unless the data's `heads` says otherwise. It stays
    /// tabled.
    public static let amendedOnFloor = "amended_on_floor"
    /// The vote was for it.
    public static let adopted = "adopted"
    /// The vote was against it.
    public static let rejected = "rejected"
    /// It is put off to another meeting.
    public static let deferred = "deferred"
    /// It is given up before the vote.
    public static let withdrawn = "withdrawn"
    /// It is issued. Data: `number`, `date`.
    public static let issued = "issued"
    /// It holds from now on.
    public static let inForce = "in_force"
    /// Everything that it asks for is done.
    public static let completed = "completed"
    /// Another one holds in its place. Data: `by_document`.
    public static let superseded = "superseded"
    /// It is taken back. Data: `by_document`.
    public static let revoked = "revoked"
    /// Settles a dispute: ``ResolutionDocument/resolve(choosing:)``.
    public static let resolve = "resolve"
}

/// What a resolution rests on.
public struct LegalBasis: Sendable, Hashable, Identifiable {
    /// Its id.
    public let id: String
    /// What it says. To edit it, bind ``textPath`` to a field.
    public let text: String

    /// Where its text is, for ``Document/bindText(_:)``.
    public var textPath: Path { ["legal_bases", .key(id)] }
}

/// Who gets a resolution.
public struct Recipient: Sendable, Hashable, Identifiable {
    /// Its id.
    public let id: String
    /// Who.
    public let text: Register<String>
}

/// Who signs a resolution, as the form shows it.
public struct ResolutionSignature: Sendable, Hashable, Decodable {
    /// For whom: `T/M CHI BỘ`.
    public let authority: Register<String>
    /// The post: `BÍ THƯ`.
    public let title: Register<String>
    /// The member.
    public let signer: Register<String>

    private enum CodingKeys: String, CodingKey {
        case authority, title, signer
    }
}

/// What became of a suggestion.
public enum SuggestionOutcome: String, Sendable, Hashable, CaseIterable, Decodable {
    /// It is in the text.
    case accepted
    /// It was not taken.
    case declined
}

/// Where the words of a ``Suggestion`` are now: UTF-16 code units of the block's text.
public enum SuggestionPlace: Sendable, Hashable, Decodable {
    /// There, as they were.
    case here(Range<Int>)
    /// There, but something else stands in it now: look before it is taken.
    case changed(Range<Int>)
    /// The block or the letters are gone.
    case gone

    /// The stretch of the text, if it is there.
    public var range: Range<Int>? {
        switch self {
        case .here(let range), .changed(let range): range
        case .gone: nil
        }
    }

    private enum CodingKeys: String, CodingKey {
        case here, changed
    }

    public init(from decoder: any Decoder) throws {
        if let word = try? decoder.singleValueContainer().decode(String.self) {
            guard word == "gone" else { throw unknown(word, at: decoder) }
            self = .gone
            return
        }
        let found = try decoder.container(keyedBy: CodingKeys.self)
        switch found.allKeys.first {
        case .here: self = .here(try found.decode(Stretch.self, forKey: .here).range)
        case .changed: self = .changed(try found.decode(Stretch.self, forKey: .changed).range)
        case nil: throw unknown("a place of a suggestion", at: decoder)
        }
    }

    private struct Stretch: Decodable {
        let range: Range<Int>

        private enum CodingKeys: String, CodingKey {
            case start, end
        }

        init(from decoder: any Decoder) throws {
            let found = try decoder.container(keyedBy: CodingKeys.self)
            let (start, end) = (try found.decode(Int.self, forKey: .start), try found.decode(Int.self, forKey: .end))
            guard start <= end else { throw unknown("a stretch from \(start) to \(end)", at: decoder) }
            range = start..<end
        }
    }
}

/// What a member proposes to change in a text that others write. It finds its place again after other changes.
public struct Suggestion: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// The member whose it is.
    public let by: String
    /// When, by that member's device.
    public let at: Date
    /// The block.
    public let block: String
    /// What stood there.
    public let quote: String
    /// What should stand there.
    public let proposed: String
    /// What became of it; contested if two of the committee decided differently.
    public let outcome: Register<SuggestionOutcome>
    /// Where the words that it replaces are now.
    public let place: SuggestionPlace

    private enum CodingKeys: String, CodingKey {
        case id, by, at, block, quote, proposed, outcome, place
    }
}

/// What became of a suggestion that was accepted.
public enum Accepted: Sendable, Hashable, CaseIterable {
    /// It stands in the text.
    case done
    /// Something else stands there now: nothing was written.
    case changed
}

/// Number and date of a resolution.
public struct Issued: Sendable, Hashable, Decodable {
    /// The number.
    public let number: String
    /// The date, `YYYY-MM-DD`.
    public let date: String

    public init(from decoder: any Decoder) throws {
        var pair = try decoder.unkeyedContainer()
        number = try pair.decode(String.self)
        date = try pair.decode(String.self)
    }
}

/// A resolution, or the draft of one, as it is now.
public struct Resolution: Sendable, Hashable, Decodable {
    /// The month of the meeting, `YYYY-MM`.
    public let period: Register<String>
    /// The parts of the form's head, by name: `issuing_org`, `type_name`…
    public let header: [String: Register<String>]
    /// The words that enact it.
    public let enactingClause: Register<String>
    /// The prose.
    public let outline: Outline
    /// Who does what by when.
    public let assignments: [Assignment]
    /// Who signs.
    public let signature: ResolutionSignature
    /// What members propose, oldest first.
    public let suggestions: [Suggestion]
    /// Which round each member has read last.
    public let read: [String: Register<Int>]
    /// The number that it got.
    public let number: Register<String>
    /// Number and date under which it was issued; nil until then.
    public let issued: Issued?
    /// Where it stands.
    public let life: Life<ResolutionState>
    /// How many rounds were put to consultation.
    public let round: Int
    /// The seals that stand there; more than one if two people sealed it without knowing of each other.
    public let seals: Register<Seal>

    let legalBasisTexts: [String: String]
    let recipientTexts: [String: Register<String>]

    /// On what it rests, oldest first.
    public var legalBases: [LegalBasis] {
        legalBasisTexts.sorted { $0.key < $1.key }.map { LegalBasis(id: $0.key, text: $0.value) }
    }

    /// Who gets it, oldest first.
    public var recipients: [Recipient] {
        recipientTexts.sorted { $0.key < $1.key }.map { Recipient(id: $0.key, text: $0.value) }
    }

    private enum CodingKeys: String, CodingKey {
        case period, header
        case enactingClause = "enacting_clause"
        case outline, assignments, signature, suggestions, read, number, issued, life, round, seals
        case legalBasisTexts = "legal_bases"
        case recipientTexts = "recipients"
    }
}

// MARK: - Across the border

extension Accepted {
    init(_ accepted: DinhFFI.Accepted) {
        switch accepted {
        case .done: self = .done
        case .changed: self = .changed
        }
    }
}
