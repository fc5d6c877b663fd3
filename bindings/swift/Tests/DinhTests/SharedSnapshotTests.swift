import XCTest

@testable import Dinh

/// Ids, and parts of snapshots as serde writes them.
enum Sample {
    static let member = "0123456789abcdef0123456789abcdef"
    static let other = "fedcba9876543210fedcba9876543210"
    static let device = "00112233445566778899aabbccddeeff"
    static let doc = "4NMNnkMhL8jXrdJ9jamS58PAVdXu"
    static let id = "019ab0c2d3e40001a1b2c3d4e5f60718"
    static let id2 = "019ab0c2d3e40002a1b2c3d4e5f60718"
    static let hash = String(repeating: "ab", count: 32)
    static let hash2 = String(repeating: "cd", count: 32)
    /// 2026-12-03T12:30:00Z.
    static let millis = 1_796_301_000_000
    static let time = Date(timeIntervalSince1970: 1_796_301_000)

    static func quoted(_ text: String) -> String { "\"\(text)\"" }

    static func list(_ texts: [String]) -> String { "[" + texts.map { quoted($0) }.joined(separator: ",") + "]" }

    /// A register with one value, whose writer is known.
    static func register(_ value: String) -> String {
        #"[{"value":\#(value),"by":{"member":"\#(member)","device":"\#(device)"}}]"#
    }

    static func life(_ state: String) -> String {
        #"{"status":{"in":\#(state)},"counted":["\#(id)"],"not_counted":{},"waiting":[],"heads":["\#(id)"]}"#
    }

    static let block =
        #"{"id":"\#(id)","kind":\#(register(quoted("speech"))),"text":"Tôi đồng ý.","speaker":\#(register(quoted(member))),"#
        + #""language":[],"interpreter":[],"hidden":[],"order":\#(register(quoted("80"))),"section":\#(register(quoted(id2)))}"#

    static let hiddenBlock =
        #"{"id":"\#(id2)","kind":[],"text":"","speaker":[],"language":[],"interpreter":[],"#
        + #""hidden":\#(register("true")),"order":[],"section":[]}"#

    static let outline =
        #"{"sections":[{"id":"\#(id2)","heading":"Nội dung","order":\#(register(quoted("80"))),"blocks":[\#(block)]}],"#
        + #""hidden":[\#(hiddenBlock)]}"#

    static let assignment =
        #"{"id":"\#(id)","task":\#(register(quoted("Làm đường"))),"owners":\#(register(list([member, other]))),"#
        + #""quantity":\#(register(quoted("420 m"))),"due":\#(register(quoted("2026-12-20")))}"#

    static let seal =
        #"{"document":"\#(doc)","schema":"dinh.minutes/1","heads":["\#(hash)"],"content":"\#(hash2)","at":\#(millis),"#
        + #""number":null,"by":"\#(member)","previous":[]}"#

    static let summary =
        #"{"total":30,"official":27,"probationary":3,"present_official":20,"present_probationary":2,"present_temporarily":1,"#
        + #""excused":4,"unexcused":1,"exempt":1,"away":1,"unmarked":1,"base":{"count":25,"#
        + #""excluding":["exempt_and_absent","temporarily_away","suspended","detained"],"#
        + #""left_out":{"\#(member)":"temporarily_away","\#(other)":"exempt_and_absent"}}}"#
}

