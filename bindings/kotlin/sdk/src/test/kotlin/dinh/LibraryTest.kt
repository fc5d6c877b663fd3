package dinh

import dinh.ffi.DinhException as FfiException
import dinh.model.MeetingKind
import dinh.model.SpacePurpose
import java.nio.file.Path as FilePath
import java.util.concurrent.ConcurrentLinkedQueue
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.AfterAll
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** What the story does not tell, over the real library. */
class LibraryTest {
    @TempDir lateinit var folder: FilePath

    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private val phone by lazy { Phone(folder, "an") }
    private val text = Path("text")

    private fun told(test: suspend () -> Unit): Unit = runBlocking {
        test()
        count += 1
    }

    /** A phone whose branch has a document with a text. */
    private suspend fun begun(): Pair<Client, Document> {
        val client = phone.open()
        val branch = client.foundBranch(phone.member, "Máy của An").branch
        val document = branch.createDocument(branch.createSpace())
        document.edit { text(text, "chào") }
        return client to document
    }

    /** Opens the store of a client that was closed and not shut down: it takes a moment to let go of the file. */
    private suspend fun reopened(): Client = withTimeout(PATIENCE) {
        var client: Client? = null
        while (client == null) {
            try {
                client = phone.open()
            } catch (e: DinhException.Store) {
                assertEquals(StoreFailure.IN_USE, e.failure)
                delay(20.milliseconds)
            }
        }
        checkNotNull(client)
    }

    @Test
    fun aWaitForSyncThatIsCancelledHoldsNothing() = told {
        val (client, document) = begun()
        val before = liveStreams()
        val wait = scope.async(start = CoroutineStart.UNDISPATCHED) { client.sync(PATIENCE) }
        assertEquals(before + 1, liveStreams())
        delay(100.milliseconds)
        assertTrue(wait.isActive)
        withTimeout(5.seconds) { wait.cancelAndJoin() }
        assertTrue(wait.isCancelled)
        mustHaveFreed(before)
        // If the wait held the client, its store would stay in use.
        client.close()
        val again = reopened()
        assertEquals("chào", again.document(document.id).get(text).string)
        again.shutdown()
    }

    @Test
    fun aSyncWithoutARelayEndsInTime() = told {
        val (client, _) = begun()
        assertEquals(SyncOutcome.Offline(null), client.sync(200.milliseconds))
        assertEquals(Traffic(0, 0, 0), client.traffic)
        assertEquals(listOf<Quarantined>(), client.quarantined())
        client.shutdown()
    }

    @Test
    fun collectingThatIsCancelledFreesItsStream() = told {
        val (client, document) = begun()
        val before = liveStreams()
        val index = client.branch(client.branches().single().id).setUp("Chi bộ").membersIndex
        val collecting =
            listOf(client.statuses, client.events, document.events, index.snapshots).map { flow ->
                scope.launch(start = CoroutineStart.UNDISPATCHED) { flow.collect {} }
            }
        assertEquals(before + 4, liveStreams())
        // All of them have told what is, and wait for what comes.
        delay(200.milliseconds)
        assertTrue(collecting.all { it.isActive })
        for (job in collecting) withTimeout(5.seconds) { job.cancelAndJoin() }
        assertEquals(before, liveStreams())
        client.shutdown()
    }

    @Test
    fun aFlowTellsThatNothingCanBeReadAndGoesOn() = told {
        val (client, document) = begun()
        val watch = Watch(scope, document.events, isEager = true)
        assertTrue(watch.next() is DocumentEvent.Snapshot)
        client.pause()
        assertTrue(watch.next() is DocumentEvent.Unavailable)
        failing<DinhException.Locked> { document.get() }
        client.resume()
        val again = watch.next() as DocumentEvent.Snapshot
        assertTrue(again.resync)
        assertEquals("chào", again.value["text"].string)
        client.shutdown()
        assertNull(watch.next())
    }

    @Test
    fun aFlowMayHaveSeveralCollectors() = told {
        val (client, document) = begun()
        val flow = document.events
        val both = listOf(Watch(scope, flow), Watch(scope, flow))
        for (watch in both) assertTrue(watch.next() is DocumentEvent.Snapshot)
        document.edit { put(Path("title"), "Kế hoạch") }
        for (watch in both) {
            val event = watch.next() as DocumentEvent.Changed
            val put = Action.Put("title", Value.Str("Kế hoạch"), false)
            assertEquals(listOf(Patch(Path.root, put)), event.patches)
            assertTrue(event.isLocal)
        }
        both[0].cancel()
        document.edit { delete(Path("title")) }
        assertTrue(both[1].next() is DocumentEvent.Changed)
        client.shutdown()
        assertNull(both[1].next())
    }

