package dinh

import dinh.ffi.Command
import dinh.ffi.SnapshotKind
import dinh.model.Digest
import dinh.model.GivenTask
import dinh.model.Notice
import dinh.model.Roster
import dinh.model.SpaceIndex
import dinh.model.TaskStatus
import kotlinx.serialization.builtins.ListSerializer

/** A row of a roster's file that is wrong. */
public data class RosterProblem(
    /** Its line in the file, from 1. */
    public val line: Int,
    /** The column, by its name in the file; empty if it is the whole row. */
    public val column: String,
    /** What is wrong, for people. */
    public val detail: String,
)

/** What a roster's file says. */
public data class RosterImport(
    /** How many people it holds. */
    public val people: Int,
    /**
     * Whether they were written. Not if there are problems: who is not in the file is taken off the roster, so a mistake in one row
     * would take its member off.
     */
    public val isWritten: Boolean,
    /** Which rows are wrong. */
    public val problems: List<RosterProblem>,
    /** Columns that were not taken. */
    public val ignored: List<String>,
)

/** The people of a branch, as the body that keeps the members' records says. It is imported, not typed. */
public class RosterDocument internal constructor(client: Client, id: String) :
    ModelDocument<Roster>(client, id, SnapshotKind.ROSTER, Roster.serializer()) {
    /**
     * Makes the roster what a spreadsheet says that was saved as CSV: who is not in it is taken off. If a row is wrong, nothing is
     * written. By an officer.
     *
     * @param authority the body that keeps the records that the file comes from.
     */
    public suspend fun importCsv(file: ByteArray, authority: String): RosterImport {
        val found = native { client.ffi.importRoster(id, authority, file) }
        val problems = found.problems.map { RosterProblem(it.line.toInt(), it.column, it.detail) }
        return RosterImport(found.people.toInt(), found.isWritten, problems, found.ignored)
    }
}

/** Tasks that resolutions and minutes gave, and how far they are. */
public class TasksDocument internal constructor(client: Client, id: String) :
    ModelDocument<List<GivenTask>>(client, id, SnapshotKind.TASKS, ListSerializer(GivenTask.serializer())) {
    /**
     * Gives a task. Gives its id. By the committee.
     *
     * @param owners members.
     * @param due by when, `YYYY-MM-DD`.
     * @param from what it comes from: a document, and the id of an assignment there.
     */
    public suspend fun giveTask(title: String, owners: List<String>, due: String, from: String): String =
        make(Command.GiveTask(title, owners, due, from))

    /** Says how far a task is. Gives the report's id. [percent]: 0 to 100, if it can be said. */
    public suspend fun reportTask(task: String, text: String, percent: Int? = null): String =
        make(Command.ReportTask(task, percent?.let { count(it) }, text))

    /** Says what became of a task. By the committee. */
    public suspend fun setTaskStatus(task: String, status: TaskStatus): Unit =
        act(Command.SetTaskStatus(task, dinh.ffi.TaskStatus.valueOf(status.name)))
}

/** A notice of the committee. Its text is typed in at `Path("text")`. */
public class NoticeDocument internal constructor(client: Client, id: String) :
    ModelDocument<Notice>(client, id, SnapshotKind.NOTICE, Notice.serializer()) {
    /** Says that this device's member has read it. Saying it again changes nothing. */
    public suspend fun hasReadNotice(): Unit = act(Command.HasReadNotice)
}

/** What reviewers see of a branch. [Branch.keepDigest] brings it up to date. */
public class DigestDocument internal constructor(client: Client, id: String) :
    ModelDocument<Digest>(client, id, SnapshotKind.DIGEST, Digest.serializer())

/** What a space holds. Whoever makes a document enters it: the functions of [Branch] do. */
public class IndexDocument internal constructor(client: Client, id: String) :
    ModelDocument<SpaceIndex>(client, id, SnapshotKind.INDEX, SpaceIndex.serializer()) {
    /** Says that a document is one with another, [sameAs], which is the one to use. By an officer. */
    public suspend fun link(document: String, sameAs: String): Unit = act(Command.Link(document, sameAs))
}

/** The people of a branch: nothing is read until they are used. */
public fun Client.roster(id: String): RosterDocument = RosterDocument(this, id)

/** Tasks: nothing is read until they are used. */
public fun Client.tasks(id: String): TasksDocument = TasksDocument(this, id)

/** A notice: nothing is read until it is used. */
public fun Client.notice(id: String): NoticeDocument = NoticeDocument(this, id)

/** What reviewers see of a branch: nothing is read until it is used. */
public fun Client.digest(id: String): DigestDocument = DigestDocument(this, id)

/** What a space holds: nothing is read until it is used. */
public fun Client.index(id: String): IndexDocument = IndexDocument(this, id)
