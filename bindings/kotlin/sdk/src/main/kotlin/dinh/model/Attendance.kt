package dinh.model

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** How somebody said that they are here. */
@Serializable
public enum class CheckInWay {
    /** A code in the hall was scanned. */
    @SerialName("qr")
    QR,

    /** By a tap. */
    @SerialName("tap")
    TAP,

    /** By sound. */
    @SerialName("audio")
    AUDIO,
}

/** What the recorder marked. */
@Serializable
public enum class AttendanceMark {
    /** Here. */
    @SerialName("present")
    PRESENT,

    /** Away with a reason that was accepted. */
    @SerialName("excused")
    EXCUSED,

    /** Away without. */
    @SerialName("unexcused")
    UNEXCUSED,

    /** Freed from meetings, and not here. */
    @SerialName("exempt")
    EXEMPT,

    /** A member of this branch that is elsewhere for a time. */
    @SerialName("temporarily_away")
    TEMPORARILY_AWAY,

    /** A member of another branch that is here for a time. */
    @SerialName("temporarily_here")
    TEMPORARILY_HERE,
}

/** That somebody checked in. */
@Serializable
public data class CheckIn(
    /** When, by that phone's clock: milliseconds since 1970. */
    public val at: Long,
    /** How. */
    public val way: CheckInWay,
)

/** One person on the roll. */
@Serializable
public data class AttendanceEntry(
    /** That the person checked in, or was checked in by who keeps the roll. It is evidence: [mark] decides. */
    @SerialName("checked_in") public val checkedIn: Register<CheckIn>,
    /** What the recorder marked. */
    public val mark: Register<AttendanceMark>,
    /** Why the person is absent, as far as the branch may know. */
    public val reason: Register<String>,
    /** When the person came, if late: milliseconds since 1970. */
    @SerialName("late_at") public val lateAt: Register<Long>,
    /** When the person left, if early: milliseconds since 1970. */
    @SerialName("left_at") public val leftAt: Register<Long>,
)

/** The roll of a meeting as it is now. */
@Serializable
public data class Attendance(
    /** Everybody of whom something is said, by member. */
    public val entries: Map<String, AttendanceEntry>,
) {
    /** What is marked, by member, where something is. */
    public val marks: Map<String, AttendanceMark>
        get() {
            val marks = mutableMapOf<String, AttendanceMark>()
            for ((member, entry) in entries) {
                marks[member] = entry.mark.value ?: continue
            }
            return marks
        }

    /** Members who checked in and are not marked: whom the recorder has to look at. */
    public val unconfirmed: Set<String>
        get() = entries.filterValues { it.checkedIn.value != null && it.mark.value == null }.keys
}

/** A roll in numbers, against a roster. */
@Serializable
public data class AttendanceSummary(
    /** Everybody on the roster. */
    @Serializable(with = CountSerializer::class) public val total: Int,
    /** Of them, full members. */
    @Serializable(with = CountSerializer::class) public val official: Int,
    /** Of them, on probation. */
    @Serializable(with = CountSerializer::class) public val probationary: Int,
    /** Full members here. */
    @SerialName("present_official")
    @Serializable(with = CountSerializer::class)
    public val presentOfficial: Int,
    /** Members on probation here. */
    @SerialName("present_probationary")
    @Serializable(with = CountSerializer::class)
    public val presentProbationary: Int,
    /** Of other branches, here. */
    @SerialName("present_temporarily")
    @Serializable(with = CountSerializer::class)
    public val presentTemporarily: Int,
    /** Absent with a reason. */
    @Serializable(with = CountSerializer::class) public val excused: Int,
    /** Absent without. */
    @Serializable(with = CountSerializer::class) public val unexcused: Int,
    /** Freed, and not here. */
    @Serializable(with = CountSerializer::class) public val exempt: Int,
    /** Elsewhere for a time. */
    @Serializable(with = CountSerializer::class) public val away: Int,
    /** On the roster and not marked. */
    @Serializable(with = CountSerializer::class) public val unmarked: Int,
    /** Whom votes are counted against. */
    public val base: VoteBase,
)
