import DinhFFI
import Foundation

/// A notice to the members of a space. ``Branch/postNotice(in:title:text:until:)`` makes it.
public struct NoticeDocument: ModelDocument {
    public let document: Document

    public func snapshot() async throws -> Notice { try await read(.notice) { try decoded($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<Notice>, any Error> {
        get throws { try follow(.notice) { try decoded($0) } }
    }

    /// Says that this device's member has read it. Saying it again changes nothing.
    public func hasReadNotice() async throws { try await act(.hasReadNotice) }
}

/// What reviewers see of a branch: ``Standing/digest``. ``Branch/keepDigest(today:)`` writes it.
public struct DigestDocument: ModelDocument {
    public let document: Document

    public func snapshot() async throws -> Digest { try await read(.digest) { try decoded($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<Digest>, any Error> {
        get throws { try follow(.digest) { try decoded($0) } }
    }
}

/// What a space holds: so that a list of documents opens without opening them.
public struct IndexDocument: ModelDocument {
    public let document: Document

    public func snapshot() async throws -> SpaceIndex { try await read(.index) { try decoded($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<SpaceIndex>, any Error> {
        get throws { try follow(.index) { try decoded($0) } }
    }

    /// Says that of two documents one is the double of the other, as when two people opened the same meeting. By an officer.
    public func link(_ document: String, sameAs other: String) async throws {
        try await act(.link(document: document, sameAs: other))
    }
}

extension Client {
    /// Minutes of a meeting.
    public func minutes(_ id: String) -> MinutesDocument { MinutesDocument(document: document(id)) }

    /// A resolution, or the draft of one.
    public func resolution(_ id: String) -> ResolutionDocument { ResolutionDocument(document: document(id)) }

    /// A frozen round of a consultation.
    public func round(_ id: String) -> RoundDocument { RoundDocument(document: document(id)) }

    /// What reviewers say about a resolution.
    public func review(_ id: String) -> ReviewDocument { ReviewDocument(document: document(id)) }

    /// Threads of feedback.
    public func feedback(_ id: String) -> FeedbackDocument { FeedbackDocument(document: document(id)) }

    /// The roll of a meeting.
    public func attendance(_ id: String) -> AttendanceDocument { AttendanceDocument(document: document(id)) }

    /// The people of a branch.
    public func roster(_ id: String) -> RosterDocument { RosterDocument(document: document(id)) }

    /// Questions that are voted on phones.
    public func votebox(_ id: String) -> VoteboxDocument { VoteboxDocument(document: document(id)) }

    /// Tasks of a branch.
    public func tasks(_ id: String) -> TasksDocument { TasksDocument(document: document(id)) }

    /// A notice.
    public func notice(_ id: String) -> NoticeDocument { NoticeDocument(document: document(id)) }

    /// What reviewers see of a branch.
    public func digest(_ id: String) -> DigestDocument { DigestDocument(document: document(id)) }

    /// What a space holds.
    public func index(_ id: String) -> IndexDocument { IndexDocument(document: document(id)) }
}
