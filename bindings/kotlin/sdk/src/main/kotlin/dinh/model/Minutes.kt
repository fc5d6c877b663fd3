package dinh.model

import dinh.DinhException
import dinh.Path
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** What kind of meeting. */
@Serializable
public enum class MeetingKind {
    /** The regular one. */
    @SerialName("regular")
    REGULAR,

    /** About one matter. */
    @SerialName("thematic")
    THEMATIC,

    /** The committee's. */
    @SerialName("committee")
    COMMITTEE,
}

/** The kind that documents call so; null if this library does not know it. */
internal fun meetingKindOf(name: String?): MeetingKind? = MeetingKind.entries.find { it.name.lowercase() == name }

/** Where minutes are in their life. */
@Serializable
public enum class MinutesState {
    /** The meeting is planned. */
    @SerialName("planned")
    PLANNED,

    /** It was called, with time, place and agenda. */
    @SerialName("convened")
    CONVENED,

    /** It was put off. */
    @SerialName("postponed")
    POSTPONED,

    /** It will not be. */
    @SerialName("cancelled")
    CANCELLED,

    /** It is being held. */
    @SerialName("open")
    OPEN,

    /** The recorder read the minutes back. */
    @SerialName("read_back")
    READ_BACK,

    /** The branch adopted them. */
    @SerialName("adopted")
    ADOPTED,

    /** Signed and sealed. */
    @SerialName("signed")
    SIGNED,

    /** In the archive. */
    @SerialName("archived")
    ARCHIVED,
}

/** The steps in the life of minutes, for `MinutesDocument.step`, and what each needs with it. */
public object MinutesSteps {
    /** Calls the meeting: from planned or postponed. Needs `time`, `place` and `agenda`. */
    public const val CONVENED: String = "convened"

    /** Puts it off: from planned or convened. */
    public const val POSTPONED: String = "postponed"

    /** Calls it off: from planned or convened. */
    public const val CANCELLED: String = "cancelled"

    /** Opens the meeting: from convened. Needs `recorder`, a member. */
    public const val OPEN: String = "open"

    /** The recorder read the minutes back: from open. */
    public const val READ_BACK: String = "read_back"

    /** Back to writing, because somebody asked for a correction: from read back. */
    public const val CORRECTION: String = "correction"

    /**
     * The branch adopted them: from read back. Needs `vote`, the id of a count that carried and that somebody else wrote down. What is
     * adopted is the document as it is now, or as it was at `heads`, with spaces between them.
     */
    public const val ADOPTED: String = "adopted"

    /** Signed: from adopted. `Branch.seal` does it with the seal. */
    public const val SIGNED: String = "signed"

    /** Into the archive: from signed. */
    public const val ARCHIVED: String = "archived"

    /** An officer chose one of several events that contradict each other. Taken by `MinutesDocument.resolve`. */
    public const val RESOLVE: String = "resolve"
}

/** An item of the agenda. */
@Serializable
public data class AgendaItem(
    /** Its id. */
    public val id: String,
    /** What it is about. To be typed in where [titlePath] says. */
    public val title: String,
    /** Who presents it: a member. */
    public val presenter: Register<String>,
    /** Where it stands: a sort key. */
    public val order: Register<String>,
) {
    /** Where its title is in the document: for `document.bindText(item.titlePath)`. */
    public val titlePath: Path
        get() = Path("agenda", id, "title")
}

/** Somebody from outside. */
@Serializable
public data class Guest(
    /** Its id in the minutes. */
    public val id: String,
    /** The name. */
    public val name: String,
    /** The post. */
    public val post: String,
    /** Of which body. */
    public val body: String,
)

/** A document that the meeting had before it. */
@Serializable
public data class UsedDocument(
    /** Its id in the minutes. */
    public val id: String,
    /** What it is called. */
    public val title: String,
    /** Which, if it is one of the branch's. */
    @Serializable(with = DocumentAtHeadsSerializer::class) public val document: DocumentAtHeads?,
)

/** That somebody answers for the minutes. It is no legal digital signature. */
@Serializable
public data class MinutesSignature(
    /** Its id. */
    public val id: String,
    /** As what: `chair`, `recorder`. */
    public val role: String,
    /** Who: a member. */
    public val by: String,
    /** When, by that device's clock: milliseconds since 1970. */
    public val at: Long,
)

