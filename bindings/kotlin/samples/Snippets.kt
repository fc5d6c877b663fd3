// What docs/embedding-kotlin.md shows, line by line: compiled with the SDK's tests, which compare the two.

package samples

import dinh.Branch
import dinh.Client
import dinh.ClientEvent
import dinh.Codes
import dinh.Document
import dinh.DocumentEvent
import dinh.FieldState
import dinh.FormMarkup
import dinh.LogLevel
import dinh.Logging
import dinh.Mailbox
import dinh.Meeting
import dinh.MinutesDocument
import dinh.NewCount
import dinh.NewMeeting
import dinh.Path
import dinh.Role
import dinh.Secrets
import dinh.Snapshot
import dinh.Standing
import dinh.Status
import dinh.StoreFailure
import dinh.DinhException
import dinh.TextNews
import dinh.beginMeeting
import dinh.bindText
import dinh.branch
import dinh.foundBranch
import dinh.join
import dinh.keepReaders
import dinh.mailbox
import dinh.meetings
import dinh.model.AttendanceMark
import dinh.model.BlockKinds
import dinh.model.FeedbackKind
import dinh.model.MeetingKind
import dinh.model.Minutes
import dinh.model.MinutesSteps
import dinh.model.VoteMethod
import dinh.model.VoteTally
import dinh.model.VoteThreshold
import dinh.newMemberId
import dinh.newRootWords
import dinh.openMailbox
import dinh.openOwnMailbox
import dinh.seal
import dinh.search
import dinh.setUp
import dinh.standing

private fun show(what: Any?) = println(what)

private fun tell(what: String) = println(what)

private fun keep(name: String, what: String?) = println("$name: $what")

internal suspend fun opened(files: String, noBackup: String, secrets: Secrets, relay: String?): Client {
    val client = Client.open(store = "$files/store.dinh", marker = "$noBackup/marker", secrets, relay)
    return client
}

internal suspend fun founded(client: Client): Branch {
    val words = newRootWords()
    tell("Write these words on paper, and put it into the safe: $words")
    val branch = client.foundBranch(newMemberId(), "Máy của An", words).branch
    branch.setUp("Chi bộ thôn Đình")
    return branch
}

internal suspend fun admitted(phone: Client, branch: Branch, relay: String) {
    // On the new phone: its code, as a QR image (PNG) for the secretary's phone to scan.
    val image = Codes.png(phone.joinCode)

    show(image)
    val scanned = phone.joinCode
    // On the secretary's phone, which scanned it. The answer is shown as a QR image too.
    val member = newMemberId()
    val answer = branch.admit(member, Role.MEMBER, scanned, deviceName = "Máy của Bình", relay = relay)
    branch.openMailbox(member)

    // On the new phone, which scanned the answer:
    val home = phone.join(answer)
    keep("relay", phone.relay)
    home.joined()
}

internal suspend fun heard(client: Client) {
    client.events.collect { event ->
        when (event) {
            is ClientEvent.Joined -> client.branch(event.branch).openOwnMailbox()
            is ClientEvent.JoinFailed -> tell("This code is not for this phone: scan again, in person.")
            is ClientEvent.DeviceAdded -> tell("A device was admitted: ${event.device}")
            is ClientEvent.CharterChanged -> client.branch(event.branch).keepReaders()
            else -> {}
        }
    }
}

internal suspend fun edited(document: Document) {
    document.edit(message = "prices") {
        put(Path("prices", "sand"), 350_000)     // a key of a map; a String is replaced as a whole
        text(Path("prices", "remark"), "mỗi khối") // a text merges letter by letter
        push(Path("items"), "xi măng")           // lists: push, insert, delete
        splice(Path("text"), index = 0, delete = 4, insert = "Kính chào")
    }
    val sand = document.get(Path("prices", "sand"))
    show(sand)
}

internal suspend fun changed(document: Document) {
    document.events.collect { event ->
        when (event) {
            is DocumentEvent.Snapshot -> show(event.value)
            is DocumentEvent.Changed -> event.patches.forEach { show(it) }
            is DocumentEvent.Unavailable -> tell(event.detail)
        }
    }
}

