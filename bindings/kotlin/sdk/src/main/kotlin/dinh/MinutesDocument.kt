package dinh

import dinh.ffi.Command
import dinh.ffi.SnapshotKind
import dinh.model.BallotSlips
import dinh.model.Minutes
import dinh.model.VoteMethod
import dinh.model.VoteTally
import dinh.model.VoteThreshold

/** A vote as it was counted in the hall. */
public data class NewCount(
    /** Of which motion. */
    public val motion: String,
    /** How. */
    public val method: VoteMethod,
    /** How many must be for it. */
    public val threshold: VoteThreshold,
    /** What was counted. */
    public val tally: VoteTally,
    /** The slips: in a secret ballot, and only there. */
    public val slips: BallotSlips? = null,
)

/**
 * Minutes of a meeting: written by the recorder, adopted by the branch, sealed.
 *
 * Texts that are typed in: `Path("blocks", id, "text")`, `Path("sections", id, "heading")`, `Path("agenda", id, "title")`,
 * `Path("decisions", id, "text")`. Everything else is set as a whole.
 */
public class MinutesDocument internal constructor(client: Client, id: String) :
    OutlineDocument<Minutes>(client, id, SnapshotKind.MINUTES, Minutes.serializer()) {
    /** Puts something on the agenda. Gives its id. [presenter]: a member. */
    public suspend fun addAgendaItem(title: String, presenter: String? = null, place: Place = Place.Last): String =
        make(Command.AddAgendaItem(title, presenter, place.toFfi()))

    /** Names a guest. Gives the guest's id in the minutes. [body]: where the guest comes from. */
    public suspend fun addGuest(name: String, post: String = "", body: String = ""): String =
        make(Command.AddGuest(name, post, body))

    /** Notes a paper that lies before the meeting, as it is now if it is a document of the branch. Gives its id. */
    public suspend fun addDocumentUsed(title: String, document: ModelDocument<*>? = null): String =
        native { client.ffi.addDocumentUsed(id, title, document?.id) }

    /** Notes what was decided, and by which count if a vote was taken. Gives the decision's id. */
    public suspend fun addDecision(text: String, vote: String? = null): String = make(Command.AddDecision(text, vote))

    /** Signs, as `chair` or `recorder`: also after the seal. Gives the signature's id. */
    public suspend fun sign(role: String): String = make(Command.Sign(role))

    /** Says who leads the meeting. By an officer. */
    public suspend fun setChair(member: String): Unit = act(Command.SetChair(member))

    /** Says who writes the minutes. That does not let the member write: see [Branch.nameRecorder]. */
    public suspend fun setRecorder(member: String): Unit = act(Command.SetRecorder(member))

    /** Gives the meeting points for a criterion. By an officer. */
    public suspend fun score(criterion: String, points: Int): Unit = act(Command.Score(criterion, count(points)))

    /** Asks the speaker of a block whether the words are theirs: right after the block was added, by who added it. */
    public suspend fun askWords(block: String): Unit = act(Command.AskWords(block))

    /** Says that the words of a block are this device's member's own. Somebody must have asked. */
    public suspend fun confirmWords(block: String): Unit = act(Command.ConfirmWords(block))

    /** Puts a motion. Gives its id. About a resolution: [moveResolution]. */
    public suspend fun moveMotion(title: String, threshold: VoteThreshold = VoteThreshold.MORE_THAN_HALF): String =
        make(Command.MoveMotion(title, threshold.toFfi()))

    /** Puts a motion about a resolution, as it was tabled or amended last. Gives the motion's id. */
    public suspend fun moveResolution(
        resolution: ResolutionDocument,
        title: String,
        threshold: VoteThreshold = VoteThreshold.MORE_THAN_HALF,
    ): String = native { client.ffi.moveResolution(id, resolution.id, title, threshold.toFfi()) }

    /**
     * Notes a count, against the base that roster and roll give now; that base is frozen with it. Gives the count's id. A count that
     * cannot be right is refused. It holds when an officer other than this member confirms it.
     */
    public suspend fun recordCount(count: NewCount, attendance: AttendanceDocument, roster: RosterDocument): String =
        native { client.ffi.recordCount(id, roster.id, attendance.id, count.toFfi()) }

    /** Confirms a count that somebody else noted. By an officer. [vote]: the count. */
    public suspend fun confirmCount(vote: String): Unit = act(Command.ConfirmCount(vote))

    /** Says which of several counts of a motion holds. By an officer. [vote]: the count. */
    public suspend fun chooseCount(vote: String, motion: String): Unit = act(Command.ChooseCount(motion, vote))

    /** Freezes who was there, in numbers: when the minutes are read back. */
    public suspend fun freezeAttendance(attendance: AttendanceDocument, roster: RosterDocument): Unit =
        native { client.ffi.freezeAttendance(id, roster.id, attendance.id) }

    /** Settles a dispute about where the minutes are. Gives the event's id. By an officer. [choose]: the event that holds. */
    public suspend fun resolve(choose: String): String = make(Command.Resolve(choose))
}

/** Minutes of a meeting: nothing is read until they are used. */
public fun Client.minutes(id: String): MinutesDocument = MinutesDocument(this, id)

private fun VoteThreshold.toFfi() = dinh.ffi.VoteThreshold.valueOf(name)

private fun NewCount.toFfi() =
    dinh.ffi.NewCount(
        motion = motion,
        method = dinh.ffi.VoteMethod.valueOf(method.name),
        threshold = threshold.toFfi(),
        tally = dinh.ffi.VoteTally(count(tally.yes), count(tally.no), count(tally.abstain)),
        slips = slips?.let { dinh.ffi.BallotSlips(count(it.issued), count(it.returned), count(it.valid)) },
    )
