import DinhFFI
import Foundation

/// Minutes of a meeting. ``Branch/beginMeeting(_:)`` makes them.
///
/// The recorder and the officers write them. Two people answer for a count: one writes it down, another one, an officer, confirms it.
public struct MinutesDocument: OutlineDocument {
    public let document: Document

    public func snapshot() async throws -> Minutes { try await read(.minutes) { try decoded($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<Minutes>, any Error> {
        get throws { try follow(.minutes) { try decoded($0) } }
    }

    /// Puts something on the agenda. Gives its id.
    @discardableResult
    public func addAgendaItem(_ title: String, presenter: String? = nil, place: Place = .last) async throws -> String {
        try await make(.addAgendaItem(title: title, presenter: presenter, place: place.native))
    }

    /// Names a guest, with post and body, which may be empty. Gives an id.
    @discardableResult
    public func addGuest(_ name: String, post: String = "", body: String = "") async throws -> String {
        try await make(.addGuest(name: name, post: post, body: body))
    }

    /// Notes a paper that lies before the meeting. Gives its id.
    ///
    /// - Parameter document: Which it is, if it is one of the branch's: noted as it is now. A ``ModelDocument`` has it as
    ///   ``ModelDocument/document``.
    @discardableResult
    public func addDocumentUsed(_ title: String, _ document: Document? = nil) async throws -> String {
        let used = document?.id
        return try await native {
            try await self.document.client.ffi.addDocumentUsed(minutes: id, title: title, doc: used)
        }
    }

    /// Notes a decision, and by which vote it was taken, if one was. Gives its id.
    @discardableResult
    public func addDecision(_ text: String, vote: String? = nil) async throws -> String {
        try await make(.addDecision(text: text, vote: vote))
    }

    /// Signs as `chair` or `recorder`; also after the seal. It is no legal digital signature. Gives an id.
    @discardableResult
    public func sign(_ role: String) async throws -> String { try await make(.sign(role: role)) }

    /// Says who leads the meeting.
    public func setChair(_ member: String) async throws { try await act(.setChair(member: member)) }

    /// Says who writes the minutes. That does not let the member write: see ``Branch/nameRecorder(_:of:)``.
    public func setRecorder(_ member: String) async throws { try await act(.setRecorder(member: member)) }

    /// Gives the meeting points for a criterion.
    public func score(_ criterion: String, points: Int) async throws {
        try await act(.score(criterion: criterion, points: try unsigned(points)))
    }

    /// Asks whose words a block holds whether they are: right after adding it, by who added it.
    public func askWords(_ block: String) async throws { try await act(.askWords(block: block)) }

    /// Says that the words of a block are this device's member's. Somebody must have asked.
    public func confirmWords(_ block: String) async throws { try await act(.confirmWords(block: block)) }

    /// Puts a motion that is about no document. Gives its id.
    @discardableResult
    public func moveMotion(_ title: String, threshold: VoteThreshold = .moreThanHalf) async throws -> String {
        try await make(.moveMotion(title: title, threshold: threshold.native))
    }

    /// Puts a motion to adopt a resolution, as it was debated last. It must be tabled. Gives the motion's id.
    @discardableResult
    public func moveResolution(
        _ resolution: ResolutionDocument, title: String, threshold: VoteThreshold = .moreThanHalf
    ) async throws -> String {
        try await native {
            try await document.client.ffi.moveResolution(
                minutes: id, resolution: resolution.id, title: title, threshold: threshold.native)
        }
    }

    /// Writes a count down, against the base that roll and roster give now, which is frozen with it. What does not add up is refused.
    /// It holds when somebody else confirms it. Gives the vote's id.
    @discardableResult
    public func recordCount(_ count: NewCount, attendance: AttendanceDocument, roster: RosterDocument) async throws -> String {
        let count = try count.native()
        return try await native {
            try await document.client.ffi.recordCount(
                minutes: id, roster: roster.id, attendance: attendance.id, count: count)
        }
    }

    /// Confirms a count that somebody else wrote down. By an officer.
    public func confirmCount(_ vote: String) async throws { try await act(.confirmCount(vote: vote)) }

    /// Says which count of a motion holds, where several were confirmed that say different things. By an officer.
    public func chooseCount(_ vote: String, of motion: String) async throws {
        try await act(.chooseCount(motion: motion, vote: vote))
    }

    /// Freezes who was there, in numbers, when the minutes are read back.
    public func freezeAttendance(_ attendance: AttendanceDocument, roster: RosterDocument) async throws {
        try await native {
            try await document.client.ffi.freezeAttendance(minutes: id, roster: roster.id, attendance: attendance.id)
        }
    }

    /// Settles a dispute about where the minutes stand: `event` is the one of ``LifeStatus/disputed(_:)`` that holds. By an officer.
    /// Gives the new event's id.
    @discardableResult
    public func resolve(choosing event: String) async throws -> String { try await make(.resolve(choose: event)) }
}
