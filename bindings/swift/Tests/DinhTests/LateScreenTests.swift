import Foundation
import XCTest

@testable import Dinh

/// What the keyboard does before others' words are on the screen.
final class LateScreenTests: XCTestCase {
    func testWhatIsTypedBehindOrInFrontOfOthersWordsIs() {
        XCTAssertEqual(Field("chào", others: splice(0, 0, "Kính ")).typed("chào đ|"), "Kính chào đ|")
        XCTAssertEqual(Field("chào", others: splice(4, 0, " đồng chí")).typed("Xin |chào"), "Xin |chào đồng chí")
        let between = Field("chào", others: splice(4, 0, " đồng chí"), splice(0, 0, "Kính "))
        XCTAssertEqual(between.typed("chào các|"), "Kính chào các| đồng chí")
        XCTAssertEqual(Field("tiê", others: splice(2, 1, "ế")).typed("tiêng|"), "tiếng|")
    }

    func testWhatIsTypedInsideOfWhatOthersReplacedIsInFrontOfIt() {
        XCTAssertEqual(Field("một hai ba", others: splice(4, 3, "2")).typed("một hax|i ba"), "một x|2 ba")
    }

    func testWhatIsDeletedTakesNoneOfOthersWordsAlong() {
        XCTAssertEqual(Field("một hai ba", others: splice(0, 0, "không ")).typed("một hai|"), "không một hai|")
        XCTAssertEqual(Field("một hai ba", others: splice(4, 0, "rưỡi ")).typed("|"), "|rưỡi ")
        XCTAssertEqual(Field("một hai ba", others: splice(4, 0, "rưỡi ")).typed("một |"), "một |rưỡi ")
    }

    func testWhatOthersReplacedIsTheirs() {
        XCTAssertEqual(Field("một hai ba", others: splice(0, 7, "1 2")).typed("một x|"), "1 2x|")
        XCTAssertEqual(Field("một hai ba", others: splice(4, 4, "")).typed("một hai bốn|"), "một bốn|")
    }

    func testCharactersOfTwoCodeUnitsStayWhole() {
        XCTAssertEqual(Field("a👍b", others: splice(1, 0, "👋")).typed("a👎|b"), "a👋👎|b")
        XCTAssertEqual(Field("👍", others: splice(0, 2, "👎")).typed("👍a|"), "👎a|")
        XCTAssertEqual(Field("👋👍", others: splice(2, 0, "👋")).typed("👋|"), "👋|👋")
    }

    func testAKeyboardMayComposeOnAScreenThatIsLate() {
        let field = Field("chào", others: splice(0, 0, "Kính "))
        XCTAssertEqual(field.typed("chào d|"), "Kính chào d|")
        XCTAssertEqual(field.typed("chào đ|"), "Kính chào đ|")
        XCTAssertEqual(field.typed("chào đồ|"), "Kính chào đồ|")
        XCTAssertEqual(field.typed("chào đồng |"), "Kính chào đồng |")
        XCTAssertTrue(field.isLate)
        XCTAssertEqual(field.typed("Kính chào đồng |"), "Kính chào đồng |")
        XCTAssertFalse(field.isLate)
        XCTAssertEqual(Field("d", others: splice(0, 0, "X ")).typed("đ|"), "X đ|")
    }

    func testWhatWasDrawnOnceIsWhatTheKeyboardMeans() {
        let moved = Field("chào", others: splice(0, 0, "Kính "))
        XCTAssertEqual(moved.typed("ch|ào"), "Kính ch|ào")
        XCTAssertTrue(moved.isLate)
        XCTAssertEqual(moved.typed("Kính ch|ào"), "Kính ch|ào")
        XCTAssertFalse(moved.isLate)
        XCTAssertEqual(moved.typed("|chào"), "|chào")
        let typed = Field("chào", others: splice(0, 0, "Kính "))
        XCTAssertEqual(typed.typed("Kính chào.|"), "Kính chào.|")
        XCTAssertFalse(typed.isLate)
        XCTAssertEqual(typed.typed("chào.|"), "chào.|")
    }

    func testOthersWordsMayComeMoreThanOnceBeforeTheScreenIsDrawn() {
        func field() -> Field {
            let field = Field("chào", others: splice(0, 0, "Kính "))
            field.others(splice(9, 0, " các đồng chí"))
            return field
        }
        XCTAssertEqual(field().typed("chào,|"), "Kính chào,| các đồng chí")
        XCTAssertEqual(field().typed("Kính chào,|"), "Kính chào,| các đồng chí")
        XCTAssertEqual(field().typed("Kính chào các đồng chí,|"), "Kính chào các đồng chí,|")
    }

