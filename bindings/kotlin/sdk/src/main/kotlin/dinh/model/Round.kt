package dinh.model

import kotlinx.serialization.Serializable
import kotlinx.serialization.json.JsonElement

/** A block of a frozen round. */
@Serializable
public data class RoundBlock(
    /** The id of the block in the resolution. */
    public val id: String,
    /** What it says. */
    public val text: String,
)

internal object RoundBlockSerializer : TupleSerializer<RoundBlock>(RoundBlock.serializer(), "id", "text")

/** A section of a frozen round. */
@Serializable
public data class RoundSection(
    /** Its heading. */
    public val heading: String,
    /** What is in it, in order. */
    public val blocks: List<@Serializable(with = RoundBlockSerializer::class) RoundBlock>,
)

/** Who does what by when, as a frozen round shows it. */
@Serializable
public data class RoundAssignment(
    /** What. */
    public val task: String,
    /** Who: members. */
    public val owners: List<String>,
    /** How many or how much. */
    public val quantity: String,
    /** By when, `YYYY-MM-DD`. */
    public val due: String,
)

internal object RoundAssignmentSerializer :
    TupleSerializer<RoundAssignment>(RoundAssignment.serializer(), "task", "owners", "quantity", "due") {
    override fun read(name: String, part: JsonElement): JsonElement = if (name == "owners") split(part, ",") else part

    override fun write(name: String, part: JsonElement): JsonElement = if (name == "owners") join(part, ",") else part
}

/** A round of a consultation as reviewers read it. It never changes. */
@Serializable
public data class Round(
    /** The resolution. */
    public val subject: String,
    /** Which round, from 1. */
    @Serializable(with = CountSerializer::class) public val round: Int,
    /** The heads of the resolution that it shows, hashes in hex. */
    public val heads: List<String>,
    /** The parts of the head, what it rests on, and the words that enact it, one a line. */
    public val preamble: List<String>,
    /** The prose. */
    public val sections: List<RoundSection>,
    /** Who does what by when. */
    public val assignments: List<@Serializable(with = RoundAssignmentSerializer::class) RoundAssignment>,
)