    @Test
    fun whatIsClosedSaysSoAndClosingTwiceIsNoError() = told {
        val (client, document) = begun()
        val binding = document.bindText(text)
        val news = scope.async(start = CoroutineStart.UNDISPATCHED) { binding.news.toList() }
        binding.close()
        binding.close()
        assertEquals(listOf<TextNews>(), withTimeout(PATIENCE) { news.await() })
        assertEquals(listOf<TextNews>(), binding.news.toList())
        for (use in listOf({ binding.text }, { binding.absorb() }, { binding.replace(0, 0, "a", false) })) {
            says(failing<DinhException.Closed> { use() }, "closed")
        }
        client.shutdown()
        client.shutdown()
        client.close()
        client.close()
        says(failing<DinhException.Closed> { client.status }, "closed")
        says(failing<DinhException.Closed> { client.setRelay(null) }, "closed")
        says(failing<DinhException.Closed> { document.get() }, "closed")
        says(failing<DinhException.Closed> { document.edit { text(text, "") } }, "closed")
        says(failing<DinhException.Closed> { document.events.first() }, "closed")
        says(failing<DinhException.Closed> { document.bindText(text) }, "closed")
    }

    /** That what an error says is a sentence with this in it. */
    private fun says(error: DinhException, word: String) {
        val message = error.message.orEmpty()
        assertTrue(word in message, message)
        assertFalse(message.startsWith("detail="), message)
    }

    @Test
    fun errorsSayWhatIsWrongAndWhatTheirCauseIs() = told {
        val (client, document) = begun()
        val badId = failing<DinhException.Invalid> { client.document("nonsense").get() }
        says(badId, "nonsense")
        assertTrue(badId.cause is FfiException.Invalid)
        says(failing<DinhException.NotFound> { document.edit { splice(Path("nowhere"), 0, 0, "a") } }, "nowhere")
        says(failing<DinhException.Invalid> { document.edit { splice(text, 99, 0, "a") } }, "99")
        says(failing<DinhException.Invalid> { document.edit { splice(text, -1, 0, "a") } }, "-1")
        says(failing<DinhException.Invalid> { document.edit { put(text, Any()) } }, "value")
        says(failing<DinhException.Invalid> { client.setRelay("http://relay.example") }, "relay.example")
        says(failing<DinhException.Invalid> { Codes.png("dinh:join?x", 0) }, "1 to 255")
        failing<DinhException.BadCode> { Codes.kind("dinh:nonsense") }
        val inUse = failing<DinhException.Store> { phone.open() }
        assertEquals(StoreFailure.IN_USE, inUse.failure)
        assertTrue(inUse.cause is FfiException.Store)
        client.shutdown()
        val other = phone.secrets.let { Secrets(it.device, it.wrap, it.wrapPublic, Secrets.generate().store) }
        val wrongKey =
            failing<DinhException.Store> { Client.open("$folder/an.redb", "$folder/an.marker", other) }
        assertEquals(StoreFailure.WRONG_KEY, wrongKey.failure)
    }

    /** An app that cuts a title after twenty characters may cut an emoji. */
    @Test
    fun halfACharacterIsReplacedAndKeepsNothingOpen() = told {
        val (client, document) = begun()
        val half = "Họp 👍".dropLast(1)
        document.edit { put(Path("title"), half) }
        assertEquals("Họp \uFFFD", document.get(Path("title")).string)
        client.search(half, max = 3)
        val binding = document.bindText(text)
        binding.edit(half, half.length, half.length, isComposing = false)
        assertEquals("Họp \uFFFD", binding.text)
        binding.edit("Họp ", 4, 4, isComposing = false)
        // A view that has no selection.
        binding.edit("Họp.", -1, -1, isComposing = false)
        binding.flush()
        assertEquals("Họp.", document.get(text).string)
        binding.close()
        client.close()
        reopened().shutdown()
    }

    @Test
    fun aCoroutineThatIsCancelledIsNoError() = told {
        val (client, _) = begun()
        val before = liveStreams()
        val wait = scope.async(start = CoroutineStart.UNDISPATCHED) { client.sync(PATIENCE) }
        wait.cancel()
        failing<CancellationException> { wait.await() }
        mustHaveFreed(before)
        val calls = scope.async { while (true) client.branches() }
        delay(20.milliseconds)
        withTimeout(5.seconds) { calls.cancelAndJoin() }
        assertEquals(Lifecycle.OPEN, client.status.lifecycle)
        client.shutdown()
    }

