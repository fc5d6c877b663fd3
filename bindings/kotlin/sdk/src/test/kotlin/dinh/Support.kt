package dinh

import java.io.File
import java.nio.file.Path as FilePath
import kotlin.concurrent.thread
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.withTimeoutOrNull
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue

/** How long a test waits for what must come. */
internal val PATIENCE = 60.seconds

/** The folder with the story and the samples. */
internal val TESTDATA: File =
    File(System.getenv("DINH_TESTDATA") ?: "${System.getProperty("basedir") ?: "."}/../../testdata")

/** How many streams of this process the native library has not freed. */
internal fun liveStreams(): Int = dinh.ffi.liveStreams().toInt()

/** That the native library frees what was begun since then. Of a wait that is cancelled it takes a moment. */
internal suspend fun mustHaveFreed(before: Int) {
    withTimeoutOrNull(5.seconds) { while (liveStreams() > before) delay(10.milliseconds) }
    assertTrue(liveStreams() <= before, "${liveStreams() - before} streams and waits are not freed")
}

/** The store of a device in a folder: opens it, and opens it again. */
internal class Phone(private val folder: FilePath, private val name: String) {
    val secrets: Secrets = Secrets.generate()
    val member: String = newMemberId()

    suspend fun open(relay: String? = null): Client =
        Client.open("$folder/$name.redb", "$folder/$name.marker", secrets, relay)
}

/** A relay's process. Where its program is says DINH_RELAY; otherwise it is looked for beside the native library. */
internal class Relay(folder: FilePath) : AutoCloseable {
    private val process: Process

    /** As the relay prints it. */
    val address: String

    init {
        val program = System.getenv("DINH_RELAY") ?: "${System.getProperty("jna.library.path")}/dinh-relay"
        check(File(program).canExecute()) { "no relay at $program: cargo build -p dinh-server, or set DINH_RELAY" }
        process =
            ProcessBuilder(program, "serve", "--data", "$folder/relay", "--listen", "127.0.0.1:0")
                .redirectError(ProcessBuilder.Redirect.DISCARD)
                .start()
        val printed = process.inputStream.bufferedReader()
        val found = generateSequence { printed.readLine() }.firstNotNullOfOrNull { Regex("""ws://\S+""").find(it) }
        address = checkNotNull(found) { "the relay printed no address" }.value
        thread(isDaemon = true) { runCatching { printed.forEachLine {} } }
    }

    override fun close() {
        process.destroyForcibly().waitFor()
    }
}

/**
 * A flow whose values a test takes one by one. The flow is begun before this returns. Unless it is eager, it is asked for another value
 * when the test asks for one.
 */
internal class Watch<T : Any>(scope: CoroutineScope, flow: Flow<T>, isEager: Boolean = false) {
    private val seen = Channel<T>()
    private val asked = Channel<Unit>(Channel.UNLIMITED)
    private var isFirst = true

    private val job =
        scope.launch(start = CoroutineStart.UNDISPATCHED) {
            try {
                flow.collect {
                    seen.send(it)
                    if (!isEager) asked.receive()
                }
                seen.close()
            } catch (e: DinhException) {
                seen.close(e)
            }
        }

    /** The next value; null when the flow has ended. */
    suspend fun next(): T? {
        if (!isFirst) asked.trySend(Unit)
        isFirst = false
        val got = withTimeout(PATIENCE) { seen.receiveCatching() }
        got.exceptionOrNull()?.let { throw it }
        return got.getOrNull()
    }

    /** Ends the collecting while it waits for the native library. */
    suspend fun cancel() {
        asked.trySend(Unit)
        delay(20.milliseconds)
        withTimeout(PATIENCE) { job.cancelAndJoin() }
    }
}

/** A field on a screen: what the test's keyboard types into, and what it shows. */
internal class Field(val binding: TextBinding) {
    private var shown = FieldState(binding.text, 0, 0)

    /** The keyboard made the field this. */
    fun type(text: String, caret: Int, isComposing: Boolean) {
        shown = binding.edit(text, caret, caret, isComposing) ?: FieldState(text, caret, caret)
    }

    suspend fun mustHearOfOthers() {
        assertEquals(TextNews.Others, withTimeout(PATIENCE) { binding.news.first() })
    }

    /** Takes in what others wrote, as an app does, until the field shows this. It may have to wait for what was typed to be on disk. */
    suspend fun mustShow(text: String, caret: Int) {
        val expected = FieldState(text, caret, caret)
        while (shown != expected && withTimeoutOrNull(PATIENCE) { binding.news.first() } != null) {
            binding.absorb()?.let { shown = it }
        }
        assertEquals(expected, shown)
        assertEquals(text, binding.text)
    }
}

/** What a block fails with. It may suspend. */
internal inline fun <reified E : Throwable> failing(block: () -> Unit): E {
    try {
        block()
    } catch (e: Throwable) {
        return e as? E ?: throw AssertionError("failed with $e", e)
    }
    throw AssertionError("did not fail")
}
