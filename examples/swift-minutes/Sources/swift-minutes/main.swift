// Takes minutes in a terminal; README.md lists the commands.
import Dinh
import Foundation

/// The device's secrets. A real app keeps them in the keychain (docs/embedding-swift.md), never in a file.
func secrets(in folder: URL) throws -> Secrets {
    let file = folder.appendingPathComponent("secrets")
    if !FileManager.default.fileExists(atPath: file.path) {
        let drawn = try Secrets.generate()
        let all = [drawn.device, drawn.wrap ?? Data(), drawn.wrapPublic, drawn.store]
        try Data(all.map { $0.base64EncodedString() }.joined(separator: "\n").utf8).write(to: file)
    }
    let all = try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map { Data(base64Encoded: String($0)) ?? Data() }
    return Secrets(device: all[0], wrap: all[1], wrapPublic: all[2], store: all[3])
}

/// What the user can put right.
struct Trouble: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
func need<T>(_ found: T?, _ otherwise: String) throws -> T {
    guard let found else { throw Trouble(otherwise) }
    return found
}
/// A line on the screen, at once: what `print` prints waits in a buffer while the output is a pipe.
func say(_ line: String) { FileHandle.standardOutput.write(Data("\(line)\n".utf8)) }

struct App: Sendable {
    let client: Client, folder: URL
    func run(_ line: String) async throws {
        let words = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false).map { String($0) }
        let (command, rest) = (words.first ?? "", words.count > 1 ? words[1] : "")
        switch command {
        case "": break
        case "found":
            let words = try newRootWords()
            say("write on paper: \(words)")
            let name = folder.lastPathComponent
            let founded = try await client.foundBranch(member: newMemberID(), deviceName: name, rootWords: words)
            _ = try await founded.branch.setUp(name: rest)
        case "join": say("join code: \(client.joinCode)")
        case "admit": try await admit(rest)
        case "welcome": try await welcome(rest)
        case "begin": _ = try await ours().beginMeeting(NewMeeting(meeting: rest, period: rest))
        case "section": try await minutes().addSection(rest)
        case "block":
            let speaker = try await branch().own?.member
            try await minutes().addBlock(to: lastSection().id, kind: BlockKinds.speech, text: rest, speaker: speaker)
        case "type": try await typeIn(rest)
        case "ask": try await votebox().ask(rest)
        case "vote":
            let choice = try need(BallotChoice(rawValue: rest.lowercased()), "no choice \(rest)")
            let question = try await votebox().snapshot().last { $0.isOpen }
            try await votebox().cast(choice, on: need(question, "no open question: ask one").id)
        case "show": try await shown().forEach { say($0) }
        case "watch":
            watch(try await minutes().snapshots)
            watch(try await votebox().snapshots)
        case "wait": try await wait(for: rest)
        case "sync":
            switch try await client.sync(timeout: 30) {
            case .synced: say("synced")
            case .partial(let pending): say("not done: \(pending) to send")
            case .offline: say("offline")
            }
        case "status": say("\(client.status.link)".replacingOccurrences(of: "U", with: "_u") + ", \(client.status.pending) to send")
        default: throw Trouble("no command \(command): README.md lists them")
        }
    }

    /// The branch of this device: an app for several would let people choose.
    private func branch() async throws -> BranchInfo {
        try need(try await client.branches().first, "no branch yet: found one, or join one")
    }
    private func ours() async throws -> Branch { client.branch(try await branch().id) }
    /// The last meeting.
    private func meeting() async throws -> ListedMeeting? { try await ours().meetings().last }
    private func minutes() async throws -> MinutesDocument {
        try need(try await meeting()?.minutes, "no meeting yet: begin one, or sync")
    }
    private func votebox() async throws -> VoteboxDocument {
        try need(try await meeting()?.votebox, "no meeting yet: begin one, or sync")
    }
    private func lastSection() async throws -> OutlineSection {
        try need(try await minutes().snapshot().outline.sections.last, "no section yet: add one")
    }

    private func admit(_ what: String) async throws {
        let words = what.split(separator: " ", maxSplits: 2).map { String($0) } + ["", "", ""]
        let address = try need(client.relay, "nobody joins without a relay: start with its address")
        let role = try need(Role.allCases.first { "\($0)" == words[0].lowercased() }, "no role \(words[0])")
        let (home, member) = (try await ours(), try newMemberID())
        let code = try await home.admit(member: member, role: role, joinCode: words[2], deviceName: words[1], relay: address)
        try await home.openMailbox(for: member)
        say("welcome code: \(code)")
    }

    private func welcome(_ code: String) async throws {
        let home = try await client.join(code)
        // The code named a relay: it is kept for the next start.
        if let relay = client.relay { try Data(relay.utf8).write(to: folder.appendingPathComponent("relay")) }
        let joined = Task { try await home.joined() }
        let limit = Task {
            try await Task.sleep(nanoseconds: 60_000_000_000)
            joined.cancel()
        }
        defer { limit.cancel() }
        do { try await joined.value } catch is CancellationError { throw Trouble("no answer in a minute: is the relay there?") }
        say("joined")
    }

    /// Types as a keyboard does. An app keeps the binding while its field has the focus, and takes in what others write.
    @MainActor private func typeIn(_ text: String) async throws {
        let block = try need(try await lastSection().blocks.last, "no block yet: add one")
        let binding = try await minutes().document.bindText(block.textPath)
        for letter in text.unicodeScalars {
            let field = binding.text + String(letter)
            try binding.edit(FieldState(text: field, selection: NSRange(location: field.utf16.count, length: 0)), isComposing: false)
        }
        try await binding.flush()
    }

    /// The meeting in lines.
    private func shown() async throws -> [String] {
        let devices = try await branch().devices.map { ($0.member, $0.name ?? String($0.member.prefix(8))) }
        let names = Dictionary(devices) { _, last in last }
        let found = try await minutes().snapshot()
        var lines = ["MINUTES \(found.period.value ?? "")"]
        for section in found.outline.sections {
            lines.append("# \(section.heading)")
            lines += section.blocks.map { "\(names[$0.speaker.value ?? ""] ?? "?"): \($0.text)" }
        }
        for question in try await votebox().snapshot() {
            let ballots = question.ballots.map { "\(names[$0.key] ?? "?") \($0.value.value?.rawValue ?? "")" }
            lines.append("? \(question.title)" + (ballots.isEmpty ? "" : " " + ballots.sorted().joined(separator: ", ")))
        }
        return lines
    }

    /// Shows the meeting again whenever something changes. The streams end with the client.
    private func watch<T>(_ changes: AsyncThrowingStream<Snapshot<T>, any Error>) {
        Task {
            for try await _ in changes {
                for line in (try? await shown()) ?? [] { say("* \(line)") }
            }
        }
    }

    private func wait(for text: String) async throws {
        for _ in 0..<600 {
            // It fails while something is not here yet.
            if let lines = try? await shown(), lines.contains(where: { $0.contains(text) }) { return }
            try await Task.sleep(nanoseconds: 100_000_000)
        }
        throw Trouble("waited a minute for: \(text)")
    }
}

