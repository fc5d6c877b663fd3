package dinh

/**
 * A text that the screen may still show though others' words came into the field since, because it was not drawn again: what the keyboard
 * does on top of it is meant for it. Taken as a change of the field's text it would take away others' words.
 *
 * All indexes are UTF-16 code units.
 */
internal class LateScreen(text: String) {
    /** What the screen shows. */
    var text: String = text
        private set

    /**
     * For each code unit of the field's text: where it stands in [text], or, if others wrote it, the last caret of the screen that is in
     * front of it, inverted.
     */
    private var places = IntArray(text.length) { it }

    /** The last caret of the screen that is in front of a code unit of the field's text. It never falls from one unit to the next. */
    private fun lastCaret(unit: Int): Int = places[unit].let { if (it < 0) it.inv() else it }

    /** Where a caret of the screen is in the field's text: it was shifted by all that others wrote. */
    fun place(caret: Int): Int = places.indices.find { lastCaret(it) >= caret } ?: places.size

    /** Others' words came into the field's text. Carets are shifted by it as [TextBinding.shifted] says. */
    fun absorbed(splice: TextSplice) {
        val end = splice.index + splice.delete
        val caret =
            when {
                splice.delete > 0 -> lastCaret(end - 1)
                splice.index < places.size -> lastCaret(splice.index)
                else -> text.length
            }
        val come = IntArray(splice.insert.length) { caret.inv() }
        places = places.copyOf(splice.index) + come + places.copyOfRange(end, places.size)
    }

    /**
     * The keyboard made the screen show this: what it means for the field's text, one replacement after the other. What others took away
     * is gone already, and what they wrote stays, in front of or behind what was typed, or after it if it was in the midst of what the
     * keyboard replaced.
     */
    fun edited(text: String, caret: Int): List<TextSplice> {
        val splice = TextBinding.difference(this.text, text, caret) ?: return listOf()
        val (start, end) = splice.index to splice.index + splice.delete
        val moved = splice.insert.length - splice.delete
        // What is left of what the keyboard replaced. What was typed comes in its place.
        val left = places.indices.filter { places[it] in start until end }
        val at = left.firstOrNull() ?: place(start)

        val before = (0 until at).map { if (places[it] < 0) minOf(lastCaret(it), start).inv() else places[it] }
        val typed = start until start + splice.insert.length
        val after =
            (at until places.size).filter { places[it] !in start until end }.map {
                if (places[it] < 0) (maxOf(lastCaret(it), end) + moved).inv() else places[it] + moved
            }
        places = (before + typed + after).toIntArray()
        this.text = text

        // From the end, so that each index holds when its turn comes.
        val runs = runs(left)
        val first = TextSplice(at, runs.firstOrNull()?.count() ?: 0, splice.insert)
        val splices = runs.drop(1).reversed().map { TextSplice(it.first, it.count(), "") } + first
        return splices.filter { it.delete > 0 || it.insert.isNotEmpty() }
    }

    companion object {
        /** On top of which of these screens, oldest first, the keyboard made [text]: null if it was the field's text, [now]. */
        fun under(screens: List<LateScreen>, now: String, text: String, caret: Int): LateScreen? {
            fun distance(from: String) = TextBinding.difference(from, text, caret)?.let { it.delete + it.insert.length } ?: 0
            val nearest = screens.asReversed().minByOrNull { distance(it.text) }
            return nearest?.takeIf { distance(it.text) < distance(now) }
        }

        /** Ascending numbers as ranges without gaps. */
        private fun runs(units: List<Int>): List<IntRange> {
            val runs = mutableListOf<IntRange>()
            for (unit in units) {
                val last = runs.lastOrNull()
                if (last != null && last.last == unit - 1) runs[runs.lastIndex] = last.first..unit else runs += unit..unit
            }
            return runs
        }
    }
}
