package dinh.model

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** What somebody votes on a phone. */
@Serializable
public enum class BallotChoice {
    /** For it. */
    @SerialName("yes")
    YES,

    /** Against it. */
    @SerialName("no")
    NO,

    /** Neither. */
    @SerialName("abstain")
    ABSTAIN,
}

/** What was counted when a question was closed. */
@Serializable
public data class ClosedQuestion(
    /** What was counted. */
    public val tally: VoteTally,
    /** How many ballots. */
    @Serializable(with = CountSerializer::class) public val voters: Int,
    /** Who closed it: a member. */
    public val by: String,
    /** When, by that phone's clock: milliseconds since 1970. */
    public val at: Long,
)

/** A question that is voted on phones, as it is now. */
@Serializable
public data class Question(
    /** Its id. */
    public val id: String,
    /** What is asked. */
    public val title: String,
    /** Since when, by the phone's clock that asked: milliseconds since 1970. */
    public val at: Long,
    /** Who voted what, by member. Of two of one member's phones, the one that is shown counts. */
    public val ballots: Map<String, Register<BallotChoice>>,
    /** What was counted when it was closed; nothing while it is open. Ballots that come later change nothing. */
    public val closed: Register<ClosedQuestion>,
) {
    /** Whether it is open. */
    public val isOpen: Boolean
        get() = closed.value == null
}
