import Foundation

/// Who wrote a value.
public struct Writer: Sendable, Hashable, Decodable {
    /// The member whose device wrote it.
    public let member: String
    /// The device.
    public let device: String

    private enum CodingKeys: String, CodingKey {
        case member, device
    }
}

/// One of the values of a ``Register``.
public struct Written<T: Sendable & Hashable & Decodable>: Sendable, Hashable, Decodable {
    /// The value.
    public let value: T
    /// Who wrote it; nil if this device does not know whose device it was.
    public let by: Writer?

    private enum CodingKeys: String, CodingKey {
        case value, by
    }
}

/// A value that is replaced as a whole.
///
/// Phones that were apart may each have written one. All of them stand here then, the one that every device shows first; whoever may
/// write the value settles it by writing it once more. Empty if nobody wrote one.
public struct Register<T: Sendable & Hashable & Decodable>: Sendable, Hashable, Decodable {
    /// Everything that stands there, what is shown first.
    public let all: [Written<T>]

    /// What is shown; nil if nothing was written.
    public var value: T? { all.first?.value }

    /// Who wrote what is shown, if this device knows.
    public var by: Writer? { all.first?.by }

    /// Whether people wrote different things without knowing of each other.
    public var isContested: Bool { all.dropFirst().contains { $0.value != all[0].value } }

    public init(from decoder: any Decoder) throws {
        all = try decoder.singleValueContainer().decode([Written<T>].self)
    }
}
