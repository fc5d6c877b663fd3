package dinh.model

import dinh.Path
import kotlinx.serialization.json.JsonPrimitive
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** A block that is shown or left out. */
internal fun block(id: String, hidden: String = "[]"): String =
    """{"id":"$id","kind":${one("\"speech\"")},"text":"Nhất trí.","speaker":${one("\"$MINH\"")},"language":[],
    "interpreter":[],"hidden":$hidden,"order":${one("\"80\"")},"section":${one("\"s1\"")}}"""

/** An outline with a section, a block in it, and another one left out. */
internal val OUTLINE: String =
    """{"sections":[{"id":"s1","heading":"I. Mở đầu","order":${one("\"80\"")},"blocks":[${block("b1")}]}],
    "hidden":[${block("b2", anonymous("true"))}]}"""

internal val ASSIGNMENT: String =
    """{"id":"a1","task":${one("\"Vận động\"")},"owners":${one("[\"$LAN\",\"$MINH\"]")},"quantity":${one("\"4 hộ\"")},
    "due":${one("\"2026-12-20\"")}}"""

internal val SEAL: String =
    """{"document":"$DOC","schema":"dinh.minutes/1","heads":["aa","bb"],"content":"cc","at":1796301000000,"number":null,
    "by":"$LAN","previous":[]}"""

/** A count of a motion. */
internal fun vote(id: String, method: String = "show_of_hands", confirmed: Boolean = true): String {
    val ballots = if (method == "secret_ballot") """{"issued":14,"returned":14,"valid":13}""" else "null"
    val by = if (confirmed) "\"$MINH\"" else "null"
    return """{"id":"$id","method":"$method","base":15,"needed":8,"tally":{"yes":12,"no":1,"abstain":0},
    "ballots":$ballots,"carried":true,"by":"$LAN","at":1796301000000,"confirmed_by":$by}"""
}

internal fun motion(votes: List<String>, holds: String = "null", subject: String = "null"): String =
    """{"id":"m1","title":${one("\"Thông qua\"")},"subject":$subject,"threshold":"more_than_half","votes":$votes,
    "chosen":[],"holds":$holds}"""

internal val SUMMARY: String =
    """{"total":19,"official":18,"probationary":1,"present_official":14,"present_probationary":1,"present_temporarily":0,
    "excused":1,"unexcused":0,"exempt":2,"away":1,"unmarked":0,"base":{"count":15,"excluding":["exempt_and_absent",
    "temporarily_away","suspended","detained"],"left_out":{"$MINH":"exempt_and_absent"}}}"""

class MinutesTest {
    private fun minutes(attendance: String): String =
        """{"meeting":"2026-12","period":${one("\"2026-12\"")},"kind":${one("\"regular\"")},"header":{"symbol":${one("\"BB/CB\"")}},
        "venue":${one("\"Nhà văn hóa\"")},"started_at":${one("1796301000000")},"ended_at":[],"chair":${one("\"$LAN\"")},
        "recorder":[{"value":"$MINH","by":null},{"value":"$LAN","by":null}],"outline":$OUTLINE,
        "confirmed":{"b1":["$MINH"],"b2":[]},"motions":[${motion(listOf(vote("v1")), subject = "[\"$DOC\",\"aa bb\"]")}],
        "parts":{"agenda":[{"id":"g1","title":"Thời sự","presenter":[],"order":${one("\"80\"")}}],
        "guests":[{"id":"u1","name":"Vũ Thị Hồng Nhung","post":"Đảng ủy viên","body":"Đảng ủy xã"}],
        "assignments":[$ASSIGNMENT],"documents_used":[{"id":"d1","title":"Kế hoạch","document":null},
        {"id":"d2","title":"Dự thảo","document":["$DOC","aa"]}],
        "signatures":[{"id":"n1","role":"chair","by":"$LAN","at":1796308200000}],"quality":{"discussion":${one("9")}}},
        "decisions":{"x2":{"text":"Hai","vote":"v1"},"x1":{"text":"Một","vote":null}},"attendance":$attendance,"life":${life("\"read_back\"")},
        "seals":[{"value":$SEAL,"by":null}]}"""

