package dinh.model

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** What a thread of feedback is. */
@Serializable
public enum class FeedbackKind {
    /** About a draft. */
    @SerialName("draft_comment")
    DRAFT_COMMENT,

    /** Something is asked. */
    @SerialName("question")
    QUESTION,

    /** Something is asked for. */
    @SerialName("petition")
    PETITION,

    /** Something is reported in confidence: in a mailbox only. */
    @SerialName("confidential_report")
    CONFIDENTIAL_REPORT,

    /** An opinion that lost a vote and that its author keeps: in a mailbox only. */
    @SerialName("reserved_opinion")
    RESERVED_OPINION,

    /** About oneself. */
    @SerialName("self_criticism")
    SELF_CRITICISM,
}

/** Where a thread is in its life. */
@Serializable
public enum class FeedbackState {
    /** It was said. */
    @SerialName("submitted")
    SUBMITTED,

    /** Somebody who must answer has read it. */
    @SerialName("acknowledged")
    ACKNOWLEDGED,

    /** It is being dealt with. */
    @SerialName("in_progress")
    IN_PROGRESS,

    /** It was handed to the upper body. */
    @SerialName("forwarded")
    FORWARDED,

    /** It was answered. */
    @SerialName("answered")
    ANSWERED,

    /** Its author is not content with the answer. */
    @SerialName("reopened")
    REOPENED,

    /** It is over. */
    @SerialName("closed")
    CLOSED,

    /** It will not be dealt with, and its author was told why. */
    @SerialName("declined")
    DECLINED,

    /** Its author took it back. */
    @SerialName("withdrawn")
    WITHDRAWN,
    ;

    /** Whether its author has an answer, or took it back. */
    public val isAnswered: Boolean
        get() = this == ANSWERED || this == CLOSED || this == DECLINED || this == WITHDRAWN
}

/** The steps in the life of a thread, for `FeedbackDocument.stepThread`, and what each needs with it. */
public object FeedbackSteps {
    /** Somebody who must answer has read it: from submitted. */
    public const val ACKNOWLEDGED: String = "acknowledged"

    /** It is being dealt with: from acknowledged or reopened. */
    public const val IN_PROGRESS: String = "in_progress"

    /** Handed to the upper body: from acknowledged or in progress. Needs `to`. */
    public const val FORWARDED: String = "forwarded"

    /** Answered: from in progress or forwarded. Say the answer first. */
    public const val ANSWERED: String = "answered"

    /** Over: from answered. */
    public const val CLOSED: String = "closed"

    /** Its author is not content: from answered, by its author. */
    public const val REOPENED: String = "reopened"

    /** Taken back: from submitted, by its author. */
    public const val WITHDRAWN: String = "withdrawn"

    /** It will not be dealt with: from acknowledged. Needs `reason`. */
    public const val DECLINED: String = "declined"

    /** Another day by which it must be answered, while it is not. Needs `reason` and `due`, `YYYY-MM-DD`. It changes no state. */
    public const val EXTENDED: String = "extended"

    /** What its author thinks of the answer: while answered or closed, by its author. It changes no state. */
    public const val RATED: String = "rated"

    /** Somebody who may chose one of several events that contradict each other. Taken by `FeedbackDocument.resolve`. */
    public const val RESOLVE: String = "resolve"
}

/** Something that was said in a thread. It never changes. */
@Serializable
public data class FeedbackMessage(
    /** Its id. */
    public val id: String,
    /** The member whose device wrote it. */
    public val by: String,
    /** In whose name, if a helper wrote it down for somebody without a phone. */
    @SerialName("on_behalf_of") public val onBehalfOf: String?,
    /** When, by that phone's clock: milliseconds since 1970. */
    public val at: Long,
    /** What. */
    public val text: String,
    /** In which language, ISO 639. */
    public val language: String,
)

/** A thread of feedback as it is now. Who reads it is the audience of its document. */
@Serializable
public data class FeedbackThread(
    /** Its id. */
    public val id: String,
    /** What it is. */
    public val kind: FeedbackKind,
    /** Its title. */
    public val title: String,
    /** Whose it is: a member. */
    public val author: String,
    /** The member whose device wrote it: a helper, if its author has no phone. */
    public val by: String,
    /** When, by that phone's clock: milliseconds since 1970. */
    public val at: Long,
    /** The document, place or vote that it is about, as the app wrote it. */
    public val subject: String?,
    /** What was said, oldest first. */
    public val messages: List<FeedbackMessage>,
    /** Where it stands. */
    public val life: Life<FeedbackState>,
    /** Who of those that must answer deals with it: a member. */
    public val handler: Register<String>,
    /** By when it must be answered, `YYYY-MM-DD`, if that was said. */
    public val due: String?,
) {
    /** Whether it is unanswered after its day. [today] is `YYYY-MM-DD`. */
    public fun isOverdue(today: String): Boolean = life.state?.isAnswered != true && due != null && due < today
}
