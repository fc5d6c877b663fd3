package dinh.model

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** What the committee says of a task. */
@Serializable
public enum class TaskStatus {
    /** To be done. */
    @SerialName("open")
    OPEN,

    /** Done. */
    @SerialName("done")
    DONE,

    /** Given up. */
    @SerialName("dropped")
    DROPPED,
}

/** How far a task was at some time. */
@Serializable
public data class TaskProgress(
    /** Its id. */
    public val id: String,
    /** Who says so: a member. */
    public val by: String,
    /** When, by that phone's clock: milliseconds since 1970. */
    public val at: Long,
    /** How much is done, 0 to 100, if it can be said. */
    @Serializable(with = CountSerializer::class) public val percent: Int?,
    /** What was done, what is in the way. */
    public val text: String,
)

/** A task that a resolution or minutes gave, as it is now. */
@Serializable
public data class GivenTask(
    /** Its id. */
    public val id: String,
    /** What. */
    public val title: Register<String>,
    /** Who: members. */
    public val owners: Register<List<String>>,
    /** By when, `YYYY-MM-DD`. */
    public val due: Register<String>,
    /** What gave it, as the app wrote it: a document, and the id of an assignment there. */
    public val from: Register<String>,
    /** What the committee says. */
    public val status: Register<TaskStatus>,
    /** Oldest first. */
    public val progress: List<TaskProgress>,
) {
    /** Whether it is open after its day. [today] is `YYYY-MM-DD`. */
    public fun isOverdue(today: String): Boolean {
        val day = due.value ?: return false
        return status.value == TaskStatus.OPEN && day < today
    }
}
