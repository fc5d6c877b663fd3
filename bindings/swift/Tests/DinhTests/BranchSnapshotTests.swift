import XCTest

@testable import Dinh

/// What a branch has besides its papers.
final class BranchSnapshotTests: XCTestCase {
    func testThreads() throws {
        let json = """
            [{"id":"\(Sample.id)","kind":"confidential_report","title":"Phản ánh","author":"\(Sample.member)",
              "by":"\(Sample.other)","at":\(Sample.millis),"subject":null,
              "messages":[{"id":"\(Sample.id2)","by":"\(Sample.other)","on_behalf_of":"\(Sample.member)","at":\(Sample.millis),
                           "text":"Xin hỏi","language":"tyz"}],
              "life":\(Sample.life(Sample.quoted("in_progress"))),
              "handler":\(Sample.register(Sample.quoted(Sample.other))),"due":"2026-12-10"},
             {"id":"\(Sample.id2)","kind":"question","title":"Hỏi","author":"\(Sample.member)",
              "by":"\(Sample.member)","at":0,"subject":"\(Sample.doc)","messages":[],
              "life":\(Sample.life(Sample.quoted("answered"))),"handler":[],"due":null}]
            """
        let found: [FeedbackThread] = try decoded(json)
        XCTAssertEqual(found.map { $0.kind }, [.confidentialReport, .question])
        XCTAssertEqual(found.map { $0.by }, [Sample.other, Sample.member])
        XCTAssertEqual(found[0].at, Sample.time)
        XCTAssertEqual(found[0].messages.first?.onBehalfOf, Sample.member)
        XCTAssertEqual(found[0].messages.first?.at, Sample.time)
        XCTAssertEqual(found[0].messages.first?.language, "tyz")
        XCTAssertEqual(found[0].life.state, .inProgress)
        XCTAssertEqual(found[0].handler.value, Sample.other)
        XCTAssertFalse(found[0].isOverdue(today: "2026-12-10"))
        XCTAssertTrue(found[0].isOverdue(today: "2026-12-11"))
        XCTAssertEqual(found[1].subject, Sample.doc)
        XCTAssertEqual(found[1].life.state, .answered)
        XCTAssertFalse(found[1].isOverdue(today: "2027-01-01"))
    }

    func testAttendance() throws {
        let json = """
            {"entries":{
              "\(Sample.member)":{"checked_in":[{"value":{"at":\(Sample.millis),"way":"qr"},"by":null}],"mark":[],"reason":[],
                                  "late_at":\(Sample.register("\(Sample.millis)")),"left_at":[]},
              "\(Sample.other)":{"checked_in":[],"mark":\(Sample.register(Sample.quoted("temporarily_away"))),
                                 "reason":\(Sample.register(Sample.quoted("đi làm xa"))),"late_at":[],"left_at":[]}}}
            """
        let found: Attendance = try decoded(json)
        let entry = try XCTUnwrap(found.entries[Sample.member])
        XCTAssertEqual(entry.checkedIn.value?.way, .qr)
        XCTAssertEqual(entry.checkedIn.value?.at, Sample.time)
        XCTAssertEqual(entry.lateAt.value, Sample.time)
        XCTAssertEqual(found.marks, [Sample.other: .temporarilyAway])
        XCTAssertEqual(found.entries[Sample.other]?.reason.value, "đi làm xa")
        XCTAssertEqual(found.unconfirmed, [Sample.member])
    }

    func testAttendanceSummary() throws {
        let found: AttendanceSummary = try decoded(Sample.summary)
        XCTAssertEqual(found.total, 30)
        XCTAssertEqual(found.presentOfficial, 20)
        XCTAssertEqual(found.presentProbationary, 2)
        XCTAssertEqual(found.presentTemporarily, 1)
        XCTAssertEqual(found.base.count, 25)
        XCTAssertEqual(found.base.excluding, [.exemptAndAbsent, .temporarilyAway, .suspended, .detained])
        XCTAssertEqual(found.base.leftOut, [Sample.member: .temporarilyAway, Sample.other: .exemptAndAbsent])
    }

    func testRoster() throws {
        let json = """
            {"authority":\(Sample.register(Sample.quoted("member-database"))),"at":\(Sample.register("\(Sample.millis)")),
             "people":{"\(Sample.member)":[{"value":{"name":"Hoàng Văn Thiết","post":"Bí thư","standing":"official","is_exempt":false,
                                                     "is_away":true,"language":"tyz","has_phone":true},"by":null}],
                       "\(Sample.other)":[]},
             "by_name":["\(Sample.member)"]}
            """
        let found: Roster = try decoded(json)
        XCTAssertEqual(found.authority.value, "member-database")
        XCTAssertEqual(found.at.value, Sample.time)
        XCTAssertEqual(found.people.count, 2)
        XCTAssertEqual(found.byName, [Sample.member])
        let person = try XCTUnwrap(found.shown[Sample.member])
        XCTAssertEqual(found.shown.count, 1)
        XCTAssertEqual(person.name, "Hoàng Văn Thiết")
        XCTAssertTrue(person.standing.isOfficial)
        XCTAssertFalse(person.isExempt)
        XCTAssertTrue(person.isAway)
        XCTAssertTrue(person.hasPhone)
    }

