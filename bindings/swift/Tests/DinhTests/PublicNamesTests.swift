import Foundation
import XCTest

/// No type of the generated module is in a public signature, so the generator can change without breaking apps.
final class PublicNamesTests: XCTestCase {
    private var sources: URL {
        // This file, DinhTests, Tests.
        (0..<3).reduce(URL(fileURLWithPath: #filePath)) { folder, _ in folder.deletingLastPathComponent() }
            .appendingPathComponent("Sources")
    }

    /// The lines of a source without its comments.
    private func code(_ text: String) -> [String] {
        let lines = text.components(separatedBy: "\n").map { line in
            line.components(separatedBy: "//")[0].trimmingCharacters(in: .whitespaces)
        }
        return lines.filter { !$0.hasPrefix("*") && !$0.hasPrefix("/*") }
    }

    private func words(_ text: String) -> [String] {
        text.split(whereSeparator: { !$0.isLetter && !$0.isNumber && $0 != "_" }).map { String($0) }
    }

    /// The types that a source declares.
    private func types(_ text: String) -> Set<String> {
        var found: Set<String> = []
        for line in code(text) {
            let all = words(line)
            for (word, name) in zip(all, all.dropFirst()) where ["struct", "enum", "class", "protocol"].contains(word) {
                if name.first?.isUppercase == true { found.insert(name) }
            }
        }
        return found
    }

    /// Whether this declares a case that carries something, and is not one of a `switch`.
    private func isCase(_ line: String) -> Bool {
        guard line.hasPrefix("case ") else { return false }
        let declared = line.dropFirst(5)
        let name = declared.prefix { $0.isLetter || $0.isNumber }
        return name.first?.isLowercase == true && declared.dropFirst(name.count).first == "("
    }

    /// The public declarations of a source, each up to its body or its end, and the cases of enumerations that carry something.
    private func signatures(_ text: String) -> [String] {
        var (found, begun): ([String], String?) = ([], nil)
        for line in code(text) {
            if isCase(line) { found.append(line) }
            if begun == nil, line.hasPrefix("public ") { begun = "" }
            guard var signature = begun else { continue }
            signature += line + " "
            let body = signature.firstIndex(of: "{")
            if let body { signature = String(signature[..<body]) }
            let depth = signature.filter { $0 == "(" }.count - signature.filter { $0 == ")" }.count
            if body != nil || depth == 0 {
                found.append(signature)
                begun = nil
            } else {
                begun = signature
            }
        }
        return found
    }

    func testNoGeneratedTypeIsPublic() throws {
        let generated = try String(
            contentsOf: sources.appendingPathComponent("DinhFFI").appendingPathComponent("DinhFFI.swift"), encoding: .utf8)
        let there = types(generated)
        XCTAssertTrue(there.isSuperset(of: ["Client", "Command", "SnapshotKind", "TextField", "LogSink"]), "\(there)")
        let folder = sources.appendingPathComponent("Dinh")
        let files = try XCTUnwrap(FileManager.default.enumerator(atPath: folder.path)).compactMap { $0 as? String }
        let texts = try files.filter { $0.hasSuffix(".swift") }.sorted().map { name in
            (name, try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8))
        }
        let here = texts.reduce(into: Set<String>()) { all, file in
            all.formUnion(types(file.1))
        }
        let onlyThere = there.subtracting(here)
        var count = 0
        for (name, text) in texts {
            for signature in signatures(text) {
                count += 1
                let used = Set(words(signature))
                XCTAssertFalse(used.contains("DinhFFI"), "\(name): \(signature)")
                let taken = used.intersection(onlyThere)
                XCTAssertTrue(taken.isEmpty, "\(name): \(signature): \(taken)")
            }
        }
        XCTAssertGreaterThan(count, 300)
        print("swift: \(count) public declarations without a generated type")
    }
}
