import DinhFFI
import Foundation

/// What a member is to the branch.
public enum PersonStanding: String, Sendable, Hashable, CaseIterable, Decodable {
    /// A full member.
    case official
    /// On probation: takes part in everything but votes.
    case probationary
    /// A full member, suspended from party activities.
    case suspended
    /// A full member, detained.
    case detained

    /// Whether it is a full member's.
    public var isOfficial: Bool { self != .probationary }
}

/// A member as the roster has it.
public struct Person: Sendable, Hashable, Decodable {
    /// The full name.
    public let name: String
    /// The post in the branch, as its records call it; empty if none.
    public let post: String
    /// What the member is to the branch.
    public let standing: PersonStanding
    /// Freed from work and meetings for age or health.
    public let isExempt: Bool
    /// Moved elsewhere for a time.
    public let isAway: Bool
    /// The first language, ISO 639; empty if not said.
    public let language: String
    /// Whether the member uses the app.
    public let hasPhone: Bool

    private enum CodingKeys: String, CodingKey {
        case name, post, standing
        case isExempt = "is_exempt"
        case isAway = "is_away"
        case language
        case hasPhone = "has_phone"
    }
}

/// Who belongs to the branch, as the body that keeps the members' records says.
public struct Roster: Sendable, Hashable, Decodable {
    /// The body that keeps the records.
    public let authority: Register<String>
    /// When they were read there.
    public let at: Register<Date>
    /// The people, by member.
    public let people: [String: Register<Person>]
    /// The members in the order of a Vietnamese list: by given name.
    public let byName: [String]

    /// Each member as it is shown.
    public var shown: [String: Person] { people.compactMapValues { $0.value } }

    private enum CodingKeys: String, CodingKey {
        case authority, at, people
        case byName = "by_name"
    }
}

/// A row of a roster's file that is wrong.
public struct RosterProblem: Sendable, Hashable {
    /// Its line in the file, from 1.
    public let line: Int
    /// The column, by its name in the file; empty if it is the whole row.
    public let column: String
    /// What is wrong, for people.
    public let detail: String
}

/// What became of a roster's file.
public struct RosterImport: Sendable, Hashable {
    /// How many people the file holds.
    public let people: Int
    /// Whether they were written: not if there are problems, or nobody in the file.
    public let isWritten: Bool
    /// Rows that are wrong.
    public let problems: [RosterProblem]
    /// Columns that were not taken.
    public let ignored: [String]
}

// MARK: - Across the border

extension RosterImport {
    init(_ found: DinhFFI.RosterImport) {
        let problems = found.problems.map {
            RosterProblem(line: Int(clamping: $0.line), column: $0.column, detail: $0.detail)
        }
        self.init(people: Int(found.people), isWritten: found.isWritten, problems: problems, ignored: found.ignored)
    }
}
