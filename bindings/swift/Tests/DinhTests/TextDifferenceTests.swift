import Foundation
import XCTest

@testable import Dinh

/// What a field's text and caret say about what the keyboard did.
final class TextDifferenceTests: XCTestCase {
    private func splice(_ index: Int, _ delete: Int, _ insert: String) -> TextSplice {
        TextSplice(index: index, delete: delete, insert: insert)
    }

    func testEqualTextsDifferInNothing() {
        XCTAssertNil(TextBinding.difference("", "", caret: 0))
        XCTAssertNil(TextBinding.difference("đường", "đường", caret: 3))
    }

    func testTheCaretSaysWhichOfSeveralPlacesItIs() {
        XCTAssertEqual(TextBinding.difference("aa", "aaa", caret: 1), splice(0, 0, "a"))
        XCTAssertEqual(TextBinding.difference("aa", "aaa", caret: 2), splice(1, 0, "a"))
        XCTAssertEqual(TextBinding.difference("aa", "aaa", caret: 3), splice(2, 0, "a"))
        XCTAssertEqual(TextBinding.difference("aaa", "aa", caret: 1), splice(1, 1, ""))
    }

    func testTelexReplacesTheSyllableBehindTheCaret() {
        XCTAssertEqual(TextBinding.difference("d", "đ", caret: 1), splice(0, 1, "đ"))
        XCTAssertEqual(TextBinding.difference("tiêng Việt", "tiếng Việt", caret: 5), splice(2, 1, "ế"))
    }

    func testHalfACharacterIsNeverReplaced() {
        XCTAssertEqual(TextBinding.difference("👍", "👎", caret: 2), splice(0, 2, "👎"))
        // 👍 and 🡍 end in the same half.
        XCTAssertEqual(TextBinding.difference("a👍", "a\u{1F84D}", caret: 3), splice(1, 2, "\u{1F84D}"))
    }

    func testWhatIsFoundMakesTheNewTextOfTheOldOne() {
        var random = SystemRandomNumberGenerator()
        let letters = ["a", "a", "đ", "ờ", "👋", "\n", "e\u{301}"]
        func text() -> String {
            (0..<Int.random(in: 0...6, using: &random)).map { _ in letters.randomElement(using: &random)! }.joined()
        }
        for _ in 0..<5_000 {
            let (old, new) = (text(), text())
            let caret = Int.random(in: 0...new.utf16.count, using: &random)
            guard let found = TextBinding.difference(old, new, caret: caret) else {
                XCTAssertEqual(Array(old.utf16), Array(new.utf16))
                continue
            }
            // By code units: on Linux NSString replaces whole letters, a mark along with what it stands on.
            var made = Array(old.utf16)
            made.replaceSubrange(found.index..<found.index + found.delete, with: found.insert.utf16)
            XCTAssertEqual(made, Array(new.utf16), "\(old) to \(new) by \(found)")
        }
    }

    func testACaretStaysWithItsLetters() {
        XCTAssertEqual(TextBinding.shifted(2, splice(5, 1, "xyz")), 2)
        XCTAssertEqual(TextBinding.shifted(5, splice(5, 0, "xyz")), 5)
        XCTAssertEqual(TextBinding.shifted(5, splice(2, 1, "xyz")), 7)
        XCTAssertEqual(TextBinding.shifted(3, splice(2, 4, "xyz")), 2)
        XCTAssertEqual(TextBinding.shifted(6, splice(2, 4, "x")), 3)
    }

    func testASelectionThatIsNowhereIsAtTheEnd() {
        XCTAssertEqual(TextBinding.shifted(NSNotFound, splice(5, 0, "xyz")), NSNotFound)
        func within(_ location: Int, _ length: Int) -> NSRange {
            TextBinding.within("👋 a", NSRange(location: location, length: length))
        }
        XCTAssertEqual(within(1, 2), NSRange(location: 1, length: 2))
        XCTAssertEqual(within(2, 99), NSRange(location: 2, length: 2))
        XCTAssertEqual(within(NSNotFound, 0), NSRange(location: 4, length: 0))
        XCTAssertEqual(within(NSNotFound, NSNotFound), NSRange(location: 4, length: 0))
        XCTAssertEqual(within(-1, -1), NSRange(location: 0, length: 0))
    }
}