    @Test
    fun minutesRead() {
        val frozen = JsonPrimitive(SUMMARY).toString()
        val minutes = read(Minutes.serializer(), minutes(one(frozen)))
        assertEquals("2026-12", minutes.meeting)
        assertEquals("2026-12", minutes.period.value)
        assertEquals(MeetingKind.REGULAR, minutes.meetingKind)
        assertEquals("BB/CB", minutes.header.getValue("symbol").value)
        assertEquals(1_796_301_000_000, minutes.startedAt.value)
        assertNull(minutes.endedAt.value)
        assertTrue(minutes.recorder.isContested)
        assertEquals(mapOf("b1" to setOf(MINH), "b2" to setOf<String>()), minutes.confirmed)
        assertEquals(MinutesState.READ_BACK, minutes.life.state)
        assertEquals(listOf("aa", "bb"), minutes.seals.value?.heads)
        assertNull(minutes.seals.value?.number)

        assertEquals(listOf("Thời sự"), minutes.agenda.map { it.title })
        assertEquals(Path("agenda", "g1", "title"), minutes.agenda[0].titlePath)
        assertEquals("Đảng ủy xã", minutes.guests[0].body)
        assertEquals(listOf(LAN, MINH), minutes.assignments[0].owners.value)
        assertEquals(listOf(null, DocumentAtHeads(DOC, listOf("aa"))), minutes.documentsUsed.map { it.document })
        assertEquals("chair", minutes.signatures[0].role)
        assertEquals(9, minutes.quality.getValue("discussion").value)
        assertEquals(listOf(Decision("x1", "Một", null), Decision("x2", "Hai", "v1")), minutes.decisions)
        assertEquals(Path("decisions", "x1", "text"), minutes.decisions[0].textPath)
        assertEquals(DocumentAtHeads(DOC, listOf("aa", "bb")), minutes.motions[0].subject)
    }

    @Test
    fun whatIsFrozenMayNotRead() {
        val frozen = JsonPrimitive(SUMMARY).toString()
        val summary = read(Minutes.serializer(), minutes(one(frozen))).attendanceSummary
        assertEquals(14, summary?.presentOfficial)
        assertEquals(mapOf(MINH to VoteExclusion.EXEMPT_AND_ABSENT), summary?.base?.leftOut)
        assertEquals(4, summary?.base?.excluding?.size)
        assertNull(read(Minutes.serializer(), minutes("[]")).attendanceSummary)
        assertNull(read(Minutes.serializer(), minutes(one("\"{}\""))).attendanceSummary)
    }

    @Test
    fun anOutlineHasSectionsAndBlocks() {
        val outline = read(Outline.serializer(), OUTLINE)
        assertEquals("I. Mở đầu\nNhất trí.\n", outline.plainText)
        assertEquals(Path("sections", "s1", "heading"), outline.sections[0].headingPath)
        assertEquals(Path("blocks", "b1", "text"), outline.block("b1")?.textPath)
        assertFalse(outline.block("b1")?.isHidden ?: true)
        assertTrue(outline.block("b2")?.isHidden ?: false)
        assertNull(outline.block("b3"))
        assertEquals(MINH, outline.block("b1")?.speaker?.value)
        assertNull(outline.block("b1")?.language?.value)
    }

    @Test
    fun motionsAreCounted() {
        val two = listOf(vote("v1", method = "secret_ballot"), vote("v2", confirmed = false))
        val open = read(Motion.serializer(), motion(two))
        assertNull(open.result)
        assertTrue(open.isCountedTwice)
        assertEquals(BallotSlips(14, 14, 13), open.votes[0].ballots)
        assertEquals(listOf(MINH, null), open.votes.map { it.confirmedBy })
        assertEquals(listOf(15, 8), listOf(open.votes[0].base, open.votes[0].needed))
        assertEquals(1_796_301_000_000, open.votes[0].at)
        val held = read(Motion.serializer(), motion(two, "\"v1\""))
        assertEquals("v1", held.result?.id)
        assertFalse(held.isCountedTwice)
        assertNull(read(Motion.serializer(), motion(listOf())).result)
    }
}
