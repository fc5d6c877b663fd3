// What docs/embedding-swift.md shows, line by line: compiled with the tests, which compare the two (GuideTests.swift). Nothing here
// runs. It sees the public names only.

import Dinh
import Foundation

private func tell(_ what: String) { print(what) }

private func show<T>(_ what: T) { print(what) }

private func keep(_ name: String, _ what: String?) { print("\(name): \(what ?? "")") }

private func opened(files: URL, kept: URL, secrets: Secrets, relay: String?) async throws -> Client {
    let client = try await Client.open(
        store: files.appendingPathComponent("store.dinh"), marker: kept.appendingPathComponent("marker"), secrets: secrets,
        relay: relay)
    return client
}

private func founded(client: Client) async throws -> Branch {
    let words = try newRootWords()
    tell("Write these words on paper, and put it into the safe: \(words)")
    let branch = try await client.foundBranch(member: newMemberID(), deviceName: "Máy của An", rootWords: words).branch
    let standing = try await branch.setUp(name: "Chi bộ thôn Đình")
    show(standing.members)
    return branch
}

private func admitted(phone: Client, branch: Branch, relay: String) async throws {
    // On the new phone: its code, as a QR image (PNG) for the secretary's phone to scan.
    let image = try Codes.png(phone.joinCode)

    show(image)
    let scanned = phone.joinCode
    // On the secretary's phone, which scanned it. The answer is shown as a QR image too.
    let member = try newMemberID()
    let answer = try await branch.admit(
        member: member, role: .member, joinCode: scanned, deviceName: "Máy của Bình", relay: relay)
    try await branch.openMailbox(for: member)

    // On the new phone, which scanned the answer:
    let home = try await phone.join(answer)
    keep("relay", phone.relay)
    try await home.joined()
}

private func heard(client: Client) async throws {
    for await event in client.events {
        switch event {
        case .joined(let branch): try await client.branch(branch).openOwnMailbox()
        case .joinFailed: tell("This code is not for this phone: scan again, in person.")
        case .deviceAdded(_, let device, _, _): tell("A device was admitted: \(device)")
        case .charterChanged(let branch): try await client.branch(branch).keepReaders()
        default: break
        }
    }
}

private func edited(document: Document) async throws {
    try await document.edit(message: "prices") { edit in
        try edit.put(["prices", "sand"], 350_000)  // a key of a map; a string is replaced as a whole
        try edit.text(["prices", "remark"], "mỗi khối")  // a text merges letter by letter
        try edit.append(["items"], "xi măng")  // lists: append, insert, delete
        try edit.splice(["text"], at: 0, delete: 4, insert: "Kính chào")
    }
    let sand = try await document.get(["prices", "sand"])
    show(sand)
}

private func begun(branch: Branch, an: String, binh: String, chi: String) async throws -> Meeting {
    let new = NewMeeting(meeting: "2026-12", period: "2026-12", chair: an, recorder: binh)
    let meeting = try await branch.beginMeeting(new)
    let minutes = meeting.minutes
    let called = ["time": "2026-12-05T19:30:00+07:00", "place": "Nhà văn hóa thôn", "agenda": "Đường thôn"]
    try await minutes.step(MinutesSteps.convened, data: called)
    try await minutes.step(MinutesSteps.open, data: ["recorder": binh])

    let section = try await minutes.addSection("Đường thôn")
    let block = try await minutes.addBlock(to: section, kind: BlockKinds.speech, text: "Nhất trí làm 200 m.", speaker: chi)
    for member in [an, binh, chi] { try await meeting.attendance.markAttendance(member, as: .present) }
    show(block)
    return meeting
}

private func counted(branch: Branch, meeting: Meeting, standing: Standing) async throws {
    // The recorder reads the minutes back, and notes the count of hands.
    let minutes = meeting.minutes
    try await minutes.step(MinutesSteps.readBack)
    let motion = try await minutes.moveMotion("Thông qua biên bản")
    let hands = VoteTally(yes: 3, no: 0, abstain: 0)
    let count = NewCount(motion: motion, method: .showOfHands, threshold: .moreThanHalf, tally: hands)
    let vote = try await minutes.recordCount(count, attendance: meeting.attendance, roster: standing.roster)

    // An officer who did not count adopts them by it, and seals them.
    try await minutes.step(MinutesSteps.adopted, data: ["vote": vote])
    try await branch.seal(minutes)
    let page = try await minutes.form(.html)
    show(page)
}

private func listed(branch: Branch, screen: (Minutes) -> Void) async throws {
    guard let last = try await branch.meetings().last(where: { $0.kind == .regular }) else { return tell("no meeting yet") }
    screen(try await last.minutes.snapshot())
    guard let standing = try await branch.standing() else { return tell("the branch is not here yet") }
    let people = try await standing.roster.snapshot().shown
    let isOnCommittee = standing.committee != nil
    show((people, isOnCommittee))
}

private func watched(minutes: MinutesDocument, screen: (Minutes) -> Void) async throws {
    let snapshots = try minutes.snapshots
    for try await snapshot in snapshots {
        switch snapshot {
        case .value(let minutes): screen(minutes)
        case .unavailable(let why): tell(why)
        }
    }
}

private func contested(minutes: Minutes) {
    let venue = minutes.venue
    show(venue.value)
    if venue.isContested { for one in venue.all { tell("\(one.value), by \(one.by?.member ?? "nobody known")") } }
}

private func written(branch: Branch, member: String) async throws {
    guard let mailbox = try await branch.mailbox(of: member, with: .committee) else { return tell("the mailbox is not here yet") }
    try await mailbox.beginThread(.confidentialReport, title: "Góp ý kín", text: "Đề nghị xem lại khoản thu.")
}

private func sought(client: Client) async throws {
    let hits = try await client.search("nhat tri", max: 20)
    for hit in hits {
        guard let snippet = Range(utf16: hit.snippet, in: hit.text) else { continue }
        tell(String(hit.text[snippet]))
    }
}

@MainActor
private func typed(minutes: MinutesDocument, block: String, screen: (FieldState) -> Void) async throws {
    let binding = try await minutes.document.bindText(minutes.textPath(of: block))
    // The keyboard did something: the field shows this now, the caret is behind the d, and Telex may still make a đ of it.
    let field = FieldState(text: binding.text + "d", selection: NSRange(location: binding.text.utf16.count + 1, length: 0))
    try binding.edit(field, isComposing: true)
    // Others wrote something: what the field shows with it, unless the keyboard composes.
    for try await news in binding.news {
        switch news {
        case .others: if let state = try binding.absorb() { screen(state) }
        case .notSaved(let why): tell(why)
        }
    }
}

private func refused(minutes: MinutesDocument) async throws {
    do {
        try await minutes.step(MinutesSteps.open)
    } catch let error as DinhError {
        switch error.code {
        case .refused: tell("Not now: \(error)")
        case .notAllowed: tell("Not you: \(error)")
        case .store(.diskFull): tell("Free some space, then open the app again.")
        default: throw error
        }
    }
}

private func logged() throws {
    try Logging.install(.info) { record in print("\(record.level) \(record.target): \(record.text)") }
    Logging.setLevel(.debug)  // later, when somebody looks into something
}
