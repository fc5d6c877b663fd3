package dinh.model

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** A number of a month. */
@Serializable
public enum class DigestCount {
    /** The round of the draft. */
    @SerialName("round")
    ROUND,

    /** How many read it. */
    @SerialName("read")
    READ,

    /** How many should. */
    @SerialName("members")
    MEMBERS,

    /** How many were at the meeting. */
    @SerialName("present")
    PRESENT,

    /** Votes for the resolution. */
    @SerialName("yes")
    YES,

    /** Whom votes are counted against. */
    @SerialName("base")
    BASE,

    /** Feedback that is not answered. */
    @SerialName("open_feedback")
    OPEN_FEEDBACK,

    /** Tasks and feedback after their day. */
    @SerialName("overdue")
    OVERDUE,
}

/** One month of a branch. */
@Serializable
public data class DigestMonth(
    /**
     * Where the resolution stands, or the minutes in a month without one: the word of a [ResolutionState] or [MinutesState] as documents
     * have it (`tabled`), or `disputed`.
     */
    public val state: String?,
    /** The numbers that are known. */
    public val counts: Map<DigestCount, @Serializable(with = CountSerializer::class) Int>,
    /** When it was written last, by that device's clock: milliseconds since 1970. */
    @SerialName("updated_at") public val updatedAt: Long?,
)

/** What reviewers see of a branch, as it is now. */
@Serializable
public data class Digest(
    /** What the branch is called. */
    public val branch: Register<String>,
    /** Its months, by `YYYY-MM`. */
    public val months: Map<String, DigestMonth>,
)

/** A digest with the branch that it is of. */
@Serializable
public data class BranchDigest(
    /** The branch. */
    public val id: String,
    /** Its digest. */
    public val digest: Digest,
)

internal object BranchDigestSerializer : TupleSerializer<BranchDigest>(BranchDigest.serializer(), "id", "digest")
