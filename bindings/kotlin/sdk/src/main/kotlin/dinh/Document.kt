package dinh

import dinh.ffi.Write
import kotlinx.coroutines.flow.Flow

/** What happens to a [Document]. */
public sealed interface DocumentEvent {
    /** The document is this now. [resync]: changes were left out since the last event. */
    public data class Snapshot(public val value: Value, public val heads: List<String>, public val resync: Boolean) :
        DocumentEvent

    /** It changed; the patches turn what was shown into what is. */
    public data class Changed(public val patches: List<Patch>, public val isLocal: Boolean) : DocumentEvent

    /** It cannot be read now: it is locked, or the client is. A snapshot follows when it can. */
    public data class Unavailable(public val detail: String) : DocumentEvent
}

/** One of several values that were written to the same place without knowing of each other. */
public data class Conflict(public val value: Value, public val member: String?)

/** A change of a document's history. [timeSeconds] is by the clock of the device that made it: advisory. */
public data class Change(
    public val hash: String,
    public val member: String?,
    public val timeSeconds: Long,
    public val message: String?,
    public val parents: List<String>,
)

/** Which ends of a mark grow with what is typed there. */
public enum class MarkExpand {
    /** Neither: links, anchors of comments. */
    NEITHER,

    /** What is typed before its first character. */
    BEFORE,

    /** What is typed after its last character: bold, italic. */
    AFTER,

    /** Both. */
    BOTH,
}

/** What one edit writes; see [Document.edit]. Nothing is written before the block ends. */
public class Edit internal constructor() {
    internal val writes = mutableListOf<Write>()

    /** Writes a value to a key or element: a [Value], or what [Value.of] takes. A `String` is replaced as a whole; see [text]. */
    public fun put(path: Path, value: Any?) {
        writes += Write.Put(path.toFfi(), Value.of(value).toFfi())
    }

    /** Writes a new text that merges letter by letter. */
    public fun text(path: Path, value: String = "") {
        writes += Write.Put(path.toFfi(), Value.Text(value).toFfi())
    }

    /** Inserts into a list, before the element at [index]. */
    public fun insert(list: Path, index: Int, value: Any?) {
        writes += Write.Insert(list.toFfi(), units(index), Value.of(value).toFfi())
    }

    /** Appends to a list. */
    public fun push(list: Path, value: Any?) {
        writes += Write.Push(list.toFfi(), Value.of(value).toFfi())
    }

    /** Deletes a key or an element. */
    public fun delete(path: Path) {
        writes += Write.Delete(path.toFfi())
    }

    /** Replaces [delete] code units of a text at [index]. */
    public fun splice(text: Path, index: Int, delete: Int, insert: String) {
        writes += Write.SpliceText(text.toFfi(), TextSplice(index, delete, insert).toFfi())
    }

    /** Makes a text be [value] by writing only what differs. It must come from the text as it is now. */
    public fun setText(text: Path, value: String) {
        writes += Write.SetText(text.toFfi(), value)
    }

    /** Gives a range of a text a mark. */
    public fun mark(text: Path, range: IntRange, name: String, value: Any?, expand: MarkExpand = MarkExpand.AFTER) {
        val mark = Mark(range.first, range.last + 1, name, Value.of(value))
        writes += Write.Mark(text.toFfi(), mark.toFfi(), dinh.ffi.MarkExpand.valueOf(expand.name))
    }

    /** Removes the marks of a name from a range. */
    public fun unmark(text: Path, range: IntRange, name: String) {
        writes += Write.Unmark(text.toFfi(), units(range.first), units(range.last + 1), name)
    }
}

/** A place in a text that moves with the letters around it. */
public class Cursor internal constructor(internal val bytes: ByteArray) {
    /** For keeping it elsewhere. */
    public fun toByteArray(): ByteArray = bytes.copyOf()

    public companion object {
        /** What [toByteArray] gave. */
        public fun of(bytes: ByteArray): Cursor = Cursor(bytes.copyOf())
    }
}

/** A document of maps, lists, scalars and texts that merge. A light handle: it holds nothing and need not be closed. */
public class Document internal constructor(internal val client: Client, public val id: String) {
    /**
     * Edits the document: what [block] writes becomes one change, on disk when this returns. Gives the change's hash, or null if
     * nothing differs. [message] is kept with it.
     */
    public suspend fun edit(message: String? = null, block: Edit.() -> Unit): String? {
        val edit = Edit().apply(block)
        return native { client.ffi.write(id, edit.writes, message) }
    }

    /** What is at a path, with everything below it; null if there is nothing. */
    public suspend fun get(path: Path = Path.root): Value? = native { client.ffi.value(id, path.toFfi()) }?.toPublic()

    /** The document as it was at these heads. */
    public suspend fun getAt(heads: List<String>, path: Path = Path.root): Value? =
        native { client.ffi.valueAt(id, heads, path.toFfi()) }?.toPublic()

    /** The marks of a text. */
    public suspend fun marks(text: Path): List<Mark> = native { client.ffi.marks(id, text.toFfi()) }.map { it.toPublic() }

    /** All values that stand at a place, the one that is shown first. */
    public suspend fun conflicts(path: Path): List<Conflict> =
        native { client.ffi.conflicts(id, path.toFfi()) }.map { Conflict(it.value.toPublic(), it.member) }

    /** A place in a text that moves with the letters around it. */
    public suspend fun cursor(text: Path, index: Int): Cursor =
        Cursor(native { client.ffi.cursor(id, text.toFfi(), units(index)) })

    /** Where a cursor's place is now. */
    public suspend fun index(text: Path, cursor: Cursor): Int =
        native { client.ffi.cursorIndex(id, text.toFfi(), cursor.bytes) }.toInt()

    /** The heads of the document. */
    public suspend fun heads(): List<String> = native { client.ffi.heads(id) }

    /** The changes of the document, oldest first. */
    public suspend fun history(): List<Change> =
        native { client.ffi.history(id) }.map { Change(it.hash, it.member, it.timeS, it.message, it.parents) }

    /** What happens to the document: all of it first, then what changes. Ends when the client is closed. */
    public val events: Flow<DocumentEvent> =
        pull({ client.ffi.documentStream(id) }, { it.next()?.toPublic() }, { it.cancel() })

    /** Closes the document to save memory; the next use opens it again. */
    public suspend fun unload(): Unit = native { client.ffi.closeDocument(id) }
}

private fun dinh.ffi.DocumentEvent.toPublic(): DocumentEvent =
    when (this) {
        is dinh.ffi.DocumentEvent.Snapshot -> DocumentEvent.Snapshot(value.toPublic(), heads, resync)
        is dinh.ffi.DocumentEvent.Changed -> DocumentEvent.Changed(patches.map { it.toPublic() }, isLocal)
        is dinh.ffi.DocumentEvent.Unavailable -> DocumentEvent.Unavailable(detail)
    }
