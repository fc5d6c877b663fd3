import Foundation
import XCTest

/// What docs/embedding-swift.md shows is compiled (GuideSnippets.swift, samples/), but what it says is not.
final class GuideTests: XCTestCase {
    /// `bindings/swift`.
    private var package: URL {
        // This file, DinhTests, Tests.
        (0..<3).reduce(URL(fileURLWithPath: #filePath)) { folder, _ in folder.deletingLastPathComponent() }
    }

    private func text(_ path: String) throws -> String {
        try String(contentsOf: package.appendingPathComponent(path), encoding: .utf8)
    }

    /// The blocks of a language in the guide, but those that say that they are not compiled.
    private func blocks(_ language: String) throws -> [String] {
        var found: [String] = []
        var block: [String]?
        var isOurs = false
        var before = ""
        for line in try text("../../docs/embedding-swift.md").components(separatedBy: "\n") {
            if line.hasPrefix("```") {
                if let done = block {
                    if isOurs { found.append(done.map { $0 + "\n" }.joined()) }
                    block = nil
                } else {
                    block = []
                    isOurs = line == "```\(language)" && before != "<!-- not compiled here -->"
                }
            } else {
                block?.append(line)
            }
            before = line
        }
        return found
    }

    /// Its lines that say something, without their indents.
    private func lines(_ text: String) -> String {
        let lines = text.components(separatedBy: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
        return "\n" + lines.filter { !$0.isEmpty }.map { $0 + "\n" }.joined()
    }

    func testWhatTheGuideShowsIsCompiled() throws {
        let sources = [
            "Tests/DinhTests/GuideSnippets.swift", "samples/first/Sources/first/main.swift", "samples/first/Package.swift",
        ]
        let compiled = try sources.map { lines(try text($0)) }
        let shown = try blocks("swift")
        for block in shown {
            XCTAssertTrue(compiled.contains { $0.contains(lines(block)) }, "nothing that is compiled has:\n\(block)")
        }
        XCTAssertGreaterThan(shown.count, 10)
        print("swift: the guide's \(shown.count) blocks are compiled")
    }

    func testTheFirstProgramIsWholeAndRuns() throws {
        let shown = try blocks("swift")
        XCTAssertTrue(shown.contains(try text("samples/first/Sources/first/main.swift")))
        XCTAssertTrue(shown.contains(try text("samples/first/Package.swift")))
        #if os(Linux)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: ProcessInfo.processInfo.arguments[0]).deletingLastPathComponent()
            .appendingPathComponent("First")
        let printed = Pipe()
        process.standardOutput = printed
        try process.run()
        let output = printed.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        XCTAssertEqual(process.terminationStatus, 0)
        XCTAssertEqual(String(decoding: output, as: UTF8.self), try blocks("text").first)
        #endif
    }
}
