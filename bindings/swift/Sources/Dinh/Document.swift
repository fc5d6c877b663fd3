import DinhFFI
import Foundation

/// What happens to a ``Document``.
public enum DocumentEvent: Sendable {
    /// The document is this now. `resync`: changes were left out since the last event.
    case snapshot(Value, heads: [String], resync: Bool)
    /// It changed; the patches turn what was shown into what is.
    case changed([Patch], isLocal: Bool)
    /// It cannot be read now: it is locked, or the client is. A snapshot follows when it can.
    case unavailable(String)
}

/// One of several values that were written to the same place without knowing of each other.
public struct Conflict: Sendable, Hashable {
    public let value: Value
    /// The member who wrote it, if its device is known.
    public let member: String?
}

/// A change of a document's history.
public struct Change: Sendable, Hashable, Identifiable {
    /// Its hash.
    public let id: String
    /// The member who made it, if its device is known.
    public let member: String?
    /// When, by the clock of the device that made it: advisory.
    public let time: Date
    /// What its maker said about it.
    public let message: String?
    /// What it builds on.
    public let parents: [String]
}

/// Which ends of a mark grow with what is typed there.
public enum MarkExpand: Sendable {
    /// Neither: links, anchors of comments.
    case neither
    /// What is typed before its first character.
    case before
    /// What is typed after its last character: bold, italic.
    case after
    /// Both.
    case both
}

/// What one edit writes; see ``Document/edit(message:isolation:_:)``. Nothing is written before the closure ends.
public struct Edit {
    var writes: [Write] = []

    /// Writes a value to a key or element. A string is replaced as a whole; see ``text(_:_:)``.
    public mutating func put(_ path: Path, _ value: Value) throws {
        writes.append(.put(path: try path.native(), value: value.native()))
    }

    /// Writes a new text that merges letter by letter.
    public mutating func text(_ path: Path, _ value: String = "") throws { try put(path, .text(value)) }

    /// Inserts into a list, before the element at `index`.
    public mutating func insert(_ list: Path, at index: Int, _ value: Value) throws {
        writes.append(.insert(path: try list.native(), index: try units(index), value: value.native()))
    }

    /// Appends to a list.
    public mutating func append(_ list: Path, _ value: Value) throws {
        writes.append(.push(path: try list.native(), value: value.native()))
    }

    /// Deletes a key or an element.
    public mutating func delete(_ path: Path) throws { writes.append(.delete(path: try path.native())) }

    /// Replaces `delete` UTF-16 code units of a text at `index`.
    public mutating func splice(_ text: Path, at index: Int, delete: Int = 0, insert: String) throws {
        let splice = try TextSplice(index: index, delete: delete, insert: insert).native()
        writes.append(.spliceText(path: try text.native(), splice: splice))
    }

    /// Replaces a range of a text.
    public mutating func replace(_ text: Path, _ range: NSRange, with insert: String) throws {
        try splice(text, at: range.location, delete: range.length, insert: insert)
    }

    /// Makes a text be `value` by writing only what differs. It must come from the text as it is now.
    public mutating func setText(_ text: Path, _ value: String) throws {
        writes.append(.setText(path: try text.native(), value: value))
    }

    /// Gives a range of a text a mark.
    public mutating func mark(
        _ text: Path, _ range: Range<Int>, _ name: String, _ value: Value = true, expand: MarkExpand = .after
    ) throws {
        let grows: DinhFFI.MarkExpand =
            switch expand {
            case .neither: .neither
            case .before: .before
            case .after: .after
            case .both: .both
            }
        let mark = try Mark(range: range, name: name, value: value).native()
        writes.append(.mark(path: try text.native(), mark: mark, expand: grows))
    }

    /// Removes the marks of a name from a range.
    public mutating func unmark(_ text: Path, _ range: Range<Int>, _ name: String) throws {
        let (start, end) = (try units(range.lowerBound), try units(range.upperBound))
        writes.append(.unmark(path: try text.native(), start: start, end: end, name: name))
    }
}

