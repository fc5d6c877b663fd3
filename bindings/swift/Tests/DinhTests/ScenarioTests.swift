import Dinh
import Foundation
import XCTest

/// Plays `bindings/testdata/scenario.json` over the real library, a real relay process, real files and sockets, by what apps can
/// call: this file and `Story.swift` see the public names only.
final class ScenarioTests: XCTestCase {
    func testTheStory() async throws {
        let steps = try await play(Story.read())
        print("swift: \(steps) steps")
    }
}

/// Gives how many steps there were.
@MainActor
private func play(_ story: Story) async throws -> Int {
    let player = try Player()
    do {
        for (number, step) in story.steps.enumerated() {
            do {
                try await player.play(step)
            } catch {
                throw Failed("step \(number): \(Json.map(step.fields)): \(error)")
            }
        }
    } catch {
        await player.end()
        throw error
    }
    await player.end()
    return story.steps.count
}

/// A field on a screen.
@MainActor
private final class Field {
    let binding: TextBinding
    /// What it shows.
    var shown: FieldState

    init(_ binding: TextBinding) {
        self.binding = binding
        shown = FieldState(text: binding.text, selection: NSRange(location: 0, length: 0))
    }

    /// Takes in what others wrote, as an app does, until it shows this. It may have to wait for what was typed to be on disk.
    func mustShow(_ expected: FieldState) async throws {
        while shown != expected {
            let news = try await next(binding.news)
            try require(news != nil, "it shows \(shown), and the field was unbound")
            if let state = try binding.absorb() { shown = state }
        }
        try require(binding.text == expected.text, "its text is \(binding.text)")
    }
}

/// What a step made.
private enum Kept {
    case text(String)
    case standing(Standing)
    case meeting(Meeting)
    case cursor(Cursor)
    case events(AsyncThrowingStream<DocumentEvent, any Error>)
    case screen(AsyncThrowingStream<Snapshot<Minutes>, any Error>)
    case field(Field)
}

@MainActor
private final class Player {
    private let scratch: Scratch
    private var kept: [String: Kept] = [:]
    private var clients: [String: Client] = [:]
    private var secrets: [String: Secrets] = [:]
    private var process: Relay?

    init() throws { scratch = try Scratch() }

    func end() async {
        for client in clients.values { try? await client.shutdown() }
        process?.stop()
        scratch.remove()
    }

    func play(_ step: Turn) async throws {
        guard let what = try step.textIfAny("do") else { return }
        let fails = try step.textIfAny("fails")
        let made: Kept?
        do {
            made = try await act(what, Turn(try step.fields.mapValues { try filled($0) }))
        } catch let error as DinhError {
            guard let fails, kind(error) == fails else { throw Failed("it failed with \(error.code): \(error)") }
            try require(error.description.count > 10, "an error says what happened")
            try require(error.localizedDescription == error.description, "the system's words: \(error.localizedDescription)")
            return
        }
        if let fails { throw Failed("it did not fail, and should have: \(fails)") }
        if let into = try step.textIfAny("into") {
            guard let made else { throw Failed("it made nothing") }
            kept[into] = made
        }
    }

    private func kind(_ error: DinhError) -> String {
        switch error.code {
        case .closed: "closed"
        case .locked: "locked"
        case .store: "store"
        case .notFound: "not_found"
        case .notAllowed: "not_allowed"
        case .refused: "refused"
        case .invalid: "invalid"
        case .badCode: "bad_code"
        case .notReady: "not_ready"
        case .internal: "internal"
        }
    }

    // MARK: - What names stand for

    /// A step with what `$name` stands for. A name of what is no text stays: see `stream` and `field`.
    private func filled(_ json: Json) throws -> Json {
        switch json {
        case .text(let text): .text(try filled(text))
        case .list(let list): .list(try list.map { try filled($0) })
        case .map(let map): .map(try map.mapValues { try filled($0) })
        case .null, .bool, .number: json
        }
    }

