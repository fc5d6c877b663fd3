import Foundation

@testable import Dinh

#if canImport(Glibc)
import Glibc
#endif

/// What the tests over the real library need: folders, a relay, waiting with a limit.
enum Setting {
    /// How long the tests wait for what must come.
    static let waitSeconds = 60.0

    /// How often the test for leaks goes round.
    static var rounds: Int { environment("DINH_ROUNDS").flatMap { Int($0) } ?? 200 }

    /// `bindings/testdata`.
    static var testdata: URL {
        if let path = environment("DINH_TESTDATA") { return URL(fileURLWithPath: path) }
        // This file, DinhTests, Tests, swift.
        return (0..<4).reduce(URL(fileURLWithPath: #filePath)) { folder, _ in folder.deletingLastPathComponent() }
            .appendingPathComponent("testdata")
    }

    /// The relay's program. Cargo puts it beside the library.
    static func relay() throws -> URL {
        if let path = environment("DINH_RELAY") { return URL(fileURLWithPath: path) }
        let folders = (environment("LD_LIBRARY_PATH") ?? "").split(separator: ":").map { URL(fileURLWithPath: String($0)) }
        let programs = folders.map { $0.appendingPathComponent("dinh-relay") }
        guard let found = programs.first(where: { FileManager.default.isExecutableFile(atPath: $0.path) }) else {
            throw Failed("no relay: set DINH_RELAY to the program dinh-relay")
        }
        return found
    }

    /// A variable of the environment; nil if it is empty too.
    static func environment(_ name: String) -> String? {
        ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
    }
}

/// Why a test failed.
struct Failed: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Goes on only if this is so.
func require(_ holds: Bool, _ otherwise: @autoclosure () -> String) throws {
    if !holds { throw Failed(otherwise()) }
}

/// A folder, until it is removed.
struct Scratch: Sendable {
    let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("dinh-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    func remove() { try? FileManager.default.removeItem(at: folder) }

    /// Opens the client of a name.
    func open(_ name: String, _ secrets: Secrets, relay: String? = nil) async throws -> Client {
        try await Client.open(
            store: folder.appendingPathComponent("\(name).redb"), marker: folder.appendingPathComponent("\(name).marker"),
            secrets: secrets, relay: relay)
    }

    /// A client with a branch, and a document in it that everybody writes.
    func village() async throws -> (client: Client, document: Document) {
        let client = try await open("a", try Secrets.generate())
        let founded = try await client.foundBranch(member: try newMemberID(), deviceName: "máy")
        let space = try await founded.branch.createSpace()
        let document = try await founded.branch.createDocument(in: space)
        try await document.edit { try $0.text(["text"], "Chào các đồng chí") }
        return (client, document)
    }
}

/// A relay's process, until it is stopped.
final class Relay {
    /// What devices connect to.
    let address: String
    private let process: Process

    init(in folder: URL) throws {
        let process = Process()
        process.executableURL = try Setting.relay()
        process.arguments = ["serve", "--data", folder.appendingPathComponent("relay").path, "--listen", "127.0.0.1:0"]
        process.standardError = FileHandle.nullDevice
        let printed = Pipe()
        process.standardOutput = printed
        try process.run()
        self.process = process
        var text = ""
        while true {
            let more = printed.fileHandleForReading.availableData
            if more.isEmpty { throw Failed("the relay ended and printed: \(text)") }
            text += String(decoding: more, as: UTF8.self)
            // The line is whole.
            let lines = text.components(separatedBy: "\n").dropLast()
            if let line = lines.first(where: { $0.contains("ws://") }), let start = line.range(of: "ws://") {
                address = String(line[start.lowerBound...])
                return
            }
        }
    }

    /// An address of this relay's key where nobody listens.
    var unreachable: String { "ws://127.0.0.1:1/dinh/v1#" + address.components(separatedBy: "#")[1] }

    /// Kills it. On Linux a child of one of Foundation's threads has the signals blocked that would ask it to end.
    func stop() {
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }
}

/// Does something that must not take long.
func within<T: Sendable>(
    _ seconds: Double = Setting.waitSeconds, _ work: @escaping @Sendable () async throws -> T
) async throws -> T {
    try await withThrowingTaskGroup(of: T.self) { group in
        group.addTask { try await work() }
        group.addTask {
            try await rest(seconds)
            throw Failed("it took more than \(seconds) seconds")
        }
        defer { group.cancelAll() }
        guard let first = try await group.next() else { throw Failed("nothing was done") }
        return first
    }
}

func rest(_ seconds: Double) async throws { try await Task.sleep(nanoseconds: UInt64(seconds * 1e9)) }

/// The next thing of a stream; nil at its end.
func next<T: Sendable>(_ stream: AsyncThrowingStream<T, any Error>) async throws -> T? {
    try await within { () async throws -> T? in
        for try await found in stream { return found }
        return nil
    }
}

/// Waits until a stream gives something for which this holds.
func hear<T: Sendable>(_ stream: AsyncStream<T>, until holds: @escaping @Sendable (T) -> Bool) async throws {
    let came = try await within { () async throws -> Bool in
        for await found in stream where holds(found) { return true }
        return false
    }
    try require(came, "the stream ended before")
}

/// Waits until something holds that no stream tells.
func eventually(_ what: String, _ holds: @Sendable () async throws -> Bool) async throws {
    for _ in 0..<200 {
        let isSo = try await holds()
        if isSo { return }
        try await rest(0.05)
    }
    throw Failed("never: \(what)")
}

/// How many streams the native library has not freed.
func streamsAlive() -> Int { liveStreams() }
