package dinh

import dinh.model.BranchDigest
import dinh.model.BranchDigestSerializer
import dinh.model.MeetingKind
import dinh.model.SpacePurpose
import dinh.model.decodeAside
import dinh.model.meetingKindOf
import kotlinx.serialization.builtins.ListSerializer

/** The standing spaces and documents of a branch, as far as this device's member reads them. */
public data class Standing(
    /** The space of all members. */
    public val members: String,
    /** What is in it. */
    public val membersIndex: IndexDocument,
    /** The space of the committee; null for who is not on it. */
    public val committee: String?,
    /** What is in it. */
    public val committeeIndex: IndexDocument?,
    /** The space of the committee and the upper body's reviewers; null for who is not on the committee. */
    public val oversight: String?,
    /** What is in it. */
    public val oversightIndex: IndexDocument?,
    /** The people of the branch. */
    public val roster: RosterDocument,
    /** Threads that the whole branch reads. */
    public val feedback: FeedbackDocument,
    /** Tasks. */
    public val tasks: TasksDocument,
    /** What reviewers see of the branch; null for who is not on the committee. */
    public val digest: DigestDocument?,
)

/** A space of a branch with what is in it, as [Branch.spaces] lists it. */
public data class ListedSpace(
    /** The space's id. */
    public val id: String,
    /** For whom it is. */
    public val purpose: SpacePurpose,
    /** What is in it. */
    public val index: IndexDocument,
    /** Whose mailbox it is, if it is one: a member. */
    public val member: String?,
)

/** With whom a member's mailbox is. */
public enum class Mailbox {
    /** The committee. */
    COMMITTEE,

    /** The reviewers of the upper body. */
    UPPER,
}

/** In which space a paper begins. */
public enum class Room {
    /** All members. */
    MEMBERS,

    /** The committee. */
    COMMITTEE,

    /** The committee and the upper body's reviewers. */
    OVERSIGHT,
}

/** A meeting to be held. */
public data class NewMeeting(
    /** Its name, equal on all phones: of two papers that were begun for one name, one is shown as the double of the other. */
    public val meeting: String,
    /** The month, `YYYY-MM`. Of two minutes of one kind and month, the index shows that they may be doubles. */
    public val period: String,
    /** What kind. */
    public val kind: MeetingKind = MeetingKind.REGULAR,
    /** The parts of the form's head: `issuing_org`, `type_name`, … */
    public val header: Map<String, String> = mapOf(),
    /** The member who leads it. */
    public val chair: String? = null,
    /** The member who writes the minutes, and may write them whatever its role. */
    public val recorder: String? = null,
)

/** The documents of a meeting. */
public data class Meeting(
    /** The minutes. */
    public val minutes: MinutesDocument,
    /** The roll. */
    public val attendance: AttendanceDocument,
    /** Votes on the phones. */
    public val votebox: VoteboxDocument,
)

/** A meeting's documents, as a space lists them: see [Branch.meetings]. */
public data class ListedMeeting(
    /** The minutes. */
    public val minutes: MinutesDocument,
    /** The roll; null until it is listed. */
    public val attendance: AttendanceDocument?,
    /** Votes on the phones; null until it is listed. */
    public val votebox: VoteboxDocument?,
    /** The month, `YYYY-MM`. */
    public val period: String?,
    /** What kind; null if this library does not know it. */
    public val kind: MeetingKind?,
)

/** The documents of a round of consultation. */
public data class OpenedRound(
    /** Which, from 1. */
    public val round: Int,
    /** What the branch reads. */
    public val resolution: ResolutionDocument,
    /** What reviewers read. */
    public val frozen: RoundDocument,
    /** Where they answer. */
    public val review: ReviewDocument,
)

/**
 * Makes the standing spaces and documents of a branch that was founded on this device. What is there stays: if it was interrupted,
 * calling it again finishes what is missing.
 *
 * @param name what the branch is called.
 */
public suspend fun Branch.setUp(name: String): Standing = native { client.ffi.setUpBranch(id, name) }.toPublic(client)

/**
 * The standing spaces and documents of the branch; null until they are here. What is not for this device's member is null in it.
 * Reviewers, who read the oversight alone, always get null, and find their documents by [spaces].
 */
public suspend fun Branch.standing(): Standing? = native { client.ffi.standing(id) }?.toPublic(client)

/** The meetings of the branch that this device's member reads, each with its documents: of each space, the oldest month first. */
public suspend fun Branch.meetings(): List<ListedMeeting> = native { client.ffi.meetings(id) }.map { it.toPublic(client) }

/**
 * The spaces of the branch that this device reads and whose index is here: what is in them, their index says. Reviewers, who have no
 * [standing], find their documents by these.
 */
public suspend fun Branch.spaces(): List<ListedSpace> =
    native { client.ffi.spaces(id) }.map {
        ListedSpace(it.space, SpacePurpose.valueOf(it.purpose.name), client.index(it.index), it.member)
    }

/**
 * Gives a member its mailbox with the committee: by the officer who admits it, whether it will be used or not. If there is one, nothing
 * happens; if it was interrupted, calling it again finishes what is missing.
 */
public suspend fun Branch.openMailbox(member: String): Unit = native { client.ffi.openMailbox(id, member) }

