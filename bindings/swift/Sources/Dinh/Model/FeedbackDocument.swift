import DinhFFI
import Foundation

/// Threads of feedback of one audience: the branch's, or those of a member's mailbox (``Branch/mailbox(of:with:)``). Who may read a
/// thread is who reads its document.
public struct FeedbackDocument: ModelDocument {
    public let document: Document

    /// All threads, oldest first.
    public func snapshot() async throws -> [FeedbackThread] { try await read(.threads) { try decoded($0) } }

    public var snapshots: AsyncThrowingStream<Snapshot<[FeedbackThread]>, any Error> {
        get throws { try follow(.threads) { try decoded($0) } }
    }

    /// Begins a thread. Gives its id. What is confidential is refused where the whole branch reads.
    ///
    /// - Parameters:
    ///   - text: What is said first.
    ///   - language: ISO 639.
    ///   - subject: What it is about: a document, a place in one, a vote, as the app writes it.
    ///   - member: In whose name, if this device's member helps somebody without a phone.
    @discardableResult
    public func beginThread(
        _ kind: FeedbackKind, title: String, text: String, language: String = "vi", subject: String? = nil,
        onBehalfOf member: String? = nil
    ) async throws -> String {
        try await make(
            .beginThread(
                kind: kind.native, title: title, text: text, language: language, subject: subject, onBehalfOf: member))
    }

    /// Says something in a thread. Gives the message's id.
    @discardableResult
    public func say(
        _ thread: String, _ text: String, language: String = "vi", onBehalfOf member: String? = nil
    ) async throws -> String {
        try await make(.say(thread: thread, text: text, language: language, onBehalfOf: member))
    }

    /// Says who takes care of a thread.
    public func setHandler(of thread: String, _ member: String) async throws {
        try await act(.setHandler(thread: thread, member: member))
    }

    /// Takes a step of a thread: one of ``FeedbackSteps``. Gives the event's id.
    @discardableResult
    public func stepThread(_ thread: String, _ kind: String, data: [String: String] = [:]) async throws -> String {
        try await make(.stepThread(thread: thread, kind: kind, data: data))
    }

    /// Settles a dispute about where a thread stands: `event` is the one of ``LifeStatus/disputed(_:)`` that holds. By who may answer it.
    /// Gives the new event's id.
    @discardableResult
    public func resolve(_ thread: String, choosing event: String) async throws -> String {
        try await stepThread(thread, FeedbackSteps.resolve, data: ["choose": event])
    }
}
