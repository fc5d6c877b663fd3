// Takes minutes in a terminal; README.md lists the commands.

import dinh.*
import dinh.model.*
import java.io.File
import java.io.PrintStream
import java.util.Base64
import kotlin.system.exitProcess
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.*

/** The device's secrets. A real app keeps them in the platform's keystore (docs/embedding-kotlin.md), never in a file. */
fun secrets(folder: File): Secrets {
    val file = File(folder, "secrets")
    if (!file.exists()) {
        val drawn = Secrets.generate()
        val all = listOf(drawn.device, checkNotNull(drawn.wrap), drawn.wrapPublic, drawn.store)
        file.writeText(all.joinToString("\n") { Base64.getEncoder().encodeToString(it) })
    }
    val (device, wrap, wrapPublic, store) = file.readLines().map { Base64.getDecoder().decode(it) }
    return Secrets(device, wrap, wrapPublic, store)
}

/** What the user can put right. */
class Trouble(message: String) : Exception(message)

class App(private val client: Client, private val folder: File) {
    /** For what goes on beside the commands. */
    val background = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    suspend fun run(line: String) {
        val (command, rest) = line.trim().split(" ", limit = 2) + ""
        when (command) {
            "" -> {}
            "found" -> found(rest)
            "join" -> println("join code: ${client.joinCode}")
            "admit" -> admit(rest)
            "welcome" -> welcome(rest)
            "begin" -> client.branch(branch().id).beginMeeting(NewMeeting(meeting = rest, period = rest))
            "section" -> minutes().addSection(rest)
            "block" -> minutes().addBlock(lastSection().id, BlockKinds.SPEECH, rest, speaker = branch().own?.member)
            "type" -> type(rest)
            "ask" -> votebox().ask(rest)
            "vote" -> vote(rest)
            "show" -> shown().forEach { println(it) }
            "watch" -> watch()
            "wait" -> wait(rest)
            "sync" -> sync()
            "status" -> client.status.let { println("${it.link.name.lowercase()}, ${it.pending} to send") }
            else -> throw Trouble("no command $command: README.md lists them")
        }
    }

    /** The branch of this device: an app for several would let people choose. */
    private suspend fun branch(): BranchInfo =
        client.branches().firstOrNull() ?: throw Trouble("no branch yet: found one, or join one")

    /** The last meeting. */
    private suspend fun meeting(): ListedMeeting? = client.branch(branch().id).meetings().lastOrNull()

    private suspend fun minutes(): MinutesDocument = meeting()?.minutes ?: throw Trouble("no meeting yet: begin one, or sync")

    private suspend fun votebox(): VoteboxDocument = meeting()?.votebox ?: throw Trouble("no meeting yet: begin one, or sync")

    private suspend fun lastSection(): OutlineSection =
        minutes().snapshot().outline.sections.lastOrNull() ?: throw Trouble("no section yet: add one")

    private suspend fun lastBlock(): Block = lastSection().blocks.lastOrNull() ?: throw Trouble("no block yet: add one")

    private suspend fun sync() =
        when (val outcome = client.sync(30.seconds)) {
            is SyncOutcome.Synced -> println("synced")
            is SyncOutcome.Partial -> println("not done: ${outcome.pending} to send")
            is SyncOutcome.Offline -> println("offline")
        }

    private suspend fun found(called: String) {
        val words = newRootWords()
        println("write on paper: $words")
        client.foundBranch(newMemberId(), folder.name, words).branch.setUp(called)
    }

    private suspend fun admit(what: String) {
        val (role, named, code) = what.split(" ", limit = 3) + listOf("", "")
        val address = client.relay ?: throw Trouble("nobody joins without a relay: start with its address")
        val known = Role.entries.find { it.name.equals(role, ignoreCase = true) } ?: throw Trouble("no role $role")
        val (ours, member) = client.branch(branch().id) to newMemberId()
        val welcome = ours.admit(member, known, code, named, address)
        ours.openMailbox(member)
        println("welcome code: $welcome")
    }

