import Foundation
import XCTest

@testable import Dinh

/// What the story does not tell, over the real library.
final class LibraryTests: XCTestCase {
    override class func tearDown() {
        print("swift: what the story does not tell: cancelling, closing, errors, text fields, the log, spaces, joining")
        super.tearDown()
    }

    func testAWaitForSyncThatIsCancelledHoldsNothing() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let (client, _) = try await scratch.village()
        let before = streamsAlive()
        let waiting = Task { try await client.sync(timeout: .infinity) }
        try await eventually("it waits") { streamsAlive() == before + 1 }
        try await rest(0.2)
        waiting.cancel()
        try await mustBeCancelled { _ = try await waiting.value }
        // Cancelled before it began.
        let late = Task {
            while !Task.isCancelled { await Task.yield() }
            return try await client.sync(timeout: 600)
        }
        late.cancel()
        try await mustBeCancelled { _ = try await late.value }
        try await eventually("both are freed") { streamsAlive() == before }
        let outcome = try await client.sync(timeout: 0.2)
        XCTAssertEqual(outcome, .offline(trouble: nil))
        XCTAssertEqual(client.traffic, Traffic(bytesUp: 0, bytesDown: 0, connections: 0))
        let refused = try await client.quarantined()
        XCTAssertEqual(refused, [])
        try await client.shutdown()
    }

    func testATimeoutMayBeAnyNumber() async throws {
        XCTAssertEqual(Client.milliseconds(timeout: 0.25), 250)
        XCTAssertEqual(Client.milliseconds(timeout: -1), 0)
        XCTAssertEqual(Client.milliseconds(timeout: .nan), 0)
        XCTAssertEqual(Client.milliseconds(timeout: -.infinity), 0)
        XCTAssertEqual(Client.milliseconds(timeout: .infinity), 1_000_000_000_000)
        let scratch = try Scratch()
        defer { scratch.remove() }
        let (client, _) = try await scratch.village()
        let outcome = try await within { try await client.sync(timeout: .nan) }
        XCTAssertEqual(outcome, .offline(trouble: nil))
        try await client.shutdown()
    }

    func testIteratingThatIsCancelledFreesItsStream() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let (client, document) = try await scratch.village()
        let branches = try await client.branches()
        let index = try await client.branch(branches[0].id).setUp(name: "Chi bộ").membersIndex
        let before = streamsAlive()
        let watching = [
            Task { for await _ in client.statuses {} },
            Task { for await _ in client.events {} },
        ]
        let (changes, snapshots) = (try document.events, try index.snapshots)
        let following = [
            Task { for try await _ in changes {} },
            Task { for try await _ in snapshots {} },
        ]
        try await eventually("all four observe") { streamsAlive() == before + 4 }
        // All of them wait now.
        try await rest(0.2)
        for task in watching { task.cancel() }
        for task in following { task.cancel() }
        for task in watching { try await within { await task.value } }
        for task in following { try await within { try await task.value } }
        try await eventually("all four are freed") { streamsAlive() == before }
        try await client.shutdown()
    }

    func testAStreamThatIsDroppedIsFreed() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let (client, document) = try await scratch.village()
        let before = streamsAlive()
        _ = try document.events
        try await observeAndLeave(document)
        try await eventually("both are freed") { streamsAlive() == before }
        try await client.shutdown()
    }

    func testSeveralMayObserve() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let (client, document) = try await scratch.village()
        let streams = try [document.events, document.events]
        for stream in streams {
            guard case .snapshot = try await next(stream) else { return XCTFail("no snapshot comes first") }
        }
        try await document.edit { try $0.put(["title"], "Kế hoạch") }
        let put = Patch(path: .root, action: .put("title", .string("Kế hoạch"), conflict: false))
        for stream in streams {
            guard case .changed(let patches, let isLocal) = try await next(stream) else { return XCTFail("no change") }
            XCTAssertEqual(patches, [put])
            XCTAssertTrue(isLocal)
        }
        try await client.shutdown()
        for stream in streams {
            let end = try await next(stream)
            XCTAssertNil(end)
        }
    }

    func testClosing() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let (client, document) = try await scratch.village()
        try await client.shutdown()
        try await client.shutdown()
        XCTAssertEqual(client.status.lifecycle, .closed)
        for await status in client.statuses { XCTAssertEqual(status.lifecycle, .closed) }
        let errors = [
            try await failure { _ = try await document.get() },
            try await failure { try await document.edit { try $0.put(["n"], 1) } },
            try await failure { _ = try await next(try document.events) },
            try await failure { _ = try await document.bindText(["text"]) },
            try await failure { try await client.flush() },
            try await failure { _ = try await client.sync(timeout: 1) },
        ]
        for error in errors {
            XCTAssertEqual(error.code, .closed)
            XCTAssertTrue(error.description.contains("open the store again"), error.description)
        }
    }

    func testErrorsSayWhatIsWrong() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let secrets = try Secrets.generate()
        let client = try await scratch.open("a", secrets)
        let founded = try await client.foundBranch(member: try newMemberID(), deviceName: "máy")
        let space = try await founded.branch.createSpace()
        let document = try await founded.branch.createDocument(in: space)
        try await document.edit { try $0.text(["text"], "chào") }
        var short = secrets
        short.store = Data(count: 31)
        let wrong = short

        let badID = try await failure { _ = try await client.document("nonsense").get() }
        XCTAssertEqual(badID.code, .invalid)
        XCTAssertTrue(badID.description.contains("nonsense"), badID.description)
        XCTAssertEqual(badID.localizedDescription, badID.description)
        XCTAssertEqual("\(badID)", badID.description)
        let nowhere = try await failure { try await document.edit { try $0.splice(["nowhere"], at: 0, insert: "a") } }
        XCTAssertEqual(nowhere.code, .notFound)
        XCTAssertTrue(nowhere.description.contains("nowhere"), nowhere.description)
        let beyond = try await failure { try await document.edit { try $0.splice(["text"], at: 99, insert: "a") } }
        XCTAssertEqual(beyond.code, .invalid)
        XCTAssertTrue(beyond.description.contains("99"), beyond.description)
        let negative = try await failure { try await document.edit { try $0.splice(["text"], at: -1, insert: "a") } }
        XCTAssertEqual(negative.code, .invalid)
        XCTAssertTrue(negative.description.contains("-1"), negative.description)
        let relay = try await failure { try client.setRelay("http://relay.example") }
        XCTAssertEqual(relay.code, .invalid)
        XCTAssertTrue(relay.description.contains("relay.example"), relay.description)
        let code = try await failure { _ = try Codes.kind("dinh:nonsense") }
        XCTAssertEqual(code.code, .badCode)
        let inUse = try await failure { _ = try await scratch.open("a", secrets) }
        XCTAssertEqual(inUse.code, .store(.inUse))
        let bytes = try await failure { _ = try await scratch.open("b", wrong) }
        XCTAssertEqual(bytes.code, .invalid)
        XCTAssertTrue(bytes.description.contains("31"), bytes.description)

        // What the app's own closure throws comes through, and nothing is written.
        do {
            try await document.edit { edit in
                try edit.put(["n"], 1)
                throw Failed("mine")
            }
            XCTFail("it did not fail")
        } catch let error as Failed {
            XCTAssertEqual(error.description, "mine")
        }
        let nothing = try await document.get(["n"])
        XCTAssertNil(nothing)

        try await client.shutdown()
        let other = Secrets(
            device: secrets.device, wrap: secrets.wrap, wrapPublic: secrets.wrapPublic, store: try Secrets.generate().store)
        let key = try await failure { _ = try await scratch.open("a", other) }
        XCTAssertEqual(key.code, .store(.wrongKey))
    }

    func testOthersWordsWaitWhileTheKeyboardComposes() async throws {
        try await compose()
    }

    func testAScreenThatIsLateTakesNoneOfOthersWordsAway() async throws {
        try await typeOnALateScreen()
    }

    func testAFieldThatNobodyHoldsIsFreed() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let (client, document) = try await scratch.village()
        let before = streamsAlive()
        let news = try await bindAndLeave(document)
        let end = try await next(news)
        XCTAssertNil(end)
        try await eventually("the field is freed") { streamsAlive() == before }
        try await client.shutdown()
    }

    func testRangesOfStringsAndOfTheLibrary() async throws {
        let text = "Đồng ý 👍 e\u{301}n"
        let emoji = try XCTUnwrap(text.range(of: "👍"))
        XCTAssertEqual(Range(utf16: emoji, in: text), 7..<9)
        XCTAssertEqual(Range(utf16: 7..<9, in: text), emoji)
        XCTAssertEqual(Range(utf16: 0..<text.utf16.count, in: text), text.startIndex..<text.endIndex)
        for wrong in [7..<8, 8..<9, 0..<99, -1..<2] {
            XCTAssertNil(Range<String.Index>(utf16: wrong, in: text), "\(wrong)")
        }
        // A mark alone is a place in the text, though not a letter of Swift's.
        XCTAssertEqual(Range<String.Index>(utf16: 11..<12, in: text).map { text.unicodeScalars[$0].count }, 1)

        let scratch = try Scratch()
        defer { scratch.remove() }
        let (client, document) = try await scratch.village()
        try await document.edit { try $0.setText(["text"], text) }
        try await document.edit { try $0.replace(["text"], emoji, in: text, with: "👍👍") }
        let found = try await document.get(["text"])
        XCTAssertEqual(found?.stringValue, "Đồng ý 👍👍 \u{e9}n")
        try await client.shutdown()
    }

    func testAnEditReadsWhatIsOnAScreen() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let (client, document) = try await scratch.village()
        try await save(document)
        let title = try await document.get(["title"])
        XCTAssertEqual(title, .string("Kế hoạch"))
        try await client.shutdown()
    }

    func testTheLogIsTheAppsToTake() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let relay = try Relay(in: scratch.folder)
        let nobody = relay.unreachable
        relay.stop()
        let lines = Lines()
        try Logging.install(.debug) { lines.append($0) }
        let twice = try await failure { try Logging.install(.info) { _ in } }
        XCTAssertEqual(twice.code, .invalid)
        XCTAssertTrue(twice.description.contains("installed already"), twice.description)
        let client = try await scratch.open("a", try Secrets.generate(), relay: nobody)
        try await hear(client.statuses) { $0.trouble != nil }
        guard case .offline = try await client.sync(timeout: Setting.waitSeconds) else { return XCTFail("not offline") }
        let heard = lines.all
        XCTAssertTrue(
            heard.contains { $0.level == .debug && $0.target.hasPrefix("dinh") && !$0.text.isEmpty }, "\(heard)")
        Logging.setLevel(.off)
        try await client.flush()
        let count = lines.all.count
        _ = try await client.sync(timeout: Setting.waitSeconds)
        XCTAssertEqual(lines.all.count, count)
        try await client.shutdown()
    }

    func testTheSpacesOfABranchAreListed() async throws {
        XCTAssertEqual(libraryVersion.split(separator: ".").count, 3, libraryVersion)
        XCTAssertEqual(protocolVersion, 1)
        let scratch = try Scratch()
        defer { scratch.remove() }
        let client = try await scratch.open("a", try Secrets.generate())
        let member = try newMemberID()
        let branch = try await client.foundBranch(member: member, deviceName: "máy").branch
        let none = try await branch.spaces()
        XCTAssertTrue(none.isEmpty)
        let before = try await branch.standing()
        XCTAssertNil(before)
        let standing = try await branch.setUp(name: "Chi bộ thôn Đình")
        let again = try await branch.setUp(name: "Chi bộ thôn Đình")
        XCTAssertNotNil(standing.digest)
        XCTAssertEqual(again.digest?.id, standing.digest?.id)
        try await branch.openMailbox(for: member)
        try await branch.openMailbox(for: member)
        let spaces = try await branch.spaces()
        XCTAssertEqual(Set(spaces.map { $0.purpose }), [.branch, .committee, .oversight, .mailboxCommittee])
        XCTAssertEqual(spaces.count, 4)
        let mailbox = try XCTUnwrap(spaces.first { $0.purpose == .mailboxCommittee })
        XCTAssertEqual(mailbox.member, member)
        let index = try await mailbox.index.snapshot()
        XCTAssertEqual(index.member, member)
        XCTAssertEqual(spaces.first { $0.purpose == .committee }?.index.id, standing.committeeIndex?.id)
        try await client.shutdown()
    }

    func testAMemberJoinsAndFindsWhatIsForMembers() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let relay = try Relay(in: scratch.folder)
        defer { relay.stop() }
        let an = try await scratch.open("an", try Secrets.generate(), relay: relay.address)
        XCTAssertEqual(an.relay, relay.address)
        let ours = try await an.foundBranch(member: try newMemberID(), deviceName: "Máy của An").branch
        let standing = try await ours.setUp(name: "Chi bộ thôn Đình")
        let regular = try await ours.beginMeeting(NewMeeting(meeting: "2026-12", period: "2026-12"))
        let earlier = try await ours.beginMeeting(NewMeeting(meeting: "2026-11", period: "2026-11", kind: .thematic))
        let committees = try await ours.beginMeeting(NewMeeting(meeting: "bch-2026-12", period: "2026-12", kind: .committee))
        let forMembers = [Listed(earlier, "2026-11", .thematic), Listed(regular, "2026-12", .regular)]
        let all = try await ours.meetings().map { Listed($0) }
        XCTAssertEqual(all.count, 3)
        XCTAssertEqual(Set(all), Set(forMembers + [Listed(committees, "2026-12", .committee)]))

        let binh = try await scratch.open("binh", try Secrets.generate())
        XCTAssertNil(binh.relay)
        let before = streamsAlive()
        let member = try newMemberID()
        let answer = try await ours.admit(
            member: member, role: .member, joinCode: binh.joinCode, deviceName: "Máy của Bình", relay: relay.address)
        let home = try await binh.join(answer)
        XCTAssertEqual(binh.relay, relay.address)
        try await within { try await home.joined() }
        let own = try await home.info()?.own
        XCTAssertEqual(own?.member, member)
        // Who is in need not wait.
        try await within(5) { try await home.joined() }
        try await eventually("both waits are freed") { streamsAlive() == before }

        for client in [an, binh] {
            let outcome = try await client.sync(timeout: Setting.waitSeconds)
            XCTAssertEqual(outcome, .synced)
        }
        let found = try await home.standing()
        let theirs = try XCTUnwrap(found)
        XCTAssertEqual(theirs.members, standing.members)
        XCTAssertEqual(theirs.membersIndex.id, standing.membersIndex.id)
        XCTAssertEqual(theirs.roster.id, standing.roster.id)
        XCTAssertEqual(theirs.feedback.id, standing.feedback.id)
        XCTAssertEqual(theirs.tasks.id, standing.tasks.id)
        XCTAssertNil(theirs.committee ?? theirs.oversight)
        XCTAssertNil(theirs.committeeIndex ?? theirs.oversightIndex)
        XCTAssertNil(theirs.digest)
        let meetings = try await home.meetings().map { Listed($0) }
        XCTAssertEqual(meetings, forMembers)
        let refused = try await failure { _ = try await home.beginDraft(period: "2026-12") }
        XCTAssertEqual(refused.code, .refused)
        // The relay is the app's to keep.
        try binh.setRelay(nil)
        XCTAssertNil(binh.relay)
        for client in [an, binh] { try await client.shutdown() }
    }

    func testAWaitForABranchThatIsCancelledHoldsNothing() async throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        let (client, _) = try await scratch.village()
        let ours = client.branch(try await client.branches()[0].id)
        let other = try await scratch.open("binh", try Secrets.generate())
        let out = try await failure { try await other.branch(ours.id).joined() }
        XCTAssertEqual(out.code, .notFound)
        // The relay is gone before it can be joined.
        let relay = try Relay(in: scratch.folder)
        relay.stop()
        let answer = try await ours.admit(
            member: newMemberID(), role: .member, joinCode: other.joinCode, deviceName: "Máy của Bình", relay: relay.address)
        let branch = try await other.join(answer)
        let before = streamsAlive()
        let waiting = Task { try await branch.joined() }
        try await eventually("it waits") { streamsAlive() == before + 1 }
        try await rest(0.1)
        waiting.cancel()
        try await mustBeCancelled { try await waiting.value }
        // Cancelled before it began.
        let late = Task {
            while !Task.isCancelled { await Task.yield() }
            try await branch.joined()
        }
        late.cancel()
        try await mustBeCancelled { try await late.value }
        try await eventually("both are freed") { streamsAlive() == before }
        // A client that is closed will never be in the branch.
        let closed = Task { try await branch.joined() }
        try await eventually("it waits") { streamsAlive() == before + 1 }
        try await rest(0.1)
        try await other.shutdown()
        let error = try await failure { try await within { try await closed.value } }
        XCTAssertEqual(error.code, .closed)
        XCTAssertTrue(error.description.contains("open the store again"), error.description)
        try await eventually("it is freed") { streamsAlive() == before }
        try await client.shutdown()
    }
}

