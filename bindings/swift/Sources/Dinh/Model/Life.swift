import Foundation

/// An event of a document's life, as it stands in the document.
public struct LifeEvent: Sendable, Hashable, Identifiable, Decodable {
    /// Its id.
    public let id: String
    /// What happened: one of ``MinutesSteps``, ``ResolutionSteps``, ``ReviewSteps`` or ``FeedbackSteps``, or a newer app's word.
    public let kind: String
    /// The member who says so. Every device has checked that it was this member's device.
    public let by: String
    /// When, by that device's clock: advisory, the order comes from `after`.
    public let at: Date
    /// The events that its writer had seen and that nothing there followed.
    public let after: [String]
    /// What belongs to it. Texts are ``Value/string(_:)`` and times ``Value/int(_:)`` (milliseconds since 1970) here.
    public let data: [String: Value]

    /// A text among its data; nil if there is none, or it is blank.
    public func text(_ key: String) -> String? {
        guard let found = data[key]?.stringValue, !found.allSatisfy({ $0.isWhitespace }) else { return nil }
        return found
    }

    private enum CodingKeys: String, CodingKey {
        case id, kind, by, at, after, data
    }

    public init(from decoder: any Decoder) throws {
        let found = try decoder.container(keyedBy: CodingKeys.self)
        id = try found.decode(String.self, forKey: .id)
        kind = try found.decode(String.self, forKey: .kind)
        by = try found.decode(String.self, forKey: .by)
        at = try found.decode(Date.self, forKey: .at)
        after = try found.decode([String].self, forKey: .after)
        data = try found.decode([String: JSONValue].self, forKey: .data).mapValues { $0.value }
    }
}

/// Where a document stands in its life.
public enum LifeStatus<State: Sendable & Hashable & Decodable>: Sendable, Hashable, Decodable {
    /// Here.
    case at(State)
    /// People who were apart took steps that contradict each other. Somebody who may chooses one: `resolve(choosing:)`.
    case disputed([Side])

    /// A step in a dispute.
    public struct Side: Sendable, Hashable, Identifiable, Decodable {
        /// The event.
        public let event: String
        /// Where it leads.
        public let state: State

        /// The event.
        public var id: String { event }

        public init(from decoder: any Decoder) throws {
            var pair = try decoder.unkeyedContainer()
            event = try pair.decode(String.self)
            state = try pair.decode(State.self)
        }
    }

    /// The state; nil while it is disputed.
    public var state: State? {
        switch self {
        case .at(let state): state
        case .disputed: nil
        }
    }

    private enum CodingKeys: String, CodingKey {
        case at = "in"
        case disputed
    }

    public init(from decoder: any Decoder) throws {
        let found = try decoder.container(keyedBy: CodingKeys.self)
        if found.contains(.at) {
            self = .at(try found.decode(State.self, forKey: .at))
        } else if found.contains(.disputed) {
            self = .disputed(try found.decode([Side].self, forKey: .disputed))
        } else {
            throw unknown("a status that is neither a state nor disputed", at: decoder)
        }
    }
}

/// Why an event does not count.
public enum NotCounted: Sendable, Hashable, Decodable {
    /// No such step follows on the state that it was made in.
    case step(from: String)
    /// What must come with it is missing or wrong.
    case missing(String)
    /// It was made in a dispute and does not settle it.
    case disputed
    /// It settles no dispute, or chooses what is not disputed.
    case nothingToSettle
    /// Its past leads back to itself.
    case circular

    private enum CodingKeys: String, CodingKey {
        case why, from, what
    }

    public init(from decoder: any Decoder) throws {
        let found = try decoder.container(keyedBy: CodingKeys.self)
        let why = try found.decode(String.self, forKey: .why)
        switch why {
        case "step": self = .step(from: try found.decode(String.self, forKey: .from))
        case "guard": self = .missing(try found.decode(String.self, forKey: .what))
        case "disputed": self = .disputed
        case "nothing_to_settle": self = .nothingToSettle
        case "circular": self = .circular
        default: throw unknown(why, at: decoder)
        }
    }
}

/// What the events of a document's life add up to. Every device that has the same events says the same, in whatever order they came.
public struct Life<State: Sendable & Hashable & Decodable>: Sendable, Hashable, Decodable {
    /// Where it stands.
    public let status: LifeStatus<State>
    /// Events that count, each after those that its writer knew of.
    public let counted: [String]
    /// Events that do not, with the reason: another app, or a phone that was away, may have written them.
    public let notCounted: [String: NotCounted]
    /// Events that build on something which is not here yet.
    public let waiting: Set<String>
    /// Events that nothing follows.
    public let heads: [String]

    /// The state; nil while it is disputed.
    public var state: State? { status.state }

    private enum CodingKeys: String, CodingKey {
        case status, counted
        case notCounted = "not_counted"
        case waiting, heads
    }
}
