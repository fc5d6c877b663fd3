import DinhFFI
import Foundation

/// What a document is at a moment.
public enum Snapshot<Content: Sendable & Hashable>: Sendable, Hashable {
    /// This.
    case value(Content)
    /// It cannot be read now, because it is locked or the client is: why, for people who look into it. A value follows when it can.
    case unavailable(String)
}

/// The names of the kinds of documents that this library knows, as ``DocumentInfo/schema`` and ``ListedDocument/schema`` have them.
public enum Schemas {
    /// ``Client/minutes(_:)``.
    public static let minutes = "dinh.minutes/1"
    /// ``Client/resolution(_:)``, of which the committee writes the text and members suggest.
    public static let resolution = "dinh.resolution/1"
    /// ``Client/resolution(_:)``, of which members write the text too.
    public static let openResolution = "dinh.resolution-open/1"
    /// ``Client/round(_:)``.
    public static let round = "dinh.round/1"
    /// ``Client/review(_:)``.
    public static let review = "dinh.review/1"
    /// ``Client/feedback(_:)``.
    public static let feedback = "dinh.feedback/1"
    /// ``Client/attendance(_:)``.
    public static let attendance = "dinh.attendance/1"
    /// ``Client/roster(_:)``.
    public static let roster = "dinh.roster/1"
    /// ``Client/votebox(_:)``.
    public static let votebox = "dinh.votebox/1"
    /// ``Client/tasks(_:)``.
    public static let tasks = "dinh.tasks/1"
    /// ``Client/notice(_:)``.
    public static let notice = "dinh.notice/1"
    /// ``Client/digest(_:)``.
    public static let digest = "dinh.digest/1"
    /// ``Client/index(_:)``.
    public static let index = "dinh.index/1"
}

/// A document of one of the kinds that branches have. A light handle: it holds nothing, and nothing is read until it is used.
///
/// Everything here works offline. What writes makes one change, as this device's member and with its rights, and returns when that
/// change is on this device's disk; what a rule of the document does not allow now fails with ``DinhError/Code/refused`` or
/// ``DinhError/Code/notAllowed``, and nothing was written.
public protocol ModelDocument: Sendable, Identifiable where ID == String {
    /// What it is read as: an immutable value.
    associatedtype Content: Sendable & Hashable

    /// The same document without its kind: its history, its conflicts, and its texts for text fields (``Document/bindText(_:)``). A
    /// block's text is at ``Block/textPath`` (`["blocks", id, "text"]`), a section's heading at ``OutlineSection/headingPath``
    /// (`["sections", id, "heading"]`); other values with a text that merges have a `textPath` or `titlePath` too.
    var document: Document { get }

    /// The document as it is now.
    func snapshot() async throws -> Content

    /// The document as it is now, and again after each change; between two of them it may have changed more than once. Ends when the
    /// client is closed. Fails if the document cannot be read the first time.
    var snapshots: AsyncThrowingStream<Snapshot<Content>, any Error> { get throws }
}

extension ModelDocument {
    /// The document's id.
    public var id: String { document.id }

    /// What people should look at in the texts: to be asked when somebody leaves a field, and after others' changes.
    public func warnings() async throws -> [Warning] {
        try await native { try await document.client.ffi.check(doc: id) }.map { Warning($0) }
    }

    /// The document as the form that is printed.
    ///
    /// - Parameters:
    ///   - names: What people are called, by member; who is missing is shown by id.
    ///   - utcOffsetMinutes: The clock on the wall, in minutes east of UTC: 420 in Vietnam.
    ///   - templates: The organisation's own templates, by name; those that come with the library if empty.
    public func form(
        _ markup: FormMarkup = .html, names: [String: String] = [:], utcOffsetMinutes: Int = 420,
        templates: [String: String] = [:]
    ) async throws -> String {
        guard let offset = Int32(exactly: utcOffsetMinutes) else {
            throw DinhError(.invalid, "\(utcOffsetMinutes) minutes are no offset of a clock")
        }
        let options = DinhFFI.FormOptions(
            markup: markup.native, names: names, utcOffsetMinutes: offset, templates: templates)
        return try await native { try await document.client.ffi.form(doc: id, options: options) }
    }

    /// The document as an Automerge file, with its whole history: whoever gets it sees everything that was ever in it.
    public func exportAutomerge() async throws -> Data {
        try await native { try await document.client.ffi.exportAutomerge(doc: id) }
    }

    /// The document's content as JSON, with nothing of its history.
    public func exportJSON() async throws -> String {
        try await native { try await document.client.ffi.exportJson(doc: id) }
    }

    /// Takes in what another program made of a file of ``exportAutomerge()``: as one change of this device, with its rights.
    @discardableResult
    public func importAutomerge(_ file: Data) async throws -> FileImport {
        FileImport(try await native { try await document.client.ffi.importAutomerge(doc: id, file: file) })
    }

