package dinh

import dinh.ffi.Command
import dinh.ffi.SnapshotKind
import dinh.model.FeedbackKind
import dinh.model.FeedbackSteps
import dinh.model.FeedbackThread
import kotlinx.serialization.builtins.ListSerializer

/**
 * Threads of feedback, oldest first: those that the whole branch reads ([Standing.feedback]), or those of a mailbox
 * ([Branch.mailbox]), which nobody else even knows of. What was said never changes; a correction is another message.
 */
public class FeedbackDocument internal constructor(client: Client, id: String) :
    ModelDocument<List<FeedbackThread>>(
        client,
        id,
        SnapshotKind.THREADS,
        ListSerializer(FeedbackThread.serializer()),
    ) {
    /**
     * Begins a thread. Gives its id. A confidential report and a reserved opinion are refused in the document that the whole branch
     * reads.
     *
     * @param language in which it is written, ISO 639.
     * @param subject the document, place or vote that it is about, in words of the app's.
     * @param onBehalfOf the member for whom this device's member writes it down.
     */
    public suspend fun beginThread(
        kind: FeedbackKind,
        title: String,
        text: String,
        language: String = "vi",
        subject: String? = null,
        onBehalfOf: String? = null,
    ): String {
        val what = dinh.ffi.FeedbackKind.valueOf(kind.name)
        return make(Command.BeginThread(what, title, text, language, subject, onBehalfOf))
    }

    /** Says something in a thread. Gives the message's id. The parameters are as in [beginThread]. */
    public suspend fun say(
        thread: String,
        text: String,
        language: String = "vi",
        onBehalfOf: String? = null,
    ): String = make(Command.Say(thread, text, language, onBehalfOf))

    /** Says who deals with a thread. By the committee, or the upper body in its mailboxes. */
    public suspend fun setHandler(thread: String, member: String): Unit = act(Command.SetHandler(thread, member))

    /**
     * Takes a step of a thread's life. Gives the event's id. What would not count is refused.
     *
     * @param kind one of [FeedbackSteps], where it says what belongs to each.
     */
    public suspend fun stepThread(thread: String, kind: String, data: Map<String, String> = mapOf()): String =
        make(Command.StepThread(thread, kind, data))

    /** Settles a dispute about where a thread is. Gives the event's id. [choose]: the event that holds. */
    public suspend fun resolve(thread: String, choose: String): String =
        stepThread(thread, FeedbackSteps.RESOLVE, mapOf("choose" to choose))
}

/** A document of threads: nothing is read until it is used. */
public fun Client.feedback(id: String): FeedbackDocument = FeedbackDocument(this, id)