/// Lines of the input, read on a thread that may wait.
func input() -> AsyncStream<String> {
    AsyncStream { lines in
        Thread.detachNewThread {
            while let line = readLine() { lines.yield(line) }
            lines.finish()
        }
    }
}

let arguments = ProcessInfo.processInfo.arguments
guard arguments.count > 1 else {
    say("usage: swift-minutes FOLDER [RELAY]")
    exit(2)
}
let folder = URL(fileURLWithPath: arguments[1], isDirectory: true)
let kept = try? String(contentsOf: folder.appendingPathComponent("relay"), encoding: .utf8)
let relay = arguments.count > 2 ? arguments[2] : kept
try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
let (store, marker) = (folder.appendingPathComponent("store.dinh"), folder.appendingPathComponent("marker"))
let client = try await Client.open(store: store, marker: marker, secrets: secrets(in: folder), relay: relay)
let app = App(client: client, folder: folder)
// Each device of a branch brings the readers of spaces in line with roles, when people change.
let events = client.events
Task {
    for await event in events {
        // If a key is on its way, the next change is another try.
        if case .charterChanged(let branch) = event { try? await client.branch(branch).keepReaders() }
    }
}
for await line in input() {
    let command = line.trimmingCharacters(in: .whitespaces)
    if command == "quit" { break }
    do {
        try await app.run(command)
    } catch where error is Trouble || error is DinhError {
        say("error: \(error)")
    }
}
try await client.shutdown()