final class SharedSnapshotTests: XCTestCase {
    func testRegisterShowsItsFirstValueAndKeepsAll() throws {
        let empty: Register<String> = try decoded("[]")
        XCTAssertNil(empty.value)
        XCTAssertNil(empty.by)
        XCTAssertFalse(empty.isContested)

        let one: Register<String> = try decoded(Sample.register(Sample.quoted("Nhà văn hóa")))
        XCTAssertEqual(one.value, "Nhà văn hóa")
        XCTAssertEqual(one.by?.member, Sample.member)
        XCTAssertEqual(one.by?.device, Sample.device)
        XCTAssertFalse(one.isContested)

        let two: Register<Int> = try decoded(#"[{"value":1,"by":null},{"value":2,"by":null}]"#)
        XCTAssertEqual(two.value, 1)
        XCTAssertNil(two.by)
        XCTAssertEqual(two.all.map { $0.value }, [1, 2])
        XCTAssertTrue(two.isContested)

        let same: Register<Int> = try decoded(#"[{"value":1,"by":null},{"value":1,"by":null}]"#)
        XCTAssertFalse(same.isContested)
    }

    func testTimesAreMilliseconds() throws {
        let found: Register<Date> = try decoded(Sample.register("\(Sample.millis)"))
        XCTAssertEqual(found.value, Sample.time)
    }

    func testOutline() throws {
        let found: Outline = try decoded(Sample.outline)
        XCTAssertEqual(found.sections.map { $0.heading }, ["Nội dung"])
        let block = try XCTUnwrap(found.block(Sample.id))
        XCTAssertEqual(block.kind.value, "speech")
        XCTAssertEqual(block.speaker.value, Sample.member)
        XCTAssertEqual(block.section.value, Sample.id2)
        XCTAssertFalse(block.isHidden)
        XCTAssertEqual(block.textPath.description, "/blocks/\(Sample.id)/text")
        XCTAssertEqual(found.sections[0].headingPath.description, "/sections/\(Sample.id2)/heading")
        XCTAssertTrue(try XCTUnwrap(found.block(Sample.id2)).isHidden)
        XCTAssertNil(found.block("none"))
        XCTAssertEqual(found.plainText, "Nội dung\nTôi đồng ý.\n")
    }

    func testLifeInAState() throws {
        let found: Life<MinutesState> = try decoded(Sample.life(Sample.quoted("read_back")))
        XCTAssertEqual(found.status, .at(.readBack))
        XCTAssertEqual(found.state, .readBack)
        XCTAssertEqual(found.counted, [Sample.id])
        XCTAssertEqual(found.heads, [Sample.id])
        XCTAssertTrue(found.waiting.isEmpty)
    }

    func testLifeInDispute() throws {
        let json = """
            {"status":{"disputed":[["\(Sample.id)","deferred"],["\(Sample.id2)","adopted"]]},
             "counted":["\(Sample.id)","\(Sample.id2)"],
             "not_counted":{"a":{"why":"step","from":"Drafting"},"b":{"why":"guard","what":"a vote that carried"},
                            "c":{"why":"disputed"},"d":{"why":"nothing_to_settle"},"e":{"why":"circular"}},
             "waiting":["f"],"heads":["\(Sample.id)","\(Sample.id2)"]}
            """
        let found: Life<ResolutionState> = try decoded(json)
        XCTAssertNil(found.state)
        guard case .disputed(let sides) = found.status else { return XCTFail("not disputed") }
        XCTAssertEqual(sides.map { $0.event }, [Sample.id, Sample.id2])
        XCTAssertEqual(sides.map { $0.state }, [.deferred, .adopted])
        let why: [String: NotCounted] = [
            "a": .step(from: "Drafting"), "b": .missing("a vote that carried"), "c": .disputed, "d": .nothingToSettle,
            "e": .circular,
        ]
        XCTAssertEqual(found.notCounted, why)
        XCTAssertEqual(found.waiting, ["f"])
    }

    func testEvents() throws {
        let json = """
            [{"id":"\(Sample.id)","kind":"adopted","by":"\(Sample.member)","at":\(Sample.millis),"after":["\(Sample.id2)"],
              "data":{"vote":"\(Sample.id2)","base":25,"large":18446744073709551615,"share":0.5,"final":true,"none":null,
                      "list":["a",[1]],"map":{"k":"v"}}}]
            """
        let found: [LifeEvent] = try decoded(json)
        let event = try XCTUnwrap(found.first)
        XCTAssertEqual(event.kind, MinutesSteps.adopted)
        XCTAssertEqual(event.by, Sample.member)
        XCTAssertEqual(event.at, Sample.time)
        XCTAssertEqual(event.after, [Sample.id2])
        let data: [String: Value] = [
            "vote": .string(Sample.id2), "base": .int(25), "large": .uint(.max), "share": .double(0.5), "final": .bool(true),
            "none": .null, "list": .list([.string("a"), .list([.int(1)])]), "map": .map(["k": .string("v")]),
        ]
        XCTAssertEqual(event.data, data)
        XCTAssertEqual(event.text("vote"), Sample.id2)
        XCTAssertNil(event.text("base"))
    }

    func testOverlaps() throws {
        let found: [Overlap] = try decoded(
            #"[{"block":"\#(Sample.id)","members":["\#(Sample.member)","\#(Sample.other)"]}]"#)
        XCTAssertEqual(found.first?.id, Sample.id)
        XCTAssertEqual(found.first?.members, [Sample.member, Sample.other])
    }

    func testSeal() throws {
        let none: Sealed? = try decodedIfAny("null")
        XCTAssertNil(none)
        let json = """
            {"seal":\(Sample.seal),"hash":"\(Sample.hash2)","verified":"valid","late":[
              {"change":"\(Sample.hash)","by":{"member":"\(Sample.other)","device":"\(Sample.device)"},"time_s":1796301000,
               "field":["blocks","\(Sample.id)","text"],"before":"a","after":"b","became":null},
              {"change":"\(Sample.hash)","by":null,"time_s":0,"field":["venue"],"before":"","after":"c",
               "became":"\(Sample.doc)#\(Sample.id)"}]}
            """
        let found = try XCTUnwrap(try decodedIfAny(json) as Sealed?)
        XCTAssertEqual(found.seal.heads, [Sample.hash])
        XCTAssertEqual(found.seal.at, Sample.time)
        XCTAssertNil(found.seal.number)
        XCTAssertEqual(found.hash, Sample.hash2)
        XCTAssertEqual(found.verified, .valid)
        XCTAssertEqual(found.late.map { $0.block }, [Sample.id, nil])
        XCTAssertEqual(found.late[0].time, Sample.time)
        XCTAssertEqual(found.late[0].by?.member, Sample.other)
        XCTAssertNil(found.late[0].became)
        XCTAssertEqual(found.late[1].became, "\(Sample.doc)#\(Sample.id)")
    }

    func testAmendments() throws {
        let found: [String: Amendment] = try decoded(
            #"{"\#(Sample.doc)":{"relation":"supersedes","seal":"\#(Sample.hash)"}}"#)
        XCTAssertEqual(found[Sample.doc]?.relation, .supersedes)
        XCTAssertEqual(found[Sample.doc]?.seal, Sample.hash)
    }

    func testMoreThanIsKnownIsPassedOver() throws {
        let found: [Overlap] = try decoded(#"[{"block":"b","members":[],"since":{"newer":[1]}}]"#)
        XCTAssertEqual(found.first?.block, "b")
    }

    func testWhatDoesNotReadIsSaidWithItsPlace() {
        XCTAssertThrowsError(try decoded(Sample.life(Sample.quoted("elsewhere")), as: Life<MinutesState>.self)) { error in
            guard let error = error as? DinhError else { return XCTFail("\(error)") }
            XCTAssertEqual(error.code, .internal)
            XCTAssertTrue(error.description.contains("/status/in"), error.description)
            XCTAssertTrue(error.description.contains("elsewhere"), error.description)
        }
        XCTAssertThrowsError(try decoded(#"[{"members":[]}]"#, as: [Overlap].self)) { error in
            XCTAssertTrue("\(error)".contains("block is missing"), "\(error)")
        }
        XCTAssertThrowsError(try decoded(#"[{"value":"1","by":null}]"#, as: Register<Int>.self))
        XCTAssertThrowsError(try decoded(#"[{"value":1.5,"by":null}]"#, as: Register<Int>.self))
        let newer = #"{"status":{"newer":1},"counted":[],"not_counted":{},"waiting":[],"heads":[]}"#
        XCTAssertThrowsError(try decoded(newer, as: Life<MinutesState>.self))
        XCTAssertThrowsError(try decoded(#"{"why":"newer"}"#, as: NotCounted.self))
        XCTAssertThrowsError(try decoded("", as: Outline.self))
    }
}