/// A place in a text that moves with the letters around it.
public struct Cursor: Sendable, Hashable {
    /// For keeping it elsewhere.
    public let data: Data

    public init(data: Data) { self.data = data }
}

/// A document of maps, lists, scalars and texts that merge. A light handle.
public struct Document: Sendable, Identifiable {
    let client: Client
    public let id: String

    /// Edits the document: what the closure writes becomes one change, on disk when this returns. Gives the change's hash, or nil
    /// if nothing differs.
    ///
    /// - Parameters:
    ///   - message: What is kept with the change, for its history.
    ///   - isolation: The caller's actor, where the closure runs: it may read what is on a screen.
    @discardableResult
    public func edit(
        message: String? = nil, isolation: isolated (any Actor)? = #isolation, _ body: (inout Edit) throws -> Void
    ) async throws -> String? {
        var edit = Edit()
        try body(&edit)
        return try await write(edit.writes, message: message)
    }

    private func write(_ writes: [Write], message: String?) async throws -> String? {
        try await native { try await client.ffi.write(doc: id, writes: writes, message: message) }
    }

    /// What is at a path, with everything below it; nil if there is nothing.
    public func get(_ path: Path = .root) async throws -> Value? {
        try await native { try await client.ffi.value(doc: id, at: try path.native()).map(Value.init) }
    }

    /// The document as it was at these heads.
    public func get(_ path: Path = .root, at heads: [String]) async throws -> Value? {
        try await native { try await client.ffi.valueAt(doc: id, heads: heads, at: try path.native()).map(Value.init) }
    }

    /// The marks of a text.
    public func marks(_ text: Path) async throws -> [Mark] {
        try await native { try await client.ffi.marks(doc: id, at: try text.native()).map(Mark.init) }
    }

    /// All values that stand at a place, the one that is shown first.
    public func conflicts(_ path: Path) async throws -> [Conflict] {
        let found = try await native { try await client.ffi.conflicts(doc: id, at: try path.native()) }
        return found.map { Conflict(value: Value($0.value), member: $0.member) }
    }

    /// A place in a text that moves with the letters around it. `index` is in UTF-16 code units.
    public func cursor(_ text: Path, at index: Int) async throws -> Cursor {
        let data = try await native { try await client.ffi.cursor(doc: id, at: try text.native(), index: try units(index)) }
        return Cursor(data: data)
    }

    /// Where a cursor's place is now, in UTF-16 code units.
    public func index(_ text: Path, of cursor: Cursor) async throws -> Int {
        Int(try await native { try await client.ffi.cursorIndex(doc: id, at: try text.native(), cursor: cursor.data) })
    }

    /// The heads of the document.
    public func heads() async throws -> [String] { try await native { try await client.ffi.heads(doc: id) } }

    /// The changes of the document, oldest first.
    public func history() async throws -> [Change] {
        try await native { try await client.ffi.history(doc: id) }.map {
            let time = Date(timeIntervalSince1970: TimeInterval($0.timeS))
            return Change(id: $0.hash, member: $0.member, time: time, message: $0.message, parents: $0.parents)
        }
    }

    /// What happens to the document: all of it first, then what changes. Ends when the client is closed.
    public var events: AsyncThrowingStream<DocumentEvent, any Error> {
        get throws {
            let stream = try native { try client.ffi.documentStream(doc: id) }
            return pull(stream) { try await $0.next().map(DocumentEvent.init) }
        }
    }

    /// Closes the document to save memory; the next use opens it again.
    public func unload() async throws { try await native { try await client.ffi.closeDocument(doc: id) } }
}

extension DocumentEvent {
    init(_ event: DinhFFI.DocumentEvent) {
        switch event {
        case .snapshot(let value, let heads, let resync): self = .snapshot(Value(value), heads: heads, resync: resync)
        case .changed(let patches, let isLocal): self = .changed(patches.map(Patch.init), isLocal: isLocal)
        case .unavailable(let detail): self = .unavailable(detail)
        }
    }
}