    private func filled(_ text: String) throws -> String {
        var (filled, rest) = ("", Substring(text))
        while let start = rest.firstIndex(of: "$") {
            filled += rest[..<start]
            let after = rest[start...].dropFirst()
            let name = after.prefix { $0.isLetter || $0.isNumber || "_.:".contains($0) }
            guard let found = try named(String(name)) else { return text }
            filled += found
            rest = after.dropFirst(name.count)
        }
        return filled + String(rest)
    }

    private func named(_ name: String) throws -> String? {
        if name.hasPrefix("join:") { return try client(String(name.dropFirst(5))).joinCode }
        let parts = name.split(separator: ".").map { String($0) }
        let part = parts.count > 1 ? parts[1] : ""
        switch kept[parts[0]] {
        case .text(let text): return text
        case .standing(let papers):
            switch part {
            case "members": return papers.members
            case "roster": return papers.roster.id
            default: throw Failed("no \(part) of the branch's papers")
            }
        case .meeting(let papers):
            switch part {
            case "minutes": return papers.minutes.id
            case "attendance": return papers.attendance.id
            case "votebox": return papers.votebox.id
            default: throw Failed("no \(part) of the meeting")
            }
        case .cursor, .events, .screen, .field: return nil
        case nil: throw Failed("nothing is kept as \(name)")
        }
    }

    private func client(_ name: String) throws -> Client {
        guard let found = clients[name] else { throw Failed("no client is open as \(name)") }
        return found
    }

    private func client(_ step: Turn) throws -> Client { try client(step.text("client")) }

    private func branch(_ step: Turn) throws -> Branch {
        guard case .text(let branch) = kept["branch"] else { throw Failed("no branch was founded") }
        return try client(step).branch(try step.textIfAny("branch") ?? branch)
    }

    private func document(_ step: Turn) throws -> Document { try client(step).document(step.text("doc")) }

    private func minutes(_ step: Turn) throws -> MinutesDocument { try client(step).minutes(step.text("minutes")) }

    /// The member that goes by the name of a client.
    private func member(_ name: String) throws -> String {
        guard case .text(let member) = kept[name] else { throw Failed("\(name) is no member") }
        return member
    }

    private func handle(_ step: Turn, _ key: String) throws -> (name: String, kept: Kept) {
        let name = String(try step.text(key).dropFirst())
        guard let found = kept[name] else { throw Failed("nothing is kept as \(name)") }
        return (name, found)
    }

    private func events(_ step: Turn) throws -> AsyncThrowingStream<DocumentEvent, any Error> {
        guard case .events(let stream) = try handle(step, "stream").kept else { throw Failed("it is no stream of events") }
        return stream
    }

    private func field(_ step: Turn) throws -> Field {
        guard case .field(let field) = try handle(step, "field").kept else { throw Failed("it is no field") }
        return field
    }

    private func address() throws -> String {
        guard let process else { throw Failed("no relay runs") }
        return process.address
    }

    // MARK: - What steps do

    private func act(_ what: String, _ step: Turn) async throws -> Kept? {
        switch what {
        case "open", "shutdown", "pause", "resume", "lock", "unlock": try await live(what, step)
        case "relay", "connect", "disconnect", "sync", "expect_pending", "sync_fails_offline": try await connect(what, step)
        case "found", "set_up", "join", "remove", "expect_members", "expect_code": return try await gather(what, step)
        case "create", "edit", "expect", "cursor", "expect_cursor": return try await write(what, step)
        case "observe", "expect_event", "cancel", "expect_end", "many_streams": return try await observe(what, step)
        case "bind", "type", "expect_news", "expect_field", "flush", "unbind": return try await edit(what, step)
        case "open_mailbox", "mailbox", "no_mailbox", "begin_thread", "expect_thread": return try await confide(what, step)
        case "search": try await search(step)
        default: return try await meet(what, step)
        }
        return nil
    }

