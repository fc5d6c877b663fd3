package dinh.model

import kotlinx.serialization.KSerializer
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.descriptors.SerialDescriptor
import kotlinx.serialization.encoding.Decoder
import kotlinx.serialization.encoding.Encoder
import kotlinx.serialization.json.JsonDecoder
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive

/** How much a reviewer's comment weighs. */
@Serializable
public enum class CommentSeverity {
    /** It goes back without this. */
    @SerialName("must_fix")
    MUST_FIX,

    /** It could be better. */
    @SerialName("suggestion")
    SUGGESTION,

    /** It is good. */
    @SerialName("praise")
    PRAISE,

    /** The committee's answer to another comment. */
    @SerialName("reply")
    REPLY,
}

/** Words of a block. */
@Serializable
public data class BlockQuote(
    /** The block. */
    public val block: String,
    /** What stands there. */
    public val quote: String,
)

internal object BlockQuoteSerializer : TupleSerializer<BlockQuote>(BlockQuote.serializer(), "block", "quote")

/** What a reviewer says of a round, or the committee answers. */
@Serializable
public data class ReviewComment(
    /** Its id. */
    public val id: String,
    /** Whose it is: a member, of the branch or of the upper body. */
    public val by: String,
    /** When, by that phone's clock: milliseconds since 1970. */
    public val at: Long,
    /** The round that it is about. */
    @Serializable(with = CountSerializer::class) public val round: Int,
    /** How much it weighs. */
    public val severity: CommentSeverity,
    /** What it is about, if it is about a block. */
    @Serializable(with = BlockQuoteSerializer::class) public val quote: BlockQuote?,
    /** The comment that it answers. */
    public val answers: String?,
    /** What it says. */
    public val text: String,
)

/** Where the review of the newest round stands. */
@Serializable(with = ReviewStateSerializer::class)
public sealed interface ReviewState {
    /** The round that it is about, from 1; 0 if nobody asked. */
    public val round: Int

    /** Nobody asked. */
    public data object NotRequested : ReviewState {
        override val round: Int
            get() = 0
    }

    /** The branch asked for a review of this round. */
    public data class Requested(override val round: Int) : ReviewState

    /** Reviewers said something about it. */
    public data class Commented(override val round: Int) : ReviewState

    /** It goes back. */
    public data class Returned(override val round: Int) : ReviewState

    /** Nothing stands against it. */
    public data class Cleared(override val round: Int) : ReviewState
}

/** `"none"`, or the round by the name of the state: `{"requested":1}`. */
internal object ReviewStateSerializer : KSerializer<ReviewState> {
    override val descriptor: SerialDescriptor = JsonElement.serializer().descriptor

    override fun deserialize(decoder: Decoder): ReviewState {
        val input: JsonDecoder = decoder as? JsonDecoder ?: throw SerializationException("only JSON has reviews")
        val found = input.decodeJsonElement()
        if (found == JsonPrimitive("none")) return ReviewState.NotRequested
        val state = (found as? JsonObject)?.entries?.singleOrNull()
        val (name, value) = state ?: throw SerializationException("one state of a review was expected")
        val round = input.json.decodeFromJsonElement(CountSerializer, value)
        return when (name) {
            "requested" -> ReviewState.Requested(round)
            "commented" -> ReviewState.Commented(round)
            "returned" -> ReviewState.Returned(round)
            "cleared" -> ReviewState.Cleared(round)
            else -> throw SerializationException("a state of a review that is not known here: $name")
        }
    }

    override fun serialize(encoder: Encoder, value: ReviewState) {
        val name =
            when (value) {
                is ReviewState.NotRequested -> null
                is ReviewState.Requested -> "requested"
                is ReviewState.Commented -> "commented"
                is ReviewState.Returned -> "returned"
                is ReviewState.Cleared -> "cleared"
            }
        val round = JsonPrimitive(value.round)
        val written = if (name == null) JsonPrimitive("none") else JsonObject(mapOf(name to round))
        encoder.encodeSerializableValue(JsonElement.serializer(), written)
    }
}

/** The steps in the life of a review, for `ReviewDocument.stepReview`. */
public object ReviewSteps {
    /** The branch asks for a review of a round. `Branch.openRound` does it. */
    public const val REQUESTED: String = "requested"

    /** Reviewers said something about the round that was asked for last. */
    public const val COMMENTED: String = "commented"

    /** It goes back. */
    public const val RETURNED: String = "returned"

    /** Nothing stands against it. */
    public const val CLEARED: String = "cleared"
}

/** What reviewers of an upper body say about a resolution, round by round, as it is now. */
@Serializable
public data class Review(
    /** The resolution that is reviewed. */
    public val subject: Register<String>,
    /** The body through which its remarks went to the branch, if they did not go directly. */
    public val via: Register<String>,
    /** Oldest first. */
    public val comments: List<ReviewComment>,
    /** Where it stands, for the newest round that was asked for. */
    public val life: Life<ReviewState>,
)
