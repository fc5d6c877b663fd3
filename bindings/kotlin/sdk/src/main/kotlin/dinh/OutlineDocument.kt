package dinh

import dinh.ffi.Command
import dinh.ffi.SnapshotKind
import kotlinx.serialization.KSerializer

/** Where something is put among its like. */
public sealed interface Place {
    /** Before all others. */
    public data object First : Place

    /** Right behind the one with this id; behind all others if it is not there. */
    public data class After(public val id: String) : Place

    /** Behind all others. */
    public data object Last : Place
}

internal fun Place.toFfi(): dinh.ffi.Place =
    when (this) {
        is Place.First -> dinh.ffi.Place.First
        is Place.After -> dinh.ffi.Place.After(id)
        is Place.Last -> dinh.ffi.Place.Last
    }

/**
 * A document with prose in sections and blocks, and a life: [MinutesDocument] and [ResolutionDocument].
 *
 * What a block says is typed in where [textPath] says, a section's heading where [headingPath] does; the values of a snapshot say so
 * too. Blocks are never deleted: somebody may be writing in one.
 */
public abstract class OutlineDocument<T>
internal constructor(client: Client, id: String, kind: SnapshotKind, serializer: KSerializer<T>) :
    ModelDocument<T>(client, id, kind, serializer) {
    /** Where the text of a block is in the document: for `document.bindText(minutes.textPath(block))`. */
    public fun textPath(block: String): Path = Path("blocks", block, "text")

    /** Where the heading of a section is in the document: for `document.bindText(minutes.headingPath(section))`. */
    public fun headingPath(section: String): Path = Path("sections", section, "heading")

    /** Adds a section. Gives its id. */
    public suspend fun addSection(heading: String, place: Place = Place.Last): String =
        make(Command.AddSection(heading, place.toFfi()))

    /**
     * Adds a block of prose to a section. Gives its id.
     *
     * @param kind one of [dinh.model.BlockKinds], or an app's word.
     * @param speaker the member whose words these are.
     * @param place among the blocks of the section.
     */
    public suspend fun addBlock(
        section: String,
        kind: String,
        text: String = "",
        speaker: String? = null,
        place: Place = Place.Last,
    ): String = make(Command.AddBlock(section, kind, text, speaker, place.toFfi()))

    /** Moves a block. If two people do so at the same time, it is in one of the two places afterwards. */
    public suspend fun moveBlock(block: String, section: String, place: Place = Place.Last): Unit =
        act(Command.MoveBlock(block, section, place.toFfi()))

    /** Leaves a block out, or takes it in again. */
    public suspend fun hideBlock(block: String, hidden: Boolean = true): Unit = act(Command.HideBlock(block, hidden))

    /**
     * Says whose words a block holds.
     *
     * @param language in which they were said, ISO 639; left as it is if null.
     * @param interpreter the member who put them into Vietnamese; left as it is if null.
     */
    public suspend fun setSpeaker(
        block: String,
        speaker: String,
        language: String? = null,
        interpreter: String? = null,
    ): Unit = act(Command.SetSpeaker(block, speaker, language, interpreter))

    /**
     * Sets a field that is one value: `setField(Path("venue"), "Nhà văn hóa")`, `setField(Path("header", "symbol"), "BB/CB")`,
     * `setField(Path("started_at"), Value.Timestamp(millis))`. Where several values stand, this one holds from then on.
     *
     * @param value a [Value], or what [Value.of] takes.
     */
    public suspend fun setField(path: Path, value: Any?): Unit =
        act(Command.SetField(path.toFfi(), Value.of(value).toFfi()))

    /**
     * Notes who does what by when. Gives the assignment's id.
     *
     * @param owners members.
     * @param quantity how many or how much; may be empty.
     * @param due `YYYY-MM-DD`; may be empty.
     */
    public suspend fun assign(task: String, owners: List<String>, quantity: String = "", due: String = ""): String =
        make(Command.Assign(task, owners, quantity, due))

    /** Says by when an assignment is due, `YYYY-MM-DD`. */
    public suspend fun setDue(assignment: String, due: String): Unit = act(Command.SetDue(assignment, due))

    /**
     * Takes a step of the document's life. Gives the event's id. What would not count is refused. A step that is about the text as it
     * is now ([dinh.model.MinutesSteps.ADOPTED], [dinh.model.ResolutionSteps.AMENDED_ON_FLOOR],
     * [dinh.model.ResolutionSteps.CONSULTING]) gets the `heads` of the document by itself.
     *
     * @param kind one of [dinh.model.MinutesSteps] or [dinh.model.ResolutionSteps], where it says what belongs to each.
     * @param data what belongs to it.
     */
    public suspend fun step(kind: String, data: Map<String, String> = mapOf()): String = make(Command.Step(kind, data))
}