    private func live(_ what: String, _ step: Turn) async throws {
        let name = try step.text("client")
        switch what {
        case "open":
            let store = try step.textIfAny("store") ?? name
            if secrets[store] == nil {
                kept[store] = .text(try newMemberID())
                secrets[store] = try Secrets.generate()
            }
            guard let own = secrets[store] else { return }
            clients[name] = try await scratch.open(store, own)
        case "shutdown": try await client(name).shutdown()
        case "pause": try await client(name).pause()
        case "resume": try await client(name).resume()
        case "lock": try await client(name).lock()
        default:
            guard let own = secrets[name] else { throw Failed("\(name) has no secrets") }
            try await client(name).unlock(own)
        }
    }

    private func connect(_ what: String, _ step: Turn) async throws {
        switch what {
        case "relay": process = try Relay(in: scratch.folder)
        case "connect": try client(step).setRelay(address())
        case "disconnect":
            try client(step).setRelay(nil)
            try await hear(client(step).statuses) { $0.link == .offline }
        case "sync":
            for name in try step.texts("clients") {
                let outcome = try await client(name).sync(timeout: Setting.waitSeconds)
                try require(outcome == .synced, "\(name): \(outcome)")
            }
        case "expect_pending": try require(try client(step).status.pending > 0, "nothing is pending")
        default:
            try client(step).setRelay(process?.unreachable)
            let outcome = try await client(step).sync(timeout: Setting.waitSeconds)
            guard case .offline(let trouble) = outcome, trouble != nil else { throw Failed("\(outcome)") }
        }
    }

    private func gather(_ what: String, _ step: Turn) async throws -> Kept? {
        switch what {
        case "found":
            let name = try step.text("client")
            let founded = try await client(name).foundBranch(member: member(name), deviceName: "Máy của \(name)")
            try require(founded.rootWords.split(separator: " ").count == 24, "not 24 words")
            return .text(founded.branch.id)
        case "set_up": return .standing(try await branch(step).setUp(name: step.text("name")))
        case "expect_code":
            let code = try step.text("code")
            let kind = try Codes.kind(code)
            try require("\(kind)" == step.text("kind"), "it is \(kind)")
            try require(try Codes.png(code, scale: 4).starts(with: [0x89, 0x50, 0x4E, 0x47]), "no PNG")
            try require(try Codes.svg(code).contains("<svg"), "no SVG")
        case "join": try await join(step)
        case "remove":
            let name = try step.text("reason")
            guard let reason = Reason.allCases.first(where: { "\($0)" == name }) else { throw Failed("no reason \(name)") }
            try await branch(step).removeMember(member(step.text("member")), reason: reason)
        default:
            guard let found = try await branch(step).info() else { throw Failed("the branch is not here") }
            let own = try member(step.text("client"))
            try require(found.own == nil || found.own?.member == own, "own: \(String(describing: found.own))")
            try require(found.devices.count == (try step.number("count")), "\(found.devices)")
        }
        return nil
    }

    private func join(_ step: Turn) async throws {
        let (name, id) = (try step.text("client"), try step.text("branch"))
        let (newcomer, by) = (try client(name), try client(step.text("by")).branch(id))
        let named = try step.text("role")
        guard let role = Role.allCases.first(where: { "\($0)" == named }) else { throw Failed("no role \(named)") }
        let events = newcomer.events
        let welcome = try await by.admit(
            member: member(name), role: role, joinCode: newcomer.joinCode, deviceName: "Máy của \(name)", relay: address())
        try require(try Codes.kind(welcome) == .welcome, "no welcome code")
        let joined = try await newcomer.join(welcome)
        try require(joined.id == id, "another branch")
        try await hear(events) { $0 == .joined(branch: id) }
    }

