package dinh

import dinh.ffi.Command
import dinh.ffi.FormOptions
import dinh.ffi.SnapshotEvent
import dinh.ffi.SnapshotKind
import dinh.model.Amendment
import dinh.model.AmendmentRelation
import dinh.model.LifeEvent
import dinh.model.Overlap
import dinh.model.Sealed
import dinh.model.decodeAside
import kotlinx.coroutines.flow.Flow
import kotlinx.serialization.KSerializer
import kotlinx.serialization.Serializable
import kotlinx.serialization.builtins.ListSerializer
import kotlinx.serialization.builtins.MapSerializer
import kotlinx.serialization.builtins.nullable
import kotlinx.serialization.builtins.serializer

/**
 * The names of the kinds of documents that this library knows, as [DocumentInfo.schema] and
 * [dinh.model.ListedDocument.schema] have them.
 */
public object Schemas {
    /** [Client.minutes]. */
    public const val MINUTES: String = "dinh.minutes/1"

    /** [Client.resolution], of which the committee writes the text and members suggest. */
    public const val RESOLUTION: String = "dinh.resolution/1"

    /** [Client.resolution], of which members write the text too. */
    public const val OPEN_RESOLUTION: String = "dinh.resolution-open/1"

    /** [Client.round]. */
    public const val ROUND: String = "dinh.round/1"

    /** [Client.review]. */
    public const val REVIEW: String = "dinh.review/1"

    /** [Client.feedback]. */
    public const val FEEDBACK: String = "dinh.feedback/1"

    /** [Client.attendance]. */
    public const val ATTENDANCE: String = "dinh.attendance/1"

    /** [Client.roster]. */
    public const val ROSTER: String = "dinh.roster/1"

    /** [Client.votebox]. */
    public const val VOTEBOX: String = "dinh.votebox/1"

    /** [Client.tasks]. */
    public const val TASKS: String = "dinh.tasks/1"

    /** [Client.notice]. */
    public const val NOTICE: String = "dinh.notice/1"

    /** [Client.digest]. */
    public const val DIGEST: String = "dinh.digest/1"

    /** [Client.index]. */
    public const val INDEX: String = "dinh.index/1"
}

/** What a document of the model is, again and again: see [ModelDocument.snapshots]. */
public sealed interface Snapshot<out T> {
    /** It is this now. Between two of these it may have changed more than once. */
    public data class Value<out T>(public val value: T) : Snapshot<T>

    /** It cannot be read now: it is locked, or the client is. A value follows when it can. */
    public data class Unavailable(public val detail: String) : Snapshot<Nothing>
}

/** How a form is written. */
public enum class FormMarkup {
    /** A web page. */
    HTML,

    /** Markdown. */
    MARKDOWN,
}

/** What became of a file that another program wrote. */
public data class FileImport(
    /** The hash of the change that was written; null if the file says nothing new. */
    public val change: String?,
    /**
     * How many of the file's values were not taken: this device may not write them, no document holds them, or somebody wrote there
     * too since the file was exported.
     */
    public val left: Int,
)

/** A stretch of text: UTF-16 code units, as in Kotlin strings. */
@Serializable
public data class TextRange(
    /** The first. */
    public val start: Int,
    /** One past the last. */
    public val end: Int,
)

/** What is to be looked at. */
public enum class WarningKind {
    /** A number by which somebody can be reached or identified. */
    PERSONAL_NUMBER,

    /** A syllable with two tone marks: two people corrected its tone at the same time. */
    TWO_TONES,

    /** Keys of an input method that were not composed. */
    UNCOMPOSED,

    /** Text in an encoding from before Unicode. */
    OLD_ENCODING,

    /** The mark of a state secret: it may not be on a device with a network. */
    CLASSIFIED,
}

/** Something in a document that people should look at before others read it. */
public data class Warning(
    /** The field. */
    public val field: Path,
    /** What it is. */
    public val kind: WarningKind,
    /** Where in the field; null if it is about the whole of it. */
    public val range: TextRange?,
    /** What could stand there instead. */
    public val suggestion: String?,
)

/**
 * A document of a branch: minutes, a resolution, a roster, … A light handle: it holds nothing and need not be closed; nothing is read
 * until it is used.
 *
 * Reading gives an immutable value: [snapshot] once, [snapshots] again and again. Everything that writes is one change by this
 * device's member, on disk when it returns, with or without network; other devices get it when they are reached. What a rule of the
 * document does not let happen now fails with [DinhException.Refused], what the member may not do with
 * [DinhException.NotAllowed]; nothing is written then.
 */
