import DinhFFI
import Foundation

/// Questions that are voted on phones at a meeting. ``Branch/beginMeeting(_:)`` makes it.
public struct VoteboxDocument: ModelDocument {
    public let document: Document

    /// All questions, oldest first.
    public func snapshot() async throws -> [Question] { try await read(.questions) { try decoded($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<[Question]>, any Error> {
        get throws { try follow(.questions) { try decoded($0) } }
    }

    /// Asks a question. By the recorder or an officer. Gives its id.
    @discardableResult
    public func ask(_ title: String) async throws -> String { try await make(.ask(title: title)) }

    /// Votes, or votes anew while the question is open. By full members.
    public func cast(_ choice: BallotChoice, on question: String) async throws {
        try await act(.cast(question: question, choice: choice.native))
    }

    /// Closes a question with what is counted now of the full members who are marked present. A ballot that is still on its way is not
    /// in it, and changes nothing when it comes.
    public func close(_ question: String, attendance: AttendanceDocument, roster: RosterDocument) async throws {
        try await native {
            try await document.client.ffi.closeQuestion(
                votebox: id, roster: roster.id, attendance: attendance.id, question: question)
        }
    }
}
