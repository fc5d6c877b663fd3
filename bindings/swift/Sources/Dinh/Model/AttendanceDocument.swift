import DinhFFI
import Foundation

/// The roll of a meeting. ``Branch/beginMeeting(_:)`` makes it. The recorder's mark decides; that a member checked in is evidence.
public struct AttendanceDocument: ModelDocument {
    public let document: Document

    public func snapshot() async throws -> Attendance { try await read(.attendance) { try decoded($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<Attendance>, any Error> {
        get throws { try follow(.attendance) { try decoded($0) } }
    }

    /// Says that this device's member is here, or, by the recorder or an officer, that somebody is. Saying it twice changes nothing.
    public func checkIn(_ member: String, way: CheckInWay) async throws {
        try await act(.checkIn(member: member, way: way.native))
    }

    /// Marks somebody on the roll; nil takes the mark back. `reason`: as far as the branch may know it.
    public func markAttendance(_ member: String, as mark: AttendanceMark?, reason: String? = nil) async throws {
        try await act(.markAttendance(member: member, mark: mark?.native, reason: reason))
    }

    /// Says when somebody came late, or left early; what is nil stays as it is. By the recorder or an officer.
    public func giveTimes(_ member: String, lateAt: Date? = nil, leftAt: Date? = nil) async throws {
        try await act(.giveTimes(member: member, lateAt: lateAt.map { milliseconds($0) }, leftAt: leftAt.map { milliseconds($0) }))
    }

    /// The numbers of the roll as it is now, against a roster as it is now, with the base of votes at an ordinary meeting.
    public func summary(against roster: RosterDocument) async throws -> AttendanceSummary {
        let found = try await native {
            try await document.client.ffi.attendanceSummary(roster: roster.id, attendance: id)
        }
        return try decoded(found)
    }
}