/// A meeting, as far as it can be compared.
private struct Listed: Hashable {
    let documents: [String?]
    let period: String?
    let kind: MeetingKind?

    init(_ meeting: Meeting, _ period: String, _ kind: MeetingKind) {
        documents = [meeting.minutes.id, meeting.attendance.id, meeting.votebox.id]
        (self.period, self.kind) = (period, kind)
    }

    init(_ meeting: ListedMeeting) {
        documents = [meeting.id, meeting.attendance?.id, meeting.votebox?.id]
        (period, kind) = (meeting.period, meeting.kind)
    }
}

/// How something fails.
private func failure(_ work: () async throws -> Void) async throws -> DinhError {
    do {
        try await work()
    } catch let error as DinhError {
        return error
    }
    throw Failed("it did not fail")
}

private func mustBeCancelled(_ work: @escaping @Sendable () async throws -> Void) async throws {
    do {
        try await within(10) { try await work() }
    } catch is CancellationError {
        return
    }
    throw Failed("it was not cancelled")
}

private func observeAndLeave(_ document: Document) async throws {
    let events = try document.events
    for try await _ in events { break }
}

private func state(_ text: String, _ caret: Int, selected length: Int = 0) -> FieldState {
    FieldState(text: text, selection: NSRange(location: caret, length: length))
}

