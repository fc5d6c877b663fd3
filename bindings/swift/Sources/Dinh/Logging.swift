import DinhFFI

/// The version of the library, as in its changelog.
public var libraryVersion: String { DinhFFI.libraryVersion() }

/// The version of the protocol that the library speaks with relays: they must speak the same.
public var protocolVersion: Int { Int(DinhFFI.protocolVersion()) }

/// The library's log, for the app's own.
///
/// ```swift
/// try Logging.install(.info) { record in
///     os_log("%{public}@: %{public}@", record.target, record.text)
/// }
/// ```
///
/// Lines never hold content, names or keys; they hold ids and addresses.
public enum Logging {
    /// How much is logged. Each level has those before it.
    public enum Level: Sendable, Hashable, CaseIterable {
        /// Nothing.
        case off
        /// What should not happen.
        case error
        /// What is odd.
        case warn
        /// What happens, in few lines.
        case info
        /// For whoever looks into something.
        case debug
        /// Everything: slow.
        case trace
    }

    /// A line of the log.
    public struct Record: Sendable, Hashable {
        /// How important it is.
        public let level: Level
        /// The part of the library.
        public let target: String
        /// What happened.
        public let text: String
    }

    /// Gives the log to the app from now on: once in a process, best before the first client is opened. The second time fails with
    /// ``DinhError/Code/invalid``.
    ///
    /// - Parameter sink: Takes a line. It is called on any thread, by several at once, and whoever calls it waits for it: it must be
    ///   quick, and it must not call this library. To do more, hand the line to a queue.
    public static func install(_ level: Level, _ sink: @escaping @Sendable (Record) -> Void) throws {
        try native { try DinhFFI.installLog(level: level.native, sink: Sink(sink)) }
    }

    /// Logs as much as this from now on. Without ``install(_:_:)`` it does nothing.
    public static func setLevel(_ level: Level) { DinhFFI.setLogLevel(level: level.native) }
}

// MARK: - Across the border

private final class Sink: DinhFFI.LogSink {
    private let take: @Sendable (Logging.Record) -> Void

    init(_ take: @escaping @Sendable (Logging.Record) -> Void) { self.take = take }

    func log(record: DinhFFI.LogRecord) throws {
        take(Logging.Record(level: Logging.Level(record.level), target: record.target, text: record.text))
    }
}

extension Logging.Level {
    init(_ level: DinhFFI.LogLevel) {
        switch level {
        case .off: self = .off
        case .error: self = .error
        case .warn: self = .warn
        case .info: self = .info
        case .debug: self = .debug
        case .trace: self = .trace
        }
    }

    var native: DinhFFI.LogLevel {
        switch self {
        case .off: .off
        case .error: .error
        case .warn: .warn
        case .info: .info
        case .debug: .debug
        case .trace: .trace
        }
    }
}
