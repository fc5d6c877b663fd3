package dinh

import kotlin.random.Random
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** What the keyboard does before others' words are on the screen. */
class LateScreenTest {
    /** A field whose screen shows what it shows until the keyboard says otherwise: what [TextBinding] does, without the native library. */
    private class Field(var text: String) {
        private var late = listOf<LateScreen>()

        val isLate: Boolean
            get() = late.isNotEmpty()

        /** Others' words come into the field, by one absorbing. */
        fun others(vararg splices: TextSplice): Field {
            late = late + LateScreen(text)
            for (splice in splices) {
                late.forEach { it.absorbed(splice) }
                text = applied(text, splice)
            }
            return this
        }

        fun others(index: Int, delete: Int, insert: String): Field = others(TextSplice(index, delete, insert))

        /** The keyboard made what is on the screen this, with the caret at the bar. What the field should show then. */
        fun type(shown: String): String {
            val (caret, new) = shown.indexOf('|') to shown.replace("|", "")
            val screen = LateScreen.under(late, text, new, caret)
            late = listOfNotNull(screen)
            val splices = screen?.edited(new, caret) ?: listOfNotNull(TextBinding.difference(text, new, caret))
            for (splice in splices) text = applied(text, splice)
            val place = screen?.place(caret) ?: caret
            return text.replaceRange(place, place, "|")
        }
    }

    @Test
    fun `what is typed behind or in front of others' words is`() {
        assertEquals("Kính chào đ|", Field("chào").others(0, 0, "Kính ").type("chào đ|"))
        assertEquals("Xin |chào đồng chí", Field("chào").others(4, 0, " đồng chí").type("Xin |chào"))
        val between = Field("chào").others(TextSplice(4, 0, " đồng chí"), TextSplice(0, 0, "Kính "))
        assertEquals("Kính chào các| đồng chí", between.type("chào các|"))
        assertEquals("tiếng|", Field("tiê").others(2, 1, "ế").type("tiêng|"))
    }

    @Test
    fun `what is typed inside of what others replaced is in front of it`() {
        assertEquals("một x|2 ba", Field("một hai ba").others(4, 3, "2").type("một hax|i ba"))
    }

    @Test
    fun `what is deleted takes none of others' words along`() {
        assertEquals("không một hai|", Field("một hai ba").others(0, 0, "không ").type("một hai|"))
        assertEquals("|rưỡi ", Field("một hai ba").others(4, 0, "rưỡi ").type("|"))
        assertEquals("một |rưỡi ", Field("một hai ba").others(4, 0, "rưỡi ").type("một |"))
    }

    @Test
    fun `what others replaced is theirs`() {
        assertEquals("1 2x|", Field("một hai ba").others(0, 7, "1 2").type("một x|"))
        assertEquals("một bốn|", Field("một hai ba").others(4, 4, "").type("một hai bốn|"))
    }

    @Test
    fun `characters of two code units stay whole`() {
        assertEquals("a👋👎|b", Field("a👍b").others(1, 0, "👋").type("a👎|b"))
        assertEquals("👎a|", Field("👍").others(0, 2, "👎").type("👍a|"))
        assertEquals("👋|👋", Field("👋👍").others(2, 0, "👋").type("👋|"))
    }

    @Test
    fun `a keyboard may compose on a screen that is late`() {
        val field = Field("chào").others(0, 0, "Kính ")
        assertEquals("Kính chào d|", field.type("chào d|"))
        assertEquals("Kính chào đ|", field.type("chào đ|"))
        assertEquals("Kính chào đồ|", field.type("chào đồ|"))
        assertEquals("Kính chào đồng |", field.type("chào đồng |"))
        assertTrue(field.isLate)
        assertEquals("Kính chào đồng |", field.type("Kính chào đồng |"))
        assertFalse(field.isLate)
        assertEquals("X đ|", Field("d").others(0, 0, "X ").type("đ|"))
    }

    @Test
    fun `what was drawn once is what the keyboard means`() {
        val moved = Field("chào").others(0, 0, "Kính ")
        assertEquals("Kính ch|ào", moved.type("ch|ào"))
        assertTrue(moved.isLate)
        assertEquals("Kính ch|ào", moved.type("Kính ch|ào"))
        assertFalse(moved.isLate)
        assertEquals("|chào", moved.type("|chào"))
        val typed = Field("chào").others(0, 0, "Kính ")
        assertEquals("Kính chào.|", typed.type("Kính chào.|"))
        assertFalse(typed.isLate)
        assertEquals("chào.|", typed.type("chào.|"))
    }

    @Test
    fun `others' words may come more than once before the screen is drawn`() {
        fun field() = Field("chào").others(0, 0, "Kính ").others(9, 0, " các đồng chí")
        assertEquals("Kính chào,| các đồng chí", field().type("chào,|"))
        assertEquals("Kính chào,| các đồng chí", field().type("Kính chào,|"))
        assertEquals("Kính chào các đồng chí,|", field().type("Kính chào các đồng chí,|"))
    }

    @Test
    fun `a caret is where it is shifted to`() {
        val random = Random(7)
        repeat(5_000) {
            val before = "a".repeat(random.nextInt(8))
            val screen = LateScreen(before)
            var text = before
            val splices =
                List(random.nextInt(5)) {
                    val splice = someSplice(random, text.length) { "X" }
                    screen.absorbed(splice)
                    text = applied(text, splice)
                    splice
                }
            for (caret in 0..before.length) {
                val shifted = splices.fold(caret) { at, splice -> TextBinding.shifted(at, splice) }
                assertEquals(shifted, screen.place(caret), "$caret of $before after $splices")
            }
        }
    }

    @Test
    fun `nothing is lost or doubled`() {
        val random = Random(7)
        repeat(5_000) {
            // Each letter is written once.
            var (own, theirs) = 'a' to '一'
            var screen = someSplice(random, 0) { "${own++}" }.insert
            val late = LateScreen(screen)
            var text = screen
            val gone = mutableSetOf<Char>()
            repeat(random.nextInt(1, 4)) {
                val splice = someSplice(random, text.length) { "${theirs++}" }
                gone += text.substring(splice.index, splice.index + splice.delete).toSet()
                late.absorbed(splice)
                text = applied(text, splice)
            }
            val others = text.filter { it >= '一' }
            repeat(4) {
                val splice = someSplice(random, screen.length) { "${own++}" }
                screen = applied(screen, splice)
                for (replaced in late.edited(screen, splice.index + splice.insert.length)) text = applied(text, replaced)
                assertEquals(screen, late.text)
                assertEquals(others, text.filter { it >= '一' }, "by $splice")
                assertEquals(screen.filter { it !in gone }, text.filter { it < '一' }, "by $splice")
            }
        }
    }

    private companion object {
        fun applied(old: String, splice: TextSplice): String =
            old.replaceRange(splice.index, splice.index + splice.delete, splice.insert)

        /** A replacement in a text of a length, of up to three letters by up to three. */
        fun someSplice(random: Random, length: Int, letter: () -> String): TextSplice {
            val index = random.nextInt(length + 1)
            val delete = random.nextInt(minOf(3, length - index) + 1)
            return TextSplice(index, delete, List(random.nextInt(4)) { letter() }.joinToString(""))
        }
    }
}
