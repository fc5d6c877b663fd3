package dinh

import kotlin.random.Random
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Test

/** What a field's text and caret say about what the keyboard did. */
class TextDifferenceTest {
    private fun difference(old: String, new: String, caret: Int) = TextBinding.difference(old, new, caret)

    private fun applied(old: String, splice: TextSplice) =
        old.replaceRange(splice.index, splice.index + splice.delete, splice.insert)

    @Test
    fun `equal texts differ in nothing`() {
        assertNull(difference("", "", 0))
        assertNull(difference("đường", "đường", 3))
    }

    @Test
    fun `among places that are possible the caret says which it is`() {
        assertEquals(TextSplice(0, 0, "a"), difference("aa", "aaa", 1))
        assertEquals(TextSplice(1, 0, "a"), difference("aa", "aaa", 2))
        assertEquals(TextSplice(2, 0, "a"), difference("aa", "aaa", 3))
        // Backspace leaves the caret where the letter was.
        assertEquals(TextSplice(1, 1, ""), difference("aaa", "aa", 1))
    }

    @Test
    fun `telex replaces the syllable behind the caret`() {
        assertEquals(TextSplice(0, 1, "đ"), difference("d", "đ", 1))
        assertEquals(TextSplice(2, 1, "ế"), difference("tiêng Việt", "tiếng Việt", 5))
    }

    @Test
    fun `half a character is never replaced`() {
        // 👍 and 👎 have the first half in common, 👍 and 🡍 the second.
        assertEquals(TextSplice(0, 2, "👎"), difference("👍", "👎", 2))
        assertEquals(TextSplice(1, 2, "\uD83E\uDC4D"), difference("a\uD83D\uDC4D", "a\uD83E\uDC4D", 3))
    }

    @Test
    fun `what is found makes the new text of the old one`() {
        val random = Random(7)
        val letters = listOf("a", "a", "đ", "ờ", "👋", "\n", "e\u0301")
        fun text() = buildString { repeat(random.nextInt(7)) { append(letters.random(random)) } }
        repeat(20_000) {
            val (old, new) = text() to text()
            val splice = difference(old, new, random.nextInt(new.length + 1)) ?: return@repeat assertEquals(old, new)
            assertEquals(new, applied(old, splice), "$old to $new by $splice")
            val (before, after) = old.substring(0, splice.index) to old.substring(splice.index + splice.delete)
            assertFalse(before.lastOrNull()?.isHighSurrogate() ?: false, "$old to $new by $splice")
            assertFalse(after.firstOrNull()?.isLowSurrogate() ?: false, "$old to $new by $splice")
        }
    }

    @Test
    fun `a caret stays with its letters`() {
        fun shifted(caret: Int, index: Int, delete: Int, insert: String) =
            TextBinding.shifted(caret, TextSplice(index, delete, insert))
        assertEquals(2, shifted(2, 5, 1, "xyz"))
        assertEquals(5, shifted(5, 5, 0, "xyz"))
        assertEquals(7, shifted(5, 2, 1, "xyz"))
        assertEquals(2, shifted(3, 2, 4, "xyz"))
        assertEquals(3, shifted(6, 2, 4, "x"))
    }
}
