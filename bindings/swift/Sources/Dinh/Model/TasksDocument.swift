import DinhFFI
import Foundation

/// The tasks of a branch, and how far they are: ``Standing/tasks``. What was adopted stays in the sealed document; this one goes on.
public struct TasksDocument: ModelDocument {
    public let document: Document

    /// All tasks, oldest first.
    public func snapshot() async throws -> [GivenTask] { try await read(.tasks) { try decoded($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<[GivenTask]>, any Error> {
        get throws { try follow(.tasks) { try decoded($0) } }
    }

    /// Gives a task. By the committee. Gives its id.
    ///
    /// - Parameters:
    ///   - owners: The members who do it.
    ///   - due: `YYYY-MM-DD`; may be empty.
    ///   - source: What it comes from: a document, and an id in it, as the app writes it.
    @discardableResult
    public func giveTask(_ title: String, to owners: [String], due: String, from source: String) async throws -> String {
        try await make(.giveTask(title: title, owners: owners, due: due, from: source))
    }

    /// Reports on a task: what was done, what is in the way, and how much of 100 is done, if it can be said. Gives the report's id.
    @discardableResult
    public func reportTask(_ task: String, percent: Int? = nil, _ text: String) async throws -> String {
        try await make(.reportTask(task: task, percent: try percent.map { try unsigned($0) }, text: text))
    }

    /// Says where a task is. By the committee.
    public func setTaskStatus(_ task: String, _ status: TaskStatus) async throws {
        try await act(.setTaskStatus(task: task, status: status.native))
    }
}