    /// The events of the document's life, oldest id first; empty if it is of a kind without a life. What they add up to is in the
    /// snapshots of those that have one.
    public func life() async throws -> [LifeEvent] { try await read(.events) { try decoded($0) } }

    /// Blocks in which several members wrote without knowing of each other, and which nobody read again since: to be asked when
    /// something was merged, not at each key.
    public func overlaps() async throws -> [Overlap] { try await read(.overlaps) { try decoded($0) } }

    /// Says that a block of ``overlaps()`` was read again.
    ///
    /// - Parameter heads: The heads of what was read: ``Document/heads()``, asked for before the text was shown.
    public func reread(_ block: String, at heads: [String]) async throws {
        try await act(.reread(block: block, heads: heads))
    }

    /// The document's seal, checked now, with what came too late; nil if it is not sealed.
    public func seal() async throws -> Sealed? { try await read(.seal) { try decodedIfAny($0) } }

    /// Makes feedback of what came too late, in its author's name. Gives the ids of the threads.
    ///
    /// - Parameters:
    ///   - change: ``LateProposal/change``; all fields that it wrote are taken.
    ///   - threads: Where the threads begin: the branch's, or a mailbox.
    @discardableResult
    public func lateIntoFeedback(_ change: String, in threads: FeedbackDocument) async throws -> [String] {
        try await native {
            try await document.client.ffi.lateIntoFeedback(doc: id, change: change, threads: threads.id)
        }
    }

    /// Says in this document what it does to an older one, which must be sealed: one that is not is changed instead. Gives the hash of
    /// the older one's seal, by which this one names it.
    @discardableResult
    public func amend(_ old: some ModelDocument, _ relation: AmendmentRelation) async throws -> String {
        try await native { try await document.client.ffi.amend(new: id, old: old.id, relation: relation.native) }
    }

    /// What this document says that it does to others, by document.
    public func amendments() async throws -> [String: Amendment] { try await read(.amended) { try decoded($0) } }

    /// Notes here that a new document holds in this one's place or takes it back. The new one must be sealed and say so; this one is
    /// a resolution in force, and the member an officer.
    public func followUp(_ new: some ModelDocument) async throws {
        try await native { try await document.client.ffi.followUp(old: id, new: new.id) }
    }
}

extension ModelDocument {
    /// Reads the document.
    func read<T>(_ kind: DinhFFI.SnapshotKind, _ decode: (String) throws -> T) async throws -> T {
        try decode(try await native { try await document.client.ffi.snapshot(doc: id, kind: kind) })
    }

    /// Reads it again and again.
    func follow<T: Sendable & Hashable>(
        _ kind: DinhFFI.SnapshotKind, _ decode: @escaping @Sendable (String) throws -> T
    ) throws -> AsyncThrowingStream<Snapshot<T>, any Error> {
        let stream = try native { try document.client.ffi.snapshotStream(doc: id, kind: kind) }
        return pull(stream) { (stream: DinhFFI.SnapshotStream) -> Snapshot<T>? in
            guard let event = try await stream.next() else { return nil }
            switch event {
            case .snapshot(let json): return Snapshot.value(try decode(json))
            case .unavailable(let detail): return Snapshot.unavailable(detail)
            }
        }
    }

    /// Does what makes nothing with an id.
    func act(_ command: DinhFFI.Command) async throws {
        _ = try await native { try await document.client.ffi.act(doc: id, command: command) }
    }

    /// Does what makes something; gives its id.
    func make(_ command: DinhFFI.Command) async throws -> String {
        guard let made = try await native({ try await document.client.ffi.act(doc: id, command: command) }) else {
            throw DinhError(.internal, "the native library gave no id for what was made; report this")
        }
        return made
    }
}

/// Where something is put among its like.
public enum Place: Sendable, Hashable {
    /// Before all others.
    case first
    /// Right behind the one with this id; behind all others if it is not there.
    case after(String)
    /// Behind all others.
    case last
}

/// Minutes or a resolution: what has prose.
public protocol OutlineDocument: ModelDocument {}

extension OutlineDocument {
    /// Where the text of a block is, for ``Document/bindText(_:)``.
    public func textPath(of block: String) -> Path { ["blocks", .key(block), "text"] }

    /// Where the heading of a section is, for ``Document/bindText(_:)``.
    public func headingPath(of section: String) -> Path { ["sections", .key(section), "heading"] }

    /// Adds a section. Gives its id.
    @discardableResult
    public func addSection(_ heading: String, place: Place = .last) async throws -> String {
        try await make(.addSection(heading: heading, place: place.native))
    }

    /// Adds a block of prose to a section. Gives its id.
    ///
    /// - Parameters:
    ///   - kind: One of ``BlockKinds``, or a word of the app's.
    ///   - speaker: The member whose words these are.
    ///   - place: Where among the blocks of the section.
    @discardableResult
    public func addBlock(
        to section: String, kind: String, text: String = "", speaker: String? = nil, place: Place = .last
    ) async throws -> String {
        try await make(.addBlock(section: section, kind: kind, text: text, speaker: speaker, place: place.native))
    }

