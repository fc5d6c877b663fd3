import DinhFFI
import Foundation

/// Where minutes are in their life.
public enum MinutesState: String, Sendable, Hashable, CaseIterable, Decodable {
    /// The meeting is planned.
    case planned
    /// It was called, with time, place and agenda.
    case convened
    /// It was put off.
    case postponed
    /// It will not be.
    case cancelled
    /// It is being held.
    case open
    /// The recorder read the minutes back.
    case readBack = "read_back"
    /// The branch adopted them.
    case adopted
    /// Signed and sealed.
    case signed
    /// In the archive.
    case archived
}

/// Steps of the life of minutes, for ``OutlineDocument/step(_:data:)``.
public enum MinutesSteps {
    /// Calls the meeting. Data: `time`, `place`, `agenda`.
    public static let convened = "convened"
    /// Puts it off.
    public static let postponed = "postponed"
    /// Calls it off.
    public static let cancelled = "cancelled"
    /// Opens it. Data: `recorder`.
    public static let open = "open"
    /// The minutes are read back.
    public static let readBack = "read_back"
    /// A correction was asked for at the reading back: the minutes are open again.
    public static let correction = "correction"
    /// The branch adopts them. Data: `vote`, the id of a vote that carried and that somebody else wrote down. What is adopted are the
    /// minutes as they are now, unless `heads` says otherwise.
    public static let adopted = "adopted"
    /// They are signed. ``Branch/seal(_:)`` takes this step too.
    public static let signed = "signed"
    /// They go to the archive.
    public static let archived = "archived"
    /// Settles a dispute: ``MinutesDocument/resolve(choosing:)``.
    public static let resolve = "resolve"
}

/// What kind of meeting.
public enum MeetingKind: String, Sendable, Hashable, CaseIterable, Decodable {
    /// The monthly one.
    case regular
    /// About one matter.
    case thematic
    /// The committee's.
    case committee
}

/// Something on the agenda.
public struct AgendaItem: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// What it is about. To edit it, bind ``titlePath`` to a field.
    public let title: String
    /// The member who presents it.
    public let presenter: Register<String>
    /// Where it stands: a key to sort by.
    public let order: Register<String>

    /// Where its title is, for ``Document/bindText(_:)``.
    public var titlePath: Path { ["agenda", .key(id), "title"] }

    private enum CodingKeys: String, CodingKey {
        case id, title, presenter, order
    }
}

/// Somebody from outside.
public struct Guest: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// The name.
    public let name: String
    /// The post; may be empty.
    public let post: String
    /// The body that the guest comes from; may be empty.
    public let body: String

    private enum CodingKeys: String, CodingKey {
        case id, name, post, body
    }
}

/// A document that the meeting had before it.
public struct UsedDocument: Sendable, Hashable, Identifiable, Decodable {
    /// Its id in the minutes.
    public let id: String
    /// What it is called.
    public let title: String
    /// Which document it is; nil if it is none of the branch's.
    public let document: DocumentAtHeads?

    private enum CodingKeys: String, CodingKey {
        case id, title, document
    }
}

/// Somebody who answers for the minutes. It is no legal digital signature.
public struct MinutesSignature: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// As what: `chair`, `recorder`.
    public let role: String
    /// The member.
    public let by: String
    /// When, by that member's device.
    public let at: Date

    private enum CodingKeys: String, CodingKey {
        case id, role, by, at
    }
}

/// Something that the meeting decided.
public struct Decision: Sendable, Hashable, Identifiable {
    /// Its id.
    public let id: String
    /// What was decided. To edit it, bind ``textPath`` to a field.
    public let text: String
    /// The vote by which it was decided, if it was by one.
    public let vote: String?

    /// Where its text is, for ``Document/bindText(_:)``.
    public var textPath: Path { ["decisions", .key(id), "text"] }
}

/// Minutes of a meeting, as they are now.
public struct Minutes: Sendable, Hashable, Decodable {
    /// The meeting's name: ``NewMeeting/meeting``.
    public let meeting: String
    /// The month of the meeting, `YYYY-MM`.
    public let period: Register<String>
    /// What kind of meeting, as the document has it; see ``meetingKind``.
    public let kind: Register<String>
    /// The parts of the form's head, by name: `issuing_org`, `type_name`…
    public let header: [String: Register<String>]
    /// Where the meeting is.
    public let venue: Register<String>
    /// From when.
    public let startedAt: Register<Date>
    /// Until when.
    public let endedAt: Register<Date>
    /// The member who leads it.
    public let chair: Register<String>
    /// The member who writes the minutes.
    public let recorder: Register<String>
    /// The prose.
    public let outline: Outline
    /// Members who said that a block holds their words, by block. A block that is not in it asks nobody.
    public let confirmed: [String: Set<String>]
    /// What was voted on.
    public let motions: [Motion]
    /// Who was there, frozen when the minutes were read back, as JSON; see ``attendanceSummary``.
    public let attendance: Register<String>
    /// Where they stand.
    public let life: Life<MinutesState>
    /// The seals that stand there; more than one if two people sealed them without knowing of each other.
    public let seals: Register<Seal>

    let parts: Parts
    let decisionsByID: [String: Noted]

    /// What kind of meeting; nil if it is one of a newer app's.
    public var meetingKind: MeetingKind? { kind.value.flatMap { MeetingKind(rawValue: $0) } }

    /// What is on the agenda, in order.
    public var agenda: [AgendaItem] { parts.agenda }

    /// The guests.
    public var guests: [Guest] { parts.guests }

    /// Who does what by when.
    public var assignments: [Assignment] { parts.assignments }

    /// What lay before the meeting.
    public var documentsUsed: [UsedDocument] { parts.documentsUsed }

    /// Who signed.
    public var signatures: [MinutesSignature] { parts.signatures }

    /// The meeting's points, by criterion.
    public var quality: [String: Register<Int>] { parts.quality }

    /// What was decided, oldest first.
    public var decisions: [Decision] {
        decisionsByID.sorted { $0.key < $1.key }.map { Decision(id: $0.key, text: $0.value.text, vote: $0.value.vote) }
    }

    /// Who was there, as numbers: nil until the minutes were read back.
    public var attendanceSummary: AttendanceSummary? {
        // It is content of the document: what does not read is a newer app's.
        guard let text = attendance.value else { return nil }
        return try? decoded(text, as: AttendanceSummary.self)
    }

    struct Noted: Sendable, Hashable, Decodable {
        let text: String
        let vote: String?

        private enum CodingKeys: String, CodingKey {
            case text, vote
        }
    }

    struct Parts: Sendable, Hashable, Decodable {
        let agenda: [AgendaItem]
        let guests: [Guest]
        let assignments: [Assignment]
        let documentsUsed: [UsedDocument]
        let signatures: [MinutesSignature]
        let quality: [String: Register<Int>]

        private enum CodingKeys: String, CodingKey {
            case agenda, guests, assignments
            case documentsUsed = "documents_used"
            case signatures, quality
        }
    }

    private enum CodingKeys: String, CodingKey {
        case meeting, period, kind, header, venue
        case startedAt = "started_at"
        case endedAt = "ended_at"
        case chair, recorder, outline, confirmed, motions, attendance, life, seals, parts
        case decisionsByID = "decisions"
    }
}

// MARK: - Across the border

extension MeetingKind {
    var native: DinhFFI.MeetingKind {
        switch self {
        case .regular: .regular
        case .thematic: .thematic
        case .committee: .committee
        }
    }
}
