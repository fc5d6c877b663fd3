package dinh

import dinh.ffi.Action as FfiAction
import dinh.ffi.Step as FfiStep
import dinh.ffi.Value as FfiValue

/**
 * A value of a document, with everything below it.
 *
 * The difference between [Str] and [Text] matters when people write at the same time: of two writers of a [Str] one wins, two
 * writers of a [Text] merge letter by letter.
 */
public sealed interface Value {
    /** Nothing. */
    public data object Null : Value

    /** True or false. */
    public data class Bool(public val value: Boolean) : Value

    /** A whole number. */
    public data class Integer(public val value: Long) : Value

    /** A whole number beyond [Long.MAX_VALUE], as other programs may have written it: its bits as a signed number. */
    public data class Unsigned(public val bits: Long) : Value

    /** A floating-point number. */
    public data class Number(public val value: Double) : Value

    /** A string that is replaced as a whole. */
    public data class Str(public val value: String) : Value

    /** Bytes that are replaced as a whole. */
    public class Bytes(public val value: ByteArray) : Value {
        override fun equals(other: Any?): Boolean = other is Bytes && value.contentEquals(other.value)

        override fun hashCode(): Int = value.contentHashCode()

        override fun toString(): String = "Bytes(${value.size})"
    }

    /** A time: milliseconds since 1970-01-01 UTC. */
    public data class Timestamp(public val millis: Long) : Value

    /** A text that merges. */
    public data class Text(public val value: String) : Value

    /** A map. */
    public data class Map(public val entries: kotlin.collections.Map<String, Value>) : Value

    /** A list. */
    public data class List(public val values: kotlin.collections.List<Value>) : Value

    public companion object {
        /** An empty map. */
        public val emptyMap: Map = Map(mapOf())

        /** An empty list. */
        public val emptyList: List = List(listOf())

        /** The value of a Kotlin value: null, Boolean, Int, Long, Double, Float, String, ByteArray, Map, Iterable, or a [Value]. */
        public fun of(value: Any?): Value =
            when (value) {
                null -> Null
                is Value -> value
                is Boolean -> Bool(value)
                is Int -> Integer(value.toLong())
                is Long -> Integer(value)
                is Double -> Number(value)
                is Float -> Number(value.toDouble())
                is String -> Str(value)
                is ByteArray -> Bytes(value)
                is kotlin.collections.Map<*, *> -> Map(value.entries.associate { it.key.toString() to of(it.value) })
                is Iterable<*> -> List(value.map { of(it) })
                else -> throw DinhException.Invalid("${value::class} is no value of a document")
            }
    }
}

/** The string or text, if it is one. */
public val Value?.string: String?
    get() =
        when (this) {
            is Value.Str -> value
            is Value.Text -> value
            else -> null
        }

/** The value at a key of a map, if it is one and has it. */
public operator fun Value?.get(key: String): Value? = (this as? Value.Map)?.entries?.get(key)

/** The element of a list, if it is one and has it. */
public operator fun Value?.get(index: Int): Value? = (this as? Value.List)?.values?.getOrNull(index)

/**
 * Where a value is: keys of maps and indexes of lists from the document's root, `Path("sections", 0, "heading")`. Paths are
 * positions, not identities: an index names another element after somebody inserts before it.
 */
public class Path(vararg steps: Any) {
    /** Strings and Ints. */
    public val steps: List<Any> = steps.toList()

    init {
        for (step in this.steps) {
            if (step !is String && !(step is Int && step >= 0)) {
                throw DinhException.Invalid("$step is neither a key nor an index from 0")
            }
        }
    }

    /** This path with one more step. */
    public operator fun plus(step: Any): Path = Path(*steps.toTypedArray(), step)

    override fun equals(other: Any?): Boolean = other is Path && steps == other.steps

    override fun hashCode(): Int = steps.hashCode()

    override fun toString(): String = steps.joinToString("/", "/")

    public companion object {
        /** The document's root. */
        public val root: Path = Path()
    }
}

internal fun Path.toFfi(): List<FfiStep> =
    steps.map { if (it is Int) FfiStep.Index(it.toUInt()) else FfiStep.Key(it as String) }

internal fun List<FfiStep>.toPath(): Path = Path(*map { it.toAny() }.toTypedArray())

internal fun FfiStep.toAny(): Any =
    when (this) {
        is FfiStep.Index -> index.toInt()
        is FfiStep.Key -> key
    }