    func testQuestions() throws {
        let json = """
            [{"id":"\(Sample.id)","title":"Đồng ý không?","at":\(Sample.millis),"ballots":{"\(Sample.member)":\(Sample.register(Sample.quoted("yes"))),
              "\(Sample.other)":\(Sample.register(Sample.quoted("abstain")))},
              "closed":[{"value":{"tally":{"yes":1,"no":0,"abstain":1},"voters":2,
                         "by":"\(Sample.member)","at":\(Sample.millis)},"by":null}]},
             {"id":"\(Sample.id2)","title":"","at":0,"ballots":{},"closed":[]}]
            """
        let found: [Question] = try decoded(json)
        XCTAssertEqual(found[0].ballots[Sample.member]?.value, .yes)
        XCTAssertEqual(found[0].closed.value?.tally, VoteTally(yes: 1, no: 0, abstain: 1))
        XCTAssertEqual(found[0].closed.value?.voters, 2)
        XCTAssertEqual(found[0].closed.value?.by, Sample.member)
        XCTAssertEqual(found[0].closed.value?.at, Sample.time)
        XCTAssertEqual(found[0].at, Sample.time)
        XCTAssertEqual(found.map { $0.isOpen }, [false, true])
    }

    func testTasks() throws {
        let json = """
            [{"id":"\(Sample.id)","title":\(Sample.register(Sample.quoted("Làm đường"))),
              "owners":\(Sample.register(Sample.list([Sample.member]))),"due":\(Sample.register(Sample.quoted("2026-12-20"))),
              "from":\(Sample.register(Sample.quoted(Sample.doc))),"status":\(Sample.register(Sample.quoted("open"))),
              "progress":[{"id":"\(Sample.id2)","by":"\(Sample.member)","at":\(Sample.millis),"percent":60,"text":"Đổ bê tông"},
                          {"id":"\(Sample.id)","by":"\(Sample.member)","at":\(Sample.millis),"percent":null,"text":"Mưa"}]}]
            """
        let found: [GivenTask] = try decoded(json)
        XCTAssertEqual(found[0].owners.value, [Sample.member])
        XCTAssertEqual(found[0].status.value, .open)
        XCTAssertEqual(found[0].progress.map { $0.percent }, [60, nil])
        XCTAssertFalse(found[0].isOverdue(today: "2026-12-20"))
        XCTAssertTrue(found[0].isOverdue(today: "2026-12-21"))
    }

    func testNotice() throws {
        let json = """
            {"title":\(Sample.register(Sample.quoted("Họp"))),"text":"Mời họp.","until":[],
             "read":{"\(Sample.member)":\(Sample.register("\(Sample.millis)"))}}
            """
        let found: Notice = try decoded(json)
        XCTAssertEqual(found.title.value, "Họp")
        XCTAssertEqual(found.text, "Mời họp.")
        XCTAssertNil(found.until.value)
        XCTAssertEqual(found.read[Sample.member]?.value, Sample.time)
    }

    private let digest = """
        {"branch":\(Sample.register(Sample.quoted("Nà Mận"))),"months":{
          "2026-12":{"state":"consulting","counts":{"round":1,"read":12,"members":30,"open_feedback":2,"overdue":0},
                     "updated_at":\(Sample.millis)},
          "2026-11":{"state":null,"counts":{},"updated_at":null}}}
        """

    func testDigest() throws {
        let found: Digest = try decoded(digest)
        XCTAssertEqual(found.branch.value, "Nà Mận")
        let month = try XCTUnwrap(found.months["2026-12"])
        XCTAssertEqual(month.state, "consulting")
        XCTAssertEqual(month.counts, [.round: 1, .read: 12, .members: 30, .openFeedback: 2, .overdue: 0])
        XCTAssertEqual(month.updatedAt, Sample.time)
        XCTAssertNil(found.months["2026-11"]?.state)
        XCTAssertNil(found.months["2026-11"]?.updatedAt)
        let newer = #"{"branch":[],"months":{"2026-12":{"state":null,"counts":{"newer":1},"updated_at":null}}}"#
        XCTAssertThrowsError(try decoded(newer, as: Digest.self))
    }

    func testDigestsOfBranches() throws {
        let found: [BranchDigest] = try decoded(#"[["\#(Sample.device)",\#(digest)]]"#)
        XCTAssertEqual(found.map { $0.id }, [Sample.device])
        XCTAssertEqual(found.first?.digest.months.count, 2)
    }

    func testIndex() throws {
        let json = """
            {"purpose":"mailbox_upper","member":"\(Sample.member)","documents":{
              "\(Sample.doc)":{"schema":"dinh.minutes/1","of":null,"period":"2026-12","kind":"regular","by":"\(Sample.member)","same_as":[]}},
             "numbers":{"\(Sample.doc)":[{"value":{"number":7,"line":"NQ","known":6},"by":null}]},
             "seals":{"\(Sample.doc)":["\(Sample.hash)",["\(Sample.hash2)"]]}}
            """
        let found: SpaceIndex = try decoded(json)
        XCTAssertEqual(found.purpose, .mailboxUpper)
        XCTAssertEqual(found.member, Sample.member)
        XCTAssertEqual(found.documents[Sample.doc]?.schema, Schemas.minutes)
        XCTAssertNil(found.documents[Sample.doc]?.of)
        XCTAssertEqual(found.documents[Sample.doc]?.period, "2026-12")
        XCTAssertNil(found.documents[Sample.doc]?.sameAs.value)
        XCTAssertEqual(found.numbers[Sample.doc]?.value?.number, 7)
        XCTAssertEqual(found.numbers[Sample.doc]?.value?.line, "NQ")
        XCTAssertEqual(found.seals[Sample.doc]?.hash, Sample.hash)
        XCTAssertEqual(found.seals[Sample.doc]?.previous, [Sample.hash2])
        let empty: SpaceIndex = try decoded(#"{"purpose":null,"member":null,"documents":{},"numbers":{},"seals":{}}"#)
        XCTAssertNil(empty.purpose)
    }
}