/**
 * Makes this device's member's mailbox with the upper body: on the new member's device, when the branch is joined. No officer has its
 * keys. If there is one, nothing happens; if it was interrupted, calling it again finishes what is missing.
 */
public suspend fun Branch.openOwnMailbox(): Unit = native { client.ffi.openOwnMailbox(id) }

/** The document of a member's mailbox, where its confidential threads are; null until it is here. */
public suspend fun Branch.mailbox(member: String, with: Mailbox): FeedbackDocument? =
    native { client.ffi.mailbox(id, member, dinh.ffi.Mailbox.valueOf(with.name)) }?.let { client.feedback(it) }

/**
 * Lets read who should by its role, and takes off who should not: to be called on every device when [ClientEvent.CharterChanged]
 * comes.
 */
public suspend fun Branch.keepReaders(): Unit = native { client.ffi.keepReaders(id) }

/**
 * Begins the papers of a meeting: in the space of all members, or in the committee's if it is a meeting of the committee.
 * Fails with [DinhException.Refused] if this member does not read that space, as all that begins something in a space does.
 */
public suspend fun Branch.beginMeeting(new: NewMeeting): Meeting {
    val made = native { client.ffi.beginMeeting(id, new.toFfi()) }
    return Meeting(client.minutes(made.minutes), client.attendance(made.attendance), client.votebox(made.votebox))
}

/**
 * Begins the draft of a resolution, in the committee's space.
 *
 * @param period the month of the meeting, `YYYY-MM`.
 * @param header the parts of the form's head: `issuing_org`, `type_name`, …
 */
public suspend fun Branch.beginDraft(period: String, header: Map<String, String> = mapOf()): ResolutionDocument =
    client.resolution(native { client.ffi.beginDraft(id, period, header) })

/** Writes a notice for a room. [until]: the day up to which it matters, `YYYY-MM-DD`. */
public suspend fun Branch.postNotice(room: Room, title: String, text: String, until: String? = null): NoticeDocument =
    client.notice(native { client.ffi.postNotice(id, dinh.ffi.Room.valueOf(room.name), title, text, until) })

/**
 * Opens a round of consultation on a draft: copies it to the resolution that members read, and a frozen copy for reviewers. By an
 * officer, when the committee has looked the draft over. If it was interrupted, calling it again finishes what is missing.
 */
public suspend fun Branch.openRound(draft: ResolutionDocument): OpenedRound {
    val opened = native { client.ffi.openRound(id, draft.id) }
    return OpenedRound(
        round = opened.round.toInt(),
        resolution = client.resolution(opened.resolution),
        frozen = client.round(opened.frozen),
        review = client.review(opened.review),
    )
}

/** Ends a round: copies what members made of the resolution back to its draft. By an officer. */
public suspend fun Branch.takeBack(draft: ResolutionDocument): Unit = native { client.ffi.takeBack(id, draft.id) }

/** Gives an adopted resolution the next number of a line (`NQ`) and issues it. Gives the number. [date]: `YYYY-MM-DD`. */
public suspend fun Branch.issue(resolution: ResolutionDocument, line: String, date: String): String =
    native { client.ffi.issue(id, resolution.id, line, date) }

/**
 * Seals adopted minutes or an issued resolution as it is, and enters the seal into the branch's book. Gives the seal's hash. By an
 * officer. What others write who know of the seal is refused; what they wrote without knowing of it is shown as late. If it was
 * interrupted, calling it again finishes what is missing.
 */
public suspend fun Branch.seal(doc: OutlineDocument<*>): String = native { client.ffi.seal(id, doc.id) }

/**
 * Brings the digest of the branch up to date: to be called on devices of the committee after documents changed. Gives whether
 * anything was written. [today]: `YYYY-MM-DD`.
 */
public suspend fun Branch.keepDigest(today: String): Boolean = native { client.ffi.keepDigest(id, today) }

/** The digests of all branches that this device reads: what a reviewer's list opens with. */
public suspend fun Client.digests(): List<BranchDigest> =
    decodeAside(ListSerializer(BranchDigestSerializer), native { ffi.digests() })

private fun dinh.ffi.Standing.toPublic(client: Client) =
    Standing(
        members = members,
        membersIndex = client.index(membersIndex),
        committee = committee,
        committeeIndex = committeeIndex?.let { client.index(it) },
        oversight = oversight,
        oversightIndex = oversightIndex?.let { client.index(it) },
        roster = client.roster(roster),
        feedback = client.feedback(feedback),
        tasks = client.tasks(tasks),
        digest = digest?.let { client.digest(it) },
    )

private fun dinh.ffi.ListedMeeting.toPublic(client: Client) =
    ListedMeeting(
        minutes = client.minutes(minutes),
        attendance = attendance?.let { client.attendance(it) },
        votebox = votebox?.let { client.votebox(it) },
        period = period,
        kind = meetingKindOf(kind),
    )

private fun NewMeeting.toFfi() =
    dinh.ffi.NewMeeting(
        meeting = meeting,
        period = period,
        kind = dinh.ffi.MeetingKind.valueOf(kind.name),
        header = header,
        chair = chair,
        recorder = recorder,
    )
