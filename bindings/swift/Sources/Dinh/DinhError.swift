import DinhFFI
import Foundation

/// What the trouble with a store is.
public enum StoreFailure: Sendable {
    /// Another process, or another client of this one, has it open.
    case inUse
    /// The key is not the store's.
    case wrongKey
    /// The disk is full: free some space, then open the store again.
    case diskFull
    /// The file may not be written.
    case readOnly
    /// A newer version of the app wrote it.
    case newerFormat
    /// Its bytes are not what this library wrote.
    case damaged
    /// The file or the disk failed: open the store again.
    case failed
}

/// Why a call failed, by what an app can do about it. `localizedDescription` is a sentence for developers and logs that names the
/// cause and, where there is one, the remedy.
public struct DinhError: Error, Sendable, LocalizedError, CustomStringConvertible {
    /// What an app can do about it.
    public enum Code: Sendable, Equatable {
        /// The client was closed, or stopped by itself: open the store again.
        case closed
        /// The client or the space is locked or paused: unlock or resume it.
        case locked
        /// The store's file or disk.
        case store(StoreFailure)
        /// There is no such document, space, branch or value here.
        case notFound
        /// This device's member may not do that.
        case notAllowed
        /// A rule of the document does not let it happen now, or its space is not for this member. Nothing was written.
        case refused
        /// An argument is wrong. Nothing was written.
        case invalid
        /// A code that was scanned or typed does not read, or the branch does not confirm it.
        case badCode
        /// Something that is on its way is missing: connect, and try again.
        case notReady
        /// A bug in the library, or in a callback of the app's: report it.
        case `internal`
    }

    /// What an app can do about it.
    public let code: Code
    /// The cause, in a sentence.
    public let description: String

    public var errorDescription: String? { description }

    init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}

extension DinhError {
    init(_ error: DinhFFI.DinhError) {
        switch error {
        case .Closed(let detail): self.init(.closed, detail)
        case .Locked(let detail): self.init(.locked, detail)
        case .Store(let failure, let detail): self.init(.store(StoreFailure(failure)), detail)
        case .NotFound(let detail): self.init(.notFound, detail)
        case .NotAllowed(let detail): self.init(.notAllowed, detail)
        case .Refused(let detail): self.init(.refused, detail)
        case .Invalid(let detail): self.init(.invalid, detail)
        case .BadCode(let detail): self.init(.badCode, detail)
        case .NotReady(let detail): self.init(.notReady, detail)
        case .Cancelled(let detail): self.init(.internal, detail)
        case .Internal(let detail): self.init(.internal, detail)
        }
    }
}

extension StoreFailure {
    init(_ failure: DinhFFI.StoreFailure) {
        switch failure {
        case .inUse: self = .inUse
        case .wrongKey: self = .wrongKey
        case .diskFull: self = .diskFull
        case .readOnly: self = .readOnly
        case .newerFormat: self = .newerFormat
        case .damaged: self = .damaged
        case .failed: self = .failed
        }
    }
}

/// What the native library throws, as a ``DinhError``, or as a `CancellationError`.
func publicError(_ error: any Error) -> any Error {
    switch error {
    case DinhFFI.DinhError.Cancelled: CancellationError()
    case let error as DinhFFI.DinhError: DinhError(error)
    case is CancellationError, is DinhError: error
    default: DinhError(.internal, "the native library panicked: \(error); report this")
    }
}

/// Calls the native library.
func native<T>(_ call: () throws -> T) throws -> T {
    do { return try call() } catch { throw publicError(error) }
}

/// Calls the native library.
func native<T>(_ call: () async throws -> T) async throws -> T {
    do { return try await call() } catch { throw publicError(error) }
}