    private suspend fun welcome(code: String) {
        val ours = client.join(code)
        // The code named a relay: it is kept for the next start.
        client.relay?.let { File(folder, "relay").writeText(it) }
        withTimeoutOrNull(60.seconds) { ours.joined() } ?: throw Trouble("no answer in a minute: is the relay there?")
        println("joined")
    }

    /** Types as a keyboard does. An app keeps the binding while its field has the focus, and takes in what others write. */
    private suspend fun type(text: String) {
        minutes().document.bindText(lastBlock().textPath).use { binding ->
            for (letter in text.codePoints().toArray()) {
                val field = binding.text + String(Character.toChars(letter))
                binding.edit(field, field.length, field.length, isComposing = false)
            }
            binding.flush()
        }
    }

    private suspend fun vote(choice: String) {
        val cast = BallotChoice.entries.find { it.name.equals(choice, ignoreCase = true) } ?: throw Trouble("no choice $choice")
        val question = votebox().snapshot().lastOrNull { it.isOpen } ?: throw Trouble("no open question: ask one")
        votebox().cast(question.id, cast)
    }

    /** The meeting in lines. */
    private suspend fun shown(): List<String> {
        val names = branch().devices.associate { it.member to (it.name ?: it.member.take(8)) }
        val found = minutes().snapshot()
        val lines = mutableListOf("MINUTES ${found.period.value.orEmpty()}")
        for (section in found.outline.sections) {
            lines += "# ${section.heading}"
            section.blocks.mapTo(lines) { "${names[it.speaker.value] ?: "?"}: ${it.text}" }
        }
        for (question in votebox().snapshot()) {
            val ballots = question.ballots.map { (member, choice) -> "${names[member] ?: "?"} ${choice.value?.name?.lowercase()}" }
            lines += "? ${question.title} ${ballots.sorted().joinToString(", ")}".trimEnd()
        }
        return lines
    }

    private suspend fun watch() {
        for (changes in listOf(minutes().snapshots, votebox().snapshots)) {
            background.launch { changes.collect { if (it is Snapshot.Value) shown().forEach { line -> println("* $line") } } }
        }
    }

    private suspend fun wait(text: String) {
        val found = withTimeoutOrNull(60.seconds) { while (!isShown(text)) delay(100) }
        found ?: throw Trouble("waited a minute for: $text")
    }

    private suspend fun isShown(text: String): Boolean =
        try {
            shown().any { text in it }
        } catch (e: Exception) {
            // It is not here yet.
            if (e is Trouble || e is DinhException.NotFound || e is DinhException.NotReady) false else throw e
        }

    /** Brings the readers of spaces in line with roles, as each device of a branch does when people change. */
    fun keepReaders() = background.launch(start = CoroutineStart.UNDISPATCHED) {
        client.events.collect { event ->
            try {
                if (event is ClientEvent.CharterChanged) client.branch(event.branch).keepReaders()
            } catch (e: DinhException) {
                // A key is on its way: the next change is another try.
            }
        }
    }
}

fun main(args: Array<String>): Unit = runBlocking {
    if (args.isEmpty()) {
        println("usage: kotlin-minutes FOLDER [RELAY]")
        exitProcess(2)
    }
    System.setOut(PrintStream(System.out, true, Charsets.UTF_8))
    val folder = File(args[0]).apply { mkdirs() }
    val relay = args.getOrNull(1) ?: File(folder, "relay").takeIf { it.exists() }?.readText()
    val client = Client.open("$folder/store.dinh", "$folder/marker", secrets(folder), relay)
    val app = App(client, folder)
    app.keepReaders()
    val input = System.`in`.bufferedReader()
    while (true) {
        // On a thread that may wait.
        val line = withContext(Dispatchers.IO) { input.readLine() } ?: break
        if (line.trim() == "quit") break
        try {
            app.run(line)
        } catch (e: Exception) {
            if (e !is Trouble && e !is DinhException) throw e
            println("error: ${e.message}")
        }
    }
    app.background.cancel()
    client.shutdown()
}
