package dinh

import dinh.ffi.TextField as FfiTextField
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.catch
import kotlinx.coroutines.flow.flow

/** What a text field needs to know. */
public sealed interface TextNews {
    /** Others wrote something that the field does not show: call [TextBinding.absorb]. */
    public data object Others : TextNews

    /** What was typed could not be saved, and stays in the field. It is tried again when something more is typed, and after unlocking. */
    public data class NotSaved(public val detail: String) : TextNews
}

/** What a field shows: its text, and the selection. Indexes are UTF-16 code units, as in Kotlin strings. */
public data class FieldState(public val text: String, public val selectionStart: Int, public val selectionEnd: Int)

/**
 * A text of a document, bound to a text field (an `EditText`, a Compose `TextField`).
 *
 * Belongs to the thread of the field: none of its functions waits, except [flush]. What the keyboard does goes in by [edit] (or
 * [replace]); when [news] says so, [absorb] gives what the field shows with others' words in it, the selection moved along.
 * While the keyboard composes (Telex before the tone), [absorb] gives null and the field is left alone; [edit] gives what it
 * should show when the composition ends. Nothing typed is undone by others, and the other way round.
 *
 * A screen is drawn a moment after it was told what to show, and the keyboard may be faster. Until an [edit] comes that is nearer to what
 * [absorb] gave than to what was there before, it is taken as one of the text from before, and others' words stay. So tell it when
 * what it gave is on the screen, by an [edit] with just that.
 *
 * ```
 * val binding = minutes.document.bindText(minutes.textPath(block))
 * // Compose, in onValueChange:
 * val held = value.composition != null
 * binding.edit(value.text, value.selection.min, value.selection.max, held)?.let { state = it.toTextFieldValue() }
 * // and in a LaunchedEffect:
 * binding.news.collect { news -> if (news is TextNews.Others) binding.absorb()?.let { state = it.toTextFieldValue() } }
 * ```
 *
 * The guide (`docs/embedding-kotlin.md`) has the whole of it, for `EditText` too.
 */
public class TextBinding internal constructor(private val ffi: FfiTextField) : AutoCloseable {
    private var selectionStart = 0
    private var selectionEnd = 0
    private var composing = false
    private var isClosed = false

    /** What the screen may still show instead of [text], oldest first. */
    private var late = listOf<LateScreen>()

    /** What the field should show. */
    public val text: String
        get() = native { ffi.text() }

    /**
     * What the field needs to know: what it does not know now, and from now on. One collector at a time. Ends when this is closed, or
     * the client; fails if the document cannot be read at the beginning.
     */
    public val news: Flow<TextNews> =
        flow {
            native { ffi.listen() }
            while (true) {
                emit(native { ffi.next() }?.toPublic() ?: break)
            }
        }.catch { error ->
            // The field may go away while the collector is busy.
            if (error !is DinhException.Closed) throw error
        }

    /**
     * The field shows this now, by the keyboard's doing. [isComposing]: the keyboard still holds a part of it. Also to be called
     * when only the selection or the composition changed. Gives what the field should show if a composition ended for which
     * others' words waited, or if the keyboard was faster than the screen; null if it shows that. If others' words must wait until what
     * was typed is on disk, [news] tells when.
     */
    public fun edit(text: String, selectionStart: Int, selectionEnd: Int, isComposing: Boolean): FieldState? {
        val shown = this.text
        val wasComposing = composing
        // A view without a selection has it at -1.
        val end = if (selectionEnd < 0) text.length else minOf(selectionEnd, text.length)
        val start = if (selectionStart < 0) end else minOf(selectionStart, end)
        val screen = LateScreen.under(late, shown, text, end)
        late = listOfNotNull(screen)
        val splices = screen?.edited(text, end) ?: listOfNotNull(difference(shown, text, end))
        moved(screen?.place(start) ?: start, screen?.place(end) ?: end, isComposing)
        for (splice in splices) native { ffi.replace(splice.toFfi(), isComposing) }
        if (splices.isEmpty() && wasComposing != isComposing) native { ffi.set(shown, isComposing) }
        val absorbed = if (wasComposing) absorb() else null
        // A screen that is late is left alone while the keyboard composes.
        return absorbed ?: if (screen != null && !isComposing) state() else null
    }

