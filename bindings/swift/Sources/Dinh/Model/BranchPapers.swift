import DinhFFI
import Foundation

/// The standing spaces and documents of a branch, as far as this device's member reads them.
public struct Standing: Sendable {
    /// The id of the space of all members.
    public let members: String
    /// What is in it.
    public let membersIndex: IndexDocument
    /// The id of the space of the committee; nil for who is not on it.
    public let committee: String?
    /// What is in it.
    public let committeeIndex: IndexDocument?
    /// The id of the space of the committee and the upper body's reviewers; nil for who is not on the committee.
    public let oversight: String?
    /// What is in it.
    public let oversightIndex: IndexDocument?
    /// The people of the branch.
    public let roster: RosterDocument
    /// Threads that the whole branch reads.
    public let feedback: FeedbackDocument
    /// Tasks.
    public let tasks: TasksDocument
    /// What reviewers see of the branch; nil for who is not on the committee.
    public let digest: DigestDocument?
}

/// With whom a member's mailbox is.
public enum Mailbox: Sendable, Hashable, CaseIterable {
    /// The committee.
    case committee
    /// The reviewers of the upper body.
    case upper
}

/// In which space of a branch a paper begins.
public enum Room: Sendable, Hashable, CaseIterable {
    /// All members.
    case members
    /// The committee.
    case committee
    /// The committee and the upper body's reviewers.
    case oversight
}

/// A meeting to be held.
public struct NewMeeting: Sendable, Hashable {
    /// Its name, equal on all phones: of two papers that were begun for one name, one is shown as the double of the other.
    public var meeting: String
    /// Its month, `YYYY-MM`.
    public var period: String
    /// What kind.
    public var kind: MeetingKind
    /// The parts of the form's head, by name: `issuing_org`, `type_name`…
    public var header: [String: String]
    /// The member who leads it.
    public var chair: String?
    /// The member who writes the minutes: may write them and the meeting's other papers, whatever its role.
    public var recorder: String?

    public init(
        meeting: String, period: String, kind: MeetingKind = .regular, header: [String: String] = [:],
        chair: String? = nil, recorder: String? = nil
    ) {
        self.meeting = meeting
        self.period = period
        self.kind = kind
        self.header = header
        self.chair = chair
        self.recorder = recorder
    }
}

/// The documents of a meeting.
public struct Meeting: Sendable {
    /// The minutes.
    public let minutes: MinutesDocument
    /// The roll.
    public let attendance: AttendanceDocument
    /// Votes on the phones.
    public let votebox: VoteboxDocument
}

/// A meeting's documents, as a space lists them: see ``Branch/meetings()``.
public struct ListedMeeting: Sendable, Identifiable {
    /// The minutes.
    public let minutes: MinutesDocument
    /// The roll; nil until it is listed.
    public let attendance: AttendanceDocument?
    /// Votes on the phones; nil until it is listed.
    public let votebox: VoteboxDocument?
    /// The month, `YYYY-MM`.
    public let period: String?
    /// What kind; nil if only a newer app knows.
    public let kind: MeetingKind?

    /// The id of the minutes.
    public var id: String { minutes.id }
}

/// The documents of a round of consultation.
public struct OpenedRound: Sendable {
    /// Which, from 1.
    public let round: Int
    /// What the branch reads.
    public let resolution: ResolutionDocument
    /// What reviewers read.
    public let frozen: RoundDocument
    /// Where they answer.
    public let review: ReviewDocument
}

/// Something that a search found.
public struct Hit: Sendable, Hashable {
    /// The document.
    public let doc: String
    /// The field.
    public let field: Path
    /// The text of the field, in NFC.
    public let text: String
    /// The words found: UTF-16 code units of the text.
    public let highlights: [Range<Int>]
    /// The first of them with words around it.
    public let snippet: Range<Int>
    /// Whether it is written as it was asked for, with all its marks.
    public let isExact: Bool
}

