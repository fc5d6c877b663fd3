package dinh.model

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** What a member is to the branch. */
@Serializable
public enum class PersonStanding {
    /** A full member. */
    @SerialName("official")
    OFFICIAL,

    /** On probation: takes part in everything but votes. */
    @SerialName("probationary")
    PROBATIONARY,

    /** Official, suspended from party activities. */
    @SerialName("suspended")
    SUSPENDED,

    /** Official, detained. */
    @SerialName("detained")
    DETAINED,
    ;

    /** Whether it is a full member's. */
    public val isOfficial: Boolean
        get() = this != PROBATIONARY
}

/** A member as the roster has it. */
@Serializable
public data class Person(
    /** The full name. */
    public val name: String,
    /** The post in the branch, as its records call it; empty if none. */
    public val post: String,
    /** What the member is to the branch. */
    public val standing: PersonStanding,
    /** Freed from work and meetings for age or health. */
    @SerialName("is_exempt") public val isExempt: Boolean,
    /** Moved elsewhere for a time. */
    @SerialName("is_away") public val isAway: Boolean,
    /** The first language, ISO 639; empty if not said. */
    public val language: String,
    /** Whether the member uses the app. */
    @SerialName("has_phone") public val hasPhone: Boolean,
)

/** The people of a branch as they are now. */
@Serializable
public data class Roster(
    /** Who keeps the records that it was read from. */
    public val authority: Register<String>,
    /** When it was read there: milliseconds since 1970. */
    public val at: Register<Long>,
    /** Everybody, by member. */
    public val people: Map<String, Register<Person>>,
    /** The members in the order of a Vietnamese list: by given name, then by the rest of the name. */
    @SerialName("by_name") public val byName: List<String>,
) {
    /** Everybody as they are shown, by member. For lists take the order of [byName]. */
    public val shown: Map<String, Person>
        get() {
            val shown = mutableMapOf<String, Person>()
            for ((member, person) in people) {
                shown[member] = person.value ?: continue
            }
            return shown
        }
}