    @Test
    fun othersWordsWaitWhileTheKeyboardComposes() = told {
        val (client, document) = begun()
        val binding = document.bindText(text)
        val field = Field(binding)
        field.type("chào d", 6, isComposing = true)
        document.edit { splice(text, 0, 0, "Kính ") }
        field.mustHearOfOthers()
        assertNull(binding.absorb())
        field.type("chào đ", 6, isComposing = true)
        field.mustShow("chào đ", 6)
        field.type("chào đồng ", 10, isComposing = false)
        field.mustShow("Kính chào đồng ", 15)
        binding.flush()
        assertEquals(Value.Text("Kính chào đồng "), document.get(text))
        // A field that says what changed: the caret is behind it.
        binding.replace(15, 0, "chí", isComposing = false)
        assertEquals("Kính chào đồng chí", binding.text)
        binding.flush()
        val flushed = document.get(text).string
        document.edit { setText(text, "Kính gửi: $flushed") }
        field.mustHearOfOthers()
        assertEquals(28, binding.absorb()?.selectionEnd)
        binding.close()
        client.shutdown()
    }

    @Test
    fun aScreenThatIsLateTakesNoneOfOthersWordsAway() = told {
        val (client, document) = begun()
        val binding = document.bindText(text)
        val field = Field(binding)
        field.type("chào", 4, isComposing = false)
        document.edit { splice(text, 0, 0, "Kính ") }
        field.mustHearOfOthers()
        assertEquals(FieldState("Kính chào", 9, 9), binding.absorb())
        // None of this is drawn: the keyboard goes on with what it knows.
        assertEquals(FieldState("Kính chào ", 10, 10), binding.edit("chào ", 5, 5, isComposing = false))
        assertNull(binding.edit("chào d", 6, 6, isComposing = true))
        assertNull(binding.edit("chào đ", 6, 6, isComposing = true))
        assertEquals("Kính chào đ", binding.text)
        assertEquals(FieldState("Kính chào đồng ", 15, 15), binding.edit("chào đồng ", 10, 10, isComposing = false))
        // The caret alone was moved.
        assertEquals(FieldState("Kính chào đồng ", 6, 9), binding.edit("chào đồng ", 1, 4, isComposing = false))
        // Now it is. What is deleted of it is what the user does not want.
        assertNull(binding.edit("Kính chào đồng ", 0, 5, isComposing = false))
        assertNull(binding.edit("chào đồng ", 0, 0, isComposing = false))
        assertEquals("chào đồng ", binding.text)
        binding.flush()
        assertEquals("chào đồng ", document.get(text).string)
        binding.close()
        client.shutdown()
    }

    @Test
    fun theLogIsTheAppsToTake() = told {
        val lines = ConcurrentLinkedQueue<LogRecord>()
        Logging.install(LogLevel.DEBUG) {
            lines += it
            error("what a sink throws is lost")
        }
        says(failing<DinhException.Invalid> { Logging.install(LogLevel.INFO) {} }, "installed already")
        val nobody = Relay(folder).use { it.address }
        val client = phone.open(relay = nobody)
        withTimeout(PATIENCE) { client.statuses.first { it.trouble != null } }
        assertTrue(client.sync(PATIENCE) is SyncOutcome.Offline)
        assertTrue(lines.any { it.level == LogLevel.DEBUG && it.target.startsWith("dinh") && it.text.isNotBlank() }, "$lines")
        Logging.setLevel(LogLevel.OFF)
        client.flush()
        lines.clear()
        client.sync(PATIENCE)
        assertEquals(listOf<LogRecord>(), lines.toList())
        client.shutdown()
    }

    @Test
    fun theSpacesOfABranchAreListed() = told {
        assertTrue(Regex("""\d+\.\d+\.\d+.*""").matches(libraryVersion), libraryVersion)
        assertEquals(1, protocolVersion)
        val (client, _) = begun()
        val branch = client.branch(client.branches().single().id)
        assertEquals(listOf<ListedSpace>(), branch.spaces())
        val standing = branch.setUp("Chi bộ thôn Đình")
        assertEquals(standing, branch.setUp("Chi bộ thôn Đình"))
        assertEquals(standing, branch.standing())
        branch.openMailbox(phone.member)
        branch.openMailbox(phone.member)
        val spaces = branch.spaces()
        val expected =
            listOf(SpacePurpose.BRANCH, SpacePurpose.COMMITTEE, SpacePurpose.MAILBOX_COMMITTEE, SpacePurpose.OVERSIGHT)
        assertEquals(expected, spaces.map { it.purpose }.sortedBy { it.name })
        val mailbox = spaces.single { it.purpose == SpacePurpose.MAILBOX_COMMITTEE }
        assertEquals(phone.member, mailbox.member)
        assertEquals(phone.member, mailbox.index.snapshot().member)
        assertEquals(standing.committeeIndex, spaces.single { it.purpose == SpacePurpose.COMMITTEE }.index)
        client.shutdown()
    }