extension Branch {
    /// Makes the standing spaces and documents of a branch that was founded on this device, and that is called this. If it was
    /// interrupted, calling it again finishes what is missing; what is there stays.
    public func setUp(name: String) async throws -> Standing {
        Standing(try await native { try await client.ffi.setUpBranch(branch: id, name: name) }, of: client)
    }

    /// The standing spaces and documents; nil until they are here. What is not for this device's member is nil in it. Reviewers, who
    /// read the oversight alone, always get nil, and find their documents by ``spaces()``.
    public func standing() async throws -> Standing? {
        try await native { try await client.ffi.standing(branch: id) }.map { Standing($0, of: client) }
    }

    /// The meetings that this device's member reads, each with its documents: of each space, the oldest month first.
    public func meetings() async throws -> [ListedMeeting] {
        let found = try await native { try await client.ffi.meetings(branch: id) }
        return found.map { ListedMeeting($0, of: client) }
    }

    /// Gives a member its mailbox with the committee: by the officer who admits it, to everybody, whether it will be used or not.
    /// Calling it again finishes what is missing, or changes nothing.
    public func openMailbox(for member: String) async throws {
        try await native { try await client.ffi.openMailbox(branch: id, member: member) }
    }

    /// Makes this device's member's mailbox with the upper body: on the new member's device, when the branch is joined. Calling it
    /// again finishes what is missing, or changes nothing.
    public func openOwnMailbox() async throws {
        try await native { try await client.ffi.openOwnMailbox(branch: id) }
    }

    /// A member's mailbox, where its confidential threads are; nil until it is here.
    public func mailbox(of member: String, with mailbox: Mailbox) async throws -> FeedbackDocument? {
        let found = try await native {
            try await client.ffi.mailbox(branch: id, member: member, with: mailbox.native)
        }
        return found.map { client.feedback($0) }
    }

    /// Lets read who should by its role, and takes off who should not: to be called on every device at
    /// ``ClientEvent/charterChanged(branch:)``.
    public func keepReaders() async throws { try await native { try await client.ffi.keepReaders(branch: id) } }

    /// Begins the papers of a meeting: in the space of all members, or in the committee's if it is the committee's meeting. Fails with
    /// ``DinhError/Code/refused`` until the branch is set up (``setUp(name:)``) and that is here, and if this member does not read
    /// that space, as all that begins something in one does.
    public func beginMeeting(_ new: NewMeeting) async throws -> Meeting {
        let papers = DinhFFI.NewMeeting(
            meeting: new.meeting, period: new.period, kind: new.kind.native, header: new.header, chair: new.chair,
            recorder: new.recorder)
        let made = try await native { try await client.ffi.beginMeeting(branch: id, new: papers) }
        return Meeting(
            minutes: client.minutes(made.minutes), attendance: client.attendance(made.attendance),
            votebox: client.votebox(made.votebox))
    }

    /// Begins the draft of a resolution, in the committee's space.
    ///
    /// - Parameters:
    ///   - period: The month of the meeting, `YYYY-MM`.
    ///   - header: The parts of the form's head, by name: `issuing_org`, `type_name`…
    public func beginDraft(period: String, header: [String: String] = [:]) async throws -> ResolutionDocument {
        let made = try await native { try await client.ffi.beginDraft(branch: id, period: period, header: header) }
        return client.resolution(made)
    }

    /// Writes a notice. `until`: the last day on which it matters, `YYYY-MM-DD`.
    @discardableResult
    public func postNotice(
        in room: Room, title: String, text: String, until: String? = nil
    ) async throws -> NoticeDocument {
        let made = try await native {
            try await client.ffi.postNotice(branch: id, room: room.native, title: title, text: text, until: until)
        }
        return client.notice(made)
    }

