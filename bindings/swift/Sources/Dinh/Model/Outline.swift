import Foundation

/// What blocks are, for ``OutlineDocument/addBlock(to:kind:text:speaker:place:)``; an app may have words of its own.
public enum BlockKinds {
    /// What happened.
    public static let narration = "narration"
    /// A report that was given.
    public static let report = "report"
    /// What somebody said.
    public static let speech = "speech"
    /// What the chair concluded.
    public static let conclusion = "conclusion"
    /// A paragraph of a resolution.
    public static let paragraph = "paragraph"
    /// An item of a list in it.
    public static let item = "item"
}

/// A stretch of prose with who said it. It is never deleted, only hidden: what somebody else writes into it meanwhile is not lost.
public struct Block: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// What it is: one of ``BlockKinds``, or a word of the app's.
    public let kind: Register<String>
    /// What it says. To edit it, bind ``textPath`` to a field.
    public let text: String
    /// The member whose words these are.
    public let speaker: Register<String>
    /// The language in which it was said, ISO 639; empty if Vietnamese.
    public let language: Register<String>
    /// The member who put it into Vietnamese.
    public let interpreter: Register<String>
    /// Whether it is left out.
    public let hidden: Register<Bool>
    /// Where it stands: a key to sort by.
    public let order: Register<String>
    /// The section that it is in.
    public let section: Register<String>

    /// Whether it is left out.
    public var isHidden: Bool { hidden.value ?? false }

    /// Where its text is, for ``Document/bindText(_:)``.
    public var textPath: Path { ["blocks", .key(id), "text"] }

    private enum CodingKeys: String, CodingKey {
        case id, kind, text, speaker, language, interpreter, hidden, order, section
    }
}

/// A section with the blocks that are shown in it. (Not named `Section`, as SwiftUI has one.)
public struct OutlineSection: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// Its heading. To edit it, bind ``headingPath`` to a field.
    public let heading: String
    /// Where it stands: a key to sort by.
    public let order: Register<String>
    /// What is in it, in order.
    public let blocks: [Block]

    /// Where its heading is, for ``Document/bindText(_:)``.
    public var headingPath: Path { ["sections", .key(id), "heading"] }

    private enum CodingKeys: String, CodingKey {
        case id, heading, order, blocks
    }
}

/// The prose of minutes or of a resolution, as it is shown.
public struct Outline: Sendable, Hashable, Decodable {
    /// The sections, in order.
    public let sections: [OutlineSection]
    /// Blocks that are left out, or whose section is gone.
    public let hidden: [Block]

    /// A block that is shown or left out; nil if there is none with this id.
    public func block(_ id: String) -> Block? {
        for section in sections {
            if let found = section.blocks.first(where: { $0.id == id }) { return found }
        }
        return hidden.first { $0.id == id }
    }

    /// All that is shown, as plain text: a line for each heading and block that says something.
    public var plainText: String {
        let lines = sections.flatMap { [$0.heading] + $0.blocks.map { $0.text } }
        return lines.filter { !$0.isEmpty }.map { $0 + "\n" }.joined()
    }

    private enum CodingKeys: String, CodingKey {
        case sections, hidden
    }
}

/// Who does what by when.
public struct Assignment: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// What is to be done.
    public let task: Register<String>
    /// The members who do it.
    public let owners: Register<[String]>
    /// How many or how much.
    public let quantity: Register<String>
    /// By when, `YYYY-MM-DD`.
    public let due: Register<String>

    private enum CodingKeys: String, CodingKey {
        case id, task, owners, quantity, due
    }
}

/// A document as it was at some heads.
public struct DocumentAtHeads: Sendable, Hashable, Decodable {
    /// The document.
    public let document: String
    /// Its heads then, for ``Document/get(_:at:)``.
    public let heads: [String]

    public init(from decoder: any Decoder) throws {
        var pair = try decoder.unkeyedContainer()
        document = try pair.decode(String.self)
        heads = try pair.decode(String.self).split(separator: " ").map { String($0) }
    }
}

/// A block in which several members wrote without knowing of each other. Their letters are merged; whether the sentence still says
/// something is for somebody to read, who then calls ``ModelDocument/reread(_:at:)``.
public struct Overlap: Sendable, Hashable, Identifiable, Decodable {
    /// The block.
    public let block: String
    /// The members who wrote in it.
    public let members: Set<String>

    /// The block.
    public var id: String { block }

    private enum CodingKeys: String, CodingKey {
        case block, members
    }
}
