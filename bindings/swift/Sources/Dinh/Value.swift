import DinhFFI
import Foundation

/// A value of a document, with everything below it.
///
/// The difference between ``string(_:)`` and ``text(_:)`` matters when people write at the same time: of two writers of a string one
/// wins, two writers of a text merge letter by letter.
public enum Value: Sendable, Hashable {
    /// Nothing.
    case null
    /// True or false.
    case bool(Bool)
    /// A whole number.
    case int(Int64)
    /// A whole number beyond `Int64.max`.
    case uint(UInt64)
    /// A floating-point number.
    case double(Double)
    /// A string that is replaced as a whole.
    case string(String)
    /// Bytes that are replaced as a whole.
    case data(Data)
    /// A time: milliseconds since 1970-01-01 UTC.
    case timestamp(Int64)
    /// A text that merges.
    case text(String)
    /// A map.
    case map([String: Value])
    /// A list.
    case list([Value])

    /// The string or text, if it is one.
    public var stringValue: String? {
        switch self {
        case .string(let value), .text(let value): value
        default: nil
        }
    }

    /// The value at a key of a map, if it is one and has it.
    public subscript(key: String) -> Value? {
        guard case .map(let entries) = self else { return nil }
        return entries[key]
    }

    /// The element of a list, if it is one and has it.
    public subscript(index: Int) -> Value? {
        guard case .list(let values) = self, values.indices.contains(index) else { return nil }
        return values[index]
    }
}

extension Value: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByStringLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(nilLiteral: ()) { self = .null }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(integerLiteral value: Int64) { self = .int(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
    public init(stringLiteral value: String) { self = .string(value) }
    public init(arrayLiteral elements: Value...) { self = .list(elements) }
    public init(dictionaryLiteral elements: (String, Value)...) {
        self = .map(Dictionary(elements, uniquingKeysWith: { _, last in last }))
    }
}

/// One step into a map or a list.
public enum Step: Sendable, Hashable, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral {
    /// A key of a map.
    case key(String)
    /// An element of a list, from 0.
    case index(Int)

    public init(stringLiteral value: String) { self = .key(value) }
    public init(integerLiteral value: Int) { self = .index(value) }
}

/// Where a value is, from the document's root: `["sections", 0, "heading"]`. Paths are positions, not identities: an index names
/// another element after somebody inserts before it.
public struct Path: Sendable, Hashable, ExpressibleByArrayLiteral, CustomStringConvertible {
    /// The steps.
    public var steps: [Step]

    public init(_ steps: [Step] = []) { self.steps = steps }
    public init(arrayLiteral elements: Step...) { steps = elements }

    /// The document's root.
    public static let root = Path()

    /// This path with one more step.
    public func appending(_ step: Step) -> Path { Path(steps + [step]) }

    public var description: String {
        "/" + steps.map { if case .key(let key) = $0 { key } else if case .index(let index) = $0 { "\(index)" } else { "" } }
            .joined(separator: "/")
    }
}

/// A stretch of text with a property, such as bold. Indexes are UTF-16 code units, as in `NSRange`.
public struct Mark: Sendable, Hashable {
    public var range: Range<Int>
    public var name: String
    public var value: Value

    public init(range: Range<Int>, name: String, value: Value) {
        self.range = range
        self.name = name
        self.value = value
    }
}

/// UTF-16 code units of a text that are replaced.
public struct TextSplice: Sendable, Hashable {
    public var index: Int
    public var delete: Int
    public var insert: String

    public init(index: Int, delete: Int, insert: String) {
        self.index = index
        self.delete = delete
        self.insert = insert
    }

    /// What is replaced, for `UITextView` and its like.
    public var range: NSRange { NSRange(location: index, length: delete) }
}

/// One step that turns what is shown of a document into what it is now. Apply patches in their order.
public struct Patch: Sendable, Hashable {
    /// What happens in the container of a patch. A new map, list or text arrives empty; later patches fill it.
    public enum Action: Sendable, Hashable {
        /// A key or element has this value now. `conflict`: other values stand there too.
        case put(Step, Value, conflict: Bool)
        /// Elements were inserted into a list.
        case insert(at: Int, [Value])
        /// Characters were inserted into a text.
        case spliceText(at: Int, String)
        /// A key is gone from a map.
        case deleteKey(String)
        /// Elements are gone from a list, or code units from a text.
        case delete(Range<Int>)
        /// The marks of a text are exactly these from now on.
        case marks([Mark])
        /// The value shown is the same, but other values stand beside it now, or no more.
        case conflict(Step, Bool)
    }