    /**
     * The keyboard replaced [delete] code units of [text] at [index]: for fields that say what changed (`TextWatcher`), and whose screen is
     * never late.
     */
    public fun replace(index: Int, delete: Int, insert: String, isComposing: Boolean) {
        native { ffi.replace(TextSplice(index, delete, insert).toFfi(), isComposing) }
        late = listOf()
        moved(index + insert.length, index + insert.length, isComposing)
    }

    /**
     * What the field should show now that others wrote something: null if it shows it already, or must be left alone because the
     * keyboard composes.
     */
    public fun absorb(): FieldState? {
        if (composing) return null
        val shown = text
        val splices = native { ffi.absorb() }.map { it.toPublic() }
        if (splices.isEmpty()) return null
        late = (late + LateScreen(shown)).takeLast(LATE_MAX)
        for (splice in splices) {
            late.forEach { it.absorbed(splice) }
            selectionStart = shifted(selectionStart, splice)
            selectionEnd = shifted(selectionEnd, splice)
        }
        return state()
    }

    /** The field lost the focus: what was typed is on disk when this returns. */
    public suspend fun flush(): Unit = native { ffi.flush() }

    /** Unbinds the field. What was typed is saved in the background; [flush] first to know. The second time nothing happens. */
    override fun close() {
        if (isClosed) return
        isClosed = true
        ffi.use { native { it.unbind() } }
    }

    private fun state() = FieldState(text, selectionStart, selectionEnd)

    private fun moved(start: Int, end: Int, isComposing: Boolean) {
        selectionStart = start
        selectionEnd = end
        composing = isComposing
    }

    internal companion object {
        /** Others' words may come more than once before the screen is drawn; not that often. */
        private const val LATE_MAX = 8

        /**
         * The replacement that made [new] of [old]: null if they are equal. Where it could have been at several places (`aa` from
         * `a`), it ends at the caret.
         */
        fun difference(old: String, new: String, caret: Int): TextSplice? {
            if (old == new) return null
            // What stands behind the caret is as it was before.
            val behind = (new.length - caret.coerceIn(0, new.length)).coerceAtMost(old.length)
            var suffix = 0
            while (suffix < behind && old[old.length - 1 - suffix] == new[new.length - 1 - suffix]) suffix++
            val most = minOf(old.length, new.length) - suffix
            var prefix = 0
            while (prefix < most && old[prefix] == new[prefix]) prefix++
            val left = minOf(old.length, new.length) - prefix
            while (suffix < left && old[old.length - 1 - suffix] == new[new.length - 1 - suffix]) suffix++
            // Never half a character.
            if (prefix > 0 && old[prefix - 1].isHighSurrogate()) prefix--
            if (suffix > 0 && old[old.length - suffix].isLowSurrogate()) suffix--
            return TextSplice(prefix, old.length - prefix - suffix, new.substring(prefix, new.length - suffix))
        }

        /**
         * Where a caret is after a replacement: in front of what was inserted at its place (or two who type at one place would
         * write their letters in between each other's), at the beginning of what it was in.
         */
        fun shifted(caret: Int, splice: TextSplice): Int =
            when {
                caret <= splice.index -> caret
                caret >= splice.index + splice.delete -> caret - splice.delete + splice.insert.length
                else -> splice.index
            }
    }
}

private fun dinh.ffi.TextNews.toPublic(): TextNews =
    when (this) {
        is dinh.ffi.TextNews.Others -> TextNews.Others
        is dinh.ffi.TextNews.NotSaved -> TextNews.NotSaved(detail)
    }

/** Binds a text to a field. */
public suspend fun Document.bindText(path: Path): TextBinding =
    TextBinding(native { client.ffi.textField(id, path.toFfi()) })
