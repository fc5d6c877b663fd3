package dinh.model

import dinh.Path
import dinh.TextRange
import kotlinx.serialization.KSerializer
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.descriptors.SerialDescriptor
import kotlinx.serialization.encoding.Decoder
import kotlinx.serialization.encoding.Encoder
import kotlinx.serialization.json.JsonDecoder
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonEncoder
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive

/** What a block may be. An app may have words of its own: [Block.kind] is any string. */
public object BlockKinds {
    /** What the recorder tells. */
    public const val NARRATION: String = "narration"

    /** A report that somebody gave. */
    public const val REPORT: String = "report"

    /** What somebody said. */
    public const val SPEECH: String = "speech"

    /** What the chair concluded. */
    public const val CONCLUSION: String = "conclusion"

    /** A paragraph of a resolution. */
    public const val PARAGRAPH: String = "paragraph"

    /** An item of a list in a resolution. */
    public const val ITEM: String = "item"
}

/** A stretch of prose with who said it. */
@Serializable
public data class Block(
    /** Its id. */
    public val id: String,
    /** What it is: one of [BlockKinds], or an app's word. */
    public val kind: Register<String>,
    /** What it says. To be typed in where [textPath] says. */
    public val text: String,
    /** Whose words these are: a member. */
    public val speaker: Register<String>,
    /** The language in which it was said, ISO 639; nothing if Vietnamese. */
    public val language: Register<String>,
    /** Who interpreted it: a member. */
    public val interpreter: Register<String>,
    /** Whether it is left out. */
    public val hidden: Register<Boolean>,
    /** Where it stands among the blocks of its section: a sort key. */
    public val order: Register<String>,
    /** The section that it is in. */
    public val section: Register<String>,
) {
    /** Whether it is left out. */
    public val isHidden: Boolean
        get() = hidden.value == true

    /** Where its text is in the document: for `document.bindText(block.textPath)`. */
    public val textPath: Path
        get() = Path("blocks", id, "text")
}

/** A section with the blocks that are shown in it. */
@Serializable
public data class OutlineSection(
    /** Its id. */
    public val id: String,
    /** Its heading. To be typed in where [headingPath] says. */
    public val heading: String,
    /** Where it stands among the sections: a sort key. */
    public val order: Register<String>,
    /** What is in it, in order. */
    public val blocks: List<Block>,
) {
    /** Where its heading is in the document: for `document.bindText(section.headingPath)`. */
    public val headingPath: Path
        get() = Path("sections", id, "heading")
}

/** The prose of minutes or a resolution, as it is shown. */
@Serializable
public data class Outline(
    /** In order. */
    public val sections: List<OutlineSection>,
    /** Blocks that are left out, or whose section is gone. What people write into them is not lost. */
    public val hidden: List<Block>,
) {
    /** A block that is shown or left out; null if there is none. */
    public fun block(id: String): Block? =
        sections.firstNotNullOfOrNull { section -> section.blocks.find { it.id == id } } ?: hidden.find { it.id == id }

    /** All that is shown, as plain text: a line for each heading and block that says something. */
    public val plainText: String
        get() {
            val lines = sections.flatMap { section -> listOf(section.heading) + section.blocks.map { it.text } }
            return lines.filter { it.isNotEmpty() }.joinToString("") { it + "\n" }
        }
}

/** Who does what by when, as minutes or a resolution say. */
@Serializable
public data class Assignment(
    /** Its id. */
    public val id: String,
    /** What. */
    public val task: Register<String>,
    /** Who: members. */
    public val owners: Register<List<String>>,
    /** How many or how much. */
    public val quantity: Register<String>,
    /** By when, `YYYY-MM-DD`. */
    public val due: Register<String>,
)

/** What became of a suggestion. */
@Serializable
public enum class SuggestionOutcome {
    /** It is in the text. */
    @SerialName("accepted")
    ACCEPTED,

    /** It was not taken. */
    @SerialName("declined")
    DECLINED,
}

/** Where the words are that a suggestion is about, in the text of the block as it is now. */
@Serializable(with = SuggestionPlaceSerializer::class)
public sealed interface SuggestionPlace {
    /** The stretch of the text, if it is there. */
    public val range: TextRange?

    /** There, as they were: it can be accepted. */
    public data class Here(override val range: TextRange) : SuggestionPlace

    /** There, but something else stands in it now: look, and type it. */
    public data class Changed(override val range: TextRange) : SuggestionPlace

    /** The block or the words are gone. */
    public data object Gone : SuggestionPlace {
        override val range: TextRange?
            get() = null
    }
}

/** `"gone"`, or the stretch by the name of the case: `{"here":{"start":0,"end":3}}`. */
internal object SuggestionPlaceSerializer : KSerializer<SuggestionPlace> {
    override val descriptor: SerialDescriptor = JsonElement.serializer().descriptor

    override fun deserialize(decoder: Decoder): SuggestionPlace {
        val input: JsonDecoder = decoder as? JsonDecoder ?: throw SerializationException("only JSON has suggestions")
        val found = input.decodeJsonElement()
        if (found == JsonPrimitive("gone")) return SuggestionPlace.Gone
        val place = (found as? JsonObject)?.entries?.singleOrNull()
        val (name, value) = place ?: throw SerializationException("one place of a suggestion was expected")
        val range = input.json.decodeFromJsonElement(TextRange.serializer(), value)
        return when (name) {
            "here" -> SuggestionPlace.Here(range)
            "changed" -> SuggestionPlace.Changed(range)
            else -> throw SerializationException("a place of a suggestion that is not known here: $name")
        }
    }

    override fun serialize(encoder: Encoder, value: SuggestionPlace) {
        val output: JsonEncoder = encoder as? JsonEncoder ?: throw SerializationException("only JSON has suggestions")
        fun of(name: String, range: TextRange) =
            JsonObject(mapOf(name to output.json.encodeToJsonElement(TextRange.serializer(), range)))
        val written: JsonElement =
            when (value) {
                is SuggestionPlace.Here -> of("here", value.range)
                is SuggestionPlace.Changed -> of("changed", value.range)
                is SuggestionPlace.Gone -> JsonPrimitive("gone")
            }
        output.encodeJsonElement(written)
    }
}

/** What a member proposes to change in a draft that others write. */
@Serializable
public data class Suggestion(
    /** Its id. */
    public val id: String,
    /** Whose it is: a member. */
    public val by: String,
    /** When, by that phone's clock: milliseconds since 1970. */
    public val at: Long,
    /** The block that it is about. */
    public val block: String,
    /** What stood there when it was made. */
    public val quote: String,
    /** What should stand there. */
    public val proposed: String,
    /** What became of it; nothing while nobody decided, contested if two of the committee decided differently. */
    public val outcome: Register<SuggestionOutcome>,
    /** Where it is in the block's text now. */
    public val place: SuggestionPlace,
)

/** A document as it was at some heads. */
@Serializable
public data class DocumentAtHeads(
    /** The document. */
    public val document: String,
    /** Its heads then, hashes in hex, as `document.getAt` takes them. */
    public val heads: List<String>,
)

internal object DocumentAtHeadsSerializer :
    TupleSerializer<DocumentAtHeads>(DocumentAtHeads.serializer(), "document", "heads") {
    override fun read(name: String, part: JsonElement): JsonElement = if (name == "heads") split(part, " ") else part

    override fun write(name: String, part: JsonElement): JsonElement = if (name == "heads") join(part, " ") else part
}
