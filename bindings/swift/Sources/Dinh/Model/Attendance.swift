import DinhFFI
import Foundation

/// How somebody said that they are here.
public enum CheckInWay: String, Sendable, Hashable, CaseIterable, Decodable {
    /// By a code on the wall.
    case qr
    /// By a tap.
    case tap
    /// By sound.
    case audio
}

/// What the roll says of somebody.
public enum AttendanceMark: String, Sendable, Hashable, CaseIterable, Decodable {
    /// Here.
    case present
    /// Away, with a reason that was accepted.
    case excused
    /// Away without.
    case unexcused
    /// Freed from meetings, and not here.
    case exempt
    /// A member of this branch that is elsewhere for a time.
    case temporarilyAway = "temporarily_away"
    /// A member of another branch that is here for a time.
    case temporarilyHere = "temporarily_here"
}

/// That somebody checked in.
public struct CheckIn: Sendable, Hashable, Decodable {
    /// When, by that phone's clock.
    public let at: Date
    /// How.
    public let way: CheckInWay

    private enum CodingKeys: String, CodingKey {
        case at, way
    }
}

/// One person on the roll.
public struct AttendanceEntry: Sendable, Hashable, Decodable {
    /// That it checked in, or was checked in: evidence, the mark decides.
    public let checkedIn: Register<CheckIn>
    /// What the recorder marked.
    public let mark: Register<AttendanceMark>
    /// Why it is absent, as far as the branch may know.
    public let reason: Register<String>
    /// When it came, if late.
    public let lateAt: Register<Date>
    /// When it left, if early.
    public let leftAt: Register<Date>

    private enum CodingKeys: String, CodingKey {
        case checkedIn = "checked_in"
        case mark, reason
        case lateAt = "late_at"
        case leftAt = "left_at"
    }
}

/// Who is at a meeting, as it stands now.
public struct Attendance: Sendable, Hashable, Decodable {
    /// Everybody of whom something is said, by member.
    public let entries: [String: AttendanceEntry]

    /// What is marked, by member.
    public var marks: [String: AttendanceMark] { entries.compactMapValues { $0.mark.value } }

    /// Members who checked in and are not marked: the recorder has to look.
    public var unconfirmed: Set<String> {
        Set(entries.filter { $0.value.checkedIn.value != nil && $0.value.mark.value == nil }.map { $0.key })
    }

    private enum CodingKeys: String, CodingKey {
        case entries
    }
}

/// The numbers of a roll against the roster.
public struct AttendanceSummary: Sendable, Hashable, Decodable {
    /// Everybody on the roster.
    public let total: Int
    /// Of them, full members.
    public let official: Int
    /// Of them, on probation.
    public let probationary: Int
    /// Full members here.
    public let presentOfficial: Int
    /// Members on probation here.
    public let presentProbationary: Int
    /// Of other branches, here.
    public let presentTemporarily: Int
    /// Absent with a reason.
    public let excused: Int
    /// Absent without.
    public let unexcused: Int
    /// Freed, and not here.
    public let exempt: Int
    /// Elsewhere for a time.
    public let away: Int
    /// On the roster and not marked.
    public let unmarked: Int
    /// Whom votes are counted against.
    public let base: VoteBase

    private enum CodingKeys: String, CodingKey {
        case total, official, probationary
        case presentOfficial = "present_official"
        case presentProbationary = "present_probationary"
        case presentTemporarily = "present_temporarily"
        case excused, unexcused, exempt, away, unmarked, base
    }
}

// MARK: - Across the border

extension CheckInWay {
    var native: DinhFFI.CheckInWay {
        switch self {
        case .qr: .qr
        case .tap: .tap
        case .audio: .audio
        }
    }
}

extension AttendanceMark {
    var native: DinhFFI.AttendanceMark {
        switch self {
        case .present: .present
        case .excused: .excused
        case .unexcused: .unexcused
        case .exempt: .exempt
        case .temporarilyAway: .temporarilyAway
        case .temporarilyHere: .temporarilyHere
        }
    }
}
