package dinh

import dinh.model.BlockKinds
import java.nio.file.Path as FilePath
import java.util.Locale
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/**
 * What a key stroke and an edit cost through the SDK, in µs. Not a test of the usual suite: `bindings/test.sh bench`, or
 * `mvn -f bindings/kotlin/pom.xml -Dgroups=bench -Ddinh.native=$PWD/target/release test` with a library that was built for release.
 */
@Tag("bench")
class BenchTest {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    /** Half of the rounds insert a letter, half of them take it away again. */
    private inline fun measure(what: String, round: (isInsert: Boolean) -> Unit) {
        val times = LongArray(ROUNDS)
        for (n in -WARM_UP until ROUNDS) {
            val start = System.nanoTime()
            round(n % 2 == 0)
            if (n >= 0) times[n] = System.nanoTime() - start
        }
        times.sort()
        val (median, p95) = times[ROUNDS / 2] / 1e3 to times[ROUNDS * 95 / 100] / 1e3
        println(String.format(Locale.ROOT, "kotlin: %-55s %9.1f %9.1f", what, median, p95))
    }

    @Test
    fun keyStrokesAndEdits(@TempDir folder: FilePath) = runBlocking {
        val phone = Phone(folder, "an")
        val client = phone.open()
        val branch = client.foundBranch(phone.member, "máy").branch
        val standing = branch.setUp("Chi bộ")
        val document = branch.createDocument(standing.members)
        val words = "Nhất trí làm 200 m đoạn đầu tuyến. ".repeat(12)
        val (body, typed) = Path("body") to Path("typed")
        document.edit {
            text(body, words)
            text(typed, words)
        }
        println(String.format(Locale.ROOT, "kotlin: %-55s %9s %9s", "$ROUNDS rounds each, in µs", "median", "p95"))
        measure("an empty call") { libraryVersion }

        val binding = document.bindText(typed)
        measure("a key stroke in a bound field of ${words.length}, and its text") { isInsert ->
            val shown = if (isInsert) "${words}a" else words
            binding.edit(shown, shown.length, shown.length, isComposing = false)
            assertEquals(shown.length, binding.text.length)
        }
        binding.flush()
        binding.close()

        measure("an edit until it is on disk") { isInsert ->
            assertNotNull(document.edit { splice(body, 0, if (isInsert) 0 else 1, if (isInsert) "a" else "") })
        }

        val events = Watch(scope, document.events, isEager = true)
        events.next()
        measure("an edit until an observer of the document has its patch") { isInsert ->
            document.edit { splice(body, 0, if (isInsert) 0 else 1, if (isInsert) "a" else "") }
            events.next() as DocumentEvent.Changed
        }
        events.cancel()

        val minutes = branch.beginMeeting(NewMeeting("2026-12", "2026-12")).minutes
        val block = minutes.addBlock(minutes.addSection("Thảo luận"), BlockKinds.SPEECH, words)
        val at = minutes.textPath(block)
        val snapshots = Watch(scope, minutes.snapshots, isEager = true)
        snapshots.next()
        measure("an edit until an observer has the minutes with it") { isInsert ->
            minutes.document.edit { splice(at, 0, if (isInsert) 0 else 1, if (isInsert) "a" else "") }
            do {
                val shown = (snapshots.next() as Snapshot.Value).value
                val length = shown.outline.block(block)?.text?.length
            } while (length != words.length + (if (isInsert) 1 else 0))
        }
        snapshots.cancel()
        client.shutdown()
    }

    private companion object {
        const val ROUNDS = 2_000
        const val WARM_UP = 500
    }
}
