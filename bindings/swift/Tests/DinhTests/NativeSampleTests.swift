import XCTest

@testable import Dinh

/// Snapshots that the real library wrote: `bindings/testdata/snapshots/<kind>.json`, one for each kind.
final class NativeSampleTests: XCTestCase {
    private var folder: URL { Setting.testdata.appendingPathComponent("snapshots") }

    private func read(_ kind: String, _ json: String) throws {
        switch kind {
        case "minutes": _ = try decoded(json, as: Minutes.self)
        case "resolution": _ = try decoded(json, as: Resolution.self)
        case "round": _ = try decoded(json, as: Round.self)
        case "review": _ = try decoded(json, as: Review.self)
        case "threads": _ = try decoded(json, as: [FeedbackThread].self)
        case "attendance": _ = try decoded(json, as: Attendance.self)
        case "roster": _ = try decoded(json, as: Roster.self)
        case "questions": _ = try decoded(json, as: [Question].self)
        case "tasks": _ = try decoded(json, as: [GivenTask].self)
        case "notice": _ = try decoded(json, as: Notice.self)
        case "digest": _ = try decoded(json, as: Digest.self)
        case "index": _ = try decoded(json, as: SpaceIndex.self)
        case "events": _ = try decoded(json, as: [LifeEvent].self)
        case "overlaps": _ = try decoded(json, as: [Overlap].self)
        case "seal": _ = try decoded(json, as: Sealed.self)
        case "amended": _ = try decoded(json, as: [String: Amendment].self)
        default: XCTFail("no such kind: \(kind)")
        }
    }

    func testEachKindReads() throws {
        let kinds = [
            "minutes", "resolution", "round", "review", "threads", "attendance", "roster", "questions", "tasks", "notice",
            "digest", "index", "events", "overlaps", "seal", "amended",
        ]
        for kind in kinds {
            let file = folder.appendingPathComponent("\(kind).json")
            guard let json = try? String(contentsOf: file, encoding: .utf8) else {
                XCTFail("\(file.path) is missing")
                continue
            }
            do {
                try read(kind, json)
            } catch {
                XCTFail("\(kind): \(error)")
            }
        }
        print("swift: \(kinds.count) kinds of snapshots as the library writes them")
    }
}