internal suspend fun begun(branch: Branch, an: String, binh: String, chi: String): Meeting {
    val new = NewMeeting(meeting = "2026-12", period = "2026-12", chair = an, recorder = binh)
    val meeting = branch.beginMeeting(new)
    val minutes = meeting.minutes
    val called = mapOf("time" to "2026-12-05T19:30:00+07:00", "place" to "Nhà văn hóa thôn", "agenda" to "Đường thôn")
    minutes.step(MinutesSteps.CONVENED, called)
    minutes.step(MinutesSteps.OPEN, mapOf("recorder" to binh))

    val section = minutes.addSection("Đường thôn")
    val block = minutes.addBlock(section, BlockKinds.SPEECH, "Nhất trí làm 200 m.", speaker = chi)
    for (member in listOf(an, binh, chi)) meeting.attendance.markAttendance(member, AttendanceMark.PRESENT)
    show(block)
    return meeting
}

internal suspend fun counted(branch: Branch, meeting: Meeting, standing: Standing) {
    // The recorder reads the minutes back, and notes the count of hands.
    val minutes = meeting.minutes
    minutes.step(MinutesSteps.READ_BACK)
    val motion = minutes.moveMotion("Thông qua biên bản")
    val hands = VoteTally(yes = 3, no = 0, abstain = 0)
    val count = NewCount(motion, VoteMethod.SHOW_OF_HANDS, VoteThreshold.MORE_THAN_HALF, hands)
    val vote = minutes.recordCount(count, meeting.attendance, standing.roster)

    // An officer who did not count adopts them by it, and seals them.
    minutes.step(MinutesSteps.ADOPTED, mapOf("vote" to vote))
    branch.seal(minutes)
    val page = minutes.form(FormMarkup.HTML, names = mapOf())
    show(page)
}

internal suspend fun listed(branch: Branch, screen: (Minutes) -> Unit) {
    val last = branch.meetings().lastOrNull { it.kind == MeetingKind.REGULAR } ?: return tell("no meeting yet")
    screen(last.minutes.snapshot())
    val standing = branch.standing() ?: return tell("the branch is not here yet")
    val people = standing.roster.snapshot().shown
    val isOnCommittee = standing.committee != null
    show(people to isOnCommittee)
}

internal suspend fun watched(minutes: MinutesDocument, screen: (Minutes) -> Unit) {
    minutes.snapshots.collect { snapshot ->
        when (snapshot) {
            is Snapshot.Value -> screen(snapshot.value)
            is Snapshot.Unavailable -> tell(snapshot.detail)
        }
    }
}

internal fun contested(minutes: Minutes) {
    val venue = minutes.venue
    show(venue.value)
    if (venue.isContested) venue.all.forEach { tell("${it.value}, by ${it.by?.member}") }
}

internal suspend fun written(branch: Branch, member: String) {
    val mailbox = branch.mailbox(member, Mailbox.COMMITTEE) ?: return tell("the mailbox is not here yet")
    mailbox.beginThread(FeedbackKind.CONFIDENTIAL_REPORT, "Góp ý kín", "Đề nghị xem lại khoản thu.")
}

internal suspend fun sought(client: Client) {
    for (hit in client.search("nhat tri", max = 20)) {
        tell(hit.text.substring(hit.snippet.start, hit.snippet.end))
    }
}

internal suspend fun typed(minutes: MinutesDocument, block: String, screen: (FieldState) -> Unit) {
    val binding = minutes.document.bindText(minutes.textPath(block))
    // The keyboard did something: the field shows this now, the caret is behind the d, and Telex may still make a đ of it.
    binding.edit(binding.text + "d", binding.text.length + 1, binding.text.length + 1, isComposing = true)
    // Others wrote something: what the field shows with it, unless the keyboard composes.
    binding.news.collect { news ->
        when (news) {
            is TextNews.Others -> binding.absorb()?.let { screen(it) }
            is TextNews.NotSaved -> tell(news.detail)
        }
    }
}

internal suspend fun stood(client: Client, badge: (Status) -> Unit) {
    client.statuses.collect { badge(it) }
}

internal suspend fun refused(minutes: MinutesDocument) {
    try {
        minutes.step(MinutesSteps.OPEN)
    } catch (e: DinhException.Refused) {
        tell("Not now: ${e.message}")
    } catch (e: DinhException.NotAllowed) {
        tell("Not you: ${e.message}")
    } catch (e: DinhException.Store) {
        if (e.failure == StoreFailure.DISK_FULL) tell("Free some space, then open the app again.") else throw e
    }
}

internal fun logged() {
    Logging.install(LogLevel.INFO) { record -> println("${record.level} ${record.target}: ${record.text}") }
    Logging.setLevel(LogLevel.DEBUG) // later, when somebody looks into something
}
