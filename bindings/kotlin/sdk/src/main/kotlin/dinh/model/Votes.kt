package dinh.model

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** How a vote was taken. */
@Serializable
public enum class VoteMethod {
    /** Hands that were counted in the hall. */
    @SerialName("show_of_hands")
    SHOW_OF_HANDS,

    /** Slips of paper, counted by tellers: who voted how is nowhere. */
    @SerialName("secret_ballot")
    SECRET_BALLOT,

    /** On the phones. Where hands were counted too, those decide. */
    @SerialName("electronic")
    ELECTRONIC,
}

/** How many must be for a motion. */
@Serializable
public enum class VoteThreshold {
    /** More than half of the base. */
    @SerialName("more_than_half")
    MORE_THAN_HALF,

    /** Two thirds of the base. */
    @SerialName("two_thirds")
    TWO_THIRDS,
}

/** What was counted. */
@Serializable
public data class VoteTally(
    /** For. */
    @Serializable(with = CountSerializer::class) public val yes: Int,
    /** Against. */
    @Serializable(with = CountSerializer::class) public val no: Int,
    /** Neither. */
    @Serializable(with = CountSerializer::class) public val abstain: Int,
)

/** The slips of a secret ballot. */
@Serializable
public data class BallotSlips(
    /** Handed out. */
    @Serializable(with = CountSerializer::class) public val issued: Int,
    /** In the box. */
    @Serializable(with = CountSerializer::class) public val returned: Int,
    /** Of those, valid. */
    @Serializable(with = CountSerializer::class) public val valid: Int,
)

/** Why an official member is left out of the base of a vote. */
@Serializable
public enum class VoteExclusion {
    /** Freed from work and meetings, and not here. Who comes all the same is counted. */
    @SerialName("exempt_and_absent")
    EXEMPT_AND_ABSENT,

    /** Moved elsewhere for a time. */
    @SerialName("temporarily_away")
    TEMPORARILY_AWAY,

    /** Suspended from party activities. */
    @SerialName("suspended")
    SUSPENDED,

    /** Detained. */
    @SerialName("detained")
    DETAINED,

    /** Absent with a reason that was approved. */
    @SerialName("excused")
    EXCUSED,
}

/** Whom a vote is counted against, and who was left out and why. */
@Serializable
public data class VoteBase(
    /** How many. */
    @Serializable(with = CountSerializer::class) public val count: Int,
    /** The rules by which it was made. */
    public val excluding: Set<VoteExclusion>,
    /** Official members that are not in it. */
    @SerialName("left_out") public val leftOut: Map<String, VoteExclusion>,
)

/** One count of a motion. */
@Serializable
public data class Vote(
    /** Its id. */
    public val id: String,
    /** How it was taken. */
    public val method: VoteMethod,
    /** Against how many it is counted: frozen when it was written down. */
    @Serializable(with = CountSerializer::class) public val base: Int,
    /** How many of them must be for it. */
    @Serializable(with = CountSerializer::class) public val needed: Int,
    /** What was counted. */
    public val tally: VoteTally,
    /** The slips, if it was a secret ballot. */
    public val ballots: BallotSlips?,
    /** Whether it carried. */
    public val carried: Boolean,
    /** The member who wrote it down. */
    public val by: String,
    /** When, by that phone's clock: milliseconds since 1970. */
    public val at: Long,
    /** The officer who confirmed it: somebody else than [by]. Null while nobody did. */
    @SerialName("confirmed_by") public val confirmedBy: String?,
)

/** What the branch votes on. */
@Serializable
public data class Motion(
    /** Its id. */
    public val id: String,
    /** What is moved. */
    public val title: Register<String>,
    /** The document that is adopted by it, as it was debated; null if it is about none. */
    @Serializable(with = DocumentAtHeadsSerializer::class) public val subject: DocumentAtHeads?,
    /** How many must be for it. */
    public val threshold: VoteThreshold,
    /** The counts that were written down. */
    public val votes: List<Vote>,
    /** The count that an officer chose, where several were confirmed. */
    public val chosen: Register<String>,
    /**
     * The id of the count that holds: one that was confirmed, by hands before phones. Null while there is none, or several that say
     * different things and none of them is chosen.
     */
    public val holds: String?,
) {
    /** The count that [holds]. */
    public val result: Vote?
        get() = votes.find { it.id == holds }

    /** Whether counts were written down more than once and none holds: the chair confirms one, or chooses. */
    public val isCountedTwice: Boolean
        get() = votes.size > 1 && result == null
}