@MainActor
private func typeOnALateScreen() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let (client, document) = try await scratch.village()
    let binding = try await document.bindText(["text"])
    XCTAssertNil(try binding.edit(state("chào", NSNotFound), isComposing: false))
    try await binding.flush()
    try await document.edit { try $0.splice(["text"], at: 0, insert: "Kính ") }
    var shows = try binding.absorb()
    while shows == nil {
        _ = try await next(binding.news)
        shows = try binding.absorb()
    }
    XCTAssertEqual(shows, state("Kính chào", 9))
    // None of this is drawn: the keyboard goes on with what it knows.
    XCTAssertEqual(try binding.edit(state("chào ", 5), isComposing: false), state("Kính chào ", 10))
    XCTAssertNil(try binding.edit(state("chào d", 6), isComposing: true))
    XCTAssertNil(try binding.edit(state("chào đ", 6), isComposing: true))
    XCTAssertEqual(binding.text, "Kính chào đ")
    XCTAssertEqual(try binding.edit(state("chào đồng ", 10), isComposing: false), state("Kính chào đồng ", 15))
    // The caret alone was moved.
    XCTAssertEqual(
        try binding.edit(state("chào đồng ", 1, selected: 3), isComposing: false), state("Kính chào đồng ", 6, selected: 3))
    // Now it is. What is deleted of it is what the user does not want.
    XCTAssertNil(try binding.edit(state("Kính chào đồng ", 0, selected: 5), isComposing: false))
    XCTAssertNil(try binding.edit(state("chào đồng ", 0), isComposing: false))
    XCTAssertEqual(binding.text, "chào đồng ")
    try await binding.flush()
    let saved = try await document.get(["text"])
    XCTAssertEqual(saved, .text("chào đồng "))
    do {
        try binding.replace(NSRange(location: NSNotFound, length: 0), with: "?", isComposing: false)
        XCTFail("it did not fail")
    } catch let error as DinhError {
        XCTAssertEqual(error.code, .invalid)
    }
    binding.close()
    try await client.shutdown()
}

