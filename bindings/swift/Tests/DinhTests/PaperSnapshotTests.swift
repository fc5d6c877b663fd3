import XCTest

@testable import Dinh

/// Minutes, resolutions, rounds and reviews.
final class PaperSnapshotTests: XCTestCase {
    private func vote(
        _ id: String, _ method: String, yes: Int, by: String = Sample.member, confirmedBy: String? = nil, slips: String = "null"
    ) -> String {
        let confirmed = confirmedBy.map { Sample.quoted($0) } ?? "null"
        return #"{"id":"\#(id)","method":"\#(method)","base":25,"needed":13,"tally":{"yes":\#(yes),"no":1,"abstain":0},"#
            + #""ballots":\#(slips),"carried":true,"by":"\#(by)","at":\#(Sample.millis),"confirmed_by":\#(confirmed)}"#
    }

    private func motion(_ votes: [String], holds: String? = nil, subject: String = "null") throws -> Motion {
        let votes = votes.joined(separator: ",")
        let holding = holds.map { Sample.quoted($0) } ?? "null"
        return try decoded(
            #"{"id":"\#(Sample.id)","title":\#(Sample.register(Sample.quoted("Thông qua"))),"subject":\#(subject),"#
                + #""threshold":"more_than_half","votes":[\#(votes)],"chosen":[],"holds":\#(holding)}"#)
    }

    func testMotion() throws {
        let slips = #"{"issued":22,"returned":22,"valid":21}"#
        let subject = #"["\#(Sample.doc)","\#(Sample.hash) \#(Sample.hash2)"]"#
        let found = try motion([vote("v", "secret_ballot", yes: 20, slips: slips)], subject: subject)
        XCTAssertEqual(found.title.value, "Thông qua")
        XCTAssertEqual(found.subject?.document, Sample.doc)
        XCTAssertEqual(found.subject?.heads, [Sample.hash, Sample.hash2])
        XCTAssertEqual(found.threshold, .moreThanHalf)
        XCTAssertEqual(found.votes.first?.method, .secretBallot)
        XCTAssertEqual(found.votes.first?.tally, VoteTally(yes: 20, no: 1, abstain: 0))
        XCTAssertEqual(found.votes.first?.ballots, BallotSlips(issued: 22, returned: 22, valid: 21))
        XCTAssertEqual(found.votes.first?.base, 25)
        XCTAssertEqual(found.votes.first?.needed, 13)
        XCTAssertEqual(found.votes.first?.at, Sample.time)
        // Nobody confirmed it.
        XCTAssertNil(found.result)
        XCTAssertFalse(found.isCountedTwice)
    }

    func testResultOfAMotion() throws {
        let hands = vote("hands", "show_of_hands", yes: 20, confirmedBy: Sample.other)
        let fewer = vote("fewer", "show_of_hands", yes: 19, confirmedBy: Sample.other)
        XCTAssertEqual(try motion([fewer, hands], holds: "hands").result?.tally.yes, 20)
        XCTAssertFalse(try motion([fewer, hands], holds: "hands").isCountedTwice)
        XCTAssertNil(try motion([hands, fewer]).result)
        XCTAssertTrue(try motion([hands, fewer]).isCountedTwice)
        XCTAssertNil(try motion([]).result)
        XCTAssertFalse(try motion([]).isCountedTwice)
    }

    func testMinutes() throws {
        let summary = Sample.summary.replacingOccurrences(of: "\"", with: "\\\"")
        let json = """
            {"meeting":"2026-12","period":\(Sample.register(Sample.quoted("2026-12"))),"kind":\(Sample.register(Sample.quoted("regular"))),
             "header":{"issuing_org":\(Sample.register(Sample.quoted("CHI BỘ THÔN NÀ MẬN")))},
             "venue":\(Sample.register(Sample.quoted("Nhà văn hóa"))),"started_at":\(Sample.register("\(Sample.millis)")),"ended_at":[],
             "chair":\(Sample.register(Sample.quoted(Sample.member))),"recorder":\(Sample.register(Sample.quoted(Sample.other))),
             "outline":\(Sample.outline),"confirmed":{"\(Sample.id)":["\(Sample.member)"],"\(Sample.id2)":[]},
             "motions":[{"id":"\(Sample.id)","title":[],"subject":null,"threshold":"two_thirds","votes":[],"chosen":[],"holds":null}],
             "parts":{"agenda":[{"id":"\(Sample.id)","title":"Làm đường","presenter":[],"order":\(Sample.register(Sample.quoted("80")))}],
               "guests":[{"id":"\(Sample.id)","name":"Bà Lan","post":"","body":"Đảng ủy xã"}],
               "assignments":[\(Sample.assignment)],
               "documents_used":[{"id":"\(Sample.id)","title":"Công văn","document":null},
                                 {"id":"\(Sample.id2)","title":"Dự thảo","document":["\(Sample.doc)","\(Sample.hash)"]}],
               "signatures":[{"id":"\(Sample.id)","role":"chair","by":"\(Sample.member)","at":\(Sample.millis)}],
               "quality":{"discussion":\(Sample.register("9"))}},
             "decisions":{"\(Sample.id2)":{"text":"Hai","vote":null},"\(Sample.id)":{"text":"Một","vote":"\(Sample.id2)"}},
             "attendance":[{"value":"\(summary)","by":null}],
             "life":\(Sample.life(Sample.quoted("open"))),"seals":[{"value":\(Sample.seal),"by":null}]}
            """
        let found: Minutes = try decoded(json)
        XCTAssertEqual(found.meeting, "2026-12")
        XCTAssertEqual(found.period.value, "2026-12")
        XCTAssertEqual(found.meetingKind, .regular)
        XCTAssertEqual(found.header["issuing_org"]?.value, "CHI BỘ THÔN NÀ MẬN")
        XCTAssertEqual(found.venue.value, "Nhà văn hóa")
        XCTAssertEqual(found.startedAt.value, Sample.time)
        XCTAssertNil(found.endedAt.value)
        XCTAssertEqual(found.chair.value, Sample.member)
        XCTAssertEqual(found.recorder.value, Sample.other)
        XCTAssertEqual(found.outline.sections.count, 1)
        XCTAssertEqual(found.confirmed, [Sample.id: [Sample.member], Sample.id2: []])
        XCTAssertEqual(found.motions.first?.threshold, .twoThirds)
        XCTAssertEqual(found.agenda.first?.title, "Làm đường")
        XCTAssertEqual(found.agenda.first?.titlePath.description, "/agenda/\(Sample.id)/title")
        XCTAssertEqual(found.guests.first?.body, "Đảng ủy xã")
        XCTAssertEqual(found.assignments.first?.owners.value, [Sample.member, Sample.other])
        XCTAssertEqual(found.assignments.first?.due.value, "2026-12-20")
        XCTAssertEqual(found.documentsUsed.map { $0.document?.document }, [nil, Sample.doc])
        XCTAssertEqual(found.signatures.first?.role, "chair")
        XCTAssertEqual(found.signatures.first?.at, Sample.time)
        XCTAssertEqual(found.quality["discussion"]?.value, 9)
        XCTAssertEqual(found.decisions.map { $0.text }, ["Một", "Hai"])
        XCTAssertEqual(found.decisions.map { $0.vote }, [Sample.id2, nil])
        XCTAssertEqual(found.attendanceSummary?.base.count, 25)
        XCTAssertEqual(found.life.state, .open)
        XCTAssertEqual(found.seals.value?.content, Sample.hash2)
    }

    func testResolution() throws {
        let json = """
            {"period":\(Sample.register(Sample.quoted("2026-12"))),"header":{},"legal_bases":{"b":"Căn cứ hai","a":"Căn cứ một"},
             "enacting_clause":\(Sample.register(Sample.quoted("QUYẾT NGHỊ"))),"outline":\(Sample.outline),
             "assignments":[\(Sample.assignment)],
             "signature":{"authority":\(Sample.register(Sample.quoted("T/M CHI BỘ"))),"title":[],
                          "signer":\(Sample.register(Sample.quoted(Sample.member)))},
             "recipients":{"r":\(Sample.register(Sample.quoted("Đảng ủy xã")))},
             "suggestions":[{"id":"\(Sample.id)","by":"\(Sample.member)","at":\(Sample.millis),"block":"\(Sample.id2)","quote":"420 m",
                             "proposed":"450 m","outcome":\(Sample.register(Sample.quoted("accepted"))),
                             "place":{"changed":{"start":4,"end":9}}},
                            {"id":"\(Sample.id2)","by":"\(Sample.other)","at":0,"block":"\(Sample.id2)","quote":"a","proposed":"",
                             "outcome":[],"place":{"here":{"start":0,"end":1}}}],
             "read":{"\(Sample.member)":\(Sample.register("2"))},"number":\(Sample.register(Sample.quoted("07"))),
             "issued":["07","2026-12-05"],"life":\(Sample.life(Sample.quoted("in_force"))),"round":2,"seals":[]}
            """
        let found: Resolution = try decoded(json)
        XCTAssertEqual(found.legalBases.map { $0.text }, ["Căn cứ một", "Căn cứ hai"])
        XCTAssertEqual(found.legalBases.first?.textPath.description, "/legal_bases/a")
        XCTAssertEqual(found.enactingClause.value, "QUYẾT NGHỊ")
        XCTAssertEqual(found.signature.authority.value, "T/M CHI BỘ")
        XCTAssertNil(found.signature.title.value)
        XCTAssertEqual(found.signature.signer.value, Sample.member)
        XCTAssertEqual(found.recipients.map { $0.text.value }, ["Đảng ủy xã"])
        XCTAssertEqual(found.suggestions.map { $0.outcome.value }, [.accepted, nil])
        XCTAssertEqual(found.suggestions.first?.at, Sample.time)
        XCTAssertEqual(found.suggestions.map { $0.place }, [.changed(4..<9), .here(0..<1)])
        XCTAssertEqual(found.read[Sample.member]?.value, 2)
        XCTAssertEqual(found.issued?.number, "07")
        XCTAssertEqual(found.issued?.date, "2026-12-05")
        XCTAssertEqual(found.life.state, .inForce)
        XCTAssertEqual(found.round, 2)
        XCTAssertNil(found.seals.value)

        let draft: Resolution = try decoded(
            json.replacingOccurrences(of: #""issued":["07","2026-12-05"]"#, with: #""issued":null"#))
        XCTAssertNil(draft.issued)
    }

    func testPlacesOfASuggestion() throws {
        XCTAssertEqual(try decoded(#""gone""#, as: SuggestionPlace.self), .gone)
        XCTAssertNil(try decoded(#""gone""#, as: SuggestionPlace.self).range)
        XCTAssertEqual(try decoded(#"{"here":{"start":2,"end":2}}"#, as: SuggestionPlace.self).range, 2..<2)
        XCTAssertThrowsError(try decoded(#""newer""#, as: SuggestionPlace.self))
        XCTAssertThrowsError(try decoded(#"{"newer":1}"#, as: SuggestionPlace.self))
        XCTAssertThrowsError(try decoded(#"{"here":{"start":2,"end":1}}"#, as: SuggestionPlace.self))
    }

    func testRound() throws {
        let none: Round? = try decodedIfAny("null")
        XCTAssertNil(none)
        let json = """
            {"subject":"\(Sample.doc)","round":1,"heads":["\(Sample.hash)"],"preamble":["symbol: NQ","QUYẾT NGHỊ"],
             "sections":[{"heading":"Điều 1","blocks":[["\(Sample.id)","Làm đường."]]}],
             "assignments":[["Làm đường","\(Sample.member),\(Sample.other)","420 m","2026-12-20"],["Họp","","",""]]}
            """
        let found = try XCTUnwrap(try decodedIfAny(json) as Round?)
        XCTAssertEqual(found.subject, Sample.doc)
        XCTAssertEqual(found.round, 1)
        XCTAssertEqual(found.sections.first?.blocks.first?.id, Sample.id)
        XCTAssertEqual(found.sections.first?.blocks.first?.text, "Làm đường.")
        XCTAssertEqual(found.assignments.map { $0.owners }, [[Sample.member, Sample.other], []])
        XCTAssertEqual(found.assignments.first?.due, "2026-12-20")
    }

    func testReview() throws {
        let life = Sample.life(#"{"returned":1}"#)
        let json = """
            {"subject":\(Sample.register(Sample.quoted(Sample.doc))),"via":[],"comments":[
              {"id":"\(Sample.id)","by":"\(Sample.member)","at":\(Sample.millis),"round":1,"severity":"must_fix",
               "quote":["\(Sample.id2)","420 m"],"answers":null,"text":"Xem lại."},
              {"id":"\(Sample.id2)","by":"\(Sample.other)","at":\(Sample.millis),"round":1,"severity":"reply","quote":null,
               "answers":"\(Sample.id)","text":"Đã sửa."}],
             "life":\(life)}
            """
        let found: Review = try decoded(json)
        XCTAssertEqual(found.subject.value, Sample.doc)
        XCTAssertEqual(found.comments.map { $0.severity }, [.mustFix, .reply])
        XCTAssertEqual(found.comments[0].quote, BlockQuote(block: Sample.id2, quote: "420 m"))
        XCTAssertEqual(found.comments[1].answers, Sample.id)
        XCTAssertEqual(found.life.state, .returned(round: 1))
        XCTAssertEqual(found.life.state?.round, 1)
    }

    func testStatesOfAReview() throws {
        let states: [(String, ReviewState)] = [
            (Sample.quoted("none"), .notRequested), (#"{"requested":1}"#, .requested(round: 1)), (#"{"commented":2}"#, .commented(round: 2)),
            (#"{"returned":3}"#, .returned(round: 3)), (#"{"cleared":4}"#, .cleared(round: 4)),
        ]
        for (n, (json, state)) in states.enumerated() {
            let found: Life<ReviewState> = try decoded(Sample.life(json))
            XCTAssertEqual(found.state, state)
            XCTAssertEqual(found.state?.round, n)
        }
        XCTAssertThrowsError(try decoded(Sample.life(Sample.quoted("newer")), as: Life<ReviewState>.self))
        XCTAssertThrowsError(try decoded(Sample.life(#"{"newer":1}"#), as: Life<ReviewState>.self))
    }
}
