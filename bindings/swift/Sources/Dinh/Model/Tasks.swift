import DinhFFI
import Foundation

/// Where a task is.
public enum TaskStatus: String, Sendable, Hashable, CaseIterable, Decodable {
    /// Being done.
    case open
    /// Done.
    case done
    /// Given up.
    case dropped
}

/// How far a task was at some time.
public struct TaskProgress: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// The member who says so.
    public let by: String
    /// When, by that member's device.
    public let at: Date
    /// How much is done, 0 to 100; nil if it cannot be said.
    public let percent: Int?
    /// What was done, what is in the way.
    public let text: String

    private enum CodingKeys: String, CodingKey {
        case id, by, at, percent, text
    }
}

/// A task that a resolution or minutes gave, as it is now. (Not named `Task`, as Swift has one.)
public struct GivenTask: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// What is to be done.
    public let title: Register<String>
    /// The members who do it.
    public let owners: Register<[String]>
    /// By when, `YYYY-MM-DD`.
    public let due: Register<String>
    /// What it comes from, as the app wrote it: a document, and an id in it.
    public let from: Register<String>
    /// What the committee says.
    public let status: Register<TaskStatus>
    /// How far it is, oldest first.
    public let progress: [TaskProgress]

    /// Whether it is open after its day. `today`: `YYYY-MM-DD`.
    public func isOverdue(today: String) -> Bool {
        guard status.value == .open, let due = due.value else { return false }
        return due < today
    }

    private enum CodingKeys: String, CodingKey {
        case id, title, owners, due, from, status, progress
    }
}

// MARK: - Across the border

extension TaskStatus {
    var native: DinhFFI.TaskStatus {
        switch self {
        case .open: .open
        case .done: .done
        case .dropped: .dropped
        }
    }
}