    /// Opens the next round of consultation on a draft: copies it to the resolution that members read, puts a frozen copy before the
    /// reviewers, and asks for a review. By an officer, when the committee has looked the draft over. If it was interrupted, calling
    /// it again finishes what is missing.
    @discardableResult
    public func openRound(of draft: ResolutionDocument) async throws -> OpenedRound {
        let made = try await native { try await client.ffi.openRound(branch: id, draft: draft.id) }
        return OpenedRound(
            round: Int(made.round), resolution: client.resolution(made.resolution), frozen: client.round(made.frozen),
            review: client.review(made.review))
    }

    /// Ends the round that is open: what members made of the resolution is copied back to its draft, which the committee goes on with.
    /// By an officer. If it was interrupted, calling it again finishes what is missing.
    public func takeBack(_ draft: ResolutionDocument) async throws {
        try await native { try await client.ffi.takeBack(branch: id, draft: draft.id) }
    }

    /// Gives a resolution the next number of a line, such as `NQ`, as far as this device knows them, and issues it on `date`,
    /// `YYYY-MM-DD`. By an officer. Gives the number.
    @discardableResult
    public func issue(_ resolution: ResolutionDocument, line: String, date: String) async throws -> String {
        try await native { try await client.ffi.issue(branch: id, resolution: resolution.id, line: line, date: date) }
    }

    /// Seals minutes or a resolution as they are, and enters the seal into the book of the space of all members; adopted minutes are
    /// signed by it. By an officer. If it was interrupted, calling it again finishes what is missing. Gives the seal's hash.
    @discardableResult
    public func seal(_ document: some OutlineDocument) async throws -> String {
        try await native { try await client.ffi.seal(branch: id, doc: document.id) }
    }

    /// Brings the digest up to date: to be called on devices of the committee after documents changed. `today`: `YYYY-MM-DD`. Gives
    /// whether anything was written.
    @discardableResult
    public func keepDigest(today: String) async throws -> Bool {
        try await native { try await client.ffi.keepDigest(branch: id, today: today) }
    }
}

extension Client {
    /// Searches all documents that this device may read, without regard to case and marks. What is written as it was asked for comes
    /// first. The first search reads them all, later ones what changed.
    public func search(_ query: String, max: Int = 50) async throws -> [Hit] {
        let most = try unsigned(max)
        return try await native { try await ffi.search(query: query, hitsMax: most) }.map { Hit($0) }
    }

    /// The digests of all branches that this device reads: what a reviewer's list opens with.
    public func digests() async throws -> [BranchDigest] {
        try decoded(try await native { try await ffi.digests() })
    }
}

// MARK: - Across the border

extension Standing {
    init(_ found: DinhFFI.Standing, of client: Client) {
        self.init(
            members: found.members, membersIndex: client.index(found.membersIndex), committee: found.committee,
            committeeIndex: found.committeeIndex.map { client.index($0) }, oversight: found.oversight,
            oversightIndex: found.oversightIndex.map { client.index($0) }, roster: client.roster(found.roster),
            feedback: client.feedback(found.feedback), tasks: client.tasks(found.tasks),
            digest: found.digest.map { client.digest($0) })
    }
}

extension ListedMeeting {
    init(_ found: DinhFFI.ListedMeeting, of client: Client) {
        self.init(
            minutes: client.minutes(found.minutes), attendance: found.attendance.map { client.attendance($0) },
            votebox: found.votebox.map { client.votebox($0) }, period: found.period,
            kind: found.kind.flatMap { MeetingKind(rawValue: $0) })
    }
}

extension Mailbox {
    var native: DinhFFI.Mailbox {
        switch self {
        case .committee: .committee
        case .upper: .upper
        }
    }
}

extension Room {
    var native: DinhFFI.Room {
        switch self {
        case .members: .members
        case .committee: .committee
        case .oversight: .oversight
        }
    }
}

extension Hit {
    init(_ hit: DinhFFI.Hit) {
        self.init(
            doc: hit.doc, field: Path(keys: hit.field), text: hit.text, highlights: hit.highlights.map { stretch($0) },
            snippet: stretch(hit.snippet), isExact: hit.isExact)
    }
}
