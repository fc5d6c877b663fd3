import DinhFFI
import Foundation

/// What a text field needs to know.
public enum TextNews: Sendable, Hashable {
    /// Others wrote something that the field does not show: call ``TextBinding/absorb()``.
    case others
    /// What was typed could not be saved, and stays in the field.
    case notSaved(String)
}

/// What a field shows: its text, and the selection in UTF-16 code units, as in `NSRange`.
public struct FieldState: Sendable, Hashable {
    public var text: String
    public var selection: NSRange

    public init(text: String, selection: NSRange) {
        self.text = text
        self.selection = selection
    }
}

/// A text of a document, bound to a text field.
///
/// Belongs to the main actor, as fields do: none of its functions waits, except ``flush()``. What the keyboard does goes in by
/// ``edit(_:isComposing:)`` (or ``replace(_:with:isComposing:)``); when ``news`` says so, ``absorb()`` gives what the field shows with
/// others' words in it, the selection moved along. While the keyboard composes (`markedTextRange`), `absorb` gives nil and the field
/// is left alone; `edit` gives what it should show when the composition ends. Nothing typed is undone by others, and the other way
/// round.
///
/// A screen is drawn a moment after it was told what to show, and a key may come before that. Until an `edit` comes that is nearer to
/// what `absorb` gave than to what was there before, it is taken as one of the text from before; others' words stay, and it gives what
/// the field should show with both. So tell it when what it gave is on the screen, by an `edit` with just that.
@MainActor
public final class TextBinding {
    private let field: DinhFFI.TextField
    private var selection = NSRange(location: 0, length: 0)
    private var isComposing = false
    /// What the screen may still show instead of ``text``, oldest first.
    private var late: [LateScreen] = []
    /// Others' words may come more than once before the screen is drawn; not that often.
    private static let lateMax = 8

    private var listeners: [AsyncThrowingStream<TextNews, any Error>.Continuation] = []
    /// Waits for the native library. There is one such wait for each field: no cancelled task ends it, so it must not be a listener's.
    private var listening: Task<Void, Never>?
    /// How the wait ended.
    private var end: Result<Void, any Error>?
    /// Whether others' words wait since the last ``absorb()``.
    private var isBehind = false

    nonisolated init(_ field: DinhFFI.TextField) { self.field = field }

    deinit {
        // What was typed is saved in the background. The wait ends too.
        try? field.unbind()
        for listener in listeners { listener.finish() }
    }

    /// What the field should show.
    public var text: String { field.text() }

    /// What the field needs to know, now and from now on. Each time that this is read it is another stream, which ends when the client
    /// is closed or the field unbound; iterating it does not hold the binding.
    public var news: AsyncThrowingStream<TextNews, any Error> {
        listen()
        return AsyncThrowingStream(TextNews.self, bufferingPolicy: .bufferingNewest(8)) { listener in
            if isBehind { listener.yield(.others) }
            if let why = field.failure() { listener.yield(.notSaved(why)) }
            switch end {
            case nil: listeners.append(listener)
            case .success: listener.finish()
            case .failure(let error): listener.finish(throwing: error)
            }
        }
    }

    private func listen() {
        guard listening == nil else { return }
        let field = self.field
        // Without this object: it is unbound when nobody holds it.
        listening = Task { [weak self] in
            do {
                while true {
                    guard let news = try await Self.next(of: field) else { break }
                    self?.tell(news)
                }
                self?.finish(.success(()))
            } catch {
                guard let self else { return }
                self.finish(.failure(error))
                // Who listens again begins anew.
                (self.listening, self.end) = (nil, nil)
            }
        }
    }

    private nonisolated static func next(of field: DinhFFI.TextField) async throws -> TextNews? {
        try await native { try await field.next() }.map { TextNews($0) }
    }

    private func tell(_ news: TextNews) {
        if news == .others { isBehind = true }
        listeners.removeAll { listener in
            if case .terminated = listener.yield(news) { return true }
            return false
        }
    }

    private func finish(_ how: Result<Void, any Error>) {
        end = how
        for listener in listeners {
            switch how {
            case .success: listener.finish()
            case .failure(let error): listener.finish(throwing: error)
            }
        }
        listeners = []
    }