internal fun FfiValue.toPublic(): Value =
    when (this) {
        is FfiValue.Null -> Value.Null
        is FfiValue.Bool -> Value.Bool(value)
        is FfiValue.Int -> Value.Integer(value)
        is FfiValue.Uint -> Value.Unsigned(value.toLong())
        is FfiValue.Float -> Value.Number(value)
        is FfiValue.Str -> Value.Str(value)
        is FfiValue.Bytes -> Value.Bytes(value)
        is FfiValue.Timestamp -> Value.Timestamp(millis)
        is FfiValue.Text -> Value.Text(value)
        is FfiValue.MapValue -> Value.Map(entries.mapValues { it.value.toPublic() })
        is FfiValue.ListValue -> Value.List(values.map { it.toPublic() })
    }

internal fun Value.toFfi(): FfiValue =
    when (this) {
        is Value.Null -> FfiValue.Null
        is Value.Bool -> FfiValue.Bool(value)
        is Value.Integer -> FfiValue.Int(value)
        is Value.Unsigned -> FfiValue.Uint(bits.toULong())
        is Value.Number -> FfiValue.Float(value)
        is Value.Str -> FfiValue.Str(value)
        is Value.Bytes -> FfiValue.Bytes(value)
        is Value.Timestamp -> FfiValue.Timestamp(millis)
        is Value.Text -> FfiValue.Text(value)
        is Value.Map -> FfiValue.MapValue(entries.mapValues { it.value.toFfi() })
        is Value.List -> FfiValue.ListValue(values.map { it.toFfi() })
    }

/** A stretch of text with a property, such as bold. Indexes are UTF-16 code units, as in Kotlin strings. */
public data class Mark(public val start: Int, public val end: Int, public val name: String, public val value: Value)

/** UTF-16 code units of a text that are replaced. */
public data class TextSplice(public val index: Int, public val delete: Int, public val insert: String)

/** One step that turns what is shown of a document into what it is now. Apply patches in their order. */
public data class Patch(
    /** The map, list or text that changes, where it is once all patches before this one are applied. */
    public val path: Path,
    /** What happens in it. */
    public val action: Action,
)

/** What happens in the container of a [Patch]. A new map, list or text arrives empty; later patches fill it. */
public sealed interface Action {
    /** A key (String) or element (Int) has this value now. [conflict]: other values stand there too. */
    public data class Put(public val step: Any, public val value: Value, public val conflict: Boolean) : Action

    /** Elements were inserted into a list. */
    public data class Insert(public val index: Int, public val values: List<Value>) : Action

    /** Characters were inserted into a text. */
    public data class SpliceText(public val index: Int, public val value: String) : Action

    /** A key is gone from a map. */
    public data class DeleteKey(public val key: String) : Action

    /** Elements are gone from a list, or code units from a text. */
    public data class Delete(public val index: Int, public val count: Int) : Action

    /** The marks of a text are exactly these from now on. */
    public data class Marks(public val marks: List<Mark>) : Action

    /** The value shown is the same, but other values stand beside it now, or no more. */
    public data class Conflict(public val step: Any, public val conflict: Boolean) : Action
}

internal fun dinh.ffi.Mark.toPublic(): Mark = Mark(start.toInt(), end.toInt(), name, value.toPublic())

internal fun Mark.toFfi(): dinh.ffi.Mark = dinh.ffi.Mark(units(start), units(end), name, value.toFfi())

internal fun dinh.ffi.TextSplice.toPublic(): TextSplice = TextSplice(index.toInt(), delete.toInt(), insert)

internal fun TextSplice.toFfi(): dinh.ffi.TextSplice = dinh.ffi.TextSplice(units(index), units(delete), insert)

/** An index or a length for the native library. */
internal fun units(n: Int): UInt =
    if (n >= 0) n.toUInt() else throw DinhException.Invalid("$n is negative; indexes and lengths begin at 0")

internal fun dinh.ffi.Patch.toPublic(): Patch = Patch(path.toPath(), action.toPublic())

private fun FfiAction.toPublic(): Action =
    when (this) {
        is FfiAction.Put -> Action.Put(step.toAny(), value.toPublic(), conflict)
        is FfiAction.Insert -> Action.Insert(index.toInt(), values.map { it.toPublic() })
        is FfiAction.SpliceText -> Action.SpliceText(index.toInt(), value)
        is FfiAction.DeleteKey -> Action.DeleteKey(key)
        is FfiAction.Delete -> Action.Delete(index.toInt(), count.toInt())
        is FfiAction.Marks -> Action.Marks(marks.map { it.toPublic() })
        is FfiAction.Conflict -> Action.Conflict(step.toAny(), conflict)
    }
