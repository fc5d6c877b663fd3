package dinh

import dinh.ffi.Command
import dinh.ffi.SnapshotKind
import dinh.model.Attendance
import dinh.model.AttendanceMark
import dinh.model.AttendanceSummary
import dinh.model.BallotChoice
import dinh.model.CheckInWay
import dinh.model.Question
import dinh.model.decodeAside
import kotlinx.serialization.builtins.ListSerializer

/** The roll of a meeting. The recorder's mark decides; that a member checked in is evidence. */
public class AttendanceDocument internal constructor(client: Client, id: String) :
    ModelDocument<Attendance>(client, id, SnapshotKind.ATTENDANCE, Attendance.serializer()) {
    /** Says that somebody is here: oneself, or anybody by who keeps the roll. Saying it twice changes nothing. */
    public suspend fun checkIn(member: String, way: CheckInWay): Unit =
        act(Command.CheckIn(member, dinh.ffi.CheckInWay.valueOf(way.name)))

    /** Marks somebody, or takes the mark back if [mark] is null. [reason]: why, as far as the branch may know; left if null. */
    public suspend fun markAttendance(member: String, mark: AttendanceMark?, reason: String? = null): Unit =
        act(Command.MarkAttendance(member, mark?.let { dinh.ffi.AttendanceMark.valueOf(it.name) }, reason))

    /** Says when somebody came late or left early: milliseconds since 1970; what is null is left as it is. */
    public suspend fun giveTimes(member: String, lateAt: Long? = null, leftAt: Long? = null): Unit =
        act(Command.GiveTimes(member, lateAt, leftAt))

    /** The roll in numbers, against a roster, with whom votes are counted against. */
    public suspend fun summary(roster: RosterDocument): AttendanceSummary =
        decodeAside(AttendanceSummary.serializer(), native { client.ffi.attendanceSummary(roster.id, id) })
}

/** Questions that are voted on phones. Where hands were counted too, those decide; what is secret is not here. */
public class VoteboxDocument internal constructor(client: Client, id: String) :
    ModelDocument<List<Question>>(client, id, SnapshotKind.QUESTIONS, ListSerializer(Question.serializer())) {
    /** Asks a question. Gives its id. By who keeps the record. */
    public suspend fun ask(title: String): String = make(Command.Ask(title))

    /** Votes, or votes anew while the question is open. Members on probation do not vote. */
    public suspend fun cast(question: String, choice: BallotChoice): Unit =
        act(Command.Cast(question, dinh.ffi.BallotChoice.valueOf(choice.name)))

    /**
     * Closes a question with what is counted now of the official members who are marked present. Ballots that are on phones
     * without a connection are not counted, now or later.
     */
    public suspend fun close(question: String, attendance: AttendanceDocument, roster: RosterDocument): Unit =
        native { client.ffi.closeQuestion(id, roster.id, attendance.id, question) }
}

/** The roll of a meeting: nothing is read until it is used. */
public fun Client.attendance(id: String): AttendanceDocument = AttendanceDocument(this, id)

/** Questions that are voted on phones: nothing is read until they are used. */
public fun Client.votebox(id: String): VoteboxDocument = VoteboxDocument(this, id)