/** Something that the meeting decided. */
@Serializable
public data class Decision(
    /** Its id. */
    public val id: String,
    /** What was decided. To be typed in where [textPath] says. */
    public val text: String,
    /** The count by which it was, if it was one of these minutes: a [Vote.id]. */
    public val vote: String?,
) {
    /** Where its text is in the document: for `document.bindText(decision.textPath)`. */
    public val textPath: Path
        get() = Path("decisions", id, "text")
}

internal object DecisionsSerializer : EntriesSerializer<Decision>(Decision.serializer())

/** What minutes hold besides prose and votes. [Minutes] gives each of them too. */
@Serializable
public data class MinutesParts(
    /** In order. */
    public val agenda: List<AgendaItem>,
    /** Guests. */
    public val guests: List<Guest>,
    /** Who does what by when. */
    public val assignments: List<Assignment>,
    /** What lay before the meeting. */
    @SerialName("documents_used") public val documentsUsed: List<UsedDocument>,
    /** Who signed. */
    public val signatures: List<MinutesSignature>,
    /** Points by criterion. */
    public val quality: Map<String, Register<@Serializable(with = CountSerializer::class) Int>>,
)

/** Minutes of a meeting as they are now. */
@Serializable
public data class Minutes(
    /** The meeting's name, equal on all phones: `NewMeeting.meeting`. */
    public val meeting: String,
    /** The month of the meeting, `YYYY-MM`. */
    public val period: Register<String>,
    /** What kind of meeting, as the document says it: see [meetingKind]. */
    public val kind: Register<String>,
    /** The parts of the form's head, by name: `issuing_org`, `type_name`, … */
    public val header: Map<String, Register<String>>,
    /** Where. */
    public val venue: Register<String>,
    /** From when: milliseconds since 1970. */
    @SerialName("started_at") public val startedAt: Register<Long>,
    /** Until when: milliseconds since 1970. */
    @SerialName("ended_at") public val endedAt: Register<Long>,
    /** Who leads the meeting: a member. */
    public val chair: Register<String>,
    /** Who writes the minutes: a member. */
    public val recorder: Register<String>,
    /** The prose. */
    public val outline: Outline,
    /** For each block whose speaker was asked, the members who said that these are their words. */
    public val confirmed: Map<String, Set<String>>,
    /** What was voted on. */
    public val motions: List<Motion>,
    /** Agenda, guests, assignments, documents, signatures, points: see there, or below. */
    public val parts: MinutesParts,
    /** What was decided, oldest first. */
    @Serializable(with = DecisionsSerializer::class) public val decisions: List<Decision>,
    /** Who was there, frozen when the minutes were read back, as JSON: see [attendanceSummary]. */
    public val attendance: Register<String>,
    /** Where they stand. */
    public val life: Life<MinutesState>,
    /** The seals that stand in them: more than one if two officers sealed them without knowing of each other. */
    public val seals: Register<Seal>,
) {
    /** The kind of meeting that is shown; null if none is said, or one that this library does not know. */
    public val meetingKind: MeetingKind?
        get() = meetingKindOf(kind.value)

    /** What is on the agenda, in order. */
    public val agenda: List<AgendaItem>
        get() = parts.agenda

    /** The guests. */
    public val guests: List<Guest>
        get() = parts.guests

    /** Who does what by when. */
    public val assignments: List<Assignment>
        get() = parts.assignments

    /** What lay before the meeting. */
    public val documentsUsed: List<UsedDocument>
        get() = parts.documentsUsed

    /** Who signed. */
    public val signatures: List<MinutesSignature>
        get() = parts.signatures

    /** The meeting's points, by criterion. */
    public val quality: Map<String, Register<Int>>
        get() = parts.quality

    /** Who was there, in numbers; null until the minutes were read back. Read anew at each call. */
    public val attendanceSummary: AttendanceSummary?
        get() {
            val text = attendance.value ?: return null
            return try {
                decode(AttendanceSummary.serializer(), text)
            } catch (e: DinhException.Internal) {
                // Content of the document: what does not read is a newer app's.
                null
            }
        }
}
