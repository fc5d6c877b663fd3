import Foundation

/// A notice to members, as it is now.
public struct Notice: Sendable, Hashable, Decodable {
    /// Its title.
    public let title: Register<String>
    /// What it says. To edit it, bind ``textPath`` to a field.
    public let text: String
    /// Until when it matters, `YYYY-MM-DD`.
    public let until: Register<String>
    /// When each member first said that it has read it, by that member's device.
    public let read: [String: Register<Date>]

    /// Where its text is, for ``Document/bindText(_:)``.
    public static let textPath: Path = ["text"]

    private enum CodingKeys: String, CodingKey {
        case title, text, until, read
    }
}