    /// Moves a block, to another section or place. If two people move it, it is in one place afterwards.
    public func moveBlock(_ block: String, to section: String, place: Place = .last) async throws {
        try await act(.moveBlock(block: block, section: section, place: place.native))
    }

    /// Leaves a block out, or takes it in again. It is not deleted: somebody may be writing in it.
    public func hideBlock(_ block: String, _ hidden: Bool = true) async throws {
        try await act(.hideBlock(block: block, hidden: hidden))
    }

    /// Says whose words a block holds, in which language (ISO 639) and through which interpreter, if not in Vietnamese.
    public func setSpeaker(
        of block: String, _ speaker: String, language: String? = nil, interpreter: String? = nil
    ) async throws {
        try await act(.setSpeaker(block: block, speaker: speaker, language: language, interpreter: interpreter))
    }

    /// Sets a field that is one value, and settles it if several stand there: `["venue"]`, `["started_at"]` and `["ended_at"]` (a
    /// ``Value/timestamp(_:)``), a part of the head as `["header", "symbol"]`.
    public func setField(_ path: Path, _ value: Value) async throws {
        try await act(.setField(path: try path.native(), value: value.native()))
    }

    /// Notes who does what by when. Gives its id.
    ///
    /// - Parameters:
    ///   - owners: The members who do it.
    ///   - quantity: How many or how much; may be empty.
    ///   - due: `YYYY-MM-DD`; may be empty.
    @discardableResult
    public func assign(_ task: String, to owners: [String], quantity: String = "", due: String = "") async throws -> String {
        try await make(.assign(task: task, owners: owners, quantity: quantity, due: due))
    }

    /// Says by when an assignment is due, `YYYY-MM-DD`.
    public func setDue(_ assignment: String, _ due: String) async throws {
        try await act(.setDue(assignment: assignment, due: due))
    }

    /// Takes a step of the document's life: one of ``MinutesSteps`` or ``ResolutionSteps``. What would not count is refused. Gives the
    /// event's id. A step that is about the text as it is now (``MinutesSteps/adopted``, ``ResolutionSteps/amendedOnFloor``,
    /// ``ResolutionSteps/consulting``) gets the `heads` of the document by itself.
    @discardableResult
    public func step(_ kind: String, data: [String: String] = [:]) async throws -> String {
        try await make(.step(kind: kind, data: data))
    }
}

/// How a form is written.
public enum FormMarkup: Sendable, Hashable, CaseIterable {
    /// A web page.
    case html
    /// Markdown.
    case markdown
}

/// What became of a file that another program wrote.
public struct FileImport: Sendable, Hashable {
    /// The change that was written; nil if the file says nothing new.
    public let change: String?
    /// How many of the file's values were not taken: this device may not write them, no document holds them, or somebody wrote there
    /// too since the file was exported.
    public let left: Int
}

/// What a ``Warning`` is about.
public enum WarningKind: Sendable, Hashable, CaseIterable {
    /// A number by which somebody can be reached or identified.
    case personalNumber
    /// A syllable with two tone marks: two people corrected its tone at the same time.
    case twoTones
    /// Keys of an input method that were not composed.
    case uncomposed
    /// Text in an encoding from before Unicode.
    case oldEncoding
    /// The mark of a state secret.
    case classified
}

/// Something in a document's text that people should look at before others read it.
public struct Warning: Sendable, Hashable {
    /// The field.
    public let field: Path
    /// What it is.
    public let kind: WarningKind
    /// Where, in UTF-16 code units of the field's text; nil if it is about the whole field.
    public let range: Range<Int>?
    /// What could stand there instead.
    public let suggestion: String?
}

// MARK: - Across the border

extension Place {
    var native: DinhFFI.Place {
        switch self {
        case .first: .first
        case .after(let id): .after(id: id)
        case .last: .last
        }
    }
}

extension FormMarkup {
    var native: DinhFFI.FormMarkup {
        switch self {
        case .html: .html
        case .markdown: .markdown
        }
    }
}

extension FileImport {
    init(_ found: DinhFFI.FileImport) { self.init(change: found.change, left: Int(found.left)) }
}

extension WarningKind {
    init(_ kind: DinhFFI.WarningKind) {
        switch kind {
        case .personalNumber: self = .personalNumber
        case .twoTones: self = .twoTones
        case .uncomposed: self = .uncomposed
        case .oldEncoding: self = .oldEncoding
        case .classified: self = .classified
        }
    }
}

extension Warning {
    init(_ found: DinhFFI.Warning) {
        self.init(
            field: Path(keys: found.field), kind: WarningKind(found.kind), range: found.range.map { stretch($0) },
            suggestion: found.suggestion)
    }
}

extension Path {
    /// A field, by the keys from the document's root.
    init(keys: [String]) { self.init(keys.map { Step.key($0) }) }
}

/// A stretch of text.
func stretch(_ range: DinhFFI.TextRange) -> Range<Int> { Int(range.start)..<Int(range.end) }
