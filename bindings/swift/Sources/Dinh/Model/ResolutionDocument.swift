import DinhFFI
import Foundation

/// A resolution that members read, or the draft of one in the committee's space: two documents of one kind.
/// ``Branch/beginDraft(period:header:)`` makes a draft, ``Branch/openRound(of:)`` its resolution.
public struct ResolutionDocument: OutlineDocument {
    public let document: Document

    public func snapshot() async throws -> Resolution { try await read(.resolution) { try decoded($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<Resolution>, any Error> {
        get throws { try follow(.resolution) { try decoded($0) } }
    }

    /// Says that this device's member has read a round.
    public func hasReadRound(_ round: Int) async throws { try await act(.hasReadRound(round: try unsigned(round))) }

    /// Adds what it rests on. Gives an id.
    @discardableResult
    public func addLegalBasis(_ text: String) async throws -> String { try await make(.addLegalBasis(text: text)) }

    /// Sets the words that enact it.
    public func setEnactingClause(_ text: String) async throws { try await act(.setEnactingClause(text: text)) }

    /// Says who gets it. Gives an id.
    @discardableResult
    public func addRecipient(_ text: String) async throws -> String { try await make(.addRecipient(text: text)) }

    /// Says who signs it, for whom, with which post.
    public func setSignature(authority: String, title: String, signer: String) async throws {
        try await act(.setSignature(authority: authority, title: title, signer: signer))
    }

    /// Proposes another text for a stretch of a block: UTF-16 code units of its text, one or more. Gives the suggestion's id.
    @discardableResult
    public func suggest(in block: String, _ range: Range<Int>, _ proposed: String) async throws -> String {
        let (start, end) = (try units(range.lowerBound), try units(range.upperBound))
        return try await make(.suggest(block: block, start: start, end: end, proposed: proposed))
    }

    /// Puts a suggestion into the text; the change names its author. Nothing is written if something else stands there now.
    public func acceptSuggestion(_ suggestion: String) async throws -> Accepted {
        Accepted(
            try await native {
                try await document.client.ffi.acceptSuggestion(resolution: id, suggestion: suggestion)
            })
    }

    /// Says that a suggestion is not taken.
    public func declineSuggestion(_ suggestion: String) async throws {
        try await act(.declineSuggestion(suggestion: suggestion))
    }

    /// Tables the resolution as it is now in the meeting of these minutes. Members must have been consulted, and the meeting be open.
    public func table(in minutes: MinutesDocument) async throws {
        try await native { try await document.client.ffi.table(resolution: id, minutes: minutes.id) }
    }

    /// Says here what a motion about it came to: adopted or rejected. A count of the motion must hold, and somebody else have written
    /// it down.
    public func decide(_ motion: String, in minutes: MinutesDocument) async throws {
        try await native { try await document.client.ffi.decide(resolution: id, minutes: minutes.id, motion: motion) }
    }

    /// Settles a dispute about where it stands: `event` is the one of ``LifeStatus/disputed(_:)`` that holds. By an officer. Gives the
    /// new event's id.
    @discardableResult
    public func resolve(choosing event: String) async throws -> String {
        try await step(ResolutionSteps.resolve, data: ["choose": event])
    }
}
