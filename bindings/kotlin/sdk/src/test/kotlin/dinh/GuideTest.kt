package dinh

import first.main as runFirst
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.PrintStream
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** What docs/embedding-kotlin.md shows is compiled (bindings/kotlin/samples), but what it says is not. */
class GuideTest {
    private val kotlin = File(System.getProperty("basedir") ?: ".").absoluteFile.normalize().parentFile
    private val guide = File(kotlin, "../../docs/embedding-kotlin.md").readText()

    /** The blocks of a language, but those that say that they are not compiled. */
    private fun blocks(language: String): List<String> =
        Regex("(<!-- not compiled here -->\n)?```$language\n(.*?)```", RegexOption.DOT_MATCHES_ALL)
            .findAll(guide)
            .filter { it.groupValues[1].isEmpty() }
            .map { it.groupValues[2] }
            .toList()

    private fun lines(text: String) = text.lines().map { it.trim() }.filter { it.isNotEmpty() }

    @Test
    fun whatTheGuideShowsIsCompiled() {
        val sources = File(kotlin, "samples").walk().filter { it.extension == "kt" }.map { it.readText() }.toList()
        val compiled = sources.map { lines(it).joinToString("\n", "\n", "\n") }
        val shown = blocks("kotlin")
        for (block in shown) {
            val wanted = lines(block).joinToString("\n", "\n", "\n")
            assertTrue(compiled.any { wanted in it }, "no sample has:\n$block")
        }
        assertTrue(shown.size > 10, "${shown.size} blocks")
        println("kotlin: the guide's ${shown.size} blocks are compiled")
    }

    @Test
    fun theFirstProgramIsWholeAndRuns() {
        val project = File(kotlin, "samples/first")
        assertTrue(File(project, "src/main/kotlin/First.kt").readText() in blocks("kotlin"))
        assertTrue(File(project, "pom.xml").readText() in blocks("xml"))
        val printed = ByteArrayOutputStream()
        val screen = System.out
        System.setOut(PrintStream(printed, true, Charsets.UTF_8))
        try {
            runFirst()
        } finally {
            System.setOut(screen)
        }
        val expected = blocks("text").first()
        assertEquals(expected, printed.toString(Charsets.UTF_8))
    }
}
