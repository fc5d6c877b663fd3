package dinh

import dinh.model.AttendanceMark
import dinh.model.FeedbackKind
import dinh.model.Minutes
import dinh.model.SealVerdict
import dinh.model.VoteMethod
import dinh.model.VoteTally
import dinh.model.VoteThreshold
import java.io.File
import java.nio.file.Path as FilePath
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.async
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.boolean
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** Plays testdata/scenario.json: through the public SDK, over the real library, a real relay process, real files and sockets. */
class ScenarioTest {
    @Test
    fun theStory(@TempDir folder: FilePath) = runBlocking {
        val story = Json.parseToJsonElement(File(TESTDATA, "scenario.json").readText()).jsonObject
        val steps = story.getValue("steps").jsonArray.map { it.jsonObject }
        val player = Player(folder)
        try {
            for ((number, step) in steps.withIndex()) {
                try {
                    player.play(step)
                } catch (e: Throwable) {
                    throw AssertionError("step $number: $step", e)
                }
            }
        } finally {
            player.stop()
        }
        println("kotlin: the story, ${steps.size} steps")
    }
}

private fun kindOf(error: DinhException): String =
    when (error) {
        is DinhException.Closed -> "closed"
        is DinhException.Locked -> "locked"
        is DinhException.Store -> "store"
        is DinhException.NotFound -> "not_found"
        is DinhException.NotAllowed -> "not_allowed"
        is DinhException.Refused -> "refused"
        is DinhException.Invalid -> "invalid"
        is DinhException.BadCode -> "bad_code"
        is DinhException.NotReady -> "not_ready"
        is DinhException.Internal -> "internal"
    }

private fun plain(json: JsonElement?): Any? =
    when (json) {
        null, is JsonNull -> null
        is JsonObject -> json.mapValues { plain(it.value) }
        is JsonArray -> json.map { plain(it) }
        is JsonPrimitive -> if (json.isString) json.content else json.content.toBooleanStrictOrNull() ?: json.content.toLong()
    }

private fun plain(value: Value?): Any? =
    when (value) {
        null, is Value.Null -> null
        is Value.Bool -> value.value
        is Value.Integer -> value.value
        is Value.Str -> value.value
        is Value.Text -> value.value
        is Value.Map -> value.entries.mapValues { plain(it.value) }
        is Value.List -> value.values.map { plain(it) }
        else -> error("the story has no $value")
    }

private class Player(private val folder: FilePath) {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private val clients = mutableMapOf<String, Client>()
    private val phones = mutableMapOf<String, Phone>()
    private val kept = mutableMapOf<String, Any>()
    private var relay: Relay? = null

    suspend fun stop() {
        scope.cancel()
        clients.values.forEach { it.shutdown() }
        relay?.close()
    }

    suspend fun play(step: JsonObject) {
        if ("do" !in step) return
        val fails = step["fails"]?.jsonPrimitive?.content
        val made =
            try {
                Step(step).act()
            } catch (e: DinhException) {
                if (fails == null) throw e
                assertEquals(fails, kindOf(e), e.message)
                assertTrue(!e.message.isNullOrBlank(), "an error says what happened")
                return
            }
        check(fails == null) { "did not fail, and should have: $fails" }
        step["into"]?.let { kept[it.jsonPrimitive.content] = checkNotNull(made) { "made nothing" } }
    }

    private fun named(name: String): String {
        if (name.startsWith("join:")) return clients.getValue(name.removePrefix("join:")).joinCode
        val found = kept.getValue(name.substringBefore('.'))
        return when (val part = name.substringAfter('.', "")) {
            "" -> found as String
            "members" -> (found as Standing).members
            "roster" -> (found as Standing).roster.id
            "minutes" -> (found as Meeting).minutes.id
            "attendance" -> (found as Meeting).attendance.id
            "votebox" -> (found as Meeting).votebox.id
            else -> error("what is $part of $name?")
        }
    }

