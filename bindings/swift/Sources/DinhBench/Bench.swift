import Dinh
import Dispatch
import Foundation

/// What a key stroke and an edit cost through the SDK, in µs. Not among the tests: `swift run -c release DinhBench`, with a library
/// that was built for release.
@main
struct Bench {
    static let rounds = 2_000
    static let warmUp = 500

    @MainActor
    static func main() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("dinh-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let client = try await Client.open(
            store: folder.appendingPathComponent("a.redb"), marker: folder.appendingPathComponent("a.marker"),
            secrets: try Secrets.generate())
        let branch = try await client.foundBranch(member: try newMemberID(), deviceName: "máy").branch
        let standing = try await branch.setUp(name: "Chi bộ")
        let document = try await branch.createDocument(in: standing.members)
        let words = String(repeating: "Nhất trí làm 200 m đoạn đầu tuyến. ", count: 12)
        let (text, typed): (Path, Path) = (["text"], ["typed"])
        try await document.edit { edit in
            try edit.text(text, words)
            try edit.text(typed, words)
        }
        show("\(rounds) rounds each, in µs", "median", "p95")

        try await measure("an empty call") { _ in
            if libraryVersion.isEmpty { throw Wrong("no version") }
        }

        let binding = try await document.bindText(typed)
        let (end, letters) = (words.utf16.count, [false: words, true: words + "a"])
        try await measure("a key stroke in a bound field of \(end), and its text") { inserts in
            let caret = NSRange(location: inserts ? end + 1 : end, length: 0)
            _ = try binding.edit(FieldState(text: letters[inserts] ?? "", selection: caret), isComposing: false)
            if binding.text.utf16.count != caret.location { throw Wrong("the field shows something else") }
        }
        try await binding.flush()
        binding.close()

        try await measure("an edit until it is on disk") { inserts in
            try await toggle(inserts, document, text)
        }

        let events = try document.events
        _ = try await first(of: events)
        try await measure("an edit until an observer of the document has its patch") { inserts in
            try await toggle(inserts, document, text)
            guard case .changed = try await first(of: events) else { throw Wrong("no patch") }
        }

        let minutes = try await branch.beginMeeting(NewMeeting(meeting: "2026-12", period: "2026-12")).minutes
        let section = try await minutes.addSection("Thảo luận")
        let block = try await minutes.addBlock(to: section, kind: BlockKinds.speech, text: words)
        let snapshots = try minutes.snapshots
        _ = try await first(of: snapshots)
        try await measure("an edit until an observer has the minutes with it") { inserts in
            try await toggle(inserts, minutes.document, minutes.textPath(of: block))
            while true {
                guard case .value(let shown) = try await first(of: snapshots) else { throw Wrong("no minutes") }
                if shown.outline.block(block)?.text.utf16.count == (inserts ? end + 1 : end) { break }
            }
        }
        try await client.shutdown()
    }

    /// Half of the rounds insert a letter, half of them take it away again.
    @MainActor
    private static func measure(_ what: String, _ round: @MainActor (_ inserts: Bool) async throws -> Void) async throws {
        var times: [Double] = []
        for n in -warmUp..<rounds {
            let start = DispatchTime.now().uptimeNanoseconds
            try await round(n % 2 == 0)
            let end = DispatchTime.now().uptimeNanoseconds
            if n >= 0 { times.append(Double(end - start) / 1_000) }
        }
        times.sort()
        show(what, format(times[rounds / 2]), format(times[rounds * 95 / 100]))
    }

    private static func toggle(_ inserts: Bool, _ document: Document, _ text: Path) async throws {
        let change = try await document.edit { edit in
            try edit.splice(text, at: 0, delete: inserts ? 0 : 1, insert: inserts ? "a" : "")
        }
        if change == nil { throw Wrong("nothing was written") }
    }

    private static func first<T: Sendable>(of stream: AsyncThrowingStream<T, any Error>) async throws -> T? {
        for try await found in stream { return found }
        return nil
    }

    private static func format(_ microseconds: Double) -> String { String(format: "%.1f", microseconds) }

    private static func show(_ what: String, _ median: String, _ p95: String) {
        func space(_ text: String, to width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) }
        print("swift: \(what)\(space(what, to: 55))\(space(median, to: 10))\(median)\(space(p95, to: 10))\(p95)")
    }
}

struct Wrong: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
