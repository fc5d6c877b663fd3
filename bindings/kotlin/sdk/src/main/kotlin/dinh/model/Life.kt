package dinh.model

import dinh.Value
import dinh.string
import kotlinx.serialization.KSerializer
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.builtins.serializer
import kotlinx.serialization.descriptors.SerialDescriptor
import kotlinx.serialization.encoding.Decoder
import kotlinx.serialization.encoding.Encoder
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonDecoder
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonEncoder
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.jsonArray

/** An event of a document's life, as somebody wrote it. Whether it counts, [Life] says. */
@Serializable
public data class LifeEvent(
    /** Its id in the document. */
    public val id: String,
    /**
     * What happened: one of [MinutesSteps], [ResolutionSteps], [ReviewSteps] or [FeedbackSteps], `resolve`, or a newer app's word.
     */
    public val kind: String,
    /** The member who says so. That the device is this member's, every device has checked. */
    public val by: String,
    /** When, by that device's clock: milliseconds since 1970. Advisory: the order comes from [after]. */
    public val at: Long,
    /** The events that its writer had seen and nothing there followed. */
    public val after: List<String>,
    /** What belongs to it. Texts are [Value.Str], times [Value.Integer]: milliseconds since 1970. */
    public val data: Map<String, @Serializable(with = ValueSerializer::class) Value>,
) {
    /** A text among its data; null if there is none or it is blank. */
    public fun text(key: String): String? = data[key].string?.takeIf { it.isNotBlank() }
}

/** Where a document stands in its life. */
public sealed interface LifeStatus<out S> {
    /** Here. */
    public data class At<out S>(public val state: S) : LifeStatus<S>

    /**
     * People who were apart took steps that contradict each other. Nothing goes on before somebody who may chooses one: see the
     * `resolve` of the document.
     */
    public data class Disputed<out S>(public val sides: List<Side<S>>) : LifeStatus<S>

    /** A step in a dispute. */
    public data class Side<out S>(
        /** The event that says so. */
        public val event: String,
        /** Where it leads. */
        public val state: S,
    )
}

/** Why an event does not count. It is kept all the same, and shown. */
public sealed interface NotCounted {
    /** No such step leads on from the state that it was made in. [from]: that state, by the native library's name, for logs. */
    public data class Step(public val from: String) : NotCounted

    /** What must come with it is missing or wrong. [what]: what that is, in English. */
    public data class Missing(public val what: String) : NotCounted

    /** It was made in a dispute and does not settle it. */
    public data object Disputed : NotCounted

    /** It settles no dispute, or chooses what is not disputed. */
    public data object NothingToSettle : NotCounted

    /** Its past leads back to itself. */
    public data object Circular : NotCounted
}

/** What the events of a document (or a thread) add up to: the same on every device that has them all. */
@Serializable(with = LifeSerializer::class)
public data class Life<S>(
    /** Where it stands. */
    public val status: LifeStatus<S>,
    /** The events that count, each after its own past. */
    public val counted: List<String>,
    /** The events that do not, by id: another app, or a phone that was away, may have written them. */
    public val notCounted: Map<String, NotCounted>,
    /** Events whose past is not here yet: others may know more. */
    public val waiting: Set<String>,
    /** The events that nothing follows. */
    public val heads: List<String>,
) {
    /** The state; null while it is disputed. */
    public val state: S?
        get() =
            when (status) {
                is LifeStatus.At -> status.state
                is LifeStatus.Disputed -> null
            }
}

/** [Life] as the native library writes it, its state not read yet. */
@Serializable
internal data class LifeJson(
    val status: JsonObject,
    val counted: List<String>,
    @SerialName("not_counted") val notCounted: Map<String, NotCountedJson>,
    val waiting: Set<String>,
    val heads: List<String>,
)

@Serializable
internal data class NotCountedJson(val why: String, val from: String? = null, val what: String? = null)

internal class LifeSerializer<S>(private val state: KSerializer<S>) : KSerializer<Life<S>> {
    override val descriptor: SerialDescriptor = LifeJson.serializer().descriptor

    override fun deserialize(decoder: Decoder): Life<S> {
        val input: JsonDecoder = decoder as? JsonDecoder ?: throw SerializationException("only JSON has lives")
        val json = input.json
        val read = input.decodeSerializableValue(LifeJson.serializer())
        val notCounted = read.notCounted.mapValues { reason(it.value) }
        return Life(status(json, read.status), read.counted, notCounted, read.waiting, read.heads)
    }

    private fun status(json: Json, found: JsonObject): LifeStatus<S> {
        val (name, value) = found.entries.singleOrNull() ?: throw SerializationException("one status was expected")
        return when (name) {
            "in" -> LifeStatus.At(json.decodeFromJsonElement(state, value))
            "disputed" -> LifeStatus.Disputed(value.jsonArray.map { side(json, it) })
            else -> throw SerializationException("a status that is neither a state nor disputed")
        }
    }

    private fun side(json: Json, pair: JsonElement): LifeStatus.Side<S> {
        val parts = pair.jsonArray
        if (parts.size != 2) throw SerializationException("a list of 2 was expected")
        return LifeStatus.Side(
            json.decodeFromJsonElement(String.serializer(), parts[0]),
            json.decodeFromJsonElement(state, parts[1]),
        )
    }

    private fun reason(found: NotCountedJson): NotCounted =
        when (found.why) {
            "step" -> NotCounted.Step(found.from ?: throw SerializationException("the state is missing"))
            "guard" -> NotCounted.Missing(found.what ?: throw SerializationException("what is missing is missing"))
            "disputed" -> NotCounted.Disputed
            "nothing_to_settle" -> NotCounted.NothingToSettle
            "circular" -> NotCounted.Circular
            else -> throw SerializationException("a reason that is not known here: ${found.why}")
        }

    override fun serialize(encoder: Encoder, value: Life<S>) {
        val output: JsonEncoder = encoder as? JsonEncoder ?: throw SerializationException("only JSON has lives")
        val json = output.json
        val status: Pair<String, JsonElement> =
            when (val stands = value.status) {
                is LifeStatus.At -> "in" to json.encodeToJsonElement(state, stands.state)
                is LifeStatus.Disputed -> "disputed" to JsonArray(stands.sides.map { pair(json, it) })
            }
        val notCounted = value.notCounted.mapValues { written(it.value) }
        val life = LifeJson(JsonObject(mapOf(status)), value.counted, notCounted, value.waiting, value.heads)
        output.encodeSerializableValue(LifeJson.serializer(), life)
    }

    private fun pair(json: Json, side: LifeStatus.Side<S>): JsonElement =
        JsonArray(listOf(JsonPrimitive(side.event), json.encodeToJsonElement(state, side.state)))

    private fun written(why: NotCounted): NotCountedJson =
        when (why) {
            is NotCounted.Step -> NotCountedJson("step", from = why.from)
            is NotCounted.Missing -> NotCountedJson("guard", what = why.what)
            is NotCounted.Disputed -> NotCountedJson("disputed")
            is NotCounted.NothingToSettle -> NotCountedJson("nothing_to_settle")
            is NotCounted.Circular -> NotCountedJson("circular")
        }
}