    /// The map, list or text that changes, where it is once all patches before this one are applied.
    public let path: Path
    /// What happens in it.
    public let action: Action
}

// MARK: - Across the border

extension Step {
    init(_ step: DinhFFI.Step) {
        switch step {
        case .key(let key): self = .key(key)
        case .index(let index): self = .index(Int(index))
        }
    }

    func native() throws -> DinhFFI.Step {
        switch self {
        case .key(let key): .key(key: key)
        case .index(let index): .index(index: try units(index))
        }
    }
}

extension Path {
    init(_ steps: [DinhFFI.Step]) { self.init(steps.map(Step.init)) }

    func native() throws -> [DinhFFI.Step] { try steps.map { try $0.native() } }
}

/// An index or a length for the native library.
func units(_ n: Int) throws -> UInt32 {
    guard let units = UInt32(exactly: n) else {
        throw DinhError(.invalid, "\(n) is no index or length; they begin at 0")
    }
    return units
}

extension Value {
    init(_ value: DinhFFI.Value) {
        switch value {
        case .null: self = .null
        case .bool(let value): self = .bool(value)
        case .int(let value): self = .int(value)
        case .uint(let value): self = .uint(value)
        case .float(let value): self = .double(value)
        case .str(let value): self = .string(value)
        case .bytes(let value): self = .data(value)
        case .timestamp(let millis): self = .timestamp(millis)
        case .text(let value): self = .text(value)
        case .mapValue(let entries): self = .map(entries.mapValues(Value.init))
        case .listValue(let values): self = .list(values.map(Value.init))
        }
    }

    func native() -> DinhFFI.Value {
        switch self {
        case .null: .null
        case .bool(let value): .bool(value: value)
        case .int(let value): .int(value: value)
        case .uint(let value): .uint(value: value)
        case .double(let value): .float(value: value)
        case .string(let value): .str(value: value)
        case .data(let value): .bytes(value: value)
        case .timestamp(let millis): .timestamp(millis: millis)
        case .text(let value): .text(value: value)
        case .map(let entries): .mapValue(entries: entries.mapValues { $0.native() })
        case .list(let values): .listValue(values: values.map { $0.native() })
        }
    }
}

extension Mark {
    init(_ mark: DinhFFI.Mark) {
        self.init(range: Int(mark.start)..<Int(mark.end), name: mark.name, value: Value(mark.value))
    }

    func native() throws -> DinhFFI.Mark {
        DinhFFI.Mark(start: try units(range.lowerBound), end: try units(range.upperBound), name: name, value: value.native())
    }
}

extension TextSplice {
    init(_ splice: DinhFFI.TextSplice) {
        self.init(index: Int(splice.index), delete: Int(splice.delete), insert: splice.insert)
    }

    func native() throws -> DinhFFI.TextSplice {
        DinhFFI.TextSplice(index: try units(index), delete: try units(delete), insert: insert)
    }
}

extension Patch {
    init(_ patch: DinhFFI.Patch) {
        self.init(path: Path(patch.path), action: Action(patch.action))
    }
}

extension Patch.Action {
    init(_ action: DinhFFI.Action) {
        switch action {
        case .put(let step, let value, let conflict): self = .put(Step(step), Value(value), conflict: conflict)
        case .insert(let index, let values): self = .insert(at: Int(index), values.map(Value.init))
        case .spliceText(let index, let value): self = .spliceText(at: Int(index), value)
        case .deleteKey(let key): self = .deleteKey(key)
        case .delete(let index, let count): self = .delete(Int(index)..<Int(index) + Int(count))
        case .marks(let marks): self = .marks(marks.map(Mark.init))
        case .conflict(let step, let conflict): self = .conflict(Step(step), conflict)
        }
    }
}
