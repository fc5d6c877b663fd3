package dinh.model

import dinh.DinhException
import dinh.Value
import java.math.BigInteger
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import kotlinx.serialization.KSerializer
import kotlinx.serialization.SerializationException
import kotlinx.serialization.builtins.ListSerializer
import kotlinx.serialization.builtins.serializer
import kotlinx.serialization.descriptors.SerialDescriptor
import kotlinx.serialization.encoding.Decoder
import kotlinx.serialization.encoding.Encoder
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.JsonTransformingSerializer
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive

/** A newer native library may say more than this one knows. */
private val format = Json { ignoreUnknownKeys = true }

/**
 * A value from the JSON of the native library. What does not read is a bug there or here. Of the decoder's message only the first
 * line is kept, and it is not a cause: the others quote the document, which has no place in a log.
 */
internal fun <T> decode(serializer: KSerializer<T>, json: String): T =
    try {
        format.decodeFromString(serializer, json)
    } catch (e: IllegalArgumentException) {
        val why = e.message?.lineSequence()?.firstOrNull()
        throw DinhException.Internal("a document of the native library does not read: $why; report this")
    }

/** The same away from the caller's thread, which may be the main one: long minutes take a while. */
internal suspend fun <T> decodeAside(serializer: KSerializer<T>, json: String): T =
    withContext(Dispatchers.Default) { decode(serializer, json) }

/** A number of things. It is what somebody wrote: one that is greater than any true one must not make the rest unreadable. */
internal object CountSerializer : KSerializer<Int> {
    override val descriptor: SerialDescriptor = Long.serializer().descriptor

    override fun deserialize(decoder: Decoder): Int = decoder.decodeLong().coerceIn(0L, Int.MAX_VALUE.toLong()).toInt()

    override fun serialize(encoder: Encoder, value: Int): Unit = encoder.encodeLong(value.toLong())
}

/** What has names here and is a list there, because the native library has a tuple. */
internal abstract class TupleSerializer<T : Any>(parts: KSerializer<T>, private vararg val names: String) :
    JsonTransformingSerializer<T>(parts) {
    override fun transformDeserialize(element: JsonElement): JsonElement {
        if (element !is JsonArray || element.size != names.size) {
            throw SerializationException("a list of ${names.size} was expected")
        }
        return JsonObject(names.indices.associate { names[it] to read(names[it], element[it]) })
    }

    override fun transformSerialize(element: JsonElement): JsonElement =
        JsonArray(names.map { write(it, element.jsonObject.getValue(it)) })

    /** What a part is here, of what it is there. */
    open fun read(name: String, part: JsonElement): JsonElement = part

    /** The way back of [read]. */
    open fun write(name: String, part: JsonElement): JsonElement = part

    /** The words of a string with signs between them, as a list. */
    protected fun split(part: JsonElement, sign: String): JsonElement {
        val words = (part as? JsonPrimitive)?.takeIf { it.isString } ?: throw SerializationException("a string was expected")
        return JsonArray(words.content.split(sign).filter { it.isNotEmpty() }.map { JsonPrimitive(it) })
    }

    /** The way back of [split]. */
    protected fun join(part: JsonElement, sign: String): JsonElement =
        JsonPrimitive(part.jsonArray.joinToString(sign) { it.jsonPrimitive.content })
}

/** What is a list of things with an id here, and a map of things by id there. Ids are as old as they are small. */
internal abstract class EntriesSerializer<T : Any>(entry: KSerializer<T>) :
    JsonTransformingSerializer<List<T>>(ListSerializer(entry)) {
    override fun transformDeserialize(element: JsonElement): JsonElement {
        val entries = element.jsonObject.entries.sortedBy { it.key }
        return JsonArray(entries.map { JsonObject(parts(it.value) + ("id" to JsonPrimitive(it.key))) })
    }

    override fun transformSerialize(element: JsonElement): JsonElement {
        val entries = element.jsonArray.map { it.jsonObject }
        return JsonObject(entries.associate { it.getValue("id").jsonPrimitive.content to entry(it - "id") })
    }

    /** What a thing has here besides its id, of what it is there. */
    open fun parts(entry: JsonElement): Map<String, JsonElement> = entry.jsonObject

    /** The way back of [parts]. */
    open fun entry(parts: Map<String, JsonElement>): JsonElement = JsonObject(parts)
}

/** The same of things that are only a text there. */
internal abstract class TextsSerializer<T : Any>(entry: KSerializer<T>) : EntriesSerializer<T>(entry) {
    override fun parts(entry: JsonElement): Map<String, JsonElement> = mapOf("text" to entry)

    override fun entry(parts: Map<String, JsonElement>): JsonElement = parts.getValue("text")
}

/** A value of a document as JSON has it: texts are strings, times numbers, bytes lists of numbers. */
internal object ValueSerializer : KSerializer<Value> {
    override val descriptor: SerialDescriptor = JsonElement.serializer().descriptor

    override fun deserialize(decoder: Decoder): Value =
        decoder.decodeSerializableValue(JsonElement.serializer()).toValue()

    override fun serialize(encoder: Encoder, value: Value): Unit =
        encoder.encodeSerializableValue(JsonElement.serializer(), value.toJson())
}

private fun JsonElement.toValue(): Value =
    when (this) {
        is JsonNull -> Value.Null
        is JsonPrimitive -> toScalar()
        is JsonArray -> Value.List(map { it.toValue() })
        is JsonObject -> Value.Map(mapValues { it.value.toValue() })
    }

private fun JsonPrimitive.toScalar(): Value {
    if (isString) return Value.Str(content)
    if (content == "true" || content == "false") return Value.Bool(content == "true")
    content.toLongOrNull()?.let { return Value.Integer(it) }
    content.toULongOrNull()?.let { return Value.Unsigned(it.toLong()) }
    return Value.Number(content.toDoubleOrNull() ?: throw SerializationException("a number does not read"))
}

private fun Value.toJson(): JsonElement =
    when (this) {
        is Value.Null -> JsonNull
        is Value.Bool -> JsonPrimitive(value)
        is Value.Integer -> JsonPrimitive(value)
        is Value.Unsigned -> JsonPrimitive(BigInteger(bits.toULong().toString()))
        is Value.Number -> if (value.isFinite()) JsonPrimitive(value) else JsonNull
        is Value.Str -> JsonPrimitive(value)
        is Value.Bytes -> JsonArray(value.map { JsonPrimitive(it.toInt() and 0xff) })
        is Value.Timestamp -> JsonPrimitive(millis)
        is Value.Text -> JsonPrimitive(value)
        is Value.Map -> JsonObject(entries.mapValues { it.value.toJson() })
        is Value.List -> JsonArray(values.map { it.toJson() })
    }