    private fun begin(relay: Relay) {
        this.relay = relay
    }

    private fun address(): String = checkNotNull(relay) { "no relay yet" }.address

    private inner class Step(private val json: JsonObject) {
        /** A text of the step, with what `$name` stands for. */
        fun text(key: String): String =
            Regex("""\$([\w.:]+)""").replace(json.getValue(key).jsonPrimitive.content) { named(it.groupValues[1]) }

        fun int(key: String): Int = json.getValue(key).jsonPrimitive.int

        fun flag(key: String): Boolean = json.getValue(key).jsonPrimitive.boolean

        fun texts(key: String): List<String> = json.getValue(key).jsonArray.map { it.jsonPrimitive.content }

        /** Texts by key, with what `$name` stands for. */
        fun data(key: String): Map<String, String> {
            val data = json.getValue(key).jsonObject
            return data.keys.associateWith { Step(data).text(it) }
        }

        fun at(key: String): Path = Path(*json.getValue(key).jsonArray.map { step(it.jsonPrimitive) }.toTypedArray())

        private fun step(part: JsonPrimitive): Any = if (part.isString) part.content else part.int

        /** What an earlier step kept, and is no text. */
        private inline fun <reified T> made(key: String): T =
            kept.getValue(json.getValue(key).jsonPrimitive.content.removePrefix("$")) as T

        fun member(key: String): String = named(json.getValue(key).jsonPrimitive.content)

        val name: String
            get() = json.getValue("client").jsonPrimitive.content

        val client: Client
            get() = clients.getValue(name)

        val branch: Branch
            get() = client.branch(if ("branch" in json) text("branch") else named("branch"))

        val document: Document
            get() = client.document(text("doc"))

        val minutes: MinutesDocument
            get() = client.minutes(text("minutes"))

        suspend fun act(): Any? = life() ?: writing() ?: papers() ?: letters()

        /** Does nothing, and gives null, if the step is of another group; [Unit] if it makes nothing. */
        private suspend fun life(): Any? =
            when (text("do")) {
                "open" -> open()
                "pause" -> client.pause()
                "resume" -> client.resume()
                "lock" -> client.lock()
                "unlock" -> client.unlock(phones.getValue(name).secrets)
                "shutdown" -> client.shutdown()
                "relay" -> begin(Relay(folder))
                "connect" -> client.setRelay(address())
                "disconnect" -> disconnect()
                "sync" -> sync()
                "sync_fails_offline" -> syncFailsOffline()
                "expect_pending" -> assertTrue(client.status.pending > 0)
                "found" -> found()
                "set_up" -> branch.setUp(text("name"))
                "join" -> join()
                "remove" -> branch.removeMember(member("member"), Reason.valueOf(text("reason").uppercase()))
                "expect_members" -> expectMembers()
                "expect_code" -> expectCode()
                else -> null
            }

        private suspend fun writing(): Any? =
            when (text("do")) {
                "create" -> branch.createDocument(text("space")).id
                "edit" -> assertNotNull(edit(), "nothing changed")
                "expect" -> assertEquals(plain(json["value"]), plain(document.get(at("path"))))
                "cursor" -> document.cursor(at("path"), int("index"))
                "expect_cursor" -> assertEquals(int("index"), document.index(at("path"), made("cursor")))
                "observe" -> Watch(scope, document.events)
                "expect_event" -> expectEvent(made<Watch<DocumentEvent>>("stream").next())
                "cancel" -> cancel(made<Watch<*>>("stream"))
                "expect_end" -> expectEnd(made<Watch<*>>("stream"))
                "many_streams" -> manyStreams()
                "bind" -> Field(document.bindText(at("path")))
                "type" -> made<Field>("field").type(text("text"), int("caret"), flag("composing"))
                "expect_news" -> made<Field>("field").mustHearOfOthers()
                "expect_field" -> made<Field>("field").mustShow(text("text"), int("caret"))
                "flush" -> made<Field>("field").binding.flush()
                "unbind" -> made<Field>("field").binding.close()
                else -> null
            }

        private suspend fun papers(): Any? =
            when (text("do")) {
                "import_roster" -> importRoster()
                "begin_meeting" -> branch.beginMeeting(newMeeting())
                "step" -> minutes.step(text("kind"), data("data"))
                "add_section" -> minutes.addSection(text("heading"))
                "add_block" -> minutes.addBlock(text("section"), text("kind"), text("text"), member("speaker"))
                "mark_attendance" ->
                    client.attendance(text("attendance")).markAttendance(member("member"), AttendanceMark.PRESENT)
                "move_motion" -> minutes.moveMotion(text("title"))
                "record_count" -> recordCount()
                "watch_minutes" -> Watch(scope, minutes.snapshots)
                "expect_watched" -> expectWatched(made("stream"))
                "expect_minutes" -> expectMinutes(minutes.snapshot())
                "seal" -> branch.seal(minutes)
                "expect_seal" -> expectSeal()
                else -> null
            }

        private suspend fun letters(): Any? =
            when (text("do")) {
                "open_mailbox" -> branch.openMailbox(member("member"))
                "mailbox" -> checkNotNull(branch.mailbox(member("member"), Mailbox.COMMITTEE)).id
                "no_mailbox" -> assertNull(branch.mailbox(member("member"), Mailbox.COMMITTEE))
                "begin_thread" ->
                    client.feedback(text("feedback"))
                        .beginThread(FeedbackKind.CONFIDENTIAL_REPORT, text("title"), text("text"))
                "expect_thread" -> expectThread()
                "search" -> search()
                else -> error("what is ${text("do")}?")
            }

        private suspend fun open() {
            val store = if ("store" in json) text("store") else name
            val phone = phones.getOrPut(store) { Phone(folder, store) }
            kept[store] = phone.member
            clients[name] = phone.open()
        }

        private suspend fun disconnect() {
            client.setRelay(null)
            withTimeout(PATIENCE) { client.statuses.first { it.link == LinkState.OFFLINE } }
        }

        private suspend fun sync() {
            for (name in texts("clients")) {
                assertEquals(SyncOutcome.Synced, clients.getValue(name).sync(PATIENCE), name)
            }
        }

        private suspend fun syncFailsOffline() {
            client.setRelay("ws://127.0.0.1:1/dinh/v1#" + address().substringAfter('#'))
            val outcome = client.sync(PATIENCE)
            assertTrue(outcome is SyncOutcome.Offline && outcome.trouble != null, "$outcome")
        }

        private suspend fun found(): String {
            val founded = client.foundBranch(named(name), "Máy của $name")
            assertEquals(24, founded.rootWords.split(" ").size)
            return founded.branch.id
        }

        private suspend fun join() {
            val (phone, officer) = client to clients.getValue(text("by"))
            val joined =
                scope.async(start = CoroutineStart.UNDISPATCHED) { phone.events.first { it is ClientEvent.Joined } }
            val role = Role.valueOf(text("role").uppercase())
            val welcome =
                officer.branch(text("branch")).admit(named(name), role, phone.joinCode, "Máy của $name", address())
            assertEquals(CodeKind.WELCOME, Codes.kind(welcome))
            assertEquals(text("branch"), phone.join(welcome).id)
            assertEquals(ClientEvent.Joined(text("branch")), withTimeout(PATIENCE) { joined.await() })
        }

        private suspend fun expectMembers() {
            val found = checkNotNull(branch.info())
            assertTrue(found.own == null || found.own?.member == named(name), "${found.own}")
            assertEquals(int("count"), found.devices.size)
        }

        private fun expectCode() {
            val kind = Codes.kind(text("code"))
            assertEquals(text("kind"), kind.name.lowercase())
            assertEquals("PNG", Codes.png(text("code"), 4).decodeToString(1, 4))
            assertTrue("<svg" in Codes.svg(text("code")))
        }

        private suspend fun edit(): String? = document.edit {
            for (write in json.getValue("writes").jsonArray.map { Step(it.jsonObject) }) {
                write.write(this)
            }
        }

        private fun write(edit: Edit) {
            when {
                "put" in json -> edit.put(at("put"), plain(json["value"]))
                "text" in json -> edit.text(at("text"), text("value"))
                "push" in json -> edit.push(at("push"), plain(json["value"]))
                "splice" in json -> edit.splice(at("splice"), int("index"), int("delete"), text("insert"))
                else -> error("what is $json?")
            }
        }

        private fun expectEvent(event: DocumentEvent?) {
            if (text("kind") == "snapshot") {
                assertTrue(event is DocumentEvent.Snapshot && !event.resync, "$event")
                val value = (event as DocumentEvent.Snapshot).value
                val found =
                    at("path").steps.fold<Any, Value?>(value) { within, step ->
                        if (step is Int) within[step] else within[step as String]
                    }
                assertEquals(plain(json["value"]), plain(found))
            } else {
                assertTrue(event is DocumentEvent.Changed, "$event")
                assertEquals(int("patches"), (event as DocumentEvent.Changed).patches.size, "$event")
                assertEquals(flag("local"), event.isLocal)
            }
        }

        private suspend fun cancel(watch: Watch<*>) {
            val before = liveStreams()
            watch.cancel()
            assertTrue(liveStreams() < before, "a stream that was cancelled is freed")
        }

        private suspend fun expectEnd(watch: Watch<*>) {
            while (watch.next() != null) {
                // What came before the end.
            }
        }

        private suspend fun manyStreams() {
            val (before, observed) = liveStreams() to document
            repeat(int("count")) { assertTrue(observed.events.first() is DocumentEvent.Snapshot) }
            assertTrue(liveStreams() <= before, "${liveStreams() - before} streams are not freed")
        }

        private suspend fun importRoster() {
            val csv = text("csv").encodeToByteArray()
            val found = client.roster(text("roster")).importCsv(csv, text("authority"))
            assertEquals(RosterImport(int("people"), true, listOf(), found.ignored), found)
        }

        private fun newMeeting() =
            NewMeeting(
                meeting = text("meeting"),
                period = text("period"),
                header = data("header"),
                chair = member("chair"),
                recorder = member("recorder"),
            )

        private suspend fun recordCount(): String {
            val tally = VoteTally(int("yes"), int("no"), int("abstain"))
            val count = NewCount(text("motion"), VoteMethod.SHOW_OF_HANDS, VoteThreshold.MORE_THAN_HALF, tally)
            return minutes.recordCount(count, client.attendance(text("attendance")), client.roster(text("roster")))
        }

        private suspend fun expectWatched(watch: Watch<Snapshot<Minutes>>) {
            do {
                val shown = (watch.next() as Snapshot.Value).value
                val found = shown.outline.sections.any { it.heading == text("section") }
            } while (found != flag("found"))
        }

        private fun expectMinutes(minutes: Minutes) {
            val sections = minutes.outline.sections
            assertEquals(text("state"), minutes.life.state?.name?.lowercase())
            assertEquals(texts("sections"), sections.map { it.heading })
            assertEquals(texts("blocks"), sections.flatMap { it.blocks }.map { it.text })
        }

        private suspend fun expectSeal() {
            val sealed = checkNotNull(minutes.seal())
            assertEquals(SealVerdict.VALID, sealed.verified)
            assertEquals(int("late"), sealed.late.size)
        }

        private suspend fun expectThread() {
            val threads = client.feedback(text("feedback")).snapshot()
            assertEquals(text("text"), threads.single { it.id == text("thread") }.messages[0].text)
        }

        private suspend fun search() {
            val hits = client.search(text("query"), 10)
            assertEquals(int("count"), hits.size)
            for (hit in hits) {
                assertEquals(text("found"), hit.highlights.joinToString(" ") { hit.text.substring(it.start, it.end) })
            }
        }
    }
}
