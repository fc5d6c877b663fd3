// Places in texts are UTF-16 code units in this library, as in `NSRange` and on all other platforms; those of Swift's strings are
// `String.Index`. `NSRange(_:in:)` and `Range(_:in:)` of Foundation convert those of fields.

extension Range where Bound == Int {
    /// The UTF-16 code units of a range of a string.
    public init(utf16 range: Range<String.Index>, in text: String) {
        let units = text.utf16
        let start = units.distance(from: units.startIndex, to: range.lowerBound)
        self = start..<start + units.distance(from: range.lowerBound, to: range.upperBound)
    }
}

extension Range where Bound == String.Index {
    /// The range of a string that is these UTF-16 code units: nil if they are not all in it, or if an end is in the middle of a surrogate
    /// pair. `hit.text[Range(utf16: hit.snippet, in: hit.text)!]`
    public init?(utf16 range: Range<Int>, in text: String) {
        let units = text.utf16
        guard 0 <= range.lowerBound, range.upperBound <= units.count else { return nil }
        let start = units.index(units.startIndex, offsetBy: range.lowerBound)
        let end = units.index(start, offsetBy: range.count)
        let scalars = text.unicodeScalars
        guard start.samePosition(in: scalars) != nil, end.samePosition(in: scalars) != nil else { return nil }
        self = start..<end
    }
}

extension Edit {
    /// Replaces a range of a text. The range is one of `shown`, which must be the whole text at the path, as it is now.
    public mutating func replace(_ text: Path, _ range: Range<String.Index>, in shown: String, with insert: String) throws {
        let units = Range(utf16: range, in: shown)
        try splice(text, at: units.lowerBound, delete: units.count, insert: insert)
    }
}
