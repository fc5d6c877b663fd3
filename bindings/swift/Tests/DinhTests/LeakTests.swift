import Foundation
import XCTest

@testable import Dinh

#if canImport(Glibc)
import Glibc
#endif

/// Opens, observes and closes, again and again: memory, threads and files must stay where they are after the first rounds.
/// `DINH_ROUNDS=10000` for the whole count; what the process holds is printed.
final class LeakTests: XCTestCase {
    func testOpenObserveClose() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let secrets = try Secrets.generate()
        let client = try await scratch.open("a", secrets)
        let founded = try await client.foundBranch(member: try newMemberID(), deviceName: "máy")
        let space = try await founded.branch.createSpace()
        let made = try await founded.branch.createDocument(in: space)
        try await made.edit { try $0.text(["text"], "chào") }
        try await client.shutdown()
        let id = made.id

        func go(_ rounds: Int) async throws {
            for _ in 0..<rounds {
                let client = try await scratch.open("a", secrets)
                // Not by `next`: Swift keeps the timer of a limit that was not needed until its time, a kilobyte a round.
                var events = try client.document(id).events.makeAsyncIterator()
                guard case .snapshot = try await events.next() else { throw Failed("no snapshot comes first") }
                try await client.shutdown()
                let end = try await events.next()
                try require(end == nil, "the stream goes on after the client was closed")
            }
        }

        let streams = streamsAlive()
        try await go(max(20, Setting.rounds / 10))
        let before = try await used()
        try await go(Setting.rounds)
        let after = try await used()
        print("swift: \(Setting.rounds) rounds of open, observe, close: before: \(before), after: \(after)")
        try await eventually("all streams are freed") { streamsAlive() <= streams }
        // The pool of Swift's tasks makes its threads when it needs them; one a round would be more.
        XCTAssertLessThanOrEqual(after.threads, before.threads + 8)
        XCTAssertLessThanOrEqual(after.files, before.files + 4)
        // Less than a tenth of the smallest thing that a round makes.
        XCTAssertLessThan(after.kibibytes - before.kibibytes, 8_192 + Setting.rounds / 10)
    }

    /// What this process holds. A client's thread ends a moment after `shutdown` returns.
    private struct Used: CustomStringConvertible {
        var kibibytes = 0
        var threads = 0
        var files = 0

        var description: String { "\(kibibytes) KiB, \(threads) threads, \(files) files" }
    }

    private func used() async throws -> Used {
        try await rest(1)
        var used = Used()
        #if os(Linux)
        for line in lines(of: "/proc/self/status") {
            let words = line.split(whereSeparator: { $0.isWhitespace })
            guard words.count > 1, let number = Int(words[1]) else { continue }
            if words[0] == "VmRSS:" { used.kibibytes = number }
            if words[0] == "Threads:" { used.threads = number }
        }
        used.files = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
        try require(used.kibibytes > 0 && used.threads > 0, "/proc/self/status does not read")
        #endif
        return used
    }

    #if os(Linux)
    /// The lines of a file that says that it is empty, as those of `/proc` do.
    private func lines(of path: String) -> [Substring] {
        guard let file = fopen(path, "r") else { return [] }
        defer { fclose(file) }
        let most = 4_096
        var (bytes, buffer) = ([UInt8](), [UInt8](repeating: 0, count: most))
        while true {
            let count = fread(&buffer, 1, most, file)
            if count == 0 { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    }
    #endif
}