    private func write(_ what: String, _ step: Turn) async throws -> Kept? {
        switch what {
        case "create":
            let made = try await branch(step).createDocument(in: step.text("space"))
            return .text(made.id)
        case "edit":
            let writes = try step.list("writes").map { json in
                guard case .map(let fields) = json else { throw Failed("\(json) is no write") }
                return Turn(fields)
            }
            let change = try await document(step).edit { edit in
                for write in writes { try write.write(to: &edit) }
            }
            try require(change != nil, "nothing changed")
        case "expect":
            let found = try Json(try await document(step).get(step.path("path")))
            try require(found == (try step.json("value")), "found \(found)")
        case "cursor":
            return .cursor(try await document(step).cursor(step.path("path"), at: step.number("index")))
        default:
            guard case .cursor(let cursor) = try handle(step, "cursor").kept else { throw Failed("it is no cursor") }
            let found = try await document(step).index(step.path("path"), of: cursor)
            try require(found == (try step.number("index")), "at \(found)")
        }
        return nil
    }

    private func observe(_ what: String, _ step: Turn) async throws -> Kept? {
        switch what {
        case "observe": return .events(try document(step).events)
        case "expect_event":
            let event = try await next(events(step))
            switch event {
            case .snapshot(let value, _, let resync):
                try require(try step.text("kind") == "snapshot" && !resync, "a snapshot, resync: \(resync)")
                let found = try Json(value).at(step.path("path"))
                try require(found == (try step.json("value")), "found \(found)")
            case .changed(let patches, let isLocal):
                try require(try step.text("kind") == "changed", "a change")
                try require(patches.count == (try step.number("patches")), "\(patches)")
                try require(isLocal == (try step.flag("local")), "local: \(isLocal)")
            case .unavailable(let why): throw Failed(why)
            case nil: throw Failed("the stream ended")
            }
        case "cancel":
            let (name, found) = try handle(step, "stream")
            switch found {
            case .events(let stream): try await stop(stream)
            case .screen(let stream): try await stop(stream)
            default: throw Failed("it is no stream")
            }
            kept[name] = nil
        case "expect_end":
            while try await next(events(step)) != nil {}
        default:
            let (watched, before) = (try document(step), streamsAlive())
            for _ in 0..<(try step.number("count")) {
                guard case .snapshot = try await next(watched.events) else { throw Failed("no snapshot comes first") }
            }
            try await eventually("all streams are freed") { streamsAlive() <= before }
        }
        return nil
    }

    private func edit(_ what: String, _ step: Turn) async throws -> Kept? {
        switch what {
        case "bind": return .field(Field(try await document(step).bindText(step.path("path"))))
        case "type":
            let selection = NSRange(location: try step.number("caret"), length: 0)
            let typed = FieldState(text: try step.text("text"), selection: selection)
            let shows = try field(step).binding.edit(typed, isComposing: step.flag("composing"))
            try field(step).shown = shows ?? typed
        case "expect_news":
            let news = try await next(field(step).binding.news)
            try require(news == .others, "\(String(describing: news))")
        case "expect_field":
            let selection = NSRange(location: try step.number("caret"), length: 0)
            try await field(step).mustShow(FieldState(text: try step.text("text"), selection: selection))
        case "flush": try await field(step).binding.flush()
        default:
            let name = try handle(step, "field").name
            kept[name] = nil
        }
        return nil
    }