    private fun listed(of: Meeting, period: String, kind: MeetingKind) =
        ListedMeeting(of.minutes, of.attendance, of.votebox, period, kind)

    @Test
    fun aMemberJoinsAndFindsWhatIsForMembers() = told {
        Relay(folder).use { relay ->
            val an = phone.open(relay.address)
            assertEquals(relay.address, an.relay)
            val ours = an.foundBranch(phone.member, "Máy của An").branch
            val standing = ours.setUp("Chi bộ thôn Đình")
            val regular = ours.beginMeeting(NewMeeting("2026-12", "2026-12"))
            val earlier = ours.beginMeeting(NewMeeting("2026-11", "2026-11", MeetingKind.THEMATIC))
            val committees = ours.beginMeeting(NewMeeting("bch-2026-12", "2026-12", MeetingKind.COMMITTEE))
            val forMembers =
                listOf(listed(earlier, "2026-11", MeetingKind.THEMATIC), listed(regular, "2026-12", MeetingKind.REGULAR))
            val forCommittee = listed(committees, "2026-12", MeetingKind.COMMITTEE)
            assertEquals((forMembers + forCommittee).toSet(), ours.meetings().toSet())
            assertEquals(3, ours.meetings().size)

            val other = Phone(folder, "binh")
            val binh = other.open()
            assertNull(binh.relay)
            val before = liveStreams()
            val welcome = ours.admit(other.member, Role.MEMBER, binh.joinCode, "Máy của Bình", relay.address)
            val branch = binh.join(welcome)
            assertEquals(relay.address, binh.relay)
            withTimeout(PATIENCE) { branch.joined() }
            assertEquals(other.member, branch.info()?.own?.member)
            // Who is in need not wait.
            withTimeout(5.seconds) { branch.joined() }
            mustHaveFreed(before)

            for (client in listOf(an, binh)) assertEquals(SyncOutcome.Synced, client.sync(PATIENCE))
            val theirs = checkNotNull(branch.standing())
            assertEquals(standing.members, theirs.members)
            val shared = listOf(standing.membersIndex, standing.roster, standing.feedback, standing.tasks).map { it.id }
            assertEquals(shared, listOf(theirs.membersIndex, theirs.roster, theirs.feedback, theirs.tasks).map { it.id })
            val hidden =
                listOf(theirs.committee, theirs.committeeIndex, theirs.oversight, theirs.oversightIndex, theirs.digest)
            assertEquals(listOf(null, null, null, null, null), hidden)
            assertEquals(forMembers.map { it.minutes.id }, branch.meetings().map { it.minutes.id })
            assertEquals(forMembers.map { it.votebox?.id }, branch.meetings().map { it.votebox?.id })
            failing<DinhException.Refused> { branch.beginDraft("2026-12") }
            // The relay is the app's to keep.
            binh.setRelay(null)
            assertNull(binh.relay)
            for (client in listOf(an, binh)) client.shutdown()
        }
    }

    @Test
    fun aWaitForABranchThatIsCancelledHoldsNothing() = told {
        val (client, _) = begun()
        val other = Phone(folder, "binh").open()
        val ours = client.branch(client.branches().single().id)
        failing<DinhException.NotFound> { other.branch(ours.id).joined() }
        // The relay is gone before it can be joined.
        val relay = Relay(folder).apply { close() }.address
        val branch = other.join(ours.admit(newMemberId(), Role.MEMBER, other.joinCode, "Máy của Bình", relay))
        val before = liveStreams()
        val wait = scope.async(start = CoroutineStart.UNDISPATCHED) { branch.joined() }
        assertEquals(before + 1, liveStreams())
        delay(100.milliseconds)
        assertTrue(wait.isActive)
        withTimeout(5.seconds) { wait.cancelAndJoin() }
        assertTrue(wait.isCancelled)
        failing<CancellationException> { wait.await() }
        mustHaveFreed(before)
        // A client that is closed will never be in the branch.
        val closed =
            scope.async(start = CoroutineStart.UNDISPATCHED) { failing<DinhException.Closed> { branch.joined() } }
        delay(100.milliseconds)
        other.shutdown()
        says(withTimeout(PATIENCE) { closed.await() }, "closed")
        mustHaveFreed(before)
        client.shutdown()
    }

    companion object {
        private var count = 0

        @AfterAll
        @JvmStatic
        fun closingLine() = println("kotlin: $count of what the story does not tell")
    }
}