@MainActor
private func compose() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let (client, document) = try await scratch.village()
    let binding = try await document.bindText(["text"])

    _ = try binding.edit(state("Chào các đồng chí d", 19), isComposing: true)
    try await document.edit { try $0.splice(["text"], at: 0, insert: "Kính ") }
    let news = try await next(binding.news)
    XCTAssertEqual(news, .others)
    XCTAssertNil(try binding.absorb())
    XCTAssertNil(try binding.edit(state("Chào các đồng chí đ", 19), isComposing: true))
    // Whoever listens anew hears of what nobody took in.
    let again = try await next(binding.news)
    XCTAssertEqual(again, .others)
    var shows = try binding.edit(state("Chào các đồng chí đây", 21), isComposing: false)
    while shows == nil {
        _ = try await next(binding.news)
        shows = try binding.absorb()
    }
    XCTAssertEqual(shows, state("Kính Chào các đồng chí đây", 26))
    XCTAssertEqual(binding.text, "Kính Chào các đồng chí đây")
    try await binding.flush()
    let saved = try await document.get(["text"])
    XCTAssertEqual(saved, .text("Kính Chào các đồng chí đây"))

    // A field that says what changed: the caret is behind it.
    try binding.replace(NSRange(location: 26, length: 0), with: "!", isComposing: false)
    XCTAssertEqual(binding.text, "Kính Chào các đồng chí đây!")
    try await binding.flush()
    try await document.edit { try $0.splice(["text"], at: 0, delete: 5, insert: "") }
    var moved = try binding.absorb()
    while moved == nil {
        _ = try await next(binding.news)
        moved = try binding.absorb()
    }
    XCTAssertEqual(moved, state("Chào các đồng chí đây!", 22))

    // A listener that is cancelled does not wait for the next news.
    let stream = binding.news
    let listening = Task { for try await _ in stream {} }
    try await rest(0.05)
    listening.cancel()
    try await within(10) { try await listening.value }
    let last = binding.news
    binding.close()
    binding.close()
    let ended = Task { for try await _ in last {} }
    try await within { try await ended.value }
    try await client.shutdown()
}

/// Binds a field and lets it go. Gives its news, which end.
@MainActor
private func bindAndLeave(_ document: Document) async throws -> AsyncThrowingStream<TextNews, any Error> {
    let binding = try await document.bindText(["text"])
    let news = binding.news
    let listening = Task { for try await _ in binding.news {} }
    // It waits now.
    try await rest(0.1)
    listening.cancel()
    try await within { try await listening.value }
    return news
}

/// A screen, as a model of SwiftUI's.
@MainActor
private final class Screen {
    var title = "Kế hoạch"
    var saved = 0
}

@MainActor
private func save(_ document: Document) async throws {
    let screen = Screen()
    let change = try await document.edit { edit in
        try edit.put(["title"], .string(screen.title))
        screen.saved += 1
    }
    XCTAssertNotNil(change)
    XCTAssertEqual(screen.saved, 1)
}

/// Lines of the log, which come on any thread.
private final class Lines: @unchecked Sendable {
    private let lock = NSLock()
    private var lines: [Logging.Record] = []

    func append(_ line: Logging.Record) {
        lock.lock()
        defer { lock.unlock() }
        lines.append(line)
    }

    var all: [Logging.Record] {
        lock.lock()
        defer { lock.unlock() }
        return lines
    }
}
