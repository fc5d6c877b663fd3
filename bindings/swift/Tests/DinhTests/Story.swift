import Dinh
import Foundation

/// JSON of the story: `bindings/testdata/scenario.json`.
enum Json: Sendable, Equatable, Decodable, CustomStringConvertible {
    case null
    case bool(Bool)
    case number(Int)
    case text(String)
    case list([Json])
    case map([String: Json])

    init(from decoder: any Decoder) throws {
        let found = try decoder.singleValueContainer()
        if found.decodeNil() {
            self = .null
        } else if let flag = try? found.decode(Bool.self) {
            self = .bool(flag)
        } else if let number = try? found.decode(Int.self) {
            self = .number(number)
        } else if let text = try? found.decode(String.self) {
            self = .text(text)
        } else if let list = try? found.decode([Json].self) {
            self = .list(list)
        } else {
            self = .map(try found.decode([String: Json].self))
        }
    }

    /// A value of a document, in which strings and texts are the same.
    init(_ value: Value?) throws {
        switch value {
        case nil, .null: self = .null
        case .bool(let flag): self = .bool(flag)
        case .int(let number): self = .number(Int(number))
        case .string(let text), .text(let text): self = .text(text)
        case .list(let values): self = .list(try values.map { try Json($0) })
        case .map(let entries): self = .map(try entries.mapValues { try Json($0) })
        case .uint, .double, .data, .timestamp: throw Failed("the story has no such value: \(String(describing: value))")
        }
    }

    /// As a value to be written.
    var value: Value {
        switch self {
        case .null: .null
        case .bool(let flag): .bool(flag)
        case .number(let number): .int(Int64(number))
        case .text(let text): .string(text)
        case .list(let list): .list(list.map { $0.value })
        case .map(let map): .map(map.mapValues { $0.value })
        }
    }

    /// What is below.
    func at(_ path: Path) throws -> Json {
        var found = self
        for step in path.steps {
            switch (found, step) {
            case (.map(let map), .key(let key)): found = map[key] ?? .null
            case (.list(let list), .index(let index)) where list.indices.contains(index): found = list[index]
            default: throw Failed("there is nothing at \(path)")
            }
        }
        return found
    }

    var description: String {
        switch self {
        case .null: return "null"
        case .bool(let flag): return "\(flag)"
        case .number(let number): return "\(number)"
        case .text(let text): return "\"\(text)\""
        case .list(let list):
            let parts = list.map { $0.description }
            return "[\(parts.joined(separator: ", "))]"
        case .map(let map):
            let parts = map.keys.sorted().map { key in "\"\(key)\": \(map[key] ?? .null)" }
            return "{\(parts.joined(separator: ", "))}"
        }
    }
}

/// A step of the story, or a write in one.
struct Turn: Sendable, Decodable {
    var fields: [String: Json]

    init(_ fields: [String: Json]) { self.fields = fields }

    init(from decoder: any Decoder) throws {
        fields = try decoder.singleValueContainer().decode([String: Json].self)
    }

    func json(_ key: String) throws -> Json {
        guard let found = fields[key] else { throw Failed("the step has no \(key)") }
        return found
    }

    func text(_ key: String) throws -> String {
        guard case .text(let text) = try json(key) else { throw Failed("\(key) is no text") }
        return text
    }

    func textIfAny(_ key: String) throws -> String? { fields[key] == nil ? nil : try text(key) }

    func number(_ key: String) throws -> Int {
        guard case .number(let number) = try json(key) else { throw Failed("\(key) is no number") }
        return number
    }

    func flag(_ key: String) throws -> Bool {
        guard case .bool(let flag) = try json(key) else { throw Failed("\(key) is neither true nor false") }
        return flag
    }

    func list(_ key: String) throws -> [Json] {
        guard case .list(let list) = try json(key) else { throw Failed("\(key) is no list") }
        return list
    }

    func texts(_ key: String) throws -> [String] {
        try list(key).map { json in
            guard case .text(let text) = json else { throw Failed("\(key) has more than texts") }
            return text
        }
    }

    func textByKey(_ key: String) throws -> [String: String] {
        guard case .map(let map) = try json(key) else { throw Failed("\(key) is no map") }
        return try map.mapValues { json in
            guard case .text(let text) = json else { throw Failed("\(key) has more than texts") }
            return text
        }
    }

    func path(_ key: String) throws -> Path {
        Path(
            try list(key).map { json in
                switch json {
                case .text(let key): return Step.key(key)
                case .number(let index): return Step.index(index)
                default: throw Failed("\(json) is no step of a path")
                }
            })
    }

    /// Does a write.
    func write(to edit: inout Edit) throws {
        if fields["put"] != nil {
            try edit.put(try path("put"), try json("value").value)
        } else if fields["text"] != nil {
            try edit.text(try path("text"), try text("value"))
        } else if fields["push"] != nil {
            try edit.append(try path("push"), try json("value").value)
        } else {
            try edit.splice(
                try path("splice"), at: try number("index"), delete: try number("delete"), insert: try text("insert"))
        }
    }
}

/// The story.
struct Story: Decodable {
    let steps: [Turn]

    static func read() throws -> Story {
        let file = Setting.testdata.appendingPathComponent("scenario.json")
        return try JSONDecoder().decode(Story.self, from: Data(contentsOf: file))
    }
}
