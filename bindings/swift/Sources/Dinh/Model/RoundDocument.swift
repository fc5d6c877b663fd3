import DinhFFI
import Foundation

/// A frozen round of a consultation, in the space of committee and reviewers. It is written once, by ``Branch/openRound(of:)``.
public struct RoundDocument: ModelDocument {
    public let document: Document

    /// The round; nil until its content is here.
    public func snapshot() async throws -> Round? { try await read(.round) { try decodedIfAny($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<Round?>, any Error> {
        get throws { try follow(.round) { try decodedIfAny($0) } }
    }
}