    /// The field shows this now, by the keyboard's doing. Also to be called when only the selection or the composition changed.
    /// Gives what the field should show if a composition ended for which others' words waited, or if the keyboard was faster than the
    /// screen; nil if it shows that. If others' words must wait until what was typed is on disk, ``news`` tells when.
    @discardableResult
    public func edit(_ state: FieldState, isComposing composing: Bool) throws -> FieldState? {
        let (shown, was) = (text, isComposing)
        let selected = Self.within(state.text, state.selection)
        let (start, end) = (selected.location, selected.location + selected.length)
        var screen = LateScreen.under(late, now: shown, text: state.text, caret: end)
        let splices = screen?.edited(state.text, caret: end) ?? [Self.difference(shown, state.text, caret: end)].compactMap { $0 }
        late = [screen].compactMap { $0 }
        let (first, last) = (screen?.place(start) ?? start, screen?.place(end) ?? end)
        (selection, isComposing) = (NSRange(location: first, length: last - first), composing)
        for splice in splices { try native { try field.replace(splice: try splice.native(), composing: composing) } }
        if splices.isEmpty, was != composing { try native { try field.set(text: shown, composing: composing) } }
        if was, let absorbed = try absorb() { return absorbed }
        // A screen that is late is left alone while the keyboard composes.
        return screen == nil || composing ? nil : shows
    }

    /// The keyboard replaced a range of ``text``: for fields that say what changes (`shouldChangeTextIn`), and whose screen is never
    /// late.
    public func replace(_ range: NSRange, with insert: String, isComposing composing: Bool) throws {
        let splice = TextSplice(index: range.location, delete: range.length, insert: insert)
        try native { try field.replace(splice: try splice.native(), composing: composing) }
        (selection, isComposing, late) = (NSRange(location: range.location + insert.utf16.count, length: 0), composing, [])
    }

    /// What the field should show now that others wrote something: nil if it shows it already, or must be left alone because the
    /// keyboard composes.
    public func absorb() throws -> FieldState? {
        if isComposing { return nil }
        isBehind = false
        let shown = text
        let splices = field.absorb().map { TextSplice($0) }
        if splices.isEmpty { return nil }
        late = Array((late + [LateScreen(shown)]).suffix(Self.lateMax))
        var (start, end) = (selection.location, selection.location + selection.length)
        for splice in splices {
            for index in late.indices { late[index].absorbed(splice) }
            (start, end) = (Self.shifted(start, splice), Self.shifted(end, splice))
        }
        selection = NSRange(location: start, length: end - start)
        return shows
    }

    private var shows: FieldState { FieldState(text: text, selection: selection) }

    /// The field lost the focus: what was typed is on disk when this returns.
    public func flush() async throws {
        do { try await field.flush() } catch { throw publicError(error) }
    }

    /// Unbinds the field now, and not when nobody holds this any more. What was typed is saved in the background; ``flush()`` first to
    /// know.
    public func close() { try? field.unbind() }

    /// The replacement that made `new` of `old`: nil if they are equal. Where it could have been at several places (`aa` from `a`),
    /// it ends at the caret.
    nonisolated static func difference(_ old: String, _ new: String, caret: Int) -> TextSplice? {
        let (a, b) = (Array(old.utf16), Array(new.utf16))
        if a == b { return nil }
        let behind = min(b.count - min(max(caret, 0), b.count), a.count)
        var suffix = 0
        while suffix < behind, a[a.count - 1 - suffix] == b[b.count - 1 - suffix] { suffix += 1 }
        var prefix = 0
        while prefix < min(a.count, b.count) - suffix, a[prefix] == b[prefix] { prefix += 1 }
        while suffix < min(a.count, b.count) - prefix, a[a.count - 1 - suffix] == b[b.count - 1 - suffix] { suffix += 1 }
        // Never half a character.
        if prefix > 0, UTF16.isLeadSurrogate(a[prefix - 1]) { prefix -= 1 }
        if suffix > 0, UTF16.isTrailSurrogate(a[a.count - suffix]) { suffix -= 1 }
        let insert = String(decoding: b[prefix..<b.count - suffix], as: UTF16.self)
        return TextSplice(index: prefix, delete: a.count - prefix - suffix, insert: insert)
    }

    /// Where a caret is after a replacement: in front of what was inserted at its place (or two who type at one place would write
    /// their letters in between each other's), at the beginning of what it was in. What is nowhere stays there.
    nonisolated static func shifted(_ caret: Int, _ splice: TextSplice) -> Int {
        if caret <= splice.index || caret == NSNotFound { return caret }
        if caret >= splice.index + splice.delete { return caret - splice.delete + splice.insert.utf16.count }
        return splice.index
    }

    /// A selection as one of its text: where there is none (`NSNotFound`), the end.
    nonisolated static func within(_ text: String, _ selection: NSRange) -> NSRange {
        let count = text.utf16.count
        let start = min(max(0, selection.location), count)
        return NSRange(location: start, length: min(max(0, selection.length), count - start))
    }
}

extension TextNews {
    init(_ news: DinhFFI.TextNews) {
        switch news {
        case .others: self = .others
        case .notSaved(let detail): self = .notSaved(detail)
        }
    }
}

extension Document {
    /// Binds a text to a field.
    public func bindText(_ path: Path) async throws -> TextBinding {
        TextBinding(try await native { try await client.ffi.textField(doc: id, at: try path.native()) })
    }
}