    func testACaretIsWhereItIsShiftedTo() {
        for _ in 0..<5_000 {
            let before = String(repeating: "a", count: Int.random(in: 0..<8))
            var (screen, text): (LateScreen, String) = (LateScreen(before), before)
            var splices: [TextSplice] = []
            for _ in 0..<Int.random(in: 0..<5) {
                let splice = someSplice(text) { "X" }
                screen.absorbed(splice)
                text = applied(text, splice)
                splices.append(splice)
            }
            for caret in 0...before.count {
                let shifted = splices.reduce(caret) { at, splice in TextBinding.shifted(at, splice) }
                XCTAssertEqual(screen.place(caret), shifted, "\(caret) of \(before) after \(splices)")
            }
        }
    }

    func testNothingIsLostOrDoubled() {
        for _ in 0..<5_000 {
            // Each letter is written once; others' are Chinese.
            var (own, theirs): (UInt32, UInt32) = (0x61, 0x4E00)
            func ours() -> String {
                own += 1
                return letter(own - 1)
            }
            func others() -> String {
                theirs += 1
                return letter(theirs - 1)
            }
            func isTheirs(_ letter: Character) -> Bool { letter >= "\u{4E00}" }

            var screen = someSplice("", ours).insert
            var (late, text): (LateScreen, String) = (LateScreen(screen), screen)
            var gone: Set<Character> = []
            for _ in 0..<Int.random(in: 1..<4) {
                let splice = someSplice(text, others)
                gone.formUnion(NSString(string: text).substring(with: splice.range))
                late.absorbed(splice)
                text = applied(text, splice)
            }
            let words = text.filter(isTheirs)
            for _ in 0..<4 {
                let splice = someSplice(screen, ours)
                screen = applied(screen, splice)
                for replaced in late.edited(screen, caret: splice.index + splice.insert.utf16.count) {
                    text = applied(text, replaced)
                }
                XCTAssertEqual(late.text, screen)
                XCTAssertEqual(text.filter(isTheirs), words, "by \(splice)")
                XCTAssertEqual(text.filter { !isTheirs($0) }, screen.filter { !gone.contains($0) }, "by \(splice)")
            }
        }
    }
}

/// A field whose screen shows what it shows until the keyboard says otherwise: what ``TextBinding`` does, without the native library.
private final class Field {
    private var text: String
    private var late: [LateScreen] = []

    init(_ text: String, others splices: TextSplice...) {
        self.text = text
        absorb(splices)
    }

    var isLate: Bool { !late.isEmpty }

    /// Others' words come into the field, by one absorbing.
    func others(_ splices: TextSplice...) { absorb(splices) }

    private func absorb(_ splices: [TextSplice]) {
        late.append(LateScreen(text))
        for splice in splices {
            for index in late.indices { late[index].absorbed(splice) }
            text = applied(text, splice)
        }
    }

    /// The keyboard made what is on the screen this, with the caret at the bar. What the field should show then.
    func typed(_ shown: String) -> String {
        let parts = shown.components(separatedBy: "|")
        let (caret, new) = (parts[0].utf16.count, parts.joined())
        var screen = LateScreen.under(late, now: text, text: new, caret: caret)
        let splices = screen?.edited(new, caret: caret) ?? [TextBinding.difference(text, new, caret: caret)].compactMap { $0 }
        late = [screen].compactMap { $0 }
        for splice in splices { text = applied(text, splice) }
        return applied(text, splice(screen?.place(caret) ?? caret, 0, "|"))
    }
}

private func splice(_ index: Int, _ delete: Int, _ insert: String) -> TextSplice {
    TextSplice(index: index, delete: delete, insert: insert)
}

private func applied(_ old: String, _ splice: TextSplice) -> String {
    NSString(string: old).replacingCharacters(in: splice.range, with: splice.insert)
}

private func letter(_ code: UInt32) -> String { Unicode.Scalar(code).map { String(Character($0)) } ?? "" }

/// A replacement in a text of letters of one code unit, of up to three by up to three.
private func someSplice(_ text: String, _ letter: () -> String) -> TextSplice {
    let count = text.utf16.count
    let index = Int.random(in: 0...count)
    let delete = Int.random(in: 0...min(3, count - index))
    return splice(index, delete, (0..<Int.random(in: 0..<4)).map { _ in letter() }.joined())
}
