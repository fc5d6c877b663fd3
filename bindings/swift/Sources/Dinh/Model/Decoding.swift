import Foundation

/// Reads what the native library says in JSON. Times are milliseconds since 1970 there. Strict about types, words and what must be
/// there; keys that only a newer library knows are passed over.
func decoded<T: Decodable>(_ json: String, as type: T.Type = T.self) throws -> T {
    let decoder = JSONDecoder()
    decoder.dateDecodingStrategy = .millisecondsSince1970
    do {
        return try decoder.decode(type, from: Data(json.utf8))
    } catch {
        let why = "the native library's \(type) does not read: \(cause(error))"
        throw DinhError(.internal, "\(why); this package and its native library are of different versions")
    }
}

/// The same where `null` says that there is nothing.
func decodedIfAny<T: Decodable>(_ json: String) throws -> T? {
    if json == "null" { return nil }
    return try decoded(json, as: T.self)
}

/// What is wrong with JSON, and where in it.
private func cause(_ error: any Error) -> String {
    guard let error = error as? DecodingError else { return "\(error)" }
    let found: DecodingError.Context
    var missing = ""
    switch error {
    case .typeMismatch(_, let context), .valueNotFound(_, let context): found = context
    case .keyNotFound(let key, let context):
        found = context
        missing = "\(key.stringValue) is missing. "
    default:
        guard case .dataCorrupted(let context) = error else { return "\(error)" }
        found = context
    }
    let path = found.codingPath.map { key in key.intValue.map { "\($0)" } ?? key.stringValue }
    return "at /\(path.joined(separator: "/")): \(missing)\(found.debugDescription)"
}

/// A word or shape that this package does not know.
func unknown(_ what: String, at decoder: any Decoder) -> DecodingError {
    .dataCorrupted(DecodingError.Context(codingPath: decoder.codingPath, debugDescription: "not known here: \(what)"))
}

/// A value of a document, as JSON has it: a text and a string are both a string there, a time is a number, bytes are a list of
/// numbers.
struct JSONValue: Decodable {
    let value: Value

    init(from decoder: any Decoder) throws {
        let found = try decoder.singleValueContainer()
        if found.decodeNil() {
            value = .null
        } else if let flag = try? found.decode(Bool.self) {
            value = .bool(flag)
        } else if let number = try? found.decode(Int64.self) {
            value = .int(number)
        } else if let number = try? found.decode(UInt64.self) {
            value = .uint(number)
        } else if let number = try? found.decode(Double.self) {
            value = .double(number)
        } else if let text = try? found.decode(String.self) {
            value = .string(text)
        } else if let list = try? found.decode([JSONValue].self) {
            value = .list(list.map { $0.value })
        } else {
            value = .map(try found.decode([String: JSONValue].self).mapValues { $0.value })
        }
    }
}

/// A number for the native library.
func unsigned(_ n: Int) throws -> UInt32 {
    guard let unsigned = UInt32(exactly: n) else {
        throw DinhError(.invalid, "\(n) is too small or too large a number; they begin at 0")
    }
    return unsigned
}

/// A time for the native library: milliseconds since 1970.
func milliseconds(_ time: Date) -> Int64 { Int64((time.timeIntervalSince1970 * 1_000).rounded()) }
