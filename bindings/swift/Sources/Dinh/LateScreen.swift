import Foundation

/// A text that the screen may still show though others' words came into the field since, because it was not drawn again: what the
/// keyboard does on top of it is meant for it. Taken as a change of the field's text it would take away others' words.
///
/// All indexes are UTF-16 code units.
struct LateScreen: Sendable {
    /// What a code unit of the field's text is to the screen.
    private enum Place: Sendable {
        /// It stands there in what the screen shows.
        case shown(Int)
        /// Others wrote it: the last caret of the screen that is in front of it.
        case others(lastCaret: Int)

        /// The last caret of the screen that is in front of it.
        var lastCaret: Int {
            switch self {
            case .shown(let index): index
            case .others(let caret): caret
            }
        }

        func isShown(in range: Range<Int>) -> Bool {
            if case .shown(let index) = self { return range.contains(index) }
            return false
        }
    }

    /// What the screen shows.
    private(set) var text: String
    /// For each code unit of the field's text. The last carets never fall from one to the next.
    private var places: [Place]

    init(_ text: String) {
        self.text = text
        places = (0..<text.utf16.count).map { .shown($0) }
    }

    /// On top of which of these screens, the last of which is the latest, the keyboard made `text`: nil if it was the field's, `now`.
    static func under(_ screens: [LateScreen], now: String, text: String, caret: Int) -> LateScreen? {
        func distance(_ from: String) -> Int {
            TextBinding.difference(from, text, caret: caret).map { $0.delete + $0.insert.utf16.count } ?? 0
        }
        var (nearest, least): (LateScreen?, Int) = (nil, screens.isEmpty ? 0 : distance(now))
        for screen in screens.reversed() {
            let found = distance(screen.text)
            if found < least { (nearest, least) = (screen, found) }
        }
        return nearest
    }

    /// Where a caret of the screen is in the field's text: it was shifted by all that others wrote.
    func place(_ caret: Int) -> Int { places.firstIndex { $0.lastCaret >= caret } ?? places.count }

    /// Others' words came into the field's text. Carets are shifted by it as ``TextBinding/shifted(_:_:)`` says.
    mutating func absorbed(_ splice: TextSplice) {
        let gone = splice.index..<splice.index + splice.delete
        let caret: Int
        if let last = gone.last {
            caret = places[last].lastCaret
        } else if splice.index < places.count {
            caret = places[splice.index].lastCaret
        } else {
            caret = text.utf16.count
        }
        let come = [Place](repeating: .others(lastCaret: caret), count: splice.insert.utf16.count)
        places.replaceSubrange(gone, with: come)
    }

    /// The keyboard made the screen show this: what it means for the field's text, one replacement after the other. What others took
    /// away is gone already, and what they wrote stays, in front of or behind what was typed, or after it if it was in the midst of
    /// what the keyboard replaced.
    mutating func edited(_ new: String, caret: Int) -> [TextSplice] {
        guard let splice = TextBinding.difference(text, new, caret: caret) else { return [] }
        let (gone, count) = (splice.index..<splice.index + splice.delete, splice.insert.utf16.count)
        // What is left of what the keyboard replaced. What was typed comes in its place.
        let left = places.indices.filter { places[$0].isShown(in: gone) }
        let at = left.first ?? place(gone.lowerBound)

        var moved: [Place] = []
        for place in places[..<at] {
            switch place {
            case .shown: moved.append(place)
            case .others(let caret): moved.append(.others(lastCaret: min(caret, gone.lowerBound)))
            }
        }
        for index in 0..<count { moved.append(.shown(gone.lowerBound + index)) }
        for place in places[at...] where !place.isShown(in: gone) {
            switch place {
            case .shown(let index): moved.append(.shown(index - gone.count + count))
            case .others(let caret): moved.append(.others(lastCaret: max(caret, gone.upperBound) - gone.count + count))
            }
        }
        (places, text) = (moved, new)

        // From the end, so that each index holds when its turn comes.
        let runs = Self.runs(left)
        let first = TextSplice(index: at, delete: runs.first?.count ?? 0, insert: splice.insert)
        let behind = runs.dropFirst().reversed().map { TextSplice(index: $0.lowerBound, delete: $0.count, insert: "") }
        return (behind + [first]).filter { $0.delete > 0 || !$0.insert.isEmpty }
    }

    /// Ascending numbers as ranges without gaps.
    private static func runs(_ numbers: [Int]) -> [Range<Int>] {
        var runs: [Range<Int>] = []
        for number in numbers {
            if let last = runs.last, last.upperBound == number {
                runs[runs.count - 1] = last.lowerBound..<number + 1
            } else {
                runs.append(number..<number + 1)
            }
        }
        return runs
    }
}
