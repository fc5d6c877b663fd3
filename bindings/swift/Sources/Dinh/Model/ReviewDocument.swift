import DinhFFI
import Foundation

/// What reviewers say about a resolution, round by round. ``Branch/openRound(of:)`` makes it.
public struct ReviewDocument: ModelDocument {
    public let document: Document

    public func snapshot() async throws -> Review { try await read(.review) { try decoded($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<Review>, any Error> {
        get throws { try follow(.review) { try decoded($0) } }
    }

    /// Comments on a round, or answers a comment. Gives the comment's id.
    ///
    /// - Parameters:
    ///   - quote: The words that it is about; nil if it is about the whole.
    ///   - answers: The comment that it answers.
    @discardableResult
    public func comment(
        _ text: String, round: Int, severity: CommentSeverity, quote: BlockQuote? = nil, answers: String? = nil
    ) async throws -> String {
        try await make(
            .comment(
                round: try unsigned(round), severity: severity.native, block: quote?.block, quote: quote?.quote,
                answers: answers, text: text))
    }

    /// Says through which body the remarks came to the branch, if they did not come directly.
    public func setVia(_ body: String) async throws { try await act(.setVia(body: body)) }

    /// Takes a step of the review of a round: one of ``ReviewSteps``. Gives the event's id.
    @discardableResult
    public func stepReview(_ kind: String, round: Int) async throws -> String {
        try await make(.stepReview(kind: kind, round: try unsigned(round)))
    }
}
