package dinh

import java.io.File
import java.nio.file.Files
import java.nio.file.Path as FilePath
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/**
 * Opens, observes and closes, again and again: memory, threads and files must stay where they are after the first rounds.
 * DINH_ROUNDS=10000 for the whole count. The heap is as large as it may get from the beginning (see pom.xml), so that what grows is
 * outside of it.
 */
class LeaksTest {
    private val rounds = System.getenv("DINH_ROUNDS")?.toInt() ?: 200
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    private class Used(val residentKib: Long, val threads: Int, val files: Int)

    /** What the process uses, of which threads and files are the library's. */
    private suspend fun used(folder: FilePath): Used {
        System.gc()
        // A client's thread ends a moment after `shutdown` returns.
        delay(1.seconds)
        val resident = File("/proc/self/status").readLines().single { it.startsWith("VmRSS:") }
        val threads = File("/proc/self/task").listFiles().orEmpty().map { File(it, "comm") }
        val files = File("/proc/self/fd").listFiles().orEmpty().map { it.toPath() }
        return Used(
            residentKib = resident.filter { it.isDigit() }.toLong(),
            threads = threads.count { runCatching { it.readText() }.getOrDefault("").startsWith("dinh-") },
            files = files.count { runCatching { Files.readSymbolicLink(it).startsWith(folder) }.getOrDefault(false) },
        )
    }

    private suspend fun repeated(times: Int, phone: Phone, doc: String) {
        repeat(times) {
            val client = phone.open()
            val watch = Watch(scope, client.document(doc).events)
            assertTrue(watch.next() is DocumentEvent.Snapshot)
            val binding = client.document(doc).bindText(Path("text"))
            assertEquals("chào", binding.text)
            binding.close()
            client.shutdown()
            assertNull(watch.next())
        }
    }

    @Test
    fun memoryThreadsAndFilesStayWhereTheyAre(@TempDir temporary: FilePath) = runBlocking {
        assumeTrue(File("/proc/self/status").isFile, "memory is measured on Linux")
        val folder = temporary.toRealPath()
        val phone = Phone(folder, "an")
        val client = phone.open()
        val branch = client.foundBranch(phone.member, "máy").branch
        val document = branch.createDocument(branch.createSpace())
        document.edit { text(Path("text"), "chào") }
        client.shutdown()
        repeated(maxOf(50, rounds / 10), phone, document.id)
        val streams = liveStreams()
        val before = used(folder)
        repeated(rounds, phone, document.id)
        val after = used(folder)
        val (first, last) = before.residentKib to after.residentKib
        println("kotlin: $rounds rounds of open, observe, bind, close: $first KiB before, $last KiB after")
        assertEquals(streams, liveStreams())
        assertEquals(before.threads, after.threads, "threads of the library")
        assertEquals(0, after.files, "open files of the store")
        // What is compiled and loaded meanwhile, and less than a tenth of the smallest thing that a round makes.
        assertTrue(last - first < 24 * 1024 + rounds / 10, "$first KiB before, $last KiB after")
    }
}