    private func meet(_ what: String, _ step: Turn) async throws -> Kept? {
        switch what {
        case "import_roster":
            let roster = try client(step).roster(step.text("roster"))
            let found = try await roster.importCSV(Data(step.text("csv").utf8), authority: step.text("authority"))
            try require(found.isWritten && found.problems.isEmpty, "\(found)")
            try require(found.people == (try step.number("people")), "\(found)")
        case "begin_meeting":
            let new = NewMeeting(
                meeting: try step.text("meeting"), period: try step.text("period"), header: try step.textByKey("header"),
                chair: try member(step.text("chair")), recorder: try member(step.text("recorder")))
            return .meeting(try await branch(step).beginMeeting(new))
        case "step": return .text(try await minutes(step).step(step.text("kind"), data: step.textByKey("data")))
        case "add_section": return .text(try await minutes(step).addSection(step.text("heading")))
        case "add_block":
            return .text(
                try await minutes(step).addBlock(
                    to: step.text("section"), kind: step.text("kind"), text: step.text("text"),
                    speaker: member(step.text("speaker"))))
        case "watch_minutes": return .screen(try minutes(step).snapshots)
        case "expect_watched": try await expectWatched(step)
        case "mark_attendance":
            let roll = try client(step).attendance(step.text("attendance"))
            try await roll.markAttendance(member(step.text("member")), as: .present)
        case "move_motion": return .text(try await minutes(step).moveMotion(step.text("title")))
        case "record_count":
            let tally = VoteTally(
                yes: try step.number("yes"), no: try step.number("no"), abstain: try step.number("abstain"))
            let count = NewCount(
                motion: try step.text("motion"), method: .showOfHands, threshold: .moreThanHalf, tally: tally)
            return .text(
                try await minutes(step).recordCount(
                    count, attendance: client(step).attendance(step.text("attendance")),
                    roster: client(step).roster(step.text("roster"))))
        case "seal": return .text(try await branch(step).seal(minutes(step)))
        case "expect_minutes":
            let found = try await minutes(step).snapshot()
            try require(found.life.state?.rawValue == (try step.text("state")), "\(found.life)")
            let sections = found.outline.sections
            try require(sections.map { $0.heading } == (try step.texts("sections")), "\(sections)")
            try require(sections.flatMap { $0.blocks.map { $0.text } } == (try step.texts("blocks")), "\(sections)")
        case "expect_seal":
            guard let found = try await minutes(step).seal() else { throw Failed("it is not sealed") }
            try require(found.verified == .valid && found.late.count == (try step.number("late")), "\(found)")
        default: throw Failed("no such step: \(what)")
        }
        return nil
    }

    private func expectWatched(_ step: Turn) async throws {
        guard case .screen(let stream) = try handle(step, "stream").kept else { throw Failed("it is no screen") }
        let (heading, isThere) = (try step.text("section"), try step.flag("found"))
        while true {
            guard let shown = try await next(stream) else { break }
            guard case .value(let minutes) = shown else { continue }
            if minutes.outline.sections.contains(where: { $0.heading == heading }) == isThere { return }
        }
        throw Failed("the stream ended")
    }

    private func confide(_ what: String, _ step: Turn) async throws -> Kept? {
        switch what {
        case "open_mailbox": try await branch(step).openMailbox(for: member(step.text("member")))
        case "mailbox":
            let found = try await branch(step).mailbox(of: member(step.text("member")), with: .committee)
            return found.map { Kept.text($0.id) }
        case "no_mailbox":
            let found = try await branch(step).mailbox(of: member(step.text("member")), with: .committee)
            try require(found == nil, "it has \(found?.id ?? "")")
        case "begin_thread":
            let threads = try client(step).feedback(step.text("feedback"))
            return .text(
                try await threads.beginThread(.confidentialReport, title: step.text("title"), text: step.text("text")))
        default:
            let threads = try await client(step).feedback(step.text("feedback")).snapshot()
            let id = try step.text("thread")
            let found = threads.first { $0.id == id }
            try require(found?.messages.first?.text == (try step.text("text")), "\(threads)")
        }
        return nil
    }

    private func search(_ step: Turn) async throws {
        let hits = try await client(step).search(step.text("query"), max: 10)
        try require(hits.count == (try step.number("count")), "\(hits)")
        for hit in hits {
            let words = hit.highlights.map { NSString(string: hit.text).substring(with: NSRange($0)) }
            try require(words.joined(separator: " ") == (try step.text("found")), "\(words)")
        }
    }
}

/// Ends a stream by cancelling the task that waits for it, as screens do.
private func stop<T: Sendable>(_ stream: AsyncThrowingStream<T, any Error>) async throws {
    let waiting = Task { for try await _ in stream {} }
    try await rest(0.05)
    waiting.cancel()
    try await within { try await waiting.value }
    let more = try await next(stream)
    try require(more == nil, "a stream that was cancelled goes on")
}