public abstract class ModelDocument<T>
internal constructor(
    internal val client: Client,
    /** The document's id. */
    public val id: String,
    private val kind: SnapshotKind,
    private val serializer: KSerializer<T>,
) {
    /**
     * The same document without its kind: for texts that are typed in (`document.bindText(block.textPath)`), for its history,
     * and for fields of the app's own. Where which text is, the kinds say.
     */
    public val document: Document
        get() = client.document(id)

    /** What the document is now. */
    public suspend fun snapshot(): T = read(kind, serializer)

    /**
     * What the document is: now, and after each change, by whomever. Fails if it is not here the first time; ends when the client
     * is closed. A slow collector misses values in between, never the last one.
     */
    public val snapshots: Flow<Snapshot<T>> =
        pull(
            { client.ffi.snapshotStream(id, kind) },
            { stream -> stream.next()?.let { event -> told(event) } },
            { it.cancel() },
        )

    /** What people should look at in it: to be asked when somebody leaves a field, and after others' changes. */
    public suspend fun warnings(): List<Warning> = native { client.ffi.check(id) }.map { it.toPublic() }

    /**
     * The document as the form that is printed.
     *
     * @param names what people are called, by member; of others the member id is shown.
     * @param utcOffsetMinutes the clock on the wall, in minutes east of UTC: 420 in Vietnam.
     * @param templates the organisation's own, by name; those that come with the library if there are none.
     */
    public suspend fun form(
        markup: FormMarkup,
        names: Map<String, String> = mapOf(),
        utcOffsetMinutes: Int = 420,
        templates: Map<String, String> = mapOf(),
    ): String {
        val options =
            FormOptions(
                markup = dinh.ffi.FormMarkup.valueOf(markup.name),
                names = names,
                utcOffsetMinutes = utcOffsetMinutes,
                templates = templates,
            )
        return native { client.ffi.form(id, options) }
    }

    /** The document as an Automerge file, with its whole history: who gets it sees everything that was ever in it. */
    public suspend fun exportAutomerge(): ByteArray = native { client.ffi.exportAutomerge(id) }

    /** The document's content as JSON, with nothing of its history. */
    public suspend fun exportJson(): String = native { client.ffi.exportJson(id) }

    /** Takes in what another program made of a file of [exportAutomerge]: as one change of this device, with its rights. */
    public suspend fun importAutomerge(file: ByteArray): FileImport =
        native { client.ffi.importAutomerge(id, file) }.let { FileImport(it.change, it.left.toInt()) }

    /** The events of the document's life, of all its threads if it has several. Empty for kinds that have no life. */
    public suspend fun life(): List<LifeEvent> = read(SnapshotKind.EVENTS, ListSerializer(LifeEvent.serializer()))

    /** Blocks in which several wrote without knowing of each other: to be asked when something was merged, not at each key. */
    public suspend fun overlaps(): List<Overlap> = read(SnapshotKind.OVERLAPS, ListSerializer(Overlap.serializer()))

    /** The document's seal, whether what stands at its heads is what it says, and what came late; null if it is not sealed. */
    public suspend fun seal(): Sealed? = read(SnapshotKind.SEAL, Sealed.serializer().nullable)

    /**
     * Makes feedback of what came late to the document after it was sealed, in its author's name. Gives the threads' ids.
     *
     * @param change a [dinh.model.LateProposal.change]: all fields that it wrote are taken.
     * @param threads where the threads begin: the branch's, or a mailbox.
     */
    public suspend fun lateIntoFeedback(change: String, threads: FeedbackDocument): List<String> =
        native { client.ffi.lateIntoFeedback(id, change, threads.id) }

    /** What the document says that it does to others, by document. */
    public suspend fun amendments(): Map<String, Amendment> =
        read(SnapshotKind.AMENDED, MapSerializer(String.serializer(), Amendment.serializer()))

    /**
     * Says that a block of [overlaps] was read again, and is none any more.
     *
     * @param heads those of what was read: [Document.heads], asked for before the text was shown.
     */
    public suspend fun reread(block: String, heads: List<String>): Unit = act(Command.Reread(block, heads))

    /**
     * Says in this document, a new one, what it does to a sealed one: before this one is sealed. Gives the hash of the seal by which it
     * knows the old one.
     */
    public suspend fun amend(old: ModelDocument<*>, relation: AmendmentRelation): String =
        native { client.ffi.amend(id, old.id, dinh.ffi.AmendmentRelation.valueOf(relation.name)) }

    /**
     * Notes here that a new document holds in this one's place or took it back. The new one must be sealed and say so; this one is a
     * sealed resolution in force, and the member an officer.
     */
    public suspend fun followUp(new: ModelDocument<*>): Unit = native { client.ffi.followUp(id, new.id) }

    /** Does something that makes nothing with an id. */
    internal suspend fun act(command: Command) {
        native { client.ffi.act(id, command) }
    }

    /** Does something that makes something, and gives its id. */
    internal suspend fun make(command: Command): String =
        native { client.ffi.act(id, command) }
            ?: throw DinhException.Internal("the native library gave no id for what it made; report this")

    private suspend fun <R> read(kind: SnapshotKind, serializer: KSerializer<R>): R =
        decodeAside(serializer, native { client.ffi.snapshot(id, kind) })

    private suspend fun told(event: SnapshotEvent): Snapshot<T> =
        when (event) {
            is SnapshotEvent.Snapshot -> Snapshot.Value(decodeAside(serializer, event.json))
            is SnapshotEvent.Unavailable -> Snapshot.Unavailable(event.detail)
        }

    override fun equals(other: Any?): Boolean =
        other is ModelDocument<*> && other.javaClass == javaClass && other.client === client && other.id == id

    override fun hashCode(): Int = id.hashCode()

    override fun toString(): String = "${javaClass.simpleName}($id)"
}

/** A number of things for the native library. */
internal fun count(n: Int): UInt =
    if (n >= 0) n.toUInt() else throw DinhException.Invalid("$n is negative; give a number from 0")

internal fun dinh.ffi.TextRange.toPublic(): TextRange = TextRange(start.toInt(), end.toInt())

private fun dinh.ffi.Warning.toPublic() =
    Warning(Path(*field.toTypedArray()), WarningKind.valueOf(kind.name), range?.toPublic(), suggestion)
